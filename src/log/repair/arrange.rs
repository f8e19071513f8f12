//! Which file is which segment, what is missing between them, and what each segment is to hold afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::rebuild::GAP_MAX;
use super::salvage::{Bad, HeaderIs, Run, Salvaged, Unfit, salvage};
use super::{Anomaly, AnomalyKind, Found};
use crate::batch::{Kind, OFFSET_MAX};
use crate::limits::{SEGMENT_BYTES_FIRST, SEGMENT_BYTES_MAX};
use crate::log::error::OpenError;
use crate::log::files::{damaged, open_failed, open_scan_failed};
use crate::log::layout::segment_path;
use crate::log::lock;
use crate::segment::{Evidence, SegmentHeader, Verdict, last_nonzero, recover};
use crate::{LogId, Offset, TailEpoch, Timestamp};

/// Segments made at most where some are missing: those behind get other numbers then.
const MISSING_MAX: u64 = 1 << 16;

/// A part of a segment, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// What is carried over from the segments before it; made anew, where it is not in the first run.
    Carry,
    /// Good batches of the file it is made from.
    Run(Run),
    /// Offsets that are given up.
    Gap(u64, u64),
    /// A tail was cut: a new epoch begins.
    Mark(u32),
}

/// A segment as it is to be.
#[derive(Debug)]
pub(super) struct Place {
    pub header: SegmentHeader,
    pub source: Option<Salvaged>,
    pub pieces: Vec<Piece>,
    /// Others stand behind it.
    pub sealed: bool,
    pub end: u64,
    /// When the last append before it was taken.
    pub recorded_us: i64,
    /// Its file has to be written.
    pub changed: bool,
}

impl Place {
    pub fn base(&self) -> u64 {
        self.header.base.raw()
    }

    fn recorded_last_us(&self) -> i64 {
        let runs = self.pieces.iter().map(|piece| match piece {
            Piece::Run(run) => run.recorded_us,
            Piece::Carry | Piece::Gap(..) | Piece::Mark(_) => 0,
        });
        runs.max().unwrap_or(0).max(self.recorded_us)
    }

    pub fn tail_epoch(&self) -> u32 {
        let epochs = self.pieces.iter().map(|piece| match piece {
            Piece::Run(run) => run.tail_epoch,
            Piece::Mark(epoch) => *epoch,
            Piece::Carry | Piece::Gap(..) => 0,
        });
        epochs.max().unwrap_or(0).max(self.header.tail_epoch.raw())
    }
}

/// The segments of a log as they are to be, and the files that are none of them.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    /// The log that they are of.
    pub log: Option<LogId>,
    pub places: Vec<Place>,
    /// Files that go.
    pub gone: Vec<PathBuf>,
    pub anomalies: Vec<Anomaly>,
}

/// Works it out from the files there are.
pub(super) fn arrange(found: &Found<'_>) -> Result<Arranged, OpenError> {
    let mut arranging =
        Arranging { found, arranged: Arranged::default(), log: LogId::from_raw(0), furthest: 0, named_end: 0 };
    let sources = arranging.sources()?;
    arranging.lay_out(sources)?;
    check_gaps(found, &arranging.arranged)?;
    Ok(arranging.arranged)
}

/// Refuses to give up more offsets in one segment than a segment can have: to write that down would fill the disk, and
/// whatever claims so many events is not to be believed.
fn check_gaps(found: &Found<'_>, arranged: &Arranged) -> Result<(), OpenError> {
    for place in &arranged.places {
        for piece in &place.pieces {
            let Piece::Gap(first, end) = *piece else { continue };
            if end - first > GAP_MAX {
                let path = segment_path(found.dir, place.base());
                let what = "more events than a segment can have would be lost here: the name of a segment's file, a \
                    cursor or LOCK says that the log went that far, which cannot be; nothing was changed: move that \
                    file out of the log, then repair";
                return Err(damaged(&path, 0, first, end, what));
            }
        }
    }
    Ok(())
}

struct Arranging<'f> {
    found: &'f Found<'f>,
    arranged: Arranged,
    log: LogId,
    /// The largest cursor of it.
    furthest: u64,
    /// Events before it were given: a file of which nothing is left still has its name.
    named_end: u64,
}

impl Arranging<'_> {
    fn path(&self, base: u64) -> PathBuf {
        segment_path(self.found.dir, base)
    }

    fn say(&mut self, anomaly: Anomaly) {
        self.arranged.anomalies.push(anomaly);
    }

    fn salvage(&self, path: &Path, base: u64, limit: u64) -> Result<Option<Salvaged>, OpenError> {
        match salvage(&*self.found.env.disk, path, base, limit) {
            Ok(salvaged) if salvaged.header.read_only => {
                let what = "it uses features that this program can read but not write".to_owned();
                Err(OpenError::Unsupported { path: path.to_path_buf(), what })
            }
            Ok(salvaged) => Ok(Some(salvaged)),
            Err(Unfit::Nothing) => Ok(None),
            Err(Unfit::Scan(error)) => Err(open_scan_failed(path, error, base, base)),
        }
    }

    /// The files that are segments of this log, one for each base, in order.
    fn sources(&mut self) -> Result<Vec<Salvaged>, OpenError> {
        let mut all = Vec::new();
        for base in &self.found.listing.segments {
            let path = self.path(*base);
            match self.salvage(&path, *base, u64::MAX)? {
                Some(salvaged) => all.push(salvaged),
                None => {
                    let what = "neither its header nor any batch of it is left";
                    self.say(Anomaly::of(AnomalyKind::SegmentHeader, &path, what).doing("the file is kept aside"));
                    self.arranged.gone.push(path);
                    self.named_end = self.named_end.max(if *base <= OFFSET_MAX { *base } else { 0 });
                }
            }
        }
        self.log = self.log_of(&all);
        self.arranged.log = Some(self.log);
        let cursors = self.found.cursors.iter().filter(|(log, _)| *log == self.log);
        self.furthest = cursors.map(|(_, next)| *next).max().unwrap_or(0);
        let mut by_base: BTreeMap<u64, Vec<Salvaged>> = BTreeMap::new();
        for salvaged in all {
            if salvaged.header_is != HeaderIs::Gone && salvaged.header.log_id != self.log {
                let what = format!("it is a segment of another log, {}", salvaged.header.log_id);
                self.stale(salvaged, what);
                continue;
            }
            by_base.entry(salvaged.header.base.raw()).or_default().push(salvaged);
        }
        let mut sources = Vec::new();
        for (base, mut same) in by_base {
            let path = self.path(base);
            // The one that holds most; of equals, the one that has its name.
            same.sort_by_key(|one| (one.events(), one.header_is != HeaderIs::Gone, one.path == path));
            sources.extend(same.pop());
            for other in same {
                let what = match other.path == path {
                    true => "it is an older self of a segment that stands in another file".to_owned(),
                    false => format!("it holds a copy of the segment that begins at offset {base}, which is there"),
                };
                self.stale(other, what);
            }
        }
        Ok(sources)
    }

    fn stale(&mut self, salvaged: Salvaged, what: String) {
        let anomaly = Anomaly::of(AnomalyKind::StaleSegment, &salvaged.path, what).bytes(0, salvaged.len);
        self.say(anomaly.doing("the file is kept aside"));
        self.arranged.gone.push(salvaged.path);
    }

    /// The log that most of the files are of; where none says it, a cursor's, or a new one.
    fn log_of(&self, all: &[Salvaged]) -> LogId {
        let mut counts: BTreeMap<u128, usize> = BTreeMap::new();
        for salvaged in all.iter().filter(|one| one.header_is != HeaderIs::Gone) {
            *counts.entry(salvaged.header.log_id.raw()).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(log, _)| LogId::from_raw(log));
        most.or(self.found.cursors.first().map(|(log, _)| *log))
            .unwrap_or_else(|| crate::log::open::new_log_id(self.found.env))
    }

    fn lay_out(&mut self, sources: Vec<Salvaged>) -> Result<(), OpenError> {
        let mut sources = sources.into_iter().peekable();
        while let Some(source) = sources.next() {
            let next = sources.peek().map(|next| (next.header.base.raw(), Link::of(next)));
            let source = match next {
                // Two histories: the later segment counts.
                Some((limit, _)) if source.end() > limit => {
                    let base = source.header.base.raw();
                    match self.salvage(&source.path, base, limit)? {
                        Some(clipped) => clipped,
                        None => source,
                    }
                }
                _ => source,
            };
            self.missing_before(&source);
            match next {
                Some((next, link)) => self.full(source, next, link)?,
                None => self.last(source)?,
            }
        }
        if self.arranged.places.is_empty() {
            let end = self.evidence_end(0);
            self.missing(0, end.max(1), 1);
            if let Some(place) = self.arranged.places.last_mut().filter(|_| end == 0) {
                place.pieces.retain(|piece| !matches!(piece, Piece::Gap(..)));
                place.end = 0;
            }
        }
        self.new_last();
        Ok(())
    }

    fn before(&self) -> Option<&Place> {
        self.arranged.places.last()
    }

    fn next_number(&self) -> u64 {
        self.before().map_or(0, |before| before.header.number + 1)
    }

    fn end(&self) -> u64 {
        self.before().map_or(0, |before| before.end)
    }

    /// Makes the segments that are missing before one that is there.
    fn missing_before(&mut self, source: &Salvaged) {
        let (end, base) = (self.end(), source.header.base.raw());
        let known = source.header_is != HeaderIs::Gone;
        let missing = if known { source.header.number.saturating_sub(self.next_number()) } else { 1 };
        if base > end {
            self.missing(end, base, missing.min(MISSING_MAX).clamp(1, base - end));
        }
    }

    /// Makes segments that hold nothing but gaps.
    fn missing(&mut self, first: u64, end: u64, count: u64) {
        let (what, path) = (missing_what(count), self.path(first));
        let anomaly = Anomaly::of(AnomalyKind::MissingSegment, &path, what).lost(first, end);
        self.say(anomaly.doing("a segment is made that says these offsets are lost"));
        for index in 0..count {
            let last = index + 1 == count;
            let from = first + index;
            let to = if last { end } else { from + 1 };
            self.make(from, to);
        }
    }

    fn make(&mut self, base: u64, end: u64) {
        let before = self.before();
        let epoch = before.map_or(0, Place::tail_epoch);
        let recorded_us = before.map_or(0, Place::recorded_last_us);
        let header = SegmentHeader {
            log_id: self.log,
            number: self.next_number(),
            base: Offset::from_raw(base),
            created: Timestamp::from_micros(recorded_us),
            salt: crate::log::plan::new_salt(self.found.env),
            capacity: SEGMENT_BYTES_FIRST,
            tail_epoch: TailEpoch::from_raw(epoch),
            previous_crc: 0,
            read_only: false,
        };
        let mut pieces = vec![Piece::Carry];
        if end > base {
            pieces.push(Piece::Gap(base, end));
        }
        let place = Place { header, source: None, pieces, sealed: true, end, recorded_us, changed: true };
        self.arranged.places.push(place);
    }

    /// The header that a segment is to have, at its place in the row.
    fn header_for(&self, source: &Salvaged) -> SegmentHeader {
        let header = source.header;
        let capacity = match source.header_is {
            HeaderIs::Gone => {
                let len = u32::try_from(source.len).unwrap_or(u32::MAX);
                len.clamp(SEGMENT_BYTES_FIRST, SEGMENT_BYTES_MAX)
            }
            HeaderIs::Whole | HeaderIs::OneCopy => header.capacity,
        };
        SegmentHeader { log_id: self.log, number: self.next_number(), capacity, ..header }
    }

    /// A segment that has another one behind it.
    fn full(&mut self, source: Salvaged, next: u64, link: Link) -> Result<(), OpenError> {
        let header = self.header_for(&source);
        let recorded_us = self.before().map_or(0, Place::recorded_last_us);
        // Whether the segments between are missing: then this one ends where it says itself.
        let count = link.number.map_or(0, |number| number.saturating_sub(header.number + 1));
        let missing = count > 0;
        // Each of them has at least one event, and so has this one.
        let own_end = source.ended_at.unwrap_or(header.base.raw() + 1).min(next.saturating_sub(count));
        let end = if missing { own_end.max(source.end()) } else { next };
        let mut changed = self.head(&source, &header);
        let gaps = gaps(&source.runs, header.base.raw(), end);
        let follows =
            !missing && link.previous_crc.is_none_or(|crc| source.runs.last().is_some_and(|r| r.last.body_crc == crc));
        let mut told = Vec::new();
        for bad in &source.bad {
            let behind = source.runs.iter().find(|run| run.at >= bad.to);
            let lost_to = lost_to(bad, behind, end, &told);
            let is_rest = behind.is_none() && source.trailer.is_none() && bad.next == end && (follows || missing);
            if is_rest {
                continue;
            }
            changed = true;
            told.extend((lost_to > bad.next).then_some(bad.next));
            let anomaly = self.rot(&source, bad, lost_to)?;
            self.say(anomaly);
        }
        for (first, end) in gaps.iter().filter(|(first, _)| !told.contains(first)) {
            changed = true;
            let what = "the segment ends before the next one begins";
            let anomaly = Anomaly::of(AnomalyKind::BitRot, &source.path, what).lost(*first, *end);
            self.say(anomaly.doing("a gap is written in their place"));
        }
        if source.indexes_hold == Some(false) && !changed {
            changed = true;
            let at = source.runs.last().map_or(0, |run| run.to);
            let what = "the indexes are not those of the events before them; no event is affected";
            let anomaly = Anomaly::of(AnomalyKind::Index, &source.path, what).bytes(at, source.len);
            self.say(anomaly.doing("the indexes are made again from the batches"));
        }
        let pieces = with_gaps(&source, header.base.raw(), end);
        self.place(Place { header, source: Some(source), pieces, sealed: true, end, recorded_us, changed });
        Ok(())
    }

    /// Puts a segment behind the others.
    fn place(&mut self, place: Place) {
        self.arranged.places.push(place);
    }

    /// Looks at a segment's first page and its name; returns whether it has to be written again.
    fn head(&mut self, source: &Salvaged, header: &SegmentHeader) -> bool {
        let path = self.path(header.base.raw());
        let mut changed = false;
        match source.header_is {
            HeaderIs::Whole => {}
            HeaderIs::OneCopy => {
                changed = true;
                let what = "the first page is not what was written; one good copy of the header is left";
                let anomaly = Anomaly::of(AnomalyKind::SegmentHeader, &source.path, what).bytes(0, 4096);
                self.say(anomaly.doing("the page is written again from the good copy; nothing is lost"));
            }
            HeaderIs::Gone => {
                changed = true;
                let what = "neither copy of the segment's header is whole";
                let anomaly = Anomaly::of(AnomalyKind::SegmentHeader, &source.path, what).bytes(0, 4096);
                let doing = "the header is made again from the batches and the neighbours; nothing is lost by it";
                self.say(anomaly.doing(doing));
            }
        }
        if source.path != path {
            changed = true;
            let what = format!("it holds the segment that begins at offset {}", header.base);
            let anomaly = Anomaly::of(AnomalyKind::StaleSegment, &source.path, what).bytes(0, source.len);
            self.say(anomaly.doing(format!("it gets its own name, {}", path.display())));
            self.arranged.gone.push(source.path.clone());
        }
        if source.header_is != HeaderIs::Gone && header.number != source.header.number {
            changed = true;
            let what = format!("it says it is segment {} of the log, and is {}", source.header.number, header.number);
            let anomaly = Anomaly::of(AnomalyKind::StaleSegment, &source.path, what).bytes(0, 4096);
            self.say(anomaly.doing("its header is written again"));
        }
        changed
    }

    /// Damaged bytes among or behind the batches of a segment.
    fn rot(&self, source: &Salvaged, bad: &Bad, lost_to: u64) -> Result<Anomaly, OpenError> {
        let behind_all = !source.runs.iter().any(|run| run.at >= bad.to);
        let failed = |error| open_failed("reading", &source.path, error);
        let empty = behind_all && last_nonzero(&*source.file, bad.at).map_err(failed)?.is_none();
        let kind = if empty { AnomalyKind::StaleSegment } else { AnomalyKind::BitRot };
        let what = match empty {
            true => "it is an older self of the segment: it ends before the next one begins".to_owned(),
            false => bad.what.to_owned(),
        };
        let anomaly = Anomaly::of(kind, &source.path, what).bytes(bad.at, bad.to).lost(bad.next, lost_to);
        Ok(match (lost_to > bad.next, bad.at) {
            (true, _) => anomaly.doing("a gap is written in their place"),
            (false, 4096) => anomaly.doing("what is carried over is made again from the segments before it"),
            (false, _) => anomaly.doing("no event was in them: they are left out"),
        })
    }

    /// The last segment that is there.
    fn last(&mut self, source: Salvaged) -> Result<(), OpenError> {
        let mut header = self.header_for(&source);
        let recorded_us = self.before().map_or(0, Place::recorded_last_us);
        let base = header.base.raw();
        if let Some(end) = source.ended_at.filter(|end| *end > base) {
            let end = end.max(source.end());
            self.full(source, end, Link::default())?;
            return Ok(());
        }
        let mut changed = self.head(&source, &header);
        let evidence = self.evidence(base);
        let failed = |error| open_scan_failed(&source.path, error, base, base);
        let tail = recover(&source.file, &source.header, evidence, |batch| match batch.header.kind {
            Kind::Footer => Err(crate::segment::ScanError::Batch {
                at: batch.at,
                error: crate::batch::BatchError::Corrupt("a footer stands in the segment that is written"),
            }),
            _ => Ok(()),
        });
        let tail = tail.map_err(failed)?;
        let first_run = source.runs.first().copied();
        let whole_head = source.carry.is_some();
        let mut end = first_run.filter(|_| whole_head).map_or(base, |run| run.end);
        let mut pieces: Vec<Piece> = first_run.filter(|_| whole_head).map(Piece::Run).into_iter().collect();
        let epoch = source.runs.iter().map(|run| run.tail_epoch).max().unwrap_or(0);
        let mark = Piece::Mark(epoch.max(header.tail_epoch.raw()).saturating_add(1));
        match &tail.verdict {
            Verdict::Clean | Verdict::Torn { .. } if !whole_head => {
                self.cut_or_lost(&source, "the carry batch is not whole", source.end().max(evidence.durable_end))?;
                (end, changed) = (source.end().max(evidence.durable_end), true);
                pieces = with_gaps(&source, base, end);
                pieces.push(mark);
            }
            Verdict::Clean => {}
            Verdict::Torn { to, why } => {
                let anomaly = Anomaly::of(AnomalyKind::TornTail, &source.path, *why).bytes(tail.end_at, *to);
                let doing = "none of it was acknowledged: opening the log cuts it and keeps it aside";
                self.say(anomaly.doing(doing).left_to_open());
                // Should the segment be written anew, it is cut by that.
                pieces.push(mark);
            }
            Verdict::Damaged { what, end: known } => {
                end = (*known).max(source.end()).max(evidence.durable_end);
                changed = true;
                self.cut_or_lost(&source, what, end)?;
                pieces = with_gaps(&source, base, end);
                pieces.push(mark);
            }
        }
        if source.header_is == HeaderIs::Gone {
            header.capacity = header.capacity.max(SEGMENT_BYTES_FIRST);
        }
        self.place(Place { header, source: Some(source), pieces, sealed: false, end, recorded_us, changed });
        Ok(())
    }

    /// Says what is lost of the segment that was written last.
    fn cut_or_lost(&mut self, source: &Salvaged, what: &str, end: u64) -> Result<(), OpenError> {
        let (mut said, mut told) = (false, Vec::new());
        for bad in &source.bad {
            let behind = source.runs.iter().find(|run| run.at >= bad.to);
            let lost_to = lost_to(bad, behind, end, &told);
            let failed = |error| open_failed("reading", &source.path, error);
            let is_empty = last_nonzero(&*source.file, bad.at).map_err(failed)?.is_none();
            if behind.is_none() && lost_to == bad.next && is_empty && said {
                continue;
            }
            let what = if said { bad.what } else { what };
            let kind = if is_empty { AnomalyKind::StaleSegment } else { AnomalyKind::BitRot };
            let mut anomaly = Anomaly::of(kind, &source.path, what).bytes(bad.at, bad.to).lost(bad.next, lost_to);
            anomaly = match lost_to > bad.next {
                true => anomaly.doing("a gap is written in their place, and a new tail epoch begins"),
                false => anomaly.doing("no event is known to have been in them: they are left out"),
            };
            if behind.is_none() {
                anomaly = anomaly.at_least();
            }
            self.say(anomaly);
            said = true;
            told.extend((lost_to > bad.next).then_some(bad.next));
        }
        let next = source.end();
        if !said || (end > next && !told.contains(&next)) {
            let at = source.runs.last().map_or(0, |run| run.to);
            let anomaly = Anomaly::of(AnomalyKind::BitRot, &source.path, what).bytes(at, source.len).lost(next, end);
            self.say(anomaly.doing("a gap is written in their place, and a new tail epoch begins").at_least());
        }
        Ok(())
    }

    /// Makes the segment behind the last one, where that takes no more batches.
    fn new_last(&mut self) {
        let Some(last) = self.arranged.places.last_mut() else { return };
        if !last.sealed {
            return;
        }
        // A made one may be the last itself.
        if last.source.is_none() {
            last.sealed = false;
            let epoch = last.tail_epoch().saturating_add(1);
            last.pieces.push(Piece::Mark(epoch));
            return;
        }
        let base = last.end;
        let epoch = last.tail_epoch().saturating_add(1);
        let end = self.evidence_end(base).max(base);
        let what = "the segment behind the last one is missing".to_owned();
        let path = self.path(base);
        let anomaly = Anomaly::of(AnomalyKind::MissingSegment, &path, what).lost(base, end).at_least();
        self.say(anomaly.doing("it is made again, and a new tail epoch begins"));
        self.make(base, end);
        if let Some(made) = self.arranged.places.last_mut() {
            made.sealed = false;
            made.pieces.push(Piece::Mark(epoch));
        }
    }
}

fn missing_what(count: u64) -> String {
    match count {
        1 => "the segment is missing".to_owned(),
        count => format!("{count} segments are missing from here on"),
    }
}

/// What a segment says of the one before it.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    number: Option<u64>,
    previous_crc: Option<u32>,
}

impl Link {
    fn of(next: &Salvaged) -> Link {
        match next.header_is {
            HeaderIs::Gone => Link::default(),
            HeaderIs::Whole | HeaderIs::OneCopy => {
                Link { number: Some(next.header.number), previous_crc: Some(next.header.previous_crc) }
            }
        }
    }
}

/// Where what is lost with damaged bytes ends. Of bytes that no good batch parts, the first account for all.
fn lost_to(bad: &Bad, behind: Option<&Run>, end: u64, told: &[u64]) -> u64 {
    match told.contains(&bad.next) {
        true => bad.next,
        false => behind.map_or(end, |run| run.first).max(bad.next),
    }
}

/// The offsets between and behind good batches.
fn gaps(runs: &[Run], base: u64, end: u64) -> Vec<(u64, u64)> {
    let gap = |piece| match piece {
        Piece::Gap(first, end) => Some((first, end)),
        _ => None,
    };
    stretches(runs, base, end).filter_map(gap).collect()
}

/// The good batches of a segment, and gaps for what is lost of it.
fn with_gaps(source: &Salvaged, base: u64, end: u64) -> Vec<Piece> {
    let carry = source.carry.is_none().then_some(Piece::Carry);
    carry.into_iter().chain(stretches(&source.runs, base, end)).collect()
}

/// The runs in order, each behind the gap that it leaves to the one before it, and what is missing at the end.
fn stretches(runs: &[Run], base: u64, end: u64) -> impl Iterator<Item = Piece> {
    let mut next = base;
    let behind = runs.last().map_or(base, |run| run.end);
    let gap = |first, end| (end > first).then_some(Piece::Gap(first, end));
    let pieces = runs.iter().flat_map(move |run| {
        let before = std::mem::replace(&mut next, run.end);
        gap(before, run.first).into_iter().chain([Piece::Run(*run)])
    });
    pieces.chain(gap(behind, end))
}

impl Arranging<'_> {
    /// What is known about the end of the segment that was written last.
    fn evidence(&self, base: u64) -> Evidence {
        let evidence = lock::evidence(self.found.record, base, self.found.env.boot);
        Evidence { durable_end: self.evidence_end(base).max(evidence.durable_end), ..evidence }
    }

    /// The largest end that `LOCK` and cursors know of.
    fn evidence_end(&self, base: u64) -> u64 {
        let later = self.found.record.filter(|record| record.segment > base).map_or(0, |record| {
            let written = if record.is_of(self.found.env.boot) { record.written_end } else { 0 };
            record.segment.max(record.durable_end).max(written)
        });
        let evidence = lock::evidence(self.found.record, base, self.found.env.boot);
        later.max(self.furthest).max(self.named_end).max(evidence.durable_end)
    }
}
