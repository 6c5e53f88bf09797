//! Any bytes as a request over HTTP; `bodies/output.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_output::fuzzed::http_head(input));
