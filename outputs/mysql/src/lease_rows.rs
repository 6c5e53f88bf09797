//! What messages say of leases becomes rows: a renewal makes a row longer, and what is given again after its end is another row. The
//! same rules as those of aw-sqlite, on the latest row that the table has.

use std::{collections::BTreeMap, net::IpAddr};

use aw_output::LeaseChange;
use shm_layout::MacAddr;

use crate::sql::timestamp;

/// Whose lease, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseKey {
    pub address: IpAddr,
    pub mac: MacAddr,
    pub interface: String,
    pub vlan: i64,
}

/// A lease, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    pub begins: i64,
    /// When it was received last.
    pub last: i64,
    pub ends: i64,
    /// The device gave it back.
    pub is_released: bool,
}

/// What is not written yet, of each key in the order of the ring.
pub type LeaseChanges = BTreeMap<LeaseKey, Vec<LeaseChange>>;

/// The rows that are to be written, and how many of them are new. `latest` is the row that began last before the last change.
pub fn changed(latest: Option<LeaseRow>, changes: &[LeaseChange]) -> (Vec<LeaseRow>, usize) {
    let mut rows: Vec<(LeaseRow, bool)> = latest.into_iter().map(|row| (row, false)).collect();
    let mut changes = changes.to_vec();
    changes.sort_by_key(|change| change.time);
    for LeaseChange { time, until, .. } in changes {
        let time = timestamp(time);
        let begun = rows.iter_mut().filter(|(row, _)| row.begins <= time);
        let last = begun.max_by_key(|(row, _)| row.begins).filter(|(row, _)| !row.is_released);
        match (last, until.map(timestamp)) {
            // A server that shortens a lease and a stranger who says so look alike: the later end counts.
            (Some((row, is_changed)), Some(until)) if row.ends > time => {
                (row.last, row.ends, *is_changed) = (time, row.ends.max(until), true);
            }
            // One that ended by time may have been renewed unseen: its device can end it still.
            (Some((row, is_changed)), None) => {
                (row.last, row.ends, row.is_released, *is_changed) = (time, time, true, true);
            }
            (_, Some(until)) => {
                let row = LeaseRow { begins: time, last: time, ends: until, is_released: false };
                rows.retain(|(other, _)| other.begins != time);
                rows.push((row, true));
            }
            (None, None) => {}
        }
    }
    let new = rows.iter().filter(|(row, _)| Some(row.begins) != latest.map(|row| row.begins));
    let new = new.count();
    let changed = rows.into_iter().filter(|(_, is_changed)| *is_changed);
    (changed.map(|(row, _)| row).collect(), new)
}

#[cfg(test)]
mod tests {
    use shm_layout::UnixTime;

    use super::*;

    const BEGIN: i64 = 1_700_000_000;

    /// Begin, last, end of each row, and whether the device gave it back.
    fn rows(latest: Option<[i64; 3]>, changes: &[(i64, Option<i64>)]) -> Vec<[i64; 4]> {
        let at = |seconds: i64| UnixTime::new(BEGIN + seconds, 0);
        let changes = changes.iter().map(|(time, until)| LeaseChange {
            mac: MacAddr::new([2, 0, 0, 0, 0, 7]),
            address: [192, 0, 2, 7].into(),
            time: at(*time),
            until: until.map(at),
        });
        let changes: Vec<_> = changes.collect();
        let latest = latest.map(|[begins, last, ends]| {
            let [begins, last, ends] = [begins, last, ends].map(|time| time + BEGIN);
            LeaseRow { begins, last, ends, is_released: false }
        });
        let (rows, new) = changed(latest, &changes);
        assert!(new <= rows.len());
        let row = |row: LeaseRow| {
            let LeaseRow { begins, last, ends, is_released } = row;
            [begins - BEGIN, last - BEGIN, ends - BEGIN, i64::from(is_released)]
        };
        rows.into_iter().map(row).collect()
    }

    #[test]
    fn renewals_and_ends() {
        assert_eq!(rows(None, &[(0, Some(3600))]), [[0, 0, 3600, 0]]);
        assert_eq!(rows(Some([0, 0, 3600]), &[(1800, Some(5400))]), [[0, 1800, 5400, 0]]);
        let shorter = [(1800, Some(5400)), (1801, Some(1861))];
        assert_eq!(rows(Some([0, 0, 3600]), &shorter), [[0, 1801, 5400, 0]]);
        assert_eq!(rows(Some([0, 0, 3600]), &[(3600, Some(7200))]), [[3600, 3600, 7200, 0]]);
        // Unseen renewals: it ends after its stored end. A second end, and one without a lease, are none.
        let ends = [(20_000, None), (20_001, None)];
        assert_eq!(rows(Some([0, 0, 3600]), &ends), [[0, 20_000, 20_000, 1]]);
        assert!(rows(None, &ends).is_empty());
        let again = [(100, None), (100, Some(3700)), (200, None), (300, Some(3900))];
        let all = [[0, 100, 100, 1], [100, 200, 200, 1], [300, 300, 3900, 0]];
        assert_eq!(rows(Some([0, 0, 3600]), &again), all);
    }
}
