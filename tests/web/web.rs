//! `aw-web`: who had an address, and when, in a browser and by its API, from the rows that `aw-sqlite` stored.
#![forbid(unsafe_code)]

use aw_tests::certificates::make_certificates;
use aw_tests::collect::json;
use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{Run, program, run, run_with, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, ADDRESS, Sighting, capture};
use aw_tests::web::{Server, command, without_script};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

fn history(seen: &[Sighting]) -> History {
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, seen);
    run(history.command(&ring, &["--once"])).ok();
    history
}

fn handover() -> History {
    history(&sightings::handover())
}

/// Who had it at a time: the words for the certainty, the evidence before and after, the picture, and what leads to it.
#[test]
fn who_had_it() {
    let history = handover();
    let names = history.path().join("names");
    fs::write(&names, "02:00:00:00:00:01 Kitchen radio\n02:00:00:00:00:02 Printer\n").unwrap();
    let server = Server::start(&history, &["--names", names.to_str().unwrap()]);
    let to = server.get("/search?q=who+had+10.1.2.3+at+2026-11-20+14:32%3F").expect(303);
    let to = to.header("location").unwrap().to_owned();
    assert_eq!(to, "/who?ip=10.1.2.3&at=2026-11-20T14%3A32%3A00Z");
    let page = server.get(&to).expect(200).body;
    for text in [
        "2026-11-20 14:32:00 +00:00?",
        "<b>sure</b> It was seen near that time, before and after, and no other device was.",
        "Kitchen radio <span class=\"mac\">02:00:00:00:00:01</span>",
        "2026-11-20 14:30:00 +00:00 (2 min 0 s before)",
        "2026-11-20 14:35:00 +00:00 (3 min 0 s after)",
        "eth0, of here",
        "<svg class=\"timeline\"",
        "<title>Printer 02:00:00:00:00:02: 2026-11-20 15:00:00 +00:00 to 2026-11-20 16:55:00 +00:00</title>",
        "02:00:00:00:00:01 Kitchen radio\n  how sure: sure\n",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(
        !without_script(&page).contains("<script") && !page.contains("http://")
            || page.matches("http://").count() == 1,
        "{page}"
    );
    let changed = server.get("/who?ip=10.1.2.3&at=2026-11-20+14:58").expect(200).body;
    assert_eq!(changed.matches("<article").count(), 2, "{changed}");
    assert!(changed.contains("One device was the last one seen before"));
    let none = server.get("/who?ip=192.0.2.1").expect(200).body;
    assert!(none.contains("No device: no sightings of 192.0.2.1 in the whole history."), "{none}");
}

/// The pages of an address and of a device: rows, zooms, and spans that are links.
#[test]
fn an_address_and_a_device() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let to = server.get("/search?q=10.1.2.3+2026-11-20").expect(303);
    assert_eq!(to.header("location"), Some("/ip/10.1.2.3?at=2026-11-20T12%3A00%3A00Z&zoom=day"));
    let page = server.get(to.header("location").unwrap()).expect(200).body;
    assert_eq!(page.matches("<tr><th scope=\"row\">").count(), 3, "three periods: {page}");
    assert_eq!(page.matches("<rect class=\"bar").count(), 3, "{page}");
    for zoom in ["year", "month", "week", "hour"] {
        assert!(page.contains(&format!("zoom={zoom}\">{zoom}</a>")), "{zoom}: {page}");
    }
    let year = server.get("/ip/10.1.2.3?at=2026-08-01&zoom=year").expect(200).body;
    assert_eq!(year.matches("<rect class=\"bar").count(), 2, "one for each device: {year}");
    let before = server.get("/ip/10.1.2.3?at=2026-11-10&zoom=day").expect(200).body;
    assert!(
        before.contains(
            "no sightings of 10.1.2.3 from 2026-11-10 00:00 +00:00 to 2026-11-11 00:00 +00:00"
        ),
        "{before}"
    );
    // Each link of a page leads to a page.
    let links: BTreeSet<_> =
        page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for link in links.iter().filter(|link| link.starts_with('/')) {
        server.get(&link.replace("&#38;", "&").replace("&amp;", "&")).expect(200);
    }
    assert!(links.len() > 10, "{links:?}");
    let mac = server.get("/mac/0200.0000.0001?at=2026-11-20+16:00&zoom=week").expect(200).body;
    assert!(mac.contains("a private MAC") && mac.contains("VLAN 7, of here"), "{mac}");
    assert_eq!(mac.matches("<tr><th scope=\"row\">").count(), 3, "{mac}");
    for (path, status, why) in [
        ("/ip/10.1.2", 400, "must be an IPv4 or IPv6 address"),
        ("/mac/x", 400, "must be a MAC address"),
        ("/ip/10.1.2.3?zoom=decade", 400, "must be year, month, week, day or hour"),
        ("/ip/10.1.2.3?when=now", 400, "unknown parameter &#34;when&#34;"),
        ("/who", 400, "the parameter ip is missing"),
        ("/search?q=10.1.2.3+25:00", 400, "there is no time of day 25:00"),
        ("/nowhere", 404, "no page has this path"),
    ] {
        let answer = server.get(path).expect(status);
        assert!(
            answer.body.contains(why) && answer.body.contains("</html>"),
            "{path}: {}",
            answer.body
        );
    }
}

/// A part of a name leads to the device, or to a list.
#[test]
fn names_are_found() {
    let history = handover();
    let names = history.path().join("names");
    fs::write(&names, "02:00:00:00:00:01 Kitchen radio\n02:00:00:00:00:02 Kitchen oven\n").unwrap();
    let server = Server::start(&history, &["--names", names.to_str().unwrap()]);
    let one = server.get("/search?q=radio+2026-11-20").expect(303);
    assert_eq!(
        one.header("location"),
        Some("/mac/02%3A00%3A00%3A00%3A00%3A01?at=2026-11-20T12%3A00%3A00Z&zoom=day")
    );
    let both = server.get("/search?q=KITCHEN").expect(200).body;
    assert!(both.contains("Kitchen radio") && both.contains("Kitchen oven"), "{both}");
    assert!(server.get("/search?q=cellar").expect(200).body.contains("No device has this"));
    // The file is followed.
    fs::write(&names, "02:00:00:00:00:02 Cellar\n").unwrap();
    wait_until("the new name", || server.get("/search?q=cellar").status == 303);
}

/// The rows of the API are those of `aw-query --format json`; what is left off is counted.
#[test]
fn the_api_has_the_rows_of_aw_query() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let rows = |arguments: &[&str]| -> Vec<Value> {
        let finished = run(history.query(&[arguments, &["--format", "json"]].concat())).ok();
        finished.stdout.lines().map(json).collect()
    };
    let range = ["--from", "2026-11-20 14:10", "--to", "2026-11-20 16:00"];
    let of_range = "from=2026-11-20+14:10&to=2026-11-20+16:00";
    for (path, arguments) in [
        ("who?ip=10.1.2.3&at=2026-11-20+14:58", vec!["who", ADDRESS, "--at", "2026-11-20 14:58"]),
        ("ip/10.1.2.3", vec!["ip", ADDRESS]),
        ("ip/10.1.2.3?all=true", vec!["ip", ADDRESS, "--all"]),
        ("mac/02-00-00-00-00-01", vec!["mac", "02:00:00:00:00:01"]),
        ("devices", vec!["devices"]),
        ("changes", vec!["changes"]),
        (&format!("ip/10.1.2.3?{of_range}"), [&["ip", ADDRESS][..], &range].concat()),
        (&format!("changes?{of_range}"), [&["changes"][..], &range].concat()),
        ("devices?since=2026-11-20+15:00", vec!["devices", "--since", "2026-11-20 15:00"]),
        ("changes?since=2026-11-20+14:10", vec!["changes", "--from", "2026-11-20 14:10"]),
        ("ip/10.1.2.3?network=eth0", vec!["ip", ADDRESS, "--network", "eth0"]),
    ] {
        let answer = server.get(&format!("/api/v1/{path}")).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let (found, expected) = (answer.json(), rows(&arguments));
        assert!(!expected.is_empty(), "{path}");
        assert_eq!(found["rows"], Value::Array(expected), "{path}");
        assert_eq!((&found["left_off"], &found["no_match"]), (&0.into(), &Value::Null), "{path}");
    }
    let last = server.get("/api/v1/ip/10.1.2.3?limit=1").expect(200).json();
    assert_eq!(last["rows"], Value::Array(rows(&["ip", ADDRESS])[2..].to_vec()), "the latest one");
    assert_eq!(last["left_off"], 2);
    let none = server.get("/api/v1/ip/192.0.2.9").expect(200).json();
    assert_eq!(none["no_match"], "no sightings of 192.0.2.9 in the whole history");
    let other = "who?ip=10.1.2.3&at=2026-11-20+14:32&network=eth0.20";
    let other = server.get(&format!("/api/v1/{other}")).expect(200).json();
    let why = "no row of the network \"eth0.20\" (there are rows of eth0; ";
    assert!(other["no_match"].as_str().unwrap().starts_with(why), "{other}");
    assert_eq!(other["rows"], Value::Array(Vec::new()));
    for (path, status, why) in [
        ("who", 400, "ip is missing"),
        ("ip/10.1.2", 400, "must be an IPv4 or IPv6 address"),
        ("mac/02:00", 400, "must be a MAC address"),
        ("ip/x", 404, "no device has the name \"x\", and none calls itself so"),
        ("mac/x?limit=0", 400, "from 1 to 10000"),
        ("where?mac=x", 404, "no device has the name"),
        ("who?ip=x", 404, "no device has the name"),
        ("ip/10.1.2.3?limit=0", 400, "from 1 to 10000"),
        ("ip/10.1.2.3?all=maybe", 400, "true or false"),
        ("devices?sort=name", 400, "unknown parameter"),
        ("changes?since=now&until=yesterday", 400, "exchange"),
        ("nothing", 404, "no such path (/api/v1/openapi.json"),
    ] {
        let answer = server.get(&format!("/api/v1/{path}")).expect(status).json();
        assert!(answer["error"].as_str().unwrap().contains(why), "{path}: {answer}");
        assert_eq!(answer["status"], status);
    }
}

/// `openapi.json` has each path of the API, with an example that is answered as it says; and the server has no other one.
#[test]
fn openapi_describes_the_server() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let described = server.get("/api/v1/openapi.json").expect(200).json();
    let paths = described["paths"].as_object().unwrap();
    let routes =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../outputs/web/src/routes.rs"))
            .unwrap();
    let (_, api) = routes.split_once("let api").unwrap();
    let (api, _) = api.split_once(';').unwrap();
    let routed: BTreeSet<_> =
        api.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(routed, paths.keys().map(String::as_str).collect());
    let schema = |reference: &Value| {
        let name = reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        described["components"]["schemas"][name].clone()
    };
    let mut patterns = Vec::new();
    for (path, item) in paths {
        let (mut path, mut query, mut forms) = (path.clone(), Vec::new(), Vec::new());
        let get = &item["get"];
        for parameter in get["parameters"].as_array().unwrap_or(&Vec::new()) {
            let name = parameter["name"].as_str().unwrap();
            let text = |example: &Value| {
                example.as_str().map_or_else(|| example.to_string(), str::to_owned)
            };
            let pair = |example: &str| format!("{name}={}", example.replace(' ', "+"));
            // Each form of a time, by itself.
            let examples =
                parameter["examples"].as_object().into_iter().flat_map(|all| all.values());
            for example in examples.map(|example| text(&example["value"])) {
                forms.push(pair(&example));
                patterns.push(Value::Array(vec![parameter["schema"].clone(), example.into()]));
            }
            let Some(example) = parameter.get("example").map(text) else { continue };
            match parameter["in"].as_str() {
                Some("path") => path = path.replace(&format!("{{{name}}}"), &example),
                _ => query.push(pair(&example)),
            }
        }
        let base = described["servers"][0]["url"].as_str().unwrap();
        let url = format!("{base}{path}?{}", query.join("&"));
        for form in &forms {
            server.get(&format!("{url}&{form}")).expect(200);
        }
        let content = &get["responses"]["200"]["content"];
        if content["text/event-stream"].is_object() {
            continue; // without an end: tests/web/web_live.rs
        }
        let answer = server.get(&url).expect(200).json();
        let expected = &content["application/json"]["schema"];
        if expected["$ref"].is_null() {
            continue; // the description itself
        }
        let expected = schema(expected);
        let properties: BTreeSet<_> = expected["properties"].as_object().unwrap().keys().collect();
        assert_eq!(
            answer.as_object().unwrap().keys().collect::<BTreeSet<_>>(),
            properties,
            "{url}"
        );
        // Without a login, and with a wrong parameter, each has the described errors.
        let refused = server.request("GET", &url, "", "").expect(401).json();
        let wrong = server.get(&format!("{url}&nothing=1")).expect(400).json();
        let problem =
            described["components"]["schemas"]["Problem"]["properties"].as_object().unwrap();
        for answer in [refused, wrong] {
            let keys: BTreeSet<_> = answer.as_object().unwrap().keys().collect();
            assert_eq!(keys, problem.keys().collect(), "{url}");
        }
        for status in ["400", "401", "503"] {
            assert!(get["responses"][status].is_object(), "{path}: {status}");
        }
    }
    // A client that validates lets them pass, and what names devices have.
    assert!(patterns.len() > 60, "{patterns:?}");
    let named = &paths["/mac/{mac}"]["get"]["parameters"][0]["schema"];
    for name in ["pc2.local", "Kitchen radio", "3d-printer", "Room 3/4", "2 Bürolampen", "é"] {
        patterns.push(Value::Array(vec![named.clone(), name.into()]));
    }
    const MATCH: &str = "import json, re, sys
for schema, text in json.load(sys.stdin):
    forms = [form['pattern'] for form in schema['anyOf'] if 'pattern' in form]
    if 'T' not in text and not any(re.search(form, text) for form in forms):
        print(text)";
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", MATCH]);
    let unmatched = run_with(python, Value::Array(patterns).to_string().as_bytes()).ok().stdout;
    assert_eq!(unmatched, "");
}

/// Requests that schemathesis makes of `openapi.json`, valid and invalid ones, are answered as it says.
#[test]
fn schemathesis_holds_the_description() {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let program = format!("{ROOT}/target/schemathesis/bin/schemathesis");
    let version = Command::new(&program).arg("--version").output();
    if !version.is_ok_and(|version| version.status.success()) {
        eprintln!(
            "NOT CHECKED: openapi.json with schemathesis, which PyPI has (run contrib/setup.sh test)"
        );
        return;
    }
    let (history, directory) = (handover(), tempfile::tempdir().unwrap());
    let server = Server::start(&history, &[]);
    let mut command = Command::new(program);
    command
        .args(["--no-color", "--config-file"])
        .arg(format!("{ROOT}/tests/web/schemathesis.toml"))
        .arg("run")
        .arg(format!("{ROOT}/outputs/web/openapi.json"))
        .arg(format!("--url=http://127.0.0.1:{}/api/v1", server.port))
        .arg(format!("--header=Authorization: Bearer {}", server.token))
        .args(["--phases=examples,coverage,fuzzing", "--max-examples=10", "--seed=1"])
        .args(["--workers=1", "--request-timeout=100", "--suppress-health-check=all"])
        // It leaves what it tried in both, and asks no proxy.
        .current_dir(&directory)
        .env("HOME", directory.path())
        .env("NO_PROXY", "127.0.0.1");
    let report = run(command).ok().stdout;
    for line in ["8 selected / 9 total", "Tested: 8", "No issues found"] {
        assert!(report.contains(line), "{line}: {report}");
    }
}

/// The options of the service aw-sqlite name another database: the service ends, and systemd starts it with that one.
#[test]
fn a_database_that_moves() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root has a mount namespace in which a unit is another one");
    }
    let (before, after, units) = (handover(), handover(), tempfile::tempdir().unwrap());
    let edit = units.path().join("systemd/system/aw-sqlite.service.d");
    fs::create_dir_all(&edit).unwrap();
    let names = |database: &std::path::Path| {
        let unit = format!(
            "[Service]\nExecStart=\nExecStart=/usr/bin/aw-sqlite --database {}\n",
            database.display()
        );
        fs::write(edit.join("zz-test.conf"), unit).unwrap();
    };
    names(before.database());
    let state = tempfile::tempdir().unwrap();
    let notified = UnixDatagram::bind(state.path().join("notify")).unwrap();
    let service = program(
        "aw-web",
        &["--listen", "0", "--names", "/dev/null", "--ring", "none", "--state-dir"],
    );
    let mut inside = Command::new("unshare");
    let mounted = "mount --bind $0 /usr/local/lib; exec \"$@\"";
    inside.args(["--mount", "--propagation", "private", "sh", "-c", mounted]).arg(units.path());
    inside.arg(service.get_program()).args(service.get_args()).arg(state.path());
    inside.env("NOTIFY_SOCKET", state.path().join("notify")).env("TZ", "UTC");
    let server = Server::started(inside, state);
    server.get("/who?ip=10.1.2.3&at=2026-11-20+14:32").expect(200);
    // One that is not there yet is not waited for in vain.
    names(&after.path().join("none.db"));
    server.get("/who?ip=10.1.2.3&at=2026-11-20+14:32").expect(200);
    names(after.database());
    let line = server.run.stderr.wait_for("ending, for systemd starts this service with it");
    assert!(line.contains(after.database().to_str().unwrap()), "{line}");
    server.run.finish().ok();
    drop(notified);
}

/// The link of `aw-web login`, and what is asked without a login.
#[test]
fn the_link_logs_in() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let to = server.request("GET", "/ip/10.1.2.3?zoom=day", "", "").expect(303);
    assert_eq!(to.header("location"), Some("/login?next=%2Fip%2F10.1.2.3%3Fzoom%3Dday"));
    assert_eq!(server.request("GET", "/", "", "").expect(303).header("location"), Some("/login"));
    let form = server.request("GET", "/login", "", "").expect(200).body;
    assert!(form.contains("type=\"password\"") && !form.contains("role=\"search\""), "{form}");
    let link = server.login();
    let path = link.strip_prefix(&format!("http://127.0.0.1:{}", server.port)).unwrap();
    let logged_in = server.request("GET", path, "", "").expect(303);
    assert_eq!(logged_in.header("location"), Some("/"));
    let cookie = logged_in.header("set-cookie").unwrap();
    assert!(
        cookie.contains("; HttpOnly; SameSite=Strict")
            && cookie.starts_with(&format!("aw-web-{}=", server.port)),
        "{cookie}"
    );
    let cookie = Server::cookie(&logged_in);
    let page = server.get_as(&cookie, "/").expect(200);
    assert!(page.body.contains("<span>administrator</span>"), "{}", page.body);
    for (header, text) in [
        ("content-security-policy", "default-src 'none'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert!(
            page.header(header).is_some_and(|value| value.contains(text)),
            "{header}: {page:#?}"
        );
    }
    assert!(!page.header("content-security-policy").unwrap().contains("unsafe"));
    let style = page.body.split("href=\"/style-").nth(1).unwrap().split('"').next().unwrap();
    let style = server.request("GET", &format!("/style-{style}"), "", "").expect(200);
    assert!(style.header("cache-control").unwrap().contains("immutable"), "{style:#?}");
    // To log out ends the session, not only the cookie.
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let headers = format!("Cookie: {cookie}\r\n");
    server.request("POST", "/logout", &headers, &format!("csrf={csrf}")).expect(303);
    server.get_as(&cookie, "/").expect(303);
    // The token survives a restart; what others may read is only theirs.
    let file = server.state().join("aw-web.login");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    // Each question is logged, without the token.
    let token = server.token.clone();
    let log = server.run.stop().ok().stderr;
    assert!(log.contains("token from 127.0.0.1: GET / 200"), "{log}");
    assert!(log.contains("token logged in from 127.0.0.1: GET /login?token=*** 303"), "{log}");
    assert!(!log.contains(&token), "{log}");
}

/// Users with passwords: added, changed and removed while the server runs.
#[test]
fn users() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let passwd = |arguments: &[&str], password: &str| {
        let mut command = program("aw-web", &["passwd", "--state-dir"]);
        command.arg(server.state()).args(arguments);
        run_with(command, format!("{password}\n").as_bytes())
    };
    let wrong =
        server.request("POST", "/login", "", "name=alice&password=correct+horse").expect(403);
    assert!(wrong.body.contains("Name or password is wrong."), "{}", wrong.body);
    passwd(&["alice"], "short").refused("aw-web", &["password: it must have 8 to 1024"]);
    passwd(&["alice"], "correct horse").ok();
    passwd(&["bob", "--role", "editor"], "battery staple").ok();
    server.request("POST", "/login", "", "name=alice&password=battery+staple").expect(403);
    let [alice, bob] = [("alice", "correct+horse"), ("bob", "battery+staple")]
        .map(|(name, password)| server.log_in(name, password));
    assert!(server.get_as(&alice, "/").expect(200).body.contains("alice (reader)"));
    assert!(server.get_as(&bob, "/").expect(200).body.contains("bob (editor)"));
    let next = server
        .request("POST", "/login", "", "name=bob&password=battery+staple&next=%2Fip%2F10.1.2.3")
        .expect(303);
    assert_eq!(next.header("location"), Some("/ip/10.1.2.3"));
    // Another password, or none, ends the sessions of the user.
    passwd(&["alice"], "a new password").ok();
    server.get_as(&alice, "/").expect(303);
    passwd(&["bob", "--remove"], "").ok();
    server.get_as(&bob, "/").expect(303);
    passwd(&["bob", "--remove"], "").refused("aw-web", &["remove bob: no such user"]);
    server.log_in("alice", "a+new+password");
    let ended = server.run.stop().ok();
    assert!(!ended.stderr.contains("password="), "{}", ended.stderr);
}

/// Behind a reverse proxy on a socket: its header names the user, and a form needs the token nevertheless.
#[test]
fn a_proxy_names_the_user() {
    let (history, state) = (handover(), tempfile::tempdir().unwrap());
    let socket = state.path().join("socket");
    let path = socket.to_str().unwrap();
    let options = [
        "--listen",
        path,
        "--proxy-user-header",
        "X-Remote-User",
        "--allow-host",
        "lan.example.org",
    ];
    let run = Run::start(command(history.database(), state.path(), &options));
    run.stderr.wait_for("serving https://lan.example.org/");
    let ask = |host: &str, headers: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // The proxy may pass on the password with which it has authenticated the user.
    let page =
        ask("lan.example.org", "X-Remote-User: carol\r\nAuthorization: Basic Y2Fyb2w6eA==\r\n");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("carol (reader)"), "{page}");
    assert!(ask("lan.example.org", "").starts_with("HTTP/1.1 303"));
    assert!(ask("evil.example", "X-Remote-User: carol\r\n").starts_with("HTTP/1.1 421"));
    for bad in ["X-Remote-User: carol\r\nX-Remote-User: root\r\n", "X-Remote-User: a b\r\n"] {
        assert!(ask("lan.example.org", bad).starts_with("HTTP/1.1 400"), "{bad}");
    }
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let log = run.stop().ok().stderr;
    assert!(log.contains("carol from a local socket: GET / 200"), "{log}");
}

/// What would be unsafe, or could not work, is refused at the start, with the remedy; `--check` finds the same.
#[test]
fn faults_at_the_start() {
    let (history, state) = (handover(), tempfile::tempdir().unwrap());
    let start = |options: &[&str]| run(command(history.database(), state.path(), options));
    start(&["--listen", "0.0.0.0:0"]).refused("aw-web", &["--tls-cert"]);
    start(&["--proxy-user-header", "X-User"]).refused("aw-web", &["--listen /PATH"]);
    let missing = ["--tls-cert", "/nowhere/c.pem", "--tls-key", "/nowhere/k.pem"];
    start(&missing).refused("aw-web", &["read /nowhere/c.pem: no such file"]);
    start(&["--check", "--listen", "0.0.0.0:0"]).refused("aw-web", &["--tls-cert"]);
    let mut nowhere = command("/nowhere/lan.db".as_ref(), state.path(), &["--check"]);
    nowhere.stdin(std::process::Stdio::null());
    run(nowhere).refused("aw-web", &["read /nowhere/lan.db: no such file"]);
    let checked = start(&["--check"]).ok();
    assert!(checked.stdout.contains("no fault, as far as user "), "{checked:#?}");
    let health = |status: i32, text: &str| {
        let finished = start(&["--health"]);
        assert_eq!(finished.status.code(), Some(status), "{finished:#?}");
        assert!(finished.stdout.contains(text), "{finished:#?}");
    };
    health(1, "aw-web is not running");
    let server = Run::start(command(history.database(), state.path(), &[]));
    server.stderr.wait_for("serving http");
    health(0, "aw-web: running");
    start(&[]).refused("aw-web", &["in use by another aw-web"]);
    let serving = server.stderr.text();
    let (_, port) = serving.split_once("serving http://127.0.0.1:").expect("its address");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    let checked = start(&["--check", "--listen", &port]).ok().stdout;
    assert!(checked.contains(&format!("the running aw-web serves port {port}")), "{checked}");
    server.stop().ok();
    let mut login = program("aw-web", &["login", "--state-dir", "/nowhere"]);
    login.stdin(std::process::Stdio::null());
    run(login).refused("aw-web", &["read /nowhere/aw-web.login: no such file", "start aw-web"]);
}

/// Without its database it starts, and answers when there is one.
#[test]
fn the_database_comes_later() {
    let (ring, history) = (Ring::new(), History::new());
    let server = Server::start(&history, &[]);
    let missing = server.get("/api/v1/health").expect(503).json();
    assert!(missing["error"].as_str().unwrap().contains("no such file"), "{missing}");
    assert_eq!((&missing["well"], &missing["history"]), (&false.into(), &"unreadable".into()));
    assert_eq!(missing["faults"][0]["of"], "history", "{missing}");
    assert!(missing["collectors"].is_array() && missing["outputs"].is_array(), "{missing}");
    let fault = server.state().join("aw-web.fault");
    assert!(fs::read_to_string(&fault).unwrap().contains("no such file"));
    assert!(server.get("/ip/10.1.2.3").expect(503).body.contains("start aw-sqlite"));
    capture(&ring, &sightings::handover());
    run(history.command(&ring, &["--once"])).ok();
    assert_eq!(server.get("/api/v1/health").expect(200).json()["history"], "readable");
    assert_eq!(fs::read_to_string(&fault).unwrap(), "");
    server.get("/ip/10.1.2.3").expect(200);
}

/// HTTPS with a certificate: the link, the cookie and the log have it; without TLS there is no answer.
#[test]
fn https() {
    let history = handover();
    let certificates = history.path().join("certificates");
    make_certificates(&certificates);
    let file = |name: &str| certificates.join(name).to_str().unwrap().to_owned();
    let tls = ["--tls-cert", &file("server.pem"), "--tls-key", &file("own.key")];
    let server = Server::start(&history, &tls);
    let link = server.login();
    assert!(link.starts_with(&format!("https://127.0.0.1:{}/login?token=", server.port)), "{link}");
    let curl = |options: &[&str], url: &str| {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--cacert", &file("ca.pem")])
            .args(options)
            .arg(url);
        run(command)
    };
    let bearer = format!("Authorization: Bearer {}", server.token);
    let health = format!("https://127.0.0.1:{}/api/v1/health", server.port);
    assert_eq!(json(&curl(&["-H", &bearer], &health).ok().stdout)["history"], "readable");
    let logged_in = curl(&["--include"], &link).ok().stdout;
    let cookie = format!("set-cookie: __Host-aw-web-{}=", server.port);
    assert!(
        logged_in.contains(&cookie) && logged_in.contains("; SameSite=Strict; Secure;"),
        "{logged_in}"
    );
    let without = server.get("/api/v1/health").expect(400).body;
    assert_eq!(without.trim(), "This port speaks HTTPS: write https:// before its address.");
    // A key that is not of the certificate.
    let state = tempfile::tempdir().unwrap();
    let wrong = ["--tls-cert", &file("server.pem"), "--tls-key", &file("ca.key")];
    run(command(history.database(), state.path(), &wrong))
        .refused("aw-web", &["do both belong together?"]);
}

/// The history of a server, with the login in a file.
#[test]
fn a_server_has_the_history() {
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    let Some(mariadb) = MariaDb::start(&[]) else { return };
    capture(&ring, &sightings::handover());
    run(mariadb.command(&ring, &["--once"])).ok();
    let config = mariadb.config("");
    let mut command =
        program("aw-web", &["--vendors", "/nonexistent", "--names", "/dev/null", "--listen", "0"]);
    command.arg("--config").arg(&config).arg("--state-dir").arg(state.path()).env("TZ", "UTC");
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "root"]);
    }
    let server = Server::started(command, state);
    let found = server.get("/api/v1/who?ip=10.1.2.3&at=2026-11-20+14:32").expect(200).json();
    assert_eq!(
        (&found["rows"][0]["mac"], &found["rows"][0]["how_sure"]),
        (&"02:00:00:00:00:01".into(), &"sure".into())
    );
    let page = server.get("/ip/10.1.2.3?at=2026-11-20&zoom=day").expect(200).body;
    assert_eq!(page.matches("<rect class=\"bar").count(), 3, "{page}");
}
