//! Stretches of a segment from one remembered batch to the next: where they stand, and which times they hold.

use super::PAGE_BYTES;
use super::footer::{PLACE_BYTES, Place};
use crate::batch::{Header, Kind};
use crate::window::Window;

/// Some batches that follow each other, about 16 KiB of them unless one alone is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// Offset and byte position of its first batch.
    pub base: u64,
    pub at: u64,
    /// Where the next block starts, or where the batches end: offset and byte position.
    pub end: Option<(u64, u64)>,
    /// Smallest and largest time of the users' events; unknown where more may follow, or events were lost.
    times: Option<(i64, i64)>,
}

impl Block {
    /// All batches of a segment of which nothing more is known.
    pub fn whole(base: u64) -> Self {
        Block { base, at: PAGE_BYTES as u64, end: None, times: None }
    }

    /// From one place to the next; from the head of the segment when there is no place before.
    pub fn between(base: u64, place: Option<Place>, end: Option<(u64, u64)>, lost: bool) -> Self {
        let Some(place) = place else { return Block { end, ..Block::whole(base) } };
        let times = (!lost && end.is_some()).then_some((place.time_min_us, place.time_max_us));
        Block { base: place.base, at: place.at, end, times }
    }

    /// Whether events of a window may lie in it.
    pub fn meets(&self, window: Window) -> bool {
        self.times.is_none_or(|(min, max)| window.meets(min, max))
    }
}

/// What a process knows of the batches of a segment that has no footer yet: it wrote them or came by.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: Vec<Place>,
    /// Behind the last batch noted: byte position and offset.
    end_at: u64,
    end: u64,
    /// There are lost events, of which nobody knows when they happened.
    lost: bool,
}

impl Places {
    /// Takes note of a batch. All before it were noted, or are no events.
    pub fn note(&mut self, header: &Header, at: u64) {
        if at < self.end_at {
            return;
        }
        self.end_at = at + header.batch_len() as u64;
        self.end = header.end_offset();
        self.lost |= header.kind == Kind::Gap;
        if !header.kind.holds_events() {
            return;
        }
        if self.places.last().is_none_or(|last| at >= last.at + PLACE_BYTES) {
            let (base, recorded_us) = (header.base_offset, header.recorded_us);
            self.places.push(Place { base, at, recorded_us, time_min_us: i64::MAX, time_max_us: i64::MIN });
        }
        if let Some(place) = self.places.last_mut() {
            place.time_min_us = place.time_min_us.min(header.time_min_us);
            place.time_max_us = place.time_max_us.max(header.time_max_us);
        }
    }

    /// Offset behind the last batch noted; 0 when there is none.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The last block of whose first batch something is true that is true of all before it.
    pub fn block(&self, base: u64, is_before: impl Fn(&Place) -> bool) -> Block {
        let behind = self.places.partition_point(is_before);
        let place = behind.checked_sub(1).and_then(|index| self.places.get(index)).copied();
        let end = self.places.get(behind).map(|next| (next.base, next.at));
        Block::between(base, place, end, self.lost)
    }
}
