//! Merged indexes: made in the background, used where they are, checked, and with them gone nothing changes.

use std::path::{Path, PathBuf};

use annals::testkit::{Crash, Random, SeededRandom};
use annals::{Append, Durability, Event, Expect, Log, LogReader, Version};

use crate::world::{DIR, World};

const STREAMS: u64 = 60;

/// The files of the indexes with their bytes.
fn indexes(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let files = world.mem.files().into_iter().map(|(path, _)| path);
    let files = files.filter(|path| path.starts_with(Path::new(DIR).join("index")));
    files.map(|path| (path.clone(), world.bytes(&path))).collect()
}

/// Fills so many segments, with streams of which some come seldom; makes all indexes that are due.
fn fill(world: &World, log: &Log, segments: usize, seed: u64) {
    let random = SeededRandom::new(seed);
    let before = world.segments().len();
    while world.segments().len() < before + segments {
        let pick = random.next_u64();
        let stream = if pick.is_multiple_of(40) { pick / 40 % STREAMS } else { pick % 3 };
        let event = Event::new(format!("s-{stream}"), "T").data(vec![3; 30_000]);
        drop(log.append(Append::new().event(event).durability(Durability::Os)).unwrap());
        if pick.is_multiple_of(5) {
            log.sync().unwrap();
            log.step().unwrap();
        }
    }
    log.sync().unwrap();
    while log.step().unwrap() {}
}

/// What is asked of each stream: version, offset of the last event, and all offsets both ways.
type Answers = Vec<(Option<Version>, Option<u64>, Vec<u64>, Vec<u64>)>;

#[track_caller]
fn answers(reader: &LogReader) -> Answers {
    (0..STREAMS + 3)
        .map(|n| {
            let name = format!("s-{n}");
            let last = reader.last(&name).unwrap().map(|event| event.offset().raw());
            let forward = reader.stream(&name).map(|event| event.unwrap().offset().raw()).collect();
            let backward = reader.stream(&name).backward().map(|event| event.unwrap().offset().raw()).collect();
            (reader.version(&name).unwrap(), last, forward, backward)
        })
        .collect()
}

/// The same by a walk over all events.
fn walked(reader: &LogReader) -> Answers {
    let mut all = vec![(None, None, Vec::new(), Vec::new()); usize::try_from(STREAMS).unwrap() + 3];
    for event in reader.read(..) {
        let event = event.unwrap();
        let n: usize = event.stream()[2..].parse().unwrap();
        all[n].0 = Some(event.version());
        all[n].1 = Some(event.offset().raw());
        all[n].2.push(event.offset().raw());
        all[n].3.insert(0, event.offset().raw());
    }
    all
}

/// The writer finds every stream where it is: an append that expects it is taken.
#[track_caller]
fn the_writer_knows(log: &Log, expected: &Answers) {
    for (n, (version, ..)) in expected.iter().enumerate() {
        let expect = version.map_or(Expect::None, Expect::Version);
        let append = Append::new().expect(format!("s-{n}"), expect).event(Event::new("other", "T"));
        drop(log.append(append).unwrap_or_else(|error| panic!("{error}")));
    }
}

#[test]
fn eight_sealed_segments_become_one_index_and_eight_of_those_one_more() {
    let world = World::new(1);
    let log = world.open();
    fill(&world, &log, 8, 1);
    assert_eq!(indexes(&world).len(), 1);
    fill(&world, &log, 8, 2);
    assert_eq!(indexes(&world).len(), 2);
    fill(&world, &log, 57, 3);
    let names: Vec<_> = indexes(&world).into_iter().map(|(path, _)| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[0].to_str().unwrap(), "00000000000000000000-064.idx");
    assert!(names[1].to_str().unwrap().ends_with("-008.idx"));
    assert!(world.verify().is_sound() && world.verify().notes.is_empty(), "{:?}", world.verify());
    let expected = walked(&log.reader());
    assert_eq!(answers(&log.reader()), expected);
    assert_eq!(answers(&world.reader()), expected);
    the_writer_knows(&log, &expected);
}

#[test]
fn indexes_that_are_gone_change_no_answer_and_are_made_again() {
    let world = World::new(2);
    let log = world.open();
    fill(&world, &log, 19, 1);
    log.close().unwrap();
    let (expected, before) = (walked(&world.reader()), indexes(&world));
    assert_eq!(before.len(), 2);
    for (path, _) in &before {
        annals::testkit::Disk::remove(&world.mem, path).unwrap();
    }
    assert_eq!(answers(&world.reader()), expected);
    assert!(world.verify().is_sound());
    let log = world.open();
    assert_eq!(answers(&log.reader()), expected);
    the_writer_knows(&log, &expected);
    while log.step().unwrap() {}
    assert!(indexes(&world) == before, "the same bytes again");
}

/// What can happen to an index file.
#[test]
fn an_index_that_is_damaged_foreign_or_old_changes_no_answer_and_is_told_of() {
    let world = World::new(3);
    let log = world.open();
    fill(&world, &log, 9, 1);
    log.close().unwrap();
    let expected = walked(&world.reader());
    let (path, whole) = indexes(&world).remove(0);
    let other = World::new(4);
    fill(&other, &other.open(), 9, 1);
    let foreign = indexes(&other).remove(0).1;
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("of another log".into(), foreign),
        ("empty".into(), Vec::new()),
        ("cut".into(), whole[..whole.len() - 1].to_vec()),
        ("cut at a page".into(), whole[..4096].to_vec()),
        ("with a page twice".into(), [&whole[..], &whole[4096..]].concat()),
    ];
    let random = SeededRandom::new(7);
    for _ in 0..16 {
        let mut flipped = whole.clone();
        let at = usize::try_from(random.next_u64()).unwrap() % flipped.len();
        flipped[at] ^= 1 << (random.next_u64() % 8);
        cases.push((format!("flipped at {at}"), flipped));
    }
    for (what, bytes) in cases {
        world.mem.write_file(&path, &bytes);
        let report = world.verify();
        assert!(!report.is_sound() || !report.notes.is_empty(), "{what} is not told of");
        assert!(report.damage.iter().all(|damage| damage.first == damage.end), "{what} affects no event");
        assert_eq!(answers(&world.reader()), expected, "{what}");
    }
    // The writer makes it again.
    world.mem.write_file(&path, &whole[..5000]);
    let log = world.open();
    the_writer_knows(&log, &expected);
    while log.step().unwrap() {}
    assert!(indexes(&world).remove(0).1 == whole);
    assert!(world.verify().is_sound());
}

#[test]
fn an_index_of_the_logs_own_other_history_is_not_used() {
    let world = World::new(5);
    let log = world.open();
    fill(&world, &log, 3, 1);
    log.close().unwrap();
    // Two futures of one log.
    let (a, b) = (world.copy_of(&world.snapshot()), world.copy_of(&world.snapshot()));
    a.random.next_u64();
    let (log_a, log_b) = (a.open(), b.open());
    fill(&a, &log_a, 8, 2);
    fill(&b, &log_b, 8, 3);
    let expected = walked(&log_a.reader());
    log_a.close().unwrap();
    let (path, _) = indexes(&a).remove(0);
    a.mem.write_file(&path, &indexes(&b).remove(0).1);
    assert!(!a.verify().notes.is_empty());
    assert_eq!(answers(&a.reader()), expected);
    the_writer_knows(&a.open(), &expected);
}

/// Ends by power cut and by kill at every stage of making indexes.
#[test]
fn an_end_while_indexes_are_made_harms_nothing() {
    let base = World::new(6);
    let log = base.open();
    fill(&base, &log, 7, 1);
    log.close().unwrap();
    let files = base.snapshot();
    for seed in 0..24 {
        let mut world = base.copy_of(&files).that_only_stops();
        let log = world.open();
        let random = SeededRandom::new(seed);
        // The eighth is filled, and everything after it happens or not.
        while world.segments().len() < 9 {
            log.append(Event::new("s-1", "T").data(vec![3; 30_000])).unwrap().wait().unwrap();
        }
        world.stop_after(random.next_u64() % 30, random.next_u64().is_multiple_of(2));
        while log.step().unwrap_or(false) {}
        world.disk.heal();
        match seed % 2 {
            0 => world.power_cut(Some(log), Crash::Seeded(seed)),
            _ => world.kill(log),
        }
        let report = world.verify();
        assert!(report.is_sound(), "seed {seed}: {report:?}");
        let log = world.open();
        let expected = walked(&log.reader());
        assert_eq!(answers(&log.reader()), expected, "seed {seed}");
        the_writer_knows(&log, &expected);
        while log.step().unwrap() {}
        assert_eq!(indexes(&world).len(), 1, "seed {seed}");
        assert!(world.verify().is_sound() && world.verify().notes.is_empty(), "seed {seed}");
    }
}

/// The first entry's version is another, and all checksums are right.
fn lying(whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[4096 + 16 + 16] ^= 1;
    let mut hasher = crc32fast::Hasher::new();
    let segments = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    hasher.update(&bytes[16..32]);
    hasher.update(&bytes[64..64 + 32 * segments]);
    hasher.update(&bytes[4096 + 4..2 * 4096]);
    bytes[4096..4096 + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}

#[test]
fn an_index_that_lies_with_all_checksums_right_is_not_believed() {
    let world = World::new(8);
    let log = world.open();
    fill(&world, &log, 9, 1);
    log.close().unwrap();
    let expected = walked(&world.reader());
    let (path, whole) = indexes(&world).remove(0);
    world.mem.write_file(&path, &lying(&whole));
    let report = world.verify();
    assert_eq!(report.damage.len(), 1, "{report:?}");
    assert!(report.damage[0].what.contains("does not say what"), "{report:?}");
    assert_eq!(answers(&world.reader()), expected);
    let log = world.open();
    the_writer_knows(&log, &expected);
}

#[test]
fn a_stream_that_is_nowhere_is_looked_for_in_the_index_and_not_in_its_segments() {
    let world = World::new(9);
    let log = world.open();
    fill(&world, &log, 9, 1);
    log.close().unwrap();
    let calls = || {
        let reader = LogReader::open_with(DIR, world.env(), annals::ReadMode::Pread).unwrap();
        let before = world.disk.calls();
        assert_eq!(reader.version("nobody").unwrap(), None);
        world.disk.calls() - before
    };
    let with = calls();
    annals::testkit::Disk::remove(&world.mem, &indexes(&world).remove(0).0).unwrap();
    let without = calls();
    assert!(with + 8 <= without, "{with} calls with it, {without} without");
}
