//! A new generation of a handler: built beside the live one without a sound, then put in its place by one append.
//!
//! A shadow follows the records of the live one, with its own logic and in its own space: it runs the same events in the
//! same order, sets aside what the live one has set aside, and puts nothing out. What waits, and what effects are not
//! done, it takes over row by row, so at any record it is ready to go on where the live one is. Its records stand in
//! `$handler/NAME@GEN`; there the head's `control` is the next offset of `$handler/NAME` to follow.
//!
//! The cut-over is a record in `$handler/NAME` behind the last one that was followed:
//!
//! | crash                | then                                                                              |
//! |----------------------|-----------------------------------------------------------------------------------|
//! | before the append    | the live one goes on; the shadow is opened again and follows on                   |
//! | in it                | it is in the log or it is not: the log's own rule                                 |
//! | behind it            | the new generation is the live one; whoever opens the old one is told so          |
//!
//! Back again is the same: the old generation is built as a shadow from where it was stopped, and cut over to.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::cache::Cache;
use super::commit::{self, CUT_OVER, Head, Record, RecordKind};
use super::context::Whose;
use super::control::Asked;
use super::error::HandlerError;
use super::follow::{Engine, How, Inputs, Ran, Records, Stored};
use super::logic::{Calls, Logic};
use super::overlay::Overlay;
use super::own::{self, EFFECTS, PARKED, QUEUED};
use super::prove::{Goal, bookmark_of, bring_up, sums_of};
use super::runner::{Step, first_head, with_sums};
use super::snapshot::Snapshots;
use super::spec::HandlerSpec;
use super::{Handler, replay};
use crate::journal::{Journal, Pending};
use crate::view::{Space, View, ViewError};
use crate::{Append, AppendError, Event, Expect, Filter, Offset};

/// Appends on their way to the disk at a time.
const IN_FLIGHT_MAX: usize = 8;
/// After so many lost races, the live one is asked to stop.
const RACES_MAX: u32 = 3;

/// One generation of a handler while another one is the live one.
pub struct Shadow {
    engine: Engine,
    /// As of the last record, kept or not yet; `control` is the next offset to follow.
    head: Head,
    /// Where that record stands.
    last: Offset,
    /// Decisions of the record that is followed in parts were noted already.
    waited_done: bool,
    records: Option<Records>,
    /// Read and not followed yet.
    next: Option<Stored>,
    inputs: Option<Inputs>,
    in_flight: VecDeque<Pending>,
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = self.engine.cache.space();
        f.debug_struct("Shadow").field("space", space).field("cursor", &self.head.cursor).finish_non_exhaustive()
    }
}

impl Shadow {
    /// Begins to build a generation beside the live one, or goes on with it; another instance that builds it is
    /// stopped. Costs a look for earlier cut-overs among the handler's records.
    ///
    /// # Errors
    /// [`HandlerError::Unknown`] when there is no live one, [`HandlerError::Live`] when it is this one, and see
    /// [`HandlerError`].
    pub fn open(
        journal: impl Journal + 'static,
        view: impl View + 'static,
        spec: HandlerSpec,
        handler: impl Handler,
    ) -> Result<Shadow, HandlerError> {
        Shadow::open_shared(Arc::new(journal), Arc::new(view), spec, Box::new(Calls::new(handler)))
    }

    pub(crate) fn open_shared(
        journal: Arc<dyn Journal>,
        view: Arc<dyn View>,
        spec: HandlerSpec,
        logic: Box<dyn Logic>,
    ) -> Result<Shadow, HandlerError> {
        spec.check()?;
        let (head, last) = acquire(&*journal, &spec)?;
        bring_up(
            &*journal,
            Snapshots::of_journal(&*journal).as_ref(),
            &*view,
            &spec,
            Some(Goal { at: last, sums: sums_of(&head) }),
        )?;
        let cache = Cache::new(view, spec.space(), spec.cache_bytes);
        let waited_done = cache.get(&own::FOLLOWED_IN_PART)?.is_some();
        let whose = Whose {
            name: Arc::clone(&spec.name),
            log: journal.id(),
            epoch: head.epoch,
            hops_max: spec.hops_max,
            silent: true,
        };
        let engine = Engine { journal, spec, logic, whose, cache };
        Ok(Shadow {
            engine,
            head,
            last,
            waited_done,
            records: None,
            next: None,
            inputs: None,
            in_flight: VecDeque::new(),
        })
    }

    /// The next offset to handle.
    pub fn cursor(&self) -> Offset {
        self.head.cursor
    }

    /// Follows the next record of the live one. [`Step::Paused`]: an event that the live one handled fails here; the
    /// next call tries it again.
    ///
    /// # Errors
    /// See [`HandlerError`]; the shadow can be opened again then.
    pub fn step(&mut self) -> Result<Step, HandlerError> {
        if self.engine.cache.is_full() {
            self.settle()?;
        }
        let Some(stored) = self.next_record()? else { return Ok(Step::Idle { due_us: None }) };
        if stored.record.head.generation == self.engine.spec.generation {
            let (name, generation) = (self.name(), self.engine.spec.generation);
            return Err(HandlerError::Live { name, generation });
        }
        let cursor = self.head.cursor;
        let inputs = self
            .inputs
            .get_or_insert_with(|| Inputs::new(Arc::clone(&self.engine.journal), &self.engine.spec.filter, cursor));
        let events = inputs.below(stored.record.head.cursor, usize::MAX)?;
        let how = How { lenient: true, waited_done: self.waited_done, bounded: true };
        let mut ran = self.engine.follow(&stored, cursor, events, how)?;
        let stuck = match (&ran.failed, ran.rest.first()) {
            (Some((event, failure)), _) => Some(format!("event {event}: {failure}")),
            (None, Some(event)) if event.offset() == cursor => Some(format!("event {event}", event = event.offset())),
            _ => None,
        };
        if let Some(reason) = stuck {
            (self.inputs, self.next) = (None, Some(stored));
            return Ok(Step::Paused { reason });
        }
        let rest = std::mem::take(&mut ran.rest);
        let reached = rest.first().map(Event::offset);
        inputs.put_back(rest);
        let events = ran.handled;
        self.commit(&stored, ran, reached)?;
        if reached.is_some() {
            self.next = Some(stored);
        }
        Ok(Step::Went { events })
    }

    /// Follows until there is nothing more to follow now; then all is durable, and in the view.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn run_to_end(&mut self) -> Result<Step, HandlerError> {
        loop {
            match self.step()? {
                Step::Went { .. } => {}
                other => {
                    self.settle()?;
                    return Ok(other);
                }
            }
        }
    }

    /// Waits until all that was appended is durable, and gives it to the view.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn settle(&mut self) -> Result<(), HandlerError> {
        while let Some(pending) = self.in_flight.pop_front() {
            pending.wait()?;
        }
        if !self.engine.cache.is_clean() {
            let bookmark = bookmark_of(&*self.engine.journal, self.last, &sums_of(&self.head));
            self.engine.cache.apply(&bookmark)?;
        }
        Ok(())
    }

    /// Ends the instance: all is durable, and in the view.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn close(mut self) -> Result<(), HandlerError> {
        self.settle()?;
        self.engine.cache.view().barrier()?;
        Ok(())
    }

    /// Puts this generation in the place of the live one, by one append, and returns where that stands. The live one
    /// is stopped by it; all before its cursor was put out by the one, all from there on is by the other. A
    /// [`Runner`](super::Runner) of this generation goes on.
    ///
    /// A live one that keeps going on is asked to pause after a few lost races.
    ///
    /// # Errors
    /// [`HandlerError::NotReady`] when an event that the live one handled fails here, or its cursor is elsewhere;
    /// nothing was changed then. See [`HandlerError`] for the others.
    pub fn cut_over(mut self) -> Result<Offset, HandlerError> {
        let mut lost = 0;
        loop {
            // Up to what there is now: one that goes on all the time has no end.
            let (_, goal) = live_head(&*self.engine.journal, &self.engine.spec)?;
            if let Step::Paused { reason } = self.run_past(goal)? {
                return Err(self.not_ready(reason));
            }
            let (live, at) = live_head(&*self.engine.journal, &self.engine.spec)?;
            if live.generation == self.engine.spec.generation {
                return Err(HandlerError::Live { name: self.name(), generation: live.generation });
            }
            if at > goal {
                self.lost_a_race(&mut lost)?;
                continue;
            }
            if at >= self.head.control {
                self.engine.journal.wait_past(at, Duration::from_millis(100))?;
                continue;
            }
            if self.head.cursor != live.cursor {
                let why = format!("it is at {} and the live one is at {}", self.head.cursor, live.cursor);
                return Err(self.not_ready(why));
            }
            match self.try_cut_over(&live, at) {
                Err(HandlerError::Append(AppendError::WrongVersion { stream, .. }))
                    if *stream == *self.engine.spec.stream() =>
                {
                    self.lost_a_race(&mut lost)?;
                }
                other => return other,
            }
        }
    }

    /// Follows until the record at an offset is followed, or there is nothing more to follow now.
    fn run_past(&mut self, goal: Offset) -> Result<Step, HandlerError> {
        while self.head.control <= goal {
            match self.step()? {
                Step::Went { .. } => {}
                other => {
                    self.settle()?;
                    return Ok(other);
                }
            }
        }
        self.settle()?;
        Ok(Step::Idle { due_us: None })
    }

    /// The live one went on meanwhile. After a few times it is asked to pause.
    fn lost_a_race(&self, lost: &mut u32) -> Result<(), HandlerError> {
        *lost += 1;
        if *lost == RACES_MAX { self.ask_to_pause() } else { Ok(()) }
    }

    fn try_cut_over(&mut self, live: &Head, at: Offset) -> Result<Offset, HandlerError> {
        let spec = &self.engine.spec;
        let head = Head {
            kind: RecordKind::CutOver,
            epoch: live.epoch + 1,
            control: live.control,
            previous: Some(at),
            outputs: 0,
            paused: false,
            ..self.head.clone()
        };
        let record = Event::new(spec.stream(), CUT_OVER).data(Record::of(head).encode());
        let append = Append::new().expect(spec.shadow_stream(), Expect::Last(self.last)).own(record, Expect::Last(at));
        Ok(self.engine.journal.append(append)?.wait()?.first())
    }

    fn ask_to_pause(&self) -> Result<(), HandlerError> {
        let spec = &self.engine.spec;
        let reason = format!("generation {} takes over", spec.generation);
        let asked = Asked::CutOver(spec.generation).event(&spec.control_stream(), &reason);
        let pending = self.engine.journal.append(Append::new().own(asked, Expect::Any))?;
        pending.wait()?;
        Ok(())
    }

    fn not_ready(&self, why: String) -> HandlerError {
        HandlerError::NotReady { name: self.name(), generation: self.engine.spec.generation, why }
    }

    fn name(&self) -> String {
        self.engine.spec.name.as_ref().to_owned()
    }

    /// The next record of the live one, once it is durable.
    fn next_record(&mut self) -> Result<Option<Stored>, HandlerError> {
        if let Some(stored) = self.next.take() {
            return Ok(Some(stored));
        }
        if let Some(records) = &mut self.records {
            if let Some(stored) = records.next()? {
                return Ok(Some(stored));
            }
            self.records = None;
        }
        let journal = &*self.engine.journal;
        let (_, at) = live_head(journal, &self.engine.spec)?;
        if at < self.head.control || journal.durable_end() <= self.head.control {
            return Ok(None);
        }
        let records = self.records.insert(Records::live(journal, &self.engine.spec, self.head.control));
        let stored = records.next()?;
        if stored.is_none() {
            self.records = None;
        }
        Ok(stored)
    }

    /// Commits what following a record came to: all of it, or up to where the window was full.
    fn commit(&mut self, stored: &Stored, ran: Ran, reached: Option<Offset>) -> Result<(), HandlerError> {
        let Ran { mut overlay, decisions, handled, .. } = ran;
        let was_in_part = self.waited_done;
        match reached {
            None => self.take_over_rows(&mut overlay, stored)?,
            Some(at) => self.mark(&mut overlay, at, true)?,
        }
        if reached.is_none() && was_in_part {
            self.mark(&mut overlay, stored.at, false)?;
        }
        let (writes, streams, sums) = overlay.finish(self.engine.whose.log, sums_of(&self.head));
        let live = &stored.record.head;
        let head = Head {
            kind: RecordKind::Step,
            cursor: reached.unwrap_or(live.cursor).max(self.head.cursor),
            control: if reached.is_some() { stored.at } else { stored.at.plus(1) },
            handled: self.head.handled + handled,
            previous: Some(self.last),
            parked: if reached.is_some() { self.head.parked } else { live.parked },
            ..self.head.clone()
        };
        self.waited_done = reached.is_some();
        let record = Record { head: with_sums(head, sums), streams, decisions, writes };
        let silent = record.writes.is_empty() && record.decisions.is_empty() && handled == 0;
        if silent {
            // Following it again comes to the same: it need not be kept.
            self.head = Head { previous: self.head.previous, ..record.head };
            return Ok(());
        }
        self.append(record)?;
        overlay.settle(&mut self.engine.cache);
        Ok(())
    }

    /// What waits, and what effects are not done, as the live one notes it.
    fn take_over_rows(&self, overlay: &mut Overlay, stored: &Stored) -> Result<(), HandlerError> {
        let is_taken = |key: &[u8]| [PARKED, QUEUED, EFFECTS].iter().any(|prefix| key.starts_with(prefix));
        for write in stored.record.writes.iter().filter(|write| is_taken(&write.key)) {
            overlay.begin(write.at);
            let stream = stored.record.streams.get(write.stream as usize).map_or("", |stream| stream);
            overlay.put(&self.engine.cache, &write.key, write.value.clone(), stream)?;
        }
        Ok(())
    }

    fn mark(&self, overlay: &mut Overlay, at: Offset, in_part: bool) -> Result<(), HandlerError> {
        overlay.begin(at);
        let stream = self.engine.spec.stream();
        Ok(overlay.put(&self.engine.cache, &own::FOLLOWED_IN_PART, in_part.then(Bytes::new), &stream)?)
    }

    fn append(&mut self, mut record: Record) -> Result<(), HandlerError> {
        let body = record.encode().len().saturating_sub(commit::HEAD_BYTES);
        record.head.bytes += body as u64;
        let event = Event::new(self.engine.spec.shadow_stream(), record.head.kind.event_type()).data(record.encode());
        let append = Append::new().own(event, Expect::Last(self.last));
        let pending = self.engine.journal.append(append).map_err(|error| match error {
            AppendError::WrongVersion { last: Some(by), .. } => HandlerError::Fenced { name: self.name(), by },
            other => other.into(),
        })?;
        self.last = pending.planned().first();
        self.head = record.head;
        self.in_flight.push_back(pending);
        let most = if self.engine.journal.caps().pipelined { IN_FLIGHT_MAX } else { 0 };
        while self.in_flight.len() > most {
            if let Some(pending) = self.in_flight.pop_front() {
                pending.wait()?;
            }
        }
        Ok(())
    }
}

/// The head of the live one's last record, kept or not yet.
fn live_head(journal: &dyn Journal, spec: &HandlerSpec) -> Result<(Head, Offset), HandlerError> {
    let name = || spec.name.as_ref().to_owned();
    let Some(record) = journal.last(&spec.stream())? else {
        return Err(HandlerError::Unknown { name: name(), generation: spec.generation });
    };
    let bad = || HandlerError::Record { name: name(), at: record.offset };
    Ok((Head::decode(&record.content).ok_or_else(bad)?, record.offset))
}

/// Takes a generation over as a shadow, by a record that stops the instance before. That it is not the live one is
/// part of the append.
fn acquire(journal: &dyn Journal, spec: &HandlerSpec) -> Result<(Head, Offset), HandlerError> {
    let stream = spec.shadow_stream();
    loop {
        // Each change of who is the live one raises its epoch.
        let epoch = live_head(journal, spec)?.0.epoch;
        let before = journal.last(&stream)?;
        let expect = before.as_ref().map_or(Expect::None, |record| Expect::Last(record.offset));
        let head = match base(journal, spec)? {
            None => first(journal, spec)?,
            Some((head, _)) if head.fingerprint != spec.fingerprint() => {
                let name = spec.name.as_ref().to_owned();
                return Err(HandlerError::Changed { name, generation: spec.generation });
            }
            Some((head, at)) => Head {
                kind: RecordKind::Acquired,
                epoch: head.epoch + 1,
                exact: spec.exact,
                previous: Some(at),
                outputs: 0,
                paused: false,
                ..head
            },
        };
        let data = Record::of(head.clone()).encode();
        // What was found above holds while the epoch does, so a live one that goes on cannot win this for ever.
        loop {
            let (live, live_at) = live_head(journal, spec)?;
            if live.generation == spec.generation {
                return Err(HandlerError::Live { name: spec.name.as_ref().to_owned(), generation: spec.generation });
            }
            if live.epoch != epoch {
                break;
            }
            let record = Event::new(stream.as_str(), head.kind.event_type()).data(data.as_slice());
            let append = Append::new().expect(spec.stream(), Expect::Last(live_at)).own(record, expect);
            match journal.append(append) {
                Ok(pending) => return Ok((head, pending.wait()?.first())),
                Err(AppendError::WrongVersion { stream: moved, .. }) if moved == spec.stream() => {} // it went on
                Err(AppendError::WrongVersion { .. }) => break, // another instance starts too
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The last record of the generation, in either stream; its `control` is the next offset to follow.
fn base(journal: &dyn Journal, spec: &HandlerSpec) -> Result<Option<(Head, Offset)>, HandlerError> {
    let bad = |at: Offset| HandlerError::Record { name: spec.name.as_ref().to_owned(), at };
    let as_shadow = match journal.last(&spec.shadow_stream())? {
        None => None,
        Some(record) => Some((Head::decode(&record.content).ok_or_else(|| bad(record.offset))?, record.offset)),
    };
    // As the live one it ended where another one took over.
    let cut_overs = Filter::new().stream_named(&spec.stream()).types([CUT_OVER]);
    let mut as_live = None;
    let mut records = Records::matching(journal, spec, &cut_overs);
    while let Some(stored) = records.next()? {
        let Some(previous) = stored.record.head.previous else { continue };
        let Some(event) = journal.get(previous)? else { continue };
        let head = Head::decode(event.data()).ok_or_else(|| bad(previous))?;
        if head.generation == spec.generation {
            as_live = Some((Head { control: previous.plus(1), ..head }, previous));
        }
    }
    Ok([as_shadow, as_live].into_iter().flatten().max_by_key(|(_, at)| *at))
}

/// Of a generation without records. It has to follow the live one from its first record on.
fn first(journal: &dyn Journal, spec: &HandlerSpec) -> Result<Head, HandlerError> {
    let first = Records::live(journal, spec, journal.head()).next()?;
    if let Some(before) = first.and_then(|stored| stored.record.head.previous) {
        let name = spec.name.as_ref().to_owned();
        return Err(HandlerError::Trimmed { name, cursor: before, head: journal.head() });
    }
    Ok(Head { control: journal.head(), ..first_head(journal, spec) })
}

/// A row that two spaces do not have alike. Values are as they are kept, without their codec byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDifference {
    /// The row.
    pub key: Bytes,
    /// In the one space.
    pub one: Option<Bytes>,
    /// In the other.
    pub other: Option<Bytes>,
}

/// The first rows, in the order of their keys, that two generations of a handler do not have alike: at most so many.
/// Costs a read of both. They should be settled at the same cursor.
///
/// # Errors
/// See [`ViewError`].
pub fn state_difference(
    one: (&dyn View, &Space),
    other: (&dyn View, &Space),
    most: usize,
) -> Result<Vec<KeyDifference>, ViewError> {
    let users = own::user_key(&[]);
    let mut ones = one.0.scan(one.1, &users, &[]);
    let mut others = other.0.scan(other.1, &users, &[]);
    let (mut left, mut right) = (ones.next().transpose()?, others.next().transpose()?);
    let mut found = Vec::new();
    while found.len() < most {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        let one = if order.is_le() { std::mem::replace(&mut left, ones.next().transpose()?) } else { None };
        let other = if order.is_ge() { std::mem::replace(&mut right, others.next().transpose()?) } else { None };
        let key = one.as_ref().or(other.as_ref()).map(|(key, _)| replay::plain(key));
        let (one, other) = (one.map(|(_, value)| value), other.map(|(_, value)| value));
        if let Some(key) = key.filter(|_| one != other) {
            let (one, other) = (one.as_ref().map(replay::plain), other.as_ref().map(replay::plain));
            found.push(KeyDifference { key, one, other });
        }
    }
    Ok(found)
}
