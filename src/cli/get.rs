//! `annals get`: one event, by its offset.

use std::ffi::OsString;

use clap::Args;

use crate::{LogReader, Offset};

use super::failure::{Exit, Failure};
use super::format::{FormatArgs, Printer};
use super::position::{self, Position};
use super::target::{log_and, open_reader};

/// Show the event at an offset
#[derive(Debug, Args)]
#[command(override_usage = "annals get [OPTIONS] [LOG] <OFFSET>")]
pub(super) struct GetArgs {
    /// Directory of the log; with ANNALS_LOG set it can be left out
    #[arg(value_name = "LOG")]
    first: Option<OsString>,
    /// Offset of the event; `end-1` is the last one
    #[arg(value_name = "OFFSET")]
    second: Option<OsString>,
    #[command(flatten)]
    format: FormatArgs,
}

impl GetArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let shape = self.format.choose(json)?;
        let (log, place) = log_and(self.first, self.second, "OFFSET")?;
        let place = position::parse(&place.to_string_lossy()).map_err(Failure::usage)?;
        let reader = open_reader(&log)?;
        let offset = offset_of(&place, &reader)?;
        let Some(event) = reader.get(offset)? else { return Err(not_there(&reader, offset)?) };
        let mut printer = Printer::one(shape, offset);
        printer.event(event.borrow())?;
        printer.flush()?;
        Ok(Exit::Done)
    }
}

/// Offsets are taken as they are: one behind the end is not the end.
fn offset_of(place: &Position, reader: &LogReader) -> Result<Offset, Failure> {
    match place {
        Position::Offset(offset) => Ok(*offset),
        place => place.resolve(reader, reader.durable_end()?),
    }
}

fn not_there(reader: &LogReader, offset: Offset) -> Result<Failure, Failure> {
    let (end, tail) = (reader.durable_end()?, reader.tail()?);
    let why = match (end == Offset::ZERO, offset < tail) {
        (_, true) => format!("it is not durable yet, the log is durable up to {end}"),
        (true, false) => "the log has no events yet".to_owned(),
        (false, false) => format!("the log ends before {end}"),
    };
    Ok(Failure::new(Exit::NotFound, "offset_not_found", format!("there is no event at offset {offset}: {why}")))
}
