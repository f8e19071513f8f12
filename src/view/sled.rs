//! State in sled.

use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use bytes::Bytes;

use super::ViewOptions;
use super::kept::view_in;
use super::store::{Piece, Store, StoreError, piece_of};

view_in! {
    /// State in sled, in a directory on the disk.
    SledView, Sled
}

/// What sled calls the snapshot of its page table that it is just writing.
const UNFINISHED: (&str, &str) = ("snap.", ".generating");

/// A sled database with a single tree.
#[derive(Debug)]
struct Sled(sled::Db);

impl Store for Sled {
    const NAME: &'static str = "sled";

    fn open(dir: &Path, options: &ViewOptions) -> Result<(Self, bool), StoreError> {
        remove_unfinished(dir)?;
        // The timer is off: it would swallow errors of the disk. What is on the disk is the barrier's alone to say.
        let config = sled::Config::new().path(dir).cache_capacity(options.cache_bytes as u64).flush_every_ms(None);
        let db = open_unlocked(&config)?;
        let recovered = db.was_recovered();
        Ok((Sled(db), recovered))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(key)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn piece(&self, prefix: &[u8], from: Bound<&[u8]>) -> Result<Piece, StoreError> {
        let rows = self.0.range::<&[u8], _>((from, Bound::Unbounded)).map(|row| {
            let (key, value) = row?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        });
        piece_of(prefix, rows)
    }

    fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        Ok(self.0.apply_batch(batch)?)
    }

    fn sync(&self, dir: &Path) -> Result<(), StoreError> {
        self.0.flush()?;
        Ok(sync_files(dir)?)
    }

    fn give_up(self) -> bool {
        // Dropped, it would flush, and wait for ever for a write that failed, with a lock that all its databases in
        // the process share.
        std::mem::forget(self);
        false
    }

    fn sync_dropped(dir: &Path) -> io::Result<()> {
        sync_files(dir)
    }
}

/// Opens a database whose lock the last handle of this process may still be giving back: sled does that when its last
/// thread has ended.
fn open_unlocked(config: &sled::Config) -> Result<sled::Db, StoreError> {
    const AT_MOST: Duration = Duration::from_secs(2);
    let start = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(e)) if e.to_string().starts_with("could not acquire lock") => {
                if start.elapsed() > AT_MOST {
                    return Err(StoreError::Held);
                }
                thread::sleep(Duration::from_millis(5));
            }
            opened => return Ok(opened?),
        }
    }
}

/// A half-written page table makes sled fail to open; the one before is still there.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes all files below a directory durable, with their names. What sled calls a flush is none of the disk's cache,
/// and it never syncs the files of its large values.
#[cfg(target_os = "linux")]
fn sync_files(dir: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(dir)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_files(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_files(&entry.path())?,
            false => fs::File::open(entry.path())?.sync_all()?,
        }
    }
    fs::File::open(dir)?.sync_all()
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        StoreError::failed(error)
    }
}
