//! What a page of another site, a hostile client or a hostile network tries on `aw-web`.
#![forbid(unsafe_code)]

use aw_tests::history::History;
use aw_tests::rig::{run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, capture};
use aw_tests::web::Server;
use rusqlite::Connection;
use std::fs;
use std::io::{Read, Write};

fn handover() -> History {
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, &sightings::handover());
    run(history.command(&ring, &["--once"])).ok();
    history
}

/// A page whose name resolves to this machine after it was loaded (DNS rebinding) reads nothing, also with the token.
#[test]
fn rebinding() {
    let history = handover();
    let server = Server::start(&history, &["--allow-host", "lan.example.org"]);
    let port = server.port;
    let ask = |host: &str| {
        server.raw(&format!(
            "GET /api/v1/health HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            server.token
        ))
    };
    for host in ["127.0.0.1", &format!("localhost:{port}"), "LAN.example.org.", "[::1]"] {
        ask(host).expect(200);
    }
    for host in
        ["evil.example", &format!("evil.example:{port}"), "lan.example.org.evil.example", ""]
    {
        let refused = ask(host).expect(421).json();
        assert!(refused["error"].as_str().unwrap().contains("--allow-host NAME"), "{refused}");
    }
}

/// A form of another site changes nothing: it has the origin of that site, and no token of a form.
#[test]
fn forms_of_other_sites() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let link = server.login();
    let path = link.split_once(&server.port.to_string()).unwrap().1;
    let logged_in = server.request("GET", path, "", "").expect(303);
    let cookie = Server::cookie(&logged_in);
    let page = server.get_as(&cookie, "/").expect(200).body;
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let post = |headers: &str, body: &str| {
        server.request("POST", "/logout", &format!("Cookie: {cookie}\r\n{headers}"), body)
    };
    let own = format!("Origin: http://127.0.0.1:{}\r\n", server.port);
    let form = format!("csrf={csrf}");
    for (headers, body) in [
        ("", ""),
        ("", "csrf="),
        ("", "csrf=0000"),
        ("X-CSRF-Token: 0000\r\n", ""),
        ("Origin: http://evil.example\r\n", &form),
        ("Origin: null\r\n", &form),
        (&*format!("{own}{own}"), &form),
        ("Sec-Fetch-Site: cross-site\r\n", &form),
        ("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\n", &form),
    ] {
        let status = post(headers, body).status;
        assert!([400, 403].contains(&status), "{headers:?} {body:?}: {status}");
    }
    // A picture or a script of another site is not answered, either; a link to a page is.
    let get = |headers: &str| {
        server.request("GET", "/ip/10.1.2.3", &format!("Cookie: {cookie}\r\n{headers}"), "")
    };
    get("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n").expect(403);
    get("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n").expect(200);
    get("Sec-Fetch-Site: same-origin\r\n").expect(200);
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"] {
        let status = server.request(method, "/logout", "", "").status;
        assert!([400, 405].contains(&status), "{method}: {status}");
    }
    assert!(get("").status == 200, "the session is still there");
    post(&own, &form).expect(303);
    get("").expect(303);
}

/// A request that two servers would read in two ways is refused, and what follows it is no request.
#[test]
fn smuggling() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let host = format!("Host: 127.0.0.1:{}\r\n", server.port);
    let inner = format!(
        "GET /api/v1/health HTTP/1.1\r\n{host}Authorization: Bearer {}\r\n\r\n",
        server.token
    );
    let lengths = "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n";
    for request in [
        format!("POST /login HTTP/1.1\r\n{host}{lengths}\r\n0\r\n\r\n{inner}"),
        format!(
            "POST /login HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: 5\r\n\r\n{inner}"
        ),
        format!(
            "POST /login HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"
        ),
        format!(
            "POST /login HTTP/1.1\r\n{host}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{inner}"
        ),
        format!("POST /login HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\n{inner}"),
        format!("GET / HTTP/1.1\r\n{host}Host: evil.example\r\nConnection: close\r\n\r\n"),
        format!("GET http://evil.example/ HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".into(),
        format!(
            "GET / HTTP/1.1\r\n{host}Authorization: Bearer x\r\nAuthorization: Bearer y\r\nConnection: close\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\n{host}{}\r\n\r\n", "X-A: b\r\n".repeat(100)),
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(100_000)),
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let begin: String = request.chars().take(200).collect();
        let status = answer.split(' ').nth(1).unwrap_or("0");
        assert!(["0", "400", "411", "414", "421", "431"].contains(&status), "{begin}: {answer}");
        assert!(!answer.contains("readable"), "{begin}: {answer}");
    }
    server.get("/api/v1/health").expect(200);
}

/// Clients that send nothing, or little by little, cost the others nothing.
#[test]
fn slow_clients() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let mut slow: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for stream in &mut slow[100..] {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ");
    }
    let body = format!(
        "POST /login HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 100\r\n\r\nname=",
        server.port
    );
    let mut half = server.connect();
    half.write_all(body.as_bytes()).unwrap();
    server.get("/api/v1/health").expect(200);
    // Each of them is closed, or answered that it was too slow.
    for mut stream in slow {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let mut answer = String::new();
    let _ = half.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // A body without end.
    let mut large = server.connect();
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 100000000\r\n\r\n",
        server.port
    );
    large.write_all(head.as_bytes()).unwrap();
    let _ = large.write_all(&[b'a'; 1 << 20]);
    let mut answer = Vec::new();
    let _ = large.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.get("/api/v1/health").expect(200);
}

/// Names, hosts and interfaces that are HTML, a script or an escape sequence are text, on each page and in the log.
#[test]
fn hostile_names() {
    const HOSTILE: &str =
        "\"'><img src=x onerror=alert(1)><script>alert(2)</script>\u{1b}[2J\u{202e}{{7*7}}";
    let history = handover();
    let database = Connection::open(history.database()).unwrap();
    let hostile = "UPDATE place SET host = ?1, interface = ?1, router = ?1";
    database.execute(hostile, [HOSTILE]).unwrap();
    drop(database);
    let names = history.path().join("names");
    fs::write(&names, format!("02:00:00:00:00:01|{HOSTILE}\n02:00:00:00:00:02|{HOSTILE}\n"))
        .unwrap();
    let server = Server::start(&history, &["--names", names.to_str().unwrap()]);
    let encoded = "%22%27%3E%3Cscript%3Ealert(2)%3C%2Fscript%3E";
    for path in [
        "/who?ip=10.1.2.3&at=2026-11-20+14:58",
        "/ip/10.1.2.3?at=2026-11-20+14:58&zoom=day",
        "/mac/02:00:00:00:00:01?at=2026-11-20+14:58&zoom=day",
        "/search?q=alert",
        &format!("/search?q={encoded}"),
        &format!("/ip/{encoded}"),
        &format!("/mac/{encoded}"),
        &format!("/who?ip=10.1.2.3&{encoded}=1"),
        &format!("/{encoded}"),
        &format!("/login?next={encoded}"),
    ] {
        let answer = server.get(path);
        for bad in ["<script", "<img", "onerror=alert(1)>", "\u{1b}", "\u{202e}"] {
            assert!(!answer.body.contains(bad), "{path}: {bad:?}: {}", answer.body);
        }
        assert!(answer.body.contains("</html>") || answer.status == 303, "{path}: {answer:#?}");
    }
    assert!(server.get("/search?q=alert").body.matches("&#60;script").count() >= 2);
    let api = server.get("/api/v1/ip/10.1.2.3").expect(200);
    assert_eq!(
        api.header("content-type"),
        Some("application/json"),
        "no browser takes it for a page"
    );
    server.get("/%1b%5b2J%e2%80%ae");
    let log = server.run.stop().ok().stderr;
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log}");
}

/// A question that takes too long has an answer that names the remedy, and the process answers the next one.
#[test]
fn long_questions() {
    let history = handover();
    let server = Server::start(&history, &["--timeout", "1s"]);
    let journal = history.path().join("history/lan.db-journal");
    fs::write(&journal, [0xd9]).unwrap(); // as if a transaction were never complete: the question waits for its end
    let late = server.get("/api/v1/ip/10.1.2.3").expect(503);
    let why = late.json()["error"].as_str().unwrap().to_owned();
    assert!(why.contains("no answer within 1 s") && why.contains("--timeout"), "{why}");
    assert!(late.header("retry-after").is_some());
    assert!(server.get("/ip/10.1.2.3").expect(503).body.contains("There is no answer now"));
    fs::remove_file(journal).unwrap();
    server.get("/api/v1/ip/10.1.2.3").expect(200);
}

/// More questions than can wait are refused at once, and the others are answered.
#[test]
fn too_many_questions() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let journal = history.path().join("history/lan.db-journal");
    fs::write(&journal, [0xd9]).unwrap(); // each question waits
    let request = format!(
        "GET /api/v1/devices HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        server.port, server.token
    );
    let mut all: Vec<_> = (0..60).map(|_| server.connect()).collect();
    all.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).unwrap());
    let refused = "too many questions at once (try again in some seconds";
    wait_until("a question is refused", || server.get("/api/v1/devices").body.contains(refused));
    fs::remove_file(journal).unwrap();
    let answers: Vec<String> = all
        .into_iter()
        .map(|mut stream| {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
        .collect();
    assert!(answers.iter().any(|answer| answer.contains(refused)), "{answers:#?}");
    assert!(answers.iter().any(|answer| answer.starts_with("HTTP/1.1 200 ")), "{answers:#?}");
    server.get("/api/v1/devices").expect(200);
}

/// Passwords and tokens cannot be tried without end. The right token is none that could be tried.
#[test]
fn tries_are_limited() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let mut passwd = aw_tests::rig::program("aw-web", &["passwd", "alice", "--state-dir"]);
    passwd.arg(server.state());
    run_with(passwd, b"correct horse\n").ok();
    let statuses: Vec<u16> = (0..12)
        .map(|number| match number % 3 {
            0 => server.request("POST", "/login", "", "name=alice&password=wrong+password").status,
            1 => {
                server.request("GET", "/api/v1/health", "Authorization: Bearer 0000\r\n", "").status
            }
            _ => server.request("GET", "/login?token=0000", "", "").status,
        })
        .collect();
    assert_eq!(statuses, [403, 401, 403, 403, 401, 403, 403, 401, 403, 403, 429, 429]);
    let refused =
        server.request("POST", "/login", "", "name=alice&password=correct+horse").expect(429);
    assert!(
        refused.header("retry-after").is_some() && refused.body.contains("try again in"),
        "{refused:#?}"
    );
    server.get("/api/v1/health").expect(200);
}
