//! A handler's record as JSON, beside its bytes: what one step changed, for people and programs that look.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::EventRef;
use crate::handler::commit::{Decision, Record, RecordKind, Write};
use crate::log::own::HANDLER_STREAMS;

use super::envelope::as_json_line;

/// Bytes as text where they are text.
#[derive(Debug, Default, Serialize)]
struct Shown<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'r RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_text: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Debug, Serialize)]
struct ChangeJson<'r> {
    /// Whose row it is: the user's, or the handler's own.
    rows: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<&'static str>,
    #[serde(flatten)]
    value: Shown<'r>,
    /// The event whose handling wrote it, and its stream.
    offset: u64,
    stream: &'r str,
}

#[derive(Debug, Serialize)]
struct DecisionJson<'r> {
    kind: &'static str,
    offset: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'r str,
}

#[derive(Debug, Serialize)]
struct CommitJson<'r> {
    kind: &'static str,
    generation: u32,
    epoch: u64,
    fingerprint: String,
    cursor: u64,
    control: u64,
    digest: String,
    own_digest: String,
    rows: u64,
    own_rows: u64,
    handled: u64,
    emitted: u64,
    previous: Option<u64>,
    outputs: u32,
    paused: bool,
    parked: u32,
    bytes: u64,
    decisions: Vec<DecisionJson<'r>>,
    changes: Vec<ChangeJson<'r>>,
}

/// Adds what a handler's record says to its envelope, as the key `commit`. Other events, and records that cannot be
/// read, have none.
pub(super) fn add(event: EventRef<'_>, envelope: &mut Vec<u8>) {
    if !event.stream().starts_with(HANDLER_STREAMS) {
        return;
    }
    let Some(json) = Record::decode(&Bytes::copy_from_slice(event.data())).and_then(|record| as_json(&record)) else {
        return;
    };
    if envelope.pop_if(|last| *last == b'}').is_some() {
        envelope.extend_from_slice(b",\"commit\":");
        envelope.extend_from_slice(&json);
        envelope.push(b'}');
    }
}

fn as_json(record: &Record) -> Option<Vec<u8>> {
    let head = &record.head;
    let kind = match head.kind {
        RecordKind::Acquired => "acquired",
        RecordKind::Step => "step",
        RecordKind::CutOver => "cut-over",
        RecordKind::Attempting => "attempting",
    };
    let commit = CommitJson {
        kind,
        generation: head.generation,
        epoch: head.epoch,
        fingerprint: hex(head.fingerprint),
        cursor: head.cursor.raw(),
        control: head.control.raw(),
        digest: hex(head.digest.raw()),
        own_digest: hex(head.own_digest.raw()),
        rows: head.rows,
        own_rows: head.own_rows,
        handled: head.handled,
        emitted: head.emitted,
        previous: head.previous.map(crate::Offset::raw),
        outputs: head.outputs,
        paused: head.paused,
        parked: head.parked,
        bytes: head.bytes,
        decisions: record.decisions.iter().map(decision).collect(),
        changes: record.writes.iter().map(|write| change(record, write)).collect(),
    };
    serde_json::to_vec(&commit).ok()
}

/// As numbers of this size are no numbers of JSON.
fn hex(number: u128) -> String {
    format!("{number:032x}")
}

fn decision(decision: &Decision) -> DecisionJson<'_> {
    DecisionJson { kind: decision.kind.name(), offset: decision.offset.raw(), reason: &decision.reason }
}

fn change<'r>(record: &'r Record, write: &'r Write) -> ChangeJson<'r> {
    let (rows, key) = match write.key.split_first() {
        Some((1, key)) => ("user", key),
        Some((0, key)) => ("own", key),
        _ => ("unknown", &*write.key),
    };
    let text = std::str::from_utf8(key).ok();
    let (codec, value) = match &write.value {
        Some(value) if rows == "user" => shown(value),
        Some(value) => (None, in_base64(value)),
        None => (None, Shown::default()),
    };
    ChangeJson {
        rows,
        key: text,
        key_base64: text.is_none().then(|| BASE64.encode(key)),
        deleted: write.value.is_none(),
        codec,
        value,
        offset: write.at.raw(),
        stream: record.streams.get(write.stream as usize).map_or("", |stream| stream),
    }
}

/// A value by its first byte, which says how it is encoded.
fn shown(value: &[u8]) -> (Option<&'static str>, Shown<'_>) {
    match value.split_first() {
        Some((0, raw)) => match std::str::from_utf8(raw) {
            Ok(text) => (Some("raw"), Shown { value_text: Some(text), ..Shown::default() }),
            Err(_) => (Some("raw"), in_base64(raw)),
        },
        Some((1, json)) => match as_json_line(json) {
            Some(value) => (Some("json"), Shown { value: Some(value), ..Shown::default() }),
            None => (Some("json"), in_base64(json)),
        },
        Some((2, bytes)) => (Some("bincode"), in_base64(bytes)),
        _ => (None, in_base64(value)),
    }
}

fn in_base64<'r>(bytes: &[u8]) -> Shown<'r> {
    Shown { value_base64: Some(BASE64.encode(bytes)), ..Shown::default() }
}

#[cfg(test)]
mod tests {
    use crate::handler::commit::DecisionKind;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::envelope;
    use crate::handler::commit::Head;
    use crate::view::Digest;
    use crate::{Event, Filter, Found, Journal, MemoryLog, Offset};

    fn record() -> Record {
        let head = Head {
            kind: RecordKind::Step,
            generation: 1,
            epoch: 2,
            fingerprint: 3,
            cursor: Offset::from_raw(10),
            control: Offset::from_raw(4),
            digest: Digest::from_raw(u128::MAX),
            own_digest: Digest::from_raw(0),
            rows: 5,
            own_rows: 6,
            handled: 7,
            emitted: 8,
            previous: None,
            outputs: 9,
            paused: true,
            exact: false,
            parked: 10,
            bytes: 11,
        };
        let write = |key: &'static [u8], value: Option<&'static [u8]>| Write {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
            at: Offset::from_raw(9),
            stream: 0,
        };
        Record {
            head,
            streams: vec!["order-1".into()],
            decisions: vec![Decision { kind: DecisionKind::Skipped, offset: Offset::from_raw(8), reason: "no".into() }],
            writes: vec![
                write(b"\x01json", Some(b"\x01{\"n\":1}")),
                write(b"\x01raw", Some(b"\x00text")),
                write(b"\x01\xff", Some(b"\x00\xff")),
                write(b"\x01typed", Some(b"\x02\x07")),
                write(b"\x01broken", Some(b"\x01{")),
                write(b"\x01two lines", Some(b"\x01[1,\n2]")),
                write(b"\x01gone", None),
                write(b"\x00own", Some(b"\x00x")),
                write(b"\x01unknown", Some(b"\x09x")),
            ],
        }
    }

    /// The envelope of a record, as `--json` writes it.
    fn envelope_of(data: &[u8]) -> (String, Value) {
        let log = MemoryLog::new();
        let event = Event::new("$handler/totals", "Step").data(data);
        let append = crate::testkit::own_append(crate::Append::new(), event, crate::Expect::None);
        let at = log.append(append).expect("it is taken").planned().first();
        let Found::Batch(batch) = log.read(at, at.plus(1), &Filter::new().system(true)).look().expect("it is read")
        else {
            panic!("it is not there");
        };
        let mut line = Vec::new();
        for event in batch.events() {
            envelope::encode(event, &mut line).expect("it is written");
            add(event, &mut line);
        }
        let line = String::from_utf8(line).expect("it is text");
        let value = serde_json::from_str(&line).expect("it is JSON");
        (line, value)
    }

    #[test]
    fn a_record_is_shown_beside_its_bytes() {
        let bytes = record().encode();
        let (line, shown) = envelope_of(&bytes);
        assert!(!line.contains('\n'), "it is one line");
        assert_eq!(shown["data_base64"], BASE64.encode(&bytes));
        let change = |mut fields: Value| {
            let common = json!({"rows": "user", "deleted": false, "offset": 9, "stream": "order-1"});
            for (name, value) in common.as_object().into_iter().flatten() {
                fields.as_object_mut().expect("an object").entry(name.clone()).or_insert(value.clone());
            }
            fields
        };
        let changes = [
            json!({"key": "json", "codec": "json", "value": {"n": 1}}),
            json!({"key": "raw", "codec": "raw", "value_text": "text"}),
            json!({"key_base64": "/w==", "codec": "raw", "value_base64": "/w=="}),
            json!({"key": "typed", "codec": "bincode", "value_base64": "Bw=="}),
            json!({"key": "broken", "codec": "json", "value_base64": "ew=="}),
            json!({"key": "two lines", "codec": "json", "value_base64": "WzEsCjJd"}),
            json!({"key": "gone", "deleted": true}),
            json!({"rows": "own", "key": "own", "value_base64": "AHg="}),
            json!({"key": "unknown", "value_base64": "CXg="}),
        ];
        assert_eq!(
            shown["commit"],
            json!({
                "kind": "step", "generation": 1, "epoch": 2,
                "fingerprint": "00000000000000000000000000000003",
                "cursor": 10, "control": 4,
                "digest": "ffffffffffffffffffffffffffffffff",
                "own_digest": "00000000000000000000000000000000",
                "rows": 5, "own_rows": 6, "handled": 7, "emitted": 8, "previous": null, "outputs": 9,
                "paused": true, "parked": 10, "bytes": 11,
                "decisions": [{"kind": "skipped", "offset": 8, "reason": "no"}],
                "changes": changes.map(change),
            })
        );
    }

    #[test]
    fn what_is_no_record_is_shown_as_the_bytes_it_is() {
        for data in [&b"\x01"[..], b"no record", &[0; 400]] {
            let (_, shown) = envelope_of(data);
            assert_eq!((shown["data_base64"].as_str(), &shown["commit"]), (Some(&*BASE64.encode(data)), &Value::Null));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_record_break_the_line(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut in any::<prop::sample::Index>()) {
            let mut bytes = record().encode();
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            // Half of them are cut.
            let keep = cut.index(bytes.len() * 2).min(bytes.len());
            let (line, shown) = envelope_of(&bytes[..keep]);
            prop_assert!(!line.contains('\n'));
            prop_assert!(shown.is_object());
        }
    }
}
