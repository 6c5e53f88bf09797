//! What the logs say of each device, over all days: what the page and the text show. It does no I/O and has no clock.

pub mod page;
pub mod text;

use std::{collections::HashMap, net::IpAddr};

use jiff::{ToSpan, civil::Date};
use shm_layout::MacAddr;

use crate::{
    calendar::HourMinute,
    config::Names,
    row::Hours,
    table,
    vendors::{Vendors, is_private},
};

/// Addresses of a device that are shown, the last ones; further ones are counted.
const ADDRESSES: usize = 8;
/// Devices, alerts, changes and errors that are shown, the last ones: a page must open.
const DEVICES: usize = 20_000;
const ALERTS: usize = 1_000;
const CHANGES: usize = 1_000;
const ERRORS: usize = 500;

/// What is wrong with a row that stands in the log of another day.
pub const OTHER_DAY: &str = "of another day";

/// Date and time as a log has them.
pub type When = (Date, HourMinute);

/// A device: a MAC.
#[derive(Debug)]
pub struct Device {
    pub mac: MacAddr,
    pub name: Option<String>,
    pub vendor: Option<String>,
    /// The last ones first.
    pub addresses: Vec<Address>,
    pub more_addresses: usize,
    pub first: When,
    pub last: When,
    /// Sightings in each hour of the report's day.
    pub hours: Hours,
    /// For each day of the calendar, a bit for each hour with a sighting.
    pub days: Vec<u32>,
}

/// An address that a device had.
#[derive(Debug)]
pub struct Address {
    pub ip: IpAddr,
    pub interface: String,
    pub last: When,
}

/// Everything that is shown.
#[derive(Debug)]
pub struct Report {
    /// When it was made, for people.
    pub made: String,
    /// The day that it is of: the calendar's last.
    pub day: Date,
    /// Whether that is the present day.
    pub live: bool,
    /// Days of the calendar.
    pub span: usize,
    /// Whether there are logs of earlier days: otherwise all devices would be new.
    pub history: bool,
    /// Those heard last first.
    pub devices: Vec<Device>,
    pub counts: Counts,
    /// The newest first, as they stand in the logs.
    pub alerts: Vec<String>,
    pub all_alerts: usize,
    /// Changes of routers' configurations; shown where there are some.
    pub changes: Vec<String>,
    pub all_changes: usize,
    pub errors: Vec<String>,
    pub all_errors: usize,
}

/// Devices, shown or not.
#[derive(Debug, Default)]
pub struct Counts {
    pub all: usize,
    /// Of the report's day.
    pub here: usize,
    pub new: usize,
    pub unknown: usize,
}

impl Device {
    pub fn is_here(&self, day: Date) -> bool {
        self.last.0 >= day
    }

    pub fn is_private(&self) -> bool {
        is_private(self.mac)
    }

    fn see(&mut self, line: &table::Line, at: Option<usize>) {
        let (first, last) = ((line.date, line.first), (line.date, line.last));
        self.first = self.first.min(first);
        if last >= self.last {
            self.last = last;
            // The name that it had last, where the configuration knows none.
            if let Some(name) = line.name.filter(|name| self.name.as_deref() != Some(name)) {
                self.name = Some(name.to_owned());
            }
        }
        if let Some(day) = at.and_then(|at| self.days.get_mut(at)) {
            *day |= line.hours.mask();
        }
        if at == Some(self.days.len() - 1) {
            self.hours.join(&line.hours);
        }
        let known =
            |address: &&mut Address| address.ip == line.ip && address.interface == line.interface;
        if let Some(address) = self.addresses.iter_mut().find(known) {
            address.last = address.last.max(last);
            return;
        }
        if self.addresses.len() == ADDRESSES {
            self.more_addresses += 1;
            let oldest = (0..ADDRESSES).min_by_key(|at| self.addresses[*at].last);
            let oldest = oldest.filter(|at| self.addresses[*at].last <= last);
            let Some(oldest) = oldest else { return };
            self.addresses.swap_remove(oldest);
        }
        self.addresses.push(Address { ip: line.ip, interface: line.interface.to_owned(), last });
    }
}

/// Reads logs, in the order of their days, and makes a report of them.
pub struct Gathering {
    report: Report,
    places: HashMap<MacAddr, usize>,
}

impl Gathering {
    pub fn new(made: String, day: Date, live: bool, span: u16) -> Self {
        let report = Report {
            made,
            day,
            live,
            span: usize::from(span.max(1)),
            history: false,
            devices: Vec::new(),
            counts: Counts::default(),
            alerts: Vec::new(),
            all_alerts: 0,
            changes: Vec::new(),
            all_changes: 0,
            errors: Vec::new(),
            all_errors: 0,
        };
        Gathering { report, places: HashMap::new() }
    }

    /// A tracker's log.
    pub fn tracker(&mut self, date: Date, file: &str, bytes: &[u8]) {
        let Report { day, span, history, devices, .. } = &mut self.report;
        *history |= date < *day;
        let age = date.until(*day).map_or(0, |age| age.get_days());
        let at = usize::try_from(age).ok().and_then(|age| (*span - 1).checked_sub(age));
        let mut faults = Vec::new();
        for (number, line) in table::read(bytes) {
            let line = match line {
                Ok(line) if line.date == date => line,
                line => {
                    let why = line.err().unwrap_or(OTHER_DAY);
                    faults.push(format!("{file}:{number}: {why}"));
                    continue;
                }
            };
            let place = *self.places.entry(line.mac).or_insert_with(|| {
                let when = (line.date, line.first);
                devices.push(Device {
                    mac: line.mac,
                    name: None,
                    vendor: None,
                    addresses: Vec::new(),
                    more_addresses: 0,
                    first: when,
                    last: when,
                    hours: Hours::default(),
                    days: vec![0; *span],
                });
                devices.len() - 1
            });
            devices[place].see(&line, at);
        }
        self.report.all_errors += faults.len();
        self.report.errors.extend(faults.into_iter().take(ERRORS));
    }

    /// An alert log.
    pub fn alerts(&mut self, bytes: &[u8]) {
        self.report.all_alerts += add(&mut self.report.alerts, bytes, ALERTS);
    }

    /// A log of configurations.
    pub fn changes(&mut self, bytes: &[u8]) {
        self.report.all_changes += add(&mut self.report.changes, bytes, CHANGES);
    }

    /// An error log.
    pub fn errors(&mut self, bytes: &[u8]) {
        self.report.all_errors += add(&mut self.report.errors, bytes, ERRORS);
    }

    /// The report, with the names and makers that are known.
    pub fn finish(self, names: &Names, vendors: impl FnOnce(&[Device]) -> Vendors) -> Report {
        let mut report = self.report;
        for device in &mut report.devices {
            if let Some(name) = names.get(&device.mac) {
                device.name = Some(name.clone());
            }
        }
        let here = || report.devices.iter().filter(|device| device.is_here(report.day));
        report.counts = Counts {
            all: report.devices.len(),
            here: here().count(),
            new: here().filter(|device| report.is_new(device)).count(),
            unknown: here().filter(|device| device.name.is_none()).count(),
        };
        report.devices.sort_by(|a, b| b.last.cmp(&a.last).then(a.mac.cmp(&b.mac)));
        report.devices.truncate(DEVICES);
        let vendors = vendors(&report.devices);
        for device in &mut report.devices {
            device.addresses.sort_by(|a, b| b.last.cmp(&a.last).then(a.ip.cmp(&b.ip)));
            device.vendor = vendors.of(device.mac).map(str::to_owned);
        }
        report.errors.drain(..report.errors.len().saturating_sub(ERRORS));
        report.alerts.reverse();
        report.changes.reverse();
        report.errors.reverse();
        report
    }
}

impl Report {
    /// The calendar's days.
    pub fn calendar(&self) -> impl Iterator<Item = Date> {
        let (day, span) = (self.day, self.span as i64);
        (0..span).map(move |at| day.checked_sub((span - 1 - at).days()).unwrap_or(Date::MIN))
    }

    /// Whether a device was never heard before the report's day.
    pub fn is_new(&self, device: &Device) -> bool {
        self.history && device.first.0 >= self.day
    }

    /// When something was heard last.
    pub fn last(&self) -> Option<When> {
        self.devices.first().map(|device| device.last)
    }
}

/// Adds lines, and keeps the last so many; tells how many there were.
fn add(lines: &mut Vec<String>, bytes: &[u8], most: usize) -> usize {
    let all: Vec<_> =
        bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    let from = all.len().saturating_sub(most);
    lines.extend(
        all[from..].iter().map(|line| String::from_utf8_lossy(line.trim_ascii()).into_owned()),
    );
    lines.drain(..lines.len().saturating_sub(most));
    all.len()
}
