//! A worker that follows a log from another process than its writer.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use annals::{LogReader, Offset, OpenError, ReadMode};

use super::ReaderArgs;
use super::report::{crc, line};

/// So many events are reported at once.
const AT_ONCE: usize = 64;
/// So long is waited for a log that nobody has made yet.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(args: &ReaderArgs) -> ExitCode {
    let reader = match open(args) {
        Ok(reader) => reader,
        Err(error) => {
            line(format_args!("failed {error}"));
            return ExitCode::FAILURE;
        }
    };
    line("following");
    let mut follow = reader.follow(Offset::from_raw(args.from)).system(true);
    loop {
        let Some(first) = follow.next() else { return ExitCode::SUCCESS };
        let mut lines = String::new();
        let (mut next, mut more) = (Some(first), AT_ONCE);
        while let Some(event) = next {
            match event {
                Ok(event) => drop(writeln!(lines, "saw {} {}", event.offset(), crc(&event.borrow()))),
                Err(error) => {
                    line(format_args!("{lines}failed {error}"));
                    return ExitCode::FAILURE;
                }
            }
            next = if more > 0 { follow.next_within(Duration::ZERO) } else { None };
            more = more.saturating_sub(1);
        }
        line(lines.trim_end());
    }
}

/// A log whose making was cut short is not there yet.
fn open(args: &ReaderArgs) -> Result<LogReader, OpenError> {
    let start = Instant::now();
    loop {
        match LogReader::open_with(&args.dir, args.world.env(), ReadMode::Map) {
            Err(OpenError::NotFound { .. }) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            opened => return opened,
        }
    }
}
