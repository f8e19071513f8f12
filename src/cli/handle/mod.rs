//! `annals handle`: an exactly-once handler in any language. A command gets state and event, and answers with state and
//! outputs; what it answered counts together with the handler's position, or not at all.

mod child;
mod command;
mod guard;
mod keys;
mod logic;
mod plan;
mod protocol;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{Out, counted, note};
use super::progress::Progress;
use super::target::{LogArg, open_existing};
use super::time::parse_duration;
use crate::disk::{Clock, SystemClock};
#[cfg(feature = "sled")]
use crate::handler::snapshot::view_folder;
use crate::{Filter, HandlerSpec, Log, OpenError, Runner, Step, View, ViewError};

pub(super) use command::CommandArgs;
pub(super) use guard::{GUARD, GuardArgs};

use keys::Keys;
use logic::{Commanded, Settings};

/// While nothing comes it looks this often whether something is to be done.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Handle events with a command, each exactly once: state, position and outputs move together
///
/// For each event the command reads a line {"key":…,"event":{…},"state":…} and writes one:
/// {"state":…,"emit":[{"stream":…,"type":…,"data":…}]}, or {"retry":MS}, {"park":WHY}, {"skip":WHY}. A state that is left
/// out stays as it is, null removes it. Answers come in the order of the lines; the next event of a key waits for
/// the answer to the one before. Whatever ends the command, an event that was not answered is tried again, and parked
/// after five failures in a row.
#[derive(Debug, Args)]
pub(super) struct HandleArgs {
    #[command(flatten)]
    log: LogArg,
    /// Name of the handler: its state and its position are kept under it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The command; it runs under `sh -c`
    #[arg(long, value_name = "CMD")]
    exec: String,
    /// Only events of these types, with commas between, or given again
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    on: Vec<String>,
    /// Only events of streams that match; may be given again
    #[arg(long = "stream", value_name = "PATTERN")]
    streams: Vec<String>,
    /// What state is kept by, made of an event's data: text with `{field}` or `{/json/pointer}` [default: the stream]
    #[arg(long, value_name = "TPL")]
    key: Option<String>,
    /// Version of the command's logic; each has a state of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    generation: u32,
    /// How long one answer may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// Go on with the events that come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// One line for all events of a key that are handled together: {"key":…,"events":[{…},…],"state":…}
    #[arg(long)]
    batch: bool,
}

impl HandleArgs {
    pub(super) fn run(self, json: bool) -> Result<Exit, Failure> {
        let keys = Keys::new(self.key.as_deref()).map_err(|why| Failure::usage(format!("--key: {why}")))?;
        let path = self.log.path().to_owned();
        let log = open_existing(&path)?.ok_or(OpenError::NotFound { path: path.clone() })?;
        let started = Instant::now();
        let starts = Arc::new(AtomicU64::new(0));
        let settings = Settings {
            handler: self.name.clone(),
            command: self.exec.clone(),
            keys: Arc::new(keys),
            timeout: self.timeout,
            batch: self.batch,
        };
        let logic = Box::new(Commanded::new(settings, Arc::clone(&starts)));
        let view = view_of(&log, &path)?;
        let mut runner = Runner::open_shared(Arc::new(log.clone()), Arc::clone(&view), self.spec(), logic)?;
        let before = runner.counts();
        let paused = self.handle(&log, &mut runner)?;
        let (handled, emitted) = runner.counts();
        let done = Done {
            handled: handled - before.0,
            emitted: emitted - before.1,
            parked: runner.parked(),
            cursor: runner.cursor().raw(),
            starts: starts.load(Ordering::Relaxed),
            paused,
        };
        runner.close()?;
        view.close()?;
        log.close()?;
        done.say(json, &path, &self.name, started)?;
        Ok(if done.parked > 0 || done.paused.is_some() { Exit::No } else { Exit::Done })
    }

    fn spec(&self) -> HandlerSpec {
        let filter = Filter::new().types(self.on.iter().map(String::as_str));
        let filter = self.streams.iter().fold(filter, |filter, pattern| filter.stream(pattern));
        HandlerSpec::new(&self.name)
            .generation(self.generation)
            .on(filter)
            .keyed_by(self.key.as_deref().unwrap_or_default())
            .exact(!self.batch)
    }

    /// Handles events up to the end that the log has now, or without an end; returns why it is paused, if it is.
    fn handle(&self, log: &Log, runner: &mut Runner) -> Result<Option<String>, Failure> {
        let (from, end) = (runner.cursor(), log.durable_end());
        if !self.follow {
            runner.stop_at(end);
        }
        let progress = Progress::of_events("handling", (!self.follow).then(|| end.raw().saturating_sub(from.raw())));
        let clock = SystemClock::default();
        loop {
            match runner.step()? {
                Step::Went { .. } => progress.at(runner.cursor().raw() - from.raw()),
                Step::Idle { due_us } => {
                    runner.settle()?;
                    let due = due_us.map(|due| u64::try_from(due - clock.now().as_micros()).unwrap_or(0));
                    let due = due.map(Duration::from_micros);
                    match (self.follow, due) {
                        (true, due) => runner.wait(due.unwrap_or(LOOK_UP).min(LOOK_UP))?,
                        // What is to be tried again is a part of what there is.
                        (false, Some(due)) => std::thread::sleep(due.min(LOOK_UP)),
                        (false, None) => return Ok(None),
                    }
                }
                Step::Paused { reason } => {
                    runner.settle()?;
                    if !self.follow {
                        return Ok(Some(reason));
                    }
                    runner.wait(LOOK_UP)?;
                }
            }
        }
    }
}

/// Where the states of a log's handlers are kept at hand. Everything in it can be made again.
#[cfg(feature = "sled")]
fn view_of(log: &Log, dir: &Path) -> Result<Arc<dyn View>, ViewError> {
    Ok(Arc::new(crate::SledView::open(view_folder(dir), log.id())?))
}

#[cfg(not(feature = "sled"))]
fn view_of(_: &Log, _: &Path) -> Result<Arc<dyn View>, ViewError> {
    Ok(Arc::new(crate::MemoryView::new()))
}

/// What a run did.
#[derive(Debug)]
struct Done {
    handled: u64,
    emitted: u64,
    parked: usize,
    cursor: u64,
    starts: u64,
    paused: Option<String>,
}

impl Done {
    fn say(&self, json: bool, log: &Path, name: &str, started: Instant) -> Result<(), Failure> {
        if json {
            let mut out = Out::stdout();
            out.line(json!({
                "log": log.to_string_lossy(),
                "handler": name,
                "handled": self.handled,
                "emitted": self.emitted,
                "parked": self.parked,
                "cursor": self.cursor,
                "starts": self.starts,
                "paused": self.paused,
            }))?;
            return out.flush();
        }
        let seconds = started.elapsed().as_secs_f64();
        note(format_args!(
            "handled {}  put out {}  up to offset {} (exclusive)  durable  {seconds:.1} s",
            counted(self.handled, "event"),
            counted(self.emitted, "event"),
            self.cursor,
        ));
        if self.starts > 1 {
            note(format_args!("the command was started {} times", self.starts));
        }
        if self.parked > 0 {
            note(format_args!(
                "{} set aside: `annals park LOG {name} ls` shows why, `… retry` tries again, `… drop` gives up",
                counted(self.parked as u64, "stream"),
            ));
        }
        if let Some(reason) = &self.paused {
            note(format_args!("paused: {reason}"));
        }
        Ok(())
    }
}
