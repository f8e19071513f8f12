//! The walk backward over the stored batches of a range: block by block, each read forward and handed out from
//! its end.

use std::sync::Arc;

use super::error::ReadError;
use super::walk::{Cursor, View, read_error};
use crate::Offset;
use crate::batch::Kind;
use crate::planted::{Bug, planted};
use crate::segment::{Block, RawBatch, ReadMode, ScanError, Segment};
use crate::window::Window;

/// Bytes of batches that are read at once, about: from one block up to as many as make the read worth it.
const READ_BYTES: u64 = 256 * 1024;

/// What stands in a block: batches of events and gaps.
#[derive(Debug)]
enum Found {
    Batch(RawBatch),
    Lost(u64, u64),
}

/// A walk backward over the stored batches of a range.
#[derive(Debug)]
pub(super) struct BackwardCursor {
    view: View,
    mode: ReadMode,
    /// The first offset of the range, and the one behind the next to be looked at.
    from: u64,
    next: u64,
    pub end: u64,
    pub window: Option<Window>,
    /// What was read and not given yet, with its segment.
    found: Vec<Found>,
    segment: Option<Arc<Segment>>,
    /// The block that was read last, and how many bytes are read next.
    last: Option<Block>,
    bytes: u64,
    ended: bool,
    error: Option<ReadError>,
}

impl BackwardCursor {
    pub fn new(forward: Cursor) -> Self {
        let Cursor { view, mode, next, end, window, error, .. } = forward;
        BackwardCursor {
            view,
            mode,
            from: next,
            next: end,
            end,
            window,
            found: Vec::new(),
            segment: None,
            last: None,
            bytes: 0,
            ended: false,
            error,
        }
    }

    /// The offset behind the next event to be looked at.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The batch of events before, with its segment.
    pub fn next(&mut self) -> Option<Result<(Arc<Segment>, RawBatch), ReadError>> {
        if let Some(error) = self.error.take() {
            self.ended = true;
            return Some(Err(error));
        }
        loop {
            if self.ended {
                return None;
            }
            match (self.found.pop(), &self.segment) {
                (Some(Found::Batch(batch)), Some(segment)) => {
                    self.next = batch.header.base_offset;
                    return Some(Ok((Arc::clone(segment), batch)));
                }
                (Some(Found::Lost(first, end)), _) => {
                    self.next = first;
                    let end = Offset::from_raw(end.min(self.end));
                    return Some(Err(ReadError::Lost { first: Offset::from_raw(first.max(self.from)), end }));
                }
                _ if self.next <= self.from => self.ended = true,
                _ if self.next <= self.view.head => {
                    self.ended = true;
                    return Some(Err(ReadError::Trimmed { head: Offset::from_raw(self.view.head) }));
                }
                _ => {
                    if let Err(error) = self.read() {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// Stops the walk: what was read is not what it should be.
    pub fn fail(&mut self) {
        self.ended = true;
    }

    /// Reads the blocks before the next offset, as far as they are wanted.
    fn read(&mut self) -> Result<(), ReadError> {
        let segments = Arc::clone(&self.view.segments);
        let behind = segments.partition_point(|segment| segment.base() < self.next);
        let Some(segment) = behind.checked_sub(1).and_then(|index| segments.get(index)) else {
            self.ended = true;
            return Ok(());
        };
        if self.segment.as_ref().is_none_or(|last| last.base() != segment.base()) {
            self.segment = Some(Arc::clone(segment));
            self.last = None;
        }
        let first = self.next;
        self.read_blocks(segment).map_err(|error| read_error(segment, error, first))
    }

    fn read_blocks(&mut self, segment: &Segment) -> Result<(), ScanError> {
        let (to, base) = (self.next, segment.base());
        if let (Some(window), Some(trailer)) = (self.window, segment.trailer())
            && trailer.lost_events == 0
            && !window.meets(trailer.time_min_us, trailer.time_max_us)
        {
            self.next = base;
            return Ok(());
        }
        segment.note_to(to, self.mode)?;
        let mut block = segment.block_of(to.saturating_sub(1), self.mode)?;
        while self.window.is_some_and(|window| !block.meets(window)) {
            self.next = block.base;
            if block.base <= self.from.max(base) {
                return Ok(());
            }
            block = segment.block_of(block.base.saturating_sub(1), self.mode)?;
        }
        let (to, end_at) = (self.next, block.end.map(|(_, at)| at));
        // Further back in the same read, unless a block between is not wanted.
        let far = block.at.saturating_sub(self.bytes);
        self.bytes = (self.bytes * 2).clamp(READ_BYTES / 16, READ_BYTES);
        while block.base > self.from.max(base) {
            let before = segment.block_of(block.base.saturating_sub(1), self.mode)?;
            if before.at < far || before.base >= block.base || self.window.is_some_and(|w| !before.meets(w)) {
                break;
            }
            block = before;
        }
        let mut scan = segment.scan_block(&block, end_at, self.mode)?;
        while scan.next_offset().is_none_or(|next| next < to) {
            let Some(batch) = scan.next()? else { break };
            let (first, end) = (batch.header.base_offset, batch.header.end_offset());
            if end <= self.from || first >= to || (planted(Bug::BackwardSkips) && first + 1 == to) {
                continue;
            }
            match batch.header.kind {
                Kind::Events | Kind::System => self.found.push(Found::Batch(batch)),
                Kind::Gap => self.found.push(Found::Lost(first, end)),
                Kind::Carry | Kind::Mark | Kind::CloseMark | Kind::Footer => {}
            }
        }
        if scan.next_offset().is_none_or(|next| next < to) {
            let error = crate::batch::BatchError::Corrupt("the segment ends before its events do");
            return Err(ScanError::Batch { at: scan.position(), error });
        }
        if self.found.is_empty() {
            self.next = block.base;
        }
        Ok(())
    }
}
