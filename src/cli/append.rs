//! `annals append`: what stdin gives becomes an event, or one a line.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::event::{check_name, check_user_stream};
use crate::limits::DATA_BYTES_MAX;
use crate::{Append, AppendError, Appended, Durability, Expect, Log, NewEvent, Receipt, Version};

use super::failure::{Exit, Failure};
use super::output::{Out, counted, note};
use super::position::{self, Time};
use super::target::{Typed, here, log_and, open_existing, open_writer};

const STDIN_BUFFER_BYTES: usize = 64 * 1024;

/// Append one event with the bytes of stdin, or with --lines one for each of its lines
///
/// One final LF of stdin is not part of the data. Of --lines each is appended as it arrives, and is visible to
/// readers then.
#[derive(Debug, Args)]
pub(super) struct AppendArgs {
    /// Directory of the log, made when it is not there; ANNALS_LOG when it is left out
    #[arg(value_name = "LOG")]
    log: Option<OsString>,
    /// Stream to append to
    #[arg(value_name = "STREAM")]
    stream: Option<OsString>,
    /// What kind of fact it is
    #[arg(long = "type", value_name = "T")]
    event_type: String,
    /// Append only if the stream's last event has this version, or if the stream has no event, or has one;
    /// with --lines said of the first
    #[arg(long, value_name = "N|none|exists|any", default_value = "any", value_parser = parse_expect)]
    expect: Expect,
    /// The producer's own name for the event
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    id: Option<String>,
    /// When it happened [default: when it is recorded]
    #[arg(long, value_name = "TIME", value_parser = position::parse_time, allow_hyphen_values = true)]
    time: Option<Time>,
    /// A header; may be given again
    #[arg(long = "header", value_name = "K=V", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// Media type of the data
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// What the events survive once this says that they are appended
    #[arg(long, value_name = "LEVEL", default_value = "disk")]
    durability: Level,
    /// One event for each line of stdin
    #[arg(long)]
    lines: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    /// A kill of this process
    Os,
    /// Power cuts too
    Disk,
}

fn parse_expect(text: &str) -> Result<Expect, String> {
    match text {
        "any" => Ok(Expect::Any),
        "none" => Ok(Expect::None),
        "exists" => Ok(Expect::Exists),
        number => match number.parse() {
            Ok(version) => Ok(Expect::Version(Version::from_raw(version))),
            Err(_) => Err("an expectation is a version, `none`, `exists` or `any`".to_owned()),
        },
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a header is NAME=VALUE".to_owned()),
    }
}

impl AppendArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let (path, stream) = log_and(self.log.clone(), self.stream.clone(), "STREAM")?;
        let stream = stream.into_string().map_err(|_| Failure::usage("the stream's name is no UTF-8"))?;
        // Before anything is waited for or made.
        here(&path)?;
        check_user_stream(&stream)?;
        check_name("type", &self.event_type)?;
        if let Some(local) = self.time.as_ref().and_then(Time::as_taken) {
            note(format_args!("--time is taken as {local}"));
        }
        if io::stdin().is_terminal() {
            note(if self.lines {
                "each line typed here is appended; Ctrl-D ends"
            } else {
                "what is typed here becomes the event; Ctrl-D ends it"
            });
        }
        let mut stdin = BufReader::with_capacity(STDIN_BUFFER_BYTES, io::stdin());
        // A lone event is read before the log is opened, and so locked.
        let only = if self.lines { None } else { Some(read_all(&mut stdin)?) };
        let mut appending = Appending::new(self.open(&path)?, &path, &stream, &self, json);
        let outcome = match only {
            Some(data) => appending.append(&data).and_then(|()| appending.settle()),
            None => appending.lines(&mut stdin),
        };
        // What is on its way when something fails is appended all the same, and said so.
        let settled = appending.settle();
        settled.and(outcome).map_err(|failure| match appending.done {
            0 => failure,
            done => failure.after(format_args!("{} before it appended", counted(done, "event"))),
        })?;
        appending.log.clone().close()?;
        appending.say()?;
        Ok(Exit::Done)
    }

    /// An append that expects events does not make the log that would have them.
    fn open(&self, path: &Path) -> Result<Log, Failure> {
        match self.expect {
            Expect::Any | Expect::None => open_writer(path),
            Expect::Exists | Expect::Version(_) | Expect::Last(_) => open_existing(path)?.ok_or_else(|| {
                let why = format!("there is no log at {}, and {}; nothing was written", path.display(), self.expect);
                Failure::new(Exit::Conflict, "wrong_version", why)
            }),
        }
    }

    fn durability(&self) -> Durability {
        match self.durability {
            Level::Os => Durability::Os,
            Level::Disk => Durability::Disk,
        }
    }
}

fn read_all(stdin: &mut impl BufRead) -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    // One more than fits, and the LF.
    let most = DATA_BYTES_MAX as u64 + 2;
    stdin.take(most).read_to_end(&mut data).map_err(|error| Failure::io("cannot read stdin", &error))?;
    if data.last() == Some(&b'\n') {
        data.pop();
    }
    Ok(data)
}

/// Events on their way into a log.
struct Appending<'a> {
    log: Log,
    path: &'a Path,
    stream: &'a str,
    args: &'a AppendArgs,
    json: bool,
    out: Out,
    /// Whether the answers are read.
    listened: bool,
    in_flight: VecDeque<Receipt>,
    begun: bool,
    /// Events that are kept as asked, and the first and last of them.
    done: u64,
    first: Option<Appended>,
    last: Option<Appended>,
}

impl<'a> Appending<'a> {
    fn new(log: Log, path: &'a Path, stream: &'a str, args: &'a AppendArgs, json: bool) -> Self {
        Appending {
            log,
            path,
            stream,
            args,
            json,
            out: Out::stdout(),
            listened: true,
            in_flight: VecDeque::new(),
            begun: false,
            done: 0,
            first: None,
            last: None,
        }
    }

    /// Appends each line as it arrives. Lines that arrive together share a sync; before more input is waited
    /// for, all before it is kept, and visible to readers.
    fn lines(&mut self, stdin: &mut BufReader<impl Read>) -> Result<(), Failure> {
        let mut line = Vec::new();
        for number in 1u64.. {
            if !stdin.buffer().contains(&b'\n') {
                self.settle()?;
            }
            line.clear();
            let most = DATA_BYTES_MAX as u64 + 2;
            let bytes = stdin.by_ref().take(most).read_until(b'\n', &mut line);
            if bytes.map_err(|error| Failure::io("cannot read stdin", &error))? == 0 {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            self.append(&line).map_err(|failure| failure.about(format_args!("line {number}")))?;
        }
        Ok(())
    }

    fn append(&mut self, data: &[u8]) -> Result<(), Failure> {
        let args = self.args;
        if data.len() > DATA_BYTES_MAX {
            // No more than this was read, so its length is not known.
            return Err(Failure::input(format!(
                "an event's data has at most {DATA_BYTES_MAX} bytes, this one has more; split it, or store it beside the log and append where it is"
            )));
        }
        let mut event = NewEvent::new(self.stream, args.event_type.as_str()).data(data);
        if let Some(id) = &args.id {
            event = event.id(id.as_str());
        }
        if let Some(time) = &args.time {
            event = event.time(time.at);
        }
        if let Some(content_type) = &args.content_type {
            event = event.content_type(content_type.as_str());
        }
        for (name, value) in &args.headers {
            event = event.header(name.as_str(), value.as_str());
        }
        let mut append = Append::new().event(event).durability(args.durability());
        if !self.begun {
            append = append.expect(self.stream, args.expect);
        }
        let receipt = self.log.append(append).map_err(|error| self.refused(error))?;
        self.begun = true;
        self.in_flight.push_back(receipt);
        Ok(())
    }

    fn refused(&self, error: AppendError) -> Failure {
        let conflict = matches!(error, AppendError::WrongVersion { .. });
        let failure = Failure::from(error);
        if !conflict {
            return failure;
        }
        let log = self.path.to_string_lossy();
        failure.help(format_args!(
            "look at it with `annals cat {} --stream {}` and decide again, or append without --expect",
            Typed(&log),
            Typed(self.stream)
        ))
    }

    /// Waits until all is kept, and says so.
    fn settle(&mut self) -> Result<(), Failure> {
        if self.in_flight.is_empty() {
            return Ok(());
        }
        while let Some(receipt) = self.in_flight.pop_front() {
            let appended = receipt.wait()?;
            self.done += 1;
            if self.json && self.listened {
                let answer = self.answer(&appended);
                self.listened = heard(self.out.line(answer))?;
            }
            if self.first.is_none() {
                self.first = Some(appended.clone());
            }
            self.last = Some(appended);
        }
        self.listened = self.listened && heard(self.out.flush())?;
        Ok(())
    }

    fn answer(&self, appended: &Appended) -> serde_json::Value {
        json!({
            "offset": appended.first().raw(),
            "stream": self.stream,
            "version": version(appended).raw(),
            "type": self.args.event_type,
            "recorded": super::time::rfc3339(appended.recorded()),
        })
    }

    fn say(&self) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        let kept = match self.args.durability {
            Level::Os => "with the operating system",
            Level::Disk => "durable",
        };
        let (Some(first), Some(last)) = (&self.first, &self.last) else {
            note("no line came; nothing was appended");
            return Ok(());
        };
        let (offset, version) = match self.done {
            1 => (format!("offset {}", first.first()), version(first).to_string()),
            _ => (
                format!("offsets {} to {} (exclusive)", first.first(), last.next()),
                format!("{} to {}", version(first), version(last)),
            ),
        };
        note(format_args!("appended {}  {offset}  {}@{version}  {kept}", counted(self.done, "event"), self.stream));
        Ok(())
    }
}

/// Whether somebody still reads the answers. When nobody does, what comes is appended all the same.
fn heard(written: Result<(), Failure>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(failure) if failure.is_closed_pipe() => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// The version of the one event of an append.
fn version(appended: &Appended) -> Version {
    appended.versions().next().unwrap_or(Version::from_raw(0))
}
