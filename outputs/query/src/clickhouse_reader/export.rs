//! The whole content of the tables, in the order of exports: address, MAC, VLAN, interface, host, sender. The server sorts some addresses
//! at a time.

use std::{collections::HashMap, io, net::IpAddr};

use aw_output::{HistoryChange, HistoryCount, HistoryPlace, HistorySighting};
use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use super::{
    ClickhouseReader,
    columns::{
        Change, IDENTITY, PAIRING, V6_ORIGINS, bytes_of, change, ip_of, is_v6_origin, times,
    },
};
use crate::{
    export::{Exporter, NthOfSecond, start_of},
    history_reader::{Network, NetworkIndex, parse_mac},
};

/// Events that the server sorts at once, if they are not all of one address.
const SORTED: u64 = 1_000_000;
/// Addresses of a statement.
const ADDRESSES: usize = 2_000;

/// The bytes of an address, by which exports are ordered.
const ADDRESS_BYTES: &str = "if(v6 = 0 AND substring(ip, 1, 12) = unhex('00000000000000000000ffff'), substring(ip, 13, 4), substring(ip, 1, 16))";

/// Equal sightings, which are one line.
struct Equal {
    sighting: HistorySighting,
    identity: (u64, u64),
}

/// Collects sightings that are sorted, and passes the lines on.
#[derive(Default)]
struct Lines {
    equal: Option<Equal>,
    nth: NthOfSecond<i64>,
}

impl Lines {
    fn add(&mut self, sighting: HistorySighting, identity: (u64, u64), to: &mut Exporter) {
        if let Some(Equal { sighting: last, identity: of_last }) = &mut self.equal {
            let look = |one: &HistorySighting| (one.time, one.origin);
            if last.place == sighting.place
                && is_same_group(last, &sighting)
                && look(last) == look(&sighting)
            {
                // A copy of an event has its identity.
                last.times.count += u64::from(*of_last != identity);
                *of_last = identity;
                return;
            }
        }
        self.pass_on(Some(&sighting), to);
        self.equal = Some(Equal { sighting, identity });
    }

    /// Passes what is collected on, before `next`.
    fn pass_on(&mut self, next: Option<&HistorySighting>, to: &mut Exporter) {
        let Some(Equal { mut sighting, .. }) = self.equal.take() else { return };
        let is_last = next.is_none_or(|next| !is_same_group(&sighting, next));
        let HistorySighting { time, origin, times, .. } = &mut sighting;
        *times = self.nth.next(time.seconds(), *origin, times.count);
        to.sighting(sighting);
        if is_last {
            self.nth = NthOfSecond::default();
        }
    }
}

/// Whether tables of whole seconds, without rings, outer VLANs and routers, have them in one pairing.
fn is_same_group(one: &HistorySighting, other: &HistorySighting) -> bool {
    let HistorySighting { place, mac, ip, source, .. } = other;
    let HistoryPlace { host, interface, vlan, .. } = place;
    (one.ip, one.mac, one.place.vlan, one.source) == (*ip, *mac, *vlan, *source)
        && one.place.host == *host
        && one.place.interface == *interface
}

impl ClickhouseReader {
    pub(super) fn export_rows(&mut self, to: &mut Exporter) -> Result<(), Error> {
        let mut lines = Lines::default();
        for addresses in self.addresses_to_export(to)? {
            self.export_addresses(&addresses, &mut lines, to)?;
        }
        lines.pass_on(None, to);
        self.export_changes(to)
    }

    /// All addresses in the order of exports, as many together as the server may sort.
    fn addresses_to_export(&mut self, to: &Exporter) -> Result<Vec<Vec<(IpAddr, bool)>>, Error> {
        let select = format!(
            "SELECT ip, origin IN ({V6_ORIGINS}) AS v6, count(), {ADDRESS_BYTES} AS address
            FROM {} WHERE 1{} GROUP BY ip, v6 ORDER BY address, v6",
            self.table("log"),
            times("time", to.range)
        );
        let (mut parts, mut events) = (vec![Vec::new()], 0_u64);
        self.query(&select, &mut |_, row| {
            let (bytes, is_v6, number) = (row.fixed()?, row.uint8()? == 1, row.uint64()?);
            row.text()?;
            events = events.saturating_add(number);
            if let Some(part) = parts.last()
                && !part.is_empty()
                && (events > SORTED || part.len() >= ADDRESSES)
            {
                parts.push(Vec::new());
                events = number;
            }
            if let Some(part) = parts.last_mut() {
                part.push((ip_of(bytes, is_v6), is_v6));
            }
            Ok(())
        })?;
        Ok(parts)
    }

    fn export_addresses(
        &mut self,
        addresses: &[(IpAddr, bool)],
        lines: &mut Lines,
        to: &mut Exporter,
    ) -> Result<(), Error> {
        let wanted: HashMap<IpAddr, bool> = addresses.iter().copied().collect();
        let list: Vec<_> = wanted.keys().map(|ip| bytes_of(*ip)).collect();
        if list.is_empty() {
            return Ok(());
        }
        let select = format!(
            "SELECT {PAIRING}, generation, sequence, ip, time, origin, toUInt8(origin IN ({V6_ORIGINS})) AS v6
            FROM {} WHERE ip IN ({}){}
            ORDER BY {ADDRESS_BYTES}, v6, mac, vlan, interface, host, frame_source, time, origin, ring, outer_vlan, router, generation, sequence",
            self.table("log"),
            list.join(", "),
            times("time", to.range)
        );
        let mut printed = Ok(());
        let read = self.query(&select, &mut |_, row| {
            let network = super::network(row)?;
            let (mac, source) = (row.uint64()?, row.uint64()?);
            let identity = (row.uint64()?, row.uint64()?);
            let (bytes, time, origin, _) = (row.fixed()?, row.time()?, row.uint8()?, row.uint8()?);
            let ip = ip_of(bytes, is_v6_origin(origin));
            if !wanted.contains_key(&ip) {
                return Ok(());
            }
            let mac_of = |number: u64| i64::try_from(number).ok().and_then(parse_mac);
            match mac_of(mac) {
                Some(mac) => {
                    let source = mac_of(source).filter(|source| *source != MacAddr::ZERO);
                    let sighting = sighting(network, (time, origin), (mac, ip, source));
                    lines.add(sighting, identity, to);
                }
                None => to.leave_out(1, || left_out(&network, time)),
            }
            print_if_full(to, &mut printed)
        });
        printed.and(read)
    }

    fn export_changes(&mut self, to: &mut Exporter) -> Result<(), Error> {
        let select = format!(
            "SELECT DISTINCT {IDENTITY}, time, router_name, router, user, lines_added, lines_removed FROM {} WHERE 1{}
            ORDER BY time, host, router_name, router, user, lines_added, lines_removed, ring, generation, sequence",
            self.table("config_change"),
            times("time", to.range)
        );
        let (mut printed, mut nth) = (Ok(()), NthOfSecond::default());
        let mut equal: Option<HistoryChange> = None;
        let mut pass_on = |change: Option<HistoryChange>, to: &mut Exporter| {
            let Some(mut change) = change else { return };
            let HistoryPlace { host, interface, router, .. } = &change.place;
            let looks = [host, interface, router, &change.user].map(String::clone);
            let looks = (looks, change.added, change.removed);
            change.times = nth.next(change.time.seconds(), looks, change.times.count);
            to.change(change);
        };
        let read = self.query(&select, &mut |_: &mut NetworkIndex, row| {
            let Change { time, network, user, added, removed } = change(row)?;
            let (place, times) = (place(network), HistoryCount { count: 1, nth: 1, before: 0 });
            let new = HistoryChange { place, time, user, added, removed, times };
            match &mut equal {
                Some(last) if is_equal(last, &new) => last.times.count += 1,
                _ => pass_on(equal.replace(new), to),
            }
            print_if_full(to, &mut printed)
        });
        pass_on(equal, to);
        printed.and(read)
    }
}

fn is_equal(one: &HistoryChange, other: &HistoryChange) -> bool {
    let HistoryChange { place, time, user, added, removed, .. } = other;
    (one.time, one.added, one.removed) == (*time, *added, *removed)
        && one.place == *place
        && one.user == *user
}

/// Prints lines meanwhile. If they cannot be printed, `printed` has the reason, and the answer ends.
fn print_if_full(to: &mut Exporter, printed: &mut Result<(), Error>) -> io::Result<()> {
    if to.is_full() {
        *printed = to.print();
    }
    match printed {
        Ok(()) => Ok(()),
        Err(_) => Err(io::Error::other("lines cannot be printed")),
    }
}

fn place(network: Network) -> HistoryPlace {
    let Network { host, ring, interface, vlan, outer_vlan, router } = network;
    HistoryPlace { host, ring, interface, vlan, outer_vlan, router }
}

fn sighting(
    network: Network,
    (time, origin): (UnixTime, u8),
    (mac, ip, source): (MacAddr, IpAddr, Option<MacAddr>),
) -> HistorySighting {
    HistorySighting {
        place: place(network),
        time,
        mac,
        ip,
        source,
        origin: origin.into(),
        times: HistoryCount { count: 1, nth: 1, before: 0 },
        span: None,
    }
}

/// A row that is not valid, for a message.
fn left_out(network: &Network, time: UnixTime) -> String {
    let [host, name] = [&network.host, &network.interface].map(|name| start_of(name));
    format!("that of host {host:?}, {name:?} at @{}", time.seconds())
}
