//! Sealing: a segment that takes no more batches gets its footer and trailer, and its file its exact length.

use std::sync::Arc;

use bytes::Bytes;

use super::{Bytesource, Carry, Footer, FooterBuilder, PAGE_BYTES, Scan, ScanError, SegmentHeader, Trailer};
use crate::batch::{BATCH_ALIGN, BatchError, HEADER_BYTES, Kind, Previous, checked_body, control_batch};
use crate::disk::DiskFile;
use crate::planted::{Bug, planted};

/// What a segment holds, gathered batch by batch: all that its end will say of it.
#[derive(Debug)]
pub(crate) struct Contents {
    footer: FooterBuilder,
    header: SegmentHeader,
    end: u64,
    end_at: u64,
    previous: Previous,
    recorded_first_us: i64,
    recorded_last_us: i64,
    time_min_us: i64,
    time_max_us: i64,
    tail_epoch: u32,
    lost_events: u64,
}

impl Contents {
    pub fn new(header: &SegmentHeader) -> Self {
        Contents {
            footer: FooterBuilder::new(header.log_id, header.base.raw()),
            header: *header,
            end: header.base.raw(),
            end_at: PAGE_BYTES as u64,
            previous: Previous::default(),
            recorded_first_us: 0,
            recorded_last_us: 0,
            time_min_us: i64::MAX,
            time_max_us: i64::MIN,
            tail_epoch: header.tail_epoch.raw(),
            lost_events: 0,
        }
    }

    /// Takes the next batch of the segment.
    pub fn batch(&mut self, batch: super::RawBatch) -> Result<(), ScanError> {
        self.end = batch.header.end_offset();
        self.end_at = batch.next_at();
        self.previous = batch.as_previous();
        self.tail_epoch = self.tail_epoch.max(batch.header.tail_epoch);
        if batch.header.kind == Kind::Gap {
            self.lost_events += u64::from(batch.header.record_count);
        }
        if batch.header.kind == Kind::Carry {
            let at = batch.at;
            let bad = |error| ScanError::Batch { at, error };
            let len = batch.header.records_len;
            let payload = checked_body(&batch.header, batch.stored, self.header.salt).map_err(bad)?;
            return Carry::decode(payload.get(..len).unwrap_or_default()).map(drop).map_err(bad);
        }
        if !batch.header.kind.holds_events() {
            return Ok(());
        }
        if self.recorded_last_us == 0 {
            self.recorded_first_us = batch.header.recorded_us;
        }
        self.recorded_last_us = batch.header.recorded_last_us();
        self.time_min_us = self.time_min_us.min(batch.header.time_min_us);
        self.time_max_us = self.time_max_us.max(batch.header.time_max_us);
        let at = batch.at;
        self.footer.batch(at, &batch.decode(self.header.salt)?);
        Ok(())
    }

    /// Offset after the last event.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Byte position behind the last batch.
    pub fn end_at(&self) -> u64 {
        self.end_at
    }

    /// Checksum of the last batch, by which the next segment knows it.
    pub fn last_crc(&self) -> u32 {
        self.previous.body_crc
    }

    /// The indexes and the summary, for a segment that has no footer yet.
    pub fn into_footer(self) -> Result<(Footer, Trailer), BatchError> {
        let base = self.header.base.raw();
        let payload_of = |bytes: Vec<u8>, len: usize| Bytes::from(bytes).slice(HEADER_BYTES..HEADER_BYTES + len);
        let (bytes, trailer, payload_len) = self.encode();
        Ok((Footer::decode(payload_of(bytes, payload_len), base)?, trailer))
    }

    /// The bytes of footer and trailer, which stand at [`end_at`](Self::end_at) and end the file. The same
    /// batches always give the same bytes.
    pub fn finish(self) -> (Vec<u8>, Trailer) {
        let (bytes, trailer, _) = self.encode();
        (bytes, trailer)
    }

    fn encode(self) -> (Vec<u8>, Trailer, usize) {
        let (user_events, system_events, data_bytes) =
            (self.footer.user_events, self.footer.system_events, self.footer.data_bytes);
        let payload = self.footer.encode();
        let recorded_us = self.recorded_last_us;
        let mut footer = control_batch(Kind::Footer, self.end, 0, recorded_us, self.tail_epoch, &payload);
        footer.seal(self.header.salt, self.end_at, self.previous, self.end);
        let len32 = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let trailer = Trailer {
            base: self.header.base.raw(),
            end: self.end,
            footer_at: u32::try_from(self.end_at).unwrap_or(u32::MAX),
            footer_len: len32(footer.bytes.len()),
            user_events,
            system_events,
            data_bytes,
            recorded_first_us: self.recorded_first_us,
            recorded_last_us: self.recorded_last_us,
            time_min_us: self.time_min_us,
            time_max_us: self.time_max_us,
            last_body_crc: self.previous.body_crc,
            last_len: self.previous.len,
            tail_epoch: self.tail_epoch,
            lost_events: self.lost_events,
        };
        let mut bytes = footer.bytes;
        bytes.extend(trailer.encode(self.header.salt));
        (bytes, trailer, payload.len())
    }
}

/// Reads the batches of a segment up to a byte position, and writes footer and trailer behind them. May be
/// done again from the start after it failed: the batches are not touched.
pub(crate) fn seal(file: &Arc<dyn DiskFile>, header: &SegmentHeader, end_at: u64) -> Result<Trailer, ScanError> {
    let source = Bytesource::File(Arc::clone(file));
    let mut scan = Scan::new(source, *header, PAGE_BYTES as u64, end_at, Some(header.base.raw()));
    let mut contents = Contents::new(header);
    while let Some(batch) = scan.next()? {
        contents.batch(batch)?;
    }
    if contents.end_at() != end_at {
        let error = BatchError::Corrupt("the segment ends elsewhere than it should");
        return Err(ScanError::Batch { at: contents.end_at(), error });
    }
    write_end(file, contents)
}

/// Writes footer and trailer behind the batches that were gathered.
pub(crate) fn write_end(file: &Arc<dyn DiskFile>, contents: Contents) -> Result<Trailer, ScanError> {
    let end_at = contents.end_at();
    let (bytes, trailer) = contents.finish();
    let exact = end_at + bytes.len() as u64;
    // A file of exactly this length has a whole end, also after a power cut, and whatever differs from it is
    // damage. So the file is longer until footer and trailer are durable.
    let len = file.len()?;
    if len <= exact {
        file.allocate(len, exact + BATCH_ALIGN as u64 - len)?;
        // Where space cannot be taken ahead, the length has not changed yet.
        file.set_len(exact + BATCH_ALIGN as u64)?;
        file.sync()?;
    }
    file.write_all_at(&bytes, end_at)?;
    if !planted(Bug::SealedTooShort) {
        file.sync()?;
    }
    file.set_len(exact)?;
    file.sync()?;
    Ok(trailer)
}
