//! Decoders under bytes that may be anything, and under good bytes with changes and checksums made right again: no
//! panic, no contradiction, and no more memory than the bytes explain.

use annals::testkit::{Random, SeededRandom, hostile, verify_with};
use annals::{LogReader, ReadMode};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::golden::{batch_range, golden};
use crate::memory::peak_of;
use crate::world::{DIR, World};

type Decoder = fn(&[u8]);

/// Most bytes that a decoder may allocate at a time beyond some multiple of its input.
const PEAK_BYTES_MAX: usize = 1024 * 1024;

fn bounded(name: &str, decoder: Decoder, bytes: &[u8]) {
    let ((), peak) = peak_of(|| decoder(bytes));
    let most = PEAK_BYTES_MAX + 64 * bytes.len();
    assert!(peak <= most, "{name} allocates {peak} bytes for {}", bytes.len());
}

const DECODERS: [(&str, Decoder); 11] = [
    ("batch", hostile::batch),
    ("names", hostile::names),
    ("carry", hostile::carry),
    ("segment_header", hostile::segment_header),
    ("footer", hostile::footer),
    ("trailer", hostile::trailer),
    ("merged_index", hostile::merged_index),
    ("cursor", hostile::cursor),
    ("lock_record", hostile::lock_record),
    ("filter", hostile::filter),
    ("nothing", |_| {}),
];

/// Bytes of a kept log, each part as its decoder takes it.
fn good() -> Vec<(&'static str, Decoder, Vec<u8>)> {
    let world = golden();
    let mut parts: Vec<(&'static str, Decoder, Vec<u8>)> = Vec::new();
    for path in world.segments() {
        let bytes = world.bytes(&path);
        parts.push(("segment_header", hostile::segment_header, bytes[..4096].to_vec()));
        for n in 0.. {
            let range = batch_range(&bytes, n);
            if range.start + 128 > bytes.len() || bytes[range.start..range.start + 4] == [0; 4] {
                break;
            }
            let batch = bytes[range.clone()].to_vec();
            let len = |at: usize| u32::from_le_bytes(batch[at..at + 4].try_into().unwrap()) as usize;
            let (records, names) = (len(64), len(68));
            match batch[44] {
                3 => parts.push(("carry", hostile::carry, batch[128..128 + records].to_vec())),
                6 => {
                    let payload = [&batch[16..24], &batch[128..128 + records]].concat();
                    parts.push(("footer", hostile::footer, payload));
                    parts.push(("trailer", hostile::trailer, bytes[bytes.len() - 128..].to_vec()));
                }
                _ => parts.push(("names", hostile::names, batch[128 + records..128 + records + names].to_vec())),
            }
            let is_footer = batch[44] == 6;
            if batch.len() < 100_000 {
                parts.push(("batch", hostile::batch, batch));
            }
            if is_footer {
                break;
            }
        }
    }
    let lock = world.bytes(&std::path::Path::new(DIR).join("LOCK"));
    parts.push(("lock_record", hostile::lock_record, lock));
    let log = world.open();
    let mut consumer = log.consumer("c").unwrap();
    consumer.commit(annals::Offset::from_raw(3)).unwrap();
    drop(consumer);
    let cursor = world.bytes(&std::path::Path::new(DIR).join("cursors").join(world.cursor_file()));
    parts.push(("cursor", hostile::cursor, cursor));
    parts.push(("filter", hostile::filter, b"order-*\\**x\0order-17*x".to_vec()));
    parts
}

/// Changes some bytes: to extremes as often as to anything.
fn change(bytes: &mut Vec<u8>, random: &SeededRandom) {
    let pick = |n: usize| (random.next_u64() % n.max(1) as u64) as usize;
    for _ in 0..pick(4) + 1 {
        let at = if pick(2) == 0 { pick(bytes.len().min(192)) } else { pick(bytes.len()) };
        let to = (at + [1, 2, 4, 8][pick(4)]).min(bytes.len());
        match pick(6) {
            0 => bytes[at..to].fill(0xff),
            1 => bytes[at..to].fill(0),
            2 => bytes[at..to].iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
            3 => bytes[at..to].iter_mut().for_each(|byte| *byte ^= 1 << pick(8)),
            4 => bytes[at..to]
                .iter_mut()
                .take(1)
                .for_each(|byte| *byte = byte.wrapping_add(pick(5) as u8).wrapping_sub(2)),
            _ => bytes.truncate(bytes.len() - pick(bytes.len() / 8)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_decoder_takes_any_bytes(bytes in vec(any::<u8>(), 0..6000)) {
        for (name, decoder) in DECODERS {
            bounded(name, decoder, &bytes);
        }
    }

    #[test]
    fn a_decoder_takes_any_small_numbers(bytes in vec(prop_oneof![4 => Just(0u8), 2 => 0u8..8, 1 => any::<u8>()], 0..700)) {
        for (name, decoder) in DECODERS {
            bounded(name, decoder, &bytes);
        }
    }
}

#[test]
fn a_decoder_takes_good_bytes_with_changes() {
    let parts = good();
    assert!(DECODERS.iter().all(|(name, _)| {
        ["nothing", "merged_index"].contains(name) || parts.iter().any(|(part, _, _)| part == name)
    }));
    for (name, decoder, bytes) in &parts {
        bounded(name, *decoder, bytes);
        for seed in 0..2000 {
            let random = SeededRandom::new(seed);
            let mut changed = bytes.clone();
            change(&mut changed, &random);
            bounded(name, *decoder, &changed);
        }
    }
}

/// Numbers of batches and headers that are anything, in a log that is whole by its checksums: an author of bad files
/// makes the checksums right.
#[test]
fn a_log_whose_checksums_are_right_may_say_anything_else() {
    let files = golden().snapshot();
    for seed in 0..1500 {
        let random = SeededRandom::new(seed);
        let pick = |n: usize| (random.next_u64() % n as u64) as usize;
        let world = World::new(1);
        files.iter().for_each(|(path, bytes)| world.mem.write_file(path, bytes));
        let path = world.segments().remove(pick(3));
        let mut bytes = world.bytes(&path);
        lie(&mut bytes, &random);
        world.mem.write_file(&path, &bytes);
        let (_, peak) = peak_of(|| {
            let _ = verify_with(std::path::Path::new(DIR), &world.env(), &mut |_, _| {});
            if let Ok(reader) = LogReader::open_with(DIR, world.env(), ReadMode::Map) {
                let _ = reader.read(..).system(true).take_while(Result::is_ok).count();
                let _ = reader.read(..).backward().take_while(Result::is_ok).count();
                let _ = (reader.stat(), reader.types(), reader.version("order-17"), reader.get(annals::Offset::ZERO));
                let _ = reader.streams("*").take_while(Result::is_ok).count();
                let _ = reader.stream("order-17").take_while(Result::is_ok).count();
                let _ = reader.offset_recorded(annals::Timestamp::from_micros(1_700_000_000_000_000));
            }
            if let Ok(log) = world.try_open() {
                let event = annals::Event::new("order-17", "More");
                let _ = log.append(event).map(|receipt| receipt.wait());
                let _ = log.step();
                let _ = log.close();
            }
        });
        assert!(peak < 64 * 1024 * 1024, "seed {seed}: {peak} bytes");
    }
}

/// Changes fields of a segment's header, or of one of its batches, or of what a batch holds, and makes the checksums
/// right.
fn lie(bytes: &mut [u8], random: &SeededRandom) {
    let pick = |n: usize| (random.next_u64() % n as u64) as usize;
    let extreme = |bytes: &mut [u8]| match pick(5) {
        0 => bytes.fill(0xff),
        1 => bytes.fill(0),
        2 => bytes.iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
        3 => bytes.iter_mut().rev().take(2).for_each(|byte| *byte = 0xff),
        _ => bytes.iter_mut().take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
    };
    let batches = (0..).take_while(|n| {
        let at = batch_range(bytes, *n).start;
        at + 128 <= bytes.len()
            && bytes[at..at + 4] != [0; 4]
            && (*n == 0 || bytes[batch_range(bytes, *n - 1).start + 44] != 6)
    });
    let batches = batches.count();
    if pick(4) == 0 {
        let (at, len) = [(48, 8), (56, 8), (64, 8), (88, 4), (92, 4), (96, 4)][pick(6)];
        crate::golden::change_header(bytes, |header| extreme(&mut header[at..at + len]));
        return;
    }
    let range = batch_range(bytes, pick(batches));
    let (head, body) = bytes.split_at_mut(range.start + 128);
    let body = &mut body[..range.len() - 128];
    if pick(3) > 0 && !body.is_empty() {
        let at = if pick(2) == 0 { pick(body.len().min(200)) } else { pick(body.len()) };
        let to = (at + [1, 2, 4, 8][pick(4)]).min(body.len());
        extreme(&mut body[at..to]);
        let salt = u32::from_le_bytes(head[80..84].try_into().unwrap());
        let mut hasher = crc32fast::Hasher::new_with_initial(salt);
        hasher.update(body);
        head[range.start + 12..range.start + 16].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
    let fields = [
        (16, 8),
        (24, 4),
        (28, 4),
        (32, 8),
        (40, 4),
        (48, 8),
        (56, 4),
        (60, 4),
        (64, 4),
        (68, 4),
        (72, 4),
        (80, 8),
        (88, 8),
    ];
    let (at, len) = fields[pick(fields.len())];
    let lies = pick(2) == 0;
    let n = (0..batches).find(|n| batch_range(bytes, *n).start == range.start).unwrap();
    crate::golden::change_batch(bytes, n, |batch| {
        if lies {
            extreme(&mut batch[at..at + len]);
        }
    });
}
