//! `annals dump`: what stands in one segment file, byte position by byte position.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::Timestamp;
use crate::batch::{Batch, BatchError, Codec, HEADER_BYTES, Kind, checked_body};
use crate::disk::{Disk, DiskFile, Mode, RealDisk};
use crate::event::Span;
use crate::segment::{
    Bytesource, Carry, Footer, PAGE_BYTES, RawBatch, Scan, ScanError, SegmentHeader, TRAILER_BYTES, Trailer, TypeEntry,
    last_nonzero, next_good, read_header, read_trailer,
};

use super::failure::{Exit, Failure};
use super::output::{Out, Style, one_line};
use super::time::rfc3339;

/// Show what stands in a segment file: headers, names, events and indexes with their byte positions
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// A file of a log, like LOG/00000000000000000000.seg
    #[arg(value_name = "SEGMENT")]
    segment: PathBuf,
}

impl DumpArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let path = self.segment.as_path();
        let file = open(path)?;
        let mut dump = Dump { path, file, out: Out::stdout(), json, damage: false };
        dump.run()?;
        dump.out.flush()?;
        Ok(if dump.damage { Exit::No } else { Exit::Done })
    }
}

fn open(path: &Path) -> Result<Arc<dyn DiskFile>, Failure> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Failure::usage(format!("{shown} is a directory, and one of its files is dumped at a time"))
            .help("give one of its .seg files; `annals stat` lists them, `annals cat` shows the events of all"));
    }
    RealDisk.open(path, Mode::Read).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(Exit::NotFound, "file_not_found", format!("there is no file {shown}")),
        _ => Failure::io(format!("cannot open {shown}"), &error),
    })
}

struct Dump<'p> {
    path: &'p Path,
    file: Arc<dyn DiskFile>,
    out: Out,
    json: bool,
    damage: bool,
}

impl Dump<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let len = self.file.len().map_err(|error| self.unreadable(&error))?;
        let read = read_header(&*self.file).map_err(|error| match error {
            ScanError::Io(error) => self.unreadable(&error),
            ScanError::Batch { error, .. } => self.not_a_segment(&error),
        })?;
        let header = read.header;
        self.part(&Part::header(&header, len))?;
        if !read.page_is_whole {
            self.damaged(0, "the first page is not what was written; one good copy of it is left", PAGE_BYTES as u64)?;
        }
        let trailer = read_trailer(&*self.file, &header).map_err(|error| self.unreadable(&error))?;
        let to = trailer.map_or(len, |_| len - TRAILER_BYTES as u64);
        let rest = self.batches(&header, to)?;
        match trailer {
            Some(trailer) => self.part(&Part::trailer(&trailer, to)),
            None => self.rest(rest, len),
        }
    }

    /// Shows the batches up to byte `to`; returns where no good batch follows, and whether a footer was seen.
    fn batches(&mut self, header: &SegmentHeader, to: u64) -> Result<Rest, Failure> {
        let scan = |at, base| Scan::new(Bytesource::File(Arc::clone(&self.file)), *header, at, to, Some(base));
        let mut batches = scan(PAGE_BYTES as u64, header.base.raw());
        let mut footer = false;
        loop {
            let at = batches.position();
            let shown = match batches.next() {
                Ok(None) => return Ok(Rest { at, footer, why: String::new() }),
                Ok(Some(batch)) => {
                    footer = batch.header.kind == Kind::Footer;
                    show(&batch, header).map(Some)
                }
                Err(ScanError::Io(error)) => return Err(self.unreadable(&error)),
                Err(ScanError::Batch { error, .. }) => Err(error),
            };
            match shown {
                Ok(part) => part.iter().try_for_each(|part| write_part(&mut self.out, self.json, part))?,
                Err(error @ BatchError::Unsupported(_)) => {
                    let what = format!("{} cannot be read on from byte {at}: {error}", self.path.display());
                    return Err(Failure::new(Exit::Damaged, "unsupported", what));
                }
                Err(BatchError::Corrupt(what)) => {
                    let good = next_good(&*self.file, header, at + 1).map_err(|error| self.unreadable(&error))?;
                    let Some((good_at, base)) = good.filter(|(good_at, _)| *good_at < to) else {
                        return Ok(Rest { at, footer, why: what.to_owned() });
                    };
                    self.damage = true;
                    let damage = Part::damage(at, what, good_at);
                    write_part(&mut self.out, self.json, &damage)?;
                    batches = scan(good_at, base);
                }
            }
        }
    }

    /// What stands behind the last good batch of a file without a trailer.
    fn rest(&mut self, rest: Rest, len: u64) -> Result<(), Failure> {
        let last = last_nonzero(&*self.file, rest.at).map_err(|error| self.unreadable(&error))?;
        match last {
            None => self.part(&Part::Unused { byte: rest.at, bytes: len - rest.at }),
            Some(_) if rest.footer && rest.at + TRAILER_BYTES as u64 == len => {
                self.damaged(rest.at, "the trailer is not what was written", len)
            }
            Some(last) => self.part(&Part::Torn { byte: rest.at, bytes: last + 1 - rest.at, what: rest.why }),
        }
    }

    fn part(&mut self, part: &Part<'_>) -> Result<(), Failure> {
        write_part(&mut self.out, self.json, part)
    }

    fn damaged(&mut self, byte: u64, what: &str, goes_on_at: u64) -> Result<(), Failure> {
        self.damage = true;
        self.part(&Part::damage(byte, what, goes_on_at))
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::io(format!("cannot read {}", self.path.display()), error)
    }

    fn not_a_segment(&self, error: &BatchError) -> Failure {
        let what = format!("{} is no segment of a log, or its first page is damaged: {error}", self.path.display());
        let code = if matches!(error, BatchError::Unsupported(_)) { "unsupported" } else { "damaged" };
        Failure::new(Exit::Damaged, code, what)
    }
}

/// Where good batches end.
struct Rest {
    at: u64,
    /// Whether the last one was the footer.
    footer: bool,
    why: String,
}

/// What is shown of a batch: itself, and what its body holds.
fn show<'b>(raw: &RawBatch, header: &SegmentHeader) -> Result<Part<'b>, BatchError> {
    let mut shown = BatchPart::of(raw);
    let payload = || {
        let body = checked_body(&raw.header, raw.stored.clone(), header.salt)?;
        Ok(body.slice(..raw.header.raw_len().min(body.len())))
    };
    match raw.header.kind {
        Kind::Events | Kind::System => {
            let batch = Batch::decode(raw.header.clone(), raw.stored.clone(), header.salt)?;
            shown.events(&batch, raw);
        }
        Kind::Carry => shown.carry = Some(CarryPart::of(Carry::decode(&payload()?)?)),
        Kind::Footer => shown.footer = Some(FooterPart::of(&Footer::decode(payload()?, header.base.raw())?)),
        Kind::Mark | Kind::CloseMark | Kind::Gap => {
            payload()?;
        }
    }
    Ok(Part::Batch(Box::new(shown)))
}

/// One piece of a segment file. As JSON one line each; keys are only ever added.
#[derive(Debug, Serialize)]
#[serde(tag = "part", rename_all = "snake_case")]
enum Part<'d> {
    Header {
        byte: u64,
        file_bytes: u64,
        log_id: String,
        number: u64,
        base: u64,
        created: String,
        salt: String,
        capacity: u32,
        tail_epoch: u32,
        previous_crc: String,
    },
    Batch(Box<BatchPart>),
    Trailer {
        byte: u64,
        base: u64,
        end: u64,
        footer_byte: u32,
        footer_bytes: u32,
        user_events: u64,
        system_events: u64,
        lost_events: u64,
        data_bytes: u64,
        recorded_first: Option<String>,
        recorded_last: Option<String>,
        time_min: Option<String>,
        time_max: Option<String>,
        last_body_crc: String,
        last_bytes: u32,
        tail_epoch: u32,
    },
    /// Zeros that wait to be written.
    Unused {
        byte: u64,
        bytes: u64,
    },
    /// Bytes behind the last good batch that are none.
    Torn {
        byte: u64,
        bytes: u64,
        what: String,
    },
    Damage {
        byte: u64,
        what: Cow<'d, str>,
        goes_on_at: u64,
    },
}

impl<'d> Part<'d> {
    fn header(header: &SegmentHeader, file_bytes: u64) -> Self {
        Part::Header {
            byte: 0,
            file_bytes,
            log_id: header.log_id.to_string(),
            number: header.number,
            base: header.base.raw(),
            created: rfc3339(header.created),
            salt: format!("{:016x}", header.salt.0),
            capacity: header.capacity,
            tail_epoch: header.tail_epoch.raw(),
            previous_crc: crc(header.previous_crc),
        }
    }

    fn trailer(trailer: &Trailer, byte: u64) -> Self {
        let events = trailer.user_events + trailer.system_events > 0;
        let time = |micros| events.then(|| micros_text(micros));
        Part::Trailer {
            byte,
            base: trailer.base,
            end: trailer.end,
            footer_byte: trailer.footer_at,
            footer_bytes: trailer.footer_len,
            user_events: trailer.user_events,
            system_events: trailer.system_events,
            lost_events: trailer.lost_events,
            data_bytes: trailer.data_bytes,
            recorded_first: time(trailer.recorded_first_us),
            recorded_last: time(trailer.recorded_last_us),
            time_min: time(trailer.time_min_us),
            time_max: time(trailer.time_max_us),
            last_body_crc: crc(trailer.last_body_crc),
            last_bytes: trailer.last_len,
            tail_epoch: trailer.tail_epoch,
        }
    }

    fn damage(byte: u64, what: &'d str, goes_on_at: u64) -> Self {
        Part::Damage { byte, what: Cow::Borrowed(what), goes_on_at }
    }
}

#[derive(Debug, Serialize)]
struct BatchPart {
    byte: u64,
    bytes: usize,
    kind: &'static str,
    base: u64,
    end: u64,
    records: u32,
    header_bytes: usize,
    body_bytes: usize,
    body_crc: String,
    codec: &'static str,
    records_bytes: usize,
    names_bytes: usize,
    appends_bytes: usize,
    recorded: String,
    recorded_span_us: u32,
    durable_hint: u64,
    tail_epoch: u32,
    previous_bytes: u32,
    previous_crc: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    streams: Vec<StreamPart>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    producers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    appends: Vec<AppendPart>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carry: Option<CarryPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    footer: Option<FooterPart>,
}

/// A stream as the batch names it: version of its first event here, offset of its event before.
#[derive(Debug, Serialize)]
struct StreamPart {
    name: String,
    version: u64,
    previous: Option<u64>,
}

#[derive(Debug, Serialize)]
struct AppendPart {
    first: u64,
    recorded_after_us: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer: Option<ProducerPart>,
}

#[derive(Debug, Serialize)]
struct ProducerPart {
    name: String,
    epoch: u32,
    sequence: u64,
    digest: String,
}

#[derive(Debug, Serialize)]
struct EventPart {
    offset: u64,
    stream: String,
    version: u64,
    #[serde(rename = "type")]
    event_type: String,
    time: String,
    /// Where its data stands in the file; not there when the body is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_byte: Option<u64>,
    data_bytes: u32,
}

#[derive(Debug, Serialize)]
struct CarryPart {
    streams: Vec<CarriedPart>,
    producers: Vec<CarriedProducerPart>,
}

#[derive(Debug, Serialize)]
struct CarriedPart {
    stream: String,
    offset: u64,
    version: u64,
    #[serde(rename = "type")]
    event_type: String,
    content_bytes: usize,
}

#[derive(Debug, Serialize)]
struct CarriedProducerPart {
    producer: String,
    epoch: u32,
    appends: usize,
    last_sequence: Option<u64>,
}

#[derive(Debug, Serialize)]
struct FooterPart {
    places: Vec<PlacePart>,
    streams: Vec<FooterStreamPart>,
    /// `None` when the segment has too many to list.
    types: Option<Vec<TypePart>>,
}

#[derive(Debug, Serialize)]
struct PlacePart {
    byte: u64,
    base: u64,
}

#[derive(Debug, Serialize)]
struct FooterStreamPart {
    hash: String,
    last_version: u64,
    last_offset: u64,
    system: bool,
    batches: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct TypePart {
    #[serde(rename = "type")]
    event_type: String,
    events: u64,
    batches: Vec<u64>,
}

impl BatchPart {
    fn of(raw: &RawBatch) -> Self {
        let header = &raw.header;
        BatchPart {
            byte: raw.at,
            bytes: header.batch_len(),
            kind: kind(header.kind),
            base: header.base_offset,
            end: header.end_offset(),
            records: header.record_count,
            header_bytes: header.header_len,
            body_bytes: header.body_len,
            body_crc: crc(header.body_crc),
            codec: codec(header.codec),
            records_bytes: header.records_len,
            names_bytes: header.names_len,
            appends_bytes: header.appends_len,
            recorded: micros_text(header.recorded_us),
            recorded_span_us: header.recorded_span_us,
            durable_hint: header.durable_hint,
            tail_epoch: header.tail_epoch,
            previous_bytes: header.prev_len,
            previous_crc: crc(header.prev_body_crc),
            streams: Vec::new(),
            types: Vec::new(),
            sources: Vec::new(),
            producers: Vec::new(),
            appends: Vec::new(),
            events: Vec::new(),
            carry: None,
            footer: None,
        }
    }

    fn events(&mut self, batch: &Batch, raw: &RawBatch) {
        let name = |span: &Span| String::from_utf8_lossy(batch.bytes_of(*span)).into_owned();
        let names = batch.names();
        self.streams.extend(names.streams.iter().map(|stream| StreamPart {
            name: name(&stream.name),
            version: stream.version,
            previous: stream.previous,
        }));
        self.types.extend(names.types.iter().map(name));
        self.sources.extend(names.sources.iter().map(name));
        self.producers.extend(names.producers.iter().map(name));
        self.appends.extend(batch.appends().iter().map(|append| AppendPart {
            first: raw.header.base_offset + u64::from(append.first_record),
            recorded_after_us: append.recorded_delta_us,
            producer: None,
        }));
        for entry in batch.producers() {
            let Some(append) = self.appends.get_mut(entry.append as usize) else { continue };
            append.producer = Some(ProducerPart {
                name: names.producers.get(usize::from(entry.producer)).map(name).unwrap_or_default(),
                epoch: entry.epoch,
                sequence: entry.sequence,
                digest: format!("{:032x}", entry.digest),
            });
        }
        let body_at = raw.at + raw.header.header_len as u64;
        let is_stored_as_it_is = raw.header.codec == Codec::None;
        self.events.extend(batch.events().map(|event| EventPart {
            offset: event.offset().raw(),
            stream: event.stream().to_owned(),
            version: event.version().raw(),
            event_type: event.event_type().to_owned(),
            time: rfc3339(event.time()),
            data_byte: is_stored_as_it_is.then_some(body_at + u64::from(event.parts.data.at)),
            data_bytes: event.parts.data.len,
        }));
    }
}

impl CarryPart {
    fn of(carry: Carry) -> Self {
        let streams = carry.streams.into_iter().map(|(stream, record)| CarriedPart {
            stream: stream.into(),
            offset: record.offset,
            version: record.version,
            event_type: record.event_type.into(),
            content_bytes: record.content.len(),
        });
        let producers = carry.producers.into_iter().map(|(producer, carried)| CarriedProducerPart {
            producer: producer.into(),
            epoch: carried.epoch,
            appends: carried.appends.len(),
            last_sequence: carried.appends.last().map(|append| append.sequence),
        });
        CarryPart { streams: streams.collect(), producers: producers.collect() }
    }
}

impl FooterPart {
    fn of(footer: &Footer) -> Self {
        let streams = footer.streams().map(|entry| FooterStreamPart {
            hash: format!("{:032x}", entry.hash.0),
            last_version: entry.last_version,
            last_offset: entry.last_offset,
            system: entry.system,
            batches: footer.batches_of(&entry).iter().collect(),
        });
        let event_type = |one: TypeEntry<'_>| TypePart {
            event_type: one.name.to_owned(),
            events: one.events,
            batches: one.batches().collect(),
        };
        FooterPart {
            places: footer.places().map(|place| PlacePart { byte: place.at, base: place.base }).collect(),
            streams: streams.collect(),
            types: footer.types().map(|types| types.into_iter().map(event_type).collect()),
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Events => "events",
        Kind::System => "system",
        Kind::Carry => "carry",
        Kind::Mark => "mark",
        Kind::CloseMark => "close_mark",
        Kind::Footer => "footer",
        Kind::Gap => "gap",
    }
}

fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "none",
        Codec::Lz4 => "lz4",
        Codec::Zstd => "zstd",
    }
}

fn crc(crc: u32) -> String {
    format!("{crc:08x}")
}

fn micros_text(micros: i64) -> String {
    rfc3339(Timestamp::from_micros(micros))
}

fn write_part(out: &mut Out, json: bool, part: &Part<'_>) -> Result<(), Failure> {
    if json {
        let line = serde_json::to_string(part).map_err(|error| Failure::io("cannot write JSON", &error.into()))?;
        return out.line(super::output::json_for_terminal(&line));
    }
    let (bold, bad, plain) = (out.style(Style::Bold), out.style(Style::Bad), out.style(Style::Plain));
    let style = if matches!(part, Part::Damage { .. } | Part::Torn { .. }) { bad } else { bold };
    let (word, rest) = text(part);
    out.line(format_args!("{style}{word:8}{plain} {}", one_line(&rest)))?;
    match part {
        Part::Batch(batch) => batch.lines().into_iter().try_for_each(|line| out.line(one_line(&line))),
        _ => Ok(()),
    }
}

/// The line of a part for people: its word, and the rest.
fn text(part: &Part<'_>) -> (&'static str, String) {
    match part {
        Part::Header {
            file_bytes, log_id, number, base, created, salt, capacity, tail_epoch, previous_crc, ..
        } => (
            "segment",
            format!(
                "byte 0..{PAGE_BYTES} of {file_bytes}  log {log_id}  number {number}  base {base}  created {created}  \
                 salt {salt}  capacity {capacity}  tail epoch {tail_epoch}  previous crc {previous_crc}"
            ),
        ),
        Part::Batch(batch) => ("batch", batch.line()),
        Part::Trailer { .. } => ("trailer", trailer_line(part)),
        Part::Unused { byte, bytes } => {
            ("unused", format!("byte {byte}..{}  zeros that wait to be written", byte + bytes))
        }
        Part::Torn { byte, bytes, what } => (
            "torn",
            format!(
                "byte {byte}..{}  {what}; no good batch follows: an interrupted write, unless `annals verify` of the \
                 log says otherwise",
                byte + bytes
            ),
        ),
        Part::Damage { byte, what, goes_on_at } => {
            ("damage", format!("byte {byte}..{goes_on_at}  {what}; what can be read goes on at byte {goes_on_at}"))
        }
    }
}

fn trailer_line(part: &Part<'_>) -> String {
    let Part::Trailer {
        byte,
        base,
        end,
        footer_byte,
        footer_bytes,
        user_events,
        system_events,
        lost_events,
        data_bytes,
        recorded_first,
        recorded_last,
        time_min,
        time_max,
        last_body_crc,
        last_bytes,
        tail_epoch,
    } = part
    else {
        return String::new();
    };
    let time = |time: &Option<String>| time.as_deref().unwrap_or("-").to_owned();
    format!(
        "byte {byte}..{}  offsets {base}..{end}  user events {user_events}  system events {system_events}  lost \
         {lost_events}  data bytes {data_bytes}  recorded {}..{}  time {}..{}  footer at byte {footer_byte}, \
         {footer_bytes} bytes  last batch {last_bytes} bytes, crc {last_body_crc}  tail epoch {tail_epoch}",
        byte + TRAILER_BYTES as u64,
        time(recorded_first),
        time(recorded_last),
        time(time_min),
        time(time_max),
    )
}

impl BatchPart {
    fn line(&self) -> String {
        let mut line = format!("byte {}..{}  {}", self.byte, self.byte + self.bytes as u64, self.kind);
        let mut add = |what: &str, value: &dyn Display| {
            let _ = write!(line, "  {what} {value}");
        };
        add("offsets", &format_args!("{}..{}", self.base, self.end));
        add("records", &self.records);
        add("crc", &self.body_crc);
        add("codec", &self.codec);
        add("body", &format_args!("{} bytes", self.body_bytes));
        add("records", &format_args!("{} bytes", self.records_bytes));
        add("names", &format_args!("{} bytes", self.names_bytes));
        add("appends", &format_args!("{} bytes", self.appends_bytes));
        add("recorded", &format_args!("{} +{} µs", self.recorded, self.recorded_span_us));
        add("durable hint", &self.durable_hint);
        add("tail epoch", &self.tail_epoch);
        add("previous", &format_args!("{} bytes, crc {}", self.previous_bytes, self.previous_crc));
        if self.header_bytes != HEADER_BYTES {
            add("header", &format_args!("{} bytes", self.header_bytes));
        }
        line
    }

    /// The lines below the batch's own: what its body holds.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (n, stream) in self.streams.iter().enumerate() {
            let previous = stream.previous.map_or("none".to_owned(), |previous| format!("offset {previous}"));
            lines.push(format!(
                "  stream {n}  {}  from version {}  event before: {previous}",
                stream.name, stream.version
            ));
        }
        for (what, names) in [("type", &self.types), ("source", &self.sources), ("producer", &self.producers)] {
            lines.extend(names.iter().enumerate().map(|(n, name)| format!("  {what} {n}  {name}")));
        }
        for (n, append) in self.appends.iter().enumerate() {
            let mut line = format!("  append {n}  from offset {}  +{} µs", append.first, append.recorded_after_us);
            if let Some(from) = &append.producer {
                let ProducerPart { name, epoch, sequence, digest } = from;
                let _ = write!(line, "  producer {name}  epoch {epoch}  sequence {sequence}  digest {digest}");
            }
            lines.push(line);
        }
        lines.extend(self.events.iter().map(EventPart::line));
        if let Some(carry) = &self.carry {
            carry.lines(&mut lines);
        }
        if let Some(footer) = &self.footer {
            footer.lines(&mut lines);
        }
        lines
    }
}

impl EventPart {
    fn line(&self) -> String {
        let EventPart { offset, stream, version, event_type, time, data_bytes, .. } = self;
        let place = self.data_byte.map_or(String::new(), |byte| format!(" at byte {byte}"));
        format!("  event {offset}  {stream}@{version}  {event_type}  {time}  {data_bytes} bytes{place}")
    }
}

impl CarryPart {
    fn lines(&self, lines: &mut Vec<String>) {
        for CarriedPart { stream, offset, version, event_type, content_bytes } in &self.streams {
            lines.push(format!("  carried {stream}@{version}  {event_type}  offset {offset}  {content_bytes} bytes"));
        }
        for CarriedProducerPart { producer, epoch, appends, last_sequence } in &self.producers {
            let last = last_sequence.map_or("-".to_owned(), |sequence| sequence.to_string());
            lines
                .push(format!("  carried producer {producer}  epoch {epoch}  appends {appends}  last sequence {last}"));
        }
    }
}

impl FooterPart {
    fn lines(&self, lines: &mut Vec<String>) {
        lines.extend(self.places.iter().map(|place| format!("  place  byte {}  offset {}", place.byte, place.base)));
        for FooterStreamPart { hash, last_version, last_offset, system, batches } in &self.streams {
            let system = if *system { "  the log's own" } else { "" };
            lines.push(format!(
                "  stream {hash}  last version {last_version}, offset {last_offset}  in batches at {batches:?}{system}"
            ));
        }
        match &self.types {
            None => lines.push("  types: too many to list".to_owned()),
            Some(types) => lines.extend(types.iter().map(|TypePart { event_type, events, batches }| {
                format!("  type {event_type}  {events} events  in batches at {batches:?}")
            })),
        }
    }
}
