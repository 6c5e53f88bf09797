//! Words of the alerts about routers and servers: how to name one's own, and what of a router's header differs.

use std::net::IpAddr;

use super::routers::{MANAGED, OTHER};
use crate::{
    infrastructure::{MAX_MACS, NamedServer},
    rules::Rules,
};

/// A line of the configuration, at most.
const MAX_LINE: usize = 120;

impl Rules {
    /// `if it is yours, write routers = ["192.0.2.1", "fe80::1"] in the configuration of aw-alert, and restart aw-alert`: see
    /// [`Rules::to_add`]. A MAC in the line is to be compared: `if it is yours and the MAC is on its label, write ...`.
    pub(super) fn if_yours(&self, key: &str, named: &[NamedServer], new: &str) -> String {
        let (line, has_mac) = self.line_to_add(key, named, new);
        let label = if has_mac { " and the MAC is on its label" } else { "" };
        format!("if it is yours{label}, {line}")
    }

    /// `write routers = ...`; with a MAC in the line, `if the MAC is on its label, write routers = ...`.
    pub fn to_add_compared(&self, key: &str, named: &[NamedServer], new: &str) -> String {
        let (line, has_mac) = self.line_to_add(key, named, new);
        if has_mac { format!("if the MAC is on its label, {line}") } else { line }
    }

    /// `write routers = ["192.0.2.1", "fe80::1"] in the configuration of aw-alert, and restart aw-alert`: the line with what it has already.
    /// `new`: an address, a block, a DUID, or an address with a MAC, which is added to those of this address in each list that has some:
    /// aw-alert does not start if an address has other MACs in one list than in another. If only other lists have some, it is left out.
    pub fn to_add(&self, key: &str, named: &[NamedServer], new: &str) -> String {
        self.line_to_add(key, named, new).0
    }

    /// The same, and whether it has a new MAC.
    fn line_to_add(&self, key: &str, named: &[NamedServer], new: &str) -> (String, bool) {
        let (address, mac) = new.split_once(' ').unwrap_or((new, ""));
        let ip = address.parse::<IpAddr>().ok();
        let is_it = |one: &NamedServer| ip.is_some() && one.address() == ip;
        let has_macs = |(_, list): &(&str, &[NamedServer])| {
            list.iter().any(|one| is_it(one) && !one.macs().is_empty())
        };
        let with_macs: Vec<_> = self.named_lists().into_iter().filter(has_macs).collect();
        let owners = ip.map(|ip| self.owners(ip)).unwrap_or_default();
        let place = self.in_file();
        let restart = match &self.service_file {
            Some(_) => "then: systemctl restart aw-alert",
            None => "and restart aw-alert",
        };
        let (lists, new) = match with_macs.iter().any(|(of, _)| *of == key) {
            true if owners.len() >= MAX_MACS && !mac.is_empty() => {
                let line = format!("add [[failover]] with macs = [\"{}\", \"{mac}\"]", owners[0]);
                return (format!("{line} {place}, {restart}"), true);
            }
            true => {
                let owners = owners.iter().map(|own| format!(" {own}")).collect::<String>();
                (with_macs, format!("{address}{owners} {mac}").trim_end().to_owned())
            }
            false if with_macs.is_empty() => (vec![(key, named)], new.to_owned()),
            false => (vec![(key, named)], address.to_owned()),
        };
        let has_mac = ip.is_some() && !mac.is_empty() && new.contains(' ');
        let others = named.iter().filter(|one| !is_it(one)).map(ToString::to_string);
        let line = format!("{key} = {:?}", others.chain([new.clone()]).collect::<Vec<_>>());
        let keys = lists.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(" and ");
        let what = match lists.len() {
            1 if line.len() <= MAX_LINE => format!("write {line}"),
            1 if !named.iter().any(is_it) => format!("add \"{new}\" to {key}"),
            _ => format!("change {address} in {keys} to \"{new}\""),
        };
        (format!("{what} {place}, {restart}"), has_mac)
    }

    /// `in /etc/addrwatch/alert.toml`
    pub(super) fn in_file(&self) -> String {
        match &self.service_file {
            Some(file) => format!("in {file}"),
            None => "in the configuration of aw-alert".into(),
        }
    }
}

/// What of a router's header is another one than before: `hop_limit=255, before 64`; of the flags, each that differs.
pub(super) fn change(new: &str, old: &[&str]) -> String {
    let name = new.split('=').next().unwrap_or_default();
    let before = old.iter().find(|old| old.split('=').next() == Some(name));
    match before {
        None => in_words(new),
        Some(before) => match (flags_of(new), flags_of(before)) {
            (Some(new), Some(before)) if new != before => changed_flags(new, before),
            _ => format!("{}, before {}", in_words(new), before.replace(&format!("{name}="), "")),
        },
    }
}

fn changed_flags(new: u8, before: u8) -> String {
    let mut parts = Vec::new();
    for (flag, what) in [(MANAGED, "addresses by DHCPv6"), (OTHER, "other settings by DHCPv6")] {
        match (new & flag != 0, before & flag != 0) {
            (true, false) => parts.push(format!("now: {what}; before: not")),
            (false, true) => parts.push(format!("now: no {what}; before: yes")),
            _ => (),
        }
    }
    let (preference, old) = (preference(new), preference(before));
    if preference != old {
        parts.push(format!("now: preference {preference}; before: {old}"));
    }
    let others = !(MANAGED | OTHER | PREFERENCE);
    if (new ^ before) & others != 0 || parts.is_empty() {
        parts.push(format!("now: flags={new:#04x}; before: {before:#04x}"));
    }
    parts.join(", ")
}

/// The bits of the preference (RFC 4191, 2.2).
const PREFERENCE: u8 = 0x18;

fn preference(flags: u8) -> &'static str {
    match (flags & PREFERENCE) >> 3 {
        1 => "high",
        3 => "low",
        _ => "medium",
    }
}

fn flags_of(setting: &str) -> Option<u8> {
    u8::from_str_radix(setting.strip_prefix("flags=0x")?, 16).ok()
}

/// One setting of the header, with the flags in words.
pub(super) fn in_words(setting: &str) -> String {
    let Some(flags) = flags_of(setting) else { return setting.to_owned() };
    let is = |flag: u8| if flags & flag != 0 { "yes" } else { "no" };
    format!(
        "flags={flags:#04x} (addresses by DHCPv6 {}, other settings by DHCPv6 {}, preference {})",
        is(MANAGED),
        is(OTHER),
        preference(flags)
    )
}
