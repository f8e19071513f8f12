//! One machine with one log: its disk, clock, random numbers and boot id, and how processes and power end on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::testkit::{BootId, Crash, Env, Jobs, MemDisk, SeededRandom, verify_with};
use annals::{Codec, Log, LogReader, OpenError, ReadMode, VerifyReport};

use super::clock::SimClock;
use super::disk::SimDisk;
use crate::dice::Dice;

pub const DIR: &str = "/log";

#[derive(Debug)]
pub struct Machine {
    pub memory: MemDisk,
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    random: Arc<SeededRandom>,
    boot: u128,
    pub codec: Codec,
}

/// How a process or the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process is killed; the machine runs on.
    Kill,
    /// A power cut: each pending change is kept, lost or garbled on its own.
    PowerAny,
    /// A power cut: the oldest pending changes are kept.
    PowerInOrder,
    /// A power cut: all pending changes are lost.
    PowerNone,
    Close,
}

pub const ENDS: [End; 5] = [End::Kill, End::PowerAny, End::PowerInOrder, End::PowerNone, End::Close];

impl Machine {
    pub fn new(seed: u64, hashed: bool, shown: bool) -> Machine {
        let memory = MemDisk::new();
        memory.remember_order();
        Machine {
            disk: SimDisk::new(memory.clone(), seed ^ 0xd15c, hashed, shown),
            memory,
            clock: Arc::new(SimClock::new()),
            random: Arc::new(SeededRandom::new(seed ^ 0xa11)),
            boot: 1,
            codec: Codec::None,
        }
    }

    pub fn env(&self) -> Env {
        Env {
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            random: self.random.clone(),
            boot: BootId(self.boot),
            jobs: Jobs::ByHand,
        }
    }

    pub fn open(&self) -> Result<Log, OpenError> {
        let smallest = annals::limits::SEGMENT_BYTES_FIRST;
        Log::options().env(self.env()).segment_bytes_max(smallest).codec(self.codec).open(DIR)
    }

    pub fn reader(&self, mode: ReadMode) -> Result<LogReader, OpenError> {
        LogReader::open_with(DIR, self.env(), mode)
    }

    pub fn verify(&self) -> Result<VerifyReport, OpenError> {
        verify_with(Path::new(DIR), &self.env(), &mut |_, _| {})
    }

    /// Ends all handles; whether the power went.
    pub fn end(&mut self, end: End, dice: &Dice) -> bool {
        self.disk.stop_after(None);
        match end {
            End::Kill | End::Close => self.memory.crash(Crash::KeepAll),
            End::PowerAny => self.memory.crash(Crash::Seeded(dice.any())),
            End::PowerInOrder => self.memory.crash_after(dice.below(self.memory.in_order() as u64 + 1) as usize),
            End::PowerNone => self.memory.crash(Crash::LoseUnsynced),
        }
        let power = !matches!(end, End::Kill | End::Close);
        self.boot += u128::from(power);
        power
    }

    /// The segments' files in order.
    pub fn segments(&self) -> Vec<PathBuf> {
        let files = self.memory.files().into_iter().map(|(path, _)| path);
        files.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect()
    }
}
