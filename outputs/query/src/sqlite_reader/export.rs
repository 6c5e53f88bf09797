//! The whole content of a database, in the order of its pairings.

use aw_database::Snapshot;
use aw_output::{
    ClaimedName, HistoryChange, HistoryCount, HistoryName, HistoryPlace, HistorySighting,
    HistorySpan, NameSource,
};
use aw_service::Error;
use rusqlite::{Row, Rows, types::ValueRef};
use shm_layout::{Evidence, UnixTime};

use super::{CHANGES, SqliteReader, failure};
use crate::{
    export::{ExportGroup, ExportPosition, Exporter, NthOfSecond, PrintedSpan},
    history_reader::{evidence, parse_ip, parse_mac},
};

const SECOND: i64 = 1_000_000_000;

/// A pairing of a group: what distinguishes it from the others.
struct Member {
    id: i64,
    ring: String,
    outer_vlan: i64,
    router: String,
}

/// Equal sightings of a member, or a span: the number is then that of its row.
struct Found {
    member: usize,
    time: UnixTime,
    origin: i64,
    count: u64,
    span: Option<HistorySpan>,
}

impl SqliteReader {
    /// Exports what follows the position. Returns false if the database was changed meanwhile: then what follows the new
    /// position is to be read again, from a new snapshot.
    pub(super) fn export_rows(
        &mut self,
        to: &mut Exporter,
        position: &mut ExportPosition,
    ) -> Result<bool, Error> {
        if position.changes_from.is_none() {
            let SqliteReader { recent, snapshot, path, .. } = self;
            recent.all(&snapshot.database, usize::MAX).map_err(|error| failure(path, error))?;
            to.begin_pairings();
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
        if !self.export_changes(to, position)? {
            return Ok(false);
        }
        position.changes_from = Some(to.range.to); // all are printed
        self.export_names(to)
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
            match pairing(row) {
                Some(pairing) => return Ok(Some(pairing)),
                None => to.leave_out_pairing(self.sql(row.get(6))?),
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
        let (from, mut nth, mut spans) = match &position.group {
            Some(begun) if begun == group => {
                (position.from.max(to.range.from), position.nth.clone(), position.spans.clone())
            }
            _ => (to.range.from, NthOfSecond::default(), Vec::new()),
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
        // A span that the range cuts is exported as it is. So is one that begins before the position, unless it is printed: it was
        // compacted since, of sightings some of which are not printed. An import subtracts those that are.
        let others = self.sql(self.others_of(members, (from, to.range.to), &spans))?;
        let mut others = others.into_iter().peekable();
        let mut filed: Option<Found> = None;
        let mut equal: Vec<Found> = Vec::new(); // in time and origin
        loop {
            if filed.is_none() {
                filed = self
                    .sql(rows.next())?
                    .map(|row| found(row, members))
                    .transpose()
                    .map_err(|error| failure(&self.path, error))?;
            }
            let is_first = |new: &Found| {
                filed
                    .as_ref()
                    .is_none_or(|filed| (new.time, new.origin) <= (filed.time, filed.origin))
            };
            let next = others.next_if(is_first).or_else(|| filed.take());
            let key = |found: &Found| (found.time, found.origin);
            if next.as_ref().map(key) != equal.last().map(key) {
                let last = equal.last().map(|found| found.time);
                equal.sort_by_key(|found| found.member);
                equal.dedup_by(|next, found| {
                    let is_same =
                        next.member == found.member && next.span.is_none() && found.span.is_none();
                    found.count += if is_same { next.count } else { 0 };
                    is_same
                });
                for Found { member, time, origin, count, span } in equal.drain(..) {
                    let Member { ring, outer_vlan, router, .. } = &members[member];
                    let place = HistoryPlace {
                        host: group.host.clone(),
                        ring: ring.clone(),
                        interface: group.interface.clone(),
                        vlan: group.vlan,
                        outer_vlan: *outer_vlan,
                        router: router.clone(),
                    };
                    let nth = if time < from { &mut NthOfSecond::default() } else { &mut nth };
                    let rows = if span.is_some() { 1 } else { count };
                    let times = nth.next(time.seconds(), origin, rows);
                    if let Some(HistorySpan { last, .. }) = span {
                        spans.push((members[member].id, time, last, count));
                    }
                    to.sighting(HistorySighting {
                        place,
                        time,
                        mac,
                        ip,
                        source,
                        origin,
                        times,
                        span,
                    });
                }
                let time = next.as_ref().map(|found| found.time).filter(|time| Some(*time) != last);
                if let Some(time) = time.filter(|_| to.is_full()) {
                    if !self.print(to)? {
                        return Ok(false);
                    }
                    (position.group, position.from) = (Some(group.clone()), time);
                    position.nth = nth.clone();
                    spans.retain(|(_, _, last, _)| *last >= time);
                    position.spans = spans.clone();
                }
            }
            match next {
                Some(next) => equal.push(next),
                None => return Ok(true),
            }
        }
    }

    /// The new sightings of a group's members in a time range, and the spans, in the order of time and origin; without those that are
    /// printed.
    fn others_of(
        &self,
        members: &[Member],
        (from, to): (UnixTime, UnixTime),
        printed: &[PrintedSpan],
    ) -> rusqlite::Result<Vec<Found>> {
        let mut all = Vec::new();
        let spans = format!(
            "SELECT first, last, count, first_origin, last_origin FROM {} WHERE pairing = ?1 AND {}",
            self.spans.source,
            self.spans.in_range("?2", "?3")
        );
        let mut spans = self.snapshot.database.prepare_cached(&spans)?;
        for (member, Member { id, .. }) in members.iter().enumerate() {
            for (time, origin) in self.recent.known(*id) {
                let (time, origin) = (UnixTime::from_nanos(*time), *origin);
                if (from..to).contains(&time) {
                    all.push(Found { member, time, origin, count: 1, span: None });
                }
            }
            let mut rows = spans.query([*id, from.as_nanos(), to.as_nanos()])?;
            while let Some(row) = rows.next()? {
                let [time, last] = [row.get(0)?, row.get(1)?].map(UnixTime::from_nanos);
                let sightings = row.get::<_, i64>(2)?.max(1) as u64;
                let (origin, last_origin) = (row.get(3)?, row.get(4)?);
                if !printed.contains(&(*id, time, last, sightings)) {
                    let span = Some(HistorySpan { last, last_origin, sightings });
                    all.push(Found { member, time, origin, count: sightings, span });
                }
            }
        }
        all.sort_by_key(|found| (found.time, found.origin));
        // Single ones in the time of a span have lines, too, which an import takes for some of the span's: so they are; those of a later line in
        // the first span only. Of two members of which one has no ring, it compares seconds.
        let mut counted = vec![i64::MIN; members.len()];
        for Found { member, time, span, .. } in &mut all {
            let Some(span) = span else { continue };
            let (time, last, own) = (time.as_nanos(), span.last.as_nanos(), &members[*member]);
            for (other, counted) in members.iter().zip(&mut counted) {
                let (from, to) = match other.id == own.id {
                    true => (time, last),
                    false if own.ring.is_empty() || other.ring.is_empty() => {
                        let begin = last - last.rem_euclid(SECOND);
                        (time - time.rem_euclid(SECOND), begin.saturating_add(SECOND - 1))
                    }
                    false => continue,
                };
                span.sightings += self.single_of(other.id, (from, time.min(to)))?;
                span.sightings +=
                    self.single_of(other.id, (time.max(*counted).saturating_add(1), to))?;
                *counted = to.max(*counted);
            }
        }
        Ok(all)
    }

    /// The number of single sightings in a time that may be of a span.
    fn single_of(&self, pairing: i64, (from, to): (i64, i64)) -> rusqlite::Result<u64> {
        let single = "SELECT origin, count(*) FROM sighting
            WHERE pairing = ? AND time >= ? AND time <= ? AND typeof(origin) = 'integer' GROUP BY origin";
        let mut single = self.snapshot.database.prepare_cached(single)?;
        let mut single = single.query([pairing, from, to])?;
        let recent = self.recent.known(pairing);
        let recent = &recent[recent.partition_point(|(time, _)| *time < from)..];
        let recent = recent.iter().take_while(|(time, _)| *time <= to);
        let mut count = recent.filter(|(_, origin)| is_of_span(*origin)).count() as u64;
        while let Some(row) = single.next()? {
            let number: i64 = row.get(1)?;
            count += if is_of_span(row.get(0)?) { number as u64 } else { 0 };
        }
        Ok(count)
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
            let count = self.sql(row.get::<_, i64>(10))? as u64;
            let Some(mut change) = change(row) else {
                to.leave_out(count, || {
                    "a configuration change with a value of a wrong type".into()
                });
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

    /// What devices call themselves, of names that were used in the time range. There are not so many that they are printed in parts.
    fn export_names(&self, to: &mut Exporter) -> Result<bool, Error> {
        if !self.has_names {
            return Ok(true);
        }
        let select = "SELECT host, ring, interface, vlan, outer_vlan, router, mac, source, name, first, last, count
            FROM claimed_name JOIN place ON place.id = place WHERE last >= ? AND first < ?
            ORDER BY mac, host, ring, interface, vlan, outer_vlan, router, source, name";
        let mut statement = self.sql(self.snapshot.database.prepare(select))?;
        let range = [to.range.from, to.range.to].map(UnixTime::as_nanos);
        let mut rows = self.sql(statement.query(range))?;
        while let Some(row) = self.sql(rows.next())? {
            match name(row) {
                Some(name) => to.name(name),
                None => to.leave_out(1, || "a name with a value of a wrong type".into()),
            }
        }
        self.print(to)
    }
}

/// A row of `claimed_name` and `place`; None if its values are not valid.
fn name(row: &Row) -> Option<HistoryName> {
    let place = HistoryPlace {
        host: row.get(0).ok()?,
        ring: row.get(1).ok()?,
        interface: row.get(2).ok()?,
        vlan: row.get(3).ok()?,
        outer_vlan: row.get(4).ok()?,
        router: row.get(5).ok()?,
    };
    let [first, last] = [9, 10].map(|column| row.get(column).map(UnixTime::from_nanos));
    let (source, name) = (NameSource::from_number(row.get(7).ok()?)?, row.get(8).ok()?);
    let claimed = ClaimedName { source, name, first: first.ok()?, last: last.ok()? };
    let uses = row.get::<_, i64>(11).ok()?.try_into().ok()?;
    Some(HistoryName { place, mac: parse_mac(row.get(6).ok()?)?, claimed, uses })
}

/// A row of `pairing` and `place`; None if its values are not valid.
fn pairing(row: &Row) -> Option<(ExportGroup, Member)> {
    let address = match row.get_ref(0).ok()? {
        ValueRef::Blob(bytes) if parse_ip(bytes).is_some() => bytes.to_vec(),
        _ => return None,
    };
    let (mac, vlan, source) = (number(row, 1)?, number(row, 2)?, number(row, 5)?);
    parse_mac(mac)?;
    let (interface, host) = (text(row, 3)?, text(row, 4)?);
    let group = ExportGroup { address, mac, vlan, interface, host, source };
    let (id, outer_vlan) = (number(row, 6)?, number(row, 8)?);
    Some((group, Member { id, ring: text(row, 7)?, outer_vlan, router: text(row, 9)? }))
}

/// Another program may have written values of another type than the column's.
fn number(row: &Row, column: usize) -> Option<i64> {
    row.get_ref(column).ok()?.as_i64().ok()
}

fn text(row: &Row, column: usize) -> Option<String> {
    row.get_ref(column).ok()?.as_str().ok().map(str::to_owned)
}

/// Whether an import takes a sighting within a span for one of it: a claim, an answer or a sign of life.
fn is_of_span(origin: i64) -> bool {
    let evidence = evidence(origin);
    (0..=255).contains(&origin) && evidence.is_pairing() && evidence != Evidence::Probe
}

fn found(row: &Row, members: &[Member]) -> rusqlite::Result<Found> {
    let id: i64 = row.get(0)?;
    let member = members.iter().position(|member| member.id == id).unwrap_or(0);
    let time = UnixTime::from_nanos(row.get(1)?);
    let origin = number(row, 2).unwrap_or(-1); // which no line has
    Ok(Found { member, time, origin, count: row.get::<_, i64>(3)? as u64, span: None })
}

/// A configuration change, without its counts; None if its values are not valid.
fn change(row: &Row) -> Option<HistoryChange> {
    let lines = |column| number(row, column).and_then(|lines| u32::try_from(lines).ok());
    let place = HistoryPlace {
        host: text(row, 1)?,
        ring: text(row, 7)?,
        interface: text(row, 2)?,
        vlan: number(row, 8)?,
        outer_vlan: number(row, 9)?,
        router: text(row, 3)?,
    };
    Some(HistoryChange {
        place,
        time: UnixTime::from_nanos(number(row, 0)?),
        user: text(row, 4)?,
        added: lines(5)?,
        removed: lines(6)?,
        times: HistoryCount::default(),
    })
}
