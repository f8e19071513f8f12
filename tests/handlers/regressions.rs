//! Rules that were broken once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use annals::testkit::{Disk, Fault, Op};
use annals::{
    Append, AppendError, Caps, Context, Control, Effect, Event, Failure, Filter, Handler, HandlerError, HandlerSpec,
    Journal, JournalRead, Log, LogId, Offset, OwnRecord, Pending, ReadError, Runner, Space, Step, View,
};

use crate::common::{Shared, World, put_out};

/// A log that fails where a test wants it to.
#[derive(Debug, Clone)]
struct Failing {
    log: Log,
    full: Arc<AtomicBool>,
    /// An event that cannot be read any more.
    gone: Arc<AtomicU64>,
}

impl Failing {
    fn of(log: &Log) -> Failing {
        Failing { log: log.clone(), full: Arc::default(), gone: Arc::new(AtomicU64::new(u64::MAX)) }
    }
}

impl Journal for Failing {
    fn id(&self) -> LogId {
        self.log.id()
    }
    fn caps(&self) -> Caps {
        Journal::caps(&self.log)
    }
    fn head(&self) -> Offset {
        self.log.head()
    }
    fn durable_end(&self) -> Offset {
        self.log.durable_end()
    }
    fn append(&self, append: Append<'_>) -> Result<Pending, AppendError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(AppendError::DiskFull);
        }
        Journal::append(&self.log, append)
    }
    fn last(&self, stream: &str) -> Result<Option<OwnRecord>, ReadError> {
        Journal::last(&self.log, stream)
    }
    fn get(&self, offset: Offset) -> Result<Option<Event>, ReadError> {
        if self.gone.load(Ordering::SeqCst) == offset.raw() {
            return Err(ReadError::Trimmed { head: offset.plus(1) });
        }
        Journal::get(&self.log, offset)
    }
    fn read(&self, from: Offset, to: Offset, filter: &Filter) -> Box<dyn JournalRead> {
        Journal::read(&self.log, from, to, filter)
    }
    fn directory(&self) -> Option<(Arc<dyn Disk>, PathBuf)> {
        None
    }
    fn wait_past(&self, offset: Offset, at_most: Duration) -> Result<Offset, ReadError> {
        Journal::wait_past(&self.log, offset, at_most)
    }
}

fn count(event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    let n = cx.get_bytes("n")?.map_or(0, |n| u32::from_le_bytes(n[..].try_into().unwrap()));
    cx.put_bytes("n", (n + 1).to_le_bytes())?;
    put_out(event, cx);
    Ok(())
}

fn row(view: &Shared, key: &str) -> Option<bytes::Bytes> {
    view.get(&Space::new("h", 1), &[&[1], key.as_bytes()].concat()).unwrap().map(|value| value.slice(1..))
}

#[test]
fn what_the_disk_did_not_take_never_reaches_the_view_however_often_it_is_settled() {
    let world = crate::world::World::new(1);
    let log = world.log();
    log.append(Event::new("s1", "T")).unwrap().wait().unwrap();
    let view = Shared::default();
    let mut runner = Runner::open(log.clone(), view.clone(), HandlerSpec::new("h").window(2, 1 << 20), count).unwrap();
    let before = view.bookmark(&Space::new("h", 1)).unwrap();
    world.disk.inject(Fault { forever: true, ..Fault::once(Op::Sync, 0, std::io::ErrorKind::Other) });
    let _ = runner.step();
    for _ in 0..3 {
        assert!(runner.settle().is_err());
    }
    assert!(runner.step().is_err());
    assert!(runner.close().is_err());
    assert_eq!((view.bookmark(&Space::new("h", 1)).unwrap(), row(&view, "n")), (before, None));
}

#[test]
fn a_view_whose_record_cannot_be_read_any_more_is_made_again() {
    let world = World::of(&["s1"; 3]);
    let journal = Failing::of(&world.log);
    Runner::open(journal.clone(), world.view.clone(), world.spec(), count).unwrap().run_to_end().unwrap();
    let bookmark = world.view.bookmark(&Space::new("h", 1)).unwrap().unwrap();
    journal.gone.store(bookmark.commit.raw(), Ordering::SeqCst);
    let mut runner = Runner::open(journal, world.view.clone(), world.spec(), count).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!(runner.get_bytes("n").unwrap().unwrap()[..], 3u32.to_le_bytes());
}

#[test]
fn a_handler_that_pauses_before_an_event_sleeps_while_it_waits() {
    let world = World::of(&["s1", "s1"]);
    let pause = |_: &Event, _: &mut Context<'_>| -> Result<(), Failure> { Err(Failure::Pause("no".into())) };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), pause).unwrap();
    assert!(matches!(runner.run_to_end().unwrap(), Step::Paused { .. }));
    let begun = Instant::now();
    runner.wait(Duration::from_millis(200)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
    // And what an operator asks wakes it.
    Control::new(world.log.clone(), "h").unwrap().resume("yes").unwrap();
    let begun = Instant::now();
    runner.wait(Duration::from_secs(60)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_step_names_no_more_streams_than_can_be_read_again() {
    let world = World::new();
    for chunk in 0..70 {
        let events = (0..1000).map(|n| Event::new(format!("s{chunk}-{n}"), "T"));
        drop(world.log.append(Append::new().events(events)).unwrap());
    }
    world.log.sync().unwrap();
    let each = |event: &Event, cx: &mut Context<'_>| -> Result<(), Failure> { Ok(cx.put_bytes(event.stream(), "")?) };
    let spec = || world.spec().window(200_000, 8 << 20);
    Runner::open(world.log.clone(), Shared::default(), spec(), each).unwrap().run_to_end().unwrap();
    let mut runner = Runner::open(world.log.clone(), Shared::default(), spec(), each).unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert!(runner.get_bytes("s69-999").unwrap().is_some());
}

#[test]
fn headers_of_outputs_count_to_what_a_step_takes() {
    let world = World::of(&["s1"; 40]);
    let large = |_: &Event, cx: &mut Context<'_>| -> Result<(), Failure> {
        (0..10).for_each(|_| cx.emit(Event::new("out", "T").header("h", "x".repeat(60_000))));
        Ok(())
    };
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec(), large).unwrap();
    runner.run_to_end().unwrap();
    assert_eq!(world.out().len(), 400);
}

#[test]
fn a_full_disk_is_said_and_with_room_the_same_instance_goes_on() {
    let world = World::of(&["s1", "s2", "s1"]);
    let journal = Failing::of(&world.log);
    let fails_first = |event: &Event, cx: &mut Context<'_>| -> Result<(), Failure> {
        if event.offset() == Offset::ZERO { Err(Failure::park("no")) } else { count(event, cx) }
    };
    let mut runner = Runner::open(journal.clone(), world.view.clone(), world.spec(), fails_first).unwrap();
    for _ in 0..3 {
        journal.full.store(true, Ordering::SeqCst);
        assert!(matches!(runner.run_to_end(), Err(HandlerError::Append(AppendError::DiskFull))));
        assert!(matches!(runner.step(), Err(HandlerError::Append(AppendError::DiskFull))));
        assert_eq!((world.out().len(), runner.parked()), (0, 0));
    }
    journal.full.store(false, Ordering::SeqCst);
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    assert_eq!((world.out(), world.decided(Offset::ZERO)), (vec!["s2@1".to_owned()], vec!["set_aside"]));
    assert_eq!((runner.parked(), world.own_rows(b'q')), (1, 2));
    assert_eq!(runner.get_bytes("n").unwrap().unwrap()[..], 1u32.to_le_bytes());
    // What an operator asks meanwhile is done as well, once.
    let control = Control::new(world.log.clone(), "h").unwrap();
    control.park_drop("s1", "broken", true).unwrap();
    journal.full.store(true, Ordering::SeqCst);
    assert!(runner.step().is_err());
    journal.full.store(false, Ordering::SeqCst);
    runner.run_to_end().unwrap();
    assert_eq!((runner.parked(), world.decided(Offset::ZERO)), (0, vec!["set_aside", "dropped"]));
}

#[test]
fn an_attempt_that_a_full_disk_did_not_record_has_a_number_of_its_own() {
    let world = World::of(&["s1"]);
    let journal = Failing::of(&world.log);
    let attempts: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (seen, full) = (attempts.clone(), journal.full.clone());
    let executor = move |effect: &Effect| -> Result<(), Failure> {
        seen.lock().unwrap().push(effect.attempt);
        full.store(seen.lock().unwrap().len() < 3, Ordering::SeqCst);
        Ok(())
    };
    let ask = |_: &Event, cx: &mut Context<'_>| -> Result<(), Failure> { Ok(cx.effect_bytes("mail", "")?) };
    let runner = Runner::open(journal, world.view.clone(), world.spec(), ask).unwrap();
    let mut runner = runner.executor(executor);
    for _ in 0..5 {
        let _ = runner.run_to_end();
    }
    assert_eq!((&attempts.lock().unwrap()[..], world.own_rows(b'e')), (&[1, 2, 3][..], 0));
}

struct Once;

impl Handler for Once {
    fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
        // The first one waits for a later one.
        if event.offset() == Offset::ZERO && cx.get_bytes("open")?.is_none() {
            return Err(Failure::retry_after(Duration::from_secs(1), "not yet"));
        }
        cx.put_bytes("open", "")?;
        Ok(())
    }
    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        (event.stream() != "s-other").then(|| b"fact".to_vec())
    }
}

#[test]
fn an_event_taken_up_late_does_not_make_a_newer_one_of_the_same_fact_be_forgotten() {
    let world = World::of(&["s1", "s-other", "s-other", "s-other", "s-other", "s-other", "s-other", "s-other", "s2"]);
    let mut runner = Runner::open(world.log.clone(), world.view.clone(), world.spec().horizon(7), Once).unwrap();
    runner.run_to_end().unwrap();
    world.clock.advance_ms(2_000);
    runner.step().unwrap();
    runner.settle().unwrap();
    assert_eq!(world.decided(Offset::ZERO), ["set_aside", "taken_up"]);
    // Within the horizon of the one at 8, and not of the one at 0.
    let again = world.append("s3");
    assert!(again.raw() <= 8 + 7);
    runner.run_to_end().unwrap();
    assert_eq!(world.decided(again), ["repeat"]);
}
