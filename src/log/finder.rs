//! What the readers of one log in one process share to find things without reading the log through.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::active::{Active, Gap};
use super::error::ReadError;
use super::layout;
use super::recent::Recent;
use super::shared::lock;
use super::streams::Last;
use super::walk::{View, read_error};
use crate::batch::{BatchError, Kind, Opened};
use crate::disk::Disk;
use crate::event::Event;
use crate::index::{Found, IndexFile, IndexSet};
use crate::planted::{Bug, planted};
use crate::segment::{Footer, NameHash, PAGE_BYTES, Postings, RawBatch, ReadMode, Scan, ScanError, Segment};
use crate::{LogId, Offset};

/// Bounded: some batches, and an index of the segments that have no footer yet.
#[derive(Debug)]
pub(super) struct Finder {
    /// Where merged indexes are.
    pub folder: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub id: LogId,
    recent: Mutex<Recent>,
    /// Of segments without a footer that is whole.
    active: Mutex<Vec<Gathered>>,
    merged: Mutex<Merged>,
}

/// The merged indexes of the segments there were when they were looked for.
#[derive(Debug, Default)]
struct Merged {
    /// How many segments, and the base of the last.
    of: Option<(usize, u64)>,
    set: Arc<IndexSet>,
}

/// What the merged index at hand says of a stream.
#[derive(Debug, Default)]
pub(super) struct Asked {
    file: Option<Arc<IndexFile>>,
    found: Option<Option<Found>>,
}

/// What was gathered of a segment.
#[derive(Debug)]
struct Gathered {
    base: u64,
    active: Arc<Mutex<Active>>,
}

impl Finder {
    pub fn new(dir: &Path, disk: Arc<dyn Disk>, id: LogId) -> Self {
        let folder = dir.join(layout::INDEX);
        let (recent, active, merged) = Default::default();
        Finder { folder, disk, id, recent, active, merged }
    }

    /// The event at an offset below the end of the view.
    pub fn event(&self, view: &View, offset: u64) -> Result<Option<Event>, ReadError> {
        let recent = lock(&self.recent).holding(offset);
        let batch = match recent {
            Some(batch) => batch,
            None => self.find_offset(view, offset)?,
        };
        Ok(batch.event(offset))
    }

    fn find_offset(&self, view: &View, offset: u64) -> Result<Arc<Opened>, ReadError> {
        let index = view.segment_of(offset);
        let Some(segment) = view.segments.get(index) else { return Err(nothing_there(view)) };
        let failed = |error| read_error(segment, error, offset);
        let mut scan = self.scan_from(view, segment, offset, ReadMode::Pread)?.leaping();
        loop {
            let at = scan.position();
            let what = BatchError::Corrupt("the segment ends before its events do");
            let batch = scan.next().and_then(|batch| batch.ok_or(ScanError::Batch { at, error: what }));
            let batch = batch.map_err(failed)?;
            if segment.trailer().is_none() {
                // The next look-up starts there, and not at the head of the segment.
                segment.note(&batch.header, batch.at);
            }
            if batch.header.end_offset() > offset {
                return self.open(segment, batch);
            }
        }
    }

    /// The batch at a byte position of a segment.
    pub fn batch(&self, segment: &Segment, at: u64) -> Result<Arc<Opened>, ReadError> {
        let recent = lock(&self.recent).at((segment.base(), at));
        if let Some(batch) = recent {
            return Ok(batch);
        }
        let failed = |error| read_error(segment, error, segment.base());
        let scan = segment.scan_at(at, None, ReadMode::Pread).map_err(failed)?;
        let what = BatchError::Corrupt("there is no batch where an index says");
        let batch = scan.leaping().next().and_then(|batch| batch.ok_or(ScanError::Batch { at, error: what }));
        self.open(segment, batch.map_err(failed)?)
    }

    fn open(&self, segment: &Segment, batch: RawBatch) -> Result<Arc<Opened>, ReadError> {
        let (first, end, at) = (batch.header.base_offset, batch.header.end_offset(), batch.at);
        if batch.header.kind == Kind::Gap {
            return Err(ReadError::Lost { first: Offset::from_raw(first), end: Offset::from_raw(end) });
        }
        let batch = batch.decode(segment.header.salt).map_err(|error| read_error(segment, error, first))?;
        let opened = Arc::new(Opened::new(batch));
        lock(&self.recent).add((segment.base(), at), &opened);
        Ok(opened)
    }

    /// The indexes of a segment; `None` when it has none that are whole. No index is evidence about the log: where
    /// it is damaged, the batches say it again.
    pub fn footer<'s>(&self, view: &View, segment: &'s Segment) -> Result<Option<&'s Footer>, ReadError> {
        match segment.footer(view.mode) {
            Ok(footer) => Ok(footer),
            Err(ScanError::Batch { at, error: BatchError::Corrupt(what) }) => {
                tracing::warn!(segment = %segment.path.display(), at, what, "its indexes are damaged and not used");
                Ok(None)
            }
            Err(error) => Err(read_error(segment, error, segment.base())),
        }
    }

    /// A walk over a segment that starts at a batch at or before the one that holds an offset.
    pub fn scan_from(&self, view: &View, segment: &Segment, offset: u64, mode: ReadMode) -> Result<Scan, ReadError> {
        let failed = |error| read_error(segment, error, offset);
        // Reading from the front needs no index. Indexes are looked at in the reader's mode, also where events are
        // not borrowed: mapped, they take no memory of their own.
        let from_front =
            offset <= segment.base() || (segment.trailer().is_some() && self.footer(view, segment)?.is_none());
        match from_front {
            true => segment.scan_at(PAGE_BYTES as u64, Some(segment.base()), mode).map_err(failed),
            false => segment.scan_from(offset, mode).map_err(failed),
        }
    }

    /// What a segment without a footer holds, up to the end of the view.
    pub fn active(&self, view: &View, index: usize) -> Result<Option<Arc<Mutex<Active>>>, ReadError> {
        let Some(segment) = view.segments.get(index) else { return Ok(None) };
        let found = {
            let mut all = lock(&self.active);
            all.retain(|one| {
                let segment = view.segments.get(view.segment_of(one.base));
                segment.is_some_and(|segment| !matches!(segment.footer(view.mode), Ok(Some(_))))
            });
            match all.iter().find(|one| one.base == segment.base()) {
                Some(found) => Arc::clone(&found.active),
                None => {
                    let active = Arc::new(Mutex::new(Active::new(segment.base())));
                    all.push(Gathered { base: segment.base(), active: Arc::clone(&active) });
                    active
                }
            }
        };
        lock(&found).feed(segment, view.end_of(index))?;
        Ok(Some(found))
    }

    /// The batches of a segment that hold a stream; `None` when none does.
    pub fn batches_of(&self, view: &View, index: usize, hash: NameHash) -> Result<Option<Postings>, ReadError> {
        let Some(segment) = view.segments.get(index) else { return Ok(None) };
        let footer = self.footer(view, segment)?;
        if let Some(footer) = footer {
            return Ok(footer.stream(hash).map(|entry| footer.batches_of(&entry)));
        }
        let active = self.active(view, index)?;
        Ok(active.and_then(|active| lock(&active).batches_of(hash)))
    }

    /// The last event of a stream in one segment.
    pub fn last_in(&self, view: &View, index: usize, hash: NameHash) -> Result<Option<Last>, ReadError> {
        let Some(segment) = view.segments.get(index) else { return Ok(None) };
        let footer = self.footer(view, segment)?;
        if let Some(footer) = footer {
            let last =
                |entry: crate::segment::StreamEntry| Last { version: entry.last_version, offset: entry.last_offset };
            return Ok(footer.stream(hash).map(last));
        }
        let active = self.active(view, index)?;
        Ok(active.and_then(|active| lock(&active).last(hash)))
    }

    /// The merged indexes that there are for the segments of a view.
    pub fn merged(&self, view: &View) -> Arc<IndexSet> {
        let of = view.segments.last().map(|last| (view.segments.len(), last.base()));
        let mut merged = lock(&self.merged);
        if merged.of != of {
            merged.set = Arc::new(self.find_merged(view, &merged.set));
            merged.of = of;
        }
        Arc::clone(&merged.set)
    }

    fn find_merged(&self, view: &View, known: &IndexSet) -> IndexSet {
        IndexSet::find(&*self.disk, &self.folder, self.id, &view.segments, view.mode, known)
    }

    /// Looks for merged indexes again: one was made.
    pub fn find_merged_again(&self, view: &View) -> Arc<IndexSet> {
        lock(&self.merged).of = None;
        self.merged(view)
    }

    /// The last event of a stream in segments from one up to before another.
    pub fn last_between(&self, view: &View, from: usize, to: usize, hash: NameHash) -> Result<Option<Last>, ReadError> {
        let merged = self.merged(view);
        let mut index = to;
        while let Some(next) = index.checked_sub(1).filter(|next| *next >= from) {
            index = next;
            let Some(segment) = view.segments.get(index) else { continue };
            if let Some(file) = merged.of(segment.base()) {
                let first = view.segment_of(file.range().0);
                let whole = index + 1 == first + file.segment_count();
                match self.ask(file, hash) {
                    // Nothing in all of its segments.
                    Some(None) => {
                        index = first;
                        continue;
                    }
                    // It says where the last event is, which the segment itself has to confirm.
                    Some(Some(found)) if whole => {
                        let last = Last { version: found.last_version, offset: found.last_offset };
                        let place = view.segment_of(last.offset);
                        if planted(Bug::IndexTrusted) {
                            return Ok(Some(last).filter(|_| place >= from));
                        }
                        if (first..=index).contains(&place) && self.last_in(view, place, hash)? == Some(last) {
                            return Ok(Some(last).filter(|_| place >= from));
                        }
                        file.give_up("what it says of a stream is not so");
                    }
                    Some(Some(found)) if !file.may_hold(&found, segment.base()) => continue,
                    Some(Some(_)) | None => {}
                }
            }
            if let Some(last) = self.last_in(view, index, hash)? {
                return Ok(Some(last));
            }
        }
        Ok(None)
    }

    /// What a merged index says of a stream; `None` when it cannot be asked.
    fn ask(&self, file: &IndexFile, hash: NameHash) -> Option<Option<Found>> {
        match file.find(hash) {
            Ok(found) => Some(found),
            Err(error) => {
                file.give_up(error);
                None
            }
        }
    }

    /// Whether a segment has to be looked at by who reads a stream: it may hold it, or has lost events.
    pub fn may_hold(&self, view: &View, index: usize, hash: NameHash, asked: &mut Asked) -> bool {
        let Some(segment) = view.segments.get(index) else { return true };
        if segment.trailer().is_none_or(|trailer| trailer.lost_events > 0) {
            return true;
        }
        let known = asked.file.as_ref().is_some_and(|file| {
            let (first, end) = file.range();
            (first..end).contains(&segment.base())
        });
        if !known {
            asked.file = self.merged(view).of(segment.base()).cloned();
            asked.found = asked.file.as_ref().and_then(|file| self.ask(file, hash));
        }
        match (&asked.file, asked.found) {
            (Some(file), Some(Some(found))) => file.may_hold(&found, segment.base()),
            (Some(_), Some(None)) => false,
            _ => true,
        }
    }

    /// The events of a segment that a repair gave up.
    pub fn gaps(&self, view: &View, index: usize) -> Result<Vec<Gap>, ReadError> {
        let Some(segment) = view.segments.get(index) else { return Ok(Vec::new()) };
        match segment.trailer() {
            Some(trailer) if trailer.lost_events == 0 => Ok(Vec::new()),
            // Rare enough to look for them among its batches.
            Some(_) => {
                let mut all = Active::new(segment.base());
                all.feed(segment, view.end_of(index))?;
                Ok(all.gaps().to_vec())
            }
            None => {
                let active = self.active(view, index)?;
                Ok(active.map(|active| lock(&active).gaps().to_vec()).unwrap_or_default())
            }
        }
    }
}

fn nothing_there(view: &View) -> ReadError {
    ReadError::Trimmed { head: Offset::from_raw(view.head) }
}
