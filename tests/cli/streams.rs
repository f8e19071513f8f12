//! `annals streams` and `annals types`: what there is, with its numbers.

use std::collections::BTreeSet;

use annals::{Event, Log};
use serde_json::{Value, json};

use crate::common::{Ran, TestLog, annals, run};

fn json_lines(ran: &Ran) -> Vec<Value> {
    ran.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn streams_come_with_their_events_and_their_ends() {
    let log = TestLog::shop();
    let ran = log.run("streams", &["--json"]).done();
    let line = |stream: &str, events: u64, last: u64| json!({"stream": stream, "events": events, "version": events - 1, "last_offset": last});
    assert_eq!(json_lines(&ran), [line("order-1", 3, 7), line("order-2", 3, 8), line("order-0", 4, 9)]);
    let text = "EVENTS    LAST  STREAM\n     3       7  order-1\n     3       8  order-2\n     4       9  order-0\n";
    assert_eq!(log.run("streams", &[]).done().text(), text);
}

#[test]
fn a_pattern_chooses_among_them() {
    let log = TestLog::of(["a/1", "a/2", "b/1", "*"].map(|stream| Event::new(stream, "T")));
    let named = |pattern: &str| -> BTreeSet<String> {
        let ran = log.run("streams", &[pattern, "--json"]).done();
        json_lines(&ran).iter().map(|line| line["stream"].as_str().unwrap().to_owned()).collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(named("*"), set(&["a/1", "a/2", "b/1", "*"]));
    assert_eq!(named("a/*"), set(&["a/1", "a/2"]));
    assert_eq!(named("*/1"), set(&["a/1", "b/1"]));
    assert_eq!(named("b/1"), set(&["b/1"]));
    assert_eq!(named(r"\*"), set(&["*"]));
    let ran = log.run("streams", &["c*"]).done().says("no stream matches `c*`: those of 4 events were looked at");
    assert!(ran.stdout.is_empty());
    let mut command = annals(["streams", "b/*"]);
    command.env("ANNALS_LOG", log.path());
    assert!(run(command).done().text().ends_with("  b/1\n"));
}

#[test]
fn the_logs_own_streams_are_listed_only_when_asked_for() {
    let dir = TestLog::of([Event::new("s", "T")]);
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), "{}\n").unwrap();
    let import = ["--stream", "s", "--type", "U", "--source", "file"];
    dir.run("import", &[&[input.path().to_str().unwrap()], &import[..]].concat()).done();
    assert_eq!(dir.run("streams", &[]).done().lines().len(), 2);
    assert!(dir.run("streams", &["$*"]).done().text().ends_with("  $source/file\n"));
    let types: Vec<_> = json_lines(&dir.run("types", &["--json"]).done());
    assert_eq!(types, [json!({"type": "T", "events": 1}), json!({"type": "U", "events": 1})]);
}

#[test]
fn types_come_with_their_numbers() {
    let log = TestLog::shop();
    let ran = log.run("types", &["--json"]).done();
    assert_eq!(json_lines(&ran), [json!({"type": "Paid", "events": 7}), json!({"type": "Placed", "events": 3})]);
    assert_eq!(log.run("types", &[]).done().text(), "      EVENTS  TYPE\n           7  Paid\n           3  Placed\n");
    TestLog::empty().run("types", &[]).done().says("there are no events of users");
    TestLog::empty().run("streams", &[]).done().says("the log has no events yet");
}

#[test]
fn they_are_the_same_beside_a_writer_and_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(256 * 1024).open(dir.path()).unwrap();
    // Several segments, some sealed and one not.
    for n in 0..6000u32 {
        let event = Event::new(format!("s-{}", n % 700), format!("T{}", n % 3)).data(vec![b'x'; 200]);
        drop(log.append(event).unwrap());
    }
    log.sync().unwrap();
    let ask = |verb: &str| {
        let mut lines: Vec<String> = crate::common::ask(verb, dir.path(), &["--json"])
            .done()
            .lines()
            .iter()
            .map(|line| (*line).to_owned())
            .collect();
        lines.sort();
        lines
    };
    let beside = (ask("streams"), ask("types"));
    assert_eq!((beside.0.len(), beside.1.len()), (700, 3));
    log.close().unwrap();
    assert_eq!((ask("streams"), ask("types")), beside);
}
