//! The file of users: a line `NAME:ROLE:HASH` for each, with the Argon2id hash of the password in PHC's format. Only the
//! command `passwd` writes it.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use aw_service::{Error, FileKind, explain_or, failed, read_file_text, replace};

use crate::{guard::TOKEN_USER, options::Role};

/// Bytes of the file, at most.
const MAX_FILE: u64 = 256 << 10;
/// Characters of a name, and bytes of a password, at most.
const MAX_NAME: usize = 64;
const MAX_PASSWORD: usize = 1024;
/// The shortest password.
pub const MIN_PASSWORD: usize = 8;

/// Parses the name of a user.
pub fn parse_name(text: &str) -> Result<String, &'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    match !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(is_part) {
        true => Ok(text.into()),
        false => Err("must be letters, digits, dots, hyphens and underscores"),
    }
}

const IS_TOKEN_USER: &str = "the log calls the user so who has the link of aw-web login";

/// Refuses the name of the user who has the link: one of an earlier version may only be removed.
pub fn check_new_name(name: &str) -> Result<(), String> {
    match name == TOKEN_USER {
        true => Err(format!("user {name}: {IS_TOKEN_USER} (choose another name)")),
        false => Ok(()),
    }
}

/// Refuses a password that is too short or too long.
pub fn check_password(password: &str) -> Result<(), Error> {
    match password.len() {
        MIN_PASSWORD..=MAX_PASSWORD => Ok(()),
        _ => Err(failed(format_args!(
            "password: it must have {MIN_PASSWORD} to {MAX_PASSWORD} characters (choose another one)"
        ))),
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct UserFile(PathBuf);

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    pub name: String,
    pub role: Role,
    hash: String,
}

impl UserRecord {
    /// Its line in the file.
    pub fn line(&self) -> String {
        format!("{}:{}:{}", self.name, self.role.name(), self.hash)
    }

    fn parse(line: &str) -> Option<UserRecord> {
        let [name, role, hash] = line.splitn(3, ':').collect::<Vec<_>>().try_into().ok()?;
        let roles = [Role::Reader, Role::Editor];
        let role = roles.into_iter().find(|one| one.name() == role)?;
        let name = parse_name(name).ok()?;
        PasswordHash::new(hash).ok()?;
        Some(UserRecord { name, role, hash: hash.into() })
    }

    fn is_password(&self, password: &str) -> bool {
        let hash = PasswordHash::new(&self.hash);
        hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }
}

impl UserFile {
    pub fn of(state: &Path) -> UserFile {
        UserFile(state.join("aw-web.users"))
    }

    /// Why a user of an earlier version cannot log in any more.
    pub fn warning(&self) -> Result<Option<String>, Error> {
        let is_there = self.read()?.iter().any(|user| user.name == TOKEN_USER);
        Ok(is_there.then(|| {
            format!(
                "user {TOKEN_USER} cannot log in: {IS_TOKEN_USER} (aw-web passwd {TOKEN_USER} --remove, and add a user of another name)"
            )
        }))
    }

    /// All users. The file of another user, or one that others can read, is refused.
    pub fn read(&self) -> Result<Vec<UserRecord>, Error> {
        let text = match read_file_text(&self.0, FileKind::Secret, MAX_FILE) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|error| self.failure("read", &error))?,
        };
        let parse = |(number, line): (usize, &str)| {
            UserRecord::parse(line).ok_or_else(|| {
                failed(format_args!(
                    "read {}: line {}: not NAME:ROLE:HASH (remove it, and add the user with aw-web passwd)",
                    self.0.display(),
                    number + 1
                ))
            })
        };
        text.lines().enumerate().map(parse).collect()
    }

    /// The user of this name, who may log in.
    pub fn find(&self, name: &str) -> Result<Option<UserRecord>, Error> {
        let mut all = self.read()?.into_iter();
        Ok(all.find(|user| user.name == name && name != TOKEN_USER))
    }

    /// The user, if it is the password. It takes as long for a user who does not exist. This blocks, and needs 19 MiB.
    pub fn log_in(&self, name: &str, password: &str) -> Result<Option<UserRecord>, Error> {
        let found = self.find(name)?;
        if password.len() > MAX_PASSWORD {
            return Ok(None);
        }
        match found {
            Some(user) => Ok(Some(user).filter(|user| user.is_password(password))),
            None => {
                let mut hash = [0; 32];
                let _ =
                    Argon2::default().hash_password_into(password.as_bytes(), &[0; 16], &mut hash);
                Ok(None)
            }
        }
    }

    /// Adds a user, or changes the password, and the role if there is one.
    pub fn set(&self, name: &str, role: Option<Role>, password: &str) -> Result<(), Error> {
        check_new_name(name).map_err(failed)?;
        check_password(password)?;
        let hash = Argon2::default().hash_password(password.as_bytes());
        let hash = hash.map_err(|error| Error::new("hash the password", error))?.to_string();
        let mut all = self.read()?;
        match all.iter_mut().find(|user| user.name == name) {
            Some(user) => (user.hash, user.role) = (hash, role.unwrap_or(user.role)),
            None => {
                let role = role.unwrap_or(Role::Reader);
                all.push(UserRecord { name: name.into(), role, hash });
            }
        }
        self.write(&all)
    }

    /// Removes a user.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let mut all = self.read()?;
        let before = all.len();
        all.retain(|user| user.name != name);
        if all.len() == before {
            return Err(failed(format_args!(
                "remove {name}: no such user in {} (its lines begin with the names)",
                self.0.display()
            )));
        }
        self.write(&all)
    }

    fn write(&self, all: &[UserRecord]) -> Result<(), Error> {
        let text: String = all.iter().map(|user| user.line() + "\n").collect();
        let new = format!("{}.new", self.0.display());
        replace(&self.0, Path::new(&new), 0o600, text.as_bytes())
    }

    fn failure(&self, operation: &str, error: &io::Error) -> Error {
        let why = explain_or(error, "(check its owner and mode, or choose another --state-dir)");
        failed(format_args!("{operation} {}: {why}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn passwords() {
        let directory = tempfile::tempdir().unwrap();
        let users = UserFile::of(directory.path());
        assert_eq!(users.log_in("alice", "any password").unwrap(), None);
        users.set("alice", None, "correct horse").unwrap();
        users.set("bob", Some(Role::Editor), "battery staple").unwrap();
        let alice = users.log_in("alice", "correct horse").unwrap().unwrap();
        assert_eq!((&*alice.name, alice.role), ("alice", Role::Reader));
        for (name, password) in [("alice", "battery staple"), ("carol", "correct horse"), ("", "")]
        {
            assert_eq!(users.log_in(name, password).unwrap(), None, "{name}");
        }
        users.set("bob", None, "a new password").unwrap();
        assert_eq!(users.log_in("bob", "a new password").unwrap().unwrap().role, Role::Editor);
        assert!(users.set("bob", None, "short").is_err());
        users.remove("alice").unwrap();
        assert_eq!(users.log_in("alice", "correct horse").unwrap(), None);
        assert!(users.remove("alice").unwrap_err().to_string().contains("no such user"));
        let path = directory.path().join("aw-web.users");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("bob:editor:$argon2id$v=19$"), "{text}");
        fs::write(&path, text + "eve:admin:x\n").unwrap();
        let why = users.find("bob").unwrap_err().to_string();
        assert!(why.contains("line 2") && why.contains("aw-web passwd"), "{why}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(users.read().unwrap_err().to_string().contains("other users may read"));
    }

    /// A user of an earlier version with the name of the link's user costs no other user the login, and can be removed.
    #[test]
    fn the_name_of_the_link() {
        let directory = tempfile::tempdir().unwrap();
        let users = UserFile::of(directory.path());
        assert!(users.set("token", None, "correct horse").is_err());
        users.set("alice", None, "correct horse").unwrap();
        assert_eq!(users.warning().unwrap(), None);
        let path = directory.path().join("aw-web.users");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("alice:", "token:") + &text).unwrap();
        assert!(users.log_in("alice", "correct horse").unwrap().is_some());
        assert_eq!(users.log_in("token", "correct horse").unwrap(), None);
        assert!(users.warning().unwrap().unwrap().contains("aw-web passwd token --remove"));
        users.remove("token").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn names() {
        assert!(parse_name("alice.b-c_d@example.org").is_ok());
        for bad in ["", "a:b", "a b", "a\n", &*"x".repeat(65), "é"] {
            assert!(parse_name(bad).is_err(), "{bad:?}");
        }
    }
}
