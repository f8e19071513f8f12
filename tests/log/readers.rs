//! Readers beside a writer, in its process and in others; writers that are killed, and writers that would be two.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use annals::testkit::{Crash, Env, Op, verify_with};
use annals::{Append, Durability, Event, Log, LogReader, Offset, OpenError, verify};

use crate::hooked::{Hooked, Hooks};
use crate::world::{DIR, SEGMENT, World, all};

fn put(log: &Log, bytes: usize, durability: Durability) {
    let event = Event::new("s", "T").data(vec![1; bytes]);
    log.append(Append::new().event(event).durability(durability)).unwrap().wait().unwrap();
}

#[test]
fn a_reader_follows_a_writer_over_rolls_and_seals() {
    let world = World::new(1);
    let log = world.open();
    let reader = world.reader();
    for n in 1..20 {
        put(&log, 60_000, Durability::Disk);
        if n % 5 == 0 {
            while log.step().unwrap() {}
        }
        assert_eq!(all(&reader).len(), n, "what was acknowledged is seen at once");
        assert_eq!(all(&world.reader()).len(), n);
        assert_eq!(reader.tail().unwrap().raw(), n as u64);
    }
    assert!(world.segments().len() > 4);
    log.close().unwrap();
    assert_eq!(all(&reader).len(), 19);
}

#[test]
fn a_reader_needs_no_lock_and_changes_nothing() {
    let world = World::new(1);
    world.open().close().unwrap();
    let reader = world.reader();
    let log = world.open();
    put(&log, 10, Durability::Disk);
    let before = world.snapshot();
    assert_eq!(all(&reader).len(), 1);
    assert!(reader.stat().unwrap().writer.unwrap().running);
    assert!(world.verify().is_sound());
    assert!(world.snapshot() == before);
    put(&log, 10, Durability::Disk);
}

#[test]
fn a_record_in_lock_that_is_not_whole_shows_nothing_that_is_not_durable() {
    let world = World::new(1);
    let log = world.open();
    let reader = world.reader();
    put(&log, 10, Durability::Disk);
    assert_eq!(all(&reader).len(), 1);
    put(&log, 10, Durability::Os);
    world.mem.flip_bit(&Path::new(DIR).join("LOCK"), 30, 1);
    assert_eq!(all(&reader).len(), 1);
    assert_eq!(all(&world.reader()).len(), 1, "a reader that has seen no record yet goes by what batches say");
    log.sync().unwrap();
    assert_eq!(all(&reader).len(), 2);
}

#[test]
fn a_log_that_was_not_closed_can_be_read_up_to_its_good_end() {
    let mut world = World::new(1);
    let log = world.open();
    put(&log, 100, Durability::Disk);
    put(&log, 100, Durability::Os);
    world.kill(log);
    assert_eq!(all(&world.reader()).len(), 1, "the other one is not durable until the log is opened");
    let log = world.open();
    assert_eq!(all(&world.reader()).len(), 2);
    put(&log, 100, Durability::Os);
    world.mem.crash(Crash::KeepAll);
    drop(log);
    let path = world.segments().pop().unwrap();
    let last = world.bytes(&path).iter().rposition(|byte| *byte != 0).unwrap();
    world.mem.flip_bit(&path, last, 0);
    world.boot += 1;
    let before = world.snapshot();
    let reader = world.reader();
    assert_eq!(all(&reader).len(), 2);
    assert!(world.snapshot() == before);
    // The writer comes back: the reader goes on with it.
    let log = world.open();
    put(&log, 100, Durability::Disk);
    assert_eq!(all(&reader).len(), 3);
}

#[test]
fn a_sealed_segment_is_never_written_again_because_readers_map_it() {
    let mut world = World::new(1);
    let log = world.open();
    (0..6).for_each(|_| put(&log, 100_000, Durability::Disk));
    while log.step().unwrap() {}
    let sealed = world.segments().len() - 1;
    assert!(sealed > 1);
    let files: Vec<_> = world.segments().into_iter().take(sealed).collect();
    let before: Vec<_> = files.iter().map(|path| world.bytes(path)).collect();
    let calls = world.disk.calls();
    log.close().unwrap();
    world.open().close().unwrap();
    world.kill(world.open());
    world.power_cut(None, Crash::Seeded(1));
    let log = world.open();
    (0..6).for_each(|_| put(&log, 100_000, Durability::Disk));
    while log.step().unwrap() {}
    log.close().unwrap();
    let changes = [Op::Write, Op::SetLen, Op::Allocate];
    let calls: Vec<_> = world.disk.log().into_iter().skip(usize::try_from(calls).unwrap()).collect();
    assert!(calls.iter().all(|(op, path)| !changes.contains(op) || !files.contains(path)), "{calls:?}");
    assert!(files.iter().map(|path| world.bytes(path)).eq(before));
}

#[test]
fn there_is_no_log_to_read_where_none_was_made() {
    let world = World::new(1);
    let open = |world: &World| LogReader::open_with(DIR, world.env(), annals::ReadMode::Pread).unwrap_err();
    assert!(matches!(open(&world), OpenError::NotFound { .. }));
    world.mem.write_file(&Path::new(DIR).join("notes.txt"), b"mine");
    assert!(matches!(open(&world), OpenError::NotALog { .. }));
    assert!(matches!(world.try_open(), Err(OpenError::NotALog { .. })));
    assert!(matches!(world.options().create(false).open("/nowhere"), Err(OpenError::NotFound { .. })));
}

#[test]
fn a_second_writer_in_the_same_process_is_refused() {
    let world = World::new(1);
    let log = world.open();
    let error = world.try_open().unwrap_err();
    assert!(matches!(error, OpenError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    log.close().unwrap();
    world.open();
}

/// The writer never stops, rolls and seals; readers and `verify` look at it all the time.
#[test]
fn readers_and_verify_beside_a_busy_writer_see_a_sound_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(SEGMENT).open(dir.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for kind in 0..3 {
            let (log, done, dir) = (&log, &done, dir.path());
            scope.spawn(move || {
                let remote = LogReader::open(dir).unwrap();
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    if kind == 2 {
                        let report = verify(dir, &mut |_, _| {}).unwrap();
                        assert!(report.is_sound(), "{report:?}");
                        assert!(report.events >= seen, "{} after {seen}", report.events);
                        seen = report.events;
                        continue;
                    }
                    let reader = if kind == 0 { remote.clone() } else { log.reader() };
                    let from = seen.saturating_sub(50);
                    let acknowledged = log.durable_end().raw();
                    let mut next = from;
                    for event in reader.read(Offset::from_raw(from)..) {
                        let event = event.unwrap();
                        assert_eq!((event.offset().raw(), event.version().raw()), (next, next));
                        next += 1;
                    }
                    assert!(next >= acknowledged, "{next} of {acknowledged} durable events");
                    seen = next;
                }
            });
        }
        for n in 0..600 {
            let durability = if n % 3 == 0 { Durability::Disk } else { Durability::Os };
            put(&log, 3000 + n, durability);
        }
        done.store(true, Ordering::Relaxed);
    });
    log.close().unwrap();
    let report = verify(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.is_sound() && report.notes.is_empty() && report.events == 600, "{report:?}");
}

#[test]
fn what_is_appended_while_a_log_is_verified_is_no_damage() {
    let world = World::new(1);
    let log = world.open();
    (0..3).for_each(|_| put(&log, 100, Durability::Disk));
    let reads = Arc::new(AtomicUsize::new(0));
    let on_read = {
        let (log, reads) = (log.clone(), Arc::clone(&reads));
        move |path: &Path| {
            let is_segment = path.extension().is_some_and(|extension| extension == "seg");
            if is_segment && reads.fetch_add(1, Ordering::Relaxed) < 12 {
                (0..2).for_each(|_| put(&log, 100, Durability::Disk));
            }
        }
    };
    let disk = Hooked::new(Arc::new(world.mem.clone()), Hooks { on_read: Box::new(on_read), ..Hooks::default() });
    let env = Env { disk: Arc::new(disk), ..world.env() };
    let report = verify_with(Path::new(DIR), &env, &mut |_, _| {}).unwrap();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert_eq!(report.events, 3, "up to the end seen at the start");
    assert!(log.tail().raw() > 3 && reads.load(Ordering::Relaxed) > 1);
}

const CHILD: &str = "ANNALS_TEST_CHILD_LOG";

/// The body of a process that appends until it is killed, and says what was acknowledged.
#[test]
#[ignore = "run by other tests as a process of its own"]
fn child_that_appends() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let log = Log::options().segment_bytes_max(SEGMENT).open(dir).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nopened").unwrap();
    for n in 0.. {
        let durability = if n % 2 == 0 { Durability::Disk } else { Durability::Os };
        let event = Event::new(format!("s-{}", n % 3), "T").data(vec![b'x'; 100 + n % 5000]);
        let append = Append::new().event(event).durability(durability);
        let appended = log.append(append).unwrap().wait().unwrap();
        writeln!(out, "next {}", appended.next()).unwrap();
    }
}

/// A writer in another process.
pub struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    pub fn start(dir: &Path) -> Writer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "readers::child_that_appends", "--ignored", "--nocapture"])
            .env(CHILD, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == "opened"), "the child opens the log");
        Writer { child, lines }
    }

    pub fn next(&mut self) -> Option<u64> {
        self.lines.next()?.unwrap().strip_prefix("next ")?.parse().ok()
    }

    /// Kills it; returns the offset after all that it was told to be kept.
    pub fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut last = 0;
        while let Some(next) = self.next() {
            last = next;
        }
        last
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Also where a test fails before it kills it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_writer_leaves_all_that_was_acknowledged_and_nothing_locked() {
    let dir = tempfile::tempdir().unwrap();
    let mut end = 0;
    for round in 0..6 {
        let mut writer = Writer::start(dir.path());
        for _ in 0..1 + round * 40 {
            end = writer.next().unwrap();
        }
        end = end.max(writer_end(writer));
        let report = verify(dir.path(), &mut |_, _| {}).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let log = Log::open(dir.path()).unwrap();
        let events: Vec<_> = log.read(..).map(Result::unwrap).collect();
        assert!(events.len() as u64 >= end, "{} of {end}", events.len());
        assert!(events.iter().enumerate().all(|(n, event)| event.offset().raw() == n as u64));
        end = events.len() as u64;
        log.close().unwrap();
    }
}

fn writer_end(writer: Writer) -> u64 {
    writer.kill()
}

#[test]
fn a_reader_in_another_process_sees_what_the_writer_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::start(dir.path());
    let reader = LogReader::open(dir.path()).unwrap();
    let mut durable = 0;
    for n in 0..200 {
        let next = writer.next().unwrap();
        // Every other one is acknowledged at Disk.
        if n % 2 == 0 {
            durable = next;
        }
        assert!(reader.durable_end().unwrap().raw() >= durable);
    }
    let stat = reader.stat().unwrap();
    assert!(stat.events >= durable);
    assert_eq!(stat.writer.map(|writer| (writer.pid, writer.running)), Some((writer.child.id(), true)));
    let end = reader.durable_end().unwrap().raw();
    writer.kill();
    assert!(reader.read(..).count() as u64 >= end, "nothing seen vanishes");
}

#[test]
fn two_processes_cannot_both_write_and_the_second_is_told_who_does() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::start(dir.path());
    let error = Log::open(dir.path()).unwrap_err();
    let OpenError::Held { pid, command, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(writer.child.id()));
    assert!(command.as_ref().is_some_and(|command| command.contains("readers::child_that_appends")), "{command:?}");
    assert!(error.to_string().contains(&writer.child.id().to_string()), "{error}");
    writer.kill();
    Log::open(dir.path()).unwrap();
}
