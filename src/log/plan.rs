//! Where every append goes, decided under one short lock: expectations, offsets, versions, encoding, space.
//! Nothing here waits for the disk, but for taking space and, when a segment is full, making the next file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::append::Append;
use super::error::{AppendError, IoFailure};
use super::gaps::Gaps;
use super::layout::{room_path, unborn_path};
use super::own::{self, kind_of};
use super::producer::{self, Judged};
use super::receipt::{Appended, Receipt, Versions};
use super::shared::Shared;
use super::streams::{Last, Older, Streams};
use crate::batch::{ClosedBatch, HEADER_BYTES, Kind, OpenBatch, Salt, StreamRef, control_batch};
use crate::disk::{DiskFile, Mode, is_full};
use crate::event::{NewEvent, is_system};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_BYTES_TARGET, BATCH_NAMES_MAX, IDLE_MARK_MS, OS_SYNC_BYTES, PENDING_BYTES_MAX,
    SEGMENT_STREAMS_MAX,
};
use crate::planted::{Bug, planted};
use crate::segment::{ByName, CarriedAppend, Carry, NameHash, PAGE_BYTES, SegmentHeader};
use crate::{LogId, Offset, TailEpoch};

/// Bytes kept free behind the batches of a segment, for the marks of a clean close.
const SPARE_BYTES: u64 = 4 * HEADER_BYTES as u64;
/// Space is taken in steps of a sixteenth of the segment within these.
const STEP_BYTES: (u64, u64) = (1024 * 1024, 8 * 1024 * 1024);
/// A segment of up to this size is taken as a whole at once.
const WHOLE_BYTES: u64 = 256 * 1024;
/// Giving a file its name may take space too, where the directory has to grow (XFS asks for some 40 blocks then):
/// found to be missing at that time, it would be a failure after events have their places. So it is taken before.
const NAME_ROOM_BYTES: u64 = 256 * 1024;
/// Segments that may wait for their footers before an append helps.
const TO_SEAL_MAX: usize = 3;

/// What waits to be written, in order.
#[derive(Debug)]
pub(super) enum Item {
    Batch(ClosedBatch),
    Roll(Box<NewSegment>),
}

/// A segment whose file is there but not complete enough to have its name.
#[derive(Debug)]
pub(super) struct NewSegment {
    pub file: Arc<dyn DiskFile>,
    pub unborn: PathBuf,
    /// Takes room that is given back when the file gets its name: see [`NAME_ROOM_BYTES`].
    pub room: PathBuf,
    /// Complete but for the checksum of the batch before.
    pub header: SegmentHeader,
    pub carry: ClosedBatch,
}

/// The log as the next append finds it.
#[derive(Debug)]
pub(super) struct Plan {
    /// Offset of the next event.
    pub next: u64,
    /// When the last append was taken.
    pub recorded_us: i64,
    pub open: Option<OpenBatch>,
    /// Number of the open batch, or of the last one.
    pub batch: u32,
    /// Streams of the active segment.
    pub streams: Streams,
    /// Streams of segments without a footer yet, with the segments' bases, oldest first.
    pub sealing: Vec<(u64, Arc<Streams>)>,
    pub carry: Carry,
    /// What repairs gave up.
    pub gaps: Gaps,
    /// How often the log has rolled: what was looked up in older segments holds for one such number.
    pub rolls: u64,
    pub queue: Vec<Item>,
    pub queued_bytes: usize,
    /// Memory of batches that were written.
    pub pool: Vec<Vec<u8>>,
    pub file: Arc<dyn DiskFile>,
    pub header: SegmentHeader,
    /// Where the open batch will stand at most; compression may bring it forward.
    pub at: u64,
    /// Bytes of the file that are taken from the disk.
    pub taken: u64,
    pub closed: bool,
    pub tail_epoch: u32,
    /// Since when bytes wait for a sync, in ms of the monotonic clock.
    pub unsynced_since: Option<u64>,
    pub unsynced_bytes: u64,
    /// The offset that was next when the log was last seen quiet, and since when it is.
    pub quiet: (u64, u64),
}

/// Streams that were looked up in older segments.
#[derive(Debug, Default)]
struct LookedUp {
    rolls: u64,
    streams: ByName<Option<Last>>,
}

/// The hashes of an append's streams and of its content, made before any lock is taken.
#[derive(Debug)]
struct Names {
    /// In the order in which its events take their offsets.
    written: Vec<NameHash>,
    /// In the order of its expectations.
    expected: Vec<NameHash>,
    /// Of what a producer sent.
    digest: u128,
}

impl Names {
    fn of(log: LogId, append: &Append<'_>) -> Names {
        let hash = |name: &str| NameHash::of(log, name.as_bytes());
        Names {
            written: append.all().map(|event| hash(&event.stream)).collect(),
            expected: append.expectations.iter().map(|(stream, _)| hash(stream)).collect(),
            digest: append.producer.as_ref().map_or(0, |_| producer::digest(log, append)),
        }
    }
}

impl Shared {
    /// Takes an append: checks it, gives it its place, encodes it.
    pub fn append(self: &Arc<Self>, append: &Append<'_>) -> Result<Receipt, AppendError> {
        let bytes = append.check()?;
        let names = Names::of(self.id, append);
        let mut looked_up = LookedUp::default();
        loop {
            let mut plan = self.plan();
            self.check_open(&plan)?;
            if plan.queued_bytes > PENDING_BYTES_MAX {
                drop(plan);
                self.write_pending()?;
                continue;
            }
            if looked_up.rolls != plan.rolls {
                looked_up = LookedUp { rolls: plan.rolls, ..LookedUp::default() };
            }
            let mut evicted = Vec::new();
            if let Some(producer) = &append.producer {
                match producer::judge(&plan.carry, producer, names.digest) {
                    Judged::Next => evicted = producer::evictions(&plan.carry, &producer.id),
                    Judged::Resent(original) => {
                        drop(plan);
                        return self.resent(append, original);
                    }
                    Judged::Refused { error, rests_on } => {
                        drop(plan);
                        return Err(self.refused(append, error, rests_on));
                    }
                }
            }
            let missing = plan.missing(append, &names, &looked_up);
            if !missing.is_empty() {
                let older = self.older(&plan);
                drop(plan);
                for name in missing {
                    looked_up.streams.insert(name, older.last(name)?);
                }
                continue;
            }
            plan.check_expectations(append, &names, &looked_up)?;
            let evicted_len = |event: &NewEvent<'_>| OpenBatch::append_len() + OpenBatch::event_len(event);
            let bytes = bytes + evicted.iter().map(evicted_len).sum::<usize>();
            let rolled = plan.make_room(self, bytes, append)?;
            let appended = plan.encode(self, append, &evicted, &names, &looked_up);
            let wake = plan.note_unsynced(self, bytes);
            let help = rolled && plan.sealing.len() > TO_SEAL_MAX;
            drop(plan);
            if wake {
                self.group.signal.set();
            }
            if help {
                self.seal_next();
            }
            return Ok(Receipt { shared: Arc::clone(self), appended, durability: append.durability, waiting: None });
        }
    }

    fn check_open(&self, plan: &Plan) -> Result<(), AppendError> {
        if let Some(failure) = self.poisoned() {
            return Err(AppendError::Poisoned(failure.clone()));
        }
        if plan.closed { Err(AppendError::Closed) } else { Ok(()) }
    }

    fn older(&self, plan: &Plan) -> Older {
        Older { sealing: plan.sealing.iter().map(|(_, streams)| Arc::clone(streams)).collect(), view: self.view() }
    }
}

impl Plan {
    /// Whether there may be events that neither the active map nor the carried records know.
    fn has_older(&self) -> bool {
        self.header.number > 0
    }

    /// The users' streams of an append whose last events are not known here.
    fn missing(&self, append: &Append<'_>, names: &Names, looked_up: &LookedUp) -> Vec<NameHash> {
        if !self.has_older() {
            return Vec::new();
        }
        let written = append.events.iter().map(|event| &*event.stream).zip(&names.written);
        let expected = append.expectations.iter().map(|(stream, _)| &**stream).zip(&names.expected);
        written
            .chain(expected)
            .filter(|(name, hash)| !is_system(name) && !self.streams.contains(**hash))
            .map(|(_, hash)| *hash)
            .filter(|hash| !looked_up.streams.contains_key(hash))
            .collect()
    }

    /// The last event of a stream that the active map does not have.
    fn older_last(&self, name: &str, hash: NameHash, looked_up: &LookedUp) -> Option<Last> {
        if is_system(name) {
            return self.carry.streams.get(name).map(|record| Last { version: record.version, offset: record.offset });
        }
        // What was the active map when the append was checked may have been rolled away since.
        let rolled = self.sealing.last().and_then(|(_, streams)| streams.last(hash));
        rolled.or_else(|| looked_up.streams.get(&hash).copied().flatten())
    }

    fn last(&self, name: &str, hash: NameHash, looked_up: &LookedUp) -> Option<Last> {
        match self.streams.slot(hash) {
            Some(slot) => slot.last(),
            None => self.older_last(name, hash, looked_up),
        }
    }

    fn check_expectations(&self, append: &Append<'_>, names: &Names, looked_up: &LookedUp) -> Result<(), AppendError> {
        for ((stream, expect), hash) in append.expectations.iter().zip(&names.expected) {
            expect.check(stream, self.last(stream, *hash, looked_up).map(Last::typed))?;
        }
        own::check_room(&self.carry, append)
    }

    /// Makes room for an append: in the open batch or a new one, in this segment or the next, on the disk.
    /// Nothing is given a place before. Returns whether the log rolled.
    fn make_room(&mut self, shared: &Shared, bytes: usize, append: &Append<'_>) -> Result<bool, AppendError> {
        let now = shared.env.clock.now().as_micros().max(self.recorded_us);
        if self.open.as_ref().is_some_and(|open| !takes(open, bytes, append, now)) {
            self.close_batch();
        }
        let open = self.open.as_ref().map_or(HEADER_BYTES, OpenBatch::len);
        let needed = (open + bytes) as u64 + SPARE_BYTES;
        let has_events = self.next > self.header.base.raw();
        let mut rolled = false;
        let full = self.at + needed > u64::from(self.header.capacity) || self.streams.len() >= SEGMENT_STREAMS_MAX;
        if full && has_events {
            self.roll(shared, bytes as u64 + SPARE_BYTES + 2 * HEADER_BYTES as u64)?;
            rolled = true;
        }
        let end = self.at + self.open.as_ref().map_or(HEADER_BYTES, OpenBatch::len) as u64 + bytes as u64 + SPARE_BYTES;
        self.take_space(shared, end)?;
        Ok(rolled)
    }

    /// Takes space up to a byte position of the active file, and some more, so that it is seldom needed.
    fn take_space(&mut self, shared: &Shared, end: u64) -> Result<(), AppendError> {
        if end <= self.taken {
            return Ok(());
        }
        let capacity = u64::from(self.header.capacity);
        let step = (capacity / 16).clamp(STEP_BYTES.0, STEP_BYTES.1);
        let more = (end + step).min(capacity).max(end).next_multiple_of(PAGE_BYTES as u64);
        let exact = end.next_multiple_of(PAGE_BYTES as u64);
        for to in [more, exact] {
            match self.file.allocate(self.taken, to - self.taken) {
                Ok(()) => {
                    self.taken = to;
                    return Ok(());
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(self.refused(shared, "taking space for", error)),
            }
        }
        Err(AppendError::DiskFull)
    }

    /// A call failed before anything was written or given its place: the log is as it was.
    fn refused(&self, shared: &Shared, doing: &'static str, error: std::io::Error) -> AppendError {
        let path = super::layout::segment_path(&shared.dir, self.header.base.raw());
        AppendError::Io(IoFailure::new(doing, path, error))
    }

    /// Starts the next segment: a file with its space, and a place in the queue. What is written of it, and
    /// its name, follow in their turn.
    fn roll(&mut self, shared: &Shared, needed: u64) -> Result<(), AppendError> {
        let mut carried = self.carry.encode();
        if planted(Bug::ProducersNotCarried) {
            carried = Carry { streams: self.carry.streams.clone(), ..Carry::default() }.encode();
        }
        let carry = control_batch(Kind::Carry, self.next, 0, self.recorded_us, self.tail_epoch, &carried);
        let head = PAGE_BYTES as u64 + carry.bytes.len() as u64;
        let most = u64::from(shared.options.segment_bytes_max);
        let doubled = (u64::from(self.header.capacity) * 2).min(most);
        // What is carried must not fill the segment, or the next append would need another one.
        let capacity = if head * 2 > doubled { head + needed.max(doubled) } else { doubled.max(head + needed) };
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        let first_step = (u64::from(capacity) / 16).clamp(WHOLE_BYTES, STEP_BYTES.1);
        let taken = (head + needed).max(first_step).next_multiple_of(PAGE_BYTES as u64);
        let (unborn, room) = (unborn_path(&shared.dir, self.next), room_path(&shared.dir, self.next));
        let begin = |path: &PathBuf, bytes| -> io::Result<Arc<dyn DiskFile>> {
            let file = shared.env.disk.open(path, Mode::Truncate)?;
            file.allocate(0, bytes)?;
            Ok(file)
        };
        // As the one before it, it is locked: see `Opening::lock_segment`.
        let begun = begin(&room, NAME_ROOM_BYTES).and_then(|_| begin(&unborn, taken));
        let file = match begun.and_then(|file| file.try_lock().map(|_| file)) {
            Ok(file) => file,
            Err(error) => {
                for path in [&unborn, &room] {
                    let _ = shared.env.disk.remove(path);
                }
                return Err(match is_full(&error) {
                    true => AppendError::DiskFull,
                    false => self.refused(shared, "making the next file behind", error),
                });
            }
        };
        self.close_batch();
        let header = new_header(shared, self.next, self.header.number + 1, capacity, self.tail_epoch);
        let streams = std::mem::take(&mut self.streams);
        self.sealing.push((self.header.base.raw(), Arc::new(streams)));
        self.rolls += 1;
        self.at = head;
        self.taken = taken;
        self.header = header;
        self.file = Arc::clone(&file);
        self.queue.push(Item::Roll(Box::new(NewSegment { file, unborn, room, header, carry })));
        Ok(())
    }

    /// Puts the events of an append into the open batch. Cannot fail: all was checked, all room is taken.
    fn encode(
        &mut self,
        shared: &Shared,
        append: &Append<'_>,
        evicted: &[NewEvent<'_>],
        names: &Names,
        looked_up: &LookedUp,
    ) -> Appended {
        self.recorded_us = shared.env.clock.now().as_micros().max(self.recorded_us);
        let mut batch = match self.open.take() {
            Some(batch) => batch,
            None => self.begin_batch(shared, append),
        };
        for event in evicted {
            self.encode_eviction(&mut batch, shared.id, event, looked_up);
        }
        let first = self.next;
        batch.begin_append(self.recorded_us);
        let mut versions = match append.events.len() + usize::from(append.own.is_some()) {
            1 => Versions::One(0),
            many => Versions::Many(Vec::with_capacity(many)),
        };
        for (event, name) in append.all().zip(&names.written) {
            if planted(Bug::AppendSplit) && self.next == first + 1 {
                self.open = Some(batch);
                self.close_batch();
                self.recorded_us -= 1; // the same moment again
                batch = self.begin_batch(shared, append);
                batch.begin_append(self.recorded_us);
            }
            let version = self.encode_event(&mut batch, event, *name, looked_up);
            match &mut versions {
                Versions::One(only) => *only = version,
                Versions::Many(versions) => versions.push(version),
                Versions::Trimmed(_) => {}
            }
        }
        if let Some(own) = &append.own {
            self.carry_own(own, &versions);
        }
        if let Some(producer) = &append.producer {
            batch.producer(&producer.id, producer.epoch, producer.sequence, names.digest);
            let count = u32::try_from(self.next - first).unwrap_or(u32::MAX);
            let append = CarriedAppend { sequence: producer.sequence, first, count, digest: names.digest };
            self.carry.producer_appended(&producer.id, producer.epoch, append);
        }
        let full = batch.len() >= BATCH_BYTES_TARGET;
        self.open = Some(batch);
        if full {
            self.close_batch();
        }
        Appended { first, recorded_us: self.recorded_us, versions, resent: false }
    }

    fn begin_batch(&mut self, shared: &Shared, append: &Append<'_>) -> OpenBatch {
        // Batches differ in their times, so that a time finds one place.
        self.recorded_us = self.recorded_us.saturating_add(1);
        if planted(Bug::ClockBack) {
            self.recorded_us = shared.env.clock.now().as_micros();
        }
        // Comes round after 256 TB; then a stream would have to have slept for exactly so long.
        self.batch = self.batch.wrapping_add(1).max(1);
        let buffer = self.pool.pop().unwrap_or_default();
        OpenBatch::new(buffer, kind_of(append), self.next, self.recorded_us)
    }

    #[inline]
    fn encode_event(
        &mut self,
        batch: &mut OpenBatch,
        event: &NewEvent<'_>,
        name: NameHash,
        looked_up: &LookedUp,
    ) -> u64 {
        if !self.streams.contains(name) {
            self.streams.add(name, self.older_last(&event.stream, name, looked_up));
        }
        let offset = self.next;
        self.next += 1;
        let Some(slot) = self.streams.slot_mut(name) else { return 0 };
        let version = slot.next_version() + self.gaps.lost_behind(slot.last().map(|last| last.offset));
        let stream: StreamRef = match slot.in_batch(self.batch) {
            Some(stream) => stream,
            None => {
                let stream = batch.stream(&event.stream, version, slot.last().map(|last| last.offset));
                slot.named_in(self.batch, stream);
                stream
            }
        };
        slot.went_on(Last { version, offset });
        batch.event(event, stream);
        version
    }

    /// Says in an append of its own that a producer is no longer remembered.
    fn encode_eviction(&mut self, batch: &mut OpenBatch, log: LogId, event: &NewEvent<'_>, looked_up: &LookedUp) {
        batch.begin_append(self.recorded_us);
        let name = NameHash::of(log, event.stream.as_bytes());
        let version = self.encode_event(batch, event, name, looked_up);
        self.carry_record(event, version);
        producer::take_note_of_eviction(&mut self.carry, &event.data);
    }

    fn carry_own(&mut self, own: &NewEvent<'_>, versions: &Versions) {
        let version = match versions {
            Versions::One(version) => *version,
            Versions::Many(versions) => versions.last().copied().unwrap_or_default(),
            Versions::Trimmed(_) => return,
        };
        self.carry_record(own, version);
    }

    /// Carries on an event of the log's own that was just encoded.
    fn carry_record(&mut self, own: &NewEvent<'_>, version: u64) {
        let record = own::record(&own.stream, &own.event_type, &own.data, (self.next - 1, version));
        self.carry.streams.insert((*own.stream).into(), record);
    }

    /// Closes the open batch and puts it into the queue.
    pub fn close_batch(&mut self) {
        let Some(open) = self.open.take() else { return };
        let closed = open.close(self.tail_epoch);
        self.at += closed.bytes.len() as u64;
        self.queued_bytes += closed.bytes.len();
        self.queue.push(Item::Batch(closed));
    }

    /// Takes all that waits to be written.
    pub fn take_queue(&mut self) -> Vec<Item> {
        self.close_batch();
        self.queued_bytes = 0;
        std::mem::take(&mut self.queue)
    }

    /// Whether nothing was appended for a while, and all there is was written.
    pub fn is_quiet(&mut self, now_ms: u64) -> bool {
        let idle = self.unsynced_since.is_none() && self.queue.is_empty() && self.open.is_none();
        if !idle || self.quiet.0 != self.next {
            self.quiet = (self.next, now_ms);
        }
        self.next > 0 && now_ms >= self.quiet.1 + IDLE_MARK_MS
    }

    /// Takes note that bytes wait for a sync; says whether the background has to be told.
    fn note_unsynced(&mut self, shared: &Shared, bytes: usize) -> bool {
        let before = self.unsynced_bytes;
        self.unsynced_bytes += bytes as u64;
        if self.unsynced_since.is_none() {
            self.unsynced_since = Some(shared.env.clock.monotonic_ms());
            if shared.idle.swap(false, std::sync::atomic::Ordering::AcqRel) {
                return true;
            }
        }
        let steps = |bytes: u64| bytes / (BACKGROUND_WRITE_BYTES as u64);
        (before < OS_SYNC_BYTES && self.unsynced_bytes >= OS_SYNC_BYTES)
            || (steps(before) != steps(self.unsynced_bytes) && self.queued_bytes >= BACKGROUND_WRITE_BYTES)
    }
}

/// The background starts to write when so many bytes wait that nobody waits for.
const BACKGROUND_WRITE_BYTES: usize = 1024 * 1024;

/// Whether an open batch takes an append besides what it holds.
fn takes(open: &OpenBatch, bytes: usize, append: &Append<'_>, now: i64) -> bool {
    open.kind() == kind_of(append)
        && open.raw_len() + bytes <= BATCH_BYTES_MAX
        && open.names_max() + append.names_max() <= BATCH_NAMES_MAX
        && open.recorded_delta(now).is_some()
}

/// The header of a new segment.
pub(super) fn new_header(shared: &Shared, base: u64, number: u64, capacity: u32, tail_epoch: u32) -> SegmentHeader {
    SegmentHeader {
        log_id: shared.id,
        number,
        base: Offset::from_raw(base),
        created: shared.env.clock.now(),
        salt: new_salt(&shared.env),
        capacity,
        tail_epoch: TailEpoch::from_raw(tail_epoch),
        previous_crc: 0,
        read_only: false,
    }
}

/// A salt under which batches can be told from zeros.
pub(super) fn new_salt(env: &crate::disk::Env) -> Salt {
    loop {
        let salt = Salt(env.random.next_u64());
        if salt.is_usable() {
            return salt;
        }
    }
}
