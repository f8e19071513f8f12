//! Streams that are set aside, each with the queue of its events, by reference and in order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::cache::Cache;
use super::commit::{Decision, DecisionKind};
use super::keys::Keys;
use super::overlay::Overlay;
use super::own::{self, NEVER, PARKED, ParkedRow, QUEUED};
use super::skips::Skips;
use crate::Offset;
use crate::view::ViewError;

/// Longest cause that is kept, in bytes.
const CAUSE_BYTES_MAX: usize = 512;

/// A stream that is set aside.
#[derive(Debug, Clone)]
pub(crate) struct Aside {
    pub row: ParkedRow,
    /// Its events that wait, oldest first.
    pub waiting: VecDeque<u64>,
}

/// All of them, as the handler's own rows say, and what else of these rows is held in memory.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    by_stream: HashMap<Box<str>, Aside>,
    due: BTreeSet<(i64, Box<str>)>,
    events: u64,
    /// What operators want passed over.
    pub skips: Skips,
    /// Which idempotency keys end when.
    pub keys: Keys,
}

impl Queues {
    /// Reads them from the rows.
    pub fn load(cache: &Cache) -> Result<Self, ViewError> {
        let mut queues = Queues { skips: Skips::load(cache)?, keys: Keys::load(cache)?, ..Queues::default() };
        for (key, value) in cache.scan(&PARKED)? {
            let Some(stream) = key.strip_prefix(&PARKED).and_then(|name| std::str::from_utf8(name).ok()) else {
                continue;
            };
            let Some(row) = ParkedRow::decode(&value) else { continue };
            queues.note_due(row.retry_at_us, stream);
            queues.by_stream.insert(stream.into(), Aside { row, waiting: VecDeque::new() });
        }
        for (key, _) in cache.scan(&QUEUED)? {
            let Some((stream, offset)) = own::queued_of(&key) else { continue };
            if let Some(aside) = queues.by_stream.get_mut(stream) {
                aside.waiting.push_back(offset);
                queues.events += 1;
            }
        }
        Ok(queues)
    }

    pub fn streams(&self) -> usize {
        self.by_stream.len()
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn get(&self, stream: &str) -> Option<&Aside> {
        self.by_stream.get(stream)
    }

    /// The first event of a stream that is set aside.
    pub fn first_of(&self, stream: &str) -> Option<Offset> {
        self.by_stream.get(stream)?.waiting.front().copied().map(Offset::from_raw)
    }

    fn note_due(&mut self, at_us: i64, stream: &str) {
        if at_us != NEVER {
            self.due.insert((at_us, stream.into()));
        }
    }

    /// The stream whose first event is to be tried again, the longest due first.
    pub fn due(&self, now_us: i64) -> Option<Box<str>> {
        self.due.first().filter(|(at, _)| *at <= now_us).map(|(_, stream)| stream.clone())
    }

    /// When the next one is due.
    pub fn next_due_us(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Sets a stream aside with its first event, or notes that its first event failed again.
    #[allow(clippy::too_many_arguments)] // what is known of a failure, once
    pub fn failed(
        &mut self,
        overlay: &mut Overlay,
        cache: &Cache,
        stream: &str,
        offset: Offset,
        now_us: i64,
        retry_after: Option<Duration>,
        cause: &str,
    ) -> Result<Decision, ViewError> {
        let retry_at_us = retry_after.map_or(NEVER, |after| {
            now_us.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX - 1)).min(NEVER - 1)
        });
        let cause = shortened(cause);
        let again = self.by_stream.contains_key(stream);
        if !again {
            let row = ParkedRow { failures: 0, retry_at_us, since_us: now_us, cause: String::new() };
            self.by_stream.insert(stream.into(), Aside { row, waiting: VecDeque::from([offset.raw()]) });
            self.events += 1;
            overlay.put(cache, &own::queued_key(stream, offset.raw()), Some(bytes::Bytes::new()), stream)?;
        }
        if let Some(aside) = self.by_stream.get_mut(stream) {
            self.due.remove(&(aside.row.retry_at_us, stream.into()));
            aside.row.failures += 1;
            aside.row.retry_at_us = retry_at_us;
            cause.clone_into(&mut aside.row.cause);
            overlay.put(cache, &own::parked_key(stream), Some(aside.row.encode()), stream)?;
        }
        self.note_due(retry_at_us, stream);
        let kind = if again { DecisionKind::FailedAgain } else { DecisionKind::SetAside };
        Ok(Decision { kind, offset, reason: cause.into() })
    }

    /// Puts an event behind the others of its stream, which is set aside.
    pub fn queue(
        &mut self,
        overlay: &mut Overlay,
        cache: &Cache,
        stream: &str,
        offset: Offset,
    ) -> Result<Decision, ViewError> {
        if let Some(aside) = self.by_stream.get_mut(stream) {
            aside.waiting.push_back(offset.raw());
            self.events += 1;
        }
        overlay.put(cache, &own::queued_key(stream, offset.raw()), Some(bytes::Bytes::new()), stream)?;
        Ok(Decision { kind: DecisionKind::SetAside, offset, reason: "".into() })
    }

    /// The first event of a stream is done with: the next one is due at once, or the stream is no longer set aside.
    pub fn done(&mut self, overlay: &mut Overlay, cache: &Cache, stream: &str, now_us: i64) -> Result<(), ViewError> {
        let Some(aside) = self.by_stream.get_mut(stream) else { return Ok(()) };
        if let Some(first) = aside.waiting.pop_front() {
            self.events -= 1;
            overlay.put(cache, &own::queued_key(stream, first), None, stream)?;
        }
        self.due.remove(&(aside.row.retry_at_us, stream.into()));
        if aside.waiting.is_empty() {
            self.by_stream.remove(stream);
            return overlay.put(cache, &own::parked_key(stream), None, stream);
        }
        (aside.row.failures, aside.row.retry_at_us) = (0, now_us);
        let row = aside.row.encode();
        self.due.insert((now_us, stream.into()));
        overlay.put(cache, &own::parked_key(stream), Some(row), stream)
    }

    /// The stream in whose queue an event waits.
    pub fn stream_of(&self, offset: u64) -> Option<Box<str>> {
        let waits = |aside: &Aside| aside.waiting.binary_search(&offset).is_ok();
        self.by_stream.iter().find(|(_, aside)| waits(aside)).map(|(stream, _)| stream.clone())
    }

    /// Takes an event out of its stream's queue, wherever it stands there.
    pub fn remove(
        &mut self,
        overlay: &mut Overlay,
        cache: &Cache,
        stream: &str,
        offset: u64,
        now_us: i64,
    ) -> Result<(), ViewError> {
        let Some(aside) = self.by_stream.get_mut(stream) else { return Ok(()) };
        match aside.waiting.binary_search(&offset) {
            Ok(0) => self.done(overlay, cache, stream, now_us),
            Ok(at) => {
                aside.waiting.remove(at);
                self.events -= 1;
                overlay.put(cache, &own::queued_key(stream, offset), None, stream)
            }
            Err(_) => Ok(()),
        }
    }

    /// An operator wants a stream to be tried again now, with all its attempts.
    pub fn retry(
        &mut self,
        overlay: &mut Overlay,
        cache: &Cache,
        stream: &str,
        now_us: i64,
    ) -> Result<bool, ViewError> {
        let Some(aside) = self.by_stream.get_mut(stream) else { return Ok(false) };
        self.due.remove(&(aside.row.retry_at_us, stream.into()));
        (aside.row.failures, aside.row.retry_at_us) = (0, now_us);
        overlay.put(cache, &own::parked_key(stream), Some(aside.row.encode()), stream)?;
        self.note_due(now_us, stream);
        Ok(true)
    }
}

/// A text as far as it is kept.
pub(crate) fn shortened(cause: &str) -> &str {
    let mut end = cause.len().min(CAUSE_BYTES_MAX);
    while !cause.is_char_boundary(end) {
        end -= 1;
    }
    cause.get(..end).unwrap_or_default()
}
