//! `annals replay`: a handler's events handled again, and what comes of it held against its records.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::handle::CommandArgs;
use super::output::{Out, counted, note};
use super::position::{Position, parse};
use super::progress::Progress;
use super::reading::Reading;
use super::target::{log_and, open_reader};
use crate::{Difference, Outputs, Replay, ReplayReport, StateReader, Until, Verdict};

/// Handle a handler's events again, without appending anything, and say what state that makes
///
/// The command is the handler's code, as it was given to `annals handle`. With --verify rows and outputs have to be what
/// the handler's records say; the first difference is named, and is exit code 1, as is that there was nothing to
/// compare. Runs beside the process that writes the log.
#[derive(Debug, Args)]
#[command(override_usage = "annals replay [OPTIONS] --exec <CMD> [LOG] <HANDLER>")]
pub(super) struct ReplayArgs {
    /// Directory of the log; with ANNALS_LOG set it can be left out
    #[arg(value_name = "LOG")]
    first: Option<OsString>,
    /// Name of the handler
    #[arg(value_name = "HANDLER")]
    second: Option<OsString>,
    /// Only events before this position: an offset, end-100, #N, a time
    #[arg(long, value_name = "POS", value_parser = parse, allow_hyphen_values = true)]
    until: Option<Position>,
    /// Hold rows and outputs against the records
    #[arg(long)]
    verify: bool,
    /// Decide failures anew: what would the handler do now?
    #[arg(long, conflicts_with = "verify")]
    fresh: bool,
    /// The records of this generation; unless given, of the one that is live
    #[arg(long, value_name = "G")]
    generation: Option<u32>,
    #[command(flatten)]
    command: CommandArgs,
}

impl ReplayArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let (log, handler) = log_and(self.first, self.second, "HANDLER")?;
        let handler = handler.into_string().map_err(|_| Failure::usage("the name of a handler is UTF-8"))?;
        let reader = open_reader(&log)?;
        let generation = match self.generation {
            Some(generation) => generation,
            None => StateReader::new(&reader, &handler).open()?.space().generation(),
        };
        let until = self.until.map(|until| until.resolve(&reader, reader.durable_end()?)).transpose()?;
        let spec = self.command.spec(&handler, generation);
        let logic = self.command.logic(&handler)?;
        let started = Instant::now();
        let replay = Replay::with_logic(Arc::new(Reading::of(reader)?), spec, logic())
            .until(until.map_or(Until::End, Until::Offset))
            .outputs(if self.verify { Outputs::Compare } else { Outputs::Suppress })
            .fresh(self.fresh);
        let progress = Progress::of_events("replaying", None);
        let report = replay.run(|at| {
            let end = until.map_or(at.end, |until| until.min(at.end));
            progress.at_of(at.cursor.raw(), end.raw());
        })?;
        drop(progress);
        say(json, &report, started)?;
        Ok(match report.verdict {
            Verdict::Verified | Verdict::Made | Verdict::Fresh => Exit::Done,
            Verdict::Differs | Verdict::NotChecked => Exit::No,
        })
    }
}

fn say(json: bool, report: &ReplayReport, started: Instant) -> Result<(), Failure> {
    let mut out = Out::stdout();
    let verdict = match report.verdict {
        Verdict::Verified => "verified",
        Verdict::Differs => "differs",
        Verdict::NotChecked => "not_checked",
        Verdict::Made => "made",
        Verdict::Fresh => "fresh",
    };
    if json {
        out.json(&json!({
            "handler": report.handler,
            "generation": report.generation,
            "verdict": verdict,
            "difference": report.difference.as_ref().map(difference),
            "cursor": report.cursor.raw(),
            "records": report.records,
            "events": report.events,
            "outputs": report.outputs,
            "parked": report.parked,
            "rows": report.rows,
            "digest": report.digest.to_string(),
        }))?;
        return out.flush();
    }
    let seconds = started.elapsed().as_secs_f64();
    note(format_args!(
        "handled {} again  {}  {}  up to offset {} (exclusive)  digest {}  {seconds:.1} s",
        counted(report.events, "event"),
        counted(report.outputs, "output"),
        counted(report.rows, "row"),
        report.cursor,
        report.digest,
    ));
    match (&report.difference, report.verdict) {
        (Some(difference), _) => out.line(format_args!("differs: {difference}"))?,
        (None, Verdict::NotChecked) => out.line("not checked: no event was handled up to the end of a record")?,
        (None, Verdict::Verified) => out.line(format_args!("verified: {}", counted(report.records, "record")))?,
        (None, _) => out.line(verdict)?,
    }
    out.flush()
}

fn difference(difference: &Difference) -> Value {
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    let maybe = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map(text);
    let mut fields = match difference {
        Difference::NotHandled { record, event, why } => {
            json!({"kind": "not_handled", "record": record.raw(), "event": event.raw(), "why": why})
        }
        Difference::Row { record, event, key, recorded, replayed } => json!({
            "kind": "row", "record": record.raw(), "event": event.raw(),
            "key": text(key), "recorded": maybe(recorded), "replayed": maybe(replayed),
        }),
        Difference::Output { record, event, index, recorded, replayed } => json!({
            "kind": "output", "record": record.raw(), "event": event.map(crate::Offset::raw), "index": index,
            "recorded": recorded.as_ref().map(|put| text(&put.data)),
            "replayed": replayed.as_ref().map(|put| text(&put.data)),
        }),
        Difference::Effect { record, event, recorded, replayed } => json!({
            "kind": "effect", "record": record.raw(), "event": event.raw(),
            "recorded": recorded.as_ref().map(|(_, request)| text(request)),
            "replayed": replayed.as_ref().map(|(_, request)| text(request)),
        }),
        Difference::Digest { record, own, .. } => json!({"kind": "digest", "record": record.raw(), "own": own}),
    };
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("message".to_owned(), difference.to_string().into());
    }
    fields
}
