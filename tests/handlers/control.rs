//! What operators ask of a handler, by events of its control stream.

use annals::{Context, Control, Event, Failure, HandlerError, Offset, Runner, Step};

use crate::common::{World, put_out};

fn park_s1(event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    put_out(event, cx);
    if event.stream() == "s1" { Err(Failure::park("no")) } else { Ok(()) }
}

fn open(world: &World) -> (Runner, Control) {
    let runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), park_s1).unwrap();
    (runner, Control::new(world.log.clone(), "h").unwrap())
}

#[test]
fn only_the_control_stream_is_written_and_a_name_is_checked() {
    let world = World::of(&["s2"]);
    let control = Control::new(world.log.clone(), "h").unwrap();
    let at = control.pause("closed for today").unwrap();
    let event = world.log.reader().get(at).unwrap().unwrap();
    assert_eq!((event.stream(), event.event_type(), event.data()), ("$control/h", "Pause", &b"closed for today"[..]));
    assert!(matches!(Control::new(world.log.clone(), "a/b"), Err(HandlerError::Name { .. })));
}

#[test]
fn a_pause_stops_it_with_its_reason_and_lasts_until_it_is_resumed() {
    let world = World::of(&["s2"]);
    let (mut runner, control) = open(&world);
    runner.run_to_end().unwrap();
    control.pause("closed for today").unwrap();
    world.append("s2");
    let paused = Step::Paused { reason: "closed for today".to_owned() };
    assert_eq!(runner.run_to_end().unwrap(), paused);
    drop(runner);
    let (mut runner, control) = open(&world);
    assert_eq!(runner.run_to_end().unwrap(), paused);
    assert_eq!(world.out().len(), 1);
    control.resume("open").unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!(world.out().len(), 2);
}

#[test]
fn a_pause_and_a_resume_seen_at_once_leave_it_running() {
    let world = World::of(&["s2"]);
    let (mut runner, control) = open(&world);
    control.pause("no").unwrap();
    control.resume("yes").unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!((world.out().len(), world.own_rows(b's')), (1, 0));
}

#[test]
fn what_was_asked_before_there_was_a_handler_is_not_for_it() {
    let world = World::of(&["s2"]);
    Control::new(world.log.clone(), "h").unwrap().pause("no").unwrap();
    let (mut runner, _) = open(&world);
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
}

#[test]
fn a_request_is_acted_upon_once() {
    let world = World::of(&["s1", "s1", "s1"]);
    let (mut runner, control) = open(&world);
    runner.run_to_end().unwrap();
    control.park_drop("s1", "broken", false).unwrap();
    runner.run_to_end().unwrap();
    drop(runner);
    for _ in 0..3 {
        open(&world).0.run_to_end().unwrap();
    }
    let dropped: Vec<_> = world.decisions().into_iter().filter(|(what, ..)| *what == "dropped").collect();
    assert_eq!(dropped, [("dropped", 0, "broken".to_owned())]);
}

#[test]
fn all_that_waits_is_dropped_but_not_what_came_after_it_was_asked() {
    let world = World::of(&["s1", "s1"]);
    let (mut runner, control) = open(&world);
    runner.run_to_end().unwrap();
    control.park_drop("s1", "broken", true).unwrap();
    let later = world.append("s1");
    runner.run_to_end().unwrap();
    assert_eq!((world.decided(Offset::ZERO), world.decided(later)), (vec!["set_aside", "dropped"], vec!["set_aside"]));
}

#[test]
fn a_queue_of_any_length_is_dropped_over_several_steps() {
    let world = World::new();
    for _ in 0..9000 {
        drop(world.log.append(Event::new("s1", "T")).unwrap());
    }
    world.log.sync().unwrap();
    let (mut runner, control) = open(&world);
    runner.run_to_end().unwrap();
    control.park_drop("s1", "broken", true).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!((runner.parked(), world.own_rows(b'q')), (0, 0));
    assert_eq!(world.decisions().iter().filter(|(what, ..)| *what == "dropped").count(), 9000);
}

#[test]
fn an_event_is_skipped_before_it_comes_while_it_waits_and_not_once_it_is_done() {
    let world = World::of(&["s2", "s1", "s1", "s1"]);
    let (mut runner, control) = open(&world);
    // Not there yet: the next user event.
    runner.run_to_end().unwrap();
    let ahead = Offset::from_raw(world.log.durable_end().raw() + 4);
    control.skip(ahead, "known to be bad").unwrap();
    runner.run_to_end().unwrap();
    assert_eq!(world.own_rows(b'n'), 1);
    drop(runner);
    let (mut runner, control) = open(&world);
    while world.append("s2") < ahead {}
    control.skip(Offset::from_raw(2), "in the middle").unwrap();
    control.skip(Offset::ZERO, "too late").unwrap();
    runner.run_to_end().unwrap();
    assert_eq!(world.decided(Offset::from_raw(2)), ["set_aside", "skipped"]);
    assert_eq!(world.decided(ahead), ["skipped"]);
    assert_eq!(world.decided(Offset::ZERO), Vec::<&str>::new());
    assert!(!world.out().contains(&format!("s2@{ahead}")));
    assert_eq!((world.own_rows(b'n'), world.own_rows(b'q')), (0, 2));
}

#[test]
fn a_skip_where_nothing_is_wanted_is_forgotten() {
    let world = World::of(&["s2", "other", "s2"]);
    let (mut runner, control) = open(&world);
    control.skip(Offset::from_raw(1), "for nothing").unwrap();
    runner.run_to_end().unwrap();
    assert_eq!((world.own_rows(b'n'), world.out().len()), (0, 2));
}

#[test]
fn what_is_not_understood_is_passed_over() {
    let world = World::of(&["s1", "s2"]);
    let (mut runner, control) = open(&world);
    runner.run_to_end().unwrap();
    control.park_retry("no such stream").unwrap();
    control.park_drop("no such stream", "x", true).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!(runner.parked(), 1);
}
