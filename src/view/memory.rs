//! State in memory alone: for tests, and for handlers whose state is quickly made again.

use std::collections::{BTreeMap, HashMap};
use std::sync::RwLock;

use bytes::Bytes;

use super::{Bookmark, Change, Rows, Space, Trust, View, ViewError};

/// State in memory; gone when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryView {
    spaces: RwLock<HashMap<Space, Held>>,
}

#[derive(Debug, Default)]
struct Held {
    bookmark: Option<Bookmark>,
    rows: BTreeMap<Bytes, Bytes>,
}

impl MemoryView {
    /// A view without rows.
    pub fn new() -> Self {
        MemoryView::default()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Space, Held>> {
        self.spaces.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Space, Held>> {
        self.spaces.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl View for MemoryView {
    fn trust(&self) -> Trust {
        Trust::Closed
    }

    fn bookmark(&self, space: &Space) -> Result<Option<Bookmark>, ViewError> {
        Ok(self.read().get(space).and_then(|held| held.bookmark))
    }

    fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        Ok(self.read().get(space).and_then(|held| held.rows.get(key).cloned()))
    }

    fn scan(&self, space: &Space, prefix: &[u8], from: &[u8]) -> Rows<'_> {
        const ROWS: usize = 256;
        let (space, prefix) = (space.clone(), Bytes::copy_from_slice(prefix));
        let mut from = std::ops::Bound::Included(Bytes::copy_from_slice(from.max(&prefix)));
        // Piece by piece, so that nobody who scans keeps others from writing.
        let pieces = std::iter::from_fn(move || {
            let spaces = self.read();
            let rows = &spaces.get(&space)?.rows;
            let piece: Vec<_> = rows
                .range((from.clone(), std::ops::Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(&prefix))
                .take(ROWS)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            from = std::ops::Bound::Excluded(piece.last()?.0.clone());
            Some(piece)
        });
        Box::new(pieces.flatten().map(Ok))
    }

    fn apply(&self, space: &Space, changes: &[Change], to: &Bookmark) -> Result<(), ViewError> {
        let mut spaces = self.write();
        let held = spaces.entry(space.clone()).or_default();
        for change in changes {
            match &change.value {
                Some(value) => held.rows.insert(change.key.clone(), value.clone()),
                None => held.rows.remove(&change.key),
            };
        }
        held.bookmark = Some(*to);
        Ok(())
    }

    fn clear(&self, space: &Space) -> Result<(), ViewError> {
        self.write().remove(space);
        Ok(())
    }

    fn barrier(&self) -> Result<(), ViewError> {
        Ok(())
    }

    fn close(&self) -> Result<(), ViewError> {
        Ok(())
    }
}
