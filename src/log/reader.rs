//! Reading a log, from its own process or beside another one that writes it.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use super::error::{OpenError, ReadError};
use super::read::{Batches, Read, View};
use super::remote::Remote;
use super::shared::Shared;
use super::stat::{self, Stat};
use crate::disk::Env;
use crate::event::Event;
use crate::segment::ReadMode;
use crate::{LogId, Offset};

/// Reads a log. Needs no lock, never waits for the writer and never makes it wait; any number of them read in
/// any processes. Sees what is durable: no event that a crash could take back.
#[derive(Debug, Clone)]
pub struct LogReader {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
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
            Source::Local(shared) => {
                // In this order: all events up to the end are in the segments seen after it.
                let end = shared.durable_end();
                let segments = shared.segments();
                let head = segments.first().map_or(0, |segment| segment.base());
                Ok(View { segments, head, end, mode: shared.options.reads })
            }
            Source::Remote(remote) => remote.view(),
        }
    }

    fn failing_view(&self) -> (View, Option<ReadError>) {
        match self.view() {
            Ok(view) => (view, None),
            Err(error) => {
                let mode = ReadMode::default();
                (View { segments: Arc::default(), head: 0, end: 0, mode }, Some(error))
            }
        }
    }

    /// The events of a range of offsets in order, up to the durable end of now. The log's own are left out
    /// unless [`Read::system`] asks for them.
    pub fn read(&self, range: impl RangeBounds<Offset>) -> Read {
        let (view, error) = self.failing_view();
        Read::new(view, &range).failing(error)
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
        self.read(offset..offset.plus(1)).system(true).next().transpose()
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
