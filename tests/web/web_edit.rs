//! `aw-web`: names of devices, the time zone of the viewer, whether a device was here at a time, and files and text of each page.
#![forbid(unsafe_code)]

use aw_tests::collect::json;
use aw_tests::history::History;
use aw_tests::rig::{program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, ADDRESS, capture};
use aw_tests::web::{Answer, Server};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const RADIO: &str = "02:00:00:00:00:01";
const PRINTER: &str = "02:00:00:00:00:02";

fn handover() -> History {
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, &sightings::handover());
    run(history.command(&ring, &["--once"])).ok();
    history
}

/// A user with a password, who is logged in: the cookie.
fn user(server: &Server, name: &str, role: &str) -> String {
    let mut passwd = program("aw-web", &["passwd", name, "--role", role, "--state-dir"]);
    passwd.arg(server.state());
    run_with(passwd, b"correct horse\n").ok();
    server.log_in(name, "correct+horse")
}

/// The value of a hidden field.
#[track_caller]
fn field(page: &str, name: &str) -> String {
    let begin = format!("name=\"{name}\" value=\"");
    let rest = page.split_once(&begin).unwrap_or_else(|| panic!("no {name}: {page}")).1;
    rest.split('"').next().unwrap().to_owned()
}

fn encoded(mac: &str) -> String {
    mac.replace(':', "%3A")
}

fn post(server: &Server, cookie: &str, path: &str, form: &str) -> Answer {
    let headers = format!("Cookie: {cookie}\r\nOrigin: http://127.0.0.1:{}\r\n", server.port);
    server.request("POST", path, &headers, form)
}

/// An editor names a device and forgets the name again: for all programs, at once, and logged. All other lines stay.
#[test]
fn a_name() {
    let history = handover();
    let names = history.path().join("names");
    fs::write(&names, format!("# mine\n{PRINTER} Printer  # in the hall\n")).unwrap();
    fs::set_permissions(&names, PermissionsExt::from_mode(0o664)).unwrap();
    let path = names.to_str().unwrap();
    let server = Server::start(&history, &["--edit", "--names", path]);
    let editor = user(&server, "ada", "editor");
    let device = format!("/mac/{RADIO}");
    let form = |name: &str| {
        let csrf = field(&server.get_as(&editor, &device).expect(200).body, "csrf");
        post(&server, &editor, &format!("{device}/name"), &format!("csrf={csrf}&{name}"))
    };
    let named = form("name=+Kitchen++radio+").expect(303);
    assert_eq!(named.header("location"), Some(&*format!("/mac/{}#saved", encoded(RADIO))));
    let page = server.get_as(&editor, &device).expect(200).body;
    assert!(page.contains("<h1>Kitchen radio <span"), "at once: {page}");
    assert!(page.contains("Forget the name"), "{page}");
    let text = fs::read_to_string(&names).unwrap();
    let before = format!("# mine\n{PRINTER} Printer  # in the hall\n");
    assert_eq!(text, format!("{before}{RADIO} Kitchen radio\n"));
    assert_eq!(fs::metadata(&names).unwrap().permissions().mode() & 0o777, 0o664);
    let query = program("aw-query", &["name", RADIO, "--names", path]);
    assert_eq!(run(query).ok().stdout, "Kitchen radio\n");
    // Two devices with one name are no fault, but the page of each names the other one.
    form("name=Printer").expect(303);
    let page = server.get_as(&editor, &device).expect(200).body;
    assert!(
        page.contains(&format!(
            "The same name has <a class=\"mac\" href=\"/mac/{}\">",
            encoded(PRINTER)
        )),
        "{page}"
    );
    for (name, why) in [
        ("name=a%1b%5b2J", "not a name: it contains the character"),
        ("name=%7Ca", "not a name: it begins with |"),
        (&*format!("name={}", "x".repeat(201)), "longer than 200 characters"),
        ("name=+", "write a name ("),
        ("name=a&more=b", "unknown parameter"),
    ] {
        let refused = form(name).expect(400).body;
        assert!(refused.contains(why), "{name}: {refused}");
    }
    form("name=x&remove=true").expect(303);
    assert_eq!(fs::read_to_string(&names).unwrap(), before);
    let page = server.get_as(&editor, &device).expect(200).body;
    assert!(!page.contains("Kitchen") && !page.contains("Forget the name"), "{page}");
    let group = "/mac/01:00:5e:00:00:01/name";
    let csrf = field(&page, "csrf");
    let refused = post(&server, &editor, group, &format!("csrf={csrf}&name=x")).expect(400).body;
    assert!(refused.contains("it is the address of a group"), "{refused}");
    let log = server.run.stop().ok().stderr;
    for line in [
        format!("ada named {RADIO} \"Kitchen radio\"\n"),
        format!("ada named {RADIO} \"Printer\" (it was \"Kitchen radio\")\n"),
        format!("ada removed the name of {RADIO} (it was \"Printer\")\n"),
        format!("ada from 127.0.0.1: POST /mac/{RADIO}/name 303\n"),
    ] {
        assert!(log.contains(&line), "{line}: {log}");
    }
}

/// Only an editor names devices, with a form of the own session, and only with --edit. Otherwise there is no form.
#[test]
fn who_may_name() {
    let history = handover();
    let names = history.path().join("names");
    fs::write(&names, "").unwrap();
    let device = format!("/mac/{RADIO}");
    let path = format!("{device}/name");
    for edit in [true, false] {
        let mut options = vec!["--names", names.to_str().unwrap()];
        options.extend(edit.then_some("--edit"));
        let server = Server::start(&history, &options);
        for role in ["reader", "editor"] {
            let cookie = user(&server, role, role);
            let page = server.get_as(&cookie, &device).expect(200).body;
            let may = edit && role == "editor";
            assert_eq!(page.contains("Name of this device"), may, "{edit} {role}: {page}");
            let csrf = field(&page, "csrf");
            for form in ["name=a", "csrf=&name=a", "csrf=0000&name=a"] {
                let refused = post(&server, &cookie, &path, form).expect(403).body;
                assert!(refused.contains("the form is of another session"), "{refused}");
            }
            let answer = post(&server, &cookie, &path, &format!("csrf={csrf}&name={role}"));
            match (may, edit) {
                (true, _) => drop(answer.expect(303)),
                (false, true) => assert!(answer.expect(403).body.contains("--role editor")),
                (false, false) => {
                    assert!(answer.expect(403).body.contains("start aw-web with --edit"))
                }
            }
        }
        let evil = "Origin: http://evil.example\r\n";
        server.request("POST", &path, evil, "name=evil").expect(403);
        let to_login = server.request("POST", &path, "", "name=evil").expect(303);
        let to = format!("/login?next={}", path.replace('/', "%2F").replace(':', "%3A"));
        assert_eq!(to_login.header("location"), Some(&*to));
        // After it, the browser asks for the same path.
        let back = server.get(&path).expect(409).body;
        assert!(back.contains("The name is not saved"), "{back}");
        assert!(back.contains(&format!("href=\"/mac/{}\"", encoded(RADIO))), "{back}");
        assert_eq!(server.get("/logout").expect(303).header("location"), Some("/"));
    }
    assert_eq!(fs::read_to_string(&names).unwrap(), format!("{RADIO} editor\n"));
}

/// A file that cannot be written is reported at the start, and each time with what to do.
#[test]
fn a_file_that_cannot_be_written() {
    let history = handover();
    let names = history.path().join("names");
    fs::write(&names, "").unwrap();
    let server = Server::start(&history, &["--edit", "--names", names.to_str().unwrap()]);
    fs::remove_file(&names).unwrap();
    symlink("nowhere", &names).unwrap();
    let headers = format!("Authorization: Bearer {}\r\n", server.token);
    let path = format!("/mac/{RADIO}/name");
    let failed = server.request("POST", &path, &headers, "name=a").expect(503).body;
    assert!(failed.contains("it is a link that leads nowhere ("), "{failed}");
    let log = server.run.stop().ok().stderr;
    assert!(log.contains("names: it is a link that leads nowhere ("), "{log}");
    let mut check = aw_tests::web::command(
        history.database(),
        history.path(),
        &["--check", "--edit", "--names", names.to_str().unwrap()],
    );
    fs::remove_file(&names).unwrap();
    fs::write(&names, "").unwrap();
    assert!(run(check).ok().stdout.contains("no fault"));
    fs::set_permissions(&names, PermissionsExt::from_mode(0o666)).unwrap();
    check = aw_tests::web::command(
        history.database(),
        history.path(),
        &["--check", "--edit", "--names", names.to_str().unwrap()],
    );
    let refused = run(check);
    assert!(refused.stderr.contains("write /"), "{refused:#?}");
    assert!(refused.stderr.contains("names: all users can write to it"), "{refused:#?}");
}

/// Times are in the zone of the viewer: of a cookie that the form or the script sets, or of a permanent link. Those of the API and of
/// files stay as they are.
#[test]
fn zones() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let cookie = user(&server, "ada", "reader");
    let berlin = format!("{cookie}; aw-zone=Europe/Berlin");
    let who = "/who?ip=10.1.2.3&at=2026-11-20T14:32:00Z";
    let page = server.get_as(&cookie, who).expect(200).body;
    assert!(
        page.contains("2026-11-20 14:30:00 +00:00") && page.contains("in the zone UTC, +00:00"),
        "{page}"
    );
    let page = server.get_as(&berlin, who).expect(200).body;
    assert!(page.contains("2026-11-20 15:30:00 +01:00"), "{page}");
    assert!(page.contains("in the zone Europe/Berlin, +0"), "{page}");
    assert!(!page.contains("+00:00"), "all of them: {page}");
    // What is typed is of that zone, too.
    let found = server.get_as(&berlin, "/search?q=10.1.2.3+2026-11-20+15:32").expect(303);
    assert_eq!(found.header("location"), Some("/who?ip=10.1.2.3&at=2026-11-20T14%3A32%3A00Z"));
    let linked = "/search?q=10.1.2.3+2026-11-20+15:32&zone=Europe%2FBerlin";
    let found = server.get_as(&cookie, linked).expect(303);
    assert_eq!(
        found.header("location"),
        Some("/who?ip=10.1.2.3&at=2026-11-20T14%3A32%3A00Z&zone=Europe%2FBerlin")
    );
    let day = server.get_as(&berlin, "/ip/10.1.2.3?at=2026-11-20&zoom=day").expect(200).body;
    assert!(day.contains("2026-11-20 00:00:00 +01:00 to 2026-11-21 00:00:00 +01:00"), "{day}");
    // A permanent link has the instant, and the zone: another viewer reads the same.
    let link = page.split("rel=\"bookmark\"").next().unwrap().rsplit("href=\"").next().unwrap();
    let link = link.split('"').next().unwrap().replace("&#38;", "&");
    assert_eq!(link, "/who?ip=10.1.2.3&at=2026-11-20T14%3A32%3A00Z&zone=Europe%2FBerlin");
    let same = server.get_as(&format!("{cookie}; aw-zone=Asia/Tokyo"), &link).expect(200).body;
    assert!(same.contains("2026-11-20 15:30:00 +01:00") && !same.contains("+09:00"), "{same}");
    for (path, cookie) in [
        ("/api/v1/who?ip=10.1.2.3&at=2026-11-20T14:32:00Z", &berlin),
        (&*format!("{who}&format=json"), &berlin),
    ] {
        let rows = server.get_as(cookie, path).expect(200).body;
        assert!(rows.contains("14:30:00") && !rows.contains("15:30:00"), "{rows}");
    }
    let happened = "/happened?from=2026-11-20&to=2026-11-21";
    let page = server.get_as(&berlin, happened).expect(200).body;
    assert!(page.contains("2026-11-20 15:00:00 +01:00") && !page.contains("+00:00"), "{page}");
    let rows = server.get_as(&berlin, &format!("{happened}&format=csv")).expect(200).body;
    assert!(rows.contains("+00:00") && !rows.contains("+01:00"), "{rows}");
    for part in ["addresses", "presence"] {
        let path = format!("/mac/{}?until=2026-11-20&part={part}&format=csv", encoded(RADIO));
        let rows = server.get_as(&berlin, &path).expect(200).body;
        assert!(rows.contains("+00:00") && !rows.contains("+01:00"), "{path}: {rows}");
    }
    let unknown = server.get_as(&cookie, "/api/v1/who?ip=10.1.2.3&zone=UTC").expect(400);
    assert!(unknown.body.contains("unknown parameter"), "{unknown:#?}");
    // The form: names of this system, and back to the page.
    let page = server.get_as(&berlin, "/zone?next=%2Fip%2F10.1.2.3").expect(200).body;
    assert!(page.contains("<option selected>Europe/Berlin</option>"), "{page}");
    let csrf = field(&page, "csrf");
    let form = |fields: &str| post(&server, &cookie, "/zone", &format!("csrf={csrf}&{fields}"));
    let chosen = form("zone=Asia%2FTokyo&next=%2Fip%2F10.1.2.3").expect(303);
    assert_eq!(chosen.header("location"), Some("/ip/10.1.2.3"));
    let set = chosen.header("set-cookie").unwrap();
    assert_eq!(set, "aw-zone=Asia/Tokyo; Path=/; Max-Age=31536000; SameSite=Strict");
    let server_zone = form("zone=&next=%2F%2Fevil.example").expect(303);
    assert_eq!(server_zone.header("location"), Some("/"));
    assert!(server_zone.header("set-cookie").unwrap().starts_with("aw-zone=UTC; "));
    for bad in ["zone=..%2F..%2Fetc%2Fpasswd", "zone=Nowhere", "zone=UTC%0d%0aX:y"] {
        assert!(form(bad).expect(400).body.contains("is no time zone of this server"), "{bad}");
    }
    let refused = server.get_as(&cookie, "/?zone=Nowhere").expect(400).body;
    assert!(refused.contains("/zone lists all"), "{refused}");
    // A cookie of another program, or of an older one, is no fault.
    server.get_as(&format!("{cookie}; aw-zone=<script>"), "/").expect(200);
}

/// Was this device here then? From the search box in words, as a page, and by the API.
#[test]
fn was_it_here() {
    let history = handover();
    let names = history.path().join("names");
    fs::write(&names, format!("{RADIO} Kitchen radio\n{PRINTER} Printer\n")).unwrap();
    let server = Server::start(&history, &["--names", names.to_str().unwrap()]);
    let here = format!("/where?mac={}&at=2026-11-20T14%3A32%3A00Z", encoded(RADIO));
    for typed in [
        "was+kitchen+radio+here+2026-11-20+at+14:32%3F",
        "was+02:00:00:00:00:01+here+2026-11-20+14:32",
        "radio+2026-11-20+14:32",
        "0200.0000.0001+2026-11-20+14:32",
    ] {
        let to = server.get(&format!("/search?q={typed}")).expect(303);
        assert_eq!(to.header("location"), Some(&*here), "{typed}");
    }
    let page = server.get(&here).expect(200).body;
    for text in [
        "<b>Yes.</b>",
        "Kitchen radio <span class=\"mac\">02:00:00:00:00:01</span></a> here at Fri 2026-11-20 14:32:00 +00:00?",
        "<a href=\"/who?ip=10.1.2.3&#38;at=2026-11-20T14%3A32%3A00Z\">10.1.2.3</a>",
        "2026-11-20 14:30:00 +00:00 (2 min 0 s before)",
        "<b>sure</b>",
        "<svg class=\"timeline\"",
        "02:00:00:00:00:01 Kitchen radio at 2026-11-20 14:32:00 +00:00\nYes.",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let away = format!("/where?mac={}&at=2026-11-20+16:00", encoded(RADIO));
    let page = server.get(&away).expect(200).body;
    assert!(page.contains("<b>Not seen then.</b>"), "{page}");
    assert!(page.contains("the device was not seen within ten minutes of that time"), "{page}");
    let never = server.get("/where?mac=02:00:00:00:00:99&at=2026-11-20+16:00").expect(200).body;
    assert!(never.contains("<b>Not known:</b> no sightings of"), "{never}");
    let before = format!("/where?mac={}&at=2026-11-01+12:00", encoded(RADIO));
    let page = server.get(&before).expect(200).body;
    assert!(page.contains("<b>Not known:</b> nothing of that time is recorded."), "{page}");
    assert!(page.contains("the history begins ") && !page.contains("Yes."), "{page}");
    // Several devices with that name: each with its answer.
    fs::write(&names, format!("{RADIO} Kitchen radio\n{PRINTER} Kitchen oven\n")).unwrap();
    let all = "/search?q=was+kitchen+here+2026-11-20+14:32";
    wait_until("both are found", || server.get(all).status == 200);
    let page = server.get(all).expect(200).body;
    assert_eq!(page.matches("Was it here then?").count(), 2, "{page}");
    let rows = server.get(&format!("/api/v1{here}")).expect(200).json();
    let query = ["mac", RADIO, "--at", "2026-11-20 14:32", "--format", "json"];
    let finished = run(history.query(&query)).ok();
    let expected: Vec<Value> = finished.stdout.lines().map(json).collect();
    assert!(!expected.is_empty());
    let without_names = |rows: &Value| -> Vec<Value> {
        let rows = rows.as_array().unwrap().iter().cloned();
        rows.map(|mut row| {
            row["name"].take();
            row
        })
        .collect()
    };
    assert_eq!(without_names(&rows["rows"]), expected);
    for (path, why) in [
        ("/where", "the parameter mac is missing"),
        ("/where?mac=x", "must be a MAC address"),
        ("/where?mac=02:00:00:00:00:01&at=25:00", "there is no time of day 25:00"),
    ] {
        assert!(server.get(path).expect(400).body.contains(why), "{path}");
    }
}

/// Each answer as CSV and JSON, with the rows of `aw-query --format`.
#[test]
fn files() {
    let history = handover();
    let server = Server::start(&history, &[]);
    let (at, day) = ("2026-11-20 14:58", ["--from", "2026-11-20", "--to", "2026-11-21"]);
    for (path, arguments) in [
        ("/who?ip=10.1.2.3&at=2026-11-20+14:58", vec!["who", ADDRESS, "--at", at]),
        ("/where?mac=02:00:00:00:00:01&at=2026-11-20+14:58", vec!["mac", RADIO, "--at", at]),
        ("/ip/10.1.2.3?at=2026-11-20&zoom=day", [&["ip", ADDRESS][..], &day].concat()),
        ("/mac/02:00:00:00:00:01?at=2026-11-20&zoom=day", [&["mac", RADIO][..], &day].concat()),
        ("/search?q=0200.0000", vec!["devices"]),
    ] {
        let of = |format: &str| {
            run(history.query(&[&arguments[..], &["--format", format]].concat())).ok().stdout
        };
        let file = server.get(&format!("{path}&format=csv")).expect(200);
        assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8"));
        assert!(file.header("content-disposition").unwrap().starts_with("attachment; filename=\""));
        assert_eq!(file.body, of("csv"), "{path}");
        let file = server.get(&format!("{path}&format=json")).expect(200).json();
        let rows: Vec<Value> = of("json").lines().map(json).collect();
        assert!(!rows.is_empty(), "{path}");
        assert_eq!(file["rows"], Value::from(rows), "{path}");
        assert_eq!(file["left_off"], 0, "{path}");
        // The page links to both; and its format is no other one.
        if let Some(page) = Some(server.get(path)).filter(|page| page.status == 200) {
            for format in ["csv", "json"] {
                assert!(page.body.contains(&format!("format={format}\"")), "{path}: {}", page.body);
            }
        }
        let refused = server.get(&format!("{path}&format=xml")).expect(400);
        assert!(refused.body.contains("must be html, csv or json"), "{path}");
    }
    let to = server.get("/search?q=10.1.2.3&format=csv").expect(303);
    assert_eq!(to.header("location"), Some("/ip/10.1.2.3?format=csv"));
}

/// Each MAC of a page is a link to the page of its device, but that of the page itself; and the evidence is there as text.
#[test]
fn each_mac_is_a_link() {
    let history = handover();
    let names = history.path().join("names");
    fs::write(&names, format!("{RADIO} Kitchen\n{PRINTER} Kitchen\n")).unwrap();
    let server = Server::start(&history, &["--names", names.to_str().unwrap()]);
    let network = "/network?interface=eth0&host=here";
    let networks = server.get("/networks").expect(200).body;
    let link = networks.split("href=\"/network?").nth(1).unwrap().split('"').next().unwrap();
    let network =
        format!("{}?{}&days=366", network.split('?').next().unwrap(), link.replace("&#38;", "&"));
    for (path, least) in [
        ("/who?ip=10.1.2.3&at=2026-11-20+14:58", 2),
        ("/where?mac=02:00:00:00:00:01&at=2026-11-20+14:58", 1),
        ("/ip/10.1.2.3?at=2026-11-20&zoom=day", 3),
        ("/mac/02:00:00:00:00:01?at=2026-11-20&zoom=day", 1),
        ("/mac/02:00:00:00:00:01", 1),
        ("/search?q=kitchen", 2),
        ("/now?state=all", 2),
        (&*network, 2),
    ] {
        let page = server.get(path).expect(200).body;
        let body = page.split_once("<main").unwrap().1.split_once("</main>").unwrap().0;
        let (mut linked, mut rest) = (0, without(body, "<svg", "</svg>"));
        assert_eq!(
            body.contains("<pre class=\"evidence\">"),
            !path.starts_with("/s") && !path.starts_with("/n"),
            "{path}"
        );
        rest = without(&rest, "<pre", "</pre>");
        for mac in [RADIO, PRINTER] {
            for (at, _) in rest.match_indices(mac) {
                let (before, after) = rest.split_at(at);
                let is_text = before.rfind('<') < before.rfind('>');
                let in_link = before.rfind("<a ") > before.rfind("</a>");
                let own = before.rfind("<h1>") > before.rfind("</h1>") && path.ends_with(mac);
                if !is_text || own {
                    continue;
                }
                let href = before.rsplit("href=\"").next().unwrap().split('"').next().unwrap();
                let device = format!("/mac/{}", encoded(mac));
                assert!(in_link && href == device, "{path}: {mac} {href}: {after:.60}");
                linked += 1;
            }
        }
        assert!(linked >= least, "{path}: {linked} {rest}");
    }
}

/// A text without what is between these.
fn without(text: &str, begin: &str, end: &str) -> String {
    let mut parts = text.split(begin);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept += part.split_once(end).map_or("", |(_, after)| after);
    }
    kept
}
