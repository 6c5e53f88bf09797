//! Routers whose own log does not show changes: they are reported, and lines that they send to a syslog server are received,
//! from rsyslog, logger and in RouterOS's forms.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Run, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::rsyslog::Rsyslog;
use aw_tests::server::{Server, free_port};
use aw_tests::watching::Watching;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

const REMOTE: &str = "Flags: X - disabled, I - invalid, * - default \n 0  * topics=info prefix=\"\" action=remote \n";
const LINE: &str =
    "filter rule added by ssh:alice@192.0.2.7/action:3 (*22 = /ip firewall filter add chain=input)";

/// A router that logs to a syslog server only, and a daemon that listens for it.
struct Remote {
    router: Router,
    watching: Watching,
    daemon: Run,
    port: u16,
}

impl Remote {
    fn start() -> Remote {
        let (router, port, ring) = (Router::start(Version::V7), free_port(), Ring::new());
        router.state().faults.logging = Some(REMOTE.into());
        let watching = Watching::new(&ring)
            .global(&format!("syslog = \"127.0.0.1:{port}\""))
            .router("core1", &router, Version::V7);
        let daemon = watching.start();
        daemon.stderr.wait_for("first contact");
        Remote { router, watching, daemon, port }
    }

    /// A change whose line only `send` sends.
    fn changed(self, send: impl FnOnce(u16)) {
        self.router.add_silently("/ip firewall filter add chain=input");
        send(self.port);
        self.credited();
    }

    fn credited(self) {
        self.daemon.stderr.wait_for("changed by alice (by syslog) (+1 -0)");
        let diff = fs::read_to_string(self.watching.archive("core1").join("diff.txt")).unwrap();
        assert!(diff.contains("not authenticated") && diff.contains("    syslog 20"), "{diff}");
        let stopped = self.daemon.stop().ok();
        assert!(!stopped.stderr.contains("its changes go to"), "{stopped:?}");
    }
}

fn logger(options: &[&str]) -> impl FnOnce(u16) {
    move |port| {
        let mut command = Command::new("logger");
        command.args(["-n", "127.0.0.1", "-P", &port.to_string()]).args(options);
        run(command).ok();
    }
}

fn udp(message: &str) -> impl FnOnce(u16) {
    move |port| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(message.as_bytes(), ("127.0.0.1", port)).unwrap();
    }
}

#[test]
fn logger_by_udp() {
    Remote::start().changed(logger(&["-d", "--rfc3164", "-t", "system,info", LINE]));
}

#[test]
fn logger_by_udp_rfc5424() {
    let text = format!("system,info {LINE}");
    Remote::start().changed(logger(&["-d", "--rfc5424", &text]));
}

#[test]
fn logger_by_tcp() {
    Remote::start().changed(logger(&["-T", "--rfc3164", "-t", "system,info", LINE]));
}

#[test]
fn logger_by_tcp_with_octet_counts() {
    let text = format!("system,info {LINE}");
    Remote::start().changed(logger(&["-T", "--octet-count", "--rfc5424", &text]));
}

/// A relay: rsyslog receives from the router and forwards.
#[test]
fn rsyslog_forwards() {
    for (protocol, options) in [("udp", ""), ("tcp", ""), ("tcp", "TCP_Framing=\"octet-counted\"")]
    {
        let Some(mut relay) = Rsyslog::start() else { return };
        let remote = Remote::start();
        relay.stop();
        let mut conf = OpenOptions::new().append(true).open(relay.path("conf")).unwrap();
        writeln!(
            conf,
            "*.* action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" protocol=\"{protocol}\" {options})",
            remote.port
        )
        .unwrap();
        relay.start_again();
        remote.router.add_silently("/ip firewall filter add chain=input");
        // As RouterOS sends it with add-topics-string.
        udp(&format!("<30>Oct  2 17:36:35 core1 system,info {LINE}"))(relay.port);
        remote.credited();
    }
}

/// The forms of RouterOS: `default`, and CEF over TCP.
#[test]
fn routeros_by_udp() {
    Remote::start().changed(udp(&format!("system,info {LINE}")));
}

#[test]
fn routeros_cef_by_tcp() {
    let escaped = LINE.replace('=', "\\=");
    Remote::start().changed(|port| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = "Oct  2 17:36:35 core1 CEF:0|MikroTik|hAP ax^2|7.18|10";
        let entry = |topics: &str, text: &str| {
            format!("{head}|{topics}|Low|dvchost=core1 dvc=127.0.0.1 msg={text}\r\n")
        };
        let login = entry("system,info,account", "user bob logged in from 192.0.2.8 via ssh");
        write!(stream, "{login}{}", entry("system,info", &escaped)).unwrap();
    });
}

/// The format `syslog` over TCP, whose messages have no end.
#[test]
fn routeros_by_tcp_without_an_end() {
    let remote = Remote::start();
    remote.router.add_silently("/ip firewall filter add chain=input");
    let mut stream = TcpStream::connect(("127.0.0.1", remote.port)).unwrap();
    let login =
        "<30>Oct  2 17:36:35 core1 system,info,account user bob logged in from 192.0.2.8 via ssh";
    write!(stream, "{login}<30>Oct  2 17:36:36 core1 system,info {LINE}").unwrap();
    remote.credited();
}

/// Only the addresses of routers may send; a sender that is no router's is reported once.
#[test]
fn other_senders() {
    let remote = Remote::start();
    let (exports, socket) = (remote.router.exports(), UdpSocket::bind("127.0.0.9:0").unwrap());
    for n in 0..20 {
        let line = format!("system,info filter rule added by ssh:eve{n}@192.0.2.7 (*1 = /x)");
        socket.send_to(line.as_bytes(), ("127.0.0.1", remote.port)).unwrap();
    }
    remote.daemon.stderr.wait_for("syslog from 127.0.0.9, which is no router's address");
    wait_until("all are read", || {
        let sockets = std::fs::read_to_string("/proc/net/udp").unwrap();
        let port = format!(":{:04X}", remote.port);
        let mut ours = sockets.lines().filter(|line| {
            line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&port))
        });
        // The bytes that wait to be sent and to be read.
        let queues = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
        ours.all(|line| queues(line).is_some_and(|queues| queues.ends_with(":00000000")))
    });
    assert_eq!(remote.router.exports(), exports);
    let (watching, archive) = (&remote.watching, remote.watching.archive("core1"));
    assert!(watching.root().exists() && !archive.join("diff.txt").exists());
    let stopped = remote.daemon.stop().ok();
    assert_eq!(stopped.stderr.matches("which is no router's address").count(), 1, "{stopped:?}");
    assert!(stopped.stderr.contains("from other addresses: 20"), "{stopped:?}");
}

/// An address that the router sends from although it is reached at another one.
#[test]
fn a_further_address() {
    let (router, port, ring) = (Router::start(Version::V7), free_port(), Ring::new());
    router.state().faults.logging = Some(REMOTE.into());
    let watching = Watching::new(&ring)
        .global(&format!("syslog = \"127.0.0.1:{port}\""))
        .router("core1", &router, Version::V7)
        .option("syslog_from = [\"127.0.0.9\"]");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add_silently("/ip firewall filter add chain=input");
    let socket = UdpSocket::bind("127.0.0.9:0").unwrap();
    socket.send_to(format!("system,info {LINE}").as_bytes(), ("127.0.0.1", port)).unwrap();
    daemon.stderr.wait_for("changed by alice (by syslog) (+1 -0)");
    daemon.stop().ok();
}

/// Forged lines: where the log names a user, those by syslog are only candidates, and they cause few exports.
#[test]
fn forged_lines() {
    let (router, port, ring) = (Router::start(Version::V7), free_port(), Ring::new());
    let watching = Watching::new(&ring).global(&format!("syslog = \"127.0.0.1:{port}\"")).router(
        "core1",
        &router,
        Version::V7,
    );
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let exports = router.exports();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |line: &str| {
        socket.send_to(line.as_bytes(), ("127.0.0.1", port)).unwrap();
    };
    for n in 0..3000 {
        send(&format!("system,info filter rule added by ssh:eve{n}@192.0.2.7 (*1 = /x)"));
    }
    // The true line arrives both ways.
    router.add("bob", "/ip dns set servers=192.0.2.53");
    send(
        "system,info item added by ssh:bob@192.0.2.7/terminal/action:1 (*1 = /ip dns set servers=192.0.2.53)",
    );
    daemon.stderr.wait_for("changed by bob (+1 -0)");
    let diff = fs::read_to_string(watching.archive("core1").join("diff.txt")).unwrap();
    assert!(diff.contains("candidate: eve0") && diff.contains("may be forged"), "{diff}");
    assert!(
        !diff.contains("candidate: bob") && diff.matches("candidate: ").count() <= 30,
        "{diff}"
    );
    assert!(router.exports() <= exports + 2, "{} exports", router.exports() - exports);
    daemon.stop().ok();
}

/// Without a listener the daemon reports once that the log shows no changes, and once that it does again.
#[test]
fn a_log_without_changes() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    router.state().faults.logging = Some(REMOTE.into());
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .router("core1", &router, Version::V7)
        .option("interval = 1");
    let daemon = watching.start();
    sink.wait_for(&["core1: its log shows no changes", "action remote (a syslog server)"]);
    let exports = router.exports();
    wait_until("further exports", || router.exports() > exports + 2);
    // A user adds a rule whose action is of the type memory.
    router.state().faults.logging = Some(format!(
        "{REMOTE} 1    topics=system,info,!debug prefix=\"\" \n      action=audit \n"
    ));
    sink.wait_for(&["core1: its log shows changes again"]);
    let stopped = daemon.stop().ok();
    assert_eq!(stopped.stderr.matches("its changes go to the action").count(), 1, "{stopped:?}");
    assert_eq!(stopped.stderr.matches("its log shows changes again").count(), 1, "{stopped:?}");
}

/// `check` judges topics and action of the rules.
#[test]
fn check_judges_the_rules() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let rule = |rules: &str| {
        router.state().faults.logging = Some(rules.into());
        let mut command = watching.command();
        command.args(["check", "--format", "json"]);
        let found: serde_json::Value = serde_json::from_str(&run(command).stdout).unwrap();
        (found["rule"].as_str().unwrap().to_owned(), found["ok"].as_bool().unwrap())
    };
    for rules in [
        REMOTE,
        " 0 * topics=info prefix=\"\" action=echo\n",
        " 0 X topics=info prefix=\"\" action=memory\n 1 topics=info action=remote\n",
        " 0 * topics=info,!debug,\n      !system prefix=\"\" action=memory\n",
        " 0 * topics=!system action=memory\n",
        " 0 * topics=info,warning,error action=memory\n",
        "0 * info      remote\n    !debug\n1 * error     memory\n",
        "Flags: X - disabled, I - invalid, * - default \n",
    ] {
        let (text, is_ok) = rule(rules);
        assert!(!is_ok && !text.starts_with("ok"), "{rules}: {text}");
    }
    for rules in [
        " 0 * topics=info prefix=\"\" action=memory\n",
        " 0 topics=info action=remote\n 1 topics=system,info action=audit\n",
        " 0 topics=!debug,!packet action=memory\n",
    ] {
        assert_eq!(rule(rules), ("ok".into(), true), "{rules}");
    }
    assert_eq!(rule(" 0 * topics=info action=disk\n"), ("ok, on disk only".into(), true));
    let watching = watching.global("syslog = \"5514\"");
    router.state().faults.logging = Some(REMOTE.into());
    let mut command = watching.command();
    command.args(["check", "--format", "json"]);
    let found = run(command).ok();
    assert!(found.stdout.contains("\"rule\":\"ok, by syslog only\""), "{found:?}");
}

/// The source address of the connection.
#[test]
fn a_source_address() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("source = \"127.0.0.5\"");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    daemon.stop().ok();
    let peers = router.state().peers.clone();
    assert!(peers.iter().all(|peer| peer.to_string() == "127.0.0.5"), "{peers:?}");
    let mut watching = watching;
    watching.replace("127.0.0.5", "192.0.2.200");
    let mut command = watching.command();
    command.arg("check");
    let found = run(command).refused("aw-routeros", &["1 of 1 router "]);
    assert!(found.stdout.contains("source 192.0.2.200: no interface"), "{found:?}");
}

/// `check` tries the port as the start does. That the running service listens there is well.
#[test]
fn check_tries_the_port() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let watching = Watching::new(&ring).global(&format!("syslog = \"127.0.0.1:{port}\"")).router(
        "core1",
        &router,
        Version::V7,
    );
    let check = || {
        let mut check = watching.command();
        check.arg("check");
        run(check)
    };
    let why = format!("listen for syslog on port {port}: address already in use (");
    let found = check();
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(found.stderr.contains("1 fault of the service"), "{found:?}");
    let started = run(watching.command());
    let same = found.stderr.lines().find(|line| line.contains(&why)).unwrap();
    let (_, same) = same.split_once("listen").unwrap();
    assert!(started.stderr.contains(same), "{same}: {started:?}");
    drop(taken);
    check().ok();
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    check().ok();
    daemon.stop().ok();
}
