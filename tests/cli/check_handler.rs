//! `annals check-handler`: what a command does wrong is named by its law; a command that does nothing never passes.

use annals::Event;

use crate::common::{Ran, TestLog, events};
use crate::replay::{ONE, always};

fn check(command: &str, more: &[&str]) -> Ran {
    let log = TestLog::of((0..4).map(|n| Event::new(format!("s{}", n % 2), "T")));
    let before = events(log.path()).len();
    let ran = log.run("check-handler", &[&["--exec", command], more].concat());
    assert_eq!(events(log.path()).len(), before);
    ran
}

/// Its state is 1 at first, and then 2.
const SECOND: &str =
    r#"while read -r line; do case $line in *'"state":null'*) echo '{"state":1}';; *) echo '{"state":2}';; esac; done"#;

#[test]
fn a_command_that_always_comes_to_the_same_passes() {
    let json = check(&always(ONE), &["--json"]).done().json();
    assert_eq!((&json["verdict"], &json["level"]), (&"passed".into(), &"raw-idempotent".into()));
    assert_eq!(json["events"], 4);
    check(&always(ONE), &[]).done();
}

#[test]
fn a_command_that_rolls_dice_is_not_deterministic() {
    let dice = r#"while read -r line; do echo "{\"state\":$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}"; done"#;
    let json = check(dice, &["--json"]).exits(1).json();
    assert_eq!((&json["verdict"], &json["laws"]["determinism"]["outcome"]), (&"failed".into(), &"violated".into()));
    assert_eq!(json["laws"]["determinism"]["violation"]["events"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_required_decides() {
    check(SECOND, &[]).done();
    let ran = check(SECOND, &["--require", "determinism,raw-idempotence"]).exits(1);
    assert!(ran.text().contains("raw-idempotence (required): does not hold"), "{}", ran.text());
    assert!(ran.text().contains("row s0: 1 expected, 2 found"), "{}", ran.text());
    check(SECOND, &["--require", "luck"]).failed(2, "the laws are determinism");
}

#[test]
fn a_command_that_does_nothing_or_an_empty_part_is_no_pass() {
    let json = check(&always("{}"), &["--json"]).exits(1).json();
    assert_eq!(json["verdict"], "not_checked");
    check(&always(ONE), &["--from", "end"]).exits(1);
}
