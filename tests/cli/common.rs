//! How the tests run the command, and look at what it left.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use annals::{Event, LogReader, verify};

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
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
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
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
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
