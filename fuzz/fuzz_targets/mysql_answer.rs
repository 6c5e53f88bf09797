//! Any bytes as all that a MySQL server says; `bodies/mysql.rs` has the checks.
#![no_main]

// Without libFuzzer's hook, which ends the process: a panic of a library is caught, as in the programs. One that is not caught
// still ends the process.
libfuzzer_sys::fuzz_target!(init: drop(std::panic::take_hook()), |input: &[u8]| aw_mysql::fuzzed::mysql_answer(input));
