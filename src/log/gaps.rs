//! The offsets that repairs gave up, as the writer knows them: no version is given twice because of them.

use std::path::Path;
use std::sync::Arc;

use super::error::OpenError;
use super::files::open_scan_failed;
use crate::batch::{Header, Kind};
use crate::disk::DiskFile;
use crate::segment::{Bytesource, PAGE_BYTES, Scan, ScanError, SegmentHeader, Trailer};

/// Lost offsets, ascending.
#[derive(Debug, Clone, Default)]
pub(super) struct Gaps {
    /// First lost offset, and the one behind the last.
    all: Vec<(u64, u64)>,
}

impl Gaps {
    /// Takes note of a batch, if it is a gap. Batches come in order.
    pub fn note(&mut self, header: &Header) {
        if header.kind == Kind::Gap {
            self.all.push((header.base_offset, header.end_offset()));
        }
    }

    /// Takes note of the gaps of a sealed segment. Reads it through where there are any.
    pub fn sealed(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        header: &SegmentHeader,
        trailer: &Trailer,
    ) -> Result<(), OpenError> {
        if trailer.lost_events == 0 {
            return Ok(());
        }
        let (base, to) = (header.base.raw(), trailer.footer_at.into());
        let mut scan = Scan::new(Bytesource::File(Arc::clone(file)), *header, PAGE_BYTES as u64, to, Some(base));
        let known = self.lost_behind(None);
        // Damage among the batches is for those who read them: the log opens all the same, as without gaps. Those
        // behind it lie at the end then, as far as anybody can say.
        loop {
            match scan.next() {
                Ok(Some(batch)) => self.note(&batch.header),
                Ok(None) | Err(ScanError::Batch { .. }) => break,
                Err(error) => return Err(open_scan_failed(path, error, base, trailer.end)),
            }
        }
        let left = trailer.lost_events.saturating_sub(self.lost_behind(None) - known);
        if left > 0 {
            self.all.push((trailer.end.saturating_sub(left), trailer.end));
        }
        Ok(())
    }

    /// How many offsets were lost behind an event; from the log's first one on, where there is none.
    ///
    /// Any of them may have been of its stream: its next event takes a version above all that they may have had.
    #[inline]
    pub fn lost_behind(&self, offset: Option<u64>) -> u64 {
        let from = offset.map_or(0, |offset| offset.saturating_add(1));
        if self.all.last().is_none_or(|(_, end)| *end <= from) {
            return 0;
        }
        self.all.iter().map(|(first, end)| end.saturating_sub(from.max(*first))).sum()
    }
}
