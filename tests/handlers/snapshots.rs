//! Snapshots: what they spare, what they survive, and that nothing in them is believed without proof.

use std::io::ErrorKind;

use annals::testkit::{Crash, Fault, Recorder};
use annals::{Log, SnapshotError};
use proptest::prelude::*;

use crate::world::{NAME, World, recorder, rows_of, user, users};

/// A record with some rows: `n` says which.
fn step(records: &mut Recorder, log: &Log, n: u64) {
    let (key, value) = user(&format!("{:02}", n * 7 % 13), &n.to_string());
    let gone = user(&format!("{:02}", n * 5 % 13), "").0;
    let own = [0, (n % 3) as u8];
    records.step(log, n + 1, &[(n, &gone, None), (n, &key, Some(&value)), (n, &own, Some(&[0]))]).unwrap();
}

/// A world with snapshots after the 20th and the 30th of 40 records, the log closed.
fn world() -> (World, Recorder) {
    let world = World::new(3);
    let log = world.log();
    let mut records = recorder();
    for n in 0..40 {
        step(&mut records, &log, n);
        if n == 19 || n == 29 {
            world.snapshot().unwrap();
        }
    }
    log.close().unwrap();
    (world, records)
}

#[test]
fn two_are_kept_and_none_has_a_name_of_the_handlers() {
    let world = World::new(1);
    let log = world.log();
    let mut records = recorder();
    for n in 0..5 {
        step(&mut records, &log, n);
        let last = world.snapshot().unwrap();
        assert_eq!(world.files().len(), 2.min(n as usize + 1));
        assert!(world.files()[0].ends_with(format!("{:020}.snap", last.raw())));
        assert_eq!(world.snapshot(), None, "there is one of the newest record");
    }
    assert!(!world.files()[0].to_string_lossy().contains("ledger"));
    log.close().unwrap();
    let report = world.verify();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
}

#[test]
fn one_is_due_when_the_records_since_the_last_have_sixteen_mebibytes() {
    let world = World::new(1);
    let log = world.log();
    let mut records = recorder();
    let (key, mut value) = user("a", "1");
    value.resize((1 << 20) - key.len(), 0);
    let due = || annals::testkit::snapshot_is_due(&world.reader(), NAME, 1).unwrap();
    for n in 1..=40 {
        records.step(&log, n, &[(n - 1, &key, Some(&value))]).unwrap();
        assert_eq!(due(), n % 16 == 0, "after {n} records");
        if due() {
            world.snapshot().unwrap();
            assert!(!due());
        }
    }
}

#[test]
fn any_flipped_bit_is_found_and_the_state_is_what_it_was() {
    let (world, records) = world();
    let expected = users(records.rows());
    for (nth, path) in world.files().into_iter().enumerate() {
        let bytes = world.mem.read_file(&path).unwrap();
        for byte in 0..bytes.len() {
            world.mem.flip_bit(&path, byte, (byte % 8) as u8);
            let state = world.state().unwrap();
            // The older one is not looked at while the newer one holds.
            let damaged =
                matches!(state.passed_over(), [SnapshotError::Damaged { .. } | SnapshotError::Unsupported { .. }]);
            assert!(damaged || nth == 1, "byte {byte}: {:?}", state.passed_over());
            if byte % 16 == 0 {
                assert_eq!(rows_of(&state), expected, "byte {byte}");
                assert_eq!(world.verify().damage.len(), 1, "byte {byte}");
            }
            world.mem.write_file(&path, &bytes);
        }
    }
}

#[test]
fn missing_extra_and_exchanged_bytes_are_found() {
    let (world, records) = world();
    let expected = users(records.rows());
    let files = world.files();
    let [newer, older] = [0, 1].map(|nth: usize| world.mem.read_file(&files[nth]).unwrap());
    let mut wrong = vec![older, [&newer[..], &[0; 64]].concat(), [&newer[..], &newer[..]].concat(), Vec::new()];
    wrong.extend((0..newer.len()).step_by(64).map(|cut| newer[..cut].to_vec()));
    wrong.extend((64..newer.len()).step_by(64).map(|cut| newer[cut..].to_vec()));
    for bytes in wrong {
        world.mem.write_file(&files[0], &bytes);
        let state = world.state().unwrap();
        assert_eq!(state.passed_over().len(), 1, "{} bytes", bytes.len());
        assert_eq!(rows_of(&state), expected);
        assert!(!world.verify().is_sound());
    }
    // Both gone: the records alone.
    files.iter().for_each(|file| world.mem.write_file(file, b""));
    let state = world.state().unwrap();
    assert_eq!((state.passed_over().len(), rows_of(&state)), (2, expected));
}

#[test]
fn a_snapshot_of_another_history_is_passed_over() {
    let (world, _) = world();
    let files = world.files();
    let newer = world.mem.read_file(&files[0]).unwrap();
    // The log as it would be without its last records, put back, and then another history.
    let other = World::new(3);
    let log = other.log();
    let mut records = recorder();
    for n in 0..35 {
        step(&mut records, &log, if n == 29 { 77 } else { n });
    }
    log.close().unwrap();
    assert_eq!(other.reader().id(), world.reader().id(), "one log, two histories");
    other.mem.write_file(&files[0], &newer);
    let state = other.state().unwrap();
    assert!(matches!(state.passed_over(), [SnapshotError::Other { .. }]), "{:?}", state.passed_over());
    assert_eq!(rows_of(&state), users(records.rows()));
}

#[test]
fn a_snapshot_that_cannot_be_made_leaves_those_there_are() {
    let (world, records) = world();
    let before = world.files();
    let calls = world.disk.calls();
    world.snapshot().unwrap();
    let all = world.disk.calls() - calls;
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for nth in 0..all {
            let (world, _) = self::world();
            world.disk.inject(Fault { op: None, nth, forever: true, kind, short: false });
            drop(world.try_reader().map(|reader| annals::testkit::make_snapshot(&reader, NAME, 1)));
            world.disk.heal();
            assert_eq!(rows_of(&world.state().unwrap()), users(records.rows()), "call {nth}, {kind}");
            let now = world.files();
            assert!(before.iter().any(|file| now.contains(file)), "call {nth}, {kind}: {now:?}");
        }
    }
}

#[test]
fn a_power_cut_while_one_is_made_loses_no_state() {
    let (_, records) = world();
    for call in 0..40 {
        for choice in [Crash::LoseUnsynced, Crash::KeepAll, Crash::Seeded(call)] {
            let (world, _) = world();
            world.disk.inject(Fault { op: None, nth: call, forever: true, kind: ErrorKind::Other, short: true });
            drop(world.try_reader().map(|reader| annals::testkit::make_snapshot(&reader, NAME, 1)));
            world.disk.heal();
            world.mem.crash(choice);
            let state = world.state().unwrap();
            assert!(state.passed_over().is_empty(), "a file that has its name is whole: {:?}", state.passed_over());
            assert_eq!(rows_of(&state), users(records.rows()), "after {call} calls");
            assert!(world.verify().is_sound(), "after {call} calls");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Records, snapshots, damage and loss in any order: the state is the fold of the records.
    #[test]
    fn whatever_becomes_of_snapshots_the_state_is_the_fold(
        deeds in prop::collection::vec((0u8..8, any::<u16>(), any::<u16>()), 1..60),
    ) {
        let world = World::new(5);
        let log = world.log();
        let mut records = recorder();
        let (mut cursor, mut any) = (0, false);
        for (deed, a, b) in deeds {
            match deed {
                0..5 => {
                    let writes: Vec<_> = (0..a % 40).map(|n| {
                        let row = user(&(n.wrapping_mul(b) % 97).to_string(), &"x".repeat(usize::from(b % 3000)));
                        (row.0, (n.wrapping_add(b) % 3 > 0).then_some(row.1))
                    }).collect();
                    let writes: Vec<_> = writes.iter().map(|(key, value)| (cursor, &key[..], value.as_deref())).collect();
                    cursor += 1;
                    records.step(&log, cursor, &writes).unwrap();
                    any = true;
                }
                5 if any => drop(world.snapshot()),
                6 => if let Some(file) = world.files().get(usize::from(a % 2)) {
                    let len = world.mem.read_file(file).unwrap().len();
                    if len > 0 {
                        world.mem.flip_bit(file, usize::from(b) % len, (a % 8) as u8);
                    }
                }
                _ => if let Some(file) = world.files().get(usize::from(a % 2)) {
                    let bytes = world.mem.read_file(file).unwrap();
                    world.mem.write_file(file, &bytes[..usize::from(b) % (bytes.len() + 1)]);
                }
            }
            if any {
                prop_assert_eq!(rows_of(&world.state().unwrap()), users(records.rows()));
            }
        }
    }
}
