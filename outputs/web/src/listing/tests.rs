use super::*;

fn device(mac: u8, name: Option<&str>, address: &str, last: i64) -> Device {
    let mac = MacAddr::new([2, 0, 0, 0, 0, mac]);
    Device {
        addresses: address.parse().into_iter().collect(),
        last: (last > 0).then(|| UnixTime::new(last, 0)),
        ..Device::unlisted(mac, (name.map(str::to_owned), None), None)
    }
}

#[test]
fn orders() {
    let all = [
        device(1, Some("camera 10"), "10.0.0.10", 5),
        device(2, None, "10.0.0.9", 0),
        device(3, Some("Camera 9"), "", 9),
    ];
    let mut all = all.each_ref();
    let mut order = |sort: Sort, is_reversed| {
        sort.sort(&mut all, is_reversed);
        all.map(|one| one.mac.octets()[5])
    };
    assert_eq!(order(Sort::Name, false), [3, 1, 2]);
    assert_eq!(order(Sort::Address, false), [2, 1, 3]);
    assert_eq!(order(Sort::Last, false), [3, 1, 2]);
    assert_eq!(order(Sort::Last, true), [2, 1, 3]);
    for sort in Sort::ALL {
        order(sort, false);
        assert_eq!(Sort::parse(sort.name()), Some(sort));
    }
    assert_eq!(order(Sort::Mac, false), [1, 2, 3]);
}

#[test]
fn here() {
    let now = UnixTime::new(100_000, 0);
    let is_here = |last| device(1, None, "", last).is_here(30, now);
    for (last, expected) in [
        (98_200, true),
        (98_199, false),
        (101_800, true),
        (101_801, false),
        (i64::MAX / 2_000_000_000, false),
        (0, false),
    ] {
        assert_eq!(is_here(last), expected, "{last}");
    }
}

/// Of the rows of a device in several networks, one of the device; and each row again as it was.
#[test]
fn a_list_of_devices() {
    let mut table = ResultTable::default();
    table.columns = vec![
        "mac",
        "first_seen",
        "last_seen",
        "+count",
        "addresses",
        "+frame_sources",
        "interface",
        "vlan",
        "?outer_vlan",
        "?host",
        "?router",
        "?ring",
        "+claimed_name",
        "+name_source",
        "+name_since",
        "name",
        "maker",
    ];
    let row = |mac: u8, times: [i64; 2], addresses: &[&str], vlan: i64, name: Option<&str>| {
        let [first, last] = times.map(|time| Cell::Time(UnixTime::new(time, 0)));
        let addresses = Cell::List(addresses.iter().map(|ip| (*ip).into()).collect());
        let sources = Cell::List(vec!["02:00:00:00:00:09".into()]);
        let mac = Cell::text(MacAddr::new([2, 0, 0, 0, 0, mac]));
        let mut cells = vec![mac, first, last, Cell::None, addresses, sources];
        cells.extend([
            Cell::text("eth0"),
            vlan.into(),
            0.into(),
            Cell::text("here"),
            Cell::None,
            Cell::text("/r"),
        ]);
        match name {
            Some(name) => cells.extend([Cell::None, Cell::None, Cell::None, Cell::text(name)]),
            None => {
                let claim = ["nas", "mDNS host name"].map(Cell::text);
                cells.extend(claim);
                cells.extend([UnixTime::new(2, 0).into(), Cell::None]);
            }
        }
        cells.push(Cell::None);
        cells
    };
    table.rows = vec![
        row(1, [5, 90], &["10.0.0.2", "10.0.0.1"], 7, Some("printer")),
        row(2, [1, 80], &["fe80::1"], 0, None),
        row(1, [3, 70], &["10.0.0.1", "10.0.0.3"], 0, Some("printer")),
    ];
    let rows = table.rows.clone();
    let answer =
        Answer { table, no_match: None, remarks: Vec::new(), left_off: 0, is_complete: true };
    let list = Arc::new(DeviceList::new(answer, UnixTime::new(200, 0)));
    let of = |devices: &[usize], by_network| {
        let devices: Vec<_> = devices.iter().map(|at| &list.devices(by_network)[*at]).collect();
        list.rows(&devices).collect::<Vec<_>>()
    };
    assert_eq!(of(&[2, 0, 1], true), [rows[2].clone(), rows[0].clone(), rows[1].clone()]);
    let one = row(1, [3, 90], &["10.0.0.2", "10.0.0.1", "10.0.0.3"], 7, Some("printer"));
    assert_eq!(of(&[0, 1], false), [one, rows[1].clone()]);
    assert_eq!(list.devices(false).len(), 2);
    let shown = |at: usize| {
        Shown::new(&list.devices(false)[at], UnixTime::new(100, 0), &TimeZone::UTC).name
    };
    assert_eq!([shown(0), shown(1)], ["printer", "“nas” (mDNS host name)"]);
    let vlans: Vec<_> = list.networks.iter().map(|one| one.cell("vlan")).collect();
    assert_eq!(vlans, [Cell::Number(0), Cell::Number(7)]);
}

#[test]
fn pages() {
    let items: Vec<usize> = (0..2 * PAGE + 1).collect();
    let of = |number| {
        let page = PageOf::new(number, items.len());
        (page.number, page.all, page.items(&items).copied().next(), page.items(&items).count())
    };
    assert_eq!(of(1), (1, 3, Some(0), PAGE));
    assert_eq!(of(3), (3, 3, Some(2 * PAGE), 1));
    assert_eq!(of(usize::MAX), of(3));
    assert_eq!(of(0), of(1));
    assert_eq!(PageOf::new(7, 0), PageOf { number: 1, all: 1 });
}

#[test]
fn how_long_ago() {
    let now = UnixTime::new(1_000_000, 0);
    for (seconds, text) in [
        (-5, "now"),
        (59, "now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
    ] {
        assert_eq!(ago(UnixTime::new(1_000_000 - seconds, 0), now), text);
    }
}
