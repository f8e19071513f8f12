//! Every decoder under bytes that may be anything, for tests and fuzzing: none may panic, loop or take more memory than
//! its input explains.
//!
//! Each function decodes the bytes as they are, and once more with lengths, markers and checksums made right, so that
//! they reach what stands behind those. What was decoded is then used, and encoded again where that exists.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, Codec, HEADER_BYTES, Header, Kind, Names, Opened, Salt, checked_body};
use crate::cursor::{Found, Slots, is_one_byte_off};
use crate::disk::{Disk, MemDisk, Mode};
use crate::index::IndexFile;
use crate::log::lock::{LOCK_BYTES, LockRecord};
use crate::segment::{Carry, Footer, NameHash, PAGE_BYTES, ReadMode, SegmentHeader, TRAILER_BYTES, Trailer};
use crate::{Filter, Pattern};

#[cfg(feature = "cli")]
pub use crate::cli::hostile::{envelope, import_line, position};

const SALT: Salt = Salt(0x5eed);
const AT: u64 = PAGE_BYTES as u64;

/// The bytes as they are, and made right where a checksum would stop them.
fn both(bytes: &[u8], mend: impl FnOnce(&mut Vec<u8>), each: impl Fn(&[u8])) {
    each(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    each(&mended);
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes.iter_mut().skip(at).zip(field).for_each(|(to, from)| *to = *from);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u64::from_le_bytes(*field))
}

/// A batch, header and body.
///
/// # Panics
/// When the decoder contradicts itself.
pub fn batch(bytes: &[u8]) {
    both(bytes, mend_batch, |bytes| {
        let Ok(header) = Header::decode(bytes, SALT, AT) else { return };
        let stored = header.header_len.checked_add(header.body_len).and_then(|end| bytes.get(header.header_len..end));
        let Some(stored) = stored.map(Bytes::copy_from_slice) else { return };
        if header.header_len == HEADER_BYTES && bytes.get(76..80) == Some(&[0; 4]) {
            assert_eq!(Some(&header.encode(SALT, AT)[..]), bytes.get(..HEADER_BYTES), "a header is encoded as it was");
        }
        match header.kind {
            Kind::Events | Kind::System => events(&header, stored),
            Kind::Carry => drop(checked_body(&header, stored, SALT).map(|body| carry(&body))),
            Kind::Footer => drop(checked_body(&header, stored, SALT).map(|body| indexes(body, header.base_offset))),
            Kind::Mark | Kind::CloseMark | Kind::Gap => drop(checked_body(&header, stored, SALT)),
        }
    });
}

/// Makes markers, lengths and checksums of a batch right.
fn mend_batch(bytes: &mut Vec<u8>) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let body_len = (bytes.len() - HEADER_BYTES) / 64 * 64;
    bytes.truncate(HEADER_BYTES + body_len);
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let crc = SALT.body_crc(body);
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    put(bytes, 0, &SALT.marker().to_le_bytes());
    put(bytes, 8, &len(body_len));
    put(bytes, 12, &crc.to_le_bytes());
    put(bytes, 46, &[16, 1]);
    put(bytes, 76, &[0; 4]);
    put(bytes, 96, &[0; 32]);
    if bytes.get(45) == Some(&Codec::None.code()) {
        // Lengths that lie: the records take what the other tables leave.
        let [records, names, appends] = [64, 68, 72].map(|at| u32_at(bytes, at) as usize);
        if (records + names + appends).next_multiple_of(64) != body_len {
            let names = names.min(body_len);
            let appends = appends.min(body_len - names);
            put(bytes, 64, &len(body_len - names - appends));
            put(bytes, 68, &len(names));
            put(bytes, 72, &len(appends));
        }
    }
    let crc = SALT.header_crc(AT, bytes.get(8..HEADER_BYTES).unwrap_or_default());
    put(bytes, 4, &crc.to_le_bytes());
}

fn events(header: &Header, stored: Bytes) {
    let _ = Batch::names_of(header, stored.clone(), SALT);
    let Ok(batch) = Batch::decode(header.clone(), stored, SALT) else { return };
    let forward: Vec<_> = batch.events().map(|event| (event.offset(), event.version(), event.data().len())).collect();
    let mut backward: Vec<_> =
        batch.events_backward().map(|event| (event.offset(), event.version(), event.data().len())).collect();
    backward.reverse();
    assert_eq!(forward, backward, "events are the same in both directions");
    for event in batch.events() {
        let texts = [event.stream(), event.event_type(), event.source().unwrap_or(""), event.id().unwrap_or("")];
        let headers: usize = event.headers().map(|(name, value)| name.len() + value.len()).sum();
        let _ = (texts, headers, event.content_type(), event.time(), event.recorded(), event.is_system());
    }
    let wanted = batch.events().next().map(|event| Filter::new().stream(event.stream()).types([event.event_type()]));
    if let Some(some) = wanted.and_then(|filter| batch.clone().matching(&filter)) {
        assert!(some.events().count() <= forward.len());
    }
    let opened = Opened::new(batch.clone());
    for event in batch.events() {
        let found = opened.event(event.offset().raw()).map(|event| event.version());
        assert_eq!(found, Some(event.version()), "an event that is looked up is the one that is passed by");
        if let Some(stream) = opened.stream(event.stream()) {
            let _ = (opened.versions(stream), opened.version(stream, event.version().raw()));
        }
    }
    let _ = (batch.appends().len(), batch.producers().len(), opened.memory());
}

/// The names of a batch.
///
/// # Panics
/// When the decoder contradicts itself.
pub fn names(bytes: &[u8]) {
    for base in [0, 1_000, u64::MAX] {
        let Ok(names) = Names::get(bytes, 0, bytes.len(), base) else { continue };
        let spans = names.streams.iter().map(|stream| stream.name).chain(names.types).chain(names.sources);
        for span in spans.chain(names.producers) {
            let name = bytes.get(span.at as usize..(span.at + span.len) as usize);
            assert!(name.is_some_and(|name| !name.is_empty()), "a name lies within its table");
        }
    }
}

/// What a carry batch holds.
///
/// # Panics
/// When the decoder contradicts itself.
pub fn carry(bytes: &[u8]) {
    let Ok(carry) = Carry::decode(bytes) else { return };
    assert_eq!(Carry::decode(&carry.encode()).as_ref(), Ok(&carry), "what was carried is carried on");
    for (name, producer) in &carry.producers {
        let _ = (carry.in_the_way_of(name), producer.appends.iter().map(|append| append.next()).max());
    }
}

/// The first page of a segment.
///
/// # Panics
/// When the decoder contradicts itself.
pub fn segment_header(bytes: &[u8]) {
    let mend = |bytes: &mut Vec<u8>| {
        bytes.resize(PAGE_BYTES, 0);
        for at in [0, 2048] {
            put(bytes, at, b"ANNALSG1");
            let crc = crc32fast::hash(bytes.get(at..at + 124).unwrap_or_default());
            put(bytes, at + 124, &crc.to_le_bytes());
        }
    };
    both(bytes, mend, |bytes| {
        let Ok(read) = SegmentHeader::decode(bytes) else { return };
        let again = SegmentHeader::decode(&read.header.encode()).map(|again| again.header);
        let plain = SegmentHeader { read_only: false, ..read.header };
        assert_eq!(again, Ok(plain), "a header is encoded as it was");
    });
}

/// The indexes of a sealed segment, behind the eight bytes of its first offset.
///
/// # Panics
/// When the decoder contradicts itself.
pub fn footer(bytes: &[u8]) {
    let Some((base, payload)) = bytes.split_first_chunk() else { return };
    let mend = |payload: &mut Vec<u8>| {
        put(payload, 24, &[0; 8]);
        let complete = u32_at(payload, 20) & 1;
        put(payload, 20, &complete.to_le_bytes());
    };
    both(payload, mend, |payload| indexes(Bytes::copy_from_slice(payload), u64::from_le_bytes(*base)));
}

fn indexes(payload: Bytes, base: u64) {
    let Ok(footer) = Footer::decode(payload, base) else { return };
    let _ = (footer.places().count(), footer.places_around(|place| place.recorded_us < 0));
    for stream in footer.streams() {
        let postings = footer.batches_of(&stream);
        assert_eq!(postings.iter().count(), postings.len(), "there are as many postings as it says");
        let _ = (footer.stream(stream.hash), postings.get(postings.len()));
    }
    let _ = footer.stream(NameHash(base.into()));
    for one in footer.types().unwrap_or_default() {
        let _ = (one.name, one.events, one.batches().count());
    }
}

/// The last bytes of a sealed segment.
///
/// # Panics
/// When the decoder contradicts itself.
pub fn trailer(bytes: &[u8]) {
    let mend = |bytes: &mut Vec<u8>| {
        bytes.resize(TRAILER_BYTES, 0);
        put(bytes, 0, b"ANNALSE1");
        put(bytes, 8, &SALT.0.to_le_bytes());
        let crc = crc32fast::hash(bytes.get(..TRAILER_BYTES - 4).unwrap_or_default());
        put(bytes, TRAILER_BYTES - 4, &crc.to_le_bytes());
    };
    both(bytes, mend, |bytes| {
        let len = u64::from(u32_at(bytes, 32)) + u64::from(u32_at(bytes, 36)) + TRAILER_BYTES as u64;
        let Some(trailer) = Trailer::decode(bytes, SALT, len) else { return };
        assert_eq!(Some(&trailer.encode(SALT)[..]), bytes.get(..TRAILER_BYTES), "a trailer is encoded as it was");
    });
}

/// A merged index.
///
/// # Panics
/// When the decoder contradicts itself, or a disk in memory fails.
pub fn merged_index(bytes: &[u8]) {
    both(bytes, mend_index, |bytes| {
        let (disk, path) = (MemDisk::new(), Path::new("/index"));
        disk.write_file(path, bytes);
        for mode in [ReadMode::Map, ReadMode::Pread] {
            let Ok(index) = IndexFile::open(&disk, path, mode) else { return };
            let _ = (index.range(), index.is_named(path), index.segment_count(), index.find(NameHash(7)));
            for found in index.pages().map_while(Result::ok).flatten() {
                let _ = (index.find(found.hash), index.may_hold(&found, index.range().0));
            }
            let _ = index.entry_at(index.entries);
        }
    });
}

/// Makes lengths and checksums of a merged index right.
fn mend_index(bytes: &mut Vec<u8>) {
    const FIXED: usize = 64;
    const BOUND: usize = 32;
    let segments = (u32_at(bytes, 12) as usize % 130).max(1);
    let head = (FIXED + segments * BOUND).next_multiple_of(PAGE_BYTES);
    let pages = bytes.len().saturating_sub(head).div_ceil(PAGE_BYTES);
    bytes.resize(head + pages * PAGE_BYTES, 0);
    let entries_a_page = ((PAGE_BYTES - 16) / 40) as u64;
    let most = pages as u64 * entries_a_page;
    let entries = most.saturating_sub(u64_at(bytes, 32) % entries_a_page);
    put(bytes, 0, b"ANNALSIX\x01\0\0\0");
    put(bytes, 12, &u32::try_from(segments).unwrap_or(1).to_le_bytes());
    put(bytes, 32, &entries.to_le_bytes());
    put(bytes, 40, &[0; 24]);
    for segment in 0..segments {
        put(bytes, FIXED + segment * BOUND + 28, &[0; 4]);
    }
    let bounds = FIXED + segments * BOUND;
    bytes.iter_mut().take(head).skip(bounds).for_each(|byte| *byte = 0);
    let crc = crc32fast::hash(bytes.get(..head).unwrap_or_default());
    put(bytes, 40, &crc.to_le_bytes());
    for page in 0..pages {
        let at = head + page * PAGE_BYTES;
        let left = entries.saturating_sub(page as u64 * entries_a_page).min(entries_a_page);
        put(bytes, at + 4, &u32::try_from(page).unwrap_or(0).to_le_bytes());
        put(bytes, at + 8, &u32::try_from(left).unwrap_or(0).to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        for part in [16..32, FIXED..bounds, at + 4..at + PAGE_BYTES] {
            hasher.update(bytes.get(part).unwrap_or_default());
        }
        put(bytes, at, &hasher.finalize().to_le_bytes());
    }
}

/// The file of a consumer.
///
/// # Panics
/// When the decoder contradicts itself, or a disk in memory fails.
pub fn cursor(bytes: &[u8]) {
    let mend = |bytes: &mut Vec<u8>| {
        for slot in bytes.chunks_exact_mut(4096) {
            put(slot, 0, b"annalcur");
            let mut hasher = crc32fast::Hasher::new_with_initial(u32::from_le_bytes(*b"CURS"));
            hasher.update(slot.get(..4092).unwrap_or_default());
            put(slot, 4092, &hasher.finalize().to_le_bytes());
        }
    };
    both(bytes, mend, |bytes| {
        let disk = MemDisk::new();
        disk.write_file(Path::new("/cursor"), bytes);
        let Ok(file) = disk.open(Path::new("/cursor"), Mode::Read) else { return };
        let Ok(slots) = Slots::read(&*Arc::clone(&file)) else { return };
        if let Some((index, slot)) = slots.newest() {
            let there = bytes.get(index * 4096..(index + 1) * 4096);
            assert_eq!(slot.encode().as_deref(), there, "a slot is encoded as it was");
            let _ = (slot.filter.wants_stream(slot.name.as_bytes()), slot.filter.wants_type(b"T"));
        }
        for found in &slots.found {
            if let Found::Bad(bytes) = found {
                let _ = is_one_byte_off(bytes);
            }
        }
    });
}

/// What the writer of a log says of itself.
///
/// # Panics
/// When the decoder contradicts itself.
pub fn lock_record(bytes: &[u8]) {
    let mend = |bytes: &mut Vec<u8>| {
        bytes.resize(LOCK_BYTES, 0);
        put(bytes, 56, &[0; 4]);
        let mut hasher = crc32fast::Hasher::new_with_initial(u32::from_le_bytes(*b"LOCK"));
        hasher.update(bytes.get(..60).unwrap_or_default());
        put(bytes, 60, &hasher.finalize().to_le_bytes());
    };
    both(bytes, mend, |bytes| {
        let Some(record) = LockRecord::decode(bytes) else { return };
        assert_eq!(Some(&record.encode()[..]), bytes.get(..LOCK_BYTES), "a record is encoded as it was");
    });
}

/// A pattern, and behind a zero the name that is held against it.
///
/// # Panics
/// When a pattern is not the text of itself.
pub fn filter(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let pattern = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let name = parts.next().unwrap_or_default();
    let read = Pattern::new(&pattern);
    assert_eq!(Pattern::new(&read.to_string()), read, "a pattern is the text of itself");
    let _ = (read.matches(name), read.is_system());
    if let Some(literal) = read.as_literal() {
        assert!(read.matches(literal.as_bytes()), "a name matches itself");
    }
    let filter = Filter::new().stream(&pattern).types([&*pattern]);
    let _ = (filter.wants_stream(name), filter.wants_type(name), filter.is_everything());
}
