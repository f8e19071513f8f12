//! The promises of a journal as named checks, for any implementation.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::time::Duration;

use super::{Found, Journal, JournalRead, Pending};
use crate::log::own;
use crate::{Append, AppendError, Appended, Event, Expect, Filter, NewEvent, Offset, Version};

/// Long enough for any machine; nobody waits for it but where a promise is broken.
const LONG: Duration = Duration::from_secs(60);
/// A stream of the log's own.
const OWN: &str = "$handler/conformance";

type Check = (&'static str, fn(&dyn Journal));

const CHECKS: &[Check] = &[
    ("an append is taken whole or not at all", all_or_nothing),
    ("a refusal says what was expected and what there is", a_refusal_says_why),
    ("every kind of expectation holds exactly where it should", expectations),
    ("expectations are about the log before the append", expectations_are_about_before),
    ("offsets have no gaps, nor have the versions of a stream", dense),
    ("times of recording never go back", recorded),
    ("streams of the log's own are refused to users", reserved),
    ("an append without events is refused", empty),
    ("an append of the size that is said is taken, a larger one is not", sizes),
    ("the last record of an own stream is known before it is kept", own_last),
    ("a record of an own stream closes its append", own_closes),
    ("an own stream has a history", own_history),
    ("what was said of a source is known", sources),
    ("a read gives what its filter wants, in order", filtered),
    ("a read moves past what is not wanted", moves_past),
    ("a read has its bounds", bounds),
    ("a read ends where the log was durable", durable),
    ("an event is found by its offset", get),
    ("an event is what was appended", whole_events),
    ("a wait ends when there is an event, or when its time is over", waits),
    ("receipts are fulfilled in any order", pipelined),
    ("of many that expect the same last event one is taken", contended),
];

/// Holds a journal to its promises: `make` makes an empty one, for each check a new one. What it can do is asked of
/// [`Journal::caps`].
///
/// # Panics
/// Where a promise is broken.
pub fn journal_conformance<J: Journal>(make: impl Fn() -> J) {
    for (name, check) in CHECKS {
        let journal = make();
        named(name, || check(&journal));
    }
}

/// Holds a journal that can be opened again to keep all that was acknowledged.
///
/// # Panics
/// Where a promise is broken.
pub fn journal_reopen_conformance<J: Journal>(make: impl Fn() -> J, reopen: impl Fn(J) -> J) {
    named("a journal that is opened again has all that was kept", || kept(make(), &reopen));
    named("a journal goes on where it was, when it is opened again", || goes_on(make(), &reopen));
}

/// Closes an append by a record of one of the log's own streams, as handlers do.
///
/// # Panics
/// When the stream is not one of the log's own.
#[must_use]
pub fn own_append<'a>(append: Append<'a>, record: NewEvent<'a>, expect: Expect) -> Append<'a> {
    assert!(own::is_own(&record.stream), "{:?} is not a stream of the log's own", record.stream);
    append.own(record, expect)
}

/// Says behind what went wrong which check it was.
fn named(name: &str, check: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(check)).is_err() {
        panic!("a promise of journals is not kept: {name}");
    }
}

/// The value, or a panic that says what went wrong.
#[track_caller]
fn done<T, E: fmt::Display>(outcome: Result<T, E>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn put(journal: &dyn Journal, append: Append<'_>) -> Appended {
    let pending = done(journal.append(append));
    let planned = pending.planned().clone();
    let appended = done(pending.wait());
    assert_eq!(appended, planned, "what is kept is what was planned");
    appended
}

#[track_caller]
fn put_one(journal: &dyn Journal, stream: &str) -> Offset {
    put(journal, Event::new(stream, "T").into()).first()
}

/// The offset of the second of two events of the stream `a`.
#[track_caller]
fn put_two(journal: &dyn Journal) -> Offset {
    put_one(journal, "a");
    put_one(journal, "a")
}

/// The offsets and streams that a filter wants of a journal.
#[track_caller]
fn wanted(journal: &dyn Journal, filter: &Filter) -> Vec<(u64, String)> {
    let mut read = journal.read(Offset::ZERO, Offset::from_raw(u64::MAX), filter);
    read_on(&mut *read)
}

#[track_caller]
fn read_on(read: &mut dyn JournalRead) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    loop {
        let before = read.position();
        match done(read.look()) {
            Found::Batch(batch) => {
                all.extend(batch.events().map(|event| (event.offset().raw(), event.stream().to_owned())));
                let last = all.last().map_or(0, |(offset, _)| offset + 1);
                assert!(read.position().raw() >= last, "the position is behind what was given");
            }
            Found::Nothing => {}
            Found::End => {
                assert!(read.position() >= before, "what was passed over by an index lies before the end");
                return all;
            }
        }
        assert!(read.position() > before, "each look takes a step");
    }
}

fn everything() -> Filter {
    Filter::new().system(true)
}

fn as_pairs(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(offset, stream)| (*offset, (*stream).to_owned())).collect()
}

/// What a refused append has to leave as it was.
#[track_caller]
fn refused(journal: &dyn Journal, append: Append<'_>) -> AppendError {
    let before = wanted(journal, &everything());
    let error = match journal.append(append) {
        Ok(pending) => panic!("it was taken at {}", pending.planned().first()),
        Err(error) => error,
    };
    assert!(error.nothing_written(), "{error}");
    assert_eq!(wanted(journal, &everything()), before, "a refused append wrote something");
    error
}

fn all_or_nothing(journal: &dyn Journal) {
    put_one(journal, "a");
    let several = || Append::new().event(Event::new("a", "T")).event(Event::new("b", "T")).event(Event::new("c", "T"));
    let spoilt: [Append<'_>; 4] = [
        several().expect("a", Expect::None),
        several().expect("a", Expect::Exists).expect("z", Expect::Exists),
        several().event(Event::new("", "T")),
        several().event(Event::new("d", "")),
    ];
    for append in spoilt {
        refused(journal, append);
        assert_eq!(journal.durable_end(), Offset::from_raw(1));
    }
    let taken = put(journal, several());
    assert_eq!((taken.first().raw(), taken.next().raw()), (1, 4));
    assert_eq!(wanted(journal, &everything()), as_pairs(&[(0, "a"), (1, "a"), (2, "b"), (3, "c")]));
}

fn a_refusal_says_why(journal: &dyn Journal) {
    put_one(journal, "other");
    let second = put_two(journal);
    let cases = [
        ("a", Expect::None, Some((1, second))),
        ("a", Expect::Version(Version::FIRST), Some((1, second))),
        ("a", Expect::Last(second.plus(1)), Some((1, second))),
        ("b", Expect::Exists, None),
        (OWN, Expect::Last(second), None),
    ];
    for (asked, expect, there) in cases {
        match refused(journal, Append::from(Event::new("c", "T")).expect(asked, expect)) {
            AppendError::WrongVersion { stream, expected, actual, last } => {
                assert_eq!((stream.as_str(), expected), (asked, expect));
                let there = there.map(|(version, offset)| (Version::from_raw(version), offset));
                assert_eq!(actual.zip(last), there, "{asked}: {expect}");
            }
            other => panic!("{asked}, {expect}: {other}"),
        }
    }
}

fn expectations(journal: &dyn Journal) {
    let last = put_two(journal);
    let holds = |stream: &'static str, expect| {
        let append = Append::from(Event::new("x", "T")).expect(stream, expect);
        journal.append(append).map(|pending| drop(done(pending.wait()))).is_ok()
    };
    let version = |raw| Expect::Version(Version::from_raw(raw));
    let of_a = [Expect::Any, Expect::None, Expect::Exists, version(0), version(1), version(2), Expect::Last(last)];
    assert_eq!(of_a.map(|expect| holds("a", expect)), [true, false, true, false, true, false, true]);
    let of_none = [Expect::Any, Expect::None, Expect::Exists, version(0), Expect::Last(Offset::ZERO)];
    assert_eq!(of_none.map(|expect| holds("none", expect)), [true, true, false, false, false]);
    assert_eq!(of_none.map(|expect| holds(OWN, expect)), [true, true, false, false, false]);
}

fn expectations_are_about_before(journal: &dyn Journal) {
    let both = Append::new().event(Event::new("a", "T")).event(Event::new("a", "T"));
    let taken = put(journal, both.expect("a", Expect::None));
    assert_eq!(taken.versions().map(Version::raw).collect::<Vec<_>>(), [0, 1]);
}

fn dense(journal: &dyn Journal) {
    let mut next = 0;
    for round in 0..50u64 {
        let append = Append::new().event(Event::new("a", "T")).event(Event::new("b", "T")).event(Event::new("a", "T"));
        let taken = put(journal, own_append(append, Event::new(OWN, "Step"), Expect::Any));
        assert_eq!((taken.first().raw(), taken.next().raw()), (next, next + 4));
        let versions: Vec<u64> = taken.versions().map(Version::raw).collect();
        assert_eq!(versions, [2 * round, round, 2 * round + 1, round]);
        next += 4;
    }
    let offsets: Vec<u64> = wanted(journal, &everything()).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, (0..next).collect::<Vec<_>>());
    assert_eq!(journal.durable_end().raw(), next);
}

fn recorded(journal: &dyn Journal) {
    let mut before = None;
    for _ in 0..50 {
        let taken = put(journal, Append::new().event(Event::new("a", "T")).event(Event::new("a", "T")));
        assert!(before.is_none_or(|before| before <= taken.recorded()), "the time of recording went back");
        for offset in [taken.first(), taken.first().plus(1)] {
            let recorded = done(journal.get(offset)).map(|event| event.recorded());
            assert_eq!(recorded, Some(taken.recorded()), "one append has one time");
        }
        before = Some(taken.recorded());
    }
}

fn reserved(journal: &dyn Journal) {
    for stream in ["$", OWN, "$control/x", "$source/x", "$other"] {
        let error = refused(journal, Event::new(stream, "T").into());
        assert!(matches!(error, AppendError::Invalid(_)), "{stream}: {error}");
    }
}

fn empty(journal: &dyn Journal) {
    let error = refused(journal, Append::new().expect("a", Expect::None));
    assert!(matches!(error, AppendError::Empty), "{error}");
}

fn sizes(journal: &dyn Journal) {
    let most = journal.caps().max_append;
    let of = |bytes: usize| Append::from(Event::new("a", "T").data(vec![7; bytes]));
    // Names and tables take some of it, and one event does not take all.
    let large = of(most - most / 32);
    let at = put(journal, large).first();
    assert_eq!(done(journal.get(at)).map(|event| event.data().len()), Some(most - most / 32));
    refused(journal, of(most + 1));
    let halves = || of(most / 2 + 1).event(Event::new("a", "T").data(vec![7; most / 2]));
    let error = refused(journal, halves());
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
}

fn own_last(journal: &dyn Journal) {
    assert_eq!(done(journal.last(OWN)), None);
    let mut pending: Vec<Pending> = Vec::new();
    let mut expect = Expect::None;
    for round in 0..20u64 {
        let append = Append::from(Event::new("a", "T"));
        let taken = done(journal.append(own_append(append, Event::new(OWN, "Step").data(vec![1, 2, 3]), expect)));
        let record = done(journal.last(OWN)).unwrap_or_else(|| panic!("the record {round} is not known"));
        assert_eq!((record.offset, record.version.raw()), (before(taken.planned().next()), round));
        assert_eq!((&*record.event_type, &record.content[..]), ("Step", &[1, 2, 3][..]));
        expect = Expect::Last(record.offset);
        pending.push(taken);
    }
    pending.into_iter().for_each(|pending| drop(done(pending.wait())));
    assert_eq!(done(journal.last("$handler/other")), None, "streams are told apart");
}

fn own_closes(journal: &dyn Journal) {
    let data = vec![9; 100_000];
    let append = Append::new().event(Event::new("a", "T")).event(Event::new("b", "T"));
    let taken = put(journal, own_append(append, Event::new(OWN, "Step").data(&data), Expect::None));
    assert_eq!(wanted(journal, &everything()), as_pairs(&[(0, "a"), (1, "b"), (2, OWN)]));
    let last = before(taken.next());
    let event = done(journal.get(last)).unwrap_or_else(|| panic!("the record is not there"));
    assert_eq!((event.event_type(), event.data()), ("Step", &data[..]));
    let record = done(journal.last(OWN)).unwrap_or_else(|| panic!("the record is not known"));
    assert!(data.starts_with(&record.content) && record.content.len() < data.len(), "the head of it is carried");
    // An append of such a record alone.
    let alone = put(journal, own_append(Append::new(), Event::new(OWN, "Step"), Expect::Last(last)));
    assert_eq!(alone.versions().collect::<Vec<_>>(), [Version::from_raw(1)]);
    let error = refused(journal, own_append(Append::new(), Event::new(OWN, "Step"), Expect::Last(last)));
    assert!(matches!(error, AppendError::WrongVersion { .. }), "{error}");
}

fn own_history(journal: &dyn Journal) {
    let mut history = Vec::new();
    for stream in [OWN, "$handler/other", OWN, "$control/conformance", OWN] {
        put_one(journal, "a");
        let taken = put(journal, own_append(Append::new(), Event::new(stream, "Step"), Expect::Any));
        if stream == OWN {
            history.push((taken.first().raw(), OWN.to_owned()));
        }
    }
    assert_eq!(wanted(journal, &Filter::new().stream_named(OWN)), history);
}

fn sources(journal: &dyn Journal) {
    let source =
        |position: &'static str, expect| Append::from(Event::new("a", "T")).source("file", position.as_bytes(), expect);
    let first = before(put(journal, source("one", Expect::None)).next());
    refused(journal, source("two", Expect::None));
    put(journal, source("two", Expect::Last(first)));
    let record = done(journal.last("$source/file")).unwrap_or_else(|| panic!("the position is not known"));
    assert_eq!((&record.content[..], record.version.raw()), (&b"two"[..], 1));
}

/// Streams `a` and `b` in turn, types `T` and `U`, and records of the log's own between them.
fn fill(journal: &dyn Journal, rounds: u64) {
    for round in 0..rounds {
        let event_type = if round % 2 == 0 { "T" } else { "U" };
        let append = Append::new().event(Event::new("a", event_type)).event(Event::new("b", "T"));
        put(journal, own_append(append, Event::new(OWN, "Step"), Expect::Any));
    }
}

fn filtered(journal: &dyn Journal) {
    /// Of a round and a place within it.
    type Wants = fn(u64, u64) -> bool;
    fill(journal, 20);
    let cases: [(Filter, Wants); 6] = [
        (Filter::new(), |_, place| place < 2),
        (everything(), |_, _| true),
        (Filter::new().stream("a"), |_, place| place == 0),
        (Filter::new().stream("a").types(["U"]), |round, place| place == 0 && round % 2 == 1),
        (Filter::new().stream("$handler/*"), |_, place| place == 2),
        (Filter::new().stream("none"), |_, _| false),
    ];
    for (filter, wants) in cases {
        let offsets: Vec<u64> = wanted(journal, &filter).into_iter().map(|(offset, _)| offset).collect();
        let expected: Vec<u64> = (0..60).filter(|offset| wants(offset / 3, offset % 3)).collect();
        assert_eq!(offsets, expected, "{filter:?}");
    }
}

fn moves_past(journal: &dyn Journal) {
    fill(journal, 10);
    for filter in [Filter::new().stream("none"), Filter::new().stream("a").types(["U"])] {
        let mut read = journal.read(Offset::ZERO, Offset::from_raw(u64::MAX), &filter);
        read_on(&mut *read);
        assert_eq!(read.position(), journal.durable_end(), "{filter:?}");
    }
}

fn bounds(journal: &dyn Journal) {
    let several = Append::new().events((0..6).map(|_| Event::new("a", "T")));
    put(journal, several);
    fill(journal, 2);
    for from in 0..=12u64 {
        for to in 0..=12 {
            let mut read = journal.read(Offset::from_raw(from), Offset::from_raw(to), &everything());
            let offsets: Vec<u64> = read_on(&mut *read).into_iter().map(|(offset, _)| offset).collect();
            assert_eq!(offsets, (from..to).collect::<Vec<_>>(), "{from} to {to}");
            assert!(from > to || read.position().raw() == to, "from {from} to {to} it is at {}", read.position());
        }
    }
    let behind = Offset::from_raw(100);
    assert_eq!(read_on(&mut *journal.read(behind, behind.plus(1), &everything())), []);
}

fn durable(journal: &dyn Journal) {
    assert_eq!((journal.head(), journal.durable_end()), (Offset::ZERO, Offset::ZERO));
    assert_eq!(wanted(journal, &everything()), []);
    put_one(journal, "a");
    let mut read = journal.read(Offset::ZERO, Offset::from_raw(u64::MAX), &everything());
    let pending = done(journal.append(Event::new("a", "T").into()));
    let (end, place) = (journal.durable_end(), pending.planned().first());
    assert!(end == place || end == place.plus(1), "the end is before or behind what is on its way");
    drop(done(pending.wait()));
    assert_eq!(journal.durable_end(), place.plus(1), "what was waited for is durable");
    assert_eq!(read_on(&mut *read), as_pairs(&[(0, "a")]), "a read ends where it did when it was made");
    assert_eq!(wanted(journal, &everything()).len(), 2);
}

fn get(journal: &dyn Journal) {
    fill(journal, 10);
    for (offset, stream) in wanted(journal, &everything()) {
        let event = done(journal.get(Offset::from_raw(offset)));
        let found = event.as_ref().map(|event| (event.offset().raw(), event.stream(), event.version().raw()));
        assert_eq!(found, Some((offset, stream.as_str(), offset / 3)));
    }
    for none in [30, 31, u64::MAX] {
        assert!(done(journal.get(Offset::from_raw(none))).is_none(), "there is no event at {none} yet");
    }
}

fn whole_events(journal: &dyn Journal) {
    let time = crate::Timestamp::from_micros(-5);
    let event = Event::new("é", "T").data(&[0, 255][..]).source("s").id("i").content_type("c").time(time);
    let at = put(journal, event.header("h", "1").header("h", "2").into()).first();
    let event = done(journal.get(at)).unwrap_or_else(|| panic!("the event is not there"));
    assert_eq!((event.stream(), event.event_type(), event.data()), ("é", "T", &[0, 255][..]));
    assert_eq!((event.source(), event.id(), event.content_type()), (Some("s"), Some("i"), Some("c")));
    assert_eq!(event.time(), time);
    assert_eq!(event.headers().collect::<Vec<_>>(), [("h", "1"), ("h", "2")]);
}

fn waits(journal: &dyn Journal) {
    assert_eq!(done(journal.wait_past(Offset::ZERO, Duration::from_millis(1))), Offset::ZERO, "there is no event");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| done(journal.wait_past(Offset::from_raw(1), LONG)));
        put_one(journal, "a");
        put_one(journal, "a");
        assert_eq!(waiting.join().ok(), Some(Offset::from_raw(2)));
    });
    assert_eq!(done(journal.wait_past(Offset::ZERO, LONG)), Offset::from_raw(2), "there is one already");
}

fn pipelined(journal: &dyn Journal) {
    let many = if journal.caps().pipelined { 100 } else { 1 };
    let mut pending: Vec<Pending> = (0..many).map(|_| done(journal.append(Event::new("a", "T").into()))).collect();
    let planned: Vec<u64> = pending.iter().map(|pending| pending.planned().first().raw()).collect();
    assert_eq!(planned, (0..many).collect::<Vec<_>>());
    // The last one first: all before it are kept with it.
    if let Some(last) = pending.pop() {
        let appended = done(last.wait());
        assert_eq!(journal.durable_end(), appended.next());
    }
    for (place, pending) in (0..).zip(pending) {
        assert_eq!(done(pending.wait()).first().raw(), place);
    }
    assert_eq!(wanted(journal, &everything()).len() as u64, many);
}

fn contended(journal: &dyn Journal) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 25;
    let meet = Barrier::new(WRITERS);
    let won: usize = std::thread::scope(|scope| {
        let write = |name: usize| {
            let mut won = 0;
            for _ in 0..ROUNDS {
                meet.wait();
                let last = done(journal.last(OWN)).map_or(Expect::None, |record| Expect::Last(record.offset));
                // All have seen the same last record.
                meet.wait();
                let append = Append::from(Event::new(format!("writer-{name}"), "T"));
                match journal.append(own_append(append, Event::new(OWN, "Step"), last)) {
                    Ok(pending) => {
                        drop(done(pending.wait()));
                        won += 1;
                    }
                    Err(error) => assert!(matches!(error, AppendError::WrongVersion { .. }), "{error}"),
                }
            }
            won
        };
        let writers: Vec<_> = (0..WRITERS).map(|name| scope.spawn(move || write(name))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap_or_default()).sum()
    });
    assert_eq!(won, ROUNDS, "one append is taken each time");
    assert_eq!(wanted(journal, &everything()).len(), 2 * ROUNDS, "nothing is left of those that were refused");
    assert_eq!(done(journal.last(OWN)).map(|record| record.version.raw()), Some(ROUNDS as u64 - 1));
}

fn kept<J: Journal>(journal: J, reopen: &impl Fn(J) -> J) {
    fill(&journal, 30);
    let (id, all, last) = (journal.id(), wanted(&journal, &everything()), done(journal.last(OWN)));
    let journal = reopen(journal);
    assert_eq!(journal.id(), id);
    assert_eq!(wanted(&journal, &everything()), all);
    assert_eq!(journal.durable_end().raw(), all.len() as u64);
    assert_eq!(done(journal.last(OWN)), last);
    let journal = reopen(journal);
    assert_eq!(done(journal.last(OWN)), last, "opened a second time");
}

fn goes_on<J: Journal>(mut journal: J, reopen: &impl Fn(J) -> J) {
    let mut expect = Expect::None;
    for round in 0..4 {
        let append =
            Append::from(Event::new("a", "T")).expect("a", if round == 0 { Expect::None } else { Expect::Exists });
        let taken = put(&journal, own_append(append, Event::new(OWN, "Step"), expect));
        assert_eq!(taken.versions().map(Version::raw).collect::<Vec<_>>(), [round, round]);
        refused(&journal, own_append(Append::new(), Event::new(OWN, "Step"), expect));
        expect = Expect::Last(before(taken.next()));
        journal = reopen(journal);
    }
}

fn before(offset: Offset) -> Offset {
    Offset::from_raw(offset.raw().saturating_sub(1))
}
