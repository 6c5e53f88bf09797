//! Types of configuration values.

use std::{fmt, net::Ipv4Addr};

use aw_service::HostPort;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::host_key::HostKey;

/// Pinned host keys: one, or a list, for example while a router gets a new key.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "OneOrMore")]
pub struct HostKeys(pub Vec<HostKey>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl TryFrom<OneOrMore> for HostKeys {
    type Error = String;

    fn try_from(texts: OneOrMore) -> Result<HostKeys, String> {
        let texts = match texts {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        texts.into_iter().map(HostKey::try_from).collect::<Result<_, _>>().map(HostKeys)
    }
}

/// Which log lines without a difference in the export, and changed facts about the router, are mailed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MailNoted {
    None,
    /// Those about users, groups, keys, certificates, packages, version and hardware: who has access, and to what.
    #[default]
    Security,
    /// All, also those of scripts that run every minute.
    All,
}

/// A router's name: the name of its directory, and a word in messages.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct RouterName(String);

impl TryFrom<String> for RouterName {
    type Error = String;

    fn try_from(name: String) -> Result<RouterName, String> {
        let fits = (1..=64).contains(&name.len())
            && !name.starts_with(['.', '-'])
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let fault = "1 to 64 letters, digits, dots, dashes and underscores";
        if fits {
            Ok(RouterName(name))
        } else {
            Err(format!("router name {name:?}: must be {fault}"))
        }
    }
}

impl RouterName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of a router; the default port is SSH's.
pub fn router_address(text: &str) -> Result<HostPort, String> {
    let port = text.rsplit_once(':').map(|(_, port)| port);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_one = text.matches(':').count() == 1 || text.starts_with('[');
    if is_one && port.is_some_and(|port| is_number(port) && !port.parse().is_ok_and(|n: u16| n > 0))
    {
        return Err(format!("address {text:?}: a port is 1 to 65535"));
    }
    let address = HostPort::parse(text, 22).map_err(|fault| format!("address {fault}"))?;
    // No name of a host: a resolver would be asked for it.
    let host = &address.host;
    let is_ipv4 = host.contains('.') && host.split('.').all(is_number);
    if is_ipv4 && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("address {host:?}: no IPv4 address: four numbers from 0 to 255"));
    }
    Ok(address)
}

pub fn deserialize_address<'de, D: Deserializer<'de>>(from: D) -> Result<HostPort, D::Error> {
    router_address(&String::deserialize(from)?).map_err(Error::custom)
}
