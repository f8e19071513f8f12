//! One index file: the streams of some segments in a row, in pages. It is never changed once it has its name.
//!
//! | bytes | field         | meaning (numbers are little-endian)                                           |
//! |------:|---------------|-------------------------------------------------------------------------------|
//! |     8 | magic         | `ANNALSIX`                                                                    |
//! |     4 | format        | 1                                                                             |
//! |     4 | segments      | how many it was made of                                                       |
//! |    16 | log           | the log's id                                                                  |
//! |     8 | entries       | in all pages                                                                  |
//! |     4 | crc           | CRC-32 of the header, this field as zero                                      |
//! |    20 | reserved      | zero                                                                          |
//! |  32 n | segments      | each one's base u64, end u64, salt u64, checksum of its last batch u32, 0 u32 |
//! |       | padding       | zero, up to a multiple of 4096                                                |
//! |  4096 | pages         | until all entries are there                                                   |
//!
//! A page:
//!
//! | bytes | field    | meaning                                                                        |
//! |------:|----------|--------------------------------------------------------------------------------|
//! |     4 | crc      | CRC-32 of the log's id, the segments and the rest of the page                  |
//! |     4 | number   | of the page, from 0                                                            |
//! |     4 | entries  | in this page                                                                   |
//! |     4 | reserved | zero                                                                           |
//! |  40 n | entries  | hash 16, last version u64, last offset u64, segments u64; ascending by hash    |
//! |       | padding  | zero                                                                           |
//!
//! Bit i of `segments` stands for the i-th of 64 equal runs of the segments (of one each, up to 64): the stream
//! has events there.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};

use bytes::Bytes;
use crc32fast::Hasher;

use super::set::IndexName;
use crate::LogId;
use crate::batch::Input;
use crate::disk::{Disk, DiskFile, Mode, read_full_at};
use crate::planted::{Bug, planted};
use crate::segment::{Bytesource, NameHash, ReadMode, Segment};

pub(super) const PAGE_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"ANNALSIX";
const FORMAT: u32 = 1;
const FIXED_BYTES: usize = 64;
const CRC_AT: usize = 40;
const BOUND_BYTES: usize = 32;
const PAGE_HEAD: usize = 16;
const ENTRY_BYTES: usize = 40;
pub(super) const ENTRIES_A_PAGE: usize = (PAGE_BYTES - PAGE_HEAD) / ENTRY_BYTES;
/// Most segments that one file is made of.
pub(super) const SEGMENTS_MAX: usize = 512;

/// A segment as an index knows it: another one of the same name is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub base: u64,
    pub end: u64,
    salt: u64,
    last_crc: u32,
}

impl Bound {
    /// `None` while the segment is not sealed.
    pub fn of(segment: &Segment) -> Option<Bound> {
        let trailer = segment.trailer()?;
        let (base, salt) = (segment.base(), segment.header.salt.0);
        Some(Bound { base, end: trailer.end, salt, last_crc: trailer.last_body_crc })
    }

    fn put(&self, out: &mut Vec<u8>) {
        [self.base, self.end, self.salt].iter().for_each(|number| out.extend(number.to_le_bytes()));
        out.extend(self.last_crc.to_le_bytes());
        out.extend([0; 4]);
    }

    fn get(input: &mut Input<'_>) -> Option<Bound> {
        let bound = Bound { base: input.u64()?, end: input.u64()?, salt: input.u64()?, last_crc: input.u32()? };
        input.u32().filter(|zero| *zero == 0).map(|_| bound)
    }
}

/// What an index says of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub hash: NameHash,
    pub last_version: u64,
    pub last_offset: u64,
    /// A bit for each run of segments that has its events.
    pub(super) segments: u64,
}

/// Why an index is not used.
#[derive(Debug)]
pub(crate) enum Broken {
    Io(io::Error),
    /// At a byte of the file.
    Damaged(u64, &'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Io(error)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Io(error) => write!(f, "{error}"),
            Broken::Damaged(at, what) => write!(f, "at byte {at}: {what}"),
        }
    }
}

/// The header of a file, and what binds its pages to it.
pub(super) struct Head {
    pub bytes: Vec<u8>,
}

/// What the checksum of each page begins with.
fn seed(log: LogId, segments: &[Bound]) -> Hasher {
    let mut bytes = log.raw().to_le_bytes().to_vec();
    segments.iter().for_each(|bound| bound.put(&mut bytes));
    let mut hasher = Hasher::new();
    hasher.update(&bytes);
    hasher
}

/// Encodes pages of a file.
pub(super) struct Pages {
    seed: Hasher,
    number: u32,
}

impl Pages {
    pub fn new(log: LogId, segments: &[Bound]) -> Self {
        Pages { seed: seed(log, segments), number: 0 }
    }

    /// The next page, of at most [`ENTRIES_A_PAGE`] entries.
    pub fn put(&mut self, entries: &[Found], out: &mut Vec<u8>) {
        let mut page = Vec::with_capacity(PAGE_BYTES);
        page.extend(self.number.to_le_bytes());
        page.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        page.extend([0; 4]);
        for entry in entries {
            page.extend(entry.hash.0.to_le_bytes());
            page.extend(entry.last_version.to_le_bytes());
            page.extend(entry.last_offset.to_le_bytes());
            page.extend(entry.segments.to_le_bytes());
        }
        page.resize(PAGE_BYTES - 4, 0);
        let mut hasher = self.seed.clone();
        hasher.update(&page);
        out.extend(hasher.finalize().to_le_bytes());
        out.extend(page);
        self.number += 1;
    }
}

impl Head {
    pub fn new(log: LogId, segments: &[Bound], entries: u64) -> Head {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(u32::try_from(segments.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(log.raw().to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes.resize(FIXED_BYTES, 0);
        segments.iter().for_each(|bound| bound.put(&mut bytes));
        bytes.resize(head_bytes(segments.len()), 0);
        let crc = crc32fast::hash(&bytes).to_le_bytes();
        bytes.iter_mut().skip(CRC_AT).zip(crc).for_each(|(to, from)| *to = from);
        Head { bytes }
    }
}

/// Bytes of a header with so many segments.
pub(super) fn head_bytes(segments: usize) -> usize {
    (FIXED_BYTES + segments * BOUND_BYTES).next_multiple_of(PAGE_BYTES)
}

/// An index file whose header is whole and whose length is right. Its pages are checked as they are read.
#[derive(Debug)]
pub(crate) struct IndexFile {
    pub path: PathBuf,
    pub log: LogId,
    pub(super) segments: Vec<Bound>,
    pub entries: u64,
    seed: Hasher,
    source: Bytesource,
    bad: AtomicBool,
}

impl IndexFile {
    /// Opens a file and checks its header.
    pub fn open(disk: &dyn Disk, path: &Path, mode: ReadMode) -> Result<IndexFile, Broken> {
        let file = disk.open(path, Mode::Read)?;
        let damaged = |at, what| Broken::Damaged(at, what);
        let mut bytes = read(&*file, 0, PAGE_BYTES)?;
        let mut input = Input::new(&bytes);
        let magic = input.take(MAGIC.len()).ok_or(damaged(0, "the file ends within its header"))?;
        let fixed = (input.u32(), input.u32(), input.u128(), input.u64());
        let (Some(format), Some(count), Some(log), Some(entries)) = fixed else {
            return Err(damaged(0, "the file ends within its header"));
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if magic != MAGIC || format != FORMAT || count == 0 || count > SEGMENTS_MAX {
            return Err(damaged(0, "it is not an index that this program reads"));
        }
        if head_bytes(count) > bytes.len() {
            bytes = read(&*file, 0, head_bytes(count))?;
        }
        if bytes.len() < head_bytes(count) {
            return Err(damaged(bytes.len() as u64, "the file ends within its header"));
        }
        let mut input = Input::new(bytes.get(FIXED_BYTES..).unwrap_or_default());
        let segments: Option<Vec<Bound>> = (0..count).map(|_| Bound::get(&mut input)).collect();
        let log = LogId::from_raw(log);
        let Some(segments) = segments.filter(|segments| Head::new(log, segments, entries).bytes == bytes) else {
            return Err(damaged(0, "the checksum of its header does not hold"));
        };
        let pages = entries.div_ceil(ENTRIES_A_PAGE as u64);
        let len = pages.checked_mul(PAGE_BYTES as u64).and_then(|pages| pages.checked_add(bytes.len() as u64));
        let is = file.len()?;
        if len != Some(is) {
            return Err(damaged(is, "it is not as long as its header says"));
        }
        let seed = seed(log, &segments);
        let source = match mode {
            ReadMode::Map => Bytesource::Map(file.map()?),
            ReadMode::Pread => Bytesource::File(file),
        };
        Ok(IndexFile { path: path.to_path_buf(), log, segments, entries, seed, source, bad: AtomicBool::new(false) })
    }

    /// Its first offset, and the one behind its last.
    pub fn range(&self) -> (u64, u64) {
        let (first, last) = (self.segments.first(), self.segments.last());
        (first.map_or(0, |first| first.base), last.map_or(0, |last| last.end))
    }

    /// Whether it was made of these very segments, which are those of its range.
    pub fn is_of(&self, log: LogId, segments: &[Arc<Segment>]) -> bool {
        log == self.log
            && segments.len() == self.segments.len()
            && segments.iter().zip(&self.segments).all(|(segment, bound)| Bound::of(segment) == Some(*bound))
    }

    /// Whether its name says what it is of.
    pub fn is_named(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(IndexName::read);
        name.is_some_and(|name| name == IndexName::new(self.range().0, self.segments.len()))
    }

    /// How many segments it was made of.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Whether it was found to be wrong: it is not asked again.
    pub fn is_bad(&self) -> bool {
        self.bad.load(Atomic::Relaxed)
    }

    /// Takes note that it is wrong.
    pub fn give_up(&self, why: impl std::fmt::Display) {
        if !self.bad.swap(true, Atomic::Relaxed) {
            tracing::warn!(index = %self.path.display(), %why, "is damaged and not used; it can be removed");
        }
    }

    /// Whether the segment with this base may have a stream's events.
    pub fn may_hold(&self, found: &Found, base: u64) -> bool {
        let Ok(place) = self.segments.binary_search_by_key(&base, |bound| bound.base) else { return true };
        found.segments & bit_of(place, self.segments.len()) != 0
    }

    fn page_count(&self) -> u64 {
        self.entries.div_ceil(ENTRIES_A_PAGE as u64)
    }

    fn page(&self, number: u64) -> Result<Page, Broken> {
        let at = head_bytes(self.segments.len()) as u64 + number * PAGE_BYTES as u64;
        let bytes = match &self.source {
            Bytesource::File(file) => Bytes::from(read(&**file, at, PAGE_BYTES)?),
            Bytesource::Map(map) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(map.len());
                map.slice(from..from.saturating_add(PAGE_BYTES).min(map.len()))
            }
        };
        let damaged = |what| Err(Broken::Damaged(at, what));
        let mut input = Input::new(&bytes);
        let (Some(crc), Some(is), Some(count), true) =
            (input.u32(), input.u32(), input.u32(), bytes.len() == PAGE_BYTES)
        else {
            return damaged("the file ends within a page");
        };
        let mut hasher = self.seed.clone();
        hasher.update(bytes.get(4..).unwrap_or_default());
        if hasher.finalize() != crc && !planted(Bug::IndexTrusted) {
            return damaged("the checksum of a page does not hold");
        }
        let left = self.entries - number * ENTRIES_A_PAGE as u64;
        if u64::from(is) != number || u64::from(count) != left.min(ENTRIES_A_PAGE as u64) {
            return damaged("a page is not what it should be");
        }
        Ok(Page { bytes, count: count as usize })
    }

    /// What it says of a stream; `None`: none of its segments has an event of it.
    pub fn find(&self, hash: NameHash) -> Result<Option<Found>, Broken> {
        // Hashes are evenly spread, so that a page's number can be guessed; what is learnt bounds the next guess.
        let (mut low, mut high) = (0, self.page_count());
        let (mut low_hash, mut high_hash) = (0u64, u64::MAX);
        let wanted = hash.halves().1;
        let mut guesses = 0;
        while low < high {
            let width = u128::from(high - low);
            let span = u128::from(high_hash.saturating_sub(low_hash)).max(1);
            let part = u128::from(wanted.saturating_sub(low_hash)).min(span - 1);
            let guess = if guesses < 8 { u64::try_from(part * width / span).unwrap_or(0) } else { (high - low) / 2 };
            guesses += 1;
            let number = low + guess.min(high - low - 1);
            let page = self.page(number)?;
            let (Some(first), Some(last)) = (page.get(0), page.get(page.count.saturating_sub(1))) else {
                return Ok(None);
            };
            if hash < first.hash {
                (high, high_hash) = (number, first.hash.halves().1);
            } else if hash > last.hash {
                (low, low_hash) = (number + 1, last.hash.halves().1);
            } else {
                return Ok(page.find(hash));
            }
        }
        Ok(None)
    }

    /// All that it says, page by page in order.
    pub fn pages(&self) -> impl Iterator<Item = Result<Vec<Found>, Broken>> + '_ {
        (0..self.page_count()).map(|number| self.page(number).map(|page| page.all()))
    }

    /// Byte position of an entry.
    pub fn entry_at(&self, entry: u64) -> u64 {
        let (page, rest) = (entry / ENTRIES_A_PAGE as u64, entry % ENTRIES_A_PAGE as u64);
        head_bytes(self.segments.len()) as u64 + page * PAGE_BYTES as u64 + PAGE_HEAD as u64 + rest * ENTRY_BYTES as u64
    }
}

/// The bit that stands for one of so many segments.
pub(super) fn bit_of(place: usize, segments: usize) -> u64 {
    1 << (place / segments.div_ceil(64)).min(63)
}

struct Page {
    bytes: Bytes,
    count: usize,
}

impl Page {
    fn get(&self, index: usize) -> Option<Found> {
        if index >= self.count {
            return None;
        }
        let mut input = Input::new(self.bytes.get(PAGE_HEAD + index * ENTRY_BYTES..)?);
        Some(Found {
            hash: NameHash(input.u128()?),
            last_version: input.u64()?,
            last_offset: input.u64()?,
            segments: input.u64()?,
        })
    }

    fn find(&self, hash: NameHash) -> Option<Found> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.get(middle)?;
            match entry.hash.cmp(&hash) {
                Ordering::Equal => return Some(entry),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn all(&self) -> Vec<Found> {
        (0..self.count).map_while(|index| self.get(index)).collect()
    }
}

fn read(file: &dyn DiskFile, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let read = read_full_at(file, &mut bytes, at)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    const LOG: LogId = LogId::from_raw(7);

    fn bounds(count: u64) -> Vec<Bound> {
        (0..count).map(|n| Bound { base: n * 10, end: n * 10 + 10, salt: n + 1, last_crc: 5 }).collect()
    }

    /// Spread like hashes, ascending.
    fn entry(n: u64, of: u64) -> Found {
        let hash = NameHash((u128::MAX / u128::from(of)) * u128::from(n) + 3);
        Found { hash, last_version: n, last_offset: n % 80, segments: 1 << (n % 8) }
    }

    fn file(entries: u64) -> (MemDisk, PathBuf) {
        let (disk, path, bounds) = (MemDisk::new(), PathBuf::from("/x.idx"), bounds(8));
        let mut bytes = Head::new(LOG, &bounds, entries).bytes;
        let all: Vec<Found> = (0..entries).map(|n| entry(n, entries)).collect();
        let mut pages = Pages::new(LOG, &bounds);
        all.chunks(ENTRIES_A_PAGE).for_each(|chunk| pages.put(chunk, &mut bytes));
        disk.write_file(&path, &bytes);
        (disk, path)
    }

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let bounds = [Bound { base: 1, end: 9, salt: 5, last_crc: 7 }];
        let head = Head::new(LOG, &bounds, 1).bytes;
        assert_eq!(head[..40], [
            b'A', b'N', b'N', b'A', b'L', b'S', b'I', b'X', 1, 0, 0, 0, 1, 0, 0, 0,
            7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(head[64..96], [
            1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(head.len(), 4096);
        let mut page = Vec::new();
        let entry = Found { hash: NameHash(2), last_version: 3, last_offset: 4, segments: 1 };
        Pages::new(LOG, &bounds).put(&[entry], &mut page);
        assert_eq!(page[4..56], [
            0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
            2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(page.len(), 4096);
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        for entries in [0, 1, 101, 102, 103, 5000] {
            let (disk, path) = file(entries);
            for mode in [ReadMode::Map, ReadMode::Pread] {
                let index = IndexFile::open(&disk, &path, mode).unwrap();
                for n in 0..entries {
                    let entry = entry(n, entries);
                    assert_eq!(index.find(entry.hash).unwrap(), Some(entry));
                    assert_eq!(index.find(NameHash(entry.hash.0 + 1)).unwrap(), None);
                }
                assert_eq!(index.find(NameHash(0)).unwrap(), None);
                assert_eq!(index.find(NameHash(u128::MAX)).unwrap(), None);
                assert_eq!(index.pages().map(|page| page.unwrap().len() as u64).sum::<u64>(), entries);
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (disk, path) = file(150);
        let whole = disk.read_file(&path).unwrap();
        let broken = || match IndexFile::open(&disk, &path, ReadMode::Map) {
            Ok(index) => index.pages().any(|page| page.is_err()),
            Err(_) => true,
        };
        assert!(!broken());
        for at in 0..whole.len() {
            disk.flip_bit(&path, at, u8::try_from(at % 8).unwrap());
            assert!(broken(), "byte {at}");
            disk.flip_bit(&path, at, u8::try_from(at % 8).unwrap());
        }
        for cut in (0..whole.len()).step_by(97) {
            disk.write_file(&path, &whole[..cut]);
            assert!(broken(), "cut at {cut}");
        }
    }
}
