//! What happened beside the history: the alerts that aw-alert reported, and the changes of configurations that aw-routeros
//! recorded, as both programs keep them for others.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, TryLockError},
    thread,
    time::{Duration, Instant},
};

use aw_routeros::{ReportedChange, masked_changes};
use aw_service::{LineFile, explain_or};
use serde_json::Value as Json;
use shm_layout::UnixTime;

use crate::problem::Problem;

/// The file of aw-alert, and the bytes after which it begins another one.
const REPORTED: &str = "aw-alert/aw-alert.reported";
const MAX_REPORTED: u64 = 1 << 20;
/// Files are read for one question at a time. So long others wait, and how often they look: a file system that does not answer keeps
/// one thread, and not all.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Where both are.
pub struct Records {
    reported: PathBuf,
    archive: PathBuf,
    /// Is held while they are read.
    reading: Mutex<()>,
}

/// What both have.
#[derive(Debug, Default)]
pub struct Found {
    /// Each with its time.
    pub alerts: Vec<(UnixTime, Json)>,
    pub changes: Vec<ReportedChange>,
    /// What cannot be read.
    pub remarks: Vec<String>,
}

impl Records {
    /// In the directory of all outputs, and in the archive of aw-routeros.
    pub fn new(outputs: &Path, archive: &Path) -> Records {
        let (reported, archive) = (outputs.join(REPORTED), archive.into());
        Records { reported, archive, reading: Mutex::new(()) }
    }

    /// All of it. This blocks, and is done in the thread of the question: what waits for a place holds no copy of it.
    pub fn read(&self) -> Result<Found, Problem> {
        self.read_within(PATIENCE)
    }

    fn read_within(&self, patience: Duration) -> Result<Found, Problem> {
        let end = Instant::now() + patience;
        let _held = loop {
            match self.reading.try_lock() {
                Ok(held) => break held,
                Err(TryLockError::Poisoned(held)) => break held.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(Problem::busy(
                        "alerts and configurations are being read for others (try again in some seconds)",
                        5,
                    ));
                }
            }
        };
        Ok(read(&self.reported, &self.archive))
    }
}

fn read(reported: &Path, archive: &Path) -> Found {
    let mut found = Found::default();
    match LineFile::read(reported, MAX_REPORTED) {
        Ok(lines) => found.alerts = lines.iter().filter_map(|line| alert(line)).collect(),
        Err(error) => found.remarks.push(unread("alerts", reported, &error)),
    }
    match masked_changes(archive) {
        Ok(changes) => found.changes = changes,
        // The history has them, too, without their lines.
        Err(error) => found.remarks.push(unread("lines of configurations", archive, &error)),
    }
    found
}

fn alert(line: &str) -> Option<(UnixTime, Json)> {
    let alert: Json = serde_json::from_str(line).ok()?;
    let seconds = alert["seconds"].as_i64()?;
    Some((UnixTime::new(seconds, 0), alert))
}

fn unread(what: &str, path: &Path, error: &io::Error) -> String {
    const REMEDY: &str =
        "(let the user of aw-web enter it: the packages have a group for that, see aw-web(8))";
    format!("no {what} are shown: read {}: {}", path.display(), explain_or(error, REMEDY))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read that does not end costs the others no more than their patience.
    #[test]
    fn one_reads_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(directory.path(), directory.path());
        let held = records.reading.lock().unwrap();
        let refused = records.read_within(Duration::ZERO).unwrap_err();
        assert!(refused.why.contains("try again") && refused.retry_after.is_some());
        drop(held);
        assert!(records.read_within(Duration::ZERO).unwrap().remarks.is_empty());
    }

    #[test]
    fn what_is_not_there_or_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("a");
        let found = read(&at, directory.path());
        assert!(found.alerts.is_empty() && found.changes.is_empty() && found.remarks.is_empty());
        std::fs::write(&at, "{\"seconds\":7}\n{\"seconds\":\"x\"}\n[]\n{\"seco").unwrap();
        let found = read(&at, directory.path());
        assert_eq!(found.alerts.len(), 1);
        let unread = read(directory.path(), &at.join("b"));
        assert!(unread.remarks[0].starts_with("no alerts are shown: read "), "{unread:?}");
    }
}
