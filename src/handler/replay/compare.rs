//! The first difference between what a record says and what the handler does now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use bytes::Bytes;

use super::plain;
use crate::event::NewEvent;
use crate::handler::commit::Write;
use crate::handler::error::HandlerError;
use crate::handler::follow::{Engine, Ran, Stored};
use crate::handler::overlay::Sums;
use crate::handler::own::{EFFECTS, EffectRow, is_own};
use crate::journal::{Found, Journal};
use crate::view::Digest;
use crate::{Event, Filter, Offset, Timestamp};

/// An event that a handler put out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Put {
    /// Its stream.
    pub stream: String,
    /// Its type.
    pub event_type: String,
    /// Its id.
    pub id: Option<String>,
    /// Who made it.
    pub source: Option<String>,
    /// When it happened, if the handler said so.
    pub time: Option<Timestamp>,
    /// What its data is.
    pub content_type: Option<String>,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its data.
    pub data: Bytes,
}

impl Put {
    pub(crate) fn of_new(event: &NewEvent<'_>) -> Put {
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_ref().map(|text| text.clone().into_owned());
        Put {
            stream: event.stream.clone().into_owned(),
            event_type: event.event_type.clone().into_owned(),
            id: owned(&event.id),
            source: owned(&event.source),
            time: event.time,
            content_type: owned(&event.content_type),
            headers: event.headers.iter().map(|(n, v)| (n.clone().into_owned(), v.clone().into_owned())).collect(),
            data: Bytes::copy_from_slice(&event.data),
        }
    }

    pub(crate) fn of(event: &Event) -> Put {
        Put {
            stream: event.stream().to_owned(),
            event_type: event.event_type().to_owned(),
            id: event.id().map(str::to_owned),
            source: event.source().map(str::to_owned),
            time: event.borrow().given_time(),
            content_type: event.content_type().map(str::to_owned),
            headers: event.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            data: event.data_bytes(),
        }
    }
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} ({})", self.event_type, self.stream, Shown(&self.data))
    }
}

/// What a replay came to that its records do not say. Values are as they are kept, without their codec byte.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // there is one of them in a report
pub enum Difference {
    /// An event was handled then, and is not now.
    NotHandled {
        /// The record.
        record: Offset,
        /// The event.
        event: Offset,
        /// What the handler says now.
        why: String,
    },
    /// A row has another value.
    Row {
        /// The record.
        record: Offset,
        /// The event whose handling wrote it.
        event: Offset,
        /// The row.
        key: Bytes,
        /// `None`: there was no such row.
        recorded: Option<Bytes>,
        /// `None`: there is no such row.
        replayed: Option<Bytes>,
    },
    /// Another event was put out.
    Output {
        /// The record.
        record: Offset,
        /// The event whose handling put it out, where that can be told.
        event: Option<Offset>,
        /// Its place among those of the step, from 0 on.
        index: usize,
        /// `None`: it was not put out then.
        recorded: Option<Put>,
        /// `None`: it is not put out now.
        replayed: Option<Put>,
    },
    /// Another effect was asked for.
    Effect {
        /// The record.
        record: Offset,
        /// The event whose handling asked for it.
        event: Offset,
        /// Kind and request; `None`: none was asked for then.
        recorded: Option<(String, Bytes)>,
        /// `None`: none is asked for now.
        replayed: Option<(String, Bytes)>,
    },
    /// All rows are what the record says, and yet do not add up to what it says: the record is not what was written.
    Digest {
        /// The record.
        record: Offset,
        /// Of the handler's own rows, not of the user's.
        own: bool,
        /// As the record has it, and how many rows.
        recorded: (Digest, u64),
        /// As it is now.
        replayed: (Digest, u64),
    },
}

/// Bytes for a person: text where it is text, and not all of it.
pub(crate) struct Shown<'b>(pub &'b [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 120;
        let part = self.0.get(..MOST).unwrap_or(self.0);
        write!(f, "{}", part.escape_ascii())?;
        if part.len() < self.0.len() {
            write!(f, "… {} bytes", self.0.len())?;
        }
        Ok(())
    }
}

struct Maybe<'b>(Option<&'b Bytes>);

impl fmt::Display for Maybe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("no row"),
            Some(bytes) => write!(f, "\"{}\"", Shown(bytes)),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::NotHandled { record, event, why } => {
                write!(f, "event {event} was handled (record {record}), and is not now: {why}")
            }
            Difference::Row { record, event, key, recorded, replayed } => write!(
                f,
                "event {event} (record {record}) makes row \"{}\" {}, it was {}",
                Shown(key),
                Maybe(replayed.as_ref()),
                Maybe(recorded.as_ref())
            ),
            Difference::Output { record, event, index, recorded, replayed } => {
                match event {
                    Some(event) => write!(f, "event {event} (record {record})")?,
                    None => write!(f, "the step of record {record}")?,
                }
                let put = |put: &Option<Put>| put.as_ref().map_or("nothing".to_owned(), Put::to_string);
                write!(f, " puts out {} as number {index} of its step, it was {}", put(replayed), put(recorded))
            }
            Difference::Effect { record, event, recorded, replayed } => {
                let shown = |effect: &Option<(String, Bytes)>| {
                    effect.as_ref().map_or("nothing".to_owned(), |(kind, request)| format!("{kind} {}", Shown(request)))
                };
                let (now, then) = (shown(replayed), shown(recorded));
                write!(f, "event {event} (record {record}) asks for the effect {now}, it was {then}")
            }
            Difference::Digest { record, own, recorded, replayed } => {
                let whose = if *own { "the handler's own rows" } else { "the rows" };
                write!(
                    f,
                    "{whose} are {} and add up to {}, record {record} says {} and {}: it is not what was written",
                    replayed.1, replayed.0, recorded.1, recorded.0
                )
            }
        }
    }
}

/// Compares what a step came to; when it did not come to its end, only up to there.
pub(super) fn first_difference(
    engine: &Engine,
    stored: &Stored,
    ran: &Ran,
    writes: &[Write],
    whole: bool,
) -> Result<Option<Difference>, HandlerError> {
    let place: HashMap<Offset, usize> = ran.order.iter().enumerate().map(|(place, offset)| (*offset, place)).collect();
    let place = |event: Offset| place.get(&event).copied().unwrap_or(usize::MAX);
    let mut found: Vec<(usize, Difference)> = Vec::new();
    let failed = match (&ran.failed, ran.rest.first()) {
        (Some((event, failure)), _) => Some((*event, failure.to_string())),
        (None, Some(event)) => Some((event.offset(), "the handler does not go on".to_owned())),
        (None, None) => None,
    };
    let failed_at = failed.as_ref().map_or(usize::MAX, |(event, _)| place(*event));
    if whole {
        rows(engine, stored, writes, failed_at, &place, &mut found)?;
    }
    match failed {
        Some((event, why)) => found.push((failed_at, Difference::NotHandled { record: stored.at, event, why })),
        None if whole => {
            effects(stored, writes, &place, &mut found);
            if !stored.shadow {
                outputs(engine, stored, ran, &place, &mut found)?;
            }
        }
        None => {}
    }
    Ok(found.into_iter().min_by_key(|(place, _)| *place).map(|(_, difference)| difference))
}

fn last_of_each(writes: &[Write], which: impl Fn(&[u8]) -> bool) -> BTreeMap<&Bytes, &Write> {
    writes.iter().filter(|write| which(&write.key)).map(|write| (&write.key, write)).collect()
}

fn rows(
    engine: &Engine,
    stored: &Stored,
    writes: &[Write],
    failed_at: usize,
    place: &dyn Fn(Offset) -> usize,
    found: &mut Vec<(usize, Difference)>,
) -> Result<(), HandlerError> {
    let users = |key: &[u8]| !is_own(key);
    let (then, now) = (last_of_each(&stored.record.writes, users), last_of_each(writes, users));
    let keys: std::collections::BTreeSet<&Bytes> = then.keys().chain(now.keys()).copied().collect();
    for key in keys {
        let (then, now) = (then.get(key), now.get(key));
        // A row that was written again behind the failure says nothing about what came before it.
        if failed_at != usize::MAX && then.is_some_and(|write| place(write.at) >= failed_at) {
            continue;
        }
        let before = engine.cache.get(key)?;
        let recorded = then.map_or_else(|| before.clone(), |write| write.value.clone());
        let replayed = now.map_or(before, |write| write.value.clone());
        if recorded == replayed {
            continue;
        }
        let events = [then, now].into_iter().flatten().map(|write| write.at);
        let Some(event) = events.min_by_key(|at| place(*at)) else { continue };
        let (recorded, replayed) = (recorded.as_ref().map(plain), replayed.as_ref().map(plain));
        let difference = Difference::Row { record: stored.at, event, key: plain(key), recorded, replayed };
        found.push((place(event), difference));
    }
    Ok(())
}

fn effects(stored: &Stored, writes: &[Write], place: &dyn Fn(Offset) -> usize, found: &mut Vec<(usize, Difference)>) {
    let asked = |key: &[u8]| key.starts_with(&EFFECTS);
    let (then, now) = (last_of_each(&stored.record.writes, asked), last_of_each(writes, asked));
    let keys: HashSet<&Bytes> = then.keys().chain(now.keys()).copied().collect();
    let effect = |write: Option<&&Write>| {
        let row = write.and_then(|write| write.value.as_ref()).and_then(EffectRow::decode);
        row.map(|row| (row.kind, row.request))
    };
    for key in keys {
        let at = key.get(EFFECTS.len()..).and_then(|rest| rest.first_chunk::<8>()).map(|raw| u64::from_be_bytes(*raw));
        let Some(event) = at.map(Offset::from_raw) else { continue };
        let (recorded, replayed) = (effect(then.get(key)), effect(now.get(key)));
        // What is noted of effects of events before, attempts and ends, is not the handling's.
        if place(event) != usize::MAX && recorded != replayed {
            found.push((place(event), Difference::Effect { record: stored.at, event, recorded, replayed }));
        }
    }
}

fn outputs(
    engine: &Engine,
    stored: &Stored,
    ran: &Ran,
    place: &dyn Fn(Offset) -> usize,
    found: &mut Vec<(usize, Difference)>,
) -> Result<(), HandlerError> {
    let recorded = recorded_outputs(&*engine.journal, stored)?;
    let replayed: Vec<Put> = ran.outputs.iter().map(Put::of_new).collect();
    let first = (0..recorded.len().max(replayed.len())).find(|index| recorded.get(*index) != replayed.get(*index));
    let Some(index) = first else { return Ok(()) };
    let (recorded, replayed) = (recorded.get(index).cloned(), replayed.get(index).cloned());
    let mut event = None;
    for put in [&recorded, &replayed].into_iter().flatten() {
        event = [event, cause(engine, ran, put)?].into_iter().flatten().min_by_key(|offset| place(*offset));
    }
    let at = event.map_or(usize::MAX, place);
    found.push((at, Difference::Output { record: stored.at, event, index, recorded, replayed }));
    Ok(())
}

/// Which of the events that were run caused one.
fn cause(engine: &Engine, ran: &Ran, put: &Put) -> Result<Option<Offset>, HandlerError> {
    let causation = crate::handler::context::CAUSATION;
    let Some((_, cause)) = put.headers.iter().rev().find(|(name, _)| name == causation) else { return Ok(None) };
    for offset in &ran.order {
        let event = engine.journal.get(*offset)?;
        if event.is_some_and(|event| event.id().map_or_else(|| offset.to_string() == *cause, |id| id == cause)) {
            return Ok(Some(*offset));
        }
    }
    Ok(None)
}

/// The events that were appended with a record.
fn recorded_outputs(journal: &dyn Journal, stored: &Stored) -> Result<Vec<Put>, HandlerError> {
    let count = u64::from(stored.record.head.outputs);
    let first = Offset::from_raw(stored.at.raw().saturating_sub(count));
    let mut puts = Vec::new();
    if count == 0 {
        return Ok(puts);
    }
    let mut read = journal.read(first, stored.at, &Filter::new());
    loop {
        match read.look()? {
            Found::End => return Ok(puts),
            Found::Nothing => {}
            Found::Batch(batch) => {
                let mut walk = crate::batch::Walk::new(&batch);
                while let Some(event) = walk.next_owned(&batch) {
                    puts.push(Put::of(&event));
                }
            }
        }
    }
}

/// Compares what all rows add up to behind a record.
pub(super) fn sums(stored: &Stored, sums: &Sums) -> Option<Difference> {
    let head = &stored.record.head;
    let pairs = [
        (false, (head.digest, head.rows), (sums.digest, sums.rows)),
        (true, (head.own_digest, head.own_rows), (sums.own_digest, sums.own_rows)),
    ];
    let (own, recorded, replayed) = pairs.into_iter().find(|(_, recorded, replayed)| recorded != replayed)?;
    Some(Difference::Digest { record: stored.at, own, recorded, replayed })
}
