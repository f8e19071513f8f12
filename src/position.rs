//! Numbers that must not be mixed: offsets, versions, times, and the identity of a log.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Place of an event in the whole log. The first event is 0; there are no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(u64);

impl Offset {
    /// The first place of every log.
    pub const ZERO: Offset = Offset(0);

    /// Makes an offset of a number from outside: a stored cursor, a command line, the network.
    pub const fn from_raw(raw: u64) -> Self {
        Offset(raw)
    }

    /// The number, for storing and showing it.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The offset `events` later; stays at the last possible one.
    #[must_use]
    pub const fn plus(self, events: u64) -> Self {
        Offset(self.0.saturating_add(events))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Place of an event in its stream. The first event of a stream is at version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of a stream's first event.
    pub const FIRST: Version = Version(0);

    /// Makes a version of a number from outside.
    pub const fn from_raw(raw: u64) -> Self {
        Version(raw)
    }

    /// The number, for storing and showing it.
    pub const fn raw(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A moment, in microseconds since 1970-01-01 00:00 UTC; earlier moments are negative.
///
/// Finer parts of a moment are cut, never rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Makes a moment of microseconds since 1970 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// Microseconds since 1970 UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The machine's clock now.
    pub fn now() -> Self {
        SystemTime::now().into()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp(micros(after)),
            Err(before) => Timestamp(micros(before.duration()).saturating_neg()),
        }
    }
}

/// Identity of one log, drawn at random when it is made; in every segment's header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(u128);

impl LogId {
    /// Makes an id of its 16 bytes, read as a big-endian number.
    pub const fn from_raw(raw: u128) -> Self {
        LogId(raw)
    }

    /// The id as a number.
    pub const fn raw(self) -> u128 {
        self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default().to_owned());
        f.write_str(&parts.join("-"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

/// How often recovery has cut a torn tail from this log; part of every cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TailEpoch(u32);

impl TailEpoch {
    /// The epoch of a log from which nothing was ever cut.
    pub const FIRST: TailEpoch = TailEpoch(0);

    pub(crate) const fn from_raw(raw: u32) -> Self {
        TailEpoch(raw)
    }

    /// The number, for storing and showing it.
    pub const fn raw(self) -> u32 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        TailEpoch(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_id_is_shown_as_a_uuid() {
        let id = LogId::from_raw(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(id.to_string(), "01234567-89ab-cdef-0011-223344556677");
    }

    #[test]
    fn a_moment_before_1970_is_negative() {
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_micros(5)), Timestamp::from_micros(-5));
    }
}
