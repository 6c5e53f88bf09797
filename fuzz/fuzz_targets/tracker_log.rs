//! Any bytes as a log of aw-tracker or macupd_tracker; `bodies/tracker.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_tracker::fuzzed::log(input));
