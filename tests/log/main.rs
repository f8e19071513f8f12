//! The log as a library: one file per behaviour.

mod round_trip;
