//! One file of batches: its header, reading it, its footer, its recovery. Readers never repair.
//!
//! ```text
//! | page 4096 | carry batch | batches ..                    | zeros            |   while it is written
//! | page 4096 | carry batch | batches .. | footer | trailer |                      once it is sealed
//! ```

mod block;
mod carry;
mod file;
mod footer;
mod header;
mod name_hash;
mod phase;
mod recover;
mod salt;
mod scan;
mod seal;
mod trailer;

pub use file::ReadMode;

pub(crate) use block::Block;
pub(crate) use carry::{CarriedAppend, CarriedRecord, Carry};
pub(crate) use file::{Segment, read_header, read_trailer};
#[cfg(feature = "cli")]
pub(crate) use footer::TypeEntry;
pub(crate) use footer::{Footer, FooterBuilder, Postings, StreamEntry};
pub(crate) use header::{PAGE_BYTES, ReadHeader, SegmentHeader};
pub(crate) use name_hash::{ByName, NameHash};
pub(crate) use recover::{Evidence, Tail, Verdict, last_nonzero, next_good, recover};
pub(crate) use salt::solve_salt;
pub(crate) use scan::{Bytesource, RawBatch, Scan, ScanError};
pub(crate) use seal::{Contents, seal, write_end};
pub(crate) use trailer::{TRAILER_BYTES, Trailer};
