//! What leases say of who had an address, where the MAC itself was not seen. They are a server's claim. A renewal is unicast, and most
//! ports do not receive it: so an end by time proves nothing, and only an address that its device gave back lowers an answer.

use std::net::IpAddr;

use shm_layout::UnixTime;

use crate::{
    history_reader::Lease,
    holders::{Certainty, Holder},
    who::{distance, duration},
};

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
