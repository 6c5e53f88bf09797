//! The rows of one day in memory. Their number is limited, because any host on the network can invent addresses: a row takes
//! about 250 bytes. The last tenth of the rows is reserved for devices with names. When there are too many, those make room
//! that a flood consists of, see `making_room.rs`.

mod making_room;
mod reported;

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    mem,
};

use jiff::civil::Date;
use shm_layout::Evidence;

use self::{making_room::Victim, reported::Reported};
use crate::{
    activity::{Activity, RowKey, Sender},
    config_file::{DeviceNames, UNKNOWN},
    local_time::Moment,
    log_format,
};

/// What a sighting changed in the rows of its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// It is the first sighting of an unknown device on that day.
    UnknownDevice,
    /// It is the first sighting of a row in its hour, or the first one that another MAC sent, or that the MAC sent itself.
    NewHour,
    /// Only a count or the time of the last sighting changed.
    CountOnly,
    /// Nothing: it needs another row, the limit is reached, and none can make room.
    Full,
    /// Nothing: it does not prove that the device has the address.
    NoClaim,
    /// The same, and it is the first sighting of an unknown device on that day.
    UnknownProber,
}

/// A row of the day.
#[derive(Debug)]
struct Row {
    activity: Activity,
    /// How many rows of the day had come before it: a number that no frame can choose, and that a replay gives again.
    arrival: u64,
}

impl Row {
    fn sightings(&self) -> u32 {
        self.activity.hours.total()
    }
}

/// The rows of one day.
#[derive(Debug)]
pub struct DayLog {
    pub date: Date,
    rows: HashMap<RowKey, Row>,
    /// Rows that began.
    arrivals: u64,
    /// Unknown devices with a row.
    reported: Reported,
    /// Unknown devices that had no row when they were first seen.
    probers: Reported,
    /// The keys of the newest earlier log.
    earlier: HashSet<RowKey>,
    /// Rows that make room next, the last one first.
    victims: Vec<Victim>,
    /// Rows that the choices of victims looked at.
    #[cfg(test)]
    looked_at: usize,
    /// Whether it was reported that the log is full.
    is_full: bool,
    /// Some of the rows are not in the log file yet.
    pub is_dirty: bool,
    /// Rows that were removed or not begun because of the limit, since the last error message about them.
    dropped: u64,
}

impl DayLog {
    /// Begins with the rows that the log file of the day has. `earlier`: the keys of the newest earlier log.
    pub fn new(
        date: Date,
        rows: impl IntoIterator<Item = (RowKey, Activity)>,
        earlier: HashSet<RowKey>,
    ) -> Self {
        let mut merged: HashMap<RowKey, Row> = HashMap::new();
        for (arrival, (key, activity)) in (0..).zip(rows) {
            // A log that was edited or concatenated may have a key twice.
            let row = merged.entry(key);
            row.and_modify(|row| row.activity.merge(&activity))
                .or_insert(Row { activity, arrival });
        }
        let reported = Reported::new(merged.keys().map(|key| key.mac).collect());
        DayLog {
            date,
            arrivals: merged.values().map(|row| row.arrival + 1).max().unwrap_or(0),
            rows: merged,
            reported,
            probers: Reported::default(),
            earlier,
            victims: Vec::new(),
            #[cfg(test)]
            looked_at: 0,
            is_full: false,
            is_dirty: false,
            dropped: 0,
        }
    }

    /// Adds the keys of the newest earlier day that is open: its rows may not be in its log yet.
    pub fn add_earlier<'a>(&mut self, open: impl Iterator<Item = &'a DayLog>) {
        let newest = open.filter(|day| day.date < self.date).max_by_key(|day| day.date);
        self.earlier.extend(newest.into_iter().flat_map(|day| day.rows.keys()).cloned());
    }

    /// Adds a sighting; `limit` is the largest number of rows.
    pub fn add(
        &mut self,
        key: RowKey,
        (at, evidence, sender): (Moment, Evidence, Sender),
        names: &DeviceNames,
        limit: usize,
    ) -> RowChange {
        // It shows no device: a host that poses as a server or relay sends one for any MAC.
        if evidence == Evidence::Lease {
            return RowChange::NoClaim;
        }
        // A claim makes a row. An answer that names the address only continues one, also over midnight: it may come from a
        // device that forwards for the owner, whose claim is perhaps in no log of today yet.
        let may_begin = match evidence {
            Evidence::Claim => true,
            Evidence::FrameSource => self.earlier.contains(&key),
            Evidence::SignOfLife
            | Evidence::Probe
            | Evidence::NoHost
            | Evidence::Ignored
            | Evidence::Lease => false,
        };
        let has_name = names.contains_key(&key.mac);
        // A device cannot hide by sending only what is no claim.
        let is_unknown = !has_name && !key.mac.is_no_host() && !self.reported.contains(key.mac);
        let is_known = is_unknown && self.earlier.contains(&key);
        let row = self.rows.get_mut(&key);
        if !may_begin && row.is_none() {
            let is_due = is_unknown && self.probers.is_due(&key, at, limit, is_known);
            return if is_due { RowChange::UnknownProber } else { RowChange::NoClaim };
        }
        // Also without a row of its own, and later if there was no room for the alert at its first sighting.
        let is_due = is_unknown && self.reported.is_due(&key, at, limit, is_known);
        let change = match row {
            Some(row) => {
                let is_new_hour = row.activity.add(at, sender);
                if is_new_hour { RowChange::NewHour } else { RowChange::CountOnly }
            }
            None => {
                let limit = if has_name { limit } else { limit - limit / 10 };
                if self.rows.len() >= limit && !self.make_room(names) {
                    self.dropped += 1;
                    return if is_due { RowChange::UnknownDevice } else { RowChange::Full };
                }
                let row = Row { activity: Activity::new(at, sender), arrival: self.arrivals };
                self.arrivals += 1;
                self.rows.insert(key, row);
                RowChange::NewHour
            }
        };
        self.is_dirty = true;
        if is_due { RowChange::UnknownDevice } else { change }
    }

    /// Removes the row that matters least. Returns false if there is none that may be removed.
    fn make_room(&mut self, names: &DeviceNames) -> bool {
        let removed = self.remove_victim() || {
            #[cfg(test)]
            (self.looked_at += self.rows.len());
            self.victims = making_room::least_important(&self.rows, &self.earlier, names);
            self.remove_victim()
        };
        self.dropped += u64::from(removed);
        removed
    }

    /// Removes the next row that was chosen, unless it was seen again since: then it may matter more than others.
    fn remove_victim(&mut self) -> bool {
        let mut victims = std::iter::from_fn(|| self.victims.pop());
        victims.any(|victim| match self.rows.entry(victim.key) {
            Entry::Occupied(row) if row.get().sightings() == victim.sightings => {
                row.remove();
                true
            }
            _ => false,
        })
    }

    /// The message that the log is full, once.
    pub fn take_full(&mut self) -> Option<String> {
        if self.dropped == 0 || mem::replace(&mut self.is_full, true) {
            return None;
        }
        Some(format!(
            "the log of {} is full: rows of the largest groups make room for others (look for a host that invents addresses)",
            self.date
        ))
    }

    /// The numbers of what was dropped since the last call, as messages.
    pub fn take_counts(&mut self) -> Vec<String> {
        let date = self.date;
        let mut missing = mem::take(&mut self.reported.missing);
        missing += mem::take(&mut self.probers.missing);
        let counts = [
            (
                mem::take(&mut self.dropped),
                "rows",
                "made room for others: its log is full (look for a host that invents addresses, or raise --max-rows)",
            ),
            (
                missing,
                "sightings of unknown devices",
                "are not in the alert log: it is full, and takes one a second (raise --max-rows)",
            ),
        ];
        let counts = counts.into_iter().filter(|(number, ..)| *number > 0);
        counts.map(|(number, what, why)| format!("{number} {what} of {date} {why}")).collect()
    }

    /// The content of the day's tracker log.
    pub fn to_text(&self, names: &DeviceNames) -> String {
        let name = |key: &RowKey| names.get(&key.mac).map_or(UNKNOWN, String::as_str);
        let mut rows: Vec<_> =
            self.rows.iter().map(|(key, row)| (key, &row.activity, name(key))).collect();
        rows.sort_unstable_by_key(|(key, ..)| *key);
        log_format::format_log(self.date, &rows)
    }
}

/// What no frame can invent of the name of a row's network: ring and interface, without VLANs.
fn network_of(interface: &str) -> &str {
    let start = interface.rfind('/').map_or(0, |slash| slash + 1);
    let end = interface[start..].find('.').map_or(interface.len(), |dot| start + dot);
    &interface[..end]
}
