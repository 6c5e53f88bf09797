//! Any bytes as all that a MySQL server says; `bodies/mysql.rs` has the checks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| aw_mysql::fuzzed::mysql_answer(input));
