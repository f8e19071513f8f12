//! The file beside a store that says how far the store may be believed when it is opened again.
//!
//! It is written and made durable before a store is opened, and again after a clean close; each time as a new file
//! that takes the older one's name.
//!
//! | at | bytes | field     | meaning (numbers are little-endian)                                     |
//! |---:|------:|-----------|-------------------------------------------------------------------------|
//! |  0 |     4 | magic     | `AVMK`                                                                  |
//! |  4 |     1 | format    | 1                                                                       |
//! |  5 |     1 | state     | 1 open, 2 closed                                                        |
//! |  6 |     2 | reserved  | zero                                                                    |
//! |  8 |    16 | log       | the log whose state it is                                               |
//! | 24 |    16 | boot      | open: the run of the system; closed: zero                               |
//! | 40 |    16 | bookmarks | closed: digest of all bookmarks; open: zero                             |
//! | 56 |     4 | reserved  | zero                                                                    |
//! | 60 |     4 | crc       | CRC-32 of the bytes before                                              |

use std::io;
use std::path::Path;

use super::{Digest, Trust};
use crate::LogId;
use crate::batch::Input;
use crate::disk::{BootId, Disk, Mode, RealDisk};

const BYTES: usize = 64;
const CRC_AT: usize = 60;
const MAGIC: &[u8; 4] = b"AVMK";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    pub log: LogId,
    pub state: State,
}

/// How the store was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It was not closed: somebody had it open in this run of the system.
    Open(BootId),
    /// It was closed, after a barrier, with these bookmarks.
    Closed(Digest),
}

impl Marker {
    pub fn encode(&self) -> [u8; BYTES] {
        let (state, boot, bookmarks) = match self.state {
            State::Open(boot) => (1, boot.0, 0),
            State::Closed(bookmarks) => (2, 0, bookmarks.raw()),
        };
        let mut out = Vec::with_capacity(BYTES);
        out.extend(MAGIC);
        out.extend([1, state, 0, 0]);
        out.extend(self.log.raw().to_le_bytes());
        out.extend(boot.to_le_bytes());
        out.extend(bookmarks.to_le_bytes());
        out.extend([0; 4]);
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.try_into().unwrap_or([0; BYTES])
    }

    /// Reads it; `None` when the bytes are none.
    pub fn decode(bytes: &[u8]) -> Option<Marker> {
        let (fields, stored) = bytes.split_at_checked(CRC_AT)?;
        if crc32fast::hash(fields).to_le_bytes() != stored {
            return None;
        }
        let mut input = Input::new(fields);
        let (magic, format, state, reserved) = (input.take(4)?, input.u8()?, input.u8()?, input.u16()?);
        let (log, boot, bookmarks, rest) = (input.u128()?, input.u128()?, input.u128()?, input.u32()?);
        if magic != MAGIC || format != 1 || reserved != 0 || rest != 0 {
            return None;
        }
        let state = match (state, boot, bookmarks) {
            (1, boot, 0) => State::Open(BootId(boot)),
            (2, 0, bookmarks) => State::Closed(Digest::from_raw(bookmarks)),
            _ => return None,
        };
        Some(Marker { log: LogId::from_raw(log), state })
    }

    /// The marker at a path; `None` when there is none, or when it is damaged.
    pub fn read(path: &Path) -> io::Result<Option<Marker>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Marker::decode(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Puts it at a path, durably.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let next = path.with_extension("next");
        let file = RealDisk.open(&next, Mode::Truncate)?;
        file.write_all_at(&self.encode(), 0)?;
        file.sync()?;
        RealDisk.rename(&next, path)?;
        RealDisk.sync_dir(path.parent().unwrap_or(path))
    }
}

impl State {
    /// How far a store left like this may be believed now, before a look at its bookmarks.
    pub fn trust(self, now: BootId) -> Trust {
        match self {
            State::Closed(_) => Trust::Closed,
            State::Open(boot) if boot == now && now.0 != 0 => Trust::SameBoot,
            State::Open(_) => Trust::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let mut expected = vec![b'A', b'V', b'M', b'K',   1, 1, 0, 0,   2];
        expected.extend([0; 15]);
        expected.push(3);
        expected.extend([0; 35]);
        let open = Marker { log: LogId::from_raw(2), state: State::Open(BootId(3)) };
        assert_eq!(open.encode()[..CRC_AT], expected);

        (expected[5], expected[24], expected[40]) = (2, 0, 4);
        let closed = Marker { log: LogId::from_raw(2), state: State::Closed(Digest::from_raw(4)) };
        assert_eq!(closed.encode()[..CRC_AT], expected);
    }

    #[test]
    fn what_is_read_is_what_was_written_or_nothing() {
        for state in [State::Open(BootId(7)), State::Closed(Digest::from_raw(9))] {
            let marker = Marker { log: LogId::from_raw(5), state };
            assert_eq!(Marker::decode(&marker.encode()), Some(marker));
            for bit in 0..BYTES * 8 {
                let mut bytes = marker.encode();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Marker::decode(&bytes), None, "bit {bit}");
            }
        }
        for bytes in [&[][..], &[0; BYTES], &[0; BYTES + 1]] {
            assert_eq!(Marker::decode(bytes), None);
        }
    }

    #[test]
    fn where_runs_of_the_system_cannot_be_told_apart_each_is_another() {
        assert_eq!(State::Open(BootId(0)).trust(BootId(0)), Trust::Lost);
        assert_eq!(State::Open(BootId(1)).trust(BootId(1)), Trust::SameBoot);
        assert_eq!(State::Open(BootId(1)).trust(BootId(2)), Trust::Lost);
    }
}
