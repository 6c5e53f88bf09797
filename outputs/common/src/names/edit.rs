//! Writes a name to the file of names: a user of another program may read or write it at the same time.

mod text;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use aw_service::{
    Error, FileError, FileKind, Wanted, denied, failed, info, is_at, is_hidden, move_away,
    open_existing, open_file, read_file, read_opened, sync_directory, try_open_own,
};
use rustix::{
    fs::{Access, FlockOperation, access, fgetxattr, flock},
    io::Errno,
};
use shm_layout::MacAddr;

use self::text::{MARKS, edited};
use super::{MAX_FILE, MAX_NAME, is_config_directory};

/// How long another writer is waited for, and one that replaces the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const NEW_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the file is read again, because another process has changed it.
const MAX_TRIES: usize = 20;
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
const NEW_MODE: u32 = 0o644;

/// How a name was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The file has been replaced: all programs see the old one or the new one.
    Replaced,
    /// The file has been written in place, for this reason.
    InPlace(&'static str),
    /// It was so already.
    Unchanged,
}

/// Whether a text can be a name; why not.
pub fn is_name(name: &str) -> Result<(), String> {
    let why = match name.chars().find(|c| c.is_control() || is_hidden(*c)) {
        Some(bad) => {
            format!("it contains the character {}, which no name has", bad.escape_unicode())
        }
        None if name.trim().is_empty() => "it is empty".into(),
        None if name.trim().starts_with('|') => "it begins with |".into(),
        None if name.chars().count() > MAX_NAME => {
            format!("it is longer than {MAX_NAME} characters")
        }
        None => return Ok(()),
    };
    Err(format!("not a name: {why}"))
}

/// Sets or removes the name of a device in a file, which is created if it does not exist. All other lines, comments, owner,
/// group and mode stay. A link is followed if no other user may have placed it.
pub fn write_name(path: &Path, mac: MacAddr, name: Option<&str>) -> Result<Written, Error> {
    let name = name.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" "));
    let failure =
        |error| Error::io(format_args!("write {}", path.display()), explained(error, path));
    let path = match target(path).map_err(failure)? {
        (path, true) => path,
        (_, false) if name.is_none() => return Ok(Written::Unchanged),
        (path, false) => {
            create(&path).map_err(failure)?;
            path
        }
    };
    for _ in 0..MAX_TRIES {
        let file = lock(&path).map_err(failure)?;
        let old = read_opened(&file, MAX_FILE).map_err(failure)?;
        if MARKS[1..].iter().any(|mark| old.starts_with(mark)) {
            return Err(failed(format_args!(
                "write {}: it is in UTF-16 (convert it: iconv -f UTF-16 -t UTF-8)",
                path.display()
            )));
        }
        let new = edited(&old, mac, name.as_deref());
        if new == old {
            return Ok(Written::Unchanged);
        }
        if new.len() as u64 > MAX_FILE {
            return Err(failure(io::Error::other("it would be larger than 16 MiB, the maximum")));
        }
        let file = OldFile { path: &path, file, bytes: &old };
        if let Some(written) = file.change(&new).map_err(failure)? {
            return Ok(written);
        }
    }
    Err(failure(io::Error::other("another process changes it again and again (try again)")))
}

/// Tries what [`write_name`] will do, and changes nothing: this user may write the file or, if there is none, its directory.
pub fn check_writable(path: &Path) -> Result<(), Error> {
    let tried = target(path).and_then(|(path, exists)| {
        let wanted = if exists { &*path } else { path.parent().unwrap_or(Path::new("/")) };
        access(wanted, Access::WRITE_OK).map_err(|error| match error {
            Errno::ROFS => io::Error::other(
                "its file system is read-only (with systemd, add ReadWritePaths= of its directory with systemctl edit)",
            ),
            error => explained(error.into(), wanted),
        })
    });
    tried.map_err(|error| {
        Error::io(format_args!("write {}", path.display()), explained(error, path))
    })
}

/// The file itself, without links, and whether it exists.
fn target(path: &Path) -> io::Result<(PathBuf, bool)> {
    let path = std::path::absolute(path)?;
    match path.canonicalize() {
        Ok(target) => {
            drop(open_file(&path, FileKind::Settings)?); // refuses what another user may have placed
            Ok((target, true))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.is_symlink() {
                return Err(io::Error::other(
                    "it is a link that leads nowhere (systemd-tmpfiles --create restores /etc/addrwatch/names; otherwise create its target, or remove it)",
                ));
            }
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(error);
            };
            let resolved = directory.canonicalize().map_err(|_| {
                io::Error::other(format!(
                    "there is no directory {} (create it)",
                    directory.display()
                ))
            })?;
            Ok((resolved.join(name), false))
        }
        Err(error) => Err(error),
    }
}

/// Creates an empty file, unless another process does.
fn create(path: &Path) -> io::Result<()> {
    let created = OpenOptions::new().write(true).create_new(true).mode(NEW_MODE).open(path);
    match created {
        Ok(file) => file.set_permissions(PermissionsExt::from_mode(NEW_MODE)), // whatever the umask
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(explained(error, path)),
    }
}

/// Opens the file, and keeps other writers out until it is closed. They may replace it meanwhile: then the new one is locked.
/// Any user who can read a file can lock it: so nothing depends on this lock, which only spares writers their second try.
fn lock(path: &Path) -> io::Result<File> {
    let (mut end, mut seen) = (Instant::now(), None);
    let waits = |file: &File| {
        let metadata = file.metadata()?;
        let state = Some((metadata.ino(), metadata.len(), metadata.modified().ok()));
        if state != seen {
            (end, seen) = (Instant::now() + LOCK_TIMEOUT, state); // the next one of several writers
        }
        Ok(Instant::now() < end)
    };
    let (file, is_locked) = open_and_lock(path, || open_file(path, FileKind::Settings), waits)?;
    if !is_locked {
        let path = path.display();
        info(format_args!(
            "{path} is written although another process has locked it for 5 s (find it: fuser {path})"
        ));
    }
    Ok(file)
}

/// Opens the file that is to replace another one, which only this user and root may open, and keeps them out.
fn lock_new(path: &Path) -> io::Result<File> {
    let end = Instant::now() + NEW_TIMEOUT;
    let open = || {
        try_open_own(path, 0o600, None).map_err(|error| match error {
            FileError::Untrusted(why) => {
                io::Error::other(format!("{}: {why} ({})", path.display(), move_away(path)))
            }
            FileError::Io(error) => error,
        })
    };
    match open_and_lock(path, open, |_| Ok(Instant::now() < end))? {
        (file, true) => Ok(file),
        (_, false) => {
            let path = path.display();
            let why = format!("another process writes {path} for 10 s (find it: fuser {path})");
            Err(io::Error::other(why))
        }
    }
}

/// Opens and locks a file, again when another one has its name meanwhile, or as long as another process has locked it and this one
/// `waits`. Returns whether it is locked.
fn open_and_lock(
    path: &Path,
    open: impl Fn() -> io::Result<File>,
    mut waits: impl FnMut(&File) -> io::Result<bool>,
) -> io::Result<(File, bool)> {
    loop {
        let file = open()?;
        let waits = waits(&file)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, path) => return Ok((file, true)),
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) if waits => thread::sleep(LOCK_INTERVAL),
            Err(Errno::WOULDBLOCK) => return Ok((file, false)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The file as it was read.
struct OldFile<'a> {
    path: &'a Path,
    file: File,
    bytes: &'a [u8],
}

impl OldFile<'_> {
    /// Replaces it, or else writes in place. Returns None if another process has changed it meanwhile.
    fn change(&self, new: &[u8]) -> io::Result<Option<Written>> {
        match self.replace(new)? {
            Some(Written::InPlace(why)) => {
                let is_written = self.write_in_place(new)?;
                Ok(is_written.then_some(Written::InPlace(why)))
            }
            written => Ok(written),
        }
    }

    /// Whether the name leads to it still, with the same content.
    fn is_current(&self) -> io::Result<bool> {
        let is_same = || Ok(read_file(self.path, FileKind::Settings, MAX_FILE)? == self.bytes);
        if is_at(&self.file, self.path) { is_same() } else { Ok(false) }
    }

    /// Replaces the file if owner, group, mode and access list can stay, or returns why it must be written in place.
    fn replace(&self, bytes: &[u8]) -> io::Result<Option<Written>> {
        let in_place = |why| Ok(Some(Written::InPlace(why)));
        let metadata = self.file.metadata()?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        if metadata.nlink() > 1 {
            return in_place("it has several names");
        }
        match fgetxattr(&self.file, "system.posix_acl_access", &mut [0u8; 0]) {
            Ok(0) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Ok(_) => return in_place("it has an access list"),
            Err(_) => return in_place("it may have an access list"),
        }
        if is_config_directory(directory) {
            return in_place("aw-alert, if it runs, may open no new file of this directory");
        }
        const NOT_WRITABLE: &str = "its directory is not writable";
        if access(directory, Access::WRITE_OK).is_err() {
            return in_place(NOT_WRITABLE);
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let new = self.path.with_file_name(format!(".{name}.new"));
        let mut file = match lock_new(&new) {
            Ok(file) => file,
            Err(error) if is_denied(&error) => return in_place(NOT_WRITABLE),
            Err(error) => return Err(error),
        };
        let written = (|| {
            file.set_len(0)?; // of a process that was killed
            let made = file.metadata()?;
            let owner = (metadata.uid(), metadata.gid());
            if (made.uid(), made.gid()) != owner
                && let Err(error) = fchown(&file, Some(owner.0), Some(owner.1))
            {
                return match is_denied(&error) {
                    true => in_place("its owner could not stay"),
                    false => Err(error),
                };
            }
            file.write_all(bytes)?;
            file.sync_all()?;
            if !self.is_current()? {
                return Ok(None);
            }
            file.set_permissions(metadata.permissions())?;
            fs::rename(&new, self.path)?;
            sync_directory(directory)?;
            Ok(Some(Written::Replaced))
        })();
        if !matches!(written, Ok(Some(Written::Replaced))) {
            let _ = fs::remove_file(&new);
        }
        written
    }

    /// Writes the bytes over the old ones, so that no reader finds an empty file. If that fails, the old ones come back.
    fn write_in_place(&self, new: &[u8]) -> io::Result<bool> {
        let file = open_existing(self.path)?;
        let same = |file: &File| file.metadata().map(|file| (file.dev(), file.ino()));
        if same(&file)? != same(&self.file)? || !self.is_current()? {
            return Ok(false);
        }
        let write = |bytes: &[u8]| {
            file.write_all_at(bytes, 0)?;
            file.set_len(bytes.len() as u64)
        };
        let written = write(new).and_then(|()| file.sync_all());
        written.map(|()| true).inspect_err(|_| drop(write(self.bytes)))
    }
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// What a link leads to, also if its directory may not be entered.
pub(super) fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        let target = path.read_link().unwrap_or_else(|_| path.into());
        path.parent().unwrap_or(Path::new("/")).join(target)
    })
}

/// With the group that this user lacks, or the mode that the file lacks. A link leads to that file.
fn explained(error: io::Error, path: &Path) -> io::Error {
    let why = || denied(&resolved(path), Wanted::Write);
    let why = (error.kind() == ErrorKind::PermissionDenied).then(why).flatten();
    why.map_or(error, |why| io::Error::other(format!("permission denied ({why})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;
    use std::os::unix::fs::symlink;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    /// A link leads to the file that lacks the mode, also if its directory may not be entered.
    #[test]
    fn what_a_link_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().canonicalize().unwrap().join(name);
        symlink("lists/names", at("link")).unwrap();
        symlink("/nowhere/names", at("absolute")).unwrap();
        let found = ["link", "absolute", "file"].map(|name| resolved(&at(name)));
        assert_eq!(found, [at("lists/names"), "/nowhere/names".into(), at("file")]);
    }

    #[test]
    fn what_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        check_writable(&at("names")).unwrap();
        assert!(!at("names").exists(), "nothing is changed");
        fs::write(at("names"), "").unwrap();
        check_writable(&at("names")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        for (name, why) in
            [("dangling", "a link that leads nowhere"), ("none/names", "there is no directory ")]
        {
            let text = check_writable(&at(name)).unwrap_err().to_string();
            assert!(text.starts_with("write /") && text.contains(why), "{text}");
        }
    }

    #[test]
    fn what_is_no_name() {
        is_name("Omas Küche #2 | 台所 👍🏽").unwrap();
        for bad in ["a\nb", "a\u{1b}[2J", "a\u{202e}b", "|a", &"x".repeat(201)] {
            assert!(is_name(bad).unwrap_err().starts_with("not a name: it "), "{bad:?}");
        }
    }

    #[test]
    fn mode_and_links_stay() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let names = |name: &str| crate::names::read_names(&at(name)).unwrap();
        let mode = |name: &str| at(name).metadata().unwrap().mode() & 0o7777;
        assert_eq!(write_name(&at("names"), MAC, None).unwrap(), Written::Unchanged);
        assert!(!at("names").exists());
        assert_eq!(write_name(&at("names"), MAC, Some(" a  b ")).unwrap(), Written::Replaced);
        assert_eq!((names("names"), mode("names")), (Names::from([(MAC, "a b".into())]), 0o644));
        assert_eq!(write_name(&at("names"), MAC, Some("a b")).unwrap(), Written::Unchanged);
        fs::set_permissions(at("names"), PermissionsExt::from_mode(0o660)).unwrap();
        symlink("names", at("link")).unwrap();
        assert_eq!(write_name(&at("link"), MAC, Some("c")).unwrap(), Written::Replaced);
        assert!(at("link").is_symlink() && !at("names").is_symlink());
        assert_eq!((names("names"), mode("names")), (Names::from([(MAC, "c".into())]), 0o660));
        fs::hard_link(at("names"), at("second")).unwrap();
        let written = write_name(&at("names"), MAC, Some("a longer name")).unwrap();
        assert_eq!(written, Written::InPlace("it has several names"));
        write_name(&at("names"), MAC, Some("d")).unwrap();
        assert_eq!(
            names("second"),
            Names::from([(MAC, "d".into())]),
            "shorter, and nothing is left of the longer one"
        );
        symlink("nowhere", at("dangling")).unwrap();
        fs::write(
            at("utf16"),
            "\u{feff}a".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
        )
        .unwrap();
        fs::write(at("all"), "").unwrap();
        fs::set_permissions(at("all"), PermissionsExt::from_mode(0o666)).unwrap();
        for (name, why) in [
            ("dangling", "a link that leads nowhere"),
            ("none/names", "there is no directory "),
            ("utf16", "iconv"),
            ("all", "all users can write to it"),
            ("", "a directory"),
        ] {
            let Err(Error::Failed(text)) = write_name(&at(name), MAC, Some("x")) else {
                panic!("{name}")
            };
            assert!(text.starts_with("write /") && text.contains(why), "{text}");
        }
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 6, "no temporary file is left");
    }
}
