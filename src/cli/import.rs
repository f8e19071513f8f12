//! `annals import`.

use clap::Args;

use super::failure::{Exit, Failure};

/// Not yet.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {}

impl ImportArgs {
    pub(super) fn run(self, _json: bool) -> Result<Exit, Failure> {
        Err(Failure::usage("not yet"))
    }
}
