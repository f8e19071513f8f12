//! The events of one step while they are handled: who may run, what became of each, when it is enough.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::cache::Cache;
use super::commit::{Decision, DecisionKind};
use super::context::{Context, Emitted, Whose};
use super::error::HandlerError;
use super::failure::{DEATHS_MAX, Failure};
use super::follow::Told;
use super::keys::Keys;
use super::logic::{Logic, panicked};
use super::overlay::Overlay;
#[cfg(feature = "cli")]
use super::own;
use super::queues::{Queues, shortened};
use super::sample::Sample;
use super::spec::HandlerSpec;
use crate::event::NewEvent;
use crate::limits::{BATCH_NAMES_MAX, NAME_BYTES_MAX};
use crate::{Event, Offset};

/// Whether a window goes on after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    On,
    /// The events behind this one are left for the next step.
    Enough,
}

/// How an event came into the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// In its turn.
    InTurn,
    /// Out of its stream's queue.
    FromQueue,
}

/// Stands where a change of a row says because of whose event it was: passing an offset made it.
const SKIPS_OWN: &str = "$skips";

/// The events of a step, and what they have changed so far.
#[derive(Debug)]
pub(crate) struct Window<'r> {
    pub cache: &'r Cache,
    pub overlay: Overlay,
    pub queues: &'r mut Queues,
    pub spec: &'r HandlerSpec,
    pub whose: &'r Whose,
    pub now_us: i64,
    pub came: Came,
    events: Arc<Vec<Event>>,
    /// Events before it are done with: handled, set aside, passed over.
    pub done: usize,
    pub handled: u64,
    pub outputs: Vec<NewEvent<'static>>,
    pub output_bytes: usize,
    pub decisions: Vec<Decision>,
    decision_bytes: usize,
    /// Why the handler pauses behind what is done.
    pub pause: Option<String>,
    /// So much is in the step that no more is to come in.
    is_full: bool,
    /// The event that killed the instances before, and is not to be run.
    pub blamed: Option<(Offset, String)>,
    /// What a record says became of the events, where it is followed instead of decided anew.
    pub told: Option<Told>,
    /// Events that are handled twice, where some are.
    pub sample: Option<&'r mut Sample>,
    current: Emitted,
    /// Idempotency keys of admitted events.
    keys: BTreeMap<usize, Vec<u8>>,
}

impl<'r> Window<'r> {
    pub fn new(cache: &'r Cache, queues: &'r mut Queues, spec: &'r HandlerSpec, whose: &'r Whose, now_us: i64) -> Self {
        Window {
            cache,
            overlay: Overlay::new(spec.exact),
            queues,
            spec,
            whose,
            now_us,
            came: Came::InTurn,
            events: Arc::default(),
            done: 0,
            handled: 0,
            outputs: Vec::new(),
            output_bytes: 0,
            decisions: Vec::new(),
            decision_bytes: 0,
            pause: None,
            is_full: false,
            blamed: None,
            told: None,
            sample: None,
            current: Emitted::default(),
            keys: BTreeMap::new(),
        }
    }

    /// Goes on with other events, in the same step.
    pub fn go_on_with(&mut self, events: Vec<Event>, came: Came) {
        (self.events, self.came, self.done) = (Arc::new(events), came, 0);
        self.keys.clear();
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The events themselves, to be held while the window changes.
    pub fn events(&self) -> Arc<Vec<Event>> {
        Arc::clone(&self.events)
    }

    /// Whether an event is to be run. One that an operator wants passed over, that waits behind others of its stream,
    /// or is a second one of the same business fact, is done with here. When the step is over, none is.
    pub fn admit(&mut self, index: usize, logic: &dyn Logic) -> Result<bool, HandlerError> {
        let events = self.events();
        let Some(event) = events.get(index).filter(|_| !self.is_over()) else { return Ok(false) };
        self.overlay.begin(event.offset());
        self.current = Emitted::default();
        if let Some(told) = &self.told {
            let decision = told.of(event.offset()).filter(|_| self.came == Came::InTurn).cloned();
            let Some(decision) = decision else {
                self.keys.extend(logic.idempotency_key(event).map(|key| (index, key)));
                return Ok(true);
            };
            self.decisions.push(decision);
            self.done = index + 1;
            return Ok(false);
        }
        let at = event.offset();
        if let Some(why) = self.queues.skips.get(at) {
            let why = why.into();
            self.done_without(index, DecisionKind::Skipped, why)?;
            return Ok(false);
        }
        if self.came == Came::InTurn && self.queues.get(event.stream()).is_some() {
            if self.queues.events() >= self.spec.waiting_max {
                self.pause = Some(format!(
                    "{} events wait in {} streams that are set aside, no more may",
                    self.queues.events(),
                    self.queues.streams()
                ));
                return Ok(false);
            }
            let decision = self.queues.queue(&mut self.overlay, self.cache, event.stream(), at)?;
            self.decide(decision);
            self.done = index + 1;
            return Ok(false);
        }
        if let Some((_, why)) = self.blamed.take_if(|(blamed, _)| *blamed == at) {
            self.failed(index, event, Failure::park(why))?;
            return Ok(false);
        }
        let key = match self.key_of(event, logic) {
            Ok(Some(key)) => key,
            Ok(None) => return Ok(true),
            Err(failure) => {
                self.failed(index, event, failure)?;
                return Ok(false);
            }
        };
        if let Some(first) = Keys::last(&mut self.overlay, self.cache, &key)?
            && first != at.raw()
            && at.raw().abs_diff(first) <= self.spec.horizon
        {
            let reason = format!("the same as the event at offset {first}").into();
            self.done_without(index, DecisionKind::Repeat, reason)?;
            return Ok(false);
        }
        self.keys.insert(index, key);
        Ok(true)
    }

    /// Asks the user's code for an event's key, which can fail as the handling can.
    fn key_of(&self, event: &Event, logic: &dyn Logic) -> Result<Option<Vec<u8>>, Failure> {
        let asked = AssertUnwindSafe(|| logic.idempotency_key(event));
        let key = catch_unwind(asked).map_err(|panic| panicked(&*panic))?;
        match &key {
            Some(key) if key.len() > NAME_BYTES_MAX => Err(Failure::park(format!(
                "the event's idempotency key has {} bytes, and may have {NAME_BYTES_MAX}",
                key.len()
            ))),
            _ => Ok(key),
        }
    }

    /// Whether no more is to come into the step: it pauses, or is full.
    pub fn is_over(&self) -> bool {
        self.pause.is_some() || self.is_full
    }

    /// Notes a decision, of whose reason the beginning is kept.
    pub fn decide(&mut self, decision: Decision) {
        let reason = shortened(&decision.reason).into();
        self.decisions.push(Decision { reason, ..decision });
        self.decision_bytes += self.decisions.last().map_or(0, |decision| decision.reason.len() + 16);
        self.note_fill();
    }

    fn note_fill(&mut self) {
        // A record names no more streams than a batch does.
        self.is_full |= self.overlay.streams() >= BATCH_NAMES_MAX / 2;
        self.is_full |= self.overlay.bytes() + self.output_bytes + self.decision_bytes > self.spec.window_bytes;
    }

    /// Parks the first event of a queue that the log does not have any more.
    pub fn lost(&mut self, stream: &str, at: Offset, cause: &str) -> Result<(), HandlerError> {
        self.overlay.begin(at);
        let decision = self.queues.failed(&mut self.overlay, self.cache, stream, at, self.now_us, None, cause)?;
        self.decide(decision);
        Ok(())
    }

    fn done_without(&mut self, index: usize, kind: DecisionKind, reason: Box<str>) -> Result<(), HandlerError> {
        let events = self.events();
        let Some(event) = events.get(index) else { return Ok(()) };
        self.decide(Decision { kind, offset: event.offset(), reason });
        if self.came == Came::FromQueue {
            self.queues.done(&mut self.overlay, self.cache, event.stream(), self.now_us)?;
        }
        self.done = index + 1;
        Ok(())
    }

    /// Whether an event would be set aside, because it waits behind others of its stream.
    #[cfg(feature = "cli")]
    pub fn waits(&self, event: &Event) -> bool {
        self.came == Came::InTurn && self.queues.get(event.stream()).is_some()
    }

    /// A user's row as the events that are done with have left it, its codec byte in front.
    #[cfg(feature = "cli")]
    pub fn row(&mut self, key: &[u8]) -> Result<Option<bytes::Bytes>, HandlerError> {
        let found = self.overlay.get(self.cache, &own::user_key(key));
        found.map_err(|error| self.overlay.broken().unwrap_or(error).into())
    }

    /// Runs an admitted event.
    pub fn call(
        &mut self,
        index: usize,
        run: impl FnOnce(&Event, &mut Context<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let events = self.events();
        let Some(event) = events.get(index) else { return Ok(()) };
        self.overlay.begin(event.offset());
        self.current = Emitted::default();
        let mut context = Context {
            cache: self.cache,
            overlay: &mut self.overlay,
            emitted: &mut self.current,
            event,
            whose: self.whose,
            random: None,
        };
        run(event, &mut context)
    }

    /// Notes that an admitted event was run elsewhere, and what it did.
    pub fn take_over(
        &mut self,
        index: usize,
        emitted: Emitted,
        writes: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<Went, HandlerError> {
        let events = self.events();
        let Some(event) = events.get(index) else { return Ok(Went::Enough) };
        self.overlay.begin(event.offset());
        for (key, value) in writes {
            self.overlay.put(self.cache, &key, value, event.stream())?;
        }
        self.current = emitted;
        self.finish(index, Ok(()))
    }

    /// Events that the event that was run last put out.
    pub fn put_out(&self) -> &[NewEvent<'static>] {
        &self.current.events
    }

    /// Notes what became of the event that was run last.
    pub fn finish(&mut self, index: usize, outcome: Result<(), Failure>) -> Result<Went, HandlerError> {
        if let Some(error) = self.overlay.broken() {
            return Err(error.into());
        }
        let events = self.events();
        let Some(event) = events.get(index) else { return Ok(Went::Enough) };
        let mut emitted = std::mem::take(&mut self.current);
        let outcome = match (outcome, emitted.refused.take()) {
            (Ok(()), Some(refused)) => Err(Failure::Park(Box::new(refused))),
            (Ok(()), None) if Window::is_too_large(&self.overlay, &emitted) => Err(Failure::park(
                "what the handling of the event changes and puts out does not fit into one append".to_owned(),
            )),
            (outcome, _) => outcome,
        };
        match outcome {
            Ok(()) => {
                if let Some(key) = self.keys.remove(&index) {
                    let (at, stream) = (event.offset(), event.stream());
                    self.queues.keys.note(&mut self.overlay, self.cache, &key, at, stream)?;
                }
                self.handled += 1;
                self.output_bytes += emitted.bytes;
                self.outputs.append(&mut emitted.events);
                if self.came == Came::FromQueue {
                    self.done_without(index, DecisionKind::TakenUp, "".into())?;
                }
                self.done = index + 1;
            }
            Err(failure) => {
                self.overlay.roll_back();
                self.overlay.begin(event.offset());
                if self.failed(index, event, failure)? == Went::Enough {
                    return Ok(Went::Enough);
                }
            }
        }
        self.note_fill();
        Ok(if self.is_full { Went::Enough } else { Went::On })
    }

    pub(super) fn is_too_large(overlay: &Overlay, emitted: &Emitted) -> bool {
        // What one event changes has to fit beside what a window holds already.
        const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;
        emitted.bytes + overlay.bytes_of_event() > EVENT_BYTES_MAX
    }

    fn failed(&mut self, index: usize, event: &Event, failure: Failure) -> Result<Went, HandlerError> {
        if let Some(told) = &mut self.told
            && !told.may_skip(&failure)
        {
            told.failed = Some((event.offset(), failure));
            return Ok(Went::Enough);
        }
        let cause = failure.to_string();
        let failures = self.queues.get(event.stream()).map_or(0, |aside| aside.row.failures) + 1;
        let after = match failure {
            Failure::Pause(_) => {
                self.pause = Some(cause);
                return Ok(Went::Enough);
            }
            Failure::Skip(reason) => {
                self.done_without(index, DecisionKind::Skipped, reason.into())?;
                return Ok(Went::On);
            }
            Failure::Park(_) => None,
            Failure::Died(_) if failures >= DEATHS_MAX => None,
            Failure::Died(_) => self.spec.retry.after(failures, &*self.spec.random),
            Failure::Retry { after, .. } => {
                let growing = self.spec.retry.after(failures, &*self.spec.random);
                growing.map(|growing| after.unwrap_or(growing))
            }
        };
        let new = self.queues.get(event.stream()).is_none();
        if new && self.queues.streams() >= self.spec.parked_max as usize {
            self.pause = Some(format!("{} streams are set aside, no more may be: {cause}", self.queues.streams()));
            return Ok(Went::Enough);
        }
        if new && self.queues.events() >= self.spec.waiting_max {
            self.pause = Some(format!("{} events are set aside, no more may be: {cause}", self.queues.events()));
            return Ok(Went::Enough);
        }
        let (stream, at) = (event.stream(), event.offset());
        let decision = self.queues.failed(&mut self.overlay, self.cache, stream, at, self.now_us, after, &cause)?;
        self.decide(decision);
        self.done = index + 1;
        Ok(Went::On)
    }

    /// Forgets what is remembered for a while only, now that the handler is at this cursor.
    pub fn forget_before(&mut self, cursor: Offset) -> Result<(), HandlerError> {
        // Twice what a step can add, so that it is bounded, and does not pile up.
        let most = self.spec.window_events.saturating_mul(2).min(16_384);
        self.overlay.begin(cursor);
        self.queues.skips.forget_before(&mut self.overlay, self.cache, cursor, SKIPS_OWN)?;
        self.overlay.begin(cursor);
        self.queues.keys.forget(&mut self.overlay, self.cache, cursor, self.spec.horizon, most)?;
        Ok(())
    }

    /// The events that are left for the next step.
    pub fn rest(&self) -> Vec<Event> {
        self.events.iter().skip(self.done).cloned().collect()
    }

    /// The offset behind what is done.
    pub fn reached(&self) -> Option<Offset> {
        self.events.get(self.done).map(Event::offset)
    }
}
