//! The salt of a segment whose header is gone, found again in what the rest of its file is sealed with.
//!
//! A trailer says it. Without one the batches do: the marker gives the low half, which seeds the checksums of the
//! bodies, so that one that holds proves it; the high half is the one value that makes the checksum of that batch's
//! header hold. A checksum is linear, so it is solved for, not searched for.

use std::io;

use super::trailer::{TRAILER_BYTES, Trailer};
use super::{PAGE_BYTES, SegmentHeader, recover};
use crate::batch::{BATCH_ALIGN, HEADER_BYTES, Salt};
use crate::disk::{DiskFile, read_full_at};

/// The salt that the batches of a file are sealed with; `None` when not one of them is whole.
pub(crate) fn solve_salt(file: &dyn DiskFile, len: u64) -> io::Result<Option<Salt>> {
    if let Some(salt) = of_trailer(file, len)? {
        return Ok(Some(salt));
    }
    let mut alone = None;
    let mut at = PAGE_BYTES as u64;
    let mut bytes = [0; HEADER_BYTES];
    while at + HEADER_BYTES as u64 <= len {
        if read_full_at(file, &mut bytes, at)? < HEADER_BYTES {
            break;
        }
        if let Some(salt) = of_batch(file, &bytes, at, len)? {
            let header = SegmentHeader::of_salt(salt);
            // Another batch under the same salt proves it.
            if recover::next_good(file, &header, at + BATCH_ALIGN as u64)?.is_some() {
                return Ok(Some(salt));
            }
            if at == PAGE_BYTES as u64 {
                alone = Some(salt);
            }
        }
        at += BATCH_ALIGN as u64;
    }
    Ok(alone)
}

fn of_trailer(file: &dyn DiskFile, len: u64) -> io::Result<Option<Salt>> {
    let Some(at) = len.checked_sub(TRAILER_BYTES as u64).filter(|at| *at >= PAGE_BYTES as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; TRAILER_BYTES];
    read_full_at(file, &mut bytes, at)?;
    let salt = bytes.get(8..16).and_then(|salt| salt.first_chunk()).map(|salt| Salt(u64::from_le_bytes(*salt)));
    Ok(salt.filter(|salt| Trailer::decode(&bytes, *salt, len).is_some()))
}

/// The salt under which a batch may stand at a place.
fn of_batch(file: &dyn DiskFile, bytes: &[u8; HEADER_BYTES], at: u64, len: u64) -> io::Result<Option<Salt>> {
    let Some(fields) = crate::batch::sealed_fields(bytes) else { return Ok(None) };
    let body_at = at + HEADER_BYTES as u64;
    if fields.marker == 0 || body_at + fields.body_len as u64 > len {
        return Ok(None);
    }
    let low = Salt::of_marker(fields.marker);
    let mut body = vec![0; fields.body_len];
    if read_full_at(file, &mut body, body_at)? < body.len() || low.body_crc(&body) != fields.body_crc {
        return Ok(None);
    }
    let solved = solve(|high| low.with_high(high).header_crc_of(at, bytes), fields.header_crc);
    let salt = solved.map(|high| low.with_high(high));
    Ok(salt.filter(|salt| crate::batch::Header::decode(bytes, *salt, at).is_ok()))
}

/// The argument for which a checksum, which is linear in it but for a constant, has a value.
fn solve(crc: impl Fn(u32) -> u32, wanted: u32) -> Option<u32> {
    let constant = crc(0);
    // Rows of a system over two elements: what a set of bits of the argument changes in the checksum.
    let mut rows: Vec<(u32, u32)> = (0..32).map(|bit| 1u32 << bit).map(|bit| (crc(bit) ^ constant, bit)).collect();
    let (mut left, mut found) = (wanted ^ constant, 0);
    for bit in (0..32).map(|bit| 1u32 << bit) {
        let Some(index) = rows.iter().position(|(change, _)| change & bit != 0) else { continue };
        let (change, argument) = rows.swap_remove(index);
        for row in rows.iter_mut().filter(|row| row.0 & bit != 0) {
            *row = (row.0 ^ change, row.1 ^ argument);
        }
        if left & bit != 0 {
            (left, found) = (left ^ change, found ^ argument);
        }
    }
    (left == 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_half_of_a_salt_is_the_one_that_makes_a_checksum_hold() {
        for high in [0, 1, 0x8000_0000, 0xdead_beef, u32::MAX] {
            let salt = Salt::of_marker(77).with_high(high);
            let bytes = [9; HEADER_BYTES];
            let crc = salt.header_crc_of(4096, &bytes);
            assert_eq!(solve(|high| Salt::of_marker(77).with_high(high).header_crc_of(4096, &bytes), crc), Some(high));
        }
    }
}
