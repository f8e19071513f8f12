//! Which log a verb is about: its LOG argument, or ANNALS_LOG.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::disk::Env;
use crate::{Log, LogReader, OpenError, ReadMode};

use super::failure::Failure;
use super::output::note;

const LOG_VARIABLE: &str = "ANNALS_LOG";

/// The one argument of a verb that is about a whole log.
#[derive(Debug, Args)]
pub(super) struct LogArg {
    /// Directory of the log
    #[arg(value_name = "LOG", env = LOG_VARIABLE)]
    log: PathBuf,
}

impl LogArg {
    pub(super) fn path(&self) -> &Path {
        &self.log
    }

    /// Where the log is, for what is not opened as a log.
    pub(super) fn directory(&self) -> Result<&Path, Failure> {
        here(&self.log)?;
        Ok(&self.log)
    }

    /// A reader that maps what is sealed.
    pub(super) fn mapped_reader(&self) -> Result<LogReader, Failure> {
        here(&self.log)?;
        Ok(LogReader::open(&self.log)?)
    }

    pub(super) fn reader(&self) -> Result<LogReader, Failure> {
        open_reader(&self.log)
    }
}

/// Tells LOG and the argument behind it apart: with ANNALS_LOG set, one argument alone is the second.
pub(super) fn log_and(
    first: Option<OsString>,
    second: Option<OsString>,
    what: &str,
) -> Result<(PathBuf, OsString), Failure> {
    tell_apart(first, second, std::env::var_os(LOG_VARIABLE), what)
}

/// The same where the second argument may be missing.
pub(super) fn log_and_maybe(
    first: Option<OsString>,
    second: Option<OsString>,
    what: &str,
) -> Result<(PathBuf, Option<OsString>), Failure> {
    tell_apart_maybe(first, second, std::env::var_os(LOG_VARIABLE), what)
}

fn tell_apart_maybe(
    first: Option<OsString>,
    second: Option<OsString>,
    variable: Option<OsString>,
    what: &str,
) -> Result<(PathBuf, Option<OsString>), Failure> {
    match (first, second, variable.filter(|log| !log.is_empty())) {
        (None, None, Some(log)) => Ok((log.into(), None)),
        (Some(log), None, None) => Ok((log.into(), None)),
        (first, second, variable) => tell_apart(first, second, variable, what).map(|(log, second)| (log, Some(second))),
    }
}

fn tell_apart(
    first: Option<OsString>,
    second: Option<OsString>,
    variable: Option<OsString>,
    what: &str,
) -> Result<(PathBuf, OsString), Failure> {
    let missing = |missing: &str| {
        Failure::usage(format!("{missing} is missing"))
            .help(format!("give LOG {what}, or set {LOG_VARIABLE} and give {what} alone"))
    };
    match (first, second, variable.filter(|log| !log.is_empty())) {
        (Some(log), Some(second), _) => Ok((log.into(), second)),
        (Some(second), None, Some(log)) => Ok((log.into(), second)),
        (Some(_), None, None) => Err(missing(what)),
        (None, _, _) => Err(missing("LOG")),
    }
}

/// Tells LOG apart from the words behind it, which have a meaning or none: with ANNALS_LOG set, LOG may be left out.
pub(super) fn log_and_words<M>(
    words: &[OsString],
    variable: Option<OsString>,
    meaning: impl Fn(&[OsString]) -> Option<M>,
    usage: &str,
) -> Result<(PathBuf, M), Failure> {
    if let Some((log, meant)) = words.split_first().and_then(|(log, rest)| Some((log, meaning(rest)?))) {
        return Ok((log.into(), meant));
    }
    match (variable.filter(|log| !log.is_empty()), meaning(words)) {
        (Some(log), Some(meant)) => Ok((log.into(), meant)),
        (None, Some(_)) => Err(Failure::usage("LOG is missing").help(format!("give LOG first, or set {LOG_VARIABLE}"))),
        (_, None) => Err(Failure::usage(format!("behind LOG comes {usage}"))),
    }
}

/// What ANNALS_LOG says.
pub(super) fn log_variable() -> Option<OsString> {
    std::env::var_os(LOG_VARIABLE)
}

/// Opens a log for reading: without a lock, beside the process that writes it.
pub(super) fn open_reader(log: &Path) -> Result<LogReader, Failure> {
    here(log)?;
    // By read calls and not from maps: a failing disk then ends in a message and not in a signal.
    Ok(LogReader::open_with(log, Env::system(), ReadMode::Pread)?)
}

/// Opens a log for writing; makes it when it is not there.
pub(super) fn open_writer(log: &Path) -> Result<Log, Failure> {
    here(log)?;
    Ok(noting(Log::open(log)?))
}

/// Opens a log for writing, if it is there.
pub(super) fn open_existing(log: &Path) -> Result<Option<Log>, Failure> {
    here(log)?;
    match Log::options().create(false).open(log) {
        Err(OpenError::NotFound { .. }) => Ok(None),
        opened => Ok(Some(noting(opened?))),
    }
}

/// Says what opening mended.
fn noting(log: Log) -> Log {
    let report = log.report();
    if let Some(torn) = &report.torn {
        note(format_args!(
            "the last writer was ended while it wrote: {} bytes that were never acknowledged were cut, and are kept in {}",
            torn.bytes,
            torn.kept.display()
        ));
    }
    report.notes.iter().for_each(note);
    log
}

/// Bytes that the segments of a log take, for showing progress: what cannot be seen counts as nothing.
pub(super) fn segment_bytes(log: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(log) else { return 0 };
    let is_segment = |path: &Path| path.extension().is_some_and(|extension| extension == "seg");
    let segments = entries.flatten().filter(|entry| is_segment(&entry.path()));
    segments.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Refuses addresses: a directory of that name would surprise.
pub(super) fn here(log: &Path) -> Result<(), Failure> {
    match log.to_str() {
        Some(text) if text.starts_with("http://") || text.starts_with("https://") => {
            Err(Failure::usage("a LOG is a directory; logs behind an address are not read by this version"))
        }
        _ => Ok(()),
    }
}

/// A path or name as it can be typed into a shell.
pub(super) struct Typed<'p>(pub(super) &'p str);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |char: char| char.is_alphanumeric() || "/._-+=:,@%".contains(char);
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        write!(f, "'{}'", self.0.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(text: &str) -> Option<OsString> {
        Some(text.into())
    }

    #[test]
    fn a_lone_argument_is_the_second_one_when_the_variable_names_the_log() {
        let apart = |first, second, variable| tell_apart(first, second, variable, "STREAM").ok();
        let both = |log: &str, second: &str| Some((PathBuf::from(log), OsString::from(second)));
        assert_eq!(apart(os("log"), os("stream"), None), both("log", "stream"));
        assert_eq!(apart(os("log"), os("stream"), os("other")), both("log", "stream"));
        assert_eq!(apart(os("stream"), None, os("log")), both("log", "stream"));
        assert_eq!(apart(os("log"), None, None), None);
        assert_eq!(apart(os("log"), None, os("")), None);
        assert_eq!(apart(None, None, os("log")), None);
    }

    #[test]
    fn a_second_argument_that_may_be_missing_is_still_the_second_one() {
        let apart = |first, second, variable| tell_apart_maybe(first, second, variable, "FILE").ok();
        let both = |log: &str, second: Option<&str>| Some((PathBuf::from(log), second.map(OsString::from)));
        assert_eq!(apart(os("log"), os("file"), os("other")), both("log", Some("file")));
        assert_eq!(apart(os("log"), None, None), both("log", None));
        assert_eq!(apart(os("file"), None, os("log")), both("log", Some("file")));
        assert_eq!(apart(None, None, os("log")), both("log", None));
        assert_eq!(apart(None, None, None), None);
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        assert_eq!(Typed("./data/log-1").to_string(), "./data/log-1");
        assert_eq!(Typed("it's here").to_string(), r"'it'\''s here'");
        assert_eq!(Typed("order-*").to_string(), "'order-*'");
    }
}
