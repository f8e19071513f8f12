//! How the events of a window are handed to the user's code.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Handler;
use super::error::HandlerError;
use super::failure::Failure;
use super::window::{Went, Window};
use crate::Event;

/// Handles the events of a window: each is admitted, run, and finished, in order.
pub(crate) trait Logic: fmt::Debug + Send {
    /// Handles events until the window ends or says that it is enough.
    fn run(&mut self, window: &mut Window<'_>) -> Result<(), HandlerError>;

    /// What makes the event the same business fact as another one.
    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>>;

    /// Whether the user's code runs in this process, which then dies with it.
    fn is_in_process(&self) -> bool {
        true
    }
}

/// A handler of the library's user, called event by event.
pub(crate) struct Calls<H>(pub H);

impl<H> fmt::Debug for Calls<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

impl<H: Handler> Logic for Calls<H> {
    fn run(&mut self, window: &mut Window<'_>) -> Result<(), HandlerError> {
        for index in 0..window.len() {
            if !window.admit(index, self)? {
                continue;
            }
            let outcome = window.call_sampled(index, |event, cx| {
                catch_unwind(AssertUnwindSafe(|| self.0.handle(event, cx)))
                    .unwrap_or_else(|panic| Err(panicked(&*panic)))
            });
            let Some(outcome) = outcome else { break };
            if window.finish(index, outcome)? == Went::Enough {
                break;
            }
        }
        Ok(())
    }

    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        self.0.idempotency_key(event)
    }
}

/// A panic of the user's code, as a failure.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Failure::Retry { after: None, cause: format!("the handler panicked: {text}").into() }
}
