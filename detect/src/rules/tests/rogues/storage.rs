//! What is stored, and where there is no room.

use super::*;

/// The database: what is known survives, and a flood displaces nothing that was learned.
#[test]
fn infrastructure_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let open = || crate::SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
    let learned = Known {
        mac: Some(mac(ROUTER)),
        number: 1,
        further: 2,
        text: "flags=0x00".into(),
        ..Known::new(5, Trust::Learned)
    };
    let mut memory = open();
    let store = |memory: &mut crate::SqliteMemory, network: &str, key: &str, known: &Known| {
        memory.store_known(network, Part::Router, key, known).unwrap();
    };
    store(&mut memory, "s/r/eth0", "fe80::1", &learned);
    store(&mut memory, "s/r/eth0.7", "fe80::2", &learned);
    store(&mut memory, "s/r/eth01", "fe80::3", &learned);
    for number in 0..500 {
        let reported = Known::new(number, Trust::Reported);
        store(&mut memory, "s/r/eth0", &format!("fe80::1:{number}"), &reported);
    }
    memory.commit(std::time::Instant::now()).unwrap();
    drop(memory);
    let mut memory = open();
    assert_eq!(memory.known("s/r/eth0", Part::Router, "fe80::1").unwrap(), Some(learned.clone()));
    assert_eq!(memory.known("s/r/eth0", Part::Dns, "fe80::1").unwrap(), None);
    assert_eq!(memory.keys("s/r/eth0", Part::Router).unwrap().len(), 64);
    let newest = memory.known("s/r/eth0", Part::Router, "fe80::1:499").unwrap().unwrap();
    assert_eq!((newest.trust, newest.first), (Trust::Reported, 499));
    let found = memory.learned_infrastructure("s/r/eth0").unwrap();
    let found: Vec<_> = found.iter().map(|(network, _, key, _)| (&**network, &**key)).collect();
    assert_eq!(found, [("s/r/eth0", "fe80::1"), ("s/r/eth0.7", "fe80::2")]);
    // All of a part are learned: further ones are not stored.
    let long = Known { last: 5 + 3600, ..learned.clone() };
    for number in 0..100 {
        store(&mut memory, "s/r/eth9", &format!("fe80::1:{number}"), &long);
    }
    assert_eq!(memory.keys("s/r/eth9", Part::Router).unwrap().len(), 64);
    assert_eq!(memory.known("s/r/eth9", Part::Router, "fe80::1:99").unwrap(), None);
    // What was learned and seen for less than an hour only makes room for what is learned, and for others a day later.
    let has = |memory: &mut crate::SqliteMemory, key: &str| {
        memory.known("s/r/eth8", Part::Router, key).unwrap().is_some()
    };
    store(&mut memory, "s/r/eth8", "fe80::1", &long);
    for number in 0..100 {
        store(&mut memory, "s/r/eth8", &format!("fe80::1:{number}"), &learned);
    }
    assert!(has(&mut memory, "fe80::1") && has(&mut memory, "fe80::1:99"));
    for (time, is_stored) in [(5 + DAY - 1, false), (5 + DAY, true)] {
        store(&mut memory, "s/r/eth8", "fe80::2", &Known::new(time, Trust::Reported));
        assert_eq!(has(&mut memory, "fe80::2"), is_stored);
    }
    assert!(has(&mut memory, "fe80::1"));
}

/// Claims of a server that the configuration names, in made-up VLANs, leave nothing behind; periods and limits have a place always.
#[test]
fn what_is_named_displaces_nothing() {
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = vec![NamedServer::Addresses("198.51.100.0/24".parse().unwrap())];
    let before = scene.memory.known.len();
    for vlan in 1..100 {
        let claim = NameRecord { vlan: VlanId::from_tag(vlan), ..request(CLIENT, "198.51.100.1") };
        assert_eq!(scene.kinds(&[claim]), []);
    }
    assert_eq!(scene.memory.known.len(), before);
    let directory = tempfile::tempdir().unwrap();
    let mut memory = crate::SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
    memory.max_rows = 10;
    let learned = Known { last: DAY, ..Known::new(5, Trust::Learned) };
    for number in 0..20 {
        memory.store_known(&format!("s/r/eth{number}"), Part::Router, "fe80::1", &learned).unwrap();
    }
    assert_eq!(memory.known("s/r/eth19", Part::Router, "fe80::1").unwrap(), None);
    memory.store_known("s/r/eth19", Part::Period, "", &learned).unwrap();
    assert_eq!(memory.known("s/r/eth19", Part::Period, "").unwrap(), Some(learned));
}
