use super::*;
use clap::CommandFactory;

#[test]
fn well_formed() {
    Options::command().debug_assert();
}

#[test]
fn macs() {
    let expected = MacAddr::new([0x02, 0xab, 0, 0, 0, 1]);
    let texts = "02:ab:00:00:00:01 02-AB-00-00-00-01 02ab.0000.0001 02ab00000001 2:ab:0:0:0:1";
    for text in texts.split(' ') {
        assert_eq!(parse_mac(text), Ok(expected), "{text}");
    }
    let wrong = " 02:ab:00:00:00 02:ab:00:00:00:01:02 x2:ab:00:00:00:01 02ab0000001é";
    for bad in wrong.split(' ') {
        assert!(parse_mac(bad).is_err(), "{bad}");
    }
}

#[test]
fn names_and_times() {
    assert!(matches!(parse_device("Kitchen radio"), Ok(Device::Name(_))));
    assert!(matches!(parse_device("2:0:0:0:0:1"), Ok(Device::Mac(_))));
    for bad in ["02:ab:00:00:00", "192.0.2.1", "fe80::1"] {
        assert!(parse_device(bad).is_err(), "{bad}");
    }
    assert!(check_time("60").unwrap_err().contains("60s, 60m, 60h or 60d"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("names");
    let nas = "02:00:00:00:00:01 nas\n02:00:00:00:00:02 tv\n02:00:00:00:00:03 tv\n";
    std::fs::write(&file, nas).unwrap();
    let ask = |name: &str| {
        let arguments = [
            "aw-query",
            "--database",
            "/nonexistent/x.db",
            "--names",
            file.to_str().unwrap(),
            "mac",
            name,
        ];
        let asked = Options::try_parse_from(arguments).unwrap().queries(&Zoned::now());
        asked.map_err(|Refusal { status, error }| (status, error.to_string()))
    };
    let of = |query: &Query| match query {
        Query::Mac(mac, _, Listed::Claims) => mac.octets()[5],
        other => panic!("{other:?}"),
    };
    for (name, macs) in [("nas", &[1][..]), ("tv", &[2, 3])] {
        assert_eq!(ask(name).unwrap().iter().map(of).collect::<Vec<_>>(), macs);
    }
    // What a device calls itself is in the history, which cannot be read.
    let (status, why) = ask("x").err().unwrap();
    assert!(status == 1 && why.contains("/nonexistent/x.db"), "{why}");
}

#[test]
fn addresses() {
    let [v4, v6] = ["10.1.2.3", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap());
    for (text, expected) in [("10.1.2.3", v4), ("fe80::1", v6), ("fe80::1%eth0", v6)] {
        assert_eq!(parse_address(text), Ok(expected), "{text}");
    }
    for bad in ["", "10.1.2", "10.1.2.3%eth0", "fe80::1%", "%eth0", "10.1.2.0/24"] {
        assert!(parse_address(bad).is_err(), "{bad}");
    }
    assert!(parse_address("02:00:00:00:00:09").unwrap_err().contains("use aw-query mac"));
    for ip in ["192.0.2.9", "fe80::1%eth0"] {
        assert!(parse_mac(ip).unwrap_err().contains("use aw-query ip"), "{ip}");
    }
}

#[test]
fn usual_mistakes_have_a_remedy() {
    let remedied = |line: &str| {
        let arguments: Vec<_> = line.split(' ').map(String::from).collect();
        let all = ["aw-query".into()].into_iter().chain(arguments.clone());
        Options::try_parse_from(all).err().and_then(|error| remedy(&error, &arguments))
    };
    let in_quotes =
        |option: &str, time: &str| Some(format!("put the time into quotes: {option} '{time}'"));
    for (line, expected) in [
        ("192.0.2.9", Some("write aw-query ip 192.0.2.9".into())),
        ("02:00:00:00:00:09", Some("write aw-query mac 02:00:00:00:00:09".into())),
        ("device", None),
        ("who 192.0.2.9 --at yesterday 14:05", in_quotes("--at", "yesterday 14:05")),
        ("who --at yesterday 14:05 192.0.2.9", in_quotes("--at", "yesterday 14:05")),
        ("who 192.0.2.9 --at=yesterday 14:05", in_quotes("--at", "yesterday 14:05")),
        ("changes --since 2 days ago", in_quotes("--since", "2 days ago")),
        ("changes --since 2026-11-20 14:05", in_quotes("--since", "2026-11-20 14:05")),
        ("changes --until tue 14:05:07 Z", in_quotes("--until", "tue 14:05:07 Z")),
        (
            "who 192.0.2.9 --from 1h",
            Some("who answers for one time, --at TIME; aw-query ip takes --from and --to".into()),
        ),
        ("mac Emmas Handy", Some("put the name into quotes: mac 'Emmas Handy'".into())),
        ("mac Emmas Handy --at now", Some("put the name into quotes: mac 'Emmas Handy'".into())),
        (
            "forget 02:00:00:00:00:09",
            Some(
                "no device is removed from a history; aw-query name MAC --remove removes its name, and aw-sqlite forget-names MAC what it calls itself"
                    .into(),
            ),
        ),
        ("who 192.0.2.9 14:05", Some("write --at '14:05'".into())),
        ("who 192.0.2.9 yesterday 14:05", Some("write --at 'yesterday 14:05'".into())),
        (
            "--database x.db --at=1h who 192.0.2.9",
            Some("times stand after the question: aw-query who ADDRESS --at TIME".into()),
        ),
        (
            "--at 1h who 192.0.2.9",
            Some("times stand after the question: aw-query who ADDRESS --at TIME".into()),
        ),
        ("who 192.0.2.9 --at -1d", None), // no mistake
    ] {
        assert_eq!(remedied(line), expected, "{line}");
    }
    assert!(Options::try_parse_from("aw-query who 192.0.2.9 --at -1d".split(' ')).is_ok());
}

/// clap breaks longer lines, at another place.
#[test]
fn lines_of_the_help_are_short() {
    for line in after_help().lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}
