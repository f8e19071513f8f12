//! Following: from history to live without gap or repeat, in the writer's process and beside it.

use std::sync::Arc;
use std::time::Duration;

use annals::testkit::{Env, Fault, Jobs, Op, RealDisk};
use annals::{Append, Durability, Event, Filter, Follow, Log, LogReader, Offset, ReadError, ReadMode};

use crate::hooked::{Hooked, Hooks};
use crate::readers::Writer;
use crate::world::{SEGMENT, World};

/// Longer than any test takes: who waits so long was never woken.
const LONG: Duration = Duration::from_secs(100);

fn put(log: &Log, data: &[u8], durability: Durability) {
    log.append(Append::new().event(Event::new("s", "T").data(data)).durability(durability)).unwrap().wait().unwrap();
}

fn offset(raw: u64) -> Offset {
    Offset::from_raw(raw)
}

/// What a test looks at of an event.
fn row(event: &Event) -> (u64, String, u64, usize) {
    (event.offset().raw(), event.stream().to_owned(), event.version().raw(), event.data().len())
}

/// The events that are there without waiting.
fn now(follow: &mut Follow) -> Vec<u64> {
    std::iter::from_fn(|| follow.next_within(Duration::ZERO)).map(|event| event.unwrap().offset().raw()).collect()
}

/// Readers of a log in other processes, as far as they can tell: told of writes, and looking by themselves.
fn remotes(dir: &std::path::Path) -> [LogReader; 2] {
    let unwatched = Hooked::new(Arc::new(RealDisk), Hooks::default());
    let env = Env { disk: Arc::new(unwatched), ..Env::system() };
    [LogReader::open(dir).unwrap(), LogReader::open_with(dir, env, ReadMode::Map).unwrap()]
}

#[test]
fn from_history_to_live_there_is_no_gap_and_no_repeat() {
    const EVENTS: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(SEGMENT).open(dir.path()).unwrap();
    (0..EVENTS / 3).for_each(|n| put(&log, &vec![b'x'; n as usize % 900], Durability::Os));
    log.sync().unwrap();
    let [watched, unwatched] = remotes(dir.path());
    std::thread::scope(|scope| {
        for (reader, from) in [(log.reader(), 0), (log.reader(), 1500), (watched.clone(), 0), (unwatched, 700)] {
            for from in [from, from + 1, EVENTS - 1] {
                let reader = reader.clone();
                scope.spawn(move || {
                    let mut follow = reader.follow(offset(from));
                    for expected in from..EVENTS {
                        let event = follow.next_within(LONG).unwrap().unwrap();
                        assert_eq!((event.offset().raw(), event.version().raw()), (expected, expected));
                        assert_eq!(follow.next_offset().raw(), expected + 1);
                    }
                    assert!(follow.next_within(Duration::ZERO).is_none() && !follow.has_ended());
                });
            }
        }
        for n in EVENTS / 3..EVENTS {
            let durability = if n % 50 == 0 { Durability::Disk } else { Durability::Os };
            put(&log, &vec![b'x'; n as usize % 900], durability);
        }
        log.sync().unwrap();
    });
    assert!(log.reader().stat().unwrap().segments.len() > 3);
}

#[test]
fn only_what_is_durable_is_given_and_waiting_causes_no_sync() {
    let world = World::new(1);
    let log = world.open();
    let mut both = [log.follow(offset(0)), world.reader().follow(offset(0))];
    put(&log, b"0", Durability::Os);
    let syncs = || world.disk.log().iter().filter(|(op, _)| *op == Op::Sync).count();
    let before = syncs();
    for follow in &mut both {
        assert!(follow.next_within(Duration::from_millis(30)).is_none());
    }
    assert_eq!(syncs(), before);
    log.sync().unwrap();
    put(&log, b"1", Durability::Disk);
    put(&log, b"2", Durability::Os);
    for follow in &mut both {
        assert_eq!(now(follow), [0, 1]);
        assert!(now(follow).is_empty());
    }
    log.sync().unwrap();
    assert!(both.iter_mut().all(|follow| now(follow) == [2]));
}

#[test]
fn a_filter_leaves_out_and_the_position_goes_on() {
    let world = World::new(1);
    let log = world.open();
    let start = |reader: LogReader| {
        let follow = |filter: Filter| reader.follow(offset(0)).matching(filter);
        [follow(Filter::new().stream("a-*")), follow(Filter::new()), follow(Filter::new().system(true))]
    };
    let (mut local, mut remote) = (start(log.reader()), start(world.reader()));
    for round in 0..3u64 {
        for stream in ["a-1", "b-1", "b-2"] {
            log.append(Event::new(stream, "T")).unwrap().wait().unwrap();
        }
        log.append(Append::new().source("s", &b"1"[..], annals::Expect::Any)).unwrap().wait().unwrap();
        let base = round * 4;
        for [some, users, system] in [&mut local, &mut remote] {
            assert_eq!(now(some), [base]);
            assert_eq!(now(users), [base, base + 1, base + 2]);
            assert_eq!(now(system), [base, base + 1, base + 2, base + 3]);
            for follow in [some, users, system] {
                assert_eq!(follow.next_offset().raw(), base + 4);
            }
        }
    }
}

#[test]
fn a_stop_ends_a_follower_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    put(&log, b"0", Durability::Disk);
    let [watched, unwatched] = remotes(dir.path());
    for reader in [log.reader(), watched, unwatched] {
        std::thread::scope(|scope| {
            let follows: Vec<Follow> = (0..3).map(|_| reader.follow(offset(0))).collect();
            let stops: Vec<_> = follows.iter().map(Follow::stop_handle).collect();
            let (told, seen) = std::sync::mpsc::channel();
            for mut follow in follows {
                let told = told.clone();
                scope.spawn(move || {
                    assert_eq!(follow.next().unwrap().unwrap().offset().raw(), 0);
                    told.send(()).unwrap();
                    assert!(follow.next().is_none() && follow.has_ended());
                    assert_eq!(follow.next_offset().raw(), 1);
                });
            }
            (0..3).for_each(|_| seen.recv().unwrap());
            stops.iter().for_each(|stop| stop.stop());
        });
        let mut follow = reader.follow(offset(0));
        follow.stop_handle().stop();
        assert!(follow.next().is_none());
    }
}

#[test]
fn the_followers_of_a_closed_log_end_after_its_last_event() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let reader = log.reader();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(reader.follow(offset(0)).map(Result::unwrap).count(), 101));
        }
        (0..100).for_each(|_| put(&log, b"x", Durability::Os));
        put(&log, b"x", Durability::Os);
        log.close().unwrap();
    });
    assert_eq!(reader.follow(offset(100)).count(), 1);
    assert_eq!(reader.wait_past(offset(101), LONG).unwrap().raw(), 101);
}

#[test]
fn the_followers_of_a_failed_log_end_with_its_failure() {
    let world = World::new(1);
    let log = world.open();
    put(&log, b"0", Durability::Disk);
    let mut follow = log.follow(offset(0));
    std::thread::scope(|scope| {
        let (told, seen) = std::sync::mpsc::channel();
        let follow = &mut follow;
        scope.spawn(move || {
            assert_eq!(follow.next().unwrap().unwrap().offset().raw(), 0);
            told.send(()).unwrap();
            let error = follow.next().unwrap().unwrap_err();
            assert!(matches!(&error, ReadError::Io(failure) if failure.doing == "syncing"), "{error}");
            assert!(follow.next().is_none() && follow.has_ended());
        });
        seen.recv().unwrap();
        world.disk.inject(Fault::once(Op::Sync, 0, std::io::ErrorKind::Other));
        log.append(Event::new("s", "T")).unwrap().wait().unwrap_err();
    });
}

#[test]
fn many_followers_read_and_decode_a_batch_once() {
    let world = World::new(1);
    let log = world.open();
    put(&log, b"first", Durability::Disk);
    for reader in [log.reader(), world.reader()] {
        let reads_of = |followers: usize| {
            let from = reader.durable_end().unwrap();
            let mut follows: Vec<Follow> = (0..followers).map(|_| reader.follow(from)).collect();
            follows.iter_mut().for_each(|follow| assert!(now(follow).is_empty()));
            let mut reads = 0;
            for n in 0..20 {
                put(&log, b"next", Durability::Disk);
                let before = world.disk.log().len();
                follows.iter_mut().for_each(|follow| assert_eq!(now(follow), [from.raw() + n]));
                let is_segment = |path: &std::path::Path| path.extension().is_some_and(|end| end == "seg");
                let new = &world.disk.log()[before..];
                reads += new.iter().filter(|(op, path)| *op == Op::Read && is_segment(path)).count();
            }
            reads
        };
        for followers in [1, 50] {
            let reads = reads_of(followers);
            assert!(reads < 30, "{reads} reads of 20 batches for {followers} followers");
        }
    }
}

#[test]
fn who_is_far_behind_reads_for_itself_and_catches_up() {
    let world = World::new(1);
    let log = world.open();
    let mut follows = [log.follow(offset(0)), log.follow(offset(0)), log.follow(offset(0))];
    follows.iter_mut().for_each(|follow| assert!(now(follow).is_empty()));
    for n in 0..200 {
        put(&log, &[b'x'; 3000], Durability::Disk);
        assert_eq!(now(&mut follows[0]), [n]);
        if n == 150 {
            assert_eq!(now(&mut follows[1]), (0..151).collect::<Vec<_>>());
        }
    }
    assert_eq!(now(&mut follows[1]), (151..200).collect::<Vec<_>>());
    assert_eq!(now(&mut follows[2]), (0..200).collect::<Vec<_>>());
    put(&log, b"x", Durability::Disk);
    follows.iter_mut().for_each(|follow| assert_eq!(now(follow), [200]));
}

#[test]
fn waiting_past_an_offset_ends_when_an_event_is_there_or_the_time_is_over() {
    let world = World::new(1);
    let log = world.open();
    for reader in [log.reader(), world.reader()] {
        let end = reader.durable_end().unwrap();
        assert_eq!(reader.wait_past(end, Duration::from_millis(5)).unwrap(), end);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| reader.wait_past(end, LONG).unwrap());
            put(&log, b"x", Durability::Disk);
            assert_eq!(waiting.join().unwrap(), end.plus(1));
        });
    }
}

#[test]
fn a_roll_is_news_to_a_follower_though_nobody_waits_for_the_disk() {
    let world = World::new(1);
    let log = world.open();
    assert_eq!(world.env().jobs, Jobs::ByHand);
    let mut follow = log.follow(offset(0));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || follow.next_within(LONG).unwrap().unwrap().offset().raw());
        for _ in 0..8 {
            put(&log, &[b'x'; 60_000], Durability::Os);
        }
        assert!(world.segments().len() > 1);
        assert_eq!(waiting.join().unwrap(), 0);
    });
}

/// The writer is killed at random and comes back; those who follow it from another process see one history.
#[test]
fn a_writer_that_is_killed_and_comes_back_is_followed_without_gap_or_repeat() {
    let dir = tempfile::tempdir().unwrap();
    Log::open(dir.path()).unwrap().close().unwrap();
    let followers = remotes(dir.path()).map(|reader| {
        std::thread::spawn(move || {
            let events = reader.follow(offset(0)).system(true).map(Result::unwrap);
            events.take_while(|event| event.stream() != "end").map(|event| row(&event)).collect::<Vec<_>>()
        })
    });
    let mut kept = 0;
    for round in 0..5 {
        let mut writer = Writer::start(dir.path());
        for _ in 0..40 * (round + 1) {
            kept = writer.next().unwrap();
        }
        kept = writer.kill().max(kept);
    }
    let log = Log::open(dir.path()).unwrap();
    let expected: Vec<_> = log.read(..).system(true).map(|event| row(&event.unwrap())).collect();
    assert!(expected.len() as u64 >= kept && kept > 500);
    log.append(Event::new("end", "End")).unwrap().wait().unwrap();
    for follower in followers {
        let seen = follower.join().unwrap();
        assert!(seen.iter().zip(0..).all(|(seen, offset)| seen.0 == offset), "a gap or a repeat");
        assert!(seen == expected);
    }
}
