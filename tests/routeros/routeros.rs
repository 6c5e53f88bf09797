//! `aw-routeros` and a RouterOS in this process, over real SSH: who changed what is archived, mailed, published.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Run, program, run, run_with};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A change from the router to every destination, on both versions.
#[test]
fn a_change_is_archived_mailed_and_published() {
    for version in [Version::V6, Version::V7] {
        let (router, sink, ring) = (Router::start(version), MailSink::start(), Ring::new());
        let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, version);
        let daemon = watching.start();
        daemon.stderr.wait_for("core1: first contact: configuration stored");
        router.add("alice", "/ppp secret add name=x password=geheim");
        let mail =
            sink.wait_for(&["Subject: [addrwatch] core1: configuration changed by alice (+1 -0)"]);
        assert!(mail.contains("+/ppp secret add name=x"), "{mail}");
        assert!(!mail.contains("geheim"), "{mail}");
        daemon.stderr.wait_for("core1: configuration changed by alice (+1 -0)");
        if version == Version::V7 {
            for text in ["by ssh", "from 192.0.2.7", "through terminal", "(*1 = /ppp secret add"] {
                assert!(mail.contains(text), "{text}: {mail}");
            }
            assert!(!mail.contains("command: "), "the log line has it: {mail}");
        }
        let archive = watching.archive("core1");
        let diff = fs::read_to_string(archive.join("diff.txt")).unwrap();
        assert!(diff.contains("core1: configuration changed by alice (+1 -0)"), "{diff}");
        assert_eq!(fs::read_to_string(archive.join("users/alice.diff")).unwrap(), diff);
        assert_eq!(fs::read_dir(archive.join("snapshots")).unwrap().count(), 2);
        let latest = fs::read_to_string(archive.join("latest.rsc")).unwrap();
        assert!(
            latest.contains("/ppp secret add name=x") && !latest.contains("geheim"),
            "{latest}"
        );
        let lines = run(program("aw-stdout", &["--once", "--ring", ring.name()])).ok().stdout;
        let expected = " core1 0 00:00:00:00:00:00 127.0.0.1 CONFIG:+1-0:alice\n";
        assert!(lines.ends_with(expected) && lines.lines().count() == 1, "{lines}");
        let json =
            run(program("aw-stdout", &["--once", "--ring", ring.name(), "--format", "json"]))
                .ok()
                .stdout;
        assert!(
            json.contains("\"kind\":\"config_change\"")
                && json.contains("\"user\":\"alice\",\"lines_added\":1,\"lines_removed\":0"),
            "{json}"
        );
        daemon.stop().ok();
    }
}

/// A router that is configured by name is on the ring with the address of the connection.
#[test]
fn the_address_of_a_name() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let mut watching =
        Watching::new(&ring).router("a-router-with-a-long-name", &router, Version::V7);
    let port = router.address.port();
    watching.replace(&router.address.to_string(), &format!("localhost:{port}"));
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice");
    let lines = run(program("aw-stdout", &["--once", "--ring", ring.name()])).ok().stdout;
    let expected = " a-router-with-a 0 00:00:00:00:00:00 127.0.0.1 CONFIG:+1-0:alice\n";
    assert!(lines.ends_with(expected), "{lines}");
    daemon.stop().ok();
}

/// A change that no log line explains is credited to UNKNOWN, with candidates from the router's log.
#[test]
fn changes_while_it_was_away() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice");
    daemon.stop().ok();
    router.add("eve", "/user add name=eve group=full");
    let daemon = watching.start();
    daemon.stderr.wait_for("changed by UNKNOWN (+1 -0)");
    let diff = fs::read_to_string(watching.archive("core1").join("users/UNKNOWN.diff")).unwrap();
    assert!(
        diff.contains("candidate: eve by ssh from 192.0.2.7") && !diff.contains("alice"),
        "{diff}"
    );
    // An investigation about eve finds it, marked.
    let mut of_eve = watching.command();
    of_eve.args(["log", "--user", "eve"]);
    let of_eve = run(of_eve).ok().stdout;
    assert!(of_eve.contains("UNKNOWN (candidate: eve)"), "{of_eve}");
    // A change without a log line is found by the periodic export.
    router.add_silently("/ip dns set servers=192.0.2.54");
    daemon.stop().ok();
    let watching = watching.option("interval = 1");
    let often = watching.start();
    often.stderr.wait_for("changed by UNKNOWN");
    often.stop().ok();
}

/// All users between two exports are credited; forged names make a change ambiguous; comments, logins and other topics
/// have no effect.
#[test]
fn credited_users() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let exports = router.exports();
    router.log("system,info,account", "user eve logged in from 192.0.2.66 via ssh");
    router.log("script,info", "item changed by ssh:bob@192.0.2.1 (/x)");
    router.log("system,info", "dns changed");
    router.add_silently("# wlan1 not ready");
    router.add("alice", "/ip route add gateway=192.0.2.254");
    router.add("bob", "/ip route add gateway=192.0.2.253");
    daemon.stderr.wait_for("changed by alice, bob (+2 -0)");
    assert_eq!(router.exports(), exports + 1, "one export for both");
    // Each of them finds his own line, and that there are more.
    for (user, gateway) in [("alice", "192.0.2.254"), ("bob", "192.0.2.253")] {
        let mut log = watching.command();
        log.args(["log", "--user", user]);
        let log = run(log).ok().stdout;
        let row = log.lines().nth(1).expect("the change");
        assert!(row.contains("  alice, bob  ") && row.contains(gateway), "{log}");
        assert!(row.ends_with(" (and 1 more)"), "{log}");
    }
    router.state().lines.push("/ppp secret add name=y".into());
    router.log(
        "system,info",
        "ppp secret <y by ssh:bob@1.2.3.4 (> added by ssh:eve@192.0.2.66 (*1 = /ppp secret add)",
    );
    daemon.stderr.wait_for("changed by bob, eve (ambiguous) (+1 -0)");
    let users = watching.archive("core1").join("users");
    let mut files: Vec<_> =
        fs::read_dir(users).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["alice.diff", "bob.diff", "eve.diff"]);
    daemon.stop().ok();
}

/// The commands that print the archive; and the git repository, read by git.
#[test]
fn commands_print_the_archive() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring)
        .git()
        .router("core1", &router, Version::V7)
        .option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ppp secret add name=x password=geheim");
    daemon.stderr.wait_for("changed by alice");
    daemon.stop().ok();
    let command = |arguments: &[&str]| {
        let mut command = watching.command();
        command.args(arguments);
        run(command).ok().stdout
    };
    let log = command(&["log", "core1", "--user", "alice", "--since", "1h"]);
    assert!(
        log.lines().count() == 2 && log.contains("alice  +1 -0") && log.contains("password=***"),
        "{log}"
    );
    // The name of the snapshot that it prints works in the other commands.
    let called = log.lines().nth(1).unwrap().split("+1 -0  ").nth(1).unwrap();
    let called = called.split(' ').next().unwrap();
    assert!(command(&["show", "core1", called]).contains("/ppp secret add name=x"), "{called}");
    assert_eq!(command(&["log", "--user", "bob", "--format", "json"]), "");
    let json = command(&["log", "--format", "json", "--secrets"]);
    assert!(json.contains("\"users\":[\"alice\"]") && json.contains("password=geheim"), "{json}");
    assert!(command(&["diff", "core1"]).contains("+/ppp secret add name=x password=***"));
    let snapshots = watching.archive("core1").join("snapshots");
    let mut names: Vec<_> =
        fs::read_dir(snapshots).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    let first = names[0].to_str().unwrap();
    assert!(
        command(&["diff", "core1", first, "--secrets"])
            .contains("+/ppp secret add name=x password=geheim")
    );
    let second = names[1].to_str().unwrap();
    assert_eq!(command(&["diff", "core1", first, second]), command(&["diff", "core1", first]));
    assert!(command(&["diff", "core1", second, first]).contains("-/ppp secret add name=x"));
    let last = command(&["diff", "core1"]);
    assert!(last.contains(&format!("\n--- {first}\n+++ {second}\n@@ ")), "{last}");
    let object = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&command(arguments)).unwrap()
    };
    let last = object(&["diff", "core1", "--format", "json"]);
    let between = object(&["diff", "core1", first, second, "--format", "json"]);
    for name in ["router", "before", "snapshot", "added", "removed", "diff"] {
        assert_eq!(last[name], between[name], "{name}: {last} {between}");
    }
    assert!(last["diff"].as_str().unwrap().contains("\n+/ppp secret add name=x password=***\n"));
    let open = object(&["diff", "core1", first, "--format", "json", "--secrets"]);
    assert!(open["diff"].as_str().unwrap().contains("password=geheim"), "{open}");
    let whole = object(&["show", "core1", "--format", "json"]);
    assert_eq!(whole["router"], "core1");
    assert_eq!(whole["configuration"], command(&["show", "core1"]).as_str());
    assert!(command(&["show"]).contains("stopped"));
    let shown: serde_json::Value =
        serde_json::from_str(&command(&["show", "--format", "json"])).unwrap();
    let expected = ["core1", "stopped", "7.14.2"].map(serde_json::Value::from);
    assert_eq!(["name", "status", "version"].map(|name| shown[name].clone()), expected, "{shown}");
    assert_eq!(shown["lines"], 6);
    assert!(!shown.to_string().contains("geheim"), "{shown}");
    assert!(command(&["show", "core1"]).contains("password=***"));
    assert!(command(&["show", "core1", "--secrets"]).contains("password=geheim"));
    let old = command(&["show", "core1", first]);
    assert!(old.contains("/system identity") && !old.contains("secret"), "{old}");
    let name = |snapshot: &str| snapshot.trim_end_matches(".rsc").to_owned();
    for (arguments, why) in [
        (
            ["diff", "core1", "x"],
            &*format!(
                "x: no snapshot begins with this (stored: {} to {}), and no router has this name",
                name(first),
                name(second)
            ),
        ),
        (
            ["diff", "core1", "2"],
            &*format!("2: 2 snapshots begin with this: {}, {} (", name(first), name(second)),
        ),
        (["show", "core2", ""], "core2: no router of this name"),
        (["log", "core2", "--secrets"], "core2: no router of this name"),
    ] {
        let mut command = watching.command();
        command.args(arguments);
        run(command).refused("aw-routeros", &[why]);
    }
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command
            .args(["-c", "safe.directory=*", "--git-dir"])
            .arg(watching.git_path())
            .args(arguments);
        run(command).ok().stdout
    };
    git(&["fsck", "--strict"]);
    let log = git(&["log", "-p", "--format=%an|%s", "main"]);
    assert!(log.starts_with("alice|core1: configuration changed by alice (+1 -0)\n"), "{log}");
    assert!(log.contains("+/ppp secret add name=x password=geheim"), "{log}");
    for (path, mode) in [
        ("", 0o700),
        ("core1", 0o700),
        ("core1/latest.rsc", 0o600),
        ("core1/users/alice.diff", 0o600),
    ] {
        let metadata = fs::metadata(watching.root().join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
    }
}

/// Each router is tried once, and its faults are reported.
#[test]
fn check() {
    let (good, bad, ring) = (Router::start(Version::V7), Router::start(Version::V6), Ring::new());
    bad.state().faults.refuse = true;
    let watching = Watching::new(&ring).router("good", &good, Version::V7);
    let finished = run({
        let mut command = watching.command();
        command.arg("check");
        command
    })
    .ok();
    assert!(
        finished.stdout.contains("ok, 5 lines, RouterOS 7.14.2")
            && finished.stdout.contains(" days behind\n"),
        "{finished:?}"
    );
    let watching = watching.router("bad", &bad, Version::V6);
    let finished = run({
        let mut command = watching.command();
        command.args(["check", "--format", "json"]);
        command
    });
    let finished = finished.refused("aw-routeros", &["1 of 2 routers cannot be followed"]);
    let bad = finished.stdout.lines().nth(1).unwrap(); // in the order of the file
    assert!(bad.contains("\"router\":\"bad\"") && bad.contains("login refused"), "{bad}");
}

/// `add` prints the host key and writes the entry; the legacy command line prints changes and sends mail as `config.txt`
/// requires.
#[test]
fn add_and_the_legacy_command_line() {
    let (router, sink) = (Router::start(Version::V7), MailSink::start());
    let directory = tempfile::tempdir().unwrap();
    let address = router.address.to_string();
    let mut command = program("aw-routeros", &["add", &address, "-c"]);
    command.arg(directory.path().join("new.toml"));
    let finished = run_with(command, b"core1\nyes\nadmin\nsecret\n").ok();
    assert!(
        finished.stdout.contains(&format!("ssh-ed25519 {}", router.host_key)),
        "{}",
        finished.stdout
    );
    let six = Router::start(Version::V6);
    let mut command = program("aw-routeros", &["add", "--name", "six", &six.address.to_string()]);
    command.arg("-c").arg(directory.path().join("new.toml"));
    run(command).refused(
        "aw-routeros",
        &["no common", "(RouterOS 6: the same command again with --legacy)"],
    );
    let entry = fs::read_to_string(directory.path().join("new.toml")).unwrap();
    for line in [
        "name = \"core1\"",
        "user = \"admin\"",
        &format!("host_key = \"ssh-ed25519 {}\"", router.host_key),
    ] {
        assert!(entry.contains(line), "{entry}");
    }
    let secret = directory.path().join("core1.pass");
    assert_eq!(fs::metadata(secret).unwrap().permissions().mode() & 0o777, 0o600);
    let mut command = program("aw-routeros", &["check", "-c"]);
    command.arg(directory.path().join("new.toml"));
    run(command).ok();

    let text = format!(
        "[DEFAULT]\nMAIL_SERVER = 127.0.0.1:{}\nMAIL_FROM = a@example.org\nMAIL_TO = b@example.org, c@example.org\nLOG_FILE_NAME = watch.log\nenable_email = yes\n",
        sink.port
    );
    fs::write(directory.path().join("config.txt"), text).unwrap();
    let mut command = program("aw-routeros", &[&address, "admin", "--host-key", &router.host_key]);
    command.current_dir(directory.path());
    let mut legacy = Run::start(command);
    std::io::Write::write_all(&mut legacy.stdin.take().unwrap(), b"secret\n").unwrap();
    legacy.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    legacy.stdout.wait_for("+/ip dns set servers=192.0.2.53");
    // One mail for each receiver: if the server refuses one, the others get theirs.
    for receiver in ["b", "c"] {
        sink.wait_for(&[&format!("TO {receiver}@example.org\n"), "changed by alice"]);
    }
    legacy.stop().ok();
    assert!(
        fs::read_to_string(directory.path().join("watch.log"))
            .unwrap()
            .contains("changed by alice")
    );
}

/// A commit changes the file of one router and keeps the others' files: after `git gc`, after a restart, and without
/// reading them again.
#[test]
fn a_commit_has_the_other_routers_files() {
    let (one, two, ring) = (Router::start(Version::V7), Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).git().router("one", &one, Version::V7).router(
        "two",
        &two,
        Version::V7,
    );
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "safe.directory=*", "--git-dir"]);
        command.arg(watching.git_path()).args(arguments);
        run(command).ok().stdout
    };
    let files = || git(&["show", "--name-only", "--format=%an", "main"]);
    let lines = |file: &str| git(&["show", &format!("main:{file}")]).lines().count();
    let daemon = watching.start();
    for name in ["one", "two"] {
        daemon.stderr.wait_for(&format!("{name}: first contact"));
    }
    // A line that the router never sent: if the commit read the others' files, it would contain this line.
    let latest = watching.archive("two/latest.rsc");
    let before = fs::read_to_string(&latest).unwrap();
    fs::write(&latest, before.clone() + "/by hand add\r\n").unwrap();
    let held = lines("two.rsc");
    one.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("one: configuration changed by alice");
    assert_eq!(files(), "alice\n\none.rsc\n");
    assert_eq!(lines("two.rsc"), held);
    fs::write(&latest, before).unwrap();
    git(&["gc", "-q", "--prune=now"]);
    two.add("bob", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("two: configuration changed by bob");
    assert_eq!(files(), "bob\n\ntwo.rsc\n");
    daemon.stop().ok();
    git(&["gc", "-q", "--prune=now"]);
    one.add_silently("/ip dns set servers=192.0.2.55");
    let daemon = watching.start();
    daemon.stderr.wait_for("one: configuration changed by UNKNOWN");
    daemon.stop().ok();
    assert_eq!(files(), "UNKNOWN\n\none.rsc\n");
    assert_eq!(git(&["log", "--format=%an", "main"]).lines().count(), 5);
    git(&["fsck", "--strict"]);
}
