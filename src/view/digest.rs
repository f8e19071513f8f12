//! A digest of rows that does not depend on their order and follows each change without reading the others.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::LogId;

/// The sum of keyed 128-bit hashes of rows, modulo 2^128 (an AdHash, Bellare and Micciancio 1997). It is against
/// accidents, not against somebody who knows the log's id.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub(crate) u128);

impl Digest {
    /// Of no rows.
    pub const EMPTY: Digest = Digest(0);

    /// Of one row.
    pub fn of(log: LogId, key: &[u8], value: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_key(&log.raw().to_le_bytes());
        hasher.write(&(key.len() as u64).to_le_bytes());
        hasher.write(key);
        hasher.write(value);
        Digest(hasher.finish128().as_u128())
    }

    /// Of its rows and one more, whose digest is given.
    #[must_use]
    pub fn with(self, row: Digest) -> Self {
        Digest(self.0.wrapping_add(row.0))
    }

    /// Of its rows less one, whose digest is given.
    #[must_use]
    pub fn without(self, row: Digest) -> Self {
        Digest(self.0.wrapping_sub(row.0))
    }

    /// As a number.
    pub fn raw(self) -> u128 {
        self.0
    }

    /// From its number.
    pub fn from_raw(raw: u128) -> Self {
        Digest(raw)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
