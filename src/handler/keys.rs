//! Idempotency keys: which business facts were handled lately, each as a row that goes when its time is over.

use std::collections::VecDeque;

use bytes::Bytes;

use super::cache::Cache;
use super::overlay::Overlay;
use super::own::{self, EXPIRIES};
use crate::Offset;
use crate::view::ViewError;

/// When a step holds so much, what is left is forgotten in the next one.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The offsets of the events whose keys are remembered, ascending: eight bytes for each.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    by_age: VecDeque<u64>,
}

impl Keys {
    /// Reads them from the rows.
    pub fn load(cache: &Cache) -> Result<Self, ViewError> {
        Ok(Keys { by_age: cache.scan(&EXPIRIES)?.keys().filter_map(|key| own::offset_of(key)).collect() })
    }

    /// The event that had a key last.
    pub fn last(overlay: &mut Overlay, cache: &Cache, key: &[u8]) -> Result<Option<u64>, ViewError> {
        let value = overlay.get(cache, &own::idempotency_key(key))?;
        Ok(value.and_then(|value| value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))))
    }

    /// Remembers the key of an event that was handled.
    pub fn note(
        &mut self,
        overlay: &mut Overlay,
        cache: &Cache,
        key: &[u8],
        at: Offset,
        stream: &str,
    ) -> Result<(), ViewError> {
        if Keys::last(overlay, cache, key)?.is_some_and(|last| last > at.raw()) {
            // It had waited, and a newer one is remembered, for longer.
            return Ok(());
        }
        // An event that had waited is older than others that are there already.
        let place = self.by_age.partition_point(|other| *other < at.raw());
        if self.by_age.get(place) != Some(&at.raw()) {
            self.by_age.insert(place, at.raw());
        }
        let value = Bytes::copy_from_slice(&at.raw().to_be_bytes());
        overlay.put(cache, &own::idempotency_key(key), Some(value), stream)?;
        overlay.put(cache, &own::expiry_key(at), Some(Bytes::copy_from_slice(key)), stream)
    }

    /// Forgets keys that are older than the horizon allows, at most so many.
    pub fn forget(
        &mut self,
        overlay: &mut Overlay,
        cache: &Cache,
        cursor: Offset,
        horizon: u64,
        most: usize,
    ) -> Result<(), ViewError> {
        for _ in 0..most {
            if overlay.bytes() > BYTES_MAX {
                return Ok(());
            }
            let Some(at) = self.by_age.front().copied().filter(|at| at.saturating_add(horizon) < cursor.raw()) else {
                return Ok(());
            };
            self.by_age.pop_front();
            let expiry = own::expiry_key(Offset::from_raw(at));
            let Some(key) = overlay.get(cache, &expiry)? else { continue };
            overlay.begin(cursor);
            overlay.put(cache, &expiry, None, KEYS_OWN)?;
            // The same key may have come again since, and is then remembered for longer.
            if Keys::last(overlay, cache, &key)? == Some(at) {
                overlay.put(cache, &own::idempotency_key(&key), None, KEYS_OWN)?;
            }
        }
        Ok(())
    }
}

/// Stands where a change of a row says because of whose event it was: time alone made it.
const KEYS_OWN: &str = "$keys";
