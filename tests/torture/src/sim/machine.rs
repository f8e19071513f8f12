//! One machine with one log: its disk, clock, random numbers and boot id, and how processes and power end on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::testkit::{BootId, Crash, Env, Jobs, MemDisk, SeededRandom, verify_with};
use annals::{Codec, Log, LogReader, OpenError, OpenReport, ReadMode, VerifyReport};

use super::clock::SimClock;
use super::disk::SimDisk;
use crate::dice::Dice;
use crate::oracle::{Broken, ensure};

pub const DIR: &str = "/log";

#[derive(Debug)]
pub struct Machine {
    pub memory: MemDisk,
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    random: Arc<SeededRandom>,
    boot: u128,
    pub codec: Codec,
    pub reads: ReadMode,
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

/// Whether verify finds nothing wrong on a disk where no bit was turned over. A commit that was torn within one byte
/// cannot be told from a flipped bit.
pub fn is_sound(report: &VerifyReport) -> bool {
    report.damage.iter().all(|damage| damage.what.contains("the other one is used"))
}

/// Whether a name says the first offset of segments and how many they are, or is that of an index that is being made.
fn is_index(name: &str) -> bool {
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    let (name, ending) = name.split_once('.').unwrap_or((name, ""));
    let of = name.split_once('-').is_some_and(|(base, segments)| digits(base, 20) && digits(segments, 3));
    of && ["idx", "idx.tmp", "tmp"].contains(&ending)
}

/// Whether a segment's file ends with a trailer, as `src/segment/trailer.rs` has it.
fn has_end(bytes: &[u8]) -> bool {
    bytes.len().checked_sub(128).is_some_and(|at| bytes[at..].starts_with(b"ANNALSE1"))
}

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
            reads: ReadMode::Map,
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

    /// The boot that runs now.
    pub fn boot(&self) -> u128 {
        self.boot
    }

    pub fn open(&self) -> Result<Log, OpenError> {
        let smallest = annals::limits::SEGMENT_BYTES_FIRST;
        Log::options().env(self.env()).segment_bytes_max(smallest).codec(self.codec).reads(self.reads).open(DIR)
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

    /// Segments that another one follows, and that have no whole end yet, with the lengths of their files. Those of
    /// whole pages may have been taken ahead.
    pub fn unsealed(&self) -> Vec<(PathBuf, usize)> {
        let mut segments = self.segments();
        segments.pop();
        let of = segments.into_iter().filter_map(|path| Some((self.memory.read_file(&path)?, path)));
        of.filter(|(bytes, _)| !has_end(bytes) && !bytes.len().is_multiple_of(4096))
            .map(|(bytes, path)| (path, bytes.len()))
            .collect()
    }

    /// Until its end is durable, the file of a segment is longer than it will be: so that of a file of that length
    /// each byte is known to be whole or damaged, and a reader that maps it sees none of them written.
    pub fn check_sealed(&self, before: &[(PathBuf, usize)]) -> Result<(), Broken> {
        for (path, len) in before {
            let after = self.memory.read_file(path).unwrap_or_default();
            let was_exact = has_end(&after) && after.len() == *len;
            ensure!(!was_exact, "{} had its length before its end was durable", path.display());
        }
        Ok(())
    }

    /// Another machine with the same files, where no process runs.
    pub fn fork(&self) -> Machine {
        Machine::with(self.memory.fork(), self)
    }

    /// Another machine of the same moment with other files.
    pub fn with(memory: MemDisk, other: &Machine) -> Machine {
        Machine {
            disk: SimDisk::new(memory.clone(), 0, false, false),
            memory,
            clock: Arc::new(other.clock.copy()),
            random: Arc::new(SeededRandom::new(77)),
            boot: other.boot,
            codec: other.codec,
            reads: other.reads,
        }
    }

    /// No file is there that nobody knows of.
    pub fn check_files(&self) -> Result<(), Broken> {
        for (path, _) in self.memory.files() {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let folder =
                path.parent().and_then(|folder| folder.file_name()).map(|name| name.to_string_lossy().into_owned());
            let known = match folder.as_deref() {
                Some("log") => name == "LOCK" || (name.len() == 24 && name.ends_with(".seg")),
                Some("cursors") => name == "LOCK" || name.ends_with(".cur") || name.ends_with(".tmp"),
                Some("torn") => name.ends_with(".torn") || name.ends_with(".tmp"),
                Some("index") => is_index(&name),
                _ => false,
            };
            ensure!(known, "the file {} is unexplained", path.display());
        }
        Ok(())
    }

    /// Opening once more, even after a power cut, changes nothing.
    pub fn check_again(&self, end: u64, may_be_torn: bool, dice: &Dice) -> Result<(), Broken> {
        let mut machine = self.fork();
        machine.end(End::PowerNone, dice);
        let before = machine.segments().into_iter().map(|path| machine.memory.read_file(&path)).collect::<Vec<_>>();
        let log = machine.open().map_err(|error| format!("the log is not opened once more: {error}"))?;
        let again = log.durable_end().raw();
        ensure!(again == end, "the log has {end} events, and {again} when it is opened once more");
        if may_be_torn && log.report().torn.is_some() {
            return Ok(());
        }
        ensure!(log.report().torn.is_none(), "the log is torn when it is opened once more: {:?}", log.report());
        let after = machine.segments().into_iter().map(|path| machine.memory.read_file(&path)).collect::<Vec<_>>();
        ensure!(log.report().sealed > 0 || before == after, "opening the log once more changes its segments");
        Ok(())
    }

    /// What recovery takes from a segment is kept aside and reported; otherwise it changes nothing there.
    pub fn check_cut(&self, report: &OpenReport, path: &Path, before: &[u8]) -> Result<(), Broken> {
        let after = self.memory.read_file(path).unwrap_or_default();
        let Some(torn) = &report.torn else {
            let common = before.len().min(after.len());
            let same = before[..common] == after[..common] && before[common..].iter().all(|byte| *byte == 0);
            // A segment that got its footer now has a later one behind it.
            ensure!(same || report.sealed > 0, "recovery changes {} and does not report it", path.display());
            return Ok(());
        };
        let (at, to) = (torn.at as usize, (torn.at + torn.bytes) as usize);
        let kept = self.memory.read_file(&torn.kept).unwrap_or_default();
        ensure!(
            kept.len() > 52 && kept[52..] == before[at..to],
            "what was cut from {} is not in {}",
            path.display(),
            torn.kept.display()
        );
        let gone = before[to..].iter().all(|byte| *byte == 0) && before[..at] == after[..at];
        ensure!(gone, "recovery changes more of {} than it reports", path.display());
        Ok(())
    }
}
