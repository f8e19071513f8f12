//! The few calls on files that a log makes, as a trait: the real disk, one in memory, and a faulty one.
//!
//! Everything a log does to the world outside goes through an [`Env`]: files, clock, random numbers and
//! background jobs. So a test can run a whole log on one thread, on a disk that forgets and fails on
//! request, and get the same run again.

mod env;
mod faulty;
mod map;
mod memory;
mod real;
#[cfg(target_os = "linux")]
mod watch;

pub use env::{BootId, Clock, Env, Jobs, ManualClock, Random, SeededRandom, SystemClock, SystemRandom};
pub use faulty::{Fault, FaultyDisk, Op};
pub use memory::{Crash, Fate, MemDisk};
pub use real::RealDisk;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::planted::{Bug, planted};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing; the file must exist.
    Write,
    /// For reading and writing; made when it is not there, otherwise kept as it is.
    Create,
    /// For reading and writing; made anew, an older one is emptied.
    Truncate,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name within its directory. Names that are not UTF-8 are passed over: none of ours are such.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A file system, as far as a log needs one.
///
/// A new file, a rename and a removal survive a power cut only after [`sync_dir`](Disk::sync_dir) on their
/// directory; the bytes of a file only after [`DiskFile::sync`].
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a directory and its parents, and makes their names durable; no error when it is there already.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The entries of a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name in one step, over an older file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Open handles and maps of it stay usable.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Watches a file for writes, from the call on. An error where the platform cannot: whoever waits for the
    /// file then looks at it again and again.
    fn watch(&self, path: &Path) -> io::Result<Arc<dyn FileWatch>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Waits for writes to a file by anybody, in any process.
pub trait FileWatch: fmt::Debug + Send + Sync {
    /// Returns when the file was written since the last wait, when [`wake`](FileWatch::wake) was called since
    /// then, or after so long; perhaps sooner. One thread waits at a time.
    fn wait(&self, at_most: Duration) -> io::Result<()>;
    /// Ends the wait of another thread, or its next one.
    fn wake(&self);
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads at most `buf.len()` bytes at a place; 0 at and after the end.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes at most all of `buf` at a place; may write less.
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize>;
    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Takes the space for a range, extending the file with zeros when it ends before; a full disk is
    /// found here, before bytes are written. Does nothing where the platform cannot.
    fn allocate(&self, at: u64, len: u64) -> io::Result<()>;
    /// Returns when all bytes written before the call would survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Takes the exclusive lock of the file, held until the last handle is dropped or the process ends;
    /// false when another handle has it.
    fn try_lock(&self) -> io::Result<bool>;
    /// Gives the lock back, while handles stay open.
    fn unlock(&self) -> io::Result<()>;
    /// The whole file as bytes that stay what they are: only for files that nobody changes any more.
    fn map(&self) -> io::Result<Bytes>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from a place; fails with `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        match read_full_at(self, buf, at)? {
            n if n == buf.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes all of `buf` at a place.
    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let (mut rest, mut at) = (buf, at);
        while !rest.is_empty() {
            match self.write_at(rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) if planted(Bug::ShortWriteTaken) => return Ok(()),
                Ok(n) => {
                    rest = rest.get(n..).unwrap_or_default();
                    at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Reads until `buf` is full or the file ends; returns how many bytes were read.
pub(crate) fn read_full_at<F: DiskFile + ?Sized>(file: &F, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Whether an error says that the disk, or the user's share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
