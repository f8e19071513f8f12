//! Whole files that are others: swapped, there twice, older, gone, empty, longer.

use std::path::Path;

use annals::testkit::{Disk, MemDisk, Random, SeededRandom};

use super::Counts;
use super::judge::{Depth, Opened, judge};
use super::store::{DIR, File, Store, disk_of, is_cursor, is_lock, is_segment};

/// What is done to files of a store, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Swapped(usize, usize),
    /// The first is there under the name of the second as well.
    Copied(usize, usize),
    Older(usize),
    /// All files are as a while ago, but for one.
    OlderAllBut(usize),
    Deleted(usize),
    Emptied(usize),
    WithZeros(usize),
    WithGarbage(usize),
    /// Under its own header, what another log has at the same offsets.
    Foreign(usize),
}

/// Every change of every store, by number.
pub struct Changes<'s> {
    all: Vec<(&'s Store, Change)>,
}

impl<'s> Changes<'s> {
    pub fn of(stores: &'s [Store]) -> Changes<'s> {
        // Without a LOCK it differs by what its batches say alone: cuts and flips are for them.
        let all = stores.iter().filter(|store| store.has_lock() || store.name == "golden");
        let all = all.flat_map(|store| changes(store).into_iter().map(move |change| (store, change)));
        Changes { all: all.collect() }
    }

    pub fn len(&self) -> u64 {
        self.all.len() as u64
    }

    /// The numbers of changes that put another log's batches under a header.
    pub fn foreign(&self) -> Vec<u64> {
        let foreign = |(_, change): &(&Store, Change)| matches!(change, Change::Foreign(_));
        (0..).zip(&self.all).filter(|(_, change)| foreign(change)).map(|(number, _)| number).collect()
    }

    /// Makes a change, and lets all look.
    pub fn check(&self, number: u64, counts: &Counts) -> Result<(), String> {
        let change = usize::try_from(number).ok().and_then(|number| self.all.get(number));
        let (store, change) = change.ok_or_else(|| format!("there is no change {number}"))?;
        check(store, *change, counts).map_err(|what| {
            let name = name(store, *change);
            format!("{} with {name}: {what}; tools/torture bytes --only change:{number}", store.name)
        })
    }
}

fn changes(store: &Store) -> Vec<Change> {
    let files = 0..store.files.len();
    let bytes = |file: usize| &store.files[file].1;
    let differs = |a: usize, b: usize| bytes(a) != bytes(b);
    let mut changes = Vec::new();
    for a in files.clone() {
        changes.extend(files.clone().filter(|b| a < *b && differs(a, *b)).map(|b| Change::Swapped(a, b)));
        changes.extend(files.clone().filter(|b| differs(a, *b)).map(|b| Change::Copied(a, b)));
        changes.extend([Change::Deleted(a), Change::WithZeros(a), Change::WithGarbage(a)]);
        if !bytes(a).is_empty() {
            changes.push(Change::Emptied(a));
        }
        if foreign(store, a).is_some() {
            changes.push(Change::Foreign(a));
        }
        let older = store.older.iter().find(|(path, _)| *path == store.files[a].0);
        if older.is_some_and(|(_, older)| older != bytes(a)) {
            changes.push(Change::Older(a));
        }
        // As it was: a whole directory of a while ago says nothing of what came later.
        if !store.older.is_empty() && older.is_none_or(|(_, older)| older != bytes(a)) {
            changes.push(Change::OlderAllBut(a));
        }
    }
    changes
}

fn name(store: &Store, change: Change) -> String {
    let mut name = format!("{change:?}");
    let (Change::Swapped(a, _) | Change::Copied(a, _)) = change else {
        let (Change::Older(a)
        | Change::OlderAllBut(a)
        | Change::Deleted(a)
        | Change::Emptied(a)
        | Change::WithZeros(a)
        | Change::WithGarbage(a)
        | Change::Foreign(a)
        | Change::Swapped(a, _)
        | Change::Copied(a, _)) = change;
        return format!("{name} = {}", store.files[a].0.display());
    };
    let (Change::Swapped(_, b) | Change::Copied(_, b)) = change else { return name };
    name.push_str(&format!(" = {} and {}", store.files[a].0.display(), store.files[b].0.display()));
    name
}

/// The header of a segment's file, and behind it what another log has there. Only a segment has batches that a reader
/// could take for those of another.
fn foreign(store: &Store, file: usize) -> Option<Vec<u8>> {
    let (path, own) = store.files.get(file).filter(|(path, _)| is_segment(path))?;
    let (_, other) = store.other.iter().find(|(other, _)| other == path)?;
    Some([own.get(..HEAD_BYTES)?, other.get(HEAD_BYTES..)?].concat())
}

/// A segment's header has the first page of its file.
const HEAD_BYTES: usize = 4096;

fn changed(store: &Store, change: Change) -> MemDisk {
    let mem = match change {
        Change::OlderAllBut(_) => disk_of(&store.older),
        _ => store.disk(),
    };
    let path = |file: usize| store.files[file].0.as_path();
    let bytes = |file: usize| store.files[file].1.as_slice();
    let random = SeededRandom::new(7);
    match change {
        Change::Swapped(a, b) => {
            mem.write_file(path(a), bytes(b));
            mem.write_file(path(b), bytes(a));
        }
        Change::Copied(a, b) => mem.write_file(path(b), bytes(a)),
        Change::Older(a) => {
            let older = store.older.iter().find(|(older, _)| older == path(a));
            mem.write_file(path(a), older.map_or(&[], |(_, bytes)| bytes));
        }
        Change::OlderAllBut(a) => mem.write_file(path(a), bytes(a)),
        Change::Deleted(a) => {
            let _ = mem.remove(path(a));
        }
        Change::Emptied(a) => mem.write_file(path(a), &[]),
        Change::WithZeros(a) => mem.write_file(path(a), &[bytes(a), &[0; 5000]].concat()),
        Change::Foreign(a) => mem.write_file(path(a), &foreign(store, a).unwrap_or_default()),
        Change::WithGarbage(a) => {
            let garbage: Vec<u8> = (0..5000).map(|_| random.next_u64() as u8).collect();
            mem.write_file(path(a), &[bytes(a), &garbage].concat());
        }
    }
    mem
}

/// Whether nothing of the log itself can say that it happened: what is not evidence about events.
fn says_nothing(store: &Store, change: Change) -> bool {
    let file = |file: usize| -> &File { &store.files[file] };
    let within = |path: &Path, folder: &str| path.starts_with(Path::new(DIR).join(folder));
    match change {
        // An index is made of the events there are, and what was cut is none.
        Change::OlderAllBut(a) => within(&file(a).0, "index") || within(&file(a).0, "torn"),
        _ => false,
    }
}

fn check(store: &Store, change: Change, counts: &Counts) -> Result<(), String> {
    if says_nothing(store, change) {
        counts.add("older but for an index or a torn tail, which nothing can tell", 1);
        return Ok(());
    }
    let mem = changed(store, change);
    let judgement = judge(store, &mem, Depth::Deep)?;
    let (seen, end) = (&judgement.seen, store.events.len() as u64);
    let reads_all = seen.failed || seen.end >= store.readable.min(end);
    counts.add(if judgement.verified.found { "found by verify" } else { "of no consequence" }, 1);
    if !reads_all && judgement.verified.is_sound && seen.end < store.durable {
        return Err(format!("a reader ends at {} of {}, and verify finds nothing", seen.end, store.readable));
    }
    match &judgement.opened {
        Opened::Refused => counts.add("refused", 1),
        Opened::Open { tail, torn } => {
            if *tail < store.durable || *tail < end && torn.is_none() {
                return Err(format!("the log opens at {tail} of {end}, with {torn:?}"));
            }
            counts.add("opened", 1);
            if !judgement.verified.found && !is_harmless(store, change) {
                return Err("verify says nothing".to_owned());
            }
        }
    }
    Ok(())
}

/// Whether a file is as it may be at rest, so that there is nothing to find.
fn is_harmless(store: &Store, change: Change) -> bool {
    let path = |file: usize| store.files[file].0.as_path();
    let is_aside =
        |path: &Path| is_lock(path) || path.strip_prefix(DIR).is_ok_and(|path| path.components().count() > 1);
    match change {
        // It is never synced, and says too little when it is older.
        Change::Older(a) if is_lock(path(a)) => true,
        // A consumer goes on from where it was: it sees events again.
        Change::Older(a) if is_cursor(path(a)) => true,
        // Nothing holds how many there were of these.
        Change::Deleted(a) => is_aside(path(a)),
        // As a file that was never written to, or has more space ahead.
        Change::Emptied(a) => is_lock(path(a)),
        Change::Copied(a, b) => is_lock(path(b)) && store.files[a].1.is_empty(),
        // The events are all there, what is older says less of them.
        Change::OlderAllBut(a) => {
            let same = |(path, bytes): &File| store.older.iter().any(|(older, old)| older == path && old == bytes);
            Some(a) == super::store::active(&store.files)
                && store.files.iter().all(|file| file.0 == path(a) || is_aside(&file.0) || same(file))
        }
        Change::WithZeros(a) => Some(a) == super::store::active(&store.files),
        _ => false,
    }
}
