//! Finding a place by the time at which the log took its events.

use super::error::ReadError;
use super::reader::LogReader;
use super::walk::{Cursor, View, decode, read_error};
use crate::segment::ReadMode;
use crate::{Offset, Timestamp};

impl LogReader {
    /// The first event recorded at or after a moment; the durable end when there is none. The log's own events
    /// count. `recorded` never goes back along a log, so all from there on were recorded then or later.
    ///
    /// Costs some looks into the indexes, and the reading of one block.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_recorded(&self, at: Timestamp) -> Result<Offset, ReadError> {
        let view = self.view()?;
        let (head, end, at) = (view.head, view.end, at.as_micros());
        let mut cursor = Cursor::new(view.clone(), (start(&view, at)?.max(head), end), ReadMode::Pread);
        while let Some(found) = cursor.next() {
            let (segment, batch) = match found {
                Ok(found) => found,
                // What was lost was recorded before what stands behind it; nobody knows when.
                Err(ReadError::Lost { .. }) => continue,
                Err(error) => return Err(error),
            };
            if batch.header.recorded_last_us() < at {
                continue;
            }
            let batch = decode(&segment, batch, head, end)?;
            let found = batch.events().find(|event| event.recorded().as_micros() >= at);
            return Ok(found.map_or(batch.next(), |event| event.offset()));
        }
        Ok(Offset::from_raw(end))
    }
}

/// The last place known before which everything was recorded before a moment.
fn start(view: &View, at: i64) -> Result<u64, ReadError> {
    // Segments that hold no event were never rolled; a trailer of one that lost all says nothing of times.
    let is_before = |recorded_last: i64| recorded_last != 0 && recorded_last < at;
    let mut segments = view.segments.iter().enumerate();
    let later = segments.find(|(_, segment)| segment.trailer().is_none_or(|end| !is_before(end.recorded_last_us)));
    let Some((index, segment)) = later else { return Ok(view.end) };
    let next_base = view.segments.get(index + 1).map_or(view.end, |next| next.base());
    let failed = |error| read_error(segment, error, segment.base());
    segment.note_to(next_base.min(view.end), ReadMode::Pread).map_err(failed)?;
    Ok(segment.block_recorded_before(at, ReadMode::Pread).map_err(failed)?.base)
}
