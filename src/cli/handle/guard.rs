//! The process between `annals handle` and its command: it ends the command's whole process group when its parent is
//! gone, however that ended.
//!
//! It shares the command's stdin. When nobody can write there any more and the parent is not its parent any more, the
//! parent was killed. So nothing is left, not even of a command that never reads its stdin.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpgrp, getpid, getppid, kill_process, kill_process_group};

use crate::cli::failure::{Exit, Failure};

/// Name of the hidden verb.
pub(in crate::cli) const GUARD: &str = "__handle-command";

/// Once stdin is closed it looks this often whether its parent is still there.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Runs a command under `sh -c`, as the leader of a process group
#[derive(Debug, Args)]
pub(in crate::cli) struct GuardArgs {
    parent: i32,
    command: String,
}

impl GuardArgs {
    pub(in crate::cli) fn run(self) -> Result<Exit, Failure> {
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .spawn()
            .map_err(|error| Failure::io("cannot start a shell", &error))?;
        let parent = self.parent;
        std::thread::spawn(move || outlive(parent));
        let status = child.wait().map_err(|error| Failure::io("cannot wait for the shell", &error))?;
        Err(end_like(status))
    }
}

/// Waits for the end of the parent, and ends the group then, this process with it.
fn outlive(parent: i32) {
    let stdin = std::io::stdin();
    // Nothing is asked for, so that only the end of all writers is told.
    let mut closed = [PollFd::new(&stdin, PollFlags::empty())];
    while poll(&mut closed, None).is_err() {}
    while getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent) {
        std::thread::sleep(LOOK_UP);
    }
    if getpgrp() == getpid() {
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    }
}

/// Ends as the shell did, so that the parent sees the code or the signal.
fn end_like(status: ExitStatus) -> Failure {
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
        let _ = kill_process(getpid(), signal);
    }
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    std::process::exit(code)
}
