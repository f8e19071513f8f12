//! A log on a disk in memory, with the records of a handler in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::testkit::{
    BootId, Disk, Env, FaultyDisk, Jobs, ManualClock, MemDisk, Recorder, SeededRandom, make_snapshot, snapshot_files,
};
use annals::{Log, LogReader, NewEvent, Offset, ReadMode, State, StateError, StateReader, StateValue};
use bytes::Bytes;

pub const DIR: &str = "/log";
pub const NAME: &str = "a ledger: */?";

/// Rows with the byte in front of their keys.
pub type Rows = BTreeMap<Bytes, Bytes>;

pub struct World {
    pub mem: MemDisk,
    pub disk: FaultyDisk,
    env: Env,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mem = MemDisk::new();
        let disk = FaultyDisk::over(mem.clone());
        let env = Env {
            disk: Arc::new(disk.clone()) as Arc<dyn Disk>,
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
            random: Arc::new(SeededRandom::new(seed)),
            boot: BootId(1),
            jobs: Jobs::ByHand,
        };
        World { mem, disk, env }
    }

    pub fn log(&self) -> Log {
        Log::options().env(self.env.clone()).open(DIR).unwrap()
    }

    pub fn reader(&self) -> LogReader {
        LogReader::open_with(DIR, self.env.clone(), ReadMode::Pread).unwrap()
    }

    pub fn try_reader(&self) -> Result<LogReader, annals::OpenError> {
        LogReader::open_with(DIR, self.env.clone(), ReadMode::Pread)
    }

    pub fn verify(&self) -> annals::VerifyReport {
        annals::testkit::verify_with(Path::new(DIR), &self.env, &mut |_, _| {}).unwrap()
    }

    pub fn state(&self) -> Result<State, StateError> {
        StateReader::new(&self.reader(), NAME).open()
    }

    pub fn at(&self, position: u64) -> State {
        StateReader::new(&self.reader(), NAME).at(Offset::from_raw(position)).open().unwrap()
    }

    pub fn snapshot(&self) -> Option<Offset> {
        make_snapshot(&self.reader(), NAME, 1).unwrap()
    }

    pub fn files(&self) -> Vec<PathBuf> {
        snapshot_files(&self.reader(), NAME, 1).unwrap()
    }
}

/// The first generation of the handler, live.
pub fn recorder() -> Recorder {
    Recorder::new(NAME, 1, true)
}

/// Events for a handler to have handled.
pub fn events(log: &Log, count: usize) {
    let events = (0..count).map(|_| NewEvent::new("s", "T"));
    log.append(annals::Append::new().events(events)).unwrap().wait().unwrap();
}

/// A row of the user's, as it is stored.
pub fn user(key: &str, json: &str) -> (Vec<u8>, Vec<u8>) {
    ([&[1], key.as_bytes()].concat(), [&[1], json.as_bytes()].concat())
}

/// The users' rows of what a recorder has.
pub fn users(rows: &Rows) -> Vec<(Bytes, StateValue)> {
    let users = rows.iter().filter(|(key, _)| key[0] == 1);
    users.map(|(key, value)| (key.slice(1..), annals::testkit::state_value(value))).collect()
}

/// The rows that a state gives.
pub fn rows_of(state: &State) -> Vec<(Bytes, StateValue)> {
    state.rows().map(Result::unwrap).collect()
}
