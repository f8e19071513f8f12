//! `annals get`: one event by its offset, whole, or a clear no.

use annals::{Event, Log};

use crate::common::{Ran, TestLog, annals};

#[test]
fn an_event_comes_in_every_format() {
    let log = TestLog::of([
        Event::new("s", "T").data(&b"one"[..]),
        Event::new("s", "U").data(&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..]),
    ]);
    assert_eq!(log.run("get", &["1", "-o", "raw"]).done().stdout, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\n");
    assert_eq!(
        log.run("get", &["1", "-o", "hex"]).done().text(),
        "00000000  89 50 4e 47 0d 0a 1a 0a  00 00 00 0d 49 48 44 52  |.PNG........IHDR|\n"
    );
    let json = log.run("get", &["1", "--json"]).done().json();
    assert_eq!((json["offset"].as_u64(), json["type"].as_str()), (Some(1), Some("U")));
    let text = log.run("get", &["0"]).done();
    assert!(text.lines()[1].ends_with("one"), "{}", text.text());
}

#[test]
fn the_logs_own_events_have_offsets_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let append = annals::Append::new().event(Event::new("s", "T")).source("file", &b"7"[..], annals::Expect::None);
    log.append(append).unwrap().wait().unwrap();
    log.close().unwrap();
    let log = TestLog { dir };
    let streams = ["0", "1"].map(|offset| log.run("get", &[offset, "--json"]).done().json()["stream"].to_string());
    assert!(streams.contains(&"\"$source/file\"".to_owned()), "{streams:?}");
}

#[test]
fn an_offset_that_is_not_there_is_not_found() {
    let log = TestLog::shop();
    log.run("get", &["10"]).failed(3, "there is no event at offset 10: the log ends before 10");
    log.run("get", &["18446744073709551615"]).failed(3, "no event at offset");
    log.run("get", &["end"]).failed(3, "no event at offset 10");
    TestLog::empty().run("get", &["0"]).failed(3, "no events yet");
    let ran = log.run("get", &["10", "--json"]).failed(3, "");
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((error["error"]["code"].as_str(), error["error"]["exit"].as_u64()), (Some("offset_not_found"), Some(3)));
    assert_eq!(ran.text(), "");
}

#[test]
fn places_can_be_named_otherwise() {
    let log = TestLog::shop();
    assert_eq!(log.run("get", &["end-1", "-o", "raw"]).done().text(), "{\"n\":9}\n");
    assert_eq!(log.run("get", &["start", "-o", "raw"]).done().text(), "{\"n\":0}\n");
    assert_eq!(log.run("get", &["#3", "-o", "raw"]).done().text(), "{\"n\":3}\n");
    log.run("get", &["-o", "raw"]).failed(2, "OFFSET is missing");
    log.run("get", &["tomorrow"]).failed(2, "is no position");
}

#[test]
fn the_log_can_be_named_by_the_environment() {
    let log = TestLog::shop();
    let ran: Ran = annals(["get", "4", "-o", "raw"]).env("ANNALS_LOG", log.path()).output().unwrap().into();
    assert_eq!(ran.done().text(), "{\"n\":4}\n");
}
