//! The bytes of a batch: what is written, checksummed and compressed as one. Pure: no I/O.
//!
//! ```text
//! | header 128 | records .. | names .. | appends .. | zeros to a multiple of 64 |
//!                └─────────────── body, may be stored compressed ───────────┘
//! ```

mod appends;
mod codec;
mod decode;
mod encode;
mod header;
mod input;
mod names;
mod opened;
mod record;

pub use codec::Codec;
pub use decode::{Batch, Events, EventsBackward};

pub(crate) use appends::{AppendEntry, ProducerEntry};
pub(crate) use decode::{BackwardWalk, Walk, checked_body};
pub(crate) use encode::{ClosedBatch, OpenBatch, Previous, StreamRef, control_batch};
pub(crate) use header::{
    BATCH_ALIGN, HEADER_BYTES, Header, HeaderError, Kind, OFFSET_MAX, Salt, move_header, sealed_fields,
};
pub(crate) use input::{Input, put_varint};
pub(crate) use names::{Names, VERSION_MAX};
pub(crate) use opened::Opened;

/// Why bytes are no batch, or not one that this program reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    /// They are not what was written.
    #[error("{0}")]
    Corrupt(&'static str),
    /// A newer program, or one with more features, wrote them.
    #[error("{0}")]
    Unsupported(String),
}

/// The next multiple of the batch alignment.
pub(crate) fn aligned(len: usize) -> usize {
    len.next_multiple_of(BATCH_ALIGN)
}
