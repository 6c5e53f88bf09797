//! Any words in a ring's segment; `bodies/segment.rs` has the checks.
#![no_main]

#[path = "../bodies/segment.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::segment(input));
