//! Events that a repair gave up: whoever reads past them is told on stderr, and reading goes on.

use crate::ReadError;

use super::failure::Failure;
use super::output::{counted, note, note_json};

/// What was read; `None` where a gap was, of which the person or script has been told.
pub(super) fn told<T>(read: Result<T, ReadError>, json: bool) -> Result<Option<T>, Failure> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(ReadError::Lost { first, end }) => {
            if json {
                note_json(&serde_json::json!({"gap": {"first": first.raw(), "end": end.raw()}}));
            } else {
                let events = counted(end.raw() - first.raw(), "event");
                note(format_args!("gap: {events} lost, offsets {first} to {end} (exclusive), given up by a repair"));
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
