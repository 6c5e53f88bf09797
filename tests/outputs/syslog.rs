//! `aw-syslog`: messages byte for byte, and delivery to a real rsyslog that is restarted, stopped, and hangs.
#![forbid(unsafe_code)]

use aw_tests::collect::{collect, held, stdout_of};
use aw_tests::feed::{numbered_lines, publish};
use aw_tests::mount::Mount;
use aw_tests::rig::{Run, TIMEOUT, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::rsyslog::Rsyslog;
use aw_tests::sample;
use aw_tests::server::Server;
use rustix::process::Signal;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const LINE: &str = "1 pcap 0 02:00:00:00:00:01 10.0.0.1 ARP_REQ";

/// The first numbered event to this destination.
fn sending(ring: &Ring, to: &str, options: &[&str]) -> Command {
    let mut command = program("aw-syslog", &["--ring", ring.name(), "--once", "--from", "oldest"]);
    let state = format!("/tmp/aw-syslog-{}{}", std::process::id(), ring.name().replace('/', "-"));
    command
        .args(["--to", to, "--hostname", "host.example.net", "--state-dir", &state])
        .args(options);
    command.env("TZ", "Asia/Kathmandu"); // then at +05:30
    command
}

/// Times are the event's, in the zone of the machine.
#[test]
fn messages() {
    let ring = Ring::new();
    publish(&ring, 1..2);
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let to = format!("udp://127.0.0.1:{}", socket.local_addr().unwrap().port());
    let data = format!(
        "[pairing@32473 ring=\"{}\" sequence=\"0\" interface=\"pcap\" vlan=\"0\" mac=\"02:00:00:00:00:01\" ip=\"10.0.0.1\" origin=\"ARP_REQ\"]",
        ring.name()
    );
    let new = "<30>1 1970-01-01T05:30:01.000000+05:30 host.example.net addrwatch - pairing";
    for (options, expected) in [
        (&[][..], format!("<30>Jan  1 05:30:01 host addrwatch: {LINE}")),
        (&["--format", "rfc5424"], format!("{new} - {LINE}")),
        (&["--format", "rfc5424", "--structured"], format!("{new} {data} {LINE}")),
    ] {
        run(sending(&ring, &to, options)).ok();
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes[..length]), expected);
    }
    let checked = run(sending(&ring, &to, &["--check"])).ok();
    let sent = format!(
        "a datagram can be sent to {} over UDP; UDP does not show whether it arrives",
        &to[6..]
    );
    assert!(checked.stdout.starts_with(&sent), "{checked:#?}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let to = format!("tcp://localhost:{}", listener.local_addr().unwrap().port());
    let message = format!("<30>Jan  1 05:30:01 host addrwatch: {LINE}");
    for (framing, expected) in
        [("newline", format!("{message}\n")), ("counted", format!("{} {message}", message.len()))]
    {
        let sender = Run::start(sending(&ring, &to, &["--framing", framing]));
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        sender.finish().ok();
        assert_eq!(text, expected);
    }
    let refused = run(sending(&ring, &to, &["--structured"]));
    refused.refused("aw-syslog", &["--structured needs --format rfc5424"]);
    let state = format!("/tmp/aw-syslog-{}{}", std::process::id(), ring.name().replace('/', "-"));
    std::fs::remove_dir_all(state).unwrap();
}

/// Every kind of event, over every transport: daemon.info, of addrwatch, the same line as the text form.
#[test]
fn rsyslog_understands_it() {
    let Some(daemon) = Rsyslog::start() else { return };
    let ring = Ring::new();
    collect(&ring, &sample::capture(), &["-q"]).ok();
    let lines: Vec<String> = held(&ring).lines().map(String::from).collect();
    let dates = run({
        let mut command = stdout_of(&ring, &["--once", "--time", "rfc3339"]);
        command.env("TZ", "UTC");
        command
    });
    let (udp, tcp) =
        (format!("udp://127.0.0.1:{}", daemon.port), format!("tcp://127.0.0.1:{}", daemon.port));
    let mut came = 0;
    for options in [
        vec!["--to", &daemon.socket()],
        vec!["--to", &udp],
        vec!["--to", &udp, "--format", "rfc5424", "--structured"],
        vec!["--to", &tcp],
        vec!["--to", &tcp, "--framing", "counted", "--format", "rfc5424"],
    ] {
        let mut command = daemon.command(&ring, &["--once", "--from", "oldest"]);
        command.args(&options).env("TZ", "UTC");
        run(command).ok();
        came += lines.len();
        daemon.wait_for(came);
        let messages = &daemon.messages()[came - lines.len()..];
        for ((message, line), date) in messages.iter().zip(&lines).zip(dates.stdout.lines()) {
            let (header, text) = message.rsplit_once('|').unwrap();
            assert_eq!(text.trim_start(), line, "{options:?}");
            // 2023-11-14T22:13:20 is Nov 14 22:13:20; all are of that November.
            let time = format!("daemon.info Nov {} {} addrwatch|", &date[8..10], &date[11..19]);
            assert!(header.starts_with(&time), "{options:?}: {message}, {date}");
            let structured = header.contains("[pairing@32473 ring=");
            assert_eq!(structured, options.contains(&"--structured"), "{message}");
        }
    }
}

/// The daemon is restarted: delivery continues. It is down: events are queued and delivered later, in order.
#[test]
fn a_daemon_that_is_restarted() {
    for way in ["local", "tcp"] {
        let Some(mut daemon) = Rsyslog::start() else { return };
        let ring = Ring::new();
        let to = match way {
            "local" => daemon.socket(),
            _ => format!("tcp://127.0.0.1:{}", daemon.port),
        };
        let output = daemon.output(&ring, &["--to", &to]);
        output.stderr.wait_for("waiting for ring");
        publish(&ring, 1..101);
        daemon.wait_for(100);
        daemon.stop();
        daemon.start_again();
        publish(&ring, 101..201);
        daemon.wait_for(200);
        assert!(!output.stderr.text().contains("queueing"), "{}", output.stderr.text());
        daemon.stop();
        publish(&ring, 201..301);
        let message = output.stderr.wait_for("queueing events in");
        assert!(message.starts_with("aw-syslog: send to "), "{message}");
        sleep(Duration::from_millis(1500));
        daemon.start_again();
        output.stderr.wait_for("the destination is back");
        publish(&ring, 301..401);
        daemon.wait_for(400);
        let ended = output.stop().ok();
        assert!(ended.stderr.ends_with(": 400 events, 0 lost\n"), "{}", ended.stderr);
        assert_eq!(daemon.numbers(), (1..401).collect::<Vec<u32>>(), "{way}");
        // After a restart the output resumes at the saved position.
        publish(&ring, 401..411);
        run(daemon.command(&ring, &["--once", "--to", &to])).ok();
        daemon.wait_for(410);
        assert_eq!(daemon.numbers(), (1..411).collect::<Vec<u32>>(), "{way}");
    }
}

/// The spool's disk is full when the daemon comes back: nothing can be removed from it, and nothing is delivered twice.
#[test]
fn a_full_disk_when_the_daemon_comes_back() {
    if !rustix::process::geteuid().is_root() {
        return skip("it needs root, to mount a small disk");
    }
    let Some(mut daemon) = Rsyslog::start() else { return };
    let ring = Ring::new();
    let mount = Mount::new(&daemon.path("state"), "size=24m");
    let output = daemon.output(&ring, &["--to", &daemon.socket()]);
    output.stderr.wait_for("waiting for ring");
    publish(&ring, 1..11);
    daemon.wait_for(10);
    daemon.stop();
    let last = 10_000; // some batches
    publish(&ring, 11..last + 1);
    output.stderr.wait_for("queueing events in");
    sleep(Duration::from_millis(1500)); // all are in the spool
    mount.fill();
    daemon.start_again();
    let some = daemon.messages().len();
    wait_until("a batch", || daemon.messages().len() > some);
    sleep(Duration::from_secs(5)); // and some tries
    let came = daemon.messages().len();
    assert!(came < last as usize, "the disk is full, {came}");
    mount.make_room();
    output.stderr.wait_for("the destination is back");
    publish(&ring, last + 1..last + 11);
    daemon.wait_for(last as usize + 10);
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(" events, 0 lost\n"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("queueing events in").count(), 1, "{}", ended.stderr);
    assert_eq!(daemon.numbers(), (1..last + 11).collect::<Vec<u32>>());
}

/// A daemon that hangs receives no more than its socket holds. No other ring waits for it, and nothing is delivered twice.
#[test]
fn a_daemon_that_hangs() {
    let Some(daemon) = Rsyslog::start() else { return };
    let ring = Ring::new();
    let output = daemon.output(&ring, &["--to", &daemon.socket()]);
    output.stderr.wait_for("waiting for ring");
    daemon.signal(Signal::STOP);
    publish(&ring, 1..5001);
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("it accepts no data"), "{message}");
    publish(&ring, 5001..6001);
    daemon.signal(Signal::CONT);
    output.stderr.wait_for("the destination is back");
    daemon.wait_for(6000);
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(": 6000 events, 0 lost\n"), "{}", ended.stderr);
    assert_eq!(daemon.numbers(), (1..6001).collect::<Vec<u32>>());
}

/// No daemon from the start; the line is the text form's.
#[test]
fn no_daemon_listens() {
    let Some(mut daemon) = Rsyslog::start() else { return };
    let ring = Ring::new();
    daemon.stop();
    publish(&ring, 1..4);
    let once = run(daemon.command(&ring, &["--once", "--to", &daemon.socket()]));
    assert_eq!(once.status.code(), Some(1), "{once:#?}");
    assert!(once.stderr.contains("the destination is down: 3 events are queued in "), "{once:#?}");
    daemon.start_again();
    run(daemon.command(&ring, &["--once", "--to", &daemon.socket()])).ok();
    daemon.wait_for(3);
    let text: String = daemon
        .messages()
        .iter()
        .map(|message| format!("{}\n", message.rsplit('|').next().unwrap().trim_start()))
        .collect();
    assert_eq!(text, numbered_lines(1..4));
}
