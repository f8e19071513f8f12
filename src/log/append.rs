//! What a caller hands in: events, all or none, provided streams are where the caller thinks they are.

use std::borrow::Cow;
use std::fmt;

use super::error::AppendError;
use super::own::{self, source_stream};
use super::producer::{EVICTIONS_BYTES_MAX, Producer};
use crate::batch::OpenBatch;
use crate::event::{NewEvent, check_name, check_user_stream};
use crate::limits::{BATCH_BYTES_MAX, BATCH_NAMES_MAX, SOURCE_POSITION_BYTES_MAX};
use crate::{InvalidEvent, Offset, Version};

/// What has to be true of a stream for an append to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// It has no event in the log.
    None,
    /// It has an event.
    Exists,
    /// Its last event has this version.
    Version(Version),
    /// Its last event stands at this offset.
    Last(Offset),
}

impl Expect {
    /// Whether a stream whose last event is this one is as expected.
    pub(crate) fn holds(self, last: Option<(Version, Offset)>) -> bool {
        match self {
            Expect::Any => true,
            Expect::None => last.is_none(),
            Expect::Exists => last.is_some(),
            Expect::Version(version) => last.is_some_and(|(actual, _)| actual == version),
            Expect::Last(offset) => last.is_some_and(|(_, actual)| actual == offset),
        }
    }

    /// Refuses an append when a stream whose last event is this one is not as expected.
    pub(crate) fn check(self, stream: &str, last: Option<(Version, Offset)>) -> Result<(), AppendError> {
        if self.holds(last) {
            return Ok(());
        }
        Err(AppendError::WrongVersion {
            stream: stream.to_owned(),
            expected: self,
            actual: last.map(|(version, _)| version),
            last: last.map(|(_, offset)| offset),
        })
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Any => f.write_str("anything was expected"),
            Expect::None => f.write_str("no event was expected"),
            Expect::Exists => f.write_str("an event was expected"),
            Expect::Version(version) => write!(f, "version {version} was expected"),
            Expect::Last(offset) => write!(f, "offset {offset} was expected as its last"),
        }
    }
}

/// What an acknowledged append survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Durability {
    /// Killing the process, not a power cut: the operating system has the bytes. They reach the disk in the
    /// background within [`OS_SYNC_MS`](crate::limits::OS_SYNC_MS) or
    /// [`OS_SYNC_BYTES`](crate::limits::OS_SYNC_BYTES).
    Os,
    /// Power cuts too: the disk has the bytes.
    #[default]
    Disk,
}

/// Events that are appended together: all or none.
#[derive(Debug, Clone, Default)]
pub struct Append<'a> {
    pub(crate) events: Vec<NewEvent<'a>>,
    pub(crate) expectations: Vec<(Cow<'a, str>, Expect)>,
    pub(super) durability: Durability,
    /// The event of one of the log's own streams that closes the append.
    pub(crate) own: Option<NewEvent<'a>>,
    several_owns: bool,
    pub(crate) producer: Option<Producer<'a>>,
}

impl<'a> Append<'a> {
    /// An append without events yet, at [`Durability::Disk`].
    pub fn new() -> Self {
        Append::default()
    }

    /// Adds an event.
    #[must_use]
    pub fn event(mut self, event: NewEvent<'a>) -> Self {
        self.events.push(event);
        self
    }

    /// Adds events, in order.
    #[must_use]
    pub fn events(mut self, events: impl IntoIterator<Item = NewEvent<'a>>) -> Self {
        self.events.extend(events);
        self
    }

    /// Takes the append only when a stream is as expected, whether the append writes to it or not. All
    /// expectations are about the log before the append.
    #[must_use]
    pub fn expect(mut self, stream: impl Into<Cow<'a, str>>, expect: Expect) -> Self {
        self.expectations.push((stream.into(), expect));
        self
    }

    /// What its acknowledgement means.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Notes, in the same append, how far a source outside has been read, as an event of the stream
    /// `$source/NAME`. `expect` is about that stream: [`Expect::None`] the first time, then
    /// [`Expect::Last`] of what [`Log::source`](crate::Log::source) gave. So nothing is taken twice.
    #[must_use]
    pub fn source(self, name: &str, position: impl Into<Cow<'a, [u8]>>, expect: Expect) -> Self {
        self.own(NewEvent::new(source_stream(name), "Position").data(position), expect)
    }

    /// Closes the append by an event of one of the log's own streams, which has to be as expected.
    #[must_use]
    pub(crate) fn own(mut self, event: NewEvent<'a>, expect: Expect) -> Self {
        self.expectations.push((event.stream.clone(), expect));
        self.several_owns = self.own.is_some();
        self.own = Some(event);
        self
    }

    /// Says which producer sends the append and its number there, so that sending it again stores nothing: the
    /// receipt of a resend gives the places of the original, and is fulfilled only when the original is kept as
    /// the resend asks. Expectations of a resend are not looked at again.
    ///
    /// `id` is a name of the producer's own, `epoch` is raised by each new instance of it and fences the ones
    /// before. The first `sequence` of a producer or of an epoch is 0, then each append has the next number. The
    /// last [`CARRIED_APPENDS_MAX`](crate::limits::CARRIED_APPENDS_MAX) of each of the
    /// [`CARRIED_PRODUCERS_MAX`](crate::limits::CARRIED_PRODUCERS_MAX) producers that appended last are
    /// remembered, also when the log is opened again.
    ///
    /// A refusal because of the producer rests on earlier appends: `append` then waits until they are kept at
    /// this append's durability.
    #[must_use]
    pub fn producer(mut self, id: impl Into<Cow<'a, str>>, epoch: u32, sequence: u64) -> Self {
        self.producer = Some(Producer { id: id.into(), epoch, sequence });
        self
    }

    /// Whether it has no event and no position.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.own.is_none()
    }

    /// All events in the order in which they take their offsets.
    pub(crate) fn all(&self) -> impl Iterator<Item = &NewEvent<'a>> {
        self.events.iter().chain(&self.own)
    }

    /// Checks all that can be said without the log; returns the bytes it takes at most.
    pub(crate) fn check(&self) -> Result<usize, AppendError> {
        if self.is_empty() {
            return Err(AppendError::Empty);
        }
        let mut bytes = OpenBatch::append_len() + 16;
        for event in &self.events {
            check_user_stream(&event.stream)?;
            check_name("type", &event.event_type)?;
            event.check()?;
            bytes += OpenBatch::event_len(event);
        }
        if self.several_owns {
            return Err(InvalidEvent::SeveralSources.into());
        }
        if let Some(own) = &self.own {
            check_own(own)?;
            bytes += OpenBatch::event_len(own);
        }
        for (stream, _) in &self.expectations {
            check_name("stream", stream)?;
        }
        let mut most = bytes;
        if let Some(producer) = &self.producer {
            check_name("producer", &producer.id)?;
            bytes += producer.id.len() + 2;
            most = bytes + EVICTIONS_BYTES_MAX;
        }
        if most > BATCH_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes });
        }
        if self.names_max() > BATCH_NAMES_MAX {
            self.check_names()?;
        }
        Ok(bytes)
    }

    /// Most names of one kind that it may bring into a batch.
    pub(super) fn names_max(&self) -> usize {
        self.all().count() + usize::from(self.producer.is_some())
    }

    fn check_names(&self) -> Result<(), AppendError> {
        // The stream in which a producer in its way is said to be forgotten, and its type.
        let more = usize::from(self.producer.is_some());
        let distinct = |names: Vec<&str>| {
            let names = names.into_iter().collect::<std::collections::HashSet<_>>().len() + more;
            if names > BATCH_NAMES_MAX { Err(AppendError::TooManyNames { names }) } else { Ok(()) }
        };
        distinct(self.all().map(|event| &*event.stream).collect())?;
        distinct(self.all().map(|event| &*event.event_type).collect())?;
        distinct(self.all().filter_map(|event| event.source.as_deref()).collect())
    }
}

/// Checks an event of the log's own by its stream, whose name has the limit of all names.
fn check_own(event: &NewEvent<'_>) -> Result<(), AppendError> {
    let (what, name) = match event.stream.split_once('/') {
        Some(("$source", name)) => ("source", name),
        Some((_, name)) => ("handler", name),
        None => ("handler", ""),
    };
    check_name(what, if name.is_empty() { name } else { &event.stream })?;
    check_name("type", &event.event_type)?;
    event.check()?;
    match own::carried(&event.stream, &event.data).len() {
        bytes if bytes > SOURCE_POSITION_BYTES_MAX => Err(AppendError::PositionTooLong { bytes }),
        _ => Ok(()),
    }
}

impl<'a> From<NewEvent<'a>> for Append<'a> {
    fn from(event: NewEvent<'a>) -> Self {
        Append::new().event(event)
    }
}
