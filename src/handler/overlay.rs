//! What a step has read and changed so far, over the rows as they were before it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::cache::Cache;
use super::commit::Write;
use super::own::is_own;
use crate::view::{Digest, ViewError};
use crate::{LogId, Offset};

/// A row that the step has touched.
#[derive(Debug, Clone)]
struct Row {
    before: Option<Bytes>,
    now: Option<Bytes>,
    /// The event that wrote it last, and its stream.
    written: Option<(Offset, u32)>,
}

/// A row's key, value and last write as they were.
type Before = (Bytes, Option<Bytes>, Option<(Offset, u32)>);

/// Rows of one step, with the way back to where its current event began.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: HashMap<Bytes, Row>,
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
    by_name: HashMap<Box<str>, u32>,
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
        while let Some((key, now, written)) = self.undo.pop() {
            if let Some(row) = self.rows.get_mut(&key) {
                (row.now, row.written) = (now, written);
            }
        }
        if let Some(writes) = &mut self.writes {
            writes.truncate(self.writes_before);
        }
        self.bytes = self.bytes_before;
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

    fn row<'o>(
        rows: &'o mut HashMap<Bytes, Row>,
        cache: &Cache,
        key: &[u8],
    ) -> Result<(Bytes, &'o mut Row), ViewError> {
        let (key, value) = match rows.get_key_value(key) {
            Some((key, _)) => (key.clone(), None),
            None => {
                let (value, kept) = cache.get(key)?;
                (kept.unwrap_or_else(|| Bytes::copy_from_slice(key)), value)
            }
        };
        let row = rows.entry(key.clone()).or_insert_with(|| Row { before: value.clone(), now: value, written: None });
        Ok((key, row))
    }

    pub fn get(&mut self, cache: &Cache, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.now.clone());
        }
        let row = Self::row(&mut self.rows, cache, key).map(|(_, row)| row.now.clone());
        row.inspect_err(|error| self.broken = Some(error.clone()))
    }

    pub fn put(&mut self, cache: &Cache, key: &[u8], value: Option<Bytes>, stream: &str) -> Result<(), ViewError> {
        let stream = self.stream_index(stream);
        let (key, row) = match Self::row(&mut self.rows, cache, key) {
            Ok(found) => found,
            Err(error) => {
                self.broken = Some(error.clone());
                return Err(error);
            }
        };
        self.undo.push((key.clone(), std::mem::replace(&mut row.now, value.clone()), row.written));
        row.written = Some((self.at, stream));
        self.bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + 8;
        if let Some(writes) = &mut self.writes {
            writes.push(Write { key, value, at: self.at, stream });
        }
        Ok(())
    }

    /// Rows whose keys start with a prefix, in order.
    pub fn scan(&mut self, cache: &Cache, prefix: &[u8]) -> Result<BTreeMap<Bytes, Bytes>, ViewError> {
        let mut rows = cache.scan(prefix).inspect_err(|error| self.broken = Some(error.clone()))?;
        for (key, row) in self.rows.iter().filter(|(key, row)| row.written.is_some() && key.starts_with(prefix)) {
            match &row.now {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
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
        let mut last = Vec::new();
        for (key, row) in &self.rows {
            let Some((at, stream)) = row.written else { continue };
            sums.change(log, key, row.before.as_ref(), row.now.as_ref());
            if self.writes.is_none() {
                last.push(Write { key: key.clone(), value: row.now.clone(), at, stream });
            }
        }
        // In the order of keys, so that one step has one record.
        last.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        let writes = self.writes.take().unwrap_or(last);
        (writes, std::mem::take(&mut self.streams), sums)
    }

    /// Hands the rows on to the cache, for the steps that follow.
    pub fn settle(self, cache: &mut Cache) {
        for (key, row) in self.rows {
            match row.written {
                Some(_) => cache.write(key, row.now),
                None => cache.remember(key, row.now),
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
