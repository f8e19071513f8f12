//! From the writer to who follows it: what lies between an event being durable and its follower having it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use annals::{Append, Event, Follow, Log, LogReader, NewEvent, Offset};
use hdrhistogram::Histogram;

use super::{Bench, report};

const EVENTS: usize = 2000;
/// The argument that makes this program the writer in another process.
pub const WRITER: &str = "writer-of-bench";

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// Each event carries when it was appended; it goes to the disk alone.
fn stamped() -> NewEvent<'static> {
    Event::new("s", "Measured").data(now_ns().to_le_bytes().to_vec())
}

/// A pause, so that the follower has gone to sleep again.
fn pause() {
    std::thread::sleep(Duration::from_micros(300));
}

/// From before the append to the event in hand, and from the receipt to there where `durable` says when.
fn follow(mut follow: Follow, durable: impl Fn(u64) -> u64) -> [Histogram<u64>; 2] {
    let mut took = [(); 2].map(|()| Histogram::<u64>::new(3).unwrap());
    for _ in 0..EVENTS {
        let event = follow.next().unwrap().unwrap();
        let seen = now_ns();
        let appended = u64::from_le_bytes(event.data().try_into().unwrap());
        took[0].record(seen.saturating_sub(appended) / 1000).unwrap();
        took[1].record(seen.saturating_sub(durable(event.offset().raw())) / 1000).unwrap();
    }
    took
}

fn percentiles(took: &Histogram<u64>) -> String {
    format!("p50 {} us, p99 {} us", took.value_at_quantile(0.5), took.value_at_quantile(0.99))
}

impl Bench {
    pub fn follow(&self) {
        self.alone();
        self.in_process(1);
        self.in_process(16);
        self.other_process();
    }

    /// The same appends with nobody following: the sync that all else is measured against.
    fn alone(&self) {
        let log = Log::open(self.fresh("follow")).unwrap();
        let mut took = Histogram::<u64>::new(3).unwrap();
        for _ in 0..EVENTS {
            let start = now_ns();
            log.append(stamped()).unwrap().wait().unwrap();
            took.record((now_ns() - start) / 1000).unwrap();
            pause();
        }
        report::floor("append to receipt, p50", took.value_at_quantile(0.5) as f64, "us");
    }

    fn in_process(&self, followers: usize) {
        let log = Log::open(self.fresh("follow")).unwrap();
        let durable: Vec<AtomicU64> = (0..EVENTS).map(|_| AtomicU64::new(u64::MAX)).collect();
        let took = std::thread::scope(|scope| {
            let at = |offset: u64| durable[offset as usize].load(Ordering::Relaxed);
            let start = || {
                let from_start = log.follow(Offset::from_raw(0));
                scope.spawn(move || follow(from_start, at))
            };
            let threads: Vec<_> = (0..followers).map(|_| start()).collect();
            for durable in &durable {
                pause();
                let receipt = log.append(stamped()).unwrap();
                receipt.wait().unwrap();
                durable.store(now_ns(), Ordering::Relaxed);
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).next().unwrap()
        });
        let name = format!("same process, {followers} following, append to event");
        report::result(&name, took[0].value_at_quantile(0.5) as f64, "us", f64::NAN);
        report::also(&format!("append to event {}", percentiles(&took[0])));
        report::also(&format!("receipt to event {} (0: the follower was first)", percentiles(&took[1])));
    }

    fn other_process(&self) {
        let dir = self.fresh("follow");
        Log::open(&dir).unwrap().close().unwrap();
        let reader = LogReader::open(&dir).unwrap();
        let from_start = reader.follow(Offset::from_raw(0));
        let mut writer = writer(&dir);
        let took = follow(from_start, |_| u64::MAX);
        writer.wait().unwrap();
        report::result("other process, append to event", took[0].value_at_quantile(0.5) as f64, "us", f64::NAN);
        report::also(&format!("append to event {}", percentiles(&took[0])));
    }
}

fn writer(dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([WRITER.as_ref(), dir.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child
}

/// The body of the other process.
pub fn write(dir: &Path) {
    let log = Log::open(dir).unwrap();
    println!("opened");
    for _ in 0..EVENTS {
        pause();
        log.append(Append::new().event(stamped())).unwrap().wait().unwrap();
    }
    log.close().unwrap();
}
