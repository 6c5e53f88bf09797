//! What messages say of an address or a MAC in a time range, for an answer about sightings.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use aw_output::ClaimedName;
use aw_service::Error;
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use super::{LISTED, STALE, STRENGTHS, set_clocks};
use crate::{
    clocks::Clocks,
    history_reader::{ClaimedAddress, HistoryReader, Network, TimeRange},
    left_out::{LeftOut, Why},
    one_network::name_of,
    periods::KEPT_WITHIN,
    queries::network,
    result_table::time_text,
};

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Address(IpAddr),
    Mac(MacAddr),
}

/// What a message says of an address that was not seen in use, as a remark has it.
#[derive(Clone, Debug)]
pub struct UnseenRemark {
    claim: ClaimedAddress,
    /// What is not the subject of the answer: the address, or the MAC with what it calls itself.
    other: String,
    subject: Subject,
    pub network: Network,
    is_one_of_several: bool,
}

impl UnseenRemark {
    /// Such as `announced by mDNS by 02:00:00:00:00:01 "nas" from 2026-11-20 14:00 +00:00 to 2026-11-20 15:00 +00:00`, or
    /// `announced 192.0.2.22 by mDNS at 2026-11-20 14:00 +00:00`.
    pub fn words(&self, zone: &TimeZone) -> String {
        let UnseenRemark { claim, other, subject, .. } = self;
        let ClaimedAddress { ip, why, first, last, .. } = claim;
        let what = match (subject, why) {
            (Subject::Address(_), Why::Announced) => format!("announced by mDNS by {other}"),
            (Subject::Address(_), Why::Lease) if ip.is_ipv4() => {
                format!("given by a DHCP server to {other}")
            }
            (Subject::Address(_), Why::Lease) => format!("registered by {other}"),
            (Subject::Address(_), Why::Renewed) => format!("renewed by DHCP by {other}"),
            (Subject::Address(_), _) => format!("only requested by DHCP by {other}"),
            (Subject::Mac(_), Why::Announced) => format!("announced {other} by mDNS"),
            (Subject::Mac(_), Why::Lease) if ip.is_ipv4() => {
                format!("given {other} by a DHCP server")
            }
            (Subject::Mac(_), Why::Lease) => format!("registered {other}"),
            (Subject::Mac(_), Why::Renewed) => format!("renewed {other} by DHCP"),
            (Subject::Mac(_), _) => format!("only requested {other} by DHCP"),
        };
        let [from, to] = [first, last].map(|time| time_text(*time, zone));
        let when = if from == to { format!("at {to}") } else { format!("from {from} to {to}") };
        match self.is_one_of_several {
            true => format!("{what} on {} {when}", name_of(&self.network)),
            false => format!("{what} {when}"),
        }
    }
}

/// What was announced or asked for in a time range.
pub fn in_range(
    history: &mut dyn HistoryReader,
    (subject, range): (Subject, TimeRange),
    clocks: &Clocks,
) -> Result<Vec<ClaimedAddress>, Error> {
    let mut all = match subject {
        Subject::Address(ip) => history.claimed_addresses(ip, range)?,
        Subject::Mac(mac) => history.addresses_claimed_by(mac)?,
    };
    set_clocks(&mut all, clocks);
    // A last time may be older than it is.
    let is_in = |one: &ClaimedAddress| {
        one.first < range.to && one.last.seconds().saturating_add(STALE) >= range.from.seconds()
    };
    all.retain(is_in);
    all.sort_by_cached_key(|one| {
        (one.why, one.first.seconds(), network(history, one.network), one.mac, one.ip)
    });
    Ok(all)
}

/// The leases and registrations of an address among the messages that are left out.
pub fn of_address(
    ip: IpAddr,
    left_out: &[LeftOut],
    clocks: &Clocks,
) -> impl Iterator<Item = ClaimedAddress> {
    let leases = left_out.iter().filter(|one| one.why == Why::Lease);
    let leases = leases.filter(|one| clocks.is_set(one.network, one.last));
    leases.map(move |one| {
        let LeftOut { network, mac, why, first, last, count, .. } = *one;
        let first = if clocks.is_set(network, first) { first } else { last };
        let count = count as i64;
        ClaimedAddress { network, mac, ip, why, first, last, count }
    })
}

/// The last time of a row.
pub struct Last {
    pub network: usize,
    pub mac: MacAddr,
    pub ip: IpAddr,
    pub last: UnixTime,
}

/// Of an answer with rows: what is later than all of its network by ten minutes, and of no MAC or address that has one.
pub fn later(all: &mut Vec<ClaimedAddress>, subject: Subject, rows: &[Last]) {
    let mut latest: HashMap<usize, UnixTime> = HashMap::new();
    for Last { network, last, .. } in rows {
        let known = latest.entry(*network).or_insert(*last);
        *known = (*known).max(*last);
    }
    all.retain(|one| {
        let last = latest.get(&one.network);
        last.is_none_or(|last| one.last.as_nanos().saturating_sub(last.as_nanos()) > KEPT_WITHIN)
    });
    without_rows(all, subject, rows);
}

/// Leaves out what is of a MAC or address that has a row in its network.
pub fn without_rows(all: &mut Vec<ClaimedAddress>, subject: Subject, rows: &[Last]) {
    let key = |network, mac, ip| match subject {
        Subject::Address(_) => (network, Some(mac), None),
        Subject::Mac(_) => (network, None, Some(ip)),
    };
    let known: HashSet<_> = rows.iter().map(|one| key(one.network, one.mac, one.ip)).collect();
    all.retain(|one| !known.contains(&key(one.network, one.mac, one.ip)));
}

/// What an answer has: of an address each MAC once, announcements first, and of these the one that was there first; of a MAC each address
/// once, the latest first. Of each, the strongest. And how many there are more.
pub fn listed(
    history: &dyn HistoryReader,
    subject: Subject,
    mut all: Vec<ClaimedAddress>,
) -> (Vec<ClaimedAddress>, u64) {
    let key = |one: &ClaimedAddress| match subject {
        Subject::Address(_) => (Some(one.mac), None),
        Subject::Mac(_) => (None, Some(one.ip)),
    };
    let mut latest: HashMap<_, i64> = HashMap::new();
    for one in &all {
        let known = latest.entry(key(one)).or_insert(one.last.seconds());
        *known = (*known).max(one.last.seconds());
    }
    all.sort_by_cached_key(|one| {
        let last = matches!(subject, Subject::Mac(_)).then(|| latest.get(&key(one)).copied());
        let strength = STRENGTHS.iter().position(|(why, _)| *why == one.why);
        let of_network = (network(history, one.network), one.mac, one.ip);
        (Reverse(last), strength, one.first.seconds(), of_network)
    });
    let mut known = HashSet::new();
    all.retain(|one| known.insert(key(one)));
    let more = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    (all, more as u64)
}

/// The same as remarks; `rows` are those of the answer.
pub fn remarks(
    history: &mut dyn HistoryReader,
    subject: Subject,
    (all, rows): (Vec<ClaimedAddress>, &[Last]),
) -> Result<(Vec<UnseenRemark>, u64), Error> {
    let networks: BTreeSet<usize> =
        all.iter().map(|one| one.network).chain(rows.iter().map(|one| one.network)).collect();
    let (all, more) = listed(history, subject, all);
    let macs: Vec<MacAddr> = match subject {
        Subject::Address(_) => all.iter().map(|one| one.mac).collect(),
        Subject::Mac(_) => Vec::new(),
    };
    let names = history.claimed_names(&macs)?;
    let other = |one: &ClaimedAddress| match subject {
        Subject::Mac(_) => one.ip.to_string(),
        Subject::Address(_) => {
            let names = names.get(&one.mac).into_iter().flatten().map(|(_, name)| name);
            let name = ClaimedName::shown(names).map(|name| name.name.replace('"', "'"));
            name.map_or(one.mac.to_string(), |name| format!("{} \"{name}\"", one.mac))
        }
    };
    let is_one_of_several = networks.len() > 1;
    let remarks = all.iter().map(|one| UnseenRemark {
        claim: *one,
        other: other(one),
        subject,
        network: network(history, one.network),
        is_one_of_several,
    });
    Ok((remarks.collect(), more))
}
