//! `annals consumers` and `annals lag`: who reads the log under a name, and how far each has got.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::{ConsumerInfo, LogReader, Timestamp};

use super::failure::{Exit, Failure};
use super::handlers::HandlerLine;
use super::output::{Out, Style, note, one_line};
use super::position::{self, Position};
use super::target::{LogArg, log_and_words, log_variable, open_reader};
use super::time::rfc3339;

/// List the consumers of a log, set the cursor of one, or remove it
///
/// `annals consumers LOG` lists them, `annals consumers LOG set NAME POS` puts one at a position (and makes it when it is not
/// there), `annals consumers LOG rm NAME` forgets one.
#[derive(Debug, Args)]
#[command(override_usage = "annals consumers [OPTIONS] [LOG] [set <NAME> <POS> | rm <NAME>]")]
pub(super) struct ConsumersArgs {
    /// Directory of the log; with ANNALS_LOG set it can be left out. Then `set NAME POS` or `rm NAME`
    #[arg(value_name = "LOG [set NAME POS|rm NAME]", num_args = 0..=4)]
    words: Vec<OsString>,
}

/// Show how far the consumers and handlers of a log lie behind it; exit code 1 when one lies too far
///
/// Of a handler users' events are counted, and it goes by the name of its stream. What it has set aside is shown, and is not
/// counted: `annals park` tells more.
#[derive(Debug, Args)]
pub(super) struct LagArgs {
    #[command(flatten)]
    log: LogArg,
    /// Exit code 1 when more than so many events are left for one, or when one cannot go on
    #[arg(long, value_name = "N")]
    max: Option<u64>,
}

/// What is to be done with a consumer.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    List,
    Set { name: String, at: String },
    Remove { name: String },
}

impl ConsumersArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let (log, wish) = understand(&self.words, log_variable())?;
        let reader = open_reader(&log)?;
        match wish {
            Wish::List => {
                let consumers = reader.consumers()?;
                list(&consumers, &[], json)?;
                if consumers.is_empty() {
                    note("the log has no consumers: `annals cat LOG --consumer NAME` makes one");
                }
            }
            Wish::Set { name, at } => {
                let place = position::parse(&at).map_err(Failure::usage)?;
                let next = match place {
                    // Taken as it is: one behind the end is refused.
                    Position::Offset(offset) => offset,
                    place => place.resolve(&reader, reader.durable_end()?)?,
                };
                reader.consumer_at(&name, next)?;
                note(format_args!("consumer {name} goes on with offset {next}"));
            }
            Wish::Remove { name } => remove(&reader, &name)?,
        }
        Ok(Exit::Done)
    }
}

/// Tells LOG and what is wished apart: with ANNALS_LOG set, LOG may be left out.
fn understand(words: &[OsString], variable: Option<OsString>) -> Result<(PathBuf, Wish), Failure> {
    let text = |word: &OsStr| word.to_string_lossy().into_owned();
    let wish = |words: &[OsString]| match words {
        [] => Some(Wish::List),
        [verb, name, at] if verb == "set" => Some(Wish::Set { name: text(name), at: text(at) }),
        [verb, name] if verb == "rm" => Some(Wish::Remove { name: text(name) }),
        _ => None,
    };
    log_and_words(words, variable, wish, "nothing, `set NAME POS` or `rm NAME`")
}

fn remove(reader: &LogReader, name: &str) -> Result<(), Failure> {
    if reader.remove_consumer(name)? {
        note(format_args!("consumer {name} is forgotten"));
        return Ok(());
    }
    Err(Failure::new(Exit::NotFound, "consumer_not_found", format!("the log has no consumer `{name}`")))
}

impl LagArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let reader = self.log.reader()?;
        let (consumers, handlers) = (reader.consumers()?, HandlerLine::all(&reader)?);
        list(&consumers, &handlers, json)?;
        if consumers.is_empty() && handlers.is_empty() {
            note("the log has no consumers and no handlers, and so nothing lies behind");
        }
        let is_too_far = |lag: u64, is_stuck: bool| self.max.is_some_and(|max| lag > max || is_stuck);
        let too_far = consumers.iter().any(|consumer| is_too_far(consumer.lag, consumer.refusal.is_some()))
            || handlers.iter().any(|handler| is_too_far(handler.lag, handler.paused.is_some()));
        Ok(if too_far { Exit::No } else { Exit::Done })
    }
}

/// A consumer for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct ConsumerLine<'c> {
    consumer: &'c str,
    /// The offset it goes on with.
    next: u64,
    /// Offsets that are left for it, those included that its filter leaves out.
    lag: u64,
    /// How long the first of them has been there.
    lag_seconds: f64,
    waiting_since: Option<String>,
    /// Why it cannot go on.
    refusal: Option<String>,
}

impl<'c> ConsumerLine<'c> {
    fn of(info: &'c ConsumerInfo) -> Self {
        ConsumerLine {
            consumer: &info.name,
            next: info.next.raw(),
            lag: info.lag,
            lag_seconds: lag_seconds(info),
            waiting_since: info.waiting_since.map(rfc3339),
            refusal: info.refusal.as_ref().map(ToString::to_string),
        }
    }
}

fn lag_seconds(info: &ConsumerInfo) -> f64 {
    let waited = |since: Timestamp| Timestamp::now().as_micros().saturating_sub(since.as_micros()).max(0);
    info.waiting_since.map_or(0.0, |since| waited(since) as f64 / 1e6)
}

fn list(consumers: &[ConsumerInfo], handlers: &[HandlerLine], json: bool) -> Result<(), Failure> {
    let mut out = Out::stdout();
    let is_empty = consumers.is_empty() && handlers.is_empty();
    if !json && !is_empty {
        let (dim, plain) = (out.style(Style::Dim), out.style(Style::Plain));
        out.line(format_args!("{dim}{:>10}  {:>10}  {:>12}  CONSUMER{plain}", "NEXT", "LAG", "LAG TIME"))?;
    }
    for info in consumers {
        if json {
            out.json(&ConsumerLine::of(info))?;
            continue;
        }
        let (bad, plain) = (out.style(Style::Bad), out.style(Style::Plain));
        let time = format!("{:.1} s", lag_seconds(info));
        let why = info
            .refusal
            .as_ref()
            .map_or_else(String::new, |why| format!("  {bad}{}{plain}", one_line(&why.to_string())));
        out.line(format_args!("{:>10}  {:>10}  {time:>12}  {}{why}", info.next, info.lag, one_line(&info.name)))?;
    }
    for line in handlers {
        if json {
            out.json(line)?;
            continue;
        }
        let time = format!("{:.1} s", line.lag_seconds);
        let (name, held) = (one_line(&line.stream), line.held(&out));
        out.line(format_args!("{:>10}  {:>10}  {time:>12}  {name}{held}", line.cursor, line.lag_text))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_may_be_left_out_where_the_variable_names_it() {
        let understood = |words: &[&str], variable: Option<&str>| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            understand(&words, variable.map(OsString::from))
                .ok()
                .map(|(log, wish)| (log.to_str().unwrap().to_owned(), wish))
        };
        let set = || Wish::Set { name: "n".to_owned(), at: "end".to_owned() };
        let remove = || Wish::Remove { name: "n".to_owned() };
        for (words, wish) in [(&[][..], Wish::List), (&["set", "n", "end"], set()), (&["rm", "n"], remove())] {
            let with_log = [&["log"], words].concat();
            assert_eq!(understood(&with_log, Some("other")), Some(("log".to_owned(), wish)));
        }
        assert_eq!(understood(&["set", "n", "end"], Some("other")), Some(("other".to_owned(), set())));
        assert_eq!(understood(&["rm", "n"], Some("other")), Some(("other".to_owned(), remove())));
        assert_eq!(understood(&["rm", "n"], None), None);
        assert_eq!(understood(&["log", "set", "n"], None), None);
        assert_eq!(understood(&[], None), None);
    }
}
