//! What the handles, receipts, readers and threads of one open log share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard};

use super::commit::Io;
use super::error::{AppendError, IoFailure};
use super::finder::Finder;
use super::group::{Group, Kept};
use super::options::Options;
use super::plan::Plan;
use super::signal::Signal;
use super::tail::Tail;
use super::walk::View;
use crate::LogId;
use crate::disk::{DiskFile, Env};
use crate::planted::{Bug, planted};
use crate::segment::Segment;
pub(super) use crate::sync::lock;

/// One open log. Shown as its directory alone: what waits to be written is nobody's business in a message.
///
/// Locks are taken in this order, and none is held while waiting for a thread: the right of the group, `io`, `plan`;
/// then those within the group, `fill` and the others, which hold no other.
pub(super) struct Shared {
    pub dir: PathBuf,
    pub env: Env,
    pub options: Options,
    pub id: LogId,
    /// What readers find things by.
    pub finder: Arc<Finder>,
    pub group: Group<Segment, IoFailure>,
    plan: Mutex<Plan>,
    io: Mutex<Io>,
    /// Segments that take no more batches and have no footer yet, oldest first.
    pub to_seal: Mutex<Vec<ToSeal>>,
    /// So many segments were there when no merged index was due.
    pub indexed: AtomicU64,
    /// Held by whoever seals, so that a segment is sealed once.
    pub sealing: Mutex<()>,
    pub fill: Mutex<super::fill::Fill>,
    pub cursors: Mutex<super::consumer::UnsyncedCursors>,
    pub work_signal: Signal,
    pub index_signal: Signal,
    /// Groups of segments whose merged index could not be made.
    pub not_indexed: Mutex<Vec<crate::index::IndexName>>,
    /// The sync thread sleeps until it is told of an append.
    pub idle: AtomicBool,
    /// The newest batches, for those who follow.
    pub newest: Mutex<Tail>,
    /// Reads for the streams of the async world.
    #[cfg(feature = "tokio")]
    pub desk: Arc<super::asynchronous::Desk>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// A segment that waits for its footer.
#[derive(Debug, Clone)]
pub(super) struct ToSeal {
    pub segment: Arc<Segment>,
    pub file: Arc<dyn DiskFile>,
    pub end_at: u64,
}

impl Shared {
    #[allow(clippy::too_many_arguments)] // the parts that opening found, joined once
    pub fn new(
        dir: PathBuf,
        options: Options,
        id: LogId,
        segments: Vec<Arc<Segment>>,
        end: u64,
        plan: Plan,
        io: Io,
        fill: super::fill::Fill,
    ) -> Self {
        let finder = Arc::new(Finder::new(&dir, Arc::clone(&options.env.disk), id));
        Shared {
            dir,
            finder,
            env: options.env.clone(),
            options,
            id,
            group: Group::new(segments, end),
            plan: Mutex::new(plan),
            io: Mutex::new(io),
            to_seal: Mutex::default(),
            indexed: AtomicU64::new(0),
            sealing: Mutex::default(),
            fill: Mutex::new(fill),
            cursors: Mutex::default(),
            work_signal: Signal::default(),
            index_signal: Signal::default(),
            not_indexed: Mutex::default(),
            idle: AtomicBool::new(false),
            newest: Mutex::default(),
            #[cfg(feature = "tokio")]
            desk: Arc::default(),
        }
    }

    pub fn plan(&self) -> MutexGuard<'_, Plan> {
        self.unless_panicked(&self.plan)
    }

    pub fn io(&self) -> MutexGuard<'_, Io> {
        self.unless_panicked(&self.io)
    }

    /// Takes one of the two locks under which the log changes. A panic under one of them is a bug that may have
    /// left a change half done: the log takes no more appends then.
    fn unless_panicked<'l, T>(&'l self, mutex: &'l Mutex<T>) -> MutexGuard<'l, T> {
        mutex.lock().unwrap_or_else(|panicked| {
            let error = std::io::Error::other("a bug: an earlier call panicked");
            self.group.note_failure(|| IoFailure::new("writing", &self.dir, error));
            panicked.into_inner()
        })
    }

    /// What can be read now.
    pub fn view(&self) -> View {
        let end = if planted(Bug::ReadersSeeWritten) { Group::written_end } else { Group::durable_end };
        let (end, segments) = self.group.seen(end);
        let head = segments.first().map_or(0, |segment| segment.base());
        View { segments, head, end, mode: self.options.reads, finder: Arc::clone(&self.finder) }
    }

    /// First offset that is still there.
    pub fn head(&self) -> u64 {
        self.group.segments().first().map_or(0, |segment| segment.base())
    }

    pub fn durable_end(&self) -> u64 {
        self.group.durable_end()
    }

    /// Whether events up to an offset are kept.
    pub fn is_kept(&self, target: u64, kept: Kept) -> Result<bool, AppendError> {
        self.group.is_kept(target, kept).map_err(AppendError::OutcomeUnknown)
    }

    /// The failure after which nothing can be promised.
    pub fn poisoned(&self) -> Option<&IoFailure> {
        self.group.failure()
    }

    /// Takes note that a write or sync failed. All who wait are told.
    pub fn fail(&self, failure: IoFailure) -> IoFailure {
        let failure = self.failed(failure);
        self.group.fail(failure)
    }

    fn failed(&self, failure: IoFailure) -> IoFailure {
        tracing::error!(log = %self.dir.display(), %failure, "the log takes no more appends");
        failure
    }

    /// Syncs a file of batches.
    pub fn sync_file(&self, file: &dyn DiskFile, path: &Path) -> Result<(), IoFailure> {
        self.group.sync(|| {
            let synced = file.sync().or_else(|error| if planted(Bug::SyncRetried) { file.sync() } else { Err(error) });
            synced.map_err(|error| self.failed(IoFailure::new("syncing", path, error)))
        })
    }

    /// Gives the locks back: another process may open the log from here on.
    pub fn give_back(&self) {
        let mut io = self.io();
        // Readers may keep its handle.
        if let Err(error) = io.file.unlock() {
            tracing::warn!(file = %io.segment.path.display(), %error, "not unlocked");
        }
        io.lock_file = None;
    }
}
