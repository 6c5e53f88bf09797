//! `aw-tracker`; the crate is a library, so that fuzz targets reach its parsers.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    aw_tracker::main()
}
