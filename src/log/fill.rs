//! Zeros are written ahead of the batches, so that a small durable commit overwrites bytes the file system
//! knows already: its sync then has no journal to wait for (about 90 µs against 130 where it was measured).

use std::io;
use std::sync::Arc;

use super::error::IoFailure;
use super::shared::{Shared, lock};
use crate::disk::is_full;
use crate::disk::{DiskFile, Mode};
use crate::planted::{Bug, planted};
use crate::segment::Segment;

/// Syncs of up to this many bytes gain by it; larger ones spend their time on their own bytes.
pub(super) const SMALL_SYNC_BYTES: u64 = 64 * 1024;
/// Bytes that are to be ready ahead, and when to make more ready.
const AHEAD_BYTES: u64 = 1024 * 1024;
const LOW_BYTES: u64 = 256 * 1024;
/// Small writes: large pages in the page cache make small overwrites slow on some kernels.
const PIECE: [u8; 16 * 1024] = [0; 16 * 1024];

/// How far the active segment is filled. Its lock keeps zeros and batches apart.
#[derive(Debug, Default)]
pub(super) struct Fill {
    /// Base of the segment it is about.
    segment: u64,
    /// Bytes before this one are written, or claimed by a batch.
    filled: u64,
    /// A handle of its own: the system tells each handle once that writing back failed, and the one that the
    /// batches are synced through must not miss it because this one was told.
    file: Option<Arc<dyn DiskFile>>,
}

impl Fill {
    pub fn new(segment: u64, filled: u64) -> Self {
        Fill { segment, filled, file: None }
    }
}

impl Shared {
    /// The next segment is active: nothing of it is filled.
    pub(super) fn begin_fill(&self, segment: u64, at: u64) {
        *lock(&self.fill) = Fill::new(segment, at);
    }

    /// No zeros will be written before this position any more.
    pub(super) fn claim_from_fill(&self, segment: u64, end_at: u64) {
        let mut fill = lock(&self.fill);
        if fill.segment == segment && !planted(Bug::ZerosOverBatches) {
            fill.filled = fill.filled.max(end_at);
        }
    }

    /// Whether little is ready behind the last batch.
    pub(super) fn wants_fill(&self, at: u64, taken: u64) -> bool {
        lock(&self.fill).filled < taken.min(at + LOW_BYTES)
    }

    /// The handle that zeros are written through; `None` when there is none to be had, or no need any more.
    fn fill_file(&self, segment: &Segment) -> Option<Arc<dyn DiskFile>> {
        let mut fill = lock(&self.fill);
        if fill.segment != segment.base() {
            return None;
        }
        if fill.file.is_none() {
            match self.env.disk.open(&segment.path, Mode::Write) {
                Ok(file) => fill.file = Some(file),
                Err(error) => tracing::debug!(segment = %segment.path.display(), %error, "no zeros ahead"),
            }
        }
        fill.file.clone()
    }

    /// Writes zeros ahead when small commits need them. Returns whether it did.
    pub(super) fn fill_ahead(&self) -> Result<bool, IoFailure> {
        let (segment, at, small) = {
            let io = self.io();
            (io.segment.clone(), io.at, io.synced_bytes < SMALL_SYNC_BYTES && io.synced_bytes > 0)
        };
        if !small || self.poisoned().is_some() {
            return Ok(false);
        }
        let taken = {
            let plan = self.plan();
            if plan.header.base != segment.header.base {
                return Ok(false);
            }
            plan.taken
        };
        if !self.wants_fill(at, taken) {
            return Ok(false);
        }
        let Some(file) = self.fill_file(&segment) else { return Ok(false) };
        let to = taken.min(at + AHEAD_BYTES);
        let mut done = false;
        let write = |done: &mut bool| -> io::Result<()> {
            loop {
                let mut fill = lock(&self.fill);
                if fill.segment != segment.base() || fill.filled >= to {
                    break;
                }
                let len = usize::try_from(to - fill.filled).unwrap_or(PIECE.len()).min(PIECE.len());
                file.write_all_at(PIECE.get(..len).unwrap_or_default(), fill.filled)?;
                fill.filled += len as u64;
                *done = true;
            }
            // Otherwise the next commit would have to carry these bytes to the disk too.
            if *done { file.sync() } else { Ok(()) }
        };
        match write(&mut done) {
            Ok(()) => Ok(done),
            // No harm is done: the batches will find the room they took, or say so themselves.
            Err(error) if is_full(&error) => Ok(false),
            // A failed sync may have taken batches with it, whose own sync would then report success.
            Err(error) => Err(self.fail(IoFailure::new("filling", &segment.path, error))),
        }
    }
}
