use super::*;
use crate::notification::tests::alert;
use aw_detect::AlertKind;

const LIMIT: ChannelLimit = ChannelLimit { burst: 3, window: 60 };

fn admit(gate: &mut RateGate, alert: &Alert, now: i64) -> bool {
    gate.admit(alert, Priority::default(), now, LIMIT, false)
}

#[test]
fn a_storm_is_one_digest() {
    let mut gate = RateGate::default();
    let storm = (0..100_000).map(|number| Alert { time: number, ..alert(AlertKind::NewDevice) });
    let passed = storm.filter(|alert| admit(&mut gate, alert, 1000 + alert.time / 5000)).count();
    assert_eq!(passed, 3);
    assert_eq!(gate.take_digest(1059, LIMIT, false), None);
    let kept = serde_json::to_vec(&gate).unwrap();
    assert!(kept.len() < 4096, "{} bytes", kept.len());
    let mut gate: RateGate = serde_json::from_slice(&kept).unwrap();
    let digest = gate.take_digest(1060, LIMIT, false).unwrap();
    assert_eq!((digest.count, digest.first, digest.last), (99_997, 3, 99_999));
    let Notification { subject, text, fields } =
        digest.notification(&TimeZone::UTC, "sensor1", usize::MAX);
    assert_eq!(subject, "99997 alerts: 99997 new devices");
    assert!(
        text.ends_with("and 99977 more\n\nreported by sensor1\n") && fields["count"] == 99_997,
        "{text}"
    );
    assert_eq!(gate.take_digest(2000, LIMIT, false), None, "once");
}

#[test]
fn after_a_storm_alerts_are_sent_at_once_again() {
    let mut gate = RateGate::default();
    let flip = alert(AlertKind::FlipFlop);
    assert_eq!([0; 4].map(|now| admit(&mut gate, &flip, now)), [true, true, true, false]);
    assert_eq!(gate.take_digest(61, LIMIT, false).unwrap().count, 1);
    assert!(!admit(&mut gate, &flip, 62), "the storm lasts");
    assert_eq!(gate.take_digest(121, LIMIT, false).unwrap().count, 1);
    assert!(admit(&mut gate, &flip, 500));
    let digested = Alert { digest: true, ..flip };
    assert!(!admit(&mut gate, &digested, 501));
    assert!(gate.take_digest(501, LIMIT, true).is_some(), "at the end");
}

#[test]
fn an_alert_in_the_digest_delays_no_other() {
    let mut gate = RateGate::default();
    let changed = alert(AlertKind::Changed);
    let new = Alert { digest: true, ..alert(AlertKind::NewDevice) };
    assert!(!admit(&mut gate, &new, 100));
    assert!(admit(&mut gate, &changed, 100));
    assert_eq!(gate.take_digest(159, LIMIT, false), None, "in the window");
    assert_eq!(gate.take_digest(160, LIMIT, false).unwrap().count, 1);
    assert_eq!([161; 4].map(|now| admit(&mut gate, &changed, now)), [true, true, true, false]);
    assert!(!admit(&mut gate, &new, 162));
    assert_eq!(gate.take_digest(220, LIMIT, false).unwrap().count, 2);
    assert!(!admit(&mut gate, &changed, 221), "after a storm");
}

/// 100,000 alerts that an attacker causes neither hide nor delay the one that matters.
#[test]
fn a_storm_hides_no_takeover_of_a_known_address() {
    for (class, number) in [(Class::Named, 20), (Class::Known, 20)] {
        let mut gate = RateGate::default();
        let storm = |gate: &mut RateGate| {
            let new = alert(AlertKind::NewDevice);
            (0..50_000).filter(|_| admit(gate, &new, 1000)).count()
        };
        assert_eq!(storm(&mut gate), 3);
        let mut taken = |held: i64| {
            let taken = Alert { ip: format!("192.0.2.{held}"), ..alert(AlertKind::Changed) };
            gate.admit(&taken, Priority::new(class, held), 1000, LIMIT, false)
        };
        // Who had an address for longest comes last.
        assert_eq!((0..number).filter(|held| taken(*held)).count(), 10, "during the storm");
        assert_eq!(storm(&mut gate), 0);
        assert!(gate.only_counts(AlertKind::NewDevice, Priority::default(), 1000, false));
        let stored = serde_json::to_string(&gate).unwrap();
        let mut gate: RateGate = serde_json::from_str(&stored).unwrap();
        let digest = gate.take_digest(1060, LIMIT, false).unwrap();
        let Notification { subject, text, .. } =
            digest.notification(&TimeZone::UTC, "sensor1", usize::MAX);
        assert!(subject.contains("; changed ethernet address 192.0.2.19 "), "{subject}");
        let lines: Vec<_> = text.lines().filter(|line| line.contains("192.0.2.1")).collect();
        assert!(lines.len() == 10 && lines[0].contains("192.0.2.19 "), "{text}");
    }
}

/// Who forges the MAC of a named device, so that it loses addresses which were free, fills neither the places that are
/// sent nor the digest; nor does one address that is taken many times.
#[test]
fn forged_takeovers_hide_no_true_one() {
    for class in [Class::Named, Class::Known] {
        let mut gate = RateGate::default();
        let mut take = |ip: String, held| {
            let taken = Alert { ip, ..alert(AlertKind::Changed) };
            gate.admit(&taken, Priority::new(class, held), 1000, LIMIT, false)
        };
        let sent = (0..1000).filter(|number| take(format!("10.1.{number}.1"), 2)).count();
        assert_eq!(sent, 3 + 10);
        assert_eq!((0..1000).filter(|held| take("10.2.0.1".into(), 5 + held)).count(), 1);
        // Also if it prepared them for a day.
        assert_eq!((0..30).filter(|n| take(format!("10.3.{n}.1"), 86_400)).count(), 1);
        assert!(take("192.0.2.1".into(), 200_000), "the gateway");
        let digest = gate.take_digest(1060, LIMIT, false).unwrap();
        let mut subjects: Vec<_> = digest.samples.iter().map(|sample| &sample.3).collect();
        subjects.sort();
        subjects.dedup();
        assert_eq!(subjects.len(), MAX_SAMPLES);
        // It is the first line of a digest, too.
        let mut gate = RateGate { held: Some(digest), storm: true, ..RateGate::default() };
        let closed = ChannelLimit { burst: 0, ..LIMIT };
        let taken = Alert { ip: "192.0.2.1".into(), ..alert(AlertKind::Changed) };
        assert!(!gate.admit(&taken, Priority::new(class, 200_000), 1100, closed, false));
        let digest = gate.take_digest(1200, LIMIT, false).unwrap();
        assert!(digest.samples[0].1.contains(" 192.0.2.1 "), "{:?}", digest.samples);
    }
}

#[test]
fn a_state_of_an_earlier_release() {
    let old = r#"{"since":5,"sent":2,"held":{"count":3,"first":5,"last":6,"kinds":{"new device":3},
        "samples":[[5,"new device a"],[6,"new device b"]]},"storm":true}"#;
    let mut gate: RateGate = serde_json::from_str(old).unwrap();
    let flip = alert(AlertKind::FlipFlop);
    let closed = ChannelLimit { burst: 0, ..LIMIT };
    assert!(
        !gate.admit(&flip, Priority::new(Class::Named, 1), 7, closed, false),
        "outside its hours"
    );
    let digest = gate.take_digest(90, LIMIT, false).unwrap();
    let lines = digest.samples.iter().map(|Sample(_, line, ..)| &**line).collect::<Vec<_>>();
    assert_eq!(digest.count, 4);
    assert!(lines[0].starts_with("flip flop ") && lines[1..] == ["new device a", "new device b"]);
}

#[test]
fn a_clock_that_is_set_back_delays_no_digest() {
    let mut gate = RateGate::default();
    admit(&mut gate, &Alert { digest: true, ..alert(AlertKind::NewDevice) }, 5000);
    assert!(gate.take_digest(10, LIMIT, false).is_some());
}

/// The finding of a newcomer: one flip flop among 278 new devices was in no sample.
#[test]
fn a_digest_has_each_kind_and_the_rarest_first() {
    let mut gate = RateGate { sent: LIMIT.burst, since: 1000, ..RateGate::default() };
    let new = alert(AlertKind::NewDevice);
    let returned = |number| Alert { time: number, ..alert(AlertKind::Returned) };
    let named = Alert { name: Some("printer".into()), ..alert(AlertKind::FlipFlop) };
    assert!((0..200).all(|_| !admit(&mut gate, &new, 1000)));
    assert!(!admit(&mut gate, &named, 1001));
    assert!((0..2).all(|number| !admit(&mut gate, &returned(number), 1001)));
    assert!((0..78).all(|_| !admit(&mut gate, &new, 1002)));
    assert!(gate.only_counts(AlertKind::FlipFlop, Priority::default(), 1002, false));
    assert!(!gate.only_counts(AlertKind::Changed, Priority::default(), 1002, false));
    let stored = serde_json::to_string(&gate).unwrap();
    assert!(stored.len() < 4096, "{} bytes", stored.len());
    let mut gate: RateGate = serde_json::from_str(&stored).unwrap();
    let digest = gate.take_digest(1060, LIMIT, false).unwrap();
    let Notification { subject, text, fields } =
        digest.notification(&TimeZone::UTC, "sensor1", usize::MAX);
    let flip = "flip flop 10.0.0.1 00:08:e1:01:02:0a (00:08:e1:01:02:0b) eth0 [printer] (Maker)";
    let numbers = "281 alerts: 1 flip flop, 278 new devices, 2 returned devices";
    assert_eq!(subject, format!("{numbers}; {flip}"));
    let samples: Vec<_> = text.lines().skip(2).take(MAX_SAMPLES).collect();
    assert!(samples[0].ends_with(flip), "{samples:#?}");
    let kind = |sample: &&str, kind: AlertKind| sample.contains(&format!(" {} ", kind.label()));
    assert!(kind(&samples[1], AlertKind::Returned), "{samples:#?}");
    assert!(samples[2..].iter().all(|sample| kind(sample, AlertKind::NewDevice)), "{samples:#?}");
    assert!(text.contains("\nand 261 more\n"), "{text}");
    let first = fields["samples"][0].as_str().unwrap();
    assert!(first.ends_with(flip) && fields["summary"] == subject, "{fields}");
}

/// What a forged answer names has its sample, also with the address and the named MAC of the true server, after any number of others.
#[test]
fn each_kind_of_new_setting_has_its_sample() {
    let server = "00:08:e1:00:00:01";
    let setting = |setting: &str, ip: &str, note: &str| Alert {
        setting: setting.into(),
        ip: ip.into(),
        mac: server.into(),
        name: Some("router".into()),
        note: Some(note.into()),
        digest: true,
        ..alert(AlertKind::NewSetting)
    };
    let names = [(server.parse().unwrap(), "router".to_owned())].into();
    let text = |alerts: &[Alert], max: usize| {
        let mut gate = RateGate::default();
        for alert in alerts {
            let exempt = gate.admit(alert, Priority::of(alert, &names), 1000, LIMIT, true);
            assert!(!exempt, "always in the digest");
        }
        let stored = serde_json::to_string(&gate).unwrap();
        let mut gate: RateGate = serde_json::from_str(&stored).unwrap();
        gate.take_digest(1060, LIMIT, true).unwrap().notification(&TimeZone::UTC, "s", max).text
    };
    let first = setting("DHCP_OFFER", "192.0.2.1", "first answer");
    let domain = setting("DHCP_DOMAIN", "192.0.2.1", "sends the domain");
    let proxy = setting("DHCP_WPAD", "192.0.2.1", "sends wpad.dat");
    let few = text(&[first.clone(), domain.clone(), proxy.clone()], usize::MAX);
    let parts = ["first answer", "sends the domain", "sends wpad.dat"];
    assert!(parts.iter().all(|part| few.contains(part)), "{few}");
    let mut many = Vec::new();
    for number in 0..10 {
        let ip = format!("fe80::{number}");
        many.extend(["RA_PREFIX", "RA_ROUTE"].map(|kind| setting(kind, &ip, "announces")));
        many.extend([domain.clone(), setting("DHCP_BOOT", "192.0.2.1", "sends a file")]);
        many.push(Alert { digest: true, ..alert(AlertKind::NewDevice) });
    }
    many.extend([proxy, first]);
    for max in [usize::MAX, 1000] {
        let text = text(&many, max);
        assert!(text.contains(parts[0]) && text.contains(parts[2]), "{text}");
    }
}

/// A digest has no advice: of what one answer names, more has room, and the proxy is the first.
#[test]
fn a_digest_has_no_advice() {
    let mut gate = RateGate::default();
    let server = "the DHCP server 192.0.2.1 (message from 00:08:e1:00:00:01)";
    for (setting, way) in [
        ("DHCP_OFFER", "it offers 192.0.2.77 to 00:08:e1:00:00:03"),
        ("DHCP_DOMAIN", "sends the domain \"lan\""),
        ("DHCP_BOOT", "sends the boot server 192.0.2.9"),
        ("DHCP_DNS", "names it as DNS server"),
        ("DHCP_ROUTER", "names it as router"),
        ("DHCP_WPAD", "sends the proxy configuration \"http://192.0.2.66/wpad.dat\" (WPAD)"),
    ] {
        let alert = Alert {
            setting: setting.into(),
            old_mac: None,
            note: Some(format!("{server} {way} in its first answer that arrives here")),
            advice: "(if that is right, nothing is to be done; if not, look at that server's configuration, and for who else has its address)".into(),
            digest: true,
            ..alert(AlertKind::NewSetting)
        };
        assert!(alert.to_string().ends_with(" has its address)"), "{alert}");
        assert!(!gate.admit(&alert, Priority::default(), 1000, LIMIT, true));
    }
    let digest = gate.take_digest(1060, LIMIT, true).unwrap();
    let text = digest.notification(&TimeZone::UTC, "s", 1000).text;
    assert!(!text.contains("if that is right"), "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.contains(" new setting ")).collect();
    assert!(lines.len() == 4, "{text}");
    for part in ["wpad.dat", "as DNS server", "as router", "boot server"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// There are more kinds than samples, and a service may have room for a few lines: what sends traffic another way is in a digest before
/// prefixes and domains.
#[test]
fn leading_settings_are_in_a_digest_of_many_kinds() {
    let setting = |setting: &str, note: &str| Alert {
        setting: setting.into(),
        note: Some(note.into()),
        digest: true,
        ..alert(AlertKind::NewSetting)
    };
    let text = |alerts: &[Alert], max: usize| {
        let mut gate = RateGate::default();
        for alert in alerts {
            assert!(!gate.admit(alert, Priority::default(), 1000, LIMIT, true));
        }
        gate.take_digest(1060, LIMIT, true).unwrap().notification(&TimeZone::UTC, "s", max).text
    };
    let kinds = AlertKind::DEFAULT.iter().filter(|kind| **kind != AlertKind::NewSetting);
    let kinds = kinds.take(MAX_SAMPLES).map(|kind| Alert { digest: true, ..alert(*kind) });
    let mut many: Vec<_> = kinds.collect();
    assert_eq!(many.len(), MAX_SAMPLES);
    many.push(setting("DHCP_WPAD", "sends wpad.dat"));
    let all = text(&many, usize::MAX);
    assert!(all.contains("sends wpad.dat") && all.contains("\nand 1 more\n"), "{all}");
    // Of one first answer.
    let settings = [
        "DHCP_OFFER",
        "DHCP_DOMAIN",
        "RA_PREFIX",
        "RA_ROUTE",
        "DHCP_DNS",
        "DHCP_ROUTER",
        "DHCP_WPAD",
    ];
    let long = settings.map(|one| setting(one, &format!("{one} {}", "x".repeat(150))));
    let few = text(&long, 1000);
    let found: Vec<_> = settings.into_iter().filter(|one| few.contains(one)).collect();
    assert_eq!(found, ["DHCP_DNS", "DHCP_ROUTER", "DHCP_WPAD"], "{few}");
}

/// One address that two machines fight for in all ways does not fill a digest, and each way has its sample.
#[test]
fn important_alerts_have_a_sample_of_each_kind_too() {
    let mut gate = RateGate::default();
    let closed = ChannelLimit { burst: 0, ..LIMIT };
    let kinds = [AlertKind::Changed, AlertKind::FlipFlop, AlertKind::Duplicate];
    for kind in kinds.into_iter().cycle().take(300) {
        assert!(!gate.admit(&alert(kind), Priority::new(Class::Known, 90_000), 1, closed, true));
    }
    let digest = gate.take_digest(90, LIMIT, false).unwrap();
    let mut found: Vec<_> = digest.samples.iter().map(|sample| sample.4).collect();
    found.sort();
    assert_eq!(found, [AlertKind::FlipFlop, AlertKind::Changed, AlertKind::Duplicate].map(Some));
}

/// A host that causes many takeovers of its own addresses has a few messages an hour; all others are counted.
#[test]
fn exempt_alerts_are_sent_alone_within_a_bound() {
    let mut gate = RateGate::default();
    let new = alert(AlertKind::NewDevice);
    assert_eq!((0..278).filter(|_| admit(&mut gate, &new, 1000)).count(), 3);
    let mut take = |kind, address: String, now| {
        let taken = Alert { ip: address, ..alert(kind) };
        gate.admit(&taken, Priority::default(), now, LIMIT, true)
    };
    assert!(take(AlertKind::FlipFlop, "192.0.2.1".into(), 1001), "beside a digest");
    assert!(!take(AlertKind::FlipFlop, "192.0.2.1".into(), 1002), "the same again");
    assert!(take(AlertKind::Duplicate, "192.0.2.1".into(), 1002), "another kind");
    let flood = (0..100_000).map(|number| format!("10.{}.{}.1", number >> 8, number & 255));
    let sent = flood.filter(|ip| take(AlertKind::FlipFlop, ip.clone(), 1003)).count();
    assert_eq!(sent, EXEMPT - 1);
    assert!(take(AlertKind::Changed, "192.0.2.2".into(), 1004), "no kind uses up another one's");
    let stored = serde_json::to_string(&gate).unwrap();
    assert!(stored.len() < 8192, "{} bytes", stored.len());
    let mut gate: RateGate = serde_json::from_str(&stored).unwrap();
    let digest = gate.take_digest(1060, LIMIT, false).unwrap();
    assert_eq!(digest.count, 275 + 1 + 100_000 - 9, "nothing is silent");
    assert!(digest.has_kind(AlertKind::FlipFlop, "") && digest.has_kind(AlertKind::NewDevice, ""));
    let later = Alert { ip: "192.0.2.3".into(), ..alert(AlertKind::FlipFlop) };
    assert!(!gate.only_counts(later.kind, Priority::default(), 1004 + EXEMPT_SECONDS, true));
    let now = 1004 + EXEMPT_SECONDS;
    assert!(gate.admit(&later, Priority::default(), now, ChannelLimit { burst: 1, ..LIMIT }, true));
    // What the rules put into the digest stays there, and a channel of digests gets nothing else.
    let digested = Alert { digest: true, ..later.clone() };
    assert!(!gate.admit(&digested, Priority::default(), now, LIMIT, true));
    let mut gate = RateGate::default();
    let closed = ChannelLimit { burst: 0, ..LIMIT };
    assert!(!gate.admit(&later, Priority::default(), now, closed, true));
}

/// On the first day no address is held for long: an attacker that moves addresses of its own, in all ways and with a rarer kind beside
/// them, pushes the takeover of the gateway neither into the digest nor out of its first line and subject.
#[test]
fn moved_addresses_hide_no_takeover() {
    let kinds = [AlertKind::Changed, AlertKind::FlipFlop];
    let take = |gate: &mut RateGate, kind, ip: &str, held, limit| {
        let taken = Alert { ip: ip.into(), ..alert(kind) };
        let priority = Priority::new(Class::Other, held);
        let counts = gate.only_counts(kind, priority, 6000, true);
        let sent = gate.admit(&taken, priority, 6000, limit, true);
        assert!(!(sent && counts), "it needs its text");
        sent
    };
    let mut gate = RateGate::default();
    let own = |gate: &mut RateGate, limit| {
        let mut one = |(number, kind): (usize, AlertKind)| {
            take(gate, kind, &format!("10.9.0.{number}"), number as i64, limit)
        };
        (0..100).zip(kinds.into_iter().cycle()).filter_map(|pair| one(pair).then_some(())).count()
    };
    assert!(own(&mut gate, LIMIT) < 40, "a few");
    for kind in kinds {
        assert!(take(&mut gate, kind, "10.0.0.1", 5000, LIMIT), "{kind:?} of the gateway");
        assert!(!take(&mut gate, kind, "10.0.0.2", 9000, LIMIT), "not twice as long");
    }
    let stored = serde_json::to_string(&gate).unwrap();
    assert!(stored.len() < 16_384, "{} bytes", stored.len());
    assert_eq!(serde_json::from_str::<RateGate>(&stored).unwrap(), gate);

    // Also for a channel of digests.
    let mut gate = RateGate::default();
    let closed = ChannelLimit { burst: 0, ..LIMIT };
    assert!(!admit(&mut gate, &Alert { digest: true, ..alert(AlertKind::NewDevice) }, 6000));
    own(&mut gate, closed);
    assert!(!take(&mut gate, AlertKind::Changed, "10.0.0.1", 5000, closed));
    own(&mut gate, closed);
    let digest = gate.take_digest(6060, LIMIT, true).unwrap();
    let Notification { subject, text, .. } =
        digest.notification(&TimeZone::UTC, "sensor1", usize::MAX);
    assert!(subject.contains("; changed ethernet address 10.0.0.1 "), "{subject}");
    assert!(text.lines().nth(2).unwrap().contains(" 10.0.0.1 "), "{text}");
}

/// A digest of one alert is that alert.
#[test]
fn one_alert_needs_no_digest() {
    let mut gate = RateGate::default();
    let new = Alert { digest: true, ..alert(AlertKind::NewDevice) };
    assert!(!admit(&mut gate, &new, 5000));
    let stored = serde_json::to_string(&gate).unwrap();
    let mut gate: RateGate = serde_json::from_str(&stored).unwrap();
    let digest = gate.take_digest(6000, LIMIT, false).unwrap();
    assert_eq!(digest.only(), Some(&new));
    assert!(!admit(&mut gate, &new, 7000) && !admit(&mut gate, &new, 7000));
    let digest = gate.take_digest(8000, LIMIT, false).unwrap();
    assert_eq!(digest.only(), None);
    assert!(!serde_json::to_string(&digest).unwrap().contains("frame_source"), "it is not stored");
}

/// No service cuts a digest: what has no room is counted.
#[test]
fn no_service_cuts_a_digest() {
    use crate::template::Template;
    let mut gate = RateGate::default();
    for number in 0..30 {
        let name = Some("\u{e9}".repeat(number as usize * 3));
        let new = Alert {
            ip: format!("192.0.2.{number}"),
            name,
            digest: true,
            ..alert(AlertKind::NewDevice)
        };
        assert!(!admit(&mut gate, &new, 5000));
    }
    let digest = gate.take_digest(6000, LIMIT, false).unwrap();
    for template in Template::ALL {
        let message = digest.notification(&TimeZone::UTC, "sensor1", template.max_bytes());
        let body = template.body(&message, "t", None).to_string();
        assert!(!body.contains("[cut]") && body.contains("reported by sensor1"), "{body}");
        let listed = message.text.matches(" 192.0.2.").count();
        assert!(
            message.text.contains(&format!("\nand {} more\n", 30 - listed)),
            "{}",
            message.text
        );
    }
}
