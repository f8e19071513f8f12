//! A view on the disk, over any store: rows with checksums, the marker, the lock, and a store that is put aside when
//! it does not open.
//!
//! In the view's directory, for a store of the name `sled`: `sled/` is the store's, `sled.lock` is locked while it is
//! open, `sled.marker` says how far the store may be believed, `sled.quarantine-N` are stores that did not open, of
//! which the last two are kept. A store that a crash of the system may have torn is removed without a look at it; so is
//! one that failed and cannot be opened again by the same process.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::marker::{Marker, State};
use super::row::{self, BOOKMARKS};
use super::store::{Piece, Store, StoreError};
use super::{Bookmark, Change, Digest, Rows, Space, Trust, ViewError, ViewOptions};
use crate::LogId;
use crate::disk::{BootId, Disk, RealDisk, is_full};

/// How often, and how long, a lock is waited for that may be gone at once.
const FORKED_TRIES: u32 = 20;
const FORKED_WAIT: Duration = Duration::from_millis(5);

/// Stores that did not open, of which this many are kept for whoever wants to know why.
const QUARANTINES: usize = 2;

/// A view on the disk.
pub(super) struct Kept<S: Store> {
    files: Files,
    log: LogId,
    trust: Trust,
    room_bytes: u64,
    store: RwLock<Option<Opened<S>>>,
    /// Why it takes nothing more.
    over: RwLock<Option<String>>,
}

/// A store and the lock that keeps others from it, which goes last.
struct Opened<S> {
    store: S,
    _lock: File,
}

/// Where things are.
#[derive(Debug, Clone)]
struct Files {
    view: PathBuf,
    store: PathBuf,
    marker: PathBuf,
    lock: PathBuf,
}

impl Files {
    fn of(view: &Path, name: &str) -> Self {
        let at = |end: &str| view.join(format!("{name}{end}"));
        Files { view: view.to_owned(), store: at(""), marker: at(".marker"), lock: at(".lock") }
    }

    fn quarantine(&self, number: u32) -> PathBuf {
        self.store.with_extension(format!("quarantine-{number}"))
    }

    fn failed(&self, source: impl std::error::Error + Send + Sync + 'static) -> ViewError {
        ViewError::Failed { path: self.view.clone(), source: Arc::new(source) }
    }

    fn io(&self, error: io::Error) -> ViewError {
        match is_full(&error) {
            true => ViewError::Full { path: self.view.clone() },
            false => self.failed(error),
        }
    }

    fn store_error(&self, error: StoreError) -> ViewError {
        match error {
            StoreError::Held => ViewError::Held { path: self.view.clone() },
            StoreError::Failed(source) => ViewError::Failed { path: self.view.clone(), source },
        }
    }

    fn wrong_log(&self, found: LogId, expected: LogId) -> ViewError {
        ViewError::WrongLog { path: self.view.clone(), found, expected }
    }

    fn lock(&self) -> Result<File, ViewError> {
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.lock);
        let lock = lock.map_err(|e| self.io(e))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(ViewError::Held { path: self.view.clone() }),
            Err(TryLockError::Error(e)) => Err(self.io(e)),
        }
    }

    /// Puts the store aside.
    fn put_aside(&self) -> io::Result<()> {
        let mut numbers: Vec<u32> = Vec::new();
        for entry in fs::read_dir(&self.view)? {
            let path = entry?.path();
            let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
            let number = end.strip_prefix("quarantine-").and_then(|number| number.parse().ok());
            numbers.extend(number.filter(|number| self.quarantine(*number) == path));
        }
        numbers.sort_unstable();
        let next = numbers.last().map_or(1, |last| last.saturating_add(1));
        fs::rename(&self.store, self.quarantine(next))?;
        for older in numbers.iter().rev().skip(QUARANTINES - 1) {
            fs::remove_dir_all(self.quarantine(*older))?;
        }
        RealDisk.sync_dir(&self.view)
    }

    /// Removes the store: in one step from its place, so that no half of it is ever opened.
    fn remove(&self) -> io::Result<()> {
        let removed = self.store.with_extension("removed");
        if removed.exists() {
            fs::remove_dir_all(&removed)?;
        }
        if self.store.exists() {
            fs::rename(&self.store, &removed)?;
            fs::remove_dir_all(&removed)?;
        }
        RealDisk.sync_dir(&self.view)
    }
}

impl<S: Store> Kept<S> {
    /// Opens the view of a log in a directory, or makes it.
    pub fn open(path: &Path, log: LogId, options: &ViewOptions) -> Result<Self, ViewError> {
        // A process that was forked has the locks of this one's files until it becomes another program: some
        // thread may have started one just when the view was closed.
        for _ in 0..FORKED_TRIES {
            match Self::open_once(path, log, options) {
                Err(ViewError::Held { .. }) => std::thread::sleep(FORKED_WAIT),
                opened => return opened,
            }
        }
        Self::open_once(path, log, options)
    }

    fn open_once(path: &Path, log: LogId, options: &ViewOptions) -> Result<Self, ViewError> {
        let files = Files::of(path, S::NAME);
        let boot = options.boot.unwrap_or_else(BootId::current);
        RealDisk.create_dir(path).map_err(|e| files.io(e))?;
        let lock = files.lock()?;
        let before = Marker::read(&files.marker).map_err(|e| files.io(e))?;
        if let Some(other) = before.filter(|marker| marker.log != log) {
            return Err(files.wrong_log(other.log, log));
        }
        let mut trust = left_as::<S>(&files, before, boot)?;
        let there = files.store.exists();
        Marker { log, state: State::Open(boot) }.write(&files.marker).map_err(|e| files.io(e))?;
        let opened = match open_apart::<S>(&files.store, options) {
            Ok((store, recovered)) => {
                if there && !recovered {
                    tracing::warn!(view = %path.display(), "the store was there, but opened empty");
                    trust = Trust::Lost;
                }
                store
            }
            Err(StoreError::Held) => {
                // Whoever has it goes on as before; nor is it ours to say how it was left.
                restore(&files, before);
                return Err(files.store_error(StoreError::Held));
            }
            Err(StoreError::Failed(why)) => {
                tracing::warn!(view = %path.display(), %why, "the store did not open; it is put aside");
                trust = Trust::Lost;
                files.put_aside().map_err(|e| files.io(e))?;
                open_apart::<S>(&files.store, options).map_err(|e| files.store_error(e))?.0
            }
        };
        let store = RwLock::new(Some(Opened { store: opened, _lock: lock }));
        let (room_bytes, over) = (options.room_bytes, RwLock::new(None));
        let mut view = Kept { files, log, trust, room_bytes, store, over };
        if let Err(e) = view.look_at_bookmarks(before) {
            if matches!(e, ViewError::WrongLog { .. }) {
                restore(&view.files, before);
            }
            return Err(e);
        }
        Ok(view)
    }

    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Compares the bookmarks with the log and with what was noted at the last close, and finishes what was being
    /// cleared.
    fn look_at_bookmarks(&mut self, before: Option<Marker>) -> Result<(), ViewError> {
        let stored = self.stored_bookmarks()?;
        let mut clearing = Vec::new();
        for (key, value) in &stored {
            let Some(value) = row::open(key, value) else { continue }; // found again by whoever asks for it
            match row::decode_bookmark(&value) {
                Some(bookmark) if bookmark.log != self.log => {
                    return Err(self.files.wrong_log(bookmark.log, self.log));
                }
                None if value.is_empty() => clearing.extend(row::space_of(key)),
                _ => {}
            }
        }
        if let Some(State::Closed(noted)) = before.map(|marker| marker.state)
            && self.trust == Trust::Closed
            && noted != self.digest_of(&stored)
        {
            // Somebody put another store in its place, or the store went back: its rows have to prove themselves.
            self.trust = Trust::SameBoot;
        }
        for space in clearing {
            self.remove_rows(&space)?;
        }
        Ok(())
    }

    fn stored_bookmarks(&self) -> Result<Piece, ViewError> {
        self.all(&[BOOKMARKS]).collect()
    }

    fn digest_of(&self, stored: &Piece) -> Digest {
        stored.iter().fold(Digest::EMPTY, |sum, (key, value)| sum.with(Digest::of(self.log, key, value)))
    }

    /// The stored rows with a prefix, unchecked.
    fn all(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(Bytes, Bytes), ViewError>> {
        self.from(prefix.to_vec(), Bytes::copy_from_slice(prefix))
    }

    fn from(&self, prefix: Vec<u8>, from: Bytes) -> impl Iterator<Item = Result<(Bytes, Bytes), ViewError>> {
        let mut next = Some(Bound::Included(from));
        let pieces = std::iter::from_fn(move || {
            let from = next.take()?;
            let from = from.as_ref().map(|key| key.as_ref());
            match self.with(|store| store.piece(&prefix, from)) {
                Ok(piece) => {
                    next = piece.last().map(|(key, _)| Bound::Excluded(key.clone()));
                    next.is_some().then(|| piece.into_iter().map(Ok).collect())
                }
                Err(e) => Some(vec![Err(e)]),
            }
        });
        pieces.flatten()
    }

    /// Asks the store for something. An error of it, or a panic in it, ends it: what it has in memory is not to be
    /// relied on any more.
    fn with<T>(&self, ask: impl FnOnce(&S) -> Result<T, StoreError>) -> Result<T, ViewError> {
        let opened = self.store.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = self.over.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(ViewError::Closed { path: self.files.view.clone(), why });
        }
        let Some(opened) = opened.as_ref() else { return Err(self.closed()) };
        caught(|| ask(&opened.store)).map_err(|e| {
            let error = self.files.store_error(e);
            self.over
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| format!("it failed before ({error}), and has to be opened again"));
            error
        })
    }

    fn closed(&self) -> ViewError {
        ViewError::Closed { path: self.files.view.clone(), why: "it was closed, and has to be opened again".into() }
    }

    fn damaged(&self, what: impl Into<String>) -> ViewError {
        ViewError::Damaged { path: self.files.view.clone(), what: what.into() }
    }

    fn checked(&self, space: &Space, key: &[u8], stored: &Bytes) -> Result<Bytes, ViewError> {
        row::open(key, stored).ok_or_else(|| self.damaged(format!("the checksum of a row of {space} does not hold")))
    }

    pub fn bookmark(&self, space: &Space) -> Result<Option<Bookmark>, ViewError> {
        let key = row::bookmark_key(space);
        let Some(stored) = self.with(|store| store.get(&key))? else { return Ok(None) };
        let value = self.checked(space, &key, &stored)?;
        if value.is_empty() {
            return Ok(None); // it is being cleared
        }
        row::decode_bookmark(&value).map(Some).ok_or_else(|| self.damaged(format!("the bookmark of {space} is none")))
    }

    pub fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        let key = row::row_key(space, key);
        let stored = self.with(|store| store.get(&key))?;
        stored.map(|stored| self.checked(space, &key, &stored)).transpose()
    }

    pub fn scan(&self, space: &Space, prefix: &[u8], from: &[u8]) -> Rows<'_> {
        let front = row::row_key(space, b"").len();
        let start = row::row_key(space, from.max(prefix));
        let space = space.clone();
        Box::new(self.from(row::row_key(&space, prefix), start.into()).map(move |stored| {
            let (key, value) = stored?;
            let value = self.checked(&space, &key, &value)?;
            Ok((key.slice(front.min(key.len())..), value))
        }))
    }

    pub fn apply(&self, space: &Space, changes: &[Change], to: &Bookmark) -> Result<(), ViewError> {
        let mut batch = Vec::with_capacity(changes.len() + 1);
        let mut bytes = 0;
        for change in changes {
            let key = row::row_key(space, &change.key);
            let value = change.value.as_ref().map(|value| row::seal(&key, value));
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            batch.push((key, value));
        }
        let key = row::bookmark_key(space);
        let value = row::seal(&key, &row::encode_bookmark(to));
        batch.push((key, Some(value)));
        self.make_sure_of_room(bytes)?;
        self.with(|store| store.write(batch))
    }

    /// A store that finds the disk full in the middle has to be opened again, so it had better not.
    fn make_sure_of_room(&self, bytes: usize) -> Result<(), ViewError> {
        match free_bytes(&self.files.view) {
            Some(free) if free < self.room_bytes.saturating_add(bytes as u64) => {
                Err(ViewError::Full { path: self.files.view.clone() })
            }
            _ => Ok(()),
        }
    }

    pub fn clear(&self, space: &Space) -> Result<(), ViewError> {
        let key = row::bookmark_key(space);
        let clearing = row::seal(&key, b"");
        self.with(|store| store.write(vec![(key, Some(clearing))]))?;
        self.remove_rows(space)
    }

    /// Removes the rows of a space that has no bookmark any more, and then says that it has none.
    fn remove_rows(&self, space: &Space) -> Result<(), ViewError> {
        let prefix = row::row_key(space, b"");
        loop {
            let piece = self.with(|store| store.piece(&prefix, Bound::Included(&prefix)))?;
            if piece.is_empty() {
                break;
            }
            let removed = piece.iter().map(|(key, _)| (key.to_vec(), None)).collect();
            self.with(|store| store.write(removed))?;
        }
        self.with(|store| store.write(vec![(row::bookmark_key(space), None)]))
    }

    pub fn barrier(&self) -> Result<(), ViewError> {
        self.with(|store| store.sync(&self.files.store))
    }

    pub fn close(&self) -> Result<(), ViewError> {
        let bookmarks = self.digest_of(&self.stored_bookmarks()?);
        self.barrier()?;
        let mut opened = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let Some(Opened { store, _lock }) = opened.take() else { return Err(self.closed()) };
        caught(|| {
            drop(store);
            Ok(())
        })
        .map_err(|e| self.files.store_error(e))?;
        S::sync_dropped(&self.files.store).map_err(|e| self.files.io(e))?;
        let marker = Marker { log: self.log, state: State::Closed(bookmarks) };
        marker.write(&self.files.marker).map_err(|e| self.files.io(e))
    }

    fn drop_store(&mut self) {
        let opened = self.store.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Opened { store, _lock }) = opened else { return };
        let failed = self.over.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        // It may panic, and the program may be ending for another panic already.
        let let_go = caught(|| {
            Ok(match failed {
                true => store.give_up(),
                false => {
                    drop(store);
                    true
                }
            })
        });
        if !let_go.unwrap_or(false)
            && let Err(error) = self.files.remove()
        {
            tracing::warn!(view = %self.files.view.display(), %error, "the store that failed could not be removed");
        }
    }
}

impl<S: Store> Drop for Kept<S> {
    fn drop(&mut self) {
        self.drop_store();
    }
}

impl<S: Store> fmt::Debug for Kept<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(S::NAME).field("path", &self.files.view).field("log", &self.log).finish_non_exhaustive()
    }
}

/// How far a store may be believed, before it is opened; one that may be torn is out of the way after it.
fn left_as<S: Store>(files: &Files, before: Option<Marker>, boot: BootId) -> Result<Trust, ViewError> {
    let done = match (files.store.exists(), before) {
        // A store that failed is not there any more; but for that, there was none.
        (false, Some(Marker { state: State::Open(_), .. })) => return Ok(Trust::Lost),
        (false, _) => return Ok(Trust::Closed),
        // Nobody knows whose it is.
        (true, None) => files.put_aside(),
        (true, Some(marker)) => match marker.state.trust(boot) {
            Trust::Lost => files.remove(),
            trust => return Ok(trust),
        },
    };
    done.map_err(|e| files.io(e))?;
    Ok(Trust::Lost)
}

/// Puts the marker back as it was, where nothing was done to the store.
fn restore(files: &Files, before: Option<Marker>) {
    let done = match before {
        Some(marker) => marker.write(&files.marker),
        None => fs::remove_file(&files.marker),
    };
    if let Err(error) = done {
        // Then it says less than is true.
        tracing::warn!(view = %files.view.display(), %error, "the marker could not be put back");
    }
}

/// Opens a store on a thread of its own, which may panic or hang.
fn open_apart<S: Store>(dir: &Path, options: &ViewOptions) -> Result<(S, bool), StoreError> {
    let (at_most, dir, options) = (options.open_at_most, dir.to_owned(), options.clone());
    let (send, receive) = mpsc::channel();
    let opening = thread::Builder::new().name(format!("open {}", S::NAME)).spawn(move || {
        // Nobody waits for it any more when this fails.
        let _ = send.send(caught(|| S::open(&dir, &options)));
    });
    opening?;
    match receive.recv_timeout(at_most) {
        Ok(opened) => opened,
        Err(RecvTimeoutError::Timeout) => Err(StoreError::text(format!("it took more than {at_most:?} to open"))),
        Err(RecvTimeoutError::Disconnected) => Err(StoreError::text("its thread ended")),
    }
}

/// Runs something that may panic.
fn caught<T>(run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(StoreError::text(format!("it panicked: {}", said.unwrap_or("no reason given"))))
    })
}

/// Bytes that the disk has left for us; `None` where it does not tell.
#[cfg(target_os = "linux")]
fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(target_os = "linux"))]
fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

/// Makes a public view of a store.
macro_rules! view_in {
    ($(#[$doc:meta])* $view:ident, $store:ty) => {
        $(#[$doc])*
        ///
        /// Dropped without [`close`](crate::View::close), it counts as not closed when it is opened again. A call that
        /// fails but for damage and a full disk ends it: it has to be opened again then.
        #[derive(Debug)]
        pub struct $view($crate::view::kept::Kept<$store>);

        impl $view {
            /// Opens the view of a log in a directory, or makes it.
            ///
            /// A store that does not open is put aside, and the view starts empty; so it does where the system was
            /// restarted while the store was open. [`trust`](crate::View::trust) says so.
            ///
            /// # Errors
            /// [`ViewError::WrongLog`](crate::ViewError::WrongLog) and [`ViewError::Held`](crate::ViewError::Held)
            /// change nothing.
            pub fn open(path: impl AsRef<std::path::Path>, log: $crate::LogId) -> Result<Self, $crate::ViewError> {
                Self::open_with(path, log, &$crate::view::ViewOptions::new())
            }

            /// Opens the view of a log in a directory as asked for.
            ///
            /// # Errors
            /// See [`open`](Self::open).
            pub fn open_with(
                path: impl AsRef<std::path::Path>,
                log: $crate::LogId,
                options: &$crate::view::ViewOptions,
            ) -> Result<Self, $crate::ViewError> {
                $crate::view::kept::Kept::open(path.as_ref(), log, options).map($view)
            }
        }

        impl $crate::View for $view {
            fn trust(&self) -> $crate::Trust {
                self.0.trust()
            }
            fn bookmark(&self, space: &$crate::Space) -> Result<Option<$crate::Bookmark>, $crate::ViewError> {
                self.0.bookmark(space)
            }
            fn get(&self, space: &$crate::Space, key: &[u8]) -> Result<Option<bytes::Bytes>, $crate::ViewError> {
                self.0.get(space, key)
            }
            fn scan(&self, space: &$crate::Space, prefix: &[u8], from: &[u8]) -> $crate::Rows<'_> {
                self.0.scan(space, prefix, from)
            }
            fn apply(
                &self,
                space: &$crate::Space,
                changes: &[$crate::Change],
                to: &$crate::Bookmark,
            ) -> Result<(), $crate::ViewError> {
                self.0.apply(space, changes, to)
            }
            fn clear(&self, space: &$crate::Space) -> Result<(), $crate::ViewError> {
                self.0.clear(space)
            }
            fn barrier(&self) -> Result<(), $crate::ViewError> {
                self.0.barrier()
            }
            fn close(&self) -> Result<(), $crate::ViewError> {
                self.0.close()
            }
        }
    };
}
pub(super) use view_in;
