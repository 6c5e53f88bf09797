use std::{fmt::Write, path::Path};

use aw_output::names::NameList;

use super::*;
use crate::local_time::parse_date;

/// Rows of a MAC, each with another address: last seen in this hour.
fn rows(mac: u32, addresses: u32, hour: u32) -> String {
    (0..addresses).fold(String::new(), |mut rows, address| {
        let [_, a, b, c] = mac.to_be_bytes();
        let _ = writeln!(
            rows,
            "02:00:00:{a:02x}:{b:02x}:{c:02x} unknown 2001:db8::{mac:x}:{address:x} eth0 20261128 {hour:02}{:02} {hour:02}{:02} ...1....................",
            address % 60,
            address % 60,
        );
        rows
    })
}

fn report(logs: &[String]) -> ActivityReport {
    let day = parse_date("20261128").unwrap();
    let mut builder = ReportBuilder::new(String::new(), day, true, 1);
    for log in logs {
        let log = format!("mac name ip iface date time last active-hours\n{log}");
        builder.add_tracker_log(day, "log", log.as_bytes());
    }
    builder.finish(&DeviceNames::new(), &Makers::new(Path::new("/nonexistent")))
}

fn device(report: &ActivityReport, mac: u32) -> &DeviceActivity {
    let is_it = |device: &&DeviceActivity| device.mac.number() & 0xff_ffff == u64::from(mac);
    report.devices.iter().find(is_it).unwrap()
}

/// A host that was on for a month has all its addresses, the current ones first.
#[test]
fn current_and_earlier_addresses() {
    let report = report(&[rows(1, 60, 3), rows(1, 3, 12), rows(2, 20, 12)]);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let one = device(&report, 1);
    assert_eq!((one.addresses.len(), one.has_more_addresses), (60, false));
    assert_eq!(one.current_addresses(), 3);
    assert!(one.addresses[..3].iter().all(|address| address.last.1.hour == 12));
    assert_eq!(device(&report, 2).current_addresses(), OWN_ADDRESSES, "twenty are no list");
}

/// Made-up addresses fill what devices share, and no more; a device that comes then has its last eight ones.
#[test]
fn made_up_addresses() {
    let mut logs: Vec<String> = (100..320).map(|mac| rows(mac, 300, 3)).collect();
    logs.push(rows(1, 20, 12));
    let report = report(&logs);
    let all: usize = report.devices.iter().map(|device| device.addresses.len()).sum();
    assert_eq!(all, SPARE_ADDRESSES + 221 * OWN_ADDRESSES);
    assert!(report.devices.iter().all(|device| device.addresses.len() <= MAX_ADDRESSES));
    let one = device(&report, 1);
    assert_eq!((one.addresses.len(), one.has_more_addresses), (OWN_ADDRESSES, true));
    let minutes = one.addresses.iter().map(|address| address.last.1.minute);
    assert_eq!(minutes.collect::<Vec<_>>(), [19, 18, 17, 16, 15, 14, 13, 12]);
}

/// Whether a device was there yesterday afternoon: its hours of the days before.
#[test]
fn hours_of_other_days() {
    let day = parse_date("20261128").unwrap();
    let mut builder = ReportBuilder::new(String::new(), day, true, 31);
    for (date, mac, hours) in [
        ("20261127", 1, "1......11..............."),
        ("20261125", 1, "..................111..."),
        ("20261110", 1, "...1...................."),
        ("20261128", 1, ".......1................"),
        ("20261128", 2, ".......1................"),
    ] {
        let row = format!(
            "mac name ip iface date time last active-hours\n02:00:00:00:00:0{mac} phone 192.0.2.{mac} eth0 {date} 0000 2359 {hours}\n"
        );
        builder.add_tracker_log(parse_date(date).unwrap(), "log", row.as_bytes());
    }
    let report = builder.finish(&DeviceNames::new(), &Makers::new(Path::new("/nonexistent")));
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let page = html::to_html(&report);
    assert!(page.contains(
        "<details><summary>days before</summary><ul class=\"ips mono\">\
         <li>Fri 27 Nov <span>0, 7–8</span><li>Thu 26 Nov <span>none</span><li>Wed 25 Nov <span>18–20</span>"
    ));
    assert!(page.contains("<li>Sat 21 Nov <span>none</span></ul></details>"), "a week");
    assert_eq!(page.matches("days before").count(), 1, "of the device that was there");
}

/// A network has its name beside its interface; one of another ring, too.
#[test]
fn names_of_networks() {
    let log = rows(1, 1, 12)
        + &rows(2, 1, 12).replace("eth0", "site-b/eth0.30")
        + &rows(3, 1, 12).replace("eth0", "eth1");
    let mut report = report(&[log]);
    let list = NameList::parse(&b"network eth0 home <1>\nnetwork *.30 guests\n"[..]).unwrap();
    report.name_networks(&list.networks);
    let page = html::to_html(&report);
    for shown in ["eth0 (home &lt;1&gt;)", "site-b/eth0.30 (guests)", "<bdi>eth1</bdi>"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
}
