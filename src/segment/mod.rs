//! One file of batches: its header, reading it, its footer, its recovery. Readers never repair.
//!
//! ```text
//! | page 4096 | carry batch | batches ..                    | zeros            |   while it is written
//! | page 4096 | carry batch | batches .. | footer | trailer |                      once it is sealed
//! ```

mod carry;
mod footer;
mod header;
mod scan;
mod trailer;

pub(crate) use carry::{CarriedAppend, CarriedProducer, CarriedRecord, Carry};
pub(crate) use footer::{Footer, FooterBuilder, NameHash, Place, StreamEntry};
pub(crate) use header::{PAGE_BYTES, ReadHeader, SegmentHeader};
pub(crate) use scan::{Bytesource, RawBatch, Scan, ScanError};
pub(crate) use trailer::{TRAILER_BYTES, Trailer};
