//! What is behind the last good batch of a segment: nothing, a torn tail, or damage. One table decides.
//!
//! A walk over the batches ends at byte P, where no good batch stands, and offset E would come next.
//!
//! | what is known                                                          | verdict |
//! |------------------------------------------------------------------------|---------|
//! | `LOCK`, a cursor or the next segment shows that bytes or events beyond P or E were durable | damaged |
//! | only zeros follow                                                      | clean   |
//! | a good batch follows whose hint is above E, or the second mark of a clean close | damaged |
//! | a good batch follows, and the machine ran on since it was written      | damaged |
//! | anything else                                                          | torn    |
//!
//! A kill leaves the writes of a process in their order, so that a good batch never follows a bad one; only
//! a power cut, which changes the boot id, may keep a later write and lose an earlier one. What is torn was
//! never acknowledged. (The hint is the idea of "Protocol-Aware Recovery", Alagappan and others, FAST 2018.)

use std::io;
use std::sync::Arc;

use super::{Bytesource, PAGE_BYTES, RawBatch, Scan, ScanError, SegmentHeader};
use crate::batch::{BATCH_ALIGN, BatchError, HEADER_BYTES, Header, Kind, Previous};
use crate::disk::{DiskFile, read_full_at};
use crate::planted::{Bug, planted};

/// What other files say about the segment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Evidence {
    /// The machine was started again since the segment was last written, as far as is known.
    pub boot_changed: bool,
    /// Events before this offset are known to be durable.
    pub durable_end: u64,
    /// Bytes before this one are known to be durable.
    pub durable_at: u64,
}

/// What was found behind the last good batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Clean,
    /// Bytes that were never acknowledged, up to this byte position.
    Torn { to: u64, why: &'static str },
    /// Acknowledged bytes are not what was written: what, and the offset after the last event that is
    /// known to be affected.
    Damaged { what: String, end: u64 },
}

/// Where the good batches of a segment end.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    /// Offset after the last event.
    pub end: u64,
    /// Byte position behind the last batch.
    pub end_at: u64,
    pub previous: Previous,
    pub verdict: Verdict,
}

/// Walks over the batches of a segment, hands each good one out, and says what is behind the last one.
///
/// # Errors
/// When the disk fails, when a batch needs a newer program, or what `each` returns.
pub(crate) fn recover(
    file: &Arc<dyn DiskFile>,
    header: &SegmentHeader,
    evidence: Evidence,
    mut each: impl FnMut(RawBatch) -> Result<(), ScanError>,
) -> Result<Tail, ScanError> {
    let len = file.len()?;
    let source = Bytesource::File(Arc::clone(file));
    let base = header.base.raw();
    let mut scan = Scan::new(source, *header, PAGE_BYTES as u64, len, Some(base));
    let why = loop {
        match scan.next() {
            Ok(Some(batch)) => each(batch)?,
            Ok(None) => break "the file ends",
            Err(ScanError::Batch { error: BatchError::Corrupt(what), .. }) => break what,
            Err(error) => return Err(error),
        }
    };
    let (end, end_at) = (scan.next_offset().unwrap_or(base), scan.position());
    let previous = scan.previous().unwrap_or_default();
    let verdict = verdict(file, header, evidence, end, end_at, why)?;
    Ok(Tail { end, end_at, previous, verdict })
}

fn verdict(
    file: &Arc<dyn DiskFile>,
    header: &SegmentHeader,
    evidence: Evidence,
    end: u64,
    end_at: u64,
    why: &'static str,
) -> io::Result<Verdict> {
    if evidence.durable_end > end || evidence.durable_at > end_at {
        let what = format!("{why}, and what stood here was durable");
        return Ok(Verdict::Damaged { what, end: evidence.durable_end.max(end) });
    }
    let Some(last) = last_nonzero(&**file, end_at)? else { return Ok(Verdict::Clean) };
    if let Some(later) = LaterBatches::find(&**file, header, end_at)? {
        let durable = if later.close_mark { later.end } else { later.hint };
        if durable > end || later.close_mark {
            let what = format!("{why}, and a later batch says that what stood here was durable");
            return Ok(Verdict::Damaged { what, end: durable });
        }
        if !evidence.boot_changed {
            let what = format!("{why}, and good batches follow, which a kill alone does not leave behind");
            return Ok(Verdict::Damaged { what, end: later.end });
        }
    }
    Ok(Verdict::Torn { to: last + 1, why })
}

/// Position of the last byte at or behind `from` that is not zero.
pub(crate) fn last_nonzero(file: &dyn DiskFile, from: u64) -> io::Result<Option<u64>> {
    let mut found = None;
    in_pieces(file, from, 0, |at, piece| {
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            found = Some(at + last as u64);
        }
        Ok(())
    })?;
    Ok(found)
}

const PIECE_BYTES: usize = 256 * 1024;

/// Reads a file piece by piece from a place to its end; each piece comes with `overlap` bytes of the next.
fn in_pieces(
    file: &dyn DiskFile,
    from: u64,
    overlap: usize,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES + overlap];
    let mut at = from;
    loop {
        let read = read_full_at(file, &mut piece, at)?;
        if read == 0 {
            return Ok(());
        }
        each(at, piece.get(..read).unwrap_or_default())?;
        at += PIECE_BYTES as u64;
    }
}

/// What good batches behind a bad one say.
#[derive(Default)]
struct LaterBatches {
    /// The largest durable end that any of them knew of.
    hint: u64,
    /// The offset after the last of them.
    end: u64,
    /// Whether the second mark of a clean close is among them.
    close_mark: bool,
}

impl LaterBatches {
    fn find(file: &dyn DiskFile, header: &SegmentHeader, from: u64) -> io::Result<Option<LaterBatches>> {
        let mut found: Option<LaterBatches> = None;
        good_batches(file, header, from, |_, batch| {
            let found = found.get_or_insert_default();
            if !planted(Bug::HintsIgnored) {
                found.hint = found.hint.max(batch.durable_hint);
            }
            found.end = found.end.max(batch.end_offset());
            found.close_mark |= batch.kind == Kind::CloseMark;
            true
        })?;
        Ok(found)
    }
}

/// The first good batch at or behind a byte position: its position and the offset it starts with.
pub(crate) fn next_good(file: &dyn DiskFile, header: &SegmentHeader, from: u64) -> io::Result<Option<(u64, u64)>> {
    let mut found = None;
    good_batches(file, header, from, |at, batch| {
        found = Some((at, batch.base_offset));
        false
    })?;
    Ok(found)
}

/// Looks for good batches at every place where one may start, until it is told to stop.
fn good_batches(
    file: &dyn DiskFile,
    header: &SegmentHeader,
    from: u64,
    mut each: impl FnMut(u64, &Header) -> bool,
) -> io::Result<()> {
    let marker = header.salt.marker().to_le_bytes();
    let mut on = true;
    in_pieces(file, from.next_multiple_of(BATCH_ALIGN as u64), HEADER_BYTES * 2, |piece_at, piece| {
        for slot in (0..piece.len().min(PIECE_BYTES)).step_by(BATCH_ALIGN) {
            let bytes = piece.get(slot..).unwrap_or_default();
            if !on || !bytes.starts_with(&marker) {
                continue;
            }
            let at = piece_at + slot as u64;
            let Ok(batch) = Header::decode(bytes, header.salt, at) else { continue };
            if body_holds(file, header, &batch, at)? {
                on = each(at, &batch);
            }
        }
        Ok(())
    })
}

fn body_holds(file: &dyn DiskFile, header: &SegmentHeader, batch: &Header, at: u64) -> io::Result<bool> {
    if at + batch.batch_len() as u64 > file.len()? {
        return Ok(false);
    }
    let mut body = vec![0; batch.body_len];
    let read = read_full_at(file, &mut body, at + batch.header_len as u64)?;
    Ok(read == body.len() && header.salt.body_crc(&body) == batch.body_crc)
}
