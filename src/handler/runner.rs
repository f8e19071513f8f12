//! One handler, run step by step: read a window, run it, append outputs and record at once, and let the view follow.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Handler;
use super::cache::Cache;
use super::commit::{Decision, DecisionKind, Head, Record, RecordKind};
use super::context::Whose;
use super::control::Asked;
use super::error::HandlerError;
use super::logic::{Calls, Logic};
use super::overlay::Sums;
use super::prove::{Goal, bookmark_of, bring_up, sums_of};
use super::queues::Queues;
use super::snapshot::Snapshots;
use super::spec::{HandlerSpec, Start};
use super::state::{make_snapshot, rebuild_into};
use super::window::{Came, Window};
use super::{commit, own};
use crate::journal::{Found, Journal, JournalRead, Pending};
use crate::view::{View, ViewError};
use crate::{Append, AppendError, Event, Expect, Filter, Offset};

/// Steps whose appends are on their way to the disk at a time.
const IN_FLIGHT_MAX: usize = 8;
/// When nothing was wanted for so many events, the handler's position is committed alone.
const UNWANTED_EVENTS: u64 = 1_000_000;
/// So many events of queues are taken up in one step.
const TAKEN_UP_MAX: usize = 64;

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// It went on; so many events were done with.
    Went {
        /// Handled, set aside or passed over.
        events: u64,
    },
    /// There is nothing to do now; perhaps there is later.
    Idle {
        /// When the next retry is due, in µs of the clock.
        due_us: Option<i64>,
    },
    /// It is paused, for a reason, until somebody resumes it.
    Paused {
        /// Why.
        reason: String,
    },
}

/// One instance of a handler.
///
/// Exactly once: a step appends its output events and its record as one, expecting its last record; so state,
/// position and outputs move together, and a second instance stops the first one.
pub struct Runner {
    journal: Arc<dyn Journal>,
    spec: HandlerSpec,
    whose: Whose,
    logic: Box<dyn Logic>,
    cache: Cache,
    queues: Queues,
    /// As of the last record, kept or not yet.
    head: Head,
    /// Where that one stands.
    last: Offset,
    in_flight: VecDeque<Pending>,
    read: Option<Box<dyn JournalRead>>,
    /// Events that were read and not handled yet.
    ahead: Vec<Event>,
    /// All before it was read.
    read_to: Offset,
    /// Among what was read since the last record were users' events that are not wanted.
    passed: bool,
    paused: Option<String>,
    stopped: bool,
    snapshots: Option<Snapshots>,
    /// A snapshot that is being made.
    making: Option<JoinHandle<()>>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("space", self.cache.space())
            .field("cursor", &self.head.cursor)
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// Takes the handler over: an instance that ran it before is stopped. Its view is proven, or made again.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn open(
        journal: impl Journal + 'static,
        view: impl View + 'static,
        spec: HandlerSpec,
        handler: impl Handler,
    ) -> Result<Runner, HandlerError> {
        Runner::open_shared(Arc::new(journal), Arc::new(view), spec, Box::new(Calls(handler)))
    }

    pub(crate) fn open_shared(
        journal: Arc<dyn Journal>,
        view: Arc<dyn View>,
        spec: HandlerSpec,
        logic: Box<dyn Logic>,
    ) -> Result<Runner, HandlerError> {
        spec.check()?;
        let (head, last) = acquire(&*journal, &spec)?;
        let snapshots = Snapshots::of_journal(&*journal);
        bring_up(&*journal, snapshots.as_ref(), &*view, &spec, Some(Goal { at: last, sums: sums_of(&head) }))?;
        let cache = Cache::new(view, spec.space(), spec.cache_bytes);
        let (queues, paused) = match own_rows(&cache, &head) {
            Err(ViewError::Damaged { .. }) => {
                rebuild_into((&*journal).into(), snapshots.clone(), cache.view(), cache.space())?;
                own_rows(&cache, &head)?
            }
            loaded => loaded?,
        };
        let whose =
            Whose { name: Arc::clone(&spec.name), log: journal.id(), epoch: head.epoch, hops_max: spec.hops_max };
        let read_to = head.cursor;
        Ok(Runner {
            journal,
            spec,
            whose,
            logic,
            cache,
            queues,
            head,
            last,
            in_flight: VecDeque::new(),
            read: None,
            ahead: Vec::new(),
            passed: false,
            read_to,
            paused,
            stopped: false,
            snapshots,
            making: None,
        })
    }

    /// The next offset to handle.
    pub fn cursor(&self) -> Offset {
        self.head.cursor
    }

    /// Streams that are set aside.
    pub fn parked(&self) -> usize {
        self.queues.streams()
    }

    /// A row of its state as of its last step, kept or not yet: the bytes that were put.
    ///
    /// # Errors
    /// When the view fails.
    pub fn get_bytes(&self, key: impl AsRef<[u8]>) -> Result<Option<bytes::Bytes>, HandlerError> {
        let (value, _) = self.cache.get(&own::user_key(key.as_ref()))?;
        Ok(value.map(|value| value.slice(1.min(value.len())..)))
    }

    /// Does what is to be done next, at most one window of it. What it appended may still be on its way to the disk.
    ///
    /// # Errors
    /// See [`HandlerError`]; the handler has stopped then, and can be opened again.
    pub fn step(&mut self) -> Result<Step, HandlerError> {
        if self.stopped {
            return Err(HandlerError::Stopped { name: self.spec.name.as_ref().to_owned() });
        }
        let step = self.try_step();
        self.stopped = step.is_err();
        if let Err(HandlerError::View(ViewError::Damaged { .. })) = &step {
            // However it was closed, it is not believed again: opening the handler makes its rows again.
            self.cache.view().clear(self.cache.space())?;
        }
        step
    }

    /// Runs until there is nothing more to do now; then all is durable, and in the view.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn run_to_end(&mut self) -> Result<Step, HandlerError> {
        loop {
            match self.step()? {
                Step::Went { .. } => {}
                idle => {
                    self.settle()?;
                    return Ok(idle);
                }
            }
        }
    }

    /// Waits until all that was appended is durable, and gives it to the view.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn settle(&mut self) -> Result<(), HandlerError> {
        self.wait_for_all()?;
        if !self.cache.is_clean() {
            let bookmark = bookmark_of(&*self.journal, self.last, &sums_of(&self.head));
            self.cache.apply(&bookmark)?;
        }
        self.make_snapshot();
        Ok(())
    }

    /// Makes a snapshot when one is due: beside the handler, unless it does its steps by hand.
    fn make_snapshot(&mut self) {
        if self.making.as_ref().is_some_and(|making| !making.is_finished()) {
            return;
        }
        let space = self.cache.space().clone();
        let least = self.spec.snapshot_bytes;
        let snapshots = self.snapshots.clone().filter(|snapshots| snapshots.is_due(&space, &self.head, least));
        let Some(snapshots) = snapshots else { return };
        let journal = Arc::clone(&self.journal);
        let make = move || {
            let journal: &dyn Journal = &*journal;
            if let Err(error) = make_snapshot(journal.into(), &snapshots, &space) {
                tracing::warn!(handler = %space, %error, "no snapshot was made; it is tried again later");
            }
        };
        if self.spec.by_hand {
            make();
        } else {
            self.making = Some(std::thread::spawn(make));
        }
    }

    fn wait_for_all(&mut self) -> Result<(), HandlerError> {
        while let Some(pending) = self.in_flight.pop_front() {
            pending.wait()?;
        }
        Ok(())
    }

    fn try_step(&mut self) -> Result<Step, HandlerError> {
        if self.cache.is_full() {
            self.settle()?;
        }
        let now_us = self.spec.clock.now().as_micros();
        let asked = self.asked()?;
        let due = self.paused.is_none() && self.queues.due(now_us).is_some();
        if self.ahead.is_empty() {
            self.read_ahead()?;
        }
        if asked.is_empty() && !due && !self.has_more() {
            return Ok(match &self.paused {
                Some(reason) => Step::Paused { reason: reason.clone() },
                None => Step::Idle { due_us: self.queues.next_due_us() },
            });
        }
        let mut window = Window::new(&self.cache, &mut self.queues, &self.spec, &self.whose, now_us);
        for (event, asked) in &asked {
            act(&mut window, &mut self.paused, event, asked)?;
        }
        let mut done = 0;
        let mut cursor = self.head.cursor;
        if self.paused.is_none() {
            done += take_up(&*self.journal, &mut *self.logic, &mut window)?;
        }
        if self.paused.is_none() && window.pause.is_none() {
            window.go_on_with(std::mem::take(&mut self.ahead), Came::InTurn);
            self.logic.run(&mut window)?;
            done += window.done;
            cursor = window.reached().unwrap_or(self.read_to);
            self.ahead = window.rest();
            self.passed = false;
        }
        if let Some(reason) = window.pause.take() {
            pause(&mut window, &mut self.paused, reason)?;
        }
        let control = asked.last().map_or(self.head.control, |(event, _)| event.offset().plus(1));
        let head = Head {
            kind: RecordKind::Step,
            cursor,
            control,
            handled: self.head.handled + window.handled,
            emitted: self.head.emitted + window.outputs.len() as u64,
            previous: Some(self.last),
            outputs: u32::try_from(window.outputs.len()).unwrap_or(u32::MAX),
            paused: self.paused.is_some(),
            parked: u32::try_from(window.queues.streams()).unwrap_or(u32::MAX),
            ..self.head.clone()
        };
        let Window { mut overlay, outputs, decisions, .. } = window;
        let (writes, streams, sums) = overlay.finish(self.whose.log, sums_of(&self.head));
        let mut record = Record { head: with_sums(head, sums), streams, decisions, writes };
        let body = record.encode().len().saturating_sub(commit::HEAD_BYTES);
        record.head.bytes += body as u64;
        let data = record.encode();
        self.append(record.head, data, outputs)?;
        overlay.settle(&mut self.cache);
        Ok(Step::Went { events: done as u64 })
    }

    /// Appends outputs and record as one, provided nobody else appended a record.
    fn append(
        &mut self,
        head: Head,
        data: Vec<u8>,
        outputs: Vec<crate::NewEvent<'static>>,
    ) -> Result<(), HandlerError> {
        let stream = self.spec.stream();
        let record = Event::new(stream, head.kind.event_type()).data(data);
        let append = Append::new().events(outputs).own(record, Expect::Last(self.last));
        let pending = self.journal.append(append).map_err(|error| self.refused(error))?;
        self.last = Offset::from_raw(pending.planned().next().raw() - 1);
        self.head = head;
        self.in_flight.push_back(pending);
        let most = if self.journal.caps().pipelined { IN_FLIGHT_MAX } else { 0 };
        while self.in_flight.len() > most {
            if let Some(pending) = self.in_flight.pop_front() {
                pending.wait()?;
            }
        }
        Ok(())
    }

    fn refused(&self, error: AppendError) -> HandlerError {
        match error {
            AppendError::WrongVersion { last: Some(by), .. } => {
                HandlerError::Fenced { name: self.spec.name.as_ref().to_owned(), by }
            }
            other => other.into(),
        }
    }

    /// Whether there are events to handle, or a position to commit alone: behind events that are not wanted. The
    /// log's own do not count: a record about nothing but records would be followed by another one.
    fn has_more(&self) -> bool {
        self.paused.is_none() && (!self.ahead.is_empty() || (self.passed && self.read_to > self.head.cursor))
    }

    /// Reads events ahead, up to a window of them.
    fn read_ahead(&mut self) -> Result<(), HandlerError> {
        let mut bytes = 0;
        loop {
            let read = match &mut self.read {
                Some(read) => read,
                None => {
                    let end = self.journal.durable_end();
                    if end <= self.read_to {
                        return Ok(());
                    }
                    if self.read_to < self.journal.head() {
                        let name = self.spec.name.as_ref().to_owned();
                        return Err(HandlerError::Trimmed { name, cursor: self.read_to, head: self.journal.head() });
                    }
                    self.read.insert(self.journal.read(self.read_to, end, &self.spec.filter))
                }
            };
            match read.look()? {
                Found::Batch(batch) => {
                    let mut walk = crate::batch::Walk::new(&batch);
                    while let Some(event) = walk.next_owned(&batch) {
                        bytes += event.data().len() + 64;
                        self.ahead.push(event);
                    }
                    self.read_to = read.position();
                }
                Found::Nothing => {
                    self.read_to = read.position();
                    self.passed |= read.passed_events();
                }
                Found::End => {
                    self.read_to = read.position();
                    self.passed |= read.passed_events();
                    self.read = None;
                }
            }
            let unwanted = self.read_to.raw() - self.head.cursor.raw();
            if self.ahead.len() >= self.spec.window_events
                || bytes >= self.spec.window_bytes
                || (self.ahead.is_empty() && unwanted >= UNWANTED_EVENTS)
            {
                return Ok(());
            }
        }
    }

    /// What operators asked since the last step.
    fn asked(&mut self) -> Result<Vec<(Event, Asked)>, HandlerError> {
        let stream = self.spec.control_stream();
        let end = self.journal.durable_end();
        let last = self.journal.last(&stream)?.map(|record| record.offset);
        let Some(last) = last.filter(|last| *last >= self.head.control && *last < end) else { return Ok(Vec::new()) };
        let mut asked = Vec::new();
        let mut read = self.journal.read(self.head.control, last.plus(1), &Filter::new().stream_named(&stream));
        loop {
            match read.look()? {
                Found::End => return Ok(asked),
                Found::Nothing => {}
                Found::Batch(batch) => {
                    let mut walk = crate::batch::Walk::new(&batch);
                    while let Some(event) = walk.next_owned(&batch) {
                        if let Some(what) = Asked::of(&event) {
                            asked.push((event, what));
                        }
                    }
                }
            }
        }
    }

    /// Waits until there may be something to do, at most for so long.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn wait(&self, at_most: Duration) -> Result<(), HandlerError> {
        self.journal.wait_past(self.read_to, at_most)?;
        Ok(())
    }

    /// Ends the instance: all is durable, and in the view.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn close(mut self) -> Result<(), HandlerError> {
        self.settle()?;
        if let Some(making) = self.making.take() {
            // A panic in it was shown; the log has all that a snapshot would.
            let _ = making.join();
        }
        self.cache.view().barrier()?;
        Ok(())
    }
}

fn with_sums(head: Head, sums: Sums) -> Head {
    Head { digest: sums.digest, own_digest: sums.own_digest, rows: sums.rows, own_rows: sums.own_rows, ..head }
}

/// What the handler's own rows say: streams that are set aside, and why it is paused.
fn own_rows(cache: &Cache, head: &Head) -> Result<(Queues, Option<String>), ViewError> {
    let why = |row: Option<bytes::Bytes>| String::from_utf8_lossy(&row.unwrap_or_default()).into_owned();
    let paused = if head.paused { Some(why(cache.get(&own::PAUSED)?.0)) } else { None };
    Ok((Queues::load(cache)?, paused))
}

/// Takes a handler over, by a record that stops the instance before.
fn acquire(journal: &dyn Journal, spec: &HandlerSpec) -> Result<(Head, Offset), HandlerError> {
    let stream = spec.stream();
    let name = || spec.name.as_ref().to_owned();
    loop {
        let found = journal.last(&stream)?;
        let (before, expect) = match &found {
            None => (None, Expect::None),
            Some(record) => {
                let head = Head::decode(&record.content)
                    .ok_or_else(|| HandlerError::Record { name: name(), at: record.offset })?;
                (Some((head, record.offset)), Expect::Last(record.offset))
            }
        };
        let head = match before {
            None => first_head(journal, spec),
            Some((head, _)) if head.generation != spec.generation => {
                return Err(HandlerError::Generation { name: name(), live: head.generation, asked: spec.generation });
            }
            Some((head, _)) if head.fingerprint != spec.fingerprint() => {
                return Err(HandlerError::Changed { name: name(), generation: spec.generation });
            }
            Some((head, at)) => Head {
                kind: RecordKind::Acquired,
                epoch: head.epoch + 1,
                exact: spec.exact,
                previous: Some(at),
                outputs: 0,
                ..head
            },
        };
        let record =
            Event::new(stream.as_str(), RecordKind::Acquired.event_type()).data(Record::of(head.clone()).encode());
        match journal.append(Append::new().own(record, expect)) {
            Ok(pending) => {
                let at = pending.wait()?.first();
                return Ok((head, at));
            }
            Err(AppendError::WrongVersion { .. }) => {} // another instance starts too: the later one stays
            Err(error) => return Err(error.into()),
        }
    }
}

fn first_head(journal: &dyn Journal, spec: &HandlerSpec) -> Head {
    let cursor = match spec.start {
        Start::First => journal.head(),
        Start::End => journal.durable_end(),
        Start::At(offset) => offset,
    };
    Head {
        kind: RecordKind::Acquired,
        generation: spec.generation,
        epoch: 1,
        fingerprint: spec.fingerprint(),
        cursor,
        control: journal.durable_end(),
        digest: Default::default(),
        own_digest: Default::default(),
        rows: 0,
        own_rows: 0,
        handled: 0,
        emitted: 0,
        previous: None,
        outputs: 0,
        paused: false,
        exact: spec.exact,
        parked: 0,
        bytes: 0,
    }
}

/// Does what an operator asked.
fn act(window: &mut Window<'_>, paused: &mut Option<String>, event: &Event, asked: &Asked) -> Result<(), HandlerError> {
    window.overlay.begin(event.offset());
    match asked {
        Asked::Pause => pause(window, paused, Asked::reason(event))?,
        Asked::Resume => {
            if paused.take().is_some() {
                window.overlay.put(window.cache, &own::PAUSED, None, event.stream())?;
            }
        }
        Asked::Retry(stream) => {
            window.queues.retry(&mut window.overlay, window.cache, stream, window.now_us)?;
        }
        Asked::Drop { stream, all } => {
            while let Some(first) = window.queues.get(stream).and_then(|aside| aside.waiting.front().copied()) {
                let reason = Asked::reason(event).into();
                window.decisions.push(Decision {
                    kind: DecisionKind::Dropped,
                    offset: Offset::from_raw(first),
                    reason,
                });
                window.queues.done(&mut window.overlay, window.cache, stream, window.now_us)?;
                if !all {
                    break;
                }
            }
        }
        Asked::Skip(_) | Asked::CutOver(_) => {}
    }
    Ok(())
}

fn pause(window: &mut Window<'_>, paused: &mut Option<String>, reason: String) -> Result<(), HandlerError> {
    let at = window.overlay.at();
    window.overlay.begin(at);
    let value = bytes::Bytes::copy_from_slice(reason.as_bytes());
    window.overlay.put(window.cache, &own::PAUSED, Some(value), "$paused")?;
    *paused = Some(reason);
    Ok(())
}

/// Tries events again that wait, as far as they are due; returns how many were done with.
fn take_up(journal: &dyn Journal, logic: &mut dyn Logic, window: &mut Window<'_>) -> Result<usize, HandlerError> {
    for taken in 0..TAKEN_UP_MAX {
        let first = window
            .queues
            .due(window.now_us)
            .and_then(|stream| window.queues.get(&stream).and_then(|aside| aside.waiting.front().copied()));
        let Some(first) = first else { return Ok(taken) };
        let Some(event) = journal.get(Offset::from_raw(first))? else { return Ok(taken) };
        window.go_on_with(vec![event], Came::FromQueue);
        logic.run(window)?;
        if window.pause.is_some() {
            return Ok(taken);
        }
    }
    Ok(TAKEN_UP_MAX)
}
