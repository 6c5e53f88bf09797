//! Several collectors of one ring (`--join`): one captures the interfaces of all, and another one takes over.
#![forbid(unsafe_code)]

use aw_tests::collect::held;
use aw_tests::feed::FrameSender;
use aw_tests::lan::Lan;
use aw_tests::rig::{Run, binary, run, wait_until};
use aw_tests::ring::Ring;
use std::fs;
use std::path::Path;
use std::process::Command;

fn command(lan: &Lan, ring: &Ring, directory: &Path, words: &[&str]) -> Command {
    let mut command = lan.here.command(binary("collector"));
    command.args(["-q", "-u", "root", "--ring", ring.name(), "--join"]).arg(directory).args(words);
    command
}

fn captured(ring: &Ring, interface: &str) -> usize {
    held(ring).lines().filter(|line| line.split(' ').nth(1) == Some(interface)).count()
}

#[test]
fn one_captures_for_all() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add two0 type veth peer name two1");
    lan.here.ip("link set two0 up");
    lan.here.ip("link set two1 up");
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let path = directory.path();
    let start = |name: &str| Run::start(command(&lan, &ring, path, &["--instance", name]));
    let (mut veth, mut two) =
        (FrameSender::on(&lan.there, "veth1"), FrameSender::on(&lan.here, "two1"));

    let first = start("veth0");
    first.stderr.wait_for("listening on veth0");
    // Files that no collector has written: of another format, without a lock, and a link.
    let prefix = ring.name().trim_start_matches('/').to_owned();
    fs::write(path.join(format!("{prefix}.1")), "two0\n../../etc\n").unwrap();
    fs::write(path.join(format!("{prefix}.x")), vec![b'x'; 1 << 20]).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path.join(format!("{prefix}.2"))).unwrap();
    let second = start("two0");
    second.stderr.wait_for(&format!("process {} captures on two0", first.id()));
    first.stderr.wait_for("listening on two0");
    veth.send(1..4);
    two.send(101..104);
    wait_until("the events of both", || {
        captured(&ring, "veth0") == 3 && captured(&ring, "two0") == 3
    });
    assert!(!path.join(format!("{prefix}.1")).exists(), "no process has locked it");

    // The second takes over when the first is killed; then it does not capture on the interface of that one.
    first.kill();
    second.stderr.wait_for("listening on two0");
    two.send(104..107);
    wait_until("it took over", || captured(&ring, "two0") == 6);
    // The first comes back, beside a collector whose options differ, and whose interface is not added.
    let first = start("veth0");
    second.stderr.wait_for("listening on veth0");
    let other = run(command(&lan, &ring, path, &["-4", "--instance", "lo"]));
    other.refused("collector", &["it has other options", "/etc/addrwatch/collector.conf", "-m"]);
    veth.send(4..7);
    wait_until("both are captured", || captured(&ring, "veth0") == 6);
    first.stop().ok();
    second.stderr.wait_for("stopped listening on veth0: its collector has ended");
    let finished = second.stop().ok();
    assert!(!finished.stderr.contains("adding lo"), "{}", finished.stderr);
}

/// `--instance` adds to the interfaces, each once; beside others it may be only a label.
#[test]
fn an_instance_is_added() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add two0 type veth peer name two1");
    lan.here.ip("link set two0 up");
    for (words, wanted) in [
        (&["--instance", "veth0", "--wait", "veth0", "two0"][..], "listening on veth0, two0"),
        (&["--instance", "two0", "veth0"], "listening on veth0, two0"),
        (&["--instance", "lan", "veth0"], "lan, the name of this unit, is no interface now"),
        (&["--instance", "a-label-that-is-no-interface", "veth0"], "listening on veth0"),
        (&["--instance", "veth0", "--macupd", "127.0.0.1:0"], "listening on veth0, "),
        (&["--instance", "veth0", "any"], "listening on any"),
        (&["--instance", "late0"], "not listening on late0"),
    ] {
        let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
        // Options that a unit has, and the user's file has again.
        let words = [words, &["--quiet"]].concat();
        let collector = Run::start(command(&lan, &ring, directory.path(), &words));
        collector.stderr.wait_for(wanted);
        let said = collector.stop().ok().stderr;
        let faults = ["not listening on lan", "not listening on a-label"];
        assert!(faults.iter().all(|fault| !said.contains(fault)), "{said}");
    }
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let label = ["--instance", "a-label-that-is-no-interface"];
    run(command(&lan, &ring, directory.path(), &label)).refused(
        "collector",
        &["a-label-that-is-no-interface", "/etc/addrwatch/collector-", "OPTIONS=eth0 eth1"],
    );
    let without = run(command(&lan, &ring, directory.path(), &["--wait"]));
    assert_eq!(without.status.code(), Some(2), "{}", without.stderr);
    assert!(without.stderr.contains("INTERFACE"), "{}", without.stderr);
}
