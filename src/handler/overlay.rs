//! What a step has read and changed so far, over the rows as they were before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::cache::Cache;
use super::commit::Write;
use super::own::is_own;
use super::rows::Pieces;
use crate::view::{Digest, ViewError};
use crate::{LogId, Offset};

/// The event that wrote a row last, and the index of its stream.
type Written = Option<(Offset, u32)>;

/// A row that the step has touched.
#[derive(Debug, Clone)]
struct Row {
    key: Bytes,
    before: Option<Bytes>,
    now: Option<Bytes>,
    /// The event that wrote it last, and its stream.
    written: Written,
}

/// A row's place, value and last write as they were.
type Before = (usize, Option<Bytes>, Written);

/// Rows of one step, with the way back to where its current event began.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: Vec<Row>,
    /// Where the rows of keys are.
    by_key: HashMap<Bytes, usize, RandomState>,
    /// Where the row is that was touched last: most are read, and then written.
    last: usize,
    /// The bytes of rows: short ones, which end with the step.
    pieces: Pieces,
    /// What the current event changed, as it was before, oldest first.
    undo: Vec<Before>,
    /// Every write in order, where each is recorded.
    writes: Option<Vec<Write>>,
    /// Of `writes`, how many there were before the current event.
    writes_before: usize,
    /// Bytes written, about.
    bytes: usize,
    bytes_before: usize,
    at: Offset,
    stream: Option<u32>,
    streams: Vec<Box<str>>,
    by_name: HashMap<Box<str>, u32, RandomState>,
    /// Prefixes that were scanned, where that is of interest.
    scanned: Option<BTreeSet<Bytes>>,
    /// The view could not be read: nothing of the step counts.
    broken: Option<ViewError>,
}

/// What a step's rows add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sums {
    pub digest: Digest,
    pub own_digest: Digest,
    pub rows: u64,
    pub own_rows: u64,
}

impl Overlay {
    pub fn new(exact: bool) -> Self {
        Overlay { writes: exact.then(Vec::new), ..Overlay::default() }
    }

    /// Rows of one of several lanes: it notes all writes, and what was scanned.
    pub fn noting() -> Self {
        Overlay { writes: Some(Vec::new()), scanned: Some(BTreeSet::new()), ..Overlay::default() }
    }

    /// The writes of the current event, in order.
    pub fn take_writes(&mut self) -> Vec<(Bytes, Option<Bytes>)> {
        let writes = self.writes.as_mut().map(std::mem::take).unwrap_or_default();
        writes.into_iter().map(|write| (write.key, write.value)).collect()
    }

    /// The keys that were read or written, and whether they were written.
    pub fn touched(&self) -> impl Iterator<Item = (&[u8], bool)> {
        self.rows.iter().map(|row| (&row.key[..], row.written.is_some()))
    }

    pub fn scanned(&self) -> &BTreeSet<Bytes> {
        const NONE: &BTreeSet<Bytes> = &BTreeSet::new();
        self.scanned.as_ref().unwrap_or(NONE)
    }

    pub fn has_written(&self) -> bool {
        self.rows.iter().any(|row| row.written.is_some())
    }

    /// Knows the rows, as they were, that a lane has read.
    pub fn take_reads(&mut self, lane: &Overlay) {
        for row in &lane.rows {
            if !self.by_key.contains_key(&row.key) {
                self.by_key.insert(row.key.clone(), self.rows.len());
                let (key, before) = (row.key.clone(), row.before.clone());
                self.rows.push(Row { key, now: before.clone(), before, written: None });
            }
        }
    }

    /// From here on, what is written is because of this event.
    pub fn begin(&mut self, at: Offset) {
        self.undo.clear();
        self.writes_before = self.writes.as_ref().map_or(0, Vec::len);
        self.bytes_before = self.bytes;
        self.at = at;
        self.stream = None;
    }

    /// The event because of which rows are written now.
    pub fn at(&self) -> Offset {
        self.at
    }

    /// Takes back what the current event changed.
    pub fn roll_back(&mut self) {
        while let Some((at, now, written)) = self.undo.pop() {
            if let Some(row) = self.rows.get_mut(at) {
                (row.now, row.written) = (now, written);
            }
        }
        if let Some(writes) = &mut self.writes {
            writes.truncate(self.writes_before);
        }
        self.bytes = self.bytes_before;
    }

    /// What the current event has made of each row that it wrote.
    pub fn changes_of_event(&self) -> BTreeMap<Bytes, Option<Bytes>> {
        let written = self.undo.iter().filter_map(|(row, ..)| self.rows.get(*row));
        written.map(|row| (row.key.clone(), row.now.clone())).collect()
    }

    /// Bytes written so far, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many streams the writes name.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes that the current event has written, about.
    pub fn bytes_of_event(&self) -> usize {
        self.bytes - self.bytes_before
    }

    /// The view's failure, if it had one: then nothing of the step counts.
    pub fn broken(&mut self) -> Option<ViewError> {
        self.broken.take()
    }

    /// Bytes of a value, in parts, that live as long as the step.
    pub fn keep(&mut self, parts: &[&[u8]]) -> Bytes {
        self.pieces.keep(parts)
    }

    /// The row of a key, from below where the step has not touched it.
    fn row(&mut self, cache: &Cache, key: &[u8]) -> Result<(usize, &mut Row), ViewError> {
        if self.rows.get(self.last).is_none_or(|row| row.key != key) {
            self.last = match self.by_key.get(key) {
                Some(at) => *at,
                None => self.touch(cache, key).inspect_err(|error| self.broken = Some(error.clone()))?,
            };
        }
        match self.rows.get_mut(self.last) {
            Some(row) => Ok((self.last, row)),
            None => unreachable!("the place was found a moment ago"),
        }
    }

    fn touch(&mut self, cache: &Cache, key: &[u8]) -> Result<usize, ViewError> {
        let value = match cache.look(key) {
            Some(value) => value.map(|value| self.pieces.keep(&[value])),
            None => cache.get_from_view(key)?,
        };
        let key = self.pieces.keep(&[key]);
        let at = self.rows.len();
        self.by_key.insert(key.clone(), at);
        self.rows.push(Row { key, before: value.clone(), now: value, written: None });
        Ok(at)
    }

    pub fn get(&mut self, cache: &Cache, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        self.row(cache, key).map(|(_, row)| row.now.clone())
    }

    pub fn put(&mut self, cache: &Cache, key: &[u8], value: Option<Bytes>, stream: &str) -> Result<(), ViewError> {
        let stream = self.stream_index(stream);
        let written = (self.at, stream);
        let more = key.len() + value.as_ref().map_or(0, Bytes::len) + 8;
        let (at, row) = self.row(cache, key)?;
        let undo = (at, std::mem::replace(&mut row.now, value), row.written.replace(written));
        let write = |row: &Row| Write { key: row.key.clone(), value: row.now.clone(), at: written.0, stream };
        if let (Some(writes), Some(row)) = (&mut self.writes, self.rows.get(at)) {
            writes.push(write(row));
        }
        self.undo.push(undo);
        self.bytes += more;
        Ok(())
    }

    /// Rows whose keys start with a prefix, in order.
    pub fn scan(&mut self, cache: &Cache, prefix: &[u8]) -> Result<BTreeMap<Bytes, Bytes>, ViewError> {
        if let Some(scanned) = &mut self.scanned
            && !scanned.contains(prefix)
        {
            scanned.insert(Bytes::copy_from_slice(prefix));
        }
        let mut rows = cache.scan(prefix).inspect_err(|error| self.broken = Some(error.clone()))?;
        for row in self.rows.iter().filter(|row| row.written.is_some() && row.key.starts_with(prefix)) {
            match &row.now {
                Some(value) => rows.insert(row.key.clone(), value.clone()),
                None => rows.remove(&row.key),
            };
        }
        Ok(rows)
    }

    fn stream_index(&mut self, stream: &str) -> u32 {
        if let Some(index) = self.stream {
            return index;
        }
        let index = match self.by_name.get(stream) {
            Some(index) => *index,
            None => {
                let index = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
                self.streams.push(stream.into());
                self.by_name.insert(stream.into(), index);
                index
            }
        };
        self.stream = Some(index);
        index
    }

    /// Ends the step: what it wrote, the streams that the writes name, and what the rows add up to now.
    pub fn finish(&mut self, log: LogId, mut sums: Sums) -> (Vec<Write>, Vec<Box<str>>, Sums) {
        let mut last: Vec<(&Row, Offset, u32)> =
            self.rows.iter().filter_map(|row| row.written.map(|(at, stream)| (row, at, stream))).collect();
        for (row, ..) in &last {
            sums.change(log, &row.key, row.before.as_ref(), row.now.as_ref());
        }
        let writes = self.writes.take().unwrap_or_else(|| {
            // In the order of keys, so that one step has one record.
            last.sort_unstable_by(|(one, ..), (other, ..)| one.key.cmp(&other.key));
            let write = |(row, at, stream): (&Row, Offset, u32)| Write {
                key: row.key.clone(),
                value: row.now.clone(),
                at,
                stream,
            };
            last.into_iter().map(write).collect()
        });
        (writes, std::mem::take(&mut self.streams), sums)
    }

    /// Hands the rows on to the cache, for the steps that follow.
    pub fn settle(self, cache: &mut Cache) {
        for row in self.rows {
            match row.written {
                Some(_) => cache.write(&row.key, row.now.as_deref()),
                None => cache.remember(&row.key, row.now.as_deref()),
            }
        }
    }
}

impl Sums {
    pub fn change(&mut self, log: LogId, key: &[u8], before: Option<&Bytes>, now: Option<&Bytes>) {
        let (digest, rows) = match is_own(key) {
            true => (&mut self.own_digest, &mut self.own_rows),
            false => (&mut self.digest, &mut self.rows),
        };
        if let Some(before) = before {
            *digest = digest.without(Digest::of(log, key, before));
            *rows = rows.saturating_sub(1);
        }
        if let Some(now) = now {
            *digest = digest.with(Digest::of(log, key, now));
            *rows += 1;
        }
    }

    /// Of all rows, as a view's bookmark has it.
    pub fn all(&self) -> (Digest, u64) {
        (self.digest.with(self.own_digest), self.rows + self.own_rows)
    }
}
