//! Any bytes as a frame; `bodies/frame.rs` has the checks. The collector is a program without a library, so its modules
//! are compiled here again; their other items are unused.
#![no_main]
#![allow(dead_code)]

#[path = "../bodies/frame.rs"]
mod body;
#[path = "../../collector/src/check.rs"]
mod check;
#[path = "../../collector/src/filter.rs"]
mod filter;
#[path = "../../collector/src/layer.rs"]
mod layer;
#[path = "../../collector/src/link.rs"]
mod link;
#[path = "../../collector/src/parse.rs"]
mod parse;
#[path = "../../collector/src/tag.rs"]
mod tag;
#[path = "../../collector/src/tunnel.rs"]
mod tunnel;
#[path = "../../collector/src/unknown_header.rs"]
mod unknown_header;
// In a directory of their own, as modules with files below them are found there only.
#[path = "../../collector/src"]
mod collector {
    pub mod names;
}

use collector::names;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::frame(input));
