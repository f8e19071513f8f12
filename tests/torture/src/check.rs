//! Holds a log against what workers said of it, after a kill or a power cut.

use std::collections::BTreeMap;
use std::path::Path;

use annals::testkit::{Env, verify_with};
use annals::{Durability, Log, LogReader, Offset, ReadMode, Receipt};

use crate::worker::crc;
use crate::workload::{LANES, PRODUCER_LANES, SOURCE, SOURCE_LANE, Spec, lane_stream, place_of};

/// How the workers ended, which decides what has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// They were killed, or ended: the operating system has all that was acknowledged.
    Kill,
    /// The power went: only what was acknowledged as durable has to be there.
    PowerCut,
}

/// What workers said of one log.
#[derive(Debug)]
pub struct Facts {
    seed: u64,
    lanes: [LaneFacts; LANES as usize],
    cursors: BTreeMap<String, Cursor>,
    /// All before it is durable.
    synced: u64,
    /// Checksums of what readers in other processes saw.
    seen: BTreeMap<u64, u32>,
    /// Acknowledged appends so far.
    pub acks: u64,
    /// Bytes that opens cut as torn.
    pub torn: u64,
}

#[derive(Debug, Default)]
struct LaneFacts {
    /// The offsets of acknowledged appends, by number; true where they are durable.
    acks: BTreeMap<u64, (u64, u64, bool)>,
    /// So many appends were there at the last check, and are durable since.
    kept: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Cursor {
    durable: u64,
    written: u64,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub events: u64,
    pub appends: u64,
    /// Bytes that the check's own open cut as torn.
    pub torn: u64,
}

impl Facts {
    pub fn new(seed: u64) -> Facts {
        Facts {
            seed,
            lanes: Default::default(),
            cursors: BTreeMap::new(),
            synced: 0,
            seen: BTreeMap::new(),
            acks: 0,
            torn: 0,
        }
    }

    /// All before it is known to be durable.
    pub fn durable_end(&self) -> u64 {
        self.synced
    }

    /// How many events readers in other processes saw.
    pub fn seen(&self) -> u64 {
        self.seen.len() as u64
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Takes note of a worker's line. Lines about nothing that lasts are passed over.
    ///
    /// # Errors
    /// When the worker itself saw a promise broken.
    pub fn take(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "violation" => return Err(rest.to_owned()),
            "ack" => self.ack(rest).ok_or_else(|| format!("not a line of a worker: {line}"))?,
            "cursor" => self.cursor(rest).ok_or_else(|| format!("not a line of a worker: {line}"))?,
            "saw" => return self.saw(rest),
            "sync" => self.synced = self.synced.max(rest.parse().unwrap_or(0)),
            "opened" => self.torn += rest.split(' ').next_back().and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
            _ => {}
        }
        Ok(())
    }

    fn ack(&mut self, rest: &str) -> Option<()> {
        let (level, numbers) = rest.split_once(' ')?;
        let mut numbers = numbers.split(' ').map(str::parse);
        let mut number = || numbers.next()?.ok();
        let (lane, append, first, next): (u64, u64, u64, u64) = (number()?, number()?, number()?, number()?);
        self.lanes.get_mut(usize::try_from(lane).ok()?)?.acks.insert(append, (first, next, level == "D"));
        self.acks += 1;
        Some(())
    }

    fn cursor(&mut self, rest: &str) -> Option<()> {
        let mut words = rest.split(' ');
        let (level, name, at) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        let cursor = self.cursors.entry(name.to_owned()).or_default();
        cursor.written = cursor.written.max(at);
        if level == "D" {
            cursor.durable = cursor.durable.max(at);
        }
        Some(())
    }

    /// All readers of one log see the same.
    fn saw(&mut self, rest: &str) -> Result<(), String> {
        let numbers = rest.split_once(' ').and_then(|(offset, crc)| Some((offset.parse().ok()?, crc.parse().ok()?)));
        let Some((offset, crc)) = numbers else { return Err(format!("not a line of a reader: {rest}")) };
        match self.seen.insert(offset, crc) {
            Some(before) if before != crc => Err(format!("event {offset} was seen as {before:08x} and as {crc:08x}")),
            _ => Ok(()),
        }
    }

    /// Everything that a check found is durable from then on, and what it did not find is forgotten.
    fn settle(&mut self, walk: &Walk, cursors: &[(String, u64)]) {
        for (facts, next) in self.lanes.iter_mut().zip(walk.next) {
            facts.acks.clear();
            facts.kept = next;
        }
        self.synced = walk.end;
        for (name, at) in cursors {
            self.cursors.insert(name.clone(), Cursor { durable: *at, written: *at });
        }
    }
}

/// Checks the log of a directory whose workers are gone, and opens it; what it returns an error for is a broken
/// promise.
///
/// # Errors
/// What is wrong, in one sentence.
pub fn check(dir: &Path, facts: &mut Facts, after: After, env: &Env) -> Result<Found, String> {
    let is_new = !facts.has_any();
    let report = match verify_with(dir, env, &mut |_, _| {}) {
        Ok(report) => report,
        Err(annals::OpenError::NotFound { .. }) if is_new => annals::VerifyReport::default(),
        Err(error) => return Err(format!("cannot be verified: {error}")),
    };
    if !report.is_sound() {
        return Err(format!(
            "is damaged, says verify: {}",
            report.damage.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        ));
    }
    let options = Log::options().env(env.clone()).segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST);
    let log = options.open(dir).map_err(|error| format!("cannot be opened: {error}"))?;
    let walk = Walk::through(&log.reader(), facts)?;
    facts.hold_against(&walk, after)?;
    let torn = log.report().torn.as_ref().map_or(0, |torn| torn.bytes);
    check_torn_is_kept(&log)?;
    check_lanes(&log, facts.seed, &walk)?;
    let cursors = facts.check_cursors(&log, after)?;
    let end = walk.end;
    log.close().map_err(|error| format!("cannot be closed: {error}"))?;
    check_unchanged(dir, env, end)?;
    facts.settle(&walk, &cursors);
    Ok(Found { events: end, appends: walk.next.iter().sum(), torn })
}

/// What is in a log, read from its first event to its last.
#[derive(Debug)]
struct Walk {
    /// The next number of each lane: so many whole appends are there.
    next: [u64; LANES as usize],
    /// Offsets of each lane's appends.
    places: [Vec<(u64, u64)>; LANES as usize],
    end: u64,
    /// The first seen event that is not what was seen.
    changed: Option<String>,
}

/// An append of which some events were read.
struct Begun {
    spec: Spec,
    part: usize,
    first: u64,
}

impl Walk {
    fn through(reader: &LogReader, facts: &Facts) -> Result<Walk, String> {
        let mut walk = Walk { next: [0; LANES as usize], places: Default::default(), end: 0, changed: None };
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        let mut begun: Option<Begun> = None;
        let mut recorded = annals::Timestamp::from_micros(i64::MIN);
        for event in reader.read(..).system(true) {
            let event = event.map_err(|error| format!("cannot be read: {error}"))?;
            let offset = event.offset().raw();
            if offset != walk.end {
                return Err(format!("event {} is followed by event {offset}", walk.end.wrapping_sub(1)));
            }
            walk.end += 1;
            if facts.seen.get(&offset).is_some_and(|seen| *seen != crc(&event.borrow())) && walk.changed.is_none() {
                walk.changed = Some(format!("event {offset} is not the one that a reader saw"));
            }
            if event.recorded() < recorded {
                return Err(format!(
                    "event {offset} was recorded at {} µs, before the one before it",
                    event.recorded().as_micros()
                ));
            }
            recorded = event.recorded();
            let version = versions.entry(event.stream().to_owned()).or_default();
            if event.version().raw() != *version {
                return Err(format!("event {offset} is {}@{}, not @{version}", event.stream(), event.version()));
            }
            *version += 1;
            let mut append = match begun.take() {
                Some(begun) => begun,
                None => walk.begin(facts.seed, event.data(), offset)?,
            };
            let matches = match append.spec.pieces.get(append.part) {
                Some(piece) => piece.is(&event.borrow()),
                None => event.is_system() && event.data() == append.spec.number.to_le_bytes(),
            };
            if !matches {
                let Spec { lane, number, .. } = append.spec;
                let what = format!("event {offset} ({}@{})", event.stream(), event.version());
                return Err(format!("{what} is not part {} of append {number} of lane {lane}", append.part));
            }
            append.part += 1;
            if append.part as u64 == append.spec.events() {
                let lane = append.spec.lane as usize;
                walk.next[lane] += 1;
                walk.places[lane].push((append.first, walk.end));
            } else {
                begun = Some(append);
            }
        }
        match begun {
            Some(Begun { spec, part, .. }) => {
                Err(format!("ends after part {part} of append {} of lane {}", spec.number, spec.lane))
            }
            None => Ok(walk),
        }
    }

    /// The append that begins with an event.
    fn begin(&self, seed: u64, data: &[u8], offset: u64) -> Result<Begun, String> {
        let Some((lane, number, 0, _)) = place_of(data).filter(|(lane, ..)| *lane < LANES) else {
            return Err(format!("event {offset} is none that was appended, or not the first of its append"));
        };
        let expected = self.next[lane as usize];
        if number != expected {
            return Err(format!("event {offset} is of append {number} of lane {lane}, where {expected} comes next"));
        }
        Ok(Begun { spec: Spec::new(seed, lane, number), part: 0, first: offset })
    }
}

impl Facts {
    /// Whether anything was said that a log has to hold.
    fn has_any(&self) -> bool {
        self.synced > 0 || self.lanes.iter().any(|lane| lane.kept > 0 || !lane.acks.is_empty())
    }

    /// Whether all that was acknowledged is there, where it was said to be.
    fn hold_against(&self, walk: &Walk, after: After) -> Result<(), String> {
        for (lane, facts) in self.lanes.iter().enumerate() {
            let there = walk.next[lane];
            if there < facts.kept {
                return Err(format!("lane {lane} has {there} appends, {} were found before", facts.kept));
            }
            for (number, (first, next, durable)) in &facts.acks {
                let place = walk.places[lane].get(*number as usize);
                match place {
                    _ if !durable && after == After::PowerCut => {}
                    Some(place) if *place == (*first, *next) => {}
                    Some((at, _)) => {
                        return Err(format!(
                            "append {number} of lane {lane} was acknowledged at {first}, and is at {at}"
                        ));
                    }
                    None => {
                        let level = if *durable { Durability::Disk } else { Durability::Os };
                        let lost = format!("append {number} of lane {lane}, acknowledged at {first} as {level:?}");
                        return Err(format!("{lost}, is not there; the log ends at {}", walk.end));
                    }
                }
            }
        }
        if walk.end < self.synced {
            return Err(format!("ends at {}, {} was said to be durable", walk.end, self.synced));
        }
        if let Some(changed) = &walk.changed {
            return Err(changed.clone());
        }
        match self.seen.last_key_value() {
            Some((offset, _)) if *offset >= walk.end => {
                Err(format!("ends at {}, a reader has seen event {offset}", walk.end))
            }
            _ => Ok(()),
        }
    }

    /// Cursors are not ahead of the log, and not behind their last commits.
    fn check_cursors(&self, log: &Log, after: After) -> Result<Vec<(String, u64)>, String> {
        let infos = log.reader().consumers().map_err(|error| format!("its consumers cannot be listed: {error}"))?;
        let mut cursors = Vec::new();
        for info in infos {
            if let Some(refusal) = info.refusal {
                return Err(format!("consumer {:?}: {refusal}", info.name));
            }
            if info.next > log.durable_end() {
                return Err(format!(
                    "consumer {:?} is at {}, the log ends at {}",
                    info.name,
                    info.next,
                    log.durable_end()
                ));
            }
            cursors.push((info.name, info.next.raw()));
        }
        for (name, said) in &self.cursors {
            let least = if after == After::Kill { said.written } else { said.durable };
            let at = cursors.iter().find(|(other, _)| other == name).map_or(0, |(_, at)| *at);
            if at < least {
                return Err(format!("consumer {name:?} is at {at}, and was committed at {least}"));
            }
        }
        Ok(cursors)
    }
}

/// What was cut is kept aside.
fn check_torn_is_kept(log: &Log) -> Result<(), String> {
    match &log.report().torn {
        Some(torn) if !torn.kept.starts_with(log.path().join("torn")) || !torn.kept.is_file() => {
            Err(format!("{} bytes were cut, and {} is not there", torn.bytes, torn.kept.display()))
        }
        _ => Ok(()),
    }
}

/// The log's own answers about each lane are those of its events: versions, resends, source.
fn check_lanes(log: &Log, seed: u64, walk: &Walk) -> Result<(), String> {
    for lane in 0..LANES {
        let stream = lane_stream(lane);
        let next = walk.next[lane as usize];
        let version = log.version(&stream).map_err(|error| format!("{stream:?}: {error}"))?;
        let last = next.checked_sub(1);
        if version.map(|version| version.raw()) != last {
            return Err(format!("stream {stream:?} has {next} events, and its version is {version:?}"));
        }
        let Some(last) = last else { continue };
        let (first, end) = walk.places[lane as usize][last as usize];
        if lane < PRODUCER_LANES {
            let spec = Spec::new(seed, lane, last);
            let appended = log.append(spec.append(None)).and_then(Receipt::wait);
            let appended = appended.map_err(|error| format!("append {last} of lane {lane}, sent again: {error}"))?;
            if !appended.is_resend() || appended.first() != Offset::from_raw(first) || appended.next().raw() != end {
                return Err(format!("append {last} of lane {lane} is at {first}; sent again, it is {appended:?}"));
            }
        }
        if lane == SOURCE_LANE {
            let record = log.source(SOURCE).ok_or_else(|| format!("source {SOURCE:?} is not known"))?;
            if *record.position != last.to_le_bytes() || record.offset.raw() + 1 != end {
                return Err(format!("source {SOURCE:?} is at {record:?}, its last append is {last} and ends at {end}"));
            }
        }
    }
    Ok(())
}

/// After a clean close nothing is left to be mended, and readers see the same end.
fn check_unchanged(dir: &Path, env: &Env, end: u64) -> Result<(), String> {
    let reader =
        LogReader::open_with(dir, env.clone(), ReadMode::Map).map_err(|error| format!("cannot be read: {error}"))?;
    let seen = reader.durable_end().map_err(|error| error.to_string())?.raw();
    if seen != end {
        return Err(format!("ended at {end}, and ends at {seen} after a close"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of some appends in each lane, closed, and what a worker would have said of it.
    fn written(dir: &Path) -> Vec<String> {
        let log = Log::open(dir).unwrap();
        let mut said = Vec::new();
        for (number, lane) in (0..6).flat_map(|number| (0..LANES).map(move |lane| (number, lane))) {
            let spec = Spec::new(1, lane, number);
            let source = log.source(SOURCE).filter(|_| lane == SOURCE_LANE);
            let appended = log.append(spec.append(source)).unwrap().wait().unwrap();
            let level = if spec.durability == Durability::Disk { 'D' } else { 'O' };
            said.push(format!("ack {level} {lane} {number} {} {}", appended.first(), appended.next()));
        }
        log.close().unwrap();
        said
    }

    fn checked(dir: &Path, said: &[String], after: After) -> Result<Found, String> {
        let mut facts = Facts::new(1);
        said.iter().try_for_each(|line| facts.take(line))?;
        check(dir, &mut facts, after, &Env::system())
    }

    #[test]
    fn a_log_that_holds_all_that_was_said_passes_and_goes_on_passing() {
        let dir = tempfile::tempdir().unwrap();
        let said = written(dir.path());
        let mut facts = Facts::new(1);
        said.iter().for_each(|line| facts.take(line).unwrap());
        let found = check(dir.path(), &mut facts, After::Kill, &Env::system()).unwrap();
        assert_eq!(found.appends, 6 * LANES);
        assert_eq!(check(dir.path(), &mut facts, After::PowerCut, &Env::system()).unwrap(), found);
    }

    #[test]
    fn each_broken_promise_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let said = written(dir.path());
        let with = |line: &str| {
            let said: Vec<_> = said.iter().cloned().chain([line.to_owned()]).collect();
            checked(dir.path(), &said, After::Kill).unwrap_err()
        };
        assert!(with("ack D 0 6 900 901").contains("is not there"));
        assert!(with("ack O 3 6 900 901").contains("is not there"));
        assert!(with("ack D 0 3 0 1").contains("acknowledged at 0, and is at"));
        assert!(with("sync 900").contains("said to be durable"));
        assert!(with("cursor O worker 7").contains("was committed at 7"));
        assert!(with("saw 3 12345").contains("not the one that a reader saw"));
        assert!(with("saw 900 12345").contains("has seen event 900"));
        assert_eq!(with("violation of something"), "of something");
        assert!(with("ack what").contains("not a line of a worker"));
        assert!(checked(dir.path(), &said, After::Kill).is_ok());
    }

    #[test]
    fn only_what_was_durable_has_to_survive_a_power_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut said = written(dir.path());
        said.push("ack O 3 6 900 901".to_owned());
        said.push("cursor O worker 7".to_owned());
        assert!(checked(dir.path(), &said, After::PowerCut).is_ok());
        said.push("cursor D worker 7".to_owned());
        assert!(checked(dir.path(), &said, After::PowerCut).is_err());
    }

    #[test]
    fn what_nobody_appended_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let said = written(dir.path());
        let log = Log::open(dir.path()).unwrap();
        log.append(annals::Event::new("lane-3", "T").data(&b"3.7.0.1;"[..])).unwrap().wait().unwrap();
        log.close().unwrap();
        assert!(checked(dir.path(), &said, After::Kill).unwrap_err().contains("where 6 comes next"));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let said = written(dir.path());
        let path = dir.path().join(format!("{:020}.seg", 0));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(checked(dir.path(), &said, After::Kill).unwrap_err().contains("is damaged"));
    }
}
