//! The real disk, except that the process kills itself at a chosen call, or that a sync takes long.

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::testkit::{Disk, DiskFile, Entry, FileWatch, Mode, RealDisk};
use bytes::Bytes;

/// What the operating system writes as one.
const PAGE_BYTES: u64 = 4096;

/// Which call that changes something is the process's last, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DieAt {
    Before(u64),
    After(u64),
    /// A write is done by half, up to the end of a page; other calls are not done.
    Half(u64),
}

impl FromStr for DieAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not before:N, half:N or after:N");
        let (how, call) = text.split_once(':').ok_or_else(bad)?;
        let call = call.parse().map_err(|_| bad())?;
        match how {
            "before" => Ok(DieAt::Before(call)),
            "half" => Ok(DieAt::Half(call)),
            "after" => Ok(DieAt::After(call)),
            _ => Err(bad()),
        }
    }
}

impl std::fmt::Display for DieAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DieAt::Before(call) => write!(f, "before:{call}"),
            DieAt::Half(call) => write!(f, "half:{call}"),
            DieAt::After(call) => write!(f, "after:{call}"),
        }
    }
}

/// What goes wrong, and how far it is until then.
#[derive(Debug)]
struct Fate {
    calls: AtomicU64,
    die_at: Option<DieAt>,
    syncs: AtomicU64,
    stall: Option<Stall>,
}

/// Each so many-th sync of a file takes so long.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    pub every: u64,
    pub time: Duration,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct FatedDisk {
    fate: Arc<Fate>,
}

/// Ends the process as `kill -9` does.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal is taken before the call returns to this thread.
    std::process::abort();
}

impl FatedDisk {
    pub fn new(die_at: Option<DieAt>, stall: Option<Stall>) -> Self {
        let fate = Fate { calls: AtomicU64::new(0), die_at, syncs: AtomicU64::new(0), stall };
        FatedDisk { fate: Arc::new(fate) }
    }
}

impl Fate {
    /// A call that changes something; `half` does a part of it.
    fn call<T>(&self, half: impl FnOnce(), whole: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.die_at {
            Some(DieAt::Before(at)) if at == number => die(),
            Some(DieAt::Half(at)) if at == number => {
                half();
                die()
            }
            Some(DieAt::After(at)) if at == number => {
                let _ = whole();
                die()
            }
            _ => whole(),
        }
    }

    fn sync<T>(&self, whole: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.call(
            || {},
            || {
                let number = self.syncs.fetch_add(1, Ordering::SeqCst);
                if let Some(stall) = self.stall.filter(|stall| number % stall.every == stall.every - 1) {
                    std::thread::sleep(stall.time); // this is the disk that does not answer
                }
                whole()
            },
        )
    }
}

impl Disk for FatedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.fate.call(|| {}, || RealDisk.create_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let open = || RealDisk.open(path, mode);
        let file = match mode {
            Mode::Read | Mode::Write => open()?,
            Mode::Create | Mode::Truncate => self.fate.call(|| {}, open)?,
        };
        Ok(Arc::new(FatedFile { file, fate: Arc::clone(&self.fate) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fate.call(|| {}, || RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fate.call(|| {}, || RealDisk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fate.call(|| {}, || RealDisk.sync_dir(dir))
    }

    fn watch(&self, path: &Path) -> io::Result<Arc<dyn FileWatch>> {
        RealDisk.watch(path)
    }
}

#[derive(Debug)]
struct FatedFile {
    file: Arc<dyn DiskFile>,
    fate: Arc<Fate>,
}

impl DiskFile for FatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        let half = || {
            // A kill ends a write between pages, and never within one.
            let pages = (at + buf.len() as u64 / 2) / PAGE_BYTES * PAGE_BYTES;
            let _ = self.file.write_at(&buf[..pages.saturating_sub(at) as usize], at);
        };
        self.fate.call(half, || self.file.write_at(buf, at))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fate.call(|| {}, || self.file.set_len(len))
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        self.fate.call(|| {}, || self.file.allocate(at, len))
    }

    fn sync(&self) -> io::Result<()> {
        self.fate.sync(|| self.file.sync())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn map(&self) -> io::Result<Bytes> {
        self.file.map()
    }
}
