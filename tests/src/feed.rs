//! Numbered events: a stream of frames whose events carry a running number, fed to a collector, and a reader that
//! records their order of arrival.

use crate::capture_file::{ETHERNET, Pcap, Unit, at};
use crate::collect::{json, stdout_of};
use crate::frames::{Arp, station};
use crate::lan::Host;
use crate::rig::{Finished, Run, TIMEOUT, program, wait_until};
use crate::ring::Ring;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// How far a feeder runs ahead of the follower: less than a ring of the default size holds, so that nothing is lost
/// to overtaking.
const LEAD: u32 = 30_000;

/// The frame with this number: its event's time is the number in seconds, its address 10.0.0.0 and the number.
pub fn numbered(number: u32) -> Vec<u8> {
    let ip = Ipv4Addr::from(0x0a00_0000 + number);
    Arp::request(station(number), ip, [192, 0, 2, 1].into()).frame()
}

/// A whole capture of these numbers.
pub fn numbered_capture(numbers: Range<u32>) -> Vec<u8> {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for number in numbers {
        file.packet(at(number), &numbered(number)).expect("memory takes all");
    }
    file.finish().expect("memory takes all")
}

/// Sends numbered frames on a wire, with the time of sending.
pub struct FrameSender(Run);

/// Sends each line as a frame, and prints it afterwards.
const SPEAKER: &str = "
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
for line in sys.stdin:
    wire.send(bytes.fromhex(line))
    print(line, end='', flush=True)
";

impl FrameSender {
    /// On this interface of this host.
    pub fn on(host: &Host, interface: &str) -> Self {
        let mut command = host.command("/usr/bin/python3");
        command.args(["-c", SPEAKER, interface]);
        FrameSender(Run::start(command))
    }

    /// Sends these numbers; returns when they were sent.
    #[track_caller]
    pub fn send(&mut self, numbers: Range<u32>) {
        let sent = self.0.stdout.count() + numbers.len();
        let hex =
            |frame: Vec<u8>| frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let lines: String = numbers.map(|number| hex(numbered(number)) + "\n").collect();
        self.0.stdin.as_mut().expect("ours").write_all(lines.as_bytes()).expect("it listens");
        self.0.stdout.wait_for_lines(sent);
    }
}

/// Publishes these numbers.
#[track_caller]
pub fn publish(ring: &Ring, numbers: Range<u32>) {
    crate::collect::collect(ring, &numbered_capture(numbers), &["-q"]).ok();
}

/// The lines that these numbers, less than 256, become.
pub fn numbered_lines(numbers: Range<u32>) -> String {
    numbers
        .map(|number| {
            format!("{number} pcap 0 02:00:00:00:00:{number:02x} 10.0.0.{number} ARP_REQ\n")
        })
        .collect()
}

/// The number of an event, in any format: time, MAC and address must agree.
#[track_caller]
pub fn number_of(event: &Value) -> u32 {
    let number = event["time"].as_u64().expect("a time") as u32;
    let [_, _, a, b, c, d] = station(number);
    assert_eq!(event["mac"], format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}"), "{event}");
    assert_eq!(event["ip"], Ipv4Addr::from(0x0a00_0000 + number).to_string(), "{event}");
    number
}

/// A thread that feeds a collector's standard input.
pub struct Feeder {
    thread: JoinHandle<u32>,
    stop: Arc<AtomicBool>,
}

impl Feeder {
    /// Feeds numbers from `first` on without end, at full speed as long as `last`, the newest that arrived, keeps up.
    pub fn start(stdin: ChildStdin, first: u32, last: Arc<AtomicU32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let feed = move || -> (u32, std::io::Result<()>) {
            let mut next = first;
            let write = || {
                let mut file = Pcap::new(BufWriter::new(stdin), ETHERNET, Unit::Microsecond)?;
                while !stopped.load(Ordering::Relaxed) {
                    if next.saturating_sub(last.load(Ordering::Relaxed)) > LEAD {
                        sleep(Duration::from_millis(1));
                        continue;
                    }
                    file.packet(at(next), &numbered(next))?;
                    next += 1;
                }
                file.finish().map(drop)
            };
            let result = write();
            (next, result)
        };
        // A broken pipe shows the feeder that the collector was killed.
        let thread = std::thread::spawn(move || feed().0);
        Feeder { thread, stop }
    }

    /// After the collector was killed: the first number that was not fed.
    pub fn next(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the feeder does not panic")
    }
}

/// The generation, which is 16 hexadecimal digits of text: a number would not survive programs whose numbers are doubles.
#[track_caller]
pub fn generation_of(event: &Value) -> u64 {
    let text = event["generation"].as_str().expect("text");
    assert_eq!(text.len(), 16, "{event}");
    u64::from_str_radix(text, 16).expect("hexadecimal digits")
}

/// An event as a follower saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The ring's.
    pub generation: u64,
    /// The ring's.
    pub sequence: u64,
    /// The number in the event.
    pub number: u32,
}

impl Seen {
    /// From a line of JSON.
    #[track_caller]
    pub fn from(event: &Value) -> Self {
        let number = number_of(event);
        let sequence = event["sequence"].as_u64().expect("a number");
        Seen { generation: generation_of(event), sequence, number }
    }
}

/// One generation, no gap, no repeat.
#[track_caller]
pub fn assert_contiguous(events: &[Seen]) {
    for pair in events.windows(2) {
        assert_eq!(pair[0].generation, pair[1].generation);
        assert_eq!(pair[0].sequence + 1, pair[1].sequence, "{pair:?}");
    }
}

/// A running `aw-stdout --replay --format json`; its events are recorded as they arrive.
pub struct Follower {
    child: Child,
    thread: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The newest number that arrived.
    pub last: Arc<AtomicU32>,
}

impl Follower {
    /// Starts it; the ring need not exist yet.
    pub fn start(ring: &Ring) -> Self {
        let mut command = stdout_of(ring, &["--replay", "--format", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("aw-stdout starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (seen, last) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU32::new(0)));
        let (list, newest) = (seen.clone(), last.clone());
        let thread = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = Seen::from(&json(&line));
                list.lock().unwrap().push(event);
                newest.store(event.number, Ordering::Relaxed);
            }
        });
        Follower { child, thread: Some(thread), seen, last }
    }

    /// Sends it a signal. After SIGSTOP, it stands still.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child can be signalled");
        let status = || std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        if signal == Signal::STOP {
            wait_until("it stands still", || status().is_ok_and(|it| it.contains("State:\tT")));
        }
    }

    /// Waits until this number, or a later one, arrived.
    #[track_caller]
    pub fn wait_for(&mut self, number: u32) {
        let give_up = Instant::now() + TIMEOUT;
        while self.last.load(Ordering::Relaxed) < number {
            let ended = self.child.try_wait().expect("our own child can be waited for");
            let last = self.last.load(Ordering::Relaxed);
            assert!(ended.is_none(), "aw-stdout ended at {last}, before {number}: {ended:?}");
            assert!(Instant::now() < give_up, "the timeout expired at {last}, before {number}");
            sleep(Duration::from_millis(1));
        }
    }

    /// What arrived, until now.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Ends it with SIGTERM; returns all events, and the finished process.
    #[track_caller]
    pub fn stop(mut self) -> (Vec<Seen>, Finished) {
        self.signal(Signal::TERM);
        self.thread.take().expect("still there").join().expect("every line was an event");
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().expect("piped"), &mut stderr)
            .expect("text");
        let status = self.child.wait().expect("our own child can be waited for");
        (self.seen(), Finished { status, stdout: String::new(), stderr })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A collector that reads numbered frames from its standard input, not started yet.
pub fn reading_collector(ring: &Ring, options: &[&str]) -> Command {
    let mut command = program("collector", &["--ring", ring.name(), "--read", "-"]);
    command.args(options);
    command
}
