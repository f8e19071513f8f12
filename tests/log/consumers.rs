//! A named consumer sees every event at least once and in order, and never goes on from what is not this log.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Command, Stdio};

use annals::testkit::{Crash, Fault, Op, Random, SeededRandom};
use annals::{Append, Consumer, ConsumerError, Damage, Durability, Event, Filter, Log, LogReader, Offset, OpenError};

use crate::world::World;

fn at(n: u64) -> Offset {
    Offset::from_raw(n)
}

fn put(log: &Log, events: u64) {
    let first = log.tail().raw();
    let events =
        (first..first + events).map(|n| Event::new(format!("s-{}", n % 3), if n % 2 == 0 { "A" } else { "B" }));
    log.append(Append::new().events(events)).unwrap().wait().unwrap();
}

fn offsets(consumer: &Consumer) -> Vec<u64> {
    consumer.read().map(|event| event.unwrap().offset().raw()).collect()
}

#[test]
fn a_consumer_goes_on_where_it_committed_also_in_another_process_and_after_a_power_cut() {
    let mut world = World::new(1);
    let log = world.open();
    put(&log, 10);
    let mut consumer = log.consumer("mailer").unwrap();
    assert_eq!((consumer.name(), consumer.cursor()), ("mailer", at(0)));
    assert_eq!(offsets(&consumer), (0..10).collect::<Vec<_>>());
    consumer.commit(at(4)).unwrap();
    assert_eq!(offsets(&consumer), (4..10).collect::<Vec<_>>());
    drop(consumer);
    // Beside the writer, by the files alone.
    let mut consumer = world.reader().consumer("mailer").unwrap();
    assert_eq!(consumer.cursor(), at(4));
    consumer.commit(at(7)).unwrap();
    world.power_cut(Some(log), Crash::LoseUnsynced);
    drop(consumer);
    let reader = world.reader();
    let consumer = reader.consumer("mailer").unwrap();
    assert_eq!(offsets(&consumer), [7, 8, 9]);
    assert_eq!(reader.consumer("another").unwrap().cursor(), at(0));
    assert!(world.verify().is_sound());
}

#[test]
fn a_consumer_keeps_its_filter() {
    let world = World::new(1);
    let log = world.open();
    put(&log, 12);
    let filter = || Filter::new().stream("s-1").types(["B"]);
    let mut consumer = log.consumer("c").unwrap().matching(filter()).unwrap();
    assert_eq!(offsets(&consumer), [1, 7]);
    consumer.commit(at(2)).unwrap();
    drop(consumer);
    let consumer = log.consumer("c").unwrap();
    assert_eq!((consumer.filter(), offsets(&consumer)), (filter(), vec![7]));
    let long = Filter::new().stream(&"x".repeat(5000));
    assert!(matches!(consumer.matching(long), Err(ConsumerError::FilterTooLong { .. })));
    assert_eq!(log.consumer("c").unwrap().filter(), filter());
    assert!(matches!(log.consumer(""), Err(ConsumerError::Invalid(_))));
}

#[test]
fn one_handle_at_a_time_has_a_consumer() {
    let world = World::new(1);
    let log = world.open();
    let first = log.consumer("c").unwrap();
    for reader in [log.reader(), world.reader()] {
        assert!(matches!(reader.consumer("c"), Err(ConsumerError::Held { name }) if name == "c"));
        assert!(matches!(reader.consumer_at("c", at(0)), Err(ConsumerError::Held { .. })));
        assert!(matches!(reader.remove_consumer("c"), Err(ConsumerError::Held { .. })));
    }
    drop(first);
    drop(world.reader().consumer("c").unwrap());
    log.consumer("c").unwrap();
}

#[test]
fn a_cursor_is_never_put_ahead_of_what_is_durable_nor_back_by_a_commit() {
    let world = World::new(1);
    let log = world.open();
    put(&log, 3);
    drop(log.append(Append::new().event(Event::new("s", "T")).durability(Durability::Os)).unwrap());
    let mut consumer = log.consumer("c").unwrap();
    let error = consumer.commit(at(4)).unwrap_err();
    assert!(
        matches!(error, ConsumerError::CursorAhead { cursor, durable_end, .. } if (cursor, durable_end) == (at(4), at(3)))
    );
    assert!(matches!(consumer.seek(at(4)), Err(ConsumerError::CursorAhead { .. })));
    assert!(matches!(world.reader().consumer_at("d", at(9)), Err(ConsumerError::CursorAhead { .. })));
    assert!(!log.reader().remove_consumer("d").unwrap(), "nothing was made");
    consumer.commit(at(3)).unwrap();
    consumer.commit(at(3)).unwrap();
    assert!(matches!(consumer.commit(at(2)), Err(ConsumerError::Behind { cursor, .. }) if cursor == at(3)));
    assert_eq!(consumer.cursor(), at(3));
    consumer.seek(at(1)).unwrap();
    assert_eq!(offsets(&consumer), [1, 2]);
}

#[test]
fn a_cursor_of_another_log_or_history_is_refused_until_it_is_set_anew() {
    let world = World::new(1);
    let log = world.open();
    put(&log, 5);
    log.close().unwrap();
    let older = world.snapshot();
    let log = world.open();
    put(&log, 5);
    log.consumer("c").unwrap().commit(at(8)).unwrap();
    log.close().unwrap();
    let cursor: Vec<_> = world.snapshot().into_iter().filter(|(path, _)| path.ends_with(world.cursor_file())).collect();
    assert_eq!(cursor.len(), 1);

    // An older copy was put back, and went on otherwise.
    let other = world.copy_of(&older);
    other.clock.advance_ms(5000);
    let log = other.open();
    put(&log, 5);
    other.mem.write_file(&cursor[0].0, &cursor[0].1);
    let error = log.consumer("c").unwrap_err();
    assert!(matches!(error, ConsumerError::CursorOfAnotherHistory { cursor, .. } if cursor == at(8)), "{error}");
    let infos = log.reader().consumers().unwrap();
    assert!(matches!(infos[0].refusal, Some(ConsumerError::CursorOfAnotherHistory { .. })));
    assert_eq!(offsets(&log.reader().consumer_at("c", at(6)).unwrap()), [6, 7, 8, 9]);
    assert_eq!(log.consumer("c").unwrap().cursor(), at(6));

    // An older copy alone.
    let other = world.copy_of(&older);
    other.mem.write_file(&cursor[0].0, &cursor[0].1);
    let error = other.reader().consumer("c").unwrap_err();
    assert!(matches!(error, ConsumerError::CursorAhead { durable_end, .. } if durable_end == at(5)), "{error}");

    // Another log: its files have other names, unless somebody renames one.
    let other = World::new(2);
    let log = other.open();
    put(&log, 10);
    let name = {
        log.consumer("c").unwrap();
        other.cursor_file()
    };
    other.mem.write_file(&std::path::Path::new("/log/cursors").join(name), &cursor[0].1);
    let error = log.consumer("c").unwrap_err();
    assert!(matches!(error, ConsumerError::WrongLog { .. }), "{error}");
    assert!(other.verify().is_sound());
    assert_eq!(log.reader().consumer_at("c", at(2)).unwrap().cursor(), at(2));
    assert_eq!(log.consumer("c").unwrap().cursor(), at(2));
}

#[test]
fn a_cursor_ahead_of_the_log_shows_that_acknowledged_events_are_missing() {
    for (boot, lock) in [(1, true), (2, true), (2, false)] {
        let mut world = World::new(1);
        let log = world.open();
        put(&log, 3);
        put(&log, 3);
        log.consumer("c").unwrap().commit(at(5)).unwrap();
        world.kill(log);
        // The second batch is not what was written.
        let segment = world.segments()[0].clone();
        let bytes = world.bytes(&segment);
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        world.mem.flip_bit(&segment, last, 0);
        if !lock {
            world.mem.write_file(std::path::Path::new("/log/LOCK"), b"");
        }
        world.boot = boot;
        let report = world.verify();
        assert!(!report.is_sound());
        let damage = report.damage.iter().find(|damage| damage.what.contains("consumer \"c\""));
        assert!(damage.is_some_and(|damage| damage.first == at(3) && damage.end >= at(5)), "{report:?}");
        match world.try_open() {
            Err(OpenError::Damaged(damage)) => assert!(damage.what.contains("had seen all before 5"), "{damage}"),
            other => panic!("{other:?}"),
        }
        // Without the cursor and the record nobody could tell it from a torn tail.
        if !lock {
            assert!(world.reader().remove_consumer("c").unwrap());
            assert_eq!(world.open().tail(), at(3));
        }
    }
}

#[test]
fn a_removed_consumer_stays_removed_after_a_power_cut() {
    let mut world = World::new(1);
    let log = world.open();
    drop(log.consumer("by name").unwrap());
    let open = log.consumer("open").unwrap();
    assert!(log.reader().remove_consumer("by name").unwrap());
    open.remove().unwrap();
    world.power_cut(Some(log), Crash::LoseUnsynced);
    assert!(world.reader().consumers().unwrap().is_empty());
}

#[test]
fn consumers_are_listed_with_how_far_they_are_behind() {
    let world = World::new(1);
    let log = world.open();
    put(&log, 4);
    world.clock.advance_ms(1000);
    put(&log, 2);
    log.consumer("b").unwrap().commit(at(4)).unwrap();
    let mut held = log.consumer("a").unwrap().matching(Filter::new().types(["A"])).unwrap();
    held.commit(at(6)).unwrap();
    for reader in [log.reader(), world.reader()] {
        let infos = reader.consumers().unwrap();
        let told: Vec<_> = infos.iter().map(|info| (info.name.as_str(), info.next.raw(), info.lag)).collect();
        assert_eq!(told, [("a", 6, 0), ("b", 4, 2)]);
        assert_eq!(infos[0].filter, Filter::new().types(["A"]));
        assert_eq!(
            (infos[0].waiting_since, infos[1].waiting_since),
            (None, Some(reader.get(at(4)).unwrap().unwrap().recorded()))
        );
        assert!(infos.iter().all(|info| info.refusal.is_none()));
    }
    held.remove().unwrap();
    assert!(world.reader().remove_consumer("b").unwrap());
    assert!(!world.reader().remove_consumer("b").unwrap());
    assert!(log.reader().consumers().unwrap().is_empty());
    assert_eq!(log.consumer("b").unwrap().cursor(), at(0), "it begins anew");
}

#[test]
fn commits_in_the_background_cost_one_sync_and_survive_a_kill_at_once() {
    let mut world = World::new(1);
    let log = world.open();
    put(&log, 50);
    while log.step().unwrap() {}
    let mut consumer = log.consumer("c").unwrap();
    let synced = |world: &World| {
        world.disk.log().iter().filter(|(op, file)| *op == Op::Sync && file.starts_with("/log/cursors")).count()
    };
    let before = synced(&world);
    (1..=40).for_each(|next| consumer.commit_in_background(at(next)).unwrap());
    assert_eq!(synced(&world), before);
    world.clock.advance_ms(200);
    while log.step().unwrap() {}
    assert_eq!(synced(&world), before + 1);
    consumer.commit_in_background(at(45)).unwrap();
    world.kill(log);
    drop(consumer);
    assert_eq!(world.reader().consumer("c").unwrap().cursor(), at(45));
    world.power_cut(None, Crash::LoseUnsynced);
    assert_eq!(world.reader().consumer("c").unwrap().cursor(), at(45), "opening it made it durable");
}

#[test]
fn no_crash_loses_a_commit_or_brings_one_that_was_not_made() {
    let (mut torn, mut as_damage) = (0, 0);
    for seed in 0..200 {
        let random = SeededRandom::new(seed);
        let pick = |n: u64| random.next_u64() % n;
        let mut world = World::new(seed);
        let log = world.open();
        put(&log, 200);
        drop(log);
        let (mut durable, mut last) = (None, 0);
        for _ in 0..4 {
            let reader = world.reader();
            let mut consumer = reader.consumer("c").unwrap();
            let found = consumer.cursor().raw();
            assert!(found >= durable.unwrap_or(0) && found <= last, "seed {seed}: {found} of {durable:?}..{last}");
            last = found;
            durable = Some(found);
            for _ in 0..pick(6) {
                last += pick(10);
                if pick(2) == 0 {
                    consumer.commit(at(last)).unwrap();
                    durable = Some(last);
                } else {
                    consumer.commit_in_background(at(last)).unwrap();
                }
            }
            let crash = if pick(4) == 0 { Crash::KeepAll } else { Crash::Seeded(random.next_u64()) };
            world.power_cut(None, crash);
            drop(consumer);
            let report = world.verify();
            // A write that was torn within its last byte looks like rot.
            as_damage += report.damage.len();
            let is_cursor = |damage: &Damage| damage.file.ends_with(world.cursor_file()) && damage.first == damage.end;
            assert!(report.damage.iter().all(is_cursor), "seed {seed}: {report:?}");
            torn += report.notes.len();
            let info = &world.reader().consumers().unwrap()[0];
            assert!(info.refusal.is_none() && info.next.raw() >= durable.unwrap());
        }
    }
    assert!(torn > 10 && as_damage * 10 < torn, "{torn} writes were torn, {as_damage} of them look like rot");
}

#[test]
fn an_end_at_any_call_leaves_a_consumer_that_can_be_opened() {
    let filled = || {
        let world = World::new(3).that_only_stops();
        let log = world.open();
        put(&log, 20);
        log.close().unwrap();
        world
    };
    let life = |world: &World| -> Result<u64, ConsumerError> {
        let mut consumer = world.reader().consumer("c")?;
        consumer.commit(at(3))?;
        consumer.commit_in_background(at(5))?;
        consumer.commit_in_background(at(6))?;
        consumer.flush()?;
        consumer.commit(at(9))?;
        Ok(9)
    };
    let calls = {
        let world = filled();
        let before = world.disk.calls();
        life(&world).unwrap();
        world.disk.calls() - before
    };
    for call in 0..calls {
        for (seed, short) in [(1, true), (2, false), (3, true)] {
            let mut world = filled();
            world.stop_after(call, short);
            let got = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life(&world)));
            world.power_cut(None, Crash::Seeded(seed * 1000 + call));
            world.disk.heal();
            let report = world.verify();
            assert!(report.is_sound(), "call {call}: {report:?}");
            let consumer = world.reader().consumer("c").unwrap();
            assert!([0, 3, 5, 6, 9].contains(&consumer.cursor().raw()), "call {call}");
            if let Ok(Ok(end)) = got {
                assert_eq!(consumer.cursor(), at(end));
            }
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_promised_until_the_consumer_is_opened_again() {
    let world = World::new(1);
    let log = world.open();
    put(&log, 9);
    log.close().unwrap();
    let mut consumer = world.reader().consumer("c").unwrap();
    consumer.commit(at(2)).unwrap();
    world.disk.inject(Fault::once(Op::Sync, 0, ErrorKind::Other));
    assert!(matches!(consumer.commit(at(4)), Err(ConsumerError::Io(_))));
    assert!(matches!(consumer.commit(at(5)), Err(ConsumerError::Io(_))));
    drop(consumer);
    let mut consumer = world.reader().consumer("c").unwrap();
    assert!([2, 4].contains(&consumer.cursor().raw()));
    consumer.commit(at(6)).unwrap();
    world.mem.crash(Crash::LoseUnsynced);
    assert_eq!(world.reader().consumer("c").unwrap().cursor(), at(6));
}

/// The consuming process of the test below: this test, when it is told so by its environment.
#[test]
fn consuming_child() {
    let Some(dir) = std::env::var_os("ANNALS_TEST_CONSUME") else { return };
    let every = 7;
    let reader = LogReader::open(dir).unwrap();
    loop {
        let mut consumer = match reader.consumer("killed") {
            Err(ConsumerError::Held { .. }) => continue,
            consumer => consumer.unwrap(),
        };
        while consumer.cursor() < at(KILLED_EVENTS) {
            for (n, event) in consumer.read().enumerate() {
                let event = event.unwrap();
                // Seen by whoever reads the pipe before it counts as done.
                print_line(event.offset());
                if (n + 1) % every == 0 {
                    consumer.commit(event.offset().plus(1)).unwrap();
                    break;
                }
                if event.offset().plus(1) == at(KILLED_EVENTS) {
                    consumer.commit(at(KILLED_EVENTS)).unwrap();
                }
            }
        }
        return;
    }
}

#[allow(clippy::print_stdout)] // what the parent reads
fn print_line(offset: Offset) {
    println!("seen {offset}");
}

const KILLED_EVENTS: u64 = 3000;

#[test]
fn a_consumer_killed_twenty_times_sees_every_event_at_least_once_and_none_out_of_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    put(&log, KILLED_EVENTS / 2);
    let random = SeededRandom::new(7);
    let mut seen: Vec<Vec<u64>> = Vec::new();
    for life in 0.. {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "consumers::consuming_child", "--nocapture", "--test-threads=1"])
            .env("ANNALS_TEST_CONSUME", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lives_for = if life < 20 { random.next_u64() % 200 } else { u64::MAX };
        let (mut this, mut killed) = (Vec::new(), false);
        for line in lines {
            if let Some(offset) = line.unwrap().split_once("seen ").map(|(_, offset)| offset.trim().to_owned()) {
                this.push(offset.parse::<u64>().unwrap());
            }
            if this.len() as u64 >= lives_for && !killed {
                child.kill().unwrap(); // SIGKILL
                killed = true;
            }
        }
        let ended = child.wait().unwrap();
        seen.push(this);
        if life == 5 {
            put(&log, KILLED_EVENTS / 2); // beside the living one
        }
        if !killed {
            assert!(ended.success());
            break;
        }
    }
    assert!(seen.len() > 20);
    let mut next = 0;
    for this in &seen {
        assert!(this.is_sorted_by(|a, b| a + 1 == *b), "a life sees each event once, in order");
        let Some(first) = this.first() else { continue };
        assert!(*first <= next, "{first} comes after {next}: events were skipped");
        next = next.max(this.last().unwrap() + 1);
    }
    assert_eq!(next, KILLED_EVENTS);
    assert_eq!(log.reader().consumers().unwrap()[0].lag, 0);
    log.close().unwrap();
}
