//! `annals handlers`: where the handlers of a log stand, and asking one to pause, to go on or to pass over an event.

use std::ffi::{OsStr, OsString};

use clap::Args;
use serde::Serialize;

use super::asking::{AskArgs, Care, Request, live};
use super::failure::{Exit, Failure};
use super::output::{Out, Style, counted, note, one_line};
use super::target::{log_and_words, log_variable, open_reader};
use super::time::rfc3339;
use crate::handler::Asked;
use crate::handler::standing::Standing;
use crate::{LogReader, Offset, ReadError, Timestamp};

/// List the handlers of a log and how far each is; pause one, let it go on, or have it pass over an event
///
/// One line for each handler and generation: how many users' events lie behind its position, and since when the first
/// of them. Streams it has set aside are shown by `annals park`. `annals handlers LOG pause NAME --reason WHY` asks it to
/// handle nothing more, `… resume NAME` to go on, `… skip NAME OFFSET --reason WHY` to pass over an event, or the gap that an
/// offset belongs to. A request is an event of the log, on which the handler acts when it runs next.
#[derive(Debug, Args)]
#[command(override_usage = "annals handlers [OPTIONS] [LOG] [pause <NAME> | resume <NAME> | skip <NAME> <OFFSET>]")]
pub(super) struct HandlersArgs {
    /// Directory of the log; with ANNALS_LOG set it can be left out. Then nothing, `pause NAME`, `resume NAME` or `skip NAME
    /// OFFSET`
    #[arg(value_name = "LOG [pause NAME|resume NAME|skip NAME OFFSET]", num_args = 0..=4)]
    words: Vec<OsString>,
    #[command(flatten)]
    ask: AskArgs,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    List,
    Pause(String),
    Resume(String),
    Skip { name: String, offset: String },
}

fn wish(words: &[OsString]) -> Option<Wish> {
    let text = |word: &OsStr| word.to_string_lossy().into_owned();
    match words {
        [] => Some(Wish::List),
        [verb, name] if verb == "pause" => Some(Wish::Pause(text(name))),
        [verb, name] if verb == "resume" => Some(Wish::Resume(text(name))),
        [verb, name, offset] if verb == "skip" => Some(Wish::Skip { name: text(name), offset: text(offset) }),
        _ => None,
    }
}

impl HandlersArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let usage = "nothing, `pause NAME`, `resume NAME` or `skip NAME OFFSET`";
        let (log, wish) = log_and_words(&self.words, log_variable(), wish, usage)?;
        let reader = open_reader(&log)?;
        match wish {
            Wish::List => {
                self.ask.none_given("listing")?;
                list(&reader, json)
            }
            Wish::Pause(name) => {
                self.ask.needs_reason("`pause`")?;
                let standing = live(&reader, &name)?;
                let says = format!("{} handles nothing more until it is resumed", standing.space);
                let request = Request::new(&standing, "pause");
                self.ask.ask(&log, request, &Asked::Pause, Care::Undoable, &says, json)
            }
            Wish::Resume(name) => {
                let standing = live(&reader, &name)?;
                let says = match standing.held(&reader)?.paused {
                    Some(why) => format!("{} goes on; it is paused: {why}", standing.space),
                    None => format!("{} goes on; its last record does not say that it is paused", standing.space),
                };
                let request = Request::new(&standing, "resume");
                self.ask.ask(&log, request, &Asked::Resume, Care::Undoable, &says, json)
            }
            Wish::Skip { name, offset } => {
                self.ask.needs_reason("`skip`")?;
                let offset = offset.parse().map_err(|_| Failure::usage(format!("`{offset}` is no offset")))?;
                let offset = Offset::from_raw(offset);
                let standing = live(&reader, &name)?;
                let says = format!("{} passes over {}", standing.space, skipped(&reader, &standing, offset)?);
                let request =
                    Request { offset: Some(offset.raw()), events: Some(1), ..Request::new(&standing, "skip") };
                self.ask.ask(&log, request, &Asked::Skip(offset), Care::Final, &says, json)
            }
        }
    }
}

/// What would be passed over; refuses what is not there, or is done with.
fn skipped(reader: &LogReader, standing: &Standing, offset: Offset) -> Result<String, Failure> {
    let what = match reader.get(offset) {
        Ok(Some(event)) => format!("event {offset}, {} of stream {}", event.event_type(), event.stream()),
        Ok(None) => {
            return Err(Failure::new(Exit::NotFound, "offset_not_found", format!("there is no event {offset} yet")));
        }
        Err(ReadError::Lost { first, end }) => format!("the gap from {first} to {end} (exclusive)"),
        Err(error) => return Err(error.into()),
    };
    let waits = |held: &crate::handler::standing::Held| {
        held.parked.iter().any(|parked| parked.waiting.binary_search(&offset.raw()).is_ok())
    };
    if offset < standing.head.cursor && !waits(&standing.held(reader)?) {
        let message = format!(
            "{} is done with {what}: it goes on with {}, and the event does not wait",
            standing.space, standing.head.cursor
        );
        return Err(Failure::new(Exit::NotFound, "done_with", message));
    }
    Ok(what)
}

/// Events that lie behind a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind {
    /// Users' events, without those that the handler put out itself.
    pub events: u64,
    /// Far behind, offsets are counted and no events are read: there are at most so many.
    pub is_exact: bool,
    /// When the first of them was recorded.
    pub since: Option<Timestamp>,
}

/// So many offsets are looked at for events.
const LOOKED_AT: u64 = 1_000_000;

impl Behind {
    pub(super) fn of(reader: &LogReader, standing: &Standing) -> Result<Behind, ReadError> {
        let from = standing.head.cursor.max(reader.head()?);
        let end = reader.durable_end()?.max(from);
        let looked_at = end.min(from.plus(LOOKED_AT));
        let rest = end.raw() - looked_at.raw();
        let own = standing.stream();
        let mut behind = Behind { events: rest, is_exact: rest == 0, since: None };
        for batch in reader.batches(from..looked_at) {
            let batch = match batch {
                // What a repair gave up is not behind: it is decided about when its turn comes.
                Err(ReadError::Lost { .. }) => continue,
                batch => batch?,
            };
            // What it put out itself lies behind it until it has something else to do.
            if batch.events().any(|event| event.stream() == own) {
                continue;
            }
            let is_behind = |offset: Offset| offset >= from && offset < looked_at;
            for event in batch.events().filter(|event| !event.is_system() && is_behind(event.offset())) {
                behind.events += 1;
                behind.since.get_or_insert(event.recorded());
            }
        }
        Ok(behind)
    }

    pub(super) fn seconds(&self) -> f64 {
        let waited = |since: Timestamp| Timestamp::now().as_micros().saturating_sub(since.as_micros()).max(0);
        self.since.map_or(0.0, |since| waited(since) as f64 / 1e6)
    }

    /// The number, as a person reads it.
    pub(super) fn text(&self) -> String {
        format!("{}{}", if self.is_exact { "" } else { "≤" }, self.events)
    }
}

/// A handler for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct HandlerLine {
    handler: String,
    generation: u32,
    /// Otherwise it is built beside the live one.
    live: bool,
    epoch: u64,
    /// The offset it goes on with.
    pub cursor: u64,
    /// Users' events behind it but for those that it put out itself; those included that its filter leaves out.
    pub lag: u64,
    /// Otherwise there are at most so many.
    lag_exact: bool,
    /// How long the first of them has been there.
    pub lag_seconds: f64,
    waiting_since: Option<String>,
    pub parked_streams: u32,
    parked_events: u64,
    /// Why it is paused; null when it is not.
    pub paused: Option<String>,
    handled: u64,
    emitted: u64,
    /// Operators asked something that it has not acted on.
    asked: bool,
    #[serde(skip)]
    pub stream: String,
    #[serde(skip)]
    pub lag_text: String,
}

impl HandlerLine {
    fn of(reader: &LogReader, standing: &Standing) -> Result<Self, Failure> {
        let (head, held) = (&standing.head, standing.held(reader)?);
        let behind = Behind::of(reader, standing)?;
        let parked_events = held.waiting();
        Ok(HandlerLine {
            handler: standing.space.handler().to_owned(),
            generation: head.generation,
            live: standing.is_live,
            epoch: head.epoch,
            cursor: head.cursor.raw(),
            lag: behind.events,
            lag_exact: behind.is_exact,
            lag_seconds: behind.seconds(),
            waiting_since: behind.since.map(rfc3339),
            parked_streams: head.parked,
            parked_events,
            paused: head.paused.then(|| held.paused.unwrap_or_default()),
            handled: head.handled,
            emitted: head.emitted,
            asked: standing.is_asked(reader)?,
            stream: standing.stream(),
            lag_text: behind.text(),
        })
    }

    /// All of a log.
    pub(super) fn all(reader: &LogReader) -> Result<Vec<HandlerLine>, Failure> {
        Standing::all(reader)?.iter().map(|standing| HandlerLine::of(reader, standing)).collect()
    }

    /// What it does not get on with, for a person.
    pub(super) fn held(&self, out: &Out) -> String {
        let (bad, plain) = (out.style(Style::Bad), out.style(Style::Plain));
        let mut held = String::new();
        if self.parked_streams > 0 {
            held.push_str(&format!("  {bad}{} set aside{plain}", counted(self.parked_streams.into(), "stream")));
            held.push_str(&format!(", {} waiting", counted(self.parked_events, "event")));
        }
        if let Some(why) = &self.paused {
            held.push_str(&format!("  {bad}paused{plain}: {}", one_line(why)));
        }
        held
    }
}

fn list(reader: &LogReader, json: bool) -> Result<Exit, Failure> {
    let handlers = HandlerLine::all(reader)?;
    let mut out = Out::stdout();
    if json {
        handlers.iter().try_for_each(|line| out.json(line))?;
        out.flush()?;
        return Ok(Exit::Done);
    }
    if !handlers.is_empty() {
        let (dim, plain) = (out.style(Style::Dim), out.style(Style::Plain));
        out.line(format_args!(
            "{dim}{:>10}  {:>10}  {:>12}  {:>10}  {:>10}  {:>6}  {:>6}  HANDLER{plain}",
            "NEXT", "LAG", "LAG TIME", "HANDLED", "PUT OUT", "EPOCH", "GEN"
        ))?;
    }
    for line in &handlers {
        let time = format!("{:.1} s", line.lag_seconds);
        let beside = if line.live { "" } else { "  shadow" };
        let (name, held) = (one_line(&line.handler), line.held(&out));
        out.line(format_args!(
            "{:>10}  {:>10}  {time:>12}  {:>10}  {:>10}  {:>6}  {:>6}  {name}{beside}{held}",
            line.cursor, line.lag_text, line.handled, line.emitted, line.epoch, line.generation
        ))?;
    }
    out.flush()?;
    if handlers.is_empty() {
        note("the log has no handlers: `annals handle LOG --name NAME --exec CMD` runs one");
    }
    for line in handlers.iter().filter(|line| line.asked) {
        note(format_args!("{} has not yet acted on what it was asked: it does when it runs next", line.handler));
    }
    Ok(Exit::Done)
}
