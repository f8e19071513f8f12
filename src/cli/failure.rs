//! Why a verb could not do what it was asked, and the one table from errors to exit codes.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::{AppendError, ConsumerError, HandlerError, InvalidEvent, OpenError, ReadError, ViewError};

use super::output;

/// How a run ends; scripts depend on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done; a closed pipe too.
    Done = 0,
    /// The answer is no: damage found, logs differ, lag too large.
    No = 1,
    /// The arguments or the input are wrong.
    Usage = 2,
    /// Log, stream, offset or handler not found.
    NotFound = 3,
    /// An expectation failed; another writer, log or source is in the way.
    Conflict = 4,
    /// Damaged data; could not go on.
    Damaged = 5,
    /// Disk full, or an I/O error.
    Disk = 7,
    /// The time that was given is over.
    TimedOut = 124,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What went wrong, for a person (message, help) and for a script (exit, code).
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    code: &'static str,
    message: String,
    help: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, code: &'static str, message: impl Display) -> Self {
        Failure { exit, code, message: message.to_string(), help: None }
    }

    /// The arguments are wrong.
    pub(super) fn usage(message: impl Display) -> Self {
        Failure::new(Exit::Usage, "usage", message)
    }

    /// The input is wrong.
    pub(super) fn input(message: impl Display) -> Self {
        Failure::new(Exit::Usage, "bad_input", message)
    }

    /// Reading or writing something that is not the log failed.
    pub(super) fn io(doing: impl Display, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, "closed_pipe", ""),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Failure::new(Exit::Disk, "disk_full", format!("{doing}: {error}"))
            }
            _ => Failure::new(Exit::Disk, "io", format!("{doing}: {error}")),
        }
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// The same failure, its message behind what it is about: `line 7: ..`.
    #[must_use]
    pub(super) fn about(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The same failure, and what was done before it.
    #[must_use]
    pub(super) fn after(mut self, done: impl Display) -> Self {
        self.message = format!("{}; {done}", self.message);
        self
    }

    /// Whether all that is wrong is that nobody reads the output any more.
    pub(super) fn is_closed_pipe(&self) -> bool {
        self.exit == Exit::Done
    }

    #[cfg(test)]
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Says it on stderr. Nobody is left to hear that this fails.
    pub(super) fn report(&self, json: bool) -> ExitCode {
        if self.exit == Exit::Done {
            return self.exit.into();
        }
        let mut stderr = io::stderr().lock();
        let _ = if json {
            let mut error = serde_json::json!({"code": self.code, "exit": self.exit as u8, "message": self.message});
            if let (Some(help), Some(object)) = (&self.help, error.as_object_mut()) {
                object.insert("help".to_owned(), help.as_str().into());
            }
            writeln!(stderr, "{}", serde_json::json!({ "error": error }))
        } else {
            let (red, dim, plain) =
                if output::stderr_colour() { ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
            let message = output::one_line(&self.message);
            match &self.help {
                None => writeln!(stderr, "{red}error:{plain} {message}"),
                Some(help) => {
                    writeln!(stderr, "{red}error:{plain} {message}\n  {dim}help:{plain} {}", output::one_line(help))
                }
            }
        };
        self.exit.into()
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let (exit, code, help) = match &error {
            OpenError::NotFound { .. } => (
                Exit::NotFound,
                "log_not_found",
                Some("`annals append` and `annals import` make a log; `annals demo` makes one to look at"),
            ),
            OpenError::NotALog { .. } => (Exit::NotFound, "not_a_log", None),
            OpenError::Held { .. } => (
                Exit::Conflict,
                "held",
                Some(
                    "one process writes a log at a time: end that one, or let it do the appending; reading needs no lock: `annals cat`, `annals stat`, `annals verify`",
                ),
            ),
            OpenError::Damaged(_) => (
                Exit::Damaged,
                "damaged",
                Some(
                    "`annals verify LOG` lists what is damaged, `annals repair LOG` says what can be mended and what is lost",
                ),
            ),
            OpenError::Unsupported { .. } => (Exit::Damaged, "unsupported", None),
            OpenError::DiskFull { .. } => (Exit::Disk, "disk_full", None),
            OpenError::Io { .. } => (Exit::Disk, "io", None),
        };
        let failure = Failure::new(exit, code, error);
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Damaged(_) => Failure::new(Exit::Damaged, "damaged", error)
                .help("`annals verify LOG` lists what is damaged, `annals repair LOG` says what can be mended; `--from` and `--to` read what lies around it"),
            ReadError::Lost { .. } => {
                Failure::new(Exit::Damaged, "lost", error).help("`--from` and `--to` read what lies around them")
            }
            ReadError::Unsupported { .. } => Failure::new(Exit::Damaged, "unsupported", error),
            ReadError::Trimmed { .. } => {
                Failure::new(Exit::NotFound, "trimmed", error).help("`--from start` reads what is left")
            }
            ReadError::Io { .. } => Failure::new(Exit::Disk, "io", error),
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        let (exit, code) = match error {
            AppendError::Read(error) => return error.into(),
            AppendError::Invalid(error) => return error.into(),
            AppendError::TooLarge { .. } => (Exit::Usage, "too_large"),
            AppendError::TooManyNames { .. } => (Exit::Usage, "too_many_names"),
            AppendError::PositionTooLong { .. } => (Exit::Usage, "position_too_long"),
            AppendError::TooManySources { .. } => (Exit::Usage, "too_many_sources"),
            AppendError::Empty => (Exit::Usage, "empty"),
            AppendError::WrongVersion { .. } => (Exit::Conflict, "wrong_version"),
            AppendError::Io(_) => (Exit::Disk, "io"),
            AppendError::ProducerConflict { .. } => (Exit::Conflict, "producer_conflict"),
            AppendError::ProducerGap { .. } => (Exit::Conflict, "producer_gap"),
            AppendError::ProducerFenced { .. } => (Exit::Conflict, "producer_fenced"),
            AppendError::ProducerForgotten { .. } => (Exit::Conflict, "producer_forgotten"),
            AppendError::UnknownProducer { .. } => (Exit::Conflict, "unknown_producer"),
            AppendError::DiskFull => (Exit::Disk, "disk_full"),
            AppendError::Poisoned { .. } => (Exit::Disk, "poisoned"),
            AppendError::OutcomeUnknown(_) | AppendError::Late { .. } => (Exit::Disk, "outcome_unknown"),
            AppendError::Closed => (Exit::Disk, "closed"),
        };
        Failure::new(exit, code, error)
    }
}

impl From<ConsumerError> for Failure {
    fn from(error: ConsumerError) -> Self {
        let (exit, code) = match error {
            ConsumerError::Read(error) => return error.into(),
            ConsumerError::Invalid(_) => (Exit::Usage, "invalid_name"),
            ConsumerError::FilterTooLong { .. } => (Exit::Usage, "filter_too_long"),
            ConsumerError::Held { .. } => (Exit::Conflict, "consumer_held"),
            ConsumerError::CursorAhead { .. } => (Exit::Conflict, "cursor_ahead"),
            ConsumerError::Behind { .. } => (Exit::Conflict, "behind"),
            ConsumerError::WrongLog { .. } => (Exit::Conflict, "wrong_log"),
            ConsumerError::CursorOfAnotherHistory { .. } => (Exit::Conflict, "cursor_of_another_history"),
            ConsumerError::Trimmed { .. } => (Exit::NotFound, "trimmed"),
            ConsumerError::Damaged(_) => (Exit::Damaged, "damaged"),
            ConsumerError::Io(_) => (Exit::Disk, "io"),
        };
        Failure::new(exit, code, error)
            .help("`annals consumers LOG set NAME POS` puts a cursor anywhere, `… rm NAME` forgets one")
    }
}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        let (exit, code) = match error {
            HandlerError::Append(error) => return error.into(),
            HandlerError::Read(error) => return error.into(),
            HandlerError::View(error) => return error.into(),
            HandlerError::State(error) => return error.into(),
            HandlerError::Name { .. } => (Exit::Usage, "handler_name"),
            HandlerError::Fenced { .. } => (Exit::Conflict, "fenced"),
            HandlerError::Unknown { .. } => (Exit::NotFound, "generation_not_found"),
            HandlerError::Live { .. } => (Exit::Conflict, "generation_live"),
            HandlerError::NotReady { .. } => (Exit::Conflict, "not_ready"),
            HandlerError::Generation { .. } => (Exit::Conflict, "generation"),
            HandlerError::Changed { .. } => (Exit::Conflict, "handler_changed"),
            HandlerError::WrongLog { .. } => (Exit::Conflict, "wrong_log"),
            HandlerError::ViewAhead { .. } => (Exit::Conflict, "view_ahead"),
            HandlerError::Record { .. } => (Exit::Damaged, "record"),
            HandlerError::Digest { .. } => (Exit::Damaged, "digest"),
            HandlerError::Trimmed { .. } => (Exit::NotFound, "trimmed"),
            HandlerError::Handling { .. } => (Exit::Usage, "cannot_handle"),
            HandlerError::Stopped { .. } => (Exit::Disk, "stopped"),
        };
        Failure::new(exit, code, error)
    }
}

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        Failure::new(Exit::Disk, "view", error)
    }
}

impl From<InvalidEvent> for Failure {
    fn from(error: InvalidEvent) -> Self {
        Failure::new(Exit::Usage, "invalid_event", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        let failure = Failure::io("cannot write to stdout", &io::ErrorKind::BrokenPipe.into());
        assert_eq!(failure.exit(), Exit::Done);
    }

    #[test]
    fn an_error_that_is_not_the_users_is_no_usage_error() {
        assert_eq!(Failure::io("x", &io::ErrorKind::StorageFull.into()).exit(), Exit::Disk);
        assert_eq!(Failure::from(InvalidEvent::IdLength { bytes: 0 }).exit(), Exit::Usage);
        assert_eq!(Failure::from(AppendError::Closed).exit(), Exit::Disk);
    }
}
