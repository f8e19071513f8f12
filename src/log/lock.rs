//! The file `LOCK`: who writes the log, and how far it is durable.
//!
//! The lock is the operating system's, so it dies with its process; the file is never deleted. Its first 64
//! bytes are overwritten after each sync and never synced themselves but at a clean close: any copy that
//! survives says too little, never too much.
//!
//! | at | bytes | field        | meaning (numbers are little-endian)                                  |
//! |---:|------:|--------------|----------------------------------------------------------------------|
//! |  0 |     8 | sequence     | 1 for a log's first record, then one more each                       |
//! |  8 |    16 | boot         | boot id of the machine when it was written                           |
//! | 24 |     8 | segment      | base offset of the active segment                                    |
//! | 32 |     8 | written_end  | offset after the last event written to the file                      |
//! | 40 |     8 | durable_end  | offset after the last event that a power cut keeps                   |
//! | 48 |     4 | durable_at   | bytes of the active segment that a power cut keeps                   |
//! | 52 |     4 | pid          | of the writing process                                               |
//! | 56 |     4 | reserved     | zero                                                                 |
//! | 60 |     4 | crc          | CRC-32 of the bytes before, seeded with `LOCK`                       |

use crate::batch::Input;
use crate::disk::BootId;
use crate::planted::{Bug, planted};
use crate::segment::Evidence;

/// Bytes of the record, and of the file.
pub(crate) const LOCK_BYTES: usize = 64;
const CRC_AT: usize = 60;
const CRC_SEED: u32 = u32::from_le_bytes(*b"LOCK");

/// What the writer last said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LockRecord {
    pub sequence: u64,
    pub boot: BootId,
    pub segment: u64,
    pub written_end: u64,
    pub durable_end: u64,
    pub durable_at: u32,
    pub pid: u32,
}

impl LockRecord {
    pub fn encode(&self) -> [u8; LOCK_BYTES] {
        let mut bytes = Vec::with_capacity(LOCK_BYTES);
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.boot.0.to_le_bytes());
        bytes.extend(self.segment.to_le_bytes());
        bytes.extend(self.written_end.to_le_bytes());
        bytes.extend(self.durable_end.to_le_bytes());
        bytes.extend(self.durable_at.to_le_bytes());
        bytes.extend(self.pid.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(crc(&bytes).to_le_bytes());
        bytes.try_into().unwrap_or([0; LOCK_BYTES])
    }

    /// The record in a file's bytes; `None` when there is none, or when it is torn.
    pub fn decode(bytes: &[u8]) -> Option<LockRecord> {
        let bytes = bytes.first_chunk::<LOCK_BYTES>()?;
        let (fields, stored) = bytes.split_at_checked(CRC_AT)?;
        if crc(fields).to_le_bytes() != stored {
            return None;
        }
        let mut input = Input::new(fields);
        let record = LockRecord {
            sequence: input.u64()?,
            boot: BootId(input.u128()?),
            segment: input.u64()?,
            written_end: input.u64()?,
            durable_end: input.u64()?,
            durable_at: input.u32()?,
            pid: input.u32()?,
        };
        (input.u32()? == 0).then_some(record)
    }

    /// The run of the system in which a record was written whose write was cut short: after a power cut that is
    /// another run, so that what stands in the log has survived; in the same run it says nothing about that.
    pub fn torn_boot(bytes: &[u8]) -> Option<BootId> {
        let boot = bytes.get(8..24)?.first_chunk::<16>()?;
        Some(BootId(u128::from_le_bytes(*boot)))
    }

    /// Whether it was written in this run of the system; never, where runs cannot be told apart.
    pub fn is_of(&self, boot: BootId) -> bool {
        boot.0 != 0 && self.boot == boot
    }
}

/// What `LOCK` says about the segment of a base, to whoever looks at it in a run of the system.
pub(super) fn evidence(record: Option<LockRecord>, base: u64, boot: BootId) -> Evidence {
    let same_boot = record.is_some_and(|record| record.is_of(boot));
    let about = record.filter(|record| record.segment == base);
    Evidence {
        boot_changed: !same_boot && !planted(Bug::BootIgnored),
        // What the operating system had, it still has if it ran on.
        durable_end: about.map_or(0, |record| match same_boot {
            true => record.written_end.max(record.durable_end),
            false => record.durable_end,
        }),
        durable_at: about.map_or(0, |record| record.durable_at.into()),
    }
}

fn crc(fields: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(CRC_SEED);
    hasher.update(fields);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let record = LockRecord { sequence: 1, boot: BootId(2), segment: 3, written_end: 4, durable_end: 5, durable_at: 6, pid: 7 };
        let bytes = record.encode();
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0,   2];
        expected.extend([0; 15]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0,   4, 0, 0, 0, 0, 0, 0, 0,   5, 0, 0, 0, 0, 0, 0, 0,   6, 0, 0, 0,   7, 0, 0, 0,   0, 0, 0, 0]);
        assert_eq!(bytes[..CRC_AT], expected);
        assert_eq!(LockRecord::decode(&bytes), Some(record));
    }

    #[test]
    fn a_torn_record_is_none() {
        let record = LockRecord {
            sequence: 1,
            boot: BootId(2),
            segment: 3,
            written_end: 4,
            durable_end: 5,
            durable_at: 6,
            pid: 7,
        };
        for bit in 0..LOCK_BYTES * 8 {
            let mut bytes = record.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(LockRecord::decode(&bytes), None, "bit {bit}");
        }
        assert_eq!(LockRecord::decode(&[0; LOCK_BYTES]), None);
        assert_eq!(LockRecord::decode(&[]), None);
    }
}
