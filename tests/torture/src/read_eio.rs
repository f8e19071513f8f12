//! A file system whose disk refuses to be read: the image is cut off under the mounted file system.
//!
//! With plain reads that is a typed error and nothing more. A mapped file turns it into a SIGBUS, which the
//! documentation says; so each read is a process of its own.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use annals::testkit::Env;
use annals::{Log, LogReader, OpenError, ReadError, ReadMode};
use rustix::fs::{Advice, fadvise};

use crate::child::{Next, PATIENCE, Process};
use crate::dice::Dice;
use crate::given::Given;
use crate::mount::{Fs, Workshop};
use crate::summary::Summary;

const LAYER: &str = "read-eio";
/// How the system says that a mapped page cannot be read.
const SIGBUS: i32 = 7;
const BLOCK_BYTES: u64 = 4096;
/// What a reading process says once it has opened the log ..
const OPENED: &str = "opened";
/// .. and what it exits with.
const ALL_READ: i32 = 10;
const TYPED_ERROR: i32 = 11;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many disks are cut off.
    #[arg(long, default_value_t = 3)]
    runs: u64,
    /// The seed of the first run; each next one has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only reads this log, as the process that may end by it.
    #[arg(long, hide = true)]
    read: Option<PathBuf>,
    /// By mapped files.
    #[arg(long, hide = true)]
    map: bool,
    /// So many events are in it.
    #[arg(long, hide = true, default_value_t = 0)]
    events: u64,
}

pub fn run(args: &Args) -> Summary {
    if let Some(dir) = &args.read {
        let mode = if args.map { ReadMode::Map } else { ReadMode::Pread };
        std::process::exit(read(dir, mode, args.events));
    }
    let workshop = match Workshop::enter(LAYER) {
        Ok(workshop) => workshop,
        Err(skipped) => return skipped,
    };
    let systems = Fs::there();
    let mut summary = Summary::new(LAYER);
    for seed in args.seed..args.seed + args.runs {
        let dice = Dice::new(seed);
        let fs = dice.of(&systems);
        summary.count("disks", 1);
        if let Err(why) = one_disk(&workshop, fs, &dice, &mut summary) {
            let fs = fs.name();
            summary.violation(format!(
                "seed {seed} on {fs}: {why}\n  again: tools/torture {LAYER} --runs 1 --seed {seed}"
            ));
        }
    }
    summary
}

fn one_disk(workshop: &Workshop, fs: Fs, dice: &Dice, summary: &mut Summary) -> Result<(), String> {
    let made = || {
        let mut image = workshop.image(fs, fs.bytes_min().max(64 << 20), &[])?;
        image.mount()?;
        std::io::Result::Ok(image)
    };
    let mut image = made().map_err(|error| format!("no disk: {error}"))?;
    let dir = image.dir().join("log");
    let given = fill(&dir, dice)?;
    let files = files_of(&dir)?;
    // What was written is in the image, and nothing of it in memory.
    image.mount_again().map_err(|error| format!("not mounted again: {error}"))?;
    // The log's files are found while their directory still is.
    files.iter().for_each(|file| drop(std::fs::metadata(file)));
    // From the end of the disk on, more and more is gone: first of the log, then of the file system.
    let mut len = std::fs::metadata(&image.file).map_err(|error| error.to_string())?.len();
    let step = len / 48;
    let mut not_opened = 0;
    while len > 2 * step && not_opened < 4 {
        // Disks end at whole blocks: the loop device reads half a sector as a whole one.
        len = (len - step / 2 - dice.below(step)) / BLOCK_BYTES * BLOCK_BYTES;
        // They have opened the log when the disk goes.
        let mut readers = Vec::new();
        for map in [false, true] {
            let reader = Reader::start(&dir, given.len(), map)?;
            not_opened += u64::from(!reader.opened);
            readers.push(reader);
        }
        cut_off(&image.file, len)?;
        forget(&files)?;
        readers.into_iter().try_for_each(|reader| reader.end(summary))?;
    }
    image.unmount().map_err(|error| format!("something still uses it: {error}"))
}

/// A log of some MiB, closed.
fn fill(dir: &Path, dice: &Dice) -> Result<Given, String> {
    let options = Log::options().segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST << dice.below(4));
    let log = options.open(dir).map_err(|error| format!("not made: {error}"))?;
    let mut given = Given::default();
    for _ in 0..1_500 {
        let promise = given.append(&log, dice, 20_000).map_err(|error| format!("not appended: {error}"))?;
        drop(promise.receipt);
    }
    log.close().map_err(|error| format!("not closed: {error}"))?;
    Ok(given)
}

fn files_of(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| error.to_string())?;
    Ok(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_file()).collect())
}

/// The disk ends here from now on.
fn cut_off(image: &Path, len: u64) -> Result<(), String> {
    let file = std::fs::OpenOptions::new().write(true).open(image).map_err(|error| error.to_string())?;
    file.set_len(len).map_err(|error| error.to_string())
}

/// Nothing of the files is in memory any more.
fn forget(files: &[PathBuf]) -> Result<(), String> {
    for file in files.iter().filter_map(|file| File::open(file).ok()) {
        fadvise(&file, 0, None, Advice::DontNeed).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A process that reads the log when it is told to.
struct Reader {
    process: Process,
    map: bool,
    opened: bool,
}

impl Reader {
    fn start(dir: &Path, events: usize, map: bool) -> Result<Reader, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
        command.args([LAYER, "--events", &events.to_string(), "--read"]).arg(dir);
        if map {
            command.arg("--map");
        }
        let process = Process::start(command.stdin(Stdio::piped()))?;
        let opened = process.next(PATIENCE) == Next::Line(OPENED.to_owned());
        Ok(Reader { process, map, opened })
    }

    /// Lets it read, to its end.
    fn end(mut self, summary: &mut Summary) -> Result<(), String> {
        drop(self.process.take_stdin());
        let status = self.process.end(|_| Ok(()))?;
        match (status.code(), status.signal()) {
            (Some(ALL_READ), _) => summary.count("read whole", 1),
            (Some(TYPED_ERROR), _) => summary.count("typed errors", 1),
            (_, Some(SIGBUS)) if self.map => summary.count("SIGBUS of a map", 1),
            _ => return Err(format!("a reader (mapped: {}) ended by {status}", self.map)),
        }
        Ok(())
    }
}

/// Reads a log as far as it goes; what the process exits with.
fn read(dir: &Path, mode: ReadMode, events: u64) -> i32 {
    let reader = match LogReader::open_with(dir, Env::system(), mode) {
        Ok(reader) => reader,
        Err(OpenError::Io(_)) => return TYPED_ERROR,
        Err(error) => {
            eprintln!("opening: {error:?}");
            return 1;
        }
    };
    println!("{OPENED}");
    let _ = std::io::stdin().read(&mut [0]); // until it is closed
    let mut failed = false;
    // Owned events, then mapped batches, then single ones; each goes as far as it can.
    let mut next = 0;
    for event in reader.read(..) {
        match event {
            Ok(event) if event.offset().raw() == next => next += 1,
            Ok(event) => {
                eprintln!("event {} follows event {next}", event.offset());
                return 1;
            }
            Err(ReadError::Io(_)) => failed = true,
            Err(error) => {
                eprintln!("reading: {error:?}");
                return 1;
            }
        }
    }
    for batch in reader.batches(..) {
        match batch {
            Ok(_) => {}
            Err(ReadError::Io(_)) => failed = true,
            Err(error) => {
                eprintln!("reading batches: {error:?}");
                return 1;
            }
        }
    }
    for offset in (0..events).step_by(97) {
        match reader.get(annals::Offset::from_raw(offset)) {
            Ok(_) => {}
            Err(ReadError::Io(_)) => failed = true,
            Err(error) => {
                eprintln!("reading event {offset}: {error:?}");
                return 1;
            }
        }
    }
    if !failed && next != events {
        eprintln!("{next} of {events} events were read, and no error was told");
        return 1;
    }
    if failed { TYPED_ERROR } else { ALL_READ }
}
