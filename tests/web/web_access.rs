//! `aw-web` in a real Chromium, by keyboard, by touch and for a screen reader (axe-core); what its script adds; and the pictures of
//! the documents: `AW_PICTURES=docs/pictures cargo test -p aw-tests --test web_access -- --ignored`.
#![forbid(unsafe_code)]

use aw_tests::browser::{Browser, ENTER, TAB};
use aw_tests::rig::{Run, program, run_with, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::web::{Server, command};
use rusqlite::Connection;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const DAY: i64 = 86_400;

/// Devices: the last numbers of the MAC, those of the address, name, prefix of the MAC, and the hours of the day in which it is seen.
const DEVICES: [(u64, u8, &str, u64, std::ops::Range<i64>); 9] = [
    (0x0a_1001, 3, "Kitchen radio", 0x00_1b21, 0..24),
    (0x0a_1002, 10, "Printer", 0x00_1b22, 6..20),
    (0x0a_1003, 11, "Heat pump", 0x00_1b23, 0..24),
    (0x0a_1004, 12, "Phone of Ada", 0x0a_1b21, 6..23),
    (0x0a_1005, 13, "Camera at the door", 0x00_1b21, 0..24),
    (0x0a_1006, 14, "", 0x00_1b23, 8..18),
    (0x0a_1007, 15, "Laptop of Grace", 0x00_1b22, 8..19),
    (0x0a_1008, 16, "", 0x06_1b21, 17..23),
    (0x0a_1009, 1, "Router", 0x00_1b22, 0..24),
];

const MAKERS: &str = "Registry,Assignment,Organization Name,Organization Address\r\n\
    MA-L,001B21,Example Audio GmbH,\r\nMA-L,001B22,Example Computers Ltd,\r\nMA-L,001B23,Example Climate AB,\r\n";

fn mac((number, _, _, prefix, _): &(u64, u8, &str, u64, std::ops::Range<i64>)) -> u64 {
    prefix << 24 | number
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    now.as_secs() as i64
}

/// A house with nine devices, for five weeks; three days ago, the printer took the address of the radio for four hours. Its collector
/// runs, so all is well.
struct House {
    directory: TempDir,
    ring: Ring,
    _collector: Run,
    server: Server,
    /// A time at which the printer had the address of the radio.
    at: i64,
}

impl House {
    fn new() -> House {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ring = Ring::new();
        let options = ["--quiet", "--ring", ring.name(), "--macupd", "127.0.0.1:0"];
        let collector = Run::start(program("collector", &options));
        let place = |name: &str| directory.path().join(name);
        let (now, from) = (now(), now() - 35 * DAY);
        let midnight = now - now % DAY;
        let at = midnight - 3 * DAY + 10 * 3600 + 300;
        let database = Connection::open(place("lan.db")).expect("a new file");
        let tables = format!(
            "PRAGMA application_id = 0x41576869; PRAGMA user_version = 1;
            CREATE TABLE place (id INTEGER PRIMARY KEY, host, ring, interface, vlan, outer_vlan, router);
            CREATE TABLE pairing (id INTEGER PRIMARY KEY, address BLOB, mac INTEGER, place INTEGER, source INTEGER, UNIQUE (address, mac, place, source));
            CREATE TABLE sighting (pairing, time, origin, again, PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID;
            INSERT INTO place VALUES (1, 'sensor', '{ring}', 'eth0', 0, 0, ''), (2, 'sensor', '{ring}', 'eth0', 7, 0, '');
            BEGIN;",
            ring = ring.name()
        );
        database.execute_batch(&tables).expect("valid SQL");
        let seen = |pairing: usize, time: i64| {
            let row = "INSERT OR IGNORE INTO sighting VALUES (?1, ?2, 1, 0)";
            database.execute(row, (pairing as i64, time * 1_000_000_000)).expect("a row");
        };
        let pairing = |id: usize, address: u8, mac: u64, place: u8| {
            let row = "INSERT INTO pairing VALUES (?1, ?2, ?3, ?4, -1)";
            database
                .execute(row, (id as i64, [10, 1, 2, address], mac as i64, place))
                .expect("a row");
        };
        let taken = at - 7300..at + 7300;
        for (id, device) in DEVICES.iter().enumerate() {
            let place = if id == 5 || id == 7 { 2 } else { 1 };
            pairing(id, device.1, mac(device), place);
            for time in (from..now).step_by(480) {
                let is_there = device.4.contains(&(time % DAY / 3600));
                if is_there && !(id == 0 && taken.contains(&time)) {
                    seen(id, time + id as i64);
                }
            }
        }
        let second = DEVICES.len();
        pairing(second, DEVICES[0].1, mac(&DEVICES[1]), 1);
        taken.step_by(480).for_each(|time| seen(second, time));
        database.execute_batch("COMMIT;").expect("a transaction");
        drop(database);
        fs::create_dir(place("makers")).expect("a directory");
        fs::write(place("makers/oui.csv"), MAKERS).expect("a file");
        let text = |device| {
            let mac = format!("{:012x}", mac(device));
            if device.2.is_empty() { String::new() } else { format!("{mac} {}\n", device.2) }
        };
        fs::write(place("names"), DEVICES.iter().map(text).collect::<String>()).expect("a file");
        let state = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(place("outputs")).expect("a directory");
        let [names, makers, outputs] =
            ["names", "makers", "outputs"].map(|name| place(name).to_str().unwrap().to_owned());
        let options = [
            ["--names", &names],
            ["--vendors", &makers],
            ["--outputs", &outputs],
            ["--ring", ring.name()],
        ];
        let mut own = command(&place("lan.db"), state.path(), &options.concat());
        own.arg("--edit");
        let server = Server::started(own, state);
        let mut passwd = program("aw-web", &["passwd", "ada", "--role", "editor", "--state-dir"]);
        passwd.arg(server.state());
        run_with(passwd, b"correct horse\n").ok();
        House { directory, ring, _collector: collector, server, at }
    }

    /// From now on an output fails, and pages have a banner.
    fn fails(&self) {
        let output = self.directory.path().join("outputs/aw-mysql");
        fs::create_dir(&output).expect("our own directory");
        let why = "connect to db.example.org:3306: no route to host";
        let outage = json!({ "since": now() - 3600, "events": 1234, "bytes": 56_789, "why": why });
        fs::write(output.join("aw-mysql.outage"), outage.to_string()).expect("a file");
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.server.port)
    }

    /// The pages, by name.
    fn pages(&self) -> Vec<(&'static str, String)> {
        let (at, radio, ring) = (self.at, device(0), self.ring.name().replace('/', "%2F"));
        vec![
            ("home", "/".into()),
            ("answer", format!("/who?ip=10.1.2.3&at=@{at}")),
            ("address", format!("/ip/10.1.2.3?at=@{at}&zoom=week")),
            ("timeline", format!("/mac/{radio}?zoom=week")),
            ("device", format!("/mac/{radio}")),
            ("where", format!("/where?mac={radio}&at=@{at}")),
            ("search", "/search?q=example".into()),
            ("nothing", "/search?q=nothing+of+this+name".into()),
            ("now", "/now?state=all".into()),
            ("networks", "/networks".into()),
            ("network", format!("/network?interface=eth0&host=sensor&ring={ring}&days=31")),
            ("zone", "/zone".into()),
            ("problem", "/nowhere".into()),
        ]
    }
}

/// The MAC of a device, in a URL.
fn device(number: usize) -> String {
    let digits = format!("{:012x}", mac(&DEVICES[number]));
    let pairs: Vec<_> = (0..6).map(|at| &digits[2 * at..2 * at + 2]).collect();
    pairs.join(":")
}

fn no_browser() -> bool {
    let none = Command::new("chromedriver").arg("--version").output().is_err();
    if none {
        skip("there is no chromedriver here");
    }
    none
}

/// A browser of this time zone that is logged in.
fn browser(house: &House, zone: &str) -> Browser {
    let mut browser = Browser::open(1200, 900);
    browser.zone(zone);
    browser.go(&house.url("/"));
    browser.type_into("#name", "ada");
    browser.type_into("#password", "correct horse\n");
    shows(&mut browser, "ada (editor)");
    browser
}

fn text(browser: &mut Browser) -> String {
    let text = browser.try_run("return document.body.innerText").unwrap_or_default();
    text.as_str().unwrap_or_default().to_owned()
}

/// Waits until this is so on a page that is loaded.
#[track_caller]
fn waits(browser: &mut Browser, what: &str) {
    let script = format!("return document.readyState === 'complete' && Boolean({what})");
    wait_until(what, || browser.try_run(&script) == Some(true.into()));
}

/// The page of a device without a name, for an editor.
const FORGOTTEN: &str =
    "document.querySelector('form.name') && !document.querySelector('button[name=remove]')";

/// Touches what this selector finds, once it is there.
#[track_caller]
fn tap(browser: &mut Browser, selector: &str) {
    waits(browser, &format!("document.querySelector({})", json!(selector)));
    browser.tap(selector);
}

/// Waits until the page has a text.
#[track_caller]
fn shows(browser: &mut Browser, wanted: &str) {
    wait_until(&format!("the page shows {wanted:?}"), || text(browser).contains(wanted));
}

/// axe-core, as contrib/setup.sh test fetches it.
fn axe() -> Option<String> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/axe-core"));
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let file = files.map(|entry| entry.path()).max();
    if file.is_none() {
        eprintln!(
            "NOT CHECKED: the pages with axe-core, which npm has (run contrib/setup.sh test)"
        );
    }
    Some(fs::read_to_string(file?).expect("a file of text"))
}

/// No page has what a screen reader, a keyboard or weak eyes cannot use: with a banner and without one, light and dark, at the size of a
/// desktop and of a phone. All that is to be touched is at least 24 pixels high and wide, and a control of a form 44.
#[test]
fn each_page_is_accessible() {
    if no_browser() {
        return;
    }
    let house = House::new();
    let mut browser = browser(&house, "UTC");
    let axe = axe();
    let mut pages = house.pages();
    if let Some(axe) = &axe {
        let wrong = "document.documentElement.removeAttribute('lang')";
        let found = browser.run(&format!(
            "{axe}\n{wrong}; return axe.run(document).then((found) => found.violations[0].id)"
        ));
        assert_eq!(found, "html-has-lang", "it finds what is wrong");
    }
    let nav =
        "return [...document.querySelectorAll('header nav a')].map((a) => a.getAttribute('href'))";
    for link in browser.run(nav).as_array().unwrap() {
        pages.push(("header", link.as_str().unwrap().to_owned()));
    }
    assert!(pages.len() > 13, "{pages:?}");
    let mut found = Vec::new();
    let mut check = |browser: &mut Browser, name: &str| {
        for (width, height, scheme) in
            [(1200, 900, "light"), (1200, 900, "dark"), (360, 740, "light"), (360, 740, "dark")]
        {
            browser.resize(width, height);
            browser.media("screen", scheme);
            let wide = browser.run("return document.documentElement.scrollWidth");
            if wide.as_u64().is_none_or(|wide| wide > width.into()) {
                found.push(format!("{name} {width} {scheme}: it is {wide} wide"));
            }
            let small = "
                const inline = (one) => one.tagName === 'A' && getComputedStyle(one).display === 'inline';
                const least = (one) => ['BUTTON', 'INPUT', 'SELECT'].includes(one.tagName) ? 44 : 24;
                return [...document.querySelectorAll('a, button, input:not([type=hidden]), select, summary')]
                    .filter((one) => !one.closest('svg') && !one.matches('.skip') && !inline(one))
                    .filter((one) => one.getBoundingClientRect().height < least(one) - 0.5)
                    .map((one) => one.outerHTML.slice(0, 200))";
            for one in browser.run(small).as_array().unwrap() {
                found.push(format!("{name} {width} {scheme}: too small: {one}"));
            }
            let Some(axe) = &axe else { continue };
            let violations = browser.run(&format!(
                "{axe}\nreturn axe.run(document, {{ resultTypes: ['violations'], rules: {{ 'target-size': {{ enabled: true }} }} }})
                    .then((found) => found.violations.map((one) => one.id + ': ' + one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200) + ' ' + node.failureSummary.slice(0, 300)).join(' | ')))"
            ));
            for one in violations.as_array().expect("a list") {
                found.push(format!("{name} {width} {scheme}: {one}"));
            }
        }
    };
    for has_banner in [false, true] {
        if has_banner {
            house.fails();
        }
        for (name, path) in &pages {
            // Those of a problem, and of all faults, have none.
            let banner = "return Boolean(document.querySelector('#banner:not([hidden])'))";
            let may_have = "return Boolean(document.querySelector('#banner')) && location.pathname !== '/nowhere'";
            wait_until(&format!("{path} with a banner: {has_banner}"), || {
                browser.go(&house.url(path));
                browser.run(may_have) == false || browser.run(banner) == has_banner
            });
            check(&mut browser, &format!("{name}, banner: {has_banner}"));
        }
    }
    browser.click(".user button");
    shows(&mut browser, "Password");
    check(&mut browser, "login");
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// Presses the tabulator until the focus is on what this selector finds, and shows it.
#[track_caller]
fn tab_to(browser: &mut Browser, selector: &str) {
    waits(browser, &format!("document.querySelector({})", json!(selector)));
    for _ in 0..300 {
        let is_there = format!("return document.activeElement.matches({})", json!(selector));
        if browser.run(&is_there) == true {
            let outline = "return getComputedStyle(document.activeElement).outlineStyle";
            assert_ne!(browser.run(outline), "none", "{selector}: the focus is seen");
            return;
        }
        browser.press(TAB);
    }
    panic!("the keyboard does not reach {selector}: {}", text(browser));
}

/// All that a person does with it, with the keyboard alone.
#[test]
fn by_keyboard() {
    if no_browser() {
        return;
    }
    let house = House::new();
    let mut browser = browser(&house, "UTC");
    // A question, in the box that has the focus on the first page.
    browser.go(&house.url("/"));
    waits(&mut browser, "document.activeElement.matches('#q')");
    browser.press("10.1.2.3 2h");
    browser.press(ENTER);
    shows(&mut browser, "Who had 10.1.2.3 at");
    shows(&mut browser, "Kitchen radio");
    // What is here now, a device, and its network.
    tab_to(&mut browser, "header nav a[href='/now']");
    browser.press(ENTER);
    shows(&mut browser, "Devices: Here");
    tab_to(&mut browser, "main tbody th a");
    browser.press(ENTER);
    shows(&mut browser, "Days and hours");
    tab_to(&mut browser, "main dd a");
    browser.press(ENTER);
    shows(&mut browser, "Conflicts in 7 days");
    // Each page of the header.
    let number = browser.run("return document.querySelectorAll('header nav a').length");
    for at in 1..=number.as_u64().unwrap() {
        let link = format!("header nav a:nth-of-type({at})");
        let path = browser.run(&format!("return document.querySelector({}).pathname", json!(link)));
        tab_to(&mut browser, &link);
        browser.press(ENTER);
        waits(&mut browser, &format!("location.pathname === {path}"));
        for problem in ["There is no such page", "There is no answer now"] {
            assert!(!text(&mut browser).contains(problem), "{path}: {}", text(&mut browser));
        }
    }
    // A name, and forget it again. The unnamed device is found by its MAC.
    browser.go(&house.url("/"));
    waits(&mut browser, "document.activeElement.matches('#q')");
    browser.press(&device(5));
    browser.press(ENTER);
    shows(&mut browser, "Name of this device");
    tab_to(&mut browser, "#name");
    browser.press("Scanner");
    browser.press(ENTER);
    shows(&mut browser, "Forget the name");
    let label = "return document.querySelector('h1').textContent";
    assert!(browser.run(label).as_str().unwrap().contains("Scanner"));
    tab_to(&mut browser, "button[name=remove]");
    browser.press(ENTER);
    waits(&mut browser, FORGOTTEN);
    assert!(!browser.run(label).as_str().unwrap().contains("Scanner"));
    // The evidence is copied.
    copies(&mut browser, |browser| {
        tab_to(browser, "button.copy");
        browser.press(ENTER);
    });
}

/// The same with a finger, at the size of a phone.
#[test]
fn by_touch() {
    if no_browser() {
        return;
    }
    let house = House::new();
    let mut browser = browser(&house, "UTC");
    browser.resize(360, 740);
    browser.go(&house.url("/"));
    browser.type_into("#q", "was kitchen radio here 2h");
    tap(&mut browser, ".search button");
    shows(&mut browser, "Was Kitchen radio");
    shows(&mut browser, "Yes.");
    tap(&mut browser, "header nav a[href='/now']");
    shows(&mut browser, "Devices: Here");
    tap(&mut browser, "main tbody th a");
    shows(&mut browser, "Days and hours");
    tap(&mut browser, "main dd a");
    shows(&mut browser, "Conflicts in 7 days");
    browser.go(&house.url(&format!("/mac/{}", device(5))));
    browser.type_into("#name", "Scanner");
    tap(&mut browser, "form.name button");
    shows(&mut browser, "Forget the name");
    copies(&mut browser, |browser| tap(browser, "button.copy"));
    tap(&mut browser, "button[name=remove]");
    waits(&mut browser, FORGOTTEN);
    for path in [format!("/who?ip=10.1.2.3&at=@{}", house.at), "/ip/10.1.2.3".into()] {
        browser.go(&house.url(&path));
        // The time that was asked for, or the newest, is on the screen.
        let end = "const wide = document.querySelector('.wide'), mark = wide.querySelector('.at')?.getBoundingClientRect();
            return mark ? mark.x > 0 && mark.x < innerWidth : wide.scrollLeft + wide.clientWidth > wide.scrollWidth - 2";
        assert_eq!(browser.run(end), true, "{path}");
        copies(&mut browser, |browser| tap(browser, "button.copy"));
    }
}

/// A press of the button copies the text of the evidence.
#[track_caller]
fn copies(browser: &mut Browser, press: impl Fn(&mut Browser)) {
    let origin = browser.run("return location.origin");
    let may = json!({ "origin": origin, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.devtools("Browser.grantPermissions", may);
    press(browser);
    shows(browser, "Copied");
    let is_same = "return navigator.clipboard.readText().then((text) => text === document.querySelector('pre.evidence').textContent && text.length > 50)";
    assert_eq!(browser.run(is_same), true);
}

/// The script asks the browser for its zone once; the choice of a person stays, and a permanent link has its own.
#[test]
fn the_zone_of_the_browser() {
    if no_browser() {
        return;
    }
    let house = House::new();
    let mut browser = browser(&house, "Asia/Tokyo");
    let page = house.url("/ip/10.1.2.3");
    browser.go(&page);
    shows(&mut browser, "in the zone Asia/Tokyo, +09:00");
    assert!(!text(&mut browser).contains("+00:00"));
    browser.go(&house.url("/ip/10.1.2.3?zone=Europe/Berlin"));
    shows(&mut browser, "in the zone Europe/Berlin");
    browser.click("footer a");
    shows(&mut browser, "The choice is kept in a cookie");
    browser.run("document.querySelector('#zone').value = 'America/New_York'");
    browser.click("form.fields button");
    shows(&mut browser, "in the zone America/New_York");
    browser.go(&page);
    shows(&mut browser, "in the zone America/New_York");
    let complaints = browser.complaints();
    let ours: Vec<_> = complaints.iter().filter(|line| !line.contains("favicon")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

fn pictures() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures")).into()
}

/// A reader of the documents waits for no large file.
#[test]
fn pictures_are_small() {
    let files = fs::read_dir(pictures()).expect("a directory").flatten();
    let web: Vec<_> =
        files.filter(|file| file.file_name().to_string_lossy().starts_with("web-")).collect();
    assert!(web.len() >= 6, "{web:?}");
    for file in web {
        let size = file.metadata().expect("a file").len();
        assert!(size < 100_000, "{file:?}: {size}");
    }
}

/// Writes the pictures of the documents to the directory that AW_PICTURES names.
#[test]
#[ignore = "it writes pictures: see the head of this file"]
fn take_pictures() {
    let directory = std::env::var("AW_PICTURES").expect("AW_PICTURES names a directory");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let house = House::new();
    let mut browser = browser(&house, "UTC");
    let pages = house.pages();
    for (name, page, width, height, scheme) in [
        ("web-answer", "answer", 1000, 800, "light"),
        ("web-now", "now", 1000, 640, "light"),
        ("web-device", "device", 1000, 1000, "light"),
        ("web-network", "network", 1000, 800, "light"),
        ("web-phone", "answer", 390, 800, "light"),
        ("web-dark", "timeline", 1000, 560, "dark"),
    ] {
        browser.resize(width, height);
        browser.media("screen", scheme);
        let (_, path) = pages.iter().find(|(of, _)| *of == page).expect("a page");
        browser.go(&house.url(path));
        browser.run("document.activeElement.blur()");
        let file = fs::File::create(directory.join(format!("{name}.png"))).expect("a file");
        let mut decode = Command::new("base64");
        decode.arg("-d").stdin(Stdio::piped()).stdout(file);
        let mut decode = decode.spawn().expect("base64 of coreutils");
        let picture = browser.picture();
        std::io::Write::write_all(&mut decode.stdin.take().unwrap(), picture.as_bytes()).unwrap();
        assert!(decode.wait().expect("it ends").success());
        let smaller = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/small-png.py");
        let made = Command::new(smaller).arg(directory.join(format!("{name}.png"))).status();
        assert!(made.expect("Python 3").success());
    }
}
