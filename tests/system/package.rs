//! The Debian package: built from this build's programs, checked by lintian, and installed, upgraded, removed and purged in a
//! new Debian 12, where its programs replay a capture and store a history. `booted.rs` does the same
//! with that Debian's systemd and the services; this test also runs on machines that cannot boot one.
#![forbid(unsafe_code)]

use aw_tests::debian::{Debian, package};
use aw_tests::feed::numbered_capture;
use aw_tests::rig::{program_at, run, skip};
use std::fs;
use std::process::Command;

#[test]
fn lintian() {
    if Command::new("lintian").arg("--version").output().is_err() {
        return skip("there is no lintian here");
    }
    let directory = tempfile::tempdir().unwrap();
    let built = package(directory.path(), "0.1.0", "gzip");
    let judged =
        run(program_at("lintian".into(), &["--fail-on", "error", built.to_str().unwrap()]));
    assert!(!judged.stdout.lines().any(|line| line.starts_with("E: ")), "{}", judged.stdout);
    judged.ok();
}

#[test]
fn driven_by_hand() {
    let Some(clean) = Debian::new() else { return };
    assert_eq!(clean.ours(), [""; 0]);
    clean.package("0.1.0");
    clean.package("0.1.1");
    fs::write(clean.path("tmp/first.pcap"), numbered_capture(1..11)).unwrap();
    fs::write(clean.path("tmp/second.pcap"), numbered_capture(11..21)).unwrap();
    let installed = clean.sh("dpkg -i /root/0.1.0.deb && getent passwd aw-sqlite addrwatch");
    let text = installed.ok().stdout;
    assert!(text.contains("aw-sqlite:") && text.contains("addrwatch:"), "{text}");
    let mut enabled = clean.ours();
    enabled.retain(|path| path.starts_with("/etc/systemd/"));
    assert_eq!(enabled, [""; 0], "nothing is enabled unasked");

    // As its units would run it: one user per program, of the group addrwatch. Between the two runs the package is upgraded,
    // and its owner has changed the configuration.
    let replay = "runuser -u addrwatch -- collector -q --read";
    let store = "install -d -o aw-sqlite -g addrwatch -m 750 /var/lib/addrwatch/aw-sqlite; runuser -u aw-sqlite -g addrwatch -- aw-sqlite --once --state-dir /var/lib/addrwatch/aw-sqlite";
    let ask = "runuser -u aw-sqlite -g addrwatch -- aw-query --database /var/lib/addrwatch/aw-sqlite/addrwatch.db --format csv devices";
    let upgraded = clean.sh(&format!(
        "{replay} /tmp/first.pcap; {store}; echo '# mine' >>/etc/addrwatch/macupd_tracker.conf
         dpkg -i /root/0.1.1.deb </dev/null >&2; {replay} /tmp/second.pcap; {store}; {ask}"
    ));
    let upgraded = upgraded.ok();
    assert_eq!(upgraded.stdout.lines().count(), 21, "{upgraded:#?}");
    // No row is repeated or left out: the second run delivered what the first one had not.
    let ran: Vec<_> =
        upgraded.stderr.lines().filter(|line| line.contains("/addrwatch: ")).collect();
    assert_eq!(ran.iter().filter(|line| line.contains("10 events, 0 lost")).count(), 2, "{ran:#?}");
    let changed = fs::read_to_string(clean.path("etc/addrwatch/macupd_tracker.conf")).unwrap();
    assert!(changed.ends_with("# mine\n"));
    // logrotate accepts its configuration.
    clean.sh("logrotate --debug /etc/logrotate.d/addrwatch").ok();

    clean.sh("dpkg -r addrwatch-rs").ok();
    assert!(
        clean.path("var/lib/addrwatch/aw-sqlite/addrwatch.db").exists(),
        "removed is not purged"
    );
    assert!(!clean.path("usr/bin/collector").exists());
    clean.sh("dpkg -P addrwatch-rs").ok();
    assert_eq!(clean.ours(), [""; 0]);
    assert!(!clean.path("etc/addrwatch").exists());
}
