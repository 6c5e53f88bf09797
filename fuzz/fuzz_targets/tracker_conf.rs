//! Any bytes as macupd_tracker.conf; `bodies/tracker.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_tracker::fuzzed::conf(input));
