//! `annals import`: lines from outside become events, each exactly once.
//!
//! Every append holds the events of some lines and how far the input was read, and expects the position of
//! the append before. So events and position move together: whatever kills an import, the next one goes on
//! behind the last line that the log holds.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::HumanCount;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::{Append, Expect, Log, NewEvent, Offset, Receipt};

use super::consumed::{Consumed, Options, Position};
use super::failure::{Exit, Failure};
use super::fields::Found;
use super::input::Input;
use super::line::{Lines, Shape};
use super::output::{Out, counted, note};
use super::progress::Progress;
use super::target::{log_and_maybe, open_writer};
use super::time::parse_zone;

/// Lines of one append, and their bytes, at most; a longer line goes alone.
const APPEND_LINES: usize = 1000;
const APPEND_BYTES: usize = 256 * 1024;

/// Appends on their way to the disk at most, and their bytes.
const IN_FLIGHT: usize = 64;
const IN_FLIGHT_BYTES: usize = 8 * 1024 * 1024;

/// Import NDJSON, plain or zstd: run again after a kill, it goes on where it stopped
///
/// Each line becomes one event, its data the line's bytes. What was imported is noted in the log under the
/// name of the source; run again it takes only what is new. A line that cannot be taken stops the import;
/// those before it stay imported.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Directory of the log, made when it is not there; ANNALS_LOG when it is left out
    #[arg(value_name = "LOG")]
    log: Option<OsString>,
    /// File to read; `-`, or none, is stdin
    #[arg(value_name = "FILE|-")]
    file: Option<OsString>,
    /// Stream of a line: text with `{field}` or `{/json/pointer}`
    #[arg(long, value_name = "TPL")]
    stream: Option<String>,
    /// Type of a line
    #[arg(long = "type", value_name = "TPL")]
    event_type: Option<String>,
    /// Field, or JSON pointer, with the time of a line: RFC 3339, `YYYY-MM-DD[ HH:MM[:SS]]` or RFC 5322
    #[arg(long, value_name = "FIELD")]
    time: Option<String>,
    /// Id of a line
    #[arg(long, value_name = "TPL")]
    id: Option<String>,
    /// Name under which the log notes how far the input was read [default: the file's name]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// What the lines are
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    format: Format,
    /// Zone of times that name none, like `Europe/Berlin` or `+01:00` [default: UTC]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON of any kind
    Ndjson,
    /// What `annals export` writes; it needs no --stream and no --type
    Envelope,
}

impl ImportArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let (path, file) = log_and_maybe(self.log.clone(), self.file.clone(), "FILE")?;
        let file = file.unwrap_or_else(|| "-".into());
        let source = self.source_name(&file)?;
        let lines = self.lines(source.clone())?;
        let input = Input::open(&file)?;
        let log = open_writer(&path)?;
        let mut import = Import::new(log, source, self.options());
        let started = Instant::now();
        // What was read before an error stays, and is said with it.
        let outcome = import.start(&input).and_then(|rest| import.all(&input, rest, &lines));
        import.settle().map_err(|failure| failure.after(import.unknown()))?;
        outcome.map_err(|failure| failure.after(import.done()))?;
        import.log.clone().close()?;
        import.say(json, &path, &input, started)?;
        Ok(Exit::Done)
    }

    fn zone(&self) -> &str {
        self.zone.as_deref().unwrap_or("UTC")
    }

    /// The source's name; stdin has none unless it is given.
    fn source_name(&self, file: &OsString) -> Result<Option<String>, Failure> {
        if self.source.is_some() || file == "-" {
            return Ok(self.source.clone());
        }
        match Path::new(file).file_name().map(|name| name.to_str()) {
            Some(Some(name)) => Ok(Some(name.to_owned())),
            Some(None) => Err(Failure::usage("the file's name is no UTF-8, so it cannot name the source")
                .help("give the source a name: `--source NAME`")),
            None => Err(Failure::input(format!("{} is no file", file.to_string_lossy()))),
        }
    }

    fn lines(&self, source: Option<String>) -> Result<Lines, Failure> {
        let zone = parse_zone(self.zone()).map_err(Failure::usage)?;
        match self.format {
            Format::Envelope => self.no_templates().map(|()| Lines::Envelopes),
            Format::Ndjson => self.shape(source, zone).map(|shape| Lines::Ndjson(Box::new(shape))),
        }
    }

    fn shape(&self, source: Option<String>, zone: TimeZone) -> Result<Shape, Failure> {
        let (Some(stream), Some(event_type)) = (&self.stream, &self.event_type) else {
            return Err(Failure::usage("--stream and --type are missing")
                .help("for example `--stream 'order-{id}' --type '{event}'`; what `annals export` writes needs neither: `--format envelope`"));
        };
        let mut shape = Shape::new(stream, event_type, source).map_err(Failure::usage)?;
        if let Some(id) = &self.id {
            shape = shape.id(id).map_err(Failure::usage)?;
        }
        if let Some(time) = &self.time {
            shape = shape.time(time, zone).map_err(Failure::usage)?;
        }
        Ok(shape)
    }

    fn no_templates(&self) -> Result<(), Failure> {
        let given = [
            ("stream", &self.stream),
            ("type", &self.event_type),
            ("time", &self.time),
            ("id", &self.id),
            ("zone", &self.zone),
        ];
        match given.iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(Failure::usage(format!(
                "--{name} is of no use with --format envelope: envelopes say it themselves"
            ))),
            None => Ok(()),
        }
    }

    /// What decides which events the lines become.
    fn options(&self) -> Options {
        let format = match self.format {
            Format::Ndjson => "ndjson".to_owned(),
            Format::Envelope => "envelope".to_owned(),
        };
        let zone = self.time.as_ref().map(|_| self.zone().to_owned());
        [
            ("format", Some(format)),
            ("stream", self.stream.clone()),
            ("type", self.event_type.clone()),
            ("time", self.time.clone()),
            ("zone", zone),
            ("id", self.id.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)))
        .collect()
    }
}

/// An import under way.
struct Import {
    log: Log,
    source: Option<Source>,
    consumed: Consumed,
    /// Lines that were in the log before.
    resumed: u64,
    events: u64,
    first: Option<Offset>,
    /// With the bytes of the lines in each.
    in_flight: VecDeque<(Receipt, usize)>,
    in_flight_bytes: usize,
}

/// The source whose position moves with its events.
struct Source {
    name: String,
    options: Options,
    /// The position of the append before.
    expect: Expect,
}

impl Import {
    fn new(log: Log, source: Option<String>, options: Options) -> Self {
        let source = source.map(|name| Source { name, options, expect: Expect::None });
        Import {
            log,
            source,
            consumed: Consumed::default(),
            resumed: 0,
            events: 0,
            first: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        }
    }

    /// Goes to where the log says the source was read to, and proves that the input is the same up to there.
    /// Returns what was read beyond.
    fn start(&mut self, input: &Input) -> Result<Vec<u8>, Failure> {
        let Some(source) = &mut self.source else { return Ok(Vec::new()) };
        let Some(record) = self.log.source(&source.name) else { return Ok(Vec::new()) };
        source.expect = Expect::Last(record.offset);
        let position = Position::from_json(&record.position, &source.name)?;
        position.check_options(&source.options, &source.name)?;
        let name = source.name.clone();
        let changed = |what: &str| source_changed(&name, &position, &input.name, what);
        let mut rest = self.skip(input, &position)?.ok_or_else(|| changed("is shorter now"))?;
        if !self.consumed.is_at(&position) {
            return Err(changed("begins otherwise"));
        }
        self.consumed.lines = position.lines;
        self.resumed = position.lines;
        if self.consumed.line_is_open {
            if rest.is_empty() {
                rest = input.next_block()?.unwrap_or_default();
            }
            // The last line was taken at the end of the input; an LF since then only ends it.
            match rest.first() {
                None => {}
                Some(b'\n') => {
                    self.consumed.take(b"\n", 0);
                    rest.remove(0);
                }
                Some(_) => return Err(changed("goes on in its last line, which was taken as it was")),
            }
        }
        Ok(rest)
    }

    /// Takes the bytes before a position; `None` when there are not so many.
    fn skip(&mut self, input: &Input, position: &Position) -> Result<Option<Vec<u8>>, Failure> {
        let progress = Progress::of_bytes("checking", input.file_bytes);
        loop {
            let missing = position.bytes - self.consumed.bytes;
            if missing == 0 {
                return Ok(Some(Vec::new()));
            }
            let Some(mut block) = input.next_block()? else { return Ok(None) };
            progress.at(input.read_bytes());
            let here = usize::try_from(missing).unwrap_or(usize::MAX).min(block.len());
            let rest = block.split_off(here);
            self.consumed.take(&block, 0);
            if !rest.is_empty() {
                return Ok(Some(rest));
            }
        }
    }

    /// Takes all that is left of the input.
    fn all(&mut self, input: &Input, rest: Vec<u8>, lines: &Lines) -> Result<(), Failure> {
        let progress = Progress::of_bytes("importing", input.file_bytes);
        self.block(&rest, lines)?;
        while let Some(block) = input.next_block()? {
            self.block(&block, lines)?;
            progress.at(input.read_bytes());
        }
        Ok(())
    }

    /// Takes a block of whole lines, in one append or several.
    fn block(&mut self, block: &[u8], lines: &Lines) -> Result<(), Failure> {
        let (text, broken) = whole_lines(block);
        let mut found = Found::new();
        let mut events = Vec::new();
        // Behind the lines that are in the log, and behind those that are events already.
        let (mut from, mut to) = (0, 0);
        for line in text.split_inclusive('\n') {
            match lines.event(line.strip_suffix('\n').unwrap_or(line), &mut found) {
                Ok(event) => events.push(event),
                Err(why) => {
                    let failure = self.bad_line(events.len(), &why);
                    self.append(events, block.get(from..to).unwrap_or_default())?;
                    return Err(failure);
                }
            }
            to += line.len();
            let next = text.len() - to;
            if events.len() >= APPEND_LINES || to - from >= APPEND_BYTES || next == 0 {
                self.append(std::mem::take(&mut events), block.get(from..to).unwrap_or_default())?;
                from = to;
            }
        }
        if broken { Err(self.bad_line(0, "not UTF-8")) } else { Ok(()) }
    }

    /// What is wrong with the line behind those in the log and so many more.
    fn bad_line(&self, more: usize, why: &str) -> Failure {
        Failure::input(why).about(format!("line {}", self.consumed.lines + more as u64 + 1))
    }

    /// Appends the events of some lines, and how far the input was read with them.
    fn append(&mut self, events: Vec<NewEvent<'_>>, bytes: &[u8]) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        let lines = events.len() as u64;
        let mut append = Append::new().events(events);
        let mut consumed = self.consumed.clone();
        consumed.take(bytes, lines);
        if let Some(source) = &self.source {
            let position = consumed.position(&source.options).to_json()?;
            append = append.source(&source.name, position, source.expect);
        }
        while self.in_flight.len() >= IN_FLIGHT || (self.in_flight_bytes > IN_FLIGHT_BYTES) {
            self.wait_for_oldest()?;
        }
        let receipt = self.log.append(append)?;
        // The position is the last event of its append.
        let last = Offset::from_raw(receipt.planned().next().raw() - 1);
        if let Some(source) = &mut self.source {
            source.expect = Expect::Last(last);
        }
        self.first.get_or_insert(receipt.planned().first());
        self.in_flight.push_back((receipt, bytes.len()));
        self.in_flight_bytes += bytes.len();
        self.consumed = consumed;
        self.events += lines;
        Ok(())
    }

    fn wait_for_oldest(&mut self) -> Result<(), Failure> {
        match self.in_flight.pop_front() {
            Some((receipt, bytes)) => {
                self.in_flight_bytes -= bytes;
                receipt.wait().map(drop).map_err(Failure::from)
            }
            None => Ok(()),
        }
    }

    /// Waits until the disk has all that was appended.
    fn settle(&mut self) -> Result<(), Failure> {
        while !self.in_flight.is_empty() {
            self.wait_for_oldest()?;
        }
        Ok(())
    }

    /// What is in the log when the disk failed.
    fn unknown(&self) -> &'static str {
        match &self.source {
            Some(_) => "a rerun goes on behind the last line that was kept",
            None => "look which of the last lines were kept before they are imported again",
        }
    }

    /// What is in the log when the input could not be taken further.
    fn done(&self) -> String {
        match (&self.source, self.events) {
            (_, 0) if self.resumed > 0 => "nothing more was imported".to_owned(),
            (_, 0) => "nothing was imported".to_owned(),
            (Some(_), events) => format!(
                "{} before it imported, and a rerun goes on behind line {}",
                counted(events, "line"),
                HumanCount(self.consumed.lines)
            ),
            (None, events) => format!("{} before it imported", counted(events, "line")),
        }
    }

    fn say(&self, json: bool, path: &Path, input: &Input, started: Instant) -> Result<(), Failure> {
        let end = self.log.durable_end();
        if json {
            let mut out = Out::stdout();
            out.line(json!({
                "log": path.to_string_lossy(),
                "source": self.source.as_ref().map(|source| &source.name),
                "events": self.events,
                "first": self.first.map(Offset::raw),
                "durable_end": end.raw(),
                "lines": self.consumed.lines,
                "lines_before": self.resumed,
                "bytes": self.consumed.bytes,
            }))?;
            return out.flush();
        }
        let lines = HumanCount(self.consumed.lines);
        let Some(first) = self.first else {
            note(match self.resumed {
                0 => format!("nothing to import: {} has no line", input.name),
                _ => format!("nothing new: all {lines} lines of {} are in the log", input.name),
            });
            return Ok(());
        };
        if self.resumed > 0 {
            note(format_args!("went on behind line {}, as the log says", HumanCount(self.resumed)));
        }
        note(format_args!(
            "imported {}  offsets {first} to {end} (exclusive)  up to line {lines} of {}  durable  {:.1} s",
            counted(self.events, "event"),
            input.name,
            started.elapsed().as_secs_f64(),
        ));
        Ok(())
    }
}

/// The lines of a block up to the first that is no UTF-8, and whether there is one.
fn whole_lines(block: &[u8]) -> (&str, bool) {
    match std::str::from_utf8(block) {
        Ok(text) => (text, false),
        Err(error) => {
            let good = block.get(..error.valid_up_to()).and_then(|good| std::str::from_utf8(good).ok());
            let good = good.unwrap_or_default();
            let lines = good.rfind('\n').map_or(0, |last| last + 1);
            (good.get(..lines).unwrap_or_default(), true)
        }
    }
}

fn source_changed(source: &str, position: &Position, input: &str, what: &str) -> Failure {
    Failure::new(
        Exit::Conflict,
        "source_changed",
        format!(
            "{input} is not what was imported as the source `{source}`: of that, line 1 to {} ({} bytes) are in the log, and the input {what}",
            position.lines, position.bytes
        ),
    )
    .help("give the same input to go on, or import this one under another name: `--source NAME`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_before_one_that_is_no_utf8_are_whole() {
        assert_eq!(whole_lines(b"a\nb"), ("a\nb", false));
        assert_eq!(whole_lines(b"a\nb\xff\nc\n"), ("a\n", true));
        assert_eq!(whole_lines(b"\xff"), ("", true));
        assert_eq!(whole_lines(b""), ("", false));
    }
}
