//! The content of a report: each device with its activity over all days, alerts and errors. This module does no I/O and
//! reads no clock.

pub mod html;
pub mod now;
pub mod text;

use std::{collections::HashMap, net::IpAddr};

use aw_output::{
    makers::{Makers, is_local},
    names::NetworkNames,
};
use jiff::{ToSpan, civil::Date};
use shm_layout::MacAddr;

use self::now::Now;
use crate::{
    activity::{HourCounts, Sender},
    config_file::DeviceNames,
    local_time::HourMinute,
    log_dir::LogKind,
    log_format::{self, ParsedRow},
};

/// Limits of what is shown, so that a browser can open the page: the last addresses of a device, and the last devices,
/// alerts, configuration changes and errors. Each device has the first eight addresses; of the others, all devices together have
/// SPARE_ADDRESSES, because any host can invent them.
const OWN_ADDRESSES: usize = 8;
const MAX_ADDRESSES: usize = 256;
const SPARE_ADDRESSES: usize = 50_000;
/// Minutes before the last sighting of a device in which its addresses are current: an address that is in use is seen more often.
const CURRENT: i64 = 60;
const MAX_DEVICES: usize = 20_000;
const MAX_ALERTS: usize = 1_000;
const MAX_CHANGES: usize = 1_000;
const MAX_ERRORS: usize = 500;

/// The error of a row whose date is not that of its log.
pub const OTHER_DAY: &str = "the date is not that of the log";

/// Date and time in a log.
pub type LogTime = (Date, HourMinute);

/// The activity of a device, which is identified by its MAC.
#[derive(Debug)]
pub struct DeviceActivity {
    pub mac: MacAddr,
    pub name: Option<String>,
    /// What it calls itself, with the message, if it has no name.
    pub claimed: Option<String>,
    pub vendor: Option<String>,
    /// The most recently seen ones, in that order.
    pub addresses: Vec<DeviceAddress>,
    pub has_more_addresses: bool,
    pub first: LogTime,
    pub last: LogTime,
    /// Sightings in each hour of the report's day.
    pub hours: HourCounts,
    /// For each day of the report: bit n is set if there were sightings in hour n.
    pub days: Vec<u32>,
}

#[derive(Debug)]
pub struct DeviceAddress {
    pub ip: IpAddr,
    pub interface: String,
    pub last: LogTime,
    /// Of the row that was seen last.
    pub sender: Sender,
}

#[derive(Debug, Default)]
pub struct ActivityReport {
    /// Time of creation, as text.
    pub created: String,
    /// The last day.
    pub day: Date,
    pub is_today: bool,
    /// Number of days.
    pub span: usize,
    /// Whether there are logs of days before `day`. Without them, no device is called new.
    pub has_history: bool,
    /// The most recently seen ones, in that order.
    pub devices: Vec<DeviceActivity>,
    pub counts: DeviceCounts,
    /// Lines of the alert logs, the newest first.
    pub alerts: Vec<String>,
    pub all_alerts: usize,
    /// Changes of router configurations, the newest first.
    pub changes: Vec<String>,
    pub all_changes: usize,
    pub errors: Vec<String>,
    pub all_errors: usize,
    /// The devices of the alerts.
    pub alerted: HashMap<MacAddr, AlertedDevice>,
    /// What holds at the time of creation; none in a file, which is read later.
    pub now: Option<Now>,
}

/// A device of an alert.
#[derive(Debug, Default)]
pub struct AlertedDevice {
    pub name: Option<String>,
    pub vendor: Option<String>,
    /// Its first row in the logs, if it has one.
    pub first: Option<LogTime>,
}

/// Numbers of devices, including those beyond MAX_DEVICES.
#[derive(Debug, Default)]
pub struct DeviceCounts {
    /// Of all days.
    pub all: usize,
    /// Seen on the report's day; so are `new` and `unknown`.
    pub active: usize,
    pub new: usize,
    /// Without a name.
    pub unknown: usize,
}

impl DeviceActivity {
    /// Whether the device was seen on this day, the last one of the report.
    pub fn is_active(&self, day: Date) -> bool {
        self.last.0 >= day
    }

    /// Whether other MACs sent all frames with its addresses.
    pub fn is_only_sent_by_others(&self) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.all(|address| matches!(address.sender, Sender::Only(_)))
    }

    pub fn is_private(&self) -> bool {
        is_local(self.mac)
    }

    /// How many of the addresses, from the first one on, are current; the others were not seen lately.
    pub fn current_addresses(&self) -> usize {
        let is_current =
            |address: &&DeviceAddress| now::minutes(address.last, self.last) <= CURRENT;
        self.addresses.iter().take(OWN_ADDRESSES).take_while(is_current).count()
    }

    /// Adds a row; `index` is the position of its day in `days`, `spare` the number of further addresses that all devices may have.
    fn add(&mut self, row: &ParsedRow, index: Option<usize>, spare: &mut usize) {
        let (first, last) = ((row.date, row.first), (row.date, row.last));
        self.first = self.first.min(first);
        if last >= self.last {
            self.last = last;
            // The last name in the logs; one in the configuration file replaces it, see `finish`.
            if let Some(name) = row.name.filter(|name| self.name.as_deref() != Some(name)) {
                self.name = Some(name.to_owned());
            }
        }
        if let Some(day) = index.and_then(|index| self.days.get_mut(index)) {
            *day |= row.hours.mask();
        }
        if index == Some(self.days.len() - 1) {
            self.hours.merge(&row.hours);
        }
        let is_same =
            |other: &&mut DeviceAddress| (other.ip, &*other.interface) == (row.ip, row.interface);
        if let Some(address) = self.addresses.iter_mut().find(is_same) {
            if last >= address.last {
                (address.last, address.sender) = (last, row.sender);
            }
            return;
        }
        let number = self.addresses.len();
        if (OWN_ADDRESSES..MAX_ADDRESSES).contains(&number) && *spare > 0 {
            *spare -= 1;
        } else if number >= OWN_ADDRESSES {
            self.has_more_addresses = true;
            let oldest = (0..number).min_by_key(|at| self.addresses[*at].last);
            let oldest = oldest.filter(|at| self.addresses[*at].last <= last);
            let Some(oldest) = oldest else { return };
            self.addresses.swap_remove(oldest);
        }
        let interface = row.interface.to_owned();
        let (ip, sender) = (row.ip, row.sender);
        self.addresses.push(DeviceAddress { ip, interface, last, sender });
    }
}

/// Creates a report from logs, which are added in the order of their days.
pub struct ReportBuilder {
    report: ActivityReport,
    /// Positions in `report.devices`.
    positions: HashMap<MacAddr, usize>,
    /// Further addresses that devices may have.
    spare: usize,
}

impl ReportBuilder {
    pub fn new(created: String, day: Date, is_today: bool, span: u16) -> Self {
        let span = usize::from(span.max(1));
        let report = ActivityReport { created, day, is_today, span, ..Default::default() };
        ReportBuilder { report, positions: HashMap::new(), spare: SPARE_ADDRESSES }
    }

    /// Adds a tracker log; `file` is its name in errors.
    pub fn add_tracker_log(&mut self, date: Date, file: &str, bytes: &[u8]) {
        let ActivityReport { day, span, has_history, devices, .. } = &mut self.report;
        *has_history |= date < *day;
        let age = date.until(*day).map_or(0, |age| age.get_days());
        let index = usize::try_from(age).ok().and_then(|age| (*span - 1).checked_sub(age));
        let mut errors = Vec::new();
        for (number, row) in log_format::parse_log(bytes) {
            let row = match row {
                Ok(row) if row.date == date => row,
                row => {
                    let why = row.err().unwrap_or(OTHER_DAY);
                    errors.push(format!("{file}:{number}: {why}"));
                    continue;
                }
            };
            let position = *self.positions.entry(row.mac).or_insert_with(|| {
                let first = (row.date, row.first);
                devices.push(DeviceActivity {
                    mac: row.mac,
                    name: None,
                    claimed: None,
                    vendor: None,
                    addresses: Vec::new(),
                    has_more_addresses: false,
                    first,
                    last: first,
                    hours: HourCounts::default(),
                    days: vec![0; *span],
                });
                devices.len() - 1
            });
            devices[position].add(&row, index, &mut self.spare);
        }
        self.report.all_errors += errors.len();
        self.report.errors.extend(errors.into_iter().take(MAX_ERRORS));
    }

    /// Adds the lines of a log of another kind.
    pub fn add_lines(&mut self, kind: LogKind, log: &[u8]) {
        let report = &mut self.report;
        let (lines, all, limit) = match kind {
            LogKind::Alert => (&mut report.alerts, &mut report.all_alerts, MAX_ALERTS),
            LogKind::Config => (&mut report.changes, &mut report.all_changes, MAX_CHANGES),
            _ => (&mut report.errors, &mut report.all_errors, MAX_ERRORS),
        };
        let added = log.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let added: Vec<_> = added.filter(|line| !line.is_empty()).collect();
        *all += added.len();
        let last = added[added.len().saturating_sub(limit)..].iter();
        lines.extend(last.map(|line| String::from_utf8_lossy(line).into_owned()));
        lines.drain(..lines.len().saturating_sub(limit));
    }

    /// Returns the report with names and makers.
    pub fn finish(self, names: &DeviceNames, makers: &Makers) -> ActivityReport {
        let ReportBuilder { mut report, positions, .. } = self;
        for device in &mut report.devices {
            if let Some(name) = names.get(&device.mac) {
                device.name = Some(name.clone());
            }
        }
        let active = || report.devices.iter().filter(|device| device.is_active(report.day));
        report.counts = DeviceCounts {
            all: report.devices.len(),
            active: active().count(),
            new: active().filter(|device| report.is_new(device)).count(),
            unknown: active().filter(|device| device.name.is_none()).count(),
        };
        let alerts = report.alerts.iter().filter_map(|line| log_format::parse_alert(line));
        report.alerted = alerts
            .map(|row| {
                let device = positions.get(&row.mac).and_then(|at| report.devices.get(*at));
                let name = device.and_then(|device| device.name.clone());
                let first = device.map(|device| device.first);
                let name = name.or_else(|| names.get(&row.mac).cloned());
                (row.mac, AlertedDevice { name, vendor: None, first })
            })
            .collect();
        report.devices.sort_by(|a, b| b.last.cmp(&a.last).then(a.mac.cmp(&b.mac)));
        report.devices.truncate(MAX_DEVICES);
        for (mac, device) in &mut report.alerted {
            device.vendor = makers.of(*mac);
        }
        for device in &mut report.devices {
            device.addresses.sort_by(|a, b| b.last.cmp(&a.last).then(a.ip.cmp(&b.ip)));
            device.vendor = makers.of(device.mac);
        }
        report.errors.drain(..report.errors.len().saturating_sub(MAX_ERRORS));
        report.alerts.reverse();
        report.changes.reverse();
        report.errors.reverse();
        report
    }
}

impl ActivityReport {
    /// Adds the names of networks to their interfaces.
    pub fn name_networks(&mut self, names: &NetworkNames) {
        for address in self.devices.iter_mut().flat_map(|device| &mut device.addresses) {
            let (ring, network) =
                address.interface.rsplit_once('/').unwrap_or(("", &address.interface));
            if let Some(name) = names.of("", ring, network) {
                address.interface = format!("{} ({name})", address.interface);
            }
        }
    }

    /// The days, the oldest first.
    pub fn days(&self) -> impl Iterator<Item = Date> {
        let (day, span) = (self.day, self.span as i64);
        (0..span).map(move |at| day.checked_sub((span - 1 - at).days()).unwrap_or(Date::MIN))
    }

    /// Whether the first sighting of a device is on the report's day.
    pub fn is_new(&self, device: &DeviceActivity) -> bool {
        self.has_history && device.first.0 >= self.day
    }

    /// The last sighting of all devices.
    pub fn last(&self) -> Option<LogTime> {
        self.devices.first().map(|device| device.last)
    }
}

#[cfg(test)]
mod tests;
