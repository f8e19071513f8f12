//! Logs to read, and the command run on them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use annals::{Event, Log, NewEvent, Timestamp};
use tempfile::TempDir;

/// The program under test: ANNALS_BIN, else what this build made.
pub fn program() -> PathBuf {
    std::env::var_os("ANNALS_BIN").map_or_else(|| env!("CARGO_BIN_EXE_annals").into(), PathBuf::from)
}

/// The command with arguments, cut loose from the settings of whoever runs the tests.
pub fn annals<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program());
    command.args(args).stdin(Stdio::null()).env("TZ", "UTC");
    for variable in ["ANNALS_LOG", "ANNALS_TRACE", "COLUMNS", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

/// What a run of the command gave.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.text()).unwrap()
    }

    /// The same, having been done without a complaint.
    #[track_caller]
    pub fn done(self) -> Ran {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// The same, having ended with an exit code and said so.
    #[track_caller]
    pub fn failed(self, code: i32, saying: &str) -> Ran {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(self.stderr.contains(saying), "{:?} lacks {saying:?}", self.stderr);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran { code: output.status.code(), stdout: output.stdout, stderr: String::from_utf8(output.stderr).unwrap() }
    }
}

/// Runs the command with a verb, a log and more arguments.
pub fn run(verb: &str, log: &Path, args: &[&str]) -> Ran {
    annals([verb, log.to_str().unwrap()].into_iter().chain(args.iter().copied())).output().unwrap().into()
}

/// A log in a directory of its own.
pub struct TestLog {
    pub dir: TempDir,
}

impl TestLog {
    pub fn empty() -> TestLog {
        TestLog::of([])
    }

    /// A log of these events, closed. Each is an append of its own, and durable before the next.
    pub fn of<'e>(events: impl IntoIterator<Item = NewEvent<'e>>) -> TestLog {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        for event in events {
            log.append(event).unwrap().wait().unwrap();
        }
        log.close().unwrap();
        TestLog { dir }
    }

    /// A shop: ten events, `n` from 0 to 9, of the streams `order-0` to `order-2`, and of two types.
    pub fn shop() -> TestLog {
        TestLog::of((0..10u32).map(|n| {
            let event_type = if n < 3 { "Placed" } else { "Paid" };
            let time = Timestamp::from_micros(1_700_000_000_000_000 + i64::from(n) * 1_000_000);
            Event::new(format!("order-{}", n % 3), event_type).data(format!("{{\"n\":{n}}}").into_bytes()).time(time)
        }))
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn run(&self, verb: &str, args: &[&str]) -> Ran {
        run(verb, self.path(), args)
    }

    /// Its segments' files, in order.
    pub fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
        segments.sort();
        segments
    }
}

/// Flips a bit where some bytes stand in a file, which must be one place; returns the place.
pub fn flip(file: &Path, bytes: &[u8]) -> usize {
    let mut content = std::fs::read(file).unwrap();
    let at = content.windows(bytes.len()).position(|window| window == bytes).unwrap();
    content[at] ^= 1;
    std::fs::write(file, content).unwrap();
    at
}
