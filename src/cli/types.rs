//! `annals types`: which types the users' events have, and how many of each there are.

use clap::Args;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::output::{Out, Style, counted, note, one_line};
use super::target::LogArg;

/// List the types of the users' events with the number of each, by name
#[derive(Debug, Args)]
pub(super) struct TypesArgs {
    #[command(flatten)]
    log: LogArg,
}

/// A type for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct TypeLine<'t> {
    #[serde(rename = "type")]
    name: &'t str,
    events: u64,
}

impl TypesArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let reader = self.log.reader()?;
        let types = reader.types()?;
        let mut out = Out::stdout();
        if !json && !types.is_empty() {
            let (dim, plain) = (out.style(Style::Dim), out.style(Style::Plain));
            out.line(format_args!("{dim}{:>12}  TYPE{plain}", "EVENTS"))?;
        }
        for (name, events) in &types {
            if json {
                out.json(&TypeLine { name, events: *events })?;
            } else {
                out.line(format_args!("{events:>12}  {}", one_line(name)))?;
            }
        }
        out.flush()?;
        if types.is_empty() {
            let looked_at = reader.durable_end()?.raw() - reader.head()?.raw();
            note(format_args!("there are no events of users among the {} of the log", counted(looked_at, "event")));
        }
        Ok(Exit::Done)
    }
}
