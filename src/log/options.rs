//! How a log is opened.

use std::path::Path;

use super::Log;
use super::error::OpenError;
use crate::batch::Codec;
use crate::disk::Env;
use crate::limits::{SEGMENT_BYTES_FIRST, SEGMENT_BYTES_MAX};
use crate::segment::ReadMode;

/// How a log is opened for writing. Made by [`Log::options`].
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) create: bool,
    pub(super) codec: Codec,
    pub(super) segment_bytes_max: u32,
    pub(super) reads: ReadMode,
    pub(super) env: Env,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            create: true,
            codec: Codec::None,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            reads: ReadMode::Map,
            env: Env::system(),
        }
    }
}

impl Options {
    /// Whether a log is made where there is none. Default: yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How new batches are stored; what is there stays as it is. Default: as they are. A codec that the
    /// program was built without stores them as they are.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// The size that segments grow to, in bytes, within [`SEGMENT_BYTES_FIRST`] and the default,
    /// [`SEGMENT_BYTES_MAX`].
    #[must_use]
    pub fn segment_bytes_max(mut self, bytes: u32) -> Self {
        self.segment_bytes_max = bytes.clamp(SEGMENT_BYTES_FIRST, SEGMENT_BYTES_MAX);
        self
    }

    /// How sealed segments are read where events are borrowed. Default: mapped.
    #[must_use]
    pub fn reads(mut self, mode: ReadMode) -> Self {
        self.reads = mode;
        self
    }

    /// Disk, clock, random numbers and background jobs. Default: the real ones.
    #[must_use]
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Opens the log; see [`Log::open`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Log, OpenError> {
        Log::open_with(path.as_ref(), self)
    }
}
