//! A view whose disk is simulated: what was applied since the last barrier may be lost from its end, rows may lie, and
//! every call is one of the simulated disk, which may fail or be the process's last.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::testkit::Op;
use annals::{Bookmark, Change, Rows, Space, Trust, View, ViewError};
use bytes::Bytes;

use crate::dice::Dice;
use crate::sim::disk::SimDisk;

/// Spaces with their rows.
type Image = BTreeMap<Space, Held>;

#[derive(Debug, Clone, Default)]
struct Held {
    bookmark: Option<Bookmark>,
    rows: BTreeMap<Bytes, Bytes>,
}

/// What lies on the disk of one view.
#[derive(Debug, Clone, Default)]
pub struct Place {
    now: Image,
    /// What it was before each change since the last barrier.
    before: Vec<Image>,
    /// The boot in which it is open, or was not closed.
    marker: Option<u128>,
    damaged: BTreeSet<(Space, Bytes)>,
}

/// How a view lies after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    Missing,
    Changed,
    Swapped,
    Added,
    /// A row whose checksum does not hold: it says so when it is read.
    Damaged,
}

pub const LIES: [Lie; 5] = [Lie::Missing, Lie::Changed, Lie::Swapped, Lie::Added, Lie::Damaged];

impl Place {
    /// The process ends, or the power goes: the newest changes may be lost.
    pub fn crash(&mut self, dice: &Dice) {
        let kept = dice.below(self.before.len() as u64 + 1) as usize;
        if let Some(image) = self.before.drain(..).nth(kept) {
            self.now = image;
        }
    }

    pub fn is_closed(&self) -> bool {
        self.marker.is_none()
    }

    /// Whether it has rows of a handler.
    pub fn has_rows(&self) -> bool {
        self.now.values().any(|held| !held.rows.is_empty())
    }

    /// Says that it is of another log.
    pub fn give_to(&mut self, log: annals::LogId) {
        for held in self.now.values_mut() {
            held.bookmark = held.bookmark.map(|bookmark| Bookmark { log, ..bookmark });
        }
    }

    /// Changes a row, and leaves the bookmark.
    pub fn lie(&mut self, lie: Lie, dice: &Dice) {
        let Some((space, held)) = self.now.iter_mut().find(|(_, held)| !held.rows.is_empty()) else { return };
        let at = dice.below(held.rows.len() as u64) as usize;
        let Some((key, value)) = held.rows.iter().nth(at).map(|(key, value)| (key.clone(), value.clone())) else {
            return;
        };
        match lie {
            Lie::Missing => {
                held.rows.remove(&key);
            }
            Lie::Changed => {
                held.rows.insert(key, Bytes::from([&value[..], b"?"].concat()));
            }
            Lie::Swapped => {
                let other = held.rows.iter().find(|(_, other)| **other != value);
                if let Some((other, its)) = other.map(|(other, its)| (other.clone(), its.clone())) {
                    held.rows.insert(key, its);
                    held.rows.insert(other, value);
                }
            }
            Lie::Added => {
                held.rows.insert(Bytes::from([&key[..], b"+"].concat()), value);
            }
            Lie::Damaged => {
                self.damaged.insert((space.clone(), key));
            }
        }
    }
}

/// A handle to a view.
#[derive(Debug)]
pub struct SimView {
    place: Arc<Mutex<Place>>,
    disk: SimDisk,
    trust: Trust,
}

fn failed(error: io::Error) -> ViewError {
    match error.kind() {
        io::ErrorKind::StorageFull => ViewError::Full { path: PathBuf::from("/view") },
        _ => ViewError::Failed { path: PathBuf::from("/view"), source: Arc::new(error) },
    }
}

impl SimView {
    pub fn open(place: &Arc<Mutex<Place>>, disk: &SimDisk, boot: u128) -> SimView {
        let mut held = place.lock().unwrap_or_else(PoisonError::into_inner);
        let trust = match held.marker {
            None => Trust::Closed,
            Some(other) if other == boot => Trust::SameBoot,
            Some(_) => Trust::Lost,
        };
        held.marker = Some(boot);
        drop(held);
        SimView { place: Arc::clone(place), disk: disk.clone(), trust }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, op: Op, what: &str) -> Result<(), ViewError> {
        self.disk.touch(op, Path::new(what)).map_err(failed)
    }
}

fn damage() -> ViewError {
    ViewError::Damaged { path: PathBuf::from("/view"), what: "the checksum of a row does not hold".into() }
}

impl View for SimView {
    fn trust(&self) -> Trust {
        self.trust
    }

    fn bookmark(&self, space: &Space) -> Result<Option<Bookmark>, ViewError> {
        self.call(Op::Read, "/view/bookmark")?;
        Ok(self.place().now.get(space).and_then(|held| held.bookmark))
    }

    fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        // No call of the disk: which rows are read again hangs on the order in which a cache forgets them.
        let place = self.place();
        let found = place.now.get(space).and_then(|held| held.rows.get_key_value(key));
        match found {
            Some((key, _)) if place.damaged.contains(&(space.clone(), key.clone())) => Err(damage()),
            found => Ok(found.map(|(_, value)| value.clone())),
        }
    }

    fn scan(&self, space: &Space, prefix: &[u8], from: &[u8]) -> Rows<'_> {
        if let Err(error) = self.call(Op::Read, "/view/scan") {
            return Box::new(std::iter::once(Err(error)));
        }
        let place = self.place();
        let start = Bytes::copy_from_slice(from.max(prefix));
        let rows: Vec<_> = place.now.get(space).map_or_else(Vec::new, |held| {
            let rows = held.rows.range(start..).take_while(|(key, _)| key.starts_with(prefix));
            rows.map(|(key, value)| match place.damaged.contains(&(space.clone(), key.clone())) {
                true => Err(damage()),
                false => Ok((key.clone(), value.clone())),
            })
            .collect()
        });
        Box::new(rows.into_iter())
    }

    fn apply(&self, space: &Space, changes: &[Change], to: &Bookmark) -> Result<(), ViewError> {
        self.call(Op::Allocate, "/view/apply")?;
        let mut place = self.place();
        let before = place.now.clone();
        place.before.push(before);
        for change in changes {
            place.damaged.remove(&(space.clone(), change.key.clone()));
            let held = place.now.entry(space.clone()).or_default();
            match &change.value {
                Some(value) => held.rows.insert(change.key.clone(), value.clone()),
                None => held.rows.remove(&change.key),
            };
        }
        place.now.entry(space.clone()).or_default().bookmark = Some(*to);
        Ok(())
    }

    fn clear(&self, space: &Space) -> Result<(), ViewError> {
        self.call(Op::Remove, "/view/clear")?;
        let mut place = self.place();
        let before = place.now.clone();
        place.before.push(before);
        place.now.remove(space);
        place.damaged.retain(|(damaged, _)| damaged != space);
        Ok(())
    }

    fn barrier(&self) -> Result<(), ViewError> {
        self.call(Op::Sync, "/view/barrier")?;
        self.place().before.clear();
        Ok(())
    }

    fn close(&self) -> Result<(), ViewError> {
        self.barrier()?;
        self.place().marker = None;
        Ok(())
    }
}
