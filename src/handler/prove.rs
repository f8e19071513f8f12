//! Whether a view may be believed, and making it again where it may not.

use super::commit::Record;
use super::error::HandlerError;
use super::overlay::Sums;
use super::records::{History, Placed, RecordsError};
use super::snapshot::Snapshots;
use super::spec::HandlerSpec;
use super::state::{StateError, rebuild_into};
use crate::Offset;
use crate::ReadError;
use crate::journal::Journal;
use crate::view::{Bookmark, Change, Digest, Space, Trust, View, ViewError};

/// What a record's rows add up to.
pub(crate) fn sums_of(record: &super::commit::Head) -> Sums {
    Sums { digest: record.digest, own_digest: record.own_digest, rows: record.rows, own_rows: record.own_rows }
}

/// The bookmark of a record.
pub(crate) fn bookmark_of(journal: &dyn Journal, commit: Offset, sums: &Sums) -> Bookmark {
    let (digest, rows) = sums.all();
    Bookmark { log: journal.id(), commit, digest, rows }
}

/// The last record of a generation, which its state has to reflect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub at: Offset,
    pub sums: Sums,
}

/// Brings the view of a handler to its last record: believed as far as it proves itself, else made again.
pub(crate) fn bring_up(
    journal: &dyn Journal,
    snapshots: Option<&Snapshots>,
    view: &dyn View,
    spec: &HandlerSpec,
    goal: Option<Goal>,
) -> Result<(), HandlerError> {
    let space = spec.space();
    let name = || spec.name.as_ref().to_owned();
    let from = match view.bookmark(&space) {
        Err(ViewError::Damaged { .. }) => None,
        Err(error) => return Err(error.into()),
        Ok(Some(bookmark)) if bookmark.log != journal.id() => {
            return Err(HandlerError::WrongLog { name: name(), found: bookmark.log, log: journal.id() });
        }
        Ok(Some(bookmark)) if goal.is_none_or(|goal| bookmark.commit > goal.at) => {
            let last = goal.map(|goal| goal.at);
            return Err(HandlerError::ViewAhead { name: name(), bookmark: bookmark.commit, last });
        }
        Ok(Some(bookmark)) if is_proven(journal, view, &space, &bookmark)? => Some(bookmark.commit.plus(1)),
        Ok(_) => None,
    };
    let Some(goal) = goal else {
        return Ok(view.clear(&space)?);
    };
    match from {
        Some(from) => apply_records(journal, view, &space, from, goal),
        None => {
            tracing::info!(handler = %space, "the view is made again from the log");
            rebuild_into(journal.into(), snapshots.cloned(), view, &space)?;
            Ok(())
        }
    }
}

/// Whether what a view says of itself agrees with the log, and its rows with that.
fn is_proven(journal: &dyn Journal, view: &dyn View, space: &Space, bookmark: &Bookmark) -> Result<bool, HandlerError> {
    let event = match journal.get(bookmark.commit) {
        // Nothing is left to prove it by.
        Err(ReadError::Lost { .. } | ReadError::Trimmed { .. }) => return Ok(false),
        event => event?,
    };
    let record = event.and_then(|event| Record::decode(&event.data_bytes()));
    let agrees = record.is_some_and(|record| {
        record.head.generation == space.generation() && sums_of(&record.head).all() == (bookmark.digest, bookmark.rows)
    });
    Ok(agrees
        && match view.trust() {
            Trust::Closed => true,
            Trust::Lost => false,
            Trust::SameBoot => adds_up(journal, view, space, bookmark)?,
        })
}

/// Whether the rows of a space are those that its bookmark says.
fn adds_up(journal: &dyn Journal, view: &dyn View, space: &Space, bookmark: &Bookmark) -> Result<bool, HandlerError> {
    let (mut digest, mut rows) = (Digest::EMPTY, 0);
    for row in view.scan(space, &[], &[]) {
        match row {
            Ok((key, value)) => {
                digest = digest.with(Digest::of(journal.id(), &key, &value));
                rows += 1;
            }
            Err(ViewError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((digest, rows) == (bookmark.digest, bookmark.rows))
}

/// Applies the records of a generation from an offset on, many of them at once.
fn apply_records(
    journal: &dyn Journal,
    view: &dyn View,
    space: &Space,
    from: Offset,
    goal: Goal,
) -> Result<(), HandlerError> {
    const CHANGES: usize = 4096;
    let mut changes = Vec::new();
    let mut lost = false;
    let history: History<'_> = journal.into();
    for placed in history.records(space, from)? {
        let Placed { offset, record } = match placed {
            // A gap need not be about this handler: what comes out says whether records of it are missing.
            Err(RecordsError::Read(ReadError::Lost { .. })) => {
                lost = true;
                continue;
            }
            placed => placed.map_err(StateError::from)?,
        };
        if offset > goal.at {
            break;
        }
        let bookmark = bookmark_of(journal, offset, &sums_of(&record.head));
        changes.extend(record.writes.into_iter().map(|write| Change { key: write.key, value: write.value }));
        if changes.len() >= CHANGES || offset == goal.at {
            view.apply(space, &changes, &bookmark)?;
            changes.clear();
        }
    }
    if lost && !adds_up(journal, view, space, &bookmark_of(journal, goal.at, &goal.sums))? {
        view.clear(space)?;
        return Err(HandlerError::Digest { name: space.handler().to_owned(), at: goal.at });
    }
    Ok(())
}
