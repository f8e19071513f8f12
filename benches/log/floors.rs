//! What the machine can do at most: the same bytes without a log.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

const PIECE: usize = 256 * 1024;

fn file(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

/// Bytes a second by plain writes to the page cache, extending a file.
pub fn pwrite(path: &Path, bytes: usize) -> f64 {
    let file = file(path);
    let piece = vec![7u8; PIECE];
    let start = Instant::now();
    for at in (0..bytes).step_by(PIECE) {
        file.write_all_at(&piece, at as u64).unwrap();
    }
    let rate = bytes as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

/// Writes of so many bytes a second, each with its own fdatasync: over zeros written before, or growing a file.
pub fn sync(path: &Path, bytes: usize, zeros_ahead: bool, seconds: f64) -> f64 {
    const AHEAD: u64 = 64 * 1024 * 1024;
    let file = file(path);
    if zeros_ahead {
        let piece = vec![0u8; 16 * 1024];
        for at in (0..AHEAD).step_by(piece.len()) {
            file.write_all_at(&piece, at).unwrap();
        }
        file.sync_all().unwrap();
    }
    let piece = vec![7u8; bytes];
    let start = Instant::now();
    let mut syncs = 0u64;
    while start.elapsed().as_secs_f64() < seconds {
        file.write_all_at(&piece, syncs * bytes as u64).unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    let rate = syncs as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

/// Bytes a second of copying the segments of a log, and of summing them with CRC-32; both from the page cache.
pub fn memory(dir: &Path) -> (f64, f64) {
    let mut pieces = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            pieces.push(std::fs::read(path).unwrap());
        }
    }
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    let mut copy = vec![0u8; pieces.iter().map(Vec::len).max().unwrap()];
    let start = Instant::now();
    for piece in &pieces {
        copy[..piece.len()].copy_from_slice(piece);
        std::hint::black_box(&mut copy);
    }
    let copied = bytes as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for piece in &pieces {
        std::hint::black_box(crc32fast::hash(piece));
    }
    (copied, bytes as f64 / start.elapsed().as_secs_f64())
}
