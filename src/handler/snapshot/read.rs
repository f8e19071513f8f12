//! Reading a snapshot: nothing in it is given out that is not what was written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{END, FORMAT, HEAD, Place, ROW, STREAM, SnapshotError, Tally, folder_of};
use crate::batch::{BATCH_ALIGN, Batch, BatchError, HEADER_BYTES, Header, HeaderError, Input, Kind, Previous, Walk};
use crate::disk::{DiskFile, read_full_at};
use crate::handler::commit::{HEAD_BYTES, Head};
use crate::view::Space;
use crate::{Event, IoFailure, LogId, Offset};

/// A snapshot whose head was read.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub path: PathBuf,
    pub space: Space,
    /// The record that it reflects.
    pub record: Offset,
    pub head: Head,
    /// Bytes of the file.
    pub len: u64,
    place: Place,
    file: Arc<dyn DiskFile>,
    start: Position,
}

/// Behind a batch of a file.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    at: u64,
    next: u64,
    previous: Previous,
}

/// The batches of a file.
#[derive(Debug)]
struct Batches {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    place: Place,
    position: Position,
}

impl Batches {
    fn damaged(&self, what: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), at: self.position.at, what: what.into() }
    }

    fn io(&self, error: io::Error) -> SnapshotError {
        IoFailure::new("reading", &self.path, error).into()
    }

    fn broken(&self, error: BatchError) -> SnapshotError {
        match error {
            BatchError::Corrupt(what) => self.damaged(what),
            BatchError::Unsupported(what) => SnapshotError::Unsupported { path: self.path.clone(), what },
        }
    }

    /// The next batch; what it holds is events of the one stream and the one type.
    fn next(&mut self, len: u64) -> Result<Batch, SnapshotError> {
        let Position { at, next, previous } = self.position;
        let salt = self.place.salt();
        let mut bytes = vec![0; HEADER_BYTES];
        let read = read_full_at(&*self.file, &mut bytes, at).map_err(|error| self.io(error))?;
        bytes.truncate(read);
        let header = match Header::decode(&bytes, salt, at) {
            Ok(header) => header,
            Err(HeaderError::Short(_)) => return Err(self.damaged("the file ends before its rows do")),
            Err(HeaderError::Batch(error)) => return Err(self.broken(error)),
        };
        let chained = (header.prev_len, header.prev_body_crc) == (previous.len, previous.body_crc)
            && (header.base_offset, header.kind) == (next, Kind::System)
            && (header.tail_epoch, header.durable_hint, header.header_len) == (0, 0, HEADER_BYTES);
        if !chained {
            return Err(self.damaged("the batch does not follow the one before it"));
        }
        // Before memory is taken for it.
        if at + header.batch_len() as u64 > len {
            return Err(self.damaged("the file ends within a batch"));
        }
        let mut body = vec![0; header.body_len];
        let read = read_full_at(&*self.file, &mut body, at + HEADER_BYTES as u64).map_err(|error| self.io(error))?;
        body.truncate(read);
        let (batch_len, body_crc, end) = (header.batch_len(), header.body_crc, header.end_offset());
        let batch = Batch::decode(header, Bytes::from(body), salt).map_err(|error| self.broken(error))?;
        debug_assert!(batch_len.is_multiple_of(BATCH_ALIGN), "as the header was checked");
        self.position = Position {
            at: at + batch_len as u64,
            next: end,
            previous: Previous { len: u32::try_from(batch_len).unwrap_or(u32::MAX), body_crc },
        };
        Ok(batch)
    }
}

impl Snapshot {
    /// Reads the head of a file, which has to be that of its name.
    pub(super) fn open(file: Arc<dyn DiskFile>, path: &Path, place: Place) -> Result<Snapshot, SnapshotError> {
        let mut batches =
            Batches { file: Arc::clone(&file), path: path.to_path_buf(), place, position: Position::default() };
        let len = file.len().map_err(|error| batches.io(error))?;
        let batch = batches.next(len)?;
        let mut walk = Walk::new(&batch);
        let (event, more) = (walk.next_owned(&batch), walk.next_owned(&batch));
        let event = event.filter(|event| more.is_none() && event.stream() == STREAM && event.event_type() == HEAD);
        let Some(event) = event else { return Err(batches.damaged("it does not begin with a head")) };
        let parsed = parse_head(event.data()).map_err(|error| batches.broken(error))?;
        let (log, record, head, name) = parsed;
        let space = Space::new(name, head.generation);
        if (log, record, folder_of(log, &space)) != (place.log, place.record, place.folder) {
            let what = format!("it is of {space} after the record at {record} of log {log}");
            return Err(SnapshotError::Other { path: path.to_path_buf(), what });
        }
        Ok(Snapshot { path: path.to_path_buf(), space, record, head, len, place, file, start: batches.position })
    }

    /// Its rows in order. What is wrong with any of it is found at the latest at the end.
    pub(crate) fn rows(&self) -> SnapshotRows {
        SnapshotRows {
            batches: Batches {
                file: Arc::clone(&self.file),
                path: self.path.clone(),
                place: self.place,
                position: self.start,
            },
            len: self.len,
            here: None,
            last: None,
            found: Tally::new(self.place.log),
            expected: Tally::of(self.place.log, &self.head),
            done: false,
        }
    }
}

fn parse_head(data: &[u8]) -> Result<(LogId, Offset, Head, &str), BatchError> {
    let corrupt = BatchError::Corrupt("its head is not what it should be");
    let mut input = Input::new(data);
    match input.u32() {
        Some(FORMAT) => {}
        Some(format) => {
            return Err(BatchError::Unsupported(format!("snapshot format {format} is newer than this program")));
        }
        None => return Err(corrupt),
    }
    let mut parse = || {
        let zero = input.u32()?;
        let (log, record) = (LogId::from_raw(input.u128()?), Offset::from_raw(input.u64()?));
        let head = Head::decode(input.take(HEAD_BYTES)?)?;
        let name = std::str::from_utf8(input.rest()).ok()?;
        (zero == 0).then_some((log, record, head, name))
    };
    parse().ok_or(corrupt)
}

/// The rows of a snapshot in order of their keys; ends after an error.
#[derive(Debug)]
pub(crate) struct SnapshotRows {
    batches: Batches,
    len: u64,
    here: Option<(Batch, Walk)>,
    last: Option<Bytes>,
    found: Tally,
    expected: Tally,
    done: bool,
}

impl SnapshotRows {
    fn look(&mut self) -> Result<Option<(Bytes, Bytes)>, SnapshotError> {
        loop {
            if let Some(event) = self.here.as_mut().and_then(|(batch, walk)| walk.next_owned(batch)) {
                return match event.event_type() {
                    ROW if event.stream() == STREAM => self.row(&event).map(Some),
                    END if event.stream() == STREAM => self.end(&event).map(|()| None),
                    _ => Err(self.batches.damaged("something else stands among the rows")),
                };
            }
            let batch = self.batches.next(self.len)?;
            let walk = Walk::new(&batch);
            self.here = Some((batch, walk));
        }
    }

    fn row(&mut self, event: &Event) -> Result<(Bytes, Bytes), SnapshotError> {
        let data = event.data_bytes();
        let mut input = Input::new(&data);
        let key = input.varint().and_then(|len| usize::try_from(len).ok()).and_then(|len| input.take(len));
        let Some(key) = key.map(|key| data.slice_ref(key)) else {
            return Err(self.batches.damaged("a row is not what it should be"));
        };
        let value = data.slice_ref(input.rest());
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(self.batches.damaged("its rows are not in order"));
        }
        self.found.add(&key, &value);
        self.last = Some(key.clone());
        Ok((key, value))
    }

    fn end(&mut self, event: &Event) -> Result<(), SnapshotError> {
        let more = self.here.as_mut().and_then(|(batch, walk)| walk.next_owned(batch));
        if self.found != self.expected || event.data() != self.found.encode() {
            return Err(self.batches.damaged("its rows do not add up to what its head says"));
        }
        if more.is_some() || self.batches.position.at != self.len {
            return Err(self.batches.damaged("something stands behind its end"));
        }
        Ok(())
    }
}

impl Iterator for SnapshotRows {
    type Item = Result<(Bytes, Bytes), SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let looked = self.look();
        self.done = !matches!(looked, Ok(Some(_)));
        looked.transpose()
    }
}
