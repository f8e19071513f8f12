//! `annals stat`.

use clap::Args;

use super::failure::{Exit, Failure};

/// Not yet.
#[derive(Debug, Args)]
pub(super) struct StatArgs {}

impl StatArgs {
    pub(super) fn run(self, _json: bool) -> Result<Exit, Failure> {
        Err(Failure::usage("not yet"))
    }
}
