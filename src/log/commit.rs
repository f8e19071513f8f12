//! Group commit: one waiting thread writes and syncs for all who wait. While it syncs, the next group
//! gathers; there is no timer.
//!
//! 1. whoever gets the sync right writes all that waits (a few `pwrite`s in order), then syncs the file once;
//! 2. it publishes the durable end, first in the file `LOCK`, then in memory;
//! 3. it gives the right back and wakes the next leader, before it wakes those whose events are durable.

use std::io;
use std::sync::Arc;

use super::append::Durability;
use super::error::{AppendError, IoFailure};
use super::group::Kept;
use super::layout::{self, segment_path};
use super::lock::LockRecord;
use super::plan::{Item, NewSegment};
use super::shared::{Shared, ToSeal, lock};
use crate::batch::{ClosedBatch, Kind, Previous, control_batch};
use crate::disk::DiskFile;
use crate::planted::{Bug, planted};
use crate::segment::{PAGE_BYTES, Segment};

/// Where the next write goes.
#[derive(Debug)]
pub(super) struct Io {
    pub segment: Arc<Segment>,
    pub file: Arc<dyn DiskFile>,
    /// Behind the last batch that was written.
    pub at: u64,
    pub previous: Previous,
    /// Offset after the last event that was written.
    pub end: u64,
    pub last_kind: Kind,
    /// Bytes of the segment that are durable.
    pub durable_at: u64,
    /// The file `LOCK`; closed with the log.
    pub lock_file: Option<Arc<dyn DiskFile>>,
    pub lock_sequence: u64,
    /// Bytes of the last sync, by which zero-filling ahead is worth it or not.
    pub synced_bytes: u64,
}

impl Shared {
    /// Waits until events up to an offset are with the operating system.
    pub fn wait_written(&self, target: u64) -> Result<(), AppendError> {
        while !self.is_kept(target, Kept::Written)? {
            // A failure ends the loop by its poison.
            let _ = self.write_and_wake();
        }
        Ok(())
    }

    /// Waits until events up to an offset are durable.
    pub fn wait_durable(&self, target: u64) -> Result<(), AppendError> {
        // A failure ends the wait by its poison.
        self.group.wait_durable(target, || drop(self.commit())).map_err(AppendError::OutcomeUnknown)
    }

    /// Makes durable all that was appended so far, for all who wait.
    pub fn commit_all(&self) -> Result<(), IoFailure> {
        let right = self.group.right();
        let outcome = self.commit();
        drop(right);
        self.group.wake();
        outcome
    }

    /// Writes and syncs all that waits. The caller has the sync right.
    fn commit(&self) -> Result<(), IoFailure> {
        self.write_queue()?;
        let (segment, file, at, end) = {
            let io = self.io();
            (Arc::clone(&io.segment), Arc::clone(&io.file), io.at, io.end)
        };
        let taken = {
            let mut plan = self.plan();
            plan.unsynced_since = (plan.next != end).then(|| self.env.clock.monotonic_ms());
            plan.unsynced_bytes = 0;
            plan.taken
        };
        if planted(Bug::DurableEndBeforeSync) {
            self.group.publish_durable(end);
        }
        if planted(Bug::LockBeforeSync) {
            let _ = self.write_lock_record(&mut self.io(), end);
        }
        if !planted(Bug::AckBeforeSync) {
            self.sync_file(&*file, &segment.path)?;
        }
        let mut io = self.io();
        if io.segment.base() == segment.base() {
            io.synced_bytes = at.saturating_sub(io.durable_at);
            io.durable_at = at;
        }
        self.publish(&mut io, end);
        let small = io.synced_bytes < super::fill::SMALL_SYNC_BYTES;
        drop(io);
        if small && self.wants_fill(at, taken) {
            self.work_signal.set();
        }
        Ok(())
    }

    /// Writes what waits, so that appends need not wait for memory.
    pub fn write_pending(&self) -> Result<(), AppendError> {
        self.write_and_wake().map_err(AppendError::Poisoned)
    }

    /// Gives all that waits to the operating system, and wakes those whose events a roll made durable. The caller
    /// has no lock, and not the sync right: a waker is foreign code.
    pub fn write_and_wake(&self) -> Result<(), IoFailure> {
        let durable_end = self.durable_end();
        let outcome = self.write_queue();
        if self.durable_end() > durable_end {
            self.group.wake();
        }
        outcome
    }

    /// Gives all that waits to the operating system, in order.
    fn write_queue(&self) -> Result<(), IoFailure> {
        let mut io = self.io();
        if let Some(failure) = self.poisoned() {
            return Err(failure.clone());
        }
        let items = self.plan().take_queue();
        let mut written = Vec::new();
        for item in items {
            match item {
                Item::Batch(batch) => written.push(self.write_batch(&mut io, batch)?),
                Item::Roll(new) => self.roll_files(&mut io, *new)?,
            }
        }
        drop(io);
        if !written.is_empty() {
            let mut plan = self.plan();
            let room = POOL_BUFFERS.saturating_sub(plan.pool.len());
            plan.pool.extend(written.into_iter().filter(|buffer| buffer.capacity() <= POOL_BUFFER_BYTES).take(room));
        }
        Ok(())
    }

    /// Writes a batch behind the last one; returns its memory.
    pub fn write_batch(&self, io: &mut Io, mut batch: ClosedBatch) -> Result<Vec<u8>, IoFailure> {
        let planned = batch.bytes.len();
        if batch.header.kind.holds_events() {
            batch.compress(self.options.codec);
        }
        let at = io.at;
        let hint = if planted(Bug::HintAhead) { io.end } else { self.durable_end() };
        io.previous = batch.seal(io.segment.header.salt, at, io.previous, hint);
        let end_at = at + batch.bytes.len() as u64;
        self.claim_from_fill(io.segment.base(), end_at);
        match io.file.write_all_at(&batch.bytes, at) {
            Err(error) if !planted(Bug::WriteErrorIgnored) => {
                return Err(self.fail(IoFailure::new("writing", &io.segment.path, error)));
            }
            _ => {}
        }
        if batch.bytes.len() < planned {
            // The plan reckoned with the length before compression.
            let mut plan = self.plan();
            if plan.header.base == io.segment.header.base {
                plan.at -= (planned - batch.bytes.len()) as u64;
            }
        }
        io.at = end_at;
        io.last_kind = batch.header.kind;
        io.end = batch.header.end_offset();
        io.segment.note(&batch.header, at);
        self.group.publish_written(io.end);
        Ok(batch.bytes)
    }

    /// Ends the active segment and begins the next one. Its file gets its name only when all before it is
    /// durable and its own head is.
    fn roll_files(&self, io: &mut Io, mut new: NewSegment) -> Result<(), IoFailure> {
        let old = Arc::clone(&io.segment);
        if !planted(Bug::RollNotSynced) {
            self.sync_file(&*io.file, &old.path)?;
        }
        io.durable_at = io.at;
        let end = io.end;
        self.publish(io, end);
        new.header.previous_crc = io.previous.body_crc;
        let path = segment_path(&self.dir, new.header.base.raw());
        let at = PAGE_BYTES as u64;
        let previous = new.carry.seal(new.header.salt, at, Previous::default(), io.end);
        let failed = |doing, error| self.fail(IoFailure::new(doing, &path, error));
        let begin = || {
            new.file.write_all_at(&new.header.encode(), 0)?;
            new.file.write_all_at(&new.carry.bytes, at)?;
            if !planted(Bug::HeadNotSynced) {
                new.file.sync()?;
            }
            self.env.disk.remove(&new.room)?;
            self.env.disk.rename(&new.unborn, &path)?;
            if planted(Bug::RenameNotSynced) { Ok(()) } else { self.env.disk.sync_dir(&self.dir) }
        };
        begin().map_err(|error| failed("beginning", error))?;
        let segment = Arc::new(Segment::new(Arc::clone(&self.env.disk), path.clone(), new.header));
        segment.activate(Arc::clone(&new.file));
        self.group.add_segment(Arc::clone(&segment));
        let (old_file, old_at) = (std::mem::replace(&mut io.file, new.file), io.at);
        if let Err(error) = old_file.unlock() {
            tracing::warn!(file = %old.path.display(), %error, "not unlocked");
        }
        io.segment = segment;
        io.at = at + new.carry.bytes.len() as u64;
        io.previous = previous;
        io.durable_at = io.at;
        io.last_kind = Kind::Carry;
        self.begin_fill(new.header.base.raw(), io.at);
        self.publish(io, end);
        tracing::debug!(segment = %io.segment.path.display(), "rolled");
        lock(&self.to_seal).push(ToSeal { segment: old, file: old_file, end_at: old_at });
        self.work_signal.set();
        Ok(())
    }

    /// Says what is durable, to other processes first: what was acknowledged here is then seen everywhere.
    fn publish(&self, io: &mut Io, end: u64) {
        // It only helps readers and recovery: a copy that is too old says too little, never too much.
        if let Err(error) = self.write_lock_record(io, end) {
            tracing::warn!(file = %self.dir.join(layout::LOCK).display(), %error, "not written");
        }
        self.group.publish_durable(end);
    }

    /// Writes down in the file `LOCK` that events up to an offset are durable.
    pub fn write_lock_record(&self, io: &mut Io, end: u64) -> io::Result<()> {
        let Some(file) = &io.lock_file else { return Ok(()) };
        io.lock_sequence += 1;
        let record = LockRecord {
            sequence: io.lock_sequence,
            boot: self.env.boot,
            segment: io.segment.base(),
            written_end: self.group.written_end(),
            durable_end: self.durable_end().max(end),
            durable_at: u32::try_from(io.durable_at).unwrap_or(u32::MAX),
            pid: std::process::id(),
        };
        file.write_all_at(&record.encode(), 0)
    }

    /// Writes the mark of an idle log, unless it is being closed.
    pub fn write_idle_mark(&self) -> Result<(), IoFailure> {
        self.write_mark(Kind::Mark, true)
    }

    /// Writes a batch that holds no event, behind all that was written. The caller has no lock.
    fn write_mark(&self, kind: Kind, unless_closed: bool) -> Result<(), IoFailure> {
        let mut io = self.io();
        if let Some(failure) = self.poisoned() {
            return Err(failure.clone());
        }
        // The plan has to know: its next batch stands behind the mark. Nothing may be open or queued then.
        let mark = {
            let mut plan = self.plan();
            if plan.open.is_some() || !plan.queue.is_empty() || (unless_closed && plan.closed) {
                return Ok(());
            }
            let mark = control_batch(kind, plan.next, 0, plan.recorded_us, plan.tail_epoch, &[]);
            plan.at += mark.bytes.len() as u64;
            mark
        };
        self.write_batch(&mut io, mark).map(drop)
    }

    /// Ends the log: all that was appended is durable, and two marks say so.
    pub fn finish(&self) -> Result<(), IoFailure> {
        self.plan().closed = true;
        self.commit_all()?;
        if self.io().last_kind == Kind::CloseMark {
            return Ok(());
        }
        // Each mark is durable before the next thing is written: the second one says that all before it is.
        self.write_mark(Kind::Mark, false)?;
        self.commit_all()?;
        self.write_mark(Kind::CloseMark, false)?;
        self.commit_all()?;
        let file = self.io().lock_file.clone();
        if let Some(file) = file {
            let failed = |error| IoFailure::new("syncing", self.dir.join(layout::LOCK), error);
            file.sync().map_err(failed)?;
        }
        Ok(())
    }

    /// Waits for all that was appended so far.
    pub fn sync_all(&self, durability: Durability) -> Result<u64, AppendError> {
        let target = self.plan().next;
        match durability {
            Durability::Os => self.wait_written(target)?,
            Durability::Disk => self.wait_durable(target)?,
        }
        Ok(target)
    }
}

/// Buffers kept for the next batches, and the largest that is kept.
const POOL_BUFFERS: usize = 8;
const POOL_BUFFER_BYTES: usize = 1024 * 1024;
