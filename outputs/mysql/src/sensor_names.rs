//! The rows of names and leases of one sensor, which is a ring of a host: reads those that records concern, and makes the statements
//! that change them. Each statement sets what a row is to be, so that it can be sent again after any failure.
//!
//! The tables are bounded for each sensor, by the rules of every history (`name_use.rs` in aw-output).

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use aw_output::{
    LEASES_OF_ALL, LEASES_ROOM, LeaseChange, NAME_DISUSED, NAME_KNOWN_AFTER, NAMES_OF_ALL,
    NAMES_OF_DEVICE, NameUse, claims_of, superfluous,
};
use aw_service::Condition;
use shm_layout::{MacAddr, NameRecord, UnixTime};

use crate::{
    connection::Error,
    lease_rows::{LeaseChanges, LeaseKey, LeaseRow, changed},
    name_batch::{NameBatch, Reading, name_key, number, of_sensor, sensor_values, text},
    name_rows::{NameKey, NameRow, NameRows, Which},
    sql::{hex_ip, quoted, timestamp},
};

/// Names, and addresses with leases, that one transaction writes, at most.
const PART: usize = 1000;
/// Of how many the rows are read in one question.
const ASKED: usize = 200;
/// For so long after there was no room, none is searched: it reads all rows of the sensor.
const FULL_FOR: Duration = Duration::from_secs(60);
const SECOND: i64 = 1_000_000_000;

/// Names and leases of a ring of a host, as far as they are in memory.
pub struct SensorNames {
    host: String,
    ring: String,
    /// The condition for its rows, and the values of its columns.
    of_sensor: String,
    values: String,
    names: NameRows,
    leases: LeaseChanges,
    names_room: Room,
    leases_full: Condition,
    stored_leases: Option<usize>,
}

/// Whether there is room for further names.
#[derive(Default)]
struct Room {
    /// Rows in the table, if they are counted.
    stored: Option<usize>,
    full: Condition,
    /// When there was none for names, and for addresses.
    full_at: [Option<Instant>; 2],
    /// When it was begun to write all that was used, before rows are searched that make room; and whether that is so now.
    repeats_at: Option<Instant>,
    is_writing_repeats: bool,
}

impl SensorNames {
    pub fn new(host: &str, ring: &str) -> SensorNames {
        SensorNames {
            host: host.into(),
            ring: ring.into(),
            of_sensor: of_sensor(host, ring),
            values: sensor_values(host, ring),
            names: NameRows::default(),
            leases: LeaseChanges::new(),
            names_room: Room::default(),
            leases_full: Condition::default(),
            stored_leases: None,
        }
    }

    pub fn is_of(&self, host: &str, ring: &str) -> bool {
        self.host == host && self.ring == ring
    }

    /// Adds what a device calls itself in a record, and the lease that it begins or ends.
    pub fn add(&mut self, record: &NameRecord) {
        let place = || (record.interface.as_str().to_owned(), i64::from(record.vlan.get()));
        let time = if record.repeats > 0 { record.time.max(record.repeated) } else { record.time };
        let used = NameUse::new(time, i64::from(record.repeats) + 1);
        for (source, name) in claims_of(record) {
            let (interface, vlan) = place();
            let key = NameKey { interface, vlan, source, name: name.into_owned() };
            self.names.add(record.mac, key, used);
        }
        if let Some(change) = LeaseChange::of(record, UnixTime::now()) {
            let (interface, vlan) = place();
            let LeaseChange { address, mac, .. } = change;
            let key = LeaseKey { address, mac, interface, vlan };
            self.leases.entry(key).or_default().push(change);
        }
    }

    /// How much is to be written soon.
    pub fn urgent(&self) -> usize {
        self.names.urgent() + self.leases.values().map(Vec::len).sum::<usize>()
    }

    /// Whether anything is not written.
    pub fn is_changed(&self) -> bool {
        self.names.is_changed() || !self.leases.is_empty()
    }

    /// Names that were only repeated are to be written, too.
    pub fn hurry(&mut self) {
        self.names.hurry();
    }

    /// Whether they are, now.
    pub fn is_hurried(&self) -> bool {
        self.names.is_hurried() || self.names_room.is_writing_repeats
    }

    /// Makes the statements for a part of what is to be written. What they write is forgotten here, unless a question fails.
    pub fn plan(&mut self, reading: &mut Reading, batch: &mut NameBatch) -> Result<(), Error> {
        self.plan_names(reading, batch, Instant::now())?;
        self.plan_leases(reading, batch)
    }

    /// In a full table, the rows that were used longest ago make room. So what was used is written before they are searched.
    fn which(&mut self, reading: &mut Reading, now: Instant) -> Result<Which, Error> {
        let is_recent =
            |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < FULL_FOR);
        let urgent = self.names.urgent();
        // Where there is no room for addresses, there may be for names, which push them out.
        let of_kind = usize::from(!self.names.has_urgent_names());
        if urgent > 0 && !is_recent(self.names_room.full_at[of_kind]) {
            if self.names_room.stored.is_none_or(|stored| stored + urgent > NAMES_OF_ALL) {
                let stored = reading.count(&reading.tables.claimed_name, &self.of_sensor)?;
                self.names_room.stored = Some(stored);
            }
            let Room { stored, repeats_at, is_writing_repeats, .. } = &mut self.names_room;
            let is_full = stored.is_some_and(|stored| stored + urgent > NAMES_OF_ALL);
            if is_full && !is_recent(*repeats_at) {
                (*repeats_at, *is_writing_repeats) = (Some(now), true);
            }
        }
        self.names_room.is_writing_repeats &= !self.names.due(1, Which::Stored).is_empty();
        Ok(if self.names_room.is_writing_repeats { Which::Stored } else { Which::Due })
    }

    fn plan_names(
        &mut self,
        reading: &mut Reading,
        batch: &mut NameBatch,
        now: Instant,
    ) -> Result<(), Error> {
        let which = self.which(reading, now)?;
        let due = self.names.due(PART, which);
        let mut removed = Vec::new();
        for macs in due.chunks(ASKED.min(reading.longest / 32)) {
            let mut stored = self.stored_names(reading, macs)?;
            for mac in macs {
                let rows = stored.remove(mac).unwrap_or_default();
                let names = self.names.merge(*mac, rows, reading.may_delete).into_iter();
                removed.extend(names.map(|key| (*mac, key)));
            }
        }
        let is_new = |rows: &[NameRow]| rows.iter().filter(|row| row.is_new).count();
        let mut rows = self.names.rows(&due, which);
        let new = is_new(&rows);
        rows.retain(|row| !row.key.source.is_address());
        let (room, victims) = self.room_for((is_new(&rows), new), reading, now)?;
        victims.iter().for_each(|(mac, key)| self.names.forget(*mac, key));
        removed.extend(victims);
        let mut rows = self.names.rows(&due, which);
        let superfluous = is_new(&rows).saturating_sub(room);
        let without_room = leave_out(&mut rows, superfluous);
        self.names.written(&due, which, &without_room);
        if !removed.is_empty() {
            let conditions = removed.iter().map(|(mac, key)| {
                let NameKey { interface, vlan, source, name } = key;
                let (interface, name) = (quoted(interface), quoted(name));
                let (mac, source) = (mac.number(), *source as u8);
                format!(
                    "mac_address = 0x{mac:012x} AND interface = {interface} AND vlan_tag = {vlan} AND source = {source} AND name = {name}"
                )
            });
            let table = &reading.tables.claimed_name;
            let begin = format!("DELETE FROM {table} WHERE {}", self.of_sensor);
            batch.deleted.push((begin, conditions.collect()));
        }
        rows.iter().for_each(|row| batch.add_name(&self.values, row.mac, &row.key, &row.used));
        Ok(())
    }

    /// The rows of these MACs. Another program may have written any of them: what is not as it should be is left out.
    fn stored_names(
        &self,
        reading: &mut Reading,
        macs: &[MacAddr],
    ) -> Result<HashMap<MacAddr, Vec<(NameKey, NameUse)>>, Error> {
        let list: Vec<_> = macs.iter().map(|mac| format!("0x{:012x}", mac.number())).collect();
        let select = format!(
            "SELECT mac_address, interface, vlan_tag, source, name, unix_timestamp(first_seen), unix_timestamp(last_seen), uses
            FROM {} WHERE {} AND mac_address IN ({}) LIMIT {}",
            reading.tables.claimed_name,
            self.of_sensor,
            list.join(","),
            2 * NAMES_OF_DEVICE * macs.len()
        );
        let (mut found, now) = (HashMap::<_, Vec<_>>::new(), UnixTime::now());
        for row in reading.rows(&select)? {
            let Some((mac, key)) = name_key(&row) else { continue };
            let [first, last, count] = [5, 6, 7].map(|column| number(&row, column));
            let (Some(first), Some(last), Some(count)) = (first, last, count) else { continue };
            let [first, last] = [first, last].map(|seconds| UnixTime::new(seconds, 0));
            let last = last.min(now); // it may have been stored while the clock was ahead
            found.entry(mac).or_default().push((key, NameUse { first, last, count }));
        }
        Ok(found)
    }

    /// For how many further names and addresses there is room, of so many names and so many in all, and the rows that make it. A name that was used
    /// for a day stays, unless it was not used for 30 days: who invents MACs or names would have to repeat each of them after a day to push out
    /// others. Addresses push out addresses only, and all of them make room for names before a name does.
    fn room_for(
        &mut self,
        (names, new): (usize, usize),
        reading: &mut Reading,
        now: Instant,
    ) -> Result<(usize, Vec<(MacAddr, NameKey)>), Error> {
        let (table, of_sensor) = (&reading.tables.claimed_name, &self.of_sensor);
        let Room { stored, full, full_at, .. } = &mut self.names_room;
        let was_full =
            full_at.map(|at| at.is_some_and(|at| now.saturating_duration_since(at) < FULL_FOR));
        let (mut victims, counted) = (HashSet::new(), stored.unwrap_or(0));
        let may_search = !was_full[usize::from(names == 0)] && reading.may_delete;
        if new > 0 && may_search {
            let (known, disused) = (NAME_KNOWN_AFTER / SECOND, NAME_DISUSED / SECOND);
            let new_ones =
                format!("unix_timestamp(last_seen) - unix_timestamp(first_seen) < {known}");
            let disused = format!("last_seen < now() - INTERVAL {disused} SECOND");
            for (condition, wanted) in [
                (format!("source > 7 AND {new_ones}"), new),
                (format!("source > 7 AND {disused}"), new),
                ("source > 7".to_owned(), names),
                (format!("source <= 7 AND {new_ones}"), names),
                (format!("source <= 7 AND {disused}"), names),
            ] {
                let left = counted.saturating_sub(victims.len());
                let superfluous = superfluous(left, wanted, NAMES_OF_ALL);
                if superfluous == 0 {
                    continue;
                }
                // Those that were found before may be among them.
                let most = victims.len() + superfluous;
                let select = format!(
                    "SELECT mac_address, interface, vlan_tag, source, name FROM {table}
                    WHERE {of_sensor} AND {condition} ORDER BY last_seen LIMIT {most}"
                );
                for victim in reading.rows(&select)?.iter().filter_map(name_key) {
                    if victims.len() < most {
                        victims.insert(victim);
                    }
                }
            }
        }
        let left = counted.saturating_sub(victims.len());
        let room = NAMES_OF_ALL.saturating_sub(left).min(new);
        let is_full = new > room;
        for (at, (wanted, is_full)) in
            [(names, names > room), (new - names, is_full)].into_iter().enumerate()
        {
            if wanted > 0 && is_full != was_full[at] {
                full_at[at] = is_full.then_some(now);
            }
        }
        if is_full {
            full.begins(format_args!(
                "{NAMES_OF_ALL} names and addresses of devices are stored for ring {} of host {}, and no more: those of further devices are not (does a host invent MACs? rows of {table} can be deleted)",
                self.ring, self.host
            ));
        } else if new > 0 {
            full.ends(format_args!(
                "names of further devices are stored again for ring {} of host {}",
                self.ring, self.host
            ));
        }
        if new > 0 {
            *stored = Some(left + room);
        }
        Ok((room, victims.into_iter().collect()))
    }

    fn plan_leases(&mut self, reading: &mut Reading, batch: &mut NameBatch) -> Result<(), Error> {
        let part = self.leases.iter().take(PART);
        let part: Vec<_> = part.map(|(key, changes)| (key.clone(), changes.clone())).collect();
        let (mut rows, mut new, mut newest) = (Vec::new(), 0, 0);
        let asked = (reading.longest / 1024).clamp(1, ASKED);
        for part in part.chunks(asked) {
            let stored = self.latest_leases(reading, part)?;
            for (at, (key, changes)) in part.iter().enumerate() {
                let (changed, new_here) = changed(stored.get(&at).copied(), changes);
                new += new_here;
                let times = changes.iter().map(|change| timestamp(change.time));
                newest = times.fold(newest, i64::max);
                rows.extend(changed.into_iter().map(|row| (key, row)));
            }
        }
        let victims = self.room_for_leases(new, reading, newest)?;
        if self.stored_leases > Some(LEASES_OF_ALL) {
            (self.stored_leases, rows) = (None, Vec::new()); // no row may be deleted
        }
        if !victims.is_empty() {
            let table = &reading.tables.address_lease;
            let begin = format!("DELETE FROM {table} WHERE {}", self.of_sensor);
            batch.deleted.push((begin, victims));
        }
        for (key, LeaseRow { begins, last, ends, is_released }) in &rows {
            let LeaseKey { address, mac, interface, vlan } = key;
            let (values, ip, mac) = (&self.values, hex_ip(*address), mac.number());
            let (interface, released) = (quoted(interface), u8::from(*is_released));
            batch.leases.add(format_args!(
                ",({values},{ip},0x{mac:012x},{interface},{vlan},from_unixtime({begins}),from_unixtime({last}),from_unixtime({ends}),{released})"
            ));
        }
        part.iter().for_each(|(key, _)| drop(self.leases.remove(key)));
        Ok(())
    }

    /// Of each key the row that began last before its last change, by its place in the list.
    fn latest_leases(
        &self,
        reading: &mut Reading,
        part: &[(LeaseKey, Vec<LeaseChange>)],
    ) -> Result<HashMap<usize, LeaseRow>, Error> {
        let selects = part.iter().enumerate().map(|(at, (key, changes))| {
            let LeaseKey { address, mac, interface, vlan } = key;
            let (ip, mac, interface) = (hex_ip(*address), mac.number(), quoted(interface));
            let last = changes.iter().map(|change| timestamp(change.time)).max().unwrap_or(0);
            format!(
                "(SELECT {at}, unix_timestamp(begins), unix_timestamp(last_seen), unix_timestamp(ends), released FROM {}
                WHERE {} AND ip_address = {ip} AND mac_address = 0x{mac:012x} AND interface = {interface} AND vlan_tag = {vlan}
                AND begins <= from_unixtime({last}) ORDER BY begins DESC LIMIT 1)",
                reading.tables.address_lease, self.of_sensor
            )
        });
        let selects: Vec<String> = selects.collect();
        let mut found = HashMap::new();
        for row in reading.rows(&selects.join(" UNION ALL "))? {
            let [at, begins, last, ends, released] =
                [0, 1, 2, 3, 4].map(|column| number(&row, column));
            if let (Some(at), Some(begins), Some(last), Some(ends)) = (at, begins, last, ends) {
                let is_released = released == Some(1);
                found.insert(at as usize, LeaseRow { begins, last, ends, is_released });
            }
        }
        Ok(found)
    }

    /// The conditions of rows that make room: those that ended longest ago; then those that began last, so that a host that makes them up
    /// displaces its own.
    fn room_for_leases(
        &mut self,
        new: usize,
        reading: &mut Reading,
        newest: i64,
    ) -> Result<Vec<String>, Error> {
        let (table, of_sensor) = (&reading.tables.address_lease, &self.of_sensor);
        let mut victims = HashSet::new();
        let mut stored = self.stored_leases.unwrap_or(0);
        if new > 0 && (self.stored_leases.is_none() || stored + new > LEASES_OF_ALL) {
            stored = reading.count(table, of_sensor)?;
        }
        if new > 0 && stored + new > LEASES_OF_ALL {
            self.leases_full.begins(format_args!(
                "{LEASES_OF_ALL} leases of addresses are stored for ring {} of host {}: others make room (does a host invent MACs? rows of {table} can be deleted)",
                self.ring, self.host
            ));
        }
        if new > 0 && stored + new > LEASES_OF_ALL && reading.may_delete {
            let superfluous = stored + new.max(LEASES_ROOM) - LEASES_OF_ALL;
            for (condition, order) in [
                (format!(" AND ends < from_unixtime({newest})"), "ends"),
                (String::new(), "begins DESC"),
            ] {
                let wanted = superfluous.saturating_sub(victims.len());
                // Those that were found before may be among them.
                let most = if wanted > 0 { superfluous } else { 0 };
                let select = format!(
                    "SELECT hex(ip_address), hex(mac_address), interface, vlan_tag, unix_timestamp(begins) FROM {table}
                    WHERE {of_sensor}{condition} ORDER BY {order} LIMIT {most}"
                );
                for row in reading.rows(&select)? {
                    // Another program may have written any of them.
                    let is_hex = |text: &String| !text.is_empty() && text.len() <= 32;
                    let [ip, mac] = [0, 1].map(|column| Some(text(&row, column)).filter(is_hex));
                    let (vlan, begins) = (number(&row, 3), number(&row, 4));
                    let (Some(ip), Some(mac), Some(vlan), Some(begins)) = (ip, mac, vlan, begins)
                    else {
                        continue;
                    };
                    let interface = quoted(&text(&row, 2));
                    if victims.len() < superfluous {
                        victims.insert(format!(
                            "ip_address = 0x{ip} AND mac_address = 0x{mac} AND interface = {interface} AND vlan_tag = {vlan} AND begins = from_unixtime({begins})"
                        ));
                    }
                }
            }
        }
        if new > 0 {
            self.stored_leases = Some(stored.saturating_sub(victims.len()) + new);
        }
        Ok(victims.into_iter().collect())
    }
}

/// Removes so many new names and addresses: addresses first, then names of devices without one. Returns them.
fn leave_out(rows: &mut Vec<NameRow>, mut superfluous: usize) -> HashSet<(MacAddr, NameKey)> {
    let mut left_out = HashSet::new();
    let is_first: [fn(&NameRow) -> bool; 3] =
        [|row| row.key.source.is_address(), |row| row.is_of_new_device, |_| true];
    for is_first in is_first {
        rows.retain(|row| {
            let goes = superfluous > 0 && row.is_new && is_first(row);
            if goes {
                superfluous -= 1;
                left_out.insert((row.mac, row.key.clone()));
            }
            !goes
        });
    }
    left_out
}
