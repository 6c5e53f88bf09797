//! Any text as alert.toml; `bodies/alert.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_alert::fuzzed::toml(input));
