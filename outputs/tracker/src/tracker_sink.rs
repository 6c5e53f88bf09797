//! Records events in the daily logs and carries out the actions that `daily_logs` returns.

use std::{
    collections::HashSet,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aw_output::{
    ClaimedNames, Entry, Error, Fault, FaultFile, Faults, NameFollower, RingState, Sink,
    SinkResult, info,
    names::LiveNames,
    serve::{self, AllowedHosts},
    warn,
};
use aw_service::Condition;
use jiff::{civil::Date, tz::TimeZone};
use shm_layout::{Kind, RingName, UnixTime};

use crate::{
    activity::{Activity, RowKey},
    activity_report::{OTHER_DAY, now::Live},
    daily_logs::{Clocks, DailyLogs, LogAction, LogConfig},
    day_log::DayLog,
    log_dir::{LogDir, LogKind, file_name, list_logs, read_log},
    log_format,
    options::{EffectiveConfig, SightingSource, TrackOptions},
    report_server::{self, PageMaker, SharedLive, lock},
    report_thread::{ReportPaths, ReportRequest, ReportThread},
};

/// While events arrive without a pause, due actions are carried out every so many events.
const EVENTS_PER_TICK: u32 = 256;
/// Records of each ring of names that are taken in a second.
const NAMES: usize = 10_000;
/// Seconds between two checks of the machine's time zone, and between two tries to read a log.
const CHECK_INTERVAL: i64 = 60;

pub struct TrackerSink<'a> {
    options: &'a TrackOptions,
    config: EffectiveConfig,
    logs: DailyLogs,
    log_dir: LogDir,
    reports: ReportThread,
    /// For the page that is served.
    live: SharedLive,
    start: Instant,
    events: u32,
    zone: TimeZone,
    /// When the time zone was checked.
    checked: i64,
    /// Days whose logs cannot be read: these logs are not changed.
    unreadable: Vec<Date>,
    write_failure: Condition,
    faults: Faults,
    fault_file: FaultFile,
    /// The address of the page, until it is logged: when the start has succeeded.
    served: Option<SocketAddr>,
    /// The rings of names, and what they have: for the report only.
    names: NameFollower,
    claimed: Arc<Mutex<ClaimedNames>>,
}

impl<'a> TrackerSink<'a> {
    /// Opens the logs of events of these rings. `listener` is the socket of `--serve`.
    pub fn open(
        options: &'a TrackOptions,
        (rings, names): (&[RingName], NameFollower),
        listener: Option<TcpListener>,
        (fault_file, faults): (FaultFile, Faults),
    ) -> Result<Self, Error> {
        let config = options.effective_config()?;
        let log_dir = LogDir::open(&config.log_dir)?;
        let paths = ReportPaths {
            log_dir: config.log_dir.clone(),
            report_dir: config.report_dir.clone(),
            makers: options.common.makers(),
            claimed: Arc::default(),
        };
        let claimed = Arc::clone(&paths.claimed);
        let live = Arc::new(Mutex::new(Live::new(config.logs.clone())));
        let mut served = None;
        if let Some(listener) = listener {
            let address =
                listener.local_addr().map_err(|error| Error::io("serve the report", error))?;
            served = Some(address);
            let hosts = AllowedHosts::new(&options.allow_host);
            let maker = PageMaker::new(paths.clone(), Arc::clone(&live), options.online_minutes());
            report_server::start(listener, hosts, maker)?;
        }
        let zone = TimeZone::system();
        let start = Instant::now();
        let clocks = Clocks { system: UnixTime::now(), monotonic: start.elapsed() };
        let limits = (rings, options.max_rows.get() as usize);
        let mut sink = TrackerSink {
            options,
            logs: DailyLogs::new(config.logs.clone(), limits, zone.clone(), clocks),
            config,
            log_dir,
            reports: ReportThread::start(paths)?,
            live,
            start,
            events: 0,
            zone,
            checked: clocks.system.seconds(),
            unreadable: Vec::new(),
            write_failure: Condition::default(),
            faults,
            fault_file,
            served,
            names,
            claimed,
        };
        if let Some(names) = options.common.live_names.get() {
            names.follow();
        }
        sink.open_day(sink.logs.today())?;
        sink.tick();
        Ok(sink)
    }

    /// Opens a day with the rows of its log.
    fn open_day(&mut self, date: Date) -> Result<(), Error> {
        let bytes = read_log(self.log_dir.path(), LogKind::Tracker, date)?;
        let mut rows: Vec<(RowKey, Activity)> = Vec::new();
        for (number, row) in log_format::parse_log(&bytes) {
            match row {
                Ok(row) if row.date == date => {
                    let at = |clock| self.logs.calendar().resolve(date, clock);
                    let key = RowKey { mac: row.mac, ip: row.ip, interface: row.interface.into() };
                    let (first, last) = (at(row.first), at(row.last));
                    rows.push((
                        key,
                        Activity { first, last, hours: row.hours, sender: row.sender },
                    ));
                }
                // The next write of the log drops this row: its text stays in the error log.
                row => {
                    let text =
                        bytes.split(|byte| *byte == b'\n').nth(number - 1).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
                    let why = row.err().unwrap_or(OTHER_DAY);
                    let file = file_name(LogKind::Tracker, date);
                    self.logs.log_error(&format!("{file}:{number}: {why}: {text}"));
                }
            }
        }
        let earlier = self.earlier_keys(date);
        self.logs.open_day(DayLog::new(date, rows, earlier));
        Ok(())
    }

    /// Which devices have which addresses in the newest log before a day; none if it cannot be read: then an answer without
    /// a MAC begins no row.
    fn earlier_keys(&self, date: Date) -> HashSet<RowKey> {
        let directory = self.log_dir.path();
        let logs = list_logs(directory).unwrap_or_default().into_iter();
        let earlier = logs.filter(|(kind, day)| *kind == LogKind::Tracker && *day < date);
        let Some((kind, day)) = earlier.max_by_key(|(_, day)| *day) else { return HashSet::new() };
        let bytes = read_log(directory, kind, day).unwrap_or_default();
        let rows = log_format::parse_log(&bytes).filter_map(|(_, row)| row.ok());
        let key = |row: log_format::ParsedRow| RowKey {
            mac: row.mac,
            ip: row.ip,
            interface: row.interface.into(),
        };
        rows.map(key).take(self.options.max_rows.get() as usize).collect()
    }

    /// Makes sure that a day is open. Returns false if its log cannot be read.
    fn ensure_open(&mut self, date: Date) -> SinkResult<bool> {
        if self.logs.is_open(date) {
            return Ok(true);
        }
        if !self.logs.has_room() {
            let actions = self.logs.flush();
            self.carry_out(actions);
        }
        if !self.unreadable.contains(&date)
            && let Err(error) = self.open_day(date)
        {
            let Error::Failed(why) = error else { return Err(error.into()) };
            warn(format_args!(
                "{why} (sightings of that day are not recorded; trying again every minute)"
            ));
            self.logs.log_error(&why);
            lock(&self.live).set_unread(date, &why);
            self.unreadable.push(date);
        }
        let is_open = !self.unreadable.contains(&date);
        if is_open {
            lock(&self.live).set_read(date);
        }
        Ok(is_open)
    }

    /// Applies a file of names that changed.
    fn apply_changed_names(&mut self) {
        let names = self.options.common.live_names.get();
        if names.is_some_and(LiveNames::take_changed)
            && let Ok(config) = self.options.effective_config()
        // an error is reported at SIGHUP
        {
            self.configure(config.logs);
        }
    }

    /// Applies other settings, to the logs and to the page.
    fn configure(&mut self, config: LogConfig) {
        lock(&self.live).configure(config.clone());
        self.logs.reconfigure(config, self.zone.clone());
    }

    /// Carries out what is due.
    fn tick(&mut self) {
        self.apply_changed_names();
        let clocks = Clocks { system: UnixTime::now(), monotonic: self.start.elapsed() };
        if (clocks.system.seconds() - self.checked).abs() >= CHECK_INTERVAL {
            self.checked = clocks.system.seconds();
            self.unreadable.clear();
            let zone = TimeZone::system();
            if zone != self.zone {
                self.logs.reconfigure(self.logs.config().clone(), zone.clone());
                self.zone = zone;
            }
        }
        let actions = self.logs.tick(clocks);
        if !actions.is_empty() {
            self.carry_out(actions);
            let took = self.start.elapsed().saturating_sub(clocks.monotonic);
            self.logs.rest(clocks.monotonic, took);
        }
    }

    /// Returns whether all actions succeeded. Failed ones are tried again later: what they write stays in memory.
    fn carry_out(&mut self, actions: Vec<LogAction>) -> bool {
        let (mut succeeded, mut wrote) = (true, false);
        for action in actions {
            let done = match &action {
                LogAction::Append(kind, date, text) => self.log_dir.append(*kind, *date, text),
                LogAction::Replace(date, text) => self.log_dir.write_tracker_log(*date, text),
                LogAction::RemoveBefore(date) => self.log_dir.remove_before(*date),
                LogAction::Report => {
                    self.request_report();
                    continue;
                }
                LogAction::Warn(text) => {
                    warn(text);
                    continue;
                }
            };
            match done {
                Ok(()) => {
                    wrote |= matches!(action, LogAction::Append(..) | LogAction::Replace(..));
                }
                Err(error) => {
                    if let Error::Failed(why) = error {
                        self.write_failure.begins(format_args!("{why} (trying again)"));
                        lock(&self.live).set_unwritten(Some(why));
                    }
                    succeeded = false;
                    self.logs.retry(action);
                }
            }
        }
        // Only if all writes succeeded: on a full disk there may be room for a line, but not for a log.
        if succeeded && wrote {
            lock(&self.live).set_unwritten(None);
            self.write_failure
                .ends(format_args!("{} is written again", self.log_dir.path().display()));
        }
        succeeded
    }

    fn request_report(&self) {
        self.reports.request(ReportRequest {
            config: self.logs.config().clone(),
            day: self.logs.today(),
            is_today: true,
        });
    }

    /// Carries out what writes all to the files; then stores which faults the error log has, so that after a restart none is
    /// missing there. If that fails, they are repeated there; the positions are in the same directory, and report why.
    fn write_all(&mut self, actions: Vec<LogAction>) -> SinkResult {
        if !self.carry_out(actions) {
            return Err(self.unwritten());
        }
        let _ = self.fault_file.store(&mut self.faults);
        Ok(())
    }

    fn unwritten(&self) -> Fault {
        let directory = self.log_dir.path().display();
        Fault::Down(format!("some of the last sightings could not be written to {directory}"))
    }

    /// Whether `--source` includes an event. It selects sightings; configuration changes are always included.
    fn is_wanted(&self, kind: Kind) -> bool {
        match self.options.source {
            _ if matches!(kind, Kind::ConfigChange(_)) => true,
            SightingSource::All => true,
            SightingSource::Macupd => kind == Kind::MacUpd,
            SightingSource::Pairing => matches!(kind, Kind::Pairing(_)),
        }
    }
}

impl Sink for TrackerSink<'_> {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let event = &entry.event;
        self.events = self.events.wrapping_add(1);
        if self.events.is_multiple_of(EVENTS_PER_TICK) {
            self.tick();
        }
        if !self.is_wanted(event.kind) {
            return Ok(());
        }
        let at = self.logs.moment(event).or_else(|| {
            self.tick(); // the system clock may have been set since the last one
            self.logs.moment(event)
        });
        match (at, &event.kind) {
            (None, _) => self.logs.count_outside(event),
            (Some(at), Kind::ConfigChange(change)) => {
                self.logs.record_config_change(event, change, at);
            }
            (Some(at), _) if !self.ensure_open(at.date)? => self.logs.count_outside(event),
            (Some(at), _) => self.logs.record(entry.ring, event, at, self.start.elapsed()),
        }
        Ok(())
    }

    /// The error log has what is missing among the events: the report shows it, and it has no columns that programs read.
    fn observe(&mut self, state: &RingState) -> SinkResult {
        if let Some(address) = self.served.take() {
            info(format_args!("serving the report on {}", serve::url(&address)));
        }
        let (mut claimed, mut is_new) = (lock(&self.claimed), false);
        self.names.read(NAMES, |entry| is_new |= claimed.add(&entry.record));
        drop(claimed);
        let mut live = lock(&self.live);
        live.observe(state);
        live.version += u64::from(is_new);
        drop(live);
        let now = UnixTime::now().seconds();
        for report in self.faults.of_ring(state, "aw-tracker", now) {
            self.logs.log_error(&format!("ring {}: {}", state.ring, report.text));
        }
        Ok(())
    }

    /// Delivered events may be in memory only; `sync` writes them to the logs.
    fn flush(&mut self) -> SinkResult {
        self.tick();
        Ok(())
    }

    fn maintain(&mut self) -> SinkResult<bool> {
        self.tick();
        Ok(false)
    }

    fn maintain_within(&self) -> Duration {
        let due = self.logs.write_due().unwrap_or(Duration::MAX);
        due.saturating_sub(self.start.elapsed())
    }

    fn sync(&mut self) -> SinkResult {
        let actions = self.logs.sync();
        self.write_all(actions)
    }

    /// Reads the configuration file again. If it has an error, the old settings stay.
    fn reopen(&mut self) -> SinkResult {
        if let Some(names) = self.options.common.live_names.get() {
            names.reload();
        }
        match self.options.effective_config() {
            Ok(config) => {
                let EffectiveConfig { log_dir, report_dir, .. } = &config;
                if (log_dir, report_dir) != (&self.config.log_dir, &self.config.report_dir) {
                    info("LOGDIR or REPORTDIR changed; restart aw-tracker to apply that");
                }
                self.configure(config.logs);
                info("configuration read again");
            }
            Err(Error::Failed(why)) => {
                warn(format_args!("{why} (the old configuration stays)"));
                self.logs.log_error(&why);
            }
            Err(closed) => return Err(closed.into()),
        }
        self.tick();
        Ok(())
    }

    fn close(&mut self) -> SinkResult {
        let actions = self.logs.flush();
        let written = self.write_all(actions);
        if !self.reports.finish() {
            info("the last report is not written: it takes too long");
        }
        written
    }
}
