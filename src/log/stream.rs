//! Reading one stream, forward and backward, by the batches that hold it and no others.

use std::collections::VecDeque;
use std::sync::Arc;

use super::active::Gap;
use super::error::ReadError;
use super::finder::Asked;
use super::reader::LogReader;
use super::streams::Last;
use super::walk::{View, read_error};
use crate::batch::{BatchError, Opened};
use crate::event::Event;
use crate::segment::{NameHash, Postings, ScanError};
use crate::{Offset, Version};

/// Events of one stream in order of their versions. Each shares the memory of its batch and can be kept.
///
/// Ends at the end seen when it was made. Events that a repair gave up may have been of any stream: a read that
/// passes such a gap gives [`ReadError::Lost`] once and goes on behind it.
#[derive(Debug)]
pub struct StreamRead {
    view: View,
    name: Box<str>,
    hash: NameHash,
    /// The versions asked for.
    from: u64,
    to: u64,
    backward: bool,
    /// The version behind the last one given, reading forward.
    reached: u64,
    /// The segment to be looked at next; `None`: not begun.
    segment: Option<usize>,
    /// What is still to be given of the segment at hand, in reading order.
    parts: VecDeque<Part>,
    here: Option<Here>,
    asked: Asked,
    error: Option<ReadError>,
    done: bool,
}

/// What a segment gives to a stream's reader.
#[derive(Debug)]
enum Part {
    Batches { segment: usize, stream: Postings, next: usize, end: usize },
    Gap(Gap),
}

/// The batch at hand, and the versions still to be given of it.
#[derive(Debug)]
struct Here {
    batch: Arc<Opened>,
    stream: usize,
    from: u64,
    to: u64,
}

impl LogReader {
    /// The events of a stream, up to the durable end of now. Reads the batches that hold them and no others.
    pub fn stream(&self, name: &str) -> StreamRead {
        let (view, error) = self.failing_view();
        let hash = NameHash::of(view.finder.id, name.as_bytes());
        StreamRead {
            view,
            name: name.into(),
            hash,
            from: 0,
            to: u64::MAX,
            backward: false,
            reached: 0,
            segment: None,
            parts: VecDeque::new(),
            here: None,
            asked: Asked::default(),
            error,
            done: false,
        }
    }

    /// The version of a stream's last durable event; `None` when it has none. Reads indexes alone.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn version(&self, name: &str) -> Result<Option<Version>, ReadError> {
        let view = self.view()?;
        let last = last_of(&view, NameHash::of(view.finder.id, name.as_bytes()))?;
        Ok(last.map(|last| last.typed().0))
    }

    /// The last durable event of a stream; `None` when it has none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn last(&self, name: &str) -> Result<Option<Event>, ReadError> {
        let view = self.view()?;
        match last_of(&view, NameHash::of(view.finder.id, name.as_bytes()))? {
            Some(last) => view.finder.event(&view, last.offset),
            None => Ok(None),
        }
    }
}

/// The last event of a stream.
pub(super) fn last_of(view: &View, hash: NameHash) -> Result<Option<Last>, ReadError> {
    view.finder.last_between(view, 0, view.segments.len(), hash)
}

impl StreamRead {
    /// Only events from this version on.
    #[must_use]
    pub fn from(mut self, version: Version) -> Self {
        self.from = version.raw();
        self
    }

    /// Only events before this version.
    #[must_use]
    pub fn to(mut self, version: Version) -> Self {
        self.to = version.raw();
        self
    }

    /// The same events, the newest first.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.backward = true;
        self
    }

    /// The segment to look at next, in reading order.
    fn next_segment(&mut self) -> Result<Option<usize>, ReadError> {
        let count = self.view.segments.len();
        let next = match self.segment {
            None if self.backward => count.checked_sub(1),
            None => self.first_segment()?,
            Some(segment) if self.backward => segment.checked_sub(1),
            Some(segment) => Some(segment + 1),
        };
        let mut next = next.filter(|next| *next < count);
        while let Some(index) = next
            && !self.view.finder.may_hold(&self.view, index, self.hash, &mut self.asked)
        {
            next = if self.backward { index.checked_sub(1) } else { Some(index + 1).filter(|next| *next < count) };
        }
        Ok(next)
    }

    /// Where a forward read begins: the segment that holds the first version, looked for from the newest.
    fn first_segment(&self) -> Result<Option<usize>, ReadError> {
        let mut first = 0;
        let mut asked = Asked::default();
        let count = if self.from > 0 { self.view.segments.len() } else { 0 };
        for index in (0..count).rev() {
            if !self.view.finder.may_hold(&self.view, index, self.hash, &mut asked) {
                continue;
            }
            match self.view.finder.last_in(&self.view, index, self.hash)? {
                Some(last) if last.version < self.from => break,
                Some(_) => first = index,
                None => {}
            }
        }
        Ok(Some(first))
    }

    /// Works out what a segment gives.
    fn enter(&mut self, index: usize) -> Result<(), ReadError> {
        self.segment = Some(index);
        let stream = self.view.finder.batches_of(&self.view, index, self.hash)?;
        let mut gaps = self.view.finder.gaps(&self.view, index)?;
        gaps.retain(|gap| gap.first < self.view.end);
        let (mut next, mut end) = (0, 0);
        if let Some(stream) = &stream {
            end = stream.len();
            if self.from > self.reached && !self.backward {
                let behind = self.first_beyond(index, stream, self.from)?;
                next = behind.saturating_sub(1);
                // What was lost before the first version asked for is not asked for.
                let first_at = stream.get(next).unwrap_or_default();
                gaps.retain(|gap| gap.at > first_at);
            }
            if self.to < u64::MAX {
                end = self.first_beyond(index, stream, self.to.saturating_sub(1))?;
                let last_at = end.checked_sub(1).and_then(|last| stream.get(last)).unwrap_or_default();
                gaps.retain(|gap| gap.at < last_at);
            }
        }
        let mut cuts: Vec<(usize, Gap)> = Vec::with_capacity(gaps.len());
        for gap in gaps {
            let behind = stream.as_ref().map_or(0, |stream| stream.iter().filter(|at| *at < gap.at).count());
            cuts.push((behind, gap));
        }
        self.lay_out(index, stream, (next, end), cuts);
        Ok(())
    }

    fn lay_out(
        &mut self,
        index: usize,
        stream: Option<Postings>,
        (mut next, end): (usize, usize),
        cuts: Vec<(usize, Gap)>,
    ) {
        let mut parts = VecDeque::new();
        let run = |from: usize, to: usize, parts: &mut VecDeque<Part>| {
            if let Some(stream) = stream.clone().filter(|_| from < to) {
                parts.push_back(Part::Batches { segment: index, stream, next: from, end: to });
            }
        };
        for (behind, gap) in cuts {
            run(next, behind.min(end), &mut parts);
            next = behind.max(next);
            parts.push_back(Part::Gap(gap));
        }
        run(next, end, &mut parts);
        if self.backward {
            parts = parts.into_iter().rev().collect();
        }
        self.parts = parts;
    }

    /// How many of a stream's batches start at or before a version.
    fn first_beyond(&self, index: usize, stream: &Postings, version: u64) -> Result<usize, ReadError> {
        // Each look costs a batch, so its place is guessed from the versions known around it, which are even enough
        // in most streams; after some bad guesses the rest is halved.
        let (mut low, mut high) = (0, stream.len());
        let last = self.view.finder.last_in(&self.view, index, self.hash)?.map_or(version, |last| last.version);
        let (mut before, mut behind) = ((0, 0), (high, last.saturating_add(1)));
        let mut guesses = 0;
        while low < high {
            let guess = match guesses {
                0 => 0,
                1..8 => guess(before, behind, version),
                _ => low + (high - low) / 2,
            };
            let guess = guess.clamp(low, high - 1);
            guesses += 1;
            match self.open(index, stream, guess)? {
                Some(here) if here.from <= version && version < here.to => return Ok(guess + 1),
                Some(here) if here.from <= version => {
                    (low, before) = (guess + 1, (guess + 1, here.to));
                }
                Some(here) => (high, behind) = (guess, (guess, here.from)),
                None => high = guess,
            }
        }
        Ok(low)
    }

    /// One of the stream's batches; `None` when it is behind the end of the view.
    fn open(&self, index: usize, stream: &Postings, posting: usize) -> Result<Option<Here>, ReadError> {
        let (Some(segment), Some(at)) = (self.view.segments.get(index), stream.get(posting)) else {
            return Ok(None);
        };
        let batch = self.view.finder.batch(segment, at)?;
        if batch.offsets().0 >= self.view.end {
            return Ok(None);
        }
        let found = batch.stream(&self.name).and_then(|stream| Some((stream, batch.versions(stream)?)));
        let Some((stream, (from, to))) = found else {
            let error = BatchError::Corrupt("an index says that the batch holds a stream, which it does not");
            return Err(read_error(segment, ScanError::Batch { at, error }, batch.offsets().0));
        };
        Ok(Some(Here { batch, stream, from, to }))
    }

    /// The next event of the batch at hand.
    fn next_here(&mut self) -> Option<Event> {
        let here = self.here.as_mut().filter(|here| here.from < here.to)?;
        let version = if self.backward { here.to - 1 } else { here.from };
        match self.backward {
            true => here.to -= 1,
            false => here.from += 1,
        }
        self.reached = version + 1;
        here.batch.version(here.stream, version)
    }

    fn step(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            if self.reached >= self.to && !self.backward {
                return Ok(None);
            }
            if let Some(event) = self.next_here() {
                return Ok(Some(event));
            }
            self.here = None;
            match self.next_posting() {
                Some(Ok((segment, stream, posting))) => {
                    let Some(here) = self.open(segment, &stream, posting)? else { continue };
                    if self.backward && here.to <= self.from {
                        return Ok(None);
                    }
                    self.here = Some(Here { from: here.from.max(self.from), to: here.to.min(self.to), ..here });
                }
                Some(Err(gap)) => {
                    let (first, end) = (Offset::from_raw(gap.first), Offset::from_raw(gap.end.min(self.view.end)));
                    return Err(ReadError::Lost { first, end });
                }
                None => match self.next_segment()? {
                    Some(index) => self.enter(index)?,
                    None => return Ok(None),
                },
            }
        }
    }

    /// The next batch to open, or the gap that comes first.
    fn next_posting(&mut self) -> Option<Result<(usize, Postings, usize), Gap>> {
        let backward = self.backward;
        match self.parts.front_mut()? {
            Part::Gap(gap) => {
                let gap = *gap;
                self.parts.pop_front();
                Some(Err(gap))
            }
            Part::Batches { segment, stream, next, end } => {
                let posting = if backward { *end - 1 } else { *next };
                match backward {
                    true => *end -= 1,
                    false => *next += 1,
                }
                let found = (*segment, stream.clone(), posting);
                if *next >= *end {
                    self.parts.pop_front();
                }
                Some(Ok(found))
            }
        }
    }
}

/// Which of a stream's batches has a version, if between two of them each has as many.
fn guess((low, first): (usize, u64), (high, end): (usize, u64), version: u64) -> usize {
    let (versions, batches) = (end.saturating_sub(first).max(1), high.saturating_sub(low));
    let part = u128::from(version.saturating_sub(first)) * batches as u128 / u128::from(versions);
    low.saturating_add(usize::try_from(part).unwrap_or(usize::MAX))
}

impl Iterator for StreamRead {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let found = match self.error.take() {
            Some(error) => Err(error),
            None => self.step(),
        };
        // Past a repaired gap the stream goes on.
        self.done =
            matches!(&found, Ok(None)) || matches!(&found, Err(error) if !matches!(error, ReadError::Lost { .. }));
        found.transpose()
    }
}
