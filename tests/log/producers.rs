//! A producer that sends an append again stores nothing, and gets the places of the original.

use annals::limits::{CARRIED_APPENDS_MAX, CARRIED_PRODUCERS_MAX};
use annals::testkit::{Crash, Random, SeededRandom};
use annals::{Append, AppendError, Appended, Durability, Event, Expect, Log, Version};

use crate::world::{World, all};

fn from(id: &str, epoch: u32, sequence: u64) -> Append<'_> {
    let data = format!("{id}/{epoch}/{sequence}");
    Append::new().event(Event::new(format!("s-{id}"), "T").data(data.into_bytes())).producer(id, epoch, sequence)
}

#[track_caller]
fn send(log: &Log, append: Append<'_>) -> Appended {
    log.append(append).unwrap().wait().unwrap()
}

#[track_caller]
fn refusal(log: &Log, append: Append<'_>) -> AppendError {
    let before = log.tail();
    let error = log.append(append).unwrap_err();
    assert!(error.nothing_written() && !error.is_retryable(), "{error}");
    assert_eq!(log.tail(), before, "nothing was written");
    error
}

fn places(appended: &Appended) -> (u64, u64, Vec<u64>, i64) {
    let versions = appended.versions().map(Version::raw).collect();
    (appended.first().raw(), appended.next().raw(), versions, appended.recorded().as_micros())
}

/// Everything that leaves a log differently behind.
fn endings() -> [fn(&mut World, Log) -> Log; 5] {
    [
        |_, log| log,
        |world, log| {
            log.close().unwrap();
            world.open()
        },
        |world, log| {
            world.kill(log);
            world.open()
        },
        |world, log| {
            world.power_cut(Some(log), Crash::LoseUnsynced);
            world.open()
        },
        |world, log| {
            // Two rolls: nothing of the producers is left but what is carried.
            for _ in 0..3 {
                log.append(Event::new("big", "T").data(vec![0; 200_000])).unwrap().wait().unwrap();
            }
            while log.step().unwrap() {}
            world.kill(log);
            world.open()
        },
    ]
}

#[test]
fn a_resend_stores_nothing_and_gives_the_places_of_the_original() {
    for ending in endings() {
        let mut world = World::new(1);
        let log = world.open();
        send(&log, Event::new("s-a", "T").into());
        let three = || from("a", 0, 1).event(Event::new("s-a", "T")).event(Event::new("s-b", "T"));
        let first = send(&log, from("a", 0, 0));
        let second = send(&log, three());
        assert!(!first.is_resend() && !second.is_resend());
        assert_eq!(second.versions().map(Version::raw).collect::<Vec<_>>(), [2, 3, 0]);
        let log = ending(&mut world, log);
        let before = log.tail();
        for (append, original) in [(from("a", 0, 0), &first), (three(), &second), (three(), &second)] {
            let again = send(&log, append);
            assert!(again.is_resend());
            assert_eq!(places(&again), places(original));
        }
        assert_eq!(log.tail(), before);
        assert!(!send(&log, from("a", 0, 2)).is_resend());
        assert!(world.verify().is_sound());
    }
}

#[test]
fn what_is_not_the_next_append_of_a_producer_is_refused() {
    for ending in endings() {
        let mut world = World::new(1);
        let log = world.open();
        for sequence in 0..20 {
            send(&log, from("a", 3, sequence));
        }
        let log = ending(&mut world, log);
        let oldest = 20 - CARRIED_APPENDS_MAX as u64;
        match refusal(&log, from("a", 3, 19).event(Event::new("more", "T"))) {
            AppendError::ProducerConflict { producer, sequence: 19, first, next } => {
                assert_eq!((producer.as_str(), first.raw(), next.raw()), ("a", 19, 20));
            }
            other => panic!("{other}"),
        }
        let error = refusal(&log, from("a", 3, 21));
        assert!(matches!(error, AppendError::ProducerGap { sequence: 21, expected: 20, .. }), "{error}");
        let error = refusal(&log, from("a", 4, 1));
        assert!(matches!(error, AppendError::ProducerGap { expected: 0, .. }), "{error}");
        let error = refusal(&log, from("a", 2, 20));
        assert!(matches!(error, AppendError::ProducerFenced { epoch: 3, .. }), "{error}");
        let error = refusal(&log, from("a", 3, oldest - 1));
        assert!(matches!(&error, AppendError::ProducerForgotten { oldest: o, .. } if *o == oldest), "{error}");
        assert!(send(&log, from("a", 3, oldest)).is_resend());
        let error = refusal(&log, from("b", 0, 1));
        assert!(matches!(error, AppendError::UnknownProducer { .. }), "{error}");
        // A new epoch begins anew, and fences the old one.
        assert!(!send(&log, from("a", 4, 0)).is_resend());
        assert!(matches!(refusal(&log, from("a", 3, 19)), AppendError::ProducerFenced { epoch: 4, .. }));
        assert!(matches!(refusal(&log, from("a", 4, 19)), AppendError::ProducerGap { expected: 1, .. }));
    }
}

#[test]
fn a_resend_is_answered_whatever_became_of_what_its_append_expected() {
    let world = World::new(1);
    let log = world.open();
    let append = || from("a", 0, 0).expect("s-a", Expect::None).source("file", &b"7"[..], Expect::None);
    let first = send(&log, append());
    let again = send(&log, append());
    assert_eq!(places(&again), places(&first));
    assert_eq!(again.versions().count(), 2);
    assert!(matches!(refusal(&log, from("a", 0, 0)), AppendError::ProducerConflict { .. }), "another position");
}

#[test]
fn an_append_that_was_refused_for_another_reason_does_not_count() {
    let world = World::new(1);
    let log = world.open();
    let error = refusal(&log, from("a", 0, 0).expect("s-a", Expect::Exists));
    assert!(matches!(error, AppendError::WrongVersion { .. }), "{error}");
    assert!(!send(&log, from("a", 0, 0)).is_resend());
    for bad in ["", "a\nb", &"x".repeat(1025)] {
        assert!(matches!(refusal(&log, from("a", 0, 1).producer(bad, 0, 0)), AppendError::Invalid(_)));
    }
}

#[test]
fn the_receipt_of_a_resend_is_fulfilled_only_when_the_original_is_durable() {
    let mut world = World::new(1);
    let log = world.open();
    let written = send(&log, from("a", 0, 0).durability(Durability::Os));
    assert_eq!(log.durable_end().raw(), 0);
    // At the level of the first time nothing has to be synced.
    assert_eq!(places(&send(&log, from("a", 0, 0).durability(Durability::Os))), places(&written));
    assert_eq!(log.durable_end().raw(), 0);
    let receipt = log.append(from("a", 0, 0)).unwrap();
    assert_eq!(places(receipt.planned()), places(&written));
    assert_eq!(log.durable_end().raw(), 0, "the receipt waits, not the append");
    receipt.wait().unwrap();
    assert_eq!(log.durable_end().raw(), 1);
    world.power_cut(Some(log), Crash::LoseUnsynced);
    assert_eq!(all(&world.reader()).len(), 1);
}

#[test]
fn a_refusal_waits_until_what_it_rests_on_is_durable() {
    let refused: [fn() -> Append<'static>; 4] =
        [|| from("a", 1, 0).event(Event::new("more", "T")), || from("a", 1, 3), || from("a", 0, 0), || from("a", 2, 3)];
    for append in refused {
        let world = World::new(1);
        let log = world.open();
        drop(log.append(from("a", 1, 0)).unwrap());
        let os = refusal(&log, append().durability(Durability::Os));
        assert_eq!((log.durable_end().raw(), all(&log.reader()).len()), (0, 0), "{os}");
        let error = refusal(&log, append());
        assert_eq!(log.durable_end().raw(), 1, "{error}");
    }
}

#[test]
fn a_failed_disk_gives_no_answer_that_rests_on_what_was_lost() {
    for append in [from("a", 0, 0), from("a", 0, 5)] {
        let world = World::new(1);
        let log = world.open();
        drop(log.append(from("a", 0, 0)).unwrap());
        world.stop_after(0, false);
        match log.append(append) {
            Err(error) => assert!(matches!(error, AppendError::Poisoned(_)), "{error}"),
            Ok(receipt) => assert!(matches!(receipt.wait(), Err(AppendError::OutcomeUnknown(_)))),
        }
    }
}

#[test]
fn the_producer_that_appended_longest_ago_goes_for_a_new_one_and_the_log_says_so() {
    for ending in endings().into_iter().skip(3) {
        let mut world = World::new(1);
        let log = world.open();
        let ids: Vec<String> = (0..CARRIED_PRODUCERS_MAX).map(|n| format!("p{n}")).collect();
        for id in &ids {
            drop(log.append(from(id, 1, 0).durability(Durability::Os)).unwrap());
        }
        send(&log, from(&ids[0], 1, 1));
        assert!(all(&log.reader()).iter().all(|event| !event.stream.starts_with('$')));
        let newest = send(&log, from("new", 0, 0));
        let evicted: Vec<_> = all(&log.reader()).into_iter().filter(|event| event.stream.starts_with('$')).collect();
        assert_eq!(evicted.len(), 1);
        assert_eq!((evicted[0].stream.as_str(), evicted[0].data.as_slice()), ("$producer/evicted", &b"p1"[..]));
        assert_eq!(newest.first().raw(), evicted[0].offset + 1);
        let log = ending(&mut world, log);
        let error = refusal(&log, from("p1", 1, 1));
        assert!(matches!(error, AppendError::UnknownProducer { .. }), "{error}");
        for id in [&ids[0], &ids[2], &ids[CARRIED_PRODUCERS_MAX - 1]] {
            assert!(send(&log, from(id, 1, 0)).is_resend(), "{id}");
        }
        assert_eq!(places(&send(&log, from("new", 0, 0))), places(&newest));
        // It comes back as a new one, and the next in line goes.
        assert!(!send(&log, from("p1", 2, 0)).is_resend());
        assert!(matches!(refusal(&log, from("p2", 1, 1)), AppendError::UnknownProducer { .. }));
        assert!(world.verify().is_sound());
        log.close().unwrap();
    }
}

#[test]
fn long_names_of_producers_do_not_make_what_is_carried_too_large() {
    let world = World::new(1);
    let log = world.open();
    let long = |n: usize| format!("{n:0>1024}");
    for n in 0..2500 {
        let id = long(n);
        let append = Append::new().event(Event::new("s", "T")).producer(id.as_str(), 0, 0);
        drop(log.append(append.durability(Durability::Os)).unwrap());
    }
    for _ in 0..30 {
        log.append(Event::new("big", "T").data(vec![0; 500_000])).unwrap().wait().unwrap();
    }
    world.kill(log);
    let log = world.open();
    let again = |n: usize| log.append(Append::new().event(Event::new("s", "T")).producer(long(n), 0, 1));
    assert!(matches!(again(0), Err(AppendError::UnknownProducer { .. })));
    assert!(again(2499).is_ok());
}

/// Lines that a producer sends in order, each until it has an answer, and some of them again.
struct Sender {
    id: &'static str,
    /// The first line without an answer.
    next: u64,
    places: Vec<u64>,
}

impl Sender {
    fn line(&self, n: u64) -> Vec<u8> {
        let size = if n.is_multiple_of(7) { 60_000 } else { 10 };
        format!("{}:{n};{}", self.id, ".".repeat(size)).into_bytes()
    }

    fn step(&mut self, log: &Log, pick: &dyn Fn(u64) -> u64) {
        let sequence = self.next - pick(4).min(self.next);
        let durability = if pick(2) == 0 { Durability::Os } else { Durability::Disk };
        let event = Event::new(self.id, "Line").data(self.line(sequence));
        let append = Append::new().event(event).durability(durability).producer(self.id, 0, sequence);
        let receipt = log.append(append).unwrap();
        if pick(3) == 0 {
            return; // the answer is lost, and perhaps what was sent
        }
        let appended = receipt.wait().unwrap();
        if durability == Durability::Disk && sequence == self.next {
            self.next += 1;
            self.places.push(appended.first().raw());
        } else if sequence < self.next {
            assert_eq!(appended.first().raw(), self.places[sequence as usize]);
        }
    }
}

#[test]
fn two_producers_that_send_again_at_random_store_each_line_once() {
    for seed in 0..12 {
        let random = SeededRandom::new(seed);
        let pick = |n: u64| random.next_u64() % n;
        let mut world = World::new(seed);
        let mut log = world.open();
        let mut senders = ["left", "right"].map(|id| Sender { id, next: 0, places: Vec::new() });
        while senders.iter().any(|sender| sender.next < 40) {
            let Some(sender) = senders.iter_mut().filter(|sender| sender.next < 40).nth(pick(2) as usize) else {
                continue;
            };
            sender.step(&log, &pick);
            match pick(12) {
                0 => {
                    world.power_cut(Some(log), Crash::Seeded(random.next_u64()));
                    log = world.open();
                }
                1 => {
                    world.kill(log);
                    log = world.open();
                }
                2 => while log.step().unwrap() {},
                _ => {}
            }
        }
        let stored = all(&log.reader());
        assert_eq!(stored.len(), 80, "seed {seed}");
        for sender in &senders {
            let lines: Vec<_> = stored.iter().filter(|event| event.stream == sender.id).collect();
            let expected: Vec<_> = (0..40).map(|n| sender.line(n)).collect();
            assert!(lines.iter().map(|event| &event.data).eq(&expected), "seed {seed}");
            assert!(lines.iter().map(|event| event.offset).eq(sender.places.iter().copied()), "seed {seed}");
        }
        assert!(world.segments().len() > 1 && world.verify().is_sound());
    }
}
