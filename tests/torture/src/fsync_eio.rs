//! A file system whose disk refuses to be written: a sparse image on a smaller `tmpfs`, filled until a sync fails.
//!
//! The kernel then forgets what it could not write and calls it written: a second sync would report success. So the
//! first failure has to be the log's last word until it is opened again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use annals::{Append, AppendError, Durability, Event, Log, LogReader, OpenError, ReadMode, Receipt};

use crate::dice::Dice;
use crate::mount::{Fs, Image, SmallDisk, Workshop};
use crate::summary::Summary;

const LAYER: &str = "fsync-eio";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many disks are filled.
    #[arg(long, default_value_t = 3)]
    runs: u64,
    /// The seed of the first run; each next one has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(args: &Args) -> Summary {
    let workshop = match Workshop::enter(LAYER) {
        Ok(workshop) => workshop,
        Err(skipped) => return skipped,
    };
    let mut summary = Summary::new(LAYER);
    for seed in args.seed..args.seed + args.runs {
        summary.count("runs", 1);
        if let Err(why) = one_disk(&workshop, seed, &mut summary) {
            summary.violation(format!("seed {seed}: {why}\n  again: tools/torture {LAYER} --runs 1 --seed {seed}"));
        }
    }
    summary
}

const DISK_BYTES: u64 = 24 << 20;
const IMAGE_BYTES: u64 = 200 << 20;
/// Threads that append at once, so that others wait when a sync fails.
const WRITERS: u64 = 4;

fn one_disk(workshop: &Workshop, seed: u64, summary: &mut Summary) -> Result<(), String> {
    let dice = Dice::new(seed);
    workshop.boot(seed).map_err(|error| error.to_string())?;
    let made = || -> std::io::Result<(SmallDisk, Image)> {
        let disk = workshop.small_disk(DISK_BYTES)?;
        let mut image = workshop.image_at(&disk.dir.join("image"), Fs::Ext4, IMAGE_BYTES, &["-b", "4096"])?;
        image.mount()?;
        image.write_by_blocks()?;
        Ok((disk, image))
    };
    let (disk, mut image) = made().map_err(|error| format!("no disk: {error}"))?;
    let dir = image.dir().join("log");
    let options = Log::options()
        .segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST << dice.below(8))
        .reads(dice.of(&[ReadMode::Map, ReadMode::Pread]));
    let log = options.clone().open(&dir).map_err(|error| format!("not made: {error}"))?;
    let filling = Filling { log: &log, seed, failed: AtomicBool::new(false), acknowledged: Mutex::default() };
    let run = &filling;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || run.fill(writer))).collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or_else(|_| Err("a writer panicked".to_owned())))
            .collect()
    });
    let failures = outcomes.into_iter().collect::<Result<Vec<_>, String>>()?;
    let first = same_failure(&failures)?;
    summary.count(if first.starts_with("syncing") { "failed syncs" } else { "other failures" }, 1);
    nothing_more_is_promised(&log, &first)?;
    let acknowledged = filling.acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.count("acknowledged appends", acknowledged.len() as u64);
    check(&acknowledged, &log.reader(), "in the process itself")?;
    let reader = LogReader::open(&dir).map_err(|error| format!("readers cannot open it: {error}"))?;
    check(&acknowledged, &reader, "from outside")?;
    drop(reader);
    if log.close().is_ok() {
        return Err("closing reported success after a failure".to_owned());
    }
    // Now there is room, and the machine starts anew.
    image.unmount().map_err(|error| format!("not unmounted: {error}"))?;
    disk.resize(IMAGE_BYTES).map_err(|error| format!("no room given: {error}"))?;
    image.mount().map_err(|error| format!("not mounted again: {error}"))?;
    open_again(workshop, options, &dir, seed, &acknowledged, &dice, summary)?;
    image.unmount().map_err(|error| format!("something still uses it: {error}"))
}

/// Opens the log after its disk has healed, in the same run of the system or in the next one.
fn open_again(
    workshop: &Workshop,
    options: annals::Options,
    dir: &PathBuf,
    seed: u64,
    acknowledged: &[Acknowledged],
    dice: &Dice,
    summary: &mut Summary,
) -> Result<(), String> {
    if dice.percent(50) {
        // In the same run all that was written should still be there, and is not: what is missing was never
        // acknowledged. Refusing is right there, losing is not.
        match options.clone().open(dir) {
            Ok(log) => {
                summary.count("opened in the same run", 1);
                check(acknowledged, &log.reader(), "opened in the same run")?;
                return log.close().map_err(|error| format!("not closed: {error}"));
            }
            Err(OpenError::Damaged(_)) => {
                summary.count("refused in the same run", 1);
                let reader = LogReader::open(dir).map_err(|error| format!("refused, and readers too: {error}"))?;
                check(acknowledged, &reader, "refused in the same run")?;
            }
            Err(error) => return Err(format!("not opened in the same run: {error}")),
        }
    }
    workshop.boot(seed + (1 << 32)).map_err(|error| error.to_string())?;
    let log = options.clone().open(dir).map_err(|error| format!("not opened after a restart: {error}"))?;
    summary.count("opened after a restart", 1);
    check(acknowledged, &log.reader(), "opened after a restart").map_err(|why| {
        let last = acknowledged.iter().map(|given| given.offset).max();
        format!("{why} (the last acknowledged one is {last:?}, the log's end {}): {:?}", log.tail(), log.report())
    })?;
    let receipt = log.append(Event::new("after", "T")).map_err(|error| format!("takes no append again: {error}"))?;
    receipt.wait().map_err(|error| format!("keeps no append again: {error}"))?;
    log.close().map_err(|error| format!("not closed: {error}"))?;
    let report = annals::verify(dir, &mut |_, _| {}).map_err(|error| format!("verify: {error}"))?;
    match report.is_sound() {
        true => Ok(()),
        false => Err(format!("verify found damage: {:?}", report.damage)),
    }
}

/// An append that was acknowledged as durable.
struct Acknowledged {
    offset: u64,
    data: Vec<u8>,
}

struct Filling<'l> {
    log: &'l Log,
    seed: u64,
    failed: AtomicBool,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

impl Filling<'_> {
    /// Appends until the log fails; returns how.
    fn fill(&self, writer: u64) -> Result<AppendError, String> {
        let dice = Dice::new(self.seed * WRITERS + writer);
        for number in 0.. {
            let mut data = format!("{writer}.{number};").into_bytes();
            data.resize(data.len() + dice.below(40_000) as usize, b'a' + writer as u8);
            let failed_before = self.failed.load(Ordering::SeqCst);
            let event = Event::new(format!("s-{writer}"), "T").data(data.as_slice());
            let durability = if dice.percent(90) { Durability::Disk } else { Durability::Os };
            let appended = self.log.append(Append::new().event(event).durability(durability)).and_then(Receipt::wait);
            match appended {
                Ok(appended) if failed_before && durability == Durability::Disk => {
                    return Err(format!("acknowledged {} after a failure was reported", appended.first()));
                }
                Ok(appended) if durability == Durability::Disk => {
                    let acknowledged = Acknowledged { offset: appended.first().raw(), data };
                    self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(acknowledged);
                }
                Ok(_) => {}
                Err(error @ (AppendError::OutcomeUnknown(_) | AppendError::Poisoned(_))) => {
                    self.failed.store(true, Ordering::SeqCst);
                    return Ok(error);
                }
                Err(error) => return Err(format!("an append was refused otherwise: {error:?}")),
            }
            if number > 1_000_000 {
                return Err("the disk never failed".to_owned());
            }
        }
        unreachable!("the loop has no end")
    }
}

/// All who waited were told of the same failure.
fn same_failure(failures: &[AppendError]) -> Result<String, String> {
    let said: Vec<String> = failures.iter().map(failure).collect();
    match said.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(first.clone()),
        _ => Err(format!("several failures were told: {said:?}")),
    }
}

fn failure(error: &AppendError) -> String {
    match error {
        AppendError::OutcomeUnknown(failure) | AppendError::Poisoned(failure) => failure.to_string(),
        other => other.to_string(),
    }
}

/// The kernel would call the next sync a success. The log does not ask it.
fn nothing_more_is_promised(log: &Log, first: &str) -> Result<(), String> {
    for _ in 0..20 {
        match log.append(Event::new("late", "T")).and_then(Receipt::wait) {
            Ok(appended) => return Err(format!("acknowledged {} after a failure", appended.first())),
            Err(error) if failure(&error) == first => {}
            Err(error) => return Err(format!("the first failure was {first}, a later one is {error:?}")),
        }
        if let Ok(end) = log.sync() {
            return Err(format!("a sync up to {end} is said to have gone well after a failure"));
        }
    }
    Ok(())
}

/// What was acknowledged can be read, as it was given.
fn check(acknowledged: &[Acknowledged], reader: &LogReader, when: &str) -> Result<(), String> {
    let mut given: Vec<&Acknowledged> = acknowledged.iter().collect();
    given.sort_by_key(|given| given.offset);
    let mut given = given.into_iter().peekable();
    for (offset, event) in (0..).zip(reader.read(..)) {
        let event = event.map_err(|error| format!("{when}, event {offset} cannot be read: {error}"))?;
        if event.offset().raw() != offset {
            return Err(format!("{when}, event {offset} is missing"));
        }
        if let Some(given) = given.next_if(|given| given.offset == offset)
            && event.data() != given.data.as_slice()
        {
            return Err(format!("{when}, event {offset} is not the one that was acknowledged"));
        }
    }
    match given.next() {
        Some(lost) => Err(format!("{when}, event {} was acknowledged and is not there", lost.offset)),
        None => Ok(()),
    }
}
