//! Batches that were looked at lately, whole and checked: what makes looking up single events fast.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::Opened;

/// Memory that such batches may take, of one log in one process.
const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// By the base of the segment and the byte position in it.
type Key = (u64, u64);

/// Two halves: what is used moves to the young one; when that is full, it becomes the old one, and what was
/// old is forgotten.
#[derive(Debug, Default)]
pub(super) struct Recent {
    young: Half,
    old: Half,
}

#[derive(Debug, Default)]
struct Half {
    by_place: BTreeMap<Key, Arc<Opened>>,
    by_offset: BTreeMap<u64, (Key, Arc<Opened>)>,
    bytes: usize,
}

impl Half {
    fn add(&mut self, key: Key, batch: &Arc<Opened>) {
        if self.by_place.insert(key, Arc::clone(batch)).is_none() {
            self.by_offset.insert(batch.offsets().0, (key, Arc::clone(batch)));
            self.bytes += batch.memory();
        }
    }

    fn holding(&self, offset: u64) -> Option<(Key, &Arc<Opened>)> {
        let (_, (key, batch)) = self.by_offset.range(..=offset).next_back()?;
        (offset < batch.offsets().1).then_some((*key, batch))
    }
}

impl Recent {
    /// The batch at a place.
    pub fn at(&mut self, key: Key) -> Option<Arc<Opened>> {
        if let Some(batch) = self.young.by_place.get(&key) {
            return Some(Arc::clone(batch));
        }
        let batch = Arc::clone(self.old.by_place.get(&key)?);
        self.add(key, &batch);
        Some(batch)
    }

    /// The batch that holds an offset.
    pub fn holding(&mut self, offset: u64) -> Option<Arc<Opened>> {
        if let Some((_, batch)) = self.young.holding(offset) {
            return Some(Arc::clone(batch));
        }
        let (key, batch) = self.old.holding(offset)?;
        let batch = Arc::clone(batch);
        self.add(key, &batch);
        Some(batch)
    }

    pub fn add(&mut self, key: Key, batch: &Arc<Opened>) {
        self.young.add(key, batch);
        if self.young.bytes > RECENT_BYTES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
    }
}
