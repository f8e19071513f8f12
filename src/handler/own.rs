//! A handler's own rows, beside the user's: queues of streams that are set aside, effects, idempotency keys.
//!
//! | key (after the byte 0)        | value                                                                    |
//! |-------------------------------|--------------------------------------------------------------------------|
//! | `p` stream                    | failures u32, retry at i64 (largest: never), since i64, cause            |
//! | `q` stream 0 offset (big end.)| nothing: the event waits in its stream's queue                           |
//! | `e` offset, n (big endian)    | epoch u64, tries u32, `v` length and text of the kind, the request       |
//! | `k` idempotency key           | offset of the event (big endian)                                         |
//! | `x` offset (big endian)       | the idempotency key that ends with it                                    |
//! | `n` offset (big endian)       | why the event is to be passed over when its turn comes, or the gap       |
//! | `s`                           | why the handler is paused                                                |
//! | `f`                           | nothing: a shadow has followed the next record in part                   |

use bytes::{BufMut, Bytes, BytesMut};

use crate::Offset;
use crate::batch::{Input, put_varint};

const OWN: u8 = 0;
const USER: u8 = 1;

/// Whether a row is the handler's own.
pub(crate) fn is_own(key: &[u8]) -> bool {
    key.first() == Some(&OWN)
}

/// The key under which a user's row is kept.
pub(crate) fn user_key(key: &[u8]) -> Vec<u8> {
    let mut own = Vec::with_capacity(key.len() + 1);
    own.push(USER);
    own.extend_from_slice(key);
    own
}

/// Does something with that key, for which short ones need no memory of their own.
pub(crate) fn with_user_key<T>(key: &[u8], run: impl FnOnce(&[u8]) -> T) -> T {
    let mut short = [USER; 64];
    match short.get_mut(1..=key.len()) {
        Some(there) => {
            there.copy_from_slice(key);
            run(short.get(..=key.len()).unwrap_or_default())
        }
        None => run(&user_key(key)),
    }
}

pub(crate) const PARKED: [u8; 2] = [OWN, b'p'];
pub(crate) const QUEUED: [u8; 2] = [OWN, b'q'];
pub(crate) const EFFECTS: [u8; 2] = [OWN, b'e'];
pub(crate) const KEYS: [u8; 2] = [OWN, b'k'];
pub(crate) const EXPIRIES: [u8; 2] = [OWN, b'x'];
pub(crate) const SKIPS: [u8; 2] = [OWN, b'n'];
pub(crate) const PAUSED: [u8; 2] = [OWN, b's'];
pub(crate) const FOLLOWED_IN_PART: [u8; 2] = [OWN, b'f'];

pub(crate) fn parked_key(stream: &str) -> Vec<u8> {
    [&PARKED, stream.as_bytes()].concat()
}

pub(crate) fn queued_key(stream: &str, offset: u64) -> Vec<u8> {
    [&QUEUED, stream.as_bytes(), &[0], &offset.to_be_bytes()].concat()
}

/// The stream and the offset of a queued event's key.
pub(crate) fn queued_of(key: &[u8]) -> Option<(&str, u64)> {
    let (rest, offset) = key.strip_prefix(&QUEUED)?.split_last_chunk::<8>()?;
    let stream = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    Some((stream, u64::from_be_bytes(*offset)))
}

pub(crate) fn effect_key(offset: Offset, n: u32) -> Vec<u8> {
    [&EFFECTS[..], &offset.raw().to_be_bytes(), &n.to_be_bytes()].concat()
}

pub(crate) fn idempotency_key(key: &[u8]) -> Vec<u8> {
    [&KEYS, key].concat()
}

pub(crate) fn expiry_key(offset: Offset) -> Vec<u8> {
    [&EXPIRIES[..], &offset.raw().to_be_bytes()].concat()
}

pub(crate) fn skip_key(offset: u64) -> Vec<u8> {
    [&SKIPS[..], &offset.to_be_bytes()].concat()
}

/// The offset at the end of the key of an expiry or a skip.
pub(crate) fn offset_of(key: &[u8]) -> Option<u64> {
    key.get(2..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// A stream that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParkedRow {
    pub failures: u32,
    /// In µs of the log's time; the largest number: when somebody decides.
    pub retry_at_us: i64,
    pub since_us: i64,
    pub cause: String,
}

pub(crate) const NEVER: i64 = i64::MAX;

impl ParkedRow {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(20 + self.cause.len());
        out.put_u32_le(self.failures);
        out.put_i64_le(self.retry_at_us);
        out.put_i64_le(self.since_us);
        out.put_slice(self.cause.as_bytes());
        out.freeze()
    }

    pub fn decode(value: &[u8]) -> Option<ParkedRow> {
        let mut input = Input::new(value);
        let (failures, retry_at_us, since_us) = (input.u32()?, input.i64()?, input.i64()?);
        let cause = std::str::from_utf8(input.rest()).ok()?.to_owned();
        Some(ParkedRow { failures, retry_at_us, since_us, cause })
    }
}

/// An effect that is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EffectRow {
    pub epoch: u64,
    pub tries: u32,
    pub kind: String,
    pub request: Bytes,
}

impl EffectRow {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(16 + self.kind.len() + self.request.len());
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.tries.to_le_bytes());
        put_varint(&mut out, self.kind.len() as u64);
        out.extend(self.kind.as_bytes());
        out.extend(&self.request);
        out.into()
    }

    pub fn decode(value: &Bytes) -> Option<EffectRow> {
        let mut input = Input::new(value);
        let (epoch, tries) = (input.u64()?, input.u32()?);
        let len = usize::try_from(input.varint()?).ok()?;
        let kind = std::str::from_utf8(input.take(len)?).ok()?.to_owned();
        Some(EffectRow { epoch, tries, kind, request: value.slice_ref(input.rest()) })
    }
}
