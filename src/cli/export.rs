//! `annals export`: the users' events of a log as lines that `annals import --format envelope` takes.

use clap::Args;

use crate::{Filter, Offset};

use super::envelope;
use super::failure::{Exit, Failure};
use super::gap::told;
use super::output::{Out, counted, json_for_terminal, note};
use super::position::{Range, RangeArgs};
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
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let reader = self.log.reader()?;
        let range = self.range.resolve(None, &reader)?;
        let mut out = Out::stdout();
        // On one terminal lines and bar would get into each other's way.
        let share = (!out.is_terminal()).then(|| Share::new(segment_bytes(reader.path()), range));
        let mut line = Vec::new();
        let mut events = 0u64;
        for batch in reader.batches(range.from..range.to).matching(Filter::new()) {
            if batch.is_err() {
                out.flush()?;
            }
            let Some(batch) = told(batch, json)? else { continue };
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
            if let Some(share) = &share {
                share.at(batch.next());
            }
        }
        out.flush()?;
        drop(share);
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
    progress: Progress,
    bytes: u64,
    range: Range,
}

impl Share {
    fn new(bytes: u64, range: Range) -> Self {
        Share { progress: Progress::of_bytes("exporting", Some(bytes)), bytes, range }
    }

    fn at(&self, offset: Offset) {
        let done = offset.raw().saturating_sub(self.range.from.raw());
        let all = (self.range.to.raw() - self.range.from.raw()).max(1);
        let share = u128::from(self.bytes) * u128::from(done) / u128::from(all);
        self.progress.at(u64::try_from(share).unwrap_or(self.bytes));
    }
}
