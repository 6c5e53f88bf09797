//! What messages say of devices that were not seen to use an address: which addresses they announced, got from a server or asked for, or that they
//! only named themselves.

use std::{cmp::Reverse, collections::HashMap};

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use super::STRENGTHS;
use crate::{
    history_reader::{Claim, HistoryReader, TimeRange},
    queries::network,
    result_table::Cell,
};

/// The mark of a device that only named itself.
const NAME_ONLY: &str = "name only";

/// A device, in one network or in all.
pub type DeviceKey = (MacAddr, Option<usize>);

/// What its messages of a time range say.
pub struct UnseenDevice {
    /// The latest one.
    pub network: usize,
    /// Unknown if the clock was not set.
    pub times: Option<(UnixTime, UnixTime)>,
    /// The addresses, each with how the device came to it, the latest first.
    pub claimed: Cell,
}

/// A message, and its first and last time in the range; unknown if the clock was not set.
type InRange = (Claim, Option<(UnixTime, UnixTime)>);

/// Those of all devices, and whether there may be more. Of a row, only the first and the last message are known: one of them is in the range.
/// `by_network`: once for each network of a MAC.
pub fn devices(
    history: &mut dyn HistoryReader,
    range: TimeRange,
    by_network: bool,
) -> Result<(HashMap<DeviceKey, UnseenDevice>, bool), Error> {
    let clocks = history.clocks().asked(range);
    let is_in = |time: &UnixTime| range.from <= *time && *time < range.to;
    let mut found: HashMap<DeviceKey, Vec<InRange>> = HashMap::new();
    let (all, is_cut) = history.claims(range)?;
    for one in all {
        let times = [one.first, one.last].into_iter();
        let dated: Vec<_> = times.filter(|time| clocks.is_set(one.network, *time)).collect();
        let mut in_range = dated.iter().copied().filter(is_in);
        let first = in_range.next();
        let times = first.map(|first| (first, in_range.next().unwrap_or(first)));
        if times.is_some() || dated.is_empty() && range == TimeRange::ALL {
            let key = (one.mac, by_network.then_some(one.network));
            found.entry(key).or_default().push((one, times));
        }
    }
    let of = |(key, all)| Some((key, device(history, all)?));
    Ok((found.into_iter().filter_map(of).collect(), is_cut))
}

fn device(history: &dyn HistoryReader, mut all: Vec<InRange>) -> Option<UnseenDevice> {
    let strength = |one: &Claim| {
        one.what.map(|(why, _)| STRENGTHS.iter().position(|(known, _)| *known == why))
    };
    // In whole seconds, which is what a server has.
    all.sort_by_cached_key(|(one, times)| {
        let last = times.map(|times| times.1.seconds());
        let ip = one.what.map(|(_, ip)| ip);
        (Reverse(last), strength(one), ip, network(history, one.network))
    });
    let (Claim { network, .. }, _) = *all.first()?;
    let times = all.iter().filter_map(|(_, times)| *times);
    let times = times.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
    let mut addresses = Vec::new();
    for (one, _) in &all {
        addresses.extend(one.what.map(|(_, ip)| ip).filter(|ip| !addresses.contains(ip)));
    }
    // Of each address the strongest.
    let words = addresses.into_iter().filter_map(|ip| {
        let of_ip = all.iter().filter_map(|(one, _)| one.what.filter(|what| what.1 == ip));
        let word = |why| STRENGTHS.iter().position(|(known, _)| *known == why);
        let strongest = of_ip.filter_map(|(why, _)| word(why)).min()?;
        Some(format!("{} {ip}", STRENGTHS[strongest].1))
    });
    let mut claimed: Vec<String> = words.collect();
    if claimed.is_empty() {
        claimed.push(NAME_ONLY.into());
    }
    Some(UnseenDevice { network, times, claimed: Cell::List(claimed) })
}
