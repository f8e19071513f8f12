//! Repair: whatever is damaged, the plan says it, applying it leaves a sound log with all that was intact and typed
//! gaps for the rest, and nothing is given twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annals::testkit::{Crash, Disk, Random, SeededRandom, repair_with};
use annals::{AnomalyKind, Append, Durability, Event, Expect, Log, Offset, OpenError, ReadError, RepairPlan, Repaired};

use crate::world::{DIR, Seen, World, all};

const PAGE: usize = 4096;

#[track_caller]
fn plan(world: &World) -> RepairPlan {
    repair_with(Path::new(DIR), &world.env()).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn apply(world: &World) -> Repaired {
    plan(world).apply().unwrap_or_else(|error| panic!("{error}"))
}

fn kinds(plan: &RepairPlan) -> Vec<AnomalyKind> {
    plan.anomalies().iter().map(|anomaly| anomaly.kind).collect()
}

/// A batch in the bytes of a segment.
#[derive(Debug, Clone)]
struct Place {
    file: PathBuf,
    at: usize,
    bytes: Vec<u8>,
    kind: u8,
    first: u64,
    end: u64,
}

/// The batches of whole segments, by their bytes.
fn batches(files: &[(PathBuf, Vec<u8>)]) -> Vec<Place> {
    let mut places = Vec::new();
    for (file, bytes) in files.iter().filter(|(file, _)| file.extension().is_some_and(|e| e == "seg")) {
        let mut at = PAGE;
        while at + 128 <= bytes.len() && bytes[at..at + 4] != [0; 4] {
            let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let kind = bytes[at + 44];
            let end = at + usize::from(bytes[at + 46]) * 8 + u32_at(at + 8) as usize;
            let first = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap());
            let count = u64::from(u32_at(at + 24));
            let bytes = bytes[at..end].to_vec();
            places.push(Place { file: file.clone(), at, bytes, kind, first, end: first + count });
            if kind == 6 {
                break;
            }
            at = end;
        }
    }
    places
}

/// What a reader gives: events, and gaps as (first, end).
fn read(world: &World) -> (Vec<Seen>, Vec<(u64, u64)>) {
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    for event in world.reader().read(..).system(true) {
        match event {
            Ok(event) => events.push(Seen {
                offset: event.offset().raw(),
                stream: event.stream().to_owned(),
                version: event.version().raw(),
                data: event.data().to_vec(),
            }),
            Err(ReadError::Lost { first, end }) => gaps.push((first.raw(), end.raw())),
            Err(error) => panic!("{error}"),
        }
    }
    (events, gaps)
}

/// A log of several small segments with streams, a source, a producer and a consumer.
fn log_of(seed: u64, segments: usize, closed: bool) -> World {
    let world = World::new(seed);
    let log = world.open();
    let random = SeededRandom::new(seed);
    let pick = |n: u64| random.next_u64() % n;
    let mut made = 0u64;
    while world.segments().len() < segments || made.is_multiple_of(7) {
        made += 1;
        let mut append = Append::new();
        for _ in 0..=pick(3) {
            let len = if pick(4) == 0 { 60_000 } else { 20 + pick(300) as usize };
            let mut data = format!("{made}:").into_bytes();
            data.resize(len, b'a' + (made % 26) as u8);
            append = append.event(Event::new(format!("s-{}", pick(6)), "T").data(data));
        }
        match pick(5) {
            0 => append = append.source("import", made.to_le_bytes().to_vec(), Expect::Any),
            1 => append = append.event(Event::new(format!("once-{made}"), "Once")),
            _ => {}
        }
        let durability = if pick(2) == 0 { Durability::Os } else { Durability::Disk };
        log.append(append.durability(durability)).unwrap().wait().unwrap();
        if pick(4) == 0 {
            log.step().unwrap();
        }
    }
    log.sync().unwrap();
    let mut consumer = log.consumer("mailer").unwrap();
    consumer.commit(Offset::from_raw(log.tail().raw() / 2)).unwrap();
    drop(consumer);
    if closed {
        while log.step().unwrap() {}
        log.close().unwrap();
    } else {
        world.kill(log);
    }
    let report = world.verify();
    assert!(report.is_sound(), "{report:?}");
    world
}

/// Checks a damaged log: plan, apply, read, repair again, append.
fn mend(world: &World, whole: &[(PathBuf, Vec<u8>)], events: &[Seen], context: &str) {
    let damaged = world.snapshot();
    let report = world.verify();
    let planned = plan(world);
    assert!(world.snapshot() == damaged, "{context}: a plan changes nothing");
    assert_eq!(report.is_sound(), planned.has_nothing_to_do(), "{context}: {report:?} {:?}", planned.anomalies());
    for damage in &report.damage {
        let told = planned.anomalies().iter().any(|anomaly| {
            anomaly.file == damage.file
                || damage.file.extension().is_some_and(|e| e == "seg")
                    && anomaly.file.extension().is_some_and(|e| e == "seg")
        });
        assert!(told, "{context}: no line for {damage}");
    }
    // Without LOCK nothing says how far the last segment went.
    let lock = |files: &[(PathBuf, Vec<u8>)]| files.iter().find(|(path, _)| path.ends_with("log/LOCK")).cloned();
    let not_known = lock(&damaged) != lock(whole)
        || planned.anomalies().iter().any(|a| a.at_least || a.kind == AnomalyKind::TornTail);
    let torn = planned.anomalies().iter().any(|a| a.kind == AnomalyKind::TornTail);
    let anomalies = planned.anomalies().to_vec();
    let lost = planned.events_lost();
    let repaired = planned.apply().unwrap_or_else(|error| panic!("{context}: {error}"));
    let gaps: u64 = read(world).1.iter().map(|(first, end)| end - first).sum();
    assert_eq!(lost, gaps, "{context}: the plan says all that is lost, and once\n{anomalies:#?}");
    assert!(repaired.verified.is_sound(), "{context}: {:?}\n{anomalies:#?}", repaired.verified.damage);
    check(world, &damaged, whole, events, torn, context, &anomalies);
    let again = plan(world);
    assert!(again.has_nothing_to_do(), "{context}: {:?}", again.anomalies());
    drop(again);
    if let Some(kept) = &repaired.kept {
        for (path, bytes) in &damaged {
            let now = world.mem.read_file(path);
            let name = path.strip_prefix(DIR).unwrap().to_string_lossy().replace('/', "-");
            let kept = world.mem.read_file(&kept.join(name));
            // The record in LOCK is no evidence to be kept.
            assert!(now.as_ref() == Some(bytes) || kept.as_ref() == Some(bytes) || path.ends_with("LOCK"), "{context}");
        }
    }
    goes_on(world, events, not_known, &format!("{context}: {anomalies:#?}"));
    intact_is_read(world, &damaged, whole, torn, None, &format!("{context}, opened: {anomalies:#?}"));
}

fn check(
    world: &World,
    damaged: &[(PathBuf, Vec<u8>)],
    whole: &[(PathBuf, Vec<u8>)],
    events: &[Seen],
    torn: bool,
    context: &str,
    anomalies: &[annals::Anomaly],
) {
    let (seen, gaps) = read(world);
    let mut offsets: Vec<(u64, u64)> = seen.iter().map(|event| (event.offset, event.offset + 1)).collect();
    offsets.extend(&gaps);
    offsets.sort_unstable();
    let mut next = 0;
    for (first, end) in offsets {
        assert_eq!(first, next, "{context}: offsets are dense");
        next = end;
    }
    for event in &seen {
        let given = usize::try_from(event.offset).ok().and_then(|at| events.get(at));
        assert!(given == Some(event), "{context}: nothing is invented, offset {}", event.offset);
    }
    // Where LOCK is torn, nobody but the next writer can say what of the end is durable: it is read then.
    let torn_lock = anomalies.iter().any(|anomaly| anomaly.kind == AnomalyKind::Lock);
    let end = torn_lock.then(|| seen.last().map_or(0, |event| event.offset + 1));
    intact_is_read(world, damaged, whole, torn, end, context);
}

/// Checks that all batches that were not damaged are read, but for those from `end` on.
fn intact_is_read(
    world: &World,
    damaged: &[(PathBuf, Vec<u8>)],
    whole: &[(PathBuf, Vec<u8>)],
    torn: bool,
    end: Option<u64>,
    context: &str,
) {
    let (seen, gaps) = read(world);
    let there: Vec<u64> = seen.iter().map(|event| event.offset).collect();
    for place in batches(whole).into_iter().filter(|place| matches!(place.kind, 1 | 2)) {
        let segments = damaged.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "seg"));
        let intact =
            segments.clone().any(|(_, bytes)| bytes.get(place.at..place.at + place.bytes.len()) == Some(&place.bytes));
        let read = (place.first..place.end).all(|offset| there.binary_search(&offset).is_ok());
        let excused = torn && Some(&place.file) == batches(whole).last().map(|last| &last.file);
        let later = end.is_some_and(|end| place.first >= end);
        assert!(
            !intact || read || excused || later,
            "{context}: events {} to {} were intact, {gaps:?}",
            place.first,
            place.end
        );
    }
}

/// After a repair appends go on, and no offset or version is given twice.
fn goes_on(world: &World, events: &[Seen], not_known: bool, context: &str) {
    let log = world.try_open().unwrap_or_else(|error| panic!("{context}: {error}"));
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    last.extend(events.iter().map(|event| (&*event.stream, event.version)));
    for n in 0..8 {
        let stream = if n < 6 { format!("s-{n}") } else { format!("once-{n}") };
        let appended = log.append(Event::new(stream.clone(), "T").data(&b"behind"[..])).unwrap().wait().unwrap();
        assert!(not_known || appended.first().raw() >= events.len() as u64, "{context}: an offset is given twice");
        if let Some(last) = last.get(&*stream) {
            assert!(
                not_known || appended.versions().next().unwrap().raw() > *last,
                "{context}: a version of {stream} is given twice"
            );
        }
    }
    let before = log.tail();
    log.close().unwrap();
    let report = world.verify();
    assert!(report.is_sound(), "{context}: {report:?}");
    assert_eq!(world.open().tail(), before, "{context}");
}

#[test]
fn a_sound_log_has_nothing_to_repair() {
    for closed in [true, false] {
        let world = log_of(1, 3, closed);
        let before = world.snapshot();
        let planned = plan(&world);
        assert!(planned.has_nothing_to_do());
        let repaired = planned.apply().unwrap();
        assert_eq!(repaired.kept, None);
        assert!(world.snapshot() == before);
    }
}

#[test]
fn a_log_that_is_written_is_not_repaired() {
    let world = World::new(1);
    let log = world.open();
    let refused = repair_with(Path::new(DIR), &world.env()).unwrap_err();
    assert!(matches!(refused, OpenError::Held { pid: Some(_), .. }), "{refused}");
    world.mem.remove(&Path::new(DIR).join("LOCK")).unwrap();
    assert!(matches!(repair_with(Path::new(DIR), &world.env()), Err(OpenError::Held { .. })), "by its segment's file");
    drop(log);
}

#[test]
fn a_damaged_batch_becomes_a_gap_and_all_else_stays() {
    let world = log_of(2, 4, true);
    let whole = world.snapshot();
    let events = all(&world.reader());
    for place in batches(&whole).into_iter().step_by(3) {
        let world = world.copy_of(&whole);
        world.mem.flip_bit(&place.file, place.at + place.bytes.len() / 2, 3);
        let context = format!("{} at {}", place.file.display(), place.at);
        mend(&world, &whole, &events, &context);
    }
}

#[test]
fn a_segment_without_its_header_loses_nothing() {
    for closed in [true, false] {
        let world = log_of(3, 3, closed);
        let whole = world.snapshot();
        let events = all(&world.reader());
        for path in world.segments() {
            for (from, to) in [(0, 128), (0, PAGE), (2048, 2048 + 128)] {
                let world = world.copy_of(&whole);
                let mut bytes = world.bytes(&path);
                bytes[from..to].fill(0x55);
                world.mem.write_file(&path, &bytes);
                assert_eq!(plan(&world).events_lost(), 0);
                mend(&world, &whole, &events, &format!("{} {from}..{to}", path.display()));
                let (seen, gaps) = read(&world);
                assert_eq!((&seen[..events.len()], gaps), (&events[..], vec![]));
            }
        }
    }
}

#[test]
fn missing_segments_become_gaps_of_just_their_offsets() {
    let world = log_of(4, 6, true);
    let whole = world.snapshot();
    let events = all(&world.reader());
    let paths = world.segments();
    for from in 0..paths.len() {
        for count in 1..=paths.len() - from {
            let world = world.copy_of(&whole);
            paths[from..from + count].iter().for_each(|path| world.mem.remove(path).unwrap());
            mend(&world, &whole, &events, &format!("{from} and {count}"));
        }
    }
}

/// How many seeds each log is damaged by: `ANNALS_REPAIR_SEEDS` says another number.
fn seeds() -> u64 {
    std::env::var("ANNALS_REPAIR_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60)
}

/// One random damage of the files of a log.
fn damage(random: &SeededRandom, files: &mut Vec<(PathBuf, Vec<u8>)>, older: &[(PathBuf, Vec<u8>)]) {
    let pick = |n: usize| (random.next_u64() % n.max(1) as u64) as usize;
    if files.is_empty() {
        return;
    }
    let (which, other) = (pick(files.len()), pick(files.len()));
    let taken = files[other].1.clone();
    let (path, bytes) = &mut files[which];
    let len = bytes.len();
    let at = match pick(4) {
        0 => pick(len),
        1 => pick(len.min(4200)),
        2 => PAGE.min(len.saturating_sub(1)) + pick(len.saturating_sub(PAGE)),
        _ => len.saturating_sub(1 + pick(2000)),
    };
    let at = at.min(len.saturating_sub(1));
    match pick(9) {
        0..=3 if len > 0 => bytes[at] ^= 1 << pick(8),
        4 => {
            let to = (at + pick(3000)).min(len);
            bytes[at..to].fill(0);
        }
        5 => bytes.truncate(at),
        6 => drop(files.remove(which)),
        7 => {
            let mine = std::mem::replace(bytes, taken);
            if pick(2) == 0 {
                files[other].1 = mine;
            }
        }
        _ => {
            if let Some((_, old)) = older.iter().find(|(old, _)| old == path) {
                bytes.clone_from(old);
            }
        }
    }
}

#[test]
fn whatever_was_damaged_what_was_intact_is_read_and_the_rest_is_a_gap() {
    for base in 0..4 {
        let world = log_of(10 + base, 4, base % 2 == 0);
        let whole = world.snapshot();
        let events = all(&world.reader());
        // What the last segments were some time ago.
        let older: Vec<_> = whole
            .iter()
            .map(|(path, bytes)| {
                let places = batches(std::slice::from_ref(&(path.clone(), bytes.clone())));
                let mut old = bytes.clone();
                if let Some(place) = places.get(places.len() / 2) {
                    old.truncate(256 * 1024);
                    old.resize(256 * 1024, 0);
                    old[place.at..].fill(0);
                }
                (path.clone(), old)
            })
            .collect();
        for seed in 0..seeds() {
            let random = SeededRandom::new(seed * 31 + base);
            let mut files = whole.clone();
            for _ in 0..=random.next_u64() % 3 {
                damage(&random, &mut files, &older);
            }
            let segments = files.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "seg")).count();
            if segments == 0 {
                continue;
            }
            let world = world.copy_of(&files);
            mend(&world, &whole, &events, &format!("base {base} seed {seed}"));
        }
    }
}

#[test]
fn a_repair_that_is_ended_anywhere_is_gone_on_with_and_loses_nothing() {
    for closed in [true, false] {
        let world = log_of(20, 4, closed);
        let whole = world.snapshot();
        let events = all(&world.reader());
        let mut files = whole.clone();
        let segments: Vec<usize> =
            (0..files.len()).filter(|at| files[*at].0.extension().is_some_and(|e| e == "seg")).collect();
        // The first and the third have each other's names, the second lost its header and a batch.
        let (first, third) = (files[segments[0]].1.clone(), files[segments[2]].1.clone());
        (files[segments[0]].1, files[segments[2]].1) = (third, first);
        let second = &mut files[segments[1]].1;
        second[..PAGE].fill(1);
        let middle = second.len() / 2;
        second[middle] ^= 1;
        let mut calls = 0;
        loop {
            let mut world = world.copy_of(&files).that_only_stops();
            let planned = plan(&world);
            world.stop_after(calls, calls % 2 == 0);
            let outcome = planned.apply();
            let stopped = outcome.is_err();
            drop(outcome);
            if calls % 3 == 0 {
                world.mem.crash(Crash::KeepAll);
            } else {
                world.power_cut(None, Crash::Seeded(calls));
            }
            world.disk.heal();
            let context = format!("after {calls} calls");
            let interrupted = world.snapshot().iter().any(|(path, _)| path.ends_with("REPAIR"));
            if interrupted {
                assert!(matches!(world.try_open(), Err(OpenError::Damaged(_))), "{context}");
                assert_eq!(kinds(&plan(&world)), [AnomalyKind::Interrupted], "{context}");
            }
            let repaired = apply(&world);
            assert!(repaired.verified.is_sound(), "{context}: {:?}", repaired.verified);
            check(&world, &files, &whole, &events, false, &context, &[]);
            assert!(plan(&world).has_nothing_to_do(), "{context}");
            goes_on(&world, &events, false, &context);
            if !stopped {
                break;
            }
            calls += 1 + calls / 40;
        }
        assert!(calls > 50);
    }
}

/// So that a reader in trouble is told once and goes on.
#[test]
fn every_way_of_reading_tells_of_a_gap_once_and_goes_on() {
    let world = World::new(5);
    let log = world.open();
    let append = |log: &Log, n: u64| {
        let event = Event::new("s", "T").data(n.to_le_bytes().to_vec());
        log.append(event).unwrap().wait().unwrap();
    };
    (0..5).for_each(|n| append(&log, n));
    log.close().unwrap();
    let places = batches(&world.snapshot());
    world.mem.flip_bit(&places[3].file, places[3].at + 130, 1);
    let repaired = apply(&world);
    assert_eq!((repaired.anomalies[0].first.raw(), repaired.anomalies[0].end.raw()), (2, 3));
    let log = world.open();
    append(&log, 5);
    for reader in [log.reader(), world.reader()] {
        let told = |events: Vec<Result<Event, ReadError>>| -> Vec<String> {
            let told = |event: Result<Event, ReadError>| match event {
                Ok(event) => format!("{}@{}", event.version(), event.offset()),
                Err(ReadError::Lost { first, end }) => format!("lost {first}..{end}"),
                Err(error) => panic!("{error}"),
            };
            events.into_iter().map(told).collect()
        };
        let forward = ["0@0", "1@1", "lost 2..3", "3@3", "4@4", "5@5"];
        let mut backward = forward;
        backward.reverse();
        assert_eq!(told(reader.read(..).collect()), forward);
        assert_eq!(told(reader.read(..).backward().collect()), backward);
        assert_eq!(told(reader.read(..).streams("s").collect()), forward);
        assert_eq!(told(reader.stream("s").collect()), forward);
        assert_eq!(told(reader.stream("s").backward().collect()), backward);
        assert_eq!(told(reader.follow(Offset::ZERO).take(6).collect()), forward);
        assert!(matches!(reader.get(Offset::from_raw(2)), Err(ReadError::Lost { .. })));
        assert_eq!(reader.version("s").unwrap().map(annals::Version::raw), Some(5));
        reader.stat().unwrap();
    }
}

#[test]
fn a_torn_tail_alone_is_no_work_for_a_repair() {
    let mut world = log_of(6, 2, false);
    let last = batches(&world.snapshot()).pop().unwrap();
    let mut bytes = world.bytes(&last.file);
    bytes[last.at + last.bytes.len()..][..200].fill(9);
    world.mem.write_file(&last.file, &bytes);
    world.boot += 1;
    let planned = plan(&world);
    assert!(planned.has_nothing_to_do() && planned.events_lost() == 0);
    assert_eq!(kinds(&planned), [AnomalyKind::TornTail]);
    assert_eq!(planned.apply().unwrap().kept, None);
    assert!(world.open().report().torn.is_some());
}

#[test]
fn a_segment_of_another_log_makes_room_for_a_gap() {
    let world = log_of(7, 4, true);
    let (whole, events) = (world.snapshot(), all(&world.reader()));
    let foreign = log_of(8, 2, true);
    let foreign = foreign.bytes(&foreign.segments()[0]);
    for path in world.segments() {
        let world = world.copy_of(&whole);
        world.mem.write_file(&path, &foreign);
        assert_eq!(kinds(&plan(&world))[0], AnomalyKind::StaleSegment);
        mend(&world, &whole, &events, &path.display().to_string());
    }
}

#[test]
fn a_bit_flipped_anywhere_in_a_repaired_log_is_found_and_repaired_again() {
    let world = log_of(9, 3, true);
    let place = batches(&world.snapshot()).into_iter().find(|place| place.kind == 1).unwrap();
    world.mem.flip_bit(&place.file, place.at + 140, 2);
    assert!(apply(&world).verified.is_sound());
    let whole = world.snapshot();
    let (events, lost) = read(&world);
    assert_eq!(lost, [(place.first, place.end)]);
    let random = SeededRandom::new(9);
    for (path, bytes) in &whole {
        for n in 0..25 {
            // Near something: zeros and long data are flipped elsewhere.
            let near = |at: usize| bytes[at.saturating_sub(70)..bytes.len().min(at + 70)].iter().any(|byte| *byte != 0);
            let at = (0..)
                .map(|_| (random.next_u64() % bytes.len().max(1) as u64) as usize)
                .find(|at| near(*at) || bytes.is_empty());
            let Some(at) = at.filter(|_| !bytes.is_empty()) else { break };
            let world = world.copy_of(&whole);
            world.mem.flip_bit(path, at, (n % 8) as u8);
            let context = format!("byte {at} of {}", path.display());
            let report = world.verify();
            assert!(!report.is_sound() || report.notes.len() > 1, "{context} is not found: {report:?}");
            let repaired = apply(&world);
            assert!(repaired.verified.is_sound(), "{context}: {:?}", repaired.verified);
            assert!(plan(&world).has_nothing_to_do(), "{context}");
            let (seen, gaps) = read(&world);
            assert!(seen.iter().all(|event| events.contains(event)), "{context}");
            assert!(gaps.iter().any(|(first, end)| (*first..*end).contains(&place.first)), "{context}");
        }
    }
}

#[test]
fn sources_and_producers_go_on_behind_what_was_lost() {
    let world = World::new(12);
    let log = world.open();
    let send = |log: &Log, sequence: u64| {
        let event = Event::new("sent", "T").data(sequence.to_le_bytes().to_vec());
        log.append(Append::new().event(event).producer("p", 1, sequence)).unwrap().wait().unwrap()
    };
    for n in 0..12u64 {
        let large = Event::new("large", "T").data(vec![7; 70_000]);
        log.append(Append::new().event(large).source("import", n.to_le_bytes().to_vec(), Expect::Any))
            .unwrap()
            .wait()
            .unwrap();
        send(&log, n);
    }
    let source = log.source("import");
    log.close().unwrap();
    let whole = world.snapshot();
    let paths = world.segments();
    assert!(paths.len() > 3);
    for path in &paths[1..paths.len() - 1] {
        for missing in [true, false] {
            let world = world.copy_of(&whole);
            if missing {
                world.mem.remove(path).unwrap();
            } else {
                // The carry batch, and what follows it.
                let mut bytes = world.bytes(path);
                bytes[PAGE + 10..PAGE + 2000].fill(1);
                world.mem.write_file(path, &bytes);
            }
            assert!(apply(&world).verified.is_sound());
            let log = world.open();
            assert_eq!(log.source("import"), source);
            assert!(send(&log, 11).is_resend(), "it is known by what the last segment carries over");
            assert!(!send(&log, 12).is_resend());
        }
    }
}

#[test]
fn a_cursor_is_mended_from_its_good_slot_or_given_up() {
    let world = log_of(13, 2, true);
    let (log, next) = (world.open(), Offset::from_raw(3));
    let mut consumer = log.consumer("mailer").unwrap();
    consumer.seek(next).unwrap();
    drop(consumer);
    log.close().unwrap();
    let whole = world.snapshot();
    let path = Path::new(DIR).join("cursors").join(world.cursor_file());
    for (slots, cursor) in [(&[0][..], None), (&[1], None), (&[0, 1], Some(Offset::ZERO))] {
        let world = world.copy_of(&whole);
        slots.iter().for_each(|slot| world.mem.flip_bit(&path, slot * 4096 + 34, 0));
        let planned = plan(&world);
        assert!(planned.anomalies().iter().all(|anomaly| anomaly.kind == AnomalyKind::Cursor), "{:?}", kinds(&planned));
        let repaired = planned.apply().unwrap();
        assert!(repaired.verified.is_sound() && repaired.kept.is_some());
        let now = world.open().consumer("mailer").unwrap().cursor();
        assert!(cursor.map_or(now.raw() > 0, |cursor| now == cursor), "{now}");
    }
}

#[test]
fn indexes_are_made_again() {
    let world = log_of(14, 10, true);
    let whole = world.snapshot();
    let index = whole.iter().map(|(path, _)| path).find(|path| path.starts_with("/log/index")).unwrap().clone();
    let footer = batches(&whole).into_iter().find(|place| place.kind == 6).unwrap();
    for (path, at) in [(&index, 100), (&footer.file, footer.at + 200)] {
        let world = world.copy_of(&whole);
        world.mem.flip_bit(path, at, 1);
        let planned = plan(&world);
        assert!(planned.anomalies().iter().all(|anomaly| anomaly.kind == AnomalyKind::Index), "{:?}", kinds(&planned));
        assert!(planned.apply().unwrap().verified.is_sound());
        for (path, bytes) in whole.iter().filter(|(path, _)| !path.ends_with("LOCK")) {
            assert!(world.bytes(path) == *bytes, "{} is as it was", path.display());
        }
    }
}

#[test]
fn a_log_without_its_lock_file_is_not_written_while_a_plan_stands() {
    let world = log_of(15, 2, true);
    world.mem.remove(&Path::new(DIR).join("LOCK")).unwrap();
    let place = batches(&world.snapshot()).into_iter().find(|place| place.kind == 1).unwrap();
    world.mem.flip_bit(&place.file, place.at + 140, 2);
    let planned = plan(&world);
    let refused = world.try_open();
    assert!(matches!(refused, Err(OpenError::Held { .. })), "the plan would undo what is written now");
    assert!(planned.apply().unwrap().verified.is_sound());
}

#[test]
fn a_cursor_says_how_far_the_log_went_also_behind_a_segment_of_another_log() {
    let world = log_of(16, 4, true);
    let (whole, events, tail) = (world.snapshot(), all(&world.reader()), world.reader().tail().unwrap());
    let foreign = log_of(17, 2, true);
    let foreign = foreign.bytes(&foreign.segments()[0]);
    let log = world.open();
    log.consumer("mailer").unwrap().commit(tail).unwrap();
    log.close().unwrap();
    let paths = world.segments();
    world.mem.write_file(&paths[0], &foreign);
    world.mem.remove(&Path::new(DIR).join("LOCK")).unwrap();
    world.mem.remove(paths.last().unwrap()).unwrap();
    mend(&world, &whole, &events, "foreign first");
    assert!(world.open().tail() >= tail);
}

#[test]
fn what_a_stream_lost_is_counted_gap_by_gap() {
    let world = World::new(18);
    let log = world.open();
    for stream in ["s", "t", "s", "t", "t", "s", "s"] {
        log.append(Event::new(stream, "T").data(vec![7; 300])).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    let events: Vec<Place> = batches(&world.snapshot()).into_iter().filter(|place| place.kind == 1).collect();
    // Offsets 2 and 5: both of s.
    for at in [2, 5] {
        world.mem.flip_bit(&events[at].file, events[at].at + 200, 1);
    }
    let planned = plan(&world);
    for anomaly in planned.anomalies() {
        let lost: u64 = anomaly.streams.iter().filter_map(|stream| stream.lost).sum();
        assert!(lost <= anomaly.events_lost(), "{anomaly:#?}");
    }
    assert_eq!(planned.events_lost(), 2);
}

#[test]
fn a_name_alone_invents_no_impossible_offsets() {
    for (name, is_refused) in
        [("18446744073709551615", false), ("00000000000000900000", false), ("00000000009000000000", true)]
    {
        let world = log_of(19, 2, true);
        let (whole, events) = (world.snapshot(), all(&world.reader()));
        let path = Path::new(DIR).join(format!("{name}.seg"));
        world.mem.write_file(&path, &[]);
        if is_refused {
            let refused = repair_with(Path::new(DIR), &world.env());
            assert!(matches!(refused, Err(OpenError::Damaged(_))), "{refused:?}");
            world.mem.remove(&path).unwrap();
            assert!(plan(&world).has_nothing_to_do());
            continue;
        }
        mend(&world, &whole, &events, name);
    }
}

#[test]
fn a_segment_cut_behind_a_batch_is_told_of_beside_other_damage() {
    for closed in [true, false] {
        let world = log_of(21, 4, closed);
        let (whole, events) = (world.snapshot(), all(&world.reader()));
        for path in world.segments() {
            let world = world.copy_of(&whole);
            let places: Vec<Place> =
                batches(&whole).into_iter().filter(|place| place.file == path && place.kind == 1).collect();
            if places.len() < 4 {
                continue;
            }
            let mut bytes = world.bytes(&path);
            bytes[places[1].at + 140] ^= 1;
            bytes.truncate(places[places.len() - 2].at);
            world.mem.write_file(&path, &bytes);
            mend(&world, &whole, &events, &format!("{} {closed}", path.display()));
        }
    }
}

#[test]
fn a_reader_from_before_a_repair_goes_on_or_says_that_it_cannot() {
    let world = World::new(22);
    let log = world.open();
    let append = |log: &Log, n: u64| {
        log.append(Event::new("s", "T").data(n.to_le_bytes().to_vec())).unwrap().wait().unwrap();
    };
    (0..6).for_each(|n| append(&log, n));
    log.close().unwrap();
    let reader = world.reader();
    let mut follow = reader.follow(Offset::ZERO);
    (0..6).for_each(|n| assert_eq!(follow.next().unwrap().unwrap().offset().raw(), n));
    let mut late = reader.follow(Offset::ZERO);
    assert_eq!(late.next().unwrap().unwrap().offset().raw(), 0);
    let places = batches(&world.snapshot());
    world.mem.flip_bit(&places[3].file, places[3].at + 130, 1);
    assert!(apply(&world).verified.is_sound());
    let log = world.open();
    (6..9).for_each(|n| append(&log, n));
    for (mut follow, from) in [(follow, 6), (late, 1)] {
        let mut next = from;
        while next < 9 {
            match follow.next().unwrap() {
                Ok(event) => {
                    assert_eq!(event.offset().raw(), next);
                    next += 1;
                }
                Err(ReadError::Lost { first, end }) => {
                    assert_eq!(first.raw(), next);
                    next = end.raw();
                }
                Err(error) => {
                    println!("{error}");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_torn_tail_that_a_repair_cuts_begins_a_new_tail_epoch() {
    let mut world = log_of(23, 3, false);
    let (whole, events, before) = (world.snapshot(), all(&world.reader()), world.reader().stat().unwrap().tail_epoch);
    let places = batches(&whole);
    let last = places.last().unwrap();
    // The last batch of the segment before: the last one has to follow a gap.
    let end = places.iter().rposition(|place| place.kind == 1 && place.file != last.file).unwrap();
    world.mem.flip_bit(&places[end].file, places[end].at + 140, 1);
    let mut bytes = world.bytes(&last.file);
    bytes[last.at + last.bytes.len()..][..200].fill(9);
    world.mem.write_file(&last.file, &bytes);
    world.boot += 1;
    let copy = world.copy_of(&world.snapshot());
    assert!(apply(&copy).verified.is_sound());
    let log = copy.open();
    assert!(log.report().torn.is_none(), "the repair cut it");
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    let now = log.reader().stat().unwrap().tail_epoch;
    assert!(now > before, "{before:?} {now:?}");
    drop(log);
    mend(&world, &whole, &events, "torn behind a gap");
}
