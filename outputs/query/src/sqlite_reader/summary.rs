//! The pairings of a time range: each takes a few searches, however many sightings it has.

use std::collections::HashSet;

use aw_database::Snapshot;
use rusqlite::{Connection, OptionalExtension, Row, Statement};
use shm_layout::{Evidence, MacAddr, UnixTime};

use super::{
    SqliteReader, ip,
    recent::{MOST, RecentRow},
    spans::Spans,
};
use crate::history_reader::{
    FRAME_SOURCE, NO_CLAIM, NO_PAIRING, PairingSummary, TimeRange, evidence, parse_mac,
};

impl SqliteReader {
    pub(super) fn summaries(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> rusqlite::Result<Vec<PairingSummary>> {
        let SqliteReader {
            snapshot: Snapshot { database, .. },
            places,
            source,
            recent,
            spans,
            most,
            is_cut,
            ..
        } = self;
        let clocks = places.clocks().asked(range);
        recent.all(database, MOST)?;
        let mut searches = Searches::new(database, range, is_counted)?;
        let mut in_spans = SpanSearches::new(database, *spans, range, is_counted)?;
        let mut summary = |row: &Row| -> rusqlite::Result<Option<PairingSummary>> {
            let (pairing, source) = (row.get(0)?, parse_mac(row.get(4)?));
            let (Some(mac), Some(ip)) = (parse_mac(row.get(1)?), ip(row, 3)?) else {
                return Ok(None);
            };
            let Some(network) = places.network_of(database, row.get(2)?)? else { return Ok(None) };
            let mut seen = Seen::default();
            // Each table with sightings adds what it has of the pairing.
            searches.add_to(&mut seen, pairing)?;
            in_spans.add_to(&mut seen, pairing)?;
            let recent = recent.known(pairing).iter().filter_map(|row| accepted(row, range));
            let recent: Vec<_> = recent.collect();
            seen.add(&recent);
            let (Some(first), Some(last)) = (seen.first, seen.last) else { return Ok(None) };
            // A time before the clock was set counts only if there is no other.
            let set = clocks.set_at(network);
            let dated = if first < set {
                let recent = recent.iter().map(|(time, _)| *time).find(|time| *time >= set);
                let in_span = in_spans.first_since(pairing, set)?;
                let filed = searches.first_since(pairing, set)?;
                [filed, in_span, recent].into_iter().flatten().min()
            } else {
                None
            };
            let is_claimed = seen.has_claim && source.is_none();
            Ok(Some(PairingSummary {
                network,
                mac,
                ip,
                source,
                first: dated.unwrap_or(first),
                has_undated: dated.is_some(),
                last,
                count: is_counted.then_some(seen.count),
                is_claimed,
                is_answered: !is_claimed && (seen.has_claim || seen.has_answer),
            }))
        };
        let all = i64::try_from(*most).unwrap_or(i64::MAX);
        let further = "SELECT EXISTS (SELECT 1 FROM pairing LIMIT 1 OFFSET ?)";
        let has_more: bool = database.query_row(further, [all], |row| row.get(0))?;
        *is_cut |= has_more;
        let some = if has_more { all / 2 } else { all };
        let select = format!("SELECT id, mac, place, address, {source} FROM pairing");
        let mut found = Vec::new();
        let mut between = (i64::MIN, i64::MAX);
        let mut statement = database.prepare(&format!("{select} ORDER BY id LIMIT ?"))?;
        let mut rows = statement.query([some])?;
        while let Some(row) = rows.next()? {
            between.0 = row.get(0)?;
            found.extend(summary(row)?);
        }
        if has_more {
            // A flood of new pairings hides none that was there before; and of the others, those that are seen now are known.
            let newest = format!("{select} WHERE id > ? ORDER BY id DESC LIMIT ?");
            let mut statement = database.prepare(&newest)?;
            let mut rows = statement.query([between.0, all - some])?;
            while let Some(row) = rows.next()? {
                between.1 = row.get(0)?;
                found.extend(summary(row)?);
            }
            let mut statement = database.prepare(&format!("{select} WHERE id = ?"))?;
            for id in recent.between(between).into_iter().take(*most) {
                if let Some(one) = statement.query_row([id], &mut summary).optional()? {
                    found.extend(one);
                }
            }
        }
        Ok(found)
    }

    /// See [`HistoryReader::macs_in_use`](crate::history_reader::HistoryReader::macs_in_use).
    pub(super) fn in_use(&mut self, macs: &[MacAddr]) -> rusqlite::Result<HashSet<MacAddr>> {
        let SqliteReader { snapshot: Snapshot { database, .. }, recent, spans, .. } = self;
        recent.all(database, MOST)?;
        let mut searches = Searches::new(database, TimeRange::ALL, false)?;
        let mut in_spans = SpanSearches::new(database, *spans, TimeRange::ALL, false)?;
        let mut pairings = database.prepare("SELECT id FROM pairing WHERE mac = ?")?;
        let mut found = HashSet::new();
        for mac in macs {
            let mut rows = pairings.query([mac.number() as i64])?;
            let mut seen = Seen::default();
            while let (false, Some(row)) = (seen.has_claim || seen.has_answer, rows.next()?) {
                let pairing = row.get(0)?;
                let recent = recent.known(pairing).iter();
                let recent = recent.filter_map(|row| accepted(row, TimeRange::ALL));
                seen.add(&recent.collect::<Vec<_>>());
                in_spans.add_to(&mut seen, pairing)?;
                searches.add_to(&mut seen, pairing)?;
            }
            if seen.has_claim || seen.has_answer {
                found.insert(*mac);
            }
        }
        Ok(found)
    }
}

/// What is known of the sightings of a pairing, without messages that are no pairing.
#[derive(Default)]
struct Seen {
    first: Option<UnixTime>,
    last: Option<UnixTime>,
    has_claim: bool,
    /// An answer that does not name the MAC.
    has_answer: bool,
    count: u64,
}

impl Seen {
    /// Adds sightings that were read.
    fn add(&mut self, sightings: &[(UnixTime, Evidence)]) {
        for (time, evidence) in sightings {
            self.first = Some(self.first.map_or(*time, |known| known.min(*time)));
            self.last = self.last.max(Some(*time));
            self.has_claim |= *evidence == Evidence::Claim;
            self.has_answer |= *evidence == Evidence::FrameSource;
            self.count += 1;
        }
    }
}

/// The searches in the table `sighting`, of which one row of a pairing is read, as a rule.
struct Searches<'a> {
    times: [i64; 2],
    first: Statement<'a>,
    last: Statement<'a>,
    claim: Statement<'a>,
    answer: Statement<'a>,
    count: Option<Statement<'a>>,
}

impl<'a> Searches<'a> {
    fn new(database: &'a Connection, range: TimeRange, is_counted: bool) -> rusqlite::Result<Self> {
        let search = |what: &str, rest: &str| {
            database.prepare(&format!(
                "SELECT {what} FROM sighting WHERE pairing = ? AND time >= ? AND time < ? {rest}"
            ))
        };
        let count = format!("AND origin NOT IN ({NO_PAIRING})");
        Ok(Searches {
            times: [range.from, range.to].map(UnixTime::as_nanos),
            first: search("time, origin", "ORDER BY time")?,
            last: search("time, origin", "ORDER BY time DESC")?,
            claim: search("1", &format!("AND origin NOT IN ({NO_CLAIM})"))?,
            answer: search("1", &format!("AND origin = {FRAME_SOURCE}"))?,
            count: is_counted.then(|| search("count(*)", &count)).transpose()?,
        })
    }

    /// How many steps its searches have taken.
    #[cfg(test)]
    fn steps(&self) -> i32 {
        let steps = |search: &Statement| search.get_status(rusqlite::StatementStatus::VmStep);
        [&self.first, &self.last, &self.claim, &self.answer].map(steps).iter().sum()
    }

    /// Adds the sightings of a pairing in the time range.
    fn add_to(&mut self, seen: &mut Seen, pairing: i64) -> rusqlite::Result<()> {
        let [from, to] = self.times;
        let row = [pairing, from, to];
        let Some((first, origin)) = sighting(&mut self.first, row)? else { return Ok(()) };
        let last = sighting(&mut self.last, row)?.map(|(last, _)| last);
        seen.first = Some(seen.first.map_or(first, |known| known.min(first)));
        seen.last = seen.last.max(last);
        seen.has_claim = seen.has_claim || evidence(origin) == Evidence::Claim;
        seen.has_claim = seen.has_claim || self.claim.exists(row)?;
        seen.has_answer = seen.has_answer || !seen.has_claim && self.answer.exists(row)?;
        if let Some(count) = &mut self.count {
            seen.count += count.query_row(row, |row| row.get::<_, i64>(0))? as u64;
        }
        Ok(())
    }

    /// The first sighting of a pairing at or after a time, in the time range.
    fn first_since(&mut self, pairing: i64, since: UnixTime) -> rusqlite::Result<Option<UnixTime>> {
        let [from, to] = self.times;
        let found = sighting(&mut self.first, [pairing, since.as_nanos().max(from), to])?;
        Ok(found.map(|(time, _)| time))
    }
}

/// The searches in the table of spans. One that begins before the time range, or ends after it, is cut.
struct SpanSearches<'a> {
    times: [i64; 2],
    /// Without one, a search for each pairing is in vain.
    has_spans: bool,
    first: Statement<'a>,
    last: Statement<'a>,
    count: Option<Statement<'a>>,
}

impl<'a> SpanSearches<'a> {
    fn new(
        database: &'a Connection,
        spans: Spans,
        range: TimeRange,
        is_counted: bool,
    ) -> rusqlite::Result<Self> {
        let search = |what: &str, rest: &str| {
            let in_range = spans.in_range("?2", "?3");
            let source = spans.source;
            database.prepare(&format!(
                "SELECT {what} FROM {source} WHERE pairing = ?1 AND {in_range} {rest}"
            ))
        };
        // Of a span that is cut, about as many sightings as the part is long.
        let part = "CASE WHEN first >= ?2 AND last < ?3 THEN count ELSE max(1, CAST(round(count *
            (1.0 * (min(last, ?3 - 1) - max(first, ?2)) / max(last - first, 1))) AS INTEGER)) END";
        let count = format!("coalesce(sum({part}), 0)");
        Ok(SpanSearches {
            times: [range.from, range.to].map(UnixTime::as_nanos),
            has_spans: database
                .prepare(&format!("SELECT 1 FROM {} LIMIT 1", spans.source))?
                .exists([])?,
            first: search("max(first, ?2)", "ORDER BY first LIMIT 1")?,
            last: search("min(last, ?3 - 1)", "ORDER BY first DESC LIMIT 1")?,
            count: is_counted.then(|| search(&count, "")).transpose()?,
        })
    }

    /// Adds the spans of a pairing in the time range: they are of claims.
    fn add_to(&mut self, seen: &mut Seen, pairing: i64) -> rusqlite::Result<()> {
        let [from, to] = self.times;
        let Some(first) = self.first_since(pairing, UnixTime::from_nanos(from))? else {
            return Ok(());
        };
        let row = [pairing, from, to];
        let last = UnixTime::from_nanos(self.last.query_row(row, |row| row.get(0))?);
        let claim = Evidence::Claim;
        seen.add(&[(first, claim), (last, claim)]);
        seen.count -= 2;
        if let Some(count) = &mut self.count {
            seen.count += count.query_row(row, |row| row.get::<_, i64>(0))? as u64;
        }
        Ok(())
    }

    /// The first time within a span at or after a time, in the time range.
    fn first_since(&mut self, pairing: i64, since: UnixTime) -> rusqlite::Result<Option<UnixTime>> {
        let [from, to] = self.times;
        if !self.has_spans {
            return Ok(None);
        }
        let row = [pairing, since.as_nanos().max(from), to];
        let first = self.first.query_row(row, |row| row.get(0)).optional()?;
        Ok(first.map(UnixTime::from_nanos))
    }
}

/// A sighting that was read, if it is a pairing and in the time range.
fn accepted((time, origin): &RecentRow, range: TimeRange) -> Option<(UnixTime, Evidence)> {
    let (time, evidence) = (UnixTime::from_nanos(*time), evidence(*origin));
    let is_pairing = evidence.is_pairing();
    (is_pairing && (range.from..range.to).contains(&time)).then_some((time, evidence))
}

/// The time and the origin of the first row that is a pairing. Not in SQL, which would make a table of the origins for each
/// search.
fn sighting(search: &mut Statement, row: [i64; 3]) -> rusqlite::Result<Option<(UnixTime, i64)>> {
    let mut rows = search.query(row)?;
    while let Some(row) = rows.next()? {
        let (time, origin) = (UnixTime::from_nanos(row.get(0)?), row.get(1)?);
        if evidence(origin).is_pairing() {
            return Ok(Some((time, origin)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
