//! `annals export`: the users' events of a log as lines that `annals import --format envelope` takes.

use clap::Args;

use crate::Filter;

use super::envelope;
use super::failure::{Exit, Failure};
use super::output::{Out, counted, json_for_terminal, note};
use super::position::RangeArgs;
use super::progress::Progress;
use super::target::{LogArg, segment_bytes};

/// Write the users' events to stdout as JSON, one a line, for `annals import --format envelope`
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    range: RangeArgs,
}

impl ExportArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let reader = self.log.reader()?;
        let range = self.range.resolve(None, &reader)?;
        let mut out = Out::stdout();
        // On one terminal lines and bar would get into each other's way.
        let progress =
            (!out.is_terminal()).then(|| Share::new(segment_bytes(reader.path()), range.from.raw(), range.to.raw()));
        let mut line = Vec::new();
        let mut events = 0u64;
        for batch in reader.batches(range.from..range.to).matching(Filter::new()) {
            let batch = batch?;
            for event in batch.events() {
                line.clear();
                envelope::encode(event, &mut line)?;
                line.push(b'\n');
                if out.is_terminal() {
                    out.write(json_for_terminal(&String::from_utf8_lossy(&line)).as_bytes())?;
                } else {
                    out.write(&line)?;
                }
                events += 1;
            }
            if let Some(progress) = &progress {
                progress.at(batch.next().raw());
            }
        }
        out.flush()?;
        drop(progress);
        note(format_args!(
            "exported {}, from offset {} to {} (exclusive), of {}",
            counted(events, "event"),
            range.from,
            range.to,
            self.log.path().display()
        ));
        Ok(Exit::Done)
    }
}

/// A bar over the bytes that the events take on disk, as if all took the same.
struct Share {
    bar: Progress,
    bytes: u64,
    from: u64,
    to: u64,
}

impl Share {
    fn new(bytes: u64, from: u64, to: u64) -> Self {
        Share { bar: Progress::of_bytes("exporting", Some(bytes)), bytes, from, to }
    }

    fn at(&self, offset: u64) {
        let share = u128::from(self.bytes) * u128::from(offset.saturating_sub(self.from))
            / u128::from(self.to.saturating_sub(self.from).max(1));
        self.bar.at(u64::try_from(share).unwrap_or(self.bytes));
    }
}
