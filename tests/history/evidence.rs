//! What a sighting proves: `aw-query` on the rows that `aw-sqlite` stored of probes, of answers without a MAC, of a clock
//! that was not set, and of two networks whose interfaces have one name.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::collect;
use aw_tests::feed::numbered_capture;
use aw_tests::frames::{Arp, station};
use aw_tests::history::{History, Row, addrwatch_database};
use aw_tests::rig::{run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, BEGIN, capture_frames, evidence};
use std::fs;
use std::net::Ipv4Addr;

fn history(frames: impl IntoIterator<Item = (u32, Vec<u8>)>) -> History {
    let (ring, history) = (Ring::new(), History::new());
    capture_frames(&ring, frames);
    run(history.command(&ring, &["--once"])).ok();
    history
}

fn mac(number: u8) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// A time of the answers, with seconds after the beginning.
fn time(seconds: u32) -> String {
    format!("2026-11-20T14:{:02}:{:02}.000000000+00:00", seconds / 60, seconds % 60)
}

/// The address that a scanner probes from 0.0.0.0 is that of the owner that answers.
#[test]
fn a_probe_is_no_claim() {
    let history = history(evidence());
    let who = ["mac", "how_sure", "others"];
    let at = |ip, second: u32| {
        let at = format!("@{}", BEGIN + second);
        history.answers(&["who", ip, "--at", &at], &who)
    };
    for second in [0, 3, 1500, 3300] {
        let sure = if second == 0 { "one-sided" } else { "sure" };
        assert_eq!(at("10.1.2.3", second), [format!("{} {sure} 0", mac(3))], "{second}");
    }
    let ip = ["mac", "first_seen", "last_seen", "count"];
    let period = format!("{} {} {} 12", mac(3), time(3), time(3303));
    assert_eq!(history.answers(&["ip", "10.1.2.3"], &ip), [period]);
    // No host ever claimed this one.
    assert_eq!(at("10.1.2.7", 1500), [format!("{} probed 0", mac(99))]);
    let nobody = run(history.query(&["ip", "10.1.2.7"]));
    assert_eq!(nobody.status.code(), Some(3));
    assert_eq!(
        nobody.stderr,
        "aw-query: no claims of 10.1.2.7, only 12 probes or questions in the whole history\n"
    );
    let scanner = run(history.query(&["mac", &mac(99)]));
    assert_eq!((scanner.status.code(), &*scanner.stdout), (Some(3), ""));
    assert!(
        scanner.stderr.contains("claimed no address (it probed 8) in the whole history"),
        "{}",
        scanner.stderr
    );
    let text = run(history.query(&["who", "10.1.2.7", "--at", "@1795184700"])).ok().stdout;
    assert!(text.contains("a probe asks whether the address is free, it is no claim"), "{text}");
    let changes = history.answers(&["changes"], &["change", "mac"]);
    assert!(!changes.iter().any(|change| change.contains(&mac(99))), "{changes:?}");
    assert!(changes.iter().all(|change| change.starts_with("new ")), "{changes:?}");
    let devices = history.answers(&["devices", "--count"], &["mac", "count", "addresses"]);
    assert!(devices.contains(&format!("{} 96 []", mac(99))), "{devices:?}");
    assert!(devices.contains(&format!("{} 12 [\"10.1.2.3\"]", mac(3))), "{devices:?}");
}

/// The period of a host that joins begins with its probe (RFC 5227, 2.1.1).
#[test]
fn a_probe_before_a_claim_counts() {
    let history = history(evidence());
    let ip = ["mac", "first_seen", "last_seen", "count"];
    let period = format!("{} {} {} 5", mac(5), time(1800), time(1806));
    assert_eq!(history.answers(&["ip", "10.1.2.50"], &ip), [period]);
    let at = format!("@{}", BEGIN + 1803);
    let who = ["mac", "how_sure", "seconds_before", "seconds_after"];
    let found = history.answers(&["who", "10.1.2.50", "--at", &at], &who);
    assert_eq!(found, [format!("{} sure 1 1", mac(5))]);
}

/// RFC 4861, 4.4: an answer to a unicast solicitation need not name the MAC.
#[test]
fn an_answer_without_a_mac() {
    let history = history(evidence());
    let who = |ip: &str, second: u32| {
        let at = format!("@{}", BEGIN + second);
        history.answers(&["who", ip, "--at", &at], &["mac", "how_sure"])
    };
    for second in [10, 1800, 3000, 3500] {
        assert_eq!(who("2001:db8::6", second), [format!("{} sure", mac(6))], "{second}");
    }
    let ip = ["mac", "first_seen", "last_seen", "count"];
    let period = |number, first, last, count| {
        [format!("{} {} {} {count}", mac(number), time(first), time(last))]
    };
    assert_eq!(history.answers(&["ip", "2001:db8::6"], &ip), period(6, 10, 3550, 60));
    let devices = history.answers(&["devices"], &["mac", "last_seen", "addresses"]);
    let device =
        |number, last, addresses: &str| format!("{} {} {addresses}", mac(number), time(last));
    assert!(devices.contains(&device(6, 3550, "[\"2001:db8::6\"]")), "{devices:?}");
    // A question alone proves nothing about a pairing that is not known.
    assert_eq!(who("2001:db8::7", 3000), [""; 0]);
    assert!(devices.contains(&device(7, 3550, "[]")), "{devices:?}");
    // The MAC of an extender does not overrule the one that the messages name.
    assert_eq!(who("2001:db8::9", 1800), [format!("{} sure", mac(9))]);
    assert_eq!(history.answers(&["ip", "2001:db8::9"], &ip), period(9, 150, 3510, 15));
    assert!(devices.contains(&device(8, 3560, "[]")), "{devices:?}");
    let changes = history.answers(&["changes"], &["address", "mac", "change"]);
    let of = |ip: &str| changes.iter().filter(|change| change.starts_with(ip)).collect::<Vec<_>>();
    assert_eq!(of("2001:db8::9"), [&format!("2001:db8::9 {} new", mac(9))]);
    assert_eq!(of("2001:db8::6").len(), 1);
    let later = ["changes", "--since", "2026-11-20 14:30"];
    assert_eq!(history.answers(&later, &["mac"]), [mac(5)]);
}

/// Sightings of 1970, when the clock was not set, belong to no duration.
#[test]
fn a_clock_that_was_not_set() {
    let claim = |second: u32, number: u8| {
        let ip = Ipv4Addr::new(10, 1, 2, number);
        (second, Arp::request(station(number.into()), ip, [10, 1, 2, 254].into()).frame())
    };
    let frames = [
        claim(BEGIN, 1),
        claim(30, 1),
        claim(40, 2),
        claim(41, 3),
        claim(BEGIN + 60, 1),
        claim(BEGIN + 120, 2),
    ];
    let history = history(frames);
    let devices =
        history.answers(&["devices", "--count"], &["mac", "first_seen", "last_seen", "count"]);
    assert_eq!(
        devices,
        [
            format!("{} {} {} 2", mac(2), time(120), time(120)),
            format!("{} {} {} 3", mac(1), time(0), time(60)),
            format!("{} null null 1", mac(3)),
        ]
    );
    let ip = ["first_seen", "last_seen", "count"];
    let of = |number: u8| history.answers(&["ip", &format!("10.1.2.{number}")], &ip);
    assert_eq!(of(1), [format!("{} {} 2", time(0), time(60))]);
    assert_eq!(of(2), [format!("{} {} 1", time(120), time(120))]);
    assert_eq!(of(3), ["null null 1"]);
    assert_eq!(
        history.answers(&["changes"], &["time", "address", "change", "before_last_seen"]),
        [
            "null 10.1.2.3 new null".to_owned(),
            format!("{} 10.1.2.1 new null", time(0)),
            format!("{} 10.1.2.2 new null", time(120))
        ]
    );
    let since = history.answers(&["changes", "--since", "2026-11-20 14:01:30"], &["address"]);
    assert_eq!(since, ["10.1.2.2"]);
    let at = format!("@{}", BEGIN + 100);
    let who = |number: u8, at: &str| {
        let ip = format!("10.1.2.{number}");
        history.answers(&["who", &ip, "--at", at], &["how_sure", "seen_before", "why"])
    };
    assert_eq!(who(2, &at), ["one-sided null seen 20 s after, never before"]);
    assert_eq!(who(3, &at), ["one-sided null seen before the clock was set, at an unknown time"]);
    // A question about 1970 itself, and a capture that is wholly of that time, have their own times.
    assert_eq!(
        who(2, "@42"),
        [
            "likely 1970-01-01T00:00:40.000000000+00:00 seen 2 s before and 20777 d 14 h after, not in between"
        ]
    );
    let (ring, simulated) = (Ring::new(), History::new());
    collect(&ring, &numbered_capture(1..4), &["-q"]).ok();
    run(simulated.command(&ring, &["--once"])).ok();
    let first = simulated.answers(&["devices"], &["first_seen"]);
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|time| time.starts_with("1970-01-01T00:00:0")), "{first:?}");
}

/// Two rings with eth0 each are two networks (two containers, or two sites with the same addresses).
#[test]
fn rings_are_networks() {
    let (rings, history) = ([Ring::new(), Ring::new()], History::new());
    for (ring, device) in rings.iter().zip([1, 2]) {
        sightings::capture(ring, &(0..20).map(|n| (60 * n, device, 3, 0)).collect::<Vec<_>>());
    }
    run(history.command(&rings[0], &["-m", rings[1].name(), "--once"])).ok();
    let at = ["who", sightings::ADDRESS, "--at", "2026-11-20 14:10"];
    let mut expected: Vec<String> = rings
        .iter()
        .zip([1, 2])
        .map(|(ring, device)| format!("{} sure eth0 here {}", mac(device), ring.name()))
        .collect();
    expected.sort_by_key(|row| row.rsplit(' ').next().map(str::to_owned));
    assert_eq!(history.answers(&at, &["mac", "how_sure", "interface", "host", "ring"]), expected);
    assert_eq!(history.answers(&["changes"], &["change"]), ["new", "new"]);
    assert_eq!(history.answers(&["ip", sightings::ADDRESS], &["count"]), ["20", "20"]);
    // The table shows the ring only where it differs.
    let heading = |arguments: &[&str]| {
        let text = run(history.query(arguments)).ok().stdout;
        text.lines().next().unwrap_or_default().to_owned()
    };
    assert!(heading(&at).ends_with("INTERFACE  VLAN  RING"), "{}", heading(&at));
    assert!(heading(&["mac", &mac(1)]).ends_with("INTERFACE  VLAN"));
}

/// Rows that addrwatch wrote have no ring: they belong to the only ring of their interface.
#[test]
fn imported_rows_belong_to_the_ring() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (rings, history) = ([Ring::new(), Ring::new()], History::new());
    let row = |minute: u32, interface: &str| -> Row {
        let second = i64::from(BEGIN - 3600 + 60 * minute);
        (second, interface.into(), 0, mac(1), sightings::ADDRESS.into(), 0)
    };
    let old = (0..60).flat_map(|minute| [row(minute, "eth0"), row(minute, "eth1")]);
    addrwatch_database(history.database(), old);
    let capture = |ring: &Ring, interface: &str| {
        let frame = Arp::request(station(1), [10, 1, 2, 3].into(), [10, 1, 2, 254].into()).frame();
        let mut pcap = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
        pcap.packet(at(BEGIN), &frame).unwrap();
        let options = ["-q", "--as", interface, "--hostname", host.trim()];
        collect(ring, &pcap.finish().unwrap(), &options).ok();
    };
    capture(&rings[0], "eth0");
    capture(&rings[1], "eth2");
    let output = history.start(&rings[0], &["-m", rings[1].name()]);
    let imported =
        "SELECT (SELECT count(*) FROM sighting) + (SELECT count(*) FROM recent_sighting)";
    wait_until("all rows", || history.value::<i64>(imported) == Some(122));
    output.stop().ok();
    let periods = || history.answers(&["ip", sightings::ADDRESS], &["interface", "count", "ring"]);
    let [one, two] = rings.each_ref().map(Ring::name);
    let mut expected = [format!("eth0 61 {one}"), "eth1 60 null".into(), format!("eth2 1 {two}")];
    let mut found = periods();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let changed = history.answers(&["changes", "--since", "2026-11-20 14:00"], &["interface"]);
    assert_eq!(changed, ["eth2"]);
    // A second ring with eth0: it is not known whose rows the old ones are.
    capture(&rings[1], "eth0");
    run(history.command(&rings[1], &["--once"])).ok();
    let mut found = periods();
    found.retain(|row| row.starts_with("eth0"));
    found.sort();
    let mut expected = [format!("eth0 1 {one}"), format!("eth0 1 {two}"), "eth0 60 null".into()];
    expected.sort();
    assert_eq!(found, expected);
}

/// addrwatch wrote true times long before 2020: without a ring, only a time before 2000 is one of a clock that was not set.
/// What is left out is said, and shown if the question names an earlier time.
#[test]
fn years_of_addrwatch() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (ring, history) = (Ring::new(), History::new());
    let days = (0..365).map(|day| 1_514_764_800 + 86_400 * day);
    let seconds = days.chain((0..31).map(|day| 1_704_067_200 + 86_400 * day)).chain([30]);
    let row = |(second, interface): (i64, &str)| -> Row {
        (second, interface.into(), 0, mac(1), sightings::ADDRESS.into(), 0)
    };
    let old = seconds.flat_map(|second| [row((second, "eth0")), row((second, "eth1"))]);
    addrwatch_database(history.database(), old);
    // Since the migration, eth0 has a ring; eth2 never had another program's rows.
    for interface in ["eth0", "eth2"] {
        let frame = Arp::request(station(1), [10, 1, 2, 3].into(), [10, 1, 2, 254].into()).frame();
        let mut pcap = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
        for second in [1_514_764_800, BEGIN] {
            pcap.packet(at(second), &frame).unwrap();
        }
        let options = ["-q", "--as", interface, "--hostname", host.trim()];
        collect(&ring, &pcap.finish().unwrap(), &options).ok();
    }
    let output = history.start(&ring, &["--retention", "10000"]);
    let imported =
        "SELECT (SELECT count(*) FROM sighting) + (SELECT count(*) FROM recent_sighting)";
    wait_until("all rows", || history.value::<i64>(imported) == Some(2 * 397 + 4));
    output.stop().ok();
    assert_eq!(history.value::<i64>(imported), Some(2 * 397 + 4), "nothing is too old");
    let columns = ["interface", "first_seen", "last_seen", "count"];
    let periods = |more: &[&str]| {
        let question = [&["ip", sightings::ADDRESS], more].concat();
        let mut found = history.answers(&question, &columns);
        found.sort();
        (found, run(history.query(&question)).ok().stderr)
    };
    let day = |date: &str| format!("{date}T00:00:00.000000000+00:00");
    let [y1970, y2018] = ["1970-01-01T00:00:30.000000000+00:00".into(), day("2018-01-01")];
    let (last_2018, last_2024) = (day("2018-12-31"), day("2024-01-31"));
    let remark = |number| {
        format!(
            "aw-query: {number} sightings are left out, because the clock was not set (add --from 1970-01-01 to see them)\n"
        )
    };
    let expected = [
        format!("eth0 {y2018} {} 398", time(0)),
        format!("eth1 {y2018} {last_2024} 396"),
        format!("eth2 {} {} 1", time(0), time(0)),
    ];
    assert_eq!(periods(&[]), (expected.to_vec(), remark(3)));
    let expected = [
        format!("eth0 {y1970} {} 399", time(0)),
        format!("eth1 {y1970} {last_2024} 397"),
        format!("eth2 {y2018} {} 2", time(0)),
    ];
    assert_eq!(periods(&["--from", "1970-01-01"]), (expected.to_vec(), String::new()));
    let expected = [
        format!("eth0 {y2018} {last_2018} 366"),
        format!("eth1 {y2018} {last_2018} 365"),
        format!("eth2 {y2018} {y2018} 1"),
    ];
    let in_2018 = ["--from", "2018-01-01", "--to", "2019-12-31"];
    assert_eq!(periods(&in_2018), (expected.to_vec(), String::new()));
    let first = history.answers(&["devices"], &["first_seen"]);
    assert_eq!(first, [day("2018-01-01")]);
    let changes = history.answers(&["changes"], &["interface", "time", "change"]);
    assert!(changes.contains(&format!("eth1 {y2018} new")), "{changes:?}");
    let who = ["who", sightings::ADDRESS, "--at", "2018-06-01 00:30"];
    let sure = history.answers(&who, &["interface", "how_sure"]);
    assert!(sure.contains(&"eth1 likely".into()), "{sure:?}");
}

/// Sightings that prove nothing are not "no sightings".
#[test]
fn questions_are_not_nothing() {
    let history = history(evidence());
    let ask = |arguments: &[&str]| {
        let asked = run(history.query(arguments));
        assert_eq!((asked.status.code(), &*asked.stdout), (Some(3), ""));
        asked.stderr
    };
    let who = ask(&["who", "2001:db8::7"]);
    let number = history.value::<i64>(
        "SELECT count(*) FROM addrwatch WHERE ip_address = '2001:db8::7' AND origin = 8",
    );
    let number = number.filter(|number| *number > 0).unwrap();
    let whole = "in the whole history\n";
    assert_eq!(
        who,
        format!("aw-query: no claims of 2001:db8::7, only {number} probes or questions {whole}")
    );
    let device = ask(&["mac", &mac(7)]);
    let asked = "(it probed 0, and asked or answered without a MAC for 1)";
    assert_eq!(device, format!("aw-query: {} claimed no address {asked} {whole}", mac(7)));
}

/// A question about the future has the answer about now, with a remark.
#[test]
fn a_question_about_the_future() {
    let history = history(evidence());
    let ask = |at: &str| run(history.query(&["who", "10.1.2.3", "--at", at])).ok();
    let asked = ask("2199-01-01");
    assert!(asked.stdout.contains(&mac(3)));
    assert_eq!(
        asked.stderr,
        "aw-query: 2199-01-01 00:00 +00:00 is in the future: the answer shows which MACs had 10.1.2.3 until now\n"
    );
    assert_eq!(ask("now").stderr, "");
}
