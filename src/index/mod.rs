//! Merged indexes: which segments hold a stream, and its last event, for many segments at once. They stand in files
//! of their own beside the log, are made of the segments' footers and can be made again: with them gone nothing
//! changes but the time it takes to look.

mod file;
mod merge;
mod set;

pub(crate) use file::{Broken, Found, IndexFile};
pub(crate) use merge::{Build, check, write};
pub(crate) use set::{IndexName, IndexSet, NAME_UNFINISHED, due};
