//! The Debian package: built from this build's programs, checked by lintian, and installed, upgraded, removed and purged in a
//! new Debian 12, where its programs replay a capture and store a history. `booted.rs` does the same
//! with that Debian's systemd and the services; this test also runs on machines that cannot boot one.
#![forbid(unsafe_code)]

use aw_tests::debian::{Debian, package};
use aw_tests::feed::numbered_capture;
use aw_tests::rig::{program_at, run, run_patiently, skip};
use aw_tests::web::name_radio;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

#[test]
fn lintian() {
    if Command::new("lintian").arg("--version").output().is_err() {
        return skip("there is no lintian here");
    }
    let directory = tempfile::tempdir().unwrap();
    let built = package(directory.path(), "0.1.0", "gzip");
    let lintian = program_at("lintian".into(), &["--fail-on", "error", built.to_str().unwrap()]);
    let judged = run_patiently(lintian);
    assert!(!judged.stdout.lines().any(|line| line.starts_with("E: ")), "{}", judged.stdout);
    judged.ok();
}

/// The bill of materials: the crates of THIRD-PARTY.md, which are those that are linked, with what Cargo.lock has of them; and
/// what each program has of them.
#[test]
fn the_package_says_what_is_in_it() {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |name: &str| fs::read_to_string(format!("{ROOT}/{name}")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let built = package(directory.path(), "0.1.0", "none");
    let (built, root) = (built.to_str().unwrap(), directory.path().join("root"));
    let root = root.to_str().unwrap();
    run(program_at("dpkg-deb".into(), &["--extract", built, root])).ok();
    // What apt-listchanges shows before an upgrade: of versions after the one that is installed.
    let news = format!("{ROOT}/contrib/deb/NEWS");
    let version = program_at("dpkg-parsechangelog".into(), &["-l", &news, "-S", "Version"]);
    let version = run(version).ok().stdout;
    let is_newer = ["--compare-versions", "0.1.0", "lt", version.trim()];
    run(program_at("dpkg".into(), &is_newer)).ok();
    let shown = format!("{root}/usr/share/doc/addrwatch-rs/NEWS.Debian.gz");
    let shown = run(program_at("zcat".into(), &[&shown])).ok().stdout;
    assert!(shown.contains("add --raw-days 0 to OPTIONS"), "{shown}");
    let bill = fs::read(format!("{root}/usr/share/doc/addrwatch-rs/sbom.cdx.json")).unwrap();
    let bill: Value = serde_json::from_slice(&bill).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();

    let lock = read("Cargo.lock");
    let checksums: BTreeMap<(&str, &str), &str> = lock
        .split("[[package]]\n")
        .filter_map(|entry| {
            let of = |key: &str| {
                Some(entry.lines().find_map(|line| line.strip_prefix(key))?.trim_matches('"'))
            };
            Some(((of("name = ")?, of("version = ")?), of("checksum = ")?))
        })
        .collect();
    let (mut crates, mut others, mut references) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for component in bill["components"].as_array().unwrap() {
        let [name, version, reference] =
            ["name", "version", "bom-ref"].map(|key| text(&component[key]));
        assert!(references.insert(reference.clone()), "{reference} twice");
        if !reference.starts_with("pkg:cargo/") {
            others.push(name);
            continue;
        }
        assert_eq!(text(&component["purl"]), reference);
        assert_eq!(reference, format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")));
        assert_eq!(component["hashes"][0]["alg"], "SHA-256");
        assert_eq!(component["hashes"][0]["content"], *checksums[&(&*name, &*version)], "{name}");
        assert_ne!(text(&component["licenses"][0]["expression"]), "", "{name}");
        crates.insert((name, version));
    }
    let third_party = read("THIRD-PARTY.md");
    let rows = third_party.lines().filter_map(|line| line.strip_prefix("| ["));
    let rows = rows.map(|row| {
        let (name, rest) = row.split_once(']').unwrap();
        (name.to_owned(), rest.split('|').nth(1).unwrap().trim().to_owned())
    });
    let linked: BTreeSet<_> = rows.filter(|(name, _)| name != "std").collect();
    assert!(linked.len() > 100, "{}", linked.len());
    assert_eq!(crates, linked);

    let makefile = read("Makefile");
    let programs = makefile.lines().find_map(|line| line.strip_prefix("PROGRAMS = ")).unwrap();
    others.sort();
    let mut expected: Vec<_> = programs.split(' ').chain(["sqlite"]).collect();
    expected.sort();
    assert_eq!(others, expected);
    let mut with_sqlite = Vec::new();
    for entry in bill["dependencies"].as_array().unwrap() {
        let name = text(&entry["ref"]);
        let on: Vec<_> = entry["dependsOn"].as_array().unwrap().iter().map(text).collect();
        assert!(on.iter().all(|reference| references.contains(reference)), "{name}: {on:?}");
        if on.iter().any(|reference| reference.starts_with("pkg:cargo/libsqlite3-sys@")) {
            with_sqlite.push(name);
        }
    }
    with_sqlite.sort();
    let spool_or_history = [
        "aw-alert",
        "aw-clickhouse",
        "aw-mqtt",
        "aw-mysql",
        "aw-query",
        "aw-sqlite",
        "aw-syslog",
        "aw-web",
    ];
    assert_eq!(with_sqlite, spool_or_history);
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
    // An editor names a device by aw-web, whose user may write the file that all programs read, as it is installed.
    let web = "runuser -u aw-web -g addrwatch -- aw-web --edit --state-dir /var/lib/addrwatch/aw-web --database /var/lib/addrwatch/aw-sqlite/addrwatch.db --listen /run/aw-web/socket --allow-host localhost";
    let name = name_radio("IO::Socket::UNIX->new(\"/run/aw-web/socket\")");
    let named = clean.sh(&format!(
        "install -d -o aw-web -g addrwatch -m 750 /run/aw-web /var/lib/addrwatch/aw-web
         {web} --check; {web} & until [ -S /run/aw-web/socket ]; do sleep 0.1; done; {name}; kill $!; wait $! || true
         aw-query name 02:00:00:00:00:01; stat -L -c '%U:%G %a' /etc/addrwatch/names; test -L /etc/addrwatch/names; rm -r /run/aw-web"
    ));
    let named = named.ok();
    assert!(named.stdout.contains("HTTP/1.1 303 See Other"), "{named:#?}");
    assert!(named.stdout.ends_with("Radio\nroot:addrwatch 664\n"), "{named:#?}");
    assert!(named.stderr.contains("token named 02:00:00:00:00:01 \"Radio\"\n"), "{named:#?}");
    // logrotate accepts its configuration.
    clean.sh("logrotate --debug /etc/logrotate.d/addrwatch").ok();

    // As aw-routeros add writes it, and the guide: a password in clear text.
    for name in ["core1.pass", "audit.pass"] {
        fs::write(clean.path("etc/addrwatch").join(name), "secret\n").unwrap();
    }
    fs::write(clean.path("etc/addrwatch/mine"), "").unwrap();
    clean.sh("dpkg -r addrwatch-rs").ok();
    assert!(clean.path("etc/addrwatch/core1.pass").exists());
    assert!(
        clean.path("var/lib/addrwatch/aw-sqlite/addrwatch.db").exists(),
        "removed is not purged"
    );
    assert!(!clean.path("usr/bin/collector").exists());

    // What a removal keeps starts again: the links of enabled units are kept, as systemctl and the administrator made them.
    let wanted = "/etc/systemd/system/multi-user.target.wants";
    clean.sh(&format!("mkdir -p {wanted}; cd {wanted}; for unit in addrwatch-collector@eth0 aw-alert; do ln -s /usr/lib/systemd/system/$unit.service; done")).ok();
    let again = clean.sh("dpkg -i /root/0.1.1.deb </dev/null").ok().stdout;
    assert!(!again.contains("nothing runs yet"), "{again}");
    assert!(
        again.contains(
            "still enabled, and start at the next boot: addrwatch-collector@eth0 aw-alert\n"
        ),
        "{again}"
    );
    // What the documents and systemctl edit make, and files of others beside them.
    clean
        .sh("cd /etc/systemd/system; mkdir -p aw-tracker.service.d addrwatch-collector@eth0.service.d other.service.d
         echo '[Service]' | tee aw-tracker.service.d/override.conf addrwatch-collector@eth0.service.d/override.conf >other.service.d/x.conf
         ln -s /dev/null aw-syslog.service
         echo OPTIONS=--verbose | tee /etc/default/aw-alert '/etc/default/addrwatch-collector@eth0' >/etc/default/other
         echo secret | tee /etc/addrwatch/mqtt.password /etc/addrwatch/mail.pass >/etc/addrwatch/ntfy.token")
        .ok();
    clean.sh("dpkg -r addrwatch-rs").ok();
    // Of the tar archive, which has the same directories.
    clean.sh("mkdir -p /usr/local/bin; touch /usr/local/bin/collector").ok();
    let refused = clean.sh("sh /var/lib/dpkg/info/addrwatch-rs.postrm purge").ok().stdout;
    assert!(refused.contains("/usr/local/bin/collector is another installation"), "{refused}");
    assert!(clean.path("etc/addrwatch/ntfy.token").exists());
    clean.sh("rm /usr/local/bin/collector").ok();
    let purged = clean.sh("dpkg -P addrwatch-rs").ok().stdout;
    assert!(purged.contains("its users and the group addrwatch remain, because "), "{purged}");
    assert_eq!(clean.ours(), [""; 0]);
    assert!(!clean.path("etc/addrwatch").exists());
    for kept in ["etc/default/other", "etc/systemd/system/other.service.d/x.conf"] {
        assert!(clean.path(kept).exists(), "{kept}");
    }
}
