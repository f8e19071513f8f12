//! An audit trail: who changed what of a customer's record, when, and what it was at any time before.
//!
//! Events are never changed, so the trail needs no table of its own: the history of the record is the record.

use std::collections::BTreeMap;

use annals::{Event, Log, LogReader, NewEvent, Timestamp, Version};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const RECORD: &str = "customer-7";

fn main() -> Outcome<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "data".to_owned());
    let log = Log::open(&dir)?;
    if log.version(RECORD)?.is_none() {
        for event in [
            change("ann", 1_772_355_600, "name=Ada Byron"),
            change("ann", 1_772_355_660, "city=London"),
            change("bob", 1_778_602_800, "name=Ada Lovelace"),
            change("cleo", 1_788_087_900, "city=Ockham"),
        ] {
            log.append(event)?.wait()?;
        }
    }
    log.close()?;

    // Whoever audits needs no lock and cannot change anything.
    let reader = LogReader::open(dir)?;
    println!("the last two changes:");
    for event in reader.stream(RECORD).backward().take(2) {
        let event = event?;
        println!("  version {} by {}: {}", event.version(), by(&event), text(&event)?);
    }
    let now = reader.version(RECORD)?.ok_or("the record has no history")?;
    println!("behind version 1: {}", state(&reader, Version::from_raw(1))?);
    println!("behind version {now}: {}", state(&reader, now)?);
    Ok(())
}

/// A change as its event: what was changed is the data, by whom a header, and when the event's own time.
fn change(by: &'static str, seconds: i64, what: &'static str) -> NewEvent<'static> {
    let time = Timestamp::from_micros(seconds * 1_000_000);
    Event::new(RECORD, "Changed").data(what.as_bytes()).header("by", by).time(time)
}

fn by(event: &Event) -> String {
    event.headers().find(|(name, _)| *name == "by").map_or_else(|| "nobody".to_owned(), |(_, by)| by.to_owned())
}

fn text(event: &Event) -> Outcome<&str> {
    Ok(std::str::from_utf8(event.data())?)
}

/// The record as it was behind a version.
fn state(reader: &LogReader, until: Version) -> Outcome<String> {
    let mut fields = BTreeMap::new();
    for event in reader.stream(RECORD).to(Version::from_raw(until.raw() + 1)) {
        let event = event?;
        if let Some((name, value)) = text(&event)?.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", "))
}
