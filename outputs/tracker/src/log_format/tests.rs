use super::*;
use crate::local_time::Calendar;
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn parsed(text: &str) -> Vec<Result<String, (usize, &'static str)>> {
    let show = |row: ParsedRow| {
        let ParsedRow { mac, name, ip, interface, date, first, last, hours, .. } = row;
        format!(
            "{mac}|{}|{ip}|{interface}|{}|{first}|{last}|{hours}",
            name.unwrap_or("-"),
            compact(date)
        )
    };
    parse_log(text.as_bytes())
        .map(|(number, row)| row.map(show).map_err(|why| (number, why)))
        .collect()
}

/// The order of columns in macupd_tracker's README, and the one that macupd_tracker wrote.
#[test]
fn both_orders_of_columns() {
    let readme = "\
mac               name      ip              iface date     time last   active-hours
22:22:22:22:22:22 windows   192.168.1.124   br0   20180320 1031 2231 ......12..............*.
55:55:55:55:55:55 unknown   192.168.1.244   vlan2 20180320 2037 2359 ..............9.....****
";
    let code = "\
mac               name     date     time last ip              iface active-hours            \n\
22:22:22:22:22:22 windows  20180320 1031 2231 192.168.1.124   br0   ......12..............*.
55:55:55:55:55:55 unknown  20180320 2037 2359 192.168.1.244   vlan2 ..............9.....****
";
    let expected = [
        Ok("22:22:22:22:22:22|windows|192.168.1.124|br0|20180320|1031|2231|......12..............*.".into()),
        Ok("55:55:55:55:55:55|-|192.168.1.244|vlan2|20180320|2037|2359|..............9.....****".into()),
    ];
    assert_eq!(parsed(readme), expected);
    assert_eq!(parsed(code), expected);
    for text in [readme, code] {
        let line = text.lines().nth(1).unwrap();
        assert_eq!(parse_alert(line).unwrap().interface, "br0");
    }
    assert!(parse_alert("something else").is_none());
}

#[test]
fn other_lines_of_macupd_tracker() {
    let text = "\
mac               name     date     time last ip              iface active-hours            \n\
22:22:22:22:22:22 unknown  20180320 1031 2231 rssi            wlan  ......12..............*.
# a comment

33:33:33:33:33:33 linux    20180320 0101 0202 192.168.1.240   eth0.100.1*.....................
";
    assert_eq!(
        parsed(text),
        [Ok("33:33:33:33:33:33|linux|192.168.1.240|eth0.100|20180320|0101|0202|.1*.....................".into())]
    );
}

#[test]
fn corrupt_rows_are_reported_and_the_others_are_read() {
    let text = "\
mac name ip iface date time last active-hours
22:22:22:22:22 short 192.0.2.1 br0 20180320 1031 2231 ........................
22:22:22:22:22:22 name 192.0.2 br0 20180320 1031 2231 ........................
22:22:22:22:22:22 name 192.0.2.1 br0 20180332 1031 2231 ........................
22:22:22:22:22:22 name 192.0.2.1 br0 20180320 2431 2231 ........................
22:22:22:22:22:22 name 192.0.2.1 br0 20180320 1031 22 ........................
22:22:22:22:22:22 name 192.0.2.1 br0 20180320 1031 2231 .......................
22:22:22:22:22:22 name 192.0.2.1 br0
22:22:22:22:22:22 name 2001:db8::1 br0 20180320 1031 2231 1.......................";
    let whys: Vec<_> = parsed(text)
        .into_iter()
        .map(|line| line.map_err(|(number, why)| format!("{number} {why}")))
        .collect();
    assert_eq!(
        whys,
        [
            Err("2 not a MAC address".into()),
            Err("3 not an IP address".into()),
            Err("4 not a date".into()),
            Err("5 not a time of day".into()),
            Err("6 not a time of day".into()),
            Err("7 not 24 of the characters . 1 to 9 *".into()),
            Err("8 fewer than eight columns".into()),
            Ok("22:22:22:22:22:22|name|2001:db8::1|br0|20180320|1031|2231|1.......................".to_owned()),
        ]
    );
    assert_eq!(parse_log(b"\xff\n").next(), Some((1, Err("not UTF-8 text"))));
}

fn activity(calendar: &Calendar, first: &str, last: &str) -> (Date, Activity) {
    let date = parse_date("20261122").unwrap();
    let at = |clock: &str| calendar.resolve(date, clock.parse().unwrap());
    let mut activity = Activity::new(at(first), Sender::Own);
    activity.add(at(last), Sender::Own);
    (date, activity)
}

fn key(ip: &str, interface: &str) -> RowKey {
    RowKey {
        mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
        ip: ip.parse().unwrap(),
        interface: interface.into(),
    }
}

#[test]
fn columns_are_as_wide_as_the_longest_entry() {
    let calendar = Calendar::new(TimeZone::UTC);
    let (date, activity) = activity(&calendar, "0805", "1630");
    let keys =
        [key("192.0.2.1", "br0"), key("2001:db8:1111:2222:3333:4444:5555:6666", "enp0s31f6.100")];
    let text =
        format_log(date, &[(&keys[0], &activity, "Omas Küche"), (&keys[1], &activity, UNKNOWN)]);
    assert_eq!(
        text,
        "\
mac               name       ip                                     iface         date     time last active-hours
02:00:00:00:00:01 Omas Küche 192.0.2.1                              br0           20261122 0805 1630 ........1.......1.......
02:00:00:00:00:01 unknown    2001:db8:1111:2222:3333:4444:5555:6666 enp0s31f6.100 20261122 0805 1630 ........1.......1.......
"
    );
    assert_eq!(
        format_row(date, &(&keys[0], &activity, UNKNOWN)),
        "02:00:00:00:00:01 unknown   192.0.2.1       br0   20261122 0805 1630 ........1.......1.......\n"
    );
}

proptest! {
    #[test]
    fn no_log_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "(\\PC*\n){0,4}") {
        parse_log(&bytes).for_each(drop);
        parse_log(text.as_bytes()).for_each(drop);
        let other_order = format!("{}\n{text}", LEGACY_COLUMNS.join(" "));
        parse_log(other_order.as_bytes()).for_each(drop);
        text.lines().for_each(|line| {
            let _ = parse_alert(line);
        });
    }

    /// Valid words in any number and order.
    #[test]
    fn no_order_of_words_makes_the_parser_panic(words in proptest::collection::vec(prop_oneof![
        Just("02:00:00:00:00:01"), Just("ä b"), Just("192.0.2.1"), Just("br0"), Just("20261122"), Just("0805"),
        Just("........1.......1......."), Just("éééééééééééééééééééééééé"), Just("rssi"),
    ], 0..12)) {
        parse_log(words.join(" ").as_bytes()).for_each(drop);
        parse_log(format!("{}\n{}", LEGACY_COLUMNS.join(" "), words.join(" ")).as_bytes()).for_each(drop);
    }

    /// A log is read as it was written, with any name.
    #[test]
    fn round_trip(name in "[^\\s\\p{Cc}]{1,9}( [^\\s\\p{Cc}]{1,9}){0,3}", ip: [u8; 16], first in 0..24u8, last in 0..24u8) {
        let calendar = Calendar::new(TimeZone::UTC);
        let (first, last) = (first.min(last), first.max(last));
        let (date, activity) = activity(&calendar, &format!("{first:02}00"), &format!("{last:02}59"));
        let keys = [key("192.0.2.1", "br0"), key(&std::net::Ipv6Addr::from(ip).to_string(), "é.1")];
        let text = format_log(date, &[(&keys[0], &activity, &name), (&keys[1], &activity, UNKNOWN)]);
        let read: Vec<_> = parse_log(text.as_bytes()).map(|(_, line)| line.unwrap()).collect();
        prop_assert_eq!(read.len(), 2);
        for (line, key) in read.iter().zip(&keys) {
            prop_assert_eq!((line.mac, line.ip, line.interface), (key.mac, key.ip, &*key.interface));
            prop_assert_eq!((line.date, line.hours), (date, activity.hours));
            prop_assert_eq!((line.first, line.last), (activity.first.clock, activity.last.clock));
        }
        prop_assert_eq!(read[0].name, Some(&*name).filter(|name| *name != UNKNOWN));
    }
}
