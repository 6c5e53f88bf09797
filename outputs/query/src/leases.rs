//! What leases say of who had an address, where the MAC itself was not seen. They are a server's claim. A renewal is unicast, and most
//! ports do not receive it: so an end by time proves nothing, and only an address that its device gave back lowers an answer.

use std::{cmp::Reverse, collections::HashSet, net::IpAddr};

use shm_layout::UnixTime;

use crate::{
    history_reader::{HistoryReader, Lease, TimeRange},
    holders::{Certainty, Holder},
    left_out::{LeftOut, LeftOuts, Why},
    who::{distance, duration},
};

/// MACs that are listed for an address that none was seen to use.
const LISTED: usize = 3;

/// The last lease of a MAC that began before a time. Not one after whose end the MAC was seen: then there was another one.
pub fn at<'a>(holder: &Holder, leases: &'a [Lease], at: UnixTime) -> Option<&'a Lease> {
    let is_of = |lease: &&Lease| (lease.network, lease.mac) == (holder.network, holder.mac);
    let begun = leases.iter().filter(is_of).filter(|lease| lease.begin <= at);
    let last = begun.max_by_key(|lease| lease.begin)?;
    let is_right = last.until > at || holder.before.is_none_or(|seen| seen <= last.until);
    is_right.then_some(last)
}

/// If the device gave the address back between its last sighting and the time, only the sighting after it counts.
pub fn end(holder: &mut Holder, lease: &Lease, at: UnixTime) {
    let is_over = lease.until <= at && holder.before.is_some_and(|seen| seen <= lease.until);
    if is_over && holder.certainty == Certainty::Likely {
        holder.certainty = Certainty::OneSided;
    }
}

/// A sentence that follows others.
pub fn words(ip: IpAddr, lease: &Lease, at: UnixTime) -> String {
    let what = if ip.is_ipv4() { "lease" } else { "registration" };
    let distance = duration(distance(Some(lease.until), at).unwrap_or_default());
    match lease.until {
        _ if lease.is_long => format!("; its {what} was for 30 days or more"),
        until if until > at => format!("; its {what} ends {distance} after"),
        _ if lease.is_released => {
            format!("; a message that ends its {what} was seen {distance} before")
        }
        _ => format!("; its {what} ended {distance} before, unless a renewal was not captured"),
    }
}

/// Of an address that no MAC was seen to use: to which ones a server gave it, or which ones registered it, the latest first.
pub fn given(
    history: &mut dyn HistoryReader,
    (ip, at): (IpAddr, UnixTime),
    left_out: &LeftOuts,
) -> Vec<String> {
    let clocks = history.clocks().asked(TimeRange { from: at, to: at });
    let is_lease = |one: &&LeftOut| one.why == Why::Lease && clocks.is_set(one.network, one.last);
    let mut all: Vec<LeftOut> = left_out.all().filter(is_lease).copied().collect();
    all.sort_by_key(|one| (Reverse(one.last), one.network, one.mac, one.source));
    let mut known = HashSet::new(); // several servers may have given it
    all.retain(|one| known.insert((one.network, one.mac)));
    let each = |LeftOut { network, mac, first, last, .. }: LeftOut| {
        let time = if last <= at { last } else { first };
        let side = if time <= at { "before" } else { "after" };
        // A fault of these rows is none of this answer.
        let leases = history.leases((ip, mac), at).unwrap_or_default();
        let leases = leases.into_iter().filter(|lease| lease.network == network);
        let lease = leases.max_by_key(|lease| lease.begin);
        let lease = lease.map_or(String::new(), |lease| words(ip, &lease, at));
        let distance = duration(distance(Some(time), at).unwrap_or_default());
        match ip.is_ipv4() {
            true => format!("a DHCP server gave it to {mac} {distance} {side}{lease}"),
            false => format!("{mac} registered it {distance} {side}{lease}"),
        }
    };
    all.into_iter().take(LISTED).map(each).collect()
}
