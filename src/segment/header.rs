//! The first page of a segment file: which log, which place in it, which salt. Written twice in the page, so
//! that a flipped bit is found and survived.
//!
//! | at  | bytes | field            | meaning (numbers are little-endian)                                  |
//! |----:|------:|------------------|----------------------------------------------------------------------|
//! |   0 |     8 | magic            | `ANNALSG1`                                                           |
//! |   8 |     4 | header_len       | 4096: batches start here                                             |
//! |  12 |     4 | reserved         | zero                                                                 |
//! |  16 |     8 | incompatible     | feature bits; an unknown one refuses to be read                      |
//! |  24 |     8 | read_compatible  | feature bits; an unknown one refuses to be written                   |
//! |  32 |     8 | compatible       | feature bits; an unknown one is passed over                          |
//! |  40 |    16 | log_id           | identity of the log                                                  |
//! |  56 |     8 | number           | 0 for a log's first segment, then one more each                      |
//! |  64 |     8 | base_offset      | offset of the first event; the end of the segment before             |
//! |  72 |     8 | created_us       | when it was made, µs since 1970                                      |
//! |  80 |     8 | salt             | random                                                               |
//! |  88 |     4 | capacity         | bytes that batches may take, this page included                      |
//! |  92 |     4 | tail_epoch       | of the log when it was made                                          |
//! |  96 |     4 | previous_crc     | body_crc of the last batch of the segment before; 0 for the first    |
//! | 100 |    20 | reserved         | zero                                                                 |
//! | 120 |     4 | reserved         | zero                                                                 |
//! | 124 |     4 | crc              | CRC-32 of the bytes before                                           |
//!
//! The same 128 bytes stand again at 2048; all else in the page is zero.

use crate::batch::{BatchError, Input, OFFSET_MAX, Salt};
use crate::{LogId, Offset, TailEpoch, Timestamp};

/// Where the first batch of a segment starts.
pub(crate) const PAGE_BYTES: usize = 4096;
const COPY_AT: usize = 2048;
const HEADER_BYTES: usize = 128;
const CRC_AT: usize = 124;
/// Largest number of a segment that is read. No log comes near; what is added to it stays a number.
const NUMBER_MAX: u64 = u64::MAX / 4;
const MAGIC: &[u8; 8] = b"ANNALSG1";

const KNOWN_INCOMPATIBLE: u64 = 0;
const KNOWN_READ_COMPATIBLE: u64 = 0;
const KNOWN_COMPATIBLE: u64 = 0;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub log_id: LogId,
    pub number: u64,
    pub base: Offset,
    pub created: Timestamp,
    pub salt: Salt,
    pub capacity: u32,
    pub tail_epoch: TailEpoch,
    pub previous_crc: u32,
    /// It uses features that this program may read past, but must not write beside.
    pub read_only: bool,
}

/// A header that was read, and whether both of its copies were whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadHeader {
    pub header: SegmentHeader,
    pub page_is_whole: bool,
}

impl SegmentHeader {
    /// A header of which only the salt is known: enough to read batches by.
    pub fn of_salt(salt: Salt) -> SegmentHeader {
        SegmentHeader {
            log_id: LogId::from_raw(0),
            number: 0,
            base: Offset::ZERO,
            created: Timestamp::from_micros(0),
            salt,
            capacity: crate::limits::SEGMENT_BYTES_FIRST,
            tail_epoch: TailEpoch::FIRST,
            previous_crc: 0,
            read_only: false,
        }
    }

    /// The whole first page.
    pub fn encode(&self) -> Vec<u8> {
        let mut one = Vec::with_capacity(HEADER_BYTES);
        one.extend(MAGIC);
        one.extend((PAGE_BYTES as u32).to_le_bytes());
        one.extend([0; 4]);
        one.extend([0; 24]);
        one.extend(self.log_id.raw().to_be_bytes());
        one.extend(self.number.to_le_bytes());
        one.extend(self.base.raw().to_le_bytes());
        one.extend(self.created.as_micros().to_le_bytes());
        one.extend(self.salt.0.to_le_bytes());
        one.extend(self.capacity.to_le_bytes());
        one.extend(self.tail_epoch.raw().to_le_bytes());
        one.extend(self.previous_crc.to_le_bytes());
        one.resize(CRC_AT, 0);
        one.extend(crc32fast::hash(&one).to_le_bytes());
        let mut page = one.clone();
        page.resize(COPY_AT, 0);
        page.extend(one);
        page.resize(PAGE_BYTES, 0);
        page
    }

    /// Reads a first page.
    ///
    /// # Errors
    /// When neither copy is whole, or when it was written for a newer program.
    pub fn decode(page: &[u8]) -> Result<ReadHeader, BatchError> {
        let copy = |at: usize| page.get(at..at + HEADER_BYTES).and_then(whole);
        let Some(bytes) = copy(0).or_else(|| copy(COPY_AT)) else {
            return Err(BatchError::Corrupt("neither copy of the segment's header is whole"));
        };
        let header = Self::parse(bytes)?;
        let page_is_whole = copy(0).is_some()
            && copy(0) == copy(COPY_AT)
            && page.len() == PAGE_BYTES
            && zero(page, HEADER_BYTES..COPY_AT)
            && zero(page, COPY_AT + HEADER_BYTES..PAGE_BYTES);
        Ok(ReadHeader { header, page_is_whole })
    }

    fn parse(bytes: &[u8]) -> Result<SegmentHeader, BatchError> {
        let mut input = Input::new(bytes);
        let mut read = || {
            input.take(MAGIC.len())?;
            let (header_len, zero) = (input.u32()?, input.u32()?);
            let features = (input.u64()?, input.u64()?, input.u64()?);
            let header = SegmentHeader {
                log_id: LogId::from_raw(input.u128()?.swap_bytes()),
                number: input.u64()?,
                base: Offset::from_raw(input.u64()?),
                created: Timestamp::from_micros(input.i64()?),
                salt: Salt(input.u64()?),
                capacity: input.u32()?,
                tail_epoch: TailEpoch::from_raw(input.u32()?),
                previous_crc: input.u32()?,
                read_only: features.1 & !KNOWN_READ_COMPATIBLE != 0,
            };
            let reserved = input.take(CRC_AT - 100)?.iter().all(|byte| *byte == 0) && zero == 0;
            Some((header, header_len, features, reserved))
        };
        let (header, header_len, features, reserved) = read().ok_or(BatchError::Corrupt("the header is short"))?;
        if features.0 & !KNOWN_INCOMPATIBLE != 0 || header_len as usize != PAGE_BYTES {
            let what = format!("the segment uses features {:#x} that this program does not know", features.0);
            return Err(BatchError::Unsupported(what));
        }
        let explained = features.1 & !KNOWN_READ_COMPATIBLE != 0 || features.2 & !KNOWN_COMPATIBLE != 0;
        if (!reserved && !explained) || !header.salt.is_usable() {
            return Err(BatchError::Corrupt("reserved bytes of the segment's header are not zero"));
        }
        if header.number > NUMBER_MAX || header.base.raw() > OFFSET_MAX {
            return Err(BatchError::Corrupt("the segment's number or first offset is impossible"));
        }
        Ok(header)
    }
}

fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (fields, crc) = bytes.split_at_checked(CRC_AT)?;
    let holds = fields.starts_with(MAGIC) && crc == crc32fast::hash(fields).to_le_bytes();
    holds.then_some(bytes)
}

fn zero(page: &[u8], range: std::ops::Range<usize>) -> bool {
    page.get(range).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            log_id: LogId::from_raw(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            number: 2,
            base: Offset::from_raw(3),
            created: Timestamp::from_micros(4),
            salt: Salt(5),
            capacity: 6,
            tail_epoch: TailEpoch::from_raw(7),
            previous_crc: 8,
            read_only: false,
        }
    }

    fn resealed(change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut page = header().encode();
        for at in [0, COPY_AT] {
            change(&mut page[at..at + HEADER_BYTES]);
            let crc = crc32fast::hash(&page[at..at + CRC_AT]);
            page[at + CRC_AT..at + HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        }
        page
    }

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let mut expected = b"ANNALSG1".to_vec();
        expected.extend([0, 16, 0, 0,   0, 0, 0, 0]);
        expected.extend([0; 24]);
        expected.extend([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        expected.extend([2, 0, 0, 0, 0, 0, 0, 0,   3, 0, 0, 0, 0, 0, 0, 0,   4, 0, 0, 0, 0, 0, 0, 0,   5, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([6, 0, 0, 0,   7, 0, 0, 0,   8, 0, 0, 0]);
        expected.extend([0; 24]);
        expected.extend([0x80, 0xb2, 0x2b, 0x0e]);
        let page = header().encode();
        assert_eq!(page[..HEADER_BYTES], expected);
        assert_eq!(page[COPY_AT..COPY_AT + HEADER_BYTES], expected);
        assert_eq!(SegmentHeader::decode(&page), Ok(ReadHeader { header: header(), page_is_whole: true }));
    }

    #[test]
    fn one_flipped_bit_is_found_and_survived() {
        let page = header().encode();
        for bit in 0..PAGE_BYTES * 8 {
            let mut flipped = page.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode(&flipped),
                Ok(ReadHeader { header: header(), page_is_whole: false }),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn feature_bits_refuse_limit_or_are_passed_over() {
        let unknown = resealed(|header| header[23] = 0x80);
        assert!(matches!(SegmentHeader::decode(&unknown), Err(BatchError::Unsupported(_))));
        let read_only = SegmentHeader::decode(&resealed(|header| header[31] = 0x80)).expect("it may be read");
        assert!(read_only.header.read_only);
        let passed_over = SegmentHeader::decode(&resealed(|header| header[39] = 0x80)).expect("it may be read");
        assert_eq!(passed_over.header, header());
        assert!(SegmentHeader::decode(&resealed(|header| header[110] = 1)).is_err(), "reserved bytes are zero");
    }
}
