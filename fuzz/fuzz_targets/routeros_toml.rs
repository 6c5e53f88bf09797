//! Any text as routeros.toml, and as config.txt of ros-config-monitoring; `bodies/routeros.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_routeros::fuzzed::toml(input));
