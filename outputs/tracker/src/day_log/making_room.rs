//! Which rows make room when a day has too many. A host can invent networks, MACs and addresses, so the largest group loses
//! first: the interface with the most rows, without its VLANs, in it the MAC with the most rows. Of these, the half that came
//! first stays, because a host that invents rows is not earlier than those that were there before. Of the other half, the
//! rows with the fewest sightings make room: a flood seldom repeats its rows.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use shm_layout::MacAddr;

use crate::{
    activity::RowKey,
    config_file::DeviceNames,
    day_log::{Row, network_of},
};

/// Rows of a device with a name that never make room: its MAC can be forged, too.
const NAMED_ROWS: u32 = 8;
/// A MAC has a right to so many rows of a network; further ones make room before those of other MACs.
const ROWS_OF_MAC: u32 = 8;
/// The share of the rows that is chosen at once, because each choice looks at all of them: so a flood of new rows looks at
/// this many for each. It is half of those that may make room.
const SHARE: usize = 4;

/// A row that makes room.
#[derive(Debug)]
pub struct Victim {
    pub key: RowKey,
    /// When it was chosen.
    pub sightings: u32,
}

/// A row with what decides about it. Only numbers: with 50,000 rows, of which each choice removes a quarter, a flood of
/// 200,000 addresses a second makes eighteen choices a second.
struct Candidate<'a> {
    key: &'a RowKey,
    /// A copy: what sorts reads no other memory.
    mac: MacAddr,
    /// The number of its network.
    network: u32,
    arrival: u64,
    sightings: u32,
    /// The number of the row within the rows of its MAC.
    of_mac: u32,
    /// The number of the row within its network.
    rank: u32,
    is_protected: bool,
}

/// The least important rows, the least important one last. `earlier`: rows that the newest earlier log has.
pub fn least_important(
    rows: &HashMap<RowKey, Row>,
    earlier: &HashSet<RowKey>,
    names: &DeviceNames,
) -> Vec<Victim> {
    let (mut networks, mut last_interface) = (HashMap::new(), ("", 0));
    let mut all = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        if *key.interface != *last_interface.0 {
            let number = networks.len() as u32;
            let network = networks.entry(network_of(&key.interface)).or_insert(number);
            last_interface = (&key.interface, *network);
        }
        all.push(Candidate {
            key,
            mac: key.mac,
            network: last_interface.1,
            arrival: row.arrival,
            sightings: row.sightings(),
            of_mac: 0,
            rank: 0,
            is_protected: !earlier.is_empty() && earlier.contains(key),
        });
    }
    // Rows of yesterday stay, unless they were invented yesterday.
    let trusts_earlier = all.iter().filter(|row| row.is_protected).count() <= rows.len() / 2;
    all.sort_unstable_by_key(|row| (row.network, row.mac, row.arrival));
    number_within(&mut all, |row| (row.network, row.mac), |row| &mut row.of_mac);
    for row in &mut all {
        let is_named = row.of_mac < NAMED_ROWS && names.contains_key(&row.mac);
        row.is_protected = is_named || trusts_earlier && row.is_protected;
    }
    // What stays does not count against the others of its network.
    all.retain(|row| !row.is_protected);
    let excess = |row: &Candidate| row.of_mac.max(ROWS_OF_MAC);
    all.sort_unstable_by_key(|row| (row.network, excess(row), row.arrival));
    number_within(&mut all, |row| row.network, |row| &mut row.rank);
    let last_half = last(all.len().div_ceil(2), &mut all, |row| (row.rank, row.arrival));
    let unimportance =
        |row: &Candidate<'_>| (excess(row), Reverse(row.sightings), row.rank, row.arrival);
    let chosen = last((rows.len() / SHARE).max(1), last_half, unimportance);
    chosen.sort_unstable_by_key(unimportance);
    let victim = |row: &Candidate| Victim { key: row.key.clone(), sightings: row.sightings };
    chosen.iter().map(victim).collect()
}

/// The `number` rows with the largest keys.
fn last<'a, 'b, K: Ord>(
    number: usize,
    rows: &'b mut [Candidate<'a>],
    key: impl Fn(&Candidate<'a>) -> K,
) -> &'b mut [Candidate<'a>] {
    let first = rows.len().saturating_sub(number);
    if first > 0 {
        rows.select_nth_unstable_by_key(first, key);
    }
    &mut rows[first..]
}

/// Numbers the rows that follow each other in one group.
fn number_within<'a, G: PartialEq>(
    rows: &mut [Candidate<'a>],
    group: impl Fn(&Candidate<'a>) -> G,
    number: impl for<'b> Fn(&'b mut Candidate<'a>) -> &'b mut u32,
) {
    let (mut before, mut count) = (None, 0);
    for row in rows {
        let of = Some(group(row));
        count = if of == before { count + 1 } else { 0 };
        (*number(row), before) = (count, of);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use jiff::tz::TimeZone;
    use shm_layout::{Evidence, UnixTime};

    use super::*;
    use crate::{
        activity::Sender,
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
                let seen = (moment(now + seconds), Evidence::Claim, Sender::Own);
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
            assert_eq!(add(&one_more, 10), RowChange::UnknownDevice, "{way}");
            assert!(day.rows.len() <= LIMIT, "{way}");
            assert_eq!(day.rows.len() as u64 + day.dropped, 1 + 198 + 120_000 + 2, "{way}");
            for key in known.iter().chain([&gateway, &new, &one_more]) {
                assert!(day.rows.contains_key(key), "{way}: {key:?}");
            }
        }
    }

    /// Made-up rows that are seen up to ten times, in VLANs: each VLAN has fewer rows than the real network, and each row more
    /// sightings than a new device, which was seen once.
    #[test]
    fn forged_vlans_and_sightings() {
        let names = DeviceNames::default();
        let mut calendar = Calendar::new(TimeZone::UTC);
        let mut moment = |seconds| calendar.moment(UnixTime::new(1_800_000_000 + seconds, 0));
        let devices: Vec<_> = (0..198).map(|number| key("eth0", number, number)).collect();
        let date = moment(0).date;
        // Known from yesterday, or the first day.
        for earlier in [devices.clone(), Vec::new()] {
            let mut day = DayLog::new(date, [], earlier.into_iter().collect());
            let mut add = |key: &RowKey, seconds| {
                day.add(key.clone(), (moment(seconds), Evidence::Claim, Sender::Own), &names, LIMIT)
            };
            for _ in 0..100 {
                devices.iter().for_each(|key| {
                    add(key, 1);
                });
            }
            let new = key("eth0", 500, 500);
            assert_eq!(add(&new, 2), RowChange::UnknownDevice);
            let meanwhile = key("eth0", 501, 501);
            for number in 0..300_000 {
                let vlan = format!("eth0.{}", number % 4_000);
                let made_up = key(&vlan, 1_000 + number, 1_000 + number);
                let second = 3 + i64::from(number) / 50_000;
                let times = if number < 100_000 { 10 } else { 2 };
                (0..times).for_each(|_| {
                    add(&made_up, second);
                });
                if number == 200_000 {
                    add(&meanwhile, second);
                }
            }
            // Seen again, and another one after the flood: each is reported, and has a row.
            assert_eq!(add(&meanwhile, 26), RowChange::UnknownDevice);
            let later = key("eth0", 502, 502);
            assert_eq!(add(&later, 27), RowChange::UnknownDevice);
            assert!(day.rows.len() <= LIMIT);
            for key in devices.iter().chain([&new, &meanwhile, &later]) {
                assert!(day.rows.contains_key(key), "{key:?}");
            }
        }
    }

    /// A MAC that no host has is no device, and the one that sends it cannot hide by that.
    #[test]
    fn no_host() {
        let moment = Calendar::new(TimeZone::UTC).moment(UnixTime::new(1_800_000_000, 0));
        let names = DeviceNames::default();
        let mut day = DayLog::new(moment.date, [], HashSet::new());
        let mut add =
            |key: RowKey| day.add(key, (moment, Evidence::NoHost, Sender::Own), &names, LIMIT);
        let group = MacAddr::new([255; 6]);
        assert_eq!(add(RowKey { mac: group, ..key("eth0", 1, 1) }), RowChange::NoClaim);
        assert_eq!(add(key("eth0", 1, 1)), RowChange::UnknownProber);
        assert!(day.rows.is_empty());
    }

    /// A flood of invented rows looks at few rows for each of its own, in whichever way they are invented; and a row that was
    /// chosen, but is seen again before its turn comes, stays.
    #[test]
    fn few_rows_are_looked_at() {
        const EVENTS: usize = 1_000_000;
        let moment = Calendar::new(TimeZone::UTC).moment(UnixTime::new(1_800_000_000, 0));
        let names = DeviceNames::default();
        let invented: [fn(u32) -> RowKey; 3] = [
            |number| key("eth0", 1_000 + number, number),
            |number| key("eth0", 999, number),
            // Each is seen again before the next one: none that was chosen has as many sightings as it had.
            |number| key("eth0", 1_000 + number / 2 % 60_000, number / 2 % 60_000),
        ];
        for invented in invented {
            let mut day = DayLog::new(moment.date, [], HashSet::new());
            for number in 0..EVENTS as u32 {
                let seen = (moment, Evidence::Claim, Sender::Own);
                day.add(invented(number), seen, &names, LIMIT);
            }
            let of_event = day.looked_at as f64 / EVENTS as f64;
            assert!(of_event > 0.0 && of_event <= 4.0, "{of_event} rows for each event");
        }
        let mut day = DayLog::new(moment.date, [], HashSet::new());
        let mut add = |number: u32| {
            let seen = (moment, Evidence::Claim, Sender::Own);
            day.add(key("eth0", number, number), seen, &names, LIMIT)
        };
        let full = LIMIT as u32 / 10 * 9;
        (0..=full).for_each(|number| {
            add(number);
        });
        // The last one before the choice was chosen first, the others after it: all that are seen again stay.
        let again = full - 1_000..full - 500;
        again.clone().for_each(|number| {
            add(number);
        });
        (0..5_000).for_each(|number| {
            add(100_000 + number);
        });
        assert!(again.clone().all(|number| day.rows.contains_key(&key("eth0", number, number))));
    }

    /// Rows that were invented yesterday, and are seen again today, do not keep a new device out.
    #[test]
    fn rows_invented_yesterday() {
        let moment = Calendar::new(TimeZone::UTC).moment(UnixTime::new(1_800_000_000, 0));
        let planted: Vec<_> = (0..LIMIT as u32).map(|number| key("eth0", number, number)).collect();
        let mut day = DayLog::new(moment.date, [], planted.iter().cloned().collect());
        let names = DeviceNames::default();
        let mut add = |key: &RowKey| {
            day.add(key.clone(), (moment, Evidence::Claim, Sender::Own), &names, LIMIT)
        };
        planted.iter().for_each(|key| {
            add(key);
        });
        let new = key("eth0", 70_000, 70_000);
        assert_eq!(add(&new), RowChange::UnknownDevice);
        assert!(day.rows.contains_key(&new));
    }
}
