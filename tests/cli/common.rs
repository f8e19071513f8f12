//! How the tests run the command, logs to run it on, and how they look at what it left.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use annals::{Event, Log, LogReader, NewEvent, Timestamp, verify};
use tempfile::TempDir;

/// The program under test: ANNALS_BIN, else what this build made.
pub fn program() -> PathBuf {
    std::env::var_os("ANNALS_BIN").map_or_else(|| env!("CARGO_BIN_EXE_annals").into(), PathBuf::from)
}

/// The command with its arguments, in an environment that says nothing to it.
pub fn annals<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program());
    command.args(args);
    for name in ["ANNALS_LOG", "ANNALS_TRACE", "NO_COLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    command.env("TZ", "UTC").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a run ended.
#[derive(Debug)]
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

    /// The run, which must have ended with this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The run, which must have said this on stderr.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} was not said: {self:#?}");
        self
    }

    /// The run, which must have ended well.
    #[track_caller]
    pub fn done(self) -> Ran {
        self.exits(0)
    }

    /// The run, which must have ended with an exit code and said so.
    #[track_caller]
    pub fn failed(self, code: i32, saying: &str) -> Ran {
        self.exits(code).says(saying)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran { code: output.status.code(), stdout: output.stdout, stderr: String::from_utf8(output.stderr).unwrap() }
    }
}

/// A verb with a log and more arguments.
pub fn over(log: &Path, verb: &str, rest: &[&str]) -> Command {
    let mut command = annals([verb]);
    command.arg(log).args(rest);
    command
}

/// Runs a verb with a log and more arguments.
pub fn ask(verb: &str, log: &Path, args: &[&str]) -> Ran {
    run(over(log, verb, args))
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Ran {
    ended(command.spawn().unwrap())
}

/// Runs a command to its end with these bytes on stdin.
pub fn run_with(mut command: Command, stdin: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // It may end before it has read all, which closes the pipe.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let ran = ended(child);
    writer.join().unwrap();
    ran
}

fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

/// A process that is killed when the test ends, however it does.
pub struct Running(pub Child);

impl Running {
    pub fn start(mut command: Command) -> Self {
        Running(command.stdin(Stdio::piped()).spawn().unwrap())
    }

    /// Gives it bytes on stdin, which stays open.
    pub fn give(&mut self, bytes: &[u8]) {
        let stdin = self.0.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until there is an answer; fails when there is none for a long time.
#[track_caller]
pub fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "this did not come true within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// All user events of a log, as a reader sees them.
pub fn events(log: &Path) -> Vec<Event> {
    LogReader::open(log).unwrap().read(..).map(Result::unwrap).collect()
}

/// The data of all user events of a log, as text.
pub fn data(log: &Path) -> Vec<String> {
    events(log).iter().map(|event| String::from_utf8(event.data().to_vec()).unwrap()).collect()
}

/// Checks every byte of a log.
#[track_caller]
pub fn assert_sound(log: &Path) {
    let report = verify(log, &mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:#?}");
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
        ask(verb, self.path(), args)
    }

    /// Its user events.
    pub fn events(&self) -> Vec<Event> {
        events(self.path())
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
