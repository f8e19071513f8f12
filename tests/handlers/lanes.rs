//! Lanes change how fast a handler is, and nothing else.

use std::sync::Arc;

use annals::testkit::{ManualClock, SeededRandom};
use annals::{Append, Context, Event, Failure, HandlerSpec, Lanes, MemoryView, NewEvent, Runner};
use proptest::prelude::*;

use crate::world::{NAME, World};

/// What the handling of one event does.
#[derive(Debug, Clone, Copy)]
struct Does {
    stream: u8,
    what: u8,
    key: u8,
}

fn handle(event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
    let [what, key] = event.data()[..] else { return Err(Failure::park("no such event".to_owned())) };
    let own = format!("own/{}/{key}", event.stream());
    let shared = format!("shared/{key}");
    let before = cx.get_bytes(&own)?.unwrap_or_default();
    cx.put_bytes(&own, [&before[..], &[what]].concat())?;
    match what {
        0 => cx.put_bytes(&shared, event.stream())?,
        1 => {
            let seen = cx.get_bytes(&shared)?.unwrap_or_default();
            cx.put_bytes(&own, seen)?;
        }
        2 => {
            let seen = cx.scan_bytes("shared/")?.len();
            cx.put_bytes(&own, [seen as u8])?;
        }
        3 => {
            let seen = cx.scan_bytes(format!("own/{}/", event.stream()))?;
            cx.emit(Event::new("out", "Seen").data(format!("{seen:?}").into_bytes()));
        }
        4 => cx.delete(&own)?,
        5 => return Err(Failure::Skip("not wanted".to_owned())),
        6 => return Err(Failure::park("broken".to_owned())),
        7 => {
            let number = cx.random();
            cx.emit(Event::new("out", "Number").data(number.to_le_bytes().to_vec()));
        }
        _ => {}
    }
    Ok(())
}

/// All that the handler put into the log, and how often it ran in lanes.
fn run(does: &[Does], lanes: usize, window: usize, exact: bool) -> (Vec<String>, Lanes) {
    let world = World::new(7);
    let log = world.log();
    let names: Vec<String> = (0..=u8::MAX).map(|n| format!("stream-{n}")).collect();
    let events = does
        .iter()
        .map(|does| NewEvent::new(names[usize::from(does.stream)].as_str(), "Done").data(vec![does.what, does.key]));
    log.append(Append::new().events(events)).unwrap().wait().unwrap();
    let end = log.durable_end();
    let spec = HandlerSpec::new(NAME.split('/').next().unwrap())
        .lanes(lanes)
        .window(window, 1024 * 1024)
        .exact(exact)
        .by_hand(true)
        .clock(Arc::new(ManualClock::new(1_700_000_000_000_000)))
        .random(Arc::new(SeededRandom::new(3)));
    let name = format!("$handler/{}", NAME.split('/').next().unwrap());
    let mut runner = Runner::open(log.clone(), MemoryView::new(), spec, handle).unwrap();
    runner.run_to_end().unwrap();
    let ran = runner.lanes();
    runner.close().unwrap();
    let mut put = Vec::new();
    for event in log.read(end..).streams("out").chain(log.read(end..).streams(&name)) {
        let event = event.unwrap();
        let mut data = event.data().to_vec();
        if event.stream() == name {
            data[16..32].fill(0); // says how many lanes there are
        }
        put.push(format!("{} {} {:?} {data:?}", event.offset(), event.stream(), event.id()));
    }
    (put, ran)
}

fn doing(what: std::ops::Range<u8>) -> impl Strategy<Value = Vec<Does>> {
    let one = (0..6u8, what, 0..3u8).prop_map(|(stream, what, key)| Does { stream, what, key });
    proptest::collection::vec(one, 1..60)
}

fn same_as_one(does: &[Does], window: usize, exact: bool) -> Result<(), TestCaseError> {
    let (one, _) = run(does, 1, window, exact);
    for lanes in [2, 4] {
        prop_assert_eq!(&run(does, lanes, window, exact).0, &one, "{} lanes", lanes);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_and_outputs_are_those_of_one_lane(does in doing(0..12), window in 1..70usize, exact: bool) {
        same_as_one(&does, window, exact)?;
    }

    #[test]
    fn so_they_are_where_no_event_fails(does in doing(1..5), window in 1..70usize, exact: bool) {
        same_as_one(&does, window, exact)?;
    }
}

fn of_two_streams(what: u8, other: u8) -> Vec<Does> {
    vec![Does { stream: 0, what, key: 0 }, Does { stream: 1, what: other, key: 0 }]
}

#[test]
fn streams_that_do_not_meet_run_together() {
    for (what, other) in [(9, 9), (3, 4), (7, 3), (1, 1), (2, 2), (1, 2)] {
        let (_, ran) = run(&of_two_streams(what, other), 2, 100, false);
        assert_eq!(ran, Lanes { together: 1, again: 0 }, "{what} {other}");
    }
}

#[test]
fn those_that_meet_in_a_row_or_fail_run_again() {
    for (what, other) in [(0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (9, 5), (6, 9)] {
        let does = of_two_streams(what, other);
        let (put, ran) = run(&does, 2, 100, false);
        assert_eq!(ran, Lanes { together: 0, again: 1 }, "{what} {other}");
        assert_eq!(put, run(&does, 1, 100, false).0, "{what} {other}");
    }
}
