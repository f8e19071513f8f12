//! The names of a log's files.

use std::path::{Path, PathBuf};

use crate::disk::Entry;

pub(crate) const LOCK: &str = "LOCK";
pub(crate) const TORN: &str = "torn";
/// Merged indexes: with them gone, nothing changes but the time it takes to look.
pub(crate) const INDEX: &str = "index";
/// What a repair that is being done has decided; see [`super::repair`].
pub(crate) const REPAIR: &str = "REPAIR";
pub(crate) const REPAIR_UNFINISHED: &str = "REPAIR.tmp";
/// Copies of what repairs replaced.
pub(crate) const REPAIRED: &str = "repaired";
/// Directories that later parts of a log keep beside the segments.
const DIRECTORIES: [&str; 5] = [TORN, INDEX, REPAIRED, "cursors", "state"];

/// The file of a segment.
pub(crate) fn segment_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.seg"))
}

/// The file of a segment that is not complete enough to have its name.
pub(crate) fn unborn_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.tmp"))
}

/// A file that takes room until the segment has its name.
pub(crate) fn room_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.room"))
}

/// What an entry of a log's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Lock,
    /// A segment, by its base offset.
    Segment(u64),
    /// Left behind by a kill while a segment was made; holds no event.
    Unborn,
    /// A repair is being done, or was interrupted.
    Repair,
    Directory,
    /// Not ours.
    Foreign,
}

pub(crate) fn what(entry: &Entry) -> What {
    let number = |digits: &str| {
        (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
    };
    match (entry.name.as_str(), entry.is_dir) {
        (LOCK, false) => What::Lock,
        (REPAIR, false) => What::Repair,
        (REPAIR_UNFINISHED, false) => What::Unborn,
        (name, true) if DIRECTORIES.contains(&name) => What::Directory,
        (name, false) => match name.split_once('.') {
            Some((digits, "seg")) => number(digits).map_or(What::Foreign, What::Segment),
            Some((digits, "tmp" | "room")) if number(digits).is_some() => What::Unborn,
            _ => What::Foreign,
        },
        _ => What::Foreign,
    }
}
