//! An order desk: two clerks sell from one stock, and expectations keep them from selling the last lamp twice.
//!
//! Each clerk decides on what was read, and appends under the condition that it is still so. Whoever is too late is
//! told, writes nothing, looks again and decides again. No lock is held while deciding.

use annals::{Append, AppendError, Event, Expect, Log, Version};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ARTICLE: &str = "stock-lamp";

fn main() -> Outcome<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "data".to_owned());
    let log = Log::open(dir)?;
    // Only a stock that is not there yet is delivered: the program can be run again.
    let delivery = Append::new().expect(ARTICLE, Expect::None).event(Event::new(ARTICLE, "Delivered").data(&b"3"[..]));
    match log.append(delivery).and_then(annals::Receipt::wait) {
        Ok(_) | Err(AppendError::WrongVersion { .. }) => {}
        Err(error) => return Err(error.into()),
    }

    let clerks = ["ann", "bob"].map(|clerk| {
        let log = log.clone();
        std::thread::spawn(move || -> Outcome<u32> {
            let mut sold = 0;
            while sell(&log, clerk)? {
                sold += 1;
            }
            Ok(sold)
        })
    });
    let mut sold = 0;
    for clerk in clerks {
        sold += clerk.join().expect("a clerk panicked")?;
    }
    let (left, _) = stock(&log)?;
    println!("{sold} sold now, {left} left, {} orders in all", log.read(..).types(["Ordered"]).count());
    Ok(log.close()?)
}

/// Pieces left, and the version this was read at.
fn stock(log: &Log) -> Outcome<(i64, Version)> {
    let (mut pieces, mut version) = (0, Version::FIRST);
    for event in log.stream(ARTICLE) {
        let event = event?;
        pieces += match event.event_type() {
            "Delivered" => std::str::from_utf8(event.data())?.parse::<i64>()?,
            _ => -1,
        };
        version = event.version();
    }
    Ok((pieces, version))
}

/// Sells one piece, unless none is left.
fn sell(log: &Log, clerk: &str) -> Outcome<bool> {
    loop {
        let (left, seen) = stock(log)?;
        if left == 0 {
            return Ok(false);
        }
        // Both events or none, and none when the stock has moved since it was read. No two orders have one number:
        // the version of the reservation makes it.
        let append = Append::new()
            .expect(ARTICLE, Expect::Version(seen))
            .event(Event::new(ARTICLE, "Reserved").data(clerk.as_bytes()))
            .event(Event::new(format!("order-{}", seen.raw() + 1), "Ordered").data(clerk.as_bytes()));
        match log.append(append).and_then(annals::Receipt::wait) {
            Ok(_) => return Ok(true),
            Err(AppendError::WrongVersion { .. }) => {} // the other clerk was faster: look again
            Err(error) => return Err(error.into()),
        }
    }
}
