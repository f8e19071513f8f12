//! What operators ask of a handler: events of `$control/NAME`, which the handler acts on in its next step.
//!
//! The type says what is asked, the data why, as text; arguments are headers.

use crate::event::NewEvent;
use crate::{Event, Offset};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Pause,
    Resume,
    /// To pass over an event that would come next, or a gap in the log.
    Skip(Offset),
    /// To try a stream that is set aside again now.
    Retry(String),
    /// To give up the first event of a stream that is set aside, or all of them.
    Drop {
        stream: String,
        all: bool,
    },
    /// To let another generation take over.
    CutOver(u32),
}

const STREAM: &str = "stream";
const OFFSET: &str = "offset";
const GENERATION: &str = "generation";
const ALL: &str = "all";

impl Asked {
    /// The event that asks for it.
    pub fn event(&self, control_stream: &str, reason: &str) -> NewEvent<'static> {
        let event = |verb: &str| {
            Event::new(control_stream.to_owned(), verb.to_owned())
                .data(reason.as_bytes().to_vec())
                .content_type("text/plain")
        };
        match self {
            Asked::Pause => event("Pause"),
            Asked::Resume => event("Resume"),
            Asked::Skip(offset) => event("Skip").header(OFFSET, offset.to_string()),
            Asked::Retry(stream) => event("Retry").header(STREAM, stream.clone()),
            Asked::Drop { stream, all } => {
                let event = event("Drop").header(STREAM, stream.clone());
                if *all { event.header(ALL, "true") } else { event }
            }
            Asked::CutOver(generation) => event("CutOver").header(GENERATION, generation.to_string()),
        }
    }

    /// Reads such an event; `None` when it asks for nothing that is known.
    pub fn of(event: &Event) -> Option<Asked> {
        let header = |name: &str| event.headers().find(|(header, _)| *header == name).map(|(_, value)| value);
        Some(match event.event_type() {
            "Pause" => Asked::Pause,
            "Resume" => Asked::Resume,
            "Skip" => Asked::Skip(Offset::from_raw(header(OFFSET)?.parse().ok()?)),
            "Retry" => Asked::Retry(header(STREAM)?.to_owned()),
            "Drop" => Asked::Drop { stream: header(STREAM)?.to_owned(), all: header(ALL) == Some("true") },
            "CutOver" => Asked::CutOver(header(GENERATION)?.parse().ok()?),
            _ => return None,
        })
    }

    /// Why it is asked.
    pub fn reason(event: &Event) -> String {
        String::from_utf8_lossy(event.data()).into_owned()
    }
}
