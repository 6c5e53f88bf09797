//! What devices call themselves, in memory, as far as it is not stored or was used lately. No I/O: [`crate::sensor_names`] reads and
//! writes the rows.
//!
//! A row is known by what the table had when it was read last, and by what was added since. So rows are read only for the MACs of which
//! something is to be written, many in one question, and no server is asked when a record arrives.

use std::collections::{HashMap, HashSet};

use aw_output::{ADDRESSES_OF_DEVICE, NAMES_OF_DEVICE, NameSource, NameUse, least_address};
use shm_layout::{MacAddr, UnixTime};

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

    /// Whether names are among them, and not only addresses.
    pub fn has_urgent_names(&self) -> bool {
        let mut all = self.devices.values().flatten();
        all.any(|claim| claim.is_urgent && !claim.is_address())
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
        if claims.iter().filter(|one| may_go(one)).count() >= key.source.most() {
            let least = match is_address {
                true => least_of_addresses(claims, may_go, (&key.name, used.last)),
                false => least(claims, may_go),
            };
            let Some(at) = least else { return };
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
        let mut remove = |claims: &mut Vec<Claim>, at: usize| {
            let claim = claims.swap_remove(at);
            self.urgent -= usize::from(claim.is_urgent);
            removed.extend(claim.stored.is_some().then_some(claim.key));
        };
        let may_go = |one: &Claim| may_delete || one.stored.is_none();
        while claims.iter().filter(|one| !one.is_address()).count() > NAMES_OF_DEVICE {
            let Some(at) = least(claims, |one| !one.is_address() && may_go(one)) else { break };
            remove(claims, at);
        }
        // New addresses one after the other, as SQLite adds them.
        let is_new = |one: &&Claim| one.is_address() && one.stored.is_none();
        let new = claims.iter().filter(is_new).filter_map(|one| Some((one.used()?, &one.key)));
        let mut new: Vec<_> = new.map(|(used, key)| (used.first, used.last, key.clone())).collect();
        new.sort();
        let mut waiting: HashSet<NameKey> = new.iter().map(|(.., key)| key.clone()).collect();
        for (_, last, key) in new {
            let is_there = |one: &Claim| one.is_address() && !waiting.contains(&one.key);
            if claims.iter().filter(|one| is_there(one)).count() >= ADDRESSES_OF_DEVICE {
                let may_go = |one: &Claim| is_there(one) && may_go(one);
                let least = least_of_addresses(claims, may_go, (&key.name, last));
                // Without one, the new one is not stored.
                let at = least.or_else(|| claims.iter().position(|one| one.key == key));
                at.into_iter().for_each(|at| remove(claims, at));
            }
            waiting.remove(&key);
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

/// The name that makes room first.
fn least(claims: &[Claim], may_go: impl Fn(&Claim) -> bool) -> Option<usize> {
    let candidates = claims.iter().enumerate().filter(|(_, one)| may_go(one));
    let used = candidates.filter_map(|(at, one)| Some((at, one.used()?)));
    used.min_by_key(|(_, used)| used.importance()).map(|(at, _)| at)
}

/// The address that makes room for another one that was used at a time.
fn least_of_addresses(
    claims: &[Claim],
    may_go: impl Fn(&Claim) -> bool,
    newest: (&str, UnixTime),
) -> Option<usize> {
    let candidates = claims.iter().enumerate().filter(|(_, one)| may_go(one));
    least_address(
        candidates.filter_map(|(at, one)| Some((at, &*one.key.name, one.used()?))),
        newest,
    )
}

#[cfg(test)]
mod tests;
