//! The `annals` command.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::indexing_slicing)]

use std::process::ExitCode;

fn main() -> ExitCode {
    annals::cli::main()
}
