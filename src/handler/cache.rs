//! Rows in memory between a step and the view: those written and not yet applied, and those read lately.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;

use super::fence::Turn;
use super::rows::{Pieces, Rows};
use crate::view::{Bookmark, Change, Space, View, ViewError};

/// The state of a space as of the last step, whatever of it is in the view already.
///
/// A row is in the newest of its parts that has it: `dirty`, `applying`, `young`, `old`, the view. Each of the four
/// takes a quarter of the limit.
#[derive(Debug)]
pub(crate) struct Cache {
    view: Arc<dyn View>,
    space: Space,
    /// Written behind: what the view does not have yet.
    dirty: Rows,
    /// On their way to the view.
    applying: Option<Applying>,
    /// As the view has them: lately read or applied.
    young: Rows,
    /// As the view has them, or had before newer parts: what is not read again goes next.
    old: Rows,
    limit: usize,
}

/// A thread that gives rows to the view.
#[derive(Debug)]
struct Applying {
    rows: Arc<Rows>,
    thread: Option<JoinHandle<Result<(), ViewError>>>,
}

impl Applying {
    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn wait(&mut self) -> Result<(), ViewError> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(applied)) => applied,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Applying {
    fn drop(&mut self) {
        // Whoever opens the view next must not find it in use. What became of it, its bookmark says.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Cache {
    pub fn new(view: Arc<dyn View>, space: Space, limit: usize) -> Self {
        let (dirty, young, old) = (Rows::default(), Rows::default(), Rows::default());
        Cache { view, space, dirty, applying: None, young, old, limit }
    }

    /// What is known of a key without the view.
    pub fn look(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let applying = || self.applying.as_ref().and_then(|applying| applying.rows.get(key));
        self.dirty.get(key).or_else(applying).or_else(|| self.young.get(key)).or_else(|| self.old.get(key))
    }

    /// The value of a key in the view.
    pub fn get_from_view(&self, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        self.view.get(&self.space, key)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        match self.look(key) {
            Some(value) => Ok(value.map(Bytes::copy_from_slice)),
            None => self.get_from_view(key),
        }
    }

    /// Rows whose keys start with a prefix, deleted ones left out. Costs a look at every row that is written behind.
    pub fn scan(&self, prefix: &[u8]) -> Result<BTreeMap<Bytes, Bytes>, ViewError> {
        let mut rows = self.view.scan(&self.space, prefix, prefix).collect::<Result<BTreeMap<_, _>, _>>()?;
        let applying = self.applying.iter().flat_map(|applying| applying.rows.iter());
        for (key, value) in applying.chain(self.dirty.iter()).filter(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(value) => rows.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)),
                None => rows.remove(key),
            };
        }
        Ok(rows)
    }

    /// A row as the last step left it.
    pub fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.dirty.put(key, value);
    }

    /// A row as it was read.
    pub fn remember(&mut self, key: &[u8], value: Option<&[u8]>) {
        let applying = || self.applying.as_ref().is_some_and(|applying| applying.rows.contains(key));
        if self.dirty.contains(key) || applying() || self.young.contains(key) {
            return;
        }
        if self.young.bytes() > self.limit / 4 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.put(key, value);
    }

    /// Whether so much is written behind that the view should have it.
    pub fn is_full(&self) -> bool {
        self.dirty.bytes() > self.limit / 4
    }

    /// Whether the view has all.
    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.applying.is_none()
    }

    /// Gives all that is written behind to the view. It has to be durable in the log.
    pub fn apply(&mut self, to: &Bookmark) -> Result<(), ViewError> {
        self.wait()?;
        apply(&*self.view, &self.space, &self.dirty, to)?;
        let applied = std::mem::take(&mut self.dirty);
        self.applied(applied);
        Ok(())
    }

    /// The same on a thread beside this one, once the one before has ended. That it failed is told by
    /// [`check`](Cache::check) or by whatever waits for it. In its turn it asks whether this instance still writes
    /// behind; one that was taken over leaves the view alone.
    pub fn apply_beside(
        &mut self,
        to: Bookmark,
        turn: Turn,
        is_last: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<(), ViewError> {
        self.wait()?;
        let rows = Arc::new(std::mem::take(&mut self.dirty));
        let (view, space, shared) = (Arc::clone(&self.view), self.space.clone(), Arc::clone(&rows));
        let thread = std::thread::spawn(move || {
            let _turn = turn.take();
            if is_last() { apply(&*view, &space, &shared, &to) } else { Ok(()) }
        });
        self.applying = Some(Applying { rows, thread: Some(thread) });
        Ok(())
    }

    /// Tells of what was applied beside this thread, if it has ended.
    pub fn check(&mut self) -> Result<(), ViewError> {
        if self.applying.as_ref().is_some_and(Applying::is_finished) { self.wait() } else { Ok(()) }
    }

    fn wait(&mut self) -> Result<(), ViewError> {
        let Some(mut applying) = self.applying.take() else { return Ok(()) };
        let applied = applying.wait();
        match &applied {
            Ok(()) => self.applied(Arc::try_unwrap(std::mem::take(&mut applying.rows)).unwrap_or_default()),
            // They can be given again, together with what came since.
            Err(_) => self.dirty.add_missing(&applying.rows),
        }
        applied
    }

    fn applied(&mut self, rows: Rows) {
        self.old = std::mem::replace(&mut self.young, rows);
    }

    pub fn view(&self) -> &dyn View {
        &*self.view
    }

    pub fn space(&self) -> &Space {
        &self.space
    }
}

fn apply(view: &dyn View, space: &Space, rows: &Rows, to: &Bookmark) -> Result<(), ViewError> {
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_unstable();
    let mut pieces = Pieces::default();
    let mut change = |(key, value): (&[u8], Option<&[u8]>)| Change {
        key: pieces.keep(&[key]),
        value: value.map(|value| pieces.keep(&[value])),
    };
    let changes: Vec<Change> = sorted.into_iter().map(&mut change).collect();
    view.apply(space, &changes, to)
}
