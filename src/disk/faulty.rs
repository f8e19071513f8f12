//! A disk that fails on request, around any other.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::memory::MemFile;
use super::{Disk, DiskFile, Entry, FileWatch, MemDisk, Mode};

/// A call on a disk or a file. Asking for a file's length is not among them: it never fails here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// [`Disk::open`].
    Open,
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync`].
    Sync,
    /// [`Disk::sync_dir`].
    SyncDir,
    /// [`DiskFile::allocate`].
    Allocate,
    /// [`DiskFile::set_len`].
    SetLen,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::list`].
    List,
    /// [`Disk::create_dir`].
    CreateDir,
    /// [`DiskFile::try_lock`].
    Lock,
    /// [`DiskFile::map`].
    Map,
}

/// Which call fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind of call; without one, any.
    pub op: Option<Op>,
    /// How many such calls still work: with 0 the next one fails.
    pub nth: u64,
    /// Whether all such calls after it fail too, until [`FaultyDisk::heal`].
    pub forever: bool,
    /// What the error says.
    pub kind: io::ErrorKind,
    /// Where the call is a write: it writes the first half, and the next such call fails in its place.
    pub short: bool,
}

impl Fault {
    /// The call after `nth` others of its kind fails; the next ones work.
    pub fn once(op: Op, nth: u64, kind: io::ErrorKind) -> Self {
        Fault { op: Some(op), nth, forever: false, kind, short: false }
    }
}

/// A disk that fails on request. Clones share the faults, the count and the log.
///
/// A call that fails does nothing. One fault more is modelled where the disk below is a [`MemDisk`]: after
/// a sync that failed, Linux takes the bytes for written, so they are seen, the next sync reports success,
/// and a power cut shows that they are gone.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    below: Below,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Clone)]
enum Below {
    Any(Arc<dyn Disk>),
    Memory(MemDisk),
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Fault>,
    log: Vec<(Op, PathBuf)>,
}

impl FaultyDisk {
    /// Around any disk. Bytes that a failed sync should have lost are not lost: use [`over`](Self::over) for that.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        FaultyDisk { below: Below::Any(inner), plan: Arc::default() }
    }

    /// Around a disk in memory, which loses the bytes of a failed sync.
    pub fn over(disk: MemDisk) -> Self {
        FaultyDisk { below: Below::Memory(disk), plan: Arc::default() }
    }

    /// Adds a fault. Each counts the calls from now on by itself; where several fall on one call, the one
    /// added first says how it fails.
    pub fn inject(&self, fault: Fault) {
        self.plan().faults.push(fault);
    }

    /// Takes all faults away. What they lost stays lost.
    pub fn heal(&self) {
        self.plan().faults.clear();
    }

    /// How many calls there have been, failed ones included.
    pub fn calls(&self) -> u64 {
        self.plan().log.len() as u64
    }

    /// All calls so far with their paths: a file's is the one it was opened by, a rename's the new one.
    pub fn log(&self) -> Vec<(Op, PathBuf)> {
        self.plan().log.clone()
    }

    fn inner(&self) -> &dyn Disk {
        match &self.below {
            Below::Any(disk) => disk.as_ref(),
            Below::Memory(disk) => disk,
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call; says which fault it meets.
    fn meets(&self, op: Op, path: &Path) -> Option<Fault> {
        let mut plan = self.plan();
        plan.log.push((op, path.to_path_buf()));
        let mut met = None;
        plan.faults.retain_mut(|fault| {
            if fault.op.is_some_and(|only| only != op) {
                return true;
            }
            if let Some(fewer) = fault.nth.checked_sub(1) {
                fault.nth = fewer;
                return true;
            }
            met.get_or_insert(*fault);
            let half_done = fault.short && op == Op::Write;
            fault.short &= !half_done;
            half_done || fault.forever
        });
        met
    }

    /// Notes a call that can only work or fail.
    fn call(&self, op: Op, path: &Path) -> io::Result<()> {
        self.meets(op, path).map_or(Ok(()), |fault| Err(error(fault)))
    }
}

fn error(fault: Fault) -> io::Error {
    io::Error::new(fault.kind, format!("injected: {}", fault.kind))
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Op::CreateDir, path)?;
        self.inner().create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.call(Op::List, dir)?;
        self.inner().list(dir)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        self.call(Op::Open, path)?;
        let (inner, memory): (Arc<dyn DiskFile>, _) = match &self.below {
            Below::Any(disk) => (disk.open(path, mode)?, None),
            Below::Memory(disk) => {
                let file = Arc::new(disk.open_file(path, mode)?);
                (Arc::clone(&file) as Arc<dyn DiskFile>, Some(file))
            }
        };
        Ok(Arc::new(FaultyFile { disk: self.clone(), path: path.to_path_buf(), inner, memory }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Op::Rename, to)?;
        self.inner().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Op::Remove, path)?;
        self.inner().remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(Op::SyncDir, dir)?;
        self.inner().sync_dir(dir)
    }

    fn watch(&self, path: &Path) -> io::Result<Arc<dyn FileWatch>> {
        self.inner().watch(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    inner: Arc<dyn DiskFile>,
    /// The same file, where it is one in memory.
    memory: Option<Arc<MemFile>>,
}

impl FaultyFile {
    fn call(&self, op: Op) -> io::Result<()> {
        self.disk.call(op, &self.path)
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.call(Op::Read)?;
        self.inner.read_at(buf, at)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        match self.disk.meets(Op::Write, &self.path) {
            None => self.inner.write_at(buf, at),
            Some(fault) => match buf.split_at(buf.len() / 2) {
                (half, _) if fault.short && !half.is_empty() => self.inner.write_at(half, at),
                _ => Err(error(fault)),
            },
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(Op::SetLen)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        self.call(Op::Allocate)?;
        self.inner.allocate(at, len)
    }

    fn sync(&self) -> io::Result<()> {
        match (self.call(Op::Sync), &self.memory) {
            (Ok(()), _) => self.inner.sync(),
            (Err(e), None) => Err(e),
            (Err(e), Some(file)) => {
                file.forget_dirty()?;
                Err(e)
            }
        }
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.call(Op::Lock)?;
        self.inner.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }

    fn map(&self) -> io::Result<Bytes> {
        self.call(Op::Map)?;
        self.inner.map()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::memory::Crash;
    use super::super::{RealDisk, is_full};
    use super::*;

    const EIO: ErrorKind = ErrorKind::Other;

    fn path(name: &str) -> PathBuf {
        Path::new("/log").join(name)
    }

    fn disk() -> (MemDisk, FaultyDisk) {
        let memory = MemDisk::new();
        memory.create_dir(Path::new("/log")).unwrap();
        (memory.clone(), FaultyDisk::over(memory))
    }

    fn create(disk: &FaultyDisk, name: &str) -> Arc<dyn DiskFile> {
        disk.open(&path(name), Mode::Create).unwrap()
    }

    #[test]
    fn only_the_chosen_call_fails_and_it_does_nothing() {
        let (memory, disk) = disk();
        let file = create(&disk, "a");
        disk.inject(Fault::once(Op::Write, 1, EIO));
        file.write_all_at(b"first", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(file.write_at(b"second", 0).unwrap_err().kind(), EIO);
        assert_eq!(memory.read_file(&path("a")).unwrap(), b"first");
        file.write_all_at(b"third", 0).unwrap();
        assert_eq!(memory.read_file(&path("a")).unwrap(), b"third");
    }

    #[test]
    fn a_fault_that_stays_ends_with_heal() {
        let (_, disk) = disk();
        let file = create(&disk, "a");
        disk.inject(Fault { forever: true, ..Fault::once(Op::Allocate, 0, ErrorKind::StorageFull) });
        for _ in 0..3 {
            assert!(is_full(&file.allocate(0, 100).unwrap_err()));
        }
        file.write_all_at(b"other calls work", 0).unwrap();
        disk.heal();
        file.allocate(0, 100).unwrap();
    }

    #[test]
    fn every_kind_of_call_can_fail() {
        use Op::*;
        let (_, disk) = disk();
        let file = create(&disk, "a");
        disk.inject(Fault { op: None, nth: 0, forever: true, kind: EIO, short: false });
        assert!(disk.open(&path("a"), Mode::Read).is_err());
        assert!(file.read_at(&mut [0], 0).is_err());
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.sync().is_err());
        assert!(disk.sync_dir(Path::new("/log")).is_err());
        assert!(file.allocate(0, 1).is_err());
        assert!(file.set_len(1).is_err());
        assert!(disk.rename(&path("a"), &path("b")).is_err());
        assert!(disk.remove(&path("a")).is_err());
        assert!(disk.list(Path::new("/log")).is_err());
        assert!(disk.create_dir(&path("d")).is_err());
        assert!(file.try_lock().is_err());
        assert!(file.map().is_err());
        let all = [Open, Read, Write, Sync, SyncDir, Allocate, SetLen, Rename, Remove, List, CreateDir, Lock, Map];
        let logged: Vec<Op> = disk.log().iter().skip(1).map(|(op, _)| *op).collect();
        assert_eq!(logged, all);
    }

    #[test]
    fn a_short_write_leaves_the_first_half_and_then_fails() {
        let (memory, disk) = disk();
        let file = create(&disk, "a");
        disk.inject(Fault { short: true, ..Fault::once(Op::Write, 0, ErrorKind::StorageFull) });
        assert!(is_full(&file.write_all_at(b"abcdef", 0).unwrap_err()));
        assert_eq!(memory.read_file(&path("a")).unwrap(), b"abc");
        file.write_all_at(b"abcdef", 0).unwrap();
    }

    /// The trap of 2018 ("fsyncgate"): trying the sync again hides the loss.
    #[test]
    fn after_a_failed_sync_the_next_one_reports_success_for_bytes_that_are_lost() {
        let (memory, disk) = disk();
        let file = create(&disk, "old");
        disk.rename(&path("old"), &path("a")).unwrap(); // lost under its new name too
        file.write_all_at(b"synced", 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/log")).unwrap();

        disk.inject(Fault::once(Op::Sync, 0, EIO));
        file.write_all_at(b"gone!!", 0).unwrap();
        assert_eq!(file.sync().unwrap_err().kind(), EIO);
        file.sync().unwrap();
        assert_eq!(file.map().unwrap(), &b"gone!!"[..]);
        memory.crash(Crash::LoseUnsynced);
        assert_eq!(memory.read_file(&path("a")).unwrap(), b"synced");
    }

    #[test]
    fn faults_on_the_same_call_are_all_used_up_and_the_first_decides() {
        let (_, disk) = disk();
        disk.inject(Fault::once(Op::List, 0, ErrorKind::StorageFull));
        disk.inject(Fault { op: None, ..Fault::once(Op::List, 0, EIO) });
        assert!(is_full(&disk.list(Path::new("/log")).unwrap_err()));
        disk.list(Path::new("/log")).unwrap();
    }

    #[test]
    fn clones_share_faults_and_the_log_of_calls() {
        let (_, disk) = disk();
        disk.clone().inject(Fault::once(Op::Rename, 0, EIO));
        create(&disk, "a");
        assert!(disk.rename(&path("a"), &path("b")).is_err());
        assert_eq!(disk.clone().log(), [(Op::Open, path("a")), (Op::Rename, path("b"))]);
        assert_eq!(disk.clone().calls(), 2);
    }

    #[test]
    fn any_disk_can_be_made_faulty() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(Arc::new(RealDisk));
        let file = disk.open(&dir.path().join("a"), Mode::Create).unwrap();
        disk.inject(Fault::once(Op::Sync, 0, EIO));
        assert!(file.sync().is_err());
        file.sync().unwrap();
    }
}
