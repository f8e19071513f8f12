//! File systems of a run's own: images in memory, mounted where nobody else sees them.
//!
//! A layer that needs them starts itself again in a mount namespace of its own, with an empty `tmpfs` over
//! `/dev/shm`, where all its images are. Whatever ends the run, SIGKILL too, the kernel unmounts them, gives the
//! loop devices back and forgets the images with the last process: nothing can be left behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::shutdown::shut_down;
use crate::summary::Summary;

/// Covered by a `tmpfs` in the namespace: there on every machine, and nothing here uses the real one.
const WORKSHOP: &str = "/dev/shm";
/// Says to the second start that it is the second, by the name of the namespace that the first one was in.
const OUTSIDE: &str = "ANNALS_TORTURE_OUTSIDE";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A namespace of mounts, with a directory that vanishes with the process.
#[derive(Debug)]
pub struct Workshop {
    images: std::cell::Cell<u64>,
}

impl Workshop {
    /// Starts this very command again in a namespace of its own, where it returns the workshop; a skipped summary
    /// where that cannot be.
    pub fn enter(layer: &'static str) -> Result<Workshop, Summary> {
        let namespace = fs::read_link("/proc/self/ns/mnt").unwrap_or_default();
        if std::env::var_os(OUTSIDE).is_some_and(|outside| outside != namespace.as_os_str()) {
            return Workshop::furnish().map_err(|why| Summary::skipped(layer, format!("no mounts here: {why}")));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Summary::skipped(layer, "needs root, to mount file systems of its own"));
        }
        for tool in ["unshare", "mount", "mkfs.ext4"] {
            if !is_there(tool) {
                return Err(Summary::skipped(layer, format!("needs {tool}, which is not installed")));
            }
        }
        let unshare = ["unshare", "--mount", "--propagation", "private", "--"];
        let probe = run(&[&unshare[..], &["mount", "-t", "tmpfs", "tmpfs", WORKSHOP]].concat());
        if let Err(why) = probe {
            return Err(Summary::skipped(layer, format!("no mounts of its own are allowed here: {why}")));
        }
        let exe = match std::env::current_exe() {
            Ok(exe) => exe,
            Err(error) => return Err(Summary::skipped(layer, format!("this program was not found: {error}"))),
        };
        let [program, options @ ..] = unshare;
        let args = std::env::args_os().skip(1);
        let error = Command::new(program).args(options).arg(exe).args(args).env(OUTSIDE, namespace).exec();
        Err(Summary::skipped(layer, format!("no namespace of its own: {error}")))
    }

    fn furnish() -> Result<Workshop, String> {
        mount_tmpfs(Path::new(WORKSHOP), None).map_err(|error| error.to_string())?;
        let workshop = Workshop { images: std::cell::Cell::new(0) };
        // The first look at whether loop devices work at all.
        let mut probe = workshop.image(Fs::Ext4, 1 << 20, &[]).map_err(|error| error.to_string())?;
        probe.mount().map_err(|error| error.to_string())?;
        Ok(workshop)
    }

    /// A place of its own in the workshop.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(WORKSHOP).join(name)
    }

    fn next(&self) -> u64 {
        self.images.set(self.images.get() + 1);
        self.images.get()
    }

    /// A sparse image with a new file system in it, not mounted yet.
    pub fn image(&self, fs: Fs, bytes: u64, options: &[&str]) -> io::Result<Image> {
        self.image_at(&self.path(&format!("{}.img", self.next())), fs, bytes, options)
    }

    /// The same, at a place of the caller's within the workshop.
    pub fn image_at(&self, file: &Path, fs: Fs, bytes: u64, options: &[&str]) -> io::Result<Image> {
        assert!(file.starts_with(WORKSHOP), "images live in the workshop alone");
        File::create(file)?.set_len(bytes)?;
        run(&[&[fs.mkfs(), "-q"], options, &[&file.to_string_lossy()]].concat()).map_err(io::Error::other)?;
        let dir = self.path(&format!("mnt{}", self.next()));
        fs::create_dir(&dir)?;
        Ok(Image { fs, file: file.to_path_buf(), dir, options: None, mounted: false })
    }

    /// A second `tmpfs` of a size, for images on a disk that is full.
    pub fn small_disk(&self, bytes: u64) -> io::Result<SmallDisk> {
        let dir = self.path(&format!("disk{}", self.next()));
        fs::create_dir(&dir)?;
        mount_tmpfs(&dir, Some(bytes))?;
        Ok(SmallDisk { dir })
    }

    /// From here on this process and those it starts see the machine as started anew, once for each number.
    pub fn boot(&self, number: u64) -> io::Result<()> {
        let file = self.path("boot_id");
        let mounted = file.exists();
        fs::write(&file, format!("00000000-0000-4000-8000-{number:012x}\n"))?;
        if !mounted {
            rustix::mount::mount_bind(&file, BOOT_ID)?;
        }
        Ok(())
    }
}

/// A file system that can be in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fs {
    Ext4,
    Xfs,
}

impl Fs {
    /// Those that can be made here.
    pub fn there() -> Vec<Fs> {
        [Fs::Ext4, Fs::Xfs].into_iter().filter(|fs| is_there(fs.mkfs())).collect()
    }

    pub fn name(self) -> &'static str {
        match self {
            Fs::Ext4 => "ext4",
            Fs::Xfs => "xfs",
        }
    }

    fn mkfs(self) -> &'static str {
        match self {
            Fs::Ext4 => "mkfs.ext4",
            Fs::Xfs => "mkfs.xfs",
        }
    }

    /// The smallest that its maker makes; images are sparse.
    pub fn bytes_min(self) -> u64 {
        match self {
            Fs::Ext4 => 8 << 20,
            Fs::Xfs => 300 << 20,
        }
    }
}

/// A file system in a file, mounted by a loop device or not; both are gone when it is dropped.
#[derive(Debug)]
pub struct Image {
    pub fs: Fs,
    pub file: PathBuf,
    dir: PathBuf,
    /// As `mount -o` takes them.
    pub options: Option<String>,
    mounted: bool,
}

impl Image {
    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn mount(&mut self) -> io::Result<()> {
        assert!(!self.mounted, "mounted twice");
        let options = self.options.as_deref().map_or("loop".to_owned(), |options| format!("loop,{options}"));
        let (file, dir) = (self.file.to_string_lossy(), self.dir.to_string_lossy());
        run(&["mount", "-t", self.fs.name(), "-o", &options, &file, &dir]).map_err(io::Error::other)?;
        self.mounted = true;
        Ok(())
    }

    /// Writes to its loop device are of one block each from now on. A loop device calls a write done that its own disk
    /// took in part, when that is full.
    pub fn write_by_blocks(&self) -> io::Result<()> {
        let device = fs::metadata(&self.dir)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        fs::write(format!("/sys/dev/block/{major}:{minor}/queue/max_sectors_kb"), "4")
    }

    /// All who used files on it have to be gone.
    pub fn unmount(&mut self) -> io::Result<()> {
        assert!(self.mounted, "not mounted");
        rustix::mount::unmount(&self.dir, UnmountFlags::empty())?;
        self.mounted = false;
        Ok(())
    }

    /// The power goes: from here on nothing reaches the image any more, and what was not synced is lost. All that
    /// is left to do with it is [`unmount`](Image::unmount).
    pub fn cut(&self) -> io::Result<()> {
        shut_down(&self.dir, &self.file)
    }

    /// The power comes back: mounted anew, after whoever used it is gone.
    pub fn mount_again(&mut self) -> io::Result<()> {
        self.unmount()?;
        self.mount()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            // Somebody may still have a file open after a failure: then it goes with the last one of them.
            let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
        }
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_dir(&self.dir);
    }
}

/// A disk for images that is smaller than they are.
#[derive(Debug)]
pub struct SmallDisk {
    pub dir: PathBuf,
}

impl SmallDisk {
    /// Gives it another size.
    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        let size = format!("size={bytes}");
        Ok(rustix::mount::mount_remount(&self.dir, MountFlags::empty(), size)?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.dir);
    }
}

fn mount_tmpfs(dir: &Path, bytes: Option<u64>) -> io::Result<()> {
    let size = std::ffi::CString::new(bytes.map_or(String::new(), |bytes| format!("size={bytes}")))?;
    Ok(rustix::mount::mount("tmpfs", dir, "tmpfs", MountFlags::empty(), size.as_c_str())?)
}

/// Whether a tool can be started.
fn is_there(tool: &str) -> bool {
    Command::new(tool).arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Runs a tool of the system to its end; what it said when it failed.
fn run(words: &[&str]) -> Result<Output, String> {
    let (program, args) = words.split_first().ok_or("no command")?;
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}
