//! Following a log from a second process: this program starts itself again as the writer, and shows each event as soon as
//! it is durable. Neither waits for the other, and either may be killed and started again.

use std::process::Command;

use annals::{Event, Log, LogReader, Offset};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("write"), Some(dir)) => write(&dir),
        _ => follow("data"),
    }
}

/// The second process: appends what happens, and ends.
fn write(dir: &str) -> Outcome<()> {
    let log = Log::open(dir)?;
    for step in ["picked", "packed", "shipped"] {
        log.append(Event::new("parcel-1", "Moved").data(step.as_bytes()))?.wait()?;
    }
    Ok(log.close()?)
}

fn follow(dir: &str) -> Outcome<()> {
    // So that there is a log to follow, whoever comes first.
    Log::open(dir)?.close()?;
    let reader = LogReader::open(dir)?;
    let mut writer = Command::new(std::env::current_exe()?).args(["write", dir]).spawn()?;
    // From history to what comes: it would go on for ever, so it ends itself with the last step.
    for event in reader.follow(Offset::ZERO).streams("parcel-1") {
        let event = event?;
        let step = std::str::from_utf8(event.data())?;
        println!("{} {step}", event.offset());
        if step == "shipped" {
            break;
        }
    }
    writer.wait()?;
    Ok(())
}
