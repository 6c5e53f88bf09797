//! `NAME.outage`: blank, or since when the destination is down or the stream cannot be read, why, and how much is queued; for
//! `--health`, which cannot open the spool.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{Condition, Error, count_of, plain};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use shm_layout::UnixTime;

use crate::{
    HealthFault,
    delivery::SAVE_INTERVAL,
    spool::Spool,
    state::{open_in, read_another, state_error},
};

/// Bytes of the file, which it has from the start on: where a file system writes in place (ext4, XFS), an outage because the disk
/// is full needs no further block. Btrfs and ZFS need one.
const SIZE: usize = 4096;
/// Bytes of `why`, at most: in JSON, where some need two, it fits into the file.
const MAX_WHY: usize = 1500;
/// How often a record is read that is being written at this moment.
const TRIES: u32 = 3;

#[derive(Default, Deserialize, Serialize)]
struct OutageRecord {
    /// Seconds since 1970.
    since: i64,
    events: u64,
    bytes: u64,
    why: String,
    /// When the destination is tried again, in seconds since 1970.
    #[serde(default)]
    next_try: i64,
    /// No event is queued because of it: it is one destination of several, or the output has no spool.
    #[serde(default)]
    is_part: bool,
}

pub(crate) struct OutageFile {
    path: PathBuf,
    /// Open from the start on, so that an outage needs no further descriptor. None if it cannot be written.
    file: Option<File>,
    record: Option<OutageRecord>,
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
        let record = if spool.is_empty()? { None } else { read(&path).ok().flatten() };
        Ok(OutageFile::at(path, record))
    }

    /// Of an output without a spool, which queues nothing.
    pub fn without_spool(directory: &Path, name: &str) -> OutageFile {
        OutageFile::at(path(directory, name), None)
    }

    fn at(path: PathBuf, record: Option<OutageRecord>) -> OutageFile {
        let (written_at, unwritable) = Default::default();
        let mut file = OutageFile { path, file: None, record, written_at, unwritable };
        file.write();
        file
    }

    /// The destination is down, and is tried again after `pause`.
    pub fn begin(&mut self, why: &str, spool: &Spool, pause: Duration) {
        let why = plain(why);
        let why = &why[..why.floor_char_boundary(MAX_WHY)];
        self.record.take_if(|record| record.is_part);
        let record = self.record.get_or_insert_default();
        if record.since == 0 {
            record.since = UnixTime::now().seconds();
        }
        record.why = why.into();
        let pause = pause.as_secs_f64().ceil() as u64; // the time of the try is not that of the fault
        record.next_try = UnixTime::now().seconds().saturating_add_unsigned(pause);
        self.update(spool, true);
    }

    /// What hinders events without a queue, such as one of several destinations that is down: since when and why, or nothing does.
    pub fn part(&mut self, stuck: Option<(i64, String)>) {
        let Some((since, why)) = stuck else {
            if self.record.as_ref().is_some_and(|record| record.is_part) {
                self.end();
            }
            return;
        };
        let why = plain(&why);
        let why = &why[..why.floor_char_boundary(MAX_WHY)];
        let is_same =
            |record: &OutageRecord| record.is_part && (record.since, &*record.why) == (since, why);
        if !self.record.as_ref().is_some_and(is_same) {
            let why = why.into();
            self.record =
                Some(OutageRecord { since, why, is_part: true, ..OutageRecord::default() });
            self.write();
        }
    }

    /// When the destination is tried again, as a part of a sentence, and why it is down.
    pub fn next_try(&self) -> Option<(String, &str)> {
        self.record.as_ref().map(|record| (next_try(record.next_try), &*record.why))
    }

    /// Writes how much is queued, if the last time was some seconds ago.
    pub fn update(&mut self, spool: &Spool, at_once: bool) {
        let is_due = self.written_at.is_none_or(|at| at.elapsed() >= SAVE_INTERVAL);
        let Some(record) = self.record.as_mut().filter(|_| at_once || is_due) else { return };
        let wal = PathBuf::from(format!("{}-wal", spool.path().display()));
        let bytes = [spool.path(), &wal].map(|file| file.metadata().map_or(0, |file| file.len()));
        (record.events, record.bytes) = (spool.events(), bytes.iter().sum());
        self.written_at = Some(Instant::now());
        self.write();
    }

    /// The destination is back.
    pub fn end(&mut self) {
        self.record = None;
        self.write();
    }

    fn write(&mut self) {
        let written = self.try_write();
        let path = self.path.display();
        match written {
            Ok(()) => self.unwritable.ends(format_args!("{path} can be written again")),
            Err(Error::Failed(why)) => self.unwritable.begins(format_args!(
                "{why}: --health reports the last state of the destination that it has"
            )),
            Err(Error::Closed) => {}
        }
    }

    fn try_write(&mut self) -> Result<(), Error> {
        let mut text = self.record.as_ref().and_then(|record| serde_json::to_vec(record).ok());
        let text = text.get_or_insert_default();
        text.resize(SIZE, b' ');
        let file = match self.file.take().filter(|file| is_at(file, &self.path)) {
            Some(file) => file,
            None => open_in(&self.path, 0o640)?,
        };
        let written = file.write_all_at(text, 0).and_then(|()| match file.metadata()?.len() {
            length if length == SIZE as u64 => Ok(()),
            _ => file.set_len(SIZE as u64), // of an earlier release
        });
        self.file = Some(file);
        written.map_err(|error| state_error("write", &self.path, error))
    }
}

/// Whether an open file still has this name: `--health` reads what is there now.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |file: fs::Metadata| (file.dev(), file.ino());
    let at = fs::symlink_metadata(path).map(identity);
    file.metadata().map(identity).is_ok_and(|opened| at.is_ok_and(|at| at == opened))
}

fn read(path: &Path) -> Result<Option<OutageRecord>, String> {
    let mut tries = 0;
    loop {
        let Some(bytes) = read_another(path)? else { return Ok(None) };
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        tries += 1;
        match serde_json::from_slice(&bytes) {
            Ok(record) => return Ok(Some(record)),
            // The file system may return a part of the old record and a part of the new one.
            Err(_) if tries < TRIES => sleep(Duration::from_millis(20)),
            Err(error) => {
                let path = path.display();
                return Err(format!(
                    "read {path}: {error} (does the program have the same release?)"
                ));
            }
        }
    }
}

/// `, next try at 05:07:44`; nothing for a record of an earlier release.
fn next_try(at: i64) -> String {
    match Timestamp::from_second(at) {
        Ok(time) if at > 0 => {
            time.to_zoned(TimeZone::system()).strftime(", next try at %H:%M:%S").to_string()
        }
        _ => String::new(),
    }
}

/// What the output of this name reports about its destination, if that is down.
pub(crate) fn outage_of(directory: &Path, name: &str) -> Result<Option<String>, String> {
    Ok(fault_of(directory, name)?.map(|fault| fault.text))
}

/// The same, if it has a queue.
pub(crate) fn queue_of(directory: &Path, name: &str) -> Result<Option<String>, String> {
    match read(&path(directory, name))? {
        Some(record) if !record.is_part => outage_of(directory, name),
        _ => Ok(None),
    }
}

/// The same as [`outage_of`], with its begin.
pub(crate) fn fault_of(directory: &Path, name: &str) -> Result<Option<HealthFault>, String> {
    let read = read(&path(directory, name))?;
    let Some(OutageRecord { since, events, bytes, why, next_try: at, is_part }) = read else {
        return Ok(None);
    };
    let seconds = UnixTime::now().seconds().saturating_sub(since).max(0);
    let begin = Some(UnixTime::new(since, 0));
    let since = Timestamp::from_second(since).unwrap_or_default().to_zoned(TimeZone::system());
    let since = since.strftime("%Y-%m-%d %H:%M:%S %:z");
    if is_part {
        let text = format!("{}, since {since}, {seconds} s ago", plain(&why));
        return Ok(Some(HealthFault { text, since: begin }));
    }
    // An empty spool has bytes, too.
    let queued = match events {
        0 => "no event yet".to_owned(),
        events => format!("{}, {bytes} bytes", count_of(events, "event", "events")),
    };
    let text = format!(
        "{name} is queueing since {since}, {seconds} s ago: {queued}{}: {}",
        next_try(at),
        plain(&why)
    );
    Ok(Some(HealthFault { text, since: begin }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says is foreign: it is one line, and the record fits, however long it is.
    #[test]
    fn a_long_cause() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), "aw-test", 1 << 20, false).unwrap();
        let mut file = OutageFile::open(&spool).unwrap();
        let outage = || outage_of(directory.path(), "aw-test").unwrap();
        assert_eq!(outage(), None);
        for why in ["\"".repeat(1 << 20), "\u{1b}]0;x\n\u{fc}".repeat(1 << 16)] {
            file.begin(&why, &spool, Duration::from_secs(60));
            let text = outage().unwrap();
            assert!(text.contains(" s ago: no event yet, next try at "), "{text}");
            let status = file.next_try().unwrap().0;
            assert!(text.contains(&format!("{status}: ")), "{status}");
            assert!(text.len() < SIZE && !text.contains(char::is_control), "{text}");
            assert_eq!(file.path.metadata().unwrap().len(), SIZE as u64);
        }
        file.end();
        assert_eq!(outage(), None);
        // One destination of several, until it is back or all of them are down.
        let part = || Some((1_700_000_000, "channel mail: no route".to_owned()));
        for end in [None, part()] {
            file.part(part());
            let text = outage().unwrap();
            assert!(text.starts_with("channel mail: no route, since 2023-11-1"), "{text}");
            let instant = text.split("since ").nth(1).unwrap().split(", ").next().unwrap();
            let parsed = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %:z", instant).unwrap();
            assert_eq!(parsed.to_timestamp().unwrap().as_second(), 1_700_000_000, "{instant}");
            if end.is_some() {
                file.begin("disk full", &spool, Duration::ZERO);
                assert!(outage().unwrap().starts_with("aw-test is queueing since 20"));
                file.end();
            }
            file.part(None);
            assert_eq!(outage(), None);
        }
        // An output without a spool: what an earlier run had is gone.
        file.part(part());
        let mut file = OutageFile::without_spool(directory.path(), "aw-test");
        assert_eq!(outage(), None);
        file.part(part());
        assert!(outage().is_some() && queue_of(directory.path(), "aw-test") == Ok(None));
        // Of an earlier release: empty, or longer.
        for old in [Vec::new(), vec![b' '; 3 * SIZE]] {
            fs::write(&file.path, old).unwrap();
            drop(OutageFile::open(&spool).unwrap());
            assert_eq!(fs::read(&file.path).unwrap(), [b' '; SIZE]);
        }
    }
}
