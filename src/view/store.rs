//! What a view on the disk asks of the ordered key-value store below it.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::ViewOptions;

/// Rows of a store, with the store's own keys and values.
pub(super) type Piece = Vec<(Bytes, Bytes)>;

/// Rows, and bytes of them, that are read at a time.
pub(super) const PIECE_ROWS: usize = 256;
pub(super) const PIECE_BYTES: usize = 1024 * 1024;

/// An ordered key-value store in a directory of its own. A call may panic: whoever calls it is ready for that.
pub(super) trait Store: Sized + Send + Sync + 'static {
    /// Names its files.
    const NAME: &'static str;

    /// Opens it, or makes it; says whether it was there.
    fn open(dir: &Path, options: &ViewOptions) -> Result<(Self, bool), StoreError>;

    /// The value at a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The next rows in order whose keys start with a prefix: at most [`PIECE_ROWS`], and at least one if there is.
    fn piece(&self, prefix: &[u8], from: Bound<&[u8]>) -> Result<Piece, StoreError>;

    /// Makes all changes in one step; the last one of a key counts.
    fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), StoreError>;

    /// Returns when all that was written is on the disk.
    fn sync(&self, dir: &Path) -> Result<(), StoreError>;

    /// Lets go of a store that failed; says whether it let go of its files, too.
    fn give_up(self) -> bool;

    /// Makes durable what the store wrote when it was dropped.
    fn sync_dropped(dir: &Path) -> io::Result<()>;
}

/// Why a store did not do what it was asked to.
#[derive(Debug, Clone)]
pub(super) enum StoreError {
    /// Somebody else has it open.
    Held,
    /// Anything else: what it holds in memory is not to be relied on any more.
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    pub fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        StoreError::Failed(Arc::new(error))
    }

    pub fn text(text: impl Into<String>) -> Self {
        StoreError::failed(Said(text.into()))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        StoreError::failed(error)
    }
}

/// What a store said where it gave no error of its own.
#[derive(Debug)]
struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// Takes rows while they have the prefix, up to the size of a piece.
pub(super) fn piece_of(
    prefix: &[u8],
    rows: impl Iterator<Item = Result<(Bytes, Bytes), StoreError>>,
) -> Result<Piece, StoreError> {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let (key, value) = row?;
        if !key.starts_with(prefix) {
            break;
        }
        bytes += key.len() + value.len();
        piece.push((key, value));
        if piece.len() >= PIECE_ROWS || bytes >= PIECE_BYTES {
            break;
        }
    }
    Ok(piece)
}
