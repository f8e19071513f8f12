//! A worker that writes a log: appends in four lanes, a consumer, closing and opening again.
//!
//! | line                                | what holds from then on                                            |
//! |-------------------------------------|--------------------------------------------------------------------|
//! | `opened TAIL DURABLE_END TORN`      | the log is open; TORN bytes were cut                               |
//! | `ack D\|O LANE NUMBER FIRST NEXT`   | the append is kept at this durability, and has these offsets       |
//! | `sync END`                          | all before the offset is durable                                   |
//! | `cursor D\|O NAME AT`               | a cursor was committed                                             |
//! | `refused WHY`                       | a typed answer; nothing was written, and it goes on                |
//! | `failed WHY`                        | a typed answer; it ends                                            |
//! | `late LANE NUMBER MS`               | an append was not kept within the deadline; so long was waited     |
//! | `closed`                            | the log was closed in order                                        |
//! | `violation WHAT`                    | the log broke a promise within this process                        |

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals::testkit::{Random, SeededRandom};
use annals::{
    Append, AppendError, Consumer, ConsumerError, Durability, Event, Expect, Log, Offset, OpenError, Receipt,
};

use super::WriterArgs;
use super::report::line;
use crate::workload::{LANES, PRODUCER_LANES, SOURCE, SOURCE_LANE, Spec, codec, lane_stream, pick, random};

/// The worker's consumer.
pub const CONSUMER: &str = "worker";

/// So often in a row a worker with a number of appends tries one that is refused.
const REFUSALS_MAX: u32 = 100;

pub fn run(args: &WriterArgs) -> ExitCode {
    let env = args.world.env();
    for session in 0.. {
        let random = random(&[args.seed, args.generation, session, 1]);
        let options = Log::options()
            .env(env.clone())
            .segment_bytes_max(annals::limits::SEGMENT_BYTES_FIRST)
            .codec(codec(&random));
        let log = match options.open(&args.dir) {
            Ok(log) => log,
            Err(error @ OpenError::DiskFull { .. }) if args.appends.is_none() => {
                line(format_args!("refused {error}"));
                std::thread::sleep(Duration::from_millis(5)); // until there is room
                continue;
            }
            Err(error) => {
                line(format_args!("failed {error}"));
                return ExitCode::FAILURE;
            }
        };
        let torn = log.report().torn.as_ref().map_or(0, |torn| torn.bytes);
        line(format_args!("opened {} {} {torn}", log.tail(), log.durable_end()));
        let session = Session { args, log: &log, stop: AtomicBool::new(false) };
        if let Err(why) = session.work(&random) {
            line(why);
            return ExitCode::FAILURE;
        }
        if args.appends.is_some() || pick(&random, 4) > 0 {
            if let Err(error) = log.close() {
                line(format_args!("failed {error}"));
                return ExitCode::FAILURE;
            }
            line("closed");
        } else {
            drop(log);
        }
        if args.appends.is_some() {
            line("done");
            return ExitCode::SUCCESS;
        }
    }
    ExitCode::SUCCESS
}

/// The log from an open to a close.
struct Session<'a> {
    args: &'a WriterArgs,
    log: &'a Log,
    /// Whether the lanes have come to their end.
    stop: AtomicBool,
}

/// A lane as one session drives it.
struct Lane {
    lane: u64,
    next: u64,
    in_flight: VecDeque<(Receipt, u64)>,
}

impl Session<'_> {
    /// Works until the session is over; an error is the last line.
    fn work(&self, random: &SeededRandom) -> Result<(), String> {
        let lanes = (0..LANES).map(|lane| self.resume(lane)).collect::<Result<Vec<_>, _>>()?;
        let threads = if self.args.steady { 1 } else { 1 + pick(random, LANES) };
        let appends = match self.args.appends {
            Some(appends) => appends,
            None if self.args.steady => u64::MAX,
            None => 20 + pick(random, 300),
        };
        let naps = !self.args.steady && pick(random, 4) == 0;
        let mut shares: Vec<Vec<Lane>> = (0..threads).map(|_| Vec::new()).collect();
        for lane in lanes {
            shares[(lane.lane % threads) as usize].push(lane);
        }
        std::thread::scope(|scope| {
            // A system without memory gives no thread; those that run have to end then.
            let refused = |error: std::io::Error| {
                self.stop.store(true, Ordering::Release);
                format!("failed starting a thread: {error}")
            };
            let thread = std::thread::Builder::new;
            let consumer = thread().spawn_scoped(scope, || self.consume()).map_err(refused)?;
            let mut threads = Vec::new();
            for mut share in shares {
                let window = [0, 1, 8, 64][pick(random, 4) as usize];
                let random = SeededRandom::new(random.next_u64());
                let drive = move || self.drive(&mut share, appends, window, &random);
                threads.push(thread().spawn_scoped(scope, drive).map_err(refused)?);
            }
            let outcomes: Vec<_> = threads.into_iter().map(|thread| joined(thread.join())).collect();
            if naps {
                std::thread::sleep(Duration::from_millis(annals::limits::IDLE_MARK_MS * 5 / 4)); // an idle log
            }
            self.stop.store(true, Ordering::Release);
            let consumed = joined(consumer.join());
            outcomes.into_iter().collect::<Result<(), String>>().and(consumed)
        })
    }

    /// Finds out where a lane stands, by the log alone.
    fn resume(&self, lane: u64) -> Result<Lane, String> {
        let stream = lane_stream(lane);
        let last = self.log.last(&stream).map_err(|error| format!("failed {error}"))?;
        let next = last.as_ref().map_or(0, |last| last.version().raw() + 1);
        if let (Some(last), Some(number)) = (&last, next.checked_sub(1)) {
            let spec = Spec::new(self.args.seed, lane, number);
            if lane < PRODUCER_LANES {
                self.resend(&spec, last.offset())?;
            }
            if lane == SOURCE_LANE {
                let position = self.log.source(SOURCE).map(|record| record.position.to_vec());
                if position != Some(number.to_le_bytes().to_vec()) {
                    let stands = format!("{stream:?} ends with append {number}");
                    return Err(format!("violation {stands}, but source {SOURCE:?} is at {position:?}"));
                }
            }
        }
        Ok(Lane { lane, next, in_flight: VecDeque::new() })
    }

    /// Sends an append again: it has to be recognised.
    fn resend(&self, spec: &Spec, last_event: Offset) -> Result<(), String> {
        let Spec { lane, number, .. } = spec;
        let appended = match self.log.append(spec.append(None)).and_then(Receipt::wait) {
            Ok(appended) => appended,
            Err(AppendError::DiskFull | AppendError::Io(_)) => return Ok(()), // it says nothing of the original
            Err(error @ (AppendError::OutcomeUnknown(_) | AppendError::Poisoned(_) | AppendError::Closed)) => {
                return Err(format!("failed {error}"));
            }
            Err(error) => return Err(format!("violation append {number} of lane {lane}, sent again: {error}")),
        };
        if appended.is_resend() && appended.next() == last_event.plus(1) {
            return Ok(());
        }
        Err(format!("violation append {number} of lane {lane} ends at {last_event}; sent again, it is {appended:?}"))
    }

    /// Appends in turn to some lanes.
    fn drive(&self, lanes: &mut [Lane], appends: u64, window: usize, random: &SeededRandom) -> Result<(), String> {
        for _ in 0..appends {
            for lane in &mut *lanes {
                if self.stop.load(Ordering::Acquire) {
                    return Ok(());
                }
                let done = self.append(lane, random).and_then(|()| {
                    let window = if self.args.steady { 0 } else { window };
                    self.wait(lane, window, random)
                });
                done.inspect_err(|_| self.stop.store(true, Ordering::Release))?;
            }
            if pick(random, 50) == 0 {
                let end = self.log.sync().map_err(|error| format!("failed {error}"))?;
                line(format_args!("sync {end}"));
            }
        }
        lanes.iter_mut().try_for_each(|lane| self.wait(lane, 0, random))
    }

    fn append(&self, lane: &mut Lane, random: &SeededRandom) -> Result<(), String> {
        if pick(random, 24) == 0 && lane.next > 0 {
            self.append_what_must_not_be(lane)?;
        }
        let spec = Spec::new(self.args.seed, lane.lane, lane.next);
        let mut refusals = 0;
        loop {
            let source = if lane.lane == SOURCE_LANE { self.log.source(SOURCE) } else { None };
            match self.log.append(spec.append(source)) {
                Ok(receipt) => {
                    lane.in_flight.push_back((receipt, lane.next));
                    lane.next += 1;
                    return Ok(());
                }
                Err(error) if error.is_retryable() || matches!(error, AppendError::Read(_)) => {
                    // Whoever counts its appends is under a limit that does not go away by itself.
                    refusals += 1;
                    if self.args.appends.is_some() && refusals > REFUSALS_MAX {
                        return Err(format!("failed {error}"));
                    }
                    line(format_args!("refused {error}"));
                    std::thread::sleep(Duration::from_millis(5)); // until there is room
                }
                Err(error @ (AppendError::Poisoned(_) | AppendError::OutcomeUnknown(_))) => {
                    return Err(self.poisoned(error));
                }
                Err(error) => return Err(format!("violation append {} of lane {}: {error}", spec.number, spec.lane)),
            }
        }
    }

    /// After a failure no later append may be taken.
    fn poisoned(&self, error: AppendError) -> String {
        let event = Event::new("after the failure", "T");
        match self.log.append(event).and_then(Receipt::wait) {
            Ok(appended) => format!("violation after {error:?} the log took {appended:?}"),
            Err(_) => format!("failed {error}"),
        }
    }

    fn append_what_must_not_be(&self, lane: &Lane) -> Result<(), String> {
        let stream = lane_stream(lane.lane);
        let append = Append::new().event(Event::new(stream.as_str(), "Never")).expect(stream.as_str(), Expect::None);
        match self.log.append(append) {
            Err(_) => Ok(()),
            Ok(receipt) => Err(format!(
                "violation stream {stream:?} was expected to have no event, has {}, and the log took {:?}",
                lane.next,
                receipt.planned()
            )),
        }
    }

    /// Waits until no more appends of a lane are on their way than these.
    fn wait(&self, lane: &mut Lane, window: usize, random: &SeededRandom) -> Result<(), String> {
        while lane.in_flight.len() > window {
            let Some((receipt, number)) = lane.in_flight.pop_front() else { break };
            if pick(random, 32) == 0 {
                continue; // nobody cares for this one
            }
            let spec = Spec::new(self.args.seed, lane.lane, number);
            let appended = self.kept(receipt, &spec)?;
            let (first, next) = (appended.first(), appended.next());
            let version = appended.versions().nth(spec.pieces.len() - 1).map(|version| version.raw());
            if version != Some(number) || next.raw() - first.raw() != spec.events() || appended.is_resend() {
                return Err(format!("violation append {number} of lane {} became {appended:?}", lane.lane));
            }
            let level = if spec.durability == Durability::Disk { 'D' } else { 'O' };
            line(format_args!("ack {level} {} {number} {first} {next}", lane.lane));
        }
        Ok(())
    }

    /// Waits until an append is kept; with a deadline it reports how long that took, and then waits on.
    fn kept(&self, mut receipt: Receipt, spec: &Spec) -> Result<annals::Appended, String> {
        if let Some(deadline) = self.args.deadline_ms.map(Duration::from_millis) {
            let start = Instant::now();
            match receipt.wait_for(deadline) {
                Ok(appended) => return Ok(appended),
                Err(AppendError::Late { .. }) => {
                    line(format_args!("late {} {} {}", spec.lane, spec.number, start.elapsed().as_millis()));
                }
                Err(error) => return Err(self.poisoned(error)),
            }
        }
        receipt.wait().map_err(|error| self.poisoned(error))
    }

    /// Reads on as a consumer, and commits now in the background, now on the disk.
    fn consume(&self) -> Result<(), String> {
        let mut consumer = match self.log.consumer(CONSUMER) {
            Ok(consumer) => consumer,
            Err(error) => return self.consumer_failed(&error),
        };
        while !self.stop.load(Ordering::Acquire) {
            if let Err(error) = self.read_on(&mut consumer) {
                return self.consumer_failed(&error);
            }
            let waited = self.log.reader().wait_past(consumer.cursor(), Duration::from_millis(20));
            if let Err(error) = waited {
                line(format_args!("refused {error}"));
                return Ok(());
            }
        }
        Ok(())
    }

    fn read_on(&self, consumer: &mut Consumer) -> Result<(), ConsumerError> {
        let events = consumer.read();
        for event in events {
            let at = event?.offset().plus(1);
            match at.raw() % 16 {
                0 => {
                    consumer.commit(at)?;
                    line(format_args!("cursor D {CONSUMER} {at}"));
                }
                4 | 8 => {
                    consumer.commit_in_background(at)?;
                    line(format_args!("cursor O {CONSUMER} {at}"));
                }
                _ => {}
            }
            if self.stop.load(Ordering::Acquire) {
                break;
            }
        }
        Ok(())
    }

    /// The disk may fail a consumer; nothing else may.
    fn consumer_failed(&self, error: &ConsumerError) -> Result<(), String> {
        match error {
            ConsumerError::Io(_) | ConsumerError::Read(annals::ReadError::Io(_)) => {
                line(format_args!("refused {error}"));
                Ok(())
            }
            _ => {
                self.stop.store(true, Ordering::Release);
                Err(format!("violation consumer: {error}"))
            }
        }
    }
}

/// What a thread returned; its panic is this one's.
fn joined<T>(outcome: std::thread::Result<T>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
