//! Reading forward by offset: batches as they are stored, or single events that share a batch's memory.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::error::{IoFailure, ReadError};
use super::files::damage;
use crate::batch::{Batch, BatchError, Kind, Walk};
use crate::event::Event;
use crate::segment::{RawBatch, ReadMode, Scan, ScanError, Segment, next_good};
use crate::{Filter, Offset};

/// The segments of a log and where its readable events end, at one moment.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub segments: Arc<Vec<Arc<Segment>>>,
    pub head: u64,
    pub end: u64,
    pub mode: ReadMode,
}

impl View {
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
    view: View,
    mode: ReadMode,
    /// The next offset to be looked at, and where the range ends.
    next: u64,
    end: u64,
    scan: Option<(usize, Scan)>,
    failed: bool,
    /// Why there is nothing to read.
    error: Option<ReadError>,
}

impl Cursor {
    pub fn new(view: View, (from, to): (u64, u64), mode: ReadMode) -> Self {
        Cursor { view, mode, next: from, end: to, scan: None, failed: false, error: None }
    }

    fn trimmed(&self) -> Option<ReadError> {
        let head = Offset::from_raw(self.view.head);
        (self.next < self.view.head && self.next < self.end).then_some(ReadError::Trimmed { head })
    }

    /// The next batch of events with its segment.
    fn next(&mut self) -> Option<Result<(Arc<Segment>, RawBatch), ReadError>> {
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
                let scan = segment.scan_from(self.next, self.mode);
                (index, scan.map_err(|error| read_error(segment, error, self.next))?)
            }
        };
        let Some(segment) = segments.get(index) else { return Ok(self.give_up()) };
        let next_base = segments.get(index + 1).map(|next| next.base());
        if next_base.is_some_and(|base| scan.next_offset().is_some_and(|next| next >= base)) {
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
        self.scan = Some((index, scan));
        let (first, end) = (self.next, batch.header.end_offset());
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

    /// The next batch with events that a filter wants, unpacked; its events from before `from` are left out.
    fn next_matching(&mut self, from: u64, filter: &Filter) -> Option<Result<Batch, ReadError>> {
        loop {
            let (segment, batch) = match self.next()? {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            if batch.header.kind == Kind::System && !filter.wants_system() {
                continue;
            }
            match decode(&segment, batch, from, self.end) {
                Ok(batch) => match batch.matching(filter) {
                    Some(batch) => return Some(Ok(batch)),
                    None => continue,
                },
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }

    fn give_up<T>(&mut self) -> Option<T> {
        self.next = self.end;
        None
    }
}

fn decode(segment: &Segment, batch: RawBatch, from: u64, to: u64) -> Result<Batch, ReadError> {
    let first = batch.header.base_offset;
    let batch = batch.decode(segment.header.salt).map_err(|error| read_error(segment, error, first))?;
    Ok(batch.clip(from, to))
}

/// Batches of a range in order, each checked; their events borrow from them. The fastest way through a log.
///
/// Ends at the end seen when it was made. The log's own events come too unless a filter leaves them out.
#[derive(Debug)]
pub struct Batches {
    cursor: Cursor,
    from: u64,
    filter: Filter,
}

impl Batches {
    pub(super) fn new(view: View, range: &impl RangeBounds<Offset>) -> Self {
        let bounds = view.bounds(range);
        let mode = view.mode;
        Batches { cursor: Cursor::new(view, bounds, mode), from: bounds.0, filter: Filter::new().system(true) }
    }

    /// The same, giving an error first, if there is one.
    pub(super) fn failing(mut self, error: Option<ReadError>) -> Self {
        self.cursor.error = error;
        self
    }

    /// Only events that a filter wants; batches without any are passed over by their table of names.
    #[must_use]
    pub fn matching(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// The offset after the last event it will give.
    pub fn end(&self) -> Offset {
        Offset::from_raw(self.cursor.end)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next_matching(self.from, &self.filter)
    }
}

/// Events of a range in order. Each shares the memory of its batch and can be kept.
///
/// Ends at the end seen when it was made; the log's own events are left out unless asked for.
#[derive(Debug)]
pub struct Read {
    cursor: Cursor,
    from: u64,
    filter: Filter,
    batch: Option<(Batch, Walk)>,
}

impl Read {
    pub(super) fn new(view: View, range: &impl RangeBounds<Offset>) -> Self {
        let bounds = view.bounds(range);
        Read {
            // Events outlive the read, so they are never borrowed from a map: an I/O error stays an error.
            cursor: Cursor::new(view, bounds, ReadMode::Pread),
            from: bounds.0,
            filter: Filter::new(),
            batch: None,
        }
    }

    /// The same, giving an error first, if there is one.
    pub(super) fn failing(mut self, error: Option<ReadError>) -> Self {
        self.cursor.error = error;
        self
    }

    /// Only events that a filter wants.
    #[must_use]
    pub fn matching(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Only streams that match a pattern, or one given before; see [`Filter::stream`].
    #[must_use]
    pub fn streams(mut self, pattern: &str) -> Self {
        self.filter = self.filter.stream(pattern);
        self
    }

    /// Only types that match one of these patterns, or one given before.
    #[must_use]
    pub fn types<'t>(mut self, patterns: impl IntoIterator<Item = &'t str>) -> Self {
        self.filter = self.filter.types(patterns);
        self
    }

    /// The log's own events too.
    #[must_use]
    pub fn system(mut self, system: bool) -> Self {
        self.filter = self.filter.system(system);
        self
    }

    /// The offset after the last event it will look at.
    pub fn end(&self) -> Offset {
        Offset::from_raw(self.cursor.end)
    }

    /// How far it has looked, for showing progress: all before was given or left out.
    pub fn position(&self) -> Offset {
        Offset::from_raw(self.cursor.next.min(self.cursor.end))
    }
}

impl Iterator for Read {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((batch, walk)) = &mut self.batch
                && let Some(event) = walk.next_owned(batch)
            {
                return Some(Ok(event));
            }
            self.batch = None;
            match self.cursor.next_matching(self.from, &self.filter)? {
                Ok(batch) => {
                    let walk = Walk::new(&batch);
                    self.batch = Some((batch, walk));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
