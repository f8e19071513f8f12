//! Records of a handler that nobody runs, for tests of what is made of records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;

use super::commit::{Head, Record, RecordKind, Write};
use super::records::{History, live_stream, shadow_stream};
use super::snapshot::{RECORDS_BYTES_MIN, Snapshots, Tally};
use super::state::{self, StateError, StateReader, StateValue};
use crate::view::{Space, View};
use crate::{Append, AppendError, Expect, Log, LogReader, NewEvent, Offset};

/// The event that wrote a row, and the row as it is stored; without a value it is deleted.
pub type RecordedWrite<'r> = (u64, &'r [u8], Option<&'r [u8]>);

/// Appends the records that a handler would, and knows the rows that they make.
#[doc(hidden)]
#[derive(Debug)]
pub struct Recorder {
    space: Space,
    stream: String,
    rows: BTreeMap<Bytes, Bytes>,
    head: Head,
    last: Option<Offset>,
}

impl Recorder {
    /// Of a generation of a handler, live or not.
    pub fn new(handler: &str, generation: u32, live: bool) -> Self {
        let space = Space::new(handler, generation);
        let stream = if live { live_stream(handler) } else { shadow_stream(&space) };
        let head = Head { fingerprint: 7, ..Head::first(RecordKind::Step, generation) };
        Recorder { space, stream, rows: BTreeMap::new(), head, last: None }
    }

    /// Whether the records say that they hold every write.
    pub fn exact(mut self, exact: bool) -> Self {
        self.head.exact = exact;
        self
    }

    /// The rows there are, with the byte in front of their keys.
    pub fn rows(&self) -> &BTreeMap<Bytes, Bytes> {
        &self.rows
    }

    /// The generation goes live: its next record is a cut-over.
    pub fn cut_over(&mut self) {
        self.stream = live_stream(self.space.handler());
        self.head.kind = RecordKind::CutOver;
    }

    /// Appends a record: a cursor, and rows as they are stored, each with the event that wrote it.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn step(&mut self, log: &Log, cursor: u64, writes: &[RecordedWrite<'_>]) -> Result<Offset, AppendError> {
        self.step_saying(log, cursor, writes, 0)
    }

    /// The same, and the record says that there are so many rows more than there are.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn step_saying(
        &mut self,
        log: &Log,
        cursor: u64,
        writes: &[RecordedWrite<'_>],
        more: u64,
    ) -> Result<Offset, AppendError> {
        let mut record = Record::of(self.head.clone());
        record.streams = vec!["s".into()];
        for (at, key, value) in writes {
            let (key, value) = (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
            match &value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(&key),
            };
            record.writes.push(Write { key, value, at: Offset::from_raw(*at), stream: 0 });
        }
        let mut tally = Tally::new(log.id());
        self.rows.iter().for_each(|(key, value)| tally.add(key, value));
        let head = &mut record.head;
        (head.rows, head.own_rows) = (tally.rows + more, tally.own_rows);
        (head.digest, head.own_digest) = (tally.digest, tally.own_digest);
        (head.cursor, head.previous) = (Offset::from_raw(cursor), self.last);
        head.bytes +=
            writes.iter().map(|(_, key, value)| (key.len() + value.map_or(0, <[u8]>::len)) as u64).sum::<u64>();
        let event = NewEvent::new(&*self.stream, head.kind.event_type()).data(record.encode());
        self.head = Head { kind: RecordKind::Step, ..record.head.clone() };
        let appended = log.append(Append::new().own(event, Expect::Any))?.wait()?;
        self.last = Some(appended.first());
        Ok(appended.first())
    }
}

fn snapshots(log: &LogReader) -> Snapshots {
    Snapshots::of(&log.env().disk, log.path(), log.id())
}

/// Makes a snapshot of the newest state; its record.
///
/// # Errors
/// See [`StateError`].
#[doc(hidden)]
pub fn make_snapshot(log: &LogReader, handler: &str, generation: u32) -> Result<Option<Offset>, StateError> {
    let made = state::make_snapshot(History::Log(log), &snapshots(log), &Space::new(handler, generation))?;
    Ok(made.map(|snapshot| snapshot.record))
}

/// Whether the newest state is due for a snapshot.
///
/// # Errors
/// See [`StateError`].
#[doc(hidden)]
pub fn snapshot_is_due(log: &LogReader, handler: &str, generation: u32) -> Result<bool, StateError> {
    let state = StateReader::new(log, handler).generation(generation).open()?;
    Ok(state.head().is_some_and(|head| snapshots(log).is_due(state.space(), head, RECORDS_BYTES_MIN)))
}

/// The files of the snapshots of a space, the newest first.
///
/// # Errors
/// See [`StateError`].
#[doc(hidden)]
pub fn snapshot_files(log: &LogReader, handler: &str, generation: u32) -> Result<Vec<PathBuf>, StateError> {
    let (snapshots, space) = (snapshots(log), Space::new(handler, generation));
    Ok(snapshots.list(&space)?.into_iter().map(|record| snapshots.path(&space, record)).collect())
}

/// Makes the newest state in a view; the record it reflects.
///
/// # Errors
/// See [`StateError`].
#[doc(hidden)]
pub fn rebuild_into(
    log: &LogReader,
    view: &dyn View,
    handler: &str,
    generation: u32,
) -> Result<Option<Offset>, StateError> {
    let space = Space::new(handler, generation);
    let last = state::rebuild_into(History::Log(log), Some(snapshots(log)), view, &space)?;
    Ok(last.map(|(offset, _)| offset))
}

/// A stored value.
#[doc(hidden)]
pub fn state_value(stored: &[u8]) -> StateValue {
    StateValue::of(Bytes::copy_from_slice(stored))
}
