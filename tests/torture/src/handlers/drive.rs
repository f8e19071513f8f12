//! One run: handlers on a log, on a disk that fails, ended by crashes, and after each the question what is left.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals::testkit::{Clock, SeededRandom, own_append};
use annals::{
    Append, Durability, Event, Expect, Filter, HandlerError, HandlerSpec, Log, LogId, LogReader, MemoryLog, MemoryView,
    Offset, ReadMode, Receipt, Retry, Runner, Space, StateReader, StateValue, Step, View,
};

use super::logic::{Programs, Weather};
use super::oracle::{Folded, Oracle};
use super::swarm::{DEEDS, Deed, Role, Swarm};
use super::view::{LIES, Place, SimView};
use crate::dice::Dice;
use crate::oracle::{Broken, ensure};
use crate::sim::machine::{ENDS, End, Machine};

/// What a run did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub deeds: u64,
    pub crashes: u64,
    pub calls: u64,
    pub faults: u64,
    pub records: u64,
    pub outputs: u64,
    pub decisions: u64,
    pub fenced: u64,
    pub rebuilt: u64,
    pub hash: u64,
}

/// One instance of a handler.
struct Instance {
    runner: Runner,
    view: Arc<dyn View>,
    /// Another one was opened since.
    late: bool,
}

/// What lives as long as the process.
struct Life {
    log: Log,
    receipts: Vec<Receipt>,
    instances: Vec<[Option<Instance>; 2]>,
    views: Vec<[Option<Arc<SimView>>; 2]>,
}

struct Run {
    swarm: Swarm,
    dice: Dice,
    machine: Machine,
    life: Option<Life>,
    places: Vec<[Arc<Mutex<Place>>; 2]>,
    older: Vec<Place>,
    foreign: bool,
    weather: Arc<Weather>,
    /// What was durable at the last look, event by event.
    known: Vec<Event>,
    durable: u64,
    injected: u64,
    full: bool,
    seed: u64,
    shown: bool,
    tally: Tally,
}

/// Runs one seed.
pub fn run(seed: u64, hashed: bool, shown: bool) -> (Swarm, Result<Tally, Broken>) {
    let dice = Dice::new(seed ^ 0x4a11d);
    let swarm = Swarm::draw(&dice);
    let mut run = Run {
        places: swarm.roles.iter().map(|_| Default::default()).collect(),
        older: Vec::new(),
        foreign: false,
        machine: Machine::new(seed, hashed, shown),
        life: None,
        weather: Arc::default(),
        known: Vec::new(),
        durable: 0,
        injected: 0,
        full: false,
        seed,
        shown,
        tally: Tally::default(),
        swarm: swarm.clone(),
        dice,
    };
    if shown {
        eprintln!("{swarm:#?}");
    }
    let outcome = run.go();
    run.tally.calls = run.machine.disk.calls();
    run.tally.faults = run.machine.disk.injected();
    run.tally.hash = run.machine.disk.hash();
    (swarm, outcome.map(|()| run.tally))
}

fn all_events(reader: &LogReader) -> Result<Vec<Event>, Broken> {
    let read = reader.read(..).matching(Filter::new().system(true));
    read.collect::<Result<_, _>>().map_err(|error| format!("the log is not read: {error}"))
}

impl Run {
    fn say(&self, what: impl FnOnce() -> String) {
        if self.shown {
            eprintln!("  {}", what());
        }
    }

    fn log(&self) -> Option<&Log> {
        self.life.as_ref().map(|life| &life.log)
    }

    /// An error is nobody's fault but that of a fault.
    fn excuse(&self, what: &str, error: &dyn Display) -> Result<(), Broken> {
        self.say(|| format!("{what}: {error}"));
        let excused = self.machine.disk.is_stopped() || self.machine.disk.injected() > self.injected || self.full;
        ensure!(excused, "{what} fails without a fault: {error}");
        Ok(())
    }

    fn go(&mut self) -> Result<(), Broken> {
        self.recover()?;
        for crash in 0..=self.swarm.crashes {
            let deeds = self.swarm.deeds / (self.swarm.crashes + 1);
            self.machine.disk.set_rates(self.swarm.rates);
            let last = self.dice.between(0, deeds);
            for deed in 0..deeds {
                if deed == last && crash < self.swarm.crashes && self.dice.percent(80) {
                    self.machine.disk.stop_after(Some(self.dice.between(1, 80)));
                }
                if self.life.is_none() {
                    break;
                }
                self.deed()?;
                if self.machine.disk.is_stopped() {
                    break;
                }
            }
            self.crash()?;
            self.recover()?;
        }
        self.finish()
    }

    fn deed(&mut self) -> Result<(), Broken> {
        self.tally.deeds += 1;
        let deed = DEEDS[self.dice.weighted(&self.swarm.weights)];
        self.say(|| format!("{deed:?}"));
        let which = self.dice.below(self.swarm.roles.len() as u64) as usize;
        let slot = usize::from(self.dice.percent(25));
        match deed {
            Deed::Append => self.append(),
            Deed::Step => self.step(which, slot),
            Deed::Settle => self.settle(which, slot),
            Deed::Open => self.open(which, slot),
            Deed::Leave => {
                if let Some(life) = &mut self.life {
                    life.instances[which][slot] = None;
                }
                Ok(())
            }
            Deed::Close => self.close(which, slot),
            Deed::Control => self.control(which),
            Deed::Clock => {
                self.machine.clock.advance_ms(self.dice.of(&[1, 50, 2000, 120_000]));
                Ok(())
            }
            Deed::Sync => self.on_log("a sync", |log| log.sync().map(|_| ()).map_err(|error| error.to_string())),
            Deed::Background => {
                self.on_log("background work", |log| log.step().map(|_| ()).map_err(|error| error.to_string()))
            }
            Deed::Barrier => self.barrier(which, slot),
            Deed::Weather => {
                self.weather.hour.fetch_add(1, Ordering::Relaxed);
                let percent = if self.dice.percent(40) { 0 } else { self.swarm.weather };
                self.weather.percent.store(percent, Ordering::Relaxed);
                Ok(())
            }
            Deed::Look => match self.look_at_state(which) {
                Err(_) if self.machine.disk.is_stopped() => Ok(()),
                looked => looked,
            },
            Deed::Room => {
                if self.swarm.full {
                    self.full = true;
                    let room = if self.dice.percent(50) { Some(self.dice.below(6000)) } else { None };
                    self.machine.memory.set_free(room);
                }
                Ok(())
            }
        }
    }

    /// Does something with the log. After an outcome that is not known it has to be opened again.
    fn on_log(&mut self, what: &str, does: impl FnOnce(&Log) -> Result<(), String>) -> Result<(), Broken> {
        let Some(log) = self.log() else { return Ok(()) };
        if let Err(error) = does(log) {
            self.excuse(what, &error)?;
            if !error.contains("the disk is full") {
                self.crash()?;
                self.recover()?;
            }
        }
        Ok(())
    }

    fn append(&mut self) -> Result<(), Broken> {
        let count = self.dice.between(1, 4);
        let mut append = Append::new();
        for _ in 0..count {
            let mut data = Vec::new();
            for _ in 0..self.dice.between(1, 3) {
                data.extend([self.dice.weighted(&self.swarm.programs) as u8, self.dice.below(256) as u8]);
            }
            let event = Event::new(format!("s-{}", self.dice.below(self.swarm.streams)), "Given").data(data);
            append = append.event(if self.dice.percent(20) { event.id(format!("{}", self.dice.any())) } else { event });
        }
        let durability = if self.dice.percent(50) { Durability::Disk } else { Durability::Os };
        let wait = self.dice.percent(40);
        let mut receipts = Vec::new();
        self.on_log("an append", |log| {
            let receipt = log.append(append.durability(durability)).map_err(|error| error.to_string())?;
            match wait {
                true => receipt.wait().map(|_| ()).map_err(|error| error.to_string()),
                false => {
                    receipts.push(receipt);
                    Ok(())
                }
            }
        })?;
        if let Some(life) = &mut self.life {
            life.receipts.extend(receipts);
        }
        self.note_durable();
        Ok(())
    }

    fn note_durable(&mut self) {
        if let Some(log) = self.log() {
            self.durable = self.durable.max(log.durable_end().raw());
        }
    }

    fn spec(&self, role: &Role) -> HandlerSpec {
        let filter = role.streams.iter().fold(Filter::new(), |filter, begin| filter.stream(&format!("{begin}*")));
        HandlerSpec::new(&role.name)
            .on(filter)
            .window(role.window.0, role.window.1)
            .cache(role.cache)
            .exact(role.exact)
            .retry(Retry { attempts: role.attempts, first: Duration::from_millis(20), most: Duration::from_secs(2) })
            .horizon(role.horizon)
            .hops(role.hops)
            .parked_max(role.parked_max)
            .snapshot_after(role.snapshot_after)
            .by_hand(true)
            .clock(Arc::clone(&self.machine.clock) as Arc<dyn Clock>)
            .random(Arc::new(SeededRandom::new(self.seed)))
    }

    fn view(&mut self, which: usize, slot: usize) -> Option<Arc<dyn View>> {
        if self.swarm.roles[which].in_memory {
            return Some(Arc::new(MemoryView::new()));
        }
        let slot = if self.swarm.shared { 0 } else { slot };
        let (place, boot) = (&self.places[which][slot], self.machine.boot());
        let held = self.life.as_mut()?.views[which].get_mut(slot)?;
        let view = held.get_or_insert_with(|| Arc::new(SimView::open(place, &self.machine.disk, boot)));
        Some(Arc::clone(view) as Arc<dyn View>)
    }

    fn open(&mut self, which: usize, slot: usize) -> Result<(), Broken> {
        let Some(view) = self.view(which, slot) else { return Ok(()) };
        let spec = self.spec(&self.swarm.roles[which]);
        let Some(life) = &mut self.life else { return Ok(()) };
        life.instances[which][slot] = None;
        if let Some(other) = &mut life.instances[which][1 - slot] {
            other.late = true;
        }
        match Runner::open(life.log.clone(), Arc::clone(&view), spec, Programs(Arc::clone(&self.weather))) {
            Ok(runner) => life.instances[which][slot] = Some(Instance { runner, view, late: false }),
            Err(HandlerError::WrongLog { .. }) if self.foreign => {
                for place in self.places.iter().flatten() {
                    *place.lock().unwrap_or_else(PoisonError::into_inner) = Place::default();
                }
                life.views.iter_mut().flatten().for_each(|view| *view = None);
                life.instances.iter_mut().flatten().for_each(|instance| *instance = None);
                self.foreign = false;
            }
            Err(error) => self.excuse("opening a handler", &error)?,
        }
        self.note_durable();
        Ok(())
    }

    /// Does something with an instance; it is gone when that fails.
    fn with<T>(
        &mut self,
        which: usize,
        slot: usize,
        what: &str,
        does: impl FnOnce(&mut Instance) -> Result<T, HandlerError>,
    ) -> Result<Option<T>, Broken> {
        let Some(life) = &mut self.life else { return Ok(None) };
        let Some(instance) = &mut life.instances[which][slot] else { return Ok(None) };
        let late = instance.late;
        match does(instance) {
            Ok(done) => Ok(Some(done)),
            Err(error) => {
                life.instances[which][slot] = None;
                match &error {
                    HandlerError::Fenced { .. } if late => self.tally.fenced += 1,
                    HandlerError::View(annals::ViewError::Damaged { .. }) => self.tally.rebuilt += 1,
                    HandlerError::Append(annals::AppendError::DiskFull) if self.full => {}
                    _ => {
                        self.excuse(what, &error)?;
                        if matches!(error, HandlerError::Append(_)) && !self.machine.disk.is_stopped() {
                            self.crash()?;
                            self.recover()?;
                        }
                    }
                }
                Ok(None)
            }
        }
    }

    fn step(&mut self, which: usize, slot: usize) -> Result<(), Broken> {
        if self.life.as_ref().is_some_and(|life| life.instances[which][slot].is_none()) && slot == 0 {
            self.open(which, slot)?;
        }
        let step = self.with(which, slot, "a step", |instance| instance.runner.step())?;
        self.say(|| format!("{which}.{slot}: {step:?}"));
        self.note_durable();
        Ok(())
    }

    fn settle(&mut self, which: usize, slot: usize) -> Result<(), Broken> {
        self.with(which, slot, "settling", |instance| instance.runner.settle())?;
        self.note_durable();
        Ok(())
    }

    fn barrier(&mut self, which: usize, slot: usize) -> Result<(), Broken> {
        self.with(which, slot, "a barrier", |instance| Ok(instance.view.barrier()?))?;
        if self.dice.percent(20) {
            let place = self.places[which][slot].lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.older.push(place);
        }
        Ok(())
    }

    fn close(&mut self, which: usize, slot: usize) -> Result<(), Broken> {
        let Some(instance) = self.life.as_mut().and_then(|life| life.instances[which][slot].take()) else {
            return Ok(());
        };
        let (view, late) = (instance.view, instance.late);
        match instance.runner.close() {
            Ok(()) => {}
            Err(HandlerError::Fenced { .. }) if late => {}
            Err(error) => self.excuse("closing", &error)?,
        }
        // A view that nobody else uses is closed too.
        if !self.swarm.shared && !self.swarm.roles[which].in_memory {
            if let Err(error) = view.close() {
                self.excuse("closing a view", &error)?;
            }
            if let Some(life) = &mut self.life {
                life.views[which][slot] = None;
            }
            let place = self.places[which][slot].lock().unwrap_or_else(PoisonError::into_inner).clone();
            if self.dice.percent(30) && place.is_closed() {
                self.older.push(place);
            }
        }
        self.note_durable();
        Ok(())
    }

    fn control(&mut self, which: usize) -> Result<(), Broken> {
        let stream = format!("s-{}", self.dice.below(self.swarm.streams));
        let verb = match self.swarm.plain {
            true => self.dice.of(&["Pause", "Resume"]),
            false => self.dice.of(&["Pause", "Resume", "Resume", "Resume", "Retry", "Retry", "Drop", "Unknown"]),
        };
        let all = if self.dice.percent(30) { "true" } else { "false" };
        self.ask(which, verb, &stream, all)
    }

    fn ask(&mut self, which: usize, verb: &'static str, stream: &str, all: &str) -> Result<(), Broken> {
        let name = format!("$control/{}", self.swarm.roles[which].name);
        let event = Event::new(name, verb).data(&b"because"[..]).header("stream", stream).header("all", all);
        self.on_log("a wish", |log| {
            let append = own_append(Append::new(), event, Expect::Any);
            log.append(append).and_then(Receipt::wait).map(|_| ()).map_err(|error| error.to_string())
        })
    }

    /// Ends the process in the middle of whatever it does.
    fn crash(&mut self) -> Result<(), Broken> {
        self.tally.crashes += 1;
        self.note_durable();
        let ends = self.swarm.ends.iter().sum::<u32>();
        let mut end = if ends == 0 { End::Kill } else { ENDS[self.dice.weighted(&self.swarm.ends)] };
        if end == End::Close {
            end = End::Kill;
        }
        self.say(|| format!("ends by {end:?}"));
        self.machine.disk.stop_after(Some(0));
        self.life = None;
        self.machine.end(end, &self.dice);
        for place in self.places.iter().flatten() {
            place.lock().unwrap_or_else(PoisonError::into_inner).crash(&self.dice);
        }
        self.harm_views();
        self.harm_snapshots();
        Ok(())
    }

    fn harm_views(&mut self) {
        let [lies, older, gone, other] = self.swarm.views;
        for place in self.places.iter().flatten() {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            if self.dice.percent(older) && !self.older.is_empty() {
                let at = self.dice.below(self.older.len() as u64) as usize;
                *place = self.older[at].clone();
            }
            // A row of a store that was closed has a checksum: it is damaged, and never another one.
            if self.dice.percent(lies) && !place.is_closed() {
                place.lie(self.dice.of(&LIES), &self.dice);
            } else if self.dice.percent(lies / 2) && place.is_closed() {
                place.lie(super::view::Lie::Damaged, &self.dice);
            }
            if self.dice.percent(gone) {
                *place = Place::default();
            }
            if self.dice.percent(other) && place.has_rows() {
                place.give_to(LogId::from_raw(7));
                self.foreign = true;
            }
        }
    }

    fn harm_snapshots(&mut self) {
        let files: Vec<(PathBuf, u64)> = self
            .machine
            .memory
            .files()
            .into_iter()
            .filter(|(path, _)| path.to_string_lossy().contains("/state/"))
            .collect();
        for (path, len) in &files {
            if *len == 0 || !self.dice.percent(self.swarm.snapshots) {
                continue;
            }
            self.say(|| format!("{} is harmed", path.display()));
            match self.dice.below(3) {
                0 => self.machine.memory.flip_bit(path, self.dice.below(*len) as usize, self.dice.below(8) as u8),
                1 => {
                    let bytes = self.machine.memory.read_file(path).unwrap_or_default();
                    self.machine.memory.write_file(path, &bytes[..self.dice.below(*len) as usize]);
                }
                _ => {
                    let (other, _) = &files[self.dice.below(files.len() as u64) as usize];
                    let bytes = self.machine.memory.read_file(other).unwrap_or_default();
                    self.machine.memory.write_file(path, &bytes);
                }
            }
        }
    }

    /// Opens the log on a sound disk, and holds what is left against what has to be.
    fn recover(&mut self) -> Result<(), Broken> {
        self.machine.disk.stop_after(None);
        self.machine.disk.set_rates(Default::default());
        self.machine.memory.set_free(None);
        self.full = false;
        self.injected = self.machine.disk.injected();
        let log = self.machine.open().map_err(|error| format!("the log is not opened: {error}"))?;
        let roles = self.swarm.roles.len();
        let instances = (0..roles).map(|_| [None, None]).collect();
        let views = (0..roles).map(|_| [None, None]).collect();
        self.life = Some(Life { log, receipts: Vec::new(), instances, views });
        self.check()?;
        for which in 0..roles {
            let slot = usize::from(self.dice.percent(20));
            if self.dice.percent(70) {
                self.open(which, slot)?;
                self.check_instance(which, slot)?;
            }
        }
        Ok(())
    }

    /// Reads the whole log, and follows every handler.
    fn check(&mut self) -> Result<Vec<Folded>, Broken> {
        let Some(log) = self.log() else { return Ok(Vec::new()) };
        let id = log.id();
        // Whoever checks looks at a disk that answers.
        let rates = self.machine.disk.rates();
        self.machine.disk.set_rates(Default::default());
        let events = all_events(&log.reader());
        self.machine.disk.set_rates(rates);
        let events = events?;
        ensure!(events.len() as u64 >= self.durable, "{} events are left of {} durable", events.len(), self.durable);
        for (was, is) in self.known.iter().zip(&events) {
            let same = (was.stream(), was.event_type(), was.data()) == (is.stream(), is.event_type(), is.data());
            ensure!(same, "event {} is another one now", was.offset());
        }
        ensure!(events.len() >= self.known.len(), "events are gone: {} of {}", events.len(), self.known.len());
        let follow = |role: &Role| {
            let oracle = Oracle { log: id, events: &events, role };
            oracle.check_names()?;
            oracle.follow(None)
        };
        let folded = self.swarm.roles.iter().map(follow).collect::<Result<Vec<_>, _>>()?;
        self.known = events;
        Ok(folded)
    }

    /// What an instance has in its view and says of its rows is the fold.
    fn check_instance(&mut self, which: usize, slot: usize) -> Result<(), Broken> {
        let Some(life) = &self.life else { return Ok(()) };
        if life.instances[which][slot].is_none() {
            return Ok(());
        }
        let folded = self.check()?.swap_remove(which);
        let Some(Instance { runner, view, .. }) =
            self.life.as_ref().and_then(|life| life.instances[which][slot].as_ref())
        else {
            return Ok(());
        };
        let name = &self.swarm.roles[which].name;
        for (key, value) in &folded.rows {
            match runner.get_bytes(key) {
                Ok(found) => ensure!(found.as_deref() == Some(&value[..]), "{name}: row {key:?} is {found:?} in it"),
                Err(HandlerError::View(annals::ViewError::Damaged { .. })) => return Ok(()),
                Err(error) => return Err(format!("{name}: row {key:?}: {error}")),
            }
        }
        let rows: Result<Vec<_>, _> = view.scan(&Space::new(name, 1), &[], &[]).collect();
        let Ok(rows) = rows else { return Ok(()) };
        let same = rows.len() == folded.written.len()
            && rows
                .iter()
                .zip(&folded.written)
                .all(|((key, value), (by_key, by_value))| key == by_key && value == by_value);
        ensure!(same, "{name}: the view has {} rows that are not the {} of the log", rows.len(), folded.written.len());
        Ok(())
    }

    /// The state as anybody reads it beside the handler is the fold, now and as it was.
    fn look_at_state(&mut self, which: usize) -> Result<(), Broken> {
        if self.machine.disk.injected() > self.injected || self.machine.disk.is_stopped() || self.full {
            return Ok(());
        }
        self.machine.disk.set_rates(Default::default());
        let folded = self.check()?.swap_remove(which);
        if let Some(log) = self.log().filter(|_| !folded.records.is_empty()) {
            let id = log.id();
            let reader = LogReader::open_with(crate::sim::machine::DIR, self.machine.env(), ReadMode::Pread)
                .map_err(|error| format!("no reader: {error}"))?;
            let role = &self.swarm.roles[which];
            let oracle = Oracle { log: id, events: &self.known, role };
            let past = folded.records[self.dice.below(folded.records.len() as u64) as usize];
            for up_to in [None, Some(past)] {
                let folded = oracle.follow(up_to)?;
                let state = StateReader::new(&reader, &role.name);
                let state = match up_to {
                    None => state.open(),
                    Some(record) => state.up_to(Offset::from_raw(record)).open(),
                };
                let state = match state {
                    Ok(state) => state,
                    Err(error) => {
                        self.excuse("reading the state", &error)?;
                        continue;
                    }
                };
                let rows: Result<Vec<_>, _> = state.rows().collect();
                let rows = rows.map_err(|error| format!("the state is not read: {error}"))?;
                let same = rows.len() == folded.rows.len()
                    && rows.iter().zip(&folded.rows).all(|((key, value), (by_key, by_value))| {
                        key == by_key && matches!(value, StateValue::Raw(value) if value == by_value)
                    });
                ensure!(same, "{}: the state up to {up_to:?} is not the fold", role.name);
            }
        }
        if !self.machine.disk.is_stopped() {
            self.machine.disk.set_rates(self.swarm.rates);
        }
        Ok(())
    }

    /// With good weather on a sound disk everything comes to an end.
    fn finish(&mut self) -> Result<(), Broken> {
        self.machine.disk.set_rates(Default::default());
        self.weather.percent.store(0, Ordering::Relaxed);
        let mut idle = false;
        for round in 0..200 {
            let before = self.log().map(Log::durable_end);
            idle = true;
            for which in 0..self.swarm.roles.len() {
                if self.life.as_ref().is_some_and(|life| life.instances[which][0].is_none()) {
                    self.open(which, 0)?;
                }
                let step = self.with(which, 0, "the end", |instance| instance.runner.run_to_end())?;
                match step {
                    Some(Step::Idle { due_us: None }) => {}
                    Some(Step::Paused { .. }) => {
                        idle = false;
                        if round > 20 {
                            let asides: Vec<String> = self.check()?[which].asides.keys().cloned().collect();
                            for stream in asides {
                                self.ask(which, "Drop", &stream, "true")?;
                            }
                        }
                        self.ask(which, "Resume", "", "false")?;
                    }
                    _ => {
                        idle = false;
                        self.machine.clock.advance_ms(60_000);
                    }
                }
            }
            if idle && before == self.log().map(Log::durable_end) {
                break;
            }
            idle = false;
        }
        ensure!(idle, "the handlers do not come to an end");
        let folded = self.check()?;
        for (which, folded) in folded.iter().enumerate() {
            self.check_instance(which, 0)?;
            self.look_at_state(which)?;
            self.check_end(which, folded)?;
        }
        Ok(())
    }

    /// All was handled but what cannot be, as in a run where nothing happened.
    fn check_end(&mut self, which: usize, folded: &Folded) -> Result<(), Broken> {
        let role = &self.swarm.roles[which];
        self.tally.records += folded.records.len() as u64;
        self.tally.outputs += folded.outputs.len() as u64;
        self.tally.decisions += folded.decisions;
        let Some((_, told)) = &folded.last else { return Ok(()) };
        let left = self.known.iter().find(|event| event.offset().raw() >= told.cursor && role.wants(event.stream()));
        ensure!(left.is_none(), "{}: {:?} was never handled", role.name, left.map(Event::offset));
        if !self.swarm.plain || which != 0 {
            return Ok(());
        }
        let fresh = MemoryLog::new();
        for event in self.known.iter().filter(|event| event.stream().starts_with("s-")) {
            let event = Event::new(event.stream(), event.event_type()).data(event.data());
            let kept = annals::Journal::append(&fresh, Append::new().event(event)).and_then(annals::Pending::wait);
            kept.map_err(|error| format!("the copy: {error}"))?;
        }
        let (fresh, view) = (Arc::new(fresh), Arc::new(MemoryView::new()));
        let spec = self.spec(role).window(1000, 1 << 20).cache(1 << 20).exact(false);
        let mut runner = Runner::open(Arc::clone(&fresh), view, spec, Programs(Arc::clone(&self.weather)))
            .and_then(|mut runner| runner.run_to_end().map(|_| runner))
            .map_err(|error| format!("the run without crashes: {error}"))?;
        runner.settle().map_err(|error| error.to_string())?;
        for (key, value) in &folded.rows {
            let found = runner.get_bytes(key).map_err(|error| error.to_string())?;
            ensure!(found.as_deref() == Some(&value[..]), "row {key:?} is {found:?} in a run without crashes");
        }
        Ok(())
    }
}
