//! The state of handlers as key-value spaces: what a store has to do to hold it, and the stores there are.
//!
//! A view follows the log: each space has a [`Bookmark`], the commit that its rows reflect, changed in the same
//! step as the rows. It may lag behind, vanish or lie. The commits in the log and the snapshots made of them are
//! the truth; a view is believed only after proof, and can always be made again.

mod conformance;
mod digest;
mod error;
#[cfg(any(feature = "redb", feature = "sled"))]
mod kept;
#[cfg(any(feature = "redb", feature = "sled"))]
mod marker;
mod memory;
#[cfg(any(feature = "redb", feature = "sled"))]
mod options;
#[cfg(feature = "redb")]
mod redb;
#[cfg(any(feature = "redb", feature = "sled"))]
mod row;
#[cfg(feature = "sled")]
mod sled;
#[cfg(any(feature = "redb", feature = "sled"))]
mod store;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{LogId, Offset};

pub use conformance::{ViewHost, view_conformance};
pub use digest::Digest;
pub use error::ViewError;
pub use memory::MemoryView;
#[cfg(any(feature = "redb", feature = "sled"))]
pub use options::ViewOptions;
#[cfg(feature = "redb")]
pub use redb::RedbView;
#[cfg(feature = "sled")]
pub use sled::SledView;

/// Whose state: one generation of one handler.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space {
    handler: Arc<str>,
    generation: u32,
}

impl Space {
    /// The space of a generation of a handler.
    pub fn new(handler: &str, generation: u32) -> Self {
        Space { handler: handler.into(), generation }
    }

    /// The handler's name.
    pub fn handler(&self) -> &str {
        &self.handler
    }

    /// The generation.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.handler, self.generation)
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which commit a space reflects, and what its rows have to add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bookmark {
    /// The log whose state it is.
    pub log: LogId,
    /// Where the last commit applied stands in it.
    pub commit: Offset,
    /// Of all rows.
    pub digest: Digest,
    /// How many rows there are.
    pub rows: u64,
}

/// What becomes of one row: a new value, or nothing. The last one of a key counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// `None`: the row is deleted.
    pub value: Option<Bytes>,
}

/// How far what is found in a view may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It was closed cleanly, or never left memory: a bookmark that agrees with its commit proves it.
    Closed,
    /// It was not closed, and the system has not been restarted since, or its bookmarks are not those that were noted
    /// when it was closed: rows have to be counted and digested.
    SameBoot,
    /// It was not closed, and what was not on the disk may be gone: its rows are not to be looked at.
    Lost,
}

/// Rows in the order of their keys' bytes.
pub type Rows<'v> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), ViewError>> + 'v>;

/// The whole of what a store has to do to hold the state of handlers.
///
/// Spaces are apart from each other. A space is written by one thread at a time and read by any.
/// [`testkit::view_conformance`](crate::testkit::view_conformance) holds an implementation to all this.
pub trait View: fmt::Debug + Send + Sync {
    /// How far what it held when it was opened may be believed.
    fn trust(&self) -> Trust;

    /// The commit that a space reflects; `None` for an empty space.
    fn bookmark(&self, space: &Space) -> Result<Option<Bookmark>, ViewError>;

    /// The value of a key.
    ///
    /// # Errors
    /// [`ViewError::Damaged`] when the row is not what was written: the space has to be made again.
    fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Bytes>, ViewError>;

    /// The rows whose keys start with a prefix, from a key on, in order.
    fn scan(&self, space: &Space, prefix: &[u8], from: &[u8]) -> Rows<'_>;

    /// Makes changes, and moves the bookmark, in one step: after a crash both are there or neither is. Changes may
    /// be given again. It need not be on the disk before [`barrier`](View::barrier).
    ///
    /// # Errors
    /// [`ViewError::Full`] when the disk is: nothing was changed then, and it can be given again.
    fn apply(&self, space: &Space, changes: &[Change], to: &Bookmark) -> Result<(), ViewError>;

    /// Removes all rows and the bookmark of a space.
    fn clear(&self, space: &Space) -> Result<(), ViewError>;

    /// Returns when all that was applied before is on the disk.
    fn barrier(&self) -> Result<(), ViewError>;

    /// Closes it cleanly: after a barrier, it notes that it can be believed when it is opened again. What is called
    /// after it fails.
    fn close(&self) -> Result<(), ViewError>;
}

impl<V: View + ?Sized> View for Arc<V> {
    fn trust(&self) -> Trust {
        (**self).trust()
    }

    fn bookmark(&self, space: &Space) -> Result<Option<Bookmark>, ViewError> {
        (**self).bookmark(space)
    }

    fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        (**self).get(space, key)
    }

    fn scan(&self, space: &Space, prefix: &[u8], from: &[u8]) -> Rows<'_> {
        (**self).scan(space, prefix, from)
    }

    fn apply(&self, space: &Space, changes: &[Change], to: &Bookmark) -> Result<(), ViewError> {
        (**self).apply(space, changes, to)
    }

    fn clear(&self, space: &Space) -> Result<(), ViewError> {
        (**self).clear(space)
    }

    fn barrier(&self) -> Result<(), ViewError> {
        (**self).barrier()
    }

    fn close(&self) -> Result<(), ViewError> {
        (**self).close()
    }
}
