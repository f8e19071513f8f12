//! Effects: what a handler asks to be done outside, run after the step that asked is durable.
//!
//! Each is a row of the handler's own until its completion is recorded, in a later step. So it is run at least once,
//! always under the same key. An attempt that failed is recorded before the next one, and an instance that takes
//! over counts its predecessor's as tried: no two attempts of one effect ever have the same number.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::cache::Cache;
use super::commit::{Decision, DecisionKind, Write};
use super::context::{Whose, derived_id};
use super::error::HandlerError;
use super::failure::Failure;
use super::logic::panicked;
use super::own::{self, EFFECTS, EffectRow};
use super::window::Window;
use crate::Offset;
use crate::view::ViewError;

/// So many effects are run between two steps.
const RUN_MAX: usize = 64;

/// Something to be done outside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effect {
    /// The same in every attempt, and of no other effect of the log's handlers: handler, offset of the event, number.
    /// Whoever receives it can tell by it what was done already.
    pub key: String,
    /// As the handler said.
    pub kind: String,
    /// As the handler said.
    pub request: Bytes,
    /// Higher with each attempt, from 1. Numbers may be left out: an instance that ended may have tried, or not.
    pub attempt: u64,
}

/// Does what handlers ask to be done outside.
///
/// An effect may be run again after it was done: when the process ends before its completion is recorded.
pub trait Executor: Send + Sync + 'static {
    /// Does it.
    ///
    /// # Errors
    /// [`Failure::Retry`] and [`Failure::Died`] are tried again after a while that grows, without an end.
    /// [`Failure::Skip`] gives the effect up, for a reason that is kept. [`Failure::Park`] and [`Failure::Pause`]
    /// pause the handler; it is tried again when somebody resumes it. A panic is tried again.
    fn execute(&self, effect: &Effect) -> Result<(), Failure>;
}

impl<F> Executor for F
where
    F: Fn(&Effect) -> Result<(), Failure> + Send + Sync + 'static,
{
    fn execute(&self, effect: &Effect) -> Result<(), Failure> {
        self(effect)
    }
}

/// The offset of the event and the number of the effect.
type Place = (u64, u32);

/// Which effects wait, and when each is due. What they are is in the rows.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    waiting: BTreeMap<Place, i64>,
    due: BTreeSet<(i64, Place)>,
    /// The last attempts whose record is not known to be kept.
    tried: BTreeMap<Place, u32>,
}

/// What became of one attempt.
#[derive(Debug)]
pub(crate) struct Ran {
    place: Place,
    row: EffectRow,
    attempt: u32,
    outcome: Result<(), Failure>,
}

fn place_of(key: &[u8]) -> Option<Place> {
    let (offset, n) = key.strip_prefix(&EFFECTS)?.split_at_checked(8)?;
    Some((u64::from_be_bytes(offset.try_into().ok()?), u32::from_be_bytes(n.try_into().ok()?)))
}

impl Effects {
    /// Reads them from the rows; all are due at once.
    pub fn load(cache: &Cache) -> Result<Self, ViewError> {
        let mut effects = Effects::default();
        cache.scan(&EFFECTS)?.keys().filter_map(|key| place_of(key)).for_each(|place| effects.set(place, i64::MIN));
        Ok(effects)
    }

    /// The same again, where a step was taken back.
    pub fn load_again(&mut self, cache: &Cache) -> Result<(), ViewError> {
        let tried = std::mem::take(&mut self.tried);
        *self = Effects { tried, ..Effects::load(cache)? };
        Ok(())
    }

    fn set(&mut self, place: Place, due_us: i64) {
        if let Some(before) = self.waiting.insert(place, due_us) {
            self.due.remove(&(before, place));
        }
        self.due.insert((due_us, place));
    }

    fn remove(&mut self, place: Place) {
        if let Some(due_us) = self.waiting.remove(&place) {
            self.due.remove(&(due_us, place));
        }
    }

    /// Takes note of those that a step asked for.
    pub fn note(&mut self, writes: &[Write]) {
        self.tried.clear();
        for write in writes {
            let Some(place) = place_of(&write.key) else { continue };
            match write.value {
                Some(_) if !self.waiting.contains_key(&place) => self.set(place, i64::MIN),
                Some(_) => {}
                None => self.remove(place),
            }
        }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn next_due_us(&self) -> Option<i64> {
        self.due.first().map(|(due_us, _)| *due_us)
    }

    pub fn is_due(&self, now_us: i64) -> bool {
        self.next_due_us().is_some_and(|due_us| due_us <= now_us)
    }

    /// Runs those that are due, as far as `check` allows each. All steps before have to be durable.
    pub fn run(
        &self,
        executor: &dyn Executor,
        cache: &Cache,
        whose: &Whose,
        now_us: i64,
        check: impl Fn() -> Result<(), HandlerError>,
    ) -> Result<Vec<Ran>, HandlerError> {
        let mut ran = Vec::new();
        for (_, place) in self.due.iter().take_while(|(due_us, _)| *due_us <= now_us).take(RUN_MAX) {
            let (offset, n) = (Offset::from_raw(place.0), place.1);
            let row = cache.get(&own::effect_key(offset, n))?.and_then(|value| EffectRow::decode(&value));
            let Some(row) = row else { continue };
            check()?;
            let takeovers = u32::try_from(whose.epoch.saturating_sub(row.epoch)).unwrap_or(u32::MAX);
            let attempt = row.tries.saturating_add(takeovers).max(self.tried.get(place).copied().unwrap_or(0));
            let attempt = attempt.saturating_add(1);
            let effect = Effect {
                key: derived_id(&whose.name, offset, n as usize),
                kind: row.kind.clone(),
                request: row.request.clone(),
                attempt: attempt.into(),
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| executor.execute(&effect)))
                .unwrap_or_else(|panic| Err(panicked(&*panic)));
            ran.push(Ran { place: *place, row, attempt, outcome });
        }
        Ok(ran)
    }

    /// Records what became of an attempt in the step that comes.
    pub fn record(&mut self, window: &mut Window<'_>, ran: Ran) -> Result<(), HandlerError> {
        let offset = Offset::from_raw(ran.place.0);
        let key = own::effect_key(offset, ran.place.1);
        self.tried.insert(ran.place, ran.attempt);
        window.overlay.begin(offset);
        let failure = match ran.outcome {
            Ok(()) | Err(Failure::Skip(_)) => {
                if let Err(Failure::Skip(why)) = ran.outcome {
                    let reason = format!("effect {}: {why}", ran.place.1).into();
                    window.decide(Decision { kind: DecisionKind::EffectDropped, offset, reason });
                }
                self.remove(ran.place);
                return Ok(window.overlay.put(window.cache, &key, None, EFFECTS_OWN)?);
            }
            Err(failure) => failure,
        };
        let row = EffectRow { tries: ran.attempt, epoch: window.whose.epoch, ..ran.row };
        window.overlay.put(window.cache, &key, Some(row.encode()), EFFECTS_OWN)?;
        let wait = match &failure {
            Failure::Retry { after: Some(after), .. } => *after,
            _ => window.spec.retry.wait(ran.attempt, &*window.spec.random),
        };
        let wait_us = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        self.set(ran.place, window.now_us.saturating_add(wait_us));
        if let Failure::Park(_) | Failure::Pause(_) = failure {
            // Due when somebody resumes the handler.
            self.set(ran.place, window.now_us);
            window.pause =
                Some(format!("effect {}: {failure}", derived_id(&window.whose.name, offset, ran.place.1 as usize)));
        }
        Ok(())
    }
}

/// Stands where a change of a row says because of whose event it was: the executor's answer made it.
const EFFECTS_OWN: &str = "$effects";
