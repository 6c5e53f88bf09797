//! Passwords and tokens: where they come from, and that they are never shown.

use std::{
    env, fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

/// Bytes of a secret's file that are looked at.
const LONGEST: u64 = 64 * 1024;

/// What nobody else may know. `Debug` does not show it; to serialize it is to hand it on.
#[derive(Clone, Deserialize, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Secret {
    /// The first line of a file that others may not read, or a variable of the environment. `name` is the
    /// option's in the configuration, less `_file` or `_env`.
    pub fn read(
        name: &str,
        file: Option<&Path>,
        variable: Option<&str>,
    ) -> Result<Option<Secret>, String> {
        match (file, variable) {
            (Some(_), Some(_)) => Err(format!("only one of {name}_file and {name}_env")),
            (Some(path), None) => Self::from_file(path).map(Some),
            (None, Some(variable)) => Self::from_environment(name, variable).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn from_file(path: &Path) -> Result<Secret, String> {
        let failure = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::PermissionDenied => "permission denied (who may read it?)".into(),
                io::ErrorKind::NotFound => "there is no such file".into(),
                io::ErrorKind::InvalidData => "is not text".into(),
                _ => error.to_string(),
            };
            format!("read {}: {why}", path.display())
        };
        let file = File::open(path).map_err(failure)?;
        if file.metadata().map_err(failure)?.mode() & 0o007 != 0 {
            return Err(format!("{}: others may read it (chmod o= it)", path.display()));
        }
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).map_err(failure)?;
        let line = text.lines().next().unwrap_or_default().trim();
        Self::some(line).ok_or_else(|| format!("{}: its first line is empty", path.display()))
    }

    fn from_environment(name: &str, variable: &str) -> Result<Secret, String> {
        let value = env::var(variable).unwrap_or_default();
        Self::some(value.trim()).ok_or_else(|| {
            format!("{name}_env: the environment has no variable {variable:?} with a text in it")
        })
    }

    fn some(text: &str) -> Option<Secret> {
        (!text.is_empty()).then(|| Secret(text.into()))
    }

    /// For whom it is meant.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A text without it, should somebody else have put it there.
    pub fn hide_in(&self, text: &str) -> String {
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
        assert!(read().unwrap_err().contains("chmod o= it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = read().unwrap().unwrap();
        assert_eq!((secret.reveal(), &*format!("{secret:?}")), ("tk_1", "***"));
        assert_eq!(secret.hide_in("/bottk_1/x"), "/bot***/x");
        fs::write(&path, "\n").unwrap();
        assert!(read().unwrap_err().contains("empty"));
        let both = Secret::read("token", Some(&path), Some("X"));
        assert_eq!(both.unwrap_err(), "only one of token_file and token_env");
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
