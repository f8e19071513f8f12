//! The `annals` command, run as a user runs it: one file per verb.
#![cfg(feature = "cli")]

mod append;
mod bench;
mod cat;
#[cfg(unix)]
mod check_handler;
mod common;
mod consumers;
#[cfg(unix)]
mod cutover;
mod demo;
mod dump;
mod exit_codes;
mod export;
mod export_import;
mod generated;
mod get;
#[cfg(unix)]
mod handle;
#[cfg(unix)]
mod handlers;
mod help;
mod hostile;
mod import;
#[cfg(unix)]
mod park;
mod real_data;
mod real_data_delivery;
mod real_data_reading;
mod repair;
#[cfg(unix)]
mod replay;
mod same;
mod stat;
mod state;
mod streams;
mod tail;
mod verify;
