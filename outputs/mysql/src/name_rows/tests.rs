use super::*;

const DAY: i64 = 86_400;
const BEGIN: i64 = 1_600_000_000; // no clock is before it

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([2, 0, a, b, c, d])
}

fn key(name: &str) -> NameKey {
    NameKey { interface: "eth0".into(), vlan: 0, source: NameSource::Lldp, name: name.into() }
}

fn at(seconds: i64, count: i64) -> NameUse {
    NameUse::new(UnixTime::new(BEGIN + seconds, 0), count)
}

/// A table in memory, which is written as a server's.
#[derive(Default)]
struct Table(HashMap<MacAddr, Vec<(NameKey, NameUse)>>);

impl Table {
    /// Writes what is to be written soon; returns the number of rows.
    fn write(&mut self, names: &mut NameRows) -> usize {
        let due = names.due(usize::MAX, Which::Due);
        for mac in &due {
            let rows = self.0.entry(*mac).or_default();
            let removed = names.merge(*mac, rows.clone(), true);
            rows.retain(|(key, _)| !removed.contains(key));
        }
        let written = names.rows(&due, Which::Due);
        for NameRow { mac, key, used, is_new, .. } in &written {
            let rows = self.0.entry(*mac).or_default();
            let known = rows.iter().position(|(known, _)| known == key);
            assert_eq!(known.is_none(), *is_new);
            match known {
                Some(at) => rows[at].1 = *used,
                None => rows.push((key.clone(), *used)),
            }
        }
        names.written(&due, Which::Due, &HashSet::new());
        assert_eq!((names.urgent(), names.due(9, Which::Due).len()), (0, 0));
        written.len()
    }

    fn names(&self, of: u32) -> Vec<(String, i64, i64, i64)> {
        let rows = self.0.get(&mac(of)).map_or(&[][..], Vec::as_slice);
        let rows = rows.iter().map(|(key, NameUse { first, last, count })| {
            (key.name.clone(), first.seconds() - BEGIN, last.seconds() - BEGIN, *count)
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| row.1);
        rows
    }
}

/// What is only repeated is written when all is, and counted once, also after a restart.
#[test]
fn repeats() {
    let (mut names, mut table) = (NameRows::default(), Table::default());
    for minute in 0..60 {
        (0..100).for_each(|one| names.add(mac(one), key("nas"), at(minute * 60, 1)));
        assert_eq!(table.write(&mut names), if minute == 0 { 100 } else { 0 });
    }
    assert_eq!(table.names(7), [("nas".into(), 0, 0, 1)]);
    names.add(mac(7), key("nas-2"), at(3_600, 1));
    assert_eq!((names.urgent(), table.write(&mut names)), (1, 2), "all of a device");
    assert_eq!(table.names(7)[0], ("nas".into(), 0, 59 * 60, 60));
    names.hurry();
    assert_eq!((table.write(&mut names), names.is_changed()), (99, false));
    // A device with two names repeats both; one that is back after an hour is a change.
    names.add(mac(7), key("nas"), at(3_603, 1));
    names.add(mac(7), key("nas-2"), at(3_604, 1));
    assert_eq!(names.urgent(), 0);
    names.add(mac(7), key("nas"), at(3_603 + 3_600, 1));
    assert_eq!(names.urgent(), 1);
    table.write(&mut names);
    let mut names = NameRows::default();
    names.add(mac(7), key("nas"), at(9_000, 2));
    table.write(&mut names);
    assert_eq!(table.names(7)[0], ("nas".into(), 0, 9_000, 64));
}

/// What another program deletes is forgotten, with what was repeated; what it adds is known.
#[test]
fn rows_of_others() {
    let (mut names, mut table) = (NameRows::default(), Table::default());
    names.add(mac(1), key("nas"), at(0, 1));
    table.write(&mut names);
    table.0.clear();
    names.add(mac(1), key("nas"), at(60, 1));
    names.hurry();
    assert_eq!(table.write(&mut names), 0);
    assert!(table.names(1).is_empty() && !names.is_changed());
    names.add(mac(1), key("nas"), at(120, 1));
    table.write(&mut names);
    assert_eq!(table.names(1), [("nas".into(), 120, 120, 1)]);
    table.0.insert(mac(1), vec![(key("nas"), at(-DAY, 5))]);
    names.add(mac(1), key("nas"), at(180, 1));
    names.hurry();
    table.write(&mut names);
    assert_eq!(table.names(1), [("nas".into(), -DAY, 180, 6)]);
}

/// Who forges a MAC does not push out the name that it has used for a day; and memory is bounded.
#[test]
fn floods() {
    let (mut names, mut table) = (NameRows::default(), Table::default());
    names.add(mac(1), key("nas"), at(0, 1));
    names.add(mac(1), key("nas"), at(DAY, 1));
    for number in 0..1_000 {
        names.add(mac(1), key(&format!("forged-{number}")), at(DAY + 1 + number, 1));
        if number % 100 == 0 {
            table.write(&mut names);
        }
    }
    table.write(&mut names);
    let rows = table.names(1);
    assert_eq!((rows.len(), &*rows[0].0), (NAMES_OF_DEVICE, "nas"));
    assert_eq!(rows[31].0, "forged-999");
    for number in 0..3 * CACHED as u32 {
        names.add(mac(100 + number), key("made-up"), at(DAY, 1));
        if number % 1_000 == 0 {
            table.write(&mut names);
            assert!(names.devices.len() <= CACHED + 1_000, "{}", names.devices.len());
        }
    }
}

/// A host sends thousands of names of one MAC before anything is written: those that it had, and the latest ones, are kept.
#[test]
fn names_of_one_mac() {
    let mut names = NameRows::default();
    names.add(mac(1), key("nas"), at(0, 1));
    names.add(mac(1), key("nas"), at(DAY, 1));
    for number in 0..100_000 {
        names.add(mac(1), key(&format!("forged-{number}")), at(DAY + 1 + number, 1));
    }
    assert_eq!((names.devices[&mac(1)].len(), names.urgent()), (32, 32));
    let mut table = Table::default();
    table.write(&mut names);
    assert_eq!(table.names(1)[0].0, "nas");
    // Without the right to delete, what is stored stays.
    let rows: Vec<_> = (0..32).map(|n| (key(&n.to_string()), at(n, 1))).collect();
    let mut names = NameRows::default();
    names.add(mac(1), key("new"), at(DAY, 1));
    assert!(names.merge(mac(1), rows, false).is_empty());
    assert_eq!((names.urgent(), names.rows(&[mac(1)], Which::Due).len()), (0, 0));
}

/// A part has so many names; a row that made room begins again with its next use; repeats can be written alone.
#[test]
fn parts() {
    let (mut names, mut table) = (NameRows::default(), Table::default());
    (0..10).for_each(|one| names.add(mac(one), key("nas"), at(0, 1)));
    assert_eq!(names.due(4, Which::Due), [0, 1, 2, 3].map(mac));
    table.write(&mut names);
    names.add(mac(3), key("nas"), at(60, 1));
    names.add(mac(3), key("other"), at(60, 1));
    assert_eq!(names.due(9, Which::Stored), [mac(3)]);
    let rows = names.rows(&[mac(3)], Which::Stored);
    assert_eq!((rows.len(), &*rows[0].key.name), (1, "nas"));
    names.written(&[mac(3)], Which::Stored, &HashSet::new());
    assert_eq!((names.due(9, Which::Stored).len(), names.urgent()), (0, 1));
    for one in [3, 4] {
        names.forget(mac(one), &key("nas"));
        names.add(mac(one), key("nas"), at(120, 1));
    }
    assert_eq!(names.due(9, Which::Due), [3, 4].map(mac));
    assert!(names.rows(&[mac(4)], Which::Due)[0].is_new);
}

/// There is no room: devices without a name are left out, until they name themselves again.
#[test]
fn no_room() {
    let mut names = NameRows::default();
    names.add(mac(1), key("nas"), at(0, 1));
    let left_out = HashSet::from([(mac(1), key("nas"))]);
    names.written(&[mac(1)], Which::Due, &left_out);
    assert!(names.devices.is_empty() && !names.is_changed() && names.urgent() == 0);
    names.add(mac(1), key("nas"), at(60, 1));
    assert_eq!(names.urgent(), 1);
}

/// The rows of a device in three places are those of SQLite (`addresses_in_several_places`): the new ones do not push out each other, also if
/// there were 13 of others; and without the right to delete, they are not stored.
#[test]
fn addresses_in_several_places() {
    let (mut names, mut table) = (NameRows::default(), Table::default());
    let key = |place: i64, source, last: i64| {
        let (interface, name) = ("eth0".into(), format!("10.0.0.{last}"));
        NameKey { interface, vlan: place, source, name }
    };
    let sources = [NameSource::RequestedAddress, NameSource::MdnsAddress];
    for n in 0..6 {
        for second in [n * 2 * DAY, n * 2 * DAY + DAY] {
            for place in 1..=3 {
                for source in sources {
                    names.add(mac(1), key(place, source, n), at(second + place, 1));
                }
            }
            names.hurry();
            table.write(&mut names);
        }
    }
    let known = |table: &Table, last: i64| {
        let name = format!("10.0.0.{last}");
        let of = table.0[&mac(1)].iter().filter(|(key, _)| key.name == name);
        of.filter(|(_, used)| used.is_known()).count()
    };
    assert_eq!([5, 4, 3, 2].map(|last| known(&table, last)), [6, 6, 4, 0]);
    for n in 0..4 {
        names.add(mac(1), key(n, sources[0], 9), at(20 * DAY, 1));
    }
    table.write(&mut names);
    assert_eq!([9, 5, 4, 3].map(|last| known(&table, last)), [0, 6, 6, 0]);
    assert_eq!(table.0[&mac(1)].len(), ADDRESSES_OF_DEVICE);
    let rows = table.0[&mac(1)].clone();
    let mut names = NameRows::default();
    names.add(mac(1), key(1, sources[0], 10), at(21 * DAY, 1));
    assert!(names.merge(mac(1), rows, false).is_empty());
    assert_eq!((names.urgent(), names.rows(&[mac(1)], Which::Due).len()), (0, 0));
}
