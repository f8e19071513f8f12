//! The end of a log: all who wait for something come back, its threads too.

use std::future::poll_fn;

use loom::thread;

use super::group::{Group, Kept, Watched};
use super::waiters::Waiter;
use crate::every_order_of_many;
use crate::sync::{Arc, AtomicU64, Ordering, park};

type Log = Group<(), &'static str>;

/// One who waits, the thread of the background, and a close like `Inner::close` in `src/log/mod.rs`: one last commit,
/// then the threads end, then all who wait for more are told.
fn a_log_is_closed(
    waits: impl Fn(&Log) + Send + Sync + Copy + 'static,
    close: impl Fn(&Log) + Send + Sync + Copy + 'static,
) {
    every_order_of_many(move || {
        let log: Arc<Log> = Arc::new(Group::new(vec![Arc::new(())], 0));
        let (synced, background) = (Arc::clone(&log), Arc::clone(&log));
        let steps = Arc::new(AtomicU64::new(0));
        let waiter = thread::spawn(move || waits(&synced));
        let thread = thread::spawn(move || {
            while background.signal.wait(None) {
                steps.fetch_add(1, Ordering::Relaxed);
            }
        });
        log.publish_durable(1);
        log.wake();
        close(&log);
        thread.join().expect("it ended");
        waiter.join().expect("it ended");
    });
}

fn close(log: &Log) {
    log.signal.stop();
    log.close();
}

#[test]
fn a_thread_that_follows_ends_with_the_log() {
    a_log_is_closed(|log| assert_eq!(log.watch(2, || None::<()>, park), Watched::Closed), close);
}

#[test]
fn a_task_whose_events_the_last_commit_made_durable_is_told() {
    a_log_is_closed(
        |log| {
            let mut waiting = None;
            let poll = poll_fn(|context| log.poll(1, Kept::Durable, &mut waiting, context.waker()));
            assert_eq!(loom::future::block_on(poll), Ok(()));
        },
        close,
    );
}

#[test]
fn a_failure_before_the_close_is_told_to_a_task() {
    a_log_is_closed(
        |log| {
            let mut waiting = None;
            let poll = poll_fn(|context| log.poll(2, Kept::Durable, &mut waiting, context.waker()));
            assert_eq!(loom::future::block_on(poll), Err("the disk failed"));
        },
        |log| {
            log.fail("the disk failed");
            close(log);
        },
    );
}

#[test]
#[ignore = "deadlock"]
fn found_a_close_that_wakes_nobody_after_it_is_closed() {
    a_log_is_closed(
        |log| assert_eq!(log.watch(2, || None::<()>, park), Watched::Closed),
        |log| {
            log.signal.stop();
            let all = log.waiters().all();
            all.for_each(Waiter::wake);
        },
    );
}

#[test]
#[ignore = "deadlock"]
fn found_threads_that_are_not_told_to_end() {
    a_log_is_closed(|_| (), Log::close);
}
