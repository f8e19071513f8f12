//! After any crash each append is there as a whole or not at all, in the order in which it was appended.

use annals::testkit::{Crash, Random, SeededRandom};
use annals::{Append, Event, Expect, Offset, VerifyReport};

use crate::world::{Model, SEGMENT, World, all};

const SEEDS: u64 = 100;

/// Crashes a random workload again and again; one seed is one run.
fn run(seed: u64, crash: impl Fn(&SeededRandom) -> Option<Crash>) {
    run_on(World::new(seed), seed, crash);
}

fn run_on(mut world: World, seed: u64, crash: impl Fn(&SeededRandom) -> Option<Crash>) {
    let random = SeededRandom::new(seed);
    let mut model = Model::default();
    for _ in 0..3 {
        let log = world.open();
        assert!(log.report().torn.is_none() || log.tail_epoch().raw() > 0);
        for _ in 0..random.next_u64() % 20 {
            assert!(model.step(&world, &log, &random));
        }
        if random.next_u64().is_multiple_of(8) {
            log.close().unwrap();
            let end = model.check(&world.reader(), model.events.len() as u64);
            model.cut(end);
            continue;
        }
        let least = match crash(&random) {
            Some(crash) => {
                world.power_cut(Some(log), crash);
                model.durable
            }
            None => {
                world.kill(log);
                model.durable.max(model.written)
            }
        };
        let report = world.verify();
        assert!(report.is_sound(), "seed {seed}: before opening: {report:?}");
        let log = world.open();
        let end = model.check(&log.reader(), least);
        model.cut(end);
        assert_eq!(log.tail().raw(), end);
        let before = world.snapshot();
        assert!(world.verify().is_sound(), "seed {seed}: after opening");
        // Another power cut right after: what is shown now is durable.
        world.power_cut(Some(log), Crash::LoseUnsynced);
        let report = world.verify();
        assert!(report.is_sound() && is_mended(&report), "seed {seed}: after a second crash: {report:?}");
        let log = world.open();
        assert_eq!(log.report().torn, None, "seed {seed}");
        assert_eq!(log.report().sealed, 0, "seed {seed}");
        assert_eq!(model.check(&log.reader(), end), end);
        let logs_only = |files: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<_> {
            files.into_iter().filter(|(path, _)| !path.ends_with("LOCK")).collect()
        };
        assert!(logs_only(world.snapshot()) == logs_only(before), "seed {seed}: the second recovery changed something");
        world.kill(log);
    }
}

#[test]
fn a_power_cut_leaves_whole_appends_in_order_and_all_acknowledged_ones() {
    (0..SEEDS).for_each(|seed| run(seed, |random| Some(Crash::Seeded(random.next_u64()))));
}

#[test]
fn a_power_cut_at_its_worst_leaves_all_acknowledged_appends() {
    (0..SEEDS / 5).for_each(|seed| run(1000 + seed, |_| Some(Crash::LoseUnsynced)));
}

#[test]
fn a_kill_leaves_all_that_was_acknowledged_as_written() {
    (0..SEEDS / 5).for_each(|seed| run(2000 + seed, |_| None));
}

#[test]
fn a_file_system_that_takes_no_space_ahead_keeps_the_same_promises() {
    for seed in 0..SEEDS / 4 {
        let world = World { allocates: false, ..World::new(seed) };
        run_on(world, seed, |random| match random.next_u64() % 3 {
            0 => None,
            _ => Some(Crash::Seeded(random.next_u64())),
        });
    }
}

#[test]
fn a_crash_within_recovery_is_recovered_from() {
    for seed in 0..150 {
        let random = SeededRandom::new(seed);
        let mut world = World::new(seed);
        let mut model = Model::default();
        let log = world.open();
        for _ in 0..12 {
            assert!(model.step(&world, &log, &random));
        }
        world.power_cut(Some(log), Crash::Seeded(random.next_u64()));
        let files = world.snapshot();
        // Every call of the recovery is the last one that the process makes, once.
        let calls = {
            let again = world.copy_of(&files).that_only_stops();
            let before = again.disk.calls();
            drop(again.open());
            again.disk.calls() - before
        };
        let at = random.next_u64() % calls;
        let mut again = world.copy_of(&files).that_only_stops();
        again.stop_after(at, false);
        let log = again.try_open().ok();
        again.power_cut(log, Crash::Seeded(random.next_u64()));
        again.disk.heal();
        let report = again.verify();
        assert!(report.is_sound(), "seed {seed}, call {at}: {report:?}");
        let log = again.open();
        let end = model.check(&log.reader(), model.durable);
        drop(log);
        assert_eq!(all(&again.reader()).len() as u64, end);
        let report = again.verify();
        assert!(report.is_sound() && is_mended(&report), "seed {seed}: {report:?}");
    }
}

#[test]
fn an_end_within_a_seal_leaves_the_events_and_indexes_that_can_be_made_again() {
    let filled = || {
        let world = World::new(4).that_only_stops();
        let log = world.open();
        // Indexes of several pages, and batches up to the end of the space that was taken.
        let many = (0..300).map(|n| Event::new(format!("stream-{n}"), "T"));
        log.append(Append::new().events(many)).unwrap().wait().unwrap();
        for bytes in [242_000, 30_000] {
            log.append(Event::new("s", "T").data(vec![1; bytes])).unwrap().wait().unwrap();
        }
        assert_eq!(world.segments().len(), 2);
        (world, log)
    };
    let calls = {
        let (world, log) = filled();
        let before = world.disk.calls();
        assert!(log.step().unwrap());
        let len = world.bytes(&world.segments()[0]).len();
        assert!(len as u32 > SEGMENT + 4096, "the file has to grow for its indexes: {len}");
        world.disk.calls() - before
    };
    for seed in 0..calls * 20 {
        let (mut world, log) = filled();
        world.stop_after(seed % calls, seed % 2 == 0);
        let _ = log.step();
        world.power_cut(Some(log), Crash::Seeded(seed));
        world.disk.heal();
        let report = world.verify();
        assert!(report.is_sound() && report.events == 302, "seed {seed}: {report:?}");
        let log = world.open();
        let stat = log.reader().stat().unwrap();
        assert_eq!((stat.streams, stat.segments[0].sealed), (301, true));
        log.close().unwrap();
        let report = world.verify();
        assert!(report.is_sound() && report.notes.is_empty(), "seed {seed}: {report:?}");
    }
}

/// Whether nothing is left for the next open to mend.
fn is_mended(report: &VerifyReport) -> bool {
    // LOCK is never synced: a power cut may always leave it torn.
    report.notes.iter().all(|note| note.contains("LOCK"))
}

/// The process ends within any of its calls, a write half done, and the power goes or does not.
#[test]
fn an_end_within_any_call_leaves_whole_appends_and_all_acknowledged_ones() {
    for seed in 0..240 {
        let random = SeededRandom::new(seed);
        let mut world = World::new(seed).that_only_stops();
        let mut model = Model::default();
        let call = random.next_u64() % 160;
        world.stop_after(call, random.next_u64().is_multiple_of(2));
        let power = random.next_u64() % 3;
        let log = world.try_open().ok();
        let mut left = 60;
        while let Some(log) = &log
            && left > 0
            && model.step(&world, log, &random)
        {
            left -= 1;
        }
        let least = match (power, log) {
            (0, Some(log)) => {
                world.kill(log);
                model.durable.max(model.written)
            }
            (_, log) => {
                world.power_cut(log, Crash::Seeded(random.next_u64()));
                model.durable
            }
        };
        world.disk.heal();
        if world.mem.files().is_empty() {
            continue;
        }
        let context = format!("seed {seed}, call {call}");
        let report = world.verify();
        assert!(report.is_sound(), "{context}: before opening: {report:?}");
        let log = world.open();
        let end = model.check(&log.reader(), least);
        // All indexes hold what they should.
        assert!(world.verify().is_sound(), "{context}: after opening");
        for stream in 0..5 {
            let name = format!("s-{stream}");
            let last = model.events.iter().take(end as usize).rev().find(|event| event.stream == name);
            let expect = last.map_or(Expect::None, |last| Expect::Last(Offset::from_raw(last.offset)));
            let receipt = log.append(Append::new().expect(&name, expect).event(Event::new(&name, "T")));
            receipt.unwrap_or_else(|error| panic!("{context}: {error}")).wait().unwrap();
        }
        log.close().unwrap();
        let report = world.verify();
        assert!(report.is_sound() && report.notes.is_empty(), "{context}: after closing: {report:?}");
    }
}
