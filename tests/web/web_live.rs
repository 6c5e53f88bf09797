//! `aw-web`: what is live, whether all is well, and what happened.
#![forbid(unsafe_code)]

use aw_tests::alerting::Alert;
use aw_tests::browser::Browser;
use aw_tests::collect::{json, stdout_of};
use aw_tests::feed::publish;
use aw_tests::history::History;
use aw_tests::rig::{Run, TIMEOUT, program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::sightings::{self, capture};
use aw_tests::watching::Watching;
use aw_tests::web::{Answer, Server};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn stored(ring: &Ring) -> History {
    let history = History::new();
    run(history.command(ring, &["--once"])).ok();
    history
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// A stream of events.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opens it, and waits for its begin: from then on, nothing is missed.
    #[track_caller]
    fn open(server: &Server) -> Stream {
        Stream::open_after(server, "")
    }

    /// The same with these headers.
    #[track_caller]
    fn open_after(server: &Server, headers: &str) -> Stream {
        let mut stream = server.connect();
        write!(
            stream,
            "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
            server.port, server.token
        )
        .expect("it listens");
        let mut stream = Stream(BufReader::new(stream));
        let head = stream.line();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        stream.next_of("begin");
        stream
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        assert!(!line.is_empty(), "the stream has ended");
        line.trim_end().to_owned()
    }

    /// The next message: its kind and its data.
    #[track_caller]
    fn next(&mut self) -> (String, Value) {
        loop {
            if let Some(kind) = self.line().strip_prefix("event: ") {
                let kind = kind.to_owned();
                let data = self.line();
                return (kind, json(data.strip_prefix("data: ").expect("its data")));
            }
        }
    }

    /// The next message of this kind.
    #[track_caller]
    fn next_of(&mut self, wanted: &str) -> Value {
        loop {
            let (kind, data) = self.next();
            if kind == wanted {
                return data;
            }
        }
    }

    /// The last numbers of the addresses of so many sightings.
    #[track_caller]
    fn numbers(&mut self, count: usize) -> Vec<String> {
        let mut address = || self.next_of("sighting")["ip"].as_str().expect("text").to_owned();
        (0..count).map(|_| address().rsplit_once('.').expect("IPv4").1.to_owned()).collect()
    }
}

/// A viewer gets what is new, with the fields of aw-stdout; and goes on when the ring is gone and another one is there.
#[test]
fn events_as_they_come() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let history = stored(&ring);
    let names = history.path().join("names");
    fs::write(&names, "02:00:00:00:00:05|<b>Printer\u{1b}\n").expect("the file of names");
    let server = Server::start(&history, &["--ring", ring.name(), "--names", text(&names)]);
    server.get("/networks").expect(200); // then it is known which devices the history has
    let mut first = Stream::open(&server);
    publish(&ring, 3..6);
    let known = first.next_of("sighting");
    assert_eq!((&known["mac"], &known["new"]), (&"02:00:00:00:00:03".into(), &false.into()));
    let events = [first.next_of("sighting"), first.next_of("sighting")];
    let mut command = stdout_of(&ring, &["--once", "--format", "json", "--time", "rfc3339"]);
    command.env("TZ", "UTC");
    let printed = run(command).ok().stdout;
    for (event, line) in events.iter().zip(printed.lines().skip(4)) {
        let expected = json(line);
        for (name, value) in expected.as_object().expect("an object") {
            assert_eq!(event[name], *value, "{name}: {event}");
        }
    }
    // The description names each field that aw-stdout has not.
    let described = server.get("/api/v1/openapi.json").expect(200).json();
    let described =
        described["paths"]["/events"]["get"]["responses"]["200"]["description"].to_string();
    let printed = json(printed.lines().next().expect("a line"));
    for (name, _) in events[0].as_object().expect("an object") {
        assert!(printed.get(name).is_some() || described.contains(name), "{name}: {described}");
    }
    assert_eq!(events[0]["new"], true);
    assert_eq!(events[0]["name"], Value::Null);
    assert_eq!(events[1]["name"], "<b>Printer?");
    let network = events[0]["network"].as_str().expect("text");
    assert!(network.starts_with("interface=pcap&host="), "{network}");

    // A second viewer gets nothing of what was before it.
    let mut second = Stream::open(&server);
    publish(&ring, 6..8);
    assert_eq!(first.numbers(2), ["6", "7"]);
    assert_eq!(second.numbers(2), ["6", "7"]);

    for file in ring.files() {
        fs::remove_file(file).expect("our own ring");
    }
    publish(&ring, 8..10);
    assert_eq!(first.numbers(2), ["8", "9"]);
    assert_eq!(second.numbers(2), ["8", "9"]);
    // The streams end with the server.
    server.run.stop().ok();
}

/// What is too much at once is counted: each event is either sent or counted as lost.
#[test]
fn a_flood_is_counted() {
    let ring = Ring::new();
    publish(&ring, 1..2);
    let history = stored(&ring);
    let server = Server::start(&history, &["--ring", ring.name()]);
    let mut stream = Stream::open(&server);
    const FLOOD: u64 = 30_000; // a thousand a second are sent
    publish(&ring, 2..2 + FLOOD as u32);
    publish(&ring, 1..2);
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < FLOOD + 1 {
        match stream.next() {
            (kind, _) if kind == "sighting" => seen += 1,
            (kind, data) if kind == "lost" => lost += data["lost"].as_u64().expect("a number"),
            _ => {}
        }
    }
    assert_eq!(seen + lost, FLOOD + 1);
    assert!(lost > 0 && seen >= 1, "{seen} {lost}");
}

/// A browser that comes back gets what it missed meanwhile; and one with the id of another process only what is new.
#[test]
fn what_came_meanwhile() {
    let ring = Ring::new();
    publish(&ring, 1..2);
    let history = stored(&ring);
    let server = Server::start(&history, &["--ring", ring.name()]);
    let mut stream = Stream::open(&server);
    publish(&ring, 2..4);
    assert_eq!(stream.numbers(2), ["2", "3"]);
    let id = loop {
        if let Some(id) = stream.line().strip_prefix("id: ") {
            break id.to_owned();
        }
    };
    publish(&ring, 4..7);
    assert_eq!(stream.numbers(3), ["4", "5", "6"]);
    // Nothing is lost, whatever the id is.
    let next = |stream: &mut Stream| loop {
        match stream.next() {
            (kind, event) if kind == "sighting" => break event["ip"].clone(),
            (kind, data) => assert_ne!(kind, "lost", "{data}"),
        }
    };
    let mut again = Stream::open_after(&server, &format!("Last-Event-ID: {id}\r\n"));
    let missed: Vec<_> = (0..3).map(|_| next(&mut again)).collect();
    assert_eq!(missed, ["10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    let (run, _) = id.rsplit_once('-').expect("an id");
    for unknown in [format!("{run}-999"), "x-1".into()] {
        let mut other = Stream::open_after(&server, &format!("Last-Event-ID: {unknown}\r\n"));
        publish(&ring, 7..8);
        assert_eq!(next(&mut other), "10.0.0.7");
    }
}

/// 200 viewers get all of it, and others are answered beside them; the number of viewers has a limit.
#[test]
fn many_viewers() {
    let ring = Ring::new();
    publish(&ring, 1..2);
    let history = stored(&ring);
    let server = Server::start(&history, &["--ring", ring.name()]);
    let mut viewers: Vec<_> = (0..200).map(|_| Stream::open(&server)).collect();
    publish(&ring, 2..7);
    for viewer in &mut viewers {
        assert_eq!(viewer.numbers(5), ["2", "3", "4", "5", "6"]);
    }
    assert!(server.get("/now?state=all").expect(200).body.contains("02:00:00:00:00:01"));
    viewers.extend((200..256).map(|_| Stream::open(&server)));
    let refused = server.get("/api/v1/events").expect(503);
    assert!(refused.json()["error"].as_str().is_some_and(|why| why.contains("close one")));
    assert!(refused.header("retry-after").is_some());
    viewers.clear();
    // The places are free again as soon as the server has seen that they have gone.
    publish(&ring, 7..8);
    wait_until("a viewer may enter", || {
        publish(&ring, 8..9);
        let mut stream = server.connect();
        let head = format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\r\n",
            server.token
        );
        stream.write_all(head.as_bytes()).expect("it listens");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        line.starts_with("HTTP/1.1 200")
    });
}

/// Without a login there is no stream, and without a ring none either.
#[test]
fn who_gets_no_events() {
    let ring = Ring::new();
    publish(&ring, 1..2);
    let history = stored(&ring);
    let server = Server::start(&history, &["--ring", ring.name()]);
    server.request("GET", "/api/v1/events", "", "").expect(401);
    server.get("/api/v1/events?x=1").expect(400);
    let cross = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n";
    let bearer = format!("Authorization: Bearer {}\r\n{cross}", server.token);
    server.request("GET", "/api/v1/events", &bearer, "").expect(403);
    let without = Server::start(&history, &[]);
    let refused = without.get("/api/v1/events").expect(404).json();
    assert!(refused["error"].as_str().is_some_and(|why| why.contains("--ring NAME")), "{refused}");
    assert!(!without.get("/now").expect(200).body.contains("data-live"));
}

/// A stream ends soon after its user was removed, also if that user asks for nothing else.
#[test]
fn a_removed_user_sees_no_more() {
    let ring = Ring::new();
    publish(&ring, 1..2);
    let history = stored(&ring);
    let server = Server::start(&history, &["--ring", ring.name()]);
    let mut passwd = program("aw-web", &["passwd", "ada", "--role", "reader", "--state-dir"]);
    passwd.arg(server.state());
    run_with(passwd, b"correct horse\n").ok();
    let cookie = server.log_in("ada", "correct+horse");
    let mut stream = server.connect();
    let head = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n",
        server.port
    );
    stream.write_all(head.as_bytes()).expect("it listens");
    let mut stream = Stream(BufReader::new(stream));
    assert!(stream.line().starts_with("HTTP/1.1 200"));
    stream.next_of("begin");
    let mut remove = program("aw-web", &["passwd", "ada", "--remove", "--state-dir"]);
    remove.arg(server.state());
    run(remove).ok();
    let (begun, mut text) = (Instant::now(), String::new());
    let ended = AtomicBool::new(false);
    let read = thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                publish(&ring, 2..3);
                thread::sleep(Duration::from_millis(500));
            }
        });
        let read = stream.0.read_to_string(&mut text);
        ended.store(true, Ordering::Relaxed);
        publishing.join().expect("it publishes");
        read
    });
    read.expect("the stream ends");
    assert!(begun.elapsed() < TIMEOUT, "{text}");
}

/// A collector that runs, and one that was killed: on the page, in the API, and on each page.
#[test]
fn a_sensor_that_is_blind() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let history = stored(&ring);
    let collect = || {
        let options = ["--quiet", "--ring", ring.name(), "--macupd", "127.0.0.1:0"];
        Run::start(program("collector", &options))
    };
    let collector = collect();
    let outputs = history.path().join("state");
    let server = Server::start(&history, &["--ring", ring.name(), "--outputs", text(&outputs)]);
    let page = |path: &str| server.get(path).expect(200).body;
    wait_until("the collector runs", || page("/health").contains("It runs; last heartbeat"));
    assert!(page("/health").contains("Yes, as far as this server can see"), "{}", page("/health"));
    assert!(
        page("/")
            .contains("<section id=\"banner\" class=\"problem\" aria-label=\"Faults\" hidden>"),
        "{}",
        page("/")
    );
    let health = server.get("/api/v1/health").expect(200).json();
    assert_eq!(health["well"], true, "{health}");
    assert_eq!(health["collectors"][0]["ring"], ring.name());
    assert_eq!(health["collectors"][0]["running"], true);
    assert_eq!(health["outputs"][0]["output"], "aw-sqlite");
    assert_eq!(health["outputs"][0]["behind_events"], 0);
    assert_eq!(health["outputs"][0]["delivered"], 3);
    let interface = &health["collectors"][0]["interfaces"][0];
    assert_eq!((&interface["interface"], &interface["published"]), (&"pcap".into(), &3.into()));

    let mut stream = Stream::open(&server);
    collector.kill();
    let blind = loop {
        let health = stream.next_of("health");
        if health["well"] == false {
            break health;
        }
    };
    let fault = blind["faults"][0]["fault"].as_str().expect("text");
    assert!(fault.contains("no heartbeat from the collector"), "{fault}");
    assert!(blind["faults"][0]["since"].is_string(), "{blind}");
    for path in ["/", "/now", "/networks", "/ip/10.0.0.1", "/happened"] {
        let page = page(path);
        assert!(page.contains("no heartbeat from the collector"), "{path}: {page}");
        assert!(page.contains("<a href=\"/health\">Is it well?</a>\n</section>"), "{path}: {page}");
    }
    assert!(page("/health").contains("It does not run"));
    let _again = collect();
    loop {
        if stream.next_of("health")["well"] == true {
            break;
        }
    }
    wait_until("it is well again", || !page("/").contains("no heartbeat"));
    let once = "the collector was killed or crashed once within the last hour, and was started again at 20";
    wait_until("it is named", || page("/health").contains(once));
}

/// An output whose destination is down, and texts of outputs that are HTML.
#[test]
fn an_output_that_fails() {
    const HOSTILE: &str = "<script>alert(1)</script>\u{1b}[2J\u{202e}";
    let ring = Ring::new();
    publish(&ring, 1..4);
    let history = stored(&ring);
    let outputs = history.path().join("outputs");
    fs::create_dir_all(outputs.join("aw-mysql")).expect("our own directory");
    let outage =
        serde_json::json!({ "since": 1_795_183_200, "events": 7, "bytes": 8, "why": HOSTILE });
    fs::write(outputs.join("aw-mysql/aw-mysql.outage"), outage.to_string()).expect("a file");
    // Another output in a directory that is not its own says nothing.
    fs::write(outputs.join("aw-mysql/aw-syslog.outage"), outage.to_string()).expect("a file");
    let server = Server::start(&history, &["--ring", ring.name(), "--outputs", text(&outputs)]);
    let health = || server.get("/api/v1/health").expect(200).json();
    wait_until("the fault", || health()["faults"][0]["of"] == "aw-mysql");
    let health = health();
    assert_eq!(health["faults"][0]["since"], "2026-11-20T14:00:00+00:00");
    assert_eq!(health["outputs"].as_array().map(Vec::len), Some(1), "{health}");
    for path in ["/health", "/"] {
        let page = server.get(path).expect(200).body;
        assert!(page.contains("aw-mysql is queueing since "), "{page}");
        assert!(page.contains("since 2026-11-20 14:00:00 +00:00"), "{page}");
        for bad in ["<script>alert", "\u{1b}", "\u{202e}"] {
            assert!(!page.contains(bad), "{path}: {bad:?}: {page}");
        }
    }
}

/// What aw-alert reported and what aw-routeros recorded, with the changes of the history, in one list.
#[test]
fn what_happened() {
    let alert = Alert::new();
    capture(&alert.ring, &sightings::handover());
    let history = stored(&alert.ring);
    alert.config(&format!(
        "{}kinds = [\"new_device\", \"changed\", \"flip_flop\"]\n",
        alert.appending_channel()
    ));
    run(alert.command(&["--once", "--learn", "0", "-c", text(&alert.path("alert.toml"))])).ok();
    assert!(!alert.alerts().is_empty());
    let outputs = history.path().join("outputs");
    fs::create_dir_all(outputs.join("aw-alert")).expect("our own directory");
    let reported = outputs.join("aw-alert/aw-alert.reported");
    fs::copy(alert.path("state/aw-alert.reported"), &reported).expect("it keeps what it reported");

    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact: configuration stored");
    router.add("alice", "/ppp secret add name=x password=geheim comment=<script>");
    wait_until("the change", || watching.root().join(".masked.jsonl").exists());
    daemon.stop().ok();

    let archive = watching.root();
    let server =
        Server::start(&history, &["--outputs", text(&outputs), "--archive", text(&archive)]);
    let page = |path: &str| server.get(path).expect(200).body;
    let all = page("/happened?from=2026-11-20");
    for wanted in [
        "went back to 02:00:00:00:00:01 after 2 h 0 min: a lease that was given back, or a takeover of a device that is quiet",
        "is new",
        "has another device",
        "configuration +1 -0 by alice",
        "core1 (127.0.0.1:",
        "password=***",
        "<span class=\"added\">+/ppp secret add",
        ">Alert</td>",
    ] {
        assert!(all.contains(wanted), "{wanted}: {all}");
    }
    for bad in ["geheim", "<script>", "comment=<"] {
        assert!(!all.contains(bad), "{bad}: {all}");
    }
    let configurations = page("/happened?from=2026-11-20&kind=configuration");
    assert_eq!(rows(&configurations), 1, "{configurations}");
    let alerts = page("/happened?from=2026-11-20&kind=alert");
    assert_eq!(rows(&alerts), alert.alerts().len(), "{alerts}");
    assert_eq!(rows(&page("/happened?from=2026-11-20&kind=return")), 1);
    // Also in a list that begins after the address was taken.
    assert_eq!(rows(&page("/happened?from=2026-11-20+16:30&kind=return")), 1);
    // A link to the list has its times.
    let link = all.split("rel=\"bookmark\"").next().and_then(|text| text.rsplit("href=\"").next());
    let link = link.expect("a permanent link");
    assert!(link.contains("from=2026-11-20T00%3A00%3A00Z") && link.contains("to=20"), "{link}");
    assert_eq!(rows(&page("/happened?from=2026-11-20&text=PASSWORD")), 1);
    assert_eq!(rows(&page("/happened?from=2026-11-20&text=nothing+of+it")), 0);
    let network = "interface%3Deth0%26vlan%3D7%26host%3Dhere";
    let ring = form(alert.ring.name());
    let tagged = page(&format!("/happened?from=2026-11-20&network={network}%26ring%3D{ring}"));
    assert!(tagged.contains("10.1.2.4") && !tagged.contains("10.1.2.3<"), "{tagged}");
    let early = page("/happened?from=2026-11-20+14:00&to=2026-11-20+14:30&kind=change");
    assert_eq!(rows(&early), 2, "{early}");

    // Each entry has a link of its own, which has all of it; and each list is a file.
    let link = configurations.split("<th scope=\"row\"><a href=\"").nth(1).expect("a link");
    let link = link.split('"').next().expect("its end");
    let alone = page(link);
    assert!(alone.contains("<details open>") && rows(&alone) == 1, "{alone}");
    server.get("/happened/1-00").expect(404);
    server.get("/happened/x").expect(404);
    server.get("/happened?kind=x").expect(400);
    // Of a time of which nothing is recorded, it says so.
    let before = "/happened?from=2020-01-01&to=2020-02-01";
    assert!(page(before).contains("the history begins 2026-11-"), "{}", page(before));
    let file = server.get(&format!("{before}&format=json")).expect(200).json();
    let why = file["no_match"].as_str().expect("a reason");
    assert!(why.contains("the history begins 2026-11-"), "{why}");
    let file = server.get("/happened?from=2026-11-20&format=json").expect(200);
    let entries = file.json()["rows"].as_array().expect("rows").clone();
    let configuration: Vec<_> =
        entries.iter().filter(|entry| entry["kind"] == "configuration").collect();
    assert_eq!(configuration[0]["user"], "alice");
    let diff = configuration[0]["diff"].as_array().expect("lines");
    let has =
        |text: &str| diff.iter().any(|line| line.as_str().is_some_and(|it| it.contains(text)));
    assert!(has("password=***") && !has("geheim"), "{diff:?}");
    let csv = server.get("/happened?from=2026-11-20&kind=return&format=csv").expect(200);
    assert_eq!(csv.body.split_terminator("\r\n").count(), 2, "{}", csv.body);
    assert!(csv.body.starts_with("time,kind,what,address,mac,before,name,user,router,"));
}

/// Texts of alerts, of routers and of networks that are HTML, a script or an escape sequence are text; a page has a bounded
/// number of entries.
#[test]
fn hostile_records() {
    const HOSTILE: &str =
        "\"'><img src=x onerror=alert(1)><script>alert(2)</script>\u{1b}[2J\u{202e}{{7*7}}";
    let history = History::new();
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(history.command(&ring, &["--once"])).ok();
    let outputs = history.path().join("outputs");
    fs::create_dir_all(outputs.join("aw-alert")).expect("our own directory");
    let alerts: String = (0..250)
        .map(|number| {
            let mut alert = serde_json::json!({ "seconds": 1_795_183_200 + number });
            for field in [
                "kind", "summary", "message", "mac", "old_mac", "ip", "iface", "host", "name",
                "note",
            ] {
                alert[field] = HOSTILE.into();
            }
            format!("{alert}\n")
        })
        .collect();
    fs::write(outputs.join("aw-alert/aw-alert.reported"), alerts).expect("a file");
    let archive = history.path().join("archive");
    fs::create_dir(&archive).expect("our own directory");
    let change = serde_json::json!({
        "time": "2026-11-20T15:00:00Z", "router": HOSTILE, "address": HOSTILE, "users": [HOSTILE], "who": HOSTILE,
        "ambiguous": true, "added": 1, "removed": 2, "ignored": 3, "secrets": 4, "noted": false, "menus": [],
        "log": [HOSTILE], "snapshot": HOSTILE, "diff": format!("+{HOSTILE}\n-{HOSTILE}\n"), "further_lines": 5,
    });
    fs::write(archive.join(".masked.jsonl"), format!("{change}\n")).expect("a file");
    let server =
        Server::start(&history, &["--outputs", text(&outputs), "--archive", text(&archive)]);
    let encoded = "%22%27%3E%3Cscript%3Ealert(2)%3C%2Fscript%3E";
    let check = |path: &str| -> Answer {
        let answer = server.get(path);
        for bad in ["<script>", "<img", "onerror=alert(1)>", "\u{1b}", "\u{202e}"] {
            assert!(!answer.body.contains(bad), "{path}: {bad:?}: {}", answer.body);
        }
        answer
    };
    let first = check("/happened?from=2026-11-20&to=2026-11-21").expect(200).body;
    assert_eq!(rows(&first), 100, "{first}");
    assert!(first.contains("page 1 of 3"), "{first}");
    for path in [
        "/happened?from=2026-11-20&to=2026-11-21&page=3",
        "/happened?from=2026-11-20&to=2026-11-21&kind=configuration",
        &format!("/happened?from=2026-11-20&text={encoded}"),
        &format!("/happened?from={encoded}"),
        &format!("/happened?kind={encoded}"),
        &format!("/happened?network={encoded}"),
        &format!("/happened/{encoded}"),
        &format!("/happened/1795183200000000000-{encoded}"),
        &format!("/health?{encoded}=1"),
    ] {
        assert!(check(path).body.contains("</html>"), "{path}");
    }
    let link = first.split("<th scope=\"row\"><a href=\"").nth(1).expect("a link");
    check(link.split('"').next().expect("its end")).expect(200);
    // Damaged files are no more than missing ones.
    fs::write(archive.join(".masked.jsonl"), [0xff, b'\n', b'{']).expect("a file");
    let page = check("/happened?from=2026-11-20&to=2026-11-21").expect(200).body;
    assert!(page.contains("no lines of configurations are shown: read "), "{page}");
}

fn rows(page: &str) -> usize {
    page.matches("<th scope=\"row\">").count()
}

fn form(text: &str) -> String {
    text.replace('/', "%252F")
}

/// In a browser, `/now` shows a device as it is seen, a row for each; and the banner comes and goes without a reload.
#[test]
fn a_live_page() {
    if Command::new("chromedriver").arg("--version").output().is_err() {
        return aw_tests::rig::skip("there is no chromedriver here");
    }
    let ring = Ring::new();
    publish(&ring, 1..4);
    let history = stored(&ring);
    let names = history.path().join("names");
    fs::write(&names, "02:00:00:00:00:07|<b>Radio</b>\n").expect("the file of names");
    let running = Ring::new();
    let rings = ["--ring", ring.name(), "--ring", running.name()];
    let server = Server::start(&history, &[&rings[..], &["--names", text(&names)]].concat());
    let mut browser = Browser::open(1200, 900);
    browser.go(&server.login());
    let own = format!("http://127.0.0.1:{}", server.port);
    browser.go(&format!("{own}/now?state=all"));
    let text = |browser: &mut Browser| {
        browser.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    };
    let count = |browser: &mut Browser| {
        browser.run("return document.querySelectorAll('tbody tr').length").as_u64()
    };
    wait_until("nothing is captured", || {
        text(&mut browser).contains("Not live: no collector runs")
    });
    let options = ["--quiet", "--ring", running.name(), "--macupd", "127.0.0.1:0"];
    let collector = Run::start(program("collector", &options));
    wait_until("the page is live", || text(&mut browser).contains("before the history has them"));
    assert_eq!(count(&mut browser), Some(3));
    // Of a device that is there, one row; of a new one, another row, once.
    publish(&ring, 2..3);
    wait_until("a row is live", || {
        browser.run("return document.querySelectorAll('tr.live').length").as_u64() == Some(1)
    });
    assert_eq!(count(&mut browser), Some(3));
    publish(&ring, 7..8);
    publish(&ring, 7..8);
    wait_until("a new device", || text(&mut browser).contains("<b>Radio</b>"));
    wait_until("all is counted", || text(&mut browser).contains("3 sightings since"));
    assert_eq!(count(&mut browser), Some(4));
    let shown = text(&mut browser);
    assert!(shown.contains("not in the history yet") && shown.contains("10.0.0.7"), "{shown}");
    // By keyboard it is a row as the others: its first cell leads to the device.
    let link = browser.run("return document.querySelector('tbody tr th a').getAttribute('href')");
    assert_eq!(link, "/mac/02%3A00%3A00%3A00%3A00%3A07");
    // A device that moved is in its new network, with its address there.
    capture(&ring, &[(0, 2, 9, 20)]);
    let row = "return [...document.querySelectorAll('tbody tr')].find((row) => row.innerText.includes('02:00:00:00:00:02')).innerText";
    wait_until("the device moves", || {
        let row = browser.run(row).as_str().unwrap_or_default().to_owned();
        row.contains("eth0, VLAN 20") && row.contains("10.1.2.9") && !row.contains("10.0.0.2")
    });
    // A list of another network has nothing of it.
    browser.go(&format!("{own}/now?state=all&network=interface%3Deth9"));
    wait_until("the page is live", || text(&mut browser).contains("before the history has them"));
    publish(&ring, 8..9);
    wait_until("it is counted", || text(&mut browser).contains("1 sighting since"));
    assert!(text(&mut browser).contains("No device"), "{}", text(&mut browser));
    browser.resize(360, 740);
    for path in ["/now?state=all", "/health", "/happened?from=1970-01-01"] {
        browser.go(&format!("{own}{path}"));
        let wide = browser.run("return document.documentElement.scrollWidth");
        assert!(wide.as_u64().is_some_and(|wide| wide <= 360), "{path}: {wide}");
    }
    let complaints = browser.complaints();
    let ours: Vec<_> = complaints.iter().filter(|line| !line.contains("favicon")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    collector.kill();
}

/// The banner of a live page has its times in the zone of the page, as the page itself.
#[test]
fn a_live_banner_has_the_zone_of_the_page() {
    if Command::new("chromedriver").arg("--version").output().is_err() {
        return aw_tests::rig::skip("there is no chromedriver here");
    }
    let ring = Ring::new();
    publish(&ring, 1..4);
    let history = stored(&ring);
    let outputs = history.path().join("outputs");
    fs::create_dir_all(outputs.join("aw-mysql")).expect("our own directory");
    let outage =
        serde_json::json!({ "since": 1_795_183_200, "events": 7, "bytes": 8, "why": "no route" });
    fs::write(outputs.join("aw-mysql/aw-mysql.outage"), outage.to_string()).expect("a file");
    let server = Server::start(&history, &["--ring", ring.name(), "--outputs", text(&outputs)]);
    let mut browser = Browser::open(1200, 900);
    browser.go(&server.login());
    browser.go(&format!("http://127.0.0.1:{}/now?state=all&zone=Asia%2FTokyo", server.port));
    wait_until("the script shows the fault", || {
        let banner = browser.run("return document.getElementById('banner').innerText");
        banner.as_str().is_some_and(|text| text.contains("(since 2026-11-20 23:00:00 +09:00)"))
    });
}
