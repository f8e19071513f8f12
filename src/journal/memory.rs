//! A log in memory, for tests of handlers: no files, no threads, everything is kept at once.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Caps, Found, Journal, JournalRead, OwnRecord, Pending};
use crate::batch::{Batch, BatchError, HEADER_BYTES, Kind, OpenBatch, Previous, Salt, StreamRef, Walk};
use crate::disk::{Clock, Env};
use crate::event::NewEvent;
use crate::limits::BATCH_BYTES_MAX;
use crate::log::own::{self, carry_on, kind_of};
use crate::log::producer::{self, Judged, Producer};
use crate::segment::{CarriedAppend, Carry};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, lock};
use crate::{Append, AppendError, Appended, Durability, Event, Filter, IoFailure, LogId, Offset, ReadError, Version};

/// Batches that never leave memory are sealed all the same, so that they are read as all others are.
const SALT: Salt = Salt(0x6d65_6d6f_7279_6c6f);

const FOREVER: Duration = Duration::from_secs(3600);

/// A log in memory, with the promises of one on disk but for its survival. A clone is the same log; it is gone with
/// the last one.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: LogId,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Offset of the next event.
    next: u64,
    /// When the last append was taken.
    recorded_us: i64,
    /// One for each append, in order.
    batches: Vec<Batch>,
    /// The last event of each stream.
    lasts: HashMap<Box<str>, (Version, Offset)>,
    /// The last records of the log's own streams, and what is remembered of producers.
    carry: Carry,
}

impl Default for MemoryLog {
    fn default() -> Self {
        MemoryLog::new()
    }
}

impl MemoryLog {
    /// A log without events.
    pub fn new() -> Self {
        MemoryLog::with(&Env::system())
    }

    /// The same with the clock and the random numbers of a world under control.
    pub fn with(env: &Env) -> Self {
        let id = u128::from(env.random.next_u64()) << 64 | u128::from(env.random.next_u64());
        let inner = Inner {
            id: LogId::from_raw(id),
            clock: Arc::clone(&env.clock),
            state: Mutex::default(),
            grew: Condvar::new(),
        };
        MemoryLog { inner: Arc::new(inner) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.inner.state)
    }
}

impl State {
    /// The first batch with events at or behind an offset.
    fn batch_at(&self, offset: Offset) -> Option<&Batch> {
        self.batches.get(self.batches.partition_point(|batch| batch.next() <= offset))
    }

    fn check(&self, append: &Append<'_>) -> Result<(), AppendError> {
        for (stream, expect) in &append.expectations {
            expect.check(stream, self.lasts.get(&**stream).copied())?;
        }
        own::check_room(&self.carry, append)
    }

    /// Takes an append that was checked.
    fn take(&mut self, append: &Append<'_>, recorded_us: i64, digest: u128) -> Result<Appended, AppendError> {
        let mut open = OpenBatch::new(Vec::new(), kind_of(append), self.next, recorded_us);
        let mut named = HashMap::new();
        let producer = append.producer.as_ref();
        let evicted = producer.map(|sent| producer::evictions(&self.carry, &sent.id)).unwrap_or_default();
        for event in &evicted {
            open.begin_append(recorded_us);
            self.put(&mut open, &mut named, event);
        }
        open.begin_append(recorded_us);
        append.all().for_each(|event| self.put(&mut open, &mut named, event));
        if let Some(Producer { id, epoch, sequence }) = producer {
            open.producer(id, *epoch, *sequence, digest);
        }
        let batch = sealed(open).map_err(|error| {
            AppendError::Io(IoFailure::new("encoding events of the log", "in memory", io::Error::other(error)))
        })?;
        self.take_note(&batch);
        let first = batch.first().raw() + evicted.len() as u64;
        let versions = batch.events().skip(evicted.len()).map(|event| event.version().raw()).collect();
        self.batches.push(batch);
        Ok(Appended::at(first, recorded_us, versions))
    }

    /// Puts an event into a batch that knows the streams in `named` already.
    fn put<'e>(&self, open: &mut OpenBatch, named: &mut HashMap<&'e str, StreamRef>, event: &'e NewEvent<'_>) {
        let stream = *named.entry(&event.stream).or_insert_with(|| {
            let last = self.lasts.get(&*event.stream);
            let version = last.map_or(0, |(version, _)| version.raw() + 1);
            open.stream(&event.stream, version, last.map(|(_, offset)| offset.raw()))
        });
        open.event(event, stream);
    }

    fn take_note(&mut self, batch: &Batch) {
        for event in batch.events() {
            let last = (event.version(), event.offset());
            match self.lasts.get_mut(event.stream()) {
                Some(known) => *known = last,
                None => drop(self.lasts.insert(event.stream().into(), last)),
            }
        }
        carry_on(&mut self.carry, batch);
        self.next = batch.next().raw();
        self.recorded_us = batch.header().recorded_us;
    }

    /// The places of an append that was sent before.
    fn resent(&self, original: CarriedAppend) -> Appended {
        let (from, to) = (Offset::from_raw(original.first), Offset::from_raw(original.next()));
        let batch = self.batch_at(from).map(|batch| batch.clone().clip(from.raw(), to.raw()));
        let recorded = batch.iter().flat_map(Batch::events).next().map_or(0, |event| event.recorded().as_micros());
        let versions = batch.iter().flat_map(Batch::events).map(|event| event.version().raw()).collect();
        Appended::at(original.first, recorded, versions).resent()
    }
}

/// A batch as it is read from a file.
fn sealed(open: OpenBatch) -> Result<Batch, BatchError> {
    let mut closed = open.close(0);
    closed.seal(SALT, 0, Previous::default(), 0);
    let body = Bytes::from(closed.bytes).slice(HEADER_BYTES..);
    Batch::decode(closed.header, body, SALT)
}

impl Journal for MemoryLog {
    fn id(&self) -> LogId {
        self.inner.id
    }

    fn caps(&self) -> Caps {
        Caps { durability: Durability::Os, pipelined: true, max_append: BATCH_BYTES_MAX }
    }

    fn head(&self) -> Offset {
        Offset::ZERO
    }

    fn durable_end(&self) -> Offset {
        Offset::from_raw(self.state().next)
    }

    fn append(&self, append: Append<'_>) -> Result<Pending, AppendError> {
        append.check()?;
        let digest = append.producer.as_ref().map_or(0, |_| producer::digest(self.inner.id, &append));
        let mut state = self.state();
        if let Some(sent) = &append.producer {
            match producer::judge(&state.carry, sent, digest) {
                Judged::Next => {}
                Judged::Resent(original) => return Ok(Pending::kept(state.resent(original))),
                Judged::Refused { error, .. } => return Err(error),
            }
        }
        state.check(&append)?;
        let recorded_us = self.inner.clock.now().as_micros().max(state.recorded_us.saturating_add(1));
        let appended = state.take(&append, recorded_us, digest)?;
        drop(state);
        self.inner.grew.notify_all();
        Ok(Pending::kept(appended))
    }

    fn last(&self, stream: &str) -> Result<Option<OwnRecord>, ReadError> {
        Ok(self.state().carry.streams.get(stream).map(OwnRecord::from))
    }

    fn get(&self, offset: Offset) -> Result<Option<Event>, ReadError> {
        let batch = self.state().batch_at(offset).cloned();
        let batch = batch.map(|batch| batch.clip(offset.raw(), offset.raw().saturating_add(1)));
        Ok(batch.and_then(|batch| Walk::new(&batch).next_owned(&batch)))
    }

    fn read(&self, from: Offset, to: Offset, filter: &Filter) -> Box<dyn JournalRead> {
        let end = to.min(self.durable_end());
        Box::new(MemoryRead { log: self.clone(), position: from, end, filter: filter.clone(), passed_events: false })
    }

    fn wait_past(&self, offset: Offset, at_most: Duration) -> Result<Offset, ReadError> {
        let until = Instant::now().checked_add(at_most);
        let mut state = self.state();
        while state.next <= offset.raw() {
            // A wait without an end is one that is begun again and again.
            let left = until.map_or(FOREVER, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let waited = self.inner.grew.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(Offset::from_raw(state.next))
    }
}

/// A read of a log in memory.
#[derive(Debug)]
struct MemoryRead {
    log: MemoryLog,
    position: Offset,
    end: Offset,
    filter: Filter,
    passed_events: bool,
}

impl JournalRead for MemoryRead {
    fn look(&mut self) -> Result<Found, ReadError> {
        if self.position >= self.end {
            return Ok(Found::End);
        }
        let Some(batch) = self.log.state().batch_at(self.position).cloned() else { return Ok(Found::End) };
        let batch = batch.clip(self.position.raw(), self.end.raw());
        self.position = batch.next();
        let is_events = batch.header().kind == Kind::Events;
        let found = batch.matching(&self.filter).map_or(Found::Nothing, Found::Batch);
        self.passed_events |= is_events && matches!(found, Found::Nothing);
        Ok(found)
    }

    fn passed_events(&self) -> bool {
        self.passed_events
    }

    fn position(&self) -> Offset {
        self.position
    }
}
