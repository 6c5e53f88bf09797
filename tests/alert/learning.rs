//! What `aw-alert` learns is visible while it does, and can be listed and repeated.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aw_tests::alerting::Alert;
use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::{collect, complete_json};
use aw_tests::dhcp;
use aw_tests::frames::Arp;
use aw_tests::rig::{Run, TIMEOUT, run};
use rusqlite::Connection;
use serde_json::Value;

const SERVER_MAC: &str = "02:00:00:00:00:fe";

fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as u32
}

/// A device 00:08:e1:00:00:N claims 10.0.0.N now.
fn claim(alert: &Alert, number: u8) {
    claim_at(alert, now(), number);
}

fn claim_at(alert: &Alert, time: u32, number: u8) {
    let mac = [0, 8, 0xe1, 0, 0, number];
    let arp = Arp::request(mac, Ipv4Addr::new(10, 0, 0, number), [192, 0, 2, 254].into());
    // Without the option, the collector would remove the ring of names.
    alert.publish_frames(&[(time, arp)], &["--names"]);
}

/// A DHCP server answers at this time.
fn answer(alert: &Alert, time: u32) {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory");
    let frame = dhcp::ack([0, 8, 0xe1, 0, 0, 3], [10, 1, 2, 3].into(), 3600);
    file.packet(at(time), &frame).expect("memory");
    let capture = file.finish().expect("memory");
    collect(&alert.ring, &capture, &["-q", "--names", "--as", "eth0"]).ok();
}

/// The status lines that a program sends to systemd.
struct Statuses(UnixDatagram);

impl Statuses {
    /// Of a program that gets these variables.
    fn of(alert: &mut Alert) -> Statuses {
        let path = alert.path("notify");
        let socket = UnixDatagram::bind(&path).expect("our own directory");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time");
        alert.variables.push(("NOTIFY_SOCKET", path.display().to_string()));
        Statuses(socket)
    }

    /// The first one with this text.
    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |status| status.contains(text))
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let (end, mut last) = (Instant::now() + TIMEOUT, String::new());
        while Instant::now() < end {
            let mut bytes = [0; 4096];
            let Ok(length) = self.0.recv(&mut bytes) else { continue };
            last = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if last.contains("STATUS=") && is_it(&last) {
                return last;
            }
        }
        panic!("no status: {what}; the last one: {last}");
    }
}

fn health(alert: &Alert) -> String {
    run(alert.command(&["--health"])).stdout
}

fn known(alert: &Alert) -> String {
    run(alert.command(&["known"])).ok().stdout
}

/// A learning time is in the log, in the status and in `--health` as long as it lasts, and what it is silent about. It begins with the start,
/// also if the ring has older events.
#[test]
fn a_learning_time_is_visible() {
    let mut alert = Alert::new();
    let statuses = Statuses::of(&mut alert);
    alert.config(&alert.appending_channel());
    claim_at(&alert, now() - 7200, 1);
    let running = alert.start_with(&["--learn", "1h"]);
    let line = "learning all devices until ";
    running.stderr.wait_for(line);
    let silent = "): no alert about devices, routers and servers is sent, and what they do is normal from then on; who takes an address that routers, dhcp_servers or dns_servers names, redirects and faults of the sensor are reported";
    assert!(!statuses.wait_for(line).contains(silent), "the status is one short line");
    let shown = health(&alert);
    assert!(shown.contains(line) && shown.contains(silent), "{shown}");
    let stderr = running.stop().ok().stderr;
    assert_eq!(stderr.matches(line).count(), 1, "{stderr}");
    assert!(stderr.contains(silent), "{stderr}");
    let database = Connection::open(alert.path("state/aw-alert.db")).expect("its database");
    let update = "UPDATE note SET value = value - 3600 WHERE key = 'learns until'";
    assert_eq!(database.execute(update, []).expect("it is not locked"), 1, "it has begun");
    let update = "UPDATE infrastructure SET first = first - 3600 WHERE part = 'period'";
    database.execute(update, []).expect("it is not locked");
    drop(database);
    let health = health(&alert);
    assert!(!health.contains("learning"), "its time is over: {health}");
    let running = alert.start_with(&["--learn", "1h"]);
    claim(&alert, 2);
    running.stderr.wait_for("learning all devices is over: alerts are sent from now on");
    statuses.wait_until("it is over", |status| !status.contains("learning"));
    running.wait_until("it is reported", || !alert.alerts().is_empty());
    assert!(!running.stop().ok().stderr.contains(line));
    let alerts = alert.alerts();
    let found: Vec<_> = alerts.iter().map(|one| (&one["kind"], &one["ip"])).collect();
    assert_eq!(found, [(&"new_device".into(), &"10.0.0.2".into())]);
}

/// The first day, and that of an interface, have the same form; the first message says what is taken for normal; `--learn 0` ends both.
#[test]
fn the_first_day_is_visible() {
    let mut alert = Alert::new();
    let statuses = Statuses::of(&mut alert);
    alert.config(&alert.appending_channel());
    answer(&alert, now());
    claim(&alert, 1);
    let devices = "learning new devices until ";
    let servers = "learning routers and servers of eth0 until ";
    let start = |options: &[&str]| -> Run { alert.start_with(options) };
    // The second start learns on.
    for _ in 0..2 {
        let running = start(&[]);
        running.stderr.wait_for(devices);
        running.stderr.wait_for(servers);
        statuses.wait_for(servers);
        let shown = health(&alert);
        for text in [
            devices,
            "): one list has them then; all other alerts are sent at once",
            servers,
            "): all that announce themselves are normal from then on",
        ] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        assert!(known(&alert).contains(servers));
        running.stop().ok();
    }
    let begun = alert.alerts()[0]["message"].as_str().unwrap().to_owned();
    let normal = "the routers, DHCP servers and DNS servers of this day are taken for normal";
    assert!(begun.contains(normal), "{begun}");
    let running = start(&["--learn", "0"]);
    running.stderr.wait_for("learning routers and servers of eth0 is over: ");
    running.wait_until("the list", || alert.alerts().len() >= 3);
    assert!(!health(&alert).contains("learning"));
    let stderr = running.stop().ok().stderr;
    assert!(!stderr.contains(devices) && !stderr.contains(servers), "{stderr}");
    let alerts = alert.alerts();
    let learned: Vec<_> =
        alerts.iter().filter(|one| one["kind"] == "learned").map(|one| &one["summary"]).collect();
    assert_eq!(learned, ["learned: 1 DHCP server on eth0", "1 device on pcap"]);
}

/// What is known is listed while it runs, and is forgotten without SQL: then the interface learns again.
#[test]
fn what_is_known_is_listed_and_learned_again() {
    let alert = Alert::new();
    let config = "routers = [\"192.0.2.254\"]\ndhcp_servers = [\"10.1.2.0/24\"]\n";
    let config = alert.config(&(config.to_owned() + &alert.appending_channel()));
    let known =
        |options: &[&str]| run(alert.command(&[&["-c", &config, "known"], options].concat()));
    let refused = known(&[]);
    assert_ne!(refused.status.code(), Some(0));
    assert!(refused.stderr.contains("(check --state-dir)"), "{}", refused.stderr);
    answer(&alert, now());
    claim(&alert, 1);
    let running = alert.start_with(&["--learn", "1h"]);
    running.wait_until("it is known", || known(&[]).stdout.contains("10.1.2.254"));
    let shown = known(&[]).ok().stdout;
    let lines: Vec<_> =
        shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["NETWORK", "WHAT", "ADDRESS", "MAC", "WHY", "SINCE", "LAST", "SEEN"]);
    assert_eq!(lines[1][..6], ["eth0", "DHCP", "server", "10.1.2.254", SERVER_MAC, "learned"]);
    assert_eq!(lines[2], ["-", "router", "192.0.2.254", "-", "named", "-", "-"]);
    assert!(shown.contains("learning routers and servers of eth0 until "), "{shown}");
    let json = complete_json(&known(&["json"]).ok().stdout);
    let keys = ["network", "what", "address", "why"];
    let of = |row: &Value| keys.map(|key| row[key].as_str().unwrap_or_default().to_owned());
    assert_eq!(of(&json[0]), ["eth0", "DHCP server", "10.1.2.254", "learned"]);
    assert_eq!(json[0]["macs"][0]["mac"], SERVER_MAC);
    assert_eq!(json.len(), 2);

    // While it runs, its database is locked.
    let relearn = |options: &[&str]| run(alert.command(&[&["relearn"], options].concat()));
    let refused = relearn(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("systemctl stop"), "{}", refused.stderr);
    running.stop().ok();
    let refused = relearn(&["eth9"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains("interface eth9 is not known (known: eth0, pcap)"),
        "{}",
        refused.stderr
    );
    assert!(known(&[]).ok().stdout.contains("10.1.2.254"), "nothing was forgotten");
    let done = relearn(&["eth0"]).ok().stdout;
    assert!(done.starts_with("eth0: 1 router or server forgotten\nFrom the next start "), "{done}");
    assert!(!known(&[]).ok().stdout.contains("10.1.2.254"));

    // It learns again.
    answer(&alert, now());
    let running = alert.start_with(&["--learn", "1h"]);
    running.stderr.wait_for("learning routers and servers of eth0 until ");
    running.wait_until("it is known", || known(&[]).stdout.contains("10.1.2.254"));
    running.stop().ok();
    let kinds: Vec<_> = alert.alerts().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, [""; 0]);
}

/// Servers are named, and no ring of names says what they announce: that is in the status, as `--check` has it.
#[test]
fn named_servers_without_names() {
    let mut alert = Alert::new();
    let statuses = Statuses::of(&mut alert);
    alert.config(&("dhcp_servers = [\"10.1.2.254\"]\n".to_owned() + &alert.appending_channel()));
    let mut collector = aw_tests::rig::program("collector", &["-q", "--ring", alert.ring.name()]);
    collector.arg("lo");
    let collector = Run::start(collector);
    collector.wait_until("its ring", || alert.ring.path().exists());
    let running = alert.start();
    let text = "but no collector records names: rogue ones are not reported (add --names";
    statuses.wait_for(text);
    collector.stop().ok();
    let mut collector = aw_tests::rig::program("collector", &["-q", "--ring", alert.ring.name()]);
    collector.args(["--names", "lo"]);
    let collector = Run::start(collector);
    statuses.wait_until("names are recorded", |status| !status.contains(text));
    running.stop().ok();
    collector.stop().ok();
}
