//! Any bytes as a MACupd datagram; what must hold is in `bodies/macupd.rs`.
#![no_main]
#![allow(dead_code)]

#[path = "../bodies/macupd.rs"]
mod body;
#[path = "../../collector/src/macupd.rs"]
mod macupd;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::macupd(input));
