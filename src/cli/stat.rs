//! `annals stat`: what is in a log, in numbers.

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::{SegmentStat, Stat, Timestamp};

use super::failure::{Exit, Failure};
use super::output::{Out, Style, counted, one_line};
use super::target::LogArg;
use super::time::{readable, rfc3339};

/// Show what is in a log: events, streams, types, times, segments, and who writes it
#[derive(Debug, Args)]
pub(super) struct StatArgs {
    #[command(flatten)]
    log: LogArg,
}

impl StatArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        // All indexes are gone through side by side: mapped, they take no memory, however many there are.
        let stat = self.log.mapped_reader()?.stat()?;
        let mut out = Out::stdout();
        if json {
            out.json(&StatLine::of(&stat))?;
        } else {
            text(&stat, &self.log.path().to_string_lossy(), &mut out)?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

/// The answer for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct StatLine {
    log_id: String,
    events: u64,
    system_events: u64,
    streams: u64,
    types: u64,
    segments: usize,
    bytes: u64,
    data_bytes: u64,
    head: u64,
    durable_end: u64,
    tail: u64,
    tail_epoch: u32,
    lost_events: u64,
    first_recorded: Option<String>,
    last_recorded: Option<String>,
    first_time: Option<String>,
    last_time: Option<String>,
    writer: Option<WriterLine>,
    segment_list: Vec<SegmentLine>,
}

#[derive(Debug, Serialize)]
struct WriterLine {
    pid: u32,
    running: bool,
}

#[derive(Debug, Serialize)]
struct SegmentLine {
    base: u64,
    end: u64,
    bytes: u64,
    sealed: bool,
}

impl StatLine {
    fn of(stat: &Stat) -> Self {
        let time = |time: Option<Timestamp>| time.map(rfc3339);
        let segment = |segment: &SegmentStat| SegmentLine {
            base: segment.base.raw(),
            end: segment.end.raw(),
            bytes: segment.bytes,
            sealed: segment.sealed,
        };
        StatLine {
            log_id: stat.log_id.to_string(),
            events: stat.events,
            system_events: stat.system_events,
            streams: stat.streams,
            types: stat.types,
            segments: stat.segments.len(),
            bytes: stat.bytes,
            data_bytes: stat.data_bytes,
            head: stat.head.raw(),
            durable_end: stat.durable_end.raw(),
            tail: stat.tail.raw(),
            tail_epoch: stat.tail_epoch.raw(),
            lost_events: stat.lost_events,
            first_recorded: time(stat.first_recorded),
            last_recorded: time(stat.last_recorded),
            first_time: time(stat.first_time),
            last_time: time(stat.last_time),
            writer: stat.writer.map(|writer| WriterLine { pid: writer.pid, running: writer.running }),
            segment_list: stat.segments.iter().map(segment).collect(),
        }
    }
}

fn text(stat: &Stat, path: &str, out: &mut Out) -> Result<(), Failure> {
    let writer = match stat.writer {
        Some(writer) => format!("pid {} ({})", writer.pid, if writer.running { "running" } else { "ended" }),
        None => "not known".to_owned(),
    };
    out.line(format_args!("log      {}   id {}   writer: {writer}", one_line(path), stat.log_id))?;
    out.line(format_args!(
        "events   {} in {}, of {}, with {} of data",
        HumanCount(stat.events),
        counted(stat.streams, "stream"),
        counted(stat.types, "type"),
        HumanBytes(stat.data_bytes),
    ))?;
    out.line(format_args!(
        "offsets  {} to {} (exclusive), {} of the log's own among them   tail {}   tail epoch {}",
        stat.head,
        stat.durable_end,
        counted(stat.system_events, "event"),
        stat.tail,
        stat.tail_epoch.raw(),
    ))?;
    if stat.lost_events > 0 {
        out.line(format_args!("lost     {}, given up by repairs", counted(stat.lost_events, "event")))?;
    }
    if let (Some(first), Some(last)) = (stat.first_time, stat.last_time) {
        out.line(format_args!("time     {} .. {} UTC", readable(first), readable(last)))?;
    }
    if let (Some(first), Some(last)) = (stat.first_recorded, stat.last_recorded) {
        out.line(format_args!("recorded {} .. {} UTC", readable(first), readable(last)))?;
    }
    out.line(format_args!(
        "disk     {} in {}",
        HumanBytes(stat.bytes),
        counted(stat.segments.len() as u64, "segment")
    ))?;
    segments(stat, out)
}

fn segments(stat: &Stat, out: &mut Out) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["SEGMENT", "EVENTS", "SIZE", "STATE"]);
    for segment in &stat.segments {
        table.add_row([
            format!("{:020}", segment.base.raw()),
            HumanCount(segment.end.raw() - segment.base.raw()).to_string(),
            HumanBytes(segment.bytes).to_string(),
            if segment.sealed { "sealed" } else { "active" }.to_owned(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if matches!(column.index, 1 | 2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.to_string();
    for (line, text) in lines.lines().enumerate() {
        let (dim, plain) = if line == 0 { (out.style(Style::Dim), out.style(Style::Plain)) } else { ("", "") };
        out.line(format_args!("{dim}{}{plain}", text.trim_end()))?;
    }
    Ok(())
}
