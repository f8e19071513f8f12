//! Opening a log for writing: lock it, hold its files against each other, mend what a kill left behind,
//! refuse what is damaged.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::commit::Io;
use super::consumer::Furthest;
use super::error::OpenError;
use super::files::{
    Before, Found, Listing, check_chain, damaged, lock_record, open_failed, open_scan_failed, open_segment, take_lock,
};
use super::fill::Fill;
use super::gaps::Gaps;
use super::layout::{self, segment_path, unborn_path};
use super::lock::{self, LockRecord};
use super::options::Options;
use super::own::carry_on;
use super::plan::{Plan, new_salt};
use super::shared::Shared;
use super::streams::Streams;
use super::torn;
use crate::batch::{BATCH_ALIGN, BatchError, HEADER_BYTES, Kind, Previous, checked_body, control_batch};
use crate::disk::{DiskFile, Env, Mode};
use crate::limits::SEGMENT_BYTES_FIRST;
use crate::planted::{Bug, planted};
use crate::segment::{
    Bytesource, Carry, Contents, Evidence, PAGE_BYTES, RawBatch, Scan, ScanError, Segment, SegmentHeader, Tail,
    Trailer, Verdict, read_trailer, recover, write_end,
};
use crate::{LogId, Offset, TailEpoch};

/// What opening found and mended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// Whether the log was made by this open.
    pub created: bool,
    /// What was cut from the end: bytes that were never acknowledged.
    pub torn: Option<TornTail>,
    /// Segments that got their indexes now, because the last writer was ended before it could make them.
    pub sealed: usize,
    /// What else is worth knowing, as sentences.
    pub notes: Vec<String>,
}

/// Bytes at the end of a log that an interrupted write left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The segment's file.
    pub file: PathBuf,
    /// Where in it the good batches end.
    pub at: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// Where they are kept.
    pub kept: PathBuf,
    /// What is wrong with them.
    pub why: String,
}

/// Opens a log, or makes it.
pub(super) fn open(dir: &Path, options: Options) -> Result<(Arc<Shared>, OpenReport), OpenError> {
    let env = options.env.clone();
    let disk = &*env.disk;
    let listing = Listing::read(disk, dir)?;
    if !options.create && listing.as_ref().is_none_or(|listing| listing.segments.is_empty()) {
        return Err(OpenError::NotFound { path: dir.to_path_buf() });
    }
    disk.create_dir(dir).map_err(|error| open_failed("making", dir, error))?;
    let lock_path = dir.join(layout::LOCK);
    let lock_file = disk.open(&lock_path, Mode::Create).map_err(|error| open_failed("opening", &lock_path, error))?;
    let locked = take_lock(&*lock_file).map_err(|error| open_failed("locking", &lock_path, error))?;
    let record = lock_record(&*lock_file).map_err(|error| open_failed("reading", &lock_path, error))?;
    if !locked {
        let pid = record.map(|record| record.pid);
        return Err(OpenError::Held { path: dir.to_path_buf(), pid, command: pid.and_then(command_of) });
    }
    // Again: another process may have made the log before the lock was ours.
    let listing = Listing::read(disk, dir)?.unwrap_or_default();
    listing.check_repaired(dir)?;
    let mut report = OpenReport::default();
    if record.is_none() && lock_file.len().is_ok_and(|len| len > 0) {
        report.notes.push("the record in LOCK is not whole; it was not used".to_owned());
    }
    for name in &listing.unborn {
        let path = dir.join(name);
        disk.remove(&path).map_err(|error| open_failed("removing", &path, error))?;
    }
    let mut opening =
        Opening { dir, options, record, lock_file, report, before: None, segments: Vec::new(), gaps: Gaps::default() };
    let last = match listing.segments.split_last() {
        None => opening.create()?,
        Some((last, sealed)) => {
            let mut bases = listing.segments.iter().copied().skip(1);
            for base in sealed {
                opening.sealed(*base, bases.next().unwrap_or(*base))?;
            }
            opening.last(*last)?
        }
    };
    opening.finish(last)
}

/// The identity of a new log: a version 4 UUID, so that other tools take it for one.
pub(super) fn new_log_id(env: &Env) -> LogId {
    let id = (u128::from(env.random.next_u64()) << 64) | u128::from(env.random.next_u64());
    LogId::from_raw((id & !(0xf000 << 64) & !(0xc000 << 48)) | (0x4000 << 64) | (0x8000 << 48))
}

pub(super) fn command_of(pid: u32) -> Option<String> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).chars().filter(|c| !c.is_control()).collect())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

struct Opening<'d> {
    dir: &'d Path,
    options: Options,
    record: Option<LockRecord>,
    lock_file: Arc<dyn DiskFile>,
    report: OpenReport,
    before: Option<Before>,
    segments: Vec<Arc<Segment>>,
    gaps: Gaps,
}

/// The active segment, read through.
struct Last {
    file: Arc<dyn DiskFile>,
    segment: Arc<Segment>,
    end: u64,
    end_at: u64,
    previous: Previous,
    found: FoundState,
}

/// What the batches of the active segment tell the writer.
struct FoundState {
    streams: Streams,
    carry: Option<Carry>,
    recorded_us: i64,
    tail_epoch: u32,
    last_kind: Kind,
    last_at: u64,
    /// The largest durable end that a batch knew of, and the byte position up to which it speaks.
    hint: u64,
    durable_at: u64,
    /// Batches that no hint covers yet: offset and byte position behind each.
    unhinted: VecDeque<(u64, u64)>,
}

impl FoundState {
    fn new(header: &SegmentHeader) -> Self {
        FoundState {
            streams: Streams::default(),
            carry: None,
            recorded_us: 0,
            tail_epoch: header.tail_epoch.raw(),
            last_kind: Kind::Carry,
            last_at: PAGE_BYTES as u64,
            hint: 0,
            durable_at: PAGE_BYTES as u64,
            unhinted: VecDeque::new(),
        }
    }

    /// Takes note of what a batch says of those before it.
    fn hint(&mut self, batch: &RawBatch) {
        if batch.header.kind == Kind::CloseMark {
            self.durable_at = batch.at;
            self.unhinted.clear();
        }
        self.hint = self.hint.max(batch.header.durable_hint);
        // A hint is about events: of a mark, which takes no offset, it does not say that its bytes are durable.
        if batch.header.record_count > 0 {
            self.unhinted.push_back((batch.header.end_offset(), batch.next_at()));
        }
        while let Some((_, at)) = self.unhinted.pop_front_if(|(end, _)| *end <= self.hint) {
            self.durable_at = at;
        }
    }

    fn batch(&mut self, header: &SegmentHeader, batch: RawBatch) -> Result<(), ScanError> {
        let at = batch.at;
        let bad = |what| ScanError::Batch { at, error: BatchError::Corrupt(what) };
        self.recorded_us = self.recorded_us.max(batch.header.recorded_last_us());
        self.tail_epoch = self.tail_epoch.max(batch.header.tail_epoch);
        (self.last_kind, self.last_at) = (batch.header.kind, at);
        self.hint(&batch);
        match (batch.header.kind, &mut self.carry) {
            (Kind::Carry, None) => {
                let payload = checked_body(&batch.header, batch.stored, header.salt)
                    .map_err(|error| ScanError::Batch { at, error })?;
                let payload = payload.get(..batch.header.records_len).unwrap_or_default();
                self.carry = Some(Carry::decode(payload).map_err(|error| ScanError::Batch { at, error })?);
            }
            (Kind::Events | Kind::System, Some(carry)) => {
                let batch = batch.decode(header.salt)?;
                if !planted(Bug::VersionsForgotten) {
                    self.streams.take_note(header.log_id, &batch);
                }
                carry_on(carry, &batch);
            }
            (Kind::Mark | Kind::CloseMark | Kind::Gap, Some(_)) => {}
            (Kind::Footer, Some(_)) => return Err(bad("a footer stands in the segment that is written")),
            (Kind::Carry, Some(_)) => return Err(bad("a second carry batch stands in the segment")),
            (_, None) => return Err(bad("the segment does not start with a carry batch")),
        }
        Ok(())
    }
}

impl Opening<'_> {
    fn disk(&self) -> &dyn crate::disk::Disk {
        &*self.options.env.disk
    }

    /// Takes a segment that has another one behind it.
    fn sealed(&mut self, base: u64, next_base: u64) -> Result<(), OpenError> {
        let found = open_segment(self.disk(), self.dir, base, Some(next_base), Mode::Read)?;
        let header = self.check(&found, next_base)?;
        let trailer =
            read_trailer(&*found.file, &header).map_err(|error| open_failed("reading", &found.path, error))?;
        let trailer = match trailer {
            Some(trailer) if trailer.end == next_base => trailer,
            Some(trailer) => {
                let what = "the segment behind it is missing";
                return Err(damaged(&found.path, u64::from(trailer.footer_at), trailer.end, next_base, what));
            }
            None => {
                let next = open_segment(self.disk(), self.dir, next_base, None, Mode::Read)?;
                self.seal_now(&found.path, &header, next.header.header)?
            }
        };
        self.gaps.sealed(&found.path, &found.file, &header, &trailer)?;
        let segment = Segment::new(Arc::clone(&self.options.env.disk), found.path, header);
        segment.seal(trailer);
        self.before = Some(Before::of(&header, Some(&trailer)));
        self.segments.push(Arc::new(segment));
        Ok(())
    }

    /// Checks a header against the segment before.
    fn check(&mut self, found: &Found, end: u64) -> Result<SegmentHeader, OpenError> {
        let header = found.header.header;
        if let Err(what) = check_chain(self.before.as_ref(), &header) {
            let (first, end) = match self.before {
                Some(before) if before.end() != header.base.raw() => (before.end(), header.base.raw()),
                None => (0, header.base.raw()),
                _ => (header.base.raw(), end),
            };
            return Err(damaged(&found.path, 0, first, end, what));
        }
        if header.read_only {
            let what = "it uses features that this program can read but not write".to_owned();
            return Err(OpenError::Unsupported { path: found.path.clone(), what });
        }
        if !found.header.page_is_whole {
            let file = found.path.display();
            self.report.notes.push(format!("one of the two copies of the header of {file} is damaged"));
        }
        Ok(header)
    }

    /// Gives a segment its footer and trailer, which its writer could not.
    fn seal_now(&mut self, path: &Path, header: &SegmentHeader, next: SegmentHeader) -> Result<Trailer, OpenError> {
        let next_base = next.base.raw();
        let file = self.disk().open(path, Mode::Write).map_err(|error| open_failed("opening", path, error))?;
        let len = file.len().map_err(|error| open_failed("reading", path, error))?;
        let source = Bytesource::File(Arc::clone(&file));
        let mut scan = Scan::new(source, *header, PAGE_BYTES as u64, len, Some(header.base.raw()));
        let mut contents = Contents::new(header);
        let why = loop {
            match scan.next() {
                // What was written of an earlier footer.
                Ok(Some(batch)) if batch.header.kind == Kind::Footer => break "the segment ends early",
                Ok(Some(batch)) => {
                    let end = contents.end();
                    contents.batch(batch).map_err(|error| open_scan_failed(path, error, end, next_base))?;
                }
                Ok(None) => break "the segment ends early",
                Err(ScanError::Batch { error: BatchError::Corrupt(what), .. }) => break what,
                Err(error) => return Err(open_scan_failed(path, error, contents.end(), next_base)),
            }
        };
        // Marks may follow the last event, so that the checksum has to be the right one too.
        if contents.end() != next_base || contents.last_crc() != next.previous_crc {
            return Err(damaged(path, contents.end_at(), contents.end(), next_base, why));
        }
        // A footer says that a segment follows: its name has to be durable first. The writer may have ended before.
        self.disk().sync_dir(self.dir).map_err(|error| open_failed("syncing", self.dir, error))?;
        self.report.sealed += 1;
        write_end(&file, contents).map_err(|error| open_scan_failed(path, error, next_base, next_base))
    }

    /// Takes the segment that is written.
    fn last(&mut self, base: u64) -> Result<Last, OpenError> {
        let found = open_segment(self.disk(), self.dir, base, None, Mode::Write)?;
        self.lock_segment(&*found.file, &found.path)?;
        let mut evidence = self.evidence(&found.path, base)?;
        let cursors = Furthest::of(self.disk(), self.dir, found.header.header.log_id);
        let cursors = cursors.map_err(|error| open_failed("reading the cursors of", self.dir, error))?;
        evidence.durable_end = evidence.durable_end.max(cursors.as_ref().map_or(0, |cursor| cursor.next));
        let header = self.check(&found, evidence.durable_end.max(base))?;
        let trailer =
            read_trailer(&*found.file, &header).map_err(|error| open_failed("reading", &found.path, error))?;
        if let Some(trailer) = trailer {
            let what = "the segment behind it is missing";
            return Err(damaged(&found.path, u64::from(trailer.footer_at), trailer.end, trailer.end, what));
        }
        let segment = Arc::new(Segment::new(Arc::clone(&self.options.env.disk), found.path, header));
        let mut state = FoundState::new(&header);
        let gaps = &mut self.gaps;
        let tail = recover(&found.file, &header, evidence, |batch| {
            gaps.note(&batch.header);
            segment.note(&batch.header, batch.at);
            state.batch(&header, batch)
        });
        self.note_earlier_cut(&segment, &state)?;
        let path = &segment.path;
        let mut tail = tail.map_err(|error| open_scan_failed(path, error, base, evidence.durable_end.max(base)))?;
        match &tail.verdict {
            Verdict::Damaged { what, end } => {
                let cursor = cursors.filter(|cursor| cursor.next > tail.end).map(|cursor| cursor.says());
                let what = format!("{what}{}", cursor.unwrap_or_default());
                return Err(damaged(path, tail.end_at, tail.end, *end, what));
            }
            // The head of a segment was durable before the segment got its name.
            Verdict::Clean | Verdict::Torn { .. } if state.carry.is_none() => {
                return Err(damaged(path, tail.end_at, base, tail.end, "the carry batch is not whole"));
            }
            Verdict::Clean => {}
            Verdict::Torn { to, .. } if planted(Bug::AppendBehindTorn) => {
                tail.end_at = to.next_multiple_of(BATCH_ALIGN as u64);
            }
            Verdict::Torn { to, why } => self.cut(&segment, &found.file, &tail, *to, why)?,
        }
        let Tail { end, end_at, previous, .. } = tail;
        let mut last = Last { file: found.file, segment, end, end_at, previous, found: state };
        if self.report.torn.is_some() {
            self.begin_epoch(&mut last)?;
        }
        Ok(last)
    }

    /// Locks the file that batches are written to as well: should somebody delete `LOCK`, the next one who makes it
    /// anew does not become a second writer.
    fn lock_segment(&self, file: &dyn DiskFile, path: &Path) -> Result<(), OpenError> {
        if take_lock(file).map_err(|error| open_failed("locking", path, error))? {
            return Ok(());
        }
        let pid = self.record.map(|record| record.pid);
        Err(OpenError::Held { path: self.dir.to_path_buf(), pid, command: pid.and_then(command_of) })
    }

    /// What `LOCK` says about the active segment.
    fn evidence(&self, path: &Path, base: u64) -> Result<Evidence, OpenError> {
        if let Some(record) = self.record.filter(|record| record.segment > base) {
            let what = "LOCK names a later segment, which is missing";
            return Err(damaged(path, 0, record.segment, record.durable_end, what));
        }
        Ok(lock::evidence(self.record, base, self.options.env.boot))
    }

    /// Keeps a torn tail aside and takes it from the segment.
    fn cut(
        &mut self,
        segment: &Segment,
        file: &Arc<dyn DiskFile>,
        tail: &Tail,
        to: u64,
        why: &str,
    ) -> Result<(), OpenError> {
        let path = &segment.path;
        let failed = |error| open_failed("cutting the torn tail of", path, error);
        let kept = match planted(Bug::TornNotKept) {
            true => self.dir.join(layout::TORN),
            false => torn::keep(self.disk(), self.dir, segment, &**file, tail, to).map_err(failed)?,
        };
        let bytes = to - tail.end_at;
        tracing::warn!(file = %path.display(), at = tail.end_at, bytes, kept = %kept.display(), why, "cut a torn tail");
        let (file, at, why) = (path.clone(), tail.end_at, why.to_owned());
        self.report.torn = Some(TornTail { file, at, bytes, kept, why });
        Ok(())
    }

    /// An open that cut a torn tail and then failed has told nobody of it. The next one does, as long as nothing stands
    /// behind the mark that it left.
    fn note_earlier_cut(&mut self, segment: &Segment, found: &FoundState) -> Result<(), OpenError> {
        if found.last_kind != Kind::Mark {
            return Ok(());
        }
        let kept = torn::kept_of(self.disk(), self.dir, segment.base(), found.last_at);
        let kept = kept.map_err(|error| open_failed("listing", &self.dir.join(layout::TORN), error))?;
        for kept in kept {
            let (file, at, kept) = (segment.path.display(), found.last_at, kept.display());
            let what = "nothing was appended since; what was cut is kept in";
            self.report.notes.push(format!("an earlier open cut a torn tail of {file} at byte {at}, {what} {kept}"));
        }
        Ok(())
    }

    /// Says in the log itself that its tail was cut, by a mark in its place: cursors into what was cut are then
    /// known. The mark is durable before anything is cut: an end in between finds a torn tail again, and never
    /// a cut without its epoch.
    fn begin_epoch(&mut self, last: &mut Last) -> Result<(), OpenError> {
        let path = &last.segment.path;
        let failed = |error| open_failed("marking", path, error);
        last.found.tail_epoch = TailEpoch::from_raw(last.found.tail_epoch).next().raw();
        let mut mark = control_batch(Kind::Mark, last.end, 0, last.found.recorded_us, last.found.tail_epoch, &[]);
        let salt = last.segment.header.salt;
        // What is kept is not known to be durable before it was synced: the mark must not say so.
        last.previous = mark.seal(salt, last.end_at, last.previous, last.found.hint);
        last.file.write_all_at(&mark.bytes, last.end_at).map_err(failed)?;
        last.file.sync().map_err(failed)?;
        last.end_at += mark.bytes.len() as u64;
        last.found.last_kind = Kind::Mark;
        if planted(Bug::TornNotCleared) {
            return Ok(());
        }
        let failed = |error| open_failed("cutting the torn tail of", path, error);
        let len = last.file.len().map_err(failed)?;
        last.file.set_len(last.end_at).map_err(failed)?;
        last.file.allocate(last.end_at, len.saturating_sub(last.end_at)).map_err(failed)
    }

    /// Makes the first segment of a new log.
    fn create(&mut self) -> Result<Last, OpenError> {
        if let Some(record) = self.record.filter(|record| record.durable_end > 0) {
            let path = segment_path(self.dir, record.segment);
            return Err(damaged(&path, 0, 0, record.durable_end, "LOCK names the segment, which is missing"));
        }
        let env = self.options.env.clone();
        let header = SegmentHeader {
            log_id: new_log_id(&env),
            number: 0,
            base: Offset::ZERO,
            created: env.clock.now(),
            salt: new_salt(&env),
            capacity: SEGMENT_BYTES_FIRST.min(self.options.segment_bytes_max),
            tail_epoch: TailEpoch::FIRST,
            previous_crc: 0,
            read_only: false,
        };
        let (unborn, path) = (unborn_path(self.dir, 0), segment_path(self.dir, 0));
        let failed = |error| open_failed("making", &path, error);
        let file = env.disk.open(&unborn, Mode::Truncate).map_err(failed)?;
        self.lock_segment(&*file, &unborn)?;
        let at = PAGE_BYTES as u64;
        let mut carry = control_batch(Kind::Carry, 0, 0, 0, 0, &Carry::default().encode());
        let previous = carry.seal(header.salt, at, Previous::default(), 0);
        let begin = || {
            file.allocate(0, header.capacity.into())?;
            file.write_all_at(&header.encode(), 0)?;
            file.write_all_at(&carry.bytes, at)?;
            file.sync()?;
            env.disk.rename(&unborn, &path)?;
            if planted(Bug::CreationNotSynced) { Ok(()) } else { env.disk.sync_dir(self.dir) }
        };
        begin().map_err(failed)?;
        self.report.created = true;
        let segment = Arc::new(Segment::new(Arc::clone(&env.disk), path, header));
        let mut found = FoundState::new(&header);
        found.carry = Some(Carry::default());
        Ok(Last { file, segment, end: 0, end_at: at + carry.bytes.len() as u64, previous, found })
    }

    /// Writes again what is kept and is not known to be durable. After a failed sync the system may call bytes
    /// written that it has lost, as long as it runs; only bytes that are written again are synced again.
    fn write_again(&self, file: &dyn DiskFile, base: u64, end_at: u64, found: &FoundState) -> std::io::Result<()> {
        let record = self.record.filter(|record| record.segment == base);
        let mut at = found.durable_at.max(record.map_or(0, |record| record.durable_at.into()));
        let mut piece = vec![0; 256 * 1024];
        while at < end_at {
            let len = usize::try_from(end_at - at).unwrap_or(piece.len()).min(piece.len());
            let piece = piece.get_mut(..len).unwrap_or_default();
            file.read_exact_at(piece, at)?;
            file.write_all_at(piece, at)?;
            at += len as u64;
        }
        Ok(())
    }

    /// Makes what is kept durable, and puts the writer behind it.
    fn finish(mut self, last: Last) -> Result<(Arc<Shared>, OpenReport), OpenError> {
        let Last { file, segment, end, end_at, previous, found } = last;
        let base = segment.base();
        let path = segment.path.clone();
        let failed = |error| open_failed("opening", &path, error);
        let len = file.len().map_err(failed)?;
        // Room for the marks of the next close. Behind the marks of a close there will be none without an
        // append, which takes its own room: so a full disk keeps no log from being opened again.
        let mut taken = len;
        if found.last_kind != Kind::CloseMark {
            taken = taken.max((end_at + 4 * HEADER_BYTES as u64).next_multiple_of(PAGE_BYTES as u64));
            file.allocate(len, taken - len).map_err(failed)?;
        }
        if !planted(Bug::RecoveryNotSynced) {
            self.write_again(&*file, base, end_at, &found).map_err(failed)?;
            file.sync().map_err(failed)?;
        }
        if !planted(Bug::CreationNotSynced) {
            self.disk().sync_dir(self.dir).map_err(failed)?;
        }
        segment.activate(Arc::clone(&file));
        let header = segment.header;
        self.segments.push(Arc::clone(&segment));
        let plan = Plan {
            next: end,
            recorded_us: found.recorded_us,
            open: None,
            batch: 0,
            streams: found.streams,
            sealing: Vec::new(),
            carry: found.carry.unwrap_or_default(),
            gaps: self.gaps,
            rolls: 0,
            queue: Vec::new(),
            queued_bytes: 0,
            pool: Vec::new(),
            file: Arc::clone(&file),
            header,
            at: end_at,
            taken,
            closed: false,
            tail_epoch: found.tail_epoch,
            unsynced_since: None,
            unsynced_bytes: 0,
            quiet: (0, 0),
        };
        let io = Io {
            segment,
            file,
            at: end_at,
            previous,
            end,
            last_kind: found.last_kind,
            durable_at: end_at,
            lock_file: Some(Arc::clone(&self.lock_file)),
            lock_sequence: self.record.map_or(0, |record| record.sequence),
            synced_bytes: 0,
        };
        let fill = Fill::new(base, end_at);
        let dir = self.dir.to_path_buf();
        let shared = Shared::new(dir, self.options, header.log_id, self.segments, end, plan, io, fill);
        let lock_path = shared.dir.join(layout::LOCK);
        // What is left behind the next record would look like damage. Only now: a log that is refused is not touched.
        if self.record.is_none() {
            let cut = self.lock_file.len().and_then(|len| self.lock_file.set_len(len.min(lock::LOCK_BYTES as u64)));
            cut.map_err(|error| open_failed("cutting", &lock_path, error))?;
        }
        let written = shared.write_lock_record(&mut shared.io(), end);
        // Without it readers in other processes would take all that is written for durable.
        written.map_err(|error| open_failed("writing", &lock_path, error))?;
        tracing::info!(log = %self.dir.display(), id = %header.log_id, end, "opened");
        Ok((Arc::new(shared), self.report))
    }
}
