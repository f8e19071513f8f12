//! Snapshots: the state of a handler after one of its records, as a checked file. They are made of the records alone and
//! can all be removed: nothing is lost but the time it takes to read more records.
//!
//! A space's snapshots lie in `state/{hash of NAME@GEN}/`, as `{offset of the record:020}.snap`. A file is a row of
//! batches in the log's own format, each bound to its place and to the one before it. Their salt is made of log, folder
//! and offset: so bytes of another file never look valid.
//!
//! | batch | events | type       | data                                                                            |
//! |------:|-------:|------------|---------------------------------------------------------------------------------|
//! |     0 |      1 | `Snapshot` | format u32: 1; 0 u32; log 16; record's offset u64; its head 160; name of the handler |
//! |   1.. |   many | `Row`      | `v` length and bytes of the key, the value; ascending by key                    |
//! |  last |      1 | `End`      | rows u64 u64, digests 16 16: those of the head                                  |
//!
//! The file ends with the last batch.

mod folder;
mod read;
mod write;

use std::path::PathBuf;

use crate::batch::Salt;
use crate::segment::NameHash;
use crate::view::{Digest, Space};
use crate::{IoFailure, LogId, Offset};

use super::commit::Head;

#[cfg(all(feature = "cli", feature = "sled"))]
pub(crate) use folder::view_folder;
pub(crate) use folder::{RECORDS_BYTES_MIN, Snapshots, Wrong, check_all};
pub(crate) use read::Snapshot;
pub(super) use read::SnapshotRows;

/// The folder of all snapshots of a log.
pub(crate) const STATE: &str = "state";
/// The view that the command keeps there beside them.
const VIEW: &str = "view";
/// Endings of a snapshot's file, and of one that is not complete.
const SNAPSHOT: &str = ".snap";
const UNFINISHED: &str = ".tmp";
const FORMAT: u32 = 1;
/// Stream and types of a file's events.
const STREAM: &str = "$state";
const HEAD: &str = "Snapshot";
const ROW: &str = "Row";
const END: &str = "End";

/// Why a snapshot was not used, or not made. No event and no state is affected: the records in the log are the truth.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Bytes are not what was written.
    #[error(
        "the snapshot {} is damaged at byte {at}: {what}; no event and no state is affected, it is passed over and can be removed", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// It is whole, and not of this history of the log.
    #[error(
        "the snapshot {} is not of this log's history: {what}; it is passed over and can be removed", path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What it is of.
        what: String,
    },
    /// A newer program wrote it.
    #[error("the snapshot {} cannot be read by this program: {what}; it is passed over", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: String,
    },
    /// The disk is full: no snapshot was made.
    #[error("the disk is full, and no snapshot was made at {}; nothing is lost, it is tried again later", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// A call on a file failed.
    #[error("{0}; no event and no state is affected")]
    Io(#[from] IoFailure),
}

/// Which file a snapshot is: the hash of its space, and its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    log: LogId,
    folder: NameHash,
    record: Offset,
}

impl Place {
    fn of(log: LogId, space: &Space, record: Offset) -> Place {
        Place { log, folder: folder_of(log, space), record }
    }

    /// The salt of the file's batches.
    fn salt(self) -> Salt {
        let mut bytes = self.folder.0.to_le_bytes().to_vec();
        bytes.extend(self.record.raw().to_le_bytes());
        let salt = Salt(NameHash::of(self.log, &bytes).halves().0);
        if salt.is_usable() { salt } else { Salt(!salt.0) }
    }
}

fn folder_of(log: LogId, space: &Space) -> NameHash {
    NameHash::of(log, space.to_string().as_bytes())
}

/// Counts rows, and adds them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    log: LogId,
    pub rows: u64,
    pub own_rows: u64,
    pub digest: Digest,
    pub own_digest: Digest,
}

impl Tally {
    pub fn new(log: LogId) -> Self {
        Tally { log, rows: 0, own_rows: 0, digest: Digest::EMPTY, own_digest: Digest::EMPTY }
    }

    /// What a record says of the rows after it.
    pub fn of(log: LogId, head: &Head) -> Self {
        let Head { rows, own_rows, digest, own_digest, .. } = *head;
        Tally { log, rows, own_rows, digest, own_digest }
    }

    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let row = Digest::of(self.log, key, value);
        if is_own(key) {
            self.own_rows += 1;
            self.own_digest = self.own_digest.with(row);
        } else {
            self.rows += 1;
            self.digest = self.digest.with(row);
        }
    }

    /// The digest of all rows.
    pub fn sum(&self) -> Digest {
        self.digest.with(self.own_digest)
    }

    /// How many rows there are.
    pub fn count(&self) -> u64 {
        self.rows + self.own_rows
    }

    /// The content of the event that closes a file.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.extend(self.rows.to_le_bytes());
        out.extend(self.own_rows.to_le_bytes());
        out.extend(self.digest.raw().to_le_bytes());
        out.extend(self.own_digest.raw().to_le_bytes());
        out
    }
}

/// Whether a key is of the handler's own rows.
pub(super) fn is_own(key: &[u8]) -> bool {
    key.first() != Some(&1)
}
