//! The files of a log as they lie in its directory: found, opened, held against each other.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::{Damage, IoFailure, OpenError};
use super::layout::{self, What, segment_path};
use super::lock::{LOCK_BYTES, LockRecord};
use crate::Offset;
use crate::batch::BatchError;
use crate::disk::{BootId, Disk, DiskFile, Entry, Mode, is_full, read_full_at};
use crate::planted::{Bug, planted};
use crate::segment::{ReadHeader, ScanError, SegmentHeader, Trailer, read_header};

/// What a log's directory holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub lock: bool,
    /// Bases of the segments, ascending.
    pub segments: Vec<u64>,
    /// Files of segments that never got their name.
    pub unborn: Vec<String>,
    /// A repair was begun and not ended.
    pub repairing: bool,
    /// What is not a log's.
    pub foreign: Vec<Entry>,
}

impl Listing {
    /// Reads a directory; `None` when there is none.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Listing>, OpenError> {
        let entries = match disk.list(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(OpenError::NotALog { path: dir.to_path_buf() });
            }
            Err(error) => return Err(IoFailure::new("listing", dir, error).into()),
        };
        let mut listing = Listing::default();
        for entry in entries {
            match layout::what(&entry) {
                What::Lock => listing.lock = true,
                What::Segment(base) => listing.segments.push(base),
                What::Unborn => listing.unborn.push(entry.name),
                What::Repair => listing.repairing = true,
                What::Directory => {}
                What::Foreign => listing.foreign.push(entry),
            }
        }
        listing.segments.sort_unstable();
        if !listing.foreign.is_empty() && listing.segments.is_empty() && !listing.lock {
            return Err(OpenError::NotALog { path: dir.to_path_buf() });
        }
        Ok(Some(listing))
    }
}

impl Listing {
    /// Refuses a log whose repair was interrupted: its files are of before and after it.
    pub fn check_repaired(&self, dir: &Path) -> Result<(), OpenError> {
        let what = "a repair was interrupted before its end; `annals repair --apply` goes on with it, nothing is lost";
        if self.repairing { Err(damaged(&dir.join(layout::REPAIR), 0, 0, 0, what)) } else { Ok(()) }
    }
}

/// What the file `LOCK` says; `None` when it says nothing, or nothing whole.
pub(super) fn lock_record(file: &dyn DiskFile) -> io::Result<Option<LockRecord>> {
    Ok(read_lock_record(file)?.ok())
}

/// The same; where the record is not whole, the run of the system in which it was being written, as far as it says.
pub(super) fn read_lock_record(file: &dyn DiskFile) -> io::Result<Result<LockRecord, Option<BootId>>> {
    let mut torn = None;
    // It may be overwritten while it is read; that takes less than a microsecond.
    for _ in 0..16 {
        let mut bytes = [0; LOCK_BYTES];
        let read = read_full_at(file, &mut bytes, 0)?;
        let bytes = bytes.get(..read).unwrap_or_default();
        if let Some(record) = LockRecord::decode(bytes) {
            return Ok(Ok(record));
        }
        torn = LockRecord::torn_boot(bytes);
        if read == 0 {
            break;
        }
        std::thread::yield_now();
    }
    Ok(Err(torn))
}

/// Takes the lock of the file `LOCK`; false when a writer has it.
pub(super) fn take_lock(file: &dyn DiskFile) -> io::Result<bool> {
    // Whoever verifies a log takes it for a moment, only to learn whether there is a writer.
    for _ in 0..20 {
        if file.try_lock()? || planted(Bug::LockNotTaken) {
            return Ok(true);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(false)
}

/// A failed call while a log is opened.
pub(super) fn open_failed(doing: &'static str, path: &Path, error: io::Error) -> OpenError {
    if is_full(&error) {
        // A file of the log, or the log's own directory.
        let is_file =
            path.ends_with(layout::LOCK) || path.extension().is_some_and(|kind| kind == "seg" || kind == "tmp");
        let log = if is_file { path.parent() } else { None };
        return OpenError::DiskFull { path: log.unwrap_or(path).to_path_buf() };
    }
    IoFailure::new(doing, path, error).into()
}

/// Bytes of a segment that are not what they should be, found while a log is opened.
pub(super) fn open_scan_failed(path: &Path, error: ScanError, first: u64, end: u64) -> OpenError {
    match error {
        ScanError::Io(error) => open_failed("reading", path, error),
        ScanError::Batch { error: BatchError::Unsupported(what), .. } => {
            OpenError::Unsupported { path: path.to_path_buf(), what }
        }
        ScanError::Batch { at, error: BatchError::Corrupt(what) } => damaged(path, at, first, end, what),
    }
}

pub(super) fn damaged(path: &Path, at: u64, first: u64, end: u64, what: impl Into<String>) -> OpenError {
    OpenError::Damaged(damage(path, at, first, end, what))
}

pub(super) fn damage(path: &Path, at: u64, first: u64, end: u64, what: impl Into<String>) -> Damage {
    let (first, end) = (Offset::from_raw(first), Offset::from_raw(end.max(first)));
    Damage { file: path.to_path_buf(), at, first, end, what: what.into() }
}

/// A segment's file with its header.
#[derive(Debug)]
pub(super) struct Found {
    pub file: Arc<dyn DiskFile>,
    pub path: std::path::PathBuf,
    pub header: ReadHeader,
}

/// Opens a segment's file and reads its header. `end` is the offset that the next segment starts with.
pub(super) fn open_segment(
    disk: &dyn Disk,
    dir: &Path,
    base: u64,
    end: Option<u64>,
    mode: Mode,
) -> Result<Found, OpenError> {
    let path = segment_path(dir, base);
    let file = disk.open(&path, mode).map_err(|error| open_failed("opening", &path, error))?;
    let end = end.unwrap_or(base);
    let header = read_header(&*file).map_err(|error| open_scan_failed(&path, error, base, end))?;
    if header.header.base.raw() != base {
        return Err(damaged(&path, 0, base, end, "the file's name is not that of its header"));
    }
    Ok(Found { file, path, header })
}

/// What a segment leaves to the one behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub header: SegmentHeader,
    /// Where it ends; `None` when its end could not be read, or is not there yet.
    pub ended: Option<Ended>,
}

/// The end of a segment: the offset behind it, and the checksum of its last batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub end: u64,
    pub last_crc: u32,
}

impl Before {
    pub fn of(header: &SegmentHeader, trailer: Option<&Trailer>) -> Self {
        let ended = trailer.map(|trailer| Ended { end: trailer.end, last_crc: trailer.last_body_crc });
        Before { header: *header, ended }
    }

    /// The offset behind it, as far as is known.
    pub fn end(&self) -> u64 {
        self.ended.map_or(self.header.base.raw(), |ended| ended.end)
    }
}

/// Says what is wrong when a segment does not follow the one before it.
pub(super) fn check_chain(before: Option<&Before>, header: &SegmentHeader) -> Result<(), &'static str> {
    let Some(before) = before else {
        let first = header.number == 0 && header.base.raw() == 0;
        return if first { Ok(()) } else { Err("the segments before it are missing") };
    };
    if header.log_id != before.header.log_id {
        return Err("it belongs to another log");
    }
    if header.number != before.header.number + 1 {
        return Err("the segment before it is missing");
    }
    let Some(Ended { end, last_crc }) = before.ended else { return Ok(()) };
    if header.base.raw() != end {
        return Err("it does not start where the segment before it ends");
    }
    if header.previous_crc != last_crc {
        return Err("it was written behind other batches than those in the segment before it");
    }
    Ok(())
}
