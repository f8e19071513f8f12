//! Any bytes as a trailer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::trailer(bytes));
