//! What a log was given by one run in one process, and what has to be found in it.

use std::path::Path;

use annals::testkit::{Random, SeededRandom};
use annals::{Append, AppendError, Durability, Event, Log, LogReader, Receipt};

use crate::dice::Dice;

/// Events in the order of their offsets: all that the log took, and how many of them it has acknowledged.
#[derive(Debug, Default)]
pub struct Given {
    events: Vec<(String, Vec<u8>)>,
    /// Events acknowledged as durable.
    pub acknowledged: usize,
}

/// What was planned for an append that waits for its acknowledgement.
#[derive(Debug)]
pub struct Promise {
    pub receipt: Receipt,
    end: usize,
    durable: bool,
}

impl Given {
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Appends up to three events of up to `bytes` each, which no codec makes smaller.
    pub fn append(&mut self, log: &Log, dice: &Dice, bytes: u64) -> Result<Promise, AppendError> {
        let first = self.events.len() as u64;
        let count = 1 + dice.below(3);
        let events: Vec<_> = (0..count)
            .map(|part| (format!("s-{}", dice.below(7)), content(first + part, bytes_of(dice, bytes))))
            .collect();
        let durable = dice.percent(70);
        let append = events.iter().fold(Append::new(), |append, (stream, data)| {
            append.event(Event::new(stream.as_str(), "Happened").data(data.as_slice()))
        });
        let receipt = log.append(append.durability(if durable { Durability::Disk } else { Durability::Os }))?;
        assert_eq!(receipt.planned().first().raw(), first, "offsets are dense, and none was taken by a refused append");
        self.events.extend(events);
        Ok(Promise { receipt, end: self.events.len(), durable })
    }

    /// Waits for an acknowledgement.
    pub fn wait(&mut self, promise: Promise) -> Result<(), AppendError> {
        promise.receipt.wait()?;
        if promise.durable {
            self.acknowledged = self.acknowledged.max(promise.end);
        }
        Ok(())
    }

    /// All that was given is durable now.
    pub fn all_durable(&mut self) {
        self.acknowledged = self.events.len();
    }

    /// Holds what a reader sees against it: at least all that is acknowledged, and nothing else than what was
    /// given. Returns how many events it sees.
    pub fn check(&self, reader: &LogReader) -> Result<usize, String> {
        let mut seen = 0;
        for event in reader.read(..) {
            let event =
                event.map_err(|error| format!("event {seen} of {} acknowledged: {error}", self.acknowledged))?;
            let Some((stream, data)) = self.events.get(seen) else {
                return Err(format!("event {seen} was never given"));
            };
            if event.offset().raw() != seen as u64 || event.stream() != stream || event.data() != data.as_slice() {
                return Err(format!("event {seen} is not the one that was given: it is at {}", event.offset()));
            }
            seen += 1;
        }
        match seen >= self.acknowledged {
            true => Ok(seen),
            false => Err(format!("{} events are acknowledged, {seen} are there", self.acknowledged)),
        }
    }

    /// The same, beside a writer or without one, as another process would.
    pub fn check_from_outside(&self, dir: &Path) -> Result<usize, String> {
        let reader = LogReader::open(dir).map_err(|error| format!("the log cannot be read: {error}"))?;
        self.check(&reader)
    }
}

/// Small ones often, large ones at times.
fn bytes_of(dice: &Dice, bytes: u64) -> usize {
    let most = if dice.percent(80) { bytes.min(400) } else { bytes };
    dice.below(most + 1) as usize
}

/// The data of an event: told by its number, and noise to any codec.
fn content(number: u64, bytes: usize) -> Vec<u8> {
    let random = SeededRandom::new(number);
    let mut data = format!("{number};").into_bytes();
    while data.len() < bytes {
        data.extend(random.next_u64().to_le_bytes());
    }
    data
}
