//! Bugs on purpose, each to be caught by a layer: the tests of the tests.
//!
//! Every hunt is a process of its own, so that one bug is planted in it from the start, and a bug that makes it die is
//! one that was noticed. With no bug planted the same hunts must find nothing.

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this bug; `none` plants none, and nothing may be found.
    #[arg(long)]
    bug: Option<String>,
    /// Seconds after which the hunt for one bug is given up. Most take less than one.
    #[arg(long, default_value_t = 40)]
    budget_seconds: u64,
    /// Where random numbers start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Hunts here, in one layer, and says what it found: how a hunt is started.
    #[arg(long, hide = true)]
    hunt: Option<Layer>,
    /// Seconds that the hunt may take.
    #[arg(long, hide = true, default_value_t = 10.0)]
    hunt_seconds: f64,
}

/// The layers that a bug is hunted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Layer {
    Sim,
    Worlds,
    Sweep,
    Bytes,
    Kill,
    Processes,
    Races,
}

#[cfg(not(feature = "planted-bugs"))]
pub fn run(_args: &Args) -> crate::summary::Summary {
    let mut summary = crate::summary::Summary::new("planted");
    summary
        .violation("this build has no bugs to plant: cargo run -p annals-torture --features planted-bugs -- planted");
    summary
}

#[cfg(feature = "planted-bugs")]
pub use hunts::run;

#[cfg(feature = "planted-bugs")]
mod hunts {
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use annals::testkit::{plant, planted_bugs};
    use clap::ValueEnum;

    use super::{Args, Layer};
    use crate::summary::Summary;
    use crate::{bytes, kill, processes, races, sim, sweep, worlds};

    /// Where nothing else is known to be better.
    const USUAL: &[Layer] = &[Layer::Sim, Layer::Worlds, Layer::Sweep, Layer::Bytes];

    /// Where a bug is caught soonest, tried before the others.
    const FIRST: &[(Layer, &[&str])] = &[
        (
            Layer::Bytes,
            &["checksum-without-lengths", "salt-ignored", "hints-ignored", "last-file-unverified", "index-trusted"],
        ),
        (Layer::Sweep, &["write-error-ignored", "short-write-taken", "sync-retried", "durable-end-before-sync"]),
        (Layer::Processes, &["reader-list-stale"]),
        (Layer::Races, &["lock-not-taken"]),
        (Layer::Worlds, &["recovery-not-synced", "sealed-too-short"]),
    ];

    /// How a hunt ended.
    enum Found {
        Nothing,
        /// After so many runs: what.
        Caught(u64, String),
    }

    /// What became of a bug.
    struct Outcome {
        bug: &'static str,
        seconds: f64,
        by: Option<(Layer, u64, String)>,
    }

    pub fn run(args: &Args) -> Summary {
        match args.hunt {
            Some(layer) => hunt_here(args, layer),
            None => hunt_all(args),
        }
    }

    fn layers_of(bug: &str) -> Vec<Layer> {
        let first = FIRST.iter().filter(|(_, bugs)| bugs.contains(&bug)).map(|(layer, _)| *layer);
        let mut layers: Vec<Layer> = first.collect();
        layers.extend(USUAL.iter().filter(|layer| !layers.contains(layer)).copied().collect::<Vec<_>>());
        layers
    }

    /// Starts the hunts, as many at a time as there are processors.
    fn hunt_all(args: &Args) -> Summary {
        let mut summary = Summary::new("planted");
        let mut bugs: Vec<&'static str> = vec!["none"];
        bugs.extend(planted_bugs().iter().map(|(name, _)| *name));
        if let Some(only) = &args.bug {
            bugs.retain(|bug| bug == only);
        }
        if bugs.is_empty() {
            summary.violation(format!("there is no bug {:?}", args.bug));
        }
        let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(bugs.len().max(1));
        let seconds = args.budget_seconds as f64;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let outcome = hunt(args, bug, seconds);
                        outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(outcome);
                    }
                });
            }
        });
        let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        outcomes.sort_by_key(|outcome| bugs.iter().position(|bug| *bug == outcome.bug));
        for outcome in outcomes {
            judge(&outcome, &mut summary);
        }
        summary
    }

    fn judge(outcome: &Outcome, summary: &mut Summary) {
        let Outcome { bug, seconds, by } = outcome;
        match (by, *bug) {
            (None, "none") => println!("{:<26} nothing found, as it should be, {seconds:.1} s", "(no bug)"),
            (Some((layer, runs, what)), "none") => {
                summary.violation(format!("no bug was planted, and {layer:?} found after {runs} runs: {what}"));
            }
            (Some((layer, runs, what)), bug) => {
                let layer = format!("{layer:?}").to_lowercase();
                let what: String = what.chars().take(90).collect();
                println!("{bug:<26} {layer:<10} {runs:>6} runs {seconds:>5.1} s  {}", what.replace('\n', " "));
                summary.count("bugs caught", 1);
            }
            (None, bug) => {
                summary.violation(format!("{bug} was not caught; torture planted --bug {bug}"));
                summary.count("bugs not caught", 1);
            }
        }
    }

    /// Hunts for a bug in one layer after the other.
    fn hunt(args: &Args, bug: &'static str, seconds: f64) -> Outcome {
        let start = Instant::now();
        let layers = layers_of(bug);
        let mut by = None;
        for (index, layer) in layers.iter().enumerate() {
            let left = (seconds - start.elapsed().as_secs_f64()).max(0.5);
            // Where it should be caught first, or by most seeds, gets more than the others.
            let share = match (bug, layer) {
                ("none", _) => 1.0 / (layers.len() - index) as f64,
                (_, Layer::Sim) => 0.7,
                _ => 0.3,
            };
            if let Found::Caught(runs, what) = hunt_apart(args, bug, *layer, left * share) {
                by = Some((*layer, runs, what));
                break;
            }
        }
        Outcome { bug, seconds: start.elapsed().as_secs_f64(), by }
    }

    /// Runs a hunt in a process of its own.
    fn hunt_apart(args: &Args, bug: &str, layer: Layer, seconds: f64) -> Found {
        let layer_name = layer.to_possible_value().map_or(String::new(), |name| name.get_name().to_owned());
        let me = match std::env::current_exe() {
            Ok(me) => me,
            Err(error) => return Found::Caught(0, format!("this program is not found: {error}")),
        };
        let child = Command::new(me)
            .args(["planted", "--bug", bug, "--hunt", &layer_name, "--seed", &args.seed.to_string()])
            .args(["--hunt-seconds", &seconds.to_string()])
            .envs(Some(("TORTURE_BUG", bug)).filter(|(_, bug)| *bug != "none"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return Found::Caught(0, format!("a hunt could not be started: {error}")),
        };
        let late = Instant::now() + Duration::from_secs_f64(seconds + HANGS_SECONDS);
        loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < late => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) => break,
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    eprintln!("torture planted: a hunt for {bug} in {layer_name} hangs");
                    return Found::Nothing;
                }
            }
        }
        let mut said = String::new();
        let read = child.stdout.take().map(|mut out| out.read_to_string(&mut said));
        match (read, said.lines().rev().find_map(parse)) {
            (Some(Ok(_)), Some(found)) => found,
            _ => Found::Caught(0, "the hunt itself died".to_owned()),
        }
    }

    /// A hunt that has not ended so long after its time hangs.
    const HANGS_SECONDS: f64 = 20.0;
    const CAUGHT: &str = "hunt: caught after ";
    const NOTHING: &str = "hunt: nothing";

    fn parse(line: &str) -> Option<Found> {
        if line == NOTHING {
            return Some(Found::Nothing);
        }
        let (runs, what) = line.strip_prefix(CAUGHT)?.split_once(": ")?;
        Some(Found::Caught(runs.parse().ok()?, what.to_owned()))
    }

    /// Hunts in this process until something is found or the time is over.
    fn hunt_here(args: &Args, layer: Layer) -> Summary {
        let mut summary = Summary::new("planted");
        let bug = args.bug.as_deref().unwrap_or("none");
        if !plant(bug) {
            summary.violation(format!("there is no bug {bug:?}"));
            return summary;
        }
        let until = Instant::now() + Duration::from_secs_f64(args.hunt_seconds);
        let mut runs = 0;
        loop {
            let (found, tried) = some(layer, args.seed + runs, bug);
            if let Some((after, what)) = found {
                println!("{CAUGHT}{}: {}", runs + after, what.replace('\n', " "));
                return summary;
            }
            runs += tried;
            if tried == 0 || Instant::now() >= until {
                println!("{NOTHING}");
                return summary;
            }
        }
    }

    /// Some runs of a layer: what was found after how many of them, and how many there are. A layer that has no more
    /// runs says 0.
    fn some(layer: Layer, seed: u64, bug: &str) -> (Option<(u64, String)>, u64) {
        let bug = Some(bug).filter(|bug| *bug != "none");
        let _ = (layer, seed, bug);
        match layer {
            Layer::Sim => (sim::first_violation(seed, 20), 20),
            Layer::Worlds => (worlds::first_violation(seed - 1, 1), 1),
            Layer::Sweep => (sweep::first_violation(seed, 100), 100),
            Layer::Bytes => (bytes::first_violation(seed, 60), 60),
            Layer::Kill => (kill::first_violation(seed, 5, bug), 5),
            Layer::Processes => (processes::first_violation(seed, 1, bug), 1),
            Layer::Races => (races::race_all(20).1.err().map(|what| (20, what)), 20),
        }
    }
}
