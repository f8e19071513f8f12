//! The log as a library: one file per behaviour.

#![allow(clippy::unwrap_used)] // what helps a test is a test too

mod atomic;
mod codecs;
mod disk_full;
mod durability;
mod expectations;
mod faults;
mod golden;
mod hooked;
mod limits;
mod readers;
mod receipts;
mod regressions;
mod round_trip;
mod torn_or_corrupt;
mod world;
