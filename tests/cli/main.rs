//! The `annals` command, run as a user runs it: one file per verb.
#![cfg(feature = "cli")]

mod append;
mod cat;
mod common;
mod demo;
mod dump;
mod exit_codes;
mod export;
mod export_import;
mod get;
mod help;
mod import;
mod reading;
mod real_data;
mod stat;
mod verify;
