//! The programs in `examples/` run and do what they say.

use std::path::Path;
use std::process::Command;

use super::{project, stdout_of};

/// Runs an example in a directory.
fn run(example: &str, dir: &Path) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--all-features", "--manifest-path"]).arg(project().join("Cargo.toml"));
    stdout_of(cargo.args(["--example", example]).current_dir(dir))
}

#[test]
fn the_first_program_sees_the_events_of_its_first_run_in_the_second() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run("first", dir.path()), "appended at offset 0\n0 order-17@0 OrderPlaced\n");
    let second = "appended at offset 1\n0 order-17@0 OrderPlaced\n1 order-17@1 OrderPlaced\n";
    assert_eq!(run("first", dir.path()), second);
    assert_eq!(run("read_beside", dir.path()), "2 events, 36 bytes of data, durable up to offset 2\n");
}

#[test]
fn two_clerks_sell_each_lamp_once() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run("order_desk", dir.path()), "3 sold now, 0 left, 3 orders in all\n");
    assert_eq!(run("order_desk", dir.path()), "0 sold now, 0 left, 3 orders in all\n");
}

#[test]
fn an_audit_trail_shows_who_and_what_it_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let expected = "the last two changes:\n  version 3 by cleo: city=Ockham\n  version 2 by bob: name=Ada Lovelace\n\
        behind version 1: city=London, name=Ada Byron\nbehind version 3: city=Ockham, name=Ada Lovelace\n";
    assert_eq!(run("audit_trail", dir.path()), expected);
    assert_eq!(run("audit_trail", dir.path()), expected);
}

#[test]
fn a_second_process_is_followed_while_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run("tail_beside", dir.path()), "0 picked\n1 packed\n2 shipped\n");
}
