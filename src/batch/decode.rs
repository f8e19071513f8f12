//! A batch that was read: checked as a whole, then handed out event by event.

use std::sync::Arc;

use bytes::Bytes;

use super::names::Names;
use super::{AppendEntry, BatchError, Header, ProducerEntry, Salt, appends, record};
use crate::event::{Event, EventRef, Parts, Span};
use crate::window::Window;
use crate::{Filter, Offset};

/// A batch of events, checked: every byte of it is what was written.
///
/// Its events borrow from it: handing out one costs some nanoseconds and no allocation. A clone shares all
/// that was decoded.
#[derive(Debug, Clone)]
pub struct Batch {
    content: Arc<Content>,
    /// Offsets outside are not handed out: the reader asked for a range.
    range: (u64, u64),
    /// Other events are not handed out: the reader asked for some ..
    filter: Option<BatchFilter>,
    /// .. or for those that happened in a stretch of time.
    window: Option<Window>,
}

/// What a batch holds, whoever reads it.
#[derive(Debug)]
struct Content {
    header: Header,
    /// Records, names and appends, without compression.
    body: Bytes,
    names: Names,
    appends: Vec<AppendEntry>,
    producers: Vec<ProducerEntry>,
}

impl Batch {
    /// Checks a stored body against its header and reads its tables. `stored` has the header's length.
    pub(crate) fn decode(header: Header, stored: Bytes, salt: Salt) -> Result<Batch, BatchError> {
        let body = checked_body(&header, stored, salt)?;
        let names_at = header.records_len;
        let names = Names::get(&body, names_at, header.names_len, header.base_offset)?;
        let appends_at = names_at + header.names_len;
        let table = body.get(appends_at..appends_at + header.appends_len).unwrap_or_default();
        let (appends, producers) = appends::get(table, header.record_count, names.producers.len())?;
        let range = (header.base_offset, header.end_offset());
        let content = Arc::new(Content { header, body, names, appends, producers });
        let batch = Batch { content, range, filter: None, window: None };
        batch.check_records()?;
        Ok(batch)
    }

    /// The names of a batch, with the body that holds them: its checksum is checked, its records are not looked at.
    pub(crate) fn names_of(header: &Header, stored: Bytes, salt: Salt) -> Result<(Bytes, Names), BatchError> {
        let body = checked_body(header, stored, salt)?;
        let names = Names::get(&body, header.records_len, header.names_len, header.base_offset)?;
        Ok((body, names))
    }

    fn check_records(&self) -> Result<(), BatchError> {
        let records = self.records();
        let mut at = 0;
        for _ in 0..self.content.header.record_count {
            let corrupt = BatchError::Corrupt("an event of the batch is not what it should be");
            let record = record::get(records, at).ok_or(corrupt.clone())?;
            let named = usize::from(record.names.stream) < self.content.names.streams.len()
                && usize::from(record.names.event_type) < self.content.names.types.len()
                && (record.names.source == record::NO_SOURCE
                    || usize::from(record.names.source) < self.content.names.sources.len());
            if !named {
                return Err(corrupt);
            }
            record::check_extras(records, &record)?;
            at = record.next;
        }
        if at as usize == records.len() {
            Ok(())
        } else {
            Err(BatchError::Corrupt("bytes are left behind the last event of the batch"))
        }
    }

    pub(crate) fn header(&self) -> &Header {
        &self.content.header
    }

    pub(crate) fn names(&self) -> &Names {
        &self.content.names
    }

    pub(crate) fn appends(&self) -> &[AppendEntry] {
        &self.content.appends
    }

    pub(crate) fn producers(&self) -> &[ProducerEntry] {
        &self.content.producers
    }

    pub(crate) fn bytes_of(&self, span: Span) -> &[u8] {
        self.content.body.get(span.at as usize..(span.at + span.len) as usize).unwrap_or_default()
    }

    /// Whether it has the event at an offset, whatever it was asked for with.
    pub(crate) fn spans(&self, offset: u64) -> bool {
        (self.content.header.base_offset..self.content.header.end_offset()).contains(&offset)
    }

    /// Bytes of its body, in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.content.body.len()
    }

    pub(crate) fn clip(mut self, from: u64, to: u64) -> Batch {
        self.range = (self.range.0.max(from), self.range.1.min(to));
        self
    }

    /// Only the users' events that happened in a window.
    pub(crate) fn within(mut self, window: Option<Window>) -> Batch {
        self.window = window;
        self
    }

    /// Only the events that a filter wants; `None` when it wants none of them.
    pub(crate) fn matching(mut self, filter: &Filter) -> Option<Batch> {
        if !filter.is_everything() {
            self.filter = Some(BatchFilter::of(filter, &self)?);
        }
        Some(self)
    }

    /// What its tables say of an event.
    #[inline]
    fn parts(&self, record: &record::Record, offset: u64, version: u64, append: usize) -> Option<Parts> {
        let content = &*self.content;
        let delta = content.appends.get(append)?.recorded_delta_us;
        let recorded_us = content.header.recorded_us.saturating_add(i64::from(delta));
        Some(Parts {
            offset,
            version,
            recorded_us,
            time_us: record.time_us.unwrap_or(recorded_us),
            has_time: record.time_us.is_some(),
            is_json: record.is_json,
            stream: content.names.streams.get(usize::from(record.names.stream))?.name,
            event_type: *content.names.types.get(usize::from(record.names.event_type))?,
            source: content.names.sources.get(usize::from(record.names.source)).copied().unwrap_or_default(),
            id: record.id,
            content_type: record.content_type,
            headers: record.headers,
            data: record.data,
        })
    }

    /// Where each record starts, with the index of its stream.
    pub(super) fn record_places(&self) -> impl Iterator<Item = (u32, u16)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let record = record::get(self.records(), at)?;
            let place = (at, record.names.stream);
            at = record.next;
            Some(place)
        })
    }

    /// The index of the stream of a record that starts at a place.
    pub(super) fn stream_of_record(&self, at: u32) -> Option<usize> {
        record::get(self.records(), at).map(|record| record.names.stream.into())
    }

    /// The event of a record that starts at a place.
    pub(super) fn event_at(&self, at: u32, index: u32, version: u64) -> Option<Event> {
        let record = record::get(self.records(), at)?;
        let append = self.content.appends.partition_point(|append| append.first_record <= index).checked_sub(1)?;
        let parts = self.parts(&record, self.content.header.base_offset + u64::from(index), version, append)?;
        Some(Event { body: self.content.body.clone(), parts })
    }

    /// Bytes of its body.
    pub(super) fn body_len(&self) -> usize {
        self.content.body.len()
    }

    /// Whether the filter wants an event, by its names.
    #[inline]
    fn wants(&self, record: &record::Record) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.wants(record.names.stream, record.names.event_type))
    }

    /// Whether an event lies in the window, if there is one.
    #[inline]
    fn in_window(&self, parts: &Parts) -> bool {
        self.window
            .is_none_or(|window| window.holds(parts.time_us) && self.bytes_of(parts.stream).first() != Some(&b'$'))
    }

    fn records(&self) -> &[u8] {
        self.content.body.get(..self.content.header.records_len).unwrap_or_default()
    }

    /// The first offset that [`events`](Batch::events) gives.
    pub fn first(&self) -> Offset {
        Offset::from_raw(self.range.0)
    }

    /// The offset after its last event.
    pub fn next(&self) -> Offset {
        Offset::from_raw(self.range.1.max(self.range.0))
    }

    /// Its events in order: those of the range and the filter it was asked for with.
    pub fn events(&self) -> Events<'_> {
        Events { walk: Walk::new(self), batch: self }
    }

    /// The same events, the last one first.
    pub fn events_backward(&self) -> EventsBackward<'_> {
        EventsBackward { walk: BackwardWalk::new(self), batch: self }
    }

    /// Every event with the indexes of its stream and type in the batch's names.
    pub(crate) fn indexed(&self) -> impl Iterator<Item = (Parts, usize, usize)> + '_ {
        let mut walk = Walk::new(self);
        std::iter::from_fn(move || {
            let record = record::get(self.records(), walk.at)?;
            let parts = walk.next(self)?;
            Some((parts, record.names.stream.into(), record.names.event_type.into()))
        })
    }
}

/// The uncompressed body of a batch, once its checksum holds and its padding is zero.
pub(crate) fn checked_body(header: &Header, stored: Bytes, salt: Salt) -> Result<Bytes, BatchError> {
    if stored.len() != header.body_len || salt.body_crc(&stored) != header.body_crc {
        return Err(BatchError::Corrupt("the checksum of the batch does not hold"));
    }
    match header.codec {
        super::Codec::None => {
            let padding = stored.get(header.raw_len()..).unwrap_or_default();
            if padding.iter().any(|byte| *byte != 0) {
                return Err(BatchError::Corrupt("padding of the batch is not zero"));
            }
            Ok(stored)
        }
        codec => Ok(Bytes::from(codec.decompress(&stored, header.raw_len())?)),
    }
}

/// A filter, worked out for the names of one batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchFilter {
    streams: Vec<bool>,
    types: Vec<bool>,
}

impl BatchFilter {
    /// `None` when no event of the batch can match.
    pub fn of(filter: &Filter, batch: &Batch) -> Option<BatchFilter> {
        let streams: Vec<bool> =
            batch.content.names.streams.iter().map(|stream| filter.wants_stream(batch.bytes_of(stream.name))).collect();
        let types: Vec<bool> =
            batch.content.names.types.iter().map(|name| filter.wants_type(batch.bytes_of(*name))).collect();
        (streams.contains(&true) && types.contains(&true)).then_some(BatchFilter { streams, types })
    }

    fn wants(&self, stream: u16, event_type: u16) -> bool {
        self.streams.get(usize::from(stream)) == Some(&true) && self.types.get(usize::from(event_type)) == Some(&true)
    }
}

/// How far an iteration over a batch has come; holds no borrow, so that owned readers can keep it.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    at: u32,
    index: u32,
    append: usize,
    /// Next version of each stream of the batch.
    versions: Vec<u64>,
}

impl Walk {
    pub fn new(batch: &Batch) -> Self {
        let versions = batch.content.names.streams.iter().map(|stream| stream.version).collect();
        Walk { at: 0, index: 0, append: 0, versions }
    }

    /// The next event within the batch's range that the filter wants.
    #[inline]
    pub fn next(&mut self, batch: &Batch) -> Option<Parts> {
        loop {
            let offset = batch.content.header.base_offset + u64::from(self.index);
            if self.index >= batch.content.header.record_count || offset >= batch.range.1 {
                return None;
            }
            let record = record::get(batch.records(), self.at)?;
            let version = self.versions.get_mut(usize::from(record.names.stream))?;
            let this_version = *version;
            *version = version.saturating_add(1);
            while batch.content.appends.get(self.append + 1).is_some_and(|next| next.first_record <= self.index) {
                self.append += 1;
            }
            self.at = record.next;
            self.index += 1;
            if offset < batch.range.0 || !batch.wants(&record) {
                continue;
            }
            let parts = batch.parts(&record, offset, this_version, self.append)?;
            if batch.in_window(&parts) {
                return Some(parts);
            }
        }
    }

    /// The next event, sharing the memory of its batch.
    pub fn next_owned(&mut self, batch: &Batch) -> Option<Event> {
        self.next(batch).map(|parts| Event { body: batch.content.body.clone(), parts })
    }
}

/// A walk over a batch from its end; four bytes for each event of the batch.
#[derive(Debug, Clone)]
pub(crate) struct BackwardWalk {
    /// Where the events stand that are left.
    left: Vec<u32>,
    append: usize,
    /// Version after the last event left, for each stream of the batch.
    versions: Vec<u64>,
}

impl BackwardWalk {
    pub fn new(batch: &Batch) -> Self {
        let mut versions: Vec<u64> = batch.content.names.streams.iter().map(|stream| stream.version).collect();
        let mut left = Vec::with_capacity(batch.content.header.record_count as usize);
        let mut at = 0;
        for index in 0..u64::from(batch.content.header.record_count) {
            if batch.content.header.base_offset + index >= batch.range.1 {
                break;
            }
            let Some(record) = record::get(batch.records(), at) else { break };
            if let Some(version) = versions.get_mut(usize::from(record.names.stream)) {
                *version = version.saturating_add(1);
            }
            left.push(at);
            at = record.next;
        }
        BackwardWalk { left, append: batch.content.appends.len().saturating_sub(1), versions }
    }

    /// The event before, within the batch's range, that the filter wants.
    pub fn next(&mut self, batch: &Batch) -> Option<Parts> {
        loop {
            let record = record::get(batch.records(), self.left.pop()?)?;
            let index = self.left.len();
            let offset = batch.content.header.base_offset + index as u64;
            if offset < batch.range.0 {
                return None;
            }
            let version = self.versions.get_mut(usize::from(record.names.stream))?;
            *version = version.saturating_sub(1);
            let appends = &batch.content.appends;
            while appends.get(self.append).is_some_and(|append| append.first_record as usize > index) {
                self.append = self.append.checked_sub(1)?;
            }
            if !batch.wants(&record) {
                continue;
            }
            let parts = batch.parts(&record, offset, *version, self.append)?;
            if batch.in_window(&parts) {
                return Some(parts);
            }
        }
    }

    /// The event before, sharing the memory of its batch.
    pub fn next_owned(&mut self, batch: &Batch) -> Option<Event> {
        self.next(batch).map(|parts| Event { body: batch.content.body.clone(), parts })
    }
}

/// The events of one batch from the last one back, borrowed from it.
#[derive(Debug, Clone)]
pub struct EventsBackward<'b> {
    walk: BackwardWalk,
    batch: &'b Batch,
}

impl<'b> Iterator for EventsBackward<'b> {
    type Item = EventRef<'b>;

    fn next(&mut self) -> Option<EventRef<'b>> {
        self.walk.next(self.batch).map(|parts| EventRef { body: &self.batch.content.body, parts })
    }
}

/// The events of one batch, borrowed from it.
#[derive(Debug, Clone)]
pub struct Events<'b> {
    walk: Walk,
    batch: &'b Batch,
}

impl<'b> Iterator for Events<'b> {
    type Item = EventRef<'b>;

    #[inline]
    fn next(&mut self) -> Option<EventRef<'b>> {
        self.walk.next(self.batch).map(|parts| EventRef { body: &self.batch.content.body, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, HEADER_BYTES, Kind, OpenBatch};
    use super::*;
    use crate::{NewEvent, Timestamp};

    const SALT: Salt = Salt(99);

    fn append(batch: &mut OpenBatch, recorded_us: i64, events: &[(&NewEvent<'_>, super::super::StreamRef)]) {
        batch.begin_append(recorded_us);
        events.iter().for_each(|(event, stream)| batch.event(event, *stream));
    }

    fn sample(codec: Codec) -> Vec<u8> {
        let mut open = OpenBatch::new(Vec::new(), Kind::Events, 10, 1000);
        let a = open.stream("order-1", 4, Some(7));
        let placed = Event::new("order-1", "Placed").data(&b"{\"n\":1}"[..]).content_type("application/json");
        let paid =
            Event::new("order-1", "Paid").source("till").time(Timestamp::from_micros(5)).id("x").header("k", "v");
        append(&mut open, 1000, &[(&placed, a), (&paid, a)]);
        let b = open.stream("stock-9", 0, None);
        let long = Event::new("stock-9", "Placed").data(vec![b'z'; 500]);
        append(&mut open, 1007, &[(&long, b)]);
        open.producer("p", 1, 2, 3);
        let mut closed = open.close(0);
        closed.compress(codec);
        closed.seal(SALT, 4096, Default::default(), 9);
        closed.bytes
    }

    fn decode(bytes: &[u8]) -> Result<Batch, BatchError> {
        let header = match Header::decode(bytes, SALT, 4096) {
            Ok(header) => header,
            Err(super::super::HeaderError::Batch(error)) => return Err(error),
            Err(super::super::HeaderError::Short(_)) => return Err(BatchError::Corrupt("short")),
        };
        let body = bytes.get(header.header_len..header.batch_len()).ok_or(BatchError::Corrupt("short"))?;
        Batch::decode(header, Bytes::copy_from_slice(body), SALT)
    }

    #[test]
    fn what_was_put_in_comes_out() {
        for codec in [Codec::None, Codec::Lz4, Codec::Zstd].into_iter().filter(|codec| codec.is_built_in()) {
            let batch = decode(&sample(codec)).expect("it was just written");
            let events: Vec<EventRef<'_>> = batch.events().collect();
            assert_eq!(events.iter().map(|e| e.offset().raw()).collect::<Vec<_>>(), [10, 11, 12]);
            assert_eq!(events.iter().map(|e| e.version().raw()).collect::<Vec<_>>(), [4, 5, 0]);
            assert_eq!(events.iter().map(EventRef::stream).collect::<Vec<_>>(), ["order-1", "order-1", "stock-9"]);
            assert_eq!(events.iter().map(EventRef::event_type).collect::<Vec<_>>(), ["Placed", "Paid", "Placed"]);
            assert_eq!(events.iter().map(|e| e.recorded().as_micros()).collect::<Vec<_>>(), [1000, 1000, 1007]);
            assert_eq!(events.iter().map(|e| e.time().as_micros()).collect::<Vec<_>>(), [1000, 5, 1007]);
            assert_eq!((events[0].data(), events[0].content_type()), (&b"{\"n\":1}"[..], Some("application/json")));
            assert_eq!((events[1].source(), events[1].id()), (Some("till"), Some("x")));
            assert_eq!(events[1].headers().collect::<Vec<_>>(), [("k", "v")]);
            assert_eq!(events[2].data(), [b'z'; 500]);
            assert_eq!(batch.producers()[0].sequence, 2);
        }
    }

    #[test]
    fn every_flipped_bit_is_found_and_every_cut_is_short() {
        for codec in [Codec::None, Codec::Lz4].into_iter().filter(|codec| codec.is_built_in()) {
            let bytes = sample(codec);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&flipped).is_err(), "bit {bit}");
            }
            for cut in 0..bytes.len() {
                assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_hostile_body_with_a_good_checksum_is_an_error_or_a_batch_but_never_a_panic() {
        let bytes = sample(Codec::None);
        for at in HEADER_BYTES..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut other = bytes.clone();
                other[at] = value;
                let Ok(mut header) = Header::decode(&other, SALT, 4096) else { panic!("the header is as it was") };
                let body = Bytes::copy_from_slice(&other[HEADER_BYTES..]);
                header.body_crc = SALT.body_crc(&body);
                if let Ok(batch) = Batch::decode(header, body, SALT) {
                    for event in batch.events() {
                        let _ = (event.stream(), event.id(), event.headers().count(), event.data());
                    }
                }
            }
        }
    }

    #[test]
    fn a_filter_and_a_range_leave_the_rest_out() {
        let batch = decode(&sample(Codec::None)).expect("it was just written");
        let placed = batch.clone().matching(&Filter::new().types(["Placed"])).expect("there are such events");
        assert_eq!(placed.events().map(|e| e.offset().raw()).collect::<Vec<_>>(), [10, 12]);
        assert!(batch.clone().matching(&Filter::new().stream("nobody-*")).is_none());
        let clipped = batch.clip(11, 12);
        assert_eq!(clipped.events().map(|e| (e.offset().raw(), e.version().raw())).collect::<Vec<_>>(), [(11, 5)]);
    }
}
