//! A clock whose time of day jumps, and whose other time only goes on.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use annals::Timestamp;
use annals::testkit::Clock;

/// Stands still until it is moved.
#[derive(Debug)]
pub struct SimClock {
    of_day: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl SimClock {
    pub fn new() -> SimClock {
        SimClock { of_day: AtomicI64::new(1_700_000_000_000_000), monotonic_ms: AtomicU64::new(1) }
    }

    /// Another clock that shows the same.
    pub fn copy(&self) -> SimClock {
        let (of_day, ms) = (self.of_day.load(Ordering::Relaxed), self.monotonic_ms.load(Ordering::Relaxed));
        SimClock { of_day: AtomicI64::new(of_day), monotonic_ms: AtomicU64::new(ms) }
    }

    /// Time passes.
    pub fn advance_ms(&self, ms: u64) {
        self.of_day.fetch_add(ms as i64 * 1000, Ordering::Relaxed);
        self.monotonic_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Somebody sets the time of day.
    pub fn jump_us(&self, us: i64) {
        self.of_day.fetch_add(us, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.of_day.load(Ordering::Relaxed))
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ms.load(Ordering::Relaxed)
    }
}
