//! What can go wrong with a view. The log is never affected: a view can be made again from it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::LogId;

/// Why a view could not be read or changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// Bytes are not what was written.
    #[error("the view at {} is damaged: {what}; no event is affected, its rows are made again from the log", path.display())]
    Damaged {
        /// The view.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It holds the state of another log.
    #[error("the view at {} belongs to log {found}, not to {expected}; nothing was changed, give each log a view of its own", path.display())]
    WrongLog {
        /// The view.
        path: PathBuf,
        /// The log it belongs to.
        found: LogId,
        /// The log that it was opened for.
        expected: LogId,
    },
    /// Another process or handle has it open.
    #[error("the view at {} is in use by another process or handle; end that one first", path.display())]
    Held {
        /// The view.
        path: PathBuf,
    },
    /// The disk is full. Nothing was changed.
    #[error("the disk is full, and the view at {} needs room; nothing is lost, it goes on when there is some", path.display())]
    Full {
        /// The view.
        path: PathBuf,
    },
    /// It was closed, or failed before: it has to be opened again.
    #[error("the view at {} takes nothing more: {why}", path.display())]
    Closed {
        /// The view.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The store failed. What was applied since the last barrier may be gone.
    #[error("the view at {} failed: {source}; no event is affected, open it again", path.display())]
    Failed {
        /// The view.
        path: PathBuf,
        /// What the store said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}
