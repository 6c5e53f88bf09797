//! Any words laid over a ring's segment; what must hold is in `bodies/segment.rs`.
#![no_main]

#[path = "../bodies/segment.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::segment(input));
