//! `annals repair`: the plan, what applying it does, and reading past a gap afterwards.

use annals::Log;
use serde_json::Value;

use crate::common::{TestLog, assert_sound, flip, over, run_with};

/// The event with `n` = 4 is rotten.
fn rotten() -> TestLog {
    let log = TestLog::shop();
    flip(&log.segments()[0], b"{\"n\":4}");
    log
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_sound_log_has_nothing_to_repair() {
    let log = TestLog::shop();
    for args in [&[][..], &["--apply"]] {
        assert_eq!(log.run("repair", args).done().text(), "nothing to repair\n");
    }
    let lines = json_lines(log.run("repair", &["--json"]).done().text());
    assert_eq!((lines.len(), &lines[0]["sound"], &lines[0]["applied"]), (1, &Value::Bool(true), &Value::Bool(false)));
    assert!(!log.path().join("repaired").exists());
}

#[test]
fn a_plan_says_what_is_wrong_and_lost_and_changes_nothing() {
    let log = rotten();
    let before = std::fs::read(&log.segments()[0]).unwrap();
    let ran = log.run("repair", &[]).exits(1).says("nothing was changed; `annals repair");
    let lines = ran.lines();
    assert!(lines[0].starts_with("bit rot  ") && lines[0].contains("00000000000000000000.seg  bytes "), "{lines:?}");
    assert_eq!(lines[1], "  lost: 1 event, offsets 4 to 5 (exclusive)");
    assert_eq!(lines[2], "  streams: order-1 (1 event)");
    assert!(lines[3].starts_with("  repair: a gap is written"), "{lines:?}");
    assert_eq!(lines[4], "to be repaired: 1 anomaly, 1 event lost");
    assert!(std::fs::read(&log.segments()[0]).unwrap() == before);
    log.run("cat", &[]).failed(5, "annals repair");
}

#[test]
fn applying_it_keeps_a_copy_and_leaves_a_sound_log_with_a_gap() {
    let log = rotten();
    let before = std::fs::read(&log.segments()[0]).unwrap();
    let lines = json_lines(log.run("repair", &["--apply", "--json"]).done().text());
    let anomaly = &lines[0];
    assert_eq!((anomaly["kind"].as_str(), anomaly["events_lost"].as_u64()), (Some("bit_rot"), Some(1)));
    assert_eq!((anomaly["first"].as_u64(), anomaly["end"].as_u64()), (Some(4), Some(5)));
    assert_eq!(anomaly["streams"], serde_json::json!([{"stream": "order-1", "events_lost": 1}]));
    let end = &lines[1];
    assert_eq!((&end["applied"], &end["sound"]), (&Value::Bool(true), &Value::Bool(true)));
    let kept = std::path::Path::new(end["kept"].as_str().unwrap());
    assert!(std::fs::read(kept.join("00000000000000000000.seg")).unwrap() == before);
    assert_sound(log.path());
    assert_eq!(log.run("repair", &[]).done().text(), "nothing to repair\n");
    let verified = log.run("verify", &[]).done();
    assert!(verified.stderr.contains("events 4 to 5 (exclusive) were lost"), "{}", verified.stderr);
}

#[test]
fn reading_past_a_gap_tells_of_it_and_goes_on() {
    let log = rotten();
    log.run("repair", &["--apply"]).done();
    let gap = "gap: 1 event lost, offsets 4 to 5 (exclusive), given up by a repair";
    for (verb, args, lines) in [
        ("cat", &["-o", "raw"][..], 9),
        ("tail", &["-n", "7", "-o", "raw"], 7),
        ("tail", &["-n", "3", "-o", "raw"], 3),
        ("export", &[], 9),
        ("cat", &["--stream", "order-1", "-o", "raw"], 3 - 1),
    ] {
        let ran = log.run(verb, args).done();
        assert_eq!(ran.lines().len(), lines, "{verb} {args:?}");
        assert_eq!(ran.stderr.matches(gap).count(), usize::from(lines != 3), "{verb} {args:?}: {}", ran.stderr);
    }
    let ran = log.run("cat", &["--json"]).done();
    assert_eq!(ran.stderr, "{\"gap\":{\"end\":5,\"first\":4}}\n");
    log.run("get", &["4"]).failed(5, "were lost and given up by a repair");
    let stat = log.run("stat", &["--json"]).done().json();
    assert_eq!((stat["events"].as_u64(), stat["lost_events"].as_u64()), (Some(9), Some(1)));
    assert!(log.run("stat", &[]).done().text().contains("lost     1 event, given up by repairs"));
    log.run("cat", &["--consumer", "c", "-n", "4"]).done();
    assert_eq!(log.run("cat", &["--consumer", "c", "-o", "raw"]).done().lines().len(), 5);
    log.run("consumers", &["set", "c", "4"]).done();
    log.run("consumers", &[]).done();
    log.run("lag", &[]).done();
    let copy = TestLog::empty();
    let exported = log.run("export", &[]).done().stdout;
    run_with(over(copy.path(), "import", &["-", "--format", "envelope"]), &exported).done();
    log.run("streams", &[]).done();
    log.run("types", &[]).done();
}

#[test]
fn appends_go_on_behind_a_gap_with_versions_of_their_own() {
    let log = rotten();
    log.run("repair", &["--apply"]).done();
    let append =
        |expect: &str| run_with(over(log.path(), "append", &["order-1", "--type", "T", "--expect", expect]), b"x");
    append("2").done();
    let read = annals::LogReader::open(log.path()).unwrap().stream("order-1");
    let versions: Vec<u64> = read.filter_map(Result::ok).map(|event| event.version().raw()).collect();
    assert_eq!(versions, [0, 2, 3]);
    append("1").failed(4, "order-1");
}

#[test]
fn a_log_that_is_being_written_is_not_repaired() {
    let log = rotten();
    let other = TestLog::shop();
    let writer = Log::open(other.path()).unwrap();
    other.run("repair", &["--apply"]).failed(4, &format!("pid {}", std::process::id()));
    drop(writer);
    log.run("repair", &["--apply"]).done();
    TestLog::empty().run("repair", &[]).done();
    crate::common::ask("repair", &log.path().join("nothing"), &[]).failed(3, "there is no log");
}
