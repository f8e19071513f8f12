//! Reading from the end back: the same events as forward, whatever the range, the filter and the segments are.

use annals::testkit::{Random, SeededRandom};
use annals::{Append, Codec, Durability, Event, Log, LogReader, Offset, ReadError};

use crate::world::{Model, SEGMENT, World, all};

/// Offset, stream, version and data of each event.
type Row = (u64, String, u64, Vec<u8>);

fn rows(events: impl Iterator<Item = Result<Event, ReadError>>) -> Vec<Row> {
    let row =
        |event: Event| (event.offset().raw(), event.stream().to_owned(), event.version().raw(), event.data().to_vec());
    events.map(|event| row(event.unwrap_or_else(|error| panic!("{error}")))).collect()
}

fn filled(world: &World, seed: u64, steps: usize) -> Log {
    let (log, random, mut model) = (world.open(), SeededRandom::new(seed), Model::default());
    for _ in 0..steps {
        assert!(model.step(world, &log, &random));
    }
    log.sync().unwrap();
    log
}

fn check(reader: &LogReader, random: &SeededRandom) {
    let end = reader.durable_end().unwrap().raw();
    for round in 0..12 {
        let (a, b) = (random.next_u64() % (end + 1), random.next_u64() % (end + 3));
        let range = match round {
            0 => Offset::from_raw(0)..Offset::from_raw(end),
            _ => Offset::from_raw(a.min(b))..Offset::from_raw(a.max(b)),
        };
        let read = || match round % 3 {
            0 => reader.read(range.clone()).system(true),
            1 => reader.read(range.clone()),
            _ => reader.read(range.clone()).streams("s-1").streams("$*"),
        };
        let mut expected = rows(read());
        let last: Vec<Row> = expected.iter().rev().take(5).rev().cloned().collect();
        expected.reverse();
        assert!(rows(read().backward()) == expected, "{range:?}");
        assert!(rows(read().tail(5).unwrap().into_iter().map(Ok)) == last, "{range:?}");
        let mut batches: Vec<u64> = Vec::new();
        for batch in reader.batches(range.clone()).backward() {
            batches.extend(batch.unwrap().events_backward().map(|event| event.offset().raw()));
        }
        let offsets: Vec<u64> = rows(reader.read(range).system(true)).iter().rev().map(|row| row.0).collect();
        assert_eq!(batches, offsets);
    }
}

#[test]
fn backward_gives_what_forward_gives_from_the_last_to_the_first() {
    for (seed, codec) in [(1, Codec::None), (2, Codec::None), (3, Codec::Lz4)] {
        let world = World { codec, ..World::new(seed) };
        let log = filled(&world, seed, 250);
        let random = SeededRandom::new(seed + 100);
        assert!(world.segments().len() > 2 || codec == Codec::Lz4);
        check(&log.reader(), &random);
        check(&world.reader(), &random);
        while log.step().unwrap() {}
        check(&log.reader(), &random);
        log.close().unwrap();
        check(&world.reader(), &random);
        check(&world.open().reader(), &random);
    }
}

#[test]
fn a_reader_goes_back_from_the_end_that_was_durable_when_it_began() {
    let world = World::new(1);
    let log = world.open();
    let put = |data: &'static [u8]| log.append(Event::new("s", "T").data(data)).unwrap();
    put(b"0").wait().unwrap();
    put(b"1").wait().unwrap();
    let (read, remote) = (log.read(..).backward(), world.reader().read(..).backward());
    put(b"2").wait().unwrap();
    drop(put(b"3"));
    for read in [read, remote] {
        assert_eq!(rows(read).iter().map(|row| row.0).collect::<Vec<_>>(), [1, 0]);
    }
    assert_eq!(
        rows(log.read(..).tail(2).unwrap().into_iter().map(Ok)).iter().map(|row| row.0).collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(log.read(Offset::from_raw(7)..).backward().next().is_none());
    assert!(log.read(..).tail(0).unwrap().is_empty());
}

#[test]
fn damage_is_met_from_behind_after_what_stands_behind_its_block() {
    let world = World::new(1);
    let log = filled(&world, 5, 150);
    log.close().unwrap();
    let (path, good) = (world.segments().remove(0), all(&world.reader()));
    let first = world.bytes(&world.segments()[1]).len() as u64;
    assert!(first > 0);
    let at = world.bytes(&path).windows(8).position(|window| window == good[0].data[..8].to_vec()).unwrap();
    world.mem.flip_bit(&path, at, 0);
    let mut read = world.reader().read(..).system(true).backward();
    let mut given = Vec::new();
    let error = loop {
        match read.next() {
            Some(Ok(event)) => given.push(event.offset().raw()),
            Some(Err(error)) => break error,
            None => panic!("the damage was passed over"),
        }
    };
    assert!(matches!(error, ReadError::Damaged(_)), "{error}");
    assert!(read.next().is_none());
    let expected: Vec<u64> = (0..good.len() as u64).rev().take(given.len()).collect();
    assert_eq!(given, expected);
    assert!(given.len() > good.len() / 2);
}

#[test]
fn the_last_events_cost_some_reads_and_a_reader_does_not_read_the_active_segment_twice() {
    let world = World::new(1);
    let log = world.options().segment_bytes_max(32 * SEGMENT).open(crate::world::DIR).unwrap();
    for n in 0..3000u32 {
        let event = Event::new("s", "T").data(vec![n as u8; 2000]);
        drop(log.append(Append::new().event(event).durability(Durability::Os)).unwrap());
    }
    log.sync().unwrap();
    let calls = |tail: &dyn Fn() -> Vec<Event>| {
        let before = world.disk.calls();
        assert_eq!(tail().len(), 10);
        world.disk.calls() - before
    };
    let local = calls(&|| log.read(..).tail(10).unwrap());
    assert!(local < 10, "{local} calls of a process that writes");
    let reader = world.reader();
    let first = calls(&|| reader.read(..).tail(10).unwrap());
    let second = calls(&|| reader.read(..).tail(10).unwrap());
    assert!(first > second && second < 12, "{first} calls, then {second}");
}
