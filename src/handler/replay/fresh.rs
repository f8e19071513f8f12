//! A replay that decides failures anew: what would the handler do with its events now?

use std::sync::Arc;

use super::{Replay, ReplayProgress, ReplayReport, Until, Verdict};
use crate::handler::error::HandlerError;
use crate::handler::follow::Inputs;
use crate::handler::overlay::Sums;
use crate::handler::prove::bookmark_of;
use crate::handler::queues::Queues;
use crate::handler::runner::{TAKEN_UP_MAX, first_head, take_up};
use crate::handler::window::{Came, Window};
use crate::{Event, Offset};

/// Handles all events, with retries due by the log's time, and at the end all at once.
pub(super) fn run(replay: Replay, progress: &mut dyn FnMut(ReplayProgress)) -> Result<ReplayReport, HandlerError> {
    let Replay { journal, spec, logic, view, until, .. } = replay;
    let end = match until {
        Until::Offset(until) => until.min(journal.durable_end()),
        Until::End | Until::Time(_) => journal.durable_end(),
    };
    let mut cursor = first_head(&*journal, &spec).cursor;
    let mut inputs = Inputs::new(Arc::clone(&journal), &spec.filter, cursor);
    let mut engine = Replay::engine(&journal, spec, logic, view);
    let (mut queues, mut sums, mut now_us) = (Queues::default(), Sums::default(), i64::MIN);
    let (mut events_handled, mut outputs) = (0, 0);
    loop {
        let mut events = inputs.below(end, engine.spec.window_events)?;
        if let Until::Time(time) = until {
            events.truncate(events.iter().take_while(|event| event.recorded() <= time).count());
        }
        let newest = events.last().map(|event| event.recorded().as_micros());
        match newest.or(queues.next_due_us()) {
            Some(us) => now_us = now_us.max(us),
            None => break,
        }
        let mut window = Window::new(&engine.cache, &mut queues, &engine.spec, &engine.whose, now_us);
        take_up(&*journal, &mut *engine.logic, &mut window, TAKEN_UP_MAX)?;
        if window.pause.is_none() {
            window.go_on_with(events, Came::InTurn);
            engine.logic.run(&mut window)?;
            cursor = window
                .reached()
                .or(window.events().last().map(|event: &Event| event.offset().plus(1)))
                .unwrap_or(cursor);
            inputs.put_back(window.rest());
        }
        let paused = window.pause.is_some();
        events_handled += window.handled;
        outputs += window.outputs.len() as u64;
        let Window { mut overlay, .. } = window;
        sums = overlay.finish(journal.id(), sums).2;
        overlay.settle(&mut engine.cache);
        if engine.cache.is_full() {
            engine.cache.apply(&bookmark_of(&*journal, last_of(cursor), &sums))?;
        }
        progress(ReplayProgress { cursor, end, events: events_handled });
        if paused {
            break;
        }
    }
    engine.cache.apply(&bookmark_of(&*journal, last_of(cursor), &sums))?;
    Ok(ReplayReport {
        handler: engine.spec.name.as_ref().to_owned(),
        generation: engine.spec.generation,
        verdict: Verdict::Fresh,
        difference: None,
        cursor,
        records: 0,
        events: events_handled,
        outputs,
        parked: queues.streams() as u64,
        rows: sums.rows,
        digest: sums.digest,
    })
}

fn last_of(cursor: Offset) -> Offset {
    Offset::from_raw(cursor.raw().saturating_sub(1))
}
