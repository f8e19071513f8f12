//! The embedded, append-only event log: a log is a directory.
//!
//! The modules in reading order, which is the journey of an event.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("`planted-bugs` is for testing the tests: no release has it");

pub mod limits;

mod event;
mod filter;
mod position;
mod planted;
mod sync;
mod window;

pub use event::{Event, EventRef, Headers, InvalidEvent, JSON, NewEvent};
pub use filter::{Filter, Pattern};
pub use position::{LogId, Offset, TailEpoch, Timestamp, Version};

mod batch;
mod disk;
mod segment;
mod index;
mod cursor;
mod log;
mod journal;
mod view;
mod handler;
mod sink;
#[doc(hidden)]
pub mod hostile;

pub use batch::{Batch, Codec, Events, EventsBackward};
#[cfg(feature = "tokio")]
pub use handler::{Async, AsyncHandler};
pub use handler::{
    Context, Control, Difference, Effect, Executor, Failure, Handler, HandlerError, HandlerSpec, KeyDifference, Lanes,
    OnViolation, Outputs, Put, Replay, ReplayProgress, ReplayReport, Retry, RowError, Runner, Shadow, SnapshotError,
    Start, State, StateError, StateReader, StateRows, StateValue, Step, Until, ValueError, Verdict, state_difference,
};
pub use journal::{Caps, Found, Journal, JournalRead, MemoryLog, OwnRecord, Pending};
#[cfg(feature = "tokio")]
pub use log::EventStream;
pub use log::{
    Anomaly, AnomalyKind, Append, AppendError, Appended, Batches, Consumer, ConsumerError, ConsumerInfo, Damage,
    Durability, Expect, Follow, IoFailure, Log, LogReader, OpenError, OpenReport, Options, Read, ReadError, Receipt,
    RepairPlan, Repaired, SegmentStat, SourceRecord, Stat, Stop, StreamInfo, StreamList, StreamRead, TornTail,
    TouchedStream, VerifyReport, Writer, repair, verify,
};
pub use segment::ReadMode;
pub use sink::{NotACursor, Sink, SinkCursor, SinkError};
#[cfg(feature = "redb")]
pub use view::RedbView;
#[cfg(feature = "sled")]
pub use view::SledView;
#[cfg(any(feature = "redb", feature = "sled"))]
pub use view::ViewOptions;
pub use view::{Bookmark, Change, Digest, MemoryView, Rows, Space, Trust, View, ViewError};

/// The seams between a log and the world, for tests of programs that use a log.
pub mod testkit {
    pub use crate::disk::*;
    pub use crate::handler::check::{
        Check, CheckReport, CheckVerdict, Law, Level, Outcome, RowDifference, Violation, check_handler,
    };
    pub use crate::handler::decisions_of;
    #[doc(hidden)]
    pub use crate::handler::recorder::{
        RecordedWrite, Recorder, make_snapshot, rebuild_into, snapshot_files, snapshot_is_due, state_value,
    };
    pub use crate::hostile;
    pub use crate::journal::{journal_conformance, journal_reopen_conformance, own_append};
    pub use crate::log::{repair_with, verify_with};
    #[cfg(feature = "planted-bugs")]
    pub use crate::planted::{plant, planted_bugs};
    pub use crate::view::{ViewHost, view_conformance};
}

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
