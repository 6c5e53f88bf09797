//! The state of one day: its rows, and what of them the log does not have yet. Its memory is bounded, whoever makes up
//! addresses: a row takes some 200 bytes, and there are so many at most. The last tenth is kept for devices with names.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use jiff::civil::Date;
use shm_layout::MacAddr;

use crate::{
    calendar::Moment,
    config::{Names, UNKNOWN},
    row::{Activity, Key},
    table,
};

/// What a sighting changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A device that nobody named, for the first time that day.
    Stranger,
    /// A first sighting in its hour.
    Hour,
    /// A cell, or the time of the last sighting.
    Count,
    /// Nothing: there is no room for a further row.
    Full,
}

/// One day.
#[derive(Debug)]
pub struct Day {
    pub date: Date,
    rows: HashMap<Key, Activity>,
    macs: HashSet<MacAddr>,
    /// The log does not have all of it.
    pub changed: bool,
    /// Sightings for which there was no room, since this was last told.
    pub refused: u64,
}

impl Day {
    /// A day with what its log already has.
    pub fn new(date: Date, rows: impl IntoIterator<Item = (Key, Activity)>) -> Self {
        let mut joined: HashMap<Key, Activity> = HashMap::new();
        for (key, activity) in rows {
            // Logs that somebody put together may have a key twice.
            let row = joined.entry(key);
            row.and_modify(|row| row.join(&activity)).or_insert(activity);
        }
        let macs = joined.keys().map(|key| key.mac).collect();
        Day { date, rows: joined, macs, changed: false, refused: 0 }
    }

    /// Takes a sighting. `limit`: how many rows there may be.
    pub fn sight(&mut self, key: Key, at: Moment, names: &Names, limit: usize) -> Change {
        let length = self.rows.len();
        let known = names.contains_key(&key.mac);
        let mac = key.mac;
        let change = match self.rows.entry(key) {
            Entry::Occupied(mut row) => {
                if row.get_mut().again(at) {
                    Change::Hour
                } else {
                    Change::Count
                }
            }
            Entry::Vacant(_) if length >= if known { limit } else { limit - limit / 10 } => {
                self.refused += 1;
                return Change::Full;
            }
            Entry::Vacant(place) => {
                place.insert(Activity::begin(at));
                if self.macs.insert(mac) && !known { Change::Stranger } else { Change::Hour }
            }
        };
        self.changed = true;
        change
    }

    /// Its log.
    pub fn text(&self, names: &Names) -> String {
        let name = |key: &Key| names.get(&key.mac).map_or(UNKNOWN, String::as_str);
        let mut rows: Vec<_> = self.rows.iter().map(|(key, at)| (key, at, name(key))).collect();
        rows.sort_unstable_by_key(|(key, ..)| *key);
        table::write(self.date, &rows)
    }
}
