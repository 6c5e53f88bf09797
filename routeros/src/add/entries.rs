//! The configuration file to which routers are added: all of an entry with its password file, or nothing.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use aw_service::{
    Error, FileKind, HostPort, Identity, Signals, failed, open_append, read_file_text,
};

use super::{remedy, try_logins::try_logins};
use crate::{
    config::{Config, MAX_CONFIG, Router, RouterName, unknown_group},
    daemon::DEFAULT_USERS,
    ssh::SshFault,
};

/// The beginning of a file that does not exist yet.
const NEW_FILE: &str = "\
# man addrwatch-routeros.toml describes each key. Keys of the whole file, such as ignore and hooks, stand here, before [...].
archive = \"/var/lib/addrwatch/routeros\"
";

/// A router to add.
pub struct NewRouter {
    pub name: RouterName,
    pub address: HostPort,
    /// Its entry without the heading, as lines of TOML.
    pub entry: String,
    /// A file that is created with its entry, with its content.
    pub password: Option<(PathBuf, String)>,
}

/// The configuration file as it is now.
pub struct ConfigFile {
    path: PathBuf,
    exists: bool,
    text: String,
    pub config: Config,
}

/// Those that are added, and why the others are not.
type Added = (Vec<RouterName>, Vec<(RouterName, String)>);

impl ConfigFile {
    pub fn read(path: &Path) -> Result<ConfigFile, Error> {
        let exists = path.exists();
        let mut text = match exists {
            true => read_file_text(path, FileKind::Settings, MAX_CONFIG)
                .map_err(|error| Error::io(format_args!("read {}", path.display()), error))?,
            false => NEW_FILE.to_owned(),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let config = Config::parse_file(path, text.clone()).map_err(failed)?;
        Ok(ConfigFile { path: path.into(), exists, text, config })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn has_group(&self, group: &str) -> Result<(), Error> {
        match self.config.groups.contains(group) {
            true => Ok(()),
            false => Err(failed(unknown_group(group, self.config.groups.iter()))),
        }
    }

    /// Whether the group of a router, or the defaults, set its user and its means to log in.
    pub fn defaults(&self, router: &NewRouter) -> (bool, bool) {
        let is_whole = |more: &str| {
            let entry = format!("{}{more}", router.entry);
            let (name, address) = (router.name.clone(), router.address.clone());
            self.with("", &[NewRouter { name, address, entry, password: None }]).is_ok()
        };
        (is_whole("agent = true\n"), is_whole("user = \"x\"\n"))
    }

    /// These routers with what their groups and the defaults set.
    pub fn with(&self, tables: &str, new: &[NewRouter]) -> Result<Vec<Router>, Error> {
        let text = format!("{}{tables}{}", self.text, entries(new.iter()));
        let merged = Config::parse_file(&self.path, text).map_err(|cause| {
            let shown = self.path.display();
            let mut cause = cause.strip_prefix(&format!("{shown}: ")).unwrap_or(&cause);
            if !self.exists && cause.starts_with("line ") {
                cause = cause.split_once(": ").map_or(cause, |(_, why)| why); // of no file yet
            }
            let option = match cause {
                _ if cause.contains("missing key `user`") => " (set --login)",
                _ if cause.contains("no login: ") => " (or --password-file, --key-file or --agent)",
                _ => "",
            };
            let entry = match new {
                [one] => format!("an entry for {}", one.name),
                _ => "the new entries".into(),
            };
            failed(format_args!("{shown}: with {entry} at its end: {cause}{option}"))
        })?;
        let is_new = |router: &Router| new.iter().any(|new| new.name == router.name);
        Ok(merged.routers.into_iter().filter(is_new).collect())
    }

    /// Adds the routers that the service can log in to. `tables` stand before them.
    pub fn add(&self, tables: &str, mut new: Vec<NewRouter>) -> Result<Added, Error> {
        let routers = self.with(tables, &new)?;
        let identity = Identity::choose(None, DEFAULT_USERS, None)?;
        // From here on a signal ends the trial of logins in place of the process, so that no file without an entry stays.
        let signals = Signals::register()?;
        let mut created = CreatedFiles(Vec::new());
        for (file, password) in new.iter().filter_map(|router| router.password.as_ref()) {
            create(file, password, identity.as_ref())?;
            created.0.push(file.clone());
        }
        let tried = try_logins(routers, identity.as_ref(), &signals)?;
        let mut faults = Vec::new();
        new.retain_mut(|router| {
            let result = tried.iter().find(|(name, _)| *name == router.name);
            match result.map(|(_, result)| result.clone()) {
                Some(Ok(needs_group1)) => {
                    router.entry += if needs_group1 { "legacy_group1 = true\n" } else { "" };
                    true
                }
                Some(Err(fault)) => {
                    let legacy = router.entry.contains("\nlegacy = true\n");
                    let mut why = remedy(fault, legacy);
                    if let Some((file, _)) = &router.password {
                        // It is removed again.
                        let file = format!("the password in {}", file.display());
                        why = why.replace(&file, "the password that was given");
                    }
                    faults.push((router.name.clone(), why));
                    false
                }
                None => false,
            }
        });
        if !new.is_empty() {
            self.write(&format!("{tables}{}", entries(new.iter())), identity.as_ref())?;
            let kept = |file: &PathBuf| {
                let mut files = new.iter().filter_map(|router| router.password.as_ref());
                files.any(|(kept, _)| kept == file)
            };
            created.0.retain(|file| !kept(file));
        }
        Ok((new.into_iter().map(|router| router.name).collect(), faults))
    }

    fn write(&self, new: &str, identity: Option<&Identity>) -> Result<(), Error> {
        let path = &self.path;
        if (self.text.len() + new.len()) as u64 > MAX_CONFIG {
            let most = MAX_CONFIG >> 20;
            return Err(failed(format_args!(
                "write {}: it would be larger than {most} MiB (move routers to files of include)",
                path.display()
            )));
        }
        match self.exists {
            true => append(path, new)
                .map_err(|error| Error::io(format_args!("write {}", path.display()), error)),
            false => create(path, &format!("{}{new}", self.text), identity),
        }
    }
}

/// Files that are removed again, unless their entries are written.
struct CreatedFiles(Vec<PathBuf>);

impl Drop for CreatedFiles {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = fs::remove_file(file);
        }
    }
}

fn entries<'a>(new: impl Iterator<Item = &'a NewRouter>) -> String {
    new.map(|router| format!("\n[[router]]\n{}", router.entry)).collect()
}

pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A name that is the address of another machine: name and address were swapped.
pub fn check_name(name: &str, address: &HostPort) -> Result<(), String> {
    let is_address = HostPort::parse(name, 22)
        .is_ok_and(|found| found.host != address.host && found.host.parse::<IpAddr>().is_ok());
    match is_address {
        true => Err(format!(
            "{name} is an address and stands in the place of the name, before {} (the order is NAME ADDRESS)",
            address.host
        )),
        false => Ok(()),
    }
}

/// Appends all of the entry or nothing.
fn append(path: &Path, entry: &str) -> io::Result<()> {
    let mut file = open_append(path, 0o600)?;
    let before = file.metadata()?.len();
    file.write_all(entry.as_bytes()).or_else(|error| file.set_len(before).and(Err(error)))
}

/// Creates a file that only the user of the service can read.
fn create(path: &Path, text: &str, identity: Option<&Identity>) -> Result<(), Error> {
    let failure = |error| Error::io(format_args!("create {}", path.display()), error);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => failed(format_args!(
            "create {}: it exists (move it away, unless an entry has it; or name it: --password-file)",
            path.display()
        )),
        _ => failure(error),
    })?;
    let mut write = || {
        if let Some(Identity { user, group, .. }) = identity {
            fchown(&file, Some(user.as_raw()), Some(group.as_raw()))?;
        }
        file.write_all(text.as_bytes())
    };
    write().map_err(|error| {
        let _ = fs::remove_file(path);
        failure(error)
    })
}

/// Why a router cannot be followed; `Ok(true)`: it needs `legacy_group1`.
pub type LoginResult = Result<bool, SshFault>;
