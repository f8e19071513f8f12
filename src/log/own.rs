//! The log's own streams: how they are called, and what of their records is carried from segment to segment.

use bytes::Bytes;

use super::append::Append;
use super::error::AppendError;
use super::producer::{self, EVICTED_STREAM};
use crate::batch::{Batch, Kind};
use crate::limits::CARRIED_STREAMS_MAX;
use crate::segment::{CarriedRecord, Carry};

/// A source's stream holds how far the source was read: all of a record is carried.
pub(crate) const SOURCE_STREAMS: &str = "$source/";
/// A handler's stream holds its commits: their heads are carried.
pub(crate) const HANDLER_STREAMS: &str = "$handler/";
/// What operators ask of a handler: that there is a record is carried.
pub(crate) const CONTROL_STREAMS: &str = "$control/";

/// Whether a stream is one that handlers, operators or sources write through the log.
pub(crate) fn is_own(stream: &str) -> bool {
    [SOURCE_STREAMS, HANDLER_STREAMS, CONTROL_STREAMS].iter().any(|prefix| stream.starts_with(prefix))
}

/// The stream in which a source's position is kept.
pub(super) fn source_stream(name: &str) -> String {
    format!("{SOURCE_STREAMS}{name}")
}

/// Of the content of a record, what is carried on.
///
/// A handler's commit says at its beginning how long its head is: see `handler/commit.rs`.
pub(crate) fn carried<'d>(stream: &str, data: &'d [u8]) -> &'d [u8] {
    if stream.starts_with(CONTROL_STREAMS) {
        return &[];
    }
    if stream.starts_with(HANDLER_STREAMS) {
        return crate::handler::commit::head_of(data);
    }
    data
}

/// What is carried on of a record that stands at an offset and a version.
pub(crate) fn record(stream: &str, event_type: &str, data: &[u8], (offset, version): (u64, u64)) -> CarriedRecord {
    CarriedRecord {
        offset,
        version,
        event_type: event_type.into(),
        content: Bytes::copy_from_slice(carried(stream, data)),
    }
}

/// Refuses an append that brings one stream of the log's own more than are carried.
pub(crate) fn check_room(carry: &Carry, append: &Append<'_>) -> Result<(), AppendError> {
    let is_new = append.own.as_ref().is_some_and(|own| !carry.streams.contains_key(&*own.stream));
    // The one about producers has room of its own.
    let sources = carry.streams.len() - usize::from(carry.streams.contains_key(EVICTED_STREAM));
    if is_new && sources >= CARRIED_STREAMS_MAX { Err(AppendError::TooManySources { sources }) } else { Ok(()) }
}

/// How an append's kind of batch is called.
pub(crate) fn kind_of(append: &Append<'_>) -> Kind {
    if append.events.is_empty() { Kind::System } else { Kind::Events }
}

/// Takes note of what a batch carries on: records of the log's own streams, and appends of producers.
pub(crate) fn carry_on(carry: &mut Carry, batch: &Batch) {
    for event in batch.events().filter(|event| event.is_system()) {
        let place = (event.offset().raw(), event.version().raw());
        let record = record(event.stream(), event.event_type(), event.data(), place);
        carry.streams.insert(event.stream().into(), record);
    }
    producer::take_note(carry, batch);
}
