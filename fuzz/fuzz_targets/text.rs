//! Any bytes as a text file in any encoding, and its lines as the values that options share; `bodies/service.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_service::fuzzed::text(input));
