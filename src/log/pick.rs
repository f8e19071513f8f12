//! Reading only the batches that may hold what a filter wants, as the indexes of their segments say.

use super::error::ReadError;
use super::shared::lock;
use super::walk::View;
use crate::Filter;
use crate::segment::{NameHash, Scan};

/// The batches to look at in the segment at hand.
#[derive(Debug)]
pub(super) struct Picks {
    filter: Filter,
    /// The segment, and the byte positions of its batches, ascending; `None`: all of them.
    segment: Option<(usize, Option<Vec<u64>>)>,
    next: usize,
}

impl Picks {
    /// `None` when a filter's wishes are in no index.
    pub fn by(filter: &Filter) -> Option<Picks> {
        // Types are listed of users' events alone.
        let by_type = filter.is_by_type() && !filter.wants_system();
        (by_type || filter.stream_names().is_some()).then(|| Picks { filter: filter.clone(), segment: None, next: 0 })
    }

    /// Moves a walk over a segment forward to the next batch to look at; false when there is none.
    pub fn leap(&mut self, view: &View, index: usize, scan: &mut Scan) -> Result<bool, ReadError> {
        if self.segment.as_ref().is_none_or(|(picked, _)| *picked != index) {
            self.segment = Some((index, self.batches(view, index)?));
            self.next = 0;
        }
        let Some((_, Some(batches))) = &self.segment else { return Ok(true) };
        let left = batches.get(self.next..).unwrap_or_default();
        self.next += left.partition_point(|at| *at < scan.position());
        let Some(at) = batches.get(self.next) else { return Ok(false) };
        scan.leap_to(*at);
        Ok(true)
    }

    fn batches(&self, view: &View, index: usize) -> Result<Option<Vec<u64>>, ReadError> {
        // Lost events may have been any: whoever reads has to be told of them.
        if !view.finder.gaps(view, index)?.is_empty() {
            return Ok(None);
        }
        let by_stream = self.by_stream(view, index)?;
        let by_type =
            if self.filter.is_by_type() && !self.filter.wants_system() { self.by_type(view, index)? } else { None };
        Ok(match (by_stream, by_type) {
            (Some(mut streams), Some(types)) => {
                streams.retain(|at| types.binary_search(at).is_ok());
                Some(streams)
            }
            (streams, types) => streams.or(types),
        })
    }

    fn by_stream(&self, view: &View, index: usize) -> Result<Option<Vec<u64>>, ReadError> {
        let Some(names) = self.filter.stream_names() else { return Ok(None) };
        let mut batches = Vec::new();
        for name in names {
            let hash = NameHash::of(view.finder.id, name.as_bytes());
            if let Some(found) = view.finder.batches_of(view, index, hash)? {
                batches.extend(found.iter());
            }
        }
        Ok(Some(in_order(batches)))
    }

    fn by_type(&self, view: &View, index: usize) -> Result<Option<Vec<u64>>, ReadError> {
        let Some(segment) = view.segments.get(index) else { return Ok(None) };
        let wants = |name: &str| self.filter.wants_type(name.as_bytes());
        let footer = view.finder.footer(view, segment)?;
        let mut batches = Vec::new();
        if let Some(footer) = footer {
            let Some(types) = footer.types() else { return Ok(None) };
            types.iter().filter(|one| wants(one.name)).for_each(|one| batches.extend(one.batches()));
        } else if let Some(active) = view.finder.active(view, index)? {
            lock(&active).types().filter(|(name, ..)| wants(name)).for_each(|(_, _, at)| batches.extend(at));
        }
        Ok(Some(in_order(batches)))
    }
}

fn in_order(mut batches: Vec<u64>) -> Vec<u64> {
    batches.sort_unstable();
    batches.dedup();
    batches
}
