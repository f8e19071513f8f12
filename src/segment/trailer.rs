//! The last 128 bytes of a sealed segment: where its footer is and what it holds, in one read.
//!
//! | at  | bytes | field          | meaning (numbers are little-endian)                             |
//! |----:|------:|----------------|------------------------------------------------------------------|
//! |   0 |     8 | magic          | `ANNALSE1`                                                       |
//! |   8 |     8 | salt           | of the segment, so that a trailer fits one file only             |
//! |  16 |     8 | base_offset    | first offset of the segment                                      |
//! |  24 |     8 | end_offset     | base of the next segment                                         |
//! |  32 |     4 | footer_at      | byte position of the footer batch                                |
//! |  36 |     4 | footer_len     | its whole length; the trailer follows at once                    |
//! |  40 |     8 | user_events    | events of the users' streams                                     |
//! |  48 |     8 | system_events  | events of the log's own streams                                  |
//! |  56 |     8 | data_bytes     | bytes of the users' data                                         |
//! |  64 |     8 | recorded_first | µs since 1970, of the first batch of events; 0 when there is none |
//! |  72 |     8 | recorded_last  | µs since 1970, of the last append; 0 when there is none          |
//! |  80 |     8 | time_min       | smallest time of a user's event; above time_max when none        |
//! |  88 |     8 | time_max       | largest time of a user's event                                   |
//! |  96 |     4 | last_body_crc  | body_crc of the last batch before the footer                     |
//! | 100 |     4 | last_len       | whole length of that batch                                       |
//! | 104 |     4 | tail_epoch     | of the log when it was sealed                                    |
//! | 108 |     8 | lost_events    | offsets that a repair gave up                                    |
//! | 116 |     8 | reserved       | zero                                                             |
//! | 124 |     4 | crc            | CRC-32 of the bytes before                                       |

use crate::batch::{Input, Salt};

pub(crate) const TRAILER_BYTES: usize = 128;
const CRC_AT: usize = 124;
const MAGIC: &[u8; 8] = b"ANNALSE1";

/// What a sealed segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub base: u64,
    pub end: u64,
    pub footer_at: u32,
    pub footer_len: u32,
    pub user_events: u64,
    pub system_events: u64,
    pub data_bytes: u64,
    pub recorded_first_us: i64,
    pub recorded_last_us: i64,
    pub time_min_us: i64,
    pub time_max_us: i64,
    pub last_body_crc: u32,
    pub last_len: u32,
    pub tail_epoch: u32,
    pub lost_events: u64,
}

impl Trailer {
    pub fn encode(&self, salt: Salt) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(salt.0.to_le_bytes());
        out.extend(self.base.to_le_bytes());
        out.extend(self.end.to_le_bytes());
        out.extend(self.footer_at.to_le_bytes());
        out.extend(self.footer_len.to_le_bytes());
        out.extend(self.user_events.to_le_bytes());
        out.extend(self.system_events.to_le_bytes());
        out.extend(self.data_bytes.to_le_bytes());
        out.extend(self.recorded_first_us.to_le_bytes());
        out.extend(self.recorded_last_us.to_le_bytes());
        out.extend(self.time_min_us.to_le_bytes());
        out.extend(self.time_max_us.to_le_bytes());
        out.extend(self.last_body_crc.to_le_bytes());
        out.extend(self.last_len.to_le_bytes());
        out.extend(self.tail_epoch.to_le_bytes());
        out.extend(self.lost_events.to_le_bytes());
        out.extend([0; 8]);
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// The trailer in the last bytes of a file of `file_len` bytes; `None` when there is no whole one that
    /// belongs to the file.
    pub fn decode(bytes: &[u8], salt: Salt, file_len: u64) -> Option<Trailer> {
        let bytes = bytes.first_chunk::<TRAILER_BYTES>()?;
        let (fields, crc) = bytes.split_at_checked(CRC_AT)?;
        if crc32fast::hash(fields).to_le_bytes() != crc {
            return None;
        }
        let mut input = Input::new(fields);
        if input.take(MAGIC.len())? != MAGIC || input.u64()? != salt.0 {
            return None;
        }
        let trailer = Trailer {
            base: input.u64()?,
            end: input.u64()?,
            footer_at: input.u32()?,
            footer_len: input.u32()?,
            user_events: input.u64()?,
            system_events: input.u64()?,
            data_bytes: input.u64()?,
            recorded_first_us: input.i64()?,
            recorded_last_us: input.i64()?,
            time_min_us: input.i64()?,
            time_max_us: input.i64()?,
            last_body_crc: input.u32()?,
            last_len: input.u32()?,
            tail_epoch: input.u32()?,
            lost_events: input.u64()?,
        };
        let ends = u64::from(trailer.footer_at) + u64::from(trailer.footer_len) + TRAILER_BYTES as u64 == file_len;
        (ends && trailer.base <= trailer.end && input.u64()? == 0).then_some(trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer() -> Trailer {
        Trailer {
            base: 1,
            end: 2,
            footer_at: 4096,
            footer_len: 256,
            user_events: 3,
            system_events: 4,
            data_bytes: 5,
            recorded_first_us: 6,
            recorded_last_us: 7,
            time_min_us: -1,
            time_max_us: 8,
            last_body_crc: 9,
            last_len: 10,
            tail_epoch: 11,
            lost_events: 12,
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let mut expected = b"ANNALSE1".to_vec();
        let n64 = |n: u8| [n, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([13, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0]);
        for n in [3, 4, 5, 6, 7] { expected.extend(n64(n)); }
        expected.extend([0xff; 8]);
        expected.extend(n64(8));
        expected.extend([9, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0; 8]);
        let bytes = trailer().encode(Salt(13));
        assert_eq!(bytes[..CRC_AT], expected);
        assert_eq!(Trailer::decode(&bytes, Salt(13), 4096 + 256 + 128), Some(trailer()));
    }

    #[test]
    fn a_trailer_is_whole_and_belongs_to_its_file() {
        let bytes = trailer().encode(Salt(13));
        assert_eq!(Trailer::decode(&bytes, Salt(14), 4096 + 256 + 128), None, "of another file");
        assert_eq!(Trailer::decode(&bytes, Salt(13), 4096 + 256 + 192), None, "the file goes on behind it");
        for bit in 0..TRAILER_BYTES * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trailer::decode(&flipped, Salt(13), 4096 + 256 + 128), None, "bit {bit}");
        }
    }
}
