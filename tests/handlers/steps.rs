//! A step: state, position and outputs move together.

use annals::{Event, HandlerSpec, Log, MemoryView, Runner, Step};

#[test]
fn a_handler_counts_every_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for n in 0..10_000u32 {
        drop(log.append(Event::new(format!("order-{}", n % 7), "Placed").data(&b"x"[..])).unwrap());
    }
    log.sync().unwrap();
    let count = |event: &Event, cx: &mut annals::Context<'_>| {
        let n = cx.get_bytes(event.stream())?.map_or(0, |n| u64::from_le_bytes(n[..].try_into().unwrap()));
        cx.put_bytes(event.stream(), (n + 1).to_le_bytes())?;
        if n % 1000 == 0 {
            cx.emit(Event::new("report", "Thousand").data(event.stream().as_bytes().to_vec()));
        }
        Ok(())
    };
    let mut runner = Runner::open(log.clone(), MemoryView::new(), HandlerSpec::new("count"), count).unwrap();
    assert_eq!(runner.run_to_end().unwrap(), Step::Idle { due_us: None });
    drop(runner);
    log.append(Event::new("order-0", "Placed")).unwrap().wait().unwrap();
    let mut runner = Runner::open(log.clone(), MemoryView::new(), HandlerSpec::new("count"), count).unwrap();
    runner.run_to_end().unwrap();
    let counted = |stream: &str| {
        let count = runner.get_bytes(stream).unwrap().map_or(0, |n| u64::from_le_bytes(n[..].try_into().unwrap()));
        (count, log.read(..).streams(stream).count() as u64)
    };
    // 10,000 events over seven streams and one more; at 0 and at 1,000 of each it put out a report, and one of those.
    assert_eq!(counted("order-0"), (1430, 1430));
    assert_eq!(counted("order-6"), (1428, 1428));
    assert_eq!(counted("report"), (15, 15));
}
