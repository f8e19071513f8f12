//! Takes logs apart in every way that is known, and checks what is left. `tools/torture` builds and runs it.
//!
//! Each subcommand is one layer of `tests/README.md`: it prints one summary line and exits non-zero when a promise
//! was broken.

mod dice;
mod given;
mod mount;
mod shutdown;
mod oracle;
mod summary;
mod seeds;
mod workload;
mod check;
mod child;
mod worker;

mod sim;
mod handlers;
mod worlds;
mod sweep;
mod bytes;
mod kill;
mod handle;
mod races;
mod limits;
mod processes;
mod powercut;
mod diskfull;
mod fsync_eio;
mod read_eio;
mod nightly;
mod planted;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "torture", about, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    layer: Layer,
}

#[derive(Debug, Subcommand)]
enum Layer {
    /// Random workloads on a simulated disk that crashes and fails; one seed is one run.
    Sim(seeds::Args),
    /// Random handlers on the simulated disk, their views and snapshots harmed; one seed is one run.
    Handlers(seeds::Args),
    /// All workloads of one and two operations, every crash point, all states a crash may leave.
    Worlds(worlds::Args),
    /// Every call on the disk fails, once and from then on.
    Sweep(sweep::Args),
    /// Bits flipped, files cut, swapped and replaced by older ones.
    Bytes(bytes::Args),
    /// Real processes killed at random moments, and again while they recover.
    Kill(kill::Args),
    /// A handler in Python over real events, it and its command killed at random moments.
    Handle(handle::Args),
    /// A program that uses a log: what other layers kill.
    #[command(subcommand, hide = true)]
    Worker(Box<worker::Args>),
    /// One writer and several readers, any of them killed at random.
    Processes(processes::Args),
    /// Two processes race to open one log.
    Races(races::Args),
    /// Limits of the system: open files, memory, a disk that stalls, a clock that jumps.
    Limits(limits::Args),
    /// Real power cuts on a file system of its own (root only).
    Powercut(powercut::Args),
    /// A small file system that is filled, and gets its space back (root only).
    Diskfull(diskfull::Args),
    /// A file system whose disk refuses to be written (root only).
    FsyncEio(fsync_eio::Args),
    /// A file system whose disk refuses to be read (root only).
    ReadEio(read_eio::Args),
    /// Every layer at the length of a night, as processes of their own.
    Nightly(nightly::Args),
    /// Bugs on purpose, each to be caught by a layer above.
    Planted(planted::Args),
}

fn main() -> ExitCode {
    let summary = match Args::parse().layer {
        Layer::Sim(args) => sim::run(&args),
        Layer::Handlers(args) => handlers::run(&args),
        Layer::Worlds(args) => worlds::run(&args),
        Layer::Sweep(args) => sweep::run(&args),
        Layer::Bytes(args) => bytes::run(&args),
        Layer::Kill(args) => kill::run(&args),
        Layer::Handle(args) => handle::run(&args),
        Layer::Worker(args) => return worker::run(&args),
        Layer::Processes(args) => processes::run(&args),
        Layer::Races(args) => races::run(&args),
        Layer::Limits(args) => limits::run(&args),
        Layer::Powercut(args) => powercut::run(&args),
        Layer::Diskfull(args) => diskfull::run(&args),
        Layer::FsyncEio(args) => fsync_eio::run(&args),
        Layer::ReadEio(args) => read_eio::run(&args),
        Layer::Nightly(args) => nightly::run(&args),
        Layer::Planted(args) => planted::run(&args),
    };
    summary.print()
}
