//! Handlers and the views that hold their state, from outside.

#[cfg(any(feature = "redb", feature = "sled"))]
mod views;
