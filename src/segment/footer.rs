//! Indexes of a sealed segment, as the payload of its footer batch. All of it can be made again from the
//! batches before it, byte for byte the same; no index is evidence about the log.
//!
//! | bytes | field               | meaning (numbers are little-endian)                                       |
//! |------:|---------------------|---------------------------------------------------------------------------|
//! |     4 | places              | entries of the offset index                                               |
//! |     4 | streams             | entries of the stream map                                                 |
//! |     4 | postings            | numbers in the list behind it                                             |
//! |     4 | filter_blocks       | blocks of 64 bytes; 0 without streams                                     |
//! |     4 | types               | entries of the type list                                                  |
//! |     4 | types_complete      | 1, or 0 when there were more than [`TYPES_MAX`] and none is listed        |
//! |     8 | reserved            | zero                                                                      |
//! |  32 n | offset index        | a batch at least every [`PLACE_BYTES`]: base_offset - segment's u32, byte |
//! |       |                     | position / 64 u32, recorded_us i64; smallest and largest time of users'   |
//! |       |                     | events from this batch to before the next entry's i64 i64                 |
//! |  32 n | stream map          | hash 16, last version u64, last offset - segment's u32, batches u32;      |
//! |       |                     | ascending by hash                                                         |
//! |   4 n | postings            | for streams in more than one batch: count, then byte position / 64 of each |
//! |  64 n | filter              | Bloom filter of the hashes, one block a hash (Putze and others 2007)      |
//! |       | type list           | name_len varint, name, events varint, batches varint, then for each batch |
//! |       |                     | its distance / 64 from the one before varint (the first: from 0);         |
//! |       |                     | ascending by name, users' events alone                                    |
//!
//! In `batches`, bit 31 clear: the one batch's position / 64; set: index into the postings. Bit 30: the stream
//! is the log's own. A hash is SipHash-1-3-128 of the name under the log's id.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::name_hash::{ByName, NameHash};
use crate::LogId;
use crate::batch::{Batch, BatchError, Header, Input, put_varint};
use crate::limits::NAME_BYTES_MAX;

/// Bytes of batches between two entries of the offset index, about.
pub(super) const PLACE_BYTES: u64 = 16 * 1024;
/// Distinct types that a footer lists.
const TYPES_MAX: usize = 4096;

const FIXED_BYTES: usize = 32;
const PLACE_ENTRY: usize = 32;
const STREAM_ENTRY: usize = 32;
const FILTER_BLOCK: usize = 64;
const HEAP_BIT: u32 = 1 << 31;
const SYSTEM_BIT: u32 = 1 << 30;
/// Bits set for one hash, and hashes that share a block: about 1 false answer in 100.
const FILTER_BITS: u32 = 6;
const FILTER_HASHES_A_BLOCK: usize = 48;

/// Where a batch stands, and what lies from it to the next place. Times may jump back by years: each place says
/// for itself which it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Offset of its first event.
    pub base: u64,
    /// Byte position of the batch.
    pub at: u64,
    pub recorded_us: i64,
    /// Smallest and largest time of the users' events; the smallest is above the largest when there are none.
    pub time_min_us: i64,
    pub time_max_us: i64,
}

/// What a segment knows of a type of users' events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeEntry<'f> {
    pub name: &'f str,
    pub events: u64,
    /// How many batches hold it, and where, as it is stored.
    batches: usize,
    distances: &'f [u8],
}

impl TypeEntry<'_> {
    /// Byte positions of the batches that hold it, ascending.
    pub fn batches(&self) -> impl Iterator<Item = u64> + '_ {
        let mut input = Input::new(self.distances);
        let mut at64 = 0u64;
        (0..self.batches).map_while(move |_| {
            at64 = at64.checked_add(input.varint()?)?;
            at64.checked_mul(64)
        })
    }
}

/// A type while its segment goes by.
#[derive(Debug, Default)]
struct TypeSeen {
    events: u64,
    last_at64: u64,
    batches: u64,
    distances: Vec<u8>,
}

/// What a segment knows of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub hash: NameHash,
    /// Version and offset of its last event in the segment.
    pub last_version: u64,
    pub last_offset: u64,
    pub system: bool,
    batches: u32,
}

/// Byte positions of batches in a segment, ascending, as they are stored: nothing is copied to look at one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Postings(Bytes);

impl Postings {
    /// Of byte positions / 64.
    pub fn of(at64: &[u32]) -> Self {
        Postings(at64.iter().flat_map(|at| at.to_le_bytes()).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    pub fn get(&self, index: usize) -> Option<u64> {
        let at64 = Input::new(self.0.get(index * 4..)?).u32()?;
        Some(u64::from(at64) * 64)
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len()).map_while(|index| self.get(index))
    }
}

/// A stream while its segment goes by.
#[derive(Debug, Clone, Copy)]
struct Seen {
    last_version: u64,
    last_rel: u32,
    /// The batches that hold it: index of the last one in the links, and how many there are.
    link: u32,
    batches: u32,
    system: bool,
}

/// One batch of a stream, and the link to the one before; its own index where there is none.
#[derive(Debug, Clone, Copy)]
struct Link {
    at64: u32,
    before: u32,
}

/// Gathers what a footer says while the batches of its segment go by, in order.
#[derive(Debug)]
pub(crate) struct FooterBuilder {
    log: LogId,
    base: u64,
    places: Vec<Place>,
    next_place_at: u64,
    streams: ByName<Seen>,
    links: Vec<Link>,
    types: BTreeMap<Box<[u8]>, TypeSeen>,
    types_complete: bool,
    pub user_events: u64,
    pub system_events: u64,
    pub data_bytes: u64,
}

impl FooterBuilder {
    pub fn new(log: LogId, base: u64) -> Self {
        FooterBuilder {
            log,
            base,
            places: Vec::new(),
            next_place_at: 0,
            streams: ByName::default(),
            links: Vec::new(),
            types: BTreeMap::new(),
            types_complete: true,
            user_events: 0,
            system_events: 0,
            data_bytes: 0,
        }
    }

    /// Takes the next batch of events, which stands at a byte position.
    pub fn batch(&mut self, at: u64, batch: &Batch) {
        self.place(at, batch.header());
        let names = batch.names();
        let mut last: Vec<(u64, u64)> = vec![(0, 0); names.streams.len()];
        let mut types = vec![0u64; names.types.len()];
        for (parts, stream, event_type) in batch.indexed() {
            if let Some(last) = last.get_mut(stream) {
                *last = (parts.version, parts.offset);
            }
            if batch.bytes_of(parts.stream).first() == Some(&b'$') {
                self.system_events += 1;
                continue;
            }
            self.user_events += 1;
            self.data_bytes += u64::from(parts.data.len);
            if let Some(count) = types.get_mut(event_type) {
                *count += 1;
            }
        }
        for (name, count) in names.types.iter().zip(types).filter(|(_, count)| *count > 0) {
            self.count_type(batch.bytes_of(*name), count, at / 64);
        }
        let at64 = count32(usize::try_from(at / 64).unwrap_or(usize::MAX));
        for (stream, (last_version, last_offset)) in names.streams.iter().zip(last) {
            let name = batch.bytes_of(stream.name);
            let last_rel = u32::try_from(last_offset.saturating_sub(self.base)).unwrap_or(u32::MAX);
            let link = count32(self.links.len());
            let system = name.first() == Some(&b'$');
            let seen = Seen { last_version, last_rel, link, batches: 0, system };
            let stream = self.streams.entry(NameHash::of(self.log, name)).or_insert(seen);
            self.links.push(Link { at64, before: stream.link });
            *stream = Seen { batches: stream.batches + 1, ..seen };
        }
    }

    fn place(&mut self, at: u64, header: &Header) {
        if at >= self.next_place_at {
            self.next_place_at = at + PLACE_BYTES;
            let (base, recorded_us) = (header.base_offset, header.recorded_us);
            self.places.push(Place { base, at, recorded_us, time_min_us: i64::MAX, time_max_us: i64::MIN });
        }
        if let Some(place) = self.places.last_mut() {
            place.time_min_us = place.time_min_us.min(header.time_min_us);
            place.time_max_us = place.time_max_us.max(header.time_max_us);
        }
    }

    fn count_type(&mut self, name: &[u8], events: u64, at64: u64) {
        if !self.types_complete {
            return;
        }
        if !self.types.contains_key(name) {
            self.types.insert(name.into(), TypeSeen::default());
        }
        if let Some(seen) = self.types.get_mut(name) {
            seen.events += events;
            seen.batches += 1;
            put_varint(&mut seen.distances, at64 - seen.last_at64);
            seen.last_at64 = at64;
        }
        if self.types.len() > TYPES_MAX {
            self.types_complete = false;
            self.types.clear();
        }
    }

    /// Byte positions / 64 of a stream's batches, ascending.
    fn batches_of(&self, stream: &Seen) -> Vec<u32> {
        let mut batches = Vec::with_capacity(stream.batches as usize);
        let mut link = stream.link;
        while let Some(found) = self.links.get(link as usize) {
            batches.push(found.at64);
            if found.before == link {
                break;
            }
            link = found.before;
        }
        batches.reverse();
        batches
    }

    /// The payload of the footer batch.
    pub fn encode(self) -> Vec<u8> {
        let mut streams: Vec<(&NameHash, &Seen)> = self.streams.iter().collect();
        streams.sort_unstable_by_key(|(hash, _)| **hash);
        let stream_count = streams.len();
        let blocks = stream_count.div_ceil(FILTER_HASHES_A_BLOCK);
        let mut map = Vec::with_capacity(stream_count * STREAM_ENTRY);
        let mut postings: Vec<u32> = Vec::new();
        let mut filter = vec![0; blocks * FILTER_BLOCK];
        for (hash, stream) in streams {
            let place = match self.batches_of(stream).as_slice() {
                [only] => *only,
                many => {
                    let index = count32(postings.len());
                    postings.push(count32(many.len()));
                    postings.extend(many);
                    index | HEAP_BIT
                }
            };
            map.extend(hash.0.to_le_bytes());
            map.extend(stream.last_version.to_le_bytes());
            map.extend(stream.last_rel.to_le_bytes());
            map.extend((place | if stream.system { SYSTEM_BIT } else { 0 }).to_le_bytes());
            for (byte, bit) in filter_bits(*hash, blocks) {
                if let Some(byte) = filter.get_mut(byte) {
                    *byte |= bit;
                }
            }
        }
        let mut out = Vec::new();
        let counts = [
            self.places.len(),
            stream_count,
            postings.len(),
            blocks,
            self.types.len(),
            usize::from(self.types_complete),
        ];
        counts.into_iter().for_each(|count| out.extend(count32(count).to_le_bytes()));
        out.extend([0; 8]);
        for place in &self.places {
            out.extend(count32(usize::try_from(place.base - self.base).unwrap_or(usize::MAX)).to_le_bytes());
            out.extend(count32(usize::try_from(place.at / 64).unwrap_or(usize::MAX)).to_le_bytes());
            out.extend(place.recorded_us.to_le_bytes());
            out.extend(place.time_min_us.to_le_bytes());
            out.extend(place.time_max_us.to_le_bytes());
        }
        out.extend(map);
        postings.iter().for_each(|posting| out.extend(posting.to_le_bytes()));
        out.extend(filter);
        for (name, seen) in &self.types {
            put_varint(&mut out, name.len() as u64);
            out.extend_from_slice(name);
            put_varint(&mut out, seen.events);
            put_varint(&mut out, seen.batches);
            out.extend_from_slice(&seen.distances);
        }
        out
    }
}

fn count32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The bits of a hash in a filter, as (byte, mask).
fn filter_bits(hash: NameHash, blocks: usize) -> impl Iterator<Item = (usize, u8)> {
    let (low, high) = hash.halves();
    let block = usize::try_from((u128::from(low) * blocks as u128) >> 64).unwrap_or_default();
    (0..FILTER_BITS).map(move |n| {
        let bit = usize::try_from((high >> (9 * n)) & 511).unwrap_or_default();
        (block * FILTER_BLOCK + bit / 8, 1 << (bit % 8))
    })
}

/// The indexes of a sealed segment, read from its footer.
#[derive(Debug, Clone)]
pub(crate) struct Footer {
    payload: Bytes,
    base: u64,
    places: usize,
    streams: usize,
    postings: usize,
    blocks: usize,
    types: usize,
    types_complete: bool,
}

impl Footer {
    /// Reads a payload whose checksum holds.
    pub fn decode(payload: Bytes, base: u64) -> Result<Footer, BatchError> {
        let corrupt = BatchError::Corrupt("the footer of the segment is not what it should be");
        let mut input = Input::new(&payload);
        let mut next = || input.u32().map(|n| n as usize);
        let counts = [next(), next(), next(), next(), next(), next()];
        let [Some(places), Some(streams), Some(postings), Some(blocks), Some(types), Some(complete)] = counts else {
            return Err(corrupt);
        };
        let footer = Footer {
            payload: payload.clone(),
            base,
            places,
            streams,
            postings,
            blocks,
            types,
            types_complete: complete == 1,
        };
        if payload.get(24..FIXED_BYTES).is_none_or(|reserved| reserved.iter().any(|byte| *byte != 0)) {
            return Err(corrupt);
        }
        if footer.types_at() > payload.len() || complete > 1 || (streams > 0) != (blocks > 0) {
            return Err(corrupt);
        }
        Ok(footer)
    }

    fn map_at(&self) -> usize {
        FIXED_BYTES + self.places * PLACE_ENTRY
    }

    fn postings_at(&self) -> usize {
        self.map_at() + self.streams * STREAM_ENTRY
    }

    fn filter_at(&self) -> usize {
        self.postings_at() + self.postings * 4
    }

    fn types_at(&self) -> usize {
        self.filter_at() + self.blocks * FILTER_BLOCK
    }

    fn input(&self, at: usize) -> Input<'_> {
        Input::new(self.payload.get(at..).unwrap_or_default())
    }

    fn place(&self, index: usize) -> Option<Place> {
        if index >= self.places {
            return None;
        }
        let mut input = self.input(FIXED_BYTES + index * PLACE_ENTRY);
        let (rel, at64) = (input.u32()?, input.u32()?);
        let base = self.base.checked_add(u64::from(rel))?;
        Some(Place {
            base,
            at: u64::from(at64) * 64,
            recorded_us: input.i64()?,
            time_min_us: input.i64()?,
            time_max_us: input.i64()?,
        })
    }

    /// All indexed batches, in order.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))] // shown by `annals dump`
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        (0..self.places).map_while(|index| self.place(index))
    }

    /// The last indexed batch of which something is true that is true of all before it, and the one behind it.
    pub fn places_around(&self, is_before: impl Fn(&Place) -> bool) -> (Option<Place>, Option<Place>) {
        let (mut low, mut high) = (0, self.places);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.place(middle) {
                Some(place) if is_before(&place) => low = middle + 1,
                _ => high = middle,
            }
        }
        (low.checked_sub(1).and_then(|index| self.place(index)), self.place(low))
    }

    fn stream_at(&self, index: usize) -> Option<StreamEntry> {
        let mut input = self.input(self.map_at() + index * STREAM_ENTRY);
        let hash = NameHash(input.u128()?);
        let last_version = input.u64()?;
        let last_offset = self.base.checked_add(u64::from(input.u32()?))?;
        let batches = input.u32()?;
        Some(StreamEntry { hash, last_version, last_offset, system: batches & SYSTEM_BIT != 0, batches })
    }

    /// All streams of the segment, ascending by hash.
    pub fn streams(&self) -> impl Iterator<Item = StreamEntry> + '_ {
        (0..self.streams).map_while(|index| self.stream_at(index))
    }

    /// What the segment knows of a stream; `None` when it has none of its events.
    pub fn stream(&self, hash: NameHash) -> Option<StreamEntry> {
        let filter = self.payload.get(self.filter_at()..self.types_at())?;
        if self.blocks == 0
            || filter_bits(hash, self.blocks).any(|(byte, bit)| filter.get(byte).is_none_or(|byte| byte & bit == 0))
        {
            return None;
        }
        let (mut low, mut high) = (0, self.streams);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.stream_at(middle)?;
            match entry.hash.cmp(&hash) {
                std::cmp::Ordering::Equal => return Some(entry),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The batches that hold a stream.
    pub fn batches_of(&self, stream: &StreamEntry) -> Postings {
        let place = stream.batches & !SYSTEM_BIT;
        if place & HEAP_BIT == 0 {
            return Postings(Bytes::copy_from_slice(&place.to_le_bytes()));
        }
        let at = self.postings_at() + (place & !HEAP_BIT) as usize * 4;
        let count = self.input(at).u32().map_or(0, |count| (count as usize).min(self.postings));
        let (from, to) = (at + 4, at + 4 + count * 4);
        Postings(if to <= self.filter_at() { self.payload.slice(from..to) } else { Bytes::new() })
    }

    /// Types of users' events; `None` when the segment has too many to list.
    pub fn types(&self) -> Option<Vec<TypeEntry<'_>>> {
        if !self.types_complete {
            return None;
        }
        let mut input = self.input(self.types_at());
        let mut types = Vec::new();
        for _ in 0..self.types {
            let len = usize::try_from(input.varint()?).ok().filter(|len| *len <= NAME_BYTES_MAX)?;
            let name = std::str::from_utf8(input.take(len)?).ok()?;
            let (events, batches) = (input.varint()?, usize::try_from(input.varint()?).ok()?);
            let distances = input.rest();
            for _ in 0..batches {
                input.varint()?;
            }
            let distances = distances.get(..distances.len() - input.rest().len())?;
            types.push(TypeEntry { name, events, batches, distances });
        }
        Some(types)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use crate::batch::{HeaderError, Kind, OpenBatch, Salt};

    const LOG: LogId = LogId::from_raw(7);

    fn batch(base: u64, at: u64, streams: &[(&str, u64)]) -> Batch {
        let mut open = OpenBatch::new(Vec::new(), Kind::Events, base, 1000 + at.cast_signed());
        open.begin_append(1000 + at.cast_signed());
        for (name, version) in streams {
            let stream = open.stream(name, *version, None);
            open.event(&Event::new(*name, "T").data(&b"12345"[..]), stream);
        }
        let mut closed = open.close(0);
        closed.seal(Salt(1), at, Default::default(), 0);
        let header = match crate::batch::Header::decode(&closed.bytes, Salt(1), at) {
            Ok(header) => header,
            Err(HeaderError::Short(_) | HeaderError::Batch(_)) => panic!("it was just written"),
        };
        let stored = Bytes::from(closed.bytes).slice(header.header_len..);
        Batch::decode(header, stored, Salt(1)).expect("it was just written")
    }

    fn place_of(footer: &Footer, offset: u64) -> Option<u64> {
        footer.places_around(|place| place.base <= offset).0.map(|place| place.at)
    }

    fn footer() -> Footer {
        let mut builder = FooterBuilder::new(LOG, 100);
        builder.batch(4096, &batch(100, 4096, &[("a", 0), ("b", 5)]));
        builder.batch(4480, &batch(102, 4480, &[("a", 1), ("$source/s", 0)]));
        builder.batch(40960, &batch(104, 40960, &[("c", 0)]));
        assert_eq!((builder.user_events, builder.system_events, builder.data_bytes), (4, 1, 20));
        Footer::decode(Bytes::from(builder.encode()), 100).expect("it was just written")
    }

    #[test]
    fn a_stream_is_found_with_its_last_event_and_all_its_batches() {
        let footer = footer();
        let a = footer.stream(NameHash::of(LOG, b"a")).expect("it is there");
        assert_eq!((a.last_version, a.last_offset, a.system), (1, 102, false));
        assert_eq!(footer.batches_of(&a), Postings::of(&[4096 / 64, 4480 / 64]));
        assert_eq!(footer.batches_of(&a).iter().collect::<Vec<_>>(), [4096, 4480]);
        let own = footer.stream(NameHash::of(LOG, b"$source/s")).expect("it is there");
        assert_eq!((own.last_version, own.system), (0, true));
        assert_eq!(footer.batches_of(&own), Postings::of(&[4480 / 64]));
        assert_eq!(footer.stream(NameHash::of(LOG, b"nobody")), None);
        assert_eq!(footer.streams().count(), 4);
        let types = footer.types().expect("there is one");
        assert_eq!(types.iter().map(|one| (one.name, one.events)).collect::<Vec<_>>(), [("T", 4)]);
        assert_eq!(types[0].batches().collect::<Vec<_>>(), [4096, 4480, 40960]);
    }

    #[test]
    fn an_offset_is_found_from_the_indexed_batch_before_it() {
        let footer = footer();
        assert_eq!(place_of(&footer, 99), None);
        assert_eq!(place_of(&footer, 103), Some(4096), "the second batch is too near to be indexed");
        assert_eq!(place_of(&footer, 104), Some(40960));
    }

    #[test]
    fn the_filter_answers_yes_for_what_is_there_and_seldom_for_what_is_not() {
        let mut builder = FooterBuilder::new(LOG, 0);
        let names: Vec<String> = (0..2000).map(|n| format!("stream-{n}")).collect();
        let streams: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        builder.batch(4096, &batch(0, 4096, &streams));
        let footer = Footer::decode(Bytes::from(builder.encode()), 0).expect("it was just written");
        assert!(names.iter().all(|name| footer.stream(NameHash::of(LOG, name.as_bytes())).is_some()));
        let filter = &footer.payload[footer.filter_at()..footer.types_at()];
        let passes = |n: u32| {
            let hash = NameHash::of(LOG, format!("absent-{n}").as_bytes());
            filter_bits(hash, footer.blocks).all(|(byte, bit)| filter[byte] & bit != 0)
        };
        let wrong = (0..10_000).filter(|n| passes(*n)).count();
        assert!(wrong < 300, "{wrong} of 10,000 absent names pass");
    }

    #[test]
    fn hostile_payloads_are_an_error_or_give_nothing_but_never_a_panic() {
        let payload = footer().payload;
        for cut in 0..payload.len() {
            if let Ok(footer) = Footer::decode(payload.slice(..cut), 100) {
                let _ = (footer.types(), place_of(&footer, 103));
            }
        }
        for at in 0..payload.len() {
            let mut other = payload.to_vec();
            other[at] = 0xff;
            if let Ok(footer) = Footer::decode(Bytes::from(other), 100) {
                footer.streams().for_each(|stream| drop(footer.batches_of(&stream)));
                let _ = (place_of(&footer, 103), footer.stream(NameHash::of(LOG, b"a")));
                footer.types().into_iter().flatten().for_each(|one| assert!(one.batches().count() <= payload.len()));
            }
        }
    }
}
