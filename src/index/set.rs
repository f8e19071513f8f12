//! The index files of a log: which there are, which of them are used, and which should be made.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::file::{IndexFile, SEGMENTS_MAX};
use crate::LogId;
use crate::disk::Disk;
use crate::segment::{ReadMode, Segment};

/// So many segments, or indexes of the level below, become one index.
const FAN: usize = 8;

/// What is behind the name of an index that is not whole yet.
pub(crate) const NAME_UNFINISHED: &str = ".tmp";
const EXTENSION: &str = ".idx";

/// The name of an index file: the first offset of its segments, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexName {
    base: u64,
    segments: usize,
}

impl IndexName {
    pub fn new(base: u64, segments: usize) -> Self {
        IndexName { base, segments }
    }

    pub fn of(segments: &[Arc<Segment>]) -> Option<IndexName> {
        segments.first().map(|first| IndexName { base: first.base(), segments: segments.len() })
    }

    /// Reads a file's name; `None` when it is not an index's.
    pub fn read(name: &str) -> Option<IndexName> {
        let (base, segments) = name.strip_suffix(EXTENSION)?.split_once('-')?;
        let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(base, 20) || !digits(segments, 3) {
            return None;
        }
        Some(IndexName { base: base.parse().ok()?, segments: segments.parse().ok()? })
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:03}{EXTENSION}", self.base, self.segments)
    }
}

/// The index files that are used, ascending; no two of them are of the same segment.
#[derive(Debug, Default)]
pub(crate) struct IndexSet {
    files: Vec<Arc<IndexFile>>,
}

impl IndexSet {
    /// Files that were found not to say what is so.
    pub fn bad(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|file| file.is_bad()).map(|file| file.path.as_path())
    }

    /// Finds the files that were made of these segments. What cannot be read or is of others is passed over.
    pub fn find(
        disk: &dyn Disk,
        folder: &Path,
        log: LogId,
        segments: &[Arc<Segment>],
        mode: ReadMode,
        known: &IndexSet,
    ) -> IndexSet {
        let mut names: Vec<IndexName> = match disk.list(folder) {
            Ok(entries) => entries.iter().filter_map(|entry| IndexName::read(&entry.name)).collect(),
            Err(_) => return IndexSet::default(),
        };
        names.sort_unstable_by_key(|name| (std::cmp::Reverse(name.segments), name.base));
        let mut set = IndexSet::default();
        for name in names {
            let Some(of) = name.segments_in(segments).filter(|of| !set.covers(of)) else { continue };
            let path = folder.join(name.to_string());
            let file = match known.files.iter().find(|file| file.path == path && !file.is_bad()) {
                Some(file) => Arc::clone(file),
                None => match IndexFile::open(disk, &path, mode) {
                    Ok(file) => Arc::new(file),
                    Err(error) => {
                        tracing::warn!(index = %path.display(), %error, "is not used");
                        continue;
                    }
                },
            };
            if file.is_of(log, of) {
                set.files.push(file);
            }
        }
        set.files.sort_unstable_by_key(|file| file.range().0);
        set
    }

    /// Whether it has an index of any of these segments.
    fn covers(&self, segments: &[Arc<Segment>]) -> bool {
        segments.iter().any(|segment| self.of(segment.base()).is_some())
    }

    /// The index that says what the segment with this base holds.
    pub fn of(&self, base: u64) -> Option<&Arc<IndexFile>> {
        let found = self.files.iter().find(|file| {
            let (first, end) = file.range();
            (first..end).contains(&base)
        })?;
        (!found.is_bad()).then_some(found)
    }

    /// Whether a file of this name is used.
    pub fn uses(&self, name: IndexName) -> bool {
        self.files
            .iter()
            .any(|file| !file.is_bad() && file.range().0 == name.base && file.segment_count() == name.segments)
    }
}

impl IndexName {
    /// The segments that an index of this name is of.
    pub fn segments_in(self, segments: &[Arc<Segment>]) -> Option<&[Arc<Segment>]> {
        let first = segments.binary_search_by_key(&self.base, |segment| segment.base()).ok()?;
        segments.get(first..first + self.segments).filter(|of| !of.is_empty())
    }
}

/// The segments of the next index that should be made: the largest whole group that has none. Groups go by the
/// segments' numbers, so that they stay the same when the oldest ones are gone. Groups that failed are passed over.
pub(crate) fn due<'s>(
    segments: &'s [Arc<Segment>],
    have: &IndexSet,
    failed: &[IndexName],
) -> Option<&'s [Arc<Segment>]> {
    let sealed = segments.partition_point(|segment| segment.trailer().is_some());
    let sealed = segments.get(..sealed)?;
    let mut size = SEGMENTS_MAX;
    while size >= FAN {
        let mut at = 0;
        while let Some(first) = sealed.get(at) {
            let into = usize::try_from(first.header.number % size as u64).unwrap_or(0);
            if into > 0 {
                at += size - into;
                continue;
            }
            let Some(group) = sealed.get(at..at + size) else { break };
            let has = have.of(first.base()).is_some_and(|file| file.segment_count() >= size);
            if !has && !IndexName::of(group).is_some_and(|name| failed.contains(&name)) {
                return Some(group);
            }
            at += size;
        }
        size /= FAN;
    }
    None
}
