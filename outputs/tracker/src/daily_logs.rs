//! The logs of the days that are open, in memory, and when which file must be written. This module does no I/O and reads no
//! clock: the caller passes the time and carries out the actions that are returned.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use jiff::{ToSpan, civil::Date, tz::TimeZone};
use shm_layout::{ConfigChange, Event, InterfaceName, UnixTime, VlanId};

use crate::{
    activity::{Activity, RowKey},
    config_file::{DeviceNames, UNKNOWN},
    day_log::{DayLog, RowChange},
    local_time::{Calendar, Moment, compact},
    log_dir::LogKind,
    log_format,
};

/// Time between a first sighting and the write of its log: further sightings in that time need no write of their own.
const WRITE_DELAY: Duration = Duration::from_millis(400);
/// Time between a failed write and the next try.
const RETRY: Duration = Duration::from_secs(10);
/// Days in memory: today, and the days of late or replayed sightings.
const MAX_OPEN_DAYS: usize = 3;
/// If the clock is set forward by more than this, it may be wrong: no log is removed for REMOVAL_DELAY.
const CLOCK_STEP: Duration = Duration::from_secs(86_400);
const REMOVAL_DELAY: Duration = Duration::from_secs(3_600);
/// Cached names of interfaces.
const MAX_INTERFACES: usize = 4_096;
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
    interfaces: HashMap<(InterfaceName, VlanId, VlanId), Arc<str>>,
    /// Lines that are not in their logs yet.
    lines: Vec<(LogKind, Date, String)>,
    /// Error messages beyond MAX_ERRORS.
    more_errors: usize,
    /// Sightings of days that have no log, since the last error message about them.
    outside: u64,
    write_due: Option<Duration>,
    is_report_due: bool,
    /// When logs that are too old are removed.
    removal_due: Option<Duration>,
}

impl DailyLogs {
    pub fn new(config: LogConfig, max_rows: usize, zone: TimeZone, clocks: Clocks) -> Self {
        let mut calendar = Calendar::new(zone);
        DailyLogs {
            config,
            max_rows,
            today: calendar.moment(clocks.system),
            calendar,
            clocks,
            days: VecDeque::new(),
            interfaces: HashMap::new(),
            lines: Vec::new(),
            more_errors: 0,
            outside: 0,
            write_due: Some(clocks.monotonic),
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

    /// The local time of an event; None if its day has no log. `record` needs that day to be open.
    pub fn moment(&mut self, event: &Event) -> Option<Moment> {
        let at = self.calendar.moment(event.time);
        if !self.has_log(at.date) {
            self.count_outside();
            return None;
        }
        Some(at)
    }

    /// Whether the day of an event has no log, by the system clock at the last `tick`.
    pub fn is_outside(&mut self, event: &Event) -> bool {
        let date = self.calendar.moment(event.time).date;
        !self.has_log(date)
    }

    fn has_log(&self, date: Date) -> bool {
        // Tomorrow has one too: midnight may be later than the last `tick`, or the clock was set back.
        let tomorrow = self.today.date.tomorrow().unwrap_or(Date::MAX);
        (self.oldest()..=tomorrow).contains(&date)
    }

    /// Counts a sighting of a day that has no log. The number goes to the error log every hour.
    pub fn count_outside(&mut self) {
        self.outside += 1;
    }

    fn oldest(&self) -> Date {
        self.today.date.checked_sub(i64::from(self.config.max_logs).days()).unwrap_or(Date::MIN)
    }

    pub fn is_open(&self, date: Date) -> bool {
        self.days.iter().any(|day| day.date == date)
    }

    /// Opens a day with the rows of its log. If MAX_OPEN_DAYS are open, the one that was opened first is closed.
    pub fn open_day(&mut self, date: Date, rows: Vec<(RowKey, Activity)>) {
        if self.days.len() == MAX_OPEN_DAYS
            && let Some(day) = self.days.pop_front()
            && day.is_dirty
        {
            let day = day.date;
            self.log_error(&format!("sightings of {day} are lost: its log could not be written"));
        }
        self.days.push_back(DayLog::new(date, rows));
    }

    /// Whether another day can be opened without closing one.
    pub fn has_room(&self) -> bool {
        self.days.len() < MAX_OPEN_DAYS
    }

    /// Records a sighting; `monotonic` is the time of its arrival.
    pub fn record(&mut self, event: &Event, at: Moment, monotonic: Duration) {
        let key = RowKey { mac: event.mac, ip: event.ip(), interface: self.interface(event) };
        let Some(day) = self.days.iter_mut().find(|day| day.date == at.date) else { return };
        match day.record(key.clone(), at, &self.config.names, self.max_rows) {
            RowChange::CountOnly | RowChange::Full => return,
            RowChange::NewHour => {}
            RowChange::UnknownDevice => {
                let row = (&key, &Activity::new(at), UNKNOWN);
                self.append(LogKind::Alert, at.date, &log_format::format_row(at.date, &row));
            }
        }
        self.write_due.get_or_insert(monotonic + WRITE_DELAY);
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

    /// The interface column, as Linux names VLAN interfaces: `eth0`, `eth0.9` for VLAN 9, `eth0.100.9` for VLAN 9 in 100.
    fn interface(&mut self, event: &Event) -> Arc<str> {
        let Event { interface, vlan, outer_vlan, .. } = *event;
        if self.interfaces.len() >= MAX_INTERFACES {
            self.interfaces.clear();
        }
        let name = || {
            let name = if interface.as_str().is_empty() { "-" } else { interface.as_str() };
            let tags = [outer_vlan, vlan].into_iter().filter(|vlan| *vlan != VlanId::NONE);
            tags.fold(name.to_owned(), |name, vlan| format!("{name}.{vlan}")).into()
        };
        Arc::clone(self.interfaces.entry((interface, outer_vlan, vlan)).or_insert_with(name))
    }

    /// Adds a line to today's error log.
    pub fn log_error(&mut self, message: &str) {
        if self.lines.iter().filter(|(kind, ..)| *kind == LogKind::Error).count() >= MAX_ERRORS {
            self.more_errors += 1;
            return;
        }
        let message = message.replace(char::is_control, "?");
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
        if is_new_hour {
            self.log_dropped();
        }
        // The log of another day is written soon after each first sighting in an hour; then the day is closed.
        let today = self.today.date;
        self.days.retain(|day| day.is_dirty || day.date == today);
        let is_due = is_new_hour || self.write_due.is_some_and(|due| due <= clocks.monotonic);
        let mut actions = if is_due { self.write(is_new_hour) } else { Vec::new() };
        if self.removal_due.is_some_and(|due| due <= clocks.monotonic) {
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
            self.log_error(&format!(
                "the clock was set forward by {} days: no log is removed for an hour",
                step.as_secs() / 86_400
            ));
        }
    }

    /// Adds the numbers of sightings that were dropped to the error log, once an hour.
    fn log_dropped(&mut self) {
        let mut messages = Vec::new();
        for day in self.days.iter_mut().filter(|day| day.dropped > 0) {
            let (number, date) = (mem::take(&mut day.dropped), day.date);
            messages.push(format!(
                "{number} sightings of {date} were not recorded: its log is full (raise --max-rows)"
            ));
        }
        if self.outside > 0 {
            let number = mem::take(&mut self.outside);
            messages.push(format!(
                "{number} sightings were not recorded: their days have no log (older than --max-logs, or in the future)"
            ));
        }
        messages.iter().for_each(|message| self.log_error(message));
    }

    /// Returns everything that the files do not have yet, and a report if something changed or `report` is set.
    fn write(&mut self, report: bool) -> Vec<LogAction> {
        self.write_due = None;
        if self.more_errors > 0 {
            let line = self.error_line(&format!("{} further errors", self.more_errors));
            self.more_errors = 0;
            self.lines.push((LogKind::Error, self.today.date, line));
        }
        let mut actions = Vec::new();
        for (kind, date, text) in mem::take(&mut self.lines) {
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
        if mem::take(&mut self.is_report_due) || report || !actions.is_empty() {
            actions.push(LogAction::Report);
        }
        actions
    }

    /// Returns everything that the files do not have yet, counts included, and a report: at the end, and before another
    /// day is opened when there is no room.
    pub fn flush(&mut self) -> Vec<LogAction> {
        self.log_dropped();
        self.write(true)
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

    /// Takes back an action that failed; it is returned again after RETRY.
    pub fn retry(&mut self, action: LogAction) {
        match action {
            LogAction::Append(kind, date, text) => self.lines.insert(0, (kind, date, text)),
            LogAction::Replace(date, _) => {
                let days = self.days.iter_mut().filter(|day| day.date == date);
                days.for_each(|day| day.is_dirty = true);
            }
            LogAction::RemoveBefore(_) | LogAction::Report => {}
        }
        self.write_due = Some(self.clocks.monotonic + RETRY);
    }
}

#[cfg(test)]
mod tests;
