//! A log beside the process that writes it, as handlers read one: what was there when it was opened, and nothing more.

use std::time::Duration;

use crate::journal::{Caps, Journal, JournalRead, OwnRecord, Pending};
use crate::{Append, AppendError, Durability, Event, Filter, LogId, LogReader, Offset, ReadError};

use super::failure::Failure;

/// It refuses to append.
#[derive(Debug)]
pub(super) struct Reading {
    reader: LogReader,
    head: Offset,
    end: Offset,
}

impl Reading {
    pub(super) fn of(reader: LogReader) -> Result<Self, Failure> {
        let (head, end) = (reader.head()?, reader.durable_end()?);
        Ok(Reading { reader, head, end })
    }
}

impl Journal for Reading {
    fn id(&self) -> LogId {
        self.reader.id()
    }

    fn caps(&self) -> Caps {
        Caps { durability: Durability::Disk, pipelined: false, max_append: 0 }
    }

    fn head(&self) -> Offset {
        self.head
    }

    fn durable_end(&self) -> Offset {
        self.end
    }

    fn append(&self, _: Append<'_>) -> Result<Pending, AppendError> {
        Err(AppendError::Closed)
    }

    /// Nobody who only reads expects one.
    fn last(&self, _: &str) -> Result<Option<OwnRecord>, ReadError> {
        Ok(None)
    }

    fn get(&self, offset: Offset) -> Result<Option<Event>, ReadError> {
        self.reader.get(offset)
    }

    fn read(&self, from: Offset, to: Offset, filter: &Filter) -> Box<dyn JournalRead> {
        Box::new(self.reader.batches(from..to.min(self.end)).matching(filter.clone()))
    }

    fn wait_past(&self, _: Offset, _: Duration) -> Result<Offset, ReadError> {
        Ok(self.end)
    }
}
