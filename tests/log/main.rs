//! The log as a library: one file per behaviour.

#![allow(clippy::unwrap_used)] // what helps a test is a test too

#[cfg(feature = "tokio")]
mod asynchronous;
mod atomic;
mod backward;
mod codecs;
mod consumers;
mod cursor_file;
mod disk_full;
mod durability;
mod expectations;
mod faults;
mod follow;
mod golden;
mod hooked;
mod hostile;
mod index;
mod limits;
mod memory;
mod producers;
mod readers;
mod receipts;
mod regressions;
mod repair;
mod round_trip;
mod streams;
mod times;
mod torn_or_corrupt;
mod world;
