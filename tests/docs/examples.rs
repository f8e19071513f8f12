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
fn of_two_who_want_the_last_lamp_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run("reserve", dir.path()), "ann has the lamp\nbob comes too late: no lamp is left\n");
}
