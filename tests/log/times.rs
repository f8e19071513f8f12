//! Finding events by time: by when they happened, which may jump by years, and by when they were recorded.

use annals::testkit::{Random, SeededRandom};
use annals::{Append, Durability, Event, Log, LogReader, Offset, ReadError, Timestamp};

use crate::world::{DIR, SEGMENT, World};

const YEAR_US: i64 = 365 * 24 * 3600 * 1_000_000;

fn at(us: i64) -> Timestamp {
    Timestamp::from_micros(us)
}

fn offsets(events: impl Iterator<Item = Result<Event, ReadError>>) -> Vec<u64> {
    events.map(|event| event.unwrap_or_else(|error| panic!("{error}")).offset().raw()).collect()
}

/// A log whose event times run on, and jump back and forth by years; some events have none.
fn filled(world: &World, log: &Log, random: &SeededRandom, appends: usize) {
    let mut time = 1_700_000_000_000_000;
    for n in 0..appends {
        if random.next_u64().is_multiple_of(12) {
            time = (random.next_u64() % 40) as i64 * YEAR_US - 5 * YEAR_US;
        }
        time += (random.next_u64() % 1000) as i64;
        let mut append = Append::new().durability(Durability::Os);
        for _ in 0..1 + random.next_u64() % 4 {
            let event =
                Event::new(format!("s-{}", n % 7), "T").data(vec![n as u8; (random.next_u64() % 6000) as usize]);
            append = append.event(if random.next_u64().is_multiple_of(9) { event } else { event.time(at(time)) });
        }
        drop(log.append(append).unwrap());
        if random.next_u64().is_multiple_of(3) {
            log.append(Append::new().source("s", vec![n as u8], annals::Expect::Any)).unwrap().wait().unwrap();
        }
        world.clock.advance_ms(random.next_u64() % 3);
        if n % 40 == 0 {
            while log.step().unwrap() {}
        }
    }
    log.sync().unwrap();
}

fn check(reader: &LogReader, random: &SeededRandom) {
    let events: Vec<Event> = reader.read(..).system(true).map(Result::unwrap).collect();
    let pick = || events[random.next_u64() as usize % events.len()].time().as_micros();
    for round in 0..40 {
        let from = pick() + (random.next_u64() % 3) as i64 - 1;
        let to = match round % 3 {
            0 => from + 1,
            1 => from + 500,
            _ => pick(),
        };
        let wanted =
            |event: &&Event| !event.is_system() && from <= event.time().as_micros() && event.time().as_micros() < to;
        let expected: Vec<u64> = events.iter().filter(wanted).map(|event| event.offset().raw()).collect();
        assert_eq!(offsets(reader.read(..).happened(at(from)..at(to))), expected, "{from} to {to}");
        assert_eq!(offsets(reader.read(..).system(true).happened(at(from)..at(to))), expected);
        let mut back = offsets(reader.read(..).happened(at(from)..at(to)).backward());
        back.reverse();
        assert_eq!(back, expected, "{from} to {to}, backward");
        let mut batches = Vec::new();
        for batch in reader.batches(..).backward().happened(at(from)..at(to)) {
            batches.splice(0..0, batch.unwrap().events().map(|event| event.offset().raw()).collect::<Vec<_>>());
        }
        assert_eq!(batches, expected);
        let middle = events.len() as u64 / 2;
        let half = reader.read(Offset::from_raw(middle)..).happened(at(from)..at(to));
        assert_eq!(offsets(half), expected.iter().copied().filter(|offset| *offset >= middle).collect::<Vec<_>>());
    }
    let users = events.iter().filter(|event| !event.is_system()).count();
    assert_eq!(reader.read(..).happened(..).count(), users);
}

#[test]
fn a_window_of_event_time_gives_what_a_filter_over_everything_gives() {
    for seed in 1..4 {
        let (world, random) = (World::new(seed), SeededRandom::new(seed));
        let log = world.open();
        filled(&world, &log, &random, 160);
        assert!(world.segments().len() > 3);
        check(&log.reader(), &random);
        check(&world.reader(), &random);
        log.close().unwrap();
        check(&world.open().reader(), &random);
    }
}

#[test]
fn a_narrow_window_is_found_without_reading_the_rest() {
    let world = World::new(1);
    let log = world.options().segment_bytes_max(32 * SEGMENT).open(DIR).unwrap();
    for n in 0..3000i64 {
        let time = if n % 1000 == 700 { at(n) } else { at(YEAR_US + n) };
        let event = Event::new("s", "T").data(vec![n as u8; 2000]).time(time);
        log.append(Append::new().event(event).durability(Durability::Os)).unwrap().wait().unwrap();
    }
    log.sync().unwrap();
    while log.step().unwrap() {}
    let calls = |expected: &[u64], window: std::ops::Range<i64>| {
        let before = world.disk.calls();
        assert_eq!(offsets(log.read(..).happened(at(window.start)..at(window.end))), expected);
        world.disk.calls() - before
    };
    let everything = calls(&(0..3000).collect::<Vec<_>>(), 0..2 * YEAR_US);
    let narrow = calls(&[700, 1700, 2700], 0..YEAR_US);
    assert!(narrow < 30 && narrow < everything, "{narrow} calls against {everything}");
    assert!(calls(&[], -5..0) < 2, "the end of the active segment is looked at, and nothing else");
}

#[test]
fn the_first_event_recorded_at_or_after_a_moment_is_found() {
    let (world, random) = (World::new(1), SeededRandom::new(4));
    let log = world.open();
    assert_eq!(log.offset_recorded(at(0)).unwrap().raw(), 0);
    filled(&world, &log, &random, 150);
    let recorded: Vec<i64> = log.read(..).system(true).map(|event| event.unwrap().recorded().as_micros()).collect();
    for reader in [log.reader(), world.reader()] {
        for (n, time) in recorded.iter().enumerate().step_by(3) {
            for moment in [time - 1, *time, time + 1] {
                let expected = recorded.partition_point(|time| *time < moment) as u64;
                assert_eq!(reader.offset_recorded(at(moment)).unwrap().raw(), expected, "near {n}");
            }
        }
        assert_eq!(reader.offset_recorded(at(i64::MAX)).unwrap(), reader.durable_end().unwrap());
    }
    assert_eq!(log.offset_recorded(at(i64::MIN)).unwrap().raw(), 0);
}
