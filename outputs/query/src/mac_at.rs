//! The query `mac --at`: which addresses a device had at a time, and whether it was seen near that time.

use std::{collections::BTreeSet, net::IpAddr};

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    history_reader::{HistoryReader, NearestSightings, SeenAround, TimeRange},
    holders::{distance, near},
    omitted::{Omitted, begins_after},
    periods::KEPT_WITHIN,
    queries::{TOGETHER, columns, network},
    result_table::ResultTable,
    unseen::{self, Limits},
    who::{self, NETWORKS},
};

/// Addresses of the answer.
const ROWS: usize = 64;
/// Addresses that are looked at for it: a host can invent more of them, and other MACs can claim them.
const LOOKED_AT: usize = 256;

/// The addresses with which the device was seen near the time, as `who` answers for each of them; if there are none, the address
/// with which it was seen nearest.
pub fn mac_at(
    history: &mut dyn HistoryReader,
    mac: MacAddr,
    at: UnixTime,
) -> Result<ResultTable, Error> {
    let of_mac = history.addresses_of(mac, TimeRange::ALL)?.into_iter();
    let mut addresses: Vec<IpAddr> =
        of_mac.filter(|one| one.is_more_than_probed).map(|one| one.ip).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let clocks = history.clocks().asked(TimeRange { from: at, to: at });
    let mut device = [None, None];
    let mut networks = BTreeSet::new();
    let (mut by_distance, mut by_network, mut given) = (Vec::new(), Vec::new(), Vec::new());
    for addresses in addresses.chunks(TOGETHER) {
        let nearest = history.nearest_of_each(addresses, at)?;
        for (ip, nearest) in addresses.iter().zip(nearest) {
            let leased = nearest.iter().filter(|one| one.mac == mac && one.has_lease());
            given.extend(leased.map(|one| (*ip, *one)));
            let of_mac = nearest.iter().filter(|one| one.mac == mac && one.is_known());
            let seen = of_mac.fold([None, None], |[before, after], one| {
                networks.insert(one.network);
                let is_set = |time: &UnixTime| clocks.is_set(one.network, *time);
                let [last, next] = sides(one).map(|time| time.filter(is_set));
                let away = [last, next].into_iter().filter_map(|time| distance(time, at)).min();
                away.into_iter().for_each(|away| by_network.push((one.network, away)));
                [before.max(last), [after, next].into_iter().flatten().min()]
            });
            device = [device[0].max(seen[0]), device[1].into_iter().chain(seen[1]).min()];
            let nearest = seen.into_iter().filter_map(|time| distance(time, at)).min();
            by_distance.extend(nearest.map(|distance| (distance, *ip)));
        }
    }
    by_distance.sort_unstable();
    let is_near = device.into_iter().any(|time| near(time, at));
    let mut rows = Vec::new();
    for (distance, ip) in by_distance.into_iter().take(LOOKED_AT) {
        if rows.len() >= ROWS || is_near && distance > KEPT_WITHIN || !is_near && !rows.is_empty() {
            break;
        }
        let nearest = history.nearest(ip, at)?;
        let of_address = who::rows(history, (ip, at), &nearest)?.into_iter();
        rows.extend(of_address.filter(|(of, ..)| *of == mac).map(|(.., row)| row));
    }
    let is_seen = !rows.is_empty();
    let mut limits = Limits::default();
    for (index, away) in by_network {
        limits.add(network(history, index), away / 1_000_000_000);
    }
    let unseen = unseen::rows_of_mac(history, (mac, at), &given, &limits)?;
    unseen::add(&mut rows, unseen, |_| false);
    let begins_after = begins_after(history, &rows, at)?;
    rows.iter_mut().for_each(|row| row.swap(0, who::ADDRESS));
    let columns = columns(
        "address seen_before seen_after how_sure why +mac +at +seconds_before +seconds_after +others +frame_sources",
    );
    let away = device.map(|time| who::distance(time, at));
    // Of a time before the history it is not known where the device was.
    let away = (!is_near && is_seen && begins_after.is_none()).then_some(away);
    let was_captured = away.and_then(|_| was_captured(history, &networks, at));
    let omitted = Omitted { away, was_captured, begins_after, ..Omitted::default() };
    Ok(ResultTable { rows, columns, omitted, ..ResultTable::default() })
}

/// Whether anything was captured near the time in one of these networks, if that is known.
fn was_captured(
    history: &mut dyn HistoryReader,
    networks: &BTreeSet<usize>,
    at: UnixTime,
) -> Option<bool> {
    // A fault of the rows of other MACs is none of this answer.
    let seen = networks.iter().take(NETWORKS);
    let seen = seen.map(|network| history.seen_around(*network, at).unwrap_or_default());
    let seen: Vec<SeenAround> = seen.collect();
    let is_near = |seen: &[Option<UnixTime>; 2]| seen.iter().any(|time| near(*time, at));
    match seen.iter().flatten().any(is_near) {
        true => Some(true),
        false => (seen.len() == networks.len() && !seen.contains(&None)).then_some(false),
    }
}

/// The last sign of the MAC before the time, and the first one after it.
fn sides(one: &NearestSightings) -> [Option<UnixTime>; 2] {
    let [before, after] = [one.before, one.after]
        .map(|side| [side.claim, side.frame_source, side.sign_of_life].into_iter().flatten());
    [before.max(), after.min()]
}
