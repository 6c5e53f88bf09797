//! A table `[[mute]]`: alerts that no channel gets. All keys that are set must match.

use aw_detect::{Alert, AlertKind, MacPattern, Names};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::{
    filter::{NetworkValue, any_mac, within},
    hours::{Day, Hours, is_open},
    notification::zoned,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mute {
    mac: Option<MacPattern>,
    name: Option<String>,
    macs: Option<Vec<MacPattern>>,
    kind: Option<AlertKind>,
    kinds: Option<Vec<AlertKind>>,
    networks: Option<Vec<String>>,
    addresses: Option<Vec<NetworkValue>>,
    hours: Option<Hours>,
    days: Option<Vec<Day>>,
}

impl Mute {
    /// Refuses a table that would mute all alerts, and two keys for one filter.
    pub fn check(&self) -> Result<(), &'static str> {
        let Mute { mac, name, macs, kind, kinds, networks, addresses, hours, days } = self;
        let of = [macs.is_some(), kinds.is_some(), networks.is_some(), addresses.is_some()];
        let is_set =
            mac.is_some() || name.is_some() || kind.is_some() || hours.is_some() || days.is_some();
        if !is_set && !of.contains(&true) {
            return Err(
                "mutes every alert (set mac, name, macs, kind, kinds, networks, addresses, hours or days)",
            );
        }
        if mac.is_some() && macs.is_some() {
            return Err("mac and macs exclude each other (put all MACs into macs)");
        }
        if kind.is_some() && kinds.is_some() {
            return Err("kind and kinds exclude each other (put all kinds into kinds)");
        }
        Ok(())
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn networks(&self) -> Option<&[String]> {
        self.networks.as_deref()
    }

    /// Whether the alert is muted. A MAC matches on either side of a change: the alert is about both. What the alert does
    /// not have, such as the network of a silent device, matches no key. The hours are those of the alert's time.
    pub fn matches(&self, alert: &Alert, zone: &TimeZone, names: &Names) -> bool {
        let ip = alert.filtered_address();
        let is_in = |block: &NetworkValue| ip.is_some_and(|ip| block.0.contains(&ip));
        self.kind.is_none_or(|kind| kind == alert.kind)
            && within(&self.kinds, |kind| *kind == alert.kind)
            && self.mac.is_none_or(|one| any_mac(alert, |mac| one.matches(mac)))
            && self
                .name
                .as_ref()
                .is_none_or(|name| any_mac(alert, |mac| names.get(&mac) == Some(name)))
            && within(&self.macs, |one| any_mac(alert, |mac| one.matches(mac)))
            && within(&self.networks, |network| alert.is_of_network(network))
            && within(&self.addresses, is_in)
            && is_open(self.hours, self.days.as_deref(), &zoned(alert.time, zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::tests::alert;

    fn mute(text: &str) -> Result<Mute, String> {
        let mute: Mute = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        mute.check().map(|()| mute).map_err(str::to_owned)
    }

    #[test]
    fn each_key_and_all_of_them() {
        // 00:08:e1:01:02:0a at 10.0.0.1 in eth0 instead of 00:08:e1:01:02:0b, on a Tuesday at 22:13 UTC.
        let flip = alert(AlertKind::FlipFlop);
        for (text, expected) in [
            ("mac = \"0:8:e1:1:2:a\"", true),
            ("mac = \"0:8:e1:1:2:b\"", true), // the previous one
            ("mac = \"0:8:e1:1:2:c\"", false),
            ("mac = \"00:08:e1:*\"", true),
            ("mac = \"02:42:*\"", false),
            ("macs = [\"02:42:*\", \"00:08:e1:00:00:00/24\"]", true),
            ("macs = []", false),
            ("kind = \"flip_flop\"", true),
            ("kinds = [\"changed\", \"flip_flop\"]", true),
            ("kinds = [\"changed\"]", false),
            ("networks = [\"eth0\"]", true),
            ("networks = [\"eth1\"]", false),
            ("addresses = [\"10.0.0.0/8\", \"2001:db8::/32\"]", true),
            ("addresses = [\"192.0.2.1\"]", false),
            ("hours = \"22:00-06:00\"", true),
            ("hours = \"06:00-22:00\"", false),
            ("days = [\"tue\"]", true),
            ("days = [\"sat\", \"sun\"]", false),
            ("mac = \"00:08:e1:*\"\nkind = \"flip_flop\"\naddresses = [\"10.0.0.1\"]", true),
            ("mac = \"00:08:e1:*\"\nkind = \"duplicate\"\naddresses = [\"10.0.0.1\"]", false),
            ("mac = \"00:08:e1:*\"\nhours = \"06:00-22:00\"", false),
        ] {
            let mute = mute(text).unwrap();
            assert_eq!(mute.matches(&flip, &TimeZone::UTC, &Names::new()), expected, "{text}");
        }
    }

    #[test]
    fn what_an_alert_does_not_have_is_not_muted() {
        let silent = Alert { mac: "00:08:e1:01:02:0a".into(), ..Alert::new(AlertKind::Silent, 0) };
        let change = Alert { network: "core1".into(), ..Alert::new(AlertKind::ConfigChange, 0) };
        for (text, of_silent, of_change) in [
            ("networks = [\"eth0\"]", false, false),
            ("addresses = [\"0.0.0.0/0\"]", false, false),
            ("mac = \"00:08:e1:*\"", true, false),
            ("kind = \"config_change\"", false, true),
        ] {
            let mute = mute(text).unwrap();
            let muted =
                [&silent, &change].map(|alert| mute.matches(alert, &TimeZone::UTC, &Names::new()));
            assert_eq!(muted, [of_silent, of_change], "{text}");
        }
    }

    #[test]
    fn a_device_that_probed_is_muted_by_the_probed_address() {
        let new = Alert {
            mac: "00:08:e1:01:02:0a".into(),
            network: "eth0".into(),
            asked: "10.9.0.7".parse().ok(),
            ..Alert::new(AlertKind::NewDevice, 0)
        };
        for (text, expected) in
            [("addresses = [\"10.9.0.0/16\"]", true), ("addresses = [\"10.8.0.0/16\"]", false)]
        {
            assert_eq!(
                mute(text).unwrap().matches(&new, &TimeZone::UTC, &Names::new()),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn errors_name_the_key() {
        for (text, why) in [
            ("", "mutes every alert (set mac, "),
            ("mac = \"02:42\"", "\"02:42\": not a MAC address, a prefix such as"),
            ("mac = \"*\"", "not a MAC address"),
            ("mac = \"02:42:*\"\nmacs = []", "mac and macs exclude each other"),
            ("kind = \"back\"\nkinds = []", "kind and kinds exclude each other"),
            ("hours = \"8-9\"", "must be hours such as"),
        ] {
            let error = mute(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
