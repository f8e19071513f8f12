//! Every journal keeps the promises of journals; and what the log on disk does with records of handlers.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::testkit::{
    BootId, Crash, Env, Jobs, ManualClock, MemDisk, SeededRandom, journal_conformance, journal_reopen_conformance,
    own_append, verify_with,
};
use annals::{Append, AppendError, Event, Expect, Journal, Log, MemoryLog, Offset, OwnRecord};

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
        .map(|_| logs[0].append(Event::new("s", "T").into()).unwrap().wait().unwrap().recorded().as_micros())
        .collect();
    assert_eq!(times, [1_700_000_000_000_000, 1_700_000_000_000_001, 1_700_000_000_000_002], "the clock stands");
}

const DIR: &str = "/log";
/// Of a record, so many bytes are its head.
const HEAD: usize = 160;

fn open(disk: &MemDisk, boot: u128) -> Log {
    let options = Log::options().env(by_hand(disk, boot)).segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST);
    options.open(DIR).unwrap()
}

fn record(stream: &str, data: Vec<u8>, expect: Expect) -> Append<'_> {
    own_append(Append::new(), Event::new(stream, "Step").data(data), expect)
}

#[track_caller]
fn put<'a>(log: &Log, append: impl Into<Append<'a>>) -> Offset {
    log.append(append).unwrap().wait().unwrap().first()
}

/// Appends until so many more segments are begun.
fn roll(log: &Log, segments: usize) {
    let count = || log.reader().stat().unwrap().segments.len();
    let before = count();
    while count() < before + segments {
        put(log, Event::new("filler", "T").data(vec![1; 100_000]));
    }
}

#[track_caller]
fn whole(disk: &MemDisk) {
    let report = verify_with(Path::new(DIR), &by_hand(disk, 1), &mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn the_head_of_a_record_is_carried_over_segments_and_openings_and_its_body_is_not() {
    let disk = MemDisk::new();
    let log = open(&disk, 1);
    let data: Vec<u8> = (0..=255).cycle().take(5000).collect();
    put(&log, record("$handler/other", vec![7; 10], Expect::None));
    let at = put(&log, record("$handler/h", data.clone(), Expect::None));
    put(&log, record("$control/h", b"reason".to_vec(), Expect::None));
    let check = |log: &Log| {
        let last = log.last_own("$handler/h");
        assert_eq!((last.offset, last.version.raw(), &*last.event_type), (at, 0, "Step"));
        assert_eq!(last.content, data[..HEAD]);
        assert_eq!(log.last_own("$handler/other").content, [7; 10][..]);
        assert_eq!(log.last_own("$control/h").content, b""[..]);
        let refused = log.append(record("$handler/h", Vec::new(), Expect::None)).unwrap_err();
        assert!(matches!(refused, AppendError::WrongVersion { last: Some(last), .. } if last == at), "{refused}");
    };
    check(&log);
    roll(&log, 3);
    check(&log);
    log.close().unwrap();
    whole(&disk);
    let log = open(&disk, 1);
    check(&log);
    disk.crash(Crash::LoseUnsynced);
    drop(log);
    let log = open(&disk, 2);
    check(&log);
    let next = put(&log, record("$handler/h", Vec::new(), Expect::Last(at)));
    assert_eq!((log.last_own("$handler/h").offset, log.last_own("$handler/h").version.raw()), (next, 1));
    let event = log.reader().get(at).unwrap().unwrap();
    assert_eq!(event.data(), data, "the record itself is whole");
    log.close().unwrap();
    whole(&disk);
}

/// The last record of an own stream, which is there.
trait LastOwn {
    fn last_own(&self, stream: &str) -> OwnRecord;
}

impl LastOwn for Log {
    #[track_caller]
    fn last_own(&self, stream: &str) -> OwnRecord {
        Journal::last(self, stream).unwrap().unwrap()
    }
}

#[test]
fn a_record_of_any_length_and_any_bytes_is_carried() {
    let disk = MemDisk::new();
    let log = open(&disk, 1);
    let lengths = [0, 1, HEAD - 1, HEAD, HEAD + 1, 5000];
    for (number, length) in (0..).zip(lengths) {
        put(&log, record(&format!("$handler/{number}"), vec![0xff; length], Expect::None));
    }
    roll(&log, 1);
    log.close().unwrap();
    let log = open(&disk, 1);
    for (number, length) in (0..).zip(lengths) {
        assert_eq!(log.last_own(&format!("$handler/{number}")).content, vec![0xff; length.min(HEAD)]);
    }
    let most = annals::limits::DATA_BYTES_MAX;
    put(&log, record("$handler/large", vec![1; most], Expect::None));
    let refused = log.append(record("$handler/large", vec![1; most + 1], Expect::Any)).unwrap_err();
    assert!(matches!(refused, AppendError::Invalid(_)), "{refused}");
    log.close().unwrap();
    whole(&disk);
    assert_eq!(open(&disk, 1).last_own("$handler/large").content, vec![1; HEAD]);
}

#[test]
fn names_of_handlers_have_the_limits_of_names() {
    let log = MemoryLog::new();
    for stream in ["$handler/".to_owned(), format!("$handler/{}", "x".repeat(1024)), "$handler/\n".to_owned()] {
        let refused = log.append(record(&stream, Vec::new(), Expect::Any)).unwrap_err();
        assert!(matches!(refused, AppendError::Invalid(_)) && refused.to_string().contains("handler"), "{refused}");
    }
}

#[test]
fn sources_and_handlers_are_remembered_up_to_a_limit_together() {
    let disk = MemDisk::new();
    let log = open(&disk, 1);
    let memory = MemoryLog::new();
    let most = annals::limits::CARRIED_STREAMS_MAX;
    for number in 0..most {
        let stream = if number % 2 == 0 { format!("$handler/{number}") } else { format!("$source/{number}") };
        drop(log.append(record(&stream, vec![1; 300], Expect::None)).unwrap());
        drop(Journal::append(&memory, record(&stream, vec![1; 300], Expect::None)).unwrap());
    }
    let refuses = |log: &dyn Journal| {
        let refused = log.append(record("$handler/more", Vec::new(), Expect::None)).unwrap_err();
        assert!(matches!(refused, AppendError::TooManySources { sources } if sources == most), "{refused}");
        assert!(refused.to_string().contains("sources and handlers"), "{refused}");
        drop(log.append(record("$handler/0", vec![2; 300], Expect::Exists)).unwrap());
    };
    refuses(&log);
    refuses(&memory);
    roll(&log, 1);
    log.close().unwrap();
    whole(&disk);
    refuses(&open(&disk, 1));
}
