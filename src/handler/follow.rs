//! Following a handler's records: exactly the events that they say were handled, in that order, with nothing decided anew.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::cache::Cache;
use super::commit::{Decision, DecisionKind, Record};
use super::context::Whose;
use super::error::HandlerError;
use super::failure::Failure;
use super::logic::Logic;
use super::overlay::Overlay;
use super::queues::Queues;
use super::spec::HandlerSpec;
use super::window::{Came, Window};
use crate::batch::Walk;
use crate::event::NewEvent;
use crate::journal::{Found, Journal, JournalRead};
use crate::{Event, Filter, Offset};

/// What a record says became of events that were not simply handled.
#[derive(Debug, Default)]
pub(crate) struct Told {
    decisions: HashMap<Offset, Decision>,
    /// Whether the handler may pass over an event that the record says was handled.
    lenient: bool,
    /// An event that the record says was handled, and whose handling failed now.
    pub failed: Option<(Offset, Failure)>,
}

impl Told {
    pub fn of(&self, offset: Offset) -> Option<&Decision> {
        self.decisions.get(&offset)
    }

    pub fn may_skip(&self, failure: &Failure) -> bool {
        self.lenient && matches!(failure, Failure::Skip(_))
    }
}

/// A record and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub at: Offset,
    /// In the stream of a generation that is not the live one: it put nothing out.
    pub shadow: bool,
    pub record: Record,
}

/// Reads records in order.
#[derive(Debug)]
pub(crate) struct Records {
    name: Arc<str>,
    live: String,
    read: Box<dyn JournalRead>,
    found: VecDeque<Stored>,
}

impl Records {
    /// Of the live generation, whichever it was at the time.
    pub fn live(journal: &dyn Journal, spec: &HandlerSpec, from: Offset) -> Self {
        let filter = Filter::new().stream_named(&spec.stream());
        Records::of(journal, spec, from, journal.durable_end(), &filter)
    }

    /// Of a space: of its generation in both streams, among those of others.
    pub fn both(journal: &dyn Journal, spec: &HandlerSpec, from: Offset) -> Self {
        let filter = Filter::new().stream_named(&spec.stream()).stream_named(&spec.shadow_stream());
        Records::of(journal, spec, from, journal.durable_end(), &filter)
    }

    /// Whatever a filter wants of the handler's streams.
    pub fn matching(journal: &dyn Journal, spec: &HandlerSpec, filter: &Filter) -> Self {
        Records::of(journal, spec, journal.head(), journal.durable_end(), filter)
    }

    fn of(journal: &dyn Journal, spec: &HandlerSpec, from: Offset, to: Offset, filter: &Filter) -> Self {
        let read = journal.read(from, to, filter);
        Records { name: Arc::clone(&spec.name), live: spec.stream(), read, found: VecDeque::new() }
    }

    pub fn next(&mut self) -> Result<Option<Stored>, HandlerError> {
        while self.found.is_empty() {
            let batch = match self.read.look()? {
                Found::End => return Ok(None),
                Found::Nothing => continue,
                Found::Batch(batch) => batch,
            };
            let mut walk = Walk::new(&batch);
            while let Some(event) = walk.next_owned(&batch) {
                let bad = || HandlerError::Record { name: self.name.as_ref().to_owned(), at: event.offset() };
                let record = Record::decode(&event.data_bytes()).ok_or_else(bad)?;
                let shadow = event.stream() != self.live;
                self.found.push_back(Stored { at: event.offset(), shadow, record });
            }
        }
        Ok(self.found.pop_front())
    }
}

/// Reads a handler's events in order, up to where its records say.
#[derive(Debug)]
pub(crate) struct Inputs {
    journal: Arc<dyn Journal>,
    filter: Filter,
    read: Option<Box<dyn JournalRead>>,
    ahead: VecDeque<Event>,
    read_to: Offset,
}

impl Inputs {
    pub fn new(journal: Arc<dyn Journal>, filter: &Filter, from: Offset) -> Self {
        Inputs { journal, filter: filter.clone(), read: None, ahead: VecDeque::new(), read_to: from }
    }

    /// The events below an offset that were not given yet, at most so many.
    pub fn below(&mut self, to: Offset, most: usize) -> Result<Vec<Event>, HandlerError> {
        while self.read_to < to && self.ahead.len() < most {
            let end = self.journal.durable_end();
            if end <= self.read_to {
                break;
            }
            let read = match &mut self.read {
                Some(read) => read,
                None => self.read.insert(self.journal.read(self.read_to, end, &self.filter)),
            };
            match read.look()? {
                Found::Batch(batch) => {
                    let mut walk = Walk::new(&batch);
                    while let Some(event) = walk.next_owned(&batch) {
                        self.ahead.push_back(event);
                    }
                    self.read_to = read.position();
                }
                Found::Nothing => self.read_to = read.position(),
                Found::End => {
                    self.read_to = read.position();
                    self.read = None;
                }
            }
        }
        let wanted = self.ahead.iter().take(most).take_while(|event| event.offset() < to).count();
        Ok(self.ahead.drain(..wanted).collect())
    }

    /// Gives events back that were not handled.
    pub fn put_back(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            self.ahead.push_front(event);
        }
    }
}

/// How a record is followed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// The handler may pass over events that the record says were handled.
    pub lenient: bool,
    /// Events that had waited were run before: only those that follow are left.
    pub waited_done: bool,
    /// The window may end early when it is full.
    pub bounded: bool,
}

/// What following a record came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub overlay: Overlay,
    pub outputs: Vec<NewEvent<'static>>,
    pub decisions: Vec<Decision>,
    pub handled: u64,
    /// Events in the order in which they were run.
    pub order: Vec<Offset>,
    pub failed: Option<(Offset, Failure)>,
    /// Events that are left, because the window was full or the handling of one failed.
    pub rest: Vec<Event>,
}

/// Runs a handler over what records say.
#[derive(Debug)]
pub(crate) struct Engine {
    pub journal: Arc<dyn Journal>,
    pub spec: HandlerSpec,
    pub logic: Box<dyn Logic>,
    pub whose: Whose,
    pub cache: Cache,
}

impl Engine {
    /// Runs the events of a record: first those that had waited, as its decisions say, then those that came in turn.
    pub fn follow(
        &mut self,
        stored: &Stored,
        before: Offset,
        events: Vec<Event>,
        how: How,
    ) -> Result<Ran, HandlerError> {
        let decisions = &stored.record.decisions;
        let told = Told {
            decisions: decisions.iter().map(|decision| (decision.offset, decision.clone())).collect(),
            lenient: how.lenient,
            failed: None,
        };
        let (mut none_wait, mut order) = (Queues::default(), Vec::new());
        let mut window = Window::new(&self.cache, &mut none_wait, &self.spec, &self.whose, 0);
        window.told = Some(told);
        for decision in decisions.iter().filter(|decision| !how.waited_done && has_waited(decision, before)) {
            if decision.kind != DecisionKind::TakenUp {
                window.decisions.push(decision.clone());
                continue;
            }
            let missing = || HandlerError::Record { name: self.spec.name.as_ref().to_owned(), at: stored.at };
            let event = self.journal.get(decision.offset)?.ok_or_else(missing)?;
            order.push(event.offset());
            window.go_on_with(vec![event], Came::FromQueue);
            self.logic.run(&mut window)?;
            if has_failed(&window) {
                break;
            }
        }
        let mut rest = events;
        while !has_failed(&window) && !rest.is_empty() {
            window.go_on_with(rest, Came::InTurn);
            self.logic.run(&mut window)?;
            order.extend(window.events().iter().take(window.done).map(Event::offset));
            rest = window.rest();
            let full = how.bounded && window.overlay.bytes() > self.spec.window_bytes;
            if full || window.done == 0 {
                break;
            }
        }
        let failed = window.told.take().and_then(|told| told.failed);
        order.extend(failed.as_ref().map(|(offset, _)| *offset));
        let Window { overlay, outputs, decisions, handled, .. } = window;
        Ok(Ran { overlay, outputs, decisions, handled, order, failed, rest })
    }
}

fn has_failed(window: &Window<'_>) -> bool {
    window.told.as_ref().is_some_and(|told| told.failed.is_some())
}

/// Whether a decision is about an event that had waited when the step began.
fn has_waited(decision: &Decision, before: Offset) -> bool {
    match decision.kind {
        DecisionKind::TakenUp | DecisionKind::FailedAgain | DecisionKind::Dropped => true,
        // About what is no event of the window: an effect, or that an event is about to be tried.
        DecisionKind::EffectDropped | DecisionKind::Tried => true,
        DecisionKind::SetAside | DecisionKind::Skipped | DecisionKind::Repeat => decision.offset < before,
    }
}
