//! What a handler is registered with.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::error::HandlerError;
use super::snapshot::RECORDS_BYTES_MIN;
use crate::disk::{Clock, Random, SystemClock, SystemRandom};
use crate::limits::HANDLER_NAME_BYTES_MAX;
use crate::view::Space;
use crate::{Filter, Offset};

/// How a failing event is tried again: after `first`, then twice as long each time up to `most`, each time a random
/// part of that, so that what failed together does not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// So many failures in a row park the event.
    pub attempts: u32,
    /// Before the second attempt.
    pub first: Duration,
    /// At most.
    pub most: Duration,
}

impl Default for Retry {
    /// Five attempts, from 100 ms to a minute.
    fn default() -> Self {
        Retry { attempts: 5, first: Duration::from_millis(100), most: Duration::from_secs(60) }
    }
}

impl Retry {
    /// How long to wait after so many failures; `None`: it is parked.
    pub(crate) fn after(&self, failures: u32, random: &dyn Random) -> Option<Duration> {
        (failures < self.attempts).then(|| self.wait(failures, random))
    }

    /// How long to wait after so many failures, however many they are.
    pub(crate) fn wait(&self, failures: u32, random: &dyn Random) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let micros = u64::try_from(doubled.min(self.most).as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(random.next_u64() % micros + 1)
    }
}

/// Where a handler begins that has no position yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the first event that is there.
    #[default]
    First,
    /// With what is appended from now on.
    End,
    /// With an offset.
    At(Offset),
}

/// What becomes of an event that comes to two results on the same state; see [`HandlerSpec::check_sample`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnViolation {
    /// It is told by `tracing`, and counted ([`Runner::violations`](crate::Runner::violations)); the event counts.
    Warn,
    /// The handler pauses before the event, with what was found as the reason.
    Pause,
}

/// A handler's name and settings.
#[derive(Debug, Clone)]
pub struct HandlerSpec {
    pub(crate) name: Arc<str>,
    pub(crate) generation: u32,
    pub(crate) filter: Filter,
    pub(crate) start: Start,
    pub(crate) window_events: usize,
    pub(crate) window_bytes: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) lanes: usize,
    pub(crate) retry: Retry,
    pub(crate) horizon: u64,
    pub(crate) hops_max: u32,
    pub(crate) parked_max: u32,
    pub(crate) waiting_max: u64,
    pub(crate) effects_max: usize,
    pub(crate) exact: bool,
    pub(crate) by_hand: bool,
    pub(crate) sample: Option<(u32, OnViolation)>,
    pub(crate) keyed_by: Box<str>,
    pub(crate) snapshot_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl HandlerSpec {
    /// Of a handler of this name, 1 to [`HANDLER_NAME_BYTES_MAX`] bytes without `@` and `/`: all users' events from
    /// the first one on, generation 1.
    pub fn new(name: &str) -> Self {
        HandlerSpec {
            name: name.into(),
            generation: 1,
            filter: Filter::new(),
            start: Start::First,
            window_events: 4096,
            window_bytes: 4 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            lanes: 1,
            retry: Retry::default(),
            horizon: 1_000_000,
            hops_max: 16,
            parked_max: 10_000,
            waiting_max: 1_000_000,
            effects_max: 10_000,
            exact: false,
            by_hand: false,
            sample: None,
            keyed_by: "".into(),
            snapshot_bytes: RECORDS_BYTES_MIN,
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SystemRandom),
        }
    }

    /// The version of its logic: raised when what it does changes. State of each generation is apart.
    #[must_use]
    pub fn generation(mut self, generation: u32) -> Self {
        self.generation = generation;
        self
    }

    /// Which events it handles. Default: all users' events.
    #[must_use]
    pub fn on(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Where it begins when it has no position yet. Default: with the first event.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The most that one step takes: events, and bytes of what comes in and of what goes out. Default: 4,096 and 4 MiB.
    #[must_use]
    pub fn window(mut self, events: usize, bytes: usize) -> Self {
        self.window_events = events.max(1);
        self.window_bytes = bytes.clamp(1, 8 * 1024 * 1024);
        self
    }

    /// Bytes of rows kept in memory, about. Default: 64 MiB.
    #[must_use]
    pub fn cache(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Events of different streams run at the same time on so many threads. A row that two of them touch in one
    /// step makes it run again on one. Default: 1.
    #[must_use]
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes.clamp(1, 256);
        self
    }

    /// How failing events are tried again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// For how many offsets an idempotency key is remembered. Default: 1,000,000.
    #[must_use]
    pub fn horizon(mut self, offsets: u64) -> Self {
        self.horizon = offsets;
        self
    }

    /// How many handlers an event may have come through and still cause others. Default: 16.
    #[must_use]
    pub fn hops(mut self, most: u32) -> Self {
        self.hops_max = most;
        self
    }

    /// So many streams may be set aside before the handler pauses. Default: 10,000.
    #[must_use]
    pub fn parked_max(mut self, streams: u32) -> Self {
        self.parked_max = streams;
        self
    }

    /// So many events may wait in the queues of streams that are set aside before the handler pauses. Eight bytes of
    /// memory each. Default: 1,000,000.
    #[must_use]
    pub fn waiting_max(mut self, events: u64) -> Self {
        self.waiting_max = events;
        self
    }

    /// So many effects may wait to be run before the handler takes no more events. Default: 10,000.
    #[must_use]
    pub fn effects_max(mut self, effects: usize) -> Self {
        self.effects_max = effects;
        self
    }

    /// Records every write of a step, not only the last one of each row: state can then be shown as it was between
    /// any two events, and records are longer. Default: no.
    #[must_use]
    pub fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Does what would be done beside it, such as snapshots, within its own steps, so that one seed is one run.
    /// Default: no.
    #[must_use]
    pub fn by_hand(mut self, by_hand: bool) -> Self {
        self.by_hand = by_hand;
        self
    }

    /// Handles one in so many events twice on the same state, and holds both results against each other: rows, outputs
    /// and effects. The first run is thrown away. Costs one handling in so many; 0 is never, which is the default.
    /// Not where a command handles the events.
    #[must_use]
    pub fn check_sample(mut self, every: u32, on_violation: OnViolation) -> Self {
        self.sample = (every > 0).then_some((every, on_violation));
        self
    }

    /// How keys of state are made of events: not to be changed under one generation.
    #[cfg(feature = "cli")]
    pub(crate) fn keyed_by(mut self, how: &str) -> Self {
        self.keyed_by = how.into();
        self
    }

    /// A snapshot of the state is made when the records since the last one have at least so many bytes, and outweigh
    /// it. Default: 16 MiB.
    #[must_use]
    pub fn snapshot_after(mut self, record_bytes: u64) -> Self {
        self.snapshot_bytes = record_bytes;
        self
    }

    /// The clock by which retries are due. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where the random part of waiting times comes from. Default: the machine.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    pub(crate) fn space(&self) -> Space {
        Space::new(&self.name, self.generation)
    }

    /// Its stream, while it is the live generation.
    pub(crate) fn stream(&self) -> String {
        format!("{}{}", crate::log::HANDLER_STREAMS, self.name)
    }

    /// Its stream, while another generation is the live one.
    pub(crate) fn shadow_stream(&self) -> String {
        format!("{}@{}", self.stream(), self.generation)
    }

    pub(crate) fn control_stream(&self) -> String {
        format!("{}{}", crate::log::CONTROL_STREAMS, self.name)
    }

    pub(crate) fn check(&self) -> Result<(), HandlerError> {
        let bad = self.name.chars().any(|char| char == '@' || char == '/' || char.is_control());
        if self.name.is_empty() || self.name.len() > HANDLER_NAME_BYTES_MAX || bad {
            return Err(HandlerError::Name { name: self.name.as_ref().into() });
        }
        Ok(())
    }

    /// What must not change under one generation: which events, in how many lanes, and how state is kept.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut hasher = SipHasher13::new();
        let mut text = |text: &str| {
            hasher.write_u64(text.len() as u64);
            hasher.write(text.as_bytes());
        };
        for patterns in [self.filter.stream_patterns(), self.filter.type_patterns()] {
            text(&patterns.len().to_string());
            patterns.iter().for_each(|pattern| text(&pattern.to_string()));
        }
        text(if self.filter.wants_system() { "system" } else { "" });
        text(&self.lanes.to_string());
        text("codec 1");
        if !self.keyed_by.is_empty() {
            text(&self.keyed_by);
        }
        hasher.finish128().as_u128()
    }
}
