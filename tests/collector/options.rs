//! Options of the collector that do not select events: filter, host name, samples of refused frames, the log with `-v`
//! in a flood.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::{collect, counters, json, lines};
use aw_tests::feed::{numbered_capture, numbered_lines, reading_collector};
use aw_tests::frames::{Arp, DOT1Q, Ethernet, station};
use aw_tests::lan::Lan;
use aw_tests::listening::{Listening, quiet};
use aw_tests::rig::{Run, program, run, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// In a replay, frames that a filter excludes are counted; an error in a filter is reported.
#[test]
fn a_filter_in_a_replay() {
    let capture = numbered_capture(1..9);
    let ring = Ring::new();
    let filter = ["-v", "--filter", "ether src 02:00:00:00:00:03 or arp[17] = 5"]; // 10.0.0.5
    let finished = collect(&ring, &capture, &filter).ok();
    assert_eq!(finished.stdout, [numbered_lines(3..4), numbered_lines(5..6)].concat());
    let counted = counters(&finished.stderr, "pcap");
    assert_eq!((counted["seen"], counted["published"], counted["filtered"]), (8, 2, 6));
    let empty = collect(&Ring::new(), &capture, &["--filter", ""]);
    assert_eq!(empty.status.code(), Some(2));
    for bad in ["arp and", "arp) or (ip", "no such thing"] {
        let finished = collect(&Ring::new(), &capture, &["--filter", bad]);
        assert!(finished.refused("collector", &["--filter", bad]).stdout.is_empty());
    }
}

/// Live, the kernel applies the filter; the collector's own filter stays in force, and so do VLANs.
#[test]
fn a_filter_on_an_interface() {
    let Some(lan) = Lan::new() else { return };
    let vlan = Listening::start(&lan.here, &["--filter", "vlan 7", "veth0"], "veth0");
    let host =
        Listening::start(&lan.here, &["--filter", "ether src 02:00:00:00:00:01", "veth0"], "veth0");
    let ours = Listening::start(
        &lan.here,
        &["--filter", "ip or ether src 02:00:00:00:00:05", "veth0"],
        "veth0",
    );
    lan.there.scapy(
        "veth1",
        "ether = lambda n, t: Ether(src='02:00:00:00:00:%02x' % n, dst='ff:ff:ff:ff:ff:ff', type=t)\n\
         arp = lambda n: ARP(hwsrc='02:00:00:00:00:%02x' % n, psrc='192.0.2.%d' % n)\n\
         send(ether(3, 0x800) / IP(src='192.0.2.3', dst='192.0.2.9') / UDP())\n\
         send(ether(1, 0x806) / arp(1))\n\
         send(ether(2, 0x8100) / Dot1Q(vlan=7) / arp(2))\n\
         send(ether(4, 0x8100) / Dot1Q(vlan=8) / arp(4))\n\
         send(ether(5, 0x806) / arp(5))\n",
    );
    let line = |vlan: u16, n: u8| format!("veth0 {vlan} 02:00:00:00:00:0{n} 192.0.2.{n} ARP_REQ");
    vlan.prints(&[line(7, 2)]);
    host.prints(&[line(0, 1)]);
    ours.prints(&[line(0, 5)]);
    let ring = Ring::new();
    let mut command = lan.here.command(aw_tests::rig::binary("collector"));
    command.args(["--ring", ring.name(), "--filter", "arp) or (ip", "veth0"]);
    run(command).refused("collector", &["--filter", "arp) or (ip"]);
}

#[test]
fn the_host_name() {
    let ring = Ring::new();
    let host = || {
        let stats = ["--stats", "--format", "json", "--ring", ring.name()];
        json(&run(program("collector", &stats)).ok().stdout)["host"].as_str().unwrap().to_owned()
    };
    collect(&ring, &numbered_capture(1..2), &["-q", "--hostname", "core-1.example"]).ok();
    assert_eq!(host(), "core-1.example");
    collect(&ring, &numbered_capture(1..2), &["-q"]).ok();
    assert_eq!(host(), fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim_end());
    for bad in ["", "two words", "line\nbreak", &"x".repeat(64)] {
        let finished = collect(&ring, &numbered_capture(1..2), &["--hostname", bad]);
        assert_eq!(finished.status.code(), Some(2), "{bad:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    }
}

/// Refused frames: ARP with a bad operation, and truncated ones; valid frames in between.
fn bad_frames(count: u32) -> Vec<u8> {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for number in 0..count {
        let good = Arp::request(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let tagged = Ethernet::from(station(1)).tag(DOT1Q, 9);
        let frame = match number % 3 {
            0 => good.frame(),
            1 => Arp { operation: 9, ..good }.on(&tagged),
            _ => good.frame()[..30].to_vec(),
        };
        file.packet(at(number), &frame).unwrap();
    }
    file.finish().unwrap()
}

/// The packets of a file, as tcpdump prints them.
fn tcpdump(file: &Path) -> Vec<String> {
    let mut command = Command::new("tcpdump");
    command.args(["-tt", "-n", "-e", "-r"]).arg(file);
    run(command).ok().stdout.lines().map(str::to_owned).collect()
}

/// Five frames of each reason, unchanged, readable by other programs; no accepted frames.
#[test]
fn samples_of_refused_frames_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.pcap");
    let ring = Ring::new();
    let options = ["-v", "--snap-malformed", file.to_str().unwrap(), "-u", "root"];
    let finished = collect(&ring, &bad_frames(3000), &options).ok();
    let counted = counters(&finished.stderr, "pcap");
    assert_eq!(
        (counted["published"], counted["arp_operation"], counted["truncated"]),
        (1000, 1000, 1000)
    );
    let frames = tcpdump(&file);
    assert_eq!(frames.len(), 10, "{frames:#?}");
    let of = |text: &str| frames.iter().filter(|line| line.contains(text)).count();
    assert_eq!((of("vlan 9"), of("length 30:")), (5, 5), "{frames:#?}");
    assert!(frames[0].starts_with("1.000000"), "{}", frames[0]);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // The next run appends to the file; it refuses a file of another kind.
    collect(&ring, &bad_frames(3), &options).ok();
    assert_eq!(tcpdump(&file).len(), 12);
    for other in [&b"precious"[..], &numbered_capture(1..2)] {
        fs::write(&file, other).unwrap();
        collect(&ring, &bad_frames(3), &options)
            .refused("collector", &["bad.pcap", "not a sample file"]);
        assert_eq!(fs::read(&file).unwrap(), other);
    }
}

/// Started by root: the file belongs to the collector's user, which appends to it after a restart.
#[test]
fn samples_are_the_users() {
    let Some(lan) = Lan::new() else { return };
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let file = directory.path().join("bad.pcap");
    let ring = Ring::new();
    let options = ["-u", "65534", "--group", "65534", "--snap-malformed", file.to_str().unwrap()];
    for round in 1..=2 {
        let collector = quiet(&lan.here, &ring, &[], &options);
        lan.there.scapy("veth1", "send(Ether(dst='ff:ff:ff:ff:ff:ff') / ARP(op=9))");
        wait_until("the frame is in the file", || tcpdump(&file).len() == round);
        assert_eq!(collector.stop().status.code(), Some(0));
    }
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&file.metadata().unwrap()), 65534);
    let mut command = lan.here.command(aw_tests::rig::binary("collector"));
    command.current_dir("/").args(["--ring", ring.name(), "--snap-malformed", "bad.pcap", "veth0"]);
    run(command).refused("collector", &["--snap-malformed", "another directory"]);
}

/// A full disk: the stored frames are complete, and the collector continues.
#[test]
fn a_full_disk_leaves_whole_samples() {
    let directory = tempfile::tempdir().unwrap();
    if !rustix::process::geteuid().is_root() {
        return aw_tests::rig::skip("only root can make a small disk");
    }
    let path = directory.path().to_str().unwrap().to_owned();
    let mount = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        run(command).ok();
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=4k", "none", &path]);
    let file = directory.path().join("bad.pcap");
    // Five frames of 1000 bytes are more than a page.
    let mut capture = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for number in 0..6 {
        let frame = Arp {
            operation: 9,
            ..Arp::request(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 2].into())
        };
        let mut bytes = frame.frame();
        bytes.resize(1000, 0);
        capture.packet(at(number), &bytes).unwrap();
    }
    let ring = Ring::new();
    let options = ["-q", "-u", "root", "--snap-malformed", file.to_str().unwrap()];
    let finished = collect(&ring, &capture.finish().unwrap(), &options);
    let frames = tcpdump(&file);
    mount(&["umount", &path]);
    let finished = finished.ok();
    assert!(finished.stderr.contains("no space left"), "{}", finished.stderr);
    assert_eq!(frames.len(), 4, "{frames:#?}");
}

/// SIGHUP does not end a replay, and does not prevent another signal from ending it.
#[test]
fn sighup_in_a_replay() {
    let ring = Ring::new();
    let mut replay = Run::start(reading_collector(&ring, &["-q"]));
    let mut input = replay.stdin.take().unwrap();
    let capture = numbered_capture(1..4);
    let (first, rest) = capture.split_at(capture.len() - 20);
    input.write_all(first).unwrap();
    let held = || aw_tests::collect::held(&ring).lines().count();
    wait_until("two are read", || ring.path().exists() && held() == 2);
    replay.signal(Signal::HUP);
    replay.signal(Signal::HUP);
    input.write_all(rest).unwrap();
    wait_until("all are read", || held() == 3);
    replay.signal(Signal::HUP);
    replay.signal(Signal::TERM);
    replay.finish().ok();
    drop(input);
}

/// Rotation: the file is renamed, SIGHUP opens a new one; without a rename nothing is lost.
#[test]
fn samples_survive_sighup_and_rotation() {
    let Some(lan) = Lan::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (file, old) = (directory.path().join("bad.pcap"), directory.path().join("bad.pcap.1"));
    let ring = Ring::new();
    let options = ["-u", "root", "--snap-malformed", file.to_str().unwrap()];
    let collector = quiet(&lan.here, &ring, &[], &options);
    let bad = || lan.there.scapy("veth1", "send(Ether(dst='ff:ff:ff:ff:ff:ff') / ARP(op=9))");
    bad();
    wait_until("the frame is in the file", || tcpdump(&file).len() == 1);
    collector.signal(Signal::HUP);
    bad();
    wait_until("two frames are in the file", || tcpdump(&file).len() == 2);
    fs::rename(&file, &old).unwrap();
    collector.signal(Signal::HUP);
    wait_until("there is a new file", || file.exists());
    bad();
    wait_until("it is in the new one", || tcpdump(&file).len() == 1);
    assert_eq!(tcpdump(&old).len(), 2);
    assert_eq!(collector.stop().status.code(), Some(0));
}

/// A flood of refused frames: with `-v` one line at its beginning, and one at the end of so short a run; without, none.
#[test]
fn a_flood_fills_no_log() {
    for (options, most) in [(&["-q"][..], 0), (&["-q", "-v"], 2)] {
        let ring = Ring::new();
        let mut collector = Run::start(reading_collector(&ring, options));
        let capture = bad_frames(300_000);
        let mut input = collector.stdin.take().unwrap();
        input.write_all(&capture).unwrap();
        drop(input);
        let finished = collector.finish().ok();
        let lines = finished.stderr.lines().filter(|line| line.contains("refused")).count();
        assert!(lines <= most, "{}", finished.stderr);
        assert_eq!(most == 0, finished.stderr.is_empty(), "{}", finished.stderr);
        let sum: u64 = finished
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("collector: frames refused: "))
            .flat_map(|line| line.split(", "))
            .filter_map(|part| part.split(' ').next()?.parse::<u64>().ok())
            .sum();
        assert_eq!(sum, if most == 0 { 0 } else { 200_000 }, "{}", finished.stderr);
    }
    assert_eq!(lines(&bad_frames(3), &[]).lines().count(), 1);
}
