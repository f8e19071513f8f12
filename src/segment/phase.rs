//! A segment's way from written to sealed, as far as threads go. `tests/loom` runs this code in every order.

use crate::sync::{Mutex, MutexGuard, OnceLock, lock};

/// First written, with what is known of it meanwhile (`A`); then sealed for good, with what its end says (`T`).
#[derive(Debug)]
pub(super) struct Phase<A, T> {
    active: Mutex<A>,
    sealed: OnceLock<T>,
}

impl<A: Default, T> Phase<A, T> {
    pub fn new() -> Self {
        Phase { active: Mutex::default(), sealed: OnceLock::new() }
    }

    pub fn active(&self) -> MutexGuard<'_, A> {
        lock(&self.active)
    }

    pub fn sealed(&self) -> Option<&T> {
        self.sealed.get()
    }

    /// Its file will never change again. Who has its file keeps it; nobody else gets it from here any more.
    pub fn seal(&self, sealed: T) {
        let _ = self.sealed.set(sealed);
        *self.active() = A::default();
    }
}
