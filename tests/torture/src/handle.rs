//! `annals handle` with the ledger in Python over a year of a web shop, killed at random moments, and its command too:
//! at the end it has the known answers, and every output once.
//!
//! The events are in the directory ANNALS_TEST_DATA.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use annals::testkit::SeededRandom;
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Next, Process, annals, text};
use crate::summary::Summary;
use crate::workload::{pick, random};

const LEDGER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ledger.py");

/// Holds a state against the answers: `state.py ANSWERS LINES`, rows on stdin.
const STATE: &str = r#"
import hashlib, json, sys
known, lines = json.load(open(sys.argv[1]))["after_n_events"][sys.argv[2]], int(sys.argv[2])
states = [(row["key"], row["value"]) for row in map(json.loads, sys.stdin)]
rows = ["\t".join([key, *(str(s[f]) for f in ("lines", "quantity", "amount", "last"))]) + "\n" for key, s in states if key]
digest = hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()
total = lambda field: sum(state[field] for _, state in states)
wrong = []
if total("lines") != lines: wrong.append(f"{total('lines')} lines were counted")
if total("quantity") != known["quantity"]: wrong.append(f"the quantity is {total('quantity')}")
if total("amount") != int(known["amount"].replace(".", "")): wrong.append(f"the amount is {total('amount')}")
if digest != next(known[name] for name in known if name.startswith("digest_customers")): wrong.append("a ledger differs")
if wrong: sys.exit(f"after {lines} lines: " + "; ".join(wrong))
"#;

/// Holds what was put out against what was sold; events on stdin.
const OUTPUTS: &str = r#"
import json, sys
sold, returned = [], []
for event in map(json.loads, sys.stdin):
    if event["type"] == "Returned": returned.append(event["data"]["invoice"])
    elif event["data"]["InvoiceNo"].startswith("C"): sold.append(event["data"]["InvoiceNo"])
if returned != sold: sys.exit(f"{len(returned)} outputs for {len(sold)} returns, or in another order")
"#;

/// After how many lines the answers know the state.
const KNOWN: [u64; 4] = [1_000, 10_000, 100_000, 541_909];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many kills.
    #[arg(long, default_value_t = 50)]
    runs: u64,
    /// Where random numbers start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many lines of the file are handled: 1000, 10000, 100000 or 541909.
    #[arg(long, default_value_t = 541_909)]
    lines: u64,
    /// The longest time between two kills, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    apart: u64,
}

pub fn run(args: &Args) -> Summary {
    let Some(data) = std::env::var_os("ANNALS_TEST_DATA").map(PathBuf::from) else {
        return Summary::skipped("handle", "ANNALS_TEST_DATA names no directory with the real events");
    };
    let mut summary = Summary::new("handle");
    let mut counts = Counts::default();
    let outcome = annals().and_then(|bin| all(&bin, &data, args, &mut counts));
    summary.count("kills of the handler", counts.handlers);
    summary.count("kills of its command", counts.commands);
    summary.count("times through the log", counts.rounds);
    if let Err(what) = outcome {
        let Args { runs, seed, lines, apart } = args;
        let again = format!("tools/torture handle --runs {runs} --seed {seed} --lines {lines} --apart {apart}");
        summary.violation(format!("{what}; again: {again}"));
    }
    summary
}

#[derive(Debug, Default)]
struct Counts {
    handlers: u64,
    commands: u64,
    rounds: u64,
}

impl Counts {
    fn kills(&self) -> u64 {
        self.handlers + self.commands
    }
}

/// Goes through the log as often as it takes for all kills.
fn all(bin: &Path, data: &Path, args: &Args, counts: &mut Counts) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let random = random(&[args.seed, 41]);
    let imported = dir.path().join("imported");
    import(bin, data, &imported, args.lines)?;
    for (name, program) in [("state.py", STATE), ("outputs.py", OUTPUTS)] {
        std::fs::write(dir.path().join(name), program).map_err(|error| error.to_string())?;
    }
    while counts.rounds == 0 || counts.kills() < args.runs {
        let log = dir.path().join("log");
        sh(Command::new("cp").arg("-r").arg(&imported).arg(&log))?;
        round(bin, &log, args, &random, counts)?;
        check(bin, data, dir.path(), &log, args.lines)?;
        std::fs::remove_dir_all(&log).map_err(|error| error.to_string())?;
        counts.rounds += 1;
    }
    Ok(())
}

fn import(bin: &Path, data: &Path, log: &Path, lines: u64) -> Result<(), String> {
    let whole = log.with_extension("whole");
    let file = data.join("online-retail.ndjson.zst");
    let names = ["--stream", "customer-{CustomerID}", "--type", "sold"];
    sh(Command::new(bin).arg("import").arg(&whole).arg(file).args(names))?;
    let to = format!("#{lines}");
    let mut export = Command::new(bin);
    export.arg("export").arg(&whole).args(["--to", &to]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut export = export.spawn().map_err(|error| error.to_string())?;
    let mut part = Command::new(bin);
    part.arg("import").arg(log).args(["-", "--format", "envelope"]);
    if let Some(stdout) = export.stdout.take() {
        part.stdin(stdout);
    }
    sh(&mut part)?;
    export.wait().map_err(|error| error.to_string())?;
    std::fs::remove_dir_all(&whole).map_err(|error| error.to_string())
}

fn handler(bin: &Path, log: &Path, program: &Path) -> Command {
    let mut command = Command::new(bin);
    command.arg("handle").arg(log).args(["--name", "ledger", "--on", "sold", "--key", "{CustomerID}"]);
    command.arg("--exec").arg(format!("python3 {}", program.display())).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// One time through the log, with kills as long as there are some left.
fn round(bin: &Path, log: &Path, args: &Args, random: &SeededRandom, counts: &mut Counts) -> Result<(), String> {
    loop {
        let mut process = Process::start(&mut handler(bin, log, Path::new(LEDGER)))?;
        let killed = loop {
            if counts.kills() >= args.runs {
                while process.next(Duration::from_secs(300)) != Next::Ended {}
                break false;
            }
            if process.next(Duration::from_millis(pick(random, args.apart.max(1)))) == Next::Ended {
                break false;
            }
            if pick(random, 2) == 0 {
                counts.handlers += 1;
                process.kill();
                break true;
            }
            // The command itself, or what guards it.
            let family = descendants(process.pid());
            if let Some(pid) = family.get(pick(random, family.len().max(1) as u64) as usize) {
                counts.commands += 1;
                let _ = kill_process(*pid, Signal::KILL);
            }
        };
        let status = process.end(|_| Ok(()))?;
        match (killed, status.success()) {
            (true, _) => {}
            (false, true) => return Ok(()),
            (false, false) => return Err(format!("the handler ended with {status}")),
        }
    }
}

/// Processes that a process started, and those that they started.
fn descendants(pid: u32) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut found = Vec::new();
    for child in children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()) {
        found.extend(Pid::from_raw(child));
        found.extend(descendants(child.unsigned_abs()));
    }
    found
}

/// Holds the state, now and of earlier moments, and all that was put out against the answers.
fn check(bin: &Path, data: &Path, dir: &Path, log: &Path, lines: u64) -> Result<(), String> {
    let answers = data.join("online-retail.answers.json");
    for known in KNOWN.into_iter().filter(|known| *known <= lines) {
        let mut state = Command::new(bin);
        state.arg("state").arg(log).args(["ledger", "--json"]);
        if known < lines {
            state.args(["--at", &format!("#{known}")]);
        }
        let program = Command::new("python3");
        check_by(
            program,
            &[&dir.join("state.py"), &answers, Path::new(&known.to_string())],
            dir,
            &output(&mut state)?,
        )?;
    }
    sh(Command::new(bin).arg("verify").arg(log))?;
    let all = output(Command::new(bin).arg("cat").arg(log).arg("--json"))?;
    check_by(Command::new("python3"), &[&dir.join("outputs.py")], dir, &all)
}

/// Gives lines to a program that ends with an error when they are not as they should be.
fn check_by(mut program: Command, args: &[&Path], dir: &Path, lines: &str) -> Result<(), String> {
    let file = dir.join("lines");
    std::fs::write(&file, lines).map_err(|error| error.to_string())?;
    let file = std::fs::File::open(&file).map_err(|error| error.to_string())?;
    sh(program.args(args).stdin(file))
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{command:?}: {}, {}", output.status, text(&output.stderr).trim())),
    }
}

fn sh(command: &mut Command) -> Result<(), String> {
    output(command).map(drop)
}
