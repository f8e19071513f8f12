//! The names of a batch: each distinct stream, type, source and producer once; records refer to them by u16.
//!
//! | bytes   | field                     | meaning                                                         |
//! |--------:|---------------------------|-----------------------------------------------------------------|
//! | 2 2 2 2 | counts                    | of streams, types, sources, producers                           |
//! |         | for each stream           | name_len varint, name, version of its first event here varint,  |
//! |         |                           | distance back from base_offset to its event before varint (0: none) |
//! |         | for each of the others    | name_len varint, name                                           |

use super::{BatchError, Input, put_varint};
use crate::event::Span;
use crate::limits::NAME_BYTES_MAX;

/// Largest version that is read. No log comes near; what is added to it stays a number.
pub(crate) const VERSION_MAX: u64 = u64::MAX / 4;

/// A stream as a batch knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamName {
    pub name: Span,
    /// Version of its first event in the batch.
    pub version: u64,
    /// Offset of its last event before the batch.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))] // shown by `annals dump`
    pub previous: Option<u64>,
}

/// Names of a batch, as places in its body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub streams: Vec<StreamName>,
    pub types: Vec<Span>,
    pub sources: Vec<Span>,
    pub producers: Vec<Span>,
}

/// The table as it grows while a batch is open.
#[derive(Debug, Default)]
pub(super) struct NamesBuilder {
    streams: Vec<u8>,
    others: [Vec<u8>; 3],
    counts: [u16; 4],
}

/// The three tables that hold nothing but names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    Types = 0,
    Sources = 1,
    Producers = 2,
}

impl NamesBuilder {
    /// Adds a stream; returns its index.
    pub fn stream(&mut self, name: &str, version: u64, back: u64) -> u16 {
        put_varint(&mut self.streams, name.len() as u64);
        self.streams.extend_from_slice(name.as_bytes());
        put_varint(&mut self.streams, version);
        put_varint(&mut self.streams, back);
        self.counts[0] += 1;
        self.counts[0] - 1
    }

    /// Adds a type, source or producer; returns its index.
    #[allow(clippy::indexing_slicing)] // one of three tables
    pub fn other(&mut self, table: Table, name: &str) -> u16 {
        let out = &mut self.others[table as usize];
        put_varint(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        self.counts[table as usize + 1] += 1;
        self.counts[table as usize + 1] - 1
    }

    /// Most names in any of the tables.
    pub fn fullest(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0).into()
    }

    pub fn len(&self) -> usize {
        8 + self.streams.len() + self.others.iter().map(Vec::len).sum::<usize>()
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        self.counts.iter().for_each(|count| out.extend(count.to_le_bytes()));
        out.extend_from_slice(&self.streams);
        self.others.iter().for_each(|names| out.extend_from_slice(names));
    }
}

impl Names {
    /// Reads the table that starts at `at` in the body.
    pub fn get(body: &[u8], at: usize, len: usize, base_offset: u64) -> Result<Names, BatchError> {
        let corrupt = BatchError::Corrupt("the names of the batch are not what they should be");
        let table = at.checked_add(len).and_then(|end| body.get(at..end)).ok_or(corrupt.clone())?;
        Self::parse(table, at, base_offset).ok_or(corrupt)
    }

    fn parse(table: &[u8], at: usize, base_offset: u64) -> Option<Names> {
        let mut input = Input::new(table);
        let counts = [input.u16()?, input.u16()?, input.u16()?, input.u16()?];
        let mut names = Names::default();
        // A name takes two bytes at least, so the input's own length bounds what is set aside here.
        names.streams.reserve(usize::from(counts[0]).min(table.len() / 2));
        for _ in 0..counts[0] {
            let name = Self::name(&mut input, table.len(), at)?;
            let (version, back) = (input.varint().filter(|version| *version <= VERSION_MAX)?, input.varint()?);
            let previous = if back == 0 { None } else { Some(base_offset.checked_sub(back)?) };
            names.streams.push(StreamName { name, version, previous });
        }
        for (count, list) in counts.iter().skip(1).zip([&mut names.types, &mut names.sources, &mut names.producers]) {
            for _ in 0..*count {
                list.push(Self::name(&mut input, table.len(), at)?);
            }
        }
        input.is_empty().then_some(names)
    }

    fn name(input: &mut Input<'_>, table_len: usize, at: usize) -> Option<Span> {
        let len = usize::try_from(input.varint()?).ok()?;
        if len == 0 || len > NAME_BYTES_MAX {
            return None;
        }
        let from = at + table_len - input.rest().len();
        std::str::from_utf8(input.take(len)?).ok()?;
        Some(Span { at: u32::try_from(from).ok()?, len: u32::try_from(len).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let mut builder = NamesBuilder::default();
        assert_eq!(builder.stream("ab", 300, 7), 0);
        assert_eq!(builder.other(Table::Types, "T"), 0);
        assert_eq!(builder.other(Table::Sources, "s"), 0);
        let mut out = Vec::new();
        builder.put(&mut out);
        assert_eq!(out, [
            1, 0,  1, 0,  1, 0,  0, 0,
            2, b'a', b'b', 0xac, 0x02, 7,
            1, b'T', 1, b's',
        ]);
        assert_eq!(out.len(), builder.len());
        let names = Names::get(&out, 0, out.len(), 10).expect("it was just written");
        assert_eq!((names.streams[0].version, names.streams[0].previous), (300, Some(3)));
        for cut in 0..out.len() {
            assert!(Names::get(&out, 0, cut, 10).is_err(), "cut at {cut}");
        }
        assert!(Names::get(&out, 0, out.len(), 6).is_err(), "an event before the log's first");
        let mut far = NamesBuilder::default();
        far.stream("ab", u64::MAX, 0);
        let mut out = Vec::new();
        far.put(&mut out);
        assert!(Names::get(&out, 0, out.len(), 10).is_err(), "a version that nothing can be added to");
    }
}
