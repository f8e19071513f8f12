//! `annals state`: keys and values of a handler, now and earlier, or a clear no.

use annals::testkit::{RecordedWrite, Recorder};
use annals::{Log, NewEvent};

use crate::common::{TestLog, annals};

/// A log with ten events and a handler of them; its first record is after the second event.
fn ledger(exact: bool) -> (TestLog, Log, Recorder) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let events = (0..10).map(|_| NewEvent::new("s", "T"));
    log.append(annals::Append::new().events(events)).unwrap().wait().unwrap();
    let mut records = Recorder::new("ledger", 1, true).exact(exact);
    records.step(&log, 2, &[(0, b"\x01b", Some(b"\x01{\"n\": 1.0}")), (1, b"\x01a", Some(b"\x00text"))]).unwrap();
    (TestLog { dir }, log, records)
}

#[test]
fn keys_and_values_come_sorted_beside_the_process_that_writes() {
    let (log, open, mut records) = ledger(true);
    let writes: [RecordedWrite<'_>; 4] = [
        (2, b"\x01\xff", Some(b"\x02\x01")),
        (2, b"\x01c", Some(b"\x00\xfe")),
        (2, b"\x01d", Some(b"\x01[1,\n2]")),
        (2, b"\x00own", Some(b"\x00")),
    ];
    records.step(&open, 3, &writes).unwrap();
    let expected = concat!(
        "{\"key\":\"a\",\"value\":\"text\",\"codec\":\"raw\"}\n",
        "{\"key\":\"b\",\"value\":{\"n\": 1.0}}\n",
        "{\"key\":\"c\",\"value_base64\":\"/g==\",\"codec\":\"raw\"}\n",
        "{\"key\":\"d\",\"value_base64\":\"WzEsCjJd\",\"codec\":\"json\"}\n",
        "{\"key_base64\":\"/w==\",\"value_base64\":\"AQ==\",\"codec\":\"bincode\"}\n",
    );
    assert_eq!(log.run("state", &["ledger", "--json"]).done().text(), expected);
    assert_eq!(log.run("state", &["ledger", "b"]).done().text(), "b\t{\"n\": 1.0}\n");
    let text = log.run("state", &["ledger"]).done();
    assert_eq!(text.lines()[4], "base64:/w==\tbase64:AQ== (bincode)");
    let mut by_variable = annals(["state", "ledger", "--json"]);
    by_variable.env("ANNALS_LOG", log.dir.path());
    assert_eq!(crate::common::run(by_variable).done().text(), expected);
}

#[test]
fn what_is_not_there_is_not_found() {
    let (log, _open, _) = ledger(true);
    log.run("state", &["other"]).failed(3, "there is no handler \"other\"");
    log.run("state", &["ledger", "z"]).failed(3, "has no key \"z\"");
    log.run("state", &["ledger", "--generation", "2"]).failed(3, "generation 1 is the live one");
    log.run("state", &[]).failed(2, "HANDLER is missing");
}

#[test]
fn an_earlier_state_is_shown_and_said_when_it_is_not_the_very_one() {
    for exact in [true, false] {
        let (log, open, mut records) = ledger(exact);
        records.step(&open, 6, &[(3, b"\x01a", Some(b"\x012")), (5, b"\x01a", Some(b"\x013"))]).unwrap();
        let at = |position: &str| log.run("state", &["ledger", "a", "--at", position]).done();
        assert_eq!((at("6").text(), at("6").stderr.as_str()), ("a\t3\n", ""));
        assert_eq!((at("2").text(), at("#2").stderr.as_str()), ("a\ttext\n", ""));
        let within = at("4");
        match exact {
            true => assert_eq!((within.text(), within.stderr.as_str()), ("a\t2\n", "")),
            false => assert_eq!(within.says("this is the one at 2").text(), "a\ttext\n"),
        }
        at("9").says("this is the one at 6");
    }
}
