//! A disk in memory that forgets at a crash what was not synced, as a real one may.
//!
//! A crash takes each thing that was not synced on its own: every 4 KiB page of a file is there, is as it
//! was at the last sync, or is garbled; a new length is there or not, whatever became of the bytes; every
//! change of names is there or not. The rules are those of FoundationDB's `AsyncFileNonDurable` with one
//! difference: bytes that a write did not change stay whole, so a log may go on writing in a sector that
//! is durable in part. Paths are taken as they are given: `..` means nothing here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{Disk, DiskFile, Entry, FileWatch, Mode, Random, SeededRandom};

/// What a crash takes or leaves as one.
const PAGE_BYTES: usize = 4096;
/// What a garbled page is garbled in.
const SECTOR_BYTES: usize = 512;

/// What is left of unsynced changes after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Nothing: a power cut at its worst.
    LoseUnsynced,
    /// All: the process was killed, and the operating system still has everything. What was not synced
    /// stays so, and the next power cut may take it.
    KeepAll,
    /// A power cut that keeps, loses or garbles each change on its own. One number is one outcome.
    Seeded(u64),
}

/// What becomes of one pending change at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It reached the disk.
    Kept,
    /// It did not.
    Lost,
    /// A page that was being written: torn, and garbage in part. One number is one outcome. Other changes than
    /// those of a page are lost.
    Garbled(u64),
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
    /// Told of every write to a file, and when a wait has to end.
    changed: Arc<Condvar>,
}

impl MemDisk {
    /// An empty disk of unlimited size. The directories `/`, `.` and the empty path are there.
    pub fn new() -> Self {
        MemDisk::default()
    }

    /// Ends every open handle, and leaves of the unsynced changes what `choice` says.
    ///
    /// Calls on older handles fail from now on, and their locks are free.
    pub fn crash(&self, choice: Crash) {
        self.state().crash(choice);
    }

    /// Another disk with the same files and the same changes pending. No handle leads to it.
    pub fn fork(&self) -> MemDisk {
        let state = self.state().clone();
        let fork = MemDisk { state: Arc::new(Mutex::new(state)), changed: Arc::default() };
        fork.state().release_handles();
        fork
    }

    /// How many changes a power cut would keep or lose, each on its own.
    pub fn pending(&self) -> usize {
        let mut state = self.state().clone();
        let mut count = 0;
        state.cut_power(&mut |_| {
            count += 1;
            Fate::Lost
        });
        count
    }

    /// A power cut that leaves of each pending change what is said, by its number below
    /// [`pending`](MemDisk::pending): changes of names come first, oldest first, then each file's new length and its
    /// pages in order.
    pub fn crash_by(&self, mut fate: impl FnMut(usize) -> Fate) {
        let mut number = 0;
        self.state().end_handles_and(|state| {
            state.cut_power(&mut |_| {
                number += 1;
                fate(number - 1)
            });
        });
    }

    /// Keeps, from now on, pending changes in their order, each write on its own, for
    /// [`crash_after`](MemDisk::crash_after). It costs a copy of each page that is written.
    pub fn remember_order(&self) {
        self.state().order.get_or_insert_default();
    }

    /// How many pending changes are known in their order.
    pub fn in_order(&self) -> usize {
        self.state().in_order().len()
    }

    /// A power cut of a disk that writes in order: the oldest so many of the pending changes are kept, the others
    /// are lost.
    pub fn crash_after(&self, changes: usize) {
        self.state().end_handles_and(|state| state.cut_power_after(changes));
    }

    /// Leaves room for this many more bytes of file length; without a number there is no limit.
    ///
    /// Cutting a file gives its bytes back, and so does removing it, once its last handle is dropped.
    pub fn set_free(&self, bytes: Option<u64>) {
        self.state().free = bytes;
    }

    /// All bytes of a file as programs see them now.
    pub fn read_file(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.state();
        Some(state.file(path).ok()?.bytes.to_vec())
    }

    /// Puts a file there, with its directories, as if it had been synced long ago.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        state.dirs.extend(path.ancestors().skip(1).map(Path::to_path_buf));
        let id = state.names.get(path).copied().unwrap_or_else(|| state.new_inode(path));
        for change in &mut state.unsynced_names {
            change.names.retain(|(name, _)| name != path);
        }
        state.durable_names.insert(path.to_path_buf(), id);
        if let Some(inode) = state.inodes.get_mut(&id) {
            inode.bytes = Content::of(bytes);
            inode.unsynced.clear();
            inode.durable_len = bytes.len();
        }
        state.forget_order(id, |_| true);
    }

    /// Turns one bit of a file over, at rest: no crash and no sync brings it back.
    ///
    /// # Panics
    /// When the file has no such byte: the test would check nothing.
    pub fn flip_bit(&self, path: &Path, byte: usize, bit: u8) {
        let mut state = self.state();
        let inode = state.file(path).ok().filter(|inode| byte < inode.bytes.len());
        let inode = inode.unwrap_or_else(|| panic!("{} has no byte {byte}", path.display()));
        let durable = inode.unsynced.get_mut(&(byte / PAGE_BYTES)).and_then(|p| p.durable.get_mut(byte % PAGE_BYTES));
        for byte in inode.bytes.change().get_mut(byte).into_iter().chain(durable) {
            *byte ^= 1 << bit;
        }
    }

    /// Every file's path and length as programs see them now, in the order of paths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        state.names.iter().map(|(path, id)| (path.clone(), state.len_of(*id))).collect()
    }

    /// Makes the unsynced pages of a file clean but lost, as Linux does when writing them back fails:
    /// programs see them, the next sync reports success, and a power cut shows that they never reached the
    /// disk. Only writing to a page again makes it count again. Does nothing where there is no such file.
    pub fn forget_dirty(&self, path: &Path) {
        let mut state = self.state();
        if let Some(id) = state.names.get(path).copied() {
            state.forget_unsynced(id);
        }
    }

    /// [`Disk::open`], for a wrapper that needs more of the file than the trait has.
    pub(super) fn open_file(&self, path: &Path, mode: Mode) -> io::Result<MemFile> {
        let mut state = self.state();
        if state.dirs.contains(path) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let id = match (state.names.get(path), mode) {
            (Some(id), _) => *id,
            (None, Mode::Read | Mode::Write) => return Err(ErrorKind::NotFound.into()),
            (None, Mode::Create | Mode::Truncate) => {
                state.check_parent(path)?;
                let id = state.new_inode(path);
                state.change_names(vec![(path.to_path_buf(), Some(id))]);
                id
            }
        };
        if mode == Mode::Truncate {
            state.set_len(id, 0)?;
        }
        state.next_id += 1;
        let (handle, crashes) = (state.next_id, state.crashes);
        if let Some(inode) = state.inodes.get_mut(&id) {
            inode.handles += 1;
        }
        Ok(MemFile { disk: self.clone(), inode: id, handle, crashes, writable: mode != Mode::Read })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half done here: no call can panic between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemDisk").finish_non_exhaustive() // and not megabytes of files
    }
}

impl Disk for MemDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if path.ancestors().any(|path| state.names.contains_key(path)) {
            return Err(ErrorKind::NotADirectory.into());
        }
        state.dirs.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        state.check_dir(dir)?;
        let name_in_dir = |path: &Path| match path.parent() {
            Some(parent) if parent == dir => Some(path.file_name()?.to_str()?.to_owned()),
            _ => None,
        };
        // Paths are ordered by their parts: all below a directory come right after it.
        let files = state.names.range(dir.to_path_buf()..).take_while(|(path, _)| path.starts_with(dir));
        let dirs = state.dirs.range(dir.to_path_buf()..).take_while(|path| path.starts_with(dir));
        let files = files
            .filter_map(|(path, id)| Some(Entry { name: name_in_dir(path)?, len: state.len_of(*id), is_dir: false }));
        let dirs = dirs.filter_map(|path| Some(Entry { name: name_in_dir(path)?, len: 0, is_dir: true }));
        Ok(files.chain(dirs).collect())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.open_file(path, mode)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_parent(to)?;
        if state.dirs.contains(to) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let id = *state.names.get(from).ok_or(ErrorKind::NotFound)?;
        if from == to {
            return Ok(());
        }
        state.names.remove(from);
        if let Some(replaced) = state.names.insert(to.to_path_buf(), id) {
            state.unname(replaced);
        }
        // One change: a crash never leaves both names or none.
        state.change_names(vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(id))]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.dirs.contains(path) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let id = state.names.remove(path).ok_or(ErrorKind::NotFound)?;
        state.unname(id);
        state.change_names(vec![(path.to_path_buf(), None)]);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_dir(dir)?;
        state.sync_names(dir);
        Ok(())
    }

    fn watch(&self, path: &Path) -> io::Result<Arc<dyn FileWatch>> {
        let mut state = self.state();
        state.file(path)?;
        Ok(Arc::new(MemWatch { disk: self.clone(), seen: AtomicU64::new(state.writes) }))
    }
}

/// Waits for writes to any file of a [`MemDisk`].
#[derive(Debug)]
struct MemWatch {
    disk: MemDisk,
    seen: AtomicU64,
}

impl FileWatch for MemWatch {
    fn wait(&self, at_most: Duration) -> io::Result<()> {
        let seen = self.seen.load(Ordering::Relaxed);
        let waited = self.disk.changed.wait_timeout_while(self.disk.state(), at_most, |state| state.writes == seen);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.seen.store(state.writes, Ordering::Relaxed);
        Ok(())
    }

    fn wake(&self) {
        self.disk.state().writes += 1;
        self.disk.changed.notify_all();
    }
}

/// An open file of a [`MemDisk`].
pub(super) struct MemFile {
    disk: MemDisk,
    inode: u64,
    /// Names this handle among all, for the lock.
    handle: u64,
    /// How many crashes there had been when it was opened.
    crashes: u64,
    writable: bool,
}

impl MemFile {
    /// [`MemDisk::forget_dirty`], whatever the file's name is by now.
    pub(super) fn forget_dirty(&self) -> io::Result<()> {
        self.state()?.forget_unsynced(self.inode);
        Ok(())
    }

    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.crashes == self.crashes { Ok(state) } else { Err(io::Error::other("crashed")) }
    }

    fn state_to_write(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.writable { self.state() } else { Err(ErrorKind::PermissionDenied.into()) }
    }
}

impl fmt::Debug for MemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemFile").field("inode", &self.inode).field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl DiskFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.len_of(self.inode))
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        let there = state.inode(self.inode)?.bytes.get(index(at)..).unwrap_or_default();
        let n = buf.len().min(there.len());
        for (buf, there) in buf.get_mut(..n).into_iter().zip(there.get(..n)) {
            buf.copy_from_slice(there);
        }
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        let mut state = self.state_to_write()?;
        if buf.is_empty() {
            return Ok(0);
        }
        // A disk that gets full in the middle takes what fits, as a real one does.
        let room = state.free.map_or(u64::MAX, |free| state.len_of(self.inode).saturating_add(free));
        let n = buf.len().min(index(room.saturating_sub(at)));
        let written = buf.get(..n).filter(|written| !written.is_empty()).ok_or(ErrorKind::StorageFull)?;
        state.grow(self.inode, at.saturating_add(n as u64))?;
        state.inode(self.inode)?.write(written, index(at));
        state.note_pages(self.inode, index(at), index(at) + n);
        state.writes += 1;
        self.disk.changed.notify_all();
        Ok(n)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state_to_write()?.set_len(self.inode, len)
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        self.state_to_write()?.grow(self.inode, at.saturating_add(len))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        state.inode(self.inode)?.sync();
        state.forget_order(self.inode, |_| true);
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.state()?;
        let inode = state.inode(self.inode)?;
        Ok(*inode.locked_by.get_or_insert(self.handle) == self.handle)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let inode = state.inode(self.inode)?;
        if inode.locked_by == Some(self.handle) {
            inode.locked_by = None;
        }
        Ok(())
    }

    fn map(&self) -> io::Result<Bytes> {
        Ok(Bytes::from_owner(self.state()?.inode(self.inode)?.bytes.clone()))
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let Ok(mut state) = self.state() else { return };
        let Ok(inode) = state.inode(self.inode) else { return };
        inode.handles -= 1;
        if inode.locked_by == Some(self.handle) {
            inode.locked_by = None;
        }
        state.give_back(self.inode);
    }
}

/// Names set (or removed, where there is no inode) in one step.
#[derive(Debug, Clone)]
struct NameChange {
    /// Its place among all changes.
    order: u64,
    names: Vec<(PathBuf, Option<u64>)>,
}

/// A change of a file's bytes that no sync has made durable.
#[derive(Debug, Clone)]
struct FileChange {
    /// Its place among all changes.
    order: u64,
    inode: u64,
    what: Changed,
}

#[derive(Debug, Clone)]
enum Changed {
    Length(usize),
    /// What a page held after it.
    Page(usize, Vec<u8>),
}

/// What a power cut takes as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Names,
    Length,
    Page,
}

#[derive(Debug, Clone)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    /// Directories are durable as soon as they are made.
    dirs: BTreeSet<PathBuf>,
    /// The files that programs see. A file has one name at most.
    names: BTreeMap<PathBuf, u64>,
    /// The files as of the last syncs of their directories.
    durable_names: BTreeMap<PathBuf, u64>,
    /// What leads from the durable names to the ones seen, oldest first.
    unsynced_names: Vec<NameChange>,
    /// The changes of files in their order, where that is asked for.
    order: Option<Vec<FileChange>>,
    changes: u64,
    next_id: u64,
    crashes: u64,
    free: Option<u64>,
    /// Writes to files, and wakes of those who wait for some.
    writes: u64,
}

impl Default for State {
    fn default() -> Self {
        State {
            inodes: BTreeMap::new(),
            dirs: ["", ".", "/"].map(PathBuf::from).into(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            order: None,
            changes: 0,
            next_id: 0,
            crashes: 0,
            free: None,
            writes: 0,
        }
    }
}

impl State {
    fn inode(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&id).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut Inode> {
        let id = *self.names.get(path).ok_or(ErrorKind::NotFound)?;
        self.inode(id)
    }

    fn len_of(&self, id: u64) -> u64 {
        self.inodes.get(&id).map_or(0, |inode| inode.bytes.len() as u64)
    }

    fn check_dir(&self, dir: &Path) -> io::Result<()> {
        if self.dirs.contains(dir) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        self.check_dir(path.parent().ok_or(ErrorKind::IsADirectory)?)
    }

    fn new_inode(&mut self, path: &Path) -> u64 {
        self.next_id += 1;
        self.inodes.insert(self.next_id, Inode { named: true, ..Inode::default() });
        self.names.insert(path.to_path_buf(), self.next_id);
        self.next_id
    }

    fn unname(&mut self, id: u64) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.named = false;
        }
        self.give_back(id);
    }

    /// Gives the space of a file back that has neither name nor handle left.
    fn give_back(&mut self, id: u64) {
        let unused = self.inodes.get(&id).is_some_and(|inode| !inode.named && inode.handles == 0);
        if let (true, Some(free)) = (unused, self.free) {
            self.free = Some(free.saturating_add(self.len_of(id)));
        }
    }

    /// Extends a file with zeros, if it ends before `end`.
    fn grow(&mut self, id: u64, end: u64) -> io::Result<()> {
        let more = end.saturating_sub(self.len_of(id));
        let free = self.free.map(|free| free.checked_sub(more).ok_or(ErrorKind::StorageFull)).transpose()?;
        let inode = self.inode(id)?;
        let len = inode.bytes.len().saturating_add(index(more));
        if more > 0 {
            let bytes = inode.bytes.change();
            bytes.try_reserve(index(more)).map_err(|_| ErrorKind::FileTooLarge)?;
            bytes.resize(len, 0);
        }
        self.free = free;
        if more > 0 {
            self.note(id, || Changed::Length(len));
        }
        Ok(())
    }

    fn set_len(&mut self, id: u64, len: u64) -> io::Result<()> {
        let less = self.len_of(id).saturating_sub(len);
        self.inode(id)?.cut(index(len));
        if less > 0 {
            self.note(id, || Changed::Length(index(len)));
        }
        self.free = self.free.map(|free| free.saturating_add(less));
        self.grow(id, len)
    }

    /// Makes the changes of names in a directory durable, and with them those that they build on.
    fn sync_names(&mut self, dir: &Path) {
        let mut synced: BTreeSet<PathBuf> = BTreeSet::new();
        let mut durable: Vec<NameChange> = Vec::new();
        let mut waiting: Vec<NameChange> = Vec::new();
        for change in std::mem::take(&mut self.unsynced_names).into_iter().rev() {
            if change.names.iter().any(|(name, _)| name.parent() == Some(dir) || synced.contains(name)) {
                synced.extend(change.names.iter().map(|(name, _)| name.clone()));
                durable.push(change);
            } else {
                waiting.push(change);
            }
        }
        self.unsynced_names = waiting.into_iter().rev().collect();
        durable.into_iter().rev().for_each(|change| apply(&mut self.durable_names, change));
        self.drop_unreachable();
    }

    /// Forgets the files that no program and no crash can bring back.
    fn drop_unreachable(&mut self) {
        let durable = self.durable_names.values().copied();
        let unsynced = self.unsynced_names.iter().flat_map(|change| &change.names).filter_map(|(_, id)| *id);
        let reachable: BTreeSet<u64> = durable.chain(unsynced).collect();
        self.inodes.retain(|id, inode| inode.named || inode.handles > 0 || reachable.contains(id));
    }

    /// Bytes of the files that have a name or a handle.
    fn used(&self) -> u64 {
        self.inodes
            .values()
            .filter(|inode| inode.named || inode.handles > 0)
            .map(|inode| inode.bytes.len() as u64)
            .sum()
    }

    fn change_names(&mut self, names: Vec<(PathBuf, Option<u64>)>) {
        self.changes += 1;
        self.unsynced_names.push(NameChange { order: self.changes, names });
    }

    /// Takes note of a change of a file, where the order is asked for.
    fn note(&mut self, inode: u64, what: impl FnOnce() -> Changed) {
        if let Some(order) = &mut self.order {
            self.changes += 1;
            order.push(FileChange { order: self.changes, inode, what: what() });
        }
    }

    /// Takes note of the pages that a write has changed.
    fn note_pages(&mut self, id: u64, at: usize, end: usize) {
        if self.order.is_none() {
            return;
        }
        for page in at / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let Some(inode) = self.inodes.get(&id) else { return };
            let start = page * PAGE_BYTES;
            let bytes = inode.bytes.get(start..inode.bytes.len().min(start + PAGE_BYTES)).unwrap_or_default().to_vec();
            self.note(id, || Changed::Page(page, bytes));
        }
    }

    /// Changes of a file are no longer pending.
    fn forget_order(&mut self, id: u64, which: impl Fn(&Changed) -> bool) {
        if let Some(order) = &mut self.order {
            order.retain(|change| change.inode != id || !which(&change.what));
        }
    }

    fn forget_unsynced(&mut self, id: u64) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.forget_unsynced();
        }
        self.forget_order(id, |what| matches!(what, Changed::Page(..)));
    }

    /// The places of the pending changes among all changes.
    fn in_order(&self) -> Vec<u64> {
        let files = self.order.iter().flatten().map(|change| change.order);
        let mut all: Vec<u64> = files.chain(self.unsynced_names.iter().map(|change| change.order)).collect();
        all.sort_unstable();
        all
    }

    fn crash(&mut self, choice: Crash) {
        match choice {
            Crash::KeepAll => self.end_handles_and(|_| ()),
            Crash::LoseUnsynced => self.end_handles_and(|state| state.cut_power(&mut |_| Fate::Lost)),
            Crash::Seeded(seed) => {
                let random = SeededRandom::new(seed);
                let mut fate = |pending| match pending {
                    Pending::Names | Pending::Length if pick(&random, 2) == 0 => Fate::Kept,
                    Pending::Names | Pending::Length => Fate::Lost,
                    Pending::Page => match pick(&random, 3) {
                        0 => Fate::Lost,
                        1 => Fate::Kept,
                        _ => Fate::Garbled(random.next_u64()),
                    },
                };
                self.end_handles_and(|state| state.cut_power(&mut fate));
            }
        }
    }

    /// Ends all handles and does something to the files; their space is what is left of them then.
    fn end_handles_and(&mut self, change: impl FnOnce(&mut State)) {
        let used_before = self.used();
        self.crashes += 1;
        change(self);
        self.release_handles();
        self.drop_unreachable();
        let used = self.used();
        self.free = self.free.map(|free| free.saturating_add(used_before).saturating_sub(used));
    }

    fn release_handles(&mut self) {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        for (id, inode) in &mut self.inodes {
            (inode.named, inode.handles, inode.locked_by) = (named.contains(id), 0, None);
        }
    }

    /// The power goes: asks for the fate of each pending change.
    fn cut_power(&mut self, fate: &mut dyn FnMut(Pending) -> Fate) {
        for change in std::mem::take(&mut self.unsynced_names) {
            if fate(Pending::Names) == Fate::Kept {
                apply(&mut self.durable_names, change);
            }
        }
        self.names.clone_from(&self.durable_names);
        self.inodes.values_mut().for_each(|inode| inode.lose_power(fate));
        self.order.iter_mut().for_each(Vec::clear);
    }

    /// The power goes: so many of the oldest pending changes have reached the disk.
    fn cut_power_after(&mut self, changes: usize) {
        let before = self.in_order().get(changes).copied().unwrap_or(u64::MAX);
        let names = std::mem::take(&mut self.unsynced_names);
        let files = self.order.as_mut().map(std::mem::take).unwrap_or_default();
        self.cut_power(&mut |_| Fate::Lost);
        names.into_iter().filter(|change| change.order < before).for_each(|c| apply(&mut self.durable_names, c));
        self.names.clone_from(&self.durable_names);
        for change in files.into_iter().filter(|change| change.order < before) {
            if let Some(inode) = self.inodes.get_mut(&change.inode) {
                inode.put_durable(change.what);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: NameChange) {
    for (name, id) in change.names {
        match id {
            Some(id) => names.insert(name, id),
            None => names.remove(&name),
        };
    }
}

/// What a page held at the last sync.
#[derive(Debug, Clone)]
struct OldPage {
    /// May be shorter than a page: the rest is zeros.
    durable: Vec<u8>,
    /// The kernel gave the new bytes up and calls the page clean: no sync writes them any more.
    lost: bool,
}

/// The bytes of a file, shared with forks and maps until they change.
#[derive(Debug, Clone, Default)]
struct Content(Arc<Vec<u8>>);

impl Content {
    fn of(bytes: &[u8]) -> Content {
        Content(Arc::new(bytes.to_vec()))
    }

    fn change(&mut self) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.0)
    }

    /// Cuts or extends (with zeros).
    fn resize(&mut self, len: usize) {
        if len != self.0.len() {
            self.change().resize(len, 0);
        }
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug, Clone, Default)]
struct Inode {
    /// What programs see.
    bytes: Content,
    /// The pages changed since they were last durable, by number. All other pages are durable as seen, as
    /// far as the durable length reaches.
    unsynced: BTreeMap<usize, OldPage>,
    durable_len: usize,
    named: bool,
    handles: usize,
    locked_by: Option<u64>,
}

impl Inode {
    /// To be called before the bytes from `at` to `end` change.
    fn touch(&mut self, at: usize, end: usize) {
        for page in at / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let start = page * PAGE_BYTES;
            let there = self.bytes.get(start..self.bytes.len().min(start + PAGE_BYTES)).unwrap_or_default();
            let old = self.unsynced.entry(page).or_insert_with(|| OldPage { durable: there.to_vec(), lost: false });
            old.lost = false;
        }
    }

    /// Puts bytes where the file is long enough already.
    fn write(&mut self, buf: &[u8], at: usize) {
        self.touch(at, at + buf.len());
        if let Some(place) = self.bytes.change().get_mut(at..at + buf.len()) {
            place.copy_from_slice(buf);
        }
    }

    fn cut(&mut self, len: usize) {
        if len < self.bytes.len() {
            self.touch(len, self.bytes.len());
            self.bytes.change().truncate(len);
        }
    }

    fn sync(&mut self) {
        self.durable_len = self.bytes.len();
        self.unsynced.retain(|page, old| {
            old.durable.truncate(self.durable_len.saturating_sub(page * PAGE_BYTES));
            old.lost
        });
    }

    fn forget_unsynced(&mut self) {
        self.unsynced.values_mut().for_each(|old| old.lost = true);
    }

    /// Becomes what is found after a power cut.
    fn lose_power(&mut self, fate: &mut dyn FnMut(Pending) -> Fate) {
        let len_before = self.bytes.len();
        let is_kept = len_before == self.durable_len || fate(Pending::Length) == Fate::Kept;
        let len = if is_kept { len_before } else { self.durable_len };
        self.bytes.resize(len_before.max(self.durable_len));
        for (page, mut old) in std::mem::take(&mut self.unsynced) {
            let start = page * PAGE_BYTES;
            let end = self.bytes.len().min(start + PAGE_BYTES);
            let Some(seen) = self.bytes.change().get_mut(start..end) else { continue };
            old.durable.resize(seen.len(), 0);
            // A page that was cut off has no new bytes that could be kept.
            let fate = if old.lost || start >= len_before { Fate::Lost } else { fate(Pending::Page) };
            match fate {
                Fate::Lost => seen.copy_from_slice(&old.durable),
                Fate::Kept => {}
                Fate::Garbled(seed) => garble(seen, &old.durable, &SeededRandom::new(seed)),
            }
        }
        self.bytes.resize(len);
        self.durable_len = len;
    }

    /// Takes a change as one that has reached the disk. Nothing is pending.
    fn put_durable(&mut self, what: Changed) {
        match what {
            Changed::Length(len) => self.bytes.resize(len),
            Changed::Page(page, new) => {
                let there = self.bytes.change().get_mut(page * PAGE_BYTES..).unwrap_or_default();
                there.iter_mut().zip(new).for_each(|(there, new)| *there = new);
            }
        }
        self.durable_len = self.bytes.len();
    }
}

/// Tears a page: each changed sector is new, old, or garbage from one end of what changed to some point.
fn garble(seen: &mut [u8], durable: &[u8], random: &SeededRandom) {
    for (seen, durable) in seen.chunks_mut(SECTOR_BYTES).zip(durable.chunks(SECTOR_BYTES)) {
        let differs = |(seen, durable): (&u8, &u8)| seen != durable;
        let first = seen.iter().zip(durable).position(differs);
        let last = seen.iter().zip(durable).rposition(differs);
        let (Some(first), Some(last)) = (first, last) else { continue };
        let changed = seen.get_mut(first..=last).unwrap_or_default();
        let (left, right) = changed.split_at_mut(pick(random, changed.len() + 1));
        match pick(random, 4) {
            0 => {}
            1 => seen.copy_from_slice(durable),
            2 => left.fill_with(|| random.next_u64() as u8),
            _ => right.fill_with(|| random.next_u64() as u8),
        }
    }
}

/// A number below `n`.
fn pick(random: &SeededRandom, n: usize) -> usize {
    (random.next_u64() % n as u64) as usize
}

/// A place in a file as one in memory; what is too far away is farther than any file reaches.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> MemDisk {
        let disk = MemDisk::new();
        disk.create_dir(Path::new("/log")).unwrap();
        disk
    }

    fn path(name: &str) -> PathBuf {
        Path::new("/log").join(name)
    }

    fn create(disk: &MemDisk, name: &str) -> Arc<dyn DiskFile> {
        disk.open(&path(name), Mode::Create).unwrap()
    }

    /// A file with these bytes, which no power cut takes.
    fn synced(disk: &MemDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = create(disk, name);
        file.write_all_at(bytes, 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/log")).unwrap();
        file
    }

    fn read(disk: &MemDisk, name: &str) -> Option<Vec<u8>> {
        disk.read_file(&path(name))
    }

    fn names(disk: &MemDisk) -> String {
        disk.files().iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    /// What is found after a power cut, for many seeds.
    fn outcomes<T: Ord>(make: impl Fn(&MemDisk), look: impl Fn(&MemDisk) -> T) -> BTreeSet<T> {
        let outcome = |seed| {
            let disk = disk();
            make(&disk);
            disk.crash(Crash::Seeded(seed));
            look(&disk)
        };
        (0..200).map(outcome).collect()
    }

    fn kind<T>(result: io::Result<T>) -> ErrorKind {
        result.map(|_| ()).unwrap_err().kind()
    }

    #[test]
    fn bytes_are_durable_after_sync_and_names_after_sync_dir() {
        let disk = disk();
        let named = create(&disk, "named");
        disk.sync_dir(Path::new("/log")).unwrap();
        named.write_all_at(b"lost", 0).unwrap();
        let unnamed = create(&disk, "unnamed");
        unnamed.write_all_at(b"synced", 0).unwrap();
        unnamed.sync().unwrap();
        synced(&disk, "both", b"kept"); // its sync_dir is for "unnamed" too
        create(&disk, "late").sync().unwrap();

        disk.crash(Crash::LoseUnsynced);
        assert_eq!(names(&disk), "both named unnamed");
        assert_eq!(read(&disk, "both").unwrap(), b"kept");
        assert_eq!(read(&disk, "named").unwrap(), b"");
        assert_eq!(read(&disk, "unnamed").unwrap(), b"synced");
    }

    #[test]
    fn a_power_cut_brings_the_bytes_of_the_last_sync_back() {
        let disk = disk();
        let old: Vec<u8> = (0..3 * PAGE_BYTES).map(|n| (n % 251) as u8).collect();
        let file = synced(&disk, "a", &old);
        file.write_all_at(&[255; 5000], 4000).unwrap();
        file.set_len(17).unwrap();
        file.write_all_at(b"new", 6000).unwrap();
        file.allocate(0, 100_000).unwrap();
        assert_eq!(file.len().unwrap(), 100_000);
        disk.crash(Crash::LoseUnsynced);
        assert!(read(&disk, "a").unwrap() == old);
    }

    #[test]
    fn a_killed_process_loses_no_bytes_but_makes_none_durable() {
        let disk = disk();
        let file = synced(&disk, "a", b"old");
        file.write_all_at(b"new", 0).unwrap();
        create(&disk, "b");
        disk.crash(Crash::KeepAll);
        assert_eq!((read(&disk, "a").unwrap(), names(&disk)), (b"new".to_vec(), "a b".into()));
        disk.crash(Crash::LoseUnsynced);
        assert_eq!((read(&disk, "a").unwrap(), names(&disk)), (b"old".to_vec(), "a".into()));
    }

    #[test]
    fn older_handles_fail_after_a_crash_and_their_locks_are_free() {
        for choice in [Crash::LoseUnsynced, Crash::KeepAll, Crash::Seeded(1)] {
            let disk = disk();
            let old = synced(&disk, "a", b"x");
            assert!(old.try_lock().unwrap());
            disk.crash(choice);
            assert_eq!(old.read_at(&mut [0], 0).unwrap_err().to_string(), "crashed");
            assert!(old.write_at(b"y", 0).is_err() && old.sync().is_err() && old.len().is_err() && old.map().is_err());
            let new = create(&disk, "a");
            assert!(new.try_lock().unwrap());
            drop(old);
            assert!(!create(&disk, "a").try_lock().unwrap(), "an older handle's end does not free the new lock");
        }
    }

    #[test]
    fn one_handle_at_a_time_has_the_lock() {
        let disk = disk();
        let (first, second) = (create(&disk, "LOCK"), create(&disk, "LOCK"));
        let again = Arc::clone(&first);
        assert!(first.try_lock().unwrap());
        assert!(again.try_lock().unwrap(), "the same handle");
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(!second.try_lock().unwrap(), "a clone of the handle is left");
        drop(again);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn a_seeded_power_cut_keeps_loses_or_garbles_each_page_and_the_length_on_its_own() {
        let (old, new) = ([1; 2 * PAGE_BYTES], [2; 2 * PAGE_BYTES]);
        let state_of = |page: Option<&[u8]>| match page {
            None => "cut",
            Some(page) if page.iter().all(|b| *b == 1) => "old",
            Some(page) if page.iter().all(|b| *b == 2) => "new",
            Some(page) if page.iter().all(|b| *b == 0) => "zero",
            Some(_) => "garbled",
        };
        let seen = outcomes(
            |disk| {
                let file = synced(disk, "a", &old);
                file.write_all_at(&new, 0).unwrap();
                file.write_all_at(&new[..PAGE_BYTES], 2 * PAGE_BYTES as u64).unwrap();
            },
            |disk| {
                let bytes = read(disk, "a").unwrap();
                let mut pages = bytes.chunks(PAGE_BYTES);
                [(); 3].map(|()| state_of(pages.next()))
            },
        );
        let all = |last: &[&'static str]| {
            let pages = ["old", "new", "garbled"];
            let each = pages.iter().flat_map(|a| pages.iter().map(move |b| [*a, *b]));
            each.flat_map(|[a, b]| last.iter().map(move |c| [a, b, *c])).collect::<BTreeSet<_>>()
        };
        assert_eq!(seen, all(&["cut", "zero", "new", "garbled"]));
    }

    #[test]
    fn bytes_that_a_write_did_not_change_are_never_garbled() {
        let seen = outcomes(
            |disk| synced(disk, "a", &[7; 1000]).write_all_at(&[8; 100], 900).unwrap(),
            |disk| read(disk, "a").unwrap()[..900] == [7; 900],
        );
        assert_eq!(seen, [true].into());
    }

    #[test]
    fn a_cut_is_kept_or_lost_and_what_it_cut_is_old_or_gone() {
        let seen = outcomes(
            |disk| synced(disk, "a", &[7; 2 * PAGE_BYTES]).set_len(0).unwrap(),
            |disk| read(disk, "a").unwrap(),
        );
        assert!(seen == [vec![], vec![7; 2 * PAGE_BYTES]].into());
    }

    #[test]
    fn a_seeded_power_cut_keeps_or_loses_each_change_of_names_on_its_own() {
        let seen = outcomes(
            |disk| {
                synced(disk, "removed", b"");
                synced(disk, "from", b"");
                disk.remove(&path("removed")).unwrap();
                disk.rename(&path("from"), &path("to")).unwrap();
                create(disk, "x");
            },
            names,
        );
        let all = ["from", "from removed", "from removed x", "from x", "removed to", "removed to x", "to", "to x"];
        assert_eq!(seen, all.map(String::from).into());
    }

    #[test]
    fn a_rename_between_directories_is_one_change_and_brings_what_it_builds_on() {
        let disk = disk();
        disk.create_dir(&path("torn")).unwrap();
        create(&disk, "a");
        create(&disk, "other");
        disk.rename(&path("a"), &path("torn/a")).unwrap();
        disk.sync_dir(&path("torn")).unwrap();
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(disk.files(), [(path("torn/a"), 0)]);
    }

    #[test]
    fn a_removed_file_comes_back_whole_when_its_removal_is_lost() {
        let disk = disk();
        synced(&disk, "a", b"kept");
        disk.remove(&path("a")).unwrap();
        create(&disk, "a").write_all_at(b"another file", 0).unwrap();
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(read(&disk, "a").unwrap(), b"kept");
    }

    #[test]
    fn the_same_seed_is_the_same_crash() {
        let after = |seed| {
            let disk = disk();
            synced(&disk, "a", &[1; 50_000]).write_all_at(&[2; 60_000], 10).unwrap();
            create(&disk, "b");
            disk.crash(Crash::Seeded(seed));
            (disk.files(), read(&disk, "a"))
        };
        assert!(after(7) == after(7));
        assert!(after(7) != after(8));
    }

    #[test]
    fn each_pending_change_meets_the_fate_that_is_asked_for() {
        let disk = disk();
        let file = synced(&disk, "a", &[1; 2 * PAGE_BYTES]);
        file.write_all_at(&[2; 3 * PAGE_BYTES], 0).unwrap();
        create(&disk, "b");
        assert_eq!(disk.pending(), 5, "one name, one length, three pages");
        let after = |fates: [Fate; 5]| {
            let fork = disk.fork();
            fork.crash_by(|n| fates[n]);
            let bytes = read(&fork, "a").unwrap();
            let pages: Vec<u8> = bytes.chunks(PAGE_BYTES).map(|page| page[0]).collect();
            (names(&fork), pages)
        };
        let (kept, lost) = (Fate::Kept, Fate::Lost);
        assert_eq!(after([lost; 5]), ("a".into(), vec![1, 1]));
        assert_eq!(after([kept; 5]), ("a b".into(), vec![2, 2, 2]));
        assert_eq!(after([kept, lost, kept, lost, kept]), ("a b".into(), vec![2, 1]));
        assert_eq!(after([lost, kept, lost, kept, lost]), ("a".into(), vec![1, 2, 0]));
        let garbled = [kept, kept, kept, kept, Fate::Garbled(7)];
        assert!(after(garbled) == after(garbled), "one number is one outcome");
        assert_eq!(read(&disk, "a").unwrap(), [2; 3 * PAGE_BYTES], "the disk itself goes on");
        file.sync().unwrap();
        assert_eq!(disk.pending(), 1);
    }

    #[test]
    fn a_power_cut_in_order_keeps_the_oldest_changes_each_write_on_its_own() {
        let disk = disk();
        disk.remember_order();
        let file = synced(&disk, "a", b"....");
        file.write_all_at(b"1", 0).unwrap();
        create(&disk, "b");
        file.write_all_at(b"22", 0).unwrap();
        file.write_all_at(b"3", 4).unwrap();
        file.set_len(2).unwrap();
        let after = |changes| {
            let fork = disk.fork();
            fork.crash_after(changes);
            assert_eq!((fork.pending(), fork.in_order()), (0, 0));
            (names(&fork), String::from_utf8(read(&fork, "a").unwrap()).unwrap())
        };
        let states: Vec<_> = (0..=disk.in_order()).map(after).collect();
        let expected = [
            ("a", "...."),
            ("a", "1..."),
            ("a b", "1..."),
            ("a b", "22.."),
            ("a b", "22..\0"), // the file is longer first
            ("a b", "22..3"),
            ("a b", "22"),
        ];
        assert_eq!(states, expected.map(|(names, bytes)| (names.to_owned(), bytes.to_owned())));
        disk.forget_dirty(&path("a"));
        disk.crash_after(usize::MAX);
        assert_eq!(read(&disk, "a").unwrap(), b"..", "a new length, but no bytes that the system gave up");
    }

    #[test]
    fn a_fork_has_no_handles_and_no_locks() {
        let disk = disk();
        let file = synced(&disk, "a", b"x");
        assert!(file.try_lock().unwrap());
        let fork = disk.fork();
        let other = create(&fork, "a");
        assert!(other.try_lock().unwrap());
        other.write_all_at(b"y", 0).unwrap();
        assert_eq!((read(&disk, "a").unwrap(), read(&fork, "a").unwrap()), (b"x".to_vec(), b"y".to_vec()));
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_then_nothing_until_there_is_room() {
        let disk = disk();
        let file = synced(&disk, "a", b"1234");
        disk.set_free(Some(3));
        assert_eq!(kind(file.allocate(0, 8)), ErrorKind::StorageFull);
        assert_eq!(kind(file.set_len(8)), ErrorKind::StorageFull);
        assert_eq!(file.write_at(b"abcdef", 2).unwrap(), 5, "two there already, three free");
        assert_eq!(kind(file.write_at(b"x", 7)), ErrorKind::StorageFull);
        assert_eq!(file.write_at(b"ABC", 0).unwrap(), 3, "room that is taken stays usable");
        file.set_len(6).unwrap();
        file.write_all_at(b"z", 6).unwrap();

        disk.remove(&path("a")).unwrap();
        let other = create(&disk, "b");
        assert_eq!(kind(other.allocate(0, 7)), ErrorKind::StorageFull, "a handle is left");
        drop(file);
        other.allocate(0, 7).unwrap();
        disk.set_free(None);
        other.allocate(0, 7000).unwrap();
    }

    #[test]
    fn a_crash_gives_back_the_room_of_what_it_took() {
        let disk = disk();
        disk.set_free(Some(10));
        let file = create(&disk, "a");
        file.allocate(0, 10).unwrap();
        disk.crash(Crash::LoseUnsynced);
        create(&disk, "a").allocate(0, 10).unwrap();
    }

    #[test]
    fn forgotten_pages_are_seen_and_reported_synced_but_do_not_survive() {
        let disk = disk();
        let file = synced(&disk, "a", &[1; 2 * PAGE_BYTES]);
        file.write_all_at(&[2; 2 * PAGE_BYTES], 0).unwrap();
        disk.forget_dirty(&path("a"));
        file.sync().unwrap();
        assert_eq!(read(&disk, "a").unwrap()[0], 2, "still seen");
        file.write_all_at(&[3], 0).unwrap();
        file.sync().unwrap();
        disk.crash(Crash::KeepAll);
        assert_eq!(read(&disk, "a").unwrap()[PAGE_BYTES], 2, "the system still has it");
        disk.crash(Crash::Seeded(1));
        let bytes = read(&disk, "a").unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[PAGE_BYTES]), (3, 2, 1), "a page is durable when written again");
    }

    #[test]
    fn a_flipped_bit_stays_flipped_before_and_after_a_crash() {
        let disk = disk();
        let file = synced(&disk, "a", &[0; 10]);
        file.write_all_at(&[1], 0).unwrap();
        disk.flip_bit(&path("a"), 9, 7);
        assert_eq!(read(&disk, "a").unwrap()[9], 128);
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(read(&disk, "a").unwrap(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 128]);
    }

    #[test]
    fn a_file_put_there_is_durable_with_its_directories() {
        let disk = MemDisk::new();
        for bytes in [&b"first"[..], b"second"] {
            disk.write_file(Path::new("deep/er/a"), bytes);
            disk.crash(Crash::LoseUnsynced);
            assert_eq!(disk.read_file(Path::new("deep/er/a")).unwrap(), bytes);
        }
        assert_eq!(disk.list(Path::new("deep")).unwrap(), [Entry { name: "er".into(), len: 0, is_dir: true }]);
    }

    #[test]
    fn a_directory_lists_its_own_files_and_directories_only() {
        let disk = disk();
        disk.create_dir(&path("sub/deep")).unwrap();
        disk.write_file(&path("b"), b"123");
        disk.write_file(&path("sub/c"), b"");
        disk.write_file(Path::new("/log2/d"), b"");
        let entries = disk.list(Path::new("/log")).unwrap();
        let expected = [("b", 3, false), ("sub", 0, true)];
        assert_eq!(entries, expected.map(|(name, len, is_dir)| Entry { name: name.into(), len, is_dir }));
    }

    #[test]
    fn errors_are_those_of_a_real_disk() {
        let disk = disk();
        assert_eq!(kind(disk.open(&path("no"), Mode::Read)), ErrorKind::NotFound);
        assert_eq!(kind(disk.open(&path("no"), Mode::Write)), ErrorKind::NotFound);
        assert_eq!(kind(disk.open(&path("no/a"), Mode::Create)), ErrorKind::NotFound);
        assert_eq!(kind(disk.open(Path::new("/log"), Mode::Read)), ErrorKind::IsADirectory);
        assert_eq!(kind(disk.list(&path("no"))), ErrorKind::NotFound);
        assert_eq!(kind(disk.sync_dir(&path("no"))), ErrorKind::NotFound);
        assert_eq!(kind(disk.remove(&path("no"))), ErrorKind::NotFound);
        assert_eq!(kind(disk.rename(&path("no"), &path("a"))), ErrorKind::NotFound);
        create(&disk, "a");
        assert_eq!(kind(disk.create_dir(&path("a/b"))), ErrorKind::NotADirectory);
        let reader = disk.open(&path("a"), Mode::Read).unwrap();
        assert_eq!(kind(reader.write_at(b"x", 0)), ErrorKind::PermissionDenied);
        assert_eq!(kind(reader.read_exact_at(&mut [0], 0)), ErrorKind::UnexpectedEof);
        assert_eq!(kind(create(&disk, "a").allocate(u64::MAX, 1)), ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_map_and_a_handle_outlive_the_name_and_a_map_the_crash() {
        let disk = disk();
        let file = synced(&disk, "a", b"kept");
        disk.remove(&path("a")).unwrap();
        disk.sync_dir(Path::new("/log")).unwrap();
        let map = file.map().unwrap();
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(map, &b"kept"[..]);
        assert_eq!(names(&disk), "");
    }
}
