//! How the system starts a program as its service, from the files of systemd or OpenRC: for a check that runs outside of the
//! service, and for messages of the service itself.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};
use uzers::os::unix::UserExt;

use crate::{
    CapabilitySet, Error, FileKind, Identity, UserAccount, group_id, privileges::groups_of,
    read_file_text,
};

/// Where a unit and its drop-ins stand; the first one that has the unit, or a drop-in of this name, counts.
const DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Of OpenRC.
const SCRIPTS: &str = "/etc/init.d";
/// Bytes of a unit, drop-in or script, at most.
const MAX_UNIT: u64 = 64 << 10;

/// Directories that all services use.
pub(crate) const SHARED: [&str; 4] =
    ["/etc/addrwatch", "/etc/addrwatch/lists", "/var/lib/addrwatch", "/var/log/addrwatch"];
/// Directories that a unit hides (`ProtectHome=`, `PrivateTmp=`).
pub(crate) const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Addresses of this machine only, and all (`IPAddressAllow=`, `IPAddressDeny=`).
const LOCAL: [&str; 5] = ["localhost", "127.0.0.0/8", "127.0.0.1", "::1/128", "::1"];
const ALL: [&str; 3] = ["any", "0.0.0.0/0", "::/0"];
/// For ports below 1024.
const LOW_PORTS: &str = "CAP_NET_BIND_SERVICE";

/// What a unit does with the homes of users (`ProtectHome=`). Without that, even `ProtectSystem=strict` leaves them writable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Homes {
    #[default]
    Writable,
    ReadOnly,
    /// Those that BindPaths= names are there.
    Replaced,
    Hidden,
}

/// What starts a program as a service, and what it forbids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFiles {
    unit: String,
    /// Of OpenRC.
    is_script: bool,
    /// Of ProtectSystem=strict.
    is_strict: bool,
    homes: Homes,
    hides_temporary: bool,
    writable: Vec<PathBuf>,
    /// What other directories than those of the system are for the unit (`BindPaths=`), and whether they are read-only.
    bound: Vec<(PathBuf, bool)>,
    /// Whether its programs get CAP_NET_BIND_SERVICE, and whether the bounding set leaves it to them.
    has_low_ports: Option<bool>,
    leaves_low_ports: Option<bool>,
    /// What systemd creates for the unit.
    created: Vec<PathBuf>,
    user: Option<String>,
    group: Option<String>,
    groups: Vec<String>,
    /// Lines that systemd ignores, because they stand outside of [Service].
    pub(crate) misplaced: Vec<String>,
    /// Files that systemd reads as root for the unit, with the names that they have for it.
    pub(crate) credentials: Vec<(String, PathBuf)>,
    /// Addresses whose packets are dropped, unless they are allowed.
    denied: Vec<String>,
    allowed: Vec<String>,
    /// The line that starts the program, and what sets the variables in it.
    pub(crate) exec_start: Option<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) environment_files: Vec<PathBuf>,
}

impl UnitFiles {
    /// Of the unit NAME.service, or else of OpenRC's script NAME; none if there is neither.
    pub fn of(name: &str) -> Option<UnitFiles> {
        let script = Path::new(SCRIPTS).join(name);
        UnitFiles::read(name, &DIRECTORIES.map(Path::new))
            .or_else(|| UnitFiles::of_script(name, &script))
    }

    /// The unit NAME.service of these directories. A masked unit is none.
    pub fn read(name: &str, directories: &[&Path]) -> Option<UnitFiles> {
        let read = |path: &Path| read_file_text(path, FileKind::Settings, MAX_UNIT).ok();
        // Of an instance: its own unit and drop-ins, before those of all instances.
        let template = name.split_once('@').map(|(base, _)| format!("{base}@.service"));
        let files: Vec<String> = [format!("{name}.service")].into_iter().chain(template).collect();
        let own =
            files.iter().flat_map(|file| directories.iter().map(move |place| place.join(file)));
        let own = own.into_iter().find(|path| path.symlink_metadata().is_ok());
        if own.as_deref().is_some_and(is_masked) {
            return None;
        }
        // By the name of the file, as systemd reads them; a link to /dev/null replaces one of its name by nothing.
        let mut edits: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        let places = directories.iter().flat_map(|directory| {
            files.iter().map(move |file| directory.join(format!("{file}.d")))
        });
        let places = places.chain(directories.iter().map(|directory| directory.join("service.d")));
        for edit in places.filter_map(|place| fs::read_dir(place).ok()).flatten().flatten() {
            if edit.path().extension().is_some_and(|end| end == "conf") {
                edits.entry(edit.file_name()).or_insert(edit.path());
            }
        }
        let is_edit = |path: &PathBuf| {
            let path = path.to_string_lossy();
            files.iter().any(|file| path.contains(file))
        };
        let has_edits = edits.values().any(is_edit);
        if own.is_none() && !has_edits {
            return None;
        }
        let mut unit = UnitFiles { unit: name.into(), ..UnitFiles::default() };
        for path in own.iter().chain(edits.values()) {
            let Some(text) = read(path) else { continue };
            let mut section = String::new();
            for line in logical_lines(&text) {
                match line.trim().strip_prefix('[') {
                    Some(name) => section = name.trim_end_matches(']').to_owned(),
                    None if section == "Service" => unit.apply(&line),
                    None => unit.misplaced.extend(misplaced(path, &section, &line)),
                }
            }
        }
        Some(unit)
    }

    /// What a confined process needs to read the files of the unit again, and drop-ins that are added.
    pub fn access(&self) -> Vec<crate::Access> {
        let options = self.environment_files.iter().filter_map(|file| file.parent());
        let places = DIRECTORIES.iter().map(Path::new).chain(options);
        let places = places.filter(|place| *place != Path::new("/"));
        places.map(|place| crate::Access::Read(place.into())).collect()
    }

    /// A script of OpenRC that runs the program as a user.
    fn of_script(name: &str, path: &Path) -> Option<UnitFiles> {
        let text = read_file_text(path, FileKind::Settings, MAX_UNIT).ok()?;
        let user = text.lines().find_map(|line| line.trim().strip_prefix("command_user="))?;
        let user = user.trim_matches(['"', '\'']).replace("${RC_SVCNAME}", name);
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user.to_owned(), Some(group.to_owned())),
            None => (user, None),
        };
        let created = vec![Path::new("/var/lib/addrwatch").join(name)];
        let unit = name.to_owned();
        let (user, is_script) = (Some(user), true);
        Some(UnitFiles { unit, is_script, user, group, created, ..UnitFiles::default() })
    }

    fn apply(&mut self, line: &str) {
        let Some((key, value)) = line.split_once('=') else { return };
        let (key, value) = (key.trim(), value.trim());
        let is_set = ["1", "yes", "y", "true", "t", "on"].contains(&value);
        let words = words(value);
        let paths = || words.iter().map(|path| path.trim_start_matches(['-', '+']));
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        // An empty value discards the ones before.
        fn add<T>(list: &mut Vec<T>, is_empty: bool, more: impl Iterator<Item = T>) {
            if is_empty {
                list.clear();
            }
            list.extend(more);
        }
        let base = match key {
            "ProtectSystem" => return self.is_strict = value == "strict",
            "ProtectHome" => {
                return self.homes = match value {
                    "tmpfs" => Homes::Replaced,
                    "read-only" => Homes::ReadOnly,
                    _ if is_set => Homes::Hidden,
                    _ => Homes::Writable,
                };
            }
            "PrivateTmp" => return self.hides_temporary = is_set || value == "disconnected",
            "ReadWritePaths" => {
                return add(&mut self.writable, value.is_empty(), paths().map(PathBuf::from));
            }
            "BindPaths" | "BindReadOnlyPaths" => {
                let is_read_only = key == "BindReadOnlyPaths";
                let bound = paths().map(|pair| {
                    let mut parts = pair.split(':');
                    let source = parts.next().unwrap_or_default();
                    parts.next().filter(|to| !to.is_empty()).unwrap_or(source)
                });
                let bound = bound.map(|place| (PathBuf::from(place), is_read_only));
                if value.is_empty() {
                    self.bound.retain(|(_, other)| *other != is_read_only);
                }
                return self.bound.extend(bound);
            }
            "AmbientCapabilities" | "CapabilityBoundingSet" => {
                let (is_without, names) = match value.strip_prefix('~') {
                    Some(names) => (true, names),
                    None => (false, value),
                };
                let is_named = names.split_whitespace().any(|name| name == LOW_PORTS);
                let set = match key {
                    "AmbientCapabilities" => &mut self.has_low_ports,
                    _ => &mut self.leaves_low_ports,
                };
                // Without a set before, ~ begins with all; ~ without names is all. An empty ambient set is none before.
                let before = set.unwrap_or(is_without);
                let is_all = is_without && names.trim().is_empty();
                let merged = is_all || if is_named { !is_without } else { before };
                *set = match value.is_empty() {
                    true if key == "AmbientCapabilities" => None,
                    is_reset => Some(merged && !is_reset),
                };
                return;
            }
            "User" => return self.user = text(),
            "Group" => return self.group = text(),
            "SupplementaryGroups" => {
                return add(&mut self.groups, value.is_empty(), words.into_iter());
            }
            "LoadCredential" | "LoadCredentialEncrypted" => {
                let file = value.split_once(':');
                let file = file.map(|(name, path)| (name.to_owned(), PathBuf::from(path)));
                return add(&mut self.credentials, value.is_empty(), file.into_iter());
            }
            "ExecStart" => return self.exec_start = text(),
            "Environment" => {
                return add(&mut self.environment, value.is_empty(), words.into_iter());
            }
            "EnvironmentFile" => {
                return add(
                    &mut self.environment_files,
                    value.is_empty(),
                    paths().map(PathBuf::from),
                );
            }
            "IPAddressDeny" => return add(&mut self.denied, value.is_empty(), words.into_iter()),
            "IPAddressAllow" => return add(&mut self.allowed, value.is_empty(), words.into_iter()),
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

    /// Whether OpenRC starts it, and not systemd.
    pub fn is_script(&self) -> bool {
        self.is_script
    }

    /// Its name, without `.service`.
    pub(crate) fn name(&self) -> &str {
        &self.unit
    }

    /// The user and groups that the service begins with; none if it is started as root.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        let Some(user) = self.user.as_deref().filter(|user| *user != "root") else {
            return Ok(None);
        };
        let group = self.group.as_deref().map(group_id).transpose()?;
        let identity = Identity::choose(Some(user), &[], group)?;
        identity.map(|identity| groups_of(identity, &self.groups)).transpose()
    }

    /// The capabilities that the unit gives its programs beside its user's rights, of those that a trial needs.
    pub fn capabilities(&self) -> CapabilitySet {
        match self.has_low_ports.unwrap_or(false) && self.leaves_low_ports.unwrap_or(true) {
            true => CapabilitySet::NET_BIND_SERVICE,
            false => CapabilitySet::empty(),
        }
    }

    /// The variables that systemd sets for the programs of a user.
    pub(crate) fn user_variables(&self) -> Vec<(&'static str, OsString)> {
        let account = self.user.as_deref().and_then(|user| UserAccount::find(user).ok());
        let user = account.and_then(|account| uzers::get_user_by_uid(account.uid.as_raw()));
        let Some(user) = user else { return Vec::new() };
        vec![
            ("USER", user.name().into()),
            ("LOGNAME", user.name().into()),
            ("HOME", user.home_dir().into()),
            ("SHELL", user.shell().into()),
        ]
    }

    /// Whether systemd reads this file as root, and gives it to the service.
    pub fn loads(&self, file: &Path) -> bool {
        let shown = file.display().to_string();
        let names_it = |word: &String| word.strip_suffix(&shown).is_some_and(is_option_before);
        // What OPTIONS names, the service opens itself.
        let is_named = || self.command().is_some_and(|command| command.given.iter().any(names_it));
        self.credentials.iter().any(|(_, path)| path == file) && !is_named()
    }

    /// Whether the service begins as another user than root, without the right to ports below 1024.
    pub fn may_not_bind_low_ports(&self) -> bool {
        self.user.as_deref().is_some_and(|user| user != "root") && self.capabilities().is_empty()
    }

    /// Whether systemd creates this directory when it starts the unit.
    pub fn creates(&self, directory: &Path) -> bool {
        self.created.iter().any(|created| directory.starts_with(created))
    }

    /// Whether a place is in one of these directories, by its name or in fact.
    fn is_in(place: &Path, tops: &[&str]) -> bool {
        let real = place.canonicalize();
        [Some(place), real.as_deref().ok()]
            .iter()
            .flatten()
            .any(|place| tops.iter().any(|top| place.starts_with(top)))
    }

    /// What of this unit makes a file or directory invisible: the directory that it hides.
    fn hiding(&self, file: &Path) -> Option<&'static str> {
        let hidden = |tops: &[&'static str]| {
            tops.iter().copied().find(|top| UnitFiles::is_in(file, &[*top]))
        };
        // What systemd binds there is below that of tmpfs and PrivateTmp=, and not below what it makes inaccessible.
        let is_bound = self.binds(file).is_some();
        let hides_homes = self.homes == Homes::Hidden || self.homes == Homes::Replaced && !is_bound;
        let in_home = hidden(&HOMES).filter(|_| hides_homes);
        in_home.or_else(|| hidden(&TEMPORARY).filter(|_| self.hides_temporary && !is_bound))
    }

    /// Whether a place is in a directory of `BindPaths=`, and if so, whether that is read-only.
    fn binds(&self, place: &Path) -> Option<bool> {
        let bound = self.bound.iter().filter(|(bound, _)| place.starts_with(bound));
        bound
            .max_by_key(|(bound, _)| bound.components().count())
            .map(|(_, is_read_only)| *is_read_only)
    }

    /// Why the service cannot read a file, with the remedy.
    pub fn hides(&self, file: &Path) -> Option<String> {
        let why = self.why_hidden(file)?;
        Some(format!("read {}: {why}", file.display()))
    }

    fn hidden(&self, file: &Path) -> Option<String> {
        let top = self.hiding(file).filter(|_| !self.loads(file))?;
        Some(format!("the unit {} hides {top} from its service", self.unit))
    }

    /// Why the service cannot read a history, which another service may be writing: a copy of the file alone is none.
    pub fn hides_history(&self, file: &Path) -> Option<String> {
        let (why, file) = (self.hidden(file)?, file.display());
        Some(format!(
            "read {file}: {why} (let aw-sqlite write to /var/lib/addrwatch; or sudo aw-query --database {file} copy /var/lib/addrwatch/copy.db, then chgrp addrwatch and chmod 640 the copy, and name it)"
        ))
    }

    /// The same without the file at its begin.
    pub(crate) fn why_hidden(&self, file: &Path) -> Option<String> {
        let why = self.hidden(file)?;
        let user = self.user.as_deref().unwrap_or("root");
        Some(format!(
            "{why} (copy it to /etc/addrwatch under a name that is free there, chown {user} and chmod 600 the copy, and name the copy in its place)"
        ))
    }

    /// Why the service cannot write to a directory, with the remedy: the unit forbids it.
    pub fn forbids_writing(&self, directory: &Path) -> Option<String> {
        let why = self.why_not_written(directory)?;
        Some(format!("write to {}: {why}", directory.display()))
    }

    /// The same without the directory at its begin. The remedy has all steps, also for the service's user: as this user, it is
    /// the same for a check and for the service, which does not see what its unit hides.
    pub(crate) fn why_not_written(&self, directory: &Path) -> Option<String> {
        let (unit, user) = (&self.unit, self.user.as_deref().unwrap_or("root"));
        if let Some(top) = self.hiding(directory) {
            let steps = self.other_place();
            return Some(format!("the unit {unit} hides {top} from its service ({steps})"));
        }
        let real = directory.canonicalize();
        let real = real.as_deref().unwrap_or(directory);
        let mut trees = self.writable.iter().chain(&self.created);
        let in_home = UnitFiles::is_in(directory, &HOMES);
        let is_read_only = match (self.binds(directory), in_home) {
            (Some(is_read_only), _) => is_read_only,
            (None, true) => self.homes == Homes::ReadOnly,
            (None, false) => {
                self.is_strict && !UnitFiles::is_in(directory, &["/dev", "/proc", "/sys"])
            }
        };
        if !is_read_only || self.creates(directory) || trees.any(|tree| real.starts_with(tree)) {
            return None;
        }
        let steps = match may_be_given(directory) {
            false => self.other_place(),
            true => {
                let shown = directory.display();
                let edit = format!("systemctl edit {unit}: [Service] and ReadWritePaths={shown}");
                let restart = format!("systemctl restart {unit}");
                match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
                    Ok(()) | Err(Errno::ROFS) => format!("{edit}; {restart}"),
                    Err(Errno::NOENT) => {
                        format!("install -d -m 750 {} {shown}; {edit}; {restart}", self.owner())
                    }
                    Err(_) => format!("chown {user} {shown}; {edit}; {restart}"),
                }
            }
        };
        Some(format!("the unit {unit} makes it read-only ({steps})"))
    }

    /// The options of install(1) for a directory of the service, which its group may read.
    fn owner(&self) -> String {
        let user = self.user.as_deref().unwrap_or("root");
        match &self.group {
            // The archive of routers is for its user alone.
            Some(group) if group != user && user != "aw-routeros" => {
                format!("-o {user} -g {group}")
            }
            _ => format!("-o {user}"),
        }
    }

    /// Steps to a directory that the service can write to.
    fn other_place(&self) -> String {
        let (unit, user) = (&self.unit, self.user.as_deref().unwrap_or("root"));
        let own = self.created.iter().find(|place| place.starts_with("/var/lib"));
        let own = own.map_or(String::new(), |own| {
            format!("choose a place in {}, which needs no more, or in /srv: ", own.display())
        });
        format!(
            "{own}install -d -m 750 {} /srv/{user}; systemctl edit {unit}: [Service] and ReadWritePaths=/srv/{user}",
            self.owner()
        )
    }

    /// The addresses of other machines from which the unit accepts connections, if it accepts those of some only.
    pub fn lets_in(&self) -> Option<String> {
        let is_all = |address: &String| ALL.contains(&&**address);
        let others = self.allowed.iter().filter(|address| !LOCAL.contains(&&***address));
        let others = others.map(String::as_str).collect::<Vec<_>>().join(" ");
        (self.denied.iter().any(is_all) && !self.allowed.iter().any(is_all) && !others.is_empty())
            .then_some(others)
    }

    /// What the unit does with connections from other machines, if it accepts those of this machine only, with the remedy.
    pub fn drops_clients(&self) -> Option<String> {
        let is_one_of = |list: &[&str], address: &String| list.contains(&&**address);
        if !self.denied.iter().any(|address| is_one_of(&ALL, address))
            || !self.allowed.iter().all(|address| is_one_of(&LOCAL, address))
        {
            return None;
        }
        let unit = &self.unit;
        Some(format!(
            "the unit {unit} drops connections from other machines: systemctl edit {unit}, with the two lines \"[Service]\" and \"IPAddressAllow=192.0.2.0/24\" (the addresses of your clients); then systemctl restart {unit}"
        ))
    }
}

/// Whether a directory may become one service's own: not a user's home, nor one that the system or other services use. What is
/// in a directory below /var is theirs.
pub fn may_be_given(directory: &Path) -> bool {
    const OTHERS: [&str; 9] =
        ["/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/sbin", "/sys", "/usr"];
    let real = directory.canonicalize();
    let real = real.as_deref().unwrap_or(directory);
    let in_var = real.starts_with("/var");
    let is_used = in_var && real.read_dir().is_ok_and(|mut files| files.next().is_some());
    let is_below = |tops: &[&str]| tops.iter().any(|top| real.starts_with(top));
    let is_shared = SHARED.iter().any(|shared| real == Path::new(shared));
    let least = if in_var { 4 } else { 3 }; // with the root directory
    let is_deep = real.components().count() >= least;
    !is_below(&HOMES) && !is_below(&OTHERS) && !is_shared && !is_used && is_deep
}

/// The fault of a line of the section [Service] that stands in another one, or in none: systemd ignores it.
fn misplaced(path: &Path, section: &str, line: &str) -> Option<String> {
    let mut trial = UnitFiles::default();
    trial.apply(line);
    let place = if section.is_empty() { "no section".into() } else { format!("[{section}]") };
    (trial != UnitFiles::default()).then(|| {
        format!(
            "{}: systemd ignores the line {}, which stands in {place} (write the line [Service] above it, then systemctl daemon-reload and restart)",
            path.display(),
            line.trim()
        )
    })
}

/// Whether this is what stands before a value in its word: nothing, `-c` or `--config=`.
fn is_option_before(text: &str) -> bool {
    text.is_empty() || text.starts_with('-') && (text.len() == 2 || text.ends_with('='))
}

/// A unit that an administrator has masked: it is empty, or a link to /dev/null.
fn is_masked(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|target| target == Path::new("/dev/null"))
        || path.metadata().is_ok_and(|file| file.is_file() && file.len() == 0)
}

/// The lines without comments; one that ends with a backslash continues on the next.
pub(crate) fn logical_lines(text: &str) -> Vec<String> {
    numbered_lines(text).into_iter().map(|(_, line)| line).collect()
}

/// The same, each with its number in the file.
pub(crate) fn numbered_lines(text: &str) -> Vec<(usize, String)> {
    let (mut lines, mut continues) = (Vec::<(usize, String)>::new(), false);
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| continues) {
            Some((_, last)) => last.extend([" ", part]),
            None => lines.push((number, part.into())),
        }
        continues = more;
    }
    lines
}

/// The words of a value; quotes join words.
pub(crate) fn words(value: &str) -> Vec<String> {
    let (mut words, mut quote, mut is_open) = (Vec::<String>::new(), None, false);
    for c in value.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => is_open = false,
            (c, _) => {
                if !std::mem::replace(&mut is_open, true) {
                    words.push(String::new());
                }
                words.last_mut().into_iter().for_each(|word| word.push(c));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests;
