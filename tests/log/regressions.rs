//! What once went wrong, and what it cost. Each opens with the damage that was done.

use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use annals::testkit::{Crash, Disk, Env, Fault, Mode, Op, verify_with};
use annals::{Append, AppendError, Durability, Event, Expect, InvalidEvent, Log, Offset, OpenError, Read, Timestamp};

use crate::golden::{change_header, golden};
use crate::hooked::{Hooked, Hooks};
use crate::world::{DIR, SEGMENT, World, all};

fn with_hooks(world: &World, hooks: Hooks) -> Env {
    let disk: Arc<dyn Disk> = Arc::new(Hooked::new(Arc::new(world.disk.clone()), hooks));
    Env { disk, ..world.env() }
}

fn of(bytes: usize) -> Append<'static> {
    Append::new().event(Event::new("s", "T").data(vec![7; bytes])).durability(Durability::Os)
}

/// A length of 65,536 was stored as 65,535: the whole batch, other callers' events too, could not be read again.
#[test]
fn a_content_type_has_a_limit_of_its_own() {
    let world = World::new(1);
    let log = world.open();
    for content_type in ["a".repeat(65_536), "a".repeat(1025), String::new()] {
        let refused = log.append(Event::new("s", "T").content_type(content_type.clone())).unwrap_err();
        let bytes = content_type.len();
        assert!(
            matches!(refused, AppendError::Invalid(InvalidEvent::ContentTypeLength { bytes: said }) if said == bytes)
        );
    }
    let longest = "a".repeat(1024);
    log.append(Event::new("s", "T").content_type(longest.as_str())).unwrap().wait().unwrap();
    assert_eq!(log.read(..).next().unwrap().unwrap().content_type(), Some(longest.as_str()));
}

/// An append was acknowledged and lost: of two syncs of one handle the system told the failure to the other one.
#[test]
fn a_sync_beside_a_roll_does_not_miss_the_rolls_failure() {
    let mut world = World::new(1);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (entered, entries) = mpsc::channel();
    let hooks = {
        let (gate, calls, entered) = (Arc::clone(&gate), AtomicUsize::new(0), Mutex::new(entered));
        Hooks {
            on_sync: Box::new(move |path: &Path| {
                if !path.ends_with("LOCK") {
                    let call = calls.fetch_add(1, Ordering::SeqCst);
                    entered.lock().unwrap().send(call).unwrap();
                    // Of the calls behind opening's, the first waits at the gate.
                    if call == 2 {
                        drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
                    }
                }
            }),
            ..Hooks::default()
        }
    };
    let log = Log::options().env(with_hooks(&world, hooks)).segment_bytes_max(SEGMENT).open(DIR).unwrap();
    assert_eq!(entries.try_iter().collect::<Vec<_>>(), [0, 1]);
    let receipt = log.append(Event::new("acked", "T").data(&b"precious"[..])).unwrap();
    let target = receipt.planned().next();
    let acknowledged = std::thread::scope(|scope| {
        let waits = scope.spawn(|| receipt.wait().is_ok());
        assert_eq!(entries.recv(), Ok(2));
        world.disk.inject(Fault::once(Op::Sync, 0, ErrorKind::Other));
        // Three of them do not fit into the first segment: the log rolls.
        scope.spawn(|| {
            let receipts: Vec<_> = (0..3).map(|_| log.append(of(120_000))).collect();
            receipts.into_iter().all(|receipt| receipt.is_ok_and(|receipt| receipt.wait().is_ok()))
        });
        // Only a roll that does not wait its turn gets there before the gate opens.
        let _ = entries.recv_timeout(Duration::from_millis(300));
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        waits.join().unwrap()
    });
    world.disk.heal();
    world.power_cut(Some(log), Crash::LoseUnsynced);
    let log = world.open();
    assert!(!acknowledged || log.tail() >= target, "an acknowledged append is lost");
}

/// Zeros were written over the next owner's events.
#[test]
fn a_step_of_a_closed_log_does_nothing() {
    let world = World::new(1);
    let log = world.open();
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    let closed = log.clone();
    log.close().unwrap();
    let next = world.open();
    next.append(Event::new("s", "T")).unwrap().wait().unwrap();
    let before = world.snapshot();
    assert!(!closed.step().unwrap());
    closed.close().unwrap();
    assert_eq!(world.snapshot(), before);
    assert_eq!(all(&next.reader()).len(), 2);
}

/// A mark whose sync had failed was taken for durable at the next opening; an acknowledged event behind it was cut.
#[test]
fn a_mark_that_was_lost_is_written_again() {
    let mut marks_failed = 0;
    for len in 3500..4000 {
        let mut world = World::new(1);
        let log = world.open();
        log.append(Event::new("s", "T").data(vec![7; len])).unwrap().wait().unwrap();
        world.clock.advance_ms(60);
        log.step().unwrap();
        world.disk.inject(Fault::once(Op::Sync, 0, ErrorKind::Other));
        for _ in 0..5 {
            world.clock.advance_ms(200);
            if log.step().is_err() {
                marks_failed += 1;
                break;
            }
        }
        world.disk.heal();
        world.kill(log);
        let log = world.open();
        log.append(Event::new("s", "T")).unwrap().wait().unwrap();
        world.power_cut(Some(log), Crash::LoseUnsynced);
        assert_eq!(world.open().tail().raw(), 2, "after {len} bytes");
    }
    assert!(marks_failed > 100);
}

/// The log refused to open over events that were never durable: recovery's own mark said they were, too early.
#[test]
fn a_power_cut_within_recovery_after_a_kill_is_recovered_from() {
    for seed in 0..60 {
        let mut world = World::new(1).that_only_stops();
        let log = world.open();
        log.append(Event::new("s", "T").data(vec![1; 100])).unwrap().wait().unwrap();
        log.append(of(20_000)).unwrap().wait().unwrap();
        let half = log.append(of(9_000)).unwrap();
        world.stop_after(0, true);
        assert!(half.wait().is_err());
        world.kill(log);
        world.disk.heal();
        // The copy in `torn/` is synced first; the segment's sync fails.
        world.disk.inject(Fault { op: Some(Op::Sync), nth: 1, forever: true, kind: ErrorKind::Other, short: false });
        assert!(world.try_open().is_err());
        world.disk.heal();
        world.power_cut(None, Crash::Seeded(seed));
        assert!(world.open().tail().raw() >= 1, "seed {seed}");
    }
}

/// What was cut was told by nobody, though it was kept in `torn/`: the open that cut it failed behind that.
#[test]
fn what_an_open_cut_that_failed_is_told_by_the_next_one() {
    let world = World::new(1).that_only_stops();
    let log = world.open();
    log.append(Event::new("s", "T").data(vec![1; 100])).unwrap().wait().unwrap();
    let half = log.append(of(9_000)).unwrap();
    world.stop_after(0, true);
    assert!(half.wait().is_err());
    world.kill(log);
    world.disk.heal();
    // The copy in `torn/` is synced, then the mark; the last sync of opening fails.
    world.disk.inject(Fault { op: Some(Op::Sync), nth: 2, forever: true, kind: ErrorKind::Other, short: false });
    assert!(world.try_open().is_err());
    world.disk.heal();
    let told = |log: &Log| {
        let notes = log.report().notes.iter().filter(|note| note.contains("an earlier open cut a torn tail"));
        notes.inspect(|note| assert!(note.contains(".torn"), "{note}")).count()
    };
    let log = world.open();
    assert_eq!((log.report().torn.as_ref(), told(&log)), (None, 1), "{:?}", log.report());
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    world.kill(log);
    assert_eq!(told(&world.open()), 0, "it was told");
}

struct CallsBack(Log);

impl Wake for CallsBack {
    fn wake(self: Arc<Self>) {
        let _ = self.0.tail();
    }
}

/// `append` hung for ever: the waker of a task was called under the lock that it took.
#[test]
fn a_waker_may_call_the_log() {
    let world = World::new(1);
    let log = world.open();
    let mut receipt = pin!(log.append(Event::new("s", "T")).unwrap());
    let waker = Waker::from(Arc::new(CallsBack(log.clone())));
    assert!(receipt.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    world.disk.inject(Fault { forever: true, ..Fault::once(Op::Write, 0, ErrorKind::Other) });
    let (done, told) = mpsc::channel();
    let other = log.clone();
    std::thread::spawn(move || {
        let acknowledged = other.append(of(10)).is_ok_and(|receipt| receipt.wait().is_ok());
        let _ = other.step();
        done.send(acknowledged)
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(false), "it must not hang");
    let outcome = receipt.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(outcome.is_ready(), "the task was told");
}

/// One file handle too few for a moment ended the writer, although nothing had been written.
#[test]
fn a_next_file_that_cannot_be_made_is_tried_again() {
    for op in [Op::Open, Op::Allocate] {
        let world = World::new(1);
        let log = world.open();
        world.disk.inject(Fault::once(op, 0, ErrorKind::Other));
        let refused = (0..100).find_map(|_| log.append(of(100_000)).err()).unwrap();
        assert!(matches!(refused, AppendError::Io(_)) && refused.is_retryable() && refused.nothing_written());
        log.append(of(100_000)).unwrap().wait().unwrap();
        log.close().unwrap();
        assert!(world.verify().is_sound());
    }
}

/// Events that waited to be written went into messages with the receipt.
#[test]
fn what_waits_to_be_written_is_not_shown_by_debug() {
    let world = World::new(1);
    let log = world.open();
    let receipt = log.append(Event::new("hidden-stream", "T").data(&b"SECRET"[..])).unwrap();
    for shown in [format!("{receipt:?}"), format!("{log:?}"), format!("{:?}", log.reader())] {
        assert!(!shown.contains("hidden") && !shown.contains("83, 69, 67"), "{shown}");
    }
}

/// Two writers gave the same offset to different events: somebody had deleted `LOCK`.
#[test]
fn without_its_lock_file_a_log_still_has_one_writer() {
    let world = World::new(1);
    let log = world.open();
    for _ in 0..5 {
        log.append(of(100_000)).unwrap().wait().unwrap();
    }
    world.mem.remove(Path::new(&format!("{DIR}/LOCK"))).unwrap();
    assert!(matches!(world.try_open(), Err(OpenError::Held { .. })));
    let reader = log.reader();
    log.close().unwrap();
    world.open();
    drop(reader);
}

/// The log went on behind acknowledged events that were gone, and gave a version twice.
#[test]
fn damage_that_is_found_while_sealing_ends_the_writer() {
    let world = World::new(1);
    let log = world.open();
    while world.segments().len() < 2 {
        log.append(of(50_000)).unwrap().wait().unwrap();
    }
    world.mem.flip_bit(&world.segments()[0], 5000, 0);
    while log.step().unwrap() {}
    let refused = log.append(of(10)).unwrap_err();
    assert!(matches!(&refused, AppendError::Poisoned(_)) && refused.to_string().contains("damaged"), "{refused}");
    world.kill(log);
    assert!(matches!(world.try_open(), Err(OpenError::Damaged(_))));
}

/// Where no run of the system can be told from another, readers saw events that a power cut could take back.
#[test]
fn without_a_boot_id_readers_stop_at_the_durable_end_too() {
    let world = World { boot: 0, ..World::new(1) };
    let log = world.open();
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    log.append(of(10)).unwrap().wait().unwrap();
    assert_eq!(all(&world.reader()).len(), 1);
}

/// The position of the first source was dropped, and what it had read was ingested again.
#[test]
fn an_append_notes_one_source() {
    let world = World::new(1);
    let log = world.open();
    let two = Append::new().source("a", &b"1"[..], Expect::None).source("b", &b"2"[..], Expect::None);
    let refused = log.append(two).unwrap_err();
    assert!(matches!(refused, AppendError::Invalid(InvalidEvent::SeveralSources)));
}

/// The thread that syncs joined itself, and the lock stayed.
#[test]
fn the_last_handle_may_be_dropped_by_a_waker() {
    struct Drops(#[allow(dead_code)] Log, mpsc::Sender<()>);
    impl Wake for Drops {
        fn wake(self: Arc<Self>) {
            let told = self.1.clone();
            drop(self);
            told.send(()).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let mut receipt = Box::pin(log.append(Event::new("s", "T")).unwrap());
    let (told, tells) = mpsc::channel();
    let waker = Waker::from(Arc::new(Drops(log, told)));
    let pending = receipt.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
    drop(waker);
    if pending {
        tells.recv_timeout(Duration::from_secs(20)).expect("it must not hang");
    }
    Log::open(dir.path()).expect("the lock was given back");
}

/// Verifying called it damage when a writer opened the log meanwhile.
#[test]
fn a_writer_that_comes_while_a_log_is_verified_is_no_damage() {
    for (many, nth) in [1, 40].into_iter().flat_map(|many| (0..14).map(move |nth| (many, nth))) {
        let world = Arc::new(World::new(1));
        let log = world.open();
        for _ in 0..3 {
            log.append(of(66_000)).unwrap().wait().unwrap();
        }
        world.kill(log);
        let kept: Arc<Mutex<Option<Log>>> = Arc::default();
        let hooks = {
            let (world, kept, reads) = (Arc::clone(&world), Arc::clone(&kept), AtomicUsize::new(0));
            Hooks {
                on_read: Box::new(move |path: &Path| {
                    if path.extension().is_some() && reads.fetch_add(1, Ordering::SeqCst) == nth {
                        let log = world.open();
                        for _ in 0..many {
                            log.append(of(20_000)).unwrap().wait().unwrap();
                            while log.step().unwrap() {}
                        }
                        *kept.lock().unwrap() = Some(log);
                    }
                }),
                ..Hooks::default()
            }
        };
        let report = verify_with(Path::new(DIR), &with_hooks(&world, hooks), &mut |_, _| {}).unwrap();
        assert!(report.is_sound(), "{many} appends at read {nth}: {:?}", report.damage);
    }
}

/// Awaiting an append that asks for no sync made one.
#[test]
fn awaiting_an_append_at_os_syncs_nothing() {
    let world = World::new(1);
    let log = world.open();
    let mut receipt = pin!(log.append(of(10)).unwrap());
    let syncs = || world.disk.log().iter().filter(|(op, _)| *op == Op::Sync).count();
    let before = syncs();
    assert!(receipt.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(log.step().unwrap());
    assert!(receipt.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(syncs(), before);
}

/// Six segments, the footer of the second damaged: its events are whole.
fn one_footer_damaged() -> World {
    let world = World::new(5);
    let log = world.open();
    let put = |stream: &str| drop(log.append(Event::new(stream.to_owned(), "T")).unwrap().wait().unwrap());
    put("early");
    for segments in 2..7 {
        while world.segments().len() < segments {
            log.append(of(20_000)).unwrap().wait().unwrap();
        }
        while log.step().unwrap() {}
        put(&format!("only-{segments}"));
        if segments == 4 {
            put("early");
        }
    }
    log.close().unwrap();
    let second = world.segments().remove(1);
    world.mem.flip_bit(&second, world.bytes(&second).len() - 300, 5);
    assert!(!world.verify().is_sound());
    world
}

/// Reading backward, by time, and `tail` took a damaged index for lost events.
#[test]
fn a_damaged_footer_hides_no_event_in_any_direction() {
    let world = one_footer_damaged();
    let reader = world.reader();
    let offsets = |read: Read| read.map(|event| event.unwrap().offset().raw()).collect::<Vec<_>>();
    let forward = offsets(reader.read(..));
    let mut backward = offsets(reader.read(..).backward());
    backward.reverse();
    assert_eq!(backward, forward);
    assert_eq!(offsets(reader.read(..).happened(Timestamp::from_micros(0)..)), forward);
    for event in reader.read(..).map(Result::unwrap) {
        let found = reader.offset_recorded(event.recorded()).unwrap();
        assert!(found <= event.offset());
    }
}

/// A stream was listed twice, once as it had been long ago.
#[test]
fn a_damaged_footer_lists_no_stream_twice() {
    let world = one_footer_damaged();
    let mut names: Vec<String> = world.reader().streams("*").map(|stream| stream.unwrap().name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["early", "only-2", "only-3", "only-4", "only-5", "only-6", "s"]);
}

/// No merged index was made any more, because the footer of one segment did not read.
#[test]
fn one_damaged_footer_keeps_no_other_segment_from_its_index() {
    let world = World::new(1);
    let log = world.open();
    let fill = |log: &Log, segments: usize| {
        while world.segments().len() < segments {
            log.append(of(50_000)).unwrap().wait().unwrap();
        }
    };
    fill(&log, 3);
    log.close().unwrap();
    let second = world.segments().remove(1);
    world.mem.flip_bit(&second, world.bytes(&second).len() - 300, 5);
    let log = world.open();
    fill(&log, 20);
    while log.step().unwrap() {}
    assert!(world.mem.files().iter().any(|(path, _)| path.extension().is_some_and(|kind| kind == "idx")));
}

/// A commit that was acknowledged went back: the slot that held it was written over by the next opening.
#[test]
fn opening_a_cursor_again_keeps_what_was_committed() {
    for (seed, calls) in (0..12).flat_map(|seed| (6..30).map(move |calls| (seed, calls))) {
        let world = World::new(1).that_only_stops();
        let log = world.open();
        (0..20).for_each(|_| drop(log.append(Event::new("s", "T")).unwrap().wait().unwrap()));
        log.close().unwrap();
        let mut consumer = world.reader().consumer("c").unwrap();
        consumer.commit(Offset::from_raw(6)).unwrap();
        consumer.commit_in_background(Offset::from_raw(9)).unwrap();
        world.mem.crash(Crash::KeepAll);
        drop(consumer);
        let reader = world.reader();
        world.stop_after(calls, false);
        drop(reader.consumer("c"));
        world.disk.heal();
        world.mem.crash(Crash::Seeded(seed));
        let cursor = world.reader().consumer("c").unwrap().cursor();
        assert!(cursor.raw() >= 6, "seed {seed}, stopped after {calls} calls: {cursor}");
    }
}

/// A consumer's durable commits were lost with its file: the sync of its name had failed, and nobody asked for it again.
#[test]
fn a_consumer_that_is_opened_again_has_its_name_made_durable() {
    for nth in 0..20 {
        let mut world = World::new(1);
        let log = world.open();
        log.append(Event::new("s", "T")).unwrap().wait().unwrap();
        world.disk.inject(Fault::once(Op::SyncDir, nth, ErrorKind::Other));
        let first = log.consumer("c").is_ok();
        world.disk.heal();
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit(Offset::from_raw(1)).unwrap();
        world.power_cut(Some(log), Crash::LoseUnsynced);
        drop(consumer);
        assert_eq!(world.open().consumer("c").unwrap().cursor().raw(), 1, "sync of a directory {nth}");
        if first {
            return;
        }
    }
}

/// A log could not be opened any more: a segment had been sealed before the name of the one behind it was durable, and
/// the power cut took that name.
#[test]
fn a_segment_is_sealed_when_the_name_of_the_next_one_is_durable() {
    let rolling = || {
        let world = World::new(1).that_only_stops();
        let log = world.open();
        log.append(of(200_000)).unwrap().wait().unwrap();
        (world, log)
    };
    let calls = {
        let (world, log) = rolling();
        let before = world.disk.calls();
        log.append(of(100_000)).unwrap().wait().unwrap();
        world.disk.calls() - before
    };
    for in_roll in 0..calls {
        for in_open in 0..60 {
            let (mut world, log) = rolling();
            world.stop_after(in_roll, false);
            drop(log.append(of(100_000)).map(|receipt| receipt.wait().is_ok()));
            world.kill(log);
            world.disk.heal();
            world.stop_after(in_open, false);
            let opened = world.try_open();
            world.power_cut(opened.ok(), Crash::LoseUnsynced);
            world.disk.heal();
            let context = format!("ends at call {in_roll} of the roll and call {in_open} of opening");
            assert!(world.verify().is_sound(), "{context}");
            assert!(world.try_open().is_ok(), "{context}");
        }
    }
}

/// A task's waker was called by a thread that had the right to sync: a sync that it waited for never came.
#[test]
fn a_waker_may_wait_for_a_sync() {
    struct Syncs(Arc<Log>, Mutex<Option<bool>>);
    impl Wake for Syncs {
        fn wake(self: Arc<Self>) {
            let (log, (done, told)) = (Arc::clone(&self.0), mpsc::channel());
            std::thread::spawn(move || done.send(log.sync().is_ok()));
            *self.1.lock().unwrap() = told.recv_timeout(Duration::from_secs(20)).ok();
        }
    }
    let world = World::new(1);
    let log = Arc::new(world.open());
    let put = || log.append(Event::new("s", "T").data(vec![0; 60_000])).unwrap();
    let mut first = Box::pin(put());
    let syncs = Arc::new(Syncs(Arc::clone(&log), Mutex::default()));
    let waker = Waker::from(Arc::clone(&syncs));
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // They roll the log.
    let receipts: Vec<_> = (0..6).map(|_| put()).collect();
    receipts.into_iter().for_each(|receipt| drop(receipt.wait().unwrap()));
    assert_eq!(*syncs.1.lock().unwrap(), Some(true));
}

/// A directory that has to grow takes space: on XFS a full disk then failed the rename that gives a segment its name,
/// after appends had their places. The log was poisoned instead of full. (`tools/torture diskfull --seed 1`)
#[test]
fn a_full_disk_is_found_before_a_segment_gets_its_name() {
    let kib = 1024;
    for free in (300..1_000).step_by(10).map(|free| free * kib) {
        let world = World::new(1);
        let mem = world.mem.clone();
        let on_rename = move || {
            mem.open(Path::new("/directory"), Mode::Truncate)?.allocate(0, 160 * kib)?;
            mem.remove(Path::new("/directory"))
        };
        let env = with_hooks(&world, Hooks { on_rename: Box::new(on_rename), ..Hooks::default() });
        let log = world.options().env(env).open(DIR).unwrap();
        world.mem.set_free(Some(free));
        let mut taken = 0;
        let error = loop {
            match log.append(of(20_000)) {
                Ok(receipt) => receipt.wait().unwrap_or_else(|error| panic!("{free}: {error}")),
                Err(error) => break error,
            };
            taken += 1;
        };
        assert!(matches!(error, AppendError::DiskFull), "{free}: {error}");
        assert!(log.sync().is_ok(), "{free}");
        world.mem.set_free(None);
        log.append(of(20_000)).unwrap().wait().unwrap();
        log.close().unwrap();
        assert_eq!(all(&world.reader()).len(), taken + 1, "{free}");
        let left = world.mem.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "room"));
        assert_eq!(left.count(), 0, "{free}");
    }
}

/// Numbers at the end of all numbers, under checksums that hold: whoever opened, read or verified such a log ended in a
/// panic of the addition.
#[test]
fn a_number_that_nothing_can_be_added_to_is_damage() {
    let far = |at: usize| {
        let world = golden();
        let path = world.segments().remove(0);
        let mut bytes = world.bytes(&path);
        change_header(&mut bytes, |header| header[at..at + 8].fill(0xff));
        world.mem.write_file(&path, &bytes);
        world
    };
    for (field, at) in [("number", 56), ("base", 64)] {
        let world = far(at);
        assert!(!world.verify().is_sound(), "{field}");
        assert!(matches!(world.try_open(), Err(OpenError::Damaged(_))), "{field}");
    }
    let footer =
        |base: u64| annals::testkit::hostile::footer(&[&base.to_le_bytes()[..], &FOOTER_OF_ONE_PLACE].concat());
    footer(0);
    footer(u64::MAX);
    // A producer whose last append begins at the last offset there can be.
    let mut carry = vec![0, 0, 0, 0, 1, 0, 0, 0, 1, b'p', 7, 0, 0, 0, 1, 0, 0, 0];
    carry.extend([[0; 8], [0xff; 8]].concat());
    carry.extend([1; 20]);
    annals::testkit::hostile::carry(&carry);
}

/// One indexed batch, one offset behind the first of the segment.
const FOOTER_OF_ONE_PLACE: [u8; 64] = {
    let mut bytes = [0; 64];
    (bytes[0], bytes[20], bytes[32]) = (1, 1, 1);
    bytes
};

/// Bytes behind a record that is not whole were a note before the next open and damage after it.
#[test]
fn what_stands_behind_a_record_in_lock_that_is_not_whole_is_cut_off() {
    let world = World::new(3);
    let log = world.open();
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    log.close().unwrap();
    world.mem.write_file(&Path::new(DIR).join("LOCK"), &[7; 1000]);
    assert!(world.verify().is_sound());
    world.open().close().unwrap();
    let report = world.verify();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
}

/// An older `LOCK` put back in the same run of the system: readers ended early without a word.
#[test]
fn readers_go_as_far_as_the_batches_say_when_lock_says_less() {
    let world = World::new(1);
    let log = world.open();
    let put = |len| drop(log.append(of(len).durability(Durability::Disk)).unwrap().wait().unwrap());
    (0..3).for_each(|_| put(10));
    let lock = Path::new(DIR).join("LOCK");
    let older = world.bytes(&lock);
    // In the same segment, and in one behind it.
    for (len, seen) in [(10, 6), (60_000, 16)] {
        (0..(seen - all(&log.reader()).len())).for_each(|_| put(len));
        let now = world.bytes(&lock);
        world.mem.write_file(&lock, &older);
        // The last batch's own sync is spoken of by none behind it.
        let read = all(&world.reader()).len();
        assert!(read + 1 >= seen, "{read} of {seen}");
        world.mem.write_file(&lock, &now);
        assert_eq!(all(&world.reader()).len(), seen);
    }
    assert!(world.segments().len() > 2);
}

/// A log that was refused had its `LOCK` cut before. (`tools/torture bytes --only change:678`)
#[test]
fn a_log_that_is_refused_is_not_touched() {
    let world = World::new(1);
    let log = world.open();
    for _ in 0..10 {
        log.append(of(60_000)).unwrap().wait().unwrap();
    }
    world.kill(log);
    let segments = world.segments();
    let (lock, sealed) = (Path::new(DIR).join("LOCK"), &segments[0]);
    let bytes = (world.bytes(&lock), world.bytes(sealed));
    world.mem.write_file(&lock, &bytes.1);
    world.mem.write_file(sealed, &bytes.0);
    let before = world.snapshot();
    assert!(world.try_open().is_err());
    assert!(world.snapshot() == before);
}
