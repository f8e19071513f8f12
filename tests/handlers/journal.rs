//! Every journal keeps the promises of journals; and what the log on disk does with records of handlers.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use annals::testkit::{
    BootId, Crash, Env, Jobs, ManualClock, MemDisk, SeededRandom, journal_conformance, journal_reopen_conformance,
};
use annals::{Journal, Log, MemoryLog};

/// Directories that are new each time.
fn numbered(base: PathBuf) -> impl Fn() -> PathBuf {
    let made = Cell::new(0);
    move || {
        made.set(made.get() + 1);
        base.join(made.get().to_string())
    }
}

#[test]
fn a_log_on_a_real_disk_is_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let next = numbered(dir.path().to_path_buf());
    journal_conformance(|| Log::open(next()).unwrap());
    journal_reopen_conformance(
        || Log::open(next()).unwrap(),
        |log| {
            let path = log.path().to_path_buf();
            log.close().unwrap();
            Log::open(path).unwrap()
        },
    );
}

/// A world whose background work is done by hand.
fn by_hand(disk: &MemDisk, boot: u128) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
        random: Arc::new(SeededRandom::new(boot as u64)),
        boot: BootId(boot),
        jobs: Jobs::ByHand,
    }
}

#[test]
fn a_log_on_a_disk_in_memory_is_a_journal_even_after_power_cuts() {
    let disk = MemDisk::new();
    let next = numbered(PathBuf::from("/logs"));
    let open = |path: PathBuf, boot| Log::options().env(by_hand(&disk, boot)).open(path).unwrap();
    journal_conformance(|| open(next(), 1));
    let boots = Cell::new(1);
    journal_reopen_conformance(
        || open(next(), boots.get()),
        |log| {
            let path = log.path().to_path_buf();
            disk.crash(Crash::LoseUnsynced);
            drop(log);
            boots.set(boots.get() + 1);
            open(path, boots.get())
        },
    );
}

#[test]
fn a_log_in_memory_is_a_journal() {
    journal_conformance(MemoryLog::new);
    // A clone is the same log.
    journal_reopen_conformance(MemoryLog::new, |log| log.clone());
}

#[test]
fn a_log_in_memory_has_the_clock_and_the_numbers_of_its_world() {
    let logs = [1, 1, 2].map(|seed| MemoryLog::with(&by_hand(&MemDisk::new(), seed)));
    assert_eq!(logs[0].id(), logs[1].id());
    assert_ne!(logs[0].id(), logs[2].id());
    let times: Vec<i64> = (0..3)
        .map(|_| logs[0].append(annals::Event::new("s", "T").into()).unwrap().wait().unwrap().recorded().as_micros())
        .collect();
    assert_eq!(times, [1_700_000_000_000_000, 1_700_000_000_000_001, 1_700_000_000_000_002], "the clock stands");
}
