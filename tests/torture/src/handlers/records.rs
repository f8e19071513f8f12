//! Records of handlers, read by the table at the top of the library's `src/handler/commit.rs` and by nothing else of it.

/// The fields of a record that the oracle looks at.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub kind: u8,
    pub generation: u32,
    pub epoch: u64,
    pub fingerprint: u128,
    pub cursor: u64,
    pub control: u64,
    pub digests: [u128; 2],
    pub rows: [u64; 2],
    pub handled: u64,
    pub emitted: u64,
    pub previous: Option<u64>,
    pub outputs: u32,
    pub paused: bool,
    pub exact: bool,
    pub parked: u32,
    pub bytes: u64,
    pub decisions: Vec<(u8, u64)>,
    /// The event that is about to be tried by itself.
    pub alone: Option<u64>,
    /// Key, value, and the event whose handling wrote it.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>, u64)>,
    pub body: u64,
}

pub const ACQUIRED: u8 = 1;
pub const STEP: u8 = 2;
pub const ATTEMPTING: u8 = 4;
pub const SET_ASIDE: u8 = 1;
pub const SKIPPED: u8 = 2;
pub const TAKEN_UP: u8 = 3;
pub const FAILED_AGAIN: u8 = 4;
pub const DROPPED: u8 = 5;
pub const REPEAT: u8 = 6;
pub const TRIED: u8 = 8;

struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u128> {
        let taken = self.take(bytes)?;
        Some(taken.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    fn u64(&mut self) -> Option<u64> {
        self.number(8).map(|number| number as u64)
    }

    fn u32(&mut self) -> Option<u32> {
        self.number(4).map(|number| number as u32)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(number);
            }
        }
        None
    }

    fn sized(&mut self) -> Option<Vec<u8>> {
        let len = self.varint()? as usize;
        self.take(len).map(<[u8]>::to_vec)
    }
}

/// Reads a record; `None` where the table says something else.
pub fn read(data: &[u8]) -> Option<Told> {
    let mut input = Input(data);
    let (format, kind, head) = (input.number(1)?, input.number(1)? as u8, input.number(2)? as usize);
    if format != 1 || head != 160 {
        return None;
    }
    let mut told = Told { kind, body: data.len().checked_sub(head)? as u64, ..Told::default() };
    told.generation = input.u32()?;
    told.epoch = input.u64()?;
    told.fingerprint = input.number(16)?;
    (told.cursor, told.control) = (input.u64()?, input.u64()?);
    told.digests = [input.number(16)?, input.number(16)?];
    told.rows = [input.u64()?, input.u64()?];
    (told.handled, told.emitted) = (input.u64()?, input.u64()?);
    told.previous = Some(input.u64()?).filter(|previous| *previous != u64::MAX);
    told.outputs = input.u32()?;
    let [changes, decisions, streams] = [input.u32()?, input.u32()?, input.u32()?];
    let flags = input.u32()?;
    (told.paused, told.exact) = (flags & 1 != 0, flags & 2 != 0);
    (told.parked, told.bytes) = (input.u32()?, input.u64()?);
    input.take(8)?;
    for _ in 0..streams {
        input.sized()?;
    }
    for _ in 0..decisions {
        let (kind, at) = (input.number(1)? as u8, input.varint()?);
        told.decisions.push((kind, at));
        if input.sized()? == b"alone" && told.kind == ATTEMPTING {
            told.alone = told.alone.or(Some(at));
        }
    }
    for _ in 0..changes {
        let key = input.sized()?;
        let value = if input.number(1)? == 1 { Some(input.sized()?) } else { None };
        let at = told.cursor.checked_sub(input.varint()?)?;
        input.varint()?;
        told.writes.push((key, value, at));
    }
    input.0.is_empty().then_some(told)
}
