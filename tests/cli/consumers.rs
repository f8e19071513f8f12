//! `annals consumers`, `annals lag` and `--consumer`: a cursor begins where it stood, moves past what was written out,
//! and stays when nobody read it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use annals::{Event, Log};
use serde_json::Value;

use crate::common::{Running, TestLog, eventually, over, run};

fn taken(log: &TestLog, args: &[&str]) -> Vec<String> {
    let args = [&["--consumer", "mailer", "-o", "raw"], args].concat();
    log.run("cat", &args).exits(0).lines().iter().map(|line| (*line).to_owned()).collect()
}

fn ns(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("{{\"n\":{n}}}")).collect()
}

fn cursors(log: &TestLog) -> Vec<(String, u64, u64)> {
    let ran = log.run("consumers", &["--json"]).done();
    let lines = ran.lines().into_iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            (
                line["consumer"].as_str().unwrap().to_owned(),
                line["next"].as_u64().unwrap(),
                line["lag"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_consumer_goes_on_where_it_stopped() {
    let log = TestLog::shop();
    assert_eq!(taken(&log, &["-n", "3"]), ns(0..3));
    assert_eq!(cursors(&log), [("mailer".to_owned(), 3, 7)]);
    assert_eq!(taken(&log, &["-n", "4"]), ns(3..7));
    assert_eq!(taken(&log, &[]), ns(7..10));
    assert_eq!(taken(&log, &[]), ns(0..0));
    assert_eq!(cursors(&log), [("mailer".to_owned(), 10, 0)]);
}

#[test]
fn its_filter_stays_with_it_and_moves_the_cursor_past_what_it_leaves_out() {
    let log = TestLog::shop();
    assert_eq!(taken(&log, &["--type", "Placed"]), ns(0..3));
    assert_eq!(cursors(&log), [("mailer".to_owned(), 10, 0)]);
    let writer = Log::open(log.path()).unwrap();
    for event_type in ["Paid", "Placed"] {
        writer.append(Event::new("order-1", event_type).data(event_type.as_bytes())).unwrap().wait().unwrap();
    }
    assert_eq!(taken(&log, &[]), ["Placed"]);
}

#[test]
fn a_cursor_is_set_and_forgotten() {
    let log = TestLog::shop();
    log.run("consumers", &[]).done().says("has no consumers");
    log.run("consumers", &["set", "mailer", "end-2"]).done().says("goes on with offset 8");
    assert_eq!(taken(&log, &[]), ns(8..10));
    log.run("consumers", &["set", "mailer", "#1"]).done();
    assert_eq!(taken(&log, &["-n", "1"]), ns(1..2));
    log.run("consumers", &["set", "mailer", "99"]).failed(4, "ahead of the log");
    assert_eq!(cursors(&log), [("mailer".to_owned(), 2, 8)]);
    log.run("consumers", &["rm", "mailer"]).done();
    log.run("consumers", &["rm", "mailer"]).failed(3, "no consumer `mailer`");
    log.run("consumers", &["frob", "mailer"]).failed(2, "set NAME POS");
    log.run("cat", &["--consumer", "mailer", "--from", "3"]).failed(2, "begins at its cursor");
    log.run("tail", &["--consumer", "mailer", "-n", "3"]).failed(2, "begins at its cursor");
    assert_eq!(cursors(&log), []);
}

#[test]
fn a_lag_above_the_limit_is_the_answer_no() {
    let log = TestLog::shop();
    log.run("lag", &["--max", "0"]).done().says("has no consumers");
    assert_eq!(taken(&log, &["-n", "6"]).len(), 6);
    log.run("lag", &[]).done();
    log.run("lag", &["--max", "4"]).done();
    let ran = log.run("lag", &["--max", "3", "--json"]).exits(1);
    let line = ran.json();
    assert_eq!((line["consumer"].as_str(), line["lag"].as_u64()), (Some("mailer"), Some(4)));
    assert!(line["lag_seconds"].as_f64().unwrap() > 0.0 && line["waiting_since"].is_string());
    let text = log.run("lag", &[]).done();
    assert!(text.lines()[0].ends_with("CONSUMER") && text.lines()[1].ends_with("  mailer"), "{}", text.text());
}

#[test]
fn what_could_not_be_written_out_is_not_behind_the_cursor() {
    let log = TestLog::of((0..5000).map(|n| Event::new("s", "T").data(format!("{n:0200}").into_bytes())));
    let mut cat =
        over(log.path(), "cat", &["--consumer", "mailer", "-o", "raw"]).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(cat.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("{:0200}", 0));
    drop(lines);
    // A closed pipe is a quiet end.
    assert_eq!(cat.wait().unwrap().code(), Some(0));
    let [(_, next, _)] = cursors(&log).try_into().unwrap();
    assert!(next < 5000, "{next}");
    let rest = taken(&log, &[]);
    assert_eq!(rest.len() as u64, 5000 - next);
    assert_eq!(rest[0], format!("{next:0200}"));
}

#[test]
fn a_consumer_that_follows_is_nobody_elses_and_keeps_its_place_when_killed() {
    let log = TestLog::shop();
    let tail = ["--consumer", "mailer", "-f", "-o", "raw"];
    let mut running = Running::start(over(log.path(), "tail", &tail));
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let first: Vec<String> = lines.by_ref().take(10).map(Result::unwrap).collect();
    assert_eq!(first, ns(0..10));
    log.run("cat", &["--consumer", "mailer"]).failed(4, "is in use");
    eventually(|| (cursors(&log)[0].1 == 10).then_some(()));
    let writer = Log::open(log.path()).unwrap();
    writer.append(Event::new("s", "T").data(&b"live"[..])).unwrap().wait().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "live");
    eventually(|| (cursors(&log)[0].1 == 11).then_some(()));
    running.kill();
    writer.append(Event::new("s", "T").data(&b"later"[..])).unwrap().wait().unwrap();
    let ran = run(over(log.path(), "tail", &["--consumer", "mailer", "-o", "raw"])).done();
    assert_eq!(ran.lines(), ["later"]);
}
