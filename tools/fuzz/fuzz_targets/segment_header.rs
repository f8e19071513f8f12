//! Any bytes as the header of a segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::segment_header(bytes));
