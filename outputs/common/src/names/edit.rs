//! Writes a name to the file of names: a user of another program may read or write it at the same time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use aw_service::{
    Error, FileKind, Wanted, decode_line, denied, failed, is_at, is_hidden, open_existing,
    open_file, read_opened, split_name_line, sync_directory,
};
use rustix::{
    fs::{FlockOperation, fgetxattr, flock},
    io::Errno,
};
use shm_layout::MacAddr;

use super::{MAX_FILE, MAX_NAME};

/// How long another writer is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
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
    let failure = |error: io::Error| Error::io(format_args!("write {}", path.display()), error);
    let path = match target(path).map_err(failure)? {
        (path, true) => path,
        (_, false) if name.is_none() => return Ok(Written::Unchanged),
        (path, false) => {
            create(&path).map_err(failure)?;
            path
        }
    };
    let file = lock(&path).map_err(failure)?;
    let old = read_opened(&file, MAX_FILE).map_err(failure)?;
    if old.starts_with(b"\xff\xfe") || old.starts_with(b"\xfe\xff") {
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
    match replace(&path, &file, &new).map_err(failure)? {
        None => Ok(Written::Replaced),
        Some(why) => {
            write_in_place(&path, &file, &old, &new).map_err(failure)?;
            Ok(Written::InPlace(why))
        }
    }
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
                    "it is a link that leads nowhere (remove it, or create its target)",
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
fn lock(path: &Path) -> io::Result<File> {
    let end = Instant::now() + LOCK_TIMEOUT;
    loop {
        let file = open_file(path, FileKind::Settings)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, path) => return Ok(file),
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() < end => thread::sleep(LOCK_INTERVAL),
            Err(Errno::WOULDBLOCK) => {
                let why = format!(
                    "another process has locked it for 10 s (find it: fuser {})",
                    path.display()
                );
                return Err(io::Error::other(why));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Replaces the file if owner, group, mode and access list can stay; returns why not.
fn replace(path: &Path, old: &File, bytes: &[u8]) -> io::Result<Option<&'static str>> {
    let metadata = old.metadata()?;
    if metadata.nlink() > 1 {
        return Ok(Some("it has several names"));
    }
    if fgetxattr(old, "system.posix_acl_access", &mut [0u8; 0]).is_ok_and(|size| size > 0) {
        return Ok(Some("it has an access list"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}.new", process::id()));
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let created = create().or_else(|error| match error.kind() {
        // Of an earlier process with this number, which was killed.
        ErrorKind::AlreadyExists => fs::remove_file(&new).and_then(|()| create()),
        _ => Err(error),
    });
    let mut file = match created {
        Ok(file) => file,
        Err(error) if is_denied(&error) => return Ok(Some("its directory is not writable")),
        Err(error) => return Err(error),
    };
    let written = (|| -> io::Result<Option<&'static str>> {
        let made = file.metadata()?;
        let owner = (metadata.uid(), metadata.gid());
        if (made.uid(), made.gid()) != owner
            && let Err(error) = fchown(&file, Some(owner.0), Some(owner.1))
        {
            return if is_denied(&error) {
                Ok(Some("its owner could not stay"))
            } else {
                Err(error)
            };
        }
        file.set_permissions(metadata.permissions())?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_directory(path.parent().unwrap_or(Path::new("/"))).map(|()| None)
    })();
    if !matches!(written, Ok(None)) {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Writes the bytes over the old ones, so that no reader finds an empty file. If that fails, the old ones come back.
fn write_in_place(path: &Path, locked: &File, old: &[u8], new: &[u8]) -> io::Result<()> {
    let file = open_existing(path)?;
    let same = |file: &File| file.metadata().map(|file| (file.dev(), file.ino()));
    if same(&file)? != same(locked)? {
        return Err(io::Error::other("another process has replaced it (try again)"));
    }
    let write = |bytes: &[u8]| {
        file.write_all_at(bytes, 0)?;
        file.set_len(bytes.len() as u64)
    };
    write(new).and_then(|()| file.sync_all()).inspect_err(|_| drop(write(old)))
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// With the group that this user lacks.
fn explained(error: io::Error, path: &Path) -> io::Error {
    let why = denied(path, Wanted::Write).filter(|_| error.kind() == ErrorKind::PermissionDenied);
    why.map_or(error, |why| io::Error::other(format!("permission denied ({why})")))
}

/// The text with another name for a MAC, or without one. All other bytes stay.
fn edited(text: &[u8], mac: MacAddr, name: Option<&str>) -> Vec<u8> {
    let mut edited = Vec::with_capacity(text.len() + 64);
    let mut name = name;
    let mut end: &[u8] = b"\n";
    let (mark, lines) = text.split_at(if text.starts_with(MARKS[0]) { MARKS[0].len() } else { 0 });
    edited.extend_from_slice(mark);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let (body, line_end) = line.split_at(line.len() - end_of_line(line));
        if !line_end.is_empty() {
            end = line_end;
        }
        let Some((own, rest)) = own_line(body, mac) else {
            edited.extend_from_slice(line);
            continue;
        };
        if let Some(name) = name.take() {
            let has_bar = rest.starts_with(b"|");
            let comment = rest.iter().position(|byte| *byte == b'#').filter(|_| !has_bar);
            let comment = comment.map(|at| &rest[at..]);
            let bar = has_bar || needs_bar(name);
            // After a bar, all is the name; and a line has one encoding.
            let is_apart =
                |comment: &&[u8]| bar || !name.is_ascii() && str::from_utf8(comment).is_err();
            let apart = comment.filter(is_apart);
            if let Some(comment) = apart {
                edited.extend([comment, end].concat());
            }
            edited.extend([own, if bar { b"|" } else { b" " }, name.as_bytes()].concat());
            if let Some(comment) = comment.filter(|_| apart.is_none()) {
                edited.extend([b"  ", comment].concat());
            }
            edited.extend_from_slice(line_end);
        }
    }
    if let Some(name) = name {
        if edited.len() > mark.len() && !edited.ends_with(b"\n") {
            edited.extend_from_slice(end);
        }
        let separator = if needs_bar(name) { '|' } else { ' ' };
        edited.extend(format!("{mac}{separator}{name}").bytes().chain(end.iter().copied()));
    }
    let is_marked = |text: &[u8]| MARKS.iter().any(|mark| text.starts_with(mark));
    if is_marked(&edited) && !is_marked(text) {
        edited.insert(0, b'\n'); // the next line has become the first one
    }
    edited
}

/// Byte order marks: of UTF-8, and of UTF-16.
const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// The length of the end of a line. A carriage return without a line feed is none.
fn end_of_line(line: &[u8]) -> usize {
    match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

/// A line of this MAC, up to the end of the MAC, and what follows, without blanks. Read as [`NameList::parse`] does.
fn own_line(line: &[u8], mac: MacAddr) -> Option<(&[u8], &[u8])> {
    let text = decode_line(line)?;
    let (own, _) = split_name_line(&text).filter(|(own, _)| own.parse() == Ok(mac))?;
    // Only blanks stand before it, and it is ASCII in all encodings.
    let at = line.windows(own.len()).position(|part| part == own.as_bytes())?;
    let (own, rest) = line.split_at(at + own.len());
    let own = if own.is_ascii() { own } else { &own[at..] }; // blanks in the encoding of the line
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let from = rest.iter().position(|byte| !is_blank(byte)).unwrap_or(rest.len());
    Some((own, rest[from..].trim_ascii_end()))
}

/// Whether a name is another one after a space: see [`split_name_line`].
fn needs_bar(name: &str) -> bool {
    name.contains('#') || name.starts_with([',', '='])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{NameList, Names};
    use proptest::{prelude::*, test_runner::TestCaseError};
    use std::os::unix::fs::symlink;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    fn after(text: &str, name: Option<&str>) -> String {
        String::from_utf8(edited(text.as_bytes(), MAC, name)).unwrap()
    }

    #[test]
    fn other_lines_stay() {
        for (before, name, expected) in [
            ("", Some("radio"), "02:00:00:00:00:01 radio\n"),
            ("# home\n", Some("a # b"), "# home\n02:00:00:00:00:01|a # b\n"),
            ("x", Some("radio"), "x\n02:00:00:00:00:01 radio\n"),
            ("a\r\nb", Some("r"), "a\r\nb\r\n02:00:00:00:00:01 r\r\n"),
            (
                "2:0:0:0:0:1 old  # cellar\nrubbish\n",
                Some("new"),
                "2:0:0:0:0:1 new  # cellar\nrubbish\n",
            ),
            ("2:0:0:0:0:1 old # cellar\n", Some("#1"), "# cellar\n2:0:0:0:0:1|#1\n"),
            (
                "\u{feff} 02-00-00-00-00-01|old # x\r\n",
                Some("new"),
                "\u{feff} 02-00-00-00-00-01|new\r\n",
            ),
            (
                "0200.0000.0001,old\n2:0:0:0:0:2 b\n2:0:0:0:0:1 last",
                Some("new"),
                "0200.0000.0001 new\n2:0:0:0:0:2 b\n",
            ),
            ("# c\n2:0:0:0:0:1 old\n2:0:0:0:0:2 b\n2:0:0:0:0:1|x", None, "# c\n2:0:0:0:0:2 b\n"),
            ("2:0:0:0:0:1", Some("=1"), "2:0:0:0:0:1|=1"),
        ] {
            let text = after(before, name);
            assert_eq!(text, expected, "{before:?}");
            let names = NameList::parse(text.as_bytes()).unwrap().names;
            assert_eq!(names.get(&MAC).map(String::as_str), name, "{text:?}");
        }
        let latin = edited(b"2:0:0:0:0:2 na\xefve # \xe9\n2:0:0:0:0:1 \xfc # \xe9", MAC, Some("n"));
        assert_eq!(latin, b"2:0:0:0:0:2 na\xefve # \xe9\n2:0:0:0:0:1 n  # \xe9");
    }

    proptest! {
        /// A name is written to a file of any content, and the others stay. `E`, `N`: bytes of Windows-1252, of which the last is a
        /// blank.
        #[test]
        fn any_file(
            text in "\u{feff}?([ #|,=\\n\\r\t\u{b}\u{feff}éEN]|\r\n|\n\u{feff}|02:00:00:00:00:0[12]|a|x ){0,20}",
            name in "[a#|=,é]{0,5}",
        ) {
            check_edit(&text, &name)?;
        }
    }

    fn check_edit(text: &str, name: &str) -> Result<(), TestCaseError> {
        let read = |text: &[u8]| NameList::parse(text).unwrap();
        let byte = |byte: u8| match byte {
            b'E' => 0xe9,
            b'N' => 0xa0,
            byte => byte,
        };
        let text: Vec<u8> = text.bytes().map(byte).collect();
        let name = Some(name).filter(|name| is_name(name).is_ok());
        let (before, new) = (read(&text), edited(&text, MAC, name));
        let after = read(&new);
        let shown = format!("{:?}: {:?}", text.escape_ascii().to_string(), new.escape_ascii());
        prop_assert_eq!(after.names.get(&MAC).map(String::as_str), name, "{}", shown);
        let others = |list: &NameList| {
            let others = list.names.iter().filter(|(mac, _)| **mac != MAC);
            others.map(|(mac, name)| (*mac, name.clone())).collect::<Names>()
        };
        let counts = [before.damaged_number, after.damaged_number];
        prop_assert_eq!((others(&before), counts[0]), (others(&after), counts[1]), "{}", shown);
        Ok(())
    }

    /// What [`any_file`] found.
    #[test]
    fn ends_blanks_and_marks() {
        for (text, name) in [
            ("a\r", "é"),
            ("a\n\u{feff}02:00:00:00:00:01 x", "a"),
            ("02:00:00:00:00:01 x\n\u{feff}a", ""),
            ("02:00:00:00:00:01 x\n\u{feff}02:00:00:00:00:02 y", ""),
            ("\u{b}02:00:00:00:00:01 x", "a"),
            ("N02:00:00:00:00:01 x", ""),
            ("N02:00:00:00:00:01 x", "é"),
            ("\u{a0}02:00:00:00:00:01 x", "a"),
            ("02:00:00:00:00:01 x # E", "é"),
            ("\u{feff}", "a"),
        ] {
            check_edit(text, name).unwrap();
        }
        let long = format!("02:00:00:00:00:01 x # {}\n", "x".repeat(70_000));
        let edited = after(&long, Some("a"));
        assert_eq!(edited, long + "02:00:00:00:00:01 a\n", "a line that is too long has no name");
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
