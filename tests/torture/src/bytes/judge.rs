//! The three who look at a log: a reader, `verify`, and whoever opens it for writing. None may panic, take memory
//! without bound, or give an event that was never appended.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use annals::testkit::MemDisk;
use annals::{Append, Event, Log, LogReader, Offset, OpenError, ReadError, ReadMode, VerifyReport};

use super::answers::ask;
use super::memory::peak_of;
use super::store::{self, DIR, Store, env};

/// Most bytes that looking at a damaged log may allocate at a time, whatever its bytes say.
pub const PEAK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How closely a log is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// All events from first to last, `verify`, and opening.
    Plain,
    /// Also every other question, and what comes after opening.
    Deep,
}

/// What was found by `verify`.
pub struct Verified {
    /// Damage, or something to note that was not there before.
    pub found: bool,
    pub is_sound: bool,
}

/// What a reader got: the right events, up to some offset.
pub struct Seen {
    pub end: u64,
    pub failed: bool,
}

/// What became of opening for writing.
pub enum Opened {
    Refused,
    /// It is open, with events before `tail`.
    Open {
        tail: u64,
        torn: Option<annals::TornTail>,
    },
}

/// What all three say. A broken promise that no damage excuses is an error.
pub struct Judgement {
    pub verified: Verified,
    pub seen: Seen,
    pub opened: Opened,
    /// Most bytes allocated at a time.
    pub peak: usize,
}

/// Lets all three look at the log on a disk. `files` are the same bytes: opening gets a disk of its own.
pub fn judge(store: &Store, mem: &MemDisk, depth: Depth) -> Result<Judgement, String> {
    let (verified, peak) = bounded("verify", || verify(store, mem))?;
    let (seen, read_peak) = bounded("reading", || read(store, mem, depth))?;
    let copy = store::disk_of(&store::files_of(mem));
    let (opened, open_peak) = bounded("opening", || open(store, mem, &copy, depth))?;
    Ok(Judgement { verified, seen, opened, peak: peak.max(read_peak).max(open_peak) })
}

fn bounded<T>(what: &str, work: impl FnOnce() -> Result<T, String>) -> Result<(T, usize), String> {
    let (done, peak) = peak_of(|| caught(work));
    let done = done.map_err(|panic| format!("{what} panics: {panic}"))?.map_err(|wrong| format!("{what}: {wrong}"))?;
    match peak > PEAK_BYTES_MAX {
        true => Err(format!("{what} allocates {peak} bytes, more than {PEAK_BYTES_MAX}")),
        false => Ok((done, peak)),
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What a piece of work gives, or how it panicked.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_caught = PANIC.with_borrow_mut(|panic| {
                let is_caught = panic.is_some();
                if is_caught {
                    *panic = Some(info.to_string());
                }
                is_caught
            });
            if !is_caught {
                before(info);
            }
        }));
    });
    PANIC.set(Some(String::new()));
    let done = catch_unwind(AssertUnwindSafe(work));
    let said = PANIC.take().unwrap_or_default();
    done.map_err(|_| said)
}

fn verify(store: &Store, mem: &MemDisk) -> Result<Verified, String> {
    let report = match store::verify(mem, store.boot) {
        Ok(report) => report,
        Err(OpenError::Damaged(_)) => VerifyReport::default(),
        Err(error) => return Err(format!("it is no answer to damage that {error}")),
    };
    let is_sound = report.is_sound() && report.files > 0;
    Ok(Verified { found: !is_sound || report.notes != store.notes, is_sound })
}

fn read(store: &Store, mem: &MemDisk, depth: Depth) -> Result<Seen, String> {
    let seen = read_in(store, mem, ReadMode::Map)?;
    if depth == Depth::Plain {
        return Ok(seen);
    }
    let again = read_in(store, mem, ReadMode::Pread)?;
    if (again.end, again.failed) != (seen.end, seen.failed) {
        return Err(format!("events end at {} in maps and at {} in files", seen.end, again.end));
    }
    if let Ok(reader) = LogReader::open_with(DIR, env(mem, store.boot), ReadMode::Map) {
        consumers(&reader, store)?;
        let end = reader.durable_end().map_or(0, Offset::raw);
        let answers = ask(&reader);
        // Where `LOCK` is damaged or the tail is torn, another number of events is the right answer.
        if end == store.readable
            && let Some(wrong) = answers.first_wrong(&store.answers)
        {
            return Err(wrong);
        }
    }
    Ok(seen)
}

fn read_in(store: &Store, mem: &MemDisk, mode: ReadMode) -> Result<Seen, String> {
    let reader = match LogReader::open_with(DIR, env(mem, store.boot), mode) {
        Ok(reader) => reader,
        Err(OpenError::Damaged(_)) => return Ok(Seen { end: 0, failed: true }),
        Err(error) => return Err(format!("it is no answer to damage that {error}")),
    };
    events(&reader, store, 0)
}

/// Reads all events from an offset on; behind damage it goes on where that ends.
fn events(reader: &LogReader, store: &Store, mut from: u64) -> Result<Seen, String> {
    let mut seen = Seen { end: from, failed: false };
    loop {
        let mut next = from;
        let mut damage = None;
        for event in reader.read(Offset::from_raw(from)..).system(true) {
            match event {
                Ok(event) => {
                    is_event(&event, next, store)?;
                    next += 1;
                }
                Err(ReadError::Damaged(found)) => damage = Some(found),
                Err(error) => return Err(format!("it is no answer to damage that {error}")),
            }
        }
        if !seen.failed {
            seen.end = next;
        }
        match damage {
            None => return Ok(seen),
            Some(damage) => {
                seen.failed = true;
                if damage.end.raw() <= next {
                    return Ok(seen);
                }
                from = damage.end.raw();
            }
        }
    }
}

fn is_event(event: &Event, offset: u64, store: &Store) -> Result<(), String> {
    let right = usize::try_from(offset).ok().and_then(|n| store.events.get(n));
    let right = right.ok_or_else(|| format!("event {offset} was never appended"))?;
    match event.offset().raw() == offset && is_same(event, right) {
        true => Ok(()),
        false => Err(format!("event {offset} is not the one that was appended: {event:?} instead of {right:?}")),
    }
}

fn is_same(a: &Event, b: &Event) -> bool {
    let names = |event: &Event| (event.offset(), event.version(), event.time(), event.recorded());
    let texts = |event: &Event| {
        let [stream, kind] = [event.stream(), event.event_type()].map(str::to_owned);
        (stream, kind, event.source().map(str::to_owned), event.id().map(str::to_owned))
    };
    names(a) == names(b)
        && a.data() == b.data()
        && texts(a) == texts(b)
        && a.content_type() == b.content_type()
        && a.headers().eq(b.headers())
}

/// A consumer is where it committed, or at its commit before where the last one is damaged, or an error.
fn consumers(reader: &LogReader, store: &Store) -> Result<(), String> {
    let Ok(found) = reader.consumers() else { return Ok(()) };
    for consumer in found.iter().filter(|consumer| consumer.refusal.is_none()) {
        let known = store.cursors.iter().find(|(name, _)| *name == consumer.name);
        let (_, places) = known.ok_or_else(|| format!("there never was a consumer {:?}", consumer.name))?;
        if !places.contains(&consumer.next.raw()) {
            return Err(format!("consumer {:?} was never at {}", consumer.name, consumer.next));
        }
    }
    Ok(())
}

fn open(store: &Store, mem: &MemDisk, copy: &MemDisk, depth: Depth) -> Result<Opened, String> {
    let log = match store::open(copy, store.boot) {
        Ok(log) => log,
        Err(OpenError::Damaged(_)) => {
            // All that a refusal leaves behind may be an empty file to lock.
            let changed = store::files_of(mem).into_iter().any(|(path, bytes)| copy.read_file(&path) != Some(bytes));
            return if changed { Err("it refuses, and has changed files".to_owned()) } else { Ok(Opened::Refused) };
        }
        Err(error) => return Err(format!("it is no answer to damage that {error}")),
    };
    if log.head() != Offset::ZERO {
        return Err(format!("the log begins at {}", log.head()));
    }
    let (tail, torn) = (log.tail().raw(), log.report().torn.clone());
    // What is sealed was read by the files alone: the same code reads it here.
    let from = if depth == Depth::Deep { 0 } else { store.last_base().min(tail) };
    let seen = events(&log.reader(), store, from)?;
    if !seen.failed && seen.end != tail {
        return Err(format!("the log ends at {tail}, but its events at {}", seen.end));
    }
    if depth == Depth::Deep {
        go_on(store, copy, log, tail)?;
    }
    Ok(Opened::Open { tail, torn })
}

/// A log that was opened goes on: what is appended now is there after a close, and nothing else has changed.
fn go_on(store: &Store, copy: &MemDisk, log: Log, tail: u64) -> Result<(), String> {
    let appended = log.append(Append::new().event(Event::new("order-1", "More"))).and_then(|receipt| receipt.wait());
    let first = match appended {
        Ok(appended) => appended.first().raw(),
        // To know the version of a stream, damaged indexes or events may be needed.
        Err(annals::AppendError::Read(_)) => return Ok(()),
        Err(error) => return Err(format!("the next append fails: {error}")),
    };
    if first != tail {
        return Err(format!("the next event is at {first}, not at {tail}"));
    }
    log.close().map_err(|error| format!("closing fails: {error}"))?;
    let log = store::open(copy, store.boot).map_err(|error| format!("opening again fails: {error}"))?;
    if log.tail().raw() != tail + 1 || log.report().torn.is_some() {
        return Err(format!("after a clean close the log ends at {} with {:?}", log.tail(), log.report()));
    }
    match log.reader().get(Offset::from_raw(tail)) {
        Ok(Some(event)) if event.event_type() == "More" => Ok(()),
        other => Err(format!("the event appended after opening is {other:?}")),
    }
}
