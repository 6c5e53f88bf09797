//! `NAME.outage`: exists while the destination is down, for `--health`, which cannot open the spool: since when, why, and
//! how much is queued.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Instant,
};

use aw_service::{Condition, Error, count_of, replace};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use shm_layout::UnixTime;

use crate::{delivery::SAVE_INTERVAL, spool::Spool, state::read_another};

#[derive(Default, Deserialize, Serialize)]
struct OutageRecord {
    /// Seconds since 1970.
    since: i64,
    events: u64,
    bytes: u64,
    why: String,
}

pub(crate) struct OutageFile {
    path: PathBuf,
    record: Option<OutageRecord>,
    written_at: Option<Instant>,
    unwritable: Condition,
}

fn path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.outage"))
}

impl OutageFile {
    /// Beside this spool. An outage before a restart goes on if there are events in the spool.
    pub fn open(spool: &Spool) -> Result<OutageFile, Error> {
        let path = spool.path().with_extension("outage");
        let record = read(&path).ok().flatten();
        let mut file =
            OutageFile { path, record, written_at: None, unwritable: Default::default() };
        if spool.is_empty()? {
            file.end();
        }
        Ok(file)
    }

    /// The destination is down.
    pub fn begin(&mut self, why: &str, spool: &Spool) {
        let record = self.record.get_or_insert_default();
        if record.since == 0 {
            record.since = UnixTime::now().seconds();
        }
        let is_new = record.why != why;
        if is_new {
            record.why = why.into();
        }
        self.update(spool, is_new);
    }

    /// Writes how much is queued, if the last time was some seconds ago.
    pub fn update(&mut self, spool: &Spool, at_once: bool) {
        let is_due = self.written_at.is_none_or(|at| at.elapsed() >= SAVE_INTERVAL);
        let Some(record) = self.record.as_mut().filter(|_| at_once || is_due) else { return };
        let wal = PathBuf::from(format!("{}-wal", spool.path().display()));
        let bytes = [spool.path(), &wal].map(|file| file.metadata().map_or(0, |file| file.len()));
        (record.events, record.bytes) = (spool.events(), bytes.iter().sum());
        self.written_at = Some(Instant::now());
        let text = serde_json::to_vec(record).unwrap_or_default();
        match replace(&self.path, &self.path.with_extension("outage-new"), 0o640, &text) {
            Ok(()) => {
                self.unwritable.ends(format_args!("{} can be written again", self.path.display()))
            }
            Err(Error::Failed(why)) => {
                self.unwritable.begins(format_args!("{why}: --health does not report the outage"));
            }
            Err(Error::Closed) => {}
        }
    }

    /// The destination is back.
    pub fn end(&mut self) {
        self.record = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                self.unwritable.begins(format_args!(
                    "remove {}: {}: --health reports an outage that is over",
                    self.path.display(),
                    aw_service::cause(&error)
                ))
            }
            _ => self.unwritable = Condition::default(),
        }
    }
}

fn read(path: &Path) -> Result<Option<OutageRecord>, String> {
    let Some(bytes) = read_another(path)? else { return Ok(None) };
    let record = serde_json::from_slice(&bytes);
    record.map(Some).map_err(|error| {
        format!("read {}: {error} (does the program have the same release?)", path.display())
    })
}

/// What the output of this name reports about its destination, if that is down.
pub(crate) fn outage_of(directory: &Path, name: &str) -> Result<Option<String>, String> {
    let Some(OutageRecord { since, events, bytes, why }) = read(&path(directory, name))? else {
        return Ok(None);
    };
    let seconds = UnixTime::now().seconds().saturating_sub(since).max(0);
    let since = Timestamp::from_second(since).unwrap_or_default().to_zoned(TimeZone::system());
    let since = since.strftime("%Y-%m-%d %H:%M:%S");
    let events = count_of(events, "event", "events");
    Ok(Some(format!(
        "{name} is queueing since {since}, {seconds} s ago: {events}, {bytes} bytes: {why}"
    )))
}
