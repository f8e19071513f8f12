//! The newest batches of a log, decoded once for all who follow it through one handle.

use std::collections::VecDeque;

use super::error::ReadError;
use super::walk::{Cursor, View, decode};
use crate::batch::Batch;
use crate::segment::ReadMode;

/// What is kept at most. Who is further behind reads for itself until it is near again.
const BATCHES_MAX: usize = 64;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes asked of the file at once: behind the last batch there is nothing to read ahead.
const READ_BYTES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Where the newest batches are read, one after the other.
    cursor: Option<Cursor>,
    recent: VecDeque<Batch>,
    bytes: usize,
}

impl Tail {
    /// The batch that holds an event which a view has; `None` when the event is too far behind.
    pub fn batch(&mut self, offset: u64, view: &View) -> Result<Option<Batch>, ReadError> {
        if let Some(batch) = self.recent.iter().rev().find(|batch| batch.spans(offset)) {
            return Ok(Some(batch.clone()));
        }
        let cursor = match self.cursor.take() {
            Some(cursor) if cursor.next > offset => {
                self.cursor = Some(cursor);
                return Ok(None);
            }
            Some(mut cursor) if cursor.next == offset => {
                cursor.go_on(view.clone())?;
                cursor
            }
            _ => Cursor::new(view.clone(), (offset, view.end), ReadMode::Pread).reading(READ_BYTES),
        };
        self.read(cursor)
    }

    fn read(&mut self, mut cursor: Cursor) -> Result<Option<Batch>, ReadError> {
        // Failed, it is gone: the next one to come by begins anew and meets the same.
        let Some((segment, batch)) = cursor.next().transpose()? else { return Ok(None) };
        let batch = decode(&segment, batch, 0, u64::MAX)?;
        self.cursor = Some(cursor);
        self.bytes += batch.bytes();
        self.recent.push_back(batch.clone());
        while self.recent.len() > BATCHES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
        Ok(Some(batch))
    }
}
