//! What every view has to do, as rules that run against any implementation.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::{Bookmark, Change, Digest, Space, Trust, View, ViewError};
use crate::disk::BootId;
use crate::{LogId, Offset};

/// Where one view lives, from nothing on: something that can open it again and again.
pub trait ViewHost {
    /// Opens the view for a log, or makes it, in a run of the system.
    ///
    /// # Errors
    /// Those of the view.
    fn open(&self, log: LogId, boot: BootId) -> Result<Box<dyn View>, ViewError>;

    /// The directory that holds all of it; `None` for a view in memory, which is gone when it is dropped.
    fn dir(&self) -> Option<PathBuf>;

    /// Says that the disk is full, or is not, for what is opened from now on; false where that cannot be done.
    fn fill(&self, full: bool) -> bool {
        let _ = full;
        false
    }
}

const LOG: LogId = LogId::from_raw(0x1_0001);
const OTHER_LOG: LogId = LogId::from_raw(0x2_0002);
const BOOT: BootId = BootId(11);
const NEXT_BOOT: BootId = BootId(12);

/// Holds an implementation of [`View`] to all that the trait says. Each rule gets a host of its own.
///
/// # Panics
/// When a rule is broken: this is a test.
pub fn view_conformance<H: ViewHost>(new: impl Fn() -> H) {
    let rules: &[fn(&H)] = &[
        a_space_never_written_is_empty,
        spaces_are_apart,
        changes_and_bookmark_are_there_together,
        the_last_change_of_a_key_counts,
        rows_come_in_the_order_of_their_bytes,
        empty_and_large_rows_are_kept,
        changes_given_again_change_nothing,
        a_cleared_space_is_as_if_never_written,
        who_reads_sees_whole_rows_while_others_are_written,
        what_is_closed_takes_nothing_more,
        a_full_disk_changes_nothing,
    ];
    for rule in rules {
        rule(&new());
    }
    let kept: &[fn(&H, &Path)] = &[
        what_was_closed_is_there_again,
        what_was_not_closed_is_trusted_less,
        another_log_is_refused_untouched,
        only_one_handle_has_it_open,
        an_older_copy_says_that_it_is_older,
        a_part_of_an_older_copy_is_found_out,
        what_was_deleted_is_empty,
        a_flipped_byte_is_never_a_wrong_value,
        a_cut_file_is_never_a_wrong_value,
    ];
    for rule in kept {
        let host = new();
        if let Some(dir) = host.dir() {
            rule(&host, &dir);
        }
    }
}

/// A space and what it has to hold.
struct Model {
    space: Space,
    rows: BTreeMap<Bytes, Bytes>,
    bookmark: Option<Bookmark>,
}

impl Model {
    fn new(handler: &str, generation: u32) -> Self {
        Model { space: Space::new(handler, generation), rows: BTreeMap::new(), bookmark: None }
    }

    /// Applies to the model and to the view.
    fn apply(&mut self, view: &dyn View, changes: &[(&[u8], Option<&[u8]>)]) {
        let changes = self.note(changes);
        view.apply(&self.space, &changes, &self.last()).expect("changes are applied");
    }

    /// Applies to the model only.
    fn note(&mut self, changes: &[(&[u8], Option<&[u8]>)]) -> Vec<Change> {
        for (key, value) in changes {
            match value {
                Some(value) => self.rows.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)),
                None => self.rows.remove(*key),
            };
        }
        let commit = self.bookmark.map_or(0, |b| b.commit.raw() + 1);
        let digest = digest(self.rows.iter().map(|(key, value)| (key.clone(), value.clone())));
        let bookmark = Bookmark { log: LOG, commit: Offset::from_raw(commit), digest, rows: self.rows.len() as u64 };
        self.bookmark = Some(bookmark);
        let change = |(key, value): &(&[u8], Option<&[u8]>)| Change {
            key: Bytes::copy_from_slice(key),
            value: value.map(Bytes::copy_from_slice),
        };
        changes.iter().map(change).collect()
    }

    fn last(&self) -> Bookmark {
        self.bookmark.expect("something was applied")
    }

    fn clear(&mut self, view: &dyn View) {
        view.clear(&self.space).expect("a space is cleared");
        (self.rows, self.bookmark) = (BTreeMap::new(), None);
    }

    /// Asserts that the view holds this and nothing else.
    fn is_in(&self, view: &dyn View) {
        assert_eq!(view.bookmark(&self.space).expect("a bookmark is read"), self.bookmark, "{}", self.space);
        let found: Vec<_> = rows(view, &self.space, b"", b"");
        let expected: Vec<_> = self.rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        assert!(found == expected, "{}: {} rows, and {} are expected", self.space, found.len(), expected.len());
        for (key, value) in &self.rows {
            let found = view.get(&self.space, key).expect("a row is read");
            assert!(found.as_ref() == Some(value), "{}: the value of {key:?}", self.space);
        }
        assert_eq!(view.get(&self.space, b"a key that nobody has").expect("a row is read"), None);
    }
}

fn digest(rows: impl Iterator<Item = (Bytes, Bytes)>) -> Digest {
    rows.fold(Digest::EMPTY, |sum, (key, value)| sum.with(Digest::of(LOG, &key, &value)))
}

fn rows(view: &dyn View, space: &Space, prefix: &[u8], from: &[u8]) -> Vec<(Bytes, Bytes)> {
    view.scan(space, prefix, from).collect::<Result<_, _>>().expect("rows are read")
}

fn open<H: ViewHost>(host: &H) -> Box<dyn View> {
    host.open(LOG, BOOT).expect("the view opens")
}

fn reopen<H: ViewHost>(host: &H, view: Box<dyn View>) -> Box<dyn View> {
    view.close().expect("the view is closed");
    drop(view);
    open(host)
}

fn a_space_never_written_is_empty<H: ViewHost>(host: &H) {
    let view = open(host);
    assert_eq!(view.trust(), Trust::Closed, "there is nothing to doubt");
    Model::new("ledger", 1).is_in(&*view);
    Model::new("", 0).is_in(&*view);
}

fn spaces_are_apart<H: ViewHost>(host: &H) {
    let view = open(host);
    let names = ["a", "ab", "a\u{1}", "b", "ü", &"n".repeat(200)];
    let mut models: Vec<_> =
        names.iter().flat_map(|name| [1, 2, 256, u32::MAX].map(|generation| Model::new(name, generation))).collect();
    for model in &mut models {
        let value = model.space.to_string();
        model.apply(&*view, &[(b"", Some(value.as_bytes())), (b"k", Some(value.as_bytes())), (b"\xff\xff", Some(b""))]);
    }
    models.iter().for_each(|model| model.is_in(&*view));
    for cleared in 0..models.len() {
        if let Some(model) = models.get_mut(cleared) {
            model.clear(&*view);
        }
        models.iter().for_each(|model| model.is_in(&*view));
    }
}

fn changes_and_bookmark_are_there_together<H: ViewHost>(host: &H) {
    let view = open(host);
    let mut model = Model::new("ledger", 1);
    model.apply(&*view, &[(b"a", Some(b"1")), (b"b", Some(b"2"))]);
    model.is_in(&*view);
    model.apply(&*view, &[(b"a", None), (b"c", Some(b"3")), (b"no such", None)]);
    model.is_in(&*view);
    model.apply(&*view, &[]);
    model.is_in(&*view);
}

fn the_last_change_of_a_key_counts<H: ViewHost>(host: &H) {
    let view = open(host);
    let mut model = Model::new("ledger", 1);
    model.apply(
        &*view,
        &[
            (b"a", Some(b"1")),
            (b"b", Some(b"1")),
            (b"c", None),
            (b"a", Some(b"2")),
            (b"b", None),
            (b"c", Some(b"2")),
            (b"a", Some(b"3")),
        ],
    );
    model.is_in(&*view);
    assert_eq!(view.get(&model.space, b"a").expect("a row is read").as_deref(), Some(&b"3"[..]));
}

fn rows_come_in_the_order_of_their_bytes<H: ViewHost>(host: &H) {
    let view = open(host);
    let mut model = Model::new("ledger", 1);
    // More than are read at a time, written in an order of its own.
    let keys: Vec<_> =
        (0..2_000_u32).map(|n| [b"n".as_slice(), &(n.wrapping_mul(7) % 2_000).to_be_bytes()].concat()).collect();
    let mut changes: Vec<_> = keys.iter().map(|key| (key.as_slice(), Some(&b"v"[..]))).collect();
    let others: [&[u8]; 7] = [b"", b"\0", b"a", b"n", b"o\xff", b"o\xff\xff", b"\xff"];
    changes.extend(others.map(|key| (key, Some(&b"other"[..]))));
    model.apply(&*view, &changes);
    model.is_in(&*view);
    // A neighbour on either side must not be seen.
    for (handler, generation) in [("ledger", 0), ("ledger", 2), ("a", 1), ("ledgers", 1), ("z", 1)] {
        Model::new(handler, generation).apply(&*view, &[(b"n", Some(b"neighbour")), (b"\xff", Some(b"neighbour"))]);
    }
    let middle = [b"n".as_slice(), &1_000_u32.to_be_bytes()].concat();
    for prefix in [&b""[..], b"n", &middle, b"o", b"o\xff", b"\xff", b"none", b"\xff\xff\xff"] {
        for from in [&b""[..], b"\0", b"m", b"n", &middle, b"o", b"o\xff\0", b"\xff", b"\xff\xff"] {
            let found = rows(&*view, &model.space, prefix, from);
            let expected: Vec<_> = model
                .rows
                .iter()
                .filter(|(key, _)| key.starts_with(prefix) && ***key >= *from)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            assert!(found == expected, "prefix {prefix:?} from {from:?}: {} rows, not {}", found.len(), expected.len());
        }
    }
}

fn empty_and_large_rows_are_kept<H: ViewHost>(host: &H) {
    let mut view = open(host);
    let mut model = Model::new("ledger", 1);
    let key = vec![b'k'; 4_000];
    for (number, len) in [0, 1, 22, 1_023, 1_024, 16 * 1024, 128 * 1024, 200 * 1024, 3 << 20].into_iter().enumerate() {
        let value: Vec<_> = (0..len).map(|n: usize| (n % 251) as u8 ^ number as u8).collect();
        model.apply(&*view, &[(len.to_string().as_bytes(), Some(&value)), (b"", Some(&value)), (&key, Some(b""))]);
    }
    model.is_in(&*view);
    if host.dir().is_some() {
        view = reopen(host, view);
        model.is_in(&*view);
    }
}

fn changes_given_again_change_nothing<H: ViewHost>(host: &H) {
    let view = open(host);
    let mut model = Model::new("ledger", 1);
    model.apply(&*view, &[(b"a", Some(b"0")), (b"b", Some(b"0"))]);
    let changes = model.note(&[(b"a", Some(b"1")), (b"b", None), (b"c", Some(b"2"))]);
    for _ in 0..3 {
        view.apply(&model.space, &changes, &model.last()).expect("changes are applied");
        model.is_in(&*view);
    }
}

fn a_cleared_space_is_as_if_never_written<H: ViewHost>(host: &H) {
    let mut view = open(host);
    let (mut model, mut other) = (Model::new("ledger", 1), Model::new("ledger", 2));
    let keys: Vec<_> = (0..1_500_u32).map(u32::to_be_bytes).collect();
    let changes: Vec<_> = keys.iter().map(|key| (key.as_slice(), Some(&b"v"[..]))).collect();
    model.apply(&*view, &changes);
    other.apply(&*view, &changes);
    model.clear(&*view);
    model.is_in(&*view);
    other.is_in(&*view);
    view.clear(&model.space).expect("an empty space is cleared");
    model.apply(&*view, &[(b"again", Some(b"v"))]);
    model.is_in(&*view);
    if host.dir().is_some() {
        view = reopen(host, view);
        model.is_in(&*view);
        other.is_in(&*view);
    }
}

fn who_reads_sees_whole_rows_while_others_are_written<H: ViewHost>(host: &H) {
    const STEPS: u64 = 200;
    let view = open(host);
    let view = &*view;
    let space = Space::new("ledger", 1);
    let keys: Vec<_> = (0..300_u32).map(|n| Bytes::copy_from_slice(&n.to_be_bytes())).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for step in 0..STEPS {
                let value = Some(Bytes::copy_from_slice(&step.to_le_bytes().repeat(10)));
                let changes: Vec<_> =
                    keys.iter().map(|key| Change { key: key.clone(), value: value.clone() }).collect();
                let to = Bookmark { log: LOG, commit: Offset::from_raw(step), digest: Digest::EMPTY, rows: 300 };
                view.apply(&space, &changes, &to).expect("changes are applied");
            }
            done.store(true, Ordering::Release);
        });
        for reader in 0..2_usize {
            let (keys, space, done) = (&keys, &space, &done);
            threads.spawn(move || {
                let step_of = |value: &Bytes| {
                    let step = *value.first_chunk::<8>().expect("a value of 80 bytes");
                    assert!(**value == step.repeat(10), "a value is of one write");
                    u64::from_le_bytes(step)
                };
                let mut last = vec![0; keys.len()];
                while !done.load(Ordering::Acquire) {
                    if reader == 0 {
                        for (key, last) in keys.iter().zip(&mut last) {
                            let found = view.get(space, key).expect("a row is read").map_or(0, |value| step_of(&value));
                            assert!(found >= *last, "a row goes on and never back");
                            *last = found;
                        }
                    } else {
                        let found = rows(view, space, b"", b"");
                        assert!(found.is_empty() || found.iter().map(|(key, _)| key).eq(keys), "each row once");
                        found.iter().for_each(|(_, value)| assert!(step_of(value) < STEPS));
                    }
                    let at = view.bookmark(space).expect("a bookmark is read");
                    assert!(at.is_none_or(|at| at.commit.raw() < STEPS));
                }
            });
        }
    });
    let found = rows(view, &space, b"", b"");
    let last = (STEPS - 1).to_le_bytes().repeat(10);
    assert!(found.len() == 300 && found.iter().all(|(_, value)| *value == last));
}

fn what_is_closed_takes_nothing_more<H: ViewHost>(host: &H) {
    let view = open(host);
    let mut model = Model::new("ledger", 1);
    model.apply(&*view, &[(b"a", Some(b"1"))]);
    view.close().expect("the view is closed");
    let closed = |what: &str, done: Result<(), ViewError>| {
        assert!(matches!(done, Err(ViewError::Closed { .. })), "{what} after close: {done:?}");
    };
    closed("bookmark", view.bookmark(&model.space).map(drop));
    closed("get", view.get(&model.space, b"a").map(drop));
    closed("scan", view.scan(&model.space, b"", b"").try_for_each(|row| row.map(drop)));
    closed("apply", view.apply(&model.space, &[], &model.last()));
    closed("clear", view.clear(&model.space));
    closed("barrier", view.barrier());
    closed("close", view.close());
}

fn a_full_disk_changes_nothing<H: ViewHost>(host: &H) {
    let mut model = Model::new("ledger", 1);
    let view = open(host);
    model.apply(&*view, &[(b"a", Some(b"1"))]);
    view.close().expect("the view is closed");
    drop(view);
    if !host.fill(true) {
        return;
    }
    let view = open(host);
    let full = view.apply(&model.space, &[Change { key: Bytes::new(), value: None }], &model.last());
    assert!(matches!(full, Err(ViewError::Full { .. })), "{full:?}");
    model.is_in(&*view);
    view.close().expect("a full disk is no reason not to close");
    drop(view);
    host.fill(false);
    let view = open(host);
    model.apply(&*view, &[(b"b", Some(b"2"))]);
    model.is_in(&*view);
}

fn what_was_closed_is_there_again<H: ViewHost>(host: &H, _: &Path) {
    let (mut model, mut other) = (Model::new("ledger", 1), Model::new("totals", 7));
    let mut view = open(host);
    for round in 0..5_u8 {
        model.apply(&*view, &[(&[round], Some(&[round; 100])), (b"last", Some(&[round]))]);
        other.apply(&*view, &[(b"last", Some(&[round]))]);
        view.barrier().expect("a barrier");
        model.apply(&*view, &[(b"after", Some(&[round]))]);
        view = reopen(host, view);
        assert_eq!(view.trust(), Trust::Closed);
        model.is_in(&*view);
        other.is_in(&*view);
    }
    view.close().expect("the view is closed");
    drop(view);
    // The system may have been restarted since.
    let view = host.open(LOG, NEXT_BOOT).expect("the view opens");
    assert_eq!(view.trust(), Trust::Closed);
    model.is_in(&*view);
}

fn what_was_not_closed_is_trusted_less<H: ViewHost>(host: &H, _: &Path) {
    let mut model = Model::new("ledger", 1);
    let view = open(host);
    model.apply(&*view, &[(b"a", Some(b"1"))]);
    view.barrier().expect("a barrier");
    drop(view);
    let view = open(host);
    assert_eq!(view.trust(), Trust::SameBoot);
    model.is_in(&*view);
    drop(view);
    let view = host.open(LOG, NEXT_BOOT).expect("the view opens");
    assert_eq!(view.trust(), Trust::Lost);
    drop(view);
    let view = host.open(LOG, BootId(0)).expect("the view opens");
    assert_eq!(view.trust(), Trust::Lost);
    drop(view);
    let view = host.open(LOG, BootId(0)).expect("the view opens");
    assert_eq!(view.trust(), Trust::Lost, "where runs of the system cannot be told apart, each is another");
    view.clear(&model.space).expect("a space is cleared");
    model = Model::new("ledger", 1);
    model.apply(&*view, &[(b"b", Some(b"2"))]);
    let view = reopen(host, view);
    assert_eq!(view.trust(), Trust::Closed);
    model.is_in(&*view);
}

fn another_log_is_refused_untouched<H: ViewHost>(host: &H, dir: &Path) {
    let mut model = Model::new("ledger", 1);
    let view = open(host);
    model.apply(&*view, &[(b"a", Some(b"1"))]);
    view.close().expect("the view is closed");
    drop(view);
    let before = files(dir);
    for boot in [BOOT, NEXT_BOOT] {
        match host.open(OTHER_LOG, boot) {
            Err(ViewError::WrongLog { found, expected, .. }) => assert_eq!((found, expected), (LOG, OTHER_LOG)),
            other => panic!("the view of another log is refused, not {other:?}"),
        }
    }
    assert!(files(dir) == before, "nothing is touched");
    let view = open(host);
    assert_eq!(view.trust(), Trust::Closed);
    model.is_in(&*view);
    drop(view);
    let refused = host.open(OTHER_LOG, BOOT);
    assert!(matches!(refused, Err(ViewError::WrongLog { .. })), "also when it was not closed: {refused:?}");
    let refused = host.open(OTHER_LOG, NEXT_BOOT);
    assert!(matches!(refused, Err(ViewError::WrongLog { .. })), "also after a restart: {refused:?}");
    let view = open(host);
    assert_eq!(view.trust(), Trust::SameBoot);
}

fn only_one_handle_has_it_open<H: ViewHost>(host: &H, _: &Path) {
    let view = open(host);
    let mut model = Model::new("ledger", 1);
    model.apply(&*view, &[(b"a", Some(b"1"))]);
    for boot in [BOOT, NEXT_BOOT] {
        let second = host.open(LOG, boot);
        assert!(matches!(second, Err(ViewError::Held { .. })), "{second:?}");
    }
    model.is_in(&*view);
    let view = reopen(host, view);
    assert_eq!(view.trust(), Trust::Closed);
    model.is_in(&*view);
}

/// Makes two states, one after the other, both closed; gives the models and the files of the first.
fn two_states<H: ViewHost>(host: &H, dir: &Path) -> (Model, Model, Files) {
    let mut model = Model::new("ledger", 1);
    let view = open(host);
    model.apply(&*view, &[(b"a", Some(b"1")), (b"b", Some(b"1"))]);
    view.close().expect("the view is closed");
    drop(view);
    let older = files(dir);
    let mut later = Model { space: model.space.clone(), rows: model.rows.clone(), bookmark: model.bookmark };
    let view = open(host);
    later.apply(&*view, &[(b"a", Some(b"2")), (b"b", None), (b"c", Some(b"2"))]);
    view.close().expect("the view is closed");
    (model, later, older)
}

fn an_older_copy_says_that_it_is_older<H: ViewHost>(host: &H, dir: &Path) {
    let (model, later, older) = two_states(host, dir);
    restore(dir, &older, |_| true);
    let view = open(host);
    assert_eq!(view.trust(), Trust::Closed);
    model.is_in(&*view);
    assert!(model.last().commit < later.last().commit);
}

fn a_part_of_an_older_copy_is_found_out<H: ViewHost>(host: &H, dir: &Path) {
    let (model, later, older) = two_states(host, dir);
    let newer = files(dir);
    let tops: Vec<_> = fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()).collect();
    for top in tops {
        restore(dir, &newer, |_| true);
        restore(dir, &older, |path| path.starts_with(&top));
        let Ok(view) = host.open(LOG, BOOT) else { continue };
        believed_only_if_true(&*view, &[&model, &later], &format!("an older {}", top.display()));
        view.close().expect("the view is closed");
    }
}

fn what_was_deleted_is_empty<H: ViewHost>(host: &H, dir: &Path) {
    let (_, later, _) = two_states(host, dir);
    let newer = files(dir);
    fs::remove_dir_all(dir).expect("the directory is removed");
    let view = open(host);
    Model::new("ledger", 1).is_in(&*view);
    drop(view);
    let tops: Vec<_> = fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()).collect();
    for top in tops {
        restore(dir, &newer, |path| !path.starts_with(&top));
        let view = open(host);
        believed_only_if_true(&*view, &[&later], &format!("without {}", top.display()));
        view.close().expect("the view is closed");
    }
}

/// What a handler would take for true: the bookmark of a view that is trusted, or whose rows were counted and
/// digested, is that of one of the states, whose rows are there or give errors.
fn believed_only_if_true(view: &dyn View, states: &[&Model], what: &str) {
    let Some(space) = states.first().map(|state| &state.space) else { return };
    let Ok(Some(bookmark)) = view.bookmark(space) else { return };
    let found: Result<Vec<_>, _> = view.scan(space, b"", b"").collect();
    let proved = || {
        let found = found.as_ref().ok()?;
        (digest(found.iter().cloned()) == bookmark.digest && found.len() as u64 == bookmark.rows).then_some(())
    };
    match view.trust() {
        Trust::Lost => return,
        Trust::SameBoot if proved().is_none() => return,
        _ => {}
    }
    let state = states.iter().find(|state| state.bookmark == Some(bookmark));
    let state = state.unwrap_or_else(|| panic!("{what}: a bookmark that nobody wrote: {bookmark:?}"));
    for (key, value) in &state.rows {
        match view.get(space, key) {
            Ok(found) => assert!(found.as_ref() == Some(value), "{what}: a wrong value of {key:?}"),
            Err(e) => {
                assert!(matches!(e, ViewError::Damaged { .. } | ViewError::Failed { .. } | ViewError::Closed { .. }))
            }
        }
    }
    if let Ok(found) = found {
        assert!(found.iter().map(|(key, value)| (key, value)).eq(&state.rows), "{what}: wrong rows");
    }
}

/// Rows whose values are found in the files.
fn with_marked_rows<H: ViewHost>(host: &H, dir: &Path) -> (Model, Files) {
    let mut model = Model::new("ledger", 1);
    let view = open(host);
    let keys: Vec<_> = (0..40_u32).map(|n| format!("key {n:03}")).collect();
    for keys in keys.chunks(10) {
        let values: Vec<_> = keys.iter().map(|key| format!("the value of {key}, marked")).collect();
        let changes: Vec<_> = keys.iter().zip(&values).map(|(k, v)| (k.as_bytes(), Some(v.as_bytes()))).collect();
        model.apply(&*view, &changes);
        view.barrier().expect("a barrier");
    }
    view.close().expect("the view is closed");
    (model, files(dir))
}

fn a_flipped_byte_is_never_a_wrong_value<H: ViewHost>(host: &H, dir: &Path) {
    let (model, sound) = with_marked_rows(host, dir);
    for number in [0_u32, 9, 10, 25, 39] {
        let (key, mark) = (format!("key {number:03}"), format!("the value of key {number:03}, marked"));
        let mut damaged = sound.clone();
        let mut flips = 0;
        for bytes in damaged.values_mut() {
            let places: Vec<_> = bytes
                .windows(mark.len())
                .enumerate()
                .filter(|(_, w)| *w == mark.as_bytes())
                .map(|(at, _)| at)
                .collect();
            flips += places.len();
            for at in places {
                if let Some(byte) = bytes.get_mut(at + 4) {
                    *byte ^= 1;
                }
            }
        }
        assert!(flips > 0, "the value is in the files as it is");
        restore(dir, &damaged, |_| true);
        let view = open(host);
        let noticed = view.trust() != Trust::Closed
            || view.bookmark(&model.space).ok().flatten() != model.bookmark
            || matches!(
                view.get(&model.space, key.as_bytes()),
                Err(ViewError::Damaged { .. } | ViewError::Failed { .. })
            );
        assert!(noticed, "the damage to {key} is noticed");
        still_a_prefix(&*view, &model, &key);
        drop(view);
        // Cleared, it goes on: the same handle, or where its store failed, the next one.
        let view = open(host);
        let view = match view.clear(&model.space) {
            Ok(()) => view,
            Err(_) => {
                drop(view);
                host.open(LOG, NEXT_BOOT).expect("a store that was left open opens empty after a restart")
            }
        };
        view.clear(&model.space).expect("a space is cleared");
        let mut again = Model::new("ledger", 1);
        again.apply(&*view, &[(b"a", Some(b"1"))]);
        again.is_in(&*view);
    }
}

/// Each row is right, an error, or, where the bookmark is older or not to be trusted, not there yet.
fn still_a_prefix(view: &dyn View, model: &Model, what: &str) {
    let whole = view.trust() == Trust::Closed && view.bookmark(&model.space).ok().flatten() == model.bookmark;
    for (key, value) in &model.rows {
        match view.get(&model.space, key) {
            Ok(Some(found)) => assert!(found == value, "{what}: a wrong value of {key:?}"),
            Ok(None) => assert!(!whole, "{what}: {key:?} is gone and nothing says so"),
            Err(_) => {}
        }
    }
    for row in view.scan(&model.space, b"", b"") {
        let Ok((key, value)) = row else { continue };
        assert!(model.rows.get(&key) == Some(&value), "{what}: a wrong row of {key:?}");
    }
}

fn a_cut_file_is_never_a_wrong_value<H: ViewHost>(host: &H, dir: &Path) {
    let (model, sound) = with_marked_rows(host, dir);
    for path in sound.keys() {
        for part in [0, 3, 7] {
            let mut cut = sound.clone();
            if let Some(bytes) = cut.get_mut(path) {
                bytes.truncate(bytes.len() * part / 8);
            }
            restore(dir, &cut, |_| true);
            let what = format!("{} cut to {part}/8", path.display());
            if let Ok(view) = host.open(LOG, BOOT) {
                still_a_prefix(&*view, &model, &what);
            }
        }
    }
}

/// The files of a directory and below, with their content.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    for entry in fs::read_dir(dir).expect("a directory is read") {
        let path = entry.expect("an entry is read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("a file is read");
            found.insert(path, bytes);
        }
    }
    found
}

/// Puts those files that are wanted into a directory, in the place of the ones that are there.
fn restore(dir: &Path, older: &Files, wanted: impl Fn(&Path) -> bool) {
    for path in files(dir).keys().filter(|path| wanted(path)) {
        fs::remove_file(path).expect("a file is removed");
    }
    for (path, bytes) in older.iter().filter(|(path, _)| wanted(path)) {
        fs::create_dir_all(path.parent().unwrap_or(dir)).expect("a directory is made");
        fs::write(path, bytes).expect("a file is written");
    }
}
