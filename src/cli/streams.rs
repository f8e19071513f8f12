//! `annals streams`: which streams there are, and where each ends.

use std::ffi::OsString;

use clap::Args;
use serde::Serialize;

use crate::{Offset, StreamInfo};

use super::failure::{Exit, Failure};
use super::output::{Out, Style, counted, note, one_line};
use super::target::{log_and_maybe, open_reader};

/// List the streams whose names match, with their events; in the order of their last events
#[derive(Debug, Args)]
#[command(override_usage = "annals streams [OPTIONS] [LOG] [PATTERN]")]
pub(super) struct StreamsArgs {
    /// Directory of the log; with ANNALS_LOG set it can be left out
    #[arg(value_name = "LOG")]
    first: Option<OsString>,
    /// Only streams that match: `*` stands for any run of characters, a backslash takes the next one as it is. A pattern that
    /// starts with `$` lists the log's own
    #[arg(value_name = "PATTERN")]
    second: Option<OsString>,
}

/// A stream for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct StreamLine<'s> {
    stream: &'s str,
    /// The events it ever had.
    events: u64,
    /// Version and offset of the last.
    version: u64,
    last_offset: u64,
}

impl<'s> StreamLine<'s> {
    fn of(info: &'s StreamInfo) -> Self {
        let version = info.version.raw();
        StreamLine { stream: &info.name, events: version + 1, version, last_offset: info.last.raw() }
    }
}

impl StreamsArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let (log, pattern) = log_and_maybe(self.first, self.second, "PATTERN")?;
        let pattern = pattern.map(|pattern| pattern.to_string_lossy().into_owned());
        let reader = open_reader(&log)?;
        let (head, end) = (reader.head()?, reader.durable_end()?);
        let mut out = Out::stdout();
        let mut streams = 0u64;
        for info in reader.streams(pattern.as_deref().unwrap_or("*")) {
            let info = info?;
            streams += 1;
            if json {
                out.json(&StreamLine::of(&info))?;
            } else {
                text(&info, streams == 1, end, &mut out)?;
            }
        }
        out.flush()?;
        if streams == 0 {
            note(nothing(pattern.as_deref(), head, end));
        }
        Ok(Exit::Done)
    }
}

fn text(info: &StreamInfo, is_first: bool, end: Offset, out: &mut Out) -> Result<(), Failure> {
    let offset = end.to_string().len().max("OFFSET".len());
    if is_first {
        let (dim, plain) = (out.style(Style::Dim), out.style(Style::Plain));
        out.line(format_args!("{dim}{:>offset$}  {:>offset$}  STREAM{plain}", "EVENTS", "LAST"))?;
    }
    out.line(format_args!("{:>offset$}  {:>offset$}  {}", info.version.raw() + 1, info.last, one_line(&info.name)))
}

/// What was looked at in vain.
fn nothing(pattern: Option<&str>, head: Offset, end: Offset) -> String {
    let looked_at = counted(end.raw() - head.raw(), "event");
    match pattern {
        _ if end == Offset::ZERO => "the log has no events yet".to_owned(),
        Some(pattern) => {
            format!(
                "no stream matches `{pattern}`: those of {looked_at} were looked at, from offset {head} to {end} (exclusive)"
            )
        }
        None => format!("there are no streams but the log's own in {looked_at}; the pattern '$*' lists them"),
    }
}
