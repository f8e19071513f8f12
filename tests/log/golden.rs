//! The bytes of a log: a kept one is read for ever, today's program still makes the same, and feature bits
//! say to older programs what they may do.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use annals::testkit::Disk;
use annals::{Append, Durability, Event, Expect, NewEvent, Offset, OpenError, ReadError, Timestamp};

use crate::world::{DIR, World, all};

const PAGE: usize = 4096;
const HEADERS: [usize; 2] = [0, 2048];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Two segments with footers, one without, a torn tail, a source, marks and a clean close.
fn make() -> World {
    let world = World::new(42);
    let log = world.open();
    let append = |log: &annals::Log, event: NewEvent<'_>| {
        log.append(Append::new().event(event).durability(Durability::Os)).unwrap().wait().unwrap();
        world.clock.advance_ms(1);
    };
    append(&log, Event::new("order-17", "OrderPlaced").data(&b"{\"total\":12}"[..]).content_type("application/json"));
    append(&log, Event::new("order-17", "Cut").data(&b"never acknowledged"[..]));
    world.kill(log);
    let path = world.segments().remove(0);
    let at = world.bytes(&path).windows(5).position(|window| window == b"never").unwrap();
    world.mem.flip_bit(&path, at, 0);

    let log = world.open();
    let paid = Event::new("order-17", "OrderPaid")
        .data(&[0, 255, 128][..])
        .source("till")
        .id("e-1")
        .time(Timestamp::from_micros(-5))
        .content_type("application/octet-stream")
        .header("trace", "a b")
        .header("leer", "");
    let import = Append::new()
        .expect("order-17", Expect::Exists)
        .event(paid)
        .event(Event::new("lager/Müller #1", "Reserved").data(&b"1"[..]))
        .source("import", &b"{\"line\":3}"[..], Expect::None);
    log.append(import).unwrap().wait().unwrap();
    world.clock.advance_ms(500);
    while log.step().unwrap() {}
    append(&log, Event::new("zeros", "Large").data(vec![0; 258_000]));
    append(&log, Event::new("order-17", "OrderSent").data(&b"last"[..]));
    log.close().unwrap();
    world
}

/// The bytes of a file as text: a line for each 32 bytes that are not all zero.
fn to_text(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes\n", bytes.len());
    for (line, chunk) in bytes.chunks(32).enumerate().filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0)) {
        write!(text, "{:06x} ", line * 32).unwrap();
        chunk.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    text
}

fn from_text(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let len = lines.next().unwrap().strip_suffix(" bytes").unwrap().parse().unwrap();
    let mut bytes = vec![0; len];
    for line in lines {
        let (at, hex) = line.split_once(' ').unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        for (place, pair) in bytes[at..].iter_mut().zip(hex.as_bytes().chunks(2)) {
            *place = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
    }
    bytes
}

/// Where a file of the log is kept.
fn kept(path: &Path) -> PathBuf {
    let name = path.strip_prefix(DIR).unwrap().to_str().unwrap().replace('/', "@");
    folder().join(format!("{name}.hex"))
}

pub fn golden() -> World {
    let world = World::new(1);
    for entry in std::fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let name = name.strip_suffix(".hex").unwrap().replace('@', "/");
        let text = std::fs::read_to_string(entry.path()).unwrap();
        world.mem.write_file(&Path::new(DIR).join(name), &from_text(&text));
    }
    world
}

#[test]
#[ignore = "writes the kept log again: only for as long as the format was never released"]
fn write_the_golden_log() {
    std::fs::create_dir_all(folder()).unwrap();
    for (path, bytes) in make().snapshot() {
        std::fs::write(kept(&path), to_text(&bytes)).unwrap();
    }
}

#[test]
fn the_golden_log_is_read() {
    let world = golden();
    let report = world.verify();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert_eq!(report.log_id.unwrap().to_string(), world.reader().id().to_string());
    let reader = world.reader();
    let events: Vec<_> = reader.read(..).system(true).map(Result::unwrap).collect();
    let named: Vec<_> =
        events.iter().map(|event| (event.stream(), event.version().raw(), event.event_type())).collect();
    assert_eq!(
        named,
        [
            ("order-17", 0, "OrderPlaced"),
            ("order-17", 1, "OrderPaid"),
            ("lager/Müller #1", 0, "Reserved"),
            ("$source/import", 0, "Position"),
            ("zeros", 0, "Large"),
            ("order-17", 2, "OrderSent"),
        ]
    );
    assert_eq!((events[0].data(), events[0].content_type()), (&b"{\"total\":12}"[..], Some("application/json")));
    let paid = &events[1];
    assert_eq!((paid.data(), paid.source(), paid.id()), (&[0, 255, 128][..], Some("till"), Some("e-1")));
    assert_eq!(paid.borrow().given_time(), Some(Timestamp::from_micros(-5)));
    assert_eq!(paid.content_type(), Some("application/octet-stream"));
    assert_eq!(paid.headers().collect::<Vec<_>>(), [("trace", "a b"), ("leer", "")]);
    assert_eq!(events[4].data(), vec![0; 258_000]);
    let stat = reader.stat().unwrap();
    assert_eq!((stat.events, stat.system_events, stat.streams, stat.types), (5, 1, 3, 5));
    assert_eq!(stat.segments.iter().map(|segment| segment.sealed).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(stat.tail_epoch.raw(), 1);

    let log = world.open();
    assert_eq!(&log.source("import").unwrap().position[..], b"{\"line\":3}");
    let expect = Append::new().expect("lager/Müller #1", Expect::Last(Offset::from_raw(2)));
    log.append(expect.event(Event::new("order-17", "More"))).unwrap().wait().unwrap();
    log.close().unwrap();
    assert!(world.verify().is_sound());
}

#[test]
fn the_same_history_is_the_same_bytes() {
    for (path, bytes) in make().snapshot() {
        let text = std::fs::read_to_string(kept(&path)).unwrap_or_default();
        if path.ends_with("LOCK") {
            // It names the process that wrote it.
            assert_eq!(from_text(&text).len(), bytes.len());
            continue;
        }
        assert!(
            to_text(&bytes) == text,
            "{} has other bytes now:\n{}",
            path.display(),
            first_difference(&text, &bytes)
        );
    }
    assert_eq!(make().snapshot().len(), std::fs::read_dir(folder()).unwrap().count());
}

fn first_difference(kept: &str, bytes: &[u8]) -> String {
    let made = to_text(bytes);
    let line = kept.lines().zip(made.lines()).find(|(kept, made)| kept != made);
    line.map_or_else(|| "one is longer".to_owned(), |(kept, made)| format!("kept {kept}\nmade {made}"))
}

/// Changes both copies of a segment's header, and their checksums with them.
pub fn change_header(bytes: &mut [u8], change: impl Fn(&mut [u8])) {
    for at in HEADERS {
        let header = &mut bytes[at..at + 128];
        change(header);
        let crc = crc32fast::hash(&header[..124]);
        header[124..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Where the n-th batch of a segment stands.
pub fn batch_range(bytes: &[u8], n: usize) -> std::ops::Range<usize> {
    let end_of = |at: usize| at + 128 + u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    let at = (0..n).fold(PAGE, |at, _| end_of(at));
    at..end_of(at)
}

/// Changes the header of the n-th batch of a segment, and its checksum with it.
pub fn change_batch(bytes: &mut [u8], n: usize, change: impl Fn(&mut [u8])) {
    let salt: [u8; 8] = bytes[80..88].try_into().unwrap();
    let at = batch_range(bytes, n).start;
    let batch = &mut bytes[at..at + 128];
    change(batch);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt);
    hasher.update(&(at as u64).to_le_bytes());
    hasher.update(&batch[8..]);
    batch[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// The golden log after a change in one of its segments.
fn changed(segment: usize, change: impl Fn(&mut [u8])) -> World {
    let world = golden();
    let path = world.segments().remove(segment);
    let mut bytes = world.bytes(&path);
    change(&mut bytes);
    world.mem.write_file(&path, &bytes);
    world
}

#[test]
fn an_unknown_incompatible_bit_of_a_segment_refuses_everything() {
    for segment in 0..3 {
        let world = changed(segment, |bytes| change_header(bytes, |header| header[16] = 1));
        let before = world.snapshot();
        assert!(matches!(world.try_open(), Err(OpenError::Unsupported { .. })));
        let reader = annals::LogReader::open_with(DIR, world.env(), annals::ReadMode::Map);
        assert!(matches!(reader, Err(OpenError::Unsupported { .. })));
        let verified = annals::testkit::verify_with(Path::new(DIR), &world.env(), &mut |_, _| {});
        assert!(matches!(verified, Err(OpenError::Unsupported { .. })));
        assert!(world.snapshot() == before);
    }
}

#[test]
fn an_unknown_read_compatible_bit_of_a_segment_lets_read_and_not_write() {
    for segment in 0..3 {
        let world = changed(segment, |bytes| change_header(bytes, |header| header[31] = 0x80));
        let before = world.snapshot();
        let error = world.try_open().unwrap_err();
        assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("read but not write"), "{error}");
        assert_eq!(all(&world.reader()).len(), 6);
        assert!(world.verify().is_sound());
        assert!(world.snapshot() == before);
    }
}

#[test]
fn an_unknown_compatible_bit_of_a_segment_is_passed_over() {
    for segment in 0..3 {
        let world = changed(segment, |bytes| {
            change_header(bytes, |header| {
                header[32] = 1;
                header[110] = 9; // what the bit stands for may be kept in reserved bytes
            });
        });
        assert!(world.verify().is_sound());
        assert_eq!(all(&world.open().reader()).len(), 6);
    }
}

#[test]
fn an_unknown_incompatible_bit_of_a_batch_refuses() {
    let world = changed(2, |bytes| change_batch(bytes, 1, |batch| batch[76] = 1));
    assert!(matches!(world.try_open(), Err(OpenError::Unsupported { .. })));
    let mut read = world.reader().read(..);
    let error = read.by_ref().find_map(Result::err).unwrap();
    assert!(matches!(error, ReadError::Unsupported { .. }), "{error}");
    assert!(read.next().is_none(), "nothing is read around it");
}

#[test]
fn an_unknown_compatible_bit_of_a_batch_is_passed_over() {
    let world = changed(2, |bytes| {
        change_batch(bytes, 1, |batch| {
            batch[79] = 0x80;
            batch[100] = 7;
        });
    });
    assert!(world.verify().is_sound());
    assert_eq!(all(&world.open().reader()).len(), 6);
}

#[test]
fn a_foreign_file_beside_the_log_is_no_matter() {
    let world = golden();
    world.mem.write_file(&Path::new(DIR).join("README"), b"mine");
    let report = world.verify();
    assert!(report.is_sound() && report.notes.len() == 1, "{report:?}");
    drop(world.open());
    assert_eq!(world.mem.read_file(&Path::new(DIR).join("README")).unwrap(), b"mine");
    world.mem.remove(&Path::new(DIR).join("README")).unwrap();
}
