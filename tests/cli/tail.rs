//! `annals tail`: the last events, and each that comes, once and in order, whatever happens to the writer.

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ChildStdout, Command};

use annals::{Append, Event, Log};

use crate::common::{Running, TestLog, eventually, over};

fn ns(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("{{\"n\":{n}}}")).collect()
}

#[test]
fn the_last_events_come_in_their_order() {
    let log = TestLog::shop();
    for (args, expected) in [
        (&["-n", "3"][..], ns(7..10)),
        (&["-n", "0"], ns(0..0)),
        (&["-n", "99"], ns(0..10)),
        (&[], ns(0..10)),
        (&["-n", "2", "--type", "Placed"], ns(1..3)),
        (&["-n", "1", "--stream", "order-1"], ns(7..8)),
    ] {
        let ran = log.run("tail", &[args, &["-o", "raw"]].concat()).done();
        assert_eq!(ran.lines(), expected, "{args:?}");
    }
    log.run("tail", &["--type", "Lost"]).done().says("nothing matches: 10 events looked at");
    TestLog::empty().run("tail", &[]).done().says("the log has no events yet");
    log.run("tail", &["-n", "-1"]).exits(2);
    log.run("tail", &["--timeout", "1s"]).failed(2, "--follow");
}

#[test]
fn formats_are_those_of_cat() {
    let log = TestLog::shop();
    for format in [&["-o", "hex"][..], &["--json"], &["--template", "{offset} {/data/n}"], &["-o", "raw"]] {
        let tail = log.run("tail", &[&["-n", "100"], format].concat()).done();
        assert_eq!(tail.stdout, log.run("cat", format).done().stdout, "{format:?}");
        assert!(!tail.stdout.is_empty());
    }
}

/// A tail that follows, and the lines it writes.
struct Following {
    process: Running,
    lines: Lines<BufReader<ChildStdout>>,
}

fn follow(log: &Path, args: &[&str]) -> Following {
    let mut process = Running::start(over(log, "tail", &[&["-f", "-o", "raw"], args].concat()));
    let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    Following { process, lines }
}

impl Following {
    fn take(&mut self, lines: usize) -> Vec<String> {
        self.lines.by_ref().take(lines).map(Result::unwrap).collect()
    }
}

fn append(log: &Log, n: u32) {
    log.append(Event::new("order-1", "Paid").data(format!("{{\"n\":{n}}}").into_bytes())).unwrap().wait().unwrap();
}

#[test]
fn following_shows_the_last_events_and_then_each_that_comes() {
    let dir = TestLog::shop();
    let mut tail = follow(dir.path(), &["-n", "2"]);
    assert_eq!(tail.take(2), ns(8..10));
    let log = Log::open(dir.path()).unwrap();
    for n in 10..15 {
        append(&log, n);
        assert_eq!(tail.take(1), ns(n..n + 1), "each comes before the next is there");
    }
    let events = (15..1000).map(|n| Event::new("order-1", "Paid").data(format!("{{\"n\":{n}}}").into_bytes()));
    log.append(Append::new().events(events)).unwrap().wait().unwrap();
    assert_eq!(tail.take(985), ns(15..1000));
}

#[test]
fn following_takes_the_filter_along() {
    let dir = TestLog::shop();
    let mut tail = follow(dir.path(), &["-n", "0", "--type", "Shipped"]);
    let log = Log::open(dir.path()).unwrap();
    for n in 10..20 {
        append(&log, n);
    }
    log.append(Event::new("order-1", "Shipped").data(&b"gone"[..])).unwrap().wait().unwrap();
    // Whether it began before or behind the others: they are none of its.
    let eventual = tail.take(1);
    assert_eq!(eventual, ["gone"]);
}

#[test]
fn a_writer_that_is_killed_and_comes_back_loses_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut tail: Option<Following> = None;
    let mut shown: Vec<String> = Vec::new();
    for round in 0..4 {
        let mut writer = Running::start(over(&path, "append", &["s", "--type", "T", "--lines"]));
        for n in 0..20 {
            writer.give(format!("{round}.{n}\n").as_bytes());
        }
        let tail = tail.get_or_insert_with(|| {
            eventually(|| annals::LogReader::open(&path).ok());
            follow(&path, &["-n", "1000"])
        });
        shown.extend(tail.take(10));
        writer.kill();
    }
    // What the killed writers had got through is shown as a reader sees it, to the last event.
    let expected = crate::common::data(&path);
    let mut tail = tail.unwrap();
    shown.extend(tail.take(expected.len() - shown.len()));
    assert_eq!(shown, expected);
}

fn signal(name: &str, process: &Running) {
    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

#[test]
fn ctrl_c_is_the_end_and_no_error() {
    let dir = TestLog::shop();
    let mut tail = follow(dir.path(), &[]);
    assert_eq!(tail.take(10).len(), 10);
    signal("-INT", &tail.process);
    // Which a shell calls 130.
    assert_eq!(tail.process.0.wait().unwrap().signal(), Some(2));
    let mut stderr = String::new();
    std::io::Read::read_to_string(tail.process.0.stderr.as_mut().unwrap(), &mut stderr).unwrap();
    assert_eq!(stderr, "");
}

#[test]
#[cfg(target_os = "linux")]
fn a_reader_that_goes_away_ends_it_quietly_without_another_event() {
    let dir = TestLog::shop();
    let Following { mut process, mut lines } = follow(dir.path(), &[]);
    assert_eq!(lines.next().unwrap().unwrap(), "{\"n\":0}");
    drop(lines);
    let status = eventually(|| process.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_timeout_ends_it_with_124() {
    let dir = TestLog::shop();
    let ran = dir.run("tail", &["-f", "--timeout", "50ms"]);
    assert_eq!(ran.exits(124).lines().len(), 11);
}
