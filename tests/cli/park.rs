//! `annals park`: what a handler has set aside is shown with its cause, and what operators decide is done when the
//! handler runs next.

use annals::{Event, Log, NewEvent};
use serde_json::{Value, json};

use crate::common::{Ran, TestLog, annals, assert_sound, events, run};

/// A handler that parks what it reads of while a file is there, and else puts out the event's data.
pub struct Till {
    pub log: TestLog,
    room: tempfile::TempDir,
}

impl Till {
    /// Events of streams, with texts as data; those with `bad` in it are parked.
    pub fn of(sales: &[(&'static str, &'static str)]) -> Till {
        let event = |(stream, text): &(&'static str, &'static str)| NewEvent::new(*stream, "Sold").json(text).unwrap();
        let till = Till { log: TestLog::of(sales.iter().map(event)), room: tempfile::tempdir().unwrap() };
        till.fails(true);
        till
    }

    fn fails(&self, fails: bool) {
        let file = self.room.path().join("fails");
        if fails { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
    }

    pub fn handle(&self) -> Ran {
        let exec = format!(
            r#"while read -r line; do
                case "$line" in
                *bad*) if [ -e {} ]; then echo '{{"park":"no price"}}'; continue; fi;;
                esac
                echo '{{"emit":[{{"stream":"out","type":"Done","data":1}}]}}'
            done"#,
            self.room.path().join("fails").display()
        );
        self.log.run("handle", &["--name", "till", "--on", "Sold", "--exec", &exec])
    }

    fn park(&self, args: &[&str]) -> Ran {
        self.log.run("park", &[&["till"], args].concat())
    }

    /// What is set aside: stream, events that wait, and the first of them.
    fn aside(&self) -> Vec<(String, u64, u64)> {
        let ran = self.park(&["ls", "--json"]).done();
        let lines = ran.lines().into_iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
        lines
            .map(|line| (line["stream"].as_str().unwrap().to_owned(), number(&line, "waiting"), number(&line, "first")))
            .collect()
    }

    pub fn done(&self) -> usize {
        events(self.log.path()).iter().filter(|event| event.event_type() == "Done").count()
    }
}

/// Of stream `a` the second event is bad, and two follow it; of `c` the first.
fn till() -> Till {
    let sales = [("a", "1"), ("a", "bad 2"), ("b", "3"), ("a", "4"), ("a", "bad 5"), ("c", "bad 6")];
    let till = Till::of(&sales);
    till.handle().exits(1);
    till
}

fn aside(streams: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    streams.iter().map(|(stream, waiting, first)| ((*stream).to_owned(), *waiting, *first)).collect()
}

#[test]
fn what_is_set_aside_is_shown_with_its_cause() {
    let till = till();
    assert_eq!(till.aside(), aside(&[("a", 3, 1), ("c", 1, 5)]));
    let first: Value = serde_json::from_str(till.park(&["--json"]).done().lines()[0]).unwrap();
    let told = ["failures", "retry_at", "cause"].map(|key| &first[key]);
    assert_eq!(told, [&json!(1), &json!(null), &json!("no price")]);
    assert!(first["since"].is_string());
    let text = till.park(&[]).done();
    assert!(text.lines()[0].ends_with("STREAM  CAUSE") && text.lines()[1].ends_with("a  no price"), "{}", text.text());
    let mut by_variable = annals(["park", "till", "ls", "--json"]);
    by_variable.env("ANNALS_LOG", till.log.path());
    assert_eq!(run(by_variable).done().lines().len(), 2);
}

#[test]
fn a_stream_that_is_tried_again_flows_when_its_cause_is_gone() {
    let till = till();
    till.fails(false);
    till.park(&["retry", "a", "--yes", "--reason", "prices are there"]).done().says("acts on it when it runs next");
    assert_eq!(till.aside(), aside(&[("a", 3, 1), ("c", 1, 5)]), "nobody has acted on it");
    till.handle().exits(1);
    assert_eq!((till.aside(), till.done()), (aside(&[("c", 1, 5)]), 5));
    let asked = till.log.run("cat", &["--stream", "$control/till", "-o", "raw"]).done();
    assert_eq!(asked.text(), "prices are there\n");
    till.park(&["retry", "c", "--yes"]).done();
    till.handle().done();
    till.park(&["ls"]).done().says("has set no stream aside");
    assert_eq!(till.done(), 6);
    assert_sound(till.log.path());
}

#[test]
fn what_is_given_up_is_gone_and_what_is_behind_it_follows() {
    let till = till();
    till.park(&["drop", "a", "--yes", "--reason", "a test"]).done().says("gives up event 1").says("2 events behind it");
    till.handle().exits(1);
    assert_eq!((till.aside(), till.done()), (aside(&[("a", 1, 4), ("c", 1, 5)]), 3));
    let said = till.park(&["drop", "a", "--all", "--yes", "--reason", "a test", "--json"]).done();
    let said = said.json();
    assert_eq!(
        ["handler", "asked", "stream", "offset", "events", "reason", "dry_run"].map(|key| said[key].clone()),
        [json!("till"), json!("drop"), json!("a"), json!(4), json!(1), json!("a test"), json!(false)]
    );
    assert!(said["at"].as_u64().unwrap() > 6, "{said}");
    till.handle().exits(1);
    assert_eq!((till.aside(), till.done()), (aside(&[("c", 1, 5)]), 3));
}

#[test]
fn all_that_waits_is_given_up_at_once() {
    let till = till();
    till.park(&["drop", "a", "--all", "--yes", "--reason", "a test"]).done().says("3 events");
    till.handle().exits(1);
    assert_eq!((till.aside(), till.done()), (aside(&[("c", 1, 5)]), 2));
}

#[test]
fn nothing_is_written_before_somebody_agrees() {
    let till = till();
    let end = || till.log.run("stat", &["--json"]).done().json()["durable_end"].clone();
    let before = end();
    till.park(&["drop", "a", "--reason", "x"]).failed(2, "no terminal").says("gives up event 1");
    till.park(&["retry", "a"]).failed(2, "no terminal");
    till.park(&["drop", "a", "--reason", "x", "--dry-run"]).done().says("would be done: ");
    let said = till.park(&["retry", "a", "--dry-run", "--json"]).done().json();
    assert_eq!((&said["dry_run"], &said["at"]), (&json!(true), &json!(null)));
    assert!(before.is_u64());
    assert_eq!(end(), before);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let till = till();
    till.log.run("park", &["other"]).failed(3, "no handler \"other\"");
    till.park(&["retry", "b", "--yes"]).failed(3, "has not set stream \"b\" aside");
    till.park(&["drop", "a", "--yes"]).failed(2, "--reason");
    till.park(&["retry", "a", "--all", "--yes"]).failed(2, "--all");
    till.park(&["ls", "--yes"]).failed(2, "takes no");
    till.park(&["frob"]).failed(2, "`retry STREAM`");
    run(annals(["park", "/nowhere/at/all", "till"])).failed(3, "");
    let log = Log::open(till.log.path()).unwrap();
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    till.park(&["retry", "a", "--yes"]).failed(4, "process");
    assert_eq!(till.aside().len(), 2, "looking needs no lock");
    log.close().unwrap();
}
