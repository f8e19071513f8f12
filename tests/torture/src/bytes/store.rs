//! The logs that are taken apart: a kept one of each version of the format, and one made here that holds something of
//! everything, closed and killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::testkit::{BootId, Crash, Disk, Env, Jobs, ManualClock, MemDisk, SeededRandom, verify_with};
use annals::{
    Append, Codec, Durability, Event, Expect, Filter, Log, LogReader, NewEvent, Offset, OpenError, ReadMode, Timestamp,
    VerifyReport,
};

use super::answers::{Answers, ask};

pub const DIR: &str = "/log";

/// A file's path and bytes.
pub type File = (PathBuf, Vec<u8>);

/// What went wrong where nothing was done to a store yet.
pub type Failed = String;

/// A log at rest, and what is known of it.
pub struct Store {
    pub name: &'static str,
    pub files: Vec<File>,
    /// The same directory a while earlier, for files that are replaced by older selves. Empty where there is none.
    pub older: Vec<File>,
    /// What another log has where this one has the same offsets. Empty where there is none.
    pub other: Vec<File>,
    /// The run of the system in which it is looked at.
    pub boot: u128,
    /// All events that were written, in order.
    pub events: Vec<Event>,
    /// Acknowledged as durable before this offset.
    pub durable: u64,
    /// What a reader by the files alone sees: events before this offset.
    pub readable: u64,
    /// What `verify` says of it as it is.
    pub notes: Vec<String>,
    pub answers: Answers,
    /// Consumers, and wherever each of them was.
    pub cursors: Vec<(String, Vec<u64>)>,
    /// Before this byte position the file that was written last is known to be durable.
    pub durable_at: usize,
}

/// A disk with these files.
pub fn disk_of(files: &[File]) -> MemDisk {
    let mem = MemDisk::new();
    files.iter().for_each(|(path, bytes)| mem.write_file(path, bytes));
    mem
}

/// All files of a disk.
pub fn files_of(mem: &MemDisk) -> Vec<File> {
    mem.files().into_iter().filter_map(|(path, _)| Some((path.clone(), mem.read_file(&path)?))).collect()
}

/// The world of whoever looks at a disk.
pub fn env(mem: &MemDisk, boot: u128) -> Env {
    env_at(mem, boot, &Arc::new(ManualClock::new(1_800_000_000_000_000)))
}

fn env_at(mem: &MemDisk, boot: u128, clock: &Arc<ManualClock>) -> Env {
    Env {
        disk: Arc::new(mem.clone()),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(9)),
        boot: BootId(boot),
        jobs: Jobs::ByHand,
    }
}

pub fn open(mem: &MemDisk, boot: u128) -> Result<Log, OpenError> {
    options(env(mem, boot)).open(DIR)
}

fn options(env: Env) -> annals::Options {
    Log::options().env(env).segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST)
}

pub fn verify(mem: &MemDisk, boot: u128) -> Result<VerifyReport, OpenError> {
    verify_with(Path::new(DIR), &env(mem, boot), &mut |_, _| {})
}

/// The file of the segment that was written last.
pub fn active(files: &[File]) -> Option<usize> {
    files.iter().rposition(|(path, _)| is_segment(path))
}

pub fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "seg")
}

pub fn is_cursor(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "cur")
}

pub fn is_lock(path: &Path) -> bool {
    path == Path::new(DIR).join("LOCK")
}

impl Store {
    /// Looks at a log as it is: it has to be sound, and to hold what was acknowledged.
    fn of(name: &'static str, mem: &MemDisk, boot: u128, acked: Acked) -> Result<Store, Failed> {
        let failed = |what: &str| format!("store {name}, as it is: {what}");
        let files = files_of(mem);
        let report = verify(mem, boot).map_err(|error| failed(&error.to_string()))?;
        if !report.is_sound() {
            return Err(failed(&format!("verify finds damage: {:?}", report.damage)));
        }
        let reader = LogReader::open_with(DIR, env(mem, boot), ReadMode::Map);
        let reader = reader.map_err(|error| failed(&error.to_string()))?;
        let readable = reader.durable_end().map_err(|error| failed(&error.to_string()))?.raw();
        let answers = ask(&reader);
        if let Some(error) = answers.first_error() {
            return Err(failed(&error));
        }
        let copy = disk_of(&files);
        let log = open(&copy, boot).map_err(|error| failed(&error.to_string()))?;
        let events = log.read(..).system(true).collect::<Result<Vec<_>, _>>();
        let events = events.map_err(|error| failed(&error.to_string()))?;
        let end = events.len() as u64;
        if end < acked.written || readable < acked.durable {
            return Err(failed(&format!("{end} events can be read, {readable} by the files alone, of {acked:?}")));
        }
        if log.report().torn.is_some() || readable > end {
            return Err(failed(&format!("what was written is torn: {:?}", log.report())));
        }
        Ok(Store {
            name,
            durable_at: durable_at(&files),
            cursors: Vec::new(),
            files,
            older: Vec::new(),
            other: Vec::new(),
            boot,
            events,
            durable: acked.durable,
            readable,
            notes: report.notes,
            answers,
        })
    }

    pub fn disk(&self) -> MemDisk {
        disk_of(&self.files)
    }

    /// Whether the file was complete and at rest: the segments before the last one, and the indexes over them.
    pub fn is_sealed(&self, file: usize) -> bool {
        let path = self.files.get(file).map(|(path, _)| path);
        let is_index = path.is_some_and(|path| path.starts_with(Path::new(DIR).join("index")));
        is_index || path.is_some_and(|path| is_segment(path)) && Some(file) != active(&self.files)
    }

    /// Whether a byte is known to have been durable: nothing excuses that it is another one now.
    pub fn is_durable(&self, file: usize, byte: usize) -> bool {
        self.is_sealed(file) || Some(file) == active(&self.files) && byte < self.durable_at
    }

    /// The first offset of the segment that was written last.
    pub fn last_base(&self) -> u64 {
        let file = active(&self.files).and_then(|active| self.files[active].0.file_stem()?.to_str()?.parse().ok());
        file.unwrap_or(0)
    }

    /// Whether there is a `LOCK` that says what was durable.
    pub fn has_lock(&self) -> bool {
        self.files.iter().any(|(path, _)| is_lock(path))
    }

    /// All bits of all files.
    pub fn bits(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64 * 8).sum()
    }
}

/// What `LOCK` says of the segment that was written last.
fn durable_at(files: &[File]) -> usize {
    let lock = files.iter().find(|(path, _)| is_lock(path));
    let field = lock.and_then(|(_, bytes)| bytes.get(48..52)?.try_into().ok());
    field.map_or(0, |field| u32::from_le_bytes(field) as usize)
}

/// What was promised to be there.
#[derive(Debug, Clone, Copy, Default)]
struct Acked {
    /// Events before this offset survive a power cut ..
    durable: u64,
    /// .. and those before this one a kill.
    written: u64,
}

/// Every store.
pub fn all() -> Result<Vec<Store>, Failed> {
    let mut stores = golden()?;
    stores.extend(made()?);
    Ok(stores)
}

/// Every store but the kept ones: what was written by the code that reads it, right or wrong.
pub fn of_now() -> Result<Vec<Store>, Failed> {
    made()
}

/// The kept log of each version of the format: `tests/golden/vN`, files as hexadecimal digits.
fn golden() -> Result<Vec<Store>, Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    let failed = |error: std::io::Error| format!("reading {}: {error}", folder.display());
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        versions.push(entry.map_err(failed)?.path());
    }
    versions.sort();
    let mut stores = Vec::new();
    for version in versions {
        let mem = MemDisk::new();
        for entry in std::fs::read_dir(&version).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(name) = name.strip_suffix(".hex") else { continue };
            let bytes = from_hex(&std::fs::read_to_string(&path).map_err(failed)?);
            let bytes = bytes.ok_or_else(|| format!("{} cannot be read", path.display()))?;
            mem.write_file(&Path::new(DIR).join(name.replace('@', "/")), &bytes);
        }
        let end = LogReader::open_with(DIR, env(&mem, 1), ReadMode::Map).map_err(|error| error.to_string())?;
        let end = end.durable_end().map_err(|error| error.to_string())?.raw();
        if end == 0 {
            return Err(format!("{} holds no events", version.display()));
        }
        stores.push(Store::of("golden", &mem, 1, Acked { durable: end, written: end })?);
    }
    Ok(stores)
}

/// What `tests/log/golden.rs` writes: the length, then a line for each 32 bytes that are not all zero.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let mut lines = text.lines();
    let mut bytes = vec![0; lines.next()?.strip_suffix(" bytes")?.parse().ok()?];
    for line in lines {
        let (at, hex) = line.split_once(' ')?;
        let at = usize::from_str_radix(at, 16).ok()?;
        for (n, pair) in hex.as_bytes().chunks(2).enumerate() {
            *bytes.get_mut(at + n)? = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
    }
    Some(bytes)
}

/// The log that is made here: closed, killed, and killed with the machine started again since.
/// .. and the last one without its `LOCK`, so that the batches alone say what was durable.
fn made() -> Result<Vec<Store>, Failed> {
    let mut making = Making::new(OWN);
    let older = making.until_closed()?;
    let closed = making.store("closed", 1, older)?;
    let before_kill = files_of(&making.mem);
    making.killed()?;
    let killed = making.store("killed", 1, before_kill.clone())?;
    let restarted = making.store("restarted", 2, before_kill)?;
    let _ = making.mem.remove(&Path::new(DIR).join("LOCK"));
    let unlocked = making.store("unlocked", 2, Vec::new())?;
    let mut another = Making::new(ANOTHER);
    another.until_closed()?;
    let other_closed = files_of(&another.mem);
    another.killed()?;
    let other_killed = files_of(&another.mem);
    let closed = Store { other: other_closed, ..closed };
    let [killed, restarted] = [killed, restarted].map(|store| Store { other: other_killed.clone(), ..store });
    Ok(vec![closed, killed, restarted, unlocked])
}

/// What the data of a log's events is made of.
const OWN: &str = "ab ";
/// The same for a log with the same offsets and sizes, and other events.
const ANOTHER: &str = "cd ";

/// How many small segments there are: more than what one merged index takes.
const SEGMENTS: u64 = 10;

/// What does not fit behind anything else, and takes hardly any space once it is compressed.
fn large(number: u64) -> Vec<u8> {
    format!("a line of sixty-four bytes, of number {number:>25}\n").repeat(4031).into_bytes()
}

struct Making {
    text: &'static str,
    mem: MemDisk,
    clock: Arc<ManualClock>,
    acked: Acked,
    made: u64,
    cursors: Vec<(String, Vec<u64>)>,
}

impl Making {
    fn new(text: &'static str) -> Making {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000_000));
        Making { text, mem: MemDisk::new(), clock, acked: Acked::default(), made: 0, cursors: Vec::new() }
    }

    fn store(&self, name: &'static str, boot: u128, older: Vec<File>) -> Result<Store, Failed> {
        let store = Store::of(name, &self.mem, boot, self.acked)?;
        Ok(Store { older, cursors: self.cursors.clone(), ..store })
    }

    fn open(&self, codec: Codec) -> Result<Log, Failed> {
        // Identity and salts come from random numbers: no two logs have the same.
        let random = Arc::new(SeededRandom::new(u64::from(self.text.as_bytes()[0])));
        let log = options(Env { random, ..env_at(&self.mem, 1, &self.clock) }).codec(codec).open(DIR);
        log.map_err(|error| format!("while a store was made: {error}"))
    }

    fn put(&mut self, log: &Log, append: Append<'_>, durability: Durability) -> Result<(), Failed> {
        let failed = |error: annals::AppendError| format!("while a store was made: {error}");
        let receipt = log.append(append.durability(durability)).map_err(failed)?;
        let next = receipt.wait().map_err(failed)?.next().raw();
        self.acked.written = self.acked.written.max(next);
        if durability == Durability::Disk {
            self.acked.durable = self.acked.written;
        }
        self.clock.advance_ms(3);
        Ok(())
    }

    /// An event with something in every field.
    fn event(&mut self) -> NewEvent<'static> {
        self.made += 1;
        let n = self.made;
        let event = Event::new(format!("order-{}", n % 5), ["Placed", "Paid", "Sent"][n as usize % 3]);
        let event =
            event.data(format!("{{\"number\":{n},\"text\":\"{}\"}}", self.text.repeat(n as usize % 40)).into_bytes());
        match n % 4 {
            0 => event.source("till").id(format!("e-{n}")),
            1 => event.time(Timestamp::from_micros(-(n as i64))).content_type("application/json"),
            2 => event.header("trace", format!("t-{n}")).header("leer", ""),
            _ => event,
        }
    }

    /// Sealed segments with batches of every codec, a source, a producer and two consumers, and a merged index.
    fn segments(&mut self) -> Result<(), Failed> {
        let mut sequence = 0;
        for round in 0..SEGMENTS {
            let log = self.open(if round % 5 == 0 { Codec::Zstd } else { Codec::Lz4 })?;
            // It is stored in little, but needs a segment of its own as long as it is not.
            let large = Event::new("large", "Large").data(large(round));
            self.put(&log, large.into(), Durability::Disk)?;
            let log = self.reopened(log, if round % 3 == 0 { Codec::None } else { Codec::Lz4 })?;
            for _ in 0..3 {
                let append = Append::new().event(self.event()).event(self.event()).producer("till", 1, sequence);
                sequence += 1;
                self.put(&log, append, Durability::Disk)?;
            }
            let last = log.source("import").map_or(Expect::None, |last| Expect::Last(last.offset));
            let position = format!("{{\"line\":{round}}}").into_bytes();
            let append = Append::new().event(self.event()).source("import", position, last);
            self.put(&log, append, Durability::Disk)?;
            self.consume(&log, round)?;
            self.steps(&log)?;
            self.close(log)?;
        }
        Ok(())
    }

    fn consume(&mut self, log: &Log, round: u64) -> Result<(), Failed> {
        for name in ["mailer", "search"].iter().take(1 + round as usize % 2) {
            let failed = |error: annals::ConsumerError| format!("while a store was made: {error}");
            let filter = Filter::new().stream("order-*").types(["Paid"]);
            let mut consumer = log.consumer(name).map_err(failed)?.matching(filter).map_err(failed)?;
            let next = self.acked.durable - 1;
            consumer.commit(Offset::from_raw(next)).map_err(failed)?;
            match self.cursors.iter_mut().find(|(known, _)| known == name) {
                Some((_, places)) => places.push(next),
                None => self.cursors.push((name.to_string(), vec![0, next])),
            }
        }
        Ok(())
    }

    fn steps(&self, log: &Log) -> Result<(), Failed> {
        while log.step().map_err(|error| format!("while a store was made: {error}"))? {}
        Ok(())
    }

    fn close(&mut self, log: Log) -> Result<(), Failed> {
        self.acked.durable = self.acked.written;
        log.close().map_err(|error| format!("while a store was made: {error}"))
    }

    fn reopened(&mut self, log: Log, codec: Codec) -> Result<Log, Failed> {
        self.close(log)?;
        self.open(codec)
    }

    /// All up to a close; the files as they were a while before.
    fn until_closed(&mut self) -> Result<Vec<File>, Failed> {
        self.segments()?;
        self.torn_tail()?;
        let older = files_of(&self.mem);
        self.segment_more()?;
        Ok(older)
    }

    /// A write that a kill tore, and what is kept of it.
    fn torn_tail(&mut self) -> Result<(), Failed> {
        let log = self.open(Codec::None)?;
        let before = self.acked;
        self.put(&log, Event::new("torn", "Torn").data(&b"never acknowledged"[..]).into(), Durability::Os)?;
        self.acked = before;
        self.mem.crash(Crash::KeepAll);
        drop(log);
        let files = files_of(&self.mem);
        let file = active(&files).and_then(|active| files.get(active));
        let at = file.and_then(|(_, bytes)| bytes.windows(5).position(|window| window == b"never"));
        let (Some((path, _)), Some(at)) = (file, at) else {
            return Err("while a store was made: what was written is not in its file".to_owned());
        };
        self.mem.flip_bit(path, at, 0);
        let log = self.open(Codec::None)?;
        if log.report().torn.is_none() {
            return Err("while a store was made: a torn tail was not reported".to_owned());
        }
        self.close(log)
    }

    /// What makes the files others than the ones a while ago.
    fn segment_more(&mut self) -> Result<(), Failed> {
        let log = self.open(Codec::Zstd)?;
        for _ in 0..2 {
            let append = Append::new().events([self.event(), self.event(), self.event()]);
            self.put(&log, append, Durability::Disk)?;
        }
        let large = Event::new("large", "Large").data(large(SEGMENTS));
        self.put(&log, large.into(), Durability::Disk)?;
        let append = Append::new().event(self.event());
        self.put(&log, append, Durability::Disk)?;
        self.clock.advance_ms(500);
        self.steps(&log)?;
        self.consume(&log, 1)?;
        self.close(log)
    }

    /// Appends of each kind of acknowledgement, and a kill.
    fn killed(&mut self) -> Result<(), Failed> {
        let log = self.open(Codec::None)?;
        for durability in [Durability::Disk, Durability::Disk, Durability::Os, Durability::Os] {
            let append =
                Append::new().event(self.event()).event(self.event().data(vec![self.text.as_bytes()[0]; CUT_BYTES]));
            self.put(&log, append, durability)?;
        }
        self.mem.crash(Crash::KeepAll);
        drop(log);
        // As where space cannot be taken ahead: fewer bytes that say nothing.
        let files = files_of(&self.mem);
        let Some((path, bytes)) = active(&files).and_then(|active| files.get(active)) else { return Ok(()) };
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.mem.write_file(path, &bytes[..used.next_multiple_of(4096).min(bytes.len())]);
        Ok(())
    }
}

/// Data of each of the last batches, so that there are enough places to cut them.
const CUT_BYTES: usize = 3_600;
