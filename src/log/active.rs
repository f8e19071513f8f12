//! What a reader knows of a segment that has no footer yet: gathered from its batches when it is first needed,
//! and from new ones as they come. Nothing of it is kept by those who write.

use std::collections::BTreeMap;

use super::error::ReadError;
use super::streams::Last;
use super::walk::read_error;
use crate::batch::{Batch, BatchError, Kind};
use crate::planted::{Bug, planted};
use crate::segment::{ByName, NameHash, PAGE_BYTES, Postings, ReadMode, ScanError, Segment};

/// Streams, types and gaps of the batches of one segment up to an offset.
#[derive(Debug)]
pub(super) struct Active {
    /// Offset behind what was gathered, and where the next batch starts.
    end: u64,
    at: u64,
    streams: ByName<StreamHere>,
    types: BTreeMap<Box<str>, TypeHere>,
    gaps: Vec<Gap>,
}

/// Events that a repair gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// Byte position of the batch that says so.
    pub at: u64,
    pub first: u64,
    pub end: u64,
}

#[derive(Debug)]
struct StreamHere {
    last: Last,
    /// Byte positions / 64 of its batches, ascending.
    batches: Vec<u32>,
}

#[derive(Debug, Default)]
struct TypeHere {
    events: u64,
    batches: Vec<u32>,
}

impl Active {
    pub fn new(base: u64) -> Self {
        let (streams, types) = Default::default();
        Active { end: base, at: PAGE_BYTES as u64, streams, types, gaps: Vec::new() }
    }

    /// Takes the batches of its segment up to an offset.
    pub fn feed(&mut self, segment: &Segment, to: u64) -> Result<(), ReadError> {
        if self.end >= to || (planted(Bug::IndexStale) && self.end > segment.base()) {
            return Ok(());
        }
        let failed = |error, first| read_error(segment, error, first);
        let mut scan =
            segment.scan_at(self.at, Some(self.end), ReadMode::Pread).map_err(|error| failed(error, self.end))?;
        while self.end < to {
            let at = scan.position();
            let what = BatchError::Corrupt("the segment ends before its events do");
            let next = scan.next().and_then(|batch| batch.ok_or(ScanError::Batch { at, error: what }));
            let batch = next.map_err(|error| failed(error, self.end))?;
            let (header, next_at) = (batch.header.clone(), batch.next_at());
            if header.kind.holds_events() {
                let batch = batch.decode(segment.header.salt).map_err(|error| failed(error, self.end))?;
                self.take(segment, at, &batch);
            } else if header.kind == Kind::Gap {
                self.gaps.push(Gap { at, first: header.base_offset, end: header.end_offset() });
            }
            (self.end, self.at) = (header.end_offset(), next_at);
        }
        Ok(())
    }

    fn take(&mut self, segment: &Segment, at: u64, batch: &Batch) {
        let at64 = u32::try_from(at / 64).unwrap_or(u32::MAX);
        let names = batch.names();
        let mut lasts: Vec<Option<Last>> = vec![None; names.streams.len()];
        let mut counts = vec![0u64; names.types.len()];
        for (parts, stream, event_type) in batch.indexed() {
            if let Some(last) = lasts.get_mut(stream) {
                *last = Some(Last { version: parts.version, offset: parts.offset });
            }
            let own = batch.bytes_of(parts.stream).first() == Some(&b'$');
            counts.iter_mut().skip(event_type).take(usize::from(!own).min(1)).for_each(|count| *count += 1);
        }
        for (stream, last) in names.streams.iter().zip(lasts) {
            let Some(last) = last else { continue };
            let hash = NameHash::of(segment.header.log_id, batch.bytes_of(stream.name));
            let here = self.streams.entry(hash).or_insert(StreamHere { last, batches: Vec::with_capacity(1) });
            here.last = last;
            here.batches.push(at64);
        }
        for (name, events) in names.types.iter().zip(counts).filter(|(_, events)| *events > 0) {
            let name = std::str::from_utf8(batch.bytes_of(*name)).unwrap_or_default();
            if !self.types.contains_key(name) {
                self.types.insert(name.into(), TypeHere::default());
            }
            if let Some(here) = self.types.get_mut(name) {
                here.events += events;
                here.batches.push(at64);
            }
        }
    }

    pub fn last(&self, hash: NameHash) -> Option<Last> {
        self.streams.get(&hash).map(|here| here.last)
    }

    /// The batches that hold a stream.
    pub fn batches_of(&self, hash: NameHash) -> Option<Postings> {
        self.streams.get(&hash).map(|here| Postings::of(&here.batches))
    }

    /// Types of users' events with their numbers and the byte positions of their batches.
    pub fn types(&self) -> impl Iterator<Item = (&str, u64, impl Iterator<Item = u64> + '_)> {
        self.types
            .iter()
            .map(|(name, here)| (&**name, here.events, here.batches.iter().map(|at64| u64::from(*at64) * 64)))
    }

    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }
}
