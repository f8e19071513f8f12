//! Handlers: user logic with state, whose state, position and output events move in one append.

pub(crate) mod commit;
pub(crate) mod records;
pub(crate) mod snapshot;
mod state;
pub(crate) mod recorder;

pub use snapshot::SnapshotError;
pub use state::{State, StateError, StateReader, StateRows, StateValue};
