//! Places in a log as they are typed: `start`, `end`, `1234`, `end-100`, `#N`, or a time.
//!
//! | text | place |
//! |---|---|
//! | `start` | the first event still there |
//! | `end` | behind the last event that is durable now |
//! | `1234` | that offset; a bare number is never anything else |
//! | `end-100` | 100 offsets before the end |
//! | `#N` | behind the N-th event of the users |
//! | `now`, `2h ago`, `-2h`, `@1713812735s`, `@…ms`, `@…us` | the first event recorded at or after that moment |
//! | `2026-11-23T12:00:00Z`, or `+01:00` in place of `Z` | the same |
//! | `2026-11-23`, `2026-11-23 09:30`, `09:30` (today) | the same; in the zone of this machine |
//! | `+1h` | only behind `--to`: that long after `--from`, which is a time then |

use clap::Args;
use jiff::civil;
use jiff::{Span, ZonedDateTime};

use crate::{LogReader, Offset, Timestamp};

use super::failure::Failure;
use super::output::note;
use super::time::{micros, names_its_zone, parse_unix};

/// Which part of a log a verb is about: from a position to another one, that one not included.
#[derive(Debug, Args)]
pub(super) struct RangeArgs {
    /// First position: start, end, 1234, end-100, #N (after N user events), a time (2026-11-23, 09:30,
    /// RFC 3339, '2h ago', -2h, now, @1713812735s)
    #[arg(long, value_name = "POS", value_parser = parse, allow_hyphen_values = true)]
    from: Option<Position>,
    /// Position behind the last one; `+1h` counts from a --from that is a time
    #[arg(long, value_name = "POS", value_parser = parse, allow_hyphen_values = true)]
    to: Option<Position>,
}

/// A part of a log: `from` included, `to` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: Offset,
    pub(super) to: Offset,
}

impl RangeArgs {
    /// Whether anything was said.
    pub(super) fn is_given(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }

    /// Finds the places in a log, up to the end seen now. `since` stands in for `--from`.
    pub(super) fn resolve(&self, since: Option<&Position>, reader: &LogReader) -> Result<Range, Failure> {
        let end = reader.durable_end()?;
        let first = since.or(self.from.as_ref()).unwrap_or(&Position::Start);
        let from = first.resolve(reader, end)?;
        let to = match (self.to.as_ref(), first) {
            (None, _) => end,
            (Some(Position::Later(span)), Position::Time(time)) => {
                let later = time.later(span).map_err(Failure::usage)?;
                Position::Time(later).resolve(reader, end)?
            }
            (Some(to), _) => to.resolve(reader, end)?,
        };
        for (name, position) in [("--from", Some(first)), ("--to", self.to.as_ref())] {
            if let Some(Position::Time(Time { local: Some(local), .. })) = position {
                note(format_args!("{name} is taken as {local}"));
            }
        }
        Ok(Range { from, to: to.max(from) })
    }
}

/// A place in a log, as it was typed.
#[derive(Debug, Clone)]
pub(super) enum Position {
    Start,
    End,
    Offset(Offset),
    BeforeEnd(u64),
    /// Behind so many events of the users.
    AfterEvents(u64),
    Time(Time),
    /// So long after the place the range begins at.
    Later(Span),
}

/// A moment, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) at: Timestamp,
    /// How a time that named no zone was taken.
    local: Option<String>,
}

impl Time {
    /// How it was taken, when it named no zone.
    pub(super) fn as_taken(&self) -> Option<&str> {
        self.local.as_deref()
    }

    fn exact(at: Timestamp) -> Self {
        Time { at, local: None }
    }

    fn later(&self, span: &Span) -> Result<Time, String> {
        let at = jiff::Timestamp::from_microsecond(self.at.as_micros()).map_err(|error| error.to_string())?;
        let zoned = at.to_zoned_datetime(jiff::tz::TimeZone::system());
        let later = zoned.checked_add(*span).map_err(|error| error.to_string())?;
        Ok(Time::exact(micros(later.timestamp())))
    }
}

/// Reads a position; times are relative to now.
pub(super) fn parse(text: &str) -> Result<Position, String> {
    parse_at(text, &ZonedDateTime::now())
}

/// Reads a time; for options that take nothing else.
pub(super) fn parse_time(text: &str) -> Result<Time, String> {
    time_at(text.trim(), &ZonedDateTime::now())
}

/// Reads what `--since` takes: a length of time before now, or a time.
pub(super) fn parse_since(text: &str) -> Result<Position, String> {
    let now = ZonedDateTime::now();
    match span(text.trim()) {
        Some(span) if span.is_positive() => back(&now, span.negate()).map(Position::Time),
        _ => time_at(text.trim(), &now).map(Position::Time),
    }
}

fn parse_at(text: &str, now: &ZonedDateTime) -> Result<Position, String> {
    let text = text.trim();
    let number = |digits: &str| -> Result<u64, String> {
        digits.parse().map_err(|_| format!("`{text}` does not hold a number that an offset can have"))
    };
    if text == "start" {
        return Ok(Position::Start);
    }
    if text == "end" {
        return Ok(Position::End);
    }
    if let Some(before) = text.strip_prefix("end-") {
        return number(before).map(Position::BeforeEnd);
    }
    if let Some(events) = text.strip_prefix('#') {
        return number(events).map(Position::AfterEvents);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(text).map(|raw| Position::Offset(Offset::from_raw(raw)));
    }
    if let Some(later) = text.strip_prefix('+') {
        let span = span(later).ok_or_else(|| format!("`{text}` is no length of time, like `+1h`"))?;
        return Ok(Position::Later(span));
    }
    match looks_like_a_time(text) {
        true => time_at(text, now).map(Position::Time),
        false => Err(format!(
            "`{text}` is no position: use start, end, an offset like 1234, end-100, #N (after N user events), or {TIMES}"
        )),
    }
}

const TIMES: &str = "a time like 2026-11-23, 09:30, 2026-11-23T09:30:00Z, `2h ago`, -2h, now, @1713812735s";

/// Whether it may be meant as a time: then what is wrong with it as a time is worth saying.
fn looks_like_a_time(text: &str) -> bool {
    text == "now" || text.starts_with(['@', '-']) || text.starts_with(|char: char| char.is_ascii_digit())
}

fn time_at(text: &str, now: &ZonedDateTime) -> Result<Time, String> {
    if text == "now" {
        return Ok(Time::exact(micros(now.timestamp())));
    }
    if let Some(number) = text.strip_prefix('@') {
        return parse_unix(number).map(Time::exact);
    }
    if let Some(span) = span(text) {
        if !span.is_negative() {
            return Err(format!("`{text}` may lie before or after now: say `{text} ago` or `-{text}`"));
        }
        return back(now, span);
    }
    if text.as_bytes().get(4) == Some(&b'-') && text.starts_with(|char: char| char.is_ascii_digit()) {
        if names_its_zone(text) {
            let at: jiff::Timestamp = text.parse().map_err(|error| format!("`{text}` is no time: {error}"))?;
            return Ok(Time::exact(micros(at)));
        }
        let civil: civil::DateTime = text.parse().map_err(|error| format!("`{text}` is no time: {error}"))?;
        return local(civil, now);
    }
    // `1234` would be a clock too.
    if text.contains(':')
        && let Ok(clock) = text.parse::<civil::Time>()
    {
        return local(now.date().to_datetime(clock), now);
    }
    Err(format!("`{text}` is no time that is understood: use {TIMES}"))
}

/// `2h`, `-2h`, `2h ago`, `1 day`, `PT2H`.
fn span(text: &str) -> Option<Span> {
    // `09:30` would be nine hours and a half: a clock is what is meant.
    if text.contains(':') { None } else { text.parse().ok() }
}

fn back(now: &ZonedDateTime, span: Span) -> Result<Time, String> {
    let then = now.checked_add(span).map_err(|error| format!("that time is out of reach: {error}"))?;
    Ok(Time::exact(micros(then.timestamp())))
}

fn local(civil: civil::DateTime, now: &ZonedDateTime) -> Result<Time, String> {
    let zoned = civil.to_zoned_datetime(now.time_zone().clone()).map_err(|error| format!("no such time: {error}"))?;
    Ok(Time { at: micros(zoned.timestamp()), local: Some(zoned.to_string()) })
}

impl Position {
    /// Finds the place in a log that ends at `end`.
    pub(super) fn resolve(&self, reader: &LogReader, end: Offset) -> Result<Offset, Failure> {
        match self {
            Position::Start => Ok(reader.head()?),
            Position::End => Ok(end),
            Position::Offset(offset) => Ok((*offset).min(end)),
            Position::BeforeEnd(back) => Ok(Offset::from_raw(end.raw().saturating_sub(*back)).max(reader.head()?)),
            Position::AfterEvents(events) => after_events(reader, *events, end),
            Position::Time(time) => Ok(reader.offset_recorded(time.at)?.min(end)),
            Position::Later(_) => {
                Err(Failure::usage("`+…` stands behind --to only, and counts from a --from that is a time"))
            }
        }
    }
}

/// The offset behind so many user events, or the end when there are not so many. Reads all before it.
fn after_events(reader: &LogReader, events: u64, end: Offset) -> Result<Offset, Failure> {
    let mut left = events;
    if left == 0 {
        return Ok(reader.head()?);
    }
    for batch in reader.batches(reader.head()?..end) {
        for event in batch?.events().filter(|event| !event.is_system()) {
            left -= 1;
            if left == 0 {
                return Ok(event.offset().plus(1));
            }
        }
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::time::rfc3339;

    fn now() -> ZonedDateTime {
        "2026-11-23T12:00:00+01:00[+01:00]".parse().unwrap()
    }

    fn read(text: &str) -> String {
        match parse_at(text, &now()) {
            Ok(Position::Start) => "start".to_owned(),
            Ok(Position::End) => "end".to_owned(),
            Ok(Position::Offset(offset)) => format!("offset {offset}"),
            Ok(Position::BeforeEnd(back)) => format!("end - {back}"),
            Ok(Position::AfterEvents(events)) => format!("after {events}"),
            Ok(Position::Time(Time { at, local: None })) => rfc3339(at),
            Ok(Position::Time(Time { at, local: Some(_) })) => format!("local {}", rfc3339(at)),
            Ok(Position::Later(span)) => format!("later {span:#}"),
            Err(_) => "error".to_owned(),
        }
    }

    #[test]
    fn positions_mean_what_the_table_says() {
        for (text, meant) in [
            ("start", "start"),
            ("end", "end"),
            ("1234", "offset 1234"),
            ("20261123", "offset 20261123"),
            ("18446744073709551615", "offset 18446744073709551615"),
            ("18446744073709551616", "error"),
            ("end-100", "end - 100"),
            ("end-", "error"),
            ("#0", "after 0"),
            ("#1000", "after 1000"),
            ("#", "error"),
            ("now", "2026-11-23T11:00:00.000000Z"),
            ("2h ago", "2026-11-23T09:00:00.000000Z"),
            ("-2h", "2026-11-23T09:00:00.000000Z"),
            ("-1d", "2026-11-22T11:00:00.000000Z"),
            ("1 day 2 hours ago", "2026-11-22T09:00:00.000000Z"),
            ("2h", "error"),
            ("+1h", "later 1h"),
            ("@1713812735s", "2024-04-22T19:05:35.000000Z"),
            ("@1713812735123ms", "2024-04-22T19:05:35.123000Z"),
            ("@1713812735", "error"),
            ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000000Z"),
            ("2026-11-23T10:00:00.5+01:00", "2026-11-23T09:00:00.500000Z"),
            ("2026-11-23", "local 2026-11-22T23:00:00.000000Z"),
            ("2026-11-23 09:30", "local 2026-11-23T08:30:00.000000Z"),
            ("09:30", "local 2026-11-23T08:30:00.000000Z"),
            ("09:30:15", "local 2026-11-23T08:30:15.000000Z"),
            ("2026-13-23", "error"),
            ("-5", "error"),
            ("", "error"),
            ("tomorrow", "error"),
        ] {
            assert_eq!(read(text), meant, "{text}");
        }
    }

    #[test]
    fn since_takes_a_length_of_time_or_a_time() {
        let ago = |text: &str| match parse_since(text) {
            Ok(Position::Time(time)) => (Timestamp::now().as_micros() - time.at.as_micros()) / 60_000_000,
            _ => -1,
        };
        assert_eq!(ago("2h"), 120);
        assert_eq!(ago("2h ago"), 120);
        assert_eq!(ago("-2h"), 120);
        assert!(ago("2015-09-12") > 0);
        assert_eq!(ago("1234"), -1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+@#0-9a-z: TZ.]{0,24}") {
            let _ = (parse_at(&text, &now()), parse_since(&text));
        }

        #[test]
        fn a_bare_number_is_an_offset(raw: u64) {
            prop_assert_eq!(read(&raw.to_string()), format!("offset {raw}"));
        }
    }
}
