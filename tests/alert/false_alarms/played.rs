//! Plays a scene: one collector for each sensor, then aw-alert with a channel and without any other setting.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aw_tests::capture_file::save;
use aw_tests::collect::{collect, json};
use aw_tests::rig::{program, run};
use aw_tests::ring::Ring;
use aw_tests::scenarios::Scenario;
use serde_json::Value;

/// How often each alert was reported: kind, address and MAC, and whether it was in the digest.
pub type Alerts = BTreeMap<(String, bool), usize>;

/// Labels of the kinds that a channel gets by default, in printed lines, and the kinds.
const KINDS: [(&str, &str); 10] = [
    ("new device", "new_device"),
    ("unknown device", "unknown_device"),
    ("returned device", "returned"),
    ("duplicate address", "duplicate"),
    ("changed ethernet address", "changed"),
    ("flip flop", "flip_flop"),
    ("reused old ethernet address", "reused_old"),
    ("ethernet broadcast", "broadcast"),
    ("silent device", "silent"),
    ("device is back", "back"),
];

/// What aw-alert reports of a scene. With the environment variable AW_SCENES, the captures are written to that directory, for
/// tcpdump and for replays by hand.
#[track_caller]
pub fn play(scene: &Scenario) -> Alerts {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let rings: Vec<Ring> = scene.captures.iter().map(|_| Ring::new()).collect();
    for (number, (capture, ring)) in scene.captures.iter().zip(&rings).enumerate() {
        let host = format!("sensor{number}");
        let options = ["-q", "-L", "65536", "--as", "eth0", "--hostname", &host];
        collect(ring, capture, &options).ok();
        if let Some(directory) = std::env::var_os("AW_SCENES") {
            save(directory.as_ref(), &format!("{}.{number}.pcap", scene.name), capture);
        }
    }
    // The burst is that of the channel, not of the scene: a replay of days takes less than a second.
    let path = directory.path().join("sent");
    let script = format!("#!/bin/sh\nexec cat >> {}\n", path.display());
    let script = save(directory.path(), "send", script.as_bytes());
    let text = format!(
        "[[channel]]\nname = \"all\"\nburst = 100000\ncommand = [\"/bin/sh\", {script:?}]\n"
    );
    let config = save(directory.path(), "alert.toml", text.as_bytes());
    let mut command = program("aw-alert", &["--once", "--print", "--learn", "1d", "-c", &config]);
    command.arg("--state-dir").arg(directory.path().join("state")).env("TZ", "UTC");
    for ring in &rings {
        command.args(["--ring", ring.name()]);
    }
    let ended = run(command).ok();
    let mut lines = ended.stderr.lines().filter(|line| line.contains("lost"));
    assert!(lines.all(|line| line.ends_with(" 0 lost")), "the ring is too small: {}", ended.stderr);
    let sent = std::fs::read_to_string(&path).unwrap_or_default();
    count(&ended.stdout, &sent)
}

/// All alerts are printed. Those that were sent at once are JSON of their own; the others were in the digest.
fn count(printed: &str, sent: &str) -> Alerts {
    let mut at_once: BTreeMap<String, usize> = BTreeMap::new();
    let mut learned = Vec::new();
    let is_digest = |alert: &Value| alert["kind"] == "digest" || alert["digest"] == true;
    for alert in sent.lines().map(json).filter(|alert| !is_digest(alert)) {
        let field =
            |name: &str| alert[name].as_str().filter(|text| !text.is_empty()).unwrap_or("-");
        if field("kind") == "learned" {
            learned.extend(alert["message"].as_str().map(learned_addresses));
            continue;
        }
        *at_once.entry([field("kind"), field("ip"), field("mac")].join(" ")).or_default() += 1;
    }
    let mut alerts = Alerts::new();
    let is_learned = |line: &&str| line.contains(" learned: ");
    let printed_learned: Vec<_> =
        printed.lines().filter(is_learned).map(learned_addresses).collect();
    assert_eq!(printed_learned, learned, "sent and printed");
    alerts.extend(learned.into_iter().map(|addresses| ((addresses, false), 1)));
    for line in printed.lines().filter(|line| !is_learned(line)) {
        let alert = parsed(line);
        let left = at_once.get_mut(&alert).filter(|left| **left > 0);
        let digest = left.map(|left| *left -= 1).is_none();
        *alerts.entry((alert, digest)).or_default() += 1;
    }
    let left: Vec<_> = at_once.into_iter().filter(|(_, left)| *left > 0).collect();
    assert!(left.is_empty(), "sent and not printed: {left:?}\n{printed}");
    alerts
}

/// The addresses in the message at the end of the learning period.
fn learned_addresses(line: &str) -> String {
    let addresses = line.split_whitespace().filter(|word| word.parse::<IpAddr>().is_ok());
    format!("learned {} -", addresses.collect::<Vec<_>>().join(","))
}

/// A line `TIME LABEL IP MAC ...` as `kind ip mac`.
#[track_caller]
pub fn parsed(line: &str) -> String {
    let (_, rest) = line.split_once(' ').expect("a time");
    let kind = KINDS.iter().find_map(|(label, kind)| Some((kind, rest.strip_prefix(label)?)));
    let (kind, rest) = kind.unwrap_or_else(|| panic!("no kind that is known: {line}"));
    let is_mac = |word: &&str| word.len() == 17 && word.matches(':').count() == 5;
    // The note of a message without a network follows the MAC: `00:1b:21:00:00:0a: not seen`.
    let words: Vec<_> =
        rest.split_whitespace().map(|word| word.strip_suffix(':').unwrap_or(word)).collect();
    let mac = words.iter().copied().find(is_mac).unwrap_or("-");
    let ip = words.first().filter(|word| word.parse::<IpAddr>().is_ok()).copied().unwrap_or("-");
    format!("{kind} {ip} {mac}")
}
