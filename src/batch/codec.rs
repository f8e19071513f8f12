//! Compression of a batch's body.
//!
//! A compressed body is stored as its length (4 bytes), the compressed bytes, and zeros to a multiple of 64.

use super::{BatchError, aligned};

/// How the bodies of new batches are stored. Reading takes every codec the program was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Codec {
    /// As they are: the fastest to write and to replay.
    #[default]
    None,
    /// LZ4 blocks: about half the bytes of JSON, at some hundred MB/s. Needs the feature `lz4`.
    Lz4,
    /// Zstandard, level 1: about a third of the bytes of JSON. Needs the feature `zstd`.
    Zstd,
}

impl Codec {
    pub(crate) fn code(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Lz4 => 1,
            Codec::Zstd => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Codec::None, Codec::Lz4, Codec::Zstd].into_iter().find(|codec| codec.code() == code)
    }

    /// Whether this program was built with it.
    pub fn is_built_in(self) -> bool {
        match self {
            Codec::None => true,
            Codec::Lz4 => cfg!(feature = "lz4"),
            Codec::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// The stored form of a body; `None` when it would not be at least a tenth smaller.
    pub(super) fn compress(self, raw: &[u8]) -> Option<Vec<u8>> {
        let packed: Vec<u8> = self.pack(raw)?;
        let stored_len = aligned(packed.len() + 4);
        if stored_len * 10 > aligned(raw.len()) * 9 {
            return None;
        }
        let mut stored = Vec::with_capacity(stored_len);
        stored.extend(u32::try_from(packed.len()).ok()?.to_le_bytes());
        stored.extend(packed);
        stored.resize(stored_len, 0);
        Some(stored)
    }

    fn pack(self, raw: &[u8]) -> Option<Vec<u8>> {
        let _ = raw;
        match self {
            #[cfg(feature = "lz4")]
            Codec::Lz4 => Some(lz4_flex::block::compress(raw)),
            #[cfg(feature = "zstd")]
            Codec::Zstd => zstd::bulk::compress(raw, 1).ok(),
            _ => None,
        }
    }

    /// The body of `raw_len` bytes that a stored form holds. `raw_len` is within limits already.
    pub(super) fn decompress(self, stored: &[u8], raw_len: usize) -> Result<Vec<u8>, BatchError> {
        let corrupt = BatchError::Corrupt("the compressed body does not unpack to what its header says");
        let (len, rest) = stored.split_first_chunk::<4>().ok_or(corrupt.clone())?;
        let (packed, padding) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(corrupt.clone())?;
        if padding.len() >= super::BATCH_ALIGN || padding.iter().any(|byte| *byte != 0) {
            return Err(BatchError::Corrupt("padding of the batch is not zero"));
        }
        let raw: Option<Vec<u8>> = match self {
            Codec::None => None,
            #[cfg(feature = "lz4")]
            Codec::Lz4 => lz4_flex::block::decompress(packed, raw_len).ok(),
            #[cfg(feature = "zstd")]
            Codec::Zstd => zstd::bulk::decompress(packed, raw_len).ok(),
            #[allow(unreachable_patterns)] // reached in builds without the feature
            other => {
                let what = format!("the batch is compressed with {other:?}, and this program was built without it");
                let _ = (packed, raw_len);
                return Err(BatchError::Unsupported(what));
            }
        };
        raw.filter(|raw| raw.len() == raw_len).ok_or(corrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gets_a_tenth_smaller_is_stored_packed_and_nothing_else() {
        for codec in [Codec::Lz4, Codec::Zstd].into_iter().filter(|codec| codec.is_built_in()) {
            let text = b"the same words again and again, ".repeat(40);
            let stored = codec.compress(&text).expect("it repeats itself");
            assert!(stored.len() < text.len() && stored.len() % 64 == 0);
            assert_eq!(codec.decompress(&stored, text.len()), Ok(text.clone()));
            assert!(codec.decompress(&stored, text.len() - 1).is_err(), "{codec:?} must not overrun");
            assert!(codec.decompress(&stored, text.len() + 1).is_err(), "{codec:?} must not fall short");
            let random = crate::disk::SeededRandom::new(1);
            let noise: Vec<u8> = (0..200).flat_map(|_| crate::disk::Random::next_u64(&random).to_le_bytes()).collect();
            assert_eq!(codec.compress(&noise), None);
        }
    }

    #[test]
    fn hostile_bytes_are_an_error() {
        for codec in [Codec::Lz4, Codec::Zstd].into_iter().filter(|codec| codec.is_built_in()) {
            for stored in [&[][..], &[255; 64], &[0; 64], &[8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]] {
                assert!(codec.decompress(stored, 1000).is_err(), "{codec:?} {stored:?}");
            }
        }
    }
}
