//! Finding things: single events by offset and by version, streams among millions, rare types.

use std::path::Path;
use std::time::Instant;

use annals::{Append, Durability, Event, Filter, Log, LogReader, Offset, Version};
use hdrhistogram::Histogram;

use crate::{Bench, STREAMS, fill, report};

/// Set in a process of its own that opens the log it names and says what that costs.
pub const OPEN_ENV: &str = "ANNALS_BENCH_OPEN";

/// Numbers spread over 0 to below `below`, the same in every run.
fn spread(n: u64, below: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9) % below
}

fn name(stream: u64) -> String {
    format!("order-{stream}")
}

impl Bench {
    /// Single events of a log whose batches were looked at lately, and of one that is larger than what is kept.
    pub fn random(&self) {
        const READS: u64 = 1_000_000;
        for (what, events, reads) in [("hot", 100_000u64, READS), ("12 times what is kept", 4_000_000, READS / 200)] {
            let dir = self.fresh("random");
            fill(&dir, events as usize, |n| self.event(n));
            let reader = LogReader::open(&dir).unwrap();
            let per_stream = events / STREAMS as u64;
            for pass in ["first", "second"] {
                let start = Instant::now();
                for n in 0..reads {
                    let offset = Offset::from_raw(spread(n, events));
                    assert_eq!(reader.get(offset).unwrap().unwrap().offset(), offset);
                }
                let by_offset = reads as f64 / start.elapsed().as_secs_f64();
                let start = Instant::now();
                for n in 0..reads {
                    let version = Version::from_raw(spread(n, per_stream));
                    let stream = &self.names[(n % STREAMS as u64) as usize];
                    let event = reader.stream(stream).from(version).next().unwrap().unwrap();
                    assert_eq!(event.version(), version);
                }
                let by_version = reads as f64 / start.elapsed().as_secs_f64();
                report::result(&format!("read by offset, {what}, {pass}"), by_offset, "events/s", f64::NAN);
                report::result(
                    &format!("read by stream and version, {what}, {pass}"),
                    by_version,
                    "events/s",
                    f64::NAN,
                );
            }
        }
    }

    /// Opening a log of a thousand sealed segments, for writing and for reading.
    pub fn segments(&self) {
        const SEGMENTS: usize = 1000;
        let dir = self.fresh("segments");
        let options = || Log::options().segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST);
        let log = options().open(&dir).unwrap();
        loop {
            let append = || Append::new().events((0..1000).map(|n| self.event(n))).durability(Durability::Os);
            (0..200).for_each(|_| drop(log.append(append()).unwrap()));
            let segments = std::fs::read_dir(&dir).unwrap().count();
            if segments > SEGMENTS {
                break;
            }
        }
        log.close().unwrap();
        for pass in ["first", "second"] {
            let start = Instant::now();
            let reader = LogReader::open(&dir).unwrap();
            let end = reader.durable_end().unwrap();
            let reading = start.elapsed().as_secs_f64() * 1000.0;
            let start = Instant::now();
            let log = options().open(&dir).unwrap();
            let writing = start.elapsed().as_secs_f64() * 1000.0;
            assert_eq!(log.durable_end(), end);
            log.close().unwrap();
            println!(
                "  result  {SEGMENTS} sealed segments, {pass}: open for reading {reading:.1} ms, for writing {writing:.1} ms"
            );
        }
    }

    /// Logs of many streams: opening, memory and look-ups, each in a process of its own.
    pub fn many(&self) {
        for streams in [1_000, 1_000_000, 10_000_000u64] {
            let dir = self.fresh("many");
            let log = Log::open(&dir).unwrap();
            let start = Instant::now();
            for first in (0..streams).step_by(1000) {
                let events = (first..first + 1000).map(|n| Event::new(name(n), "Measured").data(&self.data[..8]));
                drop(log.append(Append::new().events(events).durability(Durability::Os)).unwrap());
            }
            log.sync().unwrap();
            let rate = streams as f64 / start.elapsed().as_secs_f64();
            report::result(&format!("append of {streams} new streams, Os"), rate, "events/s", f64::NAN);
            log.close().unwrap();
            // The next writer makes the indexes that the last one did not come to.
            let log = Log::open(&dir).unwrap();
            self.until_indexed(&dir);
            log.close().unwrap();
            let run = std::process::Command::new(std::env::current_exe().unwrap())
                .env(OPEN_ENV, &dir)
                .env("ANNALS_BENCH_STREAMS", streams.to_string())
                .status();
            assert!(run.unwrap().success());
        }
    }

    /// Waits until no index file has come or gone for a while.
    fn until_indexed(&self, dir: &Path) {
        let names = || {
            let entries = std::fs::read_dir(dir.join("index")).into_iter().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let (mut last, mut since) = (names(), Instant::now());
        while since.elapsed().as_secs_f64() < 1.0 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let now = names();
            if now != last || now.iter().any(|name| name.to_string_lossy().ends_with(".tmp")) {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// Events of which one in 10,000 is wanted, against reading all.
    pub fn rare(&self) {
        const EVENTS: usize = 4_000_000;
        let dir = self.fresh("rare");
        fill_by(&dir, EVENTS, 500, |n| {
            let event = self.event(n);
            if n % 10_000 == 77 { Event::new("rare", "Rare").data(&self.data[..]) } else { event }
        });
        let reader = LogReader::open(&dir).unwrap();
        let owned = |filter: Filter| seconds(|| reader.read(..).matching(filter.clone()).map(Result::unwrap).count());
        let batches = |filter: Filter| {
            seconds(|| reader.batches(..).matching(filter.clone()).map(|batch| batch.unwrap().events().count()).sum())
        };
        for (what, all) in [("owned", owned(Filter::new())), ("mapped batches", batches(Filter::new()))] {
            assert_eq!(all.1, EVENTS);
            let filters = [("type", Filter::new().types(["Rare"])), ("stream", Filter::new().stream_named("rare"))];
            for (by, filter) in filters {
                let some = if what == "owned" { owned(filter) } else { batches(filter) };
                assert_eq!(some.1, EVENTS / 10_000);
                report::result(
                    &format!("1 in 10,000 by {by}, {what}"),
                    all.0 / some.0,
                    "times as fast as all",
                    f64::NAN,
                );
            }
        }
        let one = seconds(|| reader.stream("rare").map(Result::unwrap).count());
        assert_eq!(one.1, EVENTS / 10_000);
        report::result("its stream, forward", owned(Filter::new()).0 / one.0, "times as fast as all", f64::NAN);
    }
}

/// The better of two runs, and what it counted.
fn seconds(run: impl Fn() -> usize) -> (f64, usize) {
    let once = || {
        let start = Instant::now();
        let count = run();
        (start.elapsed().as_secs_f64(), count)
    };
    let (first, second) = (once(), once());
    if first.0 < second.0 { first } else { second }
}

/// A closed log, in appends of so many events.
fn fill_by<'e>(dir: &Path, events: usize, batch: usize, event: impl Fn(usize) -> annals::NewEvent<'e>) {
    let log = Log::open(dir).unwrap();
    for first in (0..events).step_by(batch) {
        let append = Append::new().events((first..first + batch).map(&event)).durability(Durability::Os);
        drop(log.append(append).unwrap());
        if first.is_multiple_of(batch * 8) {
            log.sync().unwrap();
        }
    }
    log.close().unwrap();
}

/// Opens a log of many streams, as a reader and as the writer, and looks some up. Runs in a process of its own.
pub fn open(dir: &Path) {
    const LOOKS: u64 = 20_000;
    let streams: u64 = std::env::var("ANNALS_BENCH_STREAMS").unwrap().parse().unwrap();
    let before = anonymous_mb();
    let start = Instant::now();
    let log = Log::open(dir).unwrap();
    let opened = start.elapsed();
    let mut took = Histogram::<u64>::new(3).unwrap();
    for n in 0..LOOKS {
        let name = name(spread(n, streams));
        let start = Instant::now();
        let version = log.version(&name).unwrap();
        took.record(start.elapsed().as_nanos() as u64).unwrap();
        assert_eq!(version, Some(Version::FIRST));
    }
    let memory = anonymous_mb() - before;
    let us = |quantile: f64| took.value_at_quantile(quantile) as f64 / 1000.0;
    let ms = opened.as_secs_f64() * 1000.0;
    println!(
        "  result  {streams} streams open for writing: {ms:.1} ms, {memory:.0} MB of its own after {LOOKS} look-ups"
    );
    println!(
        "          version of a cold stream: p50 {:.1} us, p99 {:.1} us, at most {:.0} us",
        us(0.5),
        us(0.99),
        us(1.0)
    );
    log.close().unwrap();
}

/// Memory of this process that no file backs.
fn anonymous_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kb =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    kb.map_or(f64::NAN, |kb: f64| kb / 1024.0)
}
