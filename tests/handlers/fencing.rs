//! Two instances of one handler: the late one is refused, writes nothing, and stops.

use annals::{Context, Event, Failure, HandlerError, MemoryView, Runner, Space, View};

use crate::common::{World, put_out};

fn count(event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    let n = cx.get_bytes("n")?.map_or(0, |n| u32::from_le_bytes(n[..].try_into().unwrap()));
    cx.put_bytes("n", (n + 1).to_le_bytes())?;
    put_out(event, cx);
    Ok(())
}

fn open(world: &World, view: impl View + 'static) -> Runner {
    Runner::open(world.log.clone(), view, world.spec().window(2, 1 << 20), count).unwrap()
}

#[test]
fn the_late_instance_is_refused_writes_nothing_and_does_not_come_back() {
    let world = World::of(&["s1"; 6]);
    let mut early = open(&world, MemoryView::new());
    early.step().unwrap();
    let mut late = open(&world, MemoryView::new());
    let end = world.log.tail();
    assert!(matches!(early.step(), Err(HandlerError::Fenced { by, .. }) if by.raw() == end.raw() - 1));
    assert_eq!(world.log.tail(), end);
    assert!(matches!(early.step(), Err(HandlerError::Stopped { .. })));
    assert_eq!(world.log.tail(), end);
    late.run_to_end().unwrap();
    assert_eq!(world.out(), (0..6).map(|n| format!("s1@{n}")).collect::<Vec<_>>());
}

#[test]
fn windows_in_flight_count_once_when_the_instance_is_taken_over() {
    let world = World::of(&["s1"; 20]);
    let mut early = open(&world, MemoryView::new());
    // Appended, and perhaps not on the disk yet.
    (0..4).for_each(|_| drop(early.step().unwrap()));
    let mut late = open(&world, MemoryView::new());
    late.run_to_end().unwrap();
    assert!(matches!(early.run_to_end(), Err(HandlerError::Fenced { .. })));
    assert_eq!(world.out(), (0..20).map(|n| format!("s1@{n}")).collect::<Vec<_>>());
}

#[test]
fn an_instance_that_was_taken_over_leaves_the_view_alone() {
    let world = World::of(&["s1"; 6]);
    let mut early = open(&world, world.view.clone());
    early.step().unwrap();
    let mut late = open(&world, world.view.clone());
    late.run_to_end().unwrap();
    // Its rows are written behind, and stand in the log; the view has them, and more.
    assert!(matches!(early.settle(), Err(HandlerError::Fenced { .. })));
    let row = world.view.get(&Space::new("h", 1), &[&[1], &b"n"[..]].concat()).unwrap().unwrap();
    assert_eq!(row[1..], 6u32.to_le_bytes());
    drop(late);
    open(&world, world.view.clone()).run_to_end().unwrap();
}
