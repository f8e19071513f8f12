//! A log as a process sees it that does not write it: by its files, while another process may write them.
//!
//! The file `LOCK` says what is durable. Where it does not, because the machine was started again or the
//! file is gone, nobody has written since, and the good batches at the front of the last segment are what
//! is there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::bell::Bell;
use super::error::{IoFailure, OpenError, ReadError};
use super::files::{Before, Listing, check_chain, damaged, open_failed, open_segment, read_lock_record};
use super::finder::Finder;
use super::layout;
use super::lock::LockRecord;
use super::shared::lock;
use super::stat::Writer;
use super::tail::Tail;
use super::walk::View;
use crate::disk::{BootId, DiskFile, Env, FileWatch, Mode};
use crate::planted::{Bug, planted};
use crate::segment::{Bytesource, PAGE_BYTES, ReadMode, Scan, Segment, Verdict, read_trailer, recover};
use crate::{LogId, Offset};

#[derive(Debug)]
pub(super) struct Remote {
    pub dir: PathBuf,
    pub env: Env,
    pub id: LogId,
    pub finder: Arc<Finder>,
    mode: ReadMode,
    known: Mutex<Known>,
    /// For those who wait for the writer ..
    pub bell: Bell,
    /// .. and the newest batches, for those who follow.
    pub newest: Mutex<Tail>,
    /// Reads for the streams of the async world.
    #[cfg(feature = "tokio")]
    pub desk: Arc<super::asynchronous::Desk>,
}

#[derive(Debug, Default)]
struct Known {
    lock_file: Option<Arc<dyn DiskFile>>,
    segments: Arc<Vec<Arc<Segment>>>,
    /// The durable end never goes back, whatever a torn record says.
    end: u64,
    /// A record of now was seen: one that is not whole is being overwritten.
    live: bool,
    /// Where the batches of the last segment end, where `LOCK` does not say it, and what that was found for.
    found_end: Option<(Looked, u64)>,
}

/// The last segment, and the number of the record in `LOCK`: as long as both stay, nobody has written.
type Looked = (u64, Option<u64>);

impl Remote {
    pub fn open(dir: &Path, env: Env, mode: ReadMode) -> Result<Remote, OpenError> {
        let mut known = Known::default();
        known.list(dir, &env)?;
        let Some(last) = known.segments.last() else { return Err(OpenError::NotFound { path: dir.to_path_buf() }) };
        let id = last.header.log_id;
        let finder = Arc::new(Finder::new(dir, Arc::clone(&env.disk), id));
        Ok(Remote {
            dir: dir.to_path_buf(),
            env,
            id,
            finder,
            mode,
            known: Mutex::new(known),
            bell: Bell::default(),
            newest: Mutex::default(),
            #[cfg(feature = "tokio")]
            desk: Arc::default(),
        })
    }

    /// What can be read now.
    pub fn view(&self) -> Result<View, ReadError> {
        let mut known = lock(&self.known);
        let read = known.record(&self.dir, &self.env)?;
        let written = read.ok();
        // Where no run of the system is told from another, a record says at least not too much.
        let record = written.filter(|record| self.is_of_now(record) || self.env.boot.0 == 0);
        // In this order: all events up to the end are in the segments seen after it.
        let is_stale = known.segments.last().map(|last| last.base()) != record.map(|record| record.segment);
        if is_stale && !planted(Bug::ReaderListStale) {
            known.list(&self.dir, &self.env).map_err(as_read_error)?;
        }
        let end = match record {
            // An older file put back says too little. It is asked about once: a writer's record is never behind for long.
            Some(record) if !known.live => record.durable_end.max(known.hinted_end(Some(&record))),
            Some(record) => record.durable_end,
            None if known.live => known.end,
            // A write of it was cut short in this run of the system, by a full disk perhaps: what stands in the
            // log behind what is known to be durable, a power cut can still take back.
            None if matches!(read, Err(Some(boot)) if boot == self.env.boot && boot.0 != 0) => known.hinted_end(None),
            None => known.batches_end(written, self.env.boot)?,
        };
        known.live |= record.is_some();
        known.end = known.end.max(end);
        let segments = Arc::clone(&known.segments);
        let head = segments.first().map_or(0, |segment| segment.base());
        Ok(View { segments, head, end: known.end, mode: self.mode, finder: Arc::clone(&self.finder) })
    }

    /// Watches for what the writer says of itself.
    pub fn watch(&self) -> std::io::Result<Arc<dyn FileWatch>> {
        self.env.disk.watch(&self.dir.join(layout::LOCK))
    }

    /// Whether a record was written since the machine was started.
    fn is_of_now(&self, record: &LockRecord) -> bool {
        record.is_of(self.env.boot)
    }

    pub fn tail(&self) -> Result<Offset, ReadError> {
        let record = lock(&self.known).record(&self.dir, &self.env)?.ok().filter(|record| self.is_of_now(record));
        let end = self.view()?.end;
        Ok(Offset::from_raw(record.map_or(end, |record| record.written_end.max(end))))
    }

    /// Who wrote the log last, and whether that process still runs.
    pub fn writer(&self) -> Option<Writer> {
        let record = lock(&self.known).record(&self.dir, &self.env).ok()?.ok()?;
        let running = self.is_of_now(&record) && Path::new(&format!("/proc/{}", record.pid)).exists();
        Some(Writer { pid: record.pid, running })
    }
}

fn as_read_error(error: OpenError) -> ReadError {
    match error {
        OpenError::Damaged(damage) => ReadError::Damaged(damage),
        OpenError::Io(failure) => ReadError::Io(failure),
        OpenError::Unsupported { path, what } => ReadError::Unsupported { path, what },
        OpenError::DiskFull { path } => {
            ReadError::Io(IoFailure::new("listing", path, std::io::ErrorKind::StorageFull.into()))
        }
        OpenError::NotFound { path } | OpenError::NotALog { path } | OpenError::Held { path, .. } => {
            ReadError::Io(IoFailure::new("listing", path, std::io::ErrorKind::NotFound.into()))
        }
    }
}

impl Known {
    /// The record in `LOCK`; where it is not whole, the run of the system it is of.
    fn record(&mut self, dir: &Path, env: &Env) -> Result<Result<LockRecord, Option<BootId>>, ReadError> {
        let path = dir.join(layout::LOCK);
        let file = match &self.lock_file {
            Some(file) => Arc::clone(file),
            None => match env.disk.open(&path, Mode::Read) {
                Ok(file) => Arc::clone(self.lock_file.insert(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Err(None)),
                Err(error) => return Err(IoFailure::new("opening", path, error).into()),
            },
        };
        read_lock_record(&*file).map_err(|error| IoFailure::new("reading", path, error).into())
    }

    /// Finds the segments that are there now.
    fn list(&mut self, dir: &Path, env: &Env) -> Result<(), OpenError> {
        let disk = &*env.disk;
        let listing = Listing::read(disk, dir)?.ok_or_else(|| OpenError::NotFound { path: dir.to_path_buf() })?;
        listing.check_repaired(dir)?;
        let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(listing.segments.len());
        for (index, base) in listing.segments.iter().enumerate() {
            let next = listing.segments.get(index + 1).copied();
            let known = self.segments.binary_search_by_key(base, |segment| segment.base()).ok();
            let segment = match known.and_then(|index| self.segments.get(index)) {
                Some(segment) => Arc::clone(segment),
                None => {
                    let found = open_segment(disk, dir, *base, next, Mode::Read)?;
                    Arc::new(Segment::new(Arc::clone(&env.disk), found.path, found.header.header))
                }
            };
            if next.is_some() && segment.trailer().is_none() {
                let failed = |error| open_failed("reading", &segment.path, error);
                let file = segment.file().map_err(failed)?;
                if let Some(trailer) = read_trailer(&*file, &segment.header).map_err(failed)? {
                    segment.seal(trailer);
                }
            }
            let before = segments.last().map(|before| Before::of(&before.header, before.trailer()));
            if let Err(what) = check_chain(before.as_ref(), &segment.header) {
                let first = before.map_or(0, |before| before.end());
                return Err(damaged(&segment.path, 0, first, *base, what));
            }
            segments.push(segment);
        }
        self.segments = Arc::new(segments);
        Ok(())
    }

    /// The largest durable end that the batches behind the end of a record speak of, or all of the last segment's. No
    /// segment begins before all before it is durable.
    fn hinted_end(&self, record: Option<&LockRecord>) -> u64 {
        let Some(last) = self.segments.last() else { return 0 };
        let from = record.filter(|record| record.segment == last.base()).map_or(0, |record| record.durable_at.into());
        let Ok(file) = last.file() else { return 0 };
        let len = file.len().unwrap_or_default();
        let from = from.max(PAGE_BYTES as u64);
        let mut scan = Scan::new(Bytesource::File(file), last.header, from, len, None).leaping();
        // It ends where nothing stands, or where a writer is about to.
        let batches = std::iter::from_fn(|| scan.next().ok().flatten());
        batches.map(|batch| batch.header.durable_hint).max().unwrap_or_default().max(last.base())
    }

    /// Where the batches of the last segment end, as far as its own bytes and an older record say. Reading
    /// goes as far as events are known to have been durable, so that it comes upon what is damaged.
    fn batches_end(&mut self, older: Option<LockRecord>, boot: BootId) -> Result<u64, ReadError> {
        let Some(last) = self.segments.last() else { return Ok(0) };
        let base = last.base();
        let looked = (base, older.map(|record| record.sequence));
        if let Some((found_for, end)) = self.found_end
            && found_for == looked
        {
            return Ok(end);
        }
        let failed = |error| super::walk::read_error(last, error, base);
        let file = last.file().map_err(|error| failed(error.into()))?;
        let evidence = super::lock::evidence(older, base, boot);
        let tail = recover(&file, &last.header, evidence, |_| Ok(())).map_err(failed)?;
        let end = match tail.verdict {
            Verdict::Clean | Verdict::Torn { .. } => tail.end,
            Verdict::Damaged { end, .. } => end,
        };
        self.found_end = Some((looked, end));
        Ok(end)
    }
}
