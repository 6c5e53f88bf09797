//! Any bytes as a message with names; `bodies/name_messages.rs` has the checks. The modules are the collector's, as in `frame.rs`.
#![no_main]
#![allow(dead_code)]

#[path = "../bodies/name_messages.rs"]
mod body;
#[path = "../../collector/src"]
mod collector {
    pub mod check;
    pub mod layer;
    pub mod link;
    pub mod names;
    pub mod parse;
    pub mod tag;
    pub mod tunnel;
    pub mod unknown_header;
}

use collector::{check, layer, link, names, parse, tag, tunnel, unknown_header};

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::name_messages(input));
