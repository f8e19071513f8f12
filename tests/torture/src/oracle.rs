//! What a log was given and what it has promised: the model that every answer is held against.
//!
//! The model counts an append as soon as it has its place. What of it a crash may take is said by three ends:
//! events before `durable` were acknowledged as durable, those before `written` as being with the operating
//! system, and those before `seen` were shown to a reader.

use std::collections::BTreeMap;

use annals::{
    Append, AppendError, Consumer, Durability, Event, EventRef, Expect, LogReader, NewEvent, Offset, ReadError,
    Timestamp, Version,
};

/// What is not as it has to be.
pub type Broken = String;

/// Fails with a sentence when something is not as it has to be.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
pub(crate) use ensure;

/// An event as it is given to a log.
#[derive(Debug, Clone)]
pub struct Given {
    /// Index of the stream's name.
    pub stream: u32,
    pub kind: u8,
    /// What the data is made of: no two events have the same.
    pub tag: u64,
    pub len: u32,
    pub time: Option<i64>,
}

impl Given {
    /// The data: its tag first, then bytes that compress well or not at all.
    pub fn data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.len as usize + 8);
        let mut word = self.tag;
        while data.len() < self.len as usize {
            data.extend(word.to_le_bytes());
            word = self.after(word);
        }
        data.truncate(self.len as usize);
        data
    }

    fn is_data(&self, data: &[u8]) -> bool {
        if data.len() != self.len as usize {
            return false;
        }
        let mut word = self.tag;
        let (words, rest) = data.as_chunks::<8>();
        for stored in words {
            if u64::from_le_bytes(*stored) != word {
                return false;
            }
            word = self.after(word);
        }
        word.to_le_bytes().starts_with(rest)
    }

    /// What is stored of it. Short data may be the same for other tags, and then what stands beside it is, too.
    fn content(&self) -> (u32, u8, Option<i64>, Vec<u8>, Extras) {
        (self.stream, self.kind, self.time, self.data(), self.extras())
    }

    /// What a user may give beside the data: each event has some of it.
    fn extras(&self) -> Extras {
        if self.kind == POSITION {
            return Extras::default();
        }
        let has = |bit: u32| self.tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (60 + bit) & 1 == 1;
        let tag = self.tag;
        Extras {
            id: has(0).then(|| format!("event-{tag}")),
            source: has(1).then(|| format!("source {}", tag % 3)),
            content_type: has(2).then(|| ["text/plain", "application/json"][(tag % 2) as usize]),
            headers: if has(3) {
                vec![("trace".to_owned(), format!("{tag:x}")), ("empty".to_owned(), String::new())]
            } else {
                Vec::new()
            },
        }
    }

    /// The next eight bytes of data.
    fn after(&self, word: u64) -> u64 {
        let compresses = !self.tag.is_multiple_of(2);
        if compresses { word } else { word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(self.tag) }
    }
}

/// What an event has beside stream, type, time and data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Extras {
    id: Option<String>,
    source: Option<String>,
    content_type: Option<&'static str>,
    headers: Vec<(String, String)>,
}

impl Extras {
    fn give(self, mut event: NewEvent<'static>) -> NewEvent<'static> {
        if let Some(id) = self.id {
            event = event.id(id);
        }
        if let Some(source) = self.source {
            event = event.source(source);
        }
        if let Some(content_type) = self.content_type {
            event = event.content_type(content_type);
        }
        self.headers.into_iter().fold(event, |event, (name, value)| event.header(name, value))
    }

    fn are_of(&self, event: EventRef<'_>) -> bool {
        event.id() == self.id.as_deref()
            && event.source() == self.source.as_deref()
            && event.content_type() == self.content_type
            && event.headers().eq(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// An append as it is given to a log.
#[derive(Debug, Clone)]
pub struct Wish {
    pub events: Vec<Given>,
    /// The event that notes a source's position; its stream is one of the log's own.
    pub source: Option<Given>,
    /// Stream and what is expected of it.
    pub expect: Vec<(u32, Expect)>,
    pub producer: Option<Sent>,
    pub durability: Durability,
}

/// A producer's word on an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub producer: u8,
    pub epoch: u32,
    pub sequence: u64,
}

/// What a log has to answer to an append, if nothing fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// It was stored at these offsets before.
    Resent {
        first: u64,
        end: u64,
    },
    WrongVersion {
        stream: u32,
        actual: Option<u64>,
        last: Option<u64>,
    },
    Gap {
        expected: u64,
        rests_on: u64,
    },
    Fenced {
        epoch: u32,
        rests_on: u64,
    },
    Forgotten {
        oldest: u64,
        rests_on: u64,
    },
    Conflict {
        first: u64,
        end: u64,
    },
    Unknown,
}

#[derive(Debug, Clone)]
struct Stored {
    given: Given,
    version: u64,
    recorded: i64,
}

#[derive(Debug, Clone)]
struct StoredAppend {
    first: u64,
    end: u64,
    sent: Option<Sent>,
}

#[derive(Debug, Clone, Default)]
struct Producer {
    epoch: u32,
    /// Sequence and index of each append that is remembered.
    appends: Vec<(u64, usize)>,
}

/// What a log holds, or may hold.
#[derive(Debug, Clone, Default)]
pub struct Model {
    names: Vec<String>,
    events: Vec<Stored>,
    appends: Vec<StoredAppend>,
    /// Version and offset of each stream's last event.
    streams: BTreeMap<u32, (u64, u64)>,
    producers: BTreeMap<u8, Producer>,
    pub durable: u64,
    pub written: u64,
    pub seen: u64,
}

pub fn type_name(kind: u8) -> String {
    format!("Type{kind}")
}

pub fn producer_name(producer: u8) -> String {
    format!("producer-{producer}")
}

const REMEMBERED: usize = annals::limits::CARRIED_APPENDS_MAX;

impl Model {
    /// The index of a stream's name.
    pub fn stream(&mut self, name: &str) -> u32 {
        let at = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        at as u32
    }

    pub fn name(&self, stream: u32) -> &str {
        &self.names[stream as usize]
    }

    pub fn next(&self) -> u64 {
        self.events.len() as u64
    }

    /// Version and offset of a stream's last event.
    pub fn last(&self, stream: u32) -> Option<(u64, u64)> {
        self.streams.get(&stream).copied()
    }

    /// Epoch and next sequence of a producer.
    pub fn producer(&self, producer: u8) -> Option<(u32, u64)> {
        let known = self.producers.get(&producer)?;
        Some((known.epoch, known.appends.last().map_or(0, |(sequence, _)| sequence + 1)))
    }

    /// What a producer sent as one of its remembered appends: the same wish again.
    pub fn sent_before(&self, producer: u8, back: usize) -> Option<Wish> {
        let known = self.producers.get(&producer)?;
        let (_, index) = *known.appends.iter().rev().nth(back)?;
        let append = &self.appends[index];
        let events = self.events[append.first as usize..append.end as usize].iter().map(|e| e.given.clone());
        let (events, mut source): (Vec<_>, Vec<_>) = events.partition(|e| !self.name(e.stream).starts_with('$'));
        let (source, producer) = (source.pop(), append.sent);
        Some(Wish { events, source, expect: Vec::new(), producer, durability: Durability::Disk })
    }

    /// An append as the library takes it.
    pub fn append(&self, wish: &Wish) -> Append<'static> {
        let mut append = Append::new().durability(wish.durability);
        for given in &wish.events {
            let mut event = Event::new(self.name(given.stream).to_owned(), type_name(given.kind)).data(given.data());
            if let Some(time) = given.time {
                event = event.time(Timestamp::from_micros(time));
            }
            append = append.event(given.extras().give(event));
        }
        for (stream, expect) in &wish.expect {
            if wish.source.as_ref().is_none_or(|source| source.stream != *stream) {
                append = append.expect(self.name(*stream).to_owned(), *expect);
            }
        }
        if let Some(source) = &wish.source {
            let name = self.name(source.stream).trim_start_matches("$source/").to_owned();
            let expect = wish.expect.iter().find(|(stream, _)| *stream == source.stream);
            append = append.source(&name, source.data(), expect.map_or(Expect::Any, |(_, expect)| *expect));
        }
        if let Some(sent) = wish.producer {
            append = append.producer(producer_name(sent.producer), sent.epoch, sent.sequence);
        }
        append
    }

    /// What the log has to say to an append.
    pub fn judge(&self, wish: &Wish) -> Answer {
        if let Some(sent) = wish.producer
            && let Some(answer) = self.judge_producer(wish, sent)
        {
            return answer;
        }
        for (stream, expect) in &wish.expect {
            let last = self.last(*stream);
            let holds = match *expect {
                Expect::Any => true,
                Expect::None => last.is_none(),
                Expect::Exists => last.is_some(),
                Expect::Version(version) => last.is_some_and(|(actual, _)| actual == version.raw()),
                Expect::Last(offset) => last.is_some_and(|(_, actual)| actual == offset.raw()),
            };
            if !holds {
                let (actual, last) = (last.map(|(version, _)| version), last.map(|(_, offset)| offset));
                return Answer::WrongVersion { stream: *stream, actual, last };
            }
        }
        Answer::Taken
    }

    fn judge_producer(&self, wish: &Wish, sent: Sent) -> Option<Answer> {
        let Some(known) = self.producers.get(&sent.producer) else {
            return (sent.sequence != 0).then_some(Answer::Unknown);
        };
        let rests_on = known.appends.last().map_or(0, |(_, index)| self.appends[*index].end);
        if sent.epoch < known.epoch {
            return Some(Answer::Fenced { epoch: known.epoch, rests_on });
        }
        let remembered = if sent.epoch > known.epoch { &[] } else { known.appends.as_slice() };
        let expected = remembered.last().map_or(0, |(sequence, _)| sequence + 1);
        match remembered.iter().find(|(sequence, _)| *sequence == sent.sequence) {
            Some((_, index)) => {
                let StoredAppend { first, end, .. } = self.appends[*index];
                let stored = self.events[first as usize..end as usize].iter().map(|event| &event.given);
                let same = stored.map(Given::content).eq(wish.events.iter().chain(&wish.source).map(Given::content));
                Some(if same { Answer::Resent { first, end } } else { Answer::Conflict { first, end } })
            }
            None if sent.sequence == expected => None,
            None if sent.sequence > expected => Some(Answer::Gap { expected, rests_on }),
            None => Some(Answer::Forgotten { oldest: remembered.first().map_or(0, |(first, _)| *first), rests_on }),
        }
    }

    /// Takes note of an append that has its place.
    pub fn push(&mut self, wish: &Wish, recorded: i64) {
        let first = self.next();
        for given in wish.events.iter().chain(&wish.source) {
            self.push_event(given.clone(), recorded);
        }
        self.push_append(StoredAppend { first, end: self.next(), sent: wish.producer });
    }

    fn push_event(&mut self, given: Given, recorded: i64) {
        let version = self.streams.get(&given.stream).map_or(0, |(version, _)| version + 1);
        self.streams.insert(given.stream, (version, self.next()));
        self.events.push(Stored { given, version, recorded });
    }

    fn push_append(&mut self, append: StoredAppend) {
        if let Some(sent) = append.sent {
            let known = self.producers.entry(sent.producer).or_default();
            if known.epoch != sent.epoch {
                *known = Producer { epoch: sent.epoch, appends: Vec::new() };
            }
            known.appends.push((sent.sequence, self.appends.len()));
            if known.appends.len() > REMEMBERED {
                known.appends.remove(0);
            }
        }
        self.appends.push(append);
    }

    /// Takes note that events before an offset were acknowledged.
    pub fn acknowledge(&mut self, end: u64, durability: Durability) {
        let known = if durability == Durability::Disk { &mut self.durable } else { &mut self.written };
        *known = end.max(*known);
    }

    /// Events before it have to be there after a crash.
    pub fn floor(&self, power: bool) -> u64 {
        let floor = self.durable.max(self.seen);
        if power { floor } else { floor.max(self.written) }
    }

    /// What was not kept never was; what was kept is durable.
    pub fn cut(&mut self, end: u64) {
        if end < self.next() {
            self.events.truncate(end as usize);
            let events = std::mem::take(&mut self.events);
            let appends = std::mem::take(&mut self.appends);
            (self.streams, self.producers) = Default::default();
            for event in events {
                self.push_event(event.given, event.recorded);
            }
            appends.into_iter().filter(|append| append.end <= end).for_each(|append| self.push_append(append));
        }
        (self.durable, self.written, self.seen) = (end, end, end);
    }

    /// Whether a log may end there: no append is taken apart.
    pub fn is_end(&self, end: u64) -> bool {
        end == 0 || self.appends.binary_search_by_key(&end, |append| append.end).is_ok()
    }

    /// Holds an event against the one that was given at its offset.
    pub fn check_event(&self, event: EventRef<'_>) -> Result<(), Broken> {
        let offset = event.offset().raw();
        let Some(stored) = self.events.get(offset as usize) else {
            return Err(format!("event {offset} was never appended"));
        };
        let given = &stored.given;
        ensure!(event.stream() == self.name(given.stream), "event {offset} is of stream {}", event.stream());
        ensure!(event.version().raw() == stored.version, "event {offset} has version {}", event.version());
        let is_position = given.kind == POSITION;
        let kind = if is_position { "Position".to_owned() } else { type_name(given.kind) };
        ensure!(event.event_type() == kind, "event {offset} has type {}, not {kind}", event.event_type());
        ensure!(given.is_data(event.data()), "event {offset} has other data than was appended");
        ensure!(given.extras().are_of(event), "event {offset} has another id, source, content type or headers");
        let recorded = event.recorded().as_micros();
        ensure!(recorded == stored.recorded, "event {offset} was recorded at {}, says {recorded}", stored.recorded);
        let time = given.time.unwrap_or(stored.recorded);
        ensure!(
            event.time().as_micros() == time,
            "event {offset} happened at {time}, says {}",
            event.time().as_micros()
        );
        Ok(())
    }

    /// The versions of a range of events.
    pub fn versions(&self, first: u64, end: u64) -> Vec<u64> {
        self.events[first as usize..end as usize].iter().map(|event| event.version).collect()
    }

    /// When an event was recorded; 0 where there is none.
    pub fn recorded(&self, offset: u64) -> i64 {
        self.events.get(offset as usize).map_or(0, |event| event.recorded)
    }

    /// The streams of the log's own sources: name of the source, and offset, version and data of its last position.
    pub fn sources(&self) -> Vec<(String, u64, u64, Vec<u8>)> {
        let own = self
            .streams
            .iter()
            .filter_map(|(stream, last)| Some((self.name(*stream).strip_prefix("$source/")?, *last)));
        own.map(|(name, (version, offset))| {
            (name.to_owned(), offset, version, self.events[offset as usize].given.data())
        })
        .collect()
    }

    /// All streams that have events.
    pub fn streams(&self) -> Vec<u32> {
        self.streams.keys().copied().collect()
    }

    fn is_system(&self, offset: u64) -> bool {
        self.name(self.events[offset as usize].given.stream).starts_with('$')
    }

    /// Offsets of users' events that a reader has to give for a range.
    fn users(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = u64> + '_ {
        (from..to.min(self.next())).filter(|offset| !self.is_system(*offset))
    }
}

/// Type of the events that note a source's position.
pub const POSITION: u8 = u8::MAX;

/// Why a check could not be made or did not hold.
#[derive(Debug)]
pub enum Failed {
    /// The log said that it cannot answer.
    Refused(ReadError),
    /// The answer is wrong.
    Broken(Broken),
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Failed::Refused(error)
    }
}

impl From<Broken> for Failed {
    fn from(what: Broken) -> Self {
        Failed::Broken(what)
    }
}

pub type Checked<T> = Result<T, Failed>;

macro_rules! ensure_checked {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(Failed::Broken(format!($($what)+)));
        }
    };
}

impl Model {
    /// Where reading ends now; all before counts as seen.
    pub fn check_end(&mut self, reader: &LogReader) -> Checked<u64> {
        let end = reader.durable_end()?.raw();
        ensure_checked!(end <= self.next(), "the durable end is {end}, but only {} events were appended", self.next());
        ensure_checked!(self.is_end(end), "the durable end {end} is within an append");
        ensure_checked!(reader.head()?.raw() == 0, "the log does not begin at 0");
        self.seen = self.seen.max(end);
        Ok(end)
    }

    /// Reads all events there are, the log's own too, by batches; returns how many there are.
    pub fn check_all(&mut self, reader: &LogReader) -> Checked<u64> {
        let end = self.check_end(reader)?;
        let mut next = 0;
        for batch in reader.batches(..) {
            let batch = batch?;
            for event in batch.events() {
                ensure_checked!(event.offset().raw() == next, "offset {} comes where {next} has to", event.offset());
                self.check_event(event)?;
                next += 1;
            }
        }
        ensure_checked!(next == end, "reading ends at {next}, the log at {end}");
        self.seen = self.seen.max(end);
        Ok(end)
    }

    /// Reads a range of the users' events, forward or backward.
    pub fn check_range(&mut self, reader: &LogReader, from: u64, to: u64, backward: bool) -> Checked<()> {
        let end = self.check_end(reader)?;
        let mut expected: Vec<u64> = self.users(from, to.min(end)).collect();
        let read = reader.read(Offset::from_raw(from)..Offset::from_raw(to));
        let read = if backward { read.backward() } else { read };
        if backward {
            expected.reverse();
        }
        self.check_list(read, &expected, "a range")?;
        self.seen = self.seen.max(to.min(end));
        Ok(())
    }

    /// Reads what a consumer has before it.
    pub fn check_consumed(&mut self, consumer: &Consumer, end: u64) -> Checked<()> {
        let expected: Vec<u64> = self.users(consumer.cursor().raw(), end).collect();
        self.check_list(consumer.read(), &expected, "for a consumer")?;
        self.seen = self.seen.max(end);
        Ok(())
    }

    /// Reads users' events of a stretch of time, and perhaps of one type.
    pub fn check_window(&mut self, reader: &LogReader, from: i64, to: i64, kind: Option<u8>) -> Checked<()> {
        let end = self.check_end(reader)?;
        let is_wanted = |offset: &u64| {
            let event = &self.events[*offset as usize];
            let time = event.given.time.unwrap_or(event.recorded);
            (from..to).contains(&time) && kind.is_none_or(|kind| kind == event.given.kind)
        };
        let expected: Vec<u64> = self.users(0, end).filter(is_wanted).collect();
        let mut read = reader.read(..).happened(Timestamp::from_micros(from)..Timestamp::from_micros(to));
        if let Some(kind) = kind {
            read = read.types([type_name(kind).as_str()]);
        }
        self.check_list(read, &expected, "a stretch of time")
    }

    /// Reads the events of one stream or type by the indexes.
    pub fn check_stream(&mut self, reader: &LogReader, stream: u32, from: u64, backward: bool) -> Checked<()> {
        let end = self.check_end(reader)?;
        let name = self.name(stream).to_owned();
        let of_stream = |offset: &u64| self.events[*offset as usize].given.stream == stream;
        let mut expected: Vec<u64> = (0..end).filter(of_stream).collect();
        let last = expected.last().map(|last| (self.events[*last as usize].version, *last));
        let version = reader.version(&name)?.map(Version::raw);
        ensure_checked!(version == last.map(|l| l.0), "stream {name} is said to be at {version:?}, it is at {last:?}");
        let found = reader.last(&name)?.map(|event| event.offset().raw());
        ensure_checked!(found == last.map(|l| l.1), "the last event of {name} is said to be {found:?}, not {last:?}");
        expected.retain(|offset| self.events[*offset as usize].version >= from);
        let read = reader.stream(&name).from(Version::from_raw(from));
        let read = if backward { read.backward() } else { read };
        if backward {
            expected.reverse();
        }
        self.check_list(read, &expected, &format!("stream {name}"))
    }

    /// Lists all streams and types.
    pub fn check_lists(&mut self, reader: &LogReader) -> Checked<()> {
        let end = self.check_end(reader)?;
        let mut streams = BTreeMap::new();
        let mut types: BTreeMap<String, u64> = BTreeMap::new();
        for offset in self.users(0, end) {
            let event = &self.events[offset as usize];
            streams.insert(self.name(event.given.stream).to_owned(), (event.version, offset));
            *types.entry(type_name(event.given.kind)).or_default() += 1;
        }
        let mut listed = BTreeMap::new();
        for info in reader.streams("*") {
            let info = info?;
            listed.insert(info.name, (info.version.raw(), info.last.raw()));
        }
        ensure_checked!(listed == streams, "the streams are {streams:?}, listed are {listed:?}");
        let listed: BTreeMap<String, u64> = reader.types()?.into_iter().collect();
        ensure_checked!(listed == types, "the types are {types:?}, listed are {listed:?}");
        Ok(())
    }

    /// Looks at one event, and for the place of a moment.
    pub fn check_places(&mut self, reader: &LogReader, offset: u64, at: i64) -> Checked<()> {
        let end = self.check_end(reader)?;
        match reader.get(Offset::from_raw(offset))? {
            Some(event) => {
                ensure_checked!(event.offset().raw() == offset && offset < end, "asked for {offset}, got another");
                self.check_event(event.borrow())?;
                self.seen = self.seen.max(offset + 1);
            }
            None => ensure_checked!(offset >= end, "event {offset} is said not to be there, the log ends at {end}"),
        }
        let found = reader.offset_recorded(Timestamp::from_micros(at))?.raw();
        let expected = self.events[..end as usize].partition_point(|event| event.recorded < at) as u64;
        ensure_checked!(found == expected, "recorded at {at} or later is {found}, has to be {expected}");
        Ok(())
    }

    fn check_list(
        &self,
        read: impl Iterator<Item = Result<Event, ReadError>>,
        expected: &[u64],
        what: &str,
    ) -> Checked<()> {
        let mut expected = expected.iter();
        for event in read {
            let event = event?;
            let (offset, due) = (event.offset().raw(), expected.next());
            ensure_checked!(due == Some(&offset), "reading {what} gives {offset} where {due:?} has to come");
            self.check_event(event.borrow())?;
        }
        let missing = expected.next();
        ensure_checked!(missing.is_none(), "reading {what} ends before {missing:?}");
        Ok(())
    }

    /// Holds a log's refusal of an append against what it has to be; the refusal rests on events up to the offset
    /// that is returned.
    pub fn check_refusal(&self, answer: &Answer, error: &AppendError) -> Result<u64, Broken> {
        let ok = match (answer, error) {
            (
                Answer::WrongVersion { stream, actual, last },
                AppendError::WrongVersion { stream: s, actual: a, last: l, .. },
            ) => {
                (self.name(*stream) == s && *actual == a.map(Version::raw) && *last == l.map(Offset::raw)).then_some(0)
            }
            (Answer::Gap { expected, rests_on }, AppendError::ProducerGap { expected: e, .. }) => {
                (expected == e).then_some(*rests_on)
            }
            (Answer::Fenced { epoch, rests_on }, AppendError::ProducerFenced { epoch: e, .. }) => {
                (epoch == e).then_some(*rests_on)
            }
            (Answer::Forgotten { oldest, rests_on }, AppendError::ProducerForgotten { oldest: o, .. }) => {
                (oldest == o).then_some(*rests_on)
            }
            (Answer::Conflict { first, end }, AppendError::ProducerConflict { first: f, next, .. }) => {
                (*first == f.raw() && *end == next.raw()).then_some(*end)
            }
            (Answer::Unknown, AppendError::UnknownProducer { .. }) => Some(0),
            _ => None,
        };
        ok.ok_or_else(|| format!("an append has to be answered by {answer:?}, but the log says: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use annals::Log;

    use super::*;

    fn wish(model: &mut Model, tags: &[u64]) -> Wish {
        let stream = model.stream("s");
        let given = |tag: &u64| Given { stream, kind: 0, tag: *tag, len: 20, time: None };
        let events = tags.iter().map(given).collect();
        Wish { events, source: None, expect: Vec::new(), producer: None, durability: Durability::Disk }
    }

    /// A log with three appends, and a model that was told of other things.
    fn broken(tell: impl Fn(&mut Model)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let mut model = Model::default();
        for tags in [&[1][..], &[2, 3], &[4]] {
            let wish = wish(&mut model, tags);
            let appended = log.append(model.append(&wish)).unwrap().wait().unwrap();
            model.push(&wish, appended.recorded().as_micros());
        }
        assert!(model.check_all(&log.reader()).is_ok_and(|end| end == 4));
        tell(&mut model);
        match model.check_all(&log.reader()) {
            Err(Failed::Broken(broken)) => broken,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_that_was_never_appended_is_found() {
        let what = broken(|model| model.cut(3));
        assert!(what.contains("only 3 events were appended"), "{what}");
    }

    #[test]
    fn an_append_that_is_taken_apart_is_found() {
        let what = broken(|model| {
            model.cut(3);
            let wish = wish(model, &[4, 5]);
            model.push(&wish, model.recorded(2));
        });
        assert!(what.contains("within an append"), "{what}");
    }

    #[test]
    fn other_data_another_version_and_another_time_are_found() {
        for (change, what) in [
            ((|stored: &mut Stored| stored.given.tag += 2) as fn(&mut Stored), "other data"),
            (|stored| stored.version += 1, "has version 1"),
            (|stored| stored.recorded += 1, "was recorded at"),
            (|stored| stored.given.stream = 1, "is of stream s"),
            (|stored| stored.given.kind = 1, "has type Type0"),
        ] {
            let said = broken(|model| {
                model.stream("other");
                change(&mut model.events[1]);
            });
            assert!(said.contains(what), "{said}");
        }
    }
}
