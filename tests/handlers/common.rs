//! Logs to run handlers on, with a clock and random numbers of the test's own.

use std::sync::Arc;

use annals::testkit::{ManualClock, SeededRandom, decisions_of};
use annals::{
    Bookmark, Change, Context, Event, Filter, HandlerSpec, Log, MemoryView, Offset, Rows, Space, Step, Trust, View,
    ViewError,
};
use bytes::Bytes;

/// A view that outlives its runner.
#[derive(Debug, Clone, Default)]
pub struct Shared(pub Arc<MemoryView>);

impl View for Shared {
    fn trust(&self) -> Trust {
        // So that it is counted and digested whenever it is opened.
        Trust::SameBoot
    }
    fn bookmark(&self, space: &Space) -> Result<Option<Bookmark>, ViewError> {
        self.0.bookmark(space)
    }
    fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        self.0.get(space, key)
    }
    fn scan(&self, space: &Space, prefix: &[u8], from: &[u8]) -> Rows<'_> {
        self.0.scan(space, prefix, from)
    }
    fn apply(&self, space: &Space, changes: &[Change], to: &Bookmark) -> Result<(), ViewError> {
        self.0.apply(space, changes, to)
    }
    fn clear(&self, space: &Space) -> Result<(), ViewError> {
        self.0.clear(space)
    }
    fn barrier(&self) -> Result<(), ViewError> {
        self.0.barrier()
    }
    fn close(&self) -> Result<(), ViewError> {
        self.0.close()
    }
}

/// A log, and the time there.
pub struct World {
    pub log: Log,
    pub clock: Arc<ManualClock>,
    pub random: Arc<SeededRandom>,
    pub view: Shared,
    _dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let (clock, random) = (Arc::new(ManualClock::new(1_000_000)), Arc::new(SeededRandom::new(7)));
        World { log, clock, random, view: Shared::default(), _dir: dir }
    }

    /// A log with an event for each stream named, each in an append of its own: its data is the stream's name.
    pub fn of(streams: &[&str]) -> World {
        let world = World::new();
        for stream in streams {
            world.append(stream);
        }
        world
    }

    pub fn append(&self, stream: &str) -> Offset {
        self.log.append(Event::new(stream, "T").data(stream.as_bytes())).unwrap().wait().unwrap().first()
    }

    /// Of a handler of all streams but `out`.
    pub fn spec(&self) -> HandlerSpec {
        let spec = HandlerSpec::new("h").on(Filter::new().stream("s*"));
        spec.clock(self.clock.clone()).random(self.random.clone())
    }

    /// What was put out, as text.
    pub fn out(&self) -> Vec<String> {
        let read = self.log.read(..).streams("out").map(|event| event.unwrap().data().to_vec());
        read.map(|data| String::from_utf8(data).unwrap()).collect()
    }

    /// What was decided, in order.
    pub fn decisions(&self) -> Vec<(&'static str, u64, String)> {
        let records = self.log.read(..).streams("$handler/h").map(|event| event.unwrap().data().to_vec());
        records
            .flat_map(|data| decisions_of(&data).unwrap())
            .filter(|(what, ..)| *what != "tried")
            .map(|(what, offset, why)| (what, offset.raw(), why))
            .collect()
    }

    /// What was decided about one event.
    pub fn decided(&self, offset: Offset) -> Vec<&'static str> {
        self.decisions().into_iter().filter(|(_, at, _)| *at == offset.raw()).map(|(what, ..)| what).collect()
    }

    /// The rows of the handler's own whose keys begin so.
    pub fn own_rows(&self, kind: u8) -> usize {
        self.view.scan(&Space::new("h", 1), &[0, kind], &[]).count()
    }
}

/// Puts out `STREAM@OFFSET`.
pub fn put_out(event: &Event, cx: &mut Context<'_>) {
    cx.emit(Event::new("out", "T").data(format!("{}@{}", event.stream(), event.offset()).into_bytes()));
}

/// When the next thing is due, of a step that found nothing to do.
#[track_caller]
pub fn due(step: &Step) -> i64 {
    match step {
        Step::Idle { due_us: Some(due_us) } => *due_us,
        other => panic!("nothing is due: {other:?}"),
    }
}
