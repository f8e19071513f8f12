//! What has to be in the log: the fold of its events in the order that a handler's records say, made by nothing of the
//! library but the reading of events and the digest of a row.

use std::collections::{BTreeMap, VecDeque};

use annals::{Digest, Event, LogId};

use super::logic::{self, Rows, Why};
use super::records::{self, Told};
use super::swarm::Role;
use crate::oracle::{Broken, ensure};

/// A stream that is set aside.
#[derive(Debug, Clone, Default)]
pub struct Aside {
    pub waiting: VecDeque<u64>,
    pub failures: u32,
}

/// A handler after some record of it.
#[derive(Debug, Clone, Default)]
pub struct Folded {
    /// By the programs of the events.
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By the writes in the records, the handler's own rows included.
    pub written: BTreeMap<Vec<u8>, Vec<u8>>,
    pub asides: BTreeMap<String, Aside>,
    keys: BTreeMap<Vec<u8>, u64>,
    /// The event that instances ended with while they ran it alone, and how many did.
    tried: Option<(u64, u32)>,
    pub last: Option<(u64, Told)>,
    pub records: Vec<u64>,
    pub outputs: Vec<(String, Vec<u8>)>,
    pub decisions: u64,
}

struct Out {
    stream: String,
    kind: &'static str,
    data: Vec<u8>,
}

/// The rows while one event's program runs.
struct Trial<'f> {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    out: Vec<Out>,
    random: u64,
    event: &'f Event,
}

impl Rows for Trial<'_> {
    type Error = std::convert::Infallible;

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.rows.get(key).cloned())
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Self::Error> {
        match value {
            Some(value) => self.rows.insert(key.to_vec(), value.to_vec()),
            None => self.rows.remove(key),
        };
        Ok(())
    }

    fn scan(&mut self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Self::Error> {
        let rows = self.rows.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn emit(&mut self, stream: String, kind: &'static str, data: Vec<u8>) {
        self.out.push(Out { stream, kind, data });
    }

    fn now(&self) -> i64 {
        self.event.recorded().as_micros()
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn header<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    event.headers().find(|(header, _)| *header == name).map(|(_, value)| value)
}

fn hops(event: &Event) -> u32 {
    header(event, "hops").and_then(|hops| hops.parse().ok()).unwrap_or(0)
}

/// All that the oracle knows while it follows one handler.
pub struct Oracle<'e> {
    pub log: LogId,
    pub events: &'e [Event],
    pub role: &'e Role,
}

impl Oracle<'_> {
    fn event(&self, at: u64) -> Result<&Event, Broken> {
        self.events.get(at as usize).ok_or_else(|| format!("there is no event {at} yet"))
    }

    /// Follows the handler's records up to one of them, or all.
    pub fn follow(&self, up_to: Option<u64>) -> Result<Folded, Broken> {
        let mut folded = Folded::default();
        let stream = format!("$handler/{}", self.role.name);
        for event in self.events.iter().filter(|event| event.stream() == stream) {
            let at = event.offset().raw();
            if up_to.is_some_and(|last| at > last) {
                break;
            }
            let told = records::read(event.data()).ok_or_else(|| format!("the record at {at} is none"))?;
            self.take(&mut folded, at, told).map_err(|broken| format!("{}: record {at}: {broken}", self.role.name))?;
        }
        Ok(folded)
    }

    fn take(&self, folded: &mut Folded, at: u64, told: Told) -> Result<(), Broken> {
        let before = folded.last.take();
        let (previous, was) = match &before {
            Some((at, was)) => (Some(*at), was.clone()),
            None => (None, Told { cursor: told.cursor, control: told.control, ..told.clone() }),
        };
        ensure!(told.previous == previous, "the one before is {previous:?}, it says {:?}", told.previous);
        ensure!(told.generation == 1, "generation {}", told.generation);
        ensure!(told.fingerprint == was.fingerprint, "another fingerprint");
        ensure!(told.cursor >= was.cursor, "the cursor went back from {} to {}", was.cursor, told.cursor);
        let first = at - u64::from(told.outputs);
        ensure!(told.cursor <= first && told.control <= first, "the cursor is ahead of its own append");
        if told.kind == records::ACQUIRED {
            let epoch = if previous.is_some() { was.epoch + 1 } else { 1 };
            ensure!(told.epoch == epoch, "epoch {} comes after {}", told.epoch, was.epoch);
            let idle = told.outputs == 0 && told.writes.is_empty() && told.decisions.is_empty();
            ensure!(idle && (told.cursor, told.control) == (was.cursor, was.control), "who takes over changes things");
            ensure!(previous.is_some() || told.cursor == 0, "it begins at {}", told.cursor);
            ensure!(told.paused == (previous.is_some() && was.paused), "who takes over changes the pause");
        } else if told.kind == records::ATTEMPTING {
            ensure!(previous.is_some() && told.epoch == was.epoch, "a fenced instance announced events");
            let idle = told.outputs == 0 && told.writes.is_empty() && told.handled == was.handled;
            ensure!(idle && (told.cursor, told.control) == (was.cursor, was.control), "an announcement changes things");
            ensure!(
                told.decisions.iter().all(|(kind, _)| *kind == records::TRIED),
                "it announces {:?}",
                told.decisions
            );
            folded.tried = match (told.alone, folded.tried) {
                (Some(at), Some((tried, times))) if at == tried => Some((at, times + 1)),
                (alone, _) => alone.map(|at| (at, 1)),
            };
        } else {
            ensure!(told.kind == records::STEP, "kind {}", told.kind);
            ensure!(previous.is_some(), "a step comes first");
            ensure!(told.epoch == was.epoch, "a fenced instance wrote: epoch {} after {}", told.epoch, was.epoch);
            ensure!(told.control >= was.control, "control went back");
            let out = self.step(folded, &was, &told)?;
            self.check_outputs(first, at, out, folded)?;
            folded.tried = None;
        }
        for (key, value, _) in &told.writes {
            match value {
                Some(value) => folded.written.insert(key.clone(), value.clone()),
                None => folded.written.remove(key),
            };
        }
        let decided = was.bytes * u64::from(previous.is_some());
        let body = if told.kind == records::ACQUIRED { 0 } else { told.body };
        ensure!(told.bytes == decided + body, "bytes {} after {decided}, its body has {body}", told.bytes);
        self.check_sums(folded, &told)?;
        folded.records.push(at);
        folded.last = Some((at, told));
        Ok(())
    }

    /// Follows one step: what operators asked, what was waiting, what came in its turn.
    fn step(&self, folded: &mut Folded, was: &Told, told: &Told) -> Result<Vec<(u64, Vec<Out>)>, Broken> {
        let mut decisions = told.decisions.iter().copied().peekable();
        folded.decisions += told.decisions.len() as u64;
        let mut out = Vec::new();
        let mut paused = was.paused;
        let mut handled = was.handled;
        let control = format!("$control/{}", self.role.name);
        for at in was.control..told.control {
            let event = self.event(at)?;
            if event.stream() != control {
                continue;
            }
            match (event.event_type(), header(event, "stream")) {
                ("Pause", _) => paused = true,
                ("Resume", _) => paused = false,
                ("Retry", Some(stream)) => {
                    if let Some(aside) = folded.asides.get_mut(stream) {
                        aside.failures = 0;
                    }
                }
                ("Drop", Some(stream)) => {
                    while let Some(head) = folded.first_of(stream).filter(|head| *head < at) {
                        let decision = decisions.next();
                        let wanted = Some((records::DROPPED, head));
                        ensure!(decision == wanted, "{head} was to be dropped, not {decision:?}");
                        folded.leave(stream);
                        if header(event, "all") != Some("true") {
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
        // A request about a whole queue may take several steps; it is passed when all of it is done.
        while let Some((_, at)) = decisions.next_if(|(kind, _)| *kind == records::DROPPED) {
            let stream = self.event(at)?.stream();
            let asked = (told.control..).map_while(|at| self.event(at).ok()).find(|event| event.stream() == control);
            let of_all = asked.is_some_and(|event| {
                (event.event_type(), header(event, "stream"), header(event, "all"))
                    == ("Drop", Some(stream), Some("true"))
            });
            ensure!(of_all && folded.first_of(stream) == Some(at), "{at} was dropped, and nobody asked");
            folded.leave(stream);
        }
        if paused {
            ensure!(told.cursor == was.cursor, "it went on from {} to {} while paused", was.cursor, told.cursor);
            ensure!(decisions.peek().is_none(), "it decided {:?} while paused", decisions.peek());
        }
        while let Some((kind, at)) = decisions.next_if(|(_, at)| *at < was.cursor) {
            let event = self.event(at)?;
            let head = folded.asides.get(event.stream()).and_then(|aside| aside.waiting.front().copied());
            ensure!(head == Some(at), "{at} was taken up ({kind}), but {head:?} is first in {}", event.stream());
            match kind {
                records::TAKEN_UP => {
                    out.push((at, self.handle(folded, event)?));
                    handled += 1;
                    folded.leave(event.stream());
                }
                records::FAILED_AGAIN => {
                    self.may(folded, event, &[Why::Retry, Why::RetrySoon, Why::Panic, Why::Park])?;
                    if let Some(aside) = folded.asides.get_mut(event.stream()) {
                        aside.failures += 1;
                    }
                }
                records::SKIPPED => {
                    self.may(folded, event, &[Why::Skip])?;
                    folded.leave(event.stream());
                }
                records::REPEAT => {
                    ensure!(self.is_repeat(folded, event), "{at} is no repeat");
                    folded.leave(event.stream());
                }
                _ => return Err(format!("{at} waited, and the decision is {kind}")),
            }
        }
        for at in was.cursor..told.cursor {
            let event = self.event(at)?;
            if !self.role.wants(event.stream()) {
                continue;
            }
            let decision = decisions.next_if(|(_, of)| *of == at).map(|(kind, _)| kind);
            if let Some(aside) = folded.asides.get_mut(event.stream()) {
                ensure!(decision == Some(records::SET_ASIDE), "{at} passed by others of its stream: {decision:?}");
                aside.waiting.push_back(at);
                continue;
            }
            if self.is_repeat(folded, event) {
                ensure!(decision == Some(records::REPEAT), "{at} is a repeat, and the decision is {decision:?}");
                continue;
            }
            match decision {
                None => {
                    out.push((at, self.handle(folded, event)?));
                    handled += 1;
                }
                Some(records::SET_ASIDE) => {
                    self.may(folded, event, &[Why::Retry, Why::RetrySoon, Why::Panic, Why::Park])?;
                    let aside = Aside { waiting: VecDeque::from([at]), failures: 1 };
                    folded.asides.insert(event.stream().to_owned(), aside);
                }
                Some(records::SKIPPED) => self.may(folded, event, &[Why::Skip])?,
                Some(kind) => return Err(format!("{at} came in its turn, and the decision is {kind}")),
            }
        }
        ensure!(decisions.peek().is_none(), "a decision about nothing: {:?}", decisions.peek());
        ensure!(told.handled == handled, "{handled} events were handled, it says {}", told.handled);
        ensure!(told.parked as usize == folded.asides.len(), "{} streams are aside", folded.asides.len());
        ensure!(!paused || told.paused, "it is not paused any more");
        ensure!(told.paused == paused || self.role.may_pause, "it is paused, and nobody asked");
        Ok(out)
    }

    fn is_repeat(&self, folded: &Folded, event: &Event) -> bool {
        let known = logic::key_of(event.data()).and_then(|key| folded.keys.get(&key).copied());
        let at = event.offset().raw();
        known.is_some_and(|first| first != at && at.abs_diff(first) <= self.role.horizon)
    }

    /// The program of an event on the rows as they are; what it puts out, and why it fails.
    fn tried(&self, folded: &Folded, event: &Event, bad: bool) -> (BTreeMap<Vec<u8>, Vec<u8>>, Vec<Out>, Option<Why>) {
        let seed = Digest::of(self.log, self.role.name.as_bytes(), &event.offset().raw().to_le_bytes());
        let random = seed.raw() as u64;
        let mut trial = Trial { rows: folded.rows.clone(), out: Vec::new(), random, event };
        let Ok(why) = logic::run(event, &mut trial, bad);
        let circle = !trial.out.is_empty() && hops(event) >= self.role.hops;
        let why = why.or(circle.then_some(Why::Park));
        (trial.rows, trial.out, why)
    }

    fn may(&self, folded: &Folded, event: &Event, allowed: &[Why]) -> Result<(), Broken> {
        // Three instances ended while they ran it alone: it is set aside as one that fails.
        if folded.tried.is_some_and(|(at, times)| at == event.offset().raw() && times >= 3)
            && allowed.contains(&Why::Park)
        {
            return Ok(());
        }
        // What fails in bad weather may be passed over in good.
        let why = [true, false].map(|bad| self.tried(folded, event, bad).2);
        let at = event.offset();
        ensure!(why.iter().flatten().any(|why| allowed.contains(why)), "{at} fails with {why:?}, decided otherwise");
        Ok(())
    }

    fn handle(&self, folded: &mut Folded, event: &Event) -> Result<Vec<Out>, Broken> {
        let (rows, out, why) = self.tried(folded, event, false);
        ensure!(why.is_none(), "{} was handled, and cannot be: {why:?}", event.offset());
        folded.rows = rows;
        if let Some(key) = logic::key_of(event.data()) {
            let last = folded.keys.entry(key).or_default();
            *last = event.offset().raw().max(*last);
        }
        Ok(out)
    }

    /// The events in front of a record are those that its inputs put out, in order and under their names.
    fn check_outputs(&self, first: u64, at: u64, out: Vec<(u64, Vec<Out>)>, folded: &mut Folded) -> Result<(), Broken> {
        let mut next = first;
        for (of, out) in out {
            let cause = self.event(of)?;
            let by = cause.id().map_or_else(|| of.to_string(), str::to_owned);
            for (n, wanted) in out.into_iter().enumerate() {
                let event = self.event(next)?;
                let id = format!("{}:{of}:{n}", self.role.name);
                let same = event.stream() == wanted.stream
                    && event.event_type() == wanted.kind
                    && event.data() == wanted.data
                    && event.id() == Some(&id)
                    && event.source() == Some(&self.role.name)
                    && header(event, "causation") == Some(&by)
                    && header(event, "correlation") == Some(header(cause, "correlation").unwrap_or(&by))
                    && hops(event) == hops(cause) + 1;
                ensure!(next < at && same, "at {next} should be output {n} of {of}, there is {event:?}");
                folded.outputs.push((wanted.stream, wanted.data));
                next += 1;
            }
        }
        ensure!(next == at, "{} outputs are of no input", at - next);
        Ok(())
    }

    /// The rows by the programs are those by the records, and what the record says of them holds.
    fn check_sums(&self, folded: &Folded, told: &Told) -> Result<(), Broken> {
        let users = folded.written.iter().filter(|(key, _)| key.first() == Some(&1));
        let same = users.clone().count() == folded.rows.len()
            && users.zip(&folded.rows).all(|((key, value), (by_key, by_value))| {
                key[1..] == by_key[..] && value.first() == Some(&0) && value[1..] == by_value[..]
            });
        ensure!(same, "its rows are not the fold of its events");
        let (mut rows, mut digests) = ([0; 2], [Digest::EMPTY; 2]);
        for (key, value) in &folded.written {
            let which = usize::from(key.first() == Some(&0));
            rows[which] += 1;
            digests[which] = digests[which].with(Digest::of(self.log, key, value));
        }
        ensure!(rows == told.rows, "there are {rows:?} rows, it says {:?}", told.rows);
        ensure!(digests.map(Digest::raw) == told.digests, "its digest is of other rows");
        let queued = folded.written.keys().filter(|key| key.starts_with(&[0, b'q'])).count();
        let waiting: usize = folded.asides.values().map(|aside| aside.waiting.len()).sum();
        ensure!(queued == waiting, "{waiting} events wait, {queued} are in its rows");
        Ok(())
    }

    /// No event that comes in order before the output's record names an output twice, whoever made it.
    pub fn check_names(&self) -> Result<(), Broken> {
        let mut seen = std::collections::BTreeSet::new();
        let mut claimed = 0u64;
        for event in self.events {
            if event.source() == Some(&self.role.name) && !event.is_system() {
                ensure!(seen.insert(event.id()), "{:?} was put out twice", event.id());
                claimed += 1;
            }
        }
        let last = self.events.iter().rev().find(|event| event.stream() == format!("$handler/{}", self.role.name));
        let emitted = last.and_then(|event| records::read(event.data())).map_or(0, |told| told.emitted);
        ensure!(claimed == emitted, "{}: {claimed} outputs are there, its record says {emitted}", self.role.name);
        Ok(())
    }
}

impl Folded {
    /// The first event that waits in a stream.
    fn first_of(&self, stream: &str) -> Option<u64> {
        self.asides.get(stream)?.waiting.front().copied()
    }

    /// The first event of a stream that is set aside is done with.
    fn leave(&mut self, stream: &str) {
        if let Some(aside) = self.asides.get_mut(stream) {
            aside.waiting.pop_front();
            aside.failures = 0;
            if aside.waiting.is_empty() {
                self.asides.remove(stream);
            }
        }
    }
}
