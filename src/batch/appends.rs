//! Where each append begins in a batch, and which producer sent it.
//!
//! | bytes | field            | meaning                                                                      |
//! |------:|------------------|------------------------------------------------------------------------------|
//! |     4 | append_count     | at least 1                                                                   |
//! |     4 | producer_count   | appends that came with a producer's sequence                                 |
//! |   4 4 | for each append  | index of its first record; µs from the batch's recorded_us to its own        |
//! |    40 | for each of them | append u32, producer u16, 0 u16, epoch u32, 0 u32, sequence u64, digest 16   |

use super::{BatchError, Input};

const APPEND_BYTES: usize = 8;
const PRODUCER_BYTES: usize = 40;

/// One append of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AppendEntry {
    /// Index of its first record in the batch.
    pub first_record: u32,
    /// µs from the batch's `recorded_us` to the append's own.
    pub recorded_delta_us: u32,
}

/// What a producer over the network said of its append, so that a resend is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    /// Index into the batch's appends.
    pub append: u32,
    /// Index into the batch's producers.
    pub producer: u16,
    /// The producer's own epoch.
    pub epoch: u32,
    /// The producer's number of the append.
    pub sequence: u64,
    /// Hash of what was sent.
    pub digest: u128,
}

/// Bytes of a table.
pub(super) fn len(appends: usize, producers: usize) -> usize {
    8 + appends * APPEND_BYTES + producers * PRODUCER_BYTES
}

pub(super) fn put(out: &mut Vec<u8>, appends: &[AppendEntry], producers: &[ProducerEntry]) {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    out.extend(count(appends.len()));
    out.extend(count(producers.len()));
    for append in appends {
        out.extend(append.first_record.to_le_bytes());
        out.extend(append.recorded_delta_us.to_le_bytes());
    }
    for entry in producers {
        out.extend(entry.append.to_le_bytes());
        out.extend(u32::from(entry.producer).to_le_bytes());
        out.extend(entry.epoch.to_le_bytes());
        out.extend([0; 4]);
        out.extend(entry.sequence.to_le_bytes());
        out.extend(entry.digest.to_le_bytes());
    }
}

/// Reads a table of a batch with so many records and producers' names.
pub(super) fn get(
    bytes: &[u8],
    record_count: u32,
    producer_names: usize,
) -> Result<(Vec<AppendEntry>, Vec<ProducerEntry>), BatchError> {
    parse(bytes, record_count, producer_names)
        .ok_or(BatchError::Corrupt("the appends table of the batch is not what it should be"))
}

fn parse(bytes: &[u8], record_count: u32, producer_names: usize) -> Option<(Vec<AppendEntry>, Vec<ProducerEntry>)> {
    let mut input = Input::new(bytes);
    let (appends, producers) = (input.u32()? as usize, input.u32()? as usize);
    if appends == 0 || bytes.len() != len_checked(appends, producers)? {
        return None;
    }
    let mut entries: Vec<AppendEntry> = Vec::with_capacity(appends);
    for _ in 0..appends {
        let entry = AppendEntry { first_record: input.u32()?, recorded_delta_us: input.u32()? };
        let in_order = match entries.last() {
            None => entry.first_record == 0,
            Some(last) => entry.first_record > last.first_record && entry.recorded_delta_us >= last.recorded_delta_us,
        };
        if !in_order || entry.first_record >= record_count {
            return None;
        }
        entries.push(entry);
    }
    let mut from: Vec<ProducerEntry> = Vec::with_capacity(producers);
    for _ in 0..producers {
        let append = input.u32()?;
        let (producer, zero) = (input.u16()?, input.u16()?);
        let (epoch, zero2) = (input.u32()?, input.u32()?);
        let entry = ProducerEntry { append, producer, epoch, sequence: input.u64()?, digest: input.u128()? };
        let in_order = from.last().is_none_or(|last| last.append < append);
        if !in_order || append as usize >= appends || usize::from(producer) >= producer_names || zero != 0 || zero2 != 0
        {
            return None;
        }
        from.push(entry);
    }
    Some((entries, from))
}

fn len_checked(appends: usize, producers: usize) -> Option<usize> {
    appends.checked_mul(APPEND_BYTES)?.checked_add(producers.checked_mul(PRODUCER_BYTES)?)?.checked_add(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let appends = [AppendEntry { first_record: 0, recorded_delta_us: 0 }, AppendEntry { first_record: 3, recorded_delta_us: 9 }];
        let producers = [ProducerEntry { append: 1, producer: 0, epoch: 5, sequence: 6, digest: 7 }];
        let mut out = Vec::new();
        put(&mut out, &appends, &producers);
        let mut expected = vec![
            2, 0, 0, 0, 1, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,   3, 0, 0, 0, 9, 0, 0, 0,
            1, 0, 0, 0,   0, 0,   0, 0,   5, 0, 0, 0,   0, 0, 0, 0,   6, 0, 0, 0, 0, 0, 0, 0,   7,
        ];
        expected.extend([0; 15]);
        assert_eq!(out, expected);
        assert_eq!(out.len(), len(2, 1));
        assert_eq!(get(&out, 4, 1), Ok((appends.to_vec(), producers.to_vec())));
        assert!(get(&out, 3, 1).is_err(), "an append behind the last record");
        assert!(get(&out, 4, 0).is_err(), "a producer without a name");
        for cut in 0..out.len() {
            assert!(get(&out[..cut], 4, 1).is_err(), "cut at {cut}");
        }
    }
}
