//! The records of a handler's state in the log, one after the other: those of one generation, from whichever of its two
//! streams.

use super::commit::{Head, Record};
use crate::batch::{Batch, Walk};
use crate::journal::{Found, Journal, JournalRead};
use crate::log::HANDLER_STREAMS;
use crate::view::Space;
use crate::{Event, Filter, LogId, LogReader, Offset, ReadError};

/// The stream of the live generation of a handler.
pub(crate) fn live_stream(handler: &str) -> String {
    format!("{HANDLER_STREAMS}{handler}")
}

/// The stream of a generation while it is not the live one.
pub(crate) fn shadow_stream(space: &Space) -> String {
    format!("{HANDLER_STREAMS}{space}")
}

/// Where records are read from: beside a writer, or in its process. Only what is durable is seen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum History<'j> {
    Log(&'j LogReader),
    Journal(&'j dyn Journal),
}

impl<'j> From<&'j LogReader> for History<'j> {
    fn from(reader: &'j LogReader) -> Self {
        History::Log(reader)
    }
}

impl<'j> From<&'j dyn Journal> for History<'j> {
    fn from(journal: &'j dyn Journal) -> Self {
        History::Journal(journal)
    }
}

impl History<'_> {
    pub fn id(self) -> LogId {
        match self {
            History::Log(reader) => reader.id(),
            History::Journal(journal) => journal.id(),
        }
    }

    /// The first offset that is still there.
    pub fn head(self) -> Result<Offset, ReadError> {
        match self {
            History::Log(reader) => reader.head(),
            History::Journal(journal) => Ok(journal.head()),
        }
    }

    pub fn durable_end(self) -> Result<Offset, ReadError> {
        match self {
            History::Log(reader) => reader.durable_end(),
            History::Journal(journal) => Ok(journal.durable_end()),
        }
    }

    fn get(self, offset: Offset) -> Result<Option<Event>, ReadError> {
        match self {
            History::Log(reader) => reader.get(offset),
            History::Journal(journal) => journal.get(offset),
        }
    }

    fn read(self, from: Offset, to: Offset, filter: &Filter) -> Box<dyn JournalRead> {
        match self {
            History::Log(reader) => Box::new(reader.batches(from..to).matching(filter.clone())),
            History::Journal(journal) => journal.read(from, to, filter),
        }
    }

    /// The head of the last durable record in a stream, by indexes alone where the journal has them.
    pub fn last(self, stream: &str) -> Result<Option<(Offset, Head)>, RecordsError> {
        let found = match self {
            History::Log(reader) => reader.last(stream)?.map(|event| (event.offset(), event.data_bytes())),
            History::Journal(journal) => journal.last(stream)?.map(|record| (record.offset, record.content)),
        };
        let Some((offset, content)) = found else { return Ok(None) };
        if offset < self.durable_end()? {
            let head = Head::decode(&content).ok_or(RecordsError::Unreadable { offset })?;
            return Ok(Some((offset, head)));
        }
        self.last_of_all(stream)
    }

    /// The same where the last one of the journal is not durable yet: by reading the stream.
    fn last_of_all(self, stream: &str) -> Result<Option<(Offset, Head)>, RecordsError> {
        let mut read = self.read(Offset::ZERO, self.durable_end()?, &Filter::new().stream_named(stream));
        let mut last = None;
        loop {
            match read.look()? {
                Found::End => return Ok(last),
                Found::Nothing => {}
                Found::Batch(batch) => {
                    for event in batch.events() {
                        let offset = event.offset();
                        let head = Head::decode(event.data()).ok_or(RecordsError::Unreadable { offset })?;
                        last = Some((offset, head));
                    }
                }
            }
        }
    }

    /// The head of the record of a stream at an offset; `None` when something else stands there.
    fn head_at(self, stream: &str, offset: Offset) -> Result<Option<Head>, RecordsError> {
        match self.get(offset)? {
            Some(event) if event.stream() == stream => {
                Head::decode(event.data()).map(Some).ok_or(RecordsError::Unreadable { offset })
            }
            _ => Ok(None),
        }
    }

    /// The head of the record of a space at an offset; `None` when something else stands there.
    pub fn head_of(self, space: &Space, offset: Offset) -> Result<Option<Head>, RecordsError> {
        if offset >= self.durable_end()? {
            return Ok(None);
        }
        let live = self.head_at(&live_stream(space.handler()), offset)?;
        let head = if live.is_some() { live } else { self.head_at(&shadow_stream(space), offset)? };
        Ok(head.filter(|head| head.generation == space.generation()))
    }

    /// The records of a space from an offset on, up to the durable end of now. Costs what the two streams hold there,
    /// records of other generations included.
    pub fn records(self, space: &Space, from: Offset) -> Result<Records, ReadError> {
        let filter = Filter::new().stream_named(&live_stream(space.handler())).stream_named(&shadow_stream(space));
        let read = self.read(from, self.durable_end()?, &filter);
        Ok(Records { read, here: None, generation: space.generation() })
    }
}

/// Why records could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RecordsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What stands there is no record that this program can read.
    #[error("the handler's record at offset {offset} cannot be read by this program")]
    Unreadable { offset: Offset },
}

/// A record, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub offset: Offset,
    pub record: Record,
}

/// The records of a space in order of their offsets. Goes on behind [`ReadError::Lost`].
#[derive(Debug)]
pub(crate) struct Records {
    read: Box<dyn JournalRead>,
    here: Option<(Batch, Walk)>,
    generation: u32,
}

impl Iterator for Records {
    type Item = Result<Placed, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(event) = self.here.as_mut().and_then(|(batch, walk)| walk.next_owned(batch)) {
                let offset = event.offset();
                match Head::decode(event.data()) {
                    Some(head) if head.generation != self.generation => {}
                    Some(_) => {
                        let record = Record::decode(&event.data_bytes()).ok_or(RecordsError::Unreadable { offset });
                        return Some(record.map(|record| Placed { offset, record }));
                    }
                    None => return Some(Err(RecordsError::Unreadable { offset })),
                }
            }
            match self.read.look() {
                Ok(Found::Batch(batch)) => {
                    let walk = Walk::new(&batch);
                    self.here = Some((batch, walk));
                }
                Ok(Found::Nothing) => {}
                Ok(Found::End) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
