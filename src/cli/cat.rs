//! `annals cat`: the events of a part of a log, up to the end seen at the start.

use clap::Args;

use crate::{Filter, LogReader, Offset};

use super::failure::{Exit, Failure};
use super::format::{FormatArgs, Printer};
use super::output::{counted, note};
use super::position::{Position, Range, RangeArgs, parse_since};
use super::target::LogArg;

/// Show events, from first to last; ends at the end seen at the start
#[derive(Debug, Args)]
pub(super) struct CatArgs {
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    range: RangeArgs,
    /// From so long before now, or from a time: 2h, 2026-11-23
    #[arg(long, value_name = "WHEN", value_parser = parse_since, conflicts_with = "from", allow_hyphen_values = true)]
    since: Option<Position>,
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many events
    #[arg(short = 'n', value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Which events a verb is about.
#[derive(Debug, Args)]
struct FilterArgs {
    /// Only streams that match: `*` stands for any run of characters, a backslash takes the next one as it is;
    /// may be given again. A pattern that starts with `$` shows the log's own
    #[arg(long = "stream", value_name = "PATTERN")]
    streams: Vec<String>,
    /// Only types that match, by patterns like those of streams; may be given again
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// The log's own events too
    #[arg(long)]
    system: bool,
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        let filter = Filter::new().system(self.system).types(self.types.iter().map(String::as_str));
        self.streams.iter().fold(filter, |filter, pattern| filter.stream(pattern))
    }

    fn asks_for_some(&self) -> bool {
        !self.streams.is_empty() || !self.types.is_empty()
    }
}

impl CatArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let format = self.format.choose(json)?;
        let reader = self.log.reader()?;
        let range = self.range.resolve(self.since.as_ref(), &reader)?;
        let mut printer = Printer::many(format, range.to);
        let limit = self.limit.unwrap_or(u64::MAX);
        print(&reader, range, self.filter.filter(), limit, &mut printer)?;
        printer.finish()?;
        if printer.printed() == 0 && limit > 0 {
            note(nothing(range, reader.durable_end()?, &self.filter));
        }
        Ok(Exit::Done)
    }
}

fn print(reader: &LogReader, range: Range, filter: Filter, limit: u64, printer: &mut Printer) -> Result<(), Failure> {
    if limit == 0 {
        return Ok(());
    }
    for batch in reader.batches(range.from..range.to).matching(filter) {
        for event in batch?.events() {
            printer.event(event)?;
            // What lies behind the last one that was asked for is not read.
            if printer.printed() >= limit {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What was looked at in vain.
fn nothing(Range { from, to }: Range, end: Offset, filter: &FilterArgs) -> String {
    let looked_at = to.raw() - from.raw();
    if end == Offset::ZERO {
        return "the log has no events yet".to_owned();
    }
    match (looked_at, filter.asks_for_some()) {
        (0, _) => format!("there are no events in this range: it begins and ends at offset {to}"),
        (_, true) => {
            format!(
                "nothing matches: {} looked at, from offset {from} to {to} (exclusive)",
                counted(looked_at, "event")
            )
        }
        (_, false) => format!(
            "nothing but {} of the log's own, from offset {from} to {to} (exclusive); --system shows them",
            counted(looked_at, "event")
        ),
    }
}
