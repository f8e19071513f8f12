//! What the handles, receipts, readers and threads of one open log share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::background::Signal;
use super::commit::Io;
use super::error::{AppendError, IoFailure};
use super::finder::Finder;
use super::options::Options;
use super::plan::Plan;
use super::receipt::Waiters;
use super::tail::Tail;
use super::walk::View;
use crate::LogId;
use crate::disk::{DiskFile, Env};
use crate::planted::{Bug, planted};
use crate::segment::Segment;

/// One open log. Shown as its directory alone: what waits to be written is nobody's business in a message.
///
/// Locks are taken in this order, and none is held while waiting for a thread: `sync`, `io`, `plan`; then
/// `waiters`, `fill` and the others, which hold no other.
pub(super) struct Shared {
    pub dir: PathBuf,
    pub env: Env,
    pub options: Options,
    pub id: LogId,
    /// What readers find things by.
    pub finder: Arc<Finder>,
    /// All segments in order, the active one last. Replaced as a whole when the log rolls.
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    /// Offset after the last event that the operating system has.
    written_end: AtomicU64,
    /// Offset after the last event that the disk has.
    durable_end: AtomicU64,
    /// The first failed write or sync: nothing can be promised after it.
    poison: OnceLock<IoFailure>,
    plan: Mutex<Plan>,
    io: Mutex<Io>,
    /// Held by whoever is writing and syncing for all.
    sync: Mutex<()>,
    /// Held around every sync of a file that batches are written to; see [`Shared::sync_file`].
    syncing: Mutex<()>,
    waiters: Mutex<Waiters>,
    /// Segments that take no more batches and have no footer yet, oldest first.
    pub to_seal: Mutex<Vec<ToSeal>>,
    /// So many segments were there when no merged index was due.
    pub indexed: AtomicU64,
    /// Held by whoever seals, so that a segment is sealed once.
    pub sealing: Mutex<()>,
    pub fill: Mutex<super::fill::Fill>,
    pub cursors: Mutex<super::consumer::UnsyncedCursors>,
    pub sync_signal: Signal,
    pub work_signal: Signal,
    pub index_signal: Signal,
    /// Groups of segments whose merged index could not be made.
    pub not_indexed: Mutex<Vec<crate::index::IndexName>>,
    /// The sync thread sleeps until it is told of an append.
    pub idle: AtomicBool,
    /// All that there will ever be is durable, or the log has failed.
    closed: AtomicBool,
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these small locks protect is changed in one step each: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            segments: RwLock::new(Arc::new(segments)),
            written_end: AtomicU64::new(end),
            durable_end: AtomicU64::new(end),
            poison: OnceLock::new(),
            plan: Mutex::new(plan),
            io: Mutex::new(io),
            sync: Mutex::default(),
            syncing: Mutex::default(),
            waiters: Mutex::default(),
            to_seal: Mutex::default(),
            indexed: AtomicU64::new(0),
            sealing: Mutex::default(),
            fill: Mutex::new(fill),
            cursors: Mutex::default(),
            sync_signal: Signal::default(),
            work_signal: Signal::default(),
            index_signal: Signal::default(),
            not_indexed: Mutex::default(),
            idle: AtomicBool::new(false),
            closed: AtomicBool::new(false),
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
            self.poison.get_or_init(|| IoFailure::new("writing", &self.dir, error));
            panicked.into_inner()
        })
    }

    pub fn waiters(&self) -> MutexGuard<'_, Waiters> {
        lock(&self.waiters)
    }

    /// The right to sync for all; waits for whoever has it.
    pub fn sync_right(&self) -> MutexGuard<'_, ()> {
        lock(&self.sync)
    }

    /// The right to sync for all, if nobody has it.
    pub fn try_sync_right(&self) -> Option<MutexGuard<'_, ()>> {
        match self.sync.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    pub fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What can be read now.
    pub fn view(&self) -> View {
        // In this order: all events up to the end are in the segments seen after it.
        let end = if planted(Bug::ReadersSeeWritten) { self.written_end() } else { self.durable_end() };
        let segments = self.segments();
        let head = segments.first().map_or(0, |segment| segment.base());
        View { segments, head, end, mode: self.options.reads, finder: Arc::clone(&self.finder) }
    }

    /// Adds a segment behind the others.
    pub fn add_segment(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut longer = Vec::clone(&segments);
        longer.push(segment);
        *segments = Arc::new(longer);
    }

    /// First offset that is still there.
    pub fn head(&self) -> u64 {
        self.segments().first().map_or(0, |segment| segment.base())
    }

    pub fn written_end(&self) -> u64 {
        self.written_end.load(Ordering::Acquire)
    }

    pub fn durable_end(&self) -> u64 {
        self.durable_end.load(Ordering::Acquire)
    }

    pub fn publish_written(&self, end: u64) {
        self.written_end.fetch_max(end, Ordering::Release);
    }

    pub fn publish_durable(&self, end: u64) {
        self.durable_end.fetch_max(end, Ordering::Release);
    }

    /// Whether events up to an offset are durable.
    pub fn is_durable(&self, target: u64) -> Result<bool, AppendError> {
        self.reached(self.durable_end() >= target)
    }

    /// Whether the operating system has events up to an offset.
    pub fn is_written(&self, target: u64) -> Result<bool, AppendError> {
        self.reached(self.written_end() >= target)
    }

    fn reached(&self, reached: bool) -> Result<bool, AppendError> {
        match self.poisoned() {
            Some(failure) if !reached => Err(AppendError::OutcomeUnknown(failure.clone())),
            _ => Ok(reached),
        }
    }

    /// The failure after which nothing can be promised.
    pub fn poisoned(&self) -> Option<&IoFailure> {
        self.poison.get()
    }

    /// Takes note that a write or sync failed. All who wait are told.
    pub fn fail(&self, failure: IoFailure) -> IoFailure {
        tracing::error!(log = %self.dir.display(), %failure, "the log takes no more appends");
        let first = self.poison.get_or_init(|| failure).clone();
        // Tasks are woken by the background: a waker is foreign code, and locks are held here.
        self.waiters().unpark_threads();
        self.sync_signal.set();
        first
    }

    /// Syncs a file of batches. One at a time: the system tells a failure to one of two syncs of a handle, and the
    /// other one would report success over bytes that are lost. Whoever comes second finds the log poisoned.
    pub fn sync_file(&self, file: &dyn DiskFile, path: &Path) -> Result<(), IoFailure> {
        let _one = lock(&self.syncing);
        if let Some(failure) = self.poisoned() {
            return Err(failure.clone());
        }
        let synced = file.sync().or_else(|error| if planted(Bug::SyncRetried) { file.sync() } else { Err(error) });
        synced.map_err(|error| self.fail(IoFailure::new("syncing", path, error)))
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

    /// Whether nothing will become durable any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes note of the end of the log; all who wait for more are told.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let all = self.waiters().all();
        all.for_each(super::receipt::Waiter::wake);
    }

    /// Tells the background that a task waits, which cannot sync for itself.
    pub fn a_task_waits(&self) {
        self.sync_signal.set();
    }
}
