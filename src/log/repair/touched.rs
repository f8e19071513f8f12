//! Which streams lost events: as far as the batches around a gap, and the indexes of its segment, still say it.

use std::collections::{BTreeMap, BTreeSet};

use super::arrange::{Piece, Place};
use super::rebuild::each_batch;
use super::{Anomaly, TouchedStream};
use crate::batch::{Batch, Kind};
use crate::segment::{NameHash, ScanError};

/// Streams named at most in one anomaly: the rest is counted.
const NAMED_MAX: usize = 10_000;

/// Names the streams that lost events by an anomaly.
pub(super) fn name_streams(anomaly: &mut Anomaly, places: &[Place]) -> Result<(), ScanError> {
    let (first, end) = (anomaly.first.raw(), anomaly.end.raw());
    if first >= end {
        return Ok(());
    }
    let index = places.partition_point(|place| place.base() <= first).saturating_sub(1);
    let Some(here) = places.get(index) else { return Ok(()) };
    let mut looking = Looking { first, end, from_start: index == 0, ..Looking::default() };
    looking.by_indexes(anomaly, here);
    looking.place(here)?;
    let behind = places.iter().skip(index + 1).find(|place| place.source.is_some());
    if let Some(behind) = behind {
        // What is lost in between is another's.
        looking.gap_behind |= behind.base() > here.end.max(end);
        looking.place(behind)?;
    }
    let unnamed = looking.wanted.len().saturating_sub(looking.resolved.len());
    anomaly.more_streams = (unnamed + looking.named.len().saturating_sub(NAMED_MAX)) as u64;
    // Where all that is lost is accounted for, no other stream has lost anything.
    let accounted: u64 = looking.named.values().flatten().sum();
    anomaly.all_streams_known = looking.complete || accounted == end - first;
    let named = looking.named.into_iter().take(NAMED_MAX);
    anomaly.streams = named.map(|(name, lost)| TouchedStream { name, lost }).collect();
    Ok(())
}

#[derive(Default)]
struct Looking {
    first: u64,
    end: u64,
    /// The streams that an index says are touched; all of them when `complete`.
    wanted: BTreeSet<NameHash>,
    complete: bool,
    resolved: BTreeSet<NameHash>,
    named: BTreeMap<String, Option<u64>>,
    /// All events before the gap are seen.
    from_start: bool,
    /// Offsets and versions of the streams' last events before the gap.
    before: BTreeMap<NameHash, (u64, u64)>,
    /// Where the last other gap before it ends: what a stream lost there, if anything, is not known here.
    gap_before: Option<u64>,
    /// Another gap stands between it and what is looked at.
    gap_behind: bool,
}

impl Looking {
    /// The indexes of a sealed segment list for each stream the batches that hold it.
    fn by_indexes(&mut self, anomaly: &Anomaly, here: &Place) {
        let Some(footer) = here.source.as_ref().and_then(|source| source.footer.as_ref()) else { return };
        let lost = anomaly.at..anomaly.to;
        if lost.is_empty() {
            return;
        }
        self.complete = true;
        let touched = footer.streams().filter(|stream| footer.batches_of(stream).iter().any(|at| lost.contains(&at)));
        self.wanted.extend(touched.map(|stream| stream.hash));
    }

    fn place(&mut self, place: &Place) -> Result<(), ScanError> {
        for piece in &place.pieces {
            if let Piece::Gap(first, end) = piece {
                self.gap(*first, *end);
            }
            let Piece::Run(run) = piece else { continue };
            each_batch(place, run, |batch| {
                if batch.header.kind == Kind::Gap {
                    self.gap(batch.header.base_offset, batch.header.end_offset());
                }
                if batch.header.kind.holds_events() {
                    self.batch(place, &batch.decode(place.header.salt)?);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Takes note of a gap, if it is another one.
    fn gap(&mut self, first: u64, end: u64) {
        if first < self.first {
            self.gap_before = Some(end);
        }
        self.gap_behind |= first >= self.end;
    }

    fn batch(&mut self, place: &Place, batch: &Batch) {
        let log = place.header.log_id;
        let is_before = batch.header().base_offset < self.first;
        for stream in &batch.names().streams {
            let name = batch.bytes_of(stream.name);
            let hash = NameHash::of(log, name);
            let in_gap = stream.previous.is_some_and(|previous| (self.first..self.end).contains(&previous));
            if !in_gap && !self.wanted.contains(&hash) {
                continue;
            }
            self.resolved.extend(self.wanted.get(&hash).copied());
            let lost = match (is_before, self.before.get(&hash)) {
                (false, _) if self.gap_behind => None,
                (false, Some((at, last))) if self.gap_before.is_none_or(|end| end <= *at) => {
                    Some(stream.version.saturating_sub(last + 1))
                }
                (false, None) if self.from_start && self.gap_before.is_none() => Some(stream.version),
                _ => None,
            };
            let entry = self.named.entry(String::from_utf8_lossy(name).into_owned()).or_default();
            *entry = entry.or(lost);
        }
        if is_before {
            for event in batch.events() {
                self.before.insert(
                    NameHash::of(log, event.stream().as_bytes()),
                    (event.offset().raw(), event.version().raw()),
                );
            }
        }
    }
}
