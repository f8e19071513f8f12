//! The promise that an append returns, and who waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::append::Durability;
use super::error::AppendError;
use super::group::Kept;
use super::shared::Shared;
use crate::{Offset, Timestamp, Version};

/// Where the events of an append stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    pub(super) first: u64,
    pub(super) recorded_us: i64,
    pub(super) versions: Versions,
    pub(super) resent: bool,
}

/// The versions of an append's events. Most appends have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Versions {
    One(u64),
    Many(Vec<u64>),
    /// Of so many events that were trimmed since.
    Trimmed(u32),
}

impl Versions {
    fn as_slice(&self) -> &[u64] {
        match self {
            Versions::One(version) => std::slice::from_ref(version),
            Versions::Many(versions) => versions,
            Versions::Trimmed(_) => &[],
        }
    }

    fn len(&self) -> u64 {
        match self {
            Versions::Trimmed(events) => u64::from(*events),
            there => there.as_slice().len() as u64,
        }
    }
}

impl Appended {
    /// The places of events from an offset on.
    pub(crate) fn at(first: u64, recorded_us: i64, versions: Vec<u64>) -> Self {
        let versions = match versions.as_slice() {
            [version] => Versions::One(*version),
            _ => Versions::Many(versions),
        };
        Appended { first, recorded_us, versions, resent: false }
    }

    /// The same, of an append that was sent before.
    pub(crate) fn resent(self) -> Self {
        Appended { resent: true, ..self }
    }

    /// The offset of the first event; the others follow without a gap.
    pub fn first(&self) -> Offset {
        Offset::from_raw(self.first)
    }

    /// The offset after the last event.
    pub fn next(&self) -> Offset {
        Offset::from_raw(self.first + self.versions.len())
    }

    /// The version of each event in its stream, in order. None where a producer sent an append again whose
    /// events were trimmed since.
    pub fn versions(&self) -> impl Iterator<Item = Version> + '_ {
        self.versions.as_slice().iter().map(|version| Version::from_raw(*version))
    }

    /// Whether a producer had sent the same append before, so that nothing was stored now: these are the places
    /// of the original.
    pub fn is_resend(&self) -> bool {
        self.resent
    }

    /// When the log took them; 1970 where they were trimmed since.
    pub fn recorded(&self) -> Timestamp {
        Timestamp::from_micros(self.recorded_us)
    }
}

/// The promise of an append: its events have their places, and are kept as asked once it is fulfilled.
///
/// [`wait`](Receipt::wait) blocks, [`wait_for`](Receipt::wait_for) at most for so long; awaiting it does not, and
/// needs no runtime. Dropping it changes nothing
/// about the append: it becomes durable in the background. Many receipts in flight is the way to be fast.
#[derive(Debug)]
#[must_use = "until the receipt is waited for, the events may still be lost"]
pub struct Receipt {
    pub(super) shared: Arc<Shared>,
    pub(super) appended: Appended,
    pub(super) durability: Durability,
    /// This receipt among the waiting ones, once it was polled.
    pub(super) waiting: Option<u64>,
}

impl Receipt {
    /// Where the events stand, if nothing fails before they are kept.
    pub fn planned(&self) -> &Appended {
        &self.appended
    }

    /// Waits until the events are kept as the append asked.
    ///
    /// A thread that waits alone does the write and the sync itself; one that waits among others shares
    /// theirs.
    ///
    /// # Errors
    /// [`AppendError::OutcomeUnknown`] when the disk failed.
    pub fn wait(mut self) -> Result<Appended, AppendError> {
        let target = self.appended.next().raw();
        match self.durability {
            Durability::Os => self.shared.wait_written(target)?,
            Durability::Disk => self.shared.wait_durable(target)?,
        }
        self.leave();
        Ok(self.appended.clone())
    }

    /// Waits at most so long; the sync is then done by the log's own thread, never by the caller's, so that a
    /// disk that does not answer holds nobody up.
    ///
    /// Too late is neither done nor failed: the append goes on, and the receipt can be waited for again. Sending
    /// the same once more would store it twice, unless it has a [producer](super::Append::producer). With
    /// [`Jobs::ByHand`](crate::testkit::Jobs::ByHand) somebody else has to do the steps meanwhile.
    ///
    /// # Errors
    /// [`AppendError::Late`] when the time is over, [`AppendError::OutcomeUnknown`] when the disk failed.
    pub fn wait_for(&mut self, at_most: Duration) -> Result<Appended, AppendError> {
        let until = Instant::now().checked_add(at_most);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut *self).poll(&mut context) {
                return outcome;
            }
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(Duration::ZERO) => {
                    self.leave();
                    return Err(AppendError::Late { waited: at_most });
                }
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    fn leave(&mut self) {
        let target = self.appended.next().raw();
        self.shared.group.leave(target, &mut self.waiting);
    }
}

impl Future for Receipt {
    type Output = Result<Appended, AppendError>;

    /// May be dropped at any time: the append goes on.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let target = self.appended.next().raw();
        let kept = match self.durability {
            Durability::Os => Kept::Written,
            Durability::Disk => Kept::Durable,
        };
        let mut waiting = self.waiting;
        let polled = self.shared.group.poll(target, kept, &mut waiting, context.waker());
        self.waiting = waiting;
        polled.map(|kept| kept.map(|()| self.appended.clone()).map_err(AppendError::OutcomeUnknown))
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Wakes a thread that waits for a time, as if it were a task: it does no sync itself.
struct Unpark(Thread);

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
