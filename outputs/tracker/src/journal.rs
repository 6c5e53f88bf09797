//! What is known of the days that are open, and when which file is due. It does no I/O and has no clock: it is told the time,
//! and tells what is to be done.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{ToSpan, civil::Date, tz::TimeZone};
use shm_layout::{ConfigChange, Event, InterfaceName, UnixTime, VlanId};

use crate::{
    calendar::{Calendar, Moment, compact},
    config::{Names, UNKNOWN},
    day::{Change, Day},
    row::{Activity, Key},
    table,
};

/// How long first sightings gather before they are written, all in one go.
const GATHER: Duration = Duration::from_millis(400);
/// How long after a write that failed the next is tried.
const RETRY: Duration = Duration::from_secs(10);
/// Days in memory: today, and those that late or replayed sightings belong to.
const OPEN_DAYS: usize = 3;
/// A clock that was set forward by so much may be wrong: nothing is removed by it for a while.
const STEP: Duration = Duration::from_secs(86_400);
const DISTRUST: Duration = Duration::from_secs(3_600);
/// Names of interfaces that are remembered, and errors that wait to be written.
const MOST_INTERFACES: usize = 4_096;
const MOST_ERRORS: usize = 100;
/// Bytes about configurations that wait for a disk that takes nothing.
const MOST_CONFIG: usize = 1 << 20;

/// The time, by the clock on the wall and by one that is never set.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: UnixTime,
    pub steady: Duration,
}

/// What the user said.
#[derive(Clone, Debug)]
pub struct Rules {
    pub names: Arc<Names>,
    /// Days before today whose logs are kept.
    pub max_logs: u16,
    /// Rows of a day.
    pub max_rows: usize,
}

/// A line-by-line log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    Alert,
    /// Changes of routers' configurations.
    Config,
    Error,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Lines go to the end of a log.
    Append(Log, Date, String),
    /// The tracker's log of a day is this.
    Write(Date, String),
    /// Logs of days before this one go.
    Remove(Date),
    /// A report is due.
    Report,
}

/// The days that are open.
#[derive(Debug)]
pub struct Journal {
    rules: Rules,
    calendar: Calendar,
    /// When it was last told the time, and what the clock on the wall showed then.
    now: Now,
    today: Moment,
    days: VecDeque<Day>,
    interfaces: HashMap<(InterfaceName, VlanId, VlanId), Arc<str>>,
    lines: Vec<(Log, Date, String)>,
    /// Errors beyond those that wait, and sightings of days that have no log.
    untold: usize,
    strays: u64,
    due: Option<Duration>,
    report: bool,
    /// Old logs are to be removed, once the clock can be believed.
    sweep: Option<Duration>,
}

impl Journal {
    pub fn new(rules: Rules, zone: TimeZone, now: Now) -> Self {
        let mut calendar = Calendar::new(zone);
        Journal {
            rules,
            today: calendar.moment(now.wall),
            calendar,
            now,
            days: VecDeque::new(),
            interfaces: HashMap::new(),
            lines: Vec::new(),
            untold: 0,
            strays: 0,
            due: Some(now.steady),
            report: true,
            sweep: Some(now.steady),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    pub fn today(&self) -> Date {
        self.today.date
    }

    /// The user said something else, or the machine has moved.
    pub fn change(&mut self, rules: Rules, zone: TimeZone) {
        self.rules = rules;
        self.calendar = Calendar::new(zone);
        self.days.iter_mut().for_each(|day| day.changed = true);
        self.due = Some(self.now.steady);
        self.sweep = self.sweep.or(self.due);
    }

    /// When an event was, if its day has a log; the day must be open before it is taken.
    pub fn moment(&mut self, event: &Event) -> Option<Moment> {
        let at = self.calendar.moment(event.time);
        if !self.has_log(at.date) {
            self.stray();
            return None;
        }
        Some(at)
    }

    /// Whether the day of an event has no log, by the clock as it was last looked at.
    pub fn is_stray(&mut self, event: &Event) -> bool {
        let date = self.calendar.moment(event.time).date;
        !self.has_log(date)
    }

    fn has_log(&self, date: Date) -> bool {
        // Tomorrow's: midnight may have passed unnoticed, or the clock was set back.
        let tomorrow = self.today.date.tomorrow().unwrap_or(Date::MAX);
        (self.oldest()..=tomorrow).contains(&date)
    }

    /// A sighting of a day that has no log: counted, and told every hour.
    pub fn stray(&mut self) {
        self.strays += 1;
    }

    fn oldest(&self) -> Date {
        self.today.date.checked_sub(i64::from(self.rules.max_logs).days()).unwrap_or(Date::MIN)
    }

    pub fn is_open(&self, date: Date) -> bool {
        self.days.iter().any(|day| day.date == date)
    }

    /// Opens a day with what its log has.
    pub fn open(&mut self, date: Date, rows: Vec<(Key, Activity)>) {
        if self.days.len() == OPEN_DAYS
            && let Some(day) = self.days.pop_front()
            && day.changed
        {
            self.error(&format!("some of {} is lost, for its log could not be written", day.date));
        }
        self.days.push_back(Day::new(date, rows));
    }

    /// Whether another day can be opened without giving up one.
    pub fn has_room(&self) -> bool {
        self.days.len() < OPEN_DAYS
    }

    /// Takes an event.
    pub fn sight(&mut self, event: &Event, at: Moment, steady: Duration) {
        let key = Key { mac: event.mac, ip: event.ip(), interface: self.interface(event) };
        let Rules { names, max_rows, .. } = &self.rules;
        let Some(day) = self.days.iter_mut().find(|day| day.date == at.date) else { return };
        match day.sight(key.clone(), at, names, *max_rows) {
            Change::Count | Change::Full => return,
            Change::Hour => {}
            Change::Stranger => {
                let row = (&key, &Activity::begin(at), UNKNOWN);
                self.append(Log::Alert, at.date, &table::write_line(at.date, &row));
            }
        }
        self.due.get_or_insert(steady + GATHER);
    }

    /// Takes the change of a router's configuration.
    pub fn config_change(&mut self, event: &Event, change: &ConfigChange, at: Moment) {
        let ConfigChange { user, added, removed } = change;
        let (day, clock) = (compact(at.date), at.clock);
        let (router, ip) = (event.interface, event.ip());
        let text =
            format!("{day}:{clock}:{router} ({ip}) changed by {user} (+{added} -{removed})\n");
        if self.lines.iter().any(|(log, _, text)| *log == Log::Config && text.len() > MOST_CONFIG) {
            return self
                .error("a change of a router's configuration is lost: its log cannot be written");
        }
        self.append(Log::Config, at.date, &text);
        self.due.get_or_insert(self.now.steady + GATHER);
    }

    /// `eth0`, or `eth0.9` for VLAN 9, or `eth0.100.9` where it is in another, as Linux names them.
    fn interface(&mut self, event: &Event) -> Arc<str> {
        let Event { interface, vlan, outer_vlan, .. } = *event;
        if self.interfaces.len() >= MOST_INTERFACES {
            self.interfaces.clear();
        }
        let name = || {
            let name = if interface.as_str().is_empty() { "-" } else { interface.as_str() };
            let tags = [outer_vlan, vlan].into_iter().filter(|vlan| *vlan != VlanId::NONE);
            tags.fold(name.to_owned(), |name, vlan| format!("{name}.{vlan}")).into()
        };
        Arc::clone(self.interfaces.entry((interface, outer_vlan, vlan)).or_insert_with(name))
    }

    /// Something is wrong: a line in today's error log.
    pub fn error(&mut self, what: &str) {
        if self.lines.iter().filter(|(log, ..)| *log == Log::Error).count() >= MOST_ERRORS {
            self.untold += 1;
            return;
        }
        let what = what.replace(char::is_control, "?");
        let Moment { date, clock, .. } = self.today;
        self.append(Log::Error, date, &format!("{}:{clock}:{what}\n", compact(date)));
        self.due.get_or_insert(self.now.steady);
    }

    fn append(&mut self, log: Log, date: Date, text: &str) {
        match self.lines.iter_mut().find(|(of, on, _)| (*of, *on) == (log, date)) {
            Some((.., lines)) if log != Log::Error => lines.push_str(text),
            _ => self.lines.push((log, date, text.to_owned())),
        }
    }

    /// The time goes by: what is to be done now?
    pub fn tick(&mut self, now: Now) -> Vec<Task> {
        let (before, was) = (self.now, self.today);
        self.today = self.calendar.moment(now.wall);
        self.now = now;
        let ahead = now.wall.as_nanos().saturating_sub(before.wall.as_nanos());
        let ahead = Duration::from_nanos(ahead.try_into().unwrap_or(0));
        let step = ahead.saturating_sub(now.steady.saturating_sub(before.steady));
        let turned = (was.date, was.clock.hour) != (self.today.date, self.today.clock.hour);
        if was.date != self.today.date {
            self.sweep.get_or_insert(now.steady);
        }
        if step > STEP {
            self.sweep = Some(now.steady + DISTRUST);
            self.error(&format!(
                "the clock was set forward by {} days: no log is removed for an hour",
                step.as_secs() / 86_400
            ));
        }
        if turned {
            self.tell_refused();
        }
        // Whatever belongs to another day was written when it came, but for its counts.
        let today = self.today.date;
        self.days.retain(|day| day.changed || day.date == today);
        let due = turned || self.due.is_some_and(|due| due <= now.steady);
        let mut tasks = if due { self.write(turned) } else { Vec::new() };
        if self.sweep.is_some_and(|sweep| sweep <= now.steady) {
            self.sweep = None;
            tasks.push(Task::Remove(self.oldest()));
        }
        tasks
    }

    /// What was counted and not told, once an hour.
    fn tell_refused(&mut self) {
        let mut full: Vec<_> = self.days.iter_mut().filter(|day| day.refused > 0).collect();
        let mut told: Vec<_> = full
            .iter_mut()
            .map(|day| {
                let number = std::mem::take(&mut day.refused);
                format!("{number} sightings of {} found no room in its log (--max-rows)", day.date)
            })
            .collect();
        if self.strays > 0 {
            told.push(format!("{} sightings are of days that have no log", self.strays));
            self.strays = 0;
        }
        told.iter().for_each(|what| self.error(what));
    }

    /// Everything that the files do not have yet, and a report.
    fn write(&mut self, report: bool) -> Vec<Task> {
        self.due = None;
        if self.untold > 0 {
            let untold = std::mem::take(&mut self.untold);
            let text = format!(
                "{}:{}:{untold} further errors\n",
                compact(self.today.date),
                self.today.clock
            );
            self.lines.push((Log::Error, self.today.date, text));
        }
        let mut tasks = Vec::new();
        for (log, date, text) in std::mem::take(&mut self.lines) {
            match tasks.last_mut() {
                Some(Task::Append(of, on, lines)) if (*of, *on) == (log, date) => *lines += &text,
                _ => tasks.push(Task::Append(log, date, text)),
            }
        }
        for day in self.days.iter_mut().filter(|day| day.changed) {
            day.changed = false;
            tasks.push(Task::Write(day.date, day.text(&self.rules.names)));
        }
        if std::mem::take(&mut self.report) || report || !tasks.is_empty() {
            tasks.push(Task::Report);
        }
        tasks
    }

    /// The end, or room is needed: everything that the files do not have yet.
    pub fn flush(&mut self) -> Vec<Task> {
        self.tell_refused();
        self.write(true)
    }

    /// Whatever has been seen is to be in the files, counts too; a report is made only if there is news.
    pub fn sync(&mut self) -> Vec<Task> {
        let news = self.due.is_some();
        let mut tasks = self.write(false);
        if !news && tasks.last() == Some(&Task::Report) {
            tasks.pop();
        }
        tasks
    }

    /// A task could not be done: it will be due again.
    pub fn failed(&mut self, task: Task) {
        match task {
            Task::Append(log, date, text) => self.lines.insert(0, (log, date, text)),
            Task::Write(date, _) => {
                self.days
                    .iter_mut()
                    .filter(|day| day.date == date)
                    .for_each(|day| day.changed = true);
            }
            Task::Remove(_) | Task::Report => {}
        }
        self.due = Some(self.now.steady + RETRY);
    }
}

#[cfg(test)]
mod tests;
