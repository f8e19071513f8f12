//! The state of a handler as the log has it: the newest snapshot that holds, and the records since. A view is never
//! looked at.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;

use bytes::Bytes;

use super::commit::{Head, Record, Write};
use super::records::{History, RecordsError, live_stream};
use super::snapshot::{Snapshot, SnapshotError, SnapshotRows, Snapshots, Tally, is_own};
use crate::event::check_name;
use crate::view::{Bookmark, Change, Space, View, ViewError};
use crate::{InvalidEvent, LogId, LogReader, Offset, ReadError};

/// Why the state of a handler could not be told. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// No handler can have the name.
    #[error(transparent)]
    Invalid(#[from] InvalidEvent),
    /// No handler of that name ever ran on the log.
    #[error("there is no handler {handler:?} in this log")]
    NoHandler {
        /// The name.
        handler: String,
    },
    /// The generation never ran.
    #[error("handler {handler:?} has no generation {generation} in this log{}", says_live(*live))]
    NoGeneration {
        /// The handler.
        handler: String,
        /// The generation that was asked for.
        generation: u32,
        /// The one that is live.
        live: Option<u32>,
    },
    /// A record cannot be read.
    #[error(
        "the handler's record at offset {offset} cannot be read by this program; use the one that wrote it, or a newer one"
    )]
    Unreadable {
        /// Where it stands.
        offset: Offset,
    },
    /// The rows are not those that the record says there are.
    #[error(
        "the state of {space} after its record at offset {record} cannot be told: its records make {found} rows that do not add up to the {expected} that it says{}; no event is affected, a new generation builds the state anew from the events", says_lost(lost.as_ref())
    )]
    Mismatch {
        /// Handler and generation.
        space: Space,
        /// The record.
        record: Offset,
        /// How many rows it says there are.
        expected: u64,
        /// How many were found.
        found: u64,
        /// Events that a repair gave up among the records: first, and the one after the last.
        lost: Option<(Offset, Offset)>,
    },
    /// The records needed were trimmed, and no snapshot has what they said.
    #[error(
        "the records that the state of {space} needs are not there: the log begins at {head}, and no snapshot from before is usable; a later position may be"
    )]
    Trimmed {
        /// Handler and generation.
        space: Space,
        /// The first offset that is still there.
        head: Offset,
    },
    /// A snapshot went bad after it was checked, or could not be made.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The view that the state was to be put into failed.
    #[error(transparent)]
    View(#[from] ViewError),
}

fn says_live(generation: Option<u32>) -> String {
    generation.map_or_else(String::new, |live| format!("; generation {live} is the live one"))
}

fn says_lost(lost: Option<&(Offset, Offset)>) -> String {
    lost.map_or_else(String::new, |(first, end)| {
        format!("; a repair gave up the events {first} to {end} (exclusive) among them")
    })
}

impl From<RecordsError> for StateError {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Read(error) => error.into(),
            RecordsError::Unreadable { offset } => StateError::Unreadable { offset },
        }
    }
}

/// Which state of a handler is wanted.
#[derive(Debug, Clone)]
pub struct StateReader<'j> {
    history: History<'j>,
    snapshots: Option<Snapshots>,
    handler: String,
    generation: Option<u32>,
    at: Option<Offset>,
    record: Option<Offset>,
}

impl<'j> StateReader<'j> {
    /// The state of a handler after its newest durable record, of the generation that is live. Works beside the
    /// process that runs the handler.
    pub fn new(log: &'j LogReader, handler: &str) -> Self {
        let snapshots = Snapshots::of(&log.env().disk, log.path(), log.id());
        StateReader::of(log.into(), Some(snapshots), handler)
    }

    /// The same from any journal, with or without snapshots.
    pub(crate) fn of(history: History<'j>, snapshots: Option<Snapshots>, handler: &str) -> Self {
        StateReader { history, snapshots, handler: handler.to_owned(), generation: None, at: None, record: None }
    }

    /// The state of this generation, live or not.
    #[must_use]
    pub fn generation(mut self, generation: u32) -> Self {
        self.generation = Some(generation);
        self
    }

    /// The state when all input below this offset was handled, and nothing else; [`State::is_exact`] says whether
    /// the records can tell it. Events that were set aside are handled where a record says so, not where they stand.
    #[must_use]
    pub fn at(mut self, position: Offset) -> Self {
        self.at = Some(position);
        self
    }

    /// The state after the last record at or below this offset.
    #[must_use]
    pub fn up_to(mut self, record: Offset) -> Self {
        self.record = Some(record);
        self
    }

    /// Finds the state. Reads the newest usable snapshot through and the records since, and holds the sum of the rows
    /// against what the last record says; in memory it has the changes since the snapshot.
    ///
    /// # Errors
    /// See [`StateError`]. A snapshot that is damaged or of another history is passed over, which
    /// [`State::passed_over`] tells.
    pub fn open(self) -> Result<State, StateError> {
        check_name("handler", &live_stream(&self.handler))?;
        let live = self.history.last(&live_stream(&self.handler))?.map(|(_, head)| head.generation);
        let Some(generation) = self.generation.or(live) else {
            return Err(StateError::NoHandler { handler: self.handler });
        };
        let space = Space::new(&self.handler, generation);
        let mut passed_over = Vec::new();
        let mut mismatch = None;
        for candidate in self.candidates(&space, &mut passed_over) {
            match self.open_on(&space, candidate) {
                Ok(Some(state)) => return Ok(State { passed_over, ..state }),
                Ok(None) => {}
                Err(StateError::Snapshot(error)) => passed_over.push(error),
                Err(error @ StateError::Mismatch { .. }) => mismatch = Some(error),
                Err(error) => return Err(error),
            }
        }
        match mismatch {
            Some(error) => Err(error),
            None if live.is_none() => Err(StateError::NoHandler { handler: self.handler }),
            None => Err(StateError::NoGeneration { handler: self.handler, generation, live }),
        }
    }

    /// What can be begun with: snapshots that are not too new, the newest first, then nothing.
    fn candidates(&self, space: &Space, passed_over: &mut Vec<SnapshotError>) -> Vec<Option<Begin>> {
        let mut candidates = Vec::new();
        if let Some(snapshots) = &self.snapshots {
            let found = snapshots.list(space).unwrap_or_else(|error| {
                passed_over.push(error);
                Vec::new()
            });
            for record in found.into_iter().filter(|record| self.record.is_none_or(|last| *record <= last)) {
                match snapshots.open(space, record) {
                    Ok(snapshot) if self.at.is_some_and(|at| snapshot.head.cursor > at) => {}
                    Ok(snapshot) => match self.is_of_history(&snapshot) {
                        Ok(proof) => candidates.push(Some(Begin { snapshot, proof })),
                        Err(error) => passed_over.push(error),
                    },
                    Err(error) => passed_over.push(error),
                }
            }
        }
        candidates.push(None);
        candidates
    }

    /// Holds a snapshot against its record in the log.
    fn is_of_history(&self, snapshot: &Snapshot) -> Result<Proof, SnapshotError> {
        let other = |what: &str| SnapshotError::Other { path: snapshot.path.clone(), what: what.to_owned() };
        match self.history.head_of(&snapshot.space, snapshot.record) {
            Ok(Some(head)) if head == snapshot.head => Ok(Proof::Record),
            Ok(Some(_)) => Err(other("the record that it reflects says something else")),
            Ok(None) => Err(other("the record that it reflects is not there")),
            Err(RecordsError::Read(ReadError::Trimmed { .. })) => Ok(Proof::Record),
            Err(_) => Ok(Proof::LaterRecord),
        }
    }

    /// Adds the records since to what is begun with; `None` when nothing is there.
    fn open_on(&self, space: &Space, begin: Option<Begin>) -> Result<Option<State>, StateError> {
        let mut fold = Fold::of(begin.as_ref().map(|begin| &begin.snapshot));
        let from = begin.as_ref().map_or(Offset::ZERO, |begin| begin.snapshot.record.plus(1));
        let head = self.history.head()?;
        for record in self.history.records(space, from.max(head))? {
            let placed = match record {
                Err(RecordsError::Read(ReadError::Lost { first, end })) => {
                    fold.lost = fold.lost.or(Some((first, end)));
                    continue;
                }
                record => record?,
            };
            if self.record.is_some_and(|last| placed.offset > last) || !fold.take(placed.offset, placed.record, self.at)
            {
                break;
            }
        }
        let id = self.history.id();
        if !fold.any {
            return Ok(None);
        }
        let trimmed = begin.is_none() && fold.reaches_before(head);
        if let Some(begin) = &begin
            && begin.proof == Proof::LaterRecord
            && fold.last.as_ref().is_none_or(|(offset, _)| *offset == begin.snapshot.record)
        {
            let what = "the record that it reflects was lost, and no later one proves it".to_owned();
            return Err(SnapshotError::Other { path: begin.snapshot.path.clone(), what }.into());
        }
        let Fold { changes, last, part, exact, lost, .. } = fold;
        let mut state = State {
            log: id,
            space: space.clone(),
            base: begin.map(|begin| begin.snapshot),
            changes,
            last,
            exact,
            passed_over: Vec::new(),
        };
        match state.prove(lost) {
            Ok(()) if trimmed && state.last.is_none() => {
                return Err(StateError::Trimmed { space: space.clone(), head });
            }
            Err(StateError::Mismatch { .. }) if trimmed => {
                return Err(StateError::Trimmed { space: space.clone(), head });
            }
            proved => proved?,
        }
        for write in part {
            state.changes.insert(write.key, write.value);
        }
        Ok(Some(state))
    }
}

/// A snapshot to begin with.
struct Begin {
    snapshot: Snapshot,
    proof: Proof,
}

/// What says that a snapshot is of this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The record that it reflects.
    Record,
    /// That one was lost: only if it adds up with a later one.
    LaterRecord,
}

/// Records as they are added up.
#[derive(Default)]
struct Fold {
    changes: BTreeMap<Bytes, Option<Bytes>>,
    /// The last record that was taken whole.
    last: Option<(Offset, Head)>,
    /// What was taken of the record behind it.
    part: Vec<Write>,
    /// Whether it is the state at the position that was asked for.
    exact: bool,
    lost: Option<(Offset, Offset)>,
    /// Whether there was anything at all.
    any: bool,
    /// What the first record says of the one before it.
    before: Option<Offset>,
}

impl Fold {
    fn of(snapshot: Option<&Snapshot>) -> Fold {
        let last = snapshot.map(|snapshot| (snapshot.record, snapshot.head.clone()));
        Fold { any: last.is_some(), last, exact: true, ..Fold::default() }
    }

    /// Takes a record, or what of it is of input below a position; false: there is no more to take.
    fn take(&mut self, offset: Offset, record: Record, at: Option<Offset>) -> bool {
        if !self.any {
            self.before = record.head.previous;
        }
        self.any = true;
        if let Some(at) = at.filter(|at| record.head.cursor > *at) {
            let reached = self.last.as_ref().is_some_and(|(_, head)| head.cursor == at);
            if !reached && record.head.exact {
                self.part = record.writes.into_iter().filter(|write| write.at < at).collect();
            }
            self.exact = reached || record.head.exact;
            return false;
        }
        for write in record.writes {
            self.changes.insert(write.key, write.value);
        }
        self.exact = at.is_none_or(|at| record.head.cursor == at);
        self.last = Some((offset, record.head));
        true
    }

    /// Whether records of it were before the head of the log.
    fn reaches_before(&self, head: Offset) -> bool {
        self.before.is_some_and(|before| before < head)
    }
}

/// The state of one generation of a handler at one moment. The rows of its snapshot stay on the disk.
#[derive(Debug)]
pub struct State {
    log: LogId,
    space: Space,
    base: Option<Snapshot>,
    changes: BTreeMap<Bytes, Option<Bytes>>,
    last: Option<(Offset, Head)>,
    exact: bool,
    passed_over: Vec<SnapshotError>,
}

impl State {
    /// Handler and generation.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The last record that is in it as a whole; `None` before the first.
    pub fn record(&self) -> Option<Offset> {
        self.last.as_ref().map(|(offset, _)| *offset)
    }

    /// The next offset to handle after that record: all input before it is handled, set aside or skipped.
    pub fn cursor(&self) -> Offset {
        self.last.as_ref().map_or(Offset::ZERO, |(_, head)| head.cursor)
    }

    /// What that record says.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.last.as_ref().map(|(_, head)| head)
    }

    /// Whether it is the state at the very position that was asked for. Otherwise it is that at [`State::cursor`],
    /// before it.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Snapshots that could not be used, and why. What they would have spared was read from the log.
    pub fn passed_over(&self) -> &[SnapshotError] {
        &self.passed_over
    }

    /// The user's rows, in the order of the bytes of their keys. Reads the snapshot once.
    pub fn rows(&self) -> StateRows<'_> {
        StateRows(self.all_rows())
    }

    /// The value of a key. Reads the snapshot up to there.
    ///
    /// # Errors
    /// When the snapshot has become unreadable since it was checked.
    pub fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StateError> {
        let mut stored = vec![1];
        stored.extend_from_slice(key);
        if let Some(value) = self.changes.get(&stored[..]) {
            return Ok(value.clone().map(StateValue::of));
        }
        let Some(base) = &self.base else { return Ok(None) };
        for row in base.rows() {
            let (key, value) = row?;
            if *key >= stored[..] {
                return Ok((key == stored).then(|| StateValue::of(value)));
            }
        }
        Ok(None)
    }

    /// All rows, the handler's own included, with the byte in front of each key.
    pub(crate) fn all_rows(&self) -> AllRows<'_> {
        AllRows { base: self.base.as_ref().map(|base| base.rows().peekable()), changes: self.changes.iter().peekable() }
    }

    /// Holds the sum of the rows against what the last record says.
    fn prove(&self, lost: Option<(Offset, Offset)>) -> Result<(), StateError> {
        let mut found = Tally::new(self.log);
        for row in self.all_rows() {
            let (key, value) = row?;
            found.add(&key, &value);
        }
        self.compare(&found, lost)
    }

    fn compare(&self, found: &Tally, lost: Option<(Offset, Offset)>) -> Result<(), StateError> {
        let expected = self.head().map_or(Tally::new(self.log), |head| Tally::of(self.log, head));
        if *found == expected {
            return Ok(());
        }
        let (space, record) = (self.space.clone(), self.record().unwrap_or(Offset::ZERO));
        Err(StateError::Mismatch { space, record, expected: expected.count(), found: found.count(), lost })
    }

    /// Puts the state into a view, in place of what is there. Each part of it carries a bookmark that says no more
    /// than what is there by then: the rows add up to what the record says only with the last one.
    pub(crate) fn rebuild_into(&self, view: &dyn View) -> Result<(), StateError> {
        const ROWS: usize = 4096;
        const BYTES: usize = 4 * 1024 * 1024;
        view.clear(&self.space)?;
        let Some(commit) = self.record() else { return Ok(()) };
        let mut found = Tally::new(self.log);
        let mut changes = Vec::new();
        let mut bytes = 0;
        let bookmark = |found: &Tally| Bookmark { log: self.log, commit, digest: found.sum(), rows: found.count() };
        for row in self.all_rows() {
            let (key, value) = row?;
            found.add(&key, &value);
            bytes += key.len() + value.len();
            changes.push(Change { key, value: Some(value) });
            if changes.len() >= ROWS || bytes >= BYTES {
                view.apply(&self.space, &changes, &bookmark(&found))?;
                changes.clear();
                bytes = 0;
            }
        }
        match self.compare(&found, None) {
            Ok(()) => Ok(view.apply(&self.space, &changes, &bookmark(&found))?),
            Err(error) => {
                view.clear(&self.space)?;
                Err(error)
            }
        }
    }
}

/// Makes the newest state of a space in a view; returns the record it reflects.
pub(crate) fn rebuild_into(
    history: History<'_>,
    snapshots: Option<Snapshots>,
    view: &dyn View,
    space: &Space,
) -> Result<Option<(Offset, Head)>, StateError> {
    let state = StateReader::of(history, snapshots, space.handler()).generation(space.generation()).open()?;
    state.rebuild_into(view)?;
    Ok(state.last)
}

/// Makes a snapshot of the newest state of a space, of the one before and the records since; keeps that one too, and
/// removes all others. `None`: the newest state has one.
pub(crate) fn make_snapshot(
    history: History<'_>,
    snapshots: &Snapshots,
    space: &Space,
) -> Result<Option<Snapshot>, StateError> {
    let reader = StateReader::of(history, Some(snapshots.clone()), space.handler());
    let state = reader.generation(space.generation()).open()?;
    let Some((record, head)) = &state.last else { return Ok(None) };
    let base = state.base.as_ref().map(|base| base.record);
    if base == Some(*record) {
        return Ok(None);
    }
    let made = snapshots.make(space, *record, head, state.all_rows())?;
    let Some(made) = made else {
        let (space, record) = (space.clone(), *record);
        let count = head.rows.saturating_add(head.own_rows);
        return Err(StateError::Mismatch { space, record, expected: count, found: count, lost: None });
    };
    let mut kept = vec![*record];
    kept.extend(base);
    snapshots.keep_only(space, &kept)?;
    Ok(Some(made))
}

/// Rows of a snapshot and the changes since, as one.
#[derive(Debug)]
pub(crate) struct AllRows<'s> {
    base: Option<Peekable<SnapshotRows>>,
    changes: Peekable<btree_map::Iter<'s, Bytes, Option<Bytes>>>,
}

impl AllRows<'_> {
    /// The next row of the snapshot, if it comes before the next change or is replaced by it.
    fn of_base(&mut self) -> Option<Result<(Bytes, Bytes), SnapshotError>> {
        let changed = self.changes.peek().map(|(key, _)| *key);
        self.base.as_mut()?.next_if(|row| match (row, changed) {
            (Ok((key, _)), Some(changed)) => key <= changed,
            _ => true,
        })
    }
}

impl Iterator for AllRows<'_> {
    type Item = Result<(Bytes, Bytes), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.of_base() {
                Some(Ok((key, _))) if self.changes.peek().is_some_and(|(changed, _)| **changed == key) => {}
                Some(row) => return Some(row.map_err(StateError::from)),
                None => {
                    let (key, value) = self.changes.next()?;
                    if let Some(value) = value {
                        return Some(Ok((key.clone(), value.clone())));
                    }
                }
            }
        }
    }
}

/// The user's rows of a state, in the order of the bytes of their keys.
#[derive(Debug)]
pub struct StateRows<'s>(AllRows<'s>);

impl Iterator for StateRows<'_> {
    type Item = Result<(Bytes, StateValue), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next()? {
                Ok((key, _)) if is_own(&key) => {}
                Ok((key, value)) => return Some(Ok((key.slice(1..), StateValue::of(value)))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A value of a handler's state, by the codec it was put with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateValue {
    /// Bytes as they were given.
    Raw(Bytes),
    /// JSON text, as it was given.
    Json(Bytes),
    /// A typed value in bincode.
    Bincode(Bytes),
    /// Of a codec that this program does not know, its byte in front.
    Unknown(Bytes),
}

impl StateValue {
    pub(crate) fn of(stored: Bytes) -> Self {
        match stored.first() {
            Some(0) => StateValue::Raw(stored.slice(1..)),
            Some(1) => StateValue::Json(stored.slice(1..)),
            Some(2) => StateValue::Bincode(stored.slice(1..)),
            _ => StateValue::Unknown(stored),
        }
    }
}
