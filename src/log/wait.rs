//! Waiting until a log grows: woken by the writer in the same process, by the file `LOCK` in others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::bell::Patience;
use super::error::ReadError;
use super::group::Watched;
use super::reader::{LogReader, Source};
use super::remote::Remote;
use super::shared::{Shared, lock};
use crate::Offset;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// There are events behind the offset.
    Events,
    /// The log was closed: there will be none.
    Closed,
    /// By its interrupt.
    Interrupted,
    /// It took too long.
    Late,
}

/// Ends the wait of one thread from another.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    set: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Interrupt {
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Interrupts the wait at a log's reader, or the next one.
    pub fn set(&self, reader: &LogReader) {
        self.set.store(true, Ordering::Release);
        if let Some(thread) = &*lock(&self.thread) {
            thread.unpark();
        }
        if let Source::Remote(remote) = &reader.source {
            remote.bell.ring();
        }
    }

    /// Takes back an interruption.
    #[cfg(feature = "tokio")]
    pub fn take(&self) {
        self.set.store(false, Ordering::Release);
    }

    /// Waits until it is set.
    #[cfg(feature = "tokio")]
    pub fn wait(&self) {
        while !self.is_set() {
            std::thread::park();
        }
    }

    pub fn waits_here(&self) {
        *lock(&self.thread) = Some(std::thread::current());
    }
}

impl LogReader {
    /// Waits until there is a durable event at an offset, at most for so long; returns the durable end. It is not
    /// past the offset when the time is over, or when the log was closed in this process.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn wait_past(&self, offset: Offset, at_most: Duration) -> Result<Offset, ReadError> {
        let interrupt = Interrupt::default();
        self.wait_for(offset.raw(), &interrupt, Instant::now().checked_add(at_most))?;
        self.durable_end()
    }

    /// Waits until the durable end is past an offset.
    pub(super) fn wait_for(
        &self,
        offset: u64,
        interrupt: &Interrupt,
        until: Option<Instant>,
    ) -> Result<Woken, ReadError> {
        interrupt.waits_here();
        match &self.source {
            Source::Local(shared) => wait_local(shared, offset, interrupt, until),
            Source::Remote(remote) => wait_remote(remote, offset, interrupt, until),
        }
    }
}

fn is_late(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

fn wait_local(shared: &Shared, offset: u64, interrupt: &Interrupt, until: Option<Instant>) -> Result<Woken, ReadError> {
    let stop = || match interrupt.is_set() {
        true => Some(Woken::Interrupted),
        false => is_late(until).then_some(Woken::Late),
    };
    let park = || match until {
        None => std::thread::park(),
        Some(until) => std::thread::park_timeout(until.saturating_duration_since(Instant::now())),
    };
    match shared.group.watch(offset.saturating_add(1), stop, park) {
        Watched::Durable => Ok(Woken::Events),
        Watched::Failed(failure) => Err(ReadError::Io(failure)),
        Watched::Closed => Ok(Woken::Closed),
        Watched::Stopped(why) => Ok(why),
    }
}

fn wait_remote(
    remote: &Arc<Remote>,
    offset: u64,
    interrupt: &Interrupt,
    until: Option<Instant>,
) -> Result<Woken, ReadError> {
    let mut patience = Patience::default();
    loop {
        let rings = remote.bell.rings();
        if remote.view()?.end > offset {
            return Ok(Woken::Events);
        }
        if interrupt.is_set() {
            return Ok(Woken::Interrupted);
        }
        if is_late(until) {
            return Ok(Woken::Late);
        }
        let at_most = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        remote.bell.wait(rings, at_most, &mut patience, || remote.watch());
    }
}
