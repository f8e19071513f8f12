//! Events whose handling ends the process: found by what the instances before left behind, and set aside.
//!
//! Nobody inside a process can tell why it died. So a record says what is about to be tried: `Attempting`, durable
//! before the first events of an instance are handled. When that is the last record an instance left, its
//! successor runs the same events one by one, each behind such a record of its own. Three of them in a row about
//! one event alone, without a step between, set the event's stream aside, like a failure.
//!
//! A death from outside while an event is being handled looks the same from here, and counts. It takes three of them at
//! one event, though, while that event is run alone, after an instance that had already died with it; the event is
//! then set aside with this cause, not lost. A step, and an instance that ends alive with an error, end the count.
//! Where the user's code runs in a process of its own, only the death of that one counts, see
//! [`Failure::Died`](super::Failure::Died).

use super::commit::{Decision, DecisionKind, Record, RecordKind};
use super::error::HandlerError;
use super::failure::DEATHS_MAX;
use crate::journal::Journal;
use crate::{Offset, ReadError};

/// So many records are looked at for what the instances before left.
const LOOK_BACK: usize = 256;
const ALONE: &str = "alone";
const OTHERS: &str = "others";

/// What an instance has to be careful about.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Events before this offset are run one by one.
    until: Option<Offset>,
    /// The event that is not to be run.
    pub blamed: Option<Offset>,
    /// The first events of the instance were announced.
    announced: bool,
}

/// What an `Attempting` record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tried {
    first: Offset,
    until: Offset,
    alone: bool,
}

impl Watch {
    /// Looks at what stands before an instance's own first record.
    pub fn look_back(journal: &dyn Journal, before: Option<Offset>) -> Result<Watch, HandlerError> {
        let mut watch = Watch::default();
        let (mut at, mut last, mut deaths): (_, Option<Tried>, _) = (before, None, 0);
        for _ in 0..LOOK_BACK {
            let Some(record) = at.map(|at| record_at(journal, at)).transpose()?.flatten() else { break };
            match (record.head.kind, Tried::of(&record)) {
                (RecordKind::Acquired, _) => {}
                (RecordKind::Attempting, Some(tried)) => {
                    let newest = *last.get_or_insert(tried);
                    if !(tried.alone && newest.alone && tried.first == newest.first) {
                        break;
                    }
                    deaths += 1;
                }
                _ => break,
            }
            at = record.head.previous;
        }
        if let Some(tried) = last {
            watch.until = Some(tried.until);
            watch.blamed = (deaths >= DEATHS_MAX).then_some(tried.first);
        }
        Ok(watch)
    }

    /// Whether events are run one by one.
    pub fn is_alone(&self) -> bool {
        self.until.is_some()
    }

    /// The record that announces what is tried next, where one is needed; `next` is the first of it, and `read_to`
    /// is behind all of it.
    pub fn announce(
        &mut self,
        next: Offset,
        is_only_one: bool,
        cursor: Offset,
        read_to: Offset,
    ) -> Option<Vec<Decision>> {
        if self.blamed == Some(next) || (self.announced && self.until.is_none()) {
            return None;
        }
        let tried = Tried {
            first: next,
            until: self.until.unwrap_or(read_to.max(cursor.plus(1))),
            alone: self.is_alone() || is_only_one,
        };
        self.announced = true;
        Some(tried.decisions())
    }

    /// What was announced last was not appended.
    pub fn announce_again(&mut self) {
        self.announced = false;
    }

    /// A step brought the handler to a cursor.
    pub fn stepped(&mut self, cursor: Offset) {
        self.until = self.until.filter(|until| *until > cursor);
    }

    /// Why an event is set aside.
    pub fn cause() -> String {
        format!("the process ended {DEATHS_MAX} times in a row while it handled this event alone")
    }
}

impl Tried {
    fn decisions(self) -> Vec<Decision> {
        let decision = |offset, reason: &str| Decision { kind: DecisionKind::Tried, offset, reason: reason.into() };
        vec![decision(self.first, if self.alone { ALONE } else { OTHERS }), decision(self.until, "")]
    }

    fn of(record: &Record) -> Option<Tried> {
        let [first, until] = &record.decisions[..] else { return None };
        Some(Tried { first: first.offset, until: until.offset, alone: &*first.reason == ALONE })
    }
}

/// The record at an offset; `None` where it is not there any more, or is not of this handler's kind.
fn record_at(journal: &dyn Journal, at: Offset) -> Result<Option<Record>, ReadError> {
    match journal.get(at) {
        Ok(event) => Ok(event.and_then(|event| Record::decode(&event.data_bytes()))),
        Err(ReadError::Lost { .. } | ReadError::Trimmed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
