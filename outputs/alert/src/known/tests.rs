use aw_detect::{InfrastructureMemory, MacClaim, Memory};
use shm_layout::MacAddr;

use super::*;

const ETH0: &str = "sensor/addrwatch/eth0";
const ETH1: &str = "sensor/addrwatch/eth1";

fn mac(last: u8) -> MacAddr {
    MacAddr::new([0, 8, 0xe1, 0, 0, last])
}

/// A router, whose address another MAC took, and what else is known.
fn store(directory: &Path) -> AlertStore {
    let mut store = AlertStore::open(directory).unwrap();
    let known = |trust, last| Known {
        first: 1_700_000_000,
        last: 1_700_003_600,
        trust,
        mac: Some(mac(last)),
        ..Known::default()
    };
    let answered = Known { number: 1, ..known(Trust::Reported, 0x66) };
    for (network, part, key, known) in [
        (ETH0, Part::Router, "fe80::1", known(Trust::Learned, 1)),
        (ETH0, Part::RouterMac, "fe80::1 00:08:e1:00:00:01", known(Trust::Learned, 1)),
        (ETH0, Part::RouterMac, "fe80::1 00:08:e1:00:00:66", known(Trust::Reported, 0x66)),
        ("sensor/addrwatch/eth0.7", Part::DhcpServer, "10.7.0.1", known(Trust::Named, 2)),
        (ETH1, Part::DhcpServer, "10.1.0.1", known(Trust::Harmless, 3)),
        // Another MAC answered first for one that is named; and one that was reported.
        (ETH1, Part::DhcpServer, "10.1.0.9", known(Trust::Named, 0x66)),
        (ETH1, Part::DhcpServerMac, "10.1.0.9 00:08:e1:00:00:04", known(Trust::Learned, 4)),
        (ETH1, Part::DhcpServerMac, "10.1.0.9 00:08:e1:00:00:66", answered),
        (ETH0, Part::DhcpServer, "10.0.0.66", known(Trust::Reported, 0x66)),
        (ETH0, Part::Redirect, "fe80::1 fe80::9", known(Trust::Reported, 9)),
        (ETH0, Part::Period, "", Known { number: 1, ..Known::default() }),
    ] {
        store.memory.store_known(network, part, key, &known).unwrap();
    }
    store.commit().unwrap();
    store
}

#[test]
fn each_row() {
    let directory = tempfile::tempdir().unwrap();
    let _store = store(directory.path()); // it is read while it is in use
    let rows = AlertStore::infrastructure(directory.path()).unwrap().unwrap();
    let block = |text: &str| NamedServer::Addresses(text.parse().unwrap());
    let rules = Rules {
        routers: vec![block("fe80::/64"), block("192.0.2.254/32")],
        dhcp_servers: vec![block("10.7.0.0/24"), NamedServer::Duid("0001".into())],
        ..Rules::default()
    };
    let entries = entries(&rows, &rules, &[]);
    let names = Names::from([(mac(1), "gateway".to_owned())]);
    let makers = Makers::new(directory.path());
    let cells: Vec<_> =
        entries.iter().map(|one| one.cells(&names, &makers, &TimeZone::UTC, false)).collect();
    let mut table = Vec::new();
    write_table(&mut table, &cells).unwrap();
    let table = String::from_utf8(table).unwrap();
    let lines: Vec<_> = table.lines().collect();
    let times = "2023-11-14 22:13:20  2023-11-14 23:13:20";
    let gateway = "00:08:e1:00:00:01 [gateway]";
    let first: Vec<_> =
        lines[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let since = &times[..19];
    assert_eq!(first[..6], ["eth0", "router", "fe80::1", gateway, "learned", since]);
    let column = lines[0].find("WHY").unwrap();
    let of = |line: &&str| {
        let (left, right) = line.split_at(column);
        let words: Vec<_> = left.split_whitespace().collect();
        (words.join(" "), right.to_owned())
    };
    let others: Vec<_> = lines[2..].iter().map(of).collect();
    let of = |left: &str, right: &str| (left.to_owned(), right.to_owned());
    assert_eq!(
        others,
        [
            of("eth0.7 DHCP server 10.7.0.1 00:08:e1:00:00:02", &format!("named        {times}")),
            of("eth1 DHCP server 10.1.0.1 00:08:e1:00:00:03", &format!("in a digest  {times}")),
            of(
                "eth1 DHCP server 10.1.0.9 00:08:e1:00:00:66 answered, 00:08:e1:00:00:04 learned",
                &format!("named        {times}")
            ),
            of("- router 192.0.2.254 -", "named        -                    -"),
            of("- DHCP server DUID 0001 -", "named        -                    -"),
            of("eth0 DHCP server 10.0.0.66 00:08:e1:00:00:66", &format!("reported     {times}")),
            of("eth0 router fe80::1 00:08:e1:00:00:66", &format!("reported     {times}")),
        ]
    );
    let json = entries[0].json(&names);
    assert_eq!((&json["network"], &json["ring"]), (&"eth0".into(), &"/addrwatch".into()));
    let taker = entries.last().unwrap().json(&names);
    assert_eq!(
        (&taker["macs"], &taker["normal"], &json["normal"]),
        (
            &json!([{
                "mac": "00:08:e1:00:00:66", "why": "reported", "name": null,
                "first": 1_700_000_000, "last": 1_700_003_600,
            }]),
            &false.into(),
            &true.into()
        )
    );
    assert_eq!(json["first"], 1_700_000_000);
}

/// A router that is named, or that a DHCP server named: who claimed its address, and which MAC took it.
#[test]
fn macs_of_claims() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = AlertStore::open(directory.path()).unwrap();
    let mut station = Station::default();
    for (last, time) in [(1, 1_700_000_000), (0x66, 1_700_000_100), (7, 1_700_000_200)] {
        station.claims.insert(0, MacClaim { mac: mac(last), time });
    }
    station.first = station.claims.last().copied();
    for last in [1, 2] {
        store.memory.store_station(ETH0, [10, 0, 0, last].into(), &station).unwrap();
    }
    let seen = 1_700_000_100;
    let known = |trust| Known { trust, first: seen, last: seen, further: seen, ..Known::default() };
    for (part, key, trust) in [
        (Part::RouterMac, "10.0.0.1 00:08:e1:00:00:66", Trust::Reported),
        (Part::RouterMac, "10.0.0.1 00:08:e1:00:00:67", Trust::Reported),
        (Part::Router, "10.0.0.2", Trust::Learned),
    ] {
        store.memory.store_known(ETH0, part, key, &known(trust)).unwrap();
    }
    store.commit().unwrap();
    let rows = AlertStore::infrastructure(directory.path()).unwrap().unwrap();
    let block = |text: &str| NamedServer::Addresses(text.parse().unwrap());
    let routers = ["10.0.0.1/32", "10.0.0.9/32"].map(block).to_vec();
    let rules = Rules { routers, ..Rules::default() };
    let stations = AlertStore::stations_at(directory.path(), &addresses(&rows, &rules));
    let entries = entries(&rows, &rules, &stations);
    let macs = |one: &Entry| one.macs.iter().map(|one| (one.mac, one.why)).collect::<Vec<_>>();
    let shown: Vec<_> = entries.iter().map(|one| (&*one.key, macs(one))).collect();
    let (first, other, taker) = ((mac(1), FIRST), (mac(7), CLAIMED), (mac(0x66), REPORTED_WORD));
    assert_eq!(
        shown,
        [
            ("10.0.0.2", vec![first]),
            ("10.0.0.1", vec![first]),
            ("10.0.0.9", Vec::new()),
            ("10.0.0.2", vec![other, (mac(0x66), CLAIMED)]),
            // Also if its claim is stored no longer.
            ("10.0.0.1", vec![taker, (mac(0x67), REPORTED_WORD), other]),
        ]
    );
    let cells = |one: &Entry| {
        let makers = Makers::new(directory.path());
        one.cells(&Names::new(), &makers, &TimeZone::UTC, false)
    };
    assert_eq!(
        cells(&entries[4])[3],
        "00:08:e1:00:00:66, 00:08:e1:00:00:67, 00:08:e1:00:00:07 claimed"
    );
    // The last claim of another MAC is none of the owner's; and each of the others has its times.
    assert_eq!(entries[1].times, [Some(1_700_000_000), Some(1_700_000_000)]);
    assert_eq!(entries[4].times, [Some(seen), Some(1_700_000_200)]);
    assert_eq!(entries[3].times, [None, Some(1_700_000_200)]);
    assert_eq!(entries[1].json(&Names::new())["normal"], true);
    let legend = legend(&entries).unwrap();
    assert!(legend.starts_with("first: ") && legend.contains("; claimed: "), "{legend}");
}

/// Where the configuration has MACs, no other one is normal: not the first one, nor one that was learned.
#[test]
fn macs_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = AlertStore::open(directory.path()).unwrap();
    let claim = |last, time| MacClaim { mac: mac(last), time };
    let (first, own) = (claim(0x66, 1_700_000_000), claim(1, 1_700_000_050));
    let learned = vec![mac(0x66)];
    let station =
        Station { claims: vec![own, first], first: Some(first), learned, ..Station::default() };
    store.memory.store_station(ETH0, [10, 0, 0, 1].into(), &station).unwrap();
    for (part, key, trust) in [
        (Part::Router, "fe80::1", Trust::Learned),
        (Part::RouterMac, "fe80::1 00:08:e1:00:00:66", Trust::Learned),
    ] {
        let known = Known { trust, first: 1_700_000_000, last: 1_700_009_000, ..Known::default() };
        store.memory.store_known(ETH0, part, key, &known).unwrap();
    }
    store.commit().unwrap();
    let rows = AlertStore::infrastructure(directory.path()).unwrap().unwrap();
    let owned = |ip: &str| NamedServer::Owned(ip.parse().unwrap(), vec![mac(1)]);
    let routers = ["10.0.0.1", "fe80::1", "10.0.0.9"].map(owned).to_vec();
    let rules = Rules { routers, ..Rules::default() };
    let stations = AlertStore::stations_at(directory.path(), &addresses(&rows, &rules));
    let entries = entries(&rows, &rules, &stations);
    let macs = |one: &Entry| one.macs.iter().map(|one| (one.mac, one.why)).collect::<Vec<_>>();
    let shown: Vec<_> = entries.iter().map(|one| (&*one.key, macs(one))).collect();
    let (own, other) = ((mac(1), "named"), (mac(0x66), CLAIMED));
    assert_eq!(
        shown,
        [
            ("fe80::1", vec![own]),
            ("10.0.0.1", vec![own]),
            ("10.0.0.9", vec![own]),
            ("fe80::1", vec![other]),
            ("10.0.0.1", vec![other]),
        ]
    );
    assert_eq!(entries[1].times, [None, Some(1_700_000_050)]);
    assert_eq!(entries[3].times, [Some(1_700_000_000), Some(1_700_009_000)]);
}

/// With its VLANs; what is reported once for all stays.
#[test]
fn an_interface_learns_again() {
    let directory = tempfile::tempdir().unwrap();
    drop(store(directory.path()));
    let routers = vec![NamedServer::Addresses("10.0.0.1/32".parse().unwrap())];
    let rules = Rules { routers, ..Rules::default() };
    let relearn = |interface| relearn(directory.path(), interface, &rules);
    let error = relearn(Some("eth7")).unwrap_err().to_string();
    assert_eq!(error, "interface eth7 is not known (known: eth0, eth1)");
    // Which MAC was the first one at a named address is forgotten, too; at others, it is not.
    let mut store = AlertStore::open(directory.path()).unwrap();
    let claim = MacClaim { mac: mac(0x66), time: 1_700_000_000 };
    let station = Station { claims: vec![claim], first: Some(claim), ..Station::default() };
    let places = [(ETH0, 1), (ETH0, 2), (ETH1, 1)].map(|(of, last)| (of, [10, 0, 0, last].into()));
    for (network, ip) in places {
        store.memory.store_station(network, ip, &station).unwrap();
    }
    store.commit().unwrap();
    drop(store);
    let text = relearn(Some("addrwatch/eth0")).unwrap();
    assert!(
        text.starts_with("eth0: 4 routers and servers forgotten\nFrom the next start "),
        "{text}"
    );
    let mut store = AlertStore::open(directory.path()).unwrap();
    let keys =
        |store: &mut AlertStore, network: &str, part| store.memory.keys(network, part).unwrap();
    for part in [Part::Router, Part::RouterMac, Part::Period] {
        assert_eq!(keys(&mut store, ETH0, part), [""; 0]);
    }
    assert_eq!(keys(&mut store, ETH0, Part::Redirect).len(), 1);
    let left = places.map(|(of, ip)| store.memory.station(of, ip).unwrap().claims.len());
    assert_eq!(left, [0, 1, 1]);
    assert_eq!(keys(&mut store, ETH1, Part::DhcpServer), ["10.1.0.1", "10.1.0.9"]);
    drop(store);
    let text = relearn(None).unwrap();
    assert!(text.contains("eth1: 3 routers and servers forgotten\n"), "{text}");
}
