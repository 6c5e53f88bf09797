//! `--serve`: an HTTP server for the report and nothing else. The page is made when it is requested, from the logs, which are at
//! most seconds behind, and from what the run loop saw last. The run loop waits for none of this.

mod page_bytes;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aw_output::{
    Error,
    serve::{self, AllowedHosts, Page},
};
use aw_service::Condition;
use jiff::{Zoned, civil::Date};

use self::page_bytes::{PageBytes, SentPages};
use crate::{
    activity_report::{
        html,
        now::{Live, RingStatus},
    },
    local_time::is_dated,
    log_dir::{LogKind, file_name, list_logs},
    report_thread::{REPORT_FILE, ReportPaths, ReportRequest, build},
};

/// The shortest time between two pages.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// It is at least so many times as long as a page takes.
const PAUSE_FACTOR: u32 = 4;
/// Answers while there is no page.
const NO_PAGE: &str = "503 Service Unavailable";
const NO_CLOCK: &str = "503 The clock of this machine is not set";

/// What the run loop saw last. It is locked for a moment only.
pub type SharedLive = Arc<Mutex<Live>>;

pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to serve the page.
pub fn start(listener: TcpListener, hosts: AllowedHosts, maker: PageMaker) -> Result<(), Error> {
    let headers = format!(
        "Content-Security-Policy: {}; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n",
        html::content_security_policy()
    );
    serve::start(listener, hosts, headers, move |path| {
        if path != "/" && path.strip_prefix('/') != Some(REPORT_FILE) {
            return Err("404 Not Found");
        }
        let page = maker.page(Instant::now(), &Zoned::now())?;
        let length = page.length();
        Ok(Page { kind: "text/html; charset=utf-8", body: Box::new(page.reader()), length })
    })
}

/// Makes the page, one at a time, and only if something changed.
pub struct PageMaker {
    paths: ReportPaths,
    live: SharedLive,
    online_minutes: i64,
    made: Mutex<Made>,
}

/// The last page.
#[derive(Default)]
struct Made {
    page: Option<Arc<PageBytes>>,
    /// What it was made from.
    from: Option<Origin>,
    /// When it is checked again whether something changed.
    due: Option<Instant>,
    sent: SentPages,
    failure: Condition,
    #[cfg(test)]
    number: usize,
}

/// What a page is made from: the same again gives the same page.
#[derive(PartialEq)]
struct Origin {
    live: u64,
    rings: Vec<RingStatus>,
    /// Who is online depends on it.
    minute: (Date, i8, i8),
    /// Kind and day of each log; inode, size and time of its last change.
    logs: Vec<(LogKind, Date, [i64; 4])>,
}

impl PageMaker {
    pub fn new(paths: ReportPaths, live: SharedLive, online_minutes: i64) -> PageMaker {
        PageMaker { paths, live, online_minutes, made: Mutex::default() }
    }

    /// The page at this time.
    fn page(&self, now: Instant, at: &Zoned) -> Result<Arc<PageBytes>, &'static str> {
        let made = &mut *lock(&self.made);
        if let (Some(page), true) = (&made.page, made.due.is_some_and(|due| now < due)) {
            return Ok(Arc::clone(page));
        }
        if !is_dated(at.date()) {
            return Err(NO_CLOCK);
        }
        let begun = Instant::now();
        let live = lock(&self.live).clone();
        let result = self.origin(&live, at).and_then(|from| {
            let same = made.page.as_ref().filter(|_| made.from.as_ref() == Some(&from));
            let page = same.cloned().map_or_else(|| self.make(&live, at), Ok)?;
            Ok((from, page))
        });
        let took = begun.elapsed();
        made.due = Some(now + took + MIN_PAUSE.max(took * PAUSE_FACTOR));
        match result {
            Ok((from, page)) => {
                made.failure.ends("the page is made again");
                if made.page.as_ref().is_none_or(|old| !Arc::ptr_eq(old, &page)) {
                    made.sent.add(&page);
                    #[cfg(test)]
                    (made.number += 1);
                }
                made.from = Some(from);
                Ok(Arc::clone(made.page.insert(page)))
            }
            Err(error) => {
                if let Error::Failed(why) = error {
                    made.failure.begins(format_args!("{why} (the page is not served)"));
                }
                (made.page, made.from) = (None, None);
                Err(NO_PAGE)
            }
        }
    }

    fn make(&self, live: &Live, at: &Zoned) -> Result<Arc<PageBytes>, Error> {
        let request = ReportRequest { config: live.config.clone(), day: at.date(), is_today: true };
        let mut report = build(&self.paths, &request, at)?;
        report.now = Some(live.now(at, &report, self.online_minutes));
        Ok(Arc::new(PageBytes::new(html::to_html(&report).into_bytes())))
    }

    fn origin(&self, live: &Live, at: &Zoned) -> Result<Origin, Error> {
        let directory = &self.paths.log_dir;
        let state = |(kind, date): (LogKind, Date)| {
            let state = fs::metadata(directory.join(file_name(kind, date))).ok();
            let state = state.map(|state| {
                [state.ino() as i64, state.size() as i64, state.mtime(), state.mtime_nsec()]
            });
            (kind, date, state.unwrap_or_default())
        };
        let logs = list_logs(directory)?.into_iter().map(state).collect();
        let (rings, minute) = (live.statuses(at), (at.date(), at.hour(), at.minute()));
        Ok(Origin { live: live.version, rings, minute, logs })
    }
}

#[cfg(test)]
mod tests;
