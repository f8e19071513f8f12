//! The command that handles events, as a process: lines to its stdin, lines from its stdout, neither ever waiting for
//! the other.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::guard::GUARD;

/// A longer answer is none.
pub(super) const ANSWER_BYTES_MAX: usize = 12 * 1024 * 1024;

/// Room for answers that is kept.
const READ_BYTES: usize = 64 * 1024;

/// So long a command may take to end once nothing more comes from it or goes to it.
const LEAVE: Duration = Duration::from_secs(2);

/// How a command ended that was to answer.
#[derive(Debug)]
pub(super) enum Ended {
    /// It ended by itself, or stopped talking.
    Died(String),
    /// It could not be started by the shell: no such program.
    NoCommand(String),
    /// By a signal that somebody sends: no event is to blame.
    FromOutside,
    /// It took too long for one line.
    TimedOut(Duration),
    /// What it wrote is no line.
    Garbage(String),
    /// The pipes failed.
    Io(io::Error),
}

/// A running command.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    /// `None` once it does not read any more.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// Lines for it; those before `written` are in the pipe.
    out: Vec<u8>,
    written: usize,
    /// Room, up to `filled` with what it wrote; all before `taken` was an answer, and before `scanned` there is no
    /// other end of a line.
    answers: Vec<u8>,
    filled: usize,
    taken: usize,
    scanned: usize,
    /// How many lines it answered.
    pub answered: u64,
    /// Since when it could have answered.
    since: Instant,
}

impl Child {
    /// Starts a command under `sh -c`, in a process group of its own that ends with this process.
    pub(super) fn start(command: &str) -> io::Result<Child> {
        let program = std::env::current_exe()?;
        let mut process = Command::new(program)
            .args([GUARD, "--", &std::process::id().to_string(), command])
            .env("PYTHONUNBUFFERED", "1")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("a process without pipes"));
        };
        let child = Child {
            process,
            stdin: Some(stdin),
            stdout,
            out: Vec::new(),
            written: 0,
            answers: Vec::new(),
            filled: 0,
            taken: 0,
            scanned: 0,
            answered: 0,
            since: Instant::now(),
        };
        rustix::io::ioctl_fionbio(&child.stdout, true)?;
        if let Some(stdin) = &child.stdin {
            rustix::io::ioctl_fionbio(stdin, true)?;
        }
        Ok(child)
    }

    /// Bytes for it that are not in the pipe yet.
    pub(super) fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Adds a line to what it is to read.
    pub(super) fn line<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if self.written > READ_BYTES {
            self.out.drain(..self.written);
            self.written = 0;
        }
        let written = write(&mut self.out);
        self.out.push(b'\n');
        written
    }

    /// It begins to work now: it had nothing to do.
    pub(super) fn begins(&mut self) {
        self.since = Instant::now();
    }

    /// The next line it writes, at most so long after the one before.
    pub(super) fn answer(&mut self, timeout: Duration) -> Result<&[u8], Ended> {
        loop {
            if let Some(end) = self.whole_line()? {
                let line = self.taken..end;
                (self.taken, self.scanned) = (end + 1, end + 1);
                self.answered += 1;
                self.since = Instant::now();
                return Ok(self.answers.get(line).unwrap_or_default());
            }
            self.write().map_err(Ended::Io)?;
            match self.read() {
                Ok(0) => return Err(self.ended()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = timeout.checked_sub(self.since.elapsed()).ok_or(Ended::TimedOut(timeout))?;
                    self.wait(left).map_err(Ended::Io)?;
                }
                Err(error) => return Err(Ended::Io(error)),
            }
        }
    }

    /// Whether it wrote more than was taken as answers.
    pub(super) fn has_more(&mut self) -> bool {
        self.taken < self.filled || matches!(self.read(), Ok(1..))
    }

    /// Where the next line ends, if it is here.
    fn whole_line(&mut self) -> Result<Option<usize>, Ended> {
        let rest = self.answers.get(self.scanned..self.filled).unwrap_or_default();
        let end = memchr(rest).map(|end| self.scanned + end);
        self.scanned = end.unwrap_or(self.filled);
        if self.scanned - self.taken > ANSWER_BYTES_MAX {
            return Err(Ended::Garbage(format!("its answer has more than {ANSWER_BYTES_MAX} bytes")));
        }
        Ok(end)
    }

    /// Reads what is there; 0 when nothing will come any more.
    fn read(&mut self) -> io::Result<usize> {
        if self.taken == self.filled || self.taken > READ_BYTES {
            self.answers.copy_within(self.taken..self.filled, 0);
            self.scanned -= self.taken;
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.answers.len() - self.filled < READ_BYTES {
            // The room is made once: it costs more than most answers to blank it for each.
            self.answers.resize(self.filled + 2 * READ_BYTES, 0);
        }
        loop {
            match self.stdout.read(self.answers.get_mut(self.filled..).unwrap_or_default()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => {
                    self.filled += *read.as_ref().unwrap_or(&0);
                    return read;
                }
            }
        }
    }

    /// Writes as much as the pipe takes.
    fn write(&mut self) -> io::Result<()> {
        while let Some(stdin) = &mut self.stdin
            && let Some(rest @ [_, ..]) = self.out.get(self.written..)
        {
            match stdin.write(rest) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // It may have answered before it ended.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => self.stdin = None,
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Waits until something can be read or written, at most for so long.
    fn wait(&self, at_most: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(at_most).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        let mut ends = vec![PollFd::new(&self.stdout, PollFlags::IN)];
        if let Some(stdin) = self.stdin.as_ref().filter(|_| self.written < self.out.len()) {
            ends.push(PollFd::new(stdin, PollFlags::OUT));
        }
        match poll(&mut ends, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How it ended that closed its stdout.
    fn ended(&mut self) -> Ended {
        self.stdin = None;
        match self.leave(LEAVE) {
            Err(error) => Ended::Io(error),
            Ok(None) => Ended::Died("it closed its stdout".to_owned()),
            Ok(Some(status)) => how(status),
        }
    }

    /// Waits for its end, at most for so long.
    fn leave(&mut self, at_most: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + at_most;
        loop {
            match self.process.try_wait()? {
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                status => return Ok(status),
            }
        }
    }

    /// Lets it end by itself: its stdin is at its end.
    pub(super) fn close(mut self) {
        self.stdin = None;
        let _ = self.leave(LEAVE);
    }
}

impl Drop for Child {
    /// Ends its whole process group.
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

/// Where the first LF is.
fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// What an end says: a shell gives the signal of its last command as 128 and its number.
fn how(status: ExitStatus) -> Ended {
    let signal = status.signal().or_else(|| status.code().filter(|code| *code > 128).map(|code| code - 128));
    let from_outside = [Signal::HUP, Signal::INT, Signal::KILL, Signal::TERM].map(Signal::as_raw);
    match (signal, status.code()) {
        (Some(signal), _) if from_outside.contains(&signal) => Ended::FromOutside,
        (Some(signal), _) => Ended::Died(format!("signal {signal} ended it")),
        (None, Some(code @ (126 | 127))) => Ended::NoCommand(format!("it ended with exit code {code}")),
        (None, Some(code)) => Ended::Died(format!("it ended with exit code {code}")),
        (None, None) => Ended::Died(format!("it ended: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(raw: i32) -> Ended {
        how(ExitStatus::from_raw(raw))
    }

    #[test]
    fn a_signal_that_somebody_sends_blames_no_event() {
        for signal in [1, 2, 9, 15] {
            assert!(matches!(ended(signal), Ended::FromOutside), "{signal}");
            assert!(matches!(ended((128 + signal) << 8), Ended::FromOutside), "{signal} by a shell");
        }
        for signal in [6, 8, 11] {
            assert!(matches!(ended(signal), Ended::Died(_)), "{signal}");
            assert!(matches!(ended((128 + signal) << 8), Ended::Died(_)), "{signal} by a shell");
        }
        assert!(matches!(ended(0), Ended::Died(_)));
        assert!(matches!(ended(1 << 8), Ended::Died(_)));
        assert!(matches!(ended(127 << 8), Ended::NoCommand(_)));
    }
}
