//! Handlers: what they promise, by behaviour.

mod generations;
mod replay;
mod steps;
