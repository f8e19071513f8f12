//! The first program: open, append, read back. Run it twice: the second run sees the events of the first.

use annals::{Event, Log};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::open("data")?;
    let placed = log.append(Event::new("order-17", "OrderPlaced").data(br#"{"article":"lamp"}"#))?.wait()?;
    println!("appended at offset {}", placed.first());

    for event in log.read(..).streams("order-*") {
        let event = event?;
        println!("{} {}@{} {}", event.offset(), event.stream(), event.version(), event.event_type());
    }
    Ok(log.close()?)
}
