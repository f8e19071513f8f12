//! A segment that is sealed while a reader is at its file: the reader keeps what it has, and maps only what is at rest.

use loom::thread;

use super::phase::Phase;
use crate::every_order;
use crate::sync::{Arc, Mutex, lock};

/// Where the batches end, and the file with its footer and trailer behind them.
const BATCHES: u64 = 3;
const EXACT: u64 = 5;

struct Segment {
    phase: Phase<Option<Arc<File>>, u64>,
    /// As it is found by its path.
    file: Arc<File>,
}

/// Longer than its batches while it is written.
struct File {
    len: Mutex<u64>,
    mapped: Mutex<Option<u64>>,
}

impl File {
    fn len(&self) -> u64 {
        *lock(&self.len)
    }

    /// What `write_end` in `src/segment/seal.rs` does to a file.
    fn end(&self) {
        *lock(&self.len) = EXACT + 1;
        *lock(&self.len) = EXACT;
        assert!(lock(&self.mapped).is_none_or(|len| len == EXACT), "a map of a file that changes");
    }

    fn map(&self) {
        let len = self.len();
        *lock(&self.mapped) = Some(len);
        assert_eq!(len, EXACT, "a map of a file that changes");
    }
}

impl Segment {
    fn active() -> Arc<Segment> {
        let file = Arc::new(File { len: Mutex::new(8), mapped: Mutex::default() });
        let segment = Segment { phase: Phase::new(), file: Arc::clone(&file) };
        *segment.phase.active() = Some(file);
        Arc::new(segment)
    }

    /// As `Segment::source` and `Segment::batches_end` in `src/segment/file.rs`.
    fn read(&self) {
        let file = match self.phase.sealed() {
            Some(_) => {
                self.file.map();
                Arc::clone(&self.file)
            }
            None => self.phase.active().clone().unwrap_or_else(|| Arc::clone(&self.file)),
        };
        let len = file.len();
        let end = self.phase.sealed().copied().unwrap_or(len);
        assert!((BATCHES..=8).contains(&end), "it reads to {end}");
    }
}

/// A reader reads twice while the segment is sealed.
fn a_segment_is_sealed(
    read: impl Fn(&Segment) + Send + Sync + Copy + 'static,
    seal: impl Fn(&Segment) + Send + Sync + Copy + 'static,
) {
    every_order(move || {
        let segment = Segment::active();
        let writer = Arc::clone(&segment);
        let thread = thread::spawn(move || seal(&writer));
        read(&segment);
        read(&segment);
        thread.join().expect("it ended");
        assert!(segment.phase.active().is_none(), "the handle of the writer is given back");
    });
}

/// As `Shared::seal_next` in `src/log/background.rs`.
fn seal(segment: &Segment) {
    segment.file.end();
    segment.phase.seal(BATCHES);
}

#[test]
fn a_reader_goes_on_while_its_segment_is_sealed() {
    a_segment_is_sealed(Segment::read, seal);
}

#[test]
#[ignore = "a map of a file that changes"]
fn found_a_segment_called_sealed_before_its_file_is() {
    a_segment_is_sealed(Segment::read, |segment| {
        segment.phase.seal(BATCHES);
        segment.file.end();
    });
}
