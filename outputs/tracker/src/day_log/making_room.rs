//! Which rows make room when a day has too many. A host can invent networks, MACs and addresses, so the largest group loses
//! first: the network with the most rows, in it the MAC with the most rows, of these the row with the fewest sightings.

use std::collections::{HashMap, HashSet};

use shm_layout::MacAddr;

use crate::{
    activity::{Activity, RowKey},
    config_file::DeviceNames,
};

/// Rows of a device with a name that never make room: its MAC can be forged, too.
const NAMED_ROWS: usize = 8;
/// The share of the rows that is chosen at once, because each choice sorts all of them.
const SHARE: usize = 10;

/// A row with what decides about it.
struct Candidate<'a> {
    key: &'a RowKey,
    /// The rows of its MAC, and then of its network, that are more important.
    rank: usize,
    sightings: u32,
    last: i64,
    is_protected: bool,
}

impl<'a> Candidate<'a> {
    fn new((key, activity): (&'a RowKey, &Activity)) -> Candidate<'a> {
        let (sightings, last) = (activity.hours.total(), activity.last.seconds);
        Candidate { key, rank: 0, sightings, last, is_protected: false }
    }
}

/// The least important rows, the least important one last. `earlier`: rows that the newest earlier log has.
pub fn least_important(
    rows: &HashMap<RowKey, Activity>,
    earlier: &HashSet<RowKey>,
    names: &DeviceNames,
) -> Vec<RowKey> {
    // Rows of yesterday stay, unless they were invented yesterday.
    let old = rows.keys().filter(|key| earlier.contains(key)).count();
    let trusts_earlier = old <= rows.len() / 2;
    let mut all: Vec<_> = rows.iter().map(Candidate::new).collect();
    rank(&mut all, |row| (&*row.key.interface, Some(row.key.mac)));
    for row in &mut all {
        let is_named = names.contains_key(&row.key.mac) && row.rank < NAMED_ROWS;
        row.is_protected = is_named || trusts_earlier && earlier.contains(row.key);
    }
    rank(&mut all, |row| (&*row.key.interface, None));
    all.retain(|row| !row.is_protected);
    all.sort_unstable_by_key(|row| (row.rank, row.key.mac));
    let keep = all.len() - (rows.len() / SHARE).max(1).min(all.len());
    all[keep..].iter().map(|row| row.key.clone()).collect()
}

/// Ranks rows within their groups: by the rank that they have, then by sightings, then by time.
fn rank<'a>(
    rows: &mut [Candidate<'a>],
    group: impl Fn(&Candidate<'a>) -> (&'a str, Option<MacAddr>),
) {
    let order = |row: &Candidate<'a>| {
        (group(row), row.rank, u32::MAX - row.sightings, i64::MAX - row.last, row.key.ip)
    };
    rows.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
    let mut previous = None;
    let mut number = 0;
    for row in rows {
        let this = group(row);
        number = if previous == Some(this) { number + 1 } else { 0 };
        (previous, row.rank) = (Some(this), number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use jiff::tz::TimeZone;
    use shm_layout::{Evidence, UnixTime};

    use super::*;
    use crate::{
        day_log::{DayLog, RowChange},
        local_time::Calendar,
    };

    const LIMIT: usize = 50_000;

    fn key(network: &str, mac: u32, ip: u32) -> RowKey {
        let [a, b, c, d] = mac.to_be_bytes();
        let ip = Ipv4Addr::from(0x0a00_0000 + ip).into();
        RowKey { mac: MacAddr::new([0, 8, a, b, c, d]), ip, interface: network.into() }
    }

    /// 45,000 invented rows, and then as many again and again, hide no device: neither one that is known, nor one that has
    /// a name, nor one that is new, in whichever way they are invented.
    #[test]
    fn invented_rows_hide_no_device() {
        let gateway = key("eth0", 1, 1);
        let names: DeviceNames = [(gateway.mac, "gateway".to_owned())].into();
        let known: Vec<_> = (2..200).map(|number| key("eth0", number, number)).collect();
        let moment = |seconds| Calendar::new(TimeZone::UTC).moment(UnixTime::new(seconds, 0));
        let now = 1_800_000_000;
        let date = moment(now).date;
        let invented: [fn(u32) -> RowKey; 5] = [
            |number| key("eth0", 999, 1_000 + number),
            |number| key("eth0", 1_000 + number, 1_000 + number),
            |number| key(&format!("eth0.{}", number % 4_000), 1_000 + number, 1_000 + number),
            |number| key("eth0", 1, 1_000 + number), // in the name of the gateway
            |number| key("eth0", 2 + number % 198, 1_000 + number), // in the names of the known ones
        ];
        for (way, invented) in invented.into_iter().enumerate() {
            let mut day = DayLog::new(date, [], known.iter().cloned().collect());
            let mut add = |key: &RowKey, seconds| {
                let seen = (moment(now + seconds), Evidence::Claim);
                day.add(key.clone(), seen, &names, LIMIT)
            };
            (0..3).for_each(|_| {
                add(&gateway, 0);
            });
            known.iter().for_each(|key| {
                add(key, 1);
            });
            (0..45_000).for_each(|number| {
                add(&invented(number), 2);
            });
            let new = key("eth0", 500, 500);
            assert_eq!(add(&new, 3), RowChange::UnknownDevice, "{way}");
            (0..3).for_each(|number| {
                add(&new, 4 + number);
            });
            (45_000..120_000).for_each(|number| {
                add(&invented(number), 9);
            });
            let one_more = key("eth0", 501, 501);
            add(&one_more, 10);
            assert!(day.rows.len() <= LIMIT, "{way}");
            assert_eq!(day.rows.len() as u64 + day.dropped, 1 + 198 + 120_000 + 2, "{way}");
            for key in known.iter().chain([&gateway, &new, &one_more]) {
                assert!(day.rows.contains_key(key), "{way}: {key:?}");
            }
        }
    }

    /// Rows that were invented yesterday, and are seen again today, do not keep a new device out.
    #[test]
    fn rows_invented_yesterday() {
        let moment = Calendar::new(TimeZone::UTC).moment(UnixTime::new(1_800_000_000, 0));
        let planted: Vec<_> = (0..LIMIT as u32).map(|number| key("eth0", number, number)).collect();
        let mut day = DayLog::new(moment.date, [], planted.iter().cloned().collect());
        let names = DeviceNames::default();
        let mut add = |key: &RowKey| day.add(key.clone(), (moment, Evidence::Claim), &names, LIMIT);
        planted.iter().for_each(|key| {
            add(key);
        });
        let new = key("eth0", 70_000, 70_000);
        assert_eq!(add(&new), RowChange::UnknownDevice);
        assert!(day.rows.contains_key(&new));
    }
}
