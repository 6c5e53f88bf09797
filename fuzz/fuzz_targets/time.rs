//! Any text as a time of the command line; `bodies/service.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_service::fuzzed::time(input));
