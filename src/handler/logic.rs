//! How the events of a window are handed to the user's code.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Handler;
use super::context::Context;
use super::error::HandlerError;
use super::failure::Failure;
use super::lanes::{self, Lanes, Ran};
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

    /// How often it ran events in lanes.
    fn lanes(&self) -> Lanes {
        Lanes::default()
    }
}

/// A handler of the library's user, called event by event.
pub(crate) struct Calls<H> {
    handler: H,
    lanes: Lanes,
    /// Windows that run in one lane before several are tried again, and how many it was the last time.
    one_lane: (u32, u32),
}

impl<H> Calls<H> {
    pub fn new(handler: H) -> Self {
        Calls { handler, lanes: Lanes::default(), one_lane: (0, 0) }
    }
}

impl<H> fmt::Debug for Calls<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

impl<H: Handler> Logic for Calls<H> {
    fn run(&mut self, window: &mut Window<'_>) -> Result<(), HandlerError> {
        if window.spec.lanes > 1 && self.run_in_lanes(window)? {
            return Ok(());
        }
        for index in 0..window.len() {
            if !window.admit(index, self)? {
                continue;
            }
            let outcome = window.call_sampled(index, |event, cx| call(&self.handler, event, cx));
            let Some(outcome) = outcome else { break };
            if window.finish(index, outcome)? == Went::Enough {
                break;
            }
        }
        Ok(())
    }

    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        self.handler.idempotency_key(event)
    }

    fn lanes(&self) -> Lanes {
        self.lanes
    }
}

impl<H: Handler> Calls<H> {
    /// Runs the window in lanes, if that can be done. Where lanes keep meeting they are tried less and less often.
    fn run_in_lanes(&mut self, window: &mut Window<'_>) -> Result<bool, HandlerError> {
        const SELDOM: u32 = 64;
        if let Some(left) = self.one_lane.0.checked_sub(1) {
            self.one_lane.0 = left;
            return Ok(false);
        }
        let handler = &self.handler;
        match lanes::run(window, self, &|event, cx| call(handler, event, cx))? {
            Ran::Together => {
                self.lanes.together += 1;
                self.one_lane = (0, 0);
                Ok(true)
            }
            Ran::InVain => {
                self.lanes.again += 1;
                let next = (self.one_lane.1 * 2).clamp(1, SELDOM);
                self.one_lane = (self.one_lane.1, next);
                Ok(false)
            }
            Ran::Not => Ok(false),
        }
    }
}

fn call(handler: &impl Handler, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(|| handler.handle(event, cx))).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// A panic of the user's code, as a failure.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Failure::Retry { after: None, cause: format!("the handler panicked: {text}").into() }
}
