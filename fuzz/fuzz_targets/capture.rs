//! Any bytes as a capture file; `bodies/capture.rs` has the checks. The modules are the collector's, as in `frame.rs`.
#![no_main]
#![allow(dead_code)]

#[path = "../bodies/capture.rs"]
mod body;
#[path = "../../collector/src"]
mod collector {
    pub mod capture_file;
    pub mod link;
    pub mod tag;
}

use collector::{capture_file, link, tag};

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::capture(input));
