//! State in memory alone: for tests, and for handlers whose state is quickly made again.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Bookmark, Change, Rows, Space, Trust, View, ViewError};

/// State in memory; gone when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryView {
    spaces: RwLock<HashMap<Space, Held>>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    bookmark: Option<Bookmark>,
    /// Copies: what a change shares its memory with may be much larger.
    rows: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl MemoryView {
    /// A view without rows.
    pub fn new() -> Self {
        MemoryView::default()
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, HashMap<Space, Held>>, ViewError> {
        self.still_open()?;
        Ok(self.spaces.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, HashMap<Space, Held>>, ViewError> {
        self.still_open()?;
        Ok(self.spaces.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn still_open(&self) -> Result<(), ViewError> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(ViewError::Closed { path: PathBuf::from("memory"), why: "it was closed".into() }),
            false => Ok(()),
        }
    }
}

impl View for MemoryView {
    fn trust(&self) -> Trust {
        Trust::Closed
    }

    fn bookmark(&self, space: &Space) -> Result<Option<Bookmark>, ViewError> {
        Ok(self.read()?.get(space).and_then(|held| held.bookmark))
    }

    fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        Ok(self.read()?.get(space).and_then(|held| held.rows.get(key).map(|value| Bytes::copy_from_slice(value))))
    }

    fn scan(&self, space: &Space, prefix: &[u8], from: &[u8]) -> Rows<'_> {
        const ROWS: usize = 256;
        let (space, prefix) = (space.clone(), Bytes::copy_from_slice(prefix));
        let mut from = Some(Bound::Included(Bytes::copy_from_slice(from.max(&prefix))));
        // Piece by piece, so that nobody who scans keeps others from writing.
        let pieces = std::iter::from_fn(move || {
            let start = from.take()?;
            let spaces = match self.read() {
                Ok(spaces) => spaces,
                Err(e) => return Some(vec![Err(e)]),
            };
            let start = start.as_ref().map(|key| &key[..]);
            let rows = spaces.get(&space)?.rows.range::<[u8], _>((start, Bound::Unbounded));
            let piece: Vec<_> = rows
                .take_while(|(key, _)| key.starts_with(&prefix))
                .take(ROWS)
                .map(|(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
                .collect();
            from = Some(Bound::Excluded(piece.last()?.0.clone()));
            Some(piece.into_iter().map(Ok).collect())
        });
        Box::new(pieces.flatten())
    }

    fn apply(&self, space: &Space, changes: &[Change], to: &Bookmark) -> Result<(), ViewError> {
        let mut spaces = self.write()?;
        let held = spaces.entry(space.clone()).or_default();
        for change in changes {
            match &change.value {
                Some(value) => held.rows.insert(change.key[..].into(), value[..].into()),
                None => held.rows.remove(&change.key[..]),
            };
        }
        held.bookmark = Some(*to);
        Ok(())
    }

    fn clear(&self, space: &Space) -> Result<(), ViewError> {
        self.write()?.remove(space);
        Ok(())
    }

    fn barrier(&self) -> Result<(), ViewError> {
        self.still_open()
    }

    fn close(&self) -> Result<(), ViewError> {
        self.still_open()?;
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
