//! The disk of a simulated run: it fails by seeded rates, ends the process at a chosen call, and keeps a hash of all
//! that was asked of it and answered.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::testkit::{Disk, DiskFile, Entry, Fault, FaultyDisk, FileWatch, MemDisk, Mode, Op};
use bytes::Bytes;

use crate::dice::Dice;

/// How often calls fail: so many in 10,000.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    pub read: u32,
    pub write: u32,
    pub sync: u32,
    /// Opening fails for want of file handles.
    pub open: u32,
    /// Renaming, removing, listing, locking, taking space, cutting.
    pub other: u32,
    /// A write does less than it was asked to, and says so.
    pub short: u32,
    /// The disk is full, for one call.
    pub full: u32,
    /// A write goes to another place of the file and says that it was done.
    pub misdirected: u32,
    /// A write is not done and says that it was.
    pub lost: u32,
}

/// A call that is to fail, and how.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// So many calls still work.
    pub nth: u64,
    /// Whether all calls after it fail too.
    pub forever: bool,
    pub how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The disk fails.
    Eio,
    /// The disk is full; calls that take no space work.
    Full,
    /// A write does half of what it was asked to, and says so; other calls work.
    Short,
    /// There are no file handles left; calls that need none work.
    Handles,
}

/// How many calls were made to fail, by what the system said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Injected {
    eio: u64,
    full: u64,
    handles: u64,
}

impl Injected {
    fn add(&mut self, error: &io::Error) {
        match (error.raw_os_error(), error.kind()) {
            (Some(24), _) => self.handles += 1,
            (_, ErrorKind::StorageFull) => self.full += 1,
            _ => self.eio += 1,
        }
    }

    /// Whether a fault since then is what an error speaks of.
    pub fn explains(&self, before: &Injected, error: &str) -> bool {
        (self.eio > before.eio && error.contains("(os error 5)"))
            || (self.handles > before.handles && error.contains("(os error 24)"))
            || (self.full > before.full && is_full(error))
    }
}

/// Whether an error speaks of a full disk.
pub fn is_full(error: &str) -> bool {
    error.contains("the disk is full") || error.contains(&io::Error::from(ErrorKind::StorageFull).to_string())
}

/// Whether an error is that of a process that has ended.
pub fn is_gone(error: &str) -> bool {
    error.contains(GONE)
}

const GONE: &str = "the process is gone";

/// A disk in memory whose calls fail by rates. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    memory: MemDisk,
    below: FaultyDisk,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    rates: Rates,
    planned: Option<Planned>,
    /// The disk before each call that changes it, where that is asked for.
    before: Option<Vec<MemDisk>>,
    calls: u64,
    /// Calls that are still made; then the process is gone.
    left: Option<u64>,
    injected: u64,
    by_kind: Injected,
    /// Files that were written to with another outcome than was said, once for each write.
    silent: Vec<PathBuf>,
    hash: Option<u64>,
    shown: bool,
}

/// What becomes of a call.
enum Course {
    Goes,
    Fails(io::Error),
    /// Only so many bytes of a write are done, and the error, if any, is the answer.
    Part(usize, Option<io::Error>),
    Nothing,
    Elsewhere(u64),
}

impl SimDisk {
    pub fn new(memory: MemDisk, seed: u64, hashed: bool, shown: bool) -> SimDisk {
        let state = State {
            dice: Dice::new(seed),
            rates: Rates::default(),
            planned: None,
            before: None,
            calls: 0,
            left: None,
            injected: 0,
            by_kind: Injected::default(),
            silent: Vec::new(),
            hash: hashed.then_some(0),
            shown,
        };
        SimDisk { below: FaultyDisk::over(memory.clone()), memory, state: Arc::new(Mutex::new(state)) }
    }

    pub fn rates(&self) -> Rates {
        self.state().rates
    }

    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// Lets one call fail, or all from one on.
    pub fn plan(&self, planned: Option<Planned>) {
        self.state().planned = planned;
    }

    /// Keeps what the disk is before each call that changes it, from now on.
    pub fn keep_states(&self) {
        self.state().before = Some(Vec::new());
    }

    /// What the disk was before the calls since this was asked last.
    pub fn take_states(&self) -> Vec<MemDisk> {
        self.state().before.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// So many more calls are made, then the process is gone, perhaps amid a write. Without a number it lives on.
    pub fn stop_after(&self, calls: Option<u64>) {
        self.state().left = calls;
    }

    pub fn is_stopped(&self) -> bool {
        self.state().left == Some(0)
    }

    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many calls were made to fail.
    pub fn injected(&self) -> u64 {
        self.state().injected
    }

    /// The same by what was said.
    pub fn injected_by_kind(&self) -> Injected {
        self.state().by_kind
    }

    /// How many writes went wrong silently.
    pub fn silent(&self) -> u64 {
        self.state().silent.len() as u64
    }

    /// Whether a write to a file in a directory went wrong silently.
    pub fn is_silent_in(&self, dir: &Path) -> bool {
        self.state().silent.iter().any(|path| path.parent() == Some(dir))
    }

    /// Hash of all calls with their arguments and results.
    pub fn hash(&self) -> u64 {
        self.state().hash.unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn course(&self, op: Op, path: &Path, at: u64, len: u64) -> Course {
        let mut state = self.state();
        state.calls += 1;
        if let Some(before) = &mut state.before
            && !matches!(op, Op::Read | Op::Map | Op::List | Op::Lock)
        {
            before.push(self.memory.fork());
        }
        let course = state.course(op, len as usize, at);
        match &course {
            Course::Fails(error) if !is_gone(&error.to_string()) => state.by_kind.add(error),
            Course::Nothing | Course::Elsewhere(_) => state.silent.push(path.to_path_buf()),
            _ => {}
        }
        if state.shown {
            let what = match &course {
                Course::Goes => String::new(),
                Course::Fails(error) => format!(": {error}"),
                Course::Part(n, error) => format!(": {n} bytes are written, {error:?}"),
                Course::Nothing => ": lost silently".to_owned(),
                Course::Elsewhere(at) => format!(": written to {at} silently"),
            };
            eprintln!("    {:>6} {op:?} {} {at}+{len}{what}", state.calls, path.display());
        }
        course
    }

    fn call(&self, op: Op, path: &Path, at: u64, len: u64) -> io::Result<()> {
        match self.course(op, path, at, len) {
            Course::Fails(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// A call of something else that stands on the same disk: it fails, and ends the process, as all others do.
    pub fn touch(&self, op: Op, path: &Path) -> io::Result<()> {
        let outcome = self.call(op, path, 0, 0);
        self.noted(op, path, 0, outcome, |()| 0)
    }

    /// Takes note of a call and its outcome.
    fn noted<T>(
        &self,
        op: Op,
        path: &Path,
        at: u64,
        outcome: io::Result<T>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> io::Result<T> {
        let mut state = self.state();
        if let Some(hash) = state.hash {
            let answer = match &outcome {
                Ok(value) => bytes(value),
                Err(error) => hash_of(format!("{:?}", error.kind()).as_bytes()),
            };
            let call = [hash, op as u64, hash_of(path.as_os_str().as_encoded_bytes()), at, answer];
            state.hash = Some(call.iter().fold(0, |hash, word| mix(hash, *word)));
        }
        outcome
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

fn hash_of(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(bytes.len() as u64, mix)
}

fn gone() -> io::Error {
    io::Error::other(GONE)
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl State {
    fn course(&mut self, op: Op, len: usize, at: u64) -> Course {
        match &mut self.left {
            Some(0) => return Course::Fails(gone()),
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    return self.last(op, len);
                }
            }
            None => {}
        }
        if let Some(course) = self.planned(op, len) {
            self.injected += 1;
            return course;
        }
        let rates = self.rates;
        let (rate, error) = match op {
            Op::Read | Op::Map => (rates.read, eio()),
            Op::Write => (rates.write, eio()),
            Op::Sync | Op::SyncDir => (rates.sync, eio()),
            Op::Open => (rates.open, io::Error::from_raw_os_error(24)),
            _ => (rates.other, eio()),
        };
        if self.hits(rate) {
            self.injected += 1;
            return Course::Fails(error);
        }
        if matches!(op, Op::Write | Op::Allocate | Op::SetLen | Op::Open) && self.hits(rates.full) {
            self.injected += 1;
            return Course::Fails(ErrorKind::StorageFull.into());
        }
        if op != Op::Write {
            return Course::Goes;
        }
        if len > 1 && self.hits(rates.short) {
            return Course::Part(1 + self.dice.below(len as u64 - 1) as usize, None);
        }
        if self.hits(rates.lost) {
            return Course::Nothing;
        }
        if self.hits(rates.misdirected) {
            let away = 512 << self.dice.below(6);
            return Course::Elsewhere(if self.dice.percent(50) { at + away } else { at.saturating_sub(away) });
        }
        Course::Goes
    }

    /// What is planned for a call.
    fn planned(&mut self, op: Op, len: usize) -> Option<Course> {
        let planned = self.planned.as_mut()?;
        if let Some(fewer) = planned.nth.checked_sub(1) {
            planned.nth = fewer;
            return None;
        }
        let how = planned.how;
        if !planned.forever {
            self.planned = None;
        }
        match how {
            How::Eio => Some(Course::Fails(eio())),
            How::Full
                if matches!(op, Op::Write | Op::Allocate | Op::SetLen | Op::Open | Op::CreateDir | Op::Rename) =>
            {
                Some(Course::Fails(ErrorKind::StorageFull.into()))
            }
            How::Short if op == Op::Write && len > 1 => Some(Course::Part(len / 2, None)),
            How::Handles if op == Op::Open => Some(Course::Fails(io::Error::from_raw_os_error(24))),
            How::Full | How::Short | How::Handles => None,
        }
    }

    /// The last call of a process. The system writes whole pages: a killed process leaves no half of one.
    fn last(&mut self, op: Op, len: usize) -> Course {
        let pages = len as u64 / 4096;
        if op == Op::Write && pages > 0 && self.dice.percent(50) {
            return Course::Part(4096 * self.dice.between(1, pages) as usize, Some(gone()));
        }
        Course::Fails(gone())
    }

    fn hits(&mut self, rate: u32) -> bool {
        rate > 0 && self.dice.below(10_000) < u64::from(rate)
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let outcome = self.call(Op::CreateDir, path, 0, 0).and_then(|()| self.below.create_dir(path));
        self.noted(Op::CreateDir, path, 0, outcome, |()| 0)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let outcome = self.call(Op::List, dir, 0, 0).and_then(|()| self.below.list(dir));
        self.noted(Op::List, dir, 0, outcome, |entries| hash_of(format!("{entries:?}").as_bytes()))
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let outcome = self.call(Op::Open, path, 0, mode as u64).and_then(|()| self.below.open(path, mode));
        let inner = self.noted(Op::Open, path, mode as u64, outcome, |_| 0)?;
        Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_path_buf(), inner }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let outcome = self.call(Op::Rename, to, 0, 0).and_then(|()| self.below.rename(from, to));
        self.noted(Op::Rename, to, 0, outcome, |()| hash_of(from.as_os_str().as_encoded_bytes()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let outcome = self.call(Op::Remove, path, 0, 0).and_then(|()| self.below.remove(path));
        self.noted(Op::Remove, path, 0, outcome, |()| 0)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let outcome = self.call(Op::SyncDir, dir, 0, 0).and_then(|()| self.below.sync_dir(dir));
        self.noted(Op::SyncDir, dir, 0, outcome, |()| 0)
    }

    fn watch(&self, path: &Path) -> io::Result<Arc<dyn FileWatch>> {
        self.below.watch(path)
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inner: Arc<dyn DiskFile>,
}

impl SimFile {
    fn write(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        match self.disk.course(Op::Write, &self.path, at, buf.len() as u64) {
            Course::Goes => self.inner.write_at(buf, at),
            Course::Fails(error) => Err(error),
            Course::Part(n, error) => {
                let done = self.inner.write_at(&buf[..n], at)?;
                error.map_or(Ok(done), Err)
            }
            Course::Nothing => Ok(buf.len()),
            Course::Elsewhere(at) => self.inner.write_at(buf, at),
        }
    }

    fn synced(&self) -> io::Result<()> {
        let stopped = self.disk.is_stopped();
        if let Err(error) = self.disk.call(Op::Sync, &self.path, 0, 0) {
            if !stopped && !self.disk.is_stopped() {
                // The bytes are lost, and the system calls them written.
                self.disk.below.inject(Fault::once(Op::Sync, 0, ErrorKind::Other));
                let _ = self.inner.sync();
            }
            return Err(error);
        }
        self.inner.sync()
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let asked = buf.len() as u64;
        let outcome = self.disk.call(Op::Read, &self.path, at, asked).and_then(|()| self.inner.read_at(buf, at));
        self.disk.noted(Op::Read, &self.path, at, outcome, |n| hash_of(&buf[..*n]))
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        let outcome = self.write(buf, at);
        self.disk.noted(Op::Write, &self.path, at, outcome, |n| mix(hash_of(buf), *n as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let outcome = self.disk.call(Op::SetLen, &self.path, len, 0).and_then(|()| self.inner.set_len(len));
        self.disk.noted(Op::SetLen, &self.path, len, outcome, |()| 0)
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        let outcome = self.disk.call(Op::Allocate, &self.path, at, len).and_then(|()| self.inner.allocate(at, len));
        self.disk.noted(Op::Allocate, &self.path, at, outcome, |()| len)
    }

    fn sync(&self) -> io::Result<()> {
        let outcome = self.synced();
        self.disk.noted(Op::Sync, &self.path, 0, outcome, |()| 0)
    }

    fn try_lock(&self) -> io::Result<bool> {
        let outcome = self.disk.call(Op::Lock, &self.path, 0, 0).and_then(|()| self.inner.try_lock());
        self.disk.noted(Op::Lock, &self.path, 0, outcome, |locked| u64::from(*locked))
    }

    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }

    fn map(&self) -> io::Result<Bytes> {
        let outcome = self.disk.call(Op::Map, &self.path, 0, 0).and_then(|()| self.inner.map());
        self.disk.noted(Op::Map, &self.path, 0, outcome, |bytes| hash_of(bytes))
    }
}
