//! Any bytes as the indexes of a segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::footer(bytes));
