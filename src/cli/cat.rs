//! `annals cat`: the events of a part of a log, up to the end seen at the start.

use std::ops::Bound;

use clap::Args;

use crate::{Batches, Consumer, Offset};

use super::failure::{Exit, Failure};
use super::format::{FormatArgs, Printer};
use super::gap::told;
use super::output::note;
use super::position::{Position, Range, RangeArgs, Time, parse_since, parse_time};
use super::target::LogArg;
use super::wanted::{ConsumerArg, FilterArgs};

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
    /// Only events that happened at or after this time, by their own word, which may go back along the log
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    happened_from: Option<Time>,
    /// Only events that happened before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    happened_to: Option<Time>,
    /// At most so many events
    #[arg(short = 'n', value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    consumer: ConsumerArg,
    #[command(flatten)]
    format: FormatArgs,
}

impl CatArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let shape = self.format.choose(json)?;
        let reader = self.log.reader()?;
        let mut consumer = self.consumer.open(&reader, &self.filter, self.range.is_given() || self.since.is_some())?;
        let (range, filter) = match &consumer {
            Some(consumer) => (Range { from: consumer.cursor(), to: reader.durable_end()? }, consumer.filter()),
            None => (self.range.resolve(self.since.as_ref(), &reader)?, self.filter.filter()),
        };
        let mut printer = Printer::many(shape, range.to);
        let limit = self.limit.unwrap_or(u64::MAX);
        let mut batches = reader.batches(range.from..range.to).matching(filter);
        let (from, to) = (&self.happened_from, &self.happened_to);
        if from.is_some() || to.is_some() {
            let bound = |time: &Time| time.at;
            batches = batches.happened((
                from.as_ref().map_or(Bound::Unbounded, |time| Bound::Included(bound(time))),
                to.as_ref().map_or(Bound::Unbounded, |time| Bound::Excluded(bound(time))),
            ));
        }
        print(batches, range, limit, &mut printer, consumer.as_mut(), json)?;
        if printer.printed() == 0 && limit > 0 {
            note(self.filter.nothing(range, reader.durable_end()?));
        }
        Ok(Exit::Done)
    }
}

/// Batches of a range, written out; behind every so many the cursor of a consumer is moved.
pub(super) fn print(
    batches: Batches,
    range: Range,
    limit: u64,
    printer: &mut Printer,
    mut consumer: Option<&mut Consumer>,
    json: bool,
) -> Result<(), Failure> {
    const EVENTS_A_COMMIT: u64 = 1024;
    if limit == 0 {
        return Ok(());
    }
    let mut committed = 0;
    for batch in batches {
        if batch.is_err() {
            // So that a gap is told of where it is.
            printer.flush()?;
        }
        let Some(batch) = told(batch, json)? else { continue };
        for event in batch.events() {
            printer.event(event)?;
            let next = event.offset().plus(1);
            // What lies behind the last one that was asked for is not read.
            if printer.printed() >= limit {
                return moved(printer, consumer, next);
            }
            if consumer.is_some() && printer.printed() - committed >= EVENTS_A_COMMIT {
                committed = printer.printed();
                moved(printer, consumer.as_deref_mut(), next)?;
            }
        }
    }
    moved(printer, consumer, range.to)
}

/// All before an offset was written out: hands it on, and then moves the cursor there.
pub(super) fn moved(printer: &mut Printer, consumer: Option<&mut Consumer>, next: Offset) -> Result<(), Failure> {
    printer.flush()?;
    match consumer {
        Some(consumer) if consumer.cursor() < next => Ok(consumer.commit(next)?),
        _ => Ok(()),
    }
}
