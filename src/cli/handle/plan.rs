//! Which events of a window a command is asked about, and in which order.
//!
//! Events of one key are asked about one after the other, each with the state that the answer before gave; those of
//! other keys meanwhile. Answers are taken in the order of events, and one counts only if its event's row still is what
//! the command was given. So asking ahead never changes what is committed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use super::protocol::Answer;
use crate::Failure;

/// The state of a key, or that it has none.
pub(super) type State = Option<Bytes>;

/// An event of the window.
#[derive(Debug)]
struct Slot {
    /// Its key's place; `None` when there is no key, and so nothing to ask.
    line: Option<usize>,
    answer: Option<(State, Answer)>,
}

/// A key with its events.
#[derive(Debug)]
struct Line {
    key: String,
    events: Vec<usize>,
    /// Events before it were asked about, or need not be.
    next: usize,
    /// As of the last answer; `None`: as the window has it.
    state: Option<State>,
    /// One of its events is asked about.
    busy: bool,
    /// Answers to questions of older rounds do not count.
    round: u32,
}

/// A question without an answer.
#[derive(Debug)]
struct Asked {
    index: usize,
    line: usize,
    round: u32,
    given: State,
}

/// What is known of the events of a window.
#[derive(Debug, Default)]
pub(super) struct Plan {
    slots: Vec<Slot>,
    lines: Vec<Line>,
    by_key: HashMap<String, usize>,
    /// Keys that can be asked about, those with most events first: they take longest.
    ready: BTreeSet<(Reverse<usize>, usize)>,
    in_flight: VecDeque<Asked>,
}

impl Plan {
    /// Adds the next event.
    pub(super) fn add(&mut self, key: Result<String, Answer>) {
        let index = self.slots.len();
        let key = match key {
            Ok(key) => key,
            Err(answer) => return self.slots.push(Slot { line: None, answer: Some((None, answer)) }),
        };
        let line = match self.by_key.get(&key) {
            Some(line) => *line,
            None => {
                self.by_key.insert(key.clone(), self.lines.len());
                self.lines.push(Line { key, events: Vec::new(), next: 0, state: None, busy: false, round: 0 });
                self.lines.len() - 1
            }
        };
        self.slots.push(Slot { line: Some(line), answer: None });
        self.change(line, |line| line.events.push(index));
    }

    /// Changes a key, and keeps `ready` in step.
    fn change<T>(&mut self, number: usize, change: impl FnOnce(&mut Line) -> T) -> Option<T> {
        let line = self.lines.get_mut(number)?;
        self.ready.remove(&(Reverse(line.left()), number));
        let changed = change(line);
        if !line.busy && line.left() > 0 {
            self.ready.insert((Reverse(line.left()), number));
        }
        Some(changed)
    }

    /// The next event to ask about, with its key's place; `pass`: events that need not be.
    pub(super) fn next(&mut self, pass: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        loop {
            let number = self.ready.first()?.1;
            let next = self.change(number, |line| {
                while line.events.get(line.next).is_some_and(|index| pass(*index)) {
                    line.next += 1;
                }
                line.events.get(line.next).copied()
            });
            if let Some(Some(index)) = next {
                return Some((index, number));
            }
        }
    }

    pub(super) fn key(&self, line: usize) -> &str {
        self.lines.get(line).map_or("", |line| &line.key)
    }

    /// The key of an event.
    pub(super) fn key_of(&self, index: usize) -> Option<&str> {
        self.slots.get(index)?.line.map(|line| self.key(line))
    }

    /// The state of a key as of its last answer, if it had one.
    pub(super) fn state(&self, line: usize) -> Option<State> {
        self.lines.get(line)?.state.clone()
    }

    /// All keys and their events.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.lines.iter().map(|line| (line.key.as_str(), line.events.as_slice()))
    }

    /// Whether every event has a key.
    pub(super) fn is_keyed(&self) -> bool {
        self.slots.iter().all(|slot| slot.line.is_some())
    }

    /// The command was asked about an event.
    pub(super) fn asked(&mut self, index: usize, number: usize, given: State) {
        let round = self.change(number, |line| {
            (line.busy, line.next) = (true, line.next + 1);
            line.round
        });
        self.in_flight.push_back(Asked { index, line: number, round: round.unwrap_or_default(), given });
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The oldest question is answered. Returns the event, if the answer counts.
    pub(super) fn answered(&mut self, answer: Answer) -> Option<usize> {
        let Asked { index, line, round, given } = self.in_flight.pop_front()?;
        let counts = self.change(line, |line| {
            if line.round != round {
                return false;
            }
            line.busy = false;
            line.state = Some(match &answer {
                Answer::Done { state: Some(state), .. } => state.clone(),
                _ => given.clone(),
            });
            true
        });
        self.slots.get_mut(index).filter(|_| counts == Some(true)).map(|slot| {
            slot.answer = Some((given, answer));
            index
        })
    }

    /// There will be no answers: all is asked again.
    pub(super) fn lost(&mut self) {
        while let Some(Asked { index, line, round, .. }) = self.in_flight.pop_back() {
            self.change(line, |line| {
                if line.round == round {
                    line.busy = false;
                    line.next = line.events.partition_point(|event| *event < index);
                }
            });
        }
    }

    /// Forgets what is known of an event and those of its key behind it: they are asked about again.
    pub(super) fn again(&mut self, index: usize) {
        let Some(number) = self.slots.get(index).and_then(|slot| slot.line) else { return };
        let events = self.change(number, |line| {
            line.round += 1;
            (line.busy, line.state) = (false, None);
            line.next = line.events.partition_point(|event| *event < index);
            line.events.get(line.next..).unwrap_or_default().to_vec()
        });
        for index in events.unwrap_or_default() {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.answer = None;
            }
        }
    }

    /// Whether there is an answer, and the state that it is an answer to.
    pub(super) fn given(&self, index: usize) -> Option<&State> {
        self.slots.get(index)?.answer.as_ref().map(|(given, _)| given)
    }

    pub(super) fn take(&mut self, index: usize) -> Option<Answer> {
        self.slots.get_mut(index)?.answer.take().map(|(_, answer)| answer)
    }

    /// Whether the answer to an event sets its stream aside.
    pub(super) fn has_failed(&self, index: usize) -> bool {
        let answer = self.slots.get(index).and_then(|slot| slot.answer.as_ref());
        matches!(answer, Some((_, Answer::Failed(failure))) if !matches!(failure, Failure::Skip(_)))
    }

    /// Forgets all answers: what was not taken is asked about again.
    pub(super) fn forget(&mut self) {
        for number in 0..self.lines.len() {
            let first = self.lines.get(number).and_then(|line| line.events.first().copied());
            first.into_iter().for_each(|first| self.again(first));
        }
    }

    /// Whether an event will be asked about, or is.
    pub(super) fn is_coming(&self, index: usize) -> bool {
        let Some(line) = self.slots.get(index).and_then(|slot| self.lines.get(slot.line?)) else { return false };
        let ahead = line.events.get(line.next..).unwrap_or_default();
        ahead.binary_search(&index).is_ok()
            || self.in_flight.iter().any(|asked| asked.index == index && asked.round == line.round)
    }
}

impl Line {
    fn left(&self) -> usize {
        self.events.len() - self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(keys: &str) -> Plan {
        let mut plan = Plan::default();
        keys.chars().for_each(|key| plan.add(Ok(key.to_string())));
        plan
    }

    fn ask(plan: &mut Plan) -> Option<usize> {
        let (index, line) = plan.next(|_| false)?;
        let given = plan.state(line).unwrap_or_default();
        plan.asked(index, line, given);
        Some(index)
    }

    fn done(state: &'static str) -> Answer {
        Answer::Done { state: Some(Some(state.into())), emit: Vec::new() }
    }

    #[test]
    fn a_key_waits_for_its_answer_and_the_longest_goes_first() {
        let mut plan = plan("abbac");
        plan.add(Ok("b".to_owned()));
        assert_eq!([(); 4].map(|()| ask(&mut plan)), [Some(1), Some(0), Some(4), None]);
        assert_eq!(plan.answered(done("b1")), Some(1));
        assert_eq!(ask(&mut plan), Some(2));
        assert_eq!(plan.answered(done("a1")), Some(0));
        assert_eq!(ask(&mut plan), Some(3));
        assert_eq!(plan.answered(done("c1")), Some(4));
        assert_eq!(plan.answered(done("b2")), Some(2));
        assert_eq!(plan.given(2), Some(&Some("b1".into())));
        assert_eq!(ask(&mut plan), Some(5));
        assert_eq!(plan.answered(done("a2")), Some(3));
        assert_eq!(plan.given(3), Some(&Some("a1".into())));
    }

    #[test]
    fn what_is_lost_is_asked_again_in_the_same_order() {
        let mut plan = plan("aabbc");
        let first = [(); 3].map(|()| ask(&mut plan));
        plan.lost();
        assert_eq!(plan.in_flight(), 0);
        assert_eq!([(); 3].map(|()| ask(&mut plan)), first);
    }

    #[test]
    fn an_answer_that_is_out_of_date_does_not_count() {
        let mut plan = plan("aa");
        ask(&mut plan);
        plan.again(0);
        assert!(plan.is_coming(0));
        assert_eq!(ask(&mut plan), Some(0));
        assert_eq!(plan.answered(done("old")), None);
        assert_eq!(plan.given(0), None);
        assert_eq!(plan.answered(done("new")), Some(0));
        assert_eq!(ask(&mut plan), Some(1));
        assert_eq!(plan.answered(Answer::Done { state: None, emit: Vec::new() }), Some(1));
        assert_eq!(plan.given(1), Some(&Some("new".into())));
    }

    #[test]
    fn an_event_that_is_passed_is_not_coming_until_it_is_wanted_again() {
        let mut plan = plan("ab");
        assert_eq!(plan.next(|index| index == 0).map(|(index, _)| index), Some(1));
        assert!(!plan.is_coming(0));
        plan.again(0);
        assert!(plan.is_coming(0));
    }
}
