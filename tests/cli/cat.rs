//! `annals cat`: which events it shows, where it ends, and how it writes them.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use annals::testkit::own_append;
use annals::{Append, Event, Expect, Log, LogReader, Timestamp};
use proptest::prelude::*;

use crate::common::{Ran, TestLog, annals, flip};

/// The `n` of the shop's events that came out.
fn numbers(ran: &Ran) -> Vec<u64> {
    let number = |line: &&str| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap();
    ran.lines().iter().map(number).collect()
}

fn shown(log: &TestLog, args: &[&str]) -> Vec<u64> {
    let args: Vec<&str> = ["-o", "raw"].iter().chain(args).copied().collect();
    numbers(&log.run("cat", &args).done())
}

#[test]
fn raw_is_the_data_and_a_line_feed_and_nothing_else() {
    let payloads: [&[u8]; 5] = [b"{\"a\":1}", b"", b"two\nlines", b"\x89PNG\0\xff", b"\x1b[31mred"];
    let log = TestLog::of(payloads.map(|data| Event::new("s", "T").data(data)));
    let ran = log.run("cat", &["-o", "raw"]).done();
    assert_eq!(ran.stdout, [payloads.join(&b'\n'), b"\n".to_vec()].concat());
    assert_eq!(ran.stderr, "");
}

#[test]
fn text_is_columns_and_harmless() {
    let time = Timestamp::from_micros(1_700_000_000_123_456);
    let event = |stream: &'static str, data: &'static [u8]| Event::new(stream, "Placed").data(data).time(time);
    let log = TestLog::of([
        event("order-1", b"{\"user\":7}"),
        event("a much longer stream", b"\x1b]0;owned\x07\n"),
        event("order-1", b"\x89PNG\r\n\x1a\n"),
    ]);
    let expected = r#"
OFFSET  TIME                     STREAM        TYPE          DATA
     0  2023-11-14 22:13:20.123  order-1       Placed        {"user":7}
     1  2023-11-14 22:13:20.123  a much longer stream  Placed        \u{1b}]0;owned\u{7}\n
     2  2023-11-14 22:13:20.123  order-1               Placed        <binary 8 bytes> 89 50 4e 47 0d 0a 1a 0a
"#;
    for args in [&[][..], &["-o", "text"], &["--color", "auto"]] {
        assert_eq!(log.run("cat", args).done().text(), expected.trim_start());
    }
}

#[test]
fn text_in_a_pipe_is_not_cut() {
    let long = "x".repeat(10_000);
    let log = TestLog::of([Event::new("s", "T").data(long.as_bytes())]);
    let ran = log.run("cat", &[]).done();
    assert!(ran.lines()[1].ends_with(&long));
}

#[test]
fn json_is_one_envelope_a_line() {
    let time = Timestamp::from_micros(1_700_000_000_123_456);
    let log = TestLog::of([
        Event::new("s", "T").data(&b"{\"b\":1.0,\"a\":[]}"[..]).time(time).id("i").source("here").header("k", "v"),
        Event::new("s", "T").data(&b"\xff"[..]),
    ]);
    for args in [&["--json"][..], &["-o", "json"], &["--json", "-o", "json"]] {
        let ran = log.run("cat", args).done();
        let lines = ran.lines();
        let rest = lines[0]
            .strip_prefix(r#"{"offset":0,"stream":"s","version":0,"type":"T","id":"i","source":"here","time":"2023-11-14T22:13:20.123456Z","recorded":"#)
            .unwrap();
        assert!(rest.ends_with(r#","headers":{"k":"v"},"data":{"b":1.0,"a":[]}}"#), "{rest}");
        assert!(lines[1].starts_with(r#"{"offset":1,"stream":"s","version":1,"type":"T","recorded":"#), "{lines:?}");
        assert!(lines[1].ends_with(r#","data_base64":"/w=="}"#), "{lines:?}");
    }
    log.run("cat", &["--json", "-o", "raw"]).failed(2, "-o json");
}

#[test]
fn hex_is_a_title_and_a_dump_of_each() {
    let log = TestLog::of([Event::new("s", "T").data(&b"\x89PNG"[..]), Event::new("s", "U")]);
    let expected = "offset 0  s@0  T  4 bytes\n\
         00000000  89 50 4e 47                                       |.PNG|\n\
         offset 1  s@1  U  0 bytes\n";
    assert_eq!(log.run("cat", &["-o", "hex"]).done().text(), expected);
}

#[test]
fn positions_say_which_part_of_the_log() {
    let log = TestLog::shop();
    let all: Vec<u64> = (0..10).collect();
    let recorded = |offset| LogReader::open(log.path()).unwrap().get(offset).unwrap().unwrap().recorded();
    let at = |offset, later: i64| format!("@{}us", recorded(annals::Offset::from_raw(offset)).as_micros() + later);
    let (at_4, after_4) = (at(4, 0), at(4, 1));
    let cases: &[(&[&str], &[u64])] = &[
        (&[], &all),
        (&["--from", "start", "--to", "end"], &all),
        (&["--from", "7"], &[7, 8, 9]),
        (&["--from", "2", "--to", "4"], &[2, 3]),
        (&["--from", "end-2"], &[8, 9]),
        (&["--from", "end-100", "--to", "end-8"], &[0, 1]),
        (&["--from", "#3", "--to", "#5"], &[3, 4]),
        (&["--from", "end"], &[]),
        (&["--from", "99"], &[]),
        (&["--from", "6", "--to", "3"], &[]),
        (&["--from", &at_4, "--to", "6"], &[4, 5]),
        (&["--from", &after_4], &[5, 6, 7, 8, 9]),
        (&["--to", &at_4], &[0, 1, 2, 3]),
        (&["--from", "-1h"], &all),
        (&["--from", "1h ago", "--to", "+2h"], &all),
        (&["--from", "2001-01-01", "--to", "+1d"], &[]),
        (&["--since", "1h"], &all),
        (&["--since", "2001-01-01"], &all),
        (&["--from", "now"], &[]),
        (&["--happened-from", "@1700000003s", "--happened-to", "@1700000006s"], &[3, 4, 5]),
        (&["--happened-to", "@1700000002s"], &[0, 1]),
        (&["--happened-from", "@1700000008s", "--from", "9"], &[9]),
        (&["--happened-from", "2100-01-01"], &[]),
    ];
    for (args, expected) in cases {
        assert_eq!(shown(&log, args), *expected, "{args:?}");
    }
}

#[test]
fn a_position_behind_n_user_events_passes_over_the_logs_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for n in 0..6 {
        let event = Event::new("s", "T").data(format!("{{\"n\":{n}}}").into_bytes());
        log.append(Append::new().event(event).source("file", n.to_string().into_bytes(), Expect::Any))
            .unwrap()
            .wait()
            .unwrap();
    }
    log.close().unwrap();
    let log = TestLog { dir };
    assert_eq!(shown(&log, &["--from", "#2", "--to", "#4"]), [2, 3]);
    assert_eq!(shown(&log, &["--from", "4"]), [2, 3, 4, 5], "offsets count all events");
}

#[test]
fn a_date_without_a_zone_is_said_to_be_local() {
    let ran = TestLog::shop().run("cat", &["--from", "2001-01-01 09:30"]).done();
    assert!(ran.stderr.contains("--from is taken as 2001-01-01T09:30:00"), "{}", ran.stderr);
}

#[test]
fn streams_and_types_are_chosen_by_patterns() {
    let log = TestLog::shop();
    for (args, expected) in [
        (&["--stream", "order-1"][..], &[1, 4, 7][..]),
        (&["--stream", "*-1", "--stream", "order-2"], &[1, 2, 4, 5, 7, 8]),
        (&["--type", "Placed"], &[0, 1, 2]),
        (&["--type", "Placed", "--type", "Paid", "-n", "2"], &[0, 1]),
        (&["--type", "Pl*", "--type", "none"], &[0, 1, 2]),
        (&["--type", "Paid", "--stream", "order-0"], &[3, 6, 9]),
        (&["-n", "3"], &[0, 1, 2]),
        (&["-n", "0"], &[]),
        (&["--from", "4", "-n", "1"], &[4]),
        (&["--stream", r"order-\*"], &[]),
    ] {
        assert_eq!(shown(&log, args), expected, "{args:?}");
    }
}

#[test]
fn no_more_is_read_than_was_asked_for() {
    let log = TestLog::shop();
    flip(&log.segments()[0], b"{\"n\":4}");
    assert_eq!(shown(&log, &["-n", "4"]), [0, 1, 2, 3]);
    assert_eq!(shown(&log, &["--to", "4"]), [0, 1, 2, 3]);
    log.run("cat", &["-n", "5"]).failed(5, "damaged");
}

#[test]
fn there_are_colours_only_when_asked_for_or_looked_at() {
    let log = TestLog::shop();
    assert!(log.run("cat", &["--color", "always"]).done().text().starts_with("\u{1b}[2mOFFSET"));
    assert!(!log.run("cat", &[]).done().text().contains('\u{1b}'));
}

#[test]
fn the_logs_own_events_are_shown_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let append = Append::new().event(Event::new("s", "T").data(&b"mine"[..])).source("file", &b"its"[..], Expect::None);
    log.append(append).unwrap().wait().unwrap();
    log.close().unwrap();
    let log = TestLog { dir };
    let streams = |args: &[&str]| -> Vec<String> {
        let ran = log.run("cat", args).done();
        let stream = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["stream"].to_string();
        ran.lines().into_iter().map(stream).collect()
    };
    assert_eq!(streams(&["--json"]), ["\"s\""]);
    assert_eq!(streams(&["--json", "--stream", "*"]), ["\"s\""]);
    let mut both = streams(&["--json", "--system"]);
    both.sort();
    assert_eq!(both, ["\"$source/file\"", "\"s\""]);
    assert_eq!(streams(&["--json", "--stream", "$source/*"]), ["\"$source/file\""]);
}

#[test]
fn a_search_in_vain_says_how_much_it_looked_at() {
    let log = TestLog::shop();
    let ran = log.run("cat", &["--stream", "order-9", "--from", "2"]).done();
    assert_eq!(
        (ran.text(), ran.stderr.as_str()),
        ("", "nothing matches: 8 events looked at, from offset 2 to 10 (exclusive)\n")
    );
    assert!(log.run("cat", &["--from", "end"]).done().stderr.contains("no events in this range"));
    assert!(TestLog::empty().run("cat", &[]).done().stderr.contains("no events yet"));
    assert_eq!(log.run("cat", &["-n", "1"]).done().stderr, "");
}

#[test]
fn it_reads_beside_the_process_that_writes_and_ends_at_the_end_of_now() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for n in 0..3 {
        log.append(Event::new("s", "T").data(format!("{{\"n\":{n}}}").into_bytes())).unwrap().wait().unwrap();
        let ran = annals(["cat", dir.path().to_str().unwrap(), "-o", "raw"]).output().unwrap();
        assert_eq!(numbers(&Ran::from(ran)), (0..=n).collect::<Vec<u64>>());
    }
}

#[test]
fn the_log_can_be_named_by_the_environment() {
    let log = TestLog::shop();
    let ran: Ran = annals(["cat", "-o", "raw", "-n", "1"]).env("ANNALS_LOG", log.path()).output().unwrap().into();
    assert_eq!(numbers(&ran.done()), [0]);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let log = TestLog::of((0..50).map(|_| Event::new("s", "T").data(vec![b'x'; 100_000])));
    for args in [&["-o", "raw"][..], &["--json"], &[]] {
        let command = ["cat", log.path().to_str().unwrap()].into_iter().chain(args.iter().copied());
        let mut child = annals(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_part_of_any_log_is_the_same_as_in_the_library(
        sizes in proptest::collection::vec(0usize..3000, 1..40), from in 0u64..50, len in 0u64..50
    ) {
        let log = TestLog::of(sizes.iter().enumerate().map(|(n, size)| {
            Event::new(format!("s-{}", n % 3), "T").data(vec![b'a' + (n % 26) as u8; *size])
        }));
        let (from_text, to_text) = (from.to_string(), (from + len).to_string());
        let ran = log.run("cat", &["-o", "raw", "--stream", "s-1", "--from", &from_text, "--to", &to_text]).done();
        let mut expected = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            if n % 3 == 1 && (from..from + len).contains(&(n as u64)) {
                expected.extend(vec![b'a' + (n % 26) as u8; *size]);
                expected.push(b'\n');
            }
        }
        prop_assert_eq!(ran.stdout, expected);
    }
}

#[test]
fn a_type_may_hold_a_comma() {
    let log = TestLog::of([Event::new("s", "a,b"), Event::new("s", "a")]);
    assert_eq!(log.run("cat", &["--type", "a,b", "-o", "json"]).done().lines().len(), 1);
    assert_eq!(log.run("cat", &["--type", "a,b", "--type", "a", "-o", "json"]).done().lines().len(), 2);
}

#[test]
fn an_empty_range_is_not_an_empty_log() {
    let log = TestLog::shop();
    let ran = log.run("cat", &["--to", "2001-01-01"]).done();
    assert!(ran.stderr.contains("no events in this range"), "{}", ran.stderr);
}

/// A handler's record by the table of its bytes: one change, `key` to the raw value `text`.
fn handler_record() -> Vec<u8> {
    let mut bytes = vec![0; 160];
    bytes[..4].copy_from_slice(&[1, 2, 160, 0]);
    bytes[4] = 1; // generation
    bytes[32] = 1; // cursor
    bytes[124] = 1; // changes
    bytes[132] = 1; // streams
    bytes.extend(b"\x01s");
    bytes.extend(b"\x04\x01key\x01\x05\x00text\x01\x00");
    bytes
}

#[test]
fn the_records_of_a_handler_are_shown_as_json_beside_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    for (stream, data) in [
        ("$handler/totals", handler_record()),
        ("$handler/totals", b"no record".to_vec()),
        ("$control/totals", b"a reason".to_vec()),
    ] {
        let append = own_append(Append::new(), Event::new(stream, "Step").data(data).header("by", "me"), Expect::Any);
        log.append(append).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    let log = TestLog { dir };
    let shown: Vec<serde_json::Value> = log
        .run("cat", &["--json", "--stream", "$handler/totals"])
        .done()
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let change = serde_json::json!({
        "rows": "user", "key": "key", "deleted": false, "codec": "raw", "value_text": "text", "offset": 0, "stream": "s",
    });
    assert_eq!((&shown[0]["commit"]["kind"], &shown[0]["commit"]["changes"][0]), (&"step".into(), &change));
    assert!(shown[0]["data_base64"].is_string() && shown[1]["data_base64"].is_string());
    assert!(shown[1].get("commit").is_none(), "what cannot be read is shown as its bytes");
    let control = log.run("cat", &["--stream", "$control/totals", "-o", "raw"]).done();
    assert_eq!(control.text(), "a reason\n");
}
