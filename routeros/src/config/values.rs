//! Values of the configuration that have a form of their own.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host_key::HostKey;

/// Pinned host keys: one, or a list, as while a router changes its key.
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

/// A router's name: a directory's, and a word on any line.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Name, String> {
        let fits = (1..=64).contains(&name.len())
            && !name.starts_with(['.', '-'])
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let fault = "1 to 64 letters, digits, dots, dashes and underscores";
        if fits { Ok(Name(name)) } else { Err(format!("router name {name:?}: must be {fault}")) }
    }
}

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a router listens.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// SSH's port.
    pub port: u16,
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Address, String> {
        let fault = || format!("address {text:?}: must be HOST, HOST:PORT or [IPv6]:PORT");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(fault)?,
            // More than one colon: an IPv6 address without a port.
            None if text.matches(':').count() > 1 => (text.as_str(), ""),
            None => text.find(':').map_or((text.as_str(), ""), |at| text.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(fault)?,
            None if port.is_empty() => 22,
            None => return Err(fault()),
        };
        let fits = !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic());
        if fits { Ok(Address { host: host.into(), port }) } else { Err(fault()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
