//! `annals demo`.

use clap::Args;

use super::failure::{Exit, Failure};

/// Not yet.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {}

impl DemoArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        Err(Failure::usage("not yet"))
    }
}

pub(super) const WRITER: &str = "demo-writer";

/// Not yet.
#[derive(Debug, Args)]
pub(super) struct WriterArgs {}

impl WriterArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        Err(Failure::usage("not yet"))
    }
}
