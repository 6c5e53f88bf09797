//! Files of this program in directories where other users may have created a file of that name first.

use std::{
    fs::{File, Metadata, rename},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, Uid, open},
    io::Errno,
    process::geteuid,
};

use crate::{
    Error,
    access::{Wanted, explained},
    explain, failed,
    read_file::not_regular,
};

/// Why [`try_open_own`] failed.
#[derive(Debug)]
pub enum FileError {
    /// The file may have been placed there by another user: what is wrong with it.
    Untrusted(String),
    /// The system call failed.
    Io(io::Error),
}

/// Opens a file for reading and writing, and creates it if it does not exist. Another user may have placed
/// a file there to make the program write to it. So a link is not followed, and a file is refused if it is
/// not regular, has a second name, or belongs to a user other than root, this process's user and `owner`,
/// the user that the process is going to run as.
pub fn open_own(path: &Path, mode: u32, owner: Option<Uid>) -> Result<File, Error> {
    try_open_own(path, mode, owner).map_err(|error| error.of(path))
}

/// What to do about what has the name of a file of this program, and may be precious to its owner.
pub fn move_away(path: &Path) -> String {
    let path = path.display().to_string();
    match path.contains(|c: char| !c.is_alphanumeric() && !"/._-+@:".contains(c)) {
        true => {
            let path = path.replace('\'', r"'\''");
            format!("move it away: mv -n '{path}' '{path}.old'")
        }
        false => format!("move it away: mv -n {path} {path}.old"),
    }
}

impl FileError {
    /// As a failure to open this file.
    pub fn of(self, path: &Path) -> Error {
        let why = match self {
            FileError::Untrusted(why) => format!("{why} ({})", move_away(path)),
            FileError::Io(error) => explain(&error),
        };
        failed(format_args!("open {}: {why}", path.display()))
    }
}

/// The same as [`open_own`], for a caller that has its own remedy for errors of the system.
pub fn try_open_own(path: &Path, mode: u32, owner: Option<Uid>) -> Result<File, FileError> {
    let failure = |error: Errno| match error {
        Errno::LOOP => FileError::Untrusted("it is a link, and links are not followed".into()),
        // The kernel opens no socket, and no directory for writing, and says that in other words.
        _ => match path.symlink_metadata().map(|file| not_regular(file.file_type())) {
            Ok(Some(why)) => FileError::Untrusted(why),
            _ => FileError::Io(explained(error.into(), path, Wanted::Write)),
        },
    };
    let flags =
        OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = Mode::from_raw_mode(mode);
    loop {
        // In two steps: with O_CREAT alone the kernel refuses some files of other users even to root
        // (fs.protected_regular), and with O_EXCL an existing file is never opened.
        match open(path, flags, mode) {
            Ok(file) => {
                let file = File::from(file);
                let metadata = file.metadata().map_err(FileError::Io)?;
                return check_owned(&metadata, owner).map(|()| file).map_err(FileError::Untrusted);
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failure(error)),
        }
        match open(path, flags | OFlags::CREATE | OFlags::EXCL, mode) {
            Ok(file) => return Ok(file.into()),
            Err(Errno::EXIST) => {} // created since the first step
            Err(error) => return Err(failure(error)),
        }
    }
}

fn check_owned(file: &Metadata, other: Option<Uid>) -> Result<(), String> {
    let owner = file.uid();
    let trusted = [Uid::ROOT, geteuid(), other.unwrap_or(Uid::ROOT)].map(Uid::as_raw);
    if let Some(why) = not_regular(file.file_type()) {
        Err(why)
    } else if !trusted.contains(&owner) {
        Err(format!("it belongs to user id {owner}"))
    } else if file.nlink() != 1 {
        Err("it has more names than this one".into())
    } else {
        Ok(())
    }
}

/// Replaces a file atomically: a reader finds the old content or the new one, never a part. `new` is
/// the temporary name, in the same directory.
pub fn replace(path: &Path, new: &Path, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    let mut file = open_own(new, mode, None)?;
    file.set_len(0)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| rename(new, path))
        .map_err(|error| Error::write(path.display(), explained(error, path, Wanted::Write)))
}

/// Whether an open file still has this name.
pub fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), path.symlink_metadata()), (Ok(a), Ok(b)) if same(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    /// The remedy is pasted into a shell.
    #[test]
    fn names_are_quoted() {
        let of = |path: &str| move_away(Path::new(path));
        assert_eq!(of("/a/b"), "move it away: mv -n /a/b /a/b.old");
        assert_eq!(of("/a b"), "move it away: mv -n '/a b' '/a b.old'");
        let quoted = r"'/a'\''; x'";
        assert_eq!(
            of("/a'; x"),
            format!("move it away: mv -n {quoted} {}.old'", &quoted[..quoted.len() - 1])
        );
    }

    #[test]
    fn files_of_other_users_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        open_own(&at("new"), 0o644, None).unwrap();
        open_own(&at("new"), 0o644, None).unwrap();
        fs::write(at("victim"), "precious").unwrap();
        symlink(at("victim"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::hard_link(at("victim"), at("second")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::RWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, why) in [
            ("link", "it is a link"),
            ("dangling", "it is a link"),
            ("second", "more names"),
            ("pipe", "it is a pipe, not a regular file"),
            (".", "it is a directory, not a regular file"),
            ("socket", "it is a socket, not a regular file"),
        ] {
            let Err(Error::Failed(text)) = open_own(&at(name), 0o644, None) else {
                panic!("{name}")
            };
            let other = Some(Uid::from_raw(65534));
            open_own(&at("new"), 0o644, other).unwrap();
            assert!(text.contains(why), "{text}");
            let path = at(name).display().to_string();
            let remedy = format!("(move it away: mv -n {path} {path}.old)");
            assert!(text.ends_with(&remedy), "{text}");
        }
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious");
        assert!(!at("nowhere").exists());
        if geteuid().is_root() {
            std::os::unix::fs::chown(at("new"), Some(65534), None).unwrap();
            assert!(
                matches!(open_own(&at("new"), 0o644, None), Err(Error::Failed(why)) if why.contains("65534"))
            );
        }
    }
}
