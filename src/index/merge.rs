//! Making an index of the footers of segments, and holding one against them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::file::{Bound, Broken, ENTRIES_A_PAGE, Found, Head, IndexFile, Pages, bit_of, head_bytes};
use super::set::{IndexName, NAME_UNFINISHED};
use crate::LogId;
use crate::disk::{Disk, Mode};
use crate::segment::{NameHash, ReadMode, ScanError, Segment, StreamEntry};

/// Bytes written at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// How making an index ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Done,
    /// It was told to stop, and left nothing behind.
    Stopped,
}

/// The streams of all segments, ascending by hash, each once.
struct Merge<'s> {
    lists: Vec<Box<dyn Iterator<Item = StreamEntry> + 's>>,
    /// The next of each list; of equal ones the oldest first.
    heads: BinaryHeap<Reverse<(NameHash, usize, u64, u64)>>,
}

impl<'s> Merge<'s> {
    fn new(segments: &'s [Arc<Segment>], mode: ReadMode) -> Result<Self, ScanError> {
        let mut merge = Merge { lists: Vec::with_capacity(segments.len()), heads: BinaryHeap::new() };
        for segment in segments {
            let footer = segment.footer(mode)?;
            merge.lists.push(Box::new(footer.into_iter().flat_map(|footer| footer.streams())));
        }
        (0..segments.len()).for_each(|list| merge.advance(list));
        Ok(merge)
    }

    fn advance(&mut self, list: usize) {
        if let Some(entry) = self.lists.get_mut(list).and_then(Iterator::next) {
            self.heads.push(Reverse((entry.hash, list, entry.last_version, entry.last_offset)));
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let mut found: Option<Found> = None;
        while let Some(Reverse((hash, list, last_version, last_offset))) = self.heads.peek().copied() {
            if found.is_some_and(|found| found.hash != hash) {
                break;
            }
            self.heads.pop();
            self.advance(list);
            let segments = bit_of(list, self.lists.len()) | found.map_or(0, |found| found.segments);
            found = Some(Found { hash, last_version, last_offset, segments });
        }
        found
    }
}

/// Makes the index of some sealed segments in a row and gives it its name once it is whole and durable.
pub(crate) fn write(
    disk: &dyn Disk,
    folder: &Path,
    log: LogId,
    segments: &[Arc<Segment>],
    mode: ReadMode,
    go_on: &dyn Fn() -> bool,
) -> Result<Build, ScanError> {
    let bounds: Option<Vec<Bound>> = segments.iter().map(|segment| Bound::of(segment)).collect();
    let (Some(bounds), Some(name)) = (bounds, IndexName::of(segments)) else { return Ok(Build::Stopped) };
    let path = folder.join(name.to_string());
    let unfinished = folder.join(format!("{name}{NAME_UNFINISHED}"));
    let merge = Merge::new(segments, mode)?;
    disk.create_dir(folder)?;
    let written = write_pages(disk, &unfinished, log, &bounds, merge, go_on);
    match written {
        Ok(Build::Done) => {
            disk.rename(&unfinished, &path)?;
            disk.sync_dir(folder)?;
            Ok(Build::Done)
        }
        other => {
            // What is left of it is removed at the next try otherwise.
            let _ = disk.remove(&unfinished);
            other.map_err(ScanError::Io)
        }
    }
}

fn write_pages(
    disk: &dyn Disk,
    path: &Path,
    log: LogId,
    bounds: &[Bound],
    mut merge: Merge<'_>,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Build> {
    let file = disk.open(path, Mode::Truncate)?;
    let mut pages = Pages::new(log, bounds);
    let (mut at, mut entries) = (head_bytes(bounds.len()) as u64, 0);
    let mut bytes = Vec::with_capacity(WRITE_BYTES);
    loop {
        let page: Vec<Found> = merge.by_ref().take(ENTRIES_A_PAGE).collect();
        if !page.is_empty() {
            entries += page.len() as u64;
            pages.put(&page, &mut bytes);
        }
        let last = page.len() < ENTRIES_A_PAGE;
        if last || bytes.len() >= WRITE_BYTES {
            file.write_all_at(&bytes, at)?;
            at += bytes.len() as u64;
            bytes.clear();
            if !go_on() {
                return Ok(Build::Stopped);
            }
        }
        if last {
            break;
        }
    }
    file.write_all_at(&Head::new(log, bounds, entries).bytes, 0)?;
    file.sync()?;
    Ok(Build::Done)
}

/// Says what is wrong in an index, and at which byte, when it does not say what the footers say.
pub(crate) fn check(index: &IndexFile, segments: &[Arc<Segment>], mode: ReadMode) -> Result<Option<Broken>, ScanError> {
    let mut merge = Merge::new(segments, mode)?;
    let mut entry = 0;
    for page in index.pages() {
        let page = match page {
            Ok(page) => page,
            Err(broken) => return Ok(Some(broken)),
        };
        for found in page {
            if merge.next() != Some(found) {
                let what = "it does not say what the indexes of its segments say";
                return Ok(Some(Broken::Damaged(index.entry_at(entry), what)));
            }
            entry += 1;
        }
    }
    let missing = Broken::Damaged(index.entry_at(entry), "it does not have all streams of its segments");
    Ok(merge.next().map(|_| missing))
}
