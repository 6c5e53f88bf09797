//! `aw-alert` reports what the sensor misses, and a storm of alerts neither hides nor delays the one that matters.
#![forbid(unsafe_code)]

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use aw_tests::alerting::Alert;
use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at, save};
use aw_tests::clock::library;
use aw_tests::collect::{collect, stdout_of};
use aw_tests::feed::{numbered_capture, reading_collector};
use aw_tests::frames::{Arp, Ethernet, Mac};
use aw_tests::lan::Lan;
use aw_tests::mount::Mount;
use aw_tests::rig::{Run, binary, run, skip, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use shm_layout::{Reader, RingName, Start};

/// The notes of all alerts of a kind.
fn notes(alert: &Alert, kind: &str) -> Vec<String> {
    let of_kind = alert.alerts().into_iter().filter(|report| report["kind"] == kind);
    of_kind.map(|report| report["note"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A replay that never ends.
fn endless(alert: &Alert) -> (Run, std::process::ChildStdin) {
    let mut collector = Run::start(reading_collector(&alert.ring, &["-q", "--max-rate", "10"]));
    let mut stdin = collector.stdin.take().unwrap();
    stdin.write_all(&numbered_capture(1..10_000)[..60_000]).unwrap();
    (collector, stdin)
}

#[test]
fn a_collector_that_dies_is_an_alert_and_so_is_its_return() {
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let (collector, _stdin) = endless(&alert);
    wait_until("there is a ring", || alert.ring.path().exists());
    let config = alert.path("alert.toml").display().to_string();
    let running = Run::start(alert.command(&["-v", "--learn", "0", "-c", &config]));
    running.stderr.wait_for("reading ring");
    collector.kill();
    wait_until("it is blind", || !notes(&alert, "blind").is_empty());
    let begins = notes(&alert, "blind").remove(0);
    assert!(begins.starts_with("no heartbeat from the collector, process "), "{begins}");
    assert!(
        begins.ends_with("; then systemctl restart addrwatch-collector@INTERFACE)"),
        "{begins}"
    );
    let (collector, _stdin) = endless(&alert);
    wait_until("it sees again", || notes(&alert, "blind").len() >= 2);
    let over = notes(&alert, "blind").remove(1);
    assert!(over.starts_with("over: events arrive again, after "), "{over}");
    let blind = alert.alerts().into_iter().find(|report| report["kind"] == "blind").unwrap();
    assert_eq!(blind["ring"], alert.ring.name());
    let message = format!("sensor blind {}: {begins}", alert.ring.name());
    assert_eq!(blind["message"], message);
    running.stop().ok();
    collector.kill();
}

/// Once or twice is no message; three times are one, which says what happens now, and which a restart does not repeat.
#[test]
fn a_collector_that_crashes_again_and_again() {
    let alert = Alert::new();
    let config = alert.config(&alert.appending_channel());
    let ring: RingName = alert.ring.name().parse().unwrap();
    let counted = || Reader::attach(&ring, Start::Now).map_or(0, |reader| reader.kills().number);
    let crashes = || {
        let mut all = notes(&alert, "blind");
        all.retain(|note| note.contains("killed"));
        all
    };
    let (mut collector, mut stdin) = endless(&alert);
    wait_until("there is a ring", || alert.ring.path().exists());
    let mut running = alert.start();
    for number in 1..4 {
        assert_eq!(crashes(), [""; 0], "{number}");
        collector.kill();
        (collector, stdin) = endless(&alert);
        wait_until("the next one counts it", || counted() == number);
    }
    running.wait_until("it is reported", || !crashes().is_empty());
    let [note] = &*crashes() else { panic!("{:?}", crashes()) };
    for text in [
        "the collector was killed or crashed 3 times since 20",
        "; it was started again at 20",
        "; frames of at most ",
        "journalctl -k | grep -i oom",
    ] {
        assert!(note.contains(text), "{note}");
    }
    running.stop().ok();
    running = Run::start(alert.command(&["-v", "--learn", "0", "-c", &config]));
    running.stderr.wait_for("reading ring");
    let health = || run(alert.command(&["--health", "-c", &config]));
    wait_until("it runs", || !health().stdout.contains("aw-alert is not running"));
    health().unhealthy_of("aw-alert", &["the collector was killed or crashed 3 times since 20"]);
    running.stop().ok();
    assert_eq!(crashes().len(), 1, "once: {:?}", crashes());
    collector.kill();
    drop(stdin);
}

/// An interface that never existed, and whose collector ends, is not captured again; one that comes is.
#[test]
fn an_interface_that_never_was() {
    let Some(lan) = Lan::new() else { return };
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let capture = |interfaces: &[&str]| {
        let mut command = lan.here.command(binary("collector"));
        command.args(["--ring", alert.ring.name(), "-q", "--wait"]).args(interfaces);
        let collector = Run::start(command);
        collector.stderr.wait_for("listening on veth0");
        collector
    };
    let collector = capture(&["veth0", "eht0", "late0"]);
    let running = alert.start();
    let has = |text: &str| notes(&alert, "blind").iter().any(|note| note.starts_with(text));
    for name in ["eht0", "late0"] {
        let down = format!("interface {name}: no such interface: no frames of it arrive (ip link ");
        running.wait_until("it is reported", || has(&down));
    }
    collector.stop().ok();
    lan.here.ip("link add late0 type veth peer name late1");
    lan.here.ip("link set late0 up");
    lan.here.ip("link set late1 up");
    let collector = capture(&["veth0", "late0"]);
    running.wait_until("late0 is there", || has("over: interface late0 is captured again, after "));
    running.wait_until("eht0 is no longer captured", || {
        has("over: the collector captures no longer on interface eht0, after ")
    });
    assert!(!has("over: interface eht0"), "{:?}", notes(&alert, "blind"));
    running.stop().ok();
    collector.stop().ok();
}

/// Collector and aw-alert did not run: both report that once when they start again.
#[test]
fn a_time_without_any_sensor() {
    let Some(library) = library() else {
        return skip("there is no libfaketime here (faketime)");
    };
    let Some(lan) = Lan::new() else { return };
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let mut earlier = reading_collector(&alert.ring, &["-q"]);
    earlier.env("LD_PRELOAD", &library).env("FAKETIME", "-10m");
    let mut earlier = Run::start(earlier);
    earlier.stdin.take().unwrap().write_all(&numbered_capture(1..4)).unwrap();
    earlier.finish().ok();
    alert.once();
    let capture = || {
        let mut command = lan.here.command(binary("collector"));
        command.args(["--ring", alert.ring.name(), "-q", "veth0"]);
        let collector = Run::start(command);
        collector.stderr.wait_for("listening on veth0");
        collector
    };
    let message = format!("no collector ran for ring {} from 20", alert.ring.name());
    // The clock was set forward since, and no time went by.
    let ended = capture().stop().ok();
    assert!(!ended.stderr.contains(&message), "{ended:#?}");
    alert.ring.beat_earlier(Duration::from_secs(600));
    let collector = capture();
    collector.stderr.wait_for(&message);
    let gaps = || {
        let all = notes(&alert, "blind");
        all.into_iter().filter(|note| note.starts_with("over: no collector ran from 20")).count()
    };
    let running = alert.start();
    running.wait_until("it is reported", || gaps() == 1);
    running.stop().ok();
    let running = alert.start();
    collector.kill();
    let is_blind = |note: &String| note.starts_with("no heartbeat from the collector");
    running.wait_until("it is blind", || notes(&alert, "blind").iter().any(is_blind));
    assert_eq!(gaps(), 1, "once: {:?}", notes(&alert, "blind"));
    running.stop().ok();
}

fn cut(alert: &Alert) {
    let file = std::fs::OpenOptions::new().write(true).open(alert.ring.path());
    file.unwrap().set_len(0).unwrap();
}

/// The cause is reported, and not a reader that is too slow. A ring that no collector creates again is reported, too, and its
/// return.
#[test]
fn a_truncated_ring_is_an_alert() {
    let alert = Alert::new();
    let config = alert.config(&alert.appending_channel());
    let (collector, _stdin) = endless(&alert);
    let other = Run::start(stdout_of(&alert.ring, &["--replay"]));
    let running = Run::start(alert.command(&["--print", "--learn", "0", "-c", &config]));
    running.stdout.wait_for_lines(30); // several seconds
    running.signal(Signal::STOP);
    other.stdout.wait_for_lines(other.stdout.count() + 10);
    cut(&alert);
    collector.stderr.wait_for("was truncated");
    running.signal(Signal::CONT);
    let has = |text| notes(&alert, "lost").iter().any(|note| note.contains(text));
    wait_until("the cause is reported", || {
        has("1 truncation of the ring by a process of the collector's user or of root: ")
    });
    wait_until("what is lost is reported", || {
        has(" events were lost because the ring was truncated before aw-alert read them (")
    });
    assert!(!has("overwritten"), "{:?}", notes(&alert, "lost"));
    collector.kill();
    cut(&alert);
    wait_until("it is blind", || !notes(&alert, "blind").is_empty());
    let why =
        "it is empty or truncated: no events arrive (start the collector, which creates it again)";
    assert_eq!(notes(&alert, "blind"), [why]);
    let (collector, _stdin) = endless(&alert);
    wait_until("it sees again", || notes(&alert, "blind").len() >= 2);
    let over = notes(&alert, "blind").remove(1);
    assert!(over.starts_with("over: "), "{over}");
    running.stop().ok();
    collector.kill();
    other.kill();
}

/// Events that were overwritten before aw-alert read them, and pairings that the collector forgot: with numbers, once.
#[test]
fn losses_are_alerts_with_numbers() {
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let options = ["-L", "64", "-r", "60", "--max-pairings", "40"];
    alert.publish_with(1..10, &options);
    alert.once();
    assert_eq!((notes(&alert, "lost"), notes(&alert, "forgot")), (vec![], vec![]));
    alert.publish_with(10..210, &options);
    alert.once();
    let lost = "136 events were overwritten before aw-alert read them (give the collector a larger ring with -L, or this machine more time)";
    assert_eq!(notes(&alert, "lost"), [lost]);
    let forgot = notes(&alert, "forgot");
    assert_eq!(forgot.len(), 1);
    assert!(forgot[0].contains(" pairings were forgotten by the collector: "), "{forgot:?}");
    alert.once();
    // Or that it is over, on a slow machine.
    let again =
        |kind| notes(&alert, kind).into_iter().skip(1).all(|note| note.starts_with("over: "));
    assert!(again("lost") && again("forgot"), "once: {:?}", alert.alerts());
}

/// 100,000 devices that a host invents, before and after it takes the address of the gateway, which has a name.
#[test]
fn a_storm_hides_no_takeover() {
    const GATEWAY: Mac = [0, 8, 0xe1, 0xff, 0, 1];
    const THIEF: Mac = [0, 8, 0xe1, 0xff, 0, 2];
    let alert = Alert::new();
    let known = save(alert.directory.path(), "known", b"00:08:e1:ff:00:01 gateway\n");
    let kinds = "kinds = [\"new_device\", \"changed\", \"duplicate\"]\n";
    alert.config(&format!("known = {known:?}\n{}{kinds}", alert.appending_channel()));
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    let mut claim = |time, mac, ip| {
        let frame = Arp::request(mac, ip, [192, 0, 2, 254].into()).frame();
        file.packet(at(time), &frame).unwrap();
    };
    let address = Ipv4Addr::new(192, 0, 2, 1);
    claim(1000, GATEWAY, address);
    for number in 0..100_000_u32 {
        if number == 50_000 {
            claim(1100, THIEF, address);
        }
        let [_, a, b, c] = number.to_be_bytes();
        claim(1001 + number / 1000, [0, 8, 0xe2, a, b, c], Ipv4Addr::from(0x0a00_0000 + number));
    }
    collect(&alert.ring, &file.finish().unwrap(), &["-q", "-L", "131072"]).ok();
    alert.once();
    let alerts = alert.alerts();
    let taken: Vec<_> = alerts.iter().filter(|report| report["ip"] == "192.0.2.1").collect();
    let is_of_thief = |report: &&&Value| report["mac"] == "00:08:e1:ff:00:02";
    let changed = taken.iter().filter(is_of_thief).find(|report| report["kind"] == "changed");
    assert!(changed.is_some(), "a message of its own: {taken:?}");
    assert!(alerts.len() < 20, "{alerts:?}");
    let digest = alerts.iter().find(|report| report["kind"] == "digest").unwrap();
    assert!(digest["count"].as_u64() > Some(99_000), "{digest}");
}

/// A host forges the MAC of the gateway, which has a name, at addresses that are free: in frames with it, for a MAC that no
/// host has; and to take these addresses from it. Neither hides that it then takes the gateway's own address.
#[test]
fn forged_takeovers_hide_no_true_one() {
    const GATEWAY: Mac = [0, 8, 0xe1, 0xff, 0, 1];
    const THIEF: Mac = [0, 8, 0xe1, 0xff, 0, 2];
    for names_no_host in [true, false] {
        let alert = Alert::new();
        let known = save(alert.directory.path(), "known", b"00:08:e1:ff:00:01 gateway\n");
        alert.config(&format!("known = {known:?}\n{}", alert.appending_channel()));
        let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
        let mut claim = |time, mac, ip, source| {
            let arp = Arp::request(mac, ip, [192, 0, 2, 254].into());
            file.packet(at(time), &arp.on(&Ethernet::from(source))).unwrap();
        };
        let address = Ipv4Addr::new(192, 0, 2, 1);
        claim(1000, GATEWAY, address, GATEWAY);
        for number in 0..60_u32 {
            let free = Ipv4Addr::from(0x0a00_0000 + number);
            match names_no_host {
                true => claim(1100 + number, [0xff; 6], free, GATEWAY),
                false => {
                    claim(1100 + number, GATEWAY, free, GATEWAY);
                    claim(1101 + number, THIEF, free, THIEF);
                }
            }
        }
        claim(1200, THIEF, address, THIEF);
        collect(&alert.ring, &file.finish().unwrap(), &["-q"]).ok();
        alert.once();
        let alerts = alert.alerts();
        let digest = alerts.iter().find(|report| report["kind"] == "digest").unwrap();
        let kind = if names_no_host { "broadcast" } else { "changed" };
        let forged = alerts.iter().filter(|report| report["kind"] == kind).count() as u64;
        assert!(forged + digest["count"].as_u64().unwrap() >= 60, "{alerts:?}");
        let of_gateway = alerts.iter().filter(|report| report["ip"] == "192.0.2.1");
        let is_taken = |report: &&Value| report["kind"] == "changed";
        assert_eq!(of_gateway.filter(is_taken).count(), 1, "a message of its own: {alerts:?}");
    }
}

/// Its own disk is full: the alert about that is sent without being stored.
#[test]
fn a_full_disk_is_an_alert() {
    if !rustix::process::geteuid().is_root() {
        return skip("mounting needs root");
    }
    let alert = Alert::new();
    let disk = Mount::new(&alert.path("state"), "size=24m,mode=777");
    alert.config(&alert.appending_channel());
    alert.publish(1..3);
    let running = alert.start();
    wait_until("the first alerts", || notes(&alert, "new_device").len() == 2);
    disk.fill();
    alert.publish(3..200);
    wait_until("the disk is reported", || !notes(&alert, "full").is_empty());
    let full = notes(&alert, "full").remove(0);
    assert!(full.contains("disk is full"), "{full}");
    disk.make_room();
    wait_until("it is over", || {
        notes(&alert, "full").iter().any(|note| note.starts_with("over: "))
    });
    running.stop().ok();
}
