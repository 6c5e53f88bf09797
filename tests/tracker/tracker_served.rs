//! The page that `aw-tracker --serve` makes when it is requested: over HTTP, and in a real browser.
#![forbid(unsafe_code)]

use aw_tests::browser::Browser;
use aw_tests::receiver::{Receiver, line};
use aw_tests::rig::{program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::tracker::{Tracking, dates, make_logs};
use shm_layout::{Counter, RingName, UnixTime, Writer, WriterOptions};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A tracker in this directory, and the port of its page.
fn serving(directory: tempfile::TempDir, ring: &Ring, options: &[&str]) -> (Tracking, u16) {
    let tracking =
        Tracking::start_in(directory, ring.name(), &[&["--serve", "0"][..], options].concat());
    let line = tracking.run.stderr.wait_for("serving the report on http://127.0.0.1:");
    let port = line.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    (tracking, port)
}

/// Head and page; both empty if the connection was closed.
fn get(port: u16) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(100))).unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split_once("\r\n\r\n").map(|(head, page)| (head.into(), page.into())).unwrap_or_default()
}

fn page(port: u16) -> String {
    let (head, page) = get(port);
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(page.ends_with("</html>\n"), "a whole page");
    page
}

/// The part of the page about a device.
fn row(page: &str, mac: &str) -> String {
    let rows = page.split("<tr ").filter(|row| row.contains(mac));
    rows.map(|row| row.split("</tr>").next().unwrap_or_default()).collect()
}

fn now() -> String {
    let mut command = Command::new("date");
    command.arg("+%Y%m%d %H%M");
    run(command).ok().stdout.trim().to_owned()
}

const HEADER: &str = "mac name ip iface date time last active-hours\n";

fn put(directory: &Path, kind: &str, date: &str, text: &str) {
    fs::write(directory.join(format!("macupd_{kind}.{date}.log")), text).unwrap();
}

/// Each state of the collector has its words, in place of a page without devices: no ring, a collector without devices, one that
/// has ended, one that was killed.
#[test]
fn the_collector_comes_and_goes() {
    let ring = Ring::new();
    let (tracking, port) = serving(tempfile::tempdir().unwrap(), &ring, &[]);
    let silent = format!("No data from the collector: ring {}: it does not exist", ring.name());
    wait_until("there is no ring", || page(port).contains(&silent));
    assert!(page(port).contains("<p class=empty>No data from the collector.</p>"));
    let receiver = Receiver::listening(&ring, &[]);
    wait_until("a collector runs", || {
        page(port).contains(
            "<p class=empty>No devices seen yet: the collector has captured no frame.</p>",
        )
    });
    assert!(!page(port).contains("No data from the collector"), "{}", page(port));
    receiver.send("127.0.0.2", &[&line(1, "192.0.2.7", 2, "66:66:66:66:66:66", "br0")]);
    let is_online = |page: &str| row(page, "66:66:66:66:66:66").contains("badge online");
    wait_until("the device is online", || is_online(&page(port)));
    assert!(page(port).contains("<b>1 online</b> <span class=dim>seen in the last 10 min</span>"));
    // Counts alone trigger no report in a file; the page has them.
    let four = line(1, "192.0.2.7", 2, "66:66:66:66:66:66", "br0");
    receiver.send("127.0.0.2", &[&four, &four, &four, &four]);
    wait_until("the page has the counts", || {
        row(&page(port), "66:66:66:66:66:66").contains("<path class=b ")
    });
    receiver.run.stop().ok();
    wait_until("it has ended", || {
        let page = page(port);
        page.contains("No data from the collector since 20")
            && page.contains("its collector has ended")
    });
    assert!(is_online(&page(port)), "it was seen a moment ago");
    let receiver = Receiver::listening(&ring, &[]);
    wait_until("it is back", || !page(port).contains("No data from the collector"));
    receiver.run.kill();
    wait_until("it was killed", || page(port).contains("no heartbeat from the collector, process"));
    tracking.run.stop().ok();
}

/// A writer of a ring, of which a frame was counted a quarter of an hour ago.
fn writer(ring: &Ring, captures: bool) -> Writer {
    let name: RingName = ring.name().parse().unwrap();
    let options = WriterOptions { name, slots: 64, group: None, host: None };
    let mut writer = Writer::create(&options).unwrap();
    if !captures {
        writer.set_no_frames();
    }
    let interface = writer.interface("eth0".parse().unwrap());
    writer.count(interface, Counter::Seen);
    let now = UnixTime::now();
    writer.maintain(UnixTime::new(now.seconds() - 900, 0));
    writer.maintain(now);
    writer
}

/// A collector that captures nothing is silent, however long a device counts as online; the ring of aw-routeros, whose writer
/// captures nothing by design, is not.
#[test]
fn silent_rings() {
    let (lan, routers, directory) = (Ring::new(), Ring::new(), tempfile::tempdir().unwrap());
    let [mut collector, mut changes] = [writer(&lan, true), writer(&routers, false)];
    let state = directory.path().join(".state");
    let (tracking, port) = serving(directory, &lan, &["--ring", routers.name(), "--online", "2h"]);
    let silent = "it runs, and captures no frames (look at its interfaces)";
    let mut page_of = |collector: &mut Writer| {
        for writer in [collector, &mut changes] {
            writer.maintain(UnixTime::now());
        }
        page(port)
    };
    wait_until("the collector is silent", || page_of(&mut collector).contains(silent));
    let shown = page_of(&mut collector);
    assert_eq!(shown.matches("class=\"now silent\"").count(), 1, "{shown}");
    assert!(shown.contains(&format!("ring {}: {silent}", lan.name())), "{shown}");
    let interface = collector.interface("eth0".parse().unwrap());
    collector.count(interface, Counter::Seen);
    wait_until("it captures", || !page_of(&mut collector).contains("class=\"now silent\""));
    let mut health = program("aw-tracker", &["--health", "--ring", routers.name()]);
    health.arg("--state-dir").arg(&state);
    let health = run(health).ok();
    assert!(health.stdout.contains("its writer runs"), "{health:?}");
    drop(changes);
    let ended =
        format!("ring {}: no aw-routeros runs (systemctl start aw-routeros)", routers.name());
    wait_until("aw-routeros has ended", || {
        collector.maintain(UnixTime::now());
        page(port).contains(&ended)
    });
    assert!(!page(port).contains("<p class=empty>No data from the collector.</p>"));
    tracking.run.stop().ok();
}

/// A log that cannot be read is named among the errors, and costs no other log.
#[test]
fn a_log_that_cannot_be_read() {
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    logs(directory.path());
    let yesterday = dates(2)[0].clone();
    let unreadable = format!("macupd_tracker.{yesterday}.log");
    fs::remove_file(directory.path().join(&unreadable)).unwrap();
    fs::create_dir(directory.path().join(&unreadable)).unwrap();
    let (tracking, port) = serving(directory, &ring, &[]);
    let shown = page(port);
    assert!(row(&shown, MAC).contains("192.0.2.7"), "{shown}");
    let (_, errors) = shown.split_once("Errors").unwrap_or_else(|| panic!("{shown}"));
    assert!(errors.contains(&unreadable), "{errors}");
    tracking.run.stop().ok();
}

/// A name that is written into the file of names is on the page, without a signal.
#[test]
fn a_name_that_is_given_now() {
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let names = directory.path().join("names");
    fs::write(&names, "").unwrap();
    let receiver = Receiver::listening(&ring, &[]);
    let option = names.to_str().unwrap().to_owned();
    let (tracking, port) = serving(directory, &ring, &["--names", &option]);
    receiver.send("127.0.0.2", &[&line(1, "192.0.2.7", 2, "66:66:66:66:66:66", "br0")]);
    let name = || row(&page(port), "66:66:66:66:66:66");
    wait_until("the device has no name", || name().contains(">unknown</bdi>"));
    fs::write(&names, "66:66:66:66:66:66 Kitchen radio\n").unwrap();
    wait_until("it has one", || name().contains(">Kitchen radio</bdi>"));
    tracking.run.stop().ok();
    receiver.run.stop().ok();
}

const MAC: &str = "00:00:5e:00:00:01";
const HOSTILE: [&str; 3] = [
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=\"document.title='owned'\">",
    "</li></ul><h1>owned</h1>",
];

/// Two devices. One is online, with two current addresses; it had thirty others yesterday, on an interface with a hostile name.
/// Both have an alert; a maker and names are hostile, too.
fn logs(directory: &Path) {
    let days = dates(2);
    let now = now();
    let (today, clock) = now.split_once(' ').unwrap();
    let hour: usize = clock[..2].parse().unwrap();
    let hours: String = (0..24).map(|at| if at == hour { '1' } else { '.' }).collect();
    let mut log = HEADER.to_owned();
    for number in 0..30 {
        let interface = HOSTILE[number % 3].replace(' ', "");
        log += &format!(
            "{MAC} unknown 2001:db8::dead:{number:x} {interface} {} 0001 0001 1.......................\n",
            days[0]
        );
    }
    log += &format!(
        "d2:00:00:00:00:02 tablet 192.0.2.9 br0 {} 0001 0001 1.......................\n",
        days[0]
    );
    put(directory, "tracker", &days[0], &log);
    let row = |ip: &str| format!("{MAC} unknown {ip} br0 {today} {clock} {clock} {hours}\n");
    let log = [HEADER, &row("192.0.2.7"), &row("2001:db8::7")].concat();
    put(directory, "tracker", today, &log);
    let alert = |mac: &str, ip: &str, date: &str| {
        format!("{mac} unknown {ip} br0 {date} 0001 0001 1.......................\n")
    };
    let alerts = [
        alert(MAC, "2001:db8::dead:0", &days[0]),
        alert("d2:00:00:00:00:02", "0.0.0.0", &days[0]),
        alert(MAC, "192.0.2.7", today),
    ];
    put(directory, "alert", &days[0], &alerts.concat());
    let makers = format!(
        "Registry,Assignment,Organization Name,Organization Address\nMA-L,00005E,{},x\n",
        HOSTILE[0]
    );
    fs::write(directory.join("oui.csv"), makers).unwrap();
}

fn texts(browser: &mut Browser, selector: &str) -> Vec<String> {
    let all = browser.run(&format!(
        "return [...document.querySelectorAll({selector:?})].map(one => one.textContent)"
    ));
    let all = all.as_array().unwrap();
    all.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn in_a_browser() {
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let directory = tempfile::tempdir().unwrap();
    logs(directory.path());
    let vendors = directory.path().to_str().unwrap().to_owned();
    let name = format!("d2:00:00:00:00:02|{}", HOSTILE[1]);
    let options = ["--vendors", &vendors, "--name", &name, "--online", "2h"];
    let (tracking, port) = serving(directory, &ring, &options);
    wait_until("a collector runs", || !page(port).contains("No data from the collector"));
    let mut browser = Browser::open(1280, 1000);
    browser.go(&format!("http://127.0.0.1:{port}/"));
    let shown = |browser: &mut Browser| texts(browser, ".devices tbody tr:not([hidden]) .mac");
    wait_until("the script has run", || texts(&mut browser, "output") == ["2 of 2 devices"]);
    assert_eq!(texts(&mut browser, ".now"), ["1 online seen in the last 120 min"]);
    assert_eq!(texts(&mut browser, ".badge.online"), ["online"]);
    // The current addresses; the others are folded, and hostile names stay text.
    assert_eq!(
        texts(&mut browser, "tr.o td > ul li, .t.o td > ul li"),
        ["192.0.2.7 br0", "2001:db8::7 br0"]
    );
    assert_eq!(texts(&mut browser, ".t summary"), ["30 earlier", "days before"]);
    assert_eq!(texts(&mut browser, ".t details li").len(), 30 + 7, "addresses, and days");
    for (selector, number) in [("script", 1), ("img", 0), ("h1", 1), ("table", 1), ("details", 3)] {
        assert_eq!(texts(&mut browser, selector).len(), number, "{selector}");
    }
    // Alerts: name, maker, reason; the newest first.
    let alerts = texts(&mut browser, ".log li");
    assert_eq!(alerts.len(), 3, "{alerts:?}");
    for (alert, parts) in alerts.iter().zip([
        [MAC, HOSTILE[0], "without a name; first seen on 20"],
        [
            "d2:00:00:00:00:02",
            HOSTILE[1],
            "without a name then; it only asks or probes, and claims no address",
        ],
        [MAC, HOSTILE[0], "without a name; first seen that day"],
    ]) {
        assert!(parts.iter().all(|part| alert.contains(part)), "{parts:?}: {alert}");
    }
    assert!(alerts[1].contains("private MAC"), "{alerts:?}");
    // A folded address is found, and shown; afterwards it is folded again.
    let open = |browser: &mut Browser| browser.run("return document.querySelector('details').open");
    assert_eq!(open(&mut browser), false);
    browser.type_into("input[type=search]", "DEAD:1d");
    wait_until("it is found and unfolded", || {
        shown(&mut browser) == [MAC] && open(&mut browser) == true
    });
    browser.type_into("input[type=search]", "5e:00");
    wait_until("it is folded", || shown(&mut browser) == [MAC] && open(&mut browser) == false);
    browser.type_into("input[type=search]", "d2:00");
    wait_until("the other one", || shown(&mut browser) == ["d2:00:00:00:00:02"]);
    browser.type_into("input[type=search]", " ");
    wait_until("all", || shown(&mut browser).len() == 2);
    browser.click("button[value='o']");
    wait_until("the one that is online", || shown(&mut browser) == [MAC]);
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    // It fits a phone and paper, folded and unfolded.
    browser.click("summary");
    wait_until("it is unfolded", || open(&mut browser) == true);
    for (width, media) in [(320, "screen"), (390, "screen"), (1280, "screen"), (780, "print")] {
        browser.resize(width, 900);
        browser.media(media, "light");
        wait_until("the content fits the width", || {
            browser.run("return document.documentElement.scrollWidth <= innerWidth") == true
        });
    }
    // Without scripts.
    let no_scripts =
        "<head>\n<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\">";
    let (head, source) = get(port);
    assert!(head.contains("script-src 'sha256-"), "{head}");
    let without = tracking.directory.path().join("without-scripts.html");
    fs::write(&without, source.replacen("<head>", no_scripts, 1)).unwrap();
    browser.media("screen", "light");
    browser.resize(1280, 1000);
    browser.go_to_file(&without);
    wait_until("the browser ran no script", || !browser.complaints().is_empty());
    assert_eq!(shown(&mut browser).len(), 2);
    browser.click("summary");
    wait_until("it unfolds without a script", || open(&mut browser) == true);
    tracking.run.stop().ok();
    receiver.run.stop().ok();
}

/// Ends the threads also if the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Many requests at once, with thousands of devices: each is answered, and the logs do not wait for them.
#[test]
fn a_flood_of_requests() {
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let directory = tempfile::tempdir().unwrap();
    make_logs(directory.path(), 2_000, 31);
    let (tracking, port) = serving(directory, &ring, &[]);
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(page(port).contains("<h1>Device activity</h1>"));
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for device in 0..5_u8 {
            let (mac, ip) = (format!("66:66:66:66:66:{device:02x}"), format!("192.0.2.{device}"));
            receiver.send("127.0.0.2", &[&line(1, &ip, 2, &mac, "br0")]);
            wait_until("it is logged", || tracking.log("tracker").contains(&mac));
        }
        wait_until("all ask", || answers.load(Ordering::Relaxed) >= 32);
    });
    wait_until("the page has the last one", || page(port).contains("66:66:66:66:66:04"));
    let status = fs::read_to_string(format!("/proc/{}/status", tracking.run.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 250_000, "{peak} KiB");
    tracking.run.stop().ok();
    receiver.run.stop().ok();
}

/// The file says when it was written, and nothing about now: it is read later.
#[test]
fn a_file_is_of_its_own_time() {
    let directory = tempfile::tempdir().unwrap();
    logs(directory.path());
    let mut command = program("aw-tracker", &["report"]);
    command.arg(directory.path());
    run(command).ok();
    let page = fs::read_to_string(directory.path().join("macupd_report.html")).unwrap();
    assert!(page.contains("<span>created 20"), "{page}");
    for text in ["badge online", "class=now", "No data from the collector", "value=o"] {
        assert!(!page.contains(text), "{text}");
    }
}

/// A directory that is there, and that others own: the message names the one of aw-tracker in it.
#[test]
fn the_directory_of_the_package() {
    if !rustix::process::geteuid().is_root() {
        return aw_tests::rig::skip("needs root, to have a directory of another user");
    }
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let (logs, state) = (directory.path().join("log"), directory.path().join("state"));
    fs::create_dir_all(logs.join("aw-tracker")).unwrap();
    fs::create_dir(&state).unwrap();
    for path in [&logs.join("aw-tracker"), &state] {
        std::os::unix::fs::chown(path, Some(65534), None).unwrap();
    }
    let open = |path: &Path| {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    open(directory.path());
    let start = |log_dir: &Path| {
        let mut command = program("aw-tracker", &["--ring", ring.name(), "-u", "nobody"]);
        command.arg("--state-dir").arg(&state).arg("--log-dir").arg(log_dir);
        command.args(["--serve", "0"]);
        command
    };
    let own = format!("(aw-tracker has its own: --log-dir {}/aw-tracker)", logs.display());
    run(start(&logs)).refused("aw-tracker", &["permission denied", &own]);
    let started = aw_tests::rig::Run::start(start(&logs.join("aw-tracker")));
    started.stderr.wait_for("serving the report on http://127.0.0.1:");
    started.stop().ok();
}
