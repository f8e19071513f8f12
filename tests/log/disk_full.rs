//! A full disk stops appends with a typed error; reading goes on, nothing acknowledged is lost, and space
//! coming back is enough.

use annals::testkit::{Crash, SeededRandom};
use annals::{AppendError, Event, OpenError};

use crate::world::{Model, SEGMENT, World, all};

/// Amounts of free space around everything that a log takes at once.
fn amounts() -> impl Iterator<Item = u64> {
    let segment = u64::from(SEGMENT);
    let near = [0, 1, 63, 64, 100, 4095, 4096, 5000, 10_000, 100_000];
    let after = [segment, segment + 64, segment + 4096, 2 * segment, 2 * segment + 70_000, 3 * segment];
    near.into_iter().chain(after)
}

#[test]
fn appends_stop_with_a_typed_error_and_go_on_when_there_is_room() {
    for free in amounts() {
        let mut world = World::new(1);
        let log = world.open();
        log.append(Event::new("s", "T")).unwrap().wait().unwrap();
        world.mem.set_free(Some(free));
        let mut taken = 1u64;
        let error = loop {
            match log.append(Event::new("s", "T").data(vec![1; 30_000])) {
                Ok(receipt) => {
                    receipt.wait().unwrap_or_else(|error| panic!("{free}: what was taken is kept: {error}"));
                    taken += 1;
                }
                Err(error) => break error,
            }
            assert!(log.step().is_ok());
        };
        assert!(matches!(error, AppendError::DiskFull), "{free}: {error}");
        assert!(error.is_retryable() && error.nothing_written());
        assert!(error.to_string().contains("go on once there is room"), "{error}");
        assert_eq!((log.tail().raw(), log.durable_end().raw()), (taken, taken), "nothing was written");
        for _ in 0..3 {
            assert!(matches!(log.append(Event::new("s", "T").data(vec![1; 30_000])), Err(AppendError::DiskFull)));
        }
        while log.step().unwrap() {}
        assert_eq!(all(&log.reader()).len() as u64, taken);
        assert_eq!(all(&world.reader()).len() as u64, taken);
        world.mem.set_free(None);
        for _ in 0..20 {
            log.append(Event::new("s", "T").data(vec![1; 30_000])).unwrap().wait().unwrap();
        }
        while log.step().unwrap() {}
        world.power_cut(Some(log), Crash::LoseUnsynced);
        let report = world.verify();
        assert!(report.is_sound(), "{free}: {report:?}");
        let log = world.open();
        assert_eq!(all(&log.reader()).len() as u64, taken + 20);
        assert!(log.report().torn.is_none());
    }
}

#[test]
fn a_log_is_closed_cleanly_on_a_full_disk() {
    for free in [0, 64, 5000] {
        let world = World::new(1);
        let log = world.open();
        while log.append(Event::new("s", "T").data(vec![1; 5000])).is_ok() {
            world.mem.set_free(Some(free));
        }
        let taken = log.tail();
        log.close().unwrap();
        let report = world.verify();
        assert!(report.is_sound(), "{report:?}");
        let log = world.open();
        assert_eq!((log.tail(), log.report().torn.clone()), (taken, None));
    }
}

#[test]
fn opening_on_a_full_disk_works_or_says_that_it_is_full() {
    let mut made = 0;
    for free in amounts() {
        let world = World::new(1);
        world.mem.set_free(Some(free));
        match world.try_open() {
            Ok(log) => {
                made += 1;
                drop(log);
            }
            Err(OpenError::DiskFull { .. }) => {}
            Err(error) => panic!("{free}: {error}"),
        }
        world.mem.set_free(None);
        let log = world.open();
        log.append(Event::new("s", "T")).unwrap().wait().unwrap();
        log.close().unwrap();
        let report = world.verify();
        assert!(report.is_sound() && report.notes.is_empty(), "{free}: {report:?}");
    }
    assert!(made > 3);
}

#[test]
fn recovery_on_a_full_disk_works_or_says_that_it_is_full_and_loses_nothing() {
    for seed in 0..60 {
        let random = SeededRandom::new(seed);
        let mut world = World::new(seed);
        let mut model = Model::default();
        let log = world.open();
        for _ in 0..20 {
            assert!(model.step(&world, &log, &random));
        }
        world.power_cut(Some(log), Crash::Seeded(seed));
        world.mem.set_free(Some(seed * seed * 37));
        match world.try_open() {
            Ok(log) => {
                model.check(&log.reader(), model.durable);
                drop(log);
            }
            Err(OpenError::DiskFull { .. }) => {
                let report = world.verify();
                assert!(report.is_sound(), "seed {seed}: {report:?}");
                model.check(&world.reader(), model.durable);
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
        world.mem.set_free(None);
        let log = world.open();
        model.check(&log.reader(), model.durable);
        log.close().unwrap();
        let report = world.verify();
        assert!(report.is_sound(), "seed {seed}: {report:?}");
    }
}
