//! Old sightings that aw-sqlite has compacted into spans: those of a pairing from a claim to a later one, with claims in frames of
//! its own at most ten minutes apart. Within a span, a claim is near each time; when exactly is not known.

use std::net::IpAddr;

use aw_database::HistoryRows;
use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::{Evidence, MacAddr, UnixTime};

use super::bytes;
use crate::{
    history_reader::{NearestSightings, TimeRange},
    periods::KEPT_WITHIN,
};

/// Spans of a day each that are joined, at most: thirty years.
const JOINED: usize = 11_000;

/// No span is longer, in nanoseconds: a day.
const LONGEST: i64 = 86_400_000_000_000;

/// The spans of a database.
#[derive(Clone, Copy, Default)]
pub struct Spans {
    /// For `FROM`.
    pub source: &'static str,
}

/// An end of a span in a time range, or a single sighting.
pub struct SpanEnd {
    pub time: i64,
    pub pairing: i64,
    pub origin: i64,
    /// The sightings between this end, if it is the first one, and the other.
    pub more: u64,
    /// The other end, if this is the first one.
    pub until: Option<i64>,
}

impl Spans {
    pub fn new(rows: HistoryRows) -> Spans {
        Spans { source: rows.spans() }
    }

    /// Which spans have a part in a time range: a condition for `WHERE`. None is longer than a day, so that an index finds them.
    pub fn in_range(self, from: &str, to: &str) -> String {
        format!("first > {from} - {LONGEST} AND first < {to} AND last >= {from}")
    }

    /// Adds the spans of a pairing that are nearest to a time. Within a span, the time itself counts.
    pub fn add_nearest(
        self,
        database: &Connection,
        pairing: i64,
        at: UnixTime,
        nearest: &mut NearestSightings,
    ) -> rusqlite::Result<()> {
        let select = |side: &str| {
            let source = self.source;
            format!("SELECT first, last FROM {source} WHERE pairing = ? AND first {side} LIMIT 1")
        };
        let row = [pairing, at.as_nanos()];
        let before = select("<= ? ORDER BY first DESC");
        let before = database.prepare_cached(&before)?.query_row(row, ends).optional()?;
        if let Some((_, last)) = before {
            nearest.before.add(Evidence::Claim, UnixTime::from_nanos(last).min(at), UnixTime::max);
            if last > at.as_nanos() {
                let just_after = UnixTime::from_nanos(at.as_nanos().saturating_add(1));
                nearest.after.add(Evidence::Claim, just_after, UnixTime::min);
                return Ok(());
            }
        }
        let after = select("> ? ORDER BY first");
        let after = database.prepare_cached(&after)?.query_row(row, ends).optional()?;
        if let Some((first, _)) = after {
            nearest.after.add(Evidence::Claim, UnixTime::from_nanos(first), UnixTime::min);
        }
        Ok(())
    }

    /// When the first span begins.
    pub fn first_claim(
        self,
        database: &Connection,
        pairing: i64,
    ) -> rusqlite::Result<Option<UnixTime>> {
        let select = format!("SELECT min(first) FROM {} WHERE pairing = ?", self.source);
        let first = database
            .prepare_cached(&select)?
            .query_row([pairing], |row| row.get::<_, Option<i64>>(0));
        Ok(first?.map(UnixTime::from_nanos))
    }

    /// The ends of the spans of an address in a time range. A span that begins before the range, or ends
    /// after it, is cut: it is seen near its edges, too.
    pub fn ends(
        self,
        database: &Connection,
        ip: IpAddr,
        range: TimeRange,
    ) -> rusqlite::Result<Vec<SpanEnd>> {
        let select = format!(
            "SELECT pairing, first, last, count, first_origin, last_origin FROM {}
            WHERE pairing IN (SELECT id FROM pairing WHERE address = ?1) AND {}",
            self.source,
            self.in_range("?2", "?3")
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
                until: (end > begin).then_some(end),
            });
            if end > begin || count > 1 {
                let origin = row.get(5)?;
                ends.push(SpanEnd { time: end, pairing, origin, more: 0, until: None });
            }
        }
        Ok(ends)
    }

    /// The time without a gap of more than ten minutes around a time within a span: its first and its last sighting.
    pub fn around(
        self,
        database: &Connection,
        (ip, mac): (IpAddr, MacAddr),
        at: UnixTime,
    ) -> rusqlite::Result<Vec<(i64, UnixTime, UnixTime)>> {
        let source = self.source;
        let containing = format!(
            "SELECT first, last FROM {source} WHERE pairing = ? AND first <= ? ORDER BY first DESC LIMIT 1"
        );
        let next = format!(
            "SELECT last FROM {source} WHERE pairing = ? AND first > ? AND first <= ? LIMIT 1"
        );
        let previous = format!(
            "SELECT first, last FROM {source} WHERE pairing = ? AND first < ? ORDER BY first DESC LIMIT 1"
        );
        let ids = "SELECT id, place FROM pairing WHERE address = ? AND mac = ?";
        let mut ids = database.prepare_cached(ids)?;
        let ids = ids.query_map(params![bytes(&ip), mac.number() as i64], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let mut found = Vec::new();
        for (pairing, place) in ids.collect::<rusqlite::Result<Vec<(i64, i64)>>>()? {
            let at = at.as_nanos();
            let containing = database.prepare_cached(&containing)?.query_row([pairing, at], ends);
            let Some((mut first, mut last)) = containing.optional()?.filter(|span| span.1 > at)
            else {
                continue;
            };
            for _ in 0..JOINED {
                let row = [pairing, last, last.saturating_add(KEPT_WITHIN)];
                let next = database.prepare_cached(&next)?.query_row(row, |row| row.get(0));
                let Some(next) = next.optional()? else { break };
                last = next;
            }
            for _ in 0..JOINED {
                let before = database.prepare_cached(&previous)?.query_row([pairing, first], ends);
                let is_near = |span: &(i64, i64)| first.saturating_sub(span.1) <= KEPT_WITHIN;
                let Some((before, _)) = before.optional()?.filter(is_near) else { break };
                first = before;
            }
            found.push((place, UnixTime::from_nanos(first), UnixTime::from_nanos(last)));
        }
        Ok(found)
    }
}

/// The first and the last time of a span.
fn ends(row: &rusqlite::Row) -> rusqlite::Result<(i64, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// About how many of a span's sightings are in a part of it: at least one.
fn part(count: u64, (first, last): (i64, i64), (begin, end): (i64, i64)) -> u64 {
    let length = |from: i64, to: i64| i128::from(to) - i128::from(from);
    let whole = length(first, last).max(1);
    let part = (i128::from(count) * length(begin, end) + whole / 2) / whole;
    u64::try_from(part).unwrap_or(0).clamp(1 + u64::from(end > begin), count.max(2))
}
