//! Opens files that another user or program may have placed or changed: every file that a program reads is opened here,
//! except databases and rings, and except those of the kernel and the system in /proc, /sys and /etc.
//!
//! A file must be regular, so that a named pipe blocks no program, and has a maximum size, so that `/dev/zero` and sparse
//! files use up no memory. In a directory that all users can write to, such as /tmp, any user may have placed the name:
//! there, a file, directory or link must belong to root, to this user, or to the user who called sudo. In other
//! directories their owners decide who writes what. Users who can write to the directory of a program are trusted as far
//! as the content goes, and not further.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, FileType, Metadata},
    io::{self, ErrorKind, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use crate::{
    access::{Wanted, explained},
    info,
};
use rustix::{
    fs::{Mode, OFlags, fcntl_setfl, open},
    io::Errno,
    process::{getegid, geteuid, getgroups},
};

/// What a file is read as, which decides what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// It decides what the program does: a configuration, a list of names, a secret, an import. Links are followed; not
    /// all users may be able to write to it. A pipe is read if this process got it from its parent, as `/dev/stdin` or
    /// `<(command)`, and `/dev/null` is empty.
    Settings,
    /// The same for a password or token: other users may not even be able to read it.
    Secret,
    /// What this program or another one wrote: states, logs, queues. Links are not followed.
    State,
    /// A capture that the user named. Its content may be hostile, so the file may belong to any user, as a capture in /tmp
    /// belongs to the user of tcpdump. It may be a named pipe, too: then this waits until a process writes to it, as the
    /// user expects.
    Capture,
}

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;
const WRITABLE_BY_ALL: u32 = 0o002;
/// Linux, admin-guide/devices.txt.
const DEV_NULL: u64 = 0x103;

/// Opens a file for reading.
pub fn open_file(path: &Path, kind: FileKind) -> io::Result<File> {
    let found = || match kind {
        FileKind::State => Ok((path.to_owned(), is_shared(directory(path))?)),
        FileKind::Capture => Ok((resolve(path, true)?.0, false)),
        _ => resolve(path, false),
    };
    let (path, is_shared) = found().map_err(|error| explained(error, path, Wanted::Read))?;
    let is_inherited = path.starts_with("/proc");
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, !is_inherited);
    flags.set(OFlags::NONBLOCK, kind != FileKind::Capture);
    let remedy = match kind {
        FileKind::State => crate::move_away(&path),
        _ => "name another file".into(),
    };
    let file = open(&path, flags, Mode::empty()).map(File::from).map_err(|error| match error {
        Errno::LOOP => refused("it is a link, and links are not followed (replace it by a file)"),
        error => match path.symlink_metadata().map(|file| file.file_type().is_socket()) {
            Ok(true) => refused(format!("it is a socket, not a regular file ({remedy})")),
            _ => explained(error.into(), &path, Wanted::Read),
        },
    })?;
    let metadata = file.metadata()?;
    if is_shared {
        check_owner(&path, &metadata)?; // it may have been replaced since `resolve`
    }
    let (found, is_null) = (metadata.file_type(), metadata.rdev() == DEV_NULL);
    let is_readable = match kind {
        _ if found.is_file() => true,
        FileKind::State => false,
        FileKind::Capture => !found.is_block_device(),
        _ => found.is_fifo() && is_inherited || found.is_char_device() && is_null,
    };
    if let Some(why) = not_regular(found).filter(|_| !is_readable) {
        return Err(refused(format!("{why} ({remedy})")));
    }
    let others = |bits: u32| found.is_file() && metadata.mode() & bits != 0;
    let path = path.display();
    match kind {
        FileKind::Settings if others(WRITABLE_BY_ALL) => {
            return Err(refused(format!("all users can write to it (chmod o-w {path})")));
        }
        FileKind::Secret if others(0o007) => {
            // A service that is not its owner could not read it then.
            let (user, of_group) = (geteuid(), is_of_group(metadata.gid()));
            let may_read = user.is_root()
                || metadata.uid() == user.as_raw()
                || metadata.mode() & 0o040 != 0 && of_group;
            let remedy = match may_read {
                true => format!("chmod o= {path}"),
                false => format!("chown {} {path}; chmod 600 {path}", crate::user_name()),
            };
            return Err(refused(format!("other users may read or write it ({remedy})")));
        }
        _ => {}
    }
    if found.is_fifo() {
        fcntl_setfl(&file, OFlags::empty())?;
    }
    Ok(file)
}

fn is_of_group(group: u32) -> bool {
    getegid().as_raw() == group
        || getgroups().unwrap_or_default().iter().any(|one| one.as_raw() == group)
}

/// The content of a file of at most `most` bytes.
pub fn read_file(path: &Path, kind: FileKind, most: u64) -> io::Result<Vec<u8>> {
    read_opened(&open_file(path, kind)?, most)
}

/// The same for a file that is open already.
pub fn read_opened(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Not by its length alone: files grow, and those of the kernel have none.
    if file.metadata()?.len() <= most {
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= most {
            return Ok(bytes);
        }
    }
    let most = match most {
        0..1_048_576 => format!("{} KiB", most >> 10),
        _ => format!("{} MiB", most >> 20),
    };
    Err(refused(format!("it is larger than {most}, the maximum")))
}

/// The same for a file in UTF-8.
pub fn read_file_text(path: &Path, kind: FileKind, most: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(ErrorKind::InvalidData, "it is not a text in UTF-8");
    String::from_utf8(read_file(path, kind, most)?).map_err(not_text)
}

/// Opens a file or pipe that the user named, to append to it, and creates it if it does not exist. Waits for a process that
/// reads the pipe, and logs that.
pub fn open_append(path: &Path, mode: u32) -> io::Result<File> {
    let path = match resolve(path, false) {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        resolved => resolved.map_err(|error| explained(error, path, Wanted::Write))?.0,
    };
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).mode(mode);
    match options.clone().custom_flags(OFlags::NONBLOCK.bits() as i32).open(&path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {
            if path.metadata().is_ok_and(|file| file.file_type().is_socket()) {
                return Err(refused("it is a socket, not a regular file (name another file)"));
            }
            let path = path.display();
            info(format_args!("{path} is a pipe that no process reads: waiting for one that does"));
        }
        opened => {
            let file = opened.map_err(|error| explained(error, &path, Wanted::Write))?;
            fcntl_setfl(&file, OFlags::APPEND)?;
            return Ok(file);
        }
    }
    options.open(path)
}

/// Opens a regular file that exists, to write over what it has. A link is not followed: the path is that of the file itself.
pub fn open_existing(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = open(path, flags, Mode::empty()).map(File::from).map_err(|error| match error {
        Errno::LOOP => refused("it is a link, and links are not followed (name its target)"),
        error => explained(error.into(), path, Wanted::Write),
    })?;
    let metadata = file.metadata()?;
    if is_shared(directory(path))? {
        check_owner(path, &metadata)?;
    }
    not_regular(metadata.file_type()).map_or(Ok(file), |why| Err(refused(why)))
}

/// Writes the entries of a directory to the disk, after a file in it was renamed.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}

/// What a file is, if it is not a regular one.
pub(crate) fn not_regular(kind: FileType) -> Option<String> {
    let what = match kind {
        _ if kind.is_file() => return None,
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a link",
        _ => "a device",
    };
    Some(format!("it is {what}, not a regular file"))
}

/// The directory of a file.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

/// Whether all users can create files in a directory.
fn is_shared(directory: &Path) -> io::Result<bool> {
    Ok(directory.metadata()?.mode() & WRITABLE_BY_ALL != 0)
}

/// Checks the owner of an entry of a directory that all users can write to.
fn check_owner(path: &Path, entry: &Metadata) -> io::Result<()> {
    let owner = entry.uid();
    let sudo = || env::var("SUDO_UID").is_ok_and(|user| user.parse() == Ok(owner));
    let user = geteuid();
    if owner == 0 || owner == user.as_raw() || user.is_root() && sudo() {
        return Ok(());
    }
    let place = directory(path).display();
    let (path, me) = (path.display(), if user.is_root() { "root" } else { crate::user_name() });
    Err(refused(format!(
        "{path} belongs to user id {owner}, and any user can create such a file in {place} (move it to another directory, or chown {me} {path})"
    )))
}

/// The path without links, and whether all users can write to the file's directory. Refuses names that another user may
/// have placed, except that of the file itself if `any_file` is set.
fn resolve(path: &Path, any_file: bool) -> io::Result<(PathBuf, bool)> {
    let names = |path: &Path| -> Vec<OsString> {
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut rest = names(&std::path::absolute(path)?);
    let (mut resolved, mut shared, mut links) = (PathBuf::new(), false, 0);
    while let Some(name) = rest.pop() {
        match Path::new(&name).components().next() {
            Some(Component::RootDir) => resolved = "/".into(),
            Some(Component::ParentDir) => drop(resolved.pop()),
            // The links there are the kernel's. They lead to files that a process has open, which have no path.
            _ if resolved.starts_with("/proc") => (resolved, shared) = (resolved.join(name), false),
            _ => {
                shared = is_shared(&resolved)?;
                let entry = resolved.join(name);
                let metadata = entry.symlink_metadata()?;
                let is_last = rest.is_empty() && !metadata.is_symlink();
                if shared && !(is_last && any_file) {
                    check_owner(&entry, &metadata)?;
                }
                if !metadata.is_symlink() {
                    resolved = entry;
                    continue;
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                rest.extend(names(&entry.read_link()?));
            }
        }
    }
    Ok((resolved, shared))
}

#[cfg(test)]
#[path = "read_file/tests.rs"]
mod tests;
