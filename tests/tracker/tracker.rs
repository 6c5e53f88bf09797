//! `aw-tracker` end to end: datagrams of a router and frames of a capture file go through collector and ring to its files.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Time, Unit};
use aw_tests::collect::collect;
use aw_tests::feed::{numbered_capture, reading_collector};
use aw_tests::frames::{Arp, Ethernet, station};
use aw_tests::receiver::{Receiver, line};
use aw_tests::rig::{Run, TIMEOUT, program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::capture_frames;
use aw_tests::tracker::{Tracking, dates, tracker};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

const CONF: &str = "\
# of macupd_tracker
[MAIN]
HOST=0.0.0.0  # Host
PORT=2056     # Port
PIDFILE=/run/macupd_tracker.pid
LOGDIR=DIRECTORY
REPORTDIR=DIRECTORY
MAXLOGS=31    #Remove logs
[MACLIST]
22:22:22:22:22:22|Omas Küche
AA:BB:CC:DD:EE:01|NAS
";

/// A row without its date and times, in single spaces.
fn rows(log: &str) -> Vec<String> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words[..words.len() - 4].join(" ")
    };
    log.lines().filter(|line| !line.starts_with("mac ")).map(row).collect()
}

/// Sightings of all hours of a row.
fn cells(log: &str, mac: &str) -> u32 {
    let row = log.lines().find(|line| line.starts_with(mac)).unwrap_or_default();
    let cells = row.rsplit(' ').next().unwrap_or_default().chars();
    cells.map(|cell| if cell == '*' { 10 } else { cell.to_digit(10).unwrap_or(0) }).sum()
}

fn configured(directory: &Path, extra: &str) -> String {
    let path = directory.join("macupd_tracker.conf");
    let text = CONF.replace("DIRECTORY", directory.to_str().unwrap()) + extra;
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The devices of a router are in the log, the alert log and the report within seconds.
#[test]
fn a_routers_devices_are_tracked() {
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let directory = tempfile::tempdir().unwrap();
    let config = configured(directory.path(), "");
    let mut command = tracker(ring.name(), directory.path());
    command.args(["-c", &config]).env("TZ", "Europe/Berlin");
    let run = Run::start(command);
    run.stderr.wait_for("collector --macupd 0.0.0.0:2056");
    let tracking = Tracking { run, directory, ring: ring.name().into() };
    wait_until("the first report", || tracking.page().contains("No devices seen"));
    let table = [
        line(1, "192.168.1.124", 2, "22:22:22:22:22:22", "br0"),
        line(2, "192.168.1.125", 2, "AA:BB:CC:DD:EE:01", "vlan2"),
        line(3, "192.168.1.126", 2, "66:66:66:66:66:66", "br0"),
        "   1    rssi 0 0 22:22:22:22:22:22 +-55+ wlan".into(),
    ];
    let table = table.each_ref().map(String::as_str);
    receiver.send("127.0.0.2", &table);
    wait_until("the devices are in the log", || tracking.log("tracker").lines().count() == 4);
    assert_eq!(
        rows(&tracking.log("tracker")),
        [
            "22:22:22:22:22:22 Omas Küche 192.168.1.124 br0",
            "66:66:66:66:66:66 unknown 192.168.1.126 br0",
            "aa:bb:cc:dd:ee:01 NAS 192.168.1.125 vlan2",
        ]
    );
    assert_eq!(rows(&tracking.log("alert")), ["66:66:66:66:66:66 unknown 192.168.1.126 br0"]);
    wait_until("the report has them", || tracking.page().contains("66:66:66:66:66:66"));
    let header =
        "mac               name       ip              iface date     time last active-hours\n";
    assert!(tracking.log("tracker").starts_with(header), "{}", tracking.log("tracker"));
    // The end writes the counts; after a restart the log of the day is continued, without a second alert.
    receiver.send("127.0.0.3", &table);
    receiver.send("127.0.0.2", &table);
    wait_until("they are read", || {
        let stats = ["--stats", "--ring", ring.name()];
        aw_tests::rig::run(program("collector", &stats))
            .ok()
            .stdout
            .contains("events                 9")
    });
    let tracking = tracking.again(|run| drop(run.stop().ok()), &["-v", "-c", &config]);
    tracking.run.stderr.wait_for("reading ring");
    receiver.run.stop().ok();
    wait_until("it has read all", || tracking.page().contains("66:66:66:66:66:66"));
    assert_eq!(tracking.log("alert").lines().count(), 1);
    assert_eq!(cells(&tracking.log("tracker"), "66:66:66:66:66:66"), 3, "each is counted once");
    assert_eq!(tracking.log("error"), "");
    tracking.run.stop().ok();
}

/// ARP of two devices, of two days ago and of today: the time of a frame selects the log. --source selects the frames.
#[test]
fn the_time_of_a_frame_selects_the_log() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let noon = (now / 86_400 - 2) * 86_400 + 43_200;
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for (host, at) in
        [(1, noon - 90 * 86_400), (1, noon), (2, noon + 60), (1, noon + 3_600), (2, now), (2, now)]
    {
        let time = Time { seconds: at as u32, nanoseconds: 0 };
        let arp = Arp::request(station(host), [10, 0, 0, host as u8].into(), [10, 0, 0, 9].into());
        file.packet(time, &arp.on(&Ethernet::from(station(host)))).unwrap();
    }
    let capture = file.finish().unwrap();
    let ring = Ring::new();
    collect(&ring, &capture, &["-q", "--as", "eth7"]).ok();
    let track = |options: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let mut command = tracker(ring.name(), directory.path());
        command.args(["--once", "--log-dir"]).arg(directory.path()).args(options).env("TZ", "UTC");
        let finished = run(command).ok();
        let outside =
            "1 sightings were not recorded: their days have no log (older than --max-logs";
        assert_eq!(finished.stderr.contains(outside), options != ["--source", "macupd"]);
        Tracking { run: Run::start(Command::new("true")), directory, ring: ring.name().into() }
    };
    let tracking = track(&[]);
    let logs: Vec<_> =
        tracking.files().into_iter().filter(|file| file.starts_with("macupd_tracker.")).collect();
    assert_eq!(logs.len(), 2, "{logs:?}");
    let old = fs::read_to_string(tracking.directory.path().join(&logs[0])).unwrap();
    assert!(old.contains(" 1200 1300 ............11.........."), "{old}");
    assert!(old.contains(" 1201 1201 ............1..........."), "{old}");
    assert_eq!(tracking.log("alert").lines().count(), 3, "of each day");
    assert!(
        tracking.log("error").contains("1 sightings were not recorded: their days have no log")
    );
    let page = tracking.page();
    assert!(page.contains("<dd>1 <small>of 2</small>"), "{page}");
    // A log that cannot be read is not changed, and the other days are recorded.
    let spoiled = tempfile::tempdir().unwrap();
    fs::create_dir(spoiled.path().join(&logs[0])).unwrap();
    let mut command = tracker(ring.name(), spoiled.path());
    command.args(["--once", "--log-dir"]).arg(spoiled.path()).env("TZ", "UTC");
    let finished = run(command).ok();
    assert_eq!(
        finished.stderr.matches("sightings of that day are not recorded").count(),
        1,
        "{finished:?}"
    );
    let spoiled = Tracking {
        run: Run::start(Command::new("true")),
        directory: spoiled,
        ring: ring.name().into(),
    };
    let today = fs::read_to_string(tracking.directory.path().join(&logs[1])).unwrap();
    assert_eq!(spoiled.log("tracker"), today);
    assert!(spoiled.log("error").contains(&logs[0]));
    assert!(spoiled.log("error").contains("4 sightings were not recorded: their days have no log"));
    let routers = track(&["--source", "macupd"]);
    assert_eq!((routers.log("tracker"), routers.log("alert")), (String::new(), String::new()));
    let pairings = track(&["--source", "pairing"]);
    assert_eq!(pairings.log("tracker"), tracking.log("tracker"));
}

/// Two rings with eth0 each, a scanner that probes from 0.0.0.0, and a sighting from before the clock was set.
#[test]
fn networks_probes_and_a_wrong_clock() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (now, ip, rings) = (now as u32, [10, 0, 0, 1].into(), [Ring::new(), Ring::new()]);
    let claim = |host| Arp::request(station(host), ip, [10, 0, 0, 9].into()).frame();
    let probe = Arp::probe(station(9), ip).frame();
    capture_frames(&rings[0], [(30, claim(3)), (now, probe), (now, claim(1))]);
    capture_frames(&rings[1], [(now, claim(2))]);
    let directory = tempfile::tempdir().unwrap();
    let mut command = tracker(rings[0].name(), directory.path());
    command.args(["-m", rings[1].name(), "--once", "--log-dir"]).arg(directory.path());
    let finished = run(command).ok();
    let message = "1 sightings were not recorded: they were captured before the clock was set";
    assert!(finished.stderr.contains(message), "{finished:?}");
    let name = rings[0].name().to_owned();
    let tracking = Tracking { run: Run::start(Command::new("true")), directory, ring: name };
    assert!(tracking.log("error").contains(message));
    let second = rings[1].name().trim_start_matches('/');
    assert_eq!(
        rows(&tracking.log("tracker")),
        [
            "02:00:00:00:00:01 unknown 10.0.0.1 eth0".to_owned(),
            format!("02:00:00:00:00:02 unknown 10.0.0.1 {second}/eth0"),
        ]
    );
    // The scanner has no row, and an alert without an address.
    assert_eq!(tracking.log("alert").lines().count(), 3);
    assert!(tracking.log("alert").contains("02:00:00:00:00:09 unknown   0.0.0.0"));
    assert!(!tracking.files().iter().any(|file| file.contains("1970")), "{:?}", tracking.files());
}

/// A frame that another MAC sent makes no device present without a mark: in the log, the alert log and the report.
#[test]
fn frames_that_other_macs_sent() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claim = |host: u32, sender| {
        let arp = Arp::request(station(host), [10, 0, 0, host as u8].into(), [10, 0, 0, 9].into());
        (now as u32, arp.on(&Ethernet::from(station(sender))))
    };
    let ring = Ring::new();
    capture_frames(&ring, [claim(1, 1), claim(1, 7), claim(2, 7), claim(3, 3)]);
    let directory = tempfile::tempdir().unwrap();
    let mut command = tracker(ring.name(), directory.path());
    command.args(["--once", "--log-dir"]).arg(directory.path());
    run(command).ok();
    let name = ring.name().to_owned();
    let tracking = Tracking { run: Run::start(Command::new("true")), directory, ring: name };
    let (sent, mark) = ("sent by 02:00:00:00:00:07", "sent-by-02:00:00:00:00:07");
    assert_eq!(
        rows(&tracking.log("tracker")),
        [
            format!("02:00:00:00:00:01 unknown(partly-{mark}) 10.0.0.1 eth0"),
            format!("02:00:00:00:00:02 unknown(only-{mark}) 10.0.0.2 eth0"),
            "02:00:00:00:00:03 unknown 10.0.0.3 eth0".to_owned(),
        ]
    );
    assert_eq!(tracking.log("alert").matches(&format!("(only-{mark})")).count(), 1);
    let page = tracking.page();
    assert_eq!(page.matches(">sent by others<").count(), 1, "{page}");
    assert!(page.contains(&format!("<bdi>eth0</bdi> partly {sent}</span>")), "{page}");
    let text = program("aw-tracker", &["report", tracking.directory.path().to_str().unwrap()]);
    assert!(run(text).ok().stdout.contains(&format!("only {sent}\n")));
}

/// A loss is in the error log once, and not again after each restart.
#[test]
fn a_loss_is_logged_once() {
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let fill = |numbers| {
        run_with(reading_collector(&ring, &["-q", "-L", "64"]), &numbered_capture(numbers)).ok();
        let mut command = tracker(ring.name(), directory.path());
        command.args(["--once", "--log-dir"]).arg(directory.path());
        run(command).ok();
        let files = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let errors = files.filter(|file| file.to_str().unwrap().contains("macupd_error"));
        errors.map(|file| fs::read_to_string(file).unwrap()).collect::<String>()
    };
    fill(1..11);
    for numbers in [11..111, 111..112, 112..113] {
        let errors = fill(numbers);
        assert_eq!(errors.matches(" 36 events were overwritten").count(), 1, "{errors}");
    }
    // More of it is logged by each run, and only what is new since the last message.
    for runs in 1..3 {
        let first = 113 + (runs as u32 - 1) * 100;
        let errors = fill(first..first + 100);
        assert_eq!(errors.matches(" 36 more events were overwritten").count(), runs, "{errors}");
    }
    // Another ring of the same name counts from 0: that the same words are in a log already hides no loss.
    run(program("collector", &["--ring", ring.name(), "--remove"])).ok();
    fill(1..11);
    let errors = fill(11..111);
    assert_eq!(errors.matches(" 36 more events were overwritten").count(), 3, "{errors}");
}

/// A run of cron reports the end of a fault, though it does not last for the time that a service waits.
#[test]
fn a_run_that_ends_at_once_reports_the_end_of_a_fault() {
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let mut collector = Run::start(reading_collector(&ring, &["-q", "--max-rate", "10"]));
    let mut stdin = collector.stdin.take().unwrap();
    stdin.write_all(&numbered_capture(1..10_000)[..60_000]).unwrap();
    wait_until("there is a ring", || ring.path().exists());
    let track = || {
        let mut command = tracker(ring.name(), directory.path());
        command.args(["--once", "--log-dir"]).arg(directory.path());
        run(command).ok();
    };
    // An earlier run reported a fault of an interface that the collector captures no longer.
    let path = directory.path().join(".state/aw-tracker.faults");
    wait_until("an earlier run stored faults", || {
        track();
        path.exists()
    });
    let faults = fs::read_to_string(&path).unwrap();
    let mut faults: serde_json::Value = serde_json::from_str(&faults).unwrap();
    let long_ago = 1_700_000_000;
    faults[format!("down {} eth1", ring.name())] = serde_json::json!({
        "generation": 0,
        "episode": {
            "count": 0, "reported": 0, "reported_at": long_ago, "began": long_ago,
            "count_before": 0, "last": long_ago, "quiet": 10
        }
    });
    fs::write(&path, faults.to_string()).unwrap();
    let over = "over: the collector captures no longer on interface eth1, after ";
    wait_until("a run reports the end", || {
        track();
        let files = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut errors = files.filter(|file| file.to_str().unwrap().contains("macupd_error"));
        errors.any(|file| fs::read_to_string(file).unwrap().contains(over))
    });
    collector.kill();
    drop(stdin);
}

/// Files of macupd_tracker, with an incomplete row that a crash left: read, reported, and continued.
#[test]
fn files_of_macupd_tracker_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let days = dates(3);
    let code = "\
mac               name     date     time last ip              iface active-hours            \n\
11:11:11:11:11:11 router   DATE     0001 2359 192.168.1.1     br0   *********7**************
22:22:22:22:22:22 unknown  DATE     1031 1231 rssi            wlan  ......12....1...........
22:22:22:22:22:22 unknown  DATE     1031 1231 192.168.1.124   br0   ..........121...........
33:33:33:33:33    half
";
    let put = |kind: &str, day: &str, text: &str| {
        let path = directory.path().join(format!("macupd_{kind}.{day}.log"));
        fs::write(path, text.replace("DATE    ", day)).unwrap();
    };
    for day in &days {
        put("tracker", day, code);
    }
    put(
        "alert",
        &days[1],
        "22:22:22:22:22:22 unknown  DATE     1031 1031 192.168.1.124   br0   ..........1.............\n",
    );
    put("error", &days[1], "20180320:1031:Err: data_array is invalid: ['<b>']\n");
    put("tracker", "20180320", code); // too old: it is removed
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let tracking =
        Tracking::start_in(directory, ring.name(), &["--name", "22:22:22:22:22:22|windows"]);
    wait_until("the report", || tracking.page().contains("11:11:11:11:11:11"));
    // The second sighting makes a new row, which is written immediately; the first one is counted before it.
    let both =
        ["192.168.1.124", "192.168.1.125"].map(|ip| line(1, ip, 2, "22:22:22:22:22:22", "br0"));
    receiver.send("127.0.0.2", &both.each_ref().map(String::as_str));
    wait_until("the sightings", || tracking.log("tracker").contains("192.168.1.125"));
    tracking.run.signal(Signal::TERM);
    wait_until("the old log is gone", || {
        !tracking.files().iter().any(|file| file.contains("2018"))
    });
    let log = fs::read_to_string(
        tracking.directory.path().join(format!("macupd_tracker.{}.log", days[2])),
    )
    .unwrap();
    assert!(cells(&log, "22:22:22:22:22:22") >= 5, "{log}");
    assert_eq!(log.lines().count(), 4, "{log}");
    assert!(
        tracking.log("error").contains(":5: fewer than eight columns: 33:33:33:33:33    half"),
        "{}",
        tracking.log("error")
    );
    assert_eq!(tracking.log("alert").lines().count(), 1, "the device has a name now");
    // The command `report`.
    let mut command = program("aw-tracker", &["report"]);
    let text = run({
        command.arg(tracking.directory.path());
        command
    })
    .ok()
    .stdout;
    for part in [
        "Collected MAC-addresses\n\n11:11:11:11:11:11 router\n11:11:11:11:11:11 unknown\n22:22:22:22:22:22 unknown\n22:22:22:22:22:22 windows\n",
        &format!(
            "\n11:11:11:11:11:11 router\n{} 0001 2359 192.168.1.1     br0   *********7**************\n",
            days[0]
        ),
        "\nAlerts\n\n22:22:22:22:22:22 unknown",
        "Err: data_array is invalid: ['<b>']\n",
        "macupd_tracker.",
        "End of report\n",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(tracking.page().contains("[&#39;&lt;b&gt;&#39;]"));
    receiver.run.stop().ok();
}

/// SIGHUP applies new names immediately. A file with an error changes nothing, and the line is named.
#[test]
fn the_configuration_is_read_again() {
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let directory = tempfile::tempdir().unwrap();
    let config = configured(directory.path(), "");
    let tracking = Tracking::start_in(directory, ring.name(), &["-c", &config]);
    receiver.send("127.0.0.2", &[&line(1, "192.168.1.126", 2, "66:66:66:66:66:66", "br0")]);
    wait_until("the device is in the log", || tracking.log("tracker").contains("unknown"));
    configured(tracking.directory.path(), "66:66:66:66:66:66|新しい テレビ\nMAXDAYS=3\n");
    tracking.run.signal(Signal::HUP);
    tracking.run.stderr.wait_for("line 13: unknown key MAXDAYS");
    assert!(tracking.log("tracker").contains("unknown"));
    configured(tracking.directory.path(), "66:66:66:66:66:66|新しい テレビ\n");
    tracking.run.signal(Signal::HUP);
    wait_until("it has its new name", || tracking.log("tracker").contains("新しい テレビ"));
    wait_until("in the report, too", || tracking.page().contains("新しい テレビ"));
    assert!(tracking.log("error").contains("unknown key MAXDAYS"));
    tracking.run.stop().ok();
    receiver.run.stop().ok();
}

#[test]
fn errors_at_the_start() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let start = |options: &[&str]| {
        let mut command = tracker(ring.name(), directory.path());
        command.args(options);
        run(command)
    };
    start(&[]).refused("aw-tracker", &["LOGDIR", "--log-dir", "/etc/macupd_tracker.conf"]);
    start(&["--log-dir", "/nonexistent"])
        .refused("aw-tracker", &["/nonexistent", "no such", "(sudo install -d -o "]);
    start(&["-c", "/nonexistent"]).refused("aw-tracker", &["/nonexistent", "no such"]);
    let config = configured(directory.path(), "22:22:22:22:22:22|\n");
    start(&["-c", &config]).refused("aw-tracker", &[&config, "line 12", "no name"]);
    start(&["--log-dir", path, "--serve", "192.0.2.1:80"]).refused("aw-tracker", &["192.0.2.1:80"]);
    let tracking = Tracking::start(&ring, &[]);
    wait_until("it runs", || !tracking.page().is_empty());
    let taken = tracking.directory.path().to_str().unwrap();
    start(&["--log-dir", taken]).refused("aw-tracker", &[taken, "another aw-tracker"]);
    for wrong in [
        &["--serve", "nonsense"][..],
        &["--name", "x|y"],
        &["--max-logs", "0"],
        &["--max-rows", "0"],
    ] {
        assert_eq!(start(wrong).status.code(), Some(2), "{wrong:?}");
    }
    tracking.run.stop().ok();
}

/// The shipped example of a configuration file.
#[test]
fn the_example_is_read() {
    let ring = Ring::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/macupd_tracker.conf");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    let options = ["-c", example, "--report-dir", &path];
    let tracking = Tracking::start_in(directory, ring.name(), &options);
    wait_until("it runs", || !tracking.page().is_empty());
    let finished = tracking.run.stop().ok();
    assert!(finished.stderr.contains("--macupd 0.0.0.0:2056"), "{finished:?}");
}

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// `--serve` serves the report and nothing else, only on 127.0.0.1.
#[test]
fn the_report_is_served() {
    let ring = Ring::new();
    let tracking = Tracking::start(&ring, &["--serve", "0"]);
    let line = tracking.run.stderr.wait_for("serving the report on http://127.0.0.1:");
    let port: u16 = line.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    wait_until("there is a page", || !tracking.page().is_empty());
    let answer = ask(port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("default-src 'none'"), "{head}");
    assert!(body.starts_with("<!DOCTYPE html>") && body.ends_with("</html>\n"));
    for (request, status) in [
        ("HEAD / HTTP/1.0\r\n\r\n", "200 OK"),
        ("GET /macupd_tracker.20261122.log HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("DELETE / HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421 Misdirected Request"),
        ("\0\0\0\r\n\r\n", "400 Bad Request"),
        (&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9_000)), "431 "),
    ] {
        let answer = ask(port, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.60}: {answer:.100}");
    }
    // Connections that send nothing block neither others nor the tracker.
    let silent: Vec<_> =
        (0..40).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    wait_until("a connection is accepted", || {
        ask(port, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200")
    });
    drop(silent);
    tracking.run.stop().ok();
}

/// A configuration file may be a symbolic link. A log that cannot be read is skipped.
#[test]
fn links_are_followed_and_unreadable_logs_are_skipped() {
    let ring = aw_tests::ring::Ring::new();
    aw_tests::feed::publish(&ring, 1..4);
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["real", "etc", "logs", "state"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    let logs = at("logs");
    std::fs::write(at("real/m.conf"), format!("LOGDIR={}\n", logs.display())).unwrap();
    std::os::unix::fs::symlink("../real/m.conf", at("etc/m.conf")).unwrap();
    let (config, state) = (at("etc/m.conf"), at("state"));
    let mut command =
        aw_tests::rig::program("aw-tracker", &["--once", "--ring", ring.name(), "-c"]);
    command.arg(config).arg("--state-dir").arg(state).args(["-u", "root"]);
    aw_tests::rig::run(command).ok();
    std::fs::create_dir(logs.join("macupd_error.20260101.log")).unwrap();
    std::fs::write(logs.join("macupd_error.20260102.log"), "one \u{202e}owt\u{1b}[2J\n").unwrap();
    let mut command = aw_tests::rig::program("aw-tracker", &["report"]);
    command.arg(&logs);
    let finished = aw_tests::rig::run(command).ok();
    assert!(
        finished.stdout.contains("one ?owt?[2J\n"),
        "control characters do not reach the terminal"
    );
    assert!(finished.stdout.contains("macupd_error.20260101.log"), "{}", finished.stdout);
    // The HTML file is in the directory of the logs, or in REPORTDIR of the file of --config.
    assert!(logs.join("macupd_report.html").exists());
    std::fs::write(at("real/m.conf"), format!("REPORTDIR={}\n", at("real").display())).unwrap();
    let mut command = aw_tests::rig::program("aw-tracker", &["report", "-c"]);
    command.arg(at("etc/m.conf")).arg(&logs);
    aw_tests::rig::run(command).ok();
    assert!(at("real/macupd_report.html").exists());
}
