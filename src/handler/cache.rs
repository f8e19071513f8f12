//! Rows in memory between a step and the view: those written and not yet applied, and those read lately.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::view::{Bookmark, Change, Space, View, ViewError};

/// A row costs about so much beside its bytes.
const ROW_BYTES: usize = 96;

/// The state of a space as of the last step, whatever of it is in the view already.
#[derive(Debug)]
pub(crate) struct Cache {
    view: Arc<dyn View>,
    space: Space,
    /// Written behind: what the view does not have yet.
    dirty: HashMap<Bytes, Option<Bytes>>,
    dirty_bytes: usize,
    /// As the view has them.
    clean: HashMap<Bytes, Option<Bytes>>,
    clean_bytes: usize,
    /// For both.
    limit: usize,
}

fn weight(key: &Bytes, value: Option<&Bytes>) -> usize {
    ROW_BYTES + key.len() + value.map_or(0, Bytes::len)
}

impl Cache {
    pub fn new(view: Arc<dyn View>, space: Space, limit: usize) -> Self {
        Cache { view, space, dirty: HashMap::new(), dirty_bytes: 0, clean: HashMap::new(), clean_bytes: 0, limit }
    }

    /// The value of a key, and the key's own bytes where they are here.
    pub fn get(&self, key: &[u8]) -> Result<(Option<Bytes>, Option<Bytes>), ViewError> {
        match self.dirty.get_key_value(key).or_else(|| self.clean.get_key_value(key)) {
            Some((key, value)) => Ok((value.clone(), Some(key.clone()))),
            None => Ok((self.view.get(&self.space, key)?, None)),
        }
    }

    /// Rows whose keys start with a prefix, deleted ones left out. Costs a look at every row that is written behind.
    pub fn scan(&self, prefix: &[u8]) -> Result<BTreeMap<Bytes, Bytes>, ViewError> {
        let mut rows = self.view.scan(&self.space, prefix, prefix).collect::<Result<BTreeMap<_, _>, _>>()?;
        for (key, value) in self.dirty.iter().filter(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows)
    }

    /// A row as the last step left it.
    pub fn write(&mut self, key: Bytes, value: Option<Bytes>) {
        if let Some(old) = self.clean.remove(&key) {
            self.clean_bytes = self.clean_bytes.saturating_sub(weight(&key, old.as_ref()));
        }
        self.dirty_bytes += weight(&key, value.as_ref());
        let key_bytes = key.len();
        if let Some(old) = self.dirty.insert(key, value) {
            self.dirty_bytes -= ROW_BYTES + key_bytes + old.as_ref().map_or(0, Bytes::len);
        }
    }

    /// A row as it was read.
    pub fn remember(&mut self, key: Bytes, value: Option<Bytes>) {
        if self.dirty.contains_key(&key) {
            return;
        }
        let more = weight(&key, value.as_ref());
        if self.clean_bytes + more > self.limit / 2 {
            // Rows that are wanted again are read again from the view: simple, and bounded.
            self.clean.clear();
            self.clean_bytes = 0;
        }
        if self.clean.insert(key, value).is_none() {
            self.clean_bytes += more;
        }
    }

    /// Whether so much is written behind that the view should have it.
    pub fn is_full(&self) -> bool {
        self.dirty_bytes > self.limit / 2
    }

    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Gives all that is written behind to the view. It has to be durable in the log.
    pub fn apply(&mut self, to: &Bookmark) -> Result<(), ViewError> {
        let change = |(key, value): (&Bytes, &Option<Bytes>)| Change { key: key.clone(), value: value.clone() };
        let mut changes: Vec<Change> = self.dirty.iter().map(change).collect();
        changes.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        self.view.apply(&self.space, &changes, to)?;
        let dirty = std::mem::take(&mut self.dirty);
        self.dirty_bytes = 0;
        dirty.into_iter().for_each(|(key, value)| self.remember(key, value));
        Ok(())
    }

    pub fn view(&self) -> &dyn View {
        &*self.view
    }

    pub fn space(&self) -> &Space {
        &self.space
    }
}
