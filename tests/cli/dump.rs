//! `annals dump`: what stands in a segment file, whole or damaged.

use std::path::Path;

use annals::{Append, Codec, Event, Expect, Log};
use serde_json::Value;

use crate::common::{Ran, TestLog, ask, flip};

fn parts(ran: &Ran) -> Vec<Value> {
    ran.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn dumped(file: &Path) -> Vec<Value> {
    parts(&ask("dump", file, &["--json"]).done())
}

fn of<'p>(parts: &'p [Value], part: &str) -> Vec<&'p Value> {
    parts.iter().filter(|value| value["part"] == part).collect()
}

fn batches<'p>(parts: &'p [Value], kind: &str) -> Vec<&'p Value> {
    of(parts, "batch").into_iter().filter(|batch| batch["kind"] == kind).collect()
}

/// A log of more than one segment.
fn sealed(codec: Codec) -> TestLog {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(256 * 1024).codec(codec).open(dir.path()).unwrap();
    for n in 0..60 {
        let data = format!("<{n}>{}", "x".repeat(20_000));
        log.append(Event::new(format!("s-{}", n % 2), "T").data(data.into_bytes())).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    TestLog { dir }
}

#[test]
fn every_byte_of_a_whole_file_is_accounted_for() {
    for log in [TestLog::empty(), TestLog::shop(), sealed(Codec::None), sealed(Codec::Lz4)] {
        for file in log.segments() {
            let parts = dumped(&file);
            let mut at = 4096;
            assert_eq!(parts[0]["part"], "header");
            for part in &parts[1..] {
                assert_eq!(part["byte"], at, "{part}");
                at += if part["part"] == "trailer" { 128 } else { part["bytes"].as_u64().unwrap() };
            }
            assert_eq!(at, file.metadata().unwrap().len());
        }
    }
}

#[test]
fn events_stand_where_it_says() {
    let log = TestLog::shop();
    let file = log.segments().remove(0);
    let bytes = std::fs::read(&file).unwrap();
    let parts = dumped(&file);
    let events: Vec<&Value> =
        batches(&parts, "events").into_iter().flat_map(|batch| batch["events"].as_array().unwrap()).collect();
    assert_eq!(events.len(), 10);
    for (n, event) in events.into_iter().enumerate() {
        assert_eq!((event["offset"].as_u64(), event["version"].as_u64()), (Some(n as u64), Some(n as u64 / 3)));
        assert_eq!(event["stream"], format!("order-{}", n % 3));
        let at = event["data_byte"].as_u64().unwrap() as usize;
        assert_eq!(&bytes[at..at + 7], format!("{{\"n\":{n}}}").as_bytes());
    }
    assert_eq!(batches(&parts, "close_mark").len(), 1);
}

#[test]
fn names_say_version_and_the_event_before() {
    let log = TestLog::shop();
    let parts = dumped(&log.segments()[0]);
    let fifth = batches(&parts, "events").into_iter().find(|batch| batch["base"] == 4).unwrap();
    assert_eq!(fifth["streams"], serde_json::json!([{"name": "order-1", "version": 1, "previous": 1}]));
    assert_eq!(fifth["types"], serde_json::json!(["Paid"]));
    assert_eq!(fifth["appends"][0]["first"], 4);
}

#[test]
fn a_sealed_segment_shows_its_indexes_and_the_next_one_what_it_carries() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(256 * 1024).open(dir.path()).unwrap();
    for n in 0..30u8 {
        let event = Event::new("s", "T").data(vec![n; 20_000]);
        log.append(Append::new().event(event).source("file", vec![n], Expect::Any)).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    let log = TestLog { dir };
    let files = log.segments();
    let first = dumped(&files[0]);
    let trailer = of(&first, "trailer")[0];
    let footer = batches(&first, "footer")[0];
    assert_eq!(trailer["footer_byte"], footer["byte"]);
    let types = footer["footer"]["types"].as_array().unwrap();
    assert_eq!((types.len(), &types[0]["type"], &types[0]["events"]), (1, &"T".into(), &trailer["user_events"]));
    let streams = footer["footer"]["streams"].as_array().unwrap();
    assert_eq!(streams.iter().map(|stream| stream["system"] == true).filter(|system| *system).count(), 1);
    let at: Vec<u64> = batches(&first, "events").iter().map(|batch| batch["byte"].as_u64().unwrap()).collect();
    for stream in streams.iter().chain(types) {
        let batches = stream["batches"].as_array().unwrap();
        assert!(!batches.is_empty() && batches.iter().all(|batch| at.contains(&batch.as_u64().unwrap())), "{stream}");
    }
    let second = dumped(&files[1]);
    let carried = &batches(&second, "carry")[0]["carry"]["streams"];
    assert_eq!((carried[0]["stream"].as_str(), carried[0]["content_bytes"].as_u64()), (Some("$source/file"), Some(1)));
}

#[test]
fn over_damage_it_goes_on_at_the_next_good_batch() {
    let log = sealed(Codec::None);
    let file = &log.segments()[0];
    let whole = dumped(file);
    flip(file, b"<3>");
    let ran = ask("dump", file, &["--json"]);
    assert_eq!(ran.code, Some(1));
    let parts = parts(&ran);
    let damage = of(&parts, "damage");
    let hit = batches(&whole, "events")[3];
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0]["byte"], hit["byte"]);
    assert_eq!(damage[0]["goes_on_at"], hit["byte"].as_u64().unwrap() + hit["bytes"].as_u64().unwrap());
    assert!(damage[0]["what"].as_str().unwrap().contains("checksum"), "{damage:?}");
    assert_eq!(parts.len(), whole.len(), "one batch gone, one damage shown");
    let text = ask("dump", file, &[]);
    assert_eq!(text.code, Some(1));
    assert!(text.text().contains(&format!("damage   byte {}..", hit["byte"])), "{}", text.text());
}

#[test]
fn damage_to_either_end_of_a_file_is_shown() {
    let log = sealed(Codec::None);
    let file = &log.segments()[0];
    flip(file, b"ANNALSE1");
    let ran = ask("dump", file, &["--json"]);
    assert_eq!((ran.code, of(&parts(&ran), "damage").len()), (Some(1), 1));

    let file = &log.segments()[1];
    let mut bytes = std::fs::read(file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    let ran = ask("dump", file, &["--json"]);
    assert_eq!((ran.code, of(&parts(&ran), "damage").len()), (Some(1), 1));
    bytes[2048 + 20] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    ask("dump", file, &[]).failed(5, "neither copy of the segment's header is whole");
}

#[test]
fn every_flipped_byte_is_met() {
    let log = TestLog::shop();
    let file = &log.segments()[0];
    let whole = std::fs::read(file).unwrap();
    let used = batches(&dumped(file), "close_mark")[0]["byte"].as_u64().unwrap() as usize;
    for at in (0..used).step_by(61) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(file, flipped).unwrap();
        let ran = ask("dump", file, &["--json"]);
        assert_eq!((ran.code, of(&parts(&ran), "damage").len()), (Some(1), 1), "byte {at}: {}", ran.stderr);
    }
}

#[test]
fn a_torn_tail_is_shown_as_such() {
    let log = TestLog::shop();
    let file = &log.segments()[0];
    let marks = dumped(file);
    let mark = batches(&marks, "mark").last().unwrap()["byte"].as_u64().unwrap() as usize;
    let mut bytes = std::fs::read(file).unwrap();
    // As if the log had been killed before it wrote its last marks, halfway into another batch.
    bytes[mark..].fill(0);
    bytes[mark..mark + 300].fill(7);
    std::fs::write(file, bytes).unwrap();
    let parts = dumped(file);
    let torn = parts.last().unwrap();
    assert_eq!(
        (torn["part"].as_str(), torn["byte"].as_u64(), torn["bytes"].as_u64()),
        (Some("torn"), Some(mark as u64), Some(300))
    );
}

#[test]
fn text_says_the_same_for_people() {
    let log = TestLog::shop();
    let ran = ask("dump", &log.segments()[0], &[]).done();
    let lines = ran.lines();
    assert!(lines[0].starts_with("segment  byte 0..4096 of 262144  log "), "{lines:?}");
    assert!(lines[1].starts_with("batch    byte 4096.."), "{lines:?}");
    assert!(lines.contains(&"  stream 0  order-1  from version 1  event before: offset 1"), "{lines:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("  event 4  order-1@1  Paid  2023-11-14T22:13:24.000000Z  7 bytes at byte "))
    );
    assert!(lines.last().unwrap().starts_with("unused   byte "), "{lines:?}");
}

#[test]
fn what_is_no_segment_is_refused() {
    let log = TestLog::shop();
    ask("dump", log.path(), &[]).failed(2, "is a directory");
    ask("dump", &log.path().join("none.seg"), &[]).failed(3, "there is no file");
    let other = log.path().join("other");
    std::fs::write(&other, "something else").unwrap();
    ask("dump", &other, &[]).failed(5, "is no segment of a log");
}
