//! What is left of one segment's file: its header, or at least its salt, and the stretches of good batches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{BatchError, Kind, Previous, checked_body};
use crate::disk::{Disk, DiskFile, Mode, read_full_at};
use crate::segment::{
    Bytesource, Carry, Contents, Footer, PAGE_BYTES, RawBatch, Scan, ScanError, SegmentHeader, Trailer, next_good,
    read_header, read_trailer, solve_salt,
};
use crate::{Offset, TailEpoch, Timestamp};

/// Batches that follow each other without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Byte positions: of the first batch, and behind the last one.
    pub at: u64,
    pub to: u64,
    /// First offset, and the one behind the last.
    pub first: u64,
    pub end: u64,
    pub last: Previous,
    pub recorded_us: i64,
    pub tail_epoch: u32,
    pub batches: u64,
}

/// Bytes between or behind good batches that are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad {
    pub at: u64,
    pub to: u64,
    /// Offset that was next there.
    pub next: u64,
    pub what: &'static str,
}

/// What the first page of a file still says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderIs {
    Whole,
    /// One good copy, or bytes around the copies that are not zero.
    OneCopy,
    /// Neither copy: the salt was found in the batches, all else has to be taken from the neighbours.
    Gone,
}

/// A segment's file, read through.
#[derive(Debug)]
pub(super) struct Salvaged {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub len: u64,
    /// Where its header is gone, number, log and checksum of the batch before are those that it is to get.
    pub header: SegmentHeader,
    pub header_is: HeaderIs,
    pub runs: Vec<Run>,
    pub bad: Vec<Bad>,
    pub carry: Option<Carry>,
    pub trailer: Option<Trailer>,
    /// Where it ends, as its trailer or footer says: it took no more batches.
    pub ended_at: Option<u64>,
    /// Its indexes, if they are whole.
    pub footer: Option<Footer>,
    /// The bytes at its end are those of its batches' indexes; `None`: it has none yet.
    pub indexes_hold: Option<bool>,
}

impl Salvaged {
    /// Offset behind the last good batch.
    pub fn end(&self) -> u64 {
        self.runs.last().map_or(self.header.base.raw(), |run| run.end)
    }

    /// How many offsets have good batches.
    pub fn events(&self) -> u64 {
        self.runs.iter().map(|run| run.end - run.first).sum()
    }
}

/// Why a file is no segment.
#[derive(Debug)]
pub(super) enum Unfit {
    /// Neither a header nor a batch is left in it.
    Nothing,
    Scan(ScanError),
}

impl From<std::io::Error> for Unfit {
    fn from(error: std::io::Error) -> Self {
        Unfit::Scan(error.into())
    }
}

/// Reads a file through. `base` is what its name says; batches beyond `limit` are another history's.
pub(super) fn salvage(disk: &dyn Disk, path: &Path, base: u64, limit: u64) -> Result<Salvaged, Unfit> {
    let file = disk.open(path, Mode::Read)?;
    let len = file.len()?;
    let (header, header_is) = match read_header(&*file) {
        Ok(read) if read.page_is_whole => (read.header, HeaderIs::Whole),
        Ok(read) => (read.header, HeaderIs::OneCopy),
        Err(ScanError::Batch { error: BatchError::Corrupt(_), .. }) => {
            let salt = solve_salt(&*file, len)?.ok_or(Unfit::Nothing)?;
            (SegmentHeader { base: Offset::from_raw(base), ..SegmentHeader::of_salt(salt) }, HeaderIs::Gone)
        }
        Err(error) => return Err(Unfit::Scan(error)),
    };
    let mut found = Salvaged {
        path: path.to_path_buf(),
        file,
        len,
        header,
        header_is,
        runs: Vec::new(),
        bad: Vec::new(),
        carry: None,
        trailer: None,
        ended_at: None,
        footer: None,
        indexes_hold: None,
    };
    if header_is == HeaderIs::Gone {
        found.header.base = Offset::from_raw(first_offset(&found)?.ok_or(Unfit::Nothing)?);
    }
    found.trailer = read_trailer(&*found.file, &found.header)?;
    found.walk(limit).map_err(Unfit::Scan)?;
    if let Some(run) = found.runs.first().filter(|_| header_is == HeaderIs::Gone) {
        found.header.tail_epoch = TailEpoch::from_raw(run.tail_epoch);
        found.header.created = Timestamp::from_micros(run.recorded_us.max(0));
    }
    Ok(found)
}

/// The offset that a segment begins with, whose header is gone: its carry batch says it, else its name.
fn first_offset(found: &Salvaged) -> std::io::Result<Option<u64>> {
    let good = next_good(&*found.file, &found.header, PAGE_BYTES as u64)?;
    Ok(good.map(|(at, base)| if at == PAGE_BYTES as u64 { base } else { found.header.base.raw().min(base) }))
}

impl Salvaged {
    fn walk(&mut self, limit: u64) -> Result<(), ScanError> {
        let to = self.trailer.map_or(self.len, |trailer| trailer.footer_at.into());
        let source = Bytesource::File(Arc::clone(&self.file));
        let base = self.header.base.raw();
        let mut scan = Scan::new(source.clone(), self.header, PAGE_BYTES as u64, to, Some(base));
        let mut contents = Some(Contents::new(&self.header));
        let mut broken = true;
        loop {
            let at = scan.position();
            let (what, from) = match scan.next() {
                Ok(None) => break,
                Ok(Some(batch)) if batch.header.kind == Kind::Footer => {
                    self.ended_at = Some(batch.header.base_offset);
                    break;
                }
                Ok(Some(batch)) if batch.header.end_offset() > limit => ("it is of another history", at + 64),
                Ok(Some(batch)) => match self.take(batch, &mut contents, broken) {
                    Ok(()) => {
                        broken = false;
                        continue;
                    }
                    Err(ScanError::Batch { error: BatchError::Corrupt(what), .. }) => (what, at + 64),
                    Err(error) => return Err(error),
                },
                Err(ScanError::Batch { error: BatchError::Corrupt(what), .. }) => (what, at),
                Err(error) => return Err(error),
            };
            broken = true;
            let next = self.end();
            let mut search = from;
            let good = loop {
                match next_good(&*self.file, &self.header, search)?.filter(|(at, _)| *at < to) {
                    // An older batch, which was written over since.
                    Some((at, first)) if first < next => search = at + 64,
                    good => break good,
                }
            };
            self.bad.push(Bad { at, to: good.map_or(to, |(at, _)| at), next, what });
            if good.is_some() || from > at {
                contents = None;
            }
            let Some((at, first)) = good else { break };
            scan = Scan::new(source.clone(), self.header, at, to, Some(first));
        }
        self.ended_at = self.trailer.map(|trailer| trailer.end).or(self.ended_at);
        self.end_of_file(contents)
    }

    /// Takes a batch that follows, and checks all of it.
    fn take(&mut self, batch: RawBatch, contents: &mut Option<Contents>, broken: bool) -> Result<(), ScanError> {
        let (at, header, next_at) = (batch.at, batch.header.clone(), batch.next_at());
        let (last, salt) = (batch.as_previous(), self.header.salt);
        let bad = |what| ScanError::Batch { at, error: BatchError::Corrupt(what) };
        if header.kind == Kind::Carry {
            if at != PAGE_BYTES as u64 {
                return Err(bad("a second carry batch stands in the segment"));
            }
            let failed = |error| ScanError::Batch { at, error };
            let payload = checked_body(&header, batch.stored.clone(), salt).map_err(failed)?;
            let payload = payload.get(..header.records_len).unwrap_or_default();
            self.carry = Some(Carry::decode(payload).map_err(failed)?);
        }
        match contents {
            Some(contents) => contents.batch(batch)?,
            None if header.kind.holds_events() => drop(batch.decode(salt)?),
            None => {}
        }
        let end = header.end_offset();
        match self.runs.last_mut().filter(|_| !broken) {
            Some(run) => {
                (run.to, run.end, run.last) = (next_at, end, last);
                run.recorded_us = run.recorded_us.max(header.recorded_last_us());
                run.tail_epoch = run.tail_epoch.max(header.tail_epoch);
                run.batches += 1;
            }
            None => self.runs.push(Run {
                at,
                to: next_at,
                first: header.base_offset,
                end,
                last,
                recorded_us: header.recorded_last_us(),
                tail_epoch: header.tail_epoch,
                batches: 1,
            }),
        }
        Ok(())
    }

    /// Looks at what stands behind the batches.
    fn end_of_file(&mut self, contents: Option<Contents>) -> Result<(), ScanError> {
        let at = self.trailer.map(|trailer| u64::from(trailer.footer_at));
        let at = at.or_else(|| self.runs.last().filter(|_| self.ended_at.is_some()).map(|run| run.to));
        self.footer = match at {
            Some(at) => self.read_footer(at)?,
            None => None,
        };
        let Some(contents) = contents else { return Ok(()) };
        let end_at = contents.end_at();
        let (expected, _) = contents.finish();
        let mut stored = vec![0; expected.len()];
        let read = read_full_at(&*self.file, &mut stored, end_at)?;
        let there = self.len == end_at + expected.len() as u64 && stored.iter().any(|byte| *byte != 0);
        self.indexes_hold = there.then(|| read == expected.len() && stored == expected);
        Ok(())
    }

    fn read_footer(&self, at: u64) -> Result<Option<Footer>, ScanError> {
        let source = Bytesource::File(Arc::clone(&self.file));
        let batch = match Scan::new(source, self.header, at, self.len, None).next() {
            Ok(Some(batch)) if batch.header.kind == Kind::Footer => batch,
            Ok(_) | Err(ScanError::Batch { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = batch.header.records_len;
        let Ok(payload) = checked_body(&batch.header, batch.stored, self.header.salt) else { return Ok(None) };
        Ok(Footer::decode(payload.slice(..len.min(payload.len())), self.header.base.raw()).ok())
    }
}
