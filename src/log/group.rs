//! Group commit, as far as threads go: where the durable events end and in which segments they stand, who waits for
//! more, and who of them syncs for all.
//!
//! Nothing here touches a file. `tests/loom` runs this code in every order in which threads can meet.

use std::task::{Poll, Waker};

use super::signal::Signal;
use super::waiters::{Waiter, Waiters};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, RwLock};
use crate::sync::{current, lock, park};

/// Where the threads of a log meet. `S` is a segment, `F` why nothing can be promised any more.
///
/// The order of its locks: `right`, then `syncing`; `waiters` and `segments` are held for a moment only.
pub(super) struct Group<S, F> {
    /// All segments in order, the active one last. Replaced as a whole when the log rolls.
    segments: RwLock<Arc<Vec<Arc<S>>>>,
    /// Offset after the last event that the operating system has.
    written_end: AtomicU64,
    /// Offset after the last event that the disk has.
    durable_end: AtomicU64,
    /// The first failed write or sync: nothing can be promised after it.
    failure: OnceLock<F>,
    /// Held by whoever is writing and syncing for all.
    right: Mutex<()>,
    /// Held around every sync of a file that batches are written to.
    syncing: Mutex<()>,
    waiters: Mutex<Waiters>,
    /// All that there will ever be is durable, or the log has failed.
    closed: AtomicBool,
    /// For the thread that syncs for those who cannot.
    pub signal: Signal,
}

/// How far an append has to have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// The operating system has it.
    Written,
    /// The disk has it.
    Durable,
}

/// How a wait for others ended that causes no sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched<F, W> {
    Durable,
    Failed(F),
    /// There will be no more events.
    Closed,
    /// The one who waited had enough.
    Stopped(W),
}

impl<S, F: Clone> Group<S, F> {
    pub fn new(segments: Vec<Arc<S>>, end: u64) -> Self {
        Group {
            segments: RwLock::new(Arc::new(segments)),
            written_end: AtomicU64::new(end),
            durable_end: AtomicU64::new(end),
            failure: OnceLock::new(),
            right: Mutex::default(),
            syncing: Mutex::default(),
            waiters: Mutex::default(),
            closed: AtomicBool::new(false),
            signal: Signal::default(),
        }
    }

    pub fn waiters(&self) -> MutexGuard<'_, Waiters> {
        lock(&self.waiters)
    }

    /// The right to sync for all; waits for whoever has it.
    pub fn right(&self) -> MutexGuard<'_, ()> {
        lock(&self.right)
    }

    /// Commits for all, if nobody does; returns whether it did. Then [`wake`](Self::wake) is due.
    pub fn lead(&self, commit: impl Fn()) -> bool {
        let right = match self.right.try_lock() {
            Ok(right) => right,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return false,
        };
        commit();
        drop(right);
        true
    }

    pub fn segments(&self) -> Arc<Vec<Arc<S>>> {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a segment behind the others.
    pub fn add_segment(&self, segment: Arc<S>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut longer = Vec::clone(&segments);
        longer.push(segment);
        *segments = Arc::new(longer);
    }

    /// Where an end stands, and segments that hold all events before it.
    pub fn seen(&self, end: impl Fn(&Self) -> u64) -> (u64, Arc<Vec<Arc<S>>>) {
        // In this order: all events up to the end are in the segments seen after it.
        let end = end(self);
        (end, self.segments())
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

    /// Whether events up to an offset are kept.
    pub fn is_kept(&self, target: u64, kept: Kept) -> Result<bool, F> {
        let end = match kept {
            Kept::Written => self.written_end(),
            Kept::Durable => self.durable_end(),
        };
        match self.failure() {
            Some(failure) if end < target => Err(failure.clone()),
            _ => Ok(end >= target),
        }
    }

    /// The failure after which nothing can be promised.
    pub fn failure(&self) -> Option<&F> {
        self.failure.get()
    }

    /// Takes note of a failure; the first one stays.
    pub fn note_failure(&self, failure: impl FnOnce() -> F) -> F {
        self.failure.get_or_init(failure).clone()
    }

    /// Takes note that a write or sync failed. All who wait are told.
    pub fn fail(&self, failure: F) -> F {
        let first = self.note_failure(|| failure);
        // Tasks are woken by the background: a waker is foreign code, and locks are held here.
        self.waiters().unpark_threads();
        self.signal.set();
        first
    }

    /// Syncs for all. One at a time: the system tells a failure to one of two syncs of a handle, and the other one
    /// would report success over bytes that are lost. Whoever comes second finds the failure.
    pub fn sync(&self, sync: impl FnOnce() -> Result<(), F>) -> Result<(), F> {
        let _one = lock(&self.syncing);
        if let Some(failure) = self.failure() {
            return Err(failure.clone());
        }
        sync().map_err(|failure| self.fail(failure))
    }

    /// Waits until events up to an offset are durable. Where nobody syncs, this thread does it for all, by `commit`.
    pub fn wait_durable(&self, target: u64, commit: impl Fn()) -> Result<(), F> {
        let mut waiting = None;
        let outcome = loop {
            match self.is_kept(target, Kept::Durable) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
            if self.lead(&commit) {
                self.wake();
                continue;
            }
            if waiting.is_none() {
                // Then look once more: whoever has the right looks at those who wait after giving it back.
                waiting = Some(self.waiters().join(target, None, Waiter::Thread(current())));
                continue;
            }
            park();
        };
        if let Some(id) = waiting {
            self.waiters().leave(target, id);
        }
        outcome
    }

    /// Waits for events that others make durable, until `stop` says why not any more. `park` waits for this thread to
    /// be woken, and may end for nothing.
    pub fn watch<W>(&self, target: u64, stop: impl Fn() -> Option<W>, park: impl Fn()) -> Watched<F, W> {
        let mut waiting = None;
        let watched = loop {
            // In this order: nothing becomes durable in a closed log.
            let closed = self.is_closed();
            match self.is_kept(target, Kept::Durable) {
                Ok(false) => {}
                Ok(true) => break Watched::Durable,
                Err(failure) => break Watched::Failed(failure),
            }
            if closed {
                break Watched::Closed;
            }
            if let Some(why) = stop() {
                break Watched::Stopped(why);
            }
            let is_first = waiting.is_none();
            waiting = Some(self.waiters().join(target, waiting, Waiter::Watcher(current())));
            if is_first {
                // Whoever published before now did not see this thread.
                continue;
            }
            park();
        };
        if let Some(id) = waiting {
            self.waiters().leave(target, id);
        }
        watched
    }

    /// Looks whether events up to an offset are kept; if not, the task is woken when that may have changed.
    pub fn poll(&self, target: u64, kept: Kept, waiting: &mut Option<u64>, waker: &Waker) -> Poll<Result<(), F>> {
        // Before looking, so that no wake-up falls between.
        *waiting = Some(match kept {
            Kept::Written => self.waiters().join_written(target, *waiting, waker.clone()),
            Kept::Durable => self.waiters().join(target, *waiting, Waiter::Task(waker.clone())),
        });
        let outcome = match self.is_kept(target, kept) {
            Ok(false) => {
                // A task cannot sync for itself.
                self.signal.set();
                return Poll::Pending;
            }
            Ok(true) => Ok(()),
            Err(failure) => Err(failure),
        };
        self.leave(target, waiting);
        Poll::Ready(outcome)
    }

    /// Waits no longer.
    pub fn leave(&self, target: u64, waiting: &mut Option<u64>) {
        if let Some(id) = waiting.take() {
            self.waiters().leave(target, id);
        }
    }

    /// Wakes the next leader, then those whose events are durable.
    pub fn wake(&self) {
        let wake = self.waiters().durable(self.durable_end());
        if let Some(leader) = wake.leader {
            leader.unpark();
        } else if wake.only_tasks_left {
            self.signal.set();
        }
        wake.done.into_values().for_each(Waiter::wake);
        self.wake_written();
    }

    /// Wakes the tasks whose events are with the operating system.
    pub fn wake_written(&self) {
        let written = self.waiters().written(self.written_end());
        written.for_each(Waker::wake);
    }

    /// Wakes all: each looks for itself.
    pub fn wake_all(&self) {
        let all = self.waiters().all();
        all.for_each(Waiter::wake);
    }

    /// Whether nothing will become durable any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes note of the end of the log; all who wait for more are told.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake_all();
    }
}
