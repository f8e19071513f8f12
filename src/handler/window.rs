//! The events of one step while they are handled: who may run, what became of each, when it is enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::cache::Cache;
use super::commit::{Decision, DecisionKind};
use super::context::{Context, Emitted, Whose};
use super::error::HandlerError;
use super::failure::Failure;
use super::logic::Logic;
use super::overlay::Overlay;
use super::own;
use super::queues::Queues;
use super::spec::HandlerSpec;
use crate::event::NewEvent;
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
    /// Why the handler pauses behind what is done.
    pub pause: Option<String>,
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
            pause: None,
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

    /// Whether an event is to be run. One that waits behind others of its stream, or is a second one of the same
    /// business fact, is done with here.
    pub fn admit(&mut self, index: usize, logic: &dyn Logic) -> Result<bool, HandlerError> {
        let events = self.events();
        let Some(event) = events.get(index) else { return Ok(false) };
        self.overlay.begin(event.offset());
        self.current = Emitted::default();
        if self.came == Came::InTurn && self.queues.get(event.stream()).is_some() {
            let decision = self.queues.queue(&mut self.overlay, self.cache, event.stream(), event.offset())?;
            self.decisions.push(decision);
            self.done = index + 1;
            return Ok(false);
        }
        let Some(key) = logic.idempotency_key(event) else { return Ok(true) };
        let row = own::idempotency_key(&key);
        let known = self.overlay.get(self.cache, &row)?;
        let known = known.and_then(|value| value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)));
        let at = event.offset();
        if let Some(first) = known
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

    fn done_without(&mut self, index: usize, kind: DecisionKind, reason: Box<str>) -> Result<(), HandlerError> {
        let events = self.events();
        let Some(event) = events.get(index) else { return Ok(()) };
        self.decisions.push(Decision { kind, offset: event.offset(), reason });
        if self.came == Came::FromQueue {
            self.queues.done(&mut self.overlay, self.cache, event.stream(), self.now_us)?;
        }
        self.done = index + 1;
        Ok(())
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
                    self.note_key(event, &key)?;
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
        let full = self.overlay.bytes() + self.output_bytes > self.spec.window_bytes;
        Ok(if full { Went::Enough } else { Went::On })
    }

    pub(super) fn is_too_large(overlay: &Overlay, emitted: &Emitted) -> bool {
        // What one event changes has to fit beside what a window holds already.
        const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;
        emitted.bytes + overlay.bytes_of_event() > EVENT_BYTES_MAX
    }

    fn failed(&mut self, index: usize, event: &Event, failure: Failure) -> Result<Went, HandlerError> {
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
        let (stream, at) = (event.stream(), event.offset());
        let decision = self.queues.failed(&mut self.overlay, self.cache, stream, at, self.now_us, after, &cause)?;
        self.decisions.push(decision);
        self.done = index + 1;
        Ok(Went::On)
    }

    fn note_key(&mut self, event: &Event, key: &[u8]) -> Result<(), HandlerError> {
        let offset = event.offset();
        let value = bytes::Bytes::copy_from_slice(&offset.raw().to_be_bytes());
        let stream = event.stream();
        self.overlay.put(self.cache, &own::idempotency_key(key), Some(value), stream)?;
        let key = bytes::Bytes::copy_from_slice(key);
        self.overlay.put(self.cache, &own::expiry_key(offset), Some(key), stream)?;
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
