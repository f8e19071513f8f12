//! `annals handlers`, and the handlers in `annals lag`: how far each is and what holds it up, and what operators ask of it.

use annals::testkit::Recorder;
use annals::{Append, Event, Log, NewEvent};
use serde_json::{Value, json};

use crate::common::TestLog;
use crate::park::Till;

fn handlers(log: &TestLog) -> Vec<Value> {
    let ran = log.run("handlers", &["--json"]).done();
    ran.lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of a line, what these keys say.
fn told<const N: usize>(line: &Value, keys: [&str; N]) -> [Value; N] {
    keys.map(|key| line[key].clone())
}

fn sell(till: &Till, events: usize) {
    let log = Log::open(till.log.path()).unwrap();
    let sold = || Event::new("b", "Sold").json("more").unwrap();
    log.append(Append::new().events((0..events).map(|_| sold()))).unwrap().wait().unwrap();
    log.close().unwrap();
}

#[test]
fn each_handler_tells_how_far_it_is_and_what_holds_it_up() {
    let till = Till::of(&[("a", "1"), ("a", "bad 2"), ("b", "3"), ("a", "4")]);
    till.log.run("handlers", &[]).done().says("has no handlers");
    till.handle().exits(1);
    let line = &handlers(&till.log)[0];
    let keys = ["handler", "generation", "live", "epoch", "handled", "emitted", "parked_streams", "parked_events"];
    let known = [json!("till"), json!(1), json!(true), json!(1), json!(2), json!(2), json!(1), json!(2)];
    assert_eq!(told(line, keys), known);
    let lag = ["lag", "lag_exact", "lag_seconds", "waiting_since", "paused", "asked"];
    assert_eq!(told(line, lag), [json!(0), json!(true), json!(0.0), json!(null), json!(null), json!(false)]);

    sell(&till, 3);
    let line = &handlers(&till.log)[0];
    assert_eq!(
        told(line, ["lag", "lag_exact"]),
        [json!(3), json!(true)],
        "neither the log's records count nor what it put out"
    );
    assert!(line["lag_seconds"].as_f64().unwrap() > 0.0 && line["waiting_since"].is_string());
    let text = till.log.run("handlers", &[]).done();
    assert!(text.lines()[0].ends_with("HANDLER"), "{}", text.text());
    assert!(text.lines()[1].ends_with("till  1 stream set aside, 2 events waiting"), "{}", text.text());
}

#[test]
fn a_handler_pauses_with_the_reason_and_goes_on() {
    let till = Till::of(&[("a", "1")]);
    till.handle().done();
    till.log.run("handlers", &["pause", "till"]).failed(2, "--reason");
    till.log.run("handlers", &["pause", "till", "--reason", "stocktaking"]).done().says("until it is resumed");
    till.log.run("handlers", &[]).done().says("has not yet acted");
    assert_eq!(told(&handlers(&till.log)[0], ["asked", "paused"]), [json!(true), json!(null)]);
    sell(&till, 1);
    till.handle().failed(1, "paused: stocktaking");
    assert_eq!(
        told(&handlers(&till.log)[0], ["asked", "paused", "lag"]),
        [json!(false), json!("stocktaking"), json!(1)]
    );
    assert!(till.log.run("handlers", &[]).done().text().contains("paused: stocktaking"));
    till.log.run("handlers", &["resume", "till"]).done().says("it is paused: stocktaking");
    till.handle().done();
    assert_eq!((told(&handlers(&till.log)[0], ["paused", "lag"]), till.done()), ([json!(null), json!(0)], 2));
    till.log.run("handlers", &["pause", "other", "--reason", "x"]).failed(3, "no handler \"other\"");
}

#[test]
fn an_event_is_passed_over_where_it_waits_and_before_its_turn() {
    let till = Till::of(&[("a", "bad 1"), ("a", "2")]);
    till.handle().exits(1);
    sell(&till, 2);
    let ahead = handlers(&till.log)[0]["cursor"].as_u64().unwrap();
    let first_new = crate::common::events(till.log.path()).last().unwrap().offset().raw() - 1;
    assert!(first_new >= ahead);
    let skip = |offset: &str, more: &[&str]| till.log.run("handlers", &[&["skip", "till", offset], more].concat());
    let yes = ["--reason", "a test", "--yes"];
    skip("0", &["--reason", "a test"]).failed(2, "no terminal");
    skip("0", &yes).done().says("passes over event 0, Sold of stream a");
    skip(&first_new.to_string(), &yes).done();
    skip("999", &yes).failed(3, "there is no event 999 yet");
    skip("x", &yes).failed(2, "no offset");
    skip("0", &["--yes"]).failed(2, "--reason");
    till.handle().done();
    assert_eq!(till.done(), 2, "event 1, and the second of those that came");
    skip("0", &yes).failed(3, "is done with event 0");
}

#[test]
fn a_generation_that_is_built_beside_is_a_line_of_its_own_until_it_takes_over() {
    let log = TestLog::of((0..4).map(|_| NewEvent::new("s", "T")));
    let open = Log::open(log.path()).unwrap();
    let mut live = Recorder::new("ledger", 1, true);
    let mut shadow = Recorder::new("ledger", 2, false);
    live.step(&open, 4, &[(0, b"\x01a", Some(b"\x001"))]).unwrap();
    shadow.step(&open, 3, &[(0, b"\x01a", Some(b"\x002"))]).unwrap();
    let lines = handlers(&log);
    let keys = ["generation", "live", "cursor", "lag"];
    assert_eq!(told(&lines[0], keys), [json!(1), json!(true), json!(4), json!(0)]);
    assert_eq!(told(&lines[1], keys), [json!(2), json!(false), json!(3), json!(1)]);
    assert!(log.run("handlers", &[]).done().lines()[2].ends_with("ledger  shadow"));
    shadow.cut_over();
    shadow.step(&open, 4, &[]).unwrap();
    let lines = handlers(&log);
    assert_eq!((lines.len(), told(&lines[0], keys)), (1, [json!(2), json!(true), json!(4), json!(0)]));
}

#[test]
fn a_handler_that_lags_or_is_paused_is_above_the_limit() {
    let till = Till::of(&[("a", "1")]);
    till.handle().done();
    sell(&till, 3);
    let lag = |args: &[&str]| till.log.run("lag", args);
    lag(&[]).done();
    lag(&["--max", "3"]).done();
    let line = lag(&["--max", "2", "--json"]).exits(1).json();
    assert_eq!(told(&line, ["handler", "lag"]), [json!("till"), json!(3)]);
    assert!(lag(&[]).done().lines()[1].ends_with("  $handler/till"));
    till.log.run("handlers", &["pause", "till", "--reason", "x"]).done();
    till.handle().exits(1);
    lag(&["--max", "3"]).exits(1);
}
