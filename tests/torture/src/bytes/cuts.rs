//! The last batches of a killed log cut and garbled at every byte: recovery keeps whole appends and says what it cut,
//! or refuses where more was known to be durable.

use std::ops::Range;

use annals::testkit::{Random, SeededRandom};

use super::Counts;
use super::judge::{Depth, Judgement, Opened, judge};
use super::store::{Store, active};

/// What stands behind a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Zeros,
    Garbage,
    /// The bytes of the batch before, as of a write that went to another place.
    Stale,
    /// The file ends.
    Nothing,
    /// All as it was but for one byte.
    OneByte,
}

const BEHIND: [Behind; 5] = [Behind::Zeros, Behind::Garbage, Behind::Stale, Behind::Nothing, Behind::OneByte];

/// A batch of events: where it stands, and the offset after it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub range: Range<usize>,
    end: u64,
    /// Events before this offset were durable when it was written.
    hint: u64,
}

/// All cuts of all killed stores, by number.
pub struct Cuts<'s> {
    of: Vec<(&'s Store, Vec<Place>)>,
}

/// How many batches are cut.
const BATCHES: usize = 4;

impl<'s> Cuts<'s> {
    pub fn of(stores: &'s [Store]) -> Cuts<'s> {
        let killed = stores.iter().filter(|store| (store.events.len() as u64) > store.durable);
        Cuts { of: killed.map(|store| (store, places(store))).collect() }
    }

    fn bytes_of(places: &[Place]) -> u64 {
        match (places.first(), places.last()) {
            (Some(first), Some(last)) => (last.range.end - first.range.start) as u64,
            _ => 0,
        }
    }

    pub fn len(&self) -> u64 {
        self.of.iter().map(|(_, places)| Self::bytes_of(places) * BEHIND.len() as u64).sum()
    }

    /// Makes a cut, and lets all look.
    pub fn check(&self, number: u64, depth: Depth, counts: &Counts) -> Result<(), String> {
        let mut left = number;
        for (store, places) in &self.of {
            let cuts = Self::bytes_of(places) * BEHIND.len() as u64;
            if left < cuts {
                let behind = BEHIND[(left % BEHIND.len() as u64) as usize];
                let at = places[0].range.start + (left / BEHIND.len() as u64) as usize;
                return check(store, places, at, behind, depth, counts).map_err(|what| {
                    format!(
                        "{} cut at byte {at}, {behind:?} behind: {what}; tools/torture bytes --only cut:{number}",
                        store.name
                    )
                });
            }
            left -= cuts;
        }
        Err(format!("there is no cut {number}"))
    }
}

/// The last batches of the file that was written last.
fn places(store: &Store) -> Vec<Place> {
    let mut places = batches(store);
    places.split_off(places.len() - BATCHES.min(places.len()))
}

/// All batches of the file that was written last.
pub(super) fn batches(store: &Store) -> Vec<Place> {
    let Some((_, bytes)) = active(&store.files).map(|active| &store.files[active]) else { return Vec::new() };
    let number =
        |at: usize, len: usize| bytes[at..at + len].iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let (mut places, mut at) = (Vec::new(), 4096);
    // The table of a batch's header is in `src/batch/header.rs`.
    while at + 128 <= bytes.len() && number(at, 4) != 0 {
        let end = at + usize::from(bytes[at + 46]) * 8 + number(at + 8, 4);
        let offset = number(at + 16, 8) + number(at + 24, 4);
        places.push(Place { range: at..end, end: offset as u64, hint: number(at + 48, 8) as u64 });
        at = end;
    }
    places
}

fn check(
    store: &Store,
    places: &[Place],
    at: usize,
    behind: Behind,
    depth: Depth,
    counts: &Counts,
) -> Result<(), String> {
    let file = active(&store.files).ok_or("there is no segment")?;
    let (path, whole) = &store.files[file];
    let bytes = cut(whole, places, at, behind);
    let mem = store.disk();
    mem.write_file(path, &bytes);
    let judgement = judge(store, &mem, depth)?;

    let intact = |place: &&Place| bytes.get(place.range.clone()) == whole.get(place.range.clone());
    let good = places.iter().take_while(intact).count();
    let good_at = if good == 0 { places[0].range.start } else { places[good - 1].range.end };
    let end = if good == 0 { first_offset(store, places) } else { places[good - 1].end };
    let rest = bytes.get(good_at..).unwrap_or_default();
    let later = places.iter().skip(good).filter(|place| intact(place));
    // A kill leaves no good batch behind a bad one; a power cut may, but for one that knows the bad one to be durable.
    let hinted = later.clone().map(|place| place.hint).max().unwrap_or_default();
    let must_refuse = good_at < store.durable_at || hinted > end || later.count() > 0 && store.name == "killed";
    let is_torn = rest.iter().any(|byte| *byte != 0);
    expected(store, &judgement, must_refuse, end, is_torn, counts)?;
    if let Opened::Open { torn: Some(torn), .. } = &judgement.opened
        && torn.at != good_at as u64
    {
        return Err(format!("the tail is torn at {}, not at {good_at}", torn.at));
    }
    Ok(())
}

fn first_offset(store: &Store, places: &[Place]) -> u64 {
    // Each of these appends has two events.
    places.first().map_or(store.events.len() as u64, |first| first.end - 2)
}

fn expected(
    store: &Store,
    judgement: &Judgement,
    must_refuse: bool,
    end: u64,
    is_torn: bool,
    counts: &Counts,
) -> Result<(), String> {
    // Without LOCK, nothing is left to say that there was more than the last batch.
    let least = if store.has_lock() || must_refuse { store.durable } else { store.durable.min(end) };
    if !judgement.seen.failed && judgement.seen.end < least {
        return Err(format!("a reader ends at {} of {least} without an error", judgement.seen.end));
    }
    if judgement.verified.is_sound == must_refuse {
        return Err(format!("verify takes the log for {}", if must_refuse { "sound" } else { "damaged" }));
    }
    match &judgement.opened {
        Opened::Refused if must_refuse => counts.add("refused", 1),
        Opened::Refused => return Err("it is refused, and only what was never durable is missing".to_owned()),
        Opened::Open { .. } if must_refuse => return Err("it is opened, and what was durable is missing".to_owned()),
        Opened::Open { tail, torn } => {
            if *tail != end || torn.is_some() != is_torn {
                return Err(format!("the log opens at {tail} with {torn:?} instead of {end}, torn: {is_torn}"));
            }
            if judgement.verified.found != is_torn {
                return Err("verify does not say the same".to_owned());
            }
            counts.add("opened", 1);
            counts.add("torn", u64::from(is_torn));
        }
    }
    Ok(())
}

fn cut(whole: &[u8], places: &[Place], at: usize, behind: Behind) -> Vec<u8> {
    let random = SeededRandom::new(at as u64);
    let mut bytes = whole.to_vec();
    let end = places.last().map_or(at, |last| last.range.end);
    match behind {
        Behind::Zeros => bytes[at..].fill(0),
        Behind::Garbage => bytes[at..end].fill_with(|| random.next_u64() as u8),
        Behind::Stale => {
            let before = places[0].range.len();
            bytes[at..end].copy_from_slice(&whole[at - before..end - before]);
        }
        Behind::Nothing => bytes.truncate(at),
        Behind::OneByte => bytes[at] ^= 1 + (random.next_u64() % 255) as u8,
    }
    bytes
}

/// A cut by chance.
pub fn spread(seed: u64, run: u64, all: u64) -> u64 {
    SeededRandom::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(run)).next_u64() % all.max(1)
}
