//! What stands behind the last good batch: nothing, a torn tail, or damage; and any flipped bit anywhere.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use annals::testkit::{Crash, Disk, Env, Random, SeededRandom, verify_with};
use annals::{Append, Damage, Durability, Event, Expect, Log, LogReader, OpenError, ReadError, ReadMode};

use crate::hooked::{Hooked, Hooks};
use crate::world::{DIR, SEGMENT, Seen, World, all};

const PAGE: usize = 4096;
const MARK: u8 = 4;
const CLOSE_MARK: u8 = 5;
const FOOTER: u8 = 6;

/// A batch in the bytes of a segment.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    end: usize,
    kind: u8,
}

fn batches(bytes: &[u8]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut at = PAGE;
    while at + 128 <= bytes.len() && bytes[at..at + 4] != [0; 4] {
        let kind = bytes[at + 44];
        let body = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        let end = at + usize::from(bytes[at + 46]) * 8 + body;
        places.push(Place { at, end, kind });
        if kind == FOOTER {
            break;
        }
        at = end;
    }
    places
}

fn active(world: &World) -> PathBuf {
    world.segments().pop().unwrap()
}

fn append(log: &Log, data: &str, durability: Durability) {
    let event = Event::new("s", "T").data(data.as_bytes());
    log.append(Append::new().event(event).durability(durability)).unwrap().wait().unwrap();
}

/// Three appends that no sync was asked for, and a kill: three batches behind the carry batch.
fn three_written() -> World {
    let world = World::new(3);
    let log = world.open();
    for data in ["first", "second", "third"] {
        append(&log, data, Durability::Os);
    }
    world.kill(log);
    world
}

fn forget_lock(world: &World) {
    world.mem.remove(&Path::new(DIR).join("LOCK")).unwrap();
}

fn flip(world: &World, place: Place) {
    world.mem.flip_bit(&active(world), place.at + 130.min(place.end - place.at - 1), 3);
}

#[track_caller]
fn damage(world: &World) -> Damage {
    let segments = || world.segments().iter().map(|path| world.bytes(path)).collect::<Vec<_>>();
    let before = segments();
    let found = world.verify().damage;
    assert_eq!(found.len(), 1, "{found:?}");
    let error = world.try_open().unwrap_err();
    let OpenError::Damaged(damage) = error else { panic!("{error}") };
    assert!(segments() == before, "nothing was changed");
    assert_eq!(found[0].at, damage.at, "verify says the same");
    damage
}

fn data_of(log: &Log) -> Vec<String> {
    all(&log.reader()).into_iter().map(|event| String::from_utf8(event.data).unwrap()).collect()
}

#[test]
fn what_lock_says_was_durable_is_damage_under_any_boot() {
    for boot in [1, 2] {
        let mut world = World::new(3);
        let log = world.open();
        append(&log, "first", Durability::Disk);
        append(&log, "second", Durability::Disk);
        world.kill(log);
        world.boot = boot;
        let last = batches(&world.bytes(&active(&world)))[2];
        flip(&world, last);
        let damage = damage(&world);
        assert_eq!((damage.at, damage.first.raw(), damage.end.raw()), (last.at as u64, 1, 2));
        assert!(damage.what.contains("durable"), "{damage}");
    }
}

/// While the first append is synced the second one is written: `LOCK` knows of both, and of one as durable.
fn written_beside_a_sync() -> World {
    let world = World::new(3);
    let opened: Arc<OnceLock<Log>> = Arc::default();
    let syncing = Arc::clone(&opened);
    let second = AtomicBool::new(false);
    let on_sync = move |path: &Path| {
        let Some(log) = syncing.get().filter(|_| path.extension().is_some()) else { return };
        if !second.swap(true, Ordering::Relaxed) {
            append(log, "second", Durability::Os);
        }
    };
    let hooks = Hooks { on_sync: Box::new(on_sync), ..Hooks::default() };
    let env = Env { disk: Arc::new(Hooked::new(Arc::new(world.mem.clone()), hooks)), ..world.env() };
    let log = world.options().env(env).open(DIR).unwrap();
    opened.set(log.clone()).unwrap();
    append(&log, "first", Durability::Disk);
    assert_eq!((log.durable_end().raw(), log.tail().raw()), (1, 2));
    assert_eq!(world.reader().tail().unwrap().raw(), 2);
    world.kill(log);
    world
}

#[test]
fn what_lock_says_was_written_is_damage_while_the_machine_runs_on_and_torn_after_a_power_cut() {
    let world = written_beside_a_sync();
    assert_eq!(data_of(&world.open()), ["first", "second"]);

    let mut world = written_beside_a_sync();
    let last = batches(&world.bytes(&active(&world)))[2];
    flip(&world, last);
    let damage = damage(&world);
    assert_eq!((damage.at, damage.first.raw(), damage.end.raw()), (last.at as u64, 1, 2));
    world.boot = 2;
    let log = world.open();
    assert_eq!(data_of(&log), ["first"]);
    assert_eq!(log.report().torn.as_ref().map(|torn| torn.at), Some(last.at as u64));
}

#[test]
fn only_zeros_behind_is_clean() {
    for boot in [1, 2] {
        let mut world = three_written();
        world.boot = boot;
        let log = world.open();
        assert_eq!(log.report().torn, None);
        assert_eq!(data_of(&log), ["first", "second", "third"]);
        assert_eq!(log.tail_epoch().raw(), 0);
    }
}

#[test]
fn a_later_batch_that_knows_better_makes_it_damage_under_any_boot() {
    for boot in [1, 2] {
        let mut world = World::new(3);
        let log = world.open();
        append(&log, "first", Durability::Disk);
        append(&log, "second", Durability::Disk);
        append(&log, "third", Durability::Os);
        world.kill(log);
        forget_lock(&world);
        world.boot = boot;
        // The third says that the second was durable.
        let second = batches(&world.bytes(&active(&world)))[2];
        flip(&world, second);
        let damage = damage(&world);
        assert_eq!((damage.at, damage.first.raw(), damage.end.raw()), (second.at as u64, 1, 2));
    }
}

#[test]
fn before_the_second_mark_of_a_close_everything_was_durable() {
    for flipped in 1..5 {
        let world = three_written();
        world.open().close().unwrap();
        forget_lock(&world);
        let places = batches(&world.bytes(&active(&world)));
        assert_eq!(places.iter().map(|place| place.kind).collect::<Vec<_>>(), [3, 1, 1, 1, MARK, CLOSE_MARK]);
        flip(&world, places[flipped]);
        assert_eq!(damage(&world).at, places[flipped].at as u64);
    }
}

#[test]
fn good_batches_behind_a_bad_one_are_damage_after_a_kill_and_torn_after_a_power_cut() {
    let world = three_written();
    let first = batches(&world.bytes(&active(&world)))[1];
    flip(&world, first);
    let damage = damage(&world);
    assert_eq!((damage.at, damage.first.raw(), damage.end.raw()), (first.at as u64, 0, 3));
    assert!(damage.what.contains("kill"), "{damage}");

    let mut world = three_written();
    flip(&world, first);
    world.boot = 2;
    let report = world.verify();
    assert!(report.is_sound() && report.notes.len() == 1, "{report:?}");
    let log = world.open();
    assert_eq!(log.tail().raw(), 0);
    let torn = log.report().torn.clone().unwrap();
    assert_eq!((torn.file, torn.at), (active(&world), first.at as u64));
    assert_eq!(log.tail_epoch().raw(), 1);
}

#[test]
fn without_lock_a_good_batch_behind_a_bad_one_is_torn_because_the_boot_is_not_known() {
    let world = three_written();
    forget_lock(&world);
    flip(&world, batches(&world.bytes(&active(&world)))[2]);
    let log = world.open();
    assert_eq!(data_of(&log), ["first"]);
}

#[test]
fn a_torn_tail_is_kept_aside_and_reported_and_cut_once() {
    for boot in [1, 2] {
        let mut world = three_written();
        world.boot = boot;
        let last = batches(&world.bytes(&active(&world)))[3];
        flip(&world, last);
        let cut = world.bytes(&active(&world))[last.at..last.end].to_vec();
        let log = world.open();
        let torn = log.report().torn.clone().unwrap();
        assert_eq!(torn.at, last.at as u64);
        assert!(torn.kept.starts_with(Path::new(DIR).join("torn")));
        let kept = world.bytes(&torn.kept);
        let len = usize::try_from(torn.bytes).unwrap();
        assert_eq!(&kept[52..], &cut[..len], "the bytes as they were");
        assert!(cut[len..].iter().all(|byte| *byte == 0), "zeros need not be kept");
        assert_eq!(data_of(&log), ["first", "second"]);
        append(&log, "again", Durability::Disk);
        world.kill(log);
        let log = world.open();
        assert_eq!(log.report().torn, None);
        assert_eq!(log.tail_epoch().raw(), 1, "the log itself knows of the cut");
        assert_eq!(data_of(&log), ["first", "second", "again"]);
        log.close().unwrap();
        let report = world.verify();
        assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    }
}

#[test]
fn a_cut_survives_a_power_cut_right_after_with_its_epoch() {
    for seed in 0..150 {
        let mut world = World::new(3).that_only_stops();
        let log = world.open();
        append(&log, &"large".repeat(2000), Durability::Os);
        world.kill(log);
        let places = batches(&world.bytes(&active(&world)));
        // The first page of the batch was lost, the others were kept.
        let mut bytes = world.bytes(&active(&world));
        bytes[places[1].at..2 * PAGE].fill(0);
        world.mem.write_file(&active(&world), &bytes);
        world.boot = 2;
        world.stop_after(seed % 50, false);
        let log = world.try_open().ok();
        world.power_cut(log, Crash::Seeded(seed));
        world.disk.heal();
        let log = world.open();
        assert!(log.tail_epoch().raw() > 0, "after {seed} calls");
        assert_eq!(log.tail().raw(), 0);
    }
}

#[test]
fn every_cut_of_the_last_three_batches_drops_whole_appends() {
    let world = three_written();
    let places = batches(&world.bytes(&active(&world)));
    let files = world.snapshot();
    let path = active(&world);
    let whole = world.bytes(&path);
    for cut in (places[1].at..=places[3].end).step_by(3) {
        let world = world.copy_of(&files);
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        world.mem.write_file(&path, &bytes);
        let good = places.iter().skip(1).take_while(|place| bytes[place.at..place.end] == whole[place.at..place.end]);
        let good = good.count();
        let report = world.verify();
        assert!(report.is_sound(), "cut at {cut}: {report:?}");
        assert_eq!(report.events, good as u64);
        let log = world.open();
        assert_eq!(data_of(&log), ["first", "second", "third"][..good], "cut at {cut}");
        let rest = &bytes[places[good].end..];
        assert_eq!(log.report().torn.is_some(), rest.iter().any(|byte| *byte != 0), "cut at {cut}");
    }
}

#[test]
fn a_file_that_ends_within_a_batch_is_torn() {
    let world = three_written();
    let places = batches(&world.bytes(&active(&world)));
    let mut bytes = world.bytes(&active(&world));
    bytes.truncate(places[3].at + 70);
    world.mem.write_file(&active(&world), &bytes);
    let log = world.open();
    assert_eq!(data_of(&log), ["first", "second"]);
    append(&log, "again", Durability::Disk);
    log.close().unwrap();
    assert!(world.verify().is_sound());
}

#[test]
fn a_segment_is_not_sealed_before_a_mark_that_is_damaged() {
    let world = World::new(3);
    let log = world.open();
    append(&log, "first", Durability::Disk);
    for _ in 0..3 {
        world.clock.advance_ms(200);
        while log.step().unwrap() {}
    }
    append(&log, &"x".repeat(258_000), Durability::Disk);
    world.kill(log);
    let path = world.segments().remove(0);
    let places = batches(&world.bytes(&path));
    assert_eq!(places.iter().map(|place| place.kind).collect::<Vec<_>>(), [3, 1, MARK]);
    world.mem.flip_bit(&path, places[2].at + 50, 0);
    let before = world.bytes(&path);
    assert!(!world.verify().is_sound());
    let Err(OpenError::Damaged(damage)) = world.try_open() else { panic!("it is damaged") };
    assert_eq!((&damage.file, damage.at), (&path, places[2].at as u64));
    assert!(world.bytes(&path) == before, "nothing was changed");
}

#[test]
fn space_that_ends_just_where_the_indexes_would_is_no_damage() {
    let full = |bytes: usize| {
        let world = World::new(3);
        let log = world.open();
        // The indexes take more than what is kept free for marks.
        let streams = (0..20).map(|n| Event::new(format!("s-{n}"), "T"));
        log.append(Append::new().events(streams)).unwrap().wait().unwrap();
        append(&log, &"x".repeat(bytes), Durability::Disk);
        append(&log, &"y".repeat(50_000), Durability::Disk);
        (world, log)
    };
    let (world, log) = full(240_000);
    assert!(log.step().unwrap());
    let sealed = world.bytes(&world.segments()[0]).len();
    let (world, log) = full(240_000 + SEGMENT as usize - sealed);
    world.kill(log);
    let report = world.verify();
    assert!(report.is_sound() && report.notes.len() == 1, "{report:?}");
    assert_eq!(world.bytes(&world.segments()[0]).len(), SEGMENT as usize);
    world.open().close().unwrap();
    assert_eq!(world.bytes(&world.segments()[0]).len(), SEGMENT as usize);
    let report = world.verify();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
}

#[test]
fn a_missing_segment_is_damage() {
    let world = closed_log();
    let files = world.snapshot();
    for missing in world.segments() {
        let world = world.copy_of(&files);
        world.mem.remove(&missing).unwrap();
        assert!(!world.verify().is_sound(), "{}", missing.display());
        assert!(matches!(world.try_open(), Err(OpenError::Damaged(_))), "{}", missing.display());
    }
}

/// Also where the foreign file has no end to hold the next one against: readers gave out its events once.
#[test]
fn a_segment_of_another_log_is_damage_to_whoever_opens_it() {
    let world = closed_log();
    let other = World::new(77);
    let log = other.open();
    append(&log, "foreign", Durability::Disk);
    log.close().unwrap();
    let foreign = other.bytes(&other.segments()[0]);
    for place in world.segments() {
        let world = world.copy_of(&world.snapshot());
        world.mem.write_file(&place, &foreign);
        assert!(!world.verify().is_sound(), "{}", place.display());
        assert!(world.try_open().is_err(), "{}", place.display());
        let read = LogReader::open_with(DIR, world.env(), ReadMode::Pread);
        assert!(matches!(read, Err(OpenError::Damaged(_))), "{}", place.display());
    }
}

/// Whoever reads on behind the damage must not be told to leave out more than it took.
#[test]
fn a_damaged_batch_affects_its_own_events_alone() {
    let world = closed_log();
    let sealed = world.segments()[1].clone();
    let at = batches(&world.bytes(&sealed))[1].at + 200;
    let whole = all(&world.reader());
    world.mem.flip_bit(&sealed, at, 1);
    let mut read = world.reader().read(..);
    let damage = loop {
        match read.next() {
            Some(Ok(_)) => {}
            Some(Err(ReadError::Damaged(damage))) => break damage,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(world.verify().damage, std::slice::from_ref(&damage));
    let behind = world.reader().read(damage.end..).system(true).map(Result::unwrap).count();
    assert_eq!(damage.first.raw() as usize + 1 + behind, whole.len());
}

/// Two sealed segments, an active one, a torn tail, a source, and a clean close.
fn closed_log() -> World {
    let world = World::new(3);
    let log = world.open();
    append(&log, "first", Durability::Os);
    append(&log, "second", Durability::Os);
    world.kill(log);
    flip(&world, batches(&world.bytes(&active(&world)))[2]);
    let log = world.open();
    let with_source = Append::new().event(Event::new("s", "T").data(&b"third"[..]));
    log.append(with_source.source("import", &b"17"[..], Expect::None)).unwrap().wait().unwrap();
    // It does not fit behind these: the segment before it stays small.
    append(&log, &"x".repeat(258_000), Durability::Disk);
    append(&log, &"y".repeat(5000), Durability::Disk);
    append(&log, "last", Durability::Disk);
    log.close().unwrap();
    let report = world.verify();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert_eq!(world.segments().len(), 3);
    world
}

/// Flips one bit of each chosen byte of a file and says what must be found.
fn flips(which: usize, chosen: impl Fn(usize, &[u8]) -> bool) {
    let world = closed_log();
    let files = world.snapshot();
    let whole: Vec<Seen> = all(&world.reader());
    let path = files[which].0.clone();
    let bytes = &files[which].1;
    let is_lock = path.ends_with("LOCK");
    let end = if which + 3 == files.len() { batches(bytes).last().unwrap().end } else { bytes.len() };
    let mut tried = 0;
    for at in (0..bytes.len()).filter(|at| chosen(*at, bytes)) {
        tried += 1;
        let bit = (at * 5 + at / 8) % 8;
        world.mem.flip_bit(&path, at, bit as u8);
        let context = format!("bit {bit} of byte {at} of {}", path.display());
        let report = world.verify();
        assert!(!report.is_sound() || !report.notes.is_empty(), "{context} is not found");
        assert!(!report.is_sound() || is_lock || at >= end, "{context} is damage: {report:?}");
        if at % 5 == 0 {
            never_other_events(&world.copy_of(&world.snapshot()), &whole, &context);
        }
        world.mem.flip_bit(&path, at, bit as u8);
    }
    assert!(tried > 60);
}

/// Whatever the damage: opening and reading give these events, fewer, or an error.
fn never_other_events(world: &World, whole: &[Seen], context: &str) {
    let Ok(log) = world.try_open() else { return };
    let head = usize::try_from(log.head().raw()).unwrap();
    for (next, event) in log.reader().read(..).system(true).enumerate() {
        let Ok(event) = event else { break };
        let Some(expected) = whole.get(head + next) else { panic!("{context}: an event too many") };
        assert_eq!((event.offset().raw(), event.data()), (expected.offset, &expected.data[..]), "{context}");
        assert_eq!((event.stream(), event.version().raw()), (&expected.stream[..], expected.version), "{context}");
    }
}

#[test]
fn whatever_happens_to_files_there_are_errors_and_never_other_events_or_a_panic() {
    let world = closed_log();
    let files = world.snapshot();
    let whole = all(&world.reader());
    for seed in 0..400 {
        let random = SeededRandom::new(seed);
        let pick = |n: usize| (random.next_u64() % n as u64) as usize;
        let mut after = files.clone();
        for _ in 0..pick(3) + 1 {
            let (which, other) = (pick(after.len()), pick(after.len()));
            let taken = after[other].1.clone();
            let bytes = &mut after[which].1;
            // Mostly where the bytes mean something.
            let near = |bytes: &[u8]| match pick(3) {
                0 => pick(bytes.len().max(1)),
                1 => pick(bytes.len().clamp(1, 6000)),
                _ => bytes.len().saturating_sub(1 + pick(3000)),
            };
            let at = near(bytes).min(bytes.len());
            let to = (at + pick(300)).min(bytes.len());
            match pick(7) {
                0 => bytes[at..to].iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
                1 => bytes[at..to].fill(0),
                2 => bytes.truncate(at),
                3 => bytes.extend((0..pick(5000)).map(|_| random.next_u64() as u8)),
                4 => *bytes = taken,
                5 => {
                    let from = near(&taken).min(taken.len());
                    let len = pick(5000).min(taken.len() - from).min(bytes.len() - at);
                    bytes[at..at + len].copy_from_slice(&taken[from..from + len]);
                }
                _ => drop(after.remove(which)),
            }
            if after.is_empty() {
                break;
            }
        }
        let world = world.copy_of(&after);
        let verified = verify_with(Path::new(DIR), &world.env(), &mut |_, _| {});
        if let Ok(reader) = LogReader::open_with(DIR, world.env(), ReadMode::Map) {
            let _ = reader.stat();
            for batch in reader.batches(..).map_while(Result::ok) {
                batch.events().for_each(|event| assert!(event.data() == whole[event.offset().raw() as usize].data));
            }
        }
        // Where all that was acknowledged is gone together, nothing can know of it.
        let segments = after.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "seg")).count();
        if segments == 3 && verified.is_ok_and(|report| report.is_sound() && report.notes.is_empty()) {
            assert!(all(&world.reader()) == whole, "seed {seed}: damage that is not found");
        }
        never_other_events(&world, &whole, &format!("seed {seed}"));
    }
}

/// All bytes close to others that are not zero, and some of the long runs.
fn telling(at: usize, bytes: &[u8]) -> bool {
    let run = |byte: u8| bytes[at.saturating_sub(40)..bytes.len().min(at + 40)].iter().all(|other| *other == byte);
    at.is_multiple_of(1009) || !(run(0) || run(b'x') || run(b'y'))
}

#[test]
fn a_flipped_bit_in_a_small_sealed_segment_is_found() {
    flips(0, telling);
}

#[test]
fn a_flipped_bit_in_a_large_sealed_segment_is_found() {
    flips(1, |at, bytes| telling(at, bytes) && (at > PAGE || at % 2 == 0));
}

#[test]
fn a_flipped_bit_in_the_active_segment_is_found() {
    flips(2, |at, bytes| telling(at, bytes) && (at > PAGE || at % 2 == 0));
}

#[test]
fn a_flipped_bit_in_lock_is_found() {
    flips(3, |_, _| true);
}

#[test]
fn a_flipped_bit_in_what_was_kept_of_a_torn_tail_is_found() {
    flips(4, |_, _| true);
}
