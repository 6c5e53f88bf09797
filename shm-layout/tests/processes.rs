//! The ring with real processes: one writes, three read, one of them too slowly.
//!
//! Hundreds of millions of events; every one is read whole and in order, or counted as lost.

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use common::Ring;

const EVENTS: u64 = 300_000_000;

struct Load {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Load {
    fn start(arguments: &[&str]) -> Load {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ring-load"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut load = Load { process, lines };
        assert_eq!(load.line(), "ready");
        load
    }

    fn go(&mut self) {
        self.process.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The numbers in its last line.
    fn result(mut self) -> Vec<u64> {
        let line = self.line();
        println!("{line}");
        assert!(self.process.wait().unwrap().success());
        line.split(' ').filter_map(|word| word.parse().ok()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_event_is_read_whole_or_counted_as_lost() {
    let ring = Ring::new();
    let events = EVENTS.to_string();
    let mut writer = Load::start(&["write", ring.as_str(), &events, "256"]);
    let read = |pause| Load::start(&["read", ring.as_str(), &events, pause]);
    let mut readers = [read("0"), read("0"), read("2000")].map(Some);
    writer.go();
    assert_eq!(writer.result()[0], EVENTS);
    for (index, reader) in readers.iter_mut().enumerate() {
        let result = reader.take().unwrap().result();
        let [read, lost, laps, torn, ..] = result[..] else { panic!("{result:?}") };
        assert_eq!(torn, 0, "reader {index}: torn or out of order");
        assert_eq!(read + lost, EVENTS, "reader {index}");
        assert_eq!(lost > 0, laps > 0, "reader {index}");
        assert!(read > 0, "reader {index} read nothing");
        if index == 2 {
            assert!(lost > 0, "the slow reader must be overtaken, or this test proves nothing");
        }
    }
}
