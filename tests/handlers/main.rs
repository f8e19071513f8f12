//! Handlers and what they stand on: one file per behaviour.

#![allow(clippy::unwrap_used)] // what helps a test is a test too

#[cfg(feature = "tokio")]
mod asynchronous;
mod journal;
mod lanes;
mod sink;
mod steps;
mod views;
mod snapshots;
mod state;
mod world;
