//! The configuration file, in TOML.

mod jump;
mod router_values;

use std::{
    collections::HashSet,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aw_notify::MailOptions;
use aw_service::{FileKind, HostPort, read_file_text};
use serde::Deserialize;
use shm_layout::RingName;

pub use self::router_values::{HostKeys, RouterName, router_address};
use self::{jump::link_jumps, router_values::deserialize_address};
use crate::{seal::Recipient, syslog::ListenAddress};

/// The default of `-c`.
pub const DEFAULT_PATH: &str = "/etc/addrwatch/routeros.toml";

/// The longest time in seconds: a year, which can be added to any clock.
const MAX_SECONDS: u64 = 366 * 24 * 3600;
/// Bytes of a configuration file, at most.
pub const MAX_CONFIG: u64 = 4 << 20;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The archive's directory.
    pub archive: PathBuf,
    /// The name of the ring for changes; empty for no ring.
    #[serde(default = "default_ring")]
    pub ring: String,
    /// The group that may read the ring, by name or number.
    pub ring_group: Option<String>,
    /// A git repository for changes, created if it does not exist.
    pub git: Option<PathBuf>,
    /// The number of snapshots of each router; changes are kept as long as their snapshots.
    #[serde(default = "count::<1000>")]
    pub keep: usize,
    /// Days after which all of the archive but the newest configuration is removed.
    pub keep_days: Option<u32>,
    /// Seconds after which an unreachable router is reported.
    #[serde(default = "seconds::<120>")]
    pub alarm_after: u64,
    /// age public keys: exports with secrets are stored encrypted to them, and masked otherwise.
    #[serde(default)]
    pub encrypt_to: Vec<Recipient>,
    /// Show secrets in mail and messages.
    #[serde(default)]
    pub mail_secrets: bool,
    /// Receive log lines of routers that send them to a syslog server, at this address and port.
    pub syslog: Option<ListenAddress>,
    /// Hosts that routers can be reached through with `via`, and that are not followed.
    #[serde(default, rename = "jump_host")]
    pub jump_hosts: Vec<Router>,
    /// The mail server; without it no mail is sent.
    pub mail: Option<MailOptions>,
    #[serde(default, rename = "router")]
    pub routers: Vec<Router>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// The name in the archive, in mail and on the ring.
    pub name: RouterName,
    /// Host and port of its SSH server.
    #[serde(deserialize_with = "deserialize_address")]
    pub address: HostPort,
    pub user: String,
    /// A file whose first line is the user's password.
    pub password_file: Option<PathBuf>,
    /// A file with the user's private key.
    pub key_file: Option<PathBuf>,
    /// A file whose first line is the passphrase of the key.
    pub passphrase_file: Option<PathBuf>,
    /// Log in with the keys of the agent that SSH_AUTH_SOCK names.
    #[serde(default)]
    pub agent: bool,
    /// The host keys that are trusted; without any, no connection is made.
    #[serde(default)]
    pub host_key: HostKeys,
    /// The router or jump host whose SSH server the connection goes through.
    pub via: Option<RouterName>,
    /// The same with its keys, see [`link_jumps`].
    #[serde(skip)]
    pub jump: Option<Arc<Router>>,
    /// The address of this machine that the connection comes from.
    pub source: Option<IpAddr>,
    /// Further addresses that it sends syslog from.
    #[serde(default)]
    pub syslog_from: Vec<IpAddr>,
    /// Offer the algorithms of RouterOS 6 too: SHA-1, CBC, ssh-rsa.
    #[serde(default)]
    pub legacy: bool,
    /// With `legacy`: offer a key exchange of 1024 bits too.
    #[serde(default)]
    pub legacy_group1: bool,
    /// Text appended to the user at login, such as `+ct1000w`.
    #[serde(default)]
    pub login_suffix: String,
    /// Export secrets too.
    #[serde(default)]
    pub show_sensitive: bool,
    /// Request only log lines with the topic `system`.
    #[serde(default = "yes")]
    pub log_filter: bool,
    /// Seconds from one export to the next if the log shows no change.
    #[serde(default = "seconds::<1800>")]
    pub interval: u64,
    /// Seconds from the last log line about a change to the export.
    #[serde(default = "seconds::<2>")]
    pub settle: u64,
    /// Seconds after which an export fails.
    #[serde(default = "seconds::<120>")]
    pub timeout: u64,
    /// Seconds of silence after which a keepalive is sent; after three without an answer the connection ends.
    #[serde(default = "seconds::<20>")]
    pub keepalive: u64,
}

fn default_ring() -> String {
    "/addrwatch-routeros".into()
}
fn seconds<const N: u64>() -> u64 {
    N
}
fn count<const N: usize>() -> usize {
    N
}
fn yes() -> bool {
    true
}

impl Config {
    pub fn read(path: &Path) -> Result<Config, String> {
        let text = read_file_text(path, FileKind::Settings, MAX_CONFIG)
            .map_err(|error| format!("read {}: {}", path.display(), aw_service::cause(&error)))?;
        let mut config =
            Config::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
        config.make_paths_absolute(absolute.parent().unwrap_or(Path::new("/")));
        link_jumps(&mut config)?; // with those paths
        Ok(config)
    }

    /// Relative paths are relative to the directory of the file.
    fn make_paths_absolute(&mut self, directory: &Path) {
        let set = |path: &mut PathBuf| *path = directory.join(&*path);
        set(&mut self.archive);
        self.git.iter_mut().for_each(set);
        if let Some(mail) = &mut self.mail {
            let oauth = mail.oauth.iter_mut();
            let of_oauth =
                oauth.flat_map(|o| [&mut o.client_secret_file, &mut o.refresh_token_file]);
            let files = of_oauth.chain([&mut mail.ca_file, &mut mail.password_file]);
            files.flatten().for_each(set);
        }
        for router in self.routers.iter_mut().chain(&mut self.jump_hosts) {
            let paths =
                [&mut router.password_file, &mut router.key_file, &mut router.passphrase_file];
            paths.into_iter().flatten().for_each(set);
        }
    }

    pub fn parse(text: &str) -> Result<Config, String> {
        let mut config: Config = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let line = line.map_or(String::new(), |line| format!("line {line}: "));
            format!("{line}{}", error.message())
        })?;
        config.ring_name()?;
        let mut names = HashSet::new();
        for router in config.routers.iter().chain(&config.jump_hosts) {
            if !names.insert(&router.name) {
                return Err(format!("router {}: the name is used twice", router.name));
            }
            router.check().map_err(|why| format!("router {}: {why}", router.name))?;
        }
        if let Some(mail) = &config.mail {
            mail.check()?;
            if mail.oauth.as_ref().is_some_and(|oauth| oauth.command.is_some()) {
                return Err("mail: oauth: command: the sandbox of aw-routeros allows no other program (set token_url)".into());
            }
        }
        link_jumps(&mut config)?;
        if config.keep == 0 {
            return Err("keep: must be at least 1".into());
        }
        if config.alarm_after > MAX_SECONDS {
            return Err(format!("alarm_after: must be at most {MAX_SECONDS}"));
        }
        Ok(config)
    }

    /// The ring, if one is configured.
    pub fn ring_name(&self) -> Result<Option<RingName>, String> {
        let name = (!self.ring.is_empty()).then(|| self.ring.parse::<RingName>()).transpose();
        name.map_err(|fault| format!("ring {:?}: {fault}", self.ring))
    }
}

impl Router {
    fn check(&self) -> Result<(), String> {
        let logins =
            [self.password_file.is_some(), self.key_file.is_some(), self.agent].map(usize::from);
        match logins.iter().sum() {
            1 => {}
            0 => return Err("no login: set password_file, key_file or agent = true".into()),
            _ => return Err("set only one of password_file, key_file and agent".into()),
        }
        if self.interval == 0 || self.timeout == 0 || self.keepalive == 0 {
            return Err("interval, timeout and keepalive must be at least 1".into());
        }
        if [self.interval, self.settle, self.timeout, self.keepalive]
            .iter()
            .any(|s| *s > MAX_SECONDS)
        {
            return Err(format!(
                "interval, settle, timeout and keepalive must be at most {MAX_SECONDS}"
            ));
        }
        Ok(())
    }

    /// The user as it is sent at login, with its suffix.
    pub fn login(&self) -> String {
        format!("{}{}", self.user, self.login_suffix)
    }

    /// See [`Router::timeout`].
    pub fn export_timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
