//! Reading a range of offsets, forward or backward: batches as they are stored, or single events that share a
//! batch's memory.

use std::collections::VecDeque;
use std::ops::RangeBounds;
use std::sync::Arc;

#[cfg(feature = "tokio")]
use super::asynchronous::Chunk;
use super::backward::BackwardCursor;
use super::error::ReadError;
use super::pick::Picks;
use super::reader::LogReader;
use super::walk::{Cursor, View, decode};
use crate::batch::{BackwardWalk, Batch, Kind, Walk};
use crate::event::Event;
use crate::segment::{RawBatch, ReadMode, Segment};
use crate::window::Window;
use crate::{Filter, Offset, Timestamp};

/// A walk over stored batches, in one of the two directions.
#[derive(Debug)]
enum Way {
    Forward(Cursor),
    Backward(BackwardCursor),
}

/// A walk over the batches of a range that hold what is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    way: Way,
    from: u64,
    filter: Filter,
    /// A batch of users' events held nothing that is wanted.
    passed_events: bool,
}

impl Wanted {
    pub fn new(view: View, range: &impl RangeBounds<Offset>, mode: ReadMode, filter: Filter) -> Self {
        let bounds = view.bounds(range);
        Wanted { way: Way::Forward(Cursor::new(view, bounds, mode)), from: bounds.0, filter, passed_events: false }
    }

    fn failing(mut self, error: Option<ReadError>) -> Self {
        if let Way::Forward(cursor) = &mut self.way {
            cursor.error = error;
        }
        self
    }

    fn backward(self) -> Self {
        let way = match self.way {
            Way::Forward(cursor) => Way::Backward(BackwardCursor::new(cursor)),
            backward @ Way::Backward(_) => backward,
        };
        Wanted { way, ..self }
    }

    fn happened(mut self, window: Window) -> Self {
        *self.window_mut() = Some(window);
        self
    }

    fn window_mut(&mut self) -> &mut Option<Window> {
        match &mut self.way {
            Way::Forward(cursor) => &mut cursor.window,
            Way::Backward(cursor) => &mut cursor.window,
        }
    }

    fn is_backward(&self) -> bool {
        matches!(self.way, Way::Backward(_))
    }

    fn end(&self) -> u64 {
        match &self.way {
            Way::Forward(cursor) => cursor.end,
            Way::Backward(cursor) => cursor.end,
        }
    }

    pub fn position(&self) -> u64 {
        match &self.way {
            Way::Forward(cursor) => cursor.next.min(cursor.end),
            Way::Backward(cursor) => cursor.position(),
        }
    }

    fn next_raw(&mut self) -> Option<Result<(Arc<Segment>, RawBatch), ReadError>> {
        match &mut self.way {
            Way::Forward(cursor) => cursor.next(),
            Way::Backward(cursor) => cursor.next(),
        }
    }

    /// The next batch with wanted events, unpacked; its events outside the range are left out.
    pub fn next(&mut self) -> Option<Result<Batch, ReadError>> {
        loop {
            match self.look()? {
                Ok(None) => {}
                Ok(Some(batch)) => return Some(Ok(batch)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The same of one batch alone: within it there is nothing when it holds no wanted event.
    pub fn look(&mut self) -> Option<Result<Option<Batch>, ReadError>> {
        let window = *self.window_mut();
        if let Way::Forward(cursor) = &mut self.way
            && cursor.picks.is_none()
        {
            cursor.picks = Picks::by(&self.filter).map(Box::new);
        }
        let (segment, batch) = match self.next_raw()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let header = &batch.header;
        if header.kind == Kind::System && !self.filter.wants_system()
            || window.is_some_and(|window| !window.meets(header.time_min_us, header.time_max_us))
        {
            return Some(Ok(None));
        }
        match decode(&segment, batch, self.from, self.end()) {
            Ok(batch) => {
                let is_events = batch.header().kind == Kind::Events;
                let batch = batch.within(window).matching(&self.filter);
                self.passed_events |= is_events && batch.is_none();
                Some(Ok(batch))
            }
            Err(error) => {
                match &mut self.way {
                    Way::Forward(cursor) => cursor.fail(),
                    Way::Backward(cursor) => cursor.fail(),
                }
                Some(Err(error))
            }
        }
    }
}

/// Batches of a range in order, each checked; their events borrow from them. The fastest way through a log.
///
/// Ends at the end seen when it was made. The log's own events come too unless a filter leaves them out.
#[derive(Debug)]
pub struct Batches {
    wanted: Wanted,
}

impl Batches {
    pub(super) fn new(view: View, range: &impl RangeBounds<Offset>) -> Self {
        let mode = view.mode;
        Batches { wanted: Wanted::new(view, range, mode, Filter::new().system(true)) }
    }

    /// The same, giving an error first, if there is one.
    pub(super) fn failing(self, error: Option<ReadError>) -> Self {
        Batches { wanted: self.wanted.failing(error) }
    }

    /// Only events that a filter wants; batches without any are passed over by their table of names.
    #[must_use]
    pub fn matching(mut self, filter: Filter) -> Self {
        self.wanted.filter = filter;
        self
    }

    /// Only users' events that happened in a stretch of time; see [`Read::happened`].
    #[must_use]
    pub fn happened(self, times: impl RangeBounds<Timestamp>) -> Self {
        Batches { wanted: self.wanted.happened(Window::new(&times)) }
    }

    /// From the last batch back to the first. Within a batch, [`events_backward`](Batch::events_backward) goes
    /// the same way. To be asked for before the first batch is taken.
    #[must_use]
    pub fn backward(self) -> Self {
        Batches { wanted: self.wanted.backward() }
    }

    /// The offset after the last event of its range.
    pub fn end(&self) -> Offset {
        Offset::from_raw(self.wanted.end())
    }

    /// Looks at one stored batch alone: within it there is nothing when it holds no wanted event.
    pub(crate) fn look_at_next(&mut self) -> Option<Result<Option<Batch>, ReadError>> {
        self.wanted.look()
    }

    /// Whether whole batches of users' events were left out.
    pub(crate) fn has_passed_events(&self) -> bool {
        self.wanted.passed_events
    }

    /// All before it was given or left out.
    pub(crate) fn looked_to(&self) -> Offset {
        Offset::from_raw(self.wanted.position())
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wanted.next()
    }
}

/// Events of a range in order. Each shares the memory of its batch and can be kept.
///
/// Ends at the end seen when it was made; the log's own events are left out unless asked for.
#[derive(Debug)]
pub struct Read {
    #[cfg(feature = "tokio")]
    reader: LogReader,
    wanted: Wanted,
    batch: Option<(Batch, Within)>,
}

/// How far a batch was read.
#[derive(Debug)]
enum Within {
    Forward(Walk),
    Backward(BackwardWalk),
}

impl Within {
    fn next(&mut self, batch: &Batch) -> Option<Event> {
        match self {
            Within::Forward(walk) => walk.next_owned(batch),
            Within::Backward(walk) => walk.next_owned(batch),
        }
    }
}

impl Read {
    #[cfg_attr(not(feature = "tokio"), allow(unused_variables))] // a stream is read by the handle's thread
    pub(super) fn new(reader: &LogReader, view: View, range: &impl RangeBounds<Offset>) -> Self {
        Read {
            #[cfg(feature = "tokio")]
            reader: reader.clone(),
            // Events outlive the read, so they are never borrowed from a map: an I/O error stays an error.
            wanted: Wanted::new(view, range, ReadMode::Pread, Filter::new()),
            batch: None,
        }
    }

    #[cfg(feature = "tokio")]
    pub(super) fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// Fills a chunk, out of so many batches.
    #[cfg(feature = "tokio")]
    pub(super) fn fill(&mut self, chunk: &mut Chunk, batches: usize) {
        for _ in 0..batches {
            if self.batch.is_none() {
                match self.wanted.look() {
                    Some(Ok(Some(batch))) => {
                        chunk.begin_batch(batch.bytes());
                        self.batch = Some(self.within(batch));
                    }
                    Some(Ok(None)) => {}
                    Some(Err(error)) => {
                        chunk.error = Some(error);
                        break;
                    }
                    None => {
                        chunk.ended = true;
                        break;
                    }
                }
            }
            while let Some((batch, within)) = &mut self.batch {
                match within.next(batch) {
                    Some(event) => {
                        if !chunk.push(event) {
                            chunk.behind = self.reached(chunk);
                            return;
                        }
                    }
                    None => self.batch = None,
                }
            }
        }
        chunk.behind = self.wanted.position();
    }

    /// Behind the last event of a chunk, when its batch has more.
    #[cfg(feature = "tokio")]
    fn reached(&self, chunk: &Chunk) -> u64 {
        let last = chunk.events.last().map_or(self.wanted.position(), |event| event.offset().raw());
        if self.wanted.is_backward() { last } else { last + 1 }
    }

    fn within(&self, batch: Batch) -> (Batch, Within) {
        let within = match self.wanted.is_backward() {
            false => Within::Forward(Walk::new(&batch)),
            true => Within::Backward(BackwardWalk::new(&batch)),
        };
        (batch, within)
    }

    /// The same, giving an error first, if there is one.
    pub(super) fn failing(self, error: Option<ReadError>) -> Self {
        Read { wanted: self.wanted.failing(error), ..self }
    }

    /// Only events that a filter wants.
    #[must_use]
    pub fn matching(mut self, filter: Filter) -> Self {
        self.wanted.filter = filter;
        self
    }

    /// Only streams that match a pattern, or one given before; see [`Filter::stream`].
    #[must_use]
    pub fn streams(mut self, pattern: &str) -> Self {
        self.wanted.filter = self.wanted.filter.stream(pattern);
        self
    }

    /// Only types that match one of these patterns, or one given before.
    #[must_use]
    pub fn types<'t>(mut self, patterns: impl IntoIterator<Item = &'t str>) -> Self {
        self.wanted.filter = self.wanted.filter.types(patterns);
        self
    }

    /// The log's own events too.
    #[must_use]
    pub fn system(mut self, system: bool) -> Self {
        self.wanted.filter = self.wanted.filter.system(system);
        self
    }

    /// Only users' events whose [`time`](Event::time) lies in a stretch of time. Right also where times jump
    /// back by years; segments and blocks without such events are passed over by their indexes. Events that
    /// were lost may have been of that time, so a gap is still told of.
    #[must_use]
    pub fn happened(self, times: impl RangeBounds<Timestamp>) -> Self {
        Read { wanted: self.wanted.happened(Window::new(&times)), ..self }
    }

    /// From the last event back to the first. Costs as much as reading forward. To be asked for before the first
    /// event is taken.
    #[must_use]
    pub fn backward(self) -> Self {
        Read { wanted: self.wanted.backward(), ..self }
    }

    /// The last `count` events of the range that are wanted, in order. Reads backward as far as it takes.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn tail(self, count: usize) -> Result<Vec<Event>, ReadError> {
        let mut events = VecDeque::new();
        for event in self.backward().take(count) {
            events.push_front(event?);
        }
        Ok(events.into())
    }

    /// The offset after the last event of its range.
    pub fn end(&self) -> Offset {
        Offset::from_raw(self.wanted.end())
    }

    /// How far it has looked, for showing progress: all before was given or left out. Backward: all from there
    /// on was.
    pub fn position(&self) -> Offset {
        Offset::from_raw(self.wanted.position())
    }
}

impl Iterator for Read {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((batch, within)) = &mut self.batch
                && let Some(event) = within.next(batch)
            {
                return Some(Ok(event));
            }
            self.batch = None;
            match self.wanted.next()? {
                Ok(batch) => self.batch = Some(self.within(batch)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
