//! What the command reads from its arguments and inputs, under bytes that may be anything: for tests and fuzzing.

use jiff::tz::TimeZone;

use super::line::{Lines, Shape};
use super::{position, time};

/// A position, and all else that is written where one may be.
pub fn position(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = (position::parse(&text), position::parse_time(&text), position::parse_since(&text));
    let _ = (time::parse_exact(&text), time::parse_imported(&text, &TimeZone::UTC), time::parse_zone(&text));
    let _ = time::parse_duration(&text);
    if let Ok(position::Position::Time(at)) = position::parse(&text) {
        let _ = (time::rfc3339(at.at), time::readable(at.at), at.as_taken().map(str::len));
    }
}

/// A template on the first line, and the line that is imported by it behind.
pub fn import_line(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (template, line) = text.split_once('\n').unwrap_or(("{a}", &text));
    for template in [template, "{a}-{/b/0/c}"] {
        let shape = Shape::new(template, "{type}", Some("source".to_owned()));
        let shape = shape.and_then(|shape| shape.id(template)).and_then(|shape| shape.time("at", TimeZone::UTC));
        let Ok(shape) = shape else { continue };
        let _ = Lines::Ndjson(Box::new(shape)).event(line, &mut Vec::new());
    }
}

/// An event as `export` writes it.
pub fn envelope(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = Lines::Envelopes.event(&text, &mut Vec::new());
}
