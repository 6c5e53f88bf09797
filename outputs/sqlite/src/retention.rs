//! Deletes sightings, names and configuration changes that are older than `--retention`: pairing by pairing, in
//! small steps. The age of those whose clock was not set is not known: it is counted from the first pass that
//! finds them. Without `--retention`, pairings whose sightings another program has deleted are deleted.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    clock_check::{CLOCK_SET, CLOCK_SET_WITHOUT_RING, ClockState, nanos},
    lease_rows::delete_leases,
    name_rows::delete_names,
    row_writer::RowWriter,
    unreadable::Unreadable,
};

/// Pairings that one step examines, if there is nothing to delete.
const PAIRINGS_PER_STEP: i64 = 1000;
const DAY: Duration = Duration::from_secs(86_400);

/// Rows from this time on are to be deleted, those without a date included.
const UNDATED: i64 = i64::MIN;
/// No row is older.
const NEVER: i64 = i64::MIN;
/// Stands for the configuration changes in the table `undated`: no pairing has this id.
const CHANGES: i64 = 0;

/// Decides when to delete, and remembers how far a pass is.
#[derive(Default)]
pub struct Retention {
    keep: Option<Duration>,
    pass: Option<DeletionPass>,
    /// When the last pass began.
    began: Option<Instant>,
    unreadable: Unreadable,
}

#[derive(Clone, Copy)]
struct DeletionPass {
    before: i64,
    /// The time of the clock when it began.
    now: i64,
    /// The id of the last pairing that was examined.
    pairing: i64,
}

impl Retention {
    pub fn new(days: Option<u32>) -> Self {
        let keep = days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        Retention { keep, ..Retention::default() }
    }

    /// Begins the current pass again: a failure rolled back what it did.
    pub fn restart_pass(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.pairing = 0;
        }
    }

    /// To be called after a fault. Returns the pairing that is left out from now on, if there is one.
    pub fn leave_out(&mut self) -> Option<i64> {
        self.unreadable.add()
    }

    /// Whether sightings are deleted: then the clock matters.
    pub fn is_on(&self) -> bool {
        self.keep.is_some()
    }

    /// The time before which sightings are to be deleted, while a pass is due. A pass begins at the start,
    /// and then after each 24th of the time to keep, at least once a day: so a page of old rows is
    /// written once in a pass, and not for each event.
    pub fn due(&mut self, (wall, state): (i64, ClockState), steady: Instant) -> Option<i64> {
        let Some(keep) = self.keep else { return self.due_without_limit(steady) };
        match state {
            ClockState::Unset | ClockState::Unverified => return None,
            ClockState::Suspended => {
                self.pass = None;
                return None;
            }
            ClockState::Resumed => self.began = None,
            ClockState::Trusted => {}
        }
        let pause = (keep / 24).min(DAY);
        let is_due = self.pass.is_none() && self.began.is_none_or(|began| steady - began >= pause);
        if is_due {
            self.began = Some(steady);
            let before = wall.saturating_sub(nanos(keep));
            self.pass = Some(DeletionPass { before, now: wall, pairing: 0 });
        }
        self.pass.map(|pass| pass.before)
    }

    /// Without `--retention`: a pass at the start and then once a day, which deletes no sighting.
    fn due_without_limit(&mut self, steady: Instant) -> Option<i64> {
        if self.pass.is_none() && self.began.is_none_or(|began| steady - began >= DAY) {
            self.began = Some(steady);
            self.pass = Some(DeletionPass { before: NEVER, now: NEVER, pairing: 0 });
        }
        self.pass.map(|pass| pass.before)
    }

    /// Deletes at most `rows` rows, in the caller's transaction. Returns true if there may be more. Recent sightings must be new
    /// enough: see `Filing::want`.
    pub fn step(
        &mut self,
        database: &Connection,
        writer: &mut RowWriter,
        rows: usize,
    ) -> rusqlite::Result<bool> {
        let Some(pass) = &mut self.pass else { return Ok(false) };
        let mut left = rows;
        let mut recent = None;
        let next = "SELECT id FROM pairing WHERE id > ? ORDER BY id LIMIT 1";
        for _ in 0..PAIRINGS_PER_STEP {
            self.unreadable.examine(None);
            let next = database.prepare_cached(next)?.query_row([pass.pairing], |row| row.get(0));
            let Some(pairing) = next.optional()? else {
                let more = delete_changes(database, pass, left)? == left
                    || delete_names(database, pass.before, left)? == left
                    || delete_leases(database, pass.before, left)? == left
                    || delete_places(database, writer, left)? == left;
                self.pass = self.pass.filter(|_| more);
                return Ok(more);
            };
            if self.unreadable.examine(Some(pairing)) {
                pass.pairing = pairing;
                continue;
            }
            let oldest = oldest_sighting(database, pairing)?;
            let from = oldest_to_delete(database, pass, pairing, oldest)?;
            if let Some(from) = from {
                left -= delete_sightings(database, pass, (pairing, from), left)?;
            }
            if left == 0 {
                return Ok(true); // this pairing may have more
            }
            pass.pairing = pairing;
            if oldest.is_some() && from.is_none() {
                continue;
            }
            let recent: &HashSet<i64> = match &mut recent {
                Some(recent) => recent,
                none => none.insert(recent_pairings(database)?),
            };
            if recent.contains(&pairing) {
                continue;
            }
            // Or all of them were deleted from the view.
            let unused = "DELETE FROM pairing WHERE id = ?1
                AND NOT EXISTS (SELECT 1 FROM sighting WHERE pairing = ?1)
                AND NOT EXISTS (SELECT 1 FROM sighting_span WHERE pairing = ?1)";
            if database.prepare_cached(unused)?.execute([pairing])? > 0 {
                forget_undated(database, pairing, None)?;
                database
                    .prepare_cached("DELETE FROM late_pairing WHERE pairing = ?")?
                    .execute([pairing])?;
                writer.clear_pairings();
            }
        }
        Ok(true)
    }
}

fn oldest_sighting(database: &Connection, pairing: i64) -> rusqlite::Result<Option<i64>> {
    // Other programs may have stored what is no number.
    let oldest = "SELECT CAST(min(time) AS INTEGER) FROM (SELECT min(time) AS time FROM sighting WHERE pairing = ?1
        UNION ALL SELECT min(first) FROM sighting_span WHERE pairing = ?1)";
    database.prepare_cached(oldest)?.query_row([pairing], |row| row.get(0))
}

/// The pairings of recent sightings, which have no index by pairing.
fn recent_pairings(database: &Connection) -> rusqlite::Result<HashSet<i64>> {
    let select = "SELECT DISTINCT CAST(pairing AS INTEGER) FROM recent_sighting";
    let mut select = database.prepare_cached(select)?;
    select.query_map([], |row| row.get(0))?.collect()
}

fn oldest_change(database: &Connection) -> rusqlite::Result<Option<i64>> {
    let oldest = "SELECT CAST(min(time) AS INTEGER) FROM config_change";
    database.prepare_cached(oldest)?.query_row([], |row| row.get(0))
}

/// Deletes the oldest sightings of a pairing from a time on, at most `rows`.
fn delete_sightings(
    database: &Connection,
    pass: &DeletionPass,
    (pairing, from): (i64, i64),
    rows: usize,
) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM sighting WHERE (pairing, time, origin, again) IN (
        SELECT pairing, time, origin, again FROM sighting WHERE pairing = ? AND time >= ? AND time < ?
        ORDER BY time, origin, again LIMIT ?)";
    let row = params![pairing, from, pass.before, rows as i64];
    let mut deleted = database.prepare_cached(delete)?.execute(row)?;
    if deleted < rows {
        deleted += delete_spans(database, pairing, pass.before)?.min(rows - deleted - 1);
    }
    if from == UNDATED {
        forget_undated(database, pairing, oldest_sighting(database, pairing)?)?;
    }
    Ok(deleted)
}

/// Deletes the spans of a pairing that are old, and cuts the one that lasts longer: a pairing has few of them. A span has no sighting
/// at the cut, but some within ten minutes.
fn delete_spans(database: &Connection, pairing: i64, before: i64) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM sighting_span WHERE pairing = ? AND last < ?";
    let deleted = database.prepare_cached(delete)?.execute([pairing, before])?;
    let older = "SELECT EXISTS (SELECT 1 FROM sighting_span WHERE pairing = ? AND first < ?)";
    if !database.prepare_cached(older)?.query_row([pairing, before], |row| row.get(0))? {
        return Ok(deleted);
    }
    // One row, also if another program added spans that overlap. The last origin is that of the last time.
    let part = "max(1 + (last > ?2), CAST(round(count * (1.0 * (last - ?2) / max(last - first, 1))) AS INTEGER))";
    let cut = format!(
        "INSERT OR REPLACE INTO sighting_span (pairing, first, last, count, first_origin, last_origin)
        SELECT pairing, ?2, max(last), sum(CASE WHEN first < ?2 THEN {part} ELSE count END), first_origin, last_origin
        FROM sighting_span WHERE pairing = ?1 AND first <= ?2 GROUP BY pairing"
    );
    database.prepare_cached(&cut)?.execute([pairing, before])?;
    let begun = "DELETE FROM sighting_span WHERE pairing = ? AND first < ?";
    Ok(deleted + database.prepare_cached(begun)?.execute([pairing, before])?)
}

/// Deletes the oldest configuration changes, at most `rows`.
fn delete_changes(
    database: &Connection,
    pass: &DeletionPass,
    rows: usize,
) -> rusqlite::Result<usize> {
    let oldest = oldest_change(database)?;
    let Some(from) = oldest_to_delete(database, pass, CHANGES, oldest)? else { return Ok(0) };
    let delete = "DELETE FROM config_change WHERE rowid IN (
        SELECT rowid FROM config_change WHERE time >= ? AND time < ? ORDER BY time LIMIT ?)";
    let row = params![from, pass.before, rows as i64];
    let deleted = database.prepare_cached(delete)?.execute(row)?;
    if from == UNDATED {
        forget_undated(database, CHANGES, oldest_change(database)?)?;
    }
    Ok(deleted)
}

/// Deletes places that nothing refers to, at most `rows`: a host that forges VLANs leaves many of them.
fn delete_places(
    database: &Connection,
    writer: &mut RowWriter,
    rows: usize,
) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM place WHERE id IN (SELECT id FROM place
        WHERE NOT EXISTS (SELECT 1 FROM pairing WHERE pairing.place = place.id)
        AND id NOT IN (SELECT place FROM config_change)
        AND id NOT IN (SELECT place FROM claimed_name)
        AND id NOT IN (SELECT place FROM address_lease) LIMIT ?)";
    let deleted = database.prepare_cached(delete)?.execute([rows as i64])?;
    if deleted > 0 {
        writer.clear_places();
    }
    Ok(deleted)
}

/// From which time on the clock of a pairing's place counts as set.
pub fn clock_set(database: &Connection, pairing: i64) -> rusqlite::Result<i64> {
    let select =
        "SELECT ring = '' FROM pairing JOIN place ON place.id = place WHERE pairing.id = ?";
    let ringless = database.prepare_cached(select)?.query_row([pairing], |row| row.get(0));
    Ok(if ringless.optional()? == Some(true) { CLOCK_SET_WITHOUT_RING } else { CLOCK_SET })
}

/// Ends the time for which undated rows are kept, if the oldest row that is left has a date.
fn forget_undated(
    database: &Connection,
    pairing: i64,
    oldest: Option<i64>,
) -> rusqlite::Result<()> {
    let set = clock_set(database, pairing)?;
    if oldest.is_none_or(|oldest| oldest >= set) {
        database.prepare_cached("DELETE FROM undated WHERE pairing = ?")?.execute([pairing])?;
    }
    Ok(())
}

/// From which time on rows of a pairing are to be deleted; None if all are new enough. If the clock of the oldest one was
/// not set, it is kept until the retention time has passed since a pass found it.
fn oldest_to_delete(
    database: &Connection,
    pass: &DeletionPass,
    pairing: i64,
    oldest: Option<i64>,
) -> rusqlite::Result<Option<i64>> {
    if pass.before == NEVER {
        return Ok(None);
    }
    let set = match oldest {
        Some(oldest) if oldest < CLOCK_SET => clock_set(database, pairing)?,
        _ => CLOCK_SET,
    };
    if oldest.is_none_or(|oldest| oldest >= set) {
        return Ok(oldest.filter(|oldest| *oldest < pass.before));
    }
    let select = "SELECT CAST(found AS INTEGER) FROM undated WHERE pairing = ?";
    let found = database.prepare_cached(select)?.query_row([pairing], |row| row.get::<_, i64>(0));
    match found.optional()? {
        Some(found) if found < pass.before => return Ok(Some(UNDATED)),
        Some(found) if found <= pass.now => {}
        // The first pass, or the clock was ahead when it began.
        _ => {
            let replace = "REPLACE INTO undated VALUES (?, ?)";
            database.prepare_cached(replace)?.execute([pairing, pass.now])?;
        }
    }
    Ok(Some(set))
}

#[cfg(test)]
mod tests;
