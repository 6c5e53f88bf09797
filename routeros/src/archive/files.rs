//! Files of the archive: replaced as a whole, appended to line by line, and cut at their old end.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Seek, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aw_service::{FileKind, open_append, open_file};
use jiff::Timestamp;

/// Creates a directory and its parents, accessible only to the user of this process.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_then_rename(&temporary(path), path, |file| file.write_all(bytes))
}

/// The name under which the new content of a file is written.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Writes a file under a temporary name and renames it once it is complete and on disk.
pub fn write_then_rename(
    temporary: &Path,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    found(fs::remove_file(temporary))?; // of a process that was killed
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let mut file = BufWriter::new(file);
    write(&mut file)?;
    file.into_inner()?.sync_all()?;
    fs::rename(temporary, path)
}

/// Appends lines. If the last line is incomplete after a crash or a full disk, they begin on a new line.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = open_append(path, 0o600)?;
    let mut last = [b'\n'];
    if let Some(end) = file.metadata()?.len().checked_sub(1) {
        open_file(path, FileKind::State)?.read_exact_at(&mut last, end)?;
    }
    if last == [b'\n'] {
        file.write_all(bytes)?; // in one call, so that another writer's lines do not come between
    } else {
        file.write_all(&[b"\n", bytes].concat())?;
    }
    Ok(file)
}

/// `None` if the file does not exist.
pub fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The time at the beginning of a line; lines without one, such as those of a diff, belong to the line before.
pub fn first_word(line: &str) -> Option<Timestamp> {
    let starts = line.starts_with(|c: char| c.is_ascii_digit());
    line.split(' ').next().filter(|_| starts)?.parse().ok()
}

/// Removes lines from before `since`: each line that has a time, with the lines after it that have none. An empty file
/// is removed. Reads line by line: the file may have grown for years.
pub fn remove_lines_before(
    path: &Path,
    since: Timestamp,
    time: impl Fn(&str) -> Option<Timestamp>,
) -> io::Result<()> {
    let Some(file) = found(open_file(path, FileKind::State))? else { return Ok(()) };
    let mut old = BufReader::new(file);
    let mut line = Vec::new();
    let is_old = |line: &[u8]| time(&String::from_utf8_lossy(line)).map(|time| time < since);
    old.read_until(b'\n', &mut line)?;
    // The first line is the oldest, unless it has no time or a time in the future, from a wrong clock.
    let now = Timestamp::now();
    let is_oldest = time(&String::from_utf8_lossy(&line)).filter(|time| *time <= now).is_some();
    while is_old(&line) != Some(true) {
        if is_oldest || line.is_empty() {
            return Ok(());
        }
        line.clear();
        old.read_until(b'\n', &mut line)?;
    }
    old.rewind()?;
    line.clear();
    old.read_until(b'\n', &mut line)?;
    let (mut keeps, mut is_empty) = (false, true);
    write_then_rename(&temporary(path), path, |new| {
        while !line.is_empty() {
            keeps = is_old(&line).map_or(keeps, |old| !old);
            if keeps {
                new.write_all(&line)?;
                is_empty = false;
            }
            line.clear();
            old.read_until(b'\n', &mut line)?;
        }
        Ok(())
    })?;
    if is_empty { fs::remove_file(path) } else { Ok(()) }
}
