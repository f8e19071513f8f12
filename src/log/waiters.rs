//! Who waits for events to be kept, and who of them is to be woken.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::sync::Thread;

/// Who is to be woken.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A thread that does the sync itself when nobody does.
    Thread(Thread),
    Task(Waker),
    /// A thread that waits for events of others, and causes no sync.
    Watcher(Thread),
}

impl Waiter {
    pub fn wake(self) {
        match self {
            Waiter::Thread(thread) | Waiter::Watcher(thread) => thread.unpark(),
            Waiter::Task(waker) => waker.wake(),
        }
    }
}

/// All who wait for events to be durable, by the offset they wait for.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next_id: u64,
    waiting: BTreeMap<(u64, u64), Waiter>,
    /// Tasks that wait for events to be with the operating system: for them nothing is synced.
    written: BTreeMap<(u64, u64), Waker>,
}

/// Who is woken after a sync.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// A thread that has to wait for the next sync: it does that sync.
    pub leader: Option<Thread>,
    /// Whether tasks wait, and no thread that could do the sync for them.
    pub only_tasks_left: bool,
    /// Those whose events are durable.
    pub done: BTreeMap<(u64, u64), Waiter>,
}

impl Waiters {
    /// Waits for an offset, under the id of before or a new one.
    pub fn join(&mut self, target: u64, id: Option<u64>, waiter: Waiter) -> u64 {
        let id = self.id(id);
        self.waiting.insert((target, id), waiter);
        id
    }

    /// The same, for an offset that has to be written and no more.
    pub fn join_written(&mut self, target: u64, id: Option<u64>, waker: Waker) -> u64 {
        let id = self.id(id);
        self.written.insert((target, id), waker);
        id
    }

    fn id(&mut self, id: Option<u64>) -> u64 {
        id.unwrap_or_else(|| {
            self.next_id += 1;
            self.next_id
        })
    }

    pub fn leave(&mut self, target: u64, id: u64) {
        self.waiting.remove(&(target, id));
        self.written.remove(&(target, id));
    }

    /// Takes out the tasks that waited for offsets up to this one to be written.
    pub fn written(&mut self, end: u64) -> impl Iterator<Item = Waker> + use<> {
        let rest = self.written.split_off(&(end.saturating_add(1), 0));
        std::mem::replace(&mut self.written, rest).into_values()
    }

    /// Whether tasks wait for a write.
    pub fn await_write(&self) -> bool {
        !self.written.is_empty()
    }

    /// Takes out those who waited for offsets up to this one.
    pub fn durable(&mut self, end: u64) -> Wake {
        let rest = self.waiting.split_off(&(end.saturating_add(1), 0));
        let done = std::mem::replace(&mut self.waiting, rest);
        let leader = self.waiting.values().find_map(|waiter| match waiter {
            Waiter::Thread(thread) => Some(thread.clone()),
            Waiter::Task(_) | Waiter::Watcher(_) => None,
        });
        Wake { only_tasks_left: leader.is_none() && self.has_tasks(), leader, done }
    }

    /// Lets all threads look for themselves.
    pub fn unpark_threads(&self) {
        for waiter in self.waiting.values() {
            if let Waiter::Thread(thread) | Waiter::Watcher(thread) = waiter {
                thread.unpark();
            }
        }
    }

    /// Takes all out: nothing will become durable any more.
    pub fn all(&mut self) -> impl Iterator<Item = Waiter> + use<> {
        let written = std::mem::take(&mut self.written).into_values().map(Waiter::Task);
        std::mem::take(&mut self.waiting).into_values().chain(written)
    }

    /// Whether tasks wait, which cannot do a sync themselves.
    pub fn has_tasks(&self) -> bool {
        self.waiting.values().any(|waiter| matches!(waiter, Waiter::Task(_)))
    }
}
