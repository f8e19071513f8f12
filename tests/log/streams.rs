//! Streams without scanning: one stream forward and backward, its version, its last event, lists of streams and
//! types. All of it equals a filter over the whole log.

use std::collections::BTreeMap;

use annals::testkit::{Random, SeededRandom};
use annals::{Append, Durability, Event, Filter, Log, LogReader, Offset, ReadError, StreamRead, Version};

use crate::world::World;

/// What a stream's reader gives, as (version, offset).
#[track_caller]
fn given(read: StreamRead) -> Vec<(u64, u64)> {
    read.map(|event| {
        let event = event.unwrap_or_else(|error| panic!("{error}"));
        (event.version().raw(), event.offset().raw())
    })
    .collect()
}

/// All streams by one walk over the whole log.
fn walked(reader: &LogReader) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut streams: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for event in reader.read(..).system(true) {
        let event = event.unwrap();
        streams.entry(event.stream().into()).or_default().push((event.version().raw(), event.offset().raw()));
    }
    streams
}

/// Everything that is asked by stream equals a walk over the log.
#[track_caller]
fn check(reader: &LogReader, random: &SeededRandom) {
    for (name, expected) in walked(reader) {
        assert_eq!(given(reader.stream(&name)), expected, "{name} forward");
        let backward: Vec<_> = expected.iter().rev().copied().collect();
        assert_eq!(given(reader.stream(&name).backward()), backward, "{name} backward");
        let pick = || random.next_u64() % (expected.len() as u64 + 2);
        let (from, to) = (pick(), pick());
        let part = |version: u64| (from..to).contains(&version);
        let asked = || reader.stream(&name).from(Version::from_raw(from)).to(Version::from_raw(to));
        let some: Vec<_> = expected.iter().copied().filter(|(version, _)| part(*version)).collect();
        assert_eq!(given(asked()), some, "{name} from {from} to {to}");
        let some: Vec<_> = some.into_iter().rev().collect();
        assert_eq!(given(asked().backward()), some, "{name} from {from} to {to} backward");
        let last = expected.last().copied();
        assert_eq!(reader.version(&name).unwrap().map(Version::raw), last.map(|(version, _)| version), "{name}");
        assert_eq!(reader.last(&name).unwrap().map(|event| event.offset().raw()), last.map(|(_, offset)| offset));
        let filtered = reader.read(..).matching(Filter::new().stream_named(&name));
        let filtered: Vec<_> = filtered.map(|event| event.unwrap().offset().raw()).collect();
        assert_eq!(filtered, expected.iter().map(|(_, offset)| *offset).collect::<Vec<_>>(), "{name} filtered");
    }
    assert_eq!(given(reader.stream("nobody")), []);
    assert_eq!(reader.version("nobody").unwrap(), None);
    assert!(reader.last("nobody").unwrap().is_none());
}

/// Some appends over a few hot streams and many cold ones, of several types.
fn append_some(log: &Log, random: &SeededRandom, appends: u64) {
    let pick = |n: u64| random.next_u64() % n;
    for _ in 0..appends {
        let events = (0..pick(4) + 1).map(|_| {
            let stream = if pick(2) == 0 { format!("hot-{}", pick(3)) } else { format!("cold {}/#", pick(40)) };
            let event_type = if pick(50) == 0 { "Rare" } else { "Common" };
            let len = if pick(8) == 0 { 30_000 } else { pick(300) };
            Event::new(stream, event_type).data(vec![7; usize::try_from(len).unwrap()])
        });
        let append = Append::new().events(events.collect::<Vec<_>>()).durability(Durability::Os);
        drop(log.append(append).unwrap());
    }
    log.sync().unwrap();
}

#[test]
fn a_stream_is_read_by_its_batches_as_a_walk_over_the_log_finds_it() {
    for seed in 0..2 {
        let world = World::new(seed);
        let random = SeededRandom::new(seed);
        let log = world.open();
        let remote = world.reader();
        for round in 0..3 {
            append_some(&log, &random, 120);
            if round % 2 == 1 {
                while log.step().unwrap() {}
            }
            check(&log.reader(), &random);
            check(&remote, &random);
        }
        assert!(world.segments().len() > 2);
        log.close().unwrap();
        check(&remote, &random);
        check(&world.open().reader(), &random);
    }
}

#[test]
fn a_stream_read_ends_at_the_end_seen_when_it_was_made() {
    let world = World::new(1);
    let log = world.open();
    for _ in 0..3 {
        log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    }
    let (forward, backward) = (log.stream("s"), log.stream("s").backward());
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    log.append(Append::new().event(Event::new("s", "T")).durability(Durability::Os)).unwrap().wait().unwrap();
    assert_eq!(log.version("s").unwrap().map(Version::raw), Some(3), "the last one is not durable");
    assert_eq!(given(forward), [(0, 0), (1, 1), (2, 2)]);
    assert_eq!(given(backward), [(2, 2), (1, 1), (0, 0)]);
}

#[test]
fn a_damaged_batch_of_a_stream_is_an_error_and_no_event_of_it_is_seen() {
    let world = World::new(1);
    let log = world.open();
    let random = SeededRandom::new(1);
    append_some(&log, &random, 400);
    while log.step().unwrap() {}
    log.close().unwrap();
    let path = world.segments().remove(0);
    world.mem.flip_bit(&path, 8192, 3);
    let reader = world.reader();
    let error = reader.stream("hot-0").find_map(Result::err).expect("its first batches are damaged");
    assert!(matches!(error, ReadError::Damaged(_)), "{error}");
    assert!(given(reader.stream("hot-0").backward().from(reader.version("hot-0").unwrap().unwrap())).len() == 1);
}

#[test]
fn a_rare_type_is_found_by_the_indexes_as_by_looking_at_every_event() {
    let world = World::new(2);
    let log = world.open();
    let random = SeededRandom::new(2);
    let remote = world.reader();
    for round in 0..3 {
        append_some(&log, &random, 200);
        if round == 1 {
            while log.step().unwrap() {}
        }
        for reader in [&log.reader(), &remote] {
            let all: Vec<_> =
                reader.read(..).map(Result::unwrap).filter(|event| event.event_type() == "Rare").collect();
            assert!(!all.is_empty());
            let offsets = |events: &[Event]| events.iter().map(Event::offset).collect::<Vec<_>>();
            let found: Vec<_> = reader.read(..).types(["Ra*"]).map(Result::unwrap).collect();
            assert_eq!(offsets(&found), offsets(&all));
            let from = Offset::from_raw(random.next_u64() % reader.durable_end().unwrap().raw());
            let found: Vec<_> = reader.read(from..).types(["Rare"]).system(false).map(Result::unwrap).collect();
            assert_eq!(found.len(), all.iter().filter(|event| event.offset() >= from).count());
            let filter = Filter::new().types(["Rare"]).stream_named("hot-1");
            let both = reader.read(..).matching(filter).count();
            assert_eq!(both, all.iter().filter(|event| event.stream() == "hot-1").count());
            assert_eq!(reader.read(..).types(["None"]).count(), 0);
        }
    }
}

#[test]
fn every_offset_is_found_by_itself() {
    let world = World::new(3);
    let log = world.open();
    let random = SeededRandom::new(3);
    append_some(&log, &random, 200);
    while log.step().unwrap() {}
    append_some(&log, &random, 20);
    assert!(world.segments().len() > 1);
    for reader in [&log.reader(), &world.reader()] {
        let end = reader.durable_end().unwrap();
        for event in reader.read(..) {
            let event = event.unwrap();
            let found = reader.get(event.offset()).unwrap().expect("it was just read");
            assert_eq!(format!("{found:?}"), format!("{event:?}"));
            assert_eq!((found.version(), found.data()), (event.version(), event.data()));
        }
        assert!(reader.get(end).unwrap().is_none());
    }
}

#[test]
fn streams_and_types_are_listed_once_with_where_they_stand() {
    for seed in 0..3 {
        let world = World::new(seed);
        let log = world.open();
        let random = SeededRandom::new(seed);
        let remote = world.reader();
        for round in 0..3 {
            append_some(&log, &random, 150);
            log.append(Append::new().event(Event::new("x", "T")).source("import", &b"1"[..], annals::Expect::Any))
                .unwrap()
                .wait()
                .unwrap();
            if round == 1 {
                while log.step().unwrap() {}
            }
            for reader in [&log.reader(), &remote] {
                let walked = walked(reader);
                for (pattern, start, own) in [("*", "", false), ("cold *", "cold ", false), ("$*", "$", true)] {
                    let mut listed: Vec<_> = reader
                        .streams(pattern)
                        .map(|info| info.map(|info| (info.name, info.version.raw(), info.last.raw())).unwrap())
                        .collect();

                    listed.sort();
                    let expected: Vec<_> = walked
                        .iter()
                        .filter(|(name, _)| name.starts_with(start) && name.starts_with('$') == own)
                        .map(|(name, all)| (name.clone(), all.last().unwrap().0, all.last().unwrap().1))
                        .collect();
                    assert_eq!(listed, expected, "{pattern}");
                }
                let one: Vec<_> = reader.streams("hot-1").map(|info| info.unwrap().version).collect();
                assert_eq!(one, [reader.version("hot-1").unwrap().unwrap()]);
                assert_eq!(reader.streams("nobody").count(), 0);
                let mut types: BTreeMap<String, u64> = BTreeMap::new();
                reader.read(..).for_each(|event| *types.entry(event.unwrap().event_type().into()).or_default() += 1);
                assert_eq!(reader.types().unwrap(), types.into_iter().collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn damaged_indexes_of_a_segment_change_no_answer() {
    let world = World::new(5);
    let log = world.open();
    let random = SeededRandom::new(5);
    append_some(&log, &random, 200);
    while log.step().unwrap() {}
    log.close().unwrap();
    let path = world.segments().remove(0);
    let len = world.bytes(&path).len();
    let (expected, types) = (walked(&world.reader()), world.reader().types().unwrap());
    // Behind the batches, before the trailer: in the footer.
    world.mem.flip_bit(&path, len - 700, 5);
    assert!(!world.verify().is_sound());
    let reader = world.reader();
    check(&reader, &random);
    assert_eq!(walked(&reader), expected);
    assert_eq!(reader.types().unwrap(), types);
    assert_eq!(reader.streams("*").count(), expected.len());
    (0..reader.durable_end().unwrap().raw()).for_each(|n| drop(reader.get(Offset::from_raw(n)).unwrap().unwrap()));
}
