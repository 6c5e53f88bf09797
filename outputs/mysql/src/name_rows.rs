//! What devices call themselves, in memory, as far as it is not stored or was used lately. No I/O: [`crate::sensor_names`] reads and
//! writes the rows.
//!
//! A row is known by what the table had when it was read last, and by what was added since. So rows are read only for the MACs of which
//! something is to be written, many in one question, and no server is asked when a record arrives.

use std::collections::{HashMap, HashSet};

use aw_output::{ADDRESSES_OF_DEVICE, NAMES_OF_DEVICE, NameSource, NameUse, least_address};
use shm_layout::MacAddr;

/// Devices in memory, apart from those with uses that are not written yet: 5 MB.
const CACHED: usize = 1 << 14;

/// What distinguishes the names of a MAC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey {
    pub interface: String,
    pub vlan: i64,
    pub source: NameSource,
    pub name: String,
}

/// A name that a MAC has in the table, or will have.
struct Claim {
    key: NameKey,
    /// As the table had it.
    stored: Option<NameUse>,
    /// What was added since.
    new: Option<NameUse>,
    /// It is new, or was not used for an hour while another one was.
    is_urgent: bool,
}

impl Claim {
    /// A claim has one of both.
    fn used(&self) -> Option<NameUse> {
        let mut used = self.stored.or(self.new)?;
        if let (Some(_), Some(new)) = (self.stored, self.new) {
            used.add(new);
        }
        Some(used)
    }

    fn is_address(&self) -> bool {
        self.key.source.is_address()
    }

    fn is_in(&self, which: Which) -> bool {
        self.new.is_some() && (which == Which::Due || self.stored.is_some())
    }
}

/// A row that is to be written.
pub struct NameRow {
    pub mac: MacAddr,
    pub key: NameKey,
    pub used: NameUse,
    /// The table does not have it.
    pub is_new: bool,
    /// It has no row of the MAC.
    pub is_of_new_device: bool,
}

/// The names of a sensor's devices.
#[derive(Default)]
pub struct NameRows {
    devices: HashMap<MacAddr, Vec<Claim>>,
    /// Claims that are to be written soon.
    urgent: usize,
    /// Some have uses that are not written.
    is_changed: bool,
    /// What was only repeated is to be written soon, too.
    is_hurried: bool,
}

/// Which of the claims are to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that are urgent, with all others of their MACs; or all, if that was asked for.
    Due,
    /// Those that the table has.
    Stored,
}

impl NameRows {
    /// How many names are to be written soon.
    pub fn urgent(&self) -> usize {
        self.urgent
    }

    /// Whether any use is not written.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// From now on, what was only repeated is to be written soon, too.
    pub fn hurry(&mut self) {
        self.is_hurried = self.is_changed;
    }

    /// Whether it is.
    pub fn is_hurried(&self) -> bool {
        self.is_hurried
    }

    /// Adds a use of a name.
    pub fn add(&mut self, mac: MacAddr, key: NameKey, used: NameUse) {
        self.is_changed = true;
        let claims = self.devices.entry(mac).or_default();
        let place = |key: &NameKey| (key.vlan, key.source);
        let is_of_source =
            |one: &NameKey| place(one) == place(&key) && one.interface == key.interface;
        let of_source = claims.iter().filter(|one| is_of_source(&one.key));
        let latest = of_source.filter_map(Claim::used).map(|one| one.last).max();
        if let Some(claim) = claims.iter_mut().find(|one| one.key == key) {
            let is_back = claim.used().is_some_and(|known| known.is_back(used.last, latest));
            self.urgent += usize::from(is_back && !claim.is_urgent);
            claim.is_urgent |= is_back;
            match &mut claim.new {
                Some(new) => new.add(used),
                None => claim.new = Some(used),
            }
            return;
        }
        // A flood of names of a MAC: no more than it may have are kept of those that are not stored.
        let is_address = key.source.is_address();
        let may_go = |one: &Claim| one.stored.is_none() && one.is_address() == is_address;
        if claims.iter().filter(|one| may_go(one)).count() >= key.source.most()
            && let Some(at) = least(claims, may_go)
        {
            self.urgent -= usize::from(claims.swap_remove(at).is_urgent);
        }
        claims.push(Claim { key, stored: None, new: Some(used), is_urgent: true });
        self.urgent += 1;
    }

    /// MACs of which something is to be written now, with so many names at most, or one MAC.
    pub fn due(&self, most: usize, which: Which) -> Vec<MacAddr> {
        let is_due = |claim: &&Claim| match which {
            Which::Due => claim.is_urgent || self.is_hurried && claim.new.is_some(),
            Which::Stored => claim.new.is_some() && claim.stored.is_some(),
        };
        let number = |claims: &[Claim]| claims.iter().filter(is_due).count();
        let due = self.devices.iter().map(|(mac, claims)| (*mac, number(claims)));
        let mut due: Vec<_> = due.filter(|(_, number)| *number > 0).collect();
        due.sort_unstable(); // in the order of the table
        let mut sum = 0;
        let part = due.into_iter().take_while(|(_, number)| {
            let is_first = sum == 0;
            sum += number;
            is_first || sum <= most
        });
        part.map(|(mac, _)| mac).collect()
    }

    /// Takes the rows that the table has of a MAC now. A row that it had and has no more was deleted by another program: it is
    /// forgotten, with what was added since, and the next message begins again. Returns names that make room for others of the MAC.
    pub fn merge(
        &mut self,
        mac: MacAddr,
        rows: Vec<(NameKey, NameUse)>,
        may_delete: bool,
    ) -> Vec<NameKey> {
        let Some(claims) = self.devices.get_mut(&mac) else { return Vec::new() };
        let mut rows: HashMap<NameKey, NameUse> = rows.into_iter().collect();
        claims.retain_mut(|claim| {
            let row = rows.remove(&claim.key);
            let is_gone = claim.stored.is_some() && row.is_none();
            claim.stored = row;
            self.urgent -= usize::from(is_gone && claim.is_urgent);
            !is_gone
        });
        claims.extend(rows.into_iter().map(|(key, used)| {
            let stored = Some(used);
            Claim { key, stored, new: None, is_urgent: false }
        }));
        let mut removed = Vec::new();
        for (is_address, most) in [(false, NAMES_OF_DEVICE), (true, ADDRESSES_OF_DEVICE)] {
            let is_alike = |one: &Claim| one.is_address() == is_address;
            while claims.iter().filter(|one| is_alike(one)).count() > most {
                // The address of now stays, as in SQLite.
                let latest = claims.iter().filter(|one| is_address && is_alike(one));
                let latest = latest.max_by_key(|one| one.used().map(|used| used.last));
                let latest = latest.map(|one| one.key.clone());
                let may_go = |one: &Claim| {
                    is_alike(one)
                        && (may_delete || one.stored.is_none())
                        && latest.as_ref() != Some(&one.key)
                };
                let Some(at) = least(claims, may_go) else { break };
                let claim = claims.swap_remove(at);
                self.urgent -= usize::from(claim.is_urgent);
                removed.extend(claim.stored.is_some().then_some(claim.key));
            }
        }
        removed
    }

    /// A row makes room for others: a use that is not written begins again.
    pub fn forget(&mut self, mac: MacAddr, key: &NameKey) {
        let Some(claims) = self.devices.get_mut(&mac) else { return };
        claims.retain_mut(|claim| {
            if claim.key != *key {
                return true;
            }
            claim.stored = None;
            self.urgent += usize::from(claim.new.is_some() && !claim.is_urgent);
            claim.is_urgent |= claim.new.is_some();
            claim.new.is_some()
        });
    }

    /// What is to be written of these MACs, in the order of the table.
    pub fn rows(&self, macs: &[MacAddr], which: Which) -> Vec<NameRow> {
        let mut rows = Vec::new();
        for mac in macs {
            let claims = self.devices.get(mac).map_or(&[][..], Vec::as_slice);
            let is_of_new_device = claims.iter().all(|claim| claim.stored.is_none());
            let used = claims.iter().filter(|claim| claim.is_in(which));
            rows.extend(used.filter_map(|claim| {
                let (key, used, is_new) =
                    (claim.key.clone(), claim.used()?, claim.stored.is_none());
                Some(NameRow { mac: *mac, key, used, is_new, is_of_new_device })
            }));
        }
        rows.sort_by(|one, other| (one.mac, &one.key).cmp(&(other.mac, &other.key)));
        rows
    }

    /// These uses are written, or there is no room for them.
    pub fn written(
        &mut self,
        macs: &[MacAddr],
        which: Which,
        without_room: &HashSet<(MacAddr, NameKey)>,
    ) {
        for mac in macs {
            let Some(claims) = self.devices.get_mut(mac) else { continue };
            claims.retain_mut(|claim| {
                if !claim.is_in(which) {
                    return true;
                }
                self.urgent -= usize::from(std::mem::take(&mut claim.is_urgent));
                (claim.stored, claim.new) = (claim.used(), None);
                // Until it is used again.
                without_room.is_empty() || !without_room.contains(&(*mac, claim.key.clone()))
            });
        }
        let is_used = |claims: &[Claim]| claims.iter().any(|claim| claim.new.is_some());
        let is_full = self.devices.len() > CACHED;
        self.devices.retain(|_, claims| !claims.is_empty() && (!is_full || is_used(claims)));
        if self.urgent == 0 {
            self.is_changed = self.devices.values().any(|claims| is_used(claims));
            self.is_hurried &= self.is_changed;
        }
    }
}

/// The claim that makes room first, of names or of addresses.
fn least(claims: &[Claim], may_go: impl Fn(&Claim) -> bool) -> Option<usize> {
    let candidates = claims.iter().enumerate().filter(|(_, one)| may_go(one));
    let used = candidates.filter_map(|(at, one)| Some((at, one.used()?, one.is_address())));
    let used: Vec<_> = used.collect();
    match used.first()? {
        (.., true) => least_address(used.into_iter().map(|(at, used, _)| (at, used))),
        _ => used.iter().min_by_key(|(_, used, _)| used.importance()).map(|(at, ..)| *at),
    }
}

#[cfg(test)]
mod tests {
    use shm_layout::UnixTime;

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
}
