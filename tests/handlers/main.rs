//! Handlers: what they promise, by behaviour.

mod steps;
