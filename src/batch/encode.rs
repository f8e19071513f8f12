//! A batch while events are put into it, and when it is closed and waits for the disk.

use std::collections::HashMap;

use super::names::{NamesBuilder, Table};
use super::record::{self, NO_SOURCE, NameIndexes};
use super::{AppendEntry, BATCH_ALIGN, Codec, HEADER_BYTES, Header, Kind, ProducerEntry, Salt, aligned, appends};
use crate::event::{NewEvent, is_system};

/// Where a stream's next event goes: handed in by whoever knows the log's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamRef {
    /// Index of the stream in this batch's names.
    pub index: u16,
}

/// So many names are found faster by comparing than by hashing.
const FEW: usize = 16;

/// A batch that takes events.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    kind: Kind,
    base_offset: u64,
    recorded_us: i64,
    recorded_last_us: i64,
    /// Room for the header, then the records.
    bytes: Vec<u8>,
    record_count: u32,
    names: NamesBuilder,
    /// Types, sources and producers that are in `names` already. Mostly few in a batch: searched from the last.
    known: [Vec<(Box<str>, u16)>; 3],
    /// The same where they are many.
    many: [HashMap<Box<str>, u16>; 3],
    appends: Vec<AppendEntry>,
    producers: Vec<ProducerEntry>,
    time_min_us: i64,
    time_max_us: i64,
}

/// A batch that is complete but for what only its place in the file decides.
#[derive(Debug)]
pub(crate) struct ClosedBatch {
    pub header: Header,
    /// Room for the header, then the stored body with its padding.
    pub bytes: Vec<u8>,
}

impl OpenBatch {
    /// An empty batch; `buffer` is an old one's memory.
    pub fn new(mut buffer: Vec<u8>, kind: Kind, base_offset: u64, recorded_us: i64) -> Self {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        OpenBatch {
            kind,
            base_offset,
            recorded_us,
            recorded_last_us: recorded_us,
            bytes: buffer,
            record_count: 0,
            names: NamesBuilder::default(),
            known: Default::default(),
            many: Default::default(),
            appends: Vec::new(),
            producers: Vec::new(),
            time_min_us: i64::MAX,
            time_max_us: i64::MIN,
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The offset of its first event.
    pub fn first(&self) -> u64 {
        self.base_offset
    }

    /// Length of the batch if it were closed now.
    pub fn len(&self) -> usize {
        HEADER_BYTES + aligned(self.raw_len())
    }

    /// Bytes of the body before padding.
    pub fn raw_len(&self) -> usize {
        self.bytes.len() - HEADER_BYTES + self.names.len() + appends::len(self.appends.len(), self.producers.len())
    }

    /// Most names in any of its tables.
    pub fn names_max(&self) -> usize {
        self.names.fullest()
    }

    /// µs that a later append would lie behind the batch's first; `None` when the table cannot say it.
    pub fn recorded_delta(&self, recorded_us: i64) -> Option<u32> {
        u32::try_from(recorded_us.checked_sub(self.recorded_us)?).ok()
    }

    /// Starts an append taken at a moment not before the last one's.
    pub fn begin_append(&mut self, recorded_us: i64) {
        let recorded_delta_us = self.recorded_delta(recorded_us).unwrap_or(u32::MAX);
        self.recorded_last_us = recorded_us;
        self.appends.push(AppendEntry { first_record: self.record_count, recorded_delta_us });
    }

    /// Notes the producer of the append that was begun last.
    pub fn producer(&mut self, name: &str, epoch: u32, sequence: u64, digest: u128) {
        let producer = self.other(Table::Producers, name);
        let append = u32::try_from(self.appends.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.producers.push(ProducerEntry { append, producer, epoch, sequence, digest });
    }

    /// Adds a stream that this batch does not name yet.
    pub fn stream(&mut self, name: &str, version: u64, previous: Option<u64>) -> StreamRef {
        let back = previous.map_or(0, |previous| self.base_offset.saturating_sub(previous));
        StreamRef { index: self.names.stream(name, version, back) }
    }

    /// Adds an event to the append that was begun last.
    #[inline]
    pub fn event(&mut self, event: &NewEvent<'_>, stream: StreamRef) {
        let event_type = self.other(Table::Types, &event.event_type);
        let source = event.source.as_deref().map_or(NO_SOURCE, |source| self.other(Table::Sources, source));
        let time = event.time.map_or(self.recorded_last_us, crate::Timestamp::as_micros);
        // The log's own events happen when they are recorded: among imported history they would hide its times.
        if !is_system(&event.stream) {
            self.time_min_us = self.time_min_us.min(time);
            self.time_max_us = self.time_max_us.max(time);
        }
        record::put(&mut self.bytes, event, NameIndexes { stream: stream.index, event_type, source });
        self.record_count += 1;
    }

    #[inline]
    #[allow(clippy::indexing_slicing)] // one of three tables
    fn other(&mut self, table: Table, name: &str) -> u16 {
        let known = &mut self.known[table as usize];
        if let Some((_, index)) = known.iter().rev().take(FEW).find(|(known, _)| **known == *name) {
            return *index;
        }
        self.other_slow(table, name)
    }

    #[allow(clippy::indexing_slicing)] // one of three tables
    fn other_slow(&mut self, table: Table, name: &str) -> u16 {
        let (known, many) = (&mut self.known[table as usize], &mut self.many[table as usize]);
        if let Some(index) = many.get(name) {
            return *index;
        }
        let index = self.names.other(table, name);
        known.push((name.into(), index));
        if known.len() == FEW + 1 {
            many.extend(known.iter().cloned());
        } else if known.len() > FEW {
            many.insert(name.into(), index);
        }
        index
    }

    /// Bytes that an event adds at most, its names included.
    pub fn event_len(event: &NewEvent<'_>) -> usize {
        let names = event.stream.len() + event.event_type.len() + event.source.as_deref().map_or(0, str::len);
        record::len(event) + names + 2 + 20 + 2 + 2
    }

    /// Bytes that an append adds at most, besides its events.
    pub fn append_len() -> usize {
        appends::len(1, 1) - appends::len(0, 0)
    }

    /// Completes the body. The log's writer adds what depends on the batch's place.
    pub fn close(mut self, tail_epoch: u32) -> ClosedBatch {
        let records_len = self.bytes.len() - HEADER_BYTES;
        self.names.put(&mut self.bytes);
        let names_len = self.bytes.len() - HEADER_BYTES - records_len;
        appends::put(&mut self.bytes, &self.appends, &self.producers);
        let appends_len = self.bytes.len() - HEADER_BYTES - records_len - names_len;
        let body_len = aligned(records_len + names_len + appends_len);
        self.bytes.resize(HEADER_BYTES + body_len, 0);
        let header = Header {
            header_len: HEADER_BYTES,
            body_len,
            body_crc: 0,
            base_offset: self.base_offset,
            record_count: self.record_count,
            prev_len: 0,
            recorded_us: self.recorded_us,
            recorded_span_us: self.recorded_delta(self.recorded_last_us).unwrap_or(u32::MAX),
            kind: self.kind,
            codec: Codec::None,
            durable_hint: 0,
            tail_epoch,
            prev_body_crc: 0,
            records_len,
            names_len,
            appends_len,
            time_min_us: self.time_min_us,
            time_max_us: self.time_max_us,
        };
        ClosedBatch { header, bytes: self.bytes }
    }
}

/// A batch without events: its payload is what the kind says.
pub(crate) fn control_batch(
    kind: Kind,
    base_offset: u64,
    record_count: u32,
    recorded_us: i64,
    tail_epoch: u32,
    payload: &[u8],
) -> ClosedBatch {
    let body_len = aligned(payload.len());
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(payload);
    bytes.resize(HEADER_BYTES + body_len, 0);
    let header = Header {
        header_len: HEADER_BYTES,
        body_len,
        body_crc: 0,
        base_offset,
        record_count,
        prev_len: 0,
        recorded_us,
        recorded_span_us: 0,
        kind,
        codec: Codec::None,
        durable_hint: 0,
        tail_epoch,
        prev_body_crc: 0,
        records_len: payload.len(),
        names_len: 0,
        appends_len: 0,
        time_min_us: 0,
        time_max_us: 0,
    };
    ClosedBatch { header, bytes }
}

/// What a batch's header says of the batch before it in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Previous {
    pub len: u32,
    pub body_crc: u32,
}

impl ClosedBatch {
    /// Stores the body smaller, where that is worth it.
    pub fn compress(&mut self, codec: Codec) {
        let body = self.bytes.get(HEADER_BYTES..HEADER_BYTES + self.header.raw_len()).unwrap_or_default();
        let Some(stored) = codec.compress(body) else { return };
        self.bytes.truncate(HEADER_BYTES);
        self.header.body_len = stored.len();
        self.header.codec = codec;
        self.bytes.extend_from_slice(&stored);
    }

    /// Fills in the header for a place in a file; the bytes are then what is written there.
    pub fn seal(&mut self, salt: Salt, at: u64, previous: Previous, durable_hint: u64) -> Previous {
        debug_assert!(at.is_multiple_of(BATCH_ALIGN as u64), "batches are aligned");
        self.header.prev_len = previous.len;
        self.header.prev_body_crc = previous.body_crc;
        self.header.durable_hint = durable_hint;
        self.header.body_crc = salt.body_crc(self.bytes.get(HEADER_BYTES..).unwrap_or_default());
        let header = self.header.encode(salt, at);
        self.bytes.iter_mut().zip(header).for_each(|(to, from)| *to = from);
        Previous { len: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX), body_crc: self.header.body_crc }
    }
}
