//! Copies of what a repair replaces, in `repaired/NUMBER/`, with their checksums in a file `sums`: a line of CRC-32,
//! length and name for each, and one for the lines before.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, Mode, read_full_at};
use crate::log::layout;

pub(in crate::log) const SUMS: &str = "sums";
const SUMS_UNFINISHED: &str = "sums.tmp";
const PIECE_BYTES: usize = 256 * 1024;

/// Length and checksum of a file.
type Sum = (u64, u32);

/// The folders of earlier repairs, by their numbers.
pub(in crate::log) fn folders(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let root = dir.join(layout::REPAIRED);
    let entries = match disk.list(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let number = |name: &str| name.parse().ok();
    let numbered = entries.iter().filter(|entry| entry.is_dir);
    let mut all: Vec<_> = numbered.filter_map(|entry| Some((number(&entry.name)?, root.join(&entry.name)))).collect();
    all.sort();
    Ok(all)
}

/// Copies files of a log into a folder of their own; the copies are durable when this returns.
pub(super) fn keep(disk: &dyn Disk, dir: &Path, files: &[PathBuf]) -> io::Result<(u64, PathBuf)> {
    let number = match folders(disk, dir)?.last() {
        // A repair that was ended while it copied: nothing was replaced yet.
        Some((number, folder)) if !is_finished(disk, folder)? => *number,
        Some((number, _)) => number + 1,
        None => 1,
    };
    let folder = dir.join(layout::REPAIRED).join(number.to_string());
    disk.create_dir(&folder)?;
    for entry in disk.list(&folder)? {
        disk.remove(&folder.join(entry.name))?;
    }
    let mut sums = BTreeMap::new();
    for path in files {
        let relative = path.strip_prefix(dir).unwrap_or(path);
        let name = relative.to_string_lossy().replace('/', "-");
        let from = disk.open(path, Mode::Read)?;
        let to = disk.open(&folder.join(&name), Mode::Truncate)?;
        sums.insert(name, copy(&*from, &*to)?);
        to.sync()?;
    }
    let file = disk.open(&folder.join(SUMS_UNFINISHED), Mode::Truncate)?;
    file.write_all_at(encode(&sums).as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&folder.join(SUMS_UNFINISHED), &folder.join(SUMS))?;
    disk.sync_dir(&folder)?;
    Ok((number, folder))
}

fn is_finished(disk: &dyn Disk, folder: &Path) -> io::Result<bool> {
    Ok(disk.list(folder)?.iter().any(|entry| entry.name == SUMS))
}

fn copy(from: &dyn DiskFile, to: &dyn DiskFile) -> io::Result<Sum> {
    let mut at = 0;
    sum_of(from, |piece| {
        to.write_all_at(piece, at)?;
        at += piece.len() as u64;
        Ok(())
    })
}

fn sum_of(file: &dyn DiskFile, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Sum> {
    let mut piece = vec![0; PIECE_BYTES];
    let (mut at, mut hasher) = (0, crc32fast::Hasher::new());
    loop {
        let read = read_full_at(file, &mut piece, at)?;
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((at, hasher.finalize()));
        }
        hasher.update(bytes);
        each(bytes)?;
        at += read as u64;
    }
}

fn encode(sums: &BTreeMap<String, Sum>) -> String {
    let mut text: String = sums.iter().map(|(name, (len, crc))| format!("{crc:08x} {len} {name}\n")).collect();
    let crc = crc32fast::hash(text.as_bytes());
    text.push_str(&format!("{crc:08x}\n"));
    text
}

fn decode(text: &str) -> Option<BTreeMap<String, Sum>> {
    let body = text.strip_suffix('\n')?;
    let (lines, crc) = match body.rsplit_once('\n') {
        Some((lines, crc)) => (format!("{lines}\n"), crc),
        None => (String::new(), body),
    };
    if crc != format!("{:08x}", crc32fast::hash(lines.as_bytes())) {
        return None;
    }
    let line = |line: &str| {
        let (crc, rest) = line.split_once(' ')?;
        let (len, name) = rest.split_once(' ')?;
        Some((name.to_owned(), (len.parse().ok()?, u32::from_str_radix(crc, 16).ok()?)))
    };
    lines.lines().map(line).collect()
}

/// What is wrong in a folder of copies: the file, and whether it is the folder that is not finished.
#[derive(Debug)]
pub(in crate::log) enum Wrong {
    Unfinished,
    NotAsKept(PathBuf),
}

/// Holds the copies in a folder against their checksums. `read` is told of each file's bytes.
pub(in crate::log) fn check(disk: &dyn Disk, folder: &Path, mut read: impl FnMut(u64)) -> io::Result<Vec<Wrong>> {
    if !is_finished(disk, folder)? {
        return Ok(vec![Wrong::Unfinished]);
    }
    let path = folder.join(SUMS);
    let sums = read_text(disk, &path)?.and_then(|text| decode(&text));
    let Some(mut sums) = sums else { return Ok(vec![Wrong::NotAsKept(path)]) };
    let mut wrong = Vec::new();
    for entry in disk.list(folder)?.into_iter().filter(|entry| entry.name != SUMS && entry.name != SUMS_UNFINISHED) {
        let path = folder.join(&entry.name);
        let sum = sum_of(&*disk.open(&path, Mode::Read)?, |_| Ok(()))?;
        read(sum.0);
        if sums.remove(&entry.name) != Some(sum) {
            wrong.push(Wrong::NotAsKept(path));
        }
    }
    wrong.extend(sums.into_keys().map(|name| Wrong::NotAsKept(folder.join(name))));
    Ok(wrong)
}

fn read_text(disk: &dyn Disk, path: &Path) -> io::Result<Option<String>> {
    let file = disk.open(path, Mode::Read)?;
    let len = usize::try_from(file.len()?.min(64 * 1024 * 1024)).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    let read = read_full_at(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(String::from_utf8(bytes).ok())
}

/// The checksums of the copies as they are now.
pub(super) fn sums_of_now(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<u8>> {
    let mut sums = BTreeMap::new();
    for entry in disk.list(folder)?.into_iter().filter(|entry| entry.name != SUMS && entry.name != SUMS_UNFINISHED) {
        let file = disk.open(&folder.join(&entry.name), Mode::Read)?;
        sums.insert(entry.name, sum_of(&*file, |_| Ok(()))?);
    }
    Ok(encode(&sums).into_bytes())
}
