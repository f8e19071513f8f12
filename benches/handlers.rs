//! What a handler does in a second, beside the same work written by hand over SQLite: all in one run.
//!
//! `cargo bench --bench handlers [-- NAME..]`. Ratios are what counts; the numbers are this machine's alone. Time of
//! the processors is printed beside that of the clock: it says what the work costs on a machine that others use too.
//! The directory is `target/bench-handlers`, or `ANNALS_BENCH_DIR`; it has to be on the disk that is meant.

#[path = "../src/cli/machine.rs"]
mod machine;
#[path = "log/report.rs"]
mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use annals::{Append, Context, Durability, Event, Failure, HandlerSpec, Log, MemoryView, Runner, SledView, View};

/// What one event carries in every bench.
const DATA_BYTES: usize = 100;
const STREAMS: usize = 16;
const EVENTS: usize = 1_000_000;
const KEYS: u64 = 100_000;
const WINDOW: usize = 4096;
/// Which work a child is to do, whose memory is looked at.
const CHILD_ENV: &str = "ANNALS_BENCH_MEMORY";

fn main() {
    if let Ok(cache) = std::env::var(CHILD_ENV) {
        return memory_child(&cache);
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let bench = Bench { dir: directory() };
    println!("{}", machine::line(&bench.dir));
    println!("load: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let all: [(&str, Run); 5] = [
        ("count", Bench::count),
        ("fold", Bench::fold),
        ("rebuild", Bench::rebuild),
        ("lanes", Bench::lanes),
        ("memory", Bench::memory),
    ];
    for (name, run) in all {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            run(&bench);
        }
    }
    let _ = std::fs::remove_dir_all(&bench.dir);
}

fn directory() -> PathBuf {
    std::env::var_os("ANNALS_BENCH_DIR").map_or_else(|| PathBuf::from("target/bench-handlers"), PathBuf::from)
}

type Run = fn(&Bench);

struct Bench {
    dir: PathBuf,
}

/// What some work took: by the clock, and of the processors.
struct Took {
    seconds: f64,
    cpu: f64,
}

impl Took {
    fn of(work: impl FnOnce()) -> Took {
        let (cpu, start) = (cpu_seconds(), Instant::now());
        work();
        Took { seconds: start.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu }
    }

    fn rate(&self, things: usize) -> f64 {
        things as f64 / self.seconds
    }

    fn cost(&self, things: usize) -> String {
        format!("{:.2} us of processor each, {:.1} s by the clock", self.cpu * 1e6 / things as f64, self.seconds)
    }
}

/// User and system time of all threads of this process, as /proc says it in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// The key of an event of the fold.
fn key_of(event: &Event) -> [u8; 8] {
    *event.data().first_chunk().unwrap()
}

fn number(bytes: Option<&[u8]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

fn counting(event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    let n = number(cx.get_bytes(event.stream())?.as_deref());
    cx.put_bytes(event.stream(), (n + 1).to_le_bytes())?;
    Ok(())
}

fn folding(event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    let key = key_of(event);
    let sum = number(cx.get_bytes(key)?.as_deref());
    cx.put_bytes(key, (sum + event.data().len() as u64).to_le_bytes())?;
    Ok(())
}

/// A log with events, all durable: data begins with one of so many keys.
fn filled(dir: &Path, events: usize, keys: u64) -> Log {
    let _ = std::fs::remove_dir_all(dir);
    let log = Log::open(dir).unwrap();
    let names: Vec<String> = (0..STREAMS).map(|n| format!("stream-{n}")).collect();
    let mut random = 1u64;
    for first in (0..events).step_by(1000) {
        let batch: Vec<_> = (first..first + 1000)
            .map(|n| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut data = [b'x'; DATA_BYTES];
                data[..8].copy_from_slice(&((random >> 33) % keys).to_be_bytes());
                Event::new(names[n % STREAMS].as_str(), "Measured").data(data.to_vec())
            })
            .collect();
        drop(log.append(Append::new().events(batch).durability(Durability::Os)).unwrap());
    }
    log.sync().unwrap();
    log
}

fn run(log: &Log, view: impl View + 'static, spec: HandlerSpec, handler: impl annals::Handler) {
    let mut runner = Runner::open(log.clone(), view, spec, handler).unwrap();
    runner.run_to_end().unwrap();
    runner.close().unwrap();
}

/// Bytes of the records of a handler.
fn record_bytes(log: &Log, name: &str) -> usize {
    log.read(..).streams(&format!("$handler/{name}")).map(|event| event.unwrap().data().len()).sum()
}

impl Bench {
    fn at(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Reading alone, without a handler.
    fn reading(&self, log: &Log) {
        let took = Took::of(|| {
            let events = log.read(..log.durable_end()).map(|event| event.unwrap().data().len()).sum::<usize>();
            assert_eq!(events, EVENTS * DATA_BYTES);
        });
        report::floor("reading the events alone", took.rate(EVENTS), "events/s");
        report::also(&took.cost(EVENTS));
    }

    fn work(&self, name: &str, keys: u64, handler: fn(&Event, &mut Context<'_>) -> Result<(), Failure>, sql: Sql) {
        let log = filled(&self.at(name), EVENTS, keys);
        self.reading(&log);
        let took = Took::of(|| sqlite(&log, &self.at("sqlite"), sql));
        let floor = took.rate(EVENTS);
        report::floor(&format!("{name}, by hand over SQLite"), floor, "events/s");
        report::also(&took.cost(EVENTS));
        let took = Took::of(|| run(&log, MemoryView::new(), HandlerSpec::new("memory"), handler));
        report::result(&format!("{name}, MemoryView, Disk"), took.rate(EVENTS), "events/s", floor);
        report::also(&took.cost(EVENTS));
        report::also(&format!("{:.1} bytes of records an event", record_bytes(&log, "memory") as f64 / EVENTS as f64));
        let view = SledView::open(self.at("sled"), log.id()).unwrap();
        let took = Took::of(|| run(&log, view, HandlerSpec::new("sled"), handler));
        report::result(&format!("{name}, SledView, Disk"), took.rate(EVENTS), "events/s", floor);
        report::also(&took.cost(EVENTS));
        log.close().unwrap();
    }

    /// One counter for each stream.
    fn count(&self) {
        self.work("count", KEYS, counting, |event| event.stream().as_bytes().to_vec());
    }

    /// A sum for each of many keys.
    fn fold(&self) {
        self.work("fold", KEYS, folding, |event| key_of(event).to_vec());
    }

    /// A view that was lost is made again.
    fn rebuild(&self) {
        let log = filled(&self.at("rebuild"), EVENTS, KEYS);
        run(&log, MemoryView::new(), HandlerSpec::new("fold"), folding);
        let changes = log.read(..).streams("$handler/fold").map(|event| changes_of(&event.unwrap())).sum::<usize>();
        let again = |name: &str, view: &dyn Fn() -> Box<dyn FnOnce()>| {
            let open = view();
            let took = Took::of(open);
            report::result(name, took.rate(changes), "changes/s", f64::NAN);
            report::also(&took.cost(changes));
        };
        again("rebuild, MemoryView", &|| {
            let log = log.clone();
            Box::new(move || drop(Runner::open(log, MemoryView::new(), HandlerSpec::new("fold"), folding).unwrap()))
        });
        again("rebuild, SledView", &|| {
            let view = SledView::open(self.at("sled"), log.id()).unwrap();
            let log = log.clone();
            Box::new(move || drop(Runner::open(log, view, HandlerSpec::new("fold"), folding).unwrap()))
        });
        log.close().unwrap();
    }

    /// Work on each event, on one thread and on two.
    fn lanes(&self) {
        const FEW: usize = 50_000;
        let log = filled(&self.at("lanes"), FEW, KEYS);
        let heavy = |event: &Event, cx: &mut Context<'_>| {
            let mut sum = number(cx.get_bytes(event.stream())?.as_deref());
            for _ in 0..200 {
                sum = event.data().iter().fold(sum, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte));
            }
            cx.put_bytes(event.stream(), sum.to_le_bytes())?;
            Ok::<(), Failure>(())
        };
        let mut floor = f64::NAN;
        for lanes in [1, 2] {
            let spec = HandlerSpec::new(&format!("lanes-{lanes}")).lanes(lanes);
            let took = Took::of(|| run(&log, MemoryView::new(), spec, heavy));
            report::result(&format!("heavy work, {lanes} lanes"), took.rate(FEW), "events/s", floor);
            report::also(&took.cost(FEW));
            floor = took.rate(FEW);
        }
        log.close().unwrap();
    }

    /// The most memory that a fold over many keys takes, by settings.
    fn memory(&self) {
        for cache in [4, 64] {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .env(CHILD_ENV, cache.to_string())
                .env("ANNALS_BENCH_DIR", &self.dir)
                .output()
                .unwrap();
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
            report::also(&format!("cache of {cache} MiB: {}", String::from_utf8_lossy(&child.stdout).trim()));
        }
    }
}

fn memory_child(cache: &str) {
    let bench = Bench { dir: directory() };
    let log = filled(&bench.at("memory"), EVENTS, 1_000_000);
    let before = anonymous();
    let view = SledView::open(bench.at("sled"), log.id()).unwrap();
    let bytes = cache.parse::<usize>().unwrap() * 1024 * 1024;
    let mut runner = Runner::open(log.clone(), view, HandlerSpec::new("fold").cache(bytes), folding).unwrap();
    let mut most = 0;
    while let annals::Step::Went { .. } = runner.step().unwrap() {
        most = most.max(anonymous());
    }
    runner.close().unwrap();
    println!("{} MiB of anonymous memory at most, {} before", most / 1024, before / 1024);
}

/// Anonymous memory of this process, in KiB.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many changes a record of a handler says it has.
fn changes_of(event: &Event) -> usize {
    u32::from_le_bytes(*event.data()[124..].first_chunk().unwrap()) as usize
}

type Sql = fn(&Event) -> Vec<u8>;

/// The same by hand: a row for each key, and the position, in one transaction for as many events as a window has.
fn sqlite(log: &Log, dir: &Path, key_of: Sql) {
    let mut base = rusqlite::Connection::open(dir.join("state.db")).unwrap();
    base.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE state (key BLOB PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE position (one INTEGER PRIMARY KEY, next INTEGER NOT NULL);
         INSERT INTO position VALUES (1, 0);",
    )
    .unwrap();
    let mut events = log.read(..).peekable();
    while events.peek().is_some() {
        let step = base.transaction().unwrap();
        {
            let mut get = step.prepare_cached("SELECT value FROM state WHERE key = ?1").unwrap();
            let mut put = step.prepare_cached("INSERT OR REPLACE INTO state VALUES (?1, ?2)").unwrap();
            let mut next = 0;
            for event in events.by_ref().take(WINDOW) {
                let event = event.unwrap();
                let key = key_of(&event);
                let n: i64 = get.query_row([&key], |row| row.get(0)).unwrap_or(0);
                put.execute(rusqlite::params![key, n + 1]).unwrap();
                next = event.offset().raw() + 1;
            }
            step.execute("UPDATE position SET next = ?1", [next as i64]).unwrap();
        }
        step.commit().unwrap();
    }
}
