//! Waiting for another process to write a file, by the kernel's word.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::{Errno, read, write};

use super::FileWatch;

/// A watch of the kernel's (inotify), and a descriptor that ends a wait.
#[derive(Debug)]
pub(super) struct KernelWatch {
    watch: OwnedFd,
    wake: OwnedFd,
}

impl KernelWatch {
    pub fn new(path: &Path) -> io::Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, path, WatchFlags::MODIFY)?;
        Ok(KernelWatch { watch, wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }
}

impl FileWatch for KernelWatch {
    fn wait(&self, at_most: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let mut both = [PollFd::new(&self.watch, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        match poll(&mut both, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 4096];
        for descriptor in [&self.watch, &self.wake] {
            match read(descriptor, &mut bytes) {
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wake(&self) {
        // It can only fail where it is set already.
        let _ = write(&self.wake, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_write_since_the_last_wait_and_a_wake_end_a_wait_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        assert!(KernelWatch::new(&path).is_err());
        std::fs::write(&path, b"1").unwrap();
        let watch = KernelWatch::new(&path).unwrap();
        let start = Instant::now();
        watch.wait(Duration::from_millis(20)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        std::fs::write(&path, b"2").unwrap();
        watch.wait(LONG).unwrap();
        watch.wake();
        watch.wait(LONG).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| watch.wait(LONG).unwrap());
            std::fs::write(&path, b"3").unwrap();
        });
        assert!(start.elapsed() < LONG);
    }
}
