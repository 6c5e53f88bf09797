//! Lines as they are written and read.

use proptest::prelude::*;

use super::*;

fn place() -> HistoryPlace {
    HistoryPlace {
        host: "gate\u{9b}\"way\n\u{202e}é".into(),
        ring: "/lan".into(),
        interface: "eth0".into(),
        vlan: 17,
        outer_vlan: -1,
        router: "192.0.2.1".into(),
    }
}

fn text(line: &HistoryLine) -> String {
    let mut bytes = Vec::new();
    line.write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn lines_are_read_as_written() {
    let sighting = HistorySighting {
        place: place(),
        time: UnixTime::new(1_795_183_200, 5),
        mac: "02:00:00:00:00:01".parse().unwrap(),
        ip: "2001:db8::1".parse().unwrap(),
        source: Some("02:00:00:00:00:02".parse().unwrap()),
        origin: 8,
        times: HistoryCount { count: 3, nth: 2, before: 1 },
        span: None,
    };
    let plain = HistorySighting {
        place: HistoryPlace { host: "gw".into(), interface: "eth0".into(), ..Default::default() },
        time: UnixTime::new(-5, 0),
        ip: "192.0.2.1".parse().unwrap(),
        source: None,
        times: HistoryCount { count: 1, nth: 1, before: 0 },
        ..sighting.clone()
    };
    let span = HistorySpan { last: UnixTime::new(-1, 7), last_origin: 3, sightings: 77 };
    let span = HistorySighting { origin: 0, span: Some(span), ..plain.clone() };
    let change = HistoryChange {
        place: place(),
        time: UnixTime::new(1, 0),
        user: "admin\u{1b}[2J".into(),
        added: 3,
        removed: 0,
        times: plain.times,
    };
    let lines = [
        HistoryLine::Begin,
        HistoryLine::Sighting(sighting),
        HistoryLine::Sighting(plain),
        HistoryLine::Sighting(span),
        HistoryLine::Change(change),
        HistoryLine::End(4),
    ];
    for line in &lines {
        let written = text(line);
        let one = written.strip_suffix('\n').unwrap();
        assert!(!one.contains(is_hidden), "{one}");
        assert_eq!(HistoryLine::parse(one).as_ref(), Ok(line), "{one}");
    }
    assert_eq!(
        text(&lines[2]),
        "{\"time\":\"1969-12-31T23:59:55Z\",\"host\":\"gw\",\"interface\":\"eth0\",\"mac\":\"02:00:00:00:00:01\",\"ip\":\"192.0.2.1\",\"origin\":8}\n"
    );
    assert_eq!(text(&lines[0]), "{\"addrwatch_history\":4}\n");
}

#[test]
fn bad_lines() {
    let good = "{\"time\":\"2026-11-20T14:00:00Z\",\"host\":\"gw\",\"interface\":\"eth0\",\"mac\":\"02:00:00:00:00:01\",\"ip\":\"192.0.2.1\",\"origin\":0}";
    assert!(HistoryLine::parse(good).is_ok());
    for (from, to, why) in [
        ("}", "", "EOF"),
        ("\"gw\"", "\"g", "expected `,` or `}`"),
        ("\"host\":\"gw\",", "", "no host"),
        ("192.0.2.1", "192.0.2.256", "IP address"),
        ("02:00:00:00:00:01", "02:00", "not a MAC address"),
        ("\"origin\":0", "\"origin\":99999999999", "i32"),
        ("\"origin\":0", "\"origin\":0,\"count\":0", "count is 1"),
        ("\"origin\":0", "\"origin\":0,\"count\":10001", "count is 1"),
        ("\"origin\":0", "\"origin\":0,\"nth\":3,\"before\":3", "before is less"),
        ("\"origin\":0", "\"origin\":-5", "origin is 0 to 255"),
        ("\"origin\":0", "\"origin\":256", "origin is 0 to 255"),
        ("\"origin\":0", "\"origin\":0,\"vlan\":4096", "a VLAN is -1 to 4095"),
        ("\"origin\":0", "\"origin\":0,\"outer_vlan\":-2", "a VLAN is -1 to 4095"),
        ("\"origin\":0", "\"origin\":0,\"router\":\"not an address\"", "router"),
        (
            "\"mac\":\"02:00:00:00:00:01\",\"ip\":\"192.0.2.1\",\"origin\":0",
            "\"user\":\"seventeen letters\",\"lines_added\":1,\"lines_removed\":0",
            "more than 16 bytes",
        ),
        ("\"origin\":0", "\"origin\":0,\"origin\":0", "duplicate field"),
        ("\"origin\":0", "\"origin\":0,\"note\":0", "unknown field"),
        ("\"origin\":0", "\"origin\":0,\"ring\":\"../x\"", "ring"),
        ("\"origin\":0", "\"origin\":0,\"vlan\":-9999999999", "i32"),
        ("2026-11-20T14:00:00Z", "9999-11-20T14:00:00Z", "out of range"),
        ("2026-11-20T14:00:00Z", "yesterday", "RFC 3339"),
        ("\"gw\"", &format!("\"{}\"", "x".repeat(256)), "more than 255"),
    ] {
        let bad = good.replacen(from, to, 1);
        let error = HistoryLine::parse(&bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let earlier = HistoryLine::parse("{\"addrwatch_history\":2}");
    assert_eq!(earlier, Ok(HistoryLine::Begin), "of the releases before names");
    let earlier = HistoryLine::parse("{\"addrwatch_history\":1}");
    assert_eq!(earlier, Ok(HistoryLine::Begin), "of the releases before spans");
    for bad in ["", "{}", "[]", "null", "{\"addrwatch_history\":5}", "\u{0}"] {
        assert!(HistoryLine::parse(bad).is_err(), "{bad}");
    }
}

/// More rows than a line can have are in several ones.
#[test]
fn many_rows() {
    let all = HistoryCount { count: 25_000, nth: 3, before: 1 };
    let parts: Vec<_> = all.parts().map(|part| (part.count, part.nth, part.before)).collect();
    assert_eq!(parts, [(10_000, 3, 1), (10_000, 10_003, 10_001), (5000, 20_003, 20_001)]);
    assert_eq!(HistoryCount { count: 2, ..all }.parts().count(), 1);
    assert_eq!(HistoryCount { count: 10_000, ..all }.parts().count(), 1);
}

proptest! {
    /// Whatever bytes of a line are replaced, it is refused or is a line that is written and read as itself.
    #[test]
    fn damaged_lines_are_refused_or_read(
        at in 0_usize..400,
        bytes in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let sighting = HistorySighting {
            place: place(),
            time: UnixTime::new(1_795_183_200, 5),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            ip: "192.0.2.1".parse().unwrap(),
            source: Some("02:00:00:00:00:02".parse().unwrap()),
            origin: 8,
            times: HistoryCount { count: 3, nth: 2, before: 1 },
            span: None,
        };
        let mut damaged = text(&HistoryLine::Sighting(sighting)).into_bytes();
        let at = at % damaged.len();
        let end = (at + bytes.len()).min(damaged.len());
        damaged.splice(at..end, bytes);
        if let Ok(line) = HistoryLine::parse(&String::from_utf8_lossy(&damaged)) {
            let mut again = Vec::new();
            prop_assert!(line.write(&mut again).is_some(), "{line:?}");
            let again = String::from_utf8(again).unwrap();
            prop_assert!(!again.trim_end().contains(is_hidden));
            prop_assert_eq!(HistoryLine::parse(&again), Ok(line));
        }
    }
}

/// What a device calls itself, and what is no such line.
#[test]
fn names() {
    let line = r#"{"time":"2026-11-20T14:00:00Z","host":"gw","interface":"eth0","mac":"02:00:00:00:00:01","until":"2026-11-20T15:00:00Z","sightings":7,"claimed_name":"nas 1","name_source":5}"#;
    let name = HistoryLine::parse(line).unwrap();
    let mut written = Vec::new();
    name.write(&mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), format!("{line}\n"));
    let HistoryLine::Name(HistoryName { claimed, uses, .. }) = &name else { panic!("{name:?}") };
    assert_eq!((&*claimed.name, claimed.source, *uses), ("nas 1", NameSource::Lldp, 7));
    for (from, to) in [
        ("nas 1", ""),
        ("nas 1", r"\u001b[2J"),
        ("nas 1", &"x".repeat(64)),
        (r#""name_source":5"#, r#""name_source":9"#),
        (r#","name_source":5"#, ""),
        (r#""sightings":7"#, r#""sightings":0"#),
        ("15:00", "13:00"),
        ("}", r#","ip":"192.0.2.1"}"#),
        ("}", r#","user":"admin"}"#),
        (r#""claimed_name":"nas 1","#, r#""ip":"192.0.2.1","origin":0,"#),
    ] {
        let bad = line.replacen(from, to, 1);
        assert_ne!(bad, line, "{from}");
        assert!(HistoryLine::parse(&bad).is_err(), "{bad}");
    }
    // An address has the form that questions have.
    let of = |name: &str| {
        line.replace("nas 1", name).replace(r#""name_source":5"#, r#""name_source":8"#)
    };
    for (name, is_right) in [("fe80::1", true), ("192.0.2.1", true), ("FE80::0001", false)] {
        assert_eq!(HistoryLine::parse(&of(name)).is_ok(), is_right, "{name}");
    }
}
