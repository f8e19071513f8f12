//! `annals bench`: appends at a rate, measures from the intended start, and reads back what it wrote.
//!
//! Open loop: when event n is due is fixed beforehand, and its latency counts from there. A log that stalls is
//! charged for all events that had to wait meanwhile, not only for the one it stalled on.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::{Append, Durability, Event, Filter, Log, LogReader, NewEvent, Offset, OpenError, Receipt};

use super::failure::{Exit, Failure};
use super::machine;
use super::output::{Out, Style, counted, note};
use super::target::{LogArg, open_writer};
use super::time::parse_duration;

/// The type of its events; a log that holds others is somebody's.
const TYPE: &str = "Benched";
/// Receipts that wait at most: behind them appending waits too, and the events are charged for it.
const IN_FLIGHT_MAX: usize = 1 << 16;
/// The last stretch before an event is due, in which sleeping would be too coarse.
const SPIN: Duration = Duration::from_micros(100);
/// What payloads are cut from.
const NOISE_BYTES: usize = 1 << 16;

/// Append at a rate, measure each event from when it was due, and check that all can be read back
///
/// Makes the log, or goes on in one that it made before; it stays there for a look. On a machine that cannot keep the
/// rate the latencies grow with the time, as they would for a user.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    log: LogArg,
    /// Events a second: 500, 20k, 1M
    #[arg(long, default_value = "10k", value_parser = parse_rate)]
    rate: u64,
    /// How long: 10s, 2m
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    duration: Duration,
    /// Bytes of data of an event
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    size: u32,
    /// What an event has to survive before it counts as appended
    #[arg(long, default_value = "disk")]
    durability: Kept,
    /// Streams to spread the events over
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    streams: u32,
    /// Also in a log that holds events of others: they stay, and these stay behind them
    #[arg(long)]
    beside_others: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kept {
    /// A power cut
    Disk,
    /// kill -9
    Os,
}

/// `500`, `20k`, `1M`.
fn parse_rate(text: &str) -> Result<u64, String> {
    let (digits, times) = match text.strip_suffix(['k', 'M']) {
        Some(digits) => (digits, if text.ends_with('k') { 1_000 } else { 1_000_000 }),
        None => (text, 1),
    };
    let rate = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(times));
    rate.filter(|rate| (1..=100_000_000).contains(rate))
        .ok_or_else(|| format!("`{text}` is no rate: use a number from 1 to 100M, like 500, 20k or 1M"))
}

impl BenchArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        if !self.beside_others {
            refuse_events_of_others(self.log.path())?;
        }
        let machine = machine::line(self.log.path());
        let log = open_writer(self.log.path())?;
        let written = self.append(&log)?;
        log.close()?;
        let read = read_back(self.log.path(), &written)?;
        let report = Report::new(&self, machine, &written, &read);
        let mut out = Out::stdout();
        if json {
            out.json(&report)?;
        } else {
            report.text(&mut out)?;
        }
        out.flush()?;
        Ok(if report.equal { Exit::Done } else { Exit::No })
    }

    /// Appends each event when it is due; another thread waits for them.
    fn append(&self, log: &Log) -> Result<Written, Failure> {
        let events = u64::try_from(self.duration.as_nanos() * u128::from(self.rate) / 1_000_000_000);
        let events = events.map_err(|_| Failure::usage("so many events fit no log"))?.max(1);
        let load = Load::new(self);
        let mut hash = Xxh3::new();
        let first = log.tail();
        let start = Instant::now();
        let due = |n: u64| {
            let nanos = u128::from(n) * 1_000_000_000 / u128::from(self.rate);
            start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        let latency = std::thread::scope(|scope| {
            let (give, take) = sync_channel(IN_FLIGHT_MAX);
            let waiter = scope.spawn(move || wait_for_all(&take));
            for n in 0..events {
                let due = due(n);
                wait_until(due);
                let event = load.event(n);
                take_note(&mut hash, &event.stream, &event.data);
                let receipt = log.append(Append::new().event(event).durability(load.durability))?;
                if give.send((due, receipt)).is_err() {
                    break; // the waiter says why it is gone
                }
            }
            drop(give);
            waiter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let took = start.elapsed();
        Ok(Written { first, next: log.tail(), hash: hash.digest128(), events, took, latency })
    }
}

fn refuse_events_of_others(path: &Path) -> Result<(), Failure> {
    let reader = match LogReader::open(path) {
        Ok(reader) => reader,
        Err(OpenError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for batch in reader.batches(..).matching(Filter::new()) {
        if let Some(event) = batch?.events().find(|event| !event.is_system() && event.event_type() != TYPE) {
            return Err(Failure::new(
                Exit::Conflict,
                "events_of_others",
                format!("{} holds events that are not a bench's, as at offset {}", path.display(), event.offset()),
            )
            .help("name another directory; `--beside-others` appends to this log, and what is appended stays"));
        }
    }
    Ok(())
}

fn wait_until(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(SPIN) {
            Some(sleep) if !sleep.is_zero() => std::thread::sleep(sleep),
            _ => std::thread::yield_now(),
        }
    }
}

fn wait_for_all(receipts: &Receiver<(Instant, Receipt)>) -> Result<Histogram<u64>, Failure> {
    // Three digits of nanoseconds, up to ten minutes; what is longer counts as that.
    let mut latency = Histogram::new_with_bounds(1, 600_000_000_000, 3).map_err(Failure::usage)?;
    for (due, receipt) in receipts {
        receipt.wait()?;
        latency.saturating_record(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(latency)
}

/// What is appended: payloads without a pattern that a disk could make use of, each with its number.
struct Load {
    names: Vec<String>,
    noise: Vec<u8>,
    size: usize,
    durability: Durability,
}

impl Load {
    fn new(args: &BenchArgs) -> Self {
        let size = args.size as usize;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        Load {
            names: (0..args.streams).map(|n| format!("bench-{n}")).collect(),
            noise: noise.take(NOISE_BYTES + size).collect(),
            size,
            durability: match args.durability {
                Kept::Disk => Durability::Disk,
                Kept::Os => Durability::Os,
            },
        }
    }

    fn event(&self, n: u64) -> NewEvent<'_> {
        let stream = self.names.get((n % self.names.len() as u64) as usize).map_or("bench", String::as_str);
        let from = (n.wrapping_mul(7919) % NOISE_BYTES as u64) as usize;
        let mut data = self.noise.get(from..from + self.size).unwrap_or_default().to_vec();
        for (byte, number) in data.iter_mut().zip(n.to_le_bytes()) {
            *byte = number;
        }
        Event::new(stream, TYPE).data(data)
    }
}

/// Both where events are written and where they are read.
fn take_note(hash: &mut Xxh3, stream: &str, data: &[u8]) {
    hash.update(&(stream.len() as u64).to_le_bytes());
    hash.update(stream.as_bytes());
    hash.update(&(data.len() as u64).to_le_bytes());
    hash.update(data);
}

struct Written {
    first: Offset,
    next: Offset,
    hash: u128,
    events: u64,
    took: Duration,
    latency: Histogram<u64>,
}

struct ReadBack {
    events: u64,
    batches: u64,
    hash: u128,
}

/// Reads the events from the files.
fn read_back(path: &Path, written: &Written) -> Result<ReadBack, Failure> {
    let mut hash = Xxh3::new();
    let (mut events, mut batches) = (0, 0);
    for batch in LogReader::open(path)?.batches(written.first..written.next).matching(Filter::new()) {
        batches += 1;
        for event in batch?.events() {
            events += 1;
            take_note(&mut hash, event.stream(), event.data());
        }
    }
    Ok(ReadBack { events, batches, hash: hash.digest128() })
}

/// The answer for scripts. Keys are only ever added.
#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    size: u32,
    durability: &'static str,
    streams: u32,
    rate_asked: u64,
    rate: f64,
    seconds: f64,
    written: u64,
    read_back: u64,
    equal: bool,
    batches: u64,
    latency_from: &'static str,
    latency_us: Latency,
}

/// In microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Report {
    fn new(args: &BenchArgs, machine: String, written: &Written, read: &ReadBack) -> Self {
        let us = |nanos: u64| nanos as f64 / 1000.0;
        let at = |quantile| us(written.latency.value_at_quantile(quantile));
        Report {
            machine,
            size: args.size,
            durability: match args.durability {
                Kept::Disk => "disk",
                Kept::Os => "os",
            },
            streams: args.streams,
            rate_asked: args.rate,
            rate: written.events as f64 / written.took.as_secs_f64(),
            seconds: written.took.as_secs_f64(),
            written: written.events,
            read_back: read.events,
            equal: (written.events, written.hash) == (read.events, read.hash),
            batches: read.batches,
            latency_from: "intended start",
            latency_us: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: us(written.latency.max()),
            },
        }
    }

    fn text(&self, out: &mut Out) -> Result<(), Failure> {
        const MET: f64 = 0.99;
        note(&self.machine);
        let (good, bad, plain) = (out.style(Style::Good), out.style(Style::Bad), out.style(Style::Plain));
        let bytes = (self.rate * f64::from(self.size)) as u64;
        let rate = HumanCount(self.rate as u64);
        let met = if self.rate >= MET * self.rate_asked as f64 {
            format!("{good}rate met{plain}")
        } else {
            format!("{bad}{}/s were asked for{plain}", HumanCount(self.rate_asked))
        };
        out.line(format_args!(
            "append   {rate}/s for {:.1} s  {}/s of data  {} bytes each, {}  {met}",
            self.seconds,
            HumanBytes(bytes),
            self.size,
            self.durability
        ))?;
        let Latency { p50, p90, p99, p999, max } = &self.latency_us;
        let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(|us| readable(*us));
        out.line(format_args!(
            "latency  p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}  from the intended start"
        ))?;
        let batch = self.read_back as f64 / self.batches.max(1) as f64;
        let (equal, written) = (self.equal, counted(self.written, "event"));
        out.line(format_args!(
            "check    {written} written, {} read back, {}  {batch:.1} a batch",
            HumanCount(self.read_back),
            if equal { format!("{good}hash equal{plain}") } else { format!("{bad}hash NOT equal{plain}") },
        ))
    }
}

fn readable(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1_000.0),
        us => format!("{:.2} s", us / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_said() {
        assert_eq!(["500", "20k", "1M"].map(parse_rate), [Ok(500), Ok(20_000), Ok(1_000_000)]);
        assert!(
            ["0", "", "k", "-1", "1.5k", "20K", "101M", "99999999999999999999"]
                .map(parse_rate)
                .iter()
                .all(Result::is_err)
        );
    }

    #[test]
    fn latencies_are_shown_in_the_unit_that_fits() {
        assert_eq!([0.4, 999.0, 1234.5, 2_500_000.0].map(readable), ["0 us", "999 us", "1.23 ms", "2.50 s"]);
    }
}
