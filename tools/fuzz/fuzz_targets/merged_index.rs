//! Any bytes as a merged index.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::merged_index(bytes));
