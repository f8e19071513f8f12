//! Handlers and what they stand on: one file per behaviour.

#![allow(clippy::unwrap_used)] // what helps a test is a test too

#[cfg(feature = "tokio")]
mod asynchronous;
mod check;
mod generations;
mod journal;
mod regressions;
mod replay;
mod lanes;
mod sink;
mod common;
mod control;
mod effects;
mod failures;
mod fencing;
mod steps;
mod views;
mod snapshots;
mod state;
mod world;
