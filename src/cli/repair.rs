//! `annals repair`: what is wrong with a log, what is lost, and mending it.

use clap::Args;
use serde::Serialize;

use crate::{Anomaly, TouchedStream};

use super::failure::{Exit, Failure};
use super::output::{Out, Style, counted, note, one_line};
use super::target::LogArg;

/// Print what is wrong with a log and what mending it would do; with --apply, do it
///
/// Without --apply nothing is changed: exit code 0 when there is nothing to repair, 1 when there is. With --apply every
/// file that is replaced is copied to `repaired/` in the log's directory first. Damaged segments are written anew out
/// of their good batches; where events are lost, a gap takes their offsets, so that none is given twice and every
/// reader is told. Indexes are made again. Ended in between, run it again.
///
/// A torn tail that an interrupted write left behind holds nothing acknowledged: opening the log for writing cuts it,
/// and there is nothing to repair.
#[derive(Debug, Args)]
pub(super) struct RepairArgs {
    #[command(flatten)]
    log: LogArg,
    /// Do what the plan says
    #[arg(long)]
    apply: bool,
}

impl RepairArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let path = self.log.directory()?;
        let plan = crate::repair(path)?;
        let mut out = Out::stdout();
        if json {
            plan.anomalies().iter().try_for_each(|anomaly| out.json(&Line::of(anomaly)))?;
        } else {
            plan.anomalies().iter().try_for_each(|anomaly| text(anomaly, &mut out))?;
        }
        // The plan is seen before anything is done.
        out.flush()?;
        let nothing = plan.has_nothing_to_do();
        let sum = Sum::of(plan.anomalies());
        if nothing || !self.apply {
            let exit = if nothing { Exit::Done } else { Exit::No };
            end(&mut out, json, &End { applied: false, sound: nothing, kept: None, ..sum.end() })?;
            if !nothing && !json {
                note(format_args!("nothing was changed; `annals repair {} --apply` does it", path.display()));
            }
            return Ok(exit);
        }
        let repaired = plan.apply()?;
        let kept = repaired.kept.as_ref().map(|kept| kept.to_string_lossy().into_owned());
        let sound = repaired.verified.is_sound();
        end(&mut out, json, &End { applied: true, sound, kept, ..sum.end() })?;
        if sound {
            return Ok(Exit::Done);
        }
        let left: Vec<String> = repaired.verified.damage.iter().map(ToString::to_string).collect();
        let message = format!("the log is not sound after the repair: {}", left.join("; "));
        Err(Failure::new(Exit::Damaged, "not_repaired", message).help("the files of before are in `repaired/`"))
    }
}

/// What a plan comes to.
struct Sum {
    repairs: u64,
    events_lost: u64,
    at_least: bool,
}

impl Sum {
    fn of(anomalies: &[Anomaly]) -> Sum {
        Sum {
            repairs: anomalies.iter().filter(|anomaly| !anomaly.mended_by_open).count() as u64,
            events_lost: anomalies.iter().map(Anomaly::events_lost).sum(),
            at_least: anomalies.iter().any(|anomaly| anomaly.at_least),
        }
    }

    fn end(&self) -> End {
        let Sum { repairs, events_lost, at_least } = *self;
        End { summary: true, anomalies: repairs, events_lost, at_least, applied: false, sound: false, kept: None }
    }
}

/// The last line for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct End {
    summary: bool,
    anomalies: u64,
    events_lost: u64,
    at_least: bool,
    applied: bool,
    sound: bool,
    kept: Option<String>,
}

/// An anomaly for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct Line<'a> {
    kind: &'static str,
    file: String,
    byte: u64,
    byte_end: u64,
    /// The first offset that is lost, and the one after the last; equal when none is.
    first: u64,
    end: u64,
    events_lost: u64,
    at_least: bool,
    streams: Vec<Stream<'a>>,
    more_streams: u64,
    all_streams_known: bool,
    what: &'a str,
    action: &'a str,
    mended_by_open: bool,
}

#[derive(Debug, Serialize)]
struct Stream<'a> {
    stream: &'a str,
    events_lost: Option<u64>,
}

impl<'a> Line<'a> {
    fn of(anomaly: &'a Anomaly) -> Line<'a> {
        let stream = |touched: &'a TouchedStream| Stream { stream: &touched.name, events_lost: touched.lost };
        Line {
            kind: anomaly.kind.name(),
            file: anomaly.file.to_string_lossy().into_owned(),
            byte: anomaly.at,
            byte_end: anomaly.to,
            first: anomaly.first.raw(),
            end: anomaly.end.raw(),
            events_lost: anomaly.events_lost(),
            at_least: anomaly.at_least,
            streams: anomaly.streams.iter().map(stream).collect(),
            more_streams: anomaly.more_streams,
            all_streams_known: anomaly.all_streams_known,
            what: &anomaly.what,
            action: &anomaly.action,
            mended_by_open: anomaly.mended_by_open,
        }
    }
}

/// Streams named in a line for a person.
const NAMED: usize = 8;

fn text(anomaly: &Anomaly, out: &mut Out) -> Result<(), Failure> {
    let (bold, bad, plain) = (out.style(Style::Bold), out.style(Style::Bad), out.style(Style::Plain));
    let file = anomaly.file.to_string_lossy();
    let kind = anomaly.kind.name().replace('_', " ");
    let bytes = match anomaly.to > anomaly.at {
        true => format!("  bytes {} to {}", anomaly.at, anomaly.to),
        false => String::new(),
    };
    out.line(format_args!("{bold}{kind}{plain}  {}{bytes}  {}", one_line(&file), one_line(&anomaly.what)))?;
    let at_least = if anomaly.at_least { "at least " } else { "" };
    match anomaly.events_lost() {
        0 if anomaly.at_least => out.line("  lost: nothing that is known; nothing left says how far the log went")?,
        0 => {}
        events => {
            let events = counted(events, "event");
            let (first, end) = (anomaly.first, anomaly.end);
            out.line(format_args!("  {bad}lost{plain}: {at_least}{events}, offsets {first} to {end} (exclusive)"))?;
            out.line(format_args!("  streams: {}", streams(anomaly)))?;
        }
    }
    out.line(format_args!("  repair: {}", one_line(&anomaly.action)))
}

fn streams(anomaly: &Anomaly) -> String {
    let one = |touched: &TouchedStream| match touched.lost {
        Some(lost) => format!("{} ({})", one_line(&touched.name), counted(lost, "event")),
        None => one_line(&touched.name).into_owned(),
    };
    let mut named: Vec<String> = anomaly.streams.iter().take(NAMED).map(one).collect();
    let more = anomaly.streams.len().saturating_sub(NAMED) as u64 + anomaly.more_streams;
    if more > 0 {
        named.push(format!("{more} more"));
    }
    match (named.is_empty(), anomaly.all_streams_known) {
        (true, _) => "not known, any may have lost events".to_owned(),
        (false, true) => named.join(", "),
        (false, false) => format!("{}; others may have lost events too", named.join(", ")),
    }
}

fn end(out: &mut Out, json: bool, end: &End) -> Result<(), Failure> {
    if json {
        out.json(end)?;
        return out.flush();
    }
    let (good, bad, plain) = (out.style(Style::Good), out.style(Style::Bad), out.style(Style::Plain));
    let places = counted(end.anomalies, "anomaly").replace("anomalys", "anomalies");
    let at_least = if end.at_least { "at least " } else { "" };
    let lost = format!("{at_least}{} lost", counted(end.events_lost, "event"));
    match (end.applied, end.sound) {
        (false, true) => out.line(format_args!("{good}nothing to repair{plain}"))?,
        (false, false) => out.line(format_args!("{bad}to be repaired{plain}: {places}, {lost}"))?,
        (true, sound) => {
            let (style, word) = if sound { (good, "repaired") } else { (bad, "not repaired") };
            out.line(format_args!("{style}{word}{plain}: {places}, {lost}"))?;
            if let Some(kept) = &end.kept {
                out.line(format_args!("what was replaced is kept in {}", one_line(kept)))?;
            }
        }
    }
    out.flush()
}
