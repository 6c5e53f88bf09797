//! Makes reports, in a thread of its own: the road of events never waits for one. Orders that come while one is made are one
//! order; the more a report takes, the longer the pause after it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aw_output::{Error, info, warn};
use jiff::{Zoned, civil::Date};

use crate::{
    config::Names,
    files::{self, Kind, REPORT_MODE, load, write_whole},
    report::{Gathering, Report, page::page},
    vendors::Vendors,
};

/// The shortest pause between two reports, and the share of the time that they may take.
const PAUSE: Duration = Duration::from_secs(1);
const SHARE: u32 = 8;

/// How long the end waits for the last report.
const PATIENCE: Duration = Duration::from_secs(10);

/// The page's name in REPORTDIR.
pub const PAGE: &str = "macupd_report.html";

/// Where a report's parts are.
#[derive(Clone, Debug)]
pub struct Places {
    pub log_dir: PathBuf,
    pub report_dir: PathBuf,
    pub vendors: PathBuf,
}

impl Places {
    pub fn page(&self) -> PathBuf {
        self.report_dir.join(PAGE)
    }
}

/// What a report is to be of.
#[derive(Clone, Debug)]
pub struct Order {
    pub names: Arc<Names>,
    pub max_logs: u16,
    pub day: Date,
    /// Whether that is the present day.
    pub live: bool,
}

/// Reads all logs.
pub fn gather(places: &Places, order: &Order) -> Result<Report, Error> {
    let made = Zoned::now().strftime("%Y-%m-%d %H:%M:%S %:z").to_string();
    let mut gathering = Gathering::new(made, order.day, order.live, order.max_logs);
    for (kind, date) in files::list(&places.log_dir)? {
        let bytes = match load(&places.log_dir, kind, date) {
            Ok(bytes) => bytes,
            // One that cannot be read costs itself, and not the report.
            Err(Error::Failed(why)) => {
                gathering.errors(why.as_bytes());
                continue;
            }
            Err(closed) => return Err(closed),
        };
        match kind {
            Kind::Tracker => gathering.tracker(date, &files::name(kind, date), &bytes),
            Kind::Alert => gathering.alerts(&bytes),
            Kind::Config => gathering.changes(&bytes),
            Kind::Error => gathering.errors(&bytes),
        }
    }
    Ok(gathering.finish(&order.names, |devices| {
        Vendors::look_up(&places.vendors, devices.iter().map(|device| device.mac))
    }))
}

/// Writes the page of a report.
pub fn publish(path: &Path, report: &Report) -> Result<(), Error> {
    write_whole(path, page(report).as_bytes(), REPORT_MODE)
}

#[derive(Default)]
struct Desk {
    order: Option<Order>,
    end: bool,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread, as the road of events sees it.
pub struct Reporter {
    shared: Arc<Shared>,
}

impl Reporter {
    pub fn start(places: Places) -> Result<Reporter, Error> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("report".into());
        let thread = thread.spawn(move || work(&theirs, &places));
        thread.map_err(|error| Error::io("start a thread", error))?;
        Ok(Reporter { shared })
    }

    /// A report is due; one that was not begun yet is replaced.
    pub fn order(&self, order: Order) {
        self.shared.desk().order = Some(order);
        self.shared.changed.notify_all();
    }

    /// Waits for the report that was ordered last, but not for ever.
    pub fn finish(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut desk = self.shared.desk();
        desk.end = true;
        self.shared.changed.notify_all();
        while !desk.ended && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let waited = self.shared.changed.wait_timeout(desk, left);
            desk = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        desk.ended
    }
}

fn work(shared: &Shared, places: &Places) {
    let mut failed = false;
    loop {
        let mut desk = shared.desk();
        let order = loop {
            match desk.order.take() {
                Some(order) => break order,
                None if desk.end => {
                    desk.ended = true;
                    return shared.changed.notify_all();
                }
                None => desk = shared.changed.wait(desk).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(desk);
        let begun = Instant::now();
        let done = gather(places, &order).and_then(|report| publish(&places.page(), &report));
        // Told when it begins, and when it ends: not with each report.
        match &done {
            Err(Error::Failed(why)) if !failed => warn(format_args!("{why} (trying again)")),
            Ok(()) if failed => info("the report is written again"),
            _ => {}
        }
        failed = done.is_err();
        let pause = PAUSE.max(begun.elapsed() * SHARE);
        let until = Instant::now() + pause;
        let mut desk = shared.desk();
        while !desk.end && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let waited = shared.changed.wait_timeout(desk, left);
            desk = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if failed && desk.order.is_none() && !desk.end {
            desk.order = Some(order);
        }
    }
}
