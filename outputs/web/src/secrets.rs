//! Random secrets, and the link with the token that logs in: a file that only its owner can read, as Jupyter has it.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use aw_service::{Error, FileKind, explain_or, failed, read_file_text, replace};
use rustix::rand::{GetRandomFlags, getrandom};

/// Digits of a secret: 256 bits.
const DIGITS: usize = 64;
const MAX_FILE: u64 = 4096;
const PARAMETER: &str = "/login?token=";

/// A new secret, in hexadecimal digits.
pub fn random() -> Result<String, Error> {
    let mut bytes = [0; DIGITS / 2];
    let length = getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Error::io("read random bytes", error))?;
    match length == bytes.len() {
        true => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        false => Err(failed("read random bytes: the kernel has too few (please report this bug)")),
    }
}

/// Compares two secrets in a time that does not depend on where they differ.
pub fn is_same(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differ == 0
}

/// The file with the link.
pub struct LoginLink(PathBuf);

impl LoginLink {
    pub fn of(state: &Path) -> LoginLink {
        LoginLink(state.join("aw-web.login"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn is_missing(&self) -> bool {
        self.0.try_exists().is_ok_and(|exists| !exists)
    }

    /// The link that a running aw-web wrote.
    pub fn read(&self) -> Result<String, Error> {
        let read = read_file_text(&self.0, FileKind::Secret, MAX_FILE);
        let failure =
            |error| failed(format_args!("read {}: {}", self.0.display(), why(&error, "login")));
        let text = read.map_err(failure)?;
        Ok(text.trim().into())
    }

    /// The begin of its links, without a path, if the link can be read.
    pub fn server(&self) -> Option<String> {
        Some(self.read().ok()?.split_once(PARAMETER)?.0.to_owned())
    }

    /// Writes the link of this server, with the token of the file, or else with a new one. Returns the token.
    pub fn write(&self, server: &str) -> Result<String, Error> {
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let is_token = |text: &&str| text.len() == DIGITS && text.chars().all(is_digit);
        let known = self.read().ok();
        let token = known.as_deref().and_then(|link| link.rsplit_once(PARAMETER));
        let token = match token.map(|(_, token)| token).filter(is_token) {
            Some(token) => token.to_owned(),
            None => random()?,
        };
        let new = format!("{}.new", self.0.display());
        let link = format!("{server}{PARAMETER}{token}\n");
        replace(&self.0, Path::new(&new), 0o600, link.as_bytes())?;
        Ok(token)
    }
}

/// Why the state directory, or a file in it, cannot be read, and what to do. Who may read it may do all: no group helps.
pub fn why(error: &io::Error, command: &str) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "permission denied: it is for the administrator (sudo aw-web {command}; another person gets a password: sudo aw-web passwd NAME)"
        ),
        ErrorKind::NotFound => "no such file or directory (start aw-web, which creates it: sudo systemctl enable --now aw-web; or name its --state-dir)".into(),
        _ => explain_or(error, "(try it with sudo)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn the_token_stays() {
        let directory = tempfile::tempdir().unwrap();
        let link = LoginLink::of(directory.path());
        assert!(link.read().unwrap_err().to_string().contains("start aw-web"));
        let token = link.write("http://127.0.0.1:1").unwrap();
        assert_eq!(link.write("https://h:2").unwrap(), token);
        assert_eq!(link.read().unwrap(), format!("https://h:2/login?token={token}"));
        let path = directory.path().join("aw-web.login");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // A file that others could have read is replaced, with another token.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(link.write("https://h:2").unwrap(), token);
    }

    /// A user is sent to no group, whose members could not read it, either.
    #[test]
    fn the_remedy_helps() {
        let of = |kind| why(&io::Error::from(kind), "login");
        let denied = of(ErrorKind::PermissionDenied);
        assert!(denied.contains("(sudo aw-web login;") && !denied.contains("usermod"), "{denied}");
        assert!(of(ErrorKind::NotFound).contains("systemctl enable --now aw-web"));
    }

    #[test]
    fn comparison() {
        assert!(is_same("", "") && is_same("ab", "ab"));
        assert!(!is_same("ab", "ac") && !is_same("ab", "abc") && !is_same("", "a"));
    }
}
