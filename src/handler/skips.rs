//! What operators want passed over when its turn comes: events, and gaps that a repair left in the log.

use std::collections::BTreeMap;

use super::cache::Cache;
use super::overlay::Overlay;
use super::own::{self, SKIPS};
use crate::Offset;
use crate::view::ViewError;

/// The offsets, and why each is passed over. Their rows go when the handler is past them.
#[derive(Debug, Default)]
pub(crate) struct Skips {
    by_offset: BTreeMap<u64, Box<str>>,
}

impl Skips {
    /// Reads them from the rows.
    pub fn load(cache: &Cache) -> Result<Self, ViewError> {
        let rows = cache.scan(&SKIPS)?;
        let skip = |(key, why): (bytes::Bytes, bytes::Bytes)| {
            Some((own::offset_of(&key)?, String::from_utf8_lossy(&why).into_owned().into_boxed_str()))
        };
        Ok(Skips { by_offset: rows.into_iter().filter_map(skip).collect() })
    }

    /// Why an event is to be passed over.
    pub fn get(&self, offset: Offset) -> Option<&str> {
        self.by_offset.get(&offset.raw()).map(AsRef::as_ref)
    }

    /// Why a gap is to be passed over: one of its offsets was named.
    pub fn in_gap(&self, first: Offset, end: Offset) -> Option<&str> {
        self.by_offset.range(first.raw()..end.raw()).next().map(|(_, why)| &**why)
    }

    pub fn put(
        &mut self,
        overlay: &mut Overlay,
        cache: &Cache,
        offset: Offset,
        why: &str,
        control_stream: &str,
    ) -> Result<(), ViewError> {
        self.by_offset.insert(offset.raw(), why.into());
        let why = bytes::Bytes::copy_from_slice(why.as_bytes());
        overlay.put(cache, &own::skip_key(offset.raw()), Some(why), control_stream)
    }

    /// Forgets those before the cursor: they were met, or stand where nothing is wanted.
    pub fn forget_before(
        &mut self,
        overlay: &mut Overlay,
        cache: &Cache,
        cursor: Offset,
        control_stream: &str,
    ) -> Result<(), ViewError> {
        while let Some(first) = self.by_offset.first_entry().filter(|first| *first.key() < cursor.raw()) {
            let (offset, _) = first.remove_entry();
            overlay.put(cache, &own::skip_key(offset), None, control_stream)?;
        }
        Ok(())
    }
}
