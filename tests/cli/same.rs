//! `annals same`: logs are equal by what the users wrote, and the first difference is named.

use annals::{Event, Log, NewEvent, Timestamp};

use crate::common::{Ran, TestLog, annals, run};

fn same(one: &TestLog, other: &TestLog, args: &[&str]) -> Ran {
    let mut command = annals(["same"]);
    command.arg(one.path()).arg(other.path()).args(args);
    run(command)
}

const TIME: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn event() -> NewEvent<'static> {
    filled(Event::new("order-1", "Placed").time(TIME).id("i"), "v")
}

fn filled(event: NewEvent<'static>, header: &'static str) -> NewEvent<'static> {
    event.data(&b"{\"n\":1}"[..]).source("till").content_type("application/json").header("k", header)
}

#[test]
fn logs_of_the_same_events_are_the_same_however_they_were_appended() {
    let one = TestLog::shop();
    let other = TestLog::empty();
    let log = Log::open(other.path()).unwrap();
    let events: Vec<_> = one.events();
    let copies =
        events.iter().map(|event| Event::new(event.stream(), event.event_type()).data(event.data()).time(event.time()));
    log.append(annals::Append::new().events(copies)).unwrap().wait().unwrap();
    log.close().unwrap();
    assert_eq!(same(&one, &other, &[]).done().text(), "same  10 events\n");
    let answer = same(&one, &one, &["--json"]).done().json();
    assert_eq!(answer, serde_json::json!({"same": true, "events": 10}));
    assert_eq!(same(&TestLog::empty(), &TestLog::empty(), &[]).done().text(), "same  0 events\n");
}

#[test]
fn every_part_of_an_event_counts() {
    let first = || Event::new("first", "T");
    let log = TestLog::of([first(), event()]);
    for (other, what) in [
        (filled(Event::new("order-2", "Placed").time(TIME).id("i"), "v"), "stream"),
        (filled(Event::new("order-1", "Paid").time(TIME).id("i"), "v"), "type"),
        (filled(Event::new("order-1", "Placed").time(TIME), "v"), "id"),
        (event().source("shop"), "source"),
        (event().time(Timestamp::from_micros(1)), "time"),
        (filled(Event::new("order-1", "Placed").id("i"), "v"), "time"),
        (event().content_type("text/plain"), "content type"),
        (event().header("k", "v"), "headers"),
        (filled(Event::new("order-1", "Placed").time(TIME).id("i"), "w"), "headers"),
        (event().data(&b"{\"n\": 1}"[..]), "data"),
    ] {
        let other = TestLog::of([first(), other]);
        let answer = same(&log, &other, &["--json"]).exits(1).json();
        assert_eq!((answer["same"].as_bool(), answer["events"].as_u64()), (Some(false), Some(1)), "{what}");
        assert_eq!(answer["difference"]["what"], what);
        assert_eq!(answer["difference"]["one"]["offset"], 1, "{what}");
        let text = same(&other, &log, &[]).exits(1);
        assert!(text.text().starts_with(&format!("different in {what}, behind 1 equal event\n")), "{}", text.text());
    }
}

#[test]
fn one_that_goes_on_is_not_the_same() {
    let (short, long) = (TestLog::of([event()]), TestLog::of([event(), event()]));
    for (one, other) in [(&short, &long), (&long, &short)] {
        let ran = same(one, other, &[]).exits(1);
        let lines = ran.lines();
        assert_eq!(lines[0], "different in length, behind 1 equal event");
        let ends = format!("{}: ends there", short.path().display());
        let goes_on = format!("{}: offset 1: order-1@1 Placed", long.path().display());
        assert!(lines.contains(&ends.as_str()) && lines.contains(&goes_on.as_str()), "{lines:?}");
    }
}

#[test]
fn what_is_no_log_is_not_found_and_damage_is_no_answer() {
    let log = TestLog::shop();
    let none = tempfile::tempdir().unwrap();
    let mut command = annals(["same"]);
    command.arg(log.path()).arg(none.path());
    run(command).failed(3, "there is no log at");
    let damaged = TestLog::shop();
    crate::common::flip(&damaged.segments()[0], b"{\"n\":4}");
    same(&log, &damaged, &[]).failed(5, "is damaged");
}
