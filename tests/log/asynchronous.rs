//! Streams of events and receipts in a runtime: the same events, read by one thread that is none of the
//! runtime's, as far ahead as they are taken.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::testkit::{Env, Op, RealDisk};
use annals::{Append, Durability, Event, EventStream, Filter, Log, LogReader, Offset, ReadError, ReadMode};

use crate::hooked::{Hooked, Hooks};
use crate::world::{SEGMENT, World};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(future)
}

async fn collect(mut stream: EventStream) -> Vec<u64> {
    let mut offsets = Vec::new();
    while let Some(event) = stream.next().await {
        offsets.push(event.unwrap().offset().raw());
    }
    offsets
}

fn offsets(events: impl Iterator<Item = Result<Event, ReadError>>) -> Vec<u64> {
    events.map(|event| event.unwrap().offset().raw()).collect()
}

fn fill(log: &Log, events: usize) {
    for n in 0..events {
        let event = Event::new(format!("s-{}", n % 5), "T").data(vec![b'x'; 50 + n % 3000]);
        drop(log.append(Append::new().event(event).durability(Durability::Os)).unwrap());
        if n % 7 == 0 {
            log.sync().unwrap();
        }
    }
    log.sync().unwrap();
}

fn is_stream<S: futures_core::Stream<Item = Result<Event, ReadError>> + Send + Unpin + 'static>(_: &S) {}

#[test]
fn a_stream_gives_what_the_iterator_gives() {
    let world = World::new(1);
    let log = world.open();
    fill(&log, 1500);
    is_stream(&log.read(..).stream());
    for reader in [log.reader(), world.reader()] {
        let middle = Offset::from_raw(700);
        let reads: [&dyn Fn() -> annals::Read; 5] = [
            &|| reader.read(..),
            &|| reader.read(middle..).backward(),
            &|| reader.read(..middle).streams("s-3"),
            &|| reader.read(..).matching(Filter::new().stream("nobody")),
            &|| reader.read(middle..middle),
        ];
        run(async {
            let streams: Vec<_> = reads.iter().map(|read| tokio::spawn(collect(read().stream()))).collect();
            for (stream, read) in streams.into_iter().zip(reads) {
                assert_eq!(stream.await.unwrap(), offsets(read()));
            }
        });
    }
}

#[test]
fn receipts_are_awaited_and_followed() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 50;
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(SEGMENT).open(dir.path()).unwrap();
    let remote = LogReader::open(dir.path()).unwrap();
    run(async {
        let readers = [log.reader(), log.reader(), remote];
        let followers: Vec<_> = readers
            .into_iter()
            .map(|reader| {
                let mut stream = reader.follow(Offset::from_raw(0)).stream();
                tokio::spawn(async move {
                    for expected in 0..WRITERS * EACH {
                        assert_eq!(stream.next().await.unwrap().unwrap().offset().raw(), expected);
                    }
                    stream
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let log = log.clone();
                tokio::spawn(async move {
                    for version in 0..EACH {
                        let appended = log.append(Event::new(format!("w-{writer}"), "T")).unwrap().await.unwrap();
                        assert_eq!(appended.versions().next().unwrap().raw(), version);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let mut streams = Vec::new();
        for follower in followers {
            streams.push(follower.await.unwrap());
        }
        log.close().unwrap();
        assert!(streams[0].next().await.is_none(), "the log was closed in this process");
        assert!(streams[1].next().await.is_none());
    });
}

#[test]
fn a_dropped_future_takes_no_event_and_a_dropped_stream_tells_where_to_go_on() {
    let world = World::new(1);
    let log = world.open();
    fill(&log, 1000);
    run(async {
        let (mut seen, mut next) = (Vec::new(), Offset::from_raw(0));
        for round in 0.. {
            let mut stream = match round % 2 {
                0 => log.follow(next).stream(),
                _ => log.read(next..).stream(),
            };
            for wait in 0..150 {
                // Most of these futures are dropped before an event is there.
                if wait % 3 > 0 {
                    let event = tokio::time::timeout(Duration::ZERO, stream.next()).await;
                    seen.extend(event.ok().flatten().map(|event| event.unwrap().offset().raw()));
                } else if seen.len() < 1000 {
                    seen.push(stream.next().await.unwrap().unwrap().offset().raw());
                }
            }
            next = stream.next_offset();
            assert_eq!(next.raw(), seen.len() as u64);
            if seen.len() == 1000 {
                break;
            }
        }
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    });
}

#[test]
fn all_streams_are_read_by_one_thread_and_none_of_the_runtime_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options().segment_bytes_max(SEGMENT).open(dir.path()).unwrap();
    fill(&log, 500);
    let threads = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&threads);
    let on_read = move |_: &std::path::Path| {
        let thread = std::thread::current();
        seen.lock().unwrap().insert((format!("{:?}", thread.id()), thread.name().map(str::to_owned)));
    };
    let disk = Hooked::new(Arc::new(RealDisk), Hooks { on_read: Box::new(on_read), ..Hooks::default() });
    let reader =
        LogReader::open_with(dir.path(), Env { disk: Arc::new(disk), ..Env::system() }, ReadMode::Map).unwrap();
    run(async {
        threads.lock().unwrap().clear();
        let follow = |mut stream: EventStream| async move {
            for _ in 0..600 {
                stream.next().await.unwrap().unwrap();
            }
            stream
        };
        let tasks: Vec<_> =
            (0..20).map(|_| tokio::spawn(follow(reader.follow(Offset::from_raw(0)).stream()))).collect();
        fill(&log, 100);
        let mut streams = Vec::new();
        for task in tasks {
            streams.push(task.await.unwrap());
        }
        let threads = threads.lock().unwrap();
        assert_eq!(threads.len(), 1, "{threads:?}");
        assert!(threads.iter().all(|(_, name)| name.as_deref() == Some("annals-read")));
    });
}

#[test]
fn who_takes_no_event_makes_the_reading_wait_and_nobody_else() {
    let world = World::new(1);
    let log = world.options().segment_bytes_max(32 * SEGMENT).open(crate::world::DIR).unwrap();
    fill(&log, 6000);
    let reads = || world.disk.log().iter().filter(|(op, _)| *op == Op::Read).count();
    run(async {
        let before = reads();
        assert_eq!(collect(log.read(..).stream()).await.len(), 6000);
        let whole = reads() - before;
        let before = reads();
        let mut slow: Vec<_> = (0..10).map(|_| log.read(..).stream()).collect();
        for slow in &mut slow {
            slow.next().await.unwrap().unwrap();
        }
        assert_eq!(collect(log.read(..).stream()).await.len(), 6000);
        let together = reads() - before;
        assert!(together < 6 * whole, "{together} reads, and {whole} of one stream alone");
        for slow in slow {
            assert_eq!(collect(slow).await.len(), 5999);
        }
    });
}

#[test]
fn a_stop_and_a_failure_end_a_stream() {
    let world = World::new(1);
    let log = world.open();
    fill(&log, 10);
    run(async {
        for reader in [log.reader(), world.reader()] {
            let follow = reader.follow(Offset::from_raw(0));
            let stop = follow.stop_handle();
            let mut stream = follow.stream();
            for _ in 0..10 {
                stream.next().await.unwrap().unwrap();
            }
            let waiting = tokio::spawn(async move { stream.next().await.is_none() });
            tokio::task::yield_now().await;
            stop.stop();
            assert!(waiting.await.unwrap());
        }
        let mut stream = log.follow(Offset::from_raw(10)).stream();
        world.disk.inject(annals::testkit::Fault::once(Op::Sync, 0, std::io::ErrorKind::Other));
        log.append(Event::new("s", "T")).unwrap().wait().unwrap_err();
        assert!(matches!(stream.next().await, Some(Err(ReadError::Io(_)))));
        assert!(stream.next().await.is_none());
    });
}
