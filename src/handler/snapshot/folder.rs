//! The snapshots of a log as files: finding, making, removing and checking them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::read::Snapshot;
use super::write::Writer;
use super::{Place, SNAPSHOT, STATE, SnapshotError, Tally, UNFINISHED, VIEW, folder_of};
use crate::disk::{Disk, Entry, Mode, is_full};
use crate::handler::commit::Head;
use crate::journal::Journal;
use crate::segment::NameHash;
use crate::view::Space;
use crate::{IoFailure, LogId, Offset};

/// A snapshot is due when the records since the last one outweigh it, but not before they have so many bytes.
pub(crate) const RECORDS_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// The snapshots of a log.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    log: LogId,
}

impl Snapshots {
    /// Those of the log in a directory.
    pub fn of(disk: &Arc<dyn Disk>, dir: &Path, log: LogId) -> Self {
        Snapshots { disk: Arc::clone(disk), folder: dir.join(STATE), log }
    }

    /// Those of a journal that keeps files.
    pub fn of_journal(journal: &dyn Journal) -> Option<Self> {
        journal.directory().map(|(disk, dir)| Snapshots::of(&disk, &dir, journal.id()))
    }

    fn folder(&self, space: &Space) -> PathBuf {
        self.folder.join(format!("{:032x}", folder_of(self.log, space).0))
    }

    /// The records of which a space has snapshots, the newest first.
    pub fn list(&self, space: &Space) -> Result<Vec<Offset>, SnapshotError> {
        let folder = self.folder(space);
        let mut found: Vec<Offset> = list(&*self.disk, &folder)?.iter().filter_map(record_of).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// The file of a snapshot.
    pub fn path(&self, space: &Space, record: Offset) -> PathBuf {
        self.folder(space).join(file_name(record))
    }

    /// Reads the head of a snapshot.
    pub fn open(&self, space: &Space, record: Offset) -> Result<Snapshot, SnapshotError> {
        let path = self.path(space, record);
        open(&*self.disk, &path, Place::of(self.log, space, record))
    }

    /// Whether the records of a space, up to the one with this head, outweigh its newest snapshot and have at least so
    /// many bytes. One that cannot be read counts as none.
    pub fn is_due(&self, space: &Space, head: &Head, least: u64) -> bool {
        let newest = self.list(space).ok().and_then(|found| self.open(space, *found.first()?).ok());
        let (before, weight) = newest.map_or((0, 0), |snapshot| (snapshot.head.bytes, snapshot.len));
        head.bytes.saturating_sub(before) >= weight.max(least)
    }

    /// Makes a snapshot of sorted rows, which have to be those after a record: synced, read back and compared with
    /// the record's head before it gets its name. `None`: the rows are others.
    pub fn make<E: From<SnapshotError>>(
        &self,
        space: &Space,
        record: Offset,
        head: &Head,
        rows: impl Iterator<Item = Result<(Bytes, Bytes), E>>,
    ) -> Result<Option<Snapshot>, E> {
        let folder = self.folder(space);
        let path = self.path(space, record);
        let unfinished = folder.join(format!("{}{UNFINISHED}", file_name(record)));
        let place = Place::of(self.log, space, record);
        let failed = |doing: &'static str| {
            let path = path.clone();
            move |error: io::Error| E::from(write_failed(doing, &path, error))
        };
        self.disk.create_dir(&folder).map_err(failed("making the folder of"))?;
        let made = self.write(&unfinished, place, space, head, rows);
        if !matches!(made, Ok(true)) {
            // What is left of it is overwritten at the next try otherwise.
            let _ = self.disk.remove(&unfinished);
            return made.map(|_| None);
        }
        self.disk.rename(&unfinished, &path).map_err(failed("naming"))?;
        self.disk.sync_dir(&folder).map_err(failed("naming"))?;
        Ok(Some(self.open(space, record)?))
    }

    fn write<E: From<SnapshotError>>(
        &self,
        path: &Path,
        place: Place,
        space: &Space,
        head: &Head,
        rows: impl Iterator<Item = Result<(Bytes, Bytes), E>>,
    ) -> Result<bool, E> {
        let failed = |error| E::from(write_failed("writing", path, error));
        let file = self.disk.open(path, Mode::Truncate).map_err(failed)?;
        let mut writer = Writer::new(file, place, space, head).map_err(failed)?;
        for row in rows {
            let (key, value) = row?;
            writer.row(&key, &value).map_err(failed)?;
        }
        let written = writer.finish().map_err(failed)?;
        if written != Tally::of(self.log, head) {
            return Ok(false);
        }
        let snapshot = open(&*self.disk, path, place)?;
        if snapshot.head != *head {
            let what = "its head is not what was written".to_owned();
            return Err(SnapshotError::Damaged { path: path.to_path_buf(), at: 0, what }.into());
        }
        snapshot.rows().try_for_each(|row| row.map(drop))?;
        Ok(true)
    }

    /// Removes the snapshots of a space, and what is left of unfinished ones, but for those of these records.
    pub fn keep_only(&self, space: &Space, kept: &[Offset]) -> Result<(), SnapshotError> {
        let folder = self.folder(space);
        for entry in list(&*self.disk, &folder)? {
            let old = record_of(&entry).is_some_and(|record| !kept.contains(&record));
            if old || is_unfinished(&entry) {
                let path = folder.join(&entry.name);
                match self.disk.remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(IoFailure::new("removing", path, error).into());
                    }
                    _ => {}
                }
            }
        }
        // That they are gone need not survive: they would be removed again.
        Ok(())
    }
}

/// Where the command keeps the view of a log's handlers.
#[cfg(all(feature = "cli", feature = "sled"))]
pub(crate) fn view_folder(dir: &Path) -> PathBuf {
    dir.join(STATE).join(VIEW)
}

/// What is found in the folder of all snapshots of a log.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// A file that is not what was written.
    Damaged { path: PathBuf, at: u64, what: String },
    /// Something else worth saying.
    Note(String),
}

/// Reads every byte of every snapshot of a log. `read` is told the bytes of each file.
pub(crate) fn check_all(
    disk: &dyn Disk,
    dir: &Path,
    log: Option<LogId>,
    live: bool,
    mut read: impl FnMut(u64),
) -> Result<Vec<Wrong>, IoFailure> {
    let mut wrong = Vec::new();
    let state = dir.join(STATE);
    let stranger = |path: &Path| Wrong::Note(format!("{} is not a file of the log", path.display()));
    // A view proves itself when it is opened, and can be made again at any time.
    let spaces = list(disk, &state)?.into_iter().filter(|entry| !(entry.is_dir && entry.name == VIEW));
    for space in spaces {
        let folder = state.join(&space.name);
        let hash = hash_of(&space);
        let (Some(hash), Some(log)) = (hash, log) else {
            wrong.extend(hash.is_none().then(|| stranger(&folder)));
            continue;
        };
        for entry in list(disk, &folder)? {
            let path = folder.join(&entry.name);
            let Some(record) = record_of(&entry) else {
                match is_unfinished(&entry) {
                    // A live writer may be making it.
                    true if live => {}
                    true => wrong.push(Wrong::Note(format!("{} is an unfinished snapshot", path.display()))),
                    false => wrong.push(stranger(&path)),
                }
                continue;
            };
            read(entry.len);
            let place = Place { log, folder: hash, record };
            let rows = open(disk, &path, place).map(|snapshot| snapshot.rows());
            match rows.and_then(|mut rows| rows.try_for_each(|row| row.map(drop))) {
                Ok(()) => {}
                Err(SnapshotError::Damaged { at, what, .. }) => wrong.push(Wrong::Damaged { path, at, what }),
                Err(SnapshotError::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => {} // removed since
                Err(SnapshotError::Io(error)) => return Err(error),
                Err(other) => wrong.push(Wrong::Note(other.to_string())),
            }
        }
    }
    Ok(wrong)
}

fn open(disk: &dyn Disk, path: &Path, place: Place) -> Result<Snapshot, SnapshotError> {
    let file = disk.open(path, Mode::Read).map_err(|error| IoFailure::new("opening", path, error))?;
    Snapshot::open(file, path, place)
}

fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<Entry>, IoFailure> {
    match disk.list(folder) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(IoFailure::new("listing", folder, error)),
    }
}

fn write_failed(doing: &'static str, path: &Path, error: io::Error) -> SnapshotError {
    match is_full(&error) {
        true => SnapshotError::Full { path: path.to_path_buf() },
        false => IoFailure::new(doing, path, error).into(),
    }
}

fn file_name(record: Offset) -> String {
    format!("{:020}{SNAPSHOT}", record.raw())
}

fn number(name: &str) -> Option<Offset> {
    let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| digits).map(Offset::from_raw)
}

/// The record of a snapshot's file.
fn record_of(entry: &Entry) -> Option<Offset> {
    entry.name.strip_suffix(SNAPSHOT).and_then(number).filter(|_| !entry.is_dir)
}

fn is_unfinished(entry: &Entry) -> bool {
    !entry.is_dir && entry.name.strip_suffix(UNFINISHED).is_some_and(|name| name.ends_with(SNAPSHOT))
}

fn hash_of(entry: &Entry) -> Option<NameHash> {
    let hex = entry.name.len() == 32 && entry.name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(&entry.name, 16).ok().filter(|_| hex && entry.is_dir).map(NameHash)
}
