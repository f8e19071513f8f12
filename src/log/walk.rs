//! A view of a log at one moment, and the walk forward over its stored batches.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::error::{IoFailure, ReadError};
use super::files::damage;
use super::finder::Finder;
use super::pick::Picks;
use crate::Offset;
use crate::batch::{Batch, BatchError, Kind};
use crate::segment::{RawBatch, ReadMode, Scan, ScanError, Segment, next_good};
use crate::window::Window;

/// The segments of a log and where its readable events end, at one moment.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub segments: Arc<Vec<Arc<Segment>>>,
    pub head: u64,
    pub end: u64,
    pub mode: ReadMode,
    pub finder: Arc<Finder>,
}

impl View {
    /// A log with nothing in it.
    pub fn empty(finder: &Arc<Finder>) -> Self {
        let (segments, mode) = Default::default();
        View { segments, head: 0, end: 0, mode, finder: Arc::clone(finder) }
    }

    /// The index of the segment that holds an offset.
    pub fn segment_of(&self, offset: u64) -> usize {
        self.segments.partition_point(|segment| segment.base() <= offset).saturating_sub(1)
    }

    /// The offset behind the readable events of a segment.
    pub fn end_of(&self, index: usize) -> u64 {
        self.segments.get(index + 1).map_or(self.end, |next| next.base().min(self.end))
    }

    /// What a range of offsets asks of this view: first offset and the one after the last.
    pub fn bounds(&self, range: &impl RangeBounds<Offset>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(from) => from.raw(),
            Bound::Excluded(before) => before.plus(1).raw(),
            Bound::Unbounded => self.head,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.plus(1).raw(),
            Bound::Excluded(to) => to.raw(),
            Bound::Unbounded => self.end,
        };
        (from, to.min(self.end))
    }
}

/// A failed read of a segment, in the words of a log. `first` is the first event that could not be read.
pub(super) fn read_error(segment: &Segment, error: ScanError, first: u64) -> ReadError {
    match error {
        ScanError::Io(error) => IoFailure::new("reading", &segment.path, error).into(),
        ScanError::Batch { error: BatchError::Unsupported(what), .. } => {
            ReadError::Unsupported { path: segment.path.clone(), what }
        }
        ScanError::Batch { at, error: BatchError::Corrupt(what) } => {
            let whole = segment.trailer().map_or(first, |trailer| trailer.end);
            // What lies behind the damage can still be read: say where it begins.
            let good = segment.file().and_then(|file| next_good(&*file, &segment.header, at + 1)).ok().flatten();
            let end = good.map(|(_, base)| base).filter(|base| *base > first).unwrap_or(whole);
            ReadError::Damaged(damage(&segment.path, at, first, end, what))
        }
    }
}

/// A walk over the stored batches of a range.
#[derive(Debug)]
pub(super) struct Cursor {
    pub view: View,
    pub mode: ReadMode,
    /// The next offset to be looked at, and where the range ends.
    pub next: u64,
    pub end: u64,
    /// Only events that happened in it are wanted.
    pub window: Option<Window>,
    /// Up to this offset the walk at hand goes on; then blocks may be passed over.
    wanted_to: u64,
    scan: Option<(usize, Scan)>,
    /// Bytes asked of a file at once, if not as many as usual.
    read_bytes: Option<usize>,
    failed: bool,
    /// Which batches may hold what is wanted; `None`: all are looked at.
    pub picks: Option<Box<Picks>>,
    /// Why there is nothing to read.
    pub error: Option<ReadError>,
}

impl Cursor {
    pub fn new(view: View, (from, to): (u64, u64), mode: ReadMode) -> Self {
        Cursor {
            view,
            mode,
            next: from,
            end: to,
            window: None,
            wanted_to: u64::MAX,
            scan: None,
            read_bytes: None,
            failed: false,
            picks: None,
            error: None,
        }
    }

    /// The same, asking a file for no more bytes at once than this, or than a batch has.
    pub fn reading(self, bytes: usize) -> Self {
        Cursor { read_bytes: Some(bytes), ..self }
    }

    /// Goes on where it ended, up to the end of a later view.
    pub fn go_on(&mut self, view: View) -> Result<(), ReadError> {
        self.end = view.end;
        if let Some((index, mut scan)) = self.scan.take()
            && let Some(base) = self.view.segments.get(index).map(|segment| segment.base())
            && let Ok(index) = view.segments.binary_search_by_key(&base, |segment| segment.base())
            && let Some(segment) = view.segments.get(index)
        {
            scan.go_on(|file_len| segment.batches_end(file_len)).map_err(|e| read_error(segment, e, self.next))?;
            self.scan = Some((index, scan));
        }
        self.view = view;
        Ok(())
    }

    fn trimmed(&self) -> Option<ReadError> {
        let head = Offset::from_raw(self.view.head);
        (self.next < self.view.head && self.next < self.end).then_some(ReadError::Trimmed { head })
    }

    /// The next batch of events with its segment.
    pub fn next(&mut self) -> Option<Result<(Arc<Segment>, RawBatch), ReadError>> {
        if let Some(error) = self.error.take() {
            self.failed = true;
            return Some(Err(error));
        }
        if self.failed || self.next >= self.end {
            return None;
        }
        if let Some(error) = self.trimmed() {
            self.failed = true;
            return Some(Err(error));
        }
        loop {
            match self.step() {
                Ok(Some(found)) => return Some(Ok(found)),
                Ok(None) if self.next >= self.end => return None,
                Ok(None) => {}
                Err(error) => {
                    // Past a repaired gap the log goes on.
                    self.failed = !matches!(error, ReadError::Lost { .. });
                    return Some(Err(error));
                }
            }
        }
    }

    /// Looks at one batch; `None` when it holds no wanted event.
    fn step(&mut self) -> Result<Option<(Arc<Segment>, RawBatch)>, ReadError> {
        let segments = Arc::clone(&self.view.segments);
        let (index, mut scan) = match self.scan.take() {
            Some(scan) => scan,
            None => {
                let index = segments.partition_point(|segment| segment.base() <= self.next).saturating_sub(1);
                let Some(segment) = segments.get(index) else { return Ok(self.give_up()) };
                let next_base = segments.get(index + 1).map(|next| next.base());
                let wanted = self.pass_over(segment, next_base).map_err(|e| read_error(segment, e, self.next))?;
                if !wanted {
                    return Ok(None);
                }
                let scan = self.view.finder.scan_from(&self.view, segment, self.next, self.mode)?;
                (index, scan.reading(self.read_bytes))
            }
        };
        let Some(segment) = segments.get(index) else { return Ok(self.give_up()) };
        let next_base = segments.get(index + 1).map(|next| next.base());
        if next_base.is_some_and(|base| scan.next_offset().is_some_and(|next| next >= base)) {
            return Ok(None);
        }
        if let Some(picks) = &mut self.picks
            && !picks.leap(&self.view, index, &mut scan)?
        {
            self.next = self.view.end_of(index).max(self.next);
            return Ok(None);
        }
        let batch = match scan.next() {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                let what = BatchError::Corrupt("the segment ends before its events do");
                let error = ScanError::Batch { at: scan.position(), error: what };
                return Err(read_error(segment, error, self.next));
            }
            Err(error) => return Err(read_error(segment, error, self.next)),
        };
        if segment.trailer().is_none() {
            segment.note(&batch.header, batch.at);
        }
        let (first, end) = (self.next, batch.header.end_offset());
        if end < self.wanted_to {
            self.scan = Some((index, scan));
        }
        if end <= self.next {
            return Ok(None);
        }
        self.next = end;
        match batch.header.kind {
            Kind::Events | Kind::System => Ok(Some((Arc::clone(segment), batch))),
            Kind::Gap => {
                let end = Offset::from_raw(end.min(self.end));
                Err(ReadError::Lost { first: Offset::from_raw(first), end })
            }
            Kind::Carry | Kind::Mark | Kind::CloseMark | Kind::Footer => Ok(None),
        }
    }

    /// Moves on over events that cannot lie in the window: a whole segment by its trailer, blocks by their
    /// places. False when nothing is left in this segment.
    fn pass_over(&mut self, segment: &Segment, next_base: Option<u64>) -> Result<bool, ScanError> {
        let Some(window) = self.window else { return Ok(true) };
        let trailer = segment.trailer();
        let end = trailer.map(|trailer| trailer.end).or(next_base).unwrap_or(self.end);
        let lost = trailer.is_none_or(|trailer| trailer.lost_events > 0);
        if !lost && trailer.is_some_and(|trailer| !window.meets(trailer.time_min_us, trailer.time_max_us)) {
            self.next = self.next.max(end);
            return Ok(false);
        }
        segment.note_to(end.min(self.end), self.mode)?;
        let mut block = segment.block_of(self.next, self.mode)?;
        while !block.meets(window) {
            let next = block.end.map_or(end, |(base, _)| base).max(self.next);
            self.next = next;
            if next >= end.min(self.end) {
                return Ok(false);
            }
            block = segment.block_of(next, self.mode)?;
        }
        // The blocks behind it that are wanted too are read in the same walk.
        while let Some((next, _)) = block.end.filter(|_| block.meets(window)) {
            self.wanted_to = next;
            if next >= end {
                return Ok(true);
            }
            block = segment.block_of(next, self.mode)?;
        }
        if block.end.is_none() {
            self.wanted_to = u64::MAX;
        }
        Ok(true)
    }

    /// Stops the walk: what was read is not what it should be.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    fn give_up<T>(&mut self) -> Option<T> {
        self.next = self.end;
        None
    }
}

pub(super) fn decode(segment: &Segment, batch: RawBatch, from: u64, to: u64) -> Result<Batch, ReadError> {
    let first = batch.header.base_offset;
    let batch = batch.decode(segment.header.salt).map_err(|error| read_error(segment, error, first))?;
    Ok(batch.clip(from, to))
}
