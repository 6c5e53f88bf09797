//! The list at the end of the first day: the devices about which it held an alert, in as many messages as they need.

use std::{collections::BTreeMap, ops::Range};

use aw_detect::Alert;
use aw_service::plain;
use jiff::tz::TimeZone;
use serde_json::json;
use shm_layout::MacAddr;

use crate::{
    learned::{place, private_macs},
    notification::{Notification, shown_name, zoned},
    parts::{fitting, number, parts},
};

/// Networks, and names of devices, in the subject; and bytes of these names, at most.
const MAX_NETWORKS: usize = 4;
const MAX_NAMES: usize = 5;
const MAX_NAME_BYTES: usize = 100;
/// Bytes that the text around the list does not exceed because of its number of parts.
const PART_BYTES: usize = " (1000 of 1000)".len();

pub struct DeviceList<'a> {
    /// The alerts about them.
    pub devices: Vec<&'a Alert>,
    /// Devices of all networks that came too fast to be listed.
    pub further: u64,
    /// The interfaces at which new devices with locally administered MACs are in the digest from now on, and the MACs because of
    /// which they are.
    pub interfaces: &'a [(String, MacAddr)],
    /// Whether messages show the ring.
    pub show_ring: bool,
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
        let count = names.len();
        let mut bytes = 0;
        let fits = |name: &&str| {
            bytes += name.len();
            bytes <= MAX_NAME_BYTES
        };
        let names: Vec<_> = names.into_iter().take(MAX_NAMES).take_while(fits).collect();
        let etc = if names.len() < count { ", ..." } else { "" };
        match names.is_empty() {
            true => format!("{}{part}", self.numbers()),
            false => format!("{}{part}: {}{etc}", self.numbers(), plain(&names.join(", "))),
        }
    }

    fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.further == 0
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
        if self.is_empty() {
            return Vec::new();
        }
        let described: Vec<_> = self.devices.iter().map(|device| described(device)).collect();
        let parts = parts(&described, usize::MAX);
        let line = |(index, part): (usize, &Range<usize>)| {
            self.line(&self.devices[part.clone()], &number(index, parts.len()))
        };
        parts.iter().enumerate().map(line).collect()
    }

    /// In messages of at most `max` bytes, subject and text together.
    pub fn notifications(
        &self,
        time: i64,
        zone: &TimeZone,
        host: &str,
        max: usize,
    ) -> Vec<Notification> {
        if self.is_empty() {
            return Vec::new();
        }
        let around = self.subject("").len() + self.text(&[], "", host).len() + 2 * PART_BYTES;
        let room = max.saturating_sub(around);
        let date = |time| zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        let devices = self
            .devices
            .iter()
            .map(|device| format!("{} {}", date(device.time), described(device)));
        let interfaces = self
            .interfaces
            .iter()
            .map(|(name, mac)| private_macs(&plain(&place(name, self.show_ring)), *mac, ""));
        let lines = devices.chain(interfaces).map(|line| fitting(line, room));
        let lines: Vec<_> = lines.collect();
        let parts = parts(&lines, room);
        let notification = |(index, part): (usize, &Range<usize>)| {
            let listed = part.start.min(self.devices.len())..part.end.min(self.devices.len());
            let number = number(index, parts.len());
            let text = self.text(&lines[part.clone()], &number, host);
            self.notification(&self.devices[listed], text, &number, time, host)
        };
        parts.iter().enumerate().map(notification).collect()
    }

    fn text(&self, lines: &[String], part: &str, host: &str) -> String {
        let mut text = format!(
            "{}{part}\n\nThese devices were seen on the first day of aw-alert. They are known from now on: a device\n\
             that does not belong there causes no alert later. Each with the time when it was first seen.\n\n",
            self.numbers()
        );
        lines.iter().for_each(|line| text += &format!("{line}\n"));
        text += &self.rest().map(|rest| format!("\n{rest}\n")).unwrap_or_default();
        text + &format!("\nreported by {host}\n")
    }

    fn notification(
        &self,
        devices: &[&Alert],
        text: String,
        part: &str,
        time: i64,
        host: &str,
    ) -> Notification {
        let macs: Vec<_> = devices.iter().map(|device| &device.mac).collect();
        let addresses: Vec<_> = devices.iter().map(|device| &device.ip).collect();
        let interfaces: Vec<_> = self.interfaces.iter().map(|(interface, _)| interface).collect();
        let lines: Vec<_> = devices.iter().map(|device| described(device)).collect();
        let fields = json!({
            "kind": "learned", "message": self.line(devices, part), "host": host, "seconds": time,
            "count": self.devices.len() as u64 + self.further, "devices": macs, "addresses": addresses,
            "interfaces": interfaces, "lines": lines,
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
    use crate::template::Template;
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
        DeviceList {
            devices: devices.iter().collect(),
            further: 0,
            interfaces: &[],
            show_ring: false,
        }
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
        let messages = list.notifications(1_700_086_400, &TimeZone::UTC, "sensor1", usize::MAX);
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
            text.contains(
                "\neth0 has devices with private MACs, such as 06:00:00:00:00:01 (phones"
            ),
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
        let messages = list.notifications(0, &TimeZone::UTC, "sensor1", usize::MAX);
        assert_eq!((messages.len(), list.lines().len()), (29, 29));
        for (message, devices) in messages.iter().zip(devices.chunks(35)) {
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
        let none =
            DeviceList { devices: Vec::new(), further: 7, interfaces: &[], show_ring: false };
        let messages = none.notifications(0, &TimeZone::UTC, "sensor1", usize::MAX);
        assert_eq!(messages[0].subject, "0 devices, and 7 that are not listed");
        assert_eq!(self::list(&[]).notifications(0, &TimeZone::UTC, "sensor1", usize::MAX), []);
    }

    /// Each device and each interface is in a message of each service, whatever their names are, and no service cuts one.
    #[test]
    fn no_service_cuts_the_list() {
        let devices: Vec<_> = (0..60)
            .map(|number| Alert {
                name: Some("é".repeat(number as usize * 5)),
                vendor: Some("TP-LINK TECHNOLOGIES CO.,LTD.".into()),
                ..device(number, "eth0")
            })
            .collect();
        let interfaces: Vec<(String, MacAddr)> = (0..20)
            .map(|number| (format!("sensor/r/eth{number}"), MacAddr::new([6, 0, 0, 0, 0, number])))
            .collect();
        let list = DeviceList { interfaces: &interfaces, further: 7, ..list(&devices) };
        for template in Template::ALL {
            let max = template.max_bytes();
            let messages = list.notifications(0, &TimeZone::UTC, "sensor1", max);
            let bodies: Vec<_> = messages
                .iter()
                .map(|message| template.body(message, "t", None).to_string())
                .collect();
            for body in &bodies {
                assert!(!body.contains("[cut]") && body.contains("reported by sensor1"), "{body}");
            }
            let macs = devices.iter().map(|device| device.mac.clone());
            for mac in macs.chain(interfaces.iter().map(|(_, mac)| mac.to_string())) {
                let number = bodies.iter().filter(|body| body.contains(&mac)).count();
                assert_eq!(number, 1, "{template:?} {mac}");
            }
        }
    }
}
