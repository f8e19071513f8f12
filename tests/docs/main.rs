//! What the project says of itself is true: one file per kind of text.
#![cfg(feature = "cli")]

mod examples;
mod generated;
mod readme;
mod tests;

use std::path::PathBuf;
use std::process::Command;

/// The checkout.
fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What a command that has to succeed wrote to stdout.
fn stdout_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?} ended with {}\n{stdout}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
