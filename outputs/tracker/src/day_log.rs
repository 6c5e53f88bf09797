//! The rows of one day in memory. Their number is limited, because any host on the network can invent addresses: a row takes
//! about 250 bytes. The last tenth of the rows is reserved for devices with names.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

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
}

/// The rows of one day.
#[derive(Debug)]
pub struct DayLog {
    pub date: Date,
    rows: HashMap<RowKey, Activity>,
    macs: HashSet<MacAddr>,
    /// The addresses of all rows, on their interfaces.
    addresses: HashSet<(IpAddr, Arc<str>)>,
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
        let addresses = merged.keys().map(address_of).collect();
        DayLog { date, rows: merged, macs, addresses, is_dirty: false, dropped: 0 }
    }

    /// Adds a sighting; `limit` is the largest number of rows.
    pub fn add(
        &mut self,
        key: RowKey,
        (at, evidence): (Moment, Evidence),
        names: &DeviceNames,
        limit: usize,
    ) -> RowChange {
        // A claim makes a row; so does an answer that names the address only, if no other device has it.
        let may_begin = match evidence {
            Evidence::Claim => true,
            Evidence::FrameSource => !self.addresses.contains(&address_of(&key)),
            Evidence::SignOfLife | Evidence::Probe => false,
        };
        if !may_begin && !self.rows.contains_key(&key) {
            return RowChange::NoClaim;
        }
        let length = self.rows.len();
        let has_name = names.contains_key(&key.mac);
        let limit = if has_name { limit } else { limit - limit / 10 };
        let (mac, address) = (key.mac, address_of(&key));
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
                self.addresses.insert(address);
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

fn address_of(key: &RowKey) -> (IpAddr, Arc<str>) {
    (key.ip, Arc::clone(&key.interface))
}
