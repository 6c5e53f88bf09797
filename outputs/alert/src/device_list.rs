//! The list at the end of the first day: the devices about which it held an alert, in as many messages as they need.

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

/// Devices in a message, so that a webhook does not cut it: templates have 3,500 characters and more, but Pushover's 1,000.
const IN_MESSAGE: usize = 35;
/// Networks, and names of devices, in the subject.
const MAX_NETWORKS: usize = 4;
const MAX_NAMES: usize = 5;

pub struct DeviceList<'a> {
    /// The alerts about them.
    pub devices: Vec<&'a Alert>,
    /// Devices of all networks that came too fast to be listed.
    pub further: u64,
    /// The interfaces at which new devices with locally administered MACs are in the digest from now on, and the MACs because of
    /// which they are.
    pub interfaces: &'a [(String, MacAddr)],
}

impl DeviceList<'_> {
    /// `31 devices on eth0, 4 on eth0.7`
    fn numbers(&self) -> String {
        let mut networks: BTreeMap<String, u64> = BTreeMap::new();
        for device in &self.devices {
            *networks.entry(device.shown_network()).or_default() += 1;
        }
        let mut networks: Vec<_> = networks.into_iter().collect();
        networks.sort_by_key(|(name, number)| (name.is_empty(), std::cmp::Reverse(*number)));
        let on = |(name, number): &(String, u64)| match name.is_empty() {
            true => format!("{number} without an address"),
            false => format!("{number} on {}", plain(name)),
        };
        let count = self.devices.len();
        let devices = if count == 1 { "device" } else { "devices" };
        let mut each: Vec<_> = networks.iter().take(MAX_NETWORKS).map(on).collect();
        let has_others = networks.len() > MAX_NETWORKS;
        each.extend(has_others.then(|| "others on further networks".to_owned()));
        let all = each.join(", ");
        let listed = match networks.len() {
            0 => format!("{count} {devices}"),
            1 => all.replacen(' ', &format!(" {devices} "), 1),
            _ => format!("{count} {devices}: {all}"),
        };
        match self.further {
            0 => listed,
            further => format!("{listed}, and {further} that are not listed"),
        }
    }

    /// `31 devices on eth0: nas, Raspberry Pi, ...`
    fn subject(&self, part: &str) -> String {
        let mut names: Vec<&str> = Vec::new();
        for name in self.devices.iter().filter_map(|device| shown_name(device)) {
            if names.len() <= MAX_NAMES && !names.contains(&name) {
                names.push(name);
            }
        }
        let etc = if names.len() > MAX_NAMES { ", ..." } else { "" };
        names.truncate(MAX_NAMES);
        match names.is_empty() {
            true => format!("{}{part}", self.numbers()),
            false => format!("{}{part}: {}{etc}", self.numbers(), plain(&names.join(", "))),
        }
    }

    /// What each message lists, and ` (2 of 3)`, if there are several. None if there is nothing to report.
    fn parts(&self) -> Vec<(&[&Alert], String)> {
        let mut parts: Vec<_> = self.devices.chunks(IN_MESSAGE).collect();
        if parts.is_empty() && self.further > 0 {
            parts.push(&[]);
        }
        let count = parts.len();
        let numbered = |(index, devices)| {
            let number = format!(" ({} of {count})", index + 1);
            (devices, if count > 1 { number } else { String::new() })
        };
        parts.into_iter().enumerate().map(numbered).collect()
    }

    fn rest(&self) -> Option<String> {
        (self.further > 0).then(|| {
            format!(
                "{} further devices of all networks came too fast to be listed: stop aw-alert, and run aw-alert export csv",
                self.further
            )
        })
    }

    fn line(&self, devices: &[&Alert], part: &str) -> String {
        let each: Vec<_> =
            devices.iter().map(|device| described(device)).chain(self.rest()).collect();
        format!("{}{part}: {}", self.numbers(), each.join(", "))
    }

    /// A line of each part: `31 devices on eth0: 192.0.2.17 b8:27:eb:00:00:11 eth0 [nas] (Raspberry Pi), ...`
    pub fn lines(&self) -> Vec<String> {
        self.parts().iter().map(|(devices, part)| self.line(devices, part)).collect()
    }

    pub fn notifications(&self, time: i64, zone: &TimeZone, host: &str) -> Vec<Notification> {
        let parts = self.parts();
        let notification = |(devices, part): &(&[&Alert], String)| {
            self.notification(devices, part, time, zone, host)
        };
        parts.iter().map(notification).collect()
    }

    fn notification(
        &self,
        devices: &[&Alert],
        part: &str,
        time: i64,
        zone: &TimeZone,
        host: &str,
    ) -> Notification {
        let date = |time| zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        let mut text = format!(
            "{}{part}\n\nThese devices were seen on the first day of aw-alert. They are known from now on: a device\n\
             that does not belong there causes no alert later. Each with the time when it was first seen.\n\n",
            self.numbers()
        );
        for device in devices {
            text += &format!("{} {}\n", date(device.time), described(device));
        }
        text += &self.rest().map(|rest| format!("\n{rest}\n")).unwrap_or_default();
        for (interface, mac) in self.interfaces {
            text += &format!(
                "\nnew devices with locally administered MACs are in the digest at {}, because this one was seen: {mac}\n",
                plain(&place(interface))
            );
        }
        text += &format!("\nreported by {host}\n");
        let macs: Vec<_> = devices.iter().map(|device| &device.mac).collect();
        let addresses: Vec<_> = devices.iter().map(|device| &device.ip).collect();
        let interfaces: Vec<_> = self.interfaces.iter().map(|(interface, _)| interface).collect();
        let fields = json!({
            "kind": "learned", "message": self.line(devices, part), "host": host, "seconds": time,
            "count": self.devices.len() as u64 + self.further, "devices": macs, "addresses": addresses,
            "interfaces": interfaces,
        });
        Notification::new(self.subject(part), text, fields)
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

    fn list(devices: &[Alert]) -> DeviceList<'_> {
        DeviceList { devices: devices.iter().collect(), further: 0, interfaces: &[] }
    }

    #[test]
    fn a_message_names_devices_and_networks() {
        let interfaces = [("sensor/r/eth0".into(), "06:00:00:00:00:01".parse().unwrap())];
        let vendor = Some("Raspberry Pi".to_owned());
        let devices = [
            Alert { vendor: vendor.clone(), ..device(1, "eth0.7") },
            Alert { vendor, name: Some("nas".into()), ..device(2, "eth0") },
            Alert {
                name: Some("\u{202e}x".into()),
                note: Some("sent by 02:".into()),
                ..device(3, "eth0")
            },
            Alert { ip: String::new(), ..device(4, "") },
        ];
        let list = DeviceList { interfaces: &interfaces, ..list(&devices) };
        let messages = list.notifications(1_700_086_400, &TimeZone::UTC, "sensor1");
        let [message] = &*messages else { panic!("{messages:?}") };
        let numbers = "4 devices: 2 on eth0, 1 on eth0.7, 1 without an address";
        assert_eq!(message.subject, format!("{numbers}: Raspberry Pi, nas, ?x"));
        let listed = "10.0.0.1 00:08:e1:00:00:01 eth0.7 (Raspberry Pi), \
                      10.0.0.2 00:08:e1:00:00:02 eth0 [nas] (Raspberry Pi), \
                      10.0.0.3 00:08:e1:00:00:03 eth0 [?x]: sent by 02:, 00:08:e1:00:00:04";
        assert_eq!(list.lines(), [format!("{numbers}: {listed}")]);
        let Notification { text, fields, .. } = &message;
        let first = "2023-11-14 22:13:20 +0000 10.0.0.1 00:08:e1:00:00:01 eth0.7 (Raspberry Pi)\n";
        assert!(text.starts_with(numbers) && text.contains(first), "{text}");
        assert!(
            text.contains(" in the digest at r/eth0, because this one was seen: 06:"),
            "{text}"
        );
        assert_eq!((&fields["kind"], &fields["count"]), (&"learned".into(), &4.into()));
        assert!(!format!("{message:?}").contains('\u{202e}'));
        assert_eq!(self::list(&devices[..1]).numbers(), "1 device on eth0.7");
    }

    /// An office, and a host that invents devices and VLANs: each device is in one of the messages, and each message is short.
    #[test]
    fn each_device_is_in_a_message() {
        let devices: Vec<_> = (0..1000)
            .map(|number| {
                let network = format!("eth0.{number}");
                device(number, if number < 20 { "eth0" } else { &network })
            })
            .collect();
        let list = DeviceList { further: 90_000, ..list(&devices) };
        let messages = list.notifications(0, &TimeZone::UTC, "sensor1");
        assert_eq!((messages.len(), list.lines().len()), (29, 29));
        for (message, devices) in messages.iter().zip(devices.chunks(IN_MESSAGE)) {
            let Notification { subject, text, fields } = message;
            assert!(devices.iter().all(|device| text.contains(&device.mac)), "{text}");
            assert!(subject.starts_with("1000 devices: 20 on eth0, 1 on eth0."), "{subject}");
            assert!(text.contains("\n90000 further devices of all networks came "), "{text}");
            assert!(text.len() < 3500 && subject.len() < 200, "{message:?}");
            assert_eq!(fields["count"], 91_000);
        }
        let end = ", others on further networks, and 90000 that are not listed (29 of 29)";
        assert!(messages[28].subject.ends_with(end), "{}", messages[28].subject);
        // None of a channel's networks: it has a message nevertheless.
        let none = DeviceList { devices: Vec::new(), further: 7, interfaces: &[] };
        let messages = none.notifications(0, &TimeZone::UTC, "sensor1");
        assert_eq!(messages[0].subject, "0 devices, and 7 that are not listed");
        assert_eq!(self::list(&[]).notifications(0, &TimeZone::UTC, "sensor1"), []);
    }
}
