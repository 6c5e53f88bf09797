//! Addresses of networks without host and ring: an earlier release or `aw-alert import` stored them under `eth0`. The first
//! network that the name stands for adopts them, one address at a time, when it is first used: a table remembers which
//! network that is, so that a second `eth0` does not take what belongs to the first.

use std::{collections::BTreeMap, net::IpAddr};

use aw_output::SinkResult;
use rusqlite::{Row, params};

use super::{SqliteMemory, ip_bytes};
use crate::{
    network::stands_for,
    station::{MAX_LEARNED, MacClaim, Station},
};

/// The names without host and ring that stations are stored under, and the network that adopts each.
pub type ShortNames = BTreeMap<String, Option<String>>;

/// All names of networks. In steps through the key, so that it reads one row for each network, not all.
pub(super) const NETWORKS: &str = "WITH RECURSIVE name (network) AS (SELECT min(network) FROM station
        UNION ALL SELECT (SELECT min(network) FROM station WHERE network > name.network) FROM name WHERE network IS NOT NULL)
    SELECT network, full_network FROM name LEFT JOIN adoption USING (network) WHERE network IS NOT NULL";

impl SqliteMemory {
    /// The row of an address, together with what it adopts.
    pub(super) fn adopt(&mut self, network: &str, ip: IpAddr) -> SinkResult<Option<Station>> {
        let mut found = self.select_station(network, ip)?;
        for short in self.adopts(network)? {
            let Some(old) = self.select_station(&short, ip)? else { continue };
            let station = match found {
                Some(station) => merged(station, old),
                None => old,
            };
            let delete = "DELETE FROM station WHERE network = ? AND ip = ?";
            let old = params![short, ip_bytes(ip)];
            self.with(|database| database.prepare_cached(delete)?.execute(old).map(drop))?;
            self.replace_station(network, ip, &station)?;
            found = Some(station);
        }
        Ok(found)
    }

    /// The names without host and ring whose stations belong to a network.
    fn adopts(&mut self, network: &str) -> SinkResult<Vec<String>> {
        let mut short_names = match self.short_names.take() {
            Some(short_names) => short_names,
            None => self.read_short_names()?,
        };
        let mut adopts = Vec::new();
        for (short, full) in &mut short_names {
            if short == network || !stands_for(short, network) {
                continue;
            }
            if full.is_none() {
                let row = [&**short, network];
                let insert = "INSERT INTO adoption VALUES (?, ?)";
                self.with(|database| database.execute(insert, row))?;
                *full = Some(network.to_owned());
            }
            if full.as_deref() == Some(network) {
                adopts.push(short.clone());
            }
        }
        self.short_names = Some(short_names);
        Ok(adopts)
    }

    fn read_short_names(&mut self) -> SinkResult<ShortNames> {
        let is_short = |(network, _): &(String, _)| network.matches('/').count() < 2;
        self.with(|database| {
            let mut select = database.prepare(NETWORKS)?;
            let rows = select.query_map([], |row: &Row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.filter(|row| row.as_ref().map_or(true, is_short)).collect()
        })
    }
}

/// A station with the claims of both. The newest claim of each MAC counts, and the newest of all is the current one.
fn merged(new: Station, old: Station) -> Station {
    let Station { mut claims, mut learned, .. } = new;
    let oldest = old.first.or(old.claims.last().copied());
    let earlier = |first: &MacClaim| oldest.filter(|oldest| oldest.time < first.time);
    let first = new.first.map(|first| earlier(&first).unwrap_or(first));
    for mac in old.learned {
        if !learned.contains(&mac) && learned.len() < MAX_LEARNED {
            learned.push(mac);
        }
    }
    for claim in old.claims {
        match claims.iter_mut().find(|known| known.mac == claim.mac) {
            Some(known) => known.time = known.time.max(claim.time),
            None => claims.push(claim),
        }
    }
    claims.sort_by_key(|claim| std::cmp::Reverse(claim.time));
    let mut station = Station { claims, first, learned, ..new };
    station.limit_claims(|_| false);
    station
}
