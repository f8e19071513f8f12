//! `annals verify`: every byte of a log, read and checked.

use std::borrow::Cow;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::{Damage, VerifyReport};

use super::failure::{Exit, Failure};
use super::output::{Out, Style, counted, note, one_line};
use super::progress::Progress;
use super::target::LogArg;

/// Read every byte of a log and check it: sound (exit code 0) or damaged (1)
///
/// Beside the process that writes the log it checks up to the end seen at the start. It changes nothing. What an
/// interrupted write left behind holds nothing that was acknowledged: it is noted, and is no damage.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    log: LogArg,
}

impl VerifyArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let path = self.log.directory()?;
        let progress = Progress::of_bytes("verifying", Some(0));
        let report = crate::verify(path, &mut |done, all| progress.at_of(done, all))?;
        drop(progress);
        let mut out = Out::stdout();
        if json {
            out.json(&ReportLine::of(&report))?;
        } else {
            report.notes.iter().for_each(note);
            text(&report, &mut out)?;
        }
        out.flush()?;
        Ok(if report.is_sound() { Exit::Done } else { Exit::No })
    }
}

/// The answer for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct ReportLine<'r> {
    sound: bool,
    log_id: Option<String>,
    files: u64,
    bytes: u64,
    batches: u64,
    events: u64,
    damage: Vec<DamageLine<'r>>,
    notes: &'r [String],
}

#[derive(Debug, Serialize)]
struct DamageLine<'r> {
    file: Cow<'r, str>,
    byte: u64,
    /// The first offset that is affected, and the one after the last; equal when none is.
    first: u64,
    end: u64,
    what: &'r str,
}

impl<'r> ReportLine<'r> {
    fn of(report: &'r VerifyReport) -> Self {
        let damage = |damage: &'r Damage| DamageLine {
            file: damage.file.to_string_lossy(),
            byte: damage.at,
            first: damage.first.raw(),
            end: damage.end.raw(),
            what: &damage.what,
        };
        ReportLine {
            sound: report.is_sound(),
            log_id: report.log_id.map(|id| id.to_string()),
            files: report.files,
            bytes: report.bytes,
            batches: report.batches,
            events: report.events,
            damage: report.damage.iter().map(damage).collect(),
            notes: &report.notes,
        }
    }
}

fn text(report: &VerifyReport, out: &mut Out) -> Result<(), Failure> {
    let (good, bad, plain) = (out.style(Style::Good), out.style(Style::Bad), out.style(Style::Plain));
    for damage in &report.damage {
        let events = match damage.end.raw() - damage.first.raw() {
            0 => "no event".to_owned(),
            1 => format!("offset {}", damage.first),
            n => format!("offsets {} to {} (exclusive), {} events", damage.first, damage.end, HumanCount(n)),
        };
        let (file, what) = (damage.file.to_string_lossy(), one_line(&damage.what));
        out.line(format_args!("{bad}damage{plain}  {}  byte {}  {events}  {what}", one_line(&file), damage.at))?;
    }
    let seen = format!(
        "{}; {} in {} read",
        counted(report.events, "good event"),
        HumanBytes(report.bytes),
        counted(report.files, "file"),
    );
    match report.damage.len() as u64 {
        0 => out.line(format_args!("{good}sound{plain}  {seen}")),
        places => out.line(format_args!("{bad}damaged{plain} in {}  {seen}", counted(places, "place"))),
    }
}
