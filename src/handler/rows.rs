//! Rows in memory, each in one piece: the key and the value behind it, or that there is none.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;

/// A row costs about so much beside its bytes: its place in the table, of which some are empty, and what the allocator
/// notes.
const ROW_BYTES: usize = 64;

/// Rows, one for each key.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: HashSet<Row, RandomState>,
    bytes: usize,
}

#[derive(Debug)]
struct Row {
    /// The key, and behind it the value.
    bytes: Box<[u8]>,
    key_len: usize,
    deleted: bool,
}

impl Row {
    fn new(key: &[u8], value: Option<&[u8]>) -> Self {
        let bytes = [key, value.unwrap_or_default()].concat().into();
        Row { bytes, key_len: key.len(), deleted: value.is_none() }
    }

    fn split(&self) -> (&[u8], Option<&[u8]>) {
        let (key, value) = self.bytes.split_at_checked(self.key_len).unwrap_or_default();
        (key, (!self.deleted).then_some(value))
    }

    fn key(&self) -> &[u8] {
        self.split().0
    }

    fn weight(&self) -> usize {
        ROW_BYTES + self.bytes.len()
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Row {}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Borrow<[u8]> for Row {
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl Rows {
    /// What is known of a key; `Some(None)`: that it has no row.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.rows.get(key).map(|row| row.split().1)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.rows.contains(key)
    }

    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        let row = Row::new(key, value);
        self.bytes += row.weight();
        if let Some(old) = self.rows.replace(row) {
            self.bytes -= old.weight();
        }
    }

    /// Takes over rows of keys that are not here.
    pub fn add_missing(&mut self, older: &Rows) {
        for (key, value) in older.iter() {
            if !self.contains(key) {
                self.put(key, value);
            }
        }
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows.iter().map(Row::split)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Memory that they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Many short pieces of bytes that live about as long as each other, in few allocations.
#[derive(Debug, Default)]
pub(crate) struct Pieces(BytesMut);

impl Pieces {
    /// Keeps a piece, given in parts.
    pub fn keep(&mut self, parts: &[&[u8]]) -> Bytes {
        const CHUNK: usize = 32 * 1024;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > CHUNK / 8 {
            return parts.concat().into();
        }
        if self.0.capacity() - self.0.len() < len {
            self.0 = BytesMut::with_capacity(CHUNK);
        }
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_and_so_does_its_weight() {
        let mut rows = Rows::default();
        rows.put(b"a", Some(b"12"));
        rows.put(b"a", Some(b"345"));
        rows.put(b"b", None);
        assert_eq!(rows.get(b"a"), Some(Some(&b"345"[..])));
        assert_eq!(rows.get(b"b"), Some(None));
        assert_eq!(rows.get(b"c"), None);
        assert_eq!(rows.bytes(), 2 * ROW_BYTES + 5);
        assert_eq!(rows.iter().count(), 2);
    }

    #[test]
    fn older_rows_do_not_replace_newer_ones() {
        let (mut newer, mut older) = (Rows::default(), Rows::default());
        newer.put(b"a", None);
        older.put(b"a", Some(b"1"));
        older.put(b"b", Some(b""));
        newer.add_missing(&older);
        assert_eq!(newer.get(b"a"), Some(None));
        assert_eq!(newer.get(b"b"), Some(Some(&b""[..])));
    }

    #[test]
    fn pieces_are_what_was_kept_whatever_their_length() {
        let mut pieces = Pieces::default();
        let kept: Vec<_> = (0..6000).step_by(7).map(|len| pieces.keep(&[&[1], &vec![2; len]])).collect();
        for (piece, len) in kept.iter().zip((0..6000).step_by(7)) {
            assert_eq!(piece[..], [&[1][..], &vec![2; len]].concat());
        }
    }
}
