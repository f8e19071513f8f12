//! `annals same`: whether two logs hold the same events of the users, in the same order.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::{Event, LogReader, Offset, Read};

use super::failure::{Exit, Failure};
use super::gap::told;
use super::output::{Out, Style, counted, one_line};
use super::target::open_reader;
use super::time::rfc3339;

/// Compare two logs by the users' events; exit code 1 when they differ, and where
///
/// Equal is: the same events in the same order, by stream, version, type, id, source, time, content type, headers and
/// data. Offsets and the times of recording are not compared, nor are the log's own events.
#[derive(Debug, Args)]
pub(super) struct SameArgs {
    /// Directory of one log
    #[arg(value_name = "LOG")]
    one: PathBuf,
    /// Directory of the other
    #[arg(value_name = "OTHER")]
    other: PathBuf,
}

impl SameArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let readers = [open_reader(&self.one)?, open_reader(&self.other)?];
        let answer = compare(&readers, json)?;
        let mut out = Out::stdout();
        if json {
            out.json(&answer)?;
        } else {
            self.text(&answer, &mut out)?;
        }
        out.flush()?;
        Ok(if answer.same { Exit::Done } else { Exit::No })
    }

    fn text(&self, answer: &Answer, out: &mut Out) -> Result<(), Failure> {
        let (good, bad, plain) = (out.style(Style::Good), out.style(Style::Bad), out.style(Style::Plain));
        let Some(difference) = &answer.difference else {
            return out.line(format_args!("{good}same{plain}  {}", counted(answer.events, "event")));
        };
        out.line(format_args!(
            "{bad}different{plain} in {}, behind {}",
            difference.what,
            counted(answer.events, "equal event")
        ))?;
        for (path, place) in [(&self.one, &difference.one), (&self.other, &difference.other)] {
            let path = path.to_string_lossy();
            match place {
                None => out.line(format_args!("{}: ends there", one_line(&path)))?,
                Some(Place { offset, value }) => {
                    out.line(format_args!("{}: offset {offset}: {}", one_line(&path), one_line(value)))?;
                }
            }
        }
        Ok(())
    }
}

/// The answer for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct Answer {
    same: bool,
    /// Events that are equal, up to the first that is not.
    events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
}

/// The first event that is not equal.
#[derive(Debug, Serialize)]
struct Difference {
    /// What of it differs.
    what: &'static str,
    one: Option<Place>,
    other: Option<Place>,
}

/// The event of one of the logs; none where it ends.
#[derive(Debug, Serialize)]
struct Place {
    offset: u64,
    value: String,
}

fn compare([one, other]: &[LogReader; 2], json: bool) -> Result<Answer, Failure> {
    let (mut one, mut other): (Read, Read) = (one.read(all()), other.read(all()));
    let mut events = 0;
    loop {
        let difference = match (next(&mut one, json)?, next(&mut other, json)?) {
            (None, None) => return Ok(Answer { same: true, events, difference: None }),
            (Some(one), Some(other)) => difference(&one, &other),
            (one, other) => {
                let place = |event: &Event| Place { offset: event.offset().raw(), value: name(event) };
                let (one, other) = (one.as_ref().map(place), other.as_ref().map(place));
                Some(Difference { what: "length", one, other })
            }
        };
        match difference {
            None => events += 1,
            found => return Ok(Answer { same: false, events, difference: found }),
        }
    }
}

fn all() -> std::ops::RangeFrom<Offset> {
    Offset::ZERO..
}

/// The next event. Gaps are told of and passed over: what counts is the events that there are.
fn next(read: &mut Read, json: bool) -> Result<Option<Event>, Failure> {
    for event in read {
        if let Some(event) = told(event, json)? {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// What an event is called where nothing else of it is shown.
fn name(event: &Event) -> String {
    format!("{}@{} {}", event.stream(), event.version(), event.event_type())
}

fn difference(one: &Event, other: &Event) -> Option<Difference> {
    let difference = |what, show: &dyn Fn(&Event) -> String| {
        let place = |event: &Event| Some(Place { offset: event.offset().raw(), value: show(event) });
        Some(Difference { what, one: place(one), other: place(other) })
    };
    let maybe = |text: Option<&str>| text.unwrap_or("none").to_owned();
    let headers = |event: &Event| event.headers().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>();
    if one.stream() != other.stream() {
        difference("stream", &|event| event.stream().to_owned())
    } else if one.version() != other.version() {
        difference("version", &|event| format!("{}@{}", event.stream(), event.version()))
    } else if one.event_type() != other.event_type() {
        difference("type", &|event| event.event_type().to_owned())
    } else if one.id() != other.id() {
        difference("id", &|event| maybe(event.id()))
    } else if one.source() != other.source() {
        difference("source", &|event| maybe(event.source()))
    } else if one.borrow().given_time() != other.borrow().given_time() {
        difference("time", &|event| maybe(event.borrow().given_time().map(rfc3339).as_deref()))
    } else if one.content_type() != other.content_type() {
        difference("content type", &|event| maybe(event.content_type()))
    } else if !one.headers().eq(other.headers()) {
        difference("headers", &headers)
    } else if one.data() != other.data() {
        difference("data", &|event| name(event))
    } else {
        None
    }
}
