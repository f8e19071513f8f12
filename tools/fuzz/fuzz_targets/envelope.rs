//! Any bytes as an event's envelope.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals::testkit::hostile::envelope(bytes));
