//! Writing a snapshot: rows in the order of their keys, batch by batch.

use std::io;
use std::sync::Arc;

use super::{END, FORMAT, HEAD, Place, ROW, STREAM, Tally};
use crate::batch::{Kind, OpenBatch, Previous, put_varint};
use crate::disk::DiskFile;
use crate::event::NewEvent;
use crate::handler::commit::{Head, Record};
use crate::limits::{BATCH_BYTES_MAX, BATCH_BYTES_TARGET};
use crate::view::Space;

/// Bytes that are handed to the disk at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// A file that rows are put into.
pub(super) struct Writer {
    file: Arc<dyn DiskFile>,
    place: Place,
    batch: OpenBatch,
    previous: Previous,
    /// Where in the file the batch at hand goes.
    at: u64,
    /// Whole batches, up to `at`, that the disk does not have yet.
    waiting: Vec<u8>,
    next: u64,
    tally: Tally,
    data: Vec<u8>,
}

fn new_batch(buffer: Vec<u8>, first: u64) -> OpenBatch {
    let mut batch = OpenBatch::new(buffer, Kind::System, first, 0);
    batch.begin_append(0);
    batch.stream(STREAM, first, None);
    batch
}

impl Writer {
    /// A file that begins with its head.
    pub fn new(file: Arc<dyn DiskFile>, place: Place, space: &Space, head: &Head) -> io::Result<Writer> {
        let mut writer = Writer {
            file,
            place,
            batch: new_batch(Vec::new(), 0),
            previous: Previous::default(),
            at: 0,
            waiting: Vec::new(),
            next: 0,
            tally: Tally::new(place.log),
            data: Vec::new(),
        };
        let mut data = FORMAT.to_le_bytes().to_vec();
        data.extend([0; 4]);
        data.extend(place.log.raw().to_le_bytes());
        data.extend(place.record.raw().to_le_bytes());
        data.extend(Record::of(head.clone()).encode());
        data.extend(space.handler().as_bytes());
        writer.event(HEAD, &data)?;
        writer.close_batch()?;
        Ok(writer)
    }

    /// The next row; its key is greater than those before.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.tally.add(key, value);
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        put_varint(&mut data, key.len() as u64);
        data.extend_from_slice(key);
        data.extend_from_slice(value);
        let put = self.event(ROW, &data);
        self.data = data;
        put
    }

    /// Closes the file; returns when all of it is on the disk, with what was put in.
    pub fn finish(mut self) -> io::Result<Tally> {
        self.close_batch()?;
        self.event(END, &self.tally.encode())?;
        self.close_batch()?;
        self.hand_on()?;
        self.file.sync()?;
        Ok(self.tally)
    }

    fn event(&mut self, event_type: &str, data: &[u8]) -> io::Result<()> {
        let event = NewEvent::new(STREAM, event_type).data(data);
        let len = self.batch.len() + OpenBatch::event_len(&event);
        if len > BATCH_BYTES_TARGET && self.next > self.first() {
            self.close_batch()?;
        } else if len > BATCH_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a row is larger than a batch may be"));
        }
        self.batch.event(&event, crate::batch::StreamRef { index: 0 });
        self.next += 1;
        Ok(())
    }

    /// The number of the first event of the batch at hand.
    fn first(&self) -> u64 {
        self.batch.first()
    }

    fn close_batch(&mut self) -> io::Result<()> {
        if self.next == self.first() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, new_batch(Vec::new(), self.next));
        let mut closed = batch.close(0);
        self.previous = closed.seal(self.place.salt(), self.at, self.previous, 0);
        self.at += closed.bytes.len() as u64;
        self.waiting.extend_from_slice(&closed.bytes);
        self.batch = new_batch(closed.bytes, self.next);
        if self.waiting.len() >= WRITE_BYTES { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.waiting, self.at - self.waiting.len() as u64)?;
        self.waiting.clear();
        Ok(())
    }
}
