//! Passwords and tokens, which are read from a file or an environment variable and never printed.

use std::{env, fmt, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{FileKind, read_file_text};

/// Bytes of a secret's file, at most.
const MAX_BYTES: u64 = 64 * 1024;

/// A password or token. `Debug` prints `***`; serializing it discloses it.
#[derive(Clone, Deserialize, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Secret {
    /// Reads the first line of a file, which must not be readable by others, or an environment variable. `name` is
    /// the option's name without `_file` or `_env`.
    pub fn read(
        name: &str,
        file: Option<&Path>,
        variable: Option<&str>,
    ) -> Result<Option<Secret>, String> {
        match (file, variable) {
            (Some(_), Some(_)) => Err(format!("{name}_file and {name}_env exclude each other")),
            (Some(path), None) => Self::from_file(path).map(Some),
            (None, Some(variable)) => Self::from_environment(name, variable).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn from_file(path: &Path) -> Result<Secret, String> {
        let shown = path.display();
        let failure = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    crate::explain_or(&error, "(check its owner and mode)")
                }
                io::ErrorKind::NotFound => "no such file".into(),
                io::ErrorKind::InvalidData => "not UTF-8 text".into(),
                _ => crate::cause(&error),
            };
            format!("read {shown}: {why}")
        };
        let Secret(line) = Secret::first_line(path).map_err(failure)?;
        Self::non_empty(line.trim())
            .ok_or_else(|| format!("{shown}: the first line is empty (write the secret into it)"))
    }

    /// The first line of a file, which must not be accessible to others. It may be empty.
    pub fn first_line(path: &Path) -> io::Result<Secret> {
        let text = read_file_text(path, FileKind::Secret, MAX_BYTES)?;
        Ok(Secret(text.lines().next().unwrap_or_default().into()))
    }

    fn from_environment(name: &str, variable: &str) -> Result<Secret, String> {
        let value = env::var(variable).unwrap_or_default();
        Self::non_empty(value.trim()).ok_or_else(|| {
            format!("{name}_env: the environment variable {variable} is not set or empty")
        })
    }

    /// A secret that a file with other settings contains; None if it is empty.
    pub fn non_empty(text: &str) -> Option<Secret> {
        (!text.is_empty()).then(|| Secret(text.into()))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Replaces the secret in a text, such as a server's answer, by `***`.
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn from_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let read = || Secret::read("token", Some(&path), None);
        assert!(read().unwrap_err().contains("no such file"));
        fs::write(&path, "tk_1 \nmore\n").unwrap();
        for (mode, good) in [(0o600, true), (0o640, true), (0o644, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read().is_ok(), good, "{mode:o}");
        }
        assert!(read().unwrap_err().contains("(chmod o= /"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = read().unwrap().unwrap();
        assert_eq!((secret.reveal(), &*format!("{secret:?}")), ("tk_1", "***"));
        assert_eq!(secret.redact("/bottk_1/x"), "/bot***/x");
        fs::write(&path, "\n").unwrap();
        assert!(read().unwrap_err().contains("empty"));
        let both = Secret::read("token", Some(&path), Some("X"));
        assert_eq!(both.unwrap_err(), "token_file and token_env exclude each other");
        assert_eq!(Secret::read("token", None, None), Ok(None));
    }

    #[test]
    fn from_the_environment() {
        let path = Secret::read("token", None, Some("PATH")).unwrap().unwrap();
        assert_eq!(path.reveal(), env::var("PATH").unwrap());
        let none = Secret::read("token", None, Some("AW_NO_SUCH_VARIABLE"));
        assert!(none.unwrap_err().contains("AW_NO_SUCH_VARIABLE"));
    }
}
