//! What a reader sees: an end, and the segments that hold all events before it.

use loom::thread;

use super::group::{Group, Watched};
use crate::every_order;
use crate::sync::{Arc, park};

/// A segment is its first offset here.
type Log = Group<u64, &'static str>;

/// The writer rolls at offset 2 and goes on: as `Shared::roll_files`, then `Shared::commit`.
fn a_writer_rolls(look: impl Fn(&Log) -> (u64, Arc<Vec<Arc<u64>>>) + Send + Sync + 'static) {
    every_order(move || {
        let log: Arc<Log> = Arc::new(Group::new(vec![Arc::new(0)], 1));
        let writer = Arc::clone(&log);
        let thread = thread::spawn(move || {
            writer.publish_durable(2);
            writer.add_segment(Arc::new(2));
            writer.publish_durable(3);
        });
        for _ in 0..2 {
            let (end, segments) = look(&log);
            assert!(end <= 2 || segments.len() == 2, "events before {end} are in no segment");
        }
        thread.join().expect("it ended");
    });
}

#[test]
fn all_events_before_the_end_are_in_the_segments_seen() {
    a_writer_rolls(|log| log.seen(Group::durable_end));
}

#[test]
#[ignore = "are in no segment"]
fn found_segments_looked_at_before_the_end() {
    a_writer_rolls(|log| {
        let segments = log.segments();
        (log.durable_end(), segments)
    });
}

/// A reader follows while the writer makes an event durable and closes the log.
fn a_reader_follows(watch: impl Fn(&Log) -> Watched<&'static str, ()> + Send + Sync + 'static) {
    every_order(move || {
        let log: Arc<Log> = Arc::new(Group::new(vec![Arc::new(0)], 0));
        let writer = Arc::clone(&log);
        let thread = thread::spawn(move || {
            writer.publish_durable(1);
            writer.wake();
            writer.close();
        });
        assert_eq!(watch(&log), Watched::Durable, "it was durable before the log was closed");
        assert_eq!(log.watch(2, || None::<()>, park), Watched::Closed);
        thread.join().expect("it ended");
    });
}

#[test]
fn who_follows_is_woken_by_each_event_and_by_the_end() {
    a_reader_follows(|log| log.watch(1, || None, park));
}

#[test]
#[ignore = "before the log was closed"]
fn found_a_reader_that_asks_for_the_end_after_it_looked_for_events() {
    a_reader_follows(|log| match log.durable_end() >= 1 {
        true => Watched::Durable,
        false if log.is_closed() => Watched::Closed,
        false => log.watch(1, || None, park),
    });
}
