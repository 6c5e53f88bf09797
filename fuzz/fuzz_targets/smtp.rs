//! Any bytes as all that a mail server says; `bodies/notify.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_notify::fuzzed::smtp(input));
