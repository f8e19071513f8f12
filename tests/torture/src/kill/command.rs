//! Kills of the command `annals`: what it said is appended is there, and an import ends with every line once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use annals::testkit::{Random, SeededRandom};

use super::Counts;
use crate::child::{Process, cat, text};
use crate::workload::{pick, random};

/// Lines of an import.
const LINES: u64 = 8000;
/// An import that does not end, however often it is run again.
const RUNS_MAX: u64 = 200;

/// Kills `annals append --lines` again and again, each going on behind what is there.
pub fn append_lines(bin: &Path, seed: u64, kills: u64, counts: &mut Counts) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let log = dir.path().join("log");
    let random = random(&[seed, 6]);
    let mut there = 0;
    for _ in 0..kills {
        counts.kills += 1;
        counts.commands += 1;
        let durability = if pick(&random, 2) == 0 { "disk" } else { "os" };
        let mut command = Command::new(bin);
        command.arg("append").arg(&log).args(["lines", "--type", "Line", "--lines", "--json"]);
        command.args(["--durability", durability]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start(&mut command)?;
        let stdin = process.take_stdin();
        let feeder = std::thread::spawn(move || feed(stdin, seed, there));
        let mut acknowledged = there;
        let mut take = |answer: &str| {
            let version = number_in(answer, "\"version\":").ok_or_else(|| format!("it answered {answer}"))?;
            if version != acknowledged {
                return Err(format!("line {acknowledged} became version {version}"));
            }
            acknowledged += 1;
            counts.acks += 1;
            Ok(())
        };
        process.lines_for(Duration::from_micros(pick(&random, 120_000)), &mut take)?;
        process.kill();
        process.end(&mut take)?;
        let _ = feeder.join();
        verify(bin, &log)?;
        mend(bin, &log)?;
        let lines = cat(bin, &log)?;
        there = lines.len() as u64;
        counts.events += there;
        if there < acknowledged {
            return Err(format!("seed {seed}: {acknowledged} lines were acknowledged, {there} are there"));
        }
        if let Some(wrong) = (0..there).find(|n| lines[*n as usize] != line(seed, *n)) {
            return Err(format!("seed {seed}: line {wrong} is {:?}", lines[wrong as usize]));
        }
    }
    Ok(())
}

/// Writes numbered lines until nobody reads them.
fn feed(stdin: Option<std::process::ChildStdin>, seed: u64, from: u64) {
    let Some(mut stdin) = stdin else { return };
    for n in (from..).step_by(8) {
        let lines: String = (n..n + 8).map(|n| line(seed, n) + "\n").collect();
        if stdin.write_all(lines.as_bytes()).is_err() {
            return;
        }
    }
}

/// Kills an import again and again, and lets it come to its end then: every line is there once.
pub fn import(bin: &Path, seed: u64, kills: u64, counts: &mut Counts) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (log, file) = (dir.path().join("log"), dir.path().join("lines.ndjson"));
    let random = random(&[seed, 7]);
    let lines: Vec<String> = (0..LINES).map(|n| line(seed, n)).collect();
    std::fs::write(&file, lines.join("\n") + "\n").map_err(|error| error.to_string())?;
    for run in 0..RUNS_MAX {
        let mut process = Process::start(&mut importing(bin, &log, &file))?;
        if run < kills {
            counts.kills += 1;
            counts.commands += 1;
            process.lines_for(Duration::from_micros(pick(&random, 40_000)), |_| Ok(()))?;
            process.kill();
        }
        let status = process.end(|_| Ok(()))?;
        if run < kills && !status.success() {
            if log.join("LOCK").is_file() && log.join(format!("{:020}.seg", 0)).is_file() {
                verify(bin, &log)?;
                let there = cat(bin, &log)?;
                if lines.get(..there.len()) != Some(there.as_slice()) {
                    return Err(format!(
                        "seed {seed}: after a kill the log holds other lines than the file begins with"
                    ));
                }
            }
            continue;
        }
        if !status.success() {
            return Err(format!("seed {seed}: the import ended with {status}"));
        }
        if run < kills {
            continue; // it was faster than the kill; run again, it adds nothing
        }
        verify(bin, &log)?;
        let there = cat(bin, &log)?;
        counts.events += there.len() as u64;
        return match there == lines {
            true => Ok(()),
            false => {
                Err(format!("seed {seed}: {LINES} lines were imported, the log holds {} that differ", there.len()))
            }
        };
    }
    Err(format!("seed {seed}: the import did not end in {RUNS_MAX} runs"))
}

fn importing(bin: &Path, log: &PathBuf, file: &PathBuf) -> Command {
    let mut command = Command::new(bin);
    command.arg("import").arg(log).arg(file).args(["--stream", "order-{k}", "--type", "Line"]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// A line that follows from its number.
fn line(seed: u64, n: u64) -> String {
    let random: SeededRandom = random(&[seed, n, 8]);
    let len = pick(&random, if n.is_multiple_of(50) { 6000 } else { 200 }) as usize;
    format!(
        "{{\"n\":{n},\"k\":{},\"rest\":\"{}\"}}",
        pick(&random, 40),
        format!("{:x}", random.next_u64()).repeat(len / 16)
    )
}

fn verify(bin: &Path, log: &Path) -> Result<(), String> {
    let output = Command::new(bin).arg("verify").arg(log).output().map_err(|error| error.to_string())?;
    match output.status.code() {
        // A kill before there was anything leaves no log.
        Some(0 | 3) => Ok(()),
        _ => Err(format!("annals verify: {}{}", text(&output.stdout), text(&output.stderr))),
    }
}

/// Opens it for writing: before that, what the system has and the disk may not have is not shown.
fn mend(bin: &Path, log: &Path) -> Result<(), String> {
    let mut command = Command::new(bin);
    command.arg("append").arg(log).args(["lines", "--type", "Line", "--lines"]).stdin(Stdio::null());
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("annals append after a kill: {}", text(&output.stderr))),
    }
}

fn number_in(line: &str, key: &str) -> Option<u64> {
    line.split_once(key)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
