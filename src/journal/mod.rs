//! What handlers need of a log: the trait behind which the log on disk and the one in memory stand, and a
//! replicated one can.

mod conformance;
mod file;
mod memory;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::batch::Batch;
use crate::disk::Disk;
use crate::segment::CarriedRecord;
use crate::{Append, AppendError, Appended, Durability, Event, Filter, LogId, Offset, ReadError, Receipt, Version};

pub use conformance::{journal_conformance, journal_reopen_conformance, own_append};
pub use memory::MemoryLog;

/// What a journal can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// The most that its appends survive.
    pub durability: Durability,
    /// Whether [`Journal::append`] returns before the events are kept, with the places they will have. Otherwise one
    /// append is in flight at a time.
    pub pipelined: bool,
    /// Most bytes that one append may take.
    pub max_append: usize,
}

/// The last record of one of the log's own streams, kept or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRecord {
    /// Where it stands.
    pub offset: Offset,
    /// Its place in its stream.
    pub version: Version,
    /// Its type.
    pub event_type: Box<str>,
    /// The part of its content that is carried on: all of a source's position, the head of a handler's commit.
    pub content: Bytes,
}

impl From<&CarriedRecord> for OwnRecord {
    fn from(record: &CarriedRecord) -> Self {
        OwnRecord {
            offset: Offset::from_raw(record.offset),
            version: Version::from_raw(record.version),
            event_type: record.event_type.clone(),
            content: record.content.clone(),
        }
    }
}

/// A log, as far as handlers need one: one total order of events, appends with expectations, reading, waiting.
///
/// [`testkit::journal_conformance`](crate::testkit::journal_conformance) holds an implementation to it.
pub trait Journal: fmt::Debug + Send + Sync {
    /// Identity of the log.
    fn id(&self) -> LogId;

    /// What it can do.
    fn caps(&self) -> Caps;

    /// The first offset that is still there.
    fn head(&self) -> Offset;

    /// The first offset that a crash could lose: reading ends here.
    fn durable_end(&self) -> Offset;

    /// Appends events: all or none, provided streams are as expected. An append is refused at once, or has its
    /// places at once.
    ///
    /// # Errors
    /// See [`AppendError`].
    fn append(&self, append: Append<'_>) -> Result<Pending, AppendError>;

    /// The last record of one of the log's own streams, those that are not kept yet included.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn last(&self, stream: &str) -> Result<Option<OwnRecord>, ReadError>;

    /// The event at an offset below the durable end; `None` when there is none yet.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn get(&self, offset: Offset) -> Result<Option<Event>, ReadError>;

    /// What a filter wants of the events from an offset up to another one, at most up to the durable end of now.
    fn read(&self, from: Offset, to: Offset, filter: &Filter) -> Box<dyn JournalRead>;

    /// Where files beside the log may be kept, such as snapshots of handlers' state.
    fn directory(&self) -> Option<(Arc<dyn Disk>, PathBuf)> {
        None
    }

    /// Waits until there is a durable event at an offset, at most for so long; returns the durable end.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn wait_past(&self, offset: Offset, at_most: Duration) -> Result<Offset, ReadError>;
}

/// What a look at the next stored batch found.
#[derive(Debug)]
pub enum Found {
    /// A batch with wanted events; the others are left out of it.
    Batch(Batch),
    /// A batch without any: [`JournalRead::position`] is behind it.
    Nothing,
    /// The end of the range, or of what was durable when the read was made: [`JournalRead::position`] is there.
    End,
}

/// A read of a journal, batch by batch.
pub trait JournalRead: fmt::Debug + Send {
    /// Looks at the next batch.
    ///
    /// # Errors
    /// See [`ReadError`]; behind [`ReadError::Lost`] it goes on.
    fn look(&mut self) -> Result<Found, ReadError>;

    /// All before it was given or left out.
    fn position(&self) -> Offset;

    /// Whether users' events were left out so far, because the filter does not want them.
    fn passed_events(&self) -> bool;
}

/// An append that has its places, and is kept once it was waited for.
#[derive(Debug)]
#[must_use = "until it is waited for, the events may still be lost"]
pub struct Pending(State);

#[derive(Debug)]
enum State {
    Kept(Appended),
    Receipt(Receipt),
}

impl Pending {
    /// An append that is kept already.
    pub fn kept(appended: Appended) -> Self {
        Pending(State::Kept(appended))
    }

    /// Where the events stand, if nothing fails before they are kept.
    pub fn planned(&self) -> &Appended {
        match &self.0 {
            State::Kept(appended) => appended,
            State::Receipt(receipt) => receipt.planned(),
        }
    }

    /// Has somebody else begin to keep the events, so that a later wait is short.
    pub(crate) fn begin(&mut self) {
        if let State::Receipt(receipt) = &mut self.0 {
            let mut nobody = Context::from_waker(Waker::noop());
            let _ = Pin::new(receipt).poll(&mut nobody);
        }
    }

    /// Waits until the events are kept.
    ///
    /// # Errors
    /// [`AppendError::OutcomeUnknown`] when the disk failed.
    pub fn wait(self) -> Result<Appended, AppendError> {
        match self.0 {
            State::Kept(appended) => Ok(appended),
            State::Receipt(receipt) => receipt.wait(),
        }
    }
}

impl From<Receipt> for Pending {
    fn from(receipt: Receipt) -> Self {
        Pending(State::Receipt(receipt))
    }
}

impl<J: Journal + ?Sized> Journal for Arc<J> {
    fn id(&self) -> LogId {
        (**self).id()
    }

    fn caps(&self) -> Caps {
        (**self).caps()
    }

    fn head(&self) -> Offset {
        (**self).head()
    }

    fn durable_end(&self) -> Offset {
        (**self).durable_end()
    }

    fn append(&self, append: Append<'_>) -> Result<Pending, AppendError> {
        (**self).append(append)
    }

    fn last(&self, stream: &str) -> Result<Option<OwnRecord>, ReadError> {
        (**self).last(stream)
    }

    fn get(&self, offset: Offset) -> Result<Option<Event>, ReadError> {
        (**self).get(offset)
    }

    fn read(&self, from: Offset, to: Offset, filter: &Filter) -> Box<dyn JournalRead> {
        (**self).read(from, to, filter)
    }

    fn directory(&self) -> Option<(Arc<dyn Disk>, PathBuf)> {
        (**self).directory()
    }

    fn wait_past(&self, offset: Offset, at_most: Duration) -> Result<Offset, ReadError> {
        (**self).wait_past(offset, at_most)
    }
}
