//! The files in LOGDIR. A tracker log is replaced as a whole: the new content goes to a temporary file in the same
//! directory, is synchronized to disk, and is renamed. Users who may write to the directory are trusted; the content of the
//! logs is not.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aw_output::Error;
use aw_service::{
    FileError, FileKind, Wanted, advice, cause, denied, explained, failed, is_at, may_be_given,
    open_own, read_file, sync_directory, try_open_own, unit_forbids_writing, user_name,
};
use jiff::civil::Date;

use crate::local_time::{compact, parse_date};

/// Bytes of a log, at most: two million rows.
const MAX_LOG: u64 = 512 << 20;
/// Logs contain personal data: only the owner and the group may read them. The report has the protection of its directory.
const LOG_MODE: u32 = 0o640;
pub const REPORT_MODE: u32 = 0o644;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogKind {
    /// Devices and their activity, replaced as a whole.
    Tracker,
    /// Unknown devices. This kind and the following ones are appended to.
    Alert,
    /// Changes of router configurations.
    Config,
    Error,
}

impl LogKind {
    const ALL: [LogKind; 4] = [LogKind::Tracker, LogKind::Alert, LogKind::Config, LogKind::Error];

    fn name(self) -> &'static str {
        match self {
            LogKind::Tracker => "tracker",
            LogKind::Alert => "alert",
            LogKind::Config => "config",
            LogKind::Error => "error",
        }
    }
}

/// The name of a log file, such as `macupd_tracker.20261122.log`.
pub fn file_name(kind: LogKind, date: Date) -> String {
    format!("macupd_{}.{}.log", kind.name(), compact(date))
}

fn parse_file_name(file: &str) -> Option<(LogKind, Date)> {
    let (name, date) = file.strip_prefix("macupd_")?.strip_suffix(".log")?.split_once('.')?;
    let kind = LogKind::ALL.into_iter().find(|kind| kind.name() == name)?;
    Some((kind, parse_date(date)?))
}

/// The logs in a directory, sorted by kind and date.
pub fn list_logs(directory: &Path) -> Result<Vec<(LogKind, Date)>, Error> {
    let fault = |error| {
        let error = explained(error, directory, Wanted::Read);
        Error::io(format_args!("list {}", directory.display()), error)
    };
    let mut logs = Vec::new();
    for entry in fs::read_dir(directory).map_err(fault)? {
        logs.extend(entry.map_err(fault)?.file_name().to_str().and_then(parse_file_name));
    }
    logs.sort_unstable();
    Ok(logs)
}

/// The content of a log; empty if the log does not exist.
pub fn read_log(directory: &Path, kind: LogKind, date: Date) -> Result<Vec<u8>, Error> {
    let path = directory.join(file_name(kind, date));
    match read_file(&path, FileKind::State, MAX_LOG) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| Error::io(format_args!("read {}", path.display()), error)),
    }
}

/// Replaces a file. If that fails or is interrupted, the old content stays.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let fault = |error: io::Error| Error::io(format_args!("write {}", path.display()), error);
    let directory =
        path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{file}.new")); // a kill leaves at most this one file
    // Mode 0600 keeps other users from opening and so locking the file before the rename.
    let open = || open_own(&temporary, 0o600, None);
    let remove_and_open = |error| fs::remove_file(&temporary).map_or(Err(error), |()| open());
    // Two processes that write the same file do so one after the other: after the wait for the lock, the second one
    // finds that its temporary file was renamed, and opens another.
    let mut new = loop {
        let new = open().or_else(remove_and_open)?;
        new.lock().map_err(fault)?;
        if is_at(&new, &temporary) {
            break new;
        }
    };
    let written = new
        .set_len(0)
        .and_then(|()| new.write_all(bytes))
        .and_then(|()| new.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| new.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_directory(directory)).map_err(fault)
}

/// The files in a directory that today's logs are written to, and that this user cannot write, with the reason.
pub fn check(directory: &Path, today: Date) -> Vec<String> {
    if directory.metadata().is_ok_and(|found| !found.is_dir()) {
        let directory = directory.display();
        return vec![format!(
            "open directory {directory}: not a directory (choose another directory with --log-dir or LOGDIR)"
        )];
    }
    let logs = LogKind::ALL.map(|kind| file_name(kind, today));
    let files = [".macupd_tracker.lock".to_owned()].into_iter().chain(logs);
    let files = files.map(|file| directory.join(file)).filter(|path| path.exists());
    files.filter_map(|path| open_own(&path, 0o600, None).err()).map(|why| why.to_string()).collect()
}

/// LOGDIR, locked for this process.
pub struct LogDir {
    path: PathBuf,
    _lock: File,
}

impl LogDir {
    /// Opens and locks the directory: two aw-tracker processes would overwrite each other's logs.
    pub fn open(path: &Path) -> Result<LogDir, Error> {
        let shown = path.display();
        let fault = |error| Error::io(format_args!("open directory {shown}"), error);
        let user = user_name();
        // The directory that packages and the unit create, below the one that was named.
        let own = path.join("aw-tracker");
        let of_unit = || unit_forbids_writing(path);
        let with_remedy = |what: String, error: io::Error| match (advice(&error), error.kind()) {
            (
                _,
                ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem,
            ) if !own.is_dir() && of_unit().is_some() => {
                failed(format_args!("{what}: {}", of_unit().unwrap_or_default()))
            }
            (_, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) if own.is_dir() => {
                let (why, own) = (cause(&error), own.display());
                failed(format_args!("{what}: {why} (aw-tracker has its own: --log-dir {own})"))
            }
            (Some(_), _) | (_, ErrorKind::ReadOnlyFilesystem) => Error::io(what, error),
            (None, kind) => {
                let why = cause(&error);
                let why = why.strip_suffix(')').unwrap_or(&why).replacen(" (", ": ", 1);
                let remedy = match kind {
                    ErrorKind::NotFound => format!("sudo install -d -o {user} {shown}"),
                    ErrorKind::PermissionDenied if may_be_given(path) => {
                        format!("sudo chown {user} {shown}")
                    }
                    // One that hides it, or the directory itself.
                    ErrorKind::PermissionDenied => match denied(path, Wanted::Read) {
                        Some(why) if why.contains("may not enter") => why,
                        _ => format!(
                            "it is not for {user} alone: sudo install -d -o {user} /srv/aw-tracker, and --log-dir /srv/aw-tracker"
                        ),
                    },
                    _ => "create it".into(),
                };
                failed(format_args!(
                    "{what}: {why} ({remedy}, or choose another directory with --log-dir or LOGDIR)"
                ))
            }
        };
        fs::read_dir(path)
            .map_err(|error| with_remedy(format!("open directory {shown}"), error))?;
        // The lock is a file of mode 0600: a lock on the directory could be taken by every user who can read it.
        let file = path.join(".macupd_tracker.lock");
        let lock = try_open_own(&file, 0o600, None).map_err(|error| match error {
            FileError::Io(error) => {
                let what = format!("open {}", file.display());
                with_remedy(what, error)
            }
            untrusted => untrusted.of(&file),
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(LogDir { path: path.into(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(failed(format_args!(
                "another aw-tracker writes to {shown} (stop it, or set another LOGDIR)"
            ))),
            Err(fs::TryLockError::Error(error)) => Err(fault(error)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the tracker log of a day.
    pub fn write_tracker_log(&self, date: Date, text: &str) -> Result<(), Error> {
        let path = self.path.join(file_name(LogKind::Tracker, date));
        replace_file(&path, text.as_bytes(), LOG_MODE)
    }

    /// Appends lines to a log: all of them, or none if that fails.
    pub fn append(&self, kind: LogKind, date: Date, text: &str) -> Result<(), Error> {
        let path = self.path.join(file_name(kind, date));
        let fault = |error: io::Error| Error::io(format_args!("write {}", path.display()), error);
        let mut file = open_own(&path, LOG_MODE, None)?;
        let add = |file: &mut File| {
            // If a kill left an incomplete line, the new text begins on a line of its own.
            let end = file.seek(SeekFrom::End(0))?;
            let mut last = [b'\n'];
            if end > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            let newline = if last == *b"\n" { "" } else { "\n" };
            let result =
                file.write_all([newline, text].concat().as_bytes()).and_then(|()| file.sync_data());
            if result.is_err() {
                let _ = file.set_len(end);
            }
            result
        };
        add(&mut file).map_err(fault)
    }

    /// Removes the logs of days before `date`.
    pub fn remove_before(&self, date: Date) -> Result<(), Error> {
        for (kind, day) in list_logs(&self.path)?.into_iter().filter(|(_, day)| *day < date) {
            let path = self.path.join(file_name(kind, day));
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
    fn a_failed_write_keeps_the_old_log() {
        let directory = tempfile::tempdir().unwrap();
        let logs = LogDir::open(directory.path()).unwrap();
        let Err(Error::Failed(why)) = LogDir::open(directory.path()) else {
            panic!("opened twice")
        };
        assert!(why.contains("another aw-tracker"), "{why}");
        let file = "macupd_tracker.20261122.log";
        let temporary = directory.path().join(format!(".{file}.new"));
        fs::write(&temporary, "longer, left by a killed process").unwrap();
        logs.write_tracker_log(date("20261122"), "one\n").unwrap();
        assert_eq!(content(directory.path(), file), "one\n");
        // The temporary file cannot be written: the old log stays.
        fs::create_dir(&temporary).unwrap();
        logs.write_tracker_log(date("20261122"), "two\n").unwrap_err();
        assert_eq!(content(directory.path(), file), "one\n");
        fs::remove_dir(&temporary).unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &temporary).unwrap();
        logs.write_tracker_log(date("20261122"), "two\n").unwrap();
        assert_eq!(content(directory.path(), "victim"), "precious", "links are not followed");
        assert_eq!(
            read_log(directory.path(), LogKind::Tracker, date("20261122")).unwrap(),
            b"two\n"
        );
        let mode = directory.path().join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, LOG_MODE);
        assert_eq!(read_log(directory.path(), LogKind::Tracker, date("20261121")).unwrap(), b"");
    }

    #[test]
    fn append_begins_on_a_new_line() {
        let directory = tempfile::tempdir().unwrap();
        let logs = LogDir::open(directory.path()).unwrap();
        let file = "macupd_alert.20261122.log";
        logs.append(LogKind::Alert, date("20261122"), "one\ntwo\n").unwrap();
        fs::write(directory.path().join(file), "one\nincomplete li").unwrap();
        logs.append(LogKind::Alert, date("20261122"), "three\n").unwrap();
        assert_eq!(content(directory.path(), file), "one\nincomplete li\nthree\n");
    }

    #[test]
    fn only_logs_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let logs = LogDir::open(directory.path()).unwrap();
        let keep = "macupd_tracker.20261122.log macupd_tracker.2020.log \
            macupd_tracker.20200101.log.gz other.20200101.log stdout.log";
        let go = "macupd_tracker.20261121.log macupd_alert.20200101.log macupd_error.20200101.log";
        let [keep, go] = [keep, go].map(|files| files.split(' ').collect::<Vec<_>>());
        for file in keep.iter().chain(&go) {
            fs::write(directory.path().join(file), "").unwrap();
        }
        assert_eq!(list_logs(directory.path()).unwrap().len(), 4);
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
