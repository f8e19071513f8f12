//! The log as a library: one file per behaviour.

mod atomic;
mod faults;
mod round_trip;
mod torn_or_corrupt;
mod world;
