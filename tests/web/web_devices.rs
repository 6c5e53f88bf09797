//! `aw-web`: the pages of a device, of a network and of all networks, and the devices that are here now.
#![forbid(unsafe_code)]

use aw_tests::browser::Browser;
use aw_tests::dhcp;
use aw_tests::frames::{Arp, DOT1Q, Ethernet, station};
use aw_tests::history::History;
use aw_tests::rig::run;
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, capture, capture_frames, capture_names};
use aw_tests::web::{Answer, Server, many_devices, without_script};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const NAMES: &str =
    "02:00:00:00:00:01 Kitchen radio\n02:00:00:00:00:02 Printer\nnetwork *.7 cameras\n";

fn stored(ring: &Ring) -> History {
    let history = History::new();
    run(history.command(ring, &["--once"])).ok();
    history
}

fn handover() -> History {
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    stored(&ring)
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    now.as_secs() as i64
}

/// Devices of these days: seconds ago, MAC, last number of the address, VLAN. One of them is seen in ten minutes: today, whenever
/// the test runs.
fn recent() -> History {
    const DAY: i64 = 86_400;
    let seen = [
        (3 * DAY, 1, 3, 0),
        (60, 1, 3, 0),
        (3 * DAY, 2, 4, 0),
        (2 * DAY, 2, 4, 0),
        (-600, 3, 5, 7),
        (7200, 6, 9, 0),
        (6000, 7, 9, 0),
        (4800, 6, 9, 0),
    ];
    let mut frames: Vec<_> = seen
        .iter()
        .map(|(ago, mac, address, vlan)| {
            let mut ethernet = Ethernet::from(station(*mac));
            if *vlan > 0 {
                ethernet = ethernet.tag(DOT1Q, *vlan);
            }
            let ip = Ipv4Addr::new(10, 1, 2, *address);
            let frame = Arp::request(station(*mac), ip, [10, 1, 2, 254].into()).on(&ethernet);
            ((now() - ago) as u32, frame)
        })
        .collect();
    frames.sort_by_key(|(second, _)| *second);
    let ring = Ring::new();
    capture_frames(&ring, frames);
    stored(&ring)
}

fn named(history: &History) -> Server {
    let names = history.path().join("names");
    fs::write(&names, NAMES).expect("the file of names");
    Server::start(history, &["--names", names.to_str().expect("a path of text")])
}

fn rows(page: &str) -> usize {
    page.matches("<tr><th scope=\"row\">").count()
}

/// The links of a page to this server, as a browser follows them.
fn links(page: &str) -> BTreeSet<String> {
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let links = links.filter(|link| link.starts_with('/'));
    links.map(|link| link.replace("&#38;", "&").replace("&amp;", "&")).collect()
}

#[track_caller]
fn link_with(page: &str, part: &str) -> String {
    let found = links(page).into_iter().find(|link| link.contains(part));
    found.unwrap_or_else(|| panic!("{part}: {page}"))
}

/// The rows of a CSV file, without the heading.
#[track_caller]
fn csv(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(answer.header("content-disposition").is_some_and(|it| it.starts_with("attachment; ")));
    answer.body.split_terminator("\r\n").skip(1).map(str::to_owned).collect()
}

#[test]
fn a_device() {
    let history = handover();
    let server = named(&history);
    server.get("/networks").expect(200); // then it is known that there is one sensor only
    let page = server.get("/mac/0200.0000.0001?until=2026-11-21").expect(200).body;
    let happened =
        link_with(&page, "from=31d").replace("from=31d", "from=2026-11-20&to=2026-11-21");
    let happened = server.get(&happened).expect(200).body;
    assert!(happened.contains("10.1.2.3") && happened.contains("is new"), "{happened}");
    for text in [
        "<h1>Kitchen radio <span class=\"mac\">02:00:00:00:00:01</span></h1>",
        "a private MAC",
        "<dt>First seen</dt><dd>2026-11-20 14:00:00 +00:00</dd>",
        "2026-11-20 17:55:00 +00:00",
        ">eth0</a>; ",
        ">cameras (eth0, VLAN 7)</a>",
        "<a href=\"/mac/02%3A00%3A00%3A00%3A00%3A01?at=2026-11-20T12%3A00%3A00Z&#38;zoom=day\">Fri 2026-11-20</a>: 14–15 h, 17–18 h",
        "Fri 2026-11-20 14:00: seen in 4 of 4 quarter hours",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert_eq!(rows(&page), 2);
    assert!(page.find(">10.1.2.3<") < page.find(">10.1.2.4<"), "the current one first: {page}");
    assert_eq!(page.matches("<rect").count(), 2, "two hours: {page}");
    assert!(!without_script(&page).contains("<script"));
    // Each link leads to a page or a file.
    for link in links(&page) {
        server.get(&link).expect(200);
    }
    let before = server.get("/mac/02:00:00:00:00:01?until=2026-10-01").expect(200).body;
    assert_eq!((rows(&before), before.matches("<rect").count()), (2, 0), "{before}");
    // With a time or a zoom, it is the timeline.
    let timeline = server.get("/mac/02:00:00:00:00:01?at=2026-11-20&zoom=week").expect(200).body;
    assert!(timeline.contains("aria-label=\"Timeline\""), "{timeline}");
    let none = server.get("/mac/02:00:00:00:00:99").expect(200).body;
    let of_none = ["no sightings of <a ", ">02:00:00:00:00:99</a> in the whole history."];
    assert!(of_none.iter().all(|text| none.contains(text)), "{none}");
    for (path, why) in [
        ("/mac/x", "must be a MAC address"),
        ("/mac/02:00:00:00:00:01?part=all", "must be addresses or presence"),
        ("/mac/02:00:00:00:00:01?format=xml", "must be html, csv or json"),
        ("/mac/02:00:00:00:00:01?days=3", "unknown parameter"),
    ] {
        let answer = server.get(path).expect(400).body;
        assert!(answer.contains(why), "{path}: {answer}");
    }
    let file = csv(&server.get("/mac/02:00:00:00:00:01?format=csv").expect(200));
    assert_eq!(file.len(), 2);
    assert!(file[0].starts_with("10.1.2.3,2026-11-20T14:00:00."), "{file:?}");
    let quarters =
        server.get("/mac/02:00:00:00:00:01?until=2026-11-21&part=presence&format=json").expect(200);
    let quarters = quarters.json();
    assert_eq!(quarters["rows"].as_array().map(Vec::len), Some(9), "{quarters}");
    assert_eq!(quarters["rows"][0]["count"], 3, "{quarters}");
    assert_eq!(
        (&quarters["left_off"], &quarters["rows"][0]["name"]),
        (&0.into(), &"Kitchen radio".into())
    );
}

#[test]
fn networks_and_a_network() {
    let history = recent();
    let server = named(&history);
    let list = server.get("/networks").expect(200).body;
    assert_eq!(rows(&list), 2, "{list}");
    assert!(list.contains(">cameras (eth0, VLAN 7)</a>") && !list.contains("of here"), "{list}");
    let file = csv(&server.get("/networks?format=csv").expect(200));
    let counts: Vec<_> = file
        .iter()
        .map(|line| {
            let cells: Vec<_> = line.split(',').collect();
            (cells[0].to_owned(), cells[1].to_owned(), cells[6].to_owned(), cells[7].to_owned())
        })
        .collect();
    let row = |vlan: &str, devices: &str, addresses: &str| {
        ("eth0".to_owned(), vlan.to_owned(), devices.to_owned(), addresses.to_owned())
    };
    assert_eq!(counts, [row("0", "4", "3"), row("7", "1", "1")]);
    let links_of_list = links(&list);
    let link = links_of_list
        .iter()
        .find(|link| link.starts_with("/network?") && !link.contains("vlan=7"))
        .unwrap_or_else(|| panic!("{list}"));
    let page = server.get(link).expect(200).body;
    for text in [
        "<h1>Network eth0</h1>",
        "<dd>4, of which 1 are here</dd>",
        "went back to a device that had it before",
        "<h2>Conflicts in 7 days</h2>",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("10.1.2.5") && !page.contains("02:00:00:00:00:03"), "{page}");
    // Devices, one conflict, and changes: three addresses are new, and one had another MAC twice.
    assert_eq!(rows(&page), 4 + 1 + 5, "{page}");
    for link in links(&page) {
        server.get(&link).expect(200);
    }
    let changes = server.get(&link_with(&page, "part=changes&format=json")).expect(200).json();
    let kinds: Vec<_> =
        changes["rows"].as_array().expect("rows").iter().map(|row| &row["change"]).collect();
    assert_eq!(kinds, ["new", "new", "new", "changed", "changed"]);
    let devices = csv(&server.get(&link_with(&page, "part=devices&format=csv")).expect(200));
    assert_eq!(devices.len(), 4);
    for (path, status, why) in [
        ("/network", 400, "add interface=eth0"),
        ("/network?interface=eth9", 404, "no device was seen in this network"),
        (&format!("{link}&days=0"), 400, "from 1 to 366"),
        (&format!("{link}&part=names"), 400, "must be devices or changes"),
        ("/networks?sort=name", 400, "unknown parameter"),
    ] {
        let answer = server.get(path).expect(status).body;
        assert!(answer.contains(why), "{path}: {answer}");
    }
}

/// Which devices are in which list, and what the filters leave.
#[test]
fn devices_now() {
    let history = recent();
    let server = named(&history);
    let macs = |query: &str| -> Vec<u8> {
        let file = server.get(&format!("/now?format=json&{query}")).expect(200).json();
        let rows = file["rows"].as_array().expect("rows");
        let last = |row: &serde_json::Value| row["mac"].as_str()?.rsplit(':').next()?.parse().ok();
        rows.iter().filter_map(last).collect()
    };
    for (query, expected) in [
        ("", vec![3, 1]),
        ("state=here&within=10000", vec![3, 1, 6, 7, 2]),
        ("state=new", vec![3]),
        ("state=unknown", vec![3, 6, 7]),
        ("state=silent", vec![6, 7, 2]),
        ("state=all&sort=mac", vec![1, 2, 3, 6, 7]),
        ("state=all&sort=mac&reverse=true", vec![7, 6, 3, 2, 1]),
        ("state=all&sort=name", vec![1, 2, 3, 6, 7]),
        ("state=all&sort=address", vec![1, 2, 3, 6, 7]),
        ("state=all&network=interface%3Deth0%26vlan%3D7%26host%3Dhere%26ring%3Dnone", vec![]),
        ("state=all&private=false", vec![]),
        ("state=all&private=true&sort=mac", vec![1, 2, 3, 6, 7]),
        ("state=all&maker=example", vec![]),
    ] {
        // New is what was first seen today, and that depends on the hour of the test for the others.
        let found = macs(query);
        match query {
            "state=new" => assert!(found.starts_with(&expected), "{query}: {found:?}"),
            _ => assert_eq!(found, expected, "{query}"),
        }
    }
    let page = server.get("/now").expect(200).body;
    for text in [
        "<b aria-current=\"true\">Here (2)</b>",
        ">Unknown (3)</a>",
        ">Silent (3)</a>",
        ">All (5)</a>",
        "Seen in the last 30 minutes.",
        "aria-sort=\"descending\"",
        "1 min ago",
        "Kitchen radio",
        "2 devices, page 1 of 1",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!without_script(&page).contains("<script"));
    for link in links(&page) {
        server.get(&link).expect(200);
    }
    // The form sends its empty fields, too; the network is one of its list.
    let network =
        page.split("<option value=\"").find(|it| it.contains("vlan=7")).expect("an option");
    let network = network.split('"').next().expect("its value").replace("&#38;", "&");
    let network: String = network.replace('%', "%25").replace('&', "%26").replace('=', "%3D");
    let form = format!("state=all&sort=last&network={network}&maker=&private=&within=30");
    assert_eq!(macs(&form), [3]);
    let one = server.get(&format!("/now?{form}")).expect(200).body;
    assert!(
        one.contains("<b aria-current=\"true\">All (1)</b>") && one.contains(" selected"),
        "{one}"
    );
    let empty = server.get("/now?maker=nothing").expect(200).body;
    assert!(empty.contains("No device."), "{empty}");
}

/// Ten thousand devices: a page has a hundred of them, and is small.
#[test]
fn many_devices_are_paged() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::of(&many_devices(directory.path(), 10_000), &[]);
    let mut seen = BTreeSet::new();
    let mut path = "/now?state=all&sort=mac".to_owned();
    for number in 1..=3 {
        let page = server.get(&path).expect(200).body;
        assert_eq!(rows(&page), 100, "{page}");
        assert!(page.contains(&format!("10000 devices, page {number} of 100")), "{page}");
        assert!(page.len() <= 100_000, "{}", page.len());
        let macs = links(&page).into_iter().filter(|link| link.starts_with("/mac/"));
        seen.extend(macs);
        path = link_with(&page, &format!("page={}", number + 1));
    }
    assert_eq!(seen.len(), 300, "each page has others");
    let last = server.get("/now?state=all&page=100").expect(200).body;
    assert!(last.contains("rel=\"prev\"") && !last.contains("rel=\"next\""), "{last}");
    assert!(server.get("/now?state=all&page=1000").expect(200).body.contains("page 100 of 100"));
    assert_eq!(csv(&server.get("/now?state=all&format=csv").expect(200)).len(), 10_000);
    let list = server.get("/networks").expect(200).body;
    let network = server.get(&link_with(&list, "/network?")).expect(200).body;
    assert!(network.contains(">all 10000 devices</a>"), "{network}");
    assert!(network.len() <= 200_000, "{}", network.len());
}

/// An address that no device was seen to use: its page and the one of a time say which device announced it.
#[test]
fn an_address_that_is_announced() {
    let (ring, history) = (Ring::new(), History::new());
    let claim = Arp::request(station(2), [10, 1, 2, 2].into(), [10, 1, 2, 254].into()).frame();
    let begin = now() as u32 - 600;
    let mdns = |ip: [u8; 4], name| dhcp::mdns(station(2), ip.into(), name);
    capture_names(&ring, [(begin, claim), (begin + 60, mdns([10, 1, 2, 22], "nasbox"))]);
    run(history.command(&ring, &["--once"])).ok();
    let server = Server::start(&history, &[]);
    let page = server.get("/ip/10.1.2.22").expect(200).body;
    let remark = "not seen in use: announced by mDNS by ";
    assert!(page.contains(remark) && page.contains("nasbox"), "{page}");
    let page = server.get(&format!("/who?ip=10.1.2.22&at=@{}", begin + 120)).expect(200).body;
    assert!(page.contains("<b>announced</b> No device was seen to use the address;"), "{page}");
    assert!(page.contains("announced by mDNS 1 min 0 s before (a claim)"), "{page}");
}

/// A device that only announced itself: the search box, its page, a time, the API and a list of its own have it, and the lists of devices that
/// were seen do not. One that did so after the list was read is found, too.
#[test]
fn a_device_that_only_announced_itself() {
    let (ring, history) = (Ring::new(), History::new());
    let claim = Arp::request(station(1), [10, 1, 2, 1].into(), [10, 1, 2, 254].into()).frame();
    let begin = now() as u32 - 600;
    let mdns = |number: u32, last: u8, name: &str| {
        dhcp::mdns(station(number), [10, 1, 2, last].into(), name)
    };
    let store = |frames: Vec<(u32, Vec<u8>)>| {
        capture_names(&ring, frames);
        run(history.command(&ring, &["--once"])).ok();
    };
    store(vec![(begin, claim), (begin + 60, mdns(2, 22, "pc2"))]);
    let names = history.path().join("names");
    fs::write(&names, "02:00:00:00:00:02 Desk two\n02:00:00:00:00:07 Attic lamp\n")
        .expect("a file");
    let server = Server::start(&history, &["--names", names.to_str().expect("a path of text")]);
    let page_of = |query: &str| {
        let found = server.get(&format!("/search?q={query}"));
        found.header("location").map(str::to_owned).ok_or(found.body)
    };
    let pc = Ok("/mac/02%3A00%3A00%3A00%3A00%3A02".to_owned());
    for query in ["pc2", "pc2.local", "Desk%20two", "0200.0000.0002"] {
        assert_eq!(page_of(query), pc, "{query}");
    }
    assert_eq!(page_of("attic"), Ok("/mac/02%3A00%3A00%3A00%3A00%3A07".into()), "never seen");
    let nothing = page_of("pc3").expect_err("no such device");
    assert!(
        nothing.contains("the list of devices is of ")
            && nothing.contains("calls itself exactly so"),
        "{nothing}"
    );
    store(vec![(begin + 590, mdns(3, 23, "pc3"))]);
    assert_eq!(page_of("PC3.local"), Ok("/mac/02%3A00%3A00%3A00%3A00%3A03".into()));
    let page = server.get("/mac/02:00:00:00:00:02").expect(200).body;
    assert!(page.contains(">10.1.2.22</a>") && page.contains("announced by mDNS"), "{page}");
    assert!(page.contains("calls itself “pc2” (mDNS host name)"), "{page}");
    assert!(page.contains(": not seen in use</li>") && !page.contains(": not seen</li>"), "{page}");
    let at = begin + 120;
    let page = server.get(&format!("/where?mac=02:00:00:00:00:02&at=@{at}")).expect(200).body;
    assert!(
        page.contains("Not known:") && page.contains("announced by mDNS 1 min 0 s before"),
        "{page}"
    );
    let then =
        server.get(&format!("/api/v1/where?mac=02:00:00:00:00:02&at=@{at}")).expect(200).json();
    assert_eq!(
        (&then["rows"][0]["address"], &then["rows"][0]["how_sure"]),
        (&"10.1.2.22".into(), &"announced".into()),
        "{then}"
    );
    let of_mac = server.get("/api/v1/mac/02:00:00:00:00:02").expect(200).body;
    assert!(of_mac.contains("not seen in use: announced 10.1.2.22 by mDNS"), "{of_mac}");
    // The same by its name: in rows, with a remark.
    let by_name = |path: &str| server.get(&format!("/api/v1/{path}")).expect(200).json();
    for path in ["mac/pc3", "ip/pc3", "mac/PC3.local", "ip/PC3.local?limit=1"] {
        let found = by_name(path);
        let row = &found["rows"][0];
        let row = ["address", "mac", "left_out"].map(|name| row[name].as_str().unwrap());
        assert_eq!(row, ["10.1.2.23", "02:00:00:00:00:03", "announced by mDNS"], "{found}");
        let claim = found["remarks"][0].as_str().unwrap();
        assert!(claim.starts_with("02:00:00:00:00:03 calls itself"), "{claim}");
    }
    for path in ["where?mac=desk+two", "who?ip=desk+two"] {
        assert_eq!(by_name(&format!("{path}&at=@{at}")), then, "{path}");
    }
    assert_eq!(by_name("mac/Attic%20lamp")["rows"], serde_json::json!([]));
    let devices = server.get("/api/v1/devices").expect(200).json();
    let rows = devices["rows"].as_array().expect("rows");
    let marked = |row: &&serde_json::Value| row["not_seen_in_use"][0] == "announced 10.1.2.22";
    assert_eq!((rows.len(), rows.iter().filter(marked).count()), (3, 1), "{devices}");
    let announced = server.get("/now?state=announced").expect(200).body;
    assert!(
        announced.contains("announced 10.1.2.22") && announced.contains("All (1)"),
        "{announced}"
    );
    let is_first_day = now() % 86_400 > 900;
    assert!(!is_first_day || announced.contains("New today (–)"), "{announced}");
    let all = server.get("/now?state=all").expect(200).body;
    assert!(!all.contains("02:00:00:00:00:02") && all.contains("Not seen in use ("), "{all}");
}

/// Names and interfaces that are HTML, a script, an escape sequence or a formula are text.
#[test]
fn hostile_names() {
    const HOSTILE: &str =
        "=\"'><img src=x onerror=alert(1)><script>alert(2)</script>\u{1b}[2J\u{202e}{{7*7}}&vlan=3";
    let history = handover();
    let database = Connection::open(history.database()).expect("the history");
    let hostile = "UPDATE place SET host = ?1, interface = ?1, router = ?1";
    database.execute(hostile, [HOSTILE]).expect("valid SQL");
    drop(database);
    let names = history.path().join("names");
    fs::write(&names, format!("02:00:00:00:00:01|{HOSTILE}\n")).expect("the file of names");
    let server = Server::start(&history, &["--names", names.to_str().expect("a path of text")]);
    let list = server.get("/networks").expect(200).body;
    let network = link_with(&list, "/network?");
    let encoded = "%22%27%3E%3Cscript%3Ealert(2)%3C%2Fscript%3E";
    for path in [
        "/networks",
        &*network,
        "/now?state=all",
        "/mac/02:00:00:00:00:01",
        &format!("/now?state=all&maker={encoded}"),
        &format!("/now?state=all&network=interface%3D{encoded}"),
        &format!("/now?state={encoded}"),
        &format!("/network?interface={encoded}"),
        &format!("/network?interface=eth0&part={encoded}"),
        &format!("/mac/02:00:00:00:00:01?until={encoded}"),
        &format!("/mac/02:00:00:00:00:01?format={encoded}"),
    ] {
        let answer = server.get(path);
        let body = without_script(&answer.body);
        for bad in ["<script", "<img", "onerror=alert(1)>", "\u{1b}", "\u{202e}"] {
            assert!(!body.contains(bad), "{path}: {bad:?}: {body}");
        }
        assert!(answer.body.contains("</html>"), "{path}: {answer:#?}");
    }
    assert_eq!(server.get(&network).expect(200).body.matches("<h1>").count(), 1);
    let file = server.get("/now?state=all&format=csv").expect(200);
    assert!(file.body.contains("\"'=") && !file.body.contains(",="), "no formula: {}", file.body);
    assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
}

/// On a phone, in the dark and on paper, nothing is wider than the page; lists and filters work by keyboard.
#[test]
fn in_a_browser() {
    if Command::new("chromedriver").arg("--version").output().is_err() {
        return aw_tests::rig::skip("there is no chromedriver here");
    }
    let history = recent();
    let server = named(&history);
    let path = server.login();
    let mut browser = Browser::open(1200, 900);
    browser.zone("UTC");
    browser.go(&path);
    let own = format!("http://127.0.0.1:{}", server.port);
    let text = |browser: &mut Browser| {
        browser.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    };
    browser.go(&format!("{own}/now?state=all"));
    aw_tests::rig::wait_until("the list", || text(&mut browser).contains("5 devices, page 1 of 1"));
    browser.type_into("input[name=maker]", "nothing\n");
    aw_tests::rig::wait_until("the filter", || text(&mut browser).contains("No device."));
    browser.resize(360, 740);
    let network = link_with(&server.get("/networks").expect(200).body, "/network?");
    for (media, scheme) in [("screen", "dark"), ("screen", "light"), ("print", "light")] {
        browser.media(media, scheme);
        for path in ["/now?state=all", "/networks", &network, "/mac/02:00:00:00:00:01"] {
            browser.go(&format!("{own}{path}"));
            let wide = browser.run("return document.documentElement.scrollWidth");
            assert!(
                wide.as_u64().is_some_and(|wide| wide <= 360),
                "{path} {media} {scheme}: {wide}"
            );
        }
    }
    let complaints = browser.complaints();
    let ours: Vec<_> = complaints.iter().filter(|line| !line.contains("favicon")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}
