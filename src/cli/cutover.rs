//! `annals cutover`: a new generation of a handler is built beside the live one, and then takes its place.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::handle::CommandArgs;
use super::output::{Out, note};
use super::progress::Progress;
use super::target::{log_and, open_existing, open_reader};
use crate::{LogReader, MemoryView, Offset, OpenError, Shadow, StateError, StateReader, Step};

/// Build a new generation of a handler beside the live one, and put it in its place
///
/// The plan is said first. Building puts nothing out; then one append stops the live generation, and each event's
/// outputs come from exactly one of the two. `annals handle --generation GEN` goes on from there. The same command
/// with the old number and the old code goes back.
#[derive(Debug, Args)]
#[command(override_usage = "annals cutover [OPTIONS] --to <GEN> --exec <CMD> [LOG] <HANDLER>")]
pub(super) struct CutoverArgs {
    /// Directory of the log; with ANNALS_LOG set it can be left out
    #[arg(value_name = "LOG")]
    first: Option<OsString>,
    /// Name of the handler
    #[arg(value_name = "HANDLER")]
    second: Option<OsString>,
    /// The generation that takes over
    #[arg(long, value_name = "GEN")]
    to: u32,
    /// Only say what would be done; nothing is appended
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    command: CommandArgs,
}

/// What there is to do.
struct Plan {
    handler: String,
    live: u32,
    live_cursor: Offset,
    to: u32,
    /// How far the new one is built already.
    built: Option<Offset>,
}

impl CutoverArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let (path, handler) = log_and(self.first, self.second, "HANDLER")?;
        let handler = handler.into_string().map_err(|_| Failure::usage("the name of a handler is UTF-8"))?;
        let plan = Plan::of(&open_reader(&path)?, handler, self.to)?;
        note(plan.text());
        if self.dry_run {
            plan.say(json, None)?;
            return Ok(Exit::Done);
        }
        if !self.yes && !agreed()? {
            return Err(Failure::usage("nothing was done: it was not agreed to").help("`--yes` does it without asking"));
        }
        let spec = self.command.spec(&plan.handler, self.to);
        let logic = self.command.logic(&plan.handler)?;
        let log = open_existing(&path)?.ok_or(OpenError::NotFound { path: path.clone() })?;
        let view = Arc::new(MemoryView::new());
        let mut shadow = Shadow::open_shared(Arc::new(log.clone()), view, spec, logic())?;
        let progress = Progress::of_events("building", Some(plan.live_cursor.raw()));
        loop {
            let step = shadow.step()?;
            progress.at(shadow.cursor().raw());
            match step {
                Step::Went { .. } => {}
                // What stands in the way is said by the cut-over.
                Step::Idle { .. } | Step::Paused { .. } => break,
            }
        }
        drop(progress);
        let at = shadow.cut_over()?;
        log.close()?;
        plan.say(json, Some(at))?;
        Ok(Exit::Done)
    }
}

impl Plan {
    fn of(reader: &LogReader, handler: String, to: u32) -> Result<Plan, Failure> {
        let (live, live_cursor) = {
            let state = StateReader::new(reader, &handler).open()?;
            (state.space().generation(), state.cursor())
        };
        if live == to {
            let message = format!("generation {to} of handler {handler:?} is the live one already");
            return Err(Failure::new(Exit::Conflict, "generation_live", message));
        }
        let built = match StateReader::new(reader, &handler).generation(to).open() {
            Ok(state) => Some(state.cursor()),
            Err(StateError::NoGeneration { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Plan { handler, live, live_cursor, to, built })
    }

    fn text(&self) -> String {
        let Plan { handler, live, live_cursor, to, built } = self;
        let from = built.map_or("from its beginning".to_owned(), |built| format!("from offset {built} on"));
        format!(
            "plan: build generation {to} of {handler:?} {from} up to offset {live_cursor}, where generation {live} is; \
             then {to} takes its place, and {live} is stopped"
        )
    }

    fn say(&self, json: bool, at: Option<Offset>) -> Result<(), Failure> {
        let mut out = Out::stdout();
        match at {
            _ if json => out.json(&json!({
                "handler": self.handler,
                "from": self.live,
                "to": self.to,
                "live_cursor": self.live_cursor.raw(),
                "built": self.built.map(Offset::raw),
                "cut_over": at.map(Offset::raw),
            }))?,
            Some(at) => out.line(format_args!("generation {} is live since offset {at}", self.to))?,
            None => out.line("nothing was done")?,
        }
        out.flush()
    }
}

/// Asks whoever sits there; nobody has not agreed.
fn agreed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    note("go on? [y/N]");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::io("cannot read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
