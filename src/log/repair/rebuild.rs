//! Writing a segment anew out of its good batches, with gaps where events are lost.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::arrange::{Piece, Place};
use super::salvage::Run;
use crate::batch::{BatchError, ClosedBatch, HEADER_BYTES, Kind, Previous, control_batch, move_header};
use crate::disk::DiskFile;
use crate::log::own::carry_on;
use crate::segment::{Bytesource, Carry, Contents, PAGE_BYTES, RawBatch, Scan, ScanError};

/// A segment's pieces with what is carried over into it.
#[derive(Debug)]
pub(super) struct Parts<'p> {
    pub place: &'p Place,
    pub carry: Vec<u8>,
}

/// Where a written segment ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub end_at: u64,
    pub end: u64,
}

/// Offsets that one batch can say are lost; no segment has more.
pub(super) const GAP_MAX: u64 = u32::MAX as u64;

/// The batches of a piece that holds none of the file's own.
fn made(place: &Place, piece: &Piece, carry: &[u8], recorded_us: i64, epoch: u32) -> Vec<ClosedBatch> {
    match piece {
        Piece::Run(_) => Vec::new(),
        Piece::Carry => vec![control_batch(Kind::Carry, place.base(), 0, recorded_us, epoch, carry)],
        Piece::Mark(epoch) => vec![control_batch(Kind::Mark, place.end, 0, recorded_us, *epoch, &[])],
        Piece::Gap(first, end) => {
            // No plan has a larger one.
            let lost = u32::try_from(end - first).unwrap_or(u32::MAX);
            vec![control_batch(Kind::Gap, *first, lost, recorded_us, epoch, &[])]
        }
    }
}

/// Checksum of the last batch that a segment is to have.
pub(super) fn last_crc(parts: &Parts<'_>) -> u32 {
    let place = parts.place;
    match place.pieces.last() {
        Some(Piece::Run(run)) => run.last.body_crc,
        Some(piece) => {
            let mut batches = made(place, piece, &parts.carry, 0, 0);
            let at = PAGE_BYTES as u64;
            batches.last_mut().map_or(0, |batch| batch.seal(place.header.salt, at, Previous::default(), 0).body_crc)
        }
        None => 0,
    }
}

/// What is carried over from a segment, given what was carried into it: as far as its batches are good.
pub(super) fn carry_behind(place: &Place, into: Carry) -> Result<Carry, ScanError> {
    let Some(source) = &place.source else { return Ok(into) };
    let mut carry = source.carry.clone().unwrap_or(into);
    for piece in &place.pieces {
        let Piece::Run(run) = piece else { continue };
        each_batch(place, run, |batch| {
            if batch.header.kind.holds_events() {
                carry_on(&mut carry, &batch.decode(place.header.salt)?);
            }
            Ok(())
        })?;
    }
    Ok(carry)
}

/// Reads the batches of a run again.
pub(super) fn each_batch(
    place: &Place,
    run: &Run,
    mut each: impl FnMut(RawBatch) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    let Some(source) = &place.source else { return Ok(()) };
    let bytes = Bytesource::File(Arc::clone(&source.file));
    let mut scan = Scan::new(bytes, source.header, run.at, run.to, Some(run.first));
    while let Some(batch) = scan.next()? {
        each(batch)?;
    }
    Ok(())
}

struct Writer<'w> {
    parts: &'w Parts<'w>,
    file: &'w dyn DiskFile,
    at: u64,
    previous: Previous,
    contents: Option<Contents>,
    recorded_us: i64,
    epoch: u32,
}

/// Writes a segment into an empty file; it is durable when this returns.
pub(super) fn write(parts: &Parts<'_>, file: &dyn DiskFile) -> Result<Written, ScanError> {
    let place = parts.place;
    file.write_all_at(&place.header.encode(), 0)?;
    let mut writer = Writer {
        parts,
        file,
        at: PAGE_BYTES as u64,
        previous: Previous::default(),
        contents: place.sealed.then(|| Contents::new(&place.header)),
        recorded_us: place.recorded_us,
        epoch: place.header.tail_epoch.raw(),
    };
    for piece in &place.pieces {
        match piece {
            Piece::Run(run) => {
                each_batch(place, run, |batch| writer.moved(batch))?;
                writer.recorded_us = writer.recorded_us.max(run.recorded_us);
                writer.epoch = writer.epoch.max(run.tail_epoch);
            }
            piece => {
                for batch in made(place, piece, &parts.carry, writer.recorded_us, writer.epoch) {
                    writer.made(batch)?;
                }
            }
        }
    }
    let end_at = writer.at;
    if let Some(contents) = writer.contents {
        let (bytes, _) = contents.finish();
        file.write_all_at(&bytes, end_at)?;
    }
    file.sync()?;
    Ok(Written { end_at, end: place.end })
}

impl Writer<'_> {
    /// A batch of the old file, at its new place.
    fn moved(&mut self, batch: RawBatch) -> Result<(), ScanError> {
        let source = self.parts.place.source.as_ref();
        let file = source.map(|source| &source.file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut head = vec![0; batch.header.header_len];
        file.read_exact_at(&mut head, batch.at)?;
        move_header(&mut head, self.parts.place.header.salt, self.at, self.previous);
        self.file.write_all_at(&head, self.at)?;
        self.file.write_all_at(&batch.stored, self.at + head.len() as u64)?;
        self.went_on(RawBatch { at: self.at, ..batch })
    }

    fn made(&mut self, mut batch: ClosedBatch) -> Result<(), ScanError> {
        let hint = batch.header.base_offset;
        batch.seal(self.parts.place.header.salt, self.at, self.previous, hint);
        self.file.write_all_at(&batch.bytes, self.at)?;
        let stored = Bytes::from(batch.bytes).slice(HEADER_BYTES..);
        self.went_on(RawBatch { at: self.at, header: batch.header, stored })
    }

    fn went_on(&mut self, batch: RawBatch) -> Result<(), ScanError> {
        self.at = batch.next_at();
        self.previous = batch.as_previous();
        if self.at > u64::from(u32::MAX) {
            let what = BatchError::Corrupt("the segment would be too large");
            return Err(ScanError::Batch { at: batch.at, error: what });
        }
        match &mut self.contents {
            Some(contents) => contents.batch(batch),
            None => Ok(()),
        }
    }
}
