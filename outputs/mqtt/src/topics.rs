//! What is published where. Names come from strangers: what could mean something in a topic is not taken into one.

use shm_layout::MacAddr;

/// Of our topics and of Home Assistant's.
pub struct Topics {
    /// `PREFIX/HOST`.
    base: String,
    /// `PREFIX/device_tracker/addrwatch_HOST`.
    discovery: String,
    host: String,
}

impl Topics {
    pub fn new(prefix: &str, host: &str, discovery: &str) -> Topics {
        let host = level(host);
        let node = node(&host);
        let discovery = format!("{discovery}/device_tracker/addrwatch_{node}");
        Topics { base: format!("{prefix}/{host}"), discovery, host }
    }

    /// Who we are towards the broker: always the same, so that a new connection ends an old one, whose will then
    /// comes before what the new one says.
    pub fn client(&self) -> String {
        format!("aw-mqtt-{}", self.host)
    }

    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    pub fn event(&self, network: &str, what: &str) -> String {
        format!("{}/events/{}/{what}", self.base, level(network))
    }

    pub fn device(&self, mac: MacAddr) -> String {
        format!("{}/devices/{mac}", self.base)
    }

    pub fn attributes(&self, mac: MacAddr) -> String {
        format!("{}/attributes", self.device(mac))
    }

    pub fn discovery(&self, mac: MacAddr) -> String {
        format!("{}/{}/config", self.discovery, plain(mac))
    }

    /// One that no other device of any host has.
    pub fn unique_id(&self, mac: MacAddr) -> String {
        format!("addrwatch_{}_{}", self.host, plain(mac))
    }
}

/// Home Assistant takes letters, digits, - and _ only: of no other host this comes out the same.
fn node(host: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    host.chars().fold(String::new(), |node, c| {
        if is_plain(c) { format!("{node}{c}") } else { format!("{node}_{:02x}", u32::from(c)) }
    })
}

fn plain(mac: MacAddr) -> String {
    mac.to_string().replace(':', "")
}

/// A level of a topic: no `/`, no wildcard, nothing invisible.
fn level(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    let level: String = text.chars().map(|c| if plain(c) { c } else { '_' }).take(255).collect();
    if level.is_empty() { "_".into() } else { level }
}

/// What stands before all topics.
pub fn prefix(text: &str) -> Result<String, &'static str> {
    let good = |part: &str| !part.is_empty() && level(part) == part;
    let good = text.len() <= 255 && text.split('/').all(good);
    good.then(|| text.into()).ok_or("must be letters, digits, - _ . : @ and single / between them")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hostile_names() {
        let topics = Topics::new("a/b", "x/+/#\0é host.net", "ha");
        assert_eq!(topics.status(), "a/b/x______~_host.net/status".replace('~', ""));
        assert_eq!(topics.event("../$SYS/#", "new"), "a/b/x_______host.net/events/..__SYS__/new");
        assert_eq!(level(""), "_");
        assert_eq!(level(&"é".repeat(1000)).len(), 255);
        for bad in ["", "/a", "a/", "a//b", "a b", "+", "a/#", "$SYS", "a\0"] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
        assert_eq!(prefix("home/lan_1").as_deref(), Ok("home/lan_1"));
    }

    #[test]
    fn of_home_assistant() {
        let (topics, mac) =
            (Topics::new("a", "host.net", "ha"), MacAddr::new([2, 0, 0, 0, 0, 0xa]));
        let config = "ha/device_tracker/addrwatch_host_2enet/02000000000a/config";
        assert_eq!(topics.discovery(mac), config);
        assert_eq!(topics.device(mac), "a/host.net/devices/02:00:00:00:00:0a");
        let hosts = ["a.b", "a_b", "a:b", "a@b", "a-b", "a_2eb", "a__b", "ab"];
        let all: BTreeSet<_> =
            hosts.iter().map(|host| Topics::new("a", host, "ha").discovery(mac)).collect();
        assert_eq!(all.len(), hosts.len(), "{all:?}");
    }
}
