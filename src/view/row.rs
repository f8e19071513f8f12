//! The rows of a view as a store keeps them, the same in every store.
//!
//! | key                           | value              | what                                              |
//! |-------------------------------|--------------------|---------------------------------------------------|
//! | 1, space                      | crc, 48 bytes      | the space's bookmark                              |
//! | 1, space                      | crc, nothing       | the space is being cleared: no bookmark           |
//! | 2, space, the user's key      | crc, value         | a row                                             |
//!
//! A space is the length of the handler's name as a varint, the name, and the generation as 4 big-endian bytes, so
//! that none is the beginning of another. The crc is the CRC-32 of the whole key and the value behind it, in 4
//! little-endian bytes: a value is never taken for another key's. A bookmark is log id (16 bytes), commit (8),
//! digest (16), rows (8), little-endian.

use bytes::Bytes;

use super::{Bookmark, Digest, Space};
use crate::batch::{Input, put_varint};
use crate::{LogId, Offset};

/// The keys of all bookmarks start with it.
pub(super) const BOOKMARKS: u8 = 1;
const ROWS: u8 = 2;
const CRC_BYTES: usize = 4;

fn key(kind: u8, space: &Space, key: &[u8]) -> Vec<u8> {
    let name = space.handler().as_bytes();
    let mut out = Vec::with_capacity(name.len() + key.len() + 8);
    out.push(kind);
    put_varint(&mut out, name.len() as u64);
    out.extend_from_slice(name);
    out.extend(space.generation().to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// Where a row stands; of a prefix of the user's keys, the prefix of what is stored.
pub(super) fn row_key(space: &Space, user: &[u8]) -> Vec<u8> {
    key(ROWS, space, user)
}

/// Where the bookmark of a space stands.
pub(super) fn bookmark_key(space: &Space) -> Vec<u8> {
    key(BOOKMARKS, space, b"")
}

/// The space whose bookmark stands at a key.
pub(super) fn space_of(bookmark_key: &[u8]) -> Option<Space> {
    let mut input = Input::new(bookmark_key.strip_prefix(&[BOOKMARKS])?);
    let len = usize::try_from(input.varint()?).ok()?;
    let name = std::str::from_utf8(input.take(len)?).ok()?;
    let generation = u32::from_be_bytes(*input.take(4)?.first_chunk()?);
    input.is_empty().then(|| Space::new(name, generation))
}

fn crc(key: &[u8], value: &[u8]) -> [u8; CRC_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// A value as it is stored at a key.
pub(super) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(CRC_BYTES + value.len());
    out.extend(crc(key, value));
    out.extend_from_slice(value);
    out
}

/// The value stored at a key; `None` when it is not what was stored there.
pub(super) fn open(key: &[u8], stored: &Bytes) -> Option<Bytes> {
    let (found, value) = stored.split_first_chunk::<CRC_BYTES>()?;
    (crc(key, value) == *found).then(|| stored.slice_ref(value))
}

/// The bytes of a bookmark.
pub(super) fn encode_bookmark(bookmark: &Bookmark) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.extend(bookmark.log.raw().to_le_bytes());
    out.extend(bookmark.commit.raw().to_le_bytes());
    out.extend(bookmark.digest.raw().to_le_bytes());
    out.extend(bookmark.rows.to_le_bytes());
    out
}

/// Reads a bookmark.
pub(super) fn decode_bookmark(bytes: &[u8]) -> Option<Bookmark> {
    let mut input = Input::new(bytes);
    let bookmark = Bookmark {
        log: LogId::from_raw(input.u128()?),
        commit: Offset::from_raw(input.u64()?),
        digest: Digest::from_raw(input.u128()?),
        rows: input.u64()?,
    };
    input.is_empty().then_some(bookmark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_stored_bytes_are_exactly_these() {
        let space = Space::new("ab", 3);
        assert_eq!(row_key(&space, b"k"), [2,   2, b'a', b'b',   0, 0, 0, 3,   b'k']);
        assert_eq!(bookmark_key(&space), [1,   2, b'a', b'b',   0, 0, 0, 3]);
        assert_eq!(seal(b"123", b"456789"), [0x26, 0x39, 0xf4, 0xcb,   b'4', b'5', b'6', b'7', b'8', b'9']);
        let bookmark = Bookmark { log: LogId::from_raw(1), commit: Offset::from_raw(2), digest: Digest::from_raw(3), rows: 4 };
        let mut expected = vec![1];
        expected.extend([0; 15]);
        expected.extend([2, 0, 0, 0, 0, 0, 0, 0,   3]);
        expected.extend([0; 15]);
        expected.extend([4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode_bookmark(&bookmark), expected);
        assert_eq!(decode_bookmark(&expected), Some(bookmark));
    }

    #[test]
    fn no_space_is_the_beginning_of_another() {
        let spaces: Vec<_> =
            ["", "a", "ab", "a\0", "b"].map(|name| [0, 1, 256].map(|number| Space::new(name, number))).concat();
        for a in &spaces {
            assert_eq!(space_of(&bookmark_key(a)).as_ref(), Some(a));
            for b in spaces.iter().filter(|b| *b != a) {
                assert!(!row_key(a, b"x").starts_with(&row_key(b, b"")), "{a} {b}");
            }
        }
    }

    #[test]
    fn a_flip_of_any_bit_of_key_or_value_is_found() {
        let key = b"key".to_vec();
        let stored = seal(&key, b"value");
        assert_eq!(open(&key, &stored.clone().into()).as_deref(), Some(&b"value"[..]));
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key, &flipped.into()), None, "bit {bit}");
        }
        for bit in 0..key.len() * 8 {
            let mut flipped = key.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&flipped, &stored.clone().into()), None, "bit {bit}");
        }
        for short in 0..CRC_BYTES {
            assert_eq!(open(&key, &Bytes::copy_from_slice(&stored[..short])), None);
        }
    }

    #[test]
    fn what_is_no_bookmark_is_none() {
        for len in (0..100).filter(|len| *len != 48) {
            assert_eq!(decode_bookmark(&vec![0; len]), None);
        }
    }
}
