//! Whether the configuration differs from the one that is in use, which a restart replaces: the sender process has its channels.
//! Only the file that was there at the start can be read; one that replaced it
//! is recognized by its time.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_detect::Dialect;
use aw_output::{Access, info, warn};

use crate::config::{self, Config};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(10);

pub struct ConfigFile {
    path: Option<PathBuf>,
    /// What is in use.
    text: String,
    dialect: Dialect,
    /// When it was last looked at, and which file it was.
    looked: Option<Instant>,
    version: Option<Version>,
    changed: Option<String>,
}

/// Differs if a file was written or replaced.
type Version = (u64, u64, i64, i64);

impl ConfigFile {
    pub fn new(path: Option<PathBuf>, text: String, dialect: Dialect) -> ConfigFile {
        let path = path.and_then(|path| std::path::absolute(path).ok());
        let version = path.as_deref().and_then(version);
        ConfigFile { path, text, dialect, looked: None, version, changed: None }
    }

    pub fn access(&self) -> Vec<Access> {
        self.path.iter().cloned().map(Access::Read).collect()
    }

    /// What is to be done about it, for `systemctl status`.
    pub fn changed(&self) -> Option<String> {
        self.changed.clone()
    }

    /// Looks whether it has changed, if it is time or `at_once`, and logs that. At once, it also logs that it has not.
    pub fn look(&mut self, at_once: bool) {
        let is_due = self.looked.is_none_or(|last| last.elapsed() >= INTERVAL);
        let Some(path) = self.path.as_deref().filter(|_| at_once || is_due) else { return };
        self.looked = Some(Instant::now());
        let version = version(path);
        if version == self.version && !at_once {
            return;
        }
        let replaced = version != self.version;
        self.version = version;
        let changed = self.difference(path, replaced);
        match &changed {
            Some(text) if at_once || self.changed != changed => warn(text),
            None if at_once || self.changed.is_some() => info(format_args!(
                "{} is as it was at the start: nothing to apply; lists of names are read again",
                path.display()
            )),
            _ => {}
        }
        self.changed = changed;
    }

    fn difference(&self, path: &Path, replaced: bool) -> Option<String> {
        let file = path.display();
        let apply = "a restart applies it: systemctl restart aw-alert";
        match config::text(path) {
            Ok(text) if text == self.text => None,
            Ok(text) => {
                let parsed = Config::parse(&text);
                Some(match parsed.and_then(|config| config.rules(self.dialect)) {
                    Ok(_) => format!("{file} has changed ({apply})"),
                    Err(why) => format!(
                        "{file} has changed and is not valid: {why}: the next start would fail (correct it; until then the old one is in use)"
                    ),
                })
            }
            // A file that replaced the one of the start, or none.
            Err(_) if path.exists() && (replaced || self.changed.is_some()) => Some(format!(
                "{file} has changed (aw-alert -c {file} --check tries it, and {apply})"
            )),
            Err(_) if path.exists() => None,
            Err(why) => {
                Some(format!("{why}: the next start would fail; until then the old one is in use"))
            }
        }
    }
}

fn version(path: &Path) -> Option<Version> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alert.toml");
        let write = |text: &str| fs::write(&path, text).unwrap();
        write("quiet = 5\n");
        let mut file = ConfigFile::new(Some(path.clone()), "quiet = 5\n".into(), Dialect::Devices);
        file.look(true);
        assert_eq!(file.changed(), None);
        write("quiet = 500\n");
        file.look(false);
        assert_eq!(file.changed(), None, "it was looked at a moment ago");
        for (text, expected) in [
            ("quiet = 600\n", "alert.toml has changed (a restart applies it: systemctl restart "),
            ("garbage [", "alert.toml has changed and is not valid: line 1: "),
            ("local = { \"*\" = [\"interface\"] }", "is not valid: local: \"interface\" needs "),
        ] {
            write(text);
            file.look(true);
            let text = file.changed().unwrap();
            assert!(text.contains(expected), "{text}");
        }
        write("quiet = 5\n");
        file.look(true);
        assert_eq!(file.changed(), None);
        fs::remove_file(&path).unwrap();
        file.look(true);
        let text = file.changed().unwrap();
        assert!(
            text.ends_with("the next start would fail; until then the old one is in use"),
            "{text}"
        );
        ConfigFile::new(None, String::new(), Dialect::Devices).look(true);
    }
}
