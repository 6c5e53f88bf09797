//! placeholder
#![forbid(unsafe_code)]
#![allow(dead_code)] // the parts that think come first, the daemon that uses them next
mod actor;
mod ancestor;
mod archive;
mod backoff;
mod change;
mod config;
mod diff;
mod export;
mod git;
mod host_key;
mod line;
mod mask;
mod names;
mod record;
mod ssh;
mod watch;
fn main() {}
