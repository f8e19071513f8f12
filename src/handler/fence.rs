//! Two instances in one process may have the same view: what is behind the log is written by the later one alone.
//!
//! The log refuses the append of an instance that was taken over. What it wrote behind, though, would still go to
//! the view, over rows of its successor. So taking over and writing behind take turns, and whoever writes behind
//! looks first whether its record is still the last one.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use super::error::HandlerError;
use crate::journal::Journal;
use crate::view::Space;
use crate::{LogId, Offset};

type Turns = HashMap<(LogId, Space), Weak<Mutex<()>>>;

static TURNS: LazyLock<Mutex<Turns>> = LazyLock::new(Mutex::default);

/// The turns of the instances of one handler, in this process.
#[derive(Debug, Clone)]
pub(crate) struct Turn(Arc<Mutex<()>>);

impl Turn {
    pub fn of(log: LogId, space: &Space) -> Turn {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let key = (log, space.clone());
        if let Some(turn) = turns.get(&key).and_then(Weak::upgrade) {
            return Turn(turn);
        }
        let turn = Arc::new(Mutex::new(()));
        turns.insert(key, Arc::downgrade(&turn));
        Turn(turn)
    }

    /// Until the guard is dropped, no other instance takes over or writes behind.
    pub fn take(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses when somebody appended a record behind this instance's last one.
pub(crate) fn check_is_last(journal: &dyn Journal, stream: &str, name: &str, last: Offset) -> Result<(), HandlerError> {
    match journal.last(stream)?.map(|record| record.offset) {
        Some(by) if by > last => Err(HandlerError::Fenced { name: name.to_owned(), by }),
        _ => Ok(()),
    }
}
