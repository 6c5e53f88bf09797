//! The pairings of a time range. Not counted, the server takes one step in its index by pairing for each pairing and origin.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use aw_mysql::hex_ip;
use aw_service::Error;
use shm_layout::{Evidence, MacAddr, UnixTime};

use super::{
    MysqlReader, PAIRING,
    columns::{bytes, mac_address, number, time, times},
    nearest::ROWS_OF_EACH,
    pairing,
};
use crate::history_reader::{HistoryReader, NO_USE, PairingSummary, TimeRange, evidence, parse_ip};

/// The earlier of two times. One since the clock was `set` comes before one that has no date.
fn earlier(one: UnixTime, other: UnixTime, set: UnixTime) -> UnixTime {
    let order = |time| (time < set, time);
    if order(other) < order(one) { other } else { one }
}

type Key = (IpAddr, usize, MacAddr, Option<MacAddr>);

/// An address in the whole history.
struct Known {
    /// Its first pairing: network and MAC, and the MAC that sent the frames.
    pairing: (Option<(usize, MacAddr)>, Option<MacAddr>),
    has_others: bool,
    is_claimed_before: bool,
}

/// Devices of one statement.
const DEVICES: usize = 100;

/// Of each of these MACs, one sighting that shows that it uses an address: the index by MAC has it, and no other rows are read.
pub(super) fn in_use(log: &str, macs: &[MacAddr]) -> String {
    let of_mac = macs.iter().map(|mac| {
        format!(
            "(SELECT mac_address FROM {log} WHERE mac_address = 0x{:012x} AND coalesce(origin_id, 0) NOT IN ({NO_USE}) LIMIT 1)",
            mac.number()
        )
    });
    of_mac.collect::<Vec<_>>().join(" UNION ALL ")
}

impl MysqlReader {
    /// See [`HistoryReader::macs_in_use`].
    pub(super) fn in_use(&mut self, macs: &[MacAddr]) -> Result<HashSet<MacAddr>, Error> {
        let mut found = HashSet::new();
        for part in macs.chunks(DEVICES) {
            let select = in_use(&self.log, part);
            self.query(&select, &mut |_, row| found.extend(mac_address(row, 0)))?;
        }
        Ok(found)
    }

    /// See [`HistoryReader::changed_addresses`]. For the many addresses that have one MAC for ever, one step in the index for each
    /// origin shows it, in place of two.
    pub(super) fn changed(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        let mut addresses = self.addresses(range)?;
        let [one, other] = self.clocks.asked(range).limits();
        let set = one.max(other);
        let keys = addresses.iter().map(|ip| hex_ip(*ip));
        let (Some(from), Some(to)) = (keys.clone().min(), keys.max()) else {
            return Ok(addresses);
        };
        if range.from < set || !self.has_pairing_index {
            return Ok(addresses);
        }
        let most = addresses.len() * ROWS_OF_EACH;
        let (log, source, by_source) = (&self.log, self.source, self.by_source());
        let select = format!(
            "SELECT {PAIRING}, ip_address, unix_timestamp(min(tstamp)), origin_id, {source}
            FROM {log} WHERE ip_address BETWEEN {from} AND {to}
            GROUP BY ip_address, mac_address, vlan_tag, interface, hostname, {by_source}origin_id LIMIT {}",
            most + 1
        );
        let (mut known, mut rows) = (HashMap::<IpAddr, Known>::new(), 0);
        self.query(&select, &mut |networks, row| {
            rows += 1;
            let Some(ip) = parse_ip(bytes(row, 4)) else { return };
            let source = mac_address(row, 7);
            let pairing = (pairing(networks, row), source);
            let is_claim = evidence(number(row, 6).unwrap_or(i64::MAX)) == Evidence::Claim;
            let is_before = time(row, 5).is_some_and(|time| time >= set && time < range.from);
            let one = Known { pairing, has_others: false, is_claimed_before: false };
            let one = known.entry(ip).or_insert(one);
            one.has_others |= one.pairing != pairing;
            one.is_claimed_before |= is_claim && is_before && source.is_none();
        })?;
        if rows <= most {
            let is_unchanged = |one: &Known| one.is_claimed_before && !one.has_others;
            addresses.retain(|ip| !known.get(ip).is_some_and(is_unchanged));
        }
        Ok(addresses)
    }

    pub(super) fn summaries(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> Result<Vec<PairingSummary>, Error> {
        let [_, set] = self.clocks.asked(range).limits();
        let mut found: HashMap<Key, PairingSummary> = HashMap::new();
        let has_undated = self.add_summaries(range, (is_counted, set), &mut found)?;
        // The first one of a clock that was set: later than one before that, of the same rows.
        if has_undated {
            let dated = TimeRange { from: set.max(range.from), ..range };
            self.add_summaries(dated, (false, set), &mut found)?;
        }
        let done = |one: PairingSummary| PairingSummary {
            is_answered: one.is_answered && !one.is_claimed,
            has_undated: one.has_undated && one.first >= set,
            ..one
        };
        Ok(found.into_values().map(done).collect())
    }

    /// Adds the sightings of a time range. Returns whether some of them are from before the clock was `set`.
    fn add_summaries(
        &mut self,
        range: TimeRange,
        (is_counted, set): (bool, UnixTime),
        found: &mut HashMap<Key, PairingSummary>,
    ) -> Result<bool, Error> {
        let (log, times, source) = (&self.log, times(range), self.source);
        let by_source = self.by_source();
        let count = if is_counted { "count(*)" } else { "NULL" };
        let select = format!(
            "SELECT {PAIRING}, ip_address, unix_timestamp(min(tstamp)), unix_timestamp(max(tstamp)), origin_id, {source}, {count}
            FROM {log} WHERE TRUE{times}
            GROUP BY ip_address, mac_address, vlan_tag, interface, hostname, {by_source}origin_id{}",
            self.one_more()
        );
        let (mut has_undated, mut rows) = (false, 0);
        self.query(&select, &mut |networks, row| {
            rows += 1;
            // An origin that is null is that of another program.
            let evidence = evidence(number(row, 7).unwrap_or(i64::MAX));
            if !evidence.is_pairing() {
                return;
            }
            let (Some((network, mac)), Some(ip)) =
                (pairing(networks, row), parse_ip(bytes(row, 4)))
            else {
                return;
            };
            let (Some(first), Some(last)) = (time(row, 5), time(row, 6)) else { return };
            let source = mac_address(row, 8);
            let count = number(row, 9).map(|count| count as u64);
            let is_claimed = evidence == Evidence::Claim && source.is_none();
            let is_answered = evidence == Evidence::FrameSource || evidence == Evidence::Claim;
            let is_undated = first < set;
            has_undated |= is_undated;
            let new = PairingSummary {
                network,
                mac,
                ip,
                source,
                first,
                has_undated: false,
                last,
                count,
                is_claimed,
                is_answered,
            };
            let one = found
                .entry((ip, network, mac, source))
                .or_insert(PairingSummary { count: count.and(Some(0)), ..new });
            one.has_undated |= is_undated;
            one.first = earlier(one.first, first, set);
            one.last = one.last.max(last);
            one.count = one.count.zip(count).map(|(one, other)| one + other).or(one.count);
            one.is_claimed |= is_claimed;
            one.is_answered |= is_answered;
        })?;
        self.is_cut |= rows > self.most;
        Ok(has_undated)
    }
}
