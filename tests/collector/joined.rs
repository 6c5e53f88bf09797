//! Several collectors of one ring (`--join`): one captures the interfaces of all, and another one takes over.
#![forbid(unsafe_code)]

use aw_tests::collect::held;
use aw_tests::feed::FrameSender;
use aw_tests::lan::Lan;
use aw_tests::rig::{Run, binary, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
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
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().file_name());
    let lock =
        files.filter_map(|name| name.into_string().ok()).find(|name| name.ends_with(".lock"));
    let prefix = lock.unwrap().strip_suffix(".lock").unwrap().to_owned();
    fs::write(path.join(format!("{prefix}.1")), "collector --join\n\ntwo0\n../../etc\n").unwrap();
    fs::write(path.join(format!("{prefix}.3")), "precious\n").unwrap();
    fs::write(path.join(format!("{prefix}.x")), vec![b'x'; 1 << 20]).unwrap();
    symlink("/dev/zero", path.join(format!("{prefix}.2"))).unwrap();
    let second = start("two0");
    second.stderr.wait_for(&format!("process {} captures on two0", first.id()));
    first.stderr.wait_for("listening on two0");
    veth.send(1..4);
    two.send(101..104);
    wait_until("the events of both", || {
        captured(&ring, "veth0") == 3 && captured(&ring, "two0") == 3
    });
    assert!(!path.join(format!("{prefix}.1")).exists(), "no process has locked it");
    assert!(path.join(format!("{prefix}.3")).exists(), "it has no mark");

    // The second takes over when the first is killed; then it does not capture on the interface of that one.
    let process = first.id();
    first.kill();
    // All interfaces at once: the first may only be restarted.
    second.stderr.wait_for("listening on two0, veth0");
    second.stderr.wait_for(&format!("took over from process {process}: frames of at least "));
    two.send(104..107);
    wait_until("it took over", || captured(&ring, "two0") == 6);
    // The first comes back, and waits.
    let first = start("veth0");
    first.stderr.wait_for(&format!("process {} captures on veth0", second.id()));
    veth.send(4..7);
    wait_until("both are captured", || captured(&ring, "veth0") == 6);
    first.stop().ok();
    second.stderr.wait_for("stopped listening on veth0: its collector has ended");
    second.stop().ok();
}

/// `--instance` adds to the interfaces, each once; beside others it may be only a label.
#[test]
fn an_instance_is_added() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add two0 type veth peer name two1");
    lan.here.ip("link set two0 up");
    lan.here.ip("link set two1 up");
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

/// Who can open a file can lock it, also for reading.
#[test]
fn a_lock_of_another_user_stops_nothing() {
    let Some(lan) = Lan::new() else { return };
    let (ring, made) = (Ring::new(), tempfile::tempdir().unwrap());
    fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = made.path().join("run/collectors");
    let words = ["--group", "60123", "--instance", "veth0"];
    let collector = || Run::start(command(&lan, &ring, &path, &words));
    let first = collector();
    first.stderr.wait_for("listening on veth0");
    let second = collector();
    second.stderr.wait_for(&format!("process {} captures on veth0", first.id()));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    let mut files = 0;
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "{file:?}");
        let mut locks = Command::new("setpriv");
        locks.args(["--reuid", "65534", "--regid", "60123", "--clear-groups", "flock", "-n", "-s"]);
        locks.arg(file.path()).args(["sh", "-c", "echo locked"]);
        let finished = run(locks);
        assert!(!finished.status.success() && finished.stdout.is_empty(), "{finished:?}");
        files += 1;
    }
    assert!(files >= 3, "{files}");
    // A file that names a process that is not there: it is not said to capture.
    first.kill();
    second.stderr.wait_for("listening on veth0");
    let third = collector();
    third.stderr.wait_for(&format!("process {} captures on veth0", second.id()));
    third.stop().ok();
    second.stop().ok();
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let Some(lan) = Lan::new() else { return };
    let (ring, made) = (Ring::new(), tempfile::tempdir().unwrap());
    let at = |name: &str| made.path().join(name);
    for name in ["foreign", "writable", "target"] {
        fs::create_dir(at(name)).unwrap();
    }
    chown(at("foreign"), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(at("writable"), fs::Permissions::from_mode(0o770)).unwrap();
    symlink(at("target"), at("link")).unwrap();
    for (name, why) in [("foreign", "user id 65534"), ("writable", "mode 770"), ("link", "a link")]
    {
        let refused = run(command(&lan, &ring, &at(name), &["--instance", "veth0"]));
        refused.refused("collector", &["--join", why]);
        assert_eq!(fs::read_dir(at(name)).unwrap().count(), 0, "{name}");
    }
}

/// What the one that captures cannot open is said by the one that waits; what is refused alone is refused beside another.
#[test]
fn what_is_not_captured_is_said() {
    let Some(lan) = Lan::new() else { return };
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let path = directory.path();
    let first =
        Run::start(command(&lan, &ring, path, &["--instance", "veth0", "--as", "eht0=lan"]));
    first.stderr.wait_for("listening on veth0");
    first.stderr.wait_for("--as eht0=lan: no collector of this ring captures on eht0");
    let second =
        Run::start(command(&lan, &ring, path, &["--instance", "late0", "--as", "eht0=lan"]));
    second.stderr.wait_for("on none of the interfaces of this collector");
    second.stderr.wait_for("; late0: no such interface");
    let refused = run(command(&lan, &ring, path, &["late0"]));
    refused.refused("collector", &["listen on late0: no such interface", "--wait"]);
    let refused = run(command(&lan, &ring, path, &[]));
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    // In another network, the interface of that name is another one.
    let mut other = lan.there.command(binary("collector"));
    other.args(["-q", "-u", "root", "--ring", ring.name(), "--join"]).arg(path).arg("veth1");
    run(other).refused("collector", &["in use by another collector"]);
    second.stop().ok();
    first.stop().ok();
}

/// One of two networks is no longer captured, because its collector was stopped and its unit not disabled: `--health` says so,
/// until it runs again or is disabled.
#[test]
fn a_unit_that_is_enabled_and_does_not_run() {
    if !Path::new("/etc/systemd/system").is_dir() {
        return skip("there is no /etc/systemd/system here");
    }
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add two0 type veth peer name two1");
    lan.here.ip("link set two0 up");
    lan.here.ip("link set two1 up");
    let (ring, directory, units) =
        (Ring::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::set_permissions(units.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let wanted = units.path().join("multi-user.target.wants");
    fs::create_dir(&wanted).unwrap();
    for name in ["veth0", "two0"] {
        fs::write(wanted.join(format!("addrwatch-collector@{name}.service")), "").unwrap();
    }
    // In a mount namespace of its own, which `ip netns exec` makes.
    let start = |name: &str| {
        let mut command = lan.here.command("sh");
        let script = "mount --bind \"$1\" /etc/systemd/system && shift && exec \"$@\"";
        command.args(["-c", script, "sh"]).arg(units.path()).arg(binary("collector"));
        command.args(["-q", "-u", "root", "--ring", ring.name(), "--join"]).arg(directory.path());
        command.args(["--instance", name]);
        Run::start(command)
    };
    let health = || run(program("aw-stdout", &["--health", "--ring", ring.name()]));
    let first = start("veth0");
    first.stderr.wait_for("listening on veth0");
    let fault = "two0 is no longer captured: addrwatch-collector@two0 is enabled, but does not run";
    wait_until("it never ran", || health().stdout.contains(fault));
    health()
        .unhealthy(&[&format!("interface {fault} (systemctl status addrwatch-collector@two0;")]);
    let second = start("two0");
    wait_until("both are captured", || health().status.success());
    second.stop().ok();
    wait_until("it was stopped", || health().stdout.contains(fault));
    first.stderr.wait_for("two0 is not captured: addrwatch-collector@two0 is enabled, but does");
    // A restart of the other one changes nothing of that, not for a moment.
    first.stop().ok();
    let first = start("veth0");
    first.stderr.wait_for("listening on veth0");
    let answers = |text: &str| !text.contains("no heartbeat") && !text.contains("no such ring");
    wait_until("it has begun", || answers(&health().stdout));
    health().unhealthy(&[fault]);
    fs::remove_file(wanted.join("addrwatch-collector@two0.service")).unwrap();
    wait_until("it is disabled", || health().status.success());
    first.stop().ok();
}

/// The interface of a collector that ends stays open for some time, because it may only be restarted; not one that is not there.
#[test]
fn what_cannot_be_captured_is_dropped_at_once() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add two0 type veth peer name two1");
    lan.here.ip("link set two0 up");
    lan.here.ip("link set two1 up");
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let start =
        |name: &str| Run::start(command(&lan, &ring, directory.path(), &["--instance", name]));
    let first = start("veth0");
    first.stderr.wait_for("listening on veth0");
    let (second, third) = (start("two0"), start("zzz9"));
    first.stderr.wait_for("listening on two0");
    first.stderr.wait_for("cannot listen on zzz9: no such interface");
    second.stop().ok();
    third.stop().ok();
    first.stderr.wait_for("stopped listening on two0: its collector has ended");
    let text = first.stderr.text();
    let at = |name: &str| text.find(&format!("stopped listening on {name}: its collector"));
    assert!(at("zzz9") < at("two0") && at("zzz9").is_some(), "{text}");
    first.stop().ok();
}

/// Of different options, those of one collector apply, whichever was started first, and all interfaces are captured.
#[test]
fn options_that_differ() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add two0 type veth peer name two1");
    lan.here.ip("link set two0 up");
    lan.here.ip("link set two1 up");
    let plain = ["--instance", "veth0"];
    let more = ["-4", "--instance", "two0"];
    for order in [[&plain[..], &more], [&more, &plain]] {
        let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
        let start = |words| Run::start(command(&lan, &ring, directory.path(), words));
        let first = start(order[0]);
        first.stderr.wait_for("listening on");
        let second = start(order[1]);
        if order[0] == plain {
            // That its own options do not apply would not be true for long.
            let text = second
                .stderr
                .wait_for("(this one has more options, and takes over in some seconds)");
            assert!(text.contains("captures"), "{text}");
            let ended = first.finish().stderr;
            assert!(!second.stderr.text().contains("no effect"), "{}", second.stderr.text());
            assert!(
                ended.contains(&format!("process {} has more options", second.id())),
                "{ended}"
            );
            second.stderr.wait_for("listening on two0, veth0");
            let again = start(&plain);
            again.stderr.wait_for(
                "with the options --ipv4-only --quiet --user root (here: --quiet --user root;",
            );
            again.stop().ok();
            second.stop().ok();
        } else {
            let said = second.stderr.wait_for(
                "with the options --ipv4-only --quiet --user root (here: --quiet --user root;",
            );
            assert!(said.contains("the options of this collector have no effect: "), "{said}");
            assert!(said.contains("OPTIONS_ALL= in /etc/addrwatch/collector.conf"), "{said}");
            first.stderr.wait_for("listening on veth0");
            second.stop().ok();
            first.stop().ok();
        }
    }
}

/// One that has more options and cannot open what it names ends, and the one that works goes on.
#[test]
fn one_that_fails_takes_nothing_away() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add two0 type veth peer name two1");
    lan.here.ip("link set two0 up");
    lan.here.ip("link set two1 up");
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let start = |words: &[&str]| Run::start(command(&lan, &ring, directory.path(), words));
    let first = start(&["--instance", "veth0"]);
    first.stderr.wait_for("listening on veth0");
    let port = "127.0.0.1:5514";
    let (of_other, elsewhere) = (Ring::new(), tempfile::tempdir().unwrap());
    let other = Run::start(command(&lan, &of_other, elsewhere.path(), &["--macupd", port, "two0"]));
    other.stderr.wait_for("(MACupd)");
    let words = ["--macupd", port, "--instance", "two0"];
    for (words, why) in [
        (&words[..], "receive MACupd on 127.0.0.1:5514: address already in use"),
        (&["--filter", "no such word", "--instance", "two0"], "no such word"),
    ] {
        let refused = start(words).finish();
        assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
        assert!(refused.stderr.contains(why), "{refused:#?}");
    }
    let mut veth = FrameSender::on(&lan.there, "veth1");
    veth.send(1..4);
    wait_until("the first captures", || captured(&ring, "veth0") == 3);
    assert!(!first.stderr.text().contains("more options"), "{}", first.stderr.text());
    // Once the port is free, the one with more options captures for both; of two with the port, one has it.
    other.stop().ok();
    let second = start(&words);
    assert!(first.finish().stderr.contains("has more options, and captures from now on"));
    second.stderr.wait_for("listening on two0, veth0");
    let third = start(&words);
    third.stderr.wait_for(&format!("process {} captures on two0", second.id()));
    second.stop().ok();
    third.stderr.wait_for("127.0.0.1:5514 (MACupd)");
    third.stop().ok();
}

/// The port is opened when the turn has come, with privileges dropped.
#[test]
fn a_port_for_privileged_processes() {
    let Some(lan) = Lan::new() else { return };
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let words = ["--macupd", "127.0.0.1:514", "--instance", "veth0"];
    let start = || Run::start(command(&lan, &ring, directory.path(), &words));
    let first = start();
    first.stderr.wait_for("127.0.0.1:514 (MACupd)");
    let second = start();
    second.stderr.wait_for(&format!("process {} captures on veth0", first.id()));
    first.kill();
    second.stderr.wait_for("127.0.0.1:514 (MACupd)");
    second.stop().ok();
}
