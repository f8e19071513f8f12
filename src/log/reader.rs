//! Reading a log, from its own process or beside another one that writes it.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::error::{OpenError, ReadError};
use super::finder::Finder;
use super::read::{Batches, Read};
use super::remote::Remote;
use super::shared::Shared;
use super::stat::{self, Stat};
use super::tail::Tail;
use super::walk::View;
use crate::disk::Env;
use crate::event::Event;
use crate::segment::ReadMode;
use crate::{LogId, Offset};

/// Reads a log. Needs no lock, never waits for the writer and never makes it wait; any number of them read in
/// any processes. Sees what is durable: no event that a crash could take back.
#[derive(Debug, Clone)]
pub struct LogReader {
    pub(super) source: Source,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The log is open for writing in this process.
    Local(Arc<Shared>),
    /// By the files alone.
    Remote(Arc<Remote>),
}

impl LogReader {
    /// Opens a log for reading only. Whoever writes it is not disturbed, and nothing is changed.
    ///
    /// # Errors
    /// See [`OpenError`]. A log whose end is torn can be read up to there.
    pub fn open(path: impl AsRef<Path>) -> Result<LogReader, OpenError> {
        Self::open_with(path, Env::system(), ReadMode::default())
    }

    /// Opens a log for reading only, on a disk of the caller's.
    ///
    /// # Errors
    /// See [`open`](LogReader::open).
    pub fn open_with(path: impl AsRef<Path>, env: Env, reads: ReadMode) -> Result<LogReader, OpenError> {
        let remote = Remote::open(path.as_ref(), env, reads)?;
        Ok(LogReader { source: Source::Remote(Arc::new(remote)) })
    }

    pub(super) fn local(shared: &Arc<Shared>) -> Self {
        LogReader { source: Source::Local(Arc::clone(shared)) }
    }

    /// What can be read now.
    pub(super) fn view(&self) -> Result<View, ReadError> {
        match &self.source {
            Source::Local(shared) => Ok(shared.view()),
            Source::Remote(remote) => remote.view(),
        }
    }

    fn finder(&self) -> &Arc<Finder> {
        match &self.source {
            Source::Local(shared) => &shared.finder,
            Source::Remote(remote) => &remote.finder,
        }
    }

    /// The newest batches, shared by all who follow through this handle.
    pub(super) fn newest(&self) -> &Mutex<Tail> {
        match &self.source {
            Source::Local(shared) => &shared.newest,
            Source::Remote(remote) => &remote.newest,
        }
    }

    pub(super) fn failing_view(&self) -> (View, Option<ReadError>) {
        match self.view() {
            Ok(view) => (view, None),
            Err(error) => (View::empty(self.finder()), Some(error)),
        }
    }

    /// The events of a range of offsets in order, up to the durable end of now. The log's own are left out
    /// unless [`Read::system`] asks for them.
    pub fn read(&self, range: impl RangeBounds<Offset>) -> Read {
        let (view, error) = self.failing_view();
        Read::new(self, view, &range).failing(error)
    }

    /// The batches of a range of offsets in order, up to the durable end of now: the fastest way through a
    /// log. With them come the log's own events.
    pub fn batches(&self, range: impl RangeBounds<Offset>) -> Batches {
        let (view, error) = self.failing_view();
        Batches::new(view, &range).failing(error)
    }

    /// The event at an offset; `None` when there is none yet.
    ///
    /// # Errors
    /// See [`ReadError`]; an offset before [`head`](LogReader::head) was trimmed.
    pub fn get(&self, offset: Offset) -> Result<Option<Event>, ReadError> {
        let view = self.view()?;
        if offset.raw() >= view.end {
            return Ok(None);
        }
        if offset.raw() < view.head {
            return Err(ReadError::Trimmed { head: Offset::from_raw(view.head) });
        }
        view.finder.event(&view, offset.raw())
    }

    /// Identity of the log.
    pub fn id(&self) -> LogId {
        match &self.source {
            Source::Local(shared) => shared.id,
            Source::Remote(remote) => remote.id,
        }
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        match &self.source {
            Source::Local(shared) => &shared.dir,
            Source::Remote(remote) => &remote.dir,
        }
    }

    /// The first offset that is still there.
    ///
    /// # Errors
    /// When the log's directory cannot be read.
    pub fn head(&self) -> Result<Offset, ReadError> {
        Ok(Offset::from_raw(self.view()?.head))
    }

    /// The first offset that a crash could lose: reading ends here.
    ///
    /// # Errors
    /// When the log's directory cannot be read.
    pub fn durable_end(&self) -> Result<Offset, ReadError> {
        Ok(Offset::from_raw(self.view()?.end))
    }

    /// The next offset to be given, as far as this process knows.
    ///
    /// # Errors
    /// When the log's directory cannot be read.
    pub fn tail(&self) -> Result<Offset, ReadError> {
        match &self.source {
            Source::Local(shared) => Ok(Offset::from_raw(shared.plan().next)),
            Source::Remote(remote) => remote.tail(),
        }
    }

    /// The world it reads in.
    pub(crate) fn env(&self) -> &Env {
        match &self.source {
            Source::Local(shared) => &shared.env,
            Source::Remote(remote) => &remote.env,
        }
    }

    /// The log itself, where this process writes it.
    pub(super) fn writer(&self) -> Option<&Arc<Shared>> {
        match &self.source {
            Source::Local(shared) => Some(shared),
            Source::Remote(_) => None,
        }
    }

    /// Counts and sizes. Reads the active segment through, and the indexes of the others.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn stat(&self) -> Result<Stat, ReadError> {
        let view = self.view()?;
        let writer = match &self.source {
            Source::Local(_) => Some(stat::Writer { pid: std::process::id(), running: true }),
            Source::Remote(remote) => remote.writer(),
        };
        stat::stat(self, &view, writer)
    }
}
