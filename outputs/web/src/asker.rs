//! Questions to the history, which block: in a few threads. So many questions wait for a thread, and further ones are refused.

use std::{
    future::Future,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aw_query::{Answer, Devices, History, Question, TimeRange, Unanswered};
use aw_service::Error;
use axum::http::StatusCode;
use jiff::tz::TimeZone;
use shm_layout::UnixTime;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{fault_file::FaultFile, problem::Problem};

/// Questions that are answered at a time, and those that wait.
pub const RUNNING: usize = 4;
const WAITING: usize = 32;

const BUSY: &str =
    "too many questions at once (try again in some seconds; aw-query asks beside this server)";

/// The history, for many clients.
pub struct Asker {
    history: Arc<History>,
    pub devices: Arc<Devices>,
    pub zone: TimeZone,
    time: Duration,
    queue: Queue,
    /// The history cannot be read.
    fault: Mutex<FaultFile>,
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
            queue: Queue::new(RUNNING, WAITING),
            fault: Mutex::new(fault),
        }
    }

    /// The answer to a question, with at most `limit` rows.
    pub async fn ask(&self, question: Question, limit: usize) -> Result<Answer, Problem> {
        let (history, devices) = (Arc::clone(&self.history), Arc::clone(&self.devices));
        let (zone, time) = (self.zone.clone(), self.time);
        let asked = self.queue.run(move || history.ask(&question, &devices, &zone, (time, limit)));
        let answered = asked.await?;
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.is_ok() {
            fault.ends();
        }
        answered.map_err(|why| match why {
            Unanswered::TooLong(time) => Problem::busy(
                &format!(
                    "no answer within {} s (ask for a shorter time, with from and to; or allow more with aw-web --timeout)",
                    time.as_secs()
                ),
                60,
            ),
            Unanswered::Failed(Error::Closed) => unreadable("the pipe is closed"),
            Unanswered::Failed(Error::Failed(why)) => {
                fault.begins(&why);
                unreadable(&why)
            }
        })
    }

    /// Whether the history can be read: a question that costs little.
    pub async fn check(&self) -> Result<(), Problem> {
        self.ask(Question::Who(IpAddr::from([0, 0, 0, 0]), UnixTime::now()), 1).await.map(drop)
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
}

impl Queue {
    pub fn new(running: usize, waiting: usize) -> Queue {
        let [running, waiting] = [running, running + waiting].map(|n| Arc::new(Semaphore::new(n)));
        Queue { running, waiting }
    }

    /// Does `work` in a thread. If the client has gone, it is done nevertheless, and counts until then.
    pub fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T, Problem>> + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let place = Arc::clone(&self.waiting).try_acquire_owned();
        let running = Arc::clone(&self.running);
        async move {
            let place = place.map_err(|_| Problem::busy(BUSY, 5))?;
            let permit = running.acquire_owned().await;
            let permit: OwnedSemaphorePermit = permit.map_err(|_| Problem::busy(BUSY, 5))?;
            let work = move || {
                let _held = (place, permit);
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
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// One is done, one waits, and the third one is refused at once; a client that has gone frees the place of what did not begin.
    #[test]
    fn a_full_queue_refuses() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let queue = Queue::new(1, 1);
            let (end, ends) = mpsc::channel::<()>();
            let first = tokio::spawn(queue.run(move || ends.recv().is_ok()));
            tokio::task::yield_now().await;
            let second = tokio::spawn(queue.run(|| 2));
            let refused = queue.run(|| 3).await.unwrap_err();
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(refused.why.contains("try again") && refused.retry_after.is_some());
            drop(queue.run(|| 4));
            end.send(()).unwrap();
            assert!(first.await.unwrap().unwrap());
            assert_eq!(second.await.unwrap().unwrap(), 2);
            assert_eq!(queue.run(|| 5).await.unwrap(), 5);
        });
    }

    #[test]
    fn an_error_of_the_program_is_one_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let queue = Queue::new(1, 0);
            let failed = queue.run(|| panic!("a test")).await.unwrap_err();
            assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(queue.run(|| 1).await.unwrap(), 1);
        });
    }
}
