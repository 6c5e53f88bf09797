//! Any bytes as the log of a router; `bodies/routeros.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_routeros::fuzzed::log(input));
