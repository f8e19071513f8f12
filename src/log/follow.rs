//! Following a log: from history to what is appended now, without gap or repeat.

use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use super::asynchronous::Chunk;
use super::error::ReadError;
use super::read::Wanted;
use super::reader::LogReader;
use super::shared::lock;
use super::wait::{Interrupt, Woken};
use super::walk::View;
use crate::batch::{Batch, Kind, Walk};
use crate::event::Event;
use crate::segment::ReadMode;
use crate::{Filter, Offset};

/// Events of a log from an offset on, those that are still to come too. Each is durable when it is given.
///
/// As an iterator it blocks until there is an event. In the process that writes the log it is woken by the
/// writer and ends after the last event when the log is closed; in others it is woken by the file `LOCK`, and
/// goes on when the writer comes back. Many followers of one handle share one decoding of each new batch.
///
/// After an error it ends; after [`ReadError::Lost`] it goes on behind the gap.
#[derive(Debug)]
pub struct Follow {
    reader: LogReader,
    filter: Filter,
    /// All before it was given or left out.
    next: u64,
    /// Behind the batch at hand.
    behind: u64,
    batch: Option<(Batch, Walk)>,
    /// What was there when it was looked at last, if that is more than the newest batches.
    history: Option<Box<Wanted>>,
    /// It has been at the end once.
    live: bool,
    ended: bool,
    interrupt: Arc<Interrupt>,
}

/// Ends a [`Follow`] from another thread.
#[derive(Debug, Clone)]
pub struct Stop {
    reader: LogReader,
    interrupt: Arc<Interrupt>,
}

impl Stop {
    /// Ends it: a thread that waits for an event is woken, and gets none any more.
    pub fn stop(&self) {
        self.interrupt.set(&self.reader);
        #[cfg(feature = "tokio")]
        self.reader.desk().interrupt.set(&self.reader);
    }
}

impl LogReader {
    /// The events from an offset on, those that are still to come too; see [`Follow`]. The log's own are left out
    /// unless [`Follow::system`] asks for them.
    pub fn follow(&self, from: Offset) -> Follow {
        Follow {
            reader: self.clone(),
            filter: Filter::new(),
            next: from.raw(),
            behind: from.raw(),
            batch: None,
            history: None,
            live: false,
            ended: false,
            interrupt: Arc::default(),
        }
    }
}

impl Follow {
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

    /// What ends it from another thread.
    pub fn stop_handle(&self) -> Stop {
        Stop { reader: self.reader.clone(), interrupt: Arc::clone(&self.interrupt) }
    }

    /// All events before it were given or left out: following from here goes on without gap or repeat.
    pub fn next_offset(&self) -> Offset {
        Offset::from_raw(self.next)
    }

    /// Whether no event will come any more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next event; `None` when none came in so long a time, or when it [has ended](Follow::has_ended). With
    /// no time at all, what is there now.
    pub fn next_within(&mut self, at_most: Duration) -> Option<Result<Event, ReadError>> {
        self.advance(Instant::now().checked_add(at_most))
    }

    fn advance(&mut self, until: Option<Instant>) -> Option<Result<Event, ReadError>> {
        loop {
            if self.interrupt.is_set() {
                self.ended = true;
            }
            if self.ended {
                return None;
            }
            if let Some((batch, walk)) = &mut self.batch {
                if let Some(event) = walk.next_owned(batch) {
                    self.next = event.offset().plus(1).raw();
                    return Some(Ok(event));
                }
                self.next = self.behind;
                self.batch = None;
            }
            match self.next_batch(until, usize::MAX) {
                Ok(Some(batch)) => {
                    let walk = Walk::new(&batch);
                    self.batch = Some((batch, walk));
                }
                Ok(None) => return None,
                Err(error) => return Some(Err(self.failed(error))),
            }
        }
    }

    fn failed(&mut self, error: ReadError) -> ReadError {
        match &error {
            ReadError::Lost { end, .. } => self.next = self.next.max(end.raw()),
            _ => self.ended = true,
        }
        error
    }

    /// The next batch with wanted events; `None` when none came in time, none will, or none was among so many
    /// batches.
    fn next_batch(&mut self, until: Option<Instant>, mut looks: usize) -> Result<Option<Batch>, ReadError> {
        loop {
            if let Some(history) = &mut self.history {
                let look = history.look();
                self.behind = history.position();
                match look {
                    Some(Ok(Some(batch))) => return Ok(Some(batch)),
                    Some(Err(error)) => return Err(error),
                    Some(Ok(None)) => {
                        self.next = self.behind;
                        looks -= 1;
                    }
                    None => {
                        self.next = self.behind;
                        self.history = None;
                        self.live = true;
                    }
                }
                if looks == 0 || self.interrupt.is_set() {
                    return Ok(None);
                }
                if self.history.is_some() {
                    continue;
                }
            }
            let view = self.reader.view()?;
            if view.end > self.next {
                match self.newest(&view)? {
                    Some(batch) => match self.wanted(batch) {
                        Some(batch) => return Ok(Some(batch)),
                        None => {
                            self.next = self.behind;
                            looks -= 1;
                        }
                    },
                    None => {
                        let range = Offset::from_raw(self.next)..;
                        let history = Wanted::new(view, &range, ReadMode::Pread, self.filter.clone());
                        self.history = Some(Box::new(history));
                    }
                }
                if looks == 0 {
                    return Ok(None);
                }
                continue;
            }
            self.live = true;
            match self.reader.wait_for(self.next, &self.interrupt, until)? {
                Woken::Events => {}
                Woken::Late => return Ok(None),
                Woken::Closed | Woken::Interrupted => {
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
    }

    /// Fills a chunk with what is there, out of so many batches; returns whether there was no more.
    #[cfg(feature = "tokio")]
    pub(super) fn fill(&mut self, chunk: &mut Chunk, batches: usize) -> bool {
        let waits = self.try_fill(chunk, batches);
        (chunk.behind, chunk.ended) = (self.next, self.ended);
        waits
    }

    #[cfg(feature = "tokio")]
    fn try_fill(&mut self, chunk: &mut Chunk, batches: usize) -> bool {
        for _ in 0..batches {
            self.ended |= self.interrupt.is_set();
            if self.ended {
                return true;
            }
            if self.batch.is_none() {
                match self.next_batch(Some(Instant::now()), batches) {
                    Ok(Some(batch)) => {
                        chunk.begin_batch(batch.bytes());
                        let walk = Walk::new(&batch);
                        self.batch = Some((batch, walk));
                    }
                    Ok(None) => return true,
                    Err(error) => {
                        chunk.error = Some(self.failed(error));
                        return false;
                    }
                }
            }
            while let Some((batch, walk)) = &mut self.batch {
                match walk.next_owned(batch) {
                    Some(event) => {
                        self.next = event.offset().plus(1).raw();
                        if !chunk.push(event) {
                            return false;
                        }
                    }
                    None => {
                        self.next = self.behind;
                        self.batch = None;
                    }
                }
            }
        }
        false
    }

    #[cfg(feature = "tokio")]
    pub(super) fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The next batch out of the newest ones, if it is one of them.
    fn newest(&mut self, view: &View) -> Result<Option<Batch>, ReadError> {
        if !self.live || self.next < view.head {
            return Ok(None);
        }
        let batch = lock(self.reader.newest()).batch(self.next, view)?;
        self.behind = batch.as_ref().map_or(self.next, |batch| batch.header().end_offset());
        Ok(batch)
    }

    fn wanted(&self, batch: Batch) -> Option<Batch> {
        if batch.header().kind == Kind::System && !self.filter.wants_system() {
            return None;
        }
        batch.clip(self.next, u64::MAX).matching(&self.filter)
    }
}

impl Iterator for Follow {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(None)
    }
}
