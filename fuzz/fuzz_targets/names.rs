//! Any text as a list of names, a pattern of MACs and a network; `bodies/detect.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_detect::fuzzed::names(input));
