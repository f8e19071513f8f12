//! Sinks: read models in the user's own database, which keep the cursor in the same transaction as what they store.
//!
//! So each event is applied once, whatever ends the program, and the log needs to know nothing of it. The cursor is a
//! text that says which log and which history it is of: a database that was restored, or joined with another log, is
//! refused and not filled wrongly.

use std::fmt;
use std::str::FromStr;

use crate::cursor::Place;
use crate::{ConsumerError, Event, Filter, LogId, LogReader, Offset, ReadError};

/// Where a sink goes on, as a text to be stored: `log:next:recorded:epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkCursor {
    log: LogId,
    place: Place,
}

/// A text is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no cursor of a sink; nothing was applied: it has to be stored as it was given")]
pub struct NotACursor {
    /// The text.
    pub text: String,
}

impl SinkCursor {
    /// The next offset to be applied.
    pub fn next(&self) -> Offset {
        Offset::from_raw(self.place.next)
    }
}

impl fmt::Display for SinkCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { next, recorded_us, tail_epoch } = self.place;
        write!(f, "{:032x}:{next}:{recorded_us}:{tail_epoch}", self.log.raw())
    }
}

impl FromStr for SinkCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let parse = || {
            let mut parts = text.split(':');
            let log = parts.next().filter(|hex| hex.len() == 32)?;
            let log = LogId::from_raw(u128::from_str_radix(log, 16).ok()?);
            let next = parts.next()?.parse().ok()?;
            let recorded_us = parts.next()?.parse().ok()?;
            let tail_epoch = parts.next()?.parse().ok()?;
            let cursor = SinkCursor { log, place: Place { next, recorded_us, tail_epoch } };
            (parts.next().is_none() && cursor.to_string() == text).then_some(cursor)
        };
        parse().ok_or_else(|| NotACursor { text: text.to_owned() })
    }
}

/// A store of the user's that keeps its own cursor.
///
/// Both calls are about one database: [`apply`](Sink::apply) does what the events mean and stores the cursor in **one
/// transaction**. Whoever else may run the same sink at the same time is kept out by that transaction: it should
/// check that the stored cursor is still the one that was read.
pub trait Sink {
    /// What its database says when it fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The cursor as it is stored; `None` when there is none yet.
    ///
    /// # Errors
    /// When the database fails.
    fn cursor(&mut self) -> Result<Option<String>, Self::Error>;

    /// Applies events, in order, and stores the cursor in the place of `before`, in one transaction.
    ///
    /// # Errors
    /// When the database fails; nothing may be stored then, or all.
    fn apply(&mut self, events: &[Event], before: Option<&str>, cursor: &str) -> Result<(), Self::Error>;
}

/// Why a sink does not go on. What it stored stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError<E: std::error::Error + 'static> {
    /// What is stored is no cursor.
    #[error(transparent)]
    NotACursor(#[from] NotACursor),
    /// The cursor is ahead of the log, of another log or history, or behind what was trimmed.
    #[error(transparent)]
    Cursor(#[from] ConsumerError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database failed. The cursor is read again when the sink is run again.
    #[error("the sink {name:?} failed: {source}; run it again, it goes on from the cursor that it stored")]
    Sink {
        /// The sink.
        name: String,
        /// What its database said.
        source: E,
    },
}

/// Events that are given to a sink at once, at most.
const EVENTS_AT_ONCE: usize = 1024;

impl LogReader {
    /// Applies the events that a filter wants to a sink, from its cursor to the durable end of now; returns how
    /// many. From any process, beside the one that writes the log.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn run_sink<S: Sink>(&self, name: &str, filter: &Filter, sink: &mut S) -> Result<u64, SinkError<S::Error>> {
        let failed = |source| SinkError::Sink { name: name.to_owned(), source };
        let mut before = sink.cursor().map_err(failed)?;
        let mut next = match &before {
            None => self.head()?,
            Some(text) => {
                let cursor: SinkCursor = text.parse()?;
                self.check_place(name.to_owned(), cursor.log, cursor.place)?;
                cursor.next()
            }
        };
        let end = self.durable_end()?;
        let mut read = self.read(next..end).matching(filter.clone());
        let mut applied = 0;
        while next < end {
            let mut events = Vec::new();
            for event in read.by_ref().take(EVENTS_AT_ONCE) {
                events.push(event?);
            }
            // Behind the last one of a full piece there may be more.
            let more = events.len() == EVENTS_AT_ONCE;
            next = events.last().filter(|_| more).map_or(end, |event| event.offset().plus(1));
            let cursor = SinkCursor { log: self.id(), place: self.place_of(name, next)? }.to_string();
            sink.apply(&events, before.as_deref(), &cursor).map_err(failed)?;
            applied += events.len() as u64;
            before = Some(cursor);
        }
        Ok(applied)
    }
}
