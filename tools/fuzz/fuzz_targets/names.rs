//! Any bytes as the names of a batch.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::names(bytes));
