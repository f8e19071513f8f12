//! What a producer's sequence adds to an append, and how often a consumer can commit.

use std::time::Instant;

use annals::{Append, Durability, Log, Offset};

use crate::{Bench, report};

impl Bench {
    /// Appends one by one, with and without a producer; then resends.
    pub fn producers(&self) {
        const EVENTS: usize = 1_000_000;
        const RESENDS: usize = 20_000;
        let run = |producers: usize| {
            let ids: Vec<String> = (0..producers).map(|n| format!("producer-{n}")).collect();
            let log = Log::open(self.fresh("producers")).unwrap();
            let append = |n: usize| {
                let append = Append::new().event(self.event(n)).durability(Durability::Os);
                match producers {
                    0 => append,
                    _ => append.producer(ids[n % producers].as_str(), 0, (n / producers) as u64),
                }
            };
            let start = Instant::now();
            for n in 0..EVENTS {
                drop(log.append(append(n)).unwrap());
            }
            let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
            log.sync().unwrap();
            if producers > 0 {
                let start = Instant::now();
                for n in EVENTS - RESENDS..EVENTS {
                    let n = EVENTS - 1 - n % (producers * 8);
                    assert!(log.append(append(n)).unwrap().planned().is_resend());
                }
                let each = start.elapsed().as_secs_f64() / RESENDS as f64;
                report::also(&format!("a resend is answered in {:.1} us", each * 1e6));
                assert_eq!(log.tail(), Offset::from_raw(EVENTS as u64), "nothing was stored twice");
            }
            log.close().unwrap();
            rate
        };
        let plain = run(0);
        report::floor("append, one by one, no producer, Os", plain, "appends/s");
        for producers in [1, 16, 4000] {
            report::result(&format!("append by {producers} producers, Os"), run(producers), "appends/s", plain);
        }
    }

    /// Commits of a cursor, each with its own sync, beside the sync alone; and in the background.
    pub fn consumers(&self) {
        const EVENTS: usize = 1_000_000;
        const SECONDS: f64 = 2.0;
        let floor = crate::floors::sync(&self.fresh("floor"), 4096, true, SECONDS);
        report::floor("write + fdatasync of 4 KiB, zeros ahead", floor, "syncs/s");
        let dir = self.fresh("consumers");
        crate::fill(&dir, EVENTS, |n| self.event(n));
        let log = Log::open(&dir).unwrap();
        let commits = |name: &str, step: u64, background: bool| {
            let mut consumer = log.consumer(name).unwrap();
            let (start, mut commits) = (Instant::now(), 0u64);
            while start.elapsed().as_secs_f64() < SECONDS && (commits + 1) * step <= EVENTS as u64 {
                commits += 1;
                let next = Offset::from_raw(commits * step);
                match background {
                    false => consumer.commit(next).unwrap(),
                    true => consumer.commit_in_background(next).unwrap(),
                }
            }
            commits as f64 / start.elapsed().as_secs_f64()
        };
        report::result("commit after every event", commits("every", 1, false), "commits/s", floor);
        report::result("commit after every 100 events", commits("hundred", 100, false), "commits/s", floor);
        report::result("commit in the background, every event", commits("background", 1, true), "commits/s", floor);
        let consumer = log.consumer("reading").unwrap();
        let start = Instant::now();
        let bytes: usize = consumer.read().map(|event| event.unwrap().data().len()).sum();
        assert_eq!(bytes, EVENTS * crate::DATA_BYTES);
        let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
        report::result("reading by a consumer", rate, "events/s", f64::NAN);
        drop(consumer);
        log.close().unwrap();
    }
}
