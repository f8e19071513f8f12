//! What happened: an event to be appended, and an event that was read.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::limits::{
    CONTENT_TYPE_BYTES_MAX, DATA_BYTES_MAX, EXTRAS_BYTES_MAX, HEADERS_MAX, ID_BYTES_MAX, NAME_BYTES_MAX,
};
use crate::{Offset, Timestamp, Version};

/// The content type of JSON data; stored in a few bits.
pub const JSON: &str = "application/json";

/// An event that is to be appended. Made with [`Event::new`].
///
/// It borrows what it is made of, so that appending needs no copy but the one into the log;
/// [`into_owned`](NewEvent::into_owned) cuts it loose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent<'a> {
    pub(crate) stream: Cow<'a, str>,
    pub(crate) event_type: Cow<'a, str>,
    pub(crate) data: Cow<'a, [u8]>,
    pub(crate) source: Option<Cow<'a, str>>,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) content_type: Option<Cow<'a, str>>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> NewEvent<'a> {
    /// An event of a type in a stream, without data.
    ///
    /// Both names are 1 to [`NAME_BYTES_MAX`] bytes of UTF-8 without control characters; a stream that
    /// starts with `$` is the log's own. Appending checks it.
    pub fn new(stream: impl Into<Cow<'a, str>>, event_type: impl Into<Cow<'a, str>>) -> Self {
        NewEvent {
            stream: stream.into(),
            event_type: event_type.into(),
            data: Cow::Borrowed(&[]),
            source: None,
            id: None,
            content_type: None,
            time: None,
            headers: Vec::new(),
        }
    }

    /// The payload, byte for byte; at most [`DATA_BYTES_MAX`].
    #[must_use]
    pub fn data(mut self, data: impl Into<Cow<'a, [u8]>>) -> Self {
        self.data = data.into();
        self
    }

    /// The payload as JSON, with the content type that says so.
    ///
    /// # Errors
    /// When the value cannot be written as JSON; nothing was appended.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(mut self, value: &T) -> Result<Self, serde_json::Error> {
        self.data = Cow::Owned(serde_json::to_vec(value)?);
        self.content_type = Some(Cow::Borrowed(JSON));
        Ok(self)
    }

    /// What kind of bytes the data is, as a media type.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<Cow<'a, str>>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Where the event came from.
    #[must_use]
    pub fn source(mut self, source: impl Into<Cow<'a, str>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The producer's own name for the event; at most [`ID_BYTES_MAX`] bytes. The log does not compare ids.
    #[must_use]
    pub fn id(mut self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// When it happened, in the producer's word; may lie before earlier events. Without it, an event
    /// happened when it was recorded.
    #[must_use]
    pub fn time(mut self, time: impl Into<Timestamp>) -> Self {
        self.time = Some(time.into());
        self
    }

    /// Adds a header; at most [`HEADERS_MAX`], kept in order.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same event with bytes of its own.
    pub fn into_owned(self) -> NewEvent<'static> {
        fn own(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        NewEvent {
            stream: own(self.stream),
            event_type: own(self.event_type),
            data: Cow::Owned(self.data.into_owned()),
            source: self.source.map(own),
            id: self.id.map(own),
            content_type: self.content_type.map(own),
            time: self.time,
            headers: self.headers.into_iter().map(|(name, value)| (own(name), own(value))).collect(),
        }
    }

    /// Checks all limits of an event but those on its stream's and type's names.
    pub(crate) fn check(&self) -> Result<(), InvalidEvent> {
        if self.data.len() > DATA_BYTES_MAX {
            return Err(InvalidEvent::DataTooLong { bytes: self.data.len() });
        }
        if let Some(source) = &self.source {
            check_name("source", source)?;
        }
        if self.id.is_none() && self.headers.is_empty() && self.content_type.is_none() {
            return Ok(());
        }
        if let Some(id) = &self.id
            && (id.is_empty() || id.len() > ID_BYTES_MAX)
        {
            return Err(InvalidEvent::IdLength { bytes: id.len() });
        }
        if let Some(content_type) = &self.content_type
            && (content_type.is_empty() || content_type.len() > CONTENT_TYPE_BYTES_MAX)
        {
            return Err(InvalidEvent::ContentTypeLength { bytes: content_type.len() });
        }
        if self.headers.len() > HEADERS_MAX {
            return Err(InvalidEvent::TooManyHeaders { headers: self.headers.len() });
        }
        for (name, _) in &self.headers {
            check_name("header", name)?;
        }
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        let bytes = headers + self.id.as_deref().map_or(0, str::len) + self.content_type.as_deref().map_or(0, str::len);
        if bytes > EXTRAS_BYTES_MAX {
            return Err(InvalidEvent::HeadersTooLong { bytes });
        }
        Ok(())
    }
}

/// Why an event cannot be taken. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// A name has no bytes, or more than [`NAME_BYTES_MAX`].
    #[error("a {what} name has 1 to {NAME_BYTES_MAX} bytes, this one has {bytes}")]
    NameLength {
        /// What is named: stream, type, source or header.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A name holds a control character.
    #[error("the {what} name {name:?} holds a control character; names are text without them")]
    NameControl {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Streams that start with `$` are written by the log alone.
    #[error("streams that start with `$` are the log's own; {stream:?} cannot be written")]
    ReservedStream {
        /// The stream.
        stream: String,
    },
    /// The data is longer than [`DATA_BYTES_MAX`].
    #[error(
        "an event's data has at most {DATA_BYTES_MAX} bytes, this one has {bytes}; split it, or store it beside the log and append where it is"
    )]
    DataTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The id is empty, or longer than [`ID_BYTES_MAX`].
    #[error("an event's id has 1 to {ID_BYTES_MAX} bytes, this one has {bytes}")]
    IdLength {
        /// Its length.
        bytes: usize,
    },
    /// The content type is empty, or longer than [`CONTENT_TYPE_BYTES_MAX`].
    #[error("an event's content type has 1 to {CONTENT_TYPE_BYTES_MAX} bytes, this one has {bytes}")]
    ContentTypeLength {
        /// Its length.
        bytes: usize,
    },
    /// An append notes how far one source has been read, not two.
    #[error("an append notes the position of one source, this one of several; append them one after the other")]
    SeveralSources,
    /// More than [`HEADERS_MAX`] headers.
    #[error("an event has at most {HEADERS_MAX} headers, this one has {headers}")]
    TooManyHeaders {
        /// How many there are.
        headers: usize,
    },
    /// Headers, id and content type together are longer than [`EXTRAS_BYTES_MAX`].
    #[error(
        "headers, id and content type of an event have at most {EXTRAS_BYTES_MAX} bytes together, these have {bytes}"
    )]
    HeadersTooLong {
        /// How long they are.
        bytes: usize,
    },
}

/// Checks a name of a stream, type, source or header.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), InvalidEvent> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(InvalidEvent::NameLength { what, bytes: name.len() });
    }
    if name.chars().any(char::is_control) {
        return Err(InvalidEvent::NameControl { what, name: name.to_owned() });
    }
    Ok(())
}

/// Checks the name of a stream that users write.
pub(crate) fn check_user_stream(stream: &str) -> Result<(), InvalidEvent> {
    if is_system(stream) {
        return Err(InvalidEvent::ReservedStream { stream: stream.to_owned() });
    }
    check_name("stream", stream)
}

/// Whether a stream is the log's own.
pub(crate) fn is_system(stream: &str) -> bool {
    stream.starts_with('$')
}

/// Where a part of an event lies in the body of its batch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    pub at: u32,
    pub len: u32,
}

impl Span {
    fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.at as usize..self.at as usize + self.len as usize).unwrap_or_default()
    }
}

/// Where the parts of one event lie in its batch's body; checked when the batch was decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub offset: u64,
    pub version: u64,
    pub recorded_us: i64,
    /// Equal to `recorded_us` when the producer gave none.
    pub time_us: i64,
    pub has_time: bool,
    pub is_json: bool,
    pub stream: Span,
    pub event_type: Span,
    /// Empty: none.
    pub source: Span,
    /// Empty: none.
    pub id: Span,
    /// Empty: none, or JSON.
    pub content_type: Span,
    /// Pairs of u16-length-prefixed name and u32-length-prefixed value.
    pub headers: Span,
    pub data: Span,
}

/// An event that was read. Cloning it costs one reference count; it keeps its batch in memory.
#[derive(Clone)]
pub struct Event {
    pub(crate) body: Bytes,
    pub(crate) parts: Parts,
}

/// An event that borrows from the batch it was read in.
#[derive(Clone, Copy)]
pub struct EventRef<'b> {
    pub(crate) body: &'b [u8],
    pub(crate) parts: Parts,
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl<'b> EventRef<'b> {
    /// Place in the log.
    pub fn offset(&self) -> Offset {
        Offset::from_raw(self.parts.offset)
    }

    /// Place in its stream.
    pub fn version(&self) -> Version {
        Version::from_raw(self.parts.version)
    }

    /// The history it belongs to; the CloudEvents subject.
    pub fn stream(&self) -> &'b str {
        text(self.parts.stream.of(self.body))
    }

    /// What kind of fact it is.
    pub fn event_type(&self) -> &'b str {
        text(self.parts.event_type.of(self.body))
    }

    /// Where it came from, when the producer said so.
    pub fn source(&self) -> Option<&'b str> {
        Some(text(self.parts.source.of(self.body))).filter(|source| !source.is_empty())
    }

    /// The producer's own name for it.
    pub fn id(&self) -> Option<&'b str> {
        Some(text(self.parts.id.of(self.body))).filter(|id| !id.is_empty())
    }

    /// When it happened: the producer's word, else when it was recorded.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.parts.time_us)
    }

    /// When it happened, if the producer said so.
    pub fn given_time(&self) -> Option<Timestamp> {
        self.parts.has_time.then(|| self.time())
    }

    /// When the log took it. Never goes back along the log, and differs between batches.
    pub fn recorded(&self) -> Timestamp {
        Timestamp::from_micros(self.parts.recorded_us)
    }

    /// The media type of the data, when the producer said so.
    pub fn content_type(&self) -> Option<&'b str> {
        if self.parts.is_json {
            return Some(JSON);
        }
        Some(text(self.parts.content_type.of(self.body))).filter(|content_type| !content_type.is_empty())
    }

    /// The headers, in the order they were given.
    pub fn headers(&self) -> Headers<'b> {
        Headers { rest: self.parts.headers.of(self.body) }
    }

    /// The payload, byte for byte.
    pub fn data(&self) -> &'b [u8] {
        self.parts.data.of(self.body)
    }

    /// The payload read as JSON.
    ///
    /// # Errors
    /// When the data is not the JSON of such a value.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Deserialize<'b>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.data())
    }

    /// Whether its stream is the log's own.
    pub fn is_system(&self) -> bool {
        self.parts.stream.of(self.body).first() == Some(&b'$')
    }
}

impl Event {
    /// An event to be appended: of a type, in a stream.
    #[allow(clippy::new_ret_no_self)] // what one makes is always a new event, what one reads always an old one
    pub fn new<'a>(stream: impl Into<Cow<'a, str>>, event_type: impl Into<Cow<'a, str>>) -> NewEvent<'a> {
        NewEvent::new(stream, event_type)
    }

    /// The same event, borrowed.
    pub fn borrow(&self) -> EventRef<'_> {
        EventRef { body: &self.body, parts: self.parts }
    }

    /// The payload, sharing the memory of its batch.
    pub fn data_bytes(&self) -> Bytes {
        let Span { at, len } = self.parts.data;
        self.body.slice(at as usize..at as usize + len as usize)
    }

    /// Place in the log.
    pub fn offset(&self) -> Offset {
        self.borrow().offset()
    }

    /// Place in its stream.
    pub fn version(&self) -> Version {
        self.borrow().version()
    }

    /// The history it belongs to; the CloudEvents subject.
    pub fn stream(&self) -> &str {
        self.borrow().stream()
    }

    /// What kind of fact it is.
    pub fn event_type(&self) -> &str {
        self.borrow().event_type()
    }

    /// Where it came from, when the producer said so.
    pub fn source(&self) -> Option<&str> {
        self.borrow().source()
    }

    /// The producer's own name for it.
    pub fn id(&self) -> Option<&str> {
        self.borrow().id()
    }

    /// When it happened: the producer's word, else when it was recorded.
    pub fn time(&self) -> Timestamp {
        self.borrow().time()
    }

    /// When the log took it.
    pub fn recorded(&self) -> Timestamp {
        self.borrow().recorded()
    }

    /// The media type of the data, when the producer said so.
    pub fn content_type(&self) -> Option<&str> {
        self.borrow().content_type()
    }

    /// The headers, in the order they were given.
    pub fn headers(&self) -> Headers<'_> {
        self.borrow().headers()
    }

    /// The payload, byte for byte.
    pub fn data(&self) -> &[u8] {
        self.borrow().data()
    }

    /// The payload read as JSON.
    ///
    /// # Errors
    /// When the data is not the JSON of such a value.
    #[cfg(feature = "json")]
    pub fn json<'b, T: serde::Deserialize<'b>>(&'b self) -> Result<T, serde_json::Error> {
        self.borrow().json()
    }

    /// Whether its stream is the log's own.
    pub fn is_system(&self) -> bool {
        self.borrow().is_system()
    }
}

impl fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("offset", &self.parts.offset)
            .field("stream", &self.stream())
            .field("version", &self.parts.version)
            .field("type", &self.event_type())
            .field("data_bytes", &self.parts.data.len)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.borrow().fmt(f)
    }
}

/// The headers of an event, as pairs of name and value.
#[derive(Debug, Clone)]
pub struct Headers<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Headers<'b> {
    type Item = (&'b str, &'b str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_len, rest) = self.rest.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*name_len).into())?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
        self.rest = rest;
        Some((text(name), text(value)))
    }
}
