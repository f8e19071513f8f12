//! A checked batch with its records found, so that any one of them is at hand without a walk.

use std::sync::OnceLock;

use super::Batch;
use crate::event::Event;

/// A batch for looking up single events, by offset or by stream and version.
#[derive(Debug)]
pub(crate) struct Opened {
    batch: Batch,
    /// Where each record starts.
    records: Vec<u32>,
    /// Indexes of the records, those of one stream together and in order ..
    by_stream: Vec<u32>,
    /// .. where those of each stream start in it, and behind them its end.
    starts: Vec<u32>,
    /// Indexes of streams, in the order of their names' bytes.
    by_name: OnceLock<Vec<u16>>,
}

impl Opened {
    pub fn new(batch: Batch) -> Self {
        let streams = batch.names().streams.len();
        let mut records = Vec::with_capacity(batch.header().record_count as usize);
        let mut starts = vec![0u32; streams + 1];
        for (at, stream) in batch.record_places() {
            records.push(at);
            starts.iter_mut().skip(usize::from(stream) + 1).take(1).for_each(|count| *count += 1);
        }
        let mut sum = 0;
        starts.iter_mut().for_each(|start| {
            sum += *start;
            *start = sum;
        });
        let mut next = starts.clone();
        let mut by_stream = vec![0; records.len()];
        for (index, (_, stream)) in (0..).zip(batch.record_places()) {
            if let Some(next) = next.get_mut(usize::from(stream)) {
                if let Some(place) = by_stream.get_mut(*next as usize) {
                    *place = index;
                }
                *next += 1;
            }
        }
        Opened { batch, records, by_stream, starts, by_name: OnceLock::new() }
    }

    /// First offset, and the one behind the last.
    pub fn offsets(&self) -> (u64, u64) {
        (self.batch.header().base_offset, self.batch.header().end_offset())
    }

    /// The event at an offset, if it is here.
    pub fn event(&self, offset: u64) -> Option<Event> {
        let index = u32::try_from(offset.checked_sub(self.batch.header().base_offset)?).ok()?;
        let at = *self.records.get(index as usize)?;
        let stream = self.batch.stream_of_record(at)?;
        let nth = self.of_stream(stream)?.binary_search(&index).ok()? as u64;
        self.batch.event_at(at, index, self.batch.names().streams.get(stream)?.version + nth)
    }

    fn of_stream(&self, stream: usize) -> Option<&[u32]> {
        let (from, to) = (*self.starts.get(stream)?, *self.starts.get(stream + 1)?);
        self.by_stream.get(from as usize..to as usize)
    }

    /// The index of a stream among the batch's names.
    pub fn stream(&self, name: &str) -> Option<usize> {
        let streams = &self.batch.names().streams;
        let name_of = |index: u16| streams.get(usize::from(index)).map(|stream| self.batch.bytes_of(stream.name));
        let by_name = self.by_name.get_or_init(|| {
            let mut all: Vec<u16> = (0..).take(streams.len()).collect();
            all.sort_unstable_by_key(|index| name_of(*index));
            all
        });
        let found = by_name.binary_search_by_key(&Some(name.as_bytes()), |index| name_of(*index)).ok()?;
        by_name.get(found).map(|index| usize::from(*index))
    }

    /// The versions of a stream that are here: the first, and the one behind the last.
    pub fn versions(&self, stream: usize) -> Option<(u64, u64)> {
        let first = self.batch.names().streams.get(stream)?.version;
        Some((first, first + self.of_stream(stream)?.len() as u64))
    }

    /// The event of a stream at a version, if it is here.
    pub fn version(&self, stream: usize, version: u64) -> Option<Event> {
        let nth = version.checked_sub(self.batch.names().streams.get(stream)?.version)?;
        let index = *self.of_stream(stream)?.get(usize::try_from(nth).ok()?)?;
        self.batch.event_at(*self.records.get(index as usize)?, index, version)
    }

    /// Memory that it takes, about.
    pub fn memory(&self) -> usize {
        self.batch.body_len() + self.records.len() * 8 + self.starts.len() * 64
    }
}
