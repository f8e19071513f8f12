//! The lines a worker writes: each in one call, so that a kill leaves no half line before a whole one.

use std::fmt::Display;
use std::io::Write;

use annals::EventRef;

/// Writes a line. A worker that nobody listens to ends.
pub fn line(text: impl Display) {
    let text = format!("{text}\n");
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

/// Checksum of all that a reader sees of an event.
pub fn crc(event: &EventRef<'_>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for text in [event.stream(), event.event_type(), event.id().unwrap_or("")] {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    hasher.update(&event.version().raw().to_le_bytes());
    hasher.update(&event.recorded().as_micros().to_le_bytes());
    hasher.update(event.data());
    hasher.finalize()
}
