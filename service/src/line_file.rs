//! A file with a line of JSON for each thing that was reported, which members of the group may read: the newest lines, in two
//! files of a bounded size.

use std::{
    fs::{File, rename},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{Condition, Error, FileKind, read_file_text, replace, try_open_own};

/// The file of the program that writes it.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    most: u64,
    unwritable: Condition,
}

impl LineFile {
    /// A file that is renamed at so many bytes.
    pub fn new(path: PathBuf, most: u64) -> LineFile {
        LineFile { path, most, unwritable: Condition::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines, without their ends. They are for people who look: that they cannot be written is logged, and no fault of
    /// the program.
    pub fn append(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let path = self.path.display();
        match self.try_append(lines) {
            Ok(()) => self.unwritable.ends(format_args!("{path} can be written again")),
            Err(error) => self.unwritable.begins(format_args!("{error}: aw-web does not show it")),
        }
    }

    fn try_append(&self, lines: &[String]) -> Result<(), Error> {
        let failure = |error| Error::io(format_args!("write to {}", self.path.display()), error);
        let open = || try_open_own(&self.path, 0o640, None).map_err(|error| error.of(&self.path));
        let mut file = open()?;
        if file.metadata().map_err(failure)?.len() >= self.most {
            rename(&self.path, before(&self.path)).map_err(failure)?;
            file = open()?;
        }
        append(&file, lines).map_err(failure)
    }

    /// The lines of such a file, the oldest first and each once, whether they are in one file or the other; none if there is no
    /// file. A writer that was killed may have written a line twice.
    pub fn read(path: &Path, most: u64) -> io::Result<Vec<String>> {
        let mut lines: Vec<String> = Vec::new();
        for path in [&before(path), path] {
            match read_file_text(path, FileKind::State, 2 * most) {
                Ok(text) => lines.extend(text.lines().map(str::to_owned)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        lines.dedup();
        Ok(lines)
    }

    /// Keeps only the lines that `keep` admits: they are too old, for example.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> Result<(), Error> {
        for path in [before(&self.path), self.path.clone()] {
            let text = match read_file_text(&path, FileKind::State, 2 * self.most) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Error::io(format_args!("read {}", path.display()), error));
                }
            };
            let kept: String = text.split_inclusive('\n').filter(|line| keep(line)).collect();
            if kept.len() < text.len() {
                let new = path.with_added_extension("new");
                replace(&path, &new, 0o640, kept.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// The older lines.
fn before(path: &Path) -> PathBuf {
    path.with_added_extension("1")
}

/// After a crash or on a full disk the last line may be incomplete: they begin on a new one.
fn append(file: &File, lines: &[String]) -> io::Result<()> {
    let end = file.metadata()?.len();
    let mut last = [b'\n'];
    if let Some(at) = end.checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    let mut text = if last == [b'\n'] { String::new() } else { "\n".into() };
    for line in lines {
        text.extend([line, "\n"]);
    }
    file.write_all_at(text.as_bytes(), end)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn lines(numbers: std::ops::Range<u32>) -> Vec<String> {
        numbers.map(|number| format!("{{\"number\":{number}}}")).collect()
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.reported");
        assert!(LineFile::read(&path, 64).unwrap().is_empty());
        let mut file = LineFile::new(path.clone(), 64);
        for number in 0..20 {
            file.append(&lines(number..number + 1));
        }
        let found = LineFile::read(&path, 64).unwrap();
        assert_eq!(found, lines(20 - found.len() as u32..20));
        assert!((5..=10).contains(&found.len()), "{found:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o137, 0, "the group reads it");
        file.retain(|line| line.contains("19")).unwrap();
        assert_eq!(LineFile::read(&path, 64).unwrap(), lines(19..20));
    }

    #[test]
    fn after_a_kill() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.reported");
        fs::write(&path, "{\"number\":1}\n{\"num").unwrap();
        let mut file = LineFile::new(path.clone(), 1000);
        file.append(&lines(2..3));
        file.append(&lines(2..3));
        let expected = ["{\"number\":1}", "{\"num", "{\"number\":2}"];
        assert_eq!(LineFile::read(&path, 1000).unwrap(), expected);
        // What cannot be written stops nothing.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        file.append(&lines(3..4));
        assert!(file.unwritable.is_present());
        fs::remove_dir(&path).unwrap();
        file.append(&lines(4..5));
        assert!(!file.unwritable.is_present());
    }
}
