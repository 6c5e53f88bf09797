//! Any values in a row of the spool; `bodies/output.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_output::fuzzed::spool_row(input));
