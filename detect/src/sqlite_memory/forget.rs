//! Which addresses and devices are forgotten when there are too many: first what was not seen for half a year, and then by
//! what no frame can forge. An attacker can invent MACs, addresses and VLANs, but is not earlier than the hosts that were
//! there before, is in one network, and is neither named nor learned.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr};

use aw_output::SinkResult;
use rusqlite::{Row, params, types::ValueRef};
use shm_layout::UnixTime;

use super::{SqliteMemory, ip_bytes, ip_from};
use crate::{network::interface_of, rules::latest};

/// What was not seen for so long is forgotten first.
const STALE_SECONDS: i64 = 180 * 86_400;
/// A MAC has a right to so many addresses of a network; further ones are forgotten before those of other MACs.
const ADDRESSES_OF_MAC: u32 = 256;

/// A row that can be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// The network, by a number.
    network: u32,
    /// The MAC that had the address first.
    mac: u64,
    first: i64,
    last: i64,
    /// Whether the MAC is named, or the row is of the learning period.
    stays: bool,
}

/// Of these rows, which are forgotten: so many. Of what is not stale, the largest network loses first; in it, the largest MAC
/// above [`ADDRESSES_OF_MAC`], and then what came last. What is named or learned goes after everything else in its network.
/// A time after `latest` is of a clock that was ahead: it makes no other row stale.
fn choose(rows: &[Candidate], number: usize, latest: i64) -> Vec<bool> {
    let mut chosen = vec![false; rows.len()];
    let past = rows.iter().map(|row| row.last).filter(|last| *last <= latest);
    let now = past.max().unwrap_or_default();
    let row = |index: &u32| rows[*index as usize];
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.sort_by_key(|index| row(index).last);
    let is_stale = |index: &&u32| {
        let row = row(index);
        !row.stays && row.last < now - STALE_SECONDS
    };
    order.iter().filter(is_stale).take(number).for_each(|index| chosen[*index as usize] = true);
    order.retain(|index| !chosen[*index as usize]);
    let left = number - (rows.len() - order.len());
    // The number of a row within the rows of its MAC, then within its network.
    let mut ranks = vec![0_u32; rows.len()];
    order.sort_by_key(|index| (row(index).network, row(index).mac, row(index).first));
    number_within(&order, &mut ranks, |index| (row(&index).network, row(&index).mac));
    let excess = |index: &u32| ranks[*index as usize].max(ADDRESSES_OF_MAC);
    order.sort_by_key(|index| {
        let row = row(index);
        (row.network, !row.stays, excess(index), row.first)
    });
    number_within(&order, &mut ranks, |index| row(&index).network);
    order.sort_by_key(|index| Reverse((ranks[*index as usize], row(index).first)));
    order.iter().take(left).for_each(|index| chosen[*index as usize] = true);
    chosen
}

/// Numbers the rows that follow each other in one group.
fn number_within<G: PartialEq>(order: &[u32], ranks: &mut [u32], group: impl Fn(u32) -> G) {
    let (mut before, mut rank) = (None, 0);
    for index in order {
        let of = Some(group(*index));
        rank = if of == before { rank + 1 } else { 0 };
        (ranks[*index as usize], before) = (rank, of);
    }
}

impl SqliteMemory {
    /// Forgets addresses until a tenth fewer than the maximum is left, so that it is rarely necessary.
    pub(super) fn forget_stations(&mut self, max_rows: u64) -> SinkResult {
        let mut networks: HashMap<String, u32> = HashMap::new();
        let candidate = |row: &Row| {
            let name = interface_of(row.get_ref(0)?.as_str()?);
            let network = match networks.get(name) {
                Some(network) => *network,
                None => {
                    let next = networks.len() as u32;
                    *networks.entry(name.to_owned()).or_insert(next)
                }
            };
            let column = |column| Ok::<_, rusqlite::Error>(claim_of(row.get_ref(column)?));
            // Without the first claim, an earlier release stored the row: of the MAC that claimed it longest ago.
            let old = column(3)?.map(|(mac, _)| (mac, 0));
            let claim = column(2)?.or(old).or(column(4)?).or(column(6)?);
            let (mac, first) = claim.unwrap_or_default();
            Ok(Candidate { network, mac, first, last: row.get(1)?, stays: row.get(5)? })
        };
        let select =
            "SELECT network, last, first, claims, probe, named OR length(learned) > 0 IS TRUE, no_hosts
            FROM station ORDER BY network, ip";
        let Some(chosen) = self.chosen(select, max_rows, candidate)? else { return Ok(()) };
        let mut keys = Vec::new();
        self.with(|database| {
            let mut select =
                database.prepare("SELECT network, ip FROM station ORDER BY network, ip")?;
            let mut rows = select.query([])?;
            for forgotten in &chosen {
                let Some(row) = rows.next()? else { break };
                if *forgotten {
                    keys.push((row.get::<_, String>(0)?, ip_from(row.get_ref(1)?.as_blob()?)));
                }
            }
            drop(rows);
            let mut delete =
                database.prepare("DELETE FROM station WHERE network = ? AND ip = ?")?;
            let mut delete =
                |network: &str, ip: IpAddr| delete.execute(params![network, ip_bytes(ip)]);
            keys.iter()
                .filter_map(|(network, ip)| Some((network, (*ip)?)))
                .try_for_each(|(network, ip)| delete(network, ip).map(drop))
        })?;
        self.forgotten += keys.len() as u64;
        Ok(())
    }

    /// Forgets devices in the same way. A device is of no network.
    pub(super) fn forget_devices(&mut self, max_rows: u64) -> SinkResult {
        let candidate = |row: &Row| {
            let mac = row.get::<_, i64>(0)?.cast_unsigned();
            let (first, last, stays) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Candidate { network: 0, mac, first, last, stays })
        };
        let select = "SELECT mac, first, last, named OR learned FROM device ORDER BY mac";
        let Some(chosen) = self.chosen(select, max_rows, candidate)? else { return Ok(()) };
        let macs = self.with(|database| {
            let mut select = database.prepare("SELECT mac FROM device ORDER BY mac")?;
            let rows = select.query_map([], |row: &Row| row.get::<_, i64>(0))?;
            let forgotten = rows.zip(&chosen).filter(|(_, forgotten)| **forgotten);
            let macs = forgotten.map(|(mac, _)| mac).collect::<rusqlite::Result<Vec<_>>>()?;
            let mut delete = database.prepare("DELETE FROM device WHERE mac = ?")?;
            macs.iter().try_for_each(|mac| delete.execute([mac]).map(drop))?;
            Ok(macs)
        })?;
        self.forgotten += macs.len() as u64;
        Ok(())
    }

    /// Which of the rows that a query returns are forgotten; none if there are few enough.
    fn chosen(
        &mut self,
        select: &str,
        max_rows: u64,
        candidate: impl FnMut(&Row) -> rusqlite::Result<Candidate>,
    ) -> SinkResult<Option<Vec<bool>>> {
        let table = if select.contains("FROM device") { "device" } else { "station" };
        let count = format!("SELECT count(*) FROM {table}");
        let rows: i64 = self.with(|database| database.query_row(&count, [], |row| row.get(0)))?;
        if rows <= max_rows as i64 {
            return Ok(None);
        }
        let rows = self.with(|database| {
            let mut select = database.prepare(select)?;
            select.query_map([], candidate)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let number = rows.len() - (max_rows / 10 * 9) as usize;
        Ok(Some(choose(&rows, number, latest(UnixTime::now()).seconds())))
    }
}

/// MAC and time of the last claim in a column, if there is one.
fn claim_of(claims: ValueRef) -> Option<(u64, i64)> {
    let [a, b, c, d, e, f, time @ ..] = *claims.as_blob().ok()?.last_chunk::<14>()?;
    Some((u64::from_be_bytes([0, 0, a, b, c, d, e, f]), i64::from_be_bytes(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn row(network: u32, mac: u64, first: i64) -> Candidate {
        Candidate { network, mac, first, last: NOW, stays: false }
    }

    fn left(rows: &[Candidate], number: usize) -> Vec<usize> {
        let chosen = choose(rows, number, NOW + 1000);
        assert_eq!(chosen.iter().filter(|chosen| **chosen).count(), number);
        (0..rows.len()).filter(|index| !chosen[*index]).collect()
    }

    #[test]
    fn the_last_to_come_are_the_first_to_go() {
        let rows: Vec<_> = (0..10).map(|number| row(0, number, NOW + number as i64)).collect();
        assert_eq!(left(&rows, 4), (0..6).collect::<Vec<_>>());
        let mut named = rows.clone();
        named[9].stays = true;
        assert_eq!(left(&named, 4), [0, 1, 2, 3, 4, 9]);
        // What stays is bounded, too.
        named.iter_mut().for_each(|row| row.stays = true);
        assert_eq!(left(&named, 9), [0]);
        // Absent for half a year: before all others, however early it came.
        let mut stale = rows;
        stale[2].last = NOW - STALE_SECONDS - 1;
        stale[3] = Candidate { stays: true, ..stale[2] };
        assert_eq!(left(&stale, 1), [0, 1, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(left(&stale, 2), [0, 1, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_time_of_the_future_makes_nothing_stale() {
        let mut rows: Vec<_> = (0..10).map(|number| row(0, number, NOW + number as i64)).collect();
        rows[..5].iter_mut().for_each(|host| host.last = NOW - 5);
        rows[9] = Candidate { first: 2 * NOW, last: 2 * NOW, ..rows[9] };
        assert_eq!(left(&rows, 5), (0..5).collect::<Vec<_>>());
    }

    #[test]
    fn the_largest_group_loses_first() {
        // A flood in one network, before a host of another one comes.
        let mut rows: Vec<_> = (0..100).map(|number| row(0, number, NOW)).collect();
        rows.extend((0..10).map(|number| row(1, number, NOW + 1)));
        assert_eq!(left(&rows, 90)[10..], (100..110).collect::<Vec<_>>());
        // One MAC claims many addresses, and then a host comes.
        let mut rows: Vec<_> = (0..1000).map(|_| row(0, 7, NOW)).collect();
        rows.push(row(0, 8, NOW + 1));
        assert_eq!(left(&rows, 500).last(), Some(&1000));
    }
}
