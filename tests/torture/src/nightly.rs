//! Every layer at the length of a night, each as a process of its own; one table at the end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::summary::Summary;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Goes on with new seeds until so many hours have passed; without it, each layer runs once.
    #[arg(long)]
    hours: Option<f64>,
    /// Where seeds start; the time of day when it is not given, and it is printed.
    #[arg(long)]
    seed: Option<u64>,
}

/// Layers, with what makes them long. A layer that takes no seed has all that there is.
const TABLE: [(&str, &[&str]); 15] = [
    ("sim", &["--runs", "100000"]),
    ("worlds", &[]),
    ("sweep", &[]),
    ("bytes", &["--runs", "1000000"]),
    ("kill", &["--runs", "1000"]),
    ("processes", &[]),
    ("limits", &[]),
    ("powercut", &["--runs", "1000"]),
    ("powercut", &["--runs", "300", "--fs", "ext4", "--mount-options", "data=writeback"]),
    ("powercut", &["--runs", "300", "--fs", "ext4", "--mount-options", "data=journal"]),
    ("powercut", &["--runs", "1000", "--fs", "xfs"]),
    ("diskfull", &["--runs", "250"]),
    ("fsync-eio", &["--runs", "20"]),
    ("read-eio", &["--runs", "50"]),
    ("planted", &[]),
];

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
        for (layer, long) in TABLE {
            let row = one_layer(layer, long, seed);
            summary.count("layers run", 1);
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
        println!("{:>6}  {:<70}  {}", if row.held { "yes" } else { "NO" }, row.command, row.line);
    }
    summary
}

/// Runs this program with a layer of its own; what it says of violations is passed through.
fn one_layer(layer: &str, long: &[&str], seed: u64) -> Row {
    let mut words: Vec<String> = [layer].iter().chain(long).map(|word| (*word).to_owned()).collect();
    words.extend(["--seed".to_owned(), seed.to_string()]);
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
