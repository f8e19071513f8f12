//! What a check of a handler says: which laws hold, and for each that does not the shortest history that shows it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::Offset;
use crate::handler::own::{EFFECTS, is_own};
use crate::handler::replay::{Put, Shown, plain};

/// What a handler is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Law {
    /// The same event twice on the same state: the same rows, outputs and effects, and nothing else changes.
    Determinism,
    /// The same event again behind itself changes no row and puts out nothing new.
    RawIdempotence,
    /// The same event again through the runtime, as an instance that lost its last step sees it, and as a second
    /// event with the same idempotency key: nothing changes.
    GuardedIdempotence,
    /// The same for events that come again behind later ones.
    LateDuplicate,
    /// Neighbouring events of different streams may change places.
    LaneCommutation,
    /// How many events a step takes, and where an instance ends and another begins, changes nothing.
    BatchIndependence,
}

impl Law {
    /// All of them, in order.
    pub const ALL: [Law; 6] = [
        Law::Determinism,
        Law::RawIdempotence,
        Law::GuardedIdempotence,
        Law::LateDuplicate,
        Law::LaneCommutation,
        Law::BatchIndependence,
    ];

    /// As it is written: `determinism`, `raw-idempotence`, …
    pub fn name(self) -> &'static str {
        match self {
            Law::Determinism => "determinism",
            Law::RawIdempotence => "raw-idempotence",
            Law::GuardedIdempotence => "guarded-idempotence",
            Law::LateDuplicate => "late-duplicate",
            Law::LaneCommutation => "lane-commutation",
            Law::BatchIndependence => "batch-independence",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much an event may come again. Each includes the ones before; [`Law::LaneCommutation`] stands beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Handling an event again from where it began comes to the same.
    Deterministic,
    /// Under the runtime, which keeps the position and knows idempotency keys, events may come again at any time.
    GuardedIdempotent,
    /// Right behind itself an event may come again even without the runtime.
    RawIdempotent,
}

impl Level {
    /// The laws that have to hold for it.
    pub fn laws(self) -> &'static [Law] {
        use Law::{BatchIndependence, Determinism, GuardedIdempotence, LateDuplicate, RawIdempotence};
        match self {
            Level::Deterministic => &[Determinism],
            Level::GuardedIdempotent => &[Determinism, GuardedIdempotence, LateDuplicate, BatchIndependence],
            Level::RawIdempotent => {
                &[Determinism, RawIdempotence, GuardedIdempotence, LateDuplicate, BatchIndependence]
            }
        }
    }

    /// As it is written: `deterministic`, `guarded-idempotent`, `raw-idempotent`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Deterministic => "deterministic",
            Level::GuardedIdempotent => "guarded-idempotent",
            Level::RawIdempotent => "raw-idempotent",
        }
    }
}

/// What became of one law.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It held, as often as it was tried.
    Held {
        /// How often.
        checks: u64,
    },
    /// It does not hold.
    Violated(Box<Violation>),
    /// Nothing was there to try it on; why.
    NotChecked(String),
}

/// A row that two handlings leave differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDifference {
    /// The row; of an effect its key, as text.
    pub key: Bytes,
    /// It is an effect that was asked for, not a row of state.
    pub effect: bool,
    /// What was to be expected; `None`: no such row.
    pub expected: Option<Bytes>,
    /// What came of it.
    pub found: Option<Bytes>,
}

/// A law that does not hold, and how to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The law.
    pub law: Law,
    /// What happened, as a sentence.
    pub what: String,
    /// The event it happened at, as it is numbered in `events`; of several the last one.
    pub at: Offset,
    /// The shortest beginning of the events that shows it, each with its offset in the check.
    pub events: Vec<(Offset, Put)>,
    /// Where the random numbers of the check began.
    pub seed: u64,
    /// Rows that differ, in the order of their keys.
    pub rows: Vec<RowDifference>,
    /// Events that should have been put out and were not.
    pub outputs_missing: Vec<Put>,
    /// Events that were put out and should not have been.
    pub outputs_added: Vec<Put>,
}

/// In short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckVerdict {
    /// Every law that was required held.
    Passed,
    /// One did not.
    Failed,
    /// None failed, but at least one of them could not be tried, or no event changed or put out anything.
    NotChecked,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The handler.
    pub handler: String,
    /// Its generation.
    pub generation: u32,
    /// Events that it was tried on.
    pub events: u64,
    /// Those of them that failed, and so were not compared.
    pub failed: u64,
    /// Where the random numbers of the check began.
    pub seed: u64,
    /// What became of each law.
    pub laws: BTreeMap<Law, Outcome>,
    /// Those that have to hold.
    pub required: Vec<Law>,
}

impl CheckReport {
    /// Whether a law was tried and held.
    pub fn holds(&self, law: Law) -> bool {
        matches!(self.laws.get(&law), Some(Outcome::Held { .. }))
    }

    /// The first law that was required and does not hold.
    pub fn violation(&self) -> Option<&Violation> {
        self.required.iter().find_map(|law| self.violation_of(*law))
    }

    /// How a law does not hold.
    pub fn violation_of(&self, law: Law) -> Option<&Violation> {
        match self.laws.get(&law) {
            Some(Outcome::Violated(violation)) => Some(violation),
            _ => None,
        }
    }

    /// The highest level all of whose laws held.
    pub fn level(&self) -> Option<Level> {
        let levels = [Level::RawIdempotent, Level::GuardedIdempotent, Level::Deterministic];
        levels.into_iter().find(|level| level.laws().iter().all(|law| self.holds(*law)))
    }

    /// Whether what was required held.
    pub fn verdict(&self) -> CheckVerdict {
        match self.violation() {
            Some(_) => CheckVerdict::Failed,
            None if self.required.iter().all(|law| self.holds(*law)) => CheckVerdict::Passed,
            None => CheckVerdict::NotChecked,
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level().map_or("no level", Level::name);
        writeln!(f, "{} generation {}: {level}, {} events", self.handler, self.generation, self.events)?;
        for (law, outcome) in &self.laws {
            let required = if self.required.contains(law) { " (required)" } else { "" };
            match outcome {
                Outcome::Held { checks } => writeln!(f, "  {law}{required}: held, tried {checks} times")?,
                Outcome::NotChecked(why) => writeln!(f, "  {law}{required}: not checked: {why}")?,
                Outcome::Violated(violation) => writeln!(f, "  {law}{required}: does not hold: {violation}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; at event {}", self.what, self.at)?;
        for row in &self.rows {
            let shown = |value: &Option<Bytes>| value.as_ref().map_or("nothing".to_owned(), |v| Shown(v).to_string());
            let what = if row.effect { "effect" } else { "row" };
            let (expected, found) = (shown(&row.expected), shown(&row.found));
            write!(f, "; {what} {}: {expected} expected, {found} found", Shown(&row.key))?;
        }
        for (what, puts) in [("missing", &self.outputs_missing), ("added", &self.outputs_added)] {
            for put in puts {
                write!(f, "; output {what}: {put}")?;
            }
        }
        Ok(())
    }
}

/// Rows as they are stored, without those that are nobody's business.
pub(in crate::handler) type Kept = BTreeMap<Bytes, Option<Bytes>>;

/// Whether a stored row is what a handler asked for: state, or an effect.
pub(super) fn is_asked_for(key: &[u8]) -> bool {
    !is_own(key) || key.starts_with(&EFFECTS)
}

/// The rows that two handlings leave differently; a row that is not named is one that is not there.
pub(super) fn differences(expected: &Kept, found: &Kept) -> Vec<RowDifference> {
    let keys: std::collections::BTreeSet<&Bytes> = expected.keys().chain(found.keys()).collect();
    let differs = |key: &&Bytes| expected.get(*key) != found.get(*key);
    keys.into_iter().filter(differs).map(|key| difference(key, expected.get(key), found.get(key))).collect()
}

pub(super) fn difference(key: &Bytes, one: Option<&Option<Bytes>>, other: Option<&Option<Bytes>>) -> RowDifference {
    let effect = is_own(key);
    let value = |value: Option<&Option<Bytes>>| {
        value.and_then(Option::as_ref).map(|value| if effect { value.clone() } else { plain(value) })
    };
    let key = match key.strip_prefix(&EFFECTS).and_then(|rest| rest.split_first_chunk::<8>()) {
        Some((offset, n)) => {
            let n = n.first_chunk().map_or(0, |n| u32::from_be_bytes(*n));
            format!("{}.{n}", u64::from_be_bytes(*offset)).into()
        }
        None => plain(key),
    };
    RowDifference { key, effect, expected: value(one), found: value(other) }
}

/// What is in one list and not in the other, each as often as it is.
pub(super) fn without(list: &[Put], other: &[Put]) -> Vec<Put> {
    let mut left = list.to_vec();
    for put in other {
        if let Some(place) = left.iter().position(|one| one == put) {
            left.swap_remove(place);
        }
    }
    left.sort();
    left
}

#[cfg(feature = "json")]
mod json {
    //! The report as JSON.

    use serde_json::{Value, json};

    use super::{CheckReport, CheckVerdict, Level, Outcome, Violation};
    use crate::handler::replay::Put;

    impl CheckReport {
        /// As JSON. Bytes that are no UTF-8 are arrays of numbers.
        pub fn to_json(&self) -> Value {
            let verdict = match self.verdict() {
                CheckVerdict::Passed => "passed",
                CheckVerdict::Failed => "failed",
                CheckVerdict::NotChecked => "not_checked",
            };
            let laws: serde_json::Map<String, Value> =
                self.laws.iter().map(|(law, outcome)| (law.name().to_owned(), outcome_json(outcome))).collect();
            json!({
                "handler": self.handler,
                "generation": self.generation,
                "verdict": verdict,
                "level": self.level().map(Level::name),
                "events": self.events,
                "failed": self.failed,
                "seed": self.seed,
                "required": self.required.iter().map(|law| law.name()).collect::<Vec<_>>(),
                "laws": laws,
            })
        }
    }

    impl Violation {
        /// As JSON. Bytes that are no UTF-8 are arrays of numbers.
        pub fn to_json(&self) -> Value {
            let event = |(offset, put): &(crate::Offset, Put)| {
                let mut event = put_json(put);
                if let Some(object) = event.as_object_mut() {
                    object.insert("offset".to_owned(), offset.raw().into());
                }
                event
            };
            json!({
                "law": self.law.name(),
                "what": self.what,
                "at": self.at.raw(),
                "seed": self.seed,
                "events": self.events.iter().map(event).collect::<Vec<_>>(),
                "rows": self.rows.iter().map(|row| json!({
                    "key": bytes(&row.key),
                    "effect": row.effect,
                    "expected": row.expected.as_deref().map(bytes),
                    "found": row.found.as_deref().map(bytes),
                })).collect::<Vec<_>>(),
                "outputs_missing": self.outputs_missing.iter().map(put_json).collect::<Vec<_>>(),
                "outputs_added": self.outputs_added.iter().map(put_json).collect::<Vec<_>>(),
            })
        }
    }

    fn outcome_json(outcome: &Outcome) -> Value {
        match outcome {
            Outcome::Held { checks } => json!({"outcome": "held", "checks": checks}),
            Outcome::NotChecked(why) => json!({"outcome": "not_checked", "why": why}),
            Outcome::Violated(violation) => json!({"outcome": "violated", "violation": violation.to_json()}),
        }
    }

    fn put_json(put: &Put) -> Value {
        json!({"stream": put.stream, "type": put.event_type, "id": put.id, "data": bytes(&put.data)})
    }

    fn bytes(bytes: &[u8]) -> Value {
        std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text))
    }
}
