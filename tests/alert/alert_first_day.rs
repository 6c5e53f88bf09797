//! The first day of `aw-alert`, and what is sent alone beside a digest: the news reach the user, by name.
#![forbid(unsafe_code)]

use std::fs;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use aw_tests::alerting::Alert;
use aw_tests::capture_file::save;
use aw_tests::frames::Arp;
use aw_tests::rig::{Run, run};
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

/// Kind and address of each alert, in order.
fn summaries(alerts: &[Value]) -> Vec<String> {
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or("-").to_owned();
    alerts.iter().map(|alert| text(alert, "kind") + " " + &text(alert, "ip")).collect()
}

fn import(alert: &Alert, name: &str, text: &str) {
    let file = save(alert.directory.path(), name, text.as_bytes());
    run(alert.command(&["import", &file])).ok();
}

/// With these devices, it runs until it has sent so many alerts; returns these, and its standard error.
fn alerts(alert: &Alert, running: Run, number: usize) -> (Vec<Value>, String) {
    running.wait_until("all are sent", || alert.alerts().len() >= number);
    let stderr = running.stop().ok().stderr;
    (alert.alerts(), stderr)
}

/// 31 devices on the first day: one message with names and makers. What a host does to others there is reported at once, and so
/// is the first new device of the next day.
#[test]
fn the_devices_of_the_first_day_are_one_message() {
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    import(&alert, "ethercodes.dat", "0:8:e1\tMaker One\n");
    import(&alert, "ethers", "00:08:e1:00:00:03 printer\n");
    let begin = now() - 2 * DAY;
    let mut frames: Vec<_> = (1..=31).map(|n| claim(begin + u32::from(n), n, n)).collect();
    frames.push(claim(begin + 1000, 2, 1));
    frames.push(claim(begin + 2000, 1, 1));
    frames.push(claim(begin + DAY + 100, 40, 40));
    alert.publish_frames(&frames, &[]);
    let (alerts, stderr) = alerts(&alert, alert.start_with(&[]), 4);
    let expected = ["changed 10.0.0.1", "flip_flop 10.0.0.1", "learned -", "new_device 10.0.0.40"];
    assert_eq!(summaries(&alerts), expected);
    let day = &alerts[2];
    assert_eq!(day["summary"], "31 devices on pcap: Maker One, printer");
    let message = day["message"].as_str().unwrap();
    assert!(
        message.starts_with("31 devices on pcap: 10.0.0.1 00:08:e1:00:00:01 pcap (Maker One), ")
    );
    assert!(
        message.contains(" 10.0.0.3 00:08:e1:00:00:03 pcap [printer] (Maker One), "),
        "{message}"
    );
    assert!(message.ends_with(" 10.0.0.31 00:08:e1:00:00:1f pcap (Maker One)"), "{message}");
    assert_eq!((&day["count"], day["devices"].as_array().map(Vec::len)), (&31.into(), Some(31)));
    let begun = "UTC: new devices are reported then in one message (--learn 0 reports each)";
    assert_eq!(stderr.matches(begun).count(), 1, "{stderr}");
    // The next start has no first day.
    alert.publish_frames(&[claim(now(), 41, 41)], &[]);
    let running = alert.start_with(&[]);
    running.wait_until("a new device", || {
        summaries(&alert.alerts()).contains(&"new_device 10.0.0.41".to_owned())
    });
    assert!(!running.stop().ok().stderr.contains("learning until"));
}

/// Names and addresses are those at its end, no event is needed for it, and `--learn 0` ends it.
#[test]
fn the_first_day_ends_by_the_clock_or_by_an_option() {
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    alert.publish_frames(&[claim(now() - 2 * DAY, 1, 1)], &[]);
    let running = alert.start_with(&[]);
    running.wait_until("the day is over", || !alert.alerts().is_empty());
    running.stop().ok();
    assert_eq!(alert.alerts()[0]["summary"], "1 device on pcap");

    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let seen = |number| alert.publish_frames(&[claim(now(), number, number)], &[]);
    let running = alert.start_with(&[]);
    seen(1);
    running.stderr.wait_for("learning until ");
    running.stop().ok();
    // A restart learns on, until its end.
    let running = alert.start_with(&[]);
    seen(2);
    running.stderr.wait_for("learning until ");
    running.stop().ok();
    assert_eq!(alert.alerts(), [] as [Value; 0], "no device is reported yet");
    seen(3);
    let (alerts, _) = alerts(&alert, alert.start(), 2);
    assert_eq!(alerts[0]["message"].as_str().unwrap().matches("00:08:e1:").count(), 2);
    assert_eq!(summaries(&alerts), ["learned -", "new_device 10.0.0.3"]);
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
        assert!(!running.stop().ok().stderr.contains("learning until"));
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
    frames.push(claim(begin + 2 * DAY, 2, 1));
    frames.push(claim(begin + 2 * DAY + 7200, 1, 1));
    alert.publish_frames(&frames, &[]);
    let (alerts, _) = alerts(&alert, alert.start_with(&[]), 7);
    let flip = "flip_flop 10.0.0.1";
    assert_eq!(summaries(&alerts), ["changed 10.0.0.1", flip, flip, flip, "learned -", flip, flip]);
}

/// Who has an imported name is not announced as new, whatever list the name is from.
#[test]
fn a_device_with_a_name_is_not_new() {
    for (file, text) in [
        ("ethers", "00:08:e1:00:00:01 printer\n"),
        ("macupd_tracker.conf", "[MACLIST]\n00:08:e1:00:00:01|printer\n"),
    ] {
        let alert = Alert::new();
        alert.config(&(alert.appending_channel() + "kinds = [\"new_device\"]\n"));
        import(&alert, file, text);
        alert.publish(1..3);
        alert.once();
        assert_eq!(summaries(&alert.alerts()), ["new_device 10.0.0.2"], "{file}");
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
        assert!(
            digest["message"].as_str().unwrap().contains(&format!("1 flip flop, ")),
            "{digest}"
        );
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
