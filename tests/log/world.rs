//! A log in a world under control: a disk in memory that crashes and fails on request, a clock that stands,
//! seeded random numbers, background work by hand; and a model of what the log has to hold.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::testkit::{
    BootId, Crash, Env, Fault, FaultyDisk, Jobs, ManualClock, MemDisk, Random, SeededRandom, verify_with,
};
use annals::{
    Append, Codec, Durability, Event, Expect, Log, LogReader, Offset, OpenError, Options, ReadMode, VerifyReport,
};

use crate::hooked::{Hooked, Hooks};

pub const DIR: &str = "/log";

/// The smallest segments there are.
pub const SEGMENT: u32 = annals::limits::SEGMENT_BYTES_FIRST;

/// One machine with one log.
pub struct World {
    pub mem: MemDisk,
    pub disk: FaultyDisk,
    pub clock: Arc<ManualClock>,
    pub random: Arc<SeededRandom>,
    pub boot: u128,
    pub codec: Codec,
    /// Whether the file system can take space before it is written.
    pub allocates: bool,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mem = MemDisk::new();
        World {
            disk: FaultyDisk::over(mem.clone()),
            mem,
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
            random: Arc::new(SeededRandom::new(seed)),
            boot: 1,
            codec: Codec::None,
            allocates: true,
        }
    }

    /// Failing syncs lose nothing: for ending a process by [`stop_after`](World::stop_after).
    pub fn that_only_stops(self) -> World {
        World { disk: FaultyDisk::new(Arc::new(self.mem.clone())), ..self }
    }

    /// So many calls more are made, then none: the process is gone, perhaps with half a write done.
    pub fn stop_after(&self, calls: u64, short: bool) {
        self.disk.inject(Fault { op: None, nth: calls, forever: true, kind: ErrorKind::Other, short });
    }

    pub fn env(&self) -> Env {
        Env {
            disk: match self.allocates {
                true => Arc::new(self.disk.clone()),
                false => {
                    Arc::new(Hooked::new(Arc::new(self.disk.clone()), Hooks { allocates: false, ..Hooks::default() }))
                }
            },
            clock: self.clock.clone(),
            random: self.random.clone(),
            boot: BootId(self.boot),
            jobs: Jobs::ByHand,
        }
    }

    pub fn options(&self) -> Options {
        Log::options().env(self.env()).segment_bytes_max(SEGMENT).codec(self.codec)
    }

    pub fn try_open(&self) -> Result<Log, OpenError> {
        self.options().open(DIR)
    }

    #[track_caller]
    pub fn open(&self) -> Log {
        self.try_open().unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub fn reader(&self) -> LogReader {
        LogReader::open_with(DIR, self.env(), ReadMode::Map).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub fn verify(&self) -> VerifyReport {
        verify_with(Path::new(DIR), &self.env(), &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The process is killed; the machine runs on.
    pub fn kill(&self, log: Log) {
        self.mem.crash(Crash::KeepAll);
        drop(log);
    }

    /// The power goes, and comes back.
    pub fn power_cut(&mut self, log: Option<Log>, crash: Crash) {
        self.mem.crash(crash);
        self.boot += 1;
        drop(log);
    }

    /// The segments' files in order.
    pub fn segments(&self) -> Vec<PathBuf> {
        self.mem
            .files()
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| path.extension().is_some_and(|e| e == "seg"))
            .collect()
    }

    /// The name of the one cursor file.
    pub fn cursor_file(&self) -> PathBuf {
        let files = self.mem.files().into_iter().map(|(path, _)| path);
        let mut cursors = files.filter(|path| path.extension().is_some_and(|e| e == "cur"));
        PathBuf::from(cursors.next().unwrap().file_name().unwrap())
    }

    /// The bytes of a file.
    #[track_caller]
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        self.mem.read_file(path).unwrap_or_else(|| panic!("{} is not there", path.display()))
    }

    /// All files with their bytes.
    pub fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.mem.files().into_iter().map(|(path, _)| (path.clone(), self.bytes(&path))).collect()
    }

    /// Another machine of the same boot with the same files.
    pub fn copy_of(&self, files: &[(PathBuf, Vec<u8>)]) -> World {
        let world = World { boot: self.boot, ..World::new(9) };
        files.iter().for_each(|(path, bytes)| world.mem.write_file(path, bytes));
        world
    }
}

/// What a test needs to know of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub offset: u64,
    pub stream: String,
    pub version: u64,
    pub data: Vec<u8>,
}

/// All events that a reader sees, the log's own too.
#[track_caller]
pub fn all(reader: &LogReader) -> Vec<Seen> {
    reader
        .read(..)
        .system(true)
        .map(|event| {
            let event = event.unwrap_or_else(|error| panic!("{error}"));
            Seen {
                offset: event.offset().raw(),
                stream: event.stream().to_owned(),
                version: event.version().raw(),
                data: event.data().to_vec(),
            }
        })
        .collect()
}

/// What a log was given, in order, and what of it has to be there.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub events: Vec<Seen>,
    /// Offsets after each append.
    pub ends: Vec<u64>,
    /// Appends acknowledged as durable end here ..
    pub durable: u64,
    /// .. and those acknowledged as written here.
    pub written: u64,
    made: u64,
}

impl Model {
    fn next_version(&self, stream: &str) -> u64 {
        self.events.iter().rev().find(|event| event.stream == stream).map_or(0, |event| event.version + 1)
    }

    /// Takes note of an append of one event.
    pub fn push(&mut self, stream: &str, data: Vec<u8>) {
        self.add(stream, data);
        self.ends.push(self.events.len() as u64);
    }

    fn add(&mut self, stream: &str, data: Vec<u8>) {
        let (offset, version) = (self.events.len() as u64, self.next_version(stream));
        self.events.push(Seen { offset, stream: stream.to_owned(), version, data });
    }

    /// Does one random thing to a log; false when the log failed.
    pub fn step(&mut self, world: &World, log: &Log, random: &SeededRandom) -> bool {
        let pick = |n: u64| random.next_u64() % n;
        match pick(16) {
            0 => {
                world.clock.advance_ms(pick(150));
                log.step().is_ok()
            }
            1 => log.step().is_ok(),
            2 => match log.sync() {
                Ok(end) => {
                    self.durable = self.durable.max(end.raw());
                    true
                }
                Err(_) => false,
            },
            _ => self.append(log, &pick),
        }
    }

    fn append(&mut self, log: &Log, pick: &dyn Fn(u64) -> u64) -> bool {
        self.made += 1;
        let mut append = Append::new();
        let mut given = Vec::new();
        for part in 0..pick(3) + 1 {
            let stream = format!("s-{}", pick(5));
            let len = if pick(6) == 0 { 40_000 + pick(60_000) } else { pick(400) };
            let mut data = format!("{}.{part};", self.made).into_bytes();
            data.resize(data.len() + len as usize, b'a' + (self.made % 26) as u8);
            append = append.event(Event::new(stream.clone(), "T").data(data.clone()));
            given.push((stream, data));
        }
        if pick(4) == 0 {
            let stream = "$source/import";
            let last = self.events.iter().rev().find(|event| event.stream == stream);
            let expect = last.map_or(Expect::None, |last| Expect::Last(Offset::from_raw(last.offset)));
            let position = self.made.to_le_bytes().to_vec();
            append = append.source("import", position.clone(), expect);
            given.push((stream.to_owned(), position));
        }
        let durability = if pick(2) == 0 { Durability::Os } else { Durability::Disk };
        let Ok(receipt) = log.append(append.durability(durability)) else { return false };
        assert_eq!(receipt.planned().first().raw(), self.events.len() as u64);
        given.into_iter().for_each(|(stream, data)| self.add(&stream, data));
        let end = self.events.len() as u64;
        self.ends.push(end);
        if pick(3) == 0 {
            return true;
        }
        if receipt.wait().is_err() {
            return false;
        }
        let acknowledged = if durability == Durability::Disk { &mut self.durable } else { &mut self.written };
        *acknowledged = end.max(*acknowledged);
        true
    }

    /// Checks that a reader sees whole appends from the first on, and all up to `least`; returns how many
    /// events it sees.
    #[track_caller]
    pub fn check(&self, reader: &LogReader, least: u64) -> u64 {
        let seen = all(reader);
        let end = seen.len() as u64;
        assert!(end >= least, "{end} events are left of {least} acknowledged ones");
        assert!(end == 0 || self.ends.contains(&end), "the log ends at {end}, within an append");
        for (seen, given) in seen.iter().zip(&self.events) {
            assert!(seen == given, "event {} is not the one that was appended", given.offset);
        }
        assert!(seen.len() <= self.events.len());
        end
    }

    /// What was not kept never was.
    pub fn cut(&mut self, end: u64) {
        self.events.truncate(usize::try_from(end).unwrap());
        self.ends.retain(|at| *at <= end);
        (self.durable, self.written) = (end, end);
    }
}
