//! The sightings of announced addresses, of a server of MySQL or MariaDB.

use std::{collections::HashMap, net::IpAddr};

use aw_mysql::{Row, hex_ip};
use aw_service::Error;

use super::{
    MysqlReader, PAIRING,
    columns::{bytes, mac_address, origin, time, times},
    pairing,
};
use crate::{
    history_reader::{AddressSighting, NetworkIndex, TimeRange, parse_ip},
    read_ahead::{Found, ReadAhead},
};

/// Addresses that are read together, and the most sightings of each. One that has more is read alone, where the statement costs
/// little beside its rows; and in a part of the range only, if that is all that is asked for.
const ADDRESSES: usize = 50;
const SIGHTINGS: usize = 50;

impl MysqlReader {
    /// The columns that [`sighting`] reads.
    pub(super) fn sighting_columns(&self) -> String {
        format!("{PAIRING}, unix_timestamp(tstamp), origin_id, {}", self.source)
    }

    /// See [`crate::history_reader::HistoryReader::read_ahead`].
    pub(super) fn plan_to_read(&mut self, addresses: &[IpAddr], range: TimeRange) {
        // Without that index, the server may read all rows of an address for the first ones.
        let parts = match addresses.len() > 1 && !self.by_time.is_empty() {
            true => addresses.chunks(ADDRESSES).map(<[IpAddr]>::to_vec).collect(),
            false => Vec::new(),
        };
        self.read_ahead = ReadAhead::new(parts, range);
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

    /// Those of each address that has no more than [`SIGHTINGS`]. A `SELECT` for each, so that sightings of one second are in the same
    /// order as if it was read alone.
    fn read_part(&mut self, addresses: &[IpAddr], range: TimeRange) -> Result<Found, Error> {
        let (log, index, times, columns) =
            (&self.log, &self.by_time, times(range), self.sighting_columns());
        let select = |ip: &IpAddr| {
            format!(
                "(SELECT {columns}, ip_address FROM {log}{index} WHERE ip_address = {}{times} ORDER BY tstamp LIMIT {})",
                hex_ip(*ip),
                SIGHTINGS + 1
            )
        };
        let select = addresses.iter().map(select).collect::<Vec<_>>().join(" UNION ALL ");
        // With the number of their rows: not each is a sighting.
        let mut found: HashMap<IpAddr, (usize, Vec<AddressSighting>)> =
            addresses.iter().map(|ip| (*ip, (0, Vec::new()))).collect();
        self.query(&select, &mut |networks, row| {
            let of_address = parse_ip(bytes(row, 7)).and_then(|ip| found.get_mut(&ip));
            if let Some((rows, sightings)) = of_address {
                *rows += 1;
                sightings.extend(sighting(networks, row));
            }
        })?;
        found.retain(|_, (rows, _)| *rows <= SIGHTINGS);
        Ok(found.into_iter().map(|(ip, (_, sightings))| (ip, sightings)).collect())
    }
}

/// A row with the columns of [`MysqlReader::sighting_columns`]; None if its values are not valid.
pub fn sighting(networks: &mut NetworkIndex, row: &Row) -> Option<AddressSighting> {
    let ((network, mac), time, source) =
        (pairing(networks, row)?, time(row, 4)?, mac_address(row, 6));
    let evidence = origin(row, 5, source);
    let (more, until) = (0, None);
    Some(AddressSighting { time, network, mac, evidence, source, more, until })
}
