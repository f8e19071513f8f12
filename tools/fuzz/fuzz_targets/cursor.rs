//! Any bytes as the file of a consumer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::cursor(bytes));
