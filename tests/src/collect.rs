//! The most common steps of a test: replay a capture into a ring, print a ring, read the counters.

use crate::capture_file::save;
use crate::rig::{Finished, program, run};
use crate::ring::Ring;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// `collector --ring RING --read FILE` and these options, to its end.
pub fn collect(ring: &Ring, capture: &[u8], options: &[&str]) -> Finished {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = save(directory.path(), "capture", capture);
    let mut command = program("collector", &["--ring", ring.name(), "--read", &file]);
    command.args(options);
    run(command)
}

/// The lines that a capture becomes, with a new ring and these options.
#[track_caller]
pub fn lines(capture: &[u8], options: &[&str]) -> String {
    collect(&Ring::new(), capture, options).ok().stdout
}

/// `aw-stdout --ring RING` and these options, not started yet.
pub fn stdout_of(ring: &Ring, options: &[&str]) -> Command {
    let mut command = program("aw-stdout", &["--ring", ring.name()]);
    command.args(options);
    command
}

/// All that the ring still holds, as text.
#[track_caller]
pub fn held(ring: &Ring) -> String {
    run(stdout_of(ring, &["--once"])).ok().stdout
}

/// All that the ring still holds, as objects.
#[track_caller]
pub fn held_json(ring: &Ring) -> Vec<Value> {
    run(stdout_of(ring, &["--once", "--format", "json"])).ok().stdout.lines().map(json).collect()
}

/// One line of JSON.
#[track_caller]
pub fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in: {line}"))
}

/// Lines of JSON in a file that a program may be writing: those that are complete.
#[track_caller]
pub fn complete_json(text: &str) -> Vec<Value> {
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(json).collect()
}

/// The counters that `collector -v` printed at its end for this interface, by name; without that of broadcasts, which no frame ends in.
pub fn counters(stderr: &str, interface: &str) -> BTreeMap<String, u64> {
    let prefix = format!("collector: {interface}: ");
    stderr
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix)?.split_once(' '))
        .filter(|(_, name)| *name != "arp_broadcast")
        .filter_map(|(number, name)| Some((name.to_owned(), number.parse().ok()?)))
        .collect()
}
