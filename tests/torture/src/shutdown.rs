//! The power cut itself: one ioctl, after proof that it hits nothing but the image it is meant for.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};
use rustix::ioctl::{Opcode, Setter, ioctl};

/// `_IOR('X', 125, u32)`: ext4, XFS and F2FS know it.
const SHUTDOWN: Opcode = 0x8004_587d;
/// Not even the journal is written first.
const WITHOUT_LOG_FLUSH: u32 = 2;
/// The device numbers of loop devices, by the kernel's list.
const LOOP_MAJOR: u32 = 7;

/// Shuts down the file system of a directory, which must be the one in an image.
pub fn shut_down(dir: &Path, image: &Path) -> io::Result<()> {
    let dir = File::open(dir)?;
    let device = dir.metadata()?.dev();
    assert_eq!(major(device), LOOP_MAJOR, "only a loop device's file system is ever shut down");
    let backing = fs::read_to_string(format!("/sys/dev/block/{LOOP_MAJOR}:{}/loop/backing_file", minor(device)))?;
    assert_eq!(Path::new(backing.trim_end()), image, "and only that of the run's own image");
    // SAFETY: the call reads one number behind the pointer, which `Setter` gives it.
    #[allow(unsafe_code)] // there is no safe call for it
    unsafe { ioctl(&dir, Setter::<SHUTDOWN, u32>::new(WITHOUT_LOG_FLUSH)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "only a loop device's file system")]
    fn nothing_but_a_loop_device_is_ever_shut_down() {
        // Of a file system that does not know the call, should the check be gone.
        let _ = shut_down(Path::new("/proc"), Path::new("/dev/shm/1.img"));
    }
}
