//! The bytes of one event within a batch.
//!
//! | at | bytes      | field      | meaning (numbers are little-endian)                                     |
//! |---:|-----------:|------------|-------------------------------------------------------------------------|
//! |  0 |          4 | data_len   | bytes of data                                                           |
//! |  4 |          8 | time_us    | event time, µs since 1970; 0 without flag 0                             |
//! | 12 |          2 | stream     | index into the batch's streams                                          |
//! | 14 |          2 | type       | index into the batch's types                                            |
//! | 16 |          2 | source     | index into the batch's sources; 0xffff: none                            |
//! | 18 |          2 | flags      | 0: has a time; 1: data is JSON; 2: has extras; the others are 0          |
//! | 20 |          4 | extras_len | only with flag 2: bytes of extras                                       |
//! |    | extras_len | extras     | id_len u16, content_type_len u16, id, content type, then for each header |
//! |    |            |            | name_len u16, name, value_len u32, value                                |
//! |    |   data_len | data       | the payload                                                             |

use super::{BatchError, Input};
use crate::event::{JSON, NewEvent, Span};
use crate::limits::EXTRAS_BYTES_MAX;

pub(super) const RECORD_BYTES: usize = 20;
pub(super) const NO_SOURCE: u16 = u16::MAX;

const HAS_TIME: u16 = 1;
const IS_JSON: u16 = 2;
const HAS_EXTRAS: u16 = 4;

/// Indexes of an event's names in its batch's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameIndexes {
    pub stream: u16,
    pub event_type: u16,
    pub source: u16,
}

/// Appends the bytes of an event. Its limits were checked before.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, event: &NewEvent<'_>, names: NameIndexes) {
    let is_json = event.content_type.as_deref() == Some(JSON);
    let content_type = event.content_type.as_deref().filter(|_| !is_json).unwrap_or_default();
    let id = event.id.as_deref().unwrap_or_default();
    let has_extras = !id.is_empty() || !content_type.is_empty() || !event.headers.is_empty();
    let flags = if event.time.is_some() { HAS_TIME } else { 0 }
        | if is_json { IS_JSON } else { 0 }
        | if has_extras { HAS_EXTRAS } else { 0 };
    let time = event.time.map_or(0, crate::Timestamp::as_micros);
    let mut fixed = [0; RECORD_BYTES];
    fixed[0..4].copy_from_slice(&len32(event.data.len()).to_le_bytes());
    fixed[4..12].copy_from_slice(&time.to_le_bytes());
    fixed[12..14].copy_from_slice(&names.stream.to_le_bytes());
    fixed[14..16].copy_from_slice(&names.event_type.to_le_bytes());
    fixed[16..18].copy_from_slice(&names.source.to_le_bytes());
    fixed[18..20].copy_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&fixed);
    if has_extras {
        let at = out.len();
        out.extend([0; 4]);
        out.extend(len16(id.len()).to_le_bytes());
        out.extend(len16(content_type.len()).to_le_bytes());
        out.extend(id.as_bytes());
        out.extend(content_type.as_bytes());
        for (name, value) in &event.headers {
            out.extend(len16(name.len()).to_le_bytes());
            out.extend(name.as_bytes());
            out.extend(len32(value.len()).to_le_bytes());
            out.extend(value.as_bytes());
        }
        let extras_len = len32(out.len() - at - 4).to_le_bytes();
        out.iter_mut().skip(at).zip(extras_len).for_each(|(to, from)| *to = from);
    }
    out.extend_from_slice(&event.data);
}

/// Bytes that [`put`] will add, at most.
pub(super) fn len(event: &NewEvent<'_>) -> usize {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map_or(0, str::len);
    let headers: usize = event.headers.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    RECORD_BYTES + 8 + text(&event.id) + text(&event.content_type) + headers + event.data.len()
}

fn len16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// One record, as places in the body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub names: NameIndexes,
    pub time_us: Option<i64>,
    pub is_json: bool,
    pub id: Span,
    pub content_type: Span,
    pub headers: Span,
    pub data: Span,
    /// Where the next record starts.
    pub next: u32,
}

/// Reads the record at a place; its lengths are checked against the end of the records.
#[inline]
pub(super) fn get(records: &[u8], at: u32) -> Option<Record> {
    let fixed = records.get(at as usize..)?.first_chunk::<RECORD_BYTES>()?;
    let mut input = Input::new(fixed);
    let data_len = input.u32()?;
    let time = input.i64()?;
    let names = NameIndexes { stream: input.u16()?, event_type: input.u16()?, source: input.u16()? };
    let flags = input.u16()?;
    if flags & !(HAS_TIME | IS_JSON | HAS_EXTRAS) != 0 {
        return None;
    }
    let mut data_at = at + RECORD_BYTES as u32;
    let (mut id, mut content_type, mut headers) = Default::default();
    if flags & HAS_EXTRAS != 0 {
        let mut extras = Input::new(records.get(data_at as usize..)?);
        let extras_len = extras.u32()?;
        let end = data_at.checked_add(4)?.checked_add(extras_len)?;
        id = Span { at: data_at.checked_add(8)?, len: extras.u16()?.into() };
        content_type = Span { at: id.at.checked_add(id.len)?, len: extras.u16()?.into() };
        let headers_at = content_type.at.checked_add(content_type.len)?;
        headers = Span { at: headers_at, len: end.checked_sub(headers_at)? };
        data_at = end;
    }
    let next = data_at.checked_add(data_len)?;
    if next as usize > records.len() {
        return None;
    }
    Some(Record {
        names,
        time_us: (flags & HAS_TIME != 0).then_some(time),
        is_json: flags & IS_JSON != 0,
        id,
        content_type,
        headers,
        data: Span { at: data_at, len: data_len },
        next,
    })
}

/// Checks the texts of a record's extras: what [`get`] leaves to be done once.
pub(super) fn check_extras(records: &[u8], record: &Record) -> Result<(), BatchError> {
    if record.headers.at == 0 {
        return Ok(());
    }
    let corrupt = BatchError::Corrupt("the id or headers of an event are not what they should be");
    let text = |span: Span| records.get(span.at as usize..(span.at + span.len) as usize).map(std::str::from_utf8);
    if !matches!(text(record.id), Some(Ok(_))) || !matches!(text(record.content_type), Some(Ok(_))) {
        return Err(corrupt);
    }
    let headers = records.get(record.headers.at as usize..(record.headers.at + record.headers.len) as usize);
    let mut input = Input::new(headers.ok_or(corrupt.clone())?);
    if input.rest().len() > EXTRAS_BYTES_MAX {
        return Err(corrupt);
    }
    while !input.is_empty() {
        let name = input.u16().and_then(|len| input.take(len.into()));
        let value = input.u32().and_then(|len| input.take(len as usize));
        match (name.map(std::str::from_utf8), value.map(std::str::from_utf8)) {
            (Some(Ok(_)), Some(Ok(_))) => {}
            _ => return Err(corrupt),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Timestamp};

    const NAMES: NameIndexes = NameIndexes { stream: 1, event_type: 2, source: NO_SOURCE };

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let mut out = Vec::new();
        put(&mut out, &Event::new("s", "T").data(&b"hi"[..]), NAMES);
        assert_eq!(out, [
            2, 0, 0, 0,   0, 0, 0, 0, 0, 0, 0, 0,   1, 0,   2, 0,   0xff, 0xff,   0, 0, // lengths, time, names, flags
            b'h', b'i',
        ]);
        let mut out = Vec::new();
        let event = Event::new("s", "T").data(&b"{}"[..]).content_type(JSON).time(Timestamp::from_micros(-2)).id("x").header("a", "bc");
        put(&mut out, &event, NAMES);
        assert_eq!(out, [
            2, 0, 0, 0,   0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,   1, 0,   2, 0,   0xff, 0xff,   7, 0,
            14, 0, 0, 0,   1, 0,   0, 0,   b'x',   1, 0,   b'a',   2, 0, 0, 0,   b'b', b'c',
            b'{', b'}',
        ]);
        assert!(out.len() <= len(&event));
        let record = get(&out, 0).expect("it was just written");
        assert_eq!((record.time_us, record.is_json, record.next as usize), (Some(-2), true, out.len()));
        assert_eq!(check_extras(&out, &record), Ok(()));
    }

    #[test]
    fn a_length_that_points_past_the_end_is_refused() {
        let mut out = Vec::new();
        put(&mut out, &Event::new("s", "T").data(&b"hi"[..]).id("x"), NAMES);
        for cut in 0..out.len() {
            assert!(get(&out[..cut], 0).is_none(), "cut at {cut}");
        }
        for at in [0, 20] {
            let mut long = out.clone();
            long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert!(get(&long, 0).is_none(), "length at {at}");
        }
    }
}
