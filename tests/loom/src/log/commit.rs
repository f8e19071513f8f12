//! Group commit: whoever comes back is right about what the disk has, and everybody comes back.

use std::future::poll_fn;

use loom::thread;

use super::group::{Group, Kept};
use super::waiters::Waiter;
use crate::sync::{Arc, Mutex, current, lock, park};
use crate::{every_order, every_order_of_many};

/// A log of one file as the disk has it; its commit mirrors `Shared::commit` in `src/log/commit.rs`.
struct Log {
    group: Group<(), &'static str>,
    file: Mutex<File>,
}

#[derive(Default)]
struct File {
    appended: u64,
    written: u64,
    synced: u64,
    /// How many syncs fail from now on; like Linux, each takes the bytes for written then.
    fails: u32,
    lost: bool,
}

impl Log {
    fn new(fails: u32) -> Arc<Log> {
        Arc::new(Log { group: Group::new(vec![Arc::new(())], 0), file: Mutex::new(File { fails, ..File::default() }) })
    }

    fn append(&self) -> u64 {
        let mut file = lock(&self.file);
        file.appended += 1;
        file.appended
    }

    fn write(&self) -> u64 {
        let mut file = lock(&self.file);
        file.written = file.appended;
        let end = file.written;
        drop(file);
        self.group.publish_written(end);
        end
    }

    fn sync_file(&self) -> Result<(), &'static str> {
        let mut file = lock(&self.file);
        if file.fails > 0 {
            file.fails -= 1;
            file.lost = true;
            return Err("the disk failed");
        }
        if !file.lost {
            file.synced = file.written;
        }
        Ok(())
    }

    fn commit(&self) {
        let end = self.write();
        if self.group.sync(|| self.sync_file()).is_ok() {
            self.group.publish_durable(end);
        }
    }

    fn wait(&self, target: u64) -> Result<(), &'static str> {
        let outcome = self.group.wait_durable(target, || self.commit());
        self.check(target, outcome);
        outcome
    }

    fn check(&self, target: u64, outcome: Result<(), &'static str>) {
        assert!(outcome.is_err() || lock(&self.file).synced >= target, "acknowledged, and the disk does not have it");
    }
}

/// Two threads append and wait at the same time, by a way of waiting.
fn two_wait(fails: u32, wait: impl Fn(&Log, u64) -> Result<(), &'static str> + Copy + Send + Sync + 'static) {
    every_order(move || {
        let log = Log::new(fails);
        let other = Arc::clone(&log);
        let thread = thread::spawn(move || wait(&other, other.append()));
        let outcomes = [wait(&log, log.append()), thread.join().expect("it ended")];
        assert!(fails > 0 || outcomes == [Ok(()); 2], "the disk did not fail");
    });
}

#[test]
fn two_who_wait_come_back_when_the_disk_has_their_events() {
    two_wait(0, Log::wait);
}

#[test]
fn three_who_wait_come_back_when_the_disk_has_their_events() {
    every_order_of_many(|| {
        let log = Log::new(0);
        let threads = [(); 2].map(|()| {
            let log = Arc::clone(&log);
            thread::spawn(move || log.wait(log.append()))
        });
        assert_eq!(log.wait(log.append()), Ok(()));
        for thread in threads {
            assert_eq!(thread.join().expect("it ended"), Ok(()));
        }
    });
}

#[test]
fn a_failed_sync_is_told_to_all_and_nobody_waits_for_ever() {
    two_wait(1, Log::wait);
}

#[test]
fn of_two_syncs_at_once_none_hides_the_failure_of_the_other() {
    every_order(|| {
        let log = Log::new(1);
        let end = log.append();
        log.write();
        let other = Arc::clone(&log);
        let thread = thread::spawn(move || other.check(end, other.group.sync(|| other.sync_file())));
        log.check(end, log.group.sync(|| log.sync_file()));
        thread.join().expect("it ended");
    });
}

#[test]
#[ignore = "the disk does not have it"]
fn found_two_syncs_at_once_without_the_lock_around_them() {
    every_order(|| {
        let log = Log::new(1);
        let end = log.append();
        log.write();
        let other = Arc::clone(&log);
        let thread = thread::spawn(move || other.check(end, other.sync_file()));
        log.check(end, log.sync_file());
        thread.join().expect("it ended");
    });
}

#[test]
#[ignore = "the disk does not have it"]
fn found_a_durable_end_published_before_the_sync() {
    two_wait(0, |log, target| {
        let outcome = log.group.wait_durable(target, || {
            let end = log.write();
            log.group.publish_durable(end);
            let _ = log.group.sync(|| log.sync_file());
        });
        log.check(target, outcome);
        outcome
    });
}

/// As `Group::wait_durable`, but it goes to sleep right after it joined those who wait.
#[test]
#[ignore = "deadlock"]
fn found_a_waiter_that_does_not_look_again() {
    two_wait(0, |log, target| {
        while !log.group.is_kept(target, Kept::Durable)? {
            match log.group.lead(|| log.commit()) {
                true => log.group.wake(),
                false => {
                    log.group.waiters().join(target, None, Waiter::Thread(current()));
                    park();
                }
            }
        }
        Ok(())
    });
}

/// As `Group::wake`, but those whose events are durable are woken, and nobody is told to sync for the others.
#[test]
#[ignore = "deadlock"]
fn found_a_leader_that_names_no_other() {
    every_order_of_many(|| {
        let log = Log::new(0);
        let threads = [(); 2].map(|()| {
            let log = Arc::clone(&log);
            thread::spawn(move || log.wait(log.append()))
        });
        log.append();
        log.group.lead(|| log.commit());
        let wake = log.group.waiters().durable(log.group.durable_end());
        wake.done.into_values().for_each(Waiter::wake);
        for thread in threads {
            thread.join().expect("it ended").expect("the disk did not fail");
        }
    });
}

/// A task waits, and the background syncs for it: `Shared::log_step` and `run_sync` in `src/log/background.rs`.
fn a_task_waits(kept: Kept, background: impl Fn(&Log) + Send + Sync + Copy + 'static) {
    every_order(move || {
        let log = Log::new(0);
        let other = Arc::clone(&log);
        let thread = thread::spawn(move || {
            while other.group.signal.wait(None) {
                background(&other);
            }
        });
        let target = log.append();
        let mut waiting = None;
        let outcome =
            loom::future::block_on(poll_fn(|context| log.group.poll(target, kept, &mut waiting, context.waker())));
        assert_eq!((outcome, waiting), (Ok(()), None));
        if kept == Kept::Durable {
            log.check(target, outcome);
        }
        log.group.signal.stop();
        thread.join().expect("it ended");
    });
}

#[test]
fn a_task_is_woken_when_its_events_are_durable() {
    a_task_waits(Kept::Durable, |log| {
        if log.group.waiters().has_tasks() {
            let right = log.group.right();
            log.commit();
            drop(right);
            log.group.wake();
        }
    });
}

#[test]
fn a_task_is_woken_when_its_events_are_written() {
    a_task_waits(Kept::Written, |log| {
        if log.group.waiters().await_write() {
            log.write();
            log.group.wake_written();
        }
    });
}

#[test]
#[ignore = "deadlock"]
fn found_a_background_that_looks_for_tasks_before_it_writes_and_not_after() {
    a_task_waits(Kept::Durable, |log| {
        let wake = log.group.waiters().durable(log.group.durable_end());
        log.commit();
        wake.done.into_values().for_each(Waiter::wake);
    });
}
