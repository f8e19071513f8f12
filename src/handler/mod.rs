//! Handlers: user logic with state, whose state, position and output events move in one append.
//!
//! The files in the order of a step's journey.

pub(crate) mod commit;
mod error;
mod failure;
mod spec;

// State while a step runs: what the view has, what is written behind, what the window changed.
mod cache;
mod overlay;
mod keys;
mod rows;
mod own;
pub(crate) mod value;
mod skips;

// A step.
mod context;
mod logic;
mod lanes;
mod window;
mod queues;
mod control;
mod effects;
mod attempts;
mod sample;
mod fence;
mod prove;
mod runner;
#[cfg(feature = "tokio")]
mod asynchronous;

// State as the records say it: at any place, without the view.
pub(crate) mod records;
pub(crate) mod snapshot;
mod state;
#[cfg(feature = "cli")]
pub(crate) mod standing;
pub(crate) mod recorder;

// Handling again what was handled before.
mod follow;
mod generation;
mod replay;
pub(crate) mod check;

use crate::Event;

#[cfg(feature = "tokio")]
pub use asynchronous::{Async, AsyncHandler};
pub use commit::decisions_of;
pub use context::{Context, RowError};
pub use control::Control;
pub use effects::{Effect, Executor};
pub use error::HandlerError;
pub use failure::Failure;
pub use generation::{KeyDifference, Shadow, state_difference};
pub use lanes::Lanes;
pub use replay::{Difference, Outputs, Put, Replay, ReplayProgress, ReplayReport, Until, Verdict};
pub use runner::{Runner, Step};
pub use snapshot::SnapshotError;
pub use spec::{HandlerSpec, OnViolation, Retry, Start};
pub use state::{State, StateError, StateReader, StateRows, StateValue};
pub use value::ValueError;
#[cfg(feature = "cli")]
pub(crate) use {context::HOPS, control::Asked, logic::Logic, window::Went, window::Window};

/// Business logic with state.
///
/// `handle` may run any number of times for one event; what exactly one of the runs changed through the context is
/// committed, in one append with the handler's position. So all effects have to go through `cx`, and fields of
/// `self` are settings, never state.
pub trait Handler: Send + Sync + 'static {
    /// Handles one event.
    ///
    /// # Errors
    /// A [`Failure`] says what becomes of the event; nothing that this run changed is kept. `?` on any error is
    /// [`Failure::Retry`], on one of decoding [`Failure::Park`].
    fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure>;

    /// What makes the event the same business fact as another one: a second one within
    /// [`horizon`](HandlerSpec::horizon) is passed over and counted.
    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        let _ = event;
        None
    }
}

impl<F> Handler for F
where
    F: Fn(&Event, &mut Context<'_>) -> Result<(), Failure> + Send + Sync + 'static,
{
    fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
        self(event, cx)
    }
}
