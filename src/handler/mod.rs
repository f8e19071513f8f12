//! Handlers: user logic with state, whose state, position and output events move in one append.

pub(crate) mod commit;
pub(crate) mod value;
