//! Which events a reader wants: by stream pattern, by type, with or without the log's own.

use std::fmt::{self, Write as _};

/// A pattern for names: `*` stands for any run of characters, `\` takes the next one as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Runs of plain bytes between the stars.
    pieces: Vec<Vec<u8>>,
}

impl Pattern {
    /// Reads a pattern. Every text is one; a lone `\` at the end stands for itself.
    pub fn new(text: &str) -> Self {
        let mut pieces = vec![Vec::new()];
        let mut push = |byte: Option<u8>| match (byte, pieces.last_mut()) {
            (Some(byte), Some(piece)) => piece.push(byte),
            _ => pieces.push(Vec::new()),
        };
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'*' => push(None),
                b'\\' => push(Some(bytes.next().unwrap_or(b'\\'))),
                plain => push(Some(plain)),
            }
        }
        Pattern { pieces }
    }

    /// A pattern that only the name itself matches.
    pub fn literal(name: &str) -> Self {
        Pattern { pieces: vec![name.as_bytes().to_vec()] }
    }

    /// The one name that matches, when there are no stars.
    pub fn as_literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [only] => std::str::from_utf8(only).ok(),
            _ => None,
        }
    }

    /// Whether it names streams of the log's own: it starts with `$`.
    pub fn is_system(&self) -> bool {
        self.pieces.first().is_some_and(|piece| piece.first() == Some(&b'$'))
    }

    /// Whether a name matches. Linear in the name's length times the number of stars.
    pub fn matches(&self, name: &[u8]) -> bool {
        let (Some((first, rest)), name) = (self.pieces.split_first(), name) else { return false };
        let Some(mut left) = name.strip_prefix(first.as_slice()) else { return false };
        let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
        for piece in middle {
            match find(left, piece) {
                Some(after) => left = after,
                None => return false,
            }
        }
        left.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    /// A text of which [`Pattern::new`] makes the same pattern.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                f.write_str("*")?;
            }
            for char in String::from_utf8_lossy(piece).chars() {
                if matches!(char, '*' | '\\') {
                    f.write_str("\\")?;
                }
                f.write_char(char)?;
            }
        }
        Ok(())
    }
}

/// What follows the first occurrence of `piece`.
fn find<'n>(name: &'n [u8], piece: &[u8]) -> Option<&'n [u8]> {
    if piece.is_empty() {
        return Some(name);
    }
    let at = name.windows(piece.len()).position(|window| window == piece)?;
    name.get(at + piece.len()..)
}

/// Which events a reader wants. The default wants all but the log's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    streams: Vec<Pattern>,
    types: Vec<Pattern>,
    system: bool,
}

impl Filter {
    /// All events but the log's own.
    pub fn new() -> Self {
        Filter::default()
    }

    /// Only streams that match this pattern, or one given before. A pattern that starts with `$`
    /// shows streams of the log's own.
    #[must_use]
    pub fn stream(mut self, pattern: &str) -> Self {
        self.streams.push(Pattern::new(pattern));
        self
    }

    /// Only the stream of exactly this name, or those given before.
    #[must_use]
    pub fn stream_named(mut self, name: &str) -> Self {
        self.streams.push(Pattern::literal(name));
        self
    }

    /// Only types that match one of these patterns, or one given before.
    #[must_use]
    pub fn types<'t>(mut self, patterns: impl IntoIterator<Item = &'t str>) -> Self {
        self.types.extend(patterns.into_iter().map(Pattern::new));
        self
    }

    /// The log's own streams too.
    #[must_use]
    pub fn system(mut self, system: bool) -> Self {
        self.system = system;
        self
    }

    /// The patterns for streams; none: all streams.
    pub fn stream_patterns(&self) -> &[Pattern] {
        &self.streams
    }

    /// The patterns for types; none: all types.
    pub fn type_patterns(&self) -> &[Pattern] {
        &self.types
    }

    /// Whether the log's own streams were asked for as a whole.
    pub(crate) fn has_system(&self) -> bool {
        self.system
    }

    /// Whether it wants every event there is, so that nothing needs to be looked at.
    pub fn is_everything(&self) -> bool {
        self.system && self.streams.is_empty() && self.types.is_empty()
    }

    /// Whether it may want events of the log's own streams.
    pub fn wants_system(&self) -> bool {
        self.system || self.streams.iter().any(Pattern::is_system)
    }

    /// The streams that are wanted, when they are given by their names alone.
    pub(crate) fn stream_names(&self) -> Option<Vec<&str>> {
        let names: Option<Vec<&str>> = self.streams.iter().map(Pattern::as_literal).collect();
        names.filter(|names| !names.is_empty())
    }

    /// Whether only some types are wanted.
    pub(crate) fn is_by_type(&self) -> bool {
        !self.types.is_empty()
    }

    /// Whether events of this stream are wanted.
    pub fn wants_stream(&self, name: &[u8]) -> bool {
        let system = name.first() == Some(&b'$');
        if self.streams.is_empty() {
            return self.system || !system;
        }
        // `*` alone does not show the log's own streams: the pattern has to name them.
        self.streams.iter().any(|pattern| (!system || self.system || pattern.is_system()) && pattern.matches(name))
    }

    /// Whether events of this type are wanted.
    pub fn wants_type(&self, name: &[u8]) -> bool {
        self.types.is_empty() || self.types.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_pattern_makes_the_same_pattern() {
        for text in ["", "*", "order-*", r"\*a*", r"a\\*b", r"\é*", r"end\", "**", "$source/*"] {
            let pattern = Pattern::new(text);
            assert_eq!(Pattern::new(&pattern.to_string()), pattern, "{text}");
        }
        let literal = Pattern::literal(r"a*b\c");
        assert_eq!(Pattern::new(&literal.to_string()), literal);
    }

    #[test]
    fn a_star_stands_for_any_run_and_a_backslash_takes_the_next_as_it_is() {
        let cases: [(&str, &[&str], &[&str]); 6] = [
            ("order-*", &["order-", "order-17"], &["order", "an order-17"]),
            ("*-17", &["-17", "order-17", "-17-17"], &["order-170"]),
            ("a*b*c", &["abc", "a--b--c", "abbc"], &["ab", "acb", "xabc"]),
            ("*", &["", "anything at all"], &[]),
            (r"\*a", &["*a"], &["xa", "a"]),
            ("aa*aa", &["aaaa", "aabaa"], &["aaa", "aa"]),
        ];
        for (pattern, yes, no) in cases {
            let compiled = Pattern::new(pattern);
            assert!(yes.iter().all(|name| compiled.matches(name.as_bytes())), "{pattern} should match {yes:?}");
            assert!(!no.iter().any(|name| compiled.matches(name.as_bytes())), "{pattern} should not match {no:?}");
        }
    }

    #[test]
    fn the_logs_own_streams_are_shown_only_when_asked_for() {
        assert!(!Filter::new().wants_stream(b"$source/orders"));
        assert!(!Filter::new().stream("*").wants_stream(b"$source/orders"));
        assert!(Filter::new().stream("$source/*").wants_stream(b"$source/orders"));
        assert!(Filter::new().system(true).wants_stream(b"$source/orders"));
        assert!(!Filter::new().stream("$source/*").wants_stream(b"order-1"));
    }
}
