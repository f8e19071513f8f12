//! A disk around another, on which a test does something in the middle of a call, or a call does nothing.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::testkit::{Disk, DiskFile, Entry, Mode};

/// What is different from the disk below.
pub struct Hooks {
    /// Called after every read of a file.
    pub on_read: Box<dyn Fn(&Path) + Send + Sync>,
    /// Called before every sync of a file.
    pub on_sync: Box<dyn Fn(&Path) + Send + Sync>,
    /// Called before every rename, which fails when it does.
    pub on_rename: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    /// Whether space can be taken before it is written.
    pub allocates: bool,
}

#[derive(Debug)]
pub struct Hooked {
    below: Arc<dyn Disk>,
    hooks: Arc<Hooks>,
}

#[derive(Debug)]
struct HookedFile {
    below: Arc<dyn DiskFile>,
    path: PathBuf,
    hooks: Arc<Hooks>,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks { on_read: Box::new(|_| {}), on_sync: Box::new(|_| {}), on_rename: Box::new(|| Ok(())), allocates: true }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("allocates", &self.allocates).finish_non_exhaustive()
    }
}

impl Hooked {
    pub fn new(below: Arc<dyn Disk>, hooks: Hooks) -> Hooked {
        Hooked { below, hooks: Arc::new(hooks) }
    }
}

impl Disk for Hooked {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.below.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.below.list(dir)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let below = self.below.open(path, mode)?;
        Ok(Arc::new(HookedFile { below, path: path.to_path_buf(), hooks: Arc::clone(&self.hooks) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.hooks.on_rename)()?;
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.sync_dir(dir)
    }
}

impl DiskFile for HookedFile {
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let read = self.below.read_at(buf, at);
        (self.hooks.on_read)(&self.path);
        read
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        self.below.write_at(buf, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.below.set_len(len)
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        if self.hooks.allocates { self.below.allocate(at, len) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        (self.hooks.on_sync)(&self.path);
        self.below.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.below.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.below.unlock()
    }

    fn map(&self) -> io::Result<bytes::Bytes> {
        self.below.map()
    }
}
