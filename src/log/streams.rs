//! What the writer knows of streams: those of the active segment in memory, older ones by the footers.

use std::sync::Arc;

use super::error::ReadError;
use super::walk::View;
use crate::batch::{Batch, StreamRef};
use crate::segment::{ByName, NameHash};
use crate::{LogId, Offset, Version};

/// The last event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last {
    pub version: u64,
    pub offset: u64,
}

impl Last {
    pub fn typed(self) -> (Version, Offset) {
        (Version::from_raw(self.version), Offset::from_raw(self.offset))
    }
}

/// Where a stream stands. There may be hundreds of thousands: it is kept small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    next_version: u64,
    /// Of its last event; [`NO_OFFSET`]: it has none.
    last_offset: u64,
    /// The batch that named it last, by its number, and its index there.
    batch: u32,
    index: u16,
}

const NO_OFFSET: u64 = u64::MAX;

impl Slot {
    fn new(last: Option<Last>) -> Self {
        let mut slot = Slot { next_version: 0, last_offset: NO_OFFSET, batch: 0, index: 0 };
        if let Some(last) = last {
            slot.went_on(last);
        }
        slot
    }

    pub fn last(&self) -> Option<Last> {
        let last = Last { version: self.next_version.wrapping_sub(1), offset: self.last_offset };
        (self.last_offset != NO_OFFSET).then_some(last)
    }

    /// It has a new last event.
    #[inline]
    pub fn went_on(&mut self, last: Last) {
        self.next_version = last.version + 1;
        self.last_offset = last.offset;
    }

    /// The version of its next event.
    pub fn next_version(&self) -> u64 {
        self.next_version
    }

    /// How a batch refers to it; `None` when that batch does not name it yet.
    pub fn in_batch(&self, batch: u32) -> Option<StreamRef> {
        (self.batch == batch).then_some(StreamRef { index: self.index })
    }

    pub fn named_in(&mut self, batch: u32, stream: StreamRef) {
        (self.batch, self.index) = (batch, stream.index);
    }
}

/// The streams with events in one segment.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: ByName<Slot>,
}

impl Streams {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub fn contains(&self, name: NameHash) -> bool {
        self.slots.contains_key(&name)
    }

    /// Adds a stream that is not there, with its last event before.
    pub fn add(&mut self, name: NameHash, last: Option<Last>) {
        self.slots.insert(name, Slot::new(last));
    }

    #[inline]
    pub fn slot(&self, name: NameHash) -> Option<&Slot> {
        self.slots.get(&name)
    }

    #[inline]
    pub fn slot_mut(&mut self, name: NameHash) -> Option<&mut Slot> {
        self.slots.get_mut(&name)
    }

    pub fn last(&self, name: NameHash) -> Option<Last> {
        self.slot(name).and_then(Slot::last)
    }

    /// Takes note of a batch that was read.
    pub fn take_note(&mut self, log: LogId, batch: &Batch) {
        let streams = &batch.names().streams;
        let mut lasts: Vec<Option<Last>> = vec![None; streams.len()];
        for (parts, stream, _) in batch.indexed() {
            if let Some(last) = lasts.get_mut(stream) {
                *last = Some(Last { version: parts.version, offset: parts.offset });
            }
        }
        for (stream, last) in streams.iter().zip(lasts).filter(|(_, last)| last.is_some()) {
            self.add(NameHash::of(log, batch.bytes_of(stream.name)), last);
        }
    }
}

/// The streams of all segments before the active one, as they were at one moment.
#[derive(Debug, Clone)]
pub(super) struct Older {
    /// Segments without a footer yet, oldest first.
    pub sealing: Vec<Arc<Streams>>,
    /// All others are among these.
    pub view: View,
}

impl Older {
    /// The last event of a stream before the active segment. Costs a look into each merged index, and into the
    /// filter of each segment that has none, from the newest to the one that has it.
    pub fn last(&self, hash: NameHash) -> Result<Option<Last>, ReadError> {
        if let Some(last) = self.sealing.iter().rev().find_map(|streams| streams.last(hash)) {
            return Ok(Some(last));
        }
        // What is sealed by now stands before what is not: that is in the active map, or among those above.
        let sealed = self.view.segments.partition_point(|segment| segment.trailer().is_some());
        self.view.finder.last_between(&self.view, 0, sealed, hash)
    }
}
