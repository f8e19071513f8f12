//! Replay: what a handler's records say is run again and held to what came of it; whatever is not the same is named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use annals::testkit::{Env, ManualClock, SeededRandom, own_append};
use annals::{
    Append, Context, Difference, Event, Expect, Failure, HandlerError, HandlerSpec, Journal, Log, MemoryLog,
    MemoryView, Offset, Outputs, Replay, Retry, Runner, Space, Step, Until, Verdict, View,
};

/// What a test's handler does wrong, once it is switched on.
#[derive(Default)]
struct Switches {
    other_value: AtomicBool,
    other_output: AtomicBool,
    no_output: AtomicBool,
    fails: AtomicBool,
    effect: AtomicBool,
    /// Events that fail at first are tried so often before they are handled.
    failing: AtomicBool,
    calls: AtomicU32,
}

fn is_on(switch: &AtomicBool) -> bool {
    switch.load(Ordering::Relaxed)
}

/// Counts by stream, puts out every third count, and fails as the event says.
fn ledger(switches: &Arc<Switches>) -> impl annals::Handler + use<> {
    let switches = Arc::clone(switches);
    move |event: &Event, cx: &mut Context<'_>| -> Result<(), Failure> {
        switches.calls.fetch_add(1, Ordering::Relaxed);
        match event.event_type() {
            "Skip" => return Err(Failure::Skip("not for us".to_owned())),
            "Park" => return Err(Failure::park("cannot be read")),
            "Flaky" if is_on(&switches.failing) => {
                return Err(Failure::Retry { after: None, cause: "try again".into() });
            }
            _ => {}
        }
        let odd = event.data() == b"70";
        if odd && is_on(&switches.fails) {
            return Err(Failure::park("new code does not like it"));
        }
        let n = cx.get_bytes(event.stream())?.map_or(0, |n| String::from_utf8_lossy(&n).parse::<u64>().unwrap());
        cx.put_bytes(event.stream(), (n + 1).to_string())?;
        if odd {
            cx.put_bytes("side", if is_on(&switches.other_value) { "new" } else { "old" })?;
        }
        cx.effect_bytes("mail", if odd && is_on(&switches.effect) { &b"other"[..] } else { &b"hello"[..] })?;
        if n.is_multiple_of(3) || odd {
            let text = if odd && is_on(&switches.other_output) { "other".to_owned() } else { n.to_string() };
            if !(odd && is_on(&switches.no_output)) {
                cx.emit(Event::new("report", "Third").data(text.into_bytes()));
            }
        }
        Ok(())
    }
}

struct World {
    _dir: tempfile::TempDir,
    log: Log,
    clock: Arc<ManualClock>,
    switches: Arc<Switches>,
    window: usize,
}

impl World {
    fn spec(&self) -> HandlerSpec {
        HandlerSpec::new("ledger")
            .on(annals::Filter::new().stream("order-*"))
            .window(self.window, 1 << 20)
            .retry(Retry { attempts: 3, first: Duration::from_millis(10), most: Duration::from_secs(1) })
            .clock(self.clock.clone())
            .random(Arc::new(SeededRandom::new(7)))
    }

    fn run(&self) {
        let mut runner =
            Runner::open(self.log.clone(), MemoryView::new(), self.spec(), ledger(&self.switches)).unwrap();
        runner.run_to_end().unwrap();
    }

    fn replay(&self) -> Replay {
        Replay::new(self.log.clone(), self.spec(), ledger(&self.switches))
    }

    /// A history with all that can happen to an event, by several instances.
    fn lived(window: usize) -> World {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let world =
            World { _dir: dir, log, clock: Arc::new(ManualClock::new(1_000_000)), switches: Arc::default(), window };
        world.switches.failing.store(true, Ordering::Relaxed);
        for part in 0..3 {
            for n in part * 40..part * 40 + 40 {
                let event_type = match n % 40 {
                    11 => "Flaky",
                    17 => "Skip",
                    23 if part == 1 => "Park",
                    _ => "Placed",
                };
                let event = Event::new(format!("order-{}", n % 5), event_type).data(n.to_string().into_bytes());
                world.log.append(event).unwrap().wait().unwrap();
            }
            world.run();
            world.switches.failing.store(part == 1, Ordering::Relaxed);
            world.clock.advance_ms(5_000);
            world.run();
        }
        world
    }
}

#[test]
fn a_replay_of_an_honest_handler_is_verified_whatever_the_windows_were() {
    for window in [1, 7, 4096] {
        let world = World::lived(window);
        let before = world.log.tail();
        let report = world.replay().run(|_| ()).unwrap();
        assert_eq!(report.difference, None, "window {window}");
        assert_eq!(report.verdict, Verdict::Verified);
        assert!(report.records > 3 && report.events > 90 && report.outputs > 20, "{report:?}");
        assert!(report.parked > 0, "something is still set aside: {report:?}");
        assert_eq!(world.log.tail(), before, "nothing is appended");
    }
}

#[test]
fn a_replay_makes_the_state_of_the_handler_itself() {
    let world = World::lived(7);
    let view = Arc::new(MemoryView::new());
    Runner::open(world.log.clone(), view.clone(), world.spec(), ledger(&world.switches)).unwrap().close().unwrap();
    let own = Arc::new(MemoryView::new());
    world.replay().into_view(own.clone()).run(|_| ()).unwrap();
    let space = Space::new("ledger", 1);
    let rows = |view: &MemoryView| view.scan(&space, &[], &[]).map(Result::unwrap).collect::<Vec<_>>();
    assert!(!rows(&view).is_empty());
    assert_eq!(rows(&view), rows(&own));
}

/// The event whose data is "70".
fn odd(world: &World) -> Offset {
    world.log.read(..).map(Result::unwrap).find(|event| event.data() == b"70").unwrap().offset()
}

fn difference(world: &World, switch: impl Fn(&Switches) -> &AtomicBool) -> Difference {
    switch(&world.switches).store(true, Ordering::Relaxed);
    let report = world.replay().run(|_| ()).unwrap();
    assert_eq!(report.verdict, Verdict::Differs);
    report.difference.unwrap()
}

#[test]
fn a_row_that_comes_out_otherwise_is_named_with_event_key_and_both_values() {
    for window in [1, 7, 4096] {
        let world = World::lived(window);
        let Difference::Row { event, key, recorded, replayed, .. } = difference(&world, |s| &s.other_value) else {
            panic!("a row differs");
        };
        assert_eq!((&key[..], event), (&b"side"[..], odd(&world)));
        assert_eq!((&recorded.unwrap()[..], &replayed.unwrap()[..]), (&b"old"[..], &b"new"[..]));
    }
}

#[test]
fn an_output_that_comes_out_otherwise_is_named_with_its_event_and_both_contents() {
    for window in [1, 7, 4096] {
        let world = World::lived(window);
        let Difference::Output { event, recorded, replayed, .. } = difference(&world, |s| &s.other_output) else {
            panic!("an output differs");
        };
        assert_eq!(event, Some(odd(&world)));
        assert_eq!(&replayed.unwrap().data[..], b"other");
        assert_ne!(&recorded.unwrap().data[..], b"other");
    }
}

#[test]
fn an_output_that_is_missing_is_found() {
    for window in [1, 7, 4096] {
        let world = World::lived(window);
        let Difference::Output { event, recorded, replayed, .. } = difference(&world, |s| &s.no_output) else {
            panic!("an output differs");
        };
        assert_eq!(event, Some(odd(&world)));
        assert_ne!(recorded, replayed);
    }
}

#[test]
fn an_effect_that_is_asked_for_otherwise_is_found() {
    let world = World::lived(7);
    let Difference::Effect { event, recorded, replayed, .. } = difference(&world, |s| &s.effect) else {
        panic!("an effect differs");
    };
    assert_eq!(event, odd(&world));
    assert_eq!((&recorded.unwrap().1[..], &replayed.unwrap().1[..]), (&b"hello"[..], &b"other"[..]));
}

#[test]
fn an_event_that_was_handled_and_fails_now_is_found() {
    for window in [1, 7, 4096] {
        let world = World::lived(window);
        let Difference::NotHandled { event, why, .. } = difference(&world, |s| &s.fails) else {
            panic!("an event is not handled");
        };
        assert_eq!((event, why.as_str()), (odd(&world), "new code does not like it"));
    }
}

#[test]
fn a_replay_until_an_offset_handles_exactly_what_is_below_it() {
    let world = World::lived(7);
    for until in [0, 1, 9, 33, 39] {
        let until = Offset::from_raw(until);
        let report = world.replay().until(Until::Offset(until)).run(|_| ()).unwrap();
        assert_eq!(report.difference, None);
        assert_eq!(report.cursor, until);
        let handled = world.log.read(..until).map(Result::unwrap).filter(|event| event.event_type() == "Placed");
        assert_eq!(
            report.events,
            handled.filter(|event| event.stream() != "order-1" || event.offset().raw() < 11).count() as u64
        );
    }
}

#[test]
fn a_replay_from_an_offset_begins_on_what_the_records_before_it_say() {
    let world = World::lived(7);
    let whole = world.replay().run(|_| ()).unwrap();
    world.switches.calls.store(0, Ordering::Relaxed);
    let part = world.replay().from(odd(&world)).run(|_| ()).unwrap();
    assert_eq!((part.verdict, part.digest, part.rows), (Verdict::Verified, whole.digest, whole.rows));
    assert!(part.events < whole.events);
    assert_eq!(u64::from(world.switches.calls.load(Ordering::Relaxed)), part.events);
}

#[test]
fn a_fresh_replay_decides_failures_anew_and_is_never_verified() {
    let world = World::lived(7);
    world.switches.failing.store(false, Ordering::Relaxed);
    let report = world.replay().fresh(true).run(|_| ()).unwrap();
    assert_eq!(report.verdict, Verdict::Fresh);
    assert_eq!(report.parked, 1, "what fails for good");
    world.switches.failing.store(true, Ordering::Relaxed);
    let report = world.replay().fresh(true).run(|_| ()).unwrap();
    assert_eq!((report.verdict, report.parked), (Verdict::Fresh, 2));
}

#[test]
fn a_replay_that_suppresses_compares_nothing_and_says_so() {
    let world = World::lived(7);
    world.switches.other_output.store(true, Ordering::Relaxed);
    let report = world.replay().outputs(Outputs::Suppress).run(|_| ()).unwrap();
    assert_eq!((report.verdict, report.records), (Verdict::Made, 0));
}

#[test]
fn a_replay_without_an_event_is_not_checked() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let nothing = |_: &Event, _: &mut Context<'_>| Ok(());
    let mut runner = Runner::open(log.clone(), MemoryView::new(), HandlerSpec::new("nothing"), nothing).unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    let report = Replay::new(log.clone(), HandlerSpec::new("nothing"), nothing).run(|_| ()).unwrap();
    assert_eq!(report.verdict, Verdict::NotChecked);
    let unknown = Replay::new(log, HandlerSpec::new("other"), nothing).run(|_| ());
    assert!(matches!(unknown, Err(HandlerError::Unknown { .. })), "{unknown:?}");
}

/// A log of the same name and content, but for one record in which some bytes were put in the place of others.
fn altered(log: &dyn Journal, seed: u64, record: Offset, was: &[u8], now: &[u8]) -> MemoryLog {
    let copy = memory(seed);
    for offset in 0..log.durable_end().raw() {
        let event = log.get(Offset::from_raw(offset)).unwrap().unwrap();
        let mut data = event.data().to_vec();
        if event.offset() == record {
            let places: Vec<usize> = (0..data.len()).filter(|at| data[*at..].starts_with(was)).collect();
            assert_eq!((places.len(), was.len()), (1, now.len()));
            data[places[0]..][..now.len()].copy_from_slice(now);
        }
        let same = Event::new(event.stream().to_owned(), event.event_type().to_owned()).data(data);
        let append = match event.is_system() {
            true => own_append(Append::new(), same, Expect::Any),
            false => Append::new().events([same]),
        };
        copy.append(append).unwrap().wait().unwrap();
    }
    assert_eq!(copy.id(), log.id());
    copy
}

fn memory(seed: u64) -> MemoryLog {
    MemoryLog::with(&Env { random: Arc::new(SeededRandom::new(seed)), ..Env::system() })
}

#[test]
fn an_altered_record_is_found_with_the_event_the_key_and_both_values() {
    let log = memory(3);
    for n in 0..6 {
        let event = Event::new(format!("s{}", n % 2), "T").data(format!("value-{n}").into_bytes());
        log.append(Append::new().events([event])).unwrap().wait().unwrap();
    }
    let latest = |event: &Event, cx: &mut Context<'_>| -> Result<(), Failure> {
        cx.put_bytes(format!("latest-{}", event.stream()), event.data())?;
        Ok(())
    };
    for n in 0..6u64 {
        let log = altered(&log, 3, Offset::from_raw(u64::MAX), b"", b"");
        let spec = || HandlerSpec::new("h").window(1, 1 << 20);
        Runner::open(log.clone(), MemoryView::new(), spec(), latest).unwrap().run_to_end().unwrap();
        let report = Replay::new(log.clone(), spec(), latest).run(|_| ()).unwrap();
        assert_eq!((report.difference, report.verdict), (None, Verdict::Verified));

        let (was, now) = (format!("value-{n}"), format!("vALUE-{n}"));
        let wrote = |offset: &Offset| {
            let event = log.get(*offset).unwrap().unwrap();
            event.is_system() && event.data().windows(was.len()).any(|part| part == was.as_bytes())
        };
        let record = (6..log.durable_end().raw()).map(Offset::from_raw).find(wrote).unwrap();
        let log = altered(&log, 3, record, was.as_bytes(), now.as_bytes());
        let report = Replay::new(log, spec(), latest).run(|_| ()).unwrap();
        assert_eq!(report.verdict, Verdict::Differs);
        let Some(Difference::Row { record: found, event, key, recorded, replayed }) = report.difference else {
            panic!("a row differs: {:?}", report.difference);
        };
        assert_eq!((found, event.raw(), key), (record, n, format!("latest-s{}", n % 2).into()));
        assert_eq!((recorded.as_deref(), replayed.as_deref()), (Some(now.as_bytes()), Some(was.as_bytes())));
    }
}
