//! The configuration file, in TOML.

mod jump;
mod router_values;
mod tables;
mod words;

use std::{
    collections::{BTreeSet, HashSet},
    io::{self, ErrorKind},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aw_notify::{MailOptions, check_addresses};
use aw_service::{FileKind, HostPort, read_file_text, seconds};
use serde::{Deserialize, de::IgnoredAny};
use shm_layout::RingName;

use self::{jump::link_jumps, router_values::deserialize_address};
pub use self::{
    router_values::{HostKeys, MailNoted, RouterName, router_address},
    tables::{files_of_include, unknown_group},
};
use crate::{
    access, hooks::HookCommand, ignore::IgnoreRule, seal::Recipient, syslog::ListenAddress,
};

/// The default of `-c`.
pub const DEFAULT_PATH: &str = "/etc/addrwatch/routeros.toml";

/// The longest time in seconds: a year, which can be added to any clock.
const MAX_SECONDS: u64 = 366 * 24 * 3600;
/// Bytes of a configuration file, at most.
pub const MAX_CONFIG: u64 = 4 << 20;

#[derive(Clone, Debug, Deserialize, PartialEq)]
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
    #[serde(default = "number::<120>", deserialize_with = "seconds")]
    pub alarm_after: u64,
    /// age public keys: exports with secrets are stored encrypted to them, and masked otherwise.
    #[serde(default)]
    pub encrypt_to: Vec<Recipient>,
    /// Show secrets in mail and messages.
    #[serde(default)]
    pub mail_secrets: bool,
    /// Seconds in which further changes by the same users become one mail; 0 for a mail each.
    #[serde(default = "number::<300>", deserialize_with = "seconds")]
    pub mail_digest: u64,
    /// Lines of a difference in a mail.
    #[serde(default = "count::<500>")]
    pub mail_lines: usize,
    /// What is archived and not reported.
    #[serde(default)]
    pub ignore: Vec<IgnoreRule>,
    /// Programs that are started after a change.
    #[serde(default)]
    pub hooks: Vec<HookCommand>,
    /// Programs that are started after each commit.
    #[serde(default)]
    pub commit_hooks: Vec<HookCommand>,
    /// Seconds after which a hook is killed.
    #[serde(default = "number::<60>", deserialize_with = "seconds")]
    pub hook_timeout: u64,
    /// What is mailed of that which no export shows.
    #[serde(default)]
    pub mail_noted: MailNoted,
    /// Receive log lines of routers that send them to a syslog server, at this address and port.
    pub syslog: Option<ListenAddress>,
    /// Hosts that routers can be reached through with `via`, and that are not followed.
    #[serde(default, rename = "jump_host")]
    pub jump_hosts: Vec<Router>,
    /// The mail server; without it no mail is sent.
    pub mail: Option<MailOptions>,
    /// A directory with further files `*.toml`, of routers and groups.
    pub include: Option<PathBuf>,
    /// What routers and groups do not set; merged into each router.
    #[serde(default, rename = "defaults")]
    pub _defaults: IgnoredAny,
    /// What the routers of a group do not set; merged into each of them.
    #[serde(default, rename = "group")]
    pub _groups: IgnoredAny,
    /// The names of the groups.
    #[serde(skip)]
    pub groups: BTreeSet<String>,
    #[serde(default, rename = "router")]
    pub routers: Vec<Router>,
    /// What has no effect.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// The name in the archive, in mail and on the ring.
    pub name: RouterName,
    /// The group whose keys it has, unless it sets them.
    pub group: Option<String>,
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
    /// The receivers of mail about it, instead of those of `[mail]`.
    pub mail_to: Option<Vec<String>>,
    /// Export secrets too.
    #[serde(default)]
    pub show_sensitive: bool,
    /// Store binary backups, encrypted.
    #[serde(default)]
    pub backup: bool,
    /// Request only log lines with the topic `system`.
    #[serde(default = "yes")]
    pub log_filter: bool,
    /// Seconds from one export to the next if the log shows no change.
    #[serde(default = "number::<1800>", deserialize_with = "seconds")]
    pub interval: u64,
    /// Seconds from the last log line about a change to the export.
    #[serde(default = "number::<2>", deserialize_with = "seconds")]
    pub settle: u64,
    /// Seconds after which an export fails.
    #[serde(default = "number::<120>", deserialize_with = "seconds")]
    pub timeout: u64,
    /// Seconds after which a refused login is tried again; doubled each time, up to an hour. 0 for only after a reload.
    #[serde(default = "number::<600>", deserialize_with = "seconds")]
    pub login_retry: u64,
    /// Seconds of silence after which a keepalive is sent; after three without an answer the connection ends.
    #[serde(default = "number::<20>", deserialize_with = "seconds")]
    pub keepalive: u64,
}

fn default_ring() -> String {
    "/addrwatch-routeros".into()
}
fn number<const N: u64>() -> u64 {
    N
}
fn count<const N: usize>() -> usize {
    N
}
fn yes() -> bool {
    true
}

/// The archive of a configuration that is rejected, if the file can be read.
pub fn archive_of_rejected(path: &Path) -> Option<PathBuf> {
    let text = read_file_text(path, FileKind::Settings, MAX_CONFIG).ok()?;
    let top = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let line = top.filter(|line| line.trim_start().starts_with("archive")).last().unwrap_or("");
    let mut config = Config::parse(line).ok()?;
    let absolute = std::path::absolute(path).ok()?;
    config.make_paths_absolute(absolute.parent()?);
    Some(config.archive)
}

impl Config {
    pub fn read(path: &Path) -> Result<Config, String> {
        let text = read_file_text(path, FileKind::Settings, MAX_CONFIG).map_err(|error| {
            let mut why = aw_service::cause(&error);
            match error.kind() {
                ErrorKind::NotFound => {
                    why += " (aw-routeros add HOST creates it; -c names another)"
                }
                ErrorKind::PermissionDenied => {
                    why = format!("permission denied{}", access::remedy(path));
                }
                _ => {}
            }
            format!("read {}: {why}", path.display())
        })?;
        Config::parse_file(path, text)
    }

    /// The configuration if the file had this text.
    pub fn parse_file(path: &Path, text: String) -> Result<Config, String> {
        let read = |path: &Path| read_file_text(path, FileKind::Settings, MAX_CONFIG);
        Config::parse_files(path, text, read)
    }

    /// The same, with the texts of the files of `include` by `read`.
    pub fn parse_files(
        path: &Path,
        text: String,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Config, String> {
        let mut config = Config::of(&tables::sources(path, text, read)?)?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
        config.make_paths_absolute(absolute.parent().unwrap_or(Path::new("/")));
        link_jumps(&mut config)?; // with those paths
        Ok(config)
    }

    /// The configuration of a text; nothing is included.
    pub fn parse(text: &str) -> Result<Config, String> {
        Config::of(&tables::source(text))
    }

    fn of(sources: &[tables::Source]) -> Result<Config, String> {
        let config = tables::merge(sources).and_then(|(mut config, places)| {
            config.check(&places)?;
            link_jumps(&mut config)?;
            Ok(config)
        });
        config.map_err(|fault| fault.explain(sources))
    }

    /// Relative paths are relative to the directory of the file.
    fn make_paths_absolute(&mut self, directory: &Path) {
        let set = |path: &mut PathBuf| *path = directory.join(&*path);
        set(&mut self.archive);
        self.git.iter_mut().chain(&mut self.include).for_each(set);
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

    fn check(&mut self, places: &[usize]) -> Result<(), tables::Fault> {
        self.ring_name()?;
        let mut names = HashSet::new();
        for (number, router) in self.routers.iter().enumerate() {
            let fault = |why: &str| self.fault_of(number, places, why);
            if !names.insert(&router.name) {
                return Err(fault("the name is used twice"));
            }
            router.check().map_err(|why| fault(&why))?;
            if router.backup && self.encrypt_to.is_empty() {
                return Err(fault(
                    "backup: a backup has all secrets and is stored encrypted only (set encrypt_to)",
                ));
            }
            if router.mail_to.is_some() && self.mail.is_none() {
                return Err(fault(
                    "mail_to: there is no table [mail] (its server and from are needed)",
                ));
            }
        }
        for host in &self.jump_hosts {
            let fault = |why: &str| format!("jump_host {}: {why}", host.name);
            if !names.insert(&host.name) {
                return Err(fault("the name is used twice").into());
            }
            host.check().map_err(|why| fault(&why))?;
        }
        if let Some(mail) = &self.mail {
            mail.check()?;
            if mail.oauth.as_ref().is_some_and(|oauth| oauth.command.is_some()) {
                return Err("mail: oauth: command: the sandbox of aw-routeros allows no other program (set token_url)".to_owned().into());
            }
        }
        for (n, rule) in self.ignore.iter_mut().enumerate() {
            rule.check().map_err(|why| format!("ignore rule {}: {why}", n + 1))?;
        }
        if self.mail_digest > MAX_SECONDS {
            return Err(format!("mail_digest: must be at most {MAX_SECONDS}").into());
        }
        if !self.commit_hooks.is_empty() && self.git.is_none() {
            return Err("commit_hooks: nothing is committed (set git)".to_owned().into());
        }
        if self.hook_timeout == 0 || self.hook_timeout > MAX_SECONDS {
            return Err(format!("hook_timeout: must be 1 to {MAX_SECONDS}").into());
        }
        if self.keep == 0 {
            return Err("keep: must be at least 1".to_owned().into());
        }
        if self.alarm_after > MAX_SECONDS {
            return Err(format!("alarm_after: must be at most {MAX_SECONDS}").into());
        }
        Ok(())
    }

    /// All hooks: first those after changes.
    pub fn hooks(&self) -> impl Iterator<Item = &HookCommand> {
        self.hooks.iter().chain(&self.commit_hooks)
    }

    /// The files that `[mail]` names.
    pub fn files_of_mail(&self) -> impl Iterator<Item = &PathBuf> {
        let mail = self.mail.iter().flat_map(|mail| [&mail.password_file, &mail.ca_file]);
        let oauth = self.mail.iter().flat_map(|mail| &mail.oauth);
        let oauth = oauth.flat_map(|o| [&o.client_secret_file, &o.refresh_token_file]);
        mail.chain(oauth).flatten()
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
        if self.login_retry > MAX_SECONDS {
            return Err(format!("login_retry must be at most {MAX_SECONDS}"));
        }
        self.mail_to.as_deref().map_or(Ok(()), |to| check_addresses("mail_to", to))
    }

    /// Whether only the group or the receivers of mail differ, for which a connection need not end.
    pub fn is_followed_like(&self, other: &Router) -> bool {
        let jumps_alike = match (&self.jump, &other.jump) {
            (Some(jump), Some(other)) => jump.is_followed_like(other),
            (jump, other) => jump.is_none() && other.is_none(),
        };
        let (group, mail_to, jump) = (self.group.clone(), self.mail_to.clone(), self.jump.clone());
        jumps_alike && *self == Router { group, mail_to, jump, ..other.clone() }
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.password_file, &self.key_file, &self.passphrase_file].into_iter().flatten()
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
