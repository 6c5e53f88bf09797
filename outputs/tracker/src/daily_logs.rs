//! The logs of the days that are open, in memory, and when which file must be written. This module does no I/O and reads no
//! clock: the caller passes the time and carries out the actions that are returned.

mod interface_names;

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use aw_output::names::NetworkNames;
use aw_service::plain;
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use shm_layout::{ConfigChange, Event, Evidence, RingName, UnixTime};

use self::interface_names::InterfaceNames;
use crate::{
    activity::{Activity, RowKey, Sender},
    config_file::{DeviceNames, UNKNOWN},
    day_log::{DayLog, RowChange},
    local_time::{Calendar, Moment, compact, is_dated},
    log_dir::LogKind,
    log_format,
};

/// Time between a first sighting and the write of its log: further sightings in that time need no write of their own.
const WRITE_DELAY: Duration = Duration::from_millis(400);
/// While a flood changes a large log all the time, the ring must be read, too: after a write it is read for so many times as
/// long as the write took, up to RETRY. So writes that take a second take a tenth of the time; of a disk so slow that one
/// takes longer than RETRY, they take more than half, and what the ring overwrites meanwhile is counted as lost.
const REST: u32 = 9;
/// Time between a failed write and the next try.
const RETRY: Duration = Duration::from_secs(10);
/// Days in memory: today, and the days of late or replayed sightings.
const MAX_OPEN_DAYS: usize = 3;
/// If the clock is set forward by more than this, it may be wrong: no log is removed for REMOVAL_DELAY.
const CLOCK_STEP: Duration = Duration::from_secs(86_400);
const REMOVAL_DELAY: Duration = Duration::from_secs(3_600);
/// Error messages in memory that are not in the log yet.
const MAX_ERRORS: usize = 100;
/// Bytes about configuration changes in memory that are not in the log yet.
const MAX_CONFIG_BYTES: usize = 1 << 20;

/// The system clock, and one that is never set.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    pub system: UnixTime,
    pub monotonic: Duration,
}

/// The settings that concern the logs.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub names: Arc<DeviceNames>,
    /// For the report.
    pub networks: Arc<NetworkNames>,
    /// Days before today whose logs are kept.
    pub max_logs: u16,
}

/// What the caller must do, in the order in which it is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogAction {
    /// Append lines to a log of a day.
    Append(LogKind, Date, String),
    /// Replace the tracker log of a day.
    Replace(Date, String),
    /// Remove the logs of days before this one.
    RemoveBefore(Date),
    /// Create the report.
    Report,
    /// Log a warning.
    Warn(String),
}

/// The logs of the open days.
#[derive(Debug)]
pub struct DailyLogs {
    config: LogConfig,
    max_rows: usize,
    calendar: Calendar,
    /// The clocks at the last `tick`.
    clocks: Clocks,
    today: Moment,
    days: VecDeque<DayLog>,
    interfaces: InterfaceNames,
    /// Lines that are not in their logs yet.
    lines: Vec<(LogKind, Date, String)>,
    /// Error messages beyond MAX_ERRORS.
    more_errors: usize,
    /// Sightings of days that have no log, since the last error message about them.
    outside: u64,
    /// Sightings that were captured before the clock was set, since the last error message about them.
    undated: u64,
    write_due: Option<Duration>,
    /// When the next write may begin.
    rest_until: Duration,
    is_report_due: bool,
    /// When logs that are too old are removed.
    removal_due: Option<Duration>,
}

impl DailyLogs {
    /// Empty logs of events of these rings, with at most `max_rows` rows a day.
    pub fn new(
        config: LogConfig,
        (rings, max_rows): (&[RingName], usize),
        zone: TimeZone,
        clocks: Clocks,
    ) -> Self {
        let mut calendar = Calendar::new(zone);
        DailyLogs {
            config,
            max_rows,
            today: calendar.moment(clocks.system),
            calendar,
            clocks,
            days: VecDeque::new(),
            interfaces: InterfaceNames::new(rings),
            lines: Vec::new(),
            more_errors: 0,
            outside: 0,
            undated: 0,
            write_due: Some(clocks.monotonic),
            rest_until: Duration::ZERO,
            is_report_due: true,
            removal_due: Some(clocks.monotonic),
        }
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    pub fn today(&self) -> Date {
        self.today.date
    }

    /// Applies another configuration or time zone. All open logs are written again, with the new names.
    pub fn reconfigure(&mut self, config: LogConfig, zone: TimeZone) {
        self.config = config;
        self.calendar = Calendar::new(zone);
        self.days.iter_mut().for_each(|day| day.is_dirty = true);
        self.write_due = Some(self.clocks.monotonic);
        self.removal_due = self.removal_due.or(self.write_due);
    }

    /// The local time of an event; None if its day has no log, by the system clock at the last `tick`. There are no logs of
    /// days before the clock was set.
    pub fn moment(&mut self, event: &Event) -> Option<Moment> {
        if !event.time.is_plausible() || !self.clocks.system.is_plausible() {
            return None;
        }
        let at = self.calendar.moment(event.time);
        // Tomorrow has a log too: midnight may have passed since the last `tick`, or the clock was set back.
        let tomorrow = self.today.date.tomorrow().unwrap_or(Date::MAX);
        (self.oldest()..=tomorrow).contains(&at.date).then_some(at)
    }

    /// Counts a sighting of a day that has no log. The number is reported every hour and at the end.
    pub fn count_outside(&mut self, event: &Event) {
        match event.time.is_plausible() {
            true => self.outside += 1,
            false => self.undated += 1,
        }
    }

    fn oldest(&self) -> Date {
        self.today.date.checked_sub(i64::from(self.config.max_logs).days()).unwrap_or(Date::MIN)
    }

    pub fn is_open(&self, date: Date) -> bool {
        self.days.iter().any(|day| day.date == date)
    }

    /// Opens a day. If MAX_OPEN_DAYS are open, the one that was opened first is closed.
    pub fn open_day(&mut self, mut opened: DayLog) {
        opened.add_earlier(self.days.iter());
        if self.days.len() == MAX_OPEN_DAYS
            && let Some(day) = self.days.pop_front()
            && day.is_dirty
        {
            let day = day.date;
            self.log_error(&format!("sightings of {day} are lost: its log could not be written"));
        }
        self.days.push_back(opened);
    }

    /// Whether another day can be opened without closing one.
    pub fn has_room(&self) -> bool {
        self.days.len() < MAX_OPEN_DAYS
    }

    /// Records a sighting on a day that is open; `monotonic` is the time of its arrival.
    pub fn record(&mut self, ring: &RingName, event: &Event, at: Moment, monotonic: Duration) {
        let interface = self.interfaces.of(ring, event);
        // A MAC that no host has is no device: the one that sent it is.
        let mac = if event.mac.is_no_host() { event.source } else { event.mac };
        let key = RowKey { mac, ip: event.ip(), interface };
        let Some(day) = self.days.iter_mut().find(|day| day.date == at.date) else { return };
        let evidence = if mac == event.mac { event.kind.evidence() } else { Evidence::NoHost };
        let sender = Sender::of(mac, event.source);
        let seen = (at, evidence, sender);
        let change = day.add(key.clone(), seen, &self.config.names, self.max_rows);
        if let Some(message) = day.take_full() {
            self.log_error(&message);
        }
        match change {
            RowChange::CountOnly | RowChange::Full | RowChange::NoClaim => return,
            RowChange::NewHour => {}
            RowChange::UnknownDevice => self.alert(&key, at, sender),
            RowChange::UnknownProber => self.alert(&key.without_address(), at, sender),
        }
        self.write_due.get_or_insert(self.rest_until.max(monotonic + WRITE_DELAY));
    }

    fn alert(&mut self, key: &RowKey, at: Moment, sender: Sender) {
        let row = (key, &Activity::new(at, sender), UNKNOWN);
        self.append(LogKind::Alert, at.date, &log_format::format_row(at.date, &row));
    }

    /// Records a change of a router's configuration.
    pub fn record_config_change(&mut self, event: &Event, change: &ConfigChange, at: Moment) {
        let ConfigChange { user, added, removed } = change;
        let (day, clock) = (compact(at.date), at.clock);
        let (router, ip) = (event.interface, event.ip());
        let text =
            format!("{day}:{clock}:{router} ({ip}) changed by {user} (+{added} -{removed})\n");
        let mut logs = self.lines.iter().filter(|(kind, ..)| *kind == LogKind::Config);
        if logs.any(|(.., text)| text.len() > MAX_CONFIG_BYTES) {
            return self.log_error("a configuration change is lost: its log could not be written");
        }
        self.append(LogKind::Config, at.date, &text);
        self.write_due.get_or_insert(self.clocks.monotonic + WRITE_DELAY);
    }

    /// Adds a line to today's error log.
    pub fn log_error(&mut self, message: &str) {
        if self.lines.iter().filter(|(kind, ..)| *kind == LogKind::Error).count() >= MAX_ERRORS {
            self.more_errors += 1;
            return;
        }
        let message = plain(message);
        let line = self.error_line(&message);
        self.append(LogKind::Error, self.today.date, &line);
        self.write_due.get_or_insert(self.clocks.monotonic);
    }

    fn error_line(&self, message: &str) -> String {
        let Moment { date, clock, .. } = self.today;
        format!("{}:{clock}:{message}\n", compact(date))
    }

    fn append(&mut self, kind: LogKind, date: Date, text: &str) {
        match self.lines.iter_mut().find(|(of, on, _)| (*of, *on) == (kind, date)) {
            Some((.., lines)) if kind != LogKind::Error => lines.push_str(text),
            _ => self.lines.push((kind, date, text.to_owned())),
        }
    }

    /// When the next write is due, in the time of the monotonic clock.
    pub fn write_due(&self) -> Option<Duration> {
        self.write_due
    }

    /// Returns what must be done at this time.
    pub fn tick(&mut self, clocks: Clocks) -> Vec<LogAction> {
        let (before, was) = (self.clocks, self.today);
        self.today = self.calendar.moment(clocks.system);
        self.clocks = clocks;
        let is_new_hour = (was.date, was.clock.hour) != (self.today.date, self.today.clock.hour);
        if was.date != self.today.date {
            self.removal_due.get_or_insert(clocks.monotonic);
        }
        self.check_clock(before);
        let mut actions = if is_new_hour { self.report_dropped() } else { Vec::new() };
        // The log of another day is written soon after each first sighting in an hour; then the day is closed.
        let today = self.today.date;
        self.days.retain(|day| day.is_dirty || day.date == today);
        if is_new_hour || self.write_due.is_some_and(|due| due <= clocks.monotonic) {
            actions.extend(self.write(is_new_hour));
        }
        let is_set = clocks.system.is_plausible();
        if is_set && self.removal_due.is_some_and(|due| due <= clocks.monotonic) {
            self.removal_due = None;
            actions.push(LogAction::RemoveBefore(self.oldest()));
        }
        actions
    }

    /// Postpones the removal of logs if the system clock was set forward by more than CLOCK_STEP.
    fn check_clock(&mut self, before: Clocks) {
        let Clocks { system, monotonic } = self.clocks;
        let ahead = system.as_nanos().saturating_sub(before.system.as_nanos());
        let ahead = Duration::from_nanos(ahead.try_into().unwrap_or(0));
        let step = ahead.saturating_sub(monotonic.saturating_sub(before.monotonic));
        if step > CLOCK_STEP {
            self.removal_due = Some(monotonic + REMOVAL_DELAY);
        }
        if step > CLOCK_STEP && !before.system.is_plausible() {
            let today = self.today.date;
            let undated = self.lines.iter_mut().filter(|(_, date, _)| !is_dated(*date));
            undated.for_each(|(_, date, _)| *date = today);
        } else if step > CLOCK_STEP {
            self.log_error(&format!(
                "the clock was set forward by {} days: no log is removed for an hour",
                step.as_secs() / 86_400
            ));
        }
    }

    /// Adds the numbers of sightings that were dropped to the error log, and returns warnings of them.
    fn report_dropped(&mut self) -> Vec<LogAction> {
        let mut messages = Vec::new();
        self.days.iter_mut().for_each(|day| messages.extend(day.take_counts()));
        for (number, why) in [
            (
                mem::take(&mut self.outside),
                "their days have no log (older than --max-logs, or in the future)",
            ),
            (mem::take(&mut self.undated), "they were captured before the clock was set"),
        ] {
            if number > 0 {
                messages.push(format!("{number} sightings were not recorded: {why}"));
            }
        }
        messages.iter().for_each(|message| self.log_error(message));
        messages.into_iter().map(LogAction::Warn).collect()
    }

    /// Returns everything that the files do not have yet, and a report if something changed or `report` is set.
    fn write(&mut self, report: bool) -> Vec<LogAction> {
        self.write_due = None;
        if self.more_errors > 0 && is_dated(self.today.date) {
            let line = self.error_line(&format!("{} further errors", self.more_errors));
            self.more_errors = 0;
            self.lines.push((LogKind::Error, self.today.date, line));
        }
        let mut actions = Vec::new();
        // Messages from before the clock was set wait for the day on which it is.
        let lines: Vec<_> = self.lines.extract_if(.., |(_, date, _)| is_dated(*date)).collect();
        for (kind, date, text) in lines {
            match actions.last_mut() {
                Some(LogAction::Append(of, on, lines)) if (*of, *on) == (kind, date) => {
                    *lines += &text;
                }
                _ => actions.push(LogAction::Append(kind, date, text)),
            }
        }
        for day in self.days.iter_mut().filter(|day| day.is_dirty) {
            day.is_dirty = false;
            actions.push(LogAction::Replace(day.date, day.to_text(&self.config.names)));
        }
        let is_set = self.clocks.system.is_plausible();
        if is_set && (mem::take(&mut self.is_report_due) || report || !actions.is_empty()) {
            actions.push(LogAction::Report);
        }
        actions
    }

    /// Returns everything that the files do not have yet, counts included, and a report: at the end, and before another
    /// day is opened when there is no room.
    pub fn flush(&mut self) -> Vec<LogAction> {
        let mut actions = self.report_dropped();
        actions.extend(self.write(true));
        actions
    }

    /// Returns everything that the files do not have yet, counts included; a report only if a write was due.
    pub fn sync(&mut self) -> Vec<LogAction> {
        let was_due = self.write_due.is_some();
        let mut actions = self.write(false);
        if !was_due && actions.last() == Some(&LogAction::Report) {
            actions.pop();
        }
        actions
    }

    /// A write, or a removal of old logs, began at `began` and took `took`: the next write waits.
    pub fn rest(&mut self, began: Duration, took: Duration) {
        self.rest_until = began + took + (took * REST).min(RETRY);
    }

    /// Takes back an action that failed; it is returned again after RETRY.
    pub fn retry(&mut self, action: LogAction) {
        match action {
            LogAction::Append(kind, date, text) => self.lines.insert(0, (kind, date, text)),
            LogAction::Replace(date, _) => {
                let days = self.days.iter_mut().filter(|day| day.date == date);
                days.for_each(|day| day.is_dirty = true);
            }
            LogAction::RemoveBefore(_) | LogAction::Report | LogAction::Warn(_) => {}
        }
        self.write_due = Some(self.clocks.monotonic + RETRY);
    }
}

#[cfg(test)]
mod tests;
