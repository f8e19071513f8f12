//! Where the handlers of a log stand, as their records say it to whoever looks from beside.

use super::commit::{CUT_OVER, Head};
use super::own::{NEVER, PARKED, PAUSED, ParkedRow, QUEUED, queued_of};
use super::records::{History, live_stream, shadow_stream};
use super::state::{State, StateError, StateReader};
use crate::log::{CONTROL_STREAMS, HANDLER_STREAMS};
use crate::view::Space;
use crate::{Filter, LogReader, Offset, ReadError};

/// One generation of a handler.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub space: Space,
    /// It is the one whose outputs are in the log; the others are built beside it.
    pub is_live: bool,
    /// Its newest durable record.
    pub record: Offset,
    pub head: Head,
}

/// A stream that is set aside.
#[derive(Debug, Clone)]
pub(crate) struct Parked {
    pub stream: String,
    pub row: ParkedRow,
    /// Its events that wait, oldest first.
    pub waiting: Vec<u64>,
}

/// What a handler does not get on with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    /// Why it is paused.
    pub paused: Option<String>,
    /// In the order of the bytes of their names.
    pub parked: Vec<Parked>,
}

impl Parked {
    /// When it is tried again; `None`: when somebody decides.
    pub fn retry_at_us(&self) -> Option<i64> {
        (self.row.retry_at_us != NEVER).then_some(self.row.retry_at_us)
    }

    pub fn first(&self) -> Option<Offset> {
        self.waiting.first().copied().map(Offset::from_raw)
    }
}

impl Held {
    /// How many events wait in all queues.
    pub fn waiting(&self) -> u64 {
        self.parked.iter().map(|parked| parked.waiting.len() as u64).sum()
    }

    fn of(state: &State) -> Result<Held, StateError> {
        let mut held = Held::default();
        for row in state.all_rows() {
            let (key, value) = row?;
            if key == PAUSED[..] {
                held.paused = Some(String::from_utf8_lossy(&value).into_owned());
            } else if let Some(stream) = key.strip_prefix(&PARKED) {
                let (stream, row) = (String::from_utf8_lossy(stream).into_owned(), ParkedRow::decode(&value));
                held.parked.extend(row.map(|row| Parked { stream, row, waiting: Vec::new() }));
            } else if let Some((stream, offset)) = queued_of(&key) {
                // Rows come by key: streams that are set aside before the events that wait.
                let found = held.parked.binary_search_by(|parked| parked.stream.as_str().cmp(stream));
                if let Some(parked) = found.ok().and_then(|at| held.parked.get_mut(at)) {
                    parked.waiting.push(offset);
                }
            } else if key.as_ref() >= &[QUEUED[0] + 1][..] {
                break;
            }
        }
        Ok(held)
    }
}

impl Standing {
    /// The live generation of a handler; `None` when there is no such handler.
    pub fn live(reader: &LogReader, handler: &str) -> Result<Option<Standing>, StateError> {
        Ok(Standing::of(reader, &live_stream(handler), handler, true)?)
    }

    fn of(
        reader: &LogReader,
        stream: &str,
        handler: &str,
        is_live: bool,
    ) -> Result<Option<Standing>, super::records::RecordsError> {
        let last = History::from(reader).last(stream)?;
        Ok(last.map(|(record, head)| Standing { space: Space::new(handler, head.generation), is_live, record, head }))
    }

    /// All of a log, by name and generation. Costs a look at the names in each batch of the log.
    pub fn all(reader: &LogReader) -> Result<Vec<Standing>, StateError> {
        let mut all = Vec::new();
        for info in reader.streams(&format!("{HANDLER_STREAMS}*")) {
            let stream = info?.name;
            let name = stream.strip_prefix(HANDLER_STREAMS).unwrap_or_default();
            let (handler, is_live) = name.split_once('@').map_or((name, true), |(handler, _)| (handler, false));
            let found = Standing::of(reader, &stream, handler, is_live)?;
            if let Some(found) = found
                && (is_live || found.is_still_beside(reader)?)
            {
                all.push(found);
            }
        }
        all.sort_by(|a, b| {
            let key = |one: &Standing| (one.space.handler().to_owned(), one.space.generation());
            key(a).cmp(&key(b))
        });
        Ok(all)
    }

    /// Whether it did not take over since its last record: then its records are in the stream of the live one.
    fn is_still_beside(&self, reader: &LogReader) -> Result<bool, StateError> {
        debug_assert!(!self.is_live, "of the live one nobody asks");
        let cut_overs = Filter::new().stream_named(&live_stream(self.space.handler())).types([CUT_OVER]);
        for batch in reader.batches(self.record..reader.durable_end()?).matching(cut_overs) {
            let batch = match batch {
                Err(ReadError::Lost { .. }) => continue,
                batch => batch?,
            };
            let took_over =
                |data: &[u8]| Head::decode(data).is_some_and(|head| head.generation == self.head.generation);
            if batch.events().any(|event| event.event_type() == CUT_OVER && took_over(event.data())) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The stream that its records are in.
    pub fn stream(&self) -> String {
        if self.is_live { live_stream(self.space.handler()) } else { shadow_stream(&self.space) }
    }

    /// What it does not get on with. Where its record says that there is something, its state is read.
    pub fn held(&self, reader: &LogReader) -> Result<Held, StateError> {
        if self.head.parked == 0 && !self.head.paused {
            return Ok(Held::default());
        }
        let state = StateReader::new(reader, self.space.handler());
        Held::of(&state.generation(self.space.generation()).up_to(self.record).open()?)
    }

    /// Whether operators asked something that it has not acted on.
    pub fn is_asked(&self, reader: &LogReader) -> Result<bool, ReadError> {
        let last = reader.last(&format!("{CONTROL_STREAMS}{}", self.space.handler()))?;
        Ok(self.is_live && last.is_some_and(|event| event.offset() >= self.head.control))
    }
}
