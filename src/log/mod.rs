//! Many segments as one sequence of events: append, expectations, durability, reading.
//!
//! The files in the order of an append's journey, then of a reader's.

mod error;
mod layout;
mod options;

// An append: what is asked for, its place, its way to the disk.
pub(crate) mod own;
mod append;
pub(crate) mod producer;
mod streams;
mod gaps;
mod plan;
mod receipt;
mod waiters;
mod signal;
mod group;
mod commit;
mod fill;
mod background;
mod shared;

// A directory as it is found.
pub(crate) mod lock;
mod files;
mod torn;
mod open;
mod verify;
mod repair;

// Reading: a walk over batches, in both directions and by time.
mod walk;
mod backward;
mod times;
mod read;
mod remote;
mod reader;
mod stat;

// Finding: single events, streams, rare types.
mod recent;
mod active;
mod finder;
mod pick;
mod stream;
mod list;

// Going on: from history to live, and where a consumer stopped.
mod wait;
mod bell;
mod tail;
mod follow;
mod consumer;
#[cfg(feature = "tokio")]
mod asynchronous;

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::disk::{Disk, Jobs};
use crate::journal::OwnRecord;
use crate::{Event, LogId, Offset, TailEpoch, Timestamp, Version};
use shared::{Shared, lock};

pub use append::{Append, Durability, Expect};
#[cfg(feature = "tokio")]
pub use asynchronous::EventStream;
pub use consumer::{Consumer, ConsumerInfo};
pub use error::{AppendError, ConsumerError, Damage, IoFailure, OpenError, ReadError};
pub use follow::{Follow, Stop};
pub use list::{StreamInfo, StreamList};
pub use open::{OpenReport, TornTail};
pub use options::Options;
pub(crate) use own::{CONTROL_STREAMS, HANDLER_STREAMS};
pub use read::{Batches, Read};
pub use reader::LogReader;
pub use receipt::{Appended, Receipt};
pub use repair::{Anomaly, AnomalyKind, RepairPlan, Repaired, TouchedStream, repair, repair_with};
pub use stat::{SegmentStat, Stat, Writer};
pub use stream::StreamRead;
pub use verify::{VerifyReport, verify, verify_with};

/// A log, open for writing: the one writing process of its directory. Clones are the same log.
///
/// Dropping the last clone closes it; [`close`](Log::close) says whether that went well.
#[derive(Debug, Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    report: OpenReport,
    /// Held while a background step or a close runs: nothing is written after the lock was given back.
    closing: Mutex<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How far a source outside has been read, as its last append said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceRecord {
    /// What the source noted.
    pub position: Bytes,
    /// Where it is noted: expected as the last event of the source's own stream by its next append.
    pub offset: Offset,
    /// Its version there.
    pub version: Version,
}

impl Log {
    /// Opens the log in a directory for writing; makes it when there is none.
    ///
    /// Costs two reads for each sealed segment, and reading through the active one (up to 128 MiB). What a
    /// kill or a power cut left half done is mended, and [`report`](Log::report) says so.
    ///
    /// # Errors
    /// See [`OpenError`]: another process writes it, it is damaged, it is no log.
    pub fn open(path: impl AsRef<Path>) -> Result<Log, OpenError> {
        Self::options().open(path)
    }

    /// To open a log otherwise than [`open`](Log::open) does.
    pub fn options() -> Options {
        Options::default()
    }

    fn open_with(path: &Path, options: Options) -> Result<Log, OpenError> {
        let jobs = options.env.jobs;
        let (shared, report) = open::open(path, options)?;
        let threads = match jobs {
            Jobs::ByHand => Vec::new(),
            Jobs::Threads => background::start(&shared)
                .map_err(|error| OpenError::Io(IoFailure::new("starting the threads of", path, error)))?,
        };
        Ok(Log { inner: Arc::new(Inner { shared, report, closing: Mutex::default(), threads: Mutex::new(threads) }) })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Appends events: all or none, provided streams are as expected. Returns before they are written.
    ///
    /// Costs a copy of the events under a short lock; the disk is waited for by the [`Receipt`].
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was written then, and no offset was taken.
    pub fn append<'a>(&self, append: impl Into<Append<'a>>) -> Result<Receipt, AppendError> {
        self.shared().append(&append.into())
    }

    /// What was found and mended when the log was opened.
    pub fn report(&self) -> &OpenReport {
        &self.inner.report
    }

    /// A reader of this log. It stays usable after the log was closed.
    pub fn reader(&self) -> LogReader {
        LogReader::local(self.shared())
    }

    /// The events of a range of offsets; see [`LogReader::read`].
    pub fn read(&self, range: impl RangeBounds<Offset>) -> Read {
        self.reader().read(range)
    }

    /// The batches of a range of offsets; see [`LogReader::batches`].
    pub fn batches(&self, range: impl RangeBounds<Offset>) -> Batches {
        self.reader().batches(range)
    }

    /// The events of one stream; see [`LogReader::stream`].
    pub fn stream(&self, name: &str) -> StreamRead {
        self.reader().stream(name)
    }

    /// The streams whose names match a pattern; see [`LogReader::streams`].
    pub fn streams(&self, pattern: &str) -> StreamList {
        self.reader().streams(pattern)
    }

    /// The types of the users' events with their numbers; see [`LogReader::types`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn types(&self) -> Result<Vec<(String, u64)>, ReadError> {
        self.reader().types()
    }

    /// The version of a stream's last durable event; see [`LogReader::version`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn version(&self, name: &str) -> Result<Option<Version>, ReadError> {
        self.reader().version(name)
    }

    /// The last durable event of a stream; see [`LogReader::last`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn last(&self, name: &str) -> Result<Option<Event>, ReadError> {
        self.reader().last(name)
    }

    /// The events from an offset on, those that are still to come too; see [`LogReader::follow`].
    pub fn follow(&self, from: Offset) -> Follow {
        self.reader().follow(from)
    }

    /// The first event recorded at or after a moment; see [`LogReader::offset_recorded`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_recorded(&self, at: Timestamp) -> Result<Offset, ReadError> {
        self.reader().offset_recorded(at)
    }

    /// A named consumer of the log; see [`LogReader::consumer`]. Its commits in the background are synced by the
    /// log's own thread.
    ///
    /// # Errors
    /// See [`ConsumerError`].
    pub fn consumer(&self, name: &str) -> Result<Consumer, ConsumerError> {
        self.reader().consumer(name)
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.shared().dir
    }

    /// The disk it is on.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.shared().env.disk)
    }

    /// Identity of the log.
    pub fn id(&self) -> LogId {
        self.shared().id
    }

    /// The first offset that is still there.
    pub fn head(&self) -> Offset {
        Offset::from_raw(self.shared().head())
    }

    /// The first offset that a crash could lose.
    pub fn durable_end(&self) -> Offset {
        Offset::from_raw(self.shared().durable_end())
    }

    /// The offset that the next event gets.
    pub fn tail(&self) -> Offset {
        Offset::from_raw(self.shared().plan().next)
    }

    /// How often a torn tail was cut from the log.
    pub fn tail_epoch(&self) -> TailEpoch {
        TailEpoch::from_raw(self.shared().plan().tail_epoch)
    }

    /// How far the source of a name has been read, by the last append that said so, durable or not yet.
    pub fn source(&self, name: &str) -> Option<SourceRecord> {
        let plan = self.shared().plan();
        let record = plan.carry.streams.get(own::source_stream(name).as_str())?;
        Some(SourceRecord {
            position: record.content.clone(),
            offset: Offset::from_raw(record.offset),
            version: Version::from_raw(record.version),
        })
    }

    /// The last record of one of the log's own streams, durable or not yet.
    pub(crate) fn own_record(&self, stream: &str) -> Option<OwnRecord> {
        let plan = self.shared().plan();
        plan.carry.streams.get(stream).map(OwnRecord::from)
    }

    /// Waits until all that was appended so far is durable; returns the offset after it.
    ///
    /// # Errors
    /// [`AppendError::OutcomeUnknown`] when the disk failed.
    pub fn sync(&self) -> Result<Offset, AppendError> {
        self.shared().sync_all(Durability::Disk).map(Offset::from_raw)
    }

    /// Does one step of the background work that is due, where the log was opened with [`Jobs::ByHand`];
    /// returns whether there was one.
    ///
    /// # Errors
    /// When the disk fails; the log then takes no more appends.
    pub fn step(&self) -> Result<bool, AppendError> {
        let shared = self.shared();
        let _closing = lock(&self.inner.closing);
        if shared.io().lock_file.is_none() {
            return Ok(false); // closed: the files are another writer's by now
        }
        let failed = AppendError::OutcomeUnknown;
        let more = shared.sync_step().map_err(failed)? || shared.seal_next() || shared.fill_ahead().map_err(failed)?;
        Ok(more || shared.index_next())
    }

    /// Closes the log: all appended events are made durable, and the log says of itself that it is whole.
    /// Other clones then get [`AppendError::Closed`].
    ///
    /// # Errors
    /// When the disk fails: events whose receipts were not fulfilled may be lost.
    pub fn close(self) -> Result<(), AppendError> {
        self.inner.close()
    }
}

impl Inner {
    fn close(&self) -> Result<(), AppendError> {
        // Clones may close at the same time: the second one must not write after the first gave the lock back.
        let _closing = lock(&self.closing);
        // The guard must be gone before the end is written, which takes the same lock.
        let is_open = self.shared.io().lock_file.is_some();
        let outcome = if is_open { self.shared.finish().map_err(AppendError::OutcomeUnknown) } else { Ok(()) };
        self.shared.plan().closed = true;
        self.shared.stop_threads();
        self.shared.group.close();
        for thread in lock(&self.threads).drain(..) {
            // The last clone may be dropped by a waker, which one of them calls: it cannot wait for itself. And one
            // that panicked has nothing more to do; its panic was shown.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        if is_open {
            while self.shared.poisoned().is_none() && self.shared.seal_next() {}
            self.shared.give_back();
        }
        outcome
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(log = %self.shared.dir.display(), %error, "the log was not closed cleanly");
        }
    }
}
