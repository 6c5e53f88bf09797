//! Old sightings that aw-sqlite has compacted into spans: those of a pairing that prove the same, no further than ten minutes apart.
//! Within a span, a sighting is near each time; when exactly is not known.

use std::net::IpAddr;

use aw_database::HistoryRows;
use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::{MacAddr, UnixTime};

use super::bytes;
use crate::{
    history_reader::{NearestSightings, TimeRange, evidence_in_frame},
    periods::KEPT_WITHIN,
};

/// Spans of a day each that are joined, at most: thirty years.
const JOINED: usize = 11_000;

/// The class of claims, and the last one of those that show a MAC with an address.
const CLAIM: i64 = 0;
const LAST_USE: i64 = 2;

/// The spans of a database.
#[derive(Clone, Copy, Default)]
pub struct Spans {
    /// For `FROM`.
    pub source: &'static str,
}

/// An end of a span in a time range.
pub struct SpanEnd {
    pub time: i64,
    pub pairing: i64,
    pub origin: i64,
    /// The sightings between this end, which is the first one, and the other.
    pub more: u64,
}

impl Spans {
    pub fn new(rows: HistoryRows) -> Spans {
        Spans { source: rows.spans() }
    }

    /// Whether there are spans.
    pub fn are_any(self, database: &Connection) -> rusqlite::Result<bool> {
        let any = format!("SELECT EXISTS (SELECT 1 FROM {})", self.source);
        database.query_row(&any, [], |row| row.get(0))
    }

    /// The classes of a pairing's spans.
    fn classes(self, database: &Connection, pairing: i64) -> rusqlite::Result<Vec<i64>> {
        let next =
            format!("SELECT min(class) FROM {} WHERE pairing = ? AND class > ?", self.source);
        let mut next = database.prepare_cached(&next)?;
        let mut classes = Vec::new();
        let mut last = -1;
        while let Some(class) = next.query_row([pairing, last], |row| row.get(0))? {
            classes.push(class);
            last = class;
        }
        Ok(classes)
    }

    /// Adds the spans of a pairing that are nearest to a time. Within a span, the time itself counts.
    pub fn add_nearest(
        self,
        database: &Connection,
        (pairing, source): (i64, Option<MacAddr>),
        at: UnixTime,
        nearest: &mut NearestSightings,
    ) -> rusqlite::Result<()> {
        let select = |side: &str| {
            let source = self.source;
            format!(
                "SELECT first, last, first_origin FROM {source} WHERE pairing = ? AND class = ? AND first {side} LIMIT 1"
            )
        };
        let mut before = database.prepare_cached(&select("<= ? ORDER BY first DESC"))?;
        let mut after = database.prepare_cached(&select("> ? ORDER BY first"))?;
        for class in self.classes(database, pairing)? {
            let row = [pairing, class, at.as_nanos()];
            let span = |row: &rusqlite::Row| -> rusqlite::Result<(i64, i64, i64)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            };
            let before = before.query_row(row, span).optional()?;
            if let Some((_, last, origin)) = before {
                let evidence = evidence_in_frame(origin, source);
                let time = UnixTime::from_nanos(last).min(at);
                nearest.before.add(evidence, time, UnixTime::max);
                if last > at.as_nanos() {
                    let just_after = UnixTime::from_nanos(at.as_nanos().saturating_add(1));
                    nearest.after.add(evidence, just_after, UnixTime::min);
                    continue;
                }
            }
            if let Some((first, _, origin)) = after.query_row(row, span).optional()? {
                let evidence = evidence_in_frame(origin, source);
                nearest.after.add(evidence, UnixTime::from_nanos(first), UnixTime::min);
            }
        }
        Ok(())
    }

    /// When the first span of claims begins.
    pub fn first_claim(
        self,
        database: &Connection,
        pairing: i64,
    ) -> rusqlite::Result<Option<UnixTime>> {
        let select =
            format!("SELECT min(first) FROM {} WHERE pairing = ? AND class = ?", self.source);
        let first = database
            .prepare_cached(&select)?
            .query_row([pairing, CLAIM], |row| row.get::<_, Option<i64>>(0));
        Ok(first?.map(UnixTime::from_nanos))
    }

    /// The ends of the spans of an address in a time range, in the order of time. A span that begins before the range, or ends
    /// after it, is cut: it is seen near its edges, too.
    pub fn ends(
        self,
        database: &Connection,
        ip: IpAddr,
        range: TimeRange,
    ) -> rusqlite::Result<Vec<SpanEnd>> {
        let select = format!(
            "SELECT pairing, first, last, count, first_origin, last_origin FROM {}
            WHERE pairing IN (SELECT id FROM pairing WHERE address = ?1) AND last >= ?2 AND first < ?3",
            self.source
        );
        let (from, to) = (range.from.as_nanos(), range.to.as_nanos());
        let mut statement = database.prepare_cached(&select)?;
        let mut rows = statement.query(params![bytes(&ip), from, to])?;
        let mut ends = Vec::new();
        while let Some(row) = rows.next()? {
            let (pairing, first, last): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let count = row.get::<_, i64>(3)?.max(1) as u64;
            let (begin, end) = (first.max(from), last.min(to - 1));
            let is_whole = (begin, end) == (first, last);
            let count = if is_whole { count } else { part(count, (first, last), (begin, end)) };
            ends.push(SpanEnd {
                time: begin,
                pairing,
                origin: row.get(4)?,
                more: count.saturating_sub(2),
            });
            if end > begin || count > 1 {
                ends.push(SpanEnd { time: end, pairing, origin: row.get(5)?, more: 0 });
            }
        }
        ends.sort_by_key(|end| end.time);
        Ok(ends)
    }

    /// The time without a gap of more than ten minutes around a time within a span: its first and its last sighting.
    pub fn around(
        self,
        database: &Connection,
        (ip, mac): (IpAddr, MacAddr),
        at: UnixTime,
    ) -> rusqlite::Result<Vec<(i64, UnixTime, UnixTime)>> {
        let of_pairing = "WHERE pairing = ?1 AND class = ?2";
        let source = self.source;
        let containing = format!(
            "SELECT first, last FROM {source} {of_pairing} AND first <= ?3 ORDER BY first DESC LIMIT 1"
        );
        let next = format!(
            "SELECT last FROM {source} {of_pairing} AND first > ?3 AND first <= ?4 LIMIT 1"
        );
        let previous = format!(
            "SELECT first, last FROM {source} {of_pairing} AND first < ?3 ORDER BY first DESC LIMIT 1"
        );
        let ids = "SELECT id, place FROM pairing WHERE address = ? AND mac = ?";
        let mut ids = database.prepare_cached(ids)?;
        let ids = ids.query_map(params![bytes(&ip), mac.number() as i64], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let mut found = Vec::new();
        for (pairing, place) in ids.collect::<rusqlite::Result<Vec<(i64, i64)>>>()? {
            for class in
                self.classes(database, pairing)?.into_iter().filter(|class| *class <= LAST_USE)
            {
                let span = |row: &rusqlite::Row| -> rusqlite::Result<(i64, i64)> {
                    Ok((row.get(0)?, row.get(1)?))
                };
                let at = at.as_nanos();
                let containing =
                    database.prepare_cached(&containing)?.query_row([pairing, class, at], span);
                let Some((mut first, mut last)) = containing.optional()?.filter(|span| span.1 > at)
                else {
                    continue;
                };
                for _ in 0..JOINED {
                    let row = [pairing, class, last, last.saturating_add(KEPT_WITHIN)];
                    let next = database.prepare_cached(&next)?.query_row(row, |row| row.get(0));
                    let Some(next) = next.optional()? else { break };
                    last = next;
                }
                for _ in 0..JOINED {
                    let row = [pairing, class, first];
                    let before = database.prepare_cached(&previous)?.query_row(row, span);
                    let is_near = |span: &(i64, i64)| first.saturating_sub(span.1) <= KEPT_WITHIN;
                    let Some((before, _)) = before.optional()?.filter(is_near) else { break };
                    first = before;
                }
                found.push((place, UnixTime::from_nanos(first), UnixTime::from_nanos(last)));
            }
        }
        Ok(found)
    }
}

/// About how many of a span's sightings are in a part of it: at least one.
fn part(count: u64, (first, last): (i64, i64), (begin, end): (i64, i64)) -> u64 {
    let length = |from: i64, to: i64| i128::from(to) - i128::from(from);
    let whole = length(first, last).max(1);
    let part = (i128::from(count) * length(begin, end) + whole / 2) / whole;
    u64::try_from(part).unwrap_or(0).clamp(1 + u64::from(end > begin), count.max(2))
}
