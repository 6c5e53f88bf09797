//! What devices call themselves, and their leases, in the tables of `aw-mysql`. They exist since the first name was stored; without them,
//! or without the right to read them, answers have none.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use aw_mysql::{MysqlError, NO_SUCH_TABLE, Row, hex_ip};
use aw_output::{ClaimedName, HistoryName, HistoryPlace, NAME_KNOWN_AFTER, NameSource, NameUse};
use aw_service::Error;
use shm_layout::{MacAddr, NameText, UnixTime};

use super::{
    MysqlReader, PAIRING,
    columns::{NANOS, bytes, number, text, time, times_of},
    connect::{UNKNOWN_COLUMN, failure},
    pairing, until,
};
use crate::{
    claims::{Claiming, MOST_CLAIMING},
    export::Exporter,
    history_reader::{
        ADDRESSES, CLAIMS, Claim, ClaimReader, ClaimedAddress, Lease, NamesOfMacs, Network,
        NetworkIndex, TimeRange, parse_ip,
    },
    left_out::Why,
};

/// Rows of a device, and of a pairing, that are read: each of many sensors stores 32 names of a device, and another program any number.
const NAMES: usize = 1024;
const LEASES: usize = 64;
/// Rows of an address, of MACs that announced it for a day, and of others.
const CLAIMED_ADDRESSES: usize = 512;
/// Devices of one question.
const DEVICES: usize = 100;
/// A lease that is so long has no end, in seconds: aw-mysql stores 30 days of it.
const LONG: i64 = 30 * 86_400;
/// The columns that [`name`] expects, and the number of uses.
const CLAIMED: &str = "hostname, interface, vlan_tag, mac_address, source, name, unix_timestamp(first_seen), unix_timestamp(last_seen), uses";
/// In seconds: first and last time, and how long a name or an address is used until it is known.
const FIRST: &str = "CAST(unix_timestamp(first_seen) AS SIGNED)";
const LAST: &str = "CAST(unix_timestamp(last_seen) AS SIGNED)";
const KNOWN: i64 = NAME_KNOWN_AFTER / NANOS;
/// Numbers of server errors: the table is another program's, or this user may not read it.
const NO_NAMES: [u16; 4] = [NO_SUCH_TABLE, UNKNOWN_COLUMN, 1142, 1143];

impl ClaimReader for MysqlReader {
    /// Those of several rings of a host are in one network here, and what they have in common is one name.
    fn claimed_names(&mut self, macs: &[MacAddr]) -> Result<NamesOfMacs, Error> {
        let mut found: HashMap<(MacAddr, usize, NameSource, String), NameUse> = HashMap::new();
        let (table, now) = (self.claimed_name.clone(), UnixTime::now());
        if !self.has_names {
            return Ok(NamesOfMacs::new());
        }
        for part in macs.chunks(DEVICES) {
            // First what was used for a day, as a database would keep it: a flood of forged ones does not hide it.
            let of_mac = part.iter().map(|mac| {
                format!(
                    "(SELECT {CLAIMED} FROM {table} WHERE mac_address = 0x{:012x} AND source NOT IN ({ADDRESSES})
                    ORDER BY {LAST} - {FIRST} < {KNOWN}, last_seen DESC LIMIT {NAMES})",
                    mac.number()
                )
            });
            let select = of_mac.collect::<Vec<_>>().join(" UNION ALL ");
            self.query(&select, &mut |networks, row| {
                let Some((place, mac, claimed)) = name(row, now) else { return };
                let network = network_of(networks, place);
                let ClaimedName { source, name, first, last } = claimed;
                let used = NameUse { first, last, count: 0 };
                let known = found.entry((mac, network, source, name));
                known.and_modify(|known| known.add(used)).or_insert(used);
            })?;
        }
        let mut names = NamesOfMacs::new();
        for ((mac, network, source, name), NameUse { first, last, .. }) in found {
            let claimed = ClaimedName { source, name, first, last };
            names.entry(mac).or_default().push((network, claimed));
        }
        for of_mac in names.values_mut() {
            of_mac.sort_by(|(network, one), (other_network, other)| {
                let latest = other.last.cmp(&one.last);
                let place = (network, one.source, &one.name);
                latest.then(place.cmp(&(other_network, other.source, &other.name)))
            });
        }
        Ok(names)
    }

    /// The MACs that call themselves so. The server compares without regard to case, more widely than what counts.
    fn macs_claiming(&mut self, name: &str) -> Result<Vec<MacAddr>, Error> {
        let mut claiming = Claiming::new(name);
        if !self.has_names || name.is_empty() {
            return Ok(Vec::new());
        }
        let table = &self.claimed_name;
        let wanted = claiming.names.each_ref().map(|name| {
            let bytes: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("lower(convert(0x{bytes} USING utf8mb4))")
        });
        let wanted = wanted.join(", ");
        let select = format!(
            "SELECT mac_address, name FROM {table} WHERE source NOT IN ({ADDRESSES}) AND lower(convert(name USING utf8mb4)) IN ({wanted})
            GROUP BY mac_address, name ORDER BY min(first_seen), mac_address, name LIMIT {MOST_CLAIMING}"
        );
        self.query(&select, &mut |_, row| {
            if let Ok(mac) = bytes(row, 0).try_into() {
                claiming.add(MacAddr::new(mac), NameText::cut(&text(row, 1)).as_str());
            }
        })?;
        Ok(claiming.into_macs())
    }

    fn claimed_addresses(
        &mut self,
        ip: IpAddr,
        near: TimeRange,
    ) -> Result<Vec<ClaimedAddress>, Error> {
        let [from, to] = [near.from, near.to].map(|time| time.seconds().clamp(0, i32::MAX.into()));
        let table = &self.claimed_name;
        let of = |comparison| {
            format!(
                "(SELECT {CLAIMED} FROM {table} WHERE name = '{ip}' AND source IN ({ADDRESSES}) AND {LAST} - {FIRST} {comparison} {KNOWN}
                ORDER BY greatest({FIRST} - {to}, {from} - {LAST}, 0), first_seen LIMIT {CLAIMED_ADDRESSES})"
            )
        };
        self.claimed_by_select(&[of(">="), of("<")].join(" UNION ALL "))
    }

    fn addresses_claimed_by(&mut self, mac: MacAddr) -> Result<Vec<ClaimedAddress>, Error> {
        let (table, mac) = (&self.claimed_name, mac.number());
        let select = format!(
            "SELECT {CLAIMED} FROM {table} WHERE mac_address = 0x{mac:012x} AND source IN ({ADDRESSES})
            ORDER BY {LAST} - {FIRST} < {KNOWN}, last_seen DESC LIMIT {NAMES}"
        );
        self.claimed_by_select(&select)
    }

    fn claims(&mut self, range: TimeRange) -> Result<(Vec<Claim>, bool), Error> {
        let (mut found, mut is_cut, now) = (Vec::new(), false, UnixTime::now());
        let (names, leases) = (self.claimed_name.clone(), self.address_lease.clone());
        let tail = |first: &str| {
            let (one, other) = (times_of(first, range), times_of("last_seen", range));
            format!(
                "WHERE (TRUE{one}) OR (TRUE{other}) ORDER BY last_seen DESC LIMIT {}",
                CLAIMS + 1
            )
        };
        if self.has_names {
            let select = format!("SELECT {CLAIMED} FROM {names} {}", tail("first_seen"));
            let mut number = 0;
            self.query(&select, &mut |networks, row| {
                number += 1;
                let Some((place, mac, claimed)) = name(row, now) else { return };
                let ClaimedName { source, name, first, last } = claimed;
                let what = match (Why::of_claim(source), name.parse()) {
                    (None, _) => None,
                    (Some(why), Ok(ip)) => Some((why, ip)),
                    (Some(_), Err(_)) => return,
                };
                let network = network_of(networks, place);
                found.push(Claim { network, mac, what, first, last });
            })?;
            is_cut |= number > CLAIMS;
        }
        if self.has_leases {
            let select = format!(
                "SELECT {PAIRING}, ip_address, unix_timestamp(begins), unix_timestamp(last_seen) FROM {leases} {}",
                tail("begins")
            );
            let mut number = 0;
            self.query(&select, &mut |networks, row| {
                number += 1;
                let (Some((network, mac)), Some(ip)) =
                    (pairing(networks, row), parse_ip(bytes(row, 4)))
                else {
                    return;
                };
                let [Some(first), Some(last)] = [5, 6].map(|column| time(row, column)) else {
                    return;
                };
                let what = Some((Why::Lease, ip));
                found.push(Claim { network, mac, what, first, last: last.min(now) });
            })?;
            is_cut |= number > CLAIMS;
        }
        Ok((found, is_cut))
    }

    fn leases(&mut self, (ip, mac): (IpAddr, MacAddr), at: UnixTime) -> Result<Vec<Lease>, Error> {
        let (table, mut found) = (self.address_lease.clone(), Vec::new());
        if !self.has_leases {
            return Ok(found);
        }
        let (ip, number_of_mac) = (hex_ip(ip), mac.number());
        let begun = match at.seconds() {
            ..=0 => return Ok(found),
            second if second <= i32::MAX.into() => {
                format!(" AND begins <= from_unixtime({second})")
            }
            _ => String::new(),
        };
        let select = format!(
            "SELECT hostname, interface, vlan_tag, unix_timestamp(begins), unix_timestamp(last_seen), unix_timestamp(ends), released FROM {table}
            WHERE ip_address = {ip} AND mac_address = 0x{number_of_mac:012x}{begun} ORDER BY begins DESC LIMIT {LEASES}"
        );
        self.query(&select, &mut |networks, row| {
            let Some(vlan) = number(row, 2) else { return };
            let (host, interface) = (text(row, 0), text(row, 1));
            let [Some(begin), Some(last), Some(until)] = [3, 4, 5].map(|column| time(row, column))
            else {
                return;
            };
            let network = networks.id(Network { host, interface, vlan, ..Network::default() });
            let is_long = until.seconds().saturating_sub(last.seconds()) >= LONG;
            let is_released = number(row, 6) == Some(1);
            found.push(Lease { network, mac, begin, is_long, until, is_released });
        })?;
        Ok(found)
    }
}

impl MysqlReader {
    /// What several rings of a host have in common is one row, as in names.
    fn claimed_by_select(&mut self, select: &str) -> Result<Vec<ClaimedAddress>, Error> {
        let mut found: BTreeMap<(usize, MacAddr, IpAddr, Why), NameUse> = BTreeMap::new();
        let now = UnixTime::now();
        if !self.has_names {
            return Ok(Vec::new());
        }
        self.query(select, &mut |networks, row| {
            let Some((place, mac, claimed)) = name(row, now) else { return };
            let ClaimedName { source, name, first, last } = claimed;
            let (Some(why), Ok(ip)) = (Why::of_claim(source), name.parse()) else { return };
            let network = network_of(networks, place);
            let used = NameUse { first, last, count: number(row, 8).unwrap_or(0) };
            let known = found.entry((network, mac, ip, why));
            known.and_modify(|known| known.add(used)).or_insert(used);
        })?;
        let each = |((network, mac, ip, why), NameUse { first, last, count })| ClaimedAddress {
            network,
            mac,
            ip,
            why,
            first,
            last,
            count,
        };
        Ok(found.into_iter().map(each).collect())
    }

    /// Finds out whether there are names and leases that can be read. A table that this user may not read, or of another program, is none:
    /// answers are as without it, with a remark.
    pub(super) fn find_names(&mut self) -> Result<(), Error> {
        let (names, leases) = (self.claimed_name.clone(), self.address_lease.clone());
        self.has_names = self.can_read(&names, "source, name, first_seen, last_seen, uses")?;
        self.has_leases =
            self.can_read(&leases, "ip_address, begins, last_seen, ends, released")?;
        Ok(())
    }

    fn can_read(&mut self, table: &str, columns: &str) -> Result<bool, Error> {
        if !self.has_table(table)? {
            return Ok(false);
        }
        let MysqlReader { name, log, conn, budget, end, remarks, .. } = self;
        conn.begin(until(*budget, *end));
        let common = "hostname, interface, vlan_tag, mac_address";
        match conn.query_drop(format!("SELECT {common}, {columns} FROM {table} LIMIT 0")) {
            Ok(()) => Ok(true),
            Err(MysqlError::Server(error)) if NO_NAMES.contains(&error.code) => {
                remarks.push(format!("table {table} is not read: {}", error.message));
                Ok(false)
            }
            Err(error) => Err(failure(name, log, &error)),
        }
    }

    /// Names that were used in the time range. Exports of these tables have no rings: what several rings of a host have is one name.
    pub(super) fn export_names(&mut self, to: &mut Exporter) -> Result<(), Error> {
        let (table, now) = (self.claimed_name.clone(), UnixTime::now());
        if !self.has_names {
            return Ok(());
        }
        // Stored times are whole seconds. Beyond what a TIMESTAMP can hold, all are in the range.
        let second = |time: UnixTime| time.as_nanos().div_euclid(NANOS).clamp(0, i32::MAX.into());
        let (from, until) = (second(to.range.from), second(to.range.to));
        let until = until + i64::from(to.range.to.subsec_nanos() > 0);
        let mut condition = String::new();
        if from > 0 {
            condition += &format!(" AND last_seen >= from_unixtime({from})");
        }
        if until < i32::MAX.into() {
            condition += &format!(" AND first_seen < from_unixtime({until})");
        }
        let select = format!(
            "SELECT hostname, interface, vlan_tag, mac_address, source, name, unix_timestamp(min(first_seen)), unix_timestamp(max(last_seen)), max(uses)
            FROM {table} WHERE TRUE{condition} GROUP BY 4, 1, 2, 3, 5, 6 ORDER BY 4, 1, 2, 3, 5, 6"
        );
        self.each_row(&select, to, &mut |to, row| {
            let uses = number(row, 8).and_then(|uses| u64::try_from(uses).ok());
            match name(row, now).zip(uses) {
                Some(((place, mac, claimed), uses)) => {
                    to.name(HistoryName { place, mac, claimed, uses });
                }
                None => to.leave_out(1, || "a name with a value that is not valid".into()),
            }
        })
    }

    /// Whether there is a table that may be read. It may be created while this program runs.
    pub(super) fn has_table(&mut self, name: &str) -> Result<bool, Error> {
        let exists = format!(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = '{}'",
            name.trim_matches('`')
        );
        let mut found = false;
        self.query(&exists, &mut |_, row| found = number(row, 0) == Some(1))?;
        Ok(found)
    }
}

fn network_of(networks: &mut NetworkIndex, place: HistoryPlace) -> usize {
    let HistoryPlace { host, interface, vlan, .. } = place;
    networks.id(Network { host, interface, vlan, ..Network::default() })
}

/// A row of names; None if its values are not valid.
fn name(row: &Row, now: UnixTime) -> Option<(HistoryPlace, MacAddr, ClaimedName)> {
    let (host, interface, vlan) = (text(row, 0), text(row, 1), number(row, 2)?);
    let place = HistoryPlace { host, interface, vlan, ..HistoryPlace::default() };
    let mac = MacAddr::new(bytes(row, 3).try_into().ok()?);
    let source = NameSource::from_number(number(row, 4)?)?;
    let name = NameText::cut(&text(row, 5));
    let (first, last) = (time(row, 6)?, time(row, 7)?.min(now)); // the clock may have been ahead
    let claimed = ClaimedName { source, name: name.to_string(), first, last };
    (!name.is_empty()).then_some((place, mac, claimed))
}
