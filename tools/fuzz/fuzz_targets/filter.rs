//! Any bytes as a pattern and a name.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::filter(bytes));
