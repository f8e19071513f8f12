//! What a layer says of itself: one line, and an exit code.

use std::process::Command;

fn torture(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_annals-torture")).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_layer_prints_one_line_of_counts_and_succeeds_when_all_promises_held() {
    let (code, said) = torture(&["sim", "--runs", "2", "--seed", "7"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("torture sim: 2 seeds, ") && said.contains(" 0 violations, "), "{said}");
}

#[test]
fn a_layer_that_is_asked_for_what_is_not_there_fails() {
    let (code, said) = torture(&["bytes", "--store", "no-such-store"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 violations"), "{said}");
}
