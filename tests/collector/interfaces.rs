//! Which interfaces the collector opens, how, and its messages when it cannot.
#![forbid(unsafe_code)]

use aw_tests::collect::held;
use aw_tests::lan::Lan;
use aw_tests::listening::Listening;
use aw_tests::rig::{Run, binary, public_copy, run, wait_until};
use aw_tests::ring::Ring;
use std::fs;

/// Promiscuous by default, as the kernel shows it.
#[test]
fn promiscuous_by_default() {
    let Some(lan) = Lan::new() else { return };
    let promiscuity = || {
        let mut command = lan.here.command("ip");
        command.args(["-d", "link", "show", "veth0"]);
        let shown = run(command).ok().stdout;
        shown.split_once("promiscuity ").unwrap().1.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(promiscuity(), "0");
    let listening = Listening::start(&lan.here, &["veth0"], "veth0");
    assert_eq!(promiscuity(), "1");
    listening.prints(&[]);
    for option in ["-P", "--no-promisc"] {
        let listening = Listening::start(&lan.here, &[option, "veth0"], "veth0");
        assert_eq!(promiscuity(), "0");
        listening.prints(&[]);
    }
}

/// Without an interface: the first that is up and not loopback; if there is none, an error.
#[test]
fn the_default_interface() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link set lo up");
    Listening::start(&lan.here, &[], "veth0").prints(&[]);
    lan.here.ip("link add later0 type veth peer name later1");
    Listening::start(&lan.here, &[], "veth0").prints(&[]);
    lan.here.ip("link set veth0 down");
    lan.here.ip("link set later1 up");
    lan.here.ip("link set later0 up");
    let listening = Listening::start(&lan.here, &[], "later");
    listening.prints(&[]);
    lan.here.ip("link set later0 down");
    lan.here.ip("link set later1 down");
    let ring = Ring::new();
    let mut command = lan.here.command(binary("collector"));
    command.args(["--ring", ring.name()]);
    run(command).refused("collector", &["interface"]);
}

/// A tunnel carries no Ethernet frames: it is not chosen, although it comes first; nor refused, if another can be.
#[test]
fn a_tunnel_is_not_the_default_interface() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link del veth0");
    lan.here.ip("tuntap add aaa0 mode tun");
    lan.here.ip("link set aaa0 up");
    lan.here.ip("link add later0 type veth peer name later1");
    let refused = |texts: &[&str]| {
        let ring = Ring::new();
        let mut command = lan.here.command(binary("collector"));
        command.args(["--ring", ring.name()]);
        run(command).refused("collector", texts);
    };
    refused(&[
        "aaa0: link type",
        "later0: it is down",
        "lo: it is loopback",
        "ip link set NAME up",
    ]);
    lan.here.ip("link set later1 up");
    lan.here.ip("link set later0 up");
    Listening::start(&lan.here, &[], "later").prints(&[]);
}

#[test]
fn an_interface_that_is_missing_is_named() {
    let Some(lan) = Lan::new() else { return };
    for interfaces in [&["nowhere0"][..], &["nowhere0", "nowhere1"]] {
        let ring = Ring::new();
        let mut command = lan.here.command(binary("collector"));
        command.args(["--ring", ring.name()]).args(interfaces);
        let finished = run(command).refused("collector", &["nowhere0"]);
        assert_eq!(finished.stdout, "");
    }
}

/// A missing interface is waited for, beside others, or with --wait; down and up are reported once each.
#[test]
fn an_interface_that_appears_later_is_captured() {
    let Some(lan) = Lan::new() else { return };
    for (options, wanted) in [
        (&["veth0", "later0"][..], "listening on veth0"),
        (&["--wait", "later0"], "waiting for an interface"),
    ] {
        let ring = Ring::new();
        let mut command = lan.here.command(binary("collector"));
        command.args(["-q", "--ring", ring.name()]).args(options);
        let collector = Run::start(command);
        collector.stderr.wait_for(wanted);
        collector.stderr.wait_for("not listening on later0: no such interface");
        lan.here.ip("link add later0 type veth peer name later1");
        lan.here.ip("link set later1 up");
        lan.here.ip("link set later0 up");
        collector.stderr.wait_for("listening on later0 again");
        let arp = |last: u8| {
            let frame = "Ether(src='02:00:00:00:00:07', dst='ff:ff:ff:ff:ff:ff')";
            lan.here.scapy(
                "later1",
                &format!(
                    "send({frame} / ARP(op=2, hwsrc='02:00:00:00:00:07', psrc='192.0.2.{last}'))"
                ),
            );
            let line = format!(" later0 0 02:00:00:00:00:07 192.0.2.{last} ARP_REP");
            wait_until(&line, || held(&ring).contains(&line));
        };
        arp(1);
        lan.here.ip("link set later0 down");
        collector.stderr.wait_for("later0 is down");
        lan.here.ip("link set later0 up");
        collector.stderr.wait_for("later0 is up again");
        arp(2);
        lan.here.ip("link del later0");
        collector.stderr.wait_for("stopped listening on later0");
        // A file of another kind with its name cannot be captured from, which is reported once.
        lan.here.ip("tuntap add later0 mode tun");
        lan.here.ip("link set later0 up");
        collector.stderr.wait_for("cannot listen on later0: link type");
        lan.here.ip("link del later0");
        let finished = collector.stop().ok();
        let lines = finished.stderr.lines().filter(|line| line.contains("later0")).count();
        assert_eq!(lines, 6, "one line a change: {}", finished.stderr);
    }
}

/// What may be only the name of a unit is an interface once there is one: that it cannot be captured is reported to all.
#[test]
fn a_label_that_becomes_an_interface() {
    let Some(lan) = Lan::new() else { return };
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let command = |name: &str, words: &[&str]| {
        let mut command = lan.here.command(binary(name));
        command.args(["--ring", ring.name()]).args(words);
        command
    };
    let health = || run(command("aw-stdout", &["--health"]));
    let up = || {
        let file = directory.path().join("metrics");
        run(command("aw-metrics", &["--once", "--file", file.to_str().unwrap()])).ok();
        let metrics = fs::read_to_string(file).unwrap();
        let of_label =
            |line: &&str| line.starts_with("addrwatch_interface_up{") && line.contains("lab0");
        metrics.lines().find(of_label).and_then(|line| line.rsplit(' ').next()).map(String::from)
    };
    let collector = Run::start(command("collector", &["-q", "--instance", "lab0", "veth0"]));
    collector.stderr.wait_for("lab0, the name of this unit, is no interface now");
    wait_until("veth0 is captured", || health().status.success());
    assert_eq!(up(), None);
    lan.here.ip("link add lab0 type veth peer name lab1");
    collector.stderr.wait_for("cannot listen on lab0: it is down");
    wait_until("--health finds it", || health().stdout.contains("interface lab0 is down"));
    assert_eq!(up().as_deref(), Some("0"));
    lan.here.ip("link del lab0");
    lan.here.ip("tuntap add lab0 mode tun");
    lan.here.ip("link set lab0 up");
    collector.stderr.wait_for("cannot listen on lab0: link type");
    wait_until("--health finds it", || {
        health().stdout.contains("interface lab0 cannot be captured")
    });
    assert_eq!(up().as_deref(), Some("0"));
    lan.here.ip("link del lab0");
    lan.here.ip("link add lab0 type veth peer name lab1");
    lan.here.ip("link set lab0 up");
    lan.here.ip("link set lab1 up");
    collector.stderr.wait_for("listening on lab0");
    wait_until("it is captured", || health().status.success());
    assert_eq!(up().as_deref(), Some("1"));
    collector.stop().ok();
}

/// More interfaces than the ring has counters for: the rate limit distinguishes all of them.
#[test]
fn many_interfaces_are_distinguished() {
    let Some(lan) = Lan::new() else { return };
    let names: Vec<String> = (0..130).map(|number| format!("many{number}")).collect();
    let script = "for i in $(seq 0 129); do echo link add many$i type veth peer name peer$i; \
                  echo link set many$i up; echo link set peer$i up; done | ip -batch -";
    lan.here.run(&["sh", "-c", script]);
    let ring = Ring::new();
    let mut command = lan.here.command(binary("collector"));
    command.args(["-q", "--ring", ring.name(), "-r", "-1"]).args(&names);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on many0");
    lan.here.scapy(
        "lo",
        "frame = Ether(src='02:00:00:00:00:07', dst='ff:ff:ff:ff:ff:ff') / ARP(op=2, hwsrc='02:00:00:00:00:07', psrc='192.0.2.7')\n\
         [sendp(frame, iface='peer%d' % i) for i in range(130)]",
    );
    wait_until("each is reported", || held(&ring).lines().count() == 130);
    let status = std::fs::read_to_string(format!("/proc/{}/status", collector.id())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 160 << 10, "the kernel's buffers are bounded together: {kib} KiB");
    assert_eq!(collector.stop().status.code(), Some(0));
}

#[test]
fn without_privileges_it_reports_the_remedy() {
    let Some(lan) = Lan::new() else { return };
    let directory = public_copy(&["collector"]);
    let ring = Ring::new();
    let mut command = lan.here.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(directory.path().join("collector")).args(["--ring", ring.name(), "veth0"]);
    run(command).refused("collector", &["veth0", "ermi", "("]);
}
