//! `annals park`: streams that a handler has set aside, and what operators decide about them.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::asking::{AskArgs, Care, Request, live};
use super::failure::{Exit, Failure};
use super::output::{Out, Style, counted, note, one_line};
use super::target::{log_and_words, log_variable, open_reader};
use super::time::rfc3339;
use crate::handler::Asked;
use crate::handler::standing::{Parked, Standing};
use crate::{LogReader, Timestamp};

/// Show the streams that a handler has set aside, try one again, or give up what waits there
///
/// An event whose handling fails holds up its stream and no other: it waits, and the later ones of its stream behind
/// it. `annals park LOG HANDLER` lists these streams, `… retry STREAM` has the first event tried again now, with all its
/// attempts, `… drop STREAM --reason WHY` gives it up, or with --all all events that wait there. A request is an event
/// of the log, on which the handler acts when it runs next.
#[derive(Debug, Args)]
#[command(override_usage = "annals park [OPTIONS] [LOG] <HANDLER> [ls | retry <STREAM> | drop <STREAM>]")]
pub(super) struct ParkArgs {
    /// Directory of the log; with ANNALS_LOG set it can be left out. Then the name of the handler, and nothing, `ls`,
    /// `retry STREAM` or `drop STREAM`
    #[arg(value_name = "LOG HANDLER [ls|retry STREAM|drop STREAM]", num_args = 0..=4)]
    words: Vec<OsString>,
    /// With `drop`: all events that wait in the stream, and not only the first
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    ask: AskArgs,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    List,
    Retry(String),
    Drop(String),
}

fn wish(words: &[OsString]) -> Option<(String, Wish)> {
    let text = |word: &OsStr| word.to_string_lossy().into_owned();
    match words {
        [handler] if handler != "ls" => Some((text(handler), Wish::List)),
        [handler, verb] if verb == "ls" => Some((text(handler), Wish::List)),
        [handler, verb, stream] if verb == "retry" => Some((text(handler), Wish::Retry(text(stream)))),
        [handler, verb, stream] if verb == "drop" => Some((text(handler), Wish::Drop(text(stream)))),
        _ => None,
    }
}

const USAGE: &str = "the name of a handler, and nothing, `ls`, `retry STREAM` or `drop STREAM`";

impl ParkArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let (log, (handler, wish)) = log_and_words(&self.words, log_variable(), wish, USAGE)?;
        if self.all && !matches!(wish, Wish::Drop(_)) {
            return Err(Failure::usage("--all goes with `drop`"));
        }
        match &wish {
            Wish::List => self.ask.none_given("`ls`")?,
            Wish::Drop(_) => self.ask.needs_reason("`drop`")?,
            Wish::Retry(_) => {}
        }
        let reader = open_reader(&log)?;
        let standing = live(&reader, &handler)?;
        match wish {
            Wish::List => list(&reader, &standing, json),
            Wish::Retry(stream) => self.retry(&log, &reader, &standing, &stream, json),
            Wish::Drop(stream) => self.give_up(&log, &reader, &standing, &stream, json),
        }
    }

    fn retry(
        &self,
        log: &Path,
        reader: &LogReader,
        standing: &Standing,
        stream: &str,
        json: bool,
    ) -> Result<Exit, Failure> {
        let parked = find(reader, standing, stream)?;
        let request = Request { events: Some(1), ..about(standing, "retry", &parked) };
        let says = format!(
            "{} tries {} again, with all its attempts; {}",
            standing.space,
            first_of(&parked),
            cause_of(&parked)
        );
        self.ask.ask(log, request, &Asked::Retry(stream.to_owned()), Care::Final, &says, json)
    }

    fn give_up(
        &self,
        log: &Path,
        reader: &LogReader,
        standing: &Standing,
        stream: &str,
        json: bool,
    ) -> Result<Exit, Failure> {
        let parked = find(reader, standing, stream)?;
        let waiting = parked.waiting.len() as u64;
        let (events, what, left) = match self.all {
            true => {
                (waiting, format!("all that waits of stream {stream}: {}", counted(waiting, "event")), String::new())
            }
            false => (1, first_of(&parked), format!("; then the {} behind it follow", counted(waiting - 1, "event"))),
        };
        let says = format!("{} gives up {what}; {}{left}", standing.space, cause_of(&parked));
        let request = Request { events: Some(events), ..about(standing, "drop", &parked) };
        // Not one that has not been seen here, should another be the first by then.
        let only = parked.first().filter(|_| !self.all);
        let asked = Asked::Drop { stream: stream.to_owned(), all: self.all, only };
        self.ask.ask(log, request, &asked, Care::Final, &says, json)
    }
}

fn about<'r>(standing: &'r Standing, asked: &'static str, parked: &'r Parked) -> Request<'r> {
    let offset = parked.first().map(crate::Offset::raw);
    Request { stream: Some(&parked.stream), offset, ..Request::new(standing, asked) }
}

fn first_of(parked: &Parked) -> String {
    let first = parked.first().map_or_else(String::new, |first| format!(" {first}"));
    format!("event{first}, the first that waits of stream {}", parked.stream)
}

fn cause_of(parked: &Parked) -> String {
    match parked.row.failures {
        0 => format!("of its stream an event failed before: {}", parked.row.cause),
        failures => format!("it failed {}: {}", times(failures), parked.row.cause),
    }
}

fn times(failures: u32) -> String {
    if failures == 1 { "once".to_owned() } else { counted(failures.into(), "time") }
}

fn find(reader: &LogReader, standing: &Standing, stream: &str) -> Result<Parked, Failure> {
    let held = standing.held(reader)?;
    let found = held.parked.into_iter().find(|parked| parked.stream == stream);
    found.ok_or_else(|| {
        let message = format!("{} has not set stream {stream:?} aside", standing.space);
        Failure::new(Exit::NotFound, "stream_not_parked", message)
            .help(format!("`annals park LOG {} ls` lists those that are", standing.space.handler()))
    })
}

/// A stream that is set aside, for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct ParkedLine<'p> {
    stream: &'p str,
    /// Events that wait.
    waiting: usize,
    /// How often the first of them failed.
    failures: u32,
    /// When it is tried again; null: when an operator asks for it.
    retry_at: Option<String>,
    since: String,
    cause: &'p str,
    /// The offset of the first.
    first: Option<u64>,
}

impl<'p> ParkedLine<'p> {
    fn of(parked: &'p Parked) -> Self {
        ParkedLine {
            stream: &parked.stream,
            waiting: parked.waiting.len(),
            failures: parked.row.failures,
            retry_at: parked.retry_at_us().map(|at| rfc3339(Timestamp::from_micros(at))),
            since: rfc3339(Timestamp::from_micros(parked.row.since_us)),
            cause: &parked.row.cause,
            first: parked.first().map(crate::Offset::raw),
        }
    }
}

fn list(reader: &LogReader, standing: &Standing, json: bool) -> Result<Exit, Failure> {
    let held = standing.held(reader)?;
    let mut out = Out::stdout();
    if !json && !held.parked.is_empty() {
        let (dim, plain) = (out.style(Style::Dim), out.style(Style::Plain));
        out.line(format_args!(
            "{dim}{:>10}  {:>8}  {:>8}  {:<24}  STREAM  CAUSE{plain}",
            "FIRST", "WAITING", "FAILURES", "NEXT TRY"
        ))?;
    }
    for parked in &held.parked {
        let line = ParkedLine::of(parked);
        if json {
            out.json(&line)?;
            continue;
        }
        let first = line.first.map_or_else(String::new, |first| first.to_string());
        let (waiting, failures) = (line.waiting, line.failures);
        let next = line.retry_at.as_deref().unwrap_or("when it is asked for");
        let (stream, cause) = (one_line(line.stream), one_line(line.cause));
        out.line(format_args!("{first:>10}  {waiting:>8}  {failures:>8}  {next:<24}  {stream}  {cause}"))?;
    }
    out.flush()?;
    if held.parked.is_empty() && !json {
        note(format_args!("{} has set no stream aside", standing.space));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_may_be_left_out_where_the_variable_names_it() {
        let understood = |words: &[&str], variable: Option<&str>| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let found = log_and_words(&words, variable.map(OsString::from), wish, USAGE).ok();
            found.map(|(log, (handler, wish))| (log.to_str().unwrap().to_owned(), handler, wish))
        };
        let drop = || Wish::Drop("s".to_owned());
        let retry = || Wish::Retry("s".to_owned());
        let all: [(&[&str], Wish); 4] = [
            (&["h"], Wish::List),
            (&["h", "ls"], Wish::List),
            (&["h", "drop", "s"], drop()),
            (&["h", "retry", "s"], retry()),
        ];
        for (words, wish) in all {
            let with_log = [&["log"], words].concat();
            let is = |log: &str| Some((log.to_owned(), "h".to_owned()));
            for (words, variable, log) in [(&with_log[..], Some("other"), "log"), (words, Some("other"), "other")] {
                let found = understood(words, variable);
                assert_eq!(
                    found.as_ref().map(|(log, handler, _)| (log.clone(), handler.clone())),
                    is(log),
                    "{words:?}"
                );
                assert_eq!(
                    found.map(|(_, _, wish)| wish),
                    Some(match &wish {
                        Wish::List => Wish::List,
                        Wish::Retry(stream) => Wish::Retry(stream.clone()),
                        Wish::Drop(stream) => Wish::Drop(stream.clone()),
                    })
                );
            }
        }
        assert_eq!(understood(&["h"], None), None);
        assert_eq!(understood(&["log", "h", "drop"], None), None);
    }
}
