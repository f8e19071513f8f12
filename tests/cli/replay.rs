//! `annals replay`: the same code comes to the same, other code to a difference that is named; nothing is appended.

use annals::Event;

use crate::common::{TestLog, events};

/// Answers every line with the same.
pub fn always(answer: &str) -> String {
    format!("while read -r line; do echo '{answer}'; done")
}

pub const ONE: &str = r#"{"state":1,"emit":[{"stream":"out","type":"Out","data":1}]}"#;

/// Four events in two streams, handled by generation 1 of `h`, whose first record stands behind them, at offset 4.
pub fn handled() -> TestLog {
    let log = TestLog::of((0..4).map(|n| Event::new(format!("s{}", n % 2), "T")));
    log.run("handle", &["--name", "h", "--stream", "s*", "--exec", &always(ONE)]).done();
    log
}

fn replay(log: &TestLog, command: &str, more: &[&str]) -> crate::common::Ran {
    log.run("replay", &[&["h", "--stream", "s*", "--exec", &always(command)], more].concat())
}

#[test]
fn the_same_command_is_verified_and_nothing_is_appended() {
    let log = handled();
    let before = events(log.path()).len();
    replay(&log, ONE, &["--verify"]).done().says("handled 4 events again");
    let json = replay(&log, ONE, &["--verify", "--json"]).done().json();
    assert_eq!((&json["verdict"], &json["events"], &json["outputs"]), (&"verified".into(), &4.into(), &4.into()));
    assert_eq!((&json["rows"], &json["cursor"], &json["difference"]), (&2.into(), &5.into(), &serde_json::Value::Null));
    assert_eq!(events(log.path()).len(), before);
}

#[test]
fn another_value_is_named_with_its_event_its_key_and_both_values() {
    let log = handled();
    let other = ONE.replace("\"state\":1", "\"state\":2");
    let json = replay(&log, &other, &["--verify", "--json"]).exits(1).json();
    assert_eq!(json["verdict"], "differs");
    let found = &json["difference"];
    assert_eq!((&found["kind"], &found["event"], &found["key"]), (&"row".into(), &2.into(), &"s0".into()));
    assert_eq!((&found["recorded"], &found["replayed"]), (&"1".into(), &"2".into()));
    let text = replay(&log, &other, &["--verify"]).exits(1);
    assert!(text.text().starts_with("differs: event 2 "), "{}", text.text());
}

#[test]
fn another_output_is_found() {
    let log = handled();
    let json = replay(&log, &ONE.replace("\"data\":1", "\"data\":2"), &["--verify", "--json"]).exits(1).json();
    let found = &json["difference"];
    assert_eq!((&found["kind"], &found["event"]), (&"output".into(), &0.into()));
    assert_eq!((&found["recorded"], &found["replayed"]), (&"1".into(), &"2".into()));
}

#[test]
fn without_verify_the_state_is_made_and_other_code_may_come_to_another() {
    let log = handled();
    let other = ONE.replace("\"state\":1", "\"state\":2");
    for (more, verdict) in [(vec![], "made"), (vec!["--fresh"], "fresh")] {
        let one = replay(&log, ONE, &[&more[..], &["--json"]].concat()).done().json();
        let two = replay(&log, &other, &[&more[..], &["--json"]].concat()).done().json();
        assert_eq!((&one["verdict"], &two["verdict"]), (&verdict.into(), &verdict.into()));
        assert_ne!(one["digest"], two["digest"]);
    }
    let json = replay(&log, ONE, &["--until", "2", "--json"]).done().json();
    assert_eq!((&json["events"], &json["cursor"]), (&2.into(), &2.into()));
}

#[test]
fn what_could_not_be_compared_is_no_yes() {
    let log = handled();
    replay(&log, ONE, &["--verify", "--until", "2"]).exits(1);
    log.run("replay", &["other", "--exec", "cat"]).failed(3, "there is no handler \"other\"");
    log.run("replay", &["h", "--exec", "cat"]).failed(4, "");
    replay(&log, ONE, &["--verify", "--fresh"]).failed(2, "--fresh");
    log.run("replay", &["h"]).failed(2, "--exec");
}
