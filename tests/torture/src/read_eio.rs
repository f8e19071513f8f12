//! TODO

use crate::summary::Summary;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many runs.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Where random numbers start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(_args: &Args) -> Summary {
    Summary::skipped("read-eio", "not built yet")
}
