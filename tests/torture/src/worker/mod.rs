//! A program that uses a log like real ones do, so that it can be killed: a writer, readers, racers.
//!
//! Each writes one line to stdout for each fact that somebody may rely on from then on; `check.rs` holds the log
//! against these lines.

mod disk;
mod reader;
mod report;
mod world;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

pub use report::{crc, line};
pub use world::WorldArgs;

#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// Appends, commits cursors, closes and opens again, until it is killed.
    Write(WriterArgs),
    /// Follows the log, and reports each event by its offset and checksum.
    Read(ReaderArgs),
    /// Opens for writing whenever a line comes on stdin, reports how that went, and closes when the next one comes.
    Race(RaceArgs),
    /// Writes two events that the disk does not have yet, and waits to be killed.
    Unsynced(RaceArgs),
}

#[derive(Debug, clap::Args)]
pub struct WriterArgs {
    /// The log.
    pub dir: PathBuf,
    /// What is appended follows from it.
    #[arg(long)]
    pub seed: u64,
    /// How often this log was worked on before: sessions go otherwise then.
    #[arg(long, default_value_t = 0)]
    pub generation: u64,
    /// So many appends in each lane, then it ends; without it, it goes on until it is killed.
    #[arg(long)]
    pub appends: Option<u64>,
    /// One thread waits for each append, and nothing is ever closed: for layers that measure.
    #[arg(long)]
    pub steady: bool,
    /// Waits at most so long for each append, in ms, and reports how long that took.
    #[arg(long)]
    pub deadline_ms: Option<u64>,
    #[command(flatten)]
    pub world: WorldArgs,
}

#[derive(Debug, clap::Args)]
pub struct ReaderArgs {
    /// The log.
    pub dir: PathBuf,
    /// The first offset to be reported.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    #[command(flatten)]
    pub world: WorldArgs,
}

#[derive(Debug, clap::Args)]
pub struct RaceArgs {
    /// The log.
    pub dir: PathBuf,
    #[command(flatten)]
    pub world: WorldArgs,
}

pub fn run(args: &Args) -> ExitCode {
    let world = match args {
        Args::Write(args) => &args.world,
        Args::Read(args) => &args.world,
        Args::Race(args) | Args::Unsynced(args) => &args.world,
    };
    if let Err(error) = world.prepare() {
        report::line(format_args!("failed {error}"));
        return ExitCode::FAILURE;
    }
    match args {
        Args::Write(args) => writer::run(args),
        Args::Read(args) => reader::run(args),
        Args::Race(args) => crate::races::contend(args),
        Args::Unsynced(args) => match crate::kill::write_unsynced(&args.dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report::line(format_args!("failed {error}"));
                ExitCode::FAILURE
            }
        },
    }
}
