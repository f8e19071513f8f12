//! What operators ask of a handler: events of `$control/NAME`, which the handler acts on in its next step.
//!
//! The type says what is asked, the data why, as text; arguments are headers.

use std::sync::Arc;

use super::commit::{Decision, DecisionKind};
use super::error::HandlerError;
use super::own;
use super::queues::shortened;
use super::spec::HandlerSpec;
use super::window::Window;
use crate::event::NewEvent;
use crate::journal::{Found, Journal};
use crate::{Append, AppendError, Event, Expect, Filter, Offset, ReadError};

/// So many events of a queue are given up in one step.
const DROPPED_MAX: usize = 4096;

/// Asks things of a handler: by appending to its control stream, which the handler, wherever it runs, reads and acts
/// on in its next step. Nothing else is written by operators.
#[derive(Debug, Clone)]
pub struct Control {
    journal: Arc<dyn Journal>,
    stream: String,
}

impl Control {
    /// Of a handler of a log. Whether there is one is seen by whoever runs it.
    ///
    /// # Errors
    /// [`HandlerError::Name`].
    pub fn new(journal: impl Journal + 'static, handler: &str) -> Result<Control, HandlerError> {
        let spec = HandlerSpec::new(handler);
        spec.check()?;
        Ok(Control { journal: Arc::new(journal), stream: spec.control_stream() })
    }

    pub(crate) fn ask(&self, asked: &Asked, reason: &str) -> Result<Offset, AppendError> {
        let event = asked.event(&self.stream, reason);
        Ok(self.journal.append(Append::new().own(event, Expect::Any))?.wait()?.first())
    }

    /// Asks it to handle nothing more until it is resumed. Returns where the request stands, which is durable then.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn pause(&self, reason: &str) -> Result<Offset, AppendError> {
        self.ask(&Asked::Pause, reason)
    }

    /// Asks it to go on, whoever or whatever paused it.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn resume(&self, reason: &str) -> Result<Offset, AppendError> {
        self.ask(&Asked::Resume, reason)
    }

    /// Asks it to pass over an event, now where it waits in a queue, else when its turn comes; or over the gap in the
    /// log that an offset belongs to.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn skip(&self, offset: Offset, reason: &str) -> Result<Offset, AppendError> {
        self.ask(&Asked::Skip(offset), reason)
    }

    /// Asks it to try the first event of a stream that is set aside again now, with all its attempts.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn park_retry(&self, stream: &str) -> Result<Offset, AppendError> {
        self.ask(&Asked::Retry(stream.to_owned()), "")
    }

    /// Asks it to give up the first event of a stream that is set aside, or all that wait there by now.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn park_drop(&self, stream: &str, reason: &str, all: bool) -> Result<Offset, AppendError> {
        self.ask(&Asked::Drop { stream: stream.to_owned(), all, only: None }, reason)
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Pause,
    Resume,
    /// To pass over an event that would come next, or a gap in the log.
    Skip(Offset),
    /// To try a stream that is set aside again now.
    Retry(String),
    /// To give up the first event of a stream that is set aside, if it is still that one, or all of them.
    Drop {
        stream: String,
        all: bool,
        only: Option<Offset>,
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
            Asked::Drop { stream, all, only } => {
                let event = event("Drop").header(STREAM, stream.clone());
                let event = only.iter().fold(event, |event, only| event.header(OFFSET, only.to_string()));
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
            "Drop" => Asked::Drop {
                stream: header(STREAM)?.to_owned(),
                all: header(ALL) == Some("true"),
                only: match header(OFFSET) {
                    Some(only) => Some(Offset::from_raw(only.parse().ok()?)),
                    None => None,
                },
            },
            "CutOver" => Asked::CutOver(header(GENERATION)?.parse().ok()?),
            _ => return None,
        })
    }

    /// Why it is asked.
    pub fn reason(event: &Event) -> String {
        String::from_utf8_lossy(event.data()).into_owned()
    }
}

/// What operators asked from a position of the control stream on, and the position behind it. What cannot be read
/// any more, or asks for nothing that is known, is passed over.
pub(crate) fn asked_since(
    journal: &dyn Journal,
    stream: &str,
    from: Offset,
) -> Result<(Vec<(Event, Asked)>, Offset), ReadError> {
    let last = journal.last(stream)?.map(|record| record.offset);
    let Some(last) = last.filter(|last| *last >= from && *last < journal.durable_end()) else {
        return Ok((Vec::new(), from));
    };
    let mut asked = Vec::new();
    let mut read = journal.read(from, last.plus(1), &Filter::new().stream_named(stream));
    loop {
        let batch = match read.look() {
            Ok(Found::End) => return Ok((asked, last.plus(1))),
            Ok(Found::Nothing) | Err(ReadError::Lost { .. }) => continue,
            Ok(Found::Batch(batch)) => batch,
            Err(error) => return Err(error),
        };
        let mut walk = crate::batch::Walk::new(&batch);
        while let Some(event) = walk.next_owned(&batch) {
            match Asked::of(&event) {
                Some(what) => asked.push((event, what)),
                None => tracing::warn!(offset = %event.offset(), stream, "what is asked is not known; passed over"),
            }
        }
    }
}

/// Does what an operator asked; returns whether all of it is done. The handler stands at `cursor`.
pub(crate) fn act(
    window: &mut Window<'_>,
    paused: &mut Option<String>,
    cursor: Offset,
    event: &Event,
    asked: &Asked,
) -> Result<bool, HandlerError> {
    window.overlay.begin(event.offset());
    let reason = Asked::reason(event);
    match asked {
        Asked::Pause => pause(window, paused, &reason)?,
        Asked::Resume => resume(window, paused, event.stream())?,
        Asked::Retry(stream) => {
            window.queues.retry(&mut window.overlay, window.cache, stream, window.now_us)?;
        }
        Asked::Drop { stream, all, only } => return give_up(window, stream, *all, *only, event.offset(), &reason),
        Asked::Skip(offset) => skip(window, cursor, *offset, event.stream(), &reason)?,
        // The generation that takes over finds where this one stands still; asked of that one, it is done already.
        Asked::CutOver(generation) if *generation != window.spec.generation => pause(window, paused, &reason)?,
        Asked::CutOver(_) => {}
    }
    Ok(true)
}

/// Notes that the handler handles nothing more, and why.
pub(crate) fn pause(window: &mut Window<'_>, paused: &mut Option<String>, reason: &str) -> Result<(), HandlerError> {
    let (at, reason) = (window.overlay.at(), shortened(reason));
    window.overlay.begin(at);
    let value = bytes::Bytes::copy_from_slice(reason.as_bytes());
    window.overlay.put(window.cache, &own::PAUSED, Some(value), "$paused")?;
    *paused = Some(reason.to_owned());
    Ok(())
}

fn resume(window: &mut Window<'_>, paused: &mut Option<String>, stream: &str) -> Result<(), HandlerError> {
    if paused.take().is_some() {
        window.overlay.put(window.cache, &own::PAUSED, None, stream)?;
    }
    Ok(())
}

/// Gives up what waited in a queue when it was asked for; not all of it at once, where it is a lot.
fn give_up(
    window: &mut Window<'_>,
    stream: &str,
    all: bool,
    only: Option<Offset>,
    asked_at: Offset,
    reason: &str,
) -> Result<bool, HandlerError> {
    for _ in 0..DROPPED_MAX {
        let first = window.queues.get(stream).and_then(|aside| aside.waiting.front().copied()).map(Offset::from_raw);
        let Some(first) = first.filter(|first| *first < asked_at && only.is_none_or(|only| only == *first)) else {
            return Ok(true);
        };
        window.decide(Decision { kind: DecisionKind::Dropped, offset: first, reason: reason.into() });
        window.queues.done(&mut window.overlay, window.cache, stream, window.now_us)?;
        if !all {
            return Ok(true);
        }
        if window.is_over() {
            break;
        }
    }
    Ok(false)
}

fn skip(
    window: &mut Window<'_>,
    cursor: Offset,
    offset: Offset,
    control_stream: &str,
    reason: &str,
) -> Result<(), HandlerError> {
    if offset >= cursor {
        let (overlay, reason) = (&mut window.overlay, shortened(reason));
        return Ok(window.queues.skips.put(overlay, window.cache, offset, reason, control_stream)?);
    }
    let Some(stream) = window.queues.stream_of(offset.raw()) else {
        tracing::warn!(%offset, "an operator wants an event skipped that is done with already");
        return Ok(());
    };
    window.decide(Decision { kind: DecisionKind::Skipped, offset, reason: reason.into() });
    window.queues.remove(&mut window.overlay, window.cache, &stream, offset.raw(), window.now_us)?;
    Ok(())
}
