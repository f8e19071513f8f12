//! What a worker appends: all of it follows from a seed and the number of an append, so that whoever checks a log
//! needs to remember nothing.
//!
//! A worker has four lanes. The appends of a lane are numbered from 0 and stand in the log in this order, so that
//! a missing, repeated or invented one shows by its number. The last event of the users' in each append is that of
//! the lane's own stream: its version is the append's number.

use annals::testkit::{Random, SeededRandom};
use annals::{Append, Codec, Durability, Event, EventRef, Expect, NewEvent, SourceRecord, Timestamp, Version};

/// How many lanes there are.
pub const LANES: u64 = 4;
/// Lanes whose appends have a producer.
pub const PRODUCER_LANES: u64 = 2;
/// The lane whose appends note a source.
pub const SOURCE_LANE: u64 = 2;
/// The source of [`SOURCE_LANE`].
pub const SOURCE: &str = "feed";

/// Random numbers that follow from these.
pub fn random(parts: &[u64]) -> SeededRandom {
    let state = parts.iter().fold(0x005e_ed00, |state: u64, part| {
        let mixed = SeededRandom::new(state ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed.next_u64()
    });
    SeededRandom::new(state)
}

/// A number below `n`.
pub fn pick(random: &SeededRandom, n: u64) -> u64 {
    random.next_u64() % n
}

/// One event of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub stream: String,
    pub event_type: String,
    pub id: Option<String>,
    pub time: Option<Timestamp>,
    pub header: Option<String>,
    pub data: Vec<u8>,
}

/// One append.
#[derive(Debug, Clone)]
pub struct Spec {
    pub lane: u64,
    pub number: u64,
    pub durability: Durability,
    pub pieces: Vec<Piece>,
    /// Whether it says where its lane's stream is.
    pub expects: bool,
}

pub fn lane_stream(lane: u64) -> String {
    format!("lane-{lane}")
}

pub fn producer(lane: u64) -> String {
    format!("producer-{lane}")
}

impl Spec {
    pub fn new(seed: u64, lane: u64, number: u64) -> Spec {
        let random = random(&[seed, lane, number]);
        let parts = if pick(&random, 3) == 0 { 1 + pick(&random, 4) } else { 1 };
        let pieces = (0..parts)
            .map(|part| {
                let is_last = part + 1 == parts;
                let stream = if is_last { lane_stream(lane) } else { format!("shared {}", pick(&random, 7)) };
                let mut data = format!("{lane}.{number}.{part}.{parts};").into_bytes();
                let len = match pick(&random, 64) {
                    0 => 20_000 + pick(&random, 80_000),
                    1..=6 => pick(&random, 5_000),
                    _ => pick(&random, 300),
                };
                data.extend(noise(&random, len as usize));
                Piece {
                    stream,
                    event_type: format!("Type{}", pick(&random, 5)),
                    id: (pick(&random, 4) == 0).then(|| format!("id-{lane}-{number}-{part}")),
                    time: (pick(&random, 4) == 0).then(|| Timestamp::from_micros(random.next_u64() as i64 >> 12)),
                    header: (pick(&random, 8) == 0).then(|| format!("v{}", random.next_u64())),
                    data,
                }
            })
            .collect();
        let durability = if pick(&random, 3) == 0 { Durability::Os } else { Durability::Disk };
        Spec { lane, number, durability, pieces, expects: pick(&random, 2) == 0 }
    }

    /// How many events it stores, the log's own among them.
    pub fn events(&self) -> u64 {
        self.pieces.len() as u64 + u64::from(self.lane == SOURCE_LANE)
    }

    /// The append itself. `source` is where the log says the source stands.
    pub fn append(&self, source: Option<SourceRecord>) -> Append<'_> {
        let mut append = Append::new().events(self.pieces.iter().map(Piece::event)).durability(self.durability);
        if self.expects {
            let expect = match self.number.checked_sub(1) {
                None => Expect::None,
                Some(before) => Expect::Version(Version::from_raw(before)),
            };
            append = append.expect(lane_stream(self.lane), expect);
        }
        if self.lane < PRODUCER_LANES {
            append = append.producer(producer(self.lane), 0, self.number);
        }
        if self.lane == SOURCE_LANE {
            let expect = source.map_or(Expect::None, |record| Expect::Last(record.offset));
            append = append.source(SOURCE, self.number.to_le_bytes().to_vec(), expect);
        }
        append
    }
}

impl Piece {
    fn event(&self) -> NewEvent<'_> {
        let mut event = Event::new(self.stream.as_str(), self.event_type.as_str()).data(self.data.as_slice());
        if let Some(id) = &self.id {
            event = event.id(id.as_str());
        }
        if let Some(time) = self.time {
            event = event.time(time);
        }
        if let Some(header) = &self.header {
            event = event.header("note", header.as_str());
        }
        event
    }

    /// Whether an event in a log is this one.
    pub fn is(&self, event: &EventRef<'_>) -> bool {
        let mut headers = event.headers();
        event.stream() == self.stream
            && event.event_type() == self.event_type
            && event.id() == self.id.as_deref()
            && event.given_time() == self.time
            && headers.next() == self.header.as_deref().map(|value| ("note", value))
            && headers.next().is_none()
            && event.data() == self.data
    }
}

/// Lane, number of the append, number of the event in it and how many it has, as an event's data begins.
pub fn place_of(data: &[u8]) -> Option<(u64, u64, u64, u64)> {
    let end = data.iter().position(|byte| *byte == b';')?;
    let text = std::str::from_utf8(data.get(..end)?).ok()?;
    let mut numbers = text.split('.').map(str::parse);
    let mut number = || numbers.next()?.ok();
    let place = (number()?, number()?, number()?, number()?);
    numbers.next().is_none().then_some(place)
}

/// Bytes of which half can be compressed.
fn noise(random: &SeededRandom, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        bytes.extend(random.next_u64().to_le_bytes());
        bytes.extend([bytes.len() as u8; 8]);
    }
    bytes.truncate(len);
    bytes
}

/// How batches are stored in a session.
pub fn codec(random: &SeededRandom) -> Codec {
    match pick(random, 4) {
        0 => Codec::Lz4,
        1 => Codec::Zstd,
        _ => Codec::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_numbers_give_the_same_append() {
        let (one, two) = (Spec::new(1, 2, 3), Spec::new(1, 2, 3));
        assert_eq!(one.pieces, two.pieces);
        assert_ne!(one.pieces, Spec::new(1, 2, 4).pieces);
    }

    #[test]
    fn an_events_data_says_which_one_it_is() {
        let spec = Spec::new(7, 3, 11);
        let parts = spec.pieces.len() as u64;
        assert_eq!(place_of(&spec.pieces[0].data), Some((3, 11, 0, parts)));
        assert_eq!(place_of(b"3.11.0;"), None);
        assert_eq!(place_of(b"3.11.0.1.1;"), None);
    }
}
