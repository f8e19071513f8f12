//! The lossless JSON envelope of an event: what `export` and `-o json` write, and `import` reads back.
//!
//! One line each. Keys are only ever added, so a reader passes over those it does not know.
//!
//! | key             | value                                                                             |
//! |-----------------|-----------------------------------------------------------------------------------|
//! | offset          | place in the log; not read back                                                   |
//! | stream          | name                                                                              |
//! | version         | place in the stream; not read back                                                |
//! | type            | name                                                                              |
//! | id              | when the event has one                                                            |
//! | source          | when it has one                                                                   |
//! | time            | when the producer gave one: RFC 3339 in UTC, `@…us` where no calendar reaches     |
//! | recorded        | when the log took it; not read back                                               |
//! | datacontenttype | when it has one                                                                   |
//! | headers         | an object, or pairs in an array where a name comes twice; absent without headers  |
//! | data            | the payload byte for byte, where it is JSON that begins, ends and stays on a line |
//! | data_base64     | any other payload; neither key without a payload                                  |
//! | commit          | what a handler's record says, where events are shown; not read back: `commit.rs`  |

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{EventRef, NewEvent};

use super::failure::{Exit, Failure};
use super::output::json_error;
use super::time::{parse_exact, rfc3339};

/// All keys, in the order they are written in.
pub(super) const KEYS: [&str; 12] = [
    "offset",
    "stream",
    "version",
    "type",
    "id",
    "source",
    "time",
    "recorded",
    "datacontenttype",
    "headers",
    "data",
    "data_base64",
];

#[derive(Debug, Serialize, Deserialize)]
struct Envelope<'e> {
    #[serde(skip_deserializing)]
    offset: u64,
    #[serde(borrow)]
    stream: Cow<'e, str>,
    #[serde(skip_deserializing)]
    version: u64,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'e, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<Text<'e>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    source: Option<Text<'e>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    time: Option<Text<'e>>,
    #[serde(skip_deserializing)]
    recorded: String,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<Text<'e>>,
    #[serde(borrow, default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers<'e>,
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    data: Option<&'e RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    data_base64: Option<Text<'e>>,
}

/// A text that is borrowed from the line unless it holds escapes.
#[derive(Debug, Serialize, Deserialize)]
struct Text<'e>(#[serde(borrow)] Cow<'e, str>);

/// Payloads may be `null`, which is not the same as none.
fn present<'e, D: Deserializer<'e>>(deserializer: D) -> Result<Option<&'e RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Adds the envelope of an event to `out`, without a line's end.
pub(super) fn encode(event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let text = |text| Text(Cow::Borrowed(text));
    let (data, data_base64) = match event.data() {
        [] => (None, None),
        data => match as_json_line(data) {
            Some(json) => (Some(json), None),
            None => (None, Some(Text(Cow::Owned(BASE64.encode(data))))),
        },
    };
    let envelope = Envelope {
        offset: event.offset().raw(),
        stream: Cow::Borrowed(event.stream()),
        version: event.version().raw(),
        event_type: Cow::Borrowed(event.event_type()),
        id: event.id().map(text),
        source: event.source().map(text),
        time: event.given_time().map(|time| Text(Cow::Owned(rfc3339(time)))),
        recorded: rfc3339(event.recorded()),
        datacontenttype: event.content_type().map(text),
        headers: Headers(event.headers().map(|(name, value)| (text(name), text(value))).collect()),
        data,
        data_base64,
    };
    serde_json::to_writer(out, &envelope)
        .map_err(|error| Failure::new(Exit::Disk, "io", format!("cannot write an event as JSON: {error}")))
}

/// The data as JSON that can stand within a line and be read back as the same bytes.
pub(super) fn as_json_line(data: &[u8]) -> Option<&RawValue> {
    // Blanks around a value would not come back; a line's end within it would end the line.
    let json: &RawValue = serde_json::from_slice(data).ok()?;
    (json.get().len() == data.len() && !data.iter().any(|byte| matches!(byte, b'\n' | b'\r'))).then_some(json)
}

/// Reads an envelope.
///
/// # Errors
/// As a sentence, when the line is none.
pub(super) fn decode(line: &str) -> Result<NewEvent<'_>, String> {
    let envelope: Envelope<'_> =
        serde_json::from_str(line).map_err(|error| format!("no event envelope: {}", json_error(&error)))?;
    let data = match (envelope.data, envelope.data_base64) {
        (None, None) => Cow::default(),
        (Some(json), None) => Cow::Borrowed(json.get().as_bytes()),
        (None, Some(Text(text))) => {
            Cow::Owned(BASE64.decode(text.as_bytes()).map_err(|error| format!("data_base64 is no base64: {error}"))?)
        }
        (Some(_), Some(_)) => return Err("an event has either data or data_base64, this line has both".to_owned()),
    };
    let time = envelope.time.map(|Text(time)| parse_exact(&time)).transpose()?;
    Ok(NewEvent {
        stream: envelope.stream,
        event_type: envelope.event_type,
        data,
        source: envelope.source.map(|Text(source)| source),
        id: envelope.id.map(|Text(id)| id),
        content_type: envelope.datacontenttype.map(|Text(content_type)| content_type),
        time,
        headers: envelope.headers.0.into_iter().map(|(Text(name), Text(value))| (name, value)).collect(),
    })
}

/// Headers in order; names may come twice.
#[derive(Debug, Default)]
struct Headers<'e>(Vec<(Text<'e>, Text<'e>)>);

impl Headers<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn names_are_distinct(&self) -> bool {
        // There are 64 at most.
        self.0.iter().enumerate().all(|(n, (name, _))| self.0.iter().take(n).all(|(other, _)| other.0 != name.0))
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.names_are_distinct() {
            serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
        } else {
            serializer.collect_seq(&self.0)
        }
    }
}

impl<'de: 'e, 'e> Deserialize<'de> for Headers<'e> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("headers: an object of texts, or an array of pairs of texts")
    }

    fn visit_unit<E>(self) -> Result<Headers<'de>, E> {
        Ok(Headers::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers<'de>, A::Error> {
        let mut headers = Headers::default();
        while let Some(header) = map.next_entry()? {
            headers.0.push(header);
        }
        Ok(headers)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Headers<'de>, A::Error> {
        let mut headers = Headers::default();
        while let Some(header) = seq.next_element()? {
            headers.0.push(header);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Batch, Header, Kind, OpenBatch, Salt};
    use crate::{Event, JSON, Timestamp};

    const SALT: Salt = Salt(99);

    /// The batch of one event, as a log would give it back.
    fn stored(event: &NewEvent<'_>) -> Batch {
        let mut open = OpenBatch::new(Vec::new(), Kind::Events, 10, 1_700_000_000_000_000);
        let stream = open.stream(&event.stream, 4, None);
        open.begin_append(1_700_000_000_000_000);
        open.event(event, stream);
        let mut closed = open.close(0);
        closed.seal(SALT, 4096, Default::default(), 0);
        let Ok(header) = Header::decode(&closed.bytes, SALT, 4096) else { panic!("it was just written") };
        let body = Bytes::copy_from_slice(&closed.bytes[header.header_len..header.batch_len()]);
        Batch::decode(header, body, SALT).unwrap()
    }

    fn encoded(event: &NewEvent<'_>) -> String {
        let mut line = Vec::new();
        encode(stored(event).events().next().unwrap(), &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn an_envelope_is_exactly_this() {
        let event = Event::new("order-17", "Paid")
            .data(&br#"{"n": 1.50,"n":2}"#[..])
            .content_type(JSON)
            .source("till")
            .id("x\n1")
            .time(Timestamp::from_micros(1))
            .header("k", "v")
            .header("a", "");
        assert_eq!(
            encoded(&event),
            r#"{"offset":10,"stream":"order-17","version":4,"type":"Paid","id":"x\n1","source":"till","time":"1970-01-01T00:00:00.000001Z","recorded":"2023-11-14T22:13:20.000000Z","datacontenttype":"application/json","headers":{"k":"v","a":""},"data":{"n": 1.50,"n":2}}"#
        );
        let twice = Event::new("s", "T").header("k", "1").header("j", "2").header("k", "3").data(&[0xff][..]);
        assert_eq!(
            encoded(&twice),
            r#"{"offset":10,"stream":"s","version":4,"type":"T","recorded":"2023-11-14T22:13:20.000000Z","headers":[["k","1"],["j","2"],["k","3"]],"data_base64":"/w=="}"#
        );
    }

    #[test]
    fn its_keys_are_those_of_the_table() {
        let event = || {
            Event::new("s", "T").id("i").source("s").time(Timestamp::from_micros(1)).content_type(JSON).header("k", "v")
        };
        let lines = encoded(&event().data(&b"1"[..])) + &encoded(&event().data(&b"\xff"[..]));
        for key in KEYS {
            assert!(lines.contains(&format!("\"{key}\":")), "{key}");
        }
        let line: serde_json::Value = serde_json::from_str(&encoded(&event().data(&b"1"[..]))).unwrap();
        assert!(line.as_object().unwrap().keys().all(|key| KEYS.contains(&key.as_str())));
    }

    #[test]
    fn payloads_come_back_byte_for_byte_on_one_line() {
        let as_they_are: [&[u8]; 10] = [
            b"null",
            b"0",
            b"123456789012345678901234567890.5e999",
            br#""\ud800""#,
            br#"{"a":1,"a":2}"#,
            b"[ 1 ,\t2 ]",
            "\"\u{85}\u{2028}\u{7f}\"".as_bytes(),
            b"-0.0",
            br#""\/\u0041""#,
            b"{}",
        ];
        let in_base64: [&[u8]; 8] =
            [b" 1", b"1 ", b"[1,\n2]", b"[1,\r2]", b"nul", b"\xef\xbb\xbf1", b"\"\xff\"", b"{\"a\":1}{\"a\":1}"];
        let cases = as_they_are.iter().map(|data| (data, true)).chain(in_base64.iter().map(|data| (data, false)));
        for (data, embedded) in cases {
            let event = Event::new("s", "T").data(*data);
            let line = encoded(&event);
            let shown = String::from_utf8_lossy(data);
            assert_eq!(decode(&line).unwrap(), event, "{shown}");
            assert_eq!(line.contains("\"data\":"), embedded, "{shown}");
            assert!(!line.contains(['\n', '\r']), "{shown}");
        }
        assert!(!encoded(&Event::new("s", "T")).contains("data"));
    }

    #[test]
    fn deep_payloads_do_not_overflow_the_stack() {
        let data = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let event = Event::new("s", "T").data(data.as_bytes());
        assert_eq!(decode(&encoded(&event)).unwrap(), event);
    }

    #[test]
    fn unknown_keys_are_passed_over_and_null_is_none() {
        let line = r#"{"stream":"s","new":{"x":[1]},"type":"T","id":null,"headers":null,"offset":"?","time":null}"#;
        assert_eq!(decode(line).unwrap(), Event::new("s", "T"));
    }

    #[test]
    fn what_is_no_envelope_is_refused_with_a_reason() {
        for (line, reason) in [
            ("", "no event envelope"),
            ("[]", "no event envelope"),
            (r#"{"type":"T"}"#, "stream"),
            (r#"{"stream":"s"}"#, "type"),
            (r#"{"stream":1,"type":"T"}"#, "no event envelope"),
            (r#"{"stream":"s","stream":"t","type":"T"}"#, "duplicate"),
            (r#"{"stream":"s","type":"T","data":1,"data_base64":"MQ=="}"#, "both"),
            (r#"{"stream":"s","type":"T","data_base64":"?"}"#, "base64"),
            (r#"{"stream":"s","type":"T","time":"yesterday"}"#, "yesterday"),
            (r#"{"stream":"s","type":"T","headers":[["k"]]}"#, "no event envelope"),
            (r#"{"stream":"s","type":"T"} x"#, "no event envelope"),
        ] {
            let error = decode(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    fn name() -> impl Strategy<Value = String> {
        "\\PC{1,24}".prop_filter("a name has no control characters", |name| !name.chars().any(char::is_control))
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..64),
            any::<String>().prop_map(String::into_bytes),
            any::<String>().prop_map(|text| serde_json::to_vec(&text).unwrap()),
            r#"[ \n\t\r]{0,2}[\[{]?["0-9a:,\\]{0,8}[\]}]?[ \n]{0,2}"#.prop_map(String::into_bytes),
        ]
    }

    fn event() -> impl Strategy<Value = NewEvent<'static>> {
        let attributes = (
            option::of(name()),
            option::of(any::<String>().prop_filter("an id is not empty", |id| !id.is_empty())),
            option::of(prop_oneof![Just(JSON.to_owned()), name()]),
            option::of(any::<i64>().prop_map(Timestamp::from_micros)),
            vec((prop_oneof![name(), "[ab]"], any::<String>()), 0..6),
        );
        (name(), name(), payload(), attributes).prop_map(|(stream, event_type, data, attributes)| {
            let (source, id, content_type, time, headers) = attributes;
            NewEvent {
                stream: stream.into(),
                event_type: event_type.into(),
                data: data.into(),
                source: source.map(Into::into),
                id: id.map(Into::into),
                content_type: content_type.map(Into::into),
                time,
                headers: headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn every_event_comes_back_equal(event in event()) {
            prop_assume!(event.check().is_ok());
            let line = encoded(&event);
            prop_assert!(!line.contains(['\n', '\r']));
            prop_assert_eq!(decode(&line), Ok(event));
        }

        #[test]
        fn no_line_panics(line in r#"\{?("(stream|type|data|headers|time)":("s"|1|null|\[|\{\}),?){0,4}\}?\PC{0,4}"#) {
            let _ = decode(&line);
        }
    }
}
