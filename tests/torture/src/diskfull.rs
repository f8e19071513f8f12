//! A small file system that is filled, and gets its space back.
//!
//! Each run has a file system of its own with so much room as its seed says: so it becomes full while the log is
//! made, within an append, a roll, a seal, a merge of indexes, the commit of a cursor or an open. While it is full,
//! appends are refused and all else goes on; once there is room, appends go on in the same process.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use annals::testkit::Env;
use annals::{AppendError, Codec, ConsumerError, Log, LogReader, OpenError, Options, ReadMode, verify};
use rustix::fs::{FallocateFlags, fallocate};

use crate::check::{After, Facts, check};
use crate::child::{Next, PATIENCE, Process, worker};
use crate::dice::Dice;
use crate::given::Given;
use crate::mount::{Fs, Image, Workshop};
use crate::summary::Summary;

const LAYER: &str = "diskfull";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many runs, each with a file system of its own that becomes full at another place.
    #[arg(long, default_value_t = 5)]
    runs: u64,
    /// The seed of the first run; each next one has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On this file system alone.
    #[arg(long)]
    fs: Option<Fs>,
}

pub fn run(args: &Args) -> Summary {
    let workshop = match Workshop::enter(LAYER) {
        Ok(workshop) => workshop,
        Err(skipped) => return skipped,
    };
    let systems = args.fs.map_or_else(Fs::there, |fs| vec![fs]);
    let mut summary = Summary::new(LAYER);
    for seed in args.seed..args.seed + args.runs {
        let dice = Dice::new(seed);
        let fs = dice.of(&systems);
        summary.count("runs", 1);
        let outcome = match dice.percent(30) {
            true => killed(&workshop, seed, &dice, fs, &mut summary),
            false => Run::new(&workshop, &dice, fs, &mut summary).and_then(Run::go),
        };
        if let Err(why) = outcome {
            let only = args.fs.map_or(String::new(), |fs| format!(" --fs {}", fs.name()));
            summary.violation(format!(
                "{why} ({} on {})\n  again: tools/torture {LAYER} --runs 1 --seed {seed}{only}",
                seed,
                fs.name()
            ));
        }
    }
    summary
}

/// Sparse: it takes what the log and the file system's own tables take.
const IMAGE_BYTES: u64 = 16 << 20;
/// Room that is left at first, at most: a log of a dozen of the smallest segments, with their merged index.
const ROOM_BYTES: u64 = 4 << 20;

struct Run<'r> {
    dice: &'r Dice,
    summary: &'r mut Summary,
    image: Image,
    ballast: Ballast,
    log_dir: PathBuf,
    options: Options,
    given: Given,
}

impl<'r> Run<'r> {
    fn new(workshop: &Workshop, dice: &'r Dice, fs: Fs, summary: &'r mut Summary) -> Result<Run<'r>, String> {
        let (image, ballast) = small_image(workshop, dice, fs)?;
        let options = Log::options()
            .segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST)
            .codec(dice.of(&[Codec::None, Codec::Lz4, Codec::Zstd]))
            .reads(dice.of(&[ReadMode::Map, ReadMode::Pread]));
        let log_dir = image.dir().join("log");
        Ok(Run { dice, summary, image, ballast, log_dir, options, given: Given::default() })
    }

    fn go(mut self) -> Result<(), String> {
        let mut log = self.make()?;
        for round in 0..1 + self.dice.below(3) {
            self.fill(&log)?;
            self.while_full(&log)?;
            match self.dice.below(2) {
                0 => {}
                _ => {
                    log = match self.close_and_reopen_full(log)? {
                        Some(log) => log,
                        None => {
                            self.free(round)?;
                            self.reopen()?
                        }
                    }
                }
            }
            self.free(round)?;
            self.goes_on(&log)?;
        }
        self.end(log)
    }

    /// Opens the log for the first time, before or after there is room for it.
    fn make(&mut self) -> Result<Log, String> {
        match self.options.clone().open(&self.log_dir) {
            Ok(log) => Ok(log),
            Err(OpenError::DiskFull { .. }) => {
                self.summary.count("full at creation", 1);
                match LogReader::open(&self.log_dir) {
                    Err(OpenError::NotFound { .. }) => {}
                    other => return Err(format!("there is no log yet, but reading says {other:?}")),
                }
                self.free(0)?;
                self.reopen()
            }
            Err(error) => Err(format!("making the log on a full disk: {error:?}")),
        }
    }

    fn reopen(&self) -> Result<Log, String> {
        self.options.clone().open(&self.log_dir).map_err(|error| format!("opening with room: {error}"))
    }

    /// Appends until the disk is full; a consumer follows.
    fn fill(&mut self, log: &Log) -> Result<(), String> {
        let mut consumer = log.consumer("follower").map_err(|error| format!("{error:?}")).ok();
        loop {
            if self.given.len() > 400_000 {
                return Err("the disk never becomes full".to_owned());
            }
            let mut promises = Vec::new();
            let full = loop {
                match self.given.append(log, self.dice, 60_000) {
                    Ok(promise) => promises.push(promise),
                    Err(AppendError::DiskFull) => break true,
                    Err(error) => return Err(format!("an append on a full disk: {error:?}")),
                }
                if self.dice.percent(40) {
                    break false;
                }
            };
            for promise in promises {
                self.given
                    .wait(promise)
                    .map_err(|error| format!("an append that was taken, on a full disk: {error:?}"))?;
            }
            if let Some(consumer) = &mut consumer
                && self.dice.percent(10)
            {
                let end = log.durable_end();
                full_or_fine(consumer.commit(end))?;
            }
            if full {
                self.summary.count("times full", 1);
                return Ok(());
            }
        }
    }

    /// The disk is full: what was taken is kept, everything but appending goes on.
    fn while_full(&mut self, log: &Log) -> Result<(), String> {
        for bytes in [0, 300, 60_000, 250_000] {
            match self.given.append(log, self.dice, bytes) {
                Ok(promise) => {
                    // Small ones still find room where there was none for large ones.
                    self.given.wait(promise).map_err(|error| format!("a small append while full: {error:?}"))?;
                }
                Err(AppendError::DiskFull) => self.summary.count("refusals", 1),
                Err(error) => return Err(format!("an append while full: {error:?}")),
            }
        }
        log.sync().map_err(|error| format!("a sync while full: {error:?}"))?;
        self.given.all_durable();
        if let Ok(mut consumer) = log.consumer(self.dice.of(&["follower", "new"])) {
            full_or_fine(consumer.commit(log.durable_end()))?;
        }
        self.check(Some(log))
    }

    /// All is there, for readers inside and outside, and every byte is as it was written.
    fn check(&mut self, log: Option<&Log>) -> Result<(), String> {
        let mut seen = vec![self.given.check_from_outside(&self.log_dir)?];
        if let Some(log) = log {
            seen.push(self.given.check(&log.reader())?);
        }
        if seen.iter().any(|seen| *seen != self.given.len()) {
            return Err(format!("{} events were taken, readers see {seen:?}", self.given.len()));
        }
        let report = verify(&self.log_dir, &mut |_, _| {}).map_err(|error| format!("verify: {error}"))?;
        self.summary.count("checks", 1);
        match report.is_sound() {
            true => Ok(()),
            false => Err(format!("verify found damage: {:?}", report.damage)),
        }
    }

    /// Ends the writer and begins the next one, both on a full disk; none when there is no room for that.
    fn close_and_reopen_full(&mut self, log: Log) -> Result<Option<Log>, String> {
        log.close().map_err(|error| format!("closing while full: {error}"))?;
        self.check(None)?;
        match self.options.clone().open(&self.log_dir) {
            Ok(log) => {
                self.summary.count("opened while full", 1);
                self.while_full(&log)?;
                Ok(Some(log))
            }
            Err(OpenError::DiskFull { .. }) => {
                self.summary.count("not opened while full", 1);
                self.check(None)?;
                Ok(None)
            }
            Err(error) => Err(format!("opening while full: {error:?}")),
        }
    }

    /// Gives some room back.
    fn free(&mut self, round: u64) -> Result<(), String> {
        let bytes = if round == 0 { 1 << 20 } else { 2 << 20 };
        self.ballast.give_back(bytes).map_err(|error| format!("no room given back: {error}"))
    }

    /// There is room again: appends go on by themselves.
    fn goes_on(&mut self, log: &Log) -> Result<(), String> {
        for _ in 0..5 {
            let promise = self.given.append(log, self.dice, 2_000);
            let promise = promise.map_err(|error| format!("there is room, but an append is refused: {error:?}"))?;
            self.given.wait(promise).map_err(|error| format!("there is room, but an append fails: {error:?}"))?;
        }
        self.summary.count("times resumed", 1);
        Ok(())
    }

    fn end(mut self, log: Log) -> Result<(), String> {
        log.close().map_err(|error| format!("closing with room: {error}"))?;
        self.given.all_durable();
        self.check(None)?;
        let log = self.reopen()?;
        if let Some(torn) = &log.report().torn {
            return Err(format!("a clean close left a torn tail: {torn:?}"));
        }
        self.goes_on(&log)?;
        log.close().map_err(|error| format!("closing at the end: {error}"))?;
        self.check(None)?;
        self.summary.count("events", self.given.len() as u64);
        drop(self.ballast);
        self.image.unmount().map_err(|error| format!("something still uses the file system: {error}"))
    }
}

/// A worker fills the disk and is killed while it is full, or sees room come back; so does the next one.
fn killed(workshop: &Workshop, seed: u64, dice: &Dice, fs: Fs, summary: &mut Summary) -> Result<(), String> {
    let (image, ballast) = small_image(workshop, dice, fs)?;
    let dir = image.dir().join("log");
    let mut facts = Facts::new(seed);
    for generation in 0..3 {
        let mut command = worker("write", [&dir]).map_err(|error| error.to_string())?;
        command.args(["--seed", &seed.to_string(), "--generation", &generation.to_string()]);
        let mut process = Process::start(&mut command)?;
        until(&process, &mut facts, "refused")?;
        summary.count("times full", 1);
        if dice.percent(50) {
            ballast.give_back(1 << 20).map_err(|error| format!("no room given back: {error}"))?;
            until(&process, &mut facts, "ack")?;
            summary.count("times resumed", 1);
        }
        process.kill();
        process.end(|line| facts.take(line))?;
        summary.count("kills", 1);
        // Readers work whatever is missing for a writer.
        if let Err(error) = LogReader::open(&dir)
            && !matches!(error, OpenError::NotFound { .. })
        {
            return Err(format!("cannot be read after a kill on a full disk: {error}"));
        }
    }
    ballast.give_back(1 << 20).map_err(|error| format!("no room given back: {error}"))?;
    let found = check(&dir, &mut facts, After::Kill, &Env::system())?;
    summary.count("events", found.events);
    Ok(())
}

/// A file system with so much room as the dice say.
fn small_image(workshop: &Workshop, dice: &Dice, fs: Fs) -> Result<(Image, Ballast), String> {
    let made = || -> io::Result<(Image, Ballast)> {
        let options: &[&str] = match fs {
            // Nothing is kept aside for root: full is full.
            Fs::Ext4 if dice.percent(50) => &["-m", "0", "-b", "1024"],
            Fs::Ext4 => &["-m", "0", "-b", "4096"],
            Fs::Xfs => &[],
        };
        let mut image = workshop.image(fs, fs.bytes_min().max(IMAGE_BYTES), options)?;
        image.mount()?;
        let ballast = Ballast::new(image.dir())?;
        // Every fifth is full before the first segment of 256 KiB is there.
        let room = if dice.percent(20) { 400 << 10 } else { ROOM_BYTES };
        ballast.leave(dice.below(room))?;
        Ok((image, ballast))
    };
    made().map_err(|error| format!("no file system: {error}"))
}

/// Takes a worker's lines up to one of a kind.
fn until(process: &Process, facts: &mut Facts, kind: &str) -> Result<(), String> {
    loop {
        match process.next(PATIENCE) {
            Next::Line(line) if line.starts_with("failed") => return Err(format!("the worker {line}")),
            Next::Line(line) => {
                facts.take(&line)?;
                if line.starts_with(kind) {
                    return Ok(());
                }
            }
            Next::Silent | Next::Ended => return Err(format!("the worker says nothing more, and no {kind:?}")),
        }
    }
}

/// A cursor is moved, or a typed error says that the disk is full.
fn full_or_fine(outcome: Result<(), ConsumerError>) -> Result<(), String> {
    match outcome {
        Ok(()) => Ok(()),
        Err(ConsumerError::Io(failure)) if is_full(&failure.source) => Ok(()),
        Err(error) => Err(format!("a commit of a cursor while full: {error:?}")),
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

/// A file that takes the room that a log is not to have.
struct Ballast {
    file: File,
}

impl Ballast {
    fn new(dir: &Path) -> io::Result<Ballast> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("ballast"))?;
        Ok(Ballast { file })
    }

    /// Takes all room but so much.
    fn leave(&self, bytes: u64) -> io::Result<()> {
        let mut step = 64 << 20;
        let mut len = 0;
        while step >= 1024 {
            match fallocate(&self.file, FallocateFlags::empty(), len, step) {
                Ok(()) => len += step,
                Err(rustix::io::Errno::NOSPC) => step /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        self.file.set_len(len.saturating_sub(bytes))?;
        self.file.sync_all()
    }

    fn give_back(&self, bytes: u64) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let less = len.checked_sub(bytes).ok_or_else(|| io::Error::other("the ballast is used up"))?;
        self.file.set_len(less)
    }
}
