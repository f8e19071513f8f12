//! Asking something of a handler: what it comes to is said first, and only then is it written to the log.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::output::{Out, note, one_line};
use super::target::open_existing;
use crate::handler::Asked;
use crate::handler::standing::Standing;
use crate::{Control, LogReader, OpenError};

/// What verbs take that ask something of a handler.
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// Why; it is kept in the log with the request
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking back; needed where no terminal is there to ask at
    #[arg(short, long)]
    yes: bool,
}

/// A request, for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Request<'r> {
    pub handler: &'r str,
    pub generation: u32,
    /// pause, resume, skip, retry or drop.
    pub asked: &'static str,
    pub stream: Option<&'r str>,
    /// The event it is about; of several the first.
    pub offset: Option<u64>,
    /// How many events it is about.
    pub events: Option<u64>,
    pub reason: &'r str,
    pub dry_run: bool,
    /// Where it stands in the log.
    pub at: Option<u64>,
}

impl<'r> Request<'r> {
    pub(super) fn new(to: &'r Standing, asked: &'static str) -> Self {
        let (handler, generation) = (to.space.handler(), to.space.generation());
        let (stream, offset, events) = (None, None, None);
        Request { handler, generation, asked, stream, offset, events, reason: "", dry_run: false, at: None }
    }
}

/// How much care a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// Another request undoes it.
    Undoable,
    /// It is asked back before.
    Final,
}

impl AskArgs {
    /// Refuses options that are for requests only.
    pub(super) fn none_given(&self, what: &str) -> Result<(), Failure> {
        if self.reason.is_some() || self.dry_run || self.yes {
            return Err(Failure::usage(format!("{what} takes no --reason, --dry-run or --yes")));
        }
        Ok(())
    }

    /// The reason, which has to be there.
    pub(super) fn needs_reason(&self, what: &str) -> Result<(), Failure> {
        match self.reason.as_deref().map(str::trim) {
            None | Some("") => Err(Failure::usage(format!("{what} needs a --reason: it is kept in the log"))),
            Some(_) => Ok(()),
        }
    }

    /// Says what will be done, asks back, and appends the request.
    pub(super) fn ask<'r>(
        &'r self,
        log: &Path,
        mut request: Request<'r>,
        asked: &Asked,
        care: Care,
        says: &str,
        json: bool,
    ) -> Result<Exit, Failure> {
        request.reason = self.reason.as_deref().unwrap_or_default();
        request.dry_run = self.dry_run;
        if !json {
            note(format_args!("{}{says}", if self.dry_run { "would be done: " } else { "" }));
        }
        if self.dry_run {
            return answer(&request, json);
        }
        if care == Care::Final && !self.yes && !confirmed()? {
            note("nothing was done");
            return Ok(Exit::No);
        }
        let opened = open_existing(log).map_err(|failure| {
            failure.help("the process that runs the handler holds the log: ask when it has ended, or from within it")
        })?;
        let opened = opened.ok_or(OpenError::NotFound { path: log.to_owned() })?;
        let at = Control::new(opened.clone(), request.handler)?.ask(asked, request.reason)?;
        opened.close()?;
        request.at = Some(at.raw());
        if !json {
            note(format_args!("asked, at offset {at}; {} acts on it when it runs next", one_line(request.handler)));
        }
        answer(&request, json)
    }
}

fn answer(request: &Request<'_>, json: bool) -> Result<Exit, Failure> {
    if json {
        let mut out = Out::stdout();
        out.json(request)?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

/// Asks back at the terminal.
fn confirmed() -> Result<bool, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("nothing was done: there is no terminal to ask back at").help("--yes does it"));
    }
    let _ = write!(io::stderr().lock(), "go on? [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|error| Failure::io("cannot read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The live generation of a handler.
pub(super) fn live(reader: &LogReader, handler: &str) -> Result<Standing, Failure> {
    let found = Standing::live(reader, handler)?;
    let missing = || {
        Failure::new(Exit::NotFound, "handler_not_found", format!("there is no handler {handler:?} in this log"))
            .help("`annals handlers LOG` lists them")
    };
    found.ok_or_else(missing)
}
