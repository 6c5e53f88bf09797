//! The rows of one day in memory. Their number is limited, because any host on the network can invent addresses: a row takes
//! about 200 bytes. The last tenth of the rows is reserved for devices with names.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use jiff::civil::Date;
use shm_layout::MacAddr;

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
}

/// The rows of one day.
#[derive(Debug)]
pub struct DayLog {
    pub date: Date,
    rows: HashMap<RowKey, Activity>,
    macs: HashSet<MacAddr>,
    /// Some of the rows are not in the log file yet.
    pub is_dirty: bool,
    /// Sightings that were dropped because of the limit, since the last error message about them.
    pub dropped: u64,
}

impl DayLog {
    /// Begins with the rows that the log file of the day has.
    pub fn new(date: Date, rows: impl IntoIterator<Item = (RowKey, Activity)>) -> Self {
        let mut merged: HashMap<RowKey, Activity> = HashMap::new();
        for (key, activity) in rows {
            // A log that was edited or concatenated may have a key twice.
            let row = merged.entry(key);
            row.and_modify(|row| row.merge(&activity)).or_insert(activity);
        }
        let macs = merged.keys().map(|key| key.mac).collect();
        DayLog { date, rows: merged, macs, is_dirty: false, dropped: 0 }
    }

    /// Adds a sighting; `limit` is the largest number of rows.
    pub fn record(
        &mut self,
        key: RowKey,
        at: Moment,
        names: &DeviceNames,
        limit: usize,
    ) -> RowChange {
        let length = self.rows.len();
        let has_name = names.contains_key(&key.mac);
        let limit = if has_name { limit } else { limit - limit / 10 };
        let mac = key.mac;
        let change = match self.rows.entry(key) {
            Entry::Occupied(mut row) => {
                if row.get_mut().add(at) {
                    RowChange::NewHour
                } else {
                    RowChange::CountOnly
                }
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
