//! Every layer at the length of a night, each as a process of its own; one table at the end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::summary::Summary;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long each layer is, in hundredths of a night's length: 1 only shows that all of them run.
    #[arg(long, default_value_t = 100)]
    percent: u64,
    /// Goes on with new seeds until so many hours have passed; without it, each layer runs once.
    #[arg(long)]
    hours: Option<f64>,
    /// Where seeds start; the time of day when it is not given, and it is printed.
    #[arg(long)]
    seed: Option<u64>,
}

/// How long a layer is.
enum Length {
    /// So many runs; less of them for a shorter night.
    Runs(u64),
    /// All that there is; for a shorter night so many runs of it, by hundredths.
    All { or: u64, by: &'static [&'static str] },
    /// As long as it is.
    Whole,
}
use Length::{All, Runs, Whole};

/// A layer, how long it is, and what else it is told.
struct Entry(&'static str, Length, &'static [&'static str]);

/// Layers but for `planted`, which is another build: its command is in `tests/README.md`.
const TABLE: [Entry; 15] = [
    Entry("sim", Runs(100_000), &[]),
    Entry("worlds", All { or: 314, by: &[] }, &[]),
    Entry("sweep", All { or: 20_000, by: &[] }, &[]),
    Entry("bytes", All { or: 1_000_000, by: &["--complete"] }, &[]),
    Entry("kill", Runs(1000), &[]),
    Entry("processes", Runs(9), &[]),
    Entry("handle", Runs(50), &[]),
    Entry("limits", Whole, &[]),
    Entry("powercut", Runs(1000), &[]),
    Entry("powercut", Runs(300), &["--fs", "ext4", "--mount-options", "data=writeback"]),
    Entry("powercut", Runs(300), &["--fs", "ext4", "--mount-options", "data=journal"]),
    Entry("powercut", Runs(1000), &["--fs", "xfs"]),
    Entry("diskfull", Runs(250), &[]),
    Entry("fsync-eio", Runs(20), &[]),
    Entry("read-eio", Runs(50), &[]),
];

impl Entry {
    /// The words of its command.
    fn words(&self, percent: u64, seed: u64) -> Vec<String> {
        let Entry(layer, length, more) = self;
        let runs = |n: &u64| vec!["--runs".to_owned(), (n * percent).div_ceil(100).max(1).to_string()];
        let mut words = vec![(*layer).to_owned()];
        words.extend(match length {
            Runs(n) => runs(n),
            All { by, .. } if percent >= 100 => by.iter().map(|word| (*word).to_owned()).collect(),
            All { or, .. } => runs(or),
            Whole => Vec::new(),
        });
        words.extend(more.iter().map(|word| (*word).to_owned()));
        // Small worlds are counted, not drawn: their seed is the first of them.
        if *layer != "worlds" {
            words.extend(["--seed".to_owned(), seed.to_string()]);
        }
        words
    }
}

/// What a process of one layer said.
struct Row {
    command: String,
    /// Its summary line.
    line: String,
    held: bool,
}

pub fn run(args: &Args) -> Summary {
    let mut summary = Summary::new("nightly");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut seed = args.seed.unwrap_or(now);
    println!("torture nightly: --seed {seed}");
    let until = args.hours.map(|hours| Instant::now() + Duration::from_secs_f64(hours * 3600.0));
    let mut rows = Vec::new();
    loop {
        for entry in &TABLE {
            let row = one_layer(entry.words(args.percent, seed));
            summary.count(if row.line.contains(": skipped: ") { "layers skipped" } else { "layers run" }, 1);
            if !row.held {
                summary.violation(format!("{}\n  again: tools/torture {}", row.line, row.command));
            }
            rows.push(row);
        }
        // Far beyond the seeds of this round.
        seed += 10_000_000;
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    println!("\n{:>6}  {:<70}  result", "held", "tools/torture");
    for row in &rows {
        let held = match (row.held, row.line.contains(": skipped: ")) {
            (true, false) => "yes",
            (true, true) => "-",
            (false, _) => "NO",
        };
        println!("{held:>6}  {:<70}  {}", row.command, row.line);
    }
    summary
}

/// Runs this program with a layer of its own; what it says of violations is passed through.
fn one_layer(words: Vec<String>) -> Row {
    let command = words.join(" ");
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(error) => return Row { command, line: format!("not started: {error}"), held: false },
    };
    let output = Command::new(exe).args(&words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let line = text.lines().last().unwrap_or("it said nothing").to_owned();
            println!("{line}");
            Row { command, line, held: output.status.success() }
        }
        Err(error) => Row { command, line: format!("not started: {error}"), held: false },
    }
}
