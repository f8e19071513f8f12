//! The `annals` command as a whole process: how long it takes, and how much memory of its own at most.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command took, and its peak of anonymous memory in MB, looked at every millisecond.
pub fn run(args: &[&str]) -> (f64, f64) {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "annals {args:?} ended with {status}");
            return (start.elapsed().as_secs_f64(), f64::from(peak_kb) / 1024.0);
        }
        let status = std::fs::read_to_string(&status_file).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kb = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kb| kb.parse().ok());
        peak_kb = peak_kb.max(kb.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Lines whose streams are all distinct: what takes most memory for each event.
pub fn distinct_lines(path: &Path, lines: usize) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    for n in 0..lines {
        writeln!(out, "{{\"user\":{n},\"name\":\"user number {n}\"}}").unwrap();
    }
    out.flush().unwrap();
}
