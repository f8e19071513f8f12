//! Handlers: what they promise, by behaviour.

mod sink;
mod steps;
