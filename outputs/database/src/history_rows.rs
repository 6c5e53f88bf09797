//! SQL for the rows of aw-sqlite's history that are not in the table `sighting`, for all programs that read it.

use rusqlite::{Connection, Result};

use crate::has_columns;

/// New sightings, which are not filed by pairing yet.
pub const RECENT: &str = "recent_sighting";
/// The columns of that table. The time is `slot - shift`: a slot is the time, or if that is taken, the next one that is free.
pub const RECENT_COLUMNS: [&str; 4] = ["slot", "shift", "pairing", "origin"];
/// A shift is less than this, in nanoseconds: a search for times looks at slots so much later, too.
pub const LONGEST_SHIFT: i64 = 1_000_000_000;
/// How far filing is: the rows of [`RECENT`] from before a slot, up to a pairing and time, are in `sighting` already. Empty
/// while no rows are being filed.
pub const FILING: &str = "recent_filing";
/// The columns of that table.
pub const FILING_COLUMNS: [&str; 3] = ["before", "pairing", "time"];

/// The rows of [`RECENT`] that are not in `sighting`: a condition for `WHERE`.
pub const NOT_FILED: &str = "(recent_sighting.slot >= (SELECT coalesce(max(before), -9223372036854775808) FROM recent_filing)
        OR (recent_sighting.pairing, slot - shift) > (SELECT pairing, time FROM recent_filing))";

/// The rows of [`RECENT`] from a time on and before another one: a condition for `WHERE`.
pub fn recent_between(from: &str, to: &str) -> String {
    format!(
        "slot >= {from} AND slot < {to} + {LONGEST_SHIFT} AND slot - shift >= {from} AND slot - shift < {to}"
    )
}

/// Old sightings, compacted into spans: those of a pairing from a claim to a later one, with claims at most ten minutes apart.
pub const SPAN: &str = "sighting_span";
/// The columns of that table.
pub const SPAN_COLUMNS: [&str; 6] =
    ["pairing", "first", "last", "count", "first_origin", "last_origin"];

/// What devices call themselves. A database of an earlier release does not have it.
pub const CLAIMED: &str = "claimed_name";
/// The columns of that table. The source is a number of `NameSource`, and times are nanoseconds since 1970.
pub const CLAIMED_COLUMNS: [&str; 7] = ["mac", "place", "source", "name", "first", "last", "count"];

/// Until when devices may use addresses. A database of an earlier release does not have it.
pub const LEASE: &str = "address_lease";
/// The columns of that table. Times are nanoseconds since 1970.
pub const LEASE_COLUMNS: [&str; 7] =
    ["address", "mac", "place", "begin", "last", "until", "released"];

/// Where the sightings of a history are beside the table `sighting`. A database of an earlier release has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryRows {
    has_recent: bool,
    has_spans: bool,
}

impl HistoryRows {
    /// What a database has.
    pub fn of(database: &Connection) -> Result<HistoryRows> {
        let has_recent = has_columns(database, RECENT, &RECENT_COLUMNS)?
            && has_columns(database, FILING, &FILING_COLUMNS)?;
        let has_spans = has_columns(database, SPAN, &SPAN_COLUMNS)?;
        Ok(HistoryRows { has_recent, has_spans })
    }

    /// The first table that is missing, or not one of aw-sqlite.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            HistoryRows { has_recent: false, .. } => Some(RECENT),
            HistoryRows { has_spans: false, .. } => Some(SPAN),
            _ => None,
        }
    }

    /// Whether there is a table [`RECENT`].
    pub fn has_recent(self) -> bool {
        self.has_recent
    }

    /// New sightings, as the source of a query: columns `pairing`, `time`, `origin`. They are in the order of time, and have no
    /// index by pairing: a query must read them once, and not for each pairing.
    pub fn recent(self) -> String {
        match self.has_recent {
            true => {
                format!(
                    "(SELECT pairing, slot - shift AS time, origin FROM recent_sighting WHERE {NOT_FILED})"
                )
            }
            false => "(SELECT 0 AS pairing, 0 AS time, 0 AS origin WHERE 0)".into(),
        }
    }

    /// Old sightings that are compacted into spans, as the source of a query: the columns are [`SPAN_COLUMNS`]. They are in the
    /// order of pairings and times.
    pub fn spans(self) -> &'static str {
        match self.has_spans {
            true => SPAN,
            false => {
                "(SELECT 0 AS pairing, 0 AS first, 0 AS last, 0 AS count, 0 AS first_origin,
                0 AS last_origin WHERE 0)"
            }
        }
    }
}
