//! Handlers: what they promise, by behaviour.

#![allow(clippy::unwrap_used)] // what helps a test is a test too

mod common;
mod control;
mod effects;
mod failures;
mod fencing;
mod steps;
