//! Files of other users: what another user created in /dev/shm, or at the path of a file of these programs, is not trusted,
//! followed or written to. Needs root, to act as another user.
#![forbid(unsafe_code)]

use aw_tests::collect::{collect, stdout_of};
use aw_tests::feed::{numbered_capture, numbered_lines, publish};
use aw_tests::lan::Lan;
use aw_tests::rig::{Run, binary, program, public_copy, run, run_with};
use aw_tests::ring::Ring;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

const NOBODY: u32 = 65534;
const ANOTHER: &str = "60001";

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        aw_tests::rig::skip("only root can act as another user");
    }
    root
}

fn as_user(user: &str, program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    command.arg(program).args(arguments);
    command
}

/// A ring of the user `nobody`, readable by all users.
fn foreign_ring(ring: &Ring) {
    publish(ring, 1..4);
    for file in ring.files() {
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(ring.path(), Permissions::from_mode(0o644)).unwrap();
}

/// Neither root nor a third user trusts it without an option; its owner does.
#[test]
fn a_ring_of_another_user_is_not_trusted() {
    if !is_root() {
        return;
    }
    let directory = public_copy(&["aw-stdout", "collector"]);
    let path = |name: &str| directory.path().join(name);
    let ring = Ring::new();
    foreign_ring(&ring);
    let name = ["--ring", ring.name()];
    let stdout = |user: &str, more: &[&str]| {
        run(as_user(user, &path("aw-stdout"), &[&name[..], &["--once"], more].concat()))
    };
    for user in ["0", ANOTHER] {
        let finished =
            stdout(user, &[]).refused("aw-stdout", &[ring.name(), "user id 65534", "--owner"]);
        assert_eq!(finished.stdout, "");
        stdout(user, &["--owner", "60002"]).refused("aw-stdout", &["user id 65534"]);
        assert_eq!(stdout(user, &["--owner", "65534"]).ok().stdout, numbered_lines(1..4));
        let stats = as_user(user, &path("collector"), &[&name[..], &["--stats"]].concat());
        run(stats).refused("collector", &["user id 65534", "-u"]);
        let stats =
            as_user(user, &path("collector"), &[&name[..], &["--stats", "-u", "65534"]].concat());
        assert!(run(stats).ok().stdout.contains("seen"));
    }
    assert_eq!(stdout("65534", &[]).ok().stdout, numbered_lines(1..4));

    // The collector does not write to it either, and reports how to remove it; root may.
    let before = fs::read(ring.path()).unwrap();
    let collector =
        |user: &str, more: &[&str]| as_user(user, &path("collector"), &[&name[..], more].concat());
    run_with(collector(ANOTHER, &["-q", "--read", "-"]), &numbered_capture(4..5))
        .refused("collector", &["user id 65534", "--remove"]);
    run(collector(ANOTHER, &["--remove"])).refused("collector", &["user id 65534"]);
    run(collector(ANOTHER, &["--claim"])).refused("collector", &["--claim", "run it as root"]);
    assert!(fs::read(ring.path()).unwrap() == before);
    run(program("collector", &[&name[..], &["--remove"]].concat())).ok();
    assert_eq!(ring.files(), Vec::<std::path::PathBuf>::new());
}

/// A lock of another user does not hide the message that names it.
#[test]
fn a_lock_of_another_user_is_named() {
    if !is_root() {
        return;
    }
    let directory = public_copy(&["collector"]);
    let ring = Ring::new();
    let lock = format!("{}.lock", ring.path().display());
    fs::write(&lock, "").unwrap();
    chown(&lock, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&lock, Permissions::from_mode(0o600)).unwrap();
    let collector = directory.path().join("collector");
    let command = as_user(ANOTHER, &collector, &["--ring", ring.name(), "-q", "--read", "-"]);
    run_with(command, &numbered_capture(1..2)).refused("collector", &[".lock", "user id 65534"]);
}

/// No file that another user put in the place of the ring, its lock or its successor refuses the start of a collector that
/// root starts; nor, after --claim, of one that another user starts.
#[test]
fn a_squatted_name_refuses_no_start() {
    if !is_root() {
        return;
    }
    let directory = public_copy(&["collector"]);
    let own = |path: &Path| std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    let target = tempfile::NamedTempFile::new().unwrap();
    for kind in ["file", "link", "directory", "ring"] {
        for claimed in [false, true] {
            let ring = Ring::new();
            if kind == "ring" {
                foreign_ring(&ring);
            }
            for suffix in ["", ".lock", ".new"] {
                let path = std::path::PathBuf::from(format!("{}{suffix}", ring.path().display()));
                match kind {
                    "file" => fs::write(&path, "theirs").unwrap(),
                    "link" => symlink(target.path(), &path).unwrap(),
                    "directory" => {
                        fs::create_dir(&path).unwrap();
                        fs::write(path.join("theirs"), "").unwrap();
                    }
                    _ => continue,
                }
                own(&path);
            }
            let finished = match claimed {
                false => collect(&ring, &numbered_capture(1..4), &["-q", "-u", ANOTHER]).ok(),
                true => {
                    let name = ["--ring", ring.name(), "-q"];
                    let claim = [&name[..], &["--claim", "-u", ANOTHER]].concat();
                    let claim = run(program("collector", &claim)).ok();
                    let start = [&name[..], &["--read", "-"]].concat();
                    let start = as_user(ANOTHER, &directory.path().join("collector"), &start);
                    run_with(start, &numbered_capture(1..4)).ok();
                    claim
                }
            };
            let text = &finished.stderr;
            assert!(text.contains("of user id 65534") && text.contains(ring.name()), "{text}");
            assert_eq!(ring.path().metadata().unwrap().uid().to_string(), ANOTHER);
            let held = run(stdout_of(&ring, &["--once", "--owner", ANOTHER])).ok().stdout;
            assert_eq!(held, numbered_lines(1..4), "{kind}");
            // The next start finds its own files and removes nothing.
            let next = collect(&ring, &numbered_capture(4..5), &["-q", "-u", ANOTHER]).ok();
            assert!(!next.stderr.contains("removed"), "{kind}: {}", next.stderr);
            for left in ring.files().iter().filter(|path| path.is_dir()) {
                fs::remove_dir_all(left).unwrap();
            }
        }
    }
    assert_eq!(target.path().metadata().unwrap().len(), 0);
    assert_eq!(target.path().metadata().unwrap().uid(), 0, "the target of a link is not touched");
}

/// A collector that runs as a user whose rings outputs trust keeps its ring: a second one is refused, also if root starts it.
/// One of any other user is a squatter, running or not.
#[test]
fn the_ring_of_a_running_collector_is_not_claimed() {
    if !is_root() {
        return;
    }
    let directory = public_copy(&["collector"]);
    let collector = directory.path().join("collector");
    let known = fs::read_to_string("/etc/passwd").unwrap();
    let others = known.lines().filter(|line| !line.starts_with("addrwatch:"));
    let user = format!("addrwatch:x:{ANOTHER}:{ANOTHER}::/nonexistent:/bin/false");
    let users = directory.path().join("passwd");
    fs::write(&users, others.chain([&*user, ""]).collect::<Vec<_>>().join("\n")).unwrap();
    let with_user = |arguments: &[&str]| {
        let script = "mount --bind \"$1\" /etc/passwd; shift; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", script, "sh"]).arg(&users);
        command.arg(&collector).args(arguments);
        command
    };
    let ring = Ring::new();
    let read = ["--ring", ring.name(), "-q", "--read", "-"];
    let mut running = Run::start(as_user(ANOTHER, &collector, &read));
    let mut input = running.stdin.take().unwrap();
    input.write_all(&numbered_capture(1..4)).unwrap();
    running.wait_until("its events are there", || {
        let held = run(stdout_of(&ring, &["--once", "--owner", ANOTHER]));
        held.status.success() && held.stdout == numbered_lines(1..4)
    });
    let files = || ring.files().iter().map(|path| path.metadata().unwrap().ino()).collect();
    let before: Vec<u64> = files();
    for user in ["root", "65534"] {
        let process = format!("process {}", running.id());
        let why = ["reserve ring", "in use by another collector", &process];
        let start = with_user(&[&read[..], &["-u", user]].concat());
        run_with(start, &numbered_capture(4..5)).refused("collector", &why);
        let claim = with_user(&["--ring", ring.name(), "--claim", "-u", user]);
        run(claim).refused("collector", &why);
        assert_eq!(files(), before);
    }
    // Its own unit claims the name again and again.
    run(with_user(&["--ring", ring.name(), "--claim", "-u", "addrwatch"])).ok();
    assert_eq!(files(), before);
    // No user of that id is trusted here.
    let claim = run(program("collector", &["--ring", ring.name(), "--claim", "-u", "root"])).ok();
    assert!(claim.stderr.contains(&format!("of user id {ANOTHER}")), "{}", claim.stderr);
    assert_ne!(files(), before);
    drop(input);
    running.kill();
    // What one left that runs no more is removed.
    let ring = Ring::new();
    let name = ["--ring", ring.name()];
    let start = as_user(ANOTHER, &collector, &[&name[..], &["-q", "--read", "-"]].concat());
    run_with(start, &numbered_capture(1..4)).ok();
    let claim = run(with_user(&[&name[..], &["--claim", "-u", "65534"]].concat())).ok();
    assert!(claim.stderr.contains(&format!("of user id {ANOTHER}")), "{}", claim.stderr);
}

/// An output that starts while the name is reserved, or while the ring is cut, waits for the collector as for a missing ring.
#[test]
fn an_output_waits_for_a_ring_that_is_only_reserved() {
    if !is_root() {
        return;
    }
    for cut in [None, Some(0), Some(4096), Some(69_632)] {
        let ring = Ring::new();
        match cut {
            None => {
                foreign_ring(&ring);
                run(program("collector", &["--ring", ring.name(), "--claim", "-u", "root"])).ok();
                assert_eq!(ring.path().metadata().unwrap().len(), 0);
            }
            Some(length) => {
                publish(&ring, 1..2);
                let file = fs::OpenOptions::new().write(true).open(ring.path()).unwrap();
                file.set_len(length).unwrap();
            }
        }
        let once = run(stdout_of(&ring, &["--once"]));
        once.refused("aw-stdout", &[ring.name(), "empty or truncated", "start the collector"]);
        let output = Run::start(stdout_of(&ring, &["--replay"]));
        output.stderr.wait_for("waiting for ring");
        publish(&ring, 4..7);
        output.stdout.wait_for_lines(3);
        assert_eq!(output.stop().ok().stdout, numbered_lines(4..7), "{cut:?}");
    }
}

/// Files that the collector writes as root, in directories that other users may write.
#[test]
fn links_and_files_of_others_are_not_written_to() {
    if !is_root() {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("victim"), "precious").unwrap();
    symlink(at("victim"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    fs::write(at("second"), "precious").unwrap();
    fs::hard_link(at("second"), at("second name")).unwrap();
    fs::write(at("foreign"), "theirs").unwrap();
    chown(at("foreign"), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(at("foreign"), Permissions::from_mode(0o666)).unwrap();
    for (name, why) in [
        ("link", "it is a link"),
        ("dangling", "it is a link"),
        ("second", "more names"),
        ("foreign", "user id 65534"),
    ] {
        for option in ["--pid", "--snap-malformed"] {
            let ring = Ring::new();
            let mut command = lan.here.command(binary("collector"));
            command
                .args(["-q", "--ring", ring.name(), "-u", "root", option])
                .arg(at(name))
                .arg("veth0");
            run(command).refused("collector", &[name, why]);
            assert!(ring.files().is_empty(), "{:?}", ring.files());
        }
    }
    for (name, content) in [("victim", "precious"), ("second", "precious"), ("foreign", "theirs")] {
        assert_eq!(fs::read_to_string(at(name)).unwrap(), content);
    }
    assert_eq!(at("foreign").metadata().unwrap().uid(), NOBODY);
    assert!(!at("nowhere").exists());
}

/// A ring that disappears while a reader waits, and is re-created by another user.
#[test]
fn a_reader_does_not_follow_to_the_ring_of_another_user() {
    if !is_root() {
        return;
    }
    let ring = Ring::new();
    publish(&ring, 1..4);
    let reader = aw_tests::rig::Run::start(stdout_of(&ring, &["--replay"]));
    reader.stdout.wait_for_lines(3);
    let other = Ring::new();
    foreign_ring(&other);
    fs::rename(other.path(), ring.path()).unwrap();
    let finished = reader.finish();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("user id 65534"), "{}", finished.stderr);
    assert_eq!(finished.stdout, numbered_lines(1..4));
}
