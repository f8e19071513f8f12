//! Streams by the keyed hash of their names: what indexes hold in place of names.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::LogId;

/// Hash of a stream's name: SipHash-1-3-128 under the log's id, equal in all segments of one log.
///
/// It stands for the name: at a billion streams, two of them share one with a chance of 1 in 10^20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NameHash(pub u128);

impl NameHash {
    #[inline]
    pub fn of(log: LogId, name: &[u8]) -> Self {
        let key = log.raw().to_le_bytes();
        let mut hasher = SipHasher13::new_with_key(&key);
        hasher.write(name);
        NameHash(hasher.finish128().as_u128())
    }

    /// Its two halves, lower first.
    pub fn halves(self) -> (u64, u64) {
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
        (half(self.0), half(self.0 >> 64))
    }
}

/// A map by such hashes.
pub(crate) type ByName<V> = HashMap<NameHash, V, BuildHasherDefault<AsItIs>>;

/// Hashing what is a good hash already.
#[derive(Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached: a `NameHash` is one `u128`.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[inline]
    fn write_u128(&mut self, hash: u128) {
        self.0 = NameHash(hash).halves().0;
    }
}
