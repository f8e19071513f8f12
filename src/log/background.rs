//! What a log does without being asked: late syncs, idle marks, footers, zeros ahead. Each is a step that a
//! test can run by hand; two threads run them otherwise.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::error::IoFailure;
use super::shared::{Shared, lock};
use crate::batch::Kind;
use crate::index::{self, Build, IndexName, IndexSet, NAME_UNFINISHED};
use crate::limits::{BATCH_BYTES_TARGET, IDLE_MARK_MS, OS_SYNC_BYTES, OS_SYNC_MS};
use crate::segment::{ScanError, seal};

/// How often a segment that could not be sealed is tried again.
const RETRY_MS: u64 = 1000;

/// Starts the threads of a log.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Vec<JoinHandle<()>>> {
    let spawn = |name: &str, run: fn(&Shared)| {
        let shared = Arc::clone(shared);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared))
    };
    let sync = spawn("annals-sync", Shared::run_sync)?;
    let mut threads = vec![sync];
    for (name, run) in [("annals-work", Shared::run_work as fn(&Shared)), ("annals-index", Shared::run_index)] {
        match spawn(name, run) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.stop_threads();
                threads.into_iter().for_each(|thread| drop(thread.join()));
                return Err(error);
            }
        }
    }
    Ok(threads)
}

impl Shared {
    fn run_sync(&self) {
        loop {
            let wait = self.next_sync_step_ms();
            if !self.group.signal.wait(wait) {
                return;
            }
            // A failure is kept in the log's poison, where everybody finds it.
            let _ = self.sync_step();
        }
    }

    fn run_work(&self) {
        loop {
            let wait = (!lock(&self.to_seal).is_empty()).then_some(RETRY_MS);
            if !self.work_signal.wait(wait) {
                return;
            }
            while self.seal_next() {}
            let _ = self.fill_ahead();
        }
    }

    fn run_index(&self) {
        // What an earlier writer left to be done is found at the first look.
        while self.index_next() {}
        while self.index_signal.wait(None) {
            while self.index_next() {}
        }
    }

    /// Tells all threads to end.
    pub fn stop_threads(&self) {
        [&self.group.signal, &self.work_signal, &self.index_signal].iter().for_each(|signal| signal.stop());
    }

    /// Makes the merged index that is due, or removes what is of no use beside the others. Returns whether
    /// there was anything to do. A failure leaves things as they are: only looking into the log is slower.
    pub fn index_next(&self) -> bool {
        let view = self.view();
        let count = view.segments.partition_point(|segment| segment.trailer().is_some()) as u64;
        if self.indexed.load(Ordering::Acquire) == count || self.poisoned().is_some() {
            return false;
        }
        // What was found to lie or to be damaged is made anew.
        for path in self.finder.merged(&view).bad() {
            if let Err(error) = self.env.disk.remove(path) {
                tracing::warn!(index = %path.display(), %error, "could not be removed");
            }
        }
        let merged = self.finder.find_merged_again(&view);
        let failed = lock(&self.not_indexed).clone();
        let Some(group) = index::due(&view.segments, &merged, &failed) else {
            self.remove_useless(&merged);
            self.indexed.store(count, Ordering::Release);
            return false;
        };
        let go_on = || !self.index_signal.is_stopped();
        let made = index::write(&*self.env.disk, &self.finder.folder, self.id, group, view.mode, &go_on);
        let again = self.finder.find_merged_again(&view);
        match made {
            Ok(Build::Done) if index::due(group, &again, &failed).is_none() => true,
            Ok(Build::Stopped) => false,
            other => {
                // One segment whose own indexes are damaged must not keep the others from theirs.
                tracing::warn!(folder = %self.finder.folder.display(), ?other, "an index could not be made");
                lock(&self.not_indexed).extend(IndexName::of(group));
                true
            }
        }
    }

    /// Removes index files that are not used: others cover theirs, or they are of other segments, or not whole.
    fn remove_useless(&self, merged: &IndexSet) {
        let (disk, folder) = (&*self.env.disk, &self.finder.folder);
        for entry in disk.list(folder).unwrap_or_default() {
            let unfinished = entry.name.strip_suffix(NAME_UNFINISHED).and_then(IndexName::read).is_some();
            let unused = IndexName::read(&entry.name).is_some_and(|name| !merged.uses(name));
            if (unfinished || unused)
                && let Err(error) = disk.remove(&folder.join(&entry.name))
            {
                tracing::warn!(index = entry.name, %error, "could not be removed");
            }
        }
    }

    /// Milliseconds until the next sync or mark is due; `None`: not before the next append or commit of a cursor.
    fn next_sync_step_ms(&self) -> Option<u64> {
        let cursors = self.cursors_due_in().map(|ms| ms.max(1));
        self.next_log_step_ms().into_iter().chain(cursors).min()
    }

    fn next_log_step_ms(&self) -> Option<u64> {
        let marked = {
            let io = self.io();
            matches!(io.last_kind, Kind::Mark | Kind::CloseMark)
        };
        let plan = self.plan();
        let marked = marked || plan.next == 0;
        if self.poisoned().is_some() || (plan.unsynced_since.is_none() && marked && plan.next == self.durable_end()) {
            self.idle.store(true, Ordering::Release);
            return None;
        }
        let now = self.env.clock.monotonic_ms();
        Some(match plan.unsynced_since {
            Some(since) => (since + OS_SYNC_MS / 2).saturating_sub(now).max(1),
            None => IDLE_MARK_MS,
        })
    }

    /// Writes, syncs or marks what is due. Returns whether anything was.
    pub fn sync_step(&self) -> Result<bool, IoFailure> {
        // The log first: who awaits an append does not wait for the cursors of others.
        let log = self.log_step();
        let cursors = self.sync_cursors();
        log.map(|log| log || cursors)
    }

    fn log_step(&self) -> Result<bool, IoFailure> {
        if self.poisoned().is_some() {
            self.group.wake_all();
            return Ok(false);
        }
        let (due, large, quiet) = {
            let now = self.env.clock.monotonic_ms();
            let mut plan = self.plan();
            let due = plan.unsynced_since.is_some_and(|since| now >= since + OS_SYNC_MS / 2);
            let large = plan.queued_bytes >= BATCH_BYTES_TARGET;
            (due || plan.unsynced_bytes >= OS_SYNC_BYTES, large, plan.is_quiet(now))
        };
        let awaited = self.group.waiters().await_write();
        if awaited {
            self.write_and_wake()?;
            self.group.wake_written();
        }
        if due || self.group.waiters().has_tasks() {
            self.commit_all()?;
            return Ok(true);
        }
        if large {
            self.write_and_wake()?;
            return Ok(true);
        }
        if quiet && !matches!(self.io().last_kind, Kind::Mark | Kind::CloseMark) {
            self.write_idle_mark()?;
            self.commit_all()?;
            return Ok(true);
        }
        Ok(awaited)
    }

    /// Seals the oldest segment that waits for it. Returns whether there may be more to do. A failed call leaves it
    /// waiting: its events are whole and durable, only looking into it is slower.
    pub fn seal_next(&self) -> bool {
        let _sealing = lock(&self.sealing);
        let Some(next) = lock(&self.to_seal).first().cloned() else { return false };
        match seal(&next.file, &next.segment.header, next.end_at) {
            Ok(trailer) => {
                next.segment.seal(trailer);
                lock(&self.to_seal).retain(|other| other.segment.base() != next.segment.base());
                self.plan().sealing.retain(|(base, _)| *base != next.segment.base());
                self.index_signal.set();
                tracing::debug!(segment = %next.segment.path.display(), "sealed");
                true
            }
            Err(ScanError::Io(error)) => {
                tracing::warn!(segment = %next.segment.path.display(), %error, "could not be sealed yet");
                false
            }
            Err(ScanError::Batch { at, error }) => {
                // Acknowledged events are gone: nothing is written behind them, as opening would refuse to.
                let error = std::io::Error::other(format!("it is damaged at byte {at}: {error}"));
                self.fail(IoFailure::new("sealing", &next.segment.path, error));
                false
            }
        }
    }
}
