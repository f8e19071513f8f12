//! What threads meet by, each step of it known to loom. Stands in for `src/sync.rs`.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use std::sync::PoisonError;

/// Takes one of the small locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cell that is set once. Loom has none: this one is known to it by the flag beside the value.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    setting: Mutex<()>,
    is_set: AtomicBool,
}

impl<T> OnceLock<T> {
    pub fn new() -> Self {
        OnceLock { value: std::sync::OnceLock::new(), setting: Mutex::new(()), is_set: AtomicBool::new(false) }
    }

    pub fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        let _one = lock(&self.setting);
        self.value.set(value)?;
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }

    pub fn get_or_init(&self, value: impl FnOnce() -> T) -> &T {
        let _one = lock(&self.setting);
        let value = self.value.get_or_init(value);
        self.is_set.store(true, Ordering::Release);
        value
    }
}

/// The thread at hand or another one. Loom's own forgets that a thread was unparked when that waits for a lock
/// before it parks.
#[derive(Debug, Clone)]
pub(crate) struct Thread(Arc<Token>);

#[derive(Debug, Default)]
struct Token {
    unparked: Mutex<bool>,
    changed: Condvar,
}

loom::thread_local! {
    static CURRENT: Thread = Thread(Arc::new(Token::default()));
}

pub(crate) fn current() -> Thread {
    CURRENT.with(Thread::clone)
}

pub(crate) fn park() {
    let token = current().0;
    let mut unparked = lock(&token.unparked);
    while !*unparked {
        unparked = token.changed.wait(unparked).unwrap_or_else(PoisonError::into_inner);
    }
    *unparked = false;
}

impl Thread {
    pub fn unpark(&self) {
        *lock(&self.0.unparked) = true;
        self.0.changed.notify_one();
    }
}
