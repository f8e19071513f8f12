//! The check of a handler: what is wrong is caught, by its law and with the shortest history; what is right passes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::testkit::{Check, CheckReport, CheckVerdict, Law, Level, Outcome, Violation};
use annals::{
    Context, Event, Failure, Filter, Handler, HandlerSpec, Journal, Log, MemoryLog, MemoryView, NewEvent, Offset,
    OnViolation, Runner, Step,
};

/// Twelve events in three streams, with numbers that go up and down; each has an id.
fn events() -> Vec<NewEvent<'static>> {
    let numbers = [5, 3, 8, 1, 9, 2, 7, 4, 6, 0, 11, 10];
    let event = |(n, number): (usize, &u64)| {
        Event::new(format!("s{}", n % 3), "T").id(format!("id-{n}")).data(number.to_string().into_bytes())
    };
    numbers.iter().enumerate().map(event).collect()
}

fn spec() -> HandlerSpec {
    HandlerSpec::new("h").on(Filter::new().stream("s*"))
}

fn check(handler: impl Handler) -> CheckReport {
    Check::new(spec(), handler).require(Law::ALL).run(events()).unwrap()
}

fn number(event: &Event) -> u64 {
    String::from_utf8_lossy(event.data()).parse().unwrap()
}

fn kept(cx: &mut Context<'_>, key: &str) -> u64 {
    cx.get_bytes(key).unwrap().map_or(0, |n| String::from_utf8_lossy(&n).parse().unwrap())
}

/// The first law that does not hold.
#[track_caller]
fn caught(report: &CheckReport) -> &Violation {
    assert_eq!(report.verdict(), CheckVerdict::Failed, "{report}");
    report.violation().unwrap()
}

#[track_caller]
fn caught_by(law: Law, handler: impl Handler) -> Violation {
    let report = check(handler);
    let violation = caught(&report).clone();
    assert_eq!(violation.law, law, "{report}");
    violation
}

#[test]
fn a_counter_is_not_idempotent_by_itself() {
    let violation = caught_by(Law::RawIdempotence, |event: &Event, cx: &mut Context<'_>| {
        let n = kept(cx, event.stream());
        cx.put_bytes(event.stream(), (n + 1).to_string())?;
        Ok(())
    });
    assert_eq!((violation.events.len(), violation.at), (1, Offset::ZERO));
    let row = &violation.rows[0];
    assert_eq!(
        (&row.key[..], row.expected.as_deref(), row.found.as_deref()),
        (&b"s0"[..], Some(&b"1"[..]), Some(&b"2"[..]))
    );
}

#[test]
fn the_wall_clock_is_not_deterministic() {
    let violation = caught_by(Law::Determinism, |event: &Event, cx: &mut Context<'_>| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        cx.put_bytes(event.stream(), now.to_string())?;
        Ok(())
    });
    assert_eq!((violation.events.len(), violation.rows.len()), (1, 1));
}

#[test]
fn a_random_id_is_not_deterministic() {
    let violation = caught_by(Law::Determinism, |_: &Event, cx: &mut Context<'_>| {
        cx.emit(Event::new("out", "Out").id(format!("{:x}", rand())));
        Ok(())
    });
    assert_eq!((violation.outputs_missing.len(), violation.outputs_added.len()), (1, 1));
}

fn rand() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

#[test]
fn the_order_of_a_hash_map_is_not_deterministic() {
    caught_by(Law::Determinism, |event: &Event, cx: &mut Context<'_>| {
        let words: HashMap<u64, u64> = (0..16).map(|n| (n, n * number(event))).collect();
        for (word, _) in words {
            cx.emit(Event::new("out", "Word").data(word.to_string().into_bytes()));
        }
        Ok(())
    });
}

#[test]
fn appending_to_a_list_is_not_idempotent_by_itself() {
    caught_by(Law::RawIdempotence, |event: &Event, cx: &mut Context<'_>| {
        let list = cx.get_bytes(event.stream())?.unwrap_or_default();
        cx.put_bytes(event.stream(), [&list[..], event.data(), b","].concat())?;
        Ok(())
    });
}

#[test]
fn state_of_several_streams_under_one_key_depends_on_the_order_of_streams() {
    let violation = caught_by(Law::LaneCommutation, |event: &Event, cx: &mut Context<'_>| {
        cx.put_bytes("last", event.data())?;
        Ok(())
    });
    assert_eq!(violation.events.len(), 2);
    let row = &violation.rows[0];
    assert_eq!(
        (&row.key[..], row.expected.as_deref(), row.found.as_deref()),
        (&b"last"[..], Some(&b"3"[..]), Some(&b"5"[..]))
    );
}

#[test]
fn an_effect_while_handling_is_not_deterministic() {
    let sent = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&sent);
    let handler = move |event: &Event, cx: &mut Context<'_>| {
        if event.data() == b"8" {
            sent.fetch_add(1, Ordering::Relaxed);
        }
        cx.put_bytes(event.stream(), event.data())?;
        Ok(())
    };
    let watch = move || seen.load(Ordering::Relaxed).to_le_bytes().to_vec();
    let report = Check::new(spec(), handler).require(Law::ALL).observe(watch).run(events()).unwrap();
    let violation = caught(&report);
    assert_eq!((violation.law, violation.at), (Law::Determinism, Offset::from_raw(2)));
    assert_eq!(violation.events.len(), 3, "up to the event that does it");
}

#[test]
fn state_outside_the_context_is_not_deterministic() {
    static SEEN: std::sync::Mutex<Option<HashSet<Vec<u8>>>> = std::sync::Mutex::new(None);
    caught_by(Law::Determinism, |event: &Event, cx: &mut Context<'_>| {
        let mut seen = SEEN.lock().unwrap();
        if seen.get_or_insert_default().insert(event.data().to_vec()) {
            cx.put_bytes(event.data(), "seen")?;
        }
        Ok(())
    });
}

#[test]
fn a_key_that_does_not_tell_the_second_event_from_the_first_is_no_guard() {
    struct ByOffset;
    impl Handler for ByOffset {
        fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
            let n = kept(cx, event.stream());
            cx.put_bytes(event.stream(), (n + 1).to_string())?;
            Ok(())
        }
        fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
            Some(event.offset().to_string().into_bytes())
        }
    }
    let report = Check::new(spec(), ByOffset).run(events()).unwrap();
    let violation = caught(&report);
    assert_eq!((violation.law, violation.events.len()), (Law::GuardedIdempotence, 1), "{report}");
    assert!(report.violation_of(Law::LateDuplicate).is_some());
}

#[test]
fn what_the_process_remembers_of_a_step_that_was_lost_is_found_through_the_runtime() {
    // Twice on one state, or once more behind itself, it is the same.
    let last = AtomicU64::new(0);
    let handler = move |event: &Event, cx: &mut Context<'_>| {
        let at = event.offset().raw();
        let before = last.swap(at, Ordering::Relaxed);
        let in_time = at == 0 || before == at || before + 1 == at;
        cx.put_bytes(event.stream(), if in_time { "in time" } else { "late" })?;
        Ok(())
    };
    let report = check(handler);
    assert!(report.holds(Law::RawIdempotence), "{report}");
    assert_eq!(caught(&report).law, Law::LateDuplicate, "{report}");
}

#[track_caller]
fn passes(handler: impl Handler, level: Level, laws: &[Law]) -> CheckReport {
    let report = Check::new(spec(), handler).require(laws.iter().copied()).run(events()).unwrap();
    assert_eq!(report.verdict(), CheckVerdict::Passed, "{report}");
    assert_eq!(report.level(), Some(level), "{report}");
    report
}

#[test]
fn the_latest_value_passes() {
    let handler = |event: &Event, cx: &mut Context<'_>| {
        cx.put_bytes(event.stream(), event.data())?;
        Ok(())
    };
    passes(handler, Level::RawIdempotent, &Law::ALL);
}

#[test]
fn the_highest_and_the_lowest_of_all_streams_pass() {
    let handler = |event: &Event, cx: &mut Context<'_>| {
        let n = number(event);
        let (most, least) = (kept(cx, "most").max(n), cx.get_bytes("least")?.map_or(n, |_| kept(cx, "least")).min(n));
        cx.put_bytes("most", most.to_string())?;
        cx.put_bytes("least", least.to_string())?;
        Ok(())
    };
    passes(handler, Level::RawIdempotent, &Law::ALL);
}

#[test]
fn a_set_passes() {
    let handler = |event: &Event, cx: &mut Context<'_>| {
        cx.put_bytes([b"member/", event.data()].concat(), "")?;
        Ok(())
    };
    passes(handler, Level::RawIdempotent, &Law::ALL);
}

#[test]
fn rows_by_key_with_outputs_and_effects_pass() {
    let handler = |event: &Event, cx: &mut Context<'_>| {
        cx.put_bytes(event.id().unwrap(), event.data())?;
        let (time, random) = (cx.now(), cx.random());
        cx.emit(Event::new("out", "Kept").data(format!("{time:?} {random}").into_bytes()));
        cx.effect_bytes("mail", event.data().to_vec())?;
        Ok(())
    };
    passes(handler, Level::RawIdempotent, &Law::ALL);
}

struct Guarded;

impl Handler for Guarded {
    fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
        let n = kept(cx, event.stream());
        cx.put_bytes(event.stream(), (n + 1).to_string())?;
        cx.emit(Event::new("out", "Counted").data((n + 1).to_string().into_bytes()));
        Ok(())
    }

    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        event.id().map(|id| id.as_bytes().to_vec())
    }
}

#[test]
fn a_counter_behind_an_idempotency_key_passes() {
    let laws: Vec<Law> = Law::ALL.into_iter().filter(|law| *law != Law::RawIdempotence).collect();
    let report = passes(Guarded, Level::GuardedIdempotent, &laws);
    assert!(report.violation_of(Law::RawIdempotence).is_some(), "and it is said that it needs the guard");
}

#[test]
fn a_handler_that_does_nothing_is_not_checked_and_never_passes() {
    let report = check(|_: &Event, _: &mut Context<'_>| Ok(()));
    assert_eq!((report.verdict(), report.level()), (CheckVerdict::NotChecked, None));
    assert!(report.laws.values().all(|outcome| matches!(outcome, Outcome::NotChecked(_))), "{report}");
    let report = Check::new(spec(), Guarded).run([]).unwrap();
    assert_eq!((report.verdict(), report.events), (CheckVerdict::NotChecked, 0));
}

#[test]
fn a_law_that_is_required_and_could_not_be_tried_is_no_pass() {
    let one_stream = (0..5).map(|n: u32| Event::new("s", "T").data(n.to_string().into_bytes()));
    let report = Check::new(spec(), Guarded).require([Law::LaneCommutation]).run(one_stream).unwrap();
    assert_eq!(report.verdict(), CheckVerdict::NotChecked, "{report}");
}

#[test]
fn events_that_fail_are_counted_and_not_compared() {
    let handler = |event: &Event, cx: &mut Context<'_>| {
        if event.data() == b"9" {
            return Err(Failure::park("cannot be read"));
        }
        cx.put_bytes(event.data(), "")?;
        Ok(())
    };
    let report = check(handler);
    assert_eq!((report.verdict(), report.failed), (CheckVerdict::Passed, 1), "{report}");
}

#[test]
fn a_part_of_a_real_log_is_checked_with_its_times_and_the_log_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for event in events() {
        log.append(event).unwrap().wait().unwrap();
    }
    let tail = log.tail();
    let first = log.get(Offset::from_raw(4)).unwrap().unwrap().recorded();
    let handler = move |event: &Event, cx: &mut Context<'_>| {
        assert!(cx.now() >= first);
        cx.put_bytes(event.data(), "")?;
        Ok(())
    };
    let report = Check::new(spec(), handler).run_range(&log, Offset::from_raw(4), log.durable_end()).unwrap();
    assert_eq!((report.verdict(), report.events), (CheckVerdict::Passed, 8), "{report}");
    assert_eq!(log.tail(), tail);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(8))]
    #[test]
    fn whatever_the_events_a_guarded_counter_passes(streams in proptest::collection::vec(0..4u8, 1..20)) {
        let event = |(n, stream): (usize, u8)| Event::new(format!("s{stream}"), "T").id(format!("id-{n}"));
        let report = annals::testkit::check_handler(spec(), Guarded, streams.into_iter().enumerate().map(event)).unwrap();
        assert_eq!(report.verdict(), CheckVerdict::Passed, "{report}");
    }
}

/// Handles the events with one in so many twice; how it ended, violations, and what was kept of each event.
fn sampled(every: u32, on_violation: OnViolation, wrong: bool) -> (Step, u64, usize) {
    let log = MemoryLog::new();
    for event in events() {
        log.append(annals::Append::new().events([event])).unwrap().wait().unwrap();
    }
    let calls = AtomicU64::new(0);
    let handler = move |event: &Event, cx: &mut Context<'_>| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        cx.put_bytes(event.data(), if wrong { call } else { 0 }.to_string())?;
        cx.emit(Event::new("out", "Out"));
        Ok(())
    };
    let spec = spec().check_sample(every, on_violation);
    let mut runner = Runner::open(log.clone(), MemoryView::new(), spec, handler).unwrap();
    let step = runner.run_to_end().unwrap();
    let kept = (0..12).filter(|n: &u32| runner.get_bytes(n.to_string()).unwrap().is_some()).count();
    (step, runner.violations(), kept)
}

#[test]
fn a_sample_of_events_is_handled_twice_and_each_counts_once() {
    for every in [0, 1, 4] {
        assert_eq!(sampled(every, OnViolation::Pause, false), (Step::Idle { due_us: None }, 0, 12));
    }
    let found = 12 / 4;
    assert_eq!(sampled(4, OnViolation::Warn, true), (Step::Idle { due_us: None }, found, 12));
    assert_eq!(sampled(0, OnViolation::Pause, true), (Step::Idle { due_us: None }, 0, 12));
}

#[test]
fn a_handler_can_pause_before_the_event_that_comes_to_two_results() {
    let (step, violations, kept) = sampled(4, OnViolation::Pause, true);
    let Step::Paused { reason } = step else { panic!("{step:?}") };
    assert!(reason.contains("two results; at event 3; row 1: 3 expected, 4 found"), "{reason}");
    assert_eq!((violations, kept), (1, 3));
}

#[cfg(feature = "json")]
#[test]
fn a_report_is_shown_as_json() {
    let report = check(|event: &Event, cx: &mut Context<'_>| {
        cx.put_bytes("last", event.data())?;
        Ok(())
    });
    let json = report.to_json();
    assert_eq!((&json["verdict"], &json["level"]), (&"failed".into(), &"raw-idempotent".into()));
    assert_eq!(json["laws"]["determinism"]["outcome"], "held");
    let violation = &json["laws"]["lane-commutation"]["violation"];
    assert_eq!((&violation["rows"][0]["key"], &violation["rows"][0]["found"]), (&"last".into(), &"5".into()));
    assert_eq!(violation["events"].as_array().unwrap().len(), 2);
}
