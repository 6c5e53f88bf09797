//! Any text as a my.cnf; `bodies/mysql.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_mysql::fuzzed::my_cnf(input));
