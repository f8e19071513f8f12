//! One run: a random workload on a disk that fails, ended by crashes, and after each the question what is left.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use annals::testkit::Disk;
use annals::{
    AppendError, Consumer, ConsumerError, Durability, Expect, Follow, Log, LogReader, Offset, OpenError, ReadError,
    ReadMode, Receipt, Version,
};

use super::disk::{Injected, Planned, Rates, is_full, is_gone};
use super::machine::{DIR, ENDS, End, Machine, is_sound};
use super::swarm::{DEEDS, Deed, Swarm};
use crate::dice::Dice;
use crate::oracle::{Answer, Broken, Checked, Failed, Given, Model, POSITION, Sent, Wish, ensure};

/// What a run did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub deeds: u64,
    pub crashes: u64,
    pub calls: u64,
    pub faults: u64,
    pub cuts: u64,
    pub refused: u64,
    pub hash: u64,
}

/// What only lives as long as the process.
struct Life {
    log: Log,
    receipts: Vec<(Receipt, u64, Durability)>,
    consumers: [Option<(Consumer, LogReader)>; CONSUMERS.len()],
    reader: Option<LogReader>,
    follow: Option<(Follow, u64)>,
    /// Deeds since an outcome was unknown.
    poisoned: Option<u64>,
}

const CONSUMERS: [&str; 3] = ["mailer", "ledger", "search"];

/// What is known of a consumer's cursor.
#[derive(Debug, Clone, Default)]
struct Cursor {
    /// It was made, and that was acknowledged.
    is_there: bool,
    /// Where it may be as programs see it ..
    seen: Vec<u64>,
    /// .. and after a power cut.
    kept: Vec<u64>,
}

pub struct Run {
    pub swarm: Swarm,
    dice: Dice,
    machine: Machine,
    model: Model,
    life: Option<Life>,
    cursors: [Cursor; CONSUMERS.len()],
    /// Faults that had been injected when the process began ..
    injected: u64,
    /// .. by their kinds ..
    faults: Injected,
    /// .. and when what it does now began ..
    faults_before_deed: Injected,
    /// .. and when the power was cut last.
    injected_by_power: u64,
    /// Torn tails in `torn` when the log was opened last.
    kept: usize,
    /// Files in which bits were turned over.
    rotten: Vec<PathBuf>,
    faults_on: bool,
    full: bool,
    tags: u64,
    shown: bool,
    pub tally: Tally,
}

/// Runs one seed.
pub fn run(seed: u64, hashed: bool, shown: bool) -> (Swarm, Result<Tally, Broken>) {
    let mut run = Run::new(seed, hashed, shown);
    let swarm = run.swarm.clone();
    if shown {
        eprintln!("{swarm:#?}");
    }
    let outcome = run.go();
    run.tally.calls = run.machine.disk.calls();
    run.tally.faults = run.machine.disk.injected() + run.machine.disk.silent();
    run.tally.hash = run.machine.disk.hash();
    (swarm, outcome.map(|()| run.tally))
}

/// Runs a workload without crashes and faults but for the planned one; then the faults are gone, and the log has to be
/// whole after a crash. Returns the calls that the workload made.
pub fn run_planned(swarm: &Swarm, seed: u64, planned: Option<Planned>, shown: bool) -> Result<u64, Broken> {
    let mut run = Run::with(swarm.clone(), Dice::new(seed), seed, false, shown);
    run.machine.disk.plan(planned);
    run.recover(false, false)?;
    run.work(swarm.deeds)?;
    if run.life.is_some() {
        run.close()?;
    }
    let calls = run.machine.disk.calls();
    run.set_faults(false);
    run.crash()?;
    run.settle()?;
    Ok(calls)
}

impl Run {
    fn new(seed: u64, hashed: bool, shown: bool) -> Run {
        let dice = Dice::new(seed);
        let swarm = Swarm::draw(&dice);
        Run::with(swarm, dice, seed, hashed, shown)
    }

    fn with(swarm: Swarm, dice: Dice, seed: u64, hashed: bool, shown: bool) -> Run {
        let mut machine = Machine::new(seed, hashed, shown);
        (machine.codec, machine.reads) = (swarm.codec, swarm.reads);
        Run {
            swarm,
            dice,
            machine,
            model: Model::default(),
            life: None,
            cursors: Default::default(),
            injected: 0,
            faults: Injected::default(),
            faults_before_deed: Injected::default(),
            injected_by_power: 0,
            kept: 0,
            rotten: Vec::new(),
            faults_on: false,
            full: false,
            tags: 0,
            shown,
            tally: Tally::default(),
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.shown {
            eprintln!("  {}", what());
        }
    }

    fn go(&mut self) -> Result<(), Broken> {
        if !self.begin()? {
            return Ok(());
        }
        let sessions = self.swarm.crashes;
        for _ in 0..sessions {
            self.set_faults(true);
            self.session(self.swarm.deeds / sessions)?;
            if !self.crash()? {
                return Ok(());
            }
        }
        self.settle()
    }

    fn set_faults(&mut self, on: bool) {
        self.faults_on = on;
        self.machine.disk.set_rates(if on { self.swarm.rates } else { Rates::default() });
        if !on {
            self.machine.disk.plan(None);
            self.set_room(None);
        }
    }

    fn set_room(&mut self, room: Option<u64>) {
        self.full = room.is_some();
        self.machine.memory.set_free(room);
    }

    /// Whether bytes may be other than what was written.
    fn is_rotten(&self) -> bool {
        !self.rotten.is_empty() || self.machine.disk.silent() > 0
    }

    /// Whether that may be so of the cursors.
    fn has_rotten_cursors(&self) -> bool {
        let dir = Path::new(DIR).join("cursors");
        self.rotten.iter().any(|path| path.parent() == Some(&dir)) || self.machine.disk.is_silent_in(&dir)
    }

    /// From here on the faults are gone that a new process, or a sound disk, knows nothing of.
    fn forget_faults(&mut self) {
        self.injected = self.machine.disk.injected();
        self.faults = self.machine.disk.injected_by_kind();
        self.faults_before_deed = self.faults;
    }

    /// Whether a fault since then, or what the disk is now, is what an error speaks of.
    fn is_explained(&self, since: &Injected, error: &str) -> bool {
        let disk = &self.machine.disk;
        disk.injected_by_kind().explains(since, error)
            || (disk.is_stopped() && is_gone(error))
            || (self.full && is_full(error))
    }

    /// A failure has to have a fault of its kind behind it.
    fn excused(&self, what: &str, error: &dyn Display) -> Result<(), Broken> {
        self.excused_since(&self.faults, what, error)
    }

    fn excused_since(&self, since: &Injected, what: &str, error: &dyn Display) -> Result<(), Broken> {
        self.say(|| format!("{what}: {error}"));
        let explained = self.is_explained(since, &error.to_string()) || self.is_rotten();
        ensure!(explained, "{what} fails without a fault of this kind: {error}");
        Ok(())
    }

    /// Nothing that was read badly once is remembered.
    fn excused_read(&self, what: &str, error: &ReadError) -> Result<(), Broken> {
        let typed = matches!(error, ReadError::Io(_)) || self.is_rotten();
        ensure!(typed, "{what} fails on a sound disk: {error}");
        self.excused_since(&self.faults_before_deed, what, error)
    }

    /// The outcome of a check; `None` where the log could not answer, as it may.
    fn checked<T>(&self, what: &str, checked: Checked<T>) -> Result<Option<T>, Broken> {
        match checked {
            Ok(value) => Ok(Some(value)),
            Err(Failed::Broken(broken)) => Err(format!("{what}: {broken}")),
            Err(Failed::Refused(error)) => self.excused_read(what, &error).map(|()| None),
        }
    }

    fn log(&self) -> Log {
        self.life().log.clone()
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("a process lives during a session")
    }

    fn life_mut(&mut self) -> &mut Life {
        self.life.as_mut().expect("a process lives during a session")
    }

    /// The log takes no more. A disk that is full is no reason for that.
    fn poisoned(&mut self, what: &str, error: &dyn Display) -> Result<(), Broken> {
        self.life_mut().poisoned.get_or_insert(0);
        self.say(|| format!("{what}: {error}"));
        let disk = &self.machine.disk;
        let error = error.to_string();
        let explained =
            disk.injected_by_kind().explains(&self.faults, &error) || (disk.is_stopped() && is_gone(&error));
        ensure!(explained || self.is_rotten(), "{what} fails for good without a fault of this kind: {error}");
        Ok(())
    }

    /// Does random things until it was enough, the process is gone or the log takes no more.
    fn session(&mut self, deeds: u64) -> Result<(), Broken> {
        if self.dice.percent(60) {
            self.machine.disk.stop_after(Some(self.dice.below(deeds * 6)));
        }
        self.work(deeds)
    }

    fn work(&mut self, deeds: u64) -> Result<(), Broken> {
        for _ in 0..deeds {
            if self.machine.disk.is_stopped() || self.life().poisoned.is_some_and(|since| since > 8) {
                break;
            }
            if let Some(since) = &mut self.life_mut().poisoned {
                *since += 1;
            }
            self.tally.deeds += 1;
            self.deed()?;
            if self.life.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn deed(&mut self) -> Result<(), Broken> {
        self.faults_before_deed = self.machine.disk.injected_by_kind();
        let deed = DEEDS[self.dice.weighted(&self.swarm.weights)];
        self.say(|| format!("{deed:?}"));
        match deed {
            Deed::Append => self.append(),
            Deed::Wait => self.wait_one(),
            Deed::WaitAll => self.wait_all(),
            Deed::Sync => self.sync(),
            Deed::Step => self.step(),
            Deed::Clock => {
                self.clock();
                Ok(())
            }
            Deed::Range | Deed::Window | Deed::Stream | Deed::Lists | Deed::Places => {
                let reader = self.log().reader();
                self.look(&reader, deed)
            }
            Deed::Reader => self.look_beside(),
            Deed::Follow => self.follow(),
            Deed::Consumer => self.consumer(),
            Deed::Reopen => self.reopen(),
            Deed::Room => {
                self.room();
                Ok(())
            }
        }
    }

    // Appending.

    fn given(&mut self, stream: u32) -> Given {
        self.tags += 1;
        let dice = &self.dice;
        let len = match dice.below(100) {
            n if n < self.swarm.large => dice.between(10_000, 70_000),
            n if n < 60 => dice.below(64),
            n if n < 97 => dice.below(600),
            _ => dice.below(9000),
        };
        let year_us = 31_557_600_000_000i64;
        let time = match dice.below(6) {
            0 => Some(1_700_000_000_000_000 + dice.below(1000) as i64 * 1000),
            1 => Some(1_700_000_000_000_000 + (dice.below(200) as i64 - 100) * year_us),
            _ => None,
        };
        Given { stream, kind: dice.weighted(&[50, 30, 15, 4, 1]) as u8, tag: self.tags, len: len as u32, time }
    }

    fn stream(&mut self) -> u32 {
        let number = self.dice.below(self.swarm.streams);
        self.model.stream(&format!("stream-{number}"))
    }

    fn wish(&mut self) -> Wish {
        let durability = if self.dice.percent(self.swarm.written) { Durability::Os } else { Durability::Disk };
        let count = match self.dice.below(20) {
            0 => self.dice.between(5, 40),
            n if n < 6 => self.dice.between(2, 4),
            _ => 1,
        };
        let mut events = Vec::new();
        for _ in 0..count {
            let stream = self.stream();
            events.push(self.given(stream));
        }
        let mut wish = Wish { events, source: None, expect: Vec::new(), producer: None, durability };
        if self.swarm.expectations && self.dice.percent(40) {
            for _ in 0..self.dice.between(1, 2) {
                let stream = self.stream();
                let expect = self.expect(stream);
                wish.expect.push((stream, expect));
            }
        }
        if self.swarm.sources && self.dice.percent(20) {
            let name = format!("$source/import-{}", self.dice.below(3));
            let stream = self.model.stream(&name);
            let expect = self.expect(stream);
            let len = self.dice.below(200) as u32;
            self.tags += 1;
            wish.source = Some(Given { stream, kind: POSITION, tag: self.tags, len, time: None });
            wish.expect.push((stream, expect));
            if self.dice.percent(20) {
                wish.events.clear();
            }
        }
        if self.swarm.producers && self.dice.percent(30) {
            self.produce(&mut wish);
        }
        wish
    }

    /// What is true of a stream, or, at times, is not.
    fn expect(&self, stream: u32) -> Expect {
        let dice = &self.dice;
        let wrong = dice.percent(20);
        let more = u64::from(wrong);
        match (self.model.last(stream), dice.below(4)) {
            (_, 0) if !wrong => Expect::Any,
            (Some((version, _)), 1) => Expect::Version(Version::from_raw(version + more)),
            (Some((_, offset)), 2) => Expect::Last(Offset::from_raw(offset + more)),
            (Some(_), _) => {
                if wrong {
                    Expect::None
                } else {
                    Expect::Exists
                }
            }
            (None, 1) if wrong => Expect::Version(Version::FIRST),
            (None, _) => {
                if wrong {
                    Expect::Exists
                } else {
                    Expect::None
                }
            }
        }
    }

    fn produce(&mut self, wish: &mut Wish) {
        let producer = self.dice.below(3) as u8;
        let (epoch, next) = self.model.producer(producer).unwrap_or((1, 0));
        let durability = wish.durability;
        let (epoch, sequence) = match self.dice.below(100) {
            n if n < 20 => {
                if let Some(sent) = self.model.sent_before(producer, self.dice.below(18) as usize) {
                    *wish = Wish { durability, ..sent };
                    return;
                }
                (epoch, next)
            }
            n if n < 25 => (epoch, next + self.dice.between(1, 3)),
            n if n < 30 => (epoch.saturating_sub(1), next),
            n if n < 36 => (epoch + 1, 0),
            n if n < 42 => (epoch, next.saturating_sub(self.dice.between(1, 20))),
            _ => (epoch, next),
        };
        wish.producer = Some(Sent { producer, epoch, sequence });
    }

    fn append(&mut self) -> Result<(), Broken> {
        let wish = self.wish();
        let answer = self.model.judge(&wish);
        let log = self.log();
        let receipt = match log.append(self.model.append(&wish)) {
            Ok(receipt) => receipt,
            Err(error) => return self.refused(&wish, &answer, &error),
        };
        ensure!(self.life().poisoned.is_none(), "an append is taken after one whose outcome is not known");
        let planned = receipt.planned();
        let (first, end) = (planned.first().raw(), planned.next().raw());
        match answer {
            Answer::Taken => {
                let next = self.model.next();
                ensure!(first == next && !planned.is_resend(), "an append is put at {first}, {next} comes next");
                let versions: Vec<u64> = planned.versions().map(Version::raw).collect();
                let recorded = planned.recorded().as_micros();
                self.model.push(&wish, recorded);
                ensure!(end == self.model.next(), "an append ends at {end}, not {}", self.model.next());
                let expected = self.model.versions(first, end);
                ensure!(versions == expected, "an append at {first} has versions {versions:?}, not {expected:?}");
            }
            Answer::Resent { first: was, end: to } => {
                let resent = planned.is_resend() && (first, end) == (was, to);
                ensure!(resent, "an append of {was} to {to} that was sent again is said to be at {first} to {end}");
            }
            other => return Err(format!("an append is taken that has to be answered by {other:?}")),
        }
        let durability = wish.durability;
        match self.dice.below(10) {
            0 => drop(receipt),
            1..5 => self.life_mut().receipts.push((receipt, end, durability)),
            _ => self.wait(receipt, end, durability)?,
        }
        Ok(())
    }

    fn refused(&mut self, wish: &Wish, answer: &Answer, error: &AppendError) -> Result<(), Broken> {
        ensure!(error.nothing_written(), "an append is refused, and may be there: {error}");
        match error {
            AppendError::DiskFull => self.excused("an append", error),
            AppendError::Io(_) => self.excused("an append", error),
            AppendError::Read(read) => self.excused_read("an append", read),
            AppendError::Poisoned(_) => self.poisoned("an append", error),
            _ => {
                let rests_on = self.model.check_refusal(answer, error)?;
                self.model.acknowledge(rests_on, wish.durability);
                Ok(())
            }
        }
    }

    fn wait(&mut self, receipt: Receipt, end: u64, durability: Durability) -> Result<(), Broken> {
        let planned = receipt.planned().clone();
        match receipt.wait() {
            Ok(appended) => {
                ensure!(appended == planned, "an append was planned as {planned:?}, and became {appended:?}");
                let durable_end = self.life().log.durable_end().raw();
                ensure!(
                    durability == Durability::Os || durable_end >= end,
                    "{end} is acknowledged beyond the durable end {durable_end}"
                );
                self.model.acknowledge(end, durability);
                Ok(())
            }
            Err(error @ AppendError::OutcomeUnknown(_)) => self.poisoned("waiting", &error),
            Err(error) => Err(format!("waiting fails with: {error}")),
        }
    }

    fn wait_one(&mut self) -> Result<(), Broken> {
        let count = self.life().receipts.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let at = self.dice.below(count) as usize;
        let (receipt, end, durability) = self.life_mut().receipts.swap_remove(at);
        if self.dice.percent(70) { self.wait(receipt, end, durability) } else { self.poll(receipt, end, durability) }
    }

    /// Asks a receipt as a task does; the background then has to write and sync.
    fn poll(&mut self, mut receipt: Receipt, end: u64, durability: Durability) -> Result<(), Broken> {
        match Pin::new(&mut receipt).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.life_mut().receipts.push((receipt, end, durability)),
            Poll::Ready(Ok(appended)) => {
                ensure!(appended == *receipt.planned(), "an append becomes {appended:?}");
                self.model.acknowledge(end, durability);
            }
            Poll::Ready(Err(error @ AppendError::OutcomeUnknown(_))) => {
                self.poisoned("waiting", &error)?;
            }
            Poll::Ready(Err(error)) => return Err(format!("waiting fails with: {error}")),
        }
        Ok(())
    }

    fn wait_all(&mut self) -> Result<(), Broken> {
        for (receipt, end, durability) in std::mem::take(&mut self.life_mut().receipts) {
            self.wait(receipt, end, durability)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Broken> {
        match self.log().sync() {
            Ok(end) => {
                ensure!(end.raw() == self.model.next(), "a sync says {end}, there are {} events", self.model.next());
                self.model.acknowledge(end.raw(), Durability::Disk);
                Ok(())
            }
            Err(error) => self.poisoned("a sync", &error),
        }
    }

    fn step(&mut self) -> Result<(), Broken> {
        for _ in 0..self.dice.between(1, 3) {
            match self.log().step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    return self.poisoned("a step", &error);
                }
            }
        }
        Ok(())
    }

    fn clock(&mut self) {
        let (clock, dice) = (&self.machine.clock, &self.dice);
        if dice.percent(self.swarm.jumps) {
            let most = dice.of(&[1_000, 10_000_000, 3_155_760_000_000_000]);
            clock.jump_us(dice.below(2 * most) as i64 - most as i64);
        } else {
            clock.advance_ms(dice.of(&[1, 30, 110, 250]));
        }
    }

    fn room(&mut self) {
        if !self.swarm.full || !self.faults_on {
            return;
        }
        let room = if self.full { None } else { Some(self.dice.below(300_000)) };
        self.set_room(room);
    }

    // Reading.

    fn look(&mut self, reader: &LogReader, deed: Deed) -> Result<(), Broken> {
        let (dice, model) = (&self.dice, &mut self.model);
        let next = model.next();
        let checked = match deed {
            Deed::Range => {
                let from = dice.below(next + 2);
                let to = from + dice.below(dice.of(&[3, 50, next + 5]));
                model.check_range(reader, from, to, dice.percent(40))
            }
            Deed::Window => {
                let year_us = 31_557_600_000_000;
                let from =
                    1_700_000_000_000_000 + (dice.below(200) as i64 - 100) * year_us / dice.of(&[1, 1, 1_000_000]);
                let kind = dice.percent(40).then(|| dice.below(5) as u8);
                model.check_window(reader, from, from + dice.of(&[year_us / 1000, year_us, 50 * year_us]), kind)
            }
            Deed::Stream => {
                let stream = model.stream(&format!("stream-{}", dice.below(self.swarm.streams + 1)));
                let last = model.last(stream).map_or(0, |(version, _)| version);
                let from = if dice.percent(50) { 0 } else { dice.below(last + 2) };
                model.check_stream(reader, stream, from, dice.percent(40))
            }
            Deed::Lists => model.check_lists(reader),
            Deed::Places => {
                let at = model.recorded(dice.below(next + 1)) + dice.below(3) as i64 - 1;
                model.check_places(reader, dice.below(next + 2), at)
            }
            _ => model.check_all(reader).map(drop),
        };
        self.checked("reading", checked).map(drop)
    }

    /// Looks at the log as another process does.
    fn look_beside(&mut self) -> Result<(), Broken> {
        let reader = match self.life_mut().reader.take().filter(|_| self.dice.percent(80)) {
            Some(reader) => reader,
            None => match self.open_reader()? {
                Some(reader) => reader,
                None => return Ok(()),
            },
        };
        let deed = self.dice.of(&[Deed::Range, Deed::Stream, Deed::Window, Deed::Places, Deed::Reader]);
        self.look(&reader, deed)?;
        self.life_mut().reader = Some(reader);
        Ok(())
    }

    fn open_reader(&mut self) -> Result<Option<LogReader>, Broken> {
        let mode = self.dice.of(&[ReadMode::Map, ReadMode::Pread]);
        match self.machine.reader(mode) {
            Ok(reader) => Ok(Some(reader)),
            Err(OpenError::Damaged(damage)) if !self.is_rotten() => Err(format!("a reader finds damage: {damage}")),
            Err(error) => self.excused("opening a reader", &error).map(|()| None),
        }
    }

    fn follow(&mut self) -> Result<(), Broken> {
        let (mut follow, mut next) = match self.life_mut().follow.take() {
            Some(follow) if self.dice.percent(90) => follow,
            _ => {
                let from = self.dice.below(self.model.next() + 1);
                let life = self.life();
                let reader = life.reader.clone().filter(|_| self.dice.percent(50)).unwrap_or_else(|| life.log.reader());
                (reader.follow(Offset::from_raw(from)).system(true), from)
            }
        };
        for _ in 0..self.dice.below(60) {
            let Some(event) = follow.next_within(Duration::ZERO) else { break };
            match event {
                Ok(event) => {
                    ensure!(event.offset().raw() == next, "following gives {}, not {next}", event.offset());
                    self.model.check_event(event.borrow())?;
                    next += 1;
                    self.model.seen = self.model.seen.max(next);
                }
                // Where nothing more will come, it says what the writer failed of.
                Err(ReadError::Io(error)) => return self.excused("following", &error),
                Err(error) => return self.excused_read("following", &error),
            }
        }
        self.life_mut().follow = Some((follow, next));
        Ok(())
    }

    // Consumers.

    fn consumer(&mut self) -> Result<(), Broken> {
        let at = self.dice.below(CONSUMERS.len() as u64) as usize;
        match self.life_mut().consumers[at].take() {
            None => self.open_consumer(at),
            Some(consumer) if self.dice.percent(12) => {
                drop(consumer);
                Ok(())
            }
            Some((consumer, reader)) => self.move_cursor(at, consumer, reader),
        }
    }

    fn open_consumer(&mut self, at: usize) -> Result<(), Broken> {
        let life = self.life();
        let beside = life.reader.clone().filter(|_| self.dice.percent(30));
        let beside_writer = beside.is_some();
        let reader = beside.unwrap_or_else(|| life.log.reader());
        let opened = reader.consumer(CONSUMERS[at]);
        let rotten = self.has_rotten_cursors();
        let cursor = &mut self.cursors[at];
        if cursor.seen.is_empty() {
            (cursor.seen, cursor.kept) = (vec![0], vec![0]);
        }
        match opened {
            Ok(consumer) => {
                let next = consumer.cursor().raw();
                ensure!(
                    cursor.seen.contains(&next) || rotten,
                    "consumer {} is at {next}, not at one of {:?}",
                    CONSUMERS[at],
                    cursor.seen
                );
                // Other writes may be lost without a word.
                *cursor = Cursor { is_there: !rotten, seen: vec![next], kept: vec![next] };
                self.life_mut().consumers[at] = Some((consumer, reader));
                Ok(())
            }
            // Where LOCK could not be written, another process sees less than was durable.
            Err(ConsumerError::CursorAhead { .. }) if beside_writer => self.excused_lag("opening a consumer"),
            Err(error) => self.excused_consumer("opening a consumer", &error),
        }
    }

    fn excused_lag(&self, what: &str) -> Result<(), Broken> {
        ensure!(self.machine.disk.injected() > self.injected || self.is_rotten(), "{what} says that it is ahead");
        Ok(())
    }

    fn move_cursor(&mut self, at: usize, mut consumer: Consumer, reader: LogReader) -> Result<(), Broken> {
        let end = match reader.durable_end() {
            Ok(end) => end.raw(),
            Err(error) => return self.excused_read("asking for the durable end", &error),
        };
        if self.dice.percent(30) {
            let checked = self.model.check_consumed(&consumer, end);
            self.checked("reading for a consumer", checked)?;
        }
        let now = consumer.cursor().raw();
        ensure!(now <= end, "the cursor {now} is ahead of the durable end {end}");
        let next = self.dice.between(now.saturating_sub(2), end + 1);
        let way = self.dice.weighted(&[5, 4, 1]);
        let place = Offset::from_raw(next);
        let outcome = match way {
            0 => consumer.commit(place),
            1 => consumer.commit_in_background(place),
            _ => consumer.seek(place),
        };
        let cursor = &mut self.cursors[at];
        match outcome {
            Ok(()) => {
                ensure!(
                    next <= end && (next >= now || way == 2),
                    "a cursor goes from {now} to {next}, the end is {end}"
                );
                cursor.seen = vec![next];
                match way {
                    1 if next != now => cursor.kept.push(next),
                    1 => {}
                    _ => cursor.kept = vec![next],
                }
                // A reader has handed out all before it.
                self.model.seen = self.model.seen.max(next);
            }
            Err(ConsumerError::CursorAhead { .. }) => {
                ensure!(next > end, "a cursor at {next} is said to be ahead of {end}")
            }
            Err(ConsumerError::Behind { .. }) => ensure!(next < now && way != 2, "{next} is said to be behind {now}"),
            Err(error) => {
                // Amid its write, what was committed in the background before is written over.
                cursor.seen.extend(&cursor.kept);
                cursor.seen.push(next);
                cursor.kept.push(next);
                self.excused_consumer("moving a cursor", &error)?;
                return Ok(()); // it takes no more: dropped
            }
        }
        self.life_mut().consumers[at] = Some((consumer, reader));
        Ok(())
    }

    fn excused_consumer(&self, what: &str, error: &ConsumerError) -> Result<(), Broken> {
        match error {
            ConsumerError::Io(_) => self.excused(what, error),
            ConsumerError::Read(read) => self.excused_read(what, read),
            _ if self.is_rotten() => Ok(()),
            _ => Err(format!("{what} fails: {error}")),
        }
    }

    /// Holds all consumers against what they may be at after a crash.
    fn check_consumers(&mut self, log: &Log, power: bool) -> Result<(), Broken> {
        if power {
            self.cursors.iter_mut().for_each(|cursor| cursor.seen.clone_from(&cursor.kept));
        }
        if self.has_rotten_cursors() {
            // A slot that is not whole gives way to the one before.
            let any: Vec<u64> = (0..=self.model.next()).collect();
            self.cursors =
                [(); CONSUMERS.len()].map(|()| Cursor { is_there: false, seen: any.clone(), kept: any.clone() });
            return Ok(());
        }
        let infos = match log.reader().consumers() {
            Ok(infos) => infos,
            Err(error) => return self.excused_consumer("listing consumers", &error),
        };
        // Whether a cursor is one of the log is seen by the event before it, which may not be read any more.
        let rotten = self.is_rotten();
        for (cursor, name) in self.cursors.iter_mut().zip(CONSUMERS) {
            let info = infos.iter().find(|info| info.name == name);
            let Some(info) = info else {
                ensure!(!cursor.is_there, "consumer {name} is gone");
                *cursor = Cursor::default();
                continue;
            };
            let next = info.next.raw();
            let may = &cursor.seen;
            ensure!(
                info.refusal.is_none() || rotten,
                "consumer {name} is refused: {}",
                info.refusal.as_ref().map(ToString::to_string).unwrap_or_default()
            );
            ensure!(may.contains(&next), "the cursor of {name} is at {next}, not at one of {may:?}");
            ensure!(
                next <= self.model.next(),
                "the cursor of {name} is at {next}, the log ends at {}",
                self.model.next()
            );
            cursor.seen = vec![next];
            if power {
                cursor.is_there = true;
                cursor.kept = vec![next];
            }
        }
        Ok(())
    }

    // Ends and beginnings.

    fn begin(&mut self) -> Result<bool, Broken> {
        self.set_faults(self.dice.percent(50));
        self.recover(false, false)
    }

    fn reopen(&mut self) -> Result<(), Broken> {
        if self.life().poisoned.is_some() {
            return Ok(());
        }
        self.close()?;
        if self.machine.disk.is_stopped() {
            return Ok(());
        }
        self.recover(false, false).map(drop)
    }

    /// Closes the log; whether that went well.
    fn close(&mut self) -> Result<bool, Broken> {
        let Some(life) = self.life.take() else { return Ok(false) };
        let Life { log, receipts, consumers, reader, follow, poisoned } = life;
        drop((consumers, reader, follow));
        let closed = log.close();
        let all_there = closed.is_ok();
        match closed {
            Ok(()) => {
                ensure!(poisoned.is_none(), "a log whose outcome was unknown is closed without an error");
                self.model.acknowledge(self.model.next(), Durability::Disk);
            }
            Err(error) => self.excused("closing", &error)?,
        }
        for (receipt, end, durability) in receipts {
            match receipt.wait() {
                Ok(_) => self.model.acknowledge(end, durability),
                Err(error) => ensure!(!all_there, "a receipt of a log that was closed fails: {error}"),
            }
        }
        Ok(all_there)
    }

    /// Ends the process and goes on with what is left; false when the log is damaged for good.
    fn crash(&mut self) -> Result<bool, Broken> {
        self.tally.crashes += 1;
        let ends = self.swarm.ends.iter().sum::<u32>();
        let mut end = if ends == 0 { End::Kill } else { ENDS[self.dice.weighted(&self.swarm.ends)] };
        if end == End::Close && (self.life.is_none() || self.machine.disk.is_stopped()) {
            end = End::PowerAny;
        }
        self.say(|| format!("ends by {end:?}"));
        if end == End::Close {
            self.close()?;
        }
        let mut power = self.end(end);
        self.life = None;
        if self.dice.percent(20) {
            for _ in 0..self.dice.between(1, 3) {
                power |= self.crash_in_recovery()?;
            }
            self.recover(power, true)
        } else {
            self.recover(power, end != End::Kill)
        }
    }

    /// Begins to open the log, and ends within; whether the power went.
    fn crash_in_recovery(&mut self) -> Result<bool, Broken> {
        let calls = self.dice.below(self.dice.of(&[6, 20, 60]));
        self.say(|| format!("opens for {calls} calls"));
        self.machine.disk.stop_after(Some(calls));
        match self.machine.open() {
            Ok(log) => self.model.seen = self.model.seen.max(log.durable_end().raw().min(self.model.next())),
            Err(OpenError::Damaged(damage)) if !self.is_rotten() => {
                return Err(format!("the log is damaged: {damage}"));
            }
            Err(error) => self.say(|| error.to_string()),
        }
        let end = self.dice.of(&[End::Kill, End::PowerAny, End::PowerInOrder, End::PowerNone]);
        self.say(|| format!("and ends by {end:?}"));
        Ok(self.end(end))
    }

    fn end(&mut self, end: End) -> bool {
        let power = self.machine.end(end, &self.dice);
        if power {
            self.injected_by_power = self.machine.disk.injected();
        }
        power
    }

    /// Opens the log and holds what is left against what has to be; false when it is damaged for good. `settled`:
    /// nothing is pending on the disk, so that it changes by recovery alone.
    fn recover(&mut self, power: bool, settled: bool) -> Result<bool, Broken> {
        self.forget_faults();
        let floor = self.model.floor(power);
        let was_rotten = self.rotten.len();
        let flips = if settled { self.rot() } else { Vec::new() };
        self.look_before(floor)?;
        let floor = floor.max(self.model.floor(true));
        let unsealed = self.machine.unsealed();
        let last = self.machine.segments().pop();
        let before = last.and_then(|path| Some((path.clone(), self.machine.memory.read_file(&path)?)));
        let mut tries = 0;
        let log = loop {
            tries += 1;
            match self.machine.open() {
                Ok(log) => break log,
                Err(OpenError::Damaged(damage)) => {
                    ensure!(self.is_rotten(), "the log is not opened: {damage}");
                    self.say(|| damage.to_string());
                    if !flips.is_empty() && self.machine.disk.silent() == 0 {
                        self.check_refused()?;
                        self.say(|| "the bits are turned back".to_owned());
                        self.put_back(flips);
                        self.rotten.truncate(was_rotten);
                        return self.recover_restored(power, floor);
                    }
                    self.check_refused()?;
                    self.tally.refused += 1;
                    return Ok(false);
                }
                Err(error) if self.machine.disk.is_stopped() => {
                    self.say(|| error.to_string());
                    return Ok(true);
                }
                Err(error @ (OpenError::Io(_) | OpenError::DiskFull { .. })) => self.excused("opening", &error)?,
                Err(error) => {
                    ensure!(self.is_rotten(), "the log is not opened: {error}");
                    self.tally.refused += 1;
                    return Ok(false);
                }
            }
            if tries == 3 {
                self.set_faults(false);
            }
            ensure!(tries < 5, "the log is not opened on a disk without faults");
        };
        if !self.is_rotten() {
            self.machine.check_sealed(&unsealed)?;
        }
        let before = before.filter(|_| settled && tries == 1 && flips.is_empty());
        self.recovered(&log, power, floor, before)?;
        self.live(log);
        Ok(true)
    }

    fn recover_restored(&mut self, power: bool, floor: u64) -> Result<bool, Broken> {
        self.set_faults(false);
        match self.machine.open() {
            Ok(log) => {
                self.recovered(&log, power, floor, None)?;
                self.live(log);
                Ok(true)
            }
            Err(error) => Err(format!("with its bits turned back, the log is not opened: {error}")),
        }
    }

    fn live(&mut self, log: Log) {
        let consumers = Default::default();
        self.life = Some(Life { log, receipts: Vec::new(), consumers, reader: None, follow: None, poisoned: None });
    }

    /// Turns bits over while no process runs; returns the files as they were.
    fn rot(&mut self) -> Vec<(PathBuf, Vec<u8>)> {
        if self.swarm.rot == 0 || self.dice.percent(40) {
            return Vec::new();
        }
        let mut whole = Vec::new();
        for _ in 0..self.dice.between(1, self.swarm.rot) {
            let files: Vec<_> = self.machine.memory.files().into_iter().filter(|(_, len)| *len > 0).collect();
            if files.is_empty() {
                break;
            }
            let (path, len) = files[self.dice.below(files.len() as u64) as usize].clone();
            let (byte, bit) = (self.dice.below(len) as usize, self.dice.below(8) as u8);
            self.say(|| format!("bit {bit} of byte {byte} of {} turns over", path.display()));
            whole.push((path.clone(), self.machine.memory.read_file(&path).unwrap_or_default()));
            self.machine.memory.flip_bit(&path, byte, bit);
            self.rotten.push(path);
        }
        whole
    }

    /// Puts files back as they were, the last one that was changed first.
    fn put_back(&self, whole: Vec<(PathBuf, Vec<u8>)>) {
        for (path, bytes) in whole.iter().rev() {
            self.machine.memory.write_file(path, bytes);
        }
    }

    /// What is refused to be opened is damaged in the eyes of whoever looks closely, too.
    fn check_refused(&mut self) -> Result<(), Broken> {
        self.machine.disk.set_rates(Rates::default());
        let report = self.machine.verify();
        self.set_faults(self.faults_on);
        let sound = report.as_ref().is_ok_and(|report| report.is_sound());
        ensure!(!sound, "a log that is refused as damaged is sound, says verify");
        Ok(())
    }

    /// Looks at what a crash has left before anything is mended.
    fn look_before(&mut self, floor: u64) -> Result<(), Broken> {
        let none = |error: &OpenError| matches!(error, OpenError::NotFound { .. }) && floor == 0;
        if self.dice.percent(40) {
            match self.machine.verify() {
                Ok(report) => {
                    let sound = is_sound(&report) || self.is_rotten();
                    ensure!(sound, "verify finds damage before the log is opened: {:?}", report.damage);
                }
                Err(error) if none(&error) => {}
                Err(error) => self.excused("verify", &error)?,
            }
        }
        if self.dice.percent(30) {
            match self.machine.reader(ReadMode::Map) {
                Ok(reader) => self.look(&reader, Deed::Reader)?,
                Err(error) if none(&error) => {}
                Err(error) => self.excused("opening a reader", &error)?,
            }
        }
        Ok(())
    }

    /// Holds a log that was opened again against the model.
    fn recovered(
        &mut self,
        log: &Log,
        power: bool,
        floor: u64,
        before: Option<(PathBuf, Vec<u8>)>,
    ) -> Result<(), Broken> {
        let report = log.report().clone();
        self.tally.cuts += u64::from(report.torn.is_some());
        let (end, tail) = (log.durable_end().raw(), log.tail().raw());
        self.say(|| format!("opened with {end} of {} events, {floor} acknowledged; {report:?}", self.model.next()));
        ensure!(end == tail, "an opened log is durable up to {end} and ends at {tail}");
        ensure!(end <= self.model.next(), "{end} events are left of {}", self.model.next());
        ensure!(self.model.is_end(end), "the log ends at {end}, within an append");
        // An open that cuts and then fails tells by what it leaves in `torn`.
        let kept = self.kept();
        let is_cut = report.torn.is_some() || kept > self.kept;
        self.kept = kept;
        let told = self.machine.disk.silent() > 0 || (self.is_rotten() && is_cut);
        ensure!(end >= floor || told, "{end} events are left of {floor} that have to be there");
        self.model.cut(end);
        let checked = self.model.check_all(&log.reader());
        self.checked("reading all after opening", checked)?;
        for (name, offset, version, data) in self.model.sources() {
            let record = log.source(&name).ok_or_else(|| format!("source {name} is forgotten"))?;
            let same =
                (record.offset.raw(), record.version.raw(), &record.position[..]) == (offset, version, &data[..]);
            ensure!(same, "source {name} is at {record:?}, not at {offset} with version {version}");
        }
        for stream in self.model.streams().into_iter().take(3) {
            let checked = self.model.check_stream(&log.reader(), stream, 0, false);
            self.checked("reading a stream after opening", checked)?;
        }
        self.check_consumers(log, power)?;
        self.machine.check_files()?;
        if self.is_rotten() {
            return Ok(());
        }
        if self.dice.percent(20) {
            // Where a sync failed, zeros in the place of what was cut may be gone with the power; it is cut again.
            let zeros_may_be_lost = self.machine.disk.injected() > self.injected_by_power;
            self.machine.check_again(end, zeros_may_be_lost, &self.dice)?;
        }
        if let Some((path, bytes)) = before {
            self.machine.check_cut(&report, &path, &bytes)?;
        }
        Ok(())
    }

    /// How many torn tails were kept aside.
    fn kept(&self) -> usize {
        let files = self.machine.memory.files().into_iter();
        files.filter(|(path, _)| path.extension().is_some_and(|ending| ending == "torn")).count()
    }

    /// The faults are gone: the log has to go on, and to be whole.
    fn settle(&mut self) -> Result<(), Broken> {
        self.set_faults(false);
        if self.life.is_some() && self.life().poisoned.is_none() && self.dice.percent(50) {
            // Without being opened again.
        } else if !self.crash()? {
            return Ok(());
        }
        self.forget_faults();
        if self.is_rotten() {
            let reader = self.log().reader();
            return self.look(&reader, Deed::Reader);
        }
        let before = self.machine.fork();
        for _ in 0..3 {
            self.append_plainly()?;
        }
        let log = self.log();
        self.life_mut().consumers = Default::default();
        for name in CONSUMERS {
            let mut consumer =
                log.consumer(name).map_err(|error| format!("consumer {name} does not go on: {error}"))?;
            consumer.commit(log.durable_end()).map_err(|error| format!("consumer {name} does not move: {error}"))?;
        }
        let end = log.durable_end().raw();
        drop(log);
        self.check_other_history(before, end)?;
        self.machine.clock.advance_ms(1000);
        for _ in 0..1000 {
            match self.log().step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(format!("a step fails on a sound disk: {error}")),
            }
        }
        let reader = self.log().reader();
        for deed in [Deed::Reader, Deed::Lists] {
            self.look(&reader, deed)?;
        }
        for stream in self.model.streams() {
            let checked = self.model.check_stream(&reader, stream, 0, self.dice.percent(50));
            self.checked("reading a stream", checked)?;
        }
        drop(reader);
        ensure!(self.close()?, "the log is not closed");
        self.machine.end(End::PowerNone, &self.dice);
        let report = self.machine.verify().map_err(|error| error.to_string())?;
        ensure!(is_sound(&report), "a closed log is damaged: {:?}", report.damage);
        ensure!(report.events == self.model.next(), "verify counts {} events of {}", report.events, self.model.next());
        // A footer that is seen but not synced may be gone with the power, and then a merged index has nothing to be held
        // against: both hold nothing that is not made again.
        let footers_are_gone = report.notes.iter().any(|note| note.contains("has no indexes yet"));
        let known = |note: &&String| {
            note.contains("unfinished copy of a torn tail")
                || note.contains("has no indexes yet")
                || (footers_are_gone && note.contains("is an index of other segments"))
        };
        let strange = report.notes.iter().find(|note| !known(note));
        ensure!(strange.is_none(), "a closed log has something left to mend: {strange:?}");
        let reader = self.machine.reader(ReadMode::Map).map_err(|error| error.to_string())?;
        let end = self.model.check_all(&reader);
        let end = self.checked("reading a closed log", end)?;
        ensure!(end == Some(self.model.next()), "a closed log ends at {end:?}, not at {}", self.model.next());
        Ok(())
    }

    /// The log as it was a while ago goes on with other events, behind cursors that it was committed with since: no
    /// consumer may go on in a history that it has not seen.
    fn check_other_history(&self, before: Machine, committed: u64) -> Result<(), Broken> {
        let mut restored = before;
        restored.end(End::Kill, &self.dice);
        let is_cursor = |path: &Path| path.extension().is_some_and(|ending| ending == "cur");
        for (path, _) in restored.memory.files().into_iter().filter(|(path, _)| is_cursor(path)) {
            restored.memory.remove(&path).map_err(|error| error.to_string())?;
        }
        restored.clock.advance_ms(7);
        let failed = |error: &dyn Display| format!("a log that was restored does not go on: {error}");
        let log = restored.open().map_err(|error| failed(&error))?;
        while log.durable_end().raw() < committed {
            let append = annals::Event::new("another history", "Other").data(b"other".as_slice());
            log.append(append).and_then(Receipt::wait).map_err(|error| failed(&error))?;
        }
        let last = Offset::from_raw(committed - 1);
        let event = log.reader().get(last).map_err(|error| failed(&error))?;
        log.close().map_err(|error| failed(&error))?;
        // When it was recorded is all that an event is known by. A clock that was set back since gives both the same.
        let is_known = event.is_some_and(|event| event.recorded().as_micros() != self.model.recorded(last.raw()));
        for (path, _) in self.machine.memory.files().into_iter().filter(|(path, _)| is_cursor(path)) {
            restored.memory.write_file(&path, &self.machine.memory.read_file(&path).unwrap_or_default());
        }
        let log = restored.open().map_err(|error| failed(&error))?;
        for name in CONSUMERS.iter().filter(|_| is_known) {
            match log.consumer(name) {
                Err(ConsumerError::CursorOfAnotherHistory { .. }) => {}
                Ok(consumer) => return Err(format!("{name} goes on at {} in another history", consumer.cursor())),
                Err(error) => return Err(format!("{name} is refused in another history by: {error}")),
            }
        }
        log.close().map_err(|error| failed(&error))
    }

    /// An append that has to be acknowledged.
    fn append_plainly(&mut self) -> Result<(), Broken> {
        let stream = self.stream();
        let wish = Wish {
            events: vec![self.given(stream)],
            source: None,
            expect: Vec::new(),
            producer: None,
            durability: Durability::Disk,
        };
        let failed = |error: AppendError| format!("an append fails on a sound disk: {error}");
        let receipt = self.log().append(self.model.append(&wish)).map_err(failed)?;
        self.model.push(&wish, receipt.planned().recorded().as_micros());
        let appended = receipt.wait().map_err(failed)?;
        ensure!(appended.next().raw() == self.model.next(), "an append ends at {}", appended.next());
        self.model.acknowledge(appended.next().raw(), Durability::Disk);
        Ok(())
    }
}
