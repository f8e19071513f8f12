//! The `annals` command as a program: one file per verb.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod cat;
mod common;
mod dump;
mod exit_codes;
mod export;
mod get;
mod stat;
mod verify;
