//! Waiting for the writer in another process. One thread of those that wait on a handle watches the file
//! `LOCK` and rings for the others; where it cannot be watched, each looks again and again.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::shared::lock;
use crate::disk::FileWatch;

/// A watched file is looked at this often all the same: file systems of a network may not tell of writes.
const WATCHED_LOOK: Duration = Duration::from_secs(1);
/// How often an unwatched file is looked at, at first and after a while without news.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LAST: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rings: u64,
    watch: Watch,
    /// A thread waits at the watch.
    watching: bool,
}

#[derive(Debug, Default)]
enum Watch {
    #[default]
    Untried,
    Impossible,
    Set(Arc<dyn FileWatch>),
}

/// How one thread has waited so far.
#[derive(Debug)]
pub(super) struct Patience {
    look: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { look: LOOK_FIRST }
    }
}

impl Bell {
    /// How often it rang. To be asked before looking for news.
    pub fn rings(&self) -> u64 {
        lock(&self.state).rings
    }

    /// Ends all waits.
    pub fn ring(&self) {
        let mut state = lock(&self.state);
        state.rings += 1;
        if let Watch::Set(watch) = &state.watch {
            watch.wake();
        }
        self.rung.notify_all();
    }

    /// Waits until there may be news since it had rung so often, at most for so long.
    pub fn wait(
        &self,
        seen: u64,
        at_most: Duration,
        patience: &mut Patience,
        watch: impl FnOnce() -> io::Result<Arc<dyn FileWatch>>,
    ) {
        let mut state = lock(&self.state);
        if state.rings != seen {
            return;
        }
        if matches!(state.watch, Watch::Untried) {
            match watch() {
                // What was written before the watch was set is news too.
                Ok(watch) => {
                    state.watch = Watch::Set(watch);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::debug!(%error, "the file LOCK cannot be watched, and is looked at again and again");
                    state.watch = Watch::Impossible;
                }
            }
        }
        let at_most = match &state.watch {
            Watch::Set(watch) if !state.watching => {
                let watch = Arc::clone(watch);
                state.watching = true;
                drop(state);
                let waited = watch.wait(at_most.min(WATCHED_LOOK));
                let mut state = lock(&self.state);
                state.watching = false;
                state.rings += 1;
                if waited.is_err() {
                    state.watch = Watch::Impossible;
                }
                self.rung.notify_all();
                return;
            }
            Watch::Set(_) => at_most.min(WATCHED_LOOK),
            Watch::Untried | Watch::Impossible => {
                let look = patience.look;
                patience.look = (look * 2).min(LOOK_LAST);
                at_most.min(look)
            }
        };
        let waited = self.rung.wait_timeout_while(state, at_most, |state| state.rings == seen);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
