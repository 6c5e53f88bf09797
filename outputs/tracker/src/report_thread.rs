//! Creates reports in a separate thread, so that the recording of events never waits for one. A request that arrives while a
//! report is created replaces the waiting one. The longer a report takes, the longer is the pause after it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aw_output::{ClaimedNames, Error, makers::Makers};
use aw_service::Condition;
use jiff::{Zoned, civil::Date};

use crate::{
    activity_report::{ActivityReport, ReportBuilder, html},
    daily_logs::LogConfig,
    log_dir::{LogKind, REPORT_MODE, file_name, list_logs, read_log, replace_file},
};

/// The shortest pause after a report.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a report is at least so many times as long as the report took.
const PAUSE_FACTOR: u32 = 8;
/// How long `finish` waits for the last report.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);

/// The name of the HTML report in REPORTDIR.
pub const REPORT_FILE: &str = "macupd_report.html";

/// The directories that a report reads and writes.
#[derive(Clone, Debug)]
pub struct ReportPaths {
    pub log_dir: PathBuf,
    pub report_dir: PathBuf,
    pub makers: Makers,
    /// What devices call themselves, as far as it was received lately.
    pub claimed: Arc<Mutex<ClaimedNames>>,
}

impl ReportPaths {
    pub fn html_file(&self) -> PathBuf {
        self.report_dir.join(REPORT_FILE)
    }
}

/// What a report is created from, beside the files.
#[derive(Clone, Debug)]
pub struct ReportRequest {
    pub config: LogConfig,
    /// The last day of the report.
    pub day: Date,
    pub is_today: bool,
}

/// Only one report is created at a time: that limits the memory.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Reads all logs; `now` is the time of creation.
pub fn build(
    paths: &ReportPaths,
    request: &ReportRequest,
    now: &Zoned,
) -> Result<ActivityReport, Error> {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let created = now.strftime("%Y-%m-%d %H:%M:%S %:z").to_string();
    let ReportRequest { config, day, is_today } = request;
    let mut builder = ReportBuilder::new(created, *day, *is_today, config.max_logs);
    for (kind, date) in list_logs(&paths.log_dir)? {
        let bytes = match read_log(&paths.log_dir, kind, date) {
            Ok(bytes) => bytes,
            // A log that cannot be read is missing in the report, which names it among the errors.
            Err(Error::Failed(why)) => {
                builder.add_lines(LogKind::Error, why.as_bytes());
                continue;
            }
            Err(closed) => return Err(closed),
        };
        match kind {
            LogKind::Tracker => builder.add_tracker_log(date, &file_name(kind, date), &bytes),
            kind => builder.add_lines(kind, &bytes),
        }
    }
    let mut report = builder.finish(&config.names, &paths.makers);
    report.name_networks(&config.networks);
    let claimed = paths.claimed.lock().unwrap_or_else(PoisonError::into_inner);
    for device in report.devices.iter_mut().filter(|device| device.name.is_none()) {
        let name = claimed.of(device.mac);
        device.claimed = name.map(|one| format!("“{}” ({})", one.name, one.source.words()));
    }
    Ok(report)
}

pub fn publish(path: &Path, report: &ActivityReport) -> Result<(), Error> {
    replace_file(path, html::to_html(report).as_bytes(), REPORT_MODE)
}

#[derive(Default)]
struct ThreadState {
    waiting: Option<ReportRequest>,
    stop: bool,
    has_stopped: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<ThreadState>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ThreadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `deadline`, or until `done` is true.
    fn wait_until(
        &self,
        deadline: Instant,
        done: impl Fn(&ThreadState) -> bool,
    ) -> MutexGuard<'_, ThreadState> {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.lock(), left, |state| !done(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

pub struct ReportThread {
    shared: Arc<Shared>,
}

impl ReportThread {
    pub fn start(paths: ReportPaths) -> Result<ReportThread, Error> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("report".into());
        let thread = thread.spawn(move || create_reports(&theirs, &paths));
        thread.map_err(|error| Error::io("start a thread", error))?;
        Ok(ReportThread { shared })
    }

    /// Requests a report. It replaces a request that is still waiting.
    pub fn request(&self, request: ReportRequest) {
        self.shared.lock().waiting = Some(request);
        self.shared.changed.notify_all();
    }

    /// Waits until the last requested report is written. Returns false if that takes longer than FINISH_TIMEOUT.
    pub fn finish(&self) -> bool {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        self.shared
            .wait_until(Instant::now() + FINISH_TIMEOUT, |state| state.has_stopped)
            .has_stopped
    }
}

fn create_reports(shared: &Shared, paths: &ReportPaths) {
    let mut failure = Condition::default();
    loop {
        let waited = shared
            .changed
            .wait_while(shared.lock(), |state| state.waiting.is_none() && !state.stop);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(request) = state.waiting.take() else {
            state.has_stopped = true;
            return shared.changed.notify_all();
        };
        drop(state);
        let begun = Instant::now();
        let report = build(paths, &request, &Zoned::now());
        match report.and_then(|report| publish(&paths.html_file(), &report)) {
            Ok(()) => failure.ends("the report is written again"),
            Err(Error::Failed(why)) => failure.begins(format_args!("{why} (trying again)")),
            Err(Error::Closed) => {}
        }
        let pause = MIN_PAUSE.max(begun.elapsed() * PAUSE_FACTOR);
        let mut state = shared.wait_until(Instant::now() + pause, |state| state.stop);
        if failure.is_present() && !state.stop {
            state.waiting.get_or_insert(request);
        }
    }
}
