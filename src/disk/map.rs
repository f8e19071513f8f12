//! Sealed files as memory: the one file of the crate with unsafe code in it.
//!
//! A map is sound only while nobody changes the mapped bytes, which no type can check. What makes it so
//! here is a promise of the log: only sealed files are mapped, and a sealed file is never written, never cut
//! and never extended again; it is only unlinked, after which the kernel keeps its pages for as long as the
//! map lives. Another program that cuts such a file under a reader ends the process with SIGBUS, and one
//! that writes into it changes bytes that were checked already; no file system prevents either, and
//! reading without maps is the way out for those who share a log's directory with strangers.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::Mmap;

/// The whole file as bytes: its length is asked for now, and an empty file gives no map but empty bytes.
pub(super) fn map(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the file is sealed (see above): its bytes and its length stay what they are until the last
    // `Bytes` of this map is gone.
    let map = unsafe { Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_holding(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_map_has_all_bytes_of_the_file() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        assert_eq!(map(&file_holding(&bytes)).unwrap(), bytes);
    }

    #[test]
    fn an_empty_file_gives_empty_bytes() {
        assert!(map(&file_holding(b"")).unwrap().is_empty());
    }

    #[test]
    fn a_map_and_parts_of_it_outlive_the_file() {
        let mapped = map(&file_holding(b"kept while used")).unwrap();
        let part = mapped.slice(5..10);
        drop(mapped);
        assert_eq!(part, "while");
    }
}
