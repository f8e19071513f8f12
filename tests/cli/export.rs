//! `annals export`: every user event as an envelope, in order, and nothing of the log's own.

use annals::{Append, Event, Expect, Log, Timestamp};

use crate::common::TestLog;

#[test]
fn every_user_event_is_a_line_in_order() {
    let ran = TestLog::shop().run("export", &[]).done();
    let lines = ran.lines();
    assert_eq!(lines.len(), 10);
    for (n, line) in lines.iter().enumerate() {
        let envelope: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(envelope["offset"], n);
        assert_eq!(envelope["stream"], format!("order-{}", n % 3));
        assert_eq!(envelope["version"], n / 3);
        assert_eq!(envelope["data"]["n"], n);
        assert_eq!(envelope["time"], format!("2023-11-14T22:13:{:02}.000000Z", 20 + n));
    }
    assert!(ran.stderr.starts_with("exported 10 events, from offset 0 to 10 (exclusive), of "), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "no progress bar where nobody looks");
}

#[test]
fn the_logs_own_events_stay_behind() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for n in 0..3 {
        let append = Append::new().event(Event::new("s", "T")).source("file", vec![n], Expect::Any);
        log.append(append).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    let log = TestLog { dir };
    assert_eq!(log.run("export", &[]).done().lines().len(), 3);
    assert_eq!(log.run("stat", &["--json"]).done().json()["system_events"], 3);
}

#[test]
fn a_part_of_a_log_is_exported_by_positions() {
    let ran = TestLog::shop().run("export", &["--from", "#2", "--to", "end-5"]).done();
    assert_eq!(ran.lines().len(), 3);
    assert!(ran.lines()[0].starts_with("{\"offset\":2,"));
}

#[test]
fn what_no_line_can_hold_is_in_base64() {
    let log = TestLog::of([
        Event::new("s", "T").data(&b"{\n}"[..]),
        Event::new("s", "T").data(&b" 1"[..]),
        Event::new("s", "T").time(Timestamp::from_micros(i64::MAX)),
        Event::new("s", "T").header("k", "1").header("k", "2").data(&b"null"[..]),
    ]);
    let ran = log.run("export", &[]).done();
    let lines = ran.lines();
    assert!(lines[0].ends_with(r#","data_base64":"ewp9"}"#), "{lines:?}");
    assert!(lines[1].ends_with(r#","data_base64":"IDE="}"#), "{lines:?}");
    assert!(lines[2].contains(r#""time":"@9223372036854775807us""#) && !lines[2].contains("data"), "{lines:?}");
    assert!(lines[3].ends_with(r#","headers":[["k","1"],["k","2"]],"data":null}"#), "{lines:?}");
}
