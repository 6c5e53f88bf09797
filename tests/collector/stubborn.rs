//! The programs continue or end in order whatever is broken around them: their output is not read, standard error
//! is full, the interface is removed, the file of the ring is deleted.
#![forbid(unsafe_code)]

use aw_tests::collect::{held, json, stdout_of};
use aw_tests::feed::{numbered_capture, numbered_lines, publish};
use aw_tests::lan::Lan;
use aw_tests::rig::{Run, binary, program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, OpenOptions};
use std::process::Stdio;

/// A collector that listens on this host's veth0 and does not print.
fn listening(lan: &Lan, ring: &Ring) -> Run {
    let mut command = lan.here.command(binary("collector"));
    command.args(["-q", "--ring", ring.name(), "veth0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on veth0");
    collector
}

#[test]
fn a_full_standard_error_ends_nothing() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("a.pcap");
    // The last frame is empty, so that `-v` has something to log.
    fs::write(&capture, [numbered_capture(1..4), vec![0; 16]].concat()).unwrap();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let file = capture.to_str().unwrap();
    for (name, arguments, code) in [
        ("collector", vec!["-v", "--ring", ring.name(), "--read", file], 0),
        ("aw-stdout", vec!["-v", "--ring", ring.name(), "--once"], 0),
        ("aw-stdout", vec!["--ring", "/no-such-ring-here", "--once"], 1),
        ("collector", vec!["--no-such-option"], 2),
    ] {
        let output = program(name, &arguments).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}");
    }
}

/// A live collector whose lines are not read still captures and publishes everything, and ends on SIGTERM.
#[test]
fn unread_lines_block_nothing() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let mut command = lan.here.command(binary("collector"));
    command.args(["--ring", ring.name(), "veth0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut collector = command.spawn().unwrap();
    let _unread = collector.stdout.take();
    wait_until("the ring is there", || ring.path().exists());
    for round in 0..4 {
        lan.there.scapy(
            "veth1",
            &format!(
                "frame = Ether(src='02:00:00:00:00:01', dst='ff:ff:ff:ff:ff:ff') / \
                 ARP(op=1, hwsrc='02:00:00:00:00:01', psrc='192.0.2.{round}', pdst='192.0.2.9')\n\
                 sendp([frame] * 1000, iface='veth1', verbose=False, inter=0.0002)"
            ),
        );
    }
    let published = || held(&ring).lines().filter(|line| line.ends_with("ARP_REQ")).count();
    wait_until("4000 events are in the ring", || published() >= 4000);
    kill_process(Pid::from_child(&collector), Signal::TERM).unwrap();
    let output = collector.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("events were not printed"), "{message}");
}

/// An interface that is deleted; one that was down before, which libpcap reports only on request; one that is re-created at
/// once, which libpcap does not report: each is reported once, and captured again when an interface has that name.
#[test]
fn an_interface_that_comes_back_is_captured_again() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let collector = listening(&lan, &ring);
    for round in 1..=3 {
        if round == 2 {
            lan.here.ip("link set veth0 down");
        }
        lan.here.ip("link del veth0");
        if round == 3 {
            lan.here.ip("link add veth0 type veth peer name veth9"); // before any program could look
        }
        let times = |text: &str, lines: &[String]| {
            (lines.iter().filter(|line| line.contains(text)).count() >= round).then_some(())
        };
        collector
            .stderr
            .wait_until("it is missed", |lines| times("stopped listening on veth0", lines));
        if round != 3 {
            lan.here.ip("link add veth0 type veth peer name veth9");
        }
        lan.here.ip("link set veth9 up");
        lan.here.ip("link set veth0 up");
        collector.stderr.wait_until("it is back", |lines| times("listening on veth0 again", lines));
        lan.here.scapy(
            "veth9",
            &format!(
                "sendp(Ether(src='02:00:00:00:00:07', dst='ff:ff:ff:ff:ff:ff') / \
                 ARP(op=2, hwsrc='02:00:00:00:00:07', psrc='192.0.2.{round}'), iface='veth9')"
            ),
        );
        let line = format!(" veth0 0 02:00:00:00:00:07 192.0.2.{round} ARP_REP");
        wait_until("the frame is captured", || held(&ring).contains(&line));
    }
    let finished = collector.stop();
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    // It was down for a moment before it was deleted: the collector may see that, or not.
    let lines = finished.stderr.lines().filter(|line| !line.contains("veth0 is down"));
    assert_eq!(lines.count(), 7, "one line a change: {}", finished.stderr);
}

#[test]
fn a_ring_deleted_by_hand_is_made_again() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    publish(&ring, 1..4);
    let collector = listening(&lan, &ring);
    fs::remove_file(ring.path()).unwrap();
    collector.stderr.wait_for("re-created");
    assert!(held(&ring).starts_with(&numbered_lines(1..4)), "with what it held");
    let second = program("collector", &["-q", "--ring", ring.name(), "--read", "-"]);
    run_with(second, &numbered_capture(4..5)).refused("collector", &["in use"]);
    assert_eq!(collector.stop().status.code(), Some(0));
}

#[test]
fn an_incomplete_last_line_is_ended_first() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    for (before, between) in [("", ""), ("torn", "\n"), ("whole\n", "")] {
        fs::write(&file, before).unwrap();
        run(stdout_of(&ring, &["--once", "-o", file.to_str().unwrap()])).ok();
        let expected = format!("{before}{between}{}", numbered_lines(1..4));
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    }
}

#[test]
fn a_ring_named_twice_is_read_once() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let finished = run(stdout_of(&ring, &["--once", "-m", ring.name()])).ok();
    assert_eq!(finished.stdout, numbered_lines(1..4));
}

/// Lines that do not reach the disk are not counted as delivered.
#[test]
fn unwritten_lines_are_not_counted() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let finished = run(stdout_of(&ring, &["--once", "-o", "/dev/full"]));
    assert_eq!(finished.status.code(), Some(1));
    let summary = format!("{}: 0 events, 0 lost, 3 not delivered", ring.name());
    assert!(finished.stderr.contains(&summary), "{}", finished.stderr);
    assert!(finished.stderr.contains("no space left on device"), "{}", finished.stderr);
}

/// A long padding hides nothing: hosts on a link with jumbo frames accept such an answer, too.
#[test]
fn frames_as_long_as_the_link_allows_are_captured() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link set veth0 mtu 9000");
    lan.there.ip("link set veth1 mtu 9000");
    let ring = Ring::new();
    let collector = listening(&lan, &ring);
    lan.there.scapy(
        "veth1",
        "sendp(Ether(src='02:00:00:00:00:07', dst='ff:ff:ff:ff:ff:ff') / \
         ARP(op=2, hwsrc='02:00:00:00:00:07', psrc='192.0.2.7') / Raw(bytes(8900)), iface='veth1')",
    );
    let line = " veth0 0 02:00:00:00:00:07 192.0.2.7 ARP_REP";
    wait_until("the frame is captured", || held(&ring).contains(line));
    assert_eq!(collector.stop().status.code(), Some(0));
}

/// Sends more frames than the kernel's buffer holds while the collector is stopped.
fn flood(lan: &Lan, collector: &Run) {
    collector.signal(Signal::STOP);
    lan.there.scapy(
        "veth1",
        "frame = Ether(src='02:00:00:00:00:01', dst='ff:ff:ff:ff:ff:ff') / \
         ARP(op=2, hwsrc='02:00:00:00:00:01', psrc='192.0.2.1')\n\
         sendp(raw(frame), iface='veth1', count=6000)",
    );
}

/// Frames seen, and frames dropped by the kernel.
fn counters(ring: &Ring) -> [u64; 2] {
    let stats = ["--stats", "--format", "json", "--ring", ring.name()];
    let object = json(&run(program("collector", &stats)).ok().stdout);
    let counters = &object["interfaces"][0]["counters"];
    ["seen", "kernel_dropped"].map(|name| counters[name].as_u64().unwrap_or_default())
}

/// The kernel counts frames that the collector reads too late; the collector shows and logs their number.
#[test]
fn frames_that_the_kernel_drops_are_counted_and_logged() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let collector = listening(&lan, &ring);
    flood(&lan, &collector);
    collector.signal(Signal::CONT);
    let message = collector.stderr.wait_for("the kernel dropped");
    wait_until("each frame is seen or dropped", || counters(&ring).iter().sum::<u64>() == 6000);
    let [seen, dropped] = counters(&ring);
    assert!(
        seen > 0 && message.contains(&format!(": {dropped} frames on veth0")),
        "{message} {seen}"
    );
    assert_eq!(collector.stop().status.code(), Some(0));
}

/// Also at the end: frames that the kernel had buffered at the signal are captured, and the rest counted.
#[test]
fn frames_from_before_the_end_are_captured_or_counted() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let collector = listening(&lan, &ring);
    flood(&lan, &collector);
    collector.signal(Signal::TERM);
    collector.signal(Signal::CONT);
    assert_eq!(collector.finish().status.code(), Some(0));
    let [seen, dropped] = counters(&ring);
    assert_eq!(seen + dropped, 6000, "{seen} seen, {dropped} dropped");
    assert!(seen > 1024 && dropped > 0, "{seen} seen, {dropped} dropped");
}
