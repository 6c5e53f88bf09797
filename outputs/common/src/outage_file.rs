//! `NAME.outage`: not empty while the destination is down, for `--health`, which cannot open the spool: since when, why,
//! and how much is queued.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Instant,
};

use aw_service::{Condition, Error, count_of};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use shm_layout::UnixTime;

use crate::{
    delivery::SAVE_INTERVAL,
    spool::Spool,
    state::{MAX_STATE, open_in, read_another},
};

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
    /// Open from the start on, so that an outage needs no further descriptor. None if it cannot be written.
    file: Option<File>,
    record: Option<OutageRecord>,
    /// Bytes of the file.
    length: usize,
    written_at: Option<Instant>,
    unwritable: Condition,
}

fn path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.outage"))
}

impl OutageFile {
    /// Beside this spool. An outage before a restart continues if there are events in the spool.
    pub fn open(spool: &Spool) -> Result<OutageFile, Error> {
        let path = spool.path().with_extension("outage");
        let record = read(&path).ok().flatten();
        let mut unwritable = Condition::default();
        let file = match open_in(&path, 0o640) {
            Ok(file) => Some(file),
            Err(Error::Failed(why)) => {
                unwritable.begins(format_args!("{why}: --health reports no outage"));
                None
            }
            Err(closed) => return Err(closed),
        };
        let length = file.as_ref().and_then(|file| file.metadata().ok());
        let length = length.map_or(0, |file| file.len().min(MAX_STATE) as usize);
        let mut file = OutageFile { path, file, record, length, written_at: None, unwritable };
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
        let mut text = serde_json::to_vec(record).unwrap_or_default();
        // In one call, over all of the old text: a reader finds one or the other.
        self.length = self.length.max(text.len());
        text.resize(self.length, b' ');
        self.write(|file| file.write_all_at(&text, 0));
    }

    /// The destination is back.
    pub fn end(&mut self) {
        self.record = None;
        if self.length > 0 {
            self.length = 0;
            self.write(|file| file.set_len(0));
        }
    }

    fn write(&mut self, write: impl FnOnce(&File) -> io::Result<()>) {
        let Some(file) = &self.file else { return };
        let path = self.path.display();
        match write(file) {
            Ok(()) => self.unwritable.ends(format_args!("{path} can be written again")),
            Err(error) => self.unwritable.begins(format_args!(
                "write {path}: {}: --health reports the last state of the destination that it has",
                aw_service::cause(&error)
            )),
        }
    }
}

fn read(path: &Path) -> Result<Option<OutageRecord>, String> {
    let Some(bytes) = read_another(path)?.filter(|bytes| !bytes.is_empty()) else {
        return Ok(None);
    };
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
