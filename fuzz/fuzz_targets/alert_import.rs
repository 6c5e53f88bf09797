//! Any bytes as a file that aw-alert imports: arp.dat and the other formats; `bodies/alert.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_alert::fuzzed::import(input));
