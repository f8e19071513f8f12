//! Generations: a new one is built beside the live one without a sound, and each input's outputs come from one of them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::testkit::{Crash, Disk, Env, Fault, FaultyDisk, Jobs, ManualClock, MemDisk, SeededRandom};
use annals::{
    Context, Event, Failure, Filter, HandlerError, HandlerSpec, Log, MemoryView, Offset, Replay, Retry, Runner, Shadow,
    Space, Step, Verdict, state_difference,
};

/// Puts out one event for each, with the generation in it; what is broken fails while `broken` is on.
fn handler(generation: u32, broken: &Arc<AtomicBool>) -> impl annals::Handler + use<> {
    let broken = Arc::clone(broken);
    move |event: &Event, cx: &mut Context<'_>| -> Result<(), Failure> {
        if event.event_type() == "Broken" && broken.load(Ordering::Relaxed) {
            return Err(Failure::Retry { after: None, cause: "broken".into() });
        }
        let n = cx.get_bytes(event.stream())?.map_or(0, |n| String::from_utf8_lossy(&n).parse::<u32>().unwrap());
        cx.put_bytes(event.stream(), (n + generation).to_string())?;
        cx.emit(Event::new("out", "Out").data(generation.to_string().into_bytes()));
        Ok(())
    }
}

struct World {
    disk: MemDisk,
    log: Log,
    clock: Arc<ManualClock>,
    broken: Arc<AtomicBool>,
    window: usize,
}

fn open(disk: Arc<dyn Disk>) -> Log {
    let env = Env { disk, jobs: Jobs::ByHand, ..Env::system() };
    Log::options().env(env).open("/log").unwrap()
}

impl World {
    fn new(window: usize) -> World {
        let disk = MemDisk::new();
        World { disk: disk.clone(), ..World::with(open(Arc::new(disk)), window) }
    }

    fn with(log: Log, window: usize) -> World {
        let clock = Arc::new(ManualClock::new(1_000_000));
        World { disk: MemDisk::new(), log, clock, broken: Arc::new(AtomicBool::new(true)), window }
    }

    fn spec(&self, generation: u32) -> HandlerSpec {
        HandlerSpec::new("ledger")
            .generation(generation)
            .on(Filter::new().stream("order-*"))
            .window(self.window, 1 << 20)
            .retry(Retry { attempts: 100, first: Duration::from_millis(10), most: Duration::from_secs(1) })
            .clock(self.clock.clone())
            .random(Arc::new(SeededRandom::new(7)))
    }

    fn events(&self, count: u32) {
        for n in 0..count {
            let event_type = if n % 10 == 3 { "Broken" } else { "Placed" };
            self.log.append(Event::new(format!("order-{}", n % 4), event_type)).unwrap().wait().unwrap();
        }
    }

    fn live(&self, generation: u32) -> Result<Runner, HandlerError> {
        Runner::open(self.log.clone(), MemoryView::new(), self.spec(generation), handler(generation, &self.broken))
    }

    fn shadow(&self, generation: u32) -> Result<Shadow, HandlerError> {
        Shadow::open(self.log.clone(), MemoryView::new(), self.spec(generation), handler(generation, &self.broken))
    }

    fn restart(&mut self, crash: Crash) {
        self.disk.crash(crash);
        self.log = open(Arc::new(self.disk.clone()));
    }

    /// Which generations put something out for each input, and how often.
    fn outputs(&self) -> BTreeMap<u64, Vec<String>> {
        let mut outputs: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for event in self.log.read(..).map(Result::unwrap) {
            if event.stream() == "out" {
                let (_, cause) = event.headers().find(|(name, _)| *name == "causation").unwrap();
                let who = String::from_utf8_lossy(event.data()).into_owned();
                outputs.entry(cause.parse().unwrap()).or_default().push(who);
            }
        }
        outputs
    }

    fn inputs(&self) -> Vec<u64> {
        let inputs = self.log.read(..).map(Result::unwrap).filter(|event| event.stream().starts_with("order-"));
        inputs.map(|event| event.offset().raw()).collect()
    }

    /// Every input has outputs of exactly one generation, once.
    fn assert_each_once(&self) {
        let outputs = self.outputs();
        assert_eq!(outputs.keys().copied().collect::<Vec<_>>(), self.inputs());
        assert!(outputs.values().all(|by| by.len() == 1), "{outputs:?}");
    }

    fn finish(&self, generation: u32) {
        self.broken.store(false, Ordering::Relaxed);
        let mut runner = self.live(generation).unwrap();
        loop {
            match runner.run_to_end().unwrap() {
                Step::Idle { due_us: None } => return,
                Step::Idle { .. } => self.clock.advance_ms(2_000),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_shadow_puts_nothing_out_and_never_goes_past_the_live_one() {
    let world = World::new(7);
    world.events(40);
    let mut live = world.live(1).unwrap();
    live.step().unwrap();
    live.settle().unwrap();
    let mut shadow = world.shadow(2).unwrap();
    shadow.run_to_end().unwrap();
    assert_eq!(shadow.cursor(), live.cursor());
    assert!(live.cursor() < Offset::from_raw(40));
    live.run_to_end().unwrap();
    shadow.run_to_end().unwrap();
    assert_eq!(shadow.cursor(), live.cursor());
    assert!(world.outputs().values().flatten().all(|by| by == "1"));
}

#[test]
fn a_cut_over_gives_each_input_to_one_generation_and_back_again() {
    for window in [1, 7, 4096] {
        let world = World::new(window);
        world.events(40);
        world.live(1).unwrap().run_to_end().unwrap();
        world.events(10);

        let mut old = world.live(1).unwrap();
        let seam = old.cursor();
        world.shadow(2).unwrap().cut_over().unwrap();
        let fenced = old.run_to_end();
        assert!(matches!(fenced, Err(HandlerError::Fenced { .. })), "{fenced:?}");
        assert!(matches!(world.live(1), Err(HandlerError::Generation { live: 2, asked: 1, .. })));
        assert!(matches!(world.shadow(2), Err(HandlerError::Live { .. })));
        world.live(2).unwrap().run_to_end().unwrap();
        let outputs = world.outputs();
        assert!(outputs.range(seam.raw()..).all(|(_, by)| by == &["2"]), "behind the seam: {outputs:?}");
        assert!(outputs.range(..seam.raw()).all(|(_, by)| by == &["1"]), "before it: {outputs:?}");

        world.shadow(1).unwrap().cut_over().unwrap();
        world.events(10);
        world.finish(1);
        world.assert_each_once();
        let of = |generation: &str| world.outputs().values().filter(|by| by[0] == generation).count();
        assert!(of("1") > 10 && of("2") > 0);
        for generation in [1, 2] {
            let replay = Replay::new(world.log.clone(), world.spec(generation), handler(generation, &world.broken));
            let report = replay.run(|_| ()).unwrap();
            assert_eq!((report.difference, report.verdict), (None, Verdict::Verified), "generation {generation}");
        }
    }
}

#[test]
fn what_the_live_one_has_set_aside_is_handled_by_the_one_that_takes_over() {
    let world = World::new(7);
    world.events(40);
    world.live(1).unwrap().run_to_end().unwrap();
    let handled = world.outputs().len();
    assert!(handled < 40);
    world.shadow(2).unwrap().cut_over().unwrap();
    assert!(world.live(2).unwrap().parked() > 0);
    world.clock.advance_ms(2_000);
    world.finish(2);
    world.assert_each_once();
    assert_eq!(world.outputs().values().filter(|by| by[0] == "2").count(), 40 - handled);
}

#[test]
fn the_states_of_two_generations_are_told_apart_by_key() {
    let world = World::new(7);
    world.broken.store(false, Ordering::Relaxed);
    world.events(10);
    let (one, two) = (Arc::new(MemoryView::new()), Arc::new(MemoryView::new()));
    let mut live = Runner::open(world.log.clone(), one.clone(), world.spec(1), handler(1, &world.broken)).unwrap();
    live.run_to_end().unwrap();
    let mut shadow = Shadow::open(world.log.clone(), two.clone(), world.spec(2), handler(2, &world.broken)).unwrap();
    shadow.run_to_end().unwrap();
    let (first, second) = (Space::new("ledger", 1), Space::new("ledger", 2));
    let found = state_difference((&*one, &first), (&*two, &second), 10).unwrap();
    assert_eq!(found.len(), 4);
    assert_eq!(&found[0].key[..], b"order-0");
    let (one_has, other_has) = (found[0].one.as_deref(), found[0].other.as_deref());
    assert_eq!((one_has, other_has), (Some(&b"3"[..]), Some(&b"6"[..])));
    assert_eq!(state_difference((&*one, &first), (&*one, &first), 10).unwrap(), []);
    assert_eq!(state_difference((&*one, &first), (&*two, &first), 10).unwrap().len(), 4);
}

#[test]
fn a_shadow_whose_new_code_fails_where_the_live_one_did_not_cannot_take_over() {
    let world = World::new(7);
    world.broken.store(false, Ordering::Relaxed);
    world.events(10);
    world.live(1).unwrap().run_to_end().unwrap();
    world.broken.store(true, Ordering::Relaxed);
    let tail = world.log.tail();
    let refused = world.shadow(2).unwrap().cut_over();
    assert!(matches!(refused, Err(HandlerError::NotReady { .. })), "{refused:?}");
    assert!(world.log.tail() > tail);
    world.live(1).unwrap().run_to_end().unwrap();
    world.broken.store(false, Ordering::Relaxed);
    world.shadow(2).unwrap().cut_over().unwrap();
    world.finish(2);
    world.assert_each_once();
}

#[test]
fn a_live_one_that_goes_on_meanwhile_is_asked_to_stand_still() {
    let world = World::new(1);
    world.broken.store(false, Ordering::Relaxed);
    world.events(50);
    let mut live = world.live(1).unwrap();
    std::thread::scope(|scope| {
        let (log, spec, logic) = (world.log.clone(), world.spec(2), handler(2, &world.broken));
        let cut = scope.spawn(move || Shadow::open(log, MemoryView::new(), spec, logic).unwrap().cut_over());
        let mut n = 0;
        let stopped = loop {
            if n < 20_000 {
                drop(world.log.append(Event::new("order-9", "Placed")).unwrap());
                n += 1;
            }
            match live.step() {
                Ok(_) => {}
                Err(error) => break error,
            }
            let _ = live.wait(Duration::from_millis(1));
            if cut.is_finished() && n >= 20_000 {
                break live.run_to_end().unwrap_err();
            }
        };
        assert!(matches!(stopped, HandlerError::Fenced { .. }), "{stopped:?}");
        cut.join().unwrap().unwrap();
    });
    world.finish(2);
    world.assert_each_once();
}

#[test]
fn a_live_one_that_is_always_a_step_ahead_is_asked_to_pause_soon() {
    const MOST: u32 = 20_000;
    let world = World::new(1);
    world.broken.store(false, Ordering::Relaxed);
    world.events(5);
    let mut live = world.live(1).unwrap();
    live.run_to_end().unwrap();
    let (live, steps) = (Mutex::new(live), Arc::new(AtomicU32::new(0)));
    let (log, logic, counted) = (world.log.clone(), handler(2, &world.broken), Arc::clone(&steps));
    // Whenever the new one handles an event, the live one has handled another one.
    let chased = move |event: &Event, cx: &mut Context<'_>| -> Result<(), Failure> {
        if counted.fetch_add(1, Ordering::Relaxed) < MOST {
            log.append(Event::new("order-9", "Placed")).unwrap().wait().unwrap();
            live.lock().unwrap().run_to_end().unwrap();
        }
        annals::Handler::handle(&logic, event, cx)
    };
    Shadow::open(world.log.clone(), MemoryView::new(), world.spec(2), chased).unwrap().cut_over().unwrap();
    assert!(steps.load(Ordering::Relaxed) < 100, "{steps:?}");
    world.finish(2);
    world.assert_each_once();
}

/// The way of a cut-over and back, ended behind every call of the disk; the power goes too, or does not.
#[test]
fn an_end_anywhere_in_a_cut_over_loses_and_doubles_nothing() {
    let scenario = |world: &World| -> Result<(), HandlerError> {
        world.live(1)?.run_to_end()?;
        let mut shadow = world.shadow(2)?;
        shadow.run_to_end()?;
        shadow.cut_over()?;
        world.live(2)?.run_to_end()?;
        world.shadow(1)?.cut_over()?;
        world.live(1)?.run_to_end()?;
        Ok(())
    };
    let ready = World::new(7);
    ready.events(30);
    let mut live_after: BTreeMap<u32, u32> = BTreeMap::new();
    for calls in 0.. {
        let mut ended = false;
        for crash in [Crash::KeepAll, Crash::LoseUnsynced] {
            let mem = ready.disk.fork();
            let disk = FaultyDisk::new(Arc::new(mem.clone()));
            let mut world = World { log: open(Arc::new(disk.clone())), disk: mem, ..World::with(ready.log.clone(), 7) };
            disk.inject(Fault { op: None, nth: calls, forever: true, kind: ErrorKind::Other, short: false });
            ended |= scenario(&world).is_ok();
            world.restart(crash);
            let live = match world.live(1) {
                Ok(_) => 1,
                Err(HandlerError::Generation { live, .. }) => live,
                Err(error) => panic!("{error}"),
            };
            *live_after.entry(live).or_default() += 1;
            world.events(5);
            // Whichever is the live one goes on; then the other one takes over, and goes on too.
            world.live(live).unwrap().run_to_end().unwrap();
            world.shadow(3 - live).unwrap().cut_over().unwrap();
            world.events(5);
            world.finish(3 - live);
            world.assert_each_once();
        }
        if ended {
            assert!(calls > 30, "{calls}");
            break;
        }
    }
    assert_eq!(live_after.len(), 2, "ends fall on both sides of a cut-over: {live_after:?}");
}

#[test]
fn a_power_cut_anywhere_in_a_shadow_leaves_it_to_go_on() {
    let mut world = World::new(7);
    world.events(30);
    world.live(1).unwrap().run_to_end().unwrap();
    for steps in 0..6 {
        let mut shadow = world.shadow(2).unwrap();
        for _ in 0..steps {
            shadow.step().unwrap();
        }
        drop(shadow);
        world.restart(Crash::LoseUnsynced);
    }
    world.shadow(2).unwrap().cut_over().unwrap();
    world.finish(2);
    world.assert_each_once();
}
