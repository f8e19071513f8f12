//! Limits of the system: two processes that want one log, few open files, little memory, a disk that stalls, a clock that jumps. Nothing
//! acknowledged is lost, every answer is typed, and the next process goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use annals::testkit::Env;

use crate::check::{After, Facts, check};
use crate::child::{Next, PATIENCE, Process, annals, cat, worker};
use crate::races::{self, Counts};
use crate::summary::Summary;

/// A wait with a deadline may take so much longer.
const LATE_MAX: u64 = 100;
const DEADLINE_MS: u64 = 50;
const STALL_MS: u64 = 1200;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many times all of it.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Where random numbers start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(args: &Args) -> Summary {
    let mut summary = Summary::new("limits");
    for seed in args.seed..args.seed + args.runs {
        let outcomes = std::thread::scope(|scope| {
            let parts = PARTS.map(|part| scope.spawn(move || one_part(seed, part)));
            let races = races::race_all(races::RACES);
            let parts = parts.map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            parts.into_iter().chain([races]).collect::<Vec<_>>()
        });
        for (counts, outcome) in outcomes {
            counts.iter().for_each(|(what, n)| summary.count(what, *n));
            if let Err(what) = outcome {
                summary.violation(format!("seed {seed}: {what}; again: tools/torture limits --seed {seed}"));
            }
        }
    }
    summary
}

type Part = fn(&mut Case) -> Result<(), String>;

const PARTS: [Part; 6] = [few_files, little_memory, short_files, stalls, clock_jumps, faked_clock];

fn one_part(seed: u64, part: Part) -> (Counts, Result<(), String>) {
    match Case::new(seed) {
        Ok(mut case) => {
            let outcome = part(&mut case);
            (case.counts, outcome)
        }
        Err(what) => (Counts::new(), Err(what)),
    }
}

/// One log under one limit.
struct Case {
    dir: tempfile::TempDir,
    log: PathBuf,
    facts: Facts,
    generation: u64,
    counts: Counts,
}

impl Case {
    fn new(seed: u64) -> Result<Case, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let log = dir.path().join("log");
        Ok(Case { dir, log, facts: Facts::new(seed), generation: 0, counts: Vec::new() })
    }

    /// A file of its own beside the log.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn count(&mut self, what: &'static str, n: u64) {
        self.counts.push((what, n));
    }

    /// Runs a worker of so many appends to its end; returns its lines.
    fn write(&mut self, appends: u64, args: &[&str]) -> Result<Ended, String> {
        self.generation += 1;
        let mut command = worker("write", [&self.log]).map_err(|error| error.to_string())?;
        command.args(["--seed", &self.facts.seed().to_string(), "--generation", &self.generation.to_string()]);
        command.args(["--appends", &appends.to_string()]).args(args);
        ended(&mut command, |line| self.facts.take(line))
    }

    fn read(&mut self, args: &[&str], until: u64) -> Result<Ended, String> {
        let mut command = worker("read", [&self.log]).map_err(|error| error.to_string())?;
        let mut process = Process::start(command.args(args).stderr(Stdio::piped()))?;
        let mut lines = Vec::new();
        let last = format!("saw {} ", until.saturating_sub(1));
        // A reader follows for ever: at the end it is not waited for any longer.
        while let Next::Line(line) = process.next(PATIENCE) {
            self.facts.take(&line)?;
            let is_last = line.starts_with(&last);
            lines.push(line);
            if is_last {
                break;
            }
        }
        process.kill();
        process.end(|_| Ok(()))?;
        Ok(Ended { lines })
    }

    fn check(&mut self) -> Result<u64, String> {
        Ok(check(&self.log, &mut self.facts, After::Kill, &Env::system())?.events)
    }
}

struct Ended {
    lines: Vec<String>,
}

impl Ended {
    fn is_done(&self) -> bool {
        self.lines.last().is_some_and(|line| line == "done")
    }

    /// Whether it said why it ended, where it did not come to its end.
    fn is_typed(&self) -> bool {
        self.is_done() || self.lines.last().is_some_and(|line| line.starts_with("failed"))
    }

    fn last(&self) -> &str {
        self.lines.last().map_or("nothing", String::as_str)
    }
}

fn ended(command: &mut Command, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<Ended, String> {
    let mut process = Process::start(command)?;
    let mut lines = Vec::new();
    process.end(|line| {
        lines.push(line.to_owned());
        take(line)
    })?;
    Ok(Ended { lines })
}

/// With few open files allowed, reading and writing go on or say why not.
fn few_files(case: &mut Case) -> Result<(), String> {
    if !case.write(1500, &[])?.is_done() {
        return Err("the log could not be filled".to_owned());
    }
    let events = case.check()?;
    let segments = std::fs::read_dir(&case.log).map_err(|error| error.to_string())?;
    let segments = segments.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "seg")).count();
    case.count("segments under few open files", segments as u64);
    for files in ["4", "5", "6", "7", "8", "12", "32"] {
        let read = case.read(&["--files", files], events)?;
        let saw_all = read.last().starts_with(&format!("saw {} ", events - 1));
        if !saw_all && !read.is_typed() {
            return Err(format!("a reader with {files} files ended without a word, after {}", read.last()));
        }
        if files == "32" && !saw_all {
            return Err(format!("a reader with 32 files for {segments} segments could not go on: {}", read.last()));
        }
        let written = case.write(10, &["--files", files])?;
        if !written.is_typed() {
            return Err(format!("a writer with {files} files ended without a word, after {}", written.last()));
        }
        if files == "32" && !written.is_done() {
            return Err(format!("a writer with 32 files could not go on: {}", written.last()));
        }
        case.count("processes with few open files", 2);
        let refused =
            |ended: &Ended| ended.lines.iter().any(|line| line.starts_with("failed") || line.starts_with("refused"));
        case.count("of them refused something", u64::from(refused(&read)) + u64::from(refused(&written)));
    }
    goes_on(case)
}

/// A process that gets no memory ends as if it were killed.
fn little_memory(case: &mut Case) -> Result<(), String> {
    for mib in ["10", "13", "14", "15", "16", "18", "20", "24"] {
        let written = case.write(40, &["--memory-mib", mib])?;
        case.count("processes with little memory", 1);
        case.count("of them ended by it", u64::from(!written.is_done()));
        case.check()?;
    }
    goes_on(case)
}

/// Where no file may be longer, the command says so and ends as for a full disk. Nothing that was kept is lost, and it goes
/// on when the limit is lifted. The signal that comes with the limit is ignored, as those do who want an answer.
fn short_files(case: &mut Case) -> Result<(), String> {
    let Ok(bin) = annals() else {
        eprintln!("torture limits: files that may not be longer were left out: they need annals");
        return Ok(());
    };
    let path = case.log.clone();
    let data = "x".repeat(900);
    let lines: Vec<String> = (0..2_000).map(|n| format!("{n} {data}")).collect();
    let mut there = 0;
    // In units of 512 bytes: less than any segment has, and room for the first alone.
    for blocks in ["8", "100", "600", "1000", "unlimited"] {
        let mut command = Command::new("sh");
        command.args(["-c", r#"trap '' XFSZ; ulimit -f "$1"; shift; exec "$@""#, "sh", blocks]).arg(&bin);
        command.arg("append").arg(&path).args(["s", "--type", "Line", "--lines"]);
        let input = case.path("lines");
        std::fs::write(&input, lines[there..].join("\n") + "\n").map_err(|error| error.to_string())?;
        let input = std::fs::File::open(&input).map_err(|error| error.to_string())?;
        let done = command.stdin(input).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let before = there;
        there = whole_prefix(&bin, &path, &lines)?;
        case.count("processes whose files may not be longer", 1);
        match done.status.code() {
            Some(0) if there == lines.len() => {}
            Some(EXIT_DISK) if there >= before + kept(&said) && there < lines.len() && said.contains("error") => {
                case.count("of them stopped by it", 1);
            }
            code => {
                return Err(format!("with files of {blocks} blocks, {there} lines are there, exit {code:?}: {said}"));
            }
        }
    }
    if there == lines.len() {
        Ok(())
    } else {
        Err(format!("without the limit {there} of {} lines are there", lines.len()))
    }
}

/// How many lines the command says it has appended before it stopped.
fn kept(said: &str) -> usize {
    let before = said.split(" events before it appended").next().filter(|before| before.len() < said.len());
    let number = before.and_then(|before| before.rsplit(' ').next());
    number.and_then(|number| number.replace(',', "").parse().ok()).unwrap_or(0)
}

/// What the command says of a disk that is full or fails.
const EXIT_DISK: i32 = 7;

/// How many of the lines are in the log, which has to hold the first of them and nothing else, and to be sound.
fn whole_prefix(bin: &Path, log: &Path, lines: &[String]) -> Result<usize, String> {
    if !log.join("LOCK").exists() {
        return Ok(0);
    }
    let verify = Command::new(bin).arg("verify").arg(log).output().map_err(|error| error.to_string())?;
    let made = std::fs::read_dir(log).map_err(|error| error.to_string())?.flatten();
    let made = made.into_iter().any(|entry| entry.path().extension().is_some_and(|ending| ending == "seg"));
    if !made {
        return Ok(0);
    }
    if !verify.status.success() {
        return Err(format!("annals verify: {}", String::from_utf8_lossy(&verify.stderr).trim()));
    }
    let there = cat(bin, log)?;
    match there.len() <= lines.len() && there.iter().eq(&lines[..there.len()]) {
        true => Ok(there.len()),
        false => Err(format!("{} lines are there, and not those that were appended", there.len())),
    }
}

/// Whoever waits with a deadline is told in time that the outcome is not known yet.
fn stalls(case: &mut Case) -> Result<(), String> {
    let (deadline, stall) = (DEADLINE_MS.to_string(), STALL_MS.to_string());
    let stalling = ["--steady", "--deadline-ms", &deadline, "--stall-ms", &stall, "--stall-every", "25"];
    let written = case.write(20, &stalling)?;
    let late: Vec<u64> =
        written.lines.iter().filter_map(|line| line.strip_prefix("late ")?.rsplit(' ').next()?.parse().ok()).collect();
    let longest = late.iter().copied().max().unwrap_or(0);
    if late.is_empty() {
        return Err(format!("no wait was late on a disk that stalls for {stall} ms"));
    }
    if longest > DEADLINE_MS + LATE_MAX {
        return Err(format!("a wait with a deadline of {DEADLINE_MS} ms took {longest} ms"));
    }
    if !written.is_done() {
        return Err(format!("the writer did not go on after the stall: {}", written.last()));
    }
    case.count("late answers", late.len() as u64);
    case.count("ms for the latest", longest);
    goes_on(case)
}

/// Offsets order, not the clock.
fn clock_jumps(case: &mut Case) -> Result<(), String> {
    for _ in 0..3 {
        let written = case.write(60, &["--clock-jumps"])?;
        if !written.is_done() {
            return Err(format!("the clock jumped, and the writer said {}", written.last()));
        }
        case.check()?;
        case.count("processes whose clock jumps", 1);
    }
    goes_on(case)
}

/// The same for the command `annals`.
fn faked_clock(case: &mut Case) -> Result<(), String> {
    let (Ok(bin), true) = (annals(), has_faketime()) else {
        eprintln!("torture limits: the clock of the command was left alone: it needs annals and faketime");
        return Ok(());
    };
    let path = case.log.clone();
    for by in ["+36500d", "-36500d", "+0d"] {
        let mut command = Command::new("faketime");
        command.args(["-f", by]).arg(&bin).arg("append").arg(&path).args(["clock", "--type", "T", "--json"]);
        let done = ended(command.stdin(Stdio::null()), |_| Ok(()))?;
        if !done.last().contains("\"offset\"") {
            return Err(format!("annals append with a clock {by} off said {}", done.last()));
        }
        case.count("commands whose clock jumps", 1);
    }
    let events = annals::LogReader::open(&path).map_err(|error| error.to_string())?.read(..).count();
    if events == 3 { Ok(()) } else { Err(format!("three events were appended, {events} are there")) }
}

fn has_faketime() -> bool {
    let mut command = Command::new("faketime");
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Without the limit all is there, and it goes on.
fn goes_on(case: &mut Case) -> Result<(), String> {
    let before = case.check()?;
    let written = case.write(5, &[])?;
    let after = case.check()?;
    match written.is_done() && after > before {
        true => Ok(()),
        false => Err(format!("after the limit was gone the writer said {}", written.last())),
    }
}
