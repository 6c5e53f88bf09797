//! HTTP listeners answer only for hosts that they know, on each address: a web page whose name resolves to this machine
//! (DNS rebinding) reads nothing.
#![forbid(unsafe_code)]

use aw_tests::feed::publish;
use aw_tests::rig::{Run, program, run, wait_until};
use aw_tests::ring::Ring;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use tempfile::TempDir;

/// A listener on all addresses of this machine, and its port.
fn listening(command: Command, page: &str) -> (Run, u16) {
    let run = Run::start(command);
    let line = run.stderr.wait_for(page);
    let (_, address) = line.split_once("http://").unwrap();
    let port = address.split('/').next().unwrap().rsplit(':').next().unwrap().trim();
    let port = port.parse().unwrap();
    (run, port)
}

fn ask(port: u16, head: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "{head}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_answered(port: u16, host: &str) -> bool {
    let answer = ask(port, &format!("GET / HTTP/1.1\r\nHost: {host}"));
    if answer.starts_with("HTTP/1.1 200 OK\r\n") {
        return true;
    }
    assert!(answer.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{host}: {answer}");
    let own = format!(
        "use the address http://127.0.0.1:{port}/, or allow the name in your address bar: "
    );
    let add = "add --allow-host NAME to OPTIONS= in /etc/default/aw-";
    assert!(answer.contains(&format!("{own}{add}")), "{answer}");
    false
}

fn check(run: Run, port: u16) {
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (host, expected) in [
        ("127.0.0.1", true),
        (&format!("127.0.0.1:{port}"), true),
        ("[::1]", true),
        ("localhost", true),
        (&*own, true),
        ("sensor.example.org", true), // --allow-host
        (&format!("SENSOR.example.org:{port}"), true),
        ("rebound.example", false),
        (&format!("rebound.example:{port}"), false),
        ("127.0.0.1.rebound.example", false),
        ("", false),
    ] {
        assert_eq!(is_answered(port, host), expected, "{host:?}");
    }
    // Without a host, it is no browser.
    assert!(ask(port, "GET / HTTP/1.0").starts_with("HTTP/1.1 200 OK\r\n"));
    let two = ask(port, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: rebound.example");
    assert!(two.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{two}");
    let ended = run.stop().ok();
    let logged = ended.stderr.lines().filter(|line| line.contains("HTTP request"));
    let logged: Vec<_> = logged.collect();
    let is_first =
        |line: &&str| line.contains("\"rebound.example\"") && line.contains("--allow-host");
    assert!(matches!(&*logged, [line] if is_first(line)), "{logged:?}");
}

const ALLOWED: [&str; 2] = ["--allow-host", "sensor.example.org"];

#[test]
fn of_the_metrics() {
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    let mut command = program("aw-metrics", &["-v", "--listen", "0.0.0.0:0", "--ring"]);
    command.arg(ring.name()).arg("--state-dir").arg(state.path()).args(ALLOWED);
    let (run, port) = listening(command, "metrics at ");
    check(run, port);
}

#[test]
fn of_the_report() {
    let (ring, directory): (Ring, TempDir) = (Ring::new(), tempfile::tempdir().unwrap());
    publish(&ring, 1..4);
    let mut command = aw_tests::tracker::tracker(ring.name(), directory.path());
    command.args(["--serve", "0.0.0.0:0", "--log-dir"]).arg(directory.path()).args(ALLOWED);
    let (run, port) = listening(command, "serving the report on ");
    let answer = || ask(port, "GET / HTTP/1.1\r\nHost: 127.0.0.1");
    wait_until("there is a report", || answer().starts_with("HTTP/1.1 200 OK\r\n"));
    check(run, port);
}

/// A name with a port or a URL would match nothing.
#[test]
fn names_are_checked() {
    for name in ["", "sensor:80", "http://sensor/", "*"] {
        let finished = run(program("aw-metrics", &["--allow-host", name]));
        assert_eq!(finished.status.code(), Some(2), "{name}");
    }
}
