//! The newest refresh token, on disk: a server may replace the token at each use, and may accept the old one for a short
//! time only (RFC 6749, 6). The file has two lines: the token of the configuration, and the one that replaced it. When the
//! configuration has another token, the user has logged in again, and the file counts no longer.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aw_service::{FileError, FileKind, Secret, cause, move_away, read_file_text, try_open_own};
use rustix::fs::{Gid, Uid, fchown};

/// Where the refresh token is stored that replaced the configured one.
#[derive(Clone, Debug)]
pub struct TokenFile {
    /// The file.
    pub path: PathBuf,
    /// Where an earlier release stored it, which is read as long as the file above does not exist.
    pub earlier: Option<PathBuf>,
}

impl TokenFile {
    /// The token that replaced this one, if one did.
    pub(crate) fn newest(&self, configured: &Secret) -> Result<Option<Secret>, String> {
        for path in self.paths() {
            let newest = newest_in(path, configured)?;
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// Stores the token that replaced the configured one.
    pub(crate) fn store(&self, configured: &Secret, newest: &Secret) -> Result<(), String> {
        let text = format!("{}\n{}\n", configured.reveal(), newest.reveal());
        self.replace(&text).map_err(|why| format!("write {}: {why}", self.path.display()))
    }

    /// Removes what replaced the configured token.
    pub(crate) fn remove(&self, configured: &Secret) {
        for path in self.paths() {
            if let Ok(Some(_)) = newest_in(path, configured) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.path), self.earlier.as_ref()].into_iter().flatten()
    }

    /// Writes a file of the directory's owner, who reads it later: this process may be root, for a test of a channel.
    fn replace(&self, text: &str) -> Result<(), String> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let owner = fs::metadata(directory).map_err(|error| cause(&error))?;
        let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
        let new = self.path.with_extension("new");
        let mut file = try_open_own(&new, 0o600, Some(user)).map_err(|error| match error {
            FileError::Untrusted(why) => format!("{why} ({})", move_away(&new)),
            FileError::Io(error) => cause(&error),
        })?;
        let mut write = || -> io::Result<()> {
            file.set_len(0)?;
            // The sender process may not change an owner, and creates the file as its own user.
            if file.metadata()?.uid() != owner.uid() {
                fchown(&file, Some(user), Some(group))?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|error| cause(&error))
    }
}

/// Bytes of the file, at most.
const MAX_TOKEN: u64 = 128 << 10;

fn newest_in(path: &Path, configured: &Secret) -> Result<Option<Secret>, String> {
    let text = match read_file_text(path, FileKind::State, MAX_TOKEN) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("read {}: {}", path.display(), cause(&error))),
    };
    let mut lines = text.lines();
    let is_ours = lines.next() == Some(configured.reveal());
    Ok(lines.next().filter(|_| is_ours).and_then(Secret::non_empty))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_login_replaces_a_stored_token() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile { path: directory.path().join("oauth-mail"), earlier: None };
        let [old, new, other] =
            ["old", "new", "other"].map(|text| Secret::non_empty(text).unwrap());
        assert_eq!(file.newest(&old), Ok(None));
        file.store(&old, &new).unwrap();
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.newest(&old), Ok(Some(new.clone())));
        assert_eq!(file.newest(&other), Ok(None));
        fs::write(&file.path, "old").unwrap();
        assert_eq!(file.newest(&old), Ok(None), "half a file");
        file.store(&old, &new).unwrap();
        file.remove(&other);
        assert_eq!(file.newest(&old), Ok(Some(new.clone())), "of another login");
        // A later release has another name for the file.
        let path = directory.path().join("oauth-1");
        let later = TokenFile { path, earlier: Some(file.path.clone()) };
        assert_eq!(later.newest(&old), Ok(Some(new)));
        later.store(&old, &other).unwrap();
        assert_eq!(later.newest(&old), Ok(Some(other.clone())));
        later.remove(&old);
        assert_eq!((later.newest(&old), file.newest(&old)), (Ok(None), Ok(None)));
        let nowhere = TokenFile { path: "/nowhere/oauth".into(), earlier: None };
        assert!(nowhere.store(&old, &other).unwrap_err().contains("/nowhere/oauth"));
    }
}
