//! What was cut from the end of a log, kept in a file of its own in `torn/`, for whoever wants to look.
//!
//! | at | bytes | field   | meaning (numbers are little-endian)                      |
//! |---:|------:|---------|----------------------------------------------------------|
//! |  0 |     8 | magic   | `ANNALST1`                                               |
//! |  8 |    16 | log_id  | of the log                                               |
//! | 24 |     8 | segment | base of the segment it was cut from                      |
//! | 32 |     8 | at      | byte position it stood at                                |
//! | 40 |     8 | offset  | offset that was next there                               |
//! | 48 |     4 | crc     | CRC-32 of the bytes before and of the bytes that were cut |
//! | 52 |       | bytes   | what was cut                                             |

use std::io;
use std::path::{Path, PathBuf};

use super::layout;
use crate::disk::{Disk, DiskFile, Mode, read_full_at};
use crate::segment::{Segment, Tail};

const MAGIC: &[u8; 8] = b"ANNALST1";
const CRC_AT: usize = 48;
const HEADER_BYTES: usize = 52;

/// How the name of a file ends that holds what was cut.
const KEPT: &str = ".torn";
/// How the name of a file ends that a kill may have left half written.
pub(super) const UNFINISHED: &str = "tmp";

/// Copies the bytes of a torn tail into a file of its own; it is durable when this returns.
pub(super) fn keep(
    disk: &dyn Disk,
    dir: &Path,
    segment: &Segment,
    file: &dyn DiskFile,
    tail: &Tail,
    to: u64,
) -> io::Result<PathBuf> {
    let len = usize::try_from(to - tail.end_at).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut cut = vec![0; len];
    file.read_exact_at(&mut cut, tail.end_at)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(segment.header.log_id.raw().to_be_bytes());
    bytes.extend(segment.base().to_le_bytes());
    bytes.extend(tail.end_at.to_le_bytes());
    bytes.extend(tail.end.to_le_bytes());
    bytes.extend(crc(&bytes, &cut).to_le_bytes());
    bytes.extend(cut);
    let folder = dir.join(layout::TORN);
    disk.create_dir(&folder)?;
    // Named by what it holds: cutting the same bytes again, after a kill in between, is the same file.
    let place = name_of_place(segment.base(), tail.end_at);
    let path = folder.join(format!("{place}{:08x}{KEPT}", crc32fast::hash(&bytes)));
    let unfinished = path.with_extension(UNFINISHED);
    let kept = disk.open(&unfinished, Mode::Truncate)?;
    kept.write_all_at(&bytes, 0)?;
    kept.sync()?;
    disk.rename(&unfinished, &path)?;
    disk.sync_dir(&folder)?;
    Ok(path)
}

/// What the names of all that was cut at a byte position of a segment begin with.
fn name_of_place(base: u64, at: u64) -> String {
    format!("{base:020}-{at}-")
}

/// What was cut at a byte position of a segment, by earlier opens.
pub(super) fn kept_of(disk: &dyn Disk, dir: &Path, base: u64, at: u64) -> io::Result<Vec<PathBuf>> {
    let (folder, place) = (dir.join(layout::TORN), name_of_place(base, at));
    let entries = match disk.list(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    let of_place = entries.iter().filter(|entry| entry.name.starts_with(&place) && entry.name.ends_with(KEPT));
    let mut kept: Vec<PathBuf> = of_place.map(|entry| folder.join(&entry.name)).collect();
    kept.sort();
    Ok(kept)
}

fn crc(header: &[u8], cut: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(cut);
    hasher.finalize()
}

/// Whether a file holds what was put into it. Reads it piece by piece:
/// any file may lie there.
pub(super) fn is_whole(file: &dyn DiskFile, mut read: impl FnMut(u64)) -> io::Result<bool> {
    let mut piece = vec![0; 256 * 1024];
    let mut hasher = crc32fast::Hasher::new();
    let mut header = [0; HEADER_BYTES];
    if read_full_at(file, &mut header, 0)? < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Ok(false);
    }
    let (fields, stored) = header.split_at(CRC_AT);
    hasher.update(fields);
    let mut at = HEADER_BYTES as u64;
    loop {
        let got = read_full_at(file, &mut piece, at)?;
        if got == 0 {
            return Ok(hasher.finalize().to_le_bytes() == *stored);
        }
        hasher.update(piece.get(..got).unwrap_or_default());
        at += got as u64;
        read(got as u64);
    }
}
