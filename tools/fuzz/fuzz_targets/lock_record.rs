//! Any bytes as the record in LOCK.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::lock_record(bytes));
