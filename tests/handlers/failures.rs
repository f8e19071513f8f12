//! Events that cannot be handled: each is tried again, set aside in order, or passed over for a reason that is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::testkit::{ManualClock, SeededRandom};
use annals::{
    Caps, Context, Control, Event, Failure, Filter, Found, Handler, Journal, JournalRead, Log, LogId, Offset,
    OwnRecord, Pending, ReadError, Retry, Runner, Step,
};
use proptest::prelude::*;

use crate::common::{World, due, put_out};

type Handled = Result<(), Failure>;

/// Fails with what the switch says for a stream, and puts out the others.
fn switched(bad: &'static str) -> (Arc<AtomicBool>, impl Fn(&Event, &mut Context<'_>) -> Handled) {
    let fails = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&fails);
    let handle = move |event: &Event, cx: &mut Context<'_>| {
        put_out(event, cx);
        match event.stream() == bad && switch.load(Ordering::Relaxed) {
            true => Err(Failure::Retry { after: None, cause: "not today".into() }),
            false => Ok(()),
        }
    };
    (fails, handle)
}

#[test]
fn a_failing_event_sets_its_stream_aside_in_order_and_others_flow() {
    let world = World::of(&["s1", "s2", "s1", "s2", "s1"]);
    let (fails, handle) = switched("s1");
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), handle).unwrap();
    let step = runner.run_to_end().unwrap();
    assert_eq!(world.out(), ["s2@1", "s2@3"]);
    assert_eq!(runner.parked(), 1);
    // Before its time nothing happens.
    assert_eq!(runner.run_to_end().unwrap(), step);
    fails.store(false, Ordering::Relaxed);
    world.clock.advance_ms(100);
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(world.out(), ["s2@1", "s2@3", "s1@0", "s1@2", "s1@4"]);
    assert_eq!((runner.parked(), world.own_rows(b'p'), world.own_rows(b'q')), (0, 0, 0));
    assert_eq!(world.decided(Offset::ZERO), ["set_aside", "taken_up"]);
}

#[test]
fn what_a_failing_run_changed_is_not_kept() {
    let world = World::of(&["s1", "s2"]);
    let handle = |event: &Event, cx: &mut Context<'_>| {
        let seen = cx.get_bytes("n")?.map_or(0, |n| n[0]);
        cx.put_bytes("n", [seen + 1])?;
        cx.effect_bytes("mail", &b"x"[..])?;
        put_out(event, cx);
        if event.stream() == "s1" { Err(Failure::park("no")) } else { Ok(()) }
    };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), handle).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!(world.out(), ["s2@1"]);
    assert_eq!(world.own_rows(b'e'), 1);
}

#[test]
fn attempts_wait_longer_each_time_up_to_the_most_and_then_it_is_parked() {
    let world = World::of(&["s1"]);
    let ms = Duration::from_millis;
    let retry = Retry { attempts: 6, first: ms(100), most: ms(500) };
    let (_, handle) = switched("s1");
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec().retry(retry), handle).unwrap();
    let mut now_us = 1_000_000;
    for most_ms in [100, 200, 400, 500, 500] {
        let due_us = due(&runner.run_to_end().unwrap());
        assert!(due_us > now_us && due_us <= now_us + most_ms * 1000, "{due_us} after {now_us}");
        world.clock.advance_ms(most_ms as u64);
        now_us += most_ms * 1000;
    }
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(
        world.decided(Offset::ZERO),
        ["set_aside", "failed_again", "failed_again", "failed_again", "failed_again", "failed_again"]
    );
    world.clock.advance_ms(1_000_000);
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(runner.parked(), 1);
}

#[test]
fn waiting_times_are_spread_at_random() {
    let random = SeededRandom::new(1);
    let world = World::of(&(0..40).map(|n| ["s1", "s2", "s3", "s4", "s5"][n % 5]).collect::<Vec<_>>());
    let spec = world.spec().random(Arc::new(random));
    let handle = |_: &Event, _: &mut Context<'_>| Err(Failure::Retry { after: None, cause: "no".into() });
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), spec, handle).unwrap();
    let mut times = BTreeSet::new();
    for _ in 0..5 {
        times.insert(due(&runner.run_to_end().unwrap()));
        world.clock.advance_ms(21);
    }
    assert!(times.len() >= 3, "{times:?}");
}

#[test]
fn an_event_that_fails_inside_a_queue_keeps_the_rest_behind_it() {
    let world = World::of(&["s1", "s1", "s1"]);
    let failing = Arc::new(Mutex::new(BTreeSet::from([0, 1])));
    let set = Arc::clone(&failing);
    let handle = move |event: &Event, cx: &mut Context<'_>| {
        put_out(event, cx);
        match set.lock().unwrap().contains(&event.offset().raw()) {
            true => Err(Failure::park("no")),
            false => Ok(()),
        }
    };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), handle).unwrap();
    let control = Control::new(world.log.clone(), "h").unwrap();
    runner.run_to_end().unwrap();
    failing.lock().unwrap().remove(&0);
    control.park_retry("s1").unwrap();
    runner.run_to_end().unwrap();
    assert_eq!((world.out(), runner.parked()), (vec!["s1@0".to_owned()], 1));
    failing.lock().unwrap().clear();
    control.park_retry("s1").unwrap();
    runner.run_to_end().unwrap();
    assert_eq!((world.out().len(), runner.parked()), (3, 0));
    assert_eq!(world.out(), ["s1@0", "s1@1", "s1@2"]);
}

#[test]
fn queues_and_their_times_survive_a_restart_and_a_lost_view() {
    let world = World::of(&["s1", "s1", "s2"]);
    let (fails, handle) = switched("s1");
    let handle = Arc::new(handle);
    let open = |view| {
        let handle = Arc::clone(&handle);
        let shared = move |event: &Event, cx: &mut Context<'_>| handle(event, cx);
        Runner::open(world.log.clone(), view, world.spec(), shared).unwrap()
    };
    let due_us = due(&open(world.view.clone()).run_to_end().unwrap());
    assert_eq!(due(&open(world.view.clone()).run_to_end().unwrap()), due_us);
    let other = crate::common::Shared::default();
    assert_eq!(due(&open(other.clone()).run_to_end().unwrap()), due_us);
    fails.store(false, Ordering::Relaxed);
    world.clock.advance_ms(100);
    open(other).run_to_end().unwrap();
    assert_eq!(world.out(), ["s2@2", "s1@0", "s1@1"]);
}

#[test]
fn a_panic_is_tried_again_wherever_the_users_code_panics() {
    struct Panics(AtomicU32);
    impl Handler for Panics {
        fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Handled {
            put_out(event, cx);
            assert!(self.0.fetch_add(1, Ordering::Relaxed) != 1, "in handle");
            Ok(())
        }
        fn idempotency_key(&self, _: &Event) -> Option<Vec<u8>> {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) != 0, "in the key");
            None
        }
    }
    let world = World::of(&["s1"]);
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), Panics(0.into())).unwrap();
    runner.run_to_end().unwrap();
    world.clock.advance_ms(100);
    runner.run_to_end().unwrap();
    let why: Vec<_> = world.decisions().into_iter().map(|(what, _, why)| (what, why)).collect();
    assert_eq!(why[0], ("set_aside", "the handler panicked: in the key".to_owned()));
    assert_eq!(world.out(), ["s1@0"]);
}

#[test]
fn a_reason_of_any_length_is_kept_in_part() {
    let world = World::of(&["s1", "s2", "s3"]);
    let handle = |event: &Event, _: &mut Context<'_>| match event.stream() {
        "s1" => Err(Failure::Skip("é".repeat(20_000_000))),
        "s2" => Err(Failure::park("x".repeat(20_000_000))),
        _ => Err(Failure::Pause("y".repeat(20_000_000).into())),
    };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), handle).unwrap();
    let Step::Paused { reason } = runner.run_to_end().unwrap() else { panic!("it goes on") };
    assert_eq!(reason.len(), 512);
    assert!(world.decisions().iter().all(|(_, _, why)| why.len() == 512));
}

#[test]
fn many_large_events_of_queues_are_taken_up_over_several_steps() {
    let world = World::of(&["s1"; 30]);
    let fails = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&fails);
    let handle = move |event: &Event, cx: &mut Context<'_>| {
        if switch.load(Ordering::Relaxed) {
            return Err(Failure::Retry { after: None, cause: "no".into() });
        }
        cx.put_bytes(event.offset().raw().to_be_bytes(), vec![1; 2 * 1024 * 1024])?;
        Ok(())
    };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), handle).unwrap();
    runner.run_to_end().unwrap();
    fails.store(false, Ordering::Relaxed);
    world.clock.advance_ms(100);
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(world.decisions().iter().filter(|(what, ..)| *what == "taken_up").count(), 30);
}

#[test]
fn too_many_streams_or_events_set_aside_pause_and_drop_nothing() {
    let park = |_: &Event, _: &mut Context<'_>| Err(Failure::park("no"));
    for (streams, events) in [(2, 100), (100, 3)] {
        let world = World::of(&["s1", "s2", "s2", "s2", "s3", "s4"]);
        let spec = || world.spec().parked_max(streams).waiting_max(events);
        let mut runner = Runner::open(world.log.clone(), world.view.clone(), spec(), park).unwrap();
        let Step::Paused { reason } = runner.run_to_end().unwrap() else { panic!("it goes on") };
        let (set_aside, at) = if streams == 2 { (4, 4) } else { (3, 3) };
        assert!(reason.contains("no more may"), "{reason}");
        assert_eq!((world.decisions().len(), runner.cursor()), (set_aside, Offset::from_raw(at)));
        drop(runner);
        // It stays paused, also where resuming does not help.
        let mut runner = Runner::open(world.log.clone(), world.view.clone(), spec(), park).unwrap();
        assert_eq!(runner.run_to_end().unwrap(), Step::Paused { reason: reason.clone() });
        let control = Control::new(world.log.clone(), "h").unwrap();
        control.resume("try").unwrap();
        assert!(matches!(runner.run_to_end().unwrap(), Step::Paused { .. }));
        // Room helps.
        control.park_drop("s2", "not wanted", true).unwrap();
        control.park_drop("s1", "not wanted", true).unwrap();
        control.resume("there is room").unwrap();
        runner.run_to_end().unwrap();
        let decided: BTreeSet<u64> = world.decisions().iter().map(|(_, offset, _)| *offset).collect();
        assert_eq!(decided, (0..6).collect());
    }
}

#[test]
fn a_pause_in_the_middle_of_a_window_keeps_what_was_before_it() {
    let world = World::of(&["s1", "s2", "s3", "s4"]);
    let fails = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&fails);
    let handle = move |event: &Event, cx: &mut Context<'_>| {
        put_out(event, cx);
        match event.stream() == "s3" && switch.load(Ordering::Relaxed) {
            true => Err(Failure::Pause("a setting is missing".into())),
            false => Ok(()),
        }
    };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), handle).unwrap();
    let paused = Step::Paused { reason: "a setting is missing".to_owned() };
    assert_eq!(runner.run_to_end().unwrap(), paused);
    assert_eq!((world.out(), runner.cursor()), (vec!["s1@0".to_owned(), "s2@1".to_owned()], Offset::from_raw(2)));
    world.append("s5");
    assert_eq!(runner.run_to_end().unwrap(), paused);
    fails.store(false, Ordering::Relaxed);
    Control::new(world.log.clone(), "h").unwrap().resume("set").unwrap();
    runner.run_to_end().unwrap();
    let streams: Vec<String> = world.out().iter().map(|out| out[..2].to_owned()).collect();
    assert_eq!(streams, ["s1", "s2", "s3", "s4", "s5"]);
}

#[test]
fn an_event_of_a_queue_can_pause_too_and_is_first_again() {
    let world = World::of(&["s1", "s1"]);
    let outcome = Arc::new(AtomicU32::new(0));
    let which = Arc::clone(&outcome);
    let handle = move |event: &Event, cx: &mut Context<'_>| {
        put_out(event, cx);
        match which.load(Ordering::Relaxed) {
            0 => Err(Failure::Retry { after: None, cause: "no".into() }),
            1 => Err(Failure::Pause("stop".into())),
            _ => Ok(()),
        }
    };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), handle).unwrap();
    runner.run_to_end().unwrap();
    outcome.store(1, Ordering::Relaxed);
    world.clock.advance_ms(100);
    assert_eq!(runner.run_to_end().unwrap(), Step::Paused { reason: "stop".to_owned() });
    outcome.store(2, Ordering::Relaxed);
    Control::new(world.log.clone(), "h").unwrap().resume("go").unwrap();
    runner.run_to_end().unwrap();
    assert_eq!(world.out(), ["s1@0", "s1@1"]);
}

/// One event out of each pair is the same business fact as the other.
struct Keyed;

impl Handler for Keyed {
    fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Handled {
        put_out(event, cx);
        Ok(())
    }
    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        Some(event.data().to_vec())
    }
}

#[test]
fn a_second_event_of_one_business_fact_is_passed_over_within_the_horizon_and_rows_are_bounded() {
    let world = World::new();
    let spec = || world.spec().horizon(60).window(7, 1 << 20);
    let mut handled = Vec::new();
    for round in 0..40u64 {
        for n in 0..5u64 {
            let data = format!("fact {}", (round * 5 + n) / 2);
            let at = world.log.append(Event::new("s1", "T").data(data.into_bytes())).unwrap().wait().unwrap().first();
            handled.push(at);
        }
        let mut runner = Runner::open(world.log.clone(), world.view.clone(), spec(), Keyed).unwrap();
        runner.run_to_end().unwrap();
        assert!(world.own_rows(b'k') <= 70 && world.own_rows(b'x') <= 70, "{}", world.own_rows(b'k'));
    }
    assert_eq!(world.out().len(), 100);
    assert_eq!(world.decisions().iter().filter(|(what, ..)| *what == "repeat").count(), 100);
    // Once it is forgotten, the same is new.
    world.log.append(Event::new("s1", "T").data(&b"fact 0"[..])).unwrap().wait().unwrap();
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), spec(), Keyed).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!(world.out().len(), 101);
}

#[test]
fn a_key_that_is_too_long_parks_its_event() {
    let world = World::new();
    world.log.append(Event::new("s1", "T").data(vec![b'k'; 1025])).unwrap().wait().unwrap();
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), Keyed).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!((world.out().len(), runner.parked()), (0, 1));
}

#[test]
fn a_circle_of_events_ends_at_the_limit_and_is_set_aside() {
    let world = World::of(&["s1"]);
    let handle = |event: &Event, cx: &mut Context<'_>| {
        cx.emit(Event::new("s1", "T").data(event.data().to_vec()));
        Ok(())
    };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec().hops(5), handle).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!((world.log.read(..).streams("s1").count(), runner.parked()), (6, 1));
    let (what, _, why) = world.decisions().pop().unwrap();
    assert_eq!(what, "set_aside");
    assert!(why.contains("circle"), "{why}");
}

/// A log of which a repair gave up some events.
#[derive(Debug, Clone)]
struct Holed {
    log: Log,
    gap: (Offset, Offset),
}

#[derive(Debug)]
struct HoledRead {
    holed: Holed,
    reads: Vec<Box<dyn JournalRead>>,
    gaps: usize,
    at: Offset,
}

impl Journal for Holed {
    fn id(&self) -> LogId {
        Journal::id(&self.log)
    }
    fn caps(&self) -> Caps {
        self.log.caps()
    }
    fn head(&self) -> Offset {
        Journal::head(&self.log)
    }
    fn durable_end(&self) -> Offset {
        Journal::durable_end(&self.log)
    }
    fn append(&self, append: annals::Append<'_>) -> Result<Pending, annals::AppendError> {
        Journal::append(&self.log, append)
    }
    fn last(&self, stream: &str) -> Result<Option<OwnRecord>, ReadError> {
        Journal::last(&self.log, stream)
    }
    fn get(&self, offset: Offset) -> Result<Option<Event>, ReadError> {
        let (first, end) = self.gap;
        if (first..end).contains(&offset) {
            return Err(ReadError::Lost { first, end });
        }
        Journal::get(&self.log, offset)
    }
    fn read(&self, from: Offset, to: Offset, filter: &Filter) -> Box<dyn JournalRead> {
        let (first, end) = self.gap;
        if from >= end || to <= first {
            return Journal::read(&self.log, from, to, filter);
        }
        let behind = Journal::read(&self.log, end, to.max(end), filter);
        let before = Journal::read(&self.log, from.min(first), first, filter);
        Box::new(HoledRead { holed: self.clone(), reads: vec![behind, before], gaps: 1, at: from })
    }
    fn wait_past(&self, offset: Offset, at_most: Duration) -> Result<Offset, ReadError> {
        self.log.wait_past(offset, at_most)
    }
}

impl JournalRead for HoledRead {
    fn look(&mut self) -> Result<Found, ReadError> {
        let Some(read) = self.reads.last_mut() else { return Ok(Found::End) };
        match read.look()? {
            Found::End if self.gaps > 0 => {
                self.gaps -= 1;
                self.reads.pop();
                let (first, end) = self.holed.gap;
                self.at = end;
                Err(ReadError::Lost { first, end })
            }
            found => {
                self.at = read.position();
                Ok(found)
            }
        }
    }
    fn position(&self) -> Offset {
        self.at
    }
    fn passed_events(&self) -> bool {
        false
    }
}

#[test]
fn a_gap_in_the_log_pauses_and_is_passed_when_an_operator_says_so() {
    let world = World::of(&["s1", "s2", "s1", "s2", "s1"]);
    let holed = Holed { log: world.log.clone(), gap: (Offset::from_raw(1), Offset::from_raw(3)) };
    let (_, handle) = switched("none");
    let handle = Arc::new(handle);
    let open = || {
        let handle = Arc::clone(&handle);
        let shared = move |event: &Event, cx: &mut Context<'_>| handle(event, cx);
        Runner::open(holed.clone(), world.view.clone(), world.spec(), shared).unwrap()
    };
    let mut runner = open();
    let Step::Paused { reason } = runner.run_to_end().unwrap() else { panic!("it goes on") };
    assert!(reason.contains("events 1 to 3 (exclusive) were lost"), "{reason}");
    assert_eq!(world.out(), ["s1@0"]);
    let control = Control::new(world.log.clone(), "h").unwrap();
    control.resume("nothing was done about it").unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Paused { reason: reason.clone() });
    control.skip(Offset::from_raw(1), "they are known").unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Paused { reason });
    // The wish survives a restart.
    drop(runner);
    let mut runner = open();
    control.resume("skipped").unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(world.out(), ["s1@0", "s2@3", "s1@4"]);
    let skipped: Vec<_> = world.decisions().into_iter().filter(|(what, ..)| *what == "skipped").collect();
    assert_eq!(
        skipped,
        [("skipped", 1, "they are known (events 1 to 3 (exclusive) were lost and given up by a repair)".to_owned())]
    );
    assert_eq!(world.own_rows(b'n'), 0);
}

#[test]
fn an_event_that_is_lost_while_it_waits_keeps_its_stream_parked_until_it_is_dropped() {
    let world = World::of(&["s1", "s1", "s2"]);
    let (fails, handle) = switched("s1");
    let handle = Arc::new(handle);
    let shared = {
        let handle = Arc::clone(&handle);
        move |event: &Event, cx: &mut Context<'_>| handle(event, cx)
    };
    Runner::open(world.log.clone(), world.view.clone(), world.spec(), shared).unwrap().run_to_end().unwrap();
    fails.store(false, Ordering::Relaxed);
    world.clock.advance_ms(100);
    let holed = Holed { log: world.log.clone(), gap: (Offset::from_raw(0), Offset::from_raw(1)) };
    let shared = move |event: &Event, cx: &mut Context<'_>| handle(event, cx);
    let mut runner = Runner::open(holed, world.view.clone(), world.spec(), shared).unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!((world.out(), runner.parked()), (vec!["s2@2".to_owned()], 1));
    Control::new(world.log.clone(), "h").unwrap().park_drop("s1", "it is gone", false).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!((world.out(), runner.parked()), (vec!["s2@2".to_owned(), "s1@1".to_owned()], 0));
}

/// What the random handler does with an event: so many failures before it succeeds, and of which kind.
fn plan(seed: u64, offset: u64) -> (u32, u8) {
    use annals::testkit::Random;
    let random = SeededRandom::new(seed ^ offset.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let n = random.next_u64();
    match n % 10 {
        0..=5 => (0, 0),
        6 => (1, 0),
        7 => (3, 0),
        8 => (1, (n / 16 % 4) as u8),
        _ => (2, (n / 16 % 2) as u8),
    }
}

#[derive(Debug, Clone)]
enum Act {
    Append(u8, u8),
    Step(u8),
    Wait(u16),
    Restart { keep_view: bool },
    Retry(u8),
    Drop(u8, bool),
    Skip(u8),
    Pause,
    Resume,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..5u8, 1..6u8).prop_map(|(stream, n)| Act::Append(stream, n)),
        5 => (1..4u8).prop_map(Act::Step),
        3 => (0..400u16).prop_map(Act::Wait),
        1 => any::<bool>().prop_map(|keep_view| Act::Restart { keep_view }),
        1 => (0..5u8).prop_map(Act::Retry),
        1 => (0..5u8, any::<bool>()).prop_map(|(stream, all)| Act::Drop(stream, all)),
        1 => any::<u8>().prop_map(Act::Skip),
        1 => Just(Act::Pause),
        2 => Just(Act::Resume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_event_is_handled_once_dropped_or_skipped_in_order_and_the_state_is_the_fold_of_it(
        seed in any::<u64>(), window in 1..9usize, acts in prop::collection::vec(act(), 1..60)
    ) {
        let mut world = World::new();
        world.clock = Arc::new(ManualClock::new(1_000_000));
        let tries: Arc<Mutex<HashMap<u64, u32>>> = Arc::default();
        let calm = Arc::new(AtomicBool::new(false));
        let (tried, is_calm) = (Arc::clone(&tries), Arc::clone(&calm));
        let handle = Arc::new(move |event: &Event, cx: &mut Context<'_>| -> Handled {
            let key = event.stream().to_owned();
            let mut list = cx.get_bytes(&key)?.map_or_else(Vec::new, |list| list.to_vec());
            list.extend(event.offset().raw().to_be_bytes());
            cx.put_bytes(&key, list)?;
            put_out(event, cx);
            let (failures, kind) = plan(seed, event.offset().raw());
            let mut tried = tried.lock().unwrap();
            let tried = tried.entry(event.offset().raw()).or_default();
            if *tried >= failures || is_calm.load(Ordering::Relaxed) {
                return Ok(());
            }
            *tried += 1;
            Err(match kind {
                0 => Failure::Retry { after: None, cause: "no".into() },
                1 => Failure::park("park"),
                2 => Failure::Skip("skip".to_owned()),
                _ => Failure::Pause("pause".into()),
            })
        });
        let open = |world: &World| {
            let handle = Arc::clone(&handle);
            let shared = move |event: &Event, cx: &mut Context<'_>| handle(event, cx);
            let retry = Retry { attempts: 3, ..Retry::default() };
            Runner::open(world.log.clone(), world.view.clone(), world.spec().window(window, 1 << 20).retry(retry), shared).unwrap()
        };
        let control = Control::new(world.log.clone(), "h").unwrap();
        let mut runner = open(&world);
        let mut appended: BTreeMap<u64, String> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Append(stream, n) => for _ in 0..n {
                    let stream = format!("s{stream}");
                    appended.insert(world.append(&stream).raw(), stream);
                },
                Act::Step(n) => for _ in 0..n { runner.step().unwrap(); },
                Act::Wait(ms) => world.clock.advance_ms(ms.into()),
                Act::Restart { keep_view } => {
                    drop(runner);
                    if !keep_view { world.view = Default::default(); }
                    runner = open(&world);
                }
                Act::Retry(stream) => { control.park_retry(&format!("s{stream}")).unwrap(); }
                Act::Drop(stream, all) => { control.park_drop(&format!("s{stream}"), "drop", all).unwrap(); }
                Act::Skip(of) => if !appended.is_empty() {
                    let offset = *appended.keys().nth(usize::from(of) % appended.len()).unwrap();
                    control.skip(Offset::from_raw(offset), "skip").unwrap();
                },
                Act::Pause => { control.pause("pause").unwrap(); }
                Act::Resume => { control.resume("resume").unwrap(); }
            }
        }
        calm.store(true, Ordering::Relaxed);
        control.resume("the end").unwrap();
        for stream in 0..5 {
            control.park_retry(&format!("s{stream}")).unwrap();
        }
        prop_assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
        prop_assert_eq!(runner.parked(), 0);
        runner.settle().unwrap();

        // The order the records say is the order of what was put out with them.
        let mut fold: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for out in world.out() {
            let (stream, offset) = out.split_once('@').unwrap();
            fold.entry(stream.to_owned()).or_default().push(offset.parse().unwrap());
        }
        let handled: Vec<u64> = fold.values().flatten().copied().collect();
        let once: BTreeSet<u64> = handled.iter().copied().collect();
        prop_assert_eq!(once.len(), handled.len());
        for offsets in fold.values() {
            prop_assert!(offsets.is_sorted(), "{:?}", offsets);
        }
        let passed: BTreeSet<u64> = world.decisions().iter()
            .filter(|(what, _, why)| ["dropped", "skipped"].contains(what) && !why.is_empty())
            .map(|(_, offset, _)| *offset).collect();
        prop_assert!(once.is_disjoint(&passed));
        let all: BTreeSet<u64> = appended.keys().copied().collect();
        prop_assert_eq!(&once | &passed, all);
        for (stream, offsets) in fold {
            let row = annals::View::get(&world.view, &annals::Space::new("h", 1), &[&[1], stream.as_bytes()].concat()).unwrap();
            let state: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect();
            prop_assert_eq!(&row.unwrap()[1..], &state);
        }
        prop_assert_eq!((world.own_rows(b'p'), world.own_rows(b'q'), world.own_rows(b's')), (0, 0, 0));
    }
}
