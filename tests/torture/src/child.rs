//! Programs in processes of their own: a worker and the lines it writes, and the command `annals`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// So long a worker may be silent before that is a failure of its own.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A process whose stdout is read. Killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    stdin: Option<ChildStdin>,
}

/// What a process did next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Line(String),
    /// Nothing for so long.
    Silent,
    /// Its stdout was closed: it has ended.
    Ended,
}

/// This program, as a worker.
pub fn worker<S: AsRef<OsStr>>(kind: &str, args: impl IntoIterator<Item = S>) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["worker", kind]).args(args);
    Ok(command)
}

/// The command `annals`: `ANNALS_BIN`, or beside this program.
pub fn annals() -> Result<PathBuf, String> {
    let path = match std::env::var_os("ANNALS_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("annals"),
    };
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("{} is not there: build it with `cargo build --release`", path.display())),
    }
}

/// The lines that a reader sees: what `annals cat` shows; none where there is no log yet.
pub fn cat(annals: &Path, log: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(annals).arg("cat").arg(log).args(["-o", "raw"]).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout).lines().map(str::to_owned).collect()),
        Some(3) => Ok(Vec::new()),
        _ => Err(format!("annals cat: {}, {}", output.status, text(&output.stderr).trim())),
    }
}

/// What a program said.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Process {
    pub fn start(command: &mut Command) -> Result<Process, String> {
        let spawned = command.stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("{command:?} was not started: {error}"))?;
        let stdin = child.stdin.take();
        let (send, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = Vec::new();
                // A last line without its end was cut by the kill: it says nothing.
                while stdout.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) && line.pop() == Some(b'\n') {
                    if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        break;
                    }
                    line.clear();
                }
            });
        }
        Ok(Process { child, lines, stdin })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its stdin, for a thread of its own.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Writes a line to its stdin.
    pub fn say(&mut self, line: impl std::fmt::Display) -> Result<(), String> {
        let stdin = self.stdin.as_mut().ok_or("its stdin is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).map_err(|error| format!("it does not listen: {error}"))
    }

    /// The next line; an error when there is none.
    pub fn line(&self) -> Result<String, String> {
        match self.next(PATIENCE) {
            Next::Line(line) => Ok(line),
            Next::Silent => Err(format!("process {} said nothing for {PATIENCE:?}", self.pid())),
            Next::Ended => Err(format!("process {} has ended", self.pid())),
        }
    }

    /// The next line within so long a time.
    pub fn next(&self, at_most: Duration) -> Next {
        match self.lines.recv_timeout(at_most) {
            Ok(line) => Next::Line(line),
            Err(RecvTimeoutError::Timeout) => Next::Silent,
            Err(RecvTimeoutError::Disconnected) => Next::Ended,
        }
    }

    /// Hands out lines for so long a time, or until the process ends or one is refused.
    pub fn lines_for(&self, time: Duration, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
        let until = Instant::now() + time;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Next::Line(line) => take(&line)?,
                Next::Silent | Next::Ended => return Ok(()),
            }
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Kills it as nothing else does: at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Takes the lines that are left, and how it ended. Something is wrong with a process that neither writes nor
    /// ends.
    pub fn end(&mut self, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<ExitStatus, String> {
        loop {
            match self.next(PATIENCE) {
                Next::Line(line) => take(&line)?,
                Next::Ended => return self.child.wait().map_err(|error| error.to_string()),
                Next::Silent => {
                    self.kill();
                    return Err(format!("process {} neither wrote nor ended for {PATIENCE:?}", self.pid()));
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}
