//! A reader beside the writer: no lock, no waiting, and no event that a crash could take back.
//!
//! `cargo run --example read_beside -- data`, while another program writes `data`.

use annals::LogReader;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "data".to_owned());
    let reader = LogReader::open(dir)?;
    let mut events = 0u64;
    let mut bytes = 0u64;
    for batch in reader.batches(..) {
        for event in batch?.events().filter(|event| !event.is_system()) {
            events += 1;
            bytes += event.data().len() as u64;
        }
    }
    println!("{events} events, {bytes} bytes of data, durable up to offset {}", reader.durable_end()?);
    Ok(())
}
