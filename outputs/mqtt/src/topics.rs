//! MQTT topics. Names in them can come from the network: characters with a meaning in topics are replaced.

use shm_layout::MacAddr;

/// Builds the topics of this host, and those of Home Assistant.
pub struct Topics {
    /// `PREFIX/HOST`.
    base: String,
    /// Home Assistant's prefix.
    discovery: String,
    host: String,
    /// `addrwatch_HOST`, as Home Assistant allows it in topics.
    node: String,
}

impl Topics {
    pub fn new(prefix: &str, host: &str, discovery: &str) -> Topics {
        let host = level(host);
        let node = format!("addrwatch_{}", node_id(&host));
        Topics { base: format!("{prefix}/{host}"), discovery: discovery.into(), host, node }
    }

    /// The client identifier. It is always the same, so that a new connection ends an old one, whose last will is then
    /// published before the first message of the new one.
    pub fn client(&self) -> String {
        format!("aw-mqtt-{}", self.host)
    }

    /// What all topics of this host begin with.
    pub fn base(&self) -> &str {
        &self.base
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

    /// Whether the state of the device is known.
    pub fn device_status(&self, mac: MacAddr) -> String {
        format!("{}/status", self.device(mac))
    }

    /// The alerts that Home Assistant's event entity reports.
    pub fn alerts(&self) -> String {
        format!("{}/alerts", self.base)
    }

    pub fn discovery(&self, mac: MacAddr) -> String {
        format!("{}/device_tracker/{}/{}/config", self.discovery, self.node, plain(mac))
    }

    pub fn alerts_discovery(&self) -> String {
        format!("{}/event/{}/alerts/config", self.discovery, self.node)
    }

    /// Whether a message on this topic describes an entity to Home Assistant, under any prefix.
    pub fn is_discovery(topic: &str) -> bool {
        topic.ends_with("/config")
    }

    /// An identifier that no other device of any host has.
    pub fn unique_id(&self, mac: MacAddr) -> String {
        format!("addrwatch_{}_{}", self.host, plain(mac))
    }

    /// The identifier of the event entity.
    pub fn alerts_id(&self) -> String {
        format!("{}_alerts", self.host_id())
    }

    /// The identifier and the name of this host among Home Assistant's devices.
    pub fn host_id(&self) -> String {
        format!("addrwatch_{}", self.host)
    }

    pub fn host_name(&self) -> String {
        format!("addrwatch on {}", self.host)
    }
}

/// A node id of Home Assistant, which allows letters, digits, - and _ only. Different hosts have different ids.
fn node_id(host: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    host.chars().fold(String::new(), |node, c| {
        if is_plain(c) { format!("{node}{c}") } else { format!("{node}_{:02x}", u32::from(c)) }
    })
}

fn plain(mac: MacAddr) -> String {
    mac.to_string().replace(':', "")
}

/// A level of a topic, without `/`, wildcards and control characters.
fn level(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    let level: String = text.chars().map(|c| if plain(c) { c } else { '_' }).take(255).collect();
    if level.is_empty() { "_".into() } else { level }
}

pub fn parse_prefix(text: &str) -> Result<String, &'static str> {
    let is_level = |part: &str| !part.is_empty() && level(part) == part;
    let is_prefix = text.len() <= 255 && text.split('/').all(is_level);
    is_prefix
        .then(|| text.into())
        .ok_or("must have levels of letters, digits, - _ . : @, separated by /")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hostile_names_are_replaced() {
        let topics = Topics::new("a/b", "x/+/#\0é host.net", "ha");
        assert_eq!(topics.status(), "a/b/x______~_host.net/status".replace('~', ""));
        assert_eq!(topics.event("../$SYS/#", "new"), "a/b/x_______host.net/events/..__SYS__/new");
        assert_eq!(level(""), "_");
        assert_eq!(level(&"é".repeat(1000)).len(), 255);
        for bad in ["", "/a", "a/", "a//b", "a b", "+", "a/#", "$SYS", "a\0"] {
            assert!(parse_prefix(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_prefix("home/lan_1").as_deref(), Ok("home/lan_1"));
    }

    #[test]
    fn topics_of_home_assistant() {
        let (topics, mac) =
            (Topics::new("a", "host.net", "ha"), MacAddr::new([2, 0, 0, 0, 0, 0xa]));
        let config = "ha/device_tracker/addrwatch_host_2enet/02000000000a/config";
        assert_eq!(topics.discovery(mac), config);
        assert_eq!(topics.device(mac), "a/host.net/devices/02:00:00:00:00:0a");
        assert_eq!(topics.alerts_discovery(), "ha/event/addrwatch_host_2enet/alerts/config");
        assert_eq!(topics.alerts(), "a/host.net/alerts");
        assert!(Topics::is_discovery(config) && !Topics::is_discovery(&topics.attributes(mac)));
        let hosts = ["a.b", "a_b", "a:b", "a@b", "a-b", "a_2eb", "a__b", "ab"];
        let all: BTreeSet<_> =
            hosts.iter().map(|host| Topics::new("a", host, "ha").discovery(mac)).collect();
        assert_eq!(all.len(), hosts.len(), "{all:?}");
    }
}
