//! Lists of what is in a log: its streams by the names in its batches, its types by its indexes.

use std::collections::{BTreeMap, VecDeque};

use super::active::Active;
use super::error::ReadError;
use super::reader::LogReader;
use super::shared::lock;
use super::stream::last_of;
use super::streams::Last;
use super::walk::{View, read_error};
use crate::batch::{Batch, Kind};
use crate::segment::{NameHash, PAGE_BYTES, RawBatch, Scan, ScanError};
use crate::{Filter, Offset, Version};

/// A stream, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// The version of its last event.
    pub version: Version,
    /// The offset of its last event.
    pub last: Offset,
}

/// Streams whose names match a pattern, in the order of the batches that hold their last events.
///
/// The names are in the batches, and so each batch is read, but no event; a stream is told of where its last
/// batch names it, so that nothing is kept of those seen before.
#[derive(Debug)]
pub struct StreamList {
    view: View,
    filter: Filter,
    /// The one stream that is asked for by its name.
    only: Option<String>,
    /// The segment at hand; behind the last: the list is at its end.
    index: usize,
    scan: Option<Scan>,
    found: VecDeque<StreamInfo>,
    /// What segments without a footer hold, up to the end of the view.
    unsealed: Option<Vec<(usize, Active)>>,
    error: Option<ReadError>,
}

impl LogReader {
    /// The streams whose names match a pattern, up to the durable end of now: `*` stands for any run of characters.
    /// The log's own come only to a pattern that starts with `$`.
    pub fn streams(&self, pattern: &str) -> StreamList {
        let (view, error) = self.failing_view();
        let only = crate::Pattern::new(pattern).as_literal().map(str::to_owned);
        let filter = Filter::new().stream(pattern);
        StreamList { view, filter, only, index: 0, scan: None, found: VecDeque::new(), unsealed: None, error }
    }

    /// The types of the users' events with their numbers, ascending by name, up to the durable end of now. By the
    /// indexes of the segments, unless one has too many types to list.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn types(&self) -> Result<Vec<(String, u64)>, ReadError> {
        let view = self.view()?;
        let mut types: BTreeMap<String, u64> = BTreeMap::new();
        let mut add = |name: &str, events: u64| match types.get_mut(name) {
            Some(sum) => *sum += events,
            None => drop(types.insert(name.to_owned(), events)),
        };
        for (index, segment) in view.segments.iter().enumerate() {
            let footer = view.finder.footer(&view, segment)?;
            match footer.map(|footer| footer.types()) {
                Some(Some(listed)) => listed.iter().for_each(|one| add(one.name, one.events)),
                Some(None) => count_types(&view, index, &mut add)?,
                None => {
                    if let Some(active) = view.finder.active(&view, index)? {
                        lock(&active).types().for_each(|(name, events, _)| add(name, events));
                    }
                }
            }
        }
        Ok(types.into_iter().collect())
    }
}

/// Counts the types of a segment by reading its events.
fn count_types(view: &View, index: usize, add: &mut dyn FnMut(&str, u64)) -> Result<(), ReadError> {
    let from = view.segments.get(index).map_or(0, |segment| segment.base());
    let range = Offset::from_raw(from)..Offset::from_raw(view.end_of(index));
    for batch in super::read::Batches::new(view.clone(), &range) {
        batch?.events().filter(|event| !event.is_system()).for_each(|event| add(event.event_type(), 1));
    }
    Ok(())
}

impl StreamList {
    fn unsealed(&mut self) -> Result<(), ReadError> {
        if self.unsealed.is_some() {
            return Ok(());
        }
        let mut unsealed = Vec::new();
        for (index, segment) in self.view.segments.iter().enumerate() {
            if self.view.finder.footer(&self.view, segment)?.is_none() {
                let mut active = Active::new(segment.base());
                active.feed(segment, self.view.end_of(index))?;
                unsealed.push((index, active));
            }
        }
        self.unsealed = Some(unsealed);
        Ok(())
    }

    /// The last event of a stream in a segment, as of the end of the view.
    fn last_in(&self, index: usize, hash: NameHash) -> Result<Option<Last>, ReadError> {
        match self.unsealed.iter().flatten().find(|(unsealed, _)| *unsealed == index) {
            Some((_, active)) => Ok(active.last(hash)),
            None => self.view.finder.last_in(&self.view, index, hash),
        }
    }

    /// Takes the streams of a batch that no later one names.
    fn take(&mut self, batch: RawBatch) -> Result<(), ReadError> {
        let Some(segment) = self.view.segments.get(self.index) else { return Ok(()) };
        let (base, end, at) = (batch.header.base_offset, batch.header.end_offset(), batch.at);
        let read = Batch::names_of(&batch.header, batch.stored, segment.header.salt);
        let (body, names) = read.map_err(|error| read_error(segment, ScanError::Batch { at, error }, base))?;
        let mut found = VecDeque::new();
        for stream in &names.streams {
            let span = stream.name;
            let name = body.get(span.at as usize..(span.at + span.len) as usize).unwrap_or_default();
            if !self.filter.wants_stream(name) {
                continue;
            }
            let hash = NameHash::of(self.view.finder.id, name);
            let Some(last) = self.last_in(self.index, hash)?.filter(|last| (base..end).contains(&last.offset)) else {
                continue;
            };
            if !self.is_named_behind(hash)? {
                let (version, last) = last.typed();
                found.push_back(StreamInfo { name: String::from_utf8_lossy(name).into_owned(), version, last });
            }
        }
        self.found = found;
        Ok(())
    }

    /// Whether a segment behind the one at hand has a stream.
    fn is_named_behind(&self, hash: NameHash) -> Result<bool, ReadError> {
        // Those without a footer first: what they hold is known as of the end of the view.
        let later = self.unsealed.iter().flatten().filter(|(index, _)| *index > self.index);
        if later.clone().any(|(_, active)| active.last(hash).is_some()) {
            return Ok(true);
        }
        let count = self.view.segments.len();
        let mut from = self.index + 1;
        for to in later.map(|(index, _)| *index).chain([count]) {
            if self.view.finder.last_between(&self.view, from, to, hash)?.is_some() {
                return Ok(true);
            }
            from = to + 1;
        }
        Ok(false)
    }

    fn step(&mut self) -> Result<Option<StreamInfo>, ReadError> {
        if let Some(only) = self.only.take() {
            self.index = self.view.segments.len();
            let last = last_of(&self.view, NameHash::of(self.view.finder.id, only.as_bytes()))?;
            return Ok(last.map(|last| StreamInfo { name: only, version: last.typed().0, last: last.typed().1 }));
        }
        self.unsealed()?;
        loop {
            if let Some(info) = self.found.pop_front() {
                return Ok(Some(info));
            }
            let Some(segment) = self.view.segments.get(self.index) else { return Ok(None) };
            let failed = |error| read_error(segment, error, segment.base());
            let scan = match &mut self.scan {
                Some(scan) => scan,
                None => {
                    let scan = segment.scan_at(PAGE_BYTES as u64, Some(segment.base()), self.view.mode);
                    self.scan.insert(scan.map_err(failed)?)
                }
            };
            let end = self.view.end_of(self.index);
            let left = scan.next_offset().is_none_or(|next| next < end);
            match if left { scan.next().map_err(failed)? } else { None } {
                Some(batch) if batch.header.kind == Kind::Events => self.take(batch)?,
                Some(batch) if batch.header.kind == Kind::System && self.filter.wants_system() => self.take(batch)?,
                Some(_) => {}
                None => (self.index, self.scan) = (self.index + 1, None),
            }
        }
    }
}

impl Iterator for StreamList {
    type Item = Result<StreamInfo, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match self.error.take() {
            Some(error) => Err(error),
            None => self.step(),
        };
        if found.is_err() {
            self.index = self.view.segments.len();
        }
        found.transpose()
    }
}
