//! What a page of another site, a hostile client or a hostile network tries on `aw-web`.
#![forbid(unsafe_code)]

use aw_tests::certificates::make_certificates;
use aw_tests::history::History;
use aw_tests::lan::Lan;
use aw_tests::rig::{Run, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, capture};
use aw_tests::web::{Server, all_paths, command, many_devices, without_script};
use rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

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

/// The same on each page and each path of the API, for clients of the port and of a reverse proxy's socket.
#[test]
fn smuggling_on_all_paths() {
    let history = handover();
    let socket = history.path().join("socket");
    let state = tempfile::tempdir().unwrap();
    let options = ["--listen", socket.to_str().unwrap(), "--allow-host", "lan.example.org"];
    let server = Server::start(&history, &[]);
    let behind = Run::start(command(history.database(), state.path(), &options));
    behind.stderr.wait_for("serving http");
    let token = fs::read_to_string(state.path().join("aw-web.login")).unwrap();
    let token = token.trim().rsplit_once("token=").unwrap().1.to_owned();
    let paths = all_paths();
    assert!(paths.len() >= 15 && paths.contains(&"/api/v1/who".into()), "{paths:?}");
    for path in &paths {
        for is_socket in [false, true] {
            let (host, token) = match is_socket {
                false => (format!("Host: 127.0.0.1:{}\r\n", server.port), &server.token),
                true => ("Host: lan.example.org\r\n".into(), &token),
            };
            let bearer = format!("Authorization: Bearer {token}\r\n");
            let inner = format!("GET /api/v1/health HTTP/1.1\r\n{host}{bearer}\r\n");
            let head = format!("GET {path} HTTP/1.1\r\n{host}");
            let length = inner.len();
            for request in [
                format!(
                    "{head}{bearer}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
                ),
                format!(
                    "{head}{bearer}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{inner}"
                ),
                format!(
                    "{head}{bearer}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{inner}"
                ),
                format!(
                    "{head}{bearer}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{inner}"
                ),
                format!("{head}{bearer}Content-Length: {length}, 0\r\n\r\n{inner}"),
                format!("{head}{bearer} folded: x\r\n\r\n"),
                format!("{head}{bearer}Host: evil.example\r\nConnection: close\r\n\r\n"),
                format!("{head}{bearer}X: \0\r\nConnection: close\r\n\r\n"),
                // The body of a request is no request; without a login, it is not read as one, either.
                format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{inner}"),
            ] {
                let mut answer = Vec::new();
                if is_socket {
                    let mut stream = UnixStream::connect(&socket).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(100))).unwrap();
                    let _ = stream.write_all(request.as_bytes());
                    let _ = stream.read_to_end(&mut answer);
                } else {
                    let mut stream = server.connect();
                    let _ = stream.write_all(request.as_bytes());
                    let _ = stream.read_to_end(&mut answer);
                }
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{request:?}: {answer}");
                assert!(!answer.contains("readable"), "{request:?}: {answer}");
            }
        }
    }
    server.get("/api/v1/health").expect(200);
    behind.stop().ok();
}

/// A large answer that clients do not take: so many are held for them, and not more; the others are answered.
#[test]
fn slow_readers() {
    const DEVICES: i64 = 40_000; // 12 MB, of which a kernel takes 4 at most
    let directory = tempfile::tempdir().unwrap();
    let server = Server::of(&many_devices(directory.path(), DEVICES), &["--timeout", "2m"]);
    let path = "/now?state=all&format=json";
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n\r\n",
        server.port, server.token
    );
    let (mut held, mut refused) = (Vec::new(), None);
    while refused.is_none() {
        let mut stream = server.connect();
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        match &begin {
            b"HTTP/1.1 200" => held.push(stream),
            other => {
                let mut answer = Vec::new();
                stream.shutdown(Shutdown::Write).unwrap();
                let _ = stream.read_to_end(&mut answer);
                let answer = [other, &*answer].concat();
                refused = Some(String::from_utf8_lossy(&answer).into_owned());
            }
        }
        assert!(held.len() <= 8, "each takes 4 MB or more");
    }
    let refused = refused.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("too many large answers are being sent at once"), "{refused}");
    assert!(refused.to_lowercase().contains("retry-after: "), "{refused}");
    assert!(!held.is_empty());
    for path in ["/", "/now", "/networks", "/search?q=00:00", "/who?ip=10.0.0.1", "/ip/10.0.0.1"] {
        server.get(path).expect(200);
    }
    // Those that are gone hold nothing.
    drop(held);
    let mut whole = String::new();
    wait_until("the file is sent again", || {
        let answer = server.get(path);
        whole = answer.body;
        answer.status == 200
    });
    let json: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(DEVICES as usize));
}

/// A host has any number of addresses in its IPv6 network: all of them together have a limit, and its neighbours and others get in,
/// also while it goes on connecting from two networks.
#[test]
fn a_network_of_connections() {
    let Some(lan) = Lan::new() else { return };
    let history = handover();
    let certificates = history.path().join("certificates");
    make_certificates(&certificates);
    for (host, interface, address) in
        [(&lan.here, "veth0", "2001:db8::1/64"), (&lan.there, "veth1", "2001:db8::2/64")]
    {
        host.ipv6("lo");
        host.ip("link set lo up");
        host.ipv6(interface);
        host.ip(&format!("address add {address} dev {interface} nodad"));
        let own = if interface == "veth0" { "fe80::1/64" } else { "fe80::2/64" };
        host.ip(&format!("address add {own} dev {interface} nodad")); // without one, it asks for no neighbour
    }
    // The networks of a stranger, 1 and 3, and of another host: each address is one of its own.
    for network in ["2001:db8:1::/64", "2001:db8:2::/64", "2001:db8:3::/64"] {
        lan.there.ip(&format!("-6 route add local {network} dev lo"));
        lan.here.ip(&format!("-6 route add {network} via 2001:db8::2"));
    }
    let state = tempfile::tempdir().unwrap();
    let file = |name: &str| certificates.join(name).to_str().unwrap().to_owned();
    let options = [
        "--listen",
        "[2001:db8::1]:9715",
        "--tls-cert",
        &file("server.pem"),
        "--tls-key",
        &file("own.key"),
    ];
    let own = command(history.database(), state.path(), &options);
    let mut there = lan.here.command(own.get_program());
    there.args(own.get_args()).env("TZ", "UTC");
    let _server = Server::started(there, state);
    // Each connection that stays gets an answer of TLS to what is none; one that is too much is closed before that.
    const CLIENT: &str = r#"
import select, socket, time
def connect(network, number):
    client = socket.socket(socket.AF_INET6)
    client.setsockopt(socket.IPPROTO_IPV6, 78, 1) # IPV6_FREEBIND
    client.bind((f"{network}::{number:x}", 0))
    client.connect(("2001:db8::1", 9715))
    return client
def answers(client):
    try:
        client.sendall(b"no greeting of TLS")
        return len(client.recv(100)) > 0
    except ConnectionError:
        return False
while True:
    clients = [connect("2001:db8:1", 1 + number) for number in range(600)]
    refused = set()
    while len(refused) < 600 - 96:
        refused.update(select.select([one for one in clients if one not in refused], [], [])[0])
    others = [answers(connect(network, 10_000)) for network in ("2001:db8:1", "2001:db8:2")]
    accepted = sum(answers(one) for one in clients if one not in refused)
    [one.close() for one in clients]
    if accepted > 0: # else the machine is so slow that they were closed meanwhile
        print(accepted <= 96, *others)
        break
while True:
    begun = time.monotonic()
    neighbour = connect("2001:db8:2", 20_000)
    own = [connect(f"2001:db8:{1 + 2 * (number % 2)}", 30_000 + number) for number in range(700)]
    is_answered = answers(neighbour)
    [one.close() for one in own]
    if is_answered or time.monotonic() - begun < 5: # else it was closed because it sent nothing for so long
        print(is_answered)
        break
"#;
    let mut client = lan.there.command("python3");
    client.args(["-c", CLIENT]);
    assert_eq!(run(client).ok().stdout.trim(), "True True True\nTrue");
}

/// Statements that would take hours are ended, on each path that reads all devices; a question about one address is answered
/// meanwhile, and the places are free again.
#[test]
fn endless_statements() {
    let directory = tempfile::tempdir().unwrap();
    let path = many_devices(directory.path(), 60_000);
    let database = Connection::open(&path).unwrap();
    // Without a key, each search for a device reads all of it.
    let endless =
        "ALTER TABLE sighting RENAME TO kept; CREATE TABLE sighting AS SELECT * FROM kept";
    database.execute_batch(endless).unwrap();
    let server = Server::of(&path, &["--timeout", "8s"]);
    let paths = [
        "/now",
        "/networks",
        "/search?q=kitchen",
        "/network?interface=eth0&host=here&ring=%2Faddrwatch",
        "/api/v1/devices",
        "/api/v1/changes",
        "/happened?from=1970-01-01",
    ];
    let request = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            server.port, server.token
        )
    };
    for _ in 0..2 {
        let all = paths.map(|path| {
            let mut stream = server.connect();
            stream.write_all(request(path).as_bytes()).unwrap();
            (path, stream)
        });
        server.get("/api/v1/ip/10.0.0.1").expect(200);
        for (path, mut stream) in all {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 "), "{path}: {answer}");
            assert!(answer.contains("no answer within 8 s"), "{path}: {answer}");
        }
    }
    database.execute_batch("DROP TABLE sighting; ALTER TABLE kept RENAME TO sighting").unwrap();
    drop(server);
    let server = Server::of(&path, &["--timeout", "2m"]);
    for path in paths {
        server.get(path).expect(200);
    }
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
    let server = Server::start(&history, &["--edit", "--names", names.to_str().unwrap()]);
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
        "/mac/02:00:00:00:00:01",
        "/where?mac=02:00:00:00:00:01&at=2026-11-20+14:30",
        &format!("/where?mac={encoded}"),
        &format!("/?zone={encoded}"),
        &format!("/zone?next={encoded}"),
    ] {
        let answer = server.get(path);
        let body = without_script(&answer.body);
        for bad in ["<script", "<img", "onerror=alert(1)>", "\u{1b}", "\u{202e}"] {
            assert!(!body.contains(bad), "{path}: {bad:?}: {body}");
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
    // A second: after two, the reader takes the writer for one that was killed.
    fs::write(&journal, [0xd9]).unwrap(); // as if a transaction were never complete: the question waits for its end
    let late = server.get("/api/v1/ip/10.1.2.3").expect(503);
    let why = late.json()["error"].as_str().unwrap().to_owned();
    assert!(why.contains("no answer within 1 s") && why.contains("--timeout"), "{why}");
    assert!(late.header("retry-after").is_some());
    assert!(server.get("/ip/10.1.2.3").expect(503).body.contains("There is no answer now"));
    fs::remove_file(journal).unwrap();
    wait_until("the next one is answered", || server.get("/api/v1/ip/10.1.2.3").status == 200);
}

/// More questions than can wait are refused at once, and the others are answered.
#[test]
fn too_many_questions() {
    let history = handover();
    let server = Server::start(&history, &["--timeout", "2m"]);
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

/// Behind a reverse proxy, the wrong passwords of one client keep no other one out: by the address that the proxy names, or
/// without one by the user.
#[test]
fn tries_behind_a_proxy() {
    let (history, state) = (handover(), tempfile::tempdir().unwrap());
    for user in ["alice", "bob"] {
        let mut passwd = aw_tests::rig::program("aw-web", &["passwd", user, "--state-dir"]);
        passwd.arg(state.path());
        run_with(passwd, b"correct horse\n").ok();
    }
    let socket = history.path().join("socket");
    let log_in = |client: &str, name: &str, password: &str| -> u16 {
        let body = format!("name={name}&password={password}");
        let head = format!(
            "POST /login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.9.9.9, {client}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    };
    let path = socket.to_str().unwrap();
    let start = |more: &[&str]| {
        let options = [&["--listen", path], more].concat();
        let run = Run::start(command(history.database(), state.path(), &options));
        run.stderr.wait_for("serving http");
        run
    };
    let named = start(&["--proxy-client-header", "X-Forwarded-For"]);
    for _ in 0..10 {
        assert_eq!(log_in("2001:db8::7", "alice", "wrong+horse"), 403);
    }
    assert_eq!(log_in("2001:db8::7", "alice", "correct+horse"), 429);
    assert_eq!(log_in("2001:db8::8", "alice", "correct+horse"), 303, "a neighbour");
    assert_eq!(log_in("192.0.2.8", "alice", "correct+horse"), 303);
    let log = named.stop().ok().stderr;
    assert!(log.contains("log in from 2001:db8::7: too many wrong passwords"), "{log}");
    assert!(log.contains("alice logged in from 192.0.2.8: POST /login 303"), "{log}");
    let unnamed = start(&[]);
    for _ in 0..10 {
        assert_eq!(log_in("192.0.2.7", "alice", "wrong+horse"), 403);
    }
    assert_eq!(log_in("192.0.2.8", "alice", "correct+horse"), 429);
    // One of a thousand names shares the limit with that of alice.
    let others = ["bob", "carol", "dave"].map(|name| log_in("192.0.2.8", name, "correct+horse"));
    assert!(others.iter().filter(|status| **status != 429).count() >= 2, "{others:?}");
    unnamed.stop().ok();
    let options = ["--proxy-client-header", "X-Forwarded-For"];
    run(command(history.database(), state.path(), &options))
        .refused("aw-web", &["--proxy-client-header (use it with --listen /PATH"]);
}
