//! Whichever call on the disk fails, and however: nothing is acknowledged falsely, and a log opened again
//! has all that was acknowledged.

use std::io::ErrorKind;

use annals::testkit::{Crash, Fault, Op, SeededRandom};
use annals::{Append, AppendError, Durability, Event, Log};

use crate::world::{Model, World, all};

/// Opens, appends with both durabilities, rolls, seals, steps and closes; stops at the first failure.
fn workload(world: &World, model: &mut Model) -> (Option<Log>, bool) {
    let random = SeededRandom::new(77);
    let Ok(log) = world.try_open() else { return (None, false) };
    for _ in 0..25 {
        if !model.step(world, &log, &random) {
            return (Some(log), false);
        }
    }
    let other = log.clone();
    match log.close() {
        Ok(()) => model.durable = model.events.len() as u64,
        Err(_) => return (Some(other), false),
    }
    (None, true)
}

fn calls() -> u64 {
    let world = World::new(5);
    let mut model = Model::default();
    assert!(workload(&world, &mut model).1);
    assert!(world.segments().len() > 2, "it rolls");
    world.disk.calls()
}

fn run(fault: Fault) {
    let mut world = World::new(5);
    let mut model = Model::default();
    world.disk.inject(fault);
    let (log, done) = workload(&world, &mut model);
    world.disk.heal();
    let context = format!("{fault:?}");
    if let Some(log) = log {
        let seen = all(&log.reader()).len() as u64;
        assert!(seen >= model.durable, "{context}: reading of durable events goes on");
        assert!(!done);
        match log.append(Event::new("x", "T")) {
            Err(AppendError::Poisoned(_) | AppendError::Closed) => {
                assert!(log.append(Event::new("x", "T")).is_err(), "{context}: once poisoned, always poisoned");
                assert_eq!(all(&log.reader()).len() as u64, seen, "{context}: no later sync makes more visible");
            }
            Err(error) => panic!("{context}: {error}"),
            Ok(receipt) => {
                // The failure was no more than a lack of space, or met nothing that matters to appends.
                receipt.wait().unwrap_or_else(|error| panic!("{context}: {error}"));
                model.push("x", Vec::new());
                model.durable = model.events.len() as u64;
            }
        }
        drop(log);
    }
    // In the same run of the machine: whatever the process had written is still there.
    let least = model.durable.max(model.written);
    let log = world.try_open().unwrap_or_else(|error| panic!("{context}: {error}"));
    let end = model.check(&log.reader(), least);
    model.cut(end);
    assert!(log.append(Append::new().event(Event::new("y", "T"))).unwrap().wait().is_ok());
    model.push("y", Vec::new());
    model.durable = end + 1;
    // What a reopened log shows is durable, also where a failed sync had lost it.
    world.power_cut(Some(log), Crash::LoseUnsynced);
    let report = world.verify();
    assert!(report.is_sound(), "{context}: {report:?}");
    let log = world.open();
    model.check(&log.reader(), end + 1);
}

#[test]
fn one_failed_call_costs_nothing_that_was_acknowledged() {
    for nth in 0..calls() {
        for (kind, short) in [(ErrorKind::Other, false), (ErrorKind::StorageFull, true)] {
            run(Fault { op: None, nth, forever: false, kind, short });
        }
    }
}

#[test]
fn a_disk_that_fails_from_some_call_on_costs_nothing_that_was_acknowledged() {
    for nth in 0..calls() {
        let kind = if nth % 2 == 0 { ErrorKind::Other } else { ErrorKind::StorageFull };
        run(Fault { op: None, nth, forever: true, kind, short: nth % 3 == 0 });
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_log_is_opened_again() {
    let mut world = World::new(1);
    let log = world.open();
    log.append(Event::new("s", "Kept")).unwrap().wait().unwrap();
    world.disk.inject(Fault::once(Op::Sync, 0, ErrorKind::Other));
    let error = log.append(Event::new("s", "Unknown")).unwrap().wait().unwrap_err();
    assert!(matches!(error, AppendError::OutcomeUnknown(_)), "{error}");
    assert!(!error.nothing_written());
    // The next sync of the same bytes would report success.
    let error = log.append(Event::new("s", "Late")).unwrap_err();
    assert!(matches!(error, AppendError::Poisoned(_)), "{error}");
    assert!(error.nothing_written() && error.to_string().contains("open it again"), "{error}");
    assert!(matches!(log.sync(), Err(AppendError::OutcomeUnknown(_))));
    assert_eq!(log.durable_end().raw(), 1);
    assert_eq!(all(&log.reader()).len(), 1);
    assert_eq!(all(&world.reader()).len(), 1, "in other processes too");
    assert!(log.close().is_err());
    // The page cache still shows the event; opening makes it durable before showing it.
    let log = world.open();
    assert_eq!(log.durable_end().raw(), 2);
    world.power_cut(Some(log), Crash::LoseUnsynced);
    assert_eq!(all(&world.open().reader()).len(), 2);
}

#[test]
fn receipts_in_flight_learn_of_a_failure() {
    let world = World::new(1);
    let log = world.open();
    let receipts: Vec<_> = (0..5).map(|_| log.append(Event::new("s", "T")).unwrap()).collect();
    world.disk.inject(Fault::once(Op::Write, 0, ErrorKind::Other));
    for receipt in receipts {
        assert!(matches!(receipt.wait(), Err(AppendError::OutcomeUnknown(_))));
    }
    let os = Append::new().event(Event::new("s", "T")).durability(Durability::Os);
    assert!(matches!(log.append(os), Err(AppendError::Poisoned(_))));
}

#[test]
fn a_failed_seal_is_tried_again_and_harms_no_append() {
    let world = World::new(1);
    let log = world.open();
    for _ in 0..2 {
        log.append(Event::new("s", "T").data(vec![1; 200_000])).unwrap().wait().unwrap();
    }
    assert_eq!(world.segments().len(), 2);
    world.disk.inject(Fault::once(Op::SetLen, 0, ErrorKind::Other));
    while log.step().unwrap() {}
    assert!(log.reader().stat().unwrap().segments.iter().all(|segment| !segment.sealed));
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    world.disk.heal();
    assert!(log.step().unwrap());
    assert!(log.reader().stat().unwrap().segments[0].sealed);
    log.close().unwrap();
    let report = world.verify();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
}
