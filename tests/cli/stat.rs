//! `annals stat`: the numbers of a log.

use annals::{Append, Event, Expect, Log};

use crate::common::{Ran, TestLog, annals};

#[test]
fn the_keys_that_scripts_depend_on_are_there() {
    let log = TestLog::shop();
    let stat = log.run("stat", &["--json"]).done().json();
    for (key, value) in [
        ("events", 10),
        ("system_events", 0),
        ("streams", 3),
        ("types", 2),
        ("segments", 1),
        ("data_bytes", 70),
        ("head", 0),
        ("durable_end", 10),
        ("tail", 10),
        ("tail_epoch", 0),
    ] {
        assert_eq!(stat[key], value, "{key}");
    }
    assert_eq!(stat["log_id"].as_str().unwrap().len(), 36);
    assert_eq!(stat["first_time"], "2023-11-14T22:13:20.000000Z");
    assert_eq!(stat["last_time"], "2023-11-14T22:13:29.000000Z");
    assert!(stat["first_recorded"].as_str() < stat["last_recorded"].as_str());
    let bytes: u64 = log.segments().iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(stat["bytes"], bytes);
    let segment = &stat["segment_list"][0];
    assert_eq!(
        (segment["base"].as_u64(), segment["end"].as_u64(), segment["bytes"].as_u64()),
        (Some(0), Some(10), Some(bytes))
    );
    assert_eq!(stat["writer"]["pid"], std::process::id());
    let first_keys = r#"{"log_id":"#;
    assert!(log.run("stat", &["--json"]).done().text().starts_with(first_keys));
}

#[test]
fn only_the_users_events_streams_and_types_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let append = Append::new().event(Event::new("s", "T").data(&b"12345"[..])).source("file", &b"7"[..], Expect::None);
    log.append(append).unwrap().wait().unwrap();
    log.close().unwrap();
    let stat = TestLog { dir }.run("stat", &["--json"]).done().json();
    let number = |key: &str| stat[key].as_u64().unwrap();
    assert_eq!(["events", "system_events", "streams", "types", "data_bytes"].map(number), [1, 1, 1, 1, 5]);
    assert_eq!(number("durable_end"), 2);
}

#[test]
fn an_empty_log_has_no_times() {
    let stat = TestLog::empty().run("stat", &["--json"]).done().json();
    assert_eq!(stat["events"], 0);
    for key in ["first_time", "last_time", "first_recorded", "last_recorded"] {
        assert!(stat[key].is_null(), "{key}");
    }
    let text = TestLog::empty().run("stat", &[]).done();
    assert!(!text.text().contains("time "), "{}", text.text());
}

#[test]
fn text_says_the_same_for_people() {
    let log = TestLog::shop();
    let ran = log.run("stat", &[]).done();
    let lines = ran.lines();
    assert!(
        lines[0].starts_with("log      ") && lines[0].contains(&format!("writer: pid {}", std::process::id())),
        "{lines:?}"
    );
    assert_eq!(lines[1], "events   10 in 3 streams, of 2 types, with 70 B of data");
    assert_eq!(lines[2], "offsets  0 to 10 (exclusive), 0 events of the log's own among them   tail 10   tail epoch 0");
    assert_eq!(lines[3], "time     2023-11-14 22:13:20.000 .. 2023-11-14 22:13:29.000 UTC");
    assert!(lines[5].starts_with("disk     ") && lines[5].ends_with(" in 1 segment"), "{lines:?}");
    assert_eq!(lines[6].split_whitespace().collect::<Vec<_>>(), ["SEGMENT", "EVENTS", "SIZE", "STATE"]);
    assert!(lines[7].starts_with("00000000000000000000      10  ") && lines[7].ends_with("active"), "{lines:?}");
}

#[test]
fn a_running_writer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    let ran: Ran = annals(["stat", dir.path().to_str().unwrap(), "--json"]).output().unwrap().into();
    let writer = &ran.done().json()["writer"];
    assert_eq!((writer["pid"].as_u64(), writer["running"].as_bool()), (Some(std::process::id().into()), Some(true)));
}

#[test]
fn sealed_segments_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(256 * 1024).open(dir.path()).unwrap();
    for n in 0..60u8 {
        log.append(Event::new("s", "T").data(vec![n; 20_000])).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    let stat = TestLog { dir }.run("stat", &["--json"]).done().json();
    let list = stat["segment_list"].as_array().unwrap();
    assert_eq!(stat["segments"], list.len());
    assert!(list.len() > 3);
    let (active, sealed) = list.split_last().unwrap();
    assert!(active["sealed"] == false && sealed.iter().all(|segment| segment["sealed"] == true), "{list:?}");
    assert!(list.windows(2).all(|pair| pair[0]["end"] == pair[1]["base"]));
}
