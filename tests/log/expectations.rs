//! An append is taken only when its streams are where the caller thinks they are.

use std::collections::HashMap;

use annals::testkit::{Random, SeededRandom};
use annals::{Append, AppendError, Event, Expect, Log, Offset, Version};

use crate::world::{World, all};

fn version(n: u64) -> Expect {
    Expect::Version(Version::from_raw(n))
}

fn last(n: u64) -> Expect {
    Expect::Last(Offset::from_raw(n))
}

fn put(log: &Log, stream: &str, bytes: usize) {
    log.append(Event::new(stream, "T").data(vec![b'.'; bytes])).unwrap().wait().unwrap();
}

/// Whether an append that does not write to the stream is taken.
fn holds(log: &Log, stream: &str, expect: Expect) -> bool {
    let before = (log.tail(), log.durable_end());
    match log.append(Append::new().expect(stream, expect).event(Event::new("other", "T"))) {
        Ok(receipt) => {
            receipt.wait().unwrap();
            true
        }
        Err(error) => {
            assert!(matches!(error, AppendError::WrongVersion { .. }), "{error}");
            assert!(error.nothing_written() && !error.is_retryable());
            assert_eq!((log.tail(), log.durable_end()), before, "nothing was written");
            false
        }
    }
}

/// All that can be said of a stream whose last event is this one.
#[track_caller]
fn check(log: &Log, stream: &str, at: Option<(u64, u64)>) {
    assert!(holds(log, stream, Expect::Any));
    assert_eq!(holds(log, stream, Expect::None), at.is_none());
    assert_eq!(holds(log, stream, Expect::Exists), at.is_some());
    let (n, offset) = at.unwrap_or((0, 0));
    assert_eq!(holds(log, stream, version(n)), at.is_some());
    assert_eq!(holds(log, stream, last(offset)), at.is_some());
    assert!(!holds(log, stream, version(n + 1)));
    assert!(!holds(log, stream, last(offset + 1)));
    if n > 0 {
        assert!(!holds(log, stream, version(n - 1)) && !holds(log, stream, last(offset - 1)));
    }
}

#[test]
fn every_expectation_holds_where_it_should_also_after_roll_seal_and_reopening() {
    let world = World::new(1);
    let log = world.open();
    check(&log, "s", None);
    put(&log, "s", 10);
    put(&log, "s", 10);
    let at = Some((1, log.tail().raw() - 1));
    check(&log, "s", at);
    // The log rolls, and the stream is in no memory map of the active segment any more.
    put(&log, "big", 200_000);
    put(&log, "big", 200_000);
    assert_eq!(world.segments().len(), 2);
    check(&log, "s", at);
    check(&log, "unseen", None);
    while log.step().unwrap() {}
    assert!(log.reader().stat().unwrap().segments[0].sealed);
    check(&log, "s", at);
    check(&log, "unseen", None);
    world.kill(log);
    let log = world.open();
    check(&log, "s", at);
    log.close().unwrap();
    let log = world.open();
    check(&log, "s", at);
    put(&log, "s", 10);
    check(&log, "s", Some((2, log.tail().raw() - 1)));
}

#[test]
fn a_refusal_says_what_was_expected_and_what_is_in_the_way() {
    let world = World::new(1);
    let log = world.open();
    put(&log, "order-17", 1);
    put(&log, "order-17", 1);
    let append = Append::new().expect("order-17", version(0)).event(Event::new("order-17", "T"));
    let error = log.append(append).unwrap_err();
    let AppendError::WrongVersion { stream, expected, actual, last: offset } = &error else { panic!("{error}") };
    assert_eq!((stream.as_str(), *expected), ("order-17", version(0)));
    assert_eq!((*actual, *offset), (Some(Version::from_raw(1)), Some(Offset::from_raw(1))));
    let text = error.to_string();
    for part in ["order-17", "version 1", "offset 1", "version 0 was expected", "nothing was written"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    let error = log.append(Append::new().expect("new", Expect::Exists).event(Event::new("new", "T"))).unwrap_err();
    assert!(matches!(error, AppendError::WrongVersion { actual: None, last: None, .. }), "{error}");
    assert!(error.to_string().contains("has no event"), "{error}");
}

#[test]
fn all_expectations_of_an_append_have_to_hold_and_are_about_the_log_before_it() {
    let world = World::new(1);
    let log = world.open();
    put(&log, "a", 1);
    let both =
        |a, b| Append::new().expect("a", a).expect("b", b).event(Event::new("a", "T")).event(Event::new("b", "T"));
    assert!(log.append(both(version(0), Expect::Exists)).is_err());
    assert!(log.append(both(version(1), Expect::None)).is_err());
    assert_eq!(log.tail().raw(), 1);
    let appended = log.append(both(version(0), Expect::None)).unwrap().wait().unwrap();
    assert_eq!(appended.versions().map(Version::raw).collect::<Vec<_>>(), [1, 0]);
    let twice =
        Append::new().expect("a", version(1)).expect("a", last(1)).events([Event::new("a", "T"), Event::new("a", "T")]);
    let appended = log.append(twice).unwrap().wait().unwrap();
    assert_eq!(appended.versions().map(Version::raw).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((appended.first().raw(), appended.next().raw()), (3, 5));
}

#[test]
fn of_two_who_decide_on_the_same_version_one_wins() {
    let world = World::new(1);
    let log = world.open();
    put(&log, "s", 1);
    let decide = || log.append(Append::new().expect("s", version(0)).event(Event::new("s", "T")));
    // Neither has waited for anything to be written.
    let first = decide();
    assert!(decide().is_err());
    first.unwrap().wait().unwrap();
}

#[test]
fn streams_of_the_log_itself_cannot_be_written_by_users() {
    let world = World::new(1);
    let log = world.open();
    for stream in ["$", "$source/x", "$handler/y"] {
        let error = log.append(Event::new(stream, "T")).unwrap_err();
        assert!(error.nothing_written() && error.to_string().contains("log's own"), "{error}");
    }
    assert_eq!(log.tail(), Offset::ZERO);
    assert!(holds(&log, "$source/x", Expect::None), "but they may be expected");
}

#[test]
fn a_source_takes_nothing_twice_across_kills_rolls_and_reopening() {
    let world = World::new(1);
    let mut log = world.open();
    let mut expect = Expect::None;
    for n in 0..12u64 {
        let position = n.to_le_bytes().to_vec();
        let take = |expect| {
            Append::new().event(Event::new("s", "T").data(vec![n as u8; 60_000])).source(
                "import",
                position.clone(),
                expect,
            )
        };
        let appended = log.append(take(expect)).unwrap().wait().unwrap();
        // Whoever did not learn of the answer sends it again.
        assert!(matches!(log.append(take(expect)), Err(AppendError::WrongVersion { .. })));
        match n % 4 {
            0 => {
                world.kill(log);
                log = world.open();
            }
            1 => while log.step().unwrap() {},
            2 => {
                log.close().unwrap();
                log = world.open();
            }
            _ => {}
        }
        let record = log.source("import").unwrap();
        assert_eq!(record.position, position);
        assert_eq!((record.offset.raw(), record.version.raw()), (appended.next().raw() - 1, n));
        assert!(matches!(log.append(take(expect)), Err(AppendError::WrongVersion { .. })));
        expect = Expect::Last(record.offset);
    }
    assert!(world.segments().len() > 2);
    assert_eq!(all(&log.reader()).len(), 24);
    assert_eq!(log.read(..).count(), 12, "positions are not among the users' events");
    assert_eq!(log.source("another"), None);
}

#[test]
fn a_position_alone_can_be_appended() {
    let world = World::new(1);
    let log = world.open();
    log.append(Append::new().source("import", &b"1"[..], Expect::None)).unwrap().wait().unwrap();
    world.kill(log);
    let log = world.open();
    assert_eq!(&log.source("import").unwrap().position[..], b"1");
    assert_eq!(log.read(..).count(), 0);
    let again = Append::new().source("import", &b"2"[..], Expect::Last(Offset::ZERO));
    assert_eq!(log.append(again).unwrap().wait().unwrap().first().raw(), 1);
}

/// Threads that decide on what they know of many streams, while the log rolls, seals and compresses.
#[test]
fn threads_that_race_for_the_same_streams_never_both_win() {
    let dir = tempfile::tempdir().unwrap();
    let log =
        Log::options().segment_bytes_max(crate::world::SEGMENT).codec(annals::Codec::Lz4).open(dir.path()).unwrap();
    const STREAMS: u64 = 40;
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    let random = SeededRandom::new(thread);
                    let mut known = vec![Expect::None; STREAMS as usize];
                    let mut won = vec![0u64; STREAMS as usize];
                    for n in 0..300 {
                        let index = (random.next_u64() % STREAMS) as usize;
                        let stream = format!("s-{index}");
                        let noise: Vec<u8> =
                            (0..random.next_u64() % 800).flat_map(|_| random.next_u64().to_le_bytes()).collect();
                        let append =
                            Append::new().expect(&stream, known[index]).event(Event::new(&stream, "T").data(noise));
                        match log.append(append.durability(annals::Durability::Os)) {
                            Ok(receipt) => {
                                known[index] = Expect::Version(receipt.planned().versions().next().unwrap());
                                won[index] += 1;
                                if n % 10 == 0 {
                                    receipt.wait().unwrap();
                                }
                            }
                            Err(AppendError::WrongVersion { actual, last, .. }) => {
                                known[index] = match thread % 2 {
                                    0 => actual.map_or(Expect::None, Expect::Version),
                                    _ => last.map_or(Expect::None, Expect::Last),
                                };
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                    won
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(vec![0; STREAMS as usize], |all, won| {
            all.iter().zip(won).map(|(all, won)| all + won).collect::<Vec<u64>>()
        })
    });
    log.sync().unwrap();
    let mut counts = vec![0u64; STREAMS as usize];
    for event in log.read(..) {
        let event = event.unwrap();
        let index: usize = event.stream().strip_prefix("s-").unwrap().parse().unwrap();
        assert_eq!(event.version().raw(), counts[index], "versions have no gap and no double");
        counts[index] += 1;
    }
    assert_eq!(counts, won);
    assert!(log.reader().stat().unwrap().segments.len() > 5);
    log.close().unwrap();
    assert!(annals::verify(dir.path(), &mut |_, _| {}).unwrap().is_sound());
}

/// Random expectations against a map of what is there.
#[test]
fn expectations_agree_with_a_map_through_any_history() {
    for seed in 0..12 {
        let random = SeededRandom::new(seed);
        let pick = |n: u64| random.next_u64() % n;
        let world = World::new(seed);
        let mut log = world.open();
        let mut map: HashMap<String, (u64, u64)> = HashMap::new();
        for _ in 0..150 {
            match pick(30) {
                0 => {
                    log.sync().unwrap();
                    world.kill(log);
                    log = world.open();
                }
                1 => {
                    log.close().unwrap();
                    log = world.open();
                }
                2..5 => drop(log.step().unwrap()),
                _ => {}
            }
            let stream = format!("s{}", pick(12));
            let there = map.get(&stream).copied();
            let near = |n: u64| (n + pick(3)).saturating_sub(1);
            let (n, offset) = there.unwrap_or_default();
            let (expect, right) = match pick(5) {
                0 => (Expect::Any, true),
                1 => (Expect::None, there.is_none()),
                2 => (Expect::Exists, there.is_some()),
                3 => {
                    let guess = near(n);
                    (version(guess), there.is_some() && guess == n)
                }
                _ => {
                    let guess = near(offset);
                    (last(guess), there.is_some() && guess == offset)
                }
            };
            let data = vec![1; if pick(8) == 0 { 90_000 } else { 20 }];
            let append = Append::new().expect(&stream, expect).event(Event::new(&stream, "T").data(data));
            match log.append(append) {
                Ok(receipt) => {
                    assert!(right, "{expect:?} of {stream} at {there:?}");
                    let planned = receipt.planned();
                    let at = (planned.versions().next().unwrap().raw(), planned.first().raw());
                    assert_eq!(at.0, there.map_or(0, |(version, _)| version + 1));
                    map.insert(stream, at);
                }
                Err(AppendError::WrongVersion { actual, last, .. }) => {
                    assert!(!right, "{expect:?} of {stream} at {there:?}");
                    assert_eq!(actual.map(Version::raw).zip(last.map(Offset::raw)), there);
                }
                Err(error) => panic!("{error}"),
            }
        }
        log.close().unwrap();
        assert!(world.verify().is_sound());
    }
}
