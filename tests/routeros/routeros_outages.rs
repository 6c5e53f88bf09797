//! Each fault that is mailed has a mail about its end: of one router, of all at once, of the configuration, of hooks.
#![forbid(unsafe_code)]

use aw_tests::cable::Cable;
use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Finished, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version, new_key};
use aw_tests::watching::Watching;
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::Duration;

fn watching(routers: &[Router], ring: &Ring, sink: &MailSink) -> Watching {
    let mut watching = Watching::new(ring).mail(sink.port);
    for (n, router) in routers.iter().enumerate() {
        watching = watching.router(&format!("core{n}"), router, Version::V7);
    }
    watching
}

fn command(watching: &Watching, arguments: &[&str], input: &str) -> Finished {
    let mut command = aw_tests::rig::program("aw-routeros", arguments);
    command.arg("-c").arg(watching.file("routeros.toml"));
    run_with(command, input.as_bytes())
}

fn unhealthy(watching: &Watching, texts: &[&str]) {
    let found = health(watching);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    for text in texts {
        assert!(found.stdout.contains(text), "{text}: {found:?}");
    }
}

fn health(watching: &Watching) -> Finished {
    command(watching, &["--health"], "")
}

fn subjects(sink: &MailSink, text: &str) -> usize {
    let is_it = |mail: &&String| {
        mail.lines().any(|line| line.starts_with("Subject: ") && line.contains(text))
    };
    sink.messages().iter().filter(is_it).count()
}

/// All routers are gone at once: this machine, or its uplink. One mail names them, and one is about the end. A router that
/// is gone alone has its own.
#[test]
fn an_outage_is_one_mail() {
    let routers: Vec<_> = (0..11).map(|_| Router::start(Version::V7)).collect();
    let (sink, ring) = (MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink);
    let daemon = watching.start();
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    routers.iter().for_each(Router::shut_down);
    let mail = sink.wait_for(&["Subject: [addrwatch] all 11 routers: unreachable\n"]);
    for text in [
        "at the same time:\n\ncore0 (127.0.0.1:",
        "connection refused (its SSH service is off or has another port (/ip service print), or a firewall rejects it); last export: 20",
        "\ncore9 (",
        "\nand 1 more (aw-routeros show has their reasons): core10\n",
        "no router can be reached: the network of this machine or its uplink may have failed (ip address; ip route; ping)\n\nat the same time:\n\n",
    ] {
        assert!(mail.contains(text), "{text}: {mail}");
    }
    daemon.stderr.wait_for("all 11 routers: unreachable: no router can be reached");
    routers.iter().for_each(Router::plug);
    sink.wait_for(&[
        "Subject: [addrwatch] 11 routers: connected again\n",
        "connected again: 11 routers: core0, core1, core2, core3, core4, core5, core6, core7, core8, core9, core10\n",
    ]);
    routers[3].shut_down();
    sink.wait_for(&["Subject: [addrwatch] core3: unreachable\n", "core3 (127.0.0.1:"]);
    routers[3].plug();
    sink.wait_for(&["Subject: [addrwatch] core3: connected again\n"]);
    assert_eq!((subjects(&sink, "unreachable"), subjects(&sink, "connected again")), (2, 2));
    daemon.stop().ok();
}

/// A cut without an end of the connections is noticed by keepalives, one router after the other: one mail, and one about the end.
#[test]
fn a_silent_outage_is_one_mail() {
    let routers: Vec<_> = (0..5).map(|_| Router::start(Version::V7)).collect();
    let cables: Vec<_> = routers.iter().map(|router| Cable::to(router.address)).collect();
    let (sink, ring) = (MailSink::start(), Ring::new());
    let mut watching = Watching::new(&ring).mail(sink.port);
    for (n, router) in routers.iter().enumerate() {
        watching = watching
            .router(&format!("core{n}"), router, Version::V7)
            .option(&format!("keepalive = {}", 3 + n % 3));
    }
    for (router, cable) in routers.iter().zip(&cables) {
        watching.replace(&router.address.to_string(), &cable.address.to_string());
    }
    let daemon = watching.start();
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    cables.iter().for_each(Cable::pull);
    sink.wait_for(&[
        "Subject: [addrwatch] all 5 routers: unreachable\n",
        "no router can be reached",
    ]);
    cables.iter().for_each(Cable::plug);
    sink.wait_for(&["Subject: [addrwatch] 5 routers: connected again\n"]);
    assert_eq!(sink.count(), 2);
    daemon.stop().ok();
}

/// What was mailed before a restart has its end after it, and no second mail.
#[test]
fn a_restart_in_the_middle() {
    let mut routers = [(); 4].map(|()| Router::start(Version::V7));
    let (sink, ring) = (MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink);
    let hook = watching.file("on-change").display().to_string();
    let watching = watching.global(&format!("hooks = [{hook:?}]"));
    let daemon = watching.start();
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    routers[0].state().faults.refuse = true;
    routers[0].cut();
    routers[1].shut_down();
    let old = routers[2].host_key.clone();
    routers[2].shut_down();
    routers[2].boot(Some(new_key()));
    routers[3].state().faults.cut = Some(100);
    routers[3].add("alice", "/ip dns set servers=192.0.2.53");
    let begun = [
        "core0: login refused",
        "core1: unreachable",
        "core2: HOST KEY CHANGED",
        "core3: incomplete export",
        "on-change fails",
    ];
    for subject in begun {
        wait_until(subject, || subjects(&sink, subject) == 1);
    }
    daemon.stop().ok();
    let (refused, exports) = (routers[0].counts().1, routers[3].exports());
    let daemon = watching.start();
    wait_until("all are tried", || {
        routers[0].counts().1 > refused && routers[3].exports() > exports
    });
    sleep(Duration::from_secs(8)); // a mail would be sent
    daemon.stop().ok();
    assert_eq!(sink.count(), begun.len(), "{:?}", sink.messages());
    routers[0].state().faults.refuse = false;
    routers[1].plug();
    routers[3].state().faults.cut = None;
    let mut watching = watching;
    watching.replace(&old, &routers[2].host_key);
    let watching = watching.without("hooks = ");
    let daemon = watching.start();
    let ends = [
        "core0: login accepted again",
        "core1: connected again",
        "core2: new host key is in the configuration now",
        "core3: exports are recorded again",
        "hook no longer fails",
    ];
    for subject in ends {
        wait_until(subject, || subjects(&sink, subject) == 1);
    }
    daemon.stderr.wait_for("core3: configuration changed");
    wait_until("all is well", || health(&watching).status.success());
    daemon.stop().ok();
    assert_eq!(sink.count(), begun.len() + ends.len() + 1, "{:?}", sink.messages());
}

/// Restarts in an outage neither postpone its mail nor change since when it lasts; its end has the whole time.
#[test]
fn an_outage_across_restarts() {
    let routers = [(); 2].map(|()| Router::start(Version::V7));
    let (sink, ring) = (MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink);
    let watching = watching.without("alarm_after").global("alarm_after = 20");
    let state = |n: usize| {
        let text = fs::read_to_string(watching.archive(format!("core{n}")).join("state.json"));
        serde_json::from_str::<serde_json::Value>(&text.unwrap()).unwrap()
    };
    let all_have = |status: &str| {
        wait_until(status, || (0..2).all(|n| state(n)["status"] == status));
    };
    let daemon = watching.start();
    for n in 0..2 {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    routers.iter().for_each(Router::shut_down);
    all_have("unreachable");
    let since = [0, 1].map(|n| state(n)["since"].clone());
    daemon.stop().ok();
    let mut restarts = 0;
    while sink.count() == 0 {
        let daemon = watching.start();
        sleep(Duration::from_secs(7)); // less than alarm_after; each router is tried again meanwhile
        wait_until("both are as they were", || {
            let is_as_it_was = |n: usize| {
                let now = state(n);
                now["status"] == "unreachable" && now["since"] == since[n]
            };
            let shown = command(&watching, &["show"], "").ok();
            (0..2).all(is_as_it_was) && shown.stdout.matches("unreachable").count() == 2
        });
        match restarts % 2 {
            0 => daemon.stop().ok(),
            _ => daemon.kill(),
        };
        restarts += 1;
        assert!(restarts < 9, "no mail");
    }
    sink.wait_for(&["Subject: [addrwatch] all 2 routers: unreachable\n", "unreachable for "]);
    let daemon = watching.start();
    all_have("unreachable");
    routers.iter().for_each(Router::plug);
    let mail = sink.wait_for(&["Subject: [addrwatch] 2 routers: connected again\n"]);
    let lasted = mail.lines().find(|line| line.starts_with("core0 (")).expect("its time");
    // The time of the end, and not that of the mail, half a minute later.
    let (_, at) = lasted.split_once("): at 20").expect("when it ended");
    let (_, after) = at.split_once(", after ").expect("how long it was");
    assert!(
        after != "0 s" && mail.contains("\nconnected again: 2 routers: core0, core1\n"),
        "{mail}"
    );
    daemon.stderr.wait_for("core0: connected again after ");
    daemon.stop().ok();
    assert_eq!(sink.count(), 2);
}

/// After a power cut of days an outage begins when it is seen again, and the mail has the time in which nothing looked.
#[test]
fn an_outage_across_a_power_cut() {
    let (routers, sink, ring) = ([Router::start(Version::V7)], MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink);
    let watching = watching.without("alarm_after").global("alarm_after = 15");
    let path = watching.archive("core0").join("state.json");
    let state = || -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap()
    };
    let daemon = watching.start();
    daemon.stderr.wait_for("core0: first contact");
    routers[0].shut_down();
    wait_until("it is unreachable", || state()["status"] == "unreachable");
    daemon.kill();
    assert_eq!(sink.count(), 0);
    let mut old = state();
    old["since"] = "2020-01-01T00:00:00Z".into();
    fs::write(&path, old.to_string()).unwrap();
    // Of the same boot: process, boot, seconds since the boot, time of day.
    let lock = watching.root().join(".lock");
    let text = fs::read_to_string(&lock).unwrap();
    let mut words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words.len(), 4, "{text}");
    let uptime: i64 = words[2].parse().unwrap();
    words[2] = (uptime - 3 * 24 * 3600).to_string();
    fs::write(&lock, words.join(" ")).unwrap();
    let daemon = watching.start();
    daemon.stderr.wait_for("no aw-routeros followed the routers from 20");
    let mail = sink.wait_for(&["Subject: [addrwatch] core0: unreachable\n", "unreachable for "]);
    let off = "; aw-routeros was off from 20";
    assert!(
        mail.contains(off) && mail.contains(", and did not reach it before that either"),
        "{mail}"
    );
    assert!(!mail.contains(" d ") && !mail.contains("2020-"), "{mail}");
    let since = state()["since"].as_str().unwrap().to_owned();
    assert!(!since.starts_with("2020"), "{since}");
    daemon.stop().ok();
}

/// Exports that lack sections, encrypted exports that cannot be stored, and damaged bases of all routers are one mail each, and so
/// are their ends.
#[test]
fn faults_of_exports_are_shared() {
    // Of the age documentation.
    const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let routers = [(); 4].map(|()| Router::start(Version::V7));
    let (sink, ring) = (MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink).global(&format!("encrypt_to = [{KEY:?}]"));
    let watching = watching.option("[defaults]\nshow_sensitive = true");
    let daemon = watching.start();
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    daemon.stop().ok();
    for n in 0..routers.len() {
        let archive = watching.archive(format!("core{n}"));
        fs::write(archive.join("latest.rsc"), "").unwrap();
        fs::remove_dir_all(archive.join("sensitive")).unwrap();
        fs::write(archive.join("sensitive"), "").unwrap();
    }
    let daemon = watching.start();
    sink.wait_for(&[
        "Subject: [addrwatch] all 4 routers: archive damaged\n",
        "core3 (127.0.0.1:",
        "latest.rsc is damaged",
        "the disk of the archive may be full, or fail",
    ]);
    sink.wait_for(&["Subject: [addrwatch] all 4 routers: encrypted export not stored\n"]);
    let export = |router: &Router| {
        let exports = router.exports();
        router.log("system,info", "item changed by carol");
        wait_until("an export", || router.exports() > exports);
    };
    for (n, router) in routers.iter().enumerate() {
        fs::remove_file(watching.archive(format!("core{n}")).join("sensitive")).unwrap();
        router.state().faults.failing = vec!["/ip address".to_owned(); 1_000].into();
        export(router);
    }
    sink.wait_for(&[
        "Subject: [addrwatch] all 4 routers: incomplete export\n",
        "the router failed to export",
    ]);
    routers.iter().for_each(|router| router.state().faults.failing.clear());
    let is_over = || subjects(&sink, "4 routers: export complete again") == 1;
    for _ in 0..30 {
        if is_over() {
            break;
        }
        routers.iter().for_each(export);
    }
    wait_until("a mail about the end", is_over);
    wait_until("another one", || subjects(&sink, "4 routers: exports are encrypted again") == 1);
    daemon.stop().ok();
    assert_eq!(sink.count(), 5, "{:?}", sink.messages());
}

/// A repository that takes no commit is one mail for all changes, and one more when it does.
#[test]
fn a_repository_that_takes_no_commit() {
    let routers = [(); 2].map(|()| Router::start(Version::V7));
    let (sink, ring) = (MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink).global("mail_digest = 0").git();
    let daemon = watching.start();
    for n in 0..2 {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    let (objects, aside) = (watching.git_path().join("objects"), watching.file("objects"));
    fs::rename(&objects, &aside).unwrap();
    fs::write(&objects, "").unwrap();
    for (n, router) in routers.iter().enumerate() {
        router.add("alice", "/ip dns set servers=192.0.2.53");
        sink.wait_for(&[&format!("core{n}: "), "alice"]);
    }
    sink.wait_for(&[
        "Subject: [addrwatch] git takes no commit\n",
        "commit to the git repository: ",
    ]);
    unhealthy(&watching, &["commit to the git repository: "]);
    fs::remove_file(&objects).unwrap();
    fs::rename(&aside, &objects).unwrap();
    routers[0].add("bob", "/ip dns set servers=192.0.2.54");
    sink.wait_for(&["Subject: [addrwatch] git works again\n"]);
    assert_eq!(subjects(&sink, "] git"), 2);
    wait_until("all is well", || health(&watching).status.success());
    daemon.stop().ok();
}

/// The mail about a changed host key names the command that sets it, which changes nothing else; one is about the end.
#[test]
fn a_changed_host_key() {
    let mut routers = [(); 2].map(|()| Router::start(Version::V7));
    let (sink, ring) = (MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink);
    let daemon = watching.start();
    for n in 0..2 {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    let old = routers[1].host_key.clone();
    routers[1].shut_down();
    routers[1].boot(Some(new_key()));
    let remedy = "(if the new one is right: aw-routeros host-key core1)";
    sink.wait_for(&["Subject: [addrwatch] core1: HOST KEY CHANGED\n", remedy]);
    let path = watching.file("routeros.toml");
    let text = fs::read_to_string(&path).unwrap();
    let no = command(&watching, &["host-key", "core1"], "no\n");
    no.refused("aw-routeros", &["the host keys are not confirmed: nothing was changed"]);
    command(&watching, &["host-key", "core9"], "").refused("aw-routeros", &["core9: no router"]);
    let other = ["host-key", "core1", "--host-key", &old];
    command(&watching, &other, "")
        .refused("aw-routeros", &["and not that of --host-key: nothing was changed (compare both"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let set = command(&watching, &["host-key"], "yes\n").ok();
    assert!(set.stderr.contains("1 router shows the host key of the configuration"), "{set:?}");
    let new = format!("ssh-ed25519 {}", routers[1].host_key);
    let shown = format!("core1 {}: {new} (in the configuration: {old})\n", routers[1].address);
    assert!(set.stdout.contains(&shown), "{set:?}");
    assert!(set.stdout.contains("Is it the same? (yes/no): "), "{set:?}");
    assert!(set.stdout.ends_with("next: systemctl reload aw-routeros\n"), "{set:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text.replace(&old, &new));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    daemon.signal(Signal::HUP);
    sink.wait_for(&["Subject: [addrwatch] core1: new host key is in the configuration now\n"]);
    assert_eq!(sink.count(), 2);
    let same = command(&watching, &["host-key"], "").ok();
    assert!(same.stderr.contains("2 routers show the host key of the configuration"), "{same:?}");
    daemon.stop().ok();
}

/// What a reload does not apply is mailed once, and again when it is; `--health` and `show` name it. A mistake does not
/// hinder what only reads the archive.
#[test]
fn a_configuration_that_is_not_in_effect() {
    let routers = [(); 2].map(|()| Router::start(Version::V7));
    let (sink, ring) = (MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink);
    let daemon = watching.start();
    for n in 0..2 {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    wait_until("all is well", || health(&watching).status.success());
    let path = watching.file("routeros.toml");
    let right = fs::read_to_string(&path).unwrap();
    fs::write(&path, right.clone() + "intervall = 5\n").unwrap();
    for _ in 0..2 {
        let lines = daemon.stderr.count();
        daemon.signal(Signal::HUP);
        wait_until("it is refused", || daemon.stderr.count() > lines);
    }
    const MISTAKE: &str = "unknown key `intervall` in [[router]] (did you mean `interval`?)";
    sink.wait_for(&[
        "Subject: [addrwatch] configuration not in effect\n",
        MISTAKE,
        "the running aw-routeros keeps its old configuration, and cannot start again with this file",
    ]);
    unhealthy(&watching, &["runs with the configuration of 20", MISTAKE]);
    let same = command(&watching, &["diff", "core0", "core1"], "").ok();
    assert!(same.stderr.contains("core0 and core1 have the same configuration"), "{same:?}");
    assert!(same.stderr.contains(": the routers of the archive are used"), "{same:?}");
    let shown = command(&watching, &["show"], "").ok().stdout;
    assert!(shown.contains(&routers[0].address.to_string()), "{shown}");
    routers[1].shut_down();
    let not_followed = "1 of 2 routers not well: core1 is not followed since ";
    wait_until("core1 is shown, too", || health(&watching).stdout.contains(not_followed));
    unhealthy(&watching, &["runs with the configuration of 20", MISTAKE, not_followed]);
    sink.wait_for(&["Subject: [addrwatch] core1: unreachable\n"]);
    routers[1].plug();
    sink.wait_for(&["Subject: [addrwatch] core1: connected again\n"]);
    // The file is right, and the daemon does not know it yet.
    fs::write(&path, &right).unwrap();
    unhealthy(&watching, &["runs with the configuration of 20", MISTAKE]);
    let shown = command(&watching, &["show"], "").ok();
    assert!(shown.stderr.contains("the running aw-routeros: runs with the config"), "{shown:?}");
    daemon.signal(Signal::HUP);
    sink.wait_for(&["Subject: [addrwatch] configuration in effect\n"]);
    wait_until("all is well", || health(&watching).status.success());
    assert_eq!(sink.count(), 4, "the second reload is no news");
    // A key that needs a restart, and a router that is gone.
    let (_, rest) = right.split_once("[mail]").unwrap();
    let text = right.replace(rest, "").replace("[mail]", &format!("keep = 5\n[mail]{rest}"));
    let (start, _) = text.rsplit_once("[[router]]").unwrap();
    fs::write(&path, start).unwrap();
    daemon.signal(Signal::HUP);
    const KEYS: &str = "not in effect: keep: restart aw-routeros (systemctl restart aw-routeros)";
    sink.wait_for(&["Subject: [addrwatch] configuration not in effect\n", KEYS]);
    daemon.stderr.wait_for("; removed: core1 (aw-routeros log NAME reads its archive)");
    unhealthy(&watching, &["runs with the configuration of 20", KEYS]);
    let gone = command(&watching, &["log", "core1", "--all"], "").ok();
    assert!(gone.stderr.contains("core1 is not in the configuration"), "{gone:?}");
    assert!(gone.stdout.contains("first contact"), "{gone:?}");
    let rest = command(&watching, &["log"], "").ok();
    assert!(
        rest.stderr.contains(
            "archives of removed routers, not shown: core1 (aw-routeros log NAME shows one; "
        ),
        "{rest:?}"
    );
    command(&watching, &["log", "core2"], "").refused("aw-routeros", &["core2: no router of this"]);
    daemon.stop().ok();
    let daemon = watching.start();
    daemon.stderr.wait_for("core0: connected");
    wait_until("the restart is the end", || subjects(&sink, "configuration in effect") == 2);
    wait_until("all is well", || health(&watching).status.success());
    daemon.stop().ok();
}

/// A hook that cannot be started is reported before the first change; another cause, and the end, are reported too. `check`
/// and `--health` name it.
#[test]
fn a_hook_that_cannot_be_started() {
    let (routers, sink, ring) = ([Router::start(Version::V7)], MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink);
    let (hook, out) = (watching.file("on-change"), watching.file("out"));
    let name = hook.display().to_string();
    let watching = watching
        .global("mail_digest = 0")
        .global(&format!("hooks = [{name:?}, \"cat - | mail noc\"]"));
    let mut check = watching.command();
    check.arg("check");
    let missing = format!("hook {name}: no such file or directory (create it, ");
    let no_shell = "hook cat: no shell runs it, so that \"|\" is passed on as it is (write [\"/bin/sh\", \"-c\", \"cat - | mail noc\"])";
    let found = run(check);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    for text in [&missing, no_shell, "2 faults of the service (the lines before this one)"] {
        assert!(found.stderr.contains(text), "{text}: {found:?}");
    }
    let watching = {
        let text = fs::read_to_string(watching.file("routeros.toml")).unwrap();
        fs::write(watching.file("routeros.toml"), text.replace(", \"cat - | mail noc\"", ""))
            .unwrap();
        watching
    };
    let mut start = aw_tests::rig::program("aw-routeros", &["-c"]);
    start.arg(watching.file("routeros.toml"));
    let daemon = aw_tests::rig::Run::start(start);
    daemon.stderr.wait_for("first contact");
    let subject = format!("Subject: [addrwatch] hook {name} fails\n");
    sink.wait_for(&[&subject, "no such file or directory; at the start (create it, "]);
    let fails = format!("hook {name} fails: no such file or directory");
    unhealthy(&watching, &[&fails]);
    let shown = command(&watching, &["show"], "").ok();
    assert!(shown.stderr.contains(&fails), "{shown:?}");
    fs::write(&hook, format!("#!/bin/sh\necho x >> {}\n", out.display())).unwrap();
    fs::set_permissions(&hook, Permissions::from_mode(0o600)).unwrap();
    routers[0].add("alice", "/ip dns set servers=192.0.2.53");
    let why = format!("permission denied; at a change of core0 (chmod +x {name}; ");
    sink.wait_for(&[&subject, &why]);
    fs::set_permissions(&hook, Permissions::from_mode(0o700)).unwrap();
    routers[0].add("bob", "/ip dns set servers=192.0.2.54");
    sink.wait_for(&[&format!("Subject: [addrwatch] hook {name} works again\n")]);
    assert!(out.exists());
    wait_until("all is well", || health(&watching).status.success());
    daemon.stop().ok();
}

/// Exports that the router cuts are mailed once, and once more when they are whole.
#[test]
fn exports_that_are_cut_for_a_while() {
    let (routers, sink, ring) = ([Router::start(Version::V7)], MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    routers[0].state().faults.cut = Some(100);
    routers[0].add("alice", "/ip dns set servers=192.0.2.53");
    sink.wait_for(&["Subject: [addrwatch] core0: incomplete export\n"]);
    routers[0].state().faults.cut = None;
    sink.wait_for(&["Subject: [addrwatch] core0: exports are recorded again\n"]);
    daemon.stop().ok();
}
