//! Any bytes as a carry batch.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::carry(bytes));
