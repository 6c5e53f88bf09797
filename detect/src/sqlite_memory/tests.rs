use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use shm_layout::UnixTime;

use super::*;
use crate::station::{Answer, MacClaim};

fn open(directory: &Path) -> SinkResult<SqliteMemory> {
    SqliteMemory::open(directory, "aw-test", "")
}

/// Of a network, with a value in each field.
fn network_state() -> NetworkState {
    NetworkState {
        first: 1,
        denied: 2,
        denied_since: 3,
        reported: 4,
        learned: true,
        learned_random: Some(MacAddr::new([2, 0, 0, 0, 0, 1])),
    }
}

#[test]
fn a_roll_back_discards_what_was_not_committed() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
    let ip: IpAddr = "10.0.0.1".parse().unwrap();
    let mut memory = open(directory.path()).unwrap();
    let mode = memory.path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "other users can read it");
    memory.store_device(old, &Device::new(1)).unwrap();
    memory.commit(Instant::now()).unwrap();
    let mut station = Station::default();
    station.claim(new, 7, |_| false);
    for _ in 0..2 {
        memory.store_station("eth0", ip, &station).unwrap();
        memory.store_device(new, &Device::new(7)).unwrap();
        memory.store_device(old, &Device { addresses: 1, ..Device::new(7) }).unwrap();
        memory.roll_back();
        assert_eq!(memory.station("eth0", ip).unwrap(), Station::default());
        assert_eq!(memory.device(new).unwrap(), None);
        assert_eq!(memory.device(old).unwrap(), Some(Device::new(1)));
    }
}

#[test]
fn committed_rows_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let mac = MacAddr::new([0, 8, 0xe1, 0, 0, 1]);
    let mut station = Station { probe: Some(MacClaim { mac, time: -5 }), ..Station::default() };
    station.claim(mac, 7, |_| false);
    station.sent_by(MacAddr::new([4; 6]), mac, 8);
    station.admit_alert(9, 1, true);
    station.answer = Some(Answer { mac, time: UnixTime::from_nanos(7_000_000_001) });
    station.asked(mac);
    station.share(mac, MacAddr::new([2; 6]));
    station.last_digested = 10;
    station.learn(mac);
    station.named = true;
    station.admit_no_host(MacAddr::BROADCAST, 9, 1);
    let device = Device { addresses: 3, silent: true, proxy: true, ..Device::new(7) };
    let device = Device { learned: true, named: true, scanner: true, ..device };
    let ips: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()];
    let mut memory = open(directory.path()).unwrap();
    assert!(open(directory.path()).is_err(), "one process at a time");
    for ip in ips {
        memory.store_station("eth0", ip, &station).unwrap();
    }
    memory.store_device(mac, &device).unwrap();
    memory.commit(Instant::now()).unwrap();
    drop(memory);
    let mut memory = open(directory.path()).unwrap();
    for ip in ips {
        assert_eq!(memory.station("eth0", ip).unwrap(), station);
    }
    assert_eq!(memory.station("eth1", ips[0]).unwrap(), Station::default());
    assert_eq!(memory.device(mac).unwrap(), Some(device));
}

/// The newest ones: what was there first is known for longest.
#[test]
fn the_newest_rows_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = open(directory.path()).unwrap();
    let mac = |number: i64| MacAddr::new([0, 0, 0, 0, 1, number as u8]);
    for time in 0..200 {
        memory.store_device(mac(time), &Device::new(time)).unwrap();
    }
    for time in 0..300 {
        // As after an import: all of the same age.
        let ip = Ipv4Addr::from(time as u32).into();
        let claims = vec![MacClaim { mac: mac(time), time: 5 }];
        memory.store_station("eth0", ip, &Station { claims, ..Station::default() }).unwrap();
    }
    assert_eq!(memory.new, MAX_ROWS + 500);
    memory.max_rows = 200;
    memory.forget().unwrap();
    let mut left = 0;
    memory.each_station(|_, _, _| left += 1).unwrap();
    assert_eq!(left, 180, "a tenth fewer than the maximum");
    assert!(memory.device(mac(199)).unwrap().is_some());
    memory.max_rows = 100;
    memory.forget().unwrap();
    let left = (0..200).filter(|time| memory.device(mac(*time)).unwrap().is_some());
    assert_eq!(left.collect::<Vec<_>>(), (0..90).collect::<Vec<_>>());
    assert_eq!(memory.take_forgotten(), 120 + 90 + 110);
}

/// A database of an earlier release, or after an import: the first ring with that network adopts each row, once.
#[test]
fn rows_without_host_and_ring_are_adopted_once() {
    let directory = tempfile::tempdir().unwrap();
    let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
    let ip = |last| IpAddr::from([10, 0, 0, last]);
    let claimed = |claims: &[(u8, i64)]| {
        let claims = claims.iter().map(|&(last, time)| MacClaim { mac: mac(last), time });
        Station { claims: claims.collect(), ..Station::default() }
    };
    let [a, b] = ["sensor/site-a/eth0", "sensor/site-b/eth0"];
    let mut memory = open(directory.path()).unwrap();
    for last in 1..=3 {
        memory.store_station("eth0", ip(last), &claimed(&[(last, 5)])).unwrap();
    }
    memory.store_station("eth0.7", ip(1), &claimed(&[(9, 5)])).unwrap();
    memory.commit(Instant::now()).unwrap();
    drop(memory);

    let mut memory = open(directory.path()).unwrap();
    assert_eq!(memory.station(a, ip(1)).unwrap(), claimed(&[(1, 5)]));
    memory.roll_back();
    assert_eq!(memory.station(b, ip(1)).unwrap(), claimed(&[(1, 5)]), "nothing was adopted yet");
    assert_eq!(memory.station(a, ip(2)).unwrap(), Station::default(), "b is the first one");
    memory.commit(Instant::now()).unwrap();
    drop(memory);

    let mut memory = open(directory.path()).unwrap();
    assert_eq!(memory.station(a, ip(3)).unwrap(), Station::default(), "also after a restart");
    assert_eq!(memory.station(b, ip(3)).unwrap(), claimed(&[(3, 5)]));
    // A later import of the same network: the newer claim is the current one.
    memory.store_station("eth0", ip(1), &claimed(&[(4, 9), (1, 3)])).unwrap();
    memory.store_station("site-b/eth0", ip(2), &claimed(&[(4, 4)])).unwrap();
    memory.commit(Instant::now()).unwrap();
    drop(memory);

    let mut memory = open(directory.path()).unwrap();
    assert_eq!(memory.station(b, ip(1)).unwrap(), claimed(&[(4, 9), (1, 5)]));
    assert_eq!(memory.station(a, ip(2)).unwrap(), Station::default());
    assert_eq!(memory.station(b, ip(2)).unwrap(), claimed(&[(2, 5), (4, 4)]));
    let mut rows = Vec::new();
    memory.each_station(|network, ip, _| rows.push(format!("{network} {ip}"))).unwrap();
    let [one, two, three] = [1, 2, 3].map(|last| format!("{b} 10.0.0.{last}"));
    assert_eq!(rows, ["eth0.7 10.0.0.1".to_owned(), one, two, three]);
}

/// The tables as an earlier release created them, without the newer columns.
#[test]
fn a_database_of_an_earlier_release() {
    let directory = tempfile::tempdir().unwrap();
    let old = Connection::open(SqliteMemory::path(directory.path(), "aw-test")).unwrap();
    old.execute_batch(
        "CREATE TABLE station (network TEXT, ip BLOB, last INTEGER, claims BLOB, probe BLOB,
            told INTEGER, untold INTEGER, told_duplicate INTEGER, PRIMARY KEY (network, ip)) WITHOUT ROWID;
        CREATE TABLE device (mac INTEGER PRIMARY KEY, first INTEGER, last INTEGER,
            addresses INTEGER, unknown_day INTEGER, silent INTEGER);
        INSERT INTO station VALUES ('eth0', x'0a000001', 7, x'0008e10000010000000000000007', NULL, 3, 2, 1);
        INSERT INTO device VALUES (38134611969, 5, 7, 4, 1, 0);",
    )
    .unwrap();
    drop(old);
    let mut memory = open(directory.path()).unwrap();
    let mac = MacAddr::new([0, 8, 0xe1, 0, 0, 1]);
    let station = Station {
        claims: vec![MacClaim { mac, time: 7 }],
        last_alert: 3,
        suppressed: 2,
        last_duplicate: 1,
        ..Station::default()
    };
    let ip = "10.0.0.1".parse().unwrap();
    assert_eq!(memory.station("sensor/addrwatch/eth0", ip).unwrap(), station);
    let device = Device { first: 5, last: 7, addresses: 4, unknown_day: 1, ..Device::default() };
    assert_eq!(memory.device(mac).unwrap(), Some(device));
    assert_eq!(memory.network("eth0").unwrap(), None);
    let state = network_state();
    memory.store_network("eth0", &state).unwrap();
    memory.commit(Instant::now()).unwrap();
    drop(memory);
    let mut memory = open(directory.path()).unwrap();
    assert_eq!(memory.network("eth0").unwrap(), Some(state));
    assert_eq!(memory.station("sensor/addrwatch/eth0", ip).unwrap(), station);
}

/// Networks of an earlier release remain unlearned: what was in the digest stays there, also in a network that was added after
/// the learning period.
#[test]
fn networks_of_an_earlier_release() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let old = Connection::open(SqliteMemory::path(directory.path(), "aw-test")).unwrap();
    old.execute_batch(
        "ALTER TABLE network DROP COLUMN learned; ALTER TABLE network DROP COLUMN learned_random;
        INSERT INTO network VALUES ('s/r/eth0', 1, 0, 0, 0);
        INSERT INTO device (mac, learned) VALUES (38134611969, 1)",
    )
    .unwrap();
    drop(old);
    let network = open(directory.path()).unwrap().network("s/r/eth0").unwrap().unwrap();
    assert_eq!(network, NetworkState { first: 1, ..NetworkState::default() });
}

/// A column that a later release added hinders neither reads nor writes.
#[test]
fn a_database_of_a_later_release() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let later = Connection::open(SqliteMemory::path(directory.path(), "aw-test")).unwrap();
    for table in ["station", "device", "network", "account"] {
        later
            .execute_batch(&format!("ALTER TABLE {table} ADD COLUMN later INTEGER DEFAULT 7"))
            .unwrap();
    }
    drop(later);
    let mac = MacAddr::new([0, 8, 0xe1, 0, 0, 1]);
    let (network, ip) = ("sensor/addrwatch/eth0", "10.0.0.1".parse().unwrap());
    let claims = vec![MacClaim { mac, time: 7 }];
    let station = Station { claims: claims.clone(), forwarded: claims, ..Station::default() };
    let device = Device { scanner: true, ..Device::new(1) };
    let state = network_state();
    let (ring, checkpoint) = (
        "/a".parse().unwrap(),
        Checkpoint { generation: 1, began: 2, delivered: 3, lost: 4, skipped: 5 },
    );
    let mut memory = open(directory.path()).unwrap();
    memory.store_station(network, ip, &station).unwrap();
    memory.store_device(mac, &device).unwrap();
    memory.store_network(network, &state).unwrap();
    memory.store_checkpoint(&ring, &checkpoint).unwrap();
    memory.commit(Instant::now()).unwrap();
    drop(memory);
    let mut memory = open(directory.path()).unwrap();
    assert_eq!(memory.station(network, ip).unwrap(), station);
    assert_eq!(memory.device(mac).unwrap(), Some(device));
    assert_eq!(memory.network(network).unwrap(), Some(state));
    assert_eq!(memory.checkpoint(&ring).unwrap(), Some(checkpoint));
}

/// A name protects what is stored already; a name that is gone protects nothing.
#[test]
fn names_protect_what_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let macs = [1, 2, 3].map(|last| MacAddr::new([0, 8, 0xe1, 0, 0, last]));
    let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
    let mut memory = open(directory.path()).unwrap();
    for (last, mac) in (1..).zip(macs) {
        memory.store_device(mac, &Device::new(1)).unwrap();
        let mut station = Station::default();
        station.claim(mac, 1, |_| false);
        station.claim(macs[1], 2, |_| false);
        // An earlier release did not store the first claim.
        station.first = station.first.filter(|_| last != 3);
        memory.store_station("host/ring/eth0", ip(last), &station).unwrap();
    }
    // What was only probed, or claimed for a group, has no first claim.
    memory.store_station("host/ring/eth0", ip(4), &Station::default()).unwrap();
    for named in [&[macs[0], macs[2]][..], &[macs[1]], &[]] {
        memory.apply_names(named).unwrap();
        for (last, mac) in (1..).zip(macs) {
            let station = memory.station("host/ring/eth0", ip(last)).unwrap();
            let device = memory.device(mac).unwrap().unwrap();
            let expected = named.contains(&mac);
            assert_eq!((station.named, device.named), (expected, expected), "{mac} {named:?}");
        }
        assert!(!memory.station("host/ring/eth0", ip(4)).unwrap().named);
    }
}

/// What stands in the place of the database is reported, and neither written nor waited for.
#[test]
fn what_is_no_file_is_refused() {
    type Place = fn(&Path) -> std::io::Result<()>;
    let places: [(Place, &str); 3] = [
        (
            |path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).map_err(Into::into),
            "it is a pipe, not a regular file (move it away: mv -n ",
        ),
        (
            |path| std::os::unix::fs::symlink("other", path),
            "it is a link, and links are not followed (replace it by a file)",
        ),
        (
            |path| std::fs::create_dir(path),
            "it is a directory, not a regular file (move it away: mv -n ",
        ),
    ];
    for (place, why) in places {
        let directory = tempfile::tempdir().unwrap();
        let path = SqliteMemory::path(directory.path(), "aw-test");
        place(&path).unwrap();
        let Err(Fault::Fatal(Error::Failed(fault))) = open(directory.path()) else {
            panic!("{why}: opened")
        };
        let shown = path.display();
        let remedy =
            if why.ends_with("mv -n ") { format!("{shown} {shown}.old)") } else { String::new() };
        assert_eq!(fault, format!("use {shown}: {why}{remedy}"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is created");
    }
}

/// The first places are for what matters and was there first.
#[test]
fn what_was_first_is_listed_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = open(directory.path()).unwrap();
    let mac = |last: u8| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
    // The gateway has a name, and is neither the first nor the lowest address.
    for (last, first) in [(1, 50), (2, 40), (3, 30), (4, 60)] {
        let mut station = Station { named: last == 4, ..Station::default() };
        station.claim(mac(last), first, |_| false);
        station.share(mac(last), mac(99));
        memory.store_station("host/ring/eth0", [10, 0, 0, last].into(), &station).unwrap();
        let device =
            Device { learned: true, scanner: true, named: last == 4, ..Device::new(first) };
        memory.store_device(mac(last), &device).unwrap();
    }
    let cluster = Station { learned: vec![MacAddr::new([3; 6])], ..Station::default() };
    memory.store_station("host/ring/eth0", [10, 0, 0, 0].into(), &cluster).unwrap();
    let (shared, _) = memory.shared_addresses(9).unwrap();
    let order: Vec<_> = shared.iter().map(|one| one.ip.to_string()).collect();
    assert_eq!(order, ["10.0.0.4", "10.0.0.3", "10.0.0.2", "10.0.0.1", "10.0.0.0"]);
    let (devices, _) = memory.learned_devices(9).unwrap();
    let order: Vec<_> = devices.iter().map(|device| device.mac).collect();
    assert_eq!(order, [4, 3, 2, 1].map(mac));
}

/// What several MACs share is listed; the statements of docs/guide/alerts.md make it forgotten.
#[test]
fn shared_addresses_are_listed_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let macs = [MacAddr::new([2; 6]), MacAddr::new([4; 6])];
    let mut memory = open(directory.path()).unwrap();
    for last in 1..=5 {
        let mut station = Station::default();
        station.claim(macs[0], 1, |_| false);
        if last > 2 {
            station.claim(macs[1], 2, |_| false);
            station.share(macs[0], macs[1]);
        }
        memory
            .store_station("host/ring/eth0", Ipv4Addr::new(10, 0, 0, last).into(), &station)
            .unwrap();
    }
    memory.store_device(macs[0], &Device { proxy: true, ..Device::new(1) }).unwrap();
    let (shared, count) = memory.shared_addresses(2).unwrap();
    let first: Vec<_> = shared.iter().map(|one| (one.ip.to_string(), &*one.macs)).collect();
    assert_eq!((first.len(), count), (2, 3));
    assert_eq!(first[0], ("10.0.0.3".into(), &macs[..]));
    assert_eq!(shared[0].network, "host/ring/eth0");
    memory.commit(Instant::now()).unwrap();
    drop(memory);
    let guide = include_str!("../../../docs/guide/alerts.md");
    let statements = guide.split('"').find(|text| text.starts_with("UPDATE ")).unwrap();
    let database = Connection::open(SqliteMemory::path(directory.path(), "aw-test")).unwrap();
    database.execute_batch(statements).unwrap();
    drop(database);
    let mut memory = open(directory.path()).unwrap();
    assert_eq!(memory.shared_addresses(2).unwrap().1, 0);
    assert!(!memory.device(macs[0]).unwrap().unwrap().proxy);
}
