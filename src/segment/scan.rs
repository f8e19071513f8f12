//! Walking the batches of a segment in order, each checked whole before it is handed out.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{PAGE_BYTES, SegmentHeader};
use crate::batch::{Batch, BatchError, HEADER_BYTES, Header, HeaderError, Kind, Previous, Salt};
use crate::disk::{DiskFile, read_full_at};
use crate::planted::{Bug, planted};

/// Bytes asked of the file at once. Large enough that the copy and not the call is what costs.
const READ_BYTES: usize = 256 * 1024;
/// The same where single batches are looked at: a header with a small batch behind it.
const LEAP_BYTES: usize = 4096;

/// Where the bytes of a segment come from.
#[derive(Debug, Clone)]
pub(crate) enum Bytesource {
    /// An open file, read piece by piece.
    File(Arc<dyn DiskFile>),
    /// A sealed file as a whole.
    Map(Bytes),
}

/// A batch with its stored body, not yet unpacked.
#[derive(Debug, Clone)]
pub(crate) struct RawBatch {
    pub at: u64,
    pub header: Header,
    pub stored: Bytes,
}

impl RawBatch {
    /// Where the next batch starts.
    pub fn next_at(&self) -> u64 {
        self.at + self.header.batch_len() as u64
    }

    /// What the batch behind it says of it.
    pub fn as_previous(&self) -> Previous {
        let len = u32::try_from(self.header.batch_len()).unwrap_or(u32::MAX);
        Previous { len, body_crc: self.header.body_crc }
    }

    /// Unpacks and checks its tables.
    pub fn decode(self, salt: Salt) -> Result<Batch, ScanError> {
        let at = self.at;
        Batch::decode(self.header, self.stored, salt).map_err(|error| ScanError::Batch { at, error })
    }
}

/// Why a walk stopped before its end.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// The disk.
    Io(io::Error),
    /// What stands at a place is no batch, or not the one that should stand there.
    Batch {
        /// Byte position of the batch.
        at: u64,
        /// What is wrong with it.
        error: BatchError,
    },
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        ScanError::Io(error)
    }
}

/// A walk over the batches of one segment.
#[derive(Debug)]
pub(crate) struct Scan {
    source: Bytesource,
    header: SegmentHeader,
    /// Where the next batch starts.
    at: u64,
    /// The walk ends here.
    to: u64,
    /// Bytes read ahead, and where in the file they start.
    ahead: Bytes,
    ahead_at: u64,
    /// Offset the next batch has to start with.
    expected: Option<u64>,
    /// What the next batch has to say of the one before it.
    previous: Option<Previous>,
    /// Bytes asked of the file at once.
    read_bytes: usize,
}

impl Scan {
    /// A walk from the batch that starts at byte `at` up to byte `to`. `expected` is the offset it must
    /// start with, when that is known.
    pub fn new(source: Bytesource, header: SegmentHeader, at: u64, to: u64, expected: Option<u64>) -> Self {
        let previous = (at == PAGE_BYTES as u64).then(Previous::default);
        let ahead = Bytes::new();
        Scan { source, header, at, to, ahead, ahead_at: at, expected, previous, read_bytes: READ_BYTES }
    }

    /// The same, with few bytes read ahead: for looking at single batches.
    pub fn leaping(mut self) -> Self {
        self.read_bytes = LEAP_BYTES;
        self
    }

    /// Goes on at a later batch, which starts at byte `at`. What lies between is not looked at.
    pub fn leap_to(&mut self, at: u64) {
        self.read_bytes = if at == self.at { READ_BYTES } else { LEAP_BYTES };
        if at != self.at {
            (self.at, self.expected, self.previous) = (at, None, None);
        }
    }

    /// The same, asking the file for so many bytes at once.
    pub fn reading(self, bytes: Option<usize>) -> Self {
        Scan { read_bytes: bytes.unwrap_or(READ_BYTES), ..self }
    }

    /// Goes on with what was written behind the batches of before. The new end follows from the file's length.
    pub fn go_on(&mut self, end: impl FnOnce(u64) -> u64) -> Result<(), ScanError> {
        if let Bytesource::File(file) = &self.source {
            self.to = end(file.len()?);
            (self.ahead, self.ahead_at) = (Bytes::new(), self.at);
        }
        Ok(())
    }

    /// The offset that the next batch starts with.
    pub fn next_offset(&self) -> Option<u64> {
        self.expected
    }

    /// What the next batch has to say of the one before it, when that is known.
    pub fn previous(&self) -> Option<Previous> {
        self.previous
    }

    /// Byte position of the next batch.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next batch, its checksums and its offset checked; `None` at the end of the walk.
    pub fn next(&mut self) -> Result<Option<RawBatch>, ScanError> {
        if self.at >= self.to {
            return Ok(None);
        }
        let header = self.read_header()?;
        let at = self.at;
        let bad = |what| Err(ScanError::Batch { at, error: BatchError::Corrupt(what) });
        if self.expected.is_some_and(|expected| expected != header.base_offset) {
            return bad("the batch does not start with the offset that follows");
        }
        let before = Previous { len: header.prev_len, body_crc: header.prev_body_crc };
        if self.previous.is_some_and(|previous| previous != before) {
            return bad("the batch does not follow the one before it");
        }
        let from = header.header_len;
        let bytes = self.bytes(header.batch_len())?;
        if bytes.len() < header.batch_len() {
            return bad("the batch is longer than what is left of the file");
        }
        let stored = bytes.slice(from..);
        let is_checked = !planted(Bug::IndexTrusted) || header.kind != Kind::Footer;
        if is_checked && self.header.salt.body_crc(&stored) != header.body_crc {
            return bad("the checksum of the batch does not hold");
        }
        self.at += header.batch_len() as u64;
        self.expected = Some(header.end_offset());
        let batch = RawBatch { at, header, stored };
        self.previous = Some(batch.as_previous());
        Ok(Some(batch))
    }

    fn read_header(&mut self) -> Result<Header, ScanError> {
        let mut needed = HEADER_BYTES;
        loop {
            let bytes = self.bytes(needed)?;
            match Header::decode(&bytes, self.header.salt, self.at) {
                Ok(header) => return Ok(header),
                Err(HeaderError::Short(more)) if more > needed => needed = more,
                Err(HeaderError::Short(_)) => {
                    let error = BatchError::Corrupt("the file ends within a batch header");
                    return Err(ScanError::Batch { at: self.at, error });
                }
                Err(HeaderError::Batch(error)) => return Err(ScanError::Batch { at: self.at, error }),
            }
        }
    }

    /// The bytes of the batch at hand: as many as asked for, or up to the end of the walk.
    fn bytes(&mut self, len: usize) -> io::Result<Bytes> {
        let len = usize::try_from(self.to - self.at).unwrap_or(usize::MAX).min(len);
        let skip = usize::try_from(self.at.saturating_sub(self.ahead_at)).unwrap_or(usize::MAX);
        if let Some(end) = skip.checked_add(len)
            && end <= self.ahead.len()
        {
            return Ok(self.ahead.slice(skip..end));
        }
        match &self.source {
            Bytesource::Map(map) => {
                let from = usize::try_from(self.at).unwrap_or(usize::MAX).min(map.len());
                Ok(map.slice(from..from.saturating_add(len).min(map.len())))
            }
            Bytesource::File(file) => {
                let left = usize::try_from(self.to - self.at).unwrap_or(usize::MAX);
                let mut buffer = BytesMut::zeroed(len.max(self.read_bytes).min(left));
                let read = read_full_at(&**file, &mut buffer, self.at)?;
                buffer.truncate(read);
                self.ahead = buffer.freeze();
                self.ahead_at = self.at;
                Ok(self.ahead.slice(..len.min(self.ahead.len())))
            }
        }
    }
}
