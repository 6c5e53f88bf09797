//! `collector --check`: finds what the start would meet, changes nothing, and passes where the start succeeds.
#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use aw_tests::lan::Lan;
use aw_tests::rig::{Finished, Run, binary, program, public_copy, run, wait_until};
use aw_tests::ring::Ring;

/// The user that it becomes.
const USER: &str = "daemon";

/// A collector in the network namespace of `veth0`.
struct Place {
    lan: Lan,
    ring: Ring,
}

impl Place {
    fn new() -> Option<Place> {
        Some(Place { lan: Lan::new()?, ring: Ring::new() })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lan.here.command(binary("collector"));
        command.args(["-q", "--ring", self.ring.name()]).args(words);
        command
    }

    fn check(&self, words: &[&str]) -> Finished {
        run(self.command(&[&["--check", "-u", USER], words].concat()))
    }

    /// The check and the start fail, with the same message.
    fn both_fail(&self, words: &[&str], texts: &[&str]) {
        self.check(words).refused("collector", texts);
        run(self.command(&[&["-u", USER], words].concat())).refused("collector", texts);
        assert!(self.ring.files().is_empty(), "{words:?}: {:?}", self.ring.files());
    }
}

#[test]
fn mistakes_before_the_start() {
    let Some(place) = Place::new() else { return };
    place.lan.here.ip("link set lo up"); // without any address, each one can be bound
    place.lan.here.ip("link add down0 type veth peer name down1");
    // 1 and 2: an interface that does not exist, and one that is down.
    place.both_fail(
        &["eth9"],
        &["listen on eth9: no such interface (ip link lists them)", "--wait"],
    );
    place.both_fail(&["down0"], &["listen on down0: it is down (bring it up with: ip link set"]);
    // Names of aliases, which the kernel takes for the interface; also as that of a unit.
    let alias = "no such interface (name veth0: that captures all its frames";
    for (name, more) in [("veth0:7", ", also of VLAN 7)"), ("veth0:", ")"), ("veth0:x", ")")] {
        let why = format!("listen on {name}: {alias}{more}");
        place.both_fail(&[name], &[&why]);
        place.both_fail(&["--wait", name], &[&why]);
        place.both_fail(&["--instance", name], &[&why]);
        place.both_fail(&["veth0", name], &[&why]);
    }
    // 3: the filter.
    place.both_fail(&["veth0", "--filter", "arp or"], &["syntax error (see pcap-filter(7))"]);
    // 4: a name for the events of an interface that is not captured.
    place.both_fail(&["veth0", "--as", "eth1=dmz"], &["eth1 is not captured (add it"]);
    // 5: a port of another program, and an address of another machine.
    let mut holder = place.lan.here.command(binary("collector"));
    let other = Ring::new();
    holder.args(["-q", "-u", "root", "--ring", other.name(), "--macupd", "127.0.0.1:5514"]);
    let holder = Run::start(holder);
    holder.stderr.wait_for("(MACupd)");
    let taken = "127.0.0.1:5514: address already in use (choose another port with --macupd; ss";
    place.both_fail(&["--macupd", "127.0.0.1:5514"], &[taken]);
    let elsewhere = "no interface of this machine has 192.0.2.9";
    place.both_fail(&["--listen-tzsp", "192.0.2.9:37008"], &[elsewhere]);
    holder.stop().ok();
    // 6: a user, and a group.
    let unknown = place.command(&["--check", "-u", "no-such-user", "veth0"]);
    run(unknown).refused("collector", &["find user no-such-user: no such user (useradd"]);
    place.both_fail(&["veth0", "--group", "no-such-group"], &["no such group (groupadd"]);
    // 7: a directory for samples.
    let sample = ["veth0", "--snap-malformed", "/nowhere/x.pcap"];
    place.check(&sample).refused("collector", &["use /nowhere: there is no such directory"]);
    // 8: the directory of --join.
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().display().to_string();
    place.both_fail(&["veth0", "--join", &shared], &["only the collector's user, 1, may write"]);
    // All at once.
    let words = ["eth9", "--listen-tzsp", "192.0.2.9:37008", "--snap-malformed", "/nowhere/x"];
    let ended = place.check(&words);
    assert_eq!((ended.status.code(), ended.stderr.lines().count()), (Some(1), 3), "{ended:#?}");
}

/// What starts passes, with a line for each interface, and nothing is left behind.
#[test]
fn what_starts_passes() {
    let Some(place) = Place::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
    chown(directory.path(), Some(1), Some(1)).unwrap();
    let join = directory.path().display().to_string();
    let words = ["veth0", "--filter", "arp", "--macupd", "127.0.0.1:5514", "--join", &join];
    let checked = place.check(&words).ok();
    for line in [
        "veth0 can be captured\n",
        &format!("ring {} can be written\n", place.ring.name()),
        "no fault, as far as user daemon can try it\n",
    ] {
        assert!(checked.stdout.contains(line), "{line}: {checked:#?}");
    }
    assert_eq!(place.ring.files(), Vec::<std::path::PathBuf>::new());
    wait_until("no ring of a check is left", || files_of_rings().is_empty()); // also of tests beside this one
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was written");
    // An interface that comes later.
    let checked = place.check(&["eth9", "--wait"]).ok();
    assert!(checked.stdout.contains("waits for eth9: no such interface"), "{checked:#?}");
    // One that is named beside others, or alone by a unit, and does not exist: most often a typing error.
    let fault = "the collector waits for eth9: no such interface (ip link lists them)";
    for words in [&["veth0", "eth9"][..], &["--instance", "eth9"]] {
        let checked = place.check(words);
        assert_eq!(checked.status.code(), Some(1), "{checked:#?}");
        assert!(checked.stderr.contains(fault), "{checked:#?}");
        assert!(checked.stderr.contains("accept that with --wait"), "{checked:#?}");
    }
    // That of a VLAN: its interface has it.
    let of_parent =
        "; veth0 captures all its VLANs without an interface for each: correct the name";
    place.check(&["veth0", "veth0.7"]).refused("collector", &[of_parent]);
    // The running collector has the ring and the port.
    let running = Run::start(place.command(&[&["-u", USER], &words[..]].concat()));
    running.stderr.wait_for("listening on veth0");
    let checked = place.check(&words).ok();
    let process = format!("process {}", running.id());
    assert!(
        checked.stdout.contains(&format!("{process}, which writes to this ring")),
        "{checked:#?}"
    );
    assert!(checked.stdout.contains(&format!("is written by {process}")), "{checked:#?}");
    // A port that it does not have: of no address of this machine, of another program, and of an option that it lacks.
    place.lan.here.ip("link set lo up"); // without any address, each one can be bound
    let other = Ring::new();
    let mut holder = place.lan.here.command(binary("collector"));
    holder.args(["-q", "-u", "root", "--ring", other.name(), "--listen-vxlan", "127.0.0.1:4789"]);
    let holder = Run::start(holder);
    holder.stderr.wait_for("(VXLAN)");
    for (more, why) in [
        (["--listen-tzsp", "192.0.2.9:37008"], "no interface of this machine has 192.0.2.9"),
        (["--listen-tzsp", "127.0.0.1:4789"], "127.0.0.1:4789: address already in use"),
        (["--macupd", "192.0.2.9:5514"], "no interface of this machine has 192.0.2.9"),
    ] {
        place.check(&[&words[..], &more].concat()).refused("collector", &[why]);
    }
    holder.stop().ok();
    running.stop().ok();
    // The ring that it left.
    place.check(&words).ok();
}

/// `--check --instance NAME` of root: the command line of the unit, with the options of its files.
#[test]
fn the_options_of_the_unit() {
    let Some(place) = Place::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let members = path("members");
    let unit = format!(
        "[Service]\nUser={USER}\nEnvironmentFile=-{}\nEnvironmentFile=-{}-%i.conf\nExecStart=/usr/bin/collector -q --ring {} --join {members} --instance %i $OPTIONS_ALL $OPTIONS\nReadWritePaths={members}\n",
        path("collector.conf"),
        path("collector"),
        place.ring.name()
    );
    fs::write(path("unit"), unit).unwrap();
    const SCRIPT: &str = "mount -t tmpfs tmpfs /etc/systemd; mkdir -p /etc/systemd/system
        cp \"$0\" /etc/systemd/system/addrwatch-collector@.service; exec \"$@\"";
    let check = |more: &[&str]| {
        let mut command = place.lan.here.command("unshare");
        command.args(["--mount", "sh", "-ec", SCRIPT, &path("unit")]).arg(binary("collector"));
        command.args(["--check", "--instance", "veth0"]).args(more);
        run(command)
    };
    // --join is tried as the unit's user, who may not create the directory.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    check(&[]).refused("collector", &["--join", "permission denied (choose a directory"]);
    fs::create_dir(&members).unwrap();
    fs::set_permissions(&members, Permissions::from_mode(0o700)).unwrap();
    chown(&members, Some(1), Some(1)).unwrap();
    let tried = format!(
        "tried: collector -q --ring {} --join {members} --instance veth0",
        place.ring.name()
    );
    let checked = check(&[]).ok();
    assert!(checked.stdout.starts_with(&format!("{tried}\n")), "{checked:#?}");
    fs::write(path("collector.conf"), "OPTIONS_ALL=-r 60\n").unwrap();
    fs::write(path("collector-veth0.conf"), "OPTIONS=--blacklst 192.0.2.1\n").unwrap();
    let refused = check(&[]);
    assert!(refused.stdout.contains(&format!("{tried} -r 60 --blacklst")), "{refused:#?}");
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
    fs::write(path("collector-veth0.conf"), "").unwrap();
    // Beside the collector that captures.
    let words = ["--join", &members, "veth0"];
    let running = Run::start(place.command(&[&["-u", USER], &words[..]].concat()));
    running.stderr.wait_for("listening on veth0");
    let checked = check(&[]).ok();
    assert!(checked.stdout.contains("this collector joins it"), "{checked:#?}");
    // With other options, a line has those of the unit.
    let checked = check(&["-r", "30"]).ok();
    assert!(checked.stdout.contains("(sudo collector --instance veth0 --check"), "{checked:#?}");
    running.stop().ok();
}

/// A user who may not capture, and a ring's name that another user has taken.
#[test]
fn a_user_without_the_right() {
    let Some(place) = Place::new() else { return };
    let copy = public_copy(&["collector"]);
    let collector = copy.path().join("collector");
    let as_user = |words: &[&str]| {
        let mut command = place.lan.here.command("setpriv");
        command.args(["--reuid", "1", "--regid", "1", "--clear-groups"]).arg(&collector);
        run({
            command.args(["-q", "--check", "--ring", place.ring.name()]).args(words);
            command
        })
    };
    as_user(&["veth0"]).refused("collector", &["CAP_NET_RAW is missing", "setcap"]);
    as_user(&["--macupd", "127.0.0.1:5514"]).ok();
    as_user(&["-u", "root", "--macupd"])
        .refused("collector", &["permission denied (start as root"]);
    let path = place.ring.path();
    fs::write(&path, "").unwrap();
    chown(&path, Some(2), Some(2)).unwrap();
    as_user(&["--macupd", "127.0.0.1:5514"]).refused("collector", &["open ring", "user"]);
    // Root removes it at the start, and not in a check.
    let checked = place.check(&["--macupd", "127.0.0.1:5514"]).ok();
    assert!(checked.stdout.contains("of user id 2 will be removed"), "{checked:#?}");
    assert_eq!(path.metadata().unwrap().uid(), 2);
    fs::remove_file(path).unwrap();
    let bad = program("collector", &["--check", "--read", "x.pcap"]);
    assert_eq!(run(bad).status.code(), Some(2));
}

/// The names in /dev/shm of rings that a check creates.
fn files_of_rings() -> Vec<String> {
    let names = fs::read_dir("/dev/shm").unwrap().flatten();
    let names = names.filter_map(|file| file.file_name().into_string().ok());
    names.filter(|name| name.contains("addrwatch-check-")).collect()
}
