//! The `annals` command: its verbs, what they share, and how an outcome becomes an exit code.
//!
//! One file per verb; the other files are what several verbs need. Data goes to stdout, everything
//! else to stderr. Reading verbs take no lock and work beside the process that writes the log.

mod append;
mod asking;
mod bench;
mod cat;
#[cfg(unix)]
mod check_handler;
mod commit;
mod completions;
mod consumed;
mod consumers;
#[cfg(unix)]
mod cutover;
mod demo;
mod dump;
mod envelope;
mod export;
mod failure;
mod fields;
mod format;
mod gap;
mod get;
#[cfg(unix)]
mod handle;
mod handlers;
pub mod hostile;
mod import;
mod input;
mod line;
mod machine;
mod man;
mod output;
mod park;
mod position;
mod progress;
#[cfg(unix)]
mod reading;
mod repair;
#[cfg(unix)]
mod replay;
mod same;
mod stat;
mod state;
mod streams;
mod tail;
mod target;
mod template;
mod time;
mod types;
mod verify;
mod wanted;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use failure::{Exit, Failure};

/// An append-only event log: a directory that one process writes and any number read.
#[derive(Debug, Parser)]
#[command(name = "annals", version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    everywhere: Everywhere,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 the answer is no · 2 usage or bad input · 3 log, stream or offset not found · 4 conflict \
(expectation, another writer, another source) · 5 damaged data, could not go on · 7 disk full or I/O error · \
124 --timeout · 130 Ctrl-C. A closed pipe is a quiet 0.";

/// What every verb takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Everywhere {
    /// Answer as JSON, one record a line; errors too, on stderr
    #[arg(long, global = true)]
    json: bool,
    /// Colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Append(append::AppendArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Cat(Box<cat::CatArgs>),
    Tail(tail::TailArgs),
    Get(get::GetArgs),
    Streams(streams::StreamsArgs),
    Types(types::TypesArgs),
    Stat(stat::StatArgs),
    State(state::StateArgs),
    Same(same::SameArgs),
    Consumers(consumers::ConsumersArgs),
    Lag(consumers::LagArgs),
    #[cfg(unix)]
    Handle(handle::HandleArgs),
    Handlers(handlers::HandlersArgs),
    Park(park::ParkArgs),
    #[cfg(unix)]
    Replay(replay::ReplayArgs),
    #[cfg(unix)]
    Cutover(cutover::CutoverArgs),
    #[cfg(unix)]
    CheckHandler(check_handler::CheckHandlerArgs),
    Verify(verify::VerifyArgs),
    Repair(repair::RepairArgs),
    Dump(dump::DumpArgs),
    Bench(bench::BenchArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    #[command(name = demo::WRITER, hide = true)]
    DemoWriter(demo::WriterArgs),
    #[cfg(unix)]
    #[command(name = handle::GUARD, hide = true)]
    HandleCommand(handle::GuardArgs),
}

impl Verb {
    fn run(self, json: bool) -> Result<Exit, Failure> {
        match self {
            Verb::Append(args) => args.run(json),
            Verb::Import(args) => args.run(json),
            Verb::Export(args) => args.run(json),
            Verb::Cat(args) => args.run(json),
            Verb::Tail(args) => args.run(json),
            Verb::Get(args) => args.run(json),
            Verb::Streams(args) => args.run(json),
            Verb::Types(args) => args.run(json),
            Verb::Stat(args) => args.run(json),
            Verb::State(args) => args.run(json),
            Verb::Same(args) => args.run(json),
            Verb::Consumers(args) => args.run(json),
            Verb::Lag(args) => args.run(json),
            #[cfg(unix)]
            Verb::Handle(args) => args.run(json),
            Verb::Handlers(args) => args.run(json),
            Verb::Park(args) => args.run(json),
            #[cfg(unix)]
            Verb::Replay(args) => args.run(json),
            #[cfg(unix)]
            Verb::Cutover(args) => args.run(json),
            #[cfg(unix)]
            Verb::CheckHandler(args) => args.run(json),
            Verb::Verify(args) => args.run(json),
            Verb::Repair(args) => args.run(json),
            Verb::Dump(args) => args.run(json),
            Verb::Bench(args) => args.run(json),
            Verb::Demo(args) => args.run(),
            Verb::Completions(args) => args.run(),
            Verb::Man(args) => args.run(),
            Verb::DemoWriter(args) => args.run(),
            #[cfg(unix)]
            Verb::HandleCommand(args) => args.run(),
        }
    }
}

/// Reads the arguments of this process, does what they say, and answers with the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    anstream::ColorChoice::write_global(match cli.everywhere.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    });
    let json = cli.everywhere.json;
    match trace(cli.everywhere.verbose).and_then(|()| cli.verb.run(json)) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(json),
    }
}

/// What clap says: help and version on stdout, mistakes on stderr, under `--json` as an object.
fn refused(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked && std::env::args_os().any(|arg| arg == "--json") {
        let text = error.render().to_string();
        return Failure::usage(text.trim().trim_start_matches("error: ")).report(true);
    }
    match error.print() {
        Err(error) if asked => Failure::io("cannot write to stdout", &error).report(false),
        _ if asked => Exit::Done.into(),
        _ => Exit::Usage.into(),
    }
}

/// Diagnostics to stderr when asked for, by `-v` or by ANNALS_TRACE.
fn trace(verbose: u8) -> Result<(), Failure> {
    let filter = match std::env::var("ANNALS_TRACE") {
        Ok(filter) if !filter.is_empty() => filter,
        _ => match verbose {
            0 => return Ok(()),
            1 => "annals=info".to_owned(),
            2 => "annals=debug".to_owned(),
            _ => "annals=trace".to_owned(),
        },
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::usage(format!("ANNALS_TRACE is no trace filter: {error}")).help("try `annals=debug`")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::stderr_colour())
        .init();
    Ok(())
}

/// The command as people see it, for completions and manual pages: what is hidden is not in it.
fn command() -> clap::Command {
    let all = Cli::command();
    let about = all.get_about().cloned().unwrap_or_default();
    clap::Command::new("annals")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .about(about)
        .after_help(EXIT_CODES)
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
        command().debug_assert();
    }
}
