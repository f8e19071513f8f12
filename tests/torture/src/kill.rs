//! Real processes killed at random moments, and again while they recover: workers, and the command `annals`.

mod cold;
mod command;

pub use cold::write_unsynced;

use std::path::Path;
use std::time::Duration;

use annals::testkit::{Env, Random, SeededRandom};

use crate::check::{After, Facts, Found, check};
use crate::child::{Process, annals, worker};
use crate::summary::Summary;
use crate::workload::{pick, random};

/// A log is killed so often, each time going on where it was.
const GENERATIONS: u64 = 5;

/// After so many broken promises it stops.
const VIOLATIONS_MAX: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many kills.
    #[arg(long, default_value_t = 60)]
    runs: u64,
    /// Where random numbers start; each log has its own seed, the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(args: &Args) -> Summary {
    let mut summary = Summary::new("kill");
    let bin = annals();
    if let Err(why) = &bin {
        eprintln!("torture kill: the command was left out: {why}");
    }
    let mut kills = 0;
    let mut seed = args.seed;
    while kills < args.runs && summary.violations() < VIOLATIONS_MAX {
        let generations = GENERATIONS.min(args.runs - kills);
        let mut counts = Counts::default();
        // Two logs of five are written by the command.
        let outcome = match (&bin, seed % 5) {
            (Ok(bin), 0) => command::append_lines(bin, seed, generations, &mut counts),
            (Ok(bin), 3) => command::import(bin, seed, generations, &mut counts),
            _ => one_log(seed, generations, None, &mut counts),
        };
        if let Err(what) = outcome {
            summary.violation(format!("{what}; again: tools/torture kill --runs {generations} --seed {seed}"));
        }
        kills += generations;
        seed += 1;
        summary.count("kills", counts.kills);
        summary.count("kills while recovering", counts.recoveries);
        summary.count("at fail points", counts.fail_points);
        summary.count("acknowledged appends", counts.acks);
        summary.count("events checked", counts.events);
        summary.count("seen by readers beside", counts.seen);
        summary.count("torn tails", counts.torn);
        summary.count("kills of the command", counts.commands);
    }
    match cold::truths(bin.ok().as_deref()) {
        Ok(cold::Told { by_command, skipped }) => {
            summary.count("cold truths", 2 + 2 * u64::from(by_command));
            if let Some(why) = skipped {
                eprintln!("torture kill: the command was not started in another boot: {why}");
            }
        }
        Err(what) => summary.violation(format!("{what}; again: tools/torture kill --runs 0")),
    }
    summary
}

#[derive(Debug, Default)]
struct Counts {
    kills: u64,
    recoveries: u64,
    fail_points: u64,
    acks: u64,
    events: u64,
    seen: u64,
    torn: u64,
    commands: u64,
}

/// The first broken promise among so many kills, for whoever plants a bug.
#[allow(dead_code)] // for the layer of planted bugs
pub fn first_violation(seed: u64, runs: u64, bug: Option<&str>) -> Option<(u64, String)> {
    let logs = seed..seed + runs.div_ceil(GENERATIONS);
    logs.into_iter().find_map(|seed| {
        let outcome = one_log(seed, GENERATIONS, bug, &mut Counts::default());
        outcome.err().map(|what| (seed, what))
    })
}

/// One log, killed again and again.
fn one_log(seed: u64, generations: u64, bug: Option<&str>, counts: &mut Counts) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let log = dir.path().join("log");
    let mut facts = Facts::new(seed);
    let outcome = (0..generations).try_for_each(|generation| {
        let random = random(&[seed, generation, 2]);
        one_kill(&log, &mut facts, generation, bug, &random, counts)?;
        let Found { events, torn, .. } = check(&log, &mut facts, After::Kill, &Env::system())?;
        counts.events += events;
        counts.seen = facts.seen();
        counts.torn += u64::from(torn > 0);
        Ok(())
    });
    counts.acks += facts.acks;
    outcome.map_err(|what: String| format!("seed {seed}: {what}"))
}

fn one_kill(
    log: &Path,
    facts: &mut Facts,
    generation: u64,
    bug: Option<&str>,
    random: &SeededRandom,
    counts: &mut Counts,
) -> Result<(), String> {
    counts.kills += 1;
    let at_fail_point = pick(random, 2) == 0;
    let die_at = at_fail_point.then(|| {
        counts.fail_points += 1;
        fail_point(random, 400)
    });
    write(log, facts, generation, die_at, bug, random)?;
    if pick(random, 5) == 0 {
        // Twice while it recovers: opening makes about ten calls.
        for _ in 0..1 + pick(random, 2) {
            counts.recoveries += 1;
            write(log, facts, generation, Some(fail_point(random, 12)), bug, random)?;
        }
    }
    Ok(())
}

fn fail_point(random: &SeededRandom, calls: u64) -> String {
    let how = ["before", "half", "after"][pick(random, 3) as usize];
    format!("{how}:{}", pick(random, calls))
}

/// Lets a worker write until it kills itself, or until it is killed.
fn write(
    log: &Path,
    facts: &mut Facts,
    generation: u64,
    die_at: Option<String>,
    bug: Option<&str>,
    random: &SeededRandom,
) -> Result<(), String> {
    let seed = facts.seed();
    let mut command = worker("write", [log]).map_err(|error| error.to_string())?;
    command.args([
        "--seed",
        &seed.to_string(),
        "--generation",
        &(generation * 16 + random.next_u64() % 16).to_string(),
    ]);
    if let Some(die_at) = &die_at {
        command.args(["--die-at", die_at]);
    }
    if let Some(bug) = bug {
        command.args(["--bug", bug]);
    }
    // What a reader beside the writer sees is there for ever.
    let reader = (pick(random, 4) == 0).then(|| follow(log, facts.durable_end())).transpose()?;
    let mut process = Process::start(&mut command)?;
    if die_at.is_none() {
        let time = Duration::from_micros(pick(random, 150_000));
        process.lines_for(time, |line| take(facts, line))?;
        process.kill();
    }
    let status = process.end(|line| take(facts, line))?;
    if let Some(mut reader) = reader {
        reader.kill();
        reader.end(|line| take(facts, line))?;
    }
    match std::os::unix::process::ExitStatusExt::signal(&status) {
        Some(9) => Ok(()),
        _ => Err(format!("the worker was not killed, it ended by itself: {status}")),
    }
}

fn follow(log: &Path, from: u64) -> Result<Process, String> {
    let mut command = worker("read", [log]).map_err(|error| error.to_string())?;
    Process::start(command.args(["--from", &from.to_string()]))
}

/// A log on a healthy disk fails nothing.
fn take(facts: &mut Facts, line: &str) -> Result<(), String> {
    if line.starts_with("failed") || line.starts_with("refused") {
        return Err(format!("a worker {line}"));
    }
    facts.take(line)
}
