//! Faults of routers: an incomplete export never becomes the base, an unknown host key is never trusted, and a refused
//! login is not repeated.
#![forbid(unsafe_code)]

use aw_tests::cable::Cable;
use aw_tests::certificates::make_certificates;
use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Run, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Faults, Router, Version, new_key};
use aw_tests::server::{Server, free_port};
use aw_tests::watching::{Watching, peak_memory};
use rustix::process::Signal;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Incomplete exports are stored separately and reported; the base stays, and the change is found by the next complete export.
#[test]
fn incomplete_exports() {
    type Set = fn(&mut Faults);
    let faults: [(Set, &str); 5] = [
        (|faults| faults.cut = Some(150), "the export ends in the middle of a line"),
        (|faults| faults.marks = vec!["#interrupted".into()], "the router interrupted the export"),
        (|faults| faults.marks = vec!["interrupted".into()], "the router interrupted the export"),
        (
            |faults| faults.marks = vec!["Connection is not secure".into()],
            "the export has a line that is not configuration: Connection is not secure",
        ),
        (|faults| faults.cut = Some(0), "the router sent nothing"),
    ];
    for (set, why) in faults {
        let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
        let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
        let daemon = watching.start();
        daemon.stderr.wait_for("first contact");
        let base = fs::read(watching.archive("core1").join("latest.rsc")).unwrap();
        set(&mut router.state().faults);
        router.add("alice", "/ip dns set servers=192.0.2.53");
        daemon.stderr.wait_for(why);
        // It is tried again, and stored again, ten seconds later: the mail may take as long.
        assert_eq!(fs::read_dir(watching.archive("core1").join("refused")).unwrap().count(), 1);
        sink.wait_for(&["Subject: [addrwatch] core1: incomplete export", why]);
        assert_eq!(fs::read(watching.archive("core1").join("latest.rsc")).unwrap(), base);
        router.state().faults = Faults::default();
        daemon.stderr.wait_for("exports are complete again");
        daemon.stderr.wait_for("changed by alice (+1 -0)");
        daemon.stop().ok();
    }
}

/// An export that does not arrive is reported; the log is still followed, and its claims are kept.
#[test]
fn an_export_that_does_not_arrive() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .router("core1", &router, Version::V7)
        .option("timeout = 5");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.state().faults.hang = true;
    router.add("alice", "/ip dns set servers=192.0.2.53");
    sink.wait_for(&["core1: failed fetch", "took longer than 5s"]);
    router.state().faults.hang = false;
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    assert_eq!(router.state().logins, 1);
    daemon.stop().ok();
}

/// A cut at the end of a line is recognized by the lost lines only: a second export must confirm the first.
#[test]
fn an_export_that_lost_much() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().lines.extend((0..20).map(|n| format!("/ip route add gateway=192.0.2.{n}")));
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let exports = router.exports();
    router.state().lines.truncate(10);
    router.log("system,info", "route removed by ssh:alice@192.0.2.7 (/ip route remove)");
    daemon.stderr.wait_for("the export has 10 of 25 lines: exporting again");
    daemon.stderr.wait_for("changed by alice (+0 -15)");
    assert_eq!(router.exports(), exports + 2);
    daemon.stop().ok();
}

/// RouterOS drops the part of an export that does not fit the client's window: the window is larger than any accepted
/// export.
#[test]
fn the_window_fits_a_large_export() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let line = |n| {
        format!(
            "/ip firewall address-list add address=192.0.2.1 list=l{n} comment={}",
            "x".repeat(40)
        )
    };
    router.state().lines = (0..30_000).map(line).collect();
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let latest = fs::read_to_string(watching.archive("core1").join("latest.rsc")).unwrap();
    assert!(latest.len() > 3 << 20 && latest.lines().count() == 30_003, "{}", latest.len());
    assert_eq!(router.state().enlarged, 0, "the window that it opens with is enough");
    daemon.stop().ok();
}

/// RouterOS drops the part of an export that does not fit the window, and closes without an error. An export that fits is
/// complete; a larger one is rejected.
#[test]
fn an_export_larger_than_the_window() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let line = |n| {
        format!(
            "/ip firewall address-list add address=192.0.2.1 list=l{n} comment={}",
            "x".repeat(940)
        )
    };
    router.state().faults.starve = true;
    router.state().lines = (0..8_000).map(line).collect();
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let latest = watching.archive("core1").join("latest.rsc");
    let base = fs::read(&latest).unwrap();
    assert!(base.len() > 7 << 20 && base.ends_with(b"x\r\n"), "{}", base.len());
    router.state().lines.extend((8_000..17_000).map(line));
    router.log("system,info", "entry added by ssh:alice@192.0.2.7 ()");
    daemon.stderr.wait_for("export rejected: the export is longer than");
    sink.wait_for(&["core1: incomplete export"]);
    assert!(fs::read(&latest).unwrap() == base, "the base stays");
    daemon.stop().ok();
}

/// An export of 460 KB that is 20 GB with the menu of each line is rejected, within little memory.
#[test]
fn an_export_that_expands() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let base = fs::read(watching.archive("core1").join("latest.rsc")).unwrap();
    let menu = format!("/{}", "x".repeat(230_000));
    router.state().lines = [vec![menu], vec!["add".into(); 60_000]].concat();
    router.log("system,info", "entry added by ssh:alice@192.0.2.7 ()");
    daemon.stderr.wait_for("export rejected: the lines of the export, each with its menu,");
    assert!(peak_memory(&daemon) < 300 << 20, "{}", peak_memory(&daemon));
    assert!(fs::read(watching.archive("core1").join("latest.rsc")).unwrap() == base);
    daemon.stop().ok();
}

/// There is no export to compare the first one with: it is fetched twice, and accepted if both are equal.
#[test]
fn the_first_export_is_cut() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    // At the end of a line, where the cut has no sign.
    let cut = "# 2026-11-22 10:00:00 by RouterOS 7.14.2\r\n# software id = SSXB-J5Q7\r\n#\r\n/interface bridge add name=loopback\r\n";
    router.state().faults = Faults { cut: Some(cut.len()), once: true, ..Faults::default() };
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("the first two exports in a row differ");
    assert!(!watching.archive("core1").join("latest.rsc").exists());
    daemon.stderr.wait_for("first contact");
    let latest = fs::read_to_string(watching.archive("core1").join("latest.rsc")).unwrap();
    assert_eq!(latest.lines().count(), 3 + 5);
    daemon.stop().ok();
}

/// A user that the log named before the connection ended is credited after the next one. Lines of the time between are
/// candidates of UNKNOWN, each once.
#[test]
fn a_connection_that_ends_before_the_export() {
    for version in [Version::V6, Version::V7] {
        let (router, ring) = (Router::start(version), Ring::new());
        let watching = Watching::new(&ring).router("core1", &router, version);
        let daemon = watching.start();
        daemon.stderr.wait_for("first contact");
        let diff = || fs::read_to_string(watching.archive("core1").join("diff.txt")).unwrap();
        let break_off = |user: &str, line: &str| {
            let exports = router.exports();
            router.state().faults.hang = true;
            router.add(user, line);
            wait_until("the line was received", || router.exports() > exports);
            router.shut_down();
            router.state().faults.hang = false;
        };
        break_off("alice", "/ip dns set servers=192.0.2.53");
        router.plug();
        daemon.stderr.wait_for("changed by alice (+1 -0)");
        assert!(!diff().contains("candidate"), "{}", diff());
        break_off("bob", "/ip dns set servers=192.0.2.54");
        router.add_unheard("eve", "/user add name=eve group=full");
        router.plug();
        daemon.stderr.wait_for("changed by bob, UNKNOWN (+2 -0)");
        assert_eq!(diff().matches("  candidate: eve").count(), 1, "{}", diff());
        // The same words again, as RouterOS 6 has them: this line, and none of before.
        router.shut_down();
        router.add_unheard("eve", "/user add name=eva group=full");
        router.plug();
        daemon.stderr.wait_for("changed by UNKNOWN (+1 -0)");
        assert_eq!(diff().matches("  candidate: eve").count(), 2, "{}", diff());
        router.shut_down();
        router.add_silently("/user add name=mal group=full");
        router.plug();
        let unknown = "changed by UNKNOWN (+1 -0)";
        wait_until("it is found", || daemon.stderr.text().matches(unknown).count() == 2);
        assert_eq!(diff().matches("  candidate: ").count(), 2, "{}", diff());
        daemon.stop().ok();
    }
}

/// A line that arrives while the stored log is printed is neither lost nor counted twice.
#[test]
fn a_line_between_the_log_and_its_follower() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    router.state().faults.between = Some(("bob".into(), "/ip dns set servers=192.0.2.54".into()));
    router.cut();
    daemon.stderr.wait_for("changed by bob (+1 -0)");
    daemon.stop().ok();
}

/// After an error other than an unsupported word, the command without secrets is not tried.
#[test]
fn an_unexpected_answer() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().lines.push("/ppp secret add name=x password=geheim".into());
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.state().faults.odd = Some("failure: try again later".into());
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("export rejected: the router answered: failure: try again later");
    assert!(!router.state().commands.contains(&"/export terse".into()));
    router.state().faults.odd = None;
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
}

/// A router that allows one command in each connection refuses the login of the second connection.
#[test]
fn a_refused_second_login() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    router.state().faults = Faults { channels: Some(2), logins: Some(1), ..Faults::default() };
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = watching.start();
    sink.wait_for(&["core1: login refused"]);
    // Longer than the pause after an export that failed.
    std::thread::sleep(std::time::Duration::from_secs(12));
    assert_eq!(router.counts(), (1, 1));
    router.state().faults.logins = None;
    daemon.signal(Signal::HUP);
    daemon.stderr.wait_for("first contact");
    daemon.stop().ok();
}

/// Options for old routers.
#[test]
fn old_algorithms_and_a_suffix() {
    let (mut router, ring) = (Router::start(Version::V6), Ring::new());
    router.state().faults.group1 = true;
    router.shut_down();
    router.boot(None);
    let mut watching = Watching::new(&ring).router("core1", &router, Version::V6);
    let daemon = watching.start();
    daemon.stderr.wait_for("no common key exchange algorithm, the router offers diffie-hellman-group1-sha1 (of 1024 bits: set legacy_group1 = true)");
    let option = "legacy_group1 = true\nlogin_suffix = \"+ct1000w\"";
    watching.replace("legacy = true", &format!("legacy = true\n{option}"));
    daemon.signal(Signal::HUP);
    daemon.stderr.wait_for("first contact");
    assert_eq!(router.state().login, "admin+ct1000w");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
}

/// A name server that does not answer delays only the routers that are configured by name.
#[test]
fn a_dead_name_server() {
    let silent = UdpSocket::bind("127.0.0.153:53").expect("port 53, as root");
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let mut watching = Watching::new(&ring).router("core1", &router, Version::V7);
    for n in 0..12 {
        let password = watching.file("password");
        watching = watching
            .entry(&format!("gone{n}"), &format!("gone{n}.example.org"))
            .option("user = \"admin\"")
            .option(&format!("password_file = {password:?}"));
    }
    let resolver = watching.file("resolv.conf");
    let text = "nameserver 127.0.0.153\noptions timeout:30 attempts:5\n";
    fs::write(&resolver, text).unwrap();
    fs::set_permissions(&resolver, fs::Permissions::from_mode(0o644)).unwrap();
    let inner = watching.command();
    let mut command = Command::new("unshare");
    let mount =
        format!("mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"", resolver.display());
    command.args(["--mount", "sh", "-c", &mount]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let daemon = Run::start(command);
    silent.recv(&mut [0; 512]).expect("a question");
    daemon.stderr.wait_for("core1: first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    let why = "gone0: unreachable for ";
    let line = daemon.stderr.wait_for(why);
    assert!(line.contains("resolve gone0.example.org: no answer from a name server"), "{line}");
    daemon.stop().ok();
}

/// A refused login is tried once, and once more after SIGHUP.
#[test]
fn a_refused_login() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    router.state().faults.refuse = true;
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("login refused");
    sink.wait_for(&["core1: login refused"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(router.state().refused, 1);
    router.state().faults.refuse = false;
    daemon.signal(Signal::HUP);
    daemon.stderr.wait_for("connected again");
    assert_eq!(router.counts(), (1, 1));
    daemon.stop().ok();
}

/// A password, passphrase or key that other users may read is not used: no login is tried.
#[test]
fn a_password_that_others_may_read() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let mut watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let password = watching.file("password");
    let mode = |mode| fs::set_permissions(&password, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let daemon = watching.start();
    let shown = password.display();
    let refusal =
        format!("core1: read {shown}: other users may read or write it (chmod o= {shown})");
    daemon.stderr.wait_for(&refusal);
    assert_eq!(router.counts(), (0, 0));
    mode(0o640);
    daemon.signal(Signal::HUP);
    daemon.stderr.wait_for("core1: first contact");
    let key = watching.file("id");
    let entry = format!("key_file = {key:?}\npassphrase_file = {password:?}");
    watching.replace(&format!("password_file = {password:?}"), &entry);
    mode(0o604);
    daemon.signal(Signal::HUP);
    wait_until("the passphrase is refused", || daemon.stderr.text().matches(&refusal).count() == 2);
    daemon.stop().ok();
    // Another archive: this one has a pause after a fault of the login.
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let mut watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let [key, password] = ["id", "password"].map(|name| watching.file(name));
    fs::write(&key, "a key").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
    watching.replace(&format!("password_file = {password:?}"), &format!("key_file = {key:?}"));
    let daemon = watching.start();
    let shown = key.display();
    daemon.stderr.wait_for(&format!("read {shown}: other users may read or write it"));
    assert_eq!(router.counts(), (0, 0));
    daemon.stop().ok();
}

/// A reload that changes the entry of a router causes one new login, not two.
#[test]
fn a_login_refused_after_a_reload() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().faults.refuse = true;
    let mut watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("login refused");
    watching.replace("settle = 1", "settle = 2");
    daemon.signal(Signal::HUP);
    wait_until("it is tried once more", || router.state().refused == 2);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(router.state().refused, 2);
    daemon.stop().ok();
}

/// If the mail server refuses one receiver, the others get the mail, each once.
#[test]
fn a_receiver_that_the_mail_server_refuses() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    sink.answer_for("gone@example.org", "550 no such user");
    sink.answer_for("full@example.org", "452 mailbox full");
    let mut watching = Watching::new(&ring).mail(sink.port).global("mail_digest = 0").router(
        "core1",
        &router,
        Version::V7,
    );
    let receivers = "\"gone@example.org\", \"full@example.org\", \"noc@example.org\"";
    watching.replace_mail("\"noc@example.org\"", receivers);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    for n in 1..=2 {
        router.add("alice", &format!("/ip dns set servers=192.0.2.{n}"));
        sink.wait_for(&["TO noc@example.org\n", &format!("+/ip dns set servers=192.0.2.{n}")]);
    }
    daemon.stderr.wait_for("rejected a mail, which is not sent again: mail server 127.0.0.1");
    daemon.stderr.wait_for("no such user");
    let ended = |end: &str| {
        let names = fs::read_dir(watching.archive(".spool")).unwrap();
        names.filter(|name| name.as_ref().unwrap().path().extension().unwrap() == end).count()
    };
    wait_until("each is handled", || (ended("refused"), ended("eml")) == (2, 2));
    assert_eq!(sink.count(), 2);
    daemon.stop().ok();
}

/// No mail can report that mail fails: `--health` and `show` do, also after a restart, until it works again.
#[test]
fn mail_that_fails_is_a_fault_of_the_service() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    sink.answer_for("gone@example.org", "550 no such user");
    let mut watching = Watching::new(&ring).mail(sink.port).global("mail_digest = 0").router(
        "core1",
        &router,
        Version::V7,
    );
    watching.replace_mail("\"noc@example.org\"", "\"gone@example.org\", \"noc@example.org\"");
    let ask = |watching: &Watching, word: &str| {
        let mut command = watching.command();
        command.arg(word);
        run(command)
    };
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.1");
    let refused =
        "the mail server refused the last mail to gone@example.org: mail server 127.0.0.1";
    let is_named = |watching: &Watching| ask(watching, "--health").stdout.contains(refused);
    wait_until("the receiver is a fault", || is_named(&watching));
    assert!(ask(&watching, "show").stderr.contains(refused));
    daemon.stop().ok();
    let daemon = watching.start();
    wait_until("it outlives a restart", || is_named(&watching));
    daemon.stop().ok();
    // Another address, and no server.
    let down = free_port();
    watching.replace_mail("gone@example.org", "back@example.org");
    watching.replace_mail(&sink.port.to_string(), &down.to_string());
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: connected");
    router.add("alice", "/ip dns set servers=192.0.2.2");
    wait_until("the server is a fault", || {
        let health = ask(&watching, "--health");
        health.status.code() == Some(1)
            && health.stdout.contains("mail cannot be sent, 2 in the queue: mail server 127.0.0.1")
            && !health.stdout.contains("gone@example.org")
    });
    daemon.stop().ok();
    watching.replace_mail(&down.to_string(), &sink.port.to_string());
    let daemon = watching.start();
    wait_until("it is over", || ask(&watching, "--health").status.success());
    daemon.stop().ok();
}

/// An unknown host key is not trusted, a changed one is reported, and no password is sent to either.
#[test]
fn host_keys() {
    let (mut router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let mut watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let pinned = format!("host_key = {:?}\n", router.host_key);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.shut_down();
    router.boot(Some(new_key()));
    daemon.stderr.wait_for("ITS HOST KEY HAS CHANGED");
    sink.wait_for(&["core1: HOST KEY CHANGED", &router.host_key]);
    assert_eq!(router.counts(), (1, 0));
    // With the new key pinned, it is followed again without a restart.
    let pin = format!("host_key = [\"ssh-ed25519 {}\"]\n", router.host_key);
    watching.replace(&pinned, &pin);
    daemon.signal(Signal::HUP);
    wait_until("it logged in", || router.state().logins == 2);
    watching.replace(&pin, "");
    daemon.signal(Signal::HUP);
    daemon
        .stderr
        .wait_for(&format!("its host key is not trusted: ssh-ed25519 {}", router.host_key));
    daemon.stop().ok();
    assert_eq!(router.state().logins, 2);
}

/// A router that restarts or loses its connection is reported once and followed again; changes of the time between are
/// found.
#[test]
fn it_goes_and_comes_back() {
    let (mut router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.send(b" 2026-11-22 10:00:00 system,info item added by mal");
    let lines = daemon.stderr.count();
    router.shut_down();
    daemon.stderr.wait_for("unreachable for");
    sink.wait_for(&["core1: unreachable"]);
    router.add_silently("/ip dns set servers=192.0.2.53");
    router.boot(None);
    daemon.stderr.wait_for("connected again");
    daemon.stderr.wait_for("changed by UNKNOWN (+1 -0)");
    router.add("alice", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    let lines = daemon.stderr.count() - lines;
    assert!(lines < 7, "{}", daemon.stderr.text());
    assert!(!watching.archive("core1").join("users").join("mal.diff").exists());
    daemon.stop().ok();

    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.send(b" 2026-11-22 10:00:00 system,info item added by mal");
    router.cut();
    router.add_silently("/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by UNKNOWN (+1 -0)");
    assert!(!watching.archive("core1").join("users").join("mal.diff").exists());
    router.add("alice", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
}

/// A silent router is recognized by keepalives; one that never answers, by a time limit.
#[test]
fn silence() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let cable = Cable::to(router.address);
    let mut watching = Watching::new(&ring)
        .mail(sink.port)
        .router("core1", &router, Version::V7)
        .option("keepalive = 3");
    watching.replace(&router.address.to_string(), &cable.address.to_string());
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    cable.pull();
    router.add("eve", "/ip dns set servers=192.0.2.53");
    sink.wait_for(&["core1: unreachable"]);
    cable.plug();
    daemon.stderr.wait_for("connected again");
    daemon.stderr.wait_for("changed by UNKNOWN (+1 -0)");
    let diff = fs::read_to_string(watching.archive("core1").join("diff.txt")).unwrap();
    assert!(diff.contains("candidate: eve"), "{diff}");
    assert_eq!(router.state().logins, 2);
    router.state().faults.silent = true;
    cable.pull();
    cable.plug();
    // It was logged and mailed with the first cause; that of the last try is in the state.
    let state = || fs::read_to_string(watching.archive("core1").join("state.json")).unwrap();
    wait_until("no answer", || state().contains("\"why\":\"no answer"));
    router.state().faults.silent = false;
    router.add_silently("/ip dns set servers=192.0.2.54");
    let unknown = "configuration changed by UNKNOWN";
    wait_until("it is back", || daemon.stderr.text().matches(unknown).count() == 2);
    router.add("alice", "/ip dns set servers=192.0.2.55");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
}

/// Long records arrive in parts, with terminal decoration between them; a router may not support `where`, or a second
/// channel.
#[test]
fn oddities() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().faults.no_where = true;
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    wait_until("it follows without a filter", || {
        router.state().commands.iter().any(|command| command == "/log print follow-only")
    });
    router.add_silently("/system script add name=x");
    for piece in [
        "\x1b[1m = = =   = = =\r\n 2026-11-22 10:00:00 system,info script changed by ssh:al",
        "ice@192.0.2.7 (/system script set x source=\"ab\r\n-- Ctrl-C to quit.\r",
        " 2026-11-22 10:00:00 system,info cd by ef\r\n 2026-11-22 10:00:00 system,info gh\")\r\n",
    ] {
        router.send(piece.as_bytes());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    let diff = fs::read_to_string(watching.archive("core1").join("diff.txt")).unwrap();
    assert!(diff.contains(" (/system script set x source=\"abcd by efgh\")\n"), "{diff}");
    daemon.stop().ok();

    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().faults.channels = Some(2); // the log, and what follows it
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    assert_eq!(
        router.state().logins,
        3,
        "a second connection for each export, of which the first takes two"
    );
    daemon.stop().ok();
}

/// Mail is queued while the mail server is down, also across a restart; a rejected mail does not block the queue.
#[test]
fn a_mail_server_that_fails() {
    let (router, mut sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    sink.kill();
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("mail cannot be sent, 1 in the queue");
    daemon.stderr.wait_for("changed by alice");
    daemon.kill();
    let exports = router.exports();
    let daemon = watching.start();
    daemon.stderr.wait_for("mail cannot be sent");
    // A line that arrives during an export may be about it or the next one: both would name its user.
    wait_until("the first export", || router.exports() > exports);
    sink.start_again();
    sink.wait_for(&["changed by alice"]);
    daemon.stderr.wait_for("mail can be sent again");
    sink.answer(Some("554 never"));
    router.add("bob", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("the mail server rejected a mail, which is not sent again");
    sink.answer(None);
    router.add("carol", "/ip dns set servers=192.0.2.55");
    sink.wait_for(&["changed by carol"]);
    daemon.stop().ok();
}

/// Queued mail is sent in one connection, or in as many as the server requires.
#[test]
fn mails_share_a_connection() {
    for (most, connections) in [(100, 1), (1, 3)] {
        let routers: Vec<_> = (0..3).map(|_| Router::start(Version::V7)).collect();
        let (mut sink, ring) = (MailSink::start(), Ring::new());
        sink.take_at_most(most);
        sink.kill();
        let mut watching = Watching::new(&ring).mail(sink.port);
        for (n, router) in routers.iter().enumerate() {
            watching = watching.router(&format!("core{n}"), router, Version::V7);
        }
        let daemon = watching.start();
        for (n, router) in routers.iter().enumerate() {
            daemon.stderr.wait_for(&format!("core{n}: first contact"));
            router.add("alice", "/ip dns set servers=192.0.2.53");
        }
        for n in 0..routers.len() {
            daemon.stderr.wait_for(&format!("core{n}: configuration changed by alice"));
        }
        sink.start_again();
        daemon.stderr.wait_for("mail can be sent again");
        assert_eq!((sink.count(), sink.greetings()), (3, connections), "{most} in one");
        daemon.stop().ok();
    }
}

/// Mail over STARTTLS and over TLS, to a server with a private authority, with a password; not to a server whose
/// certificate is not trusted.
#[test]
fn protected_mail() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = directory.path().join("tls");
    make_certificates(&certificates);
    for tls in ["starttls", "tls"] {
        let sink = MailSink::protected(tls, &certificates);
        let (router, ring) = (Router::start(Version::V7), Ring::new());
        let watching = Watching::new(&ring)
            .mail(sink.port)
            .mail_option(&format!("tls = {tls:?}"))
            .router("core1", &router, Version::V7);
        let daemon = watching.start();
        daemon.stderr.wait_for("first contact");
        router.add("alice", "/ip dns set servers=192.0.2.53");
        let why = daemon.stderr.wait_for("mail cannot be sent");
        assert!(why.contains("certificate"), "{why}");
        daemon.stop().ok();
        let password = watching.file("mail.pass");
        fs::write(&password, "s3cret\n").unwrap();
        // One that others may read is refused.
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let watching = watching
            .mail_option(&format!("ca_file = {:?}", certificates.join("ca.pem")))
            .mail_option(&format!("user = \"watch\"\npassword_file = {password:?}"));
        let daemon = watching.start();
        sink.wait_for(&["changed by alice"]); // it waited in the spool
        daemon.stop().ok();
    }
}
