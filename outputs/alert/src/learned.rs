//! The message at the end of the learning period: addresses that several MACs shared in it, or that a group's MAC had, and
//! devices that do proxy ARP, scan, or have a virtual MAC, and interfaces at which locally administered MACs are usual. From then on that is normal, so this is the only message about it,
//! also if it was a conflict or an attack.

use std::{net::IpAddr, ops::Range};

use aw_detect::{
    InfrastructureMemory, LearnedDevice, Names, Part, Rules, SharedAddress, interface_of,
    split_network,
};
use aw_output::{SinkResult, this_host};
use aw_service::plain;
use serde_json::{Value, json};
use shm_layout::MacAddr;

use crate::{
    learning,
    notification::Notification,
    parts::{fitting, number, parts},
    store::AlertStore,
};

/// Addresses, devices and interfaces in a message, of each, and MACs of an address; of further ones it has the number.
pub const MAX_LISTED: usize = 20;
const MAX_MACS: usize = 8;

pub struct Learned {
    /// The line that is printed.
    pub line: String,
    pub subject: String,
    /// What the lines are, and what is to be done.
    pub intro: String,
    /// A line for each address, device and interface.
    pub each: Vec<String>,
    pub fields: Value,
    pub host: String,
}

const INTRO: &str =
    "While aw-alert learned, several MACs or a group's MAC used each of these addresses,
these devices answered or probed for the addresses of others or had virtual MACs,
and these interfaces had private MACs. From now on that is normal. If a MAC does not
belong there, remove its device, and let aw-alert forget what it learned.
All devices: aw-query devices; without aw-sqlite, aw-alert export csv while aw-alert is stopped.";

const CONTESTED: &str =
    "Several MACs claimed these addresses that your configuration names. At most the one that had
the address first is normal there: compare each with the MAC of the device; those of a pair
belong in [[failover]].";

impl Learned {
    /// None if no address was shared, and no device is a special one.
    pub fn load(store: &mut AlertStore, rules: &Rules, time: i64) -> SinkResult<Option<Learned>> {
        let (shared, count) = store.memory.shared_addresses(MAX_LISTED)?;
        let (devices, of_devices) = store.memory.learned_devices(MAX_LISTED)?;
        // With a policy, no interface decides.
        let (interfaces, of_interfaces) = match rules.random_macs {
            None => store.memory.random_interfaces(MAX_LISTED)?,
            Some(_) => (Vec::new(), 0),
        };
        let since = store.note(learning::NOTES[0])?.unwrap_or_default();
        // Where names are recorded, the list of routers and servers has them.
        let contested = contested_lines(store, rules, since, |store, network| {
            Ok(store.memory.known(interface_of(network), Part::Period, "")?.is_none())
        })?;
        let any = count > 0 || of_devices > 0 || of_interfaces > 0 || !contested.is_empty();
        let (addresses, devices) = ((&*shared, count), (&*devices, of_devices));
        let interfaces = (&*interfaces, of_interfaces);
        let names = (&rules.names, rules.show_ring);
        let learned =
            any.then(|| Learned::of(addresses, devices, interfaces, names, time, &this_host()));
        Ok(learned.map(|learned| learned.with_contested(contested)))
    }

    /// With the lines about named addresses that several MACs claimed before all others: one of them is an attack, or a group.
    fn with_contested(mut self, mut lines: Vec<String>) -> Learned {
        let count = lines.len();
        if count == 0 {
            return self;
        }
        let time = self.line.split(' ').next().unwrap_or_default().to_owned();
        self.subject = match count {
            1 => "learned: 1 named address was claimed by several MACs".into(),
            _ => format!("learned: {count} named addresses were claimed by several MACs"),
        };
        lines.truncate(MAX_LISTED);
        push_further(&mut lines, count as u64);
        self.intro = format!("{CONTESTED}\n{}", self.intro);
        lines.append(&mut self.each);
        self.each = lines;
        self.line = format!("{time} {}: {}", self.subject, self.each.join(", "));
        self
    }

    fn of(
        (shared, count): (&[SharedAddress], u64),
        (devices, of_devices): (&[LearnedDevice], u64),
        (interfaces, of_interfaces): (&[(String, MacAddr)], u64),
        (names, show_ring): (&Names, bool),
        time: i64,
        host: &str,
    ) -> Learned {
        let number = if count == 1 { "1 address".into() } else { format!("{count} addresses") };
        let subject = match (count, of_devices) {
            (0, 0) => "learned: where private MACs are usual".into(),
            (0, _) => "learned: devices with proxy ARP, scanners or virtual MACs".into(),
            _ => format!("learned: several MACs share {number}"),
        };
        let mut each: Vec<_> = shared.iter().map(|one| described(one, names, show_ring)).collect();
        push_further(&mut each, count);
        let mut of_each: Vec<_> = devices
            .iter()
            .map(|LearnedDevice { mac, role }| format!("{role}{}", named(*mac, names)))
            .collect();
        push_further(&mut of_each, of_devices);
        each.append(&mut of_each);
        let mut at_each: Vec<_> = interfaces
            .iter()
            .map(|(interface, mac)| {
                private_macs(
                    &plain(&place(interface, show_ring)),
                    *mac,
                    named(*mac, names).trim_start(),
                )
            })
            .collect();
        push_further(&mut at_each, of_interfaces);
        each.append(&mut at_each);
        let line = format!("{subject}: {}", each.join(", "));
        let interfaces: Vec<&str> = interfaces.iter().map(|(interface, _)| &**interface).collect();
        let macs: Vec<_> = devices.iter().map(|device| device.mac.to_string()).collect();
        let addresses: Vec<IpAddr> = shared.iter().map(|one| one.ip).collect();
        let fields = json!({
            "kind": "learned", "host": host, "seconds": time, "count": count,
            "addresses": addresses, "devices": macs, "interfaces": interfaces,
        });
        let line = format!("{time} {line}");
        Learned { line, subject, intro: INTRO.into(), each, fields, host: host.into() }
    }

    /// In messages of at most `max` bytes, subject and text together.
    pub fn notifications(&self, max: usize) -> Vec<Notification> {
        let around = 2 * self.subject.len() + self.text(&[]).len();
        let room = max.saturating_sub(around);
        let lines: Vec<_> = self.each.iter().map(|line| fitting(line.clone(), room)).collect();
        let parts = parts(&lines, room);
        let notification = |(index, part): (usize, &Range<usize>)| {
            let subject = format!("{}{}", self.subject, number(index, parts.len()));
            let mut fields = self.fields.clone();
            fields["message"] = format!("{subject}: {}", lines[part.clone()].join(", ")).into();
            fields["lines"] = lines[part.clone()].into();
            Notification::new(subject, self.text(&lines[part.clone()]), fields)
        };
        parts.iter().enumerate().map(notification).collect()
    }

    fn text(&self, lines: &[String]) -> String {
        format!("{}\n\n{}\n\nreported by {}\n", self.intro, lines.join("\n"), self.host)
    }
}

/// A line for each address which the configuration names, and which several MACs claimed since a time that belong to no group, in
/// the networks for which `is_wanted`.
pub fn contested_lines(
    store: &mut AlertStore,
    rules: &Rules,
    since: i64,
    is_wanted: impl Fn(&mut AlertStore, &str) -> SinkResult<bool>,
) -> SinkResult<Vec<String>> {
    let mut lines = Vec::new();
    for mut one in store.memory.contested_addresses(since, |ip| rules.guards(ip))? {
        one.macs.retain(|mac| !rules.proxies.contains(mac));
        let is_contested = match rules.owners(one.ip).is_empty() {
            true => one.macs.len() > 1 && !rules.are_grouped(&one.macs),
            false => {
                one.macs.len() > 1 && one.macs.iter().any(|mac| rules.is_stranger(one.ip, *mac))
            }
        };
        if is_contested && is_wanted(store, &one.network)? {
            lines.push(contested_line(&one, rules));
        }
    }
    Ok(lines)
}

/// ``192.0.2.1 on eth0, which `routers` names, was claimed by 2 MACs: MAC [name] (first seen), MAC``, and what to do.
fn contested_line(shared: &SharedAddress, rules: &Rules) -> String {
    let SharedAddress { network, ip, macs, first } = shared;
    // It may have claimed the address only before the learning period.
    let is_first = if *first == Some(macs[0]) { " (first seen)" } else { "" };
    let key = rules.naming_key(*ip).unwrap_or_default();
    let is_stranger = |mac: &&MacAddr| rules.is_stranger(*ip, **mac);
    let strangers: Vec<_> = macs.iter().filter(is_stranger).take(MAX_MACS).collect();
    let what = if key == "routers" { "router" } else { "server" };
    let advice = match &*strangers {
        [] => format!(
            "write those that are on the labels of your {what} beside {ip} in `{key}`, restart aw-alert, find the port of each other one in the MAC address table of the switch, and unplug it"
        ),
        [one, others @ ..] => {
            let others: String = others.iter().map(|other| format!(" and {other}")).collect();
            format!(
                "{}: find the port of {one}{others} in the MAC address table of the switch, and unplug it",
                rules.other_than(*ip, **one)
            )
        }
    };
    let named: Vec<_> = macs.iter().take(MAX_MACS).map(|mac| named(*mac, &rules.names)).collect();
    let further = match macs.len() - named.len() {
        0 => String::new(),
        further => format!(" and {further} more"),
    };
    format!(
        "{ip} on {}, which `{key}` names, was claimed by {} MACs:{}{is_first},{}{further} ({advice})",
        plain(&place(network, rules.show_ring)),
        macs.len(),
        named[0],
        named[1..].join(",")
    )
}

/// What follows from a MAC at an interface. `shown`: the MAC with its name.
pub fn private_macs(interface: &str, mac: MacAddr, shown: &str) -> String {
    let mac = if shown.is_empty() { mac.to_string() } else { shown.to_owned() };
    format!(
        "{interface} has devices with private MACs, such as {mac} (phones and virtual machines use them): new devices with such a MAC come together in one message, up to a minute late"
    )
}

pub fn push_further(each: &mut Vec<String>, count: u64) {
    let further = count - each.len() as u64;
    if further > 0 {
        each.push(format!("and {further} more"));
    }
}

/// ` MAC [name]`
pub fn named(mac: MacAddr, names: &Names) -> String {
    let name = names.get(&mac).map(|name| format!(" [{}]", plain(name)));
    format!(" {mac}{}", name.unwrap_or_default())
}

/// `eth0`; with several rings, `site-a/eth0`.
pub fn place(network: &str, show_ring: bool) -> String {
    let (_, ring, interface) = split_network(network);
    match ring.trim_start_matches('/') {
        ring if show_ring && !ring.is_empty() => format!("{ring}/{interface}"),
        _ => interface.into(),
    }
}

/// `192.0.2.1 site-a/eth0 MAC [name] MAC`
fn described(shared: &SharedAddress, names: &Names, show_ring: bool) -> String {
    let SharedAddress { network, ip, macs, .. } = shared;
    let mut text = format!("{ip} {}", place(network, show_ring));
    for mac in macs.iter().take(MAX_MACS) {
        text += &named(*mac, names);
    }
    if macs.len() > MAX_MACS {
        text += &format!(" and {} more", macs.len() - MAX_MACS);
    }
    text
}

#[cfg(test)]
mod tests {
    use aw_detect::{Device, MacPolicy, Memory, NetworkState, Station};

    use super::*;
    use crate::template::Template;

    #[test]
    fn a_message_is_bounded() {
        let mac = |number: u8| MacAddr::new([0, 8, 0xe1, 0, 0, number]);
        let shared = |ip: &str, macs| SharedAddress {
            network: "sensor/site-a/eth0".into(),
            ip: ip.parse().unwrap(),
            macs: (1..=macs).map(mac).collect(),
            first: None,
        };
        let names = Names::from([(mac(2), "router".to_owned())]);
        let two = [shared("192.0.2.1", 2), shared("2001:db8::1", 10)];
        let names = (&names, true);
        let learned = Learned::of((&two, 7), (&[], 0), (&[], 0), names, 5, "sensor");
        let (line, mut messages) = (&learned.line, learned.notifications(usize::MAX));
        let first = "192.0.2.1 site-a/eth0 00:08:e1:00:00:01 00:08:e1:00:00:02 [router]";
        assert!(line.starts_with("5 learned: several MACs share 7 addresses: "), "{line}");
        assert!(line.contains(&format!(": {first}, 2001:db8::1 site-a/eth0 ")), "{line}");
        assert!(line.ends_with("00:08:e1:00:00:08 and 2 more, and 5 more"), "{line}");
        let Notification { text, fields, .. } = messages.remove(0);
        assert!(text.contains(&format!("\n{first}\n")), "{text}");
        assert!(text.ends_with(" and 2 more\nand 5 more\n\nreported by sensor\n"), "{text}");
        assert_eq!(fields["addresses"], json!(["192.0.2.1", "2001:db8::1"]));
        let devices = [(mac(2), "proxy ARP"), (mac(3), "scanner")]
            .map(|(mac, role)| LearnedDevice { mac, role });
        let learned = Learned::of((&[], 0), (&devices, 3), (&[], 0), names, 5, "sensor");
        let notification = learned.notifications(usize::MAX).remove(0);
        let expected = "5 learned: devices with proxy ARP, scanners or virtual MACs: \
            proxy ARP 00:08:e1:00:00:02 [router], scanner 00:08:e1:00:00:03, and 1 more";
        assert_eq!(learned.line, expected);
        let macs = json!(["00:08:e1:00:00:02", "00:08:e1:00:00:03"]);
        assert_eq!(notification.fields["devices"], macs);
        // No service cuts it.
        let many: Vec<_> = (0..20).map(|_| shared("2001:db8::1:2:3:4", 10)).collect();
        let learned = Learned::of((&many, 20), (&devices, 3), (&[], 0), names, 5, "sensor");
        for template in Template::ALL {
            let messages = learned.notifications(template.max_bytes());
            let bodies = messages.iter().map(|one| template.body(one, "t", None).to_string());
            let bodies: Vec<_> = bodies.collect();
            assert!(!bodies.iter().any(|body| body.contains("[cut]")), "{template:?} {bodies:?}");
            let listed: usize =
                bodies.iter().map(|body| body.matches("2001:db8::1:2:3:4").count()).sum();
            assert_eq!(listed, 20, "{template:?}");
        }
    }

    /// What to do about an address that several MACs claimed: where the configuration has its MAC, the others are to be found, and no pair
    /// of its own is listed.
    #[test]
    fn what_to_do_about_a_named_address() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        let claims = [2, 1].map(|last| aw_detect::MacClaim { mac: mac(last), time: 9 });
        let station =
            Station { claims: claims.into(), first: Some(claims[1]), ..Station::default() };
        store.memory.store_station("s/r/eth0", [192, 0, 2, 1].into(), &station).unwrap();
        let begin = "192.0.2.1 on eth0, which `routers` names, was claimed by 2 MACs: 00:08:e1:00:00:01 (first seen), 00:08:e1:00:00:02 (";
        let (one, other) = ("00:08:e1:00:00:01", "00:08:e1:00:00:02");
        let find = |own: &str, not: &str, all: &str| {
            format!(
                "`routers` has the MAC {own} for 192.0.2.1, and not {not}: find the port of {all} in the MAC address table of the switch, and unplug it)"
            )
        };
        let compare = "write those that are on the labels of your router beside 192.0.2.1 in `routers`, restart aw-alert, find the port of each other one in the MAC address table of the switch, and unplug it)";
        let third = "00:08:e1:00:00:03";
        for (own, expected) in [
            (String::new(), Some(compare.to_owned())),
            (format!(" {one}"), Some(find(one, other, other))),
            (format!(" {other}"), Some(find(other, one, one))),
            (format!(" {third}"), Some(find(third, one, &format!("{one} and {other}")))),
            (format!(" {one} {other}"), None),
        ] {
            let config = format!("routers = [\"192.0.2.1{own}\"]");
            let config = crate::config::Config::parse(&config).unwrap();
            let rules = config.rules(aw_detect::Dialect::Devices).unwrap();
            let lines = contested_lines(&mut store, &rules, 0, |_, _| Ok(true)).unwrap();
            let expected: Vec<_> =
                expected.map(|advice| format!("{begin}{advice}")).into_iter().collect();
            assert_eq!(lines, expected);
        }
    }

    /// All that is normal from now on is listed, after its end: an attacker may have been there already.
    #[test]
    fn what_is_listed() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let group: MacAddr = "03:bf:c0:00:02:01".parse().unwrap();
        let station = Station { learned: vec![group], ..Station::default() };
        store.memory.store_station("s/r/eth0", [192, 0, 2, 1].into(), &station).unwrap();
        let learned = Device { learned: true, ..Device::new(1) };
        let devices = [
            ("00:08:e1:00:00:01", Device { proxy: true, ..learned.clone() }),
            ("00:08:e1:00:00:02", Device { scanner: true, ..learned.clone() }),
            ("00:00:5e:00:01:07", learned.clone()),
            ("00:00:5e:00:01:08", Device::new(1)),
            ("00:08:e1:00:00:03", learned),
        ];
        for (mac, device) in devices {
            store.memory.store_device(mac.parse().unwrap(), &device).unwrap();
        }
        let learned = Learned::load(&mut store, &Rules::default(), 5).unwrap().unwrap();
        let listed = learned.line.split_once("1 address: ").unwrap().1;
        let expected = "192.0.2.1 eth0 03:bf:c0:00:02:01, virtual MAC 00:00:5e:00:01:07, \
            proxy ARP 00:08:e1:00:00:01, scanner 00:08:e1:00:00:02";
        assert_eq!(listed, expected);
    }

    /// One forged frame can do that: the message says which MAC it was.
    #[test]
    fn why_locally_administered_macs_are_in_the_digest() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let learned_random = Some("06:00:00:00:00:01".parse().unwrap());
        let state = NetworkState { learned: true, learned_random, ..NetworkState::default() };
        store.memory.store_network("s/r/eth0", &state).unwrap();
        let wired = NetworkState { learned: true, ..NetworkState::default() };
        store.memory.store_network("s/r/eth1", &wired).unwrap();
        let rules = Rules::default();
        let learned = Learned::load(&mut store, &rules, 5).unwrap().unwrap();
        let notification = learned.notifications(usize::MAX).remove(0);
        let expected = "5 learned: where private MACs are usual: eth0 has devices with private MACs, such as 06:00:00:00:00:01 \
            (phones and virtual machines use them): new devices with such a MAC come together in one message, up to a minute late";
        assert_eq!(learned.line, expected);
        assert_eq!(notification.fields["interfaces"], json!(["s/r/eth0"]));
        let rules = Rules { random_macs: Some(MacPolicy::Digest), ..rules };
        assert!(Learned::load(&mut store, &rules, 5).unwrap().is_none());
    }
}
