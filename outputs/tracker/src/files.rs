//! The files of LOGDIR. A tracker's log is always whole: it is written beside its place, made sure of on the disk, and renamed.
//! Whoever may write to the directory is trusted, but for what stands in the logs.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aw_output::Error;
use aw_service::{failed, is_at, open_own};
use jiff::civil::Date;

use crate::{
    calendar::{compact, parse_date},
    journal::Log,
};

/// Logs tell who was where: for the owner and the group. The report is for whoever may see its directory.
const LOG_MODE: u32 = 0o640;
pub const REPORT_MODE: u32 = 0o644;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Tracker,
    Alert,
    Config,
    Error,
}

impl From<Log> for Kind {
    fn from(log: Log) -> Kind {
        match log {
            Log::Alert => Kind::Alert,
            Log::Config => Kind::Config,
            Log::Error => Kind::Error,
        }
    }
}

/// `macupd_tracker.20261122.log` and so on.
pub fn name(kind: Kind, date: Date) -> String {
    let kind = match kind {
        Kind::Tracker => "tracker",
        Kind::Alert => "alert",
        Kind::Config => "config",
        Kind::Error => "error",
    };
    format!("macupd_{kind}.{}.log", compact(date))
}

fn parse(file: &str) -> Option<(Kind, Date)> {
    let (kind, date) = file.strip_prefix("macupd_")?.strip_suffix(".log")?.split_once('.')?;
    let kind = match kind {
        "tracker" => Kind::Tracker,
        "alert" => Kind::Alert,
        "config" => Kind::Config,
        "error" => Kind::Error,
        _ => return None,
    };
    Some((kind, parse_date(date)?))
}

/// The logs that there are, by kind and date.
pub fn list(directory: &Path) -> Result<Vec<(Kind, Date)>, Error> {
    let fault = |error| Error::io(format_args!("list {}", directory.display()), error);
    let mut logs = Vec::new();
    for entry in fs::read_dir(directory).map_err(fault)? {
        logs.extend(entry.map_err(fault)?.file_name().to_str().and_then(parse));
    }
    logs.sort_unstable();
    Ok(logs)
}

/// A log's bytes; none, if there is no such log.
pub fn load(directory: &Path, kind: Kind, date: Date) -> Result<Vec<u8>, Error> {
    let path = directory.join(name(kind, date));
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| Error::io(format_args!("read {}", path.display()), error)),
    }
}

/// Writes a file whole, or not at all.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let fault = |error: io::Error| Error::io(format_args!("write {}", path.display()), error);
    let directory =
        path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{file}.new")); // one is left, at most, whoever is killed when
    // Nobody else can open it, and so lock it, before it has its name. One that is there and cannot be opened goes.
    let open = || open_own(&beside, 0o600, None);
    let reopen = |error| fs::remove_file(&beside).map_or(Err(error), |()| open());
    // One after the other, should two write the same: the second finds that its file was renamed.
    let mut new = loop {
        let new = open().or_else(reopen)?;
        new.lock().map_err(fault)?;
        if is_at(&new, &beside) {
            break new;
        }
    };
    let written = new
        .set_len(0)
        .and_then(|()| new.write_all(bytes))
        .and_then(|()| new.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| new.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.and_then(|()| File::open(directory)?.sync_all()).map_err(fault)
}

/// LOGDIR, which is ours as long as this lives.
pub struct LogDir {
    path: PathBuf,
    _lock: File,
}

impl LogDir {
    /// Takes the directory: two trackers would overwrite each other's logs.
    pub fn open(path: &Path) -> Result<LogDir, Error> {
        let shown = path.display();
        let fault = |error| Error::io(format_args!("open directory {shown}"), error);
        fs::read_dir(path).map_err(fault)?;
        // A file of its own, that nobody else can open: whoever can open the directory could lock it.
        let lock =
            open_own(&path.join(".macupd_tracker.lock"), 0o600, None).map_err(
                |error| match error {
                    Error::Failed(why) => failed(format_args!(
                        "{why} (let this user write to {shown}, or choose another --log-dir)"
                    )),
                    closed => closed,
                },
            )?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(failed(format_args!(
                    "another aw-tracker writes to {shown} (stop it, or choose another --log-dir)"
                )));
            }
            Err(fs::TryLockError::Error(error)) => return Err(fault(error)),
        }
        Ok(LogDir { path: path.into(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tracker's log of a day is this from now on.
    pub fn write(&self, date: Date, text: &str) -> Result<(), Error> {
        write_whole(&self.path.join(name(Kind::Tracker, date)), text.as_bytes(), LOG_MODE)
    }

    /// Adds lines to a log: all or, if the disk is full, none.
    pub fn append(&self, log: Log, date: Date, text: &str) -> Result<(), Error> {
        let path = self.path.join(name(log.into(), date));
        let fault = |error: io::Error| Error::io(format_args!("write {}", path.display()), error);
        let mut file = open_own(&path, LOG_MODE, None)?;
        let add = |file: &mut File| {
            // Killed in the middle of a line: ours begins on its own.
            let end = file.seek(SeekFrom::End(0))?;
            let mut last = [b'\n'];
            if end > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            let whole = if last == *b"\n" { "" } else { "\n" };
            let result =
                file.write_all([whole, text].concat().as_bytes()).and_then(|()| file.sync_data());
            if result.is_err() {
                let _ = file.set_len(end);
            }
            result
        };
        add(&mut file).map_err(fault)
    }

    /// Removes the logs of days before this one.
    pub fn remove_before(&self, date: Date) -> Result<(), Error> {
        for (kind, day) in list(&self.path)?.into_iter().filter(|(_, day)| *day < date) {
            let path = self.path.join(name(kind, day));
            fs::remove_file(&path)
                .map_err(|error| Error::io(format_args!("remove {}", path.display()), error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn date(text: &str) -> Date {
        parse_date(text).unwrap()
    }

    fn content(directory: &Path, file: &str) -> String {
        fs::read_to_string(directory.join(file)).unwrap()
    }

    #[test]
    fn written_whole() {
        let directory = tempfile::tempdir().unwrap();
        let logs = LogDir::open(directory.path()).unwrap();
        let Err(Error::Failed(why)) = LogDir::open(directory.path()) else { panic!("taken twice") };
        assert!(why.contains("another aw-tracker"), "{why}");
        let file = "macupd_tracker.20261122.log";
        fs::write(
            directory.path().join(format!(".{file}.new")),
            "longer, left by one who was killed",
        )
        .unwrap();
        logs.write(date("20261122"), "one\n").unwrap();
        assert_eq!(content(directory.path(), file), "one\n");
        // Where nothing can be written, the old one stays.
        fs::create_dir(directory.path().join(format!(".{file}.new"))).unwrap();
        logs.write(date("20261122"), "two\n").unwrap_err();
        assert_eq!(content(directory.path(), file), "one\n");
        fs::remove_dir(directory.path().join(format!(".{file}.new"))).unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, directory.path().join(format!(".{file}.new"))).unwrap();
        logs.write(date("20261122"), "two\n").unwrap();
        assert_eq!(content(directory.path(), "victim"), "precious", "links are not followed");
        assert_eq!(load(directory.path(), Kind::Tracker, date("20261122")).unwrap(), b"two\n");
        let mode = directory.path().join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, LOG_MODE);
        assert_eq!(load(directory.path(), Kind::Tracker, date("20261121")).unwrap(), b"");
    }

    #[test]
    fn added_to() {
        let directory = tempfile::tempdir().unwrap();
        let logs = LogDir::open(directory.path()).unwrap();
        let file = "macupd_alert.20261122.log";
        logs.append(Log::Alert, date("20261122"), "one\ntwo\n").unwrap();
        fs::write(directory.path().join(file), "one\nhalf a li").unwrap();
        logs.append(Log::Alert, date("20261122"), "three\n").unwrap();
        assert_eq!(content(directory.path(), file), "one\nhalf a li\nthree\n");
    }

    #[test]
    fn only_logs_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let logs = LogDir::open(directory.path()).unwrap();
        let keep = [
            "macupd_tracker.20261122.log",
            "macupd_tracker.2020.log",
            "macupd_tracker.20200101.log.gz",
            "other.20200101.log",
            "stdout.log",
        ];
        let go = [
            "macupd_tracker.20261121.log",
            "macupd_alert.20200101.log",
            "macupd_error.20200101.log",
        ];
        for file in keep.iter().chain(&go) {
            fs::write(directory.path().join(file), "").unwrap();
        }
        assert_eq!(list(directory.path()).unwrap().len(), 4);
        logs.remove_before(date("20261122")).unwrap();
        let left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            left.len() == keep.len() + 1 && keep.iter().all(|file| left.contains(&(*file).into())),
            "{left:?}"
        );
    }
}
