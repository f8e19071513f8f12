//! What is appended is read back, byte for byte, also after closing and opening.

use annals::{Append, Event, Expect, Log, LogReader, Offset, verify};

#[test]
fn what_was_appended_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for n in 0..1000u64 {
        let receipt =
            log.append(Event::new(format!("order-{}", n % 7), "Placed").data(n.to_string().into_bytes())).unwrap();
        if n % 100 == 99 {
            let appended = receipt.wait().unwrap();
            assert_eq!(appended.first(), Offset::from_raw(n));
        }
    }
    let events: Vec<_> = log.read(..).map(Result::unwrap).collect();
    assert_eq!(events.len(), 1000);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.data(), n.to_string().as_bytes());
        assert_eq!(event.version().raw(), n as u64 / 7);
    }
    log.append(Append::new().expect("order-1", Expect::None).event(Event::new("order-1", "X"))).unwrap_err();
    log.close().unwrap();
    let report = verify(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert_eq!(report.events, 1000);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.tail(), Offset::from_raw(1000));
    let reader = LogReader::open(dir.path()).unwrap();
    assert_eq!(reader.read(..).count(), 1000);
    let stat = reader.stat().unwrap();
    assert_eq!((stat.events, stat.streams, stat.types), (1000, 7, 1));
}

#[test]
fn many_segments_are_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Log::options().segment_bytes_max(256 * 1024);
    let log = options().open(dir.path()).unwrap();
    for n in 0..20_000u64 {
        let stream = format!("order-{}", n % 1000);
        let event = Event::new(&stream, "Placed").data(format!("{n:0>100}").into_bytes());
        let version = if n < 1000 { Expect::None } else { Expect::Version(annals::Version::from_raw(n / 1000 - 1)) };
        let receipt = log.append(Append::new().expect(&stream, version).event(event)).unwrap();
        if n % 1000 == 0 {
            receipt.wait().unwrap();
        }
    }
    log.sync().unwrap();
    let check = |reader: &LogReader| {
        for (n, event) in reader.read(..).enumerate() {
            let event = event.unwrap();
            assert_eq!(event.data(), format!("{n:0>100}").as_bytes());
            assert_eq!(event.version().raw(), n as u64 / 1000);
        }
        let stat = reader.stat().unwrap();
        assert_eq!((stat.events, stat.streams), (20_000, 1000));
        assert!(stat.segments.len() > 5);
    };
    check(&log.reader());
    check(&LogReader::open(dir.path()).unwrap());
    log.close().unwrap();
    check(&LogReader::open(dir.path()).unwrap());
    let report = verify(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    let log = options().open(dir.path()).unwrap();
    assert_eq!(log.report().sealed, 0);
    check(&log.reader());
}
