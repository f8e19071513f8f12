//! Real events on their way: to a consumer that is killed, each at least once and in order; from producers that send
//! again and again, each stored once.
//!
//! As in `real_data`, the files are in the directory ANNALS_TEST_DATA, and ANNALS_TEST_SEED repeats what a run
//! chose at random.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use annals::limits::CARRIED_APPENDS_MAX;
use annals::testkit::{Random, SeededRandom};
use annals::{Append, Appended, Event, Log, LogReader, Offset};

use crate::common::{Running, assert_sound, events, eventually, over};
use crate::real_data::{Set, WEBHOOKS, WIKIPEDIA, data, seed};

const KILLS: u64 = 20;
/// A consumer lives for fewer lines than this, so that all lives together end before the log does: what a pipe holds
/// beyond them (64 KiB) is less than 250 lines of this set.
const LIFE: u64 = 1_600;

/// When a consumer is killed: so long after so many lines, so that it may be writing, moving its cursor, or waiting for
/// a full pipe.
struct Kill {
    behind: u64,
    after: Duration,
}

impl Kill {
    fn at_random(random: &SeededRandom) -> Kill {
        Kill { behind: random.next_u64() % LIFE, after: Duration::from_micros(random.next_u64() % 3_000) }
    }
}

/// Whole lines that a consumer wrote out until it ended or was killed. What was on its way when it died counts: whoever
/// reads the pipe has got it.
fn lines_of(child: &mut Child, kill: Option<Kill>) -> Vec<Vec<u8>> {
    let mut pipe = BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    loop {
        if let Some(kill) = kill.as_ref().filter(|kill| kill.behind == lines.len() as u64) {
            std::thread::sleep(kill.after);
            child.kill().unwrap();
        }
        let mut line = Vec::new();
        pipe.read_until(b'\n', &mut line).unwrap();
        match line.pop() {
            Some(b'\n') => lines.push(line),
            // Its end, or a line that the kill cut.
            _ => return lines,
        }
    }
}

fn cursor(log: &Path) -> Offset {
    LogReader::open(log).unwrap().consumers().unwrap().first().map_or(Offset::ZERO, |consumer| consumer.next)
}

#[test]
fn a_consumer_of_wikipedia_edits_killed_twenty_times_beside_the_import_sees_each_at_least_once_and_in_order() {
    let Some(data) = data("wikipedia-edits, consumed") else { return };
    let random = SeededRandom::new(seed());
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut import = Running::start({
        let mut import = WIKIPEDIA.import(&data, &log);
        import.stdout(Stdio::null()).stderr(Stdio::null());
        import
    });
    eventually(|| LogReader::open(&log).ok());
    let mut lives = Vec::new();
    for _ in 0..KILLS {
        let from = cursor(&log);
        let args = ["--consumer", "killed", "-f", "-o", "raw"];
        let mut tail = Running::start(over(&log, "tail", &args));
        lives.push((from, lines_of(&mut tail.0, Some(Kill::at_random(&random)))));
        assert!(tail.0.wait().unwrap().signal().is_some(), "it ended before it was killed");
    }
    assert!(import.0.wait().unwrap().success());
    let from = cursor(&log);
    let mut cat = Running::start(over(&log, "cat", &["--consumer", "killed", "-o", "raw"]));
    lives.push((from, lines_of(&mut cat.0, None)));
    assert!(cat.0.wait().unwrap().success());

    let (all, stored) = (WIKIPEDIA.lines(&data), events(&log));
    assert!(stored.iter().map(Event::data).eq(all.iter().map(Vec::as_slice)), "the import");
    let mut next = 0;
    for (from, lines) in lives {
        // Between the lines stand the log's own events.
        let from = stored.partition_point(|event| event.offset() < from);
        assert!(from <= next, "the cursor stood behind {from} lines when only {next} had been seen");
        assert!(all[from..].starts_with(&lines), "{} lines behind {from} are not those of the file", lines.len());
        next = next.max(from + lines.len());
    }
    assert_eq!(next, all.len());
    let reader = LogReader::open(&log).unwrap();
    assert_eq!(cursor(&log), reader.durable_end().unwrap());
    assert_sound(&log);
}

/// A producer of some lines, who forgets what was answered since it last had a look, and then sends it again.
struct Producer<'l> {
    name: &'static str,
    lines: Vec<&'l [u8]>,
    random: SeededRandom,
    /// Sent at least once.
    sent: usize,
    /// Where each line stands, as far as it was told.
    places: Vec<Option<Offset>>,
    resends: u64,
}

impl<'l> Producer<'l> {
    fn new(name: &'static str, seed: u64, lines: Vec<&'l [u8]>) -> Self {
        let places = vec![None; lines.len()];
        Producer { name, random: SeededRandom::new(seed), sent: 0, places, resends: 0, lines }
    }

    fn pick(&self, below: usize) -> usize {
        usize::try_from(self.random.next_u64() % below as u64).unwrap()
    }

    fn append(&self, n: usize) -> Append<'_> {
        let event = Event::new(self.name, "Line").data(self.lines[n]);
        Append::new().event(event).producer(self.name, 0, n as u64)
    }

    /// Takes an answer, which is for ever the same.
    fn learn(&mut self, n: usize, appended: &Appended) {
        assert_eq!(appended.versions().map(|version| version.raw()).collect::<Vec<_>>(), [n as u64]);
        assert_eq!(*self.places[n].get_or_insert(appended.first()), appended.first(), "{} {n}", self.name);
    }

    /// Sends some lines that it has sent before, the oldest first or just one.
    fn resend(&mut self, log: &Log) {
        let oldest = self.sent.saturating_sub(CARRIED_APPENDS_MAX);
        let first = oldest + self.pick(self.sent - oldest);
        let end = if self.pick(2) == 0 { first + 1 } else { self.sent };
        for n in first..end {
            let again = log.append(self.append(n)).unwrap().wait().unwrap();
            assert!(again.is_resend(), "{} {n} was stored again", self.name);
            self.learn(n, &again);
            self.resends += 1;
        }
    }

    /// Sends its next lines one by one, some of them again, and does not wait for each answer.
    fn go_on(&mut self, log: &Log, lines: usize) {
        if self.sent > 0 {
            self.resend(log);
        }
        for n in self.sent..self.lines.len().min(self.sent + lines) {
            let receipt = log.append(self.append(n)).unwrap();
            self.sent = n + 1;
            if self.pick(4) > 0 {
                let appended = receipt.wait().unwrap();
                assert!(!appended.is_resend());
                self.learn(n, &appended);
            }
            if self.pick(4) == 0 {
                self.resend(log);
            }
        }
    }
}

fn stores_each_line_once(set: &Set, data: &Path) {
    let random = SeededRandom::new(seed());
    let lines = set.lines(data);
    let half = |odd: usize| lines.iter().skip(odd).step_by(2).map(Vec::as_slice).collect::<Vec<_>>();
    let mut producers = ["even", "odd"].map(|name| {
        let lines = half(usize::from(name == "odd"));
        Producer::new(name, random.next_u64(), lines)
    });
    let dir = tempfile::tempdir().unwrap();
    let mut opened = 0;
    while producers.iter().any(|producer| producer.sent < producer.lines.len()) {
        let log = Log::open(dir.path()).unwrap();
        opened += 1;
        std::thread::scope(|scope| {
            for producer in &mut producers {
                let lines = usize::try_from(random.next_u64() % 60).unwrap();
                let log = &log;
                scope.spawn(move || producer.go_on(log, lines));
            }
        });
        log.close().unwrap();
    }
    let all = events(dir.path());
    assert_eq!(all.len(), lines.len());
    for producer in &producers {
        let stored: Vec<_> = all.iter().filter(|event| event.stream() == producer.name).collect();
        assert!(stored.iter().map(|event| event.data()).eq(producer.lines.iter().copied()), "{}", producer.name);
        for (event, place) in stored.iter().zip(&producer.places) {
            assert!(place.is_none_or(|place| place == event.offset()));
        }
        assert!(producer.resends > 50 && opened > 5, "{} resends, opened {opened} times", producer.resends);
    }
    assert_sound(dir.path());
}

#[test]
fn two_producers_of_github_webhooks_that_send_again_at_random_store_each_line_once_in_their_order() {
    let Some(data) = data("github-webhooks, produced") else { return };
    stores_each_line_once(&WEBHOOKS, &data);
}
