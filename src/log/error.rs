//! What can go wrong, one enum per verb: each says what happened to the data and what to do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::event::InvalidEvent;
use crate::limits::{BATCH_BYTES_MAX, BATCH_NAMES_MAX, SOURCE_POSITION_BYTES_MAX};
use crate::{Expect, LogId, Offset, Version};

/// Bytes that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {at}: {what}{}", file.display(), affected(*first, *end))]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it the damage was found.
    pub at: u64,
    /// The first event that is affected ..
    pub first: Offset,
    /// .. and the offset after the last one. Equal to `first` when no event is.
    pub end: Offset,
    /// What is wrong.
    pub what: String,
}

fn affected(first: Offset, end: Offset) -> String {
    if first < end { format!("; events {first} to {end} (exclusive) are affected") } else { String::new() }
}

/// A call on a file failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{doing} {} failed: {source}", path.display())]
pub struct IoFailure {
    /// What was being done: `reading`, `syncing`, ..
    pub doing: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: Arc<io::Error>,
}

impl IoFailure {
    pub(crate) fn new(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        IoFailure { doing, path: path.into(), source: Arc::new(source) }
    }
}

/// Why a log was not opened. It was left as it is, but for the repairs an open makes by itself.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such directory, or nothing in it.
    #[error("there is no log at {}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The directory holds other things.
    #[error("{} is not a log: it holds other files; choose a new or empty directory", path.display())]
    NotALog {
        /// The directory.
        path: PathBuf,
    },
    /// Another handle writes the log. Readers need no lock.
    #[error("another process writes the log {}{}; read it beside the writer, or stop that one first", path.display(), holder(*pid, command.as_deref()))]
    Held {
        /// The log.
        path: PathBuf,
        /// The writer's process, as far as it is known.
        pid: Option<u32>,
        /// Its command.
        command: Option<String>,
    },
    /// Acknowledged events are gone or wrong. Nothing was changed; what is whole can be read.
    #[error("{0}; the log was not opened, and nothing was changed")]
    Damaged(Damage),
    /// A newer program, or one with more features, wrote the log.
    #[error("{} cannot be read by this program: {what}; use a newer one", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: String,
    },
    /// The disk is full: opening needs room for a segment. What is there can be read.
    #[error("the disk is full, and the log {} needs room to be made or opened for writing; what is there can be read meanwhile", path.display())]
    DiskFull {
        /// The log.
        path: PathBuf,
    },
    /// A call on a file failed.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

fn holder(pid: Option<u32>, command: Option<&str>) -> String {
    match (pid, command) {
        (Some(pid), Some(command)) => format!(" (pid {pid}, {command})"),
        (Some(pid), None) => format!(" (pid {pid})"),
        _ => String::new(),
    }
}

/// Why events could not be read. The log is unchanged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Bytes are not what was written.
    #[error("{0}")]
    Damaged(Damage),
    /// A repair gave up these events.
    #[error("events {first} to {end} (exclusive) were lost and given up by a repair")]
    Lost {
        /// The first lost event ..
        first: Offset,
        /// .. and the one after the last.
        end: Offset,
    },
    /// A newer program, or one with more features, wrote the batch.
    #[error("{} cannot be read by this program: {what}; use a newer one", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: String,
    },
    /// The events were trimmed.
    #[error("events before {head} were trimmed; the first one left is {head}")]
    Trimmed {
        /// The first event that is left.
        head: Offset,
    },
    /// A call on a file failed.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

/// Why a consumer could not be used, or its cursor not be moved. The cursor stays where it was.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// Its name breaks a limit.
    #[error(transparent)]
    Invalid(#[from] InvalidEvent),
    /// Name and patterns do not fit into a cursor's file.
    #[error(
        "the patterns of consumer {name:?} are too long to be kept; its cursor was not changed, use fewer or shorter ones"
    )]
    FilterTooLong {
        /// The consumer.
        name: String,
    },
    /// Another process or handle uses the consumer.
    #[error("consumer {name:?} is in use by another process or handle; end that one, or take another name")]
    Held {
        /// The consumer.
        name: String,
    },
    /// There is no event yet where the cursor is, or would be.
    #[error(
        "the cursor of consumer {name:?} would be at {cursor}, ahead of the log, which ends at {durable_end}: either events are not durable yet, or an older copy of the log was put back; nothing was skipped, wait for the log or set the cursor anew"
    )]
    CursorAhead {
        /// The consumer.
        name: String,
        /// Where its cursor is, or was to be put.
        cursor: Offset,
        /// The first offset that a crash could lose.
        durable_end: Offset,
    },
    /// The cursor was to be moved back by a commit.
    #[error("consumer {name:?} is at {cursor} already, a commit does not take it back to {next}; to read again, seek")]
    Behind {
        /// The consumer.
        name: String,
        /// Where its cursor is.
        cursor: Offset,
        /// Where it was to be put.
        next: Offset,
    },
    /// The cursor is of another log.
    #[error(
        "the cursor of consumer {name:?} is of log {cursor_log}, this one is {log}; take another name, or set the cursor anew"
    )]
    WrongLog {
        /// The consumer.
        name: String,
        /// The log of its cursor.
        cursor_log: LogId,
        /// This log.
        log: LogId,
    },
    /// The event before the cursor is not the one that the consumer saw there.
    #[error(
        "the event before offset {cursor} is not the one that consumer {name:?} saw there: the log went on otherwise from an older copy; look from where on, then set the cursor anew"
    )]
    CursorOfAnotherHistory {
        /// The consumer.
        name: String,
        /// Where its cursor is.
        cursor: Offset,
    },
    /// Events that the consumer has not seen were trimmed.
    #[error(
        "events {cursor} to {head} (exclusive) were trimmed before consumer {name:?} saw them; to go on with what is left, set the cursor to {head}"
    )]
    Trimmed {
        /// The consumer.
        name: String,
        /// Where its cursor is.
        cursor: Offset,
        /// The first event that is left.
        head: Offset,
    },
    /// Neither slot of the cursor's file is what was written. No event is affected.
    #[error("{0}; no event is affected, set the cursor anew")]
    Damaged(Damage),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A call on the cursor's file failed. After a failed commit it may be at its last durable place or at any commit
    /// since: open it again.
    #[error("{0}; the cursor is where it was last durable, or at a commit since then: open the consumer again")]
    Io(#[from] IoFailure),
}

/// Why an append was not taken, or its outcome is not known.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// An event, or a stream named in an expectation, breaks a limit. Nothing was written.
    #[error("{0}; nothing was written")]
    Invalid(#[from] InvalidEvent),
    /// There is no event in the append. Nothing was written.
    #[error("an append needs at least one event; nothing was written")]
    Empty,
    /// The append does not fit into one batch. Nothing was written.
    #[error("an append takes at most {BATCH_BYTES_MAX} bytes, this one {bytes}; nothing was written, split it")]
    TooLarge {
        /// What it would take.
        bytes: usize,
    },
    /// Too many distinct names in one append. Nothing was written.
    #[error(
        "an append names at most {BATCH_NAMES_MAX} streams, types or sources, this one {names}; nothing was written, split it"
    )]
    TooManyNames {
        /// How many there are.
        names: usize,
    },
    /// The position of a source is longer than the limit. Nothing was written.
    #[error(
        "a source's position has at most {SOURCE_POSITION_BYTES_MAX} bytes, this one has {bytes}; nothing was written"
    )]
    PositionTooLong {
        /// Its length.
        bytes: usize,
    },
    /// As many sources and handlers as a log remembers. Nothing was written.
    #[error(
        "the log remembers {sources} sources and handlers already, which is as many as it can; nothing was written"
    )]
    TooManySources {
        /// How many there are.
        sources: usize,
    },
    /// Someone appended first. Nothing was written; read the stream, decide again, retry.
    #[error("{} {expected}; nothing was written", state(stream, *actual, *last))]
    WrongVersion {
        /// The stream.
        stream: String,
        /// What was expected of it.
        expected: Expect,
        /// The version of its last event; `None` when it has none.
        actual: Option<Version>,
        /// The offset of its last event: the one in the way.
        last: Option<Offset>,
    },
    /// The producer's append of this number held something else. Nothing was written: two programs use one
    /// producer, or one lost count; take a new producer, or a higher epoch.
    #[error(
        "producer {producer:?} sent something else as its append {sequence}, which is at offsets {first} to {next} (exclusive); nothing was written"
    )]
    ProducerConflict {
        /// The producer.
        producer: String,
        /// Its number of the append.
        sequence: u64,
        /// The first offset of what it sent before ..
        first: Offset,
        /// .. and the one after the last.
        next: Offset,
    },
    /// Appends of the producer are missing before this one. Nothing was written; send from the expected one on.
    #[error("the next append of producer {producer:?} has number {expected}, not {sequence}; nothing was written")]
    ProducerGap {
        /// The producer.
        producer: String,
        /// The number that was sent.
        sequence: u64,
        /// The number that has to come next.
        expected: u64,
    },
    /// A later instance of the producer has taken over. Nothing was written; stop.
    #[error("producer {producer:?} goes on under epoch {epoch}, an earlier instance has to stop; nothing was written")]
    ProducerFenced {
        /// The producer.
        producer: String,
        /// The epoch that is now its.
        epoch: u32,
    },
    /// The append is older than those that are remembered. Nothing was written now: it is in the log already, but
    /// whether the same was sent cannot be said any more.
    #[error(
        "append {sequence} of producer {producer:?} is in the log, but older than what is remembered of it (from {oldest} on); nothing was written now"
    )]
    ProducerForgotten {
        /// The producer.
        producer: String,
        /// The number that was sent.
        sequence: u64,
        /// The oldest number that is remembered.
        oldest: u64,
    },
    /// The producer is not known, or no longer. Nothing was written now; whether its earlier appends were stored
    /// can only be seen in the log. Begin again at 0, with a new epoch if it had appended before.
    #[error(
        "producer {producer:?} is not known, or not remembered any more; nothing was written: look into the log for what it sent last, then begin at 0 under a higher epoch"
    )]
    UnknownProducer {
        /// The producer.
        producer: String,
    },
    /// The disk is full. Nothing was written; appends go on by themselves once there is room.
    #[error("the disk is full; nothing was written, appends go on once there is room")]
    DiskFull,
    /// A call failed before anything was written. Nothing was written; the same append may succeed later.
    #[error("{0}; nothing was written, try again")]
    Io(IoFailure),
    /// An earlier write or sync failed, so that nothing can be promised any more. Nothing was written.
    #[error("the log takes no more appends since {0}; nothing was written, open it again")]
    Poisoned(IoFailure),
    /// The disk failed midway: the events may or may not be there. Open the log again and look.
    #[error("{0}; the events may or may not be there: open the log again and look")]
    OutcomeUnknown(IoFailure),
    /// The disk did not answer in time: the events may be kept already, or later, or never. The append goes on: wait
    /// for its receipt again, or look into the log.
    #[error(
        "the disk did not answer within {waited:?}; whether the events are kept is not known yet: wait again, or look into the log"
    )]
    Late {
        /// How long was waited.
        waited: Duration,
    },
    /// The log was closed. Nothing was written.
    #[error("the log was closed; nothing was written")]
    Closed,
    /// The state of a stream could not be looked up. Nothing was written.
    #[error("{0}; nothing was written")]
    Read(#[from] ReadError),
}

fn state(stream: &str, actual: Option<Version>, last: Option<Offset>) -> String {
    match (actual, last) {
        (Some(version), Some(offset)) => format!("stream {stream:?} is at version {version} (offset {offset}),"),
        _ => format!("stream {stream:?} has no event,"),
    }
}

impl AppendError {
    /// Whether the log is certainly unchanged.
    pub fn nothing_written(&self) -> bool {
        // No `_` arm: a new variant has to answer.
        match self {
            Self::Invalid(_)
            | Self::Empty
            | Self::TooLarge { .. }
            | Self::TooManyNames { .. }
            | Self::PositionTooLong { .. }
            | Self::TooManySources { .. }
            | Self::WrongVersion { .. }
            | Self::ProducerConflict { .. }
            | Self::ProducerGap { .. }
            | Self::ProducerFenced { .. }
            | Self::ProducerForgotten { .. }
            | Self::UnknownProducer { .. }
            | Self::DiskFull
            | Self::Io(_)
            | Self::Poisoned(_)
            | Self::Closed
            | Self::Read(_) => true,
            Self::OutcomeUnknown(_) | Self::Late { .. } => false,
        }
    }

    /// Whether the same append may succeed later on the same log handle.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::DiskFull | Self::Io(_) => true,
            Self::Invalid(_)
            | Self::Empty
            | Self::TooLarge { .. }
            | Self::TooManyNames { .. }
            | Self::PositionTooLong { .. }
            | Self::TooManySources { .. }
            | Self::WrongVersion { .. }
            | Self::ProducerConflict { .. }
            | Self::ProducerGap { .. }
            | Self::ProducerFenced { .. }
            | Self::ProducerForgotten { .. }
            | Self::UnknownProducer { .. }
            | Self::Poisoned(_)
            | Self::OutcomeUnknown(_)
            | Self::Late { .. }
            | Self::Closed
            | Self::Read(_) => false,
        }
    }
}
