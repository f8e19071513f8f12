//! `annals verify`: sound or damaged, where, and which events.

use annals::{Event, Log};

use crate::common::{TestLog, flip};

#[test]
fn a_sound_log_is_said_to_be_sound() {
    let log = TestLog::shop();
    let ran = log.run("verify", &[]).done();
    assert!(ran.text().starts_with("sound  10 good events; "), "{}", ran.text());
    assert_eq!(ran.stderr, "");
    let report = log.run("verify", &["--json"]).done().json();
    assert_eq!((report["sound"].as_bool(), report["events"].as_u64()), (Some(true), Some(10)));
    assert_eq!((report["damage"].as_array().unwrap().len(), report["notes"].as_array().unwrap().len()), (0, 0));
    assert_eq!(report["log_id"], log.run("stat", &["--json"]).done().json()["log_id"]);
}

#[test]
fn a_flipped_bit_is_found_and_placed() {
    let log = TestLog::shop();
    let file = log.segments().remove(0);
    let at = flip(&file, b"{\"n\":4}") as u64;
    let ran = log.run("verify", &["--json"]);
    assert_eq!(ran.code, Some(1));
    let report = ran.json();
    assert_eq!(report["sound"], false);
    let damage = &report["damage"][0];
    assert_eq!((damage["file"].as_str(), damage["first"].as_u64()), (file.to_str(), Some(4)));
    assert!(damage["byte"].as_u64().unwrap() < at && at - damage["byte"].as_u64().unwrap() < 512, "{damage}");
    let ran = log.run("verify", &[]);
    assert_eq!(ran.code, Some(1));
    let line = ran.lines()[0];
    assert!(line.starts_with(&format!("damage  {}  byte {}  offsets 4 to ", file.display(), damage["byte"])), "{line}");
    assert!(ran.lines()[1].starts_with("damaged in 1 place  4 good events; "), "{}", ran.text());
}

#[test]
fn damage_in_a_sealed_segment_names_the_events_of_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(256 * 1024).open(dir.path()).unwrap();
    for n in 0..60 {
        log.append(Event::new("s", "T").data(format!("<{n}>{}", "x".repeat(20_000)).into_bytes()))
            .unwrap()
            .wait()
            .unwrap();
    }
    log.close().unwrap();
    let log = TestLog { dir };
    flip(&log.segments()[0], b"<3>");
    flip(&log.segments()[1], b"<20>");
    let ran = log.run("verify", &["--json"]);
    assert_eq!(ran.code, Some(1));
    let report = ran.json();
    let places = report["damage"].as_array().unwrap();
    let affected: Vec<_> = places.iter().map(|damage| (damage["first"].as_u64(), damage["end"].as_u64())).collect();
    assert_eq!(affected, [(Some(3), Some(4)), (Some(20), Some(21))]);
    assert_eq!(report["events"], 58);
}

#[test]
fn what_a_kill_leaves_behind_is_a_note_and_no_damage() {
    let log = TestLog::shop();
    std::fs::write(log.path().join("00000000000000000010.tmp"), b"half").unwrap();
    let ran = log.run("verify", &[]).done();
    assert!(ran.stderr.contains("00000000000000000010.tmp is a segment that was never begun"), "{}", ran.stderr);
    assert!(ran.text().starts_with("sound"));
    let report = log.run("verify", &["--json"]).done();
    assert_eq!(report.json()["notes"].as_array().unwrap().len(), 1);
    assert_eq!(report.stderr, "");
}

#[test]
fn it_checks_beside_the_process_that_writes() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for _ in 0..5 {
        log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    }
    let test = TestLog { dir };
    let report = test.run("verify", &["--json"]).done().json();
    assert_eq!(report["events"], 5);
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    log.close().unwrap();
}

#[test]
fn nothing_is_changed() {
    let log = TestLog::shop();
    let file = log.segments().remove(0);
    flip(&file, b"{\"n\":4}");
    let before = std::fs::read(&file).unwrap();
    log.run("verify", &[]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}
