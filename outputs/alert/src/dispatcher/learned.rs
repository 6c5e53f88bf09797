//! What the learning period and the first day change, and the message at the end of each; and what the database knows of a device.

use aw_detect::{Alert, AlertKind, MacClass, MacPolicy, SeenDevice, split_network};
use aw_output::{SinkResult, info, this_host};
use shm_layout::MacAddr;

use super::Dispatcher;
use crate::{first_day::FirstDay, learned::Learned, notification::zoned};

/// Devices of the first day that are read, at most; of further ones the message has the number.
const MAX_DEVICES: usize = 10_000;

/// What an event is learned for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Learns {
    Nothing,
    /// On the first day: its device.
    Devices,
    /// In the period of `--learn`: whatever happens is normal from then on.
    All,
}

impl Dispatcher {
    /// What an event of this time is learned for. Reports what ends with it.
    pub(super) fn learns(&mut self, time: i64, now: i64) -> SinkResult<Learns> {
        let was_over = self.learning.is_over();
        let learns_all = self.learning.includes(time, now, &mut self.store)?;
        if self.learning.is_over() && !was_over {
            self.report_learned(time)?;
        }
        let was_over = self.first_day.is_over();
        let is_first_day = self.first_day.includes(time, now, &mut self.store)?;
        if self.first_day.is_over() && !was_over {
            self.report_first_day(now.max(time))?;
        }
        self.log_first_day();
        Ok(match (learns_all, is_first_day) {
            (true, _) => Learns::All,
            (false, true) => Learns::Devices,
            (false, false) => Learns::Nothing,
        })
    }

    /// Logs until when new devices are not reported.
    fn log_first_day(&mut self) {
        let until = self.first_day.until();
        if let Some(until) = until.filter(|_| until != self.logged_end) {
            let until = zoned(until, &self.zone).strftime("%Y-%m-%d %H:%M %Z");
            info(format_args!(
                "learning until {until}: new devices are reported then in one message (--learn 0 reports each)"
            ));
        }
        self.logged_end = until;
    }

    /// One message to each channel about what is normal from now on.
    fn report_learned(&mut self, time: i64) -> SinkResult {
        let learned = Learned::load(&mut self.store, &self.rules, time)?;
        let Some(Learned { line, notification }) = learned else { return Ok(()) };
        self.printer.lines.extend(self.options.print.then_some(line));
        let mut channels = self.config.channel.iter();
        channels.try_for_each(|channel| self.store.enqueue(&channel.name, &notification))
    }

    /// One message to each channel about the devices of the first day that it gets alerts about.
    pub(super) fn report_first_day(&mut self, time: i64) -> SinkResult {
        let (devices, count) = self.store.memory.seen_devices(MAX_DEVICES)?;
        let further = count - devices.len() as u64;
        let alerts = devices.into_iter().filter(|device| self.is_reported(device.mac));
        let alerts: Vec<_> = alerts.map(|device| self.new_device(device)).collect();
        let alerts: Vec<_> =
            alerts.into_iter().filter(|alert| !self.config.mutes(alert, &self.zone)).collect();
        let mut interfaces = Vec::new();
        if self.rules.random_macs.is_none() {
            interfaces = self.store.memory.random_interfaces(crate::learned::MAX_LISTED)?.0;
        }
        let dialect = self.rules.dialect;
        if self.options.print && self.config.prints(AlertKind::NewDevice, dialect) {
            let day = self.first_day(alerts.iter(), further, &interfaces)?;
            let line = day.map(|day| format!("{time} {}", day.line()));
            self.printer.lines.extend(line);
        }
        for index in 0..self.config.channel.len() {
            let channel = &self.config.channel[index];
            let wanted: Vec<_> =
                alerts.iter().filter(|alert| channel.wants(alert, dialect)).collect();
            let name = channel.name.clone();
            let day = self.first_day(wanted.into_iter(), further, &interfaces)?;
            if let Some(day) = day {
                let notification = day.notification(time, &self.zone, &this_host());
                self.store.enqueue(&name, &notification)?;
            }
        }
        Ok(())
    }

    /// The message about these devices; completes those that it lists.
    fn first_day<'a>(
        &mut self,
        alerts: impl Iterator<Item = &'a Alert>,
        further: u64,
        interfaces: &[(String, MacAddr)],
    ) -> SinkResult<Option<FirstDay>> {
        let mut day = FirstDay::new(further, interfaces);
        for alert in alerts {
            let mut alert = alert.clone();
            if day.has_room() {
                self.complete(&mut alert)?;
            }
            day.add(alert);
        }
        Ok(Some(day).filter(|day| day.count > 0))
    }

    /// Whether a device has a name, of the configuration or imported.
    pub(super) fn has_name(&mut self, mac: MacAddr) -> SinkResult<bool> {
        Ok(self.rules.known.contains_key(&mac) || self.store.host_name(mac)?.is_some())
    }

    /// Whether a new device with this MAC is reported at all.
    fn is_reported(&self, mac: MacAddr) -> bool {
        let is_ignored = self.rules.random_macs == Some(MacPolicy::Ignore);
        !is_ignored || MacClass::of(mac) != MacClass::Random || self.rules.known.contains_key(&mac)
    }

    /// The alert that was not sent about a device.
    fn new_device(&self, SeenDevice { mac, first, place }: SeenDevice) -> Alert {
        let mut alert = Alert {
            mac: mac.to_string(),
            name: self.rules.known.get(&mac).cloned(),
            show_ring: self.rules.show_ring,
            ..Alert::new(AlertKind::NewDevice, first)
        };
        if let Some((network, ip)) = place {
            let (host, ring, network) = split_network(&network);
            (alert.host, alert.ring) = (host.into(), ring);
            (alert.network, alert.ip) = (network.into(), ip.to_string());
        }
        alert
    }

    /// Adds what the database knows of its devices.
    pub(super) fn complete(&mut self, alert: &mut Alert) -> SinkResult {
        if alert.host.is_empty() {
            alert.host = this_host();
        }
        if let (None, Ok(mac)) = (&alert.name, alert.mac.parse()) {
            alert.name = self.store.host_name(mac)?;
        }
        alert.vendor = self.vendor(&alert.mac)?;
        if let Some(old_mac) = &alert.old_mac {
            alert.old_vendor = self.vendor(old_mac)?;
        }
        Ok(())
    }

    fn vendor(&mut self, mac: &str) -> SinkResult<Option<String>> {
        mac.parse::<MacAddr>().map_or(Ok(None), |mac| self.store.vendor(mac))
    }
}
