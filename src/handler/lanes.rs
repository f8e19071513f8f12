//! Events of different streams of a window at the same time: each lane runs its streams over rows of its own, and
//! what all of them did is then taken over in the order of the events, as if there had been one.
//!
//! That is only so where no lane has seen a row that another one changed, and no event failed. Otherwise nothing of
//! it is kept, and the window runs in one lane.

use std::collections::HashMap;

use bytes::Bytes;

use super::cache::Cache;
use super::context::{Context, Emitted, Whose};
use super::error::HandlerError;
use super::failure::Failure;
use super::logic::Logic;
use super::overlay::Overlay;
use super::own;
use super::window::{Came, Went, Window};
use crate::Event;

/// Handles one event; called from several threads.
pub(crate) type Run<'h> = &'h (dyn Fn(&Event, &mut Context<'_>) -> Result<(), Failure> + Sync);

/// How often the events of a window ran in lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lanes {
    /// Windows whose events ran at the same time.
    pub together: u64,
    /// Windows that ran again in one lane: an event failed, or two lanes had met in a row.
    pub again: u64,
}

/// What one event did in its lane.
#[derive(Debug)]
struct Did {
    index: usize,
    emitted: Emitted,
    writes: Vec<(Bytes, Option<Bytes>)>,
}

/// What a lane did, and over which rows.
#[derive(Debug)]
struct Lane {
    overlay: Overlay,
    did: Vec<Did>,
    failed: bool,
}

/// Whether the events of a window ran in lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    Together,
    /// They did, but it does not count.
    InVain,
    /// It is no window for lanes.
    Not,
}

/// Runs the events of a window in lanes, if that can be done.
pub(crate) fn run(window: &mut Window<'_>, logic: &dyn Logic, run: Run<'_>) -> Result<Ran, HandlerError> {
    let events = window.events();
    let Some(plan) = plan(window, logic, &events)? else { return Ok(Ran::Not) };
    let (cache, whose) = (window.cache, window.whose);
    let lanes: Vec<Lane> = std::thread::scope(|scope| {
        let start = |indexes: Vec<usize>| {
            let events = &events;
            scope.spawn(move || Lane::run(cache, whose, events, &indexes, run))
        };
        let threads: Vec<_> = plan.into_iter().map(start).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Lane>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    if lanes.iter().any(|lane| lane.failed) || have_met(&lanes) {
        return Ok(Ran::InVain);
    }
    take_over(window, logic, lanes)?;
    Ok(Ran::Together)
}

/// Which events run in which lane. `None`: this window is not for lanes.
fn plan(window: &mut Window<'_>, logic: &dyn Logic, events: &[Event]) -> Result<Option<Vec<Vec<usize>>>, HandlerError> {
    if window.spec.lanes < 2
        || window.told.is_some()
        || window.blamed.is_some()
        || window.came != Came::InTurn
        || window.overlay.has_written()
    {
        return Ok(None);
    }
    let mut lanes = vec![Vec::new(); window.spec.lanes];
    let mut by_stream: HashMap<&str, usize> = HashMap::new();
    for event in events {
        *by_stream.entry(event.stream()).or_default() += 1;
    }
    let mut loads = vec![0usize; window.spec.lanes];
    let mut lane_of: HashMap<&str, usize> = HashMap::new();
    let mut keys = std::collections::HashSet::new();
    for (index, event) in events.iter().enumerate() {
        let stream = event.stream();
        if window.queues.get(stream).is_some() {
            continue; // it waits behind others
        }
        if let Some(key) = logic.idempotency_key(event) {
            let row = own::idempotency_key(&key);
            if window.overlay.get(window.cache, &row)?.is_some() || !keys.insert(key) {
                return Ok(None);
            }
        }
        let lane = *lane_of.entry(stream).or_insert_with(|| {
            let (lane, load) =
                loads.iter_mut().enumerate().min_by_key(|(_, load)| **load).unwrap_or_else(|| unreachable!());
            *load += by_stream.get(stream).copied().unwrap_or_default();
            lane
        });
        if let Some(lane) = lanes.get_mut(lane) {
            lane.push(index);
        }
    }
    lanes.retain(|lane| !lane.is_empty());
    Ok((lanes.len() > 1).then_some(lanes))
}

impl Lane {
    fn run(cache: &Cache, whose: &Whose, events: &[Event], indexes: &[usize], run: Run<'_>) -> Lane {
        let mut lane = Lane { overlay: Overlay::noting(), did: Vec::with_capacity(indexes.len()), failed: false };
        for (index, event) in indexes.iter().filter_map(|index| events.get(*index).map(|event| (*index, event))) {
            lane.overlay.begin(event.offset());
            let mut emitted = Emitted::default();
            let overlay = &mut lane.overlay;
            let mut context = Context { cache, overlay, emitted: &mut emitted, event, whose, random: None };
            let outcome = run(event, &mut context);
            let too_large = Window::is_too_large(&lane.overlay, &emitted);
            if outcome.is_err() || emitted.refused.is_some() || too_large || lane.overlay.broken().is_some() {
                lane.failed = true;
                break;
            }
            let writes = lane.overlay.take_writes();
            lane.did.push(Did { index, emitted, writes });
        }
        lane
    }
}

/// Whether a lane has read or written a row that another one has written.
fn have_met(lanes: &[Lane]) -> bool {
    let mut touched: HashMap<&[u8], (usize, bool), foldhash::fast::RandomState> = HashMap::default();
    for (lane, rows) in lanes.iter().enumerate() {
        for (key, written) in rows.overlay.touched() {
            let (first, by_first) = touched.entry(key).or_insert((lane, written));
            if *first != lane && (written || *by_first) {
                return true;
            }
            *by_first |= written;
        }
    }
    if lanes.iter().all(|lane| lane.overlay.scanned().is_empty()) {
        return false;
    }
    let mut written: Vec<(&[u8], usize)> = Vec::new();
    for (key, (lane, _)) in touched.iter().filter(|(_, (_, written))| *written) {
        written.push((key, *lane));
    }
    written.sort_unstable();
    lanes.iter().enumerate().any(|(lane, rows)| {
        rows.overlay.scanned().iter().any(|prefix| {
            let from = written.partition_point(|(key, _)| *key < &prefix[..]);
            let mut below = written.iter().skip(from).take_while(|(key, _)| key.starts_with(prefix));
            below.any(|(_, by)| *by != lane)
        })
    })
}

/// Does in the window what the lanes did, in the order of the events.
fn take_over(window: &mut Window<'_>, logic: &dyn Logic, lanes: Vec<Lane>) -> Result<(), HandlerError> {
    let mut did = Vec::new();
    for lane in lanes {
        window.overlay.take_reads(&lane.overlay);
        did.extend(lane.did);
    }
    did.sort_unstable_by_key(|did| did.index);
    let mut did = did.into_iter().peekable();
    for index in 0..window.len() {
        if !window.admit(index, logic)? {
            continue;
        }
        // What was run and is passed over after all, because an operator wants that, leaves nothing of itself.
        while did.next_if(|did| did.index < index).is_some() {}
        // What was not run is left for the next step.
        let Some(did) = did.next_if(|did| did.index == index) else { break };
        if window.take_over(index, did.emitted, did.writes)? == Went::Enough {
            break;
        }
    }
    Ok(())
}
