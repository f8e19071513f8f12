//! Every view keeps the rules that all views share.

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[cfg(feature = "redb")]
use annals::RedbView;
#[cfg(feature = "sled")]
use annals::SledView;
use annals::testkit::{BootId, ViewHost, view_conformance};
use annals::{Bookmark, Change, Digest, LogId, MemoryView, Offset, Space, Trust, View, ViewError, ViewOptions};
use bytes::Bytes;

/// Opens one kind of view at a path.
type Open = fn(&PathBuf, LogId, &ViewOptions) -> Result<Box<dyn View>, ViewError>;

#[cfg(feature = "sled")]
const SLED: Open = |path, log, options| Ok(Box::new(SledView::open_with(path, log, options)?));
#[cfg(feature = "redb")]
const REDB: Open = |path, log, options| Ok(Box::new(RedbView::open_with(path, log, options)?));

/// A view in a directory that goes with it.
struct OnDisk {
    dir: tempfile::TempDir,
    open: Open,
    full: Cell<bool>,
}

impl OnDisk {
    fn new(open: Open) -> Self {
        OnDisk { dir: tempfile::tempdir().unwrap(), open, full: Cell::new(false) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

impl ViewHost for OnDisk {
    fn open(&self, log: LogId, boot: BootId) -> Result<Box<dyn View>, ViewError> {
        let options = ViewOptions::new().boot(boot);
        let options = if self.full.get() { options.room_bytes(u64::MAX) } else { options };
        (self.open)(&self.path(), log, &options)
    }

    fn dir(&self) -> Option<PathBuf> {
        Some(self.path())
    }

    fn fill(&self, full: bool) -> bool {
        self.full.set(full);
        true
    }
}

struct InMemory;

impl ViewHost for InMemory {
    fn open(&self, _: LogId, _: BootId) -> Result<Box<dyn View>, ViewError> {
        Ok(Box::new(MemoryView::new()))
    }

    fn dir(&self) -> Option<PathBuf> {
        None
    }
}

#[test]
fn a_view_in_memory_keeps_the_rules() {
    view_conformance(|| InMemory);
}

#[cfg(feature = "sled")]
#[test]
fn a_view_in_sled_keeps_the_rules() {
    view_conformance(|| OnDisk::new(SLED));
}

#[cfg(feature = "redb")]
#[test]
fn a_view_in_redb_keeps_the_rules() {
    view_conformance(|| OnDisk::new(REDB));
}

/// Names the directory, for the process that is killed.
const KILLED_IN: &str = "ANNALS_TEST_VIEW_KILLED_IN";
const KILLED_ROWS: u64 = 20;
const LOG: LogId = LogId::from_raw(77);

fn space() -> Space {
    Space::new("ledger", 1)
}

/// All rows of one step have its number, so that rows of two steps never add up.
fn step(number: u64) -> (Vec<Change>, Bookmark) {
    let value = Bytes::from(number.to_le_bytes().repeat(20));
    let rows = (0..KILLED_ROWS).map(|row| Bytes::copy_from_slice(&row.to_be_bytes()));
    let changes: Vec<_> = rows.map(|key| Change { key, value: Some(value.clone()) }).collect();
    let digest = changes.iter().fold(Digest::EMPTY, |sum, row| sum.with(Digest::of(LOG, &row.key, &value)));
    (changes, Bookmark { log: LOG, commit: Offset::from_raw(number), digest, rows: KILLED_ROWS })
}

/// Applies steps until it is killed, and says which ones a barrier made durable.
fn apply_until_killed(open: Open) {
    let Some(dir) = std::env::var_os(KILLED_IN) else { return };
    let view = open(&PathBuf::from(dir), LOG, &ViewOptions::new()).unwrap();
    let first = view.bookmark(&space()).unwrap().map_or(0, |b| b.commit.raw() + 1);
    for number in first.. {
        let (changes, to) = step(number);
        view.apply(&space(), &changes, &to).unwrap();
        if number % 7 == 0 {
            view.barrier().unwrap();
            println!("durable {number}");
        }
    }
}

/// The process that is killed.
#[cfg(feature = "sled")]
#[test]
#[ignore = "part of another test"]
fn applies_to_sled_until_it_is_killed() {
    apply_until_killed(SLED);
}

/// The process that is killed.
#[cfg(feature = "redb")]
#[test]
#[ignore = "part of another test"]
fn applies_to_redb_until_it_is_killed() {
    apply_until_killed(REDB);
}

/// Kills a process in the middle of its steps, and looks at what it left.
fn what_a_killed_process_leaves_is_one_step(child: &str, open: Open) {
    let dir = tempfile::tempdir().unwrap();
    for steps in [1, 3, 10, 40] {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", child, "--ignored", "--nocapture"])
            .env(KILLED_IN, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let durable = lines.map(Result::unwrap).filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok());
        let durable = durable.take(steps).last().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();

        let view = open(&dir.path().into(), LOG, &ViewOptions::new()).unwrap();
        assert_eq!(view.trust(), Trust::SameBoot);
        let bookmark = view.bookmark(&space()).unwrap().unwrap();
        assert!(bookmark.commit.raw() >= durable, "{bookmark:?} is older than the barrier of {durable}");
        let (changes, expected) = step(bookmark.commit.raw());
        assert_eq!(bookmark, expected);
        let rows: Vec<_> = view.scan(&space(), b"", b"").map(Result::unwrap).collect();
        let expected: Vec<_> = changes.into_iter().map(|change| (change.key, change.value.unwrap())).collect();
        assert!(rows == expected, "bookmark and rows are of one step");
        view.close().unwrap();
    }
}

#[cfg(feature = "sled")]
#[test]
fn what_a_killed_process_leaves_in_sled_is_one_step() {
    what_a_killed_process_leaves_is_one_step("views::applies_to_sled_until_it_is_killed", SLED);
}

#[cfg(feature = "redb")]
#[test]
fn what_a_killed_process_leaves_in_redb_is_one_step() {
    what_a_killed_process_leaves_is_one_step("views::applies_to_redb_until_it_is_killed", REDB);
}

/// A file system of a few megabytes, for whoever may make one; it goes with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "annals"]).arg(dir.path()).output();
        mounted.is_ok_and(|done| done.status.success()).then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Fills a real small disk; what was applied is there afterwards, or the view is not believed.
fn a_disk_that_fills_up_loses_nothing(open: Open, room_bytes: u64) {
    let Some(disk) = SmallDisk::new() else { return };
    let path = disk.0.path().join("state");
    let view = open(&path, LOG, &ViewOptions::new().room_bytes(room_bytes)).unwrap();
    let mut kept = 0;
    let refused = loop {
        let value = Some(Bytes::from(vec![kept as u8; 100_000]));
        let change = Change { key: Bytes::copy_from_slice(&u64::to_be_bytes(kept)), value };
        let to = Bookmark { log: LOG, commit: Offset::from_raw(kept), digest: Digest::EMPTY, rows: kept + 1 };
        match view.apply(&space(), &[change], &to).and_then(|()| view.barrier()) {
            Ok(()) => kept += 1,
            Err(e) => break e,
        }
        assert!(kept < 1000, "the disk is full before that");
    };
    match &refused {
        ViewError::Full { .. } => {
            assert_eq!(view.bookmark(&space()).unwrap().map(|b| b.rows).unwrap_or(0), kept, "nothing was changed");
            view.close().unwrap();
        }
        ViewError::Failed { .. } => assert!(matches!(view.barrier(), Err(ViewError::Closed { .. }))),
        other => panic!("{other:?}"),
    }
    drop(view);
    // Space comes back.
    let resized = Command::new("mount").args(["-o", "remount,size=256m"]).arg(disk.0.path()).status().unwrap();
    assert!(resized.success());
    let view = open(&path, LOG, &ViewOptions::new()).unwrap();
    if view.trust() == Trust::Lost {
        return;
    }
    assert_eq!(view.trust() == Trust::Closed, matches!(refused, ViewError::Full { .. }));
    let rows = view.bookmark(&space()).unwrap().map_or(0, |bookmark| bookmark.rows);
    assert!(rows >= kept, "{rows} of {kept} that a barrier made durable");
    for (row, found) in view.scan(&space(), b"", b"").enumerate() {
        assert!(found.unwrap().1 == vec![row as u8; 100_000]);
    }
}

#[cfg(feature = "sled")]
#[test]
fn a_disk_that_fills_up_below_sled_loses_nothing() {
    a_disk_that_fills_up_loses_nothing(SLED, 4 << 20);
    a_disk_that_fills_up_loses_nothing(SLED, 0);
}

#[cfg(feature = "redb")]
#[test]
fn a_disk_that_fills_up_below_redb_loses_nothing() {
    a_disk_that_fills_up_loses_nothing(REDB, 4 << 20);
    a_disk_that_fills_up_loses_nothing(REDB, 0);
}

/// A store that does not open is put aside, the last two of them; the view starts empty and says so.
fn a_store_that_does_not_open_is_put_aside(open: Open, name: &str, file: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    for round in 0..4_usize {
        let view = open(&path, LOG, &ViewOptions::new()).unwrap();
        assert_eq!(view.trust() == Trust::Lost, round > 0);
        assert_eq!(view.bookmark(&space()).unwrap(), None);
        let (changes, to) = step(0);
        view.apply(&space(), &changes, &to).unwrap();
        view.close().unwrap();
        drop(view);
        std::fs::write(path.join(name).join(file), vec![0x5a; 100_000]).unwrap();
        let aside = (0..9).filter(|n| path.join(format!("{name}.quarantine-{n}")).exists()).count();
        assert_eq!(aside, round.min(2));
    }
}

#[cfg(feature = "sled")]
#[test]
fn a_sled_that_does_not_open_is_put_aside() {
    a_store_that_does_not_open_is_put_aside(SLED, "sled", "conf");
}

#[cfg(feature = "redb")]
#[test]
fn a_redb_that_does_not_open_is_put_aside() {
    a_store_that_does_not_open_is_put_aside(REDB, "redb", "view.redb");
}
