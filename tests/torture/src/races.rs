//! Two processes that want to write the same log at the same time: one does, the other is told who.

use std::io::BufRead;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use annals::{Event, Log, OpenError, Receipt};

use crate::child::{Process, worker};
use crate::summary::Summary;
use crate::worker::{RaceArgs, line};

/// Every so many rounds somebody deletes `LOCK` while the winner has it.
const UNLINK_EVERY: u64 = 25;

/// How many races there are unless it is said.
pub const RACES: u64 = 1000;
/// Pairs of processes that race at the same time, each for its own log.
const PAIRS: u64 = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many races.
    #[arg(long, default_value_t = RACES)]
    runs: u64,
    /// Accepted as every layer does; what differs between runs is who is faster.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(args: &Args) -> Summary {
    let mut summary = Summary::new("races");
    let (counts, outcome) = race_all(args.runs);
    counts.iter().for_each(|(what, n)| summary.count(what, *n));
    if let Err(what) = outcome {
        summary.violation(format!("{what}; again: tools/torture races --runs {} --seed {}", args.runs, args.seed));
    }
    summary
}

/// What was done, with numbers.
pub type Counts = Vec<(&'static str, u64)>;

/// So many races, by several pairs at the same time: a loser waits for most of one.
pub fn race_all(races: u64) -> (Counts, Result<(), String>) {
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let pairs: Vec<_> = (0..PAIRS)
            .map(|pair| {
                let rounds = (races + pair) / PAIRS;
                scope.spawn(move || {
                    let mut counts = Counts::new();
                    let outcome = race(rounds, &mut counts);
                    (counts, outcome)
                })
            })
            .collect();
        pairs.into_iter().map(|pair| pair.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let (counts, outcomes): (Vec<Counts>, Vec<Result<(), String>>) = outcomes.into_iter().unzip();
    (counts.concat(), outcomes.into_iter().collect())
}

fn race(rounds: u64, counts: &mut Counts) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let log = dir.path().join("log");
    let start = || {
        let mut command = worker("race", [&log]).map_err(|error| error.to_string())?;
        Process::start(command.stdin(Stdio::piped()))
    };
    let mut racers = [start()?, start()?];
    for round in 0..rounds {
        for racer in &mut racers {
            racer.say("open")?;
        }
        let answers = [racers[0].line()?, racers[1].line()?];
        let winner = match answers.each_ref().map(|answer| answer == "open") {
            [true, false] => 0,
            [false, true] => 1,
            _ => return Err(format!("round {round}: both were answered: {answers:?}")),
        };
        let loser = 1 - winner;
        if !answers[loser].starts_with("held") {
            return Err(format!("round {round}: the loser was told: {}", answers[loser]));
        }
        counts.push(("races", 1));
        counts.push(("won by the first", u64::from(winner == 0)));
        let [first, second] = &mut racers;
        let (winner, loser) = if winner == 0 { (first, second) } else { (second, first) };
        // Now that it is open, there is no doubt whose it is.
        loser.say("open")?;
        let (told, expected) = (loser.line()?, format!("held {}", winner.pid()));
        if told != expected {
            return Err(format!("round {round}: the loser was told {told:?}, not {expected:?}"));
        }
        winner.say("append")?;
        expect(winner, "appended")?;
        if round % UNLINK_EVERY == UNLINK_EVERY - 1 {
            unlink(&log, winner, loser)?;
            counts.push(("with LOCK deleted", 1));
        }
        winner.say("close")?;
        expect(winner, "closed")?;
    }
    let log = Log::open(&log).map_err(|error| format!("cannot be opened: {error}"))?;
    let events = log.read(..).filter(|event| event.as_ref().is_ok_and(|event| event.event_type() == "Won")).count();
    match events as u64 == rounds {
        true => Ok(()),
        false => Err(format!("{rounds} rounds were won, and {events} events say so")),
    }
}

fn expect(process: &Process, expected: &str) -> Result<(), String> {
    match process.line()? {
        line if line == expected => Ok(()),
        line => Err(format!("process {} said {line:?}, not {expected:?}", process.pid())),
    }
}

/// Without `LOCK` there is no second writer either, also when the first has gone on to another segment.
fn unlink(log: &Path, winner: &mut Process, loser: &mut Process) -> Result<(), String> {
    std::fs::remove_file(log.join("LOCK")).map_err(|error| format!("LOCK cannot be deleted: {error}"))?;
    for append in ["append", "roll"] {
        loser.say("open")?;
        let told = loser.line()?;
        if !told.starts_with("held") {
            return Err(format!("LOCK was deleted beside a writer, and a second one was told {told:?}"));
        }
        // Each append of `roll` fills a segment.
        winner.say(if append == "append" { "roll" } else { "sync" })?;
        expect(winner, "appended")?;
    }
    Ok(())
}

/// What a racer does: one line on stdin, one answer.
pub fn contend(args: &RaceArgs) -> ExitCode {
    let mut log = None;
    for command in std::io::stdin().lock().lines() {
        let Ok(command) = command else { break };
        match (command.as_str(), &log) {
            ("open", None) => {
                let options = Log::options().env(args.world.env());
                match options.segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST).open(&args.dir) {
                    Ok(opened) => {
                        log = Some(opened);
                        line("open");
                    }
                    Err(OpenError::Held { pid: Some(pid), .. }) => line(format_args!("held {pid}")),
                    Err(OpenError::Held { pid: None, .. }) => line("held"),
                    Err(error) => line(format_args!("failed {error}")),
                }
            }
            ("append", Some(log)) => say_appended(log.append(Event::new("races", "Won")).and_then(Receipt::wait)),
            ("roll", Some(log)) => {
                let data = vec![7; annals::limits::SEGMENT_BYTES_FIRST as usize];
                say_appended(log.append(Event::new("filling", "Rolled").data(data)).and_then(Receipt::wait));
            }
            ("sync", Some(log)) => say_appended(log.sync()),
            ("close", Some(_)) => match log.take().map(Log::close) {
                Some(Err(error)) => line(format_args!("failed {error}")),
                _ => line("closed"),
            },
            _ => line(format_args!("failed {command} is not to be done now")),
        }
    }
    ExitCode::SUCCESS
}

fn say_appended<T>(outcome: Result<T, annals::AppendError>) {
    match outcome {
        Ok(_) => line("appended"),
        Err(error) => line(format_args!("failed {error}")),
    }
}
