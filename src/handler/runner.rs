//! One handler, run step by step: read a window, run it, append outputs and record at once, and let the view follow.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Handler;
use super::attempts::Watch;
use super::cache::Cache;
use super::commit::{Decision, DecisionKind, Head, Record, RecordKind};
use super::context::Whose;
use super::control::{act, asked_since, pause};
use super::effects::{Effects, Executor, Ran};
use super::error::HandlerError;
use super::fence::{Turn, check_is_last};
use super::logic::{Calls, Logic};
use super::overlay::Sums;
use super::own;
use super::prove::{Goal, bookmark_of, bring_up, sums_of};
use super::queues::Queues;
use super::sample::Sample;
use super::snapshot::Snapshots;
use super::spec::{HandlerSpec, Start};
use super::state::{make_snapshot, rebuild_into};
use super::window::{Came, Window};
use crate::journal::{Found, Journal, JournalRead, Pending};
use crate::view::{View, ViewError};
use crate::{Append, AppendError, Event, Expect, Offset, ReadError};

/// Steps whose appends are on their way to the disk at a time.
const IN_FLIGHT_MAX: usize = 8;
/// When nothing was wanted for so many events, the handler's position is committed alone.
const UNWANTED_EVENTS: u64 = 1_000_000;
/// So many events of queues are taken up in one step.
pub(super) const TAKEN_UP_MAX: usize = 64;

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
    effects: Effects,
    executor: Option<Box<dyn Executor>>,
    watch: Watch,
    sample: Sample,
    turn: Turn,
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
    /// Events that a repair gave up, behind all that was read.
    gap: Option<(Offset, Offset)>,
    /// All that operators asked before it was seen.
    control_read: Offset,
    paused: Option<String>,
    /// It goes no further than this, if anywhere.
    until: Option<Offset>,
    stopped: bool,
    /// Durable when the last step began: what comes behind it may be something to do.
    seen: Offset,
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
        Runner::open_shared(Arc::new(journal), Arc::new(view), spec, Box::new(Calls::new(handler)))
    }

    pub(crate) fn open_shared(
        journal: Arc<dyn Journal>,
        view: Arc<dyn View>,
        spec: HandlerSpec,
        logic: Box<dyn Logic>,
    ) -> Result<Runner, HandlerError> {
        spec.check()?;
        let turn = Turn::of(journal.id(), &spec.space());
        let taking_over = turn.take();
        let (head, last) = acquire(&*journal, &spec)?;
        let snapshots = Snapshots::of_journal(&*journal);
        bring_up(&*journal, snapshots.as_ref(), &*view, &spec, Some(Goal { at: last, sums: sums_of(&head) }))?;
        let watch = if logic.is_in_process() { Watch::look_back(&*journal, head.previous)? } else { Watch::default() };
        let cache = Cache::new(view, spec.space(), spec.cache_bytes);
        let OwnRows { queues, effects, paused } = match own_rows(&cache, &head) {
            Err(ViewError::Damaged { .. }) => {
                rebuild_into((&*journal).into(), snapshots.clone(), cache.view(), cache.space())?;
                own_rows(&cache, &head)?
            }
            loaded => loaded?,
        };
        drop(taking_over);
        let whose = Whose {
            name: Arc::clone(&spec.name),
            log: journal.id(),
            epoch: head.epoch,
            hops_max: spec.hops_max,
            silent: false,
        };
        let (read_to, control_read) = (head.cursor, head.control);
        let sample = Sample::new(spec.sample);
        Ok(Runner {
            journal,
            spec,
            whose,
            logic,
            cache,
            queues,
            effects,
            executor: None,
            watch,
            sample,
            turn,
            head,
            last,
            in_flight: VecDeque::new(),
            read: None,
            ahead: Vec::new(),
            passed: false,
            read_to,
            gap: None,
            control_read,
            paused,
            until: None,
            stopped: false,
            seen: Offset::ZERO,
            snapshots,
            making: None,
        })
    }

    /// Runs the effects that the handler asks for, between its steps, by this executor.
    #[must_use]
    pub fn executor(mut self, executor: impl Executor) -> Self {
        self.executor = Some(Box::new(executor));
        self
    }

    /// The next offset to handle.
    pub fn cursor(&self) -> Offset {
        self.head.cursor
    }

    /// Makes it go no further than an offset: there is nothing to do for it behind that.
    pub(crate) fn stop_at(&mut self, end: Offset) {
        self.until = Some(end);
    }

    /// How many events it has handled and put out in all, as of its last record.
    #[cfg(feature = "cli")]
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.head.handled, self.head.emitted)
    }

    /// How often the events of a window ran in [`lanes`](HandlerSpec::lanes), and how often in vain.
    pub fn lanes(&self) -> super::Lanes {
        self.logic.lanes()
    }

    /// Streams that are set aside.
    pub fn parked(&self) -> usize {
        self.queues.streams()
    }

    /// How many events of the sample came to two results since it was opened: see [`HandlerSpec::check_sample`].
    pub fn violations(&self) -> u64 {
        self.sample.violations
    }

    /// A row of its state as of its last step, kept or not yet: the bytes that were put.
    ///
    /// # Errors
    /// When the view fails.
    pub fn get_bytes(&self, key: impl AsRef<[u8]>) -> Result<Option<bytes::Bytes>, HandlerError> {
        let value = self.cache.get(&own::user_key(key.as_ref()))?;
        Ok(value.map(|value| value.slice(1.min(value.len())..)))
    }

    /// Does what is to be done next, at most one window of it. What it appended may still be on its way to the disk.
    ///
    /// # Errors
    /// See [`HandlerError`]; the handler has stopped then, and can be opened again. Not so with
    /// [`AppendError::DiskFull`]: nothing of the step was kept, and with room the next one does it again.
    pub fn step(&mut self) -> Result<Step, HandlerError> {
        if self.stopped {
            return Err(HandlerError::Stopped { name: self.spec.name.as_ref().to_owned() });
        }
        let step = self.try_step();
        if let Err(HandlerError::Append(AppendError::DiskFull)) = &step {
            let gone_back = self.go_back();
            self.stopped = gone_back.is_err();
            return gone_back.and(step);
        }
        self.stopped = step.is_err();
        if step.is_err() && self.head.kind == RecordKind::Attempting {
            // It ends alive: what was announced is not to blame. That this fails too is no news.
            let _ = self.append_record(Record::of(self.next_head(RecordKind::Step)), Vec::new());
        }
        if let Err(HandlerError::View(ViewError::Damaged { .. })) = &step {
            let turn = self.turn.clone();
            let _turn = turn.take();
            // However it was closed, it is not believed again: opening the handler makes its rows again. A later
            // instance has done that already.
            if check_is_last(&*self.journal, &self.spec.stream(), &self.spec.name, self.last).is_ok() {
                self.cache.view().clear(self.cache.space())?;
            }
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
                idle if self.in_flight.is_empty() => {
                    self.settle()?;
                    return Ok(idle);
                }
                // What it put out itself can be read once it is durable, and may be for it.
                _ => self.settle()?,
            }
        }
    }

    /// Waits until all that was appended is durable, and gives it to the view.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn settle(&mut self) -> Result<(), HandlerError> {
        if self.stopped {
            // What it has in memory may be nowhere else.
            return Err(HandlerError::Stopped { name: self.spec.name.as_ref().to_owned() });
        }
        self.wait_for_all()?;
        if !self.cache.is_clean() {
            let turn = self.turn.clone();
            let _turn = turn.take();
            check_is_last(&*self.journal, &self.spec.stream(), &self.spec.name, self.last)?;
            let bookmark = bookmark_of(&*self.journal, self.last, &sums_of(&self.head));
            self.cache.apply(&bookmark)?;
        }
        self.make_snapshot();
        Ok(())
    }

    /// Gives rows to the view when there are many: beside the handler, unless it does its steps by hand.
    fn write_behind(&mut self) -> Result<(), HandlerError> {
        self.cache.check()?;
        if !self.cache.is_full() {
            return Ok(());
        }
        if self.spec.by_hand {
            return self.settle();
        }
        self.wait_for_all()?;
        let bookmark = bookmark_of(&*self.journal, self.last, &sums_of(&self.head));
        let (journal, stream, name) = (Arc::clone(&self.journal), self.spec.stream(), Arc::clone(&self.spec.name));
        let last = self.last;
        let is_last = move || check_is_last(&*journal, &stream, &name, last).is_ok();
        self.cache.apply_beside(bookmark, self.turn.clone(), is_last)?;
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
            if let Err(error) = pending.wait() {
                self.stopped = true;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Takes back what a step did in memory that was not appended.
    fn go_back(&mut self) -> Result<(), HandlerError> {
        self.wait_for_all()?;
        self.queues = Queues::load(&self.cache)?;
        self.effects.load_again(&self.cache)?;
        self.paused = paused_by(&self.head, &self.cache)?;
        self.ahead.clear();
        (self.read, self.gap, self.passed) = (None, None, false);
        (self.read_to, self.control_read) = (self.head.cursor, self.head.control);
        self.watch.announce_again();
        Ok(())
    }

    fn try_step(&mut self) -> Result<Step, HandlerError> {
        self.write_behind()?;
        self.seen = self.journal.durable_end();
        let now_us = self.spec.clock.now().as_micros();
        let (asked, asked_to) = asked_since(&*self.journal, &self.spec.control_stream(), self.control_read)?;
        self.control_read = asked_to;
        let ran = self.run_effects(now_us)?;
        if self.ahead.is_empty() {
            self.read_ahead()?;
        }
        let due = self.takes_more() && self.queues.due(now_us).is_some();
        if asked.is_empty() && ran.is_empty() && !due && !self.has_more() {
            return Ok(match &self.paused {
                Some(reason) => Step::Paused { reason: reason.clone() },
                None => Step::Idle { due_us: self.next_due_us() },
            });
        }
        self.announce(now_us)?;
        let alone = self.watch.is_alone();
        // Where this step resumes it, events come in with the next one: they were not announced.
        let takes_more = self.takes_more();
        let mut window = Window::new(&self.cache, &mut self.queues, &self.spec, &self.whose, now_us);
        window.sample = Some(&mut self.sample);
        window.blamed = self.watch.blamed.map(|blamed| (blamed, Watch::cause()));
        let mut cursor = self.head.cursor;
        let mut control = self.control_read;
        for (event, asked) in &asked {
            if !act(&mut window, &mut self.paused, cursor, event, asked)? {
                // The rest in the next step.
                control = event.offset();
                break;
            }
        }
        for ran in ran {
            self.effects.record(&mut window, ran)?;
        }
        if self.paused.is_none() && self.executor.is_none() && self.effects.len() >= self.spec.effects_max {
            window.pause = Some(format!("{} effects wait, and there is no executor to run them", self.effects.len()));
        }
        let mut done = 0;
        if self.paused.is_none() && takes_more {
            done += take_up(&*self.journal, &mut *self.logic, &mut window, if alone { 1 } else { TAKEN_UP_MAX })?;
        }
        if self.paused.is_none() && takes_more && !window.is_over() && !(alone && done > 0) {
            let mut events = std::mem::take(&mut self.ahead);
            let later = if alone { events.split_off(events.len().min(1)) } else { Vec::new() };
            window.go_on_with(events, Came::InTurn);
            self.logic.run(&mut window)?;
            done += window.done;
            let next = window.reached().or_else(|| later.first().map(Event::offset));
            cursor = next.unwrap_or(self.read_to);
            self.ahead = window.rest();
            self.ahead.extend(later);
            self.passed = false;
            if let Some((first, end)) = self.gap.filter(|_| next.is_none() && !window.is_over())
                && pass_gap(&mut window, first, end)
            {
                (cursor, self.read_to, self.gap) = (end, end, None);
            }
        }
        if let Some(reason) = window.pause.take() {
            pause(&mut window, &mut self.paused, &reason)?;
        }
        window.forget_before(cursor)?;
        let head = Head {
            cursor,
            control,
            handled: self.head.handled + window.handled,
            emitted: self.head.emitted + window.outputs.len() as u64,
            outputs: u32::try_from(window.outputs.len()).unwrap_or(u32::MAX),
            paused: self.paused.is_some(),
            parked: u32::try_from(window.queues.streams()).unwrap_or(u32::MAX),
            kind: RecordKind::Step,
            previous: Some(self.last),
            ..self.head.clone()
        };
        self.control_read = control;
        let blamed = window.blamed.take().and(self.watch.blamed);
        let Window { mut overlay, outputs, decisions, .. } = window;
        let (writes, streams, sums) = overlay.finish(self.whose.log, sums_of(&self.head));
        let effects = writes.iter().filter(|write| write.key.starts_with(&own::EFFECTS));
        let noted: Vec<_> = effects.cloned().collect();
        self.append_record(Record { head: with_sums(head, sums), streams, decisions, writes }, outputs)?;
        self.effects.note(&noted);
        self.watch.blamed = blamed;
        overlay.settle(&mut self.cache);
        self.watch.stepped(cursor);
        if alone {
            // What an event that comes next does to the process must not take this one's step back.
            self.wait_for_all()?;
        }
        Ok(Step::Went { events: done as u64 })
    }

    /// Whether events may come in: it is not paused, and what it asked to be done outside is being done.
    fn takes_more(&self) -> bool {
        let are_done = self.executor.is_none() || self.effects.len() < self.spec.effects_max;
        self.paused.is_none() && are_done
    }

    /// When there is something to do again that waits for its time.
    fn next_due_us(&self) -> Option<i64> {
        let effect = self.effects.next_due_us().filter(|_| self.executor.is_some());
        [self.queues.next_due_us(), effect].into_iter().flatten().min()
    }

    /// Runs effects that are due. The steps that asked for them are durable then.
    fn run_effects(&mut self, now_us: i64) -> Result<Vec<Ran>, HandlerError> {
        if self.executor.is_none() || self.paused.is_some() || !self.effects.is_due(now_us) {
            return Ok(Vec::new());
        }
        self.wait_for_all()?;
        let Some(executor) = &self.executor else { return Ok(Vec::new()) };
        let stream = self.spec.stream();
        let check = || check_is_last(&*self.journal, &stream, &self.spec.name, self.last);
        self.effects.run(&**executor, &self.cache, &self.whose, now_us, check)
    }

    /// Says in the log what is about to be handled, where the process may die of it.
    fn announce(&mut self, now_us: i64) -> Result<(), HandlerError> {
        if !self.takes_more() || !self.logic.is_in_process() {
            return Ok(());
        }
        let waited = self.queues.due(now_us).and_then(|stream| self.queues.first_of(&stream));
        let Some(next) = waited.or_else(|| self.ahead.first().map(Event::offset)) else { return Ok(()) };
        let is_only_one = waited.is_none() && self.ahead.len() == 1;
        let Some(decisions) = self.watch.announce(next, is_only_one, self.head.cursor, self.read_to) else {
            return Ok(());
        };
        self.append_record(Record { decisions, ..Record::of(self.next_head(RecordKind::Attempting)) }, Vec::new())?;
        self.wait_for_all()
    }

    /// The head of a record that changes nothing.
    fn next_head(&self, kind: RecordKind) -> Head {
        Head { kind, previous: Some(self.last), outputs: 0, ..self.head.clone() }
    }

    fn append_record(
        &mut self,
        mut record: Record,
        outputs: Vec<crate::NewEvent<'static>>,
    ) -> Result<(), HandlerError> {
        let data = record.encode_counted();
        self.append(record.head, data, outputs)
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
        if self.in_flight.len() > IN_FLIGHT_MAX / 2
            && !self.spec.by_hand
            && let Some(pending) = self.in_flight.get_mut(IN_FLIGHT_MAX / 2)
        {
            // So that this thread goes on while the log's own one syncs for all of them.
            pending.begin();
        }
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

    /// Whether there are events to handle, a gap to stop at, or a position to commit alone: behind events that are not
    /// wanted. The log's own do not count: a record about nothing but records would be followed by another one.
    fn has_more(&self) -> bool {
        let passed = self.passed && self.read_to > self.head.cursor;
        self.takes_more() && (!self.ahead.is_empty() || self.gap.is_some() || passed)
    }

    /// Reads events ahead, up to a window of them.
    fn read_ahead(&mut self) -> Result<(), HandlerError> {
        let mut bytes = 0;
        while self.gap.is_none() {
            let read = match &mut self.read {
                Some(read) => read,
                None => {
                    let end = self.journal.durable_end();
                    let end = self.until.map_or(end, |until| end.min(until));
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
            let found = match read.look() {
                Err(ReadError::Lost { first, end }) => {
                    // Whatever was lost, perhaps it was wanted: somebody has to decide.
                    self.gap = Some((first.max(self.read_to), end));
                    self.read_to = self.read_to.max(first);
                    self.read = None;
                    return Ok(());
                }
                found => found?,
            };
            match found {
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
        Ok(())
    }

    /// Waits until there may be something to do, at most for so long.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn wait(&self, at_most: Duration) -> Result<(), HandlerError> {
        self.journal.wait_past(self.read_to.max(self.seen), at_most)?;
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

/// Why the handler is paused, if it is.
fn paused_by(head: &Head, cache: &Cache) -> Result<Option<String>, HandlerError> {
    if !head.paused {
        return Ok(None);
    }
    let reason = cache.get(&own::PAUSED)?.unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(&reason).into_owned()))
}

pub(super) fn with_sums(head: Head, sums: Sums) -> Head {
    Head { digest: sums.digest, own_digest: sums.own_digest, rows: sums.rows, own_rows: sums.own_rows, ..head }
}

/// What the handler's own rows say: streams that are set aside, and why it is paused.
/// What the handler's own rows say.
struct OwnRows {
    queues: Queues,
    effects: Effects,
    paused: Option<String>,
}

fn own_rows(cache: &Cache, head: &Head) -> Result<OwnRows, ViewError> {
    let why = |row: Option<bytes::Bytes>| String::from_utf8_lossy(&row.unwrap_or_default()).into_owned();
    let paused = if head.paused { Some(why(cache.get(&own::PAUSED)?)) } else { None };
    Ok(OwnRows { queues: Queues::load(cache)?, effects: Effects::load(cache)?, paused })
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

pub(super) fn first_head(journal: &dyn Journal, spec: &HandlerSpec) -> Head {
    let cursor = match spec.start {
        Start::First => journal.head(),
        Start::End => journal.durable_end(),
        Start::At(offset) => offset,
    };
    Head {
        fingerprint: spec.fingerprint(),
        cursor,
        control: journal.durable_end(),
        exact: spec.exact,
        ..Head::first(RecordKind::Acquired, spec.generation)
    }
}

/// Passes over a gap in the log, if an operator wants that; else the handler pauses before it.
fn pass_gap(window: &mut Window<'_>, first: Offset, end: Offset) -> bool {
    let lost = format!("events {first} to {end} (exclusive) were lost and given up by a repair");
    let Some(why) = window.queues.skips.in_gap(first, end) else {
        window.pause = Some(format!("{lost}; to go on behind them, skip {first} and resume"));
        return false;
    };
    let reason = format!("{why} ({lost})").into();
    window.decide(Decision { kind: DecisionKind::Skipped, offset: first, reason });
    true
}

/// Tries events again that wait, as far as they are due, at most so many; returns how many were done with.
pub(super) fn take_up(
    journal: &dyn Journal,
    logic: &mut dyn Logic,
    window: &mut Window<'_>,
    most: usize,
) -> Result<usize, HandlerError> {
    for taken in 0..most {
        if window.is_over() {
            return Ok(taken);
        }
        let Some(stream) = window.queues.due(window.now_us) else { return Ok(taken) };
        let Some(first) = window.queues.first_of(&stream) else { return Ok(taken) };
        match journal.get(first) {
            Ok(Some(event)) => {
                window.go_on_with(vec![event], Came::FromQueue);
                logic.run(window)?;
            }
            Ok(None) => window.lost(&stream, first, "the log does not have the event")?,
            Err(error @ (ReadError::Lost { .. } | ReadError::Trimmed { .. })) => {
                window.lost(&stream, first, &error.to_string())?;
            }
            Err(error) => return Err(error.into()),
        }
        if window.pause.is_some() {
            return Ok(taken);
        }
    }
    Ok(most)
}
