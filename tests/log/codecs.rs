//! Compressed batches: read back like others, mixed with others, and refused where the program cannot unpack.

use annals::{Codec, Event, Log};

use crate::world::{World, all};

fn put(log: &Log, n: usize) {
    let data = format!("{{\"n\":{n},\"text\":\"{}\"}}", "again and ".repeat(100)).into_bytes();
    log.append(Event::new("s", "T").data(data)).unwrap().wait().unwrap();
}

fn built_in() -> impl Iterator<Item = Codec> + Clone {
    [Codec::Lz4, Codec::Zstd].into_iter().filter(|codec| codec.is_built_in())
}

#[test]
fn a_compressed_log_is_read_back_and_takes_less() {
    for codec in built_in() {
        let world = World { codec, ..World::new(1) };
        let log = world.open();
        // As much as two segments would hold without compression.
        (0..500).for_each(|n| put(&log, n));
        assert_eq!(world.segments().len(), 1, "{codec:?}: the room that compression saves is used");
        (500..3000).for_each(|n| put(&log, n));
        while log.step().unwrap() {}
        let segments = world.segments();
        assert!(segments.len() > 1 && segments.len() < 8, "{codec:?}: {}", segments.len());
        let first = world.bytes(&segments[0]).len();
        assert!(first > 200 * 1024, "{codec:?}: the first segment is used up: {first}");
        let plain = World::new(1);
        (0..3000).for_each({
            let log = plain.open();
            move |n| put(&log, n)
        });
        let events = all(&world.reader());
        assert!(events == all(&plain.reader()));
        world.kill(log);
        let log = world.open();
        assert!(all(&log.reader()) == events);
        log.close().unwrap();
        let report = world.verify();
        assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    }
}

#[test]
fn codecs_may_change_from_opening_to_opening() {
    let mut world = World::new(1);
    let codecs: Vec<Codec> = built_in().chain([Codec::None]).cycle().take(9).collect();
    for (round, codec) in codecs.into_iter().enumerate() {
        world.codec = codec;
        let log = world.open();
        (0..40).for_each(|n| put(&log, round * 40 + n));
        log.close().unwrap();
    }
    let events = all(&world.reader());
    assert_eq!(events.len(), 360);
    assert!(events.iter().enumerate().all(|(n, event)| event.data.starts_with(format!("{{\"n\":{n},").as_bytes())));
    let report = world.verify();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
}

#[test]
fn what_does_not_get_smaller_is_stored_as_it_is() {
    for codec in built_in() {
        let world = World { codec, ..World::new(1) };
        let log = world.open();
        let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        log.append(Event::new("s", "T").data(&noise)).unwrap().wait().unwrap();
        assert_eq!(all(&log.reader())[0].data, noise);
        let path = world.segments().remove(0);
        let bytes = world.bytes(&path);
        assert!(bytes.windows(16).any(|window| window == &noise[..16]) || bytes.len() < noise.len());
    }
}

/// A program without a codec neither reads around its batches nor calls them damaged.
#[cfg(not(all(feature = "lz4", feature = "zstd")))]
#[test]
fn a_codec_that_is_not_built_in_is_refused_by_its_name() {
    use crate::golden::{batch_range, change_batch};
    use annals::{OpenError, ReadError};

    for (codec, code) in [(Codec::Lz4, 1), (Codec::Zstd, 2)].into_iter().filter(|(codec, _)| !codec.is_built_in()) {
        let world = World { codec, ..World::new(1) };
        let log = world.open();
        put(&log, 1);
        log.close().unwrap();
        assert_eq!(all(&world.reader()).len(), 1, "{codec:?}: stored as it is");
        let path = world.segments().remove(0);
        let mut bytes = world.bytes(&path);
        // A compressed body begins with its length, and is smaller than what it holds.
        let body = batch_range(&bytes, 1).start + 128..batch_range(&bytes, 1).end;
        let packed = u32::try_from(body.len() - 4).unwrap();
        bytes[body.start..body.start + 4].copy_from_slice(&packed.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new_with_initial(u32::from_le_bytes(bytes[80..84].try_into().unwrap()));
        hasher.update(&bytes[body]);
        let crc = hasher.finalize().to_le_bytes();
        change_batch(&mut bytes, 1, |batch| {
            batch[45] = code;
            batch[12..16].copy_from_slice(&crc);
            let records = u32::from_le_bytes(batch[64..68].try_into().unwrap());
            batch[64..68].copy_from_slice(&(records + 4096).to_le_bytes());
        });
        world.mem.write_file(&path, &bytes);
        let error = world.try_open().unwrap_err();
        assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
        let name = format!("{codec:?}").to_lowercase();
        assert!(error.to_string().to_lowercase().contains(&name), "{error}");
        let error = world.reader().read(..).next().unwrap().unwrap_err();
        assert!(matches!(error, ReadError::Unsupported { .. }), "{error}");
    }
}
