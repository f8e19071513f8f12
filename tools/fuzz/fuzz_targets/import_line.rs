//! Any bytes as a line that is imported.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::import_line(bytes));
