//! The sightings of announced addresses, of ClickHouse.

use std::{collections::HashMap, io, net::IpAddr};

use aw_clickhouse::Row;
use aw_service::Error;

use super::{
    ClickhouseReader,
    columns::{IDENTITY, bytes_of, ip_of, is_v6_origin, pairing, times},
};
use crate::{
    history_reader::{AddressSighting, NetworkIndex, TimeRange, evidence_in_frame},
    read_ahead::{Found, ReadAhead},
};

/// The columns that [`Copies::next`] reads.
pub const SIGHTING: &str = "host, ring, interface, vlan, outer_vlan, router, mac, frame_source, generation, sequence, ip, time, origin";
/// Sightings that are read together: some 10 MB. An address with more is read alone, and its sightings are not collected.
const TOGETHER: u64 = 100_000;

/// Leaves out copies of an event, which come one after the other: a network, which has host and ring, with generation and sequence.
#[derive(Default)]
pub struct Copies {
    last: Option<(usize, u64, u64)>,
}

impl Copies {
    /// Reads a row. None if it is a copy, or its MAC is none.
    pub fn next(
        &mut self,
        networks: &mut NetworkIndex,
        row: &mut Row,
    ) -> io::Result<Option<(IpAddr, AddressSighting)>> {
        let pairing = pairing(networks, row)?;
        let (generation, sequence) = (row.uint64()?, row.uint64()?);
        let (bytes, time, origin) = (row.fixed()?, row.time()?, row.uint8()?);
        let Some((network, mac, source)) = pairing else { return Ok(None) };
        let identity = Some((network, generation, sequence));
        if std::mem::replace(&mut self.last, identity) == identity {
            return Ok(None);
        }
        let evidence = evidence_in_frame(origin.into(), source);
        let (more, until) = (0, None);
        let sighting = AddressSighting { time, network, mac, evidence, source, more, until };
        Ok(Some((ip_of(bytes, is_v6_origin(origin)), sighting)))
    }
}

impl ClickhouseReader {
    /// See [`crate::history_reader::HistoryReader::read_ahead`].
    pub(super) fn plan_to_read(
        &mut self,
        addresses: &[IpAddr],
        range: TimeRange,
    ) -> Result<(), Error> {
        self.read_ahead = ReadAhead::default();
        if addresses.len() < 2 {
            return Ok(());
        }
        let (log, list, times) = (self.table("log"), list(addresses), times("time", range));
        let select =
            format!("SELECT ip, count() FROM {log} WHERE ip IN ({list}){times} GROUP BY ip");
        let mut numbers: HashMap<[u8; 16], u64> = HashMap::new();
        self.query(&select, &mut |_, row| {
            numbers.insert(row.fixed()?, row.uint64()?);
            Ok(())
        })?;
        let (mut parts, mut part, mut sightings) = (Vec::new(), Vec::new(), 0);
        for ip in addresses {
            let bytes = match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => *v6,
            };
            let number = numbers.get(&bytes.octets()).copied().unwrap_or(0);
            if number > TOGETHER {
                continue;
            }
            if sightings + number > TOGETHER {
                parts.push(std::mem::take(&mut part));
                sightings = 0;
            }
            part.push(*ip);
            sightings += number;
        }
        parts.push(part);
        self.read_ahead = ReadAhead::new(parts, range);
        Ok(())
    }

    /// See [`ReadAhead::sightings`].
    pub(super) fn known_sightings(
        &mut self,
        ip: IpAddr,
        range: TimeRange,
    ) -> Result<Option<Vec<AddressSighting>>, Error> {
        let mut ahead = std::mem::take(&mut self.read_ahead);
        let known = ahead.sightings(ip, range, |part, all| self.read_part(part, all));
        self.read_ahead = ahead;
        known
    }

    fn read_part(&mut self, addresses: &[IpAddr], range: TimeRange) -> Result<Found, Error> {
        let (log, list, times) = (self.table("log"), list(addresses), times("time", range));
        let select = format!(
            "SELECT {SIGHTING} FROM {log} WHERE ip IN ({list}){times} ORDER BY ip, time, {IDENTITY}"
        );
        let mut found: Found = addresses.iter().map(|ip| (*ip, Vec::new())).collect();
        let mut copies = Copies::default();
        self.query(&select, &mut |networks, row| {
            if let Some((ip, sighting)) = copies.next(networks, row)?
                && let Some(of_address) = found.get_mut(&ip)
            {
                of_address.push(sighting);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// The addresses as a list of expressions.
pub fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(|ip| bytes_of(*ip)).collect::<Vec<_>>().join(", ")
}
