//! The disk of the machine: each call is one or two of the operating system's, with nothing decided here.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

#[cfg(target_os = "linux")]
use super::FileWatch;
use super::{Disk, DiskFile, Entry, Mode, map};

/// The disk of the machine. New files and directories are for their owner only: a log may hold secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = parent_of(path) else { return Ok(()) };
        if path.is_dir() {
            // Whoever made it may have been killed before its name was durable. That can be true of the
            // deepest directory only, because each is made durable before the next. Where the parent is not
            // ours to open, neither was the making.
            return match self.sync_dir(parent) {
                Err(e) if e.kind() == ErrorKind::PermissionDenied => Ok(()),
                done => done,
            };
        }
        self.create_dir(parent)?;
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => {} // another process was faster
            made => made?,
        }
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_dir() => entries.push(Entry { name, len: 0, is_dir: true }),
                Ok(meta) => entries.push(Entry { name, len: meta.len(), is_dir: false }),
                Err(e) if e.kind() == ErrorKind::NotFound => {} // removed since the directory was read
                Err(e) => return Err(e),
            }
        }
        Ok(entries)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            Mode::Read => &mut options,
            Mode::Write => options.write(true),
            Mode::Create => options.write(true).create(true),
            Mode::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn watch(&self, path: &Path) -> io::Result<Arc<dyn FileWatch>> {
        Ok(Arc::new(super::watch::KernelWatch::new(path)?))
    }
}

/// The directory that holds a path's name; none for the root.
fn parent_of(path: &Path) -> Option<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() && path != Path::new(".") => Some(Path::new(".")),
        Some(parent) if parent.as_os_str().is_empty() => None,
        parent => parent,
    }
}

/// An open file of the machine.
#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buf, at)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        self.0.write_at(buf, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::{Errno, retry_on_intr};

        if len == 0 {
            return Ok(()); // an error to the kernel
        }
        match retry_on_intr(|| fallocate(&self.0, FallocateFlags::empty(), at, len)) {
            // File systems without it, and sandboxes that do not know the call.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, _at: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync on Linux, which covers the length too; F_FULLFSYNC on Apple's systems.
        self.0.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }

    fn map(&self) -> io::Result<Bytes> {
        map::map(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn bits_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_read_mapped_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), Mode::Create).unwrap();
        file.write_all_at(b"hello", 3).unwrap();
        file.sync().unwrap();
        RealDisk.sync_dir(dir.path()).unwrap();

        let mut buf = [1; 8];
        file.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"\0\0\0hello");
        assert_eq!(file.map().unwrap(), &b"\0\0\0hello"[..]);
        assert_eq!(file.read_at(&mut buf, 8).unwrap(), 0, "at the end");
        assert_eq!(RealDisk.list(dir.path()).unwrap(), [Entry { name: "a".into(), len: 8, is_dir: false }]);
    }

    #[test]
    fn files_and_directories_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        RealDisk.create_dir(&deep).unwrap();
        RealDisk.open(&deep.join("file"), Mode::Create).unwrap();
        assert_eq!(bits_of(&deep.join("file")), 0o600);
        assert_eq!(bits_of(&deep), 0o700);
        assert_eq!(bits_of(&dir.path().join("a")), 0o700);
    }

    #[test]
    fn a_directory_may_be_there_already_but_a_file_in_its_place_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        RealDisk.create_dir(&dir.path().join("a")).unwrap();
        RealDisk.create_dir(&dir.path().join("a")).unwrap();
        RealDisk.create_dir(Path::new("/")).unwrap();
        RealDisk.create_dir(Path::new(".")).unwrap();

        RealDisk.open(&dir.path().join("file"), Mode::Create).unwrap();
        assert!(RealDisk.create_dir(&dir.path().join("file")).is_err());
    }

    #[test]
    fn the_four_modes_differ_in_what_they_make_and_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for mode in [Mode::Read, Mode::Write] {
            assert_eq!(RealDisk.open(&path, mode).unwrap_err().kind(), ErrorKind::NotFound, "{mode:?}");
        }
        RealDisk.open(&path, Mode::Create).unwrap().write_all_at(b"kept", 0).unwrap();
        assert_eq!(RealDisk.open(&path, Mode::Create).unwrap().len().unwrap(), 4);
        assert_eq!(RealDisk.open(&path, Mode::Write).unwrap().len().unwrap(), 4);
        assert!(RealDisk.open(&path, Mode::Read).unwrap().write_at(b"no", 0).is_err());
        assert!(RealDisk.open(&path, Mode::Truncate).unwrap().is_empty().unwrap());
    }

    #[test]
    fn one_handle_at_a_time_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let first = RealDisk.open(&path, Mode::Create).unwrap();
        let second = RealDisk.open(&path, Mode::Create).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn space_is_taken_with_zeros_and_never_shortens_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), Mode::Create).unwrap();
        file.write_all_at(b"ab", 0).unwrap();
        file.allocate(0, 0).unwrap();
        file.allocate(0, 4096).unwrap();
        file.allocate(0, 1).unwrap();
        let len = file.len().unwrap();
        assert!(len == 4096 || len == 2, "{len}: where the file system cannot, nothing happens");
        let mut buf = [1; 2];
        file.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"ab");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_and_a_used_up_quota_are_told_by_their_kind() {
        use rustix::io::Errno;
        assert_eq!(io::Error::from(Errno::NOSPC).kind(), ErrorKind::StorageFull);
        assert_eq!(io::Error::from(Errno::DQUOT).kind(), ErrorKind::QuotaExceeded);
    }

    #[test]
    fn names_that_are_no_utf8_and_dangling_links_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        if fs::write(dir.path().join(OsStr::from_bytes(b"\xff")), b"").is_err() {
            return; // some file systems refuse such names
        }
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        RealDisk.create_dir(&dir.path().join("sub")).unwrap();
        assert_eq!(RealDisk.list(dir.path()).unwrap(), [Entry { name: "sub".into(), len: 0, is_dir: true }]);
    }

    #[test]
    fn a_rename_replaces_and_a_removed_file_stays_usable_through_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        RealDisk.open(&new, Mode::Create).unwrap().write_all_at(b"replaced", 0).unwrap();
        RealDisk.open(&old, Mode::Create).unwrap().write_all_at(b"kept", 0).unwrap();
        RealDisk.rename(&old, &new).unwrap();
        let file = RealDisk.open(&new, Mode::Read).unwrap();
        RealDisk.remove(&new).unwrap();
        assert_eq!(file.map().unwrap(), &b"kept"[..]);
        assert_eq!(RealDisk.remove(&new).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
