//! Any bytes as the answer of a token endpoint, and as text of a mail; `bodies/notify.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_notify::fuzzed::token(input));
