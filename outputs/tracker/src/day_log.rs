//! The rows of one day in memory. Their number is limited, because any host on the network can invent addresses: a row takes
//! about 250 bytes. The last tenth of the rows is reserved for devices with names.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use jiff::civil::Date;
use shm_layout::{Evidence, MacAddr};

use crate::{
    activity::{Activity, RowKey},
    config_file::{DeviceNames, UNKNOWN},
    local_time::Moment,
    log_format,
};

/// What a sighting changed in the rows of its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// It is the first sighting of an unknown device on that day.
    UnknownDevice,
    /// It is the first sighting of a row in its hour.
    NewHour,
    /// Only a count or the time of the last sighting changed.
    CountOnly,
    /// Nothing: it needs another row, and the limit is reached.
    Full,
    /// Nothing: it does not prove that the device has the address.
    NoClaim,
    /// The same, and it is the first sighting of an unknown device on that day.
    UnknownProber,
}

/// The rows of one day.
#[derive(Debug)]
pub struct DayLog {
    pub date: Date,
    rows: HashMap<RowKey, Activity>,
    macs: HashSet<MacAddr>,
    /// Unknown devices that had no row when they were first seen.
    probers: HashSet<MacAddr>,
    /// The keys of the newest earlier log.
    earlier: HashSet<RowKey>,
    /// Some of the rows are not in the log file yet.
    pub is_dirty: bool,
    /// Sightings that were dropped because of the limit, since the last error message about them.
    pub dropped: u64,
}

impl DayLog {
    /// Begins with the rows that the log file of the day has. `earlier`: the keys of the newest earlier log.
    pub fn new(
        date: Date,
        rows: impl IntoIterator<Item = (RowKey, Activity)>,
        earlier: HashSet<RowKey>,
    ) -> Self {
        let mut merged: HashMap<RowKey, Activity> = HashMap::new();
        for (key, activity) in rows {
            // A log that was edited or concatenated may have a key twice.
            let row = merged.entry(key);
            row.and_modify(|row| row.merge(&activity)).or_insert(activity);
        }
        let macs = merged.keys().map(|key| key.mac).collect();
        let probers = HashSet::new();
        DayLog { date, rows: merged, macs, probers, earlier, is_dirty: false, dropped: 0 }
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
        (at, evidence): (Moment, Evidence),
        names: &DeviceNames,
        limit: usize,
    ) -> RowChange {
        // A claim makes a row. An answer that names the address only continues one, also over midnight: it may come from a
        // device that forwards for the owner, whose claim is perhaps in no log of today yet.
        let may_begin = match evidence {
            Evidence::Claim => true,
            Evidence::FrameSource => self.earlier.contains(&key),
            Evidence::SignOfLife | Evidence::Probe | Evidence::NoHost | Evidence::Ignored => false,
        };
        let has_name = names.contains_key(&key.mac);
        if !may_begin && !self.rows.contains_key(&key) {
            // A device cannot hide by sending only what is no claim.
            let is_unknown = !has_name && !self.macs.contains(&key.mac);
            let is_first = is_unknown && self.probers.len() < limit && self.probers.insert(key.mac);
            return if is_first { RowChange::UnknownProber } else { RowChange::NoClaim };
        }
        let length = self.rows.len();
        let limit = if has_name { limit } else { limit - limit / 10 };
        let mac = key.mac;
        let change = match self.rows.entry(key) {
            Entry::Occupied(mut row) => {
                let is_new_hour = row.get_mut().add(at);
                if is_new_hour { RowChange::NewHour } else { RowChange::CountOnly }
            }
            Entry::Vacant(_) if length >= limit => {
                self.dropped += 1;
                return RowChange::Full;
            }
            Entry::Vacant(row) => {
                row.insert(Activity::new(at));
                let is_first = self.macs.insert(mac);
                if is_first && !has_name { RowChange::UnknownDevice } else { RowChange::NewHour }
            }
        };
        self.is_dirty = true;
        change
    }

    /// The content of the day's tracker log.
    pub fn to_text(&self, names: &DeviceNames) -> String {
        let name = |key: &RowKey| names.get(&key.mac).map_or(UNKNOWN, String::as_str);
        let mut rows: Vec<_> = self.rows.iter().map(|(key, at)| (key, at, name(key))).collect();
        rows.sort_unstable_by_key(|(key, ..)| *key);
        log_format::format_log(self.date, &rows)
    }
}
