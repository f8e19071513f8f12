//! Named consumers: a cursor that is kept, with a filter, usable from any process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use super::error::{ConsumerError, IoFailure, ReadError};
use super::files::damage;
use super::read::{Batches, Read};
use super::reader::LogReader;
use super::shared::{Shared, lock};
use crate::batch::Batch;
use crate::cursor::{CursorFile, Cursors, Found, Opened, Place, Slot, Slots};
use crate::event::check_name;
use crate::limits::OS_SYNC_MS;
use crate::planted::{Bug, planted};
use crate::{Filter, LogId, Offset, Timestamp};

/// A named consumer of a log: reads on from where it has got to.
///
/// Every event that matches is seen at least once and in order: an event is seen again when the process ends
/// after seeing and before committing it. The cursor is a file of the log's directory, whose lock this holds, so
/// that a consumer is used by one handle at a time; it needs no lock of the log's and works from any process.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let log = annals::Log::open(dir.path())?;
/// log.append(annals::Event::new("order-17", "OrderPlaced"))?.wait()?;
/// let mut mailer = log.consumer("mailer")?;
/// for event in mailer.read() {
///     let event = event?;
///     println!("{}", event.stream());
///     mailer.commit(event.offset().plus(1))?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    reader: LogReader,
    file: Arc<Mutex<CursorFile>>,
    name: Box<str>,
    /// The batch before the cursor, in which the next commit will mostly be.
    near: Option<Batch>,
}

/// A consumer as others see it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its name; that of its file, where the file is damaged.
    pub name: String,
    /// The offset it goes on with.
    pub next: Offset,
    /// Which events it wants.
    pub filter: Filter,
    /// Offsets from there to the durable end: at most so many events are left for it.
    pub lag: u64,
    /// When the first event was recorded that it has not passed; `None` when there is none.
    pub waiting_since: Option<Timestamp>,
    /// Why it would not be opened.
    pub refusal: Option<ConsumerError>,
}

impl LogReader {
    /// A named consumer of the log. A new one begins with the first event there is, and wants all but the log's
    /// own; [`Consumer::matching`] says otherwise. What it is now is durable when this returns: a few syncs.
    ///
    /// # Errors
    /// See [`ConsumerError`]: in use elsewhere, ahead of the log, of another log or history, behind what was
    /// trimmed.
    pub fn consumer(&self, name: &str) -> Result<Consumer, ConsumerError> {
        self.open_consumer(name, None)
    }

    /// The same, its cursor set to an offset, whatever it was and wherever. Its filter stays.
    ///
    /// # Errors
    /// See [`ConsumerError`]; in use elsewhere, ahead of the log, or before its first event.
    pub fn consumer_at(&self, name: &str, next: Offset) -> Result<Consumer, ConsumerError> {
        self.open_consumer(name, Some(next))
    }

    /// Forgets a consumer; returns whether there was one.
    ///
    /// # Errors
    /// [`ConsumerError::Held`] while it is in use, or when the disk fails.
    pub fn remove_consumer(&self, name: &str) -> Result<bool, ConsumerError> {
        check_name("consumer", name)?;
        let cursors = self.cursors();
        let path = cursors.path(self.id(), name);
        let removed = cursors.remove(&path, false).map_err(|error| IoFailure::new("removing", &path, error))?;
        removed.ok_or_else(|| ConsumerError::Held { name: name.to_owned() })
    }

    /// All consumers of the log in the order of their names. Needs no lock of theirs.
    ///
    /// # Errors
    /// When the log or its directory cannot be read.
    pub fn consumers(&self) -> Result<Vec<ConsumerInfo>, ConsumerError> {
        let cursors = self.cursors();
        let (paths, _) =
            cursors.list().map_err(|error| IoFailure::new("listing the consumers of", self.path(), error))?;
        let mut all = Vec::with_capacity(paths.len());
        for path in paths {
            match cursors.read(&path) {
                Ok(slots) => all.push(self.info(&path, &slots)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // removed since
                Err(error) => return Err(IoFailure::new("reading", path, error).into()),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn info(&self, path: &Path, slots: &Slots) -> Result<ConsumerInfo, ConsumerError> {
        let Some((_, slot)) = slots.newest() else {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let refusal = Some(ConsumerError::Damaged(damaged_file(path)));
            let (next, filter) = (Offset::ZERO, Filter::new());
            return Ok(ConsumerInfo { name, next, filter, lag: 0, waiting_since: None, refusal });
        };
        let next = slot.place.next;
        // In this order: a cursor is never ahead of what is durable after it was read.
        let end = self.durable_end()?.raw();
        let refusal = match self.check(&slot.name, slot) {
            Err(ConsumerError::Read(error)) => return Err(error.into()),
            checked => checked.err(),
        };
        let first = match next < end && refusal.is_none() {
            false => None,
            true => match self.get(Offset::from_raw(next)) {
                // Of what a repair gave up nobody knows since when it waited.
                Err(ReadError::Lost { .. }) => None,
                first => first?,
            },
        };
        Ok(ConsumerInfo {
            name: slot.name.clone().into(),
            next: Offset::from_raw(next),
            filter: slot.filter.clone(),
            lag: end.saturating_sub(next),
            waiting_since: first.map(|event| event.recorded()),
            refusal,
        })
    }

    fn cursors(&self) -> Cursors<'_> {
        Cursors::of(&*self.env().disk, self.path())
    }

    fn open_consumer(&self, name: &str, at: Option<Offset>) -> Result<Consumer, ConsumerError> {
        check_name("consumer", name)?;
        let cursors = self.cursors();
        let path = cursors.path(self.id(), name);
        let failed = |error| ConsumerError::Io(IoFailure::new("opening", &path, error));
        let (place, near) = match at {
            Some(at) => self.place(name, at, None)?,
            None => (Place { next: self.head()?.raw(), recorded_us: 0, tail_epoch: 0 }, None),
        };
        let new = || Slot { sequence: 1, log: self.id(), place, name: name.into(), filter: Filter::new() };
        let file = match cursors.open(path.clone(), new).map_err(failed)? {
            Opened::Held => return Err(ConsumerError::Held { name: name.to_owned() }),
            Opened::New(file) => file,
            Opened::There { file, slots } => {
                let found = slots.newest().map(|(_, slot)| slot.clone());
                let slot = match (found, at) {
                    (None, None) => return Err(ConsumerError::Damaged(damaged_file(&path))),
                    (None, Some(_)) => new(),
                    (Some(slot), Some(_)) => Slot { log: self.id(), place, name: name.into(), ..slot },
                    (Some(slot), None) => {
                        self.check(name, &slot)?;
                        slot
                    }
                };
                if slots.found.iter().any(|found| matches!(found, Found::Bad(_))) {
                    tracing::warn!(file = %path.display(), "one slot was not what was written; the other is used");
                }
                cursors.go_on(path.clone(), file, &slots, slot).map_err(|error| io_failure("writing", &path, error))?
            }
        };
        Ok(Consumer { reader: self.clone(), file: Arc::new(Mutex::new(file)), name: name.into(), near })
    }

    /// Whether a cursor is one of this log, and of its history.
    fn check(&self, name: &str, slot: &Slot) -> Result<(), ConsumerError> {
        let name = name.to_owned();
        if *slot.name != *name {
            let path = self.cursors().path(self.id(), &name);
            let what = "it holds the cursor of another consumer";
            return Err(ConsumerError::Damaged(damage(&path, 0, 0, 0, what)));
        }
        self.check_place(name, slot.log, slot.place)
    }

    /// Whether a place that somebody keeps is one of this log, and of its history.
    pub(crate) fn check_place(&self, name: String, log: LogId, kept: Place) -> Result<(), ConsumerError> {
        let cursor = Offset::from_raw(kept.next);
        if log != self.id() {
            return Err(ConsumerError::WrongLog { name, cursor_log: log, log: self.id() });
        }
        let head = self.head()?;
        if cursor < head {
            return Err(ConsumerError::Trimmed { name, cursor, head });
        }
        let seen = (kept.recorded_us, kept.tail_epoch);
        let place = self.place_of(&name, cursor)?;
        // Where the event before is gone there is nothing to hold the cursor against.
        let is_same = seen == (place.recorded_us, place.tail_epoch) || planted(Bug::CursorOfAnyHistory);
        if seen.0 != 0 && place.recorded_us != 0 && !is_same {
            return Err(ConsumerError::CursorOfAnotherHistory { name, cursor });
        }
        Ok(())
    }

    /// An offset with what is known of the event before it, for somebody who keeps it.
    pub(crate) fn place_of(&self, name: &str, next: Offset) -> Result<Place, ConsumerError> {
        Ok(self.place(name, next, None)?.0)
    }

    /// An offset with what is known of the event before it, and the batch of that event. `near` may be it.
    fn place(&self, name: &str, next: Offset, near: Option<Batch>) -> Result<(Place, Option<Batch>), ConsumerError> {
        let view = self.view()?;
        let (head, durable_end) = (Offset::from_raw(view.head), Offset::from_raw(view.end));
        if next > durable_end && !planted(Bug::CursorAhead) {
            return Err(ConsumerError::CursorAhead { name: name.to_owned(), cursor: next, durable_end });
        }
        if next < head {
            return Err(ConsumerError::Trimmed { name: name.to_owned(), cursor: next, head });
        }
        let unknown = Place { next: next.raw(), recorded_us: 0, tail_epoch: 0 };
        if next == head {
            return Ok((unknown, None));
        }
        let before = Offset::from_raw(next.raw() - 1);
        let batch = match near.filter(|batch| batch.first() <= before && before < batch.next()) {
            Some(near) => near,
            None => match Batches::new(view, &(before..)).next() {
                Some(Ok(batch)) => batch,
                // Given up by a repair: then its time says nothing.
                None | Some(Err(ReadError::Lost { .. })) => return Ok((unknown, None)),
                Some(Err(error)) => return Err(error.into()),
            },
        };
        let event = batch.events().find(|event| event.offset() == before);
        let recorded_us = event.map_or(0, |event| event.recorded().as_micros());
        let tail_epoch = batch.header().tail_epoch;
        Ok((Place { next: next.raw(), recorded_us, tail_epoch }, Some(batch)))
    }
}

fn damaged_file(path: &Path) -> super::error::Damage {
    damage(path, 0, 0, 0, "neither slot of the cursor is what was written")
}

fn io_failure(doing: &'static str, path: &Path, source: Arc<io::Error>) -> ConsumerError {
    ConsumerError::Io(IoFailure { doing, path: path.to_path_buf(), source })
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The offset it goes on with, as of its last commit.
    pub fn cursor(&self) -> Offset {
        Offset::from_raw(lock(&self.file).slot().place.next)
    }

    /// Which events it wants.
    pub fn filter(&self) -> Filter {
        lock(&self.file).slot().filter.clone()
    }

    /// The log it reads.
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// Wants other events from now on. The filter is kept with the cursor, and durable when this returns; nothing
    /// is written when it is the same.
    ///
    /// # Errors
    /// [`ConsumerError::FilterTooLong`], or when the disk fails.
    pub fn matching(self, filter: Filter) -> Result<Self, ConsumerError> {
        let place = {
            let file = lock(&self.file);
            if file.slot().filter == filter {
                drop(file);
                return Ok(self);
            }
            file.slot().place
        };
        self.write(place, filter)?;
        self.flush()?;
        Ok(self)
    }

    /// The events from the cursor to the durable end of now that it wants. Moves no cursor: that is what
    /// [`commit`](Consumer::commit) is for.
    pub fn read(&self) -> Read {
        self.reader.read(self.cursor()..).matching(self.filter())
    }

    /// Notes that all events before an offset are done with, and returns when a power cut cannot take that back:
    /// a sync of its own. Committing every so many events costs that much less.
    ///
    /// # Errors
    /// [`ConsumerError::CursorAhead`] of what is durable, [`ConsumerError::Behind`] the cursor, or when the disk
    /// fails.
    pub fn commit(&mut self, next: Offset) -> Result<(), ConsumerError> {
        self.put(next, false)?;
        self.flush()
    }

    /// The same, without waiting for the disk: killing the process does not take it back, a power cut may, and the
    /// events since then are seen again. It is synced with the next [`commit`](Consumer::commit) or
    /// [`flush`](Consumer::flush), when this is dropped, and, in the process that writes the log, within
    /// [`OS_SYNC_MS`] by the log's own thread. Any number of commits before it need one sync.
    ///
    /// # Errors
    /// See [`commit`](Consumer::commit).
    pub fn commit_in_background(&mut self, next: Offset) -> Result<(), ConsumerError> {
        self.put(next, false)?;
        if let Some(shared) = self.reader.writer() {
            shared.sync_cursor_soon(&self.file);
        }
        Ok(())
    }

    /// Makes durable what was committed in the background.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn flush(&self) -> Result<(), ConsumerError> {
        let mut file = lock(&self.file);
        file.sync().map_err(|error| io_failure("syncing", &file.path, error))
    }

    /// Puts the cursor anywhere in the log, also back; durable when this returns.
    ///
    /// # Errors
    /// [`ConsumerError::CursorAhead`], [`ConsumerError::Trimmed`], or when the disk fails.
    pub fn seek(&mut self, next: Offset) -> Result<(), ConsumerError> {
        self.put(next, true)?;
        self.flush()
    }

    /// Forgets the consumer: its file is gone when this returns.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove(self) -> Result<(), ConsumerError> {
        let path = lock(&self.file).path.clone();
        let removed = self.reader.cursors().remove(&path, true);
        removed.map_err(|error| IoFailure::new("removing", path, error))?;
        Ok(())
    }

    fn put(&mut self, next: Offset, back: bool) -> Result<(), ConsumerError> {
        let (cursor, filter) = (self.cursor(), self.filter());
        if next < cursor && !back {
            return Err(ConsumerError::Behind { name: self.name.clone().into(), cursor, next });
        }
        if next == cursor {
            return Ok(());
        }
        let (place, near) = self.reader.place(&self.name, next, self.near.take())?;
        self.near = near;
        self.write(place, filter)
    }

    fn write(&self, place: Place, filter: Filter) -> Result<(), ConsumerError> {
        let mut file = lock(&self.file);
        if !file.fits(&filter) {
            return Err(ConsumerError::FilterTooLong { name: self.name.clone().into() });
        }
        file.write(place, filter).map_err(|error| io_failure("writing", &file.path, error))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::error!(consumer = %self.name, %error, "its last commits are not durable");
        }
    }
}

/// Cursors that were committed in the background and wait for their sync.
#[derive(Debug, Default)]
pub(super) struct UnsyncedCursors {
    /// Since when the first of them waits, in ms of the monotonic clock.
    since: Option<u64>,
    /// Not held: a consumer's file is free once the consumer is dropped.
    files: Vec<Weak<Mutex<CursorFile>>>,
}

impl Shared {
    /// Has a cursor synced by the background.
    fn sync_cursor_soon(&self, file: &Arc<Mutex<CursorFile>>) {
        let mut cursors = lock(&self.cursors);
        if cursors.files.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(file))) {
            return;
        }
        cursors.files.push(Arc::downgrade(file));
        let first = cursors.since.is_none();
        if first {
            cursors.since = Some(self.env.clock.monotonic_ms());
        }
        drop(cursors);
        if first {
            self.group.signal.set();
        }
    }

    /// Milliseconds until cursors have to be synced.
    pub fn cursors_due_in(&self) -> Option<u64> {
        let since = lock(&self.cursors).since?;
        Some((since + OS_SYNC_MS / 2).saturating_sub(self.env.clock.monotonic_ms()))
    }

    /// Syncs the cursors that wait for it, if it is time. Returns whether there was one.
    pub fn sync_cursors(&self) -> bool {
        if self.cursors_due_in() != Some(0) {
            return false;
        }
        let cursors = std::mem::take(&mut *lock(&self.cursors));
        for file in cursors.files.iter().filter_map(Weak::upgrade) {
            let mut file = lock(&file);
            if let Err(error) = file.sync() {
                // Its consumer is told by its next call.
                tracing::error!(file = %file.path.display(), %error, "could not be synced");
            }
        }
        !cursors.files.is_empty()
    }
}

/// Where the cursor of a log stands that is furthest on, and how to say so.
#[derive(Debug, Clone)]
pub(super) struct Furthest {
    pub next: u64,
    pub path: PathBuf,
    pub name: String,
}

impl Furthest {
    pub fn of(disk: &dyn crate::disk::Disk, dir: &Path, log: crate::LogId) -> io::Result<Option<Furthest>> {
        let furthest = Cursors::of(disk, dir).furthest(log)?;
        Ok(furthest.map(|(path, slot)| Furthest { next: slot.place.next, path, name: slot.name.into() }))
    }

    /// What it says of a log that ends before.
    pub fn says(&self) -> String {
        format!("; consumer {:?} had seen all before {} ({})", self.name, self.next, self.path.display())
    }
}
