//! Repairing a damaged log: a plan that says what is wrong, what is lost and what would be done, and doing it.
//!
//! A plan is made of the files alone and changes nothing. Applying it copies what it replaces to `repaired/`, writes
//! new files beside the old ones, decides by the file `REPAIR`, and only then puts the new ones in their places: ended
//! before that, nothing has changed; ended behind it, the next repair goes on.
//!
//! Damaged segments are written anew out of their good batches. Where events are lost there is a gap: a batch
//! that takes the offsets and holds nothing, so that none of them is given again and readers are told.

mod arrange;
mod journal;
pub(super) mod kept;
mod rebuild;
mod salvage;
mod touched;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrange::{Arranged, Place, arrange};
use journal::{Step, staged};
use rebuild::Parts;

use super::error::{Damage, OpenError};
use super::files::{Listing, lock_record, open_failed, open_scan_failed, take_lock};
use super::layout;
use super::lock::LockRecord;
use super::open::command_of;
use super::verify::{self, LockSeen, VerifyReport};
use crate::cursor::{CURSORS, Cursors, GATE};
use crate::disk::{DiskFile, Env, Mode};
use crate::index::{self, IndexName, IndexSet};
use crate::segment::{Carry, ReadMode, Segment, read_header, read_trailer};
use crate::{LogId, Offset};

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AnomalyKind {
    /// Bytes behind the last batch that were never acknowledged.
    TornTail,
    /// Batches that are not what was written.
    BitRot,
    /// The first page of a segment.
    SegmentHeader,
    /// Indexes that do not say what is so. They can be made again.
    Index,
    /// A segment that is not there.
    MissingSegment,
    /// A file that is an older self, a copy, or of another log.
    StaleSegment,
    /// The file of a consumer.
    Cursor,
    /// The file `LOCK`.
    Lock,
    /// What was kept of a torn tail, or by an earlier repair.
    Kept,
    /// A repair that was not ended.
    Interrupted,
    /// Left behind by a kill; holds nothing.
    Leftover,
}

impl AnomalyKind {
    /// Its name, in lines for scripts.
    pub fn name(self) -> &'static str {
        match self {
            AnomalyKind::TornTail => "torn_tail",
            AnomalyKind::BitRot => "bit_rot",
            AnomalyKind::SegmentHeader => "segment_header",
            AnomalyKind::Index => "index",
            AnomalyKind::MissingSegment => "missing_segment",
            AnomalyKind::StaleSegment => "stale_segment",
            AnomalyKind::Cursor => "cursor",
            AnomalyKind::Lock => "lock",
            AnomalyKind::Kept => "kept",
            AnomalyKind::Interrupted => "interrupted",
            AnomalyKind::Leftover => "leftover",
        }
    }
}

/// A stream that lost events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TouchedStream {
    /// The stream.
    pub name: String,
    /// How many events it lost there, where versions around them say it.
    pub lost: Option<u64>,
}

/// One thing that is wrong, what is lost by it, and what applying the plan does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Anomaly {
    /// What kind of thing.
    pub kind: AnomalyKind,
    /// The file.
    pub file: PathBuf,
    /// The bytes of it: from here ..
    pub at: u64,
    /// .. to before here. Equal when it is about no bytes.
    pub to: u64,
    /// The first event that is lost ..
    pub first: Offset,
    /// .. and the offset after the last one. Equal when none is.
    pub end: Offset,
    /// Whether more may be lost behind: nothing that is left says how far the log went.
    pub at_least: bool,
    /// Streams that lost events, as far as what is left names them.
    pub streams: Vec<TouchedStream>,
    /// Streams that lost events and whose names are not left, or are too many to name.
    pub more_streams: u64,
    /// Whether no other stream lost events. If not, any may have.
    pub all_streams_known: bool,
    /// What is wrong.
    pub what: String,
    /// What applying the plan does.
    pub action: String,
    /// Opening the log is enough: a repair leaves it alone.
    pub mended_by_open: bool,
}

impl Anomaly {
    fn of(kind: AnomalyKind, file: &Path, what: impl Into<String>) -> Anomaly {
        Anomaly {
            kind,
            file: file.to_path_buf(),
            at: 0,
            to: 0,
            first: Offset::ZERO,
            end: Offset::ZERO,
            at_least: false,
            streams: Vec::new(),
            more_streams: 0,
            all_streams_known: false,
            what: what.into(),
            action: String::new(),
            mended_by_open: false,
        }
    }

    fn bytes(mut self, at: u64, to: u64) -> Self {
        (self.at, self.to) = (at, to.max(at));
        self
    }

    fn lost(mut self, first: u64, end: u64) -> Self {
        (self.first, self.end) = (Offset::from_raw(first), Offset::from_raw(end.max(first)));
        self
    }

    fn at_least(mut self) -> Self {
        self.at_least = true;
        self
    }

    fn doing(mut self, action: impl Into<String>) -> Self {
        self.action = action.into();
        self
    }

    fn left_to_open(mut self) -> Self {
        self.mended_by_open = true;
        self
    }

    /// How many events are lost by it.
    pub fn events_lost(&self) -> u64 {
        self.end.raw() - self.first.raw()
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)?;
        if self.to > self.at {
            write!(f, " (bytes {} to {})", self.at, self.to)?;
        }
        let at_least = if self.at_least { "at least " } else { "" };
        match self.events_lost() {
            0 if self.at_least => write!(f, "; whether events are lost is not known")?,
            0 => {}
            1 => write!(f, "; {at_least}event {} is lost", self.first)?,
            _ => write!(f, "; {at_least}events {} to {} (exclusive) are lost", self.first, self.end)?,
        }
        write!(f, "; {}", self.action)
    }
}

/// What is known of a log before it is looked at closely.
struct Found<'f> {
    dir: &'f Path,
    env: &'f Env,
    listing: &'f Listing,
    record: Option<LockRecord>,
    /// The cursors there are: of which log, and where.
    cursors: Vec<(LogId, u64)>,
}

/// What is wrong with a log, and what would be done about it. Holds the lock of the log: nobody writes it meanwhile.
#[derive(Debug)]
pub struct RepairPlan {
    dir: PathBuf,
    env: Env,
    lock_file: Option<Arc<dyn DiskFile>>,
    /// The last segment's file, locked as a writer locks it.
    _last_file: Option<Arc<dyn DiskFile>>,
    record: Option<LockRecord>,
    anomalies: Vec<Anomaly>,
    arranged: Arranged,
    /// Files beside the segments: their new bytes, or that they go.
    others: Vec<(PathBuf, Other)>,
    lock_damaged: bool,
    /// Steps of a repair that was not ended.
    interrupted: Option<Vec<Step>>,
}

#[derive(Debug)]
enum Other {
    Bytes(Vec<u8>),
    Gone,
    Empty,
}

/// What a repair has done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// What was wrong and is not any more.
    pub anomalies: Vec<Anomaly>,
    /// Where the copies of the replaced files are; `None` when nothing was replaced.
    pub kept: Option<PathBuf>,
    /// What reading and checking every byte says now.
    pub verified: VerifyReport,
}

/// Looks for all that is wrong with a log, and works out what repairing it would do. Changes nothing.
///
/// The log must not be open for writing anywhere. Reads every byte, and those of damaged segments again.
///
/// # Errors
/// [`OpenError::Held`] when another process writes the log; else when there is no log, when a file cannot be read, or
/// when a newer program wrote it.
pub fn repair(path: &Path) -> Result<RepairPlan, OpenError> {
    repair_with(path, &Env::system())
}

/// [`repair`] on a disk of the caller's.
///
/// # Errors
/// See [`repair`].
pub fn repair_with(path: &Path, env: &Env) -> Result<RepairPlan, OpenError> {
    let lock_path = path.join(layout::LOCK);
    let lock_file = match env.disk.open(&lock_path, Mode::Read) {
        Ok(file) => Some(file),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => None,
        Err(error) => return Err(open_failed("opening", &lock_path, error)),
    };
    plan(path, env, lock_file)
}

fn plan(dir: &Path, env: &Env, lock_file: Option<Arc<dyn DiskFile>>) -> Result<RepairPlan, OpenError> {
    let (mut record, mut lock_len) = (None, 0);
    if let Some(file) = &lock_file {
        let path = dir.join(layout::LOCK);
        let failed = |doing| move |error| open_failed(doing, &path, error);
        let locked = take_lock(&**file).map_err(failed.clone()("locking"))?;
        record = lock_record(&**file).map_err(failed.clone()("reading"))?;
        lock_len = file.len().map_err(failed("reading"))?;
        if !locked {
            return Err(held(dir, record));
        }
    }
    let listing = Listing::read(&*env.disk, dir)?;
    let listing = listing.ok_or_else(|| OpenError::NotFound { path: dir.to_path_buf() })?;
    // Should LOCK be gone, the writer still holds the file it writes to; and no writer begins while this one is held.
    let mut last_file = None;
    if let Some(last) = listing.segments.last() {
        let path = layout::segment_path(dir, *last);
        let file = env.disk.open(&path, Mode::Read).map_err(|error| open_failed("opening", &path, error))?;
        if !take_lock(&*file).map_err(|error| open_failed("locking", &path, error))? {
            return Err(held(dir, record));
        }
        last_file = Some(file);
    }
    let mut plan = RepairPlan {
        dir: dir.to_path_buf(),
        env: env.clone(),
        lock_file,
        _last_file: last_file,
        record,
        anomalies: Vec::new(),
        arranged: Arranged::default(),
        others: Vec::new(),
        lock_damaged: false,
        interrupted: None,
    };
    if listing.repairing && plan.interrupted()? {
        return Ok(plan);
    }
    let seen = LockSeen { record, len: lock_len, live: false };
    let report = verify::verify_beside(dir, env, &seen, &mut |_, _| {})?;
    plan.segments(&listing, &report)?;
    plan.beside(&report)?;
    plan.left_over(&listing, lock_len);
    Ok(plan)
}

fn held(dir: &Path, record: Option<LockRecord>) -> OpenError {
    let pid = record.map(|record| record.pid);
    OpenError::Held { path: dir.to_path_buf(), pid, command: pid.and_then(command_of) }
}

impl RepairPlan {
    /// All that is wrong, segments first.
    pub fn anomalies(&self) -> &[Anomaly] {
        &self.anomalies
    }

    /// Whether a repair has nothing to do: the log is sound, but for what opening it mends.
    pub fn has_nothing_to_do(&self) -> bool {
        self.anomalies.iter().all(|anomaly| anomaly.mended_by_open)
    }

    /// How many events are lost, as far as is known.
    pub fn events_lost(&self) -> u64 {
        self.anomalies.iter().map(Anomaly::events_lost).sum()
    }

    fn disk(&self) -> &dyn crate::disk::Disk {
        &*self.env.disk
    }

    /// Finds the rest of a repair that was not ended; false when its file says nothing.
    fn interrupted(&mut self) -> Result<bool, OpenError> {
        let path = self.dir.join(layout::REPAIR);
        match journal::read(self.disk(), &self.dir) {
            Ok(Some(steps)) => {
                let what = "a repair was interrupted before its end";
                let anomaly = Anomaly::of(AnomalyKind::Interrupted, &path, what);
                let doing = "it is ended now: all new files and all copies of the old ones are there";
                self.anomalies.push(anomaly.doing(doing));
                self.interrupted = Some(steps);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                let what = "what an interrupted repair still had to do is not what was written down";
                let anomaly = Anomaly::of(AnomalyKind::Interrupted, &path, what);
                self.anomalies.push(anomaly.doing("the repair begins anew with the files as they are"));
                self.others.push((path, Other::Gone));
                Ok(false)
            }
            Err(error) => Err(open_failed("reading", &path, error)),
        }
    }

    /// Looks at the segments, where there is anything wrong with one.
    fn segments(&mut self, listing: &Listing, report: &VerifyReport) -> Result<(), OpenError> {
        let is_segment = |path: &Path| path.extension().is_some_and(|ending| ending == "seg");
        let ours = |path: &Path| path.parent() == Some(&self.dir) && is_segment(path);
        let damaged = report.damage.iter().any(|damage| ours(&damage.file));
        if !damaged && report.torn.is_empty() {
            return Ok(());
        }
        if !damaged {
            self.anomalies.extend(report.torn.iter().map(torn_tail));
            return Ok(());
        }
        let found = Found { dir: &self.dir, env: &self.env, listing, record: self.record, cursors: self.cursors()? };
        let mut arranged = arrange(&found)?;
        self.link(&mut arranged)?;
        for anomaly in &mut arranged.anomalies {
            let named = touched::name_streams(anomaly, &arranged.places);
            named.map_err(|error| open_scan_failed(&anomaly.file, error, anomaly.first.raw(), anomaly.end.raw()))?;
        }
        self.anomalies.append(&mut arranged.anomalies);
        self.arranged = arranged;
        Ok(())
    }

    /// Makes every segment say of the one before it what that is to be.
    fn link(&self, arranged: &mut Arranged) -> Result<(), OpenError> {
        let mut before: Option<(u32, bool)> = None;
        for index in 0..arranged.places.len() {
            let carry = self.carry_into(&arranged.places, index)?;
            let Some(place) = arranged.places.get_mut(index) else { break };
            let (crc, before_changed) = before.unwrap_or((0, true));
            if place.header.previous_crc != crc {
                let known = place.source.as_ref().filter(|source| source.header_is != salvage::HeaderIs::Gone);
                if let Some(source) = known.filter(|_| !before_changed && !place.changed) {
                    let what = "it was written behind other batches than those in the segment before it";
                    let anomaly = Anomaly::of(AnomalyKind::StaleSegment, &source.path, what).bytes(0, 4096);
                    arranged.anomalies.push(anomaly.doing("its header is made to follow the segment before it"));
                }
                place.header.previous_crc = crc;
                place.changed = true;
            }
            let parts = Parts { place, carry };
            before = Some((rebuild::last_crc(&parts), place.changed));
        }
        Ok(())
    }

    /// What is carried over into a segment, where that has to be made anew.
    fn carry_into(&self, places: &[Place], index: usize) -> Result<Vec<u8>, OpenError> {
        let needs = places.get(index).is_some_and(|place| place.pieces.contains(&arrange::Piece::Carry));
        if !needs {
            return Ok(Vec::new());
        }
        let before = places.get(..index).unwrap_or_default();
        let known = |place: &Place| place.source.as_ref().is_some_and(|source| source.carry.is_some());
        let from = before.iter().rposition(known).unwrap_or(0);
        let mut carry = Carry::default();
        for place in before.get(from..).unwrap_or_default() {
            let failed = |error| {
                open_scan_failed(&layout::segment_path(&self.dir, place.base()), error, place.base(), place.end)
            };
            carry = rebuild::carry_behind(place, carry).map_err(failed)?;
        }
        Ok(carry.encode())
    }

    fn cursors(&self) -> Result<Vec<(LogId, u64)>, OpenError> {
        let cursors = Cursors::of(self.disk(), &self.dir);
        let failed = |error| open_failed("reading the cursors of", &self.dir, error);
        let mut all = Vec::new();
        for path in cursors.list().map_err(failed)?.0 {
            let slots = cursors.read(&path).map_err(failed)?;
            all.extend(slots.newest().map(|(_, slot)| (slot.log, slot.place.next)));
        }
        Ok(all)
    }

    /// What is wrong with the files beside the segments.
    fn beside(&mut self, report: &VerifyReport) -> Result<(), OpenError> {
        for damage in &report.damage {
            let relative = damage.file.strip_prefix(&self.dir).unwrap_or(&damage.file);
            let mut parts = relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
            let (folder, file) = (parts.next().unwrap_or_default(), parts.next());
            match (folder.as_str(), file) {
                (layout::LOCK, None) => {
                    self.lock_damaged = true;
                    self.tell(damage, AnomalyKind::Lock, "what is left behind the record is cut off");
                }
                (layout::INDEX, Some(_)) => {
                    self.tell(damage, AnomalyKind::Index, "the index is removed and made again");
                    self.other(&damage.file, Other::Gone);
                }
                (CURSORS, Some(name)) if name == GATE => {
                    self.tell(damage, AnomalyKind::Cursor, "it is emptied");
                    self.other(&damage.file, Other::Empty);
                }
                (CURSORS, Some(_)) => self.cursor(damage, self.arranged.log.or(report.log_id))?,
                (layout::TORN, Some(_)) => {
                    self.tell(damage, AnomalyKind::Kept, "the file is moved to what the repair keeps");
                    self.other(&damage.file, Other::Gone);
                }
                (layout::REPAIRED, Some(number)) => {
                    let folder = self.dir.join(layout::REPAIRED).join(number);
                    self.tell(damage, AnomalyKind::Kept, "the copies of that repair are taken as they are now");
                    let failed = |error| open_failed("reading", &folder, error);
                    let sums = kept::sums_of_now(self.disk(), &folder).map_err(failed)?;
                    self.other(&folder.join(kept::SUMS), Other::Bytes(sums));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self, damage: &Damage, kind: AnomalyKind, doing: &str) {
        let anomaly = Anomaly::of(kind, &damage.file, damage.what.clone()).bytes(damage.at, damage.at);
        self.anomalies.push(anomaly.doing(doing));
    }

    fn other(&mut self, path: &Path, other: Other) {
        if !self.others.iter().any(|(known, _)| known == path) {
            self.others.push((path.to_path_buf(), other));
        }
    }

    /// The file of a consumer: written again from the slot that counts, or given up.
    fn cursor(&mut self, damage: &Damage, log: Option<LogId>) -> Result<(), OpenError> {
        let path = &damage.file;
        let failed = |error| open_failed("reading", path, error);
        let file = self.disk().open(path, Mode::Read).map_err(failed)?;
        if !take_lock(&*file).map_err(failed)? {
            return Err(OpenError::Held { path: path.clone(), pid: None, command: None });
        }
        let slots = crate::cursor::Slots::read(&*file).map_err(failed)?;
        let cursors = Cursors::of(self.disk(), &self.dir);
        let newest = slots.newest().map(|(_, slot)| slot);
        let own = newest.map(|slot| cursors.path(log.unwrap_or(slot.log), &slot.name));
        let (doing, others) = match (newest.and_then(crate::cursor::whole_file), own) {
            (Some(bytes), Some(own)) if own == *path => {
                ("the file is written again from the slot that is whole", vec![(path.clone(), Other::Bytes(bytes))])
            }
            (Some(bytes), Some(own)) if !self.is_there(&own) => {
                let others = vec![(own, Other::Bytes(bytes)), (path.clone(), Other::Gone)];
                ("it gets the name of its consumer", others)
            }
            (Some(_), _) => ("the file is kept aside: the consumer has another one", vec![(path.clone(), Other::Gone)]),
            (None, _) => ("the file is kept aside: the consumer begins anew", vec![(path.clone(), Other::Gone)]),
        };
        self.tell(damage, AnomalyKind::Cursor, doing);
        for (path, other) in others {
            self.other(&path, other);
        }
        Ok(())
    }

    fn is_there(&self, path: &Path) -> bool {
        self.disk().open(path, Mode::Read).is_ok()
    }

    /// What a kill left behind, and opening mends.
    fn left_over(&mut self, listing: &Listing, lock_len: u64) {
        for name in &listing.unborn {
            let anomaly = Anomaly::of(AnomalyKind::Leftover, &self.dir.join(name), "a file that was never begun");
            self.anomalies.push(anomaly.doing("opening the log removes it").left_to_open());
        }
        if self.record.is_none() && lock_len > 0 {
            let anomaly = Anomaly::of(AnomalyKind::Lock, &self.dir.join(layout::LOCK), "its record is not whole");
            self.anomalies.push(anomaly.doing("opening the log does without it").left_to_open());
        }
    }

    /// Does what the plan says: copies what is replaced to `repaired/`, replaces it, writes gaps where events are
    /// lost, makes indexes again, and reads and checks every byte of the result.
    ///
    /// # Errors
    /// When a call on the disk fails. The log is as it was then, or [`repair`] goes on with what was begun.
    pub fn apply(mut self) -> Result<Repaired, OpenError> {
        let mut kept = None;
        if !self.has_nothing_to_do() {
            self.take_lock()?;
            let steps = match self.interrupted.take() {
                Some(steps) => steps,
                None => self.prepare()?,
            };
            let failed = |error| open_failed("repairing", &self.dir, error);
            journal::run(self.disk(), &self.dir, &steps).map_err(failed)?;
            kept = steps.iter().find_map(|step| match step {
                Step::Kept(number) => Some(self.dir.join(layout::REPAIRED).join(number.to_string())),
                _ => None,
            });
            tracing::warn!(log = %self.dir.display(), steps = steps.len(), "repaired");
        }
        let lock = self.lock_seen()?;
        let log = verify::verify_beside(&self.dir, &self.env, &lock, &mut |_, _| {})?;
        if kept.is_some() {
            self.index_again(log.log_id);
        }
        Ok(Repaired { anomalies: self.anomalies, kept, verified: log })
    }

    /// Makes sure that nobody begins to write: where `LOCK` was not there, it is made.
    fn take_lock(&mut self) -> Result<(), OpenError> {
        if self.lock_file.is_none() {
            let path = self.dir.join(layout::LOCK);
            let file = self.disk().open(&path, Mode::Create).map_err(|error| open_failed("opening", &path, error))?;
            if !take_lock(&*file).map_err(|error| open_failed("locking", &path, error))? {
                return Err(held(&self.dir, None));
            }
            self.lock_file = Some(file);
        }
        Ok(())
    }

    fn lock_seen(&self) -> Result<LockSeen, OpenError> {
        let path = self.dir.join(layout::LOCK);
        let failed = |error| open_failed("reading", &path, error);
        Ok(match &self.lock_file {
            None => LockSeen { record: None, len: 0, live: false },
            Some(file) => LockSeen {
                record: lock_record(&**file).map_err(failed)?,
                len: file.len().map_err(failed)?,
                live: false,
            },
        })
    }

    /// Copies what goes, writes what comes, and decides.
    fn prepare(&self) -> Result<Vec<Step>, OpenError> {
        let failed = |error| open_failed("keeping copies of the files of", &self.dir, error);
        let (mut steps, mut replaced) = (Vec::new(), Vec::new());
        let mut folders = vec![self.dir.clone()];
        let changed: Vec<(usize, PathBuf)> = self.changed().collect();
        replaced.extend(changed.iter().map(|(_, path)| path.clone()));
        replaced.extend(self.arranged.gone.iter().cloned());
        let indexes = if changed.is_empty() && self.arranged.gone.is_empty() { Vec::new() } else { self.indexes()? };
        replaced.extend(indexes.iter().cloned());
        replaced.extend(self.others.iter().map(|(path, _)| path.clone()));
        replaced.sort();
        replaced.dedup();
        replaced.retain(|path| self.is_there(path));
        let (number, _) = kept::keep(self.disk(), &self.dir, &replaced).map_err(failed)?;
        steps.push(Step::Kept(number));
        let mut record = self.record.filter(|_| self.lock_damaged);
        for (index, path) in &changed {
            let written = self.write_segment(*index, path)?;
            steps.push(Step::Replace(self.relative(path)));
            if index + 1 == self.arranged.places.len() {
                record = Some(self.lock_record(*index, written));
            }
        }
        let comes = |path: &PathBuf| changed.iter().any(|(_, other)| other == path);
        let goes = self.arranged.gone.iter().filter(|path| !comes(path)).chain(&indexes);
        steps.extend(goes.map(|path| Step::Remove(self.relative(path))));
        for (path, other) in &self.others {
            let relative = self.relative(path);
            match other {
                Other::Gone if indexes.contains(path) => {}
                Other::Gone => steps.push(Step::Remove(relative)),
                Other::Empty => steps.push(Step::Empty(relative)),
                Other::Bytes(bytes) => {
                    self.stage(path, bytes).map_err(|error| open_failed("writing", path, error))?;
                    steps.push(Step::Replace(relative));
                }
            }
            folders.extend(path.parent().map(Path::to_path_buf));
        }
        steps.extend(record.map(|record| Step::Lock(record.encode())));
        folders.sort();
        folders.dedup();
        for folder in &folders {
            self.disk().sync_dir(folder).map_err(|error| open_failed("syncing", folder, error))?;
        }
        let journal = self.dir.join(layout::REPAIR);
        // One that says nothing any more stands in the way of the new one, and goes with it.
        steps.retain(|step| *step != Step::Remove(layout::REPAIR.into()));
        journal::write(self.disk(), &self.dir, &steps).map_err(|error| open_failed("writing", &journal, error))?;
        Ok(steps)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).unwrap_or(path).to_path_buf()
    }

    /// The segments that are written anew, with their paths.
    fn changed(&self) -> impl Iterator<Item = (usize, PathBuf)> + '_ {
        let places = self.arranged.places.iter().enumerate().filter(|(_, place)| place.changed);
        places.map(|(index, place)| (index, layout::segment_path(&self.dir, place.base())))
    }

    /// Merged indexes: they are of the segments as they were.
    fn indexes(&self) -> Result<Vec<PathBuf>, OpenError> {
        let folder = self.dir.join(layout::INDEX);
        let entries = match self.disk().list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(open_failed("listing", &folder, error)),
        };
        let named = entries.iter().filter(|entry| IndexName::read(&entry.name).is_some() && !entry.is_dir);
        Ok(named.map(|entry| folder.join(&entry.name)).collect())
    }

    fn write_segment(&self, index: usize, path: &Path) -> Result<rebuild::Written, OpenError> {
        let carry = self.carry_into(&self.arranged.places, index)?;
        let Some(place) = self.arranged.places.get(index) else {
            return Err(open_failed("writing", path, std::io::ErrorKind::NotFound.into()));
        };
        let parts = Parts { place, carry };
        let file =
            self.disk().open(&staged(path), Mode::Truncate).map_err(|error| open_failed("writing", path, error))?;
        rebuild::write(&parts, &*file).map_err(|error| open_scan_failed(path, error, place.base(), place.end))
    }

    fn stage(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let file = self.disk().open(&staged(path), Mode::Truncate)?;
        file.write_all_at(bytes, 0)?;
        file.sync()
    }

    fn lock_record(&self, index: usize, written: rebuild::Written) -> LockRecord {
        LockRecord {
            sequence: self.record.map_or(0, |record| record.sequence) + 1,
            boot: self.env.boot,
            segment: self.arranged.places.get(index).map_or(0, Place::base),
            written_end: written.end,
            durable_end: written.end,
            durable_at: u32::try_from(written.end_at).unwrap_or(u32::MAX),
            pid: std::process::id(),
        }
    }

    /// Makes the merged indexes again. Without them only looking into the log is slower, so a failure is no matter:
    /// the log itself makes them too.
    fn index_again(&self, log: Option<LogId>) {
        let (Some(log), Ok(segments)) = (log, self.sealed()) else { return };
        let folder = self.dir.join(layout::INDEX);
        let find = || IndexSet::find(self.disk(), &folder, log, &segments, ReadMode::Pread, &IndexSet::default());
        while let Some(group) = index::due(&segments, &find(), &[]) {
            let made = index::write(self.disk(), &folder, log, group, ReadMode::Pread, &|| true);
            if !matches!(made, Ok(index::Build::Done)) || index::due(group, &find(), &[]).is_some() {
                tracing::warn!(folder = %folder.display(), ?made, "an index could not be made");
                return;
            }
        }
    }

    fn sealed(&self) -> Result<Vec<Arc<Segment>>, OpenError> {
        let listing = Listing::read(self.disk(), &self.dir)?.unwrap_or_default();
        let mut segments = Vec::new();
        for base in listing.segments {
            let path = layout::segment_path(&self.dir, base);
            let failed = |error| open_failed("reading", &path, error);
            let file = self.disk().open(&path, Mode::Read).map_err(failed)?;
            let header = read_header(&*file).map_err(|error| open_scan_failed(&path, error, base, base))?.header;
            let trailer = read_trailer(&*file, &header).map_err(failed)?;
            let segment = Segment::new(Arc::clone(&self.env.disk), path.clone(), header);
            let Some(trailer) = trailer else { break };
            segment.seal(trailer);
            segments.push(Arc::new(segment));
        }
        Ok(segments)
    }
}

fn torn_tail(torn: &verify::TornSeen) -> Anomaly {
    let doing = "none of it was acknowledged: opening the log cuts it and keeps it aside";
    let anomaly = Anomaly::of(AnomalyKind::TornTail, &torn.file, torn.why).bytes(torn.at, torn.to);
    anomaly.doing(doing).left_to_open()
}
