//! What a log does in a second, beside what the machine could do at most: floors and results in one run.
//!
//! `cargo bench --bench log [-- NAME..]`. Ratios are what counts; the numbers are this machine's alone. The
//! directory is `target/bench`, or `ANNALS_BENCH_DIR`; it has to be on the disk that is meant.

mod command;
mod consumers;
mod floors;
mod follow;
#[path = "../../src/cli/machine.rs"]
mod machine;
mod report;
mod streams;

use std::path::{Path, PathBuf};
use std::time::Instant;

use annals::{Append, Durability, Event, Log};
use hdrhistogram::Histogram;

/// What one event carries in every bench.
const DATA_BYTES: usize = 100;
const STREAMS: usize = 16;

type Run = fn(&Bench);

struct Bench {
    dir: PathBuf,
    names: Vec<String>,
    data: Vec<u8>,
}

fn main() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == follow::WRITER) {
        return args.next().iter().for_each(|dir| follow::write(Path::new(dir)));
    }
    if let Some(dir) = std::env::var_os(streams::OPEN_ENV) {
        return streams::open(Path::new(&dir));
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let dir = std::env::var_os("ANNALS_BENCH_DIR").map_or_else(|| PathBuf::from("target/bench"), PathBuf::from);
    let bench = Bench {
        dir,
        names: (0..STREAMS).map(|n| format!("stream-{n}")).collect(),
        data: (0..DATA_BYTES).map(|n| b'a' + (n % 26) as u8).collect(),
    };
    println!("{}", machine::line(&bench.dir));
    let all: [(&str, Run); 14] = [
        ("append", Bench::append),
        ("durable", Bench::durable),
        ("writers", Bench::writers),
        ("receipts", Bench::receipts),
        ("replay", Bench::replay),
        ("streams", Bench::streams),
        ("producers", Bench::producers),
        ("consumers", Bench::consumers),
        ("random", Bench::random),
        ("segments", Bench::segments),
        ("many", Bench::many),
        ("rare", Bench::rare),
        ("command", Bench::command),
        ("follow", Bench::follow),
    ];
    for (name, run) in all {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            run(&bench);
        }
    }
    let _ = std::fs::remove_dir_all(&bench.dir);
}

impl Bench {
    /// An empty directory of this name.
    fn fresh(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        let _ = std::fs::remove_dir_all(&dir);
        let _ = std::fs::remove_file(&dir);
        std::fs::create_dir_all(&self.dir).unwrap();
        dir
    }

    fn event(&self, n: usize) -> annals::NewEvent<'_> {
        Event::new(self.names[n % STREAMS].as_str(), "Measured").data(&self.data[..])
    }

    /// Events handed to the operating system: in batches, and one by one.
    fn append(&self) {
        const EVENTS: usize = 4_000_000;
        let floor = floors::pwrite(&self.fresh("floor"), EVENTS * (DATA_BYTES + 20));
        report::floor("pwrite of as many bytes, 256 KiB each", floor / (DATA_BYTES + 20) as f64, "events/s");
        for (name, batch) in [("append, 1,000 at once, Os", 1000), ("append, one by one, Os", 1)] {
            let log = Log::open(self.fresh("append")).unwrap();
            let start = Instant::now();
            let mut last = None;
            for first in (0..EVENTS).step_by(batch) {
                let events = (first..first + batch).map(|n| self.event(n));
                last = Some(log.append(Append::new().events(events).durability(Durability::Os)).unwrap());
            }
            last.unwrap().wait().unwrap();
            let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
            log.close().unwrap();
            report::result(name, rate, "events/s", floor / (DATA_BYTES + 20) as f64);
        }
    }

    /// One writer that waits for the disk after every event.
    fn durable(&self) {
        const SECONDS: f64 = 3.0;
        let overwriting = floors::sync(&self.fresh("floor"), 256, true, SECONDS);
        let growing = floors::sync(&self.fresh("floor"), 256, false, SECONDS);
        report::floor("write + fdatasync of 256 bytes, zeros ahead", overwriting, "syncs/s");
        report::floor("write + fdatasync of 256 bytes, growing file", growing, "syncs/s");
        let log = Log::open(self.fresh("durable")).unwrap();
        let mut took = Histogram::<u64>::new(3).unwrap();
        let start = Instant::now();
        let mut events = 0;
        while start.elapsed().as_secs_f64() < SECONDS {
            let before = Instant::now();
            log.append(self.event(events)).unwrap().wait().unwrap();
            took.record(before.elapsed().as_micros() as u64).unwrap();
            events += 1;
        }
        let rate = events as f64 / start.elapsed().as_secs_f64();
        log.close().unwrap();
        report::result("one writer, Disk", rate, "commits/s", overwriting);
        report::also(&format!("p50 {} us, p99 {} us", took.value_at_quantile(0.5), took.value_at_quantile(0.99)));
    }

    /// Many writers that wait for the disk after every event.
    fn writers(&self) {
        const SECONDS: f64 = 3.0;
        let floor = floors::sync(&self.fresh("floor"), 4096, true, SECONDS);
        report::floor("write + fdatasync of 4 KiB, zeros ahead", floor, "syncs/s");
        for writers in [4, 16, 64] {
            let log = Log::open(self.fresh("writers")).unwrap();
            let start = Instant::now();
            let commits: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..writers)
                    .map(|writer| {
                        let (log, bench) = (&log, &*self);
                        scope.spawn(move || {
                            let mut commits = 0;
                            while start.elapsed().as_secs_f64() < SECONDS {
                                log.append(bench.event(writer)).unwrap().wait().unwrap();
                                commits += 1;
                            }
                            commits
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            let rate = commits as f64 / start.elapsed().as_secs_f64();
            log.close().unwrap();
            report::result(&format!("{writers} writers, Disk"), rate, "commits/s", floor);
        }
    }

    /// One writer that keeps many receipts in flight.
    fn receipts(&self) {
        const EVENTS: usize = 2_000_000;
        const IN_FLIGHT: usize = 4096;
        let log = Log::open(self.fresh("receipts")).unwrap();
        let mut waiting = std::collections::VecDeque::with_capacity(IN_FLIGHT);
        let mut took = Histogram::<u64>::new(3).unwrap();
        let start = Instant::now();
        for n in 0..EVENTS {
            if waiting.len() == IN_FLIGHT {
                let (receipt, appended): (annals::Receipt, Instant) = waiting.pop_front().unwrap();
                receipt.wait().unwrap();
                took.record(appended.elapsed().as_micros() as u64).unwrap();
            }
            waiting.push_back((log.append(self.event(n)).unwrap(), Instant::now()));
        }
        log.sync().unwrap();
        let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
        log.close().unwrap();
        report::result("4,096 receipts in flight, Disk", rate, "events/s", f64::NAN);
        report::also(&format!("p50 {} us, p99 {} us", took.value_at_quantile(0.5), took.value_at_quantile(0.99)));
    }

    /// Reading everything, every checksum checked.
    fn replay(&self) {
        const EVENTS: usize = 4_000_000;
        let dir = self.fresh("replay");
        fill(&dir, EVENTS, |n| self.event(n));
        let bytes: u64 = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        let (copy, crc) = floors::memory(&dir);
        let per_event = bytes as f64 / EVENTS as f64;
        report::floor("memcpy of the same bytes", copy / per_event, "events/s");
        report::floor("CRC-32 of the same bytes, mapped", crc / per_event, "events/s");
        let log = Log::open(&dir).unwrap();
        for pass in ["first", "second"] {
            let start = Instant::now();
            let mut sum = 0u64;
            for batch in log.batches(..) {
                for event in batch.unwrap().events() {
                    sum += event.data().len() as u64 + event.version().raw();
                }
            }
            let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
            std::hint::black_box(sum);
            report::result(&format!("replay by batches, {pass}"), rate, "events/s", copy / per_event);
        }
        let start = Instant::now();
        let events = log.read(..).map(|event| event.unwrap().data().len()).filter(|bytes| *bytes == DATA_BYTES).count();
        assert_eq!(events, EVENTS);
        let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
        report::result("replay by owned events", rate, "events/s", copy / per_event);
        log.close().unwrap();
    }

    /// The same as `append`, over more streams than fit a batch's names.
    fn streams(&self) {
        const EVENTS: usize = 2_000_000;
        for streams in [1_000, 1_000_000] {
            let names: Vec<String> = (0..streams).map(|n| format!("stream-{n}")).collect();
            let log = Log::open(self.fresh("streams")).unwrap();
            let start = Instant::now();
            let mut last = None;
            for first in (0..EVENTS).step_by(1000) {
                let event = |n: usize| Event::new(names[n * 7919 % streams].as_str(), "Measured").data(&self.data[..]);
                let events = (first..first + 1000).map(event);
                last = Some(log.append(Append::new().events(events).durability(Durability::Os)).unwrap());
            }
            last.unwrap().wait().unwrap();
            let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
            log.close().unwrap();
            report::result(&format!("append over {streams} streams, Os"), rate, "events/s", f64::NAN);
        }
    }

    /// The command as a process of its own: real events from `ANNALS_TEST_DATA`, then lines that are all streams
    /// of their own.
    fn command(&self) {
        const LINES: usize = 3_000_000;
        let lines = self.fresh("lines.ndjson");
        command::distinct_lines(&lines, LINES);
        let mut inputs = vec![(lines, "user-{user}", "noted")];
        if let Some(data) = std::env::var_os("ANNALS_TEST_DATA") {
            let retail = PathBuf::from(data).join("online-retail.ndjson.zst");
            inputs.insert(0, (retail, "customer-{CustomerID}", "sold"));
        }
        for (input, stream, event_type) in inputs {
            let log = self.fresh("command");
            let (log, file) = (log.to_str().unwrap(), input.to_str().unwrap());
            let mut import = vec!["import", log, file, "--stream", stream, "--type", event_type];
            if event_type == "sold" {
                import.extend(["--time", "InvoiceDate"]);
            }
            let verbs: [&[&str]; 5] =
                [&import, &["cat", log, "-o", "raw"], &["export", log], &["stat", log], &["verify", log]];
            println!("  {}", input.file_name().unwrap().to_string_lossy());
            for verb in verbs {
                let (seconds, peak_mb) = command::run(verb);
                println!("  result  annals {:<39} {seconds:>14.2} s  {peak_mb:.0} MB of its own at most", verb[0]);
            }
        }
    }
}

/// A closed log of so many events.
fn fill<'e>(dir: &Path, events: usize, event: impl Fn(usize) -> annals::NewEvent<'e>) {
    let log = Log::open(dir).unwrap();
    for first in (0..events).step_by(1000) {
        let batch = Append::new().events((first..first + 1000).map(&event)).durability(Durability::Os);
        drop(log.append(batch).unwrap());
    }
    log.sync().unwrap();
}
