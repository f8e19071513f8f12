//! The one way to stdout and to stderr: buffered, quiet when the pipe closes, safe for a terminal.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;

use super::failure::Failure;

const BUFFER_BYTES: usize = 64 * 1024;

/// Standard output of a verb. What it holds back is written when it is dropped.
///
/// It never panics: a reader that goes away ends the verb quietly, with exit code 0.
pub(super) struct Out {
    to: BufWriter<StdoutLock<'static>>,
    terminal: bool,
    colour: bool,
}

impl Out {
    pub(super) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let colour = !matches!(anstream::AutoStream::choice(&stdout), anstream::ColorChoice::Never);
        Out { to: BufWriter::with_capacity(BUFFER_BYTES, stdout.lock()), terminal, colour }
    }

    /// Whether a person looks at it.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether nobody is left to read it: the other end of the pipe is closed. Writing would tell, but who waits
    /// for events may have nothing to write for a long time.
    pub(super) fn is_unheard(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let stdout = io::stdout();
            let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let told = poll(&mut polled, Some(&at_once)).is_ok_and(|told| told > 0);
            told && polled.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
        }
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// A style's escape sequence, or nothing when there is no colour.
    pub(super) fn style(&self, style: Style) -> &'static str {
        if self.colour { style.sequence() } else { "" }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(failed)
    }

    pub(super) fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.to, "{text}").map_err(failed)
    }

    /// A record of an answer, as JSON on a line of its own.
    pub(super) fn json(&mut self, record: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(record).map_err(|error| Failure::io("cannot write JSON", &error.into()))?;
        if self.terminal { self.line(json_for_terminal(&line)) } else { self.line(line) }
    }

    /// Hands everything on; to be called where someone may be waiting for it, and at the end.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::io("cannot write to stdout", &error)
}

/// The few styles there are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Plain,
    Dim,
    Bold,
    Good,
    Bad,
}

impl Style {
    fn sequence(self) -> &'static str {
        match self {
            Style::Plain => "\x1b[0m",
            Style::Dim => "\x1b[2m",
            Style::Bold => "\x1b[1m",
            Style::Good => "\x1b[32m",
            Style::Bad => "\x1b[1;31m",
        }
    }
}

/// Whether stderr takes colours.
pub(super) fn stderr_colour() -> bool {
    !matches!(anstream::AutoStream::choice(&io::stderr()), anstream::ColorChoice::Never)
}

/// A line for the person, on stderr. That nobody listens there is no reason to stop.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", one_line(&text.to_string()));
}

/// The same for a script: JSON on a line of its own.
pub(super) fn note_json(record: &serde_json::Value) {
    let _ = writeln!(io::stderr().lock(), "{record}");
}

/// A number of things: `1 event`, `1,234 events`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", indicatif::HumanCount(number), if number == 1 { "" } else { "s" })
}

/// Columns of the terminal; COLUMNS says otherwise.
pub(super) fn terminal_columns() -> usize {
    const COLUMNS_UNLESS_SAID: usize = 100;
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let said = said.or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0.into()));
    said.filter(|columns| (20..=10_000).contains(columns)).unwrap_or(COLUMNS_UNLESS_SAID)
}

/// What is wrong with a line of JSON: a line is line 1 to whoever reads it alone, so that is left out.
pub(super) fn json_error(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at byte ")
}

/// Control characters, and those that turn the direction of the text behind them.
fn steers(char: char) -> bool {
    char.is_control() || matches!(u32::from(char), 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069)
}

/// The text with its control characters shown as escapes, so that it stays on one line and cannot
/// steer a terminal.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if steers(char) {
            safe.extend(char.escape_default());
        } else {
            safe.push(char);
        }
    }
    Cow::Owned(safe)
}

/// JSON text without what can steer a terminal: DEL and the C1 controls, which JSON allows only inside
/// strings and where an escape means the same.
pub(super) fn json_for_terminal(json: &str) -> Cow<'_, str> {
    let steers = |char: char| steers(char) && char != '\n' && char != '\t';
    if !json.contains(steers) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 8);
    for char in json.chars() {
        if steers(char) {
            let _ = write!(safe, "\\u{:04x}", u32::from(char));
        } else {
            safe.push(char);
        }
    }
    Cow::Owned(safe)
}

/// The text cut to a number of terminal columns, with `…` where something is missing.
pub(super) fn shorten(text: &str, columns: usize) -> Cow<'_, str> {
    let mut used = 0;
    // Where the cut would be if the rest does not fit: one column is kept for the mark.
    let mut cut = 0;
    for (at, char) in text.char_indices() {
        if used < columns {
            cut = at;
        }
        used += char_columns(char);
        if used > columns {
            return Cow::Owned(format!("{}…", text.get(..cut).unwrap_or_default()));
        }
    }
    Cow::Borrowed(text)
}

/// Columns a text takes on a terminal.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

/// Columns a character takes, near enough for lining up: East Asian and pictures are wide, marks that
/// combine take none.
fn char_columns(char: char) -> usize {
    match u32::from(char) {
        0x0300..=0x036f | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x2069 | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0x1f300..=0x1faff
        | 0x20000..=0x3ffff => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_reach_a_terminal() {
        assert_eq!(one_line("a\x1b[31mred\nb\u{9b}"), "a\\u{1b}[31mred\\nb\\u{9b}");
        assert_eq!(one_line("Ünïcode, עברית, 日本"), "Ünïcode, עברית, 日本");
        assert_eq!(one_line("a\u{202e}b"), "a\\u{202e}b", "nor turn the text behind them");
        assert_eq!(json_for_terminal("{\"a\":\"\u{9b}2J\u{7f}\"}"), "{\"a\":\"\\u009b2J\\u007f\"}");
    }

    #[test]
    fn numbers_of_things_are_counted() {
        assert_eq!([0, 1, 1234].map(|n| counted(n, "event")), ["0 events", "1 event", "1,234 events"]);
    }

    #[test]
    fn a_shortened_text_fits_and_shows_that_it_was_cut() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("日本語", 5), "日本…");
        assert_eq!(shorten("日本語", 6), "日本語");
        assert_eq!(shorten("abc", 0), "…");
    }
}
