//! The carry batch at the head of every segment: the last record of each source and handler, and the last
//! appends of each producer. So opening reads one batch and the tail, and trimming forgets no position.
//!
//! | bytes    | field                | meaning (numbers are little-endian)                                    |
//! |---------:|----------------------|------------------------------------------------------------------------|
//! |        4 | stream_count         | at most [`CARRIED_STREAMS_MAX`] and one, sorted by name                |
//! |        4 | producer_count       | at most [`CARRIED_PRODUCERS_MAX`], sorted by name                      |
//! |          | for each stream      | name_len varint, name, offset u64, version u64, type_len varint, type, |
//! |          |                      | content_len varint, content                                            |
//! |          | for each producer    | name_len varint, name, epoch u32, appends u32 (at most                 |
//! |          |                      | [`CARRIED_APPENDS_MAX`]), for each: sequence u64, first u64, count u32, digest 16 |

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::batch::{BatchError, Input, VERSION_MAX, put_varint};
use crate::limits::{
    CARRIED_APPENDS_MAX, CARRIED_PRODUCERS_BYTES_MAX, CARRIED_PRODUCERS_MAX, CARRIED_STREAMS_MAX, NAME_BYTES_MAX,
    SOURCE_POSITION_BYTES_MAX,
};

/// The last record of one of the log's own streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CarriedRecord {
    pub offset: u64,
    pub version: u64,
    pub event_type: Box<str>,
    pub content: Bytes,
}

/// One remembered append of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CarriedAppend {
    pub sequence: u64,
    pub first: u64,
    pub count: u32,
    pub digest: u128,
}

impl CarriedAppend {
    /// The offset after its last event.
    pub fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// A producer's epoch and its last appends, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CarriedProducer {
    pub epoch: u32,
    pub appends: Vec<CarriedAppend>,
}

/// All that a segment carries over from those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Carry {
    pub streams: BTreeMap<Box<str>, CarriedRecord>,
    pub producers: BTreeMap<Box<str>, CarriedProducer>,
}

impl CarriedProducer {
    /// Where its last append ends: it rests on nothing later.
    pub fn next(&self) -> u64 {
        self.appends.last().map_or(0, CarriedAppend::next)
    }

    /// Bytes that a producer of this name takes at most.
    pub fn len_max(name: &str) -> usize {
        name.len() + 2 + 8 + CARRIED_APPENDS_MAX * 36
    }
}

impl Carry {
    /// Takes note of a producer's append. A new epoch forgets those of the one before.
    pub fn producer_appended(&mut self, name: &str, epoch: u32, append: CarriedAppend) {
        if !self.producers.contains_key(name) {
            self.producers.insert(name.into(), CarriedProducer { epoch, appends: Vec::new() });
        }
        let Some(producer) = self.producers.get_mut(name) else { return };
        if producer.epoch != epoch {
            *producer = CarriedProducer { epoch, appends: Vec::new() };
        }
        if producer.appends.len() >= CARRIED_APPENDS_MAX {
            producer.appends.remove(0);
        }
        producer.appends.push(append);
    }

    /// The producers that have to go so that one of this name has room: those that appended longest ago.
    pub fn in_the_way_of(&self, name: &str) -> Vec<Box<str>> {
        if self.producers.contains_key(name) {
            return Vec::new();
        }
        let mut count = self.producers.len() + 1;
        let mut bytes = CarriedProducer::len_max(name);
        bytes += self.producers.keys().map(|name| CarriedProducer::len_max(name)).sum::<usize>();
        let too_many = |count, bytes| count > CARRIED_PRODUCERS_MAX || bytes > CARRIED_PRODUCERS_BYTES_MAX;
        let mut gone: Vec<(u64, &Box<str>)> = Vec::new();
        while too_many(count, bytes) {
            let stays = |next: u64| gone.last().is_none_or(|(last, _)| next > *last);
            let others = self.producers.iter().map(|(name, producer)| (producer.next(), name));
            let Some(oldest) = others.filter(|(next, _)| stays(*next)).min() else { break };
            count -= 1;
            bytes -= CarriedProducer::len_max(oldest.1);
            gone.push(oldest);
        }
        gone.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// The payload of a carry batch.
    pub fn encode(&self) -> Vec<u8> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = Vec::new();
        out.extend(count(self.streams.len()));
        out.extend(count(self.producers.len()));
        let put = |out: &mut Vec<u8>, bytes: &[u8]| {
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        };
        for (name, record) in &self.streams {
            put(&mut out, name.as_bytes());
            out.extend(record.offset.to_le_bytes());
            out.extend(record.version.to_le_bytes());
            put(&mut out, record.event_type.as_bytes());
            put(&mut out, &record.content);
        }
        for (name, producer) in &self.producers {
            put(&mut out, name.as_bytes());
            out.extend(producer.epoch.to_le_bytes());
            out.extend(count(producer.appends.len()));
            for append in &producer.appends {
                out.extend(append.sequence.to_le_bytes());
                out.extend(append.first.to_le_bytes());
                out.extend(append.count.to_le_bytes());
                out.extend(append.digest.to_le_bytes());
            }
        }
        out
    }

    /// Reads the payload of a carry batch.
    pub fn decode(payload: &[u8]) -> Result<Carry, BatchError> {
        Self::parse(payload).ok_or(BatchError::Corrupt("the carry batch is not what it should be"))
    }

    fn parse(payload: &[u8]) -> Option<Carry> {
        let mut input = Input::new(payload);
        let (streams, producers) = (input.u32()? as usize, input.u32()? as usize);
        // The one is the stream that says which producers are no longer remembered.
        if streams > CARRIED_STREAMS_MAX + 1 || producers > CARRIED_PRODUCERS_MAX {
            return None;
        }
        let mut carry = Carry::default();
        for _ in 0..streams {
            let name = text(&mut input)?;
            let (offset, version, event_type) = (input.u64()?, input.u64()?, text(&mut input)?);
            (version <= VERSION_MAX).then_some(())?;
            let content = Bytes::copy_from_slice(sized(&mut input, SOURCE_POSITION_BYTES_MAX)?);
            let in_order = carry.streams.last_key_value().is_none_or(|(last, _)| *last < name);
            carry.streams.insert(name, CarriedRecord { offset, version, event_type, content });
            in_order.then_some(())?;
        }
        for _ in 0..producers {
            let (name, epoch) = (text(&mut input)?, input.u32()?);
            let count = input.u32()? as usize;
            if count > CARRIED_APPENDS_MAX {
                return None;
            }
            let mut appends = Vec::with_capacity(count);
            for _ in 0..count {
                let (sequence, first) = (input.u64()?, input.u64()?);
                let append = CarriedAppend { sequence, first, count: input.u32()?, digest: input.u128()? };
                first.checked_add(append.count.into())?;
                appends.push(append);
            }
            let in_order = carry.producers.last_key_value().is_none_or(|(last, _)| *last < name);
            carry.producers.insert(name, CarriedProducer { epoch, appends });
            in_order.then_some(())?;
        }
        input.is_empty().then_some(carry)
    }
}

fn sized<'b>(input: &mut Input<'b>, most: usize) -> Option<&'b [u8]> {
    let len = usize::try_from(input.varint()?).ok().filter(|len| *len <= most)?;
    input.take(len)
}

fn text(input: &mut Input<'_>) -> Option<Box<str>> {
    std::str::from_utf8(sized(input, NAME_BYTES_MAX)?).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let mut carry = Carry::default();
        carry.streams.insert("$source/a".into(), CarriedRecord { offset: 1, version: 2, event_type: "P".into(), content: Bytes::from_static(b"xy") });
        let append = CarriedAppend { sequence: 3, first: 4, count: 5, digest: 6 };
        carry.producers.insert("p".into(), CarriedProducer { epoch: 7, appends: vec![append] });
        let mut expected = vec![1, 0, 0, 0, 1, 0, 0, 0, 9];
        expected.extend(b"$source/a");
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, b'P', 2, b'x', b'y']);
        expected.extend([1, b'p', 7, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6]);
        expected.extend([0; 15]);
        assert_eq!(carry.encode(), expected);
        assert_eq!(Carry::decode(&expected), Ok(carry));
        let mut far = Carry::default();
        far.streams.insert("$a".into(), CarriedRecord { offset: 1, version: u64::MAX, event_type: "P".into(), content: Bytes::new() });
        assert!(Carry::decode(&far.encode()).is_err(), "a version that nothing can be added to");
        for cut in 0..expected.len() {
            assert!(Carry::decode(&expected[..cut]).is_err(), "cut at {cut}");
        }
    }
}
