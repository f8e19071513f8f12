//! `annals export`.

use clap::Args;

use super::failure::{Exit, Failure};

/// Not yet.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {}

impl ExportArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        Err(Failure::usage("not yet"))
    }
}
