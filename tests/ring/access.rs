//! Permissions of the segment: its group may read it, and only its owner may write, lock or replace it.
//! Needs root, to run programs as other users.
#![forbid(unsafe_code)]

use aw_tests::collect::{collect, held, stdout_of};
use aw_tests::feed::{numbered_capture, reading_collector};
use aw_tests::rig::{Run, program, public_copy, run, run_with, skip};
use aw_tests::ring::Ring;
use aw_tests::sample;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A group without members.
const GROUP: &str = "60123";
/// The user `nobody` of Debian.
const NOBODY: &str = "65534";

/// A command as the user `nobody`, in this group only.
fn as_user_nobody(group: &str, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", group, "--clear-groups"]);
    command.arg(program.as_ref()).args(arguments);
    command
}

/// A ring of `GROUP` with the sample in it; none without root.
fn shared_ring() -> Option<Ring> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can become another user");
        return None;
    }
    let ring = Ring::new();
    collect(&ring, &sample::capture(), &["-q", "--group", GROUP]).ok();
    Some(ring)
}

#[test]
fn the_segment_is_its_groups_to_read() {
    let Some(ring) = shared_ring() else { return };
    let metadata = ring.path().metadata().unwrap();
    assert_eq!(format!("{:o}", metadata.mode() & 0o7777), "640");
    assert_eq!((metadata.uid(), metadata.gid().to_string()), (0, GROUP.to_owned()));
    for file in ring.files().iter().filter(|file| **file != ring.path()) {
        let mode = file.metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", file.display());
    }
    // With any umask.
    for umask in ["000", "077"] {
        let ring = Ring::new();
        let mut command = Command::new("sh");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(aw_tests::rig::binary("collector"));
        command.args(["--ring", ring.name(), "--read", "-", "-q"]);
        run_with(command, &sample::capture()).ok();
        assert_eq!(
            format!("{:o}", ring.path().metadata().unwrap().mode() & 0o7777),
            "640",
            "umask {umask}"
        );
    }
}

#[test]
fn a_member_of_the_group_reads() {
    let Some(ring) = shared_ring() else { return };
    let directory = public_copy(&["aw-stdout"]);
    let stdout = directory.path().join("aw-stdout");
    let arguments = ["--ring", ring.name(), "--once"];
    assert_eq!(run(as_user_nobody(GROUP, &stdout, &arguments)).ok().stdout, sample::text("pcap"));
    // A supplementary group suffices.
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--groups", GROUP])
        .arg(&stdout)
        .args(arguments);
    assert_eq!(run(command).ok().stdout, sample::text("pcap"));
}

/// While it runs: mapped shared and read-only, open read-only, and new events still arrive.
#[test]
fn a_running_reader_has_no_way_to_write() {
    let Some(ring) = shared_ring() else { return };
    let directory = public_copy(&["aw-stdout"]);
    let arguments = ["--ring", ring.name(), "--replay"];
    let reader = Run::start(as_user_nobody(GROUP, directory.path().join("aw-stdout"), &arguments));
    reader.stdout.wait_for_lines(sample::accepted().len());

    let status = fs::read_to_string(format!("/proc/{}/status", reader.id())).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let segment = ring.path();
    let maps = fs::read_to_string(format!("/proc/{}/maps", reader.id())).unwrap();
    let ours: Vec<&str> =
        maps.lines().filter(|line| line.contains(segment.to_str().unwrap())).collect();
    assert!(!ours.is_empty(), "{maps}");
    for line in ours {
        assert_eq!(line.split_whitespace().nth(1), Some("r--s"), "{line}");
    }
    for entry in fs::read_dir(format!("/proc/{}/fd", reader.id())).unwrap() {
        let number = entry.unwrap().file_name().into_string().unwrap();
        let link = fs::read_link(format!("/proc/{}/fd/{number}", reader.id())).unwrap();
        if link == segment {
            let info =
                fs::read_to_string(format!("/proc/{}/fdinfo/{number}", reader.id())).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:\t")).unwrap();
            assert_eq!(u32::from_str_radix(flags, 8).unwrap() & 3, 0, "open for writing: {info}");
        }
    }

    collect(&ring, &numbered_capture(1..4), &["-q"]).ok();
    reader.stdout.wait_for_lines(sample::accepted().len() + 3);
    reader.stop().ok();
}

/// A member of the group may only read.
#[test]
fn a_member_of_the_group_cannot_write() {
    let Some(ring) = shared_ring() else { return };
    let path = ring.path();
    let before = fs::read(&path).unwrap();
    // `:` is a special builtin: if its redirection fails, the shell fails.
    let shell = |redirection: &str| format!(": {redirection}{}", path.display());
    run(as_user_nobody(GROUP, "/bin/sh", &["-c", &shell("<")])).ok();
    run({
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &shell("<>")]);
        command
    })
    .ok();
    for redirection in ["<>", ">", ">>"] {
        let finished = run(as_user_nobody(GROUP, "/bin/sh", &["-c", &shell(redirection)]));
        assert!(!finished.status.success(), "{redirection}: {finished:#?}");
        assert!(
            finished.stderr.to_lowercase().contains("permission denied"),
            "{redirection}: {finished:#?}"
        );
    }
    let text = path.to_str().unwrap();
    for words in
        [&["rm", "-f", text][..], &["mv", text, "/dev/shm/aw-test-stolen"], &["chmod", "666", text]]
    {
        let finished = run(as_user_nobody(GROUP, words[0], &words[1..]));
        assert!(!finished.status.success(), "{words:?}: {finished:#?}");
    }
    assert!(fs::read(&path).unwrap() == before);
}

/// A reader can take an advisory lock; that must not block the collector.
#[test]
fn a_reader_cannot_lock_the_collector_out() {
    let Some(ring) = shared_ring() else { return };
    let mut lockers = Vec::new();
    let mut taken = 0;
    for file in ring.files() {
        let arguments = ["-n", "-x", file.to_str().unwrap(), "sh", "-c", "echo locked; read line"];
        let locker = Run::start(as_user_nobody(GROUP, "flock", &arguments));
        if file == ring.path() {
            locker.stdout.wait_for("locked");
            taken += 1;
            lockers.push(locker);
        } else {
            let finished = locker.finish();
            assert!(!finished.status.success(), "{} can be locked by any user", file.display());
        }
    }
    assert_eq!(taken, 1);
    collect(&ring, &numbered_capture(1..4), &["-q"]).ok();
    assert_eq!(held(&ring).lines().count(), sample::accepted().len() + 3);
}

/// Outside the group: the message names what is refused, and the remedy.
#[test]
fn a_user_outside_the_group_gets_the_remedy() {
    let Some(ring) = shared_ring() else { return };
    let directory = public_copy(&["aw-stdout"]);
    for arguments in [&["--ring", ring.name(), "--once"][..], &["--ring", ring.name()]] {
        let finished = run(as_user_nobody(NOBODY, directory.path().join("aw-stdout"), arguments));
        let finished = finished.refused("aw-stdout", &[ring.name(), "ermission denied", "group"]);
        assert_eq!(finished.stdout, "");
    }
}

/// A replay needs no privileges, not even to create the ring.
#[test]
fn an_unprivileged_replay_creates_its_ring() {
    if shared_ring().is_none() {
        return;
    }
    let directory = public_copy(&["collector", "aw-stdout"]);
    let ring = Ring::new();
    let collector = directory.path().join("collector");
    let arguments = ["--ring", ring.name(), "--read", "-"];
    let finished =
        run_with(as_user_nobody(NOBODY, &collector, &arguments), &sample::capture()).ok();
    assert_eq!(finished.stdout, sample::text("pcap"));
    assert_eq!(ring.path().metadata().unwrap().uid().to_string(), NOBODY);
    let arguments = ["--ring", ring.name(), "--once"];
    assert_eq!(
        run(as_user_nobody(NOBODY, directory.path().join("aw-stdout"), &arguments)).ok().stdout,
        finished.stdout
    );

    // Only root can give it to a group without being a member.
    let other = Ring::new();
    let arguments = ["--ring", other.name(), "--read", "-", "--group", GROUP];
    run_with(as_user_nobody(NOBODY, &collector, &arguments), &sample::capture())
        .refused("collector", &["group", other.name()]);
}

/// Another user has created a ring that all users may write: root's collector does not publish into it.
#[test]
fn another_users_segment_is_not_trusted() {
    let Some(ring) = shared_ring() else { return };
    let squatted = Ring::new();
    fs::copy(ring.path(), squatted.path()).unwrap();
    fs::set_permissions(squatted.path(), Permissions::from_mode(0o666)).unwrap();
    std::os::unix::fs::chown(squatted.path(), Some(65534), Some(65534)).unwrap();
    let finished = collect(&squatted, &numbered_capture(1..3), &[]);
    let metadata = squatted.path().metadata().unwrap();
    match finished.status.code() {
        Some(0) => assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o640)),
        _ => {
            finished.refused("collector", &[squatted.name()]);
            assert!(
                fs::read(squatted.path()).unwrap() == fs::read(ring.path()).unwrap(),
                "it was written to"
            );
        }
    }
}

/// A ring that other users than its owner may write is not trusted by any reader.
#[test]
fn a_ring_that_others_may_write_is_not_read() {
    let Some(ring) = shared_ring() else { return };
    for mode in [0o646, 0o660] {
        fs::set_permissions(ring.path(), Permissions::from_mode(mode)).unwrap();
        let refused =
            run(stdout_of(&ring, &["--once"])).refused("aw-stdout", &[ring.name(), "write"]);
        assert_eq!(refused.stdout, "");
    }
    // The next start mends it.
    collect(&ring, &numbered_capture(1..2), &["-q", "--group", GROUP]).ok();
    assert_eq!(held(&ring).lines().count(), sample::accepted().len() + 1);
}

/// Symbolic links of other users in /dev/shm, which all users may write, are not followed.
#[test]
fn links_are_not_followed() {
    let Some(ring) = shared_ring() else { return };
    let names: Vec<String> = ring.files().iter().map(|path| suffix(path, &ring)).collect();
    for suffix in names.iter().map(String::as_str).chain([".new"]) {
        let ring = Ring::new();
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        let missing = directory.path().join("missing");
        fs::write(&victim, "precious").unwrap();
        for target in [&victim, &missing] {
            let link = format!("{}{suffix}", ring.path().display());
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
            let finished = run_with(reading_collector(&ring, &["-q"]), &numbered_capture(1..3));
            assert!(finished.status.code().is_some(), "{suffix:?}: {finished:#?}");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{suffix:?}");
            assert!(!missing.exists(), "{suffix:?}");
            run(program("collector", &["--ring", ring.name(), "--remove"]));
            assert!(victim.exists(), "{suffix:?}");
        }
    }
}

fn suffix(path: &Path, ring: &Ring) -> String {
    path.to_str().unwrap().strip_prefix(ring.path().to_str().unwrap()).unwrap().to_owned()
}
