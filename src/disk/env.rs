//! All that a log asks of the world: disk, clock, random numbers, boot id and background jobs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::{Disk, RealDisk};
use crate::Timestamp;

/// The world as a log sees it. [`Env::system`] is the real one.
#[derive(Debug, Clone)]
pub struct Env {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where ids and salts come from.
    pub random: Arc<dyn Random>,
    /// Which run of the operating system this is.
    pub boot: BootId,
    /// Who does the background work.
    pub jobs: Jobs,
}

impl Env {
    /// The real disk, clock and random numbers; background work on threads of its own.
    pub fn system() -> Self {
        Env {
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SystemRandom),
            boot: BootId::current(),
            jobs: Jobs::Threads,
        }
    }
}

/// Who does a log's background work: zero-filling, sealing, late syncs and durable marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// Threads of the log.
    Threads,
    /// The caller of [`Log::step`](crate::Log::step), one step at a time on its own thread, so that one
    /// seed is one run.
    ByHand,
}

/// Names one run of the operating system: unsynced writes are lost only where it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId(pub u128);

impl BootId {
    /// This run's id; 0 where the platform does not tell, which then counts as changed at every open.
    pub fn current() -> Self {
        let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        BootId(u128::from_str_radix(&hex, 16).unwrap_or(0))
    }
}

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day; may jump either way.
    fn now(&self) -> Timestamp;
    /// Milliseconds since some fixed moment; never goes back.
    fn monotonic_ms(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `start_us` microseconds after 1970.
    pub fn new(start_us: u64) -> Self {
        ManualClock { micros: AtomicU64::new(start_us) }
    }

    /// Moves it on by milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        self.micros.fetch_add(ms * 1000, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.micros.load(Ordering::Relaxed)).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        self.micros.load(Ordering::Relaxed) / 1000
    }
}

/// A source of random numbers.
pub trait Random: fmt::Debug + Send + Sync {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// The operating system's random numbers.
#[derive(Debug)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        // Early in boot or in a sealed jail the kernel may refuse; a keyed hash of the clock still differs
        // from file to file, which is all that a salt needs.
        getrandom::u64().unwrap_or_else(|_| {
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(std::time::SystemTime::now())
        })
    }
}

/// The same numbers for the same seed (SplitMix64, Steele and others 2014).
#[derive(Debug)]
pub struct SeededRandom {
    state: AtomicU64,
}

impl SeededRandom {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        SeededRandom { state: AtomicU64::new(seed) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        let mut z = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
