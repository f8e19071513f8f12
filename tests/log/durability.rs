//! What an acknowledgement means, and how far a log says that it is durable.

use annals::limits::{OS_SYNC_BYTES, OS_SYNC_MS};
use annals::testkit::{Crash, Op};
use annals::{Append, Durability, Event, Log, Receipt};

use crate::world::{World, all};

fn append(log: &Log, durability: Durability) -> Receipt {
    log.append(Append::new().event(Event::new("s", "T").data(&b"data"[..])).durability(durability)).unwrap()
}

fn syncs(world: &World) -> usize {
    world.disk.log().iter().filter(|(op, path)| *op == Op::Sync && path.extension().is_some()).count()
}

#[test]
fn an_append_at_disk_survives_a_power_cut() {
    let mut world = World::new(1);
    let log = world.open();
    for n in 0..5 {
        assert_eq!(append(&log, Durability::Disk).wait().unwrap().first().raw(), n);
    }
    world.power_cut(Some(log), Crash::LoseUnsynced);
    assert_eq!(all(&world.open().reader()).len(), 5);
}

#[test]
fn an_append_at_os_survives_a_kill_and_a_power_cut_takes_it_without_a_trace() {
    let mut world = World::new(1);
    let log = world.open();
    append(&log, Durability::Disk).wait().unwrap();
    append(&log, Durability::Os).wait().unwrap();
    assert_eq!((log.tail().raw(), log.durable_end().raw()), (2, 1));
    world.kill(log);
    let log = world.open();
    assert_eq!((all(&log.reader()).len(), log.durable_end().raw()), (2, 2), "recovery makes it durable");
    append(&log, Durability::Os).wait().unwrap();
    world.power_cut(Some(log), Crash::LoseUnsynced);
    let log = world.open();
    assert_eq!(all(&log.reader()).len(), 2);
    assert_eq!(log.report().torn, None);
}

#[test]
fn an_append_that_nobody_waits_for_is_not_written_by_itself_and_lost_by_a_kill() {
    let world = World::new(1);
    let log = world.open();
    drop(append(&log, Durability::Disk));
    world.kill(log);
    assert_eq!(world.open().tail().raw(), 0);
}

#[test]
fn readers_see_what_is_durable_and_nothing_of_it_vanishes() {
    let mut world = World::new(1);
    let log = world.open();
    for durability in [Durability::Disk, Durability::Os, Durability::Os] {
        append(&log, durability).wait().unwrap();
    }
    let (local, remote) = (log.reader(), world.reader());
    assert_eq!((all(&local).len(), all(&remote).len()), (1, 1));
    assert_eq!((remote.durable_end().unwrap().raw(), local.tail().unwrap().raw()), (1, 3));
    assert!(local.get(annals::Offset::from_raw(1)).unwrap().is_none());
    log.sync().unwrap();
    assert_eq!((all(&local).len(), all(&remote).len()), (3, 3));
    world.power_cut(Some(log), Crash::LoseUnsynced);
    assert_eq!(all(&world.reader()).len(), 3);
}

#[test]
fn one_sync_is_for_all_who_wait() {
    let world = World::new(1);
    let log = world.open();
    let receipts: Vec<_> = (0..100).map(|_| append(&log, Durability::Disk)).collect();
    let before = syncs(&world);
    for receipt in receipts {
        receipt.wait().unwrap();
    }
    assert_eq!(syncs(&world) - before, 1);
}

#[test]
fn an_append_at_os_waits_for_no_sync() {
    let world = World::new(1);
    let log = world.open();
    let before = syncs(&world);
    append(&log, Durability::Os).wait().unwrap();
    assert_eq!(syncs(&world), before);
}

#[test]
fn the_background_makes_appends_at_os_durable_in_time() {
    let world = World::new(1);
    let log = world.open();
    append(&log, Durability::Os).wait().unwrap();
    assert!(!log.step().unwrap(), "not at once");
    world.clock.advance_ms(OS_SYNC_MS - 1);
    assert!(log.step().unwrap());
    assert_eq!(log.durable_end().raw(), 1);
    assert_eq!(all(&world.reader()).len(), 1);
}

#[test]
fn the_background_syncs_before_too_much_waits() {
    let world = World::new(1);
    let log = Log::options().env(world.env()).open(crate::world::DIR).unwrap();
    for _ in 0..=OS_SYNC_BYTES / (4 << 20) {
        let event = Event::new("s", "T").data(vec![7; 4 << 20]);
        log.append(Append::new().event(event).durability(Durability::Os)).unwrap().wait().unwrap();
    }
    let end = log.tail();
    // By a roll or by the step: the clock stands still.
    while log.step().unwrap() {}
    assert_eq!(log.durable_end(), end);
}

#[test]
fn an_idle_log_marks_its_end_once() {
    let world = World::new(1);
    let log = world.open();
    append(&log, Durability::Disk).wait().unwrap();
    let mut writes = Vec::new();
    for _ in 0..10 {
        world.clock.advance_ms(60);
        while log.step().unwrap() {}
        writes
            .push(world.disk.log().iter().filter(|(op, path)| *op == Op::Write && path.extension().is_some()).count());
    }
    assert_eq!(writes.last(), writes.get(5), "{writes:?}");
    // The mark is evidence by itself: what is before it was durable.
    let path = world.segments().pop().unwrap();
    let bytes = world.bytes(&path);
    world.kill(log);
    annals::testkit::Disk::remove(&world.mem, &std::path::Path::new(crate::world::DIR).join("LOCK")).unwrap();
    let batch = bytes.windows(4).position(|window| window == b"data").unwrap();
    world.mem.flip_bit(&path, batch, 0);
    assert!(!world.verify().is_sound());
    assert!(world.try_open().is_err());
}

#[test]
fn an_empty_log_stays_as_it_is_when_it_is_opened_and_closed() {
    let world = World::new(1);
    world.open().close().unwrap();
    let before = world.bytes(&world.segments()[0]);
    for _ in 0..3 {
        world.open().close().unwrap();
        assert!(world.bytes(&world.segments()[0]) == before);
    }
    assert_eq!(world.reader().stat().unwrap().events, 0);
}

#[test]
fn a_log_that_is_opened_and_killed_before_anything_is_appended_is_as_its_close_left_it() {
    for crash in [Crash::KeepAll, Crash::LoseUnsynced, Crash::Seeded(1), Crash::Seeded(2)] {
        let mut world = World::new(1);
        let log = world.open();
        append(&log, Durability::Disk).wait().unwrap();
        log.close().unwrap();
        let path = world.segments().pop().unwrap();
        let before = world.bytes(&path);
        for _ in 0..3 {
            let log = world.open();
            assert_eq!((log.report().torn.clone(), log.tail().raw(), log.tail_epoch().raw()), (None, 1, 0));
            world.power_cut(Some(log), crash);
            assert!(world.bytes(&path) == before);
            assert!(world.verify().is_sound());
        }
    }
}

#[test]
fn zeros_ahead_never_meet_batches() {
    let world = World::new(1);
    let log = Log::options().env(world.env()).open(crate::world::DIR).unwrap();
    for _ in 0..300 {
        append(&log, Durability::Disk).wait().unwrap();
        while log.step().unwrap() {}
    }
    assert_eq!(all(&log.reader()).len(), 300);
    assert!(world.verify().is_sound());
}

/// With the threads of a real log and nobody who calls anything.
#[test]
fn an_append_at_os_becomes_durable_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for n in 1..=4 {
        let receipt = append(&log, Durability::Os);
        if n % 2 == 0 {
            receipt.wait().unwrap();
        } else {
            drop(receipt);
        }
        // A generous bound: what is tested is that it happens at all.
        let start = std::time::Instant::now();
        while log.durable_end().raw() < n {
            assert!(start.elapsed().as_secs() < 20, "a wake-up was lost");
            std::thread::yield_now();
        }
    }
}
