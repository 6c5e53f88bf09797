//! Why a database cannot be read, and what to do.

use std::{fs, io::ErrorKind, os::unix::fs::MetadataExt, path::Path};

use aw_service::{Error, FileKind, cause, failed, join_group, open_file, unit_hides_history};
use rusqlite::ErrorCode;

pub fn failure(path: &str, error: rusqlite::Error) -> Error {
    if error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
        && let Some(why) = unit_hides_history(Path::new(path))
    {
        return failed(why);
    }
    let (cause, remedy) = match error.sqlite_error_code() {
        _ if Path::new(path).is_dir() => {
            ("it is a directory".into(), "choose a file with --database".into())
        }
        Some(ErrorCode::CannotOpen) => match open_file(Path::new(path), FileKind::Settings) {
            Ok(_) => (error.to_string(), access_remedy(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => (cause(&error), no_file()),
            Err(error) => (cause(&error), access_remedy(path)),
        },
        Some(ErrorCode::DatabaseCorrupt) => {
            (error.to_string(), "repair it with sqlite3's .recover".into())
        }
        _ => return failed(format_args!("read {path}: {error}")),
    };
    match cause.ends_with(')') {
        true => failed(format_args!("read {path}: {cause}")), // it has a remedy of its own
        false => failed(format_args!("read {path}: {cause} ({remedy})")),
    }
}

/// Where the history may be instead.
fn no_file() -> String {
    const START: &str = "start aw-sqlite, which creates it, or choose a file with --database; if it runs, sudo aw-sqlite --check has the reason";
    // Who has switched aw-mysql on has its history there.
    const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/aw-mysql.service";
    match Path::new(ENABLED).is_symlink() {
        true => format!("{START}; that of aw-mysql: aw-query -c /etc/addrwatch/mysql.cnf"),
        false => START.into(),
    }
}

/// What permits this user to read the file: the group of the file, or of the directory that hides it.
fn access_remedy(path: &str) -> String {
    let path = std::path::absolute(path).unwrap_or(path.into());
    let visible = path.ancestors().find_map(|path| fs::metadata(path).ok());
    let group = visible.filter(|file| file.mode() & 0o040 != 0);
    match group.and_then(|file| uzers::get_group_by_gid(file.gid())) {
        Some(group) if group.gid() == 0 => {
            "run as root, or give the file to a group that you are in".into()
        }
        Some(group) => join_group(group.gid()),
        None => "run aw-query as a user who can read it".into(),
    }
}
