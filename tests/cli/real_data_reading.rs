//! Real events, found again by every coordinate: streams forward and backward, `#N`, times, lists. Each answer equals a
//! filter over the whole log.
//!
//! As in `real_data`, the files are in the directory ANNALS_TEST_DATA.

use std::collections::BTreeMap;
use std::path::Path;

use annals::{Event, LogReader, Timestamp, Version};
use serde_json::Value;

use crate::common::{ask, run};
use crate::real_data::{RETAIL, Set, WIKIPEDIA, data};

/// The events of a set, and where they were imported to.
fn imported(set: &Set, data: &Path) -> (tempfile::TempDir, LogReader, Vec<Event>) {
    let dir = tempfile::tempdir().unwrap();
    run(set.import(data, dir.path())).exits(0);
    let reader = LogReader::open(dir.path()).unwrap();
    let all = reader.read(..).map(Result::unwrap).collect();
    (dir, reader, all)
}

/// What is compared of an event: all that tells it from another.
fn key(event: &Event) -> (u64, Version, Vec<u8>) {
    (event.offset().raw(), event.version(), event.data().to_vec())
}

fn raw(events: impl Iterator<Item = impl std::borrow::Borrow<Event>>) -> Vec<u8> {
    events.flat_map(|event| [event.borrow().data(), b"\n"].concat()).collect()
}

/// A name as a pattern that matches nothing else.
fn literal(name: &str) -> String {
    name.replace('\\', r"\\").replace('*', r"\*")
}

fn finds_everything(set: &Set, data: &Path) {
    let (dir, reader, all) = imported(set, data);
    let mut streams: BTreeMap<&str, u64> = BTreeMap::new();
    let mut types: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &all {
        *streams.entry(event.stream()).or_default() += 1;
        *types.entry(event.event_type()).or_default() += 1;
    }

    // The five largest histories.
    let mut largest: Vec<_> = streams.iter().map(|(name, events)| (*events, *name)).collect();
    largest.sort_by(|one, other| other.cmp(one));
    for (events, name) in largest.into_iter().take(5) {
        let expected: Vec<_> = all.iter().filter(|event| event.stream() == name).map(key).collect();
        assert_eq!(expected.len() as u64, events);
        let forward: Vec<_> = reader.stream(name).map(|event| key(&event.unwrap())).collect();
        assert!(forward == expected, "{name}, forward");
        let mut backward: Vec<_> = reader.stream(name).backward().map(|event| key(&event.unwrap())).collect();
        backward.reverse();
        assert!(backward == expected, "{name}, backward");
        let history = raw(all.iter().filter(|event| event.stream() == name));
        for verb in [&["cat"][..], &["tail", "-n", "1000000"]] {
            let (verb, args) = verb.split_first().unwrap();
            let ran = ask(verb, dir.path(), &[args, &["--stream", &literal(name), "-o", "raw"]].concat()).exits(0);
            assert!(ran.stdout == history, "{name}, {verb}");
        }
    }

    // Up to `#N`, and from there on.
    for n in [1, 1000, 10_000] {
        let position = format!("#{n}");
        let before = ask("cat", dir.path(), &["--to", &position, "-o", "raw"]).exits(0).stdout;
        assert!(before == raw(all.iter().take(n)), "the first {n} events");
        let behind = ask("cat", dir.path(), &["--from", &position, "-n", "5", "-o", "raw"]).exits(0).stdout;
        assert!(behind == raw(all.iter().skip(n).take(5)), "behind {n} events");
    }

    // One hour by the events' own times; and between two moments of recording.
    let middle = all[all.len() / 2].time().as_micros();
    let hour = middle..middle + 3_600_000_000;
    let micros = |micros: i64| format!("@{micros}us");
    let args = ["--happened-from", &micros(hour.start), "--happened-to", &micros(hour.end), "-o", "raw"];
    let happened = ask("cat", dir.path(), &args).exits(0).stdout;
    let within = |event: &&Event| hour.contains(&event.time().as_micros());
    assert!(!happened.is_empty() && happened == raw(all.iter().filter(within)), "one hour by event time");
    let recorded = |event: &Event| event.recorded().as_micros();
    let span = recorded(&all[all.len() / 3])..recorded(&all[all.len() / 3 * 2]);
    let args = ["--from", &micros(span.start), "--to", &micros(span.end), "-o", "raw"];
    let taken = ask("cat", dir.path(), &args).exits(0).stdout;
    assert!(!taken.is_empty() && taken == raw(all.iter().filter(|event| span.contains(&recorded(event)))), "recorded");
    assert_eq!(reader.offset_recorded(Timestamp::from_micros(i64::MAX)).unwrap(), reader.durable_end().unwrap());

    // Lists.
    let listed = |verb: &str, name: &str| -> BTreeMap<String, u64> {
        let ran = ask(verb, dir.path(), &["--json"]).exits(0);
        let lines: Vec<Value> = ran.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let count = lines.len();
        let map: BTreeMap<_, _> = lines
            .iter()
            .map(|line| (line[name].as_str().unwrap().to_owned(), line["events"].as_u64().unwrap()))
            .collect();
        assert_eq!(map.len(), count, "each {name} once");
        map
    };
    let owned = |map: &BTreeMap<&str, u64>| -> BTreeMap<String, u64> {
        map.iter().map(|(name, events)| ((*name).to_owned(), *events)).collect()
    };
    assert_eq!(listed("types", "type"), owned(&types));
    assert!(listed("streams", "stream") == owned(&streams), "the streams listed");
    assert_eq!((streams.len() as u64, types.len() as u64), (set.streams, set.types));
}

#[test]
fn wikipedia_edits_are_found_by_every_coordinate() {
    let Some(data) = data("wikipedia-edits, reading") else { return };
    finds_everything(&WIKIPEDIA, &data);
}

#[test]
fn online_retail_is_found_by_every_coordinate() {
    let Some(data) = data("online-retail, reading") else { return };
    finds_everything(&RETAIL, &data);
}
