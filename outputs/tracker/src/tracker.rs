//! Events in, files out: what the journal thinks is done here.

use std::{net::TcpListener, sync::Arc, time::Instant};

use aw_output::{Entry, Error, Fault, Result, Sink, info, warn};
use jiff::{civil::Date, tz::TimeZone};
use shm_layout::{Kind as EventKind, UnixTime};

use crate::{
    files::{self, Kind, LogDir, load},
    journal::{Journal, Now, Rules, Task},
    options::{Settings, Source, Wanted},
    report::OTHER_DAY,
    reporter::{Order, Places, Reporter},
    row::{Activity, Key},
    table,
};

/// Events after which the time is looked at, when they come without a pause.
const TURN: u32 = 256;
/// Seconds after which the machine's time zone is looked at.
const ZONE: i64 = 60;

/// Keeps the logs.
pub struct Tracker<'a> {
    settings: &'a Settings,
    wanted: Wanted,
    journal: Journal,
    logs: LogDir,
    reporter: Reporter,
    began: Instant,
    events: u32,
    zone: TimeZone,
    zone_asked: i64,
    /// Days whose logs cannot be read: they are left as they are.
    unreadable: Vec<Date>,
    /// A log could not be written.
    failed: bool,
}

impl<'a> Tracker<'a> {
    /// Opens the logs; `listener`: where browsers are to be shown the report.
    pub fn open(
        settings: &'a Settings,
        listener: Option<TcpListener>,
    ) -> std::result::Result<Self, Error> {
        let wanted = settings.wanted()?;
        let logs = LogDir::open(&wanted.log_dir)?;
        let places = Places {
            log_dir: wanted.log_dir.clone(),
            report_dir: wanted.report_dir.clone(),
            vendors: settings.sources.vendors(),
        };
        if let Some(listener) = listener {
            crate::serve::start(listener, places.page())?;
        }
        let zone = TimeZone::system();
        let began = Instant::now();
        let now = Now { wall: UnixTime::now(), steady: began.elapsed() };
        let mut tracker = Tracker {
            settings,
            journal: Journal::new(rules(settings, &wanted), zone.clone(), now),
            wanted,
            logs,
            reporter: Reporter::start(places)?,
            began,
            events: 0,
            zone,
            zone_asked: now.wall.seconds(),
            unreadable: Vec::new(),
            failed: false,
        };
        tracker.open_day(tracker.journal.today())?;
        tracker.turn();
        Ok(tracker)
    }

    fn now(&self) -> Now {
        Now { wall: UnixTime::now(), steady: self.began.elapsed() }
    }

    /// A day goes on where its log ends.
    fn open_day(&mut self, date: Date) -> std::result::Result<(), Error> {
        let bytes = load(self.logs.path(), Kind::Tracker, date)?;
        let mut rows: Vec<(Key, Activity)> = Vec::new();
        for (number, line) in table::read(&bytes) {
            match line {
                Ok(line) if line.date == date => {
                    let at = |clock| self.journal.calendar().resolve(date, clock);
                    let key = Key { mac: line.mac, ip: line.ip, interface: line.interface.into() };
                    let (first, last) = (at(line.first), at(line.last));
                    rows.push((key, Activity { first, last, hours: line.hours }));
                }
                // The line goes when the log is written again: what stood in it is kept here.
                line => {
                    let text =
                        bytes.split(|byte| *byte == b'\n').nth(number - 1).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
                    let why = line.err().unwrap_or(OTHER_DAY);
                    let file = files::name(Kind::Tracker, date);
                    self.journal.error(&format!("{file}:{number}: {why}: {text}"));
                }
            }
        }
        self.journal.open(date, rows);
        Ok(())
    }

    /// Does what is due.
    fn turn(&mut self) {
        let now = self.now();
        if (now.wall.seconds() - self.zone_asked).abs() >= ZONE {
            self.zone_asked = now.wall.seconds();
            self.unreadable.clear(); // tried again
            let zone = TimeZone::system();
            if zone != self.zone {
                self.journal.change(self.journal.rules().clone(), zone.clone());
                self.zone = zone;
            }
        }
        let tasks = self.journal.tick(now);
        self.act(tasks);
    }

    /// A log that cannot be written is no reason to end: the day is in memory, and is tried again.
    fn act(&mut self, tasks: Vec<Task>) -> bool {
        let before = self.failed;
        let (mut fine, mut wrote) = (true, false);
        for task in tasks {
            let done = match &task {
                Task::Append(log, date, text) => self.logs.append(*log, *date, text),
                Task::Write(date, text) => self.logs.write(*date, text),
                Task::Remove(date) => self.logs.remove_before(*date),
                Task::Report => {
                    self.reporter.order(Order {
                        names: Arc::clone(&self.journal.rules().names),
                        max_logs: self.journal.rules().max_logs,
                        day: self.journal.today(),
                        live: true,
                    });
                    continue;
                }
            };
            if let Err(error) = done {
                if let (Error::Failed(why), false) = (&error, self.failed) {
                    warn(format_args!("{why} (trying again)"));
                }
                (fine, self.failed) = (false, true);
                self.journal.failed(task);
            } else {
                wrote |= matches!(task, Task::Append(..) | Task::Write(..));
            }
        }
        // Only if all of it could be written: on a full disk, a line may find room where a log does not.
        self.failed &= !(fine && wrote);
        if before && !self.failed {
            info(format_args!("{} is written again", self.logs.path().display()));
        }
        fine
    }

    fn unwritten(&self) -> String {
        let shown = self.logs.path().display();
        format!("some of the last sightings could not be written to {shown}")
    }

    fn source(&self, kind: EventKind) -> bool {
        match self.settings.source {
            _ if matches!(kind, EventKind::ConfigChange(_)) => true, // no sighting, whose source is chosen
            Source::All => true,
            Source::Macupd => kind == EventKind::MacUpd,
            Source::Pairing => matches!(kind, EventKind::Pairing(_)),
        }
    }
}

fn rules(settings: &Settings, wanted: &Wanted) -> Rules {
    Rules {
        names: Arc::clone(&wanted.names),
        max_logs: wanted.max_logs,
        max_rows: settings.max_rows.get() as usize,
    }
}

impl Sink for Tracker<'_> {
    fn write(&mut self, entry: &Entry) -> Result {
        self.events = self.events.wrapping_add(1);
        if self.events.is_multiple_of(TURN) {
            self.turn();
        }
        if !self.source(entry.event.kind) {
            return Ok(());
        }
        if self.journal.is_stray(&entry.event) {
            self.turn(); // the clock may have been set since it was looked at
        }
        let Some(at) = self.journal.moment(&entry.event) else { return Ok(()) };
        if let EventKind::ConfigChange(change) = &entry.event.kind {
            self.journal.config_change(&entry.event, change, at);
            return Ok(());
        }
        if !self.journal.is_open(at.date) {
            if !self.journal.has_room() {
                let tasks = self.journal.flush();
                self.act(tasks);
            }
            if !self.unreadable.contains(&at.date)
                && let Err(error) = self.open_day(at.date)
            {
                let Error::Failed(why) = error else { return Err(error.into()) };
                warn(format_args!("{why} (its sightings are not kept; trying again every minute)"));
                self.journal.error(&why);
                self.unreadable.push(at.date);
            }
            if self.unreadable.contains(&at.date) {
                self.journal.stray();
                return Ok(());
            }
        }
        self.journal.sight(&entry.event, at, self.began.elapsed());
        Ok(())
    }

    /// Delivered is what the journal has: what is written down of it is what the logs have, see `sync`.
    fn flush(&mut self) -> Result {
        self.turn();
        Ok(())
    }

    fn maintain(&mut self) -> Result<bool> {
        self.turn();
        Ok(false)
    }

    fn sync(&mut self) -> Result {
        let tasks = self.journal.sync();
        if self.act(tasks) { Ok(()) } else { Err(Fault::Down(self.unwritten())) }
    }

    /// The configuration is read again. One that is wrong changes nothing.
    fn reopen(&mut self) -> Result {
        match self.settings.wanted() {
            Ok(wanted) => {
                if (&wanted.log_dir, &wanted.report_dir)
                    != (&self.wanted.log_dir, &self.wanted.report_dir)
                {
                    info("LOGDIR and REPORTDIR stay what they are until the next start");
                }
                self.journal.change(rules(self.settings, &wanted), self.zone.clone());
                self.wanted.names = wanted.names;
                info("configuration read again");
            }
            Err(Error::Failed(why)) => {
                warn(format_args!("{why} (keeping the old configuration)"));
                self.journal.error(&why);
            }
            Err(closed) => return Err(closed.into()),
        }
        self.turn();
        Ok(())
    }

    fn close(&mut self) -> Result {
        let tasks = self.journal.flush();
        let fine = self.act(tasks);
        if !self.reporter.finish() {
            info("the last report takes too long: it is not written");
        }
        if fine { Ok(()) } else { Err(Fault::Down(self.unwritten())) }
    }
}
