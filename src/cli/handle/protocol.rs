//! What is said to a command and what it answers: a line of JSON each.
//!
//! | to it                                    | from it                                                         |
//! |------------------------------------------|-----------------------------------------------------------------|
//! | `{"key":…,"event":{…},"state":…}`        | `{"state":…,"emit":[{"stream":…,"type":…,"data":…},…]}`         |
//! | `{"key":…,"events":[{…},…],"state":…}`   | `{"retry":ms}`, `{"park":why}` or `{"skip":why}`                |
//!
//! An event is an envelope, as `annals cat --json` shows it, and so is one that is put out: `stream` and `type`, and
//! `data`, `id`, `time` and `headers` where there are any. The second line is that of `--batch`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::cli::envelope;
use crate::cli::failure::Failure as CliFailure;
use crate::cli::line::check;
use crate::cli::output::{json_error, shorten};
use crate::{Event, Failure, JSON, NewEvent};

/// In front of the bytes of a row that are JSON.
const JSON_CODEC: u8 = 1;

/// What a command answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// The event is handled.
    Done {
        /// The row: unchanged, gone, or new, its codec byte in front.
        state: Option<Option<Bytes>>,
        emit: Vec<NewEvent<'static>>,
    },
    Failed(Failure),
}

/// The keys of an answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'l> {
    #[serde(borrow, default, deserialize_with = "present")]
    state: Option<&'l RawValue>,
    #[serde(borrow, default)]
    emit: Option<Vec<&'l RawValue>>,
    retry: Option<f64>,
    #[serde(borrow)]
    park: Option<Cow<'l, str>>,
    #[serde(borrow)]
    skip: Option<Cow<'l, str>>,
}

/// A state may be `null`, which is not the same as none.
fn present<'l, D: Deserializer<'l>>(deserializer: D) -> Result<Option<&'l RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Answer {
    /// Reads a line.
    ///
    /// # Errors
    /// As a sentence, when it is no answer.
    pub(super) fn read(line: &[u8]) -> Result<Answer, String> {
        let shown = || shorten(&String::from_utf8_lossy(line), 200).into_owned();
        let wrong = |why: &str| format!("its answer `{}` is none: {why}", shown());
        let text = std::str::from_utf8(line).map_err(|_| wrong("not UTF-8"))?;
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| wrong(&json_error(&error)))?;
        let failed = match (line.retry, line.park, line.skip) {
            (None, None, None) => None,
            (Some(ms), None, None) => {
                let after = Duration::try_from_secs_f64(ms / 1000.0).map_err(|error| wrong(&error.to_string()))?;
                Some(Failure::retry_after(after, "the command asked for another time"))
            }
            (None, Some(why), None) => Some(Failure::park(why)),
            (None, None, Some(why)) => Some(Failure::Skip(why.into_owned())),
            _ => return Err(wrong("one of retry, park and skip at a time")),
        };
        match failed {
            Some(_) if line.state.is_some() || line.emit.is_some() => {
                Err(wrong("an event that is not handled has neither state nor emit"))
            }
            Some(failure) => Ok(Answer::Failed(failure)),
            None => {
                let emit = line.emit.unwrap_or_default();
                let emit = emit.iter().map(|event| put_out(event.get()).map_err(|why| wrong(&why)));
                Ok(Answer::Done { state: line.state.map(row), emit: emit.collect::<Result<_, _>>()? })
            }
        }
    }
}

/// An event that a command puts out.
fn put_out(envelope: &str) -> Result<NewEvent<'static>, String> {
    let mut event = envelope::decode(envelope)?;
    if event.content_type.is_none() && !event.data.is_empty() {
        event.content_type = Some(JSON.into());
    }
    check(&event).map_err(|error| error.to_string())?;
    Ok(event.into_owned())
}

/// The row of a state; of none for `null`.
fn row(state: &RawValue) -> Option<Bytes> {
    (state.get() != "null").then(|| [&[JSON_CODEC], state.get().as_bytes()].concat().into())
}

/// What a command is asked about one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'q> {
    pub key: &'q str,
    pub state: Option<&'q Bytes>,
}

impl Question<'_> {
    /// Writes the line for one event.
    pub(super) fn one(self, event: &Event, out: &mut Vec<u8>) -> Result<(), CliFailure> {
        self.write(out, |out| {
            out.extend(br#","event":"#);
            envelope::encode(event.borrow(), out)
        })
    }

    /// Writes the line for several events.
    pub(super) fn many<'e>(self, events: impl Iterator<Item = &'e Event>, out: &mut Vec<u8>) -> Result<(), CliFailure> {
        self.write(out, |out| {
            out.extend(br#","events":["#);
            for (n, event) in events.enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                envelope::encode(event.borrow(), out)?;
            }
            out.push(b']');
            Ok(())
        })
    }

    fn write(
        self,
        out: &mut Vec<u8>,
        events: impl FnOnce(&mut Vec<u8>) -> Result<(), CliFailure>,
    ) -> Result<(), CliFailure> {
        out.extend(br#"{"key":"#);
        serde_json::to_writer(&mut *out, self.key).map_err(|error| CliFailure::input(error.to_string()))?;
        events(out)?;
        out.extend(br#","state":"#);
        match self.state.map(|row| row.split_first()) {
            None => out.extend(b"null"),
            Some(Some((&JSON_CODEC, json))) => out.extend(json),
            Some(_) => {
                return Err(CliFailure::input(format!(
                    "the state of `{}` is no JSON: another program wrote it",
                    self.key
                )));
            }
        }
        out.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(line: &str) -> (Option<Option<Bytes>>, Vec<NewEvent<'static>>) {
        match Answer::read(line.as_bytes()) {
            Ok(Answer::Done { state, emit }) => (state, emit),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_state_is_kept_byte_for_byte_unless_it_is_null_or_left_out() {
        assert_eq!(
            done(r#"{"state": {"n": 1.50, "n":2} }"#).0,
            Some(Some((&b"\x01{\"n\": 1.50, \"n\":2}"[..]).into()))
        );
        assert_eq!(done(r#"{"state":null}"#).0, Some(None));
        assert_eq!(done("{}").0, None);
    }

    #[test]
    fn what_is_put_out_keeps_the_bytes_of_its_data() {
        let line = r#"{"emit":[{"stream":"s","type":"T","data":{"a": 1.0}},{"stream":"s","type":"U","id":"7","time":"1970-01-01T00:00:01Z","headers":{"k":"v"}}]}"#;
        let time = crate::Timestamp::from_micros(1_000_000);
        let expected = vec![
            NewEvent::new("s", "T").data(&br#"{"a": 1.0}"#[..]).content_type(JSON),
            NewEvent::new("s", "U").id("7").time(time).header("k", "v"),
        ];
        assert_eq!(done(line).1, expected);
    }

    #[test]
    fn an_event_that_is_not_handled_says_how_it_goes_on() {
        let failed = |line: &str| match Answer::read(line.as_bytes()) {
            Ok(Answer::Failed(failure)) => failure,
            other => panic!("{line}: {other:?}"),
        };
        assert!(
            matches!(failed(r#"{"retry":1500}"#), Failure::Retry { after: Some(after), .. } if after.as_millis() == 1500)
        );
        assert!(matches!(failed(r#"{"park":"no price"}"#), Failure::Park(why) if why.to_string() == "no price"));
        assert!(matches!(failed(r#"{"skip":"a test"}"#), Failure::Skip(why) if why == "a test"));
    }

    #[test]
    fn what_is_no_answer_is_refused_with_a_reason() {
        for (line, reason) in [
            ("", "EOF"),
            ("ok", "expected"),
            ("[]", "invalid"),
            (r#"{"State":1}"#, "unknown field `State`"),
            (r#"{"state":1,"state":2}"#, "duplicate"),
            (r#"{"state":1,"skip":"x"}"#, "neither state nor emit"),
            (r#"{"retry":1,"park":"x"}"#, "one of"),
            (r#"{"retry":-1}"#, "negative"),
            (r#"{"park":7}"#, "string"),
            (r#"{"emit":{"stream":"s"}}"#, "sequence"),
            (r#"{"emit":[{"stream":"s"}]}"#, "type"),
            (r#"{"emit":[{"stream":"$x","type":"T"}]}"#, "the log's own"),
            (r#"{"state":1}x"#, "trailing"),
        ] {
            let error = Answer::read(line.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
        assert!(Answer::read(b"{\"state\":\"\xff\"}").unwrap_err().contains("UTF-8"));
    }
}
