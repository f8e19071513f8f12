//! What is in a log, in numbers.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::error::ReadError;
use super::reader::LogReader;
use super::walk::{View, read_error};
use crate::batch::BatchError;
use crate::segment::{Contents, Footer, NameHash, ReadMode, ScanError, Segment, Trailer};
use crate::{LogId, Offset, TailEpoch, Timestamp};

/// Counts and sizes of a log, up to its durable end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// Identity of the log.
    pub log_id: LogId,
    /// The first offset that is still there.
    pub head: Offset,
    /// The first offset that a crash could lose; all below is counted here.
    pub durable_end: Offset,
    /// The next offset to be given.
    pub tail: Offset,
    /// Events of the users' streams.
    pub events: u64,
    /// Events of the log's own streams.
    pub system_events: u64,
    /// Offsets that repairs gave up.
    pub lost_events: u64,
    /// The users' streams.
    pub streams: u64,
    /// Distinct types of the users' events.
    pub types: u64,
    /// The segments in order.
    pub segments: Vec<SegmentStat>,
    /// Bytes that the segments' files take.
    pub bytes: u64,
    /// Bytes of the users' data.
    pub data_bytes: u64,
    /// When the first event still there was recorded; `None` without events.
    pub first_recorded: Option<Timestamp>,
    /// When the last event was recorded.
    pub last_recorded: Option<Timestamp>,
    /// The earliest time of a user's event.
    pub first_time: Option<Timestamp>,
    /// The latest time of a user's event.
    pub last_time: Option<Timestamp>,
    /// How often a torn tail was cut.
    pub tail_epoch: TailEpoch,
    /// Who wrote the log last; `None` when its files do not say.
    pub writer: Option<Writer>,
}

/// One segment of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStat {
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last event.
    pub end: Offset,
    /// Bytes that its file takes.
    pub bytes: u64,
    /// Whether it has its indexes and will not change any more.
    pub sealed: bool,
}

/// The process that wrote a log last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writer {
    /// Its process id.
    pub pid: u32,
    /// Whether there is such a process now.
    pub running: bool,
}

pub(super) fn stat(reader: &LogReader, view: &View, writer: Option<Writer>) -> Result<Stat, ReadError> {
    let mut all = Vec::with_capacity(view.segments.len());
    for (index, segment) in view.segments.iter().enumerate() {
        let end = view.segments.get(index + 1).map_or(view.end, |next| next.base());
        all.push(Summary::of(segment, end, view.mode)?);
    }
    let mut stat = Stat {
        log_id: reader.id(),
        head: Offset::from_raw(view.head),
        durable_end: Offset::from_raw(view.end),
        tail: reader.tail()?,
        events: 0,
        system_events: 0,
        lost_events: 0,
        streams: user_streams(&all),
        types: 0,
        segments: Vec::new(),
        bytes: 0,
        data_bytes: 0,
        first_recorded: None,
        last_recorded: None,
        first_time: None,
        last_time: None,
        tail_epoch: TailEpoch::FIRST,
        writer,
    };
    let mut types: BTreeSet<Box<str>> = BTreeSet::new();
    for (segment, summary) in view.segments.iter().zip(&all) {
        stat.add(segment, summary)?;
        match summary.footer.types() {
            Some(listed) => types.extend(listed.into_iter().map(|one| one.name.into())),
            None => types_by_reading(reader, &summary.trailer, &mut types)?,
        }
    }
    stat.types = types.len() as u64;
    Ok(stat)
}

impl Stat {
    fn add(&mut self, segment: &Segment, summary: &Summary) -> Result<(), ReadError> {
        let len = segment.file().and_then(|file| file.len());
        let bytes = len.map_err(|error| read_error(segment, error.into(), segment.base()))?;
        let Trailer { base, end, .. } = summary.trailer;
        self.segments.push(SegmentStat {
            base: Offset::from_raw(base),
            end: Offset::from_raw(end),
            bytes,
            sealed: segment.trailer().is_some(),
        });
        self.bytes += bytes;
        self.events += summary.trailer.user_events;
        self.system_events += summary.trailer.system_events;
        self.lost_events += summary.trailer.lost_events;
        self.data_bytes += summary.trailer.data_bytes;
        self.tail_epoch = self.tail_epoch.max(TailEpoch::from_raw(summary.trailer.tail_epoch));
        if summary.trailer.user_events + summary.trailer.system_events > 0 {
            let at = Timestamp::from_micros;
            let trailer = &summary.trailer;
            self.first_recorded = self.first_recorded.or(Some(at(trailer.recorded_first_us)));
            self.last_recorded = Some(at(trailer.recorded_last_us));
        }
        if summary.trailer.user_events > 0 {
            let at = Timestamp::from_micros;
            let trailer = &summary.trailer;
            self.first_time = self.first_time.into_iter().chain([at(trailer.time_min_us)]).min();
            self.last_time = self.last_time.into_iter().chain([at(trailer.time_max_us)]).max();
        }
        Ok(())
    }
}

/// What is known of one segment: read from its end, or gathered where it has none yet.
struct Summary {
    trailer: Trailer,
    footer: Footer,
}

impl Summary {
    fn of(segment: &Segment, end: u64, mode: ReadMode) -> Result<Summary, ReadError> {
        let failed = |error| read_error(segment, error, segment.base());
        if let (Some(trailer), Some(footer)) = (segment.trailer(), segment.footer(mode).map_err(failed)?) {
            return Ok(Summary { trailer: *trailer, footer: footer.clone() });
        }
        let mut contents = Contents::new(&segment.header);
        let mut scan = segment.scan_from(segment.base(), ReadMode::Pread).map_err(failed)?;
        while contents.end() < end {
            let ends = ScanError::Batch {
                at: scan.position(),
                error: BatchError::Corrupt("the segment ends before its events do"),
            };
            let next = scan.next().and_then(|batch| batch.ok_or(ends));
            next.and_then(|batch| contents.batch(batch)).map_err(failed)?;
        }
        let (footer, trailer) =
            contents.into_footer().map_err(|error| failed(ScanError::Batch { at: scan.position(), error }))?;
        Ok(Summary { trailer, footer })
    }
}

/// Counts the users' streams: the segments list theirs in the order of their hashes, so that merging the
/// lists needs no memory per stream.
fn user_streams(all: &[Summary]) -> u64 {
    let mut lists: Vec<_> = all.iter().map(|summary| summary.footer.streams().filter(|entry| !entry.system)).collect();
    let mut heads: BinaryHeap<Reverse<(NameHash, usize)>> = BinaryHeap::with_capacity(lists.len());
    let mut advance = |list: usize, heads: &mut BinaryHeap<Reverse<(NameHash, usize)>>| {
        if let Some(entry) = lists.get_mut(list).and_then(Iterator::next) {
            heads.push(Reverse((entry.hash, list)));
        }
    };
    (0..all.len()).for_each(|list| advance(list, &mut heads));
    let (mut count, mut last) = (0, None);
    while let Some(Reverse((hash, list))) = heads.pop() {
        count += u64::from(last != Some(hash));
        last = Some(hash);
        advance(list, &mut heads);
    }
    count
}

fn types_by_reading(reader: &LogReader, trailer: &Trailer, types: &mut BTreeSet<Box<str>>) -> Result<(), ReadError> {
    for batch in reader.batches(Offset::from_raw(trailer.base)..Offset::from_raw(trailer.end)) {
        let batch = match batch {
            Err(ReadError::Lost { .. }) => continue,
            batch => batch?,
        };
        for event in batch.events().filter(|event| !event.is_system()) {
            if !types.contains(event.event_type()) {
                types.insert(event.event_type().into());
            }
        }
    }
    Ok(())
}
