//! `annals append`: what is on stdin is in the log when it says so.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use annals::{Log, LogReader};

use crate::common::{Running, annals, assert_sound, data, events, eventually, run, run_with};

fn append(log: &Path, rest: &[&str]) -> Command {
    let mut command = annals(["append"]);
    command.arg(log).args(rest);
    command
}

#[test]
fn the_data_is_stdin_less_one_final_lf() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("new/log");
    std::fs::create_dir(dir.path().join("new")).unwrap();
    for stdin in ["a", "a\n", "a\n\n", "a\r\n", "", "\n"] {
        run_with(append(&log, &["s", "--type", "T"]), stdin.as_bytes()).exits(0);
    }
    assert_eq!(data(&log), ["a", "a", "a\n", "a\r", "", ""]);
    assert_sound(&log);
}

#[test]
fn it_says_where_the_event_stands() {
    let dir = tempfile::tempdir().unwrap();
    let first = run_with(append(dir.path(), &["order-17", "--type", "Placed"]), b"x").exits(0);
    assert_eq!(first.stderr, "appended 1 event  offset 0  order-17@0  durable\n");
    assert_eq!(first.text(), "");
    let second = run_with(append(dir.path(), &["order-17", "--type", "Paid", "--json"]), b"x").exits(0);
    let answer: serde_json::Value = serde_json::from_str(second.text()).unwrap();
    assert_eq!((&answer["offset"], &answer["version"], &answer["stream"]), (&1.into(), &1.into(), &"order-17".into()));
    assert_eq!(second.stderr, "");
    let lines = run_with(append(dir.path(), &["order-17", "--type", "T", "--lines"]), b"a\nb\n").exits(0);
    assert_eq!(lines.stderr, "appended 2 events  offsets 2 to 4 (exclusive)  order-17@2 to 3  durable\n");
    let none = run_with(append(dir.path(), &["order-17", "--type", "T", "--lines"]), b"").exits(0);
    assert_eq!(none.stderr, "no line came; nothing was appended\n");
}

#[test]
fn what_is_said_of_an_event_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let rest = [
        "s",
        "--type",
        "T",
        "--id",
        "no-1",
        "--time",
        "2026-11-23T12:00:00.5Z",
        "--header",
        "trace=a=b",
        "--header",
        "b=",
        "--content-type",
        "text/plain",
    ];
    run_with(append(dir.path(), &rest), b"x").exits(0);
    let event = events(dir.path()).remove(0);
    assert_eq!((event.stream(), event.event_type(), event.id()), ("s", "T", Some("no-1")));
    assert_eq!(event.time().as_micros(), 1_795_435_200_500_000);
    assert_eq!(event.headers().collect::<Vec<_>>(), [("trace", "a=b"), ("b", "")]);
    assert_eq!(event.content_type(), Some("text/plain"));
    assert!(event.time() < event.recorded());
}

#[test]
fn an_expectation_that_fails_writes_nothing_and_exits_4() {
    let dir = tempfile::tempdir().unwrap();
    let try_it = |expect: &str| run_with(append(dir.path(), &["order-17", "--type", "T", "--expect", expect]), b"x");
    try_it("exists").exits(4).says("nothing was written");
    try_it("0").exits(4);
    try_it("none").exits(0);
    try_it("none").exits(4).says("is at version 0").says("annals cat");
    try_it("exists").exits(0);
    try_it("0").exits(4).says("is at version 1");
    try_it("1").exits(0);
    try_it("any").exits(0);
    assert_eq!(events(dir.path()).len(), 4);
    let json = ["order-17", "--type", "T", "--expect", "none", "--json"];
    let said = run_with(append(dir.path(), &json), b"x").exits(4).stderr;
    let error: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["exit"]), (&"wrong_version".into(), &4.into()));
    let lines = ["order-17", "--type", "T", "--expect", "3", "--lines"];
    run_with(append(dir.path(), &lines), b"a\nb\n").exits(0);
    assert_eq!(events(dir.path()).len(), 6);
}

#[test]
fn a_line_is_visible_to_readers_before_the_next_one_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Running::start(append(dir.path(), &["s", "--type", "T", "--lines"]));
    for n in 0..5 {
        writer.give(format!("{n}a\n{n}b\nhalf of {n}").as_bytes());
        let seen = eventually(|| {
            let reader = LogReader::open(dir.path()).ok()?;
            let seen: Vec<_> = reader.read(..).map(Result::unwrap).collect();
            (seen.len() == 2 * (n + 1)).then_some(seen)
        });
        assert!(seen.last().unwrap().data().ends_with(format!("{n}b").as_bytes()));
    }
    drop(writer.0.stdin.take());
    assert!(writer.0.wait().unwrap().success());
    assert_eq!(
        data(dir.path()),
        ["0a", "0b", "half of 01a", "1b", "half of 12a", "2b", "half of 23a", "3b", "half of 34a", "4b", "half of 4"]
    );
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    for durability in ["disk", "os"] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer =
            Running::start(append(dir.path(), &["s", "--type", "T", "--lines", "--json", "--durability", durability]));
        let mut stdout = BufReader::new(writer.0.stdout.take().unwrap());
        writer.give(b"one\ntwo\nthree\n");
        for offset in 0..3 {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(answer["offset"], offset);
        }
        writer.kill();
        assert_sound(dir.path());
        // Opening decides what is kept.
        Log::open(dir.path()).unwrap().close().unwrap();
        assert_eq!(data(dir.path()), ["one", "two", "three"], "{durability}");
    }
}

#[test]
fn a_second_writer_is_told_who_writes_and_exits_4() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Running::start(append(dir.path(), &["s", "--type", "T", "--lines"]));
    writer.give(b"one\n");
    eventually(|| LogReader::open(dir.path()).ok()?.read(..).next()).unwrap();
    let pid = writer.0.id().to_string();
    run_with(append(dir.path(), &["s", "--type", "T"]), b"x").exits(4).says(&format!("pid {pid}"));
    assert_eq!(data(dir.path()), ["one"]);
}

#[test]
fn what_cannot_be_an_event_is_refused_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    run_with(append(&log, &["$mine", "--type", "T"]), b"x").exits(2).says("the log's own");
    run_with(append(&log, &["s", "--type", ""]), b"x").exits(2).says("a type name has 1 to 1024 bytes");
    run_with(append(&log, &["s", "--type", "T", "--header", "x"]), b"x").exits(2).says("NAME=VALUE");
    run_with(append(&log, &["s", "--type", "T", "--expect", "-1"]), b"x").exits(2);
    run_with(append(&log, &["s", "--type", "T", "--time", "soon"]), b"x").exits(2);
    run_with(append(&log, &["s", "--type", "T", "--lines", "--id", "1"]), b"x").exits(2).says("--id");
    run_with(append(&log, &["s"]), b"x").exits(2).says("--type");
    run_with(append(&log, &["--type", "T"]), b"x").exits(2).says("ANNALS_LOG");
    run(append(Path::new("http://localhost:1/"), &["s", "--type", "T"])).exits(2).says("directory");
    let too_long = vec![b'x'; annals::limits::DATA_BYTES_MAX + 1];
    run_with(append(&log, &["s", "--type", "T"]), &too_long).exits(2).says("has at most");
    run_with(append(&log, &["s", "--type", "T", "--lines"]), &[b"ok\n", too_long.as_slice()].concat())
        .exits(2)
        .says("line 2: ")
        .says("1 event before it appended");
    assert_eq!(data(&log), ["ok"]);
    run_with(append(&log, &["s", "--type", "T"]), &too_long[1..]).exits(0);
}

#[test]
fn a_directory_with_other_things_is_no_log() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    run_with(append(dir.path(), &["s", "--type", "T"]), b"x").exits(3).says("is not a log");
}

#[test]
fn the_variable_names_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = annals(["append", "s", "--type", "T"]);
    command.env("ANNALS_LOG", dir.path());
    run_with(command, b"x").exits(0);
    assert_eq!(data(dir.path()), ["x"]);
}

/// A reader of the answers that goes away is no reason to lose what is still to come.
#[test]
fn lines_are_appended_also_when_nobody_reads_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script =
        r#"seq 20000 | "$1" append "$2" s --type T --lines --json | head -n 1 > /dev/null; "$1" stat "$2" --json"#;
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["-c", script, "bash"]).arg(crate::common::program()).arg(&log).output().unwrap();
    let stat: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(stat["events"], 20000, "{output:?}");
}

#[test]
fn a_refused_append_makes_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let path = log.to_str().unwrap();
    run_with(annals(["append", path, "$own", "--type", "T"]), b"x").exits(2);
    run_with(annals(["append", path, "s", "--type", ""]), b"x").exits(2);
    run_with(annals(["append", path, "s", "--type", "T", "--expect", "exists"]), b"x").exits(4);
    run_with(annals(["append", path, "s", "--type", "T", "--expect", "0"]), b"x").exits(4).says("there is no log");
    assert!(!log.exists());
}
