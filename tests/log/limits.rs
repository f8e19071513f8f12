//! Every limit has an error of its own that says the limit and what to do; nothing is written then.

use annals::limits::{
    BATCH_BYTES_MAX, BATCH_NAMES_MAX, CARRIED_STREAMS_MAX, CONTENT_TYPE_BYTES_MAX, DATA_BYTES_MAX, EXTRAS_BYTES_MAX,
    HEADERS_MAX, ID_BYTES_MAX, NAME_BYTES_MAX, SOURCE_POSITION_BYTES_MAX,
};
use annals::{Append, AppendError, Durability, Event, Expect, InvalidEvent, Log, NewEvent, Offset};

use crate::world::{DIR, World, all};

/// An append is refused, with these words, and nothing happened.
#[track_caller]
fn refused<'a>(log: &Log, append: impl Into<Append<'a>>, words: &[&str]) -> AppendError {
    let before = (log.tail(), log.durable_end());
    let error = log.append(append).unwrap_err();
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in {error:?}: {error}");
    }
    assert!(error.to_string().contains("nothing was written"), "{error}");
    assert!(error.nothing_written());
    assert_eq!((log.tail(), log.durable_end()), before);
    error
}

#[track_caller]
fn taken<'a>(log: &Log, append: impl Into<Append<'a>>) {
    log.append(append).unwrap().wait().unwrap();
}

fn event() -> NewEvent<'static> {
    Event::new("s", "T")
}

#[test]
fn names_have_1_to_1024_bytes_without_control_characters() {
    let world = World::new(1);
    let log = world.open();
    let longest = "é".repeat(NAME_BYTES_MAX / 2);
    let too_long = format!("{longest}x");
    taken(&log, Event::new(&longest, &longest).source(&longest).header(&longest, "v"));
    taken(&log, Event::new("a b/#*?\u{feff}\\", "Ünï 🦀"));
    for bad in ["", &too_long] {
        let len = bad.len().to_string();
        for (what, append) in [
            ("stream", Append::from(Event::new(bad, "T"))),
            ("type", Event::new("s", bad).into()),
            ("source", event().source(bad).into()),
            ("header", event().header(bad, "v").into()),
            ("stream", Append::new().expect(bad, Expect::Any).event(event())),
            ("source", Append::new().event(event()).source(bad, &b"1"[..], Expect::Any)),
        ] {
            let of_source = append.clone();
            let words = [what, "1024", if what == "source" { "bytes" } else { len.as_str() }];
            let error = refused(&log, of_source, &words);
            assert!(matches!(error, AppendError::Invalid(InvalidEvent::NameLength { .. })), "{error}");
        }
    }
    for bad in ["a\nb", "\0", "tab\there", "\u{85}", "\u{7f}"] {
        for append in [Event::new(bad, "T"), Event::new("s", bad), event().source(bad), event().header(bad, "v")] {
            let error = refused(&log, append, &["control character"]);
            assert!(matches!(error, AppendError::Invalid(InvalidEvent::NameControl { .. })), "{error}");
        }
    }
    log.close().unwrap();
    let events = all(&world.reader());
    assert_eq!((events.len(), &events[0].stream[..]), (2, &longest[..]));
}

#[test]
fn an_append_without_events_is_refused() {
    let world = World::new(1);
    let log = world.open();
    let error = refused(&log, Append::new().expect("s", Expect::Any), &["at least one event"]);
    assert!(matches!(error, AppendError::Empty));
}

#[test]
fn ids_headers_and_positions_have_their_limits() {
    let world = World::new(1);
    let log = world.open();
    taken(&log, event().id("x".repeat(ID_BYTES_MAX)));
    let error = refused(&log, event().id("x".repeat(ID_BYTES_MAX + 1)), &["1024", "1025"]);
    assert!(matches!(error, AppendError::Invalid(InvalidEvent::IdLength { bytes: 1025 })));
    refused(&log, event().id(""), &["1 to 1024"]);

    let headers = |n: usize| (0..n).fold(event(), |event, n| event.header(format!("h{n}"), "v"));
    taken(&log, headers(HEADERS_MAX));
    let error = refused(&log, headers(HEADERS_MAX + 1), &["64", "65"]);
    assert!(matches!(error, AppendError::Invalid(InvalidEvent::TooManyHeaders { headers: 65 })));

    let value = |bytes: usize| event().header("h", "v".repeat(bytes));
    taken(&log, value(EXTRAS_BYTES_MAX - 9));
    let error = refused(&log, value(EXTRAS_BYTES_MAX - 8), &["65536", "65537"]);
    assert!(matches!(error, AppendError::Invalid(InvalidEvent::HeadersTooLong { .. })));
    refused(&log, event().content_type("v".repeat(CONTENT_TYPE_BYTES_MAX + 1)), &["1024", "1025"]);

    let position = |bytes: usize| Append::new().event(event()).source("i", vec![0; bytes], Expect::None);
    let error = refused(&log, position(SOURCE_POSITION_BYTES_MAX + 1), &["2048", "2049"]);
    assert!(matches!(error, AppendError::PositionTooLong { bytes: 2049 }));
    taken(&log, position(SOURCE_POSITION_BYTES_MAX));
    let end = log.tail();
    world.kill(log);
    let log = world.open();
    assert_eq!((log.tail(), log.source("i").unwrap().position.len()), (end, SOURCE_POSITION_BYTES_MAX));
}

#[test]
fn the_largest_event_fits_with_all_that_may_come_with_it() {
    let world = World::new(1);
    let log = Log::options().env(world.env()).open(DIR).unwrap();
    let name = "n".repeat(NAME_BYTES_MAX);
    let data = vec![7; DATA_BYTES_MAX];
    let largest = Event::new(&name, &name).source(&name).header("h", "v".repeat(EXTRAS_BYTES_MAX - 9)).data(&data);
    taken(&log, Append::new().event(largest).source("i", vec![1; SOURCE_POSITION_BYTES_MAX], Expect::None));
    let error = refused(&log, event().data(vec![7; DATA_BYTES_MAX + 1]), &["16515072", "16515073", "split it"]);
    assert!(matches!(error, AppendError::Invalid(InvalidEvent::DataTooLong { .. })));
    log.close().unwrap();
    assert!(world.verify().is_sound());
    let read = world.reader().get(Offset::ZERO).unwrap().unwrap();
    assert!(read.data() == data && read.headers().next().unwrap().1.len() == EXTRAS_BYTES_MAX - 9);
}

#[test]
fn the_largest_append_fits_to_the_byte() {
    let world = World::new(1);
    let log = Log::options().env(world.env()).open(DIR).unwrap();
    let append =
        |bytes: usize| Append::new().event(event().data(vec![0; DATA_BYTES_MAX])).event(event().data(vec![0; bytes]));
    let AppendError::TooLarge { bytes } = refused(&log, append(300_000), &["16777216", "split it"]) else { panic!() };
    let over = bytes - BATCH_BYTES_MAX;
    refused(&log, append(300_000 - over + 1), &["16777217"]);
    taken(&log, append(300_000 - over));
    // Beside others too, which it may not be merged with.
    let receipts = [log.append(event()), log.append(append(300_000 - over)), log.append(event())];
    receipts.into_iter().for_each(|receipt| drop(receipt.unwrap().wait().unwrap()));
    log.close().unwrap();
    assert!(world.verify().is_sound());
    assert_eq!(
        world.reader().read(..).map(|event| event.unwrap().data().len()).sum::<usize>(),
        2 * (DATA_BYTES_MAX + 300_000 - over)
    );
}

#[test]
fn an_append_names_65535_streams_types_and_sources_and_not_one_more() {
    let world = World::new(1);
    let log = Log::options().env(world.env()).open(DIR).unwrap();
    let append = |names: usize| {
        let named = |n: usize| Event::new(format!("s{n}"), format!("t{n}")).source(format!("o{n}"));
        Append::new().events((0..names).map(named)).durability(Durability::Os)
    };
    let error = refused(&log, append(BATCH_NAMES_MAX + 1), &["65535", "65536", "split it"]);
    assert!(matches!(error, AppendError::TooManyNames { names: 65536 }));
    let with_source = append(BATCH_NAMES_MAX).source("i", &b"1"[..], Expect::None);
    refused(&log, with_source, &["65536"]);
    // Merged with others there would be one too many.
    drop(log.append(Event::new("before", "before")).unwrap());
    taken(&log, append(BATCH_NAMES_MAX));
    taken(&log, Event::new("after", "after"));
    log.close().unwrap();
    let report = world.verify();
    assert!(report.is_sound(), "{report:?}");
    let stat = world.reader().stat().unwrap();
    assert_eq!((stat.events, stat.streams, stat.types), (65_537, 65_537, 65_537));
    let last = world.reader().get(Offset::from_raw(65_535)).unwrap().unwrap();
    assert_eq!((last.stream(), last.event_type(), last.source()), ("s65534", "t65534", Some("o65534")));
}

#[test]
fn more_events_than_names_are_no_matter() {
    let world = World::new(1);
    let log = world.open();
    taken(&log, Append::new().events((0..70_000).map(|_| event())));
    assert_eq!(log.durable_end().raw(), 70_000);
}

#[test]
fn a_log_remembers_4096_sources_and_says_when_there_are_more() {
    let world = World::new(1);
    let mut log = world.open();
    let take = |n: usize, expect| {
        Append::new().source(&format!("source-{n}"), vec![1; 100], expect).durability(Durability::Os)
    };
    for n in 0..CARRIED_STREAMS_MAX {
        drop(log.append(take(n, Expect::None)).unwrap());
    }
    log.sync().unwrap();
    for _ in 0..2 {
        let error = refused(&log, take(CARRIED_STREAMS_MAX, Expect::None), &["4096"]);
        assert!(matches!(error, AppendError::TooManySources { sources: 4096 }));
        assert_eq!(log.source("source-4095").unwrap().offset.raw(), 4095);
        world.kill(log);
        log = world.open();
    }
    taken(&log, take(17, Expect::Last(Offset::from_raw(17))));
    let segments = world.segments().len();
    assert!(segments < 20, "what is carried leaves room for events: {segments} segments");
    // The carry of the next segment is larger than the smallest segment.
    taken(&log, event().data(vec![1; 250_000]));
    world.kill(log);
    assert_eq!(world.open().source("source-17").unwrap().offset.raw(), 4096);
}
