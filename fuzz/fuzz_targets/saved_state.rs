//! Any bytes as checkpoints in the state directory; `bodies/output.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_output::fuzzed::saved_state(input));
