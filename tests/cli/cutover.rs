//! `annals cutover`: said first, agreed to, and then one generation stands in the other's place.

use annals::Event;

use crate::common::{Ran, TestLog, events, over, run_with};
use crate::replay::{ONE, always, handled};

const TWO: &str = r#"{"state":2,"emit":[{"stream":"out","type":"Out","data":2}]}"#;

fn cutover(log: &TestLog, command: &str, more: &[&str]) -> Ran {
    log.run("cutover", &[&["h", "--stream", "s*", "--exec", &always(command)], more].concat())
}

fn handle(log: &TestLog, command: &str, generation: &str) -> Ran {
    let more = ["--name", "h", "--stream", "s*", "--generation", generation, "--exec", &always(command)];
    log.run("handle", &more)
}

fn outputs(log: &TestLog) -> Vec<String> {
    let out = events(log.path()).into_iter().filter(|event| event.stream() == "out");
    out.map(|event| String::from_utf8_lossy(event.data()).into_owned()).collect()
}

#[test]
fn a_plan_is_said_and_nothing_is_done_until_it_is_agreed_to() {
    let log = handled();
    let before = events(log.path()).len();
    let plan = "build generation 2 of \"h\" from its beginning up to offset 5, where generation 1 is";
    cutover(&log, TWO, &["--to", "2", "--dry-run"]).done().says(plan);
    cutover(&log, TWO, &["--to", "2"]).failed(2, "it was not agreed to");
    assert_eq!(events(log.path()).len(), before);
}

#[test]
fn the_new_generation_goes_on_where_the_old_one_was_and_the_old_one_is_refused() {
    let log = handled();
    let json = cutover(&log, TWO, &["--to", "2", "--yes", "--json"]).done().json();
    assert_eq!((&json["from"], &json["to"], &json["live_cursor"]), (&1.into(), &2.into(), &5.into()));
    assert!(json["cut_over"].as_u64().unwrap() > 5, "{json}");
    run_with(over(log.path(), "append", &["s0", "--type", "T"]), b"{}").done();
    handle(&log, ONE, "1").failed(4, "generation");
    handle(&log, TWO, "2").done();
    assert_eq!(outputs(&log), ["1", "1", "1", "1", "2"]);
    assert_eq!(log.run("state", &["h"]).done().text(), "s0\t2\ns1\t2\n");
    cutover(&log, TWO, &["--to", "2", "--yes"]).failed(4, "is the live one already");
    // And back.
    cutover(&log, ONE, &["--to", "1", "--yes"]).done();
    assert_eq!(log.run("state", &["h"]).done().text(), "s0\t1\ns1\t1\n");
}

#[test]
fn code_that_fails_where_the_live_one_did_not_does_not_take_over() {
    let log = handled();
    cutover(&log, r#"{"park":"new code does not like it"}"#, &["--to", "2", "--yes"])
        .failed(4, "new code does not like it");
    handle(&log, ONE, "1").done();
    cutover(&TestLog::of([Event::new("s", "T")]), TWO, &["--to", "2", "--yes"]).failed(3, "there is no handler");
}
