//! Any bytes as a MACupd datagram; `bodies/macupd.rs` has the checks.
#![no_main]
#![allow(dead_code)]

#[path = "../bodies/macupd.rs"]
mod body;
#[path = "../../collector/src/macupd.rs"]
mod macupd;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::macupd(input));
