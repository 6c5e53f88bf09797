//! Any bytes as a frame; what must hold is in `bodies/frame.rs`. The collector is a program and no library, so its
//! modules are compiled here once more; what else is in them is not used.
#![no_main]
#![allow(dead_code)]

#[path = "../bodies/frame.rs"]
mod body;
#[path = "../../collector/src/check.rs"]
mod check;
#[path = "../../collector/src/filter.rs"]
mod filter;
#[path = "../../collector/src/link.rs"]
mod link;
#[path = "../../collector/src/parse.rs"]
mod parse;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::frame(input));
