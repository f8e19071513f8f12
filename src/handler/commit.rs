//! A handler's record: what one step of it changed, as one event of `$handler/NAME`.
//!
//! It stands behind the output events of the same append. The head says where the handler is and is carried from
//! segment to segment; the body says what changed. Numbers are little-endian; `v` is a varint.
//!
//! | at  | bytes | field        | meaning                                                                       |
//! |----:|------:|--------------|-------------------------------------------------------------------------------|
//! |   0 |     1 | format       | 1                                                                             |
//! |   1 |     1 | kind         | 1 acquired, 2 step, 3 cut-over, 4 attempting                                  |
//! |   2 |     2 | head_len     | where the body begins: 160                                                    |
//! |   4 |     4 | generation   | whose state the rest is about                                                 |
//! |   8 |     8 | epoch        | of the instance; one more with each `acquired`                                |
//! |  16 |    16 | fingerprint  | of filter, lanes and codec: refused when it differs under the same generation |
//! |  32 |     8 | cursor       | next offset to handle: all before it is handled, set aside or skipped         |
//! |  40 |     8 | control      | next offset of `$control/NAME` to act on                                      |
//! |  48 |    16 | digest       | of the user's rows after this record                                          |
//! |  64 |    16 | own_digest   | of the handler's own rows: parked events, effects, keys                       |
//! |  80 |   8 8 | rows         | how many of each                                                              |
//! |  96 |     8 | handled      | events handled so far                                                         |
//! | 104 |     8 | emitted      | events put out so far                                                         |
//! | 112 |     8 | previous     | where the record before stands; all ones: none                                |
//! | 120 |     4 | outputs      | events of this append before this one                                         |
//! | 124 |     4 | changes      | in the body                                                                   |
//! | 128 |     4 | decisions    | in the body                                                                   |
//! | 132 |     4 | streams      | in the body                                                                   |
//! | 136 |     4 | flags        | bit 0: paused; bit 1: exact, every write of each event is in the body         |
//! | 140 |     4 | parked       | streams that are set aside                                                    |
//! | 144 |     8 | bytes        | of the bodies of all records of this generation so far                        |
//! | 152 |     8 | reserved     | zero                                                                          |
//! | 160 |       | streams      | `v` length, text                                                              |
//! |     |       | decisions    | kind 1, `v` offset, `v` length of the reason, text                            |
//! |     |       | changes      | `v` length and bytes of the key, 0 deleted or 1 put, `v` length and bytes of  |
//! |     |       |              | the value, `v` how far its event is before the cursor, `v` index of its stream |

use bytes::Bytes;

use crate::Offset;
use crate::batch::{Input, put_varint};
use crate::limits::{BATCH_BYTES_MAX, BATCH_NAMES_MAX, NAME_BYTES_MAX};
use crate::view::Digest;

const FORMAT: u8 = 1;
pub(crate) const HEAD_BYTES: usize = 160;
/// Where a head says how many bytes the bodies have.
const BYTES_AT: usize = 144;
const NONE: u64 = u64::MAX;

/// The types of a handler's records.
pub(crate) const ACQUIRED: &str = "Acquired";
pub(crate) const STEP: &str = "Step";
pub(crate) const CUT_OVER: &str = "CutOver";
pub(crate) const ATTEMPTING: &str = "Attempting";

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// An instance took over.
    Acquired,
    /// Events were handled, or the cursor went on.
    Step,
    /// Another generation took over, at the cursor of the record before.
    CutOver,
    /// Events are about to be handled; nothing has changed. See `attempts.rs`.
    Attempting,
}

impl RecordKind {
    pub fn event_type(self) -> &'static str {
        match self {
            RecordKind::Acquired => ACQUIRED,
            RecordKind::Step => STEP,
            RecordKind::CutOver => CUT_OVER,
            RecordKind::Attempting => ATTEMPTING,
        }
    }
}

/// Where a handler is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub kind: RecordKind,
    pub generation: u32,
    pub epoch: u64,
    pub fingerprint: u128,
    pub cursor: Offset,
    pub control: Offset,
    pub digest: Digest,
    pub own_digest: Digest,
    pub rows: u64,
    pub own_rows: u64,
    pub handled: u64,
    pub emitted: u64,
    pub previous: Option<Offset>,
    pub outputs: u32,
    pub paused: bool,
    /// Every write of each event is in the body, so that a part of the record can be told apart; otherwise only the
    /// last one of each key need be there.
    pub exact: bool,
    pub parked: u32,
    /// Bytes of the bodies of all records of this generation so far.
    pub bytes: u64,
}

/// What became of an event that was not simply handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecisionKind {
    /// Its handling failed, or its stream is set aside: it waits in its stream's queue.
    SetAside,
    /// It was passed over, for the reason.
    Skipped,
    /// It was handled after it had waited.
    TakenUp,
    /// It was tried again after it had waited, and failed again.
    FailedAgain,
    /// It waited, and was given up by an operator.
    Dropped,
    /// A second event of the same business fact.
    Repeat,
    /// It was handled long ago; an effect that its handling asked for was given up by the executor.
    EffectDropped,
    /// It is about to be handled, `alone`, or with `others` up to the next such decision's offset.
    Tried,
}

/// A decision about one event. Those about events that had waited come first, in the order in which they were run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub kind: DecisionKind,
    pub offset: Offset,
    pub reason: Box<str>,
}

/// What became of one row, and because of which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// With the byte in front that tells the user's rows from the handler's own.
    pub key: Bytes,
    pub value: Option<Bytes>,
    /// The event whose handling wrote it.
    pub at: Offset,
    /// Its stream, as an index into the record's.
    pub stream: u32,
}

/// A whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub head: Head,
    pub streams: Vec<Box<str>>,
    pub decisions: Vec<Decision>,
    /// In order; the last one of a key counts.
    pub writes: Vec<Write>,
}

/// The decisions in a handler's record: what each is, about which event, and why; `None` when it is no record.
pub fn decisions_of(record: &[u8]) -> Option<Vec<(&'static str, Offset, String)>> {
    let record = Record::decode(&Bytes::copy_from_slice(record))?;
    let told = |decision: Decision| (decision.kind.name(), decision.offset, decision.reason.into());
    Some(record.decisions.into_iter().map(told).collect())
}

impl DecisionKind {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            DecisionKind::SetAside => "set_aside",
            DecisionKind::Skipped => "skipped",
            DecisionKind::TakenUp => "taken_up",
            DecisionKind::FailedAgain => "failed_again",
            DecisionKind::Dropped => "dropped",
            DecisionKind::Repeat => "repeat",
            DecisionKind::EffectDropped => "effect_dropped",
            DecisionKind::Tried => "tried",
        }
    }
}

/// The head of a record's bytes, as far as it is there.
pub(crate) fn head_of(data: &[u8]) -> &[u8] {
    data.get(..HEAD_BYTES).unwrap_or(data)
}

impl Head {
    /// Where a generation is that has done nothing yet.
    pub fn first(kind: RecordKind, generation: u32) -> Head {
        Head {
            kind,
            generation,
            epoch: 1,
            fingerprint: 0,
            cursor: Offset::ZERO,
            control: Offset::ZERO,
            digest: Digest::EMPTY,
            own_digest: Digest::EMPTY,
            rows: 0,
            own_rows: 0,
            handled: 0,
            emitted: 0,
            previous: None,
            outputs: 0,
            paused: false,
            exact: false,
            parked: 0,
            bytes: 0,
        }
    }

    /// Reads the head of a record, of which more may follow.
    pub fn decode(data: &[u8]) -> Option<Head> {
        parse_head(&mut Input::new(data)).map(|(head, _)| head)
    }
}

/// How many there are of each in a body.
struct Counts {
    changes: u32,
    decisions: u32,
    streams: u32,
}

fn parse_head(input: &mut Input<'_>) -> Option<(Head, Counts)> {
    let [format, kind] = *input.take(2)?.first_chunk::<2>()?;
    let kind = match kind {
        1 => RecordKind::Acquired,
        2 => RecordKind::Step,
        3 => RecordKind::CutOver,
        4 => RecordKind::Attempting,
        _ => return None,
    };
    let head_len = usize::from(input.u16()?);
    if format != FORMAT || head_len != HEAD_BYTES {
        return None;
    }
    let (generation, epoch, fingerprint) = (input.u32()?, input.u64()?, input.u128()?);
    let (cursor, control) = (input.u64()?, input.u64()?);
    let (digest, own_digest) = (input.u128()?, input.u128()?);
    let (rows, own_rows, handled, emitted, previous) =
        (input.u64()?, input.u64()?, input.u64()?, input.u64()?, input.u64()?);
    let outputs = input.u32()?;
    let counts = Counts { changes: input.u32()?, decisions: input.u32()?, streams: input.u32()? };
    let (flags, parked, bytes, reserved) = (input.u32()?, input.u32()?, input.u64()?, input.u64()?);
    if flags > 3 || reserved != 0 {
        return None;
    }
    let head = Head {
        kind,
        generation,
        epoch,
        fingerprint,
        cursor: Offset::from_raw(cursor),
        control: Offset::from_raw(control),
        digest: Digest::from_raw(digest),
        own_digest: Digest::from_raw(own_digest),
        rows,
        own_rows,
        handled,
        emitted,
        previous: (previous != NONE).then(|| Offset::from_raw(previous)),
        outputs,
        paused: flags & 1 != 0,
        exact: flags & 2 != 0,
        parked,
        bytes,
    };
    Some((head, counts))
}

impl Record {
    /// A record that changes nothing.
    pub fn of(head: Head) -> Self {
        Record { head, streams: Vec::new(), decisions: Vec::new(), writes: Vec::new() }
    }

    /// The bytes of the record.
    pub fn encode(&self) -> Vec<u8> {
        let body: usize = self.writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, Bytes::len) + 16).sum();
        let mut out = Vec::with_capacity(HEAD_BYTES + body + 64);
        self.encode_head(&mut out);
        let put = |out: &mut Vec<u8>, bytes: &[u8]| {
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        };
        for stream in &self.streams {
            put(&mut out, stream.as_bytes());
        }
        for decision in &self.decisions {
            out.push(match decision.kind {
                DecisionKind::SetAside => 1,
                DecisionKind::Skipped => 2,
                DecisionKind::TakenUp => 3,
                DecisionKind::FailedAgain => 4,
                DecisionKind::Dropped => 5,
                DecisionKind::Repeat => 6,
                DecisionKind::EffectDropped => 7,
                DecisionKind::Tried => 8,
            });
            put_varint(&mut out, decision.offset.raw());
            put(&mut out, decision.reason.as_bytes());
        }
        for write in &self.writes {
            put(&mut out, &write.key);
            match &write.value {
                None => out.push(0),
                Some(value) => {
                    out.push(1);
                    put(&mut out, value);
                }
            }
            put_varint(&mut out, self.head.cursor.raw().saturating_sub(write.at.raw()));
            put_varint(&mut out, u64::from(write.stream));
        }
        out
    }

    /// The same, with the bytes of the body counted in the head.
    pub fn encode_counted(&mut self) -> Vec<u8> {
        let mut out = self.encode();
        self.head.bytes += out.len().saturating_sub(HEAD_BYTES) as u64;
        if let Some(field) = out.get_mut(BYTES_AT..BYTES_AT + 8) {
            field.copy_from_slice(&self.head.bytes.to_le_bytes());
        }
        out
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        let head = &self.head;
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        let kind = match head.kind {
            RecordKind::Acquired => 1,
            RecordKind::Step => 2,
            RecordKind::CutOver => 3,
            RecordKind::Attempting => 4,
        };
        out.extend([FORMAT, kind]);
        out.extend((HEAD_BYTES as u16).to_le_bytes());
        out.extend(head.generation.to_le_bytes());
        out.extend(head.epoch.to_le_bytes());
        out.extend(head.fingerprint.to_le_bytes());
        out.extend(head.cursor.raw().to_le_bytes());
        out.extend(head.control.raw().to_le_bytes());
        out.extend(head.digest.raw().to_le_bytes());
        out.extend(head.own_digest.raw().to_le_bytes());
        for number in [head.rows, head.own_rows, head.handled, head.emitted] {
            out.extend(number.to_le_bytes());
        }
        out.extend(head.previous.map_or(NONE, Offset::raw).to_le_bytes());
        out.extend(head.outputs.to_le_bytes());
        out.extend(count(self.writes.len()));
        out.extend(count(self.decisions.len()));
        out.extend(count(self.streams.len()));
        out.extend((u32::from(head.paused) | u32::from(head.exact) << 1).to_le_bytes());
        out.extend(head.parked.to_le_bytes());
        out.extend(head.bytes.to_le_bytes());
        out.extend([0; 8]);
    }

    /// Reads a record; `None` when the bytes are none. Keys and values share their memory.
    pub fn decode(data: &Bytes) -> Option<Record> {
        let mut input = Input::new(data);
        let (head, counts) = parse_head(&mut input)?;
        if counts.streams as usize > BATCH_NAMES_MAX || data.len() > BATCH_BYTES_MAX {
            return None;
        }
        let mut record = Record::of(head);
        for _ in 0..counts.streams {
            record.streams.push(text(&mut input, NAME_BYTES_MAX)?);
        }
        for _ in 0..counts.decisions {
            let kind = match input.take(1)? {
                [1] => DecisionKind::SetAside,
                [2] => DecisionKind::Skipped,
                [3] => DecisionKind::TakenUp,
                [4] => DecisionKind::FailedAgain,
                [5] => DecisionKind::Dropped,
                [6] => DecisionKind::Repeat,
                [7] => DecisionKind::EffectDropped,
                [8] => DecisionKind::Tried,
                _ => return None,
            };
            let offset = Offset::from_raw(input.varint()?);
            record.decisions.push(Decision { kind, offset, reason: text(&mut input, data.len())? });
        }
        for _ in 0..counts.changes {
            let key = sized(&mut input, data)?;
            let value = match input.take(1)? {
                [0] => None,
                [1] => Some(sized(&mut input, data)?),
                _ => return None,
            };
            let at = Offset::from_raw(record.head.cursor.raw().checked_sub(input.varint()?)?);
            let stream = u32::try_from(input.varint()?).ok()?;
            if stream as usize >= record.streams.len() {
                return None;
            }
            record.writes.push(Write { key, value, at, stream });
        }
        input.is_empty().then_some(record)
    }
}

fn sized(input: &mut Input<'_>, data: &Bytes) -> Option<Bytes> {
    let len = usize::try_from(input.varint()?).ok()?;
    input.take(len).map(|bytes| data.slice_ref(bytes))
}

fn text(input: &mut Input<'_>, most: usize) -> Option<Box<str>> {
    let len = usize::try_from(input.varint()?).ok().filter(|len| *len <= most)?;
    std::str::from_utf8(input.take(len)?).ok().map(Into::into)
}
