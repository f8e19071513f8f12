//! The bytes of a value in a handler's state: one byte says its codec, the rest is the codec's.
//!
//! | first byte | rest                                                                                   |
//! |-----------:|----------------------------------------------------------------------------------------|
//! |          0 | the value's bytes as they are                                                          |
//! |          1 | JSON                                                                                   |
//! |          2 | bincode 2, integers little-endian and of fixed width                                   |

#[cfg(any(feature = "bincode", feature = "json"))]
use serde::de::DeserializeOwned;

#[cfg(any(feature = "bincode", feature = "json"))]
use crate::limits::DATA_BYTES_MAX;

/// The codec of bytes as they are.
pub(crate) const RAW: u8 = 0;
/// The codec of JSON.
#[cfg_attr(not(feature = "json"), allow(dead_code))] // codecs that this build does not know are still told apart
pub(crate) const JSON: u8 = 1;
/// The codec of typed Rust values.
#[cfg_attr(not(feature = "bincode"), allow(dead_code))]
pub(crate) const BINCODE: u8 = 2;

/// How bincode writes and reads: fixed widths, and no more than a commit may carry.
#[cfg(feature = "bincode")]
const LAYOUT: Layout = bincode::config::standard().with_fixed_int_encoding().with_limit::<DATA_BYTES_MAX>();
#[cfg(feature = "bincode")]
type Layout = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::Limit<DATA_BYTES_MAX>,
>;

/// Why a value could not be written or read. Nothing was changed by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// There is not even a codec byte.
    #[error("the stored value is empty, not even a codec byte is there; it was not written by this library")]
    Empty,
    /// Its codec is another one than can be read here.
    #[error("the stored value has codec {0}, which cannot be read as asked for; see the features of this build")]
    Codec(u8),
    /// It is larger than a commit may carry.
    #[error("the value takes {bytes} bytes, and at most {most} fit into a commit; nothing was written, split it")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What it may take.
        most: usize,
    },
    /// More bytes follow the value: it was written as another type.
    #[error("{0} bytes are left over behind the stored value: it was written as another type")]
    Trailing(usize),
    /// It could not be written.
    #[error("the value cannot be encoded: {0}; nothing was written")]
    Encode(String),
    /// It could not be read as the type asked for.
    #[error("the stored value is none of the type asked for: {0}; nothing was changed")]
    Decode(String),
}

/// The bytes of a value that was stored as they are.
pub(crate) fn decode_raw(stored: &[u8]) -> Result<&[u8], ValueError> {
    match stored.split_first() {
        None => Err(ValueError::Empty),
        Some((&RAW, bytes)) => Ok(bytes),
        Some((&codec, _)) => Err(ValueError::Codec(codec)),
    }
}

/// A typed value.
#[cfg(feature = "bincode")]
pub(crate) fn encode<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, ValueError> {
    let value = bincode::serde::encode_to_vec(value, LAYOUT).map_err(|e| ValueError::Encode(e.to_string()))?;
    finish([&[BINCODE], value.as_slice()].concat())
}

/// A value in JSON.
#[cfg(feature = "json")]
pub(crate) fn encode_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, ValueError> {
    let mut out = vec![JSON];
    serde_json::to_writer(&mut out, value).map_err(|e| ValueError::Encode(e.to_string()))?;
    finish(out)
}

/// Reads a typed value, in whichever of the typed codecs it was written.
#[cfg(any(feature = "bincode", feature = "json"))]
pub(crate) fn decode<T: DeserializeOwned>(stored: &[u8]) -> Result<T, ValueError> {
    let (&codec, bytes) = stored.split_first().ok_or(ValueError::Empty)?;
    match codec {
        #[cfg(feature = "json")]
        JSON => serde_json::from_slice(bytes).map_err(|e| ValueError::Decode(e.to_string())),
        #[cfg(feature = "bincode")]
        BINCODE => decode_bincode(bytes),
        codec => Err(ValueError::Codec(codec)),
    }
}

/// The only function that lets bincode read. The limit stops lengths that are not there; it does not stop a sequence
/// of values without bytes, which takes time, nor a type that holds itself, which takes stack: neither belongs into
/// stored values.
#[cfg(feature = "bincode")]
fn decode_bincode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ValueError> {
    if bytes.len() > DATA_BYTES_MAX {
        return Err(ValueError::TooLarge { bytes: bytes.len(), most: DATA_BYTES_MAX });
    }
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, LAYOUT).map_err(|e| ValueError::Decode(e.to_string()))?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(ValueError::Trailing(left)),
    }
}

#[cfg(any(feature = "bincode", feature = "json"))]
fn finish(stored: Vec<u8>) -> Result<Vec<u8>, ValueError> {
    match stored.len() {
        bytes if bytes > DATA_BYTES_MAX => Err(ValueError::TooLarge { bytes, most: DATA_BYTES_MAX }),
        _ => Ok(stored),
    }
}

#[cfg(all(test, feature = "bincode", feature = "json"))]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Account {
        owner: String,
        cents: i64,
        notes: Vec<Option<String>>,
        by_day: BTreeMap<u32, (u8, bool)>,
    }

    fn accounts() -> impl Strategy<Value = Account> {
        let notes = prop::collection::vec(prop::option::of(".{0,20}"), 0..8);
        let by_day = prop::collection::btree_map(any::<u32>(), any::<(u8, bool)>(), 0..8);
        (".{0,40}", any::<i64>(), notes, by_day).prop_map(|(owner, cents, notes, by_day)| Account {
            owner,
            cents,
            notes,
            by_day,
        })
    }

    #[test]
    #[rustfmt::skip]
    fn the_stored_bytes_are_exactly_these() {
        assert_eq!(encode(&(1_u32, "ab", Some(true))).unwrap(), [2,   1, 0, 0, 0,   2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b',   1, 1]);
        assert_eq!(encode_json(&(1_u32, "ab")).unwrap(), b"\x01[1,\"ab\"]");
        assert_eq!([&[RAW], &b"ab"[..]].concat(), b"\0ab");
    }

    #[test]
    fn bytes_as_they_are_are_no_typed_value_and_the_other_way_round() {
        assert_eq!(decode_raw(b"\0ab").unwrap(), b"ab");
        assert!(matches!(decode_raw(b""), Err(ValueError::Empty)));
        assert!(matches!(decode_raw(b"\x01{}"), Err(ValueError::Codec(JSON))));
        assert!(matches!(decode::<u8>(b""), Err(ValueError::Empty)));
        assert!(matches!(decode::<u8>(b"\0\x01"), Err(ValueError::Codec(RAW))));
        assert!(matches!(decode::<u8>(b"\x03\x01"), Err(ValueError::Codec(3))));
        assert!(matches!(decode::<u8>(b"\xff\x01"), Err(ValueError::Codec(255))));
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        let mut stored = encode(&7_u64).unwrap();
        assert_eq!(decode::<u64>(&stored).unwrap(), 7);
        assert!(matches!(decode::<u32>(&stored), Err(ValueError::Trailing(4))));
        stored.push(0);
        assert!(matches!(decode::<u64>(&stored), Err(ValueError::Trailing(1))));
        assert!(matches!(decode::<u64>(b"\x017 7"), Err(ValueError::Decode(_))));
    }

    #[test]
    fn a_length_that_is_not_there_is_an_error_and_allocates_nothing() {
        for len in [DATA_BYTES_MAX as u64 + 1, 1 << 32, 1 << 40, u64::MAX / 8, u64::MAX] {
            let bomb = [&[BINCODE][..], &len.to_le_bytes()].concat();
            assert!(matches!(decode::<Vec<u8>>(&bomb), Err(ValueError::Decode(_))), "{len}");
            assert!(matches!(decode::<Vec<u64>>(&bomb), Err(ValueError::Decode(_))), "{len}");
            assert!(matches!(decode::<String>(&bomb), Err(ValueError::Decode(_))), "{len}");
            assert!(matches!(decode::<BTreeMap<u64, String>>(&bomb), Err(ValueError::Decode(_))), "{len}");
            let bomb = [&[BINCODE][..], &1_u64.to_le_bytes(), &len.to_le_bytes()].concat();
            assert!(matches!(decode::<Vec<String>>(&bomb), Err(ValueError::Decode(_))), "{len}");
        }
    }

    #[test]
    fn what_does_not_fit_into_a_commit_is_not_written() {
        let more = vec![0; DATA_BYTES_MAX];
        assert!(matches!(encode(&more), Err(ValueError::TooLarge { .. } | ValueError::Encode(_))));
        let stored = [vec![BINCODE], vec![0; DATA_BYTES_MAX + 1]].concat();
        assert!(matches!(decode::<u8>(&stored), Err(ValueError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(account in accounts()) {
            prop_assert_eq!(&decode::<Account>(&encode(&account).unwrap()).unwrap(), &account);
            prop_assert_eq!(&decode::<Account>(&encode_json(&account).unwrap()).unwrap(), &account);
        }

        #[test]
        fn hostile_bytes_give_a_value_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..200), codec in 0..4_u8) {
            bytes.insert(0, codec);
            let _ = decode::<Account>(&bytes);
            let _ = decode::<Vec<Vec<u16>>>(&bytes);
            let _ = decode::<Option<Box<str>>>(&bytes);
        }

        #[test]
        fn a_damaged_value_gives_a_value_or_an_error(account in accounts(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            for mut stored in [encode(&account).unwrap(), encode_json(&account).unwrap()] {
                let at = at.index(stored.len());
                stored[at] = byte;
                let _ = decode::<Account>(&stored);
                prop_assert!(decode::<Account>(&stored[..at]).is_err(), "a part is no value");
            }
        }
    }
}
