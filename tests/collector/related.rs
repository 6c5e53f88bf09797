//! Interfaces that capture the same frames: one frame is one sighting. `--as` in a live capture.
#![forbid(unsafe_code)]

use aw_tests::collect::counters;
use aw_tests::lan::Lan;
use aw_tests::listening::Listening;
use aw_tests::rig::{binary, run, wait_until};
use aw_tests::ring::Ring;

/// `port0` and `port1` of the bridge `br0`; what is sent on `peer0` arrives at `port0`.
fn bridge() -> Option<Lan> {
    let lan = Lan::new()?;
    lan.here.ip("link add br0 type bridge");
    for number in 0..2 {
        lan.here.ip(&format!("link add port{number} type veth peer name peer{number}"));
        lan.here.ip(&format!("link set port{number} master br0"));
        lan.here.ip(&format!("link set peer{number} netns {}", lan.there.namespace()));
        lan.there.ip(&format!("link set peer{number} up"));
        lan.here.ip(&format!("link set port{number} up"));
    }
    lan.here.ip("link set br0 up");
    lan.here.ip("addr add 192.0.2.1/24 dev br0");
    Some(lan)
}

fn broadcast(number: u8) -> String {
    format!(
        "send(Ether(src='02:00:00:00:00:0{number}', dst='ff:ff:ff:ff:ff:ff') / \
         ARP(op=2, hwsrc='02:00:00:00:00:0{number}', psrc='192.0.2.{number}'))\n"
    )
}

fn line(interface: &str, number: u8) -> String {
    format!("{interface} 0 02:00:00:00:00:0{number} 192.0.2.{number} ARP_REP")
}

/// Whatever of them is captured: a frame that arrives at a port is flooded to the other one and passed to the bridge.
/// A frame that is repeated is a sighting again.
#[test]
fn one_frame_is_one_sighting() {
    let Some(lan) = bridge() else { return };
    for (interfaces, name, captures) in [
        (&["br0", "port0"][..], "br0", 2),
        (&["port1", "br0", "port0"], "br0", 3),
        (&["any"], "any", 3),
        (&["any", "port0"], "any", 4),
        (&["port0", "port1", "--as", "lan"], "lan", 2),
    ] {
        let listening = Listening::start(&lan.here, interfaces, interfaces[0]);
        let sent: String = [2, 2, 3].map(broadcast).concat();
        lan.there.scapy("peer0", &sent);
        listening.run.stdout.wait_for(&line(name, 3));
        let finished = listening.run.stop().ok();
        let seen: Vec<&str> =
            finished.stdout.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(seen, [2, 2, 3].map(|number| line(name, number)), "{interfaces:?}");
        let captured = ["br0", "port0", "port1", "any"];
        let counters = captured.map(|interface| counters(&finished.stderr, interface));
        let sum = |name: &str| -> u64 { counters.iter().filter_map(|one| one.get(name)).sum() };
        let counted = ["seen", "published", "captured_twice"].map(sum);
        assert_eq!(counted, [3 * captures, 3, 3 * (captures - 1)], "{interfaces:?}: {counters:?}");
    }
}

/// What this machine sends itself leaves through the bridge and its ports.
#[test]
fn an_own_frame_is_one_sighting() {
    let Some(lan) = bridge() else { return };
    for (interfaces, name) in [(&["br0", "port0", "port1"][..], "br0"), (&["any"], "any")] {
        let listening = Listening::start(&lan.here, interfaces, interfaces[0]);
        let twice = [4, 4, 5].map(broadcast).concat().replace('\n', "\ntime.sleep(0.1)\n");
        lan.here.scapy("br0", &format!("import time\n{twice}"));
        listening.prints(&[4, 4, 5].map(|number| line(name, number)));
    }
}

/// A port without its bridge, or with a name of its own, is a network of its own: nothing is left out there.
#[test]
fn networks_of_their_own_stay_complete() {
    let Some(lan) = bridge() else { return };
    for (interfaces, names) in [
        (&["port0", "port1"][..], ["port0", "port1"]),
        (&["br0", "port1", "--as", "port1=guest"], ["br0", "guest"]),
    ] {
        let listening = Listening::start(&lan.here, interfaces, interfaces[0]);
        lan.there.scapy("peer0", &broadcast(2));
        for name in names {
            listening.run.stdout.wait_for(&line(name, 2));
        }
        assert_eq!(listening.stop().len(), 2, "{interfaces:?}");
    }
}

/// What is sent again through another port later is a sighting, however equal it is.
#[test]
fn a_later_replay_through_another_port_is_seen() {
    let Some(lan) = bridge() else { return };
    let listening = Listening::start(&lan.here, &["br0", "port0", "port1"], "br0");
    lan.there.scapy("peer0", &broadcast(2));
    listening.run.stdout.wait_for_lines(1);
    lan.there.scapy("peer1", &broadcast(2));
    listening.prints(&[line("br0", 2), line("br0", 2)]);
}

/// An interface joins and leaves the bridge while it is captured; each is reported once.
#[test]
fn ports_that_come_and_go() {
    let Some(lan) = bridge() else { return };
    lan.here.ip("link set port1 nomaster");
    let listening = Listening::start(&lan.here, &["br0", "port1"], "br0");
    lan.there.scapy("peer1", &broadcast(2));
    listening.run.stdout.wait_for(&line("port1", 2));
    lan.here.ip("link set port1 master br0");
    listening.run.stderr.wait_for("port1 and br0");
    lan.there.scapy("peer1", &broadcast(3));
    listening.run.stdout.wait_for(&line("br0", 3));
    lan.here.ip("link set port1 nomaster");
    listening.run.stderr.wait_for("port1 does not belong to br0 any more");
    lan.there.scapy("peer1", &broadcast(4));
    listening.prints(&[line("port1", 2), line("br0", 3), line("port1", 4)]);
}

/// Events get the name, counters and messages keep the interface's.
#[test]
fn a_name_for_a_live_capture() {
    let Some(lan) = Lan::new() else { return };
    lan.there.ip("link add left type veth peer name right");
    for interface in ["left", "right"] {
        lan.there.ip(&format!("link set {interface} up"));
    }
    let names = ["--as", "office", "--as", "left=dmz", "veth1", "left"];
    let listening = Listening::start(&lan.there, &names, "veth1, left");
    lan.here.scapy("veth0", &broadcast(1));
    listening.run.stdout.wait_for(&line("office", 1));
    lan.there.scapy("right", &broadcast(2));
    listening.run.stdout.wait_for(&line("dmz", 2));
    let finished = listening.run.stop().ok();
    for interface in ["veth1", "left"] {
        assert_eq!(counters(&finished.stderr, interface)["published"], 1, "{}", finished.stderr);
    }
    let default = Listening::start(&lan.here, &["--as", "core"], "veth0");
    lan.there.scapy("veth1", &broadcast(3));
    default.prints(&[line("core", 3)]);
    for (options, named) in [
        (&["--as", "eth9=lan", "veth0"][..], "eth9"),
        (&["--as", "lan", "--macupd", "127.0.0.1:0"], "--as"),
    ] {
        let ring = Ring::new();
        let mut command = lan.here.command(binary("collector"));
        command.args(["--ring", ring.name()]).args(options);
        run(command).refused("collector", &[named, "("]);
        wait_until("it leaves no ring", || ring.files().is_empty());
    }
}
