//! Questions to the history, which block: in a few threads. So many questions wait for a thread, and further ones are refused.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aw_output::names::Names;
use aw_query::{Answer, Claiming, Devices, Found, History, Question, TimeRange, Unanswered};
use aw_service::Error;
use axum::http::StatusCode;
use jiff::tz::TimeZone;
use shm_layout::UnixTime;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    fault_file::FaultFile, known_macs, listing::DeviceList, network_label, problem::Problem,
};

/// Questions that are answered at a time, and those that wait. Of both, so many are kept for questions about one address or one
/// device: those about all devices and all changes take longer.
pub const RUNNING: usize = 4;
const WAITING: usize = 32;
const KEPT: (usize, usize) = (1, 8);

/// A list of all devices is used for so long, or for as long as it took to read it; and then for so long while the next one is
/// read. Unless a name is changed.
const LIST_AGE: Duration = Duration::from_secs(5);
const OLD_LIST: Duration = Duration::from_secs(25);
/// While lists are asked for, and for so long afterwards, the next one is read before the last one is too old; unless that takes longer
/// than this.
pub const READ_AHEAD: Duration = Duration::from_secs(20);
const IN_USE: Duration = Duration::from_secs(600);
const CHEAP: Duration = Duration::from_secs(1);
/// A question about a name that no device of the list has takes no longer.
const BY_NAME: Duration = Duration::from_secs(2);

const BUSY: &str =
    "too many questions at once (try again in some seconds; aw-query asks beside this server)";

/// The history, for many clients.
pub struct Asker {
    history: Arc<History>,
    pub devices: Arc<Devices>,
    pub zone: TimeZone,
    time: Duration,
    queue: Queue,
    /// The last list of all devices, or why there was none.
    list: Arc<Mutex<Option<Listed>>>,
    /// Is held while the next one is read.
    reading: Arc<AsyncMutex<()>>,
    /// When a list was asked for.
    asked: Mutex<Option<Instant>>,
    /// The history cannot be read.
    fault: Arc<Mutex<FaultFile>>,
}

/// A list of all devices, until when it is used, and the names that it has.
struct Listed {
    until: Instant,
    took: Duration,
    names: Arc<Names>,
    list: Result<Arc<DeviceList>, Problem>,
}

impl Asker {
    pub fn new(
        (history, fault): (History, FaultFile),
        devices: Devices,
        zone: TimeZone,
        time: Duration,
    ) -> Asker {
        let (history, devices) = (Arc::new(history), Arc::new(devices));
        Asker {
            history,
            devices,
            zone,
            time,
            queue: Queue::new((RUNNING, WAITING), KEPT),
            list: Arc::default(),
            reading: Arc::default(),
            asked: Mutex::default(),
            fault: Arc::new(Mutex::new(fault)),
        }
    }

    /// The answer to a question, or to several about one device each, with at most `limit` rows and the times in its texts in this zone; of one
    /// network only, if one is named as for `aw-query --network`.
    pub async fn ask(
        &self,
        questions: Vec<Question>,
        network: Option<String>,
        (limit, zone): (usize, &TimeZone),
    ) -> Result<Answer, Problem> {
        let is_about_all = questions.iter().any(Question::is_about_all);
        let ask = self.question(questions, network, (limit, zone));
        self.queue.run(is_about_all, ask).await?
    }

    /// What `work` makes of the answer, in the thread of the question: a page of many rows, which would keep all clients waiting.
    /// The times in the texts of the answer are in this zone.
    pub async fn ask_and<T, W>(
        &self,
        question: Question,
        (limit, zone): (usize, &TimeZone),
        work: W,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        W: FnOnce(Answer) -> Result<T, Problem> + Send + 'static,
    {
        let ask = self.question(vec![question], None, (limit, zone));
        self.queue.run(question.is_about_all(), move || ask().and_then(work)).await?
    }

    /// The questions, for a thread.
    fn question(
        &self,
        questions: Vec<Question>,
        network: Option<String>,
        (limit, zone): (usize, &TimeZone),
    ) -> impl FnOnce() -> Result<Answer, Problem> + Send + use<> {
        let (history, devices) = (Arc::clone(&self.history), Arc::clone(&self.devices));
        let (zone, time, fault) = (zone.clone(), self.time, Arc::clone(&self.fault));
        move || {
            let network = network.as_deref();
            let answered =
                history.ask_of_network(&questions, network, &devices, &zone, (time, limit));
            self::answered(answered, &fault)
        }
    }

    /// The MACs that call themselves so, as the history has it now, and not a list.
    pub async fn macs_claiming(&self, name: String) -> Result<Vec<Claiming>, Problem> {
        let (history, fault) = (Arc::clone(&self.history), Arc::clone(&self.fault));
        let time = self.time.min(BY_NAME);
        let search = move || answered(history.macs_claiming(&name, time), &fault);
        self.queue.run(false, search).await?
    }

    /// The devices with a name, if there are some.
    pub async fn devices_named(&self, name: String) -> Result<Option<Found>, Problem> {
        let (history, fault) = (Arc::clone(&self.history), Arc::clone(&self.fault));
        let (devices, time) = (Arc::clone(&self.devices), self.time);
        let search = move || answered(history.devices_named(&name, &devices, time), &fault);
        self.queue.run(false, search).await?
    }

    /// What `work` makes of the list of all devices, in a thread.
    pub async fn list<T, W>(&self, work: W) -> Result<T, Problem>
    where
        T: Send + 'static,
        W: FnOnce(&Arc<DeviceList>) -> Result<T, Problem> + Send + 'static,
    {
        let list = self.all_devices().await?;
        self.queue.run(false, move || work(&list)).await?
    }

    /// The list of all devices: one that is new enough, or the next one.
    async fn all_devices(&self) -> Result<Arc<DeviceList>, Problem> {
        self.is_asked();
        let names = self.devices.names();
        if let Some((list, is_old)) = self.last_list(&names) {
            if is_old {
                self.read_next();
            }
            return list;
        }
        let wait = timeout(2 * self.time, Arc::clone(&self.reading).lock_owned()).await;
        let reading = wait.map_err(|_| Problem::busy(BUSY, 60))?;
        // It may have been read meanwhile.
        match self.last_list(&names) {
            Some((list, false)) => list,
            _ => self.read_list(reading, names).await?,
        }
    }

    /// A list will be asked for soon: reads it if it is due.
    pub fn prepare(&self) {
        self.is_asked();
        self.read_next();
    }

    fn is_asked(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Reads the next list, unless it is not due, or is being read.
    pub fn read_next(&self) {
        let names = self.devices.names();
        if matches!(self.last_list(&names), Some((_, false))) {
            return;
        }
        if let Ok(reading) = Arc::clone(&self.reading).try_lock_owned() {
            tokio::spawn(self.read_list(reading, names));
        }
    }

    /// Reads the next list while it is in use, if that costs little.
    pub fn read_ahead(&self) {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let is_cheap = last.as_ref().is_some_and(|last| last.took < CHEAP);
        drop(last);
        if is_cheap && asked.is_some_and(|at| at.elapsed() < IN_USE) {
            self.read_next();
        }
    }

    /// The last list, if it may be used; true: the next one is due.
    fn last_list(&self, names: &Arc<Names>) -> Option<(Result<Arc<DeviceList>, Problem>, bool)> {
        let last = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref().filter(|last| Arc::ptr_eq(&last.names, names))?;
        let (now, is_list) = (Instant::now(), last.list.is_ok());
        let is_old = now >= last.until;
        let is_usable = !is_old || is_list && now < last.until + OLD_LIST;
        is_usable.then(|| (last.list.clone(), is_old))
    }

    /// Reads the list in a thread, so that others get it if the client for which it is read goes.
    fn read_list(
        &self,
        reading: OwnedMutexGuard<()>,
        names: Arc<Names>,
    ) -> impl Future<Output = Result<Result<Arc<DeviceList>, Problem>, Problem>> + use<> {
        let (begun, last) = (Instant::now(), Arc::clone(&self.list));
        let ask = self.question(
            vec![Question::DevicesOfNetworks(TimeRange::ALL)],
            None,
            (usize::MAX, &self.zone),
        );
        self.queue.run(true, move || {
            let _held = reading;
            let read_at = UnixTime::now();
            let list = ask().map(|answer| Arc::new(DeviceList::new(answer, read_at)));
            if let Ok(list) = &list {
                network_label::set_known(&list.networks, list.is_complete);
                known_macs::set(list);
            }
            let took = begun.elapsed();
            let until = Instant::now() + took.max(LIST_AGE);
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(Listed { until, took, names, list: list.clone() });
            list
        })
    }

    /// Whether the history can be read: a question that costs little.
    pub async fn check(&self) -> Result<(), Problem> {
        let question = Question::Who(IpAddr::from([0, 0, 0, 0]), UnixTime::now());
        self.ask(vec![question], None, (1, &self.zone)).await.map(drop)
    }
}

/// The answer, or why there is none; and whether the history can be read.
fn answered<T>(answer: Result<T, Unanswered>, fault: &Mutex<FaultFile>) -> Result<T, Problem> {
    let mut fault = fault.lock().unwrap_or_else(PoisonError::into_inner);
    match answer {
        Ok(answer) => {
            fault.ends();
            Ok(answer)
        }
        Err(Unanswered::TooLong(time)) => Err(Problem::busy(
            &format!(
                "no answer within {} s (ask for a shorter time, with from and to; or allow more with aw-web --timeout)",
                time.as_secs()
            ),
            60,
        )),
        Err(Unanswered::Failed(Error::Closed)) => Err(unreadable("the pipe is closed")),
        Err(Unanswered::Failed(Error::Failed(why))) => {
            fault.begins(&why);
            Err(unreadable(&why))
        }
    }
}

/// The same for `--check`, without a thread.
pub fn check(history: &History, devices: &Devices, time: Duration) -> Result<(), String> {
    let question = Question::Changes(TimeRange { from: UnixTime::now(), to: TimeRange::ALL.to });
    match history.ask(&question, devices, &TimeZone::UTC, (time, 1)) {
        Ok(_) => Ok(()),
        Err(Unanswered::Failed(error)) => Err(error.to_string()),
        Err(Unanswered::TooLong(time)) => Err(format!(
            "ask the history: no answer within {} s (allow more with --timeout)",
            time.as_secs()
        )),
    }
}

fn unreadable(why: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the history cannot be read: {why}"))
}

/// Work that blocks: some at a time, and some that waits.
pub struct Queue {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// The same for work that takes long: it needs a place of both.
    long: [Arc<Semaphore>; 2],
}

impl Queue {
    /// With so many places of each kind, of which some are not for work that takes long.
    pub fn new(
        (running, waiting): (usize, usize),
        (kept_running, kept_waiting): (usize, usize),
    ) -> Queue {
        let [all, long] =
            [(0, 0), (kept_running, kept_waiting)].map(|(not_running, not_waiting)| {
                let running = running - not_running;
                [running, running + waiting - not_waiting]
                    .map(|places| Arc::new(Semaphore::new(places)))
            });
        let [running, waiting] = all;
        Queue { running, waiting, long }
    }

    /// Does `work` in a thread. If the client has gone, it is done nevertheless, and counts until then.
    pub fn run<T, W>(
        &self,
        is_long: bool,
        work: W,
    ) -> impl Future<Output = Result<T, Problem>> + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let [long_running, long_waiting] = &self.long;
        // In this order, so that what waits for a place of its kind has none of all.
        let waiting = is_long.then_some(long_waiting).into_iter().chain([&self.waiting]);
        let places = waiting
            .map(|places| Arc::clone(places).try_acquire_owned())
            .collect::<Result<Vec<_>, _>>();
        let running: Vec<_> =
            is_long.then_some(long_running).into_iter().chain([&self.running]).cloned().collect();
        async move {
            let mut held = places.map_err(|_| Problem::busy(BUSY, 5))?;
            for places in running {
                let place = places.acquire_owned().await;
                held.push(place.map_err(|_| Problem::busy(BUSY, 5))?);
            }
            let work = move || {
                let _held = held;
                work()
            };
            spawn_blocking(work).await.map_err(|_| {
                Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the question ended with an error of the program (please report this bug: its log has the text)",
                )
            })
        }
    }
}

#[cfg(test)]
mod tests;
