//! The running daemon of `aw-routeros`: what it says at the start and at a reload, `--health`, the line for systemd.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Finished, Run, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use rustix::process::Signal;
use std::fs;
use std::os::unix::{fs::PermissionsExt, net::UnixDatagram};
use std::time::Duration;

fn health(watching: &Watching) -> Finished {
    let mut command = watching.command();
    command.arg("--health");
    run(command)
}

#[track_caller]
fn assert_unhealthy(found: &Finished, text: &str) {
    assert_eq!((found.status.code(), found.stderr.as_str()), (Some(1), ""), "{found:?}");
    assert!(found.stdout.starts_with("aw-routeros: ") && found.stdout.contains(text), "{found:?}");
    assert_eq!(found.stdout.lines().count(), 1, "{found:?}");
}

/// One line for a monitoring system: no router, no daemon, routers that are not followed, and all is well.
#[test]
fn health_of_the_daemon() {
    let (one, two, ring) = (Router::start(Version::V7), Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring);
    assert_unhealthy(&health(&watching), "no router is configured (aw-routeros add HOST)");
    let watching = watching.router("core1", &one, Version::V7).router("core2", &two, Version::V7);
    assert_unhealthy(&health(&watching), "not running (systemctl start aw-routeros; if that fails");
    two.state().faults.refuse = true;
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    daemon.stderr.wait_for("core2: login refused");
    let found = health(&watching);
    assert_unhealthy(&found, "1 of 2 routers not well: core2 is not followed since ");
    assert!(
        found.stdout.contains(": refused: login refused (check user admin and the password in /"),
        "{found:?}"
    );
    two.state().faults.refuse = false;
    daemon.signal(Signal::HUP);
    daemon.stderr.wait_for("core2: first contact");
    let well = health(&watching).ok();
    assert_eq!(well.stdout, "aw-routeros: 2 routers, followed, and exported completely\n");
    daemon.kill();
    assert_unhealthy(&health(&watching), "not running");
}

/// The start prints what it follows, where it archives, and where mails go; systemd shows how many are followed.
#[test]
fn what_it_does_is_shown() {
    let (one, two, ring) = (Router::start(Version::V7), Router::start(Version::V7), Ring::new());
    let sink = MailSink::start();
    two.state().faults.refuse = true;
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &one, Version::V7).router(
        "core2",
        &two,
        Version::V7,
    );
    let path = watching.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let wait_for = |text: &str| {
        let mut bytes = [0; 512];
        loop {
            let length = socket.recv(&mut bytes).expect("a message before the timeout");
            if String::from_utf8_lossy(&bytes[..length]).contains(text) {
                return;
            }
        }
    };
    let mut command = watching.command();
    command.env("NOTIFY_SOCKET", &path);
    let daemon = Run::start(command);
    daemon.stderr.wait_for(&format!(
        "aw-routeros: 2 routers, archive {}, mail to noc@example.org by 127.0.0.1:{}",
        watching.root().display(),
        sink.port
    ));
    wait_for("STATUS=2 routers: 1 followed, 1 not (core2: refused)");
    two.state().faults.refuse = false;
    daemon.signal(Signal::HUP);
    wait_for("STATUS=2 routers: 2 followed");
    daemon.stop().ok();
    let ring = Ring::new();
    let nothing = Watching::new(&ring);
    let mut command = nothing.command();
    command.env("NOTIFY_SOCKET", &path);
    let daemon = Run::start(command);
    daemon.stderr.wait_for("aw-routeros: 0 routers, archive ");
    daemon.stderr.wait_for("no router is configured (aw-routeros add HOST)");
    wait_for("STATUS=no router is configured (aw-routeros add HOST)");
    daemon.stop().ok();
}

/// What the sandbox does not allow before a restart is named as that: a port, the directory of a password, of an include.
#[test]
fn a_reload_that_needs_a_restart() {
    let (one, two, three) =
        (Router::start(Version::V7), Router::start(Version::V7), Router::start(Version::V7));
    let (sink, ring, elsewhere) = (MailSink::start(), Ring::new(), tempfile::tempdir().unwrap());
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &one, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    let password = elsewhere.path().join("password");
    fs::write(&password, "secret\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let mut watching = watching.global("keep = 7").router("port", &two, Version::V7).router(
        "directory",
        &three,
        Version::V7,
    );
    let (at, own) = (watching.file("password"), format!("{password:?}"));
    let entry = format!(
        "name = \"directory\"\naddress = \"{}\"\nuser = \"admin\"\npassword_file = ",
        three.address
    );
    watching.replace(&format!("{entry}{at:?}"), &format!("{entry}{own}"));
    daemon.signal(Signal::HUP);
    const RESTART: &str = "was not in the configuration at the start: restart aw-routeros (systemctl restart aw-routeros)";
    daemon.stderr.wait_for(
        "changed in the configuration, and not in effect: keep: restart aw-routeros (systemctl restart aw-routeros)",
    );
    daemon.stderr.wait_for("configuration loaded: 3 routers; added: port, directory");
    let line = format!("port: port {} {RESTART}", two.address.port());
    wait_until("the new routers are tried", || {
        let text = daemon.stderr.text();
        text.contains(&line) || text.contains("port: first contact")
    });
    if !daemon.stderr.text().contains(&line) {
        return skip("this kernel has no rules of Landlock for ports");
    }
    daemon
        .stderr
        .wait_for(&format!("directory: read {}: its directory {RESTART}", password.display()));
    sink.wait_for(&["Subject: [addrwatch] port: not followed\n", RESTART]);
    assert_eq!(one.counts(), (1, 0), "the session of the first one stays");
    // A new directory of further files: the old configuration stays in effect.
    let include = elsewhere.path().join("routers.d");
    fs::create_dir(&include).unwrap();
    let watching = watching.global(&format!("include = {include:?}"));
    watching.command();
    daemon.signal(Signal::HUP);
    let line = daemon.stderr.wait_for("the old configuration stays in effect");
    assert!(line.contains("read include ") && line.contains(RESTART), "{line}");
    daemon.stop().ok();
    let daemon = watching.start();
    for name in ["core1", "port", "directory"] {
        daemon.stderr.wait_for(&format!("{name}: connected"));
    }
    daemon.stop().ok();
}

/// The entry of a router is edited before the facts after an export are read: the line that no export shows is noted once.
#[test]
fn reloaded_before_the_facts_are_read() {
    const PRINT_USERS: &str = "/user print detail";
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let mut watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let asked = || {
        let state = router.state();
        state.commands.iter().filter(|command| *command == PRINT_USERS).count()
    };
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    wait_until("the facts are read", || watching.archive("core1/facts.json").exists());
    let before = asked();
    router.state().held = vec![PRINT_USERS.into()];
    router.log("system,info", "user ops added by bob");
    wait_until("the users are asked for", || asked() > before);
    watching.replace("settle = 1", "settle = 2");
    daemon.signal(Signal::HUP);
    wait_until("it logged in again", || router.counts().0 == 2);
    router.state().held.clear();
    daemon.stderr.wait_for("bob: seen in the log only: user ops added by bob");
    router.log("system,info", "nothing changed by carol");
    daemon.stderr.wait_for("carol: seen in the log only");
    let noted = fs::read_to_string(watching.archive("core1/noted.jsonl")).unwrap();
    assert_eq!(noted.matches("user ops added").count(), 1, "{noted}");
    daemon.stop().ok();
}

/// A state that is damaged or too large is named, and the other routers are shown all the same.
#[test]
fn a_state_that_cannot_be_used() {
    let (one, two, ring) = (Router::start(Version::V7), Router::start(Version::V7), Ring::new());
    let watching =
        Watching::new(&ring).router("core1", &one, Version::V7).router("core2", &two, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    daemon.stderr.wait_for("core2: first contact");
    wait_until("all is well", || health(&watching).status.success());
    let path = watching.archive("core1").join("state.json");
    let run = |arguments: &[&str]| {
        let mut command = watching.command();
        command.args(arguments);
        run(command)
    };
    for text in ["{\"lines\": \"x\"}".to_owned(), "x".repeat(1 << 21)] {
        fs::write(&path, text).unwrap();
        let found = health(&watching);
        assert!(
            found
                .stdout
                .contains("1 of 2 routers not well: core1 has a state that cannot be read: it is "),
            "{found:?}"
        );
        let found = run(&["show"]);
        assert!(found.status.success() && found.stderr.contains("core1/state.json"), "{found:?}");
        assert!(found.stdout.contains("core2") && found.stdout.contains("7.14"), "{found:?}");
        assert_eq!(run(&["export", "core1"]).ok().stdout, "core1: unchanged\n");
        wait_until("it is replaced", || health(&watching).status.success());
    }
    // One that is no file at all: an error, after all others.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let found = health(&watching);
    assert!(found.stdout.contains("1 of 2 routers not well: core1 has a state"), "{found:?}");
    let found = run(&["show"]);
    assert!(!found.status.success() && found.stdout.contains("core2"), "{found:?}");
    daemon.stop();
}
