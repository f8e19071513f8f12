//! Why a handler could not be opened, or stopped. What was committed stays; nothing else was kept.

use super::state::StateError;
use crate::limits::HANDLER_NAME_BYTES_MAX;
use crate::view::ViewError;
use crate::{AppendError, LogId, Offset, ReadError};

/// Why a handler does not go on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// Its name breaks a limit.
    #[error(
        "a handler's name has 1 to {HANDLER_NAME_BYTES_MAX} bytes without `@`, `/` and control characters, not {name:?}"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A later instance took over. Nothing was written; stop.
    #[error(
        "another instance of handler {name:?} took over at offset {by}; this one has stopped, and wrote nothing more"
    )]
    Fenced {
        /// The handler.
        name: String,
        /// Where its record stands.
        by: Offset,
    },
    /// Another generation is the live one.
    #[error(
        "generation {live} of handler {name:?} is the live one, not {asked}; build {asked} beside it and cut over, or run {live}"
    )]
    Generation {
        /// The handler.
        name: String,
        /// Of the last record.
        live: u32,
        /// As registered.
        asked: u32,
    },
    /// Filter, lanes or codec changed under the same generation.
    #[error(
        "handler {name:?} had other events, lanes or codec in generation {generation}: its state would be a mixture; raise the generation"
    )]
    Changed {
        /// The handler.
        name: String,
        /// The generation.
        generation: u32,
    },
    /// A record of the handler is not what was written, or of a newer program.
    #[error(
        "the record of handler {name:?} at offset {at} cannot be read; use the program that wrote it, or look with `annals get`"
    )]
    Record {
        /// The handler.
        name: String,
        /// Where it stands.
        at: Offset,
    },
    /// The view belongs to another log.
    #[error(
        "the view of handler {name:?} belongs to log {found}, this one is {log}; nothing was changed, give each log a view of its own"
    )]
    WrongLog {
        /// The handler.
        name: String,
        /// The view's log.
        found: LogId,
        /// This log.
        log: LogId,
    },
    /// The view knows a record that the log does not have.
    #[error(
        "the view of handler {name:?} reflects a record at offset {bookmark}, which this log does not have (its last one is {last:?}): an older copy of the log was put back. Nothing was changed; to go on from the log as it is, remove the view, it is then made again"
    )]
    ViewAhead {
        /// The handler.
        name: String,
        /// The record that the view reflects.
        bookmark: Offset,
        /// The last record of the log.
        last: Option<Offset>,
    },
    /// The state made of the log's records is not what a record says it is.
    #[error(
        "the state of handler {name:?} does not add up at its record {at}; nothing was changed: use `annals replay --verify` to find the first difference"
    )]
    Digest {
        /// The handler.
        name: String,
        /// The record.
        at: Offset,
    },
    /// The handler has to begin where nothing is left.
    #[error(
        "events {cursor} to {head} (exclusive) were trimmed before handler {name:?} handled them; nothing was skipped: raise the generation to begin at {head}"
    )]
    Trimmed {
        /// The handler.
        name: String,
        /// Where it is.
        cursor: Offset,
        /// The first event that is left.
        head: Offset,
    },
    /// What handles its events could not be started.
    #[error("events of handler {name:?} cannot be handled: {cause}; nothing of this step was kept")]
    Handling {
        /// The handler.
        name: String,
        /// Why.
        cause: String,
    },
    /// The log has no record of that generation.
    #[error(
        "the log has no record of generation {generation} of handler {name:?}; `annals handlers` lists those it has"
    )]
    Unknown {
        /// The handler.
        name: String,
        /// The generation.
        generation: u32,
    },
    /// A generation that is to be built beside the live one is the live one.
    #[error(
        "generation {generation} of handler {name:?} is the live one and cannot be built beside itself; nothing was written: run it, or raise the generation"
    )]
    Live {
        /// The handler.
        name: String,
        /// The generation.
        generation: u32,
    },
    /// A generation has not handled what the live one has, so it cannot take over.
    #[error(
        "generation {generation} of handler {name:?} cannot take over: {why}; nothing was written, the live one goes on"
    )]
    NotReady {
        /// The handler.
        name: String,
        /// The generation that was to take over.
        generation: u32,
        /// What is in its way.
        why: String,
    },
    /// It stopped before, for another reason.
    #[error("handler {name:?} has stopped before; open it again")]
    Stopped {
        /// The handler.
        name: String,
    },
    /// The log did not take its append.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its state could not be made again from the log.
    #[error(transparent)]
    State(#[from] StateError),
    /// The view failed.
    #[error(transparent)]
    View(#[from] ViewError),
}
