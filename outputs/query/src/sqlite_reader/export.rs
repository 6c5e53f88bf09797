//! The whole content of a database, in the order of its pairings.

use aw_database::Snapshot;
use aw_output::{HistoryChange, HistoryPlace, HistorySighting};
use aw_service::Error;
use rusqlite::{Row, Rows, types::ValueRef};
use shm_layout::UnixTime;

use super::{CHANGES, SqliteReader, failure};
use crate::{
    export::{ExportGroup, ExportPosition, Exporter, NthOfSecond},
    history_reader::{parse_ip, parse_mac},
};

/// A pairing of a group: what distinguishes it from the others.
struct Member {
    id: i64,
    ring: String,
    outer_vlan: i64,
    router: String,
}

/// Equal sightings of a member.
struct Found {
    member: usize,
    time: UnixTime,
    origin: i64,
    count: u64,
}

impl SqliteReader {
    /// Exports what follows the position. Returns false if the database was changed meanwhile: then what follows the new
    /// position is to be read again, from a new snapshot.
    pub(super) fn export_rows(
        &self,
        to: &mut Exporter,
        position: &mut ExportPosition,
    ) -> Result<bool, Error> {
        if position.changes_from.is_none() {
            let select = format!(
                "SELECT address, mac, vlan, interface, host, {}, pairing.id, ring, outer_vlan, router
                FROM pairing JOIN place ON place.id = place
                ORDER BY 1, 2, 3, 4, 5, 6, ring, outer_vlan, router, pairing.id",
                self.source
            );
            let mut statement = self.sql(self.snapshot.database.prepare(&select))?;
            let mut rows = self.sql(statement.query([]))?;
            let mut next = self.next_pairing(&mut rows, to)?;
            while let Some((group, member)) = next.take() {
                let mut members = vec![member];
                loop {
                    next = self.next_pairing(&mut rows, to)?;
                    match next.take_if(|(other, _)| *other == group) {
                        Some((_, member)) => members.push(member),
                        None => break,
                    }
                }
                let is_printed = position.group.as_ref().is_some_and(|begun| group < *begun);
                if !is_printed && !self.export_group(&group, &members, to, position)? {
                    return Ok(false);
                }
            }
            if !self.print(to)? {
                return Ok(false);
            }
            position.changes_from = Some(to.range.from);
        }
        self.export_changes(to, position)
    }

    /// Prints what was read, if the database has not changed meanwhile.
    fn print(&self, to: &mut Exporter) -> Result<bool, Error> {
        let is_intact = self.sql(self.snapshot.is_intact())?;
        if is_intact {
            to.print()?;
        }
        Ok(is_intact)
    }

    fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T, Error> {
        result.map_err(|error| failure(&self.path, error))
    }

    /// The next pairing that is valid, with its group.
    fn next_pairing(
        &self,
        rows: &mut Rows,
        to: &mut Exporter,
    ) -> Result<Option<(ExportGroup, Member)>, Error> {
        while let Some(row) = self.sql(rows.next())? {
            match self.sql(pairing(row))? {
                Some(pairing) => return Ok(Some(pairing)),
                None => to.skip(),
            }
        }
        Ok(None)
    }

    /// Exports the sightings of a group's members, in the order of time.
    fn export_group(
        &self,
        group: &ExportGroup,
        members: &[Member],
        to: &mut Exporter,
        position: &mut ExportPosition,
    ) -> Result<bool, Error> {
        let (Some(ip), Some(mac)) = (parse_ip(&group.address), parse_mac(group.mac)) else {
            return Ok(true);
        };
        let source = parse_mac(group.source);
        let (from, mut nth) = match &position.group {
            Some(begun) if begun == group => (position.from, position.nth.clone()),
            _ => (to.range.from, NthOfSecond::default()),
        };
        let ids: Vec<String> = members.iter().map(|member| member.id.to_string()).collect();
        let select = format!(
            "SELECT pairing, time, origin, count(*) FROM sighting
            WHERE pairing IN ({}) AND time >= ?1 AND time < ?2
            GROUP BY pairing, time, origin ORDER BY {}time, origin",
            ids.join(", "),
            if members.len() == 1 { "pairing, " } else { "" } // the order of the table
        );
        let mut statement = self.sql(self.snapshot.database.prepare(&select))?;
        let mut rows = self.sql(statement.query([from.as_nanos(), to.range.to.as_nanos()]))?;
        let mut equal: Vec<Found> = Vec::new(); // in time and origin
        loop {
            let next = match self.sql(rows.next())? {
                Some(row) => Some(self.sql(found(row, members))?),
                None => None,
            };
            let key = |found: &Found| (found.time, found.origin);
            if next.as_ref().map(key) != equal.last().map(key) {
                let last = equal.last().map(|found| found.time);
                equal.sort_by_key(|found| found.member);
                for Found { member, time, origin, count } in equal.drain(..) {
                    let Member { ring, outer_vlan, router, .. } = &members[member];
                    let place = HistoryPlace {
                        host: group.host.clone(),
                        ring: ring.clone(),
                        interface: group.interface.clone(),
                        vlan: group.vlan,
                        outer_vlan: *outer_vlan,
                        router: router.clone(),
                    };
                    let times = nth.next(time.seconds(), origin, count);
                    to.sighting(HistorySighting { place, time, mac, ip, source, origin, times });
                }
                let time = next.as_ref().map(|found| found.time).filter(|time| Some(*time) != last);
                if let Some(time) = time.filter(|_| to.is_full()) {
                    if !self.print(to)? {
                        return Ok(false);
                    }
                    (position.group, position.from) = (Some(group.clone()), time);
                    position.nth = nth.clone();
                }
            }
            match next {
                Some(next) => equal.push(next),
                None => return Ok(true),
            }
        }
    }

    fn export_changes(
        &self,
        to: &mut Exporter,
        position: &mut ExportPosition,
    ) -> Result<bool, Error> {
        let Snapshot { database, .. } = &self.snapshot;
        let from = position.changes_from.unwrap_or(to.range.from);
        if !self.sql(aw_database::has_columns(database, "config_change", CHANGES))? {
            return self.print(to); // an earlier release of aw-sqlite created the database
        }
        let select = "SELECT time, host, interface, router, user, lines_added, lines_removed, ring, vlan, outer_vlan, count(*)
            FROM config_change JOIN place ON place.id = place WHERE time >= ? AND time < ?
            GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10";
        let mut statement = self.sql(database.prepare(select))?;
        let mut rows = self.sql(statement.query([from.as_nanos(), to.range.to.as_nanos()]))?;
        let mut nth = NthOfSecond::default();
        let mut second = None;
        while let Some(row) = self.sql(rows.next())? {
            let (change, count) = self.sql(change(row))?;
            let Some(mut change) = change else {
                to.skip();
                continue;
            };
            let seconds = change.time.seconds();
            if second.replace(seconds) != Some(seconds) && to.is_full() {
                if !self.print(to)? {
                    return Ok(false);
                }
                position.changes_from = Some(change.time);
            }
            let HistoryPlace { host, interface, router, .. } = &change.place;
            let looks = [host, interface, router, &change.user].map(String::clone);
            change.times = nth.next(seconds, (looks, change.added, change.removed), count);
            to.change(change);
        }
        self.print(to)
    }
}

/// A row of `pairing` and `place`; None if its values are not valid.
fn pairing(row: &Row) -> rusqlite::Result<Option<(ExportGroup, Member)>> {
    let address = match row.get_ref(0)? {
        ValueRef::Blob(bytes) if parse_ip(bytes).is_some() => bytes.to_vec(),
        _ => return Ok(None),
    };
    let (mac, vlan, source) = (row.get(1)?, row.get(2)?, row.get(5)?);
    if parse_mac(mac).is_none() {
        return Ok(None);
    }
    let (interface, host) = (row.get(3)?, row.get(4)?);
    let (id, ring, outer_vlan, router) = (row.get(6)?, row.get(7)?, row.get(8)?, row.get(9)?);
    let group = ExportGroup { address, mac, vlan, interface, host, source };
    Ok(Some((group, Member { id, ring, outer_vlan, router })))
}

fn found(row: &Row, members: &[Member]) -> rusqlite::Result<Found> {
    let id: i64 = row.get(0)?;
    let member = members.iter().position(|member| member.id == id).unwrap_or(0);
    let time = UnixTime::from_nanos(row.get(1)?);
    Ok(Found { member, time, origin: row.get(2)?, count: row.get::<_, i64>(3)? as u64 })
}

/// A configuration change, without its counts, and how often it is there; None if its values are not valid.
fn change(row: &Row) -> rusqlite::Result<(Option<HistoryChange>, u64)> {
    let lines = |column| row.get::<_, i64>(column).map(|lines| u32::try_from(lines).ok());
    let place = HistoryPlace {
        host: row.get(1)?,
        ring: row.get(7)?,
        interface: row.get(2)?,
        vlan: row.get(8)?,
        outer_vlan: row.get(9)?,
        router: row.get(3)?,
    };
    let (time, user) = (UnixTime::from_nanos(row.get(0)?), row.get(4)?);
    let count = row.get::<_, i64>(10)? as u64;
    let change = lines(5)?.zip(lines(6)?).map(|(added, removed)| {
        let times = Default::default();
        HistoryChange { place, time, user, added, removed, times }
    });
    Ok((change, count))
}
