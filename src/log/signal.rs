//! What a background thread sleeps on.

use std::time::Duration;

use crate::sync::{Condvar, Mutex, PoisonError, lock};

/// Wakes a background thread.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    set: bool,
    stop: bool,
}

impl Signal {
    pub fn set(&self) {
        lock(&self.state).set = true;
        self.changed.notify_one();
    }

    pub fn is_stopped(&self) -> bool {
        lock(&self.state).stop
    }

    pub fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_one();
    }

    /// Waits until it is set, or so many milliseconds, or seldom for nothing, which costs one look; false when the
    /// thread has to end.
    pub fn wait(&self, ms: Option<u64>) -> bool {
        let mut state = lock(&self.state);
        if !state.set && !state.stop {
            state = match ms {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(ms) => {
                    let waited = self.changed.wait_timeout(state, Duration::from_millis(ms));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.set = false;
        !state.stop
    }
}
