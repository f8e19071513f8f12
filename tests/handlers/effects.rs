//! Effects: run after they are durable, at least once, under a stable key, each attempt with a higher number.

use std::sync::{Arc, Mutex};

use annals::{Context, Control, Effect, Event, Failure, HandlerError, Offset, Runner, Step};

use crate::common::{World, due};

fn ask(event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    cx.effect_bytes("mail", event.data().to_vec())?;
    Ok(())
}

#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Vec<Effect>>>);

impl Runs {
    fn said(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap().iter().map(|effect| (effect.key.clone(), effect.attempt)).collect()
    }

    /// An executor that answers as `answer` says.
    fn answering(
        &self,
        answer: impl Fn(&Effect) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> impl Fn(&Effect) -> Result<(), Failure> + Send + Sync + 'static {
        let runs = Arc::clone(&self.0);
        move |effect: &Effect| {
            runs.lock().unwrap().push(effect.clone());
            answer(effect)
        }
    }
}

fn no() -> Failure {
    Failure::Retry { after: None, cause: "no".into() }
}

fn open(world: &World) -> Runner {
    Runner::open(world.log.clone(), world.view.clone(), world.spec(), ask).unwrap()
}

#[test]
fn an_effect_is_run_once_it_is_durable_and_then_forgotten() {
    let world = World::of(&["s1", "s2"]);
    let runs = Runs::default();
    let log = world.log.clone();
    let executor = runs.answering(move |effect| {
        // The record that asks for it is durable.
        let records = log.read(..).streams("$handler/h").map(|record| record.unwrap().data().to_vec());
        assert!(records.into_iter().any(|data| data.windows(4).any(|window| window == effect.kind.as_bytes())));
        Ok(())
    });
    let mut runner = open(&world).executor(executor);
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(runs.said(), [("h:0:0".to_owned(), 1), ("h:1:0".to_owned(), 1)]);
    let first = runs.0.lock().unwrap()[0].clone();
    assert_eq!((first.kind.as_str(), &first.request[..]), ("mail", &b"s1"[..]));
    assert_eq!(world.own_rows(b'e'), 0);
    drop(runner);
    open(&world).executor(runs.answering(|_| Ok(()))).run_to_end().unwrap();
    assert_eq!(runs.said().len(), 2);
}

#[test]
fn one_that_fails_is_run_again_later_each_time_and_without_an_end() {
    let world = World::of(&["s1"]);
    let runs = Runs::default();
    let mut runner =
        open(&world).executor(runs.answering(|effect| if effect.attempt < 9 { Err(no()) } else { Ok(()) }));
    for attempt in 1..9u64 {
        let due_us = due(&runner.run_to_end().unwrap());
        assert_eq!(runs.said().len() as u64, attempt);
        // Not before its time.
        runner.run_to_end().unwrap();
        assert_eq!(runs.said().len() as u64, attempt);
        let now_us = annals::testkit::Clock::now(&*world.clock).as_micros();
        world.clock.advance_ms((due_us - now_us) as u64 / 1000 + 1);
    }
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(runs.said(), (1..=9).map(|attempt| ("h:0:0".to_owned(), attempt)).collect::<Vec<_>>());
    assert_eq!(world.own_rows(b'e'), 0);
}

#[test]
fn a_crash_between_running_it_and_its_completion_runs_it_again_with_a_higher_number() {
    let world = World::of(&["s1"]);
    let runs = Runs::default();
    // The first attempt fails, and is recorded; the instance that makes the second ends before it can record it.
    let mut runner = open(&world).executor(runs.answering(|_| Err(no())));
    due(&runner.run_to_end().unwrap());
    drop(runner);
    for _ in 0..3 {
        let (world, runs) = (&world, &runs);
        let (log, view, spec) = (world.log.clone(), world.view.clone(), world.spec());
        // Another instance takes over while it is being done: its completion is refused.
        let executor = runs.answering(move |_| {
            let spec = spec.clone();
            Runner::open(log.clone(), view.clone(), spec, ask).unwrap();
            Ok(())
        });
        assert!(matches!(open(world).executor(executor).run_to_end(), Err(HandlerError::Fenced { .. })));
    }
    open(&world).executor(runs.answering(|_| Ok(()))).run_to_end().unwrap();
    let said = runs.said();
    assert_eq!(said.len(), 5);
    assert!(said.iter().all(|(key, _)| key == "h:0:0"));
    assert!(said.is_sorted_by(|one, next| one.1 < next.1), "{said:?}");
    assert_eq!(world.own_rows(b'e'), 0);
}

#[test]
fn an_instance_that_was_taken_over_runs_nothing_more() {
    let world = World::of(&["s1", "s2", "s3"]);
    let runs = Runs::default();
    let (log, view, spec) = (world.log.clone(), world.view.clone(), world.spec());
    let executor = runs.answering(move |_| {
        Runner::open(log.clone(), view.clone(), spec.clone(), ask).unwrap();
        Ok(())
    });
    let mut runner = open(&world).executor(executor);
    assert!(matches!(runner.run_to_end(), Err(HandlerError::Fenced { .. })));
    assert_eq!(runs.said().len(), 1);
}

#[test]
fn without_an_executor_effects_wait_and_too_many_pause() {
    let world = World::of(&["s1", "s1", "s1", "s1"]);
    let spec = || world.spec().effects_max(2).window(2, 1 << 20);
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), spec(), ask).unwrap();
    let Step::Paused { reason } = runner.run_to_end().unwrap() else { panic!("it goes on") };
    assert!(reason.contains("no executor"), "{reason}");
    assert_eq!(runner.cursor(), Offset::from_raw(2));
    drop(runner);
    let runs = Runs::default();
    let runner = Runner::open(world.log.clone(), world.view.clone(), spec(), ask).unwrap();
    Control::new(world.log.clone(), "h").unwrap().resume("there is one").unwrap();
    runner.executor(runs.answering(|_| Ok(()))).run_to_end().unwrap();
    assert_eq!(runs.said().len(), 4);
}

#[test]
fn while_effects_cannot_be_run_no_more_events_come_in() {
    let world = World::of(&["s1", "s1", "s1", "s1"]);
    let spec = world.spec().effects_max(2).window(2, 1 << 20);
    let runner = Runner::open(world.log.clone(), world.view.clone(), spec, ask).unwrap();
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let mut runner = runner.executor(move |_: &Effect| match is_up.load(std::sync::atomic::Ordering::Relaxed) {
        true => Ok(()),
        false => Err(no()),
    });
    due(&runner.run_to_end().unwrap());
    assert_eq!(runner.cursor(), Offset::from_raw(2));
    up.store(true, std::sync::atomic::Ordering::Relaxed);
    world.clock.advance_ms(1000);
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(world.own_rows(b'e'), 0);
    assert!(runner.cursor() > Offset::from_raw(3));
}

#[test]
fn an_executor_can_give_up_or_pause_or_panic() {
    let world = World::of(&["s1", "s2", "s3"]);
    let runs = Runs::default();
    let executor = runs.answering(|effect| match (&effect.request[..], effect.attempt) {
        (b"s1", _) => Err(Failure::Skip("nobody lives there".to_owned())),
        (b"s2", 1) => panic!("oh"),
        (b"s3", 1) => Err(Failure::Pause("the key is wrong".into())),
        _ => Ok(()),
    });
    let mut runner = open(&world).executor(executor);
    let paused = runner.run_to_end().unwrap();
    assert_eq!(paused, Step::Paused { reason: "effect h:2:0: the key is wrong".to_owned() });
    assert_eq!(world.decisions(), [("effect_dropped", 0, "effect 0: nobody lives there".to_owned())]);
    world.clock.advance_ms(1000);
    assert_eq!(runner.run_to_end().unwrap(), paused);
    Control::new(world.log.clone(), "h").unwrap().resume("the key is right").unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!((runs.said().len(), world.own_rows(b'e')), (5, 0));
}
