//! How events are written out: columns for people, envelopes for programs, the bare data, or a hexdump.

use std::borrow::Cow;
use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use crate::{EventRef, Offset};

use super::commit;
use super::envelope;
use super::failure::Failure;
use super::fields::Fields;
use super::output::{Out, Style, columns, json_for_terminal, one_line, shorten, terminal_columns};
use super::template::Template;
use super::time::readable;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people; data is escaped, and on a terminal cut to its width
    Text,
    /// One envelope a line, without loss
    Json,
    /// The data as it is, and a line feed
    Raw,
    /// The data in hexadecimal and in ASCII
    Hex,
}

#[derive(Debug, Args)]
pub(super) struct FormatArgs {
    /// How events are written
    #[arg(short = 'o', long = "output", value_name = "FORMAT")]
    format: Option<Format>,
    /// A line of text with {field} or {/json/pointer} for what the envelope (-o json) holds:
    /// '{offset} {stream}@{version} {/data/amount}'
    #[arg(long, value_name = "TEXT", conflicts_with = "format")]
    template: Option<String>,
}

/// How a verb writes events.
#[derive(Debug)]
pub(super) enum Shape {
    Format(Format),
    Template(Box<LineTemplate>),
}

impl FormatArgs {
    /// The format, with `--json` as another word for `-o json`.
    pub(super) fn choose(&self, json: bool) -> Result<Shape, Failure> {
        match (self.format, &self.template) {
            (_, Some(_)) if json => {
                Err(Failure::usage("--json asks for an envelope and --template for a text: leave one of them out"))
            }
            (_, Some(template)) => LineTemplate::parse(template)
                .map(|template| Shape::Template(Box::new(template)))
                .map_err(Failure::usage),
            (None, None) if json => Ok(Shape::Format(Format::Json)),
            (None, None) => Ok(Shape::Format(Format::Text)),
            (Some(format), None) if !json || format == Format::Json => Ok(Shape::Format(format)),
            (Some(_), None) => {
                Err(Failure::usage("--json is -o json, but -o asks for something else: leave one of them out"))
            }
        }
    }
}

/// A text with places for what an envelope holds.
#[derive(Debug)]
pub(super) struct LineTemplate {
    fields: Fields,
    template: Template,
}

impl LineTemplate {
    fn parse(text: &str) -> Result<Self, String> {
        let mut fields = Fields::default();
        let template = Template::parse(text, &mut fields)?;
        if let Some(unknown) = fields.names().find(|name| !envelope::KEYS.contains(name)) {
            return Err(format!(
                "in `{text}` the field `{unknown}` is none of an event: there are {}; /data/… looks into the data",
                envelope::KEYS.join(", ")
            ));
        }
        Ok(LineTemplate { fields, template })
    }

    /// The text for an envelope. It stays on a line: control characters of the event are shown as escapes.
    fn fill(&self, envelope: &str) -> Result<String, Failure> {
        let mut found = Vec::new();
        self.fields.find(envelope, &mut found).map_err(Failure::input)?;
        self.template.fill_safely(&found, one_line).map_err(Failure::input)
    }
}

/// Writes events to stdout, one after the other.
pub(super) struct Printer {
    out: Out,
    shape: Shape,
    table: Table,
    json: Vec<u8>,
    text: String,
    /// Hexdumps of more than one event have titles.
    titles: bool,
    printed: u64,
}

impl Printer {
    /// For the events below an offset.
    pub(super) fn many(shape: Shape, end: Offset) -> Self {
        let out = Out::stdout();
        let fit = out.is_terminal().then(terminal_columns);
        Printer::new(out, shape, Table::new(end, fit), true)
    }

    /// For one event, which is shown as a whole.
    pub(super) fn one(shape: Shape, offset: Offset) -> Self {
        Printer::new(Out::stdout(), shape, Table::new(offset, None), false)
    }

    fn new(out: Out, shape: Shape, table: Table, titles: bool) -> Self {
        Printer { out, shape, table, json: Vec::new(), text: String::new(), titles, printed: 0 }
    }

    pub(super) fn printed(&self) -> u64 {
        self.printed
    }

    pub(super) fn event(&mut self, event: EventRef<'_>) -> Result<(), Failure> {
        self.printed += 1;
        let format = match &self.shape {
            Shape::Format(format) => *format,
            Shape::Template(template) => {
                self.json.clear();
                envelope::encode(event, &mut self.json)?;
                return self.out.line(template.fill(&String::from_utf8_lossy(&self.json))?);
            }
        };
        match format {
            Format::Raw => {
                self.out.write(event.data())?;
                self.out.write(b"\n")
            }
            Format::Json => {
                self.json.clear();
                envelope::encode(event, &mut self.json)?;
                commit::add(event, &mut self.json);
                self.json.push(b'\n');
                if self.out.is_terminal() {
                    self.out.write(json_for_terminal(&String::from_utf8_lossy(&self.json)).as_bytes())
                } else {
                    self.out.write(&self.json)
                }
            }
            Format::Text => {
                self.text.clear();
                if self.printed == 1 {
                    let (dim, plain) = (self.out.style(Style::Dim), self.out.style(Style::Plain));
                    let _ = writeln!(self.text, "{dim}{}{plain}", self.table.head());
                }
                self.table.row(event, &mut self.text);
                self.out.write(self.text.as_bytes())
            }
            Format::Hex => {
                self.text.clear();
                if self.titles {
                    let (dim, plain) = (self.out.style(Style::Dim), self.out.style(Style::Plain));
                    let _ = writeln!(self.text, "{dim}{}{plain}", title(event));
                }
                hexdump(event.data(), &mut self.text);
                self.out.write(self.text.as_bytes())
            }
        }
    }

    /// Hands on what it holds back: where someone may be waiting for it, and at the end.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush()
    }

    /// Whether nobody is left to read what is written.
    pub(super) fn is_unheard(&self) -> bool {
        self.out.is_unheard()
    }
}

const GAP: &str = "  ";
const TIME_COLUMNS: usize = "2026-11-23 12:00:00.123".len();

/// Columns that grow with what goes by: nothing is held back to line it up.
struct Table {
    offset: usize,
    stream: usize,
    event_type: usize,
    /// Columns of the terminal; `None` elsewhere, where nothing is cut.
    fit: Option<usize>,
}

impl Table {
    fn new(end: Offset, fit: Option<usize>) -> Self {
        Table { offset: end.to_string().len().max("OFFSET".len()), stream: 12, event_type: 12, fit }
    }

    fn head(&self) -> String {
        let Table { offset, stream, event_type, .. } = self;
        format!("{:>offset$}  {:TIME_COLUMNS$}  {:stream$}  {:event_type$}  DATA", "OFFSET", "TIME", "STREAM", "TYPE")
    }

    fn row(&mut self, event: EventRef<'_>, to: &mut String) {
        let cut = |name, part: usize| match self.fit {
            Some(fit) => shorten(name, fit / part),
            None => Cow::Borrowed(name),
        };
        let safe = (one_line(event.stream()), one_line(event.event_type()));
        let (stream, event_type) = (cut(&safe.0, 4), cut(&safe.1, 5));
        self.stream = self.stream.max(columns(&stream));
        self.event_type = self.event_type.max(columns(&event_type));
        let offset = self.offset;
        let _ = write!(to, "{:>offset$}  {:TIME_COLUMNS$}  ", event.offset(), readable(event.time()));
        pad(&stream, self.stream, to);
        pad(&event_type, self.event_type, to);
        let data = data_as_text(event.data());
        match self.fit {
            Some(fit) => {
                let used = offset + TIME_COLUMNS + self.stream + self.event_type + 4 * GAP.len();
                to.push_str(&shorten(&data, fit.saturating_sub(used).max(16)));
            }
            None => to.push_str(&data),
        }
        to.truncate(to.trim_end_matches(' ').len());
        to.push('\n');
    }
}

fn pad(text: &str, width: usize, to: &mut String) {
    to.push_str(text);
    to.extend(std::iter::repeat_n(' ', width.saturating_sub(columns(text))));
    to.push_str(GAP);
}

/// The data on one line, and harmless for a terminal. What is no text is shown by its first bytes.
fn data_as_text(data: &[u8]) -> Cow<'_, str> {
    const SHOWN: usize = 16;
    match std::str::from_utf8(data) {
        Ok(text) if !text.contains('\0') => one_line(text),
        _ => {
            let mut text = format!("<binary {} bytes>", data.len());
            for byte in data.iter().take(SHOWN) {
                let _ = write!(text, " {byte:02x}");
            }
            if data.len() > SHOWN {
                text.push_str(" …");
            }
            Cow::Owned(text)
        }
    }
}

fn title(event: EventRef<'_>) -> String {
    format!(
        "offset {}  {}@{}  {}  {} bytes",
        event.offset(),
        one_line(event.stream()),
        event.version(),
        one_line(event.event_type()),
        event.data().len()
    )
}

/// Sixteen bytes a line: place, bytes, and those of them that are ASCII.
fn hexdump(data: &[u8], to: &mut String) {
    for (line, bytes) in data.chunks(16).enumerate() {
        let _ = write!(to, "{:08x} ", line * 16);
        for place in 0..16 {
            let gap = if place == 8 { " " } else { "" };
            let _ = match bytes.get(place) {
                Some(byte) => write!(to, "{gap} {byte:02x}"),
                None => write!(to, "{gap}   "),
            };
        }
        to.push_str("  |");
        to.extend(
            bytes.iter().map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' }),
        );
        to.push_str("|\n");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::batch::{Batch, Header, Kind, OpenBatch, Salt};
    use crate::{Event, NewEvent, Timestamp};

    fn batch(events: &[NewEvent<'_>]) -> Batch {
        let mut open = OpenBatch::new(Vec::new(), Kind::Events, 7, 1000);
        for event in events {
            let stream = open.stream(&event.stream, 0, None);
            open.begin_append(1000);
            open.event(event, stream);
        }
        let mut closed = open.close(0);
        closed.seal(Salt(99), 4096, Default::default(), 0);
        let Ok(header) = Header::decode(&closed.bytes, Salt(99), 4096) else { panic!("it was just written") };
        let body = Bytes::copy_from_slice(&closed.bytes[header.header_len..header.batch_len()]);
        Batch::decode(header, body, Salt(99)).unwrap()
    }

    fn rows(fit: Option<usize>, events: &[NewEvent<'_>]) -> Vec<String> {
        let mut table = Table::new(Offset::from_raw(1234), fit);
        let mut text = String::new();
        batch(events).events().for_each(|event| table.row(event, &mut text));
        text.lines().map(str::to_owned).collect()
    }

    fn event(data: &[u8]) -> NewEvent<'_> {
        Event::new("order-17", "Placed").data(data).time(Timestamp::from_micros(5_000))
    }

    #[test]
    fn a_row_is_columns_for_people() {
        assert_eq!(
            rows(None, &[event(b"{\"user\":7}"), event(b"")]),
            [
                r#"     7  1970-01-01 00:00:00.005  order-17      Placed        {"user":7}"#,
                r"     8  1970-01-01 00:00:00.005  order-17      Placed",
            ]
        );
        let head = Table::new(Offset::from_raw(1234), None).head();
        assert_eq!(head, "OFFSET  TIME                     STREAM        TYPE          DATA");
    }

    #[test]
    fn nothing_in_a_payload_can_steer_a_terminal() {
        let hostile = "\x1b]0;owned\x07\x1b[2J\n\r\u{9b}31m\u{7f}";
        for fit in [None, Some(200)] {
            let rows = rows(fit, &[event(hostile.as_bytes())]);
            assert_eq!(rows.len(), 1);
            assert!(!rows[0].contains(char::is_control), "{rows:?}");
            assert!(rows[0].contains(r"\u{1b}[2J\n\r\u{9b}31m\u{7f}"), "{rows:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_shown_by_its_first_bytes() {
        assert_eq!(data_as_text(b"\x89PNG"), "<binary 4 bytes> 89 50 4e 47");
        assert_eq!(data_as_text(&[0; 17]), format!("<binary 17 bytes>{} …", " 00".repeat(16)));
    }

    #[test]
    fn a_row_fits_its_terminal_and_is_whole_elsewhere() {
        let long = "x".repeat(500);
        let wide = Event::new("日本".repeat(100), "T".repeat(300)).data(long.as_bytes());
        for fit in [100, 120, 200] {
            for row in rows(Some(fit), &[event(long.as_bytes()), wide.clone()]) {
                assert!(columns(&row) <= fit && row.ends_with('…'), "{fit}: {row}");
            }
        }
        assert!(rows(None, &[event(long.as_bytes())])[0].ends_with(&long));
    }

    #[test]
    fn a_hexdump_is_the_usual_one() {
        let mut text = String::new();
        hexdump(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR!", &mut text);
        assert_eq!(
            text,
            "00000000  89 50 4e 47 0d 0a 1a 0a  00 00 00 0d 49 48 44 52  |.PNG........IHDR|\n\
             00000010  21                                                |!|\n"
        );
    }

    #[test]
    fn json_is_a_word_for_a_format_and_cannot_contradict_another() {
        let choose = |format, json| match (FormatArgs { format, template: None }.choose(json)) {
            Ok(Shape::Format(format)) => Some(format),
            _ => None,
        };
        assert_eq!(choose(None, false), Some(Format::Text));
        assert_eq!(choose(None, true), Some(Format::Json));
        assert_eq!(choose(Some(Format::Json), true), Some(Format::Json));
        assert_eq!(choose(Some(Format::Raw), false), Some(Format::Raw));
        assert_eq!(choose(Some(Format::Raw), true), None);
        let template = Some("{offset}".to_owned());
        assert!(FormatArgs { format: None, template }.choose(true).is_err());
    }

    #[test]
    fn a_template_shows_what_an_envelope_holds_on_one_line() {
        let envelope = r#"{"offset":7,"stream":"a\nb","version":2,"headers":{"k":"v"},"data":{"n":1.50}}"#;
        for (template, text) in [
            ("{offset}\t{stream}@{version}", "7\ta\\nb@2"),
            ("{/data/n} {data} {/headers/k}{id}", r#"1.50 {"n":1.50} v"#),
            ("{{}}", "{}"),
        ] {
            assert_eq!(LineTemplate::parse(template).unwrap().fill(envelope).unwrap(), text);
        }
        assert!(LineTemplate::parse("{ofset}").unwrap_err().contains("`ofset`"));
        assert!(LineTemplate::parse("{/dat/n}").is_err());
    }
}
