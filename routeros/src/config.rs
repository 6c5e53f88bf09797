//! The configuration file, in TOML.

mod values;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aw_notify::MailOptions;
use serde::Deserialize;
use shm_layout::RingName;

pub use self::values::{Address, HostKeys, Name};

/// Where it lies, unless `-c` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/addrwatch/routeros.toml";

/// Seconds of any wait, at most: a year. Clocks must be able to add it.
const LONGEST: u64 = 366 * 24 * 3600;

/// The whole file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The archive's directory.
    pub archive: PathBuf,
    /// The ring for changes; empty for none.
    #[serde(default = "default_ring")]
    pub ring: String,
    /// The group that may read it, by name or number.
    pub ring_group: Option<String>,
    /// Commit each change to this git repository, which is made if there is none.
    pub git: Option<PathBuf>,
    /// Snapshots kept of each router, with the changes since the oldest of them.
    #[serde(default = "default_keep")]
    pub keep: usize,
    /// Days that all of the archive is kept but for the newest configuration; without, what `keep` says.
    pub keep_days: Option<u32>,
    /// A router that cannot be reached for so many seconds is reported.
    #[serde(default = "default_alarm_after")]
    pub alarm_after: u64,
    /// Show secrets in mail and messages.
    #[serde(default)]
    pub mail_secrets: bool,
    /// Where mail goes; none is sent without.
    pub mail: Option<MailOptions>,
    /// The routers.
    #[serde(default, rename = "router")]
    pub routers: Vec<Router>,
}

/// One router.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Its name: of its directory, in mails, on the ring.
    pub name: Name,
    /// `HOST` or `HOST:PORT`; an IPv6 address stands in brackets.
    pub address: Address,
    /// The user to log in as.
    pub user: String,
    /// The user's password is the first line of this file.
    pub password_file: Option<PathBuf>,
    /// The user's private key.
    pub key_file: Option<PathBuf>,
    /// The key's passphrase is the first line of this file.
    pub passphrase_file: Option<PathBuf>,
    /// Log in with the keys of the agent that SSH_AUTH_SOCK names.
    #[serde(default)]
    pub agent: bool,
    /// The router's host keys, of which it must have one; without, none is believed.
    #[serde(default)]
    pub host_key: HostKeys,
    /// Offer the old algorithms that RouterOS 6 has: SHA-1, CBC, ssh-rsa.
    #[serde(default)]
    pub legacy: bool,
    /// Offer a key exchange of 1024 bits, besides.
    #[serde(default)]
    pub legacy_group1: bool,
    /// Added to the user at login, as in `+ct1000w`.
    #[serde(default)]
    pub login_suffix: String,
    /// Ask for secrets in the export.
    #[serde(default)]
    pub show_sensitive: bool,
    /// Let the router send only lines about the system.
    #[serde(default = "yes")]
    pub log_filter: bool,
    /// Seconds from one export to the next where the log shows nothing.
    #[serde(default = "default_interval")]
    pub interval: u64,
    /// Seconds from the last line about a change to the export.
    #[serde(default = "default_settle")]
    pub settle: u64,
    /// Seconds that an export may take.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// Seconds of silence after which the router is asked whether it lives; after three, it does not.
    #[serde(default = "default_keepalive")]
    pub keepalive: u64,
}

fn default_ring() -> String {
    "/addrwatch-routeros".into()
}
fn default_keep() -> usize {
    1000
}
fn default_alarm_after() -> u64 {
    120
}
fn default_interval() -> u64 {
    1800
}
fn default_settle() -> u64 {
    2
}
fn default_timeout() -> u64 {
    120
}
fn default_keepalive() -> u64 {
    20
}
fn yes() -> bool {
    true
}

impl Config {
    /// Reads and judges the file.
    pub fn read(path: &Path) -> Result<Config, String> {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("read {}: {}", path.display(), shm_layout::cause(&error)))?;
        let mut config =
            Config::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
        config.anchor(absolute.parent().unwrap_or(Path::new("/")));
        Ok(config)
    }

    /// Paths that are not absolute are those beside the file.
    fn anchor(&mut self, directory: &Path) {
        let set = |path: &mut PathBuf| *path = directory.join(&*path);
        set(&mut self.archive);
        self.git.iter_mut().for_each(set);
        if let Some(mail) = &mut self.mail {
            [&mut mail.ca_file, &mut mail.password_file].into_iter().flatten().for_each(set);
        }
        for router in &mut self.routers {
            let paths =
                [&mut router.password_file, &mut router.key_file, &mut router.passphrase_file];
            paths.into_iter().flatten().for_each(set);
        }
    }

    /// Judges its text.
    pub fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let line = line.map_or(String::new(), |line| format!("line {line}: "));
            format!("{line}{}", error.message())
        })?;
        config.ring_name()?;
        let mut names = HashSet::new();
        for router in &config.routers {
            if !names.insert(&router.name) {
                return Err(format!("router {}: there are two of this name", router.name));
            }
            router.judge().map_err(|why| format!("router {}: {why}", router.name))?;
        }
        if config.keep == 0 {
            return Err("keep: at least 1".into());
        }
        if config.alarm_after > LONGEST {
            return Err(format!("alarm_after: at most {LONGEST}"));
        }
        Ok(config)
    }

    /// The ring, if there is to be one.
    pub fn ring_name(&self) -> Result<Option<RingName>, String> {
        let name = (!self.ring.is_empty()).then(|| self.ring.parse::<RingName>()).transpose();
        name.map_err(|fault| format!("ring {:?}: {fault}", self.ring))
    }
}

impl Router {
    fn judge(&self) -> Result<(), String> {
        let ways =
            [self.password_file.is_some(), self.key_file.is_some(), self.agent].map(usize::from);
        match ways.iter().sum() {
            1 => {}
            0 => return Err("no password_file, key_file or agent to log in with".into()),
            _ => return Err("only one of password_file, key_file and agent".into()),
        }
        if self.interval == 0 || self.timeout == 0 || self.keepalive == 0 {
            return Err("interval, timeout and keepalive are at least 1".into());
        }
        if [self.interval, self.settle, self.timeout, self.keepalive].iter().any(|s| *s > LONGEST) {
            return Err(format!("interval, settle, timeout and keepalive are at most {LONGEST}"));
        }
        Ok(())
    }

    /// Where the host key is expected to come from, for messages.
    pub fn login(&self) -> String {
        format!("{}{}", self.user, self.login_suffix)
    }

    /// See [`Router::timeout`].
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
