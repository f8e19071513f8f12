//! Reading and checking every byte of a log. Changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::consumer::Furthest;
use super::error::{Damage, OpenError};
use super::files::{
    Before, Ended, Listing, check_chain, damage, lock_record, open_failed, open_scan_failed, open_segment, take_lock,
};
use super::layout;
use super::lock::{self, LOCK_BYTES, LockRecord};
use super::repair::kept::{self, Wrong as WrongKept};
use super::torn;
use crate::batch::{BatchError, Header, Kind};
use crate::cursor::{
    CURSOR_FILE_BYTES, CURSORS, Cursors, Found as FoundSlot, GATE, Slots, UNFINISHED, is_one_byte_off,
};
use crate::disk::{DiskFile, Env, Mode, read_full_at};
use crate::handler::snapshot::{self, Wrong};
use crate::index::{self, Broken, IndexFile, IndexName, NAME_UNFINISHED};
use crate::planted::{Bug, planted};
use crate::segment::{
    Bytesource, Contents, Evidence, PAGE_BYTES, ReadMode, Scan, ScanError, Segment, SegmentHeader, Verdict, next_good,
    read_trailer, recover,
};
use crate::{LogId, Offset};

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Identity of the log, if any segment could say it.
    pub log_id: Option<LogId>,
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Good events.
    pub events: u64,
    /// Good batches.
    pub batches: u64,
    /// Bytes that are not what was written.
    pub damage: Vec<Damage>,
    /// What a kill or a power cut left behind and opening mends; it holds nothing acknowledged.
    pub notes: Vec<String>,
    /// Offsets that a repair gave up, as gaps say: first, and the one after the last.
    pub gaps: Vec<(Offset, Offset)>,
    pub(super) torn: Vec<TornSeen>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Reads every file of a log through and checks every byte: headers, batches, events, indexes against what
/// they index, padding, reserved fields and the unused rest. Beside a live writer it checks up to the end
/// seen at the start. Changes nothing. `progress` is told the bytes done and the bytes there are.
///
/// # Errors
/// When there is no log, when a file cannot be read, or when a newer program wrote it.
pub fn verify(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, OpenError> {
    verify_with(path, &Env::system(), progress)
}

/// [`verify`] on a disk of the caller's.
///
/// # Errors
/// See [`verify`].
pub fn verify_with(path: &Path, env: &Env, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, OpenError> {
    let mut writer = LockSeen::look(path, env)?;
    loop {
        let report = verify_beside(path, env, &writer, progress);
        let now = LockSeen::look(path, env)?;
        // Files that were taken to be at rest have changed under this: what was found may only be that.
        let came = !writer.live && (now.live || now.sequence() != writer.sequence());
        if !came || report.as_ref().is_ok_and(VerifyReport::is_sound) {
            return report;
        }
        writer = now;
    }
}

/// What the file `LOCK` says and whether it is held, at one moment.
pub(super) struct LockSeen {
    pub record: Option<LockRecord>,
    pub len: u64,
    pub live: bool,
}

/// A torn tail that opening would cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TornSeen {
    pub file: PathBuf,
    pub at: u64,
    pub to: u64,
    pub why: &'static str,
}

impl LockSeen {
    fn look(dir: &Path, env: &Env) -> Result<LockSeen, OpenError> {
        let path = dir.join(layout::LOCK);
        let file = match env.disk.open(&path, Mode::Read) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(LockSeen { record: None, len: 0, live: false });
            }
            Err(error) => return Err(open_failed("opening", &path, error)),
        };
        let failed = |error| open_failed("reading", &path, error);
        let record = lock_record(&*file).map_err(failed)?;
        let live = !take_lock(&*file).map_err(failed)?;
        Ok(LockSeen { record, len: file.len().map_err(failed)?, live })
    }

    fn sequence(&self) -> Option<u64> {
        self.record.map(|record| record.sequence)
    }
}

pub(super) fn verify_beside(
    dir: &Path,
    env: &Env,
    writer: &LockSeen,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, OpenError> {
    // After the record was read: what it says is durable is in the files that are seen now.
    let listing = Listing::read(&*env.disk, dir)?.ok_or_else(|| OpenError::NotFound { path: dir.to_path_buf() })?;
    let LockSeen { record, len, live } = *writer;
    let report = VerifyReport::default();
    let mut verifying = Verifying { dir, env, record, live, report, progress, total: 0, before: None };
    verifying.lock(len);
    if listing.repairing {
        let what = "a repair was interrupted before its end; `annals repair --apply` goes on with it, nothing is lost";
        verifying.damaged(&dir.join(layout::REPAIR), 0, 0, 0, what);
    }
    verifying.listing(&listing)?;
    verifying.torn()?;
    verifying.repaired()?;
    verifying.merged(&listing)?;
    verifying.cursors()?;
    verifying.snapshots()?;
    Ok(verifying.report)
}

struct Verifying<'v> {
    dir: &'v Path,
    env: &'v Env,
    record: Option<LockRecord>,
    live: bool,
    report: VerifyReport,
    progress: &'v mut dyn FnMut(u64, u64),
    total: u64,
    before: Option<Before>,
}

impl Verifying<'_> {
    fn note(&mut self, note: impl Into<String>) {
        self.report.notes.push(note.into());
    }

    fn damaged(&mut self, path: &Path, at: u64, first: u64, end: u64, what: impl Into<String>) {
        self.report.damage.push(damage(path, at, first, end, what));
    }

    /// Takes note of a batch that is good.
    fn good(&mut self, header: &Header) {
        self.report.batches += 1;
        match header.kind {
            Kind::Gap => {
                let (first, end) = (header.base_offset, header.end_offset());
                self.note(format!("events {first} to {end} (exclusive) were lost and given up by a repair"));
                self.report.gaps.push((Offset::from_raw(first), Offset::from_raw(end)));
            }
            _ => self.report.events += u64::from(header.record_count),
        }
    }

    fn read(&mut self, bytes: u64) {
        self.report.bytes += bytes;
        (self.progress)(self.report.bytes, self.total.max(self.report.bytes));
    }

    fn lock(&mut self, len: u64) {
        if len == 0 {
            return;
        }
        self.report.files += 1;
        self.read(len);
        if self.record.is_none() {
            self.note("the record in LOCK is not whole; opening does without it");
        } else if len > LOCK_BYTES as u64 {
            self.damaged(&self.dir.join(layout::LOCK), LOCK_BYTES as u64, 0, 0, "bytes are left behind the record");
        }
    }

    fn listing(&mut self, listing: &Listing) -> Result<(), OpenError> {
        for entry in &listing.foreign {
            self.note(format!("{} is not a file of the log", self.dir.join(&entry.name).display()));
        }
        // A live writer may be about to begin one.
        let unborn = if self.live { &[][..] } else { &listing.unborn };
        for name in unborn {
            let path = self.dir.join(name);
            self.note(format!("{} is a segment that was never begun; opening removes it", path.display()));
        }
        let Some(last) = listing.segments.last().copied() else {
            self.no_segments();
            return Ok(());
        };
        self.total = self.report.bytes;
        for base in &listing.segments {
            let path = layout::segment_path(self.dir, *base);
            let file = self.env.disk.open(&path, Mode::Read).map_err(|error| open_failed("opening", &path, error))?;
            self.total += file.len().map_err(|error| open_failed("reading", &path, error))?;
        }
        for (index, base) in listing.segments.iter().enumerate() {
            self.segment(*base, listing.segments.get(index + 1).copied())?;
        }
        if let Some(record) = self.record.filter(|record| record.segment > last) {
            let path = layout::segment_path(self.dir, record.segment);
            self.damaged(&path, 0, record.segment, record.durable_end, "LOCK names this segment, which is missing");
        }
        Ok(())
    }

    fn no_segments(&mut self) {
        match self.record {
            Some(record) if record.durable_end > 0 => {
                let path = layout::segment_path(self.dir, record.segment);
                self.damaged(&path, 0, 0, record.durable_end, "LOCK names this segment, which is missing");
            }
            // An empty directory too: a kill may have come right after it was made.
            _ => self.note("there is no event yet, and the log was not made completely; opening makes it"),
        }
    }

    fn segment(&mut self, base: u64, next: Option<u64>) -> Result<(), OpenError> {
        self.report.files += 1;
        let end = next.unwrap_or(base);
        let found = match open_segment(&*self.env.disk, self.dir, base, next, Mode::Read) {
            Ok(found) => found,
            Err(OpenError::Damaged(damage)) => {
                self.report.damage.push(damage);
                self.before = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let header = found.header.header;
        if !found.header.page_is_whole {
            self.damaged(
                &found.path,
                0,
                base,
                base,
                "the first page is not what was written; one good copy of it is left",
            );
        }
        // Behind a segment that could not be read only the log's identity is left to hold this one against.
        let chained = match (self.before, self.report.log_id) {
            (None, Some(log)) if log == header.log_id => Ok(()),
            (None, Some(_)) => Err("it belongs to another log"),
            (before, _) => check_chain(before.as_ref(), &header),
        };
        if let Err(what) = chained {
            let from = self.before.map_or(0, |before| before.end().min(base));
            self.damaged(&found.path, 0, from, base, what);
        }
        self.report.log_id.get_or_insert(header.log_id);
        let len = found.file.len().map_err(|error| open_failed("reading", &found.path, error))?;
        match next {
            Some(next) => self.full(&found.path, &found.file, &header, len, next)?,
            None if planted(Bug::LastFileUnverified) => {}
            None => self.active(&found.path, &found.file, &header, len, end)?,
        }
        Ok(())
    }

    /// A segment that takes no more batches.
    fn full(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        header: &SegmentHeader,
        len: u64,
        next: u64,
    ) -> Result<(), OpenError> {
        let io = |error| open_failed("reading", path, error);
        let trailer = read_trailer(&**file, header).map_err(io)?;
        let to = trailer.map_or(len, |trailer| trailer.footer_at.into());
        let source = match trailer {
            Some(_) => Bytesource::Map(file.map().map_err(io)?),
            None => Bytesource::File(Arc::clone(file)),
        };
        self.read(PAGE_BYTES as u64);
        let mut contents = Contents::new(header);
        let mut scan = Scan::new(source.clone(), *header, PAGE_BYTES as u64, to, Some(header.base.raw()));
        let mut whole = true;
        loop {
            let expected = scan.next_offset().unwrap_or(next);
            match scan.next() {
                Ok(Some(batch)) if batch.header.kind == Kind::Footer => break,
                Ok(Some(batch)) => {
                    let (at, len, events) = (batch.at, batch.header.batch_len(), batch.header.record_count);
                    let header = batch.header.clone();
                    match contents.batch(batch) {
                        Ok(()) => self.good(&header),
                        Err(ScanError::Batch { error: BatchError::Corrupt(what), .. }) => {
                            whole = false;
                            self.damaged(path, at, expected, expected + u64::from(events), what);
                        }
                        Err(error) => return Err(open_scan_failed(path, error, expected, next)),
                    }
                    self.read(len as u64);
                }
                Ok(None) => break,
                Err(ScanError::Batch { at, error: BatchError::Corrupt(what) }) => {
                    if expected >= next && trailer.is_none() {
                        break;
                    }
                    whole = false;
                    let good = next_good(&**file, header, at + 1).map_err(io)?.filter(|(at, _)| *at < to);
                    self.damaged(path, at, expected, good.map_or(next, |(_, base)| base.min(next)), what);
                    let Some((good_at, base)) = good else { break };
                    self.read(good_at - at);
                    scan = Scan::new(source.clone(), *header, good_at, to, Some(base));
                }
                Err(error) => return Err(open_scan_failed(path, error, expected, next)),
            }
        }
        self.before = Some(Before::of(header, None));
        if !whole {
            return Ok(());
        }
        let (end, end_at, last_crc) = (contents.end(), contents.end_at(), contents.last_crc());
        self.before = Some(Before { header: *header, ended: Some(Ended { end, last_crc }) });
        if end != next {
            let what = "the segment ends before the next one begins";
            self.damaged(path, end_at, end, next, what);
        }
        if self.live && trailer.is_none() {
            // The writer is about to put its indexes there.
            return Ok(());
        }
        let (expected, _) = contents.finish();
        self.end_of_full(path, file, len, end_at, &expected)
    }

    /// What stands behind the batches of a segment that takes no more: its footer and trailer, byte for byte.
    fn end_of_full(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        len: u64,
        end_at: u64,
        expected: &[u8],
    ) -> Result<(), OpenError> {
        let mut stored = vec![0; expected.len()];
        let read = read_full_at(&**file, &mut stored, end_at).map_err(|error| open_failed("reading", path, error))?;
        stored.truncate(read);
        self.read(read as u64);
        // The space of a segment that has no indexes yet may end just where they will.
        if len != end_at + expected.len() as u64 || stored.iter().all(|byte| *byte == 0) {
            self.note(format!("{} has no indexes yet; opening the log makes them", path.display()));
            return Ok(());
        }
        if let Some(at) = stored.iter().zip(expected).position(|(stored, expected)| stored != expected) {
            let end = self.before.map_or(0, |before| before.end());
            let what = "the indexes are not those of the events before them; no event is affected";
            self.damaged(path, end_at + at as u64, end, end, what);
        }
        Ok(())
    }

    /// The segment that is written.
    fn active(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        header: &SegmentHeader,
        len: u64,
        end: u64,
    ) -> Result<(), OpenError> {
        let base = header.base.raw();
        let failed = |error| open_scan_failed(path, error, base, end);
        if self.live {
            return self.beside_writer(path, file, header);
        }
        if let Some(trailer) = read_trailer(&**file, header).map_err(|error| open_failed("reading", path, error))? {
            let what = "the segment behind it is missing";
            self.damaged(path, u64::from(trailer.footer_at), trailer.end, trailer.end, what);
            return Ok(());
        }
        let evidence = lock::evidence(self.record, base, self.env.boot);
        let cursors = Furthest::of(&*self.env.disk, self.dir, header.log_id);
        let cursors = cursors.map_err(|error| open_failed("reading the cursors of", self.dir, error))?;
        let furthest = cursors.as_ref().map_or(0, |cursor| cursor.next);
        let evidence = Evidence { durable_end: evidence.durable_end.max(furthest), ..evidence };
        let mut contents = Contents::new(header);
        let mut batches = 0;
        let tail = recover(file, header, evidence, |batch| {
            let (at, header) = (batch.at, batch.header.clone());
            if header.kind == Kind::Footer {
                let what = BatchError::Corrupt("a footer stands in the segment that is written");
                return Err(ScanError::Batch { at, error: what });
            }
            contents.batch(batch)?;
            batches += 1;
            self.good(&header);
            Ok(())
        });
        let tail = match tail {
            Ok(tail) => tail,
            Err(ScanError::Batch { at, error: BatchError::Corrupt(what) }) => {
                self.damaged(path, at, contents.end(), evidence.durable_end, what);
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        self.read(len);
        match tail.verdict {
            Verdict::Damaged { what, end } => {
                let cursor = cursors.filter(|cursor| cursor.next > tail.end).map(|cursor| cursor.says());
                self.damaged(path, tail.end_at, tail.end, end, format!("{what}{}", cursor.unwrap_or_default()));
            }
            Verdict::Clean | Verdict::Torn { .. } if batches == 0 => {
                self.damaged(path, tail.end_at, base, tail.end, "the carry batch is not whole");
            }
            Verdict::Clean => {}
            Verdict::Torn { to, why } => {
                let bytes = to - tail.end_at;
                let at = tail.end_at;
                self.report.torn.push(TornSeen { file: path.to_path_buf(), at, to, why });
                let path = path.display();
                self.note(format!(
                    "{path} ends with {bytes} bytes at {at} of an interrupted write ({why}); none of it was acknowledged, opening cuts it and keeps it aside"
                ));
            }
        }
        Ok(())
    }

    /// The segment that a live writer writes: what was durable when `LOCK` was read. What is behind it changes
    /// while it is looked at.
    fn beside_writer(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        header: &SegmentHeader,
    ) -> Result<(), OpenError> {
        let base = header.base.raw();
        // A newer one than the record's was empty then.
        let record = self.record.filter(|record| record.segment == base);
        let (end, end_at) = record.map_or((base, PAGE_BYTES as u64), |r| (r.durable_end, r.durable_at.into()));
        let mut scan = Scan::new(Bytesource::File(Arc::clone(file)), *header, PAGE_BYTES as u64, end_at, Some(base));
        let mut contents = Contents::new(header);
        self.read(end_at);
        loop {
            let expected = contents.end();
            let checked = scan.next().and_then(|batch| match batch {
                Some(batch) => {
                    let header = batch.header.clone();
                    contents.batch(batch).map(|()| Some(header))
                }
                None => Ok(None),
            });
            match checked {
                Ok(Some(header)) => self.good(&header),
                Ok(None) => break,
                Err(ScanError::Batch { at, error: BatchError::Corrupt(what) }) => {
                    self.damaged(path, at, expected, end, what);
                    return Ok(());
                }
                Err(error) => return Err(open_scan_failed(path, error, expected, end)),
            }
        }
        if contents.end() != end {
            self.damaged(path, contents.end_at(), contents.end(), end, "the segment ends before its events do");
        }
        Ok(())
    }

    /// Merged indexes, held against the indexes of their segments.
    fn merged(&mut self, listing: &Listing) -> Result<(), OpenError> {
        let folder = self.dir.join(layout::INDEX);
        let entries = match self.env.disk.list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(open_failed("listing", &folder, error)),
        };
        for entry in entries {
            let path = folder.join(&entry.name);
            if IndexName::read(&entry.name).is_some() && !entry.is_dir {
                self.index(&path, entry.len, listing)?;
            } else if !entry.name.ends_with(NAME_UNFINISHED) {
                self.note(format!("{} is not a file of the log", path.display()));
            } else if !self.live {
                self.note(format!("{} is an unfinished index; the log makes it again", path.display()));
            }
        }
        Ok(())
    }

    fn index(&mut self, path: &Path, len: u64, listing: &Listing) -> Result<(), OpenError> {
        self.report.files += 1;
        self.read(len);
        let wrong = |broken: Broken| match broken {
            Broken::Io(error) => Err(open_failed("reading", path, error)),
            Broken::Damaged(at, what) => Ok((at, format!("{what}; no event is affected, the index can be removed"))),
        };
        let index = match IndexFile::open(&*self.env.disk, path, ReadMode::Map) {
            Ok(index) => index,
            // Another index took its place.
            Err(Broken::Io(error)) if error.kind() == std::io::ErrorKind::NotFound && self.live => return Ok(()),
            Err(broken) => {
                let (at, what) = wrong(broken)?;
                self.damaged(path, at, 0, 0, what);
                return Ok(());
            }
        };
        let (first, end) = index.range();
        if self.live && listing.segments.last().is_none_or(|last| end > *last) {
            // Of segments that were not there, or not sealed, at the start.
            return Ok(());
        }
        let mut segments = Vec::new();
        for base in listing.segments.iter().filter(|base| (first..end).contains(base)) {
            segments.extend(self.sealed(*base)?);
        }
        if index.is_named(path) && index.is_of(index.log, &segments) && self.report.log_id == Some(index.log) {
            match index::check(&index, &segments, ReadMode::Map) {
                Ok(None) => {}
                Ok(Some(broken)) => {
                    let (at, what) = wrong(broken)?;
                    self.damaged(path, at, first, first, what);
                }
                // Damaged indexes of segments were told of already.
                Err(ScanError::Batch { .. }) => self.note(format!("{} could not be checked", path.display())),
                Err(error) => return Err(open_scan_failed(path, error, first, end)),
            }
        } else {
            self.note(format!("{} is an index of other segments than these; it is not used", path.display()));
        }
        Ok(())
    }

    /// A segment with its indexes; `None` when it has none, or cannot be read.
    fn sealed(&self, base: u64) -> Result<Option<Arc<Segment>>, OpenError> {
        let found = match open_segment(&*self.env.disk, self.dir, base, None, Mode::Read) {
            Ok(found) => found,
            Err(OpenError::Damaged(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let segment = Segment::new(Arc::clone(&self.env.disk), found.path, found.header.header);
        let trailer = read_trailer(&*found.file, &segment.header);
        let trailer = trailer.map_err(|error| open_failed("reading", &segment.path, error))?;
        Ok(trailer.map(|trailer| {
            segment.seal(trailer);
            Arc::new(segment)
        }))
    }

    /// The files of consumers. No event is affected by what is wrong with them.
    fn cursors(&mut self) -> Result<(), OpenError> {
        let cursors = Cursors::of(&*self.env.disk, self.dir);
        let folder = self.dir.join(CURSORS);
        let (paths, others) = cursors.list().map_err(|error| open_failed("listing", &folder, error))?;
        for path in others {
            let is_unfinished = path.extension().is_some_and(|ending| ending == UNFINISHED);
            let what = if is_unfinished { "a cursor that was never begun" } else { "not a file of the log" };
            self.note(format!("{} is {what}", path.display()));
        }
        let gate = folder.join(GATE);
        match self.env.disk.open(&gate, Mode::Read).and_then(|file| file.len()) {
            Ok(0) => {}
            Ok(_) => self.damaged(&gate, 0, 0, 0, "it is not empty as it should be"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(open_failed("reading", &gate, error)),
        }
        for path in paths {
            match cursors.read(&path) {
                Ok(slots) => self.cursor(&cursors, &path, &slots),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {} // removed since
                Err(error) => return Err(open_failed("reading", &path, error)),
            }
        }
        Ok(())
    }

    fn cursor(&mut self, cursors: &Cursors<'_>, path: &Path, slots: &Slots) {
        self.report.files += 1;
        self.read(slots.len);
        if slots.len != CURSOR_FILE_BYTES as u64 {
            self.damaged(path, slots.len, 0, 0, "the file of a cursor has another length; no event is affected");
        }
        let Some((_, newest)) = slots.newest() else {
            let what = "neither slot of the cursor is what was written; no event is affected";
            return self.damaged(path, 0, 0, 0, what);
        };
        for (at, found) in slots.found.iter().enumerate() {
            let at = (at * CURSOR_FILE_BYTES / 2) as u64;
            match found {
                FoundSlot::Good(_) => {}
                FoundSlot::Zero if newest.sequence == 1 => {}
                FoundSlot::Bad(bytes) if !is_one_byte_off(bytes) => {
                    let path = path.display();
                    self.note(format!("a commit of {path} was interrupted; the one before it counts"));
                }
                FoundSlot::Zero | FoundSlot::Bad(_) => {
                    let what =
                        "a slot of the cursor is not what was written, the other one is used; no event is affected";
                    self.damaged(path, at, 0, 0, what);
                }
            }
        }
        match self.report.log_id {
            Some(log) if log != newest.log => {
                self.note(format!("{} is the cursor of another log, {}", path.display(), newest.log));
            }
            Some(log) if cursors.path(log, &newest.name) != path => {
                let what = format!(
                    "it holds the cursor of consumer {:?}, whose file this is not; no event is affected",
                    newest.name
                );
                self.damaged(path, 0, 0, 0, what);
            }
            _ => {}
        }
    }

    /// Snapshots of handlers' states. No event is affected by what is wrong with them.
    fn snapshots(&mut self) -> Result<(), OpenError> {
        let mut sizes = Vec::new();
        let read = |bytes| sizes.push(bytes);
        let wrong = snapshot::check_all(&*self.env.disk, self.dir, self.report.log_id, self.live, read)?;
        self.report.files += sizes.len() as u64;
        sizes.into_iter().for_each(|bytes| self.read(bytes));
        for wrong in wrong {
            match wrong {
                Wrong::Note(note) => self.note(note),
                Wrong::Damaged { path, at, what } => {
                    let what = format!("{what}; no event and no state is affected, the snapshot can be removed");
                    self.damaged(&path, at, 0, 0, what);
                }
            }
        }
        Ok(())
    }

    /// What was cut off earlier.
    fn torn(&mut self) -> Result<(), OpenError> {
        let folder = self.dir.join(layout::TORN);
        let entries = match self.env.disk.list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(open_failed("listing", &folder, error)),
        };
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            let path = folder.join(&entry.name);
            let failed = |error| open_failed("reading", &path, error);
            let file = self.env.disk.open(&path, Mode::Read).map_err(failed)?;
            self.report.files += 1;
            let whole = torn::is_whole(&*file, |bytes| self.read(bytes)).map_err(failed)?;
            if entry.name.ends_with(torn::UNFINISHED) {
                self.note(format!("{} is an unfinished copy of a torn tail", path.display()));
            } else if !whole {
                self.damaged(
                    &path,
                    0,
                    0,
                    0,
                    "what was kept of a torn tail is not what was put there; no event is affected",
                );
            }
        }
        Ok(())
    }

    /// What earlier repairs have kept.
    fn repaired(&mut self) -> Result<(), OpenError> {
        let failed = |error| open_failed("reading what repairs kept in", self.dir, error);
        for (_, folder) in kept::folders(&*self.env.disk, self.dir).map_err(failed)? {
            let mut sizes = Vec::new();
            let wrong = kept::check(&*self.env.disk, &folder, |bytes| sizes.push(bytes)).map_err(failed)?;
            self.report.files += sizes.len() as u64;
            sizes.into_iter().for_each(|bytes| self.read(bytes));
            for wrong in wrong {
                match wrong {
                    WrongKept::Unfinished => {
                        self.note(format!("{} are copies of a repair that was not begun", folder.display()));
                    }
                    WrongKept::NotAsKept(path) => {
                        let what = "what a repair kept is not what was put there; no event is affected";
                        self.damaged(&path, 0, 0, 0, what);
                    }
                }
            }
        }
        Ok(())
    }
}
