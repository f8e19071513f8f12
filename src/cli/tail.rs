//! `annals tail`: the last events of a log, and those that come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use clap::Args;

use crate::{Consumer, Event, Follow, Read, ReadError};

use super::cat::{moved, print};
use super::failure::{Exit, Failure};
use super::format::{FormatArgs, Printer};
use super::gap::told;
use super::output::note;
use super::position::Range;
use super::target::LogArg;
use super::time::parse_duration;
use super::wanted::{ConsumerArg, FilterArgs};

/// Whoever follows looks this often whether anybody still reads what it writes.
const LOOK_UP: Duration = Duration::from_millis(500);

/// So many events unless it is said.
const LAST: usize = 10;
/// So many events that come are written out before their reader is given them all.
const AT_ONCE: usize = 1024;

/// Show the last events; with -f also those that come, until Ctrl-C
///
/// An event is shown once it is durable. The writer may end, die and come back meanwhile: no event is left out and none is
/// shown twice.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    log: LogArg,
    /// So many of the last events [default: 10]
    #[arg(short = 'n', value_name = "N")]
    last: Option<usize>,
    /// Go on with the events that come
    #[arg(short, long)]
    follow: bool,
    /// With -f: end after so long, with exit code 124
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "follow")]
    timeout: Option<Duration>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    consumer: ConsumerArg,
    #[command(flatten)]
    format: FormatArgs,
}

impl TailArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let until = self.timeout.map(|timeout| Instant::now() + timeout);
        let shape = self.format.choose(json)?;
        let reader = self.log.reader()?;
        let last = self.last.unwrap_or(LAST);
        let mut consumer = self.consumer.open(&reader, &self.filter, self.last.is_some())?;
        let end = reader.durable_end()?;
        let mut printer = Printer::many(shape, end);
        let (range, filter) = match &consumer {
            Some(consumer) => (Range { from: consumer.cursor(), to: end }, consumer.filter()),
            None => (Range { from: reader.head()?, to: end }, self.filter.filter()),
        };
        if consumer.is_some() {
            let batches = reader.batches(range.from..range.to).matching(filter.clone());
            print(batches, range, u64::MAX, &mut printer, consumer.as_mut(), json)?;
        } else {
            let read = reader.read(range.from..end).matching(filter.clone()).backward();
            for event in last_of(read, last) {
                if event.is_err() {
                    printer.flush()?;
                }
                if let Some(event) = told(event, json)? {
                    printer.event(event.borrow())?;
                }
            }
            printer.flush()?;
        }
        if self.follow {
            let follow = reader.follow(end).matching(filter);
            return go_on(follow, until, &mut printer, consumer, json);
        }
        if printer.printed() == 0 && last > 0 {
            note(self.filter.nothing(range, end));
        }
        Ok(Exit::Done)
    }
}

/// The last events of a read that goes backward, in order, with the gaps among them.
fn last_of(read: Read, count: usize) -> VecDeque<Result<Event, ReadError>> {
    let (mut found, mut events) = (VecDeque::new(), 0);
    if count == 0 {
        return found;
    }
    for event in read {
        events += usize::from(event.is_ok());
        found.push_front(event);
        if events >= count {
            break;
        }
    }
    found
}

/// Writes out what comes, whenever nothing more is there at once.
fn go_on(
    mut follow: Follow,
    until: Option<Instant>,
    printer: &mut Printer,
    mut consumer: Option<Consumer>,
    json: bool,
) -> Result<Exit, Failure> {
    loop {
        for _ in 0..AT_ONCE {
            let Some(event) = follow.next_within(Duration::ZERO) else { break };
            if let Some(event) = told(event, json)? {
                printer.event(event.borrow())?;
            }
        }
        moved(printer, consumer.as_mut(), follow.next_offset())?;
        let left = until.map_or(LOOK_UP, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(Exit::TimedOut);
        }
        match follow.next_within(left.min(LOOK_UP)) {
            Some(event) => {
                if let Some(event) = told(event, json)? {
                    printer.event(event.borrow())?;
                }
            }
            None if printer.is_unheard() || follow.has_ended() => return Ok(Exit::Done),
            None => {}
        }
    }
}
