//! Real power cuts: a file system of its own is shut down without its journal while a worker writes a log on it.
//!
//! What was not synced is gone then, and what was is not. Either the power goes at a random moment, while the worker
//! is in the middle of anything, or the worker ends at a chosen call on the disk and the power goes with it: so
//! each step of making a log, of a roll, a seal, a merge of indexes, a commit of a cursor and an open is hit. Every
//! fifth cut is followed by others while the log recovers. After each, the machine counts as started anew.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use annals::testkit::Env;

use crate::check::{After, Facts, check};
use crate::child::{self, Next, Process, cat, worker};
use crate::dice::Dice;
use crate::mount::{Fs, Image, Workshop};
use crate::summary::Summary;

const LAYER: &str = "powercut";
/// A log is cut off so often, each time going on where it was.
const CUTS: u64 = 5;
/// After so many broken promises it stops.
const VIOLATIONS_MAX: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many power cuts, but for those during a recovery.
    #[arg(long, default_value_t = 100)]
    runs: u64,
    /// The seed of the first log; each next one has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On this file system alone; otherwise the seed chooses among those that can be made here.
    #[arg(long)]
    fs: Option<Fs>,
    /// How it is mounted, such as `data=writeback`.
    #[arg(long, requires = "fs")]
    mount_options: Option<String>,
}

pub fn run(args: &Args) -> Summary {
    let workshop = match Workshop::enter(LAYER) {
        Ok(workshop) => workshop,
        Err(skipped) => return skipped,
    };
    let systems = args.fs.map_or_else(Fs::there, |fs| vec![fs]);
    let (mut summary, mut machines) = (Summary::new(LAYER), Vec::new());
    for fs in systems {
        match Machine::new(&workshop, fs, args.mount_options.clone()) {
            Ok(machine) => machines.push(machine),
            // Whoever asks for it is told; otherwise the others do.
            Err(why) if args.fs.is_some() => {
                let options = args.mount_options.as_ref().map_or(String::new(), |options| format!(" with {options}"));
                summary.violation(format!("{} cannot be mounted{options}: {why}", fs.name()));
                return summary;
            }
            Err(why) => eprintln!("torture {LAYER}: no {} here: {why}", fs.name()),
        }
    }
    if machines.is_empty() {
        return Summary::skipped(LAYER, "no file system can be mounted here");
    }
    let (mut cuts, mut seed) = (0, args.seed);
    while cuts < args.runs && summary.violations() < VIOLATIONS_MAX {
        let count = CUTS.min(args.runs - cuts);
        let dice = Dice::new(seed);
        let machine = dice.below(machines.len() as u64) as usize;
        let machine = &mut machines[machine];
        let fs = machine.image.fs.name();
        summary.count(if fs == "xfs" { "logs on xfs" } else { "logs on ext4" }, 1);
        if let Err(what) = one_log(machine, seed, count, &dice, &mut summary) {
            let options = args.mount_options.as_ref().map_or(String::new(), |o| format!(" --mount-options {o}"));
            let only = args.fs.map_or(String::new(), |fs| format!(" --fs {}{options}", fs.name()));
            summary.violation(format!(
                "seed {seed} on {fs}: {what}\n  again: tools/torture {LAYER} --runs {count} --seed {seed}{only}"
            ));
        }
        (cuts, seed) = (cuts + count, seed + 1);
    }
    summary
}

/// A file system whose power can go.
struct Machine<'w> {
    workshop: &'w Workshop,
    image: Image,
    boots: u64,
}

impl<'w> Machine<'w> {
    fn new(workshop: &'w Workshop, fs: Fs, options: Option<String>) -> Result<Machine<'w>, String> {
        let made = || {
            let mut image = workshop.image(fs, fs.bytes_min().max(256 << 20), &[])?;
            image.options = options;
            image.mount()?;
            std::io::Result::Ok(image)
        };
        let image = made().map_err(|error| error.to_string())?;
        Ok(Machine { workshop, image, boots: 0 })
    }

    fn cut(&self) -> Result<(), String> {
        self.image.cut().map_err(|error| format!("the power did not go: {error}"))
    }

    /// The power is back, and the machine runs anew.
    fn start(&mut self) -> Result<(), String> {
        self.boots += 1;
        self.image.mount_again().map_err(|error| format!("not mounted again: {error}"))?;
        self.workshop.boot(self.boots).map_err(|error| format!("no boot id: {error}"))
    }
}

fn one_log(m: &mut Machine<'_>, seed: u64, cuts: u64, dice: &Dice, summary: &mut Summary) -> Result<(), String> {
    let dir = m.image.dir().join(format!("log-{seed}"));
    m.workshop.boot(m.boots).map_err(|error| format!("no boot id: {error}"))?;
    let outcome = match dice.percent(15) {
        true => by_command(m, &dir, seed, cuts, dice, summary),
        false => by_worker(m, &dir, seed, cuts, dice, summary),
    };
    // The file system is as after a cut, should something have gone wrong in between.
    let _ = std::fs::remove_dir_all(&dir);
    match std::fs::create_dir(&dir).and_then(|()| std::fs::remove_dir(&dir)) {
        Ok(()) => outcome,
        Err(_) => m.start().and(outcome),
    }
}

/// A worker that uses a log in every way.
fn by_worker(
    m: &mut Machine<'_>,
    dir: &Path,
    seed: u64,
    cuts: u64,
    dice: &Dice,
    summary: &mut Summary,
) -> Result<(), String> {
    let mut facts = Facts::new(seed);
    let outcome = (0..cuts).try_for_each(|generation| {
        summary.count("power cuts", 1);
        let mut run = Run { dir, generation: generation * 16, facts: &mut facts, dice };
        match dice.below(2) {
            // A new log makes some fifteen calls; a few hundred fill a segment.
            0 => {
                let calls = if dice.percent(30) { 20 } else { 600 };
                summary.count("at chosen calls", 1);
                run.cut_at_call(m, dice.below(calls))?;
            }
            _ => run.cut_after(m, Duration::from_micros(dice.below(120_000)))?,
        }
        if dice.percent(20) {
            for _ in 0..1 + dice.below(3) {
                summary.count("cuts while recovering", 1);
                run.generation += 1;
                run.cut_at_call(m, dice.below(25))?;
            }
        }
        let found = check(dir, run.facts, After::PowerCut, &Env::system())?;
        summary.count("events checked", found.events);
        summary.count("torn tails", u64::from(found.torn > 0));
        Ok(())
    });
    summary.count("acknowledged appends", facts.acks);
    outcome
}

/// One life of a worker, which ends with the power.
struct Run<'r> {
    dir: &'r Path,
    generation: u64,
    facts: &'r mut Facts,
    dice: &'r Dice,
}

impl Run<'_> {
    fn command(&self) -> Result<Command, String> {
        let mut command = worker("write", [self.dir]).map_err(|error| error.to_string())?;
        let (seed, generation) = (self.facts.seed().to_string(), self.generation.to_string());
        command.args(["--seed", &seed, "--generation", &generation]);
        Ok(command)
    }

    /// The worker ends within or beside a call on the disk, and the power goes at once.
    fn cut_at_call(&mut self, m: &mut Machine<'_>, call: u64) -> Result<(), String> {
        let how = self.dice.of(&["before", "half", "after"]);
        let mut process = Process::start(self.command()?.args(["--die-at", &format!("{how}:{call}")]))?;
        let status = process.end(|line| on_a_whole_disk(self.facts, line))?;
        m.cut()?;
        m.start()?;
        match std::os::unix::process::ExitStatusExt::signal(&status) {
            Some(9) => Ok(()),
            _ => Err(format!("the worker ended by itself: {status}")),
        }
    }

    /// The power goes in the middle of anything.
    fn cut_after(&mut self, m: &mut Machine<'_>, time: Duration) -> Result<(), String> {
        let mut process = Process::start(&mut self.command()?)?;
        process.lines_for(time, |line| on_a_whole_disk(self.facts, line))?;
        if self.dice.percent(50) {
            process.kill();
            process.end(|line| on_a_whole_disk(self.facts, line))?;
            m.cut()?;
        } else {
            while let Next::Line(line) = process.next(Duration::ZERO) {
                on_a_whole_disk(self.facts, &line)?;
            }
            m.cut()?;
            // From here on it says nothing that counts: to a sync that the cut overtakes, the kernel may answer that
            // it was done (seen with a bare loop of writes and syncs, on ext4 and on XFS). Nobody would have seen
            // that answer, had the power gone.
            process.lines_for(Duration::from_micros(self.dice.below(2_000)), broken_promise)?;
            process.kill();
            process.end(broken_promise)?;
        }
        m.start()
    }
}

/// What a worker on a disk that is gone says, unless it saw more than that.
fn broken_promise(line: &str) -> Result<(), String> {
    line.strip_prefix("violation ").map_or(Ok(()), |what| Err(what.to_owned()))
}

/// A worker whose disk is whole fails nothing.
fn on_a_whole_disk(facts: &mut Facts, line: &str) -> Result<(), String> {
    if line.starts_with("failed") || line.starts_with("refused") {
        return Err(format!("the worker {line}"));
    }
    facts.take(line)
}

/// The command `annals`, in scripts that run it again until it is done.
fn by_command(
    m: &mut Machine<'_>,
    dir: &Path,
    seed: u64,
    cuts: u64,
    dice: &Dice,
    summary: &mut Summary,
) -> Result<(), String> {
    let annals = child::annals()?;
    let lines: Vec<String> = (0..2_000 + dice.below(20_000))
        .map(|n| format!(r#"{{"stream":"s-{}","n":{n},"seed":{seed}}}"#, n % 13))
        .collect();
    match dice.below(2) {
        0 => import(m, &annals, dir, &lines, cuts, dice, summary)?,
        _ => append(m, &annals, dir, &lines, cuts, dice, summary)?,
    }
    let verify = Command::new(&annals).arg("verify").arg(dir).output().map_err(|error| error.to_string())?;
    match verify.status.success() {
        true => Ok(()),
        false => Err(format!("annals verify: {}", String::from_utf8_lossy(&verify.stderr).trim())),
    }
}

/// `annals import`, run again after each cut: every line is there once, in order.
fn import(
    m: &mut Machine<'_>,
    annals: &Path,
    dir: &Path,
    lines: &[String],
    cuts: u64,
    dice: &Dice,
    summary: &mut Summary,
) -> Result<(), String> {
    let file = m.workshop.path("lines.ndjson");
    std::fs::write(&file, lines.join("\n") + "\n").map_err(|error| error.to_string())?;
    let command = || {
        let mut command = Command::new(annals);
        command.arg("import").arg(dir).arg(&file).args(["--stream", "{stream}", "--type", "Line"]);
        command.stderr(Stdio::null());
        command
    };
    for _ in 0..cuts {
        summary.count("power cuts", 1);
        summary.count("of annals import", 1);
        let mut process = Process::start(&mut command())?;
        process.lines_for(Duration::from_micros(dice.below(60_000)), |_| Ok(()))?;
        m.cut()?;
        process.kill();
        process.end(|_| Ok(()))?;
        m.start()?;
        if dir.exists() {
            let there = cat(annals, dir)?;
            is_prefix(&there, lines)?;
        }
    }
    let done = command().status().map_err(|error| error.to_string())?;
    let there = cat(annals, dir)?;
    is_prefix(&there, lines)?;
    match done.success() && there.len() == lines.len() {
        true => Ok(()),
        false => Err(format!("annals import: {done}, {} of {} lines are there", there.len(), lines.len())),
    }
}

/// `annals append --lines`: what a reader has seen stays, and the rest is appended again after a look.
fn append(
    m: &mut Machine<'_>,
    annals: &Path,
    dir: &Path,
    lines: &[String],
    cuts: u64,
    dice: &Dice,
    summary: &mut Summary,
) -> Result<(), String> {
    let mut seen = 0;
    for _ in 0..cuts {
        if seen == lines.len() {
            break;
        }
        summary.count("power cuts", 1);
        summary.count("of annals append", 1);
        let rest = lines[seen..].join("\n") + "\n";
        let mut command = Command::new(annals);
        command.arg("append").arg(dir).args(["s", "--type", "Line", "--lines"]);
        let mut writer = Process::start(command.stdin(Stdio::piped()).stderr(Stdio::null()))?;
        let stdin = writer.take_stdin();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(rest.as_bytes())));
            writer.lines_for(Duration::from_micros(dice.below(60_000)), |_| Ok(()))?;
            // A reader beside the writer sees what no cut takes back.
            let before = if dir.join("LOCK").exists() { cat(annals, dir)?.len() } else { 0 };
            m.cut()?;
            writer.kill();
            writer.end(|_| Ok(()))?;
            m.start()?;
            let there = if dir.exists() { cat(annals, dir)? } else { Vec::new() };
            is_prefix(&there, lines)?;
            if there.len() < before {
                return Err(format!("a reader saw {before} lines, {} are there", there.len()));
            }
            seen = there.len();
            Ok(())
        })?;
    }
    Ok(())
}

fn is_prefix(there: &[String], lines: &[String]) -> Result<(), String> {
    match there.iter().zip(lines).position(|(there, line)| there != line) {
        Some(n) => Err(format!("line {n} is {:?}, not {:?}", there[n], lines[n])),
        None if there.len() > lines.len() => Err(format!("{} lines of {} are there", there.len(), lines.len())),
        None => Ok(()),
    }
}
