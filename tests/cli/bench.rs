//! `annals bench`: it says what it measured, checks what it wrote, and keeps off the logs of others.

use crate::common::{TestLog, annals, ask, assert_sound, events, run};

#[test]
fn all_that_was_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let quick = ["--rate", "2k", "--for", "200ms", "--size", "64", "--streams", "3"];
    for (durability, run) in [("disk", 1), ("os", 2)] {
        let report = ask("bench", &log, &[&quick[..], &["--durability", durability, "--json"]].concat()).done().json();
        assert_eq!((&report["written"], &report["read_back"]), (&400.into(), &400.into()));
        assert_eq!((&report["equal"], &report["durability"]), (&true.into(), &durability.into()));
        let latency = |name: &str| report["latency_us"][name].as_f64().unwrap();
        assert!(0.0 < latency("p50") && latency("p50") <= latency("p99") && latency("p99") <= latency("max"));
        // Events were due over 199.5 ms, so it cannot have been quicker.
        assert!(report["seconds"].as_f64().unwrap() >= 0.1995 && report["rate"].as_f64().unwrap() <= 2006.0);
        let events = events(&log);
        assert_eq!(events.len(), 400 * run);
        assert!(events.iter().all(|event| event.data().len() == 64 && event.stream().starts_with("bench-")));
    }
    assert_sound(&log);
}

#[test]
fn text_says_rate_latency_and_check() {
    let dir = tempfile::tempdir().unwrap();
    let ran = ask("bench", &dir.path().join("log"), &["--rate", "1k", "--for", "50ms"]).done().says("machine: ");
    let lines = ran.lines();
    assert!(lines[0].starts_with("append   ") && lines[0].contains("100 bytes each, disk"), "{lines:?}");
    assert!(lines[1].starts_with("latency  p50 ") && lines[1].ends_with("from the intended start"), "{lines:?}");
    assert!(lines[2].starts_with("check    50 events written, 50 read back, hash equal"), "{lines:?}");
}

#[test]
fn a_log_with_events_of_others_is_refused_unless_it_is_asked_for() {
    let log = TestLog::shop();
    let quick = ["--rate", "1k", "--for", "20ms"];
    log.run("bench", &quick).failed(4, "holds events that are not a bench's, as at offset 0");
    assert_eq!(log.events().len(), 10);
    log.run("bench", &[&quick[..], &["--beside-others"]].concat()).done();
    assert_eq!(log.events().len(), 30);
}

#[test]
fn wrong_arguments_are_said() {
    for args in [["--rate", "0"], ["--rate", "fast"], ["--for", "ten"], ["--size", "2000000"], ["--durability", "tape"]]
    {
        run(annals(["bench", "none"].iter().copied().chain(args))).failed(2, args[0]);
    }
}
