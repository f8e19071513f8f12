//! The log on disk as a journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Caps, Found, Journal, JournalRead, OwnRecord, Pending};
use crate::disk::Disk;
use crate::limits::BATCH_BYTES_MAX;
use crate::{Append, AppendError, Batches, Durability, Event, Filter, Log, LogId, Offset, ReadError};

impl Journal for Log {
    fn id(&self) -> LogId {
        Log::id(self)
    }

    fn caps(&self) -> Caps {
        Caps { durability: Durability::Disk, pipelined: true, max_append: BATCH_BYTES_MAX }
    }

    fn head(&self) -> Offset {
        Log::head(self)
    }

    fn durable_end(&self) -> Offset {
        Log::durable_end(self)
    }

    fn append(&self, append: Append<'_>) -> Result<Pending, AppendError> {
        Log::append(self, append).map(Pending::from)
    }

    fn last(&self, stream: &str) -> Result<Option<OwnRecord>, ReadError> {
        Ok(self.own_record(stream))
    }

    fn get(&self, offset: Offset) -> Result<Option<Event>, ReadError> {
        self.reader().get(offset)
    }

    fn read(&self, from: Offset, to: Offset, filter: &Filter) -> Box<dyn JournalRead> {
        Box::new(self.batches(from..to).matching(filter.clone()))
    }

    fn directory(&self) -> Option<(Arc<dyn Disk>, PathBuf)> {
        Some((self.disk(), self.path().to_path_buf()))
    }

    fn wait_past(&self, offset: Offset, at_most: Duration) -> Result<Offset, ReadError> {
        self.reader().wait_past(offset, at_most)
    }
}

impl JournalRead for Batches {
    fn look(&mut self) -> Result<Found, ReadError> {
        match self.look_at_next() {
            None => Ok(Found::End),
            Some(Ok(None)) => Ok(Found::Nothing),
            Some(Ok(Some(batch))) => Ok(Found::Batch(batch)),
            Some(Err(error)) => Err(error),
        }
    }

    fn position(&self) -> Offset {
        self.looked_to()
    }

    fn passed_events(&self) -> bool {
        self.has_passed_events()
    }
}
