//! One writer and several readers in processes of their own, any of them killed or stopped at random.
//!
//! No reader sees a gap, a repeat or a wrong byte; the writer goes on whatever happens to readers; whoever was
//! killed leaves no lock behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use annals::LogReader;
use annals::testkit::{Env, SeededRandom};
use rustix::process::{Pid, Signal, kill_process};

use crate::check::{After, Facts, check};
use crate::child::{Next, Process, annals, worker};
use crate::summary::Summary;
use crate::workload::{pick, random};

/// Readers that are this program; one more is `annals tail -f`.
const READERS: u64 = 3;
/// So long the writer may take from one acknowledged append to the next, on a machine that does other things too.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The longest life of a process, in ms.
const LIFE_MS: u64 = 800;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For so long each run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many runs.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Where random numbers start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(args: &Args) -> Summary {
    let mut summary = Summary::new("processes");
    for seed in args.seed..args.seed + args.runs {
        let run = Run::new(seed, Duration::from_secs(args.seconds), None);
        if let Err(what) = run.and_then(|run| run.go(&mut summary)) {
            let again = format!("tools/torture processes --seconds {} --seed {seed}", args.seconds);
            summary.violation(format!("seed {seed}: {what}; again: {again}"));
        }
    }
    if let Err(why) = annals() {
        eprintln!("torture processes: annals tail was left out: {why}");
    }
    summary
}

/// The first broken promise in so many runs of two seconds, for whoever plants a bug.
#[allow(dead_code)] // for the layer of planted bugs
pub fn first_violation(seed: u64, runs: u64, bug: Option<&str>) -> Option<(u64, String)> {
    (seed..seed + runs).find_map(|seed| {
        let run = Run::new(seed, Duration::from_secs(2), bug);
        let outcome = run.and_then(|run| run.go(&mut Summary::new("processes")));
        outcome.err().map(|what| (seed, what))
    })
}

/// One log and those who use it.
struct Run {
    dir: tempfile::TempDir,
    seed: u64,
    bug: Option<String>,
    until: Instant,
    facts: Mutex<Facts>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    silence: Mutex<Duration>,
    /// Set when somebody saw a broken promise.
    over: AtomicBool,
}

impl Run {
    fn new(seed: u64, time: Duration, bug: Option<&str>) -> Result<Run, String> {
        Ok(Run {
            dir: tempfile::tempdir().map_err(|error| error.to_string())?,
            seed,
            bug: bug.map(str::to_owned),
            until: Instant::now() + time,
            facts: Mutex::new(Facts::new(seed)),
            counts: Mutex::default(),
            silence: Mutex::default(),
            over: AtomicBool::new(false),
        })
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn go(&self, summary: &mut Summary) -> Result<(), String> {
        let shown = Mutex::default();
        let outcome = std::thread::scope(|scope| {
            let mut guards = vec![scope.spawn(|| self.watched(|| self.writers()))];
            for reader in 0..READERS {
                guards.push(scope.spawn(move || self.watched(|| self.readers(reader))));
            }
            if let Ok(bin) = annals() {
                let shown = &shown;
                guards.push(scope.spawn(move || self.watched(|| self.tails(&bin, shown))));
            }
            let outcomes: Vec<_> = guards
                .into_iter()
                .map(|guard| guard.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            outcomes.into_iter().collect::<Result<(), String>>()
        });
        let mut facts = lock(&self.facts);
        summary.count("acknowledged appends", facts.acks);
        for (what, n) in &*lock(&self.counts) {
            summary.count(what, *n);
        }
        summary.count("ms between two acknowledgements at most", lock(&self.silence).as_millis() as u64);
        outcome?;
        check(&self.log(), &mut facts, After::Kill, &Env::system())?;
        let shown = shown.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.compare_shown(&shown)
    }

    /// Ends all when one has seen a broken promise.
    fn watched(&self, guard: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        guard().inspect_err(|_| self.over.store(true, Ordering::Relaxed))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// Until when the next process lives.
    fn life(&self, random: &SeededRandom) -> Instant {
        self.until.min(Instant::now() + Duration::from_millis(20 + pick(random, LIFE_MS)))
    }

    fn count(&self, what: &'static str, n: u64) {
        *lock(&self.counts).entry(what).or_default() += n;
    }

    /// One writer after the other. Each has to be able to write at once: the lock of the one before died with it.
    fn writers(&self) -> Result<(), String> {
        let random = random(&[self.seed, 3]);
        for generation in 0u64.. {
            if self.is_over() {
                break;
            }
            let mut command = worker("write", [self.log()]).map_err(|error| error.to_string())?;
            command.args(["--seed", &self.seed.to_string(), "--generation", &generation.to_string()]);
            if let Some(bug) = &self.bug {
                command.args(["--bug", bug]);
            }
            let mut process = Process::start(&mut command)?;
            let pid = process.pid();
            let mut last = Instant::now();
            let mut take = |line: &str| {
                if line.starts_with("failed") || line.starts_with("refused") {
                    return Err(format!("the writer {line}"));
                }
                lock(&self.facts).take(line)?;
                if line.starts_with("ack") || line.starts_with("opened") {
                    let mut silence = lock(&self.silence);
                    *silence = silence.max(last.elapsed());
                    last = Instant::now();
                }
                Ok(())
            };
            let life = self.life(&random);
            let mut is_open = false;
            while Instant::now() < life || !is_open {
                match process.next(SILENCE_MAX) {
                    Next::Line(line) => {
                        take(&line)?;
                        if line.starts_with("ack") && !is_open {
                            is_open = true;
                            self.check_holder(pid)?;
                        }
                    }
                    Next::Silent => return Err(format!("the writer acknowledged nothing for {SILENCE_MAX:?}")),
                    Next::Ended => return Err("the writer ended by itself".to_owned()),
                }
            }
            process.kill();
            process.end(take)?;
            self.count("writers killed", 1);
        }
        Ok(())
    }

    /// `LOCK` names the one that writes.
    fn check_holder(&self, pid: u32) -> Result<(), String> {
        let reader = LogReader::open(self.log()).map_err(|error| format!("cannot be read: {error}"))?;
        let stat = reader.stat().map_err(|error| format!("cannot be read: {error}"))?;
        match stat.writer {
            Some(writer) if writer.pid == pid && writer.running => Ok(()),
            other => Err(format!("process {pid} writes the log, LOCK names {other:?}")),
        }
    }

    /// One reader after the other, each going on where what the one before had reported ends.
    fn readers(&self, reader: u64) -> Result<(), String> {
        let random = random(&[self.seed, 4, reader]);
        let mut expected = 0;
        while !self.is_over() {
            let mut command = worker("read", [self.log()]).map_err(|error| error.to_string())?;
            command.args(["--from", &expected.to_string()]);
            if let Some(bug) = &self.bug {
                command.args(["--bug", bug]);
            }
            let mut process = Process::start(&mut command)?;
            let mut take = |line: &str| {
                if line.starts_with("failed") {
                    return Err(format!("reader {reader} {line}"));
                }
                if let Some(seen) = line.strip_prefix("saw ") {
                    let offset = seen.split(' ').next().and_then(|offset| offset.parse().ok());
                    if offset != Some(expected) {
                        return Err(format!("reader {reader} saw {offset:?} where {expected} comes next"));
                    }
                    expected += 1;
                }
                lock(&self.facts).take(line)
            };
            let life = self.life(&random);
            if pick(&random, 3) == 0 {
                // Stopped in the middle of whatever it does, perhaps for ever.
                process.lines_for(life.saturating_duration_since(Instant::now()) / 2, &mut take)?;
                signal(&process, Signal::STOP)?;
                self.count("readers stopped", 1);
                process.lines_for(life.saturating_duration_since(Instant::now()), &mut take)?;
                if pick(&random, 2) == 0 {
                    signal(&process, Signal::CONT)?;
                    process.lines_for(self.life(&random).saturating_duration_since(Instant::now()), &mut take)?;
                }
            } else {
                process.lines_for(life.saturating_duration_since(Instant::now()), &mut take)?;
            }
            process.kill();
            process.end(take)?;
            self.count("readers killed", 1);
        }
        self.count("events seen by readers", expected);
        Ok(())
    }

    /// One `annals tail -f` after the other; what it shows is remembered by offset.
    fn tails(&self, bin: &Path, shown: &Mutex<BTreeMap<u64, String>>) -> Result<(), String> {
        let random = random(&[self.seed, 5]);
        while !self.is_over() {
            let mut command = Command::new(bin);
            command.arg("tail").arg(self.log()).args(["-f", "--json", "--system", "-n", "5"]);
            let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::null()))?;
            let mut last = None;
            let mut take = |line: &str| {
                let offset = offset_in(line).ok_or_else(|| format!("annals tail printed {line}"))?;
                if let Some(last) = last.replace(offset).filter(|last| last + 1 != offset) {
                    return Err(format!("annals tail -f showed event {offset} after {last}"));
                }
                match lock(shown).insert(offset, line.to_owned()) {
                    Some(before) if before != line => Err(format!("annals tail showed {before}, then {line}")),
                    _ => Ok(()),
                }
            };
            let life = self.life(&random).saturating_duration_since(Instant::now());
            process.lines_for(life, &mut take)?;
            process.kill();
            process.end(take)?;
            self.count("annals tail killed", 1);
        }
        Ok(())
    }

    /// What `annals tail` has shown is what `annals cat` shows now, byte for byte.
    fn compare_shown(&self, shown: &BTreeMap<u64, String>) -> Result<(), String> {
        let Ok(bin) = annals() else { return Ok(()) };
        let mut shown = shown.iter().peekable();
        let mut command = Command::new(bin);
        command.arg("cat").arg(self.log()).args(["--json", "--system"]);
        let mut process = Process::start(command.stdin(Stdio::null()))?;
        process.end(|line| match offset_in(line) {
            Some(offset) => match shown.next_if(|(at, _)| **at == offset) {
                Some((_, before)) if before != line => Err(format!("annals tail showed {before}, it is {line}")),
                _ => Ok(()),
            },
            None => Err(format!("annals cat printed {line}")),
        })?;
        match shown.next() {
            Some((offset, _)) => Err(format!("annals tail showed event {offset}, which is not there any more")),
            None => Ok(()),
        }
    }
}

/// The offset that a line of `--json` begins with.
fn offset_in(line: &str) -> Option<u64> {
    let rest = line.split_once("\"offset\":")?.1;
    let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn signal(process: &Process, signal: Signal) -> Result<(), String> {
    let pid = Pid::from_raw(process.pid() as i32).ok_or("no pid")?;
    kill_process(pid, signal).map_err(|error| format!("process {} cannot be signalled: {error}", process.pid()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
