//! Handlers: what is made of their records.

mod snapshots;
mod state;
mod world;
