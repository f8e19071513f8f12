//! The promise that an append returns, and who waits for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::append::Durability;
use super::error::AppendError;
use super::shared::Shared;
use crate::{Offset, Timestamp, Version};

/// Where the events of an append stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    pub(super) first: u64,
    pub(super) recorded_us: i64,
    pub(super) versions: Versions,
    pub(super) resent: bool,
}

/// The versions of an append's events. Most appends have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Versions {
    One(u64),
    Many(Vec<u64>),
    /// Of so many events that were trimmed since.
    Trimmed(u32),
}

impl Versions {
    fn as_slice(&self) -> &[u64] {
        match self {
            Versions::One(version) => std::slice::from_ref(version),
            Versions::Many(versions) => versions,
            Versions::Trimmed(_) => &[],
        }
    }

    fn len(&self) -> u64 {
        match self {
            Versions::Trimmed(events) => u64::from(*events),
            there => there.as_slice().len() as u64,
        }
    }
}

impl Appended {
    /// The offset of the first event; the others follow without a gap.
    pub fn first(&self) -> Offset {
        Offset::from_raw(self.first)
    }

    /// The offset after the last event.
    pub fn next(&self) -> Offset {
        Offset::from_raw(self.first + self.versions.len())
    }

    /// The version of each event in its stream, in order. None where a producer sent an append again whose
    /// events were trimmed since.
    pub fn versions(&self) -> impl Iterator<Item = Version> + '_ {
        self.versions.as_slice().iter().map(|version| Version::from_raw(*version))
    }

    /// Whether a producer had sent the same append before, so that nothing was stored now: these are the places
    /// of the original.
    pub fn is_resend(&self) -> bool {
        self.resent
    }

    /// When the log took them; 1970 where they were trimmed since.
    pub fn recorded(&self) -> Timestamp {
        Timestamp::from_micros(self.recorded_us)
    }
}

/// The promise of an append: its events have their places, and are kept as asked once it is fulfilled.
///
/// [`wait`](Receipt::wait) blocks, [`wait_for`](Receipt::wait_for) at most for so long; awaiting it does not, and
/// needs no runtime. Dropping it changes nothing
/// about the append: it becomes durable in the background. Many receipts in flight is the way to be fast.
#[derive(Debug)]
#[must_use = "until the receipt is waited for, the events may still be lost"]
pub struct Receipt {
    pub(super) shared: Arc<Shared>,
    pub(super) appended: Appended,
    pub(super) durability: Durability,
    /// This receipt among the waiting ones, once it was polled.
    pub(super) waiting: Option<u64>,
}

impl Receipt {
    /// Where the events stand, if nothing fails before they are kept.
    pub fn planned(&self) -> &Appended {
        &self.appended
    }

    /// Waits until the events are kept as the append asked.
    ///
    /// A thread that waits alone does the write and the sync itself; one that waits among others shares
    /// theirs.
    ///
    /// # Errors
    /// [`AppendError::OutcomeUnknown`] when the disk failed.
    pub fn wait(mut self) -> Result<Appended, AppendError> {
        let target = self.appended.next().raw();
        match self.durability {
            Durability::Os => self.shared.wait_written(target)?,
            Durability::Disk => self.shared.wait_durable(target)?,
        }
        self.leave();
        Ok(self.appended.clone())
    }

    /// Waits at most so long; the sync is then done by the log's own thread, never by the caller's, so that a
    /// disk that does not answer holds nobody up.
    ///
    /// Too late is neither done nor failed: the append goes on, and the receipt can be waited for again. Sending
    /// the same once more would store it twice, unless it has a [producer](super::Append::producer). With
    /// [`Jobs::ByHand`](crate::testkit::Jobs::ByHand) somebody else has to do the steps meanwhile.
    ///
    /// # Errors
    /// [`AppendError::Late`] when the time is over, [`AppendError::OutcomeUnknown`] when the disk failed.
    pub fn wait_for(&mut self, at_most: Duration) -> Result<Appended, AppendError> {
        let until = Instant::now().checked_add(at_most);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut *self).poll(&mut context) {
                return outcome;
            }
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(Duration::ZERO) => {
                    self.leave();
                    return Err(AppendError::Late { waited: at_most });
                }
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    fn leave(&mut self) {
        if let Some(id) = self.waiting.take() {
            self.shared.waiters().leave(self.appended.next().raw(), id);
        }
    }
}

impl Future for Receipt {
    type Output = Result<Appended, AppendError>;

    /// May be dropped at any time: the append goes on.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let target = self.appended.next().raw();
        // Before looking, so that no wake-up falls between.
        let waker = context.waker().clone();
        let id = match self.durability {
            Durability::Os => self.shared.waiters().join_written(target, self.waiting, waker),
            Durability::Disk => self.shared.waiters().join(target, self.waiting, Waiter::Task(waker)),
        };
        self.waiting = Some(id);
        let done = match self.durability {
            Durability::Os => self.shared.is_written(target),
            Durability::Disk => self.shared.is_durable(target),
        };
        match done {
            Ok(true) => {
                self.leave();
                Poll::Ready(Ok(self.appended.clone()))
            }
            Ok(false) => {
                self.shared.a_task_waits();
                Poll::Pending
            }
            Err(error) => {
                self.leave();
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Wakes a thread that waits for a time, as if it were a task: it does no sync itself.
struct Unpark(Thread);

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

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
