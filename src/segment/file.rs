//! A segment as a log holds it: its file, and what is known of it without reading it through.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::block::{Block, Places};
use super::footer::Place;
use super::phase::Phase;
use super::{Bytesource, Footer, PAGE_BYTES, Scan, ScanError, SegmentHeader, TRAILER_BYTES, Trailer};
use crate::batch::{BatchError, Header, Kind, checked_body};
use crate::disk::{Disk, DiskFile, Mode};

/// Where the bytes of sealed segments come from when events are borrowed from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// From a map of the file: the fastest. An I/O error on the disk is then a signal to the whole program
    /// (SIGBUS), as it is to every program that maps files.
    #[default]
    Map,
    /// By read calls: errors are errors.
    Pread,
}

/// One segment of a log. Shared by the writer and all readers of a process.
#[derive(Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub header: SegmentHeader,
    disk: Arc<dyn Disk>,
    phase: Phase<Active, Trailer>,
    footer: OnceLock<Footer>,
    map: OnceLock<Bytes>,
}

/// What is known of a segment while it is written.
#[derive(Debug, Default)]
struct Active {
    /// Kept open for as long as it is written.
    file: Option<Arc<dyn DiskFile>>,
    /// Some of its batches, as far as it was written or read here.
    places: Places,
}

impl Segment {
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, header: SegmentHeader) -> Self {
        Segment { path, header, disk, phase: Phase::new(), footer: OnceLock::new(), map: OnceLock::new() }
    }

    /// First offset of the segment.
    pub fn base(&self) -> u64 {
        self.header.base.raw()
    }

    /// What its end says of it, once it is sealed.
    pub fn trailer(&self) -> Option<&Trailer> {
        self.phase.sealed()
    }

    /// Keeps the file open: it is the one that is written.
    pub fn activate(&self, file: Arc<dyn DiskFile>) {
        self.phase.active().file = Some(file);
    }

    /// Takes note of a batch that was written, or read, behind those noted before. One that was noted is
    /// passed over, and so is one that a walk leapt to: what lies between was not seen.
    pub fn note(&self, header: &Header, at: u64) {
        let mut active = self.phase.active();
        if header.base_offset <= active.places.end().max(self.base()) {
            active.places.note(header, at);
        }
    }

    /// Takes note of all batches up to an offset, where its footer does not say what is in them. Reads those
    /// that nobody in this process has written or read yet.
    pub fn note_to(&self, end: u64, mode: ReadMode) -> Result<(), ScanError> {
        if self.good_footer(mode)?.is_some() || self.phase.active().places.end() >= end {
            return Ok(());
        }
        let from = self.phase.active().places.end().max(self.base());
        let mut scan = self.scan_from(from, mode)?;
        while scan.next_offset().is_none_or(|next| next < end) {
            let Some(batch) = scan.next()? else { break };
            self.note(&batch.header, batch.at);
        }
        Ok(())
    }

    /// The block that holds an offset. Of the active segment the last one known has no end.
    pub fn block_of(&self, offset: u64, mode: ReadMode) -> Result<Block, ScanError> {
        self.block_before(|place| place.base <= offset, mode)
    }

    /// The last block whose first event was recorded before a moment, or the first block.
    pub fn block_recorded_before(&self, recorded_us: i64, mode: ReadMode) -> Result<Block, ScanError> {
        self.block_before(|place| place.recorded_us < recorded_us, mode)
    }

    fn block_before(&self, is_before: impl Fn(&Place) -> bool, mode: ReadMode) -> Result<Block, ScanError> {
        let Some(footer) = self.good_footer(mode)? else {
            return Ok(self.phase.active().places.block(self.base(), is_before));
        };
        let Some(trailer) = self.trailer() else { return Ok(Block::whole(self.base())) };
        let (place, next) = footer.places_around(is_before);
        let end = next.map_or((trailer.end, trailer.footer_at.into()), |next| (next.base, next.at));
        Ok(Block::between(self.base(), place, Some(end), trailer.lost_events > 0))
    }

    /// Takes note that its file has its trailer and will never change again.
    pub fn seal(&self, trailer: Trailer) {
        self.phase.seal(trailer);
    }

    /// Its file, opened for this caller unless it is open anyway.
    pub fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = &self.phase.active().file {
            return Ok(Arc::clone(file));
        }
        self.disk.open(&self.path, Mode::Read)
    }

    fn source(&self, mode: ReadMode) -> io::Result<Bytesource> {
        if self.trailer().is_none() || mode == ReadMode::Pread {
            return Ok(Bytesource::File(self.file()?));
        }
        if let Some(map) = self.map.get() {
            return Ok(Bytesource::Map(map.clone()));
        }
        let map = self.file()?.map()?;
        Ok(Bytesource::Map(self.map.get_or_init(|| map).clone()))
    }

    /// Its indexes, once it is sealed. Read at the first call; mapped, they take no memory of their own.
    pub fn footer(&self, mode: ReadMode) -> Result<Option<&Footer>, ScanError> {
        let Some(trailer) = self.trailer() else { return Ok(None) };
        if let Some(footer) = self.footer.get() {
            return Ok(Some(footer));
        }
        let at = u64::from(trailer.footer_at);
        let to = at + u64::from(trailer.footer_len);
        let mut scan = Scan::new(self.source(mode)?, self.header, at, to, Some(trailer.end));
        let bad = |error| ScanError::Batch { at, error };
        let batch = scan.next()?.filter(|batch| batch.header.kind == Kind::Footer);
        let batch = batch.ok_or(bad(BatchError::Corrupt("there is no footer where the trailer says")))?;
        let payload = checked_body(&batch.header, batch.stored, self.header.salt).map_err(bad)?;
        let payload = payload.slice(..batch.header.raw_len().min(payload.len()));
        let footer = Footer::decode(payload, self.base()).map_err(bad)?;
        Ok(Some(self.footer.get_or_init(|| footer)))
    }

    /// Its indexes if they are whole: where they are damaged, the batches say it again.
    fn good_footer(&self, mode: ReadMode) -> Result<Option<&Footer>, ScanError> {
        match self.footer(mode) {
            Err(ScanError::Batch { error: BatchError::Corrupt(_), .. }) => Ok(None),
            other => other,
        }
    }

    /// Where the batches of the segment end: its footer, or the end of its file.
    pub fn batches_end(&self, file_len: u64) -> u64 {
        self.trailer().map_or(file_len, |trailer| u64::from(trailer.footer_at))
    }

    /// A walk that starts at a batch at or before the one that holds an offset.
    pub fn scan_from(&self, offset: u64, mode: ReadMode) -> Result<Scan, ScanError> {
        // Reading from the front needs no index: a scan of the whole log then keeps none in memory.
        let block = if offset <= self.base() { Block::whole(self.base()) } else { self.block_of(offset, mode)? };
        self.scan_block(&block, None, mode)
    }

    /// A walk that starts at the batch at a byte position; `expected` is the offset it has to start with.
    pub fn scan_at(&self, at: u64, expected: Option<u64>, mode: ReadMode) -> Result<Scan, ScanError> {
        self.scan_between(at, expected, None, mode)
    }

    /// A walk that starts with a block and goes on behind it, up to a byte position or to the end.
    pub fn scan_block(&self, block: &Block, end_at: Option<u64>, mode: ReadMode) -> Result<Scan, ScanError> {
        self.scan_between(block.at, Some(block.base), end_at, mode)
    }

    fn scan_between(
        &self,
        at: u64,
        expected: Option<u64>,
        end_at: Option<u64>,
        mode: ReadMode,
    ) -> Result<Scan, ScanError> {
        let source = self.source(mode)?;
        let file_len = match &source {
            Bytesource::Map(map) => map.len() as u64,
            Bytesource::File(file) => file.len()?,
        };
        let end_at = end_at.unwrap_or_else(|| self.batches_end(file_len));
        Ok(Scan::new(source, self.header, at, end_at, expected))
    }
}

/// Reads the header of a segment's file.
pub(crate) fn read_header(file: &dyn DiskFile) -> Result<super::ReadHeader, ScanError> {
    let mut page = vec![0; PAGE_BYTES];
    let read = crate::disk::read_full_at(file, &mut page, 0)?;
    page.truncate(read);
    SegmentHeader::decode(&page).map_err(|error| ScanError::Batch { at: 0, error })
}

/// Reads the trailer of a segment's file, if it has a whole one.
pub(crate) fn read_trailer(file: &dyn DiskFile, header: &SegmentHeader) -> io::Result<Option<Trailer>> {
    let len = file.len()?;
    let Some(at) = len.checked_sub(TRAILER_BYTES as u64).filter(|at| *at >= PAGE_BYTES as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; TRAILER_BYTES];
    // Short where the file is being sealed and was cut in between: then it had no trailer when its length was
    // asked for.
    let read = crate::disk::read_full_at(file, &mut bytes, at)?;
    let trailer = Trailer::decode(bytes.get(..read).unwrap_or_default(), header.salt, len);
    Ok(trailer.filter(|trailer| trailer.base == header.base.raw()))
}
