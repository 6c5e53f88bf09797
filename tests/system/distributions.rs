//! What a release offers, installed as its users would: the `.deb` with apt in a new Debian 12 and a new Debian 13, and the
//! `.rpm` and the tar, which have the same files.
#![forbid(unsafe_code)]

use aw_tests::debian::{Debian, packaged};
use aw_tests::feed::{FrameSender, numbered_capture};
use aw_tests::lan::Lan;
use aw_tests::rig::{program_at, run, skip};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{Builder, scope};

const APT: &str = "export DEBIAN_FRONTEND=noninteractive; apt-get -qy --no-install-recommends";

/// What it prints last at the first installation: three lines, at the end of which stands a command or a file.
const NEXT: [&str; 3] = [
    "addrwatch-rs is installed, and nothing runs yet. Next",
    "1. start it, now and at each boot: systemctl enable --now addrwatch.target addrwatch-collector@eth0 aw-sqlite",
    "2. after a minute: aw-query devices; the manual: ",
];

/// The same two files on both, at the same time.
#[test]
fn debian_12_and_13() {
    let directory = tempfile::tempdir().unwrap();
    let versions = ["0.1.0", "0.1.1"];
    let built =
        versions.map(|version| (version, packaged("deb", directory.path(), version, "none")));
    scope(|scope| {
        for suite in ["bookworm", "trixie"] {
            let built = &built;
            let named = Builder::new().name(suite.into());
            named.spawn_scoped(scope, move || whole_life(suite, built)).unwrap();
        }
    });
}

fn whole_life(suite: &str, built: &[(&str, PathBuf); 2]) {
    let Some(debian) = Debian::minimal(suite) else { return };
    for (version, built) in built {
        fs::copy(built, debian.path(&format!("root/{version}.deb"))).unwrap();
    }
    assert!(!debian.path("usr/bin/systemd-sysusers").exists());

    // It brings what it depends on.
    let installed = debian.sh(&format!("{APT} install /root/0.1.0.deb")).ok().stdout;
    assert_eq!(last_words(&installed), 1, "{installed}");
    let released = fs::read_to_string(debian.path("etc/os-release")).unwrap();
    assert!(released.contains(suite), "{released}");
    let mut enabled = debian.ours();
    enabled.retain(|path| path.starts_with("/etc/systemd/"));
    assert_eq!(enabled, [""; 0], "nothing is enabled unasked");
    verify_units(&debian, "/usr");
    captures(&debian);
    setup_says_where_rustup_is(&debian, suite);

    // Upgraded: what its owner changed stays, and says no longer what comes first.
    let upgraded = debian.sh(&format!(
        "echo '# mine' >>/etc/addrwatch/alert.toml; {APT} install /root/0.1.1.deb; dpkg-query -W addrwatch-rs"
    ));
    let upgraded = upgraded.ok().stdout;
    assert!(upgraded.ends_with("addrwatch-rs\t0.1.1\n"), "{upgraded}");
    assert_eq!(last_words(&upgraded), 0, "{upgraded}");
    assert!(
        fs::read_to_string(debian.path("etc/addrwatch/alert.toml")).unwrap().ends_with("# mine\n")
    );
    captures(&debian);

    debian.sh(&format!("{APT} remove addrwatch-rs")).ok();
    assert!(!debian.path("usr/bin/collector").exists());
    assert!(debian.path("var/lib/addrwatch/aw-stdout").exists(), "removed is not purged");
    // Installed again, it says again what comes first.
    let again = debian.sh(&format!("{APT} install /root/0.1.1.deb")).ok().stdout;
    assert_eq!(last_words(&again), 1, "{again}");
    fs::create_dir_all(debian.path("run/addrwatch/collectors")).unwrap();
    debian.sh(&format!("{APT} purge addrwatch-rs")).ok();
    let mut left = debian.ours();
    left.retain(|path| !path.starts_with("/var/lib/apt/") && !path.starts_with("/var/log/apt/"));
    assert_eq!(left, [""; 0]);
    assert!(!debian.path("etc/addrwatch").exists());
}

/// With the cargo of Debian 13, which is too old, and with none.
fn setup_says_where_rustup_is(debian: &Debian, suite: &str) {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    fs::create_dir_all(debian.path("opt/source/contrib")).unwrap();
    for name in ["contrib/setup.sh", "Cargo.toml"] {
        fs::copy(format!("{ROOT}/{name}"), debian.path(&format!("opt/source/{name}"))).unwrap();
    }
    let advice = match suite {
        "trixie" => "run: apt install rustup && rustup default stable", // as root
        _ => "with rustup, from https://rustup.rs",
    };
    let refused = |script: &str, says: &str| {
        let refused =
            debian.sh(&format!("{script}; ! /opt/source/contrib/setup.sh build")).ok().stderr;
        assert!(refused.contains(says) && refused.contains(advice), "{suite}: {refused}");
    };
    refused(":", "no Rust toolchain");
    let old = "printf '#!/bin/sh\\necho cargo 1.85.0\\n' >/usr/bin/cargo; chmod 755 /usr/bin/cargo";
    refused(old, "/usr/bin/cargo is version 1.85.0, but 1.");

    // rustup is there, too, but not this cargo's; then it is, by another name.
    let rustup =
        "mkdir -p /opt/rust; cp /usr/bin/cargo /opt/rust/rustup; export PATH=$PATH:/opt/rust";
    let says = |script: &str, says: &str| {
        let refused =
            debian.sh(&format!("{rustup}; {script}; ! /opt/source/contrib/setup.sh build"));
        let refused = refused.ok().stderr;
        assert!(refused.contains(says), "{suite}: {refused}");
    };
    says(":", "remove it, or put /opt/rust before /usr/bin in PATH");
    says("ln /opt/rust/rustup /opt/rust/cargo; rm /usr/bin/cargo", "needed: run rustup update");

    // What makes a bill of materials is there before a package is built: python3-minimal has no json.
    let minimal = "printf '#!/bin/sh\\necho cargo 1.999.0\\n' >/opt/rust/cargo
        printf '#!/bin/sh\\nexit 1\\n' >/usr/local/bin/apt-get; cp /usr/local/bin/apt-get /usr/local/bin/python3
        chmod 755 /usr/local/bin/*; export PATH=$PATH:/opt/rust
        for kind in deb rpm tar oci; do ! /opt/source/contrib/setup.sh $kind 2>&1 | grep '(as root: apt-get install .*python3' || echo $kind needs it; done
        rm /usr/local/bin/python3 /usr/local/bin/apt-get";
    let needed = debian.sh(minimal).ok().stdout;
    assert_eq!(needed.matches(" needs it").count(), 4, "{needed}");
}

/// How often the three lines stand there, one after the other.
fn last_words(output: &str) -> usize {
    let lines: Vec<_> = output.lines().collect();
    let ours = |lines: &&[&str]| lines.iter().zip(NEXT).all(|(line, next)| line.starts_with(next));
    let found = lines.windows(NEXT.len()).filter(ours).count();
    assert_eq!(lines.iter().filter(|line| line.starts_with(NEXT[0])).count(), found, "{output}");
    found
}

/// systemd finds nothing wrong in any unit.
fn verify_units(debian: &Debian, prefix: &str) {
    let verified = debian.sh(&format!(
        "cd {prefix}/lib/systemd/system; systemd-analyze verify --man=no addrwatch.target addrwatch-collector@eth0.service aw-*.service"
    ));
    let verified = verified.ok();
    assert_eq!(verified.stderr.trim(), "", "{verified:#?}");
}

/// The installed collector captures from an interface, and the installed aw-stdout prints what it captured, as the users of their
/// units.
fn captures(debian: &Debian) {
    let Some(lan) = Lan::new() else { return };
    let running = debian.start(
        &lan.here,
        "collector --quiet veth0 &
         runuser -u aw-stdout -g addrwatch -- aw-stdout --state-dir /var/lib/addrwatch/aw-stdout --from oldest",
    );
    running.stderr.wait_for("listening on veth0");
    FrameSender::on(&lan.there, "veth1").send(1..11);
    running.stdout.wait_for_lines(10);
    assert!(running.stdout.text().contains(" 10.0.0.10 "), "{}", running.stdout.text());
    running.kill();
}

/// The files of the .deb, except for what Debian alone asks for: those of contrib/stage.sh.
fn files_of_the_deb(directory: &Path) -> Vec<String> {
    let built = packaged("deb", directory, "0.1.0", "none");
    let mut files = listed("dpkg-deb", &["--contents", text(&built)]);
    assert!(files.len() > 80, "{}", files.len());
    let debian_only = [
        "/share/doc/addrwatch-rs/changelog.gz",
        "/share/doc/addrwatch-rs/NEWS.Debian.gz",
        "/share/lintian/overrides/addrwatch-rs",
    ];
    let all = files.len();
    files.retain(|name| !debian_only.iter().any(|file| name.ends_with(file)));
    assert_eq!(all - files.len(), debian_only.len());
    files
}

/// What a program lists after the permissions, without directories, sorted.
fn listed(program: &str, arguments: &[&str]) -> Vec<String> {
    let listed = run(program_at(program.into(), arguments)).ok().stdout;
    let files = listed.lines().filter(|line| !line.starts_with('d'));
    let mut files: Vec<_> = files.map(|line| file_name(line).to_owned()).collect();
    files.sort();
    files
}

/// The last word of a line of a listing, without `.` before it; of a link, its name.
fn file_name(line: &str) -> &str {
    let line = line.split(" -> ").next().unwrap();
    let name = line.rsplit(' ').next().unwrap();
    name.strip_prefix('.').unwrap_or(name)
}

/// The files of the .deb; installed, upgraded and removed by rpm, in a Debian in whose libraries libpcap has also the name that
/// it has elsewhere.
#[test]
fn rpm_package() {
    if Command::new("rpmbuild").arg("--version").output().is_err() {
        return skip("there is no rpmbuild here");
    }
    let directory = tempfile::tempdir().unwrap();
    let built = |version| packaged("rpm", directory.path(), version, "none");
    let (old, new) = (built("0.1.0"), built("0.1.1"));
    let deb = files_of_the_deb(directory.path());
    let format = "[%{FILEMODES:perms} %{FILENAMES}\n]";
    assert_eq!(listed("rpm", &["-qp", "--queryformat", format, text(&old)]), deb);
    let kept = listed("rpm", &["-qp", "--configfiles", text(&old)]);
    let configuration: Vec<_> = deb.iter().filter(|name| name.starts_with("/etc/")).collect();
    assert_eq!(kept.iter().collect::<Vec<_>>(), configuration);
    // By the name that libpcap has wherever .rpm is used.
    let needed = run(program_at("rpm".into(), &["-qp", "--requires", text(&old)])).ok().stdout;
    assert!(needed.contains("libpcap.so.1") && !needed.contains("libpcap.so.0.8"), "{needed}");

    let Some(root) = Debian::new() else { return };
    root.sh("ln -s libpcap.so.0.8 /usr/lib/$(uname -m)-linux-gnu/libpcap.so.1").ok();
    // What it requires is there, but no rpm put it there.
    let rpm = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        let script = "mount -t proc none \"$0/proc\"; exec rpm --root \"$0\" --dbpath /var/lib/rpm --nodeps \"$@\"";
        command.args(["--mount", "sh", "-ec", script, text(&root.path(""))]).args(arguments);
        let ran = run(command).ok();
        assert!(!ran.stderr.contains("scriptlet failed"), "{ran:#?}");
        ran.stdout
    };
    assert_eq!(last_words(&rpm(&["--install", text(&old)])), 1);
    verify_units(&root, "/usr");
    captures(&root);
    root.sh("echo '# mine' >>/etc/addrwatch/alert.toml").ok();
    assert_eq!(last_words(&rpm(&["--upgrade", text(&new)])), 0);
    assert!(
        fs::read_to_string(root.path("etc/addrwatch/alert.toml")).unwrap().ends_with("# mine\n")
    );
    captures(&root);
    root.sh("systemctl --quiet enable addrwatch.target addrwatch-collector@eth0 aw-sqlite").ok();
    rpm(&["--erase", "addrwatch-rs"]);
    let mut left = root.ours();
    left.retain(|path| {
        !path.starts_with("/var/lib/addrwatch") && !path.starts_with("/var/log/addrwatch")
    });
    assert_eq!(left, ["/etc/addrwatch"], "the changed file and what was recorded");
}

/// The files of the .deb; run where it was unpacked, installed, upgraded and removed.
#[test]
fn tar() {
    let Some(debian) = Debian::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let tar = packaged("tar", directory.path(), "0.1.0", "none");
    let moved = |name: &String| {
        let name = name.strip_prefix("/usr").unwrap_or(name);
        name.replace("zsh/vendor-completions", "zsh/site-functions") // where zsh searches in /usr/local
    };
    let mut expected: Vec<_> = files_of_the_deb(directory.path()).iter().map(moved).collect();
    expected.extend(["/install.sh", "/lib/addrwatch-rs/libpcap.so.1"].map(String::from));
    expected.sort();
    let mut inside = listed("tar", &["-tvzf", text(&tar)]);
    inside.iter_mut().for_each(|name| *name = name.split_off(name.find('/').unwrap()));
    inside.sort();
    assert_eq!(inside, expected);

    fs::copy(&tar, debian.path("tmp/aw.tar.gz")).unwrap();
    // By another user, whose files others cannot read.
    let unpack = "install -d -o games -m 755 /opt/aw; chmod 644 /tmp/aw.tar.gz
        runuser -u games -- sh -ec 'umask 077; tar -C /opt/aw --strip-components=1 -xf /tmp/aw.tar.gz'";
    debian.sh(unpack).ok();
    fs::write(debian.path("tmp/some.pcap"), numbered_capture(1..11)).unwrap();
    let ran = debian.sh(
        "cd /opt/aw/bin; install -d -o games /tmp/state; runuser -u games -- sh -ec '
         ./collector -q --read /tmp/some.pcap --ring /try; ./aw-sqlite --ring /try --once --state-dir /tmp/state
         ./aw-query --database /tmp/state/addrwatch.db --format csv devices'; rm -r /dev/shm/try* /tmp/state",
    );
    assert_eq!(ran.ok().stdout.lines().count(), 11);

    let installed = debian.sh("/opt/aw/install.sh").ok().stdout;
    assert_eq!(last_words(&installed), 1, "{installed}");
    // All is root's, and all users can use it.
    let found = |tests: &str| debian.sh(&format!("find /usr/local /etc {tests}")).ok().stdout;
    assert_eq!(found("-user games -o -group games"), "");
    assert_eq!(found("! -type l -perm /022"), "/etc/addrwatch/lists/names\n"); // the group writes names
    assert_eq!(found("-path '/usr/local/*' ! -perm -444"), "");
    assert_eq!(found("-path '/usr/local/bin/?*' ! -perm 755"), "");
    assert_eq!(found("-path '/etc/addrwatch/*' -perm -004 -name mysql.cnf"), "");
    let programs = "/usr/local/share/doc/addrwatch-rs/examples";
    let elsewhere = format!("! grep -rE '/usr/bin/(collector|aw-|\\$)' {programs}");
    debian.sh(&elsewhere).ok();
    verify_units(&debian, "/usr/local");
    let unit = debian.path("usr/local/lib/systemd/system/aw-stdout.service");
    assert!(fs::read_to_string(unit).unwrap().contains("ExecStart=/usr/local/bin/aw-stdout "));
    captures(&debian);
    // Again, over a running one; what its owner changed stays, and what this version dropped goes.
    let dropped = "/opt/aw/share/dropped/file /opt/aw/lib/systemd/system/aw-dropped.service";
    debian.sh(&format!(
        "mkdir /opt/aw/share/dropped; touch /opt/aw/share/dropped/file; cp /opt/aw/lib/systemd/system/aw-sqlite.service /opt/aw/lib/systemd/system/aw-dropped.service
         /opt/aw/install.sh; systemctl --quiet enable aw-dropped aw-sqlite; rm {dropped}"
    )).ok();
    let upgrade = debian
        .sh("aw-stdout & echo '# mine' >>/etc/addrwatch/alert.toml; /opt/aw/install.sh; kill $!");
    let upgrade = upgrade.ok().stdout;
    assert_eq!(
        upgrade,
        "addrwatch-rs is upgraded; what runs still runs the old programs: restart it\n"
    );
    assert!(!debian.path("usr/local/share/dropped").exists());
    let wanted = || {
        let wants = debian.path("etc/systemd/system/addrwatch.target.wants");
        let names = fs::read_dir(wants).into_iter().flatten();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(wanted(), ["aw-sqlite.service"]);
    assert!(
        fs::read_to_string(debian.path("etc/addrwatch/alert.toml")).unwrap().ends_with("# mine\n")
    );
    // No link to a unit that is gone remains.
    debian.sh("systemctl --quiet enable addrwatch.target addrwatch-collector@eth0 addrwatch-collector@br-lan.7").ok();
    assert_eq!(wanted().len(), 3);
    debian.sh("/opt/aw/install.sh --remove; rm -r /opt/aw /tmp/aw.tar.gz").ok();
    assert_eq!(wanted(), [""; 0]);
    let mut left = debian.ours();
    left.sort();
    left.retain(|path| {
        !path.starts_with("/var/lib/addrwatch") && !path.starts_with("/var/log/addrwatch")
    });
    assert_eq!(
        left,
        ["/etc/addrwatch", "/etc/logrotate.d/addrwatch"],
        "settings and what was recorded"
    );
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
