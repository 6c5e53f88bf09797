//! The message at the end of the first day: the devices that are known from then on.

use std::collections::BTreeMap;

use aw_detect::Alert;
use aw_service::plain;
use jiff::tz::TimeZone;
use serde_json::json;
use shm_layout::MacAddr;

use crate::{
    learned::place,
    notification::{Notification, shown_name, zoned},
};

/// Devices in a message, at most; of further ones it has the number.
const MAX_LISTED: usize = 50;
/// Networks, and names of devices, in the subject.
const MAX_NETWORKS: usize = 4;
const MAX_NAMES: usize = 5;
/// Networks that are counted: a host can invent VLANs.
const MAX_COUNTED: usize = 1000;

#[derive(Default)]
pub struct FirstDay {
    pub count: u64,
    /// Devices that were not read, because there are too many.
    further: u64,
    /// The interfaces at which new devices with locally administered MACs are in the digest from now on, and the MACs because of
    /// which they are.
    interfaces: Vec<(String, MacAddr)>,
    networks: BTreeMap<String, u64>,
    listed: Vec<Alert>,
}

impl FirstDay {
    pub fn new(further: u64, interfaces: &[(String, MacAddr)]) -> FirstDay {
        FirstDay { further, interfaces: interfaces.to_vec(), ..FirstDay::default() }
    }

    /// Whether the next device is listed.
    pub fn has_room(&self) -> bool {
        self.listed.len() < MAX_LISTED
    }

    pub fn add(&mut self, device: Alert) {
        self.count += 1;
        let network = device.shown_network();
        if self.networks.len() < MAX_COUNTED || self.networks.contains_key(&network) {
            *self.networks.entry(network).or_default() += 1;
        }
        if self.has_room() {
            self.listed.push(device);
        }
    }

    /// `31 devices on eth0, 4 on eth0.7`
    fn numbers(&self) -> String {
        let mut networks: Vec<_> = self.networks.iter().collect();
        networks.sort_by_key(|(name, number)| (name.is_empty(), std::cmp::Reverse(**number)));
        let on = |(name, number): &(&String, &u64)| match name.is_empty() {
            true => format!("{number} without an address"),
            false => format!("{number} on {}", plain(name)),
        };
        let devices = if self.count == 1 { "device" } else { "devices" };
        let mut each: Vec<_> = networks.iter().take(MAX_NETWORKS).map(on).collect();
        let has_others = networks.len() > MAX_NETWORKS;
        each.extend(has_others.then(|| "others on further networks".to_owned()));
        let all = each.join(", ");
        match networks.len() {
            1 => all.replacen(' ', &format!(" {devices} "), 1),
            _ => format!("{} {devices}: {all}", self.count),
        }
    }

    /// `31 devices on eth0: nas, Raspberry Pi, ...`
    fn subject(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for name in self.listed.iter().filter_map(shown_name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let etc = if names.len() > MAX_NAMES { ", ..." } else { "" };
        names.truncate(MAX_NAMES);
        match names.is_empty() {
            true => self.numbers(),
            false => format!("{}: {}{etc}", self.numbers(), plain(&names.join(", "))),
        }
    }

    /// The devices that are not listed.
    fn rest(&self) -> Option<String> {
        let rest = self.count - self.listed.len() as u64;
        let number = match (rest, self.further) {
            (0, 0) => return None,
            (rest, 0) => format!("{rest}"),
            (rest, further) => format!("{}", rest + further),
        };
        Some(format!("and {number} more"))
    }

    /// `31 devices on eth0: 192.0.2.17 b8:27:eb:00:00:11 eth0 [nas] (Raspberry Pi), and 30 more`
    pub fn line(&self) -> String {
        let each = self.listed.iter().map(described).chain(self.rest());
        format!("{}: {}", self.numbers(), each.collect::<Vec<_>>().join(", "))
    }

    pub fn notification(&self, time: i64, zone: &TimeZone, host: &str) -> Notification {
        let date = |time| zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        let mut text = format!(
            "{}\n\nThese devices were seen on the first day of aw-alert. They are known from now on: a device\n\
             that does not belong there causes no alert later. Each with the time when it was first seen.\n\n",
            self.numbers()
        );
        for device in &self.listed {
            text += &format!("{} {}\n", date(device.time), described(device));
        }
        text += &self.rest().map(|rest| rest + "\n").unwrap_or_default();
        for (interface, mac) in &self.interfaces {
            text += &format!(
                "\nnew devices with locally administered MACs are in the digest at {}, because this one was seen: {mac}\n",
                plain(&place(interface))
            );
        }
        text += &format!("\nreported by {host}\n");
        let macs: Vec<_> = self.listed.iter().map(|device| &device.mac).collect();
        let addresses: Vec<_> = self.listed.iter().map(|device| &device.ip).collect();
        let interfaces: Vec<_> = self.interfaces.iter().map(|(interface, _)| interface).collect();
        let fields = json!({
            "kind": "learned", "message": self.line(), "host": host, "seconds": time,
            "count": self.count + self.further, "devices": macs, "addresses": addresses,
            "interfaces": interfaces,
        });
        Notification::new(self.subject(), text, fields)
    }
}

/// `192.0.2.17 b8:27:eb:00:00:11 eth0.7 [nas] (Raspberry Pi)`
fn described(device: &Alert) -> String {
    let line = device.to_string();
    let line = line.strip_prefix(device.kind.label()).unwrap_or(&line);
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aw_detect::AlertKind;

    fn device(number: u32, network: &str) -> Alert {
        Alert {
            network: network.into(),
            ip: format!("10.0.{}.{}", number >> 8, number & 255),
            mac: format!("00:08:e1:00:{:02x}:{:02x}", number >> 8, number & 255),
            ..Alert::new(AlertKind::NewDevice, 1_700_000_000)
        }
    }

    #[test]
    fn a_message_names_devices_and_networks() {
        let random = "06:00:00:00:00:01".parse().unwrap();
        let mut day = FirstDay::new(0, &[("sensor/r/eth0".into(), random)]);
        let vendor = Some("Raspberry Pi".to_owned());
        day.add(Alert { vendor: vendor.clone(), ..device(1, "eth0.7") });
        day.add(Alert { vendor, name: Some("nas".into()), ..device(2, "eth0") });
        day.add(Alert { name: Some("\u{202e}x".into()), ..device(3, "eth0") });
        day.add(Alert { ip: String::new(), ..device(4, "") });
        let message = day.notification(1_700_086_400, &TimeZone::UTC, "sensor1");
        let numbers = "4 devices: 2 on eth0, 1 on eth0.7, 1 without an address";
        assert_eq!(message.subject, format!("{numbers}: Raspberry Pi, nas, ?x"));
        let list = "10.0.0.1 00:08:e1:00:00:01 eth0.7 (Raspberry Pi), \
                    10.0.0.2 00:08:e1:00:00:02 eth0 [nas] (Raspberry Pi), \
                    10.0.0.3 00:08:e1:00:00:03 eth0 [?x], 00:08:e1:00:00:04";
        assert_eq!(day.line(), format!("{numbers}: {list}"));
        let Notification { text, fields, .. } = &message;
        let first = "2023-11-14 22:13:20 +0000 10.0.0.1 00:08:e1:00:00:01 eth0.7 (Raspberry Pi)\n";
        assert!(text.starts_with(numbers) && text.contains(first), "{text}");
        assert!(
            text.contains(" in the digest at r/eth0, because this one was seen: 06:"),
            "{text}"
        );
        assert_eq!((&fields["kind"], &fields["count"]), (&"learned".into(), &4.into()));
        assert!(!format!("{message:?}").contains('\u{202e}'));
    }

    /// A host invents devices and VLANs.
    #[test]
    fn a_message_is_bounded() {
        let mut day = FirstDay::new(90_000, &[]);
        for number in 0..10_000 {
            let network = format!("eth0.{number}");
            day.add(device(number, if number < 20 { "eth0" } else { &network }));
        }
        let message = day.notification(0, &TimeZone::UTC, "sensor1");
        assert!(
            message.subject.starts_with("10000 devices: 20 on eth0, 1 on eth0."),
            "{message:?}"
        );
        assert!(message.subject.ends_with(", others on further networks"), "{message:?}");
        assert!(message.text.contains("\nand 99950 more\n"), "{message:?}");
        assert!(message.text.len() < 6000 && message.subject.len() < 200, "{message:?}");
        let mut one = FirstDay::new(0, &[]);
        one.add(device(1, "eth0"));
        assert_eq!(one.numbers(), "1 device on eth0");
    }
}
