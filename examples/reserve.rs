//! Two customers want the last lamp: an expectation lets one of them win, and the other one decide again.

use annals::{Append, AppendError, Event, Expect, Log, Version};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "data".to_owned());
    let log = Log::open(dir)?;
    if log.read(..).streams("stock-lamp").next().is_none() {
        log.append(Event::new("stock-lamp", "Delivered").data(br#"{"pieces":1}"#))?.wait()?;
    }
    for customer in ["ann", "bob"] {
        match reserve(&log, customer) {
            Ok(true) => println!("{customer} has the lamp"),
            Ok(false) => println!("{customer} comes too late: no lamp is left"),
            Err(error) => return Err(error),
        }
    }
    Ok(log.close()?)
}

/// Reads the stock, decides, and appends on the condition that nobody else did since.
fn reserve(log: &Log, customer: &str) -> Result<bool, Box<dyn std::error::Error>> {
    loop {
        let mut pieces = 0;
        let mut seen = Version::FIRST;
        for event in log.read(..).streams("stock-lamp") {
            let event = event?;
            pieces += if event.event_type() == "Delivered" { 1 } else { -1 };
            seen = event.version();
        }
        if pieces <= 0 {
            return Ok(false);
        }
        // Both events or none; and none when the stock moved.
        let append = Append::new()
            .expect("stock-lamp", Expect::Version(seen))
            .event(Event::new("stock-lamp", "Reserved").data(customer.as_bytes()))
            .event(Event::new(format!("customer-{customer}"), "LampReserved"));
        match log.append(append).and_then(annals::Receipt::wait) {
            Ok(_) => return Ok(true),
            Err(AppendError::WrongVersion { .. }) => {} // somebody was faster: look again
            Err(error) => return Err(error.into()),
        }
    }
}
