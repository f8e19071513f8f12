//! Producers over the network: a resend is recognised, answered by the original, and not stored.
//!
//! What a producer said of an append is in its batch; what is remembered is in the carry, which every segment
//! begins with. So opening finds it again by the last carry batch and what follows it, and trimming forgets
//! nothing. A producer that has to go for a new one is named in an event of the stream [`EVICTED_STREAM`].

use std::borrow::Cow;
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::append::{Append, Durability};
use super::error::AppendError;
use super::read::Batches;
use super::receipt::{Appended, Receipt, Versions};
use super::shared::Shared;
use super::walk::View;
use crate::batch::Batch;
use crate::event::NewEvent;
use crate::limits::NAME_BYTES_MAX;
use crate::planted::{Bug, planted};
use crate::segment::{CarriedAppend, Carry};
use crate::{LogId, Offset};

/// The stream that names producers that are no longer remembered: the data of each event is a name.
pub(super) const EVICTED_STREAM: &str = "$producer/evicted";

/// Room for the most producers that one new one can be in the way of: three, by the lengths of their names.
pub(crate) const EVICTIONS_BYTES_MAX: usize = 3 * (NAME_BYTES_MAX + 256);

/// Who sends an append, and its number there.
#[derive(Debug, Clone)]
pub(crate) struct Producer<'a> {
    pub id: Cow<'a, str>,
    pub epoch: u32,
    pub sequence: u64,
}

/// What becomes of a producer's append.
pub(crate) enum Judged {
    /// It is the next one.
    Next,
    /// It was sent before.
    Resent(CarriedAppend),
    /// It is not taken, because of events before `rests_on`.
    Refused { error: AppendError, rests_on: u64 },
}

/// Holds an append against what is remembered of its producer.
pub(crate) fn judge(carry: &Carry, sent: &Producer<'_>, digest: u128) -> Judged {
    let (producer, sequence) = (sent.id.clone().into_owned(), sent.sequence);
    let Some(known) = carry.producers.get(&*sent.id) else {
        if sequence == 0 {
            return Judged::Next;
        }
        let rests_on = carry.streams.get(EVICTED_STREAM).map_or(0, |record| record.offset + 1);
        return Judged::Refused { error: AppendError::UnknownProducer { producer }, rests_on };
    };
    let refused = |error| Judged::Refused { error, rests_on: known.next() };
    if sent.epoch < known.epoch {
        return refused(AppendError::ProducerFenced { producer, epoch: known.epoch });
    }
    let remembered = if sent.epoch > known.epoch { &[] } else { known.appends.as_slice() };
    let expected = remembered.last().map_or(0, |last| last.sequence.saturating_add(1));
    match remembered.iter().find(|append| append.sequence == sequence) {
        Some(original) if original.digest == digest => Judged::Resent(*original),
        Some(original) => {
            let (first, next) = (Offset::from_raw(original.first), Offset::from_raw(original.next()));
            let error = AppendError::ProducerConflict { producer, sequence, first, next };
            Judged::Refused { error, rests_on: original.next() }
        }
        None if sequence == expected => Judged::Next,
        None if sequence > expected => refused(AppendError::ProducerGap { producer, sequence, expected }),
        None => {
            let oldest = remembered.first().map_or(0, |first| first.sequence);
            refused(AppendError::ProducerForgotten { producer, sequence, oldest })
        }
    }
}

/// The events that name the producers which have to go for this one.
pub(crate) fn evictions(carry: &Carry, id: &str) -> Vec<NewEvent<'static>> {
    let event = |name: Box<str>| NewEvent::new(EVICTED_STREAM, "Evicted").data(name.into_boxed_bytes().into_vec());
    carry.in_the_way_of(id).into_iter().map(event).collect()
}

/// Forgets the producer that an event of [`EVICTED_STREAM`] names.
pub(crate) fn take_note_of_eviction(carry: &mut Carry, data: &[u8]) {
    if let Ok(name) = std::str::from_utf8(data) {
        carry.producers.remove(name);
    }
}

/// Takes note of the producers of a batch that was read.
pub(super) fn take_note(carry: &mut Carry, batch: &Batch) {
    let mut evictions = batch.events().filter(|event| event.stream() == EVICTED_STREAM).peekable();
    let base = batch.header().base_offset;
    let begins = |append: usize| match batch.appends().get(append) {
        Some(append) => base + u64::from(append.first_record),
        None => batch.header().end_offset(),
    };
    for entry in batch.producers() {
        let (first, next) = (begins(entry.append as usize), begins(entry.append as usize + 1));
        while let Some(event) = evictions.next_if(|event| event.offset().raw() < first) {
            take_note_of_eviction(carry, event.data());
        }
        let Some(name) = batch.names().producers.get(usize::from(entry.producer)) else { continue };
        let Ok(name) = std::str::from_utf8(batch.bytes_of(*name)) else { continue };
        let count = u32::try_from(next - first).unwrap_or(u32::MAX);
        let append = CarriedAppend { sequence: entry.sequence, first, count, digest: entry.digest };
        carry.producer_appended(name, entry.epoch, append);
    }
    evictions.for_each(|event| take_note_of_eviction(carry, event.data()));
}

/// Hash of what an append stores: SipHash-1-3-128 under the log's id over each event's stream, type, source, id,
/// content type, time, headers and data. It is kept in the log, so it must never change.
///
/// A text is its length (u64, little-endian) and its bytes, one that is missing the largest length alone; a time is
/// a text of 8 bytes; the headers are their count and their texts. Expectations are not part of it.
pub(crate) fn digest(log: LogId, append: &Append<'_>) -> u128 {
    let mut hasher = SipHasher13::new_with_key(&log.raw().to_le_bytes());
    let mut text = |text: Option<&[u8]>| {
        hasher.write(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hasher.write(text.unwrap_or_default());
    };
    for event in append.all() {
        text(Some(event.stream.as_bytes()));
        text(Some(event.event_type.as_bytes()));
        for optional in [&event.source, &event.id, &event.content_type] {
            text(optional.as_deref().map(str::as_bytes));
        }
        text(event.time.map(|time| time.as_micros().to_le_bytes()).as_ref().map(<[u8; 8]>::as_slice));
        text(Some(&(event.headers.len() as u64).to_le_bytes()));
        for (name, value) in &event.headers {
            text(Some(name.as_bytes()));
            text(Some(value.as_bytes()));
        }
        text(Some(&event.data));
    }
    hasher.finish128().as_u128()
}

impl Shared {
    /// Answers an append that was stored before. Its events are read back, for their versions, once the operating
    /// system has them: so nothing more has to be kept in memory for the rare resend.
    pub(super) fn resent(
        self: &Arc<Self>,
        append: &Append<'_>,
        original: CarriedAppend,
    ) -> Result<Receipt, AppendError> {
        self.wait_for(original.next(), Durability::Os)?;
        let appended = self.stored(original)?;
        let durability = if planted(Bug::ResendUnawaited) { Durability::Os } else { append.durability };
        Ok(Receipt { shared: Arc::clone(self), appended, durability, waiting: None })
    }

    fn stored(&self, original: CarriedAppend) -> Result<Appended, AppendError> {
        let (segments, head) = (self.group.segments(), self.head());
        if original.first < head {
            let versions = Versions::Trimmed(original.count);
            return Ok(Appended { first: original.first, recorded_us: 0, versions, resent: true });
        }
        let finder = Arc::clone(&self.finder);
        let view = View { segments, head, end: original.next(), mode: self.options.reads, finder };
        let mut recorded_us = 0;
        let mut versions = Vec::with_capacity(original.count as usize);
        for batch in Batches::new(view, &(Offset::from_raw(original.first)..)) {
            for event in batch?.events() {
                versions.push(event.version().raw());
                recorded_us = event.recorded().as_micros();
            }
        }
        Ok(Appended::at(original.first, recorded_us, versions).resent())
    }

    /// The refusal of an append, once what it rests on is kept as the append asks.
    pub(super) fn refused(&self, append: &Append<'_>, error: AppendError, rests_on: u64) -> AppendError {
        self.wait_for(rests_on, append.durability).err().unwrap_or(error)
    }

    fn wait_for(&self, target: u64, durability: Durability) -> Result<(), AppendError> {
        let waited = match durability {
            Durability::Os => self.wait_written(target),
            Durability::Disk => self.wait_durable(target),
        };
        // The outcome of this append is known: nothing of it was written.
        waited.map_err(|error| match error {
            AppendError::OutcomeUnknown(failure) => AppendError::Poisoned(failure),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Timestamp};

    #[test]
    fn the_digest_of_an_append_never_changes() {
        let event = Event::new("s", "T").source("o").id("i").content_type("c").header("h", "v").data(&b"d"[..]);
        let append = Append::new().event(event.time(Timestamp::from_micros(1))).event(Event::new("s", "T"));
        assert_eq!(digest(LogId::from_raw(7), &append), 72212355687250175770912468599114852190);
    }

    #[test]
    fn appends_that_store_something_else_have_other_digests() {
        let plain = || Event::new("s", "T");
        let appends = [
            Append::new().event(plain()),
            Append::new().event(Event::new("sT", "T")),
            Append::new().event(Event::new("s", "U")),
            Append::new().event(plain().data(&b"d"[..])),
            Append::new().event(plain().id("d")),
            Append::new().event(plain().source("d")),
            Append::new().event(plain().content_type("d")),
            Append::new().event(plain().header("d", "")),
            Append::new().event(plain().header("", "d")),
            Append::new().event(plain().time(Timestamp::from_micros(0))),
            Append::new().event(plain()).event(plain()),
            Append::new().event(plain()).source("d", &b"1"[..], crate::Expect::Any),
            Append::new().event(plain()).source("d", &b"2"[..], crate::Expect::Any),
        ];
        let mut digests: Vec<u128> = appends.iter().map(|append| digest(LogId::from_raw(7), append)).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), appends.len());
        let same = Append::new().expect("other", crate::Expect::None).event(plain()).durability(Durability::Os);
        assert_eq!(digest(LogId::from_raw(7), &same), digest(LogId::from_raw(7), &appends[0]));
    }
}
