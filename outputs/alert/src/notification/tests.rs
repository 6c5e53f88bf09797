use super::*;

impl Notification {
    /// As arpwatch's, or as this program's.
    pub fn of(alert: &Alert, zone: &TimeZone, arpwatch: bool) -> Notification {
        Notification::in_layout(alert, zone, arpwatch, arpwatch)
    }
}

pub fn alert(kind: AlertKind) -> Alert {
    Alert {
        network: "eth0".into(),
        ip: "10.0.0.1".into(),
        mac: "00:08:e1:01:02:0a".into(),
        vendor: Some("Maker".into()),
        old_mac: Some("00:08:e1:01:02:0b".into()),
        previous: Some(1_700_000_002),
        ..Alert::new(kind, 1_700_000_003)
    }
}

#[test]
fn line_mail_and_json() {
    let flip = alert(AlertKind::FlipFlop);
    let line = "flip flop 10.0.0.1 00:08:e1:01:02:0a (00:08:e1:01:02:0b) eth0 (Maker)";
    assert_eq!(flip.to_string(), line);
    let same = Alert { old_mac: Some(flip.mac.clone()), ..alert(AlertKind::NewActivity) };
    assert_eq!(same.to_string(), "new activity 10.0.0.1 00:08:e1:01:02:0a eth0 (Maker)");
    let Notification { subject, text, fields } = Notification::of(&flip, &TimeZone::UTC, false);
    assert_eq!(subject, "flip flop: 00:08:e1:01:02:0b to Maker, 10.0.0.1 (eth0)");
    let as_arpwatch = Notification::of(&flip, &TimeZone::UTC, true).subject;
    assert_eq!(as_arpwatch, "flip flop (10.0.0.1) eth0");
    // As Debian's arpwatch -d wrote it.
    let expected = "            hostname: <unknown>
          ip address: 10.0.0.1
           interface: eth0
    ethernet address: 00:08:e1:01:02:0a
     ethernet vendor: Maker
old ethernet address: 00:08:e1:01:02:0b
 old ethernet vendor: <unknown>
           timestamp: Tuesday, November 14, 2023 22:13:23 +0000
  previous timestamp: Tuesday, November 14, 2023 22:13:22 +0000
               delta: 1 second
";
    assert_eq!(text, expected);
    let probe = Alert { ip: String::new(), note: Some("probed 10.0.0.1".into()), ..flip.clone() };
    let Notification { subject, text: without, .. } =
        Notification::of(&probe, &TimeZone::UTC, false);
    assert!(!without.contains("ip address"), "{without}");
    let both = "00:08:e1:01:02:0b to Maker";
    assert_eq!(subject, format!("flip flop: {both}, 00:08:e1:01:02:0a, probed 10.0.0.1 (eth0)"));
    let late = Alert { late: "at 22:13:23 UTC, 78 s ago".into(), ..flip.clone() };
    let text = |arpwatch| Notification::of(&late, &TimeZone::UTC, arpwatch).text;
    assert!(text(false).contains("                late: at 22:13:23 UTC, 78 s ago\n"));
    assert_eq!(text(true), expected);
    let noted = Alert { note: Some("a note".into()), host: "sensor1".into(), ..flip.clone() };
    let text = |arpwatch| Notification::of(&noted, &TimeZone::UTC, arpwatch).text;
    assert!(text(false).ends_with("         reported by: sensor1\n                note: a note\n"));
    assert_eq!(text(true), expected);
    assert_eq!((&fields["kind"], &fields["date"]), (&"flip_flop".into(), &"20231114".into()));
    let sender = "00:08:e1:01:02:0c";
    let forged = Alert { frame_source: Some(sender.into()), ..flip };
    let forged = Notification::of(&forged, &TimeZone::UTC, false);
    assert_eq!(
        (&forged.fields["frame_source"], &fields["frame_source"]),
        (&sender.into(), &Value::Null)
    );
}

/// What a device calls itself is a quotation, in each form, and cannot end it.
#[test]
fn claimed_names() {
    let claim = |name: &str| {
        Some(Claim::from(&aw_output::ClaimedName {
            source: aw_output::NameSource::MdnsHost,
            name: name.into(),
            first: shm_layout::UnixTime::new(0, 0),
            last: shm_layout::UnixTime::new(0, 0),
        }))
    };
    let hostile = "a” [gateway]\u{202e}\n\"";
    let new = Alert { claimed: claim(hostile), old_mac: None, ..alert(AlertKind::NewDevice) };
    let shown = "“a' [gateway]??'”";
    let line = format!(
        "new device 10.0.0.1 00:08:e1:01:02:0a eth0 (Maker) calls itself {shown} (mDNS host name)"
    );
    assert_eq!(new.to_string(), line);
    let Notification { subject, text, fields } = Notification::of(&new, &TimeZone::UTC, false);
    assert_eq!(subject, format!("new device: Maker, calls itself {shown}, 10.0.0.1 (eth0)"));
    assert!(text.starts_with("            hostname: <unknown>\n"), "{text}");
    assert!(text.contains(&format!("        calls itself: {shown} (mDNS host name)\n")), "{text}");
    assert_eq!((&fields["name"], &fields["message"]), (&Value::Null, &line.into()));
    assert_eq!(fields["claimed_name"], "a' [gateway]??'");
    assert_eq!(fields["claimed_source"], "mDNS host name");
    let as_arpwatch = Notification::of(&new, &TimeZone::UTC, true);
    assert!(!as_arpwatch.text.contains("calls itself"), "{}", as_arpwatch.text);
    let taken = Alert { old_claimed: claim("nas"), ..alert(AlertKind::Changed) };
    assert!(
        taken.to_string().contains(" (00:08:e1:01:02:0b calls itself “nas” (mDNS host name)) ")
    );
    let Notification { subject, text, fields } = Notification::of(&taken, &TimeZone::UTC, false);
    assert!(!subject.contains("nas") && fields["old_claimed_name"] == "nas", "{subject}");
    assert!(text.contains("    old calls itself: “nas” (mDNS host name)\n"), "{text}");
}

/// What a receiver that shows one line must show.
#[test]
fn a_subject_names_the_device() {
    let new = Alert {
        network: "eth0.7".into(),
        ip: "192.0.2.17".into(),
        mac: "b8:27:eb:00:00:11".into(),
        ..Alert::new(AlertKind::NewDevice, 0)
    };
    let maker = Alert { vendor: Some("Raspberry Pi".into()), ..new.clone() };
    let named = Alert { name: Some("printer".into()), ..maker.clone() };
    let unnamed = Alert { name: Some(String::new()), ..maker.clone() };
    let silent = Alert {
        name: Some("nas".into()),
        mac: new.mac.clone(),
        note: Some("not seen for 600 s".into()),
        ..Alert::new(AlertKind::Silent, 0)
    };
    let router = Alert { mac: String::new(), ..new.clone() };
    let private = Alert {
        network: "eth0".into(),
        ip: "192.0.2.63".into(),
        mac: "06:00:00:00:00:01".into(),
        ..new.clone()
    };
    let text = |arpwatch| Notification::in_layout(&private, &TimeZone::UTC, arpwatch, false).text;
    assert!(text(false).contains("ethernet vendor: none: a private MAC, which its device made up, as phones and virtual machines do; a forged MAC can look the same\n"));
    assert!(text(true).contains("ethernet vendor: <unknown>"));
    let of_sensor = |kind, network: &str, note: &str| Alert {
        network: network.into(),
        ring: "/lan".into(),
        note: Some(note.into()),
        ..Alert::new(kind, 0)
    };
    let blind = of_sensor(AlertKind::Blind, "eth1", "interface eth1 is down or gone: ...");
    let text = |alert| Notification::of(alert, &TimeZone::UTC, false).text;
    assert!(text(&blind).starts_with("interface eth1 is down or gone: ...\n"));
    let lost = of_sensor(AlertKind::Lost, "", "9 events were overwritten");
    assert!(text(&lost).starts_with("ring /lan: 9 events were overwritten\n"));
    let ends = [
        ("eth1", "interface eth1 is captured again, after 9 s"),
        ("eth1", "the collector captures no longer on interface eth1, after 9 s"),
        ("", "events arrive again, after 9 s"),
        ("", "no collector ran from 10:00 to 10:05: nothing is recorded of that time"),
    ];
    let [sees, unwanted, arrive, gap] =
        ends.map(|(network, note)| of_sensor(AlertKind::Blind, network, &format!("over: {note}")));
    let dead = of_sensor(AlertKind::Blind, "", "it does not exist: no events arrive (...)");
    let crashes =
        of_sensor(AlertKind::Blind, "", "the collector was killed or crashed 3 times since");
    let writer = "the program that writes this ring was killed or crashed 3 times since";
    let writer = of_sensor(AlertKind::Blind, "", writer);
    let calm = "over: the collector was not killed again, and did not crash, after 3600 s";
    let calm = of_sensor(AlertKind::Blind, "", calm);
    let over = of_sensor(AlertKind::Lost, "", "over: 9 events were lost, within 5 s");
    let drops = of_sensor(AlertKind::Lost, "eth1", "9 frames were dropped by the kernel on eth1");
    // The maker of the one that takes an address is the choice of an attacker.
    let taken = Alert {
        kind: AlertKind::Changed,
        old_mac: Some("00:08:e1:01:02:0b".into()),
        old_name: Some("gateway\u{202e}".into()),
        old_vendor: Some("Maker".into()),
        ..maker.clone()
    };
    let both = Alert { kind: AlertKind::Duplicate, old_name: None, ..taken.clone() };
    let line = "changed ethernet address 192.0.2.17 b8:27:eb:00:00:11 (00:08:e1:01:02:0b [gateway?]) eth0.7 (Raspberry Pi)";
    assert_eq!(taken.to_string(), line);
    assert!(!taken.arpwatch_line().contains("gateway"));
    let text = |arpwatch| Notification::in_layout(&taken, &TimeZone::UTC, arpwatch, false).text;
    assert!(text(false).contains("        old hostname: gateway?\nold ethernet address: 00:"));
    assert!(!text(true).contains("old hostname"));
    for (alert, expected) in [
        (taken, "changed ethernet address: gateway? to Raspberry Pi, 192.0.2.17 (eth0.7)"),
        (both, "duplicate address: Maker and Raspberry Pi, 192.0.2.17 (eth0.7)"),
        (maker, "new device: Raspberry Pi, 192.0.2.17 (eth0.7)"),
        (unnamed, "new device: Raspberry Pi, 192.0.2.17 (eth0.7)"),
        (named, "new device: printer, 192.0.2.17 (eth0.7)"),
        (new, "new device: b8:27:eb:00:00:11, 192.0.2.17 (eth0.7)"),
        (silent, "silent device: nas, b8:27:eb:00:00:11, not seen for 600 s"),
        (router, "new device: 192.0.2.17 (eth0.7)"),
        (private, "new device: private MAC 06:00:00:00:00:01, 192.0.2.63 (eth0)"),
        (blind, "no frames are captured on eth1 (ring /lan)"),
        (sees, "frames are captured on eth1 again (ring /lan)"),
        (unwanted, "eth1 is no longer to be captured (ring /lan)"),
        (dead, "no events arrive (ring /lan)"),
        (arrive, "events arrive again (ring /lan)"),
        (gap, "no collector ran for a time (ring /lan)"),
        (crashes, "the collector was killed or crashed several times (ring /lan)"),
        (writer, "what writes the ring was killed or crashed several times (ring /lan)"),
        (calm, "no further kill or crash for an hour (ring /lan)"),
        (over, "no more events lost (ring /lan)"),
        (drops, "events lost on eth1 (ring /lan)"),
    ] {
        let Notification { subject, fields, .. } = Notification::of(&alert, &TimeZone::UTC, false);
        assert_eq!((&*subject, &fields["summary"]), (expected, &expected.into()));
    }
}

#[test]
fn names_that_turn_or_hide_text() {
    let alert = Alert {
        name: Some("\u{202e}retuor\u{2066}".into()),
        note: Some("a\u{200b}b".into()),
        vendor: Some("\u{feff}Maker".into()),
        ..alert(AlertKind::NewDevice)
    };
    let Notification { subject, text, fields } = Notification::of(&alert, &TimeZone::UTC, false);
    let all = format!("{subject}\n{text}\n{fields}");
    assert!(!all.chars().any(aw_service::is_hidden), "{all:?}");
    assert!(subject.contains(": ?retuor?, ") && text.contains("note: a?b"), "{all}");
}

/// What a message calls a kind is found in the guide, in the row of the kind.
#[test]
fn each_text_is_in_the_guide() {
    let guide = [
        include_str!("../../../../docs/guide/alerts.md"),
        include_str!("../../../../docs/guide/rogues.md"),
    ];
    let rows = guide
        .iter()
        .flat_map(|guide| guide.lines())
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut number = 0;
    for (kinds, rest) in rows {
        let texts = rest.split_once(" | ").unwrap().0.split(", ");
        for (kind, text) in kinds.split("`, `").zip(texts) {
            let kind: AlertKind = serde_json::from_value(kind.into()).unwrap();
            assert_eq!(kind.label(), text);
            number += 1;
        }
    }
    assert_eq!(number, AlertKind::GatewayTaken as usize + 1, "all of them");
}

#[test]
fn deltas() {
    let texts = [0, 1, 59, 60, 7199, 86_400, 200_000].map(delta);
    let expected = ["0 seconds", "1 second", "59 seconds", "1 minute", "1 hour", "1 day", "2 days"];
    assert_eq!(texts, expected);
}
