//! Files of ours in places where others may have been first.

use std::{
    fs::{File, Metadata, rename},
    io::{self, ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, Uid, open},
    process::geteuid,
};

use crate::{Error, failed};

/// Opens a file for writing, and makes it if there is none, without truncating it. It must be ours
/// alone: a link is not followed, and a file that is no regular one, has a second name, or belongs
/// to neither root, ourselves nor `owner`, whom we are going to be, is refused. Somebody put it
/// there so that we write to it.
pub fn open_own(path: &Path, mode: u32, owner: Option<Uid>) -> Result<File, Error> {
    let shown = path.display();
    let failure =
        |error: io::Error| match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::LOOP) => failed(format_args!(
                "open {shown}: it is a link, and links are not followed (remove it)"
            )),
            _ => Error::io(format_args!("open {shown}"), error),
        };
    let flags =
        OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = Mode::from_raw_mode(mode);
    loop {
        // In two steps: with O_CREAT alone the kernel refuses even root some files of others
        // (fs.protected_regular), and with O_EXCL nothing that is there is ever opened.
        match open(path, flags, mode) {
            Ok(file) => {
                let file = File::from(file);
                is_ours(&file.metadata().map_err(failure)?, owner)
                    .map_err(|why| failed(format_args!("open {shown}: {why} (remove it)")))?;
                return Ok(file);
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(failure(error.into())),
        }
        match open(path, flags | OFlags::CREATE | OFlags::EXCL, mode).map_err(io::Error::from) {
            Ok(file) => return Ok(file.into()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // just now: look again
            Err(error) => return Err(failure(error)),
        }
    }
}

fn is_ours(file: &Metadata, other: Option<Uid>) -> Result<(), String> {
    let owner = file.uid();
    let trusted = [Uid::ROOT, geteuid(), other.unwrap_or(Uid::ROOT)].map(Uid::as_raw);
    if !file.is_file() {
        Err("it is not a regular file".into())
    } else if !trusted.contains(&owner) {
        Err(format!("it belongs to user id {owner}"))
    } else if file.nlink() != 1 {
        Err("it has more names than this one".into())
    } else {
        Ok(())
    }
}

/// Replaces a file, as a whole: whoever opens it finds the old one or the new one. `new` is its name
/// meanwhile, in the same directory.
pub fn replace(path: &Path, new: &Path, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    let mut file = open_own(new, mode, None)?;
    file.set_len(0)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| rename(new, path))
        .map_err(|error| Error::write(path.display(), error))
}

/// Whether an open file still has its name.
pub fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), path.symlink_metadata()), (Ok(a), Ok(b)) if same(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn only_what_is_ours_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        open_own(&at("new"), 0o644, None).unwrap();
        open_own(&at("new"), 0o644, None).unwrap();
        fs::write(at("victim"), "precious").unwrap();
        symlink(at("victim"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::hard_link(at("victim"), at("second")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::RWXU).unwrap();
        for (name, why) in [
            ("link", "it is a link"),
            ("dangling", "it is a link"),
            ("second", "more names"),
            ("pipe", "not a regular file"),
            (".", "is a directory"),
        ] {
            let Err(Error::Failed(text)) = open_own(&at(name), 0o644, None) else {
                panic!("{name}")
            };
            let nobody = Some(Uid::from_raw(65534));
            open_own(&at("new"), 0o644, nobody).unwrap();
            assert!(text.contains(why), "{text}");
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
