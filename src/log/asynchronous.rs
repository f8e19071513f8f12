//! Events as a stream of the async world. One thread for each log handle reads for all its streams, and only
//! while there are any: no task is spawned, and no thread of a runtime waits for the disk.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::error::{IoFailure, ReadError};
use super::follow::Follow;
use super::read::Read;
use super::reader::{LogReader, Source};
use super::shared::lock;
use super::wait::Interrupt;
use crate::Offset;
use crate::event::Event;

/// What is read ahead for a stream: chunks of at most so many events, out of batches of about so many bytes.
const CHUNKS: usize = 2;
const CHUNK_EVENTS: usize = 256;
const CHUNK_BYTES: usize = 1024 * 1024;
/// Batches looked at for one stream before it is another one's turn.
const CHUNK_BATCHES: usize = 64;

/// Events as they are read by the thread of the log's handle, some hundred ahead; who takes none makes it wait.
///
/// Cancel safe: a future that waits for the next event can be dropped at any time, and the stream with it.
/// Nothing is lost, because [`next_offset`](EventStream::next_offset) tells what was taken: reading from there goes on
/// without gap or repeat.
#[derive(Debug)]
#[must_use = "a stream gives its events when it is polled"]
pub struct EventStream {
    reader: LogReader,
    chunks: mpsc::Receiver<Chunk>,
    events: std::vec::IntoIter<Event>,
    /// What follows behind the events at hand: a place, and perhaps an error.
    behind: Option<u64>,
    error: Option<ReadError>,
    position: u64,
}

/// Some events that follow each other.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub events: Vec<Event>,
    pub error: Option<ReadError>,
    /// All before it was given or left out.
    pub behind: u64,
    pub ended: bool,
    bytes: usize,
}

impl Chunk {
    /// Takes an event of a batch of so many bytes; returns whether there is room for more of them.
    pub fn push(&mut self, event: Event) -> bool {
        self.events.push(event);
        self.events.len() < CHUNK_EVENTS && self.bytes < CHUNK_BYTES
    }

    /// Takes note that the next events are of another batch.
    pub fn begin_batch(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

/// What a stream reads from.
#[derive(Debug)]
enum Origin {
    Read(Box<Read>),
    Follow(Box<Follow>),
}

#[derive(Debug)]
struct Job {
    origin: Origin,
    chunks: mpsc::Sender<Chunk>,
}

/// What a job can do next.
enum Next {
    /// More.
    More,
    /// Nothing until its stream has room.
    Full,
    /// Nothing until there is an event at an offset.
    Waits(u64),
    /// Nothing any more.
    Done,
}

/// Where the streams of one log handle leave their work.
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    pub interrupt: Interrupt,
}

#[derive(Debug, Default)]
struct State {
    new: Vec<Job>,
    running: bool,
}

impl Read {
    /// The same events as a stream; see [`EventStream`]. In another process than the writer's, making the read
    /// looks at the log's files, as [`LogReader::read`] does: reading the stream does not.
    pub fn stream(self) -> EventStream {
        let (reader, position) = (self.reader().clone(), Read::position(&self));
        EventStream::start(reader, position, Origin::Read(Box::new(self)))
    }
}

impl Follow {
    /// The same events as a stream; see [`EventStream`]. It ends where the iterator does.
    pub fn stream(self) -> EventStream {
        let (reader, position) = (self.reader().clone(), self.next_offset());
        EventStream::start(reader, position, Origin::Follow(Box::new(self)))
    }
}

impl EventStream {
    fn start(reader: LogReader, position: Offset, origin: Origin) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let error = reader.desk().take_on(&reader, Job { origin, chunks: sender }).err();
        let error = error.map(|error| IoFailure::new("starting the reading thread of", reader.path(), error).into());
        EventStream { reader, chunks, events: Vec::new().into_iter(), behind: None, error, position: position.raw() }
    }

    /// The next event; `None` at the end. Cancel safe: dropped before it is ready, it took no event.
    pub async fn next(&mut self) -> Option<Result<Event, ReadError>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// All events before it were taken from the stream, or are not wanted.
    pub fn next_offset(&self) -> Offset {
        Offset::from_raw(self.position)
    }
}

impl Stream for EventStream {
    type Item = Result<Event, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.events.next() {
                self.position = event.offset().plus(1).raw();
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(behind) = self.behind.take() {
                self.position = behind;
            }
            if let Some(error) = self.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            let Some(chunk) = ready!(self.chunks.poll_recv(context)) else { return Poll::Ready(None) };
            // There is room again.
            self.reader.desk().interrupt.set(&self.reader);
            self.events = chunk.events.into_iter();
            self.behind = Some(chunk.behind);
            self.error = chunk.error;
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.chunks.close();
        self.reader.desk().interrupt.set(&self.reader);
    }
}

impl LogReader {
    pub(super) fn desk(&self) -> &Arc<Desk> {
        match &self.source {
            Source::Local(shared) => &shared.desk,
            Source::Remote(remote) => &remote.desk,
        }
    }
}

impl Desk {
    fn take_on(self: &Arc<Self>, reader: &LogReader, job: Job) -> std::io::Result<()> {
        let mut state = lock(&self.state);
        if !state.running {
            let (desk, reader) = (Arc::clone(self), reader.clone());
            std::thread::Builder::new().name("annals-read".to_owned()).spawn(move || desk.run(&reader))?;
            state.running = true;
        }
        state.new.push(job);
        drop(state);
        self.interrupt.set(reader);
        Ok(())
    }

    fn run(&self, reader: &LogReader) {
        // Should a bug end this thread, the next stream starts another one.
        struct Running<'d>(&'d Desk);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    lock(&self.0.state).running = false;
                }
            }
        }
        let _running = Running(self);
        self.interrupt.waits_here();
        let mut jobs = Vec::new();
        loop {
            // Before looking, so that no call falls between.
            self.interrupt.take();
            {
                let mut state = lock(&self.state);
                jobs.append(&mut state.new);
                if jobs.is_empty() {
                    state.running = false;
                    return;
                }
            }
            let (mut more, mut waits) = (false, None::<u64>);
            jobs.retain_mut(|job: &mut Job| match job.step(reader) {
                Next::More => {
                    more = true;
                    true
                }
                Next::Full => true,
                Next::Waits(offset) => {
                    waits = Some(waits.map_or(offset, |first| first.min(offset)));
                    true
                }
                Next::Done => false,
            });
            match waits {
                _ if more || jobs.is_empty() => {}
                None => self.interrupt.wait(),
                // How it ended is seen by the job itself.
                Some(offset) => drop(reader.wait_for(offset, &self.interrupt, None)),
            }
        }
    }
}

impl Job {
    /// Reads some events, if the stream has room for them.
    fn step(&mut self, reader: &LogReader) -> Next {
        let room = match self.chunks.try_reserve() {
            Ok(room) => room,
            Err(TrySendError::Full(())) => return Next::Full,
            Err(TrySendError::Closed(())) => return Next::Done,
        };
        let mut chunk = Chunk::default();
        let waits = match &mut self.origin {
            Origin::Read(read) => {
                read.fill(&mut chunk, CHUNK_BATCHES);
                None
            }
            Origin::Follow(follow) => follow.fill(&mut chunk, CHUNK_BATCHES).then(|| follow.next_offset().raw()),
        };
        let (ended, is_empty) = (chunk.ended, chunk.events.is_empty() && chunk.error.is_none());
        if !is_empty || ended {
            room.send(chunk);
        }
        match waits {
            _ if ended => Next::Done,
            // More may have come since.
            Some(offset) if reader.durable_end().is_ok_and(|end| end.raw() <= offset) => Next::Waits(offset),
            _ => Next::More,
        }
    }
}
