//! The promise that an append returns: waited for, awaited, dropped, by many at once.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use annals::testkit::{Env, Fault, FaultyDisk, Op, RealDisk};
use annals::{Append, AppendError, Durability, Event, Log, Receipt};

use crate::hooked::{Hooked, Hooks};
use crate::world::{World, all};

fn append(log: &Log) -> Receipt {
    log.append(Event::new("s", "T").data(&b"data"[..])).unwrap()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// All the runtime that a receipt needs.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn poll_once(receipt: &mut Receipt) -> Poll<Result<annals::Appended, AppendError>> {
    pin!(receipt).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn many_receipts_in_flight_are_fulfilled_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let mut receipts: Vec<_> = (0..3000).map(|_| append(&log)).collect();
    let last = receipts.pop().unwrap().wait().unwrap();
    assert_eq!(last.first().raw(), 2999);
    for (n, receipt) in receipts.into_iter().enumerate().rev() {
        let appended = if n % 2 == 0 { receipt.wait() } else { block_on(receipt) }.unwrap();
        assert_eq!((appended.first().raw(), appended.next().raw()), (n as u64, n as u64 + 1));
        assert_eq!(appended.versions().next().unwrap().raw(), n as u64);
    }
}

#[test]
fn a_receipt_is_a_plain_future() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for n in 0..20 {
        let durability = if n % 2 == 0 { Durability::Disk } else { Durability::Os };
        let receipt = log.append(Append::new().event(Event::new("s", "T")).durability(durability)).unwrap();
        assert_eq!(block_on(receipt).unwrap().first().raw(), n);
    }
    log.close().unwrap();
}

#[test]
fn a_polled_receipt_waits_for_the_background_and_is_woken_by_it() {
    let world = World::new(1);
    let log = world.open();
    let mut receipt = append(&log);
    assert!(poll_once(&mut receipt).is_pending());
    assert!(poll_once(&mut receipt).is_pending());
    assert!(log.step().unwrap(), "somebody waits, so the sync is due");
    let Poll::Ready(Ok(appended)) = poll_once(&mut receipt) else { panic!("it is durable") };
    assert_eq!(appended.next(), log.durable_end());
}

#[test]
fn awaiting_many_from_many_threads_ends() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..40 {
                    let receipt = append(log);
                    if (thread + n) % 2 == 0 {
                        receipt.wait().unwrap()
                    } else {
                        block_on(receipt).unwrap()
                    };
                }
            });
        }
    });
    assert_eq!(log.durable_end().raw(), 320);
}

#[test]
fn a_dropped_receipt_takes_nothing_back() {
    let world = World::new(1);
    let log = world.open();
    let mut polled = append(&log);
    assert!(poll_once(&mut polled).is_pending());
    drop(polled);
    drop(append(&log));
    log.sync().unwrap();
    assert_eq!(all(&log.reader()).len(), 2);
}

#[test]
fn sixty_four_blocking_threads_share_their_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(Arc::new(RealDisk));
    let env = Env { disk: Arc::new(disk.clone()), ..Env::system() };
    let log = Log::options().env(env).open(dir.path()).unwrap();
    let syncs = || disk.log().iter().filter(|(op, _)| *op == Op::Sync).count();
    let before = syncs();
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let log = &log;
            scope.spawn(move || {
                let stream = format!("s-{thread}");
                for n in 0..25 {
                    let receipt = log.append(Event::new(&stream, "T").data(&b"data"[..])).unwrap();
                    let appended = receipt.wait().unwrap();
                    assert_eq!(appended.versions().next().unwrap().raw(), n);
                    assert!(log.durable_end() >= appended.next());
                }
            });
        }
    });
    let syncs = syncs() - before;
    assert_eq!(log.durable_end().raw(), 1600);
    assert!(syncs <= 800, "{syncs} syncs for 1600 appends");
    log.close().unwrap();
    assert!(annals::verify(dir.path(), &mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn closing_keeps_what_is_in_flight_and_refuses_what_comes_later() {
    let world = World::new(1);
    let log = world.open();
    let (other, receipt) = (log.clone(), append(&log));
    log.close().unwrap();
    let error = other.append(Event::new("s", "T")).unwrap_err();
    assert!(matches!(error, AppendError::Closed) && error.nothing_written(), "{error}");
    assert_eq!(receipt.wait().unwrap().first().raw(), 0);
    assert_eq!(all(&other.reader()).len(), 1, "reading goes on");
    assert_eq!(other.sync().unwrap().raw(), 1);
    other.close().unwrap();
    assert!(world.verify().notes.is_empty());
}

#[test]
fn closing_while_threads_append_and_wait_ends() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let acknowledged = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let log = log.clone();
                    scope.spawn(move || {
                        let mut acknowledged = 0;
                        loop {
                            let receipt = match log.append(Event::new("s", "T")) {
                                Ok(receipt) => receipt,
                                Err(AppendError::Closed) => return acknowledged,
                                Err(error) => panic!("{error}"),
                            };
                            let waited = if thread % 2 == 0 { receipt.wait() } else { block_on(receipt) };
                            acknowledged = waited.unwrap().next().raw();
                        }
                    })
                })
                .collect();
            while log.durable_end().raw() < 20 {
                std::thread::yield_now();
            }
            log.close().unwrap();
            threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        });
        let report = annals::verify(dir.path(), &mut |_, _| {}).unwrap();
        assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
        assert!(report.events >= acknowledged);
    }
}

#[test]
fn waiting_on_a_poisoned_log_ends_with_an_error() {
    let world = World::new(1);
    let log = world.open();
    let (early, mut polled) = (append(&log), append(&log));
    assert!(poll_once(&mut polled).is_pending());
    world.disk.inject(Fault { forever: true, ..Fault::once(Op::Sync, 0, std::io::ErrorKind::Other) });
    assert!(log.sync().is_err());
    assert!(matches!(early.wait(), Err(AppendError::OutcomeUnknown(_))));
    assert!(matches!(poll_once(&mut polled), Poll::Ready(Err(AppendError::OutcomeUnknown(_)))));
}

#[test]
fn tasks_and_threads_that_wait_are_woken_by_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(Arc::new(RealDisk));
    let env = Env { disk: Arc::new(disk.clone()), ..Env::system() };
    let log = Log::options().env(env).open(dir.path()).unwrap();
    disk.inject(Fault { forever: true, ..Fault::once(Op::Sync, 20, std::io::ErrorKind::Other) });
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || {
                while let Ok(receipt) = log.append(Event::new("s", "T")) {
                    let waited = if thread % 2 == 0 { receipt.wait() } else { block_on(receipt) };
                    if waited.is_err() {
                        break;
                    }
                }
            });
        }
    });
    assert!(matches!(log.append(Event::new("s", "T")), Err(AppendError::Poisoned(_))));
    assert!(log.close().is_err());
}

#[test]
fn a_wait_with_a_deadline_ends_in_time_on_a_disk_that_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Mutex::new(()));
    let stalls = Arc::new(AtomicBool::new(false));
    let (hook_gate, hook_stalls) = (Arc::clone(&gate), Arc::clone(&stalls));
    let on_sync = Box::new(move |_: &std::path::Path| {
        if hook_stalls.load(Ordering::SeqCst) {
            drop(hook_gate.lock());
        }
    });
    let disk = Hooked::new(Arc::new(RealDisk), Hooks { on_sync, ..Hooks::default() });
    let log = Log::options().env(Env { disk: Arc::new(disk), ..Env::system() }).open(dir.path()).unwrap();
    let shut = gate.lock().unwrap();
    stalls.store(true, Ordering::SeqCst);
    let deadline = Duration::from_millis(50);
    let mut receipts: Vec<_> = (0..3).map(|_| append(&log)).collect();
    for receipt in &mut receipts {
        let start = Instant::now();
        let Err(late @ AppendError::Late { .. }) = receipt.wait_for(deadline) else { panic!("it cannot be durable") };
        assert!(start.elapsed() >= deadline);
        assert!(!late.nothing_written(), "nobody knows");
        assert!(!late.is_retryable(), "sent again, it would be stored twice");
    }
    assert_eq!(log.durable_end().raw(), 0);
    drop(shut);
    for (n, receipt) in receipts.iter_mut().enumerate() {
        assert_eq!(receipt.wait_for(Duration::from_secs(60)).unwrap().first().raw(), n as u64);
    }
    let at_os = Append::new().event(Event::new("s", "T")).durability(Durability::Os);
    assert_eq!(log.append(at_os).unwrap().wait_for(Duration::from_secs(60)).unwrap().first().raw(), 3);
    log.close().unwrap();
}

#[test]
fn a_wait_with_a_deadline_is_told_of_a_failure() {
    let world = World::new(1);
    let log = world.open();
    let mut receipt = append(&log);
    world.disk.inject(Fault::once(Op::Sync, 0, std::io::ErrorKind::Other));
    assert!(matches!(receipt.wait_for(Duration::ZERO), Err(AppendError::Late { .. })));
    assert!(poll_once(&mut receipt).is_pending(), "and goes on waiting");
    assert!(log.step().is_err());
    assert!(matches!(receipt.wait_for(Duration::from_secs(60)), Err(AppendError::OutcomeUnknown(_))));
}
