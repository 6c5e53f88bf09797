//! The servers of a configuration, of which one is used: the one that answered last, and each other one in turn if it fails.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aw_peer::Budget;
use aw_service::{Condition, warn};

use crate::{
    config::ServerConfig,
    connection::{Conn, Error, ServerError},
    errors::{READ_ONLY, at_each, cause_and_remedy, is_of_one_server, timed_out},
};

/// For how long a read-only server is used without another look for a better one.
const SETTLED: Duration = Duration::from_secs(60);

/// What all clones of a configuration know of its servers.
#[derive(Clone, Default)]
pub struct Turn {
    /// The index of the one that is asked first. It begins at random: programs that start together use all servers.
    first: Arc<OnceLock<AtomicUsize>>,
    /// A read-only one that is used because no better one answered.
    settled: Arc<Mutex<Option<Settled>>>,
    /// By the name of a server: others are used in its place.
    passed_over: Arc<Mutex<HashMap<String, Condition>>>,
}

struct Settled {
    index: usize,
    until: Instant,
    /// Of the others.
    faults: String,
}

impl Turn {
    /// It begins with the first server of the list.
    pub fn first() -> Turn {
        Turn { first: Arc::new(OnceLock::from(AtomicUsize::new(0))), ..Turn::default() }
    }

    fn index(&self) -> &AtomicUsize {
        let random = || (RandomState::new().build_hasher().finish() as usize).into();
        self.first.get_or_init(random)
    }
}

/// It is no setting.
impl PartialEq for Turn {
    fn eq(&self, _: &Turn) -> bool {
        true
    }
}

impl Eq for Turn {}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

/// See the head of this file.
pub struct Servers {
    config: ServerConfig,
    /// The index of the one that is used.
    current: usize,
    /// Those that failed in this attempt.
    faults: Vec<(String, Error)>,
}

impl Servers {
    /// Connects to none.
    pub fn new(config: &ServerConfig) -> Servers {
        Servers { config: config.clone(), current: 0, faults: Vec::new() }
    }

    /// Begins an attempt, in which each server may fail once.
    pub fn begin(&mut self) {
        self.faults.clear();
    }

    /// Connects to the current server, or to another one in its place; see [`ServerConfig::connect_to`].
    pub fn connect(&mut self, begin: &str, budget: Budget) -> Result<Conn, Error> {
        let end = Instant::now() + budget.time;
        if self.faults.is_empty() {
            self.current = self.config.turn.index().load(Ordering::Relaxed) % self.config.count();
        }
        loop {
            // Each one that is left has its part of the time: one that is silent leaves enough for the others.
            let left = budget.until(end);
            let servers = (self.config.count() - self.faults.len()).max(1) as u32;
            let part = Budget { time: left.time / servers, ..left };
            match self.config.connect_to(self.current, begin, (part, left)) {
                Ok(conn) => {
                    self.config.turn.index().store(self.current, Ordering::Relaxed);
                    return Ok(conn);
                }
                Err(error) => self.fail_over(error)?,
            }
        }
    }

    /// The same for a program that writes. It passes over read-only servers, whatever the user may do there, and logs which ones are
    /// passed over.
    pub fn connect_to_write(&mut self, begin: &str, budget: Budget) -> Result<Conn, Error> {
        let end = Instant::now() + budget.time;
        loop {
            let mut conn = self.connect(begin, budget.until(end))?;
            match self.refuse_replica(&mut conn) {
                Ok(()) => {
                    self.passed_over().into_iter().for_each(warn);
                    return Ok(conn);
                }
                Err(error) => self.fail_over_if_unfit(error)?,
            }
        }
    }

    /// An error if the server is one of a list and read-only, whatever the user may do there. Each transaction asks: roles change
    /// while a connection is open.
    pub fn refuse_replica(&self, conn: &mut Conn) -> Result<(), Error> {
        if self.config.is_list() && is_replica(conn)? {
            let message = "the server is read-only".into();
            return Err(Error::Server(ServerError { code: READ_ONLY, message }));
        }
        Ok(())
    }

    /// A message for each server that failed before the current one, unless it was returned before.
    fn passed_over(&self) -> Vec<String> {
        let mut messages = Vec::new();
        let database = self.config.database();
        let mut passed_over = locked(&self.config.turn.passed_over);
        for (name, error) in &self.faults {
            let why = cause_and_remedy(error, database);
            let condition = passed_over.entry(name.clone()).or_default();
            if condition.set(&why) {
                messages.push(format!("{database} at {name} is passed over: {why}"));
            }
        }
        let name = self.name();
        if let Some(condition) = passed_over.get_mut(&name) {
            condition.ends(format_args!("{database} at {name} is used again"));
        }
        messages
    }

    /// Takes what the current server reports, and makes the next one the current one. An error is returned if all servers have
    /// failed in this attempt.
    pub fn fail_over(&mut self, error: Error) -> Result<(), Error> {
        let count = self.config.count();
        if count == 1 {
            return Err(error);
        }
        self.faults.push((self.name(), error));
        self.begin_with_next(); // also if the time is over before all were asked
        self.current = (self.current + 1) % count;
        if self.faults.len() < count {
            return Ok(());
        }
        Err(Error::Each(std::mem::take(&mut self.faults)))
    }

    /// The same for a statement of a connection, as far as another server may carry it out at once. After any other error, the next
    /// attempt begins with another server: a node may hold a lock for as long as a backup takes, or miss a table. One that does not
    /// answer is such a case, because the ring does not wait.
    pub fn fail_over_if_unfit(&mut self, error: Error) -> Result<(), Error> {
        if is_of_one_server(&error) && !timed_out(&error) {
            return self.fail_over(error);
        }
        if matches!(error, Error::Each(_)) {
            return Err(error);
        }
        self.begin_with_next();
        if self.faults.is_empty() {
            return Err(error);
        }
        self.faults.push((self.name(), error));
        Err(Error::Each(std::mem::take(&mut self.faults)))
    }

    /// The next attempt begins with another server.
    pub fn begin_with_next(&mut self) {
        let next = (self.current + 1) % self.config.count();
        self.config.turn.index().store(next, Ordering::Relaxed);
    }

    /// The faults of the others, if the current server is a read-only one that was the best one less than a minute ago.
    pub fn faults_before_settled(&self) -> Option<String> {
        let settled = locked(&self.config.turn.settled);
        let current =
            settled.as_ref().filter(|one| one.index == self.current && Instant::now() < one.until);
        current.map(|one| one.faults.clone())
    }

    /// Uses this server, the index of which [`Servers::current`] has returned, until a minute is over: the silence of a better one costs
    /// each attempt its time. `faults` are those of the others.
    pub fn settle(&self, index: usize, faults: String) {
        let turn = &self.config.turn;
        turn.index().store(index, Ordering::Relaxed);
        *locked(&turn.settled) = Some(Settled { index, until: Instant::now() + SETTLED, faults });
    }

    /// The index of the current server.
    pub fn current(&self) -> usize {
        self.current
    }

    /// The name of the current server, for messages.
    pub fn name(&self) -> String {
        self.config.name(self.current)
    }

    /// `OPERATION DATABASE at SERVER: why`, of each server that failed.
    pub fn fault(&self, operation: &str, error: &Error) -> String {
        let database = self.config.database();
        let why = at_each(&self.name(), error, |error| cause_and_remedy(error, database));
        format!("{operation} {database} {why}")
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the server of a connection refuses rows, but for users with a right of administrators.
pub fn is_replica(conn: &mut Conn) -> Result<bool, Error> {
    match conn.query_first("SELECT @@global.read_only") {
        Ok(value) => Ok(value.is_some_and(|value| is_on(&value))),
        Err(Error::Server(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A value of `read_only`: a number, or from MariaDB 12 on a word, of which there are several.
fn is_on(value: &str) -> bool {
    !["0", "OFF"].contains(&value)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Duration};

    use super::*;

    #[test]
    fn read_only() {
        let values = ["0", "OFF", "1", "ON", "NO_LOCK", "NO_LOCK_NO_ADMIN"];
        assert_eq!(values.map(is_on), [false, false, true, true, true, true]);
    }

    /// A server that nothing used meanwhile has another fault.
    #[test]
    fn each_cause_is_logged_once() {
        let mut config = ServerConfig::default();
        config.set_url("a,b").unwrap();
        let mut servers = Servers::new(&config);
        let other = servers.name();
        servers.current = 1;
        let mut passed_over = |cause: &str| {
            servers.begin();
            servers.faults.push((other.clone(), Error::Protocol(cause.into())));
            servers.passed_over()
        };
        for cause in ["it refuses", "its certificate is not valid"] {
            let messages = passed_over(cause);
            assert!(messages.len() == 1 && messages[0].ends_with(cause), "{messages:?}");
            assert_eq!(passed_over(cause), [""; 0]);
        }
    }

    /// Two servers accept connections and send nothing: each is asked in each attempt, also if one of them may have all the time. The
    /// next attempt begins with another one if the time was over before.
    #[test]
    fn silent_servers_leave_time_for_others() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let hosts = listeners.each_ref().map(|one| one.local_addr().unwrap().to_string()).join(",");
        let mut config = ServerConfig::default();
        config.set_url(&hosts).unwrap();
        let limit = Duration::from_millis(400);
        let mut servers = Servers::new(&config);
        let budget = Budget { time: limit, silence: limit, bytes: 1 << 20 };
        let Err(Error::Each(faults)) = servers.connect("SELECT 1", budget) else {
            panic!("both fail")
        };
        assert_eq!(faults.len(), 2, "{faults:?}");
        for listener in &listeners {
            listener.set_nonblocking(true).unwrap();
            assert!(listener.accept().is_ok(), "each was asked");
        }
        let first = servers.config.turn.index().load(Ordering::Relaxed) % 2;
        servers.begin();
        servers.fail_over(faults.into_iter().next().unwrap().1).unwrap();
        assert_ne!(servers.config.turn.index().load(Ordering::Relaxed) % 2, first);
    }
}
