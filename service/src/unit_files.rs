//! What the systemd unit of a program forbids it, from the unit's files: for a check that runs outside of the unit.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{FileKind, read_file_text};

/// Where a unit and its drop-ins stand; the first one that has the unit counts.
const DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Bytes of a unit or drop-in, at most.
const MAX_UNIT: u64 = 64 << 10;

/// Directories that a unit hides (`ProtectHome=`, `PrivateTmp=`).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// What the unit of a program forbids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFiles {
    unit: String,
    /// Of ProtectSystem=strict.
    is_strict: bool,
    hides_homes: bool,
    hides_temporary: bool,
    writable: Vec<PathBuf>,
    /// What systemd creates for the unit.
    created: Vec<PathBuf>,
}

impl UnitFiles {
    /// Of the unit NAME.service; none if there is no such unit.
    pub fn of(name: &str) -> Option<UnitFiles> {
        UnitFiles::read(name, &DIRECTORIES.map(Path::new))
    }

    /// The same, of these directories.
    pub fn read(name: &str, directories: &[&Path]) -> Option<UnitFiles> {
        let read = |path: PathBuf| read_file_text(&path, FileKind::Settings, MAX_UNIT).ok();
        let own = |directory: &&Path| read(directory.join(format!("{name}.service")));
        let edits = directories.iter().map(|directory| directory.join(format!("{name}.service.d")));
        let edits = edits.filter_map(|edits| fs::read_dir(edits).ok()).flatten().flatten();
        let mut edits: Vec<_> = edits.map(|file| (file.file_name(), file.path())).collect();
        edits.sort(); // as systemd reads them
        let own = directories.iter().find_map(own);
        let edits = edits.into_iter().filter_map(|(_, path)| read(path));
        let texts: Vec<_> = own.into_iter().chain(edits).collect();
        let mut unit = UnitFiles { unit: name.into(), ..UnitFiles::default() };
        texts.iter().flat_map(|text| text.lines()).for_each(|line| unit.apply(line));
        (!texts.is_empty()).then_some(unit)
    }

    fn apply(&mut self, line: &str) {
        let Some((key, value)) = line.trim().split_once('=') else { return };
        let is_set = ["yes", "true", "on", "1", "tmpfs"].contains(&value);
        let paths =
            || value.split_whitespace().map(|path| path.trim_matches(['-', '+', '"', '\'']));
        let base = match key {
            "ProtectSystem" => return self.is_strict = value == "strict",
            "ProtectHome" => return self.hides_homes = is_set,
            "PrivateTmp" => return self.hides_temporary = is_set || value == "disconnected",
            "ReadWritePaths" if value.is_empty() => return self.writable.clear(),
            "ReadWritePaths" => return self.writable.extend(paths().map(PathBuf::from)),
            "StateDirectory" => "/var/lib",
            "LogsDirectory" => "/var/log",
            "CacheDirectory" => "/var/cache",
            "RuntimeDirectory" => "/run",
            _ => return,
        };
        // NAME, or NAME:LINK
        let names = paths().map(|name| name.split(':').next().unwrap_or_default());
        self.created.extend(names.map(|name| Path::new(base).join(name)));
    }

    /// Whether systemd creates this directory when it starts the unit.
    pub fn creates(&self, directory: &Path) -> bool {
        self.created.iter().any(|created| directory.starts_with(created))
    }

    /// Why the service cannot read a file, with the remedy.
    pub fn hides(&self, file: &Path) -> Option<String> {
        let is_below = |tops: &[&str]| tops.iter().any(|top| file.starts_with(top));
        let is_hidden =
            self.hides_homes && is_below(&HOMES) || self.hides_temporary && is_below(&TEMPORARY);
        is_hidden.then(|| {
            let file = file.display();
            format!("read {file}: the unit hides it from the service (move it to /etc/addrwatch)")
        })
    }

    /// Why the service cannot write to a directory that its user may write to, with the remedy.
    pub fn forbids_writing(&self, directory: &Path) -> Option<String> {
        let real = directory.canonicalize();
        let real = real.as_deref().unwrap_or(directory);
        let mut trees = self.writable.iter().chain(&self.created);
        if !self.is_strict || self.creates(directory) || trees.any(|tree| real.starts_with(tree)) {
            return None;
        }
        let (directory, unit) = (directory.display(), &self.unit);
        Some(format!(
            "write to {directory}: the unit makes it read-only (systemctl edit {unit}: [Service] and ReadWritePaths={directory})"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_unit_forbids() {
        let made = tempfile::tempdir().unwrap();
        let [etc, lib] = ["etc", "lib"].map(|name| made.path().join(name));
        let directories = [&*etc, &*lib];
        assert_eq!(UnitFiles::read("aw-x", &directories), None);
        let edits = etc.join("aw-x.service.d");
        fs::create_dir_all(&edits).unwrap();
        fs::create_dir(&lib).unwrap();
        fs::write(
            lib.join("aw-x.service"),
            "[Service]\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nStateDirectory=addrwatch/aw-x\nReadWritePaths=/old\n",
        )
        .unwrap();
        fs::write(edits.join("b.conf"), "[Service]\nReadWritePaths=-/srv/a /srv/b\n").unwrap();
        fs::write(edits.join("a.conf"), "[Service]\nReadWritePaths=\n").unwrap();
        let unit = || UnitFiles::read("aw-x", &directories).unwrap();
        let forbids = |path: &str| unit().forbids_writing(Path::new(path));
        for (path, is_forbidden) in [
            ("/srv/a/deep", false),
            ("/srv/b", false),
            ("/srv/c", true),
            ("/old", true),
            ("/var/lib/addrwatch/aw-x", false),
            ("/var/lib/addrwatch", true),
        ] {
            assert_eq!(forbids(path).is_some(), is_forbidden, "{path}");
        }
        let why = forbids("/srv/c").unwrap();
        assert!(why.contains("systemctl edit aw-x: [Service] and ReadWritePaths=/srv/c"), "{why}");
        let hides = |path: &str| unit().hides(Path::new(path)).is_some();
        assert!(hides("/root/secret") && hides("/tmp/secret") && !hides("/etc/addrwatch/x"));
        fs::write(edits.join("c.conf"), "ProtectSystem=full\nProtectHome=read-only\n").unwrap();
        assert_eq!(unit().forbids_writing(Path::new("/srv/c")), None);
        assert_eq!(unit().hides(Path::new("/home/a")), None);
        // A unit of the administrator replaces that of the package.
        fs::write(etc.join("aw-x.service"), "PrivateTmp=no\n").unwrap();
        assert_eq!(unit().hides(Path::new("/tmp/a")), None);
    }
}
