//! What the command reads, under texts that may be anything: positions and times, lines that are imported, envelopes.

use annals::testkit::hostile;
use proptest::collection::vec;
use proptest::prelude::*;

const PIECES: &[&str] = &[
    "end-",
    "start",
    "end",
    "#",
    "+",
    "-",
    "@",
    "1h",
    " ago",
    "now",
    "2026-11-23",
    "09:30",
    "T",
    "Z",
    "P",
    "PT2H",
    "99999999999999999999999999",
    "-9223372036854775808",
    "18446744073709551615",
    "s",
    "ms",
    "us",
    "[Europe/Berlin]",
    "{",
    "}",
    "{{",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\u0000",
    "\\ud800",
    "\u{202e}",
    "\u{7f}",
    "\0",
    "\n",
    "null",
    "true",
    "1e999999",
    "{/a/b/0}",
    "{a}",
    "~1",
    "\"a\":",
    "\"b\":[{\"c\":1}]",
    "\"type\":\"t\"",
    "\"at\":\"2020-01-01\"",
    "\"stream\":\"s\"",
    "\"data\":",
    "\"data_base64\":\"!\"",
    "\"headers\":",
    "\"offset\":1",
    "\"version\":1",
];

/// Pieces of what is meant, so that chance puts them together in ways nobody means.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![4 => proptest::sample::select(PIECES).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_read_is_taken_or_refused(pieces in vec(piece(), 0..24), bytes in vec(any::<u8>(), 0..64)) {
        for read in [hostile::position, hostile::import_line, hostile::envelope] {
            read(pieces.concat().as_bytes());
            read(&bytes);
        }
    }
}

#[test]
fn depth_has_an_end() {
    for depth in [100, 10_000, 1_000_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[[{\"b\":[", "]}]]")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let text = format!("{{\"stream\":\"s\",\"type\":\"t\",\"data\":{nested},\"headers\":{nested}}}");
            hostile::envelope(text.as_bytes());
            for template in ["{a}", "{/a/a/a/0/0/0}"] {
                hostile::import_line(format!("{template}\n{nested}").as_bytes());
            }
            hostile::import_line(format!("{{{}}}\n{nested}", "/a".repeat(depth)).as_bytes());
            hostile::position(nested.as_bytes());
        }
        hostile::position(format!("PT{}H", "9".repeat(depth)).as_bytes());
        hostile::position(format!("#{}", "9".repeat(depth)).as_bytes());
    }
}

#[test]
fn names_and_numbers_at_their_limits() {
    for name in
        ["", "\\u0000", "\\u001f", "\\u007f", "$x", "\u{feff}", "x\u{2028}y", &"n".repeat(1025), &"é".repeat(512)]
    {
        hostile::import_line(format!("{{a}}\n{{\"a\":\"{name}\",\"type\":\"{name}\",\"at\":\"{name}\"}}").as_bytes());
        hostile::envelope(format!("{{\"stream\":\"{name}\",\"type\":\"{name}\",\"id\":\"{name}\"}}").as_bytes());
    }
    for number in ["-1", "18446744073709551616", "1e400", "0.0000001", "-0", &"1".repeat(100_000)] {
        hostile::import_line(format!("{{a}}\n{{\"a\":{number},\"type\":{number},\"at\":{number}}}").as_bytes());
        hostile::envelope(
            format!("{{\"stream\":\"s\",\"type\":\"t\",\"offset\":{number},\"version\":{number}}}").as_bytes(),
        );
        for text in [format!("@{number}s"), format!("@{number}ms"), format!("end-{number}"), format!("+{number}y")] {
            hostile::position(text.as_bytes());
        }
    }
}
