//! Which interfaces the collector opens, how, and what it says when it cannot.
#![forbid(unsafe_code)]

use aw_tests::lan::Lan;
use aw_tests::listening::Listening;
use aw_tests::rig::{binary, public_copy, run};
use aw_tests::ring::Ring;

/// Promiscuous unless told otherwise, as the kernel shows it.
#[test]
fn promiscuous_unless_told_otherwise() {
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
    listening.hears(&[]);
    for option in ["-P", "--no-promisc"] {
        let listening = Listening::start(&lan.here, &[option, "veth0"], "veth0");
        assert_eq!(promiscuity(), "0");
        listening.hears(&[]);
    }
}

/// No interface named: the first that is up and not loopback; none at all: it says so.
#[test]
fn the_default_interface() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link set lo up");
    Listening::start(&lan.here, &[], "veth0").hears(&[]);
    lan.here.ip("link add later0 type veth peer name later1");
    Listening::start(&lan.here, &[], "veth0").hears(&[]);
    lan.here.ip("link set veth0 down");
    lan.here.ip("link set later1 up");
    lan.here.ip("link set later0 up");
    let listening = Listening::start(&lan.here, &[], "later");
    listening.hears(&[]);
    lan.here.ip("link set later0 down");
    lan.here.ip("link set later1 down");
    let ring = Ring::new();
    let mut command = lan.here.command(binary("collector"));
    command.args(["--ring", ring.name()]);
    run(command).refused("collector", &["interface"]);
}

#[test]
fn an_interface_that_is_missing_is_named() {
    let Some(lan) = Lan::new() else { return };
    for interfaces in [&["nowhere0"][..], &["veth0", "nowhere0"]] {
        let ring = Ring::new();
        let mut command = lan.here.command(binary("collector"));
        command.args(["--ring", ring.name()]).args(interfaces);
        let finished = run(command).refused("collector", &["nowhere0"]);
        assert_eq!(finished.stdout, "");
    }
}

#[test]
fn without_privileges_it_says_what_to_do() {
    let Some(lan) = Lan::new() else { return };
    let directory = public_copy(&["collector"]);
    let ring = Ring::new();
    let mut command = lan.here.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(directory.path().join("collector")).args(["--ring", ring.name(), "veth0"]);
    run(command).refused("collector", &["veth0", "ermi", "("]);
}
