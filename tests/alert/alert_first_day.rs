//! The first day of `aw-alert`, and what is sent alone beside a digest: the news reach the user, by name.
#![forbid(unsafe_code)]

use std::fs;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use aw_tests::alerting::Alert;
use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at, save};
use aw_tests::collect::collect;
use aw_tests::frames::{Arp, Ethernet, Mac};
use aw_tests::rig::{Run, run};
use rusqlite::Connection;
use serde_json::Value;

const DAY: u32 = 86_400;

fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as u32
}

/// A device 00:08:e1:00:00:N claims 10.0.0.IP.
fn claim(time: u32, number: u8, ip: u8) -> (u32, Arp) {
    let address = Ipv4Addr::new(10, 0, 0, ip);
    (time, Arp::request([0, 8, 0xe1, 0, 0, number], address, [192, 0, 2, 254].into()))
}

/// The message in a frame of another MAC.
fn publish_from(alert: &Alert, source: Mac, (time, arp): (u32, Arp)) {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory");
    file.packet(at(time), &arp.on(&Ethernet::from(source))).expect("memory");
    collect(&alert.ring, &file.finish().expect("memory"), &["-q"]).ok();
}

/// Kind and address of each alert, in order.
fn summaries(alerts: &[Value]) -> Vec<String> {
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or("-").to_owned();
    alerts.iter().map(|alert| text(alert, "kind") + " " + &text(alert, "ip")).collect()
}

fn import(alert: &Alert, name: &str, text: &str) {
    let file = save(alert.directory.path(), name, text.as_bytes());
    run(alert.command(&["import", &file])).ok();
}

/// It runs until it has sent so many messages; returns these, and its standard error.
fn alerts(alert: &Alert, running: Run, number: usize) -> (Vec<Value>, String) {
    running.wait_until("all are sent", || alert.alerts().len() >= number);
    let stderr = running.stop().ok().stderr;
    (alert.alerts(), stderr)
}

/// Between two starts, lets the day be over.
fn end_day(alert: &Alert) {
    let database = Connection::open(alert.path("state/aw-alert.db")).unwrap();
    let update = "UPDATE note SET value = 0 WHERE key = 'first day is left' AND value > 80000";
    assert_eq!(database.execute(update, []).unwrap(), 1, "it has begun");
}

/// 31 devices on the first day: one message with names and makers. What a host does to others there is reported at once, and so
/// is the first new device after it. The times of the events do not count: those of a ring that is older than a day, or of a clock
/// that is not set.
#[test]
fn the_devices_of_the_first_day_are_one_message() {
    for begin in [now() - 3 * DAY, 30] {
        let alert = Alert::new();
        alert.config(&alert.appending_channel());
        import(&alert, "ethercodes.dat", "0:8:e1\tMaker One\n");
        import(&alert, "ethers", "00:08:e1:00:00:03 printer\n");
        let mut frames: Vec<_> = (1..=31).map(|n| claim(begin + u32::from(n), n, n)).collect();
        frames[30].0 += DAY + 100;
        frames.push(claim(begin + DAY + 1000, 2, 1));
        frames.push(claim(begin + DAY + 2000, 1, 1));
        alert.publish_frames(&frames, &[]);
        let (begun, stderr) = alerts(&alert, alert.start_with(&[]), 3);
        assert_eq!(summaries(&begun), ["learning -", "changed 10.0.0.1", "flip_flop 10.0.0.1"]);
        let line = "): one list has them then; all other alerts are sent at once";
        let text = begun[0]["message"].as_str().unwrap();
        assert!(
            text.contains(" works on ") && text.contains(", and is learning for 24 h. "),
            "{text}"
        );
        let tomorrow = "one list of your devices; after that, a message for each new one.";
        assert!(text.contains(". Tomorrow about ") && text.contains(tomorrow), "{text}");
        assert!(text.contains("OPTIONS=--learn 0 in /etc/default/aw-alert, then "), "{text}");
        let summary = begun[0]["summary"].as_str().unwrap();
        assert!(
            summary.contains(" works: new devices come in one list tomorrow about "),
            "{summary}"
        );
        let line = format!("{line} (--learn 0 reports each)");
        assert_eq!(stderr.matches(&line).count(), 1, "{stderr}");
        end_day(&alert);
        alert.publish_frames(&[claim(begin + DAY + 3000, 40, 40)], &[]);
        let (ended, _) = alerts(&alert, alert.start_with(&[]), 5);
        assert_eq!(summaries(&ended)[3..], ["learned -", "new_device 10.0.0.40"]);
        let day = &ended[3];
        assert_eq!(day["summary"], "31 devices on pcap: Maker One, printer");
        let message = day["message"].as_str().unwrap();
        assert!(
            message
                .starts_with("31 devices on pcap: 10.0.0.1 00:08:e1:00:00:01 pcap (Maker One), ")
        );
        assert!(
            message.contains(" 10.0.0.3 00:08:e1:00:00:03 pcap [printer] (Maker One), "),
            "{message}"
        );
        assert!(message.ends_with(" 10.0.0.31 00:08:e1:00:00:1f pcap (Maker One)"), "{message}");
        assert_eq!(
            (&day["count"], day["devices"].as_array().map(Vec::len)),
            (&31.into(), Some(31))
        );
        // The next start has no first day; one without its state has, and says so.
        alert.publish_frames(&[claim(now(), 41, 41)], &[]);
        let (_, stderr) = alerts(&alert, alert.start_with(&[]), 6);
        assert!(!stderr.contains("learning new devices"), "{stderr}");
        fs::remove_dir_all(alert.path("state")).unwrap();
        let (lost, _) = alerts(&alert, alert.start_with(&[]), 9);
        let again =
            ["new_device 10.0.0.41", "learning -", "changed 10.0.0.1", "flip_flop 10.0.0.1"];
        assert_eq!(summaries(&lost)[5..], again);
    }
}

/// A host that invents devices keeps no other one out of the message, before or after them, nor does a large office. Each device
/// with the address that it had first, and the sender, if that was another one; also after another device took the address.
#[test]
fn a_flood_on_the_first_day_hides_no_device() {
    let alert = Alert::new();
    let other = alert.appending_channel().replace("\"append\"", "\"other\"");
    let other = other + "networks = [\"eth9\"]\n";
    alert.config(&(alert.appending_channel() + &other));
    let invented = |number: u16, time| {
        let [a, b] = number.to_be_bytes();
        let arp = Arp::request([2, 0, 0, 0, a, b], [10, 9, a, b].into(), [192, 0, 2, 254].into());
        (time, arp)
    };
    let mut frames = vec![claim(1000, 1, 1)];
    frames.extend((0..300).map(|number| invented(number, 1001)));
    frames.push(claim(1002, 2, 2));
    frames.push(claim(1003, 2, 1)); // it takes the address of the first device
    alert.publish_frames(&frames, &[]);
    publish_from(&alert, [2, 0, 0, 0, 0, 7], claim(1004, 3, 3));
    alerts(&alert, alert.start_with(&[]), 3); // to both channels, and a takeover
    end_day(&alert);
    let (ended, _) = alerts(&alert, alert.start_with(&[]), 12);
    let lists: Vec<_> = ended.iter().filter(|alert| alert["kind"] == "learned").collect();
    let text: String = lists.iter().map(|list| list["message"].as_str().unwrap()).collect();
    assert_eq!(lists.len(), 9, "{text}");
    for (number, list) in (1..).zip(&lists) {
        let summary = list["summary"].as_str().unwrap();
        assert_eq!(summary, format!("303 devices on pcap ({number} of 9)"));
    }
    for device in [
        ": 10.0.0.1 00:08:e1:00:00:01 pcap, ",
        ", 10.0.0.2 00:08:e1:00:00:02 pcap, ",
        ", 10.0.0.3 00:08:e1:00:00:03 pcap: sent by 02:00:00:00:00:07",
    ] {
        assert!(text.contains(device), "{device}: {text}");
    }
    assert!((0..300_u16).all(|number| {
        let [a, b] = number.to_be_bytes();
        text.contains(&format!(" 10.9.{a}.{b} 02:00:00:00:{a:02x}:{b:02x} "))
    }));
}

/// Names and addresses are those at its end, no event is needed for it, and `--learn 0` ends it.
#[test]
fn the_first_day_ends_by_itself_or_by_an_option() {
    let alert = Alert::new();
    let names = alert.path("names");
    fs::write(&names, "").unwrap();
    alert.config(&alert.appending_channel());
    let (name, address) = ("00:08:e1:00:00:01 laptop\n", Ipv4Addr::new(10, 0, 0, 1));
    let probe = Arp::probe([0, 8, 0xe1, 0, 0, 1], address);
    alert.publish_frames(&[(now(), probe)], &[]);
    let options = ["--names", names.to_str().unwrap()];
    alerts(&alert, alert.start_with(&options), 1);
    alert.publish_frames(&[claim(now(), 1, 1)], &[]);
    alert.once();
    end_day(&alert);
    fs::write(&names, name).unwrap();
    let (ended, _) = alerts(&alert, alert.start_with(&options), 2);
    assert_eq!(summaries(&ended), ["learning -", "learned -"]);
    assert_eq!(ended[1]["summary"], "1 device on pcap: laptop");
    let line = "1 device on pcap: 10.0.0.1 00:08:e1:00:00:01 pcap [laptop]";
    assert_eq!(ended[1]["message"], line);

    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let seen = |number| alert.publish_frames(&[claim(now(), number, number)], &[]);
    let running = alert.start_with(&[]);
    seen(1);
    running.stderr.wait_for("learning new devices until ");
    running.stop().ok();
    // A restart learns on, until its end.
    let running = alert.start_with(&[]);
    running.stderr.wait_for("learning new devices until ");
    seen(2);
    running.stop().ok();
    seen(3);
    let (alerts, stderr) = alerts(&alert, alert.start(), 3);
    let over =
        "--learn is set: the first day is over, and its devices are reported now in one list";
    assert!(stderr.contains(over) && !stderr.contains("learning new devices"), "{stderr}");
    let list = alerts[1]["message"].as_str().unwrap();
    let known = list.matches("00:08:e1:").count() as u8; // the second one may come after its end
    assert!(known == 1 || known == 2, "{list}");
    let new = format!("new_device 10.0.0.{}", known + 1);
    assert_eq!(summaries(&alerts)[..3], ["learning -", "learned -", &*new]);
}

/// An aw-alert that knows devices has no first day: of an earlier release, or imported. Nor with `--once`, nor as arpwatch.
#[test]
fn who_knows_devices_has_no_first_day() {
    for known in [true, false] {
        let alert = Alert::new();
        alert.config(&alert.appending_channel());
        match known {
            true => import(&alert, "arp.dat", "0:8:e1:0:0:9\t10.0.0.9\t1700000000\tnas\teth0\n"),
            false => {
                alert.publish(1..2);
                alert.once();
                assert_eq!(summaries(&alert.alerts()), ["new_device 10.0.0.1"]);
                fs::remove_file(alert.path("alerts")).expect("it was written");
            }
        }
        alert.publish_frames(&[claim(now(), 2, 2)], &[]);
        let running = alert.start_with(&[]);
        running.wait_until("it is reported", || {
            summaries(&alert.alerts()).contains(&"new_device 10.0.0.2".to_owned())
        });
        assert!(!running.stop().ok().stderr.contains("learning new devices"));
    }
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    alert.publish_frames(&[claim(now(), 2, 2)], &[]);
    let (alerts, _) = alerts(&alert, alert.start_with(&["--dialect", "arpwatch"]), 1);
    assert_eq!(summaries(&alerts), ["new_station 10.0.0.2"]);
}

/// What the first day does not change: who shares an address then is reported later, too.
#[test]
fn the_first_day_makes_no_takeover_normal() {
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let begin = now() - 4 * DAY;
    let mut frames = vec![claim(begin, 1, 1)];
    for number in 1..=4_u8 {
        let owner = if number % 2 == 0 { 1 } else { 2 };
        frames.push(claim(begin + u32::from(number) * 7200, owner, 1));
    }
    alert.publish_frames(&frames, &[]);
    alerts(&alert, alert.start_with(&[]), 5);
    end_day(&alert);
    let later = [claim(begin + 2 * DAY, 2, 1), claim(begin + 2 * DAY + 7200, 1, 1)];
    alert.publish_frames(&later, &[]);
    let (alerts, _) = alerts(&alert, alert.start_with(&[]), 8);
    let flip = "flip_flop 10.0.0.1";
    let first = ["learning -", "changed 10.0.0.1", flip, flip, flip];
    assert_eq!(summaries(&alerts), [&first[..], &["learned -", flip, flip]].concat());
}

/// A name, of whatever list, is in the alert about a new device, and silences none: neither that, nor a claim at a MAC that no host has.
#[test]
fn a_device_with_a_name_is_new_with_its_name() {
    let lines = "00:08:e1:00:00:01 printer\nff:ff:ff:ff:ff:ff all\n";
    for file in ["ethers", "macupd_tracker.conf", "known", "names"] {
        let alert = Alert::new();
        let mut options = vec!["--once".to_owned()];
        let mut config = alert.appending_channel() + "kinds = [\"new_device\", \"broadcast\"]\n";
        let path = save(alert.directory.path(), file, lines.as_bytes());
        match file {
            "ethers" => import(&alert, file, lines),
            "known" => config = format!("known = {path:?}\n{config}"),
            "names" => options.extend(["--names".to_owned(), path]),
            _ => import(&alert, file, &format!("[MACLIST]\n{}", lines.replace(' ', "|"))),
        }
        let config = alert.config(&config);
        options.extend(["-c".to_owned(), config]);
        let broadcast = Arp::request([0xff; 6], [10, 0, 0, 1].into(), [192, 0, 2, 254].into());
        alert.publish_frames(&[claim(1000, 1, 1), claim(1001, 2, 2)], &[]);
        publish_from(&alert, [0, 8, 0xe1, 0, 0, 2], (1002, broadcast));
        let options: Vec<_> = options.iter().map(|option| &**option).collect();
        run(alert.command(&options)).ok();
        let alerts = alert.alerts();
        let expected = ["new_device 10.0.0.1", "new_device 10.0.0.2", "broadcast 10.0.0.1"];
        assert_eq!(summaries(&alerts), expected, "{file}");
        assert_eq!(alerts[0]["name"], "printer", "{file}");
    }
}

/// A channel whose storm puts a flip flop into a digest gets the next one, whatever else had the first: another channel, or a terminal.
#[test]
fn a_message_elsewhere_silences_no_channel() {
    for (has_other, print) in [(true, false), (false, true)] {
        let alert = Alert::new();
        let channel = alert.appending_channel();
        let storm = channel.clone() + "digest_exempt = []\nburst = 3\nwindow = 3600\n";
        let other = "[[channel]]\nname = \"other\"\ncommand = [\"/bin/true\"]\nburst = 1000\n";
        let config = alert.config(&(storm + if has_other { other } else { "" }));
        let mut frames: Vec<_> = (1..=10).map(|number| claim(1000, number, number)).collect();
        frames.extend([claim(1001, 2, 1), claim(1100, 1, 1)]);
        alert.publish_frames(&frames, &[]);
        let print = if print { &["--print"][..] } else { &[] };
        run(alert.command(&[&["--once", "-c", &config], print].concat())).ok();
        let is_flip = |alert: &Value| alert["kind"] == "flip_flop";
        assert!(!alert.alerts().iter().any(is_flip));
        alert.config(&channel);
        alert.publish_frames(&[claim(1200, 2, 1)], &[]);
        alert.once();
        assert_eq!(alert.alerts().iter().filter(|alert| is_flip(alert)).count(), 1);
    }
}

/// One flip flop among 278 new devices is a message of its own. Without that exemption it is the first sample of the digest, and
/// the next one within the hour is reported.
#[test]
fn a_flip_flop_among_new_devices() {
    for exempt in [true, false] {
        let alert = Alert::new();
        let keys = if exempt { "" } else { "digest_exempt = []\n" };
        let storm = alert.appending_channel() + keys + "burst = 3\nwindow = 3600\n";
        alert.config(&storm);
        let mut frames = vec![claim(1000, 250, 250), claim(2000, 251, 250)];
        for number in 0..278_u32 {
            let [.., a, b] = number.to_be_bytes();
            let mac = [0, 8, 0xe2, 0, a, b];
            frames.push((
                2100,
                Arp::request(mac, Ipv4Addr::from(0x0a01_0000 + number), [192, 0, 2, 254].into()),
            ));
        }
        frames.push(claim(2200, 250, 250));
        alert.publish_frames(&frames, &[]);
        alert.once();
        let alerts = alert.alerts();
        let flips =
            |alerts: &[Value]| alerts.iter().filter(|alert| alert["kind"] == "flip_flop").count();
        assert_eq!(flips(&alerts), usize::from(exempt), "{alerts:?}");
        let digest = alerts.iter().find(|alert| alert["kind"] == "digest").expect("one");
        if exempt {
            continue;
        }
        let sample = "flip flop 10.0.0.250 00:08:e1:00:00:fa (00:08:e1:00:00:fb) pcap";
        assert!(digest["samples"][0].as_str().unwrap().ends_with(sample), "{digest}");
        assert!(digest["message"].as_str().unwrap().contains("1 flip flop, "), "{digest}");
        alert.config(&alert.appending_channel());
        // 100 s later, and again: within the hour of `quiet`, which begins with the one that was sent.
        for time in [2300, 2400] {
            let number = if time == 2300 { 251 } else { 250 };
            alert.publish_frames(&[claim(time, number, 250)], &[]);
            alert.once();
            assert_eq!(flips(&alert.alerts()), 1, "{time}");
        }
    }
}

/// The kinds and MACs of the alerts that another MAC takes an address.
fn takeovers(alert: &Alert) -> Vec<(String, String)> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let all = alert.alerts().into_iter().map(|one| (text(&one, "kind"), text(&one, "mac")));
    all.filter(|(kind, _)| kind != "learning" && kind != "learned" && kind != "new_device")
        .collect()
}

const OWNER: &str = "00:08:e1:00:00:01";
const ROGUE: &str = "00:08:e1:00:00:02";

/// On an empty state, an attacker speaks before the idle router whose MAC the configuration has: it is reported at once, also while all is
/// learned, and the router is no thief. The first MAC of the state never makes it one.
#[test]
fn the_first_mac_is_not_that_of_the_configuration() {
    for learn in ["1h", "0"] {
        let alert = Alert::new();
        let config = format!("routers = [\"10.0.0.1 {OWNER}\"]\n{}", alert.appending_channel());
        let config = alert.config(&config);
        let known = || run(alert.command(&["-c", &config, "known"])).ok().stdout;
        // What is in the ring is not read.
        alert.publish_frames(&[claim(now() - 60, 1, 1)], &[]);
        let running = alert.start_with(&["--from", "now", "--learn", learn]);
        running.wait_until("it reads the ring", || {
            alert.publish_frames(&[claim(now(), 2, 1)], &[]);
            !takeovers(&alert).is_empty()
        });
        let taken = ("gateway_taken".to_owned(), ROGUE.to_owned());
        assert_eq!(
            takeovers(&alert),
            std::slice::from_ref(&taken),
            "once, however often it claims the address"
        );
        let one = alert.alerts().into_iter().find(|one| one["kind"] == "gateway_taken").unwrap();
        let note = one["note"].as_str().unwrap();
        let of_owner = format!(". `routers` has the MAC {OWNER} for 10.0.0.1, and not {ROGUE}. ");
        assert!(note.contains(&of_owner) && !note.contains("was the first one"), "{note}");
        alert.publish_frames(&[claim(now(), 1, 1)], &[]);
        running.wait_until("the router is back", || takeovers(&alert).len() > 1);
        let [first, (kind, mac)] = &*takeovers(&alert) else { panic!() };
        assert_eq!((first, &**mac), (&taken, OWNER));
        assert_ne!(kind, "gateway_taken");
        running.stop().ok();
        let shown = known();
        let (normal, reported) = shown.split_once("Reported, ").expect(&shown);
        assert!(normal.contains(OWNER) && !normal.contains(ROGUE), "{shown}");
        assert!(reported.contains(ROGUE) && !reported.contains(OWNER), "{shown}");
        let row = reported.lines().find(|line| line.contains(ROGUE)).unwrap();
        assert!(!row.ends_with(" -"), "it has the times of the rogue: {row}");
    }
}

/// A named address without a MAC: the first one that claims it counts as its owner's, which one message says, with what to write. `relearn`
/// forgets it.
#[test]
fn the_first_mac_of_a_named_address() {
    let alert = Alert::new();
    let config = format!("routers = [\"10.0.0.1\"]\n{}", alert.appending_channel());
    let config = alert.config(&config);
    let lists = || {
        let all = alert.alerts().into_iter();
        all.filter(|one| one["kind"] == "learned").collect::<Vec<_>>()
    };
    alert.publish_frames(&[claim(now(), 2, 1), claim(now(), 2, 1)], &[]);
    let learn = ["--learn", "1h"];
    let running = alert.start_with(&learn);
    running.wait_until("the message", || !lists().is_empty());
    let [list] = &*lists() else { panic!() };
    assert_eq!(list["summary"], format!("learned: 10.0.0.1 on pcap is claimed first by {ROGUE}"));
    let line = list["lines"][0].as_str().unwrap();
    let add = format!(
        ": compare it with the label of your router. If it is right, write routers = [\"10.0.0.1 {ROGUE}\"] in "
    );
    assert!(line.contains(&add), "{line}");
    running.stop().ok();
    // It is the owner now: the router is reported, until this is forgotten.
    alert.publish_frames(&[claim(now(), 1, 1)], &[]);
    let running = alert.start_with(&learn);
    running.wait_until("the other one", || !takeovers(&alert).is_empty());
    running.stop().ok();
    assert_eq!(takeovers(&alert), [("gateway_taken".to_owned(), OWNER.to_owned())]);
    assert_eq!(lists().len(), 1, "once");
    let done = run(alert.command(&["-c", &config, "relearn"])).ok().stdout;
    assert!(done.starts_with("pcap: 1 router or server forgotten\n"), "{done}");
    alert.publish_frames(&[claim(now(), 1, 1)], &[]);
    let running = alert.start_with(&learn);
    running.wait_until("it is first again", || lists().len() > 1);
    running.stop().ok();
    assert_eq!(lists()[1]["devices"][0], OWNER);
    assert_eq!(takeovers(&alert).len(), 1);
    let shown = run(alert.command(&["-c", &config, "known"])).ok().stdout;
    assert!(shown.contains(&format!("{OWNER} first ")) && !shown.contains(ROGUE), "{shown}");
    assert!(shown.contains("\nfirst: the first MAC that claimed the address"), "{shown}");
}
