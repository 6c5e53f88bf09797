//! The Debian package: built from this build's programs, judged by lintian, and installed, upgraded, removed and purged in a
//! Debian 12 that has never seen this project, where its programs hear a replay and keep a history.
#![forbid(unsafe_code)]

use aw_tests::feed::numbered_capture;
use aw_tests::rig::{Finished, binary, program_at, run, skip};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// A clean Debian 12, made once: beside the build, for it takes a minute.
const CLEAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debian/bookworm.tar");

fn build(out: &Path, version: &str) -> PathBuf {
    let makefile = fs::read_to_string(format!("{ROOT}/Makefile")).unwrap();
    let line = makefile.lines().find_map(|line| line.strip_prefix("PROGRAMS = ")).unwrap();
    let mut command = Command::new(format!("{ROOT}/contrib/deb/build.sh"));
    command.arg(binary("collector").parent().unwrap()).arg(out).args(line.split(' '));
    let built = run({
        command.env("VERSION", version).env("COMPRESSION", "gzip");
        command
    });
    built.ok().stdout.trim().into()
}

fn succeed(name: &str, arguments: &[&str]) -> String {
    run(program_at(name.into(), arguments)).ok().stdout
}

/// A root directory of its own, gone with the test.
struct Clean(tempfile::TempDir);

impl Clean {
    fn new() -> Option<Clean> {
        if !rustix::process::geteuid().is_root()
            || Command::new("debootstrap").arg("--version").output().is_err()
        {
            skip("only root can make a clean Debian, with debootstrap");
            return None;
        }
        if !Path::new(CLEAN).exists() {
            let made = tempfile::tempdir().unwrap();
            let path = made.path().join("root");
            let wanted = "--include=systemd-standalone-sysusers,systemd-standalone-tmpfiles,libpcap0.8,logrotate";
            // In a process of its own session's mounts, so that none stays behind.
            let arguments = [
                "-m",
                "debootstrap",
                "--variant=minbase",
                wanted,
                "bookworm",
                path.to_str().unwrap(),
            ];
            let finished = Command::new("unshare").args(arguments).output().unwrap();
            if !finished.status.success() {
                let text = String::from_utf8_lossy(&finished.stdout);
                skip(&format!(
                    "debootstrap could not make a Debian: {}",
                    text.lines().last().unwrap_or_default()
                ));
                return None;
            }
            fs::create_dir_all(Path::new(CLEAN).parent().unwrap()).unwrap();
            let new = format!("{CLEAN}.new");
            succeed(
                "tar",
                &[
                    "-C",
                    path.to_str().unwrap(),
                    "--one-file-system",
                    "--exclude=./var/cache/apt/archives/*.deb",
                    "-cf",
                    &new,
                    ".",
                ],
            );
            fs::rename(new, CLEAN).unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        succeed("tar", &["-C", directory.path().to_str().unwrap(), "-xpf", CLEAN]);
        Some(Clean(directory))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs it there, with a /dev/shm and a /proc of its own, which last as long as `script`.
    fn sh(&self, script: &str) -> Finished {
        let root = self.0.path().display();
        let mounts = format!(
            "mount -t proc none {root}/proc; mkdir -p {root}/dev/shm; mount -t tmpfs -o mode=1777 none {root}/dev/shm; exec chroot {root} /bin/sh -ec \"$1\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--net", "sh", "-ec", &mounts, "sh", script]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run(command)
    }

    fn files(&self) -> Vec<String> {
        let found = succeed(
            "find",
            &[
                self.0.path().to_str().unwrap(),
                "-xdev",
                "(",
                "-name",
                "*addrwatch*",
                "-o",
                "-name",
                "aw-*",
                ")",
            ],
        );
        found.lines().map(String::from).collect()
    }
}

#[test]
fn lintian() {
    if Command::new("lintian").arg("--version").output().is_err() {
        return skip("there is no lintian here");
    }
    let directory = tempfile::tempdir().unwrap();
    let package = build(directory.path(), "0.1.0");
    let judged =
        run(program_at("lintian".into(), &["--fail-on", "error", package.to_str().unwrap()]));
    assert!(!judged.stdout.lines().any(|line| line.starts_with("E: ")), "{}", judged.stdout);
    judged.ok();
}

#[test]
fn a_clean_debian() {
    let Some(clean) = Clean::new() else { return };
    assert_eq!(clean.files(), [""; 0]);
    for version in ["0.1.0", "0.1.1"] {
        let package = build(&clean.path("tmp"), version);
        fs::rename(package, clean.path("tmp").join(format!("{version}.deb"))).unwrap();
    }
    fs::write(clean.path("tmp/first.pcap"), numbered_capture(1..11)).unwrap();
    fs::write(clean.path("tmp/second.pcap"), numbered_capture(11..21)).unwrap();
    let installed = clean.sh("dpkg -i /tmp/0.1.0.deb && getent passwd aw-sqlite addrwatch && ps ax 2>/dev/null | grep -c '[a]w-' || true");
    let text = installed.ok().stdout;
    assert!(text.contains("aw-sqlite:") && text.contains("addrwatch:"), "{text}");
    let enabled = fs::read_dir(clean.path("etc/systemd/system")).map_or(0, |found| {
        found
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().contains("addrwatch"))
            .count()
    });
    assert_eq!(enabled, 0, "nothing is enabled unasked");

    // As its units would run it: each its own user, of the group addrwatch. Between the two runs the package is upgraded,
    // and the configuration was changed by its owner.
    let hear = "runuser -u addrwatch -- collector -q --read";
    let store = "install -d -o aw-sqlite -g addrwatch -m 750 /var/lib/addrwatch/aw-sqlite; runuser -u aw-sqlite -g addrwatch -- aw-sqlite --once --state-dir /var/lib/addrwatch/aw-sqlite";
    let ask = "runuser -u aw-sqlite -g addrwatch -- aw-query --database /var/lib/addrwatch/aw-sqlite/addrwatch.db --format csv devices";
    let upgraded = clean.sh(&format!(
        "{hear} /tmp/first.pcap; {store}; echo '# mine' >>/etc/addrwatch/macupd_tracker.conf
         dpkg -i /tmp/0.1.1.deb </dev/null >&2; {hear} /tmp/second.pcap; {store}; {ask}"
    ));
    let upgraded = upgraded.ok();
    assert_eq!(upgraded.stdout.lines().count(), 21, "{upgraded:#?}");
    // Nothing twice and nothing left out: the second run delivered what the first had not.
    let ran: Vec<_> =
        upgraded.stderr.lines().filter(|line| line.contains("/addrwatch: ")).collect();
    assert_eq!(ran.iter().filter(|line| line.contains("10 events, 0 lost")).count(), 2, "{ran:#?}");
    let changed = fs::read_to_string(clean.path("etc/addrwatch/macupd_tracker.conf")).unwrap();
    assert!(changed.ends_with("# mine\n"));
    // logrotate takes its configuration.
    clean.sh("logrotate --debug /etc/logrotate.d/addrwatch").ok();

    clean.sh("dpkg -r addrwatch-rs").ok();
    assert!(
        clean.path("var/lib/addrwatch/aw-sqlite/addrwatch.db").exists(),
        "removed is not purged"
    );
    assert!(!clean.path("usr/bin/collector").exists());
    clean.sh("dpkg -P addrwatch-rs").ok();
    let left = clean.files();
    let info = |path: &String| path.contains("/var/lib/dpkg/");
    assert_eq!(left.iter().filter(|path| !info(path)).count(), 0, "{left:#?}");
    assert!(!clean.path("etc/addrwatch").exists());
}
