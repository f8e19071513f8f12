//! How the command ends: the exit codes that scripts depend on, what goes where, and errors as JSON.

use std::fs::OpenOptions;

use annals::Event;
use serde_json::Value;

use crate::common::{Ran, TestLog, annals, ask, flip};

const READING: [&str; 4] = ["cat", "export", "stat", "verify"];

#[test]
fn done_is_0() {
    let log = TestLog::shop();
    READING.iter().for_each(|verb| drop(log.run(verb, &[]).done()));
    for asked in [&["--help"][..], &["--version"], &["cat", "--help"]] {
        let ran: Ran = annals(asked.iter().copied()).output().unwrap().into();
        let ran = ran.done();
        assert!(!ran.text().is_empty() && ran.stderr.is_empty());
    }
}

#[test]
fn the_answer_no_is_1() {
    let log = TestLog::shop();
    flip(&log.segments()[0], b"{\"n\":4}");
    assert_eq!(log.run("verify", &[]).code, Some(1));
    assert_eq!(ask("dump", &log.segments()[0], &[]).code, Some(1));
}

#[test]
fn wrong_arguments_are_2() {
    let log = TestLog::shop();
    log.run("cat", &["--from", "yesterday-ish"]).failed(2, "is no position");
    log.run("cat", &["--from", "1", "--since", "1h"]).failed(2, "--since");
    log.run("cat", &["--to", "+1h"]).failed(2, "--from that is a time");
    log.run("cat", &["-o", "xml"]).failed(2, "xml");
    log.run("frobnicate", &[]).failed(2, "frobnicate");
    Ran::from(annals(["cat"]).output().unwrap()).failed(2, "LOG");
    Ran::from(annals::<&str>([]).output().unwrap()).failed(2, "Usage");
    for verb in READING {
        Ran::from(annals([verb, "http://localhost:1/"]).output().unwrap()).failed(2, "a LOG is a directory");
    }
}

#[test]
fn what_is_not_there_is_3() {
    let dir = tempfile::tempdir().unwrap();
    for verb in READING {
        ask(verb, &dir.path().join("none"), &[]).failed(3, "there is no log at");
    }
    for verb in READING.into_iter().filter(|verb| *verb != "verify") {
        ask(verb, dir.path(), &[]).failed(3, "there is no log at");
    }
    // What a kill may leave of a log that was being made is no damage.
    assert!(ask("verify", dir.path(), &[]).done().stderr.contains("was not made completely"));
    std::fs::write(dir.path().join("a file"), "of someone else").unwrap();
    for verb in READING {
        ask(verb, dir.path(), &[]).failed(3, "is not a log");
        ask(verb, &dir.path().join("a file"), &[]).failed(3, "is not a log");
    }
    TestLog::shop().run("get", &["10"]).failed(3, "no event at offset 10");
    assert!(!dir.path().join("none").exists(), "reading makes no log");
}

#[test]
fn damaged_data_in_the_way_is_5_and_what_lies_before_it_came_out() {
    let log = TestLog::shop();
    flip(&log.segments()[0], b"{\"n\":4}");
    let before: String = (0..4).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let ran = log.run("cat", &["-o", "raw"]).failed(5, "is damaged at byte");
    assert_eq!(ran.text(), before);
    assert_eq!(log.run("export", &[]).failed(5, "annals verify").lines().len(), 4);
    log.run("get", &["4"]).failed(5, "is damaged");
    assert_eq!(log.run("get", &["3", "-o", "raw"]).done().text(), "{\"n\":3}\n");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_7() {
    let log = TestLog::of((0..3).map(|_| Event::new("s", "T").data(vec![b'x'; 100_000])));
    let file = log.segments().remove(0);
    for args in [
        vec!["cat", "-o", "raw"],
        vec!["cat"],
        vec!["cat", "--json"],
        vec!["get", "0"],
        vec!["export"],
        vec!["stat"],
        vec!["verify"],
        vec!["dump"],
    ] {
        let (verb, rest) = args.split_first().unwrap();
        let about = if *verb == "dump" { &file } else { log.path() };
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = annals([*verb, about.to_str().unwrap()].into_iter().chain(rest.iter().copied()));
        Ran::from(command.stdout(full).output().unwrap()).failed(7, "cannot write to stdout");
    }
}

#[test]
fn errors_are_objects_on_stderr_when_json_is_asked_for() {
    let log = TestLog::shop();
    let none = log.path().join("none");
    for (ran, code, exit) in [
        (ask("cat", &none, &["--json"]), "log_not_found", 3),
        (ask("stat", &none, &["--json"]), "log_not_found", 3),
        (log.run("get", &["99", "--json"]), "offset_not_found", 3),
        (log.run("cat", &["--json", "--from", "?"]), "usage", 2),
        (log.run("nothing", &["--json"]), "usage", 2),
    ] {
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!((error["error"]["code"].as_str(), error["error"]["exit"].as_i64()), (Some(code), Some(exit)));
        assert_eq!((ran.code.map(i64::from), ran.text()), (Some(exit), ""));
        assert_eq!(ran.stderr.lines().count(), 1);
    }
}

/// A shell shows the end by a signal as 128 and its number.
#[test]
fn ctrl_c_ends_it_at_once() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut append = annals(["append", log.to_str().unwrap(), "s", "--type", "T", "--lines"]);
    let mut child = append.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().signal(), Some(2));
}

/// Needs the right to mount a file system; says so where it is not given.
#[test]
fn a_full_disk_is_7_and_room_is_enough_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"
        mount -t tmpfs -o size=1m tmpfs "$2" || exit 99
        head -c 300000 /dev/zero | tr '\0' x > "$2/data"
        "$1" append "$2/log" s --type T < "$2/data" || exit 98
        while said=$("$1" append "$2/log" s --type T < "$2/data" 2>&1); code=$?; [ $code = 0 ]; do :; done
        [ $code = 7 ] && [[ $said == *'disk is full'* ]] || { echo "$code $said"; exit 97; }
        "$1" verify "$2/log" && "$1" cat "$2/log" -n 1 > /dev/null || exit 96
        mount -o remount,size=8m "$2" && "$1" append "$2/log" s --type T < "$2/data" || exit 95
    "#;
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["-m", "bash", "-c", script, "bash"]).arg(crate::common::program()).arg(dir.path());
    match unshare.output() {
        Ok(output) if output.status.code() == Some(0) => {}
        Ok(output) if matches!(output.status.code(), Some(1 | 99)) => eprintln!("SKIPPED: no right to mount"),
        Ok(output) => panic!("{output:?}"),
        Err(error) => eprintln!("SKIPPED: {error}"),
    }
}
