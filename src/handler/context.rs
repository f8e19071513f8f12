//! What a handler can do while it handles an event.

use bytes::Bytes;

use super::cache::Cache;
use super::overlay::Overlay;
use super::own::{self, EffectRow, user_key, with_user_key};
use super::value;
use crate::batch::OpenBatch;
use crate::event::{NewEvent, check_name, check_user_stream};
use crate::view::ViewError;
use crate::{Event, InvalidEvent, LogId, Offset, Timestamp};

/// Why a row could not be read or set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The bytes of the row are not those of such a value.
    #[error(transparent)]
    Value(#[from] value::ValueError),
    /// The view failed.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Headers of an event that a handler put out.
pub(crate) const CORRELATION: &str = "correlation";
pub(crate) const CAUSATION: &str = "causation";
pub(crate) const HOPS: &str = "hops";

/// Of the handler whose event is being handled.
#[derive(Debug)]
pub(crate) struct Whose {
    pub name: std::sync::Arc<str>,
    pub log: LogId,
    pub epoch: u64,
    pub hops_max: u32,
    /// Its effects are another generation's to run.
    pub silent: bool,
}

/// What one handling puts out.
#[derive(Debug, Default)]
pub(crate) struct Emitted {
    pub events: Vec<NewEvent<'static>>,
    pub bytes: usize,
    pub effects: u32,
    pub refused: Option<Refused>,
}

/// Why the event's handling cannot count, whatever the handler says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("an event that the handler put out breaks a limit: {0}")]
    Invalid(InvalidEvent),
    #[error(
        "the event came through {hops} handlers already, which looks like a circle; what it would cause is not put out"
    )]
    Circle { hops: u32 },
}

/// A handler's state, and what it puts out, while it handles one event. All of it counts together with the handler's
/// position, or not at all.
#[derive(Debug)]
pub struct Context<'w> {
    pub(super) cache: &'w Cache,
    pub(super) overlay: &'w mut Overlay,
    pub(super) emitted: &'w mut Emitted,
    pub(super) event: &'w Event,
    pub(super) whose: &'w Whose,
    /// Where its random numbers are, once one was asked for.
    pub(super) random: Option<u64>,
}

impl Context<'_> {
    /// The bytes of a row, its codec byte in front; what this event has put before it is seen.
    pub(crate) fn get_encoded(&mut self, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        with_user_key(key, |key| self.overlay.get(self.cache, key))
    }

    pub(crate) fn put_encoded(&mut self, key: &[u8], value: Option<Bytes>) -> Result<(), ViewError> {
        with_user_key(key, |key| self.overlay.put(self.cache, key, value, self.event.stream()))
    }

    /// A row as a typed value, written by [`put`](Context::put) or [`put_json`](Context::put_json).
    ///
    /// # Errors
    /// When the row is of another type: the event is then parked. When the view fails: the step is then done again.
    #[cfg(any(feature = "bincode", feature = "json"))]
    pub fn get<T: serde::de::DeserializeOwned>(&mut self, key: impl AsRef<[u8]>) -> Result<Option<T>, RowError> {
        let value = self.get_encoded(key.as_ref())?;
        Ok(value.map(|value| value::decode(&value)).transpose()?)
    }

    /// Sets a row to a typed value, in bincode.
    ///
    /// # Errors
    /// When the value cannot be encoded: the event is then parked. When the view fails: the step is then done again.
    #[cfg(feature = "bincode")]
    pub fn put<T: serde::Serialize + ?Sized>(&mut self, key: impl AsRef<[u8]>, value: &T) -> Result<(), RowError> {
        let value = value::encode(value)?;
        let value = self.overlay.keep(&[&value]);
        Ok(self.put_encoded(key.as_ref(), Some(value))?)
    }

    /// Sets a row to a typed value, in JSON: `annals state` shows it.
    ///
    /// # Errors
    /// See [`put`](Context::put).
    #[cfg(feature = "json")]
    pub fn put_json<T: serde::Serialize + ?Sized>(&mut self, key: impl AsRef<[u8]>, value: &T) -> Result<(), RowError> {
        let value = value::encode_json(value)?;
        let value = self.overlay.keep(&[&value]);
        Ok(self.put_encoded(key.as_ref(), Some(value))?)
    }

    /// A row as the bytes that [`put_bytes`](Context::put_bytes) was given.
    ///
    /// # Errors
    /// When the row is a typed value: the event is then parked. When the view fails: the step is then done again.
    pub fn get_bytes(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, RowError> {
        let Some(value) = self.get_encoded(key.as_ref())? else { return Ok(None) };
        Ok(Some(value.slice_ref(value::decode_raw(&value)?)))
    }

    /// Sets a row to bytes.
    ///
    /// # Errors
    /// When the view fails: the step is then done again.
    pub fn put_bytes(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), RowError> {
        let value = self.overlay.keep(&[&[value::RAW], value.as_ref()]);
        Ok(self.put_encoded(key.as_ref(), Some(value))?)
    }

    /// Removes a row.
    ///
    /// # Errors
    /// When the view fails: the step is then done again.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<(), ViewError> {
        self.put_encoded(key.as_ref(), None)
    }

    /// Puts out an event, which counts when the handling does. Its id says which handler made it of which event;
    /// headers say what caused it and how many handlers it came through.
    pub fn emit(&mut self, event: NewEvent<'_>) {
        let mut event = event.into_owned();
        if let Err(error) = check_user_stream(&event.stream).and_then(|()| check_name("type", &event.event_type)) {
            self.emitted.refused = Some(Refused::Invalid(error));
            return;
        }
        let header = |name: &str| self.event.headers().find(|(header, _)| *header == name).map(|(_, value)| value);
        let hops = header(HOPS).and_then(|hops| hops.parse::<u32>().ok()).unwrap_or(0).saturating_add(1);
        if hops > self.whose.hops_max {
            self.emitted.refused = Some(Refused::Circle { hops: hops - 1 });
            return;
        }
        let cause = self.event.id().map_or_else(|| self.event.offset().to_string(), str::to_owned);
        let correlation = header(CORRELATION).map_or_else(|| cause.clone(), str::to_owned);
        if event.id.is_none() {
            let id = derived_id(&self.whose.name, self.event.offset(), self.emitted.events.len());
            event.id = Some(id.into());
        }
        if event.source.is_none() {
            event.source = Some(self.whose.name.to_string().into());
        }
        event = event.header(CORRELATION, correlation).header(CAUSATION, cause).header(HOPS, hops.to_string());
        if let Err(error) = event.check() {
            self.emitted.refused = Some(Refused::Invalid(error));
            return;
        }
        self.emitted.bytes += OpenBatch::event_len(&event) + 192;
        self.emitted.events.push(event);
    }

    /// Asks for something to be done outside, after the step is durable: at least once, under a key that stays the
    /// same.
    ///
    /// # Errors
    /// When the view fails: the step is then done again.
    pub fn effect_bytes(&mut self, kind: &str, request: impl Into<Bytes>) -> Result<(), ViewError> {
        let key = own::effect_key(self.event.offset(), self.emitted.effects);
        self.emitted.effects += 1;
        if self.whose.silent {
            return Ok(());
        }
        let row = EffectRow { epoch: self.whose.epoch, tries: 0, kind: kind.to_owned(), request: request.into() };
        self.overlay.put(self.cache, &key, Some(row.encode()), self.event.stream())
    }

    /// The log's time of the event: the same whenever it is handled again.
    pub fn now(&self) -> Timestamp {
        self.event.recorded()
    }

    /// A random number that is the same whenever the event is handled again (SplitMix64, Steele and others 2014).
    pub fn random(&mut self) -> u64 {
        let before = self.random.unwrap_or_else(|| seed(self.whose, self.event));
        let random = before.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random = Some(random);
        let z = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Rows whose keys start with a prefix, in order. Costs a look at every row that is written behind.
    ///
    /// # Errors
    /// When the view fails: the step is then done again.
    pub fn scan_bytes(&mut self, prefix: impl AsRef<[u8]>) -> Result<Vec<(Bytes, Bytes)>, ViewError> {
        let rows = self.overlay.scan(self.cache, &user_key(prefix.as_ref()))?;
        let plain = |bytes: Bytes| bytes.slice(1.min(bytes.len())..);
        Ok(rows.into_iter().map(|(key, value)| (plain(key), plain(value))).collect())
    }
}

/// Names the `n`th event that a handler made of another one.
pub(crate) fn derived_id(handler: &str, of: Offset, n: usize) -> String {
    format!("{handler}:{of}:{n}")
}

/// Where the random numbers of an event begin.
pub(crate) fn seed(whose: &Whose, event: &Event) -> u64 {
    let digest = crate::view::Digest::of(whose.log, whose.name.as_bytes(), &event.offset().raw().to_le_bytes());
    u64::try_from(digest.raw() & u128::from(u64::MAX)).unwrap_or_default()
}
