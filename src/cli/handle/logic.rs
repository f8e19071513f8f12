//! Events handled by a command: asked ahead, taken in order, and what becomes of one that ends the command.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::child::{Child, Ended};
use super::keys::Keys;
use super::plan::{Plan, State};
use super::protocol::{Answer, Question};
use crate::cli::failure::Failure as CliFailure;
use crate::handler::{HOPS, Logic, Went, Window};
use crate::{Context, Event, Failure, HandlerError};

/// Questions without an answer at a time, and bytes that are not in the pipe yet. More would wake both sides less often,
/// but the key with most events has to wait for all of them between two of its own.
const ASKED_MAX: usize = 64;
const UNWRITTEN_MAX: usize = 256 * 1024;

/// How long to wait at most before a command is started again that somebody ends again and again.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What stays the same while a handler runs.
#[derive(Debug)]
pub(super) struct Settings {
    pub handler: String,
    pub command: String,
    pub keys: Arc<Keys>,
    pub timeout: Duration,
    pub batch: bool,
}

/// A command that handles events.
pub(super) struct Commanded {
    settings: Settings,
    child: Option<Child>,
    /// Answers that it still owes for events which are not wanted any more.
    abandoned: usize,
    /// It has answered once, so it can.
    works: bool,
    /// So often it was ended from outside since its last answer.
    ends: u32,
    starts: Arc<AtomicU64>,
}

impl fmt::Debug for Commanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commanded").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Drop for Commanded {
    fn drop(&mut self) {
        if let Some(child) = self.child.take().filter(|_| self.abandoned == 0) {
            child.close();
        }
    }
}

/// Whether an event's turn is over.
enum Turn {
    Over,
    /// The events behind it are left for the next step.
    Last,
    NotYet,
}

impl Logic for Commanded {
    fn run(&mut self, window: &mut Window<'_>) -> Result<(), HandlerError> {
        if self.settings.batch && window.len() > 1 && self.in_batches(window)? {
            return Ok(());
        }
        let mut plan = self.plan(&window.events());
        let outcome = self.one_by_one(window, &mut plan);
        self.abandoned += plan.in_flight();
        outcome
    }

    fn idempotency_key(&self, _: &Event) -> Option<Vec<u8>> {
        None
    }

    /// What an event ends is the command, and that is counted here.
    fn is_in_process(&self) -> bool {
        false
    }
}

impl Commanded {
    /// `starts` counts how often the command was started.
    pub(super) fn new(settings: Settings, starts: Arc<AtomicU64>) -> Self {
        Commanded { settings, child: None, abandoned: 0, works: false, ends: 0, starts }
    }

    fn plan(&self, events: &[Event]) -> Plan {
        let mut plan = Plan::default();
        for event in events {
            plan.add(self.settings.keys.of(event).map_err(|why| Answer::Failed(Failure::park(why))));
        }
        plan
    }

    fn one_by_one(&mut self, window: &mut Window<'_>, plan: &mut Plan) -> Result<(), HandlerError> {
        let events = window.events();
        // Streams of events that failed, which have not had their turn yet.
        let mut failed = HashSet::new();
        let mut at = 0;
        loop {
            while let Some(event) = events.get(at) {
                match self.turn(window, plan, at, event, &mut failed)? {
                    Turn::Over => at += 1,
                    Turn::Last => return Ok(()),
                    Turn::NotYet => break,
                }
            }
            if at >= events.len() {
                return Ok(());
            }
            self.ask(window, plan, at, &events, &failed)?;
            if let Some(index) = self.hear(plan)?
                && plan.has_failed(index)
                && let Some(event) = events.get(index)
            {
                failed.insert(event.stream());
            }
        }
    }

    /// Takes an event in its turn, as far as its answer is here.
    fn turn<'e>(
        &mut self,
        window: &mut Window<'_>,
        plan: &mut Plan,
        index: usize,
        event: &'e Event,
        failed: &mut HashSet<&'e str>,
    ) -> Result<Turn, HandlerError> {
        if window.waits(event) {
            window.admit(index, self)?;
            return Ok(Turn::Over);
        }
        let Some(given) = plan.given(index) else {
            if !plan.is_coming(index) {
                failed.remove(event.stream());
                plan.again(index);
            }
            return Ok(Turn::NotYet);
        };
        if let Some(key) = plan.key_of(index)
            && window.row(key.as_bytes())? != *given
        {
            failed.remove(event.stream());
            plan.again(index);
            return Ok(Turn::NotYet);
        }
        let key = plan.key_of(index).unwrap_or_default().to_owned();
        let Some(answer) = self.take(plan, index) else { return Ok(Turn::NotYet) };
        if !window.admit(index, self)? {
            return Ok(Turn::Over);
        }
        let outcome = window.call(index, |_, cx| apply(answer, &key, cx));
        Ok(match window.finish(index, outcome)? {
            Went::On => Turn::Over,
            Went::Enough => Turn::Last,
        })
    }

    /// The answer to an event. When nothing more is asked and there is more than that, lines do not belong to events
    /// any more: the event has failed, and what is known of others is forgotten.
    fn take(&mut self, plan: &mut Plan, index: usize) -> Option<Answer> {
        if plan.in_flight() == 0 && self.abandoned == 0 && self.child.as_mut().is_some_and(Child::has_more) {
            self.end();
            plan.forget();
            return Some(Answer::Failed(failure("it wrote more lines than it was given")));
        }
        plan.take(index)
    }

    /// Asks about events ahead.
    fn ask(
        &mut self,
        window: &mut Window<'_>,
        plan: &mut Plan,
        at: usize,
        events: &[Event],
        failed: &HashSet<&str>,
    ) -> Result<(), HandlerError> {
        while self.may_ask(plan.in_flight()) {
            let next = plan.next(|index| {
                let event = events.get(index);
                index < at || event.is_none_or(|event| window.waits(event) || failed.contains(event.stream()))
            });
            let Some((index, line)) = next else { return Ok(()) };
            let Some(event) = events.get(index) else { return Ok(()) };
            let state = match plan.state(line) {
                Some(state) => state,
                None => window.row(plan.key(line).as_bytes())?,
            };
            let key = plan.key(line);
            let batch = self.settings.batch;
            self.line(key, &state, plan.in_flight(), |question, out| match batch {
                true => question.many(std::iter::once(event), out),
                false => question.one(event, out),
            })?;
            plan.asked(index, line, state);
        }
        Ok(())
    }

    fn may_ask(&self, in_flight: usize) -> bool {
        let unwritten = self.child.as_ref().map_or(0, Child::unwritten);
        in_flight + self.abandoned < ASKED_MAX && (unwritten < UNWRITTEN_MAX || in_flight == 0)
    }

    /// Gives the command a line.
    fn line(
        &mut self,
        key: &str,
        state: &State,
        in_flight: usize,
        write: impl FnOnce(Question<'_>, &mut Vec<u8>) -> Result<(), CliFailure>,
    ) -> Result<(), HandlerError> {
        let idle = in_flight + self.abandoned == 0;
        let child = match &mut self.child {
            Some(child) => child,
            None => {
                self.starts.fetch_add(1, Ordering::Relaxed);
                let started = Child::start(&self.settings.command);
                self.child.insert(started.map_err(|error| cannot(&self.settings, &error.to_string()))?)
            }
        };
        if idle {
            child.begins();
        }
        let written = child.line(|out| write(Question { key, state: state.as_ref() }, out));
        written.map_err(|failure| cannot(&self.settings, failure.message()))
    }

    /// Waits for an answer; returns the event, if it counts. When there will be none, all is to be asked again.
    fn hear(&mut self, plan: &mut Plan) -> Result<Option<usize>, HandlerError> {
        loop {
            let Some(child) = &mut self.child else { return Ok(None) };
            let blame = match child.answer(self.settings.timeout) {
                Ok(line) => {
                    (self.works, self.ends) = (true, 0);
                    if self.abandoned > 0 {
                        self.abandoned -= 1;
                        continue;
                    }
                    match Answer::read(line) {
                        Ok(answer) => return Ok(plan.answered(answer)),
                        Err(why) => Some(why),
                    }
                }
                Err(ended) => self.blame(ended)?,
            };
            // What an event did that nobody wants any more is not told.
            let blame = blame.filter(|_| self.abandoned == 0);
            self.end();
            let first = blame.and_then(|why| plan.answered(Answer::Failed(failure(&why))));
            plan.lost();
            return Ok(first);
        }
    }

    /// What an end says of the event that had no answer yet; `None`: nothing, it is asked about again.
    fn blame(&mut self, ended: Ended) -> Result<Option<String>, HandlerError> {
        // One that had answered may have ended for a reason that grew over many events. If it was this one, it will be
        // the first that the next command is asked about.
        let has_answered = self.child.as_ref().is_some_and(|child| child.answered > 0);
        tracing::info!(handler = self.settings.handler, ?ended, "the command ended");
        match ended {
            Ended::Io(error) => Err(cannot(&self.settings, &error.to_string())),
            Ended::NoCommand(why) if !self.works => Err(cannot(&self.settings, &why)),
            Ended::NoCommand(why) | Ended::Died(why) => Ok((!has_answered).then_some(why)),
            Ended::Garbage(why) => Ok(Some(why)),
            Ended::TimedOut(after) => Ok(Some(format!("it did not answer within {after:?}"))),
            Ended::FromOutside => {
                if self.ends > 0 {
                    let pause = Duration::from_millis(10).saturating_mul(1 << self.ends.min(10));
                    std::thread::sleep(pause.min(PAUSE_MAX));
                }
                self.ends += 1;
                Ok(None)
            }
        }
    }

    /// Ends the command; the next line starts another.
    fn end(&mut self) {
        self.child = None;
        self.abandoned = 0;
    }

    /// Handles a window with one line for each key. Returns false when one of them was not handled: nothing was done
    /// then, and events go one by one, so that it is known which.
    fn in_batches(&mut self, window: &mut Window<'_>) -> Result<bool, HandlerError> {
        let events = window.events();
        let mut plan = Plan::default();
        // Of all that do not wait, by their numbers in the plan.
        let mut wanted = Vec::new();
        for (index, event) in events.iter().enumerate().filter(|(_, event)| !window.waits(event)) {
            plan.add(self.settings.keys.of(event).map_err(|why| Answer::Failed(Failure::park(why))));
            wanted.push((index, event));
        }
        if !plan.is_keyed() {
            return Ok(false);
        }
        let batches: Vec<_> = plan
            .keys()
            .map(|(key, members)| (key, members.iter().filter_map(|member| wanted.get(*member)).collect::<Vec<_>>()))
            .collect();
        let Some(answers) = self.answers(window, &batches)? else { return Ok(false) };
        let mut by_first: std::collections::HashMap<usize, (Answer, &str)> = std::collections::HashMap::new();
        for ((key, members), answer) in batches.iter().zip(answers) {
            if let Some((first, _)) = members.first() {
                by_first.insert(*first, (answer, key));
            }
        }
        for index in 0..events.len() {
            if !window.admit(index, self)? {
                continue;
            }
            // All that a batch does is done with its first event: those behind it are in the same step.
            let outcome = window.call(index, |_, cx| match by_first.remove(&index) {
                Some((answer, key)) => apply(answer, key, cx),
                None => Ok(()),
            });
            let decisions = window.decisions.len();
            window.finish(index, outcome)?;
            if window.decisions.len() > decisions || window.pause.is_some() {
                return Err(cannot(&self.settings, "an answer to a batch was taken, and then refused"));
            }
        }
        Ok(true)
    }

    /// The answers to all batches, if each was handled and all together are small enough for one step.
    fn answers(
        &mut self,
        window: &mut Window<'_>,
        batches: &[(&str, Vec<&(usize, &Event)>)],
    ) -> Result<Option<Vec<Answer>>, HandlerError> {
        let mut answers = Vec::with_capacity(batches.len());
        let (mut asked, mut bytes) = (0, 0);
        while answers.len() < batches.len() {
            while let Some((key, members)) = batches.get(asked)
                && self.may_ask(asked - answers.len())
            {
                let state = window.row(key.as_bytes())?;
                self.line(key, &state, asked - answers.len(), |question, out| {
                    question.many(members.iter().map(|(_, event)| *event), out)
                })?;
                asked += 1;
            }
            let Some(child) = &mut self.child else { return Ok(None) };
            let line = match child.answer(self.settings.timeout) {
                Ok(line) => line,
                // One by one it will be known which event it was.
                Err(ended) => {
                    self.blame(ended)?;
                    self.end();
                    return Ok(None);
                }
            };
            (self.works, self.ends) = (true, 0);
            if self.abandoned > 0 {
                self.abandoned -= 1;
                continue;
            }
            bytes += line.len();
            let members = batches.get(answers.len()).map(|(_, members)| members.as_slice()).unwrap_or_default();
            match Answer::read(line) {
                Ok(answer) if bytes <= window.spec.window_bytes && can_be_done(&answer, members, window) => {
                    answers.push(answer);
                }
                Ok(_) => {
                    self.abandoned += asked - answers.len() - 1;
                    return Ok(None);
                }
                Err(_) => {
                    self.end();
                    return Ok(None);
                }
            }
        }
        let surplus = self.abandoned == 0 && self.child.as_mut().is_some_and(Child::has_more);
        if surplus {
            self.end();
            return Ok(None);
        }
        Ok(Some(answers))
    }
}

/// Whether nothing will refuse an answer to a batch any more.
fn can_be_done(answer: &Answer, members: &[&(usize, &Event)], window: &Window<'_>) -> bool {
    let Answer::Done { emit, .. } = answer else { return false };
    let comes_far = |event: &Event| {
        let hops = event.headers().find(|(name, _)| *name == HOPS).and_then(|(_, hops)| hops.parse::<u32>().ok());
        hops.is_some_and(|hops| hops >= window.spec.hops_max)
    };
    emit.is_empty() || !members.iter().any(|(_, event)| comes_far(event))
}

/// Does what an answer says.
fn apply(answer: Answer, key: &str, cx: &mut Context<'_>) -> Result<(), Failure> {
    match answer {
        Answer::Failed(failure) => Err(failure),
        Answer::Done { state, emit } => {
            if let Some(state) = state {
                cx.put_encoded(key.as_bytes(), state)?;
            }
            emit.into_iter().for_each(|event| cx.emit(event));
            Ok(())
        }
    }
}

fn failure(why: &str) -> Failure {
    Failure::Retry { after: None, cause: format!("the command failed: {why}").into() }
}

fn cannot(settings: &Settings, why: &str) -> HandlerError {
    HandlerError::Handling { name: settings.handler.clone(), cause: format!("`{}`: {why}", settings.command) }
}
