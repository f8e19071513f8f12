//! The header of a batch.
//!
//! | at | bytes | field           | meaning (numbers are little-endian)                                        |
//! |---:|------:|-----------------|----------------------------------------------------------------------------|
//! |  0 |     4 | marker          | `MARKER` xor the low half of the segment's salt, so never 0 in a zero page  |
//! |  4 |     4 | header_crc      | CRC-32 over salt, byte position in the file, and the header from byte 8 on  |
//! |  8 |     4 | body_len        | stored bytes behind the header, padding included; a multiple of 64          |
//! | 12 |     4 | body_crc        | CRC-32 of the stored body, seeded with the salt                             |
//! | 16 |     8 | base_offset     | offset of the first record: the end of the batch before                     |
//! | 24 |     4 | record_count    | offsets taken by this batch (in a gap: how many were lost)                  |
//! | 28 |     4 | prev_len        | whole length of the batch before in this file, 0 for the first              |
//! | 32 |     8 | recorded_us     | when the first append was taken, µs since 1970; greater than in all batches |
//! |    |       |                 | of events before (in a control batch: the last such moment before)          |
//! | 40 |     4 | recorded_span   | µs from there to the last append of the batch                               |
//! | 44 |     1 | kind            | [`Kind`]                                                                    |
//! | 45 |     1 | codec           | [`Codec`](super::Codec) of the body                                         |
//! | 46 |     1 | header_len / 8  | at least 16; a longer header is read and its rest passed over               |
//! | 47 |     1 | version         | 1                                                                           |
//! | 48 |     8 | durable_hint    | durable end known when this batch was written                               |
//! | 56 |     4 | tail_epoch      | how often a torn tail was cut from this log before                          |
//! | 60 |     4 | prev_body_crc   | body_crc of the batch before in this file, 0 for the first                  |
//! | 64 |     4 | records_len     | bytes of records (control batches: of the payload)                          |
//! | 68 |     4 | names_len       | bytes of names behind the records                                           |
//! | 72 |     4 | appends_len     | bytes of the appends table behind the names                                 |
//! | 76 |     2 | incompatible    | feature bits; an unknown one refuses to be read                             |
//! | 78 |     2 | compatible      | feature bits; an unknown one is passed over                                 |
//! | 80 |     8 | time_min_us     | smallest time of a user's event; above time_max_us when there is none       |
//! | 88 |     8 | time_max_us     | largest time of a user's event                                              |
//! | 96 |    32 | chain           | reserved for a hash over the history; zero                                  |

use crc32fast::Hasher;

use super::{BatchError, Codec, Input};
use crate::limits::BATCH_BYTES_MAX;
use crate::planted::{Bug, planted};

/// Bytes of a header as this version writes it.
pub(crate) const HEADER_BYTES: usize = 128;
/// Batches start and end at multiples of this.
pub(crate) const BATCH_ALIGN: usize = 64;
/// Largest body of a footer: the only batch that may be longer than an append.
const FOOTER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Latest moment that is read, in the year 148,000: what is added to it stays a number.
const RECORDED_US_MAX: i64 = i64::MAX / 2;

/// Largest offset that is read. No log comes near; what is added to it stays a number.
pub(crate) const OFFSET_MAX: u64 = u64::MAX / 4;

const MARKER: u32 = 0x4c4e_4e41; // "ANNL"
const VERSION: u8 = 1;
const CRC_FROM: usize = 8;
const HEADER_LEN_AT: usize = 46;
const LENGTHS_AT: usize = 64;
const PREV_LEN_AT: usize = 28;
const PREV_CRC_AT: usize = 60;
const CHAIN_AT: usize = 96;
const _: () = assert!(CHAIN_AT + 32 == HEADER_BYTES, "as the table says");

/// Feature bits of a batch that this version knows.
const KNOWN_INCOMPATIBLE: u16 = 0;
const KNOWN_COMPATIBLE: u16 = 0;

/// Random number of one segment file. Mixed into every checksum, so that bytes of another file, or of an
/// older life of this one, never look valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(pub u64);

impl Salt {
    /// What the first four bytes of every batch of the file are.
    pub fn marker(self) -> u32 {
        MARKER ^ self.low()
    }

    /// Whether batches can be told from zeros under this salt.
    pub fn is_usable(self) -> bool {
        self.marker() != 0
    }

    fn low(self) -> u32 {
        if planted(Bug::SaltIgnored) {
            return 0;
        }
        u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// The salts under which a file's batches begin with a marker; the high half is zero.
    pub fn of_marker(marker: u32) -> Salt {
        Salt(u64::from(MARKER ^ marker))
    }

    /// The same low half with another high one.
    pub fn with_high(self, high: u32) -> Salt {
        Salt(u64::from(high) << 32 | u64::from(self.low()))
    }

    /// Checksum of a header as it is stored, bound to its place.
    pub fn header_crc_of(self, at: u64, bytes: &[u8]) -> u32 {
        self.header_crc(at, bytes.get(CRC_FROM..).unwrap_or_default())
    }

    /// Checksum of a header, bound to its place.
    pub fn header_crc(self, at: u64, from_crc_on: &[u8]) -> u32 {
        let mut hasher = Hasher::new();
        if !planted(Bug::SaltIgnored) {
            hasher.update(&self.0.to_le_bytes());
        }
        hasher.update(&at.to_le_bytes());
        let covered = if planted(Bug::ChecksumWithoutLengths) { LENGTHS_AT - CRC_FROM } else { from_crc_on.len() };
        hasher.update(from_crc_on.get(..covered).unwrap_or_default());
        hasher.finalize()
    }

    /// Checksum of a stored body.
    pub fn body_crc(self, body: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.low());
        hasher.update(body);
        hasher.finalize()
    }
}

/// What a batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Events, some of them the users'.
    Events,
    /// Events of the log's own streams only: most readers skip them by this byte.
    System,
    /// At the head of a segment: the last record of every source and handler, and of every producer.
    Carry,
    /// Nothing: it says by its hint what is durable.
    Mark,
    /// The second mark of a clean close: all bytes before it were durable when it was written.
    CloseMark,
    /// Indexes of a sealed segment.
    Footer,
    /// Events that were lost and given up by a repair.
    Gap,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Events, Kind::System, Kind::Carry, Kind::Mark, Kind::CloseMark, Kind::Footer, Kind::Gap];

    fn code(self) -> u8 {
        match self {
            Kind::Events => 1,
            Kind::System => 2,
            Kind::Carry => 3,
            Kind::Mark => 4,
            Kind::CloseMark => 5,
            Kind::Footer => 6,
            Kind::Gap => 7,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether its records are events.
    pub fn holds_events(self) -> bool {
        matches!(self, Kind::Events | Kind::System)
    }
}

/// A header, without the fields that only its checksum needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub header_len: usize,
    pub body_len: usize,
    pub body_crc: u32,
    pub base_offset: u64,
    pub record_count: u32,
    pub prev_len: u32,
    pub recorded_us: i64,
    pub recorded_span_us: u32,
    pub kind: Kind,
    pub codec: Codec,
    pub durable_hint: u64,
    pub tail_epoch: u32,
    pub prev_body_crc: u32,
    pub records_len: usize,
    pub names_len: usize,
    pub appends_len: usize,
    pub time_min_us: i64,
    pub time_max_us: i64,
}

/// Why no header was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// The bytes end before the header does: at least this many are needed.
    Short(usize),
    /// Not a header, or not one that may be read.
    Batch(BatchError),
}

impl From<BatchError> for HeaderError {
    fn from(error: BatchError) -> Self {
        HeaderError::Batch(error)
    }
}

impl Header {
    /// Length of the whole batch in its file.
    pub fn batch_len(&self) -> usize {
        self.header_len + self.body_len
    }

    /// Offset after the last record.
    pub fn end_offset(&self) -> u64 {
        self.base_offset.saturating_add(u64::from(self.record_count))
    }

    /// Bytes of the body before compression, without padding.
    pub fn raw_len(&self) -> usize {
        self.records_len + self.names_len + self.appends_len
    }

    /// When its last append was taken.
    pub fn recorded_last_us(&self) -> i64 {
        self.recorded_us.saturating_add(i64::from(self.recorded_span_us))
    }

    fn times_are_zero(&self) -> bool {
        (self.time_min_us, self.time_max_us, self.recorded_span_us) == (0, 0, 0)
    }

    /// Writes the header in front of its body, checksums included.
    pub fn encode(&self, salt: Salt, at: u64) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut put = |place: usize, bytes: &[u8]| {
            out.iter_mut().skip(place).zip(bytes).for_each(|(to, from)| *to = *from);
        };
        put(0, &salt.marker().to_le_bytes());
        put(8, &len32(self.body_len).to_le_bytes());
        put(12, &self.body_crc.to_le_bytes());
        put(16, &self.base_offset.to_le_bytes());
        put(24, &self.record_count.to_le_bytes());
        put(28, &self.prev_len.to_le_bytes());
        put(32, &self.recorded_us.to_le_bytes());
        put(40, &self.recorded_span_us.to_le_bytes());
        put(44, &[self.kind.code(), self.codec.code(), 16, VERSION]);
        put(48, &self.durable_hint.to_le_bytes());
        put(56, &self.tail_epoch.to_le_bytes());
        put(60, &self.prev_body_crc.to_le_bytes());
        put(64, &len32(self.records_len).to_le_bytes());
        put(68, &len32(self.names_len).to_le_bytes());
        put(72, &len32(self.appends_len).to_le_bytes());
        put(80, &self.time_min_us.to_le_bytes());
        put(88, &self.time_max_us.to_le_bytes());
        let crc = salt.header_crc(at, out.get(CRC_FROM..).unwrap_or_default());
        out.iter_mut().skip(4).zip(crc.to_le_bytes()).for_each(|(to, from)| *to = from);
        out
    }

    /// Reads and checks the header of a batch that starts at byte `at` of its file. No length in it is
    /// used before the checksum holds, but the header's own, which is bounded.
    pub fn decode(bytes: &[u8], salt: Salt, at: u64) -> Result<Header, HeaderError> {
        let Some(fixed) = bytes.get(..HEADER_BYTES) else { return Err(HeaderError::Short(HEADER_BYTES)) };
        let mut input = Input::new(fixed);
        if input.u32() != Some(salt.marker()) {
            return Err(BatchError::Corrupt("no batch starts here").into());
        }
        let header_len = fixed.get(HEADER_LEN_AT).map_or(0, |eighths| usize::from(*eighths) * 8);
        if header_len < HEADER_BYTES || !header_len.is_multiple_of(BATCH_ALIGN) {
            return Err(BatchError::Corrupt("the batch header's length is impossible").into());
        }
        let Some(covered) = bytes.get(CRC_FROM..header_len) else { return Err(HeaderError::Short(header_len)) };
        if input.u32() != Some(salt.header_crc(at, covered)) {
            return Err(BatchError::Corrupt("the checksum of the batch header does not hold").into());
        }
        Header::fields(input, header_len)?.checked(fixed)
    }

    fn fields(mut input: Input<'_>, header_len: usize) -> Result<Header, BatchError> {
        let short = BatchError::Corrupt("the batch header is short");
        let mut read = || -> Option<(Header, u8, u8, u8)> {
            let body_len = input.u32()? as usize;
            let body_crc = input.u32()?;
            let base_offset = input.u64()?;
            let record_count = input.u32()?;
            let prev_len = input.u32()?;
            let recorded_us = input.i64()?;
            let recorded_span_us = input.u32()?;
            let (kind, codec, _, version) = (input.u8()?, input.u8()?, input.u8()?, input.u8()?);
            let header = Header {
                header_len,
                body_len,
                body_crc,
                base_offset,
                record_count,
                prev_len,
                recorded_us,
                recorded_span_us,
                kind: Kind::Mark,
                codec: Codec::None,
                durable_hint: input.u64()?,
                tail_epoch: input.u32()?,
                prev_body_crc: input.u32()?,
                records_len: input.u32()? as usize,
                names_len: input.u32()? as usize,
                appends_len: input.u32()? as usize,
                time_min_us: input.u32().and_then(|_| input.i64())?,
                time_max_us: input.i64()?,
            };
            Some((header, kind, codec, version))
        };
        let (header, kind, codec, version) = read().ok_or(short)?;
        if version != VERSION {
            return Err(BatchError::Unsupported(format!("batch version {version} is newer than this program")));
        }
        let kind = Kind::from_code(kind)
            .ok_or_else(|| BatchError::Unsupported(format!("batch kind {kind} is newer than this program")))?;
        let codec = Codec::from_code(codec)
            .ok_or_else(|| BatchError::Unsupported(format!("batch codec {codec} is newer than this program")))?;
        Ok(Header { kind, codec, ..header })
    }

    /// Checks what a valid checksum does not promise: features, and lengths against limits and each other.
    fn checked(self, fixed: &[u8]) -> Result<Header, HeaderError> {
        let mut features = Input::new(fixed.get(76..80).unwrap_or_default());
        let incompatible = features.u16().unwrap_or_default();
        let compatible = features.u16().unwrap_or_default();
        if incompatible & !KNOWN_INCOMPATIBLE != 0 {
            let what = format!("the batch uses features {incompatible:#06x} that this program does not know");
            return Err(BatchError::Unsupported(what).into());
        }
        let known_only = compatible & !KNOWN_COMPATIBLE == 0;
        if known_only && fixed.get(CHAIN_AT..).is_some_and(|chain| chain.iter().any(|byte| *byte != 0)) {
            return Err(BatchError::Corrupt("reserved bytes of the batch header are not zero").into());
        }
        let most = if self.kind == Kind::Footer { FOOTER_BYTES_MAX } else { BATCH_BYTES_MAX };
        let fits = self.raw_len() <= most
            && self.body_len <= super::aligned(most)
            && self.body_len.is_multiple_of(BATCH_ALIGN);
        let stored = match self.codec {
            Codec::None => self.body_len == super::aligned(self.raw_len()),
            _ => self.body_len < super::aligned(self.raw_len()),
        };
        // Only events are stored compressed; and of what the checksum does not bind to anything, nothing is left open.
        let plain = self.codec == Codec::None && self.names_len == 0 && self.appends_len == 0;
        let kind = match self.kind {
            Kind::Events | Kind::System => true,
            Kind::Mark | Kind::CloseMark => plain && self.raw_len() == 0 && self.times_are_zero(),
            Kind::Carry | Kind::Footer | Kind::Gap => plain && self.times_are_zero(),
        };
        let moments = self.recorded_us <= RECORDED_US_MAX && self.durable_hint <= self.base_offset;
        let counted = self.kind.holds_events() || self.kind == Kind::Gap || self.record_count == 0;
        let ends = self.end_offset() <= OFFSET_MAX;
        if fits && stored && kind && moments && counted && ends {
            Ok(self)
        } else {
            Err(BatchError::Corrupt("the lengths in the batch header contradict each other").into())
        }
    }
}

/// What the bytes of a header say that its salt is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealedFields {
    pub marker: u32,
    pub header_crc: u32,
    pub body_len: usize,
    pub body_crc: u32,
}

/// The fields of a header whose salt is not known yet; `None` when they are no header's.
pub(crate) fn sealed_fields(bytes: &[u8; HEADER_BYTES]) -> Option<SealedFields> {
    let mut input = Input::new(bytes);
    let (marker, header_crc) = (input.u32()?, input.u32()?);
    let (body_len, body_crc) = (input.u32()? as usize, input.u32()?);
    let plausible = body_len <= super::aligned(BATCH_BYTES_MAX)
        && body_len.is_multiple_of(BATCH_ALIGN)
        && bytes.get(HEADER_LEN_AT).is_some_and(|eighths| usize::from(*eighths) * 8 == HEADER_BYTES);
    plausible.then_some(SealedFields { marker, header_crc, body_len, body_crc })
}

/// Puts a stored header at another place, behind another batch. All else in it stays as it is, what a newer program
/// put there included.
pub(crate) fn move_header(bytes: &mut [u8], salt: Salt, at: u64, previous: super::Previous) {
    let mut put = |place: usize, field: [u8; 4]| {
        bytes.iter_mut().skip(place).zip(field).for_each(|(to, from)| *to = from);
    };
    put(PREV_LEN_AT, previous.len.to_le_bytes());
    put(PREV_CRC_AT, previous.body_crc.to_le_bytes());
    let crc = salt.header_crc_of(at, bytes);
    bytes.iter_mut().skip(4).zip(crc.to_le_bytes()).for_each(|(to, from)| *to = from);
}

/// A length as the header stores it. Batches are far below 4 GiB.
fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(0x1122_3344_5566_7788);

    fn header() -> Header {
        Header {
            header_len: HEADER_BYTES,
            body_len: 192,
            body_crc: 0xdead_beef,
            base_offset: 7,
            record_count: 2,
            prev_len: 320,
            recorded_us: 1_000_000,
            recorded_span_us: 5,
            kind: Kind::Events,
            codec: Codec::None,
            durable_hint: 6,
            tail_epoch: 1,
            prev_body_crc: 0x0102_0304,
            records_len: 100,
            names_len: 50,
            appends_len: 24,
            time_min_us: -1,
            time_max_us: 2,
        }
    }

    /// Each of these made the program panic, or stood on the disk unexplained.
    #[test]
    fn what_a_good_checksum_does_not_promise_is_checked() {
        let read = |header: &Header| Header::decode(&header.encode(SALT, 4096), SALT, 4096);
        let mark = Header {
            kind: Kind::Mark,
            body_len: 0,
            record_count: 0,
            recorded_span_us: 0,
            records_len: 0,
            names_len: 0,
            appends_len: 0,
            time_min_us: 0,
            time_max_us: 0,
            ..header()
        };
        assert_eq!((read(&header()), read(&mark)), (Ok(header()), Ok(mark.clone())));
        let others = [
            Header { recorded_us: i64::MAX, ..header() },
            Header { durable_hint: 8, ..header() },
            Header { body_len: 64, records_len: 15, ..mark.clone() },
            Header { time_min_us: 99, ..mark.clone() },
            Header { body_len: 64, names_len: 8, ..mark.clone() },
            // What unpacks to more than any batch of events is not stored packed.
            Header { kind: Kind::Footer, codec: Codec::Zstd, body_len: 64, records_len: 400 << 20, ..mark.clone() },
        ];
        for other in others {
            assert!(read(&other).is_err(), "{other:?}");
        }
    }

    /// The header again after a change, with a checksum that holds.
    fn resealed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        change(&mut bytes);
        let len = usize::from(bytes[46]) * 8;
        let crc = SALT.header_crc(4096, &bytes[8..len]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    #[rustfmt::skip]
    fn the_bytes_on_disk_are_exactly_these() {
        let mut expected = Vec::new();
        expected.extend([0xc9, 0x39, 0x28, 0x19, 0xd2, 0x46, 0x56, 0x50, 192, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde]); // marker, crc, body_len, body_crc
        expected.extend([7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0x40, 1, 0, 0]); // base_offset, record_count, prev_len
        expected.extend([0x40, 0x42, 0x0f, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 16, 1]); // recorded, span, kind codec header_len version
        expected.extend([6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 3, 2, 1]); // hint, epoch, prev_body_crc
        expected.extend([100, 0, 0, 0, 50, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0]); // section lengths, features
        expected.extend([0xff; 8]);
        expected.extend([2, 0, 0, 0, 0, 0, 0, 0]); // times
        expected.extend([0; 32]); // chain
        assert_eq!(header().encode(SALT, 4096).to_vec(), expected);
    }

    #[test]
    fn a_header_is_read_back_at_its_place_and_nowhere_else() {
        let bytes = header().encode(SALT, 4096);
        assert_eq!(Header::decode(&bytes, SALT, 4096), Ok(header()));
        assert!(Header::decode(&bytes, SALT, 4160).is_err(), "moved within the file");
        assert!(Header::decode(&bytes, Salt(SALT.0 ^ (1 << 40)), 4096).is_err(), "moved to another file");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = header().encode(SALT, 4096);
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped, SALT, 4096).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_unknown_incompatible_bit_refuses_and_an_unknown_compatible_one_reads() {
        let bytes = header().encode(SALT, 4096).to_vec();
        let refused = resealed(bytes.clone(), |bytes| bytes[77] = 0x80);
        let error = Header::decode(&refused, SALT, 4096).unwrap_err();
        assert!(matches!(error, HeaderError::Batch(BatchError::Unsupported(_))), "{error:?}");
        let read = resealed(bytes, |bytes| {
            bytes[79] = 0x80;
            bytes[100] = 1; // what the bit stands for may be kept in reserved bytes
        });
        assert_eq!(Header::decode(&read, SALT, 4096), Ok(header()));
    }

    #[test]
    fn a_longer_header_is_read_and_its_rest_passed_over() {
        let mut bytes = header().encode(SALT, 4096).to_vec();
        bytes.extend([9; 64]);
        let longer = resealed(bytes, |bytes| bytes[46] = 24);
        assert_eq!(Header::decode(&longer, SALT, 4096), Ok(Header { header_len: 192, ..header() }));
        assert_eq!(Header::decode(&longer[..150], SALT, 4096), Err(HeaderError::Short(192)));
    }

    #[test]
    fn reserved_bytes_are_zero_and_newer_versions_are_told_from_damage() {
        let bytes = header().encode(SALT, 4096).to_vec();
        for (at, value, unsupported) in [(96, 1, false), (127, 1, false), (47, 2, true), (44, 99, true), (45, 99, true)]
        {
            let other = resealed(bytes.clone(), |bytes| bytes[at] = value);
            match Header::decode(&other, SALT, 4096) {
                Err(HeaderError::Batch(BatchError::Unsupported(_))) => assert!(unsupported, "byte {at}"),
                Err(HeaderError::Batch(BatchError::Corrupt(_))) => assert!(!unsupported, "byte {at}"),
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
}
