//! What the handlers under torture do: a little program in each event's data, run alike by the library and by the
//! oracle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Context, Event, Failure, Handler};

use crate::dice::Dice;

/// Rows, and a way out, as the program sees them.
pub trait Rows {
    type Error;
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Self::Error>;
    fn scan(&mut self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Self::Error>;
    fn emit(&mut self, stream: String, kind: &'static str, data: Vec<u8>);
    fn now(&self) -> i64;
    fn random(&mut self) -> u64;
}

/// Why the program ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Retry,
    RetrySoon,
    Park,
    Skip,
    Pause,
    Panic,
}

/// Instructions; each has one argument.
pub const COUNT: u8 = 0;
pub const FOLD: u8 = 1;
pub const DELETE: u8 = 2;
pub const EMIT: u8 = 3;
pub const SCAN: u8 = 4;
pub const LARGE: u8 = 5;
pub const FEED: u8 = 6;
pub const CHANCE: u8 = 7;
/// From here on the program may end.
pub const FLAKY: u8 = 8;
pub const FLAKY_SOON: u8 = 9;
pub const PANIC: u8 = 10;
pub const PAUSE: u8 = 11;
pub const POISON: u8 = 12;
pub const SKIP: u8 = 13;
/// Not an instruction: the event is the same business fact as others with the argument.
pub const SAME: u8 = 14;

fn number(bytes: Option<Vec<u8>>) -> u64 {
    bytes.and_then(|bytes| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))).unwrap_or(0)
}

fn mixed(a: u64, b: u64) -> u64 {
    (a.rotate_left(7) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Runs the program of an event. `bad`: the weather is, and what may fail does.
pub fn run<R: Rows>(event: &Event, rows: &mut R, bad: bool) -> Result<Option<Why>, R::Error> {
    let mut tag = event.data().iter().fold(7, |tag, byte| mixed(tag, u64::from(*byte)));
    tag = event.stream().bytes().fold(tag, |tag, byte| mixed(tag, u64::from(byte)));
    for instruction in event.data().chunks_exact(2) {
        let (what, with) = (instruction[0], instruction[1]);
        let shared = format!("k{}", with % 8).into_bytes();
        match what {
            COUNT => {
                let key = format!("n/{}", event.stream()).into_bytes();
                let n = number(rows.get(&key)?).wrapping_add(1);
                rows.put(&key, Some(&n.to_le_bytes()))?;
            }
            FOLD => {
                let folded = mixed(number(rows.get(&shared)?), tag);
                rows.put(&shared, Some(&folded.to_le_bytes()))?;
            }
            DELETE => rows.put(&shared, None)?,
            EMIT => {
                for n in 0..with % 4 {
                    let said = number(rows.get(&shared)?).wrapping_add(u64::from(n));
                    let data = [&[FOLD, with, COUNT, n][..], &said.to_le_bytes()].concat();
                    rows.emit(format!("out-{}", with % 5), "Put", data);
                }
            }
            SCAN => {
                let found = rows.scan(b"k")?;
                let sum = found.iter().fold(found.len() as u64, |sum, (key, value)| {
                    mixed(sum, mixed(key.len() as u64, number(Some(value.clone()))))
                });
                rows.put(b"sum", Some(&sum.to_le_bytes()))?;
            }
            LARGE => rows.put(&[b"large", &shared[..]].concat(), Some(&vec![with; usize::from(with) * 24 + 1]))?,
            FEED => {
                for n in 0..1 + with % 2 {
                    rows.emit(
                        format!("loop-{}", with.wrapping_add(n) % 3),
                        "Fed",
                        vec![COUNT, n, FEED, with / 2, FOLD, with],
                    );
                }
            }
            CHANCE => {
                let drawn = mixed(rows.random(), rows.now() as u64);
                rows.put(&[b"c", &shared[..]].concat(), Some(&drawn.to_le_bytes()))?;
            }
            FLAKY if bad => return Ok(Some(Why::Retry)),
            FLAKY_SOON if bad => return Ok(Some(Why::RetrySoon)),
            PANIC if bad => return Ok(Some(Why::Panic)),
            PAUSE if bad => return Ok(Some(Why::Pause)),
            POISON => return Ok(Some(Why::Park)),
            SKIP => return Ok(Some(Why::Skip)),
            _ => {}
        }
    }
    Ok(None)
}

/// What makes an event the same business fact as others.
pub fn key_of(data: &[u8]) -> Option<Vec<u8>> {
    data.chunks_exact(2).find(|instruction| instruction[0] == SAME).map(|instruction| vec![instruction[1] % 6])
}

/// What may fail fails so many times in a hundred; otherwise than by the event and the hour it is the same for all.
#[derive(Debug, Default)]
pub struct Weather {
    pub percent: AtomicU64,
    pub hour: AtomicU64,
}

impl Weather {
    fn is_bad(&self, event: &Event) -> bool {
        let of = mixed(self.hour.load(Ordering::Relaxed), event.offset().raw());
        Dice::new(of).percent(self.percent.load(Ordering::Relaxed))
    }
}

/// The program as a handler of the library.
#[derive(Debug)]
pub struct Programs(pub Arc<Weather>);

struct Lived<'a, 'w>(&'a mut Context<'w>);

impl Rows for Lived<'_, '_> {
    type Error = annals::RowError;

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.0.get_bytes(key)?.map(|value| value.to_vec()))
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Self::Error> {
        match value {
            Some(value) => self.0.put_bytes(key, value),
            None => Ok(self.0.delete(key)?),
        }
    }

    fn scan(&mut self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Self::Error> {
        let rows = self.0.scan_bytes(prefix)?;
        Ok(rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
    }

    fn emit(&mut self, stream: String, kind: &'static str, data: Vec<u8>) {
        self.0.emit(Event::new(stream, kind).data(data));
    }

    fn now(&self) -> i64 {
        self.0.now().as_micros()
    }

    fn random(&mut self) -> u64 {
        self.0.random()
    }
}

impl Handler for Programs {
    fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
        match run(event, &mut Lived(cx), self.0.is_bad(event))? {
            None => Ok(()),
            Some(Why::Retry) => Err(Failure::Retry { after: None, cause: "the weather".into() }),
            Some(Why::RetrySoon) => Err(Failure::retry_after(std::time::Duration::from_millis(1), "the weather")),
            Some(Why::Park) => Err(Failure::park("poison")),
            Some(Why::Skip) => Err(Failure::Skip("not wanted".to_owned())),
            Some(Why::Pause) => Err(Failure::Pause("the weather".into())),
            Some(Why::Panic) => panic!("the weather"),
        }
    }

    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        key_of(event.data())
    }
}
