//! Who is credited by `aw-routeros`, and what no export shows: actors of any form, users and keys, another version or serial
//! number, the router's own history.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Run, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `aw-routeros log` with these options.
fn log(watching: &Watching, options: &[&str]) -> String {
    let mut command = watching.command();
    command.arg("log").args(options);
    run(command).ok().stdout
}

/// A daemon that has the first configuration and the first facts.
fn started(watching: &Watching) -> Run {
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    wait_until("the facts are read", || watching.archive("core1").join("facts.json").exists());
    daemon
}

/// The router's own changes are exported at once and credited to what the log says, not to the next person.
#[test]
fn the_router_itself() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = started(&watching);
    let changed = |line: &str, message: &str| {
        router.add_silently(line);
        router.log("system,info", message);
    };
    changed(
        "/ip route add comment=WAN1 dst-address=198.51.100.8/32 gateway=100.64.0.1",
        "route 198.51.100.8/32 added by dhcp-client (*80000010 = /ip route add comment=\"WAN1\")",
    );
    daemon.stderr.wait_for("core1: configuration changed by dhcp-client (+1 -0)");
    changed(
        "/ip route add disabled=yes dst-address=0.0.0.0/0 gateway=100.64.0.2",
        "route 0.0.0.0/0 changed by netwatch:type: icmp, host: 192.0.2.9/script:x y/action:7 (/ip route set *2 disabled=yes)",
    );
    daemon.stderr.wait_for(
        "configuration changed by netwatch:type: icmp, host: 192.0.2.9/script:x y (+1 -0)",
    );
    changed("/ip dns set servers=192.0.2.53", "dns changed by local:alice ()");
    daemon.stderr.wait_for("configuration changed by local:alice (+1 -0)");
    changed("/ip dns set cache-size=1", "dns changed by Alice Smith [noc/a] (day shift)");
    daemon.stderr.wait_for("configuration changed by Alice Smith [noc/a] (day shift) (+1 -0)");
    router.add("bob", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("configuration changed by bob (+1 -0)");
    daemon.stop().ok();
}

/// A user who is added is seen in the log only: the line is recorded and mailed, and so is the new list of users.
#[test]
fn what_no_export_shows() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = started(&watching);
    let archive = watching.archive("core1");
    router.log(
        "system,info",
        "user ops added by ssh:-2@172.31.88.5 (*2 = /user add group=full name=ops password=geheim)",
    );
    let mail = sink.wait_for(&["Subject: [addrwatch] core1: -2: seen in the log only: user ops"]);
    assert!(mail.contains("-2 by ssh from 172.31.88.5") && !mail.contains("geheim"), "{mail}");
    daemon.stderr.wait_for("core1: -2: seen in the log only: user ops added by ssh:-2@");
    assert!(read(archive.join("log.txt")).contains("user ops added by"));
    assert_eq!(read(archive.join("changes.jsonl")), "", "there is no difference");
    assert!(log(&watching, &["core1", "--user", "-2"]).contains("user ops added"));
    let json = log(&watching, &["--format", "json"]);
    assert!(json.contains("\"noted\":true") && json.contains("\"users\":[\"-2\"]"), "{json}");
    assert!(json.lines().count() == 1 && !json.contains("geheim"), "{json}");
    // The same, when the router prints its users.
    let users = " 0   name=\"admin\" group=audit\n 1   name=\"eve\" group=full last-logged-in=x\n";
    router.state().prints.insert("/user print detail".into(), users.into());
    router.log("system,info", "user eve added by ssh:bob@192.0.2.9 (*3 = /user add name=eve)");
    sink.wait_for(&["core1: bob: user eve added: group=full", "/user add name=eve"]);
    let mut show = watching.command();
    show.args(["show", "core1"]);
    let shown = run(show).ok();
    assert!(shown.stderr.contains("core1: user eve: group=full\n"), "{}", shown.stderr);
    assert_eq!(shown.stdout, read(archive.join("latest.rsc")).replace('\r', ""));
    // A script that changes nothing is recorded, not mailed.
    let mails = sink.count();
    router.log("system,info", "device changed by scheduler:guest/action:8 (/interface set x)");
    daemon.stderr.wait_for("core1: scheduler:guest: seen in the log only: device changed by");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    sink.wait_for(&["changed by alice"]);
    assert_eq!(sink.count(), mails + 1);
    daemon.stop().ok();
}

/// The keys `none` and `all`.
#[test]
fn what_is_mailed() {
    for (value, count) in [("none", 1), ("all", 2)] {
        let (router, sink, ring) = (Router::start(Version::V6), MailSink::start(), Ring::new());
        let watching = Watching::new(&ring)
            .mail(sink.port)
            .global(&format!("mail_noted = {value:?}"))
            .router("core1", &router, Version::V6);
        let daemon = started(&watching);
        router.log("system,info", "user ops added by admin");
        daemon.stderr.wait_for("admin: seen in the log only: user ops added by admin");
        router.add("alice", "/ip dns set servers=192.0.2.53");
        sink.wait_for(&["changed by alice"]);
        assert_eq!(sink.count(), count, "{value}");
        daemon.stop().ok();
    }
}

/// After an upgrade, and after the router was replaced, the log says so.
#[test]
fn another_version_and_another_router() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let hardware = |model: &str, serial: &str| {
        router.state().header =
            vec![format!("# model = {model}"), format!("# serial number = {serial}")];
    };
    hardware("RB750Gr3", "AAAA0");
    let firmware = |version: &str| {
        let answer = format!("  routerboard: yes\n  current-firmware: {version}\n");
        router.state().prints.insert("/system routerboard print".into(), answer);
    };
    firmware("7.14.2");
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = started(&watching);
    router.state().version = "7.17".into();
    firmware("7.17");
    router.add("bob", "/disk settings set auto-media-interface=bridge");
    daemon.stderr.wait_for("configuration changed by bob (+1 -0)");
    daemon.stderr.wait_for(
        "core1: bob: firmware current-firmware: 7.14.2 -> 7.17; system version: 7.14.2 -> 7.17",
    );
    sink.wait_for(&["core1: bob: firmware current-firmware: 7.14.2 -> 7.17 and 1 more"]);
    hardware("RB5009UG+S+", "ZZZZ9");
    router.log("system,info", "item changed by ssh:bob@192.0.2.7 ()");
    daemon
        .stderr
        .wait_for("system model: RB750Gr3 -> RB5009UG+S+; system serial number: AAAA0 -> ZZZZ9");
    let archive = watching.archive("core1");
    wait_until("the log has it", || read(archive.join("log.txt")).contains("ZZZZ9"));
    assert_eq!(read(archive.join("changes.jsonl")).lines().count(), 1);
    wait_until("the facts are stored", || read(archive.join("facts.json")).contains("ZZZZ9"));
    // A router that refuses the commands keeps its facts.
    for print in ["/system routerboard print", "/user print detail", "/user group print detail"] {
        router.state().prints.insert(print.into(), "not enough permissions (9)\n".into());
    }
    let facts = read(archive.join("facts.json"));
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    router.log("system,info", "nothing changed by carol");
    daemon.stderr.wait_for("carol: seen in the log only");
    assert_eq!(read(archive.join("facts.json")), facts);
    daemon.stop().ok();
}

/// Groups, SSH keys, certificates and licences are no part of an export: what changes is mailed with its user.
#[test]
fn groups_keys_certificates_and_licences() {
    const GROUPS: &str = "/user group print detail";
    const KEYS: &str = "/user ssh-keys print detail";
    const CERTIFICATES: &str = "/certificate print detail";
    const LICENCE: &str = "/system license print";
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let print = |command: &str, answer: &str| {
        router.state().prints.insert(command.into(), answer.into());
    };
    let certificate = |fingerprint: &str| {
        format!(
            " 0 K   A T name=\"ca\" common-name=\"x\" fingerprint={fingerprint:?} invalid-after=2038-01-18 03:14:07\n"
        )
    };
    print(GROUPS, " 0 name=\"read\" policy=ssh,read,!write\n");
    print(KEYS, " 0 R user=admin bits=2048 key-owner=\"alice@laptop\"\n");
    print(CERTIFICATES, &certificate("aaaa"));
    print(LICENCE, "  software-id: AAAA-BBBB\n       nlevel: 1\n");
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = started(&watching);
    let until = "until=2038-01-18 03:14:07";
    for (command, answer, user, fact) in [
        (
            GROUPS,
            " 0 name=\"read\" policy=ssh,read,write\n",
            "bob",
            "group read: read,ssh -> read,ssh,write",
        ),
        (
            GROUPS,
            " 0 name=\"read\" policy=ssh,read,write\n 1 name=\"ops\" policy=ssh,policy\n",
            "carol",
            "group ops added: policy,ssh",
        ),
        (
            KEYS,
            " 0 R user=admin bits=2048 key-owner=\"alice@laptop\"\n 1   user=ops key-type=ed25519 info=\"eve@x\"\n",
            "dave",
            "SSH key ops eve@x added: key-type=ed25519",
        ),
        (KEYS, "", "erin", "SSH key admin alice@laptop removed: bits=2048"),
        (
            CERTIFICATES,
            &*certificate("bbbb"),
            "frank",
            &*format!("certificate ca: fingerprint=aaaa {until} -> fingerprint=bbbb {until}"),
        ),
        (CERTIFICATES, "", "grace", &*format!("certificate ca removed: fingerprint=bbbb {until}")),
        (
            LICENCE,
            "  software-id: AAAA-BBBB\n       nlevel: 4\n",
            "heidi",
            "license nlevel: 1 -> 4",
        ),
    ] {
        print(command, answer);
        router.log("system,info", &format!("item changed by ssh:{user}@192.0.2.7 ()"));
        daemon.stderr.wait_for(&format!("core1: {user}: {fact}"));
        let start: Vec<_> = fact.split(' ').take(2).collect();
        sink.wait_for(&[&format!("Subject: [addrwatch] core1: {user}: {}", start.join(" "))]);
        assert!(log(&watching, &["core1", "--user", user]).contains(fact), "{fact}");
    }
    assert_eq!(read(watching.archive("core1").join("changes.jsonl")), "", "no export shows it");
    daemon.stop().ok();
}

/// Without a log line the router's history names the user.
#[test]
fn the_history_of_the_router() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let entry = |action: &str, by: &str, minute: u32| {
        format!(
            " F redo=\n      /x add comment=\"y\" \\\n          z=1\n    undo=/x remove *4 action=\"{action}\" by=\"{by}\" \n    policy=write time=2026-11-22 10:{minute:02}:05 \n\n"
        )
    };
    let old = entry("filter rule added", "alice", 1) + &entry("---", "", 0);
    let history = |text: String| {
        let text = format!("Flags: U - undoable, R - redoable, F - floating-undo \n{text}");
        router.state().prints.insert("/system history print detail".into(), text);
    };
    history(old.clone());
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("interval = 2");
    let daemon = started(&watching);
    history(entry("dns changed", "carol", 2) + &old);
    router.add_silently("/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("core1: configuration changed by carol (+1 -0)");
    let diff = read(watching.archive("core1").join("diff.txt"));
    assert!(diff.contains("carol by history") && diff.contains("no log line"), "{diff}");
    // An entry is credited once.
    wait_until("the history is stored", || {
        read(watching.archive("core1").join("facts.json")).contains("carol")
    });
    router.add_silently("/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("core1: configuration changed by UNKNOWN (+1 -0)");
    daemon.stop().ok();
}

/// The clock of the router is set back: the same line of the same second is another change.
#[test]
fn a_clock_that_is_set_back() {
    let (router, ring) = (Router::start(Version::V6), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V6);
    let daemon = started(&watching);
    let line = b"10:00:10 system,info filter rule changed by alice\r\n";
    router.add_silently("/tool romon set enabled=yes");
    router.send(line);
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    router.state().lines.pop();
    router.add_silently("/tool romon set enabled=no");
    router.send(line);
    daemon.stderr.wait_for("changed by alice (+1 -1)");
    daemon.stop().ok();
}

/// The folders of shared cases that are about this, if they are there.
#[test]
fn shared_cases() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("AW_SHARED").map_or(beside, PathBuf::from).join("cases/routeros");
    let Ok(folders) = fs::read_dir(root) else { return };
    for folder in folders.map(|folder| folder.unwrap().path()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if ["01-", "03-", "10-", "13-"].iter().any(|start| name.starts_with(start)) {
            replay(&folder);
        }
    }
}

/// Replays the exports and log lines of a case, and compares with what it expects.
fn replay(folder: &Path) {
    let expected: serde_json::Value =
        serde_json::from_str(&read(folder.join("expect.json"))).unwrap();
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let set = |step: usize| {
        let path = folder.join(format!("export-{step}"));
        if !path.exists() {
            return;
        }
        let text = read(path);
        let (head, lines) = text.lines().partition::<Vec<_>, _>(|line| line.starts_with('#'));
        let mut state = router.state();
        state.version = head[0].rsplit(' ').next().unwrap().into();
        let is_hardware = |line: &&&str| line.contains("model =") || line.contains("serial");
        state.header = head.iter().filter(is_hardware).map(|line| (*line).into()).collect();
        state.lines = lines.iter().map(|line| (*line).into()).collect();
    };
    set(0);
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = started(&watching);
    let archive = watching.archive("core1");
    let mut count = 0;
    for (n, step) in expected["steps"].as_array().unwrap().iter().enumerate() {
        set(n + 1);
        for line in read(folder.join(format!("log-{}", n + 1))).lines() {
            router.send(format!("{line}\r\n").as_bytes());
        }
        if let Some(text) = step["log"].as_str() {
            wait_until(text, || read(archive.join("log.txt")).contains(text));
        }
        if let Some(text) = step["mail"].as_str() {
            sink.wait_for(&[text]);
        }
        let changes = || read(archive.join("changes.jsonl"));
        let Some(wanted) = step["changes"].as_array() else { continue };
        let found = || changes().lines().count() == count + wanted.len();
        wait_until("the changes", found);
        for (line, wanted) in changes().lines().skip(count).zip(wanted) {
            let change: serde_json::Value = serde_json::from_str(line).unwrap();
            for name in ["users", "added", "removed"] {
                assert_eq!(change[name], wanted[name], "{folder:?} {name}");
            }
        }
        count += wanted.len();
    }
    daemon.stop().ok();
}
