//! How far a source was read: bytes, lines, a hash of them, and the options they were read with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::failure::{Exit, Failure};

/// What was taken of an input from its beginning.
#[derive(Clone, Default)]
pub(super) struct Consumed {
    pub(super) bytes: u64,
    pub(super) lines: u64,
    hash: Xxh3,
    /// Whether the last line was taken without an LF, because the input ended there.
    pub(super) line_is_open: bool,
}

impl Consumed {
    /// Takes more: these bytes, which end so many lines.
    pub(super) fn take(&mut self, bytes: &[u8], lines: u64) {
        let Some(last) = bytes.last() else { return };
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.lines += lines;
        self.line_is_open = *last != b'\n';
    }

    /// What the log is to remember of it.
    pub(super) fn position(&self, options: &Options) -> Position {
        Position { bytes: self.bytes, lines: self.lines, xxh3: self.digest(), options: options.clone() }
    }

    /// Whether it is what was taken up to a position.
    pub(super) fn is_at(&self, position: &Position) -> bool {
        self.bytes == position.bytes && self.digest() == position.xxh3
    }

    fn digest(&self) -> String {
        format!("{:032x}", self.hash.digest128())
    }
}

/// The options that decide which events the lines become, by their names.
pub(super) type Options = BTreeMap<String, String>;

/// How far a source was read, as it stands in the log: JSON, the data of the last event of `$source/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Plain bytes taken, from the beginning of the input.
    pub(super) bytes: u64,
    /// Lines taken.
    pub(super) lines: u64,
    /// XXH3 of these bytes, 128 bits in hex.
    xxh3: String,
    /// What they were read with.
    options: Options,
}

impl Position {
    pub(super) fn to_json(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(self).map_err(Failure::input)
    }

    /// Reads a position that an import noted under the name of a source.
    pub(super) fn from_json(json: &[u8], source: &str) -> Result<Position, Failure> {
        serde_json::from_slice(json).map_err(|_| {
            Failure::new(
                Exit::Conflict,
                "source_changed",
                format!("the source `{source}` of this log was not written by `annals import`"),
            )
            .help("import under another name: `--source NAME`")
        })
    }

    /// Refuses to go on with other options: the lines would become other events.
    pub(super) fn check_options(&self, options: &Options, source: &str) -> Result<(), Failure> {
        let Some(changed) =
            self.options.keys().chain(options.keys()).find(|name| self.options.get(*name) != options.get(*name))
        else {
            return Ok(());
        };
        let said = |options: &Options| match options.get(changed) {
            Some(value) => format!("--{changed} '{value}'"),
            None => format!("no --{changed}"),
        };
        Err(Failure::new(
            Exit::Conflict,
            "options_changed",
            format!("the source `{source}` was imported with {}, now with {}", said(&self.options), said(options)),
        )
        .help("go on with the options of before, or take all lines anew under another name: `--source NAME`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_steps_in_which_it_was_taken_do_not_matter() {
        let mut whole = Consumed::default();
        whole.take(b"one\ntwo\nthree", 3);
        let position = whole.position(&Options::new());
        let mut steps = Consumed::default();
        for step in [b"one\ntw".as_slice(), b"", b"o\nthr"] {
            steps.take(step, 1);
            assert!(!steps.is_at(&position));
        }
        steps.take(b"ee", 1);
        assert!(steps.is_at(&position) && steps.line_is_open);
        steps.take(b"\n", 0);
        assert!(!steps.is_at(&position) && !steps.line_is_open);
    }

    #[test]
    fn a_position_comes_back_as_it_was() {
        let mut consumed = Consumed::default();
        consumed.take(b"{}\n", 1);
        let position = consumed.position(&options(&[("stream", "{a}\"")]));
        let json = position.to_json().unwrap();
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            r#"{"bytes":3,"lines":1,"xxh3":"HASH","options":{"stream":"{a}\""}}"#.replace("HASH", &consumed.digest())
        );
        assert_eq!(Position::from_json(&json, "s").unwrap(), position);
        assert_eq!(Position::from_json(b"{}", "s").unwrap_err().exit(), Exit::Conflict);
    }

    #[test]
    fn other_options_are_refused_and_named() {
        let position = Consumed::default().position(&options(&[("stream", "a"), ("type", "t")]));
        assert!(position.check_options(&options(&[("stream", "a"), ("type", "t")]), "s").is_ok());
        for (now, said) in [
            (options(&[("stream", "b"), ("type", "t")]), "with --stream 'a', now with --stream 'b'"),
            (options(&[("stream", "a"), ("type", "t"), ("time", "x")]), "with no --time, now with --time 'x'"),
            (options(&[("stream", "a")]), "with --type 't', now with no --type"),
        ] {
            let failure = position.check_options(&now, "s").unwrap_err();
            assert!(failure.message().contains(said), "{}", failure.message());
            assert_eq!(failure.exit(), Exit::Conflict);
        }
    }
}
