//! Times as text: how events' times are shown, and how import reads those in its lines.

use std::time::Duration;

use jiff::fmt::{rfc2822, temporal};
use jiff::tz::TimeZone;

use crate::Timestamp;

static PRINTER: temporal::DateTimePrinter = temporal::DateTimePrinter::new().precision(Some(6));
static TEMPORAL: temporal::DateTimeParser = temporal::DateTimeParser::new();
// A wrong day of the week is common in old mail, and says nothing about when it was sent.
static MAIL: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);

/// RFC 3339 in UTC with all six digits, so that texts sort as the moments do; moments that no calendar
/// reaches are shown as `@…us`. [`parse_exact`] takes both back.
pub(super) fn rfc3339(time: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(time.as_micros()) {
        Ok(at) => PRINTER.timestamp_to_string(&at),
        Err(_) => format!("@{}us", time.as_micros()),
    }
}

/// For the eye: `2026-11-23 12:00:00.123`, in UTC.
pub(super) fn readable(time: Timestamp) -> String {
    let text = rfc3339(time);
    match (text.get(..10), text.get(11..23)) {
        (Some(date), Some(clock)) if text.len() == 27 => format!("{date} {clock}"),
        _ => text,
    }
}

/// What [`rfc3339`] writes, and any other moment in RFC 3339.
pub(super) fn parse_exact(text: &str) -> Result<Timestamp, String> {
    match text.strip_prefix('@') {
        Some(number) => parse_unix(number),
        None => match TEMPORAL.parse_timestamp(text) {
            Ok(at) => Ok(micros(at)),
            Err(error) => Err(format!("{text:?} is no RFC 3339 time: {error}")),
        },
    }
}

/// `1713812735s`, `…ms` or `…us` since 1970. Without its unit a number is not taken: guessing it by its
/// length goes wrong.
pub(super) fn parse_unix(number: &str) -> Result<Timestamp, String> {
    let digits = number.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let micros_each = match number.get(digits.len()..) {
        Some("s") => 1_000_000,
        Some("ms") => 1_000,
        Some("us") => 1,
        _ => return Err(format!("`@{number}` lacks its unit: `@…s`, `@…ms` or `@…us` since 1970")),
    };
    let number: i64 = digits.parse().map_err(|_| format!("`@{number}` is no number with a unit"))?;
    let micros = number.checked_mul(micros_each).ok_or_else(|| format!("`@{number}` is out of range"))?;
    Ok(Timestamp::from_micros(micros))
}

/// Reads a time of a line that is imported: RFC 3339, `YYYY-MM-DD[ HH:MM[:SS]]` in `zone`, or RFC 5322.
///
/// Where a clock was put back a time comes twice, and the first is meant; where it was put forward, the
/// missing hour is taken as it would be without the change.
pub(super) fn parse_imported(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let text = text.trim();
    let starts_with_year = text.as_bytes().get(4) == Some(&b'-') || text.starts_with(['+', '-']);
    let parsed = if !starts_with_year {
        MAIL.parse_timestamp(text)
    } else if names_its_zone(text) {
        TEMPORAL.parse_timestamp(text)
    } else {
        TEMPORAL.parse_datetime(text).and_then(|civil| zone.to_timestamp(civil))
    };
    parsed.map(micros).map_err(|error| format!("{text:?} is no time that is understood: {error}"))
}

/// Whether a date and time, `YYYY-MM-DD…`, says how far it is from UTC.
pub(super) fn names_its_zone(text: &str) -> bool {
    text.get(10..).is_some_and(|after_date| after_date.contains(['Z', 'z', '+', '-', '[']))
}

/// A zone by its name (`Europe/Berlin`) or its distance from UTC (`+01:00`).
pub(super) fn parse_zone(text: &str) -> Result<TimeZone, String> {
    TEMPORAL.parse_time_zone(text).map_err(|error| format!("{text:?} is no time zone: {error}"))
}

/// A length of time: `10s`, `2m`, `1500ms`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string());
    let duration = parsed.and_then(|duration| Duration::try_from(duration).map_err(|error| error.to_string()));
    duration.map_err(|error| format!("`{text}` is no length of time, like 10s: {error}"))
}

/// Finer parts are cut.
pub(super) fn micros(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_microsecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn imported(text: &str) -> Option<String> {
        parse_imported(text, &TimeZone::UTC).ok().map(rfc3339)
    }

    #[test]
    fn import_reads_the_times_it_promises() {
        for (text, meant) in [
            ("2015-09-12T00:46:58.771Z", "2015-09-12T00:46:58.771000Z"),
            ("2015-09-12T02:46:58+02:00", "2015-09-12T00:46:58.000000Z"),
            ("2015-09-12t00:46:58.1234567z", "2015-09-12T00:46:58.123456Z"),
            ("2010-12-01 08:26:00", "2010-12-01T08:26:00.000000Z"),
            ("2010-12-01 08:26", "2010-12-01T08:26:00.000000Z"),
            ("2010-12-01", "2010-12-01T00:00:00.000000Z"),
            ("Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T15:55:06.000000Z"),
            ("21 Nov 1997 09:55:06 GMT", "1997-11-21T09:55:06.000000Z"),
        ] {
            assert_eq!(imported(text).as_deref(), Some(meant), "{text}");
        }
        for text in ["", "yesterday", "1713812735", "2010-13-01", "2010-12-01 25:00", "09:30", "2010"] {
            assert_eq!(imported(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_in_the_one_that_was_given() {
        let zone = parse_zone("+02:00").unwrap();
        let time = parse_imported("2010-12-01 08:26:00", &zone).unwrap();
        assert_eq!(rfc3339(time), "2010-12-01T06:26:00.000000Z");
        assert!(parse_zone("Middle-earth/Shire").is_err());
    }

    #[test]
    fn a_number_needs_its_unit() {
        assert_eq!(parse_unix("1713812735s"), Ok(Timestamp::from_micros(1_713_812_735_000_000)));
        assert_eq!(parse_unix("-5ms"), Ok(Timestamp::from_micros(-5_000)));
        for text in ["1713812735", "", "s", "1e9s", "9223372036854775807s"] {
            assert!(parse_unix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_length_of_time_has_its_unit() {
        assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(["", "10", "-1s"].map(parse_duration).iter().all(Result::is_err));
    }

    #[test]
    fn what_is_shown_is_short_and_sorts() {
        assert_eq!(readable(Timestamp::from_micros(1_000)), "1970-01-01 00:00:00.001");
        assert_eq!(readable(Timestamp::from_micros(i64::MAX)), "@9223372036854775807us");
    }

    proptest! {
        #[test]
        fn every_moment_comes_back(micros: i64) {
            let time = Timestamp::from_micros(micros);
            prop_assert_eq!(parse_exact(&rfc3339(time)), Ok(time));
        }

        #[test]
        fn moments_that_calendars_reach_come_back(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000) {
            let time = Timestamp::from_micros(micros);
            prop_assert_eq!(parse_exact(&rfc3339(time)), Ok(time));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_imported(&text, &TimeZone::UTC), parse_exact(&text), parse_zone(&text));
        }
    }
}
