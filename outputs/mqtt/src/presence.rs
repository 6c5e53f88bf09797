//! Presence: whether the devices with names are at home. No I/O and no clock.

use std::{collections::BTreeMap, net::IpAddr};

use aw_detect::Names;
use aw_output::ClaimedNames;
use aw_service::is_hidden;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shm_layout::{Event, Evidence, MacAddr, UnixTime};

use crate::{
    coverage::{Coverage, View},
    home_assistant,
    topics::Topics,
};

/// The states of a device, as Home Assistant names them.
pub const HOME: &str = "home";
pub const NOT_HOME: &str = "not_home";
/// Whether the state of a device is known, or `aw-mqtt` runs.
pub const ONLINE: &str = "online";
pub const OFFLINE: &str = "offline";
/// Characters of a name, at most.
const MAX_NAME: usize = 200;
/// Seconds between two messages about a device that stays at home: with another address or network, and with a later time
/// only. Home Assistant stores each of them in its database.
const MOVED_INTERVAL: i64 = 60;
const SEEN_INTERVAL: i64 = 300;

pub struct NamedDevices {
    all: BTreeMap<MacAddr, NamedDevice>,
    /// Seconds without an event after which a device is away.
    away: i64,
    /// What is captured.
    pub coverage: Coverage,
    /// When it was last looked who is away.
    looked: i64,
}

#[derive(Default)]
struct NamedDevice {
    name: String,
    /// Since when it counts as silent; 0 = never seen.
    last: i64,
    home: bool,
    /// Whether its state is not known, as it was published.
    offline: bool,
    /// The network where it was last seen, by whichever message.
    place: Option<String>,
    sighting: Sighting,
    /// What it calls itself.
    claimed_name: Option<String>,
    /// What was published, and when.
    published: (Sighting, Option<String>, i64),
}

impl NamedDevice {
    fn is_published(&mut self, now: i64) {
        self.published = (self.sighting.clone(), self.claimed_name.clone(), now);
    }
}

/// Where a device was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// 0 = never.
    time: i64,
    ip: Option<IpAddr>,
    network: Option<String>,
    /// When it last claimed `ip`.
    claimed: i64,
}

impl Sighting {
    /// None of a lease: a forged one would make a device present that is not there.
    pub fn new(event: &Event, network: String) -> Option<Sighting> {
        let evidence = event.kind.evidence();
        if evidence == Evidence::Lease {
            return None;
        }
        // The time of a clock that was not set is no time at which the device was seen.
        let time = if event.time.is_plausible() { event.time.seconds() } else { 0 };
        // A probe only asks whether another device has the address.
        let no_claim = evidence == Evidence::Probe || !evidence.is_pairing();
        let ip = Some(event.ip()).filter(|ip| !no_claim && !ip.is_unspecified());
        Some(Sighting { time, ip, network: Some(network), claimed: time })
    }

    /// Replaces what `newer` knows better. An IPv6 address replaces an IPv4 address only if that was not claimed for
    /// `valid` seconds: a device uses both, and IPv4 is the one that people know it by.
    fn update(&mut self, newer: Sighting, valid: i64) {
        let rank = |ip: &Option<IpAddr>| match ip {
            Some(IpAddr::V4(_)) => 3,
            Some(IpAddr::V6(ip)) if !ip.is_unicast_link_local() => 2,
            Some(IpAddr::V6(_)) => 1,
            None => 0,
        };
        let is_better = rank(&newer.ip) >= rank(&self.ip) && newer.claimed >= self.claimed;
        let (time, network) = (self.time.max(newer.time), newer.network.clone());
        if is_better || newer.ip.is_some() && newer.claimed - self.claimed > valid {
            *self = newer;
        }
        self.network = self.network.take().or(network);
        self.time = time;
    }

    fn has_moved(&self, from: &Sighting) -> bool {
        (self.ip, &self.network) != (from.ip, &from.network)
    }
}

/// The attributes of a device tracker. Older releases of Home Assistant do not know the zones, and ignore them.
#[derive(Deserialize, Serialize)]
struct Attributes {
    in_zones: Vec<String>,
    mac: String,
    ip: Option<IpAddr>,
    /// ISO 8601, in UTC.
    last_seen: Option<String>,
    network: Option<String>,
    /// What it calls itself, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claimed_name: Option<String>,
}

impl NamedDevices {
    pub fn new(names: &Names, away: i64) -> NamedDevices {
        let coverage = Coverage::default();
        let mut devices = NamedDevices { all: BTreeMap::new(), away, coverage, looked: 0 };
        devices.rename(names); // all of them are new
        devices
    }

    /// Replaces the names: devices that had one keep their state, and those without a name are forgotten. Returns those that
    /// had none.
    pub fn rename(&mut self, names: &Names) -> Vec<MacAddr> {
        let mut before = std::mem::take(&mut self.all);
        let new = names.keys().filter(|mac| !before.contains_key(mac)).copied().collect();
        let device = |(mac, name): (&MacAddr, &String)| {
            let name = if name.is_empty() { mac.to_string() } else { name.clone() };
            let name =
                name.chars().filter(|c| !c.is_control() && !is_hidden(*c)).take(MAX_NAME).collect();
            let device = before.remove(mac).unwrap_or_default();
            (*mac, NamedDevice { name, ..device })
        };
        self.all = names.iter().map(device).collect();
        new
    }

    pub fn names(&self) -> Names {
        self.all.iter().map(|(mac, device)| (*mac, device.name.clone())).collect()
    }

    pub fn all(&self) -> impl Iterator<Item = MacAddr> {
        self.all.keys().copied()
    }

    /// Sets the state that an earlier run published. Absence counts from now on, because nothing is known of the time in
    /// between.
    pub fn was_home(&mut self, mac: MacAddr, now: i64) {
        if let Some(device) = self.all.get_mut(&mac) {
            (device.home, device.last) = (true, now);
        }
    }

    /// Sets that an earlier run published that its state is not known.
    pub fn was_offline(&mut self, mac: MacAddr) {
        if let Some(device) = self.all.get_mut(&mac) {
            device.offline = true;
        }
    }

    /// Sets the attributes that an earlier run published, also of an older release, which had fewer.
    pub fn had_attributes(&mut self, mac: MacAddr, json: &str) {
        if let (Some(device), Ok(had)) =
            (self.all.get_mut(&mac), serde_json::from_str::<Attributes>(json))
        {
            let last_seen = had.last_seen.and_then(|text| text.parse().ok());
            let time = last_seen.map_or(0, Timestamp::as_second);
            device.place.clone_from(&had.network);
            device.sighting = Sighting { time, ip: had.ip, network: had.network, claimed: time };
        }
    }

    /// Sets when and with which address a device was seen before it had a name.
    pub fn was_seen(&mut self, mac: MacAddr, time: i64, ip: Option<IpAddr>, now: i64) {
        self.seen(mac, Sighting { time, ip, network: None, claimed: time }, now);
        if let Some(device) = self.all.get_mut(&mac) {
            device.home = device.last > 0 && now - device.last < self.away;
        }
    }

    /// Sets what devices call themselves.
    pub fn set_claimed_names(&mut self, claimed: &ClaimedNames) {
        for (mac, device) in &mut self.all {
            device.claimed_name = claimed.of(*mac).map(|claim| claim.name.clone());
        }
    }

    pub fn seen(&mut self, mac: MacAddr, mut sighting: Sighting, now: i64) {
        if !is_one_clock(sighting.time, now) {
            return; // captured before the clock was set: how long ago is not known
        }
        if let Some(device) = self.all.get_mut(&mac) {
            // With a time in the future, from before the clock was set back, the device would stay at home.
            device.last = device.last.max(sighting.time).min(now);
            if sighting.network.is_some() {
                device.place.clone_from(&sighting.network);
            }
            (sighting.time, sighting.claimed) = (sighting.time.min(now), sighting.claimed.min(now));
            let known = &mut device.sighting;
            (known.time, known.claimed) = (known.time.min(now), known.claimed.min(now));
            known.update(sighting, self.away);
        }
    }

    /// The devices whose state differs from the published one. A device does not leave while the place where it was last seen is
    /// not captured: its absence counts from the end of that, and a short interruption does not count as absence.
    pub fn changes(&mut self, now: i64) -> Vec<(MacAddr, bool)> {
        let NamedDevices { all, away, coverage, looked } = self;
        let passed = now - std::mem::replace(looked, now);
        let change = |(mac, device): (&MacAddr, &mut NamedDevice)| {
            match coverage.view(device.place.as_deref(), now) {
                View::Interrupted if device.home => device.last += passed, // does not count
                View::Unseen if device.home => device.last = now,
                _ => {}
            }
            if device.last > 0 && !is_one_clock(device.last, now) {
                device.last = now; // the clock was set since: absence counts from now on
            }
            device.last = device.last.min(now); // the clock was ahead when it was seen
            let home = device.last > 0 && now - device.last < *away;
            (home != device.home).then_some((*mac, home))
        };
        all.iter_mut().filter_map(change).collect()
    }

    /// The devices whose state is no longer known, or is known again.
    pub fn status_changes(&self, now: i64) -> Vec<(MacAddr, bool)> {
        let change = |(mac, device): (&MacAddr, &NamedDevice)| {
            let offline = match self.coverage.view(device.place.as_deref(), now) {
                View::Seen => false,
                View::Interrupted => device.offline,
                View::Unseen => true,
            };
            (offline != device.offline).then_some((*mac, offline))
        };
        self.all.iter().filter_map(change).collect()
    }

    /// Records that the broker has the status of a device.
    pub fn published_status(&mut self, mac: MacAddr, offline: bool) {
        if let Some(device) = self.all.get_mut(&mac) {
            device.offline = offline;
        }
    }

    /// The devices whose attributes differ from the published ones, if it is time to publish them.
    pub fn outdated(&self, now: i64) -> Vec<MacAddr> {
        let outdated = |(mac, device): (&MacAddr, &NamedDevice)| {
            let (published, name, time) = &device.published;
            let age = (now - time).abs(); // the clock may have been set
            let is_other = device.sighting.has_moved(published) || device.claimed_name != *name;
            let moved = is_other && age >= MOVED_INTERVAL;
            let seen = device.sighting.time != published.time && age >= SEEN_INTERVAL;
            (moved || seen).then_some(*mac)
        };
        self.all.iter().filter_map(outdated).collect()
    }

    /// Records that the broker has the state of a device and its attributes.
    pub fn published(&mut self, mac: MacAddr, home: bool, now: i64) {
        if let Some(device) = self.all.get_mut(&mac) {
            device.home = home;
            device.is_published(now);
        }
    }

    /// Records that the broker has the states of all devices and their attributes.
    pub fn all_published(&mut self, now: i64) {
        self.all.values_mut().for_each(|device| device.is_published(now));
    }

    pub fn is_home(&self, mac: MacAddr) -> bool {
        self.all.get(&mac).is_some_and(|device| device.home)
    }

    /// The retained messages of all devices: topics with payloads.
    pub fn retained(&self, topics: &Topics) -> Vec<(String, String)> {
        let of = |(mac, device): (&MacAddr, &NamedDevice)| {
            let config = home_assistant::device_tracker(*mac, &device.name, topics).to_string();
            let [state, attributes] = self.messages(*mac, device.home, topics);
            let status = status_message(*mac, device.offline, topics);
            [(topics.discovery(*mac), config), status, state, attributes]
        };
        self.all.iter().flat_map(of).collect()
    }

    /// The state of a device and its attributes: topics with payloads.
    pub fn messages(&self, mac: MacAddr, home: bool, topics: &Topics) -> [(String, String); 2] {
        let device = self.all.get(&mac);
        let sighting = device.map(|device| device.sighting.clone()).unwrap_or_default();
        let last_seen = Some(sighting.time).filter(|time| *time > 0);
        let attributes = Attributes {
            in_zones: if home { vec!["zone.home".into()] } else { Vec::new() },
            mac: mac.to_string(),
            ip: sighting.ip,
            last_seen: last_seen
                .and_then(|time| Timestamp::from_second(time).ok())
                .map(|time| time.to_string()),
            network: sighting.network,
            claimed_name: device.and_then(|device| device.claimed_name.clone()),
        };
        let state = if home { HOME } else { NOT_HOME };
        let attributes = serde_json::to_string(&attributes).unwrap_or_default(); // cannot fail: its keys are text
        [(topics.device(mac), state.into()), (topics.attributes(mac), attributes)]
    }
}

/// Whether the state of a device is known: a topic with its payload.
pub fn status_message(mac: MacAddr, offline: bool, topics: &Topics) -> (String, String) {
    let status = if offline { OFFLINE } else { ONLINE };
    (topics.device_status(mac), status.into())
}

/// Whether the clock was set at both times, or at neither.
fn is_one_clock(one: i64, other: i64) -> bool {
    UnixTime::new(one, 0).is_plausible() == UnixTime::new(other, 0).is_plausible()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(time: i64) -> Sighting {
        Sighting { time, claimed: time, ..Sighting::default() }
    }

    fn claim(time: i64, ip: &str, network: &str) -> Sighting {
        Sighting { ip: ip.parse().ok(), network: Some(network.into()), ..at(time) }
    }

    /// A forged lease keeps no device at home, moves none and gives none an address.
    #[test]
    fn a_lease_is_no_sighting() {
        use shm_layout::{Kind, Origin, VlanId};
        let mac = MacAddr::new([2; 6]);
        let event = |origin| Event {
            time: UnixTime::new(1_800_000_000, 0),
            address: Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped(),
            interface: "eth0".parse().unwrap(),
            mac,
            source: mac,
            vlan: VlanId::NONE,
            outer_vlan: VlanId::NONE,
            kind: Kind::Pairing(origin),
            router: Ipv4Addr::UNSPECIFIED,
        };
        let sighting = |origin| Sighting::new(&event(origin), "eth0".into());
        for origin in [Origin::DhcpAck, Origin::AddressRegistration] {
            assert_eq!(sighting(origin), None);
        }
        let seen = sighting(Origin::ArpRequest).unwrap();
        assert_eq!((seen.time, seen.ip), (1_800_000_000, "10.0.0.7".parse().ok()));
        assert_eq!(sighting(Origin::ArpProbe).unwrap().ip, None);
    }

    /// The address is the one that people know the device by, and a probe is no claim.
    #[test]
    fn addresses() {
        let (one, topics) = (MacAddr::new([2; 6]), Topics::new("a", "here", "ha"));
        let mut devices = NamedDevices::new(&[(one, "one".into())].into(), 600);
        let attributes = |devices: &NamedDevices| {
            let [_, (_, json)] = devices.messages(one, true, &topics);
            let Attributes { ip, last_seen, network, .. } = serde_json::from_str(&json).unwrap();
            let ip = ip.map_or("none".into(), |ip| ip.to_string());
            format!("{ip} {} {}", network.unwrap_or_default(), last_seen.unwrap_or_default())
        };
        assert_eq!(attributes(&devices), "none  ");
        for (sighting, expected) in [
            (
                Sighting { network: Some("probed".into()), ..at(1000) },
                "none probed 1970-01-01T00:16:40Z",
            ),
            (claim(1001, "fe80::1", "eth0"), "fe80::1 eth0 1970-01-01T00:16:41Z"),
            (claim(1002, "2001:db8::1", "eth0"), "2001:db8::1 eth0 1970-01-01T00:16:42Z"),
            (claim(1003, "10.0.0.1", "eth0.7"), "10.0.0.1 eth0.7 1970-01-01T00:16:43Z"),
            (claim(1004, "2001:db8::1", "eth0"), "10.0.0.1 eth0.7 1970-01-01T00:16:44Z"),
            (
                Sighting { network: Some("probed".into()), ..at(1005) },
                "10.0.0.1 eth0.7 1970-01-01T00:16:45Z",
            ),
            (claim(1006, "10.0.0.2", "eth0.7"), "10.0.0.2 eth0.7 1970-01-01T00:16:46Z"),
            (claim(900, "10.0.0.2", "eth0.7"), "10.0.0.2 eth0.7 1970-01-01T00:16:46Z"),
            (claim(1607, "2001:db8::1", "eth0"), "2001:db8::1 eth0 1970-01-01T00:26:47Z"),
            (claim(9000, "10.0.0.2", "eth0"), "10.0.0.2 eth0 1970-01-01T00:33:20Z"), // a clock that is ahead
        ] {
            devices.seen(one, sighting, 2000);
            assert_eq!(attributes(&devices), expected);
        }
        // After a restart.
        let [_, (_, json)] = devices.messages(one, true, &topics);
        let mut later = NamedDevices::new(&[(one, "one".into())].into(), 600);
        later.had_attributes(one, &json);
        assert_eq!(attributes(&later), attributes(&devices));
        for old in ["{\"in_zones\":[],\"mac\":\"02:02:02:02:02:02\"}", "rubbish", ""] {
            later.had_attributes(one, old);
        }
        assert_eq!(attributes(&later), "none  ");
    }

    /// Home Assistant stores each message: a device that stays at home causes few.
    #[test]
    fn attributes_are_published_seldom() {
        let one = MacAddr::new([2; 6]);
        let mut devices = NamedDevices::new(&[(one, "one".into())].into(), 600);
        devices.all_published(1000);
        devices.seen(one, claim(1000, "10.0.0.1", "eth0"), 1000);
        assert_eq!(devices.changes(1000), [(one, true)]);
        devices.published(one, true, 1000);
        devices.seen(one, claim(1010, "10.0.0.1", "eth0"), 1010);
        assert_eq!((devices.outdated(1299), devices.outdated(1300)), (vec![], vec![one]));
        devices.seen(one, claim(1020, "10.0.0.2", "eth0"), 1020);
        assert_eq!((devices.outdated(1059), devices.outdated(1060)), (vec![], vec![one]));
        devices.published(one, true, 1060);
        assert_eq!(devices.outdated(5000), [], "nothing is new");
    }

    /// Interruptions do not count as absence, and end none: a device leaves also if its collector restarts each minute.
    #[test]
    fn a_collector_that_restarts_again_and_again() {
        let one = MacAddr::new([2; 6]);
        let mut devices = NamedDevices::new(&[(one, "one".into())].into(), 300);
        devices.seen(one, claim(1000, "10.0.0.1", "eth0"), 1000);
        assert_eq!(devices.changes(1000), [(one, true)]);
        devices.published(one, true, 1000);
        let left = (1001..3000).find(|now| {
            let is_running = now % 60 >= 6;
            devices.coverage.observe(
                &crate::coverage::tests::state("/r", is_running, &["eth0"], &[]),
                String::new(),
                *now,
            );
            devices.changes(*now) == [(one, false)]
        });
        assert_eq!(left, Some(1336), "300 s and six interruptions of 6 s");
    }

    /// A device that is at home gets a name.
    #[test]
    fn a_name_for_a_device_that_was_seen() {
        let (one, two) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let names = |macs: &[MacAddr]| macs.iter().map(|mac| (*mac, String::new())).collect();
        let mut devices = NamedDevices::new(&names(&[one]), 600);
        assert_eq!(devices.rename(&names(&[one, two])), [two]);
        devices.was_seen(two, 700, "10.0.0.2".parse().ok(), 1000);
        let mut seen = NamedDevices::new(&names(&[two]), 600);
        seen.was_seen(two, 700, "10.0.0.2".parse().ok(), 1000);
        seen.seen(two, claim(701, "fe80::1", "eth0"), 1000);
        let [_, (_, json)] = seen.messages(two, true, &Topics::new("a", "here", "ha"));
        assert!(json.contains("10.0.0.2") && json.contains("eth0"), "{json}");
        assert!(devices.is_home(two) && !devices.is_home(one));
        assert_eq!((devices.changes(1299), devices.changes(1300)), (vec![], vec![(two, false)]));
        let [_, (_, json)] = devices.messages(two, true, &Topics::new("a", "here", "ha"));
        assert!(json.contains("1970-01-01T00:11:40Z") && json.contains("10.0.0.2"), "{json}");
        for (time, is_home) in [(400, false), (0, false), (401, true)] {
            let mut devices = NamedDevices::new(&names(&[one]), 600);
            devices.was_seen(one, time, None, 1000);
            assert_eq!(devices.is_home(one), is_home, "{time}");
        }
    }

    #[test]
    fn coming_and_going() {
        let (one, two) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let mut devices =
            NamedDevices::new(&[(one, "a\x07b".into()), (two, String::new())].into(), 600);
        assert_eq!(devices.names().into_values().collect::<Vec<_>>(), ["ab", "04:04:04:04:04:04"]);
        assert_eq!(devices.changes(1000), []);
        devices.seen(one, at(100), 1000);
        assert_eq!(devices.changes(1000), [], "long ago");
        devices.seen(one, at(900), 1000);
        devices.seen(MacAddr::ZERO, at(900), 1000);
        assert_eq!(devices.changes(1000), [(one, true)]);
        devices.published(one, true, 1000);
        assert_eq!((devices.changes(1499), devices.changes(1500)), (vec![], vec![(one, false)]));
        devices.seen(one, at(9000), 1000);
        assert_eq!(devices.changes(1600), [(one, false)], "a time in the future counts as now");
        devices.was_home(two, 2000);
        assert_eq!(devices.changes(2599), [(one, false)]);
        assert_eq!(devices.changes(2600), [(one, false), (two, false)]);
    }

    /// A collector that ends, or an interface that is down, sends no one away: after its return, absence counts from then on.
    #[test]
    fn a_place_that_is_not_captured() {
        use crate::coverage::tests::state;
        let macs = [2, 4, 6].map(|byte| MacAddr::new([byte; 6]));
        let [one, two, never] = macs;
        let names = macs.map(|mac| (mac, String::new())).into();
        let mut devices = NamedDevices::new(&names, 600);
        let watch = |devices: &mut NamedDevices, is_running, down: &[&str], now| {
            let captured: Vec<_> =
                ["eth0", "eth1"].into_iter().filter(|name| !down.contains(name)).collect();
            let state = state("/r", is_running, &captured, down);
            devices.coverage.observe(&state, String::new(), now);
        };
        watch(&mut devices, true, &[], 1000);
        devices.seen(one, claim(1000, "10.0.0.1", "eth0.7"), 1000);
        devices.seen(two, claim(1000, "10.0.0.2", "eth1"), 1000);
        // The place is the last one, also without an address that is better known.
        devices.seen(two, claim(1001, "fe80::1", "eth0"), 1001);
        devices.seen(two, claim(1002, "fe80::1", "eth1"), 1002);
        for (mac, home) in devices.changes(1002) {
            devices.published(mac, home, 1002);
        }
        watch(&mut devices, true, &["eth0"], 1003);
        assert_eq!(devices.status_changes(1003), [(one, true)]);
        devices.published_status(one, true);
        watch(&mut devices, true, &["eth0"], 1700);
        assert_eq!(devices.changes(1700), [(two, false)], "only the one whose interface is up");
        // The collector ends, is blind for long, and comes back.
        devices.seen(two, claim(8998, "10.0.0.2", "eth1"), 8998);
        watch(&mut devices, false, &[], 8999);
        assert_eq!((devices.changes(9000), devices.status_changes(9000)), (vec![], vec![]));
        let blind =
            aw_output::RingState { blind: Some("ended".into()), ..state("/r", false, &[], &[]) };
        devices.coverage.observe(&blind, String::new(), 9001);
        assert_eq!(devices.status_changes(9001), [(two, true), (never, true)]);
        for mac in macs {
            devices.published_status(mac, true);
        }
        let retained = devices.retained(&Topics::new("a", "here", "ha"));
        let status = retained.iter().filter(|(topic, _)| topic.ends_with("/status"));
        assert!(status.map(|(_, status)| status).eq(["offline"; 3]), "{retained:?}");
        assert_eq!(devices.changes(9001), []);
        watch(&mut devices, true, &[], 9002);
        assert_eq!(devices.status_changes(9002), macs.map(|mac| (mac, false)));
        watch(&mut devices, true, &[], 9600);
        assert_eq!(
            (devices.changes(9600), devices.changes(9601)),
            (vec![], vec![(one, false), (two, false)])
        );
    }

    /// Absence counts from the moment when the clock was set right, or from a later event.
    #[test]
    fn a_clock_that_was_ahead() {
        let (one, two) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let mut devices =
            NamedDevices::new(&[(one, "one".into()), (two, "two".into())].into(), 600);
        for mac in [one, two] {
            devices.seen(mac, at(9000), 9000);
            devices.published(mac, true, 9000);
        }
        devices.seen(two, at(900), 1000);
        assert_eq!(devices.changes(1100), []);
        assert_eq!(devices.changes(1600), [(two, false)]);
        assert_eq!(devices.changes(1700), [(one, false), (two, false)]);
    }

    /// A machine without a battery boots in 1970: who is at home then, is not away when the clock is set.
    #[test]
    fn a_clock_that_is_set() {
        let (one, two) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let mut devices =
            NamedDevices::new(&[(one, "one".into()), (two, "two".into())].into(), 600);
        devices.seen(one, at(30), 31);
        assert_eq!(devices.changes(31), [(one, true)]);
        devices.published(one, true, 31);
        let now = 1_700_000_000;
        devices.seen(two, at(40), now);
        assert_eq!(devices.changes(now), [], "and no device came");
        assert_eq!(devices.changes(now + 599), []);
        assert_eq!(devices.changes(now + 600), [(one, false)]);
    }
}
