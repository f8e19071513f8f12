//! The state of a handler, from its records alone: now, at a record, at a position.

use annals::testkit::{Recorder, rebuild_into};
use annals::{LogReader, MemoryView, Space, StateError, StateReader, StateValue, View};
use bytes::Bytes;

use crate::world::{NAME, World, events, recorder, rows_of, user, users};

fn json(text: &'static str) -> StateValue {
    StateValue::Json(Bytes::from_static(text.as_bytes()))
}

#[test]
fn the_state_is_the_fold_of_the_records_in_the_order_of_the_keys() {
    let world = World::new(1);
    let log = world.log();
    events(&log, 10);
    let mut records = recorder();
    let (a, one) = user("a", "1");
    let (b, two) = user("b", "[2, 2]");
    let raw = [&[0][..], b"\xff"].concat();
    records.step(&log, 3, &[(0, &b, Some(&two)), (1, &a, Some(&one)), (2, b"\0parked", Some(b"\0x"))]).unwrap();
    records.step(&log, 5, &[(3, &a, None), (4, b"\x01\xfe", Some(&raw))]).unwrap();
    records.step(&log, 6, &[(5, &a, Some(&two)), (5, &a, Some(&one))]).unwrap();
    let state = world.state().unwrap();
    assert_eq!(rows_of(&state), users(records.rows()));
    let keys: Vec<Bytes> = rows_of(&state).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [&b"a"[..], b"b", b"\xfe"], "the handler's own rows are not the user's");
    assert_eq!(state.get(b"b").unwrap(), Some(json("[2, 2]")));
    assert_eq!(state.get(b"\xfe").unwrap(), Some(StateValue::Raw(Bytes::from_static(b"\xff"))));
    assert_eq!((state.get(b"parked").unwrap(), state.get(b"").unwrap()), (None, None));
    assert_eq!((state.cursor().raw(), state.record().map(annals::Offset::raw)), (6, Some(12)));
}

#[test]
fn who_never_ran_has_no_state() {
    let world = World::new(1);
    let log = world.log();
    assert!(matches!(world.state(), Err(StateError::NoHandler { handler }) if handler == NAME));
    let mut records = recorder();
    records.step(&log, 1, &[]).unwrap();
    assert_eq!(rows_of(&world.state().unwrap()), [], "no rows is a state too");
    let reader = world.reader();
    let other = StateReader::new(&reader, NAME).generation(2).open();
    assert!(matches!(other, Err(StateError::NoGeneration { generation: 2, live: Some(1), .. })));
    assert!(matches!(StateReader::new(&reader, "a ledger").open(), Err(StateError::NoHandler { .. })));
    assert!(matches!(StateReader::new(&reader, &"x".repeat(2000)).open(), Err(StateError::Invalid(_))));
}

#[test]
fn a_generation_keeps_its_state_beside_the_live_one_and_through_the_cut_over() {
    let world = World::new(1);
    let log = world.log();
    events(&log, 10);
    let (a, one) = user("a", "1");
    let (b, two) = user("b", "2");
    let mut old = recorder();
    let mut new = Recorder::new(NAME, 2, false);
    old.step(&log, 5, &[(0, &a, Some(&one))]).unwrap();
    new.step(&log, 3, &[(0, &b, Some(&one))]).unwrap();
    let of = |reader: &LogReader, generation: Option<u32>| {
        let wanted = StateReader::new(reader, NAME);
        let state = generation.map_or(wanted.clone(), |generation| wanted.generation(generation)).open().unwrap();
        rows_of(&state)
    };
    let reader = world.reader();
    assert_eq!((of(&reader, None), of(&reader, Some(2))), (users(old.rows()), users(new.rows())));
    new.step(&log, 5, &[(4, &a, Some(&two))]).unwrap();
    new.cut_over();
    new.step(&log, 5, &[]).unwrap();
    new.step(&log, 7, &[(6, &b, Some(&two))]).unwrap();
    let reader = world.reader();
    assert_eq!((of(&reader, None), of(&reader, Some(1))), (users(new.rows()), users(old.rows())));
}

#[test]
fn a_position_within_a_record_is_told_apart_where_the_record_holds_every_write() {
    for exact in [true, false] {
        let world = World::new(1);
        let log = world.log();
        events(&log, 10);
        let mut records = recorder().exact(exact);
        let [one, two, three] = ["1", "2", "3"].map(|json| user("a", json).1);
        let (a, b) = (user("a", "").0, user("b", "").0);
        records.step(&log, 2, &[(0, &a, Some(&one))]).unwrap();
        let writes = [(2, &a[..], Some(&two[..])), (3, &b, Some(&one)), (4, &a, Some(&three)), (4, &b, None)];
        records.step(&log, 6, &writes).unwrap();
        type Told<'t> = (u64, u64, bool, &'t [(&'t str, &'t StateValue)]);
        let expected: [Told<'_>; 7] = [
            (0, 0, exact, &[]),
            (1, 0, exact, &[("a", &json("1"))]),
            (2, 2, true, &[("a", &json("1"))]),
            (3, 2, exact, &[("a", &json("2"))]),
            (4, 2, exact, &[("a", &json("2")), ("b", &json("1"))]),
            (5, 2, exact, &[("a", &json("3"))]),
            (6, 6, true, &[("a", &json("3"))]),
        ];
        for (position, cursor, is_exact, rows) in expected {
            let state = world.at(position);
            assert_eq!((state.cursor().raw(), state.is_exact()), (cursor, is_exact), "at {position}, {exact}");
            let found = rows_of(&state);
            let found: Vec<(&str, &StateValue)> =
                found.iter().map(|(key, value)| (std::str::from_utf8(key).unwrap(), value)).collect();
            let before = expected.iter().find(|(at, ..)| *at == cursor).unwrap();
            assert_eq!(found, if exact { rows } else { before.3 }, "at {position}, {exact}");
        }
        let beyond = world.at(9);
        assert_eq!((beyond.cursor().raw(), beyond.is_exact()), (6, false), "it has not been handled yet");
        assert_eq!(rows_of(&beyond), users(records.rows()));
    }
}

#[test]
fn the_state_after_each_record_can_be_had_whatever_snapshots_there_are() {
    let world = World::new(1);
    let log = world.log();
    let mut records = recorder();
    let mut states = Vec::new();
    for n in 0..30_u64 {
        let (key, value) = user(&(n % 7).to_string(), &n.to_string());
        let offset = records.step(&log, n + 1, &[(n, &key, (n % 4 > 0).then_some(&value[..]))]).unwrap();
        states.push((offset, users(records.rows())));
        if n % 9 == 8 {
            world.snapshot().unwrap();
        }
    }
    let reader = world.reader();
    for (offset, rows) in states {
        let state = StateReader::new(&reader, NAME).up_to(offset).open().unwrap();
        assert_eq!((state.record(), rows_of(&state)), (Some(offset), rows));
    }
}

#[test]
fn rows_that_do_not_add_up_to_what_the_record_says_are_refused() {
    let world = World::new(1);
    let log = world.log();
    let mut records = recorder();
    let (a, one) = user("a", "1");
    records.step_saying(&log, 1, &[(0, &a, Some(&one))], 1).unwrap();
    let view = MemoryView::new();
    for error in [world.state().map(drop), rebuild_into(&world.reader(), &view, NAME, 1).map(drop)] {
        assert!(matches!(error, Err(StateError::Mismatch { expected: 2, found: 1, .. })), "{error:?}");
    }
    assert_eq!(view.bookmark(&Space::new(NAME, 1)).unwrap(), None);
    records.step(&log, 1, &[]).unwrap();
    assert_eq!(rows_of(&world.state().unwrap()), users(records.rows()), "the last record decides");
}

#[test]
fn a_view_is_made_again_with_the_bookmark_of_the_newest_record() {
    let world = World::new(1);
    let log = world.log();
    let mut records = recorder();
    let rows: Vec<_> = (0..10_000).map(|n| user(&format!("{n:06}"), &n.to_string())).collect();
    let writes: Vec<_> = rows.iter().map(|(key, value)| (0, &key[..], Some(&value[..]))).collect();
    records.step(&log, 1, &writes).unwrap();
    world.snapshot().unwrap();
    let last = records.step(&log, 2, &[(1, b"\0own", Some(b"\0x")), (1, &rows[7].0, None)]).unwrap();
    let (view, space) = (MemoryView::new(), Space::new(NAME, 1));
    let stale = annals::Change { key: Bytes::from_static(b"\x01stale"), value: Some(Bytes::new()) };
    let bookmark = annals::Bookmark { log: log.id(), commit: last, digest: annals::Digest::EMPTY, rows: 1 };
    view.apply(&space, &[stale], &bookmark).unwrap();
    assert_eq!(rebuild_into(&world.reader(), &view, NAME, 1).unwrap(), Some(last));
    let found: std::collections::BTreeMap<_, _> = view.scan(&space, b"", b"").map(Result::unwrap).collect();
    assert_eq!(&found, records.rows());
    let digest = found
        .iter()
        .fold(annals::Digest::EMPTY, |sum, (key, value)| sum.with(annals::Digest::of(log.id(), key, value)));
    let expected = annals::Bookmark { log: log.id(), commit: last, digest, rows: found.len() as u64 };
    assert_eq!(view.bookmark(&space).unwrap(), Some(expected));
}
